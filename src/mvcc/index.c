/* index.c - the key index as others see it: keys, ranges, sweeps. */
#include "mvcc/index.h"

#include "base/check.h"
#include "mvcc/index_private.h"

struct index *index_new(void) {
    return NEW(struct index);
}

static void free_node(struct index *self, struct index_node *node) {
    if (node == NULL) return;
    if (node->is_leaf) {
        struct index_leaf *leaf = (struct index_leaf *)node;
        for (size_t i = 0; i < node->count; i++) index__key_free(self, leaf->keys[i]);
    } else {
        struct index_inner *inner = (struct index_inner *)node;
        for (size_t i = 0; i < node->count; i++) {
            free_node(self, inner->children[i]);
            struct index_separator *separator = inner->separators[i];
            if (separator != NULL) slab_free(&self->slab, separator, sizeof *separator + separator->length);
        }
    }
    mem_free(node);
}

void index_free(struct index *self) {
    if (self == NULL) return;
    free_node(self, self->root);
    slab_release(&self->slab);
    mem_free(self);
}

uint64_t index_live_count(const struct index *self) { return self->live_count; }
uint64_t index_key_count(const struct index *self) { return self->key_count; }

size_t index_memory_bytes(const struct index *self) {
    return sizeof *self + self->node_bytes + self->slab.held_bytes +
           self->slab.chunks.capacity * sizeof *self->slab.chunks.items;
}

struct slice index_key_bytes(const struct index_key *key) {
    return index__bytes(key);
}
bool index_key_has_lease(const struct index_key *key) { return key->has_lease; }
void index_key_set_lease(struct index_key *key, bool has_lease) { key->has_lease = has_lease; }

/* ---- one key ---- */

struct index_key *index_find(const struct index *self, struct slice key) {
    struct index_path path;
    index__descend(self, key, &path);
    return path.is_found ? path.leaf->keys[path.position] : NULL;
}

bool index_get(const struct index *self, struct slice key, int64_t at, struct index_item *ret_item) {
    struct index_key *found = index_find(self, key);
    return found != NULL && index_key_at(found, at, ret_item);
}

static struct index_before before(const struct index_key *key) {
    return (struct index_before){!key->is_dead, key->has_lease, {key->head_main, key->head_sub}};
}

struct index_item index_put(struct index *self, struct slice key, struct revision revision,
                            struct index_before *ret_before) {
    struct index_path path;
    index__descend(self, key, &path);
    struct index_key *entry;
    if (ret_before != NULL) *ret_before = (struct index_before){0};
    if (path.is_found) {
        entry = path.leaf->keys[path.position];
        if (ret_before != NULL) *ret_before = before(entry);
        index__key_append(self, entry, revision, false);
        index__set_live(self, &path, true);
    } else {
        CHECK(revision.sub <= UINT32_MAX);
        entry = index__key_new(self, key);
        entry->head_main = entry->create_main = revision.main;
        entry->head_sub = (uint32_t)revision.sub;
        entry->version = 1;
        index__insert(self, &path, entry);
    }
    struct index_item item;
    CHECK(index_key_at(entry, INT64_MAX, &item));
    return item;
}

bool index_tombstone(struct index *self, struct slice key, struct revision revision, struct index_before *ret_before) {
    struct index_path path;
    index__descend(self, key, &path);
    if (!path.is_found || path.leaf->keys[path.position]->is_dead) return false;
    struct index_key *entry = path.leaf->keys[path.position];
    if (ret_before != NULL) *ret_before = before(entry);
    index__key_append(self, entry, revision, true);
    index__set_live(self, &path, false);
    return true;
}

/* ---- ranges ---- */

struct index_range index_range_of(struct slice key, struct slice range_end) {
    struct index_range range = {.begin = key, .end = range_end};
    if (range_end.len == 0)
        range.is_single = true;
    else if (range_end.len == 1 && range_end.data[0] == 0)
        range.is_open = true;
    return range;
}

static bool is_beyond(const struct index_range *self, struct slice key) {
    if (self->is_single) return !slice_equal(key, self->begin);
    return !self->is_open && slice_compare(key, self->end) >= 0;
}

bool index_range_has(const struct index_range *self, struct slice key) {
    if (self->is_single) return slice_equal(key, self->begin);
    return slice_compare(key, self->begin) >= 0 && !is_beyond(self, key);
}

/* Live keys before the place of `key`. */
static uint64_t rank_of(const struct index *self, struct slice key) {
    struct index_path path;
    index__descend(self, key, &path);
    if (path.leaf == NULL) return 0;
    uint64_t rank = 0;
    for (size_t i = 0; i < path.depth; i++)
        for (size_t slot = 0; slot < path.slot[i]; slot++) rank += path.inner[i]->live[slot];
    uint64_t before = path.position >= 64 ? path.leaf->live : path.leaf->live & (((uint64_t)1 << path.position) - 1);
    return rank + (uint64_t)__builtin_popcountll(before);
}

uint64_t index_count(const struct index *self, const struct index_range *range) {
    if (range->is_single) {
        struct index_key *key = index_find(self, range->begin);
        return key != NULL && !key->is_dead;
    }
    if (!range->is_open && slice_compare(range->end, range->begin) <= 0) return 0;
    uint64_t from = range->begin.len == 0 ? 0 : rank_of(self, range->begin);
    uint64_t to = range->is_open ? self->live_count : rank_of(self, range->end);
    return to - from;
}

struct index_cursor index_seek(const struct index *self, struct slice begin) {
    struct index_path path;
    index__descend(self, begin, &path);
    return (struct index_cursor){path.leaf, path.position};
}

struct index_cursor index_seek_live(const struct index *self, struct slice begin, uint64_t n) {
    uint64_t rank = rank_of(self, begin) + n;
    if (rank >= self->live_count) return (struct index_cursor){NULL, 0};
    struct index_node *node = self->root;
    while (!node->is_leaf) {
        struct index_inner *inner = (struct index_inner *)node;
        size_t slot = 0;
        while (rank >= inner->live[slot]) rank -= inner->live[slot++];
        node = inner->children[slot];
    }
    uint64_t live = ((struct index_leaf *)node)->live;
    while (rank-- > 0) live &= live - 1;
    return (struct index_cursor){node, (size_t)__builtin_ctzll(live)};
}

struct index_key *index_next(struct index_cursor *cursor, const struct index_range *range) {
    const struct index_leaf *leaf = cursor->leaf;
    while (leaf != NULL && cursor->position >= leaf->node.count) {
        cursor->leaf = leaf = leaf->next;
        cursor->position = 0;
    }
    if (leaf == NULL) return NULL;
    struct index_key *key = leaf->keys[cursor->position];
    if (is_beyond(range, index__bytes(key))) return NULL;
    cursor->position++;
    return key;
}

struct index_key *index_next_live(struct index_cursor *cursor, const struct index_range *range) {
    const struct index_leaf *leaf = cursor->leaf;
    while (leaf != NULL) {
        uint64_t left = cursor->position >= 64 ? 0 : leaf->live >> cursor->position;
        if (left != 0) {
            cursor->position += (size_t)__builtin_ctzll(left);
            struct index_key *key = leaf->keys[cursor->position];
            if (is_beyond(range, index__bytes(key))) return NULL;
            cursor->position++;
            return key;
        }
        cursor->leaf = leaf = leaf->next;
        cursor->position = 0;
    }
    return NULL;
}

/* ---- sweeps ---- */

void index_sweep_release(struct index_sweep *self) {
    buf_release(&self->last_key);
    *self = (struct index_sweep){0};
}

/* Where the sweep goes on; NULL leaf when it is over. */
static struct index_cursor sweep_resume(const struct index *self, const struct index_sweep *sweep) {
    if (!sweep->is_started) return (struct index_cursor){self->first, 0};
    struct index_path path;
    index__descend(self, buf_slice(&sweep->last_key), &path);
    struct index_cursor cursor = {path.leaf, path.position + path.is_found};
    if (path.leaf != NULL && cursor.position >= path.leaf->node.count)
        cursor = (struct index_cursor){path.leaf->next, 0};
    return cursor;
}

static void sweep_remember(struct index_sweep *sweep, const struct index_key *key) {
    sweep->is_started = true;
    buf_clear(&sweep->last_key);
    buf_append_slice(&sweep->last_key, index__bytes(key));
}

static void remove_key(struct index *self, const struct index_key *key) {
    struct index_path path;
    index__descend(self, index__bytes(key), &path);
    index__remove(self, &path);
}

void index_compact(struct index *self, int64_t at, struct index_sweep *sweep, size_t budget_keys, size_t budget_drops,
                   struct index_dropped_list *dropped, bool *ret_kept_any) {
    size_t drops_before = dropped->list.count;
    while (!sweep->is_finished) {
        struct index_cursor cursor = sweep_resume(self, sweep);
        const struct index_leaf *leaf = cursor.leaf;
        if (leaf == NULL) {
            sweep->is_finished = true;
            return;
        }
        /* One leaf at a time: taking keys out afterwards may join leaves. */
        struct index_key *empty[INDEX_FANOUT];
        size_t empty_count = 0;
        struct index_key *last = NULL;
        bool is_spent = false;
        for (size_t i = cursor.position; i < leaf->node.count && !is_spent; i++) {
            last = leaf->keys[i];
            if (index__key_compact(self, last, at, dropped, ret_kept_any)) empty[empty_count++] = last;
            budget_keys = budget_keys > 0 ? budget_keys - 1 : 0;
            is_spent = budget_keys == 0 || dropped->list.count - drops_before >= budget_drops;
        }
        sweep_remember(sweep, last);
        for (size_t i = 0; i < empty_count; i++) remove_key(self, empty[i]);
        if (is_spent) return;
    }
}

void index_keep(const struct index *self, int64_t at, int64_t up_to, struct index_sweep *sweep, size_t budget_keys,
                struct index_revisions *kept, bool *ret_kept_any) {
    if (sweep->is_finished) return;
    struct index_cursor cursor = sweep_resume(self, sweep);
    struct index_range all = {.is_open = true};
    struct index_key *key, *last = NULL;
    while (budget_keys-- > 0) {
        key = index_next(&cursor, &all);
        if (key == NULL) {
            sweep->is_finished = true;
            return;
        }
        last = key;
        struct revision revision;
        if (!index__key_keep(key, at, &revision)) continue;
        *ret_kept_any = true;
        if (revision.main <= up_to) VEC_PUSH(&kept->list, revision);
    }
    if (last != NULL) sweep_remember(sweep, last);
}

/* ---- checking ---- */

struct check_state {
    const struct index_leaf *expected_leaf;
    struct slice previous;
    bool has_previous;
    uint64_t keys;
};

static void check_key(const struct index_key *key, bool live_bit) {
    CHECK(live_bit == !key->is_dead);
    CHECK(!(key->is_dead && key->has_lease));
    if (!key->has_history) return;
    const struct index_history *history = key->history;
    CHECK(history->count >= 2 && history->count <= history->capacity);
    CHECK(history->revisions[history->count - 1].main == key->head_main);
    CHECK(history->revisions[history->count - 1].is_tombstone == key->is_dead);
    for (size_t i = 1; i < history->count; i++) {
        const struct index_revision *a = &history->revisions[i - 1], *b = &history->revisions[i];
        CHECK(a->main < b->main || (a->main == b->main && a->sub < b->sub));
        CHECK(!(a->is_tombstone && b->is_tombstone));
    }
}

static uint64_t check_node(const struct index *self, const struct index_node *node, struct slice low, struct slice high,
                           struct check_state *state, size_t depth) {
    CHECK(node->count > 0 && node->count <= INDEX_FANOUT);
    uint64_t live = 0;
    if (!node->is_leaf) {
        const struct index_inner *inner = (const struct index_inner *)node;
        CHECK(node->count >= 2 && inner->separators[0] == NULL);
        for (size_t i = 0; i < node->count; i++) {
            const struct index_separator *at = inner->separators[i];
            const struct index_separator *after = i + 1u < node->count ? inner->separators[i + 1] : NULL;
            struct slice from = at != NULL ? slice_make(at->bytes, at->length) : low;
            struct slice to = after != NULL ? slice_make(after->bytes, after->length) : high;
            uint64_t below = check_node(self, inner->children[i], from, to, state, depth + 1);
            CHECK(below == inner->live[i]);
            live += below;
        }
        return live;
    }
    const struct index_leaf *leaf = (const struct index_leaf *)node;
    CHECK(leaf == state->expected_leaf);
    state->expected_leaf = leaf->next;
    for (size_t i = 0; i < node->count; i++) {
        struct slice bytes = index__bytes(leaf->keys[i]);
        CHECK(!state->has_previous || slice_compare(state->previous, bytes) < 0);
        CHECK(slice_compare(low, bytes) <= 0 && (high.data == NULL || slice_compare(bytes, high) < 0));
        check_key(leaf->keys[i], leaf->live >> i & 1);
        live += leaf->live >> i & 1;
        state->previous = bytes;
        state->has_previous = true;
        state->keys++;
        struct index_path path;
        index__descend(self, bytes, &path);
        CHECK(path.is_found && path.leaf == leaf && path.position == i);
    }
    return live;
}

void index_check(const struct index *self) {
    if (self->root == NULL) {
        CHECK(self->first == NULL && self->key_count == 0 && self->live_count == 0);
        return;
    }
    struct check_state state = {.expected_leaf = self->first};
    uint64_t live = check_node(self, self->root, SLICE_NONE, SLICE_NONE, &state, 0);
    CHECK(state.expected_leaf == NULL && live == self->live_count && state.keys == self->key_count);
}
