/* snapshot.c - snapshots of the applied state, and what they let go of.
 *
 *   applied far enough -> v2 JSON and members as of now -> backend commit -> WAL worker: .snap file, WAL record,
 *   release of WAL files, old .snap.db -> log compacted to snapshot index - catch-up entries
 *
 * The .snap file comes after the commit: the db's consistent index is never behind the newest snapshot (spec/snap.md
 * 6). Every 30 s old WAL and .snap files are purged. Both run on the WAL's worker, which alone touches those files. */
#include "server/internal.h"

#define PURGE_INTERVAL_NS (30 * NS_PER_S)

static void save_run(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, snapshotter.job);
    struct server_snapshotter *s = &self->snapshotter;
    struct raft_snapshot snapshot = {.data = shared_copy(buf_slice(&s->payload)), .index = s->index, .term = s->term};
    raft_conf_state_copy(&snapshot.conf_state, &s->conf_state);
    s->error = snap_save(self->env, buf_cstr(&self->snap_dir), &snapshot, NULL);
    s->is_put_off = s->error == ERR_NO_DISK_SPACE;
    struct wal_snapshot record = {
        .index = s->index, .term = s->term, .has_conf_state = true, .conf_state = snapshot.conf_state};
    if (s->error == OK) s->error = wal_save_snapshot(self->wal, &record, NULL);
    if (s->error == OK) {
        wal_release_to(self->wal, s->index);
        snap_release_dbs(self->env, buf_cstr(&self->snap_dir), s->index);
    }
    raft_snapshot_release(&snapshot);
}

static void compact_log(struct server *self) {
    uint64_t keep = self->config.snapshot_catch_up_entries;
    uint64_t index = self->snapshotter.index > keep ? self->snapshotter.index - keep : 1;
    uint64_t bytes = 0;
    for (uint64_t i = self->snapshotter.index; i > index; i--) {
        const struct raft_entry *entry = raft_entry_at(self->raft, i);
        if (entry == NULL) break;
        bytes += entry->data.len;
        if (bytes > SERVER_LOG_BYTES) index = i;
    }
    enum err error = raft_compact(self->raft, index);
    if (error == ERR_RAFT_COMPACTED) return;
    CHECK(error == OK);
    log_info(self->log, "compacted Raft logs", LOG_UINT("compact-index", index));
}

static void snapshot_saved(struct server *self) {
    self->stats.snapshots_saved++;
    log_info(self->log, "saved snapshot", LOG_UINT("snapshot-index", self->snapshotter.index));
    compact_log(self);
}

static void save_done(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, snapshotter.job);
    struct server_snapshotter *s = &self->snapshotter;
    s->is_running = false;
    if (s->is_put_off) {
        self->snapshot_index = s->before_index;
        s->retry_ns = env_now_ns(self->env) + DISK_RETRY_NS;
    } else if (s->error != OK) {
        server__fail(self, "failed to save snapshot", s->error, "");
        return;
    } else {
        snapshot_saved(self);
    }
    if (self->state == SERVER_STOPPING)
        server__want_turn(self);
    else
        server__maybe_snapshot(self);
}

static void db_committed(struct backend_waiter *waiter, enum err error) {
    struct server *self = CONTAINER_OF(waiter, struct server, snapshotter.committed);
    if (error != OK || self->saver.worker == NULL) {
        self->snapshotter.is_running = false; /* the backend has told its failure itself */
        return;
    }
    self->snapshotter.job.run = save_run;
    self->snapshotter.job.done = save_done;
    env_worker_submit(self->saver.worker, &self->snapshotter.job);
}

void server__maybe_snapshot(struct server *self) {
    struct server_snapshotter *s = &self->snapshotter;
    if (self->state != SERVER_RUNNING || s->is_running) return;
    bool is_due = self->applied_index - self->snapshot_index > self->config.snapshot_count;
    if (!is_due && self->log_bytes <= SERVER_LOG_BYTES) return;
    if (env_now_ns(self->env) < s->retry_ns) return;
    log_info(self->log, "triggering snapshot", LOG_HEX_ID("local-member-id", self->member_id),
             LOG_UINT("local-member-applied-index", self->applied_index),
             LOG_UINT("local-member-snapshot-index", self->snapshot_index),
             LOG_UINT("local-member-snapshot-count", self->config.snapshot_count));
    s->is_running = true;
    s->index = self->applied_index;
    s->term = self->applied_term;
    raft_conf_state_release(&s->conf_state);
    raft_conf_state_copy(&s->conf_state, raft_conf_state(self->raft));
    buf_clear(&s->payload);
    cluster_append_v2_json(self->cluster, &s->payload);
    s->before_index = self->snapshot_index;
    self->snapshot_index = self->applied_index;
    self->log_bytes = 0;
    s->committed.callback = db_committed;
    backend_commit(self->backend, &s->committed);
}

/* ---- purge ---- */

static void purge_run(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, snapshotter.purge_job);
    struct server_snapshotter *s = &self->snapshotter;
    s->purge_error = snap_purge(self->env, buf_cstr(&self->snap_dir), self->config.max_snapshots);
    if (s->purge_error == OK) s->purge_error = wal_purge(self->env, buf_cstr(&self->wal_dir), self->config.max_wals);
}

static void purge_done(struct env_job *job) {
    struct server *self = CONTAINER_OF(job, struct server, snapshotter.purge_job);
    struct server_snapshotter *s = &self->snapshotter;
    s->purge_is_running = false;
    if (s->purge_error != OK) server__fail(self, "failed to purge wal file", s->purge_error, "");
    if (self->state == SERVER_STOPPING) server__want_turn(self);
}

static void announce(struct server *self, const char *dir, const char *suffix, unsigned max) {
    if (max == 0) return;
    log_info(self->log, "started to purge file", LOG_STRING("dir", dir), LOG_STRING("suffix", suffix),
             LOG_UINT("max", max), LOG_DURATION("interval", PURGE_INTERVAL_NS));
}

void server__purge_start(struct server *self, int64_t now_ns) {
    self->next_purge_ns = now_ns;
    announce(self, buf_cstr(&self->snap_dir), "snap.db", self->config.max_snapshots);
    announce(self, buf_cstr(&self->snap_dir), "snap", self->config.max_snapshots);
    announce(self, buf_cstr(&self->wal_dir), "wal", self->config.max_wals);
}

void server__purge_tick(struct server *self, int64_t now_ns) {
    struct server_snapshotter *s = &self->snapshotter;
    /* Not before clients are served: deleting segments takes long, on the worker that saves entries. */
    if (now_ns < self->next_purge_ns || s->purge_is_running || !self->is_published) return;
    self->next_purge_ns = now_ns + PURGE_INTERVAL_NS;
    s->purge_is_running = true;
    s->purge_job.run = purge_run;
    s->purge_job.done = purge_done;
    env_worker_submit(self->saver.worker, &s->purge_job);
}

void server__snapshot_release(struct server *self) {
    raft_conf_state_release(&self->snapshotter.conf_state);
    buf_release(&self->snapshotter.payload);
}
