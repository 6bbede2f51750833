/* index.h - the key index: which revisions a key has, and where a key stands among all keys.
 *
 * Floor 4 (mvcc). A B+tree in key order with counts of *live* keys in its nodes: counting a range, skipping to the
 * n-th key and ending a limited range early cost O(log n), however many dead keys lie between. Per key one block (key
 * bytes, newest revision, creation, version) and, only when it has more than one revision, a list of them. Knows no
 * values and no disk. One thread at a time: the loop, and while a store is loaded the thread that does it.
 *
 * Semantics (generations, get, compact, keep) are those of spec/backend-schema.md 10 and must stay exact: HashKV and
 * the deletions of a compaction depend on them. A key is *live* when its newest revision is a put.
 *
 * Cost per key beyond its bytes: 32 bytes of block (rounded up to 8), 12 / fill of the leaf (0.7 to 1).
 */
#ifndef MVCC_INDEX_H
#define MVCC_INDEX_H

#include "base/vec.h"
#include "mvcc/keyvalue.h"

struct index;
struct index_key; /* a key; its address is stable while the key is in the index */

/* What a key is at some revision. */
struct index_item {
    struct index_key *key;
    struct revision mod;
    int64_t create_main;
    int64_t version;
};

struct index *index_new(void);
void index_free(struct index *self);

/* Live keys, and all keys including those whose tombstone is not compacted yet. */
uint64_t index_live_count(const struct index *self);
uint64_t index_key_count(const struct index *self);
/* Bytes held by tree, keys and revision lists. */
size_t index_memory_bytes(const struct index *self);

/* The bytes of the key: valid while the key is in the index. */
struct slice index_key_bytes(const struct index_key *key);

/* ---- one key ---- */

/* NULL when the index does not know the key at all. */
struct index_key *index_find(const struct index *self, struct slice key);
/* Its state at main revision `at` (INT64_MAX = newest); false when it does not exist there. */
bool index_key_at(const struct index_key *key, int64_t at, struct index_item *ret_item);
/* index_find and index_key_at at once. */
bool index_get(const struct index *self, struct slice key, int64_t at, struct index_item *ret_item);

/* What a key was before a write. */
struct index_before {
    bool was_live;
    bool had_lease;
    struct revision mod; /* when it lived */
};

/* Adds a revision; it must be greater than all of this key. Returns the key's new state (version 1 when it did not
 * live). `ret_before` may be NULL. */
struct index_item index_put(struct index *self, struct slice key, struct revision revision,
                            struct index_before *ret_before);
/* False, and no change, when the key does not live. */
bool index_tombstone(struct index *self, struct slice key, struct revision revision, struct index_before *ret_before);

/* A flag for the store: this key's newest put has a lease. Cleared by index_put and index_tombstone. */
bool index_key_has_lease(const struct index_key *key);
void index_key_set_lease(struct index_key *key, bool has_lease);

/* ---- ranges: [begin, end) ---- */

struct index_range {
    struct slice begin;
    struct slice end; /* not for the next two */
    bool is_open;     /* no upper end */
    bool is_single;   /* the key `begin` alone */
};

/* How the API writes a range: range_end empty = the key alone, "\0" = from the key on. */
struct index_range index_range_of(struct slice key, struct slice range_end);
/* Does the range hold the key? */
bool index_range_has(const struct index_range *self, struct slice key);

/* Live keys in the range, O(log n). */
uint64_t index_count(const struct index *self, const struct index_range *range);

/* A place between keys. Any change of the set of keys (a put of a new key, a compaction) makes it void; changes of
 * known keys do not. */
struct index_cursor {
    const void *leaf;
    size_t position;
};

/* The first key >= begin. */
struct index_cursor index_seek(const struct index *self, struct slice begin);
/* The n-th (from 0) live key at or after `begin`; the end when there are fewer. */
struct index_cursor index_seek_live(const struct index *self, struct slice begin, uint64_t n);
/* The key at the cursor, dead or alive, and on to the next; NULL at the end of the range. */
struct index_key *index_next(struct index_cursor *cursor, const struct index_range *range);
/* The same, but skips keys that do not live, 64 at once where they are many. */
struct index_key *index_next_live(struct index_cursor *cursor, const struct index_range *range);

/* ---- compaction and keep sets ---- */

struct index_revisions {
    VEC(struct revision) list;
};

/* Work done by slices over all keys in order. {0} before the first call; index_sweep_release afterwards, finished or
 * not. Keys may come and go between calls. */
struct index_sweep {
    struct buf last_key; /* resume after it */
    bool is_started;
    bool is_finished;
};
void index_sweep_release(struct index_sweep *self);

struct index_dropped {
    struct revision revision;
    bool is_tombstone;
};
struct index_dropped_list {
    VEC(struct index_dropped) list;
};

/* Compact(at) for the next keys, until about `budget_keys` were looked at or `budget_drops` revisions dropped (a single
 * key may exceed it). Dropped revisions are appended, those of one key in ascending order. *ret_kept_any is set when
 * any revision <= at was kept and left alone otherwise. A key without revisions leaves the index. */
void index_compact(struct index *self, int64_t at, struct index_sweep *sweep, size_t budget_keys, size_t budget_drops,
                   struct index_dropped_list *dropped, bool *ret_kept_any);

/* Keep(at) for the next `budget_keys` keys: appends those kept revisions whose main is <= `up_to` to `kept` (in key
 * order, not sorted) and sets *ret_kept_any when there was any at all. */
void index_keep(const struct index *self, int64_t at, int64_t up_to, struct index_sweep *sweep, size_t budget_keys,
                struct index_revisions *kept, bool *ret_kept_any);

/* ---- restore ---- */

/* One pair of the `key` bucket. The key's bytes stand right behind it, so that sorting many of them touches one place
 * each. */
struct index_record {
    int64_t main;
    int64_t create_main; /* of a put */
    int64_t version;     /* of a put */
    int64_t lease;
    uint32_t sub;
    uint32_t key_length : 31;
    uint32_t is_tombstone : 1;
    uint8_t key[];
};

/* Called for each key touched by a load, in key order, with the lease of its newest revision (0 for a tombstone). */
typedef void (*index_loaded)(void *context, struct index_key *key, int64_t lease);

/* Takes in records that are in ascending order of revision and come after all that the index has (rules: spec
 * backend-schema 10, "Restore"). The first load into an empty index builds the tree bottom-up. */
void index_load(struct index *self, const struct index_record *const *records, size_t count, index_loaded loaded,
                void *context);

/* Walks everything and stops the process on a broken invariant; for tests. */
void index_check(const struct index *self);

#endif
