/* store_private.h - what the files of the store share.
 *
 *   store.c          open, restore, replace, close; accessors
 *   store_load.c     the index from the `key` bucket
 *   store_range.c    reading
 *   store_txn.c      writing
 *   store_compact.c  compaction in the background
 *   store_hash.c     HashKV, and the hashes kept from compactions
 */
#ifndef MVCC_STORE_PRIVATE_H
#define MVCC_STORE_PRIVATE_H

#include "backend/backend.h"
#include "mvcc/store.h"
#include "mvcc/watch.h"

#define COMPACTION_HASHES_KEPT 10

/* As long as it is in the store's list, no compaction to a revision above `at` may change the index. */
struct store_floor {
    struct list link;
    int64_t at;
};

struct store_txn {
    struct store *store;
    int64_t changes;
    bool is_open;
    uint64_t operations;
    VEC(struct watch_event *) events;
};

struct hash_job;

struct compaction {
    struct list link; /* in store->compactions, in order of acceptance */
    struct store *store;
    int64_t revision;
    int64_t previous_revision; /* compact revision before this one */
    bool previous_was_finished;
    bool is_started;
    void (*done)(void *context, enum err error);
    void *context;
    int64_t started_ns;
    struct index_sweep sweep;
    struct index_dropped_list dropped; /* of one slice */
    int batch_count;
    struct hash_job *hash; /* NULL: none is made */
    struct backend_waiter waiter;
};

struct store {
    struct backend *backend;
    struct env *env;
    struct store_options options;
    struct index *index;
    int64_t revision;
    int64_t compact_revision;
    enum err error;
    struct store_txn txn;
    struct watch_hub *hub;
    struct store_stats stats;
    struct list floors;

    struct list compactions; /* the first one is at work */
    struct env_timer compaction_timer;
    int64_t scheduled_compaction, finished_compaction; /* as the `meta` bucket has them; -1: none */

    struct list hash_jobs;                                 /* all that live, also those on a pool thread */
    struct store_hash kept_hashes[COMPACTION_HASHES_KEPT]; /* ascending by revision */
    size_t kept_hash_count;

    bool is_stopping;
    void (*stopped)(void *context);
    void *stopped_context;
    struct env_job stopped_job;
};

/* Notes that the member must stop, and returns `error`. */
enum err store__fail(struct store *self, enum err error);

/* The stored pair of a revision, from a view (`hint` remembers where the last one was) or (both NULL) from the backend
 * as it is. */
enum err store__fetch(struct store *self, const struct backend_view *view, struct bolt_hint *hint,
                      struct revision revision, struct slice *ret_kv) MUST_USE;

/* store_load.c: a load that has not been started on a thread is run by finish. */
struct store_load *store__load_new(struct backend *backend, struct env *env);
/* Gives the index away. */
enum err store__load_finish(struct store_load *self, struct backend *backend, struct index **ret_index,
                            int64_t *ret_last_main, struct errmsg *ret_message) MUST_USE;
void store__load_attach_leases(const struct store_load *self, const struct store_lease_ops *lease);

/* store_compact.c */
enum err store__compaction_resume(struct store *self, int64_t scheduled) MUST_USE;
void store__compaction_stop(struct store *self);
/* Something that held the first compaction back is gone. */
void store__compaction_kick(struct store *self);
/* -1: never written. */
enum err store__meta_revision(struct store *self, const char *name, int64_t *ret_main,
                              struct errmsg *ret_message) MUST_USE;

/* store_hash.c */
/* For a compaction to `revision` after one to `compact_revision`: pins the view now, hashes later. */
struct hash_job *store__hash_begin(struct store *self, int64_t compact_revision, int64_t revision);
/* A revision the compaction dropped. */
void store__hash_skip(struct hash_job *job, struct revision revision);
void store__hash_kept_any(struct hash_job *job);
/* Runs it; `done` comes from a later turn, with the result already kept. */
void store__hash_submit(struct hash_job *job, store_hash_done done, void *context);
void store__hash_abandon(struct hash_job *job);
void store__hash_stop(struct store *self);

/* Called by the parts when something ended while stopping. */
void store__check_stopped(struct store *self);

/* watch hub's side of the store (watch.c) */
struct watch_hub *watch__hub_new(struct store *store);
void watch__hub_free(struct watch_hub *hub);
/* The events of one revision, in order; takes over the references. */
void watch__hub_notify(struct watch_hub *hub, struct watch_event **events, size_t count);
/* The store was replaced: every watcher has to find its place again. `previous_revision` is that before. */
void watch__hub_replaced(struct watch_hub *hub, int64_t previous_revision);
void watch__hub_stop(struct watch_hub *hub);
/* Builds a put's or delete's event. */
struct watch_event *watch__event_put(const struct keyvalue *kv, struct revision revision);
struct watch_event *watch__event_delete(struct slice key, struct revision revision);

#endif
