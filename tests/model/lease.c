/* lease.c - leases: granted, renewed, revoked; and asking. */
#include "model/private.h"

#define NS_PER_S INT64_C(1000000000)
#define MIN_TTL_S 2 /* with the default election timeout of one second */
#define LEASE_KEYS_MAX 4096
/* The server began to count this much before its answer was here, at most. */
#define EARLY_NS (NS_PER_S / 5)

struct model_lease *model__lease(struct model *self, int64_t id) {
    for (size_t i = 0; i < self->leases.count; i++)
        if (self->leases.items[i].id == id) return &self->leases.items[i];
    return NULL;
}

size_t model_lease_count(const struct model *self) { return self->leases.count; }
int64_t model_lease_id(const struct model *self, size_t index) { return self->leases.items[index].id; }

/* In the order of keys: so they are deleted as well. */
size_t model_lease_keys(struct model *self, int64_t lease, struct slice *keys, size_t limit) {
    size_t count = 0;
    model__look(self, self->revision);
    for (size_t i = 0; i < self->keys.count && count < limit; i++) {
        const struct model_record *record = self->keys.items[i]->seen;
        if (record != NULL && !record->is_delete && record->lease == lease) keys[count++] = self->keys.items[i]->name;
    }
    return count;
}

void model__revoke(struct model *self, struct model_lease *lease) {
    struct slice *keys = NEW_ARRAY(struct slice, LEASE_KEYS_MAX);
    size_t count = model_lease_keys(self, lease->id, keys, LEASE_KEYS_MAX);
    for (size_t i = 0; i < count; i++) model__delete_key(self, keys[i]);
    mem_free(keys);
    model__commit(self);
    *lease = self->leases.items[--self->leases.count];
}

const char *model_expire(struct model *self, int64_t id) {
    struct model_lease *lease = model__lease(self, id);
    if (lease == NULL) return "there is no such lease";
    if (lease->until_ns > self->now_ns + EARLY_NS) return "its time has not come";
    model__revoke(self, lease);
    return NULL;
}

bool model_is_overdue(const struct model *self, size_t lease_index, int64_t grace_ns) {
    const struct model_lease *lease = &self->leases.items[lease_index];
    return lease->until_ns + lease->slack_ns + grace_ns < self->now_ns;
}

int64_t model_next_expiry_ns(const struct model *self) {
    int64_t next_ns = INT64_MAX;
    for (size_t i = 0; i < self->leases.count; i++)
        if (self->leases.items[i].until_ns < next_ns) next_ns = self->leases.items[i].until_ns;
    return next_ns;
}

/* A new leader gives every lease its whole time again, and an election more. */
void model_restart(struct model *self) {
    for (size_t i = 0; i < MODEL_STREAMS_MAX; i++) model_stream_close(self, i);
    for (size_t i = 0; i < self->leases.count; i++) {
        struct model_lease *lease = &self->leases.items[i];
        lease->until_ns = self->now_ns + lease->granted_ttl_s * NS_PER_S;
        lease->slack_ns = 10 * NS_PER_S;
    }
}

static enum err grant(struct model *self, const Etcdserverpb__LeaseGrantRequest *request, struct arena *arena,
                      void **ret_message) {
    if (request->id == 0) return ERR_LEASE_NOT_FOUND;
    if (request->ttl > MODEL_LEASE_TTL_MAX) return ERR_LEASE_TTL_TOO_LARGE;
    if (model__lease(self, request->id) != NULL) return ERR_LEASE_EXISTS;
    int64_t ttl_s = request->ttl < MIN_TTL_S ? MIN_TTL_S : request->ttl;
    struct model_lease lease = {.id = request->id, .granted_ttl_s = ttl_s, .until_ns = self->now_ns + ttl_s * NS_PER_S};
    VEC_PUSH(&self->leases, lease);
    Etcdserverpb__LeaseGrantResponse *response = model__make(arena, &etcdserverpb__lease_grant_response__descriptor);
    response->id = request->id;
    response->ttl = ttl_s;
    response->header = model__header(self->revision, arena);
    *ret_message = response;
    return OK;
}

static enum err revoke(struct model *self, const Etcdserverpb__LeaseRevokeRequest *request, struct arena *arena,
                       void **ret_message) {
    struct model_lease *lease = model__lease(self, request->id);
    if (lease == NULL) return ERR_LEASE_NOT_FOUND;
    model__revoke(self, lease);
    Etcdserverpb__LeaseRevokeResponse *response = model__make(arena, &etcdserverpb__lease_revoke_response__descriptor);
    response->header = model__header(self->revision, arena);
    *ret_message = response;
    return OK;
}

static void time_to_live(struct model *self, const Etcdserverpb__LeaseTimeToLiveRequest *request, struct arena *arena,
                         struct model_answer *ret_answer) {
    Etcdserverpb__LeaseTimeToLiveResponse *response =
        model__make(arena, &etcdserverpb__lease_time_to_live_response__descriptor);
    response->header = model__header(self->revision, arena);
    response->id = request->id;
    ret_answer->message = response;
    const struct model_lease *lease = model__lease(self, request->id);
    if (lease == NULL) {
        response->ttl = -1;
        return;
    }
    response->grantedttl = lease->granted_ttl_s;
    response->ttl = (lease->until_ns - self->now_ns) / NS_PER_S;
    ret_answer->ttl_slack_s = 2 + lease->slack_ns / NS_PER_S;
    if (!request->keys) return;
    struct slice *keys = ARENA_ARRAY(arena, struct slice, self->keys.count + 1);
    response->n_keys = model_lease_keys(self, request->id, keys, self->keys.count);
    response->keys = ARENA_ARRAY(arena, ProtobufCBinaryData, response->n_keys + 1);
    for (size_t i = 0; i < response->n_keys; i++) response->keys[i] = pb_bytes(keys[i]);
}

static void *leases(struct model *self, struct arena *arena) {
    Etcdserverpb__LeaseLeasesResponse *response = model__make(arena, &etcdserverpb__lease_leases_response__descriptor);
    response->header = model__header(self->revision, arena);
    response->n_leases = self->leases.count;
    response->leases = ARENA_ARRAY(arena, Etcdserverpb__LeaseStatus *, self->leases.count + 1);
    for (size_t i = 0; i < self->leases.count; i++) {
        response->leases[i] = model__make(arena, &etcdserverpb__lease_status__descriptor);
        response->leases[i]->id = self->leases.items[i].id;
    }
    return response;
}

static void *keep_alive(struct model *self, const Etcdserverpb__LeaseKeepAliveRequest *request, struct arena *arena) {
    Etcdserverpb__LeaseKeepAliveResponse *response =
        model__make(arena, &etcdserverpb__lease_keep_alive_response__descriptor);
    response->header = model__header(self->revision, arena);
    response->id = request->id;
    struct model_lease *lease = model__lease(self, request->id);
    if (lease == NULL) return response;
    lease->until_ns = self->now_ns + lease->granted_ttl_s * NS_PER_S;
    lease->slack_ns = 0;
    response->ttl = lease->granted_ttl_s;
    return response;
}

enum err model__ask_lease(struct model *self, enum model_method method, const void *request, struct arena *arena,
                          struct model_answer *ret_answer) {
    switch (method) {
    case MODEL_GRANT: return grant(self, request, arena, &ret_answer->message);
    case MODEL_REVOKE: return revoke(self, request, arena, &ret_answer->message);
    case MODEL_TIME_TO_LIVE: time_to_live(self, request, arena, ret_answer); return OK;
    case MODEL_LEASES: ret_answer->message = leases(self, arena); return OK;
    default: ret_answer->message = keep_alive(self, request, arena); return OK;
    }
}
