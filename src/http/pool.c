#include "http/pool.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_BYTES 64
#define CLASS_COUNT 16 /* up to 1024 bytes */
#define FREE_MAX 4096  /* blocks kept a class */

/* In front of each block; keeps malloc's alignment. */
struct head {
    union {
        struct head *next; /* in a list */
        size_t size_bytes; /* in use */
    } u;
    size_t class_index; /* CLASS_COUNT: malloc's */
};

_Static_assert(sizeof(struct head) == 16, "blocks must stay aligned to 16");

struct http__pool {
    nghttp2_mem mem;
    struct head *lists[CLASS_COUNT];
    size_t counts[CLASS_COUNT];
};

static void *pool_malloc(size_t size_bytes, void *context) {
    struct http__pool *self = context;
    size_t class_index = size_bytes == 0 ? 0 : (size_bytes - 1) / CLASS_BYTES;
    struct head *head;
    if (class_index < CLASS_COUNT && self->lists[class_index] != NULL) {
        head = self->lists[class_index];
        self->lists[class_index] = head->u.next;
        self->counts[class_index]--;
    } else if (class_index < CLASS_COUNT) {
        head = mem_alloc(sizeof *head + (class_index + 1) * CLASS_BYTES);
        head->class_index = class_index;
    } else {
        if (size_bytes > SIZE_MAX - sizeof *head) return NULL;
        head = mem_alloc(sizeof *head + size_bytes);
        head->class_index = CLASS_COUNT;
    }
    head->u.size_bytes = size_bytes;
    return head + 1;
}

static void pool_free(void *memory, void *context) {
    if (memory == NULL) return;
    struct http__pool *self = context;
    struct head *head = (struct head *)memory - 1;
    size_t class_index = head->class_index;
    if (class_index == CLASS_COUNT || self->counts[class_index] >= FREE_MAX) {
        mem_free(head);
        return;
    }
    head->u.next = self->lists[class_index];
    self->lists[class_index] = head;
    self->counts[class_index]++;
}

static void *pool_calloc(size_t count, size_t size_bytes, void *context) {
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total)) return NULL;
    void *memory = pool_malloc(total, context);
    if (memory != NULL) memset(memory, 0, total);
    return memory;
}

static void *pool_realloc(void *memory, size_t size_bytes, void *context) {
    if (memory == NULL) return pool_malloc(size_bytes, context);
    const struct head *head = (const struct head *)memory - 1;
    if (head->class_index < CLASS_COUNT && size_bytes <= (head->class_index + 1) * CLASS_BYTES) {
        ((struct head *)memory - 1)->u.size_bytes = size_bytes;
        return memory;
    }
    void *moved = pool_malloc(size_bytes, context);
    if (moved == NULL) return NULL;
    memcpy(moved, memory, head->u.size_bytes < size_bytes ? head->u.size_bytes : size_bytes);
    pool_free(memory, context);
    return moved;
}

struct http__pool *http__pool_new(void) {
    struct http__pool *self = NEW(struct http__pool);
    self->mem = (nghttp2_mem){self, pool_malloc, pool_free, pool_calloc, pool_realloc};
    return self;
}

void http__pool_free(struct http__pool *self) {
    for (size_t i = 0; i < CLASS_COUNT; i++)
        while (self->lists[i] != NULL) {
            struct head *head = self->lists[i];
            self->lists[i] = head->u.next;
            mem_free(head);
        }
    mem_free(self);
}

nghttp2_mem *http__pool_mem(struct http__pool *self) { return &self->mem; }
