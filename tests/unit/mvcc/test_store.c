/* The store's life: what lies in the db, interrupted compactions, stopping in the middle, replacing, damage. */
#include "fixture.h"

#include "base/crc32c.h"

/* The sum over what the `key` bucket physically holds, and how many pairs. */
static uint32_t pairs_sum(struct fixture *fixture, size_t *ret_count) {
    struct backend_view *view = backend_view(fixture->backend, BACKEND_VIEW_KEY);
    struct backend_cursor cursor;
    struct slice key, value;
    uint32_t sum = 0;
    size_t count = 0;
    backend_cursor_init(&cursor, view, BACKEND_KEY);
    for (; backend_cursor_next(&cursor, &key, &value); count++)
        sum = crc32c(crc32c(sum, key.data, key.len), value.data, value.len);
    assert_int_equal(cursor.error, OK);
    backend_view_unref(view);
    *ret_count = count;
    return sum;
}

static void write_much(struct fixture *fixture) {
    struct prng prng;
    prng_init(&prng, 5);
    for (int i = 0; i < 3000; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "k%llu", (unsigned long long)prng_below(&prng, 300));
        snprintf(value, sizeof value, "%d", i);
        if (prng_below(&prng, 4) == 0)
            delete_range(fixture, key, SLICE_NONE);
        else
            put(fixture, key, value);
    }
}

static void test_pairs_in_the_db(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    put_lease(&fixture, "a", "1", 5);
    delete_range(&fixture, "a", SLICE_NONE);
    struct backend_view *view = backend_view(fixture.backend, BACKEND_VIEW_KEY);
    struct backend_cursor cursor;
    struct slice key, value;
    backend_cursor_init(&cursor, view, BACKEND_KEY);
    assert_true(backend_cursor_next(&cursor, &key, &value));
    assert_int_equal(key.len, 17);
    assert_memory_equal(key.data, "\0\0\0\0\0\0\0\2_\0\0\0\0\0\0\0\0", 17);
    assert_int_equal(value.len, 14);
    assert_memory_equal(value.data,
                        "\x0a\x01"
                        "a\x10\x02\x18\x02\x20\x01\x2a\x01"
                        "1\x30\x05",
                        14);
    assert_true(backend_cursor_next(&cursor, &key, &value));
    assert_int_equal(key.len, 18);
    assert_memory_equal(key.data, "\0\0\0\0\0\0\0\3_\0\0\0\0\0\0\0\0t", 18);
    assert_int_equal(value.len, 3);
    assert_memory_equal(value.data,
                        "\x0a\x01"
                        "a",
                        3);
    assert_false(backend_cursor_next(&cursor, &key, &value));
    backend_view_unref(view);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

/* Crashes after any number of turns of a compaction; what it leaves in the end is what an undisturbed one leaves. */
static void test_an_interrupted_compaction_is_finished_after_a_restart(void **state) {
    uint32_t expected_sum = 0;
    size_t expected_count = 0;
    for (int turns = -1; turns < 60; turns += turns < 20 ? 1 : 7) {
        struct fixture fixture;
        fixture_init(&fixture);
        fixture.options.compaction_batch_limit = 40;
        fixture.options.compaction_slice_keys = 15;
        fixture.options.compaction_sleep_ns = 1;
        fixture_open(&fixture);
        write_much(&fixture);
        commit_now(&fixture);
        int64_t at = store_revision(fixture.store) - 300;
        if (turns < 0) {
            compact(&fixture, at);
        } else {
            assert_int_equal(store_compact(fixture.store, at, NULL, NULL), OK);
            for (int i = 0; i < turns; i++) turn(&fixture);
            commit_now(&fixture);
            fixture_crash(&fixture);
            assert_int_equal(store_compact_revision(fixture.store), at);
            while (store_is_compacting(fixture.store)) turn(&fixture);
        }
        size_t count;
        uint32_t sum = pairs_sum(&fixture, &count);
        if (turns < 0) expected_sum = sum, expected_count = count;
        assert_int_equal(count, expected_count);
        assert_int_equal(sum, expected_sum);
        index_check(store_index(fixture.store));
        fixture_close(&fixture);
        fixture_release(&fixture);
    }
}

static void test_stopping_ends_everything_exactly_once(void **state) {
    for (int turns = 0; turns < 12; turns++) {
        struct fixture fixture;
        fixture_init(&fixture);
        fixture.options.compaction_slice_keys = 100;
        fixture_open(&fixture);
        write_much(&fixture);
        struct hash_wait hash = {0}, late = {0};
        struct compact_wait first = {0}, second = {0};
        store_hash_by_revision(fixture.store, 0, hash_done, &hash);
        assert_int_equal(store_compact(fixture.store, 500, compact_done, &first), OK);
        assert_int_equal(store_compact(fixture.store, 900, compact_done, &second), OK);
        for (int i = 0; i < turns; i++) turn(&fixture);
        bool stopped = false;
        store_stop(fixture.store, set_flag, &stopped);
        assert_false(stopped);
        assert_int_equal(store_compact(fixture.store, 1000, compact_done, &second), ERR_STOPPED);
        store_hash_by_revision(fixture.store, 0, hash_done, &late);
        run_until(&fixture, &stopped);
        assert_true(hash.is_done && first.is_done && second.is_done && late.is_done);
        assert_true(hash.error == OK || hash.error == ERR_STOPPED);
        assert_true(first.error == OK || first.error == ERR_STOPPED);
        assert_int_equal(late.error, ERR_STOPPED);
        store_close(fixture.store);
        assert_int_equal(backend_close(fixture.backend), OK);
        fixture_release(&fixture);
    }
}

static void test_a_range_holds_a_compaction_back_only_while_it_collects(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    for (int i = 0; i < 20; i++) put(&fixture, i % 2 ? "a" : "b", "1");
    struct store_range_options options = {.key = text("a"), .range_end = text("c"), .revision = 10};
    struct store_range *range;
    assert_int_equal(store_range_begin(fixture.store, &options, &range), OK);
    assert_false(store_range_step(range, 1));
    struct compact_wait wait = {0};
    assert_int_equal(store_compact(fixture.store, 15, compact_done, &wait), OK);
    for (int i = 0; i < 50; i++) turn(&fixture);
    assert_false(wait.is_done);
    while (!store_range_step(range, 1)) {
    }
    run_until(&fixture, &wait.is_done);
    /* Its pairs are gone from the db by now, not from its view. */
    struct slice encoded;
    bool found;
    struct keyvalue kv;
    for (int64_t mod = 9; mod <= 10; mod++) {
        assert_int_equal(store_range_next(range, &encoded, &found), OK);
        assert_true(found);
        assert_int_equal(keyvalue_decode(encoded, &kv), OK);
        assert_true(kv.mod_revision == 9 || kv.mod_revision == 10);
    }
    store_range_free(range);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

static bool note_revision(void *context, struct watcher *watcher, const struct watch_batch *batch) {
    (void)watcher;
    *(int64_t *)context = batch->events[batch->count - 1]->revision.main;
    return true;
}

static void test_replaced_by_a_snapshot(void **state) {
    struct fixture fixture, other;
    fixture_init(&fixture);
    fixture_init(&other);
    fixture_open(&fixture);
    fixture_open(&other);
    for (int i = 0; i < 10; i++) put(&fixture, "a", "old");
    for (int i = 0; i < 30; i++) put(&other, "a", "new");
    int64_t seen = 0;
    struct watch_options options = {.key = text("a"), .sink = {note_revision, NULL, &seen}};
    struct watcher *watcher;
    assert_int_equal(watch_hub_add(store_watch_hub(fixture.store), &options, &watcher), OK);
    put(&fixture, "a", "old");
    assert_int_equal(seen, 12);

    bool stopped = false;
    store_stop(other.store, set_flag, &stopped);
    run_until(&other, &stopped);
    store_close(other.store);
    struct backend *old = fixture.backend;
    struct errmsg message = {0};
    assert_int_equal(store_replace(fixture.store, other.backend, &message), OK);
    fixture.backend = other.backend;
    assert_int_equal(backend_close(old), OK);
    assert_int_equal(store_revision(fixture.store), 31);
    while (!watcher_is_synced(watcher)) {
        turn(&fixture);
        turn(&other);
    }
    assert_int_equal(seen, 31);
    put(&fixture, "a", "newer");
    assert_int_equal(seen, 32);
    watcher_free(watcher);

    stopped = false;
    store_stop(fixture.store, set_flag, &stopped);
    run_until(&fixture, &stopped);
    store_close(fixture.store);
    assert_int_equal(backend_close(fixture.backend), OK);
    fixture_release(&fixture);
    fixture_release(&other);
}

static void test_damaged_pairs_are_refused_at_start(void **state) {
    static const struct {
        struct slice key, value;
    } damages[] = {
        {SLICE_LITERAL("\0\0\0\0\0\0\0\2_\0\0\0\0\0\0\0\0"), SLICE_LITERAL("\x0a\x05"
                                                                           "a")},
        {SLICE_LITERAL("\0\0\0\0\0\0\0\2_\0\0\0\0\0\0\0\0"),
         SLICE_LITERAL("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")},
        {SLICE_LITERAL("\0\0\0\0\0\0\0\2_\0\0\0\0\0\0\0\0"), SLICE_LITERAL("\x10")},
        {SLICE_LITERAL("\0\0\0\0\0\0\0\2_\0\0\0\0\0\0\0\0"), SLICE_LITERAL("\x0d\1\2\3\4")},
        {SLICE_LITERAL("\0\0\0\0\0\0\0\2_\0\0\0\1\0\0\0\0"), SLICE_LITERAL("\x0a\1a")},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct fixture fixture;
        fixture_init(&fixture);
        fixture_open(&fixture);
        backend_put(fixture.backend, BACKEND_KEY, damages[i].key, damages[i].value);
        commit_now(&fixture);
        bool stopped = false;
        store_stop(fixture.store, set_flag, &stopped);
        run_until(&fixture, &stopped);
        store_close(fixture.store);
        struct errmsg message = {0};
        assert_int_equal(store_open(fixture.backend, &fixture.options, NULL, &fixture.store, &message), ERR_CORRUPT);
        assert_true(strncmp(message.text, "bucket key: ", 12) == 0);
        assert_int_equal(backend_close(fixture.backend), OK);
        fixture_release(&fixture);
    }
}

static void test_an_index_that_was_read_on_a_thread_is_the_same(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i * 7919 % 1000);
        assert_int_equal(put(&fixture, key, "v"), i + 2);
    }
    commit_now(&fixture);
    bool stopped = false;
    store_stop(fixture.store, set_flag, &stopped);
    run_until(&fixture, &stopped);
    store_close(fixture.store);

    store_load_free(store_load_start(fixture.backend, fixture.env)); /* nobody wanted it */
    struct store_load *load = store_load_start(fixture.backend, fixture.env);
    struct errmsg message = {0};
    assert_int_equal(store_open(fixture.backend, &fixture.options, load, &fixture.store, &message), OK);
    assert_int_equal(store_revision(fixture.store), 1001);
    assert_int_equal(index_live_count(store_index(fixture.store)), 1000);
    assert_int_equal(put(&fixture, "k1", "w"), 1002);
    fixture_close(&fixture);
}

/* As `etcdutl snapshot restore --bump-revision` leaves them. */
static void test_an_empty_value_is_a_pair_without_fields(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    put(&fixture, "a", "1");
    backend_put(fixture.backend, BACKEND_KEY, SLICE_LITERAL("\0\0\0\0\0\0\1\0_\0\0\0\0\0\0\0\0"), SLICE_LITERAL(""));
    fixture_close(&fixture);
    fixture_open(&fixture);
    assert_int_equal(store_revision(fixture.store), 256);
    assert_int_equal(put(&fixture, "a", "2"), 257);
    struct store_range_options options = {.key = SLICE_LITERAL("\0"), .range_end = SLICE_LITERAL("\0")};
    struct store_range *range;
    assert_int_equal(store_range_begin(fixture.store, &options, &range), OK);
    while (!store_range_step(range, 100)) {
    }
    assert_int_equal(store_range_count(range), 1);
    store_range_free(range);
    compact(&fixture, 257);
    assert_int_equal(hash_at(&fixture, 0).error, OK);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_in_the_db),
        cmocka_unit_test(test_an_interrupted_compaction_is_finished_after_a_restart),
        cmocka_unit_test(test_stopping_ends_everything_exactly_once),
        cmocka_unit_test(test_a_range_holds_a_compaction_back_only_while_it_collects),
        cmocka_unit_test(test_replaced_by_a_snapshot),
        cmocka_unit_test(test_damaged_pairs_are_refused_at_start),
        cmocka_unit_test(test_an_index_that_was_read_on_a_thread_is_the_same),
        cmocka_unit_test(test_an_empty_value_is_a_pair_without_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
