/* The failure sweep: each call on the disk fails in turn, disks fill up and get room again, stall, and flip bits.
 *
 * Whatever fails, the member goes on, refuses to start, or says that it can't go on: then its process would have ended.
 * In every case a start on what the disk has kept, whether the power went or not, gives a state that the client can
 * have seen; nothing acknowledged is lost. (Under AddressSanitizer: and nothing is leaked on any of these ways.)
 *
 * SIM_EVERY=n: each n-th call only; SIM_FLIPS=n: so many bits. */
#include "base/check.h"
#include "base/mem.h"
#include "sim/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCHES 40

static struct script rehearsed;

static unsigned every(unsigned otherwise) {
    const char *text = getenv("SIM_EVERY");
    return text != NULL && *text != 0 ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static unsigned flips(void) {
    const char *text = getenv("SIM_FLIPS");
    return text != NULL && *text != 0 ? (unsigned)strtoul(text, NULL, 10) : 400;
}

static int rehearse(void **state) {
    script_init(&rehearsed, 3, BATCHES);
    script_rehearse(&rehearsed);
    return 0;
}

static int release(void **state) {
    script_release(&rehearsed);
    return 0;
}

/* ---- each call fails in turn ---- */

enum fault { FAULT_ERROR, FAULT_HALF, FAULT_FULL, FAULT_COUNT };

struct fault_run {
    struct sim_stage stage;
    enum fault fault;
    uint64_t at; /* which call fails, from 0 */
    uint64_t calls;
    bool has_failed;
    enum sim_disk_op op;
    char path[128];
};

static void fail_one(void *context, struct sim_disk_call *call) {
    struct fault_run *self = context;
    if (self->calls++ != self->at) return;
    self->has_failed = true;
    self->op = call->op;
    snprintf(self->path, sizeof self->path, "%s", call->path);
    call->error = self->fault == FAULT_FULL ? ERR_NO_DISK_SPACE : ERR_IO;
    if (self->fault == FAULT_HALF) call->part_bytes = call->size_bytes / 2;
}

static void assert_good_after(struct fault_run *run, enum sim_loss loss) {
    struct sim_disk *image = sim_disk_image(run->stage.disk, loss, sim_prng(run->stage.sim));
    struct sim_stage after;
    struct sim_state state;
    struct errmsg message = {{0}};
    sim_stage_init(&after, 9, &script_options);
    sim_stage_set_disk(&after, image);
    if (!sim_stage_try_start(&after, &message))
        fail_msg("call %llu, %s of %s (%s afterwards): %s", (unsigned long long)run->at, sim_disk_op_name(run->op),
                 run->path, sim_loss_name(loss), message.text);
    CHECK(sim_stage_state(&after, 0, &state));
    if (!script_allows(&rehearsed, &state))
        fail_msg("call %llu, %s of %s (%s afterwards): revision %lld is not from %lld to %lld, or differs",
                 (unsigned long long)run->at, sim_disk_op_name(run->op), run->path, sim_loss_name(loss),
                 (long long)state.revision, (long long)rehearsed.states.items[rehearsed.acked].revision,
                 (long long)rehearsed.states.items[rehearsed.sent].revision);
    sim_stage_stop(&after);
    assert_int_equal(sim_check_database(after.disk), 0);
    sim_stage_release(&after);
}

/* What is on disk is not known after a failed sync: whoever goes on all the same would acknowledge what may be gone.
 * But for a full disk and pages that nothing leads to yet: they are written again. */
static bool must_end(const struct fault_run *run) {
    if (run->fault == FAULT_FULL && strstr(run->path, "/db") != NULL) return false;
    return run->op == SIM_DISK_SYNC && (strstr(run->path, ".wal") != NULL || strstr(run->path, "/db") != NULL) &&
           strstr(run->path, ".tmp") == NULL && strstr(run->path, "db.tmp") == NULL;
}

/* False when there was no such call any more. */
static bool run_with_fault(enum fault fault, uint64_t at, unsigned counts[3]) {
    struct fault_run run = {.fault = fault, .at = at};
    struct errmsg message = {{0}};
    sim_stage_init(&run.stage, rehearsed.seed, &script_options);
    rehearsed.acked = rehearsed.sent = 0;
    sim_disk_set_hook(run.stage.disk, fail_one, &run);
    bool is_up = sim_stage_try_start(&run.stage, &message);
    bool went_on = is_up && script_run(&rehearsed, &run.stage);
    sim_disk_set_hook(run.stage.disk, NULL, NULL);
    counts[!is_up ? 0 : !went_on ? 1 : 2]++;
    if (went_on && run.has_failed && must_end(&run)) fail_msg("it goes on after a failed sync of %s", run.path);
    if (!is_up && run.has_failed) assert_int_not_equal(message.text[0], 0);
    for (int loss = 0; loss < SIM_LOSS_COUNT && run.has_failed; loss++)
        if (loss == SIM_KEEP || loss == SIM_DROP) assert_good_after(&run, (enum sim_loss)loss);
    sim_stage_release(&run.stage);
    return run.has_failed;
}

static void test_a_call_that_fails_loses_nothing(void **state) {
    for (int fault = 0; fault < FAULT_COUNT; fault++) {
        unsigned counts[3] = {0};
        uint64_t at = 0;
        while (run_with_fault((enum fault)fault, at, counts)) at += every(1);
        fprintf(stderr, "%llu calls failed: %u starts refused, %u members ended, %u went on\n", (unsigned long long)at,
                counts[0], counts[1], counts[2]);
    }
}

/* ---- full disks ---- */

struct tries {
    unsigned done, refused, other;
    char first_other[256];
};

static void try_put(struct sim_stage *stage, size_t size_bytes, struct tries *tries) {
    char *value = mem_calloc(1, size_bytes);
    struct etcd_put_request put = {.key = etcd_text("full"), .value = etcd_bytes_of(value, size_bytes)};
    struct etcd_error error = {0};
    int code = sim_client_call(stage->client, ETCD_METHOD_PUT, &put, NULL, &error);
    mem_free(value);
    if (code == ETCD_OK)
        tries->done++;
    else if (strcmp(error.text, "etcdserver: mvcc: database space exceeded") == 0)
        tries->refused++;
    else if (tries->other++ == 0)
        snprintf(tries->first_other, sizeof tries->first_other, "%s", error.text);
}

/* Half a minute of a full disk: writes are taken as long as there is room in what was reserved, then refused; reads,
 * deletes and compactions are served. Then there is room again. */
static void live_through_a_full_disk(struct sim_stage *stage, size_t value_bytes, struct tries *tries) {
    sim_disk_set_capacity(stage->disk, sim_disk_used_bytes(stage->disk));
    sim_stage_put(stage, "before", "there is room in the log");
    for (int i = 0; i < 300; i++) {
        try_put(stage, value_bytes, tries);
        sim_run_for(stage->sim, 100 * SIM_MS_NS);
        if (sim_member_failed(stage->member) != 0) fail_msg("put %d: it has ended", i);
        assert_string_equal(sim_stage_get(stage, "before"), "there is room in the log");
    }
    if (value_bytes >= 4000) assert_int_not_equal(tries->refused, 0); /* else the free pages may do */
    sim_disk_set_capacity(stage->disk, 0);
    sim_run_for(stage->sim, 3 * SIM_S_NS);
    sim_stage_put(stage, "healed", "yes");
}

static void assert_same_after_a_crash(struct sim_stage *stage) {
    struct sim_state before, after;
    CHECK(sim_stage_state(stage, 0, &before));
    sim_stage_crash(stage, SIM_DROP);
    sim_stage_start(stage);
    CHECK(sim_stage_state(stage, 0, &after));
    assert_true(sim_state_equals(&before, &after));
    sim_stage_stop(stage);
    assert_int_equal(sim_check_database(stage->disk), 0);
}

static void test_a_full_disk_refuses_writes_and_heals(void **state) {
    static const size_t sizes[] = {10, 300, 4000, 30000};
    for (unsigned batches = 1; batches < BATCHES; batches += 3) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct sim_stage stage;
            struct tries tries = {0};
            struct script script;
            sim_stage_init(&stage, rehearsed.seed, &script_options);
            sim_stage_start(&stage);
            script_init(&script, rehearsed.seed, batches);
            script.states.items = rehearsed.states.items; /* lent */
            CHECK(script_run(&script, &stage));
            live_through_a_full_disk(&stage, sizes[i], &tries);
            if (tries.other > 0) fail_msg("%s", tries.first_other);
            assert_same_after_a_crash(&stage);
            sim_stage_release(&stage);
        }
    }
}

/* Somebody who deletes for ever while no new segment can be made must not make the member stop. */
static void test_a_full_disk_keeps_the_rest_of_the_log_for_the_member(void **state) {
    struct sim_stage stage;
    sim_stage_init(&stage, 1, &script_options);
    sim_stage_start(&stage);
    sim_stage_put(&stage, "key", "value");
    sim_run_for(stage.sim, SIM_S_NS);
    sim_disk_set_capacity(stage.disk, sim_disk_used_bytes(stage.disk));
    struct etcd_delete_request gone = {.key = etcd_text("nothing that is there, but an entry all the same")};
    unsigned refused = 0;
    for (int i = 0; i < 5000; i++) {
        struct etcd_error error = {0};
        int code = sim_client_call(stage.client, ETCD_METHOD_DELETE, &gone, NULL, &error);
        if (code != ETCD_OK) assert_string_equal(error.text, "etcdserver: mvcc: database space exceeded");
        refused += code != ETCD_OK;
    }
    assert_int_not_equal(refused, 0);
    assert_int_equal(sim_member_failed(stage.member), 0);
    assert_string_equal(sim_stage_get(&stage, "key"), "value");
    sim_disk_set_capacity(stage.disk, 0);
    sim_run_for(stage.sim, 3 * SIM_S_NS);
    sim_stage_call(&stage, ETCD_METHOD_DELETE, &gone);
    sim_stage_release(&stage);
}

static void test_a_member_stopped_on_a_full_disk_comes_back(void **state) {
    struct sim_stage stage;
    struct tries tries = {0};
    sim_stage_init(&stage, 1, &script_options);
    sim_stage_start(&stage);
    sim_run_for(stage.sim, SIM_S_NS);
    sim_disk_set_capacity(stage.disk, sim_disk_used_bytes(stage.disk));
    while (tries.refused == 0) {
        try_put(&stage, 3000, &tries);
        sim_run_for(stage.sim, 50 * SIM_MS_NS);
    }
    sim_stage_stop(&stage);
    sim_stage_start(&stage);
    assert_int_equal(sim_stage_get(&stage, "full")[0], 0); /* a value of zeros */
    sim_disk_set_capacity(stage.disk, 0);
    sim_run_for(stage.sim, 3 * SIM_S_NS);
    sim_stage_put(&stage, "healed", "yes");
    assert_same_after_a_crash(&stage);
    sim_stage_release(&stage);
}

/* ---- slow disks ---- */

static void test_a_disk_that_stalls_delays_and_loses_nothing(void **state) {
    struct sim_stage stage;
    static const struct sim_disk_speed speed = {
        .write_ns = 5000, .byte_ps = 500, .sync_ns = 200000, .stall_ns = 20 * SIM_S_NS, .stall_in = 23};
    sim_stage_init(&stage, 5, &script_options);
    sim_stage_start(&stage);
    sim_disk_set_speed(stage.disk, &speed);
    unsigned done = 0, late = 0;
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        struct etcd_put_request put = {.key = etcd_text(key), .value = etcd_text("v")};
        struct etcd_error error = {0};
        if (sim_client_call(stage.client, ETCD_METHOD_PUT, &put, NULL, &error) == ETCD_OK)
            done++;
        else
            late++;
        assert_int_equal(sim_member_failed(stage.member), 0);
    }
    assert_int_not_equal(done, 0);
    assert_int_not_equal(late, 0);
    sim_run_for(stage.sim, 30 * SIM_S_NS);
    assert_string_equal(sim_stage_get(&stage, "k199"), "v"); /* late is not lost */
    assert_same_after_a_crash(&stage);
    sim_stage_release(&stage);
}

/* ---- flipped bits ---- */

static const char *const flip_paths[] = {
    SIM_DATA_DIR "/member/wal/0000000000000000-0000000000000000.wal",
    SIM_DATA_DIR "/member/snap/db",
};

/* The log has checksums: a flipped bit is refused, or it lies where nothing is. The database has none on its pages:
 * there it must not do worse than a wrong byte. */
static void test_flipped_bits_are_refused_or_harmless(void **state) {
    struct sim_stage stage;
    struct prng prng;
    prng_init(&prng, 11);
    sim_stage_init(&stage, rehearsed.seed, &script_options);
    sim_stage_start(&stage);
    CHECK(script_run(&rehearsed, &stage));
    sim_stage_stop(&stage);
    unsigned counts[2][2] = {{0}};
    for (unsigned i = 0; i < flips(); i++) {
        unsigned which = i % 2;
        struct sim_stage flipped;
        struct errmsg message = {{0}};
        struct sim_state found;
        sim_stage_init(&flipped, i, &script_options);
        sim_stage_set_disk(&flipped, sim_disk_image(stage.disk, SIM_KEEP, &prng));
        int64_t size_bytes = sim_disk_file_bytes(flipped.disk, flip_paths[which]);
        assert_true(size_bytes > 0);
        if (which == 1 && size_bytes > 65536) size_bytes = 65536; /* where the pages are */
        sim_disk_flip_bit(flipped.disk, flip_paths[which], (int64_t)prng_below(&prng, (uint64_t)size_bytes),
                          (unsigned)prng_below(&prng, 8));
        bool is_up = sim_stage_try_start(&flipped, &message);
        counts[which][is_up]++;
        if (!is_up) assert_int_not_equal(message.text[0], 0);
        if (is_up && which == 0) {
            CHECK(sim_stage_state(&flipped, 0, &found));
            assert_true(script_allows(&rehearsed, &found));
        }
        sim_stage_release(&flipped);
    }
    fprintf(stderr, "flipped bits: log %u refused, %u harmless; database %u refused, %u started\n", counts[0][0],
            counts[0][1], counts[1][0], counts[1][1]);
    assert_int_not_equal(counts[0][0], 0);
    sim_stage_release(&stage);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_disk_refuses_writes_and_heals),
        cmocka_unit_test(test_a_full_disk_keeps_the_rest_of_the_log_for_the_member),
        cmocka_unit_test(test_a_member_stopped_on_a_full_disk_comes_back),
        cmocka_unit_test(test_a_disk_that_stalls_delays_and_loses_nothing),
        cmocka_unit_test(test_flipped_bits_are_refused_or_harmless),
        cmocka_unit_test(test_a_call_that_fails_loses_nothing),
    };
    return cmocka_run_group_tests(tests, rehearse, release);
}
