/* lease.c - what the leader does about leases: lets them run out, checkpoints and renews them.
 *
 * Only the primary lessor names expired leases; their end is proposed like any other request, so all members delete
 * the same keys at the same revision. A renewal waits until everything committed is applied: a lease revoked by a
 * committed entry must not be kept alive (spec/apply.md 11). */
#include "server/internal.h"

#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"

enum err server__apply_lease_revoke(struct server *self, int64_t lease) {
    struct lease_keys keys;
    TRY(lessor_revoke(self->lessor, lease, &keys));
    if (keys.count > 0) {
        struct store_txn *txn = store_txn_begin(self->store);
        for (size_t i = 0; i < keys.count; i++) store_txn_delete_range(txn, keys.keys[i], SLICE_NONE);
        store_txn_end(txn);
    }
    lease_keys_release(&keys);
    return OK;
}

static void revoke_expired(struct server *self, int64_t now_ns) {
    int64_t ids[LESSOR_MAX_REVOKES_PER_CHECK];
    size_t count = lessor_expired(self->lessor, now_ns, ids, LESSOR_MAX_REVOKES_PER_CHECK);
    for (size_t i = 0; i < count; i++) {
        Etcdserverpb__LeaseRevokeRequest revoke = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
        revoke.id = ids[i];
        server__propose_message(self, SERVER_OP_LEASE_REVOKE, &revoke);
        self->stats.lease_expired++;
    }
}

static void propose_checkpoints(struct server *self, int64_t now_ns) {
    struct lease_checkpoint due[LESSOR_MAX_CHECKPOINTS_PER_REQUEST];
    size_t count = lessor_due_checkpoints(self->lessor, now_ns, due, LESSOR_MAX_CHECKPOINTS_PER_REQUEST);
    if (count == 0) return;
    Etcdserverpb__LeaseCheckpoint *checkpoints = NEW_ARRAY(Etcdserverpb__LeaseCheckpoint, count);
    Etcdserverpb__LeaseCheckpoint **pointers = NEW_ARRAY(Etcdserverpb__LeaseCheckpoint *, count);
    for (size_t i = 0; i < count; i++) {
        etcdserverpb__lease_checkpoint__init(&checkpoints[i]);
        checkpoints[i].id = due[i].id;
        checkpoints[i].remaining_ttl = due[i].remaining_ttl_s;
        pointers[i] = &checkpoints[i];
    }
    Etcdserverpb__LeaseCheckpointRequest request = ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    request.n_checkpoints = count;
    request.checkpoints = pointers;
    server__propose_message(self, SERVER_OP_LEASE_CHECKPOINT, &request);
    mem_free(pointers);
    mem_free(checkpoints);
}

static void expire_calls(struct server *self, int64_t now_ns) {
    LIST_FOREACH (link, &self->lease_calls) {
        struct server_lease_call *call = CONTAINER_OF(link, struct server_lease_call, link);
        if (now_ns - call->asked_ns < self->request_timeout_ns) break;
        list_remove(&call->link);
        call->error = ERR_TIMEOUT;
        call->callback(call);
    }
}

void server__lease_tick(struct server *self, int64_t now_ns) {
    expire_calls(self, now_ns);
    if (now_ns < self->next_expiry_check_ns) return;
    self->next_expiry_check_ns = now_ns + LESSOR_CHECK_INTERVAL_NS;
    if (!lessor_is_primary(self->lessor)) return;
    revoke_expired(self, now_ns);
    propose_checkpoints(self, now_ns);
}

/* Promotion waits for the first commit in the term (apply.c): until then the log may hold revocations unapplied. */
void server__leadership_changed(struct server *self, bool is_leader) {
    if (!is_leader) lessor_demote(self->lessor);
}

/* ---- renewals and time to live ---- */

static void renew(struct server *self, struct server_lease_call *call, int64_t now_ns) {
    bool clear_checkpoint;
    call->error = lessor_renew(self->lessor, call->lease, now_ns, &call->ttl_s, &clear_checkpoint);
    if (call->error != OK || !clear_checkpoint) return;
    Etcdserverpb__LeaseCheckpoint checkpoint = ETCDSERVERPB__LEASE_CHECKPOINT__INIT;
    checkpoint.id = call->lease;
    Etcdserverpb__LeaseCheckpoint *pointer = &checkpoint;
    Etcdserverpb__LeaseCheckpointRequest request = ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    request.n_checkpoints = 1;
    request.checkpoints = &pointer;
    server__propose_message(self, SERVER_OP_LEASE_CHECKPOINT, &request);
}

static void time_to_live(struct server *self, struct server_lease_call *call, int64_t now_ns) {
    struct lease_info info;
    if (!lessor_is_primary(self->lessor)) {
        call->error = ERR_NOT_PRIMARY;
    } else if (!lessor_lookup(self->lessor, call->lease, &info) || info.expiry_ns <= now_ns) {
        call->error = ERR_LEASE_NOT_FOUND;
    } else {
        call->error = OK;
        call->ttl_s = (info.expiry_ns - now_ns) / NS_PER_S;
        call->granted_ttl_s = info.ttl_s;
    }
}

void server__release_lease_calls(struct server *self) {
    if (list_is_empty(&self->lease_calls)) return;
    if (self->applied_index < self->committed_index || !lessor_is_primary(self->lessor)) return;
    struct list ready;
    list_init(&ready);
    list_splice_back(&ready, &self->lease_calls);
    int64_t now_ns = env_now_ns(self->env);
    while (!list_is_empty(&ready)) {
        struct server_lease_call *call = CONTAINER_OF(ready.next, struct server_lease_call, link);
        list_remove(&call->link);
        if (call->is_renewal)
            renew(self, call, now_ns);
        else
            time_to_live(self, call, now_ns);
        call->callback(call);
    }
}

static enum err ask(struct server *self, struct server_lease_call *call, bool is_renewal) {
    if (self->state != SERVER_RUNNING) return ERR_STOPPED;
    call->is_renewal = is_renewal;
    call->asked_ns = env_now_ns(self->env);
    list_push_back(&self->lease_calls, &call->link);
    server__want_turn(self);
    return OK;
}

enum err server_lease_renew(struct server *self, struct server_lease_call *call) { return ask(self, call, true); }
enum err server_lease_time_to_live(struct server *self, struct server_lease_call *call) {
    return ask(self, call, false);
}

void server_lease_call_cancel(struct server *self, struct server_lease_call *call) {
    if (call->link.next != NULL) list_remove(&call->link);
}

void server__fail_all_lease_calls(struct server *self, enum err error) {
    while (!list_is_empty(&self->lease_calls)) {
        struct server_lease_call *call = CONTAINER_OF(self->lease_calls.next, struct server_lease_call, link);
        list_remove(&call->link);
        call->error = error;
        call->callback(call);
    }
}
