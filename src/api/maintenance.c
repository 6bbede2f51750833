/* maintenance.c - the Maintenance service but for Snapshot (snapshot.c): what a member tells of itself. */
#include "api/internal.h"
#include "backend/backend.h"

/* ---- status ---- */

static void append_alarm_text(struct buf *body, const struct server_alarm *alarm) {
    struct buf text = BUF_INIT;
    buf_cstr(&text);
    if (alarm->member_id != 0) buf_printf(&text, "memberID:%llu ", (unsigned long long)alarm->member_id);
    if (alarm->type == 1)
        buf_append_cstr(&text, "alarm:NOSPACE ");
    else if (alarm->type == 2)
        buf_append_cstr(&text, "alarm:CORRUPT ");
    else if (alarm->type != 0)
        buf_printf(&text, "alarm:%d ", alarm->type);
    api__append_bytes(body, 8, buf_slice(&text));
    buf_release(&text);
}

static void status(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    if (api__request(call, &etcdserverpb__status_request__descriptor) == NULL) return;
    if (!api__require_user(call)) return;
    struct server_status status;
    server_status(self->server, &status);
    struct backend *backend = server_backend(self->server);
    const struct server_alarm *alarms;
    size_t alarm_count = server_alarms(self->server, &alarms);
    struct buf body = BUF_INIT;
    api__append_bytes(&body, 2, slice_from_cstr(SERVER_VERSION));
    api__append_uint(&body, 3, backend_size_bytes(backend));
    api__append_uint(&body, 4, status.leader);
    api__append_uint(&body, 5, status.raft_index);
    api__append_uint(&body, 6, status.raft_term);
    api__append_uint(&body, 7, status.raft_applied_index);
    if (status.leader == 0) api__append_bytes(&body, 8, slice_from_cstr(err_text(ERR_NO_LEADER)));
    for (size_t i = 0; i < alarm_count; i++) append_alarm_text(&body, &alarms[i]);
    api__append_uint(&body, 9, backend_size_in_use_bytes(backend));
    api__append_uint(&body, 10, status.is_learner);
    api__reply(self, call, store_revision(server_store(self->server)), buf_slice(&body));
    buf_release(&body);
}

/* ---- the whole database's hash: after a commit, on a pool thread ---- */

struct hashing {
    struct env_job job;
    struct backend_waiter committed;
    struct api *api;
    struct grpc_call *call;
    struct backend_view *view;
    int64_t revision;
    uint32_t hash;
    enum err error;
};

static void hash_run(struct env_job *job) {
    struct hashing *self = CONTAINER_OF(job, struct hashing, job);
    self->error = backend_view_hash(self->view, false, &self->hash);
}

static void answer_hash(struct hashing *self) {
    struct buf body = BUF_INIT;
    api__append_uint(&body, 2, self->hash);
    api__reply(self->api, self->call, self->revision, buf_slice(&body));
    buf_release(&body);
}

static void hash_done(struct env_job *job) {
    struct hashing *self = CONTAINER_OF(job, struct hashing, job);
    backend_view_unref(self->view);
    self->api->hashes_open--;
    if (self->error != OK)
        grpc_call_fail(self->call, self->error);
    else
        answer_hash(self);
    mem_free(self);
}

static void hash_committed(struct backend_waiter *waiter, enum err error) {
    struct hashing *self = CONTAINER_OF(waiter, struct hashing, committed);
    if (error != OK) {
        self->api->hashes_open--;
        grpc_call_fail(self->call, error);
        mem_free(self);
        return;
    }
    self->view = backend_view(server_backend(self->api->server), BACKEND_VIEW_ALL);
    self->revision = store_revision(server_store(self->api->server));
    self->job.run = hash_run;
    self->job.done = hash_done;
    env_pool_submit(self->api->env, &self->job);
}

/* False: there are enough of these calls, and this one is answered. */
static bool may_open(struct grpc_call *call, size_t *open, size_t max) {
    if (*open >= max) {
        grpc_call_fail(call, ERR_TOO_MANY_REQUESTS);
        return false;
    }
    ++*open;
    return true;
}

/* A cancelled call lives on until its job is done: the handle may be answered late. */
static void hash(struct grpc_call *call) {
    struct api *api = grpc_call_service(call);
    if (api__request(call, &etcdserverpb__hash_request__descriptor) == NULL) return;
    if (!api__require_admin_bare(call) || !may_open(call, &api->hashes_open, API_HASHES_MAX)) return;
    struct hashing *self = NEW(struct hashing);
    self->api = api;
    self->call = call;
    self->committed.callback = hash_committed;
    backend_commit(server_backend(self->api->server), &self->committed);
}

/* ---- HashKV ---- */

static void hash_kv_done(void *context, enum err error, const struct store_hash *hash) {
    struct grpc_call *call = context;
    ((struct api *)grpc_call_service(call))->hashes_open--;
    if (error != OK) {
        grpc_call_fail(call, error);
        return;
    }
    struct buf body = BUF_INIT;
    api__append_uint(&body, 2, hash->hash);
    api__append_uint(&body, 3, (uint64_t)hash->compact_revision);
    api__reply(grpc_call_service(call), call, hash->current_revision, buf_slice(&body));
    buf_release(&body);
}

static void hash_kv(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    const Etcdserverpb__HashKVRequest *request = api__request(call, &etcdserverpb__hash_kvrequest__descriptor);
    if (request == NULL || !api__require_admin_bare(call)) return;
    if (!may_open(call, &self->hashes_open, API_HASHES_MAX)) return;
    store_hash_by_revision(server_store(self->server), request->revision, hash_kv_done, call);
}

/* ---- alarms ---- */

/* Numbers beyond those known kill a 3.5 member, some for good: refused before they reach the log. */
static void alarm_call(struct grpc_call *call) {
    const Etcdserverpb__AlarmRequest *request = api__request(call, &etcdserverpb__alarm_request__descriptor);
    if (request == NULL) return;
    int action = (int)request->action, type = (int)request->alarm;
    bool changes = action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    if (action < 0 || action > 2 || (changes && (type < 0 || type > 2))) {
        grpc_call_fail(call, ERR_INVALID_ALARM);
        return;
    }
    bool only_asks = action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET;
    if (only_asks ? !api__require_user(call) : !api__require_admin(call)) return;
    const struct server_alarm *alarms;
    if (changes && server_alarms(((struct api *)grpc_call_service(call))->server, &alarms) >= API_ALARMS_MAX) {
        grpc_call_fail(call, ERR_TOO_MANY_REQUESTS);
        return;
    }
    api__propose(grpc_call_service(call), call, SERVER_OP_ALARM, request, grpc_call_message(call));
}

/* ---- defragmentation ---- */

struct defragmenting {
    struct backend_waiter waiter;
    struct api *api;
    struct grpc_call *call;
};

static void defragmented(struct backend_waiter *waiter, enum err error) {
    struct defragmenting *self = CONTAINER_OF(waiter, struct defragmenting, waiter);
    self->api->defrags_open--;
    if (error != OK) {
        log_warn(self->api->log, "failed to defragment", LOG_ERR(error));
        grpc_call_fail(self->call, error);
    } else {
        log_info(self->api->log, "finished defragment");
        grpc_call_reply(self->call, SLICE_NONE);
    }
    mem_free(self);
}

static void defragment(struct grpc_call *call) {
    if (api__request(call, &etcdserverpb__defragment_request__descriptor) == NULL) return;
    struct api *api = grpc_call_service(call);
    if (!api__require_admin_bare(call) || !may_open(call, &api->defrags_open, API_DEFRAGS_MAX)) return;
    struct defragmenting *self = NEW(struct defragmenting);
    self->api = api;
    self->call = call;
    self->waiter.callback = defragmented;
    log_info(self->api->log, "starting defragment");
    struct backend *backend = server_backend(self->api->server);
    struct buf temporary = BUF_INIT;
    buf_printf(&temporary, "%s.tmp.%llu", backend_path(backend), (unsigned long long)env_random(self->api->env));
    backend_defrag(backend, buf_cstr(&temporary), &self->waiter);
    buf_release(&temporary);
}

/* These end by themselves, also when nobody waits any more. */
static void keep_going(struct grpc_call *call) {}

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.Maintenance/Alarm", .on_call = alarm_call, .on_cancel = api__propose_cancelled},
    {.path = "/etcdserverpb.Maintenance/Status", .on_call = status},
    {.path = "/etcdserverpb.Maintenance/Defragment", .on_call = defragment, .on_cancel = keep_going},
    {.path = "/etcdserverpb.Maintenance/Hash", .on_call = hash, .on_cancel = keep_going},
    {.path = "/etcdserverpb.Maintenance/HashKV", .on_call = hash_kv, .on_cancel = keep_going},
    {.path = "/etcdserverpb.Maintenance/Snapshot",
     .server_stream = true,
     .on_call = api__snapshot,
     .on_cancel = api__snapshot_cancelled,
     .on_drain = api__snapshot_drained},
};

void api__maintenance_add(struct api *self) {
    grpc_server_add(self->grpc, methods, sizeof methods / sizeof *methods, self);
}
