/* watch.h - the watch hub: tells watchers what happened to their keys, from any past revision on.
 *
 * Floor 4 (mvcc). Loop only. One hub a store; store_txn_end feeds it. It decides *what* each watcher gets and in which
 * order; responses, fragments, ids, "created" and "cancelled" answers and progress timers are the API stream's.
 *
 *            watch_hub_add
 *                 | start > current                         start <= current
 *                 v                                               v
 *   +-------> SYNCED --- sink full ---> PAUSED --- watcher_resume ---> UNSYNCED <--- store_replace
 *   |            ^                        ^                           |    |
 *   |  gets each revision as it is        +-------- sink full --------+    | position < compact revision
 *   |  applied                                                        |    v
 *   +------------------------ has reached the newest revision --------+  COMPACTED (told once, gets nothing more)
 *
 * A slow watcher is an older position, never a queue: when its sink says "full" it keeps a revision and nothing else,
 * and is fed from there when it asks again. Recent events come from a bounded ring in memory; older ones from the `key`
 * bucket, up to 512 watchers in one scan, in slices. Notifying costs by the watchers that match, not by all.
 *
 * Rules: spec/apply.md 10; etcd server/mvcc/watchable_store.
 */
#ifndef MVCC_WATCH_H
#define MVCC_WATCH_H

#include "base/list.h"
#include "base/shared.h"
#include "mvcc/store.h"

struct watch_hub;
struct watcher;

#define WATCH_BATCH_MAX_REVISIONS 1000

/* One change, immutable and shared by all who get it. watch_event_ref keeps it alive. */
struct watch_event {
    unsigned references;              /* loop only */
    uint32_t queued, previous_queued; /* for who sends `encoded` and `previous` by reference: its http_piece.queued */
    bool is_delete;
    bool has_previous; /* previous was looked up already */
    struct revision revision;
    int64_t create_revision; /* of a put */
    struct shared *encoded;  /* mvccpb.Event without prev_kv; prev_kv (field 3) may be appended as it is last */
    struct slice kv;         /* the mvccpb.KeyValue inside `encoded` */
    struct slice key;        /* inside `encoded` */
    struct shared
        *previous; /* encoded mvccpb.KeyValue as of revision.main - 1, for watchers with prev_kv; NULL = none */
};
struct watch_event *watch_event_ref(struct watch_event *event);
void watch_event_unref(struct watch_event *event);
/* Bytes of the mvccpb.Event as this watcher sees it, and the bytes themselves (appended, no tag or length before). */
size_t watch_event_size(const struct watch_event *event, bool with_previous);
void watch_event_append(const struct watch_event *event, bool with_previous, struct buf *out);

/* What one WatchResponse holds: all its events are of whole revisions, at most WATCH_BATCH_MAX_REVISIONS of them. */
struct watch_batch {
    int64_t header_revision; /* that of the events when live; the store's newest when catching up */
    struct watch_event *const *events;
    size_t count; /* at least 1 */
};

/* Where a watcher's events go. Never called from inside watch_hub_add, watcher_resume or watcher_free. The callbacks
 * may not free or add watchers, nor write to the store; they do that in a later turn. */
struct watch_sink {
    /* Takes the batch (with references of its own) and returns true, or does not take it and returns false: then
     * nothing comes until watcher_resume, from the same revision on. `events` lives during the call. */
    bool (*deliver)(void *context, struct watcher *watcher, const struct watch_batch *batch);
    /* Its next revision is compacted; nothing more will come. */
    void (*compacted)(void *context, struct watcher *watcher, int64_t compact_revision);
    void *context;
};

struct watch_options {
    struct slice key;       /* as the API gives it (empty = "\0") */
    struct slice range_end; /* empty: one key; "\0": open end; must be > key otherwise */
    int64_t start_revision; /* 0: from now on; > current: from then on */
    bool no_put;
    bool no_delete;
    bool prev_kv;
    struct watch_sink sink;
};

/* ERR_WATCHER_EMPTY_RANGE. A start_revision < 0 is for the caller to refuse (the API answers it in a shape of its own);
 * here it counts as compacted. Key and end are copied. */
enum err watch_hub_add(struct watch_hub *self, const struct watch_options *options,
                       struct watcher **ret_watcher) MUST_USE;
/* Not from inside a sink's callback. NULL is allowed. */
void watcher_free(struct watcher *watcher);
/* The sink has room again. Harmless when it never said "full". */
void watcher_resume(struct watcher *watcher);

/* It has got everything up to store_revision(): what progress notices may say. A watcher that waits for a future
 * revision is synced; a compacted or paused one is not. */
bool watcher_is_synced(const struct watcher *watcher);
bool watcher_is_compacted(const struct watcher *watcher);
/* The first revision it has not been given (or looked at) yet. */
int64_t watcher_next_revision(const struct watcher *watcher);
bool watcher_wants_previous(const struct watcher *watcher);
/* About the memory it takes. */
size_t watcher_size(const struct watcher *watcher);
void *watcher_context(const struct watcher *watcher);

struct watch_stats {
    uint64_t watchers;
    uint64_t slow_watchers; /* unsynced and paused */
    uint64_t events_total;  /* delivered */
};
struct watch_stats watch_hub_stats(const struct watch_hub *self);

#endif
