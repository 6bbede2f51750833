/* raft.h - consensus as a pure function: an event in, an update out.
 *
 * Floor 2. One struct raft is one member's view of the replicated log. It keeps the log since the last compaction in
 * memory, decides who leads, what is committed and what must be sent to whom. It never calls out, reads no clock and
 * does no I/O: time is RAFT_TICK, the disk answers with RAFT_SAVED, the state machine with RAFT_APPLIED. Chance is a
 * seeded generator, so equal events give equal updates.
 *
 *     event ----> raft_step ----> update:  save     hard state, entries, snapshot  -> WAL  -> RAFT_SAVED
 *                                          send     messages                       -> peers
 *                                          apply    committed entries              -> state machine -> RAFT_APPLIED
 *                                          answer   read states                    -> who asked RAFT_READ_INDEX
 *
 * What promises durability waits for it inside: an update's messages may leave at once. A leader's entries go to its
 * followers before its own flush; the answers of a follower and a candidate's own vote come out, or count, only after
 * RAFT_SAVED for what they promise. A leader counts itself in the quorum when its entries are saved. Only saved entries
 * are handed out for applying.
 *
 * The roles (pre-vote on):
 *
 *     follower --timeout--> pre-candidate --quorum--> candidate --quorum--> leader
 *         ^                       |                       |                   |
 *         +---- leader heard, higher term, or a quorum against it; check of quorum failed
 *
 * Semantics are those of the raft library in etcd 3.5 and 3.6 (spec raft-core); where storage is asynchronous, of 3.6.
 * Terms and indexes are uint64; the first index is 1; member id 0 means nobody.
 *
 * Threads: one at a time; the loop owns it.
 */
#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include "base/err.h"
#include "base/slice.h"
#include "env/log.h"
#include "pb/raftpb.h"

struct raft;

/* In the order of the Go library, whose numbers metrics and status show. */
enum raft_role { RAFT_FOLLOWER, RAFT_CANDIDATE, RAFT_LEADER, RAFT_PRE_CANDIDATE };
/* "StateFollower" ... */
const char *raft_role_name(enum raft_role role);

#define RAFT_DEFAULT_MAX_MESSAGE_BYTES (1u << 20)
#define RAFT_DEFAULT_MAX_APPLYING_BYTES (1u << 20)
#define RAFT_DEFAULT_MAX_INFLIGHT 512
/* The longest request context of a read index. */
#define RAFT_MAX_READ_CONTEXT_BYTES 64

struct raft_config {
    uint64_t id; /* own member id, not 0 */
    /* Ticks without a leader until an election begins: [election_ticks, 2 * election_ticks), drawn anew each time. */
    uint32_t election_ticks;
    uint32_t heartbeat_ticks;
    uint64_t max_message_bytes;  /* encoded entries of one message; at least one goes. 0 = the default */
    uint64_t max_applying_bytes; /* handed out and not yet applied; at least one goes. 0 = the default */
    uint32_t max_inflight;       /* messages with entries on the way to one peer. 0 = the default */
    bool check_quorum;           /* a leader without answers of a quorum for election_ticks steps down */
    bool pre_vote;               /* ask before raising the term */
    /* The caller saves each update before it does anything else with it, and sends no RAFT_SAVED: everything handed out
     * counts as saved, and an own entry as soon as it is appended. This is the 3.5 library's rhythm, which recorded
     * traces follow. */
    bool saves_first;
    uint64_t seed;
    struct log *log; /* may be NULL; must outlive the raft */
};

/* What was on disk. All zero: a member that has never been. */
struct raft_start {
    struct raft_hard_state hard_state; /* commit within [snapshot index, last index] */
    /* The snapshot's metadata: the log begins behind it, and its members are those of the start. */
    uint64_t snapshot_index;
    uint64_t snapshot_term;
    const struct raft_conf_state *conf_state; /* NULL: nobody */
    const struct raft_entry *entries;         /* snapshot_index + 1 and on, without gaps; references are taken */
    size_t entry_count;
    uint64_t
        applied; /* entries up to here are not handed out again; 0 or less than the snapshot: the snapshot's index */
};

/* A follower of nobody, until told by events. ERR_CORRUPT (and `message`) when the parts of `start` do not fit. */
enum err raft_new(const struct raft_config *config, const struct raft_start *start, struct raft **ret_raft,
                  struct errmsg *message) MUST_USE;
/* NULL is allowed. */
void raft_free(struct raft *self);

struct raft_peer {
    uint64_t id;
    struct slice context; /* of its conf change: the member's JSON */
};
/* First start of a new cluster, in place of what a leader would do: entries 1..n of term 1 that add `peers` in the
 * order given (ascending ids, by all members alike), committed. They come with the next update, for saving and, once
 * saved, for applying; the members count at once, so that an election can be held. Only on an empty log. */
void raft_bootstrap(struct raft *self, const struct raft_peer *peers, size_t count);

/* ---- in ---- */

enum raft_event_type {
    RAFT_NOTHING, /* only looks for an update */
    RAFT_TICK,
    RAFT_CAMPAIGN,
    /* ERR_RAFT_PROPOSAL_DROPPED: no leader is known, or it can't take them now. All or none. */
    RAFT_PROPOSE,
    /* ERR_RAFT_PEER_NOT_FOUND: an answer of somebody who is no member. ERR_INVALID: a type that never comes from
     * outside, or it makes no sense (a term or an index beyond INT64_MAX, from ourselves). Both: nothing changed, go
     * on. ERR_CORRUPT: the leader counts on entries that this log lost, or contradicts committed ones; the member must
     * stop. A proposal passed on by a peer: as RAFT_PROPOSE. */
    RAFT_RECEIVE,
    RAFT_SAVED,
    RAFT_APPLIED,
    RAFT_CONF_CHANGE,
    RAFT_CONF_CHANGE_V2,
    RAFT_READ_INDEX,
    RAFT_TRANSFER_LEADER,
    RAFT_UNREACHABLE,
    RAFT_SNAPSHOT_STATUS,
};

struct raft_event {
    enum raft_event_type type;
    union {
        /* Type and data; term and index are given here. References are taken, the caller's stay its own. A conf change
         * that can't be now (one is pending) becomes an empty normal entry. */
        struct {
            const struct raft_entry *entries;
            size_t count;
        } propose;
        /* From a peer; read during the call, references to entries' data are taken. */
        const struct raft_message *message;
        /* Everything of the updates up to this save_id is durable. */
        uint64_t save_id;
        /* The state machine has applied entries up to here, which were handed out; a snapshot handed out and installed
         * is applied at its index. */
        uint64_t applied;
        /* A committed conf change is being applied: this comes before RAFT_APPLIED of its entry. node_id 0: it was
         * found invalid and changes nothing, but is no longer pending. raft_conf_state has the result.
         * ERR_INVALID, and no change, when it can't be made (the last voter can't be removed). */
        const struct raft_conf_change *conf_change;
        const struct raft_conf_change_v2 *conf_change_v2;
        /* Asks for an index to read at; the answer is a read state with the same context, or nothing when there is no
         * leader, or it changes: ask again. At most RAFT_MAX_READ_CONTEXT_BYTES, copied. ERR_NO_LEADER. */
        struct slice read_context;
        uint64_t transferee;  /* leads next, if it can; a follower asks its leader */
        uint64_t unreachable; /* a message to this member could not be sent */
        struct {
            uint64_t to; /* the member */
            bool failed; /* or it has the snapshot */
        } snapshot_status;
    };
};

/* ---- out ---- */

/* Linearizable reads that gave this context may be served once `index` is applied. */
struct raft_read_state {
    uint64_t index;
    struct slice context;
};

/* What is new since the last update. Pointers live until the next call of raft_step or raft_compact; who needs an
 * entry's data longer takes a reference. */
struct raft_update {
    /* Who leads and what we are, `soft_changed` when one of them did. */
    bool soft_changed;
    uint64_t lead; /* 0 = nobody known */
    enum raft_role role;

    /* To save, in this order: snapshot (file, then WAL record), entries (they replace what the log had from the first
     * one's index on), hard state. `must_sync`: it must be durable, and RAFT_SAVED with `save_id` must come then; else
     * save_id is 0 and a changed hard state is written without waiting. */
    bool hard_changed;
    bool must_sync;
    struct raft_hard_state hard;
    uint64_t save_id; /* 1, 2, 3... */
    const struct raft_entry *entries;
    size_t entry_count;
    /* Received from the leader: save, install, report RAFT_APPLIED. No committed entries come before that. NULL: none.
     */
    const struct raft_snapshot *snapshot;

    /* To send, now, in this order, to `to` each. Those of type snapshot carry the snapshot last made with
     * raft_set_snapshot; the sender may replace it by a newer one. */
    const struct raft_message *messages;
    size_t message_count;

    /* To apply in order, saved and committed. */
    const struct raft_entry *committed;
    size_t committed_count;

    const struct raft_read_state *read_states;
    size_t read_state_count;

    /* There is more to hand out at once (committed entries beyond max_applying_bytes do not count: they come after
     * RAFT_APPLIED). */
    bool has_more;
};

/* Takes one event in and gives what came of it. `ret_update` may be NULL: the effects then add up and come with a later
 * call. It is written also when an error is returned. */
enum err raft_step(struct raft *self, const struct raft_event *event, struct raft_update *ret_update);
/* Whether an update would have anything. */
bool raft_has_update(const struct raft *self);

/* ---- the log ---- */

uint64_t raft_first_index(const struct raft *self); /* of the entries kept; last + 1 when there are none */
uint64_t raft_last_index(const struct raft *self);
uint64_t raft_committed_index(const struct raft *self);
uint64_t raft_applied_index(const struct raft *self);
/* The term of an entry kept or of the one before the first. ERR_RAFT_COMPACTED below that, ERR_RAFT_UNAVAILABLE beyond
 * the last. */
enum err raft_term_at(const struct raft *self, uint64_t index, uint64_t *ret_term) MUST_USE;
/* The entry itself, NULL when it is not kept; lives as an update does. */
const struct raft_entry *raft_entry_at(const struct raft *self, uint64_t index);
/* Forgets entries up to and including `index`, which must be applied. ERR_RAFT_COMPACTED: they are gone already. */
enum err raft_compact(struct raft *self, uint64_t index) MUST_USE;
/* The state machine at `index` (applied) with these members was made into a snapshot: what a peer gets whose next entry
 * is compacted. Takes a reference to `data` (may be NULL: the sender fills it in). ERR_RAFT_SNAP_OUT_OF_DATE when there
 * is one as new. */
enum err raft_set_snapshot(struct raft *self, uint64_t index, const struct raft_conf_state *conf_state,
                           struct shared *data) MUST_USE;

/* ---- what it knows ---- */

/* The members as of the last conf change applied; lives until the next raft_step. */
const struct raft_conf_state *raft_conf_state(const struct raft *self);
bool raft_is_voter(const struct raft *self, uint64_t id);
bool raft_is_learner(const struct raft *self, uint64_t id);

struct raft_status {
    uint64_t id;
    struct raft_hard_state hard;
    uint64_t lead;
    enum raft_role role;
    uint64_t applied;
    uint64_t transferee; /* 0: no transfer is on its way */
};
void raft_status(const struct raft *self, struct raft_status *ret_status);

enum raft_progress_state { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT };
/* "StateProbe" ... */
const char *raft_progress_state_name(enum raft_progress_state state);

/* A leader's knowledge of one member. */
struct raft_progress {
    uint64_t id;
    uint64_t match; /* known to be in its log */
    uint64_t next;  /* goes there next */
    enum raft_progress_state state;
    uint64_t pending_snapshot; /* index of the one on its way */
    bool is_learner;
    bool is_paused;
    bool recently_active;
    uint32_t inflight;
    bool is_full; /* inflight is at its limit */
};
size_t raft_progress_count(const struct raft *self);
/* Ascending ids; index below the count. Meaningful on a leader. */
void raft_progress_at(const struct raft *self, size_t index, struct raft_progress *ret_progress);
/* False when the id is no member. */
bool raft_progress_of(const struct raft *self, uint64_t id, struct raft_progress *ret_progress);

#endif
