/* wal.h - the write-ahead log: a folder of segments, byte-compatible with etcd's.
 *
 * Floor 2. It keeps what a member must not forget: its identity, hard states, entries, and which snapshots exist. What
 * it does not do: decide what to write, read .snap files (snap.h), or start threads. Frames and records are described
 * in frame.h.
 *
 *   <dir>/0000000000000000-0000000000000000.wal    <sequence>-<index of the first entry>, 16 hex digits each
 *   <dir>/0.tmp, 1.tmp                             the next segment, prepared ahead
 *   <dir>.tmp                                      a new log being made
 *   <name>.wal.broken                              a tail as it was before repair
 *   <dir>.broken.YYYYMMDD.HHMMSS.ffffff            a new log whose folder could not be made durable
 *
 * Each segment is made 64,000,000 bytes long at once (zeros), so that a flush need not change the file's size; when its
 * records pass that length they are cut off behind the last one and the next segment begins. Only the last segment ends
 * in zeros. Every segment that is open for writing carries an exclusive open-file-description lock; release gives the
 * oldest ones back, purge deletes segments that nobody holds.
 *
 * States of a struct wal (each move by the function named; anything else is a CHECK):
 *
 *     wal_create ---------------------------------> WRITING --save, save_snapshot, sync fail--> FAILED
 *     wal_open ----> OPENED --wal_read_all OK--------^
 *                      \-----wal_read_all error-----------------------------------------------> FAILED
 *     wal_open_read_only --> OPENED --wal_read_all--> READ
 *
 * After FAILED only wal_close is allowed to do something; writes give the first error again. A failed flush means
 * that nobody knows what is on disk: the member stops.
 *
 * Threads: all calls block (they do file I/O): the WAL worker's thread, or the loop while the member starts or ends.
 * One thread at a time. Only wal_spare_make may run beside the others.
 *
 * Errors that are told with a text in `message` (which may be NULL) say there what Go's etcd says, word for word, since
 * operators search for it.
 */
#ifndef WAL_WAL_H
#define WAL_WAL_H

#include "base/buf.h"
#include "env/env.h"
#include "pb/raftpb.h"

#define WAL_SEGMENT_BYTES INT64_C(64000000)
/* A flush that takes longer is logged ("slow fdatasync"). */
#define WAL_SLOW_SYNC_NS INT64_C(1000000000)

struct wal;

struct wal_options {
    struct env *env;
    const char *dir;       /* copied */
    int64_t segment_bytes; /* 0 = WAL_SEGMENT_BYTES; others are for tests */
    bool no_sync;          /* --unsafe-no-fsync: records are written, but not flushed */
};

/* Whether the folder holds any name that ends in ".wal". False when it can't be read. */
bool wal_exists(struct env *env, const char *dir);

/* Makes a new log with `metadata` (an encoded struct wal_metadata) and an empty snapshot record, durable when it
 * returns, for writing. Anything at `dir` that is not a log is deleted. ERR_FILE_EXISTS: there is a log already. */
enum err wal_create(const struct wal_options *options, struct slice metadata, struct wal **ret_wal,
                    struct errmsg *message) MUST_USE;

/* Opens the segments from the one on that holds the entry behind snapshot_index, and locks them. wal_read_all must come
 * next. ERR_WAL_FILE_NOT_FOUND: there is no such segment, or one between is missing; ERR_LOCKED: another process has
 * it; errors of the system. */
enum err wal_open(const struct wal_options *options, uint64_t snapshot_index, uint64_t snapshot_term,
                  struct wal **ret_wal, struct errmsg *message) MUST_USE;
/* Takes no locks and changes nothing: for looking into a log, also that of a running member. */
enum err wal_open_read_only(const struct wal_options *options, uint64_t snapshot_index, uint64_t snapshot_term,
                            struct wal **ret_wal, struct errmsg *message) MUST_USE;

struct wal_entries {
    struct raft_entry *items;
    size_t count;
    size_t capacity;
};

/* What the log says. */
struct wal_contents {
    struct buf metadata; /* len 0: there is none */
    struct raft_hard_state hard_state;
    /* Those behind the snapshot, without gaps, as last written: a record with the same or a lower index replaces the
     * rest. Their data lies in blocks of what was read, shared by neighbours. */
    struct wal_entries entries;
    bool snapshot_found; /* there is a record of the snapshot at which it was opened */
};
void wal_contents_release(struct wal_contents *self);

/* Reads all, once. In a log opened for writing it then wipes what lies behind the last good record and goes over to
 * writing. Errors, all but the first final:
 *   ERR_UNEXPECTED_EOF           the last record is torn: close, wal_repair, open again (read-only: no error, what
 * comes before it is the answer) ERR_WAL_CRC_MISMATCH, ERR_WAL_METADATA_CONFLICT, ERR_WAL_SNAPSHOT_MISMATCH,
 * ERR_WAL_SLICE_OUT_OF_RANGE ERR_WAL_SNAPSHOT_NOT_FOUND   read-only only; for writing see snapshot_found ERR_CORRUPT a
 * record that makes no sense errors of the system */
enum err wal_read_all(struct wal *self, struct wal_contents *ret_contents, struct errmsg *message) MUST_USE;

/* wal_open and wal_read_all, with one wal_repair between when it is needed; what a member does when it starts. Logs
 * what it does, and each error at fatal level as Go's server does. */
enum err wal_open_and_read(const struct wal_options *options, uint64_t snapshot_index, uint64_t snapshot_term,
                           struct wal **ret_wal, struct wal_contents *ret_contents, struct errmsg *message) MUST_USE;

/* Repairs a torn end: copies the last segment to <name>.broken, then cuts it behind its last good record. OK also when
 * there is nothing to repair. Damage that is not torn is an error and stays. The log must be closed. */
enum err wal_repair(const struct wal_options *options, struct errmsg *message) MUST_USE;

/* ---- writing ---- */

/* What a call did; for metrics. A call that cuts flushes more than once. */
#define WAL_MAX_SYNCS 4
struct wal_io {
    size_t written_bytes;
    int64_t room_bytes; /* afterwards, in the segment: until the next cut */
    unsigned write_count;
    int64_t write_ns; /* of all writes */
    unsigned sync_count;
    int64_t sync_ns[WAL_MAX_SYNCS]; /* of each flush of file content */
};

/* Appends the entries, then the hard state unless it is all zero. Durable on return if there are entries, or term or
 * vote differ from the last one saved by this struct; a new commit index alone is only remembered and goes out with
 * what is written next. One write, one flush; when the segment is full, then also the cut to the next. `ret_io` (may be
 * NULL) is also filled in on error. */
enum err wal_save(struct wal *self, struct raft_hard_state hard_state, const struct raft_entry *entries,
                  size_t entry_count, struct wal_io *ret_io) MUST_USE;

/* Appends that a snapshot exists, durable on return. The .snap file must be durable before. With index > 0 it must have
 * a conf_state. */
enum err wal_save_snapshot(struct wal *self, const struct wal_snapshot *snapshot, struct wal_io *ret_io) MUST_USE;

/* Makes all that was saved durable. */
enum err wal_sync(struct wal *self, struct wal_io *ret_io) MUST_USE;

/* Gives back the locks of segments whose entries all lie below `index`: the one that holds `index` and those behind
 * stay locked. Called once a snapshot at `index` is saved. */
void wal_release_to(struct wal *self, uint64_t index);

/* Makes what was saved durable (unless the log has failed), closes all, takes away spare segments. Frees `self` in any
 * case; NULL is allowed. */
enum err wal_close(struct wal *self);

/* ---- the spare segment ----
 *
 * A cut takes a segment that was prepared ahead, or prepares one itself, which takes as long as the disk needs to find
 * 64 MB. So, after each save:
 *
 *     order = wal_spare_order(wal)         WAL's thread; NULL when none is wanted
 *     wal_spare_make(order)                any thread, beside other calls on the log
 *     wal_spare_deliver(wal, order)        WAL's thread; or wal_spare_free(order) when the log is closed meanwhile
 */
struct wal_spare;
struct wal_spare *wal_spare_order(struct wal *self);
/* Logs a failure; deliver it all the same. */
enum err wal_spare_make(struct wal_spare *self);
/* Takes it over in any case. The error of its making: the next order should wait a while then. */
enum err wal_spare_deliver(struct wal *self, struct wal_spare *spare);
/* Deletes the file, if it was made. NULL is allowed. */
void wal_spare_free(struct wal_spare *self);

/* ---- beside the open log ---- */

struct wal_snapshots {
    struct wal_snapshot *items;
    size_t count;
    size_t capacity;
};
void wal_snapshots_release(struct wal_snapshots *self);

/* All snapshot records of all segments, in order, whose index is not beyond the last commit index: a .snap may be
 * loaded if it is among them. A torn end is fine. Errors as wal_read_all. */
enum err wal_valid_snapshots(struct env *env, const char *dir, struct wal_snapshots *ret_snapshots,
                             struct errmsg *message) MUST_USE;

/* Deletes the oldest segments while there are more than max_files (0 = keep all), up to the first that is locked. */
enum err wal_purge(struct env *env, const char *dir, size_t max_files) MUST_USE;

#endif
