/* Watch streams: many watches at once, breaks without gap or repetition, fragments, the ways to end. */
#include "client/watch.h"
#include "harness.h"

static struct harness h;
static struct etcd_watch_stream *stream;

static int tear_down(void **state) {
    client_watch_close(TAKE(stream));
    harness_release(&h);
    return 0;
}

static void begin(size_t endpoints) {
    harness_init(&h, endpoints);
    stream = client_watch_open(h.client, NULL);
}

static int64_t add(const char *key, int64_t start_revision) {
    struct etcd_watch_request request = {.key = etcd_text(key), .start_revision = start_revision};
    return client_watch_add(stream, &request);
}

/* The `index`-th message of a stream, which is to be a creation of `key` from `revision` on. */
static void assert_creation(struct note *note, size_t index, const char *key, int64_t revision) {
    assert_true(index < note->messages.count);
    Etcdserverpb__WatchRequest *request = NOTE_MESSAGE(&h, note, etcdserverpb__watch_request, index);
    assert_non_null(request->create_request);
    assert_true(slice_equal_cstr(pb_slice(request->create_request->key), key));
    assert_int_equal(request->create_request->start_revision, revision);
}

struct answer {
    int64_t watch_id, revision, compact_revision;
    bool created, canceled, fragment;
    const char *reason;
    const char *key; /* one event, at mod_revision */
    int64_t mod_revision;
};

static void answer(struct note *note, struct answer what) {
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    header.revision = what.revision;
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    Mvccpb__Event event = MVCCPB__EVENT__INIT, *events[] = {&event};
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.header = &header;
    response.watch_id = what.watch_id;
    response.created = what.created;
    response.canceled = what.canceled;
    response.fragment = what.fragment;
    response.compact_revision = what.compact_revision;
    if (what.reason != NULL) response.cancel_reason = (char *)(uintptr_t)what.reason;
    if (what.key != NULL) {
        kv.key = pb_bytes(slice_from_cstr(what.key));
        kv.mod_revision = what.mod_revision;
        event.kv = &kv;
        response.events = events;
        response.n_events = 1;
    }
    note_send(&h, note, &response);
    harness_run(&h);
}

static struct etcd_watch_response *take(void) {
    struct etcd_watch_response *response;
    int code;
    if (!client_watch_take(stream, &response, &code, NULL)) return NULL;
    assert_int_equal(code, ETCD_OK);
    return response;
}

static void assert_nothing(void) { assert_null(take()); }

static void assert_event(int64_t watch, const char *key, int64_t mod_revision) {
    struct etcd_watch_response *response = take();
    assert_non_null(response);
    assert_int_equal(response->watch, watch);
    assert_false(response->created || response->canceled);
    assert_int_equal(response->event_count, 1);
    assert_true(slice_equal_cstr(client_slice(response->events[0].kv.key), key));
    assert_int_equal(response->events[0].kv.mod_revision, mod_revision);
    client_response_free(response);
}

static void assert_canceled(int64_t watch, int code, const char *reason) {
    struct etcd_watch_response *response = take();
    assert_non_null(response);
    assert_int_equal(response->watch, watch);
    assert_true(response->canceled);
    assert_int_equal(response->code, code);
    assert_string_equal(response->cancel_reason, reason);
    assert_int_equal(response->event_count, 0);
    client_response_free(response);
}

static void test_events_find_their_watch(void **state) {
    begin(1);
    assert_int_equal(add("a", 0), 0);
    assert_int_equal(add("b", 7), 1);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    assert_creation(note, 0, "a", 0);
    assert_creation(note, 1, "b", 7);
    /* server ids need not be ours */
    answer(note, (struct answer){.watch_id = 1000, .created = true, .revision = 10});
    answer(note, (struct answer){.watch_id = 5, .created = true, .revision = 10});
    assert_nothing(); /* creations are told on request only */
    answer(note, (struct answer){.watch_id = 5, .revision = 10, .key = "b", .mod_revision = 7});
    answer(note, (struct answer){.watch_id = 1000, .revision = 11, .key = "a", .mod_revision = 11});
    answer(note, (struct answer){.watch_id = 77, .revision = 11, .key = "x", .mod_revision = 11}); /* nobody's */
    assert_event(1, "b", 7);
    assert_event(0, "a", 11);
    assert_nothing();
}

static void test_a_break_loses_and_repeats_nothing(void **state) {
    begin(2);
    add("fresh", 0);
    add("past", 3);
    add("never answered", 0);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    answer(note, (struct answer){.watch_id = 0, .created = true, .revision = 10});
    answer(note, (struct answer){.watch_id = 1, .created = true, .revision = 10});
    answer(note, (struct answer){.watch_id = 1, .revision = 10, .key = "past", .mod_revision = 4});
    harness_break_connection(&h);
    struct note *second = harness_note(&h, 1);
    assert_int_equal(second->endpoint, 1);
    assert_creation(second, 0, "fresh", 11); /* it was live from 11 on */
    assert_creation(second, 1, "past", 5);   /* although the header said 10 */
    assert_creation(second, 2, "never answered", 0);
    answer(second, (struct answer){.watch_id = 0, .created = true, .revision = 20});
    answer(second, (struct answer){.watch_id = 1, .created = true, .revision = 20});
    answer(second, (struct answer){.watch_id = 2, .created = true, .revision = 20});
    answer(second, (struct answer){.watch_id = 0, .revision = 20, .key = "fresh", .mod_revision = 12});
    assert_event(1, "past", 4);
    assert_event(0, "fresh", 12);
    assert_nothing();
}

static void test_progress_moves_the_point_of_resumption(void **state) {
    begin(1);
    add("a", 1);
    harness_run(&h);
    answer(harness_note(&h, 0), (struct answer){.watch_id = 0, .created = true, .revision = 10});
    answer(harness_note(&h, 0), (struct answer){.watch_id = 0, .revision = 50});
    struct etcd_watch_response *progress = take();
    assert_int_equal(progress->event_count, 0);
    assert_int_equal(progress->header.revision, 50);
    client_response_free(progress);
    harness_break_connection(&h);
    assert_creation(harness_note(&h, 1), 0, "a", 51);
}

static void test_asked_progress_is_for_the_whole_stream(void **state) {
    begin(1);
    add("a", 1);
    harness_run(&h);
    answer(harness_note(&h, 0), (struct answer){.watch_id = 0, .created = true, .revision = 10});
    client_watch_request_progress(stream);
    harness_run(&h);
    Etcdserverpb__WatchRequest *request = NOTE_MESSAGE(&h, harness_note(&h, 0), etcdserverpb__watch_request, 1);
    assert_non_null(request->progress_request);
    answer(harness_note(&h, 0), (struct answer){.watch_id = -1, .revision = 30});
    struct etcd_watch_response *progress = take();
    assert_int_equal(progress->watch, -1);
    assert_int_equal(progress->header.revision, 30);
    client_response_free(progress);
}

static void test_creation_is_told_once_when_asked(void **state) {
    begin(1);
    struct etcd_watch_request request = {.key = etcd_text("a"), .created_notify = true};
    client_watch_add(stream, &request);
    harness_run(&h);
    answer(harness_note(&h, 0), (struct answer){.watch_id = 0, .created = true, .revision = 10});
    struct etcd_watch_response *created = take();
    assert_true(created->created);
    assert_int_equal(created->header.revision, 10);
    client_response_free(created);
    harness_break_connection(&h);
    answer(harness_note(&h, 1), (struct answer){.watch_id = 0, .created = true, .revision = 10});
    assert_nothing();
}

static void test_fragments_come_as_one_answer(void **state) {
    begin(1);
    add("a", 1);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    answer(note, (struct answer){.watch_id = 0, .created = true, .revision = 10});
    answer(note, (struct answer){.watch_id = 0, .revision = 10, .key = "a1", .mod_revision = 9, .fragment = true});
    answer(note, (struct answer){.watch_id = 0, .revision = 10, .key = "a2", .mod_revision = 9, .fragment = true});
    assert_nothing();
    answer(note, (struct answer){.watch_id = 0, .revision = 10, .key = "a3", .mod_revision = 9});
    struct etcd_watch_response *response = take();
    assert_int_equal(response->event_count, 3);
    assert_memory_equal(response->events[0].kv.key.data, "a1", 2);
    assert_memory_equal(response->events[2].kv.key.data, "a3", 2);
    client_response_free(response);
    /* a break between fragments: the whole revision comes again */
    answer(note, (struct answer){.watch_id = 0, .revision = 11, .key = "b1", .mod_revision = 11, .fragment = true});
    harness_break_connection(&h);
    assert_creation(harness_note(&h, 1), 0, "a", 10);
    answer(harness_note(&h, 1), (struct answer){.watch_id = 0, .created = true, .revision = 11});
    answer(harness_note(&h, 1), (struct answer){.watch_id = 0, .revision = 11, .key = "b1", .mod_revision = 11});
    assert_event(0, "b1", 11);
}

static void test_cancel(void **state) {
    begin(1);
    add("a", 0);
    add("b", 0);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    client_watch_cancel(stream, 1); /* before its creation is answered */
    answer(note, (struct answer){.watch_id = 0, .created = true, .revision = 1});
    answer(note, (struct answer){.watch_id = 1, .created = true, .revision = 1});
    client_watch_cancel(stream, 0);
    client_watch_cancel(stream, 0);
    client_watch_cancel(stream, 99);
    harness_run(&h);
    assert_int_equal(note->messages.count, 4);
    Etcdserverpb__WatchRequest *first = NOTE_MESSAGE(&h, note, etcdserverpb__watch_request, 2);
    assert_int_equal(first->cancel_request->watch_id, 1);
    /* what was under way is dropped */
    answer(note, (struct answer){.watch_id = 0, .revision = 2, .key = "a", .mod_revision = 2});
    assert_nothing();
    answer(note, (struct answer){.watch_id = 0, .canceled = true, .revision = 2});
    assert_canceled(0, ETCD_CANCELED, "");
    answer(note, (struct answer){.watch_id = 1, .canceled = true, .revision = 2});
    assert_canceled(1, ETCD_CANCELED, "");
    /* neither comes back */
    harness_break_connection(&h);
    harness_pass(&h, 1000 * MS);
    assert_int_equal(harness_note(&h, 1)->messages.count, 0);
}

static void test_a_canceled_watch_ends_when_the_stream_breaks(void **state) {
    begin(1);
    add("a", 0);
    harness_run(&h);
    answer(harness_note(&h, 0), (struct answer){.watch_id = 0, .created = true, .revision = 1});
    client_watch_cancel(stream, 0);
    harness_break_connection(&h);
    assert_canceled(0, ETCD_CANCELED, "");
}

static void test_why_the_server_cancels(void **state) {
    begin(1);
    add("a", 1);
    add("b", 1);
    add("c", 1);
    add("d", 1);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    answer(note, (struct answer){.watch_id = 0, .created = true, .revision = 9});
    answer(note, (struct answer){.watch_id = -1, .created = true, .canceled = true, .reason = "no access"});
    answer(note, (struct answer){.watch_id = 1, .created = true, .revision = 9});
    answer(note, (struct answer){.watch_id = 2, .created = true, .revision = 9});
    answer(note, (struct answer){.watch_id = 0, .canceled = true, .compact_revision = 5});
    answer(note, (struct answer){.watch_id = 1, .canceled = true});
    assert_canceled(1, ETCD_FAILED_PRECONDITION, "no access");
    assert_canceled(0, ETCD_OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted");
    assert_canceled(2, ETCD_OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision");
    answer(note, (struct answer){.watch_id = 2, .revision = 10, .key = "d", .mod_revision = 10});
    assert_event(3, "d", 10);
}

static void test_the_stream_survives_unavailable_servers(void **state) {
    begin(1);
    add("a", 1);
    harness_run(&h);
    note_fail(harness_note(&h, 0), ERR_STOPPED);
    harness_run(&h);
    assert_int_equal(h.notes.count, 1);
    harness_pass(&h, CLIENT_WATCH_PAUSE_NS);
    assert_creation(harness_note(&h, 1), 0, "a", 1);
    note_fail(harness_note(&h, 1), ERR_INTERNAL);
    harness_pass(&h, CLIENT_WATCH_PAUSE_NS);
    assert_creation(harness_note(&h, 2), 0, "a", 1);
    assert_nothing();
}

static void test_other_errors_end_the_stream(void **state) {
    static const enum err errors[] = {ERR_PERMISSION_DENIED, ERR_INVALID_AUTH_TOKEN, ERR_NO_LEADER, ERR_UNIMPLEMENTED};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        begin(1);
        add("a", 1);
        harness_run(&h);
        note_fail(harness_note(&h, 0), errors[i]);
        harness_pass(&h, 1000 * MS);
        assert_int_equal(h.notes.count, 1);
        for (int again = 0; again < 2; again++) {
            struct etcd_watch_response *response;
            struct etcd_error error;
            int code;
            assert_true(client_watch_take(stream, &response, &code, &error));
            assert_int_equal(code, err_grpc_code(errors[i]));
            assert_string_equal(error.text, err_text(errors[i]));
        }
        add("b", 1); /* harmless */
        harness_pass(&h, 1000 * MS);
        assert_int_equal(h.notes.count, 1);
        if (i + 1 < sizeof(errors) / sizeof(errors[0])) tear_down(NULL);
    }
}

static void test_a_live_watch_may_be_canceled_after_the_end(void **state) {
    begin(1);
    add("a", 0);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    answer(note, (struct answer){.created = true, .revision = 10});
    note_fail(note, ERR_PERMISSION_DENIED);
    harness_run(&h);
    client_watch_cancel(stream, 0);
    harness_run(&h);
    struct etcd_watch_response *response;
    int code = ETCD_OK;
    assert_true(client_watch_take(stream, &response, &code, NULL));
    assert_int_equal(code, ETCD_PERMISSION_DENIED);
}

static void test_a_server_may_claim_the_last_revision(void **state) {
    begin(1);
    add("a", 0);
    harness_run(&h);
    answer(harness_note(&h, 0), (struct answer){.created = true, .revision = INT64_MAX});
    answer(harness_note(&h, 0), (struct answer){.revision = INT64_MAX, .key = "a", .mod_revision = INT64_MAX});
    assert_event(0, "a", INT64_MAX);
}

static void test_a_stream_can_require_a_leader(void **state) {
    harness_init(&h, 1);
    stream = client_watch_open(h.client, &(struct etcd_watch_stream_options){.require_leader = true});
    add("a", 0);
    harness_run(&h);
    assert_true(harness_note(&h, 0)->requires_leader);
}

static void test_a_reader_that_does_not_take_stops_the_server(void **state) {
    begin(1);
    add("a", 1);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    answer(note, (struct answer){.watch_id = 0, .created = true, .revision = 1});
    static char key[50000];
    memset(key, 'k', sizeof(key) - 1);
    for (int64_t revision = 2; revision < 400; revision++)
        answer(note, (struct answer){.watch_id = 0, .revision = revision, .key = key, .mod_revision = revision});
    assert_true(grpc_call_queued_bytes(note->call) > 100 * sizeof(key));
    for (int64_t revision = 2; revision < 400; revision++) {
        struct etcd_watch_response *response = take();
        if (response == NULL) {
            harness_run(&h);
            response = take();
        }
        assert_non_null(response);
        assert_int_equal(response->events[0].kv.mod_revision, revision);
        client_response_free(response);
    }
}

/* ---- callbacks ---- */

struct told {
    int answers, ends;
    bool close_stream;
    int64_t cancel; /* -1: none */
};

static void on_answer(void *context, const struct etcd_watch_response *response, const struct etcd_error *error) {
    struct told *told = context;
    if (response == NULL) {
        told->ends++;
        assert_true(error->code != ETCD_OK);
    } else {
        told->answers++;
    }
    if (told->cancel >= 0) client_watch_cancel(stream, told->cancel);
    if (told->close_stream) client_watch_close(TAKE(stream));
}

static struct note *begin_with_callback(struct told *told) {
    harness_init(&h, 1);
    stream = client_watch_open(h.client, &(struct etcd_watch_stream_options){.callback = on_answer, .context = told});
    add("a", 0);
    harness_run(&h);
    answer(harness_note(&h, 0), (struct answer){.watch_id = 0, .created = true, .revision = 1});
    return harness_note(&h, 0);
}

static void test_a_callback_gets_answers_and_the_end(void **state) {
    struct told told = {.cancel = -1};
    struct note *note = begin_with_callback(&told);
    answer(note, (struct answer){.watch_id = 0, .revision = 2, .key = "a", .mod_revision = 2});
    assert_int_equal(told.answers, 1);
    note_fail(note, ERR_PERMISSION_DENIED);
    harness_run(&h);
    assert_int_equal(told.ends, 1);
}

static void test_a_callback_may_cancel(void **state) {
    struct told told = {.cancel = 0};
    struct note *note = begin_with_callback(&told);
    answer(note, (struct answer){.watch_id = 0, .revision = 2, .key = "a", .mod_revision = 2});
    Etcdserverpb__WatchRequest *request = NOTE_MESSAGE(&h, note, etcdserverpb__watch_request, 1);
    assert_int_equal(request->cancel_request->watch_id, 0);
    answer(note, (struct answer){.watch_id = 0, .canceled = true, .revision = 2});
    assert_int_equal(told.answers, 2);
}

static void test_a_callback_may_close_the_stream(void **state) {
    struct told told = {.cancel = -1, .close_stream = true};
    struct note *note = begin_with_callback(&told);
    answer(note, (struct answer){.watch_id = 0, .revision = 2, .key = "a", .mod_revision = 2});
    harness_run(&h);
    assert_int_equal(told.answers, 1);
    assert_true(note->canceled);
}

static void test_a_callback_may_close_the_stream_at_its_end(void **state) {
    struct told told = {.cancel = -1, .close_stream = true};
    struct note *note = begin_with_callback(&told);
    note_fail(note, ERR_PERMISSION_DENIED);
    harness_run(&h);
    assert_int_equal(told.ends, 1);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_events_find_their_watch),
        TEST(test_a_break_loses_and_repeats_nothing),
        TEST(test_progress_moves_the_point_of_resumption),
        TEST(test_asked_progress_is_for_the_whole_stream),
        TEST(test_creation_is_told_once_when_asked),
        TEST(test_fragments_come_as_one_answer),
        TEST(test_cancel),
        TEST(test_a_canceled_watch_ends_when_the_stream_breaks),
        TEST(test_why_the_server_cancels),
        TEST(test_the_stream_survives_unavailable_servers),
        TEST(test_other_errors_end_the_stream),
        TEST(test_a_live_watch_may_be_canceled_after_the_end),
        TEST(test_a_server_may_claim_the_last_revision),
        TEST(test_a_stream_can_require_a_leader),
        TEST(test_a_reader_that_does_not_take_stops_the_server),
        TEST(test_a_callback_gets_answers_and_the_end),
        TEST(test_a_callback_may_cancel),
        TEST(test_a_callback_may_close_the_stream),
        TEST(test_a_callback_may_close_the_stream_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
