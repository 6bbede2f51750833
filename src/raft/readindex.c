#include "raft/core.h"

#include <inttypes.h>

static struct slice context_of(const struct raft__read *read) { return slice_make(read->context, read->context_size); }

static void release_reads(struct raft__read *reads, size_t count) {
    for (size_t i = 0; i < count; i++) mem_free(reads[i].acks.items);
}

void raft__reads_reset(struct raft *self) {
    release_reads(self->reads.items, self->reads.count);
    self->reads.count = 0;
    self->early_reads.count = 0; /* these have no acks yet */
}

static struct raft__read make_read(uint64_t index, uint64_t from, struct slice context) {
    struct raft__read read = {.index = index, .from = from, .context_size = (uint8_t)context.len};
    if (context.len > 0) memcpy(read.context, context.data, context.len);
    return read;
}

static void answer(struct raft *self, uint64_t from, uint64_t index, struct slice context) {
    if (from == 0 || from == self->config.id) {
        raft__add_read_state(self, index, context);
        return;
    }
    struct raft_entry entry = {.data = raft__outbox_bytes(self, context)};
    raft__send(self, (struct raft_message){.type = RAFT_MSG_READ_INDEX_RESP,
                                           .to = from,
                                           .index = index,
                                           .entries = raft__outbox_entries(self, &entry, 1),
                                           .entry_count = 1});
}

static bool is_alone(const struct raft *self) {
    return self->conf.voters.count == 1 && !raft__conf_is_joint(&self->conf);
}

static void begin(struct raft *self, uint64_t from, struct slice context) {
    for (size_t i = 0; i < self->reads.count; i++)
        if (slice_equal(context_of(&self->reads.items[i]), context)) return;
    if (self->reads.count >= RAFT__MAX_READS) return;
    struct raft__read read = make_read(self->log.committed, from, context);
    raft__ids_add(&read.acks, self->config.id);
    VEC_PUSH(&self->reads, read);
    raft__bcast_heartbeat(self);
}

static void serve(struct raft *self, uint64_t from, struct slice context) {
    if (is_alone(self))
        answer(self, from, self->log.committed, context);
    else
        begin(self, from, context);
}

static bool has_committed_in_term(const struct raft *self) {
    return raft__log_term_or_zero(&self->log, self->log.committed) == self->term;
}

void raft__leader_read(struct raft *self, uint64_t from, struct slice context) {
    if (context.len > RAFT_MAX_READ_CONTEXT_BYTES) return;
    /* Before that a leader does not know what its predecessors committed (Raft thesis 6.4). That holds for a lone voter
     * too: its saved commit index may be behind what it had acknowledged before it was restarted. */
    if (!has_committed_in_term(self)) {
        if (self->early_reads.count < RAFT__MAX_READS) VEC_PUSH(&self->early_reads, make_read(0, from, context));
        return;
    }
    serve(self, from, context);
}

void raft__reads_release_early(struct raft *self) {
    if (self->early_reads.count == 0 || !has_committed_in_term(self)) return;
    size_t count = self->early_reads.count;
    struct raft__read *reads = self->early_reads.items;
    for (size_t i = 0; i < count; i++) serve(self, reads[i].from, context_of(&reads[i]));
    self->early_reads.count = 0;
}

struct slice raft__reads_last_context(const struct raft *self) {
    return self->reads.count == 0 ? SLICE_NONE : context_of(&self->reads.items[self->reads.count - 1]);
}

static enum raft__vote ack_of(const void *context, uint64_t id) {
    return raft__ids_have(context, id) ? RAFT__VOTE_YES : RAFT__VOTE_UNKNOWN;
}

void raft__reads_ack(struct raft *self, uint64_t from, struct slice context) {
    size_t at = 0;
    while (at < self->reads.count && !slice_equal(context_of(&self->reads.items[at]), context)) at++;
    if (at == self->reads.count) return;
    struct raft__read *read = &self->reads.items[at];
    raft__ids_add(&read->acks, from);
    if (raft__joint_vote(&self->conf, ack_of, &read->acks) != RAFT__VOTE_WON) return;
    /* Who leads now led when the earlier ones came. */
    size_t done = at + 1;
    for (size_t i = 0; i < done; i++)
        answer(self, self->reads.items[i].from, self->reads.items[i].index, context_of(&self->reads.items[i]));
    release_reads(self->reads.items, done);
    self->reads.count -= done;
    memmove(self->reads.items, self->reads.items + done, self->reads.count * sizeof *self->reads.items);
}
