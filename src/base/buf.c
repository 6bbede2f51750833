#include "base/buf.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>

void buf_release(struct buf *self) {
    mem_free(self->data);
    *self = BUF_INIT;
}

void buf_grow(struct buf *self, size_t more_bytes) {
    size_t wanted = self->len + more_bytes;
    CHECK(wanted >= self->len);
    size_t capacity = self->capacity ? self->capacity : 64;
    while (capacity < wanted) capacity += capacity / 2 + 16;
    self->data = mem_realloc(self->data, capacity);
    self->capacity = capacity;
}

void buf_append_cstr(struct buf *self, const char *text) { buf_append(self, text, strlen(text)); }

void buf_append_varint(struct buf *self, uint64_t value) {
    self->len += varint_store(buf_reserve(self, VARINT_MAX_BYTES), value);
}

void buf_vprintf(struct buf *self, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    size_t room = self->capacity - self->len;
    int written = vsnprintf(room ? (char *)self->data + self->len : NULL, room, format, args);
    CHECK(written >= 0);
    if ((size_t)written >= room) {
        buf_grow(self, (size_t)written + 1);
        vsnprintf((char *)self->data + self->len, (size_t)written + 1, format, again);
    }
    va_end(again);
    self->len += (size_t)written;
}

void buf_printf(struct buf *self, const char *format, ...) {
    va_list args;
    va_start(args, format);
    buf_vprintf(self, format, args);
    va_end(args);
}

void buf_consume(struct buf *self, size_t count) {
    CHECK(count <= self->len);
    self->len -= count;
    if (self->len != 0) memmove(self->data, self->data + count, self->len);
}

const char *buf_cstr(struct buf *self) {
    *buf_reserve(self, 1) = 0;
    return (const char *)self->data;
}

char *buf_detach_cstr(struct buf *self) {
    buf_cstr(self);
    char *text = (char *)self->data;
    *self = BUF_INIT;
    return text;
}
