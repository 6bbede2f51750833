/* The crash sweep: a member is crashed at each write and each sync of its disk, with every kind of loss, and looked at.
 *
 * The run itself goes on: at each step images are taken and a second member is started from each, in a world of its
 * own. It must come up with exactly one of the states that the client can have seen, its database must be whole, and
 * what it holds must be what a replay of its whole log makes. Then the canaries: faults put in on purpose, each of
 * which this sweep must notice.
 *
 * SIM_EVERY=n looks at each n-th step only (1: all of them), SIM_SEED and SIM_BATCHES choose the scenario. */
#include "base/check.h"
#include "sim/script.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "bolt/bolt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sweep {
    struct script *script;
    struct sim_stage stage;
    struct prng prng;
    unsigned every;
    bool is_canary; /* findings are what is wanted: quiet, and the first is enough */
    /* told of each image before it is looked at; canaries do their mischief here */
    void (*tamper)(struct sweep *self, struct sim_disk *image);
    void (*interfere)(struct sweep *self, struct sim_disk_call *call);
    /* what came of it */
    uint64_t steps, images, findings;
    uint64_t ops[SIM_DISK_OP_COUNT];
    bool is_looking; /* what a look itself does is no step */
};

static uint64_t number_from(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != 0 ? strtoull(text, NULL, 10) : otherwise;
}

static void found(struct sweep *self, enum sim_loss loss, const char *what, const struct sim_state *state) {
    self->findings++;
    if (self->is_canary) return;
    const struct script *script = self->script;
    fprintf(stderr, "step %llu (%s): %s; acknowledged %zu, sent %zu\n", (unsigned long long)self->steps,
            sim_loss_name(loss), what, script->acked, script->sent);
    if (state == NULL) return;
    const struct sim_state *first = &script->states.items[script->acked], *last = &script->states.items[script->sent];
    fprintf(stderr, "  revision %lld, compacted %lld, hash %08x; it should be from %lld/%lld/%08x to %lld/%lld/%08x\n",
            (long long)state->revision, (long long)state->compact_revision, state->hash_kv, (long long)first->revision,
            (long long)first->compact_revision, first->hash_kv, (long long)last->revision,
            (long long)last->compact_revision, last->hash_kv);
}

/* ---- looking at one image ---- */

/* The log alone, without what it made. */
static bool replay(struct sweep *self, struct sim_disk *image, struct sim_state *ret_state) {
    struct sim_stage stage;
    struct errmsg message;
    sim_stage_init(&stage, 1, &script_options);
    sim_stage_set_disk(&stage, image);
    sim_disk_remove(image, SIM_DATA_DIR "/member/snap");
    bool is_up = sim_stage_try_start(&stage, &message) && sim_stage_state(&stage, 0, ret_state);
    if (!is_up && !self->is_canary) fprintf(stderr, "replay: %s\n", message.text);
    sim_stage_release(&stage);
    return is_up;
}

static void look_at(struct sweep *self, enum sim_loss loss, struct sim_disk *image) {
    struct sim_disk *log_only = sim_disk_image(image, SIM_KEEP, &self->prng);
    struct sim_stage stage;
    struct sim_state state, replayed;
    struct errmsg message;
    sim_stage_init(&stage, prng_next(&self->prng), &script_options);
    sim_stage_set_disk(&stage, image);
    if (!sim_stage_try_start(&stage, &message)) {
        found(self, loss, message.text, NULL);
        sim_disk_free(log_only);
        sim_stage_release(&stage);
        return;
    }
    bool has_state = sim_stage_state(&stage, 0, &state);
    if (!has_state) found(self, loss, "it fails once it is up", NULL);
    if (has_state && !script_allows(self->script, &state))
        found(self, loss, "a state that was never to be seen", &state);
    if (!replay(self, log_only, &replayed))
        found(self, loss, "its log can't be replayed", NULL);
    else if (has_state && !sim_state_equals(&state, &replayed))
        found(self, loss, "not what a replay of its log makes", &replayed);
    sim_stage_put(&stage, "after", "all");
    sim_stage_stop(&stage);
    if (sim_check_database(stage.disk) != 0) found(self, loss, "the database is damaged", NULL);
    sim_stage_release(&stage);
}

static void look(struct sweep *self) {
    unsigned losses = sim_disk_has_unsynced(self->stage.disk) ? SIM_LOSS_COUNT : 1;
    self->is_looking = true;
    for (unsigned loss = 0; loss < losses; loss++) {
        struct sim_disk *image = sim_disk_image(self->stage.disk, (enum sim_loss)loss, &self->prng);
        self->images++;
        if (self->tamper != NULL) self->tamper(self, image);
        look_at(self, (enum sim_loss)loss, image);
    }
    self->is_looking = false;
}

/* ---- the sweep ---- */

static void before_disk_call(void *context, struct sim_disk_call *call) {
    struct sweep *self = context;
    if (!sim_disk_op_changes(call->op)) return;
    if (self->interfere != NULL) self->interfere(self, call);
    self->ops[call->op]++;
    if (self->is_canary && self->findings > 0) return;
    if (self->steps++ % self->every == 0) look(self);
}

/* Nothing is acknowledged before the member is up for the first time. */
static void run(struct sweep *self, struct script *script) {
    self->script = script;
    script->acked = script->sent = 0;
    sim_stage_init(&self->stage, script->seed, &script_options);
    if (self->stage.options.segment_bytes != 0) sim_disk_set_hook(self->stage.disk, before_disk_call, self);
    sim_stage_start(&self->stage);
    CHECK(script_run(script, &self->stage));
    sim_disk_set_hook(self->stage.disk, NULL, NULL);
    sim_stage_stop(&self->stage);
    sim_stage_release(&self->stage);
}

static struct script rehearsed;

static int rehearse(void **state) {
    script_init(&rehearsed, number_from("SIM_SEED", 1), (unsigned)number_from("SIM_BATCHES", 100));
    script_rehearse(&rehearsed);
    return 0;
}

static int release(void **state) {
    script_release(&rehearsed);
    return 0;
}

static void test_no_crash_loses_or_halves_anything(void **state) {
    struct sweep sweep = {.every = (unsigned)number_from("SIM_EVERY", 40)};
    prng_init(&sweep.prng, rehearsed.seed);
    run(&sweep, &rehearsed);
    fprintf(stderr, "%llu steps:", (unsigned long long)sweep.steps);
    for (int op = 0; op < SIM_DISK_OP_COUNT; op++)
        if (sweep.ops[op] > 0)
            fprintf(stderr, " %llu %s", (unsigned long long)sweep.ops[op], sim_disk_op_name((enum sim_disk_op)op));
    fprintf(stderr, "; %llu images looked at, %llu findings\n", (unsigned long long)sweep.images,
            (unsigned long long)sweep.findings);
    assert_int_equal(sweep.findings, 0);
}

/* ---- canaries ---- */

static void assert_noticed(struct sweep *sweep) {
    sweep->is_canary = true;
    sweep->every = 7;
    prng_init(&sweep->prng, 5);
    run(sweep, &rehearsed);
    assert_int_not_equal(sweep->findings, 0);
}

static bool is_log(const struct sim_disk_call *call) { return strstr(call->path, ".wal") != NULL; }

static void leave_out_log_syncs(struct sweep *self, struct sim_disk_call *call) {
    if (call->op == SIM_DISK_SYNC && is_log(call) && self->script->acked > 0) call->pretend = true;
}

static void test_a_sync_left_out_is_noticed(void **state) {
    struct sweep sweep = {.interfere = leave_out_log_syncs};
    assert_noticed(&sweep);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_crash_loses_or_halves_anything),
        cmocka_unit_test(test_a_sync_left_out_is_noticed),
    };
    return cmocka_run_group_tests(tests, rehearse, release);
}
