/* The crash sweep: a member is crashed at each write and each sync of its disk, with every kind of loss, and looked at.
 *
 * The run itself goes on: at each step images are taken and a second member is started from each, in a world of its
 * own. It must come up with exactly one of the states that the client can have seen, its database must be whole, and
 * what it holds must be what a replay of its whole log makes; now and then its start is crashed at each step in turn.
 * Then the canaries: faults put in on purpose, each of which this sweep must notice.
 *
 * SIM_EVERY=n looks at each n-th step only (1: all of them), SIM_SEED and SIM_BATCHES choose the scenario. */
#include "base/bytes.h"
#include "base/check.h"
#include "sim/script.h"

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
    unsigned nest_every; /* of the images: so many apart are those whose start is crashed in turn; 0: none */
    bool is_canary;      /* findings are what is wanted: quiet, and the first is enough */
    bool has_whole_log;
    /* told of each image before it is looked at; canaries do their mischief here */
    void (*tamper)(struct sweep *self, struct sim_disk *image);
    void (*interfere)(struct sweep *self, struct sim_disk_call *call);
    /* what came of it */
    uint64_t steps, images, findings;
    uint64_t ops[SIM_DISK_OP_COUNT];
    uint64_t nested;
    bool wrote_pages; /* canaries: the last write to the database was no meta page; */
    char late[128];   /* a log whose sync was answered and is still to be done */
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

/* The start of a member on an image, crashed at each of its steps. */
struct nested {
    struct sweep *sweep;
    struct sim_disk *disk;
    enum sim_loss loss;
};

static void look_at(struct sweep *self, enum sim_loss loss, struct sim_disk *image, bool is_nested);

static void before_call_of_start(void *context, struct sim_disk_call *call) {
    struct nested *self = context;
    if (!sim_disk_op_changes(call->op)) return;
    unsigned losses = sim_disk_has_unsynced(self->disk) ? SIM_LOSS_COUNT : 1;
    for (unsigned loss = 0; loss < losses; loss++) {
        self->sweep->nested++;
        look_at(self->sweep, self->loss, sim_disk_image(self->disk, (enum sim_loss)loss, &self->sweep->prng), true);
    }
}

static void look_at_log(struct sweep *self, enum sim_loss loss, struct sim_disk *image, const struct sim_state *state) {
    struct sim_state replayed;
    if (!replay(self, image, &replayed))
        found(self, loss, "its log can't be replayed", NULL);
    else if (state != NULL && !sim_state_equals(state, &replayed))
        found(self, loss, "not what a replay of its log makes", &replayed);
}

static bool start_on(struct sweep *self, struct sim_stage *stage, struct sim_disk *image, enum sim_loss loss,
                     bool is_nested) {
    struct errmsg message;
    struct nested nested = {self, image, loss};
    bool is_chosen = self->nest_every > 0 && self->images % self->nest_every == 0 && !is_nested;
    if (is_chosen) sim_disk_set_hook(image, before_call_of_start, &nested);
    bool is_up = sim_stage_try_start(stage, &message);
    sim_disk_set_hook(stage->disk, NULL, NULL);
    if (!is_up) found(self, loss, message.text, NULL);
    return is_up;
}

/* What it wrote since is behind what was there before, and nothing old shows up behind that. */
static void look_again(struct sweep *self, struct sim_stage *stage, enum sim_loss loss, int64_t revision) {
    struct sim_state state;
    struct errmsg message;
    if (!sim_stage_try_start(stage, &message))
        found(self, loss, message.text, NULL);
    else if (!sim_stage_state(stage, 0, &state) || state.revision != revision)
        found(self, loss, "the next start finds something else", &state);
}

/* Takes the image over. */
static void look_at(struct sweep *self, enum sim_loss loss, struct sim_disk *image, bool is_nested) {
    struct sim_disk *log_only = self->has_whole_log ? sim_disk_image(image, SIM_KEEP, &self->prng) : NULL;
    struct sim_stage stage;
    struct sim_state state;
    sim_stage_init(&stage, prng_next(&self->prng), &self->stage.options);
    sim_stage_set_disk(&stage, image);
    bool is_up = start_on(self, &stage, image, loss, is_nested);
    bool has_state = is_up && sim_stage_state(&stage, 0, &state);
    if (is_up && !has_state) found(self, loss, "it fails once it is up", NULL);
    if (has_state && !script_allows(self->script, &state))
        found(self, loss, "a state that was never to be seen", &state);
    if (log_only != NULL) look_at_log(self, loss, log_only, has_state ? &state : NULL);
    if (has_state) {
        sim_stage_put(&stage, "after", "all");
        sim_stage_stop(&stage);
        if (sim_check_database(stage.disk) != 0) found(self, loss, "the database is damaged", NULL);
        look_again(self, &stage, loss, state.revision + 1);
    }
    sim_stage_release(&stage);
}

static void look(struct sweep *self) {
    unsigned losses = sim_disk_has_unsynced(self->stage.disk) ? SIM_LOSS_COUNT : 1;
    for (unsigned loss = 0; loss < losses; loss++) {
        struct sim_disk *image = sim_disk_image(self->stage.disk, (enum sim_loss)loss, &self->prng);
        self->images++;
        if (self->tamper != NULL) self->tamper(self, image);
        look_at(self, (enum sim_loss)loss, image, false);
    }
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

static void run(struct sweep *self, struct script *script, const struct sim_member_options *options) {
    self->script = script;
    self->has_whole_log = options->max_wals >= 1000;
    script->acked = script->sent = 0; /* the member is not up yet */
    sim_stage_init(&self->stage, script->seed, options);
    sim_disk_set_hook(self->stage.disk, before_disk_call, self);
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

static void sweep_all(const struct sim_member_options *options, struct sweep *ret_sweep) {
    struct sweep sweep = {.every = (unsigned)number_from("SIM_EVERY", 1),
                          .nest_every = (unsigned)number_from("SIM_NEST_EVERY", 100)};
    prng_init(&sweep.prng, rehearsed.seed);
    run(&sweep, &rehearsed, options);
    fprintf(stderr, "%llu steps:", (unsigned long long)sweep.steps);
    for (int op = 0; op < SIM_DISK_OP_COUNT; op++)
        if (sweep.ops[op] > 0)
            fprintf(stderr, " %llu %s", (unsigned long long)sweep.ops[op], sim_disk_op_name((enum sim_disk_op)op));
    fprintf(stderr, "; %llu images and %llu of crashed starts looked at, %llu findings\n",
            (unsigned long long)sweep.images, (unsigned long long)sweep.nested, (unsigned long long)sweep.findings);
    assert_int_equal(sweep.findings, 0);
    *ret_sweep = sweep;
}

static void test_no_crash_loses_or_halves_anything(void **state) {
    struct sweep sweep;
    sweep_all(&script_options, &sweep);
}

/* Old segments and snapshots go while it runs, so that a member stands on its database and the rest of its log. */
static void test_no_crash_loses_anything_while_files_are_purged(void **state) {
    struct sim_member_options options = script_options;
    struct sweep sweep;
    options.max_wals = options.max_snapshots = 1;
    rehearsed.pause_ms = 3000;
    sweep_all(&options, &sweep);
    rehearsed.pause_ms = 60;
    assert_int_not_equal(sweep.ops[SIM_DISK_UNLINK], 0);
}

/* ---- canaries ---- */

static void assert_noticed(struct sweep *sweep) {
    sweep->is_canary = true;
    sweep->every = 3;
    prng_init(&sweep->prng, 5);
    run(sweep, &rehearsed, &script_options);
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

static void sync_log_too_late(struct sweep *self, struct sim_disk_call *call) {
    if (self->late[0] != 0 && call->op == SIM_DISK_WRITE) {
        sim_disk_sync_file(self->stage.disk, self->late);
        self->late[0] = 0;
    }
    if (call->op != SIM_DISK_SYNC || !is_log(call) || self->script->acked == 0) return;
    call->pretend = true;
    snprintf(self->late, sizeof self->late, "%s", call->path);
}

static void test_an_acknowledgement_before_the_sync_is_noticed(void **state) {
    struct sweep sweep = {.interfere = sync_log_too_late};
    assert_noticed(&sweep);
}

/* The sync between a commit's pages and its meta page. */
static void leave_out_page_syncs(struct sweep *self, struct sim_disk_call *call) {
    if (strcmp(call->path, SIM_DATABASE_PATH) != 0) return;
    if (call->op == SIM_DISK_WRITE) self->wrote_pages = call->offset >= 8192;
    if (call->op == SIM_DISK_SYNC && self->wrote_pages) call->pretend = true;
}

static void test_a_meta_page_before_its_pages_is_noticed(void **state) {
    struct sweep sweep = {.interfere = leave_out_page_syncs};
    assert_noticed(&sweep);
}

static void shift_consistent_index(struct sim_disk *disk, int64_t by) {
    struct sim_database database;
    struct bolt_tx *tx;
    struct bolt_bucket *meta;
    struct slice key = SLICE_LITERAL("consistent_index"), value;
    if (!sim_database_open(&database, disk, false, NULL)) return;
    CHECK(bolt_begin_write(database.bolt, &tx) == OK);
    uint8_t shifted[8];
    if (bolt_bucket_open(bolt_tx_root(tx), SLICE_LITERAL("meta"), &meta) == OK && bolt_get(meta, key, &value) == OK &&
        value.len == 8 && load_u64be(value.data) > 20) {
        store_u64be(shifted, load_u64be(value.data) + (uint64_t)by);
        CHECK(bolt_put(meta, key, slice_make(shifted, 8)) == OK);
        CHECK(bolt_tx_commit(tx, NULL) == OK);
    } else {
        bolt_tx_end(tx);
    }
    sim_database_close(&database);
}

static void index_behind(struct sweep *self, struct sim_disk *image) { shift_consistent_index(image, -2); }
static void index_ahead(struct sweep *self, struct sim_disk *image) { shift_consistent_index(image, 2); }

static void test_a_consistent_index_apart_from_its_data_is_noticed(void **state) {
    struct sweep behind = {.tamper = index_behind}, ahead = {.tamper = index_ahead};
    assert_noticed(&behind);
    assert_noticed(&ahead);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_crash_loses_or_halves_anything),
        cmocka_unit_test(test_no_crash_loses_anything_while_files_are_purged),
        cmocka_unit_test(test_a_sync_left_out_is_noticed),
        cmocka_unit_test(test_an_acknowledgement_before_the_sync_is_noticed),
        cmocka_unit_test(test_a_meta_page_before_its_pages_is_noticed),
        cmocka_unit_test(test_a_consistent_index_apart_from_its_data_is_noticed),
    };
    return cmocka_run_group_tests(tests, rehearse, release);
}
