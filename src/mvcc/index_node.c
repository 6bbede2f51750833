/* index_node.c - the B+tree: searching, inserting, removing, building bottom-up. */
#include "base/bytes.h"
#include "base/check.h"
#include "mvcc/index_private.h"

/* Nodes this empty look for a neighbour to join; the joined node keeps some room, so that the next insert does not
 * split it again. */
#define JOIN_BELOW 16
#define JOIN_UP_TO 56
/* A tree built at once leaves room for a few keys in each leaf. */
#define BUILD_FILL 58

static struct index_leaf *as_leaf(struct index_node *node) { return (struct index_leaf *)node; }
static struct index_inner *as_inner(struct index_node *node) { return (struct index_inner *)node; }

static struct slice slot_bytes(const struct index_node *node, size_t slot) {
    if (node->is_leaf) return index__bytes(((const struct index_leaf *)node)->keys[slot]);
    const struct index_separator *separator = ((const struct index_inner *)node)->separators[slot];
    return slice_make(separator->bytes, separator->length);
}

/* The first slot that has a key: an inner node's slot 0 has no separator. */
static size_t first_slot(const struct index_node *node) { return node->is_leaf ? 0 : 1; }

static uint32_t head_of(struct slice key, size_t prefix_length) {
    if (key.len >= prefix_length + 4) return load_u32be(key.data + prefix_length);
    uint32_t head = 0;
    for (size_t i = prefix_length; i < key.len; i++) head |= (uint32_t)key.data[i] << (24 - 8 * (i - prefix_length));
    return head;
}

static size_t common_prefix(struct slice a, struct slice b) {
    size_t limit = a.len < b.len ? a.len : b.len;
    size_t i = 0;
    while (i + 8 <= limit) {
        uint64_t difference = load_u64be(a.data + i) ^ load_u64be(b.data + i);
        if (difference != 0) return i + (size_t)__builtin_clzll(difference) / 8;
        i += 8;
    }
    while (i < limit && a.data[i] == b.data[i]) i++;
    return i;
}

static void compute_heads(struct index_node *node) {
    size_t first = first_slot(node);
    if (node->count <= first) {
        node->prefix_length = 0;
        return;
    }
    node->prefix_length = (uint32_t)common_prefix(slot_bytes(node, first), slot_bytes(node, node->count - 1u));
    for (size_t i = first; i < node->count; i++) node->heads[i] = head_of(slot_bytes(node, i), node->prefix_length);
}

/* After a key was put into `slot` (heads moved aside already). */
static void add_head(struct index_node *node, size_t slot) {
    size_t first = first_slot(node);
    size_t sample = slot == first ? first + 1 : first;
    if (sample >= node->count || common_prefix(slot_bytes(node, slot), slot_bytes(node, sample)) < node->prefix_length)
        compute_heads(node);
    else
        node->heads[slot] = head_of(slot_bytes(node, slot), node->prefix_length);
}

/* First slot whose key is >= `key`; `count` when there is none. */
static size_t lower_slot(const struct index_node *node, struct slice key, bool *ret_is_equal) {
    size_t first = first_slot(node), low = first, high = node->count;
    *ret_is_equal = false;
    if (low >= high) return high;
    size_t prefix = node->prefix_length;
    uint32_t head = head_of(key, prefix);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (node->heads[middle] < head)
            low = middle + 1;
        else
            high = middle;
    }
    /* All that holds only if the key begins with the node's prefix, which any of its keys can tell. */
    struct slice sample = slot_bytes(node, low < node->count ? low : node->count - 1u);
    size_t shared_length = key.len < prefix ? key.len : prefix;
    int order = shared_length ? memcmp(key.data, sample.data, shared_length) : 0;
    if (order > 0) return node->count;
    if (order < 0 || key.len < prefix) return first;
    size_t end = low;
    while (end < node->count && node->heads[end] == head) end++;
    while (low < end) {
        size_t middle = (low + end) / 2;
        order = slice_compare(slot_bytes(node, middle), key);
        if (order == 0) {
            *ret_is_equal = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            end = middle;
    }
    return low;
}

/* ---- making and freeing ---- */

static struct index_leaf *leaf_new(struct index *self) {
    struct index_leaf *leaf = mem_alloc(sizeof *leaf);
    leaf->node.prefix_length = 0;
    leaf->node.count = 0;
    leaf->node.is_leaf = true;
    leaf->live = 0;
    leaf->next = NULL;
    self->node_bytes += sizeof *leaf;
    return leaf;
}

static struct index_inner *inner_new(struct index *self) {
    struct index_inner *inner = mem_alloc(sizeof *inner);
    inner->node.prefix_length = 0;
    inner->node.count = 0;
    inner->node.is_leaf = false;
    inner->separators[0] = NULL;
    self->node_bytes += sizeof *inner;
    return inner;
}

static void node_free(struct index *self, struct index_node *node) {
    self->node_bytes -= node->is_leaf ? sizeof(struct index_leaf) : sizeof(struct index_inner);
    mem_free(node);
}

static struct index_separator *separator_new(struct index *self, struct slice left_last, struct slice right_first) {
    size_t length = common_prefix(left_last, right_first) + 1;
    struct index_separator *separator = slab_alloc(&self->slab, sizeof *separator + length);
    separator->length = (uint32_t)length;
    memcpy(separator->bytes, right_first.data, length);
    return separator;
}

static void separator_free(struct index *self, struct index_separator *separator) {
    if (separator != NULL) slab_free(&self->slab, separator, sizeof *separator + separator->length);
}

static uint64_t node_live(const struct index_node *node) {
    if (node->is_leaf) return (uint64_t)__builtin_popcountll(((const struct index_leaf *)node)->live);
    uint64_t live = 0;
    for (size_t i = 0; i < node->count; i++) live += ((const struct index_inner *)node)->live[i];
    return live;
}

/* ---- searching ---- */

void index__descend(const struct index *self, struct slice key, struct index_path *path) {
    path->depth = 0;
    path->is_found = false;
    path->leaf = NULL;
    path->position = 0;
    struct index_node *node = self->root;
    if (node == NULL) return;
    while (!node->is_leaf) {
        CHECK(path->depth < INDEX_MAX_DEPTH);
        bool is_equal;
        size_t slot = lower_slot(node, key, &is_equal);
        if (!is_equal) slot--;
        path->inner[path->depth] = as_inner(node);
        path->slot[path->depth++] = (uint32_t)slot;
        node = as_inner(node)->children[slot];
    }
    path->leaf = as_leaf(node);
    path->position = lower_slot(node, key, &path->is_found);
}

void index__set_live(struct index *self, struct index_path *path, bool is_live) {
    uint64_t bit = (uint64_t)1 << path->position;
    if (is_live == ((path->leaf->live & bit) != 0)) return;
    path->leaf->live ^= bit;
    uint64_t change = is_live ? 1 : (uint64_t)-1;
    self->live_count += change;
    for (size_t i = 0; i < path->depth; i++) path->inner[i]->live[path->slot[i]] += change;
}

/* ---- inserting ---- */

static uint64_t low_bits(size_t count) { return count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1; }

static void leaf_add(struct index_leaf *leaf, size_t position, struct index_key *key) {
    size_t after = leaf->node.count - position;
    memmove(leaf->keys + position + 1, leaf->keys + position, after * sizeof *leaf->keys);
    memmove(leaf->node.heads + position + 1, leaf->node.heads + position, after * sizeof *leaf->node.heads);
    uint64_t low = leaf->live & low_bits(position);
    leaf->live = low | ((leaf->live & ~low_bits(position)) << 1);
    leaf->keys[position] = key;
    leaf->node.count++;
    add_head(&leaf->node, position);
}

static void inner_add(struct index_inner *inner, size_t slot, struct index_node *child,
                      struct index_separator *separator, uint64_t live) {
    size_t after = inner->node.count - slot;
    memmove(inner->children + slot + 1, inner->children + slot, after * sizeof *inner->children);
    memmove(inner->separators + slot + 1, inner->separators + slot, after * sizeof *inner->separators);
    memmove(inner->live + slot + 1, inner->live + slot, after * sizeof *inner->live);
    memmove(inner->node.heads + slot + 1, inner->node.heads + slot, after * sizeof *inner->node.heads);
    inner->children[slot] = child;
    inner->separators[slot] = separator;
    inner->live[slot] = live;
    inner->node.count++;
    add_head(&inner->node, slot);
}

/* Moves the upper part of a full leaf into a new one. */
static struct index_leaf *leaf_split(struct index *self, struct index_leaf *leaf, size_t keep) {
    struct index_leaf *right = leaf_new(self);
    size_t moved = leaf->node.count - keep;
    memcpy(right->keys, leaf->keys + keep, moved * sizeof *right->keys);
    right->node.count = (uint16_t)moved;
    right->live = keep >= 64 ? 0 : leaf->live >> keep;
    right->next = leaf->next;
    leaf->next = right;
    leaf->node.count = (uint16_t)keep;
    leaf->live &= low_bits(keep);
    compute_heads(&leaf->node);
    compute_heads(&right->node);
    return right;
}

/* The same for an inner node; the separator between the two goes up. */
static struct index_inner *inner_split(struct index *self, struct index_inner *inner, size_t keep,
                                       struct index_separator **ret_separator) {
    struct index_inner *right = inner_new(self);
    size_t moved = inner->node.count - keep;
    memcpy(right->children, inner->children + keep, moved * sizeof *right->children);
    memcpy(right->separators, inner->separators + keep, moved * sizeof *right->separators);
    memcpy(right->live, inner->live + keep, moved * sizeof *right->live);
    right->node.count = (uint16_t)moved;
    inner->node.count = (uint16_t)keep;
    *ret_separator = right->separators[0];
    right->separators[0] = NULL;
    compute_heads(&inner->node);
    compute_heads(&right->node);
    return right;
}

static void grow_root(struct index *self, struct index_node *right, struct index_separator *separator) {
    struct index_inner *root = inner_new(self);
    root->children[0] = self->root;
    root->live[0] = node_live(self->root);
    root->node.count = 1;
    self->root = &root->node;
    inner_add(root, 1, right, separator, node_live(right));
}

/* Gives the new right neighbour of the node at `depth` a place in its parent, splitting upwards as needed. */
static void insert_upwards(struct index *self, struct index_path *path, struct index_node *right,
                           struct index_separator *separator) {
    for (size_t depth = path->depth; depth-- > 0;) {
        struct index_inner *parent = path->inner[depth];
        size_t slot = path->slot[depth];
        uint64_t moved = node_live(right);
        parent->live[slot] -= moved;
        if (parent->node.count < INDEX_FANOUT) {
            inner_add(parent, slot + 1, right, separator, moved);
            return;
        }
        size_t keep = slot + 1 == INDEX_FANOUT ? INDEX_FANOUT - 2 : INDEX_FANOUT / 2;
        struct index_separator *up;
        struct index_inner *upper = inner_split(self, parent, keep, &up);
        if (slot + 1 > keep)
            inner_add(upper, slot + 1 - keep, right, separator, moved);
        else
            inner_add(parent, slot + 1, right, separator, moved);
        right = &upper->node;
        separator = up;
    }
    grow_root(self, right, separator);
}

void index__insert(struct index *self, struct index_path *path, struct index_key *key) {
    self->key_count++;
    if (self->root == NULL) {
        self->first = leaf_new(self);
        self->root = &self->first->node;
        path->leaf = self->first;
        path->position = 0;
    }
    struct index_leaf *leaf = path->leaf;
    bool is_live = !key->is_dead;
    if (leaf->node.count < INDEX_FANOUT) {
        leaf_add(leaf, path->position, key);
        if (is_live) index__set_live(self, path, true);
        return;
    }
    /* Keys that come in order leave full leaves behind. */
    bool is_append = leaf->next == NULL && path->position == INDEX_FANOUT;
    size_t keep = is_append ? INDEX_FANOUT : INDEX_FANOUT / 2;
    struct index_leaf *right = leaf_split(self, leaf, keep);
    struct index_leaf *target = path->position >= keep ? right : leaf;
    size_t position = target == right ? path->position - keep : path->position;
    leaf_add(target, position, key);
    if (is_live) {
        /* Counted on the way that the path describes; insert_upwards moves the right leaf's share. */
        target->live |= (uint64_t)1 << position;
        self->live_count++;
        for (size_t i = 0; i < path->depth; i++) path->inner[i]->live[path->slot[i]]++;
    }
    struct index_separator *separator =
        separator_new(self, index__bytes(leaf->keys[leaf->node.count - 1]), index__bytes(right->keys[0]));
    insert_upwards(self, path, &right->node, separator);
}

/* ---- removing ---- */

static void inner_drop(struct index_inner *inner, size_t slot) {
    size_t after = inner->node.count - slot - 1;
    memmove(inner->children + slot, inner->children + slot + 1, after * sizeof *inner->children);
    memmove(inner->separators + slot, inner->separators + slot + 1, after * sizeof *inner->separators);
    memmove(inner->live + slot, inner->live + slot + 1, after * sizeof *inner->live);
    memmove(inner->node.heads + slot, inner->node.heads + slot + 1, after * sizeof *inner->node.heads);
    inner->node.count--;
}

/* Appends everything of the child at slot + 1 to the child at `slot`, and drops it from the parent. */
static void join_children(struct index *self, struct index_inner *parent, size_t slot) {
    struct index_node *left = parent->children[slot], *right = parent->children[slot + 1];
    if (left->is_leaf) {
        struct index_leaf *a = as_leaf(left), *b = as_leaf(right);
        memcpy(a->keys + left->count, b->keys, right->count * sizeof *a->keys);
        if (right->count > 0) a->live |= b->live << left->count;
        a->next = b->next;
        separator_free(self, parent->separators[slot + 1]);
    } else {
        struct index_inner *a = as_inner(left), *b = as_inner(right);
        b->separators[0] = parent->separators[slot + 1];
        memcpy(a->children + left->count, b->children, right->count * sizeof *a->children);
        memcpy(a->separators + left->count, b->separators, right->count * sizeof *a->separators);
        memcpy(a->live + left->count, b->live, right->count * sizeof *a->live);
    }
    left->count = (uint16_t)(left->count + right->count);
    compute_heads(left);
    parent->live[slot] += parent->live[slot + 1];
    inner_drop(parent, slot + 1);
    node_free(self, right);
}

/* An inner node with one child left, beside a full one: takes a child over. */
static void borrow_child(struct index_inner *parent, size_t slot, bool from_right) {
    struct index_inner *poor = as_inner(parent->children[slot]);
    struct index_inner *rich = as_inner(parent->children[from_right ? slot + 1 : slot - 1]);
    size_t taken = from_right ? 0 : rich->node.count - 1u;
    uint64_t live = rich->live[taken];
    struct index_node *child = rich->children[taken];
    if (from_right) {
        poor->separators[poor->node.count] = parent->separators[slot + 1];
        poor->children[poor->node.count] = child;
        poor->live[poor->node.count++] = live;
        parent->separators[slot + 1] = rich->separators[1];
        inner_drop(rich, 0);
        rich->separators[0] = NULL;
    } else {
        memmove(poor->children + 1, poor->children, poor->node.count * sizeof *poor->children);
        memmove(poor->separators + 1, poor->separators, poor->node.count * sizeof *poor->separators);
        memmove(poor->live + 1, poor->live, poor->node.count * sizeof *poor->live);
        poor->node.count++;
        poor->separators[1] = parent->separators[slot];
        poor->separators[0] = NULL;
        poor->children[0] = child;
        poor->live[0] = live;
        parent->separators[slot] = rich->separators[taken];
        rich->node.count--;
    }
    parent->live[slot] += live;
    parent->live[from_right ? slot + 1 : slot - 1] -= live;
    compute_heads(&poor->node);
    compute_heads(&rich->node);
    compute_heads(&parent->node);
}

/* Joins the child at `slot` with a neighbour when it has become too empty. */
static void relieve(struct index *self, struct index_inner *parent, size_t slot) {
    struct index_node *child = parent->children[slot];
    size_t minimum = child->is_leaf ? 1 : 2;
    if (child->count >= JOIN_BELOW) return;
    bool has_right = slot + 1 < parent->node.count, has_left = slot > 0;
    size_t right_total = has_right ? child->count + (size_t)parent->children[slot + 1]->count : SIZE_MAX;
    size_t left_total = has_left ? child->count + (size_t)parent->children[slot - 1]->count : SIZE_MAX;
    size_t limit = child->count < minimum ? INDEX_FANOUT : JOIN_UP_TO;
    if (right_total <= limit)
        join_children(self, parent, slot);
    else if (left_total <= limit)
        join_children(self, parent, slot - 1);
    else if (child->count < minimum)
        borrow_child(parent, slot, has_right);
}

void index__remove(struct index *self, struct index_path *path) {
    struct index_leaf *leaf = path->leaf;
    size_t position = path->position;
    struct index_key *key = leaf->keys[position];
    CHECK(path->is_found && key->is_dead);
    size_t after = leaf->node.count - position - 1u;
    memmove(leaf->keys + position, leaf->keys + position + 1, after * sizeof *leaf->keys);
    memmove(leaf->node.heads + position, leaf->node.heads + position + 1, after * sizeof *leaf->node.heads);
    uint64_t low = leaf->live & low_bits(position);
    leaf->live = low | ((leaf->live & ~low_bits(position)) >> 1);
    leaf->node.count--;
    self->key_count--;
    index__key_free(self, key);

    for (size_t depth = path->depth; depth-- > 0;) relieve(self, path->inner[depth], path->slot[depth]);
    while (!self->root->is_leaf && self->root->count == 1) {
        struct index_node *old = self->root;
        self->root = as_inner(old)->children[0];
        node_free(self, old);
    }
    if (self->root->is_leaf && self->root->count == 0) {
        node_free(self, self->root);
        self->root = NULL;
        self->first = NULL;
    }
}

/* ---- building ---- */

/* The smallest key below a node. */
static struct slice edge_first(struct index_node *node) {
    while (!node->is_leaf) node = as_inner(node)->children[0];
    return index__bytes(as_leaf(node)->keys[0]);
}

static struct slice edge_last(struct index_node *node) {
    while (!node->is_leaf) node = as_inner(node)->children[node->count - 1];
    return index__bytes(as_leaf(node)->keys[node->count - 1]);
}

/* How many of `left` go into the next node, so that none is nearly empty. */
static size_t take_count(size_t left, size_t fill) {
    if (left <= fill) return left;
    return left < 2 * fill ? (left + 1) / 2 : fill;
}

void index__build(struct index *self, struct index_key **keys, size_t count) {
    CHECK(self->root == NULL);
    if (count == 0) return;
    VEC(struct index_node *) level = {0};
    struct index_leaf *previous = NULL;
    for (size_t at = 0; at < count;) {
        size_t taken = take_count(count - at, BUILD_FILL);
        struct index_leaf *leaf = leaf_new(self);
        memcpy(leaf->keys, keys + at, taken * sizeof *keys);
        leaf->node.count = (uint16_t)taken;
        for (size_t i = 0; i < taken; i++) leaf->live |= (uint64_t)!leaf->keys[i]->is_dead << i;
        self->live_count += node_live(&leaf->node);
        compute_heads(&leaf->node);
        if (previous != NULL)
            previous->next = leaf;
        else
            self->first = leaf;
        previous = leaf;
        VEC_PUSH(&level, &leaf->node);
        at += taken;
    }
    while (level.count > 1) {
        size_t made = 0;
        for (size_t at = 0; at < level.count;) {
            size_t taken = take_count(level.count - at, BUILD_FILL);
            struct index_inner *inner = inner_new(self);
            for (size_t i = 0; i < taken; i++) {
                struct index_node *child = level.items[at + i];
                inner->children[i] = child;
                inner->live[i] = node_live(child);
                /* The first child's separator is what its parent takes. */
                inner->separators[i] =
                    i == 0 ? NULL : separator_new(self, edge_last(level.items[at + i - 1]), edge_first(child));
            }
            inner->node.count = (uint16_t)taken;
            compute_heads(&inner->node);
            at += taken;
            level.items[made++] = &inner->node;
        }
        level.count = made;
    }
    self->root = level.items[0];
    self->key_count = count;
    VEC_RELEASE(&level);
}
