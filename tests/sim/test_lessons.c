/* What has hurt etcd's users and can happen on one member: a test for each bug, by its number (docs/LESSONS.md).
 *
 * Bugs of crashes at the wrong moment are the crash sweep's (test_crash.c): it goes through all moments. */
#include "base/check.h"
#include "base/mem.h"
#include "base/vec.h"
#include "client/watch.h"
#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"
#include "sim/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void start(struct sim_stage *stage, const struct sim_member_options *options) {
    sim_stage_init(stage, 1, options);
    sim_stage_start(stage);
}

static void crash_and_start(struct sim_stage *stage) {
    sim_stage_crash(stage, SIM_DROP);
    sim_stage_start(stage);
}

static void delete_key(struct sim_stage *stage, const char *key) {
    struct etcd_delete_request gone = {.key = etcd_text(key)};
    sim_stage_call(stage, ETCD_METHOD_DELETE, &gone);
}

static void compact(struct sim_stage *stage, int64_t revision) {
    struct etcd_compact_request request = {.revision = revision, .physical = true};
    sim_stage_call(stage, ETCD_METHOD_COMPACT, &request);
}

static struct sim_state state_of(struct sim_stage *stage) {
    struct sim_state state;
    CHECK(sim_stage_state(stage, 0, &state));
    return state;
}

/* ---- leases ---- */

static int64_t remaining_s(struct sim_stage *stage, int64_t lease) {
    struct etcd_lease_ttl_request request = {.id = lease};
    struct etcd_lease_ttl_response *response;
    struct etcd_error error = {0};
    CHECKF(sim_client_call(stage->client, ETCD_METHOD_LEASE_TTL, &request, &response, &error) == ETCD_OK, "%s",
           error.text);
    int64_t remaining = response->ttl_s;
    client_response_free(response);
    return remaining;
}

/* With checkpoints kept, a restart does not give a lease its whole life again. */
static void test_13508_a_lease_keeps_its_checkpoint(void **state) {
    static const struct sim_member_options options = {.lease_checkpoints = true};
    struct sim_stage stage;
    start(&stage, &options);
    struct etcd_lease_grant_request grant = {.ttl_s = 3600, .id = 7};
    sim_stage_call(&stage, ETCD_METHOD_LEASE_GRANT, &grant);
    sim_run_for(stage.sim, 1000 * SIM_S_NS);
    crash_and_start(&stage);
    assert_in_range(remaining_s(&stage, 7), 2500, 2710); /* checkpoints come every five minutes */
    sim_stage_release(&stage);
}

/* A lease whose time is over goes once, with all its keys at one revision, and stays gone. */
static void test_a_lease_that_ran_out_takes_its_keys_for_good(void **state) {
    struct sim_stage stage;
    start(&stage, NULL);
    struct etcd_lease_grant_request grant = {.ttl_s = 10, .id = 7};
    sim_stage_call(&stage, ETCD_METHOD_LEASE_GRANT, &grant);
    for (const char *key = "a"; key[0] <= 'c'; key = key[0] == 'a' ? "b" : key[0] == 'b' ? "c" : "d") {
        struct etcd_put_request put = {.key = etcd_text(key), .value = etcd_text("v"), .lease = 7};
        sim_stage_call(&stage, ETCD_METHOD_PUT, &put);
    }
    int64_t revision = state_of(&stage).revision;
    sim_run_for(stage.sim, 15 * SIM_S_NS);
    assert_int_equal(state_of(&stage).revision, revision + 1);
    assert_string_equal(sim_stage_get(&stage, "a"), "");
    crash_and_start(&stage);
    sim_run_for(stage.sim, 15 * SIM_S_NS);
    assert_int_equal(state_of(&stage).revision, revision + 1);
    sim_stage_release(&stage);
}

/* ---- compaction ---- */

/* The newest revision may be a deletion that the compaction takes away: the store's revision must not go back. */
static void test_17780_the_revision_does_not_go_back(void **state) {
    for (int loss = 0; loss < SIM_LOSS_COUNT; loss++) {
        struct sim_stage stage;
        start(&stage, NULL);
        sim_stage_put(&stage, "k", "v");
        delete_key(&stage, "k");
        int64_t revision = state_of(&stage).revision;
        compact(&stage, revision);
        sim_run_for(stage.sim, SIM_S_NS);
        sim_stage_crash(&stage, (enum sim_loss)loss);
        sim_stage_start(&stage);
        assert_int_equal(state_of(&stage).revision, revision);
        sim_stage_put(&stage, "k", "again");
        assert_int_equal(state_of(&stage).revision, revision + 1);
        sim_stage_release(&stage);
    }
}

/* A transaction with a range at a compacted or future revision does nothing at all. */
static void test_18667_a_txn_with_a_bad_range_writes_nothing(void **state) {
    struct sim_stage stage;
    start(&stage, NULL);
    for (int i = 0; i < 10; i++) sim_stage_put(&stage, "k", "v");
    compact(&stage, 8);
    struct sim_state before = state_of(&stage);
    struct etcd_put_request put = {.key = etcd_text("half"), .value = etcd_text("done")};
    struct etcd_range_request bad[] = {{.key = etcd_text("k"), .revision = 3}, {.key = etcd_text("k"), .revision = 99}};
    for (int i = 0; i < 4; i++) {
        struct etcd_op ops[2] = {{.type = ETCD_OP_PUT, .put = &put}, {.type = ETCD_OP_RANGE, .range = &bad[i / 2]}};
        struct etcd_op turned[2] = {ops[1], ops[0]};
        struct etcd_txn_request txn = {.success = i % 2 ? ops : turned, .success_count = 2};
        struct etcd_error error = {0};
        assert_int_not_equal(sim_client_call(stage.client, ETCD_METHOD_TXN, &txn, NULL, &error), ETCD_OK);
        assert_string_equal(error.text, i / 2 ? "etcdserver: mvcc: required revision is a future revision"
                                              : "etcdserver: mvcc: required revision has been compacted");
        struct sim_state after = state_of(&stage);
        assert_true(sim_state_equals(&before, &after));
    }
    crash_and_start(&stage);
    struct sim_state after = state_of(&stage);
    assert_true(sim_state_equals(&before, &after));
    sim_stage_release(&stage);
}

/* ---- users and members after a snapshot ---- */

static int64_t auth_revision(struct sim_stage *stage) {
    return (int64_t)auth_store_revision(server_auth(sim_member_server(stage->member)));
}

static const struct sim_member_options snapshots = {.snapshot_count = 5, .catch_up_entries = 2, .max_snapshots = 2};

struct asked {
    struct server_request request;
    bool is_done;
};

static void answered(struct server_request *request) { CONTAINER_OF(request, struct asked, request)->is_done = true; }
static bool is_done(void *context) { return ((struct asked *)context)->is_done; }

/* The client library has no calls for users: they go to the server itself. */
static void call_raw(struct sim_stage *stage, enum server_op op, const void *message) {
    struct buf encoded = BUF_INIT;
    pb_pack(message, &encoded);
    struct asked asked = {.request = {.op = op, .encoded = buf_slice(&encoded), .message = message}};
    asked.request.callback = answered;
    CHECK(server_propose(sim_member_server(stage->member), &asked.request) == OK);
    CHECK(sim_run_until(stage->sim, is_done, &asked, 60 * SIM_S_NS));
    assert_int_equal(asked.request.error, OK);
    buf_release(&encoded);
}

static void test_14571_users_are_the_same_after_a_snapshot(void **state) {
    struct sim_stage stage;
    start(&stage, &snapshots);
    for (int i = 0; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof name, "role%d", i);
        Etcdserverpb__AuthRoleAddRequest role = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
        role.name = name;
        call_raw(&stage, SERVER_OP_AUTH_ROLE_ADD, &role);
    }
    int64_t revision = auth_revision(&stage);
    assert_int_not_equal(revision, 0);
    for (int i = 0; i < 20; i++) sim_stage_put(&stage, "k", "v");
    assert_int_not_equal(server_stats(sim_member_server(stage.member))->snapshots_saved, 0);
    crash_and_start(&stage);
    assert_int_equal(auth_revision(&stage), revision);
    sim_stage_release(&stage);
}

static void assert_member_is(struct sim_stage *stage, const char *name, const char *url) {
    struct etcd_member_list_request request = {0};
    struct etcd_members_response *response;
    struct etcd_error error = {0};
    CHECKF(sim_client_call(stage->client, ETCD_METHOD_MEMBER_LIST, &request, &response, &error) == ETCD_OK, "%s",
           error.text);
    assert_int_equal(response->member_count, 1);
    assert_string_equal(response->members[0].name, name);
    assert_int_equal(response->members[0].client_url_count, 1);
    assert_string_equal(response->members[0].client_urls[0], url);
    client_response_free(response);
}

static void test_19557_the_members_are_the_same_after_a_snapshot(void **state) {
    struct sim_stage stage;
    start(&stage, &snapshots);
    for (int i = 0; i < 20; i++) sim_stage_put(&stage, "k", "v");
    for (int i = 0; i < 2; i++) {
        assert_member_is(&stage, "default", "http://localhost:2379");
        crash_and_start(&stage);
    }
    sim_stage_release(&stage);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_13508_a_lease_keeps_its_checkpoint),
        cmocka_unit_test(test_a_lease_that_ran_out_takes_its_keys_for_good),
        cmocka_unit_test(test_17780_the_revision_does_not_go_back),
        cmocka_unit_test(test_18667_a_txn_with_a_bad_range_writes_nothing),
        cmocka_unit_test(test_14571_users_are_the_same_after_a_snapshot),
        cmocka_unit_test(test_19557_the_members_are_the_same_after_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
