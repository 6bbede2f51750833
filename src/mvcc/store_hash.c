/* store_hash.c - HashKV: the sum over the `key` bucket that members compare (spec backend-schema 9).
 *
 * The sum must not depend on how far a compaction has got. For pairs at or below the compact revision the index tells
 * which of them count: a HashKV request collects the revisions to keep, in slices, while no newer compaction may change
 * the index; a compaction gives those it drops, since what it does not drop is kept. Then a pool thread reads the view.
 *
 *   asked for --> collecting (timer slices) --> submitted (pool thread) --> done
 *   compaction: pinned --> skips added --> submitted --> done
 */
#include "base/check.h"
#include "base/crc32c.h"
#include "mvcc/store_private.h"

#include <stdlib.h>

#define KEEP_SLICE_KEYS 5000

struct hash_job {
    struct list link; /* in store->hash_jobs */
    struct store *store;
    struct env_timer timer;
    struct env_job job;
    bool is_submitted;
    bool is_stopped; /* nobody wants the result */
    bool is_of_compaction;
    struct backend_view *view;
    struct store_floor floor;
    struct index_sweep sweep;
    /* Revisions at or below the compact revision: those that count, or those that do not. */
    struct index_revisions set;
    bool set_is_skip;
    bool kept_any; /* nothing is kept at all: then all present pairs count */
    enum err error;
    struct store_hash result;
    store_hash_done done;
    void *context;
};

static struct hash_job *job_new(struct store *store, int64_t compact_revision, int64_t revision) {
    struct hash_job *self = NEW(struct hash_job);
    self->store = store;
    self->result.compact_revision = compact_revision;
    self->result.revision = revision;
    self->result.current_revision = store->revision;
    list_init(&self->floor.link);
    list_push_back(&store->hash_jobs, &self->link);
    return self;
}

static void job_free(struct hash_job *self) {
    env_timer_stop(self->store->env, &self->timer);
    list_remove(&self->link);
    list_remove(&self->floor.link);
    backend_view_unref(self->view);
    index_sweep_release(&self->sweep);
    VEC_RELEASE(&self->set.list);
    mem_free(self);
}

/* ---- on the pool thread ---- */

static int compare_revisions(const void *a, const void *b) {
    return revision_compare(*(const struct revision *)a, *(const struct revision *)b);
}

/* Is it in the set? Asked with ascending revisions; *at moves on. */
static bool set_has(const struct hash_job *self, size_t *at, struct revision revision) {
    const struct revision *items = self->set.list.items;
    while (*at < self->set.list.count && revision_compare(items[*at], revision) < 0) ++*at;
    return *at < self->set.list.count && revision_compare(items[*at], revision) == 0;
}

static enum err hash_pairs(struct hash_job *self) {
    if (self->set.list.count > 1)
        qsort(self->set.list.items, self->set.list.count, sizeof *self->set.list.items, compare_revisions);
    int64_t compacted = self->result.compact_revision;
    uint32_t hash = crc32c(0, "key", 3);
    size_t at = 0;
    struct backend_cursor cursor;
    struct slice key, value;
    backend_cursor_init(&cursor, self->view, BACKEND_KEY);
    while (backend_cursor_next(&cursor, &key, &value)) {
        struct revision revision;
        bool is_tombstone;
        if (!backend_revision_decode(key, &revision.main, &revision.sub, &is_tombstone)) return ERR_CORRUPT;
        if (revision.main > self->result.revision) break;
        if (revision.main <= compacted && self->kept_any && set_has(self, &at, revision) == self->set_is_skip) continue;
        if (revision.main == compacted && is_tombstone) continue;
        hash = crc32c(crc32c(hash, key.data, key.len), value.data, value.len);
    }
    self->result.hash = hash;
    return cursor.error;
}

static void run_job(struct env_job *job) {
    struct hash_job *self = CONTAINER_OF(job, struct hash_job, job);
    self->error = hash_pairs(self);
}

/* ---- results ---- */

static const struct store_hash *find_kept(const struct store *store, int64_t revision) {
    for (size_t i = 0; i < store->kept_hash_count; i++)
        if (store->kept_hashes[i].revision == revision) return &store->kept_hashes[i];
    return NULL;
}

static void keep_hash(struct store *store, const struct store_hash *hash) {
    log_info(env_log(store->env), "storing new hash", LOG_UINT("hash", hash->hash), LOG_INT("revision", hash->revision),
             LOG_INT("compact-revision", hash->compact_revision));
    if (store->kept_hash_count == COMPACTION_HASHES_KEPT) {
        store->kept_hash_count--;
        memmove(store->kept_hashes, store->kept_hashes + 1, store->kept_hash_count * sizeof *store->kept_hashes);
    }
    store->kept_hashes[store->kept_hash_count++] = *hash;
}

size_t store_compaction_hashes(const struct store *self, struct store_hash *ret_hashes, size_t capacity) {
    size_t count = self->kept_hash_count < capacity ? self->kept_hash_count : capacity;
    for (size_t i = 0; i < count; i++) {
        ret_hashes[i] = self->kept_hashes[self->kept_hash_count - 1 - i];
        ret_hashes[i].current_revision = self->revision;
    }
    return count;
}

static void answer(struct hash_job *self, enum err error) {
    struct store *store = self->store;
    store_hash_done done = self->done;
    void *context = self->context;
    struct store_hash result = self->result;
    job_free(self);
    done(context, error, &result);
    store__check_stopped(store);
}

static void job_done(struct env_job *job) {
    struct hash_job *self = CONTAINER_OF(job, struct hash_job, job);
    if (self->is_stopped) self->error = ERR_STOPPED;
    if (self->error == OK && self->is_of_compaction) keep_hash(self->store, &self->result);
    answer(self, self->error);
}

static void submit(struct hash_job *self) {
    self->is_submitted = true;
    self->job.run = run_job;
    self->job.done = job_done;
    env_pool_submit(self->store->env, &self->job);
}

/* ---- requests ---- */

static void collect_slice(struct env_timer *timer) {
    struct hash_job *self = timer->context;
    struct store *store = self->store;
    if (self->error != OK) {
        answer(self, self->error);
        return;
    }
    int64_t compacted = self->result.compact_revision;
    if (compacted < 0 || self->result.revision < 0) self->sweep.is_finished = true;
    index_keep(store->index, self->result.revision, compacted, &self->sweep, KEEP_SLICE_KEYS, &self->set,
               &self->kept_any);
    if (!self->sweep.is_finished) {
        env_timer_start(store->env, timer, 0);
        return;
    }
    self->view = backend_view(store->backend, BACKEND_VIEW_KEY);
    list_remove(&self->floor.link);
    store__compaction_kick(store);
    submit(self);
}

/* A hash that a compaction has left for just this revision. */
static void answer_kept(struct env_timer *timer) { answer(timer->context, OK); }

void store_hash_by_revision(struct store *self, int64_t revision, store_hash_done done, void *context) {
    CHECK(!self->txn.is_open);
    struct hash_job *job = job_new(self, self->compact_revision, revision);
    job->done = done;
    job->context = context;
    job->timer.context = job;
    job->timer.callback = collect_slice;
    const struct store_hash *kept = find_kept(self, revision);
    if (self->is_stopping) {
        job->error = ERR_STOPPED;
    } else if (kept != NULL) {
        job->result = *kept;
        job->result.current_revision = self->revision;
        job->timer.callback = answer_kept;
    } else if (revision > 0 && revision < self->compact_revision) {
        job->error = ERR_COMPACTED;
    } else if (revision > self->revision) {
        job->error = ERR_FUTURE_REV;
    } else {
        if (revision == 0) job->result.revision = self->revision;
        job->floor.at = self->compact_revision;
        list_push_back(&self->floors, &job->floor.link);
    }
    env_timer_start(self->env, &job->timer, 0);
}

/* ---- of compactions ---- */

struct hash_job *store__hash_begin(struct store *self, int64_t compact_revision, int64_t revision) {
    struct hash_job *job = job_new(self, compact_revision, revision);
    job->is_of_compaction = true;
    job->set_is_skip = true;
    job->view = backend_view(self->backend, BACKEND_VIEW_KEY);
    return job;
}

void store__hash_skip(struct hash_job *self, struct revision revision) {
    if (revision.main <= self->result.compact_revision) VEC_PUSH(&self->set.list, revision);
}

void store__hash_kept_any(struct hash_job *self) { self->kept_any = true; }

void store__hash_submit(struct hash_job *self, store_hash_done done, void *context) {
    self->done = done;
    self->context = context;
    submit(self);
}

void store__hash_abandon(struct hash_job *self) {
    if (self != NULL) job_free(self);
}

void store__hash_stop(struct store *self) {
    LIST_FOREACH (it, &self->hash_jobs) {
        struct hash_job *job = CONTAINER_OF(it, struct hash_job, link);
        job->is_stopped = true;
        if (job->is_submitted || job->is_of_compaction) continue;
        job->error = ERR_STOPPED;
        job->timer.callback = collect_slice;
        env_timer_start(self->env, &job->timer, 0);
    }
}
