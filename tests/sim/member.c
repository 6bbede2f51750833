/* member.c - server, services and HTTP put together on a machine, as etcd/member.c does in the real world. */
#include "sim/member.h"

#include "api/api.h"
#include "base/check.h"
#include "base/mem.h"
#include "http/server.h"
#include "mvcc/store.h"

#include <stdio.h>

#define PRODUCE_BYTES (64 * 1024)

struct sim_member {
    struct sim_net *net;
    struct sim_machine *machine;
    struct server *server;
    struct api *api;
    struct http_server *http;
    struct list conns;
    char address[64];
    bool is_ready;
    bool is_stopped;
    int failed;
};

/* ---- connections ---- */

struct conn {
    struct list link;
    struct sim_member *member;
    struct sim_end *end;
    struct http_conn *http;
    struct http_conn_owner owner;
    struct env_timer flush; /* what the real loop does at the end of a turn */
    struct buf output;
};

static void conn_free(struct conn *self, enum sim_close how) {
    env_timer_stop(sim_machine_env(self->member->machine), &self->flush);
    http_conn_free(self->http);
    sim_end_close(self->end, how);
    list_remove(&self->link);
    buf_release(&self->output);
    mem_free(self);
}

static void flush(struct env_timer *timer) {
    struct conn *self = timer->context;
    bool has_more = false;
    if (sim_end_unsent(self->end) == 0) {
        buf_clear(&self->output);
        has_more = http_conn_produce(self->http, &self->output, PRODUCE_BYTES);
        sim_end_send(self->end, buf_slice(&self->output));
        if (!has_more && http_conn_is_finished(self->http)) {
            conn_free(self, SIM_CLOSE_ORDERLY);
            return;
        }
    }
    sim_end_hold(self->end, !http_conn_wants_read(self->http));
}

static void want_flush(struct http_conn_owner *owner) {
    struct conn *self = CONTAINER_OF(owner, struct conn, owner);
    if (!env_timer_is_running(&self->flush)) env_timer_start(sim_machine_env(self->member->machine), &self->flush, 0);
}

static void conn_received(void *context, struct sim_end *end, struct slice bytes) {
    struct conn *self = context;
    http_conn_receive(self->http, bytes);
    want_flush(&self->owner);
}

static void conn_ended(void *context, struct sim_end *end, enum err error) {
    struct conn *self = context;
    if (error != OK) {
        conn_free(self, SIM_CLOSE_RESET);
        return;
    }
    http_conn_receive_end(self->http);
    want_flush(&self->owner);
}

static void conn_drained(void *context, struct sim_end *end) { want_flush(&((struct conn *)context)->owner); }

static void accept_conn(void *context, struct sim_end *end) {
    static const struct sim_end_events events = {
        .received = conn_received, .ended = conn_ended, .drained = conn_drained};
    struct sim_member *self = context;
    struct conn *conn = NEW(struct conn);
    *conn = (struct conn){.member = self, .end = end, .owner = {want_flush}};
    conn->flush = (struct env_timer){.callback = flush, .context = conn};
    struct http_conn_info info = {.peer = sim_end_peer(end)};
    conn->http = http_conn_new(self->http, &conn->owner, &info);
    list_push_back(&self->conns, &conn->link);
    sim_end_set_events(end, &events, conn);
}

static void on_request(void *context, struct http_request *request) {
    struct sim_member *self = context;
    if (request->version_major == 2)
        grpc_server_handle(api_grpc(self->api), request);
    else
        api_handle_http(self->api, request);
}

/* ---- life ---- */

static void on_ready(void *context) {
    struct sim_member *self = context;
    self->is_ready = true;
    sim_net_listen(self->net, self->machine, self->address, accept_conn, self);
}

static void on_failed(void *context, int exit_status) { ((struct sim_member *)context)->failed = exit_status; }
static void on_stopped(void *context) { ((struct sim_member *)context)->is_stopped = true; }
static bool is_stopped(void *context) { return ((struct sim_member *)context)->is_stopped; }

static void fill_config(const struct sim_member_options *options, struct server_config *config) {
    config->data_dir = SIM_DATA_DIR;
    config->wal_segment_bytes = options->segment_bytes;
    config->bcrypt_cost = PASSWORD_MIN_COST;
    config->unsafe_no_fsync = options->unsafe_no_fsync;
    config->lease_checkpoint = config->lease_checkpoint_persist = options->lease_checkpoints;
    config->quota_backend_bytes = options->quota_bytes;
    config->backend_batch_interval_ns = options->batch_interval_ns;
    if (options->name != NULL) config->name = options->name;
    if (options->snapshot_count != 0) config->snapshot_count = options->snapshot_count;
    if (options->catch_up_entries != 0) config->snapshot_catch_up_entries = options->catch_up_entries;
    if (options->max_txn_ops != 0) config->max_txn_ops = options->max_txn_ops;
    if (options->max_request_bytes != 0) config->max_request_bytes = options->max_request_bytes;
    if (options->max_snapshots != 0) config->max_snapshots = options->max_snapshots;
    if (options->max_wals != 0) config->max_wals = options->max_wals;
}

static void open_services(struct sim_member *self) {
    const struct server_config *config = server_config_of(self->server);
    struct api_options api_options = {
        .server = self->server, .max_request_bytes = config->max_request_bytes, .max_txn_ops = config->max_txn_ops};
    self->api = api_new(&api_options);
    struct http_server_options http_options = {
        .env = sim_machine_env(self->machine), .on_request = on_request, .context = self};
    self->http = http_server_new(&http_options);
}

struct sim_member *sim_member_start(struct sim_net *net, struct sim_machine *machine,
                                    const struct sim_member_options *options, struct errmsg *message) {
    static const char *const peer_urls[] = {"http://localhost:2380"}, *const client_urls[] = {"http://localhost:2379"};
    struct sim_member *self = NEW(struct sim_member);
    *self = (struct sim_member){.net = net, .machine = machine};
    snprintf(self->address, sizeof self->address, "%s", options->address);
    list_init(&self->conns);
    struct server_config config;
    server_config_init(&config);
    config.advertise_peer_urls = peer_urls;
    config.advertise_client_urls = client_urls;
    config.advertise_peer_url_count = config.advertise_client_url_count = 1;
    fill_config(options, &config);
    struct server_hooks hooks = {.context = self, .ready = on_ready, .failed = on_failed};
    if (server_open(sim_machine_env(machine), &config, &hooks, &self->server, message) != OK) {
        mem_free(self);
        return NULL;
    }
    open_services(self);
    server_start(self->server);
    return self;
}

struct server *sim_member_server(struct sim_member *self) {
    return self->server;
}
bool sim_member_is_ready(const struct sim_member *self) { return self->is_ready; }
int sim_member_failed(const struct sim_member *self) { return self->failed; }

static bool is_ready_or_failed(void *context) {
    struct sim_member *self = context;
    return self->is_ready || self->failed != 0;
}

bool sim_member_wait_ready(struct sim_member *self) {
    return sim_run_until(sim_machine_world(self->machine), is_ready_or_failed, self, 60 * SIM_S_NS) && self->is_ready;
}

static void close_services(struct sim_member *self, enum sim_close how) {
    if (self->is_ready) sim_net_unlisten(self->net, self->address);
    while (!list_is_empty(&self->conns)) conn_free(CONTAINER_OF(self->conns.next, struct conn, link), how);
}

static void member_free(struct sim_member *self) {
    server_close(self->server);
    api_free(self->api);
    http_server_free(self->http);
    mem_free(self);
}

void sim_member_stop(struct sim_member *self) {
    api_stop(self->api);
    close_services(self, SIM_CLOSE_ORDERLY);
    server_stop(self->server, on_stopped, self);
    CHECK(sim_run_until(sim_machine_world(self->machine), is_stopped, self, 60 * SIM_S_NS));
    member_free(self);
}

void sim_member_drop(struct sim_member *self, enum sim_close connections) {
    api_stop(self->api);
    close_services(self, connections);
    if (self->failed == 0)
        server_stop(self->server, on_stopped, self);
    else /* a process would be gone, and what the store has under way with it */
        store_stop(server_store(self->server), on_stopped, self);
    sim_machine_drain(self->machine, is_stopped, self, 1000000);
    member_free(self);
}
