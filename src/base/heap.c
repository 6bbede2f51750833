#include "base/heap.h"

#include "base/check.h"
#include "base/mem.h"

void heap_init(struct heap *self) { *self = (struct heap){0}; }

void heap_release(struct heap *self) {
    mem_free(self->nodes);
    heap_init(self);
}

static void put_at(struct heap *self, size_t index, struct heap_node *node) {
    self->nodes[index] = node;
    node->place = index + 1;
}

static void sift_up(struct heap *self, size_t index, struct heap_node *node) {
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (self->nodes[parent]->key <= node->key) break;
        put_at(self, index, self->nodes[parent]);
        index = parent;
    }
    put_at(self, index, node);
}

static void sift_down(struct heap *self, size_t index, struct heap_node *node) {
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= self->count) break;
        if (child + 1 < self->count && self->nodes[child + 1]->key < self->nodes[child]->key) child++;
        if (self->nodes[child]->key >= node->key) break;
        put_at(self, index, self->nodes[child]);
        index = child;
    }
    put_at(self, index, node);
}

void heap_push(struct heap *self, struct heap_node *node) {
    CHECK(node->place == 0);
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 16;
        self->nodes = mem_realloc(self->nodes, self->capacity * sizeof *self->nodes);
    }
    self->count++;
    sift_up(self, self->count - 1, node);
}

static void resettle(struct heap *self, size_t index, struct heap_node *node) {
    if (index > 0 && self->nodes[(index - 1) / 2]->key > node->key)
        sift_up(self, index, node);
    else
        sift_down(self, index, node);
}

void heap_remove(struct heap *self, struct heap_node *node) {
    if (node->place == 0) return;
    size_t index = node->place - 1;
    CHECK(index < self->count && self->nodes[index] == node);
    node->place = 0;
    struct heap_node *last = self->nodes[--self->count];
    if (last != node) resettle(self, index, last);
}

void heap_update(struct heap *self, struct heap_node *node, int64_t key) {
    CHECK(node->place != 0);
    node->key = key;
    resettle(self, node->place - 1, node);
}
