/* core.c - connection, endpoints and gRPC calls of a client, see core.h. */
#include "client/core.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/vec.h"
#include "grpc/client.h"

#include <stdio.h>

#define MS_NS INT64_C(1000000)

enum client_state { CLIENT_IDLE, CLIENT_DIALING, CLIENT_GREETING, CLIENT_OPEN, CLIENT_BACKOFF };

struct client {
    struct http_client_owner http_owner;
    struct env *env;
    struct client_owner *owner;
    enum client_state state;
    VEC(struct client_endpoint) endpoints;
    size_t current;              /* endpoint that is, or is to be, dialed */
    unsigned failures;           /* dials that failed since the last one that went well */
    char dial_error[256];        /* of the last of them; "" after success */
    struct grpc_client *grpc;    /* GREETING and OPEN */
    struct env_timer dial_timer; /* DIALING and GREETING: their limit; BACKOFF: its length */
    struct env_timer turn;       /* zero-delay: does outside of callbacks what may not be done inside */
    struct list waiting;         /* rpcs without a connection, in order of their start */
    struct list active;          /* rpcs with a grpc call */
    struct list owned;
    size_t holds;
    int64_t last_received_ns;
    size_t fragile; /* how many of them are fragile */
    bool move_on;   /* leave this endpoint as soon as that costs nothing */
    int64_t dial_timeout_ns;
    int64_t command_timeout_ns;
    int64_t keepalive_interval_ns;
    int64_t keepalive_timeout_ns;
    size_t receive_max_bytes;
    void (*on_failed_attempt)(void *context, const struct etcd_attempt *attempt);
    void *on_failed_attempt_context;
    VEC(char *) paths;
};

struct client_rpc {
    struct list link; /* waiting or active */
    struct client *client;
    struct grpc_client_call *call;            /* NULL: waiting */
    const struct client_rpc_handler *handler; /* NULL: canceled, nobody is told any more */
    void *context;
    const char *path;
    int64_t deadline_ns;
    int64_t attached_ns;
    struct env_timer deadline; /* while waiting; on the wire grpc/ keeps it */
    struct buf queued;         /* messages sent while waiting, one behind the other */
    VEC(size_t) queued_lens;
    bool half_closed;
    bool paused;
    bool require_leader;
    bool is_fragile;
};

/* ---- errors ---- */

int client_error_set(struct etcd_error *error, int code, struct slice text, const char *detail) {
    if (error == NULL) return code;
    error->code = code;
    snprintf(error->text, sizeof(error->text), "%.*s", (int)(text.len < 4096 ? text.len : 4096),
             text.len == 0 ? "" : (const char *)text.data);
    snprintf(error->detail, sizeof(error->detail), "%s", detail);
    return code;
}

int client_error_from_end(struct etcd_error *error, const struct client_end *end) {
    return client_error_set(error, end->code, end->text, end->detail);
}

/* ---- calls ---- */

static void schedule(struct client *self) {
    if (!env_timer_is_running(&self->turn)) env_timer_start(self->env, &self->turn, 0);
}

static void rpc_free(struct client_rpc *rpc) {
    env_timer_stop(rpc->client->env, &rpc->deadline);
    list_remove(&rpc->link);
    buf_release(&rpc->queued);
    VEC_RELEASE(&rpc->queued_lens);
    mem_free(rpc);
}

static void rpc_end(struct client_rpc *rpc, const struct client_end *end) {
    const struct client_rpc_handler *handler = rpc->handler;
    void *context = rpc->context;
    struct client *client = rpc->client;
    if (rpc->call != NULL && rpc->is_fragile) client->fragile--;
    rpc_free(rpc);
    schedule(client);
    if (handler != NULL) handler->on_end(context, end);
}

static void on_message(void *context, struct slice message) {
    struct client_rpc *rpc = context;
    if (rpc->handler != NULL) rpc->handler->on_message(rpc->context, message);
}

/* Nothing at all has come for half of the call's time. */
static bool was_silent(const struct client_rpc *rpc) {
    int64_t now_ns = env_now_ns(rpc->client->env);
    return now_ns - rpc->client->last_received_ns >= (now_ns - rpc->attached_ns) / 2;
}

static void on_status(void *context, const struct grpc_status *status) {
    struct client_rpc *rpc = context;
    bool timed_out = status->code == GRPC_DEADLINE_EXCEEDED && !status->from_server;
    if (timed_out && was_silent(rpc)) client_move_on(rpc->client);
    struct client_end end = {
        .code = status->code,
        .text = timed_out ? SLICE_LITERAL("context deadline exceeded") : status->text,
        .detail = "",
        .was_sent = status->was_sent,
        .from_server = status->from_server,
    };
    rpc_end(rpc, &end);
}

static const struct grpc_client_handler grpc_handler = {.on_message = on_message, .on_status = on_status};

static void on_waited_too_long(struct env_timer *timer) {
    struct client_rpc *rpc = timer->context;
    char detail[400] = "";
    if (rpc->client->dial_error[0] != 0)
        snprintf(detail, sizeof(detail), "latest balancer error: connection error: desc = \"%s\"",
                 rpc->client->dial_error);
    struct client_end end = {
        .code = ETCD_DEADLINE_EXCEEDED,
        .text = SLICE_LITERAL("context deadline exceeded"),
        .detail = detail,
    };
    rpc_end(rpc, &end);
}

/* False when the connection takes no new calls; it is then on its way out and the next one will. */
static bool attach(struct client_rpc *rpc) {
    static const struct http_header require_leader[] = {HTTP_HEADER("hasleader", "true")};
    struct client *client = rpc->client;
    struct grpc_client_call_options options = {
        .path = rpc->path,
        .metadata = require_leader,
        .metadata_count = rpc->require_leader ? 1 : 0,
        .handler = &grpc_handler,
        .context = rpc,
    };
    if (rpc->deadline_ns != 0) {
        int64_t left_ns = rpc->deadline_ns - env_now_ns(client->env);
        options.timeout_ns = left_ns > 0 ? left_ns : 1;
    }
    rpc->call = grpc_client_start(client->grpc, &options);
    if (rpc->call == NULL) return false;
    env_timer_stop(client->env, &rpc->deadline);
    rpc->attached_ns = env_now_ns(client->env);
    list_remove(&rpc->link);
    list_push_back(&client->active, &rpc->link);
    if (rpc->is_fragile) client->fragile++;
    size_t at = 0;
    for (size_t i = 0; i < rpc->queued_lens.count; i++) {
        grpc_client_call_send(rpc->call, slice_make(rpc->queued.data + at, rpc->queued_lens.items[i]));
        at += rpc->queued_lens.items[i];
    }
    buf_release(&rpc->queued);
    VEC_RELEASE(&rpc->queued_lens);
    if (rpc->half_closed) grpc_client_call_half_close(rpc->call);
    if (rpc->paused) grpc_client_call_pause(rpc->call, true);
    return true;
}

struct client_rpc *client_rpc_start(struct client *self, const struct client_rpc_options *options) {
    struct client_rpc *rpc = NEW(struct client_rpc);
    rpc->client = self;
    rpc->handler = options->handler;
    rpc->context = options->context;
    rpc->path = options->path;
    rpc->deadline_ns = options->deadline_ns;
    rpc->require_leader = options->require_leader;
    rpc->is_fragile = options->is_fragile;
    rpc->deadline.callback = on_waited_too_long;
    rpc->deadline.context = rpc;
    list_push_back(&self->waiting, &rpc->link);
    if (self->state == CLIENT_OPEN && attach(rpc)) return rpc;
    if (rpc->deadline_ns != 0) {
        int64_t left_ns = rpc->deadline_ns - env_now_ns(self->env);
        env_timer_start(self->env, &rpc->deadline, left_ns > 0 ? left_ns : 0);
    }
    schedule(self);
    return rpc;
}

void client_rpc_send(struct client_rpc *rpc, struct slice message) {
    if (rpc->call != NULL) {
        grpc_client_call_send(rpc->call, message);
        return;
    }
    buf_append_slice(&rpc->queued, message);
    VEC_PUSH(&rpc->queued_lens, message.len);
}

void client_rpc_half_close(struct client_rpc *rpc) {
    rpc->half_closed = true;
    if (rpc->call != NULL) grpc_client_call_half_close(rpc->call);
}

void client_rpc_cancel(struct client_rpc *rpc) {
    if (rpc == NULL) return;
    rpc->handler = NULL;
    if (rpc->call != NULL) {
        grpc_client_call_cancel(rpc->call); /* on_status frees it */
        return;
    }
    rpc_free(rpc);
}

void client_rpc_pause(struct client_rpc *rpc, bool paused) {
    if (rpc->paused == paused) return;
    rpc->paused = paused;
    if (rpc->call != NULL) grpc_client_call_pause(rpc->call, paused);
}

/* ---- the connection ---- */

static void next_endpoint(struct client *self) {
    self->current = (self->current + 1) % self->endpoints.count;
    self->move_on = false;
}

static void dial(struct client *self) {
    self->state = CLIENT_DIALING;
    env_timer_start(self->env, &self->dial_timer, self->dial_timeout_ns);
    self->owner->dial(self->owner, &self->endpoints.items[self->current]);
}

/* 50 ms after the first round over all endpoints, 1.6 times as long after each further one, up to 2 s, give or take
 * a fifth. */
static int64_t backoff_ns(struct client *self) {
    int64_t delay_ns = CLIENT_BACKOFF_MIN_NS;
    for (unsigned round = self->failures / (unsigned)self->endpoints.count;
         round > 1 && delay_ns < CLIENT_BACKOFF_MAX_NS; round--)
        delay_ns = delay_ns * 8 / 5;
    if (delay_ns > CLIENT_BACKOFF_MAX_NS) delay_ns = CLIENT_BACKOFF_MAX_NS;
    return delay_ns - delay_ns / 5 + (int64_t)(env_random(self->env) % (uint64_t)(delay_ns * 2 / 5));
}

/* No way to this endpoint: to the next one, after a pause when all have failed. */
static void dial_is_over(struct client *self, const char *text) {
    snprintf(self->dial_error, sizeof(self->dial_error), "%s", text);
    self->failures++;
    next_endpoint(self);
    if (self->failures % self->endpoints.count != 0) {
        self->state = CLIENT_IDLE;
        env_timer_stop(self->env, &self->dial_timer);
        schedule(self);
        return;
    }
    self->state = CLIENT_BACKOFF;
    env_timer_start(self->env, &self->dial_timer, backoff_ns(self));
}

/* The connection is over, whoever closed it. Calls on it end and may begin anew from inside. */
static void connection_is_over(struct client *self, const char *text) {
    struct grpc_client *grpc = TAKE(self->grpc);
    bool was_open = self->state == CLIENT_OPEN;
    if (was_open) {
        self->state = CLIENT_IDLE;
        next_endpoint(self);
        schedule(self);
    } else {
        dial_is_over(self, text);
    }
    grpc_client_free(grpc);
}

static void on_dial_timer(struct env_timer *timer) {
    struct client *self = timer->context;
    if (self->state == CLIENT_BACKOFF) {
        self->state = CLIENT_IDLE;
        schedule(self);
    } else if (self->state == CLIENT_DIALING) {
        self->owner->hang_up(self->owner);
        const struct client_endpoint *endpoint = &self->endpoints.items[self->current];
        char text[256];
        snprintf(text, sizeof(text), "transport: Error while dialing: dial %s %s: i/o timeout",
                 endpoint->unix_path != NULL ? "unix" : "tcp",
                 endpoint->unix_path != NULL ? endpoint->unix_path : endpoint->authority);
        dial_is_over(self, text);
    } else if (self->state == CLIENT_GREETING) {
        self->owner->hang_up(self->owner);
        connection_is_over(self, "error reading server preface: context deadline exceeded");
    }
}

/* Everything that must not happen inside callbacks of the connection. */
static void on_turn(struct env_timer *timer) {
    struct client *self = timer->context;
    if (self->grpc != NULL) {
        struct http_client *http = grpc_client_http(self->grpc);
        bool leave =
            self->state == CLIENT_OPEN && self->fragile == 0 && (self->move_on || http_client_is_draining(http));
        if (http_client_is_finished(http) || leave) {
            self->owner->hang_up(self->owner);
            connection_is_over(self, "error reading server preface: connection closed");
        }
    }
    if (self->state == CLIENT_IDLE && !list_is_empty(&self->waiting)) dial(self);
}

static void on_want_flush(struct http_client_owner *http_owner) {
    struct client *self = CONTAINER_OF(http_owner, struct client, http_owner);
    self->owner->want_flush(self->owner);
}

void client_connected(struct client *self) {
    CHECK(self->state == CLIENT_DIALING);
    self->state = CLIENT_GREETING;
    struct grpc_client_options options = {
        .env = self->env,
        .authority = self->endpoints.items[self->current].authority,
        .user_agent = CLIENT_USER_AGENT,
        .receive_max_bytes = self->receive_max_bytes,
        .keepalive_interval_ns = self->keepalive_interval_ns,
        .keepalive_timeout_ns = self->keepalive_timeout_ns,
    };
    self->grpc = grpc_client_new(&options, &self->http_owner);
    self->owner->want_flush(self->owner);
}

void client_dial_failed(struct client *self, const char *text) {
    CHECK(self->state == CLIENT_DIALING);
    char whole[256];
    snprintf(whole, sizeof(whole), "transport: Error while dialing: %s", text);
    dial_is_over(self, whole);
}

static void greeted(struct client *self) {
    self->state = CLIENT_OPEN;
    self->failures = 0;
    self->dial_error[0] = 0;
    env_timer_stop(self->env, &self->dial_timer);
    LIST_FOREACH (link, &self->waiting) {
        if (!attach(CONTAINER_OF(link, struct client_rpc, link))) break;
    }
}

void client_received(struct client *self, struct slice bytes) {
    CHECK(self->grpc != NULL);
    self->last_received_ns = env_now_ns(self->env);
    grpc_client_receive(self->grpc, bytes);
    struct http_client *http = grpc_client_http(self->grpc);
    if (self->state == CLIENT_GREETING && http_client_is_ready(http)) greeted(self);
    if (http_client_is_draining(http) || http_client_is_finished(http)) schedule(self);
}

void client_disconnected(struct client *self, const char *text) {
    CHECK(self->grpc != NULL);
    char whole[256];
    snprintf(whole, sizeof(whole), "error reading server preface: %s", text);
    connection_is_over(self, whole);
}

bool client_produce(struct client *self, struct buf *output, size_t budget_bytes) {
    if (self->grpc == NULL) return false;
    bool more = grpc_client_produce(self->grpc, output, budget_bytes);
    if (http_client_is_finished(grpc_client_http(self->grpc))) schedule(self);
    return more;
}

void client_move_on(struct client *self) {
    if (self->state != CLIENT_OPEN || self->endpoints.count < 2) return;
    self->move_on = true;
    schedule(self);
}

/* ---- a client ---- */

static int unsupported(struct etcd_error *error, const char *what) {
    char text[200];
    snprintf(text, sizeof(text), "etcdclient: %s: not supported yet", what);
    return client_error_set(error, ETCD_UNIMPLEMENTED, slice_from_cstr(text), "");
}

static int check_options(const struct etcd_client_options *options, struct etcd_error *error) {
    if (options->size_bytes != sizeof(*options))
        return client_error_set(error, ETCD_INVALID_ARGUMENT, SLICE_LITERAL("etcdclient: options were not initialized"),
                                "");
    if (options->endpoint_count == 0)
        return client_error_set(error, ETCD_INVALID_ARGUMENT, SLICE_LITERAL("etcdclient: no available endpoints"), "");
    if (options->username != NULL || options->password != NULL) return unsupported(error, "user and password");
    if (options->tls || options->tls_ca_file != NULL || options->tls_cert_file != NULL || options->tls_key_file != NULL)
        return unsupported(error, "TLS");
    return ETCD_OK;
}

static int parse_endpoints(struct client *self, const struct etcd_client_options *options, struct etcd_error *error) {
    for (size_t i = 0; i < options->endpoint_count; i++) {
        struct client_endpoint endpoint;
        struct errmsg message;
        enum err result = client_endpoint_parse(options->endpoints[i], &endpoint, &message);
        if (result != OK)
            return client_error_set(error, result == ERR_NOT_SUPPORTED ? ETCD_UNIMPLEMENTED : ETCD_INVALID_ARGUMENT,
                                    slice_from_cstr(message.text), "");
        VEC_PUSH(&self->endpoints, endpoint);
    }
    return ETCD_OK;
}

struct client *client_new(struct env *env, const struct etcd_client_options *options, struct client_owner *owner,
                          struct etcd_error *error) {
    if (check_options(options, error) != ETCD_OK) return NULL;
    struct client *self = NEW(struct client);
    self->env = env;
    self->owner = owner;
    self->http_owner.want_flush = on_want_flush;
    self->dial_timer = (struct env_timer){.callback = on_dial_timer, .context = self};
    self->turn = (struct env_timer){.callback = on_turn, .context = self};
    list_init(&self->waiting);
    list_init(&self->active);
    list_init(&self->owned);
    self->dial_timeout_ns = (options->dial_timeout_ms > 0 ? options->dial_timeout_ms : 2000) * MS_NS;
    self->command_timeout_ns = options->command_timeout_ms * MS_NS;
    self->keepalive_interval_ns = options->keepalive_time_ms * MS_NS;
    self->keepalive_timeout_ns = (options->keepalive_timeout_ms > 0 ? options->keepalive_timeout_ms : 20000) * MS_NS;
    self->receive_max_bytes = options->max_response_bytes != 0 ? options->max_response_bytes : INT32_MAX;
    self->on_failed_attempt = options->on_failed_attempt;
    self->on_failed_attempt_context = options->on_failed_attempt_context;
    if (parse_endpoints(self, options, error) != ETCD_OK) {
        client_free(self);
        return NULL;
    }
    return self;
}

static void drop_calls(struct list *rpcs) {
    LIST_FOREACH (link, rpcs) CONTAINER_OF(link, struct client_rpc, link)->handler = NULL;
}

void client_free(struct client *self) {
    if (self == NULL) return;
    drop_calls(&self->active);
    drop_calls(&self->waiting);
    LIST_FOREACH (link, &self->owned) {
        struct client_owned *owned = CONTAINER_OF(link, struct client_owned, link);
        owned->drop(owned);
    }
    if (self->state == CLIENT_DIALING || self->grpc != NULL) self->owner->hang_up(self->owner);
    grpc_client_free(self->grpc); /* frees the active ones by on_status */
    LIST_FOREACH (link, &self->waiting) rpc_free(CONTAINER_OF(link, struct client_rpc, link));
    CHECK(list_is_empty(&self->active));
    env_timer_stop(self->env, &self->dial_timer);
    env_timer_stop(self->env, &self->turn);
    for (size_t i = 0; i < self->endpoints.count; i++) client_endpoint_release(&self->endpoints.items[i]);
    VEC_RELEASE(&self->endpoints);
    for (size_t i = 0; i < self->paths.count; i++) mem_free(self->paths.items[i]);
    VEC_RELEASE(&self->paths);
    mem_free(self);
}

struct env *client_env(struct client *self) {
    return self->env;
}
struct client_owner *client_get_owner(struct client *self) {
    return self->owner;
}
size_t client_endpoint_count(const struct client *self) { return self->endpoints.count; }
int64_t client_command_timeout_ns(const struct client *self) { return self->command_timeout_ns; }
void client_set_command_timeout_ns(struct client *self, int64_t timeout_ns) { self->command_timeout_ns = timeout_ns; }
int64_t client_dial_timeout_ns(const struct client *self) { return self->dial_timeout_ns; }

const char *client_current_endpoint(const struct client *self) {
    return self->state == CLIENT_OPEN ? self->endpoints.items[self->current].text : "";
}

bool client_is_busy(const struct client *self) {
    return self->holds > 0 || !list_is_empty(&self->owned) || !list_is_empty(&self->waiting) ||
           !list_is_empty(&self->active);
}

void client_hold(struct client *self) { self->holds++; }

void client_release(struct client *self) {
    CHECK(self->holds > 0);
    self->holds--;
}

void client_tell_failed_attempt(struct client *self, const char *path, unsigned attempt,
                                const struct etcd_error *error) {
    if (self->on_failed_attempt == NULL) return;
    struct etcd_attempt told = {path, client_current_endpoint(self), attempt, error};
    self->on_failed_attempt(self->on_failed_attempt_context, &told);
}

void client_own(struct client *self, struct client_owned *owned) { list_push_back(&self->owned, &owned->link); }

const char *client_intern_path(struct client *self, const char *path) {
    for (size_t i = 0; i < self->paths.count; i++)
        if (strcmp(self->paths.items[i], path) == 0) return self->paths.items[i];
    VEC_PUSH(&self->paths, mem_strdup(path));
    return self->paths.items[self->paths.count - 1];
}
