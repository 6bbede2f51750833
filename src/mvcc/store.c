/* store.c - a store's life: open, restore from the backend, replace, stop, close. */
#include "mvcc/store.h"

#include "base/check.h"
#include "base/map.h"
#include "mvcc/store_private.h"

#include <stdlib.h>

/* Pairs taken into the index at once while restoring: bounds the memory that sorting them takes. */
#define RESTORE_PIECE ((size_t)1 << 20)
#define RESTORE_PIECE_BYTES ((size_t)256 << 20)

int64_t store_revision(const struct store *self) { return self->revision; }
int64_t store_compact_revision(const struct store *self) { return self->compact_revision; }
struct watch_hub *store_watch_hub(struct store *self) {
    return self->hub;
}
struct index *store_index(struct store *self) {
    return self->index;
}
struct backend *store_backend(struct store *self) {
    return self->backend;
}
enum err store_error(const struct store *self) { return self->error; }

const struct store_stats *store_stats(struct store *self) {
    self->stats.keys_live = index_live_count(self->index);
    return &self->stats;
}

enum err store__fail(struct store *self, enum err error) {
    if (self->error == OK) {
        struct errmsg message = {0};
        backend_explain(self->backend, &message);
        log_error(env_log(self->env), "mvcc: the db lacks what its index knows", LOG_ERR(error),
                  LOG_STRING("detail", message.text));
        self->error = error;
    }
    return error;
}

enum err store__fetch(struct store *self, const struct backend_view *view, struct bolt_hint *hint,
                      struct revision revision, struct slice *ret_kv) {
    uint8_t bytes[BACKEND_REVISION_MAX_BYTES];
    struct slice key = slice_make(bytes, backend_revision_encode(bytes, revision.main, revision.sub, false));
    struct slice value = SLICE_NONE;
    enum err error = view != NULL ? backend_view_get_near(view, hint, key, &value)
                                  : backend_get(self->backend, BACKEND_KEY, key, &value);
    if (error == OK && value.data == NULL) error = ERR_CORRUPT;
    if (error != OK) return store__fail(self, error);
    *ret_kv = value;
    return OK;
}

/* ---- restore ---- */

struct restore {
    struct store *store;
    VEC(struct index_record *) records;
    struct arena arena;      /* the records */
    struct map_bytes leases; /* live keys with a lease (map values are the lease ids) */
    int64_t last_main;
};

static void key_loaded(void *context, struct index_key *key, int64_t lease) {
    struct restore *restore = context;
    if (lease != 0)
        map_bytes_put(&restore->leases, index_key_bytes(key), (void *)(uintptr_t)lease);
    else if (restore->leases.count > 0)
        map_bytes_remove(&restore->leases, index_key_bytes(key));
}

static enum err add_record(struct restore *restore, struct slice key, struct slice value, struct errmsg *ret_message) {
    int64_t main, sub;
    bool is_tombstone;
    struct keyvalue kv;
    if (!backend_revision_decode(key, &main, &sub, &is_tombstone) || sub < 0 || sub > UINT32_MAX)
        return err_set(ret_message, ERR_CORRUPT, "bucket key: a key of %zu bytes is no revision", key.len);
    if (keyvalue_decode(value, &kv) != OK)
        return err_set(ret_message, ERR_CORRUPT, "bucket key: the value of revision %lld.%lld is no KeyValue",
                       (long long)main, (long long)sub);
    if (kv.key.len > INT32_MAX / 8)
        return err_set(ret_message, ERR_CORRUPT, "bucket key: revision %lld.%lld has a key of %zu bytes",
                       (long long)main, (long long)sub, kv.key.len);
    restore->last_main = main;
    struct index_record *record = arena_alloc(&restore->arena, sizeof *record + kv.key.len);
    *record = (struct index_record){.main = main,
                                    .create_main = kv.create_revision,
                                    .version = kv.version,
                                    .lease = kv.lease,
                                    .sub = (uint32_t)sub,
                                    .key_length = (uint32_t)kv.key.len & INT32_MAX,
                                    .is_tombstone = is_tombstone};
    if (kv.key.len != 0) memcpy(record->key, kv.key.data, kv.key.len);
    VEC_PUSH(&restore->records, record);
    return OK;
}

static void load_piece(struct restore *restore) {
    index_load(restore->store->index, (const struct index_record *const *)restore->records.items,
               restore->records.count, key_loaded, restore);
    restore->records.count = 0;
    arena_reset(&restore->arena);
}

static enum err load_index(struct restore *restore, const struct backend_view *view, struct errmsg *ret_message) {
    uint8_t bytes[BACKEND_REVISION_MAX_BYTES];
    struct backend_cursor cursor;
    struct slice key, value;
    backend_cursor_init(&cursor, view, BACKEND_KEY);
    backend_cursor_seek(&cursor, slice_make(bytes, backend_revision_encode(bytes, 1, 0, false)));
    while (backend_cursor_next(&cursor, &key, &value)) {
        TRY(add_record(restore, key, value, ret_message));
        if (restore->records.count == RESTORE_PIECE || arena_used(&restore->arena) >= RESTORE_PIECE_BYTES)
            load_piece(restore);
    }
    if (cursor.error != OK) {
        backend_explain(restore->store->backend, ret_message);
        return cursor.error;
    }
    load_piece(restore);
    return OK;
}

static int compare_leased(const void *a, const void *b) {
    return slice_compare((*(const struct map_bytes_entry *const *)a)->key,
                         (*(const struct map_bytes_entry *const *)b)->key);
}

/* In key order, so that two starts do the same. */
static void attach_leases(struct restore *restore) {
    const struct store_lease_ops *lease = &restore->store->options.lease;
    size_t count = 0;
    if (lease->attach == NULL || restore->leases.count == 0) return;
    struct map_bytes_entry **leased = NEW_ARRAY(struct map_bytes_entry *, restore->leases.count);
    for (size_t i = 0; i < restore->leases.capacity; i++)
        if (restore->leases.entries[i].value != NULL) leased[count++] = &restore->leases.entries[i];
    qsort(leased, count, sizeof *leased, compare_leased);
    for (size_t i = 0; i < count; i++)
        lease->attach(lease->context, leased[i]->key, (int64_t)(uintptr_t)leased[i]->value);
    mem_free(leased);
}

/* Fills an empty store from its backend (rules: spec backend-schema 10). */
static enum err restore_from_backend(struct store *self, struct errmsg *ret_message) {
    backend_create_bucket(self->backend, BACKEND_KEY);
    backend_create_bucket(self->backend, BACKEND_META);
    int64_t scheduled, finished;
    TRY(store__meta_revision(self, "scheduledCompactRev", &scheduled));
    TRY(store__meta_revision(self, "finishedCompactRev", &finished));
    self->scheduled_compaction = scheduled;
    self->finished_compaction = finished;
    self->compact_revision = finished > 0 ? finished : -1;
    if (finished > 0)
        log_info(env_log(self->env), "restored last compact revision", LOG_STRING("meta-bucket-name", "meta"),
                 LOG_STRING("meta-bucket-name-key", "finishedCompactRev"),
                 LOG_INT("restored-compact-revision", finished));

    struct restore restore = {.store = self};
    map_bytes_init(&restore.leases, env_random(self->env));
    arena_init(&restore.arena, (size_t)1 << 16);
    struct backend_view *view = backend_view(self->backend, BACKEND_VIEW_KEY);
    enum err error = load_index(&restore, view, ret_message);
    if (error == OK) attach_leases(&restore);
    backend_view_unref(view);
    VEC_RELEASE(&restore.records);
    arena_release(&restore.arena);
    map_bytes_release(&restore.leases);
    if (error != OK) return error;

    self->revision = restore.last_main > 1 ? restore.last_main : 1;
    if (self->revision < self->compact_revision) self->revision = self->compact_revision;
    if (self->revision < scheduled) self->revision = scheduled;
    log_info(env_log(self->env), "kvstore restored", LOG_INT("current-rev", self->revision));
    if (scheduled > finished) {
        TRY(store__compaction_resume(self, scheduled));
        log_info(env_log(self->env), "resume scheduled compaction", LOG_STRING("meta-bucket-name", "meta"),
                 LOG_STRING("meta-bucket-name-key", "scheduledCompactRev"),
                 LOG_INT("scheduled-compact-revision", scheduled));
    }
    return OK;
}

/* ---- life ---- */

static void set_defaults(struct store_options *options) {
    if (options->compaction_batch_limit <= 0) options->compaction_batch_limit = 1000;
    if (options->compaction_sleep_ns <= 0) options->compaction_sleep_ns = 10 * 1000000;
    if (options->compaction_slice_keys == 0) options->compaction_slice_keys = 2000;
    if (options->watch_ring_events == 0) options->watch_ring_events = 4096;
    if (options->watch_ring_bytes == 0) options->watch_ring_bytes = (size_t)4 << 20;
}

static void free_store(struct store *self) {
    watch__hub_free(self->hub);
    index_free(self->index);
    VEC_RELEASE(&self->txn.events);
    mem_free(self);
}

enum err store_open(struct backend *backend, const struct store_options *options, struct store **ret_store,
                    struct errmsg *ret_message) {
    struct store *self = NEW(struct store);
    self->backend = backend;
    self->env = options->env;
    self->options = *options;
    set_defaults(&self->options);
    self->txn.store = self;
    self->index = index_new();
    list_init(&self->floors);
    list_init(&self->compactions);
    list_init(&self->hash_jobs);
    self->hub = watch__hub_new(self);
    enum err error = restore_from_backend(self, ret_message);
    if (error != OK) {
        store__compaction_stop(self);
        free_store(self);
        return error;
    }
    *ret_store = self;
    return OK;
}

enum err store_replace(struct store *self, struct backend *backend, struct errmsg *ret_message) {
    CHECK(!self->txn.is_open && !self->is_stopping);
    store__compaction_stop(self);
    store__hash_stop(self);
    int64_t previous_revision = self->revision;
    self->backend = backend;
    index_free(self->index);
    self->index = index_new();
    self->kept_hash_count = 0;
    enum err error = restore_from_backend(self, ret_message);
    if (error != OK) return store__fail(self, error);
    watch__hub_replaced(self->hub, previous_revision);
    return OK;
}

static void report_stopped(struct env_job *job) {
    struct store *self = CONTAINER_OF(job, struct store, stopped_job);
    void (*stopped)(void *) = self->stopped;
    self->stopped = NULL;
    stopped(self->stopped_context);
}

void store__check_stopped(struct store *self) {
    if (!self->is_stopping || self->stopped == NULL || self->stopped_job.done != NULL) return;
    if (!list_is_empty(&self->hash_jobs) || !list_is_empty(&self->compactions)) return;
    self->stopped_job.done = report_stopped;
    env_post(self->env, &self->stopped_job);
}

void store_stop(struct store *self, void (*done)(void *context), void *context) {
    CHECK(!self->is_stopping);
    self->is_stopping = true;
    self->stopped = done;
    self->stopped_context = context;
    watch__hub_stop(self->hub);
    store__compaction_stop(self);
    store__hash_stop(self);
    store__check_stopped(self);
}

void store_close(struct store *self) {
    if (self == NULL) return;
    CHECK(list_is_empty(&self->compactions) && list_is_empty(&self->hash_jobs) && list_is_empty(&self->floors));
    CHECK(self->stopped == NULL);
    watch__hub_stop(self->hub);
    env_timer_stop(self->env, &self->compaction_timer);
    free_store(self);
}
