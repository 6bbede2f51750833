/* store.c - a store's life: open, restore from the backend, replace, stop, close. */
#include "mvcc/store.h"

#include "base/check.h"
#include "mvcc/store_private.h"

#include <stdlib.h>

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

/* Fills an empty store from its backend (rules: spec backend-schema 10). */
static enum err restore_from_backend(struct store *self, struct store_load *load, struct errmsg *ret_message) {
    backend_create_bucket(self->backend, BACKEND_META);
    int64_t scheduled, finished;
    TRY(store__meta_revision(self, "scheduledCompactRev", &scheduled, ret_message));
    TRY(store__meta_revision(self, "finishedCompactRev", &finished, ret_message));
    self->scheduled_compaction = scheduled;
    self->finished_compaction = finished;
    self->compact_revision = finished;
    if (finished >= 0)
        log_info(env_log(self->env), "restored last compact revision", LOG_STRING("meta-bucket-name", "meta"),
                 LOG_STRING("meta-bucket-name-key", "finishedCompactRev"),
                 LOG_INT("restored-compact-revision", finished));

    int64_t last_main;
    TRY(store__load_finish(load, self->backend, &self->index, &last_main, ret_message));
    store__load_attach_leases(load, &self->options.lease);

    self->revision = last_main > 1 ? last_main : 1;
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

enum err store_open(struct backend *backend, const struct store_options *options, struct store_load *load,
                    struct store **ret_store, struct errmsg *ret_message) {
    struct store *self = NEW(struct store);
    self->backend = backend;
    self->env = options->env;
    self->options = *options;
    set_defaults(&self->options);
    self->txn.store = self;
    list_init(&self->floors);
    list_init(&self->compactions);
    list_init(&self->hash_jobs);
    self->hub = watch__hub_new(self);
    if (load == NULL) load = store__load_new(backend, options->env);
    enum err error = restore_from_backend(self, load, ret_message);
    store_load_free(load);
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
    index_free(TAKE(self->index));
    self->kept_hash_count = 0;
    struct store_load *load = store__load_new(backend, self->env);
    enum err error = restore_from_backend(self, load, ret_message);
    store_load_free(load);
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
