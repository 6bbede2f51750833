/* Header blocks that a well-behaved client never sends, and blocks that come again and again. */
#include "http/server.h"

#include "fake_env.h"

#include <nghttp2/nghttp2.h>
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
    nghttp2_hd_deflater *deflater;
    struct buf output;
    struct buf seen; /* what the handler saw, in words */
    struct http_request *kept;
    size_t requests, ended;
    int32_t next_id;
};

static void on_flush(struct http_conn_owner *owner) {}
static void note_end(struct http_request *request) { ((struct fixture *)request->context)->ended++; }
static const struct http_request_handler handler = {.on_end = note_end};

static void on_request(void *context, struct http_request *request) {
    struct fixture *self = context;
    self->requests++;
    buf_clear(&self->seen);
    buf_printf(&self->seen, "%.*s %.*s %.*s", (int)request->method.len, (const char *)request->method.data,
               (int)request->target.len, (const char *)request->target.data, (int)request->authority.len,
               (const char *)request->authority.data);
    for (uint32_t i = 0; i < request->header_count; i++)
        buf_printf(&self->seen, " %.*s=%.*s", (int)request->headers[i].name.len,
                   (const char *)request->headers[i].name.data, (int)request->headers[i].value.len,
                   (const char *)request->headers[i].value.data);
    http_request_handle(request, &handler, self);
    self->kept = request;
}

static void feed_frame(struct fixture *self, uint8_t type, uint8_t flags, int32_t id, struct slice payload) {
    const uint8_t head[] = {
        (uint8_t)(payload.len >> 16), (uint8_t)(payload.len >> 8), (uint8_t)payload.len, type,       flags,
        (uint8_t)(id >> 24),          (uint8_t)(id >> 16),         (uint8_t)(id >> 8),   (uint8_t)id};
    struct buf frame = BUF_INIT;
    buf_append(&frame, head, sizeof head);
    buf_append_slice(&frame, payload);
    http_conn_receive(self->conn, buf_slice(&frame));
    buf_release(&frame);
}

static void open_conn(struct fixture *self) {
    struct http_conn_info info = {.peer = "p"};
    self->conn = http_conn_new(self->server, &self->owner, &info);
    assert_int_equal(nghttp2_hd_deflate_new(&self->deflater, 4096), 0);
    self->next_id = 1;
    http_conn_receive(self->conn, SLICE_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    feed_frame(self, NGHTTP2_SETTINGS, 0, 0, SLICE_NONE);
}

static void close_conn(struct fixture *self) {
    http_conn_free(self->conn);
    self->conn = NULL;
    if (self->kept != NULL) http_request_abort(TAKE(self->kept), 0);
    nghttp2_hd_deflate_del(self->deflater);
    buf_clear(&self->output);
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
    close_conn(self);
    http_server_free(self->server);
    assert_true(fake_env_release(&self->env));
    buf_release(&self->output);
    buf_release(&self->seen);
    mem_free(self);
    return 0;
}

/* `lines`: "name=value" separated by blanks. */
static int32_t send_headers(struct fixture *self, const char *lines, uint8_t flags, bool never_index) {
    nghttp2_nv headers[40];
    size_t count = 0;
    char *text = mem_strdup(lines);
    char *rest = text, *line;
    while ((line = strsep(&rest, " ")) != NULL) {
        char *equals = strchr(line + 1, '=');
        *equals = 0;
        headers[count++] = (nghttp2_nv){(uint8_t *)line, (uint8_t *)equals + 1, strlen(line), strlen(equals + 1),
                                        never_index ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
    }
    uint8_t block[4096];
    ssize_t len = nghttp2_hd_deflate_hd(self->deflater, block, sizeof block, headers, count);
    assert_true(len >= 0);
    mem_free(text);
    int32_t id = self->next_id;
    self->next_id += 2;
    feed_frame(self, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | flags, id, slice_make(block, (size_t)len));
    return id;
}

static void end_kept(struct fixture *self) {
    if (self->kept != NULL) http_reply_full(TAKE(self->kept), 200, NULL, 0, SLICE_NONE);
    while (http_conn_produce(self->conn, &self->output, 65536)) {
    }
}

/* RST_STREAM with that code is in the output. */
static bool is_reset(struct fixture *self, int32_t id, uint8_t code) {
    while (http_conn_produce(self->conn, &self->output, 65536)) {
    }
    const uint8_t reset[] = {0, 0, 4, NGHTTP2_RST_STREAM, 0, 0, 0, 0, (uint8_t)id, 0, 0, 0, code};
    return memmem(self->output.data, self->output.len, reset, sizeof reset) != NULL;
}

static void malformed_blocks_are_reset(void **state) {
    static const char *const blocks[] = {
        ":method=POST :scheme=http",                          /* no path */
        ":method=POST :path=/",                               /* no scheme */
        ":scheme=http :path=/",                               /* no method */
        ":method=CONNECT :authority=a:1",                     /* nowhere to connect to */
        ":method=POST :scheme=http :path=/ :path=/",          /* twice */
        ":method=POST :scheme=http :path=/ :status=200",      /* of a response */
        ":method=POST :scheme=http :path=/ :what=x",          /* unknown */
        ":method=POST :scheme=http x=y :path=/",              /* pseudo after plain */
        ":method=POST :scheme=http :path=/ Upper=x",          /* upper case */
        ":method=POST :scheme=http :path=/ connection=close", /* HTTP/1.1's */
        ":method=POST :scheme=http :path=/ transfer-encoding=chunked",
        ":method=POST :scheme=http :path=/ upgrade=h2c",
        ":method=POST :scheme=http :path=/ te=gzip",
        ":method=POST :scheme=http :path=/ content-length=1x",
        ":method=POST :scheme=http :path=/ content-length=1 content-length=2",
        ":method=POST :scheme=http :path=/ content-length=99999999999999999999",
        ":method=POST :scheme=http :path=/ x=a\x01"
        "b",
        ":method=PO\x7fST :scheme=http :path=/",
        ":method=POST :scheme=http :path=/a\x01",
        ":method=POST :scheme=http :path=",
        ":method=POST :scheme=http :path=/ :authority=a\x02",
    };
    struct fixture *self = *state;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        int32_t id = send_headers(self, blocks[i], NGHTTP2_FLAG_END_STREAM, false);
        if (!is_reset(self, id, NGHTTP2_PROTOCOL_ERROR)) print_error("not refused: %s\n", blocks[i]);
        assert_true(is_reset(self, id, NGHTTP2_PROTOCOL_ERROR));
        assert_int_equal(self->requests, 0);
        assert_int_equal(http_conn_open_requests(self->conn), 0);
        assert_false(http_conn_is_finished(self->conn));
        close_conn(self);
        open_conn(self);
    }
}

static void a_body_must_be_as_long_as_announced(void **state) {
    static const struct {
        const char *length;
        const char *body;
        bool is_good;
    } cases[] = {{"5", "hello", true}, {"5", "hell", false}, {"5", "hello!", false}, {"0", "x", false}};
    struct fixture *self = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char lines[100];
        snprintf(lines, sizeof lines, ":method=POST :scheme=http :path=/ content-length=%s", cases[i].length);
        int32_t id = send_headers(self, lines, 0, false);
        size_t ended = self->ended;
        feed_frame(self, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, id, slice_from_cstr(cases[i].body));
        assert_int_equal(is_reset(self, id, NGHTTP2_PROTOCOL_ERROR), !cases[i].is_good);
        assert_int_equal(self->ended - ended, cases[i].is_good);
        close_conn(self);
        open_conn(self);
    }
}

static void the_host_header_stands_in_for_the_authority(void **state) {
    struct fixture *self = *state;
    for (int i = 0; i < 3; i++) {
        send_headers(self, ":method=GET :scheme=http :path=/ host=h", NGHTTP2_FLAG_END_STREAM, false);
        assert_string_equal(buf_cstr(&self->seen), "GET / h host=h");
        end_kept(self);
    }
}

/* Each block in each place after each other one: whatever is remembered, the handler sees what was sent. */
static void blocks_that_come_again_read_the_same(void **state) {
    static const struct {
        const char *block, *seen;
    } cases[] = {
        {":method=POST :scheme=http :path=/put :authority=a te=trailers", "POST /put a te=trailers"},
        {":method=POST :scheme=http :path=/get :authority=a te=trailers", "POST /get a te=trailers"},
        {":method=POST :scheme=http :path=/put :authority=a", "POST /put a"},
        {":method=POST :scheme=http :path=/put :authority=a te=trailers x=1", "POST /put a te=trailers x=1"},
        {":method=POST :scheme=http :path=/put :authority=a te=trailers x=2", "POST /put a te=trailers x=2"},
        {":method=POST :scheme=http :path=/put :authority=b te=trailers x=1 y=", "POST /put b te=trailers x=1 y="},
    };
    enum { COUNT = sizeof cases / sizeof *cases };
    struct fixture *self = *state;
    for (int never_index = 0; never_index < 2; never_index++) {
        for (size_t i = 0; i < COUNT * COUNT * 12; i++) {
            size_t which = i % 7 < 3 ? (i / 7) % COUNT : (i / (7 * COUNT) + i) % COUNT; /* runs of one, then others */
            send_headers(self, cases[which].block, NGHTTP2_FLAG_END_STREAM, never_index);
            assert_string_equal(buf_cstr(&self->seen), cases[which].seen);
            end_kept(self);
            buf_clear(&self->output);
        }
        close_conn(self);
        open_conn(self);
    }
}

static void a_malformed_block_after_good_ones_is_still_reset(void **state) {
    struct fixture *self = *state;
    for (int i = 0; i < 4; i++) {
        send_headers(self, ":method=POST :scheme=http :path=/ :authority=a", NGHTTP2_FLAG_END_STREAM, false);
        end_kept(self);
    }
    static const char *const blocks[] = {
        ":method=POST :scheme=http :path=/", ":method=POST :scheme=http :path=/ :authority=a :path=/",
        ":method=POST :scheme=http :path=/ :authority=a Upper=x", ":method=POST :scheme=http"};
    size_t requests = self->requests;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        int32_t id = send_headers(self, blocks[i], NGHTTP2_FLAG_END_STREAM, false);
        bool is_good = i == 0; /* no authority: allowed */
        assert_int_equal(is_reset(self, id, NGHTTP2_PROTOCOL_ERROR), !is_good);
        if (is_good) end_kept(self);
    }
    assert_int_equal(self->requests, requests + 1);
}

static void remembered_headers_outlive_the_connection(void **state) {
    struct fixture *self = *state;
    for (int i = 0; i < 4; i++) {
        if (self->kept != NULL) end_kept(self);
        send_headers(self, ":method=POST :scheme=http :path=/kept :authority=a x=y", NGHTTP2_FLAG_END_STREAM, false);
    }
    struct http_request *request = TAKE(self->kept);
    close_conn(self);
    assert_true(slice_equal_cstr(request->target, "/kept"));
    assert_true(slice_equal_cstr(http_request_header(request, "x"), "y"));
    http_request_abort(request, 0);
    open_conn(self);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(malformed_blocks_are_reset),
        TEST(a_body_must_be_as_long_as_announced),
        TEST(the_host_header_stands_in_for_the_authority),
        TEST(blocks_that_come_again_read_the_same),
        TEST(a_malformed_block_after_good_ones_is_still_reset),
        TEST(remembered_headers_outlive_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
