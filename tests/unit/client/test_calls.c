/* Calls over a connection that comes and goes: dialing, endpoints in turn, deadlines, what is tried again. */
#include "client/calls.h"
#include "harness.h"

static struct harness h;

static int tear_down(void **state) {
    harness_release(&h);
    return 0;
}

static struct etcd_call *start_put(struct outcome *outcome) {
    struct etcd_put_request put = {.key = etcd_text("k"), .value = etcd_text("v")};
    return client_call_start(h.client, ETCD_METHOD_PUT, &put, harness_outcome, outcome);
}

static struct etcd_call *start_get(struct outcome *outcome) {
    struct etcd_range_request get = {.key = etcd_text("k")};
    return client_call_start(h.client, ETCD_METHOD_RANGE, &get, harness_outcome, outcome);
}

static void answer_put(struct note *note, int64_t revision) {
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    header.revision = revision;
    Etcdserverpb__PutResponse response = ETCDSERVERPB__PUT_RESPONSE__INIT;
    response.header = &header;
    note_reply(&h, note, &response);
    harness_run(&h);
}

static void answer_get(struct note *note) {
    Etcdserverpb__RangeResponse response = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    note_reply(&h, note, &response);
    harness_run(&h);
}

static void test_nobody_is_dialed_before_the_first_call(void **state) {
    harness_init(&h, 1);
    harness_pass(&h, 10000 * MS);
    assert_int_equal(h.dials.count, 0);
    assert_string_equal(client_current_endpoint(h.client), "");
}

static void test_a_put_reaches_the_server_and_its_answer_the_caller(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    start_put(&outcome);
    harness_run(&h);
    assert_string_equal(client_current_endpoint(h.client), "a:1");
    struct note *note = harness_note(&h, 0);
    assert_string_equal(note->path, "/etcdserverpb.KV/Put");
    assert_false(note->requires_leader);
    Etcdserverpb__PutRequest *put = NOTE_MESSAGE(&h, note, etcdserverpb__put_request, 0);
    assert_true(slice_equal_cstr(pb_slice(put->value), "v"));
    answer_put(note, 42);
    assert_int_equal(outcome.count, 1);
    struct etcd_put_response *response = outcome.response;
    assert_int_equal(response->header.revision, 42);
    client_response_free(response);
    assert_false(client_is_busy(h.client));
}

static void test_many_calls_share_one_connection(void **state) {
    harness_init(&h, 1);
    struct outcome outcomes[50] = {0};
    for (size_t i = 0; i < 50; i++) start_put(&outcomes[i]);
    harness_run(&h);
    assert_int_equal(h.dials.count, 1);
    assert_int_equal(h.notes.count, 50);
    for (size_t i = 50; i-- > 0;) answer_put(harness_note(&h, i), (int64_t)i);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(outcomes[i].count, 1);
        client_response_free(outcomes[i].response);
    }
}

static void test_an_error_comes_with_code_and_words(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    start_put(&outcome);
    harness_run(&h);
    note_fail(harness_note(&h, 0), ERR_NO_SPACE);
    harness_pass(&h, 10000 * MS);
    assert_int_equal(outcome.count, 1);
    assert_null(outcome.response);
    assert_int_equal(outcome.error.code, ETCD_RESOURCE_EXHAUSTED);
    assert_string_equal(outcome.error.text, "etcdserver: mvcc: database space exceeded");
    assert_int_equal(h.notes.count, 1);
}

static void test_without_a_server_the_call_ends_at_its_deadline(void **state) {
    harness_init(&h, 2);
    h.servers[0].is_up = h.servers[1].is_up = false;
    struct outcome outcome = {0};
    start_put(&outcome);
    harness_pass(&h, 4999 * MS);
    assert_int_equal(outcome.count, 0);
    harness_pass(&h, 2 * MS);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.error.code, ETCD_DEADLINE_EXCEEDED);
    assert_string_equal(outcome.error.text, "context deadline exceeded");
    assert_string_equal(outcome.error.detail,
                        "latest balancer error: connection error: desc = \"transport: Error while "
                        "dialing: dial tcp: connect: connection refused\"");
    /* in turn, and in ever longer intervals */
    assert_true(h.dials.count > 8 && h.dials.count < 30);
    for (size_t i = 0; i < h.dials.count; i++) assert_int_equal(h.dials.items[i], i % 2);
}

static void test_nobody_is_dialed_when_nobody_waits(void **state) {
    harness_init(&h, 1);
    h.servers[0].is_up = false;
    struct outcome outcome = {0};
    start_put(&outcome);
    harness_pass(&h, 6000 * MS);
    assert_int_equal(outcome.count, 1);
    size_t dials = h.dials.count;
    harness_pass(&h, 60000 * MS);
    assert_true(h.dials.count <= dials + 1);
}

static void test_a_silent_endpoint_is_left_after_the_dial_timeout(void **state) {
    harness_init(&h, 2);
    h.hold_dials = true;
    struct outcome outcome = {0};
    start_put(&outcome);
    harness_pass(&h, 1999 * MS);
    assert_int_equal(h.dials.count, 1);
    harness_pass(&h, 2 * MS);
    assert_int_equal(h.dials.count, 2);
    assert_int_equal(h.dials.items[1], 1);
    h.hold_dials = false;
    harness_run(&h);
    answer_put(harness_note(&h, 0), 1);
    assert_int_equal(outcome.count, 1);
    client_response_free(outcome.response);
}

static void test_a_call_that_waited_goes_to_the_endpoint_that_is_up(void **state) {
    harness_init(&h, 3);
    h.servers[0].is_up = h.servers[1].is_up = false;
    struct outcome outcome = {0};
    start_put(&outcome);
    harness_run(&h);
    assert_int_equal(harness_note(&h, 0)->endpoint, 2);
    answer_put(harness_note(&h, 0), 1);
    assert_int_equal(outcome.count, 1);
    client_response_free(outcome.response);
}

static void test_a_read_is_repeated_elsewhere_when_the_connection_breaks(void **state) {
    harness_init(&h, 2);
    struct outcome outcome = {0};
    start_get(&outcome);
    harness_run(&h);
    harness_break_connection(&h);
    assert_int_equal(outcome.count, 0);
    assert_int_equal(h.notes.count, 2);
    assert_int_equal(harness_note(&h, 1)->endpoint, 1);
    answer_get(harness_note(&h, 1));
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.error.code, ETCD_OK);
    client_response_free(outcome.response);
}

static void test_a_write_that_may_have_happened_is_not_repeated(void **state) {
    harness_init(&h, 2);
    struct outcome outcome = {0};
    start_put(&outcome);
    harness_run(&h);
    harness_break_connection(&h);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.error.code, ETCD_UNAVAILABLE);
    harness_pass(&h, 10000 * MS);
    assert_int_equal(h.notes.count, 1);
}

static void test_a_read_is_repeated_while_the_server_is_unavailable(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    start_get(&outcome);
    harness_run(&h);
    for (size_t attempt = 0; attempt < 5; attempt++) {
        assert_int_equal(h.notes.count, attempt + 1);
        note_fail(harness_note(&h, attempt), ERR_LEADER_CHANGED);
        harness_pass(&h, CLIENT_RETRY_PAUSE_NS);
    }
    answer_get(harness_note(&h, 5));
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.error.code, ETCD_OK);
    client_response_free(outcome.response);
}

static void test_repeating_moves_on_to_the_next_endpoint(void **state) {
    harness_init(&h, 2);
    struct outcome outcome = {0};
    start_get(&outcome);
    harness_run(&h);
    note_fail(harness_note(&h, 0), ERR_NO_LEADER);
    harness_pass(&h, CLIENT_RETRY_PAUSE_NS);
    assert_int_equal(h.notes.count, 2);
    assert_int_equal(harness_note(&h, 1)->endpoint, 1);
    answer_get(harness_note(&h, 1));
    client_response_free(outcome.response);
}

static void test_moving_on_waits_for_writes_under_way(void **state) {
    harness_init(&h, 2);
    struct outcome get = {0}, put = {0};
    start_put(&put);
    start_get(&get);
    harness_run(&h);
    note_fail(harness_note(&h, 1), ERR_NO_LEADER);
    harness_pass(&h, CLIENT_RETRY_PAUSE_NS);
    assert_int_equal(h.dials.count, 1);
    answer_put(harness_note(&h, 0), 1);
    assert_int_equal(put.count, 1);
    assert_non_null(put.response);
    client_response_free(put.response);
    harness_pass(&h, CLIENT_RETRY_PAUSE_NS);
    assert_int_equal(h.dials.count, 2);
    struct note *last = harness_note(&h, h.notes.count - 1);
    assert_int_equal(last->endpoint, 1);
    answer_get(last);
    assert_int_equal(get.count, 1);
    client_response_free(get.response);
}

static void test_a_write_is_not_repeated_when_the_server_is_unavailable(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    start_put(&outcome);
    harness_run(&h);
    note_fail(harness_note(&h, 0), ERR_TIMEOUT);
    harness_pass(&h, 10000 * MS);
    assert_int_equal(outcome.count, 1);
    assert_string_equal(outcome.error.text, "etcdserver: request timed out");
    assert_int_equal(h.notes.count, 1);
}

static void test_attempts_are_limited(void **state) {
    struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
    options.command_timeout_ms = 0;
    harness_init_with(&h, 1, options);
    struct outcome outcome = {0};
    start_get(&outcome);
    harness_run(&h);
    for (size_t attempt = 0; outcome.count == 0; attempt++) {
        note_fail(harness_note(&h, attempt), ERR_NO_LEADER);
        harness_pass(&h, CLIENT_RETRY_PAUSE_NS);
    }
    assert_int_equal(h.notes.count, CLIENT_ATTEMPTS_MAX);
    assert_int_equal(outcome.error.code, ETCD_UNAVAILABLE);
}

static void test_a_deadline_ends_a_call_under_way(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    start_get(&outcome);
    harness_pass(&h, 6000 * MS);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.error.code, ETCD_DEADLINE_EXCEEDED);
    assert_string_equal(outcome.error.text, "context deadline exceeded");
    assert_true(harness_note(&h, 0)->canceled);
    assert_int_equal(h.notes.count, 1);
}

static void test_a_server_that_says_nothing_is_left(void **state) {
    harness_init(&h, 2);
    struct outcome put = {0}, get = {0};
    start_put(&put);
    harness_run(&h);
    harness_pass(&h, 6000 * MS);
    assert_int_equal(put.error.code, ETCD_DEADLINE_EXCEEDED);
    start_get(&get);
    harness_run(&h);
    assert_int_equal(harness_note(&h, 1)->endpoint, 1);
    answer_get(harness_note(&h, 1));
    client_response_free(get.response);
}

static void test_one_slow_call_is_no_reason_to_leave(void **state) {
    harness_init(&h, 2);
    struct outcome slow = {0}, quick = {0}, next = {0};
    start_put(&slow);
    harness_pass(&h, 4000 * MS);
    start_put(&quick);
    harness_run(&h);
    answer_put(harness_note(&h, 1), 1);
    client_response_free(quick.response);
    harness_pass(&h, 2000 * MS);
    assert_int_equal(slow.error.code, ETCD_DEADLINE_EXCEEDED);
    start_put(&next);
    harness_run(&h);
    assert_int_equal(harness_note(&h, 2)->endpoint, 0);
    answer_put(harness_note(&h, 2), 2);
    client_response_free(next.response);
}

static void test_a_canceled_call_says_nothing_more(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    client_call_cancel(start_put(&outcome)); /* waiting */
    struct etcd_call *call = start_put(&outcome);
    harness_run(&h);
    client_call_cancel(call); /* under way */
    harness_run(&h);
    assert_int_equal(outcome.count, 0);
    assert_int_equal(h.notes.count, 1);
    assert_true(harness_note(&h, 0)->canceled);
    assert_false(client_is_busy(h.client));
}

static void test_stopping_servers_are_left(void **state) {
    harness_init(&h, 2);
    struct outcome outcomes[2] = {0};
    start_put(&outcomes[0]);
    harness_run(&h);
    http_conn_stop(h.conn); /* GOAWAY; what is under way goes on */
    harness_run(&h);
    start_put(&outcomes[1]);
    harness_run(&h);
    answer_put(harness_note(&h, 0), 1);
    harness_run(&h);
    assert_int_equal(outcomes[0].count, 1);
    assert_non_null(outcomes[0].response);
    assert_int_equal(harness_note(&h, 1)->endpoint, 1);
    answer_put(harness_note(&h, 1), 2);
    assert_int_equal(outcomes[1].count, 1);
    client_response_free(outcomes[0].response);
    client_response_free(outcomes[1].response);
}

static void on_failed_attempt(void *context, const struct etcd_attempt *attempt) {
    struct buf *told = context;
    buf_printf(told, "%s %s %u %d %s\n", attempt->method, attempt->endpoint, attempt->attempt, attempt->error->code,
               attempt->error->text);
}

static void test_every_failed_attempt_is_told(void **state) {
    struct buf told = BUF_INIT;
    struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
    options.on_failed_attempt = on_failed_attempt;
    options.on_failed_attempt_context = &told;
    harness_init_with(&h, 1, options);
    struct outcome outcome = {0};
    start_get(&outcome);
    harness_run(&h);
    note_fail(harness_note(&h, 0), ERR_NO_LEADER);
    harness_pass(&h, CLIENT_RETRY_PAUSE_NS);
    note_fail(harness_note(&h, 1), ERR_PERMISSION_DENIED);
    harness_run(&h);
    assert_string_equal(buf_cstr(&told), "/etcdserverpb.KV/Range a:1 0 14 etcdserver: no leader\n"
                                         "/etcdserverpb.KV/Range a:1 1 7 etcdserver: permission denied\n");
    buf_release(&told);
}

static void test_a_transaction_too_deep_fails_without_a_server(void **state) {
    harness_init(&h, 1);
    struct etcd_txn_request txns[CLIENT_MAX_TXN_DEPTH + 1] = {0};
    struct etcd_op ops[CLIENT_MAX_TXN_DEPTH] = {0};
    for (size_t i = 0; i < CLIENT_MAX_TXN_DEPTH; i++) {
        ops[i] = (struct etcd_op){.type = ETCD_OP_TXN, .txn = &txns[i + 1]};
        txns[i] = (struct etcd_txn_request){.success = &ops[i], .success_count = 1};
    }
    struct outcome outcome = {0};
    client_call_start(h.client, ETCD_METHOD_TXN, &txns[0], harness_outcome, &outcome);
    assert_int_equal(outcome.count, 0);
    harness_run(&h);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.error.code, ETCD_INVALID_ARGUMENT);
}

static void test_a_raw_call_is_bytes_both_ways(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    client_call_start_raw(h.client, "/etcdserverpb.KV/Txn", etcd_text(""), harness_outcome, &outcome);
    harness_run(&h);
    grpc_call_reply(harness_note(&h, 0)->call, SLICE_LITERAL("\x10\x01"));
    note_end(harness_note(&h, 0));
    harness_run(&h);
    assert_int_equal(outcome.count, 1);
    struct etcd_raw_response *raw = outcome.response;
    assert_int_equal(raw->message.len, 2);
    assert_memory_equal(raw->message.data, "\x10\x01", 2);
    client_response_free(raw);
}

static void test_a_malformed_answer_is_an_error(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    start_get(&outcome);
    harness_run(&h);
    grpc_call_reply(harness_note(&h, 0)->call, SLICE_LITERAL("\x0a\xff"));
    note_end(harness_note(&h, 0));
    harness_run(&h);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.error.code, ETCD_INTERNAL);
}

/* ---- raw streams ---- */

static void test_a_stream_brings_messages_in_order_and_then_its_end(void **state) {
    harness_init(&h, 1);
    struct etcd_stream *stream = client_stream_open(h.client, "/etcdserverpb.Maintenance/Snapshot", 0);
    client_stream_send(stream, etcd_text(""));
    client_stream_close_send(stream);
    struct etcd_raw_response *message;
    struct etcd_error error;
    int code;
    assert_false(client_stream_take(stream, &message, &code, &error));
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    for (unsigned i = 0; i < 3; i++) {
        uint8_t byte = (uint8_t)i;
        grpc_call_send(note->call, slice_make(&byte, 1));
    }
    note_fail(note, ERR_CORRUPT_CLUSTER);
    harness_run(&h);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(client_stream_take(stream, &message, &code, &error));
        assert_int_equal(code, ETCD_OK);
        assert_int_equal(*(const uint8_t *)message->message.data, i);
        client_response_free(message);
    }
    for (int again = 0; again < 2; again++) {
        assert_true(client_stream_take(stream, &message, &code, &error));
        assert_int_equal(code, ETCD_DATA_LOSS);
        assert_string_equal(error.text, "etcdserver: corrupt cluster");
    }
    client_stream_close(stream);
}

static void test_a_slow_reader_stops_the_server(void **state) {
    harness_init(&h, 1);
    struct etcd_stream *stream = client_stream_open(h.client, "/etcdserverpb.Maintenance/Snapshot", 0);
    client_stream_send(stream, etcd_text(""));
    client_stream_close_send(stream);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    static uint8_t piece[64 * 1024];
    const size_t pieces = 400;
    for (size_t i = 0; i < pieces; i++) grpc_call_send(note->call, slice_make(piece, sizeof(piece)));
    harness_run(&h);
    assert_true(grpc_call_queued_bytes(note->call) > (pieces - 200) * sizeof(piece));
    grpc_call_finish(note->call);
    note_end(note);
    size_t got = 0;
    for (;;) {
        struct etcd_raw_response *message;
        int code;
        if (!client_stream_take(stream, &message, &code, NULL)) {
            harness_run(&h);
            assert_true(client_stream_take(stream, &message, &code, NULL));
        }
        assert_int_equal(code, ETCD_OK);
        if (message == NULL) break;
        assert_int_equal(message->message.len, sizeof(piece));
        client_response_free(message);
        got++;
    }
    assert_int_equal(got, pieces);
    client_stream_close(stream);
}

/* ---- options ---- */

static void assert_refused(struct etcd_client_options options, int code) {
    struct etcd_error error;
    assert_null(client_new(&h.env, &options, &h.owner, &error));
    assert_int_equal(error.code, code);
    assert_true(error.text[0] != 0);
}

static void test_what_is_not_supported_is_refused(void **state) {
    harness_init(&h, 1);
    static const char *const plain[] = {"a:1"}, *const tls[] = {"a:1", "https://a:1"}, *const bad[] = {"nonsense"};
    struct etcd_client_options good = ETCD_CLIENT_OPTIONS_INIT;
    good.endpoints = plain;
    good.endpoint_count = 1;
    struct etcd_client_options options = good;
    options.username = "root";
    assert_refused(options, ETCD_UNIMPLEMENTED);
    options = good;
    options.tls = true;
    assert_refused(options, ETCD_UNIMPLEMENTED);
    options = good;
    options.tls_ca_file = "ca.pem";
    assert_refused(options, ETCD_UNIMPLEMENTED);
    options = good;
    options.endpoints = tls;
    options.endpoint_count = 2;
    assert_refused(options, ETCD_UNIMPLEMENTED);
    options.endpoints = bad;
    options.endpoint_count = 1;
    assert_refused(options, ETCD_INVALID_ARGUMENT);
    options.endpoint_count = 0;
    assert_refused(options, ETCD_INVALID_ARGUMENT);
    assert_refused((struct etcd_client_options){0}, ETCD_INVALID_ARGUMENT);
}

static void test_freeing_a_client_drops_what_is_open_in_silence(void **state) {
    harness_init(&h, 1);
    struct outcome outcome = {0};
    start_put(&outcome); /* under way */
    start_get(&outcome);
    harness_run(&h);
    note_fail(harness_note(&h, 1), ERR_NO_LEADER); /* pausing */
    harness_run(&h);
    harness_break_connection(&h);
    assert_int_equal(outcome.count, 1); /* the put */
    h.servers[0].is_up = false;
    start_put(&outcome); /* waiting */
    harness_run(&h);
    client_free(TAKE(h.client));
    assert_int_equal(outcome.count, 1);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_nobody_is_dialed_before_the_first_call),
        TEST(test_a_put_reaches_the_server_and_its_answer_the_caller),
        TEST(test_many_calls_share_one_connection),
        TEST(test_an_error_comes_with_code_and_words),
        TEST(test_without_a_server_the_call_ends_at_its_deadline),
        TEST(test_nobody_is_dialed_when_nobody_waits),
        TEST(test_a_silent_endpoint_is_left_after_the_dial_timeout),
        TEST(test_a_call_that_waited_goes_to_the_endpoint_that_is_up),
        TEST(test_a_read_is_repeated_elsewhere_when_the_connection_breaks),
        TEST(test_a_write_that_may_have_happened_is_not_repeated),
        TEST(test_a_read_is_repeated_while_the_server_is_unavailable),
        TEST(test_repeating_moves_on_to_the_next_endpoint),
        TEST(test_moving_on_waits_for_writes_under_way),
        TEST(test_a_write_is_not_repeated_when_the_server_is_unavailable),
        TEST(test_attempts_are_limited),
        TEST(test_a_deadline_ends_a_call_under_way),
        TEST(test_a_server_that_says_nothing_is_left),
        TEST(test_one_slow_call_is_no_reason_to_leave),
        TEST(test_a_canceled_call_says_nothing_more),
        TEST(test_stopping_servers_are_left),
        TEST(test_every_failed_attempt_is_told),
        TEST(test_a_transaction_too_deep_fails_without_a_server),
        TEST(test_a_raw_call_is_bytes_both_ways),
        TEST(test_a_malformed_answer_is_an_error),
        TEST(test_a_stream_brings_messages_in_order_and_then_its_end),
        TEST(test_a_slow_reader_stops_the_server),
        TEST(test_what_is_not_supported_is_refused),
        TEST(test_freeing_a_client_drops_what_is_open_in_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
