#include "base/shared.h"

#include "base/check.h"
#include "base/mem.h"

struct shared *shared_new(size_t size_bytes) {
    CHECK(size_bytes <= SHARED_MAX_BYTES);
    struct shared *self = mem_alloc(sizeof *self + size_bytes);
    atomic_init(&self->references, 1);
    self->size_bytes = (uint32_t)size_bytes;
    return self;
}

struct shared *shared_copy(struct slice bytes) {
    struct shared *self = shared_new(bytes.len);
    if (bytes.len != 0) memcpy(self->bytes, bytes.data, bytes.len);
    return self;
}

void shared_unref(struct shared *self) {
    if (self == NULL) return;
    /* Not release and a fence: thread sanitizers do not see fences. */
    if (atomic_fetch_sub_explicit(&self->references, 1, memory_order_acq_rel) != 1) return;
    mem_free(self);
}
