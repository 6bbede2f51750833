#include "etcd/member.h"

#include "api/api.h"
#include "base/gotext.h"
#include "base/mem.h"
#include "etcd/datadir.h"
#include "etcd/doors.h"
#include "etcd/unbuilt.h"
#include "net/datagram.h"
#include "net/loop.h"
#include "os/os.h"
#include "server/compactor.h"
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MS_NS 1000000ll
#define STOP_GRACE_NS (2000 * MS_NS) /* for requests that are under way */
#define PROGRESS_INTERVAL_MIN_NS (100 * MS_NS)
#define RECOMMENDED_REQUEST_BYTES (10ull << 20)
#define MAP_MAX_BYTES 0xFFFFFFFFFFFFll /* bbolt's, on 64 bits */
#define BCRYPT_COST_MIN 4
#define BCRYPT_COST_MAX 31
#define BCRYPT_COST_DEFAULT 10
#define EXIT_PANIC 2

struct member {
    const struct options *options;
    struct log *log;
    struct net_loop *loop;
    struct os_world *world;
    struct env *env;
    struct doors *doors;
    struct server *server;
    struct api *api;
    struct compactor *compactor; /* NULL: off */
    int64_t retention;           /* for it: nanoseconds or revisions */
    int signal_number;           /* 0 until one came */
};

void member_leave(int status) {
    fflush(NULL);
    _Exit(status);
}

static int64_t turn(void *context) { return os_world_turn(((struct member *)context)->world); }

struct member *member_new(const struct options *options, struct log *log) {
    struct member *self = NEW(struct member);
    *self = (struct member){.options = options, .log = log};
    self->loop = net_loop_new();
    self->world = os_world_new(log);
    self->env = os_world_env(self->world);
    os_world_set_wake(self->world, net_loop_wake_callback, self->loop);
    net_loop_set_turn_hook(self->loop, turn, self);
    self->doors = doors_new(self->loop, self->env, options);
    return self;
}

struct env *member_env(struct member *self) {
    return self->env;
}

/* ---- lines of log ---- */

struct url_texts {
    const char **items;
    size_t count;
};

static struct url_texts texts_of(const struct urls *urls) {
    struct url_texts texts = {NEW_ARRAY(const char *, urls->count + 1), urls->count};
    for (size_t i = 0; i < urls->count; i++) texts.items[i] = urls->items[i].text;
    return texts;
}
#define LOG_URLS(key, texts) LOG_STRINGS((key), (texts).items, (texts).count)
#define LOG_TEXTS(key, texts) LOG_STRINGS((key), (const char *const *)(texts).items, (texts).count)

static int64_t quota_of(const struct options *o) {
    return o->quota_backend_bytes == 0 ? SERVER_DEFAULT_QUOTA_BYTES : o->quota_backend_bytes;
}

static void tell_configuration(struct member *self, bool has_data, int64_t retention_ns) {
    const struct options *o = self->options;
    struct url_texts advertise_peer = texts_of(&o->initial_advertise_peer_urls),
                     listen_peer = texts_of(&o->listen_peer_urls),
                     advertise_client = texts_of(&o->advertise_client_urls),
                     listen_client = texts_of(&o->listen_client_urls), metrics = texts_of(&o->listen_metrics_urls);
    struct buf member_dir = BUF_INIT;
    buf_printf(&member_dir, "%s/member", o->data_dir);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    log_info(
        self->log, "starting an etcd server", LOG_STRING("etcd-version", SERVER_VERSION),
        LOG_STRING("git-sha", "Not provided (etcd-c)"), LOG_STRING("go-version", "none (C)"),
        LOG_STRING("go-os", "linux"), LOG_STRING("go-arch", help_architecture()), LOG_INT("max-cpu-set", processors),
        LOG_INT("max-cpu-available", processors), LOG_BOOL("member-initialized", has_data), LOG_STRING("name", o->name),
        LOG_STRING("data-dir", o->data_dir), LOG_STRING("wal-dir", o->wal_dir),
        LOG_STRING("wal-dir-dedicated", o->wal_dir), LOG_STRING("member-dir", buf_cstr(&member_dir)),
        LOG_BOOL("force-new-cluster", o->force_new_cluster),
        LOG_DURATION("heartbeat-interval", (int64_t)o->heartbeat_interval_ms * MS_NS),
        LOG_DURATION("election-timeout", (int64_t)o->election_timeout_ms * MS_NS),
        LOG_BOOL("initial-election-tick-advance", o->initial_election_tick_advance),
        LOG_UINT("snapshot-count", o->snapshot_count), LOG_UINT("max-wals", o->max_wals),
        LOG_UINT("max-snapshots", o->max_snapshots), LOG_UINT("snapshot-catchup-entries", o->snapshot_catch_up_entries),
        LOG_URLS("initial-advertise-peer-urls", advertise_peer), LOG_URLS("listen-peer-urls", listen_peer),
        LOG_URLS("advertise-client-urls", advertise_client), LOG_URLS("listen-client-urls", listen_client),
        LOG_URLS("listen-metrics-urls", metrics), LOG_TEXTS("cors", o->cors),
        LOG_TEXTS("host-whitelist", o->host_whitelist),
        LOG_STRING("initial-cluster", has_data ? "" : o->initial_cluster),
        LOG_STRING("initial-cluster-state", o->initial_cluster_state),
        LOG_STRING("initial-cluster-token", has_data ? "" : o->initial_cluster_token),
        LOG_INT("quota-backend-bytes", quota_of(o)), LOG_UINT("max-request-bytes", o->max_request_bytes),
        LOG_UINT("max-concurrent-streams", o->max_concurrent_streams), LOG_BOOL("pre-vote", o->pre_vote),
        LOG_BOOL("initial-corrupt-check", o->initial_corrupt_check),
        LOG_DURATION("corrupt-check-time-interval", o->corrupt_check_time_ns),
        LOG_BOOL("compact-check-time-enabled", o->compact_hash_check),
        LOG_DURATION("compact-check-time-interval", o->compact_hash_check_time_ns),
        LOG_STRING("auto-compaction-mode", o->auto_compaction_mode),
        LOG_DURATION("auto-compaction-retention", retention_ns), LOG_DURATION("auto-compaction-interval", retention_ns),
        LOG_STRING("discovery-url", o->discovery), LOG_STRING("discovery-proxy", o->discovery_proxy),
        LOG_DURATION("downgrade-check-interval", o->downgrade_check_time_ns));
    buf_release(&member_dir);
    mem_free(advertise_peer.items);
    mem_free(listen_peer.items);
    mem_free(advertise_client.items);
    mem_free(listen_client.items);
    mem_free(metrics.items);
}

static void tell_end(struct member *self, const char *what) {
    struct url_texts peer = texts_of(&self->options->initial_advertise_peer_urls),
                     client = texts_of(&self->options->advertise_client_urls);
    log_info(self->log, what, LOG_STRING("name", self->options->name), LOG_STRING("data-dir", self->options->data_dir),
             LOG_URLS("advertise-peer-urls", peer), LOG_URLS("advertise-client-urls", client));
    mem_free(peer.items);
    mem_free(client.items);
}

static void tell_serving(struct member *self) {
    const struct options *o = self->options;
    struct url_texts advertise_peer = texts_of(&o->initial_advertise_peer_urls),
                     listen_peer = texts_of(&o->listen_peer_urls),
                     advertise_client = texts_of(&o->advertise_client_urls),
                     listen_client = texts_of(&o->listen_client_urls), metrics = texts_of(&o->listen_metrics_urls);
    struct server_status status;
    server_status(self->server, &status);
    log_info(self->log, "now serving peer/client/metrics", LOG_HEX_ID("local-member-id", status.member_id),
             LOG_URLS("initial-advertise-peer-urls", advertise_peer), LOG_URLS("listen-peer-urls", listen_peer),
             LOG_URLS("advertise-client-urls", advertise_client), LOG_URLS("listen-client-urls", listen_client),
             LOG_URLS("listen-metrics-urls", metrics));
    mem_free(advertise_peer.items);
    mem_free(listen_peer.items);
    mem_free(advertise_client.items);
    mem_free(listen_client.items);
    mem_free(metrics.items);
}

static void warn_of_request_size(struct member *self) {
    uint64_t bytes = self->options->max_request_bytes;
    if (bytes <= RECOMMENDED_REQUEST_BYTES) return;
    struct buf size = BUF_INIT, recommended = BUF_INIT;
    go_append_humanized_bytes(&size, bytes);
    go_append_humanized_bytes(&recommended, RECOMMENDED_REQUEST_BYTES);
    log_warn(self->log, "exceeded recommended request limit", LOG_UINT("max-request-bytes", bytes),
             LOG_STRING("max-request-size", buf_cstr(&size)),
             LOG_UINT("recommended-request-bytes", RECOMMENDED_REQUEST_BYTES),
             LOG_STRING("recommended-request-size", buf_cstr(&recommended)));
    buf_release(&size);
    buf_release(&recommended);
}

static void warn_of_bcrypt_cost(struct member *self) {
    uint64_t cost = self->options->bcrypt_cost;
    if (cost >= BCRYPT_COST_MIN && cost <= BCRYPT_COST_MAX) return;
    log_warn(self->log, "use default bcrypt cost instead of the invalid given cost",
             LOG_INT("min-cost", BCRYPT_COST_MIN), LOG_INT("max-cost", BCRYPT_COST_MAX),
             LOG_INT("default-cost", BCRYPT_COST_DEFAULT), LOG_UINT("given-cost", cost));
}

/* ---- running ---- */

static void tell_service_manager(struct member *self) {
    log_info(self->log, "notifying init daemon");
    const char *path = getenv("NOTIFY_SOCKET");
    if (path != NULL && *path != 0) {
        enum err error = net_datagram_send(path, SLICE_LITERAL("READY=1"));
        if (error != OK) {
            log_error(self->log, "failed to notify systemd for readiness", LOG_ERR(error));
            return;
        }
    }
    log_info(self->log, "successfully notified init daemon");
}

static void peers_are_gone(void *context) { net_loop_stop(((struct member *)context)->loop); }

static void server_is_stopped(void *context) {
    struct member *self = context;
    doors_close_peers(self->doors, peers_are_gone, self);
}

static void clients_are_gone(void *context) {
    struct member *self = context;
    server_stop(self->server, server_is_stopped, self);
}

static void on_signal(void *context, int signal_number) {
    struct member *self = context;
    if (self->signal_number != 0) return; /* it is on its way out */
    self->signal_number = signal_number;
    log_info(self->log, "received signal; shutting down",
             LOG_STRING("signal", signal_number == SIGINT ? "interrupt" : "terminated"));
    tell_end(self, "closing etcd server");
    api_stop(self->api);
    doors_close_clients(self->doors, STOP_GRACE_NS, clients_are_gone, self);
}

static void ready(void *context) {
    struct member *self = context;
    log_info(self->log, "ready to serve client requests");
    doors_open_clients(self->doors);
    if (net_loop_on_signal(self->loop, SIGTERM, on_signal, self) != OK ||
        net_loop_on_signal(self->loop, SIGINT, on_signal, self) != OK) {
        log_fatal(self->log, "failed to catch signals");
        member_leave(EXIT_FAILURE);
    }
    tell_service_manager(self);
}

static void failed(void *context, int exit_status) { member_leave(exit_status); }

/* ---- starting ---- */

static unsigned clamp_unsigned(uint64_t value) { return value > UINT32_MAX ? UINT32_MAX : (unsigned)value; }

static void fill_config(const struct options *o, struct url_texts *peer, struct url_texts *client,
                        struct server_config *config) {
    server_config_init(config);
    config->name = o->name;
    config->data_dir = o->data_dir;
    config->wal_dir = o->wal_dir;
    config->advertise_peer_urls = peer->items;
    config->advertise_peer_url_count = peer->count;
    config->advertise_client_urls = client->items;
    config->advertise_client_url_count = client->count;
    config->initial_cluster = o->initial_cluster;
    config->initial_cluster_token = o->initial_cluster_token;
    config->initial_cluster_exists = strcmp(o->initial_cluster_state, "existing") == 0;
    config->force_new_cluster = o->force_new_cluster;
    config->tick_ns = (int64_t)o->heartbeat_interval_ms * MS_NS;
    config->election_ticks = (uint32_t)(o->election_timeout_ms / o->heartbeat_interval_ms);
    config->initial_election_tick_advance = o->initial_election_tick_advance;
    config->pre_vote = o->pre_vote;
    config->strict_reconfig_check = o->strict_reconfig_check;
    config->snapshot_count = o->snapshot_count;
    config->snapshot_catch_up_entries = o->snapshot_catch_up_entries;
    config->max_wals = clamp_unsigned(o->max_wals);
    config->max_snapshots = clamp_unsigned(o->max_snapshots);
    config->quota_backend_bytes = o->quota_backend_bytes;
    config->max_txn_ops = o->max_txn_ops;
    config->max_request_bytes = o->max_request_bytes;
    config->backend_batch_interval_ns = o->backend_batch_interval_ns > 0 ? o->backend_batch_interval_ns : 0;
    config->backend_batch_limit = o->backend_batch_limit > 0 ? (uint64_t)o->backend_batch_limit : 0;
    config->compaction_batch_limit =
        o->compaction_batch_limit > 0 && o->compaction_batch_limit < INT32_MAX ? (int)o->compaction_batch_limit : 0;
    config->compaction_sleep_ns = o->compaction_sleep_interval_ns > 0 ? o->compaction_sleep_interval_ns : 0;
    config->unsafe_no_fsync = o->unsafe_no_fsync;
    bool is_cost = o->bcrypt_cost >= PASSWORD_MIN_COST && o->bcrypt_cost <= PASSWORD_MAX_COST;
    config->bcrypt_cost = is_cost ? (unsigned)o->bcrypt_cost : PASSWORD_DEFAULT_COST;
    uint64_t ttl_s = o->auth_token_ttl_s < UINT32_MAX ? o->auth_token_ttl_s : UINT32_MAX;
    config->auth_token_ttl_ns = (int64_t)ttl_s * 1000 * MS_NS;
    config->lease_checkpoint = o->lease_checkpoint;
    config->lease_checkpoint_persist = o->lease_checkpoint_persist;
    config->warning_apply_ns = o->warning_apply_duration_ns;
}

static enum err open_server(struct member *self, struct errmsg *message) {
    const struct options *o = self->options;
    struct url_texts peer = texts_of(&o->initial_advertise_peer_urls), client = texts_of(&o->advertise_client_urls);
    struct server_config config;
    fill_config(o, &peer, &client, &config);
    struct server_hooks hooks = {.context = self, .ready = ready, .failed = failed};
    enum err error = server_open(self->env, &config, &hooks, &self->server, message);
    mem_free(peer.items);
    mem_free(client.items);
    return error;
}

/* bbolt maps a tenth more than the quota at once, and etcd panics when that can't be. */
static void check_quota(struct member *self) {
    int64_t quota = quota_of(self->options);
    if (quota <= MAP_MAX_BYTES - MAP_MAX_BYTES / 11) return;
    struct buf path = BUF_INIT;
    buf_printf(&path, "%s/member/snap/db", self->options->data_dir);
    log_panic(self->log, "failed to open database", LOG_STRING("path", buf_cstr(&path)),
              LOG_STRING("error", "mmap too large"));
    fprintf(stderr, "panic: failed to open database\n");
    member_leave(EXIT_PANIC);
}

static enum err check_cluster(const struct options *o, struct errmsg *message) {
    struct urls_map map = {0};
    enum err error = urls_map_parse(slice_from_cstr(o->initial_cluster), &map, message);
    urls_map_release(&map);
    return error == OK ? OK : err_prefix(message, error, "error setting up initial cluster");
}

/* A member that is to join asks the others; alone in its list it has nobody to ask. */
static enum err check_join(const struct options *o, struct errmsg *message) {
    if (strcmp(o->initial_cluster_state, "existing") != 0) return OK;
    struct urls_map map = {0};
    TRY(urls_map_parse(slice_from_cstr(o->initial_cluster), &map, message));
    enum err error = urls_map_verify_join(&map, o->name, false, message);
    if (error == OK && map.count == 1)
        error = err_set(message, ERR_INVALID,
                        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the "
                        "given URLs");
    urls_map_release(&map);
    return error;
}

static enum err start_server(struct member *self, bool has_data, struct errmsg *message) {
    const struct options *o = self->options;
    if (!has_data) TRY(check_cluster(o, message));
    TRY(options_retention(o, &self->retention, message));
    tell_configuration(self, has_data, self->retention);
    warn_of_request_size(self);
    TRY(datadir_prepare(self->env, o, message));
    check_quota(self);
    datadir_wait_for_lock(self->env, o->data_dir);
    TRY(unbuilt_check_peer_files(o, message));
    if (!has_data) TRY(check_join(o, message));
    TRY(open_server(self, message));
    TRY(unbuilt_check_auth_token(o, self->log, message));
    warn_of_bcrypt_cost(self);
    return OK;
}

static void open_services(struct member *self) {
    const struct options *o = self->options;
    int64_t progress_ns = o->watch_progress_notify_interval_ns;
    struct api_options options = {
        .server = self->server,
        .watch_progress_interval_ns =
            progress_ns > 0 && progress_ns < PROGRESS_INTERVAL_MIN_NS ? PROGRESS_INTERVAL_MIN_NS : progress_ns,
        .max_request_bytes = o->max_request_bytes,
        .max_txn_ops = o->max_txn_ops,
        .cors_origins = (const char *const *)o->cors.items,
        .cors_origin_count = o->cors.count,
    };
    self->api = api_new(&options);
    doors_set_api(self->doors, self->api);
    log_info(self->log, "grpc service status changed", LOG_STRING("service", ""), LOG_STRING("status", "SERVING"));
}

static enum err start(struct member *self, bool has_data, struct errmsg *message) {
    TRY(options_validate(self->options, self->log, message));
    if (self->options->enable_v2 && strcmp(self->options->v2_deprecation, "not-yet") != 0)
        return err_set(message, ERR_INVALID, "--enable-v2 and --v2-deprecation=%s are mutually exclusive",
                       self->options->v2_deprecation);
    TRY(unbuilt_check(self->options, message));
    TRY(doors_bind_peers(self->doors, message));
    TRY(doors_bind_clients(self->doors, message));
    TRY(start_server(self, has_data, message));
    open_services(self);
    server_start(self->server);
    if (self->retention > 0)
        self->compactor = compactor_new(
            self->server,
            strcmp(self->options->auto_compaction_mode, "revision") == 0 ? COMPACTOR_REVISION : COMPACTOR_PERIODIC,
            self->retention);
    doors_open_peers(self->doors);
    TRY(doors_open_metrics(self->doors, message));
    tell_serving(self);
    return OK;
}

enum err member_start(struct member *self, bool has_data, struct errmsg *message) {
    enum err error = start(self, has_data, message);
    if (error != OK) {
        tell_end(self, "closing etcd server");
        tell_end(self, "closed etcd server");
    }
    return error;
}

int member_run(struct member *self) {
    net_loop_run(self->loop);
    return self->signal_number;
}

void member_free(struct member *self) {
    compactor_free(self->compactor);
    server_close(self->server);
    api_free(self->api);
    doors_free(self->doors);
    tell_end(self, "closed etcd server");
    os_world_free(self->world);
    net_loop_free(self->loop);
    mem_free(self);
}
