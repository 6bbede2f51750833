/* watch.c - watchers, live events, and the ring of recent events. */
#include "mvcc/watch.h"

#include "base/check.h"
#include "mvcc/watch_private.h"

/* ---- states ---- */

static struct list *list_of(struct watch_hub *hub, enum watcher_state state) {
    switch (state) {
    case WATCHER_SYNCED: return &hub->synced_watchers;
    case WATCHER_UNSYNCED: return &hub->unsynced;
    case WATCHER_SCANNING: return &hub->scan.watchers;
    case WATCHER_PAUSED: return &hub->paused;
    case WATCHER_COMPACTED: return &hub->compacted;
    }
    UNREACHABLE();
}

static bool is_slow(enum watcher_state state) {
    return state == WATCHER_UNSYNCED || state == WATCHER_SCANNING || state == WATCHER_PAUSED;
}

/* Leaves its set, if any, for that of the new state. */
void watcher__set_state(struct watcher *self, enum watcher_state state) {
    struct watch_hub *hub = self->hub;
    if (self->set != NULL) watch_set_remove(self->set, self);
    list_remove(&self->link);
    if (is_slow(self->state) != is_slow(state)) hub->stats.slow_watchers += is_slow(state) ? 1 : (uint64_t)-1;
    self->state = state;
    list_push_back(list_of(hub, state), &self->link);
    if (state == WATCHER_SYNCED) watch_set_add(&hub->synced, self);
    if (state == WATCHER_SCANNING) watch_set_add(&hub->scan.set, self);
}

/* ---- adding and freeing ---- */

static void set_range(struct watcher *self, struct slice key, struct slice range_end) {
    if (key.len == 0) key = SLICE_LITERAL("\0");
    buf_reserve(&self->text, key.len + range_end.len + 1);
    buf_append_slice(&self->text, key);
    buf_append_slice(&self->text, range_end);
    self->range =
        index_range_of(slice_make(self->text.data, key.len), slice_make(self->text.data + key.len, range_end.len));
}

enum err watch_hub_add(struct watch_hub *self, const struct watch_options *options, struct watcher **ret_watcher) {
    struct watcher *watcher = NEW(struct watcher);
    set_range(watcher, options->key, options->range_end);
    const struct index_range *range = &watcher->range;
    if (!range->is_single && !range->is_open && slice_compare(range->end, range->begin) <= 0) {
        buf_release(&watcher->text);
        mem_free(watcher);
        return ERR_WATCHER_EMPTY_RANGE;
    }
    watcher->hub = self;
    watcher->no_put = options->no_put;
    watcher->no_delete = options->no_delete;
    watcher->prev_kv = options->prev_kv;
    watcher->sink = options->sink;
    watcher->matched_first = SIZE_MAX;
    list_init(&watcher->link);
    list_init(&watcher->set_link);
    watcher->state = WATCHER_COMPACTED; /* in no list yet */
    self->stats.watchers++;

    int64_t current = self->store->revision, start = options->start_revision;
    watcher->next_revision = start == 0 ? current + 1 : start < 0 ? INT64_MIN : start;
    if (watcher->next_revision > current) {
        watcher__set_state(watcher, WATCHER_SYNCED);
    } else {
        watcher__set_state(watcher, WATCHER_UNSYNCED);
        watch__kick(self);
    }
    *ret_watcher = watcher;
    return OK;
}

void watcher_free(struct watcher *self) {
    if (self == NULL) return;
    struct watch_hub *hub = self->hub;
    if (self->set != NULL) watch_set_remove(self->set, self);
    list_remove(&self->link);
    if (is_slow(self->state)) hub->stats.slow_watchers--;
    hub->stats.watchers--;
    watcher__drop_pending(self);
    VEC_RELEASE(&self->pending);
    buf_release(&self->text);
    mem_free(self);
}

void watcher_resume(struct watcher *self) {
    if (self->state != WATCHER_PAUSED) return;
    watcher__set_state(self, WATCHER_UNSYNCED);
    watch__kick(self->hub);
}

bool watcher_is_synced(const struct watcher *self) { return self->state == WATCHER_SYNCED; }
bool watcher_is_compacted(const struct watcher *self) { return self->state == WATCHER_COMPACTED; }
bool watcher_wants_previous(const struct watcher *self) { return self->prev_kv; }
size_t watcher_size(const struct watcher *self) {
    return sizeof *self + 2 * self->text.capacity + WATCH_GROUP_BYTES; /* its group has a copy of the range */
}
void *watcher_context(const struct watcher *self) { return self->sink.context; }

int64_t watcher_next_revision(const struct watcher *self) {
    int64_t live = self->hub->store->revision + 1;
    return self->state == WATCHER_SYNCED && self->next_revision < live ? live : self->next_revision;
}

struct watch_stats watch_hub_stats(const struct watch_hub *self) {
    return self->stats;
}

/* ---- handing out ---- */

bool watcher__wants(const struct watcher *self, const struct watch_event *event) {
    if (event->is_delete ? self->no_delete : self->no_put) return false;
    return event->revision.main >= self->next_revision;
}

bool watcher__deliver(struct watcher *self, int64_t header_revision, struct watch_event **events, size_t count,
                      int64_t next_revision) {
    struct watch_hub *hub = self->hub;
    if (self->prev_kv)
        for (size_t i = 0; i < count; i++) watch__event_find_previous(hub->store, events[i]);
    struct watch_batch batch = {header_revision, events, count};
    if (!self->sink.deliver(self->sink.context, self, &batch)) {
        self->next_revision = events[0]->revision.main;
        watcher__drop_pending(self);
        watcher__set_state(self, WATCHER_PAUSED);
        return false;
    }
    self->next_revision = next_revision;
    hub->stats.events_total += count;
    return true;
}

struct match_context {
    struct watch_hub *hub;
    struct watch_event *event;
    size_t place;
};

static void note_match(void *argument, struct watcher *watcher) {
    struct match_context *context = argument;
    struct watch_hub *hub = context->hub;
    if (!watcher__wants(watcher, context->event)) return;
    size_t at = hub->matches.count;
    VEC_PUSH(&hub->matches, (struct watch_match){watcher, context->place, SIZE_MAX});
    if (watcher->matched_first == SIZE_MAX) {
        watcher->matched_first = at;
        VEC_PUSH(&hub->matched, watcher);
    } else {
        hub->matches.items[watcher->matched_last].next = at;
    }
    watcher->matched_last = at;
}

void watch__match(struct watch_hub *hub, const struct watch_set *set, struct watch_event **events, size_t count) {
    hub->matches.count = 0;
    hub->matched.count = 0;
    if (set->count == 0) return;
    for (size_t i = 0; i < count; i++) {
        struct match_context context = {hub, events[i], i};
        watch_set_find(set, events[i]->key, note_match, &context);
    }
}

static void deliver_live(struct watch_hub *hub, struct watcher *watcher, struct watch_event **events) {
    hub->batch.count = 0;
    for (size_t at = watcher->matched_first; at != SIZE_MAX; at = hub->matches.items[at].next)
        VEC_PUSH(&hub->batch, events[hub->matches.items[at].event]);
    watcher->matched_first = SIZE_MAX;
    int64_t revision = hub->batch.items[0]->revision.main;
    (void)watcher__deliver(watcher, revision, hub->batch.items, hub->batch.count, revision + 1);
}

/* ---- the ring ---- */

static void ring_drop_oldest(struct watch_hub *hub) {
    struct watch_event *event = hub->ring[hub->ring_begin];
    hub->ring_begin = (hub->ring_begin + 1) % hub->store->options.watch_ring_events;
    hub->ring_count--;
    hub->ring_bytes -= watch__event_bytes(event);
    hub->ring_from = event->revision.main + 1;
    watch_event_unref(event);
}

/* Takes the reference over. */
static void ring_add(struct watch_hub *hub, struct watch_event *event) {
    size_t capacity = hub->store->options.watch_ring_events;
    if (hub->ring == NULL) hub->ring = mem_alloc(capacity * sizeof *hub->ring);
    if (hub->ring_count == capacity) ring_drop_oldest(hub);
    hub->ring[(hub->ring_begin + hub->ring_count++) % capacity] = event;
    hub->ring_bytes += watch__event_bytes(event);
}

static void ring_trim(struct watch_hub *hub) {
    while (hub->ring_count > 0 && hub->ring_bytes > hub->store->options.watch_ring_bytes) ring_drop_oldest(hub);
}

static void ring_clear(struct watch_hub *hub) {
    while (hub->ring_count > 0) ring_drop_oldest(hub);
}

void watch__hub_notify(struct watch_hub *hub, struct watch_event **events, size_t count) {
    watch__match(hub, &hub->synced, events, count);
    for (size_t i = 0; i < hub->matched.count; i++) deliver_live(hub, hub->matched.items[i], events);
    if (hub->ring_from < 0) hub->ring_from = events[0]->revision.main;
    for (size_t i = 0; i < count; i++) ring_add(hub, events[i]);
    ring_trim(hub);
}

/* ---- the hub's life ---- */

struct watch_hub *watch__hub_new(struct store *store) {
    struct watch_hub *hub = NEW(struct watch_hub);
    hub->store = store;
    hub->ring_from = -1; /* empty: set with the first event */
    watch_set_init(&hub->synced, env_random(store->env));
    watch_set_init(&hub->scan.set, env_random(store->env));
    list_init(&hub->synced_watchers);
    list_init(&hub->unsynced);
    list_init(&hub->far_behind);
    list_init(&hub->paused);
    list_init(&hub->compacted);
    list_init(&hub->scan.watchers);
    return hub;
}

void watch__hub_stop(struct watch_hub *hub) {
    hub->is_stopped = true;
    env_timer_stop(hub->store->env, &hub->timer);
    watch__scan_abort(hub);
}

void watch__hub_free(struct watch_hub *hub) {
    CHECKF(hub->stats.watchers == 0, "%llu watchers are left", (unsigned long long)hub->stats.watchers);
    watch__hub_stop(hub);
    ring_clear(hub);
    mem_free(hub->ring);
    watch_set_release(&hub->synced);
    watch_set_release(&hub->scan.set);
    VEC_RELEASE(&hub->matches);
    VEC_RELEASE(&hub->matched);
    VEC_RELEASE(&hub->batch);
    mem_free(hub);
}

void watch__hub_replaced(struct watch_hub *hub, int64_t previous_revision) {
    watch__scan_abort(hub);
    ring_clear(hub);
    hub->ring_from = -1;
    LIST_FOREACH (it, &hub->synced_watchers) {
        struct watcher *watcher = CONTAINER_OF(it, struct watcher, link);
        if (watcher->next_revision <= previous_revision) watcher->next_revision = previous_revision + 1;
        watcher__set_state(watcher, WATCHER_UNSYNCED);
    }
    watch__kick(hub);
}
