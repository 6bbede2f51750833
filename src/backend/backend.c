#include "backend/state.h"
#include "base/check.h"
#include "base/mem.h"

#include "base/bytes.h"

static const char *const bucket_names[BACKEND_BUCKET_COUNT] = {
    "alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members", "members_removed", "meta",
};

struct slice backend_bucket_name(enum backend_bucket bucket) {
    return slice_from_cstr(bucket_names[bucket]);
}

size_t backend_revision_encode(uint8_t out[BACKEND_REVISION_MAX_BYTES], int64_t main, int64_t sub, bool is_tombstone) {
    store_u64be(out, (uint64_t)main);
    out[8] = '_';
    store_u64be(out + 9, (uint64_t)sub);
    if (!is_tombstone) return BACKEND_REVISION_BYTES;
    out[17] = 't';
    return BACKEND_REVISION_MAX_BYTES;
}

bool backend_revision_decode(struct slice key, int64_t *ret_main, int64_t *ret_sub, bool *ret_is_tombstone) {
    if (key.len < BACKEND_REVISION_BYTES || key.len > BACKEND_REVISION_MAX_BYTES || key.data[8] != '_') return false;
    if (key.len == BACKEND_REVISION_MAX_BYTES && key.data[17] != 't') return false;
    *ret_main = (int64_t)load_u64be(key.data);
    *ret_sub = (int64_t)load_u64be(key.data + 9);
    *ret_is_tombstone = key.len == BACKEND_REVISION_MAX_BYTES;
    return true;
}

/* ---- the file and its reader ---- */

struct file *file__new(struct backend *backend, struct bolt *bolt) {
    struct file *self = NEW(struct file);
    self->references = 1;
    self->bolt = bolt;
    self->backend = backend;
    backend->open_files++;
    return self;
}

static void run_closing(struct env_job *job) { bolt_close(CONTAINER_OF(job, struct file, closing)->bolt); }

static void closing_done(struct env_job *job) { mem_free(CONTAINER_OF(job, struct file, closing)); }

void file__unref(struct file *self) {
    if (--self->references > 0) return;
    self->backend->open_files--;
    if (self->backend->is_closing) {
        bolt_close(self->bolt);
        mem_free(self);
        return;
    }
    /* Giving the blocks of a large unlinked file back takes its time. */
    self->closing = (struct env_job){.run = run_closing, .done = closing_done};
    env_pool_submit(self->backend->env, &self->closing);
}

enum err reader__new(struct file *file, struct reader **ret_reader) {
    struct reader *self = NEW(struct reader);
    self->references = 1;
    self->file = file;
    file->references++;
    self->tx = bolt_begin_read(file->bolt);
    enum err error = OK;
    for (int i = 0; i < BACKEND_BUCKET_COUNT && error == OK; i++) {
        error = bolt_bucket_open(bolt_tx_root(self->tx), slice_from_cstr(bucket_names[i]), &self->buckets[i]);
        if (error == ERR_BOLT_BUCKET_NOT_FOUND) error = OK;
    }
    if (error != OK) {
        reader__unref(self);
        return error;
    }
    *ret_reader = self;
    return OK;
}

void reader__unref(struct reader *self) {
    if (self == NULL || --self->references > 0) return;
    bolt_tx_end(self->tx);
    file__unref(self->file);
    mem_free(self);
}

enum err backend__renew_reader(struct backend *self) {
    struct reader *reader;
    TRY(reader__new(self->file, &reader));
    reader__unref(self->reader);
    self->reader = reader;
    bolt_get_stats(self->file->bolt, &self->stats);
    return OK;
}

/* ---- open and close ---- */

struct bolt_options backend__bolt_options(const struct backend *self) {
    return (struct bolt_options){.no_freelist_sync = true,
                                 .no_sync = self->options.unsafe_no_fsync,
                                 .initial_map_bytes = self->options.initial_map_bytes};
}

static void timer_fired(struct env_timer *timer) {
    struct backend *self = timer->context;
    if (self->is_full) {
        backend__retry_commit(self);
        return;
    }
    self->is_due = true;
    backend__pump(self);
}

static void set_options(struct backend *self, const struct backend_options *options) {
    if (options != NULL) self->options = *options;
    struct backend_options *own = &self->options;
    if (own->batch_interval_ns == 0) own->batch_interval_ns = BACKEND_DEFAULT_BATCH_INTERVAL_NS;
    if (own->batch_limit == 0) own->batch_limit = BACKEND_DEFAULT_BATCH_LIMIT;
    if (own->initial_map_bytes == 0) own->initial_map_bytes = BACKEND_DEFAULT_MAP_BYTES;
}

enum err backend_open(struct env *env, const char *path, const struct backend_options *options,
                      struct backend **ret_backend, struct errmsg *message) {
    struct backend *self = NEW(struct backend);
    self->env = env;
    set_options(self, options);
    struct bolt_options bolt_options = backend__bolt_options(self);
    struct bolt *bolt;
    enum err error = bolt_open(env, path, &bolt_options, &bolt, message);
    if (error == OK) {
        self->file = file__new(self, bolt);
        error = backend__renew_reader(self);
        if (error != OK) {
            bolt_explain(bolt, message);
            self->is_closing = true;
            file__unref(self->file);
        }
    }
    if (error != OK) {
        mem_free(self);
        return error;
    }
    self->path = mem_strdup(path);
    self->timer = (struct env_timer){.callback = timer_fired, .context = self};
    self->seed = env_random(env);
    self->active = buffer_new(self->seed);
    list_init(&self->waiting);
    list_init(&self->committing);
    list_init(&self->defrag_requests);
    self->worker = env_worker_new(env, "backend");
    *ret_backend = self;
    return OK;
}

enum err backend_close(struct backend *self) {
    if (self == NULL) return OK;
    CHECKF(self->view_count == 0, "backend: closed with %zu views open", self->view_count);
    self->is_closing = true;
    env_timer_stop(self->env, &self->timer);
    env_worker_free(self->worker); /* ends what it does, and its `done` is called */
    backend__drop_defrag_requests(self, ERR_STOPPED);
    enum err error = self->failed != OK ? self->failed : backend_commit_blocking(self);
    if (self->failed != OK) backend__call_waiters(&self->waiting, self->failed);
    reader__unref(self->reader);
    file__unref(self->file);
    CHECKF(self->open_files == 0, "backend: closed with a snapshot open");
    buffer_unref(self->sealed, NULL); /* of a commit that failed */
    buffer_unref(self->active, NULL);
    mem_free(self->path);
    mem_free(self);
    return error;
}

const char *backend_path(const struct backend *self) { return self->path; }

void backend_explain(const struct backend *self, struct errmsg *message) { bolt_explain(self->file->bolt, message); }

/* ---- writing ---- */

void backend__arm_timer(struct backend *self, int64_t delay_ns) {
    if (!self->is_closing) env_timer_start(self->env, &self->timer, delay_ns);
}

/* Something is pending: soon, when the batch is full, else within the interval. */
static void note_write(struct backend *self) {
    if (self->state != BACKEND_IDLE || self->is_due) return;
    if (self->active->operations >= self->options.batch_limit) {
        self->is_due = true;
        backend__arm_timer(self, 0);
    } else if (!env_timer_is_running(&self->timer)) {
        backend__arm_timer(self, self->options.batch_interval_ns);
    }
}

void backend_create_bucket(struct backend *self, enum backend_bucket bucket) {
    if (self->reader->buckets[bucket] != NULL || self->active->is_created[bucket]) return;
    self->active->is_created[bucket] = true;
    self->active->operations++;
    note_write(self);
}

void backend_put_shared(struct backend *self, enum backend_bucket bucket, struct slice key, struct shared *owner,
                        struct slice value) {
    CHECKF(key.len > 0 && key.len <= BOLT_MAX_KEY_BYTES && value.len <= BOLT_MAX_VALUE_BYTES,
           "backend: put of %zu and %zu bytes", key.len, value.len);
    buffer_put(self->active, bucket, key, owner, value);
    note_write(self);
}

void backend_put(struct backend *self, enum backend_bucket bucket, struct slice key, struct slice value) {
    backend_put_shared(self, bucket, key, NULL, value);
}

void backend_delete(struct backend *self, enum backend_bucket bucket, struct slice key) {
    buffer_delete(self->active, bucket, key);
    note_write(self);
}

bool backend_is_full(const struct backend *self) { return self->is_full; }

bool backend_is_congested(const struct backend *self) {
    return self->state != BACKEND_IDLE &&
           (self->active->operations >= self->options.batch_limit * BACKEND_CONGESTED_BATCHES ||
            self->active->bytes >= BACKEND_CONGESTED_BYTES);
}

void backend_commit(struct backend *self, struct backend_waiter *waiter) {
    list_push_back(&self->waiting, &waiter->link);
    if (self->state == BACKEND_COMMITTING || self->state == BACKEND_DEFRAGMENTING) return;
    self->is_due = true;
    backend__arm_timer(self, 0);
}

void backend__call_waiters(struct list *waiters, enum err error) {
    struct list taken;
    list_init(&taken);
    list_splice_back(&taken, waiters);
    while (!list_is_empty(&taken)) {
        struct backend_waiter *waiter = CONTAINER_OF(taken.next, struct backend_waiter, link);
        list_remove(&waiter->link);
        waiter->callback(waiter, error);
    }
}

void backend__fail(struct backend *self, enum err error, const char *text) {
    self->state = BACKEND_FAILED;
    self->failed = error;
    CHECKF(self->options.hooks.on_failure != NULL, "backend: %s: %s", self->path, text);
    self->options.hooks.on_failure(self->options.hooks.context, error, text);
}

void backend__pump(struct backend *self) {
    if (self->is_closing) return;
    if (self->state == BACKEND_FAILED) {
        backend__call_waiters(&self->waiting, self->failed);
        backend__drop_defrag_requests(self, self->failed);
        return;
    }
    if (self->state != BACKEND_IDLE) return;
    bool is_full = self->active->operations >= self->options.batch_limit;
    if (self->is_due || is_full || !list_is_empty(&self->waiting)) backend__start_commit(self);
    if (self->state == BACKEND_IDLE && !list_is_empty(&self->defrag_requests)) backend__start_defrag(self);
    if (self->state == BACKEND_IDLE && self->active->operations > 0 && !env_timer_is_running(&self->timer))
        backend__arm_timer(self, self->options.batch_interval_ns);
}

/* ---- figures ---- */

uint64_t backend_size_bytes(const struct backend *self) { return self->stats.size_bytes; }

uint64_t backend_size_in_use_bytes(const struct backend *self) {
    return self->stats.size_bytes - self->stats.free_pages * bolt_page_size_bytes(self->file->bolt);
}

uint64_t backend_written_bytes(const struct backend *self) { return self->stats.written_bytes; }

size_t backend_open_readers(const struct backend *self) {
    struct bolt_stats stats;
    bolt_get_stats(self->file->bolt, &stats);
    return stats.open_readers;
}
