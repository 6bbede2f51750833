/* calls.c - unary calls with retries, see calls.h. */
#include "client/calls.h"

#include "base/mem.h"

struct etcd_call {
    struct client_owned owned;
    struct client *client;
    const struct client_method *method; /* NULL: raw */
    const char *path;
    bool repeatable;
    struct buf request;
    int64_t deadline_ns; /* 0: none */
    unsigned attempt;
    struct client_rpc *rpc; /* NULL: pausing */
    struct env_timer pause;
    void *response; /* of the running attempt */
    bool malformed;
    etcd_call_callback callback;
    void *context;
};

static void call_free(struct etcd_call *self) {
    list_remove(&self->owned.link);
    env_timer_stop(client_env(self->client), &self->pause);
    client_response_free(self->response);
    buf_release(&self->request);
    mem_free(self);
}

static void drop(struct client_owned *owned) { call_free(CONTAINER_OF(owned, struct etcd_call, owned)); }

static void finish(struct etcd_call *self, const struct etcd_error *error) {
    etcd_call_callback callback = self->callback;
    void *context = self->context;
    void *response = NULL;
    if (error == NULL) response = TAKE(self->response);
    call_free(self);
    callback(context, response, error);
}

static void finish_with(struct etcd_call *self, int code, struct slice text) {
    struct etcd_error error;
    client_error_set(&error, code, text, "");
    finish(self, &error);
}

static void on_message(void *context, struct slice message) {
    struct etcd_call *self = context;
    if (self->response != NULL) return;
    self->response = self->method != NULL ? client_decode_answer(self->method, message) : client_raw_answer(message);
    self->malformed = self->response == NULL;
}

static void on_end(void *context, const struct client_end *end);
static const struct client_rpc_handler rpc_handler = {.on_message = on_message, .on_end = on_end};

static void start_attempt(struct etcd_call *self) {
    struct client_rpc_options options = {
        .path = self->path,
        .deadline_ns = self->deadline_ns,
        .is_fragile = !self->repeatable,
        .handler = &rpc_handler,
        .context = self,
    };
    self->rpc = client_rpc_start(self->client, &options);
    client_rpc_send(self->rpc, buf_slice(&self->request));
    client_rpc_half_close(self->rpc);
}

static void on_pause_over(struct env_timer *timer) { start_attempt(timer->context); }

/* A lease that is gone answers a renewal with a TTL of 0 instead of an error. */
static bool is_lost_lease(const struct etcd_call *self) {
    return self->method == client_method_get(ETCD_METHOD_LEASE_KEEPALIVE_ONCE) &&
           ((const struct etcd_lease_keepalive_response *)self->response)->ttl_s <= 0;
}

static void succeeded(struct etcd_call *self) {
    if (self->malformed)
        finish_with(self, ETCD_INTERNAL, SLICE_LITERAL("grpc: failed to unmarshal the received message"));
    else if (self->response == NULL)
        finish_with(self, ETCD_INTERNAL, SLICE_LITERAL("grpc: the server sent no message"));
    else if (is_lost_lease(self))
        finish_with(self, ETCD_NOT_FOUND, slice_from_cstr(err_text(ERR_LEASE_NOT_FOUND)));
    else
        finish(self, NULL);
}

static void tell_failed(struct etcd_call *self, const struct etcd_error *error) {
    struct etcd_error told = *error;
    if (told.detail[0] != 0) client_error_set(&told, error->code, slice_from_cstr(error->detail), "");
    client_tell_failed_attempt(self->client, self->path, self->attempt, &told);
}

static bool may_pass(const struct etcd_call *self, const struct client_end *end) {
    if (self->attempt + 1 >= CLIENT_ATTEMPTS_MAX) return false;
    if (end->code == ETCD_DEADLINE_EXCEEDED && !end->from_server) return false;
    return (!end->was_sent && !end->from_server) || (self->repeatable && end->code == ETCD_UNAVAILABLE);
}

static void on_end(void *context, const struct client_end *end) {
    struct etcd_call *self = context;
    self->rpc = NULL;
    if (end->code == ETCD_OK) {
        succeeded(self);
        return;
    }
    client_response_free(TAKE(self->response));
    self->malformed = false;
    struct etcd_error error;
    client_error_from_end(&error, end);
    tell_failed(self, &error);
    if (end->from_server && end->code == ETCD_UNAVAILABLE) client_move_on(self->client);
    if (!may_pass(self, end)) {
        finish(self, &error);
        return;
    }
    self->attempt++;
    bool round_over = self->attempt % client_endpoint_count(self->client) == 0;
    env_timer_start(client_env(self->client), &self->pause, round_over ? CLIENT_RETRY_PAUSE_NS : 0);
}

static struct etcd_call *new_call(struct client *client, etcd_call_callback callback, void *context) {
    struct etcd_call *self = NEW(struct etcd_call);
    self->client = client;
    self->owned.drop = drop;
    client_own(client, &self->owned);
    self->callback = callback;
    self->context = context;
    self->pause = (struct env_timer){.callback = on_pause_over, .context = self};
    int64_t timeout_ns = client_command_timeout_ns(client);
    if (timeout_ns > 0) self->deadline_ns = env_now_ns(client_env(client)) + timeout_ns;
    return self;
}

static void on_too_deep(struct env_timer *timer) {
    finish_with(timer->context, ETCD_INVALID_ARGUMENT, SLICE_LITERAL("etcdclient: the transaction nests too deep"));
}

struct etcd_call *client_call_start(struct client *client, enum etcd_method method, const void *request,
                                    etcd_call_callback callback, void *context) {
    struct etcd_call *self = new_call(client, callback, context);
    self->method = client_method_get(method);
    self->path = self->method->path;
    self->repeatable = self->method->repeatable;
    struct arena scratch;
    arena_init(&scratch, 0);
    bool encoded = self->method->encode(request, &scratch, &self->request);
    arena_release(&scratch);
    if (encoded) {
        start_attempt(self);
    } else {
        self->pause.callback = on_too_deep; /* the callback is not to come from inside */
        env_timer_start(client_env(client), &self->pause, 0);
    }
    return self;
}

struct etcd_call *client_call_start_raw(struct client *client, const char *path, struct etcd_bytes request,
                                        etcd_call_callback callback, void *context) {
    struct etcd_call *self = new_call(client, callback, context);
    self->path = client_intern_path(client, path);
    self->repeatable = client_path_is_repeatable(path);
    buf_append_slice(&self->request, client_slice(request));
    start_attempt(self);
    return self;
}

void client_call_cancel(struct etcd_call *call) {
    client_rpc_cancel(call->rpc);
    call_free(call);
}
