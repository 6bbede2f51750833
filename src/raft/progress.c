#include "raft/core.h"

#include <inttypes.h>

const char *raft_progress_state_name(enum raft_progress_state state) {
    static const char *const names[] = {"StateProbe", "StateReplicate", "StateSnapshot"};
    return names[state];
}

void raft__progress_init(struct raft__progress *self, uint64_t id, uint64_t next, uint32_t max_inflight) {
    *self = (struct raft__progress){
        .id = id,
        .next = next,
        .recently_active = true, /* or the leader would step down before it could answer */
        .inflight = NEW_ARRAY(uint64_t, max_inflight),
        .inflight_capacity = max_inflight,
    };
}

void raft__progress_release(struct raft__progress *self) {
    mem_free(self->inflight);
    self->inflight = NULL;
}

bool raft__progress_is_paused(const struct raft__progress *self) {
    switch (self->state) {
    case RAFT_PROBE: return self->probe_sent;
    case RAFT_REPLICATE: return raft__progress_is_full(self);
    case RAFT_SNAPSHOT: return true;
    }
    UNREACHABLE();
}

static void become(struct raft__progress *self, enum raft_progress_state state) {
    self->probe_sent = false;
    self->pending_snapshot = 0;
    self->state = state;
    self->inflight_count = 0;
}

void raft__progress_become_probe(struct raft__progress *self) {
    /* Behind a snapshot that it took, the next thing it can take comes after that. */
    uint64_t known = self->match;
    if (self->state == RAFT_SNAPSHOT && self->pending_snapshot > known) known = self->pending_snapshot;
    become(self, RAFT_PROBE);
    self->next = known + 1;
}

void raft__progress_become_replicate(struct raft__progress *self) {
    become(self, RAFT_REPLICATE);
    self->next = self->match + 1;
}

void raft__progress_become_snapshot(struct raft__progress *self, uint64_t index) {
    become(self, RAFT_SNAPSHOT);
    self->pending_snapshot = index;
}

bool raft__progress_update(struct raft__progress *self, uint64_t index) {
    bool is_news = self->match < index;
    if (is_news) {
        self->match = index;
        self->probe_sent = false;
    }
    if (self->next < index + 1) self->next = index + 1;
    return is_news;
}

bool raft__progress_decrease(struct raft__progress *self, uint64_t rejected, uint64_t hint) {
    if (self->state == RAFT_REPLICATE) {
        if (rejected <= self->match) return false;
        self->next = self->match + 1;
        return true;
    }
    if (self->next - 1 != rejected) return false;
    uint64_t next = rejected < hint + 1 ? rejected : hint + 1;
    if (next <= self->match) next = self->match + 1; /* as 3.6: what it has acknowledged stays */
    self->next = next;
    self->probe_sent = false;
    return true;
}

void raft__progress_inflight_add(struct raft__progress *self, uint64_t last_index) {
    CHECK(!raft__progress_is_full(self));
    uint32_t at = (self->inflight_start + self->inflight_count) % self->inflight_capacity;
    self->inflight[at] = last_index;
    self->inflight_count++;
}

void raft__progress_inflight_free_first(struct raft__progress *self) {
    if (self->inflight_count == 0) return;
    self->inflight_start = (self->inflight_start + 1) % self->inflight_capacity;
    self->inflight_count--;
}

void raft__progress_inflight_free_to(struct raft__progress *self, uint64_t index) {
    while (self->inflight_count > 0 && self->inflight[self->inflight_start] <= index)
        raft__progress_inflight_free_first(self);
}

void raft__progress_append_text(const struct raft__progress *self, struct buf *out) {
    buf_printf(out, "%s match=%" PRIu64 " next=%" PRIu64, raft_progress_state_name(self->state), self->match,
               self->next);
    if (self->is_learner) buf_append_cstr(out, " learner");
    if (raft__progress_is_paused(self)) buf_append_cstr(out, " paused");
    if (self->pending_snapshot > 0) buf_printf(out, " pendingSnap=%" PRIu64, self->pending_snapshot);
    if (!self->recently_active) buf_append_cstr(out, " inactive");
    if (self->inflight_count > 0) {
        buf_printf(out, " inflight=%" PRIu32, self->inflight_count);
        if (raft__progress_is_full(self)) buf_append_cstr(out, "[full]");
    }
}
