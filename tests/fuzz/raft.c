/* raft.c - what other members say to one member's raft: messages of any kind and order, between its own ticks, saves,
 * proposals and snapshots. It may refuse a message, or find that it can't go on (ERR_CORRUPT); nothing else.
 *
 * Each step of an input is a byte and what it needs behind it. Terms and indexes of messages are small numbers around
 * those that the member has; RAW is a message as it comes from the wire. */
#include "fuzz/fuzz.h"

#include "base/vec.h"
#include "raft/raft.h"

#define OWN_ID 1
#define ENTRIES_MAX 5

enum {
    MESSAGE,
    RAW,
    TICK,
    SAVED,
    APPLY,
    PROPOSE,
    READ,
    TRANSFER,
    UNREACHABLE,
    SNAPSHOT_STATUS,
    CONF_CHANGE,
    COMPACT,
    CAMPAIGN,
    STEPS
};

struct member {
    struct raft *raft;
    uint64_t save_id;                 /* newest asked for */
    VEC(struct raft_entry) committed; /* to be applied */
    uint64_t snapshot_index;          /* to be installed; 0: none */
    bool has_stopped;
    uint8_t context[80]; /* of the newest heartbeat: what answers to it bring back */
    size_t context_bytes;
};

static void log_line(void *context, enum log_level level, struct slice line) { CHECK(line.len != 0); }
static int64_t no_clock(void *context) { return 0; }

static void check_invariants(const struct member *self) {
    struct raft_status status;
    raft_status(self->raft, &status);
    CHECK(raft_applied_index(self->raft) <= raft_committed_index(self->raft));
    CHECK(raft_committed_index(self->raft) <= raft_last_index(self->raft));
    CHECK(raft_first_index(self->raft) <= raft_last_index(self->raft) + 1);
    CHECK(status.id == OWN_ID && raft_role_name(status.role) != NULL);
    for (size_t i = 0; i < raft_progress_count(self->raft); i++) {
        struct raft_progress progress;
        raft_progress_at(self->raft, i, &progress);
        CHECK(raft_progress_state_name(progress.state) != NULL);
        CHECK(raft_is_voter(self->raft, progress.id) || raft_is_learner(self->raft, progress.id));
        CHECK(raft_progress_of(self->raft, progress.id, &progress));
        CHECK(status.role != RAFT_LEADER || progress.match < progress.next);
    }
}

static void take(struct member *self, const struct raft_update *update) {
    uint32_t sum = 0;
    if (update->save_id != 0) self->save_id = update->save_id;
    if (update->snapshot != NULL) self->snapshot_index = update->snapshot->index;
    for (size_t i = 0; i < update->committed_count; i++)
        VEC_PUSH(&self->committed, raft_entry_copy(&update->committed[i]));
    for (size_t i = 0; i < update->message_count; i++) { /* as they go out */
        struct buf encoded = BUF_INIT;
        struct slice context = update->messages[i].context;
        CHECK(update->messages[i].to != OWN_ID && context.len <= sizeof self->context);
        if (update->messages[i].type == RAFT_MSG_HEARTBEAT && context.len != 0) {
            memcpy(self->context, context.data, context.len);
            self->context_bytes = context.len;
        }
        raft_message_encode(&update->messages[i], &encoded);
        CHECK(encoded.len == raft_message_size(&update->messages[i]));
        buf_release(&encoded);
    }
    for (size_t i = 0; i < update->entry_count; i++) sum += (uint32_t)update->entries[i].data.len;
    (void)sum;
}

static void step(struct member *self, const struct raft_event *event) {
    struct raft_update update;
    if (self->has_stopped) return;
    enum err error = raft_step(self->raft, event, &update);
    CHECK(error == OK || event->type != RAFT_TICK);
    take(self, &update);
    for (int i = 0; update.has_more && i < 100; i++) {
        (void)raft_step(self->raft, &(struct raft_event){RAFT_NOTHING}, &update);
        take(self, &update);
    }
    if (error == ERR_CORRUPT) self->has_stopped = true;
    check_invariants(self);
}

/* ---- what the member does itself ---- */

static void apply_entry(struct member *self, const struct raft_entry *entry) {
    struct raft_event event = {0};
    struct raft_conf_change change;
    struct raft_conf_change_v2 change_v2;
    if (entry->type == RAFT_ENTRY_CONF_CHANGE && raft_conf_change_decode(entry->data, &change) == OK) {
        event.type = RAFT_CONF_CHANGE;
        event.conf_change = &change;
        step(self, &event);
    } else if (entry->type == RAFT_ENTRY_CONF_CHANGE_V2 && raft_conf_change_v2_decode(entry->data, &change_v2) == OK) {
        event.type = RAFT_CONF_CHANGE_V2;
        event.conf_change_v2 = &change_v2;
        step(self, &event);
        raft_conf_change_v2_release(&change_v2);
    }
}

static void apply_all(struct member *self) {
    uint64_t applied = self->snapshot_index;
    self->snapshot_index = 0;
    for (size_t i = 0; i < self->committed.count; i++) {
        struct raft_entry entry = self->committed.items[i]; /* applying may bring more */
        apply_entry(self, &entry);
        applied = entry.index;
    }
    for (size_t i = 0; i < self->committed.count; i++) raft_entry_release(&self->committed.items[i]);
    self->committed.count = 0;
    if (applied != 0) step(self, &(struct raft_event){.type = RAFT_APPLIED, .applied = applied});
}

static void save(struct member *self) {
    if (self->save_id == 0) return;
    struct raft_event event = {.type = RAFT_SAVED, .save_id = self->save_id};
    self->save_id = 0;
    step(self, &event);
}

static void propose(struct member *self, enum raft_entry_type type, struct slice data) {
    struct raft_entry entry = {.type = type, .data = data};
    struct raft_event event = {.type = RAFT_PROPOSE, .propose = {&entry, 1}};
    step(self, &event);
}

static void propose_change(struct member *self, struct fuzz_input *input) {
    struct buf data = BUF_INIT;
    if (fuzz_byte(input) & 1) {
        struct raft_conf_change_single singles[3];
        struct raft_conf_change_v2 change = {.changes = singles, .change_count = 1 + fuzz_byte(input) % 3u};
        change.transition = (enum raft_conf_change_transition)(fuzz_byte(input) % 3);
        for (size_t i = 0; i < change.change_count; i++) {
            singles[i].type = (enum raft_conf_change_type)(fuzz_byte(input) % 4);
            singles[i].node_id = 1 + fuzz_byte(input) % 6u;
        }
        raft_conf_change_v2_encode(&change, &data);
        propose(self, RAFT_ENTRY_CONF_CHANGE_V2, buf_slice(&data));
    } else {
        struct raft_conf_change change = {.type = (enum raft_conf_change_type)(fuzz_byte(input) % 4)};
        change.node_id = 1 + fuzz_byte(input) % 6u;
        raft_conf_change_encode(&change, &data);
        propose(self, RAFT_ENTRY_CONF_CHANGE, buf_slice(&data));
    }
    buf_release(&data);
}

static void compact(struct member *self, uint8_t behind) {
    uint64_t applied = raft_applied_index(self->raft), index = applied > behind ? applied - behind : 0;
    if (self->has_stopped || index == 0) return;
    enum err error = raft_set_snapshot(self->raft, applied, raft_conf_state(self->raft), NULL);
    CHECK(error == OK || error == ERR_RAFT_SNAP_OUT_OF_DATE);
    error = raft_compact(self->raft, index);
    CHECK(error == OK || error == ERR_RAFT_COMPACTED);
}

/* ---- what others say ---- */

/* Around a number that the member has. */
static uint64_t near(uint64_t number, uint8_t byte) {
    if (byte == 255) return UINT64_MAX;
    if (byte == 254) return INT64_MAX;
    return number + byte % 16 >= 6 ? number + byte % 16 - 6 : 0;
}

static void make_ids(struct raft_ids *ids, uint64_t *items, uint8_t mask) {
    *ids = (struct raft_ids){items, 0, 8};
    for (uint64_t id = 0; id < 6; id++)
        if (mask >> id & 1) items[ids->count++] = id;
}

static void make_message(struct member *self, struct fuzz_input *input) {
    struct raft_status status;
    raft_status(self->raft, &status);
    struct raft_message message = {.type = (enum raft_message_type)(fuzz_byte(input) % 26), .to = OWN_ID};
    uint64_t last = raft_last_index(self->raft), items[4][8];
    message.from = fuzz_byte(input) % 6u;
    message.term = near(status.hard.term, fuzz_byte(input));
    message.log_term = near(status.hard.term, fuzz_byte(input));
    message.index = near(last, fuzz_byte(input));
    message.commit = near(raft_committed_index(self->raft), fuzz_byte(input));
    uint8_t flags = fuzz_byte(input);
    message.reject = flags & 1;
    message.reject_hint = near(last, flags & 2 ? fuzz_byte(input) : 6);
    struct raft_entry entries[ENTRIES_MAX];
    message.entry_count = (flags >> 2) % (ENTRIES_MAX + 1);
    message.entries = message.entry_count != 0 ? entries : NULL;
    for (size_t i = 0; i < message.entry_count; i++) {
        uint8_t kind = fuzz_byte(input);
        entries[i] = (struct raft_entry){.type = (enum raft_entry_type)(kind % 4), .index = message.index + 1 + i};
        entries[i].term = near(message.term, fuzz_byte(input));
        if (kind & 64) entries[i].index = near(entries[i].index, fuzz_byte(input));
        entries[i].data = fuzz_take(input, kind / 4 % 8u);
    }
    struct raft_snapshot snapshot = {.index = near(last, flags & 32 ? fuzz_byte(input) : 6)};
    if (flags & 32) {
        snapshot.term = near(status.hard.term, fuzz_byte(input));
        make_ids(&snapshot.conf_state.voters, items[0], fuzz_byte(input));
        make_ids(&snapshot.conf_state.learners, items[1], fuzz_byte(input));
        make_ids(&snapshot.conf_state.voters_outgoing, items[2], flags & 64 ? fuzz_byte(input) : 0);
        make_ids(&snapshot.conf_state.learners_next, items[3], flags & 64 ? fuzz_byte(input) : 0);
        message.snapshot = &snapshot;
    }
    if (flags & 128) message.context = fuzz_take(input, fuzz_byte(input) % 70u);
    if ((flags & 128) && message.context.len == 0) message.context = slice_make(self->context, self->context_bytes);
    step(self, &(struct raft_event){.type = RAFT_RECEIVE, .message = &message});
}

static void receive_raw(struct member *self, struct slice bytes) {
    struct shared *owner = shared_copy(bytes);
    struct raft_message message;
    if (raft_message_decode(shared_slice(owner), owner, &message) == OK) {
        step(self, &(struct raft_event){.type = RAFT_RECEIVE, .message = &message});
        raft_message_release(&message);
    }
    shared_unref(owner);
}

static void do_step(struct member *self, struct fuzz_input *input) {
    struct raft_event event = {.type = RAFT_TICK};
    switch (fuzz_byte(input) % STEPS) {
    case MESSAGE: make_message(self, input); return;
    case RAW: receive_raw(self, fuzz_take(input, fuzz_byte(input))); return;
    case SAVED: save(self); return;
    case APPLY: apply_all(self); return;
    case PROPOSE: propose(self, RAFT_ENTRY_NORMAL, fuzz_take(input, fuzz_byte(input) % 32u)); return;
    case CONF_CHANGE: propose_change(self, input); return;
    case COMPACT: compact(self, fuzz_byte(input) % 8u); return;
    case TICK:
        for (int i = fuzz_byte(input) % 32; i > 0; i--) step(self, &event);
        return;
    case READ:
        event.type = RAFT_READ_INDEX;
        event.read_context = fuzz_take(input, 1 + fuzz_byte(input) % 63u);
        break;
    case TRANSFER:
        event.type = RAFT_TRANSFER_LEADER;
        event.transferee = fuzz_byte(input) % 6u;
        break;
    case UNREACHABLE:
        event.type = RAFT_UNREACHABLE;
        event.unreachable = fuzz_byte(input) % 6u;
        break;
    case SNAPSHOT_STATUS:
        event.type = RAFT_SNAPSHOT_STATUS;
        event.snapshot_status.to = fuzz_byte(input) % 6u;
        event.snapshot_status.failed = fuzz_byte(input) & 1;
        break;
    case CAMPAIGN: event.type = RAFT_CAMPAIGN; break;
    }
    step(self, &event);
}

/* The first byte: 1 pre-vote, 2 check of quorum, 4 alone in its cluster, 8 it saves first, 16 something is compacted.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    uint8_t flags = fuzz_byte(&input);
    uint64_t voters[] = {1, 2, 3}, learners[] = {4};
    struct raft_conf_state conf_state = {.voters = {voters, flags & 4 ? 1 : 3, 3}, .learners = {learners, 1, 1}};
    struct raft_entry entries[] = {{.term = 1, .index = 3, .data = SLICE_LITERAL("a")},
                                   {.term = 2, .index = 4, .data = SLICE_LITERAL("b")},
                                   {.term = 2, .index = 5}};
    struct raft_config config = {.id = OWN_ID,
                                 .election_ticks = 10,
                                 .heartbeat_ticks = 1,
                                 .max_message_bytes = 64,
                                 .max_applying_bytes = 64,
                                 .max_inflight = 3,
                                 .pre_vote = flags & 1,
                                 .check_quorum = flags & 2,
                                 .saves_first = flags & 8,
                                 .seed = 1};
    struct raft_start start = {.hard_state = {2, 0, 4},
                               .snapshot_index = 2,
                               .snapshot_term = 1,
                               .conf_state = &conf_state,
                               .entries = entries,
                               .entry_count = 3,
                               .applied = flags & 16 ? 4 : 0};
    struct log *log = flags & 32 ? log_new(LOG_DEBUG_LEVEL, log_line, NULL, no_clock, NULL) : NULL;
    config.log = log;
    struct member member = {0};
    struct errmsg message;
    CHECK(raft_new(&config, &start, &member.raft, &message) == OK);
    if (flags & 16) compact(&member, 0);
    while (fuzz_left(&input) != 0 && !member.has_stopped) do_step(&member, &input);
    for (size_t i = 0; i < member.committed.count; i++) raft_entry_release(&member.committed.items[i]);
    VEC_RELEASE(&member.committed);
    raft_free(member.raft);
    log_free(log);
    return 0;
}
