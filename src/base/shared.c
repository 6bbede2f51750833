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
    if (atomic_fetch_sub_explicit(&self->references, 1, memory_order_release) != 1) return;
    atomic_thread_fence(memory_order_acquire);
    mem_free(self);
}
