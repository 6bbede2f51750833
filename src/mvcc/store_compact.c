/* store_compact.c - compaction in the background.
 *
 *   accepted --> (first in line) started --> slice <-+--> sweep over --> finishedCompactRev --> hash --> done
 *                                   |________________|  a turn, or a pause after a batch
 *
 * On disk as spec backend-schema 11: scheduledCompactRev is put and a commit asked for when it is accepted,
 * finishedCompactRev when all is deleted. What to delete is taken from the index while that is compacted, key by key,
 * instead of scanning the db: the pairs deleted are the same. Within a key they go oldest first, so that whatever part
 * a crash leaves, the key's remaining revisions are the newest ones and give the same index when restored.
 */
#include "base/check.h"
#include "base/gotext.h"
#include "mvcc/store_private.h"

#include <stdlib.h>

/* Deletions handed to the backend in one turn. */
#define SLICE_DROPS 128
/* A compaction that is held back looks again after this. */
#define HELD_BACK_NS 1000000

enum err store__meta_revision(struct store *self, const char *name, int64_t *ret_main, struct errmsg *ret_message) {
    struct slice value;
    enum err error = backend_get(self->backend, BACKEND_META, slice_from_cstr(name), &value);
    if (error != OK) {
        backend_explain(self->backend, ret_message);
        return error;
    }
    int64_t main = -1, sub;
    bool is_tombstone;
    bool is_good =
        value.len == 0 || (backend_revision_decode(value, &main, &sub, &is_tombstone) && main <= REVISION_MAIN_MAX);
    if (!is_good) return err_set(ret_message, ERR_CORRUPT, "bucket meta: %s is no revision", name);
    *ret_main = main;
    return OK;
}

static void put_meta_revision(struct store *self, const char *name, int64_t main) {
    uint8_t bytes[BACKEND_REVISION_MAX_BYTES];
    size_t length = backend_revision_encode(bytes, main, 0, false);
    backend_put(self->backend, BACKEND_META, slice_from_cstr(name), slice_make(bytes, length));
}

static struct compaction *first_compaction(struct store *self) {
    if (list_is_empty(&self->compactions)) return NULL;
    return CONTAINER_OF(self->compactions.next, struct compaction, link);
}

static void compaction_free(struct compaction *self) {
    list_remove(&self->link);
    index_sweep_release(&self->sweep);
    VEC_RELEASE(&self->dropped.list);
    mem_free(self);
}

static void slice(struct store *self);

static void on_timer(struct env_timer *timer) { slice(timer->context); }

static void schedule(struct store *self, int64_t delay_ns) {
    self->compaction_timer.callback = on_timer;
    self->compaction_timer.context = self;
    env_timer_start(self->env, &self->compaction_timer, delay_ns);
}

/* The first in line is over: tells its owner and begins the next. */
static void end_first(struct compaction *compaction, enum err error) {
    struct store *store = compaction->store;
    void (*done)(void *, enum err) = compaction->done;
    void *context = compaction->context;
    compaction_free(compaction);
    if (first_compaction(store) != NULL && !store->is_stopping) schedule(store, 0);
    if (done != NULL) done(context, error);
    store__check_stopped(store);
}

static void on_committed(struct backend_waiter *waiter, enum err error) {
    end_first(CONTAINER_OF(waiter, struct compaction, waiter), error);
}

static void finish(struct compaction *compaction, uint32_t hash) {
    struct store *store = compaction->store;
    int64_t took_ns = env_now_ns(store->env) - compaction->started_ns;
    store->stats.compaction_last_unix_s = env_wall_ns(store->env) / 1000000000;
    store->stats.compaction_last_took_ns = took_ns;
    uint64_t size_bytes = backend_size_bytes(store->backend), in_use_bytes = backend_size_in_use_bytes(store->backend);
    CLEANUP_BUF struct buf size_text = BUF_INIT, in_use_text = BUF_INIT;
    go_append_humanized_bytes(&size_text, size_bytes);
    go_append_humanized_bytes(&in_use_text, in_use_bytes);
    log_info(env_log(store->env), "finished scheduled compaction", LOG_INT("compact-revision", compaction->revision),
             LOG_DURATION("took", took_ns), LOG_UINT("hash", hash), LOG_UINT("current-db-size-bytes", size_bytes),
             LOG_SLICE("current-db-size", buf_slice(&size_text)),
             LOG_UINT("current-db-size-in-use-bytes", in_use_bytes),
             LOG_SLICE("current-db-size-in-use", buf_slice(&in_use_text)));
    if (compaction->done == NULL) {
        end_first(compaction, OK);
        return;
    }
    /* Who waits wants it not to be done again after a crash. */
    compaction->waiter.callback = on_committed;
    backend_commit(store->backend, &compaction->waiter);
}

static void on_hashed(void *context, enum err error, const struct store_hash *hash) {
    struct compaction *compaction = context;
    if (error == ERR_CORRUPT) (void)store__fail(compaction->store, error);
    if (error == ERR_STOPPED)
        end_first(compaction, ERR_STOPPED);
    else
        finish(compaction, error == OK ? hash->hash : 0);
}

static void sweep_is_over(struct compaction *compaction) {
    struct store *store = compaction->store;
    put_meta_revision(store, "finishedCompactRev", compaction->revision);
    store->finished_compaction = compaction->revision;
    struct hash_job *hash = TAKE(compaction->hash);
    if (hash != NULL)
        store__hash_submit(hash, on_hashed, compaction);
    else
        finish(compaction, 0);
}

static void start(struct compaction *compaction) {
    struct store *store = compaction->store;
    compaction->is_started = true;
    compaction->started_ns = env_now_ns(store->env);
    log_info(env_log(store->env), "compact tree index", LOG_INT("revision", compaction->revision));
    if (store->options.skip_compaction_hash) return;
    if (compaction->previous_was_finished)
        compaction->hash = store__hash_begin(store, compaction->previous_revision, compaction->revision);
    else
        log_info(env_log(store->env), "previous compaction was interrupted, skip storing compaction hash value");
}

static int compare_dropped(const void *a, const void *b) {
    return revision_compare(((const struct index_dropped *)a)->revision, ((const struct index_dropped *)b)->revision);
}

static void delete_dropped(struct compaction *compaction) {
    struct store *store = compaction->store;
    size_t count = compaction->dropped.list.count;
    struct index_dropped *items = compaction->dropped.list.items;
    if (count > 1) qsort(items, count, sizeof *items, compare_dropped);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[BACKEND_REVISION_MAX_BYTES];
        struct revision revision = items[i].revision;
        size_t length = backend_revision_encode(bytes, revision.main, revision.sub, items[i].is_tombstone);
        backend_delete(store->backend, BACKEND_KEY, slice_make(bytes, length));
        if (compaction->hash != NULL) store__hash_skip(compaction->hash, revision);
    }
    store->stats.compacted_revisions += count;
    compaction->batch_count += (int)count;
    compaction->dropped.list.count = 0;
}

static bool is_held_back(const struct compaction *compaction) {
    struct store *store = compaction->store;
    LIST_FOREACH (it, &store->floors) {
        if (CONTAINER_OF(it, struct store_floor, link)->at < compaction->revision) return true;
    }
    return backend_is_congested(store->backend);
}

static void slice(struct store *self) {
    struct compaction *compaction = first_compaction(self);
    CHECK(compaction != NULL && !self->is_stopping);
    if (is_held_back(compaction)) {
        schedule(self, HELD_BACK_NS);
        return;
    }
    if (!compaction->is_started) start(compaction);
    bool kept_any = false;
    index_compact(self->index, compaction->revision, &compaction->sweep, self->options.compaction_slice_keys,
                  SLICE_DROPS, &compaction->dropped, &kept_any);
    if (kept_any && compaction->hash != NULL) store__hash_kept_any(compaction->hash);
    delete_dropped(compaction);
    if (compaction->sweep.is_finished) {
        sweep_is_over(compaction);
    } else if (compaction->batch_count >= self->options.compaction_batch_limit) {
        compaction->batch_count = 0;
        schedule(self, self->options.compaction_sleep_ns);
    } else {
        schedule(self, 0);
    }
}

void store__compaction_kick(struct store *self) {
    struct compaction *compaction = first_compaction(self);
    if (compaction == NULL || self->is_stopping) return;
    if (env_timer_is_running(&self->compaction_timer) && !compaction->is_started) schedule(self, 0);
}

static void forget_waiter(struct backend_waiter *waiter, enum err error) { mem_free(waiter); }

/* Asks for a commit that nobody waits for: what is deleted later can't reach the disk before it. */
static void commit_soon(struct store *self) {
    struct backend_waiter *waiter = NEW(struct backend_waiter);
    waiter->callback = forget_waiter;
    backend_commit(self->backend, waiter);
}

static void accept(struct store *self, int64_t revision, void (*done)(void *, enum err), void *context) {
    struct compaction *compaction = NEW(struct compaction);
    compaction->store = self;
    compaction->revision = revision;
    compaction->previous_revision = self->compact_revision;
    compaction->previous_was_finished = self->scheduled_compaction == self->finished_compaction;
    compaction->done = done;
    compaction->context = context;
    bool is_first = list_is_empty(&self->compactions);
    list_push_back(&self->compactions, &compaction->link);
    self->compact_revision = revision;
    self->scheduled_compaction = revision;
    put_meta_revision(self, "scheduledCompactRev", revision);
    commit_soon(self);
    if (is_first) schedule(self, 0);
}

enum err store_compact(struct store *self, int64_t revision, void (*done)(void *context, enum err error),
                       void *context) {
    CHECK(!self->txn.is_open);
    if (revision <= self->compact_revision) return ERR_COMPACTED;
    if (revision > self->revision) return ERR_FUTURE_REV;
    if (self->is_stopping) return ERR_STOPPED;
    accept(self, revision, done, context);
    return OK;
}

enum err store__compaction_resume(struct store *self, int64_t scheduled) {
    if (scheduled <= self->compact_revision || scheduled > self->revision) return OK;
    accept(self, scheduled, NULL, NULL);
    return OK;
}

bool store_is_compacting(const struct store *self) { return !list_is_empty(&self->compactions); }

/* What runs on a pool thread or waits for a commit ends by itself; the rest is called off. */
void store__compaction_stop(struct store *self) {
    env_timer_stop(self->env, &self->compaction_timer);
    struct list called_off;
    list_init(&called_off);
    LIST_FOREACH (it, &self->compactions) {
        struct compaction *compaction = CONTAINER_OF(it, struct compaction, link);
        bool ends_by_itself = compaction->sweep.is_finished && compaction->hash == NULL;
        if (ends_by_itself) continue;
        list_remove(&compaction->link);
        list_push_back(&called_off, &compaction->link);
    }
    while (!list_is_empty(&called_off)) {
        struct compaction *compaction = CONTAINER_OF(called_off.next, struct compaction, link);
        store__hash_abandon(TAKE(compaction->hash));
        void (*done)(void *, enum err) = compaction->done;
        void *context = compaction->context;
        compaction_free(compaction);
        if (done != NULL) done(context, ERR_STOPPED);
    }
}
