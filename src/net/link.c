/* link.c - moving bytes between a socket and its machine.
 *
 *     NEW --connected--> OPEN --machine finished, all sent--> SHUT (lingers) --other end, or time--> CLOSING --> freed
 *       \___________________________ errors, net_link_close ______________________________________/
 *
 * transport_in and transport_out are the one place where bytes pass between socket and machine: TLS goes there.
 */
#include "net/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

enum err net__err(int uv_error) {
    if (uv_error == 0) return OK;
    if (uv_error == UV_EOF) return ERR_EOF;
    if (uv_error == UV_EAI_NONAME || uv_error == UV_EAI_NODATA || uv_error == UV_EAI_SERVICE) return ERR_INVALID;
    return err_from_errno(-uv_error);
}

/* ---- closing ---- */

void net__link_on_closed(uv_handle_t *handle) {
    struct net_link *self = handle->data;
    list_remove(&self->link);
    if (self->dial != NULL) net__dial_forget(self->dial);
    self->table->closed(self->machine, self->reason);
    buf_release(&self->unsent);
    mem_free(self);
}

void net__link_close(struct net_link *self, enum err reason) {
    if (self->is_closing) return;
    self->is_closing = true;
    self->reason = reason;
    list_remove(&self->dirty_link);
    list_remove(&self->wait_link);
    if (!self->is_renewing) uv_close(&self->uv.handle, net__link_on_closed);
}

void net_link_close(struct net_link *self) { net__link_close(self, OK); }

static void on_shut(uv_shutdown_t *request, int status) { mem_free(request); }

/* Everything is sent. The other side gets a moment to read it: a close with unread bytes here would reset it. */
static void shut(struct net_link *self) {
    if (self->is_shut) return;
    self->is_shut = true;
    if (self->has_read_end) {
        net__link_close(self, OK);
        return;
    }
    uv_shutdown_t *request = NEW(uv_shutdown_t);
    if (uv_shutdown(request, &self->uv.stream, on_shut) != 0) {
        mem_free(request);
        net__link_close(self, OK);
        return;
    }
    self->is_throttled = false;
    net__loop_linger(self->loop, self);
}

/* ---- the seam for TLS ---- */

static void transport_in(struct net_link *self, struct slice bytes) { self->table->receive(self->machine, bytes); }

/* Fills loop->scratch with what is to go out now; true: there is more. */
static bool transport_out(struct net_link *self) {
    buf_clear(&self->loop->scratch);
    return self->table->produce(self->machine, &self->loop->scratch, NET_WRITE_BUDGET_BYTES);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested_bytes, uv_buf_t *ret_room) {
    struct net_link *self = handle->data;
    /* Without room libuv reports UV_ENOBUFS instead of reading. */
    bool is_late = net__loop_has_read_enough(self->loop);
    size_t budget_bytes = net__loop_read_budget(self->loop);
    unsigned most = budget_bytes < NET__READ_BYTES ? (unsigned)budget_bytes : NET__READ_BYTES;
    *ret_room = uv_buf_init((char *)self->loop->read_bytes, is_late ? 0 : most);
}

static void stop_reading(struct net_link *self) {
    if (!self->is_reading) return;
    self->is_reading = false;
    uv_read_stop(&self->uv.stream);
}

static void read_end(struct net_link *self, ssize_t error) {
    stop_reading(self);
    self->has_read_end = true;
    if (error != UV_EOF) {
        net__link_close(self, net__err((int)error));
    } else if (self->is_shut || self->table->receive_end == NULL) {
        net__link_close(self, self->is_shut ? OK : ERR_EOF);
    } else {
        self->table->receive_end(self->machine);
        net_link_touch(self);
    }
}

void net__link_throttle(struct net_link *self, struct list *where) {
    stop_reading(self);
    if (self->is_shut) return; /* lingering: the end will come */
    self->is_throttled = true;
    list_remove(&self->wait_link);
    list_push_back(where, &self->wait_link);
}

static void count_read(struct net_link *self, size_t size_bytes) {
    if (self->read_turn != self->loop->turn) {
        self->read_turn = self->loop->turn;
        self->read_bytes = 0;
        self->loop->readers++;
        list_remove(&self->wait_link);
        list_push_back(&self->loop->reading, &self->wait_link);
    }
    self->read_bytes += size_bytes;
    if (self->read_bytes >= net__loop_read_budget(self->loop)) net__link_throttle(self, &self->loop->served);
}

static void on_read(uv_stream_t *stream, ssize_t size_bytes, const uv_buf_t *room) {
    struct net_link *self = stream->data;
    if (self->is_closing || size_bytes == 0) return;
    if (size_bytes == UV_ENOBUFS) {
        bool has_read = self->read_turn == self->loop->turn;
        net__link_throttle(self, has_read ? &self->loop->served : &self->loop->late);
        return;
    }
    if (size_bytes < 0) {
        read_end(self, size_bytes);
        return;
    }
    if (self->is_shut) return; /* lingering: nobody reads it */
    transport_in(self, slice_make(room->base, (size_t)size_bytes));
    if (!self->is_closing) count_read(self, (size_t)size_bytes);
    net__loop_flush_batch(self->loop);
}

static bool wants_read(const struct net_link *self) {
    if (self->has_read_end || self->is_throttled) return false;
    return self->is_shut || self->table->wants_read == NULL || self->table->wants_read(self->machine);
}

static void update_reading(struct net_link *self) {
    if (self->is_closing || !self->is_connected) return;
    bool wants = wants_read(self);
    if (wants == self->is_reading) return;
    if (!wants) {
        stop_reading(self);
        return;
    }
    int error = uv_read_start(&self->uv.stream, on_alloc, on_read);
    if (error != 0) {
        net__link_close(self, net__err(error));
        return;
    }
    self->is_reading = true;
}

void net__link_resume_reading(struct net_link *self) {
    self->is_throttled = false;
    update_reading(self);
}

/* ---- writing ---- */

bool net__link_is_blocked(const struct net_link *self) { return self->is_writing; }

static void on_written(uv_write_t *request, int status) {
    struct net_link *self = request->data;
    mem_free(request);
    self->is_writing = false;
    buf_release(&self->unsent);
    if (self->is_closing) return;
    if (self->table->unsent != NULL) self->table->unsent(self->machine, 0);
    if (status != 0)
        net__link_close(self, net__err(status));
    else
        net_link_touch(self);
}

/* The socket did not take all: libuv writes the rest when it does. */
static void write_later(struct net_link *self, struct slice rest) {
    uv_write_t *request = NEW(uv_write_t);
    request->data = self;
    buf_append_slice(&self->unsent, rest);
    uv_buf_t piece = uv_buf_init((char *)self->unsent.data, (unsigned)self->unsent.len);
    int error = uv_write(request, &self->uv.stream, &piece, 1, on_written);
    if (error != 0) {
        mem_free(request);
        net__link_close(self, net__err(error));
        return;
    }
    self->is_writing = true;
    if (self->table->unsent != NULL) self->table->unsent(self->machine, self->unsent.len);
}

static void write_now(struct net_link *self, struct slice bytes) {
    if (bytes.len == 0) return;
    uv_buf_t piece = uv_buf_init((char *)(uintptr_t)bytes.data, (unsigned)bytes.len);
    int written = uv_try_write(&self->uv.stream, &piece, 1);
    if (written == UV_EAGAIN) written = 0;
    if (written < 0)
        net__link_close(self, net__err(written));
    else if ((size_t)written < bytes.len)
        write_later(self, slice_from(bytes, (size_t)written));
}

void net__link_flush(struct net_link *self) {
    if (self->is_closing || !self->is_connected || self->is_shut) return;
    if (!self->is_writing) {
        bool has_more = transport_out(self);
        write_now(self, buf_slice(&self->loop->scratch));
        if (self->is_closing) return;
        if (has_more && !self->is_writing) net_link_touch(self);
        if (!has_more && !self->is_writing && self->table->is_finished(self->machine)) {
            shut(self);
            if (self->is_closing) return;
        }
    }
    update_reading(self);
}

void net_link_touch(struct net_link *self) {
    if (self->is_closing || !list_is_empty(&self->dirty_link)) return;
    list_push_back(&self->loop->dirty, &self->dirty_link);
    self->loop->dirty_count++;
}

/* ---- life ---- */

struct net_link *net__link_new(struct net_loop *loop, bool is_tcp, const struct net_machine *table, void *machine) {
    struct net_link *self = NEW(struct net_link);
    self->loop = loop;
    self->table = table;
    self->machine = machine;
    self->is_tcp = is_tcp;
    int error = is_tcp ? uv_tcp_init(&loop->uv, &self->uv.tcp) : uv_pipe_init(&loop->uv, &self->uv.pipe, 0);
    CHECK(error == 0);
    self->uv.handle.data = self;
    list_init(&self->dirty_link);
    list_init(&self->wait_link);
    list_push_back(&loop->links, &self->link);
    return self;
}

void net__link_describe_peer(struct net_link *self) {
    struct sockaddr_storage address;
    int size_bytes = sizeof address;
    char host[INET6_ADDRSTRLEN];
    snprintf(self->peer, sizeof self->peer, "@");
    if (!self->is_tcp || uv_tcp_getpeername(&self->uv.tcp, (struct sockaddr *)&address, &size_bytes) != 0) return;
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
        uv_ip4_name(v4, host, sizeof host);
        snprintf(self->peer, sizeof self->peer, "%s:%d", host, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
        uv_ip6_name(v6, host, sizeof host);
        snprintf(self->peer, sizeof self->peer, "[%s]:%d", host, ntohs(v6->sin6_port));
    }
}

void net__link_connected(struct net_link *self) {
    if (self->is_tcp) {
        uv_tcp_nodelay(&self->uv.tcp, 1);
        uv_tcp_keepalive(&self->uv.tcp, 1, 30); /* seconds, as etcd's listeners */
    }
    net__link_describe_peer(self);
    self->is_connected = true;
    update_reading(self);
}

const char *net_link_peer(const struct net_link *self) { return self->peer; }
