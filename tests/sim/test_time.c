/* What only time brings: automatic compaction, and how flushes gather what many clients send. */
#include "base/check.h"
#include "mvcc/store.h"
#include "server/compactor.h"
#include "sim/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MINUTE_NS (60 * SIM_S_NS)
#define HOURS 12
#define MINUTES (HOURS * 60)

static int64_t compacted(struct sim_stage *stage) {
    return store_compact_revision(server_store(sim_member_server(stage->member)));
}
static int64_t revision(struct sim_stage *stage) {
    return store_revision(server_store(sim_member_server(stage->member)));
}

static void test_revision_mode_keeps_so_many(void **state) {
    struct sim_stage stage;
    sim_stage_init(&stage, 1, NULL);
    sim_stage_start(&stage);
    struct compactor *compactor = compactor_new(sim_member_server(stage.member), COMPACTOR_REVISION, 100);
    for (int i = 0; i < 50; i++) sim_stage_put(&stage, "k", "v");
    sim_run_for(stage.sim, 6 * MINUTE_NS);
    assert_int_equal(compacted(&stage), -1);
    for (int i = 0; i < 1000; i++) sim_stage_put(&stage, "k", "v");
    sim_run_for(stage.sim, 5 * MINUTE_NS);
    assert_int_equal(compacted(&stage), revision(&stage) - 100);
    sim_run_for(stage.sim, 60 * MINUTE_NS);
    assert_int_equal(compacted(&stage), revision(&stage) - 100);
    compactor_free(compactor);
    sim_stage_release(&stage);
}

/* Everything of the retention is always there; what is older goes within an hour (or the retention, when shorter) and
 * two tenths: it looks ten times in that time, and counts from when the last compaction was over. */
static void test_periodic_mode_keeps_what_the_retention_brought(void **state) {
    static const int retentions_min[] = {10, 60, 150};
    for (unsigned i = 0; i < 3; i++) {
        struct sim_stage stage;
        static int64_t at_minute[MINUTES + 1];
        int keep = retentions_min[i], slack = keep < 60 ? keep : 60;
        sim_stage_init(&stage, 1, NULL);
        sim_stage_start(&stage);
        struct compactor *compactor =
            compactor_new(sim_member_server(stage.member), COMPACTOR_PERIODIC, keep * MINUTE_NS);
        for (int minute = 0; minute <= MINUTES; minute++) {
            at_minute[minute] = revision(&stage);
            for (int put = 0; put < minute % 7; put++) sim_stage_put(&stage, "k", "v");
            if (minute >= keep)
                assert_true(compacted(&stage) <= at_minute[minute - keep]);
            else
                assert_int_equal(compacted(&stage), -1);
            int oldest = minute - keep - slack - 2 * slack / 10 - 1;
            if (oldest > 0) assert_true(compacted(&stage) >= at_minute[oldest]);
            sim_run_for(stage.sim, MINUTE_NS);
        }
        compactor_free(compactor);
        sim_stage_release(&stage);
    }
}

/* ---- flushes ---- */

struct load {
    struct sim_stage *stage;
    unsigned left, waiting;
};

static void answered(void *context, void *response, const struct etcd_error *error);

static void send_one(struct load *self) {
    struct etcd_put_request put = {.key = etcd_text("key"), .value = etcd_text("value")};
    self->left--;
    self->waiting++;
    client_call_start(sim_client_core(self->stage->client), ETCD_METHOD_PUT, &put, answered, self);
}

static void answered(void *context, void *response, const struct etcd_error *error) {
    struct load *self = context;
    CHECK(response != NULL);
    client_response_free(response);
    self->waiting--;
    if (self->left > 0) send_one(self);
}

static bool is_over(void *context) { return ((struct load *)context)->waiting == 0; }

/* -> entries of one flush, on average; *ret_ns: how long a put takes. */
static double flushed_together(unsigned clients, int64_t sync_ns, int64_t *ret_ns) {
    struct sim_stage stage;
    struct sim_disk_speed speed = {.write_ns = 5000, .byte_ps = 500, .sync_ns = sync_ns};
    sim_stage_init(&stage, 1, NULL);
    sim_disk_set_speed(stage.disk, &speed);
    sim_stage_start(&stage);
    const struct server_stats *stats = server_stats(sim_member_server(stage.member));
    struct load load = {.stage = &stage, .left = 200 * clients};
    uint64_t syncs = stats->wal_fsyncs, puts = load.left;
    int64_t began_ns = sim_now_ns(stage.sim);
    for (unsigned i = 0; i < clients; i++) send_one(&load);
    CHECK(sim_run_until(stage.sim, is_over, &load, 3600 * SIM_S_NS));
    *ret_ns = (sim_now_ns(stage.sim) - began_ns) / 200;
    double together = (double)puts / (double)(stats->wal_fsyncs - syncs);
    sim_stage_release(&stage);
    return together;
}

static void test_who_writes_alone_waits_for_one_flush(void **state) {
    int64_t put_ns;
    assert_true(flushed_together(1, 200000, &put_ns) > 0.95);
    assert_in_range(put_ns, 200000, 200000 + 300000); /* the flush, and the way there and back */
    assert_true(flushed_together(1, 8000000, &put_ns) > 0.95);
    assert_in_range(put_ns, 8000000, 8000000 + 500000);
}

static void test_many_writers_share_flushes(void **state) {
    int64_t put_ns;
    double together = flushed_together(100, 200000, &put_ns);
    if (together < 40) fail_msg("%.1f entries to a flush, %lld us", together, (long long)put_ns / 1000);
    assert_true(put_ns < 1500000); /* two flushes, and the wait of at most half a millisecond */
    together = flushed_together(100, 8000000, &put_ns);
    if (together < 40) fail_msg("%.1f entries to a flush, %lld us", together, (long long)put_ns / 1000);
    assert_true(put_ns < 17000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_revision_mode_keeps_so_many),
        cmocka_unit_test(test_periodic_mode_keeps_what_the_retention_brought),
        cmocka_unit_test(test_who_writes_alone_waits_for_one_flush),
        cmocka_unit_test(test_many_writers_share_flushes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
