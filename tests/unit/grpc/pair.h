/* pair.h - a gRPC server and a gRPC client joined in memory. */
#ifndef TESTS_PAIR_H
#define TESTS_PAIR_H

#include "grpc/client.h"
#include "grpc/server.h"
#include "http/server.h"

#include "../http/fake_env.h"

struct pair {
    struct fake_env env;
    struct grpc_server *grpc;
    struct http_server *http;
    struct http_conn *conn;
    struct http_conn_owner conn_owner;
    struct grpc_client *client;
    struct http_client_owner client_owner;
    struct buf wire;
    size_t cut; /* bytes a transfer; 0: all */
};

static inline void pair_conn_flush(struct http_conn_owner *owner) {}
static inline void pair_client_flush(struct http_client_owner *owner) {}
static inline void pair_on_request(void *context, struct http_request *request) {
    grpc_server_handle(context, request);
}

static inline void pair_connect(struct pair *self, uint32_t stream_window) {
    struct http_conn_info info = {.peer = "127.0.0.1:9"};
    self->conn = http_conn_new(self->http, &self->conn_owner, &info);
    struct grpc_client_options options = {
        .env = &self->env.env, .authority = "localhost", .stream_window_bytes = stream_window};
    self->client = grpc_client_new(&options, &self->client_owner);
}

static inline void pair_disconnect(struct pair *self) {
    grpc_client_free(self->client);
    self->client = NULL;
    http_conn_free(self->conn);
    self->conn = NULL;
}

/* options->env is set here. */
static inline void pair_init(struct pair *self, struct grpc_server_options *options, const struct grpc_method *methods,
                             size_t count, void *service) {
    fake_env_init(&self->env);
    options->env = &self->env.env;
    self->grpc = grpc_server_new(options);
    grpc_server_add(self->grpc, methods, count, service);
    struct http_server_options http_options = {
        .env = &self->env.env, .on_request = pair_on_request, .context = self->grpc};
    self->http = http_server_new(&http_options);
    self->conn_owner.want_flush = pair_conn_flush;
    self->client_owner.want_flush = pair_client_flush;
    self->cut = 0;
    self->wire = BUF_INIT;
    pair_connect(self, 0);
}

/* False: timers are left. */
static inline bool pair_release(struct pair *self) {
    pair_disconnect(self);
    http_server_free(self->http);
    grpc_server_free(self->grpc);
    buf_release(&self->wire);
    return fake_env_release(&self->env);
}

static inline void pair_carry(struct pair *self, bool to_server) {
    size_t step = self->cut ? self->cut : self->wire.len;
    for (size_t from = 0; from < self->wire.len; from += step) {
        size_t size = self->wire.len - from < step ? self->wire.len - from : step;
        struct slice bytes = slice_make(self->wire.data + from, size);
        if (to_server)
            http_conn_receive(self->conn, bytes);
        else
            grpc_client_receive(self->client, bytes);
    }
    buf_clear(&self->wire);
}

/* Until both are silent. */
static inline void pair_pump(struct pair *self) {
    bool is_moving = true;
    while (is_moving) {
        is_moving = grpc_client_produce(self->client, &self->wire, 65536) || self->wire.len != 0;
        pair_carry(self, true);
        is_moving |= http_conn_produce(self->conn, &self->wire, 65536) || self->wire.len != 0;
        pair_carry(self, false);
    }
}

#endif
