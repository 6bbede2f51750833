/* snap.h - the snapshot folder: .snap files and databases received from a leader.
 *
 * Floor 2. What it does not do: make or read the v2 JSON inside a .snap (opaque bytes here), open a database, decide
 * when a snapshot is taken.
 *
 *   <term, 16 hex>-<index, 16 hex>.snap   the raft snapshot: protobuf {1: crc uint32, 2: data}; data is a
 * raftpb.Snapshot, crc its CRC-32C; mode 0666 less the umask <index, 16 hex>.snap.db               a database as
 * received, until it is renamed over `db` tmp<digits>                           such a database being received
 *   *.snap.broken                         a .snap that could not be read
 *   db.tmp*                               left over from a defragmentation; deleted whenever the names are listed
 *
 * The newest .snap is the last by name: fixed width makes that the order of (term, index).
 *
 * Threads: all calls block; any thread, but one at a time for one folder.
 */
#ifndef WAL_SNAP_H
#define WAL_SNAP_H

#include "base/buf.h"
#include "env/env.h"
#include "pb/raftpb.h"
#include "wal/wal.h"

/* Longest .snap that is read. */
#define SNAP_MAX_FILE_BYTES (size_t)(1u << 30)

/* How long it took; for metrics. */
struct snap_io {
    int64_t encode_ns;
    int64_t sync_ns;
    int64_t total_ns;
};

/* Writes <term>-<index>.snap, durable on return; on error no file is left. A snapshot of index 0 is not saved (OK).
 * `ret_io` may be NULL. */
enum err snap_save(struct env *env, const char *dir, const struct raft_snapshot *snapshot,
                   struct snap_io *ret_io) MUST_USE;

/* Reads one .snap file. ERR_SNAP_EMPTY, ERR_SNAP_CRC_MISMATCH, ERR_CORRUPT or ERR_UNEXPECTED_EOF (it does not decode),
 * errors of the system. Logs what is wrong. */
enum err snap_read(struct env *env, const char *path, struct raft_snapshot *ret_snapshot,
                   struct errmsg *message) MUST_USE;

/* The newest .snap that can be read and, unless `recorded` is NULL, whose term and index the WAL has on record
 * (wal_valid_snapshots). One that can't be read is renamed to .broken. ERR_SNAP_NO_SNAPSHOT: there is none. */
enum err snap_load_newest(struct env *env, const char *dir, const struct wal_snapshots *recorded,
                          struct raft_snapshot *ret_snapshot) MUST_USE;

/* Appends <dir>/<term>-<index>.snap. */
void snap_append_path(struct buf *out, const char *dir, uint64_t term, uint64_t index);
/* Appends <dir>/<index>.snap.db. */
void snap_append_db_path(struct buf *out, const char *dir, uint64_t index);

/* The path of the database received with the snapshot at `index`, appended to ret_path. ERR_SNAP_NO_DB_SNAPSHOT
 * (logged) when it is not there. */
enum err snap_find_db(struct env *env, const char *dir, uint64_t index, struct buf *ret_path) MUST_USE;

/* ---- receiving a database ---- */

struct snap_receiver;

/* Opens tmp<digits> in the folder. */
enum err snap_receiver_new(struct env *env, const char *dir, struct snap_receiver **ret_receiver) MUST_USE;
enum err snap_receiver_write(struct snap_receiver *self, struct slice bytes) MUST_USE;
/* Flushes and renames to <index>.snap.db; one that is there already stays as it is. Durable on return. Frees `self`,
 * also on error. `ret_io` may be NULL. */
enum err snap_receiver_finish(struct snap_receiver *self, uint64_t index, struct snap_io *ret_io) MUST_USE;
/* Deletes the file and frees `self`. NULL is allowed. */
void snap_receiver_abort(struct snap_receiver *self);

/* ---- keeping house ---- */

/* At start: deletes tmp* left over from receiving. */
enum err snap_remove_temporary(struct env *env, const char *dir) MUST_USE;
/* Once a snapshot at `index` is saved: deletes *.snap.db below it. Failures are logged only. */
void snap_release_dbs(struct env *env, const char *dir, uint64_t index);
/* Deletes the oldest *.snap.db, then the oldest *.snap, while there are more than max_files of the kind (0 = keep all).
 */
enum err snap_purge(struct env *env, const char *dir, size_t max_files) MUST_USE;

#endif
