/* Trees under random and extreme changes, against a sorted array. */
#include "fake_world.h"
#include "model.h"

#include "base/arena.h"
#include "base/bytes.h"

struct run {
    const char *name;
    uint32_t page_size_bytes;
    bool no_freelist_sync;
    double fill;
    unsigned transactions;
    unsigned operations;  /* at most, in a transaction */
    unsigned keys;        /* how many there may be */
    unsigned longest_key; /* bytes */
    unsigned longest_value;
    unsigned delete_percent;
    bool is_ascending;
};

static struct slice make_key(uint8_t *out, uint64_t number, const struct run *run) {
    int digits = snprintf((char *)out, 32, "%08llx", (unsigned long long)(number * 0x9e3779b97f4a7c15u >> 32));
    if (run->is_ascending) {
        store_u64be(out, number);
        digits = 8;
    }
    size_t length = (size_t)digits + (run->longest_key > 8 ? number % (run->longest_key - 8) : 0);
    memset(out + digits, 'k', length - (size_t)digits);
    return slice_make(out, length);
}

/* One transaction, applied to the model only when it is committed. */
static void change_randomly(struct bolt *db, struct model *model, const struct run *run, struct prng *prng,
                            uint64_t *next) {
    struct bolt_tx *tx;
    assert_ok(bolt_begin_write(db, &tx));
    struct bolt_bucket *bucket;
    assert_ok(bolt_bucket_create_if_missing(bolt_tx_root(tx), SLICE_LITERAL("b"), &bucket));
    bolt_bucket_set_fill(bucket, run->fill);
    struct model before = model_clone(model);
    struct arena arena;
    arena_init(&arena, 0);
    unsigned count = (unsigned)prng_below(prng, run->operations) + 1;
    /* Times when the tree is to shrink a lot. */
    unsigned percent = prng_below(prng, 8) == 0 ? 95 : run->delete_percent;
    for (unsigned i = 0; i < count; i++) {
        uint8_t *bytes = arena_alloc(&arena, run->longest_key + 40);
        bool is_delete = prng_below(prng, 100) < percent;
        uint64_t number = prng_below(prng, run->keys);
        if (run->is_ascending && !is_delete) number = (*next)++;
        struct slice key = make_key(bytes, number, run);
        if (is_delete && model->items.count > 0 && prng_below(prng, 4) != 0) {
            const struct model_item *victim = &model->items.items[prng_below(prng, model->items.count)];
            key = arena_copy(&arena, model_key(victim));
        }
        if (is_delete) {
            assert_ok(bolt_delete(bucket, key));
            model_delete(model, key);
        } else {
            size_t length = prng_below(prng, run->longest_value + 1);
            uint8_t *value = arena_alloc(&arena, length + 1);
            memset(value, (int)(number + i), length);
            assert_ok(bolt_put(bucket, key, slice_make(value, length)));
            model_put(model, key, slice_make(value, length));
        }
        if (i % 16 == 0) model_assert_seek(model, bucket, key);
    }
    if (prng_below(prng, 8) == 0) model_assert(model, bucket); /* as seen from inside the transaction */
    if (prng_below(prng, 16) == 0) {
        bolt_tx_end(tx);
        struct model discarded = *model;
        *model = before;
        before = discarded;
    } else {
        assert_ok(bolt_tx_commit(tx, NULL));
    }
    model_clear(&before);
    arena_release(&arena);
}

static void assert_same(struct bolt *db, const struct model *model, const struct run *run, struct prng *prng) {
    struct bolt_tx *tx = bolt_begin_read(db);
    assert_int_equal(bolt_check(tx, print_finding, NULL), 0);
    struct bolt_bucket *bucket;
    enum err error = bolt_bucket_open(bolt_tx_root(tx), SLICE_LITERAL("b"), &bucket);
    if (error == ERR_BOLT_BUCKET_NOT_FOUND) {
        assert_int_equal(model->items.count, 0);
    } else {
        assert_ok(error);
        model_assert(model, bucket);
        CLEANUP_FREE uint8_t *bytes = mem_alloc(run->longest_key + 40);
        for (int i = 0; i < 16; i++)
            model_assert_seek(model, bucket, make_key(bytes, prng_below(prng, run->keys), run));
    }
    bolt_tx_end(tx);
}

static void a_tree_holds_what_was_put(void **state) {
    static const struct run runs[] = {
        {"small pages", 1024, true, 0.5, 400, 40, 400, 20, 60, 40, false},
        {"stored free list", 1024, false, 0.5, 250, 40, 400, 20, 60, 40, false},
        {"deep", 1024, true, 0.5, 80, 400, 20000, 200, 20, 30, false},
        {"revisions", 4096, true, 1.0, 100, 500, 100000, 8, 300, 15, true},
        {"revisions, densely", 4096, true, 0.9, 100, 500, 100000, 8, 30, 45, true},
        {"large values", 4096, false, 0.5, 100, 12, 60, 16, 40000, 40, false},
        {"large keys", 1024, true, 0.5, 100, 30, 100, 5000, 100, 45, false},
        {"large pages", 65536, true, 0.5, 40, 600, 20000, 30, 200, 40, false},
        {"thin", 1024, true, 0.1, 120, 60, 2000, 20, 100, 40, false},
    };
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
        const struct run *run = &runs[r];
        struct fake_world world;
        fake_world_init(&world);
        struct bolt_options options = {.page_size_bytes = run->page_size_bytes,
                                       .no_freelist_sync = run->no_freelist_sync};
        struct bolt *db;
        assert_ok(bolt_open(&world.env, "db", &options, &db, NULL));
        struct model model = {0};
        struct prng prng;
        prng_init(&prng, r + 1);
        uint64_t next = 1;
        for (unsigned t = 0; t < run->transactions; t++) {
            change_randomly(db, &model, run, &prng, &next);
            if (prng_below(&prng, 20) == 0) {
                bolt_close(db);
                struct errmsg message;
                enum err error = bolt_open(&world.env, "db", &options, &db, &message);
                if (error != OK) fail_msg("%s: %s", run->name, message.text);
            }
            assert_same(db, &model, run, &prng);
        }
        bolt_close(db);
        model_clear(&model);
        fake_world_release(&world);
    }
}

/* ---- single behaviours ---- */

struct fixture {
    struct fake_world world;
    struct bolt *db;
};

static void setup(struct fixture *self, bool no_freelist_sync) {
    fake_world_init(&self->world);
    struct bolt_options options = {.no_freelist_sync = no_freelist_sync};
    assert_ok(bolt_open(&self->world.env, "db", &options, &self->db, NULL));
}

static void teardown(struct fixture *self) {
    assert_whole(self->db);
    bolt_close(self->db);
    fake_world_release(&self->world);
}

static struct bolt_tx *begin(struct bolt *db, struct bolt_bucket **ret_bucket) {
    struct bolt_tx *tx;
    assert_ok(bolt_begin_write(db, &tx));
    assert_ok(bolt_bucket_create_if_missing(bolt_tx_root(tx), SLICE_LITERAL("b"), ret_bucket));
    return tx;
}

#define S SLICE_LITERAL

static void keys_and_values_have_limits(void **state) {
    struct fixture f;
    setup(&f, true);
    struct bolt_bucket *bucket, *other;
    struct bolt_tx *tx = begin(f.db, &bucket);
    CLEANUP_FREE uint8_t *big = mem_calloc(1, BOLT_MAX_KEY_BYTES + 1);
    assert_int_equal(bolt_put(bucket, slice_make("", 0), S("v")), ERR_BOLT_KEY_REQUIRED);
    assert_int_equal(bolt_put(bucket, slice_make(big, BOLT_MAX_KEY_BYTES + 1), S("v")), ERR_BOLT_KEY_TOO_LARGE);
    assert_int_equal(bolt_put(bucket, S("k"), slice_make(big, (size_t)BOLT_MAX_VALUE_BYTES + 1)),
                     ERR_BOLT_VALUE_TOO_LARGE);
    assert_int_equal(bolt_put(bolt_tx_root(tx), S("k"), S("v")), ERR_BOLT_INCOMPATIBLE_VALUE);
    assert_ok(bolt_put(bucket, slice_make(big, BOLT_MAX_KEY_BYTES), SLICE_NONE));
    assert_int_equal(bolt_bucket_create(bolt_tx_root(tx), slice_make("", 0), &other), ERR_BOLT_BUCKET_NAME_REQUIRED);
    assert_int_equal(bolt_bucket_create(bolt_tx_root(tx), S("b"), &other), ERR_BOLT_BUCKET_EXISTS);
    assert_ok(bolt_tx_commit(tx, NULL));
    tx = begin(f.db, &bucket);
    struct slice value;
    assert_ok(bolt_get(bucket, slice_make(big, BOLT_MAX_KEY_BYTES), &value));
    assert_non_null(value.data);
    assert_int_equal(value.len, 0);
    assert_ok(bolt_get(bucket, S("absent"), &value));
    assert_null(value.data);
    bolt_tx_end(tx);
    teardown(&f);
}

static void a_key_is_no_bucket_and_a_bucket_no_key(void **state) {
    struct fixture f;
    setup(&f, true);
    struct bolt_bucket *bucket, *inner;
    struct bolt_tx *tx = begin(f.db, &bucket);
    assert_ok(bolt_put(bucket, S("key"), S("v")));
    assert_ok(bolt_bucket_create(bucket, S("inner"), &inner));
    assert_int_equal(bolt_bucket_create(bucket, S("key"), &inner), ERR_BOLT_INCOMPATIBLE_VALUE);
    assert_int_equal(bolt_bucket_open(bucket, S("key"), &inner), ERR_BOLT_INCOMPATIBLE_VALUE);
    assert_int_equal(bolt_bucket_delete(bucket, S("key")), ERR_BOLT_INCOMPATIBLE_VALUE);
    assert_int_equal(bolt_put(bucket, S("inner"), S("v")), ERR_BOLT_INCOMPATIBLE_VALUE);
    assert_int_equal(bolt_delete(bucket, S("inner")), ERR_BOLT_INCOMPATIBLE_VALUE);
    assert_int_equal(bolt_bucket_open(bucket, S("none"), &inner), ERR_BOLT_BUCKET_NOT_FOUND);
    assert_int_equal(bolt_bucket_delete(bucket, S("none")), ERR_BOLT_BUCKET_NOT_FOUND);
    assert_ok(bolt_tx_commit(tx, NULL));
    teardown(&f);
}

static void buckets_nest_keep_their_sequence_and_go_with_all_they_hold(void **state) {
    struct fixture f;
    setup(&f, false);
    struct bolt_bucket *bucket, *inner, *deep;
    struct bolt_tx *tx = begin(f.db, &bucket);
    uint8_t keys[3000][4];
    assert_ok(bolt_bucket_create(bucket, S("inner"), &inner));
    assert_ok(bolt_bucket_create(inner, S("deep"), &deep));
    bolt_bucket_set_sequence(deep, 42);
    for (uint32_t i = 0; i < 3000; i++) {
        store_u32be(keys[i], i);
        assert_ok(bolt_put(deep, slice_make(keys[i], 4), S("some value")));
    }
    assert_ok(bolt_tx_commit(tx, NULL));
    assert_whole(f.db);
    tx = begin(f.db, &bucket);
    assert_ok(bolt_bucket_open(bucket, S("inner"), &inner));
    assert_ok(bolt_bucket_open(inner, S("deep"), &deep));
    assert_int_equal(bolt_bucket_sequence(deep), 42);
    bolt_bucket_set_sequence(inner, 7);
    assert_ok(bolt_delete(deep, slice_make(keys[5], 4)));
    assert_ok(bolt_tx_commit(tx, NULL));
    assert_whole(f.db);
    tx = begin(f.db, &bucket);
    assert_ok(bolt_bucket_open(bucket, S("inner"), &inner));
    assert_int_equal(bolt_bucket_sequence(inner), 7);
    assert_ok(bolt_bucket_delete(bucket, S("inner")));
    assert_int_equal(bolt_bucket_open(bucket, S("inner"), &inner), ERR_BOLT_BUCKET_NOT_FOUND);
    assert_ok(bolt_bucket_create(bucket, S("inner"), &inner)); /* again, empty */
    assert_ok(bolt_tx_commit(tx, NULL));
    assert_whole(f.db);
    tx = begin(f.db, &bucket);
    assert_ok(bolt_bucket_open(bucket, S("inner"), &inner));
    assert_int_equal(bolt_bucket_open(inner, S("deep"), &deep), ERR_BOLT_BUCKET_NOT_FOUND);
    assert_ok(bolt_bucket_delete(bucket, S("inner")));
    assert_ok(bolt_bucket_delete(bolt_tx_root(tx), S("b")));
    assert_ok(bolt_tx_commit(tx, NULL));
    struct bolt_stats stats;
    assert_ok(bolt_begin_write(f.db, &tx));
    assert_ok(bolt_tx_commit(tx, NULL));
    bolt_get_stats(f.db, &stats);
    /* Left: two metas, the root's leaf, the free list's page; the pages that the last commit replaced. */
    assert_int_equal(stats.size_bytes / 4096, 4 + stats.free_pages + stats.pending_pages);
    teardown(&f);
}

/* Inline up to a quarter of a page, in both directions. */
static void small_buckets_live_inside_their_element(void **state) {
    struct fixture f;
    setup(&f, true);
    uint8_t value[1100] = {0};
    for (size_t length = 900; length < 1100; length++) {
        struct bolt_bucket *bucket;
        struct bolt_tx *tx = begin(f.db, &bucket);
        assert_ok(bolt_put(bucket, S("k"), slice_make(value, length)));
        assert_ok(bolt_tx_commit(tx, NULL));
        assert_whole(f.db);
        struct bolt_stats stats;
        bolt_get_stats(f.db, &stats);
        /* In use: two metas and the root's leaf, and the bucket's own leaf when it is not inline. */
        uint64_t in_use = stats.size_bytes / 4096 - stats.free_pages - stats.pending_pages;
        assert_int_equal(in_use, 16 + 16 + 1 + length <= 1024 ? 3 : 4);
    }
    struct bolt_bucket *bucket;
    struct bolt_tx *tx = begin(f.db, &bucket);
    assert_ok(bolt_put(bucket, S("k"), S("short again")));
    assert_ok(bolt_tx_commit(tx, NULL));
    assert_whole(f.db);
    tx = begin(f.db, &bucket);
    bolt_bucket_set_sequence(bucket, 9); /* and nothing else */
    assert_ok(bolt_tx_commit(tx, NULL));
    tx = begin(f.db, &bucket);
    assert_int_equal(bolt_bucket_sequence(bucket), 9);
    struct slice read;
    assert_ok(bolt_get(bucket, S("k"), &read));
    assert_true(slice_equal_cstr(read, "short again"));
    bolt_tx_end(tx);
    teardown(&f);
}

static void in_order_puts_write_each_full_page_once(void **state) {
    struct fixture f;
    setup(&f, true);
    enum { COUNT = 100000, BATCH = 10000 };
    CLEANUP_FREE uint8_t *keys = mem_alloc((size_t)COUNT * 17);
    uint8_t value[301];
    memset(value, 'v', sizeof value);
    uint64_t payload = 0;
    for (int i = 0; i < COUNT;) {
        struct bolt_bucket *bucket;
        struct bolt_tx *tx = begin(f.db, &bucket);
        bolt_bucket_set_fill(bucket, 1.0);
        for (int n = 0; n < BATCH; n++, i++) {
            uint8_t *key = keys + (size_t)i * 17;
            memset(key, 0, 17);
            store_u64be(key, (uint64_t)i);
            assert_ok(bolt_put(bucket, slice_make(key, 17), slice_make(value, sizeof value)));
            payload += 17 + sizeof value;
        }
        assert_ok(bolt_tx_commit(tx, NULL));
    }
    struct bolt_stats stats;
    bolt_get_stats(f.db, &stats);
    assert_true(stats.written_bytes < payload + payload / 8);
    /* Elements take 16 bytes, and 12 of them fill a page to 98 %. */
    assert_true(stats.size_bytes < payload + payload / 8);
    teardown(&f);
}

static void a_file_that_takes_no_more_says_so(void **state) {
    for (uint64_t which = 1; which < 8; which++) {
        struct fixture f;
        setup(&f, true);
        struct bolt_bucket *bucket;
        struct bolt_tx *tx = begin(f.db, &bucket);
        assert_ok(bolt_put(bucket, S("k"), S("old")));
        assert_ok(bolt_tx_commit(tx, NULL));
        uint64_t writes = f.world.writes, syncs = f.world.syncs;
        if (which <= 4)
            f.world.fail_at_write = writes + which;
        else
            f.world.fail_at_sync = syncs + which - 4;
        tx = begin(f.db, &bucket);
        assert_ok(bolt_put(bucket, S("k"), S("new")));
        enum err error = bolt_tx_commit(tx, NULL);
        struct bolt_tx *reader = bolt_begin_read(f.db);
        assert_ok(bolt_bucket_open(bolt_tx_root(reader), S("b"), &bucket));
        struct slice value;
        assert_ok(bolt_get(bucket, S("k"), &value));
        assert_true(slice_equal_cstr(value, error == OK ? "new" : "old"));
        bolt_tx_end(reader);
        if (error != OK) {
            assert_int_equal(error, ERR_IO);
            assert_int_equal(bolt_begin_write(f.db, &tx), error);
        }
        teardown(&f);
    }
}

static void a_full_disk_only_costs_the_transaction(void **state) {
    struct fixture f;
    setup(&f, true);
    struct bolt_bucket *bucket;
    struct bolt_tx *tx = begin(f.db, &bucket);
    assert_ok(bolt_put(bucket, S("k"), S("old")));
    assert_ok(bolt_tx_commit(tx, NULL));
    for (int i = 0; i < 3; i++) {
        f.world.is_full = true;
        tx = begin(f.db, &bucket);
        assert_ok(bolt_put(bucket, S("k"), S("new")));
        assert_int_equal(bolt_tx_commit(tx, NULL), ERR_NO_DISK_SPACE);
    }
    f.world.is_full = false;
    tx = begin(f.db, &bucket);
    struct slice value;
    assert_ok(bolt_get(bucket, S("k"), &value));
    assert_true(slice_equal_cstr(value, "old"));
    assert_ok(bolt_put(bucket, S("k"), S("new")));
    assert_ok(bolt_tx_commit(tx, NULL));
    assert_ok(bolt_begin_write(f.db, &tx));
    assert_int_equal(bolt_check(tx, NULL, NULL), 0);
    bolt_tx_end(tx);
    teardown(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_values_have_limits),
        cmocka_unit_test(a_key_is_no_bucket_and_a_bucket_no_key),
        cmocka_unit_test(buckets_nest_keep_their_sequence_and_go_with_all_they_hold),
        cmocka_unit_test(small_buckets_live_inside_their_element),
        cmocka_unit_test(in_order_puts_write_each_full_page_once),
        cmocka_unit_test(a_file_that_takes_no_more_says_so),
        cmocka_unit_test(a_full_disk_only_costs_the_transaction),
        cmocka_unit_test(a_tree_holds_what_was_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
