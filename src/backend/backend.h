/* backend.h - etcd's backend: ten buckets in a bolt file, written behind.
 *
 * Floor 3. Writes are visible here at once and on disk within 100 ms: they collect in a buffer, which from time to time
 * is sealed and applied to the file by a worker in one bolt transaction, while new writes go to a fresh buffer.
 *
 *         backend_put             seal (a turn of its own)           done (loop)
 *   caller ----------> active ------------------------> sealed ------------------> bolt file
 *                      buffer     before_commit first   buffer   worker: put all,   new read
 *                                                                commit, 2 syncs    transaction
 *
 * Crash rule: all effects of one raft entry and the consistent index that covers it must reach the file in one
 * transaction. So sealing happens only in a turn of the loop of its own (timer or a commit's end), never inside a call
 * from another module: what a module writes within one turn stays together, and before_commit adds the consistent
 * index.
 *
 * The `key` bucket (revisions) takes puts in strictly ascending key order only, deletes of any (older) key, and no put
 * of a key once deleted. The other buckets are small maps.
 *
 * Threads. Loop only, but for what says otherwise: a view made for another thread may be read there.
 * Rules: etcd server/mvcc/backend; spec backend-schema 1, 7, 8.
 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include "base/shared.h"
#include "bolt/bolt.h"
#include "env/env.h"

struct backend;
struct backend_view;
struct backend_snapshot;

/* In bbolt's order. */
enum backend_bucket {
    BACKEND_ALARM,
    BACKEND_AUTH,
    BACKEND_AUTH_ROLES,
    BACKEND_AUTH_USERS,
    BACKEND_CLUSTER,
    BACKEND_KEY,
    BACKEND_LEASE,
    BACKEND_MEMBERS,
    BACKEND_MEMBERS_REMOVED,
    BACKEND_META,
    BACKEND_BUCKET_COUNT
};

/* "alarm", "auth", "authRoles"... */
struct slice backend_bucket_name(enum backend_bucket bucket);

/* A key of the key bucket: main revision, '_', sub revision, both big endian, and 't' for a tombstone. */
#define BACKEND_REVISION_BYTES 17
#define BACKEND_REVISION_MAX_BYTES 18
/* Writes 17 or 18 bytes and returns how many. */
size_t backend_revision_encode(uint8_t out[BACKEND_REVISION_MAX_BYTES], int64_t main, int64_t sub, bool is_tombstone);
/* False when the bytes are no revision key. */
bool backend_revision_decode(struct slice key, int64_t *ret_main, int64_t *ret_sub, bool *ret_is_tombstone);

#define BACKEND_DEFAULT_BATCH_INTERVAL_NS 100000000
#define BACKEND_DEFAULT_BATCH_LIMIT 10000
#define BACKEND_DEFAULT_MAP_BYTES (10ull << 30)
/* While a commit runs the active buffer grows; from here on the caller should stop taking writes in. */
#define BACKEND_CONGESTED_BATCHES 20           /* times batch_limit operations, or */
#define BACKEND_CONGESTED_BYTES (128ull << 20) /* bytes of keys and values */

struct backend_commit_report {
    struct bolt_commit_stats bolt;
    int64_t took_ns; /* on the worker */
    uint64_t operations;
};

/* What the owner wants to be told; each may be NULL. Called on the loop, never from inside a call of the owner's. */
struct backend_hooks {
    void *context;
    /* Just before the active buffer is sealed: the place to put the consistent index, term and confState. Also called
     * when a commit is forced and nothing else is pending. */
    void (*before_commit)(void *context, struct backend *backend);
    void (*after_commit)(void *context, const struct backend_commit_report *report);
    /* A commit failed: what the file holds is unknown until it is opened anew; the member must stop. Called once;
     * nothing is committed any more. Without this hook a failure ends the process. */
    void (*on_failure)(void *context, enum err error, const char *text);
};

struct backend_options {
    int64_t batch_interval_ns; /* 0 = the default, here and below */
    uint64_t batch_limit;
    uint64_t initial_map_bytes;
    bool unsafe_no_fsync;
    struct backend_hooks hooks;
};

/* Opens or creates the file. No bucket is created: the modules ask for theirs. Blocks: for the start of a member.
 * Errors as bolt_open; `message` says which file and what is wrong. ERR_LOCKED: somebody else has it open; etcd waits
 * for ever and after 10 s logs so. */
enum err backend_open(struct env *env, const char *path, const struct backend_options *options,
                      struct backend **ret_backend, struct errmsg *message) MUST_USE;
/* Commits what is pending (with before_commit) and closes; blocks: for the end of a member. All views, snapshots and
 * waiters must be gone, waiters still queued are called from within. The error is that of the last commit (it was also
 * reported to on_failure). NULL is allowed. */
enum err backend_close(struct backend *self);
const char *backend_path(const struct backend *self);

/* ---- writing ---- */

/* Harmless when it exists. */
void backend_create_bucket(struct backend *self, enum backend_bucket bucket);
/* Copies key and value. The bucket must exist or have been asked for. Keys have at least one byte (the key bucket's:
 * 17 or 18), at most BOLT_MAX_KEY_BYTES. */
void backend_put(struct backend *self, enum backend_bucket bucket, struct slice key, struct slice value);
/* Copies the key; `value` lies inside `owner`, of which a reference is taken. */
void backend_put_shared(struct backend *self, enum backend_bucket bucket, struct slice key, struct shared *owner,
                        struct slice value);
/* Harmless when absent. Many deletes in the key bucket are cheapest in ascending order. */
void backend_delete(struct backend *self, enum backend_bucket bucket, struct slice key);
/* The disk had no room for the last try to commit; it is tried again each BACKEND_RETRY_NS, and the caller should let
 * nothing in meanwhile that makes the file grow. What was written is readable all the same. */
bool backend_is_full(const struct backend *self);
#define BACKEND_RETRY_NS 1000000000
/* Too much is waiting for a commit that runs. */
bool backend_is_congested(const struct backend *self);

/* One who waits for a commit; the caller embeds it and keeps it until the callback. */
struct backend_waiter {
    void (*callback)(struct backend_waiter *waiter, enum err error);
    struct list link; /* the backend's own */
};
/* Commits everything written before the next turn, soon; then the callback, once, on the loop, never from inside this
 * call. Views and snapshots taken in the callback or later have it from the file. */
void backend_commit(struct backend *self, struct backend_waiter *waiter);
/* The same, at once and blocking: only while a member starts or ends (and in tools), with no commit running. */
enum err backend_commit_blocking(struct backend *self) MUST_USE;

/* ---- reading ---- */

/* The newest value. No malloc, no lock. *ret_value is SLICE_NONE when absent. The slice is valid until the end of this
 * turn of the loop or the next write to the same key; take a view to keep it. The only error is ERR_CORRUPT
 * (backend_explain). */
enum err backend_get(struct backend *self, enum backend_bucket bucket, struct slice key,
                     struct slice *ret_value) MUST_USE;

enum backend_view_scope {
    BACKEND_VIEW_KEY, /* the key bucket only; costs next to nothing */
    BACKEND_VIEW_ALL, /* all buckets; copies references to what is pending in the small ones */
};
/* Everything as it is now: later writes and commits do not show. Slices from it are valid until it is released. Its
 * reader functions may be used on other threads, several at a time. One reference for the caller. While a view is held
 * the file can't reuse pages freed meanwhile. */
struct backend_view *backend_view(struct backend *self, enum backend_view_scope scope);
struct backend_view *backend_view_ref(struct backend_view *view); /* loop only */
void backend_view_unref(struct backend_view *view);               /* loop only; NULL is allowed */

/* As backend_get, as of the view. */
enum err backend_view_get(const struct backend_view *view, enum backend_bucket bucket, struct slice key,
                          struct slice *ret_value) MUST_USE;
/* The same for one who fetches many keys of the key bucket from one view on one thread: near keys are cheap. */
enum err backend_view_get_near(const struct backend_view *view, struct bolt_hint *hint, struct slice key,
                               struct slice *ret_value) MUST_USE;

/* Walks a bucket of a view in key order: file, sealed and active buffer merged, without deleted keys. The caller
 * embeds it; it owns nothing. */
struct backend_cursor {
    const struct backend_view *view;
    enum backend_bucket bucket;
    enum err error; /* ERR_CORRUPT */
    struct bolt_cursor file;
    struct bolt_item file_item;
    bool file_is_live;
    size_t at[2]; /* sealed, active */
};
void backend_cursor_init(struct backend_cursor *self, const struct backend_view *view, enum backend_bucket bucket);
/* Goes to the first key at or after `key`, which the next call of backend_cursor_next gives. Without it the walk
 * starts at the first key. */
void backend_cursor_seek(struct backend_cursor *self, struct slice key);
/* False at the end or when self->error is not OK. */
bool backend_cursor_next(struct backend_cursor *self, struct slice *ret_key, struct slice *ret_value);

/* The Hash RPC's sum: CRC-32C over names, keys and values of all buckets in order, but for meta/consistent_index,
 * meta/term and, from 3.6 on, meta/storageVersion. For a view of all; any thread; takes long. */
enum err backend_view_hash(const struct backend_view *view, bool skip_storage_version, uint32_t *ret_hash) MUST_USE;

/* ---- the file ---- */

/* What etcd reports as dbSize and dbSizeInUse: as of the last commit. */
uint64_t backend_size_bytes(const struct backend *self);
uint64_t backend_size_in_use_bytes(const struct backend *self);
uint64_t backend_written_bytes(const struct backend *self);
/* Readers that hold the file back: views and snapshots. */
size_t backend_open_readers(const struct backend *self);
/* What was wrong when something answered ERR_CORRUPT. */
void backend_explain(const struct backend *self, struct errmsg *message);

/* The file's image as of the last commit (backend_commit first to have all). */
struct backend_snapshot *backend_snapshot_new(struct backend *self);
uint64_t backend_snapshot_size_bytes(const struct backend_snapshot *snapshot);
/* Fills [offset, offset + size_bytes), inside the image. Any thread; may block on the disk. */
void backend_snapshot_read(const struct backend_snapshot *snapshot, uint64_t offset, void *bytes, size_t size_bytes);
void backend_snapshot_free(struct backend_snapshot *snapshot); /* loop only; NULL is allowed */

/* Rewrites the file densely under `temporary_path` (same folder) and puts it in place, on the worker; reads and writes
 * go on, commits wait. Older views keep the old file. The callback gets the error; on one, the old file stays. */
void backend_defrag(struct backend *self, const char *temporary_path, struct backend_waiter *waiter);

#endif
