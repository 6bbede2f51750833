/* receive.c - the body of a request becomes messages.
 *
 * Each message: 1 byte flag (0 plain, 1 compressed), 4 bytes length big endian, the bytes. A message that lies whole in
 * what was received is used where it lies; only one that is cut is put together in `partial`.
 */
#include "base/bytes.h"
#include "grpc/internal.h"

#include <stdio.h>

/* Shorter messages are not worth counting: the number of streams bounds them. */
#define COUNTED_MESSAGE_BYTES 1024

static bool is_open(const struct grpc_call *call) { return !call->is_over && !call->is_settled; }

/* A problem with the bytes: nobody's handler made it. */
static void fail(struct grpc_call *call, int code, const char *text) {
    struct slice kept = arena_copy(&call->request->arena, slice_from_cstr(text));
    if (call->is_dispatched)
        grpc__call_settle(call, code, kept);
    else
        grpc__call_refuse(call, 200, code, kept);
}

static bool dispatch(struct grpc_call *call) {
    const struct grpc_server_options *options = &call->server->options;
    if (call->deadline_ns != INT64_MAX && env_now_ns(options->env) >= call->deadline_ns) {
        grpc__call_refuse(call, 200, GRPC_DEADLINE_EXCEEDED, SLICE_LITERAL("context deadline exceeded"));
        return false;
    }
    call->is_dispatched = true;
    if (options->observer.started != NULL) options->observer.started(options->observer.context, call);
    enum err refusal = options->admit != NULL ? options->admit(options->admit_context, call) : OK;
    if (refusal != OK) {
        grpc_call_fail(call, refusal);
        return false;
    }
    call->entry->method->on_call(call);
    return is_open(call);
}

static void observe_received(struct grpc_call *call, size_t message_bytes) {
    const struct grpc_observer *observer = &call->server->options.observer;
    if (observer->received != NULL) observer->received(observer->context, call, message_bytes);
}

/* `message` lies in the receive buffer or in `partial`. */
static void deliver_plain(struct grpc_call *call, struct slice message, bool is_kept) {
    const struct grpc_method *method = call->entry->method;
    if (method->client_stream) {
        observe_received(call, message.len);
        method->on_message(call, message);
        return;
    }
    call->has_message = true;
    if (message.len >= COUNTED_MESSAGE_BYTES) http_request_add_held(call->request, message.len);
    call->message = is_kept ? message : arena_copy(&call->request->arena, message);
    observe_received(call, message.len);
    dispatch(call);
}

static void deliver_packed(struct grpc_call *call, struct slice packed) {
    size_t limit_bytes = call->server->options.receive_max_bytes;
    struct buf message = BUF_INIT;
    const char *problem = NULL;
    enum err error = grpc__gunzip(packed, limit_bytes, &message, &problem);
    char text[160];
    if (error == OK) {
        deliver_plain(call, buf_slice(&message), false);
    } else if (error == ERR_REQUEST_TOO_LARGE) {
        snprintf(text, sizeof text, "grpc: received message after decompression larger than max (%zu vs. %zu)",
                 limit_bytes + 1, limit_bytes);
        fail(call, GRPC_RESOURCE_EXHAUSTED, text);
    } else {
        snprintf(text, sizeof text, "grpc: failed to decompress the message: %s", problem);
        fail(call, GRPC_INTERNAL, text);
    }
    buf_release(&message);
}

static void deliver(struct grpc_call *call, struct slice message, bool is_kept) {
    char text[80];
    switch (call->prefix[0]) {
    case 0: deliver_plain(call, message, is_kept); return;
    case 1:
        if (call->uses_gzip)
            deliver_packed(call, message);
        else
            fail(call, GRPC_INTERNAL, "grpc: compressed flag set with identity or empty encoding");
        return;
    default:
        snprintf(text, sizeof text, "grpc: received unexpected payload format %d", call->prefix[0]);
        fail(call, GRPC_INTERNAL, text);
    }
}

/* The five bytes are here. False: the message is too long. */
static bool begin_message(struct grpc_call *call) {
    call->message_bytes = load_u32be(call->prefix + 1);
    size_t limit_bytes = call->server->options.receive_max_bytes;
    if (call->message_bytes <= limit_bytes) return true;
    char text[96];
    snprintf(text, sizeof text, "grpc: received message larger than max (%zu vs. %zu)", call->message_bytes,
             limit_bytes);
    fail(call, GRPC_RESOURCE_EXHAUSTED, text);
    return false;
}

static bool wants_more(const struct grpc_call *call) { return is_open(call) && !call->has_message; }

/* False: too much for one connection. */
static bool count_kept(struct grpc_call *call) {
    return http_request_set_kept(call->request, call->partial.len + call->held.len);
}

/* Takes one step in the body; returns the bytes used, 0 when all are in `partial`. */
static size_t take(struct grpc_call *call, struct slice bytes) {
    size_t used = 0;
    if (call->prefix_len < GRPC_PREFIX_BYTES) {
        size_t missing = GRPC_PREFIX_BYTES - call->prefix_len;
        used = bytes.len < missing ? bytes.len : missing;
        memcpy(call->prefix + call->prefix_len, bytes.data, used);
        call->prefix_len = (uint8_t)(call->prefix_len + used);
        if (call->prefix_len < GRPC_PREFIX_BYTES || !begin_message(call)) return bytes.len;
        bytes = slice_from(bytes, used);
    }
    size_t missing = call->message_bytes - call->partial.len;
    if (bytes.len < missing) {
        buf_append_slice(&call->partial, bytes);
        if (!count_kept(call))
            fail(call, GRPC_RESOURCE_EXHAUSTED, "grpc: too many unfinished messages on one connection");
        return used + bytes.len;
    }
    call->prefix_len = 0;
    if (call->partial.len == 0) {
        deliver(call, slice_make(bytes.data, missing), false);
    } else {
        buf_append(&call->partial, bytes.data, missing);
        struct slice whole = buf_slice(&call->partial);
        call->partial.len = 0; /* a unary call keeps the memory until its end */
        count_kept(call);
        deliver(call, whole, true);
    }
    return used + missing;
}

static bool is_paused(const struct grpc_call *call) {
    return call->is_held_back || http_reply_queued_bytes(call->request) > GRPC_CALL_QUEUE_MAX;
}

/* The call may be over after any step: it stays readable, because the request is held or still on the wire. */
static void take_all(struct grpc_call *call, struct slice bytes) {
    size_t from = 0;
    while (from < bytes.len && wants_more(call)) {
        if (call->entry->method->client_stream && is_paused(call)) {
            buf_append_slice(&call->held, slice_from(bytes, from));
            count_kept(call);
            return;
        }
        from += take(call, slice_from(bytes, from));
    }
}

void grpc__receive(struct grpc_call *call, struct slice bytes) {
    if (call->entry->method->client_stream && !call->is_dispatched && !dispatch(call)) return;
    if (bytes.len == 0) return;
    if (call->held.len != 0) { /* the window stays closed: no more than that comes */
        buf_append_slice(&call->held, bytes);
        call->held_unconsumed_bytes += bytes.len;
        count_kept(call);
        return;
    }
    http_request_consume(call->request, bytes.len);
    take_all(call, bytes);
}

static void half_close(struct grpc_call *call) {
    if (!wants_more(call)) return;
    bool is_cut = call->prefix_len == GRPC_PREFIX_BYTES;
    if (!call->entry->method->client_stream)
        fail(call, GRPC_UNKNOWN, is_cut ? "unexpected EOF" : "EOF");
    else if (is_cut)
        fail(call, GRPC_INTERNAL, "unexpected EOF");
    else if (call->entry->method->on_half_close != NULL)
        call->entry->method->on_half_close(call);
}

void grpc__receive_end(struct grpc_call *call) {
    /* grpc-go never sees the end of a request whose HEADERS frame carries END_STREAM: the call waits for its deadline
     * or for the client. */
    if (!call->request->has_body) return;
    call->is_half_closed = true;
    if (call->held.len == 0) half_close(call);
}

void grpc__receive_resume(struct grpc_call *call) {
    if (is_paused(call)) return;
    struct buf held = call->held;
    call->held = BUF_INIT;
    http_request_consume(call->request, call->held_unconsumed_bytes);
    call->held_unconsumed_bytes = 0;
    take_all(call, buf_slice(&held));
    buf_release(&held);
    if (!call->is_over) count_kept(call);
    if (call->held.len == 0 && call->is_half_closed) half_close(call);
}

void grpc_call_hold_back(struct grpc_call *call, bool is_held_back) {
    call->is_held_back = is_held_back;
    if (!is_held_back && call->held.len != 0 && is_open(call)) grpc__receive_resume(call);
}
