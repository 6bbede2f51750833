/* lease.c - the Lease service. Grants and revocations go through raft; renewals and times to live are the leader's
 * lessor's; the list is the local one's (spec/apply.md 11). */
#include "api/internal.h"
#include "lease/lessor.h"

/* ---- grant, revoke ---- */

/* A client that leaves the id to us gets a positive one. */
static void grant(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    Etcdserverpb__LeaseGrantRequest *request = api__request(call, &etcdserverpb__lease_grant_request__descriptor);
    if (request == NULL || !api__require_user(call)) return;
    struct slice encoded = grpc_call_message(call);
    if (request->id == 0) {
        while (request->id == 0) request->id = (int64_t)(server_next_id(self->server) & INT64_MAX);
        encoded = pb_pack_arena(request, grpc_call_arena(call));
    }
    api__propose(self, call, SERVER_OP_LEASE_GRANT, request, encoded);
}

static void revoke(struct grpc_call *call) {
    const Etcdserverpb__LeaseRevokeRequest *request =
        api__request(call, &etcdserverpb__lease_revoke_request__descriptor);
    if (request == NULL || !api__require_user(call)) return;
    api__propose(grpc_call_service(call), call, SERVER_OP_LEASE_REVOKE, request, grpc_call_message(call));
}

/* ---- time to live ---- */

struct time_to_live {
    struct server_lease_call lease_call;
    struct api *api;
    struct grpc_call *call;
};

static void append_keys(struct api *self, int64_t lease, struct buf *body) {
    struct lessor *lessor = server_lessor(self->server);
    struct lease_info info;
    if (!lessor_lookup(lessor, lease, &info) || info.key_count == 0) return;
    struct slice *keys = NEW_ARRAY(struct slice, info.key_count);
    lessor_keys(lessor, lease, keys);
    for (size_t i = 0; i < info.key_count; i++) api__append_bytes(body, 5, keys[i]);
    mem_free(keys);
}

/* A lease that is not there is an answer, not an error. */
static void time_to_live_known(struct server_lease_call *lease_call) {
    struct time_to_live *self = CONTAINER_OF(lease_call, struct time_to_live, lease_call);
    bool is_missing = lease_call->error == ERR_LEASE_NOT_FOUND;
    if (lease_call->error != OK && !is_missing) {
        grpc_call_fail(self->call, lease_call->error);
        return;
    }
    enum err error = /* the keys may be others by now */
        lease_call->with_keys ? api__check_lease_keys(self->api, self->call, lease_call->lease, false) : OK;
    if (error != OK) {
        grpc_call_fail(self->call, error);
        return;
    }
    struct buf body = BUF_INIT;
    api__append_uint(&body, 2, (uint64_t)lease_call->lease);
    api__append_uint(&body, 3, (uint64_t)(is_missing ? -1 : lease_call->ttl_s));
    if (!is_missing) {
        api__append_uint(&body, 4, (uint64_t)lease_call->granted_ttl_s);
        if (lease_call->with_keys) append_keys(self->api, lease_call->lease, &body);
    }
    api__reply(self->api, self->call, store_revision(server_store(self->api->server)), buf_slice(&body));
    buf_release(&body);
}

static void time_to_live(struct grpc_call *call) {
    const Etcdserverpb__LeaseTimeToLiveRequest *request =
        api__request(call, &etcdserverpb__lease_time_to_live_request__descriptor);
    if (request == NULL || !api__require_user(call)) return;
    if (request->keys) {
        enum err error = api__check_lease_keys(grpc_call_service(call), call, request->id, false);
        if (error != OK) {
            grpc_call_fail(call, error);
            return;
        }
    }
    struct time_to_live *self = ARENA_NEW(grpc_call_arena(call), struct time_to_live);
    self->api = grpc_call_service(call);
    self->call = call;
    self->lease_call =
        (struct server_lease_call){.lease = request->id, .with_keys = request->keys, .callback = time_to_live_known};
    grpc_call_set_context(call, self);
    enum err error = server_lease_time_to_live(self->api->server, &self->lease_call);
    if (error != OK) grpc_call_fail(call, error);
}

static void time_to_live_cancelled(struct grpc_call *call) {
    struct time_to_live *self = grpc_call_context(call);
    if (self != NULL) server_lease_call_cancel(self->api->server, &self->lease_call);
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}

/* ---- list ---- */

static void leases(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    if (api__request(call, &etcdserverpb__lease_leases_request__descriptor) == NULL) return;
    if (!api__require_user(call)) return;
    struct lessor *lessor = server_lessor(self->server);
    size_t count = lessor_count(lessor);
    int64_t *ids = NEW_ARRAY(int64_t, count);
    lessor_list(lessor, ids);
    enum err error = OK;
    for (size_t i = 0; i < count && error == OK && api__auth_is_on(self); i++)
        error = api__check_lease_keys(self, call, ids[i], false);
    if (error != OK) {
        mem_free(ids);
        grpc_call_fail(call, error);
        return;
    }
    struct buf body = BUF_INIT;
    for (size_t i = 0; i < count; i++) {
        uint8_t status[1 + VARINT_MAX_BYTES] = {1 << 3};
        size_t len = 1 + varint_store(status + 1, (uint64_t)ids[i]);
        api__append_bytes(&body, 2, slice_make(status, len));
    }
    mem_free(ids);
    api__reply(self, call, store_revision(server_store(self->server)), buf_slice(&body));
    buf_release(&body);
}

/* ---- keepalive: one renewal after another, in the order asked ---- */

struct keepalive_stream {
    struct api *api;
    struct grpc_call *call;
    struct server_lease_call renewal;
    bool is_renewing;
    bool has_half_closed;
    bool is_held_back;       /* enough of them wait */
    int64_t header_revision; /* taken before renewing */
    VEC(int64_t) waiting;    /* lease ids */
    size_t next;
    struct arena arena;
};

static void stream_free(struct keepalive_stream *self) {
    grpc_call_set_context(self->call, NULL);
    VEC_RELEASE(&self->waiting);
    arena_release(&self->arena);
    mem_free(self);
}

static void renew_next(struct keepalive_stream *self);

static void fail_stream(struct keepalive_stream *self, enum err error) {
    struct grpc_call *call = self->call;
    stream_free(self);
    grpc_call_fail(call, error);
}

static void renewed(struct server_lease_call *renewal) {
    struct keepalive_stream *self = CONTAINER_OF(renewal, struct keepalive_stream, renewal);
    self->is_renewing = false;
    if (renewal->error != OK && renewal->error != ERR_LEASE_NOT_FOUND) {
        fail_stream(self, renewal->error);
        return;
    }
    struct buf body = BUF_INIT;
    api__append_uint(&body, 2, (uint64_t)renewal->lease);
    api__append_uint(&body, 3, renewal->error == OK ? (uint64_t)renewal->ttl_s : 0);
    api__send(self->api, self->call, self->header_revision, buf_slice(&body));
    buf_release(&body);
    renew_next(self);
}

/* Gives back what was taken from the queue's beginning. */
static void tidy(struct keepalive_stream *self) {
    if (self->next != self->waiting.count && self->next < API_KEEPALIVES_PER_STREAM) return;
    size_t left = self->waiting.count - self->next;
    if (left != 0) memmove(self->waiting.items, self->waiting.items + self->next, left * sizeof *self->waiting.items);
    self->waiting.count = left;
    self->next = 0;
}

static void renew_next(struct keepalive_stream *self) {
    tidy(self);
    if (self->waiting.count == 0) {
        if (!self->has_half_closed) return;
        struct grpc_call *call = self->call;
        stream_free(self);
        grpc_call_finish(call);
        return;
    }
    self->renewal = (struct server_lease_call){.lease = self->waiting.items[self->next++], .callback = renewed};
    self->header_revision = store_revision(server_store(self->api->server));
    enum err error = api__check_lease_keys(self->api, self->call, self->renewal.lease, true);
    if (error == OK) error = server_lease_renew(self->api->server, &self->renewal);
    if (error != OK) {
        fail_stream(self, error);
        return;
    }
    self->is_renewing = true;
    if (!self->is_held_back || self->waiting.count - self->next > API_KEEPALIVES_PER_STREAM / 2) return;
    self->is_held_back = false;
    grpc_call_hold_back(self->call, false); /* the stream may have ended then */
}

static void keepalive(struct grpc_call *call) {
    struct keepalive_stream *self = NEW(struct keepalive_stream);
    self->api = grpc_call_service(call);
    self->call = call;
    arena_init(&self->arena, 256);
    grpc_call_set_context(call, self);
}

static void keepalive_message(struct grpc_call *call, struct slice message) {
    struct keepalive_stream *self = grpc_call_context(call);
    if (self == NULL) return;
    arena_reset(&self->arena);
    const Etcdserverpb__LeaseKeepAliveRequest *request =
        pb_unpack(&etcdserverpb__lease_keep_alive_request__descriptor, message, &self->arena);
    if (request == NULL) {
        if (self->is_renewing) server_lease_call_cancel(self->api->server, &self->renewal);
        stream_free(self);
        api__fail_malformed(call);
        return;
    }
    VEC_PUSH(&self->waiting, request->id);
    if (self->waiting.count - self->next >= API_KEEPALIVES_PER_STREAM) {
        self->is_held_back = true;
        grpc_call_hold_back(call, true);
    }
    if (!self->is_renewing) renew_next(self);
}

static void keepalive_half_close(struct grpc_call *call) {
    struct keepalive_stream *self = grpc_call_context(call);
    if (self == NULL) return;
    self->has_half_closed = true;
    if (!self->is_renewing) renew_next(self);
}

static void keepalive_cancelled(struct grpc_call *call) {
    struct keepalive_stream *self = grpc_call_context(call);
    if (self != NULL) {
        if (self->is_renewing) server_lease_call_cancel(self->api->server, &self->renewal);
        stream_free(self);
    }
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.Lease/LeaseGrant", .on_call = grant, .on_cancel = api__propose_cancelled},
    {.path = "/etcdserverpb.Lease/LeaseRevoke", .on_call = revoke, .on_cancel = api__propose_cancelled},
    {.path = "/etcdserverpb.Lease/LeaseKeepAlive",
     .client_stream = true,
     .server_stream = true,
     .on_call = keepalive,
     .on_message = keepalive_message,
     .on_half_close = keepalive_half_close,
     .on_cancel = keepalive_cancelled},
    {.path = "/etcdserverpb.Lease/LeaseTimeToLive", .on_call = time_to_live, .on_cancel = time_to_live_cancelled},
    {.path = "/etcdserverpb.Lease/LeaseLeases", .on_call = leases},
};

void api__lease_add(struct api *self) { grpc_server_add(self->grpc, methods, sizeof methods / sizeof *methods, self); }
