/* HashKV against the values that etcd's own tests fix (spec/backend-schema.md 9). */
#include "fixture.h"

#include "base/crc32c.h"

static const char *golden_key(int i) {
    static const char *const names[] = {"alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"};
    if (i % 142 == 30) return "zenek";
    if (i % 71 == 30) return "xavery";
    return names[i % 7];
}

static void golden_put(struct fixture *fixture, int i) {
    char value[16];
    snprintf(value, sizeof value, "%d", i);
    put(fixture, golden_key(i), value);
}

static void expect(struct hash_wait wait, uint32_t hash, int64_t compact_revision, int64_t revision) {
    assert_int_equal(wait.error, OK);
    assert_int_equal(wait.hash.hash, hash);
    assert_int_equal(wait.hash.compact_revision, compact_revision);
    assert_int_equal(wait.hash.revision, revision);
}

/* With and without hashes made by compactions, and with slices of any size: always the same sums. */
static void run_golden(bool skip_compaction_hash, size_t slice_keys, int batch_limit) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.options.skip_compaction_hash = skip_compaction_hash;
    fixture.options.compaction_slice_keys = slice_keys;
    fixture.options.compaction_batch_limit = batch_limit;
    fixture.options.compaction_sleep_ns = 1000;
    fixture_open(&fixture);
    int c = 0;
    for (; c < 1210; c += 71) {
        for (int i = c; i <= c + 71; i++) golden_put(&fixture, i);
        struct hash_wait wait = hash_at(&fixture, c + 35);
        if (c == 0) expect(wait, 4082599214u, -1, 35);
        if (c == 71) expect(wait, 2279933401u, 35, 106);
        compact(&fixture, c + 35);
    }
    assert_int_equal(c, 1278);
    for (int i = c; i <= 2488; i++) golden_put(&fixture, i);
    expect(hash_at(&fixture, 1883), 724436716u, 1242, 1883);
    fixture_close(&fixture);

    fixture_open(&fixture);
    expect(hash_at(&fixture, 1883), 724436716u, 1242, 1883);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

static void test_golden_values_of_etcd(void **state) {
    run_golden(false, 0, 0);
    run_golden(true, 0, 0);
    run_golden(false, 1, 1);
    run_golden(true, 3, 2);
}

static void test_golden_values_compacting_at_the_current_revision(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    int64_t last = 0;
    for (int c = 0; c < 1210; c += 71) {
        for (int i = c; i <= c + 71; i++) golden_put(&fixture, i);
        struct hash_wait wait = hash_at(&fixture, 0);
        if (c == 0) expect(wait, 1913897190u, -1, 73);
        last = wait.hash.revision;
        compact(&fixture, last);
    }
    for (int i = 1278; i <= 2488; i++) golden_put(&fixture, i);
    expect(hash_at(&fixture, 0), 2017735779u, 1297, 2508);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

static void test_a_compaction_leaves_the_hash_it_was_asked_at(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 30; i++) golden_put(&fixture, round * 30 + i);
        delete_range(&fixture, "bob", SLICE_LITERAL("c"));
        int64_t at = store_revision(fixture.store) - 5;
        struct hash_wait before = hash_at(&fixture, at);
        compact(&fixture, at);
        struct hash_wait after = hash_at(&fixture, at);
        assert_int_equal(before.hash.hash, after.hash.hash);
        assert_int_equal(before.hash.compact_revision, after.hash.compact_revision);
        struct store_hash kept[20];
        size_t count = store_compaction_hashes(fixture.store, kept, 20);
        assert_int_equal(count, round < 10 ? round + 1 : 10);
        assert_int_equal(kept[0].revision, at);
        assert_int_equal(kept[0].hash, after.hash.hash);
    }
    fixture_close(&fixture);
    fixture_release(&fixture);
}

static void test_revisions_out_of_range(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    for (int i = 0; i < 20; i++) golden_put(&fixture, i);
    compact(&fixture, 10);
    compact(&fixture, 12);
    assert_int_equal(hash_at(&fixture, 9).error, ERR_COMPACTED);
    assert_int_equal(hash_at(&fixture, 22).error, ERR_FUTURE_REV);
    assert_int_equal(hash_at(&fixture, 10).error, OK);                      /* kept */
    assert_int_equal(hash_at(&fixture, -1).hash.hash, crc32c(0, "key", 3)); /* no pair is visited */
    fixture_close(&fixture);
    fixture_release(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_values_of_etcd),
        cmocka_unit_test(test_golden_values_compacting_at_the_current_revision),
        cmocka_unit_test(test_a_compaction_leaves_the_hash_it_was_asked_at),
        cmocka_unit_test(test_revisions_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
