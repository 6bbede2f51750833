/* raftpb.h - what the log is made of: entries, hard state, members, snapshots, messages, and their bytes.
 *
 * Floor 1. Plain structs that the raft core, the WAL, the peers and the server share, with hand-written codecs. They
 * are written by hand and not generated because (a) which zero fields are written is part of the format: 3.5 writes
 * every number, also 0, and bytes only when they are there; checksums and byte-equal bootstrap entries depend on it;
 * (b) the data of an entry is never copied on its way from the proposer to the disk, the peers and the state machine.
 *
 * Bytes that are "not there" are SLICE_NONE (data NULL); an empty string that is there has len 0 and a pointer.
 *
 * Codecs, three functions a message:
 *   size_t X_size(x)                bytes of the encoding
 *   void X_encode(x, out)           appends the encoding: fields in order of their numbers, as etcd 3.5 writes them
 *   enum err X_decode(bytes, .., x) strict about bounds, varints and wire types of known fields: ERR_UNEXPECTED_EOF
 * when the bytes end inside a field (as Go's decoders tell it apart: the WAL's repair looks at it), else ERR_CORRUPT;
 * nothing is left to release then. Fields may be missing, unknown ones are skipped, of a number or bytes that come
 * twice the last counts, lists add up, messages merge; lists of numbers may come packed or not A decoder fills the
 * whole struct; it must not hold anything that has to be released before.
 *
 * Any thread; a struct one thread at a time, shared bytes (base/shared.h) by as many as like.
 */
#ifndef PB_RAFTPB_H
#define PB_RAFTPB_H

#include "base/buf.h"
#include "base/err.h"
#include "base/shared.h"
#include "base/slice.h"

/* ---- entries ---- */

enum raft_entry_type { RAFT_ENTRY_NORMAL = 0, RAFT_ENTRY_CONF_CHANGE = 1, RAFT_ENTRY_CONF_CHANGE_V2 = 2 };

/* One place of the log. `data` lies in `owner`, and the entry holds one reference to it; many entries may lie in one
 * owner (all of one message, or of one stretch of the WAL). owner NULL: the data is borrowed from somebody who keeps it
 * long enough for the call at hand (or there is none); whoever keeps the entry makes it its own by raft_entry_copy. */
struct raft_entry {
    enum raft_entry_type type; /* may have values without a name when it comes from disk or wire */
    uint64_t term;
    uint64_t index;
    struct shared *owner;
    struct slice data;
};

/* An entry of its own with the same content: one more reference to the owner, or a copy of borrowed data. */
struct raft_entry raft_entry_copy(const struct raft_entry *self);
/* Gives the reference back and leaves an entry without data. */
void raft_entry_release(struct raft_entry *self);
/* An entry around one whole string; takes over the caller's reference to `data` (NULL: no data). */
struct raft_entry raft_entry_make(enum raft_entry_type type, uint64_t term, uint64_t index, struct shared *data);

size_t raft_entry_size(const struct raft_entry *self);
void raft_entry_encode(const struct raft_entry *self, struct buf *out);
/* All of the encoding but the data, which is its end: what is needed to send the data from where it lies. Returns the
 * bytes written to `out`. */
#define RAFT_ENTRY_HEAD_MAX_BYTES 44
size_t raft_entry_encode_head(const struct raft_entry *self, uint8_t out[RAFT_ENTRY_HEAD_MAX_BYTES]);
/* The data points into `bytes`. If `owner` is not NULL, `bytes` must lie in it and the entry takes a reference; else
 * the data is borrowed. */
enum err raft_entry_decode(struct slice bytes, struct shared *owner, struct raft_entry *ret_entry) MUST_USE;

/* ---- hard state: what a member must not forget ---- */

struct raft_hard_state {
    uint64_t term;
    uint64_t vote;   /* member id, 0 = nobody */
    uint64_t commit; /* index */
};

static inline bool raft_hard_state_equal(struct raft_hard_state a, struct raft_hard_state b) {
    return a.term == b.term && a.vote == b.vote && a.commit == b.commit;
}
/* All zero: there is none. */
static inline bool raft_hard_state_is_empty(struct raft_hard_state self) {
    return self.term == 0 && self.vote == 0 && self.commit == 0;
}
size_t raft_hard_state_size(const struct raft_hard_state *self);
void raft_hard_state_encode(const struct raft_hard_state *self, struct buf *out);
enum err raft_hard_state_decode(struct slice bytes, struct raft_hard_state *ret_state) MUST_USE;

/* ---- members ---- */

/* Member ids; works with the macros of base/vec.h. {0} is empty. */
struct raft_ids {
    uint64_t *items;
    size_t count;
    size_t capacity;
};

/* Who votes and who only learns. {0} is nobody. Each list is in the order in which it was made or read; raft keeps them
 * ascending. */
struct raft_conf_state {
    struct raft_ids voters;
    struct raft_ids learners;
    struct raft_ids voters_outgoing; /* not empty: in a joint configuration */
    struct raft_ids learners_next;
    bool auto_leave;
};

void raft_conf_state_release(struct raft_conf_state *self);
/* A copy of its own; *self is overwritten, not released. */
void raft_conf_state_copy(struct raft_conf_state *self, const struct raft_conf_state *from);
/* The same ids in each list, in any order. */
bool raft_conf_state_equal(const struct raft_conf_state *a, const struct raft_conf_state *b);
size_t raft_conf_state_size(const struct raft_conf_state *self);
void raft_conf_state_encode(const struct raft_conf_state *self, struct buf *out);
enum err raft_conf_state_decode(struct slice bytes, struct raft_conf_state *ret_state) MUST_USE;

enum raft_conf_change_type {
    RAFT_ADD_NODE = 0,
    RAFT_REMOVE_NODE = 1,
    RAFT_UPDATE_NODE = 2,
    RAFT_ADD_LEARNER_NODE = 3,
};

/* Data of an entry of type RAFT_ENTRY_CONF_CHANGE. */
struct raft_conf_change {
    uint64_t id; /* of the request */
    enum raft_conf_change_type type;
    uint64_t node_id;
    struct slice context; /* the member's JSON; decoded: points into the bytes */
};
size_t raft_conf_change_size(const struct raft_conf_change *self);
void raft_conf_change_encode(const struct raft_conf_change *self, struct buf *out);
enum err raft_conf_change_decode(struct slice bytes, struct raft_conf_change *ret_change) MUST_USE;

enum raft_conf_change_transition {
    RAFT_TRANSITION_AUTO = 0,
    RAFT_TRANSITION_JOINT_IMPLICIT = 1,
    RAFT_TRANSITION_JOINT_EXPLICIT = 2,
};

struct raft_conf_change_single {
    enum raft_conf_change_type type;
    uint64_t node_id;
};

/* Data of an entry of type RAFT_ENTRY_CONF_CHANGE_V2. */
struct raft_conf_change_v2 {
    enum raft_conf_change_transition transition;
    struct raft_conf_change_single *changes; /* decoded: freed by release */
    size_t change_count;
    struct slice context; /* decoded: points into the bytes */
};
void raft_conf_change_v2_release(struct raft_conf_change_v2 *self);
size_t raft_conf_change_v2_size(const struct raft_conf_change_v2 *self);
void raft_conf_change_v2_encode(const struct raft_conf_change_v2 *self, struct buf *out);
enum err raft_conf_change_v2_decode(struct slice bytes, struct raft_conf_change_v2 *ret_change) MUST_USE;

/* ---- snapshots ---- */

/* The state machine at `index`: `data` is what a .snap file carries (the v2 JSON), opaque here. */
struct raft_snapshot {
    struct shared *data; /* one reference; NULL: not there */
    uint64_t index;
    uint64_t term;
    struct raft_conf_state conf_state;
};

void raft_snapshot_release(struct raft_snapshot *self);
/* One more reference to the data, a copy of the rest; *self is overwritten, not released. */
void raft_snapshot_copy(struct raft_snapshot *self, const struct raft_snapshot *from);
size_t raft_snapshot_size(const struct raft_snapshot *self);
void raft_snapshot_encode(const struct raft_snapshot *self, struct buf *out);
/* The data is copied. `message` (may be NULL) gets the text that Go's decoder has for the error. */
enum err raft_snapshot_decode(struct slice bytes, struct raft_snapshot *ret_snapshot, struct errmsg *message) MUST_USE;

/* ---- messages ---- */

enum raft_message_type {
    RAFT_MSG_HUP = 0,
    RAFT_MSG_BEAT = 1,
    RAFT_MSG_PROP = 2,
    RAFT_MSG_APP = 3,
    RAFT_MSG_APP_RESP = 4,
    RAFT_MSG_VOTE = 5,
    RAFT_MSG_VOTE_RESP = 6,
    RAFT_MSG_SNAP = 7,
    RAFT_MSG_HEARTBEAT = 8,
    RAFT_MSG_HEARTBEAT_RESP = 9,
    RAFT_MSG_UNREACHABLE = 10,
    RAFT_MSG_SNAP_STATUS = 11,
    RAFT_MSG_CHECK_QUORUM = 12,
    RAFT_MSG_TRANSFER_LEADER = 13,
    RAFT_MSG_TIMEOUT_NOW = 14,
    RAFT_MSG_READ_INDEX = 15,
    RAFT_MSG_READ_INDEX_RESP = 16,
    RAFT_MSG_PRE_VOTE = 17,
    RAFT_MSG_PRE_VOTE_RESP = 18,
    /* since 3.6 */
    RAFT_MSG_STORAGE_APPEND = 19,
    RAFT_MSG_STORAGE_APPEND_RESP = 20,
    RAFT_MSG_STORAGE_APPLY = 21,
    RAFT_MSG_STORAGE_APPLY_RESP = 22,
    RAFT_MSG_FORGET_LEADER = 23,
};
/* "MsgHup" ...; "MsgUnknown" for a type without a name. */
const char *raft_message_type_name(enum raft_message_type type);

struct raft_message {
    enum raft_message_type type; /* may have values without a name when it comes from the wire */
    uint64_t to;
    uint64_t from;
    uint64_t term;
    uint64_t log_term;
    uint64_t index;
    uint64_t commit;
    uint64_t reject_hint;
    uint64_t vote; /* 3.6 only: read, never written */
    bool reject;
    struct raft_entry *entries; /* an array of entry_count; NULL when 0 */
    size_t entry_count;
    /* NULL: none. One whose index is 0 and that has no data counts as none when decoding: 3.5 always writes one. */
    struct raft_snapshot *snapshot;
    struct slice context;
    struct shared *owner; /* where `context` lies: one reference; NULL when it is borrowed */
};

/* A message of its own: entries as by raft_entry_copy, snapshot and context too. */
void raft_message_copy(struct raft_message *self, const struct raft_message *from);
/* For messages that own what they point to (made by decode or copy): gives back entries, snapshot and context. */
void raft_message_release(struct raft_message *self);
size_t raft_message_size(const struct raft_message *self);
/* As 3.5 does: with a snapshot always, without the fields of 3.6. */
void raft_message_encode(const struct raft_message *self, struct buf *out);
/* Data of entries and the context point into `bytes`, under the rule of raft_entry_decode. A snapshot's data is copied.
 * An entry takes memory of its own beyond `bytes`, which its two bytes at least can make 24 times as much. */
enum err raft_message_decode(struct slice bytes, struct shared *owner, struct raft_message *ret_message) MUST_USE;

/* ---- on disk ---- */

/* walpb.Snapshot: that a snapshot at `index` exists. 3.4 wrote none of the members: then has_conf_state is false. */
struct wal_snapshot {
    uint64_t index;
    uint64_t term;
    bool has_conf_state; /* must be set when writing with index > 0 */
    struct raft_conf_state conf_state;
};
void wal_snapshot_release(struct wal_snapshot *self);
size_t wal_snapshot_size(const struct wal_snapshot *self);
void wal_snapshot_encode(const struct wal_snapshot *self, struct buf *out);
enum err wal_snapshot_decode(struct slice bytes, struct wal_snapshot *ret_snapshot) MUST_USE;

enum wal_record_type {
    WAL_RECORD_METADATA = 1,
    WAL_RECORD_ENTRY = 2,
    WAL_RECORD_STATE = 3,
    WAL_RECORD_CRC = 4,
    WAL_RECORD_SNAPSHOT = 5,
};

/* walpb.Record: one record of a WAL file. */
struct wal_record {
    int64_t type; /* enum wal_record_type, or a bad one */
    uint32_t crc;
    struct slice data; /* decoded: points into the bytes */
};
size_t wal_record_size(const struct wal_record *self);
void wal_record_encode(const struct wal_record *self, struct buf *out);
/* `message` (may be NULL) gets the text that Go's decoder has for the error. */
enum err wal_record_decode(struct slice bytes, struct wal_record *ret_record, struct errmsg *message) MUST_USE;

/* snappb.snapshot: a .snap file. */
struct snap_record {
    uint32_t crc;      /* CRC-32C of data */
    struct slice data; /* decoded: points into the bytes */
};
size_t snap_record_size(const struct snap_record *self);
void snap_record_encode(const struct snap_record *self, struct buf *out);
/* `message` as in wal_record_decode. */
enum err snap_record_decode(struct slice bytes, struct snap_record *ret_record, struct errmsg *message) MUST_USE;

/* etcdserverpb.Metadata: whose WAL it is. */
struct wal_metadata {
    uint64_t node_id;
    uint64_t cluster_id;
};
size_t wal_metadata_size(const struct wal_metadata *self);
void wal_metadata_encode(const struct wal_metadata *self, struct buf *out);
enum err wal_metadata_decode(struct slice bytes, struct wal_metadata *ret_metadata) MUST_USE;

#endif
