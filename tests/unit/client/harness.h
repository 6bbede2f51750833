/* harness.h - a client core and scripted servers in one process: virtual time, no sockets.
 *
 * Every endpoint is a real gRPC server machine whose handlers only take notes; the test reads the notes and answers.
 *
 *     struct harness h; harness_init(&h, 2);      two endpoints "a:1" and "b:2"
 *     ... start something on h.client ...
 *     harness_run(&h);                            bytes and due timers, until all is quiet
 *     struct note *put = harness_note(&h, 0);     first call that a server has seen
 *     grpc_call_reply(put->call, ...);
 */
#ifndef TEST_CLIENT_HARNESS_H
#define TEST_CLIENT_HARNESS_H

#include "base/heap.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/vec.h"
#include "client/codec.h"
#include "client/core.h"
#include "grpc/call.h"
#include "grpc/server.h"
#include "http/server.h"
#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HARNESS_ENDPOINTS_MAX 3
#define MS INT64_C(1000000)

/* One call as a server saw it. */
struct note {
    struct grpc_call *call; /* NULL: ended */
    size_t endpoint;
    const char *path;
    VEC(struct slice) messages; /* in the harness's arena */
    bool half_closed;
    bool canceled;
    bool requires_leader;
};

struct harness_server {
    struct harness *harness;
    size_t index;
    bool is_up; /* accepts connections */
    struct http_server *http;
    struct grpc_server *grpc;
};

struct harness {
    struct env env;
    int64_t now_ns;
    uint64_t random;
    struct heap timers;
    struct client_owner owner;
    struct client *client;
    struct harness_server servers[HARNESS_ENDPOINTS_MAX];
    size_t server_count;
    struct http_conn_owner conn_owner;
    struct http_conn *conn; /* the one connection there is */
    size_t conn_endpoint;
    bool dialing;
    bool hold_dials;   /* neither accepts nor refuses */
    VEC(size_t) dials; /* endpoints in the order dialed */
    VEC(struct note *) notes;
    struct arena arena;
};

static inline int64_t harness_now(struct env *env) { return CONTAINER_OF(env, struct harness, env)->now_ns; }
static inline void harness_random(struct env *env, void *bytes, size_t size_bytes) {
    struct harness *h = CONTAINER_OF(env, struct harness, env);
    for (size_t i = 0; i < size_bytes; i++) {
        h->random = h->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(h->random >> 56);
    }
}
static inline void harness_timer_start(struct env *env, struct env_timer *timer, int64_t delay_ns) {
    struct harness *h = CONTAINER_OF(env, struct harness, env);
    heap_remove(&h->timers, &timer->world);
    timer->world.key = h->now_ns + delay_ns;
    heap_push(&h->timers, &timer->world);
}
static inline void harness_timer_stop(struct env *env, struct env_timer *timer) {
    heap_remove(&CONTAINER_OF(env, struct harness, env)->timers, &timer->world);
}

static const struct env_ops harness_ops = {
    .now_ns = harness_now,
    .wall_ns = harness_now,
    .random_bytes = harness_random,
    .timer_start = harness_timer_start,
    .timer_stop = harness_timer_stop,
};

static inline void harness_dial(struct client_owner *owner, const struct client_endpoint *endpoint) {
    struct harness *h = CONTAINER_OF(owner, struct harness, owner);
    assert_false(h->dialing);
    assert_null(h->conn);
    h->dialing = true;
    h->conn_endpoint = (size_t)(endpoint->host[0] - 'a');
    VEC_PUSH(&h->dials, h->conn_endpoint);
}
static inline void harness_hang_up(struct client_owner *owner) {
    struct harness *h = CONTAINER_OF(owner, struct harness, owner);
    h->dialing = false;
    http_conn_free(TAKE(h->conn));
}
static inline void harness_nop_client(struct client_owner *owner) {}
static inline void harness_nop_conn(struct http_conn_owner *owner) {}

/* ---- the servers' handlers: notes only ---- */

static inline void harness_on_call(struct grpc_call *call) {
    struct harness_server *server = grpc_call_service(call);
    struct note *note = NEW(struct note);
    note->call = call;
    note->endpoint = server->index;
    note->path = grpc_call_method(call)->path;
    note->requires_leader = slice_equal_cstr(grpc_call_metadata(call, "hasleader"), "true");
    if (!grpc_call_method(call)->client_stream)
        VEC_PUSH(&note->messages, arena_copy(&server->harness->arena, grpc_call_message(call)));
    grpc_call_set_context(call, note);
    VEC_PUSH(&server->harness->notes, note);
}
static inline void harness_on_message(struct grpc_call *call, struct slice message) {
    struct harness_server *server = grpc_call_service(call);
    struct note *note = grpc_call_context(call);
    VEC_PUSH(&note->messages, arena_copy(&server->harness->arena, message));
}
static inline void harness_on_half_close(struct grpc_call *call) {
    ((struct note *)grpc_call_context(call))->half_closed = true;
}
static inline void harness_on_cancel(struct grpc_call *call) {
    struct note *note = grpc_call_context(call);
    note->canceled = true;
    note->call = NULL;
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}

#define HARNESS_UNARY(name)                                                                                            \
    { .path = name, .on_call = harness_on_call, .on_cancel = harness_on_cancel }
#define HARNESS_STREAM(name)                                                                                           \
    {                                                                                                                  \
        .path = name, .client_stream = true, .server_stream = true, .on_call = harness_on_call,                        \
        .on_message = harness_on_message, .on_half_close = harness_on_half_close, .on_cancel = harness_on_cancel       \
    }
static const struct grpc_method harness_kv[] = {HARNESS_UNARY("/etcdserverpb.KV/Range"),
                                                HARNESS_UNARY("/etcdserverpb.KV/Put"),
                                                HARNESS_UNARY("/etcdserverpb.KV/Txn")};
static const struct grpc_method harness_watch[] = {HARNESS_STREAM("/etcdserverpb.Watch/Watch")};
static const struct grpc_method harness_lease[] = {HARNESS_STREAM("/etcdserverpb.Lease/LeaseKeepAlive")};
static const struct grpc_method harness_maintenance[] = {{.path = "/etcdserverpb.Maintenance/Snapshot",
                                                          .server_stream = true,
                                                          .on_call = harness_on_call,
                                                          .on_cancel = harness_on_cancel}};

static inline void harness_on_request(void *context, struct http_request *request) {
    grpc_server_handle(((struct harness_server *)context)->grpc, request);
}

static inline void harness_start_server(struct harness *h, size_t index) {
    struct harness_server *server = &h->servers[index];
    server->harness = h;
    server->index = index;
    server->is_up = true;
    server->http = http_server_new(
        &(struct http_server_options){.env = &h->env, .on_request = harness_on_request, .context = server});
    server->grpc =
        grpc_server_new(&(struct grpc_server_options){.env = &h->env, .receive_max_bytes = 16 * 1024 * 1024});
    grpc_server_add(server->grpc, harness_kv, sizeof(harness_kv) / sizeof(harness_kv[0]), server);
    grpc_server_add(server->grpc, harness_watch, 1, server);
    grpc_server_add(server->grpc, harness_lease, 1, server);
    grpc_server_add(server->grpc, harness_maintenance, 1, server);
}

/* ---- running ---- */

static inline bool harness_move_bytes(struct harness *h) {
    struct buf bytes = BUF_INIT;
    bool moved = false;
    while (h->conn != NULL && client_produce(h->client, &bytes, 65536)) {
    }
    if (bytes.len > 0 && h->conn != NULL) {
        moved = true;
        http_conn_receive(h->conn, buf_slice(&bytes));
    }
    buf_clear(&bytes);
    if (h->conn != NULL) {
        while (http_conn_produce(h->conn, &bytes, 65536)) {
        }
        if (bytes.len > 0) {
            moved = true;
            client_received(h->client, buf_slice(&bytes));
        }
    }
    buf_release(&bytes);
    return moved;
}

static inline bool harness_answer_dial(struct harness *h) {
    if (!h->dialing || h->hold_dials) return false;
    h->dialing = false;
    if (h->servers[h->conn_endpoint].is_up) {
        h->conn = http_conn_new(h->servers[h->conn_endpoint].http, &h->conn_owner,
                                &(struct http_conn_info){.peer = "127.0.0.1:1"});
        client_connected(h->client);
    } else {
        client_dial_failed(h->client, "dial tcp: connect: connection refused");
    }
    return true;
}

static inline bool harness_fire_due(struct harness *h) {
    struct heap_node *node = heap_peek(&h->timers);
    if (node == NULL || node->key > h->now_ns) return false;
    heap_remove(&h->timers, node);
    struct env_timer *timer = CONTAINER_OF(node, struct env_timer, world);
    timer->callback(timer);
    return true;
}

/* Until nothing more happens at this moment. */
static inline void harness_run(struct harness *h) {
    for (int quiet = 0, rounds = 0; quiet < 2; rounds++) {
        assert_true(rounds < 100000);
        bool busy = harness_fire_due(h);
        busy |= harness_answer_dial(h);
        busy |= harness_move_bytes(h);
        quiet = busy ? 0 : quiet + 1;
    }
}

/* Time passes; timers fire in order. */
static inline void harness_pass(struct harness *h, int64_t duration_ns) {
    int64_t end_ns = h->now_ns + duration_ns;
    harness_run(h);
    for (;;) {
        struct heap_node *node = heap_peek(&h->timers);
        if (node == NULL || node->key > end_ns) break;
        h->now_ns = node->key;
        harness_run(h);
    }
    h->now_ns = end_ns;
}

/* The server's side goes away; the endpoint stays up. */
static inline void harness_break_connection(struct harness *h) {
    assert_non_null(h->conn);
    http_conn_free(TAKE(h->conn));
    client_disconnected(h->client, "EOF");
    harness_run(h);
}

static inline struct note *harness_note(struct harness *h, size_t index) {
    assert_true(index < h->notes.count);
    return h->notes.items[index];
}

static inline void note_end(struct note *note) { note->call = NULL; }

static inline void note_reply(struct harness *h, struct note *note, const void *message) {
    grpc_call_reply(note->call, pb_pack_arena(message, &h->arena));
    note_end(note);
}

static inline void note_send(struct harness *h, struct note *note, const void *message) {
    grpc_call_send(note->call, pb_pack_arena(message, &h->arena));
}

static inline void note_fail(struct note *note, enum err error) {
    grpc_call_fail(note->call, error);
    note_end(note);
}

#define NOTE_MESSAGE(h, note, type, index) pb_unpack(&type##__descriptor, (note)->messages.items[index], &(h)->arena)

static inline void harness_init_with(struct harness *h, size_t endpoints, struct etcd_client_options options) {
    static const char *const texts[HARNESS_ENDPOINTS_MAX] = {"a:1", "b:2", "c:3"};
    *h = (struct harness){.env.ops = &harness_ops, .now_ns = 1000 * MS, .server_count = endpoints};
    heap_init(&h->timers);
    arena_init(&h->arena, 0);
    h->owner = (struct client_owner){harness_dial, harness_hang_up, harness_nop_client};
    h->conn_owner.want_flush = harness_nop_conn;
    for (size_t i = 0; i < endpoints; i++) harness_start_server(h, i);
    options.endpoints = texts;
    options.endpoint_count = endpoints;
    h->client = client_new(&h->env, &options, &h->owner, NULL);
    assert_non_null(h->client);
}

static inline void harness_init(struct harness *h, size_t endpoints) {
    harness_init_with(h, endpoints, (struct etcd_client_options)ETCD_CLIENT_OPTIONS_INIT);
}

static inline void harness_release(struct harness *h) {
    client_free(h->client);
    http_conn_free(h->conn);
    for (size_t i = 0; i < h->notes.count; i++) {
        struct note *note = h->notes.items[i];
        if (note->call != NULL) grpc_call_fail(note->call, ERR_STOPPED);
        VEC_RELEASE(&note->messages);
        mem_free(note);
    }
    VEC_RELEASE(&h->notes);
    VEC_RELEASE(&h->dials);
    for (size_t i = 0; i < h->server_count; i++) {
        grpc_server_free(h->servers[i].grpc);
        http_server_free(h->servers[i].http);
    }
    heap_release(&h->timers);
    arena_release(&h->arena);
}

/* ---- what a call brought ---- */

struct outcome {
    int count;
    void *response;
    struct etcd_error error;
};

static inline void harness_outcome(void *context, void *response, const struct etcd_error *error) {
    struct outcome *outcome = context;
    outcome->count++;
    outcome->response = response;
    if (error != NULL) outcome->error = *error;
}

#endif
