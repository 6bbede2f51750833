/* One member on a real disk: what is acknowledged is there after a restart, in whatever order it ended. */
#include "fixture.h"

#include "base/bytes.h"

static void a_new_member_has_etcds_ids_and_version(void **state) {
    struct fixture *f = *state;
    struct server_status status;
    server_status(f->server, &status);
    assert_true(status.member_id == 0x8e9e05c52164694dull);
    assert_true(status.cluster_id == 0xcdf818194e3a8c32ull);
    assert_true(status.leader == status.member_id);
    /* 2 (tests/sim/test_world.c), but for a disk that takes longer for the vote than this fixture's elections do, 100
     * ms
     */
    assert_true(status.raft_term >= 2);
}

static void a_put_is_answered_with_its_revision(void **state) {
    struct fixture *f = *state;
    assert_int_equal(put(f, "a", "1", 0), 2);
    assert_int_equal(put(f, "a", "2", 0), 3);
    assert_true(value_is(f, "a", "2"));
}

static void what_was_acknowledged_survives_a_stop(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        put(f, key, key, 0);
    }
    stop(f);
    start(f);
    assert_int_equal(store_revision(server_store(f->server)), 51);
    assert_true(value_is(f, "k0", "k0"));
    assert_true(value_is(f, "k49", "k49"));
    assert_int_equal(put(f, "after", "x", 0), 52);
}

static void snapshots_let_the_log_go_and_restarts_use_them(void **state) {
    struct fixture *f = *state;
    stop(f);
    f->snapshot_count = 10;
    start(f);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 35; i++) put(f, "s", "v", 0);
        int64_t revision = store_revision(server_store(f->server));
        stop(f);
        start(f);
        assert_int_equal(store_revision(server_store(f->server)), revision);
        assert_true(value_is(f, "s", "v"));
    }
}

static void a_lease_takes_its_keys_with_it(void **state) {
    struct fixture *f = *state;
    Etcdserverpb__LeaseGrantRequest grant = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    grant.id = 7;
    grant.ttl = 100;
    assert_int_equal(ask(f, SERVER_OP_LEASE_GRANT, &grant, NULL), OK);
    assert_int_equal(ask(f, SERVER_OP_LEASE_GRANT, &grant, NULL), ERR_LEASE_EXISTS);
    put(f, "l1", "x", 7);
    put(f, "l2", "x", 7);
    stop(f);
    start(f);
    assert_true(lessor_exists(server_lessor(f->server), 7));
    Etcdserverpb__LeaseRevokeRequest revoke = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    revoke.id = 7;
    int64_t before = store_revision(server_store(f->server));
    assert_int_equal(ask(f, SERVER_OP_LEASE_REVOKE, &revoke, NULL), OK);
    assert_int_equal(store_revision(server_store(f->server)), before + 1);
    assert_true(value_is(f, "l1", NULL));
    assert_true(value_is(f, "l2", NULL));
    assert_int_equal(ask(f, SERVER_OP_LEASE_REVOKE, &revoke, NULL), ERR_LEASE_NOT_FOUND);
}

static void a_request_too_large_is_refused_before_the_log(void **state) {
    struct fixture *f = *state;
    size_t size = 1572864;
    uint8_t *big = mem_calloc(1, size);
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = pb_bytes(SLICE_LITERAL("k"));
    request.value = pb_bytes(slice_make(big, size));
    assert_int_equal(ask(f, SERVER_OP_PUT, &request, NULL), ERR_REQUEST_TOO_LARGE);
    /* To the byte: tag and length of the put count, and a header with the id. */
    size_t around = 1 + 3 + 3 + 1 + varint_size(server_next_id(f->server)), head_of_value = 1 + 3, key = 3;
    request.value.len = size - around - head_of_value - key;
    assert_int_equal(ask(f, SERVER_OP_PUT, &request, NULL), OK);
    request.value.len++;
    assert_int_equal(ask(f, SERVER_OP_PUT, &request, NULL), ERR_REQUEST_TOO_LARGE);
    mem_free(big);
}

static void nospace_refuses_what_grows_until_it_is_disarmed(void **state) {
    struct fixture *f = *state;
    Etcdserverpb__AlarmRequest alarm = ETCDSERVERPB__ALARM_REQUEST__INIT;
    alarm.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    alarm.memberid = 5;
    alarm.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    put(f, "a", "1", 0);
    assert_int_equal(ask(f, SERVER_OP_ALARM, &alarm, NULL), OK);
    stop(f);
    start(f);
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = pb_bytes(SLICE_LITERAL("b"));
    assert_int_equal(ask(f, SERVER_OP_PUT, &request, NULL), ERR_NO_SPACE);
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    delete.key = pb_bytes(SLICE_LITERAL("a"));
    assert_int_equal(ask(f, SERVER_OP_DELETE_RANGE, &delete, NULL), OK);
    alarm.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
    assert_int_equal(ask(f, SERVER_OP_ALARM, &alarm, NULL), OK);
    assert_int_equal(ask(f, SERVER_OP_PUT, &request, NULL), OK);
}

struct reader {
    struct server_read read;
    enum err error;
    bool is_done;
};

static void read_known(struct server_read *read, enum err error) {
    struct reader *reader = (struct reader *)read;
    reader->error = error;
    reader->is_done = true;
}
static bool is_read(void *context) { return ((struct reader *)context)->is_done; }

static void a_linearizable_read_waits_for_the_index(void **state) {
    struct fixture *f = *state;
    struct reader reader = {.read = {.callback = read_known}};
    assert_int_equal(server_read_index(f->server, &reader.read), OK);
    assert_false(reader.is_done);
    assert_true(os_world_run(f->world, is_read, &reader, LIMIT_NS));
    assert_int_equal(reader.error, OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_member_has_etcds_ids_and_version, setup, teardown),
        cmocka_unit_test_setup_teardown(a_put_is_answered_with_its_revision, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_acknowledged_survives_a_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshots_let_the_log_go_and_restarts_use_them, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lease_takes_its_keys_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_too_large_is_refused_before_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(nospace_refuses_what_grows_until_it_is_disarmed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_linearizable_read_waits_for_the_index, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
