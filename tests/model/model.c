/* model.c - the unary calls: from a request to what is answered. */
#include "model/private.h"

#include "base/check.h"

static const struct model_method_info methods[MODEL_METHOD_COUNT] = {
    [MODEL_RANGE] = {"range", "/etcdserverpb.KV/Range", &etcdserverpb__range_request__descriptor,
                     &etcdserverpb__range_response__descriptor, false},
    [MODEL_PUT] = {"put", "/etcdserverpb.KV/Put", &etcdserverpb__put_request__descriptor,
                   &etcdserverpb__put_response__descriptor, false},
    [MODEL_DELETE_RANGE] = {"delete", "/etcdserverpb.KV/DeleteRange", &etcdserverpb__delete_range_request__descriptor,
                            &etcdserverpb__delete_range_response__descriptor, false},
    [MODEL_TXN] = {"txn", "/etcdserverpb.KV/Txn", &etcdserverpb__txn_request__descriptor,
                   &etcdserverpb__txn_response__descriptor, false},
    [MODEL_COMPACT] = {"compact", "/etcdserverpb.KV/Compact", &etcdserverpb__compaction_request__descriptor,
                       &etcdserverpb__compaction_response__descriptor, false},
    [MODEL_GRANT] = {"grant", "/etcdserverpb.Lease/LeaseGrant", &etcdserverpb__lease_grant_request__descriptor,
                     &etcdserverpb__lease_grant_response__descriptor, false},
    [MODEL_REVOKE] = {"revoke", "/etcdserverpb.Lease/LeaseRevoke", &etcdserverpb__lease_revoke_request__descriptor,
                      &etcdserverpb__lease_revoke_response__descriptor, false},
    [MODEL_TIME_TO_LIVE] = {"timetolive", "/etcdserverpb.Lease/LeaseTimeToLive",
                            &etcdserverpb__lease_time_to_live_request__descriptor,
                            &etcdserverpb__lease_time_to_live_response__descriptor, false},
    [MODEL_LEASES] = {"leases", "/etcdserverpb.Lease/LeaseLeases", &etcdserverpb__lease_leases_request__descriptor,
                      &etcdserverpb__lease_leases_response__descriptor, false},
    [MODEL_KEEP_ALIVE] = {"keepalive", "/etcdserverpb.Lease/LeaseKeepAlive",
                          &etcdserverpb__lease_keep_alive_request__descriptor,
                          &etcdserverpb__lease_keep_alive_response__descriptor, true},
    [MODEL_HASH_KV] = {"hashkv", "/etcdserverpb.Maintenance/HashKV", &etcdserverpb__hash_kvrequest__descriptor,
                       &etcdserverpb__hash_kvresponse__descriptor, false},
};

const struct model_method_info *model_method_info(enum model_method method) { return &methods[method]; }

/* ---- how large a request may be ---- */

/* An InternalRaftRequest: a header that holds an id of nine bytes, then the operation with its tag and length. */
static bool is_too_large(const void *request) {
    size_t size = pb_packed_size(request), header = 2 + 1 + 1 + 9, length = 1;
    for (size_t rest = size; rest >= 0x80; rest >>= 7) length++;
    return header + 1 + length + size > MODEL_MAX_REQUEST_BYTES;
}

/* Reads that change nothing do not go through the log. */
static bool goes_through_log(enum model_method method, const void *request) {
    switch (method) {
    case MODEL_PUT:
    case MODEL_DELETE_RANGE:
    case MODEL_COMPACT:
    case MODEL_GRANT:
    case MODEL_REVOKE: return true;
    case MODEL_TXN: return model__txn_is_write(request);
    default: return false;
    }
}

static enum err check(enum model_method method, const void *request) {
    switch (method) {
    case MODEL_RANGE: return model__check_range(request);
    case MODEL_PUT: return model__check_put(request);
    case MODEL_DELETE_RANGE:
        return ((const Etcdserverpb__DeleteRangeRequest *)request)->key.len == 0 ? ERR_EMPTY_KEY : OK;
    case MODEL_TXN: return model__check_txn(request);
    default: return OK;
    }
}

/* ---- calls ---- */

static enum err put(struct model *self, const Etcdserverpb__PutRequest *request, struct arena *arena, void *response) {
    if (request->lease != 0 && model__lease(self, request->lease) == NULL) return ERR_LEASE_NOT_FOUND;
    if ((request->ignore_value || request->ignore_lease) && !model__exists(self, pb_slice(request->key)))
        return ERR_KEY_NOT_FOUND;
    model__put(self, request, arena, response);
    model__commit(self);
    return OK;
}

static void keep_compact_hash(struct model *self, int64_t revision) {
    if (self->compact_hash_count == MODEL_COMPACT_HASHES) {
        self->compact_hash_count--;
        memmove(self->compact_hashes, self->compact_hashes + 1,
                self->compact_hash_count * sizeof *self->compact_hashes);
    }
    self->compact_hashes[self->compact_hash_count++] =
        (struct model_compact_hash){model__hash(self, self->compact_revision, revision, true),
                                    model__is_hash_open_at(self, revision), self->compact_revision, revision};
}

static enum err compact(struct model *self, const Etcdserverpb__CompactionRequest *request) {
    if (request->revision <= self->compact_revision) return ERR_COMPACTED;
    if (request->revision > self->revision) return ERR_FUTURE_REV;
    keep_compact_hash(self, request->revision);
    self->may_sweep = !request->physical;
    self->compact_revision = request->revision;
    model__drop_records(self, request->revision);
    model__watch_compacted(self);
    return OK;
}

static enum err ask(struct model *self, enum model_method method, const void *request, struct arena *arena,
                    struct model_answer *ret_answer) {
    void *response = model__make(arena, methods[method].response);
    ret_answer->message = response;
    switch (method) {
    case MODEL_RANGE:
        TRY(model__check_revision(self, ((const Etcdserverpb__RangeRequest *)request)->revision));
        model__range(self, request, arena, response);
        return OK;
    case MODEL_PUT: return put(self, request, arena, response);
    case MODEL_DELETE_RANGE:
        model__delete_range(self, request, arena, response);
        model__commit(self);
        return OK;
    case MODEL_TXN: return model__txn(self, request, arena, response);
    case MODEL_COMPACT:
        TRY(compact(self, request));
        ((Etcdserverpb__CompactionResponse *)response)->header = model__header(self->revision, arena);
        return OK;
    case MODEL_HASH_KV:
        return model__hash_kv(self, ((const Etcdserverpb__HashKVRequest *)request)->revision, arena, ret_answer);
    default: return model__ask_lease(self, method, request, arena, ret_answer);
    }
}

/* Every answer begins with its header. */
static void identify(const struct model *self, void *message) {
    const struct {
        ProtobufCMessage base;
        Etcdserverpb__ResponseHeader *header;
    } *answer = message;
    answer->header->cluster_id = self->identity.cluster_id;
    answer->header->member_id = self->identity.member_id;
    answer->header->raft_term = self->identity.raft_term;
}

void model_ask(struct model *self, enum model_method method, const void *request, struct arena *arena,
               struct model_answer *ret_answer) {
    *ret_answer = (struct model_answer){.text = ""};
    size_t size = pb_packed_size(request);
    if (size > MODEL_RECEIVE_MAX_BYTES) {
        ret_answer->code = 8;
        ret_answer->text =
            arena_printf(arena, "grpc: received message larger than max (%zu vs. %d)", size, MODEL_RECEIVE_MAX_BYTES);
        return;
    }
    enum err error = check(method, request);
    if (error == OK && goes_through_log(method, request) && is_too_large(request)) error = ERR_REQUEST_TOO_LARGE;
    if (error == OK) error = ask(self, method, request, arena, ret_answer);
    if (ret_answer->other_message != NULL) identify(self, ret_answer->other_message);
    if (error != OK) {
        ret_answer->message = NULL;
        ret_answer->code = err_grpc_code(error);
        ret_answer->text = err_text(error);
        return;
    }
    identify(self, ret_answer->message);
}
