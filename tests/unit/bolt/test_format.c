/* The file itself: what bbolt wrote is read, what we write is what bbolt writes, and damage is told. */
#include "fake_world.h"
#include "model.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#define S SLICE_LITERAL

/* tests/golden/db/NAME.db.gz as the file "db" of the world. */
static struct fake_file *load_golden(struct fake_world *world, const char *name) {
    char command[512];
    snprintf(command, sizeof command, "gzip -dc '%s/golden/db/%s.db.gz'", TEST_SOURCE_DIR, name);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    struct fake_file *file = fake_add_file(world, "db");
    size_t got;
    while ((got = fread(file->live + file->size_bytes, 1, 1 << 16, pipe)) > 0) file->size_bytes += (int64_t)got;
    assert_int_equal(pclose(pipe), 0);
    assert_true(file->size_bytes > 0);
    return file;
}

static struct bolt *open_db(struct fake_world *world, const char *path, bool read_only) {
    struct bolt_options options = {.no_freelist_sync = true, .read_only = read_only};
    struct bolt *db;
    struct errmsg message;
    if (bolt_open(&world->env, path, &options, &db, &message) != OK) fail_msg("%s", message.text);
    return db;
}

/* The sum of `etcdutl snapshot status`: names, keys and values of all buckets. */
static uint32_t hash_all(struct bolt *db, size_t *ret_keys) {
    struct bolt_tx *tx = bolt_begin_read(db);
    struct bolt_cursor outer, inner;
    struct bolt_item name, item;
    uint32_t hash = 0;
    size_t keys = 0;
    bolt_cursor_init(&outer, bolt_tx_root(tx));
    for (bool more = bolt_cursor_first(&outer, &name); more; more = bolt_cursor_next(&outer, &name)) {
        assert_true(name.is_bucket);
        hash = crc32c(hash, name.key.data, name.key.len);
        struct bolt_bucket *bucket;
        assert_ok(bolt_bucket_open(bolt_tx_root(tx), name.key, &bucket));
        bolt_cursor_init(&inner, bucket);
        for (bool go = bolt_cursor_first(&inner, &item); go; go = bolt_cursor_next(&inner, &item), keys++) {
            hash = crc32c(hash, item.key.data, item.key.len);
            hash = crc32c(hash, item.value.data, item.value.len);
        }
    }
    assert_int_equal(outer.error, OK);
    bolt_tx_end(tx);
    *ret_keys = keys;
    return hash;
}

static const struct golden {
    const char *name;
    uint64_t txid, pages, free_pages;
    uint32_t hash; /* what etcdutl 3.5.33 printed */
    size_t keys;
} goldens[] = {
    {"fresh", 8, 5, 2, 3658925546, 6},
    {"large-values", 13, 2411, 890, 217199992, 6051},
    {"many-free-pages", 38, 685, 678, 3041813334, 30},
    {"freelist-synced", 39, 687, 678, 3041813334, 30},
    {"defragged", 2, 8, 2, 3041813334, 30},
};
enum { GOLDENS = sizeof goldens / sizeof *goldens };

static void files_of_etcd_are_read(void **state) {
    for (size_t i = 0; i < GOLDENS; i++) {
        for (int read_only = 0; read_only < 2; read_only++) {
            struct fake_world world;
            fake_world_init(&world);
            load_golden(&world, goldens[i].name);
            struct bolt *db = open_db(&world, "db", read_only);
            struct bolt_stats stats;
            bolt_get_stats(db, &stats);
            assert_int_equal(stats.txid, goldens[i].txid);
            assert_int_equal(stats.size_bytes, goldens[i].pages * 4096);
            if (!read_only) assert_int_equal(stats.free_pages, goldens[i].free_pages);
            size_t keys;
            assert_int_equal(hash_all(db, &keys), goldens[i].hash);
            assert_int_equal(keys, goldens[i].keys);
            assert_whole(db);
            struct bolt_tx *tx;
            if (read_only) assert_int_equal(bolt_begin_write(db, &tx), ERR_BOLT_READ_ONLY);
            bolt_close(db);
            fake_world_release(&world);
        }
    }
}

static void files_of_etcd_are_written_on(void **state) {
    for (size_t i = 0; i < GOLDENS; i++) {
        struct fake_world world;
        fake_world_init(&world);
        load_golden(&world, goldens[i].name);
        struct bolt *db = open_db(&world, "db", false);
        uint8_t keys[200][17] = {{0}};
        for (int round = 0; round < 30; round++) {
            struct bolt_tx *tx;
            struct bolt_bucket *bucket;
            assert_ok(bolt_begin_write(db, &tx));
            assert_ok(bolt_bucket_open(bolt_tx_root(tx), S("key"), &bucket));
            for (uint64_t k = 0; k < 200; k++) {
                store_u64be(keys[k], 1000000 + k);
                if (round % 3 == 2)
                    assert_ok(bolt_delete(bucket, slice_make(keys[k], 17)));
                else
                    assert_ok(bolt_put(bucket, slice_make(keys[k], 17), S("a value of some length, to fill pages")));
            }
            assert_ok(bolt_tx_commit(tx, NULL));
            assert_whole(db);
            if (round % 10 == 5) {
                bolt_close(db);
                db = open_db(&world, "db", false);
            }
        }
        size_t count;
        assert_int_equal(hash_all(db, &count), goldens[i].hash);
        bolt_close(db);
        fake_world_release(&world);
    }
}

static void a_copy_holds_the_same_in_less_room(void **state) {
    for (size_t i = 0; i < GOLDENS; i++) {
        struct fake_world world;
        fake_world_init(&world);
        load_golden(&world, goldens[i].name);
        struct bolt *db = open_db(&world, "db", true), *copy = open_db(&world, "copy", false);
        struct bolt_tx *tx = bolt_begin_read(db);
        assert_ok(bolt_copy(tx, copy));
        bolt_tx_end(tx);
        size_t keys;
        assert_int_equal(hash_all(copy, &keys), goldens[i].hash);
        assert_whole(copy);
        struct bolt_stats stats;
        bolt_get_stats(copy, &stats);
        assert_true(stats.size_bytes <= goldens[i].pages * 4096 + 2 * 4096);
        bolt_close(copy);
        bolt_close(db);
        fake_world_release(&world);
    }
}

static void an_image_is_the_file_as_of_its_transaction(void **state) {
    for (size_t i = 0; i < GOLDENS; i++) {
        struct fake_world world;
        fake_world_init(&world);
        load_golden(&world, goldens[i].name);
        struct bolt *db = open_db(&world, "db", false);
        struct bolt_tx *tx = bolt_begin_read(db);
        struct fake_file *image = fake_add_file(&world, "image");
        image->size_bytes = (int64_t)bolt_tx_size_bytes(tx);
        assert_int_equal(image->size_bytes, goldens[i].pages * 4096);
        /* In odd pieces, across the borders of the two metas. */
        for (uint64_t at = 0; at < (uint64_t)image->size_bytes;) {
            uint64_t piece = at < 20000 ? 999 : 100000;
            if (piece > (uint64_t)image->size_bytes - at) piece = (uint64_t)image->size_bytes - at;
            bolt_image_read(tx, at, image->live + at, piece);
            at += piece;
        }
        bolt_tx_end(tx);
        struct bolt *copy = open_db(&world, "image", false);
        size_t keys;
        assert_int_equal(hash_all(copy, &keys), goldens[i].hash);
        assert_whole(copy);
        struct bolt_stats stats;
        bolt_get_stats(copy, &stats);
        assert_int_equal(stats.txid, goldens[i].txid);
        /* The newer meta comes first, whatever its parity. */
        assert_int_equal(load_u64le(image->live + 16 + 48), goldens[i].txid);
        assert_int_equal(load_u64le(image->live + 4096), 1);
        assert_int_equal(load_u64le(image->live + 4096 + 16 + 48), goldens[i].txid - 1);
        bolt_close(copy);
        bolt_close(db);
        fake_world_release(&world);
    }
}

static void a_new_file_is_as_bbolt_makes_it(void **state) {
    struct fake_world world;
    fake_world_init(&world);
    bolt_close(open_db(&world, "db", false));
    struct fake_file *file = fake_find(&world, "db");
    assert_int_equal(file->size_bytes, 4 * 4096);
    static const uint64_t checksums[2] = {0x07516e114689fdee, 0x264c351a5179480f}; /* of a file made by bbolt 1.3 */
    for (uint64_t id = 0; id < 2; id++) {
        const uint8_t *page = file->live + id * 4096;
        assert_int_equal(load_u64le(page), id);
        assert_int_equal(load_u64le(page + 8), 4);
        assert_int_equal(load_u64le(page + 16 + 48), id);
        assert_int_equal(load_u64le(page + 16 + 56), checksums[id]);
    }
    assert_int_equal(load_u64le(file->live + 2 * 4096 + 8), 0x10);
    assert_int_equal(load_u64le(file->live + 3 * 4096 + 8), 0x02);
    fake_world_release(&world);
}

/* The first commit of etcd's kind gives the list up, and the file grows as bbolt lets it grow. */
static void the_file_grows_in_steps(void **state) {
    struct fake_world world;
    fake_world_init(&world);
    struct bolt *db = open_db(&world, "db", false);
    CLEANUP_FREE uint8_t *value = mem_calloc(1, 3 << 20);
    int64_t before = 4 * 4096;
    for (unsigned i = 0; i < 9; i++) {
        struct bolt_tx *tx;
        struct bolt_bucket *bucket;
        assert_ok(bolt_begin_write(db, &tx));
        assert_ok(bolt_bucket_create_if_missing(bolt_tx_root(tx), S("b"), &bucket));
        if (i > 0) assert_ok(bolt_put(bucket, slice_make(&"0123456789"[i], 1), slice_make(value, 3 << 20)));
        assert_ok(bolt_tx_commit(tx, NULL));
        int64_t size = fake_find(&world, "db")->size_bytes;
        struct bolt_stats stats;
        bolt_get_stats(db, &stats);
        assert_false(stats.freelist_is_stored);
        int64_t needed = (int64_t)stats.size_bytes + 4096;
        int64_t step = 32 << 10; /* the size of bbolt's mapping, doubling */
        while (step < needed) step *= 2;
        if (needed <= before)
            assert_int_equal(size, before);
        else
            assert_int_equal(size, step <= 16 << 20 ? step : needed + (16 << 20));
        before = size;
    }
    assert_true(before > 32 << 20);
    bolt_close(db);
    fake_world_release(&world);
}

static void a_held_file_is_locked(void **state) {
    struct fake_world world;
    fake_world_init(&world);
    struct bolt *db = open_db(&world, "db", false), *second;
    struct errmsg message;
    assert_int_equal(bolt_open(&world.env, "db", NULL, &second, &message), ERR_LOCKED);
    assert_non_null(strstr(message.text, "db"));
    bolt_close(db);
    assert_ok(bolt_open(&world.env, "db", NULL, &db, &message));
    bolt_close(db);
    struct bolt_options read_only = {.read_only = true};
    assert_int_equal(bolt_open(&world.env, "none", &read_only, &db, &message), ERR_NOT_FOUND_FILE);
    fake_world_release(&world);
}

static enum err open_error(struct fake_world *world, struct errmsg *message) {
    struct bolt *db;
    enum err error = bolt_open(&world->env, "db", NULL, &db, message);
    if (error == OK) bolt_close(db);
    return error;
}

static void one_good_meta_is_enough(void **state) {
    struct fake_world world;
    fake_world_init(&world);
    struct fake_file *file = load_golden(&world, "many-free-pages");
    struct errmsg message;
    size_t keys;
    /* Page 0 holds transaction 38, page 1 transaction 37: without the newer one the older state comes back. */
    uint8_t good = file->live[16 + 56];
    file->live[16 + 56] ^= 1;
    struct bolt *db = open_db(&world, "db", true);
    struct bolt_stats stats;
    bolt_get_stats(db, &stats);
    assert_int_equal(stats.txid, 37);
    bolt_close(db);
    file->live[16 + 56] = good;
    file->live[4096 + 16] ^= 1;
    db = open_db(&world, "db", false);
    assert_int_equal(hash_all(db, &keys), 3041813334);
    bolt_close(db);
    file->live[16 + 56] ^= 1;
    assert_int_equal(open_error(&world, &message), ERR_BOLT_CHECKSUM);
    assert_string_equal(message.text, "db: checksum error");
    file->live[16 + 4] ^= 1;
    assert_int_equal(open_error(&world, &message), ERR_BOLT_VERSION);
    assert_string_equal(message.text, "db: version mismatch");
    file->live[16] ^= 1;
    assert_int_equal(open_error(&world, &message), ERR_BOLT_INVALID);
    assert_string_equal(message.text, "db: invalid database");
    fake_world_release(&world);
}

static void a_cut_file_is_refused(void **state) {
    struct fake_world world;
    fake_world_init(&world);
    struct fake_file *file = load_golden(&world, "large-values");
    struct errmsg message;
    int64_t needed = 2411 * 4096;
    for (int64_t size = needed - 1; size >= 1; size = size > 20000 ? size - 99999 : size - 1000) {
        file->size_bytes = size;
        enum err error = open_error(&world, &message);
        assert_true(error == ERR_CORRUPT || error == ERR_BOLT_INVALID);
    }
    file->size_bytes = 5000;
    assert_int_equal(open_error(&world, &message), ERR_CORRUPT);
    assert_string_equal(message.text, "db: file size too small 5000");
    file->size_bytes = needed;
    assert_int_equal(open_error(&world, &message), OK);
    fake_world_release(&world);
}

/* A file with a stored free list is looked through all the same. */
static void two_ways_to_a_page_are_refused(void **state) {
    struct fake_world world;
    fake_world_init(&world);
    struct fake_file *file = load_golden(&world, "freelist-synced");
    struct errmsg message;
    int found = 0;
    for (int64_t at = 2 * 4096; at + 4096 <= file->size_bytes; at += 4096) {
        uint8_t *page = file->live + at;
        if (load_u16le(page + 8) != 1 || load_u16le(page + 10) < 2) continue; /* no branch */
        uint64_t second = load_u64le(page + 16 + 16 + 8);
        memcpy(page + 16 + 16 + 8, page + 16 + 8, 8);
        if (open_error(&world, &message) == ERR_CORRUPT && strstr(message.text, "more than one reference") != NULL)
            found++;
        store_u64le(page + 16 + 16 + 8, second);
    }
    assert_true(found > 0);
    assert_int_equal(open_error(&world, &message), OK);
    fake_world_release(&world);
}

static void a_free_page_in_use_is_refused(void **state) {
    struct fake_world world;
    fake_world_init(&world);
    struct fake_file *file = load_golden(&world, "freelist-synced");
    struct errmsg message;
    bool second_is_newer = load_u64le(file->live + 4096 + 16 + 48) > load_u64le(file->live + 16 + 48);
    const uint8_t *meta = file->live + (second_is_newer ? 4096 : 0) + 16;
    uint8_t *list = file->live + load_u64le(meta + 32) * 4096;
    assert_true(load_u16le(list + 10) > 0);
    memcpy(list + 16, meta + 16, 8); /* the root */
    assert_int_equal(open_error(&world, &message), ERR_CORRUPT);
    assert_non_null(strstr(message.text, "it is in use and free"));
    fake_world_release(&world);
}

/* Walks, gets and changes whatever the file says. */
static void use_all(struct bolt *db) {
    struct bolt_tx *tx = bolt_begin_read(db);
    bolt_check(tx, NULL, NULL);
    struct bolt_cursor outer, inner;
    struct bolt_item name, item;
    struct bolt_bucket *bucket;
    bolt_cursor_init(&outer, bolt_tx_root(tx));
    int buckets = 0;
    for (bool more = bolt_cursor_first(&outer, &name); more && buckets < 20; more = bolt_cursor_next(&outer, &name)) {
        buckets++;
        if (bolt_bucket_open(bolt_tx_root(tx), name.key, &bucket) != OK) continue;
        bolt_cursor_init(&inner, bucket);
        int steps = 0;
        for (bool go = bolt_cursor_last(&inner, &item); go && steps < 1000; go = bolt_cursor_previous(&inner, &item)) {
            struct slice value;
            if (bolt_get(bucket, item.key, &value) != OK) break;
            steps++;
        }
        bolt_cursor_seek(&inner, S("\0\0\0\0\0\0\0\100"), &item);
    }
    bolt_tx_end(tx);
    if (bolt_begin_write(db, &tx) != OK) return;
    static const char *const names[] = {"key", "meta", "lease"};
    static uint8_t keys[40][17];
    bool is_good = true;
    for (int n = 0; n < 3 && is_good; n++) {
        if (bolt_bucket_open(bolt_tx_root(tx), slice_from_cstr(names[n]), &bucket) != OK) continue;
        for (uint64_t k = 0; k < 40 && is_good; k++) {
            store_u64be(keys[k], k * 2 + 50);
            keys[k][8] = '_';
            if (k % 3 == 0)
                is_good = bolt_delete(bucket, slice_make(keys[k], 17)) == OK;
            else
                is_good = bolt_put(bucket, slice_make(keys[k], 17), S("value")) != ERR_CORRUPT;
        }
    }
    if (is_good) is_good = bolt_bucket_delete(bolt_tx_root(tx), S("auth")) == OK;
    if (is_good && bolt_tx_commit(tx, NULL) != OK) {
        struct errmsg message;
        bolt_explain(db, &message);
    }
    if (!is_good) bolt_tx_end(tx);
}

static void damaged_pages_are_told_and_never_followed_outside(void **state) {
    static const char *const names[] = {"defragged", "freelist-synced", "large-values"};
    struct prng prng;
    prng_init(&prng, 11);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct fake_world world;
        fake_world_init(&world);
        struct fake_file *file = load_golden(&world, names[n]);
        size_t size = (n == 0 ? 8 : n == 1 ? 687 : 2411) * 4096;
        CLEANUP_FREE uint8_t *good = mem_alloc(size);
        memcpy(good, file->live, size);
        int opened = 0;
        for (int round = 0; round < 250; round++) {
            memcpy(file->live, good, size);
            file->size_bytes = (int64_t)size;
            /* Most damage goes to pages that are in use, to headers and elements more than to values. */
            for (unsigned i = 0; i <= prng_below(&prng, 6); i++) {
                size_t pages = n == 0 ? 8 : 700, page = 2 + prng_below(&prng, pages - 2);
                size_t at = page * 4096 + prng_below(&prng, prng_below(&prng, 2) ? 64 : 4096);
                if (at < size) file->live[at] = (uint8_t)prng_next(&prng);
            }
            struct bolt_options options = {.read_only = round % 4 == 0, .no_freelist_sync = round % 2 == 0};
            struct bolt *db;
            struct errmsg message;
            if (bolt_open(&world.env, "db", &options, &db, &message) != OK) {
                assert_true(strlen(message.text) > 5);
                continue;
            }
            opened++;
            use_all(db);
            bolt_close(db);
        }
        assert_true(opened > 20);
        fake_world_release(&world);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_etcd_are_read),
        cmocka_unit_test(files_of_etcd_are_written_on),
        cmocka_unit_test(a_copy_holds_the_same_in_less_room),
        cmocka_unit_test(an_image_is_the_file_as_of_its_transaction),
        cmocka_unit_test(a_new_file_is_as_bbolt_makes_it),
        cmocka_unit_test(the_file_grows_in_steps),
        cmocka_unit_test(a_held_file_is_locked),
        cmocka_unit_test(one_good_meta_is_enough),
        cmocka_unit_test(a_cut_file_is_refused),
        cmocka_unit_test(two_ways_to_a_page_are_refused),
        cmocka_unit_test(a_free_page_in_use_is_refused),
        cmocka_unit_test(damaged_pages_are_told_and_never_followed_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
