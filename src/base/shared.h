/* shared.h - an immutable byte string with a reference count.
 *
 * Floor 0. A log entry or a value is written once and then read by the WAL, peers, the write buffer and watchers
 * without a copy. The count is atomic: any thread may hold and drop references; the bytes may be written only by the
 * creator, before it gives the first reference away.
 */
#ifndef BASE_SHARED_H
#define BASE_SHARED_H

#include "base/slice.h"

#include <stdatomic.h>

struct shared {
    atomic_uint references;
    uint32_t size_bytes;
    uint8_t bytes[];
};

#define SHARED_MAX_BYTES UINT32_MAX

/* One reference, bytes unset. size_bytes at most SHARED_MAX_BYTES. */
struct shared *shared_new(size_t size_bytes);
struct shared *shared_copy(struct slice bytes);

/* Returns self, with one reference more. NULL stays NULL. */
static inline struct shared *shared_ref(struct shared *self) {
    if (self != NULL) atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    return self;
}

/* Drops one reference; the last one frees. NULL is allowed. */
void shared_unref(struct shared *self);

/* All its bytes; SLICE_NONE for NULL. Valid while a reference is held. */
static inline struct slice shared_slice(const struct shared *self) {
    return self == NULL ? SLICE_NONE : slice_make(self->bytes, self->size_bytes);
}

#endif
