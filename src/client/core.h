/* core.h - the client's connection and the calls on it, without sockets.
 *
 * Floor 6. The core knows the endpoints, decides when and where to dial, and runs gRPC calls (`client_rpc`) over the
 * one connection there is. Bytes come and go through the owner, time comes from env. Above it stand: calls.h (unary
 * calls with retries, raw streams), watch.h, keepalive.h.
 *
 *              a call waits            connected            greeted (SETTINGS of the server)
 *     IDLE ---------------> DIALING ------------> GREETING -----------------> OPEN
 *      ^ ^                     | failed, or dial timeout |                      | lost, or left behind (GOAWAY, move
 * on) | |                     v                         v                      v | +---- delay over -- BACKOFF <---
 * every endpoint has failed ------- next endpoint; IDLE
 *      +--------------------------------- else -------------------------------------+
 *
 * A connection is also left when a call's time runs out and nothing at all has come for half of it: the other side may
 * have vanished without a word.
 *
 * All on one thread. Callbacks never come from inside the function that starts or cancels something.
 */
#ifndef CLIENT_CORE_H
#define CLIENT_CORE_H

#include "base/buf.h"
#include "base/list.h"
#include "client/endpoint.h"
#include "env/env.h"
#include "etcd/client.h"

struct client;
struct client_rpc;

/* What the core asks of its owner, who knows sockets. One connection at a time. */
struct client_owner {
    /* Connect to the endpoint; then exactly one of client_connected and client_dial_failed is to come, later. */
    void (*dial)(struct client_owner *self, const struct client_endpoint *endpoint);
    /* Give up dialing, or close the connection: no news of it is to come any more. */
    void (*hang_up)(struct client_owner *self);
    /* There is something for client_produce. */
    void (*want_flush)(struct client_owner *self);
};

#define CLIENT_USER_AGENT "grpc-c-etcd/1.0"
/* Pauses between rounds over the endpoints while none can be reached. */
#define CLIENT_BACKOFF_MIN_NS (50 * INT64_C(1000000))
#define CLIENT_BACKOFF_MAX_NS (2000 * INT64_C(1000000))

/* Copies the options. `env` and `owner` outlive the client. NULL with an error: bad endpoints, things that are not
 * supported. */
struct client *client_new(struct env *env, const struct etcd_client_options *options, struct client_owner *owner,
                          struct etcd_error *error);
/* Hangs up. Calls that are open are dropped without a callback. NULL is allowed. */
void client_free(struct client *self);

void client_connected(struct client *self);
/* `text` in Go's words: "dial tcp 127.0.0.1:2379: connect: connection refused". */
void client_dial_failed(struct client *self, const char *text);
void client_received(struct client *self, struct slice bytes);
/* The connection has ended; `text` says how ("EOF"). */
void client_disconnected(struct client *self, const char *text);
/* Appends about up to budget_bytes to be sent; true when there is more now. Nothing while not connected. Calls may end
 * and timers start from inside. */
bool client_produce(struct client *self, struct buf *output, size_t budget_bytes);

struct env *client_env(struct client *self);
struct client_owner *client_get_owner(struct client *self);
size_t client_endpoint_count(const struct client *self);
/* As given in the options; "" while not connected. */
const char *client_current_endpoint(const struct client *self);
int64_t client_command_timeout_ns(const struct client *self);
void client_set_command_timeout_ns(struct client *self, int64_t timeout_ns);
int64_t client_dial_timeout_ns(const struct client *self);
/* Something may still happen: there are calls, or somebody holds. */
bool client_is_busy(const struct client *self);
/* Makes the client busy until as many releases. */
void client_hold(struct client *self);
void client_release(struct client *self);
/* Tells options.on_failed_attempt. */
void client_tell_failed_attempt(struct client *self, const char *path, unsigned attempt,
                                const struct etcd_error *error);
/* The server says it can't serve: go to the next endpoint when nothing is lost by that. */
void client_move_on(struct client *self);
/* A copy of the path that lives as long as the client. */
const char *client_intern_path(struct client *self, const char *path);

/* Something that ends with the client when nobody has ended it before. */
struct client_owned {
    struct list link;
    void (*drop)(struct client_owned *self); /* frees it, without a word to anybody */
};
/* Makes the client busy; list_remove(&owned->link) takes it out again. */
void client_own(struct client *self, struct client_owned *owned);

/* ---- one gRPC call over whatever connection comes ---- */

struct client_end {
    int code;
    struct slice text;  /* lives during on_end */
    const char *detail; /* the last dial error, or ""; lives during on_end */
    bool was_sent;      /* false: no server has acted on it */
    bool from_server;
};

struct client_rpc_handler {
    void (*on_message)(void *context, struct slice message);
    /* Last, exactly once, unless canceled; the rpc is gone then. */
    void (*on_end)(void *context, const struct client_end *end);
};

struct client_rpc_options {
    const char *path;    /* lives as long as the client */
    int64_t deadline_ns; /* env_now_ns-time; 0: none */
    bool require_leader;
    /* Losing the connection under it costs something: the client does not move on by itself meanwhile. */
    bool is_fragile;
    const struct client_rpc_handler *handler;
    void *context;
};

/* Waits for a connection as long as it takes; messages are kept until then. */
struct client_rpc *client_rpc_start(struct client *self, const struct client_rpc_options *options);
void client_rpc_send(struct client_rpc *rpc, struct slice message);
void client_rpc_half_close(struct client_rpc *rpc);
/* No callback comes any more; the rpc must not be used after this. NULL is allowed. */
void client_rpc_cancel(struct client_rpc *rpc);
/* While paused, no message is delivered. */
void client_rpc_pause(struct client_rpc *rpc, bool paused);

/* ---- errors ---- */

/* Copies what fits. `error` may be NULL. Returns the code. */
int client_error_set(struct etcd_error *error, int code, struct slice text, const char *detail);
int client_error_from_end(struct etcd_error *error, const struct client_end *end);

#endif
