/* request.c - the part of a request and its reply that HTTP/1.1 and HTTP/2 share. */
#include "http/internal.h"

/* ---- queue ---- */

void http__queue_init(struct http__queue *self) {
    self->pieces = self->inline_pieces;
    self->head = self->count = 0;
    self->capacity = HTTP__INLINE_PIECES;
    self->size_bytes = self->taken_bytes = 0;
}

static void piece_release(const struct http_piece *piece) {
    if (piece->release != NULL) piece->release(piece->context);
}

/* Bytes that others share count once; each piece of them a little. */
#define SHARED_PIECE_BYTES sizeof(struct http_piece)

/* A piece comes with all its bytes. */
static void add_piece(const struct http_piece *piece, struct http__cost *cost) {
    bool is_counted = piece->queued != NULL && (*piece->queued)++ > 0;
    cost->conn_bytes += piece->bytes.len;
    cost->server_bytes += is_counted ? SHARED_PIECE_BYTES : piece->bytes.len;
}

/* A piece goes, whose last left_bytes were not counted as gone yet; they are all of one that is shared. */
static void drop_piece(const struct http_piece *piece, size_t left_bytes, struct http__cost *cost) {
    bool is_counted = piece->queued != NULL && --*piece->queued > 0;
    cost->conn_bytes += left_bytes;
    cost->server_bytes += is_counted ? SHARED_PIECE_BYTES : left_bytes;
    piece_release(piece);
}

void http__queue_release(struct http__queue *self, struct http__cost *cost) {
    for (uint32_t i = 0; i < self->count; i++) {
        const struct http_piece *piece = &self->pieces[(self->head + i) & (self->capacity - 1)];
        bool is_cut_and_shared = i == 0 && piece->queued != NULL;
        drop_piece(piece, piece->bytes.len + (is_cut_and_shared ? self->taken_bytes : 0), cost);
    }
    if (self->pieces != self->inline_pieces) mem_free(self->pieces);
    http__queue_init(self);
}

static void queue_grow(struct http__queue *self) {
    struct http_piece *bigger = NEW_ARRAY(struct http_piece, self->capacity * 2);
    for (uint32_t i = 0; i < self->count; i++) bigger[i] = self->pieces[(self->head + i) & (self->capacity - 1)];
    if (self->pieces != self->inline_pieces) mem_free(self->pieces);
    self->pieces = bigger;
    self->head = 0;
    self->capacity *= 2;
}

void http__queue_push(struct http__queue *self, struct http_piece piece, struct http__cost *cost) {
    if (piece.bytes.len == 0) {
        piece_release(&piece);
        return;
    }
    if (self->count == self->capacity) queue_grow(self);
    self->pieces[(self->head + self->count++) & (self->capacity - 1)] = piece;
    self->size_bytes += piece.bytes.len;
    add_piece(&piece, cost);
}

/* A part of a piece of one's own stops counting as it goes, a shared one when all of it is gone. */
static void take_part(struct http__queue *self, struct http_piece *first, size_t size_bytes, struct http__cost *cost) {
    first->bytes = slice_from(first->bytes, size_bytes);
    self->taken_bytes += size_bytes;
    if (first->queued != NULL) return;
    cost->conn_bytes += size_bytes;
    cost->server_bytes += size_bytes;
}

void http__queue_take(struct http__queue *self, size_t size_bytes, struct buf *output, struct http__cost *cost) {
    if (size_bytes > self->size_bytes) size_bytes = self->size_bytes;
    self->size_bytes -= size_bytes;
    buf_reserve(output, size_bytes);
    while (size_bytes != 0) {
        struct http_piece *first = &self->pieces[self->head];
        if (first->bytes.len > size_bytes) {
            buf_append(output, first->bytes.data, size_bytes);
            take_part(self, first, size_bytes, cost);
            return;
        }
        buf_append(output, first->bytes.data, first->bytes.len);
        size_bytes -= first->bytes.len;
        drop_piece(first, first->bytes.len + (first->queued != NULL ? self->taken_bytes : 0), cost);
        self->taken_bytes = 0;
        self->head = (self->head + 1) & (self->capacity - 1);
        self->count--;
    }
}

struct http_piece http__piece_copy(struct slice bytes) {
    void *copy = mem_alloc(bytes.len);
    if (bytes.len != 0) memcpy(copy, bytes.data, bytes.len);
    return (struct http_piece){slice_make(copy, bytes.len), mem_free, copy, NULL};
}

static void unref_shared(void *bytes) { shared_unref(bytes); }

static void keep(void *context) {}

struct http_piece http_piece_kept(struct slice bytes) {
    return (struct http_piece){bytes, keep, NULL, NULL};
}

struct http_piece http_piece_from_shared(struct shared *bytes) {
    return (struct http_piece){shared_slice(bytes), unref_shared, bytes, NULL};
}

struct http_piece http_piece_from_shared_part(struct shared *bytes, size_t from, size_t len) {
    CHECK(from <= bytes->size_bytes && len <= bytes->size_bytes - from);
    return (struct http_piece){slice_make(bytes->bytes + from, len), unref_shared, bytes, NULL};
}

/* ---- life ---- */

struct http__peer *http__peer_ref(struct http__peer *self) {
    self->references++;
    return self;
}

void http__peer_unref(struct http__peer *self) {
    if (--self->references == 0) mem_free(self);
}

static struct http_stream *stream_of(const struct http_request *request) {
    return (struct http_stream *)(uintptr_t)request;
}

struct http_stream *http__stream_new(struct http_conn *conn, int32_t id) {
    struct http_server *server = conn->server;
    struct http_stream *self;
    struct arena arena;
    if (list_is_empty(&server->pool)) {
        self = mem_alloc(sizeof *self);
        arena_init(&arena, HTTP__ARENA_CHUNK_BYTES);
    } else {
        self = CONTAINER_OF(server->pool.next, struct http_stream, link);
        list_remove(&self->link);
        server->pool_count--;
        arena = self->request.arena;
    }
    memset(self, 0, offsetof(struct http_stream, queue));
    memset((uint8_t *)self + offsetof(struct http_stream, producer), 0,
           sizeof *self - offsetof(struct http_stream, producer));
    http__queue_init(&self->queue);
    self->request.arena = arena;
    self->request.content_length = UINT64_MAX;
    self->request.is_tls = conn->is_tls;
    self->server = server;
    self->conn = conn;
    self->peer = http__peer_ref(conn->peer);
    self->request.peer = self->peer->text;
    self->id = id;
    list_init(&self->dirty_link);
    list_init(&self->producer_link);
    list_push_back(&conn->streams, &self->link);
    conn->stream_count++;
    server->stream_count++;
    return self;
}

static bool handler_is_done(const struct http_stream *self) {
    return !self->is_dispatched || self->reply_state >= HTTP__REPLY_ENDED;
}

void http__stream_drop_queue(struct http_stream *self) {
    struct http__cost cost = {0};
    size_t size_bytes = self->queue.size_bytes;
    http__queue_release(&self->queue, &cost);
    if (self->conn == NULL) return;
    self->conn->queued_bytes -= size_bytes;
    http__conn_let_go_cost(self->conn, cost);
}

static struct http_producer *take_producer(struct http_stream *self) {
    list_remove(&self->producer_link);
    return TAKE(self->producer);
}

/* What was to be sent is dropped; the producer hears of it. */
static void drop_reply(struct http_stream *self) {
    http__stream_drop_queue(self);
    if (self->producer != NULL) {
        struct http_producer *producer = take_producer(self);
        producer->done(producer);
    }
}

void http__stream_cut_off(struct http_stream *self) {
    self->is_cut_off = true;
    drop_reply(self);
    self->abort_code = NGHTTP2_ENHANCE_YOUR_CALM;
    http__stream_touch(self);
}

void http__stream_push(struct http_stream *self, struct http_piece piece) {
    struct http_conn *conn = self->conn;
    if (self->is_cut_off) {
        piece_release(&piece);
        return;
    }
    struct http__cost cost = {0};
    size_t before = self->queue.size_bytes;
    http__queue_push(&self->queue, piece.release != NULL ? piece : http__piece_copy(piece.bytes), &cost);
    conn->queued_bytes += self->queue.size_bytes - before;
    http__conn_hold_cost(conn, cost);
    if (conn->queued_cost_bytes > HTTP_CONN_QUEUED_MAX ||
        conn->server->held_bytes > HTTP_SERVER_HELD_MAX + HTTP_CONN_QUEUED_MAX) {
        http__stream_cut_off(self);
        return;
    }
    if (self->queue.size_bytes >= HTTP_REPLY_LOW_WATER) self->is_above_low_water = true;
}

static void stream_free(struct http_stream *self) {
    struct http_server *server = self->server;
    drop_reply(self);
    http__peer_unref(self->peer);
    h2__template_unref(self->template);
    server->stream_count--;
    if (server->pool_count >= HTTP__STREAM_POOL_MAX) {
        arena_release(&self->request.arena);
        mem_free(self);
        return;
    }
    struct arena *arena = &self->request.arena;
    if (arena_used(arena) + (size_t)(arena->end - arena->at) > HTTP__ARENA_KEPT_MAX)
        arena_release(arena); /* its first chunk may be a large one */
    else
        arena_reset(arena);
    list_init(&self->link);
    list_push_front(&server->pool, &self->link);
    server->pool_count++;
}

void http__stream_detach(struct http_stream *self) {
    struct http_conn *conn = self->conn;
    list_remove(&self->link);
    list_remove(&self->dirty_link);
    conn->stream_count--;
    http__stream_drop_queue(self);
    conn->kept_bytes -= self->kept_bytes;
    http__conn_let_go(conn, self->kept_bytes + self->own_held_bytes);
    self->conn = NULL;
    if (handler_is_done(self)) {
        self->request.is_cancelled = true;
        if (!self->is_held) stream_free(self);
        return;
    }
    self->request.is_cancelled = true;
    drop_reply(self);
    if (self->handler != NULL && self->handler->on_cancel != NULL) self->handler->on_cancel(&self->request);
}

void http__stream_touch(struct http_stream *self) {
    if (list_is_empty(&self->dirty_link)) list_push_back(&self->conn->dirty, &self->dirty_link);
    http__conn_want_flush(self->conn);
}

/* ---- towards the handler ---- */

/* The lines that every gRPC request has need no copy. */
static const struct http_header common_headers[] = {
    HTTP_HEADER("content-type", "application/grpc"),
    HTTP_HEADER("te", "trailers"),
};

static struct http_header keep_header(struct arena *arena, struct slice name, struct slice value) {
    for (size_t i = 0; i < sizeof common_headers / sizeof *common_headers; i++)
        if (slice_equal(name, common_headers[i].name) && slice_equal(value, common_headers[i].value))
            return common_headers[i];
    uint8_t *text = arena_alloc(arena, name.len + value.len + 2);
    memcpy(text, name.data, name.len);
    text[name.len] = 0;
    uint8_t *value_text = text + name.len + 1;
    if (value.len != 0) memcpy(value_text, value.data, value.len);
    value_text[value.len] = 0;
    return (struct http_header){slice_make(text, name.len), slice_make(value_text, value.len)};
}

bool http__stream_count_header(struct http_stream *self, struct slice name, struct slice value) {
    size_t limit_bytes = self->conn->protocol == HTTP__1 ? HTTP1_HEADER_MAX : HTTP_HEADER_LIST_MAX;
    size_t more_bytes = name.len + value.len + 32;
    if (more_bytes > limit_bytes - self->request_header_bytes) return false;
    self->request_header_bytes += (uint32_t)more_bytes;
    self->own_held_bytes += more_bytes;
    http__conn_hold(self->conn, more_bytes);
    return true;
}

bool http__stream_add_header(struct http_stream *self, struct slice name, struct slice value) {
    struct http_request *request = &self->request;
    if (!http__stream_count_header(self, name, value)) return false;
    if (request->header_count == self->request_header_capacity) {
        uint32_t capacity = self->request_header_capacity ? self->request_header_capacity * 2 : 8;
        struct http_header *bigger = arena_alloc(&request->arena, capacity * sizeof *bigger);
        if (request->header_count != 0) memcpy(bigger, self->request_headers, request->header_count * sizeof *bigger);
        self->request_headers = bigger;
        self->request_header_capacity = capacity;
        request->headers = bigger;
    }
    self->request_headers[request->header_count++] = keep_header(&request->arena, name, value);
    return true;
}

void http__stream_dispatch(struct http_stream *self) {
    self->is_dispatched = true;
    self->server->options.on_request(self->server->options.context, &self->request);
}

void http__stream_body(struct http_stream *self, struct slice bytes) {
    self->unconsumed_bytes += bytes.len;
    if (handler_is_done(self) || self->handler == NULL || self->handler->on_body == NULL) {
        http_request_consume(&self->request, bytes.len);
        return;
    }
    self->handler->on_body(&self->request, bytes);
}

void http__stream_end(struct http_stream *self) {
    self->request.has_ended = true;
    if (!handler_is_done(self) && self->handler != NULL && self->handler->on_end != NULL)
        self->handler->on_end(&self->request);
}

/* ---- towards the wire ---- */

bool http__stream_is_complete(const struct http_stream *self) {
    return self->reply_state == HTTP__REPLY_ENDED && self->producer == NULL;
}

bool http__stream_fill(struct http_stream *self, size_t want_bytes) {
    while (self->producer != NULL && !self->producer_waits && self->queue.size_bytes < want_bytes) {
        struct http_piece piece = {0};
        struct http_producer *producer = self->producer;
        http__producer_moved(self);
        switch (producer->pull(producer, want_bytes - self->queue.size_bytes, &piece)) {
        case HTTP_PULL_PIECE: http__stream_push(self, piece); break;
        case HTTP_PULL_WAIT: self->producer_waits = true; break;
        case HTTP_PULL_END:
            take_producer(self);
            producer->done(producer);
            break;
        case HTTP_PULL_FAILED:
            take_producer(self);
            producer->done(producer);
            return false;
        }
    }
    return true;
}

void http__stream_take(struct http_stream *self, size_t size_bytes) {
    struct http__cost cost = {0};
    self->conn->queued_bytes -= size_bytes;
    http__queue_take(&self->queue, size_bytes, self->conn->output, &cost);
    http__conn_let_go_cost(self->conn, cost);
    if (self->is_above_low_water && self->queue.size_bytes < HTTP_REPLY_LOW_WATER) {
        self->is_above_low_water = false;
        if (!handler_is_done(self) && self->handler != NULL && self->handler->on_writable != NULL)
            self->handler->on_writable(&self->request);
    }
}

/* ---- http/request.h ---- */

void http_request_handle(struct http_request *request, const struct http_request_handler *handler, void *context) {
    stream_of(request)->handler = handler;
    request->context = context;
}

struct slice http_request_header(const struct http_request *request, const char *name) {
    size_t len = strlen(name);
    for (uint32_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];
        if (header->name.len == len && memcmp(header->name.data, name, len) == 0) return header->value;
    }
    return SLICE_NONE;
}

struct slice http_request_path(const struct http_request *request) {
    const uint8_t *mark = memchr(request->target.data, '?', request->target.len);
    if (mark == NULL) return request->target;
    return slice_make(request->target.data, (size_t)(mark - request->target.data));
}

struct slice http_request_query(const struct http_request *request) {
    struct slice path = http_request_path(request);
    return path.len == request->target.len ? slice_from(path, path.len) : slice_from(request->target, path.len + 1);
}

void http_request_consume(struct http_request *request, size_t size_bytes) {
    struct http_stream *self = stream_of(request);
    CHECK(size_bytes <= self->unconsumed_bytes);
    self->unconsumed_bytes -= size_bytes;
    if (self->conn == NULL || size_bytes == 0) return;
    if (self->conn->protocol == HTTP__2)
        h2__consume(self, size_bytes);
    else
        h1__consume(self, size_bytes);
}

bool http_request_set_kept(struct http_request *request, size_t size_bytes) {
    struct http_stream *self = stream_of(request);
    if (self->conn == NULL) return true;
    self->conn->kept_bytes += size_bytes - self->kept_bytes;
    http__conn_set_held(self->conn, &self->kept_bytes, size_bytes);
    return self->conn->kept_bytes <= HTTP_CONN_KEPT_MAX;
}

void http_request_add_held(struct http_request *request, size_t more_bytes) {
    struct http_stream *self = stream_of(request);
    if (self->conn == NULL) return;
    self->own_held_bytes += more_bytes;
    http__conn_hold(self->conn, more_bytes);
}

/* The headers as nghttp2 wants them, behind `spare` unset ones. */
static nghttp2_nv *keep_headers(struct arena *arena, const struct http_header *headers, size_t count, size_t spare) {
    nghttp2_nv *kept = arena_alloc(arena, (count + spare) * sizeof *kept);
    for (size_t i = 0; i < count; i++)
        kept[spare + i] = (nghttp2_nv){
            (uint8_t *)(uintptr_t)headers[i].name.data, (uint8_t *)(uintptr_t)headers[i].value.data,
            headers[i].name.len, headers[i].value.len, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    return kept;
}

static const struct http_header *copy_headers(struct arena *arena, const struct http_header *headers, size_t count) {
    struct http_header *copies = arena_alloc(arena, count * sizeof *copies);
    for (size_t i = 0; i < count; i++)
        copies[i] = (struct http_header){arena_copy(arena, headers[i].name), arena_copy(arena, headers[i].value)};
    return copies;
}

void http_reply_kept(struct http_request *request, int status, const struct http_header *headers, size_t count) {
    struct http_stream *self = stream_of(request);
    CHECK(self->reply_state == HTTP__REPLY_NONE);
    self->reply_state = HTTP__REPLY_OPEN;
    if (self->conn == NULL) return;
    self->status = (int16_t)status;
    self->headers = keep_headers(&request->arena, headers, count, 1); /* [0]: :status */
    self->reply_header_count = count;
    for (size_t i = 0; i < count; i++)
        if (slice_equal(headers[i].name, SLICE_LITERAL("content-length"))) self->has_reply_length = true;
    http__stream_touch(self);
}

void http_reply(struct http_request *request, int status, const struct http_header *headers, size_t count) {
    http_reply_kept(request, status, copy_headers(&request->arena, headers, count), count);
}

void http_reply_write_piece(struct http_request *request, struct http_piece piece) {
    struct http_stream *self = stream_of(request);
    CHECK(self->reply_state == HTTP__REPLY_OPEN && self->producer == NULL);
    if (self->conn == NULL) {
        piece_release(&piece);
        return;
    }
    http__stream_push(self, piece);
    http__stream_touch(self);
}

void http_reply_write(struct http_request *request, struct slice bytes) {
    http_reply_write_piece(request, (struct http_piece){bytes, NULL, NULL});
}

void http_reply_produce(struct http_request *request, struct http_producer *producer) {
    struct http_stream *self = stream_of(request);
    CHECK(self->reply_state == HTTP__REPLY_OPEN && self->producer == NULL);
    if (self->conn == NULL) {
        producer->done(producer);
        return;
    }
    self->producer = producer;
    self->producer_waits = false;
    http__producer_moved(self);
    http__stream_touch(self);
}

void http_reply_resume(struct http_request *request) {
    struct http_stream *self = stream_of(request);
    if (self->conn == NULL || self->producer == NULL) return;
    self->producer_waits = false;
    http__producer_moved(self);
    http__stream_touch(self);
}

/* The handler lets go. */
static void end_request(struct http_stream *self, enum http__reply_state state) {
    CHECK(self->reply_state < HTTP__REPLY_ENDED);
    self->reply_state = state;
    if (self->conn != NULL)
        http__stream_touch(self);
    else if (!self->is_held)
        stream_free(self);
}

void http_request_hold(struct http_request *request) {
    struct http_stream *self = stream_of(request);
    CHECK(!self->is_held);
    self->is_held = true;
}

void http_request_release(struct http_request *request) {
    struct http_stream *self = stream_of(request);
    CHECK(self->is_held);
    self->is_held = false;
    if (self->conn == NULL && handler_is_done(self)) stream_free(self);
}

void http_reply_end(struct http_request *request, const struct http_header *trailers, size_t count) {
    http_reply_end_kept(request, copy_headers(&request->arena, trailers, count), count);
}

void http_reply_end_kept(struct http_request *request, const struct http_header *trailers, size_t count) {
    struct http_stream *self = stream_of(request);
    CHECK(self->reply_state == HTTP__REPLY_OPEN);
    if (self->conn != NULL && count != 0) {
        self->trailers = keep_headers(&request->arena, trailers, count, 0);
        self->trailer_count = count;
    }
    end_request(self, HTTP__REPLY_ENDED);
}

void http_reply_full(struct http_request *request, int status, const struct http_header *headers, size_t count,
                     struct slice body) {
    struct arena *arena = &request->arena;
    struct http_header *all = arena_alloc(arena, (count + 1) * sizeof *all);
    if (count != 0) memcpy(all, headers, count * sizeof *all);
    all[count] =
        (struct http_header){SLICE_LITERAL("content-length"), slice_from_cstr(arena_printf(arena, "%zu", body.len))};
    http_reply(request, status, all, count + 1);
    http_reply_write(request, body);
    http_reply_end(request, NULL, 0);
}

void http_request_abort(struct http_request *request, uint32_t h2_error_code) {
    struct http_stream *self = stream_of(request);
    self->abort_code = h2_error_code;
    drop_reply(self);
    end_request(self, HTTP__REPLY_ABORTED);
}

size_t http_reply_queued_bytes(const struct http_request *request) { return stream_of(request)->queue.size_bytes; }

size_t http_reply_conn_queued_bytes(const struct http_request *request) {
    const struct http_stream *self = stream_of(request);
    return self->conn != NULL ? self->conn->queued_bytes : 0;
}
