/* The write-behind backend in a world where the test decides when the worker gets on. */
#include "../bolt/fake_world.h"
#include "../bolt/model.h"

#include "backend/backend.h"
#include "base/bytes.h"
#include "base/crc32c.h"

#define S SLICE_LITERAL
#define MS 1000000

struct fixture {
    struct fake_world world;
    struct backend *backend;
    struct backend_options options;
    unsigned before, after, failures;
    uint64_t operations; /* of the last commit */
    uint64_t index;      /* what before_commit writes; 0 = nothing */
};

static void before_commit(void *context, struct backend *backend) {
    struct fixture *self = context;
    self->before++;
    if (self->index == 0) return;
    uint8_t value[8];
    store_u64be(value, self->index);
    backend_put(backend, BACKEND_META, S("consistent_index"), slice_make(value, 8));
}

static void after_commit(void *context, const struct backend_commit_report *report) {
    struct fixture *self = context;
    self->after++;
    self->operations = report->operations;
    assert_true(report->bolt.written_bytes > 0);
}

static void on_failure(void *context, enum err error, const char *text) {
    struct fixture *self = context;
    self->failures++;
    assert_non_null(text);
}

static void open_backend(struct fixture *self) {
    self->options.hooks = (struct backend_hooks){self, before_commit, after_commit, on_failure};
    self->options.initial_map_bytes = 1 << 20;
    struct errmsg message;
    if (backend_open(&self->world.env, "db", &self->options, &self->backend, &message) != OK)
        fail_msg("%s", message.text);
}

static void setup(struct fixture *self) {
    *self = (struct fixture){0};
    fake_world_init(&self->world);
    open_backend(self);
}

static void teardown(struct fixture *self) {
    assert_ok(backend_close(self->backend));
    struct bolt *db;
    assert_ok(bolt_open(&self->world.env, "db", NULL, &db, NULL));
    assert_whole(db);
    bolt_close(db);
    fake_world_release(&self->world);
}

static void reopen(struct fixture *self) {
    assert_ok(backend_close(self->backend));
    open_backend(self);
}

static size_t run_jobs(struct fixture *self) {
    size_t count = 0;
    while (fake_run_job(&self->world)) count++;
    return count;
}

static struct slice revision(uint8_t out[18], int64_t main, int64_t sub) {
    return slice_make(out, backend_revision_encode(out, main, sub, false));
}

static void put_revision(struct fixture *self, int64_t main, const char *value) {
    uint8_t key[18];
    backend_put(self->backend, BACKEND_KEY, revision(key, main, 0), slice_from_cstr(value));
}

static void delete_revision(struct fixture *self, int64_t main) {
    uint8_t key[18];
    backend_delete(self->backend, BACKEND_KEY, revision(key, main, 0));
}

/* "" when absent; valid until the next call. */
static const char *text_of(struct slice value) {
    static char text[64];
    snprintf(text, sizeof text, "%.*s", (int)value.len, value.data == NULL ? "" : (const char *)value.data);
    return text;
}

static const char *get(struct fixture *self, enum backend_bucket bucket, const char *key) {
    struct slice value;
    assert_ok(backend_get(self->backend, bucket, slice_from_cstr(key), &value));
    return text_of(value);
}

static const char *get_revision(struct fixture *self, int64_t main) {
    uint8_t key[18];
    struct slice value;
    assert_ok(backend_get(self->backend, BACKEND_KEY, revision(key, main, 0), &value));
    return text_of(value);
}

/* All keys of a view's bucket as "main=value main=value", or "key=value" of small ones. */
static const char *walk(const struct backend_view *view, enum backend_bucket bucket, struct slice from) {
    static char text[4096];
    struct backend_cursor cursor;
    struct slice key, value;
    size_t at = 0;
    text[0] = 0;
    backend_cursor_init(&cursor, view, bucket);
    if (from.len > 0) backend_cursor_seek(&cursor, from);
    while (backend_cursor_next(&cursor, &key, &value)) {
        struct slice again;
        assert_ok(backend_view_get(view, bucket, key, &again));
        assert_true(slice_equal(again, value));
        if (bucket == BACKEND_KEY)
            at += (size_t)snprintf(text + at, sizeof text - at, "%d=", (int)load_u64be(key.data));
        else
            at += (size_t)snprintf(text + at, sizeof text - at, "%.*s=", (int)key.len, (const char *)key.data);
        at += (size_t)snprintf(text + at, sizeof text - at, "%.*s ", (int)value.len, (const char *)value.data);
    }
    assert_int_equal(cursor.error, OK);
    return text;
}

struct waiting {
    struct backend_waiter waiter;
    int calls;
    enum err error;
};

static void called(struct backend_waiter *waiter, enum err error) {
    struct waiting *self = CONTAINER_OF(waiter, struct waiting, waiter);
    self->calls++;
    self->error = error;
}

static void writes_are_seen_at_once_and_committed_within_the_interval(void **state) {
    struct fixture f;
    setup(&f);
    backend_create_bucket(f.backend, BACKEND_KEY);
    backend_create_bucket(f.backend, BACKEND_META);
    put_revision(&f, 2, "two");
    backend_put(f.backend, BACKEND_META, S("m"), S("n"));
    assert_string_equal(get_revision(&f, 2), "two");
    assert_string_equal(get(&f, BACKEND_META, "m"), "n");
    assert_string_equal(get(&f, BACKEND_META, "x"), "");
    fake_advance(&f.world, 99 * MS);
    assert_int_equal(run_jobs(&f), 0);
    fake_advance(&f.world, 2 * MS);
    assert_int_equal(f.before, 1);
    assert_int_equal(f.after, 0);
    put_revision(&f, 3, "three"); /* while the worker is at it */
    assert_string_equal(get_revision(&f, 2), "two");
    assert_string_equal(get_revision(&f, 3), "three");
    assert_int_equal(run_jobs(&f), 1);
    assert_int_equal(f.after, 1);
    assert_string_equal(get_revision(&f, 2), "two");
    assert_string_equal(get_revision(&f, 3), "three");
    fake_advance(&f.world, 101 * MS);
    assert_int_equal(run_jobs(&f), 1);
    assert_int_equal(f.after, 2);
    /* Nothing is pending: nothing happens. */
    fake_advance(&f.world, 1000 * MS);
    assert_int_equal(run_jobs(&f), 0);
    assert_int_equal(f.before, 2);
    reopen(&f);
    assert_string_equal(get_revision(&f, 3), "three");
    assert_string_equal(get(&f, BACKEND_META, "m"), "n");
    teardown(&f);
}

static void a_full_batch_is_sealed_in_the_next_turn_not_in_the_middle(void **state) {
    struct fixture f;
    setup(&f);
    reopen(&f);
    assert_ok(backend_close(f.backend));
    f.options.batch_limit = 10;
    f.before = f.after = 0;
    open_backend(&f);
    for (int64_t i = 2; i < 30; i++) put_revision(&f, i, "v"); /* one turn */
    assert_int_equal(f.before, 0);
    fake_advance(&f.world, 1 * MS);
    assert_int_equal(f.before, 1);
    assert_int_equal(run_jobs(&f), 1);
    assert_int_equal(f.operations, 28);
    teardown(&f);
}

static void one_commit_runs_at_a_time_and_the_next_takes_all_that_came(void **state) {
    struct fixture f;
    setup(&f);
    assert_ok(backend_close(f.backend));
    f.options.batch_limit = 10;
    f.before = 0;
    open_backend(&f);
    int64_t next = 2;
    for (int i = 0; i < 10; i++) put_revision(&f, next++, "v");
    fake_advance(&f.world, 1 * MS);
    for (int i = 0; i < 10 * BACKEND_CONGESTED_BATCHES; i++) {
        assert_false(backend_is_congested(f.backend));
        put_revision(&f, next++, "v");
    }
    assert_true(backend_is_congested(f.backend));
    fake_advance(&f.world, 1000 * MS);
    assert_int_equal(f.before, 1);
    assert_true(fake_run_job(&f.world)); /* its end starts the next */
    assert_int_equal(f.before, 2);
    assert_false(backend_is_congested(f.backend));
    assert_int_equal(run_jobs(&f), 1);
    assert_int_equal(f.operations, 10 * BACKEND_CONGESTED_BATCHES);
    assert_string_equal(get_revision(&f, next - 1), "v");
    teardown(&f);
}

static void what_before_commit_puts_is_in_the_same_transaction(void **state) {
    struct fixture f;
    setup(&f);
    f.index = 17;
    put_revision(&f, 2, "two");
    fake_advance(&f.world, 101 * MS);
    f.index = 18; /* comes with the next */
    run_jobs(&f);
    struct slice value;
    assert_ok(backend_get(f.backend, BACKEND_META, S("consistent_index"), &value));
    assert_int_equal(load_u64be(value.data), 17);
    struct waiting waiting = {{.callback = called}};
    backend_commit(f.backend, &waiting.waiter); /* forced: also when nothing else is pending */
    assert_int_equal(waiting.calls, 0);
    fake_advance(&f.world, 0);
    run_jobs(&f);
    assert_int_equal(waiting.calls, 1);
    assert_ok(waiting.error);
    assert_ok(backend_get(f.backend, BACKEND_META, S("consistent_index"), &value));
    assert_int_equal(load_u64be(value.data), 18);
    f.index = 0;
    teardown(&f);
}

static void a_waiter_is_called_when_all_written_before_is_on_disk(void **state) {
    struct fixture f;
    setup(&f);
    struct waiting a = {{.callback = called}}, b = {{.callback = called}}, none = {{.callback = called}};
    backend_commit(f.backend, &none.waiter);
    fake_advance(&f.world, 0);
    assert_int_equal(none.calls, 1); /* there was nothing */
    put_revision(&f, 2, "two");
    backend_commit(f.backend, &a.waiter);
    fake_advance(&f.world, 0);
    put_revision(&f, 3, "three");
    backend_commit(f.backend, &b.waiter); /* the running commit does not have it */
    assert_true(fake_run_job(&f.world));
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
    assert_true(fake_run_job(&f.world));
    assert_int_equal(b.calls, 1);
    struct backend_snapshot *snapshot = backend_snapshot_new(f.backend);
    CLEANUP_FREE uint8_t *image = mem_alloc(backend_snapshot_size_bytes(snapshot));
    backend_snapshot_read(snapshot, 0, image, backend_snapshot_size_bytes(snapshot));
    struct fake_file *file = fake_add_file(&f.world, "snapshot");
    file->size_bytes = (int64_t)backend_snapshot_size_bytes(snapshot);
    memcpy(file->live, image, (size_t)file->size_bytes);
    backend_snapshot_free(snapshot);
    struct backend *copy;
    assert_ok(
        backend_open(&f.world.env, "snapshot", &(struct backend_options){.initial_map_bytes = 1 << 20}, &copy, NULL));
    struct backend *own = f.backend;
    f.backend = copy;
    assert_string_equal(get_revision(&f, 3), "three");
    f.backend = own;
    assert_ok(backend_close(copy));
    teardown(&f);
}

/* In the file, in the sealed and in the active buffer: the newest word counts (etcd #13541). */
static void what_is_deleted_stays_deleted_until_it_is_gone_from_the_file(void **state) {
    struct fixture f;
    setup(&f);
    put_revision(&f, 2, "two");
    backend_put(f.backend, BACKEND_META, S("a"), S("old"));
    backend_put(f.backend, BACKEND_META, S("b"), S("old"));
    fake_advance(&f.world, 101 * MS);
    run_jobs(&f);
    delete_revision(&f, 2);
    backend_delete(f.backend, BACKEND_META, S("a"));
    backend_delete(f.backend, BACKEND_META, S("b"));
    for (int step = 0; step < 4; step++) {
        assert_string_equal(get(&f, BACKEND_META, "a"), step < 2 ? "" : "new");
        assert_string_equal(get(&f, BACKEND_META, "b"), "");
        assert_string_equal(get_revision(&f, 2), "");
        if (step == 0) fake_advance(&f.world, 101 * MS); /* sealed, not run */
        if (step == 1) backend_put(f.backend, BACKEND_META, S("a"), S("new"));
        if (step == 2) run_jobs(&f);
    }
    teardown(&f);
}

static void a_view_keeps_its_content_through_writes_and_commits(void **state) {
    struct fixture f;
    setup(&f);
    put_revision(&f, 2, "file");
    backend_put(f.backend, BACKEND_META, S("a"), S("file"));
    backend_put(f.backend, BACKEND_META, S("b"), S("file"));
    backend_put(f.backend, BACKEND_META, S("c"), S("file"));
    fake_advance(&f.world, 101 * MS);
    run_jobs(&f);
    put_revision(&f, 3, "sealed");
    backend_put(f.backend, BACKEND_META, S("a"), S("sealed"));
    backend_delete(f.backend, BACKEND_META, S("b"));
    fake_advance(&f.world, 101 * MS); /* sealed, not run */
    put_revision(&f, 4, "active");
    backend_put(f.backend, BACKEND_META, S("d"), S("active"));
    backend_delete(f.backend, BACKEND_META, S("c"));
    struct backend_view *view = backend_view(f.backend, BACKEND_VIEW_ALL);
    const char *keys = "2=file 3=sealed 4=active ", *meta = "a=sealed d=active ";
    uint8_t key[18];
    for (int step = 0; step < 4; step++) {
        assert_string_equal(walk(view, BACKEND_KEY, SLICE_NONE), keys);
        assert_string_equal(walk(view, BACKEND_META, SLICE_NONE), meta);
        assert_string_equal(walk(view, BACKEND_KEY, revision(key, 3, 0)), "3=sealed 4=active ");
        assert_string_equal(walk(view, BACKEND_KEY, revision(key, 3, 1)), "4=active ");
        assert_string_equal(walk(view, BACKEND_LEASE, SLICE_NONE), "");
        if (step == 0) {
            put_revision(&f, 5, "later");
            delete_revision(&f, 2);
            backend_put(f.backend, BACKEND_META, S("a"), S("later"));
            backend_put(f.backend, BACKEND_META, S("b"), S("later"));
        } else if (step == 1) {
            assert_true(fake_run_job(&f.world));
        } else if (step == 2) {
            fake_advance(&f.world, 1000 * MS);
            run_jobs(&f);
        }
    }
    struct backend_view *now = backend_view(f.backend, BACKEND_VIEW_ALL);
    assert_string_equal(walk(now, BACKEND_KEY, SLICE_NONE), "3=sealed 4=active 5=later ");
    assert_string_equal(walk(now, BACKEND_META, SLICE_NONE), "a=later b=later d=active ");
    assert_ptr_equal(backend_view(f.backend, BACKEND_VIEW_KEY), now); /* nothing has changed: shared */
    backend_view_unref(now);
    put_revision(&f, 6, "more");
    struct backend_view *more = backend_view(f.backend, BACKEND_VIEW_KEY);
    assert_ptr_not_equal(more, now);
    assert_string_equal(walk(more, BACKEND_KEY, SLICE_NONE), "3=sealed 4=active 5=later 6=more ");
    backend_view_unref(more);
    backend_view_unref(now);
    backend_view_unref(view);
    teardown(&f);
}

/* Deletes in any order, of keys in the file and in both buffers. */
static void deleted_revisions_are_gone_everywhere(void **state) {
    struct fixture f;
    setup(&f);
    for (int64_t i = 2; i < 800; i++) put_revision(&f, i, "v");
    fake_advance(&f.world, 101 * MS);
    run_jobs(&f);
    for (int64_t i = 800; i < 1600; i++) put_revision(&f, i, "v");
    for (int64_t i = 10; i < 300; i++) delete_revision(&f, i);
    for (int64_t i = 900; i < 910; i++) delete_revision(&f, i);
    for (int64_t i = 400; i > 390; i--) delete_revision(&f, i); /* out of order */
    delete_revision(&f, 395);                                   /* again */
    fake_advance(&f.world, 101 * MS);                           /* sealed */
    for (int64_t i = 1600; i < 1700; i++) put_revision(&f, i, "v");
    delete_revision(&f, 1650);
    delete_revision(&f, 1000);
    delete_revision(&f, 3);
    for (int step = 0; step < 3; step++) {
        struct backend_view *view = backend_view(f.backend, BACKEND_VIEW_KEY);
        struct backend_cursor cursor;
        struct slice key, value;
        backend_cursor_init(&cursor, view, BACKEND_KEY);
        int64_t last = 1;
        for (int64_t i = 2; i < 1700; i++) {
            bool is_gone = (i >= 10 && i < 300) || (i >= 900 && i < 910) || (i > 390 && i <= 400) || i == 1650 ||
                           i == 1000 || i == 3;
            assert_string_equal(get_revision(&f, i), is_gone ? "" : "v");
            if (is_gone) continue;
            assert_true(backend_cursor_next(&cursor, &key, &value));
            assert_int_equal(load_u64be(key.data), i);
            last = i;
        }
        assert_false(backend_cursor_next(&cursor, &key, &value));
        assert_int_equal(last, 1699);
        backend_view_unref(view);
        if (step == 0)
            run_jobs(&f);
        else
            fake_advance(&f.world, 101 * MS), run_jobs(&f);
    }
    teardown(&f);
}

static void compaction_gives_pages_back_for_new_writes(void **state) {
    struct fixture f;
    setup(&f);
    int64_t next = 2;
    uint64_t size = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 3000; i++) put_revision(&f, next++, "a value of some length, so that pages fill up");
        fake_advance(&f.world, 101 * MS);
        run_jobs(&f);
        for (int64_t i = next - 3000; i < next - 10; i++) delete_revision(&f, i);
        fake_advance(&f.world, 101 * MS);
        run_jobs(&f);
        if (round == 3) size = backend_size_bytes(f.backend);
    }
    put_revision(&f, next, "v"); /* what the last commit replaced becomes free with the next */
    fake_advance(&f.world, 101 * MS);
    run_jobs(&f);
    assert_true(size > 0 && backend_size_bytes(f.backend) <= size + size / 10);
    assert_true(backend_size_in_use_bytes(f.backend) < size / 2);
    teardown(&f);
}

/* The sum as the Hash RPC makes it, by hand. */
static void hash_counts_all_but_index_and_term(void **state) {
    struct fixture f;
    setup(&f);
    backend_create_bucket(f.backend, BACKEND_META);
    backend_create_bucket(f.backend, BACKEND_LEASE);
    put_revision(&f, 2, "two");
    backend_put(f.backend, BACKEND_META, S("consistent_index"), S("12345678"));
    backend_put(f.backend, BACKEND_META, S("term"), S("12345678"));
    backend_put(f.backend, BACKEND_META, S("storageVersion"), S("3.6.0"));
    backend_put(f.backend, BACKEND_META, S("confState"), S("{}"));
    uint8_t key[18];
    (void)revision(key, 2, 0);
    for (int step = 0; step < 3; step++) {
        for (int skip = 0; skip < 2; skip++) {
            uint32_t expected = crc32c(0, "key", 3), hash;
            expected = crc32c(expected, key, 17);
            expected = crc32c(expected, "two", 3);
            expected = crc32c(expected, "lease", 5);
            expected = crc32c(expected, "metaconfState{}", 15);
            if (!skip) expected = crc32c(expected, "storageVersion3.6.0", 19);
            struct backend_view *view = backend_view(f.backend, BACKEND_VIEW_ALL);
            assert_ok(backend_view_hash(view, skip, &hash));
            backend_view_unref(view);
            assert_int_equal(hash, expected);
        }
        if (step == 0)
            fake_advance(&f.world, 101 * MS); /* sealed */
        else
            run_jobs(&f); /* in the file */
    }
    teardown(&f);
}

static void values_are_shared_not_copied(void **state) {
    struct fixture f;
    setup(&f);
    struct shared *entry = shared_copy(S("header and value"));
    uint8_t key[18];
    struct slice value = slice_from(shared_slice(entry), 11), read;
    backend_put_shared(f.backend, BACKEND_KEY, revision(key, 2, 0), entry, value);
    backend_put_shared(f.backend, BACKEND_LEASE, S("l"), entry, value);
    shared_unref(entry);
    assert_ok(backend_get(f.backend, BACKEND_KEY, slice_make(key, 17), &read));
    assert_ptr_equal(read.data, value.data);
    assert_ok(backend_get(f.backend, BACKEND_LEASE, S("l"), &read));
    assert_ptr_equal(read.data, value.data);
    fake_advance(&f.world, 101 * MS);
    run_jobs(&f);
    assert_string_equal(get_revision(&f, 2), "value");
    /* An empty value is there all the same. */
    backend_put(f.backend, BACKEND_KEY, revision(key, 3, 0), SLICE_NONE);
    for (int step = 0; step < 2; step++) {
        assert_ok(backend_get(f.backend, BACKEND_KEY, slice_make(key, 17), &read));
        assert_true(read.data != NULL && read.len == 0);
        fake_advance(&f.world, 101 * MS);
        run_jobs(&f);
    }
    teardown(&f);
}

static void a_failed_commit_stops_everything_and_is_told_once(void **state) {
    for (int by_write = 0; by_write < 2; by_write++) {
        struct fixture f;
        setup(&f);
        put_revision(&f, 2, "two");
        fake_advance(&f.world, 101 * MS);
        run_jobs(&f);
        put_revision(&f, 3, "three");
        struct waiting waiting = {{.callback = called}}, late = {{.callback = called}};
        backend_commit(f.backend, &waiting.waiter);
        if (by_write)
            f.world.fail_at_write = f.world.writes + 1;
        else
            f.world.fail_at_sync = f.world.syncs + 2;
        fake_advance(&f.world, 0);
        run_jobs(&f);
        enum err expected = ERR_IO;
        assert_int_equal(f.failures, 1);
        assert_int_equal(waiting.calls, 1);
        assert_int_equal(waiting.error, expected);
        assert_string_equal(get_revision(&f, 3), "three"); /* reads go on */
        put_revision(&f, 4, "four");
        backend_commit(f.backend, &late.waiter);
        fake_advance(&f.world, 1000 * MS);
        assert_int_equal(run_jobs(&f), 0);
        assert_int_equal(late.calls, 1);
        assert_int_equal(late.error, expected);
        assert_int_equal(f.failures, 1);
        assert_int_equal(backend_close(f.backend), expected);
        fake_world_release(&f.world);
    }
}

static void a_full_disk_is_waited_for(void **state) {
    struct fixture f;
    setup(&f);
    put_revision(&f, 2, "two");
    struct waiting waiting = {{.callback = called}};
    backend_commit(f.backend, &waiting.waiter);
    f.world.is_full = true;
    fake_advance(&f.world, 0);
    for (int i = 0; i < 5; i++) {
        run_jobs(&f);
        assert_true(backend_is_full(f.backend));
        fake_advance(&f.world, BACKEND_RETRY_NS);
    }
    assert_int_equal(waiting.calls, 0);
    put_revision(&f, 3, "three");
    assert_string_equal(get_revision(&f, 2), "two");
    f.world.is_full = false;
    run_jobs(&f);
    assert_false(backend_is_full(f.backend));
    assert_int_equal(waiting.calls, 1);
    assert_int_equal(waiting.error, OK);
    assert_int_equal(f.failures, 0);
    fake_advance(&f.world, 101 * MS);
    f.world.is_full = true;
    run_jobs(&f);
    assert_true(backend_is_full(f.backend));
    assert_int_equal(backend_close(f.backend), ERR_NO_DISK_SPACE); /* and nobody is told of a failure */
    assert_int_equal(f.failures, 0);
    fake_world_release(&f.world);
}

static void close_commits_what_is_pending(void **state) {
    struct fixture f;
    setup(&f);
    put_revision(&f, 2, "two");
    fake_advance(&f.world, 101 * MS); /* the worker has it and has not begun */
    put_revision(&f, 3, "three");
    f.index = 5;
    reopen(&f);
    f.index = 0;
    assert_string_equal(get_revision(&f, 2), "two");
    assert_string_equal(get_revision(&f, 3), "three");
    struct slice value;
    assert_ok(backend_get(f.backend, BACKEND_META, S("consistent_index"), &value));
    assert_int_equal(load_u64be(value.data), 5);
    teardown(&f);
}

static void a_file_in_use_or_damaged_is_refused_with_a_reason(void **state) {
    struct fixture f;
    setup(&f);
    struct backend *second;
    struct errmsg message;
    assert_int_equal(backend_open(&f.world.env, "db", NULL, &second, &message), ERR_LOCKED);
    assert_string_equal(message.text, "db: fileutil: file already locked");
    put_revision(&f, 2, "two");
    assert_ok(backend_close(f.backend));
    struct fake_file *file = fake_find(&f.world, "db");
    file->live[16] ^= 1;
    file->live[4096 + 16] ^= 1;
    assert_int_equal(backend_open(&f.world.env, "db", NULL, &second, &message), ERR_BOLT_INVALID);
    assert_string_equal(message.text, "db: invalid database");
    fake_world_release(&f.world);
}

static void defrag_makes_the_file_small_while_views_keep_the_old_one(void **state) {
    struct fixture f;
    setup(&f);
    for (int64_t i = 2; i < 5000; i++) put_revision(&f, i, "v");
    assert_ok(backend_commit_blocking(f.backend));
    for (int64_t i = 2; i < 4990; i++) delete_revision(&f, i);
    backend_put(f.backend, BACKEND_META, S("m"), S("n"));
    assert_ok(backend_commit_blocking(f.backend));
    uint64_t size = backend_size_bytes(f.backend);
    struct backend_view *view = backend_view(f.backend, BACKEND_VIEW_ALL);
    uint32_t before, after;
    assert_ok(backend_view_hash(view, false, &before));
    struct waiting waiting = {{.callback = called}};
    backend_defrag(f.backend, "db.tmp", &waiting.waiter);
    fake_advance(&f.world, 0);
    put_revision(&f, 6000, "meanwhile");
    assert_string_equal(get_revision(&f, 6000), "meanwhile");
    run_jobs(&f);
    assert_int_equal(waiting.calls, 1);
    assert_ok(waiting.error);
    assert_true(backend_size_bytes(f.backend) < size / 4);
    assert_string_equal(get_revision(&f, 4995), "v");
    assert_string_equal(get_revision(&f, 6000), "meanwhile");
    assert_ok(backend_view_hash(view, false, &after)); /* still the old file */
    assert_int_equal(before, after);
    backend_view_unref(view);
    run_jobs(&f); /* closes it */
    fake_advance(&f.world, 1000 * MS);
    run_jobs(&f);
    reopen(&f);
    assert_string_equal(get_revision(&f, 6000), "meanwhile");
    assert_string_equal(get(&f, BACKEND_META, "m"), "n");
    teardown(&f);
}

static void revision_keys_read_back(void **state) {
    uint8_t key[18];
    int64_t main, sub;
    bool is_tombstone;
    assert_int_equal(backend_revision_encode(key, 0x0102030405060708, 3, true), 18);
    assert_memory_equal(key, "\1\2\3\4\5\6\7\10_\0\0\0\0\0\0\0\3t", 18);
    assert_true(backend_revision_decode(slice_make(key, 18), &main, &sub, &is_tombstone));
    assert_true(main == 0x0102030405060708 && sub == 3 && is_tombstone);
    assert_true(backend_revision_decode(slice_make(key, 17), &main, &sub, &is_tombstone));
    assert_false(is_tombstone);
    assert_false(backend_revision_decode(slice_make(key, 16), &main, &sub, &is_tombstone));
    key[17] = 'x';
    assert_false(backend_revision_decode(slice_make(key, 18), &main, &sub, &is_tombstone));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_are_seen_at_once_and_committed_within_the_interval),
        cmocka_unit_test(a_full_batch_is_sealed_in_the_next_turn_not_in_the_middle),
        cmocka_unit_test(one_commit_runs_at_a_time_and_the_next_takes_all_that_came),
        cmocka_unit_test(what_before_commit_puts_is_in_the_same_transaction),
        cmocka_unit_test(a_waiter_is_called_when_all_written_before_is_on_disk),
        cmocka_unit_test(what_is_deleted_stays_deleted_until_it_is_gone_from_the_file),
        cmocka_unit_test(a_view_keeps_its_content_through_writes_and_commits),
        cmocka_unit_test(deleted_revisions_are_gone_everywhere),
        cmocka_unit_test(compaction_gives_pages_back_for_new_writes),
        cmocka_unit_test(hash_counts_all_but_index_and_term),
        cmocka_unit_test(values_are_shared_not_copied),
        cmocka_unit_test(a_failed_commit_stops_everything_and_is_told_once),
        cmocka_unit_test(a_full_disk_is_waited_for),
        cmocka_unit_test(close_commits_what_is_pending),
        cmocka_unit_test(a_file_in_use_or_damaged_is_refused_with_a_reason),
        cmocka_unit_test(defrag_makes_the_file_small_while_views_keep_the_old_one),
        cmocka_unit_test(revision_keys_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
