/* target.c - calls and streams on a target's connection. */
#include "model/target.h"

#include <limits.h>

#include "base/mem.h"

/* ---- unary ---- */

struct call {
    struct arena *arena;
    struct target_reply reply;
    bool is_done;
    bool is_left; /* nobody waits any more: freed with its end */
};

static void call_message(void *context, struct slice message) {
    struct call *self = context;
    if (!self->is_left) self->reply.message = arena_copy(self->arena, message);
}

static void call_status(void *context, const struct grpc_status *status) {
    struct call *self = context;
    if (self->is_left) {
        mem_free(self);
        return;
    }
    self->reply.code = status->code;
    self->reply.text = arena_copy(self->arena, status->text);
    self->is_done = true;
}

static const struct grpc_client_handler call_handler = {.on_message = call_message, .on_status = call_status};

static void call(struct target *self, const char *path, struct slice request, unsigned turns, struct arena *arena,
                 struct target_reply *ret_reply) {
    *ret_reply = (struct target_reply){.code = -1, .text = SLICE_LITERAL("no answer")};
    if (self->client == NULL) return;
    struct call *call = NEW(struct call);
    call->arena = arena;
    struct grpc_client_call_options options = {.path = path, .handler = &call_handler, .context = call};
    bool is_started = grpc_client_unary(self->client, &options, request) != NULL;
    int64_t until_ns = env_now_ns(self->env) + TARGET_PATIENCE_NS;
    for (unsigned i = 0; is_started && !call->is_done && i < turns && env_now_ns(self->env) < until_ns; i++)
        if (!self->ops->turn(self, true)) break;
    if (call->is_done) *ret_reply = call->reply;
    if (call->is_done || !is_started)
        mem_free(call);
    else
        call->is_left = true;
}

void target_call(struct target *self, const char *path, struct slice request, struct arena *arena,
                 struct target_reply *ret_reply) {
    call(self, path, request, UINT_MAX, arena, ret_reply);
}

void target_call_for(struct target *self, const char *path, struct slice request, unsigned turns, struct arena *arena,
                     struct target_reply *ret_reply) {
    call(self, path, request, turns, arena, ret_reply);
}

/* ---- streams ---- */

struct target_stream {
    struct target *target;
    struct grpc_client_call *call; /* NULL: ended */
    VEC(struct slice) messages;    /* copies */
    size_t taken;
    int code;
    char *text;
    bool is_closed; /* nobody looks any more: freed with the call's end */
};

static void stream_free(struct target_stream *self) {
    for (size_t i = self->taken; i < self->messages.count; i++)
        mem_free((void *)(uintptr_t)self->messages.items[i].data);
    VEC_RELEASE(&self->messages);
    mem_free(self->text);
    mem_free(self);
}

static void stream_message(void *context, struct slice message) {
    struct target_stream *self = context;
    if (self->is_closed) return;
    uint8_t *copy = mem_alloc(message.len + 1);
    if (message.len != 0) memcpy(copy, message.data, message.len);
    VEC_PUSH(&self->messages, slice_make(copy, message.len));
}

static void stream_status(void *context, const struct grpc_status *status) {
    struct target_stream *self = context;
    self->call = NULL;
    self->code = status->code;
    struct buf text = BUF_INIT;
    buf_append_slice(&text, status->text);
    self->text = buf_detach_cstr(&text);
    if (self->is_closed) stream_free(self);
}

static const struct grpc_client_handler stream_handler = {.on_message = stream_message, .on_status = stream_status};

struct target_stream *target_stream_open(struct target *self, const char *path) {
    struct target_stream *stream = NEW(struct target_stream);
    stream->target = self;
    struct grpc_client_call_options options = {.path = path, .handler = &stream_handler, .context = stream};
    stream->call = self->client != NULL ? grpc_client_start(self->client, &options) : NULL;
    if (stream->call == NULL) {
        stream->code = 14;
        stream->text = mem_strdup("not connected");
    }
    return stream;
}

void target_stream_send(struct target_stream *self, struct slice request) {
    if (self->call != NULL) grpc_client_call_send(self->call, request);
}

bool target_stream_take(struct target_stream *self, struct arena *arena, struct slice *ret_message) {
    if (self->taken == self->messages.count) return false;
    struct slice message = self->messages.items[self->taken++];
    *ret_message = arena_copy(arena, message);
    mem_free((void *)(uintptr_t)message.data);
    if (self->taken == self->messages.count) self->taken = self->messages.count = 0;
    return true;
}

bool target_stream_is_ended(const struct target_stream *self, int *ret_code, struct slice *ret_text) {
    if (self->call != NULL) return false;
    *ret_code = self->code;
    *ret_text = slice_from_cstr(self->text);
    return true;
}

void target_stream_close(struct target_stream *self) {
    if (self == NULL) return;
    self->is_closed = true;
    if (self->call == NULL)
        stream_free(self);
    else
        grpc_client_call_cancel(self->call);
}

void target_free(struct target *self) {
    if (self != NULL) self->ops->free(self);
}
