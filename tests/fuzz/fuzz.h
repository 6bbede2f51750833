/* fuzz.h - what fuzz targets share: taking an input apart, and a limit for what it may allocate.
 *
 * A target is one file <target>.c with LLVMFuzzerTestOneInput. The preset `fuzz` (clang) links it with libFuzzer; every
 * other build links it with replay.c, which plays tests/fuzz/corpus/<target>/ as the CTest test fuzz_<target>.
 *
 * A target says by CHECK what must hold; a sanitizer, a time-out or fuzz_begin's limits say the rest.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "base/check.h"
#include "base/mem.h"
#include "base/slice.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_HAS_ASAN 1
#endif
#endif
#ifdef FUZZ_HAS_ASAN
#include <sanitizer/asan_interface.h>
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc has no header for it */
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the bytes of an input, from the front ---- */

struct fuzz_input {
    const uint8_t *at;
    const uint8_t *end;
};

static inline size_t fuzz_left(const struct fuzz_input *self) { return (size_t)(self->end - self->at); }

/* 0 when there is none. */
static inline uint8_t fuzz_byte(struct fuzz_input *self) { return self->at < self->end ? *self->at++ : 0; }

/* Little endian. */
static inline uint64_t fuzz_number(struct fuzz_input *self, size_t size_bytes) {
    uint64_t number = 0;
    for (size_t i = 0; i < size_bytes; i++) number |= (uint64_t)fuzz_byte(self) << (8 * i);
    return number;
}

/* At most so many; they lie in the input. */
static inline struct slice fuzz_take(struct fuzz_input *self, size_t size_bytes) {
    size_t taken = size_bytes < fuzz_left(self) ? size_bytes : fuzz_left(self);
    self->at += taken;
    return slice_make(self->at - taken, taken);
}

static inline struct slice fuzz_rest(struct fuzz_input *self) { return fuzz_take(self, fuzz_left(self)); }

/* Up to the next 0xff, which is passed over: how inputs of several parts are written. */
static inline struct slice fuzz_part(struct fuzz_input *self) {
    const uint8_t *mark = fuzz_left(self) != 0 ? memchr(self->at, 0xff, fuzz_left(self)) : NULL;
    if (mark == NULL) return fuzz_rest(self);
    struct slice part = fuzz_take(self, (size_t)(mark - self->at));
    self->at++;
    return part;
}

/* A copy with nothing behind it, so that a read beyond its end is seen. For fuzz_drop. */
static inline struct slice fuzz_copy(struct slice bytes) {
    uint8_t *copy = malloc(bytes.len);
    CHECK(copy != NULL || bytes.len == 0);
    if (bytes.len != 0) memcpy(copy, bytes.data, bytes.len);
    return slice_make(copy, bytes.len);
}
static inline void fuzz_drop(struct slice copy) { free((void *)(uintptr_t)copy.data); }

/* The same as text; bytes behind the first zero are lost. For free(). */
static inline char *fuzz_text(struct slice bytes) {
    char *text = malloc(bytes.len + 1);
    CHECK(text != NULL);
    if (bytes.len != 0) memcpy(text, bytes.data, bytes.len);
    text[bytes.len] = 0;
    return text;
}

/* ---- cutting a stream: what arrives at once is for the input to say ---- */

struct fuzz_cuts {
    uint32_t state; /* 0: uncut */
};

static inline struct fuzz_cuts fuzz_cuts_make(uint8_t choice) { return (struct fuzz_cuts){choice * 2654435761u}; }

/* How much of `left` (not 0) comes next: all, or mostly a few bytes. */
static inline size_t fuzz_cut(struct fuzz_cuts *self, size_t left) {
    if (self->state == 0) return left;
    self->state = self->state * 1664525u + 1013904223u;
    uint32_t drawn = self->state >> 16;
    size_t length = 1 + (drawn & 3 ? drawn % 24 : drawn % 600);
    return length < left ? length : left;
}

/* ---- memory ---- */

struct fuzz_limit {
    size_t most_bytes;  /* of one allocation */
    size_t total_bytes; /* of all, without what is given back */
};

static inline int fuzz__count(void *context, size_t size_bytes) {
    struct fuzz_limit *self = context;
    CHECKF(size_bytes <= self->most_bytes, "%zu bytes at once are out of proportion to the input", size_bytes);
    CHECKF(size_bytes <= self->total_bytes, "all these allocations are out of proportion to the input");
    self->total_bytes -= size_bytes;
    return 1;
}

/* From here to fuzz_end allocations through mem.h are counted: each, and all together, at most `base_bytes` and
 * `factor` times the input. */
static inline void fuzz_begin(struct fuzz_limit *self, size_t input_bytes, size_t base_bytes, size_t factor) {
    self->most_bytes = base_bytes + factor * input_bytes;
    self->total_bytes = self->most_bytes;
    mem_set_fail_hook(fuzz__count, self);
}
static inline void fuzz_end(void) { mem_set_fail_hook(NULL, NULL); }

/* What is allocated now, by everybody; 0 where AddressSanitizer does not count. */
static inline size_t fuzz_live_bytes(void) {
#ifdef FUZZ_HAS_ASAN
    return __sanitizer_get_current_allocated_bytes();
#else
    return 0;
#endif
}

#endif
