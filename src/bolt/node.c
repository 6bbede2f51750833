#include "bolt/node.h"

#include "base/check.h"

#define MIN_ITEMS_A_PART 2
#define MAX_UNSPLIT_ITEMS 4

/* ---- items ---- */

static void reserve(struct bolt_tx *tx, struct item_list *list, uint32_t capacity) {
    if (capacity <= list->capacity) return;
    struct item *items = arena_alloc(tx->arena, (size_t)capacity * sizeof *items);
    if (list->count > 0) memcpy(items, list->items, list->count * sizeof *items);
    list->items = items;
    list->capacity = capacity;
}

void item_list_push(struct bolt_tx *tx, struct item_list *list, struct item item) {
    if (list->count == list->capacity) reserve(tx, list, list->capacity < 8 ? 16 : list->capacity * 2);
    list->items[list->count++] = item;
}

static uint64_t item_data_bytes(const struct node *self, const struct item *item) {
    return item->key_bytes + (self->is_leaf ? (uint64_t)item->value_bytes : 0);
}

void node__insert(struct bolt_tx *tx, struct node *self, uint32_t index, struct item item) {
    struct item_list *list = &self->list;
    if (list->count == list->capacity) reserve(tx, list, list->capacity < 8 ? 16 : list->capacity * 2);
    if (index < list->count)
        memmove(list->items + index + 1, list->items + index, (list->count - index) * sizeof *list->items);
    list->items[index] = item;
    list->count++;
    self->data_bytes += item_data_bytes(self, &item);
}

void node__remove(struct node *self, uint32_t index) {
    struct item_list *list = &self->list;
    self->data_bytes -= item_data_bytes(self, &list->items[index]);
    list->count--;
    memmove(list->items + index, list->items + index + 1, (list->count - index) * sizeof *list->items);
}

uint64_t node__size_bytes(const struct node *self) {
    return PAGE_HEADER_BYTES + (uint64_t)self->list.count * ELEMENT_BYTES + self->data_bytes;
}

uint32_t node__lower_bound(const struct node *self, struct slice key, bool *ret_is_equal) {
    uint32_t low = 0, high = self->list.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = key_compare(item_key(&self->list.items[middle]), key);
        if (order == 0) {
            *ret_is_equal = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_is_equal = false;
    return low;
}

uint32_t node__child_index(const struct node *self, struct slice key) {
    bool is_equal;
    uint32_t index = node__lower_bound(self, key, &is_equal);
    return is_equal || index == 0 ? index : index - 1;
}

/* ---- making nodes ---- */

struct node *node__new(struct bolt_tx *tx, bool is_leaf) {
    struct node *self = ARENA_NEW(tx->arena, struct node);
    self->is_leaf = is_leaf;
    return self;
}

enum err node__load(struct bolt_tx *tx, const struct block *block, uint64_t page, struct node **ret_node) {
    struct node *self = node__new(tx, block->is_leaf);
    reserve(tx, &self->list, block->count + 4);
    for (uint32_t i = 0; i < block->count; i++) {
        struct slice key, value = SLICE_NONE;
        struct item *item = &self->list.items[i];
        if (block->is_leaf) {
            uint32_t flags;
            if (!block_item(block, i, &key, &value, &flags)) return tx_bad_block(tx, block);
            item->value = value.data;
            item->value_bytes = (uint32_t)value.len;
            item->flags = flags;
        } else {
            if (!block_key(block, i, &key)) return tx_bad_block(tx, block);
            item->node = NULL;
            item->page = block_child(block, i);
        }
        item->key = key.data;
        item->key_bytes = (uint32_t)key.len;
        self->data_bytes += key.len + value.len;
    }
    self->list.count = block->count;
    self->page = page;
    self->overflow = page != 0 ? page_overflow(block->data) : 0;
    *ret_node = self;
    return OK;
}

enum err node__child(struct bolt_tx *tx, struct node *self, uint32_t index, struct node **ret_child) {
    struct item *item = &self->list.items[index];
    if (item->node == NULL) {
        struct block block;
        TRY(tx_block(tx, item->page, &block));
        TRY(node__load(tx, &block, item->page, &item->node));
    }
    *ret_child = item->node;
    return OK;
}

/* ---- rebalance ---- */

/* The right child's items go to the end of the left one's. */
static enum err merge_children(struct bolt_tx *tx, struct node *self, uint32_t left_index) {
    struct node *left, *right;
    TRY(node__child(tx, self, left_index, &left));
    TRY(node__child(tx, self, left_index + 1, &right));
    if (left->is_leaf != right->is_leaf) return bolt__corrupt(tx->db, right->page, "it is on the wrong level");
    reserve(tx, &left->list, left->list.count + right->list.count);
    memcpy(left->list.items + left->list.count, right->list.items, right->list.count * sizeof *right->list.items);
    left->list.count += right->list.count;
    left->data_bytes += right->data_bytes;
    left->is_dirty = true;
    if (right->page != 0) TRY(tx__free(tx, right->page, right->overflow));
    node__remove(self, left_index + 1);
    self->has_shrunk = true;
    return OK;
}

static bool is_too_small(const struct bolt_tx *tx, const struct node *self) {
    return node__size_bytes(self) <= tx->db->page_size_bytes / 4 || self->list.count <= (self->is_leaf ? 1u : 2u);
}

enum err node__rebalance(struct bolt_tx *tx, struct node *self) {
    if (self->is_leaf) return OK;
    for (uint32_t i = 0; i < self->list.count; i++) {
        struct node *child = self->list.items[i].node;
        if (child != NULL && child->is_dirty) TRY(node__rebalance(tx, child));
    }
    for (uint32_t i = 0; i < self->list.count;) {
        struct node *child = self->list.items[i].node;
        if (child == NULL || !child->has_shrunk) {
            i++;
        } else if (child->list.count == 0) {
            if (child->page != 0) TRY(tx__free(tx, child->page, child->overflow));
            node__remove(self, i);
            self->has_shrunk = true;
        } else if (!is_too_small(tx, child) || self->list.count == 1) {
            i++;
        } else {
            /* The child at i is now part of the one before it, or (i = 0) has grown and is looked at again. */
            TRY(merge_children(tx, self, i > 0 ? i - 1 : 0));
        }
    }
    return OK;
}

/* ---- spill ---- */

void node__write(const struct node *self, uint32_t from, uint32_t to, uint64_t page, uint8_t *out, uint64_t size_bytes,
                 uint32_t overflow) {
    page_write_header(out, page, self->is_leaf ? FLAG_LEAF : FLAG_BRANCH, to - from, overflow);
    uint8_t *element = out + PAGE_HEADER_BYTES, *data = element + (size_t)(to - from) * ELEMENT_BYTES;
    for (uint32_t i = from; i < to; i++, element += ELEMENT_BYTES) {
        const struct item *item = &self->list.items[i];
        uint32_t pos = (uint32_t)(data - element);
        if (self->is_leaf) {
            store_u32le(element, item->flags);
            store_u32le(element + 4, pos);
            store_u32le(element + 8, item->key_bytes);
            store_u32le(element + 12, item->value_bytes);
        } else {
            store_u32le(element, pos);
            store_u32le(element + 4, item->key_bytes);
            store_u64le(element + 8, item->page);
        }
        memcpy(data, item->key, item->key_bytes);
        data += item->key_bytes;
        if (self->is_leaf && item->value_bytes > 0) {
            memcpy(data, item->value, item->value_bytes);
            data += item->value_bytes;
        }
    }
    memset(data, 0, (size_t)(size_bytes - (uint64_t)(data - out)));
}

/* The end of the part that begins at `from`, and its size. *rest_bytes: what the items from there on take. */
static uint32_t part_end(const struct node *self, uint32_t from, uint64_t threshold, uint64_t page_bytes,
                         uint64_t *rest_bytes, uint64_t *ret_part_bytes) {
    uint32_t count = self->list.count;
    if (count - from <= MAX_UNSPLIT_ITEMS || PAGE_HEADER_BYTES + *rest_bytes <= page_bytes) {
        *ret_part_bytes = PAGE_HEADER_BYTES + *rest_bytes;
        return count;
    }
    uint64_t bytes = PAGE_HEADER_BYTES;
    uint32_t to = from;
    for (; to < count - MIN_ITEMS_A_PART; to++) {
        uint64_t more = ELEMENT_BYTES + item_data_bytes(self, &self->list.items[to]);
        if (to - from >= MIN_ITEMS_A_PART && bytes + more > threshold) break;
        bytes += more;
    }
    *rest_bytes -= bytes - PAGE_HEADER_BYTES;
    *ret_part_bytes = bytes;
    return to;
}

static enum err spill_children(struct bolt_tx *tx, struct node *self, double fill) {
    struct item_list spilled = {0};
    reserve(tx, &spilled, self->list.count + 8);
    for (uint32_t i = 0; i < self->list.count; i++) {
        const struct item *item = &self->list.items[i];
        if (item->node != NULL && item->node->is_dirty)
            TRY(node__spill(tx, item->node, fill, &spilled));
        else
            item_list_push(tx, &spilled, *item);
    }
    self->list = spilled;
    self->data_bytes = 0;
    for (uint32_t i = 0; i < spilled.count; i++) self->data_bytes += spilled.items[i].key_bytes;
    return OK;
}

enum err node__spill(struct bolt_tx *tx, struct node *self, double fill, struct item_list *parts) {
    if (!self->is_leaf) TRY(spill_children(tx, self, fill));
    uint64_t page_bytes = tx->db->page_size_bytes, threshold = (uint64_t)(fill * (double)page_bytes);
    uint64_t rest_bytes = node__size_bytes(self) - PAGE_HEADER_BYTES;
    uint32_t from = 0;
    tx__choose_place(tx, rest_bytes >> tx->db->page_shift);
    do {
        uint64_t part_bytes;
        uint32_t to = part_end(self, from, threshold, page_bytes, &rest_bytes, &part_bytes);
        uint64_t pages = (part_bytes + page_bytes - 1) / page_bytes;
        CHECK(pages <= UINT32_MAX);
        uint64_t page = tx__allocate(tx, (uint32_t)pages);
        uint8_t *out;
        TRY(tx__stage(tx, page, pages * page_bytes, &out));
        node__write(self, from, to, page, out, pages * page_bytes, (uint32_t)(pages - 1));
        struct item part = {.page = page};
        if (to > from) {
            part.key = self->list.items[from].key;
            part.key_bytes = self->list.items[from].key_bytes;
        }
        item_list_push(tx, parts, part);
        from = to;
    } while (from < self->list.count);
    if (self->page != 0) TRY(tx__free(tx, self->page, self->overflow));
    return OK;
}
