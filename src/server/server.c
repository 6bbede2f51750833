/* server.c - the life of a member: start, ticks, stop; and what it tells about itself. */
#include "server/server.h"

#include "base/bytes.h"
#include "server/internal.h"

void server_config_init(struct server_config *config) {
    *config = (struct server_config){
        .name = "default",
        .data_dir = "default.etcd",
        .wal_dir = "",
        .initial_cluster = "default=http://localhost:2380",
        .initial_cluster_token = "etcd-cluster",
        .tick_ns = 100 * NS_PER_MS,
        .election_ticks = 10,
        .initial_election_tick_advance = true,
        .pre_vote = true,
        .strict_reconfig_check = true,
        .snapshot_count = 100000,
        .snapshot_catch_up_entries = 5000,
        .max_wals = 5,
        .max_snapshots = 5,
        .max_txn_ops = 128,
        .max_request_bytes = 1572864,
        .warning_apply_ns = 100 * NS_PER_MS,
        .bcrypt_cost = PASSWORD_DEFAULT_COST,
    };
}

/* ---- turns ---- */

/* The only voter waits for nobody: it holds its election as soon as the log's conf changes are applied. */
static void elect_alone(struct server *self) {
    if (self->lead != 0 || !self->config.initial_election_tick_advance) return;
    const struct raft_conf_state *members = raft_conf_state(self->raft);
    if (members->voters.count != 1 || members->voters.items[0] != self->member_id) return;
    if (raft_applied_index(self->raft) < raft_committed_index(self->raft)) return;
    struct raft_event campaign = {.type = RAFT_CAMPAIGN};
    server__step(self, &campaign);
}

static void turn(struct env_timer *timer) {
    struct server *self = CONTAINER_OF(timer, struct server, turn);
    if (self->state == SERVER_FAILED || self->state == SERVER_STOPPED) return;
    if (self->state == SERVER_RUNNING) {
        elect_alone(self);
        server__propose_batch(self);
        server__ask_read_index(self, env_now_ns(self->env));
        server__release_lease_calls(self);
    }
    struct raft_event nothing = {.type = RAFT_NOTHING};
    server__step(self, &nothing);
    server__advance_stop(self);
}

void server__want_turn(struct server *self) {
    if (self->turn_is_wanted) return;
    self->turn_is_wanted = true;
    env_timer_start(self->env, &self->turn, 0);
}

static void turn_fired(struct env_timer *timer) {
    CONTAINER_OF(timer, struct server, turn)->turn_is_wanted = false;
    turn(timer);
}

/* ---- ticks ---- */

static void tick_once(struct server *self) {
    struct raft_event event = {.type = RAFT_TICK};
    server__step(self, &event);
}

/* A late loop makes up for missed ticks, but never for more than one election time. */
static void tick(struct env_timer *timer) {
    struct server *self = CONTAINER_OF(timer, struct server, tick);
    if (self->state != SERVER_RUNNING) return;
    int64_t now_ns = env_now_ns(self->env);
    for (uint32_t i = 0; i < self->config.election_ticks && self->next_tick_ns <= now_ns; i++) {
        tick_once(self);
        if (self->state != SERVER_RUNNING) return;
        self->next_tick_ns += self->config.tick_ns;
    }
    if (self->next_tick_ns <= now_ns) self->next_tick_ns = now_ns + self->config.tick_ns;
    server__check_timeouts(self, now_ns);
    server__check_reads(self, now_ns);
    server__lease_tick(self, now_ns);
    auth_store_tick(self->auth, now_ns);
    server__membership_tick(self, now_ns);
    server__purge_tick(self, now_ns);
    server__spare_tick(self, now_ns);
    server__maybe_snapshot(self);
    server__flush_hard_state(self);
    if (self->state == SERVER_RUNNING) env_timer_start(self->env, &self->tick, self->next_tick_ns - now_ns);
}

/* An only voter needs not wait for others: it may hold its election with the next tick but one. */
static void advance_election(struct server *self) {
    uint32_t ticks = self->config.election_ticks;
    if (!self->config.initial_election_tick_advance) {
        log_info(self->log, "skipping initial election tick advance", LOG_UINT("election-ticks", ticks));
        return;
    }
    if (cluster_member_count(self->cluster) > 1 || ticks < 2) return;
    struct buf forward = BUF_INIT, timeout = BUF_INIT;
    go_append_duration(&forward, self->config.tick_ns * (ticks - 1));
    go_append_duration(&timeout, self->config.tick_ns * ticks);
    log_info(self->log, "started as single-node; fast-forwarding election ticks",
             LOG_HEX_ID("local-member-id", self->member_id), LOG_UINT("forward-ticks", ticks - 1),
             LOG_STRING("forward-duration", buf_cstr(&forward)), LOG_UINT("election-ticks", ticks),
             LOG_STRING("election-timeout", buf_cstr(&timeout)));
    buf_release(&forward);
    buf_release(&timeout);
    for (uint32_t i = 0; i + 1 < ticks; i++) tick_once(self);
}

void server_start(struct server *self) {
    CHECK(self->state == SERVER_OPEN);
    self->state = SERVER_RUNNING;
    server__quota_init(self); /* here, because callers say between open and start what is odd in their part */
    server__tell_start(self);
    int64_t now_ns = env_now_ns(self->env);
    self->turn.callback = turn_fired;
    self->tick.callback = tick;
    self->next_tick_ns = now_ns + self->config.tick_ns;
    self->next_version_check_ns = now_ns;
    server__purge_start(self, now_ns);
    advance_election(self);
    env_timer_start(self->env, &self->tick, self->config.tick_ns);
    server__want_turn(self);
}

/* ---- the end ---- */

void server__fail(struct server *self, const char *what, enum err error, const char *detail) {
    if (self->state == SERVER_FAILED) return;
    self->state = SERVER_FAILED;
    log_fatal(self->log, what, LOG_STRING("error", detail[0] != 0 ? detail : err_text(error)));
    if (self->hooks.failed != NULL) self->hooks.failed(self->hooks.context, 1);
}

static void store_stopped(void *context) {
    struct server *self = context;
    self->store_is_stopped = true;
    server__want_turn(self);
}

/* What is committed in the log but not yet written down is flushed; then nothing runs any more. */
void server__advance_stop(struct server *self) {
    if (self->state != SERVER_STOPPING) return;
    if (self->saver.is_running || self->saver.spare_is_running || self->snapshotter.is_running ||
        self->snapshotter.purge_is_running || self->password_count > 0)
        return;
    if (self->saver.filling.has_hard || self->saver.filling.entries.count > 0) {
        server__flush_hard_state(self);
        return;
    }
    if (!self->store_is_stopped) return;
    self->state = SERVER_STOPPED;
    self->stopped(self->stopped_context);
}

void server_stop(struct server *self, void (*stopped)(void *context), void *context) {
    CHECK(self->state == SERVER_RUNNING);
    self->state = SERVER_STOPPING;
    self->stopped = stopped;
    self->stopped_context = context;
    env_timer_stop(self->env, &self->tick);
    if (self->role == RAFT_LEADER && cluster_voter_count(self->cluster) == 1)
        log_info(self->log, "skipped leadership transfer for single voting member cluster",
                 LOG_HEX_ID("local-member-id", self->member_id), LOG_HEX_ID("current-leader-member-id", self->lead));
    server__fail_all_requests(self, ERR_STOPPED);
    server__fail_all_reads(self, ERR_STOPPED);
    server__fail_all_lease_calls(self, ERR_STOPPED);
    server__fail_all_passwords(self);
    store_stop(self->store, store_stopped, self);
    server__want_turn(self);
}

static void release_batch_memory(struct save_batch *batch) {
    for (size_t i = 0; i < batch->entries.count; i++) raft_entry_release(&batch->entries.items[i]);
    VEC_RELEASE(&batch->entries);
}

/* A member that failed keeps what the disk has; only one that stopped in order commits what is pending. */
void server_close(struct server *self) {
    if (self == NULL) return;
    env_timer_stop(self->env, &self->tick);
    env_timer_stop(self->env, &self->turn);
    env_timer_stop(self->env, &self->saver.gather);
    env_worker_free(self->saver.worker);
    store_load_free(self->load);
    store_close(self->store);
    server__forsake_passwords(self);
    auth_store_free(self->auth);
    lessor_free(self->lessor);
    enum err error = backend_close(self->backend);
    if (error != OK) log_error(self->log, "failed to close the backend", LOG_ERR(error));
    wal_spare_free(self->saver.spare);
    error = wal_close(self->wal);
    if (error != OK) log_error(self->log, "failed to close the WAL", LOG_ERR(error));
    raft_free(self->raft);
    cluster_free(self->cluster);
    for (size_t i = 0; i < self->batch.count; i++) raft_entry_release(&self->batch.items[i]);
    VEC_RELEASE(&self->batch);
    release_batch_memory(&self->saver.filling);
    release_batch_memory(&self->saver.running);
    map_u64_release(&self->pending);
    VEC_RELEASE(&self->alarms);
    server__snapshot_release(self);
    buf_release(&self->wal_dir);
    buf_release(&self->snap_dir);
    buf_release(&self->db_path);
    buf_release(&self->scratch);
    arena_release(&self->apply_arena);
    arena_release(&self->config_arena);
    log_free(self->raft_log);
    mem_free(self);
}

/* ---- what it knows ---- */

struct store *server_store(struct server *self) {
    return self->store;
}
struct backend *server_backend(struct server *self) {
    return self->backend;
}
struct lessor *server_lessor(struct server *self) {
    return self->lessor;
}
struct cluster *server_cluster(struct server *self) {
    return self->cluster;
}
struct auth_store *server_auth(struct server *self) {
    return self->auth;
}
const struct server_config *server_config_of(const struct server *self) { return &self->config; }
struct env *server_env(const struct server *self) {
    return self->env;
}
const struct server_stats *server_stats(const struct server *self) { return &self->stats; }

void server_status(const struct server *self, struct server_status *ret_status) {
    *ret_status = (struct server_status){
        .member_id = self->member_id,
        .cluster_id = self->cluster_id,
        .leader = self->lead,
        .raft_term = self->term,
        .raft_index = self->committed_index,
        .raft_applied_index = self->applied_index,
        .is_learner = cluster_is_learner(self->cluster, self->member_id),
        .is_leader = self->role == RAFT_LEADER,
        .has_nospace_alarm = server__has_alarm(self, 1),
        .has_corrupt_alarm = server__has_alarm(self, 2),
        .quota_bytes = self->quota_bytes,
    };
}

static uint8_t *store_uint(uint8_t *at, uint32_t field, uint64_t value) {
    if (value == 0) return at;
    *at++ = (uint8_t)(field << 3);
    return at + varint_store(at, value);
}

size_t server_store_header(const struct server *self, int64_t revision, uint8_t out[SERVER_HEADER_MAX_BYTES]) {
    uint8_t *fields = out + 2, *at = fields;
    at = store_uint(at, 1, self->cluster_id);
    at = store_uint(at, 2, self->member_id);
    at = store_uint(at, 3, (uint64_t)revision);
    at = store_uint(at, 4, self->term);
    out[0] = 1 << 3 | 2;
    out[1] = (uint8_t)(at - fields);
    return (size_t)(at - out);
}
