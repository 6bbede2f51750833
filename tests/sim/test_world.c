/* The world itself: a member lives in it, and the same seed makes the same things happen. */
#include "sim/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_a_member_serves_and_comes_back(void **state) {
    struct sim_stage stage;
    sim_stage_init(&stage, 1, NULL);
    sim_stage_start(&stage);
    struct server_status status;
    server_status(sim_member_server(stage.member), &status);
    assert_int_equal(status.raft_term, 2);
    sim_stage_put(&stage, "greeting", "hello");
    assert_string_equal(sim_stage_get(&stage, "greeting"), "hello");
    assert_string_equal(sim_stage_get(&stage, "nothing"), "");
    sim_stage_stop(&stage);
    assert_int_equal(sim_check_database(stage.disk), 0);
    sim_stage_start(&stage);
    assert_string_equal(sim_stage_get(&stage, "greeting"), "hello");
    sim_stage_release(&stage);
}

static void test_an_hour_is_short(void **state) {
    struct sim_stage stage;
    sim_stage_init(&stage, 1, NULL);
    sim_stage_start(&stage);
    sim_run_for(stage.sim, 3600 * SIM_S_NS);
    sim_stage_put(&stage, "later", "yes");
    assert_string_equal(sim_stage_get(&stage, "later"), "yes");
    sim_stage_release(&stage);
}

static void test_a_crash_keeps_what_was_acknowledged(void **state) {
    for (int loss = 0; loss < SIM_LOSS_COUNT; loss++) {
        struct sim_stage stage;
        sim_stage_init(&stage, 7, NULL);
        sim_stage_start(&stage);
        for (int i = 0; i < 20; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            sim_stage_put(&stage, key, "v");
        }
        sim_stage_crash(&stage, (enum sim_loss)loss);
        sim_stage_start(&stage);
        assert_string_equal(sim_stage_get(&stage, "k0"), "v");
        assert_string_equal(sim_stage_get(&stage, "k19"), "v");
        sim_stage_release(&stage);
    }
}

static void test_what_was_not_synced_can_be_lost(void **state) {
    static const struct sim_member_options options = {.unsafe_no_fsync = true};
    struct sim_stage stage;
    struct errmsg message;
    sim_stage_init(&stage, 7, &options);
    sim_stage_start(&stage);
    sim_stage_put(&stage, "key", "value");
    sim_stage_crash(&stage, SIM_DROP);
    if (sim_stage_try_start(&stage, &message)) assert_string_equal(sim_stage_get(&stage, "key"), "");
    sim_stage_release(&stage);
}

static uint64_t fingerprint_of_run(uint64_t seed) {
    struct sim_stage stage;
    sim_stage_init(&stage, seed, NULL);
    sim_stage_start(&stage);
    for (int i = 0; i < 50; i++) sim_stage_put(&stage, "key", "value");
    sim_run_for(stage.sim, 10 * SIM_S_NS);
    uint64_t fingerprint = sim_disk_fingerprint(stage.disk) ^ (uint64_t)sim_now_ns(stage.sim);
    sim_stage_release(&stage);
    return fingerprint;
}

static void test_the_same_seed_makes_the_same_run(void **state) {
    uint64_t first = fingerprint_of_run(3);
    assert_int_equal(first, fingerprint_of_run(3));
    assert_int_not_equal(first, fingerprint_of_run(4));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_member_serves_and_comes_back),
        cmocka_unit_test(test_an_hour_is_short),
        cmocka_unit_test(test_a_crash_keeps_what_was_acknowledged),
        cmocka_unit_test(test_what_was_not_synced_can_be_lost),
        cmocka_unit_test(test_the_same_seed_makes_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
