/* watch_private.h - what the files of the watch hub share.
 *
 *   watch.c           watchers, live events, the ring of recent ones
 *   watch_catchup.c   feeding those that are behind, from the ring or by a scan
 *   watch_set.c       which watchers want a key
 *   watch_event.c     events
 */
#ifndef MVCC_WATCH_PRIVATE_H
#define MVCC_WATCH_PRIVATE_H

#include "base/map.h"
#include "mvcc/store_private.h"
#include "mvcc/watch.h"

/* ---- which watchers want a key: a hash map for single keys, an interval treap for ranges ---- */

struct watch_group;
#define WATCH_GROUP_BYTES 200 /* with its place in a table */

struct watch_set {
    struct map_bytes singles; /* key -> group */
    struct watch_group *root; /* ordered by begin, then end */
    uint64_t priority_state;
    size_t count; /* of watchers */
};
void watch_set_init(struct watch_set *self, uint64_t seed);
/* Must be empty. */
void watch_set_release(struct watch_set *self);
void watch_set_add(struct watch_set *self, struct watcher *watcher);
void watch_set_remove(struct watch_set *self, struct watcher *watcher);
/* Calls `visit` for each watcher that wants the key: single-key ones first, then by begin of their range; of the same
 * range in the order they were added. The set must not change meanwhile. */
void watch_set_find(const struct watch_set *self, struct slice key,
                    void (*visit)(void *context, struct watcher *watcher), void *context);

/* ---- watchers ---- */

enum watcher_state { WATCHER_SYNCED, WATCHER_UNSYNCED, WATCHER_SCANNING, WATCHER_PAUSED, WATCHER_COMPACTED };

struct watcher {
    struct watch_hub *hub;
    enum watcher_state state;
    struct index_range range; /* points into `text` */
    struct buf text;
    bool no_put, no_delete, prev_kv;
    struct watch_sink sink;
    int64_t next_revision; /* synced: only when it waits for a future one is this more than current + 1 */

    struct watch_set *set; /* NULL: in none */
    struct watch_group *group;
    struct list set_link; /* in the group */
    struct list link;     /* in one of the hub's lists, by state */

    size_t matched_first, matched_last; /* while events are handed out: places in hub->matches, SIZE_MAX = none */

    /* while scanning: what it gets next */
    VEC(struct watch_event *) pending;
    size_t pending_revisions;
    int64_t pending_last;
};

struct watch_match {
    struct watcher *watcher;
    size_t event;
    size_t next; /* of the same watcher */
};

/* A walk over a view of the `key` bucket on behalf of several watchers. */
struct watch_scan {
    bool is_active;
    struct backend_view *view;
    struct backend_cursor cursor;
    struct watch_set set;
    struct list watchers;
    int64_t end_revision;
    int64_t last_revision;
    size_t pending_bytes;
};

struct watch_hub {
    struct store *store;
    struct watch_set synced;
    struct list synced_watchers, unsynced, far_behind, paused, compacted;
    struct env_timer timer;
    bool is_stopped;
    struct watch_stats stats;

    /* ring: recent events, oldest at ring_begin */
    struct watch_event **ring;
    size_t ring_begin, ring_count;
    size_t ring_bytes;
    int64_t ring_from; /* all events of revisions >= this are in it */

    struct watch_scan scan;

    /* scratch for handing out */
    VEC(struct watch_match) matches;
    VEC(struct watcher *) matched;
    VEC(struct watch_event *) batch;
};

bool watcher__wants(const struct watcher *self, const struct watch_event *event);
/* Hands a batch over; on true next_revision is set, on false the watcher is paused (out of set and list). */
bool watcher__deliver(struct watcher *self, int64_t header_revision, struct watch_event **events, size_t count,
                      int64_t next_revision);
void watcher__set_state(struct watcher *self, enum watcher_state state);
/* Finds who in `set` wants which of the events: hub->matched and the chains through hub->matches. */
void watch__match(struct watch_hub *hub, const struct watch_set *set, struct watch_event **events, size_t count);

/* watch_catchup.c */
void watch__kick(struct watch_hub *hub);
void watch__scan_abort(struct watch_hub *hub);
void watcher__drop_pending(struct watcher *self);

/* watch_event.c */
struct watch_event *watch__event_stored_put(struct slice encoded_kv, const struct keyvalue *kv,
                                            struct revision revision);
void watch__event_find_previous(struct store *store, struct watch_event *event);
size_t watch__event_bytes(const struct watch_event *event);

#endif
