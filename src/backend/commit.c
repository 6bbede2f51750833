#include "backend/state.h"
#include "base/check.h"
#include "base/mem.h"

/* Revisions only ever come at the end of the bucket: full pages never take another key. */
#define KEY_FILL 1.0

/* ---- on the worker ---- */

static enum err apply_small(struct bolt_bucket *to, const struct buffer *buffer, enum backend_bucket bucket) {
    struct small_list list = buffer_sort_small(buffer, bucket);
    enum err error = OK;
    for (size_t i = 0; i < list.count && error == OK; i++) {
        const struct small_entry *entry = list.items[i];
        error = entry->is_deleted ? bolt_delete(to, entry->key) : bolt_put(to, entry->key, entry->value);
    }
    mem_free(list.items);
    return error;
}

static enum err delete_keys(struct bolt_bucket *to, const struct key_list *keys) {
    for (size_t i = 0; i < keys->count; i++) TRY(bolt_delete(to, key_entry_key(key_list_at(keys, i))));
    return OK;
}

/* Deletes first: they are for keys in the file, and puts that are deleted here need not get there (a page of thousands
 * of new keys is no place to delete from one by one). No revision is put again once it was deleted. */
static enum err apply_keys(struct bolt_bucket *to, const struct buffer *buffer) {
    bolt_bucket_set_fill(to, KEY_FILL);
    for (size_t i = 0; i < buffer->deletes.full_count; i++) TRY(delete_keys(to, buffer->deletes.full[i]));
    TRY(delete_keys(to, &buffer->deletes.last));
    bool has_deletes = !key_runs_is_empty(&buffer->deletes);
    for (size_t i = 0; i < buffer->puts.count; i++) {
        const struct key_entry *entry = key_list_at(&buffer->puts, i);
        if (has_deletes && key_runs_contain(&buffer->deletes, key_entry_key(entry))) continue;
        TRY(bolt_put(to, key_entry_key(entry), slice_make(entry->value, entry->value_bytes)));
    }
    return OK;
}

static enum err apply_bucket(struct bolt_tx *tx, const struct buffer *buffer, enum backend_bucket bucket) {
    bool has_keys = bucket == BACKEND_KEY ? buffer->puts.count > 0 || !key_runs_is_empty(&buffer->deletes)
                                          : buffer->small[bucket].count > 0;
    if (!has_keys && !buffer->is_created[bucket]) return OK;
    struct bolt_bucket *to;
    TRY(bolt_bucket_create_if_missing(bolt_tx_root(tx), backend_bucket_name(bucket), &to));
    return bucket == BACKEND_KEY ? apply_keys(to, buffer) : apply_small(to, buffer, bucket);
}

static enum err commit_buffer(struct bolt *bolt, const struct buffer *buffer, struct bolt_commit_stats *ret_stats) {
    struct bolt_tx *tx;
    TRY(bolt_begin_write(bolt, &tx));
    for (int bucket = 0; bucket < BACKEND_BUCKET_COUNT; bucket++) {
        enum err error = apply_bucket(tx, buffer, bucket);
        if (error == OK) continue;
        bolt_tx_end(tx);
        return error;
    }
    return bolt_tx_commit(tx, ret_stats);
}

static void run_commit(struct env_job *job) {
    struct backend *self = CONTAINER_OF(job, struct backend, job);
    int64_t start_ns = env_now_ns(self->env);
    self->work.error = commit_buffer(self->work.bolt, self->work.buffer, &self->work.report.bolt);
    self->work.report.took_ns = env_now_ns(self->env) - start_ns;
}

/* ---- on the loop ---- */

/* Takes the active buffer out of use; false when there is nothing in it. */
static bool seal(struct backend *self) {
    env_timer_stop(self->env, &self->timer);
    if (self->options.hooks.before_commit != NULL) self->options.hooks.before_commit(self->options.hooks.context, self);
    env_timer_stop(self->env, &self->timer);
    self->is_due = false;
    if (self->active->operations == 0) return false;
    self->sealed = self->active;
    self->active = buffer_new(self->seed);
    list_splice_back(&self->committing, &self->waiting);
    self->state = BACKEND_COMMITTING;
    self->work.bolt = self->file->bolt;
    self->work.buffer = self->sealed;
    self->work.report = (struct backend_commit_report){.operations = self->sealed->operations};
    return true;
}

static void report_failure(struct backend *self, enum err error) {
    struct errmsg message;
    if (error == ERR_NO_DISK_SPACE && self->is_closing) { /* nothing is lost: the log has it */
        self->state = BACKEND_FAILED;
        self->failed = error;
        return;
    }
    if (error == ERR_CORRUPT)
        bolt_explain(self->work.bolt, &message);
    else
        (void)err_set(&message, error, "failed to commit tx: %s", err_text(error));
    backend__fail(self, error, message.text);
}

/* The worker has ended: what was sealed is in the file. */
static void finish_commit(struct backend *self) {
    enum err error = self->work.error;
    self->state = BACKEND_IDLE;
    if (error == OK) error = backend__renew_reader(self);
    if (error != OK) {
        report_failure(self, error);
    } else {
        struct buffer *written = self->sealed;
        self->sealed = NULL;
        self->latest_view = NULL;
        buffer_unref(written, self->is_closing ? NULL : self->env);
        if (self->options.hooks.after_commit != NULL)
            self->options.hooks.after_commit(self->options.hooks.context, &self->work.report);
    }
    backend__call_waiters(&self->committing, error);
}

static void note_room(struct backend *self, bool is_full) {
    if (is_full == self->is_full) return;
    self->is_full = is_full;
    if (is_full)
        log_warn(env_log(self->env), "no room on the disk for the database; trying again until there is",
                 LOG_STRING("path", self->path), LOG_DURATION("interval", BACKEND_RETRY_NS));
    else
        log_info(env_log(self->env), "there is room on the disk again", LOG_STRING("path", self->path));
}

static void commit_done(struct env_job *job) {
    struct backend *self = CONTAINER_OF(job, struct backend, job);
    note_room(self, self->work.error == ERR_NO_DISK_SPACE);
    if (self->is_full) {
        backend__arm_timer(self, BACKEND_RETRY_NS);
        return;
    }
    finish_commit(self);
    backend__pump(self);
}

void backend__retry_commit(struct backend *self) { env_worker_submit(self->worker, &self->job); }

void backend__start_commit(struct backend *self) {
    if (!seal(self)) {
        backend__call_waiters(&self->waiting, OK);
        return;
    }
    self->job = (struct env_job){.run = run_commit, .done = commit_done};
    env_worker_submit(self->worker, &self->job);
}

enum err backend_commit_blocking(struct backend *self) {
    CHECKF(self->state == BACKEND_IDLE || self->state == BACKEND_FAILED || self->is_full,
           "backend: a commit is running");
    if (self->state == BACKEND_FAILED) return self->failed;
    if (self->is_full) {
        run_commit(&self->job);
        finish_commit(self);
        self->is_full = false;
        if (self->state == BACKEND_FAILED) return self->failed;
    }
    if (!seal(self)) {
        backend__call_waiters(&self->waiting, OK);
        return OK;
    }
    run_commit(&self->job);
    finish_commit(self);
    return self->failed;
}
