/* The limits of server connections: what clients may make them hold, and who goes when it is too much. */
#include "http/client.h"
#include "http/server.h"

#include "base/check.h"
#include "fake_env.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define CONNS 6
#define MIB ((size_t)1024 * 1024)
#define FRAME_HEAD_BYTES 9

struct peer {
    struct http_conn *conn;
    struct http_conn_owner owner;
    bool is_given_up;
    struct buf output;
};

struct fixture {
    struct fake_env env;
    struct http_server *server;
    struct peer peers[CONNS];
    size_t requests, cancelled;
    struct http_request *kept;
    size_t reply_bytes; /* of each answer */
};

static void on_flush(struct http_conn_owner *owner) {}
static void on_give_up(struct http_conn_owner *owner) { CONTAINER_OF(owner, struct peer, owner)->is_given_up = true; }

static void on_cancel(struct http_request *request) {
    struct fixture *self = request->context;
    self->cancelled++;
    http_request_abort(request, 0);
}
static const struct http_request_handler handler = {.on_cancel = on_cancel};

static void on_request(void *context, struct http_request *request) {
    struct fixture *self = context;
    self->requests++;
    if (self->reply_bytes == 0) {
        http_request_handle(request, &handler, self);
        self->kept = request;
        return;
    }
    http_reply(request, 200, NULL, 0);
    uint8_t *bytes = mem_calloc(1, self->reply_bytes);
    http_reply_write_piece(request, (struct http_piece){slice_make(bytes, self->reply_bytes), mem_free, bytes});
    http_reply_end(request, NULL, 0);
}

static void receive_frame(struct peer *peer, uint8_t type, uint8_t flags, uint32_t stream, struct slice payload) {
    struct buf frame = BUF_INIT;
    const uint8_t head[FRAME_HEAD_BYTES] = {
        (uint8_t)(payload.len >> 16), (uint8_t)(payload.len >> 8), (uint8_t)payload.len,   type,           flags,
        (uint8_t)(stream >> 24),      (uint8_t)(stream >> 16),     (uint8_t)(stream >> 8), (uint8_t)stream};
    buf_append(&frame, head, sizeof head);
    buf_append_slice(&frame, payload);
    http_conn_receive(peer->conn, buf_slice(&frame));
    buf_release(&frame);
}

#define BLOCK SLICE_LITERAL("\x83\x86\x84") /* POST http / */
#define START_AND_END (NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM)

static void receive_request(struct peer *peer, uint32_t stream) {
    receive_frame(peer, NGHTTP2_HEADERS, START_AND_END, stream, BLOCK);
}

/* The last frame of that type that was sent: its payload. */
static bool find_frame(struct peer *peer, uint8_t type, struct slice *ret_payload) {
    bool found = false;
    for (size_t at = 0; at + FRAME_HEAD_BYTES <= peer->output.len;) {
        const uint8_t *head = peer->output.data + at;
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (head[3] == type) {
            *ret_payload = slice_make(head + FRAME_HEAD_BYTES, len);
            found = true;
        }
        at += FRAME_HEAD_BYTES + len;
    }
    return found;
}

static size_t count_frames(const struct peer *peer, uint8_t type) {
    size_t count = 0;
    for (size_t at = 0; at + FRAME_HEAD_BYTES <= peer->output.len;) {
        const uint8_t *head = peer->output.data + at;
        count += head[3] == type;
        at += FRAME_HEAD_BYTES + ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]);
    }
    return count;
}

static void produce(struct peer *peer) {
    while (http_conn_produce(peer->conn, &peer->output, MIB)) {
    }
}

static uint32_t last_code(struct slice payload) {
    const uint8_t *at = payload.data;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

#define RELIEF_NS INT64_C(1000000)

static int setup(void **state) {
    struct fixture *self = NEW(struct fixture);
    fake_env_init(&self->env);
    struct http_server_options options = {.env = &self->env.env, .on_request = on_request, .context = self};
    self->server = http_server_new(&options);
    for (size_t i = 0; i < CONNS; i++) {
        struct peer *peer = &self->peers[i];
        peer->owner = (struct http_conn_owner){.want_flush = on_flush, .give_up = on_give_up};
        struct http_conn_info info = {.peer = "127.0.0.1:9"};
        peer->conn = http_conn_new(self->server, &peer->owner, &info);
        http_conn_receive(peer->conn, SLICE_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        receive_frame(peer, NGHTTP2_SETTINGS, 0, 0, SLICE_NONE);
    }
    *state = self;
    return 0;
}

static int teardown(void **state) {
    struct fixture *self = *state;
    for (size_t i = 0; i < CONNS; i++) {
        http_conn_free(self->peers[i].conn);
        buf_release(&self->peers[i].output);
    }
    assert_int_equal(http_server_held_bytes(self->server), 0);
    http_server_free(self->server);
    assert_true(fake_env_release(&self->env));
    mem_free(self);
    return 0;
}

static void answers_that_nobody_reads_are_cut_off(void **state) {
    struct fixture *self = *state;
    struct peer *peer = &self->peers[0];
    self->reply_bytes = MIB;
    uint32_t count = (uint32_t)(HTTP_CONN_QUEUED_MAX / MIB);
    for (uint32_t i = 0; i < count + 10; i++) {
        receive_request(peer, 2 * i + 1);
        assert_true(http_conn_queued_bytes(peer->conn) <= HTTP_CONN_QUEUED_MAX + MIB);
    }
    produce(peer);
    assert_int_equal(count_frames(peer, NGHTTP2_RST_STREAM), 10);
    struct slice reset;
    assert_true(find_frame(peer, NGHTTP2_RST_STREAM, &reset));
    assert_int_equal(last_code(reset), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(http_conn_open_requests(peer->conn), count);
    assert_false(http_conn_is_finished(peer->conn));
}

static void the_greatest_holder_is_given_up_first(void **state) {
    struct fixture *self = *state;
    self->reply_bytes = MIB;
    size_t of_each = HTTP_SERVER_HELD_MAX / MIB / CONNS;
    for (uint32_t i = 0; i <= of_each; i++) receive_request(&self->peers[3], 2 * i + 1);
    for (size_t p = 0; p < CONNS; p++)
        for (uint32_t i = 0; p != 3 && i < of_each; i++) receive_request(&self->peers[p], 2 * i + 1);
    while (http_server_held_bytes(self->server) <= HTTP_SERVER_HELD_MAX)
        receive_request(&self->peers[3], 4 * (uint32_t)of_each + 1 + 2 * (uint32_t)self->requests);
    for (size_t p = 0; p < CONNS; p++) assert_false(self->peers[p].is_given_up); /* not from inside */
    fake_env_advance(&self->env, RELIEF_NS - 1);
    for (size_t p = 0; p < CONNS; p++) assert_false(self->peers[p].is_given_up);
    fake_env_advance(&self->env, 1);
    for (size_t p = 0; p < CONNS; p++) assert_int_equal(self->peers[p].is_given_up, p == 3);
    http_conn_free(TAKE(self->peers[3].conn));
    fake_env_advance(&self->env, RELIEF_NS);
    for (size_t p = 0; p < CONNS; p++) assert_int_equal(self->peers[p].is_given_up, p == 3);
    assert_true(http_server_held_bytes(self->server) < HTTP_SERVER_HELD_MAX);
}

/* Bytes that many replies refer to are there once, however many queues they wait in. */
static void shared_bytes_count_once(void **state) {
    struct fixture *self = *state;
    static uint8_t event[1000000];
    uint32_t queued = 0;
    struct http_request *requests[CONNS];
    for (size_t p = 0; p < CONNS; p++) {
        receive_request(&self->peers[p], 1);
        requests[p] = self->kept;
        http_reply(self->kept, 200, NULL, 0);
        struct http_piece piece = http_piece_kept(slice_make(event, sizeof event));
        piece.queued = &queued;
        http_reply_write_piece(self->kept, piece);
        assert_in_range(http_conn_held_bytes(self->peers[p].conn), sizeof event, sizeof event + 1000);
    }
    assert_int_equal(queued, CONNS);
    assert_in_range(http_server_held_bytes(self->server), sizeof event, sizeof event + CONNS * 1000);
    produce(&self->peers[0]); /* a window's worth of it */
    assert_int_equal(queued, CONNS);
    assert_true(http_conn_queued_bytes(self->peers[0].conn) < sizeof event);
    for (size_t p = 0; p < CONNS; p++) {
        assert_in_range(http_server_held_bytes(self->server), sizeof event, sizeof event + CONNS * 1000);
        http_request_abort(requests[p], NGHTTP2_CANCEL);
        assert_int_equal(queued, CONNS - 1 - p);
    }
    for (size_t p = 0; p < CONNS; p++) produce(&self->peers[p]);
    assert_int_equal(http_server_held_bytes(self->server), 0);
}

/* ---- producers ---- */

struct zeros {
    struct http_producer producer;
    size_t left_bytes;
    bool is_done;
};

static enum http_pull pull_zeros(struct http_producer *producer, size_t want_bytes, struct http_piece *ret_piece) {
    struct zeros *self = CONTAINER_OF(producer, struct zeros, producer);
    static const uint8_t zeros[1000];
    size_t len = self->left_bytes < sizeof zeros ? self->left_bytes : sizeof zeros;
    self->left_bytes -= len;
    *ret_piece = http_piece_kept(slice_make(zeros, len));
    return len != 0 ? HTTP_PULL_PIECE : HTTP_PULL_END;
}

static void zeros_done(struct http_producer *producer) {
    CONTAINER_OF(producer, struct zeros, producer)->is_done = true;
}

static void a_producer_whose_client_takes_nothing_is_ended(void **state) {
    struct fixture *self = *state;
    struct zeros zeros[2];
    for (size_t p = 0; p < 2; p++) {
        zeros[p] = (struct zeros){.producer = {pull_zeros, zeros_done}, .left_bytes = 10 * MIB};
        receive_request(&self->peers[p], 1);
        http_reply(self->kept, 200, NULL, 0);
        http_reply_produce(self->kept, &zeros[p].producer);
        http_reply_end(self->kept, NULL, 0);
        produce(&self->peers[p]);
    }
    for (int i = 0; i < 6; i++) { /* the second takes a little */
        assert_false(zeros[0].is_done);
        receive_frame(&self->peers[1], NGHTTP2_WINDOW_UPDATE, 0, 0, SLICE_LITERAL("\0\0\x10\0"));
        receive_frame(&self->peers[1], NGHTTP2_WINDOW_UPDATE, 0, 1, SLICE_LITERAL("\0\0\x10\0"));
        produce(&self->peers[1]);
        fake_env_advance(&self->env, HTTP_PRODUCER_STALL_NS / 6 + 1);
    }
    assert_true(zeros[0].is_done);
    assert_false(zeros[1].is_done);
    produce(&self->peers[0]);
    struct slice reset;
    assert_true(find_frame(&self->peers[0], NGHTTP2_RST_STREAM, &reset));
    assert_int_equal(last_code(reset), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(http_conn_open_requests(self->peers[0].conn), 0);
    fake_env_advance(&self->env, HTTP_PRODUCER_STALL_NS);
    assert_true(zeros[1].is_done);
}

static void what_the_socket_does_not_take_counts(void **state) {
    struct fixture *self = *state;
    for (size_t p = 0; p < CONNS; p++) http_conn_set_unsent(self->peers[p].conn, MIB);
    assert_int_equal(http_server_held_bytes(self->server), CONNS * MIB);
    http_conn_set_unsent(self->peers[0].conn, 0);
    assert_int_equal(http_conn_held_bytes(self->peers[0].conn), 0);
    assert_int_equal(http_server_held_bytes(self->server), (CONNS - 1) * MIB);
    http_conn_set_unsent(self->peers[1].conn, HTTP_SERVER_HELD_MAX);
    fake_env_advance(&self->env, RELIEF_NS);
    assert_true(self->peers[1].is_given_up);
}

/* A few hundred bytes on the wire make 60 KB of headers: the list counts while the request is open. */
static void header_lists_count_while_the_request_is_open(void **state) {
    struct fixture *self = *state;
    struct peer *peer = &self->peers[0];
    struct buf block = BUF_INIT;
    buf_append_slice(&block, SLICE_LITERAL("\x83\x86\x84\x40\x01x\x7f\xb9\x16")); /* x: 3000 bytes */
    memset(buf_extend(&block, 3000), 'v', 3000);
    memset(buf_extend(&block, 18), 0xbe, 18); /* and again */
    receive_frame(peer, NGHTTP2_HEADERS, START_AND_END, 1, buf_slice(&block));
    assert_int_equal(self->requests, 1);
    assert_true(http_conn_held_bytes(peer->conn) > 57000);
    memset(buf_extend(&block, 3), 0xbe, 3);
    receive_frame(peer, NGHTTP2_HEADERS, START_AND_END, 3, buf_slice(&block));
    buf_release(&block);
    assert_int_equal(self->requests, 1);
    produce(peer);
    struct slice reset;
    assert_true(find_frame(peer, NGHTTP2_RST_STREAM, &reset));
    assert_int_equal(last_code(reset), NGHTTP2_FRAME_SIZE_ERROR);
    assert_true(http_conn_held_bytes(peer->conn) < HTTP_HEADER_LIST_MAX);
    receive_frame(peer, NGHTTP2_RST_STREAM, 0, 1, SLICE_LITERAL("\0\0\0\x08"));
    produce(peer);
    assert_int_equal(self->cancelled, 1);
    assert_int_equal(http_conn_held_bytes(peer->conn), 0);
}

static void a_header_block_without_end_is_told_to_calm_down(void **state) {
    struct fixture *self = *state;
    struct peer *peer = &self->peers[0];
    receive_frame(peer, NGHTTP2_HEADERS, 0, 1, BLOCK);
    for (int i = 0; i < 100; i++) receive_frame(peer, NGHTTP2_CONTINUATION, 0, 1, SLICE_NONE);
    produce(peer);
    struct slice goaway;
    assert_true(find_frame(peer, NGHTTP2_GOAWAY, &goaway));
    assert_int_equal(last_code(slice_from(goaway, 4)), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(http_conn_is_finished(peer->conn));
    assert_int_equal(self->requests, 0);
}

static void a_lot_of_pings_is_answered_with_one_goaway(void **state) {
    struct fixture *self = *state;
    struct peer *peer = &self->peers[0];
    struct buf pings = BUF_INIT;
    static const uint8_t ping[] = {0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    for (int i = 0; i < 500; i++) buf_append(&pings, ping, sizeof ping);
    http_conn_receive(peer->conn, buf_slice(&pings));
    buf_release(&pings);
    produce(peer);
    struct slice goaway;
    assert_true(find_frame(peer, NGHTTP2_GOAWAY, &goaway));
    assert_int_equal(last_code(slice_from(goaway, 4)), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_memory_equal(goaway.data + 8, "too_many_pings", 14);
    assert_int_equal(count_frames(peer, NGHTTP2_GOAWAY), 1);
    assert_true(http_conn_is_finished(peer->conn));
}

static void after_too_many_resets_open_streams_go_on_and_new_ones_do_not(void **state) {
    struct fixture *self = *state;
    struct peer *peer = &self->peers[0];
    receive_request(peer, 1);
    struct http_request *first = self->kept;
    uint32_t stream = 3;
    for (int i = 0; i < HTTP_RESET_BURST; i++, stream += 2) {
        receive_request(peer, stream);
        receive_frame(peer, NGHTTP2_RST_STREAM, 0, stream, SLICE_LITERAL("\0\0\0\x08"));
        if (i % 1000 == 0) produce(peer);
    }
    produce(peer);
    assert_int_equal(count_frames(peer, NGHTTP2_GOAWAY), 0);
    fake_env_advance(&self->env, INT64_C(1000000000)); /* some come back */
    for (int i = 0; i <= HTTP_RESET_PER_SECOND; i++, stream += 2) {
        assert_int_equal(count_frames(peer, NGHTTP2_GOAWAY), 0);
        receive_request(peer, stream);
        receive_frame(peer, NGHTTP2_RST_STREAM, 0, stream, SLICE_LITERAL("\0\0\0\x08"));
        produce(peer);
    }
    struct slice goaway;
    assert_true(find_frame(peer, NGHTTP2_GOAWAY, &goaway));
    assert_int_equal(last_code(slice_from(goaway, 4)), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_memory_equal(goaway.data + 8, "too_many_resets", 15);
    size_t before = self->requests;
    receive_request(peer, stream);
    assert_int_equal(self->requests, before);
    assert_false(http_conn_is_finished(peer->conn));
    http_reply_full(first, 200, NULL, 0, SLICE_LITERAL("late"));
    produce(peer);
    struct slice data;
    assert_true(find_frame(peer, NGHTTP2_DATA, &data));
    assert_memory_equal(data.data, "late", 4);
    assert_true(http_conn_is_finished(peer->conn));
}

/* ---- who says nothing ---- */

static struct http_conn *connect_another(struct fixture *self, const char *bytes) {
    static struct http_conn_owner owner = {.want_flush = on_flush};
    struct http_conn_info info = {.peer = "127.0.0.1:10"};
    struct http_conn *conn = http_conn_new(self->server, &owner, &info);
    http_conn_receive(conn, slice_from_cstr(bytes));
    return conn;
}

static void who_does_not_finish_his_headers_is_left(void **state) {
    struct fixture *self = *state;
    static const char *const said[] = {"", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP",
                                       "GET / HTTP/1.1\r\nHost: a\r\nX: "};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct http_conn *conn = connect_another(self, said[i]);
        fake_env_advance(&self->env, HTTP_HEADER_TIMEOUT_NS - 1);
        assert_false(http_conn_is_finished(conn));
        fake_env_advance(&self->env, 1);
        assert_true(http_conn_is_finished(conn));
        http_conn_free(conn);
    }
}

static void who_does_not_finish_a_body_is_left_when_he_has_his_answer(void **state) {
    struct fixture *self = *state;
    self->reply_bytes = 10;
    struct http_conn *conn = connect_another(self, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbody");
    struct buf output = BUF_INIT;
    http_conn_produce(conn, &output, MIB);
    assert_memory_equal(output.data, "HTTP/1.1 200 OK", 15);
    assert_false(http_conn_is_finished(conn));
    fake_env_advance(&self->env, HTTP_HEADER_TIMEOUT_NS);
    assert_true(http_conn_is_finished(conn));
    buf_release(&output);
    http_conn_free(conn);
}

/* ---- a client of ours ---- */

struct answer {
    bool is_closed;
    enum http_close why;
    size_t headers;
};

static void on_answer_headers(void *context, int status, const struct http_header *headers, size_t count) {
    ((struct answer *)context)->headers += count;
}
static void on_answer_close(void *context, enum http_close why, uint32_t code) {
    struct answer *answer = context;
    answer->is_closed = true;
    answer->why = why;
}
static const struct http_exchange_handler answer_handler = {.on_headers = on_answer_headers,
                                                            .on_close = on_answer_close};

static void client_flush(struct http_client_owner *owner) {}

static void an_answer_with_too_many_headers_fails_its_call(void **state) {
    struct fixture *self = *state;
    struct http_client_owner owner = {client_flush};
    struct http_client_options options = {.env = &self->env.env};
    struct http_client *client = http_client_new(&options, &owner);
    const struct http_header headers[] = {HTTP_HEADER(":method", "POST"), HTTP_HEADER(":scheme", "http"),
                                          HTTP_HEADER(":path", "/")};
    struct answer answer = {0};
    http_client_start(client, headers, 3, true, &answer_handler, &answer);
    struct buf out = BUF_INIT, block = BUF_INIT;
    while (http_client_produce(client, &out, MIB)) {
    }
    buf_clear(&out);
    struct peer peer = {.output = out};
    buf_append_slice(&block, SLICE_LITERAL("\x88\x40\x01x\x7f\xb9\x16")); /* :status 200; x: 3000 bytes */
    memset(buf_extend(&block, 3000), 'v', 3000);
    memset(buf_extend(&block, HTTP_CLIENT_HEADER_LIST_MAX / 3033 + 1), 0xbe, HTTP_CLIENT_HEADER_LIST_MAX / 3033 + 1);
    static const uint8_t settings[FRAME_HEAD_BYTES] = {0, 0, 0, NGHTTP2_SETTINGS};
    const uint8_t head[FRAME_HEAD_BYTES] = {
        0, (uint8_t)(block.len >> 8), (uint8_t)block.len, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 0, 0, 0, 1};
    http_client_receive(client, slice_make(settings, sizeof settings));
    http_client_receive(client, slice_make(head, sizeof head));
    http_client_receive(client, buf_slice(&block));
    while (http_client_produce(client, &peer.output, MIB)) {
    }
    assert_true(answer.is_closed);
    assert_int_equal(answer.why, HTTP_CLOSE_RESET);
    assert_int_equal(answer.headers, 0);
    assert_false(http_client_is_finished(client));
    buf_release(&peer.output);
    buf_release(&block);
    http_client_free(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(answers_that_nobody_reads_are_cut_off),
        TEST(an_answer_with_too_many_headers_fails_its_call),
        TEST(who_does_not_finish_his_headers_is_left),
        TEST(who_does_not_finish_a_body_is_left_when_he_has_his_answer),
        TEST(the_greatest_holder_is_given_up_first),
        TEST(shared_bytes_count_once),
        TEST(a_producer_whose_client_takes_nothing_is_ended),
        TEST(what_the_socket_does_not_take_counts),
        TEST(header_lists_count_while_the_request_is_open),
        TEST(a_header_block_without_end_is_told_to_calm_down),
        TEST(a_lot_of_pings_is_answered_with_one_goaway),
        TEST(after_too_many_resets_open_streams_go_on_and_new_ones_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
