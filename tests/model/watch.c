/* watch.c - watch streams: what may come on them, and what must.
 *
 * A watcher is a position: `next` is the first revision it has not been told of. While it may still be catching up, a
 * response holds all its events from there to the revision of the response's header; after that each revision comes
 * alone, under its own revision.
 *
 *     created --> catching up --- a response that reaches the newest revision ---> synced
 *                      |
 *                      +--- canceled with compact_revision ---> compacted
 */
#include "model/private.h"

#include "base/check.h"

#include <inttypes.h>

#define BATCH_MAX_REVISIONS 1000 /* that one response holds of a watcher that catches up */

static struct slice own(ProtobufCBinaryData bytes) {
    uint8_t *copy = mem_alloc(bytes.len + 1);
    if (bytes.len != 0) memcpy(copy, bytes.data, bytes.len);
    return slice_make(copy, bytes.len);
}

static void watcher_free(struct model_watcher *watcher) {
    mem_free((void *)(uintptr_t)watcher->key.data);
    mem_free((void *)(uintptr_t)watcher->end.data);
    buf_release(&watcher->fragments);
    mem_free(watcher);
}

static struct model_watcher *find(struct model_stream *stream, int64_t id) {
    for (size_t i = 0; i < stream->watchers.count; i++)
        if (stream->watchers.items[i]->id == id) return stream->watchers.items[i];
    return NULL;
}

bool model_stream_is_open(const struct model *self, size_t stream) { return self->streams[stream].is_open; }
size_t model_watcher_count(const struct model *self, size_t stream) { return self->streams[stream].watchers.count; }
int64_t model_watcher_id(const struct model *self, size_t stream, size_t index) {
    return self->streams[stream].watchers.items[index]->id;
}

void model_stream_open(struct model *self, size_t stream) {
    CHECK(!self->streams[stream].is_open);
    self->streams[stream] = (struct model_stream){.is_open = true};
}

void model_stream_close(struct model *self, size_t index) {
    struct model_stream *stream = &self->streams[index];
    for (size_t i = 0; i < stream->watchers.count; i++) watcher_free(stream->watchers.items[i]);
    VEC_RELEASE(&stream->watchers);
    VEC_RELEASE(&stream->controls);
    *stream = (struct model_stream){0};
}

void model__streams_release(struct model *self) {
    for (size_t i = 0; i < MODEL_STREAMS_MAX; i++) model_stream_close(self, i);
}

void model__watch_compacted(struct model *self) {
    for (size_t i = 0; i < MODEL_STREAMS_MAX; i++)
        for (size_t j = 0; j < self->streams[i].watchers.count; j++) {
            struct model_watcher *watcher = self->streams[i].watchers.items[j];
            if (!watcher->is_synced && !watcher->is_compacted && watcher->start < self->compact_revision)
                watcher->may_compact = true;
        }
}

void model_allow_lost_deletions(struct model *self, uint64_t *lost) { self->lost_deletions = lost; }

static bool may_be_lost(const struct model *self, const struct model_watcher *watcher,
                        const struct model_record *record) {
    return self->lost_deletions != NULL && !watcher->is_synced && record->is_delete &&
           record->main == self->compact_revision;
}

/* ---- requests ---- */

static struct model_control *expect(struct model *self, struct model_stream *stream) {
    VEC_PUSH(&stream->controls, (struct model_control){0});
    struct model_control *control = &stream->controls.items[stream->controls.count - 1];
    etcdserverpb__watch_response__init(&control->response);
    etcdserverpb__response_header__init(&control->header);
    control->header.revision = self->revision;
    return control;
}

static const char *refusal(struct model_stream *stream, const Etcdserverpb__WatchCreateRequest *request) {
    struct slice key = request->key.len != 0 ? pb_slice(request->key) : SLICE_LITERAL("\0");
    struct slice end = pb_slice(request->range_end);
    if (request->start_revision < 0) return err_text(ERR_COMPACTED);
    bool is_open = end.len == 1 && end.data[0] == 0;
    if (end.len != 0 && !is_open && slice_compare(key, end) >= 0) return err_text(ERR_WATCHER_EMPTY_RANGE);
    if (request->watch_id != 0 && find(stream, request->watch_id) != NULL) return err_text(ERR_WATCHER_DUPLICATE_ID);
    return NULL;
}

static int64_t automatic_id(struct model_stream *stream) {
    while (find(stream, stream->next_id) != NULL) stream->next_id++;
    return stream->next_id++;
}

static void create(struct model *self, struct model_stream *stream, const Etcdserverpb__WatchCreateRequest *request) {
    struct model_control *control = expect(self, stream);
    control->response.created = true;
    control->reason = refusal(stream, request);
    if (control->reason != NULL) {
        control->response.canceled = true;
        control->response.watch_id = -1;
        return;
    }
    struct model_watcher *watcher = NEW(struct model_watcher);
    watcher->id = request->watch_id != 0 ? request->watch_id : automatic_id(stream);
    watcher->key = own(request->key.len != 0 ? request->key : pb_bytes(SLICE_LITERAL("\0")));
    watcher->end = own(request->range_end);
    for (size_t i = 0; i < request->n_filters; i++) {
        if (request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT) watcher->no_put = true;
        if (request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE) watcher->no_delete = true;
    }
    watcher->prev_kv = request->prev_kv;
    watcher->fragment = request->fragment;
    watcher->next = watcher->start = request->start_revision != 0 ? request->start_revision : self->revision + 1;
    watcher->is_synced = watcher->start > self->revision;
    watcher->must_compact = watcher->start < self->compact_revision;
    VEC_PUSH(&stream->watchers, watcher);
    control->response.watch_id = watcher->id;
}

static void cancel(struct model *self, struct model_stream *stream, int64_t id) {
    struct model_watcher *watcher = find(stream, id);
    if (watcher == NULL) return;
    for (size_t i = 0; i < stream->watchers.count; i++)
        if (stream->watchers.items[i] == watcher) {
            stream->watchers.items[i] = stream->watchers.items[--stream->watchers.count];
            break;
        }
    watcher_free(watcher);
    struct model_control *control = expect(self, stream);
    control->response.canceled = true;
    control->response.watch_id = id;
}

/* Due when everybody has caught up. A watcher that is still waiting for its revision, or is compacted, may keep the
 * server from telling; that has changed from release to release. */
static void progress(struct model *self, struct model_stream *stream) {
    struct model_control *control = expect(self, stream);
    control->response.watch_id = -1;
    control->is_optional = stream->watchers.count == 0 || self->has_large;
    for (size_t i = 0; i < stream->watchers.count; i++) {
        const struct model_watcher *watcher = stream->watchers.items[i];
        if (!watcher->is_synced || watcher->is_compacted || watcher->start > self->revision + 1)
            control->is_optional = true;
    }
}

void model_stream_ask(struct model *self, size_t index, const Etcdserverpb__WatchRequest *request) {
    struct model_stream *stream = &self->streams[index];
    CHECK(stream->is_open);
    switch (request->request_union_case) {
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST:
        create(self, stream, request->create_request);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST:
        cancel(self, stream, request->cancel_request->watch_id);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST: progress(self, stream); break;
    default: break;
    }
}

/* ---- events ---- */

static bool touches(const struct model_watcher *watcher, const struct model_record *record) {
    return record->main >= watcher->next && model__covers(watcher->key, watcher->end, record->key->name);
}

static bool wants(const struct model_watcher *watcher, const struct model_record *record) {
    return touches(watcher, record) && !(record->is_delete ? watcher->no_delete : watcher->no_put);
}

static Mvccpb__Event *event_of(struct model *self, const struct model_watcher *watcher,
                               const struct model_record *record, struct arena *arena) {
    Mvccpb__Event *event = model__make(arena, &mvccpb__event__descriptor);
    if (record->is_delete) {
        event->type = MVCCPB__EVENT__EVENT_TYPE__DELETE;
        event->kv = model__make(arena, &mvccpb__key_value__descriptor);
        event->kv->key = pb_bytes(record->key->name);
        event->kv->mod_revision = record->main;
    } else {
        event->kv = model__key_value(record, arena);
    }
    bool is_creation = !record->is_delete && record->create_revision == record->main;
    if (!watcher->prev_kv || is_creation || record->main - 1 < self->compact_revision) return event;
    model__look(self, record->main - 1);
    const struct model_record *before = record->key->seen;
    if (before != NULL && !before->is_delete) event->prev_kv = model__key_value(before, arena);
    return event;
}

struct expected {
    bool is_without_lost; /* leave out what may be missing */
    size_t lost;
    VEC(Mvccpb__Event *) events;
    int64_t next;    /* of the watcher behind it */
    bool is_partial; /* there was more than one batch takes */
};

static void add_event(struct model *self, const struct model_watcher *watcher, const struct model_record *record,
                      struct arena *arena, struct expected *expected) {
    if (!wants(watcher, record)) return;
    if (expected->is_without_lost && may_be_lost(self, watcher, record))
        expected->lost++;
    else
        VEC_PUSH(&expected->events, event_of(self, watcher, record, arena));
}

/* All of the next revision that has any. */
static void expect_one(struct model *self, const struct model_watcher *watcher, struct arena *arena,
                       struct expected *ret_expected) {
    int64_t revision = 0;
    for (size_t i = 0; i < self->records.count; i++) {
        const struct model_record *record = self->records.items[i];
        if (revision == 0 && wants(watcher, record)) revision = record->main;
        if (record->main == revision) add_event(self, watcher, record, arena, ret_expected);
    }
    ret_expected->next = revision + 1;
}

/* All up to `upto`; at most so many revisions that touch the watcher's keys, filtered or not. */
static void expect_batch(struct model *self, const struct model_watcher *watcher, int64_t upto, struct arena *arena,
                         struct expected *ret_expected) {
    size_t revisions = 0;
    int64_t last = 0;
    ret_expected->next = upto + 1;
    for (size_t i = 0; i < self->records.count; i++) {
        const struct model_record *record = self->records.items[i];
        if (record->main > upto || !touches(watcher, record)) continue;
        if (record->main != last) revisions++;
        last = record->main;
        bool is_full = revisions > BATCH_MAX_REVISIONS;
        if (is_full && ret_expected->events.count != 0) { /* a batch that is filtered away altogether is not sent */
            ret_expected->next = last;
            ret_expected->is_partial = true;
            return;
        }
        if (is_full) revisions = 1;
        add_event(self, watcher, record, arena, ret_expected);
    }
}

static char *complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *complain(const char *format, ...) {
    struct buf text = BUF_INIT;
    va_list args;
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    return buf_detach_cstr(&text);
}

static char *compare_events(const struct expected *expected, size_t count, Mvccpb__Event *const *events) {
    char *wrong = NULL;
    struct buf ours = BUF_INIT, theirs = BUF_INIT;
    for (size_t i = 0; i < expected->events.count && i < count && wrong == NULL; i++) {
        buf_clear(&ours);
        buf_clear(&theirs);
        pb_pack(expected->events.items[i], &ours);
        pb_pack(events[i], &theirs);
        if (!slice_equal(buf_slice(&ours), buf_slice(&theirs))) {
            const Mvccpb__Event *event = expected->events.items[i];
            wrong = complain(
                "event %zu is not the expected one: %s of key \"%.*s\" at revision %" PRId64 ", with%s previous value",
                i, event->type == MVCCPB__EVENT__EVENT_TYPE__DELETE ? "DELETE" : "PUT", (int)event->kv->key.len,
                (const char *)event->kv->key.data, event->kv->mod_revision, event->prev_kv != NULL ? "" : "out");
        }
    }
    if (wrong == NULL && count != expected->events.count)
        wrong = complain("%zu events instead of %zu", count, expected->events.count);
    buf_release(&ours);
    buf_release(&theirs);
    return wrong;
}

/* The first so many events: whole revisions, for a watcher that the server let fall behind. */
static void expect_some(struct model *self, const struct model_watcher *watcher, size_t count, struct arena *arena,
                        struct expected *ret_expected) {
    int64_t last = 0;
    for (size_t i = 0; i < self->records.count; i++) {
        const struct model_record *record = self->records.items[i];
        if (ret_expected->events.count >= count && record->main != last) break;
        last = record->main;
        add_event(self, watcher, record, arena, ret_expected);
    }
    ret_expected->next = last + 1;
    ret_expected->is_partial = true;
}

enum shape { SHAPE_ONE, SHAPE_BATCH, SHAPE_BATCH_WITHOUT_LOST, SHAPE_SOME };

static char *take_as(struct model *self, struct model_watcher *watcher, enum shape shape, int64_t header_revision,
                     size_t count, Mvccpb__Event *const *events) {
    struct arena arena;
    arena_init(&arena, 0);
    struct expected expected = {.is_without_lost = shape == SHAPE_BATCH_WITHOUT_LOST};
    if (shape == SHAPE_ONE)
        expect_one(self, watcher, &arena, &expected);
    else if (shape == SHAPE_SOME)
        expect_some(self, watcher, count, &arena, &expected);
    else
        expect_batch(self, watcher, header_revision, &arena, &expected);
    char *wrong = compare_events(&expected, count, events);
    if (wrong == NULL && (shape == SHAPE_ONE ? header_revision != expected.next - 1
                                             : header_revision < events[count - 1]->kv->mod_revision))
        wrong = complain("events up to revision %" PRId64 " and revision %" PRId64 " in the header", expected.next - 1,
                         header_revision);
    if (wrong == NULL) {
        watcher->next = expected.next;
        watcher->is_synced = !expected.is_partial;
        watcher->may_compact = watcher->may_compact && !watcher->is_synced;
        if (shape == SHAPE_BATCH_WITHOUT_LOST) *self->lost_deletions += expected.lost;
    }
    VEC_RELEASE(&expected.events);
    arena_release(&arena);
    return wrong;
}

static char *take_whole(struct model *self, struct model_watcher *watcher, int64_t header_revision, size_t count,
                        Mvccpb__Event *const *events) {
    if (header_revision > self->revision)
        return complain("the header's revision %" PRId64 " is not reached yet", header_revision);
    bool may_lose = self->lost_deletions != NULL && !watcher->is_synced;
    char *wrong = take_as(self, watcher, watcher->is_synced ? SHAPE_ONE : SHAPE_BATCH, header_revision, count, events);
    if (wrong != NULL && may_lose) {
        mem_free(wrong);
        wrong = take_as(self, watcher, SHAPE_BATCH_WITHOUT_LOST, header_revision, count, events);
    }
    if (wrong != NULL && self->has_large) {
        mem_free(wrong);
        wrong = take_as(self, watcher, SHAPE_SOME, header_revision, count, events);
    }
    return wrong;
}

static char *take_events(struct model *self, struct model_watcher *watcher,
                         const Etcdserverpb__WatchResponse *response) {
    if (watcher->is_compacted || watcher->must_compact) return complain("events of a watcher that is compacted");
    if (response->fragment && !watcher->fragment) return complain("a fragment nobody asked for");
    if (!response->fragment && !watcher->has_fragments)
        return take_whole(self, watcher, response->header->revision, response->n_events, response->events);
    if (watcher->has_fragments && watcher->fragments_revision != response->header->revision)
        return complain("fragments with different revisions in their headers");
    Etcdserverpb__WatchResponse part = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    part.n_events = response->n_events;
    part.events = response->events;
    pb_pack(&part, &watcher->fragments); /* repeated fields add up when encodings do */
    watcher->has_fragments = response->fragment;
    watcher->fragments_revision = response->header->revision;
    if (response->fragment) return NULL;
    struct arena arena;
    arena_init(&arena, 0);
    const Etcdserverpb__WatchResponse *whole =
        pb_unpack(&etcdserverpb__watch_response__descriptor, buf_slice(&watcher->fragments), &arena);
    char *wrong = take_whole(self, watcher, response->header->revision, whole->n_events, whole->events);
    buf_clear(&watcher->fragments);
    arena_release(&arena);
    return wrong;
}

/* ---- responses ---- */

static char *take_compacted(struct model *self, struct model_watcher *watcher,
                            const Etcdserverpb__WatchResponse *response) {
    if (watcher == NULL) return complain("canceled for compaction, but there is no such watcher");
    if (!watcher->must_compact && !watcher->may_compact) return complain("canceled for compaction without a reason");
    if (response->compact_revision <= watcher->start || response->compact_revision > self->compact_revision)
        return complain("compact_revision %" PRId64 " instead of %" PRId64, response->compact_revision,
                        self->compact_revision);
    if (response->header->revision != 0) return complain("a header with a revision");
    if (response->created || response->n_events != 0 || response->fragment || response->cancel_reason[0] != 0)
        return complain("more than a cancellation for compaction");
    watcher->is_compacted = true;
    watcher->must_compact = watcher->may_compact = false;
    return NULL;
}

static bool is_progress(const Etcdserverpb__WatchResponse *response) {
    return response->watch_id == -1 && !response->created && !response->canceled;
}

/* Answers come in the order asked, but of requests for progress some may never be answered. */
static size_t asked_for(const struct model_stream *stream, const Etcdserverpb__WatchResponse *response) {
    size_t optional = stream->controls.count;
    for (size_t i = 0; i < stream->controls.count; i++) {
        const struct model_control *control = &stream->controls.items[i];
        if (is_progress(&control->response) != is_progress(response)) continue;
        if (!control->is_optional && (!is_progress(response) || control->header.revision == response->header->revision))
            return i;
        if (control->is_optional && optional == stream->controls.count) optional = i;
    }
    return optional;
}

static char *take_control(struct model *self, struct model_stream *stream,
                          const Etcdserverpb__WatchResponse *response) {
    size_t at = asked_for(stream, response);
    if (at == stream->controls.count) return complain("nobody asked for this");
    struct model_control control = stream->controls.items[at];
    for (size_t i = at + 1; i < stream->controls.count; i++) stream->controls.items[i - 1] = stream->controls.items[i];
    stream->controls.count--;
    if (control.is_optional && response->header->revision >= control.header.revision &&
        response->header->revision <= self->revision)
        control.header.revision = response->header->revision;
    control.header.cluster_id = self->identity.cluster_id;
    control.header.member_id = self->identity.member_id;
    control.header.raft_term = self->identity.raft_term;
    control.response.header = &control.header;
    control.response.cancel_reason = (char *)(uintptr_t)(control.reason != NULL ? control.reason : "");
    struct buf ours = BUF_INIT, theirs = BUF_INIT;
    pb_pack(&control.response, &ours);
    pb_pack(response, &theirs);
    char *wrong = NULL;
    if (!slice_equal(buf_slice(&ours), buf_slice(&theirs)))
        wrong = complain("expected watch_id %" PRId64 "%s%s, revision %" PRId64 ", reason \"%s\"",
                         control.response.watch_id, control.response.created ? " created" : "",
                         control.response.canceled ? " canceled" : "", control.header.revision,
                         control.response.cancel_reason);
    buf_release(&ours);
    buf_release(&theirs);
    return wrong;
}

static bool is_identified(const struct model *self, const Etcdserverpb__ResponseHeader *header) {
    return header != NULL && header->cluster_id == self->identity.cluster_id &&
           header->member_id == self->identity.member_id && header->raft_term == self->identity.raft_term;
}

char *model_stream_take(struct model *self, size_t index, const Etcdserverpb__WatchResponse *response) {
    struct model_stream *stream = &self->streams[index];
    if (!is_identified(self, response->header)) return complain("not the header of this member");
    struct model_watcher *watcher = find(stream, response->watch_id);
    if (response->compact_revision != 0) return take_compacted(self, watcher, response);
    if (response->n_events == 0) return take_control(self, stream, response);
    if (response->created || response->canceled || response->cancel_reason[0] != 0)
        return complain("events and more in one response");
    if (watcher == NULL) return complain("events of a watcher that is not there");
    for (size_t i = 0; i < stream->controls.count; i++)
        if (stream->controls.items[i].response.created && !stream->controls.items[i].response.canceled &&
            stream->controls.items[i].response.watch_id == watcher->id)
            return complain("events before the watcher was created");
    return take_events(self, watcher, response);
}

/* ---- what is missing ---- */

bool model_stream_is_answered(const struct model *self, size_t index) {
    const struct model_stream *stream = &self->streams[index];
    for (size_t i = 0; i < stream->controls.count; i++)
        if (!stream->controls.items[i].is_optional) return false;
    return true;
}

static const struct model_record *first_missing(const struct model *self, const struct model_watcher *watcher) {
    if (watcher->is_compacted) return NULL;
    for (size_t i = 0; i < self->records.count; i++)
        if (wants(watcher, self->records.items[i]) && !may_be_lost(self, watcher, self->records.items[i]))
            return self->records.items[i];
    return NULL;
}

bool model_stream_is_settled(struct model *self, size_t index) {
    const struct model_stream *stream = &self->streams[index];
    if (!model_stream_is_answered(self, index)) return false;
    for (size_t i = 0; i < stream->watchers.count; i++) {
        const struct model_watcher *watcher = stream->watchers.items[i];
        if (watcher->must_compact || first_missing(self, watcher) != NULL) return false;
    }
    return true;
}

void model_stream_tell_missing(struct model *self, size_t index, struct buf *text) {
    const struct model_stream *stream = &self->streams[index];
    for (size_t i = 0; i < stream->controls.count; i++)
        if (!stream->controls.items[i].is_optional)
            buf_printf(text, "  an answer to a request, watch_id %" PRId64 "%s%s\n",
                       stream->controls.items[i].response.watch_id,
                       stream->controls.items[i].response.created ? " created" : "",
                       stream->controls.items[i].response.canceled ? " canceled" : "");
    for (size_t i = 0; i < stream->watchers.count; i++) {
        const struct model_watcher *watcher = stream->watchers.items[i];
        const struct model_record *missing = first_missing(self, watcher);
        if (watcher->must_compact)
            buf_printf(text, "  watch_id %" PRId64 ": canceled for compaction\n", watcher->id);
        else if (missing != NULL)
            buf_printf(text, "  watch_id %" PRId64 ": events from revision %" PRId64 " on, asked from %" PRId64 "%s\n",
                       watcher->id, missing->main, watcher->start, watcher->is_synced ? ", live" : "");
    }
}
