/* HTTP/1.1 on the server side, byte for byte. */
#include "http/server.h"

#include "fake_env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct fake_env env;
    struct http_server *server;
    struct http_conn *conn;
    struct http_conn_owner owner;
    struct buf output;
    struct http_request *kept; /* by the handler of /later */
    size_t cancelled;
    size_t requests;
    size_t body_bytes;
    size_t written_bytes; /* by /stream */
    bool holds_body;
    struct http_producer producer;
    size_t produced;
    bool producer_is_done;
    bool producer_waits;
};

static void on_flush(struct http_conn_owner *owner) {}

/* /echo: the body comes back when it is complete. */
static void echo_body(struct http_request *request, struct slice bytes) {
    buf_append_slice(request->context, bytes);
    http_request_consume(request, bytes.len);
}

static void echo_end(struct http_request *request) {
    struct buf *body = request->context;
    const struct http_header type = HTTP_HEADER("content-type", "text/plain");
    http_reply_full(request, 200, &type, 1, buf_slice(body));
    buf_release(body);
    mem_free(body);
}

static void echo_cancel(struct http_request *request) {
    struct buf *body = request->context;
    buf_release(body);
    mem_free(body);
    http_request_abort(request, 0);
}

static const struct http_request_handler echo_handler = {echo_body, echo_end, echo_cancel, NULL};

static void later_cancel(struct http_request *request) { ((struct fixture *)request->context)->cancelled++; }

static void later_body(struct http_request *request, struct slice bytes) {
    struct fixture *fixture = request->context;
    fixture->body_bytes += bytes.len;
    if (!fixture->holds_body) http_request_consume(request, bytes.len);
}

static const struct http_request_handler later_handler = {later_body, NULL, later_cancel, NULL};

static enum http_pull pull_letters(struct http_producer *producer, size_t want_bytes, struct http_piece *ret_piece) {
    struct fixture *fixture = CONTAINER_OF(producer, struct fixture, producer);
    static const char letters[] = "abcdefghij";
    if (fixture->producer_waits) return HTTP_PULL_WAIT;
    if (fixture->produced == 3) return HTTP_PULL_END;
    fixture->produced++;
    *ret_piece = http_piece_kept(slice_make(letters, 10));
    return HTTP_PULL_PIECE;
}

static void letters_done(struct http_producer *producer) {
    CONTAINER_OF(producer, struct fixture, producer)->producer_is_done = true;
}

static void on_request(void *context, struct http_request *request) {
    struct fixture *fixture = context;
    struct slice path = http_request_path(request);
    fixture->requests++;
    if (slice_equal_cstr(path, "/echo")) {
        http_request_handle(request, &echo_handler, NEW(struct buf));
    } else if (slice_equal_cstr(path, "/later")) {
        http_request_handle(request, &later_handler, fixture);
        fixture->kept = request;
    } else if (slice_equal_cstr(path, "/chunks")) {
        http_reply(request, 200, NULL, 0);
        fixture->producer = (struct http_producer){pull_letters, letters_done};
        http_reply_produce(request, &fixture->producer);
        const struct http_header trailer = HTTP_HEADER("x-sum", "30");
        http_reply_end(request, &trailer, 1);
    } else if (slice_equal_cstr(path, "/abort")) {
        http_request_abort(request, 2);
    } else {
        struct buf text = BUF_INIT;
        struct slice query = http_request_query(request), host = request->authority;
        buf_printf(&text, "%.*s %.*s?%.*s host=%.*s", (int)request->method.len, (const char *)request->method.data,
                   (int)path.len, (const char *)path.data, (int)query.len, (const char *)query.data, (int)host.len,
                   (const char *)host.data);
        http_reply_full(request, 200, NULL, 0, buf_slice(&text));
        buf_release(&text);
    }
}

static void open_conn(struct fixture *self) {
    struct http_conn_info info = {.peer = "127.0.0.1:9"};
    self->conn = http_conn_new(self->server, &self->owner, &info);
}

static int setup(void **state) {
    struct fixture *self = NEW(struct fixture);
    fake_env_init(&self->env);
    struct http_server_options options = {.env = &self->env.env, .on_request = on_request, .context = self};
    self->server = http_server_new(&options);
    self->owner.want_flush = on_flush;
    open_conn(self);
    *state = self;
    return 0;
}

static int teardown(void **state) {
    struct fixture *self = *state;
    http_conn_free(self->conn);
    http_server_free(self->server);
    assert_true(fake_env_release(&self->env));
    buf_release(&self->output);
    mem_free(self);
    return 0;
}

static void produce(struct fixture *self) {
    while (http_conn_produce(self->conn, &self->output, 64)) {
    }
}

static void feed(struct fixture *self, const char *text) {
    http_conn_receive(self->conn, slice_from_cstr(text));
    produce(self);
}

/* Everything sent since the last time, without the Date line. */
static void expect(struct fixture *self, const char *text) {
    char *date = strstr(buf_cstr(&self->output), "Date: ");
    while (date != NULL) {
        char *end = strchr(date, '\n') + 1;
        memmove(date, end, strlen(end) + 1);
        date = strstr(date, "Date: ");
    }
    assert_string_equal((const char *)self->output.data, text);
    buf_clear(&self->output);
}

static void restart(struct fixture *self) {
    http_conn_free(self->conn);
    buf_clear(&self->output);
    open_conn(self);
}

#define REPLY(body, length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" body

static void answers_and_keeps_the_connection(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(self, REPLY("GET /a?x=1 host=h", "17"));
    feed(self, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(self, REPLY("GET /b? host=h", "14"));
    assert_false(http_conn_is_finished(self->conn));
}

static void sends_the_date(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(strstr(buf_cstr(&self->output), "Date: Sat, 21 Nov 2026 01:09:45 GMT\r\n"));
}

static void closes_when_asked(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    expect(self, "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\nGET /a? host=h");
    assert_true(http_conn_is_finished(self->conn));
}

static void http_1_0_closes_unless_kept_alive(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /a HTTP/1.0\r\n\r\n");
    expect(self, "HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\nGET /a? host=");
    assert_true(http_conn_is_finished(self->conn));
    restart(self);
    feed(self, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(self, "HTTP/1.0 200 OK\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\nGET /a? host=");
    assert_false(http_conn_is_finished(self->conn));
}

static void pipelined_requests_are_answered_in_order(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\nPOST /echo HTTP/1.1\r\nHost: "
               "h\r\nContent-Length: 2\r\n\r\nhi");
    expect(self, "");
    assert_int_equal(self->requests, 1);
    http_reply_full(self->kept, 200, NULL, 0, SLICE_LITERAL("first"));
    produce(self);
    expect(self, REPLY("first", "5")
                     REPLY("GET /b? host=h",
                           "14") "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi");
}

static const char mixed_input[] =
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: "
    "1\r\n\r\nGET /chunks HTTP/1.1\r\nHost: h\r\n\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    "GET /z HTTP/1.1\r\nhOST:   spaced  \r\n\r\n";
static const char mixed_output[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello world"
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\nabcdefghijabcdefghijabcdefghij\r\n0\r\nX-Sum: "
    "30\r\n\r\n"
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc"
    "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nGET /z? host=spaced";

static void every_cut_of_the_input_gives_the_same_answers(void **state) {
    struct fixture *self = *state;
    size_t len = sizeof mixed_input - 1;
    for (size_t step = 1; step <= len; step++) {
        self->produced = 0;
        for (size_t from = 0; from < len; from += step) {
            size_t size = len - from < step ? len - from : step;
            http_conn_receive(self->conn, slice_make(mixed_input + from, size));
            while (http_conn_produce(self->conn, &self->output, 1024)) {
            }
        }
        expect(self, mixed_output);
        restart(self);
    }
}

static void small_budgets_cut_chunks_but_not_content(void **state) {
    struct fixture *self = *state;
    http_conn_receive(self->conn, SLICE_LITERAL("GET /chunks HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_true(http_conn_produce(self->conn, &self->output, 1));
    while (http_conn_produce(self->conn, &self->output, 7)) {
    }
    assert_true(self->producer_is_done);
    assert_non_null(strstr(buf_cstr(&self->output), "\r\n0\r\nX-Sum: 30\r\n\r\n"));
}

static void a_producer_may_wait(void **state) {
    struct fixture *self = *state;
    self->producer_waits = true;
    feed(self, "GET /chunks HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(self, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    self->producer_waits = false;
    http_conn_receive(self->conn, SLICE_NONE);
    assert_false(self->producer_is_done);
}

static void requests_that_make_no_sense_are_answered_as_go_does(void **state) {
    static const struct {
        const char *input, *output;
    } cases[] = {
        {"GET /v HTTP/1.1\r\n\r\n",
         "HTTP/1.1 400 Bad Request: missing required Host header\r\nContent-Type: text/plain; "
         "charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request: missing required Host header"},
        {"GET /v HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad "
         "Request"},
        {"GET /v HTTP/3.0\r\nHost: a\r\n\r\n", ""},
        {"GARBAGE\r\n\r\n", ""},
        {"\r\nGET /v HTTP/1.1\r\nHost: a\r\n\r\n", ""},
        {"GET /v HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad "
         "Request"},
        {"GET /%zz HTTP/1.1\r\nHost: b\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad "
         "Request"},
        {"POST /v HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad "
         "Request"},
        {"POST /v HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
         "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: "
         "close\r\n\r\nUnsupported transfer encoding"},
    };
    struct fixture *self = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        feed(self, cases[i].input);
        expect(self, cases[i].output);
        assert_true(http_conn_is_finished(self->conn));
        restart(self);
    }
    assert_int_equal(self->requests, 0);
}

static void odd_but_legal_requests_reach_the_handler(void **state) {
    struct fixture *self = *state;
    feed(self, "get /v HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(self, REPLY("get /v? host=a", "14"));
    feed(self, "GET http://a/version HTTP/1.1\r\nHost: b\r\n\r\n");
    expect(self, REPLY("GET /version? host=a", "20"));
    feed(self, "GET /v HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: "
               "AAMAAABkAAQAAP__\r\n\r\n");
    expect(self, REPLY("GET /v? host=a", "14"));
}

static void head_has_no_body(void **state) {
    struct fixture *self = *state;
    feed(self, "HEAD /v HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(self, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n");
}

static void expects_continue(void **state) {
    struct fixture *self = *state;
    feed(self, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    expect(self, "HTTP/1.1 100 Continue\r\n\r\n");
    feed(self, "ok");
    expect(self, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok");
}

static void headers_beyond_the_limit_are_refused(void **state) {
    struct fixture *self = *state;
    http_conn_receive(self->conn, SLICE_LITERAL("GET /v HTTP/1.1\r\nHost: a\r\nX: "));
    char lump[4096];
    memset(lump, 'x', sizeof lump);
    for (size_t sent = 0; sent <= HTTP1_HEADER_MAX; sent += sizeof lump)
        http_conn_receive(self->conn, slice_make(lump, sizeof lump));
    produce(self);
    assert_int_equal(memcmp(self->output.data, "HTTP/1.1 431 ", 13), 0);
    assert_true(http_conn_is_finished(self->conn));
}

static void many_header_lines_are_refused(void **state) {
    struct fixture *self = *state;
    http_conn_receive(self->conn, SLICE_LITERAL("GET /v HTTP/1.1\r\nHost: a\r\n"));
    for (int i = 0; i <= HTTP1_HEADER_MAX / 34; i++) http_conn_receive(self->conn, SLICE_LITERAL("a: b\r\n"));
    feed(self, "\r\n");
    assert_int_equal(self->requests, 0);
    assert_true(http_conn_is_finished(self->conn));
}

static void later_requests_wait_only_up_to_a_limit(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    static const char next[] = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    size_t count = 0;
    while (http_conn_wants_read(self->conn)) {
        http_conn_receive(self->conn, SLICE_LITERAL(next));
        count++;
        assert_true(count * (sizeof next - 1) <= HTTP1_PIPELINE_MAX + sizeof next);
    }
    http_reply_full(self->kept, 200, NULL, 0, SLICE_NONE);
    produce(self);
    assert_int_equal(self->requests, count + 1);
    assert_true(http_conn_wants_read(self->conn));
}

static void a_body_that_nobody_consumes_stops_the_sender(void **state) {
    struct fixture *self = *state;
    self->holds_body = true;
    feed(self, "POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n");
    char lump[4096];
    memset(lump, 'x', sizeof lump);
    while (http_conn_wants_read(self->conn)) http_conn_receive(self->conn, slice_make(lump, sizeof lump));
    assert_int_equal(self->body_bytes, HTTP_REQUEST_WINDOW_BYTES);
    http_request_consume(self->kept, 1);
    assert_true(http_conn_wants_read(self->conn));
    http_request_abort(self->kept, 0);
    produce(self);
    assert_true(http_conn_is_finished(self->conn));
}

static void a_lost_connection_cancels_and_the_reply_is_dropped(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    http_conn_free(self->conn);
    self->conn = NULL;
    assert_int_equal(self->cancelled, 1);
    assert_true(self->kept->is_cancelled);
    assert_string_equal(self->kept->peer, "127.0.0.1:9");
    http_reply_full(self->kept, 200, NULL, 0, SLICE_LITERAL("nobody reads this"));
}

static void the_clients_end_cancels_what_is_not_answered(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    http_conn_receive_end(self->conn);
    assert_int_equal(self->cancelled, 1);
    assert_true(http_conn_is_finished(self->conn));
    http_request_abort(self->kept, 0);
}

static void stop_lets_the_open_request_finish(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    http_conn_stop(self->conn);
    produce(self);
    assert_false(http_conn_is_finished(self->conn));
    http_reply_full(self->kept, 200, NULL, 0, SLICE_LITERAL("last"));
    produce(self);
    expect(self, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlast");
    assert_true(http_conn_is_finished(self->conn));
}

static void stop_ends_an_idle_connection(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    http_conn_stop(self->conn);
    assert_true(http_conn_is_finished(self->conn));
}

static void abort_closes_the_connection(void **state) {
    struct fixture *self = *state;
    feed(self, "GET /abort HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(self, "");
    assert_true(http_conn_is_finished(self->conn));
}

static void silence_is_cut_off(void **state) {
    struct fixture *self = *state;
    fake_env_advance(&self->env, INT64_C(300000000001));
    assert_true(http_conn_is_finished(self->conn));
    restart(self);
    feed(self, "GET /a HTTP/1.1\r\nHost");
    fake_env_advance(&self->env, INT64_C(300000000001));
    assert_true(http_conn_is_finished(self->conn));
    restart(self);
    feed(self, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_env_advance(&self->env, INT64_C(900000000001));
    assert_false(http_conn_is_finished(self->conn));
    http_request_abort(self->kept, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(answers_and_keeps_the_connection),
        TEST(sends_the_date),
        TEST(closes_when_asked),
        TEST(http_1_0_closes_unless_kept_alive),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(every_cut_of_the_input_gives_the_same_answers),
        TEST(small_budgets_cut_chunks_but_not_content),
        TEST(a_producer_may_wait),
        TEST(requests_that_make_no_sense_are_answered_as_go_does),
        TEST(odd_but_legal_requests_reach_the_handler),
        TEST(head_has_no_body),
        TEST(expects_continue),
        TEST(headers_beyond_the_limit_are_refused),
        TEST(many_header_lines_are_refused),
        TEST(later_requests_wait_only_up_to_a_limit),
        TEST(a_body_that_nobody_consumes_stops_the_sender),
        TEST(a_lost_connection_cancels_and_the_reply_is_dropped),
        TEST(the_clients_end_cancels_what_is_not_answered),
        TEST(stop_lets_the_open_request_finish),
        TEST(stop_ends_an_idle_connection),
        TEST(abort_closes_the_connection),
        TEST(silence_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
