/* arena.h - memory that is freed all at once: one request, one arena.
 *
 * Floor 0. Allocation is a pointer bump; there is no free of a single piece. arena_reset keeps the first chunk, so
 * that an arena used again for the next request costs no malloc. Not for two threads at once.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

struct arena_chunk;

struct arena {
    uint8_t *at;                /* next free byte */
    uint8_t *end;               /* end of the newest chunk */
    struct arena_chunk *chunks; /* newest first */
    size_t first_chunk_bytes;
    size_t used_bytes; /* in full chunks, for arena_used */
};

/* The first chunk (4096 bytes when 0) is allocated with the first use. */
void arena_init(struct arena *self, size_t first_chunk_bytes);
/* Frees everything; the arena is as after arena_init. */
void arena_release(struct arena *self);
/* Forgets all pieces, keeps the first chunk. */
void arena_reset(struct arena *self);

void *arena_grow(struct arena *self, size_t size_bytes);

/* 8-byte aligned, not zeroed, never NULL (mem.h); lives until reset or release. */
static inline void *arena_alloc(struct arena *self, size_t size_bytes) {
    size_t rounded = (size_bytes + 7 + (size_bytes == 0)) & ~(size_t)7;
    if (__builtin_expect((size_t)(self->end - self->at) < rounded || rounded < size_bytes, 0))
        return arena_grow(self, size_bytes);
    void *piece = self->at;
    self->at += rounded;
    return piece;
}

void *arena_calloc(struct arena *self, size_t count, size_t size_bytes);
#define ARENA_NEW(arena, type) ((type *)arena_calloc((arena), 1, sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_calloc((arena), (count), sizeof(type)))

/* Copies; the copy has a zero byte behind its end. */
struct slice arena_copy(struct arena *self, struct slice bytes);
char *arena_strdup(struct arena *self, struct slice text);
char *arena_printf(struct arena *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Bytes handed out since init or reset, with rounding. */
size_t arena_used(const struct arena *self);

#endif
