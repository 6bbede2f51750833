#include "base/check.h"
#include "bolt/node.h"

void bucket__init(struct bolt_bucket *self, struct bolt_tx *tx, struct bolt_bucket *parent) {
    *self = (struct bolt_bucket){.tx = tx, .parent = parent, .fill = BOLT_DEFAULT_FILL};
    map_bytes_init(&self->opened, 0);
}

void bucket__release(struct bolt_bucket *self) {
    for (struct bolt_bucket *child = self->first_opened; child != NULL; child = child->next_opened)
        bucket__release(child);
    map_bytes_release(&self->opened);
}

static void mark_dirty(struct bolt_bucket *self) {
    for (; self != NULL && !self->is_dirty; self = self->parent) self->is_dirty = true;
}

/* The root as it is in the file. */
static enum err root_block(const struct bolt_bucket *self, struct block *ret_block) {
    if (self->block.data == NULL) return tx_block(self->tx, self->root, ret_block);
    *ret_block = self->block;
    return OK;
}

/* ---- finding ---- */

/* A leaf's element with `key`, in nodes where there are some, in pages below. ret_value's data is NULL when absent.
 * `hint` (may be NULL) learns the page and what comes next in it. */
static enum err find(const struct bolt_bucket *self, struct slice key, struct bolt_hint *hint, struct slice *ret_value,
                     uint32_t *ret_flags) {
    const struct node *node = self->node;
    struct block block;
    *ret_value = SLICE_NONE;
    *ret_flags = 0;
    bool is_equal;
    uint32_t index;
    if (node == NULL) TRY(root_block(self, &block));
    while (node != NULL) {
        if (node->is_leaf) {
            index = node__lower_bound(node, key, &is_equal);
            if (!is_equal) return OK;
            *ret_flags = node->list.items[index].flags;
            *ret_value = slice_make(node->list.items[index].value, node->list.items[index].value_bytes);
            return OK;
        }
        const struct item *item = &node->list.items[node__child_index(node, key)];
        node = item->node;
        if (node == NULL) TRY(tx_block(self->tx, item->page, &block));
    }
    struct key_range range = {0, 0};
    for (int depth = 0; !block.is_leaf; depth++) {
        if (depth == BOLT_MAX_DEPTH) return bolt__corrupt(self->tx->db, page_id(block.data), "the tree is too deep");
        if (!block_guess_child(&block, key, &range, &index)) return tx_bad_block(self->tx, &block);
        TRY(tx_block(self->tx, block_child(&block, index), &block));
    }
    if (!block_guess(&block, key, range, &index, &is_equal)) return tx_bad_block(self->tx, &block);
    if (hint != NULL) *hint = (struct bolt_hint){block.data, block.size_bytes, block.count, index + is_equal};
    if (!is_equal) return OK;
    struct slice found;
    if (!block_item(&block, index, &found, ret_value, ret_flags)) {
        *ret_value = SLICE_NONE;
        return tx_bad_block(self->tx, &block);
    }
    return OK;
}

enum err bolt_get(struct bolt_bucket *bucket, struct slice key, struct slice *ret_value) {
    struct slice value;
    uint32_t flags;
    TRY(find(bucket, key, NULL, &value, &flags));
    *ret_value = flags & ELEMENT_BUCKET ? SLICE_NONE : value;
    return OK;
}

/* The element `hint` points at, or another between first and last of its page. */
static bool find_in_hint(struct bolt_hint *hint, struct slice key, struct slice *ret_value, uint32_t *ret_flags) {
    if (hint->leaf == NULL || hint->count == 0) return false;
    struct block block = {hint->leaf, hint->leaf_bytes, hint->count, true};
    struct slice there;
    if (hint->next < hint->count && block_item(&block, hint->next, &there, ret_value, ret_flags) &&
        slice_equal(there, key)) {
        hint->next++;
        return true;
    }
    struct slice first, last;
    if (!block_key(&block, 0, &first) || !block_key(&block, hint->count - 1, &last)) return false;
    if (key_compare(key, first) < 0 || key_compare(key, last) > 0) return false;
    uint32_t index;
    bool is_equal;
    struct key_range range = {key_prefix(first), key_prefix(last)};
    if (!block_guess(&block, key, range, &index, &is_equal) || !is_equal) return false;
    if (!block_item(&block, index, &there, ret_value, ret_flags)) return false;
    hint->next = index + 1;
    return true;
}

enum err bolt_get_near(struct bolt_bucket *bucket, struct bolt_hint *hint, struct slice key, struct slice *ret_value) {
    struct slice value;
    uint32_t flags;
    if (!find_in_hint(hint, key, &value, &flags)) TRY(find(bucket, key, hint, &value, &flags));
    *ret_value = flags & ELEMENT_BUCKET ? SLICE_NONE : value;
    return OK;
}

/* ---- changing ---- */

static enum err root_node(struct bolt_bucket *self, struct node **ret_node) {
    if (self->node == NULL) {
        if (self->root == 0 && self->block.data == NULL) {
            self->node = node__new(self->tx, true);
        } else {
            struct block block;
            TRY(root_block(self, &block));
            TRY(node__load(self->tx, &block, self->root, &self->node));
        }
    }
    *ret_node = self->node;
    return OK;
}

struct path {
    struct node *nodes[BOLT_MAX_DEPTH];
    int depth;
    struct slice low, high; /* keys of the leaf; data NULL = no bound */
};

static enum err find_leaf(struct bolt_bucket *self, struct slice key, struct path *ret_path) {
    struct path path = {.depth = 0, .low = SLICE_NONE, .high = SLICE_NONE};
    struct node *node;
    TRY(root_node(self, &node));
    path.nodes[path.depth++] = node;
    while (!node->is_leaf) {
        if (path.depth == BOLT_MAX_DEPTH) return bolt__corrupt(self->tx->db, node->page, "the tree is too deep");
        uint32_t index = node__child_index(node, key);
        if (index > 0) path.low = item_key(&node->list.items[index]);
        if (index + 1 < node->list.count) path.high = item_key(&node->list.items[index + 1]);
        TRY(node__child(self->tx, node, index, &node));
        path.nodes[path.depth++] = node;
    }
    *ret_path = path;
    return OK;
}

/* The path will change: it is dirty now, and likely to be wanted again. */
static struct node *claim(struct bolt_bucket *self, const struct path *path) {
    for (int i = 0; i < path->depth; i++) path->nodes[i]->is_dirty = true;
    mark_dirty(self);
    self->last_leaf = path->nodes[path->depth - 1];
    self->last_low = path->low;
    self->last_high = path->high;
    return self->last_leaf;
}

static bool belongs_to_last_leaf(const struct bolt_bucket *self, struct slice key) {
    return self->last_leaf != NULL && (self->last_low.data == NULL || key_compare(key, self->last_low) >= 0) &&
           (self->last_high.data == NULL || key_compare(key, self->last_high) < 0);
}

/* Puts an element of the wanted kind (a bucket or not). */
static enum err put_element(struct bolt_bucket *self, struct slice key, struct slice value, uint32_t flags) {
    struct path path;
    struct node *leaf = self->last_leaf;
    bool is_last = belongs_to_last_leaf(self, key);
    if (!is_last) {
        TRY(find_leaf(self, key, &path));
        leaf = path.nodes[path.depth - 1];
    }
    struct item item = {.key = key.data,
                        .value = value.data != NULL ? value.data : (const uint8_t *)"",
                        .value_bytes = (uint32_t)value.len,
                        .flags = flags,
                        .key_bytes = (uint32_t)key.len};
    uint32_t index = leaf->list.count;
    bool is_equal = false;
    if (index > 0 && key_compare(item_key(&leaf->list.items[index - 1]), key) >= 0)
        index = node__lower_bound(leaf, key, &is_equal);
    if (is_equal && (leaf->list.items[index].flags & ELEMENT_BUCKET) != (flags & ELEMENT_BUCKET))
        return ERR_BOLT_INCOMPATIBLE_VALUE;
    if (!is_last) leaf = claim(self, &path);
    if (is_equal) {
        leaf->data_bytes += value.len;
        leaf->data_bytes -= leaf->list.items[index].value_bytes;
        leaf->list.items[index] = item;
    } else {
        node__insert(self->tx, leaf, index, item);
    }
    return OK;
}

static enum err delete_element(struct bolt_bucket *self, struct slice key, uint32_t flags) {
    struct path path;
    struct node *leaf = self->last_leaf;
    bool is_last = belongs_to_last_leaf(self, key);
    if (!is_last) {
        TRY(find_leaf(self, key, &path));
        leaf = path.nodes[path.depth - 1];
    }
    bool is_equal;
    uint32_t index = node__lower_bound(leaf, key, &is_equal);
    if (!is_equal) return OK;
    if ((leaf->list.items[index].flags & ELEMENT_BUCKET) != (flags & ELEMENT_BUCKET))
        return ERR_BOLT_INCOMPATIBLE_VALUE;
    if (!is_last) leaf = claim(self, &path);
    node__remove(leaf, index);
    leaf->has_shrunk = true;
    return OK;
}

enum err bolt_put(struct bolt_bucket *bucket, struct slice key, struct slice value) {
    CHECKF(bucket->tx->is_writable, "bolt: put in a read transaction");
    if (key.len == 0) return ERR_BOLT_KEY_REQUIRED;
    if (key.len > BOLT_MAX_KEY_BYTES) return ERR_BOLT_KEY_TOO_LARGE;
    if (value.len > BOLT_MAX_VALUE_BYTES) return ERR_BOLT_VALUE_TOO_LARGE;
    if (bucket->parent == NULL) return ERR_BOLT_INCOMPATIBLE_VALUE;
    return put_element(bucket, key, value, 0);
}

enum err bolt_delete(struct bolt_bucket *bucket, struct slice key) {
    CHECKF(bucket->tx->is_writable, "bolt: delete in a read transaction");
    return delete_element(bucket, key, 0);
}

/* ---- buckets in buckets ---- */

static enum err decode_bucket(struct bolt_bucket *self, struct slice value) {
    struct bolt *db = self->tx->db;
    if (value.len < BUCKET_HEADER_BYTES) return bolt__corrupt(db, self->parent->root, "a bucket's header is cut off");
    self->root = load_u64le(value.data);
    self->sequence = load_u64le(value.data + 8);
    if (self->root != 0) return tx_block(self->tx, self->root, &self->block);
    struct slice page = slice_from(value, BUCKET_HEADER_BYTES);
    if (page.len < PAGE_HEADER_BYTES || !block_open(page.data, page.len, &self->block) || !self->block.is_leaf)
        return bolt__corrupt(db, self->parent->root, "an inline bucket is no leaf");
    return OK;
}

static void remember(struct bolt_bucket *parent, struct bolt_bucket *child) {
    map_bytes_put(&parent->opened, child->name, child);
    if (parent->last_opened != NULL)
        parent->last_opened->next_opened = child;
    else
        parent->first_opened = child;
    parent->last_opened = child;
}

static void forget(struct bolt_bucket *parent, struct bolt_bucket *child) {
    map_bytes_remove(&parent->opened, child->name);
    struct bolt_bucket *before = NULL;
    for (struct bolt_bucket *at = parent->first_opened; at != child; at = at->next_opened) before = at;
    if (before != NULL)
        before->next_opened = child->next_opened;
    else
        parent->first_opened = child->next_opened;
    if (parent->last_opened == child) parent->last_opened = before;
    bucket__release(child);
}

static struct bolt_bucket *new_handle(struct bolt_bucket *parent, struct slice name) {
    struct bolt_bucket *self = arena_alloc(parent->tx->arena, sizeof *self);
    bucket__init(self, parent->tx, parent);
    self->name = arena_copy(parent->tx->arena, name);
    return self;
}

enum err bolt_bucket_open(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **ret_bucket) {
    struct bolt_bucket *child = map_bytes_get(&parent->opened, name);
    if (child == NULL) {
        struct slice value;
        uint32_t flags;
        TRY(find(parent, name, NULL, &value, &flags));
        if (value.data == NULL) return ERR_BOLT_BUCKET_NOT_FOUND;
        if (!(flags & ELEMENT_BUCKET)) return ERR_BOLT_INCOMPATIBLE_VALUE;
        child = new_handle(parent, name);
        enum err error = decode_bucket(child, value);
        if (error != OK) {
            bucket__release(child);
            return error;
        }
        remember(parent, child);
    }
    *ret_bucket = child;
    return OK;
}

enum err bolt_bucket_create(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **ret_bucket) {
    CHECKF(parent->tx->is_writable, "bolt: bucket created in a read transaction");
    if (name.len == 0) return ERR_BOLT_BUCKET_NAME_REQUIRED;
    if (name.len > BOLT_MAX_KEY_BYTES) return ERR_BOLT_KEY_TOO_LARGE;
    struct slice value;
    uint32_t flags;
    TRY(find(parent, name, NULL, &value, &flags));
    if (value.data != NULL) return flags & ELEMENT_BUCKET ? ERR_BOLT_BUCKET_EXISTS : ERR_BOLT_INCOMPATIBLE_VALUE;
    struct bolt_bucket *child = new_handle(parent, name);
    /* Its real value is made by the commit; until then the element holds the place. */
    TRY(put_element(parent, child->name, slice_make("", 0), ELEMENT_BUCKET));
    TRY(root_node(child, &child->node));
    child->node->is_dirty = true;
    mark_dirty(child);
    remember(parent, child);
    *ret_bucket = child;
    return OK;
}

enum err bolt_bucket_create_if_missing(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **ret_bucket) {
    enum err error = bolt_bucket_open(parent, name, ret_bucket);
    return error == ERR_BOLT_BUCKET_NOT_FOUND ? bolt_bucket_create(parent, name, ret_bucket) : error;
}

static enum err free_tree(struct bolt_tx *tx, uint64_t page, int depth, int nested);

/* Frees what the elements of a leaf or branch refer to. */
static enum err free_below(struct bolt_tx *tx, const struct block *block, int depth, int nested) {
    for (uint32_t i = 0; i < block->count; i++) {
        if (!block->is_leaf) {
            TRY(free_tree(tx, block_child(block, i), depth + 1, nested));
            continue;
        }
        struct slice key, value;
        uint32_t flags;
        if (!block_item(block, i, &key, &value, &flags)) return tx_bad_block(tx, block);
        if (!(flags & ELEMENT_BUCKET) || value.len < BUCKET_HEADER_BYTES) continue;
        uint64_t root = load_u64le(value.data);
        if (root != 0) TRY(free_tree(tx, root, 0, nested + 1));
    }
    return OK;
}

static enum err free_tree(struct bolt_tx *tx, uint64_t page, int depth, int nested) {
    struct block block;
    TRY(tx_block(tx, page, &block));
    if (depth == BOLT_MAX_DEPTH || nested == MAX_NESTED_BUCKETS)
        return bolt__corrupt(tx->db, page, "the tree is too deep");
    TRY(tx__free(tx, page, page_overflow(block.data)));
    return free_below(tx, &block, depth, nested);
}

enum err bolt_bucket_delete(struct bolt_bucket *parent, struct slice name) {
    CHECKF(parent->tx->is_writable, "bolt: bucket deleted in a read transaction");
    struct bolt_bucket *child;
    TRY(bolt_bucket_open(parent, name, &child));
    /* Changed nodes below have not been written, so the tree in the file is all there is to free. */
    if (child->root != 0) TRY(free_tree(parent->tx, child->root, 0, 0));
    struct slice own_name = child->name;
    forget(parent, child);
    return delete_element(parent, own_name, ELEMENT_BUCKET);
}

void bolt_bucket_set_fill(struct bolt_bucket *bucket, double fill) {
    bucket->fill = fill < 0.1 ? 0.1 : fill > 1.0 ? 1.0 : fill;
}

uint64_t bolt_bucket_sequence(const struct bolt_bucket *bucket) { return bucket->sequence; }

void bolt_bucket_set_sequence(struct bolt_bucket *bucket, uint64_t sequence) {
    CHECKF(bucket->tx->is_writable, "bolt: sequence set in a read transaction");
    bucket->sequence = sequence;
    mark_dirty(bucket);
}

/* ---- commit ---- */

/* A root branch that lost children gives way to its only child, or to an empty leaf. */
static enum err shorten(struct bolt_bucket *self) {
    struct node *root = self->node;
    while (root->has_shrunk && !root->is_leaf && root->list.count <= 1) {
        struct node *next;
        if (root->list.count == 1)
            TRY(node__child(self->tx, root, 0, &next));
        else
            next = node__new(self->tx, true);
        if (root->page != 0) TRY(tx__free(self->tx, root->page, root->overflow));
        next->is_dirty = true;
        next->has_shrunk = true;
        self->node = root = next;
    }
    return OK;
}

enum err bucket__rebalance(struct bolt_bucket *self) {
    if (!self->is_dirty) return OK;
    for (struct bolt_bucket *child = self->first_opened; child != NULL; child = child->next_opened)
        TRY(bucket__rebalance(child));
    self->last_leaf = NULL;
    if (self->node == NULL || !self->node->is_dirty) return OK;
    TRY(node__rebalance(self->tx, self->node));
    return shorten(self);
}

static bool can_be_inline(const struct bolt_bucket *self) {
    const struct node *root = self->node;
    if (self->parent == NULL || !root->is_leaf || node__size_bytes(root) > self->tx->db->page_size_bytes / 4)
        return false;
    for (uint32_t i = 0; i < root->list.count; i++)
        if (root->list.items[i].flags & ELEMENT_BUCKET) return false;
    return true;
}

/* Writes the changed nodes to pages, with new roots on top as long as there is more than one page. */
static enum err spill_tree(struct bolt_bucket *self) {
    struct node *root = self->node;
    for (int depth = 0;; depth++) {
        if (depth == BOLT_MAX_DEPTH) return bolt__corrupt(self->tx->db, self->root, "the tree is too deep");
        struct item_list parts = {0};
        TRY(node__spill(self->tx, root, self->fill, &parts));
        if (parts.count == 1) {
            self->root = parts.items[0].page;
            return OK;
        }
        root = node__new(self->tx, false);
        root->list = parts;
        for (uint32_t i = 0; i < parts.count; i++) root->data_bytes += parts.items[i].key_bytes;
    }
}

/* The bucket's element in its parent: header, and the inline page when it has no pages of its own. */
static struct slice encode_bucket(struct bolt_bucket *self) {
    size_t inline_bytes = 0;
    if (self->root == 0) inline_bytes = (size_t)(self->node ? node__size_bytes(self->node) : self->block.size_bytes);
    uint8_t *value = arena_alloc(self->tx->arena, BUCKET_HEADER_BYTES + inline_bytes);
    store_u64le(value, self->root);
    store_u64le(value + 8, self->sequence);
    if (self->root == 0) {
        uint8_t *page = value + BUCKET_HEADER_BYTES;
        if (self->node != NULL)
            node__write(self->node, 0, self->node->list.count, 0, page, inline_bytes, 0);
        else
            memcpy(page, self->block.data, inline_bytes);
    }
    return slice_make(value, BUCKET_HEADER_BYTES + inline_bytes);
}

enum err bucket__spill(struct bolt_bucket *self) {
    for (struct bolt_bucket *child = self->first_opened; child != NULL; child = child->next_opened) {
        if (!child->is_dirty) continue;
        TRY(bucket__spill(child));
        TRY(put_element(self, child->name, encode_bucket(child), ELEMENT_BUCKET));
    }
    self->last_leaf = NULL;
    if (self->node == NULL || !self->node->is_dirty) return OK;
    if (can_be_inline(self)) {
        if (self->node->page != 0) TRY(tx__free(self->tx, self->node->page, self->node->overflow));
        self->root = 0;
        return OK;
    }
    return spill_tree(self);
}
