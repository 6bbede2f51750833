/* The backend in the real world: its worker commits, the pool reads views and snapshots, the loop goes on writing. */
#include "../bolt/model.h"
#include "os/os.h"

#include "backend/backend.h"
#include "base/bytes.h"

#include <stdlib.h>
#include <unistd.h>

#define S SLICE_LITERAL

enum { REVISIONS_A_TURN = 50, TURNS = 400, READERS = 3 };

struct scan {
    struct env_job job;
    struct work *work;
    struct backend_view *view;
    struct backend_snapshot *snapshot;
    int64_t newest; /* revision when the view was made */
    int64_t compacted;
    bool is_good;
    bool is_busy;
};

struct work {
    struct env *env;
    struct os_world *world;
    struct backend *backend;
    struct scan scans[READERS];
    int64_t newest;
    int64_t compacted;
    int turns;
    int finished_scans;
    struct backend_waiter defrag;
    int defrags;
};

static struct slice key_of(uint8_t out[18], int64_t revision) {
    return slice_make(out, backend_revision_encode(out, revision, 0, false));
}

/* On the pool: the view holds every revision above the compacted one up to the newest, and nothing else. */
static void run_scan(struct env_job *job) {
    struct scan *self = CONTAINER_OF(job, struct scan, job);
    struct backend_cursor cursor;
    struct slice key, value, again;
    int64_t expected = self->compacted + 1;
    backend_cursor_init(&cursor, self->view, BACKEND_KEY);
    self->is_good = true;
    while (backend_cursor_next(&cursor, &key, &value)) {
        self->is_good &= (int64_t)load_u64be(key.data) == expected && load_u64be(value.data) == load_u64be(key.data);
        if (expected % 7 == 0) {
            self->is_good &= backend_view_get(self->view, BACKEND_KEY, key, &again) == OK;
            self->is_good &= again.data == value.data;
        }
        expected++;
    }
    self->is_good &= cursor.error == OK && expected == self->newest + 1;
    uint32_t hash;
    self->is_good &= backend_view_hash(self->view, false, &hash) == OK;
    uint64_t size = backend_snapshot_size_bytes(self->snapshot);
    CLEANUP_FREE uint8_t *piece = mem_alloc(1 << 16);
    for (uint64_t at = 0; at < size; at += 1 << 16)
        backend_snapshot_read(self->snapshot, at, piece, size - at < 1 << 16 ? size - at : 1 << 16);
}

static void scan_done(struct env_job *job) {
    struct scan *self = CONTAINER_OF(job, struct scan, job);
    assert_true(self->is_good);
    backend_view_unref(self->view);
    backend_snapshot_free(self->snapshot);
    self->is_busy = false;
    self->work->finished_scans++;
}

static void start_scan(struct work *work, struct scan *self) {
    self->work = work;
    self->is_busy = true;
    self->view = backend_view(work->backend, BACKEND_VIEW_ALL);
    self->snapshot = backend_snapshot_new(work->backend);
    self->newest = work->newest;
    self->compacted = work->compacted;
    self->job = (struct env_job){.run = run_scan, .done = scan_done};
    env_pool_submit(work->env, &self->job);
}

static void defrag_done(struct backend_waiter *waiter, enum err error) {
    struct work *work = CONTAINER_OF(waiter, struct work, defrag);
    assert_ok(error);
    work->defrags++;
}

static void one_turn(struct work *work, const char *temporary_path) {
    uint8_t key[18], value[8], lease[8];
    for (int i = 0; i < REVISIONS_A_TURN; i++) {
        int64_t revision = ++work->newest;
        store_u64be(value, (uint64_t)revision);
        backend_put(work->backend, BACKEND_KEY, key_of(key, revision), slice_make(value, 8));
        store_u64be(lease, (uint64_t)revision % 50);
        backend_put(work->backend, BACKEND_LEASE, slice_make(lease, 8), slice_make(value, 8));
        struct slice read;
        int64_t some = work->compacted + 1 + revision % (work->newest - work->compacted);
        assert_ok(backend_get(work->backend, BACKEND_KEY, key_of(key, some), &read));
        assert_true(read.len == 8 && load_u64be(read.data) == (uint64_t)some);
    }
    if (work->turns % 20 == 19) {
        int64_t to = work->newest - 200;
        for (int64_t r = work->compacted + 1; r <= to; r++) backend_delete(work->backend, BACKEND_KEY, key_of(key, r));
        if (to > work->compacted) work->compacted = to;
    }
    for (int i = 0; i < READERS; i++)
        if (!work->scans[i].is_busy) start_scan(work, &work->scans[i]);
    if (work->turns == TURNS / 2) {
        work->defrag.callback = defrag_done;
        backend_defrag(work->backend, temporary_path, &work->defrag);
    }
    work->turns++;
}

static bool nothing_is_left(void *context) {
    struct work *work = context;
    bool is_busy = work->defrags == 0;
    for (int i = 0; i < READERS; i++) is_busy |= work->scans[i].is_busy;
    return !is_busy;
}

static void views_are_read_on_other_threads(void **state) {
    char folder[] = "/tmp/backend-test-XXXXXX", path[64], temporary_path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/db", folder);
    snprintf(temporary_path, sizeof temporary_path, "%s/db.tmp", folder);
    struct work work = {.world = os_world_new(NULL), .newest = 1, .compacted = 1};
    work.env = os_world_env(work.world);
    struct backend_options options = {.batch_interval_ns = 1000000, .batch_limit = 500, .initial_map_bytes = 1 << 15};
    assert_ok(backend_open(work.env, path, &options, &work.backend, NULL));
    while (work.turns < TURNS || work.finished_scans < 20) {
        one_turn(&work, temporary_path);
        os_world_turn(work.world);
    }
    assert_true(os_world_run(work.world, nothing_is_left, &work, 60000000000));
    assert_ok(backend_close(work.backend));
    struct bolt *db;
    assert_ok(bolt_open(work.env, path, NULL, &db, NULL));
    assert_whole(db);
    bolt_close(db);
    assert_ok(env_remove_all(work.env, folder));
    os_world_free(work.world);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(views_are_read_on_other_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
