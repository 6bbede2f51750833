/* Readers and the writer side by side, on real files. */
#include "model.h"
#include "os/os.h"

#include "base/arena.h"
#include "base/bytes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define S SLICE_LITERAL

struct fixture {
    struct os_world *world;
    struct env *env;
    char folder[64];
    char path[96];
};

static void setup(struct fixture *self) {
    self->world = os_world_new(NULL);
    self->env = os_world_env(self->world);
    strcpy(self->folder, "/tmp/bolt-test-XXXXXX");
    assert_non_null(mkdtemp(self->folder));
    snprintf(self->path, sizeof self->path, "%s/db", self->folder);
}

static void teardown(struct fixture *self) {
    assert_ok(env_remove_all(self->env, self->folder));
    os_world_free(self->world);
}

static struct bolt *open_db(struct fixture *self, const struct bolt_options *options) {
    struct bolt *db;
    struct errmsg message;
    if (bolt_open(self->env, self->path, options, &db, &message) != OK) fail_msg("%s", message.text);
    return db;
}

/* Puts `count` keys from `first` on that all carry `mark`. */
static void put_marked_from(struct bolt *db, uint64_t first, uint64_t count, uint64_t mark, size_t value_bytes) {
    struct bolt_tx *tx;
    struct bolt_bucket *bucket;
    struct arena arena;
    arena_init(&arena, 1 << 16);
    assert_ok(bolt_begin_write(db, &tx));
    assert_ok(bolt_bucket_create_if_missing(bolt_tx_root(tx), S("b"), &bucket));
    uint8_t *value = arena_calloc(&arena, 1, value_bytes);
    store_u64be(value, mark);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *key = arena_alloc(&arena, 8);
        store_u64be(key, first + i);
        assert_ok(bolt_put(bucket, slice_make(key, 8), slice_make(value, value_bytes)));
    }
    assert_ok(bolt_tx_commit(tx, NULL));
    arena_release(&arena);
}

static void put_marked(struct bolt *db, uint64_t count, uint64_t mark, size_t value_bytes) {
    put_marked_from(db, 0, count, mark, value_bytes);
}

/* Everything that the transaction sees carries one mark. */
static uint64_t read_mark(struct bolt_tx *tx, uint64_t *ret_count) {
    struct bolt_bucket *bucket;
    if (bolt_bucket_open(bolt_tx_root(tx), S("b"), &bucket) != OK) abort();
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    uint64_t mark = 0, count = 0;
    for (bool more = bolt_cursor_first(&cursor, &item); more; more = bolt_cursor_next(&cursor, &item)) {
        if (count++ == 0)
            mark = load_u64be(item.value.data);
        else if (load_u64be(item.value.data) != mark)
            abort();
        struct slice value;
        if (bolt_get(bucket, item.key, &value) != OK || value.data != item.value.data) abort();
    }
    if (cursor.error != OK) abort();
    *ret_count = count;
    return mark;
}

static void a_reader_keeps_its_state(void **state) {
    struct fixture f;
    setup(&f);
    struct bolt *db = open_db(&f, NULL);
    enum { READERS = 40 };
    struct bolt_tx *readers[READERS];
    struct prng prng;
    prng_init(&prng, 1);
    for (uint64_t i = 0; i < READERS; i++) {
        put_marked(db, 50 + i, i + 1, 100 + i);
        readers[i] = bolt_begin_read(db);
    }
    for (uint64_t round = 0; round < 100; round++) {
        put_marked(db, 50 + READERS, 1000 + round, 300);
        size_t which = prng_below(&prng, READERS);
        if (readers[which] == NULL) continue;
        uint64_t count, mark = read_mark(readers[which], &count);
        assert_int_equal(mark, which + 1);
        assert_int_equal(count, 50 + which);
        if (round % 2) continue;
        bolt_tx_end(readers[which]);
        readers[which] = NULL;
        assert_whole(db);
    }
    for (size_t i = 0; i < READERS; i++) bolt_tx_end(readers[i]);
    bolt_close(db);
    teardown(&f);
}

static uint64_t size_of(struct bolt *db) {
    struct bolt_stats stats;
    bolt_get_stats(db, &stats);
    return stats.size_bytes;
}

/* Pages that were made and replaced after an old reader began are used again while it reads. */
static void an_old_reader_does_not_make_the_file_grow_for_ever(void **state) {
    struct fixture f;
    setup(&f);
    struct bolt_options options = {.no_freelist_sync = true};
    struct bolt *db = open_db(&f, &options);
    put_marked(db, 2000, 1, 100);
    struct bolt_tx *old = bolt_begin_read(db), *current = bolt_begin_read(db);
    for (uint64_t i = 0; i < 5; i++) {
        put_marked(db, 2000, 2 + i, 100);
        bolt_tx_end(current);
        current = bolt_begin_read(db);
    }
    uint64_t size = size_of(db);
    for (uint64_t i = 0; i < 50; i++) {
        put_marked(db, 2000, 100 + i, 100);
        bolt_tx_end(current);
        current = bolt_begin_read(db);
        assert_int_equal(size_of(db), size);
    }
    uint64_t count;
    assert_int_equal(read_mark(old, &count), 1);
    bolt_tx_end(old);
    bolt_tx_end(current);
    assert_whole(db);
    bolt_close(db);
    teardown(&f);
}

/* From 32 KiB to many MiB with readers on every mapping. */
static void old_mappings_live_as_long_as_their_readers(void **state) {
    struct fixture f;
    setup(&f);
    struct bolt_options options = {.no_freelist_sync = true};
    struct bolt *db = open_db(&f, &options);
    enum { STEPS = 12 };
    struct bolt_tx *readers[STEPS];
    for (uint64_t i = 0; i < STEPS; i++) {
        put_marked(db, 16u << i, i + 1, 200);
        readers[i] = bolt_begin_read(db);
    }
    for (uint64_t i = 0; i < STEPS; i++) {
        uint64_t count;
        assert_int_equal(read_mark(readers[i], &count), i + 1);
        assert_int_equal(count, 16u << i);
        bolt_tx_end(readers[i]);
    }
    bolt_close(db);
    db = open_db(&f, &options);
    assert_whole(db);
    bolt_close(db);
    teardown(&f);
}

struct shared_work {
    struct bolt *db;
    atomic_bool is_over;
    atomic_uint rounds;
};

static void *read_on(void *context) {
    struct shared_work *work = context;
    uint64_t last = 0;
    while (!atomic_load(&work->is_over)) {
        struct bolt_tx *tx = bolt_begin_read(work->db);
        uint64_t count, mark = read_mark(tx, &count);
        if (mark < last) abort();
        last = mark;
        bolt_tx_end(tx);
        atomic_fetch_add(&work->rounds, 1);
    }
    return NULL;
}

static void threads_read_while_another_writes(void **state) {
    struct fixture f;
    setup(&f);
    struct bolt_options options = {.no_freelist_sync = true, .no_sync = true};
    struct shared_work work = {.db = open_db(&f, &options)};
    put_marked(work.db, 10, 1, 50);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, read_on, &work);
    uint64_t mark = 2;
    while (mark < 300 || atomic_load(&work.rounds) < 100) {
        put_marked(work.db, 10 + mark % 700, mark, 50 + mark % 200);
        mark++;
    }
    atomic_store(&work.is_over, true);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    assert_whole(work.db);
    bolt_close(work.db);
    teardown(&f);
}

static void a_file_is_for_one_process(void **state) {
    struct fixture f;
    setup(&f);
    struct bolt *db = open_db(&f, NULL), *second;
    struct errmsg message;
    assert_int_equal(bolt_open(f.env, f.path, NULL, &second, &message), ERR_LOCKED);
    struct bolt_options read_only = {.read_only = true};
    assert_int_equal(bolt_open(f.env, f.path, &read_only, &second, &message), ERR_LOCKED);
    bolt_close(db);
    struct bolt *third;
    assert_ok(bolt_open(f.env, f.path, &read_only, &second, &message));
    assert_ok(bolt_open(f.env, f.path, &read_only, &third, &message));
    bolt_close(second);
    bolt_close(third);
    teardown(&f);
}

static struct bolt_stats stats_of(struct bolt *db) {
    struct bolt_stats stats;
    bolt_get_stats(db, &stats);
    return stats;
}

/* Appending in bulk goes to the end of the file in one run; what it leaves free is there for small commits. */
static void large_commits_leave_a_few_free_pages_to_small_ones(void **state) {
    struct fixture f;
    setup(&f);
    struct bolt *db = open_db(&f, NULL);
    for (uint64_t i = 0; i < 4; i++) {
        struct bolt_stats before = stats_of(db);
        put_marked_from(db, i * 4000, 4000, 1, 300);
        struct bolt_stats after = stats_of(db);
        assert_true(after.free_pages + after.pending_pages >= before.free_pages + before.pending_pages);
        assert_true(after.size_bytes > before.size_bytes);
    }
    struct bolt_stats before = stats_of(db);
    assert_true(before.free_pages > 0);
    put_marked_from(db, 5, 1, 1, 300);
    assert_int_equal(stats_of(db).size_bytes, before.size_bytes);
    bolt_close(db);
    teardown(&f);
}

/* Many free pages are used again by large commits too: overwriting everything over and over does not grow the file. */
static void many_free_pages_are_used_by_large_commits(void **state) {
    struct fixture f;
    setup(&f);
    struct bolt *db = open_db(&f, NULL);
    for (uint64_t mark = 1; mark <= 3; mark++) put_marked(db, 4000, mark, 300);
    uint64_t size_bytes = stats_of(db).size_bytes;
    for (uint64_t mark = 4; mark <= 12; mark++) put_marked(db, 4000, mark, 300);
    assert_true(stats_of(db).size_bytes <= size_bytes + size_bytes / 8);
    bolt_close(db);
    teardown(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_keeps_its_state),
        cmocka_unit_test(an_old_reader_does_not_make_the_file_grow_for_ever),
        cmocka_unit_test(old_mappings_live_as_long_as_their_readers),
        cmocka_unit_test(threads_read_while_another_writes),
        cmocka_unit_test(a_file_is_for_one_process),
        cmocka_unit_test(large_commits_leave_a_few_free_pages_to_small_ones),
        cmocka_unit_test(many_free_pages_are_used_by_large_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
