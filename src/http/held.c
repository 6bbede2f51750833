/* held.c - the memory that clients make a server hold, and who has to go when it is too much. */
#include "http/internal.h"

/* Who reads gets the chance to: a turn's answers are sent at its end. */
#define RELIEF_DELAY_NS INT64_C(1000000)
#define CLOSING_NS INT64_C(1000000)

void http__server_want_relief(struct http_server *self) {
    if (!env_timer_is_running(&self->relief)) env_timer_start(self->options.env, &self->relief, RELIEF_DELAY_NS);
}

void http__conn_set_held(struct http_conn *self, size_t *part, size_t size_bytes) {
    if (size_bytes >= *part)
        http__conn_hold(self, size_bytes - *part);
    else
        http__conn_let_go(self, *part - size_bytes);
    *part = size_bytes;
}

static struct http_conn *greatest_holder(const struct http_server *self) {
    struct http_conn *greatest = NULL;
    LIST_FOREACH (link, (struct list *)(uintptr_t)&self->conns) {
        struct http_conn *conn = CONTAINER_OF(link, struct http_conn, link);
        if (conn->is_given_up || conn->owner->give_up == NULL) continue;
        if (greatest == NULL || conn->held_bytes > greatest->held_bytes) greatest = conn;
    }
    return greatest;
}

static void give_up(struct http_conn *conn) {
    struct http_server *server = conn->server;
    log_warn(env_log(server->options.env), "closing the connection that holds most of the memory of all clients",
             LOG_STRING("remote-addr", conn->peer->text), LOG_UINT("held-bytes", conn->held_bytes),
             LOG_UINT("held-bytes-of-all", server->held_bytes), LOG_UINT("limit-bytes", HTTP_SERVER_HELD_MAX));
    conn->is_given_up = conn->is_broken = true;
    server->given_up_count++;
    conn->owner->give_up(conn->owner);
}

void http__server_relieve(struct env_timer *timer) {
    struct http_server *self = CONTAINER_OF(timer, struct http_server, relief);
    if (self->held_bytes <= HTTP_SERVER_HELD_MAX) return;
    if (self->given_up_count != 0) { /* what comes back is known when the owner has closed it */
        env_timer_start(self->options.env, timer, CLOSING_NS);
        return;
    }
    struct http_conn *conn = greatest_holder(self);
    if (conn == NULL) return;
    give_up(conn);
    env_timer_start(self->options.env, timer, CLOSING_NS);
}

void http_conn_set_unsent(struct http_conn *self, size_t size_bytes) {
    http__conn_set_held(self, &self->unsent_bytes, size_bytes);
}

size_t http_conn_held_bytes(const struct http_conn *self) { return self->held_bytes; }

size_t http_server_held_bytes(const struct http_server *self) { return self->held_bytes; }
