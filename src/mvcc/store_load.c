/* store_load.c - the `key` bucket becomes the index; on a thread of its own when the start has other work meanwhile. */
#include "base/check.h"
#include "base/map.h"
#include "mvcc/store_private.h"

#include <stdlib.h>

/* Pairs taken into the index at once: bounds the memory that sorting them takes. */
#define PIECE ((size_t)1 << 20)
#define PIECE_BYTES ((size_t)256 << 20)

struct store_load {
    struct backend_view *view;
    struct env_worker *worker; /* NULL: it is done, or is to be done by the caller's thread */
    struct env_job job;
    VEC(struct index_record *) records;
    struct arena arena; /* the records */
    /* the result */
    struct index *index;
    struct map_bytes leases; /* live keys with a lease (map values are the lease ids) */
    int64_t last_main;
    int64_t last_sub; /* of the record before */
    enum err error;
    struct errmsg message;
};

static void key_loaded(void *context, struct index_key *key, int64_t lease) {
    struct store_load *self = context;
    if (lease != 0)
        map_bytes_put(&self->leases, index_key_bytes(key), (void *)(uintptr_t)lease);
    else if (self->leases.count > 0)
        map_bytes_remove(&self->leases, index_key_bytes(key));
}

static enum err add_record(struct store_load *self, struct slice key, struct slice value) {
    int64_t main, sub;
    bool is_tombstone;
    struct keyvalue kv;
    if (!backend_revision_decode(key, &main, &sub, &is_tombstone) || main > REVISION_MAIN_MAX || sub < 0 ||
        sub > UINT32_MAX)
        return err_set(&self->message, ERR_CORRUPT, "bucket key: a key of %zu bytes is no revision", key.len);
    if (main < self->last_main || (main == self->last_main && sub <= self->last_sub))
        return err_set(&self->message, ERR_CORRUPT, "bucket key: revision %lld.%lld comes behind %lld.%lld",
                       (long long)main, (long long)sub, (long long)self->last_main, (long long)self->last_sub);
    if (keyvalue_decode(value, &kv) != OK)
        return err_set(&self->message, ERR_CORRUPT, "bucket key: the value of revision %lld.%lld is no KeyValue",
                       (long long)main, (long long)sub);
    if (kv.key.len > INT32_MAX / 8)
        return err_set(&self->message, ERR_CORRUPT, "bucket key: revision %lld.%lld has a key of %zu bytes",
                       (long long)main, (long long)sub, kv.key.len);
    self->last_main = main;
    self->last_sub = sub;
    struct index_record *record = arena_alloc(&self->arena, sizeof *record + kv.key.len);
    *record = (struct index_record){.main = main,
                                    .create_main = kv.create_revision,
                                    .version = kv.version,
                                    .lease = kv.lease,
                                    .sub = (uint32_t)sub,
                                    .key_length = (uint32_t)kv.key.len & INT32_MAX,
                                    .is_tombstone = is_tombstone};
    if (kv.key.len != 0) memcpy(record->key, kv.key.data, kv.key.len);
    VEC_PUSH(&self->records, record);
    return OK;
}

static void load_piece(struct store_load *self) {
    index_load(self->index, (const struct index_record *const *)self->records.items, self->records.count, key_loaded,
               self);
    self->records.count = 0;
    arena_reset(&self->arena);
}

static enum err load_index(struct store_load *self) {
    uint8_t bytes[BACKEND_REVISION_MAX_BYTES];
    struct backend_cursor cursor;
    struct slice key, value;
    backend_cursor_init(&cursor, self->view, BACKEND_KEY);
    backend_cursor_seek(&cursor, slice_make(bytes, backend_revision_encode(bytes, 1, 0, false)));
    while (backend_cursor_next(&cursor, &key, &value)) {
        TRY(add_record(self, key, value));
        if (self->records.count == PIECE || arena_used(&self->arena) >= PIECE_BYTES) load_piece(self);
    }
    if (cursor.error == OK) load_piece(self);
    return cursor.error;
}

static void run(struct store_load *self) {
    arena_init(&self->arena, (size_t)1 << 16);
    self->index = index_new();
    self->error = load_index(self);
    VEC_RELEASE(&self->records);
    arena_release(&self->arena);
}

static void run_job(struct env_job *job) { run(CONTAINER_OF(job, struct store_load, job)); }
static void nothing(struct env_job *job) { (void)job; }

struct store_load *store__load_new(struct backend *backend, struct env *env) {
    struct store_load *self = NEW(struct store_load);
    backend_create_bucket(backend, BACKEND_KEY);
    self->view = backend_view(backend, BACKEND_VIEW_KEY);
    map_bytes_init(&self->leases, env_random(env));
    return self;
}

struct store_load *store_load_start(struct backend *backend, struct env *env) {
    struct store_load *self = store__load_new(backend, env);
    self->job = (struct env_job){.run = run_job, .done = nothing};
    self->worker = env_worker_new(env, "load");
    env_worker_submit(self->worker, &self->job);
    return self;
}

enum err store__load_finish(struct store_load *self, struct backend *backend, struct index **ret_index,
                            int64_t *ret_last_main, struct errmsg *ret_message) {
    if (self->worker != NULL)
        env_worker_free(TAKE(self->worker));
    else
        run(self);
    if (self->error != OK) {
        if (self->message.text[0] == 0) backend_explain(backend, &self->message);
        return err_set(ret_message, self->error, "%s", self->message.text);
    }
    *ret_index = TAKE(self->index);
    *ret_last_main = self->last_main;
    return OK;
}

static int compare_leased(const void *a, const void *b) {
    return slice_compare((*(const struct map_bytes_entry *const *)a)->key,
                         (*(const struct map_bytes_entry *const *)b)->key);
}

/* In key order, so that two starts do the same. */
void store__load_attach_leases(const struct store_load *self, const struct store_lease_ops *lease) {
    size_t count = 0;
    if (lease->attach == NULL || self->leases.count == 0) return;
    struct map_bytes_entry **leased = NEW_ARRAY(struct map_bytes_entry *, self->leases.count);
    for (size_t i = 0; i < self->leases.capacity; i++)
        if (self->leases.entries[i].value != NULL) leased[count++] = &self->leases.entries[i];
    qsort(leased, count, sizeof *leased, compare_leased);
    for (size_t i = 0; i < count; i++)
        lease->attach(lease->context, leased[i]->key, (int64_t)(uintptr_t)leased[i]->value);
    mem_free(leased);
}

void store_load_free(struct store_load *self) {
    if (self == NULL) return;
    env_worker_free(self->worker);
    backend_view_unref(self->view);
    index_free(self->index);
    map_bytes_release(&self->leases);
    mem_free(self);
}
