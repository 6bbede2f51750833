/* start.c - what is on disk becomes a member, or a new member is made.
 *
 *   member/wal exists?  no, or nothing is in it: ids from the initial cluster, new WAL, bootstrap entries
 *                       yes: newest .snap the WAL knows -> membership; WAL behind it -> log; ids from its metadata
 *   member/snap/db      opened first; its consistent index says which entries it already holds
 *
 * The order of files in a crash is what these rules rest on: entries are durable in the WAL before they count; the db
 * may be ahead of the last hard state's commit, never ahead of the log; a .snap is only valid with its WAL record
 * (spec/wal.md 9, 11; spec/snap.md 3, 8). A log that ends before the db's consistent index has lost acknowledged
 * entries: etcd 3.5 serves old reads then and hangs on writes; here the start is refused and says why. */
#include "base/bytes.h"
#include "pb/arena_pb.h"
#include "pb/etcdserver.pb-c.h"
#include "server/internal.h"

#define CONSISTENT_INDEX_KEY SLICE_LITERAL("consistent_index")
#define TERM_KEY SLICE_LITERAL("term")
#define CONF_STATE_KEY SLICE_LITERAL("confState")

/* ---- config ---- */

static const char *keep(struct server *self, const char *text) {
    return arena_strdup(&self->config_arena, slice_from_cstr(text != NULL ? text : ""));
}

static const char *const *keep_texts(struct server *self, const char *const *texts, size_t count) {
    const char **kept = ARENA_ARRAY(&self->config_arena, const char *, count);
    for (size_t i = 0; i < count; i++) kept[i] = keep(self, texts[i]);
    return kept;
}

static void take_config(struct server *self, const struct server_config *config) {
    struct server_config *own = &self->config;
    *own = *config;
    own->name = keep(self, config->name);
    own->data_dir = keep(self, config->data_dir);
    own->wal_dir = keep(self, config->wal_dir);
    own->initial_cluster = keep(self, config->initial_cluster);
    own->initial_cluster_token = keep(self, config->initial_cluster_token);
    own->advertise_peer_urls = keep_texts(self, config->advertise_peer_urls, config->advertise_peer_url_count);
    own->advertise_client_urls = keep_texts(self, config->advertise_client_urls, config->advertise_client_url_count);
    if (own->snapshot_count == 0) {
        log_info(self->log, "updating snapshot-count to default", LOG_UINT("given-snapshot-count", 0),
                 LOG_UINT("updated-snapshot-count", 100000));
        own->snapshot_count = 100000;
    }
    self->request_timeout_ns = 5 * NS_PER_S + 2 * own->tick_ns * own->election_ticks;
    buf_printf(&self->snap_dir, "%s/member/snap", own->data_dir);
    buf_printf(&self->db_path, "%s/member/snap/db", own->data_dir);
    if (own->wal_dir[0] != 0)
        buf_append_cstr(&self->wal_dir, own->wal_dir);
    else
        buf_printf(&self->wal_dir, "%s/member/wal", own->data_dir);
}

/* ---- the backend ---- */

/* {"voters":[1,2],"learners":[3],"auto_leave":false} as Go writes it. */
static void append_ids(struct buf *out, const char *name, const struct raft_ids *ids) {
    if (ids->count == 0) return;
    buf_printf(out, "\"%s\":[", name);
    for (size_t i = 0; i < ids->count; i++)
        buf_printf(out, "%s%llu", i > 0 ? "," : "", (unsigned long long)ids->items[i]);
    buf_append_cstr(out, "],");
}

static void put_conf_state(struct server *self) {
    const struct raft_conf_state *state = raft_conf_state(self->raft);
    struct buf json = BUF_INIT;
    buf_append_byte(&json, '{');
    append_ids(&json, "voters", &state->voters);
    append_ids(&json, "learners", &state->learners);
    append_ids(&json, "voters_outgoing", &state->voters_outgoing);
    append_ids(&json, "learners_next", &state->learners_next);
    buf_printf(&json, "\"auto_leave\":%s}", state->auto_leave ? "true" : "false");
    backend_put(self->backend, BACKEND_META, CONF_STATE_KEY, buf_slice(&json));
    buf_release(&json);
}

/* In every transaction of the backend: how far it goes. */
static void before_commit(void *context, struct backend *backend) {
    struct server *self = context;
    if (self->consistent_index == 0) return;
    uint8_t number[8];
    store_u64be(number, self->consistent_index);
    backend_put(backend, BACKEND_META, CONSISTENT_INDEX_KEY, slice_make(number, sizeof number));
    if (self->consistent_term > 0) {
        store_u64be(number, self->consistent_term);
        backend_put(backend, BACKEND_META, TERM_KEY, slice_make(number, sizeof number));
    }
    if (self->conf_state_is_dirty) {
        put_conf_state(self);
        self->conf_state_is_dirty = false;
    }
}

static void commit_failed(void *context, enum err error, const char *text) {
    server__fail(context, "failed to commit tx", error, text);
}

static uint64_t stored_number(struct server *self, struct slice key) {
    struct slice value;
    if (backend_get(self->backend, BACKEND_META, key, &value) != OK || value.len != 8) return 0;
    return load_u64be(value.data);
}

/* A crash while a new member's database was made: without a WAL nothing was ever kept in it. bbolt would refuse it for
 * ever. */
static bool set_aside_unfinished(struct server *self, enum err error) {
    if (error != ERR_BOLT_INVALID && error != ERR_BOLT_VERSION && error != ERR_BOLT_CHECKSUM && error != ERR_CORRUPT)
        return false;
    if (wal_exists(self->env, buf_cstr(&self->wal_dir))) return false;
    struct buf path = BUF_INIT;
    buf_printf(&path, "%s.broken", buf_cstr(&self->db_path));
    log_warn(self->log, "set aside an unfinished database of a member without WAL",
             LOG_STRING("path", buf_cstr(&self->db_path)), LOG_STRING("rename-path", buf_cstr(&path)));
    bool is_gone = env_rename(self->env, buf_cstr(&self->db_path), buf_cstr(&path)) == OK;
    buf_release(&path);
    return is_gone;
}

static enum err open_backend(struct server *self, struct errmsg *message) {
    int64_t began_ns = env_now_ns(self->env);
    struct backend_options options = {
        .batch_interval_ns = self->config.backend_batch_interval_ns,
        .batch_limit = self->config.backend_batch_limit,
        .unsafe_no_fsync = self->config.unsafe_no_fsync,
        .hooks = {.context = self, .before_commit = before_commit, .on_failure = commit_failed},
    };
    enum err error = backend_open(self->env, buf_cstr(&self->db_path), &options, &self->backend, message);
    if (error != OK && set_aside_unfinished(self, error))
        error = backend_open(self->env, buf_cstr(&self->db_path), &options, &self->backend, message);
    if (error != OK) return error;
    log_info(self->log, "opened backend db", LOG_STRING("path", buf_cstr(&self->db_path)),
             LOG_DURATION("took", env_now_ns(self->env) - began_ns));
    backend_create_bucket(self->backend, BACKEND_META);
    self->consistent_index = stored_number(self, CONSISTENT_INDEX_KEY);
    self->consistent_term = stored_number(self, TERM_KEY);
    return OK;
}

/* ---- a new member ---- */

static struct wal_options wal_options_of(struct server *self) {
    return (struct wal_options){
        .env = self->env,
        .dir = buf_cstr(&self->wal_dir),
        .segment_bytes = self->config.wal_segment_bytes,
        .no_sync = self->config.unsafe_no_fsync,
    };
}

static enum err new_wal(struct server *self, struct errmsg *message) {
    Etcdserverpb__Metadata metadata = ETCDSERVERPB__METADATA__INIT;
    metadata.has_nodeid = metadata.has_clusterid = 1;
    metadata.nodeid = self->member_id;
    metadata.clusterid = self->cluster_id;
    struct buf encoded = BUF_INIT;
    pb_pack(&metadata, &encoded);
    struct wal_options options = wal_options_of(self);
    enum err error = wal_create(&options, buf_slice(&encoded), &self->wal, message);
    buf_release(&encoded);
    return error == OK ? OK : err_prefix(message, error, "failed to create WAL");
}

static struct raft_config raft_config_of(struct server *self) {
    return (struct raft_config){
        .id = self->member_id,
        .election_ticks = self->config.election_ticks,
        .heartbeat_ticks = 1,
        .check_quorum = true,
        .pre_vote = self->config.pre_vote,
        .seed = env_random(self->env),
        .log = self->raft_log,
    };
}

static void bootstrap_raft(struct server *self, const struct member_list *members) {
    struct raft_peer *peers = NEW_ARRAY(struct raft_peer, members->count);
    struct buf *contexts = NEW_ARRAY(struct buf, members->count);
    for (size_t i = 0; i < members->count; i++) {
        member_append_json(&members->items[i], false, &contexts[i]);
        peers[i] = (struct raft_peer){members->items[i].id, buf_slice(&contexts[i])};
    }
    raft_bootstrap(self->raft, peers, members->count);
    for (size_t i = 0; i < members->count; i++) buf_release(&contexts[i]);
    mem_free(contexts);
    mem_free(peers);
}

static enum err found_cluster(struct server *self, const struct member_list *members, struct errmsg *message) {
    const struct member *own = member_list_find_name(members, self->config.name);
    CHECK(own != NULL); /* verified before */
    uint64_t *ids = NEW_ARRAY(uint64_t, members->count);
    for (size_t i = 0; i < members->count; i++) ids[i] = members->items[i].id;
    self->member_id = own->id;
    self->cluster_id = cluster_id_of(ids, members->count);
    mem_free(ids);
    TRY(new_wal(self, message));
    log_info(self->log, "starting local member", LOG_HEX_ID("local-member-id", self->member_id),
             LOG_HEX_ID("cluster-id", self->cluster_id));
    struct raft_config config = raft_config_of(self);
    struct raft_start start = {0};
    TRY(raft_new(&config, &start, &self->raft, message));
    bootstrap_raft(self, members);
    self->cluster = cluster_new(self->cluster_id, self->member_id, self->log);
    return OK;
}

static enum err new_member(struct server *self, struct errmsg *message) {
    if (self->config.initial_cluster_exists)
        return err_set(message, ERR_UNIMPLEMENTED, "joining an existing cluster is not supported by this build");
    struct urls_map map = {0};
    struct urls advertised = {0};
    struct member_list members = {0};
    enum err error = urls_map_parse(slice_from_cstr(self->config.initial_cluster), &map, message);
    if (error == OK)
        error = urls_from_texts(self->config.advertise_peer_urls, self->config.advertise_peer_url_count, &advertised,
                                message);
    if (error == OK) error = urls_map_verify_bootstrap(&map, self->config.name, &advertised, message);
    if (error == OK && map.count != 1)
        error = err_set(message, ERR_UNIMPLEMENTED, "a cluster of more than one member is not supported by this build");
    if (error == OK) error = member_list_from_urls_map(&map, self->config.initial_cluster_token, &members, message);
    if (error == OK) error = found_cluster(self, &members, message);
    member_list_release(&members);
    urls_release(&advertised);
    urls_map_release(&map);
    return error;
}

/* ---- a member that has been ---- */

static enum err take_metadata(struct server *self, struct slice metadata, struct errmsg *message) {
    const Etcdserverpb__Metadata *decoded =
        pb_unpack(&etcdserverpb__metadata__descriptor, metadata, &self->apply_arena);
    if (decoded == NULL || metadata.len == 0)
        return err_set(message, ERR_CORRUPT, "the WAL in %s has no metadata", buf_cstr(&self->wal_dir));
    self->member_id = decoded->nodeid;
    self->cluster_id = decoded->clusterid;
    return OK;
}

/* A snapshot newer than the db came from a leader; its database waits beside it (spec/snap.md 8). */
static enum err recover_db(struct server *self, uint64_t snapshot_index, struct errmsg *message) {
    if (snapshot_index <= self->consistent_index) return OK;
    struct buf received = BUF_INIT;
    enum err error = snap_find_db(self->env, buf_cstr(&self->snap_dir), snapshot_index, &received);
    if (error != OK) {
        buf_release(&received);
        return err_set(message, error, "failed to find database snapshot file (%s)", err_text(error));
    }
    store_load_free(TAKE(self->load));
    error = backend_close(self->backend);
    self->backend = NULL;
    if (error == OK) error = env_rename(self->env, buf_cstr(&received), buf_cstr(&self->db_path));
    buf_release(&received);
    if (error == OK) error = open_backend(self, message);
    if (error == OK && self->consistent_index < snapshot_index)
        return err_set(message, ERR_CORRUPT, "database file (%s index %llu) does not match with snapshot (index %llu)",
                       buf_cstr(&self->db_path), (unsigned long long)self->consistent_index,
                       (unsigned long long)snapshot_index);
    return error;
}

static enum err load_snapshot(struct server *self, struct raft_snapshot *ret_snapshot, struct errmsg *message) {
    struct wal_snapshots recorded = {0};
    TRY(wal_valid_snapshots(self->env, buf_cstr(&self->wal_dir), &recorded, message));
    enum err error = snap_load_newest(self->env, buf_cstr(&self->snap_dir), &recorded, ret_snapshot);
    wal_snapshots_release(&recorded);
    if (error == ERR_SNAP_NO_SNAPSHOT) {
        *ret_snapshot = (struct raft_snapshot){0};
        log_info(self->log, "No snapshot found. Recovering WAL from scratch!");
        return OK;
    }
    if (error != OK) return err_set(message, error, "%s", err_text(error));
    return recover_db(self, ret_snapshot->index, message);
}

static void tell_recovered(struct server *self, const struct raft_snapshot *snapshot) {
    struct buf size = BUF_INIT, in_use = BUF_INIT;
    go_append_humanized_bytes(&size, shared_slice(snapshot->data).len);
    log_info(self->log, "recovered v2 store from snapshot", LOG_UINT("snapshot-index", snapshot->index),
             LOG_STRING("snapshot-size", buf_cstr(&size)));
    buf_clear(&size);
    go_append_humanized_bytes(&size, backend_size_bytes(self->backend));
    go_append_humanized_bytes(&in_use, backend_size_in_use_bytes(self->backend));
    log_info(self->log, "recovered v3 backend from snapshot",
             LOG_UINT("backend-size-bytes", backend_size_bytes(self->backend)),
             LOG_STRING("backend-size", buf_cstr(&size)),
             LOG_UINT("backend-size-in-use-bytes", backend_size_in_use_bytes(self->backend)),
             LOG_STRING("backend-size-in-use", buf_cstr(&in_use)));
    buf_release(&size);
    buf_release(&in_use);
}

/* A crash between the making of a new member's WAL and its first entries leaves a log that says who it is and nothing
 * else: etcd waits for ever then for members that nobody ever added. The cluster is founded anew. */
static bool is_unfounded(struct server *self) {
    if (self->consistent_index != 0 || self->config.initial_cluster_exists) return false;
    struct wal_options options = wal_options_of(self);
    struct wal *wal;
    if (wal_open_read_only(&options, 0, 0, &wal, NULL) != OK) return false;
    struct wal_contents contents = {0};
    bool is_empty = wal_read_all(wal, &contents, NULL) == OK && contents.entries.count == 0 &&
                    contents.hard_state.term == 0 && contents.hard_state.commit == 0;
    wal_contents_release(&contents);
    if (wal_close(wal) != OK || !is_empty) return false;
    log_warn(self->log, "found the cluster anew: the WAL of an earlier start holds nothing",
             LOG_STRING("path", buf_cstr(&self->wal_dir)));
    return env_remove_all(self->env, buf_cstr(&self->wal_dir)) == OK;
}

static enum err restart_raft(struct server *self, const struct raft_snapshot *snapshot,
                             const struct wal_contents *contents, struct errmsg *message) {
    uint64_t last = snapshot->index + contents->entries.count;
    if (self->consistent_index > last)
        return err_set(message, ERR_CORRUPT,
                       "the WAL in %s ends at index %llu, before the consistent index %llu of %s: entries are lost",
                       buf_cstr(&self->wal_dir), (unsigned long long)last, (unsigned long long)self->consistent_index,
                       buf_cstr(&self->db_path));
    log_info(self->log, "restarting local member", LOG_HEX_ID("cluster-id", self->cluster_id),
             LOG_HEX_ID("local-member-id", self->member_id), LOG_UINT("commit-index", contents->hard_state.commit));
    struct raft_config config = raft_config_of(self);
    struct raft_start start = {
        .hard_state = contents->hard_state,
        .snapshot_index = snapshot->index,
        .snapshot_term = snapshot->term,
        .conf_state = snapshot->index > 0 ? &snapshot->conf_state : NULL,
        .entries = contents->entries.items,
        .entry_count = contents->entries.count,
        .applied = snapshot->index,
    };
    return raft_new(&config, &start, &self->raft, message);
}

static enum err restart_from(struct server *self, const struct raft_snapshot *snapshot, struct errmsg *message) {
    struct wal_options options = wal_options_of(self);
    struct wal_contents contents = {0};
    TRY(wal_open_and_read(&options, snapshot->index, snapshot->term, &self->wal, &contents, message));
    enum err error = take_metadata(self, buf_slice(&contents.metadata), message);
    if (error == OK) {
        self->cluster = cluster_new(self->cluster_id, self->member_id, self->log);
        cluster_set_backend(self->cluster, self->backend);
        if (snapshot->index > 0) {
            tell_recovered(self, snapshot);
            error = cluster_recover_v2(self->cluster, shared_slice(snapshot->data), message);
            if (error == OK && server__is_downgrade(self, cluster_version(self->cluster)))
                error = err_set(message, ERR_INVALID_DOWNGRADE_TARGET, "the data directory is of a newer version");
        }
    }
    if (error == OK) error = restart_raft(self, snapshot, &contents, message);
    if (error == OK) {
        self->term = contents.hard_state.term;
        self->committed_index = contents.hard_state.commit;
    }
    wal_contents_release(&contents);
    return error;
}

static enum err old_member(struct server *self, struct errmsg *message) {
    struct raft_snapshot snapshot;
    /* The longest part of a start, beside the second longest: reading the whole WAL. */
    self->load = store_load_start(self->backend, self->env);
    TRY(load_snapshot(self, &snapshot, message));
    enum err error = restart_from(self, &snapshot, message);
    if (error == OK) {
        self->applied_index = self->snapshot_index = snapshot.index;
        self->applied_term = snapshot.term;
    }
    raft_snapshot_release(&snapshot);
    return error;
}

/* ---- the state machine ---- */

static bool lease_exists(void *context, int64_t lease) {
    return lessor_exists(((struct server *)context)->lessor, lease);
}

static void lease_attach(void *context, struct slice key, int64_t lease) {
    struct server *self = context;
    if (lessor_attach(self->lessor, lease, key) != OK)
        log_error(self->log, "failed to attach a lease", LOG_HEX_ID("lease-id", (uint64_t)lease));
}

static void lease_detach(void *context, struct slice key, int64_t lease) {
    lessor_detach(((struct server *)context)->lessor, key);
}

static enum err open_state(struct server *self, struct errmsg *message) {
    const struct server_config *config = &self->config;
    int64_t election_ms = config->tick_ns * config->election_ticks / NS_PER_MS;
    struct lessor_config lessor_config = {
        .min_ttl_s = lessor_min_ttl_s(election_ms),
        .checkpoints = config->lease_checkpoint,
        .checkpoints_persisted = config->lease_checkpoint_persist,
        .seed = env_random(self->env),
    };
    cluster_set_backend(self->cluster, self->backend);
    self->lessor = lessor_new(&lessor_config);
    TRY(lessor_restore(self->lessor, self->backend, message));
    struct store_options store_options = {
        .env = self->env,
        .lease = {.exists = lease_exists, .attach = lease_attach, .detach = lease_detach, .context = self},
        .compaction_batch_limit = config->compaction_batch_limit,
        .compaction_sleep_ns = config->compaction_sleep_ns,
    };
    struct auth_config auth_config = {
        .log = self->log,
        .env = self->env,
        .token_ttl_ns = config->auth_token_ttl_ns,
        .bcrypt_cost = config->bcrypt_cost,
        .seed = env_random(self->env),
    };
    self->auth = auth_store_new(&auth_config);
    TRY(auth_store_restore(self->auth, self->backend, message));
    TRY(store_open(self->backend, &store_options, TAKE(self->load), &self->store, message));
    log_info(self->log, "restore consistentIndex", LOG_UINT("index", self->consistent_index));
    server__alarms_restore(self);
    return OK;
}

void server__tell_start(struct server *self) {
    char text[VERSION_TEXT_BYTES];
    struct version version = cluster_version(self->cluster);
    if (version_is_none(version))
        log_info(self->log, "starting etcd server", LOG_HEX_ID("local-member-id", self->member_id),
                 LOG_STRING("local-server-version", SERVER_VERSION), LOG_STRING("cluster-version", "to_be_decided"));
    else
        log_info(self->log, "starting etcd server", LOG_HEX_ID("local-member-id", self->member_id),
                 LOG_STRING("local-server-version", SERVER_VERSION), LOG_HEX_ID("cluster-id", self->cluster_id),
                 LOG_STRING("cluster-version", version_text_minor(version, text)));
}

static enum err make_folders(struct server *self, struct errmsg *message) {
    enum err error = env_mkdir_all(self->env, self->config.data_dir, 0700);
    if (error == OK) error = env_mkdir_all(self->env, buf_cstr(&self->snap_dir), 0700);
    if (error != OK)
        return err_set(message, error, "cannot access data directory: mkdir %s: %s", buf_cstr(&self->snap_dir),
                       err_text(error));
    error = snap_remove_temporary(self->env, buf_cstr(&self->snap_dir));
    if (error != OK)
        log_error(self->log, "failed to remove temp file(s) in snapshot directory",
                  LOG_STRING("path", buf_cstr(&self->snap_dir)), LOG_ERR(error));
    return OK;
}

static enum err open_all(struct server *self, struct errmsg *message) {
    TRY(make_folders(self, message));
    TRY(open_backend(self, message));
    if (wal_exists(self->env, buf_cstr(&self->wal_dir)) && !is_unfounded(self))
        TRY(old_member(self, message));
    else
        TRY(new_member(self, message));
    TRY(open_state(self, message));
    if (self->state == SERVER_FAILED) return ERR_CORRUPT;
    self->id_prefix = (self->member_id & 0xffff) << 48;
    self->id_suffix = ((uint64_t)(env_wall_ns(self->env) / NS_PER_MS) & 0xffffffffffull) << 8;
    self->saver.worker = env_worker_new(self->env, "wal");
    return OK;
}

enum err server_open(struct env *env, const struct server_config *config, const struct server_hooks *hooks,
                     struct server **ret_server, struct errmsg *message) {
    struct server *self = NEW(struct server);
    self->env = env;
    self->log = env_log(env);
    self->raft_log = log_named(self->log, "raft");
    self->hooks = hooks != NULL ? *hooks : (struct server_hooks){0};
    arena_init(&self->config_arena, 1024);
    arena_init(&self->apply_arena, 16384);
    map_u64_init(&self->pending, 0);
    struct list *lists[] = {&self->pending_order,     &self->reads_waiting,    &self->reads_asked,
                            &self->reads_applying,    &self->lease_calls,      &self->physical,
                            &self->passwords_waiting, &self->passwords_running};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) list_init(lists[i]);
    take_config(self, config);
    enum err error = open_all(self, message);
    if (error != OK) {
        self->state = SERVER_FAILED;
        server_close(self);
        return error;
    }
    *ret_server = self;
    return OK;
}
