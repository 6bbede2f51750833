/* buf.h - a byte string that grows.
 *
 * Floor 0. The caller owns the struct: {0} or BUF_INIT is an empty one, buf_release gives its memory back and
 * leaves it empty again. Growth ends the process when memory is out (mem.h), so appending cannot fail.
 * `data` moves on growth. Not for two threads at once.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

#include <stdarg.h>

struct buf {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

#define BUF_INIT ((struct buf){0})
#define CLEANUP_BUF __attribute__((cleanup(buf_release)))

void buf_release(struct buf *self);
static inline void buf_clear(struct buf *self) { self->len = 0; }
void buf_grow(struct buf *self, size_t more_bytes);

/* Makes room for `more_bytes` behind the end and returns where they go; len does not change until the caller adds
 * what it wrote to it. */
static inline uint8_t *buf_reserve(struct buf *self, size_t more_bytes) {
    if (__builtin_expect(self->capacity - self->len < more_bytes, 0)) buf_grow(self, more_bytes);
    return self->data + self->len;
}

/* Lengthens by `more_bytes` of unset memory and returns where they begin. */
static inline uint8_t *buf_extend(struct buf *self, size_t more_bytes) {
    uint8_t *at = buf_reserve(self, more_bytes);
    self->len += more_bytes;
    return at;
}

static inline void buf_append(struct buf *self, const void *data, size_t len) {
    if (len == 0) return;
    memcpy(buf_extend(self, len), data, len);
}

static inline void buf_append_slice(struct buf *self, struct slice bytes) { buf_append(self, bytes.data, bytes.len); }

static inline void buf_append_byte(struct buf *self, uint8_t byte) { *buf_extend(self, 1) = byte; }
void buf_append_cstr(struct buf *self, const char *text);
void buf_append_varint(struct buf *self, uint64_t value);
void buf_printf(struct buf *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *self, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/* Takes the first `count` bytes (at most len) away; the rest moves to the front. */
void buf_consume(struct buf *self, size_t count);

/* Puts a zero byte behind the end (not counted in len) and returns the whole as a C string, valid until the next
 * change. */
const char *buf_cstr(struct buf *self);
/* The bytes so far, valid until the next change. */
static inline struct slice buf_slice(const struct buf *self) { return slice_make(self->data, self->len); }
/* Hands the memory over (mem_free), zero-terminated; the buf is empty afterwards. Never NULL. */
char *buf_detach_cstr(struct buf *self);

#endif
