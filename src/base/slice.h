/* slice.h - a view of bytes that somebody else owns.
 *
 * Floor 0. A slice says nothing of lifetime; each function that returns one says how long it lives.
 * An absent value is {NULL, 0}; an empty one has len 0 and any pointer.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data;
    size_t len;
};

#define SLICE_LITERAL(text) ((struct slice){(const uint8_t *)(text), sizeof(text) - 1})
#define SLICE_NONE ((struct slice){NULL, 0})

static inline struct slice slice_make(const void *data, size_t len) {
    return (struct slice){(const uint8_t *)data, len};
}

static inline struct slice slice_from_cstr(const char *text) { return slice_make(text, strlen(text)); }

/* Bytewise, the shorter first on an equal prefix: the order of keys in etcd and bbolt. */
static inline int slice_compare(struct slice a, struct slice b) {
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order != 0) return order;
    return (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_equal(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_equal_cstr(struct slice a, const char *text) { return slice_equal(a, slice_from_cstr(text)); }

static inline bool slice_starts_with(struct slice a, struct slice prefix) {
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.data, prefix.data, prefix.len) == 0);
}

/* The bytes from `from` on; `from` must be at most len. */
static inline struct slice slice_from(struct slice a, size_t from) {
    return (struct slice){a.data + from, a.len - from};
}

#endif
