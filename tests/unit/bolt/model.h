/* model.h - what a bucket should hold: a sorted array of keys and values, and helpers for tests of trees. */
#ifndef TESTS_BOLT_MODEL_H
#define TESTS_BOLT_MODEL_H

#include "base/buf.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/vec.h"
#include "bolt/bolt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* after them */
#include <cmocka.h>

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        enum err assert_error_ = (call);                                                                               \
        if (assert_error_ != OK) fail_msg("%s: %s", #call, err_name(assert_error_));                                   \
    } while (0)

struct model_item {
    uint8_t *key;
    size_t key_len;
    uint8_t *value;
    size_t value_len;
};

struct model {
    VEC(struct model_item) items;
};

static inline struct slice model_key(const struct model_item *item) { return slice_make(item->key, item->key_len); }
static inline struct slice model_value(const struct model_item *item) {
    return slice_make(item->value, item->value_len);
}

static inline size_t model_lower_bound(const struct model *self, struct slice key) {
    size_t low = 0, high = self->items.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(model_key(&self->items.items[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline uint8_t *model_copy(struct slice bytes) {
    uint8_t *copy = mem_alloc(bytes.len + 1);
    if (bytes.len > 0) memcpy(copy, bytes.data, bytes.len);
    return copy;
}

static inline void model_put(struct model *self, struct slice key, struct slice value) {
    size_t at = model_lower_bound(self, key);
    if (at < self->items.count && slice_equal(model_key(&self->items.items[at]), key)) {
        mem_free(self->items.items[at].value);
    } else {
        VEC_RESERVE(&self->items, 1);
        memmove(self->items.items + at + 1, self->items.items + at,
                (self->items.count - at) * sizeof(struct model_item));
        self->items.count++;
        self->items.items[at].key = model_copy(key);
        self->items.items[at].key_len = key.len;
    }
    self->items.items[at].value = model_copy(value);
    self->items.items[at].value_len = value.len;
}

static inline void model_delete_at(struct model *self, size_t at) {
    mem_free(self->items.items[at].key);
    mem_free(self->items.items[at].value);
    self->items.count--;
    memmove(self->items.items + at, self->items.items + at + 1, (self->items.count - at) * sizeof(struct model_item));
}

static inline void model_delete(struct model *self, struct slice key) {
    size_t at = model_lower_bound(self, key);
    if (at < self->items.count && slice_equal(model_key(&self->items.items[at]), key)) model_delete_at(self, at);
}

static inline void model_clear(struct model *self) {
    while (self->items.count > 0) model_delete_at(self, self->items.count - 1);
    VEC_RELEASE(&self->items);
}

static inline struct model model_clone(const struct model *self) {
    struct model clone = {0};
    VEC_RESERVE(&clone.items, self->items.count + 1);
    for (size_t i = 0; i < self->items.count; i++) {
        const struct model_item *item = &self->items.items[i];
        VEC_PUSH(&clone.items, (struct model_item){model_copy(model_key(item)), item->key_len,
                                                   model_copy(model_value(item)), item->value_len});
    }
    return clone;
}

/* A bucket holds exactly the model: by a walk in both directions, gets and seeks. */
static inline void model_assert(const struct model *self, struct bolt_bucket *bucket) {
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    size_t at = 0;
    for (bool more = bolt_cursor_first(&cursor, &item); more; more = bolt_cursor_next(&cursor, &item), at++) {
        assert_true(at < self->items.count);
        assert_true(slice_equal(item.key, model_key(&self->items.items[at])));
        assert_true(slice_equal(item.value, model_value(&self->items.items[at])));
        struct slice value;
        assert_ok(bolt_get(bucket, item.key, &value));
        assert_true(value.data != NULL && slice_equal(value, item.value));
    }
    assert_int_equal(cursor.error, OK);
    assert_int_equal(at, self->items.count);
    for (bool more = bolt_cursor_last(&cursor, &item); more; more = bolt_cursor_previous(&cursor, &item)) {
        assert_true(at > 0);
        assert_true(slice_equal(item.key, model_key(&self->items.items[--at])));
    }
    assert_int_equal(at, 0);
    assert_int_equal(cursor.error, OK);
}

/* Seeks and gets of a key that may be absent. */
static inline void model_assert_seek(const struct model *self, struct bolt_bucket *bucket, struct slice key) {
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    size_t at = model_lower_bound(self, key);
    bool found = bolt_cursor_seek(&cursor, key, &item);
    assert_int_equal(found, at < self->items.count);
    if (found) assert_true(slice_equal(item.key, model_key(&self->items.items[at])));
    struct slice value;
    assert_ok(bolt_get(bucket, key, &value));
    bool is_there = at < self->items.count && slice_equal(model_key(&self->items.items[at]), key);
    assert_int_equal(value.data != NULL, is_there);
}

static inline void print_finding(void *context, const char *text) { fprintf(stderr, "check: %s\n", text); }

static inline void assert_whole(struct bolt *db) {
    struct bolt_tx *tx = bolt_begin_read(db);
    assert_int_equal(bolt_check(tx, print_finding, NULL), 0);
    bolt_tx_end(tx);
}

#endif
