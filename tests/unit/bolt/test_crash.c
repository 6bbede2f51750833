/* A crash at every sync, with what was not synced lost, kept, lost in part or torn: what is found is one of the two
 * states around it, whole. */
#include "fake_world.h"
#include "model.h"

#include "base/arena.h"

#define TRANSACTIONS 60

struct history {
    struct model states[TRANSACTIONS + 1]; /* after each commit */
    unsigned committed;                    /* commits that returned */
    struct bolt_options options;
    uint64_t images;
};

static void assert_bucket_is(struct bolt *db, const struct model *model) {
    struct bolt_tx *tx = bolt_begin_read(db);
    struct bolt_bucket *bucket;
    enum err error = bolt_bucket_open(bolt_tx_root(tx), SLICE_LITERAL("b"), &bucket);
    if (error == ERR_BOLT_BUCKET_NOT_FOUND)
        assert_int_equal(model->items.count, 0);
    else
        model_assert(model, bucket);
    bolt_tx_end(tx);
}

static void look_at_image(struct history *history, const struct fake_file *file, enum fake_loss loss, uint64_t seed) {
    struct fake_world after;
    fake_world_init(&after);
    struct prng prng;
    prng_init(&prng, seed);
    fake_crash_image(file, loss, &prng, &after);
    history->images++;
    struct bolt *db;
    struct errmsg message;
    if (bolt_open(&after.env, "db", &history->options, &db, &message) != OK) fail_msg("%s", message.text);
    struct bolt_stats stats;
    bolt_get_stats(db, &stats);
    uint64_t number = stats.txid - 1; /* a new file is of transaction 1 */
    assert_in_range(number, history->committed, history->committed + 1);
    assert_whole(db);
    assert_bucket_is(db, &history->states[number]);
    /* And it can go on from there. */
    struct bolt_tx *tx;
    assert_ok(bolt_begin_write(db, &tx));
    struct bolt_bucket *bucket;
    assert_ok(bolt_bucket_create_if_missing(bolt_tx_root(tx), SLICE_LITERAL("after"), &bucket));
    assert_ok(bolt_put(bucket, SLICE_LITERAL("k"), SLICE_LITERAL("v")));
    assert_ok(bolt_tx_commit(tx, NULL));
    assert_whole(db);
    assert_bucket_is(db, &history->states[number]);
    bolt_close(db);
    fake_world_release(&after);
}

static void crash_here(struct fake_world *world, struct fake_file *file) {
    struct history *history = world->context;
    look_at_image(history, file, FAKE_LOSE_ALL, 0);
    look_at_image(history, file, FAKE_LOSE_NOTHING, 0);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        look_at_image(history, file, FAKE_LOSE_SOME, world->syncs * 10 + seed);
        look_at_image(history, file, FAKE_TEAR, world->syncs * 10 + seed);
    }
}

static void a_crash_loses_at_most_the_commit_that_was_running(void **state) {
    for (int stored = 0; stored < 2; stored++) {
        struct fake_world world;
        fake_world_init(&world);
        static struct history history;
        history = (struct history){.options = {.page_size_bytes = 1024, .no_freelist_sync = !stored}};
        struct bolt *db;
        assert_ok(bolt_open(&world.env, "db", &history.options, &db, NULL));
        world.before_sync = crash_here;
        world.context = &history;
        struct prng prng;
        prng_init(&prng, 77);
        struct model model = {0};
        history.states[0] = model_clone(&model);
        for (unsigned t = 0; t < TRANSACTIONS; t++) {
            struct arena arena;
            arena_init(&arena, 0);
            struct bolt_tx *tx;
            struct bolt_bucket *bucket;
            assert_ok(bolt_begin_write(db, &tx));
            assert_ok(bolt_bucket_create_if_missing(bolt_tx_root(tx), SLICE_LITERAL("b"), &bucket));
            for (uint64_t i = 0; i <= prng_below(&prng, 30); i++) {
                struct slice key = slice_from_cstr(arena_printf(&arena, "key-%d", (int)prng_below(&prng, 300)));
                if (prng_below(&prng, 3) == 0) {
                    assert_ok(bolt_delete(bucket, key));
                    model_delete(&model, key);
                    continue;
                }
                size_t length = prng_below(&prng, prng_below(&prng, 10) ? 80 : 3000);
                struct slice value = slice_make(arena_calloc(&arena, 1, length + 1), length);
                assert_ok(bolt_put(bucket, key, value));
                model_put(&model, key, value);
            }
            history.states[t + 1] = model_clone(&model);
            assert_ok(bolt_tx_commit(tx, NULL));
            history.committed = t + 1;
            arena_release(&arena);
        }
        assert_int_equal(history.images, TRANSACTIONS * 2 * 8); /* two syncs a commit */
        bolt_close(db);
        for (unsigned t = 0; t <= TRANSACTIONS; t++) model_clear(&history.states[t]);
        model_clear(&model);
        fake_world_release(&world);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_crash_loses_at_most_the_commit_that_was_running)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
