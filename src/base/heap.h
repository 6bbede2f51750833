/* heap.h - a binary heap of pointers whose elements know their place.
 *
 * Floor 0. Smallest `key` first; ties come in the order of insertion being undefined, so callers that need an order
 * put it into the key. Each element embeds a heap_node; the heap owns only its array.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    size_t place; /* index + 1 in the heap; 0 = in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t capacity;
};

void heap_init(struct heap *self);
void heap_release(struct heap *self);
/* node->key must be set and node->place 0. */
void heap_push(struct heap *self, struct heap_node *node);
/* Smallest, or NULL when empty. */
static inline struct heap_node *heap_peek(const struct heap *self) { return self->count ? self->nodes[0] : NULL; }
/* Harmless when the node is in no heap. */
void heap_remove(struct heap *self, struct heap_node *node);
/* Moves a node that is in the heap to its new key. */
void heap_update(struct heap *self, struct heap_node *node, int64_t key);
static inline bool heap_contains(const struct heap_node *node) { return node->place != 0; }

#endif
