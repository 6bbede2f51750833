/* conn.c - the server and its connections: which protocol it is, flushing, timers, the end. */
#include "http/internal.h"

#include <stdio.h>
#include <time.h>

#define NS_PER_SECOND INT64_C(1000000000)
#define DEFAULT_KEEPALIVE_MIN_NS (300 * NS_PER_SECOND)

static const char h2_preface[] = "PRI * HTTP/2.0\r\n";

struct http_server *http_server_new(const struct http_server_options *options) {
    struct http_server *self = NEW(struct http_server);
    self->options = *options;
    if (self->options.keepalive_min_ns <= 0) self->options.keepalive_min_ns = DEFAULT_KEEPALIVE_MIN_NS;
    if (self->options.header_timeout_ns <= 0) self->options.header_timeout_ns = HTTP_HEADER_TIMEOUT_NS;
    list_init(&self->pool);
    list_init(&self->conns);
    self->relief.callback = http__server_relieve;
    list_init(&self->producing);
    self->stall.callback = http__server_end_stalled;
    self->date_second = INT64_MIN;
    h2__server_init(self);
    return self;
}

void http_server_free(struct http_server *self) {
    if (self == NULL) return;
    CHECK(self->stream_count == 0 && self->held_bytes == 0);
    env_timer_stop(self->options.env, &self->relief);
    env_timer_stop(self->options.env, &self->stall);
    while (!list_is_empty(&self->pool)) {
        struct http_stream *stream = CONTAINER_OF(self->pool.next, struct http_stream, link);
        list_remove(&stream->link);
        arena_release(&stream->request.arena);
        mem_free(stream);
    }
    h2__server_release(self);
    mem_free(self);
}

const char *http__server_date(struct http_server *self) {
    int64_t second = env_wall_ns(self->options.env) / NS_PER_SECOND;
    if (second != self->date_second) {
        time_t time = (time_t)second;
        struct tm parts;
        gmtime_r(&time, &parts);
        static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        snprintf(self->date_text, sizeof self->date_text, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[parts.tm_wday],
                 parts.tm_mday, months[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
        self->date_second = second;
    }
    return self->date_text;
}

void http__conn_want_flush(struct http_conn *self) {
    if (self->is_flush_wanted || self->is_producing) return;
    self->is_flush_wanted = true;
    self->owner->want_flush(self->owner);
}

void http__conn_set_timer(struct http_conn *self, int64_t delay_ns) {
    env_timer_start(self->server->options.env, &self->timer, delay_ns);
}

static void on_timer(struct env_timer *timer) {
    struct http_conn *self = timer->context;
    if (self->is_finished) return;
    switch (self->protocol) {
    case HTTP__UNKNOWN: self->is_broken = self->is_finished = true; break;
    case HTTP__1: h1__timer(self); break;
    case HTTP__2: h2__timer(self); break;
    }
    if (self->is_finished) http__conn_want_flush(self);
}

struct http_conn *http_conn_new(struct http_server *server, struct http_conn_owner *owner,
                                const struct http_conn_info *info) {
    struct http_conn *self = NEW(struct http_conn);
    size_t peer_len = strlen(info->peer);
    self->server = server;
    self->owner = owner;
    self->peer = mem_alloc(sizeof *self->peer + peer_len + 1);
    self->peer->references = 1;
    memcpy(self->peer->text, info->peer, peer_len + 1);
    self->is_tls = info->is_tls;
    list_push_back(&server->conns, &self->link);
    list_init(&self->streams);
    list_init(&self->dirty);
    self->timer.callback = on_timer;
    self->timer.context = self;
    http__conn_set_timer(self, server->options.header_timeout_ns);
    return self;
}

void http_conn_free(struct http_conn *self) {
    if (self == NULL) return;
    self->is_flush_wanted = true; /* the owner is not called any more */
    self->is_broken = self->is_finished = true;
    env_timer_stop(self->server->options.env, &self->timer);
    while (!list_is_empty(&self->streams))
        http__stream_detach(CONTAINER_OF(self->streams.next, struct http_stream, link));
    if (self->protocol == HTTP__2) h2__free(self);
    if (self->protocol == HTTP__1) h1__free(self);
    http__conn_let_go(self, self->unsent_bytes + self->pending_bytes);
    CHECK(self->held_bytes == 0 && self->queued_cost_bytes == 0);
    if (self->is_given_up) self->server->given_up_count--;
    list_remove(&self->link);
    buf_release(&self->sniff);
    http__peer_unref(self->peer);
    mem_free(self);
}

static void receive(struct http_conn *self, struct slice bytes) {
    if (self->protocol == HTTP__2)
        h2__receive(self, bytes);
    else
        h1__receive(self, bytes);
}

/* Decides with the first bytes that differ from the HTTP/2 preface, or with its first line. */
static void sniff(struct http_conn *self, struct slice bytes) {
    buf_append_slice(&self->sniff, bytes);
    size_t preface_len = sizeof h2_preface - 1;
    size_t len = self->sniff.len < preface_len ? self->sniff.len : preface_len;
    bool is_h2 = memcmp(self->sniff.data, h2_preface, len) == 0;
    if (is_h2 && len < preface_len) return;
    self->protocol = is_h2 ? HTTP__2 : HTTP__1;
    if (is_h2)
        h2__start(self);
    else
        h1__start(self);
    struct buf first = self->sniff;
    self->sniff = BUF_INIT;
    receive(self, buf_slice(&first));
    buf_release(&first);
}

void http_conn_receive(struct http_conn *self, struct slice bytes) {
    if (self->is_broken || bytes.len == 0) return;
    if (self->protocol == HTTP__UNKNOWN)
        sniff(self, bytes);
    else
        receive(self, bytes);
}

void http_conn_receive_end(struct http_conn *self) {
    if (self->protocol == HTTP__1 && !self->is_broken) {
        h1__receive_end(self);
        return;
    }
    self->is_broken = self->is_finished = true;
    http__conn_want_flush(self);
}

bool http_conn_produce(struct http_conn *self, struct buf *output, size_t budget_bytes) {
    self->is_flush_wanted = false;
    self->is_producing = true;
    self->output = output;
    bool has_more = false;
    if (self->protocol == HTTP__2) has_more = h2__produce(self, budget_bytes);
    if (self->protocol == HTTP__1) has_more = h1__produce(self, budget_bytes);
    self->output = NULL;
    self->is_producing = false;
    return has_more;
}

bool http_conn_is_finished(const struct http_conn *self) { return self->is_finished; }

bool http_conn_wants_read(const struct http_conn *self) {
    if (self->is_broken) return false;
    return self->protocol != HTTP__1 || h1__wants_read(self);
}

void http_conn_stop(struct http_conn *self) {
    if (self->is_stopping || self->is_finished) return;
    self->is_stopping = true;
    if (self->protocol == HTTP__2)
        h2__stop(self);
    else if (self->protocol == HTTP__1)
        h1__stop(self);
    else
        self->is_broken = self->is_finished = true;
    http__conn_want_flush(self);
}

size_t http_conn_queued_bytes(const struct http_conn *self) { return self->queued_bytes; }

size_t http_conn_open_requests(const struct http_conn *self) { return self->stream_count; }

bool http_conn_is_http2(const struct http_conn *self) { return self->protocol == HTTP__2; }
