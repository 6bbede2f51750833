/* replicate.c - what raft's updates ask for.
 *
 * One WAL flush at a time; what updates bring meanwhile gathers in the other batch and goes with the next flush. A
 * batch that is small beside those before it waits a moment (GATHER_*). A changed commit index alone is no reason to
 * write: it goes with the next entries, with the tick, or at the end. */
#include "server/internal.h"

/* What the loop may flush itself, and on a disk how fast. */
#define INLINE_MAX_ENTRIES 2
#define INLINE_MAX_FLUSH_NS (300 * 1000)

/* A flush writes the log's last, partial page again and costs two hand-overs between threads. So while many write, a
 * batch below the usual size waits for those that were answered just now to come back: no longer than a millisecond,
 * and not on a disk where flushing takes longer than that by itself. */
#define GATHER_MIN_ENTRIES 8
#define GATHER_NS (500 * 1000)
#define GATHER_MAX_FLUSH_NS (1000 * 1000)
#define GATHER_UNIT 16

static void take_to_save(struct server *self, const struct raft_update *update) {
    struct save_batch *batch = &self->saver.filling;
    VEC_RESERVE(&batch->entries, update->entry_count);
    for (size_t i = 0; i < update->entry_count; i++)
        batch->entries.items[batch->entries.count++] = raft_entry_copy(&update->entries[i]);
    if (update->hard_changed) {
        batch->has_hard = true;
        batch->hard = update->hard;
        self->term = update->hard.term;
        self->committed_index = update->hard.commit;
    }
    if (update->must_sync) {
        batch->must_sync = true;
        batch->save_id = update->save_id;
    }
}

static void release_entries(struct save_batch *batch) {
    for (size_t i = 0; i < batch->entries.count; i++) raft_entry_release(&batch->entries.items[i]);
    batch->entries.count = 0;
}

static void save_run(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, saver.job);
    struct save_batch *batch = &self->saver.running;
    struct raft_hard_state hard = batch->has_hard ? batch->hard : (struct raft_hard_state){0};
    self->saver.error = wal_save(self->wal, hard, batch->entries.items, batch->entries.count, &self->saver.io);
    if (self->saver.error == OK && self->saver.wants_spare) self->saver.ordered = wal_spare_order(self->wal);
}

static void count_io(struct server *self, const struct wal_io *io) {
    self->saver.room_bytes = io->room_bytes;
    self->stats.wal_written_bytes += io->written_bytes;
    self->stats.wal_fsyncs += io->sync_count;
    for (unsigned i = 0; i < io->sync_count && i < WAL_MAX_SYNCS; i++) self->stats.wal_fsync_ns += io->sync_ns[i];
}

/* ---- the spare segment: made on the pool while the WAL is written, handed over on the WAL's worker ---- */

static void spare_make(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, saver.spare_job);
    if (wal_spare_make(self->saver.spare) != OK) log_warn(self->log, "failed to prepare the next WAL segment");
}

static void spare_deliver(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, saver.spare_job);
    self->saver.spare_result = wal_spare_deliver(self->wal, self->saver.spare);
}

static void spare_delivered(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, saver.spare_job);
    self->saver.spare = NULL;
    self->saver.spare_is_running = false;
    self->saver.spare_error = self->saver.spare_result;
    self->saver.spare_retry_ns = env_now_ns(self->env) + (self->saver.spare_error != OK ? DISK_RETRY_NS : 0);
    if (self->state == SERVER_STOPPING) server__want_turn(self);
}

static void spare_made(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, saver.spare_job);
    job->run = spare_deliver;
    job->done = spare_delivered;
    env_worker_submit(self->saver.worker, job);
}

static void spare_wanted(struct server *self) {
    self->saver.spare_is_running = self->saver.ordered != NULL;
    if (self->saver.ordered == NULL) return;
    self->saver.spare = TAKE(self->saver.ordered);
    self->saver.spare_job.run = spare_make;
    self->saver.spare_job.done = spare_made;
    env_pool_submit(self->env, &self->saver.spare_job);
}

/* Again, when it could not be made before: also while nothing is saved. */

static void spare_reorder(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, saver.spare_job);
    self->saver.ordered = wal_spare_order(self->wal);
}

static void spare_reordered(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, saver.spare_job);
    spare_wanted(self);
    if (self->state == SERVER_STOPPING) server__want_turn(self);
}

void server__spare_tick(struct server *self, int64_t now_ns) {
    struct server_saver *saver = &self->saver;
    if (saver->spare_error == OK || saver->spare_is_running || saver->is_running || now_ns < saver->spare_retry_ns)
        return;
    saver->spare_is_running = true;
    saver->spare_job.run = spare_reorder;
    saver->spare_job.done = spare_reordered;
    env_worker_submit(saver->worker, &saver->spare_job);
}

/* ---- saving ---- */

/* A moving average over about eight flushes. */
static void learn_flush_time(struct server *self, const struct wal_io *io) {
    for (unsigned i = 0; i < io->sync_count && i < WAL_MAX_SYNCS; i++) {
        int64_t *average = &self->saver.flush_ns;
        *average = *average == 0 ? io->sync_ns[i] : *average + (io->sync_ns[i] - *average) / 8;
    }
}

static void want_save(struct server *self);

static void save_done(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, saver.job);
    struct save_batch *batch = &self->saver.running;
    self->saver.is_running = false;
    release_entries(batch);
    if (self->saver.error != OK) {
        server__fail(self, "failed to save Raft hard state and entries", self->saver.error, "");
        return;
    }
    count_io(self, &self->saver.io);
    learn_flush_time(self, &self->saver.io);
    if (self->saver.wants_spare) spare_wanted(self);
    if (batch->save_id != 0) {
        struct raft_event event = {.type = RAFT_SAVED, .save_id = batch->save_id};
        server__step(self, &event);
    }
    want_save(self);
    if (!self->saver.is_running && self->state == SERVER_STOPPING) server__want_turn(self);
}

/* A lone request on a disk that has been fast is flushed right here: two hand-overs between threads would take longer
 * than the flush. Nobody else may be at the WAL, and one slow flush sends the next dozens to the worker again. */
static bool may_flush_here(const struct server *self) {
    const struct server_saver *saver = &self->saver;
    return saver->running.entries.count <= INLINE_MAX_ENTRIES && saver->flush_ns > 0 &&
           saver->flush_ns < INLINE_MAX_FLUSH_NS && !saver->spare_is_running && !self->snapshotter.is_running &&
           !self->snapshotter.purge_is_running && self->state == SERVER_RUNNING &&
           self->pending.count <= INLINE_MAX_ENTRIES;
}

static void save_start(struct server *self) {
    env_timer_stop(self->env, &self->saver.gather);
    int64_t count = (int64_t)self->saver.filling.entries.count;
    self->saver.usual_entries += (count * GATHER_UNIT - self->saver.usual_entries) / 8;
    struct save_batch filled = self->saver.filling;
    self->saver.filling = self->saver.running;
    self->saver.running = filled;
    struct save_batch *empty = &self->saver.filling;
    empty->has_hard = empty->must_sync = false;
    empty->save_id = 0;
    self->saver.is_running = true;
    self->saver.job.run = save_run;
    self->saver.job.done = save_done;
    self->saver.wants_spare = !self->saver.spare_is_running && self->saver.spare_error == OK;
    if (may_flush_here(self)) {
        save_run(&self->saver.job);
        save_done(&self->saver.job);
        return;
    }
    env_worker_submit(self->saver.worker, &self->saver.job);
}

static void gathered(struct env_timer *timer) {
    struct server *self = timer->context;
    if (!self->saver.is_running && self->saver.filling.must_sync && self->state != SERVER_FAILED) save_start(self);
}

static bool may_gather(const struct server *self) {
    const struct server_saver *saver = &self->saver;
    int64_t count = (int64_t)saver->filling.entries.count;
    return count >= GATHER_MIN_ENTRIES && count * GATHER_UNIT < saver->usual_entries &&
           saver->flush_ns < GATHER_MAX_FLUSH_NS && self->state == SERVER_RUNNING;
}

static void want_save(struct server *self) {
    struct server_saver *saver = &self->saver;
    if (!saver->filling.must_sync || saver->is_running) return;
    if (!may_gather(self)) {
        save_start(self);
    } else if (!env_timer_is_running(&saver->gather)) {
        saver->gather.callback = gathered;
        saver->gather.context = self;
        env_timer_start(self->env, &saver->gather, GATHER_NS);
    }
}

void server__flush_hard_state(struct server *self) {
    if (!self->saver.is_running && self->saver.filling.has_hard) save_start(self);
}

static void soft_state(struct server *self, const struct raft_update *update) {
    bool was_leader = self->role == RAFT_LEADER;
    if (update->lead != self->lead && update->lead != 0) self->stats.leader_changes++;
    if (self->lead != update->lead) server__recount_unapplied(self);
    self->lead = update->lead;
    self->role = update->role;
    bool is_leader = self->role == RAFT_LEADER;
    if (is_leader != was_leader) server__leadership_changed(self, is_leader);
    if (self->lead != 0) server__want_turn(self);
}

static void take_update(struct server *self, const struct raft_update *update) {
    if (update->soft_changed) soft_state(self, update);
    take_to_save(self, update);
    for (size_t i = 0; i < update->read_state_count; i++) server__read_state(self, &update->read_states[i]);
    if (update->committed_count > 0) server__apply(self, update->committed, update->committed_count);
}

/* Applying reports back to raft from inside, which may bring the next update: the loop ends when there is none. */
void server__step(struct server *self, const struct raft_event *event) {
    if (self->state == SERVER_FAILED) return;
    struct raft_update update;
    enum err error = raft_step(self->raft, event, &update);
    if (error != OK && error != ERR_RAFT_PROPOSAL_DROPPED && error != ERR_NO_LEADER)
        log_warn(self->log, "raft refused an event", LOG_ERR(error));
    for (;;) {
        take_update(self, &update);
        if (self->state == SERVER_FAILED) return;
        if (!raft_has_update(self->raft)) break;
        struct raft_event nothing = {.type = RAFT_NOTHING};
        if (raft_step(self->raft, &nothing, &update) != OK) break;
    }
    want_save(self);
}
