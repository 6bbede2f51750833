/* HTTP/2: server connection and client connection, one against the other in memory. */
#include "http/client.h"
#include "http/server.h"

#include "fake_env.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NS_PER_SECOND INT64_C(1000000000)
#define EXCHANGES_MAX 64

struct exchange {
    struct http_exchange *handle;
    int status;
    struct buf body;
    struct buf trailers; /* "name: value\n" */
    size_t header_blocks;
    bool is_closed;
    enum http_close why;
    uint32_t code;
};

struct fixture {
    struct fake_env env;
    struct http_server_options options;
    struct http_server *server;
    struct http_conn *conn;
    struct http_conn_owner conn_owner;
    struct http_client *client;
    struct http_client_owner client_owner;
    struct exchange exchanges[EXCHANGES_MAX];
    struct buf wire;
    struct http_request *kept;
    size_t requests, cancelled, ended, body_bytes, writable;
    bool holds_body;
    struct http_producer producer;
    size_t to_produce, produced, pulls;
    bool producer_is_done, producer_fails;
    size_t cut; /* bytes a transfer; 0: all */
};

static void conn_flush(struct http_conn_owner *owner) {}
static void client_flush(struct http_client_owner *owner) {}

/* ---- the server's side ---- */

static void kept_body(struct http_request *request, struct slice bytes) {
    struct fixture *self = request->context;
    self->body_bytes += bytes.len;
    if (!self->holds_body) http_request_consume(request, bytes.len);
}
static void kept_end(struct http_request *request) { ((struct fixture *)request->context)->ended++; }
static void kept_cancel(struct http_request *request) { ((struct fixture *)request->context)->cancelled++; }
static void kept_writable(struct http_request *request) { ((struct fixture *)request->context)->writable++; }
static const struct http_request_handler kept_handler = {kept_body, kept_end, kept_cancel, kept_writable};

static enum http_pull pull(struct http_producer *producer, size_t want_bytes, struct http_piece *ret_piece) {
    struct fixture *self = CONTAINER_OF(producer, struct fixture, producer);
    self->pulls++;
    if (self->produced == self->to_produce) return HTTP_PULL_END;
    if (self->producer_fails && self->produced > 0) return HTTP_PULL_FAILED;
    static uint8_t zeros[1000];
    size_t size = self->to_produce - self->produced < 1000 ? self->to_produce - self->produced : 1000;
    self->produced += size;
    *ret_piece = (struct http_piece){slice_make(zeros, size), NULL, NULL};
    return HTTP_PULL_PIECE;
}

static void producer_done(struct http_producer *producer) {
    CONTAINER_OF(producer, struct fixture, producer)->producer_is_done = true;
}

static void on_request(void *context, struct http_request *request) {
    struct fixture *self = context;
    self->requests++;
    struct slice path = http_request_path(request);
    if (slice_equal_cstr(path, "/keep")) {
        self->kept = request;
        http_request_handle(request, &kept_handler, self);
        return;
    }
    const struct http_header headers[] = {HTTP_HEADER("content-type", "text/plain"), HTTP_HEADER("x", "y")};
    http_reply(request, 201, headers, 2);
    if (slice_equal_cstr(path, "/produce")) {
        self->producer = (struct http_producer){pull, producer_done};
        http_reply_produce(request, &self->producer);
    } else {
        http_reply_write(request, SLICE_LITERAL("hello "));
        http_reply_write(request, SLICE_LITERAL("world"));
    }
    const struct http_header trailer = HTTP_HEADER("sum", "42");
    http_reply_end(request, &trailer, 1);
}

/* ---- the client's side ---- */

static void on_headers(void *context, int status, const struct http_header *headers, size_t count) {
    struct exchange *exchange = context;
    exchange->header_blocks++;
    if (status != 0) {
        exchange->status = status;
        return;
    }
    for (size_t i = 0; i < count; i++)
        buf_printf(&exchange->trailers, "%.*s: %.*s\n", (int)headers[i].name.len, (const char *)headers[i].name.data,
                   (int)headers[i].value.len, (const char *)headers[i].value.data);
}
static void on_data(void *context, struct slice bytes) { buf_append_slice(&((struct exchange *)context)->body, bytes); }
static void on_close(void *context, enum http_close why, uint32_t code) {
    struct exchange *exchange = context;
    assert_false(exchange->is_closed);
    exchange->is_closed = true;
    exchange->why = why;
    exchange->code = code;
}
static const struct http_exchange_handler exchange_handler = {on_headers, on_data, on_close, NULL};

static struct exchange *start(struct fixture *self, size_t index, const char *path, bool end) {
    struct exchange *exchange = &self->exchanges[index];
    buf_release(&exchange->body);
    buf_release(&exchange->trailers);
    memset(exchange, 0, sizeof *exchange);
    const struct http_header headers[] = {HTTP_HEADER(":method", "POST"),
                                          HTTP_HEADER(":scheme", "http"),
                                          {SLICE_LITERAL(":path"), slice_from_cstr(path)},
                                          HTTP_HEADER(":authority", "localhost"),
                                          HTTP_HEADER("te", "trailers")};
    exchange->handle = http_client_start(self->client, headers, 5, end, &exchange_handler, exchange);
    return exchange;
}

/* ---- the wire ---- */

static void carry(struct fixture *self, bool to_server) {
    size_t step = self->cut ? self->cut : self->wire.len;
    for (size_t from = 0; from < self->wire.len; from += step) {
        size_t size = self->wire.len - from < step ? self->wire.len - from : step;
        struct slice bytes = slice_make(self->wire.data + from, size);
        if (to_server)
            http_conn_receive(self->conn, bytes);
        else
            http_client_receive(self->client, bytes);
    }
    buf_clear(&self->wire);
}

/* Until both are silent. */
static void pump(struct fixture *self) {
    bool is_moving = true;
    for (int i = 0; is_moving; i++) {
        assert_true(i < 100000);
        is_moving = http_client_produce(self->client, &self->wire, 4096) || self->wire.len != 0;
        carry(self, true);
        is_moving |= http_conn_produce(self->conn, &self->wire, 4096) || self->wire.len != 0;
        carry(self, false);
    }
}

static void open_pair(struct fixture *self, uint32_t client_window) {
    self->server = http_server_new(&self->options);
    struct http_conn_info info = {.peer = "127.0.0.1:9"};
    self->conn = http_conn_new(self->server, &self->conn_owner, &info);
    struct http_client_options options = {.env = &self->env.env, .stream_window_bytes = client_window};
    self->client = http_client_new(&options, &self->client_owner);
}

static void close_pair(struct fixture *self) {
    http_client_free(self->client);
    http_conn_free(self->conn);
    http_server_free(self->server);
    self->client = NULL;
    self->conn = NULL;
    self->server = NULL;
}

static int setup(void **state) {
    struct fixture *self = NEW(struct fixture);
    fake_env_init(&self->env);
    self->options = (struct http_server_options){.env = &self->env.env, .on_request = on_request, .context = self};
    self->options.keepalive_min_ns = 5 * NS_PER_SECOND;
    self->conn_owner.want_flush = conn_flush;
    self->client_owner.want_flush = client_flush;
    open_pair(self, 0);
    *state = self;
    return 0;
}

static int teardown(void **state) {
    struct fixture *self = *state;
    close_pair(self);
    for (size_t i = 0; i < EXCHANGES_MAX; i++) {
        buf_release(&self->exchanges[i].body);
        buf_release(&self->exchanges[i].trailers);
    }
    buf_release(&self->wire);
    assert_true(fake_env_release(&self->env));
    mem_free(self);
    return 0;
}

static void assert_hello(struct exchange *exchange) {
    assert_true(exchange->is_closed);
    assert_int_equal(exchange->why, HTTP_CLOSE_DONE);
    assert_int_equal(exchange->status, 201);
    assert_string_equal(buf_cstr(&exchange->body), "hello world");
    assert_string_equal(buf_cstr(&exchange->trailers), "sum: 42\n");
}

static void a_request_is_answered(void **state) {
    struct fixture *self = *state;
    struct exchange *exchange = start(self, 0, "/", true);
    pump(self);
    assert_hello(exchange);
    assert_true(http_conn_is_http2(self->conn));
    assert_true(http_client_is_ready(self->client));
    assert_int_equal(http_conn_open_requests(self->conn), 0);
    assert_int_equal(http_conn_queued_bytes(self->conn), 0);
}

static void every_cut_of_the_wire_gives_the_same(void **state) {
    struct fixture *self = *state;
    for (self->cut = 1; self->cut < 120; self->cut++) {
        for (size_t i = 0; i < 3; i++) {
            start(self, i, "/", false);
            http_exchange_write(self->exchanges[i].handle, SLICE_LITERAL("body"), true);
        }
        pump(self);
        for (size_t i = 0; i < 3; i++) assert_hello(&self->exchanges[i]);
        close_pair(self);
        open_pair(self, 0);
    }
}

static void many_streams_share_a_connection(void **state) {
    struct fixture *self = *state;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < EXCHANGES_MAX; i++) start(self, i, "/", true);
        pump(self);
        for (size_t i = 0; i < EXCHANGES_MAX; i++) assert_hello(&self->exchanges[i]);
    }
}

static void a_long_reply_follows_the_clients_window(void **state) {
    struct fixture *self = *state;
    close_pair(self);
    open_pair(self, 65535);
    self->to_produce = 1000000;
    struct exchange *exchange = start(self, 0, "/produce", true);
    http_exchange_pause(exchange->handle, true);
    pump(self);
    assert_int_equal(exchange->body.len, 65535);
    assert_true(self->produced <= 65535 + 16384 + 1000);
    assert_false(self->producer_is_done);
    http_exchange_pause(exchange->handle, false);
    pump(self);
    assert_int_equal(exchange->body.len, 1000000);
    assert_true(self->producer_is_done);
    assert_int_equal(exchange->why, HTTP_CLOSE_DONE);
}

/* However far the other side's windows reach. */
static void one_produce_gives_no_more_than_its_budget(void **state) {
    struct fixture *self = *state;
    close_pair(self);
    open_pair(self, 1 << 30);
    const size_t budget = 50000, frame = 9 + 16384, total = 1000000;
    self->to_produce = total;
    struct exchange *exchange = start(self, 0, "/produce", true);
    http_client_produce(self->client, &self->wire, budget);
    carry(self, true);
    size_t turns = 0;
    for (bool has_more = true; has_more; turns++) {
        has_more = http_conn_produce(self->conn, &self->wire, budget);
        assert_true(self->wire.len < budget + frame);
        assert_true(self->produced < (turns + 1) * (budget + frame) + frame);
        carry(self, false);
    }
    assert_true(turns > total / (budget + frame));
    assert_int_equal(exchange->body.len, total);
    assert_int_equal(exchange->why, HTTP_CLOSE_DONE);

    pump(self);
    start(self, 0, "/keep", false);
    uint8_t *bytes = NEW_ARRAY(uint8_t, total);
    http_exchange_write(self->exchanges[0].handle, slice_make(bytes, total), true);
    mem_free(bytes);
    bool has_more = http_client_produce(self->client, &self->wire, budget);
    assert_true(has_more && self->wire.len >= budget && self->wire.len < budget + frame);
    pump(self);
    assert_int_equal(self->body_bytes, total);
    http_reply_full(self->kept, 200, NULL, 0, SLICE_NONE);
}

static void a_producer_that_fails_resets_the_stream(void **state) {
    struct fixture *self = *state;
    self->to_produce = 1000000;
    self->producer_fails = true;
    struct exchange *exchange = start(self, 0, "/produce", true);
    pump(self);
    assert_true(self->producer_is_done);
    assert_int_equal(exchange->why, HTTP_CLOSE_RESET);
    assert_int_equal(exchange->code, NGHTTP2_INTERNAL_ERROR);
}

static void a_cancelled_reply_ends_its_producer(void **state) {
    struct fixture *self = *state;
    close_pair(self);
    open_pair(self, 65535);
    self->to_produce = 1000000;
    struct exchange *exchange = start(self, 0, "/produce", true);
    http_exchange_pause(exchange->handle, true);
    pump(self);
    http_exchange_cancel(exchange->handle);
    pump(self);
    assert_int_equal(exchange->why, HTTP_CLOSE_CANCELLED);
    assert_true(self->producer_is_done);
    assert_int_equal(http_conn_queued_bytes(self->conn), 0);
}

static void a_reset_by_the_client_is_a_hint(void **state) {
    struct fixture *self = *state;
    struct exchange *exchange = start(self, 0, "/keep", true);
    pump(self);
    http_exchange_cancel(exchange->handle);
    pump(self);
    assert_int_equal(self->cancelled, 1);
    assert_int_equal(http_conn_open_requests(self->conn), 0);
    assert_string_equal(self->kept->peer, "127.0.0.1:9");
    http_reply_full(self->kept, 200, NULL, 0, SLICE_LITERAL("dropped"));
}

static void a_lost_connection_cancels_every_request(void **state) {
    struct fixture *self = *state;
    for (size_t i = 0; i < 3; i++) {
        start(self, i, "/keep", true);
        pump(self);
        if (i < 2) http_request_abort(self->kept, 0);
    }
    http_conn_free(self->conn);
    self->conn = NULL;
    assert_int_equal(self->cancelled, 1); /* the other two had been ended */
    http_request_abort(self->kept, 0);
    http_client_free(self->client);
    self->client = NULL;
    for (size_t i = 0; i < 3; i++) assert_int_equal(self->exchanges[i].why, i < 2 ? HTTP_CLOSE_RESET : HTTP_CLOSE_LOST);
}

static void a_held_request_outlives_its_end(void **state) {
    struct fixture *self = *state;
    start(self, 0, "/keep", true);
    pump(self);
    http_request_hold(self->kept);
    http_reply_full(self->kept, 200, NULL, 0, SLICE_NONE);
    pump(self);
    assert_int_equal(http_conn_open_requests(self->conn), 0);
    assert_true(slice_equal_cstr(self->kept->target, "/keep"));
    http_request_release(self->kept);
}

static void an_early_answer_stops_the_upload(void **state) {
    struct fixture *self = *state;
    struct exchange *exchange = start(self, 0, "/", false);
    http_exchange_write(exchange->handle, SLICE_LITERAL("unfinished"), false);
    pump(self);
    assert_hello(exchange);
    assert_int_equal(exchange->code, NGHTTP2_NO_ERROR);
}

static void an_aborted_request_is_reset(void **state) {
    struct fixture *self = *state;
    struct exchange *exchange = start(self, 0, "/keep", true);
    pump(self);
    http_request_abort(self->kept, 2);
    pump(self);
    assert_int_equal(exchange->why, HTTP_CLOSE_RESET);
    assert_int_equal(exchange->code, 2);
}

static void unconsumed_body_stops_at_the_window(void **state) {
    struct fixture *self = *state;
    self->holds_body = true;
    struct exchange *exchange = start(self, 0, "/keep", false);
    struct buf lump = BUF_INIT;
    memset(buf_extend(&lump, 600000), 'x', 600000);
    http_exchange_write(exchange->handle, buf_slice(&lump), true);
    buf_release(&lump);
    pump(self);
    assert_int_equal(self->body_bytes, HTTP_STREAM_WINDOW);
    http_request_consume(self->kept, self->body_bytes);
    pump(self);
    assert_int_equal(self->body_bytes, 2 * HTTP_STREAM_WINDOW);
    http_request_consume(self->kept, HTTP_STREAM_WINDOW);
    self->holds_body = false;
    pump(self);
    assert_int_equal(self->body_bytes, 600000);
    assert_int_equal(self->ended, 1);
    http_reply_full(self->kept, 200, NULL, 0, SLICE_NONE);
}

static void the_connection_window_never_runs_dry(void **state) {
    struct fixture *self = *state;
    struct buf lump = BUF_INIT;
    memset(buf_extend(&lump, 200000), 'x', 200000);
    for (int i = 0; i < 100; i++) { /* 20 MB through a window of 4 MB */
        struct exchange *exchange = start(self, 0, "/", false);
        http_exchange_write(exchange->handle, buf_slice(&lump), true);
        pump(self);
        assert_true(exchange->is_closed);
    }
    buf_release(&lump);
    assert_hello(&self->exchanges[0]);
}

static void writes_drain_and_say_so(void **state) {
    struct fixture *self = *state;
    start(self, 0, "/keep", true);
    pump(self);
    struct buf lump = BUF_INIT;
    memset(buf_extend(&lump, 100000), 'x', 100000);
    http_reply(self->kept, 200, NULL, 0);
    http_reply_write(self->kept, buf_slice(&lump));
    buf_release(&lump);
    assert_int_equal(http_reply_queued_bytes(self->kept), 100000);
    assert_int_equal(http_conn_queued_bytes(self->conn), 100000);
    pump(self);
    assert_int_equal(self->writable, 1);
    assert_int_equal(http_reply_queued_bytes(self->kept), 0);
    http_reply_write(self->kept, SLICE_LITERAL("end"));
    http_reply_end(self->kept, NULL, 0);
    pump(self);
    assert_int_equal(self->exchanges[0].body.len, 100003);
    assert_int_equal(self->exchanges[0].why, HTTP_CLOSE_DONE);
}

static void stop_drains_and_then_finishes(void **state) {
    struct fixture *self = *state;
    struct exchange *exchange = start(self, 0, "/keep", true);
    pump(self);
    http_conn_stop(self->conn);
    pump(self);
    assert_true(http_client_is_draining(self->client));
    assert_null(start(self, 1, "/", true)->handle);
    assert_false(http_conn_is_finished(self->conn));
    http_reply_full(self->kept, 200, NULL, 0, SLICE_LITERAL("last"));
    pump(self);
    assert_int_equal(exchange->why, HTTP_CLOSE_DONE);
    assert_true(http_conn_is_finished(self->conn));
    assert_true(http_client_is_finished(self->client));
}

static void streams_beyond_the_announced_limit_wait(void **state) {
    struct fixture *self = *state;
    close_pair(self);
    self->options.max_concurrent_streams = 2;
    open_pair(self, 0);
    pump(self); /* SETTINGS */
    for (size_t i = 0; i < 4; i++) start(self, i, i == 0 ? "/keep" : "/", true);
    pump(self);
    for (size_t i = 1; i < 4; i++) assert_hello(&self->exchanges[i]);
    http_reply_full(self->kept, 200, NULL, 0, SLICE_NONE);
}

/* One header line of 3000 bytes, then 400 references to it of one byte each. */
static void too_many_header_bytes_reset_the_stream(void **state) {
    struct fixture *self = *state;
    pump(self);
    static const uint8_t begin[] = {0x83, 0x86, 0x84, 0x40, 1, 'x', 0x7f, 0xb9, 0x16}; /* POST http / ; x: 3000 bytes */
    size_t len = sizeof begin + 3000 + 400;
    struct buf frame = BUF_INIT;
    const uint8_t head[] = {0, (uint8_t)(len >> 8), (uint8_t)len, 1, 5, 0, 0, 0, 1};
    buf_append(&frame, head, sizeof head);
    buf_append(&frame, begin, sizeof begin);
    memset(buf_extend(&frame, 3000), 'v', 3000);
    memset(buf_extend(&frame, 400), 0xbe, 400);
    http_conn_receive(self->conn, buf_slice(&frame));
    buf_release(&frame);
    buf_clear(&self->wire);
    http_conn_produce(self->conn, &self->wire, 4096);
    static const uint8_t reset[] = {0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, NGHTTP2_FRAME_SIZE_ERROR};
    assert_non_null(memmem(self->wire.data, self->wire.len, reset, sizeof reset));
    buf_clear(&self->wire);
    assert_int_equal(self->requests, 0);
    assert_int_equal(http_conn_open_requests(self->conn), 0);
    assert_false(http_conn_is_finished(self->conn));
}

/* A client that does what ours does not. */
static void send_raw_ping(struct fixture *self) {
    static const uint8_t ping[] = {0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    http_conn_receive(self->conn, slice_make(ping, sizeof ping));
}

static void pings_too_often_end_the_connection(void **state) {
    struct fixture *self = *state;
    start(self, 0, "/keep", true);
    pump(self);
    for (int i = 0; i < 3; i++) { /* the first is free, then two strikes */
        send_raw_ping(self);
        fake_env_advance(&self->env, 4 * NS_PER_SECOND);
        pump(self);
        assert_false(http_conn_is_finished(self->conn));
    }
    send_raw_ping(self);
    pump(self);
    assert_true(http_conn_is_finished(self->conn));
    assert_string_equal(http_client_goaway_text(self->client), "too_many_pings");
    http_request_abort(self->kept, 0);
}

static void pings_in_time_are_welcome(void **state) {
    struct fixture *self = *state;
    start(self, 0, "/keep", true);
    pump(self);
    for (int i = 0; i < 50; i++) {
        send_raw_ping(self);
        fake_env_advance(&self->env, 5 * NS_PER_SECOND);
        pump(self);
    }
    assert_false(http_conn_is_finished(self->conn));
    http_request_abort(self->kept, 0);
}

static void pings_without_streams_have_a_stricter_limit(void **state) {
    struct fixture *self = *state;
    pump(self);
    for (int i = 0; i < 4; i++) {
        assert_false(http_conn_is_finished(self->conn));
        send_raw_ping(self);
        fake_env_advance(&self->env, 3600 * NS_PER_SECOND);
        pump(self);
    }
    assert_true(http_conn_is_finished(self->conn));
}

static void answers_between_pings_forgive(void **state) {
    struct fixture *self = *state;
    pump(self);
    for (int i = 0; i < 50; i++) {
        send_raw_ping(self);
        start(self, 0, "/", true);
        pump(self);
    }
    assert_false(http_conn_is_finished(self->conn));
}

static void rapid_resets_end_the_connection(void **state) {
    struct fixture *self = *state;
    pump(self);
    size_t count = 0;
    while (!http_conn_is_finished(self->conn) && !http_client_is_finished(self->client) &&
           start(self, 0, "/keep", true)->handle != NULL) {
        pump(self);
        http_exchange_cancel(self->exchanges[0].handle);
        pump(self);
        http_request_abort(self->kept, 0);
        count++;
        assert_true(count <= HTTP_RESET_BURST + 200);
    }
    assert_true(count >= HTTP_RESET_BURST);
}

static void a_silent_client_is_pinged_and_then_left(void **state) {
    struct fixture *self = *state;
    close_pair(self);
    self->options.keepalive_interval_ns = 100 * NS_PER_SECOND;
    self->options.keepalive_timeout_ns = 20 * NS_PER_SECOND;
    open_pair(self, 0);
    pump(self);
    for (int i = 0; i < 10; i++) { /* it answers */
        fake_env_advance(&self->env, 110 * NS_PER_SECOND);
        pump(self);
    }
    assert_false(http_conn_is_finished(self->conn));
    fake_env_advance(&self->env, 100 * NS_PER_SECOND);
    fake_env_advance(&self->env, 19 * NS_PER_SECOND);
    assert_false(http_conn_is_finished(self->conn));
    fake_env_advance(&self->env, NS_PER_SECOND);
    assert_true(http_conn_is_finished(self->conn));
}

static void settings_without_end_break_the_connection(void **state) {
    struct fixture *self = *state;
    pump(self);
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    size_t count = 0;
    while (http_conn_wants_read(self->conn)) { /* each wants an acknowledgement, none is fetched */
        http_conn_receive(self->conn, slice_make(settings, sizeof settings));
        assert_true(++count <= HTTP_CONTROL_QUEUE_MAX + 10);
    }
    assert_true(count > HTTP_CONTROL_QUEUE_MAX - 10);
    http_conn_produce(self->conn, &self->wire, 1 << 20);
    buf_clear(&self->wire);
    assert_true(http_conn_is_finished(self->conn));
}

static void a_silent_server_is_pinged_and_then_left(void **state) {
    struct fixture *self = *state;
    http_client_free(self->client);
    http_conn_free(self->conn);
    struct http_conn_info info = {.peer = "p"};
    self->conn = http_conn_new(self->server, &self->conn_owner, &info);
    struct http_client_options options = {
        .env = &self->env.env, .keepalive_interval_ns = 10 * NS_PER_SECOND, .keepalive_timeout_ns = 3 * NS_PER_SECOND};
    self->client = http_client_new(&options, &self->client_owner);
    start(self, 0, "/keep", true);
    pump(self);
    for (int i = 0; i < 10; i++) { /* it answers */
        fake_env_advance(&self->env, 11 * NS_PER_SECOND);
        pump(self);
    }
    assert_false(http_client_is_finished(self->client));
    fake_env_advance(&self->env, 22 * NS_PER_SECOND);
    assert_true(http_client_is_finished(self->client));
    http_request_abort(self->kept, 0);
}

static void a_broken_preface_is_not_answered_for_long(void **state) {
    struct fixture *self = *state;
    http_conn_receive(self->conn, SLICE_LITERAL("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"));
    http_conn_produce(self->conn, &self->wire, 4096);
    assert_true(http_conn_is_finished(self->conn));
    buf_clear(&self->wire);
}

static void garbage_after_the_preface_ends_in_goaway(void **state) {
    struct fixture *self = *state;
    pump(self);
    uint8_t garbage[64];
    memset(garbage, 0xff, sizeof garbage);
    http_conn_receive(self->conn, slice_make(garbage, sizeof garbage));
    http_conn_produce(self->conn, &self->wire, 4096);
    assert_true(http_conn_is_finished(self->conn));
    buf_clear(&self->wire);
}

static void unsent_requests_are_known_to_be_unsent(void **state) {
    struct fixture *self = *state;
    struct exchange *sent = start(self, 0, "/keep", true);
    pump(self);
    struct exchange *unsent = start(self, 1, "/keep", true);
    http_client_free(self->client);
    self->client = NULL;
    assert_int_equal(sent->why, HTTP_CLOSE_LOST);
    assert_int_equal(unsent->why, HTTP_CLOSE_REFUSED);
    http_request_abort(self->kept, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered),
        TEST(every_cut_of_the_wire_gives_the_same),
        TEST(many_streams_share_a_connection),
        TEST(a_long_reply_follows_the_clients_window),
        TEST(one_produce_gives_no_more_than_its_budget),
        TEST(a_producer_that_fails_resets_the_stream),
        TEST(a_cancelled_reply_ends_its_producer),
        TEST(a_reset_by_the_client_is_a_hint),
        TEST(a_lost_connection_cancels_every_request),
        TEST(a_held_request_outlives_its_end),
        TEST(an_early_answer_stops_the_upload),
        TEST(an_aborted_request_is_reset),
        TEST(unconsumed_body_stops_at_the_window),
        TEST(the_connection_window_never_runs_dry),
        TEST(writes_drain_and_say_so),
        TEST(stop_drains_and_then_finishes),
        TEST(streams_beyond_the_announced_limit_wait),
        TEST(too_many_header_bytes_reset_the_stream),
        TEST(pings_too_often_end_the_connection),
        TEST(pings_in_time_are_welcome),
        TEST(pings_without_streams_have_a_stricter_limit),
        TEST(answers_between_pings_forgive),
        TEST(rapid_resets_end_the_connection),
        TEST(a_silent_client_is_pinged_and_then_left),
        TEST(settings_without_end_break_the_connection),
        TEST(a_silent_server_is_pinged_and_then_left),
        TEST(a_broken_preface_is_not_answered_for_long),
        TEST(garbage_after_the_preface_ends_in_goaway),
        TEST(unsent_requests_are_known_to_be_unsent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
