/* Calls of every kind, from our client to our server. */
#include "grpc/internal.h"
#include "pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NS_PER_SECOND INT64_C(1000000000)
#define RECEIVE_MAX 100000
#define CALLS_MAX 100

struct outcome {
    struct grpc_client_call *call;
    size_t messages, message_bytes, header_blocks;
    struct buf last;
    bool is_over;
    int code;
    char text[200];
    enum err error;
    bool was_sent, from_server;
    bool pauses; /* after each message */
};

struct fixture {
    struct pair pair;
    struct outcome outcomes[CALLS_MAX];
    struct grpc_call *kept;
    size_t calls, cancelled, received, half_closed, drained;
    size_t started, finished, observed_received, observed_sent;
    int finished_code;
    enum err admit;
    struct http_producer producer;
    size_t total, produced;
    bool producer_is_done;
};

/* ---- the service ---- */

static struct fixture *fixture_of(struct grpc_call *call) { return grpc_call_service(call); }

static void echo(struct grpc_call *call) {
    struct slice message = grpc_call_message(call);
    memcpy(grpc_call_reserve(call, message.len), message.data, message.len);
    grpc_call_reply_reserved(call);
}

static void keep(struct grpc_call *call) {
    fixture_of(call)->kept = call;
    fixture_of(call)->calls++;
}
static void note_cancel(struct grpc_call *call) {
    assert_true(grpc_call_is_cancelled(call));
    fixture_of(call)->cancelled++;
}
static void note_message(struct grpc_call *call, struct slice message) { fixture_of(call)->received++; }
static void note_half_close(struct grpc_call *call) { fixture_of(call)->half_closed++; }
static void note_drain(struct grpc_call *call) { fixture_of(call)->drained++; }

/* Answers every message with itself, twice; ends when the client does. */
static void chat_message(struct grpc_call *call, struct slice message) {
    grpc_call_send(call, message);
    struct shared *copy = shared_copy(message);
    const struct http_piece pieces[] = {
        http_piece_from_shared_part(copy, 0, message.len / 2),
        http_piece_from_shared_part(shared_ref(copy), message.len / 2, message.len - message.len / 2)};
    grpc_call_send_pieces(call, pieces, 2);
    fixture_of(call)->received++;
}
static void end_in_cancel(struct grpc_call *call) { grpc_call_fail(call, ERR_CONTEXT_CANCELED); }

static void fail_with_text(struct grpc_call *call) {
    grpc_call_fail_text(call, GRPC_DATA_LOSS, "100% lost:\n\xc3\xa9");
}

static enum http_pull pull(struct http_producer *producer, size_t want_bytes, struct http_piece *ret_piece) {
    struct fixture *self = CONTAINER_OF(producer, struct fixture, producer);
    if (self->produced == self->total) return HTTP_PULL_END;
    struct shared *piece = shared_new(self->total - self->produced < 1000 ? self->total - self->produced : 1000);
    memset(piece->bytes, 'p', piece->size_bytes);
    self->produced += piece->size_bytes;
    *ret_piece = http_piece_from_shared(piece);
    return HTTP_PULL_PIECE;
}
static void producer_done(struct http_producer *producer) {
    CONTAINER_OF(producer, struct fixture, producer)->producer_is_done = true;
}
static void produce(struct grpc_call *call) {
    struct fixture *self = fixture_of(call);
    self->producer = (struct http_producer){pull, producer_done};
    grpc_call_reply_pieces(call, self->total, &self->producer);
}

static const struct grpc_method methods[] = {
    {.path = "/t.T/Echo", .on_call = echo},
    {.path = "/t.T/Keep", .on_call = keep, .on_cancel = note_cancel},
    {.path = "/t.T/Fail", .on_call = fail_with_text},
    {.path = "/t.T/Produce", .on_call = produce},
    {.path = "/t.T/Stream", .server_stream = true, .on_call = keep, .on_cancel = note_cancel, .on_drain = note_drain},
    {.path = "/t.T/Collect",
     .client_stream = true,
     .on_call = keep,
     .on_message = note_message,
     .on_half_close = note_half_close,
     .on_cancel = note_cancel},
    {.path = "/t.T/Chat",
     .client_stream = true,
     .server_stream = true,
     .on_call = keep,
     .on_message = chat_message,
     .on_half_close = grpc_call_finish,
     .on_cancel = end_in_cancel},
};

/* ---- the client ---- */

static void on_headers(void *context, const struct http_header *headers, size_t count) {
    ((struct outcome *)context)->header_blocks++;
}
static void on_message(void *context, struct slice message) {
    struct outcome *outcome = context;
    outcome->messages++;
    outcome->message_bytes += message.len;
    buf_clear(&outcome->last);
    buf_append_slice(&outcome->last, message);
    if (outcome->pauses) grpc_client_call_pause(outcome->call, true);
}
static void on_status(void *context, const struct grpc_status *status) {
    struct outcome *outcome = context;
    assert_false(outcome->is_over);
    outcome->is_over = true;
    outcome->code = status->code;
    outcome->error = status->error;
    outcome->was_sent = status->was_sent;
    outcome->from_server = status->from_server;
    snprintf(outcome->text, sizeof outcome->text, "%.*s", (int)status->text.len, (const char *)status->text.data);
}
static const struct grpc_client_handler handler = {on_headers, on_message, on_status, NULL};

static struct outcome *begin(struct fixture *self, size_t index, const char *path, const char *message,
                             int64_t timeout_ns) {
    struct outcome *outcome = &self->outcomes[index];
    buf_release(&outcome->last);
    *outcome = (struct outcome){0};
    struct grpc_client_call_options options = {
        .path = path, .timeout_ns = timeout_ns, .handler = &handler, .context = outcome};
    if (message != NULL)
        outcome->call = grpc_client_unary(self->pair.client, &options, slice_from_cstr(message));
    else
        outcome->call = grpc_client_start(self->pair.client, &options);
    return outcome;
}

/* ---- fixture ---- */

static void observe_started(void *context, const struct grpc_call *call) { ((struct fixture *)context)->started++; }
static void observe_received(void *context, const struct grpc_call *call, size_t bytes) {
    ((struct fixture *)context)->observed_received++;
}
static void observe_sent(void *context, const struct grpc_call *call, size_t bytes) {
    ((struct fixture *)context)->observed_sent++;
}
static void observe_finished(void *context, const struct grpc_call *call, int code) {
    ((struct fixture *)context)->finished++;
    ((struct fixture *)context)->finished_code = code;
}
static enum err admit(void *context, struct grpc_call *call) { return ((struct fixture *)context)->admit; }

static int setup(void **state) {
    struct fixture *self = NEW(struct fixture);
    struct grpc_server_options options = {
        .receive_max_bytes = RECEIVE_MAX,
        .observer = {observe_started, observe_received, observe_sent, observe_finished, self},
        .admit = admit,
        .admit_context = self,
    };
    pair_init(&self->pair, &options, methods, sizeof methods / sizeof *methods, self);
    *state = self;
    return 0;
}

static int teardown(void **state) {
    struct fixture *self = *state;
    assert_int_equal(grpc_server_open_calls(self->pair.grpc), 0);
    assert_true(pair_release(&self->pair));
    for (size_t i = 0; i < CALLS_MAX; i++) buf_release(&self->outcomes[i].last);
    mem_free(self);
    return 0;
}

/* ---- unary ---- */

static void a_unary_call_is_answered(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Echo", "ping", 0);
    pair_pump(&self->pair);
    assert_true(outcome->is_over);
    assert_int_equal(outcome->code, GRPC_OK);
    assert_int_equal(outcome->error, OK);
    assert_true(outcome->from_server);
    assert_int_equal(outcome->header_blocks, 1);
    assert_string_equal(buf_cstr(&outcome->last), "ping");
    assert_int_equal(self->started, 1);
    assert_int_equal(self->finished, 1);
    assert_int_equal(self->observed_received, 1);
    assert_int_equal(self->observed_sent, 1);
}

static void cuts_of_the_wire_change_nothing(void **state) {
    struct fixture *self = *state;
    for (self->pair.cut = 1; self->pair.cut < 60; self->pair.cut++) {
        for (size_t i = 0; i < 5; i++) begin(self, i, i % 2 ? "/t.T/Echo" : "/t.T/Fail", "message", NS_PER_SECOND);
        pair_pump(&self->pair);
        for (size_t i = 0; i < 5; i++) {
            assert_true(self->outcomes[i].is_over);
            assert_int_equal(self->outcomes[i].code, i % 2 ? GRPC_OK : GRPC_DATA_LOSS);
            assert_int_equal(self->outcomes[i].message_bytes, i % 2 ? 7 : 0);
        }
    }
}

static void texts_survive_the_wire(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Fail", "", 0);
    pair_pump(&self->pair);
    assert_int_equal(outcome->code, GRPC_DATA_LOSS);
    assert_string_equal(outcome->text, "100% lost:\n\xc3\xa9");
    assert_int_equal(outcome->error, ERR_COUNT);
    assert_int_equal(outcome->header_blocks, 0);
    assert_int_equal(self->finished_code, GRPC_DATA_LOSS);
}

static void an_answer_may_come_later(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Keep", "question", 0);
    pair_pump(&self->pair);
    assert_false(outcome->is_over);
    assert_true(slice_equal_cstr(grpc_call_message(self->kept), "question"));
    assert_string_equal(grpc_call_peer(self->kept), "127.0.0.1:9");
    assert_true(grpc_call_deadline_ns(self->kept) == INT64_MAX);
    grpc_call_fail(self->kept, ERR_COMPACTED);
    pair_pump(&self->pair);
    assert_int_equal(outcome->code, GRPC_OUT_OF_RANGE);
    assert_int_equal(outcome->error, ERR_COMPACTED);
    assert_string_equal(outcome->text, "etcdserver: mvcc: required revision has been compacted");
}

static void metadata_reaches_the_handler(void **state) {
    struct fixture *self = *state;
    const struct http_header metadata[] = {HTTP_HEADER("token", "secret"), HTTP_HEADER("hasleader", "true")};
    struct grpc_client_call_options options = {
        .path = "/t.T/Keep", .metadata = metadata, .metadata_count = 2, .handler = &handler, .context = self->outcomes};
    grpc_client_unary(self->pair.client, &options, SLICE_NONE);
    pair_pump(&self->pair);
    assert_true(slice_equal_cstr(grpc_call_metadata(self->kept, "token"), "secret"));
    assert_true(slice_equal_cstr(grpc_call_metadata(self->kept, "hasleader"), "true"));
    assert_null(grpc_call_metadata(self->kept, "absent").data);
    grpc_call_reply(self->kept, SLICE_NONE);
}

static void admission_is_asked(void **state) {
    struct fixture *self = *state;
    self->admit = ERR_NO_LEADER;
    struct outcome *outcome = begin(self, 0, "/t.T/Keep", "", 0);
    struct outcome *stream = begin(self, 1, "/t.T/Chat", NULL, 0);
    pair_pump(&self->pair);
    assert_int_equal(outcome->error, ERR_NO_LEADER);
    assert_int_equal(stream->error, ERR_NO_LEADER);
    assert_int_equal(self->calls, 0);
}

static void many_calls_at_once(void **state) {
    struct fixture *self = *state;
    for (int round = 0; round < 10; round++) {
        char text[16];
        for (size_t i = 0; i < CALLS_MAX; i++) {
            snprintf(text, sizeof text, "%zu", i);
            begin(self, i, "/t.T/Echo", text, NS_PER_SECOND);
        }
        pair_pump(&self->pair);
        for (size_t i = 0; i < CALLS_MAX; i++) {
            snprintf(text, sizeof text, "%zu", i);
            assert_string_equal(buf_cstr(&self->outcomes[i].last), text);
            assert_true(self->outcomes[i].is_over);
        }
    }
}

static void messages_have_a_limit(void **state) {
    struct fixture *self = *state;
    char *text = mem_alloc(RECEIVE_MAX + 2);
    memset(text, 'x', RECEIVE_MAX + 2);
    text[RECEIVE_MAX] = 0;
    struct outcome *fits = begin(self, 0, "/t.T/Echo", text, 0);
    text[RECEIVE_MAX] = 'x';
    text[RECEIVE_MAX + 1] = 0;
    struct outcome *too_long = begin(self, 1, "/t.T/Echo", text, 0);
    pair_pump(&self->pair);
    assert_int_equal(fits->code, GRPC_OK);
    assert_int_equal(fits->message_bytes, RECEIVE_MAX);
    assert_int_equal(too_long->code, GRPC_RESOURCE_EXHAUSTED);
    assert_string_equal(too_long->text, "grpc: received message larger than max (100001 vs. 100000)");
    mem_free(text);
}

static void unknown_methods_are_unimplemented(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Nosuch", "", 0);
    pair_pump(&self->pair);
    assert_int_equal(outcome->code, GRPC_UNIMPLEMENTED);
    assert_string_equal(outcome->text, "unknown method Nosuch for service t.T");
    assert_int_equal(self->started, 0);
}

/* ---- time and leaving ---- */

static void the_servers_deadline_settles_the_call(void **state) {
    struct fixture *self = *state;
    /* The client's own timer would be first: the header alone is what the server goes by. */
    const struct http_header metadata = HTTP_HEADER("grpc-timeout", "2S");
    struct outcome *outcome = &self->outcomes[0];
    struct grpc_client_call_options options = {
        .path = "/t.T/Keep", .metadata = &metadata, .metadata_count = 1, .handler = &handler, .context = outcome};
    grpc_client_unary(self->pair.client, &options, SLICE_LITERAL("still here"));
    pair_pump(&self->pair);
    assert_true(grpc_call_deadline_ns(self->kept) == grpc_call_started_ns(self->kept) + 2 * NS_PER_SECOND);
    fake_env_advance(&self->pair.env, 2 * NS_PER_SECOND);
    pair_pump(&self->pair);
    assert_int_equal(self->cancelled, 1);
    assert_true(outcome->is_over);
    assert_int_equal(outcome->code, GRPC_DEADLINE_EXCEEDED);
    assert_string_equal(outcome->text, "context deadline exceeded");
    assert_int_equal(self->finished_code, GRPC_DEADLINE_EXCEEDED);
    /* The handler is late: everything is still there, and nothing is sent. */
    assert_true(slice_equal_cstr(grpc_call_message(self->kept), "still here"));
    grpc_call_reply(self->kept, SLICE_LITERAL("too late"));
    pair_pump(&self->pair);
    assert_int_equal(outcome->messages, 0);
    assert_int_equal(self->finished, 1);
}

static void the_clients_deadline_needs_no_server(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Keep", "", NS_PER_SECOND);
    fake_env_advance(&self->pair.env, NS_PER_SECOND);
    assert_true(outcome->is_over);
    assert_int_equal(outcome->error, ERR_DEADLINE_EXCEEDED);
    assert_false(outcome->from_server);
    pair_pump(&self->pair);
    assert_int_equal(grpc_client_open_calls(self->pair.client), 0);
}

static void a_cancelled_call_is_told_once(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Keep", "", 0);
    pair_pump(&self->pair);
    grpc_client_call_cancel(outcome->call);
    assert_false(outcome->is_over);
    pair_pump(&self->pair);
    assert_int_equal(outcome->code, GRPC_CANCELLED);
    assert_int_equal(self->cancelled, 1);
    assert_int_equal(self->finished_code, GRPC_CANCELLED);
    grpc_call_fail(self->kept, ERR_TIMEOUT);
}

static void a_lost_connection_cancels(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Keep", "kept", NS_PER_SECOND);
    pair_pump(&self->pair);
    pair_disconnect(&self->pair);
    assert_int_equal(outcome->error, ERR_UNAVAILABLE);
    assert_true(outcome->was_sent);
    assert_int_equal(self->cancelled, 1);
    fake_env_advance(&self->pair.env, 10 * NS_PER_SECOND);
    assert_true(slice_equal_cstr(grpc_call_message(self->kept), "kept"));
    memset(grpc_call_reserve(self->kept, 100), 0, 100);
    grpc_call_reply_reserved(self->kept);
}

static void a_call_that_never_left_was_not_sent(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Keep", "", 0);
    pair_disconnect(&self->pair);
    assert_int_equal(outcome->code, GRPC_UNAVAILABLE);
    assert_false(outcome->was_sent);
}

static void stopping_the_server_settles_everything(void **state) {
    struct fixture *self = *state;
    struct outcome *unary = begin(self, 0, "/t.T/Keep", "", 0);
    pair_pump(&self->pair);
    struct grpc_call *first = self->kept;
    struct outcome *stream = begin(self, 1, "/t.T/Stream", "", 0);
    pair_pump(&self->pair);
    grpc_call_send(self->kept, SLICE_LITERAL("one"));
    grpc_server_cancel_all(self->pair.grpc, ERR_STOPPED);
    pair_pump(&self->pair);
    assert_int_equal(unary->error, ERR_STOPPED);
    assert_int_equal(stream->error, ERR_STOPPED);
    assert_int_equal(stream->messages, 1);
    assert_int_equal(self->cancelled, 2);
    grpc_call_fail(first, ERR_STOPPED);
    grpc_call_finish(self->kept);
}

/* ---- streams ---- */

static void a_chat_goes_both_ways(void **state) {
    struct fixture *self = *state;
    for (self->pair.cut = 0; self->pair.cut < 40; self->pair.cut++) {
        struct outcome *outcome = begin(self, 0, "/t.T/Chat", NULL, 0);
        for (int i = 0; i < 10; i++) {
            grpc_client_call_send(outcome->call, SLICE_LITERAL("some words"));
            if (i % 3 == 0) pair_pump(&self->pair);
        }
        grpc_client_call_half_close(outcome->call);
        pair_pump(&self->pair);
        assert_int_equal(outcome->messages, 20);
        assert_int_equal(outcome->message_bytes, 200);
        assert_true(outcome->is_over);
        assert_int_equal(outcome->code, GRPC_OK);
    }
}

static void a_client_stream_ends_with_one_answer(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Collect", NULL, 0);
    pair_pump(&self->pair);
    assert_int_equal(self->calls, 1);
    grpc_client_call_send(outcome->call, SLICE_LITERAL("a"));
    grpc_client_call_send(outcome->call, SLICE_NONE);
    grpc_client_call_half_close(outcome->call);
    pair_pump(&self->pair);
    assert_int_equal(self->received, 2);
    assert_int_equal(self->half_closed, 1);
    grpc_call_reply(self->kept, SLICE_LITERAL("two"));
    pair_pump(&self->pair);
    assert_string_equal(buf_cstr(&outcome->last), "two");
    assert_int_equal(outcome->code, GRPC_OK);
}

static void a_stream_may_fail_after_messages(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Stream", "", 0);
    pair_pump(&self->pair);
    grpc_call_send(self->kept, SLICE_LITERAL("one"));
    grpc_call_fail(self->kept, ERR_NO_LEADER);
    pair_pump(&self->pair);
    assert_int_equal(outcome->messages, 1);
    assert_int_equal(outcome->error, ERR_NO_LEADER);
}

static void an_empty_stream_finishes(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Stream", "", 0);
    pair_pump(&self->pair);
    grpc_call_finish(self->kept);
    pair_pump(&self->pair);
    assert_int_equal(outcome->messages, 0);
    assert_int_equal(outcome->header_blocks, 0); /* one block only, status and all, as grpc-go answers */
    assert_int_equal(outcome->code, GRPC_OK);
}

static void the_queue_of_a_slow_reader_is_seen_and_drains(void **state) {
    struct fixture *self = *state;
    pair_disconnect(&self->pair);
    pair_connect(&self->pair, 65535);
    struct outcome *outcome = begin(self, 0, "/t.T/Stream", "", 0);
    grpc_client_call_pause(outcome->call, true);
    pair_pump(&self->pair);
    for (int i = 0; i < 200; i++)
        memset(grpc_call_reserve(self->kept, 995), 'm', 995), grpc_call_send_reserved(self->kept);
    assert_int_equal(grpc_call_queued_bytes(self->kept), 200000);
    pair_pump(&self->pair);
    assert_int_equal(grpc_call_queued_bytes(self->kept), 200000 - 65535);
    assert_int_equal(self->drained, 0);
    grpc_client_call_pause(outcome->call, false);
    pair_pump(&self->pair);
    assert_int_equal(outcome->messages, 200);
    assert_int_equal(grpc_call_queued_bytes(self->kept), 0);
    assert_int_equal(self->drained, 1);
    grpc_call_finish(self->kept);
}

static void who_does_not_read_is_not_read(void **state) {
    struct fixture *self = *state;
    pair_disconnect(&self->pair);
    pair_connect(&self->pair, 65535);
    struct outcome *outcome = begin(self, 0, "/t.T/Chat", NULL, 0);
    grpc_client_call_pause(outcome->call, true);
    struct buf message = BUF_INIT;
    memset(buf_extend(&message, 10000), 'm', 10000);
    for (int i = 0; i < 1000; i++) grpc_client_call_send(outcome->call, buf_slice(&message));
    pair_pump(&self->pair);
    size_t limit = (GRPC_CALL_QUEUE_MAX + 65535) / 20000 + 2;
    assert_true(self->received <= limit);
    assert_true(grpc_client_call_queued_bytes(outcome->call) > 0);
    grpc_client_call_half_close(outcome->call);
    grpc_client_call_pause(outcome->call, false);
    pair_pump(&self->pair);
    assert_int_equal(self->received, 1000);
    assert_int_equal(outcome->messages, 2000);
    assert_int_equal(outcome->code, GRPC_OK);
    buf_release(&message);
}

static void who_is_held_back_waits_in_his_window(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Collect", NULL, 0);
    pair_pump(&self->pair);
    grpc_call_hold_back(self->kept, true);
    char text[20000];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 100; i++) grpc_client_call_send(outcome->call, slice_make(text, sizeof text));
    grpc_client_call_half_close(outcome->call);
    pair_pump(&self->pair);
    assert_int_equal(self->received, 0);
    assert_int_equal(self->half_closed, 0);
    assert_true(grpc_client_call_queued_bytes(outcome->call) > 0); /* the window is closed */
    grpc_call_hold_back(self->kept, false);
    assert_true(self->received > 0 && self->received < 100);
    pair_pump(&self->pair);
    assert_int_equal(self->received, 100);
    assert_int_equal(self->half_closed, 1);
    grpc_call_reply(self->kept, SLICE_NONE);
    pair_pump(&self->pair);
    assert_int_equal(outcome->code, GRPC_OK);
}

static void a_paused_client_call_gets_everything_later(void **state) {
    struct fixture *self = *state;
    struct outcome *outcome = begin(self, 0, "/t.T/Chat", NULL, 0);
    outcome->pauses = true;
    for (int i = 0; i < 5; i++) grpc_client_call_send(outcome->call, SLICE_LITERAL("word"));
    grpc_client_call_half_close(outcome->call);
    pair_pump(&self->pair);
    for (size_t i = 1; i < 10; i++) {
        assert_int_equal(outcome->messages, i);
        assert_false(outcome->is_over);
        grpc_client_call_pause(outcome->call, false);
    }
    assert_int_equal(outcome->messages, 10);
    grpc_client_call_pause(outcome->call, false);
    assert_true(outcome->is_over);
}

/* ---- large ---- */

static void pieces_on_demand_make_one_message(void **state) {
    struct fixture *self = *state;
    pair_disconnect(&self->pair);
    pair_connect(&self->pair, 65535);
    self->total = 1234567;
    struct outcome *outcome = begin(self, 0, "/t.T/Produce", "", 0);
    grpc_client_call_pause(outcome->call, true);
    pair_pump(&self->pair);
    assert_true(self->produced < 100000);
    grpc_client_call_pause(outcome->call, false);
    pair_pump(&self->pair);
    assert_int_equal(outcome->messages, 1);
    assert_int_equal(outcome->message_bytes, self->total);
    assert_true(self->producer_is_done);
    assert_int_equal(outcome->code, GRPC_OK);
}

static void pieces_end_when_the_client_goes(void **state) {
    struct fixture *self = *state;
    self->total = 100000000;
    begin(self, 0, "/t.T/Produce", "", 0);
    grpc_client_produce(self->pair.client, &self->pair.wire, 65536);
    pair_carry(&self->pair, true);
    http_conn_produce(self->pair.conn, &self->pair.wire, 65536);
    buf_clear(&self->pair.wire);
    pair_disconnect(&self->pair);
    assert_true(self->producer_is_done);
}

/* The limit is beyond what a test wants to send for each of many streams of 100,000 bytes: one message short of its end
 * a stream, until the connection says no. */
static void raw_headers(void *context, int status, const struct http_header *headers, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (slice_equal_cstr(headers[i].name, "grpc-status") && slice_equal_cstr(headers[i].value, "8"))
            ++*(size_t *)context;
}
static void raw_data(void *context, struct slice bytes) {}
static void raw_close(void *context, enum http_close why, uint32_t code) {}

static void unfinished_messages_have_a_limit_together(void **state) {
    struct fixture *self = *state;
    static const struct http_exchange_handler raw = {raw_headers, raw_data, raw_close, NULL};
    const struct http_header headers[] = {HTTP_HEADER(":method", "POST"), HTTP_HEADER(":scheme", "http"),
                                          HTTP_HEADER(":path", "/t.T/Echo"), HTTP_HEADER(":authority", "a"),
                                          HTTP_HEADER("content-type", "application/grpc")};
    struct buf part = BUF_INIT;
    const uint8_t prefix[] = {0, 0, 1, 0x86, 0xa0}; /* 100,000 bytes are announced, one is kept back */
    buf_append(&part, prefix, sizeof prefix);
    memset(buf_extend(&part, RECEIVE_MAX - 1), 'x', RECEIVE_MAX - 1);
    size_t refused = 0, count = 0;
    for (; refused == 0; count++) {
        assert_true(count <= HTTP_CONN_KEPT_MAX / (RECEIVE_MAX - 1) + 1);
        struct http_exchange *exchange =
            http_client_start(grpc_client_http(self->pair.client), headers, 5, false, &raw, &refused);
        http_exchange_write(exchange, buf_slice(&part), false);
        pair_pump(&self->pair);
    }
    assert_true(count > HTTP_CONN_KEPT_MAX / RECEIVE_MAX);
    buf_release(&part);
    pair_disconnect(&self->pair);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_unary_call_is_answered),
        TEST(cuts_of_the_wire_change_nothing),
        TEST(texts_survive_the_wire),
        TEST(an_answer_may_come_later),
        TEST(metadata_reaches_the_handler),
        TEST(admission_is_asked),
        TEST(many_calls_at_once),
        TEST(messages_have_a_limit),
        TEST(unknown_methods_are_unimplemented),
        TEST(the_servers_deadline_settles_the_call),
        TEST(the_clients_deadline_needs_no_server),
        TEST(a_cancelled_call_is_told_once),
        TEST(a_lost_connection_cancels),
        TEST(a_call_that_never_left_was_not_sent),
        TEST(stopping_the_server_settles_everything),
        TEST(a_chat_goes_both_ways),
        TEST(a_client_stream_ends_with_one_answer),
        TEST(a_stream_may_fail_after_messages),
        TEST(an_empty_stream_finishes),
        TEST(the_queue_of_a_slow_reader_is_seen_and_drains),
        TEST(who_does_not_read_is_not_read),
        TEST(who_is_held_back_waits_in_his_window),
        TEST(a_paused_client_call_gets_everything_later),
        TEST(pieces_on_demand_make_one_message),
        TEST(pieces_end_when_the_client_goes),
        TEST(unfinished_messages_have_a_limit_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
