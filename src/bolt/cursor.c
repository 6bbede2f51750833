#include "bolt/node.h"

typedef struct bolt_cursor_level level;

enum edge { FIRST, LAST };

void bolt_cursor_init(struct bolt_cursor *self, struct bolt_bucket *bucket) {
    self->bucket = bucket;
    self->depth = 0;
    self->error = OK;
}

static bool fail(struct bolt_cursor *self, enum err error) {
    self->error = error;
    self->depth = 0;
    return false;
}

static bool at_end(struct bolt_cursor *self) {
    self->depth = 0;
    return false;
}

static level *top(struct bolt_cursor *self) { return &self->levels[self->depth - 1]; }

static struct block level_block(const level *at) {
    return (struct block){at->page, at->size_bytes, at->count, page_flags(at->page) == FLAG_LEAF};
}

static bool is_leaf(const level *at) {
    return at->node != NULL ? ((const struct node *)at->node)->is_leaf : page_flags(at->page) == FLAG_LEAF;
}

static bool push_node(struct bolt_cursor *self, const struct node *node) {
    if (self->depth == BOLT_MAX_DEPTH)
        return fail(self, bolt__corrupt(self->bucket->tx->db, node->page, "the tree is too deep"));
    level *at = &self->levels[self->depth++];
    at->node = node;
    at->page = NULL;
    at->index = 0;
    at->count = node->list.count;
    return true;
}

static bool push_block(struct bolt_cursor *self, const struct block *block) {
    if (self->depth == BOLT_MAX_DEPTH)
        return fail(self, bolt__corrupt(self->bucket->tx->db, page_id(block->data), "the tree is too deep"));
    level *at = &self->levels[self->depth++];
    at->node = NULL;
    at->page = block->data;
    at->size_bytes = block->size_bytes;
    at->index = 0;
    at->count = block->count;
    return true;
}

static bool push_root(struct bolt_cursor *self) {
    struct bolt_bucket *bucket = self->bucket;
    self->depth = 0;
    self->error = OK;
    if (bucket->node != NULL) return push_node(self, bucket->node);
    struct block block = bucket->block;
    if (block.data == NULL) {
        enum err error = tx_block(bucket->tx, bucket->root, &block);
        if (error != OK) return fail(self, error);
    }
    return push_block(self, &block);
}

/* The child at the top level's index. */
static bool push_child(struct bolt_cursor *self) {
    const level *at = top(self);
    uint64_t page;
    if (at->node != NULL) {
        const struct item *item = &((const struct node *)at->node)->list.items[at->index];
        if (item->node != NULL) return push_node(self, item->node);
        page = item->page;
    } else {
        struct block block = level_block(at);
        page = block_child(&block, at->index);
    }
    struct block child;
    enum err error = tx_block(self->bucket->tx, page, &child);
    if (error != OK) return fail(self, error);
    return push_block(self, &child);
}

/* From the top level down to a leaf, always the first or the last child. */
static bool descend(struct bolt_cursor *self, enum edge edge) {
    for (;;) {
        level *at = top(self);
        at->index = edge == FIRST || at->count == 0 ? 0 : at->count - 1;
        if (is_leaf(at)) return true;
        if (!push_child(self)) return false;
    }
}

/* To the next or previous leaf that is not empty. */
static bool neighbour_leaf(struct bolt_cursor *self, enum edge edge) {
    while (self->depth > 1) {
        self->depth--;
        level *at = top(self);
        if (edge == FIRST ? at->index + 1 >= at->count : at->index == 0) continue;
        at->index += edge == FIRST ? 1u : UINT32_MAX;
        if (!push_child(self) || !descend(self, edge)) return false;
        if (top(self)->count > 0) return true;
    }
    return at_end(self);
}

static bool give(struct bolt_cursor *self, struct bolt_item *ret_item) {
    const level *at = top(self);
    struct bolt_item found;
    uint32_t flags;
    if (at->node != NULL) {
        const struct item *item = &((const struct node *)at->node)->list.items[at->index];
        flags = item->flags;
        found.key = item_key(item);
        found.value = slice_make(item->value, item->value_bytes);
    } else {
        struct block block = level_block(at);
        if (!block_item(&block, at->index, &found.key, &found.value, &flags))
            return fail(self, tx_bad_block(self->bucket->tx, &block));
    }
    found.is_bucket = (flags & ELEMENT_BUCKET) != 0;
    if (found.is_bucket) found.value = SLICE_NONE;
    *ret_item = found;
    return true;
}

bool bolt_cursor_first(struct bolt_cursor *self, struct bolt_item *ret_item) {
    if (!push_root(self) || !descend(self, FIRST)) return false;
    if (top(self)->count == 0 && !neighbour_leaf(self, FIRST)) return false;
    return give(self, ret_item);
}

bool bolt_cursor_last(struct bolt_cursor *self, struct bolt_item *ret_item) {
    if (!push_root(self) || !descend(self, LAST)) return false;
    if (top(self)->count == 0 && !neighbour_leaf(self, LAST)) return false;
    return give(self, ret_item);
}

/* Sets the top level's index for `key`: of a branch the child, of a leaf the first element at or after it. */
static bool search_level(struct bolt_cursor *self, struct slice key) {
    level *at = top(self);
    bool is_equal, is_good;
    if (at->node != NULL) {
        const struct node *node = at->node;
        at->index = node->is_leaf ? node__lower_bound(node, key, &is_equal) : node__child_index(node, key);
        return true;
    }
    struct block block = level_block(at);
    is_good = block.is_leaf ? block_lower_bound(&block, key, &at->index, &is_equal)
                            : block_child_index(&block, key, &at->index);
    return is_good || fail(self, tx_bad_block(self->bucket->tx, &block));
}

bool bolt_cursor_seek(struct bolt_cursor *self, struct slice key, struct bolt_item *ret_item) {
    if (!push_root(self)) return false;
    for (;;) {
        if (!search_level(self, key)) return false;
        if (is_leaf(top(self))) break;
        if (!push_child(self)) return false;
    }
    if (top(self)->index >= top(self)->count && !neighbour_leaf(self, FIRST)) return false;
    return give(self, ret_item);
}

bool bolt_cursor_next(struct bolt_cursor *self, struct bolt_item *ret_item) {
    if (self->depth == 0) return false;
    level *at = top(self);
    if (at->index + 1 < at->count)
        at->index++;
    else if (!neighbour_leaf(self, FIRST))
        return false;
    return give(self, ret_item);
}

bool bolt_cursor_previous(struct bolt_cursor *self, struct bolt_item *ret_item) {
    if (self->depth == 0) return false;
    level *at = top(self);
    if (at->index > 0)
        at->index--;
    else if (!neighbour_leaf(self, LAST))
        return false;
    return give(self, ret_item);
}
