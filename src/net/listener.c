#include "net/listener.h"

#include "net/internal.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct net_listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    uv_timer_t grace;
    struct net_loop *loop;
    struct net_listener_options options;
    struct list conns;
    size_t conn_count;
    int port;
    int open_handles;      /* until the listener can be freed */
    bool is_waiting;       /* held or beyond the quota: one is left in libuv's hand */
    struct list wait_link; /* in the quota's */
    bool is_stopping;
    void (*on_closed)(void *context);
    void *context;
};

struct conn {
    struct net_link *link;
    struct net_listener *listener;
    struct http_conn *http;
    struct http_conn_owner owner;
    struct list link_in_listener;
};

static void accept_one(struct net_listener *self);

/* ---- one connection ---- */

static void conn_want_flush(struct http_conn_owner *owner) {
    net_link_touch(CONTAINER_OF(owner, struct conn, owner)->link);
}

static void conn_give_up(struct http_conn_owner *owner) {
    net_link_close(CONTAINER_OF(owner, struct conn, owner)->link);
}

static void conn_receive(void *machine, struct slice bytes) {
    struct conn *self = machine;
    http_conn_receive(self->http, bytes);
}

static void conn_receive_end(void *machine) {
    struct conn *self = machine;
    http_conn_receive_end(self->http);
}

static bool conn_produce(void *machine, struct buf *output, size_t budget_bytes) {
    struct conn *self = machine;
    return http_conn_produce(self->http, output, budget_bytes);
}

static bool conn_is_finished(void *machine) {
    struct conn *self = machine;
    return http_conn_is_finished(self->http);
}

static bool conn_wants_read(void *machine) {
    struct conn *self = machine;
    if (net__link_is_blocked(self->link) && http_conn_queued_bytes(self->http) > HTTP_OUTPUT_HIGH_WATER) return false;
    return http_conn_wants_read(self->http);
}

static void conn_unsent(void *machine, size_t size_bytes) {
    struct conn *self = machine;
    http_conn_set_unsent(self->http, size_bytes);
}

static void check_freed(struct net_listener *self) {
    if (self->conn_count != 0 || self->open_handles != 0) return;
    if (self->on_closed != NULL) self->on_closed(self->context);
    mem_free(self);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct net_listener *self = handle->data;
    self->open_handles--;
    check_freed(self);
}

static void close_grace(struct net_listener *self) {
    if (!uv_is_closing((uv_handle_t *)&self->grace)) uv_close((uv_handle_t *)&self->grace, on_handle_closed);
}

void net_quota_init(struct net_quota *self, size_t max) {
    *self = (struct net_quota){.max = max};
    list_init(&self->waiting);
}

/* For the listener that has waited longest. */
static void give_place_back(struct net_quota *quota) {
    if (quota == NULL) return;
    quota->count--;
    quota->closed++;
    if (list_is_empty(&quota->waiting)) return;
    struct net_listener *listener = CONTAINER_OF(quota->waiting.next, struct net_listener, wait_link);
    list_remove(&listener->wait_link);
    listener->is_waiting = false;
    accept_one(listener);
}

static void conn_closed(void *machine, enum err reason) {
    struct conn *self = machine;
    struct net_listener *listener = self->listener;
    http_conn_free(self->http);
    list_remove(&self->link_in_listener);
    mem_free(self);
    listener->conn_count--;
    give_place_back(listener->options.quota);
    if (!listener->is_stopping) return;
    if (listener->conn_count == 0) close_grace(listener);
    check_freed(listener);
}

static const struct net_machine conn_machine = {
    .receive = conn_receive,
    .receive_end = conn_receive_end,
    .produce = conn_produce,
    .is_finished = conn_is_finished,
    .wants_read = conn_wants_read,
    .unsent = conn_unsent,
    .closed = conn_closed,
};

/* ---- accepting ---- */

static void accept_one(struct net_listener *self) {
    struct conn *conn = NEW(struct conn);
    conn->listener = self;
    conn->owner.want_flush = conn_want_flush;
    conn->owner.give_up = conn_give_up;
    list_push_back(&self->conns, &conn->link_in_listener);
    self->conn_count++;
    if (self->options.quota != NULL) self->options.quota->count++;
    conn->link = net__link_new(self->loop, !self->options.address.is_unix, &conn_machine, conn);
    int error = uv_accept(&self->uv.stream, &conn->link->uv.stream);
    if (error != 0) {
        net__link_close(conn->link, net__err(error));
        return;
    }
    net__link_describe_peer(conn->link);
    struct http_conn_info info = {.peer = net_link_peer(conn->link)};
    conn->http = http_conn_new(self->options.server, &conn->owner, &info);
    net__link_connected(conn->link);
}

static void accept_or_wait(struct net_listener *self) {
    struct net_quota *quota = self->options.quota;
    bool is_full = quota != NULL && quota->count >= quota->max;
    if (!is_full && !self->options.is_held) {
        accept_one(self);
        return;
    }
    self->is_waiting = true; /* libuv listens again when this one is accepted */
    if (is_full && !self->options.is_held) list_push_back(&quota->waiting, &self->wait_link);
}

static void on_connection(uv_stream_t *stream, int status) {
    struct net_listener *self = stream->data;
    if (status == 0 && !self->is_stopping) accept_or_wait(self);
}

/* ---- the listener ---- */

/* libuv 1.44 has no flag for it: the socket is made here. */
static int open_reusable(struct net_listener *self, int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int error = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)) < 0 ? -errno : 0;
    if (error == 0) error = uv_tcp_open(&self->uv.tcp, fd);
    if (error != 0) close(fd);
    return error;
}

static int bind_tcp(struct net_listener *self, const char *host, const char *port) {
    uv_getaddrinfo_t resolve;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    int error = uv_getaddrinfo(&self->loop->uv, &resolve, NULL, host[0] ? host : "0.0.0.0", port, &hints);
    if (error != 0) return error;
    if (self->options.reuse_port) error = open_reusable(self, resolve.addrinfo->ai_family);
    if (error == 0) error = uv_tcp_bind(&self->uv.tcp, resolve.addrinfo->ai_addr, 0);
    uv_freeaddrinfo(resolve.addrinfo);
    return error;
}

static void note_port(struct net_listener *self) {
    struct sockaddr_storage address;
    int size_bytes = sizeof address;
    if (uv_tcp_getsockname(&self->uv.tcp, (struct sockaddr *)&address, &size_bytes) != 0) return;
    uint16_t port = address.ss_family == AF_INET ? ((const struct sockaddr_in *)&address)->sin_port
                                                 : ((const struct sockaddr_in6 *)&address)->sin6_port;
    self->port = ntohs(port);
}

static int open_socket(struct net_listener *self, const char *host, const char *port) {
    const char *path = self->options.address.text;
    int error;
    if (self->options.address.is_unix) {
        uv_fs_t request;
        uv_fs_unlink(NULL, &request, path, NULL);
        uv_fs_req_cleanup(&request);
        error = uv_pipe_bind(&self->uv.pipe, path);
    } else {
        error = bind_tcp(self, host, port);
    }
    if (error == 0) error = uv_listen(&self->uv.stream, NET_LISTEN_BACKLOG, on_connection);
    if (error == 0 && !self->options.address.is_unix) note_port(self);
    return error;
}

enum err net_listen(struct net_loop *loop, const struct net_listener_options *options,
                    struct net_listener **ret_listener, struct errmsg *message) {
    char host[256] = "", port[16] = "";
    const char *text = options->address.text;
    if (!options->address.is_unix && !net__split_address(text, host, sizeof host, port, sizeof port))
        return err_set(message, ERR_INVALID, "listen tcp: address %s: missing port in address", text);
    struct net_listener *self = NEW(struct net_listener);
    self->loop = loop;
    self->options = *options;
    list_init(&self->conns);
    list_init(&self->wait_link);
    int error =
        options->address.is_unix ? uv_pipe_init(&loop->uv, &self->uv.pipe, 0) : uv_tcp_init(&loop->uv, &self->uv.tcp);
    CHECK(error == 0);
    uv_timer_init(&loop->uv, &self->grace);
    self->uv.handle.data = self->grace.data = self;
    self->open_handles = 2;
    error = open_socket(self, host, port);
    if (error != 0) {
        enum err result = net__err(error);
        net_listener_shutdown(self, 0, NULL, NULL);
        return err_set(message, result, "listen %s %s: %s", options->address.is_unix ? "unix" : "tcp", text,
                       err_text(result));
    }
    *ret_listener = self;
    return OK;
}

void net_listener_open(struct net_listener *self) {
    self->options.is_held = false;
    if (!self->is_waiting) return;
    self->is_waiting = false;
    accept_or_wait(self);
}

int net_listener_port(const struct net_listener *self) { return self->port; }

size_t net_listener_connections(const struct net_listener *self) { return self->conn_count; }

static void close_all(uv_timer_t *timer) {
    struct net_listener *self = timer->data;
    LIST_FOREACH (it, &self->conns) net__link_close(CONTAINER_OF(it, struct conn, link_in_listener)->link, OK);
}

void net_listener_shutdown(struct net_listener *self, int64_t grace_ns, void (*on_closed)(void *context),
                           void *context) {
    self->on_closed = on_closed;
    self->context = context;
    if (!self->is_stopping) {
        self->is_stopping = true;
        list_remove(&self->wait_link);
        uv_close(&self->uv.handle, on_handle_closed);
        LIST_FOREACH (it, &self->conns) {
            struct conn *conn = CONTAINER_OF(it, struct conn, link_in_listener);
            if (conn->http != NULL) http_conn_stop(conn->http);
        }
    }
    if (self->conn_count == 0)
        close_grace(self);
    else if (grace_ns > 0)
        uv_timer_start(&self->grace, close_all, (uint64_t)grace_ns / 1000000, 0);
    else
        close_all(&self->grace);
}
