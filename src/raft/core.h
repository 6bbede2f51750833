/* core.h - what the files of raft/ share.
 *
 *   raft.c        events in, updates out; what leaves at once and what waits for the disk
 *   log.c         entries in memory and how far they are saved, committed, handed out, applied
 *   election.c    roles, campaigns, votes, the term gate
 *   leader.c      replication, commit, heartbeats, transfer
 *   follower.c    appends, heartbeats and snapshots received
 *   readindex.c   reads that wait for a quorum's acknowledgement
 *   confchange.c  from one configuration to the next (pure)
 *   progress.c    what a leader knows of a peer
 *   quorum.c      majorities, joint ones too (pure)
 */
#ifndef RAFT_CORE_H
#define RAFT_CORE_H

#include "base/arena.h"
#include "base/check.h"
#include "base/prng.h"
#include "base/vec.h"
#include "raft/raft.h"

/* ---- ids (ascending) and quorums ---- */

typedef struct raft_ids raft_ids;

bool raft__ids_have(const raft_ids *ids, uint64_t id);
/* False when it was there already, or was not there. */
bool raft__ids_add(raft_ids *ids, uint64_t id);
bool raft__ids_remove(raft_ids *ids, uint64_t id);
void raft__ids_copy(raft_ids *ids, const raft_ids *from);

enum raft__vote { RAFT__VOTE_UNKNOWN, RAFT__VOTE_YES, RAFT__VOTE_NO };
enum raft__vote_result { RAFT__VOTE_PENDING, RAFT__VOTE_LOST, RAFT__VOTE_WON };

/* What is known of each voter; false = nothing. */
typedef bool (*raft__index_of)(const void *context, uint64_t id, uint64_t *ret_index);
typedef enum raft__vote (*raft__vote_of)(const void *context, uint64_t id);

/* The highest index that a majority has, UINT64_MAX of nobody, and whether a majority is won (nobody's is): of both
 * halves of a joint configuration. */
uint64_t raft__joint_committed(const struct raft_conf_state *conf, raft__index_of index_of, const void *context);
enum raft__vote_result raft__joint_vote(const struct raft_conf_state *conf, raft__vote_of vote_of, const void *context);

/* ---- configurations ---- */

static inline bool raft__conf_is_joint(const struct raft_conf_state *conf) { return conf->voters_outgoing.count > 0; }
bool raft__conf_votes(const struct raft_conf_state *conf, uint64_t id);
/* Voter in a half, or learner. */
bool raft__conf_has(const struct raft_conf_state *conf, uint64_t id);
/* Each gives the next configuration in *ret, released by the caller, or the reason why not. */
const char *raft__conf_simple(const struct raft_conf_state *conf, const struct raft_conf_change_single *changes,
                              size_t count, struct raft_conf_state *ret);
const char *raft__conf_enter_joint(const struct raft_conf_state *conf, bool auto_leave,
                                   const struct raft_conf_change_single *changes, size_t count,
                                   struct raft_conf_state *ret);
const char *raft__conf_leave_joint(const struct raft_conf_state *conf, struct raft_conf_state *ret);
/* "voters=(1 2)&&(1) learners=(4) learners_next=(5) autoleave", ids in decimal. */
void raft__conf_append_text(const struct raft_conf_state *conf, struct buf *out);
/* The change in an entry as Go prints the struct: "{ConfChangeAddNode 2 [] 0}". */
void raft__conf_append_change_text(const struct raft_entry *entry, struct buf *out);

/* ---- progress ---- */

struct raft__progress {
    uint64_t id;
    uint64_t match;
    uint64_t next;
    enum raft_progress_state state;
    enum raft__vote vote; /* in the running election */
    uint64_t pending_snapshot;
    bool is_learner;
    bool recently_active;
    bool probe_sent;
    /* Last indexes of messages on the way, oldest first: a ring of `inflight_capacity` places. */
    uint64_t *inflight;
    uint32_t inflight_capacity;
    uint32_t inflight_start;
    uint32_t inflight_count;
};

void raft__progress_init(struct raft__progress *self, uint64_t id, uint64_t next, uint32_t max_inflight);
void raft__progress_release(struct raft__progress *self);
bool raft__progress_is_paused(const struct raft__progress *self);
static inline bool raft__progress_is_full(const struct raft__progress *self) {
    return self->inflight_count == self->inflight_capacity;
}
void raft__progress_become_probe(struct raft__progress *self);
void raft__progress_become_replicate(struct raft__progress *self);
void raft__progress_become_snapshot(struct raft__progress *self, uint64_t index);
/* Its log is known to reach `index`; true when that is news. */
bool raft__progress_update(struct raft__progress *self, uint64_t index);
/* An append behind `rejected` was refused; `hint` is where its log may agree. False: an old message. */
bool raft__progress_decrease(struct raft__progress *self, uint64_t rejected, uint64_t hint);
void raft__progress_inflight_add(struct raft__progress *self, uint64_t last_index);
void raft__progress_inflight_free_to(struct raft__progress *self, uint64_t index);
void raft__progress_inflight_free_first(struct raft__progress *self);
/* "StateProbe match=0 next=1 learner paused ..." */
void raft__progress_append_text(const struct raft__progress *self, struct buf *out);

/* ---- the log ---- */

struct raft__log {
    struct raft_entry *slots; /* live: [start, start + count) */
    size_t start;
    size_t count;
    size_t capacity;
    uint64_t base_index; /* before the first entry */
    uint64_t base_term;
    uint64_t committed;
    uint64_t applied;
    uint64_t handed;       /* last one handed out for applying */
    uint64_t handed_bytes; /* of (applied, handed] */
    uint64_t taken;        /* last one handed out for saving */
    uint64_t saved;        /* last one that is durable */
    uint64_t installing;   /* index of a received snapshot that is not applied yet, or 0 */
};

void raft__log_release(struct raft__log *self);
static inline uint64_t raft__log_first(const struct raft__log *self) { return self->base_index + 1; }
static inline uint64_t raft__log_last(const struct raft__log *self) { return self->base_index + self->count; }
/* The entry at an index in [first, last]. */
static inline struct raft_entry *raft__log_at(const struct raft__log *self, uint64_t index) {
    return &self->slots[self->start + (size_t)(index - self->base_index - 1)];
}
enum err raft__log_term(const struct raft__log *self, uint64_t index, uint64_t *ret_term);
uint64_t raft__log_last_term(const struct raft__log *self);
/* 0 when unknown. */
uint64_t raft__log_term_or_zero(const struct raft__log *self, uint64_t index);
bool raft__log_matches(const struct raft__log *self, uint64_t index, uint64_t term);
/* Appends behind the last; takes the entry over. */
void raft__log_push(struct raft__log *self, struct raft_entry entry);
/* Drops the entries from `index` on. */
void raft__log_truncate(struct raft__log *self, uint64_t index);
/* Empty, behind {index, term}. */
void raft__log_restore(struct raft__log *self, uint64_t index, uint64_t term);
/* The last index at or below `index` whose term is at most `term`. */
uint64_t raft__log_find_conflict_by_term(const struct raft__log *self, uint64_t index, uint64_t term);
/* Entries from `index` on, up to max_bytes of encoding but at least one, not beyond `last`. */
size_t raft__log_batch(const struct raft__log *self, uint64_t index, uint64_t last, uint64_t max_bytes,
                       uint64_t *ret_bytes);

/* ---- the whole ---- */

/* Reads of one leader that wait; more are dropped, their askers ask again. */
#define RAFT__MAX_READS 4096

struct raft__read {
    uint64_t index;
    uint64_t from; /* who asked; own id or 0: here */
    uint8_t context_size;
    uint8_t context[RAFT_MAX_READ_CONTEXT_BYTES];
    raft_ids acks;
};

/* Messages and read states that leave together, and the memory they point into. */
struct raft__outbox {
    VEC(struct raft_message) messages;
    VEC(struct raft_read_state) read_states;
    struct arena arena;
};

struct raft__save {
    uint64_t id;
    uint64_t last_index; /* of its entries, lowered when they are truncated */
};

struct raft__held {
    uint64_t save_id;
    struct raft_message message; /* without anything to release; to the own id: a vote for itself */
};

struct raft {
    struct raft_config config;
    struct prng prng;
    struct raft__log log;
    VEC(struct raft__progress) peers; /* ascending ids, this member among them */
    struct raft_conf_state conf;
    bool is_learner;

    uint64_t term;
    uint64_t vote;
    uint64_t lead;
    enum raft_role role;
    uint32_t election_elapsed;
    uint32_t heartbeat_elapsed;
    uint32_t randomized_timeout;
    uint64_t pending_conf_index;
    uint64_t transferee;

    VEC(struct raft__read) reads;       /* oldest first, waiting for acknowledgements */
    VEC(struct raft__read) early_reads; /* waiting for the first commit of this term */

    struct raft_snapshot own_snapshot;      /* for peers; index 0 = none */
    struct raft_snapshot received_snapshot; /* to be handed out when has_received */
    bool has_received;
    struct raft_snapshot given_snapshot; /* handed out with the last update */

    struct raft__outbox outboxes[2];
    int filling; /* the outbox that collects; the other one is lent to the caller */
    VEC(struct raft__held) held;
    VEC(struct raft__save) saves; /* outstanding, ascending */
    uint64_t last_save_id;

    struct raft_hard_state given_hard;
    uint64_t given_lead;
    enum raft_role given_role;
};

/* raft.c */
void raft__send(struct raft *self, struct raft_message message);
/* Copies entries (with references) for a message into the outbox that collects. */
struct raft_entry *raft__outbox_entries(struct raft *self, const struct raft_entry *entries, size_t count);
struct slice raft__outbox_bytes(struct raft *self, struct slice bytes);
void raft__add_read_state(struct raft *self, uint64_t index, struct slice context);
struct raft__progress *raft__peer(const struct raft *self, uint64_t id);
/* Makes `conf` (taken over) the configuration. */
void raft__switch_conf(struct raft *self, struct raft_conf_state conf);
void raft__log_line(struct raft *self, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* election.c */
void raft__become_follower(struct raft *self, uint64_t term, uint64_t lead);
void raft__hup(struct raft *self, bool is_transfer);
/* False: the message is not for the role's own step. */
bool raft__term_gate(struct raft *self, const struct raft_message *message);
void raft__handle_vote_request(struct raft *self, const struct raft_message *message);
void raft__handle_vote_response(struct raft *self, const struct raft_message *message);
void raft__tick_election(struct raft *self);
enum err raft__step_candidate(struct raft *self, const struct raft_message *message);

/* leader.c */
/* Gives term and index to the entries and appends them. */
void raft__append_own(struct raft *self, const struct raft_entry *entries, size_t count);
bool raft__maybe_commit(struct raft *self);
/* What must follow when the commit index moved. */
void raft__after_commit(struct raft *self);
void raft__bcast_append(struct raft *self);
bool raft__maybe_send_append(struct raft *self, struct raft__progress *peer, bool send_if_empty);
void raft__bcast_heartbeat(struct raft *self);
enum err raft__leader_propose(struct raft *self, const struct raft_entry *entries, size_t count);
enum err raft__step_leader(struct raft *self, const struct raft_message *message);
void raft__tick_leader(struct raft *self);
/* Own entries became durable. */
void raft__leader_saved(struct raft *self);
void raft__maybe_leave_joint(struct raft *self, uint64_t applied_before);
void raft__leader_transfer(struct raft *self, uint64_t transferee);
void raft__leader_snapshot_status(struct raft *self, uint64_t to, bool failed);
void raft__leader_unreachable(struct raft *self, uint64_t id);

/* follower.c */
enum err raft__step_follower(struct raft *self, const struct raft_message *message);

/* readindex.c */
void raft__reads_reset(struct raft *self);
void raft__leader_read(struct raft *self, uint64_t from, struct slice context);
void raft__reads_release_early(struct raft *self);
/* SLICE_NONE when none. */
struct slice raft__reads_last_context(const struct raft *self);
void raft__reads_ack(struct raft *self, uint64_t from, struct slice context);

#endif
