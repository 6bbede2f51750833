/* call.c - the handler's side of a call: what it asks, what it answers, and the end. */
#include "base/bytes.h"
#include "grpc/internal.h"

/* ---- asking ---- */

void *grpc_call_service(const struct grpc_call *call) { return call->entry->service; }
const struct grpc_method *grpc_call_method(const struct grpc_call *call) { return call->entry->method; }
struct slice grpc_call_message(const struct grpc_call *call) {
    return call->message;
}
struct slice grpc_call_metadata(const struct grpc_call *call, const char *name) {
    return http_request_header(call->request, name);
}
int64_t grpc_call_deadline_ns(const struct grpc_call *call) { return call->deadline_ns; }
int64_t grpc_call_started_ns(const struct grpc_call *call) { return call->started_ns; }
const char *grpc_call_peer(const struct grpc_call *call) { return call->request->peer; }
struct arena *grpc_call_arena(struct grpc_call *call) {
    return &call->request->arena;
}
void *grpc_call_context(const struct grpc_call *call) { return call->context; }
void grpc_call_set_context(struct grpc_call *call, void *context) { call->context = context; }
bool grpc_call_is_cancelled(const struct grpc_call *call) { return call->is_cancelled; }

/* ---- the wire ---- */

static const char *const code_texts[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                         "9", "10", "11", "12", "13", "14", "15", "16"};

static void set_status_headers(struct grpc_call *call, int code, struct slice text, struct http_header *ret_two) {
    CHECK(code >= 0 && (size_t)code < sizeof code_texts / sizeof *code_texts);
    ret_two[0] = (struct http_header){SLICE_LITERAL("grpc-status"), slice_from_cstr(code_texts[code])};
    ret_two[1] = (struct http_header){SLICE_LITERAL("grpc-message"), grpc_message_encode(&call->request->arena, text)};
}

static void send_headers(struct grpc_call *call) {
    if (call->has_replied) return;
    call->has_replied = true;
    struct http_header headers[2] = {{SLICE_LITERAL("content-type"), call->content_type},
                                     {SLICE_LITERAL("grpc-encoding"), SLICE_LITERAL("gzip")}};
    http_reply_kept(call->request, 200, headers, call->uses_gzip ? 2 : 1);
}

/* Status and end of the request: as trailers, or as the only headers when nothing was sent. */
static void send_status(struct grpc_call *call, int http_status, int code, struct slice text) {
    struct http_header headers[3];
    if (call->has_replied) {
        set_status_headers(call, code, text, headers);
        http_reply_end_kept(call->request, headers, 2);
        return;
    }
    call->has_replied = true;
    headers[0] = (struct http_header){SLICE_LITERAL("content-type"), call->content_type};
    set_status_headers(call, code, text, headers + 1);
    http_reply_kept(call->request, http_status, headers, 3);
    http_reply_end_kept(call->request, NULL, 0);
}

/* ---- the end ---- */

static void observe_finished(struct grpc_call *call, int code) {
    const struct grpc_observer *observer = &call->server->options.observer;
    if (call->is_dispatched && observer->finished != NULL) observer->finished(observer->context, call, code);
}

/* From here on nothing comes from the wire or the clock. */
static void leave_server(struct grpc_call *call) {
    if (call->deadline_ns != INT64_MAX) env_timer_stop(call->server->options.env, &call->deadline);
    list_remove(&call->link);
}

/* Answers go with the arena of their call, but for those of streams, which outlast it, and for long ones: of a client
 * that does not read they go at once. */
#define ARENA_MESSAGE_BYTES 4096
static bool is_on_heap(const struct grpc_call *call, size_t message_bytes) {
    return (call->entry != NULL && call->entry->method->server_stream) || message_bytes > ARENA_MESSAGE_BYTES;
}

void grpc__call_release(struct grpc_call *call) {
    call->is_over = true;
    call->server->call_count--;
    buf_release(&call->partial);
    buf_release(&call->held);
    if (call->reserved != NULL && is_on_heap(call, call->reserved_bytes)) mem_free(call->reserved);
}

void grpc__call_refuse(struct grpc_call *call, int http_status, int code, struct slice text) {
    CHECK(!call->is_dispatched);
    leave_server(call);
    grpc__call_release(call);
    send_status(call, http_status, code, text);
}

static void tell_cancelled(struct grpc_call *call, int code) {
    call->is_cancelled = call->is_settled = true;
    observe_finished(call, code);
    if (call->entry->method->on_cancel != NULL) call->entry->method->on_cancel(call);
}

void grpc__call_settle(struct grpc_call *call, int code, struct slice text) {
    if (!call->is_dispatched) {
        grpc__call_refuse(call, 200, code, text);
        return;
    }
    leave_server(call);
    http_request_hold(call->request);
    send_status(call, 200, code, text);
    tell_cancelled(call, code);
}

void grpc__call_cancelled(struct grpc_call *call) {
    leave_server(call);
    if (!call->is_dispatched) {
        grpc__call_release(call);
        http_request_abort(call->request, 0);
        return;
    }
    /* The request ends now and is held, so that both ways of cancelling leave the call in one state. */
    http_request_hold(call->request);
    http_request_abort(call->request, 0);
    tell_cancelled(call, GRPC_CANCELLED);
}

/* The handler lets go. The request, and the call with it, may be gone afterwards. */
static void end(struct grpc_call *call, int code, struct slice text) {
    CHECK(!call->is_over);
    if (call->is_settled) {
        grpc__call_release(call);
        http_request_release(call->request);
        return;
    }
    leave_server(call);
    observe_finished(call, code);
    grpc__call_release(call);
    send_status(call, 200, code, text);
}

void grpc_call_fail_text(struct grpc_call *call, int code, const char *text) {
    CHECK(code != GRPC_OK);
    end(call, code, arena_copy(&call->request->arena, slice_from_cstr(text)));
}

void grpc_call_fail(struct grpc_call *call, enum err error) {
    CHECK(error != OK);
    end(call, grpc_status_code(error), slice_from_cstr(err_text(error)));
}

void grpc_call_finish(struct grpc_call *call) { end(call, GRPC_OK, SLICE_NONE); }

/* ---- messages ---- */

static void store_prefix(uint8_t *at, bool is_packed, size_t message_bytes) {
    CHECK(message_bytes <= GRPC_MESSAGE_MAX);
    at[0] = is_packed;
    store_u32be(at + 1, (uint32_t)message_bytes);
}

static void observe_sent(struct grpc_call *call, size_t message_bytes) {
    const struct grpc_observer *observer = &call->server->options.observer;
    if (observer->sent != NULL) observer->sent(observer->context, call, message_bytes);
}

/* Memory for a prefix and a message of message_bytes. */
static uint8_t *message_alloc(struct grpc_call *call, size_t message_bytes) {
    size_t size_bytes = GRPC_PREFIX_BYTES + message_bytes;
    return is_on_heap(call, message_bytes) ? mem_alloc(size_bytes) : arena_alloc(&call->request->arena, size_bytes);
}

/* Queues it. */
static void write_owned(struct grpc_call *call, uint8_t *bytes, size_t message_bytes) {
    struct slice all = slice_make(bytes, GRPC_PREFIX_BYTES + message_bytes);
    bool is_heap = is_on_heap(call, message_bytes);
    http_reply_write_piece(call->request, is_heap ? (struct http_piece){all, mem_free, bytes} : http_piece_kept(all));
}

static void send_packed(struct grpc_call *call, const struct http_piece *pieces, size_t count) {
    struct buf packed = BUF_INIT;
    grpc__gzip(pieces, count, &packed);
    uint8_t *room = message_alloc(call, packed.len);
    store_prefix(room, true, packed.len);
    memcpy(room + GRPC_PREFIX_BYTES, packed.data, packed.len);
    write_owned(call, room, packed.len);
    buf_release(&packed);
}

uint8_t *grpc_call_reserve(struct grpc_call *call, size_t size_bytes) {
    CHECK(call->reserved == NULL && !call->is_over);
    call->reserved = message_alloc(call, size_bytes);
    call->reserved_bytes = size_bytes;
    return call->reserved + GRPC_PREFIX_BYTES;
}

void grpc_call_send_reserved(struct grpc_call *call) {
    CHECK(call->reserved != NULL && !call->is_over);
    uint8_t *room = TAKE(call->reserved);
    bool drops = call->is_settled;
    if (!drops) {
        send_headers(call);
        observe_sent(call, call->reserved_bytes);
    }
    if (drops || call->uses_gzip) {
        struct http_piece piece = {slice_make(room + GRPC_PREFIX_BYTES, call->reserved_bytes), NULL, NULL};
        if (!drops) send_packed(call, &piece, 1);
        if (is_on_heap(call, call->reserved_bytes)) mem_free(room);
        return;
    }
    store_prefix(room, false, call->reserved_bytes);
    write_owned(call, room, call->reserved_bytes);
}

void grpc_call_send(struct grpc_call *call, struct slice message) {
    uint8_t *room = grpc_call_reserve(call, message.len);
    if (message.len != 0) memcpy(room, message.data, message.len);
    grpc_call_send_reserved(call);
}

static void release_pieces(const struct http_piece *pieces, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (pieces[i].release != NULL) pieces[i].release(pieces[i].context);
}

void grpc_call_send_pieces(struct grpc_call *call, const struct http_piece *pieces, size_t count) {
    CHECK(!call->is_over);
    if (call->is_settled) {
        release_pieces(pieces, count);
        return;
    }
    size_t total_bytes = 0;
    for (size_t i = 0; i < count; i++) total_bytes += pieces[i].bytes.len;
    send_headers(call);
    observe_sent(call, total_bytes);
    if (call->uses_gzip) {
        send_packed(call, pieces, count);
        release_pieces(pieces, count);
        return;
    }
    uint8_t *prefix = message_alloc(call, 0);
    store_prefix(prefix, false, total_bytes);
    write_owned(call, prefix, 0);
    for (size_t i = 0; i < count; i++) http_reply_write_piece(call->request, pieces[i]);
}

size_t grpc_call_queued_bytes(const struct grpc_call *call) {
    return call->is_settled ? 0 : http_reply_queued_bytes(call->request);
}

size_t grpc_call_conn_queued_bytes(const struct grpc_call *call) {
    return call->is_settled ? 0 : http_reply_conn_queued_bytes(call->request);
}

void grpc_call_reply_reserved(struct grpc_call *call) {
    grpc_call_send_reserved(call);
    end(call, GRPC_OK, SLICE_NONE);
}

void grpc_call_reply(struct grpc_call *call, struct slice message) {
    grpc_call_send(call, message);
    end(call, GRPC_OK, SLICE_NONE);
}

/* ---- a message on demand ---- */

/* A compressed reply has no length until it is made: the pieces are gathered first. Longer ones go as they are, which
 * the flag before each message allows. */
#define PACKED_REPLY_MAX_BYTES ((size_t)4 << 20)

static void reply_pieces_packed(struct grpc_call *call, size_t total_bytes, struct http_producer *producer) {
    struct buf whole = BUF_INIT;
    enum http_pull pull = HTTP_PULL_PIECE;
    while (pull == HTTP_PULL_PIECE && whole.len < total_bytes) {
        struct http_piece piece = {0};
        pull = producer->pull(producer, total_bytes - whole.len, &piece);
        if (pull != HTTP_PULL_PIECE) break;
        buf_append_slice(&whole, piece.bytes);
        release_pieces(&piece, 1);
    }
    producer->done(producer);
    if (whole.len == total_bytes)
        grpc_call_reply(call, buf_slice(&whole));
    else
        grpc_call_fail(call, ERR_INTERNAL);
    buf_release(&whole);
}

void grpc_call_reply_pieces(struct grpc_call *call, size_t total_bytes, struct http_producer *producer) {
    CHECK(!call->is_over);
    if (call->is_settled) {
        producer->done(producer);
        end(call, GRPC_OK, SLICE_NONE);
        return;
    }
    if (call->uses_gzip && total_bytes <= PACKED_REPLY_MAX_BYTES) {
        reply_pieces_packed(call, total_bytes, producer);
        return;
    }
    send_headers(call);
    observe_sent(call, total_bytes);
    uint8_t *prefix = arena_alloc(&call->request->arena, GRPC_PREFIX_BYTES);
    store_prefix(prefix, false, total_bytes);
    http_reply_write_piece(call->request, http_piece_kept(slice_make(prefix, GRPC_PREFIX_BYTES)));
    http_reply_produce(call->request, producer);
    end(call, GRPC_OK, SLICE_NONE);
}
