/* store.h - the multi-version key-value store: revisions, reads at any of them, write transactions, compaction, hashes.
 *
 * Floor 4 (mvcc). Owns the key index (index.h) and the buckets `key` and `meta` of the backend (of `meta` only
 * scheduledCompactRev and finishedCompactRev); feeds the watch hub (watch.h). Rules: spec/backend-schema.md 2, 9, 10,
 * 11 and spec/apply.md 4, 8. Knows nothing of raft, auth and quota; leases are reached through a small table.
 *
 * Loop only, all of it. Nothing here blocks but what a start does (store_open, store_load_free): scans and hashes run
 * in slices on the loop or on pool threads over a view, a load on a thread of its own.
 */
#ifndef MVCC_STORE_H
#define MVCC_STORE_H

#include "base/arena.h"
#include "env/env.h"
#include "mvcc/index.h"

struct backend;
struct backend_view;
struct store;
struct store_load;
struct store_range;
struct store_txn;
struct watch_hub;

/* ---- leases: filled in by the server; NULL members are not called ---- */

struct store_lease_ops {
    /* Must a put with this lease fail? (txn.h asks; store_txn_put does not.) */
    bool (*exists)(void *context, int64_t lease);
    /* The key's bytes live only during the call. Attach to a lease that is gone: ignored, the lessor logs. */
    void (*attach)(void *context, struct slice key, int64_t lease);
    void (*detach)(void *context, struct slice key, int64_t lease);
    void *context;
};

/* ---- life ---- */

struct store_options {
    struct env *env;
    struct store_lease_ops lease;
    int compaction_batch_limit;   /* revisions deleted before a pause; 0 = 1000 */
    int64_t compaction_sleep_ns;  /* the pause; 0 = 10 ms */
    size_t compaction_slice_keys; /* keys looked at in one turn; 0 = 2000 */
    size_t watch_ring_events;     /* recently applied events kept in memory; 0 = 4096 */
    size_t watch_ring_bytes;      /* and their bytes; 0 = 4 MiB */
    bool skip_compaction_hash;    /* true: no hash is made during compactions */
};

/* Creates the buckets when missing, restores the index (blocks while it scans the `key` bucket), attaches leases (the
 * lessor must be loaded), and resumes an interrupted compaction in the background. `backend` must outlive the store.
 * `load` (may be NULL: it is read now) is what store_load_start began on this backend; it is taken over in any case.
 * ERR_CORRUPT with a message for pairs that make no sense. */
enum err store_open(struct backend *backend, const struct store_options *options, struct store_load *load,
                    struct store **ret_store, struct errmsg *ret_message) MUST_USE;
/* Begins to read the index on a thread of its own, for a start that has other work until store_open. Nothing may be
 * written to the `key` bucket meanwhile. */
struct store_load *store_load_start(struct backend *backend, struct env *env);
/* Waits for the thread and throws away what it read; before the backend is closed. NULL is allowed. */
void store_load_free(struct store_load *load);
/* All ranges, hashes and watchers must be gone (store_stop first). NULL is allowed. */
void store_close(struct store *self);
/* Calls off background work; callbacks of compactions and hashes come with ERR_STOPPED, from within this call or, when
 * a pool thread is at work, later (`done`). No callback after `done`, which is called exactly once from a later turn.
 */
void store_stop(struct store *self, void (*done)(void *context), void *context);
/* A snapshot replaced the whole database: forgets everything and restores from the new backend (blocks as open does).
 * Ranges opened before keep their view; watchers go on at their position (those of a compacted one are told);
 * compactions and hashes that wait are called off with ERR_STOPPED. What a pool thread is reading ends by itself: the
 * old backend may be closed when it has no readers left (backend_open_readers). On error the store must not be used any
 * more. */
enum err store_replace(struct store *self, struct backend *backend, struct errmsg *ret_message) MUST_USE;

/* Newest revision: 1 for an empty store. In the middle of a write transaction: that before it. */
int64_t store_revision(const struct store *self);
/* -1 when never compacted. */
int64_t store_compact_revision(const struct store *self);
/* Not OK once a pair that the index knows was missing or unreadable: the member must stop (backend_explain). Functions
 * without an error of their own set it as well. */
enum err store_error(const struct store *self);
struct watch_hub *store_watch_hub(struct store *self);
struct index *store_index(struct store *self);
struct backend *store_backend(struct store *self);

/* Counters for /metrics; only grow (but keys_live, a gauge). */
struct store_stats {
    uint64_t range_count, put_count, delete_count, txn_count;
    uint64_t put_bytes; /* keys and values through this member */
    uint64_t keys_live;
    uint64_t compacted_revisions;   /* removed from the db */
    int64_t compaction_last_unix_s; /* 0 = none yet */
    int64_t compaction_last_took_ns;
};
const struct store_stats *store_stats(struct store *self);

/* ---- reading ---- */

enum store_sort_order { STORE_SORT_NONE, STORE_SORT_ASCEND, STORE_SORT_DESCEND };
enum store_sort_target { STORE_BY_KEY, STORE_BY_VERSION, STORE_BY_CREATE, STORE_BY_MOD, STORE_BY_VALUE };

/* The fields of a RangeRequest with their API meaning (numbers equal the proto's). */
struct store_range_options {
    struct slice key;
    struct slice range_end; /* empty = the key alone; "\0" = from key on; not after key = empty result */
    int64_t revision;       /* <= 0: current */
    int64_t limit;          /* <= 0: none */
    enum store_sort_order order;
    enum store_sort_target target;                    /* unknown numbers: by key */
    int64_t min_mod, max_mod, min_create, max_create; /* 0: no filter */
    bool keys_only;
    bool count_only;
};

/* A range with a small answer, or one taken in slices. Begin finds out the revision and pins a consistent view; step
 * collects which pairs belong to the answer, at most about `budget_keys` keys a call, and tells whether it is complete;
 * then next gives the pairs one after another, fetched from the view as they are asked for, so that a huge answer never
 * sits whole in memory. `options` slices are copied.
 *
 *     TRY(store_range_begin(store, &options, &range));
 *     while (!store_range_step(range, 2000)) ...come back in a later turn...
 *     while (store_range_next(range, &kv)) ...
 *     store_range_free(range);
 *
 * ERR_FUTURE_REV, ERR_COMPACTED. */
enum err store_range_begin(struct store *self, const struct store_range_options *options,
                           struct store_range **ret_range) MUST_USE;
bool store_range_step(struct store_range *range, size_t budget_keys);
/* After the last step. */
int64_t store_range_count(const struct store_range *range); /* keys in the range before filters and limit */
bool store_range_more(const struct store_range *range);     /* the limit cut something off */
size_t store_range_length(const struct store_range *range); /* pairs that next will give */
/* Memory it has taken so far for the places of pairs, or for pairs without their values. */
size_t store_range_place_bytes(const struct store_range *range);
/* Header revision: the store's at begin. Valid from begin on. */
int64_t store_range_revision(const struct store_range *range);
/* The next encoded mvccpb.KeyValue (the stored bytes verbatim; without the value when keys_only), valid until
 * store_range_free; false at the end. ERR_CORRUPT when the pair is missing from the db: the member must stop. */
enum err store_range_next(struct store_range *range, struct slice *ret_kv, bool *ret_found) MUST_USE;
/* NULL is allowed. */
void store_range_free(struct store_range *range);

/* One key: the fast path, no allocation when the pair is in the write buffer or the map of the db. *ret_found false:
 * no such key there (still OK). The bytes are valid until the next call of anything on the loop that writes or may
 * commit; copy or answer at once. Errors as begin. */
enum err store_get(struct store *self, struct slice key, int64_t revision, struct slice *ret_kv,
                   bool *ret_found) MUST_USE;

/* ---- writing: one transaction at a time; all its changes get revision store_revision() + 1 ---- */

struct store_txn *store_txn_begin(struct store *self);
/* Writes and attaches the lease (0 = none); leaves an older one. Key and value are copied. */
void store_txn_put(struct store_txn *txn, struct slice key, struct slice value, int64_t lease);
/* Tombstones for all live keys of the range, in key order; returns how many. `range_end` as in the API. */
int64_t store_txn_delete_range(struct store_txn *txn, struct slice key, struct slice range_end);
/* Reads that see what the transaction has written: the current revision is the store's, or + 1 after the first
 * change. One go, not sliced. `each` gets every pair of the answer; its bytes live during the call only. */
struct store_answer {
    int64_t count;
    bool more;
};
typedef void (*store_each)(void *context, struct slice encoded_kv);
enum err store_txn_range(struct store_txn *txn, const struct store_range_options *options, store_each each,
                         void *context, struct store_answer *ret_answer) MUST_USE;
/* One live key now: its encoded KeyValue, valid until the next write. */
bool store_txn_get(struct store_txn *txn, struct slice key, struct slice *ret_kv);
/* The revision that reads inside see, and how many changes there were. */
int64_t store_txn_revision(const struct store_txn *txn);
int64_t store_txn_changes(const struct store_txn *txn);
/* Makes it the store's newest revision (only if something changed) and hands the events to the watch hub. Returns
 * store_revision(). */
int64_t store_txn_end(struct store_txn *txn);

/* ---- compaction ---- */

/* Makes all revisions <= `revision` that are not needed to read at `revision` unreadable at once and deletes them in
 * the background, in order of acceptance, in slices. `done` (may be NULL) is called once, later: OK when everything is
 * deleted and committed to disk, ERR_STOPPED when the store stopped before. ERR_COMPACTED when revision <= the compact
 * revision, ERR_FUTURE_REV when > current: then `done` is not called. */
enum err store_compact(struct store *self, int64_t revision, void (*done)(void *context, enum err error),
                       void *context) MUST_USE;
bool store_is_compacting(const struct store *self);

/* ---- HashKV (spec backend-schema 9) ---- */

struct store_hash {
    uint32_t hash;
    int64_t compact_revision; /* -1: never */
    int64_t revision;         /* that was hashed (3.6: hash_revision) */
    int64_t current_revision; /* of the store when asked: header revision */
};
typedef void (*store_hash_done)(void *context, enum err error, const struct store_hash *hash);

/* revision 0 = current; negative hashes nothing. Reads on a pool thread over a view; a hash kept from the compaction to
 * exactly this revision is taken when there is one. `done` is called once, in a later turn; errors there:
 * ERR_COMPACTED, ERR_FUTURE_REV, ERR_CORRUPT (unreadable db), ERR_STOPPED. */
void store_hash_by_revision(struct store *self, int64_t revision, store_hash_done done, void *context);
/* Hashes kept from compactions, newest first, at most `capacity`; returns how many. */
size_t store_compaction_hashes(const struct store *self, struct store_hash *ret_hashes, size_t capacity);

#endif
