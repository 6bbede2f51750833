#include "base/arena.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

struct arena_chunk {
    struct arena_chunk *older;
    size_t size_bytes;
    uint8_t bytes[] __attribute__((aligned(16)));
};

void arena_init(struct arena *self, size_t first_chunk_bytes) {
    *self = (struct arena){.first_chunk_bytes = first_chunk_bytes ? first_chunk_bytes : 4096};
}

static void free_chunks(struct arena_chunk *chunk, struct arena_chunk *stop) {
    while (chunk != stop) {
        struct arena_chunk *older = chunk->older;
        mem_free(chunk);
        chunk = older;
    }
}

void arena_release(struct arena *self) {
    free_chunks(self->chunks, NULL);
    arena_init(self, self->first_chunk_bytes);
}

void arena_reset(struct arena *self) {
    if (self->chunks == NULL) return;
    struct arena_chunk *first = self->chunks;
    while (first->older != NULL) first = first->older;
    free_chunks(self->chunks, first);
    self->chunks = first;
    self->at = first->bytes;
    self->end = first->bytes + first->size_bytes;
    self->used_bytes = 0;
}

void *arena_grow(struct arena *self, size_t size_bytes) {
    size_t rounded = (size_bytes + 7 + (size_bytes == 0)) & ~(size_t)7;
    CHECK(rounded >= size_bytes);
    if (self->chunks != NULL) self->used_bytes += (size_t)(self->at - self->chunks->bytes);
    size_t chunk_bytes = self->chunks != NULL ? self->chunks->size_bytes * 2 : self->first_chunk_bytes;
    if (chunk_bytes > ((size_t)1 << 20)) chunk_bytes = (size_t)1 << 20;
    if (chunk_bytes < rounded) chunk_bytes = rounded;
    struct arena_chunk *chunk = mem_alloc(sizeof *chunk + chunk_bytes);
    chunk->older = self->chunks;
    chunk->size_bytes = chunk_bytes;
    self->chunks = chunk;
    self->at = chunk->bytes + rounded;
    self->end = chunk->bytes + chunk_bytes;
    return chunk->bytes;
}

void *arena_calloc(struct arena *self, size_t count, size_t size_bytes) {
    size_t total;
    CHECK(!__builtin_mul_overflow(count, size_bytes, &total));
    void *piece = arena_alloc(self, total);
    memset(piece, 0, total);
    return piece;
}

struct slice arena_copy(struct arena *self, struct slice bytes) {
    uint8_t *copy = arena_alloc(self, bytes.len + 1);
    if (bytes.len != 0) memcpy(copy, bytes.data, bytes.len);
    copy[bytes.len] = 0;
    return slice_make(copy, bytes.len);
}

char *arena_strdup(struct arena *self, struct slice text) { return (char *)(uintptr_t)arena_copy(self, text).data; }

char *arena_printf(struct arena *self, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(length >= 0);
    char *text = arena_alloc(self, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

size_t arena_used(const struct arena *self) {
    return self->used_bytes + (self->chunks != NULL ? (size_t)(self->at - self->chunks->bytes) : 0);
}
