/* The world itself: a member lives in it, and the same seed makes the same things happen. */
#include "base/mem.h"
#include "sim/client.h"
#include "sim/disk.h"
#include "sim/member.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_net *net;
    struct sim_machine *host, *desk;
    struct sim_member *member;
    struct sim_client *client;
};

static const struct sim_member_options options = {.address = "host:2379"};

static void start(struct fixture *f) {
    struct errmsg message = {{0}};
    f->host = sim_machine_new(f->sim, "host", f->disk, NULL);
    f->member = sim_member_start(f->net, f->host, &options, &message);
    if (f->member == NULL) fail_msg("%s", message.text);
    assert_true(sim_member_wait_ready(f->member));
}

static void setup(struct fixture *f, uint64_t seed) {
    *f = (struct fixture){.sim = sim_new(seed), .disk = sim_disk_new()};
    f->net = sim_net_new(f->sim);
    f->desk = sim_machine_new(f->sim, "desk", NULL, NULL);
    start(f);
    f->client = sim_client_new(f->net, f->desk, "host:2379", 0);
}

static void teardown(struct fixture *f) {
    sim_client_free(f->client);
    sim_member_stop(f->member);
    sim_machine_free(f->host);
    sim_machine_free(f->desk);
    sim_net_free(f->net);
    sim_free(f->sim);
    sim_disk_free(f->disk);
}

static void put(struct fixture *f, const char *key, const char *value) {
    struct etcd_put_request request = {.key = etcd_text(key), .value = etcd_text(value)};
    struct etcd_error error = {0};
    if (sim_client_call(f->client, ETCD_METHOD_PUT, &request, NULL, &error) != ETCD_OK) fail_msg("%s", error.text);
}

static void assert_value(struct fixture *f, const char *key, const char *value) {
    struct etcd_range_request request = {.key = etcd_text(key)};
    struct etcd_range_response *response;
    struct etcd_error error = {0};
    if (sim_client_call(f->client, ETCD_METHOD_RANGE, &request, &response, &error) != ETCD_OK)
        fail_msg("%s", error.text);
    assert_int_equal(response->kv_count, value != NULL);
    if (value != NULL) {
        assert_int_equal(response->kvs[0].value.len, strlen(value));
        assert_memory_equal(response->kvs[0].value.data, value, strlen(value));
    }
    client_response_free(response);
}

static void test_a_member_serves_and_comes_back(void **state) {
    struct fixture f;
    setup(&f, 1);
    put(&f, "greeting", "hello");
    assert_value(&f, "greeting", "hello");
    assert_value(&f, "nothing", NULL);
    sim_member_stop(f.member);
    sim_machine_free(f.host);
    start(&f);
    assert_value(&f, "greeting", "hello");
    teardown(&f);
}

static void test_an_hour_is_short(void **state) {
    struct fixture f;
    setup(&f, 1);
    sim_run_for(f.sim, 3600 * SIM_S_NS);
    put(&f, "later", "yes");
    assert_value(&f, "later", "yes");
    teardown(&f);
}

static void test_a_dropped_member_keeps_what_it_acknowledged(void **state) {
    for (int loss = 0; loss < SIM_LOSS_COUNT; loss++) {
        struct fixture f;
        setup(&f, 7);
        for (int i = 0; i < 20; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            put(&f, key, "v");
        }
        struct sim_disk *image = sim_disk_image(f.disk, (enum sim_loss)loss, sim_prng(f.sim));
        sim_member_drop(f.member, SIM_CLOSE_RESET);
        sim_machine_free(f.host);
        sim_disk_free(f.disk);
        f.disk = image;
        start(&f);
        assert_value(&f, "k0", "v");
        assert_value(&f, "k19", "v");
        teardown(&f);
    }
}

static uint64_t fingerprint_of_run(uint64_t seed) {
    struct fixture f;
    setup(&f, seed);
    for (int i = 0; i < 50; i++) put(&f, "key", "value");
    sim_run_for(f.sim, 10 * SIM_S_NS);
    int64_t now_ns = sim_now_ns(f.sim);
    uint64_t fingerprint = sim_disk_fingerprint(f.disk) ^ (uint64_t)now_ns;
    teardown(&f);
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
        cmocka_unit_test(test_a_dropped_member_keeps_what_it_acknowledged),
        cmocka_unit_test(test_the_same_seed_makes_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
