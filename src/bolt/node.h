/* node.h - a page of a tree while a write transaction changes it.
 *
 * Floor 2, private to bolt/. Nodes and their arrays live in the transaction's arena; keys and values stay where they
 * are: in the mapped file or with whoever put them. A node is made when a key below it changes, with the whole path
 * from the root, so a dirty node's ancestors are nodes and dirty too. Nothing reaches the file before node__spill.
 */
#ifndef BOLT_NODE_H
#define BOLT_NODE_H

#include "bolt/db.h"

struct item {
    const uint8_t *key;
    union {
        const uint8_t *value; /* of a leaf */
        struct node *node;    /* of a branch: the child when it is a node */
    };
    union {
        struct {
            uint32_t value_bytes;
            uint32_t flags; /* element_flag */
        };
        uint64_t page; /* of a branch: the child's page in the file; 0 = it has none yet */
    };
    uint32_t key_bytes;
};

struct item_list {
    struct item *items;
    uint32_t count;
    uint32_t capacity;
};

struct node {
    struct item_list list;
    uint64_t data_bytes; /* all keys and values */
    uint64_t page;       /* where it came from; 0 = inline or new */
    uint32_t overflow;
    bool is_leaf;
    bool is_dirty;
    bool has_shrunk; /* lost items: may need merging */
};

static inline struct slice item_key(const struct item *item) { return slice_make(item->key, item->key_bytes); }

struct node *node__new(struct bolt_tx *tx, bool is_leaf);
/* From a page (its id) or an inline page (0). */
enum err node__load(struct bolt_tx *tx, const struct block *block, uint64_t page, struct node **ret_node) MUST_USE;
/* The child of a branch as a node. */
enum err node__child(struct bolt_tx *tx, struct node *self, uint32_t index, struct node **ret_child) MUST_USE;
/* The first item at or after `key`. */
uint32_t node__lower_bound(const struct node *self, struct slice key, bool *ret_is_equal);
/* Of a branch: the item whose range holds `key`. */
uint32_t node__child_index(const struct node *self, struct slice key);
void node__insert(struct bolt_tx *tx, struct node *self, uint32_t index, struct item item);
void node__remove(struct node *self, uint32_t index);
uint64_t node__size_bytes(const struct node *self);
/* Below a dirty branch: takes empty children out and merges small ones with a neighbour. */
enum err node__rebalance(struct bolt_tx *tx, struct node *self) MUST_USE;
/* Writes a dirty node and all dirty ones below to new pages, split where too large; the pages (with their first keys)
 * are appended to `parts`, the old ones freed. */
enum err node__spill(struct bolt_tx *tx, struct node *self, double fill, struct item_list *parts) MUST_USE;
/* Items [from, to) as a page of size_bytes. */
void node__write(const struct node *self, uint32_t from, uint32_t to, uint64_t page, uint8_t *out, uint64_t size_bytes,
                 uint32_t overflow);
void item_list_push(struct bolt_tx *tx, struct item_list *list, struct item item);

#endif
