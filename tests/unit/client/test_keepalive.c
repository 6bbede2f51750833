/* Renewal of leases: a third of the TTL, over broken streams, until the lease is gone. */
#include "client/keepalive.h"
#include "harness.h"

#define SECOND (1000 * MS)

static struct harness h;
static struct client_renewals *renewals;

static int tear_down(void **state) {
    client_renewals_free(TAKE(renewals));
    harness_release(&h);
    return 0;
}

static void begin(size_t endpoints) {
    harness_init(&h, endpoints);
    renewals = client_renewals_new(h.client);
}

static void answer(struct note *note, int64_t lease, int64_t ttl_s) {
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    response.id = lease;
    response.ttl = ttl_s;
    note_send(&h, note, &response);
    harness_run(&h);
}

static int64_t lease_of(struct note *note, size_t index) {
    assert_true(index < note->messages.count);
    Etcdserverpb__LeaseKeepAliveRequest *request =
        NOTE_MESSAGE(&h, note, etcdserverpb__lease_keep_alive_request, index);
    return request->id;
}

static bool is_ended(struct etcd_keepalive *keepalive) {
    struct etcd_lease_keepalive_response response;
    struct etcd_error error;
    int code;
    while (client_keepalive_take(keepalive, &response, &code, &error)) {
        if (code == ETCD_OK) continue;
        assert_int_equal(code, ETCD_NOT_FOUND);
        assert_string_equal(error.text, "etcdserver: requested lease not found");
        return true;
    }
    return false;
}

static void test_a_lease_is_renewed_every_third_of_its_ttl(void **state) {
    begin(1);
    struct etcd_keepalive *keepalive = client_keepalive_open(renewals, 7, NULL, NULL);
    harness_run(&h);
    struct note *note = harness_note(&h, 0);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(note->messages.count, i + 1);
        assert_int_equal(lease_of(note, i), 7);
        answer(note, 7, 30);
        struct etcd_lease_keepalive_response response;
        int code;
        assert_true(client_keepalive_take(keepalive, &response, &code, NULL));
        assert_int_equal(response.ttl_s, 30);
        assert_false(client_keepalive_take(keepalive, &response, &code, NULL));
        harness_pass(&h, 10 * SECOND - 1);
        assert_int_equal(note->messages.count, i + 1);
        harness_pass(&h, 1);
    }
    client_keepalive_close(keepalive);
    size_t sent = note->messages.count;
    harness_pass(&h, 60 * SECOND);
    assert_int_equal(note->messages.count, sent);
    assert_true(note->canceled); /* nobody needs the stream any more */
}

static void test_leases_share_a_stream(void **state) {
    begin(1);
    struct etcd_keepalive *keepalives[20];
    for (int64_t i = 0; i < 20; i++) keepalives[i] = client_keepalive_open(renewals, 100 + i, NULL, NULL);
    harness_run(&h);
    assert_int_equal(h.notes.count, 1);
    assert_int_equal(harness_note(&h, 0)->messages.count, 20);
    for (int64_t i = 20; i-- > 0;) answer(harness_note(&h, 0), 100 + i, 3 * (i + 1));
    harness_pass(&h, 1 * SECOND);
    assert_int_equal(harness_note(&h, 0)->messages.count, 21); /* the one of 3 s */
    for (size_t i = 0; i < 20; i++) client_keepalive_close(keepalives[i]);
}

static void test_a_lease_that_is_gone_ends_the_renewal(void **state) {
    begin(1);
    struct etcd_keepalive *keepalive = client_keepalive_open(renewals, 7, NULL, NULL);
    harness_run(&h);
    answer(harness_note(&h, 0), 7, 0);
    assert_true(is_ended(keepalive));
    assert_true(is_ended(keepalive));
    harness_pass(&h, 60 * SECOND);
    assert_int_equal(harness_note(&h, 0)->messages.count, 1);
    client_keepalive_close(keepalive);
}

static void test_a_break_is_survived(void **state) {
    begin(2);
    struct etcd_keepalive *one = client_keepalive_open(renewals, 1, NULL, NULL);
    struct etcd_keepalive *two = client_keepalive_open(renewals, 2, NULL, NULL);
    harness_run(&h);
    answer(harness_note(&h, 0), 1, 30);
    answer(harness_note(&h, 0), 2, 30);
    harness_break_connection(&h);
    harness_run(&h);
    struct note *note = harness_note(&h, 1);
    assert_int_equal(note->endpoint, 1);
    assert_int_equal(lease_of(note, 0), 1);
    assert_int_equal(lease_of(note, 1), 2);
    client_keepalive_close(one);
    client_keepalive_close(two);
}

static void test_a_refused_stream_is_opened_again_after_a_pause(void **state) {
    begin(1);
    struct etcd_keepalive *keepalive = client_keepalive_open(renewals, 1, NULL, NULL);
    harness_run(&h);
    note_fail(harness_note(&h, 0), ERR_NO_LEADER);
    harness_pass(&h, CLIENT_KEEPALIVE_PAUSE_NS - 1);
    assert_int_equal(h.notes.count, 1);
    harness_pass(&h, 1);
    assert_int_equal(lease_of(harness_note(&h, 1), 0), 1);
    answer(harness_note(&h, 1), 1, 30);
    assert_false(is_ended(keepalive));
    client_keepalive_close(keepalive);
}

static void test_without_answers_the_lease_counts_as_gone_when_its_ttl_is_over(void **state) {
    begin(1);
    struct etcd_keepalive *keepalive = client_keepalive_open(renewals, 1, NULL, NULL);
    harness_run(&h);
    answer(harness_note(&h, 0), 1, 9);
    h.servers[0].is_up = false;
    harness_break_connection(&h);
    harness_pass(&h, 9 * SECOND - 1);
    assert_false(is_ended(keepalive));
    harness_pass(&h, 1);
    assert_true(is_ended(keepalive));
    client_keepalive_close(keepalive);
}

static void test_without_a_first_answer_it_ends_too(void **state) {
    begin(1);
    h.servers[0].is_up = false;
    struct etcd_keepalive *keepalive = client_keepalive_open(renewals, 1, NULL, NULL);
    harness_pass(&h, 3 * SECOND - 1); /* dial timeout and a second */
    assert_false(is_ended(keepalive));
    harness_pass(&h, 1);
    assert_true(is_ended(keepalive));
    client_keepalive_close(keepalive);
}

/* ---- callbacks, and several renewals of one lease ---- */

struct told {
    struct etcd_keepalive *self;
    struct etcd_keepalive **victim; /* closed in the callback */
    int answers, ends;
};

static void on_answer(void *context, const struct etcd_lease_keepalive_response *response,
                      const struct etcd_error *error) {
    struct told *told = context;
    if (response != NULL)
        told->answers++;
    else
        told->ends++;
    if (told->victim != NULL) client_keepalive_close(TAKE(*told->victim));
}

static void test_several_renewals_of_one_lease(void **state) {
    begin(1);
    struct told told[3] = {0};
    for (size_t i = 0; i < 3; i++) told[i].self = client_keepalive_open(renewals, 5, on_answer, &told[i]);
    harness_run(&h);
    answer(harness_note(&h, 0), 5, 30);
    for (size_t i = 0; i < 3; i++) assert_int_equal(told[i].answers, 1);
    answer(harness_note(&h, 0), 5, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(told[i].answers, 1);
        assert_int_equal(told[i].ends, 1);
        client_keepalive_close(told[i].self);
    }
}

static void test_a_callback_may_close_itself_or_another(void **state) {
    for (size_t closer = 0; closer < 3; closer++) {
        for (size_t victim = 0; victim < 3; victim++) {
            for (int64_t ttl_s = 0; ttl_s <= 30; ttl_s += 30) {
                begin(1);
                struct told told[3] = {0};
                for (size_t i = 0; i < 3; i++) told[i].self = client_keepalive_open(renewals, 5, on_answer, &told[i]);
                told[closer].victim = &told[victim].self;
                harness_run(&h);
                answer(harness_note(&h, 0), 5, ttl_s);
                for (size_t i = 0; i < 3; i++) {
                    assert_true(told[i].answers + told[i].ends <= 1);
                    client_keepalive_close(told[i].self);
                }
                tear_down(NULL);
            }
        }
    }
    begin(1);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_lease_is_renewed_every_third_of_its_ttl),
        TEST(test_leases_share_a_stream),
        TEST(test_a_lease_that_is_gone_ends_the_renewal),
        TEST(test_a_break_is_survived),
        TEST(test_a_refused_stream_is_opened_again_after_a_pause),
        TEST(test_without_answers_the_lease_counts_as_gone_when_its_ttl_is_over),
        TEST(test_without_a_first_answer_it_ends_too),
        TEST(test_several_renewals_of_one_lease),
        TEST(test_a_callback_may_close_itself_or_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
