/* watch_catchup.c - feeding watchers that are behind.
 *
 * A timer turn looks at the unsynced watchers in order: one whose next events are in the ring is fed from there; one
 * that is further behind joins the next scan. A scan walks a view of the `key` bucket once for up to 512 watchers, some
 * pairs a turn, from the oldest position among them to the revision the view was taken at; afterwards the ring has the
 * rest. Each watcher gets batches of at most WATCH_BATCH_MAX_REVISIONS revisions; while a scan holds many bytes for its
 * watchers it hands out earlier than that.
 */
#include "base/check.h"
#include "mvcc/watch_private.h"

#define SCAN_MAX_WATCHERS 512
#define SCAN_SLICE_PAIRS 500
#define SCAN_PENDING_BYTES ((size_t)4 << 20)
/* Ring events looked at, and watchers moved, in one turn. */
#define RING_SLICE_EVENTS 16384
#define RING_WATCHER_COST 32

static void on_timer(struct env_timer *timer);

void watch__kick(struct watch_hub *hub) {
    if (hub->is_stopped || env_timer_is_running(&hub->timer)) return;
    hub->timer.callback = on_timer;
    hub->timer.context = hub;
    env_timer_start(hub->store->env, &hub->timer, 0);
}

void watcher__drop_pending(struct watcher *self) {
    for (size_t i = 0; i < self->pending.count; i++) {
        if (self->state == WATCHER_SCANNING)
            self->hub->scan.pending_bytes -= watch__event_bytes(self->pending.items[i]);
        watch_event_unref(self->pending.items[i]);
    }
    self->pending.count = 0;
    self->pending_revisions = 0;
}

static void tell_compacted(struct watcher *watcher) {
    watcher__set_state(watcher, WATCHER_COMPACTED);
    watcher->sink.compacted(watcher->sink.context, watcher, watcher->hub->store->compact_revision);
}

/* ---- from the ring ---- */

static struct watch_event *ring_at(const struct watch_hub *hub, size_t i) {
    return hub->ring[(hub->ring_begin + i) % hub->store->options.watch_ring_events];
}

static size_t ring_find(const struct watch_hub *hub, int64_t revision) {
    size_t low = 0, high = hub->ring_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ring_at(hub, middle)->revision.main < revision)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* One batch. Returns the events looked at. */
static size_t feed_from_ring(struct watch_hub *hub, struct watcher *watcher) {
    int64_t current = hub->store->revision;
    size_t begin = ring_find(hub, watcher->next_revision), at = begin;
    size_t revisions = 0;
    int64_t last = 0, next = current + 1;
    hub->batch.count = 0;
    for (; at < hub->ring_count; at++) {
        struct watch_event *event = ring_at(hub, at);
        if (!watcher__wants(watcher, event) || !index_range_has(&watcher->range, event->key)) continue;
        if (hub->batch.count == 0 || event->revision.main != last) {
            if (revisions == WATCH_BATCH_MAX_REVISIONS) {
                next = event->revision.main;
                break;
            }
            revisions++;
            last = event->revision.main;
        }
        VEC_PUSH(&hub->batch, event);
    }
    if (hub->batch.count > 0) {
        if (!watcher__deliver(watcher, current, hub->batch.items, hub->batch.count, next)) return at - begin;
    } else {
        watcher->next_revision = next;
    }
    if (next > current) watcher__set_state(watcher, WATCHER_SYNCED);
    return at - begin;
}

/* Moves one unsynced watcher on; returns what it cost. */
static size_t advance(struct watch_hub *hub, struct watcher *watcher) {
    struct store *store = hub->store;
    if (watcher->next_revision < store->compact_revision || watcher->next_revision == INT64_MIN) {
        tell_compacted(watcher);
    } else if (watcher->next_revision > store->revision) {
        watcher__set_state(watcher, WATCHER_SYNCED);
    } else if (hub->ring_from >= 0 && watcher->next_revision >= hub->ring_from) {
        return feed_from_ring(hub, watcher) + RING_WATCHER_COST;
    } else {
        list_remove(&watcher->link);
        list_push_back(&hub->far_behind, &watcher->link);
    }
    return RING_WATCHER_COST;
}

/* ---- by a scan ---- */

static bool deliver_pending(struct watcher *watcher) {
    if (watcher->pending.count == 0) return true;
    int64_t next = watcher->pending_last + 1;
    if (!watcher__deliver(watcher, watcher->hub->store->revision, watcher->pending.items, watcher->pending.count, next))
        return false;
    watcher__drop_pending(watcher);
    return true;
}

static void deliver_all_pending(struct watch_scan *scan) {
    LIST_FOREACH (it, &scan->watchers) {
        (void)deliver_pending(CONTAINER_OF(it, struct watcher, link));
    }
}

static void begin_scan(struct watch_hub *hub) {
    struct watch_scan *scan = &hub->scan;
    int64_t from = INT64_MAX;
    size_t count = 0;
    while (!list_is_empty(&hub->far_behind) && count < SCAN_MAX_WATCHERS) {
        struct watcher *watcher = CONTAINER_OF(hub->far_behind.next, struct watcher, link);
        if (watcher->next_revision < hub->store->compact_revision) {
            tell_compacted(watcher);
            continue;
        }
        if (watcher->next_revision < from) from = watcher->next_revision;
        watcher__set_state(watcher, WATCHER_SCANNING);
        count++;
    }
    if (count == 0) return;
    uint8_t bytes[BACKEND_REVISION_MAX_BYTES];
    scan->is_active = true;
    scan->end_revision = hub->store->revision;
    scan->last_revision = -1;
    scan->view = backend_view(hub->store->backend, BACKEND_VIEW_KEY);
    backend_cursor_init(&scan->cursor, scan->view, BACKEND_KEY);
    backend_cursor_seek(&scan->cursor, slice_make(bytes, backend_revision_encode(bytes, from, 0, false)));
}

void watch__scan_abort(struct watch_hub *hub) {
    struct watch_scan *scan = &hub->scan;
    LIST_FOREACH (it, &scan->watchers) {
        struct watcher *watcher = CONTAINER_OF(it, struct watcher, link);
        watcher__drop_pending(watcher);
        watcher__set_state(watcher, WATCHER_UNSYNCED);
    }
    backend_view_unref(TAKE(scan->view));
    scan->is_active = false;
}

static void end_scan(struct watch_hub *hub) {
    struct watch_scan *scan = &hub->scan;
    deliver_all_pending(scan);
    LIST_FOREACH (it, &scan->watchers) {
        struct watcher *watcher = CONTAINER_OF(it, struct watcher, link);
        if (watcher->next_revision <= scan->end_revision) watcher->next_revision = scan->end_revision + 1;
        watcher__set_state(watcher, WATCHER_UNSYNCED);
    }
    CHECK(scan->pending_bytes == 0);
    backend_view_unref(TAKE(scan->view));
    scan->is_active = false;
}

static void keep_for(struct watcher *watcher, struct watch_event *event) {
    bool is_new_revision = watcher->pending.count == 0 || watcher->pending_last != event->revision.main;
    if (is_new_revision && watcher->pending_revisions == WATCH_BATCH_MAX_REVISIONS && !deliver_pending(watcher)) return;
    watcher->pending_revisions += is_new_revision;
    watcher->pending_last = event->revision.main;
    watcher->hub->scan.pending_bytes += watch__event_bytes(event);
    VEC_PUSH(&watcher->pending, watch_event_ref(event));
}

static enum err scan_pair(struct watch_hub *hub, struct slice key, struct slice value) {
    struct watch_scan *scan = &hub->scan;
    struct revision revision;
    bool is_tombstone;
    struct keyvalue kv;
    if (!backend_revision_decode(key, &revision.main, &revision.sub, &is_tombstone)) return ERR_CORRUPT;
    TRY(keyvalue_decode(value, &kv));
    if (revision.main != scan->last_revision && scan->pending_bytes > SCAN_PENDING_BYTES) deliver_all_pending(scan);
    scan->last_revision = revision.main;

    /* Find out who wants it before the bytes are copied. */
    struct watch_event probe = {.is_delete = is_tombstone, .revision = revision, .key = kv.key};
    struct watch_event *events[1] = {&probe};
    watch__match(hub, &scan->set, events, 1);
    if (hub->matched.count == 0) return OK;
    struct watch_event *event =
        is_tombstone ? watch__event_delete(kv.key, revision) : watch__event_stored_put(value, &kv, revision);
    for (size_t i = 0; i < hub->matched.count; i++) {
        hub->matched.items[i]->matched_first = SIZE_MAX;
        keep_for(hub->matched.items[i], event);
    }
    watch_event_unref(event);
    return OK;
}

static void scan_slice(struct watch_hub *hub) {
    struct watch_scan *scan = &hub->scan;
    for (size_t i = 0; i < SCAN_SLICE_PAIRS; i++) {
        struct slice key, value;
        enum err error = OK;
        if (!backend_cursor_next(&scan->cursor, &key, &value)) {
            error = scan->cursor.error;
            if (error == OK) {
                end_scan(hub);
                return;
            }
        } else {
            error = scan_pair(hub, key, value);
        }
        if (error != OK) {
            (void)store__fail(hub->store, error);
            watch__scan_abort(hub);
            return;
        }
        if (list_is_empty(&scan->watchers)) {
            end_scan(hub);
            return;
        }
    }
}

/* ---- a turn ---- */

static void on_timer(struct env_timer *timer) {
    struct watch_hub *hub = timer->context;
    if (hub->store->error != OK) return;
    for (size_t spent = 0; spent < RING_SLICE_EVENTS && !list_is_empty(&hub->unsynced);)
        spent += advance(hub, CONTAINER_OF(hub->unsynced.next, struct watcher, link));
    if (hub->scan.is_active)
        scan_slice(hub);
    else if (!list_is_empty(&hub->far_behind))
        begin_scan(hub);
    if (hub->scan.is_active || !list_is_empty(&hub->unsynced) || !list_is_empty(&hub->far_behind)) watch__kick(hub);
}
