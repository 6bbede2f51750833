#include "raft/core.h"

void raft__log_release(struct raft__log *self) {
    for (size_t i = 0; i < self->count; i++) raft_entry_release(&self->slots[self->start + i]);
    mem_free(self->slots);
    *self = (struct raft__log){0};
}

enum err raft__log_term(const struct raft__log *self, uint64_t index, uint64_t *ret_term) {
    if (index < self->base_index) return ERR_RAFT_COMPACTED;
    if (index > raft__log_last(self)) return ERR_RAFT_UNAVAILABLE;
    *ret_term = index == self->base_index ? self->base_term : raft__log_at(self, index)->term;
    return OK;
}

uint64_t raft__log_term_or_zero(const struct raft__log *self, uint64_t index) {
    uint64_t term = 0;
    return raft__log_term(self, index, &term) == OK ? term : 0;
}

uint64_t raft__log_last_term(const struct raft__log *self) {
    return self->count == 0 ? self->base_term : self->slots[self->start + self->count - 1].term;
}

bool raft__log_matches(const struct raft__log *self, uint64_t index, uint64_t term) {
    uint64_t own;
    return raft__log_term(self, index, &own) == OK && own == term;
}

void raft__log_push(struct raft__log *self, struct raft_entry entry) {
    CHECK(entry.index == raft__log_last(self) + 1);
    if (self->start + self->count == self->capacity) {
        if (self->start > self->capacity / 2) {
            memmove(self->slots, self->slots + self->start, self->count * sizeof *self->slots);
            self->start = 0;
        } else {
            self->capacity = self->capacity ? self->capacity * 2 : 64;
            self->slots = mem_realloc(self->slots, self->capacity * sizeof *self->slots);
        }
    }
    self->slots[self->start + self->count++] = entry;
}

void raft__log_truncate(struct raft__log *self, uint64_t index) {
    CHECK(index > self->committed);
    while (raft__log_last(self) >= index) raft_entry_release(&self->slots[self->start + --self->count]);
    if (self->taken >= index) self->taken = index - 1;
    if (self->saved >= index) self->saved = index - 1;
}

/* Drops the entries up to `index`; [base, last]. */
static void compact(struct raft__log *self, uint64_t index) {
    uint64_t term = raft__log_term_or_zero(self, index);
    while (self->base_index < index) {
        raft_entry_release(&self->slots[self->start]);
        self->start++;
        self->count--;
        self->base_index++;
    }
    self->base_term = term;
    if (self->count == 0) self->start = 0;
}

void raft__log_restore(struct raft__log *self, uint64_t index, uint64_t term) {
    for (size_t i = 0; i < self->count; i++) raft_entry_release(&self->slots[self->start + i]);
    self->start = self->count = 0;
    self->base_index = self->committed = self->handed = self->taken = self->saved = index;
    self->base_term = term;
    self->handed_bytes = 0;
    self->installing = index;
}

uint64_t raft__log_find_conflict_by_term(const struct raft__log *self, uint64_t index, uint64_t term) {
    if (index > raft__log_last(self)) return index; /* a hint that makes no sense is taken as it is, as upstream does */
    uint64_t own;
    while (raft__log_term(self, index, &own) == OK && own > term) {
        if (index == 0) break;
        index--;
    }
    return index;
}

size_t raft__log_batch(const struct raft__log *self, uint64_t index, uint64_t last, uint64_t max_bytes,
                       uint64_t *ret_bytes) {
    size_t count = 0;
    uint64_t bytes = 0;
    for (; index + count <= last; count++) {
        uint64_t size_bytes = raft_entry_size(raft__log_at(self, index + count));
        if (count > 0 && bytes + size_bytes > max_bytes) break;
        bytes += size_bytes;
    }
    *ret_bytes = bytes;
    return count;
}

/* ---- public ---- */

uint64_t raft_first_index(const struct raft *self) { return raft__log_first(&self->log); }
uint64_t raft_last_index(const struct raft *self) { return raft__log_last(&self->log); }
uint64_t raft_committed_index(const struct raft *self) { return self->log.committed; }
uint64_t raft_applied_index(const struct raft *self) { return self->log.applied; }

enum err raft_term_at(const struct raft *self, uint64_t index, uint64_t *ret_term) {
    return raft__log_term(&self->log, index, ret_term);
}

const struct raft_entry *raft_entry_at(const struct raft *self, uint64_t index) {
    if (index <= self->log.base_index || index > raft__log_last(&self->log)) return NULL;
    return raft__log_at(&self->log, index);
}

enum err raft_compact(struct raft *self, uint64_t index) {
    if (index <= self->log.base_index) return ERR_RAFT_COMPACTED;
    CHECKF(index <= self->log.applied, "compact %llu is beyond the applied index %llu", (unsigned long long)index,
           (unsigned long long)self->log.applied);
    compact(&self->log, index);
    return OK;
}

enum err raft_set_snapshot(struct raft *self, uint64_t index, const struct raft_conf_state *conf_state,
                           struct shared *data) {
    if (index <= self->own_snapshot.index) return ERR_RAFT_SNAP_OUT_OF_DATE;
    CHECK(index <= self->log.applied);
    uint64_t term;
    TRY(raft__log_term(&self->log, index, &term));
    struct raft_snapshot snapshot = {.index = index, .term = term};
    snapshot.data = shared_ref(data);
    raft_conf_state_copy(&snapshot.conf_state, conf_state);
    raft_snapshot_release(&self->own_snapshot);
    self->own_snapshot = snapshot;
    return OK;
}
