/* grpc/client.h - gRPC calls over one client connection: bytes in, bytes out.
 *
 * Floor 3. libetcdclient and the load generator stand on this; who dials and which endpoint is tried next is their
 * business. No sockets here: the owner moves bytes between a transport and grpc_client_receive / _produce (net/dial.h
 * does it for the real world, a simulator by memory).
 *
 *     grpc_client_start -> grpc_client_call_send* -> grpc_client_call_half_close
 *          on_headers?  on_message*  on_status           (on_status exactly once, last; then the call is dead)
 *
 * No callback comes from inside grpc_client_start. All on one thread.
 */
#ifndef GRPC_CLIENT_H
#define GRPC_CLIENT_H

#include "base/buf.h"
#include "base/slice.h"
#include "env/env.h"
#include "grpc/status.h"
#include "http/client.h"

struct grpc_client;
struct grpc_client_call;

struct grpc_client_options {
    struct env *env;
    const char *authority;    /* ":authority": "127.0.0.1:2379"; copied */
    const char *user_agent;   /* copied; NULL: "etcd-c" */
    bool is_tls;              /* ":scheme" https */
    size_t receive_max_bytes; /* longest answer; 0: no limit but GRPC's 4 GiB */
    int64_t keepalive_interval_ns;
    int64_t keepalive_timeout_ns;
    bool keepalive_without_streams;
    uint32_t stream_window_bytes; /* 0: 1 MiB */
};

/* The result of a call. */
struct grpc_status {
    int code;          /* enum grpc_code, or what the server sent */
    struct slice text; /* decoded; lives during on_status */
    enum err error;    /* OK, the row of base/err.h that matches code and text, or ERR_COUNT when no row does */
    bool was_sent;     /* false: the server certainly did not act on it (refused, or never left): safe to try again */
    bool from_server;  /* false: made up here (connection lost, deadline, cancelled) */
};

struct grpc_client_handler {
    /* Metadata of the answer (not called for an answer of trailers only). May be NULL. */
    void (*on_headers)(void *context, const struct http_header *headers, size_t count);
    /* One message, valid during the call. */
    void (*on_message)(void *context, struct slice message);
    void (*on_status)(void *context, const struct grpc_status *status);
    /* Queued bytes have drained. May be NULL. */
    void (*on_writable)(void *context);
};

struct grpc_client_call_options {
    const char *path;                   /* "/etcdserverpb.KV/Put"; static or living as long as the client */
    const struct http_header *metadata; /* lower case; copied */
    size_t metadata_count;
    int64_t timeout_ns; /* sent as grpc-timeout and enforced here (DEADLINE_EXCEEDED); 0: none */
    const struct grpc_client_handler *handler;
    void *context;
};

/* The owner lives until grpc_client_free. */
struct grpc_client *grpc_client_new(const struct grpc_client_options *options, struct http_client_owner *owner);
/* The transport is gone: open calls end as UNAVAILABLE. NULL is allowed. Not from inside a callback. */
void grpc_client_free(struct grpc_client *self);
/* Bytes from and to the transport; is_finished and is_draining: see there. */
struct http_client *grpc_client_http(struct grpc_client *self);
void grpc_client_receive(struct grpc_client *self, struct slice bytes);
bool grpc_client_produce(struct grpc_client *self, struct buf *output, size_t budget_bytes);

/* NULL when the connection takes no new calls (http_client_is_draining): dial another one. */
struct grpc_client_call *grpc_client_start(struct grpc_client *self, const struct grpc_client_call_options *options);
/* Start, one message, half close: the hot path of unary calls. NULL as above. */
struct grpc_client_call *grpc_client_unary(struct grpc_client *self, const struct grpc_client_call_options *options,
                                           struct slice message);
/* Queues one message (copied). */
void grpc_client_call_send(struct grpc_client_call *self, struct slice message);
void grpc_client_call_half_close(struct grpc_client_call *self);
/* on_status CANCELLED follows, not from inside this call. */
void grpc_client_call_cancel(struct grpc_client_call *self);
/* While paused no message is delivered and the server is stopped by the window. */
void grpc_client_call_pause(struct grpc_client_call *self, bool paused);
size_t grpc_client_call_queued_bytes(const struct grpc_client_call *self);
/* Calls open. */
size_t grpc_client_open_calls(const struct grpc_client *self);

#endif
