/* watch.c - the Watch service: many watchers on one stream.
 *
 * The hub (mvcc/watch.h) says what happened and in which order; this file makes responses of it. A stream whose client
 * does not take them says "full" to the hub and is an older position until the client has read on. Rules, down to which
 * header carries which revision: spec/apply.md 10. */
#include "mvcc/watch.h"
#include "api/internal.h"

struct watch {
    struct watch_stream *stream;
    int64_t id;
    struct watcher *watcher;
    bool wants_progress;
    bool wants_fragments;
    bool had_events; /* since the last progress tick */
    bool is_paused;
    size_t size_bytes; /* about what it costs */
    struct list link;
    struct list paused_link;
};

struct watch_stream {
    struct api *api;
    struct grpc_call *call;
    struct map_u64 watches; /* by id + 1, as 0 is an id */
    struct list all;
    struct list paused;
    int64_t next_id;
    struct env_timer progress;
    struct arena arena; /* for one request */
    struct list link;
};

static struct store *store_of(struct watch_stream *self) { return server_store(self->api->server); }
static struct watch *find(struct watch_stream *self, int64_t id) {
    return map_u64_get(&self->watches, (uint64_t)id + 1);
}

/* ---- responses ---- */

struct response {
    int64_t revision; /* of the header; 0: left out */
    int64_t id;
    bool created;
    bool canceled;
    int64_t compact_revision;
    const char *reason;
};

static void send_response(struct watch_stream *self, const struct response *response) {
    struct buf body = BUF_INIT;
    api__append_uint(&body, 2, (uint64_t)response->id);
    api__append_uint(&body, 3, response->created);
    api__append_uint(&body, 4, response->canceled);
    api__append_uint(&body, 5, (uint64_t)response->compact_revision);
    if (response->reason != NULL) api__append_bytes(&body, 6, slice_from_cstr(response->reason));
    api__send(self->api, self->call, response->revision, buf_slice(&body));
    buf_release(&body);
}

static size_t event_size(const struct watch_event *event, bool with_previous) {
    size_t size = watch_event_size(event, with_previous);
    return 1 + varint_size(size) + size;
}

/* As buf_append_varint, but never asks for more room than it needs: `out` has an exact size. */
static void append_length(struct buf *out, size_t len) { out->len += varint_store(out->data + out->len, len); }

#define HEAD_MAX_BYTES (SERVER_HEADER_MAX_BYTES + 16)

static size_t store_head(const struct watch *self, int64_t revision, bool is_fragment, uint8_t *head) {
    size_t len = server_store_header(self->stream->api->server, revision, head);
    if (self->id != 0) {
        head[len++] = 2 << 3;
        len += varint_store(head + len, (uint64_t)self->id);
    }
    if (is_fragment) {
        head[len++] = 7 << 3;
        head[len++] = 1;
    }
    return len;
}

static bool is_large(const struct watch_event *event, bool with_previous) {
    return watch_event_size(event, with_previous) >= API_WATCH_SHARED_EVENT_BYTES;
}

static void unref_event(void *event) { watch_event_unref(event); }

/* A message under way: bytes of its own in `memory`, of which those from `from` on are in no piece yet. */
struct assembly {
    struct http_piece *pieces;
    size_t count;
    struct shared *memory;
    struct buf own;
    size_t from;
};

static void end_own_piece(struct assembly *self) {
    if (self->own.len == self->from) return;
    self->pieces[self->count++] =
        http_piece_from_shared_part(shared_ref(self->memory), self->from, self->own.len - self->from);
    self->from = self->own.len;
}

/* With the length before it, which is that of both parts. */
static void add_large(struct assembly *self, struct watch_event *event, bool with_previous) {
    append_length(&self->own, watch_event_size(event, with_previous));
    end_own_piece(self);
    self->pieces[self->count++] =
        (struct http_piece){shared_slice(event->encoded), unref_event, watch_event_ref(event), &event->queued};
    if (!with_previous || event->previous == NULL) return;
    self->own.data[self->own.len++] = 3 << 3 | 2;
    append_length(&self->own, event->previous->size_bytes);
    end_own_piece(self);
    self->pieces[self->count++] = (struct http_piece){shared_slice(event->previous), unref_event,
                                                      watch_event_ref(event), &event->previous_queued};
}

/* A message with large events: those by reference, what lies between them copied. */
static void send_shared_events(struct watch *self, int64_t revision, struct watch_event *const *events, size_t count,
                               bool is_fragment) {
    bool with_previous = watcher_wants_previous(self->watcher);
    size_t own_bytes = HEAD_MAX_BYTES;
    for (size_t i = 0; i < count; i++)
        own_bytes += 2 * (1 + VARINT_MAX_BYTES) +
                     (is_large(events[i], with_previous) ? 0 : watch_event_size(events[i], with_previous));
    struct assembly message = {.pieces = NEW_ARRAY(struct http_piece, 4 * count + 2), .memory = shared_new(own_bytes)};
    message.own = (struct buf){.data = message.memory->bytes, .capacity = own_bytes};
    message.own.len = store_head(self, revision, is_fragment, message.own.data);
    for (size_t i = 0; i < count; i++) {
        message.own.data[message.own.len++] = 11 << 3 | 2;
        if (is_large(events[i], with_previous)) {
            add_large(&message, events[i], with_previous);
            continue;
        }
        append_length(&message.own, watch_event_size(events[i], with_previous));
        watch_event_append(events[i], with_previous, &message.own);
    }
    end_own_piece(&message);
    CHECK(message.own.len <= own_bytes);
    grpc_call_send_pieces(self->stream->call, message.pieces, message.count);
    shared_unref(message.memory);
    mem_free(message.pieces);
}

/* One message of whole events, written straight into the call's queue. */
static void send_events(struct watch *self, int64_t revision, struct watch_event *const *events, size_t count,
                        bool is_fragment) {
    bool with_previous = watcher_wants_previous(self->watcher);
    for (size_t i = 0; i < count; i++) {
        if (!is_large(events[i], with_previous)) continue;
        send_shared_events(self, revision, events, count, is_fragment);
        return;
    }
    uint8_t head[HEAD_MAX_BYTES];
    size_t head_len = store_head(self, revision, is_fragment, head);
    size_t total = head_len;
    for (size_t i = 0; i < count; i++) total += event_size(events[i], with_previous);
    struct buf out = {.data = grpc_call_reserve(self->stream->call, total), .capacity = total};
    buf_append(&out, head, head_len);
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(&out, 11 << 3 | 2);
        append_length(&out, watch_event_size(events[i], with_previous));
        watch_event_append(events[i], with_previous, &out);
    }
    CHECK(out.len == total);
    grpc_call_send_reserved(self->stream->call);
}

/* Cuts between events so that each message stays below what a client takes by default. */
static void send_fragments(struct watch *self, const struct watch_batch *batch) {
    size_t limit = self->stream->api->max_request_bytes + GRPC_OVERHEAD_BYTES;
    bool with_previous = watcher_wants_previous(self->watcher);
    size_t from = 0;
    while (from < batch->count) {
        size_t to = from, size = 0;
        while (to < batch->count && (to == from || size + event_size(batch->events[to], with_previous) < limit))
            size += event_size(batch->events[to++], with_previous);
        send_events(self, batch->header_revision, batch->events + from, to - from, to < batch->count);
        from = to;
    }
}

/* ---- the hub's side ---- */

/* Too much waits for the client; `drained` will come, as it does when more than the low water waited. */
static bool is_full(const struct watch_stream *self) {
    size_t queued_bytes = grpc_call_queued_bytes(self->call);
    if (queued_bytes > API_WATCH_QUEUE_BYTES) return true;
    return queued_bytes > GRPC_CALL_LOW_WATER && grpc_call_conn_queued_bytes(self->call) > API_WATCH_CONN_QUEUE_BYTES;
}

static bool deliver(void *context, struct watcher *watcher, const struct watch_batch *batch) {
    struct watch *self = context;
    if (is_full(self->stream)) {
        if (!self->is_paused) list_push_back(&self->stream->paused, &self->paused_link);
        self->is_paused = true;
        return false;
    }
    self->had_events = true;
    if (self->wants_fragments)
        send_fragments(self, batch);
    else
        send_events(self, batch->header_revision, batch->events, batch->count, false);
    return true;
}

static void compacted(void *context, struct watcher *watcher, int64_t compact_revision) {
    struct watch *self = context;
    struct response response = {.id = self->id, .canceled = true, .compact_revision = compact_revision};
    send_response(self->stream, &response);
}

static void drained(struct grpc_call *call) {
    struct watch_stream *self = grpc_call_context(call);
    if (self == NULL) return;
    struct list paused;
    list_init(&paused);
    list_splice_back(&paused, &self->paused);
    while (!list_is_empty(&paused)) {
        struct watch *watch = CONTAINER_OF(paused.next, struct watch, paused_link);
        list_remove(&watch->paused_link);
        watch->is_paused = false;
        watcher_resume(watch->watcher);
    }
}

/* ---- requests ---- */

static void watch_free(struct watch *self) {
    self->stream->api->watch_bytes -= self->size_bytes;
    watcher_free(self->watcher);
    list_remove(&self->link);
    list_remove(&self->paused_link);
    mem_free(self);
}

static void refuse(struct watch_stream *self, const char *reason) {
    struct response response = {
        .revision = store_revision(store_of(self)), .id = -1, .created = true, .canceled = true, .reason = reason};
    send_response(self, &response);
}

static int64_t automatic_id(struct watch_stream *self) {
    while (find(self, self->next_id) != NULL) self->next_id++;
    return self->next_id++;
}

static void read_filters(const Etcdserverpb__WatchCreateRequest *request, struct watch_options *options) {
    for (size_t i = 0; i < request->n_filters; i++) {
        if (request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT) options->no_put = true;
        if (request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE) options->no_delete = true;
    }
}

static void progress_tick(struct env_timer *timer);

static void want_progress(struct watch_stream *self) {
    if (env_timer_is_running(&self->progress)) return;
    int64_t interval_ns = self->api->watch_progress_interval_ns;
    int64_t jitter_ns = (int64_t)(env_random(self->api->env) % (uint64_t)(interval_ns / 10 + 1));
    self->progress.callback = progress_tick;
    env_timer_start(self->api->env, &self->progress, interval_ns + jitter_ns);
}

/* The reason is the text that Go makes of a gRPC error. */
static void refuse_permission(struct watch_stream *self, enum err error) {
    const char *code = error == ERR_PERMISSION_DENIED    ? "PermissionDenied"
                       : error == ERR_INVALID_AUTH_TOKEN ? "Unauthenticated"
                                                         : "InvalidArgument";
    struct buf reason = BUF_INIT;
    buf_printf(&reason, "rpc error: code = %s desc = %s", code, err_text(error));
    refuse(self, buf_cstr(&reason));
    buf_release(&reason);
}

/* An empty key watches from the first key that can be. */
static enum err check_permission(struct watch_stream *self, const Etcdserverpb__WatchCreateRequest *request) {
    if (!api__auth_is_on(self->api)) return OK;
    struct slice key = request->key.len != 0 ? pb_slice(request->key) : slice_make("", 1);
    return api__check_read(self->api, self->call, key, pb_slice(request->range_end));
}

static void create(struct watch_stream *self, const Etcdserverpb__WatchCreateRequest *request) {
    enum err denied = check_permission(self, request);
    if (denied != OK) {
        refuse_permission(self, denied);
        return;
    }
    if (request->start_revision < 0) {
        refuse(self, err_text(ERR_COMPACTED));
        return;
    }
    struct watch *watch = NEW(struct watch);
    *watch = (struct watch){
        .stream = self, .wants_progress = request->progress_notify, .wants_fragments = request->fragment};
    list_init(&watch->paused_link);
    struct watch_options options = {
        .key = pb_slice(request->key),
        .range_end = pb_slice(request->range_end),
        .start_revision = request->start_revision,
        .prev_kv = request->prev_kv,
        .sink = {.deliver = deliver, .compacted = compacted, .context = watch},
    };
    read_filters(request, &options);
    enum err error = watch_hub_add(store_watch_hub(store_of(self)), &options, &watch->watcher);
    bool is_taken = request->watch_id != 0 && find(self, request->watch_id) != NULL;
    if (error == OK && is_taken) { /* a bad range is told first, as in etcd */
        watcher_free(watch->watcher);
        error = ERR_WATCHER_DUPLICATE_ID;
    }
    if (error != OK) {
        mem_free(watch);
        refuse(self, err_text(error));
        return;
    }
    watch->size_bytes = sizeof *watch + watcher_size(watch->watcher);
    self->api->watch_bytes += watch->size_bytes;
    watch->id = request->watch_id != 0 ? request->watch_id : automatic_id(self);
    map_u64_put(&self->watches, (uint64_t)watch->id + 1, watch);
    list_push_back(&self->all, &watch->link);
    struct response response = {.revision = store_revision(store_of(self)), .id = watch->id, .created = true};
    send_response(self, &response);
    if (watch->wants_progress) want_progress(self);
}

static void cancel(struct watch_stream *self, int64_t id) {
    struct watch *watch = map_u64_remove(&self->watches, (uint64_t)id + 1);
    if (watch == NULL) return;
    watch_free(watch);
    struct response response = {.revision = store_revision(store_of(self)), .id = id, .canceled = true};
    send_response(self, &response);
}

/* Promises that everything up to the header's revision has been sent on this stream. */
static void progress_request(struct watch_stream *self) {
    if (list_is_empty(&self->all)) return;
    LIST_FOREACH (link, &self->all) {
        const struct watch *watch = CONTAINER_OF(link, struct watch, link);
        if (!watcher_is_compacted(watch->watcher) && !watcher_is_synced(watch->watcher)) return;
    }
    struct response response = {.revision = store_revision(store_of(self)), .id = -1};
    send_response(self, &response);
}

static void progress_tick(struct env_timer *timer) {
    struct watch_stream *self = CONTAINER_OF(timer, struct watch_stream, progress);
    bool anybody = false;
    LIST_FOREACH (link, &self->all) {
        struct watch *watch = CONTAINER_OF(link, struct watch, link);
        if (!watch->wants_progress) continue;
        anybody = true;
        if (!watch->had_events && watcher_is_synced(watch->watcher)) {
            struct response response = {.revision = store_revision(store_of(self)), .id = watch->id};
            send_response(self, &response);
        }
        watch->had_events = false;
    }
    if (anybody) want_progress(self);
}

/* ---- the stream ---- */

static void stream_free(struct watch_stream *self) {
    env_timer_stop(self->api->env, &self->progress);
    LIST_FOREACH (link, &self->all) {
        watch_free(CONTAINER_OF(link, struct watch, link));
    }
    map_u64_release(&self->watches);
    arena_release(&self->arena);
    list_remove(&self->link);
    grpc_call_set_context(self->call, NULL);
    mem_free(self);
}

static void on_message(struct grpc_call *call, struct slice message) {
    struct watch_stream *self = grpc_call_context(call);
    if (self == NULL) return;
    arena_reset(&self->arena);
    const Etcdserverpb__WatchRequest *request =
        pb_unpack(&etcdserverpb__watch_request__descriptor, message, &self->arena);
    if (request == NULL) {
        stream_free(self);
        api__fail_malformed(call);
        return;
    }
    switch (request->request_union_case) {
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST:
        if (self->api->watch_bytes >= API_WATCHERS_MAX_BYTES) {
            stream_free(self);
            grpc_call_fail(call, ERR_TOO_MANY_REQUESTS);
            return;
        }
        create(self, request->create_request);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST:
        cancel(self, request->cancel_request->watch_id);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST: progress_request(self); break;
    default: break; /* nothing asked */
    }
}

static void on_call(struct grpc_call *call) {
    struct watch_stream *self = NEW(struct watch_stream);
    self->api = grpc_call_service(call);
    self->call = call;
    map_u64_init(&self->watches, self->api->seed);
    list_init(&self->all);
    list_init(&self->paused);
    arena_init(&self->arena, 1024);
    list_push_back(&self->api->watch_streams, &self->link);
    grpc_call_set_context(call, self);
}

static void on_cancel(struct grpc_call *call) {
    struct watch_stream *self = grpc_call_context(call);
    if (self != NULL) stream_free(self);
    grpc_call_fail(call, ERR_WATCH_CANCELED);
}

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.Watch/Watch",
     .client_stream = true,
     .server_stream = true,
     .on_call = on_call,
     .on_message = on_message,
     .on_cancel = on_cancel,
     .on_drain = drained},
};

void api__watch_add(struct api *self) { grpc_server_add(self->grpc, methods, 1, self); }

void api__watch_stop(struct api *self) {
    LIST_FOREACH (link, &self->watch_streams) {
        struct watch_stream *stream = CONTAINER_OF(link, struct watch_stream, link);
        struct grpc_call *call = stream->call;
        stream_free(stream);
        grpc_call_fail(call, ERR_STOPPED);
    }
}
