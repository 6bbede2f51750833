/* codec.c - requests and answers of every method, see codec.h. */
#include "client/codec.h"

#include "base/check.h"
#include "base/mem.h"
#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"

struct slice client_slice(struct etcd_bytes bytes) {
    return slice_make(bytes.data, bytes.len);
}
struct etcd_bytes client_bytes(struct slice bytes) {
    return etcd_bytes_of(bytes.data, bytes.len);
}

static ProtobufCBinaryData to_pb(struct etcd_bytes bytes) { return pb_bytes(client_slice(bytes)); }
static struct etcd_bytes from_pb(ProtobufCBinaryData bytes) { return etcd_bytes_of(bytes.data, bytes.len); }

/* protobuf-c's strings are not const, but packing only reads them. */
static char **to_pb_texts(const char *const *texts) { return (char **)(uintptr_t)texts; }

/* ---- answers: shared parts ---- */

static struct etcd_header header_from(const Etcdserverpb__ResponseHeader *header) {
    struct etcd_header plain = {0};
    if (header != NULL) {
        plain.cluster_id = header->cluster_id;
        plain.member_id = header->member_id;
        plain.revision = header->revision;
        plain.raft_term = header->raft_term;
    }
    return plain;
}

static struct etcd_kv kv_from(const Mvccpb__KeyValue *kv) {
    struct etcd_kv plain = {0};
    if (kv != NULL) {
        plain.key = from_pb(kv->key);
        plain.value = from_pb(kv->value);
        plain.create_revision = kv->create_revision;
        plain.mod_revision = kv->mod_revision;
        plain.version = kv->version;
        plain.lease = kv->lease;
    }
    return plain;
}

static struct etcd_kv *kvs_from(Mvccpb__KeyValue **kvs, size_t count, struct arena *arena) {
    struct etcd_kv *plain = ARENA_ARRAY(arena, struct etcd_kv, count);
    for (size_t i = 0; i < count; i++) plain[i] = kv_from(kvs[i]);
    return plain;
}

static const struct etcd_kv *kv_or_null(Mvccpb__KeyValue *kv, struct arena *arena) {
    return kv == NULL ? NULL : kvs_from(&kv, 1, arena);
}

/* Most messages without more than a header have it as field 1, so one decoder reads them all. */
static void *decode_header(struct slice message, struct arena *arena) {
    Etcdserverpb__CompactionResponse *pb = pb_unpack(&etcdserverpb__compaction_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_header_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(pb->header);
    return response;
}

static bool encode_nothing(const void *request, struct arena *scratch, struct buf *out) { return true; }

/* ---- keys and values ---- */

static void range_to(const struct etcd_range_request *plain, Etcdserverpb__RangeRequest *pb) {
    etcdserverpb__range_request__init(pb);
    pb->key = to_pb(plain->key);
    pb->range_end = to_pb(plain->range_end);
    pb->limit = plain->limit;
    pb->revision = plain->revision;
    pb->sort_order = (Etcdserverpb__RangeRequest__SortOrder)plain->sort_order;
    pb->sort_target = (Etcdserverpb__RangeRequest__SortTarget)plain->sort_target;
    pb->serializable = plain->serializable;
    pb->keys_only = plain->keys_only;
    pb->count_only = plain->count_only;
    pb->min_mod_revision = plain->min_mod_revision;
    pb->max_mod_revision = plain->max_mod_revision;
    pb->min_create_revision = plain->min_create_revision;
    pb->max_create_revision = plain->max_create_revision;
}

static void put_to(const struct etcd_put_request *plain, Etcdserverpb__PutRequest *pb) {
    etcdserverpb__put_request__init(pb);
    pb->key = to_pb(plain->key);
    pb->value = to_pb(plain->value);
    pb->lease = plain->lease;
    pb->prev_kv = plain->prev_kv;
    pb->ignore_value = plain->ignore_value;
    pb->ignore_lease = plain->ignore_lease;
}

static void delete_to(const struct etcd_delete_request *plain, Etcdserverpb__DeleteRangeRequest *pb) {
    etcdserverpb__delete_range_request__init(pb);
    pb->key = to_pb(plain->key);
    pb->range_end = to_pb(plain->range_end);
    pb->prev_kv = plain->prev_kv;
}

static bool encode_range(const void *request, struct arena *scratch, struct buf *out) {
    Etcdserverpb__RangeRequest pb;
    range_to(request, &pb);
    pb_pack(&pb, out);
    return true;
}

static bool encode_put(const void *request, struct arena *scratch, struct buf *out) {
    Etcdserverpb__PutRequest pb;
    put_to(request, &pb);
    pb_pack(&pb, out);
    return true;
}

static bool encode_delete(const void *request, struct arena *scratch, struct buf *out) {
    Etcdserverpb__DeleteRangeRequest pb;
    delete_to(request, &pb);
    pb_pack(&pb, out);
    return true;
}

static bool encode_compact(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_compact_request *plain = request;
    Etcdserverpb__CompactionRequest pb = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    pb.revision = plain->revision;
    pb.physical = plain->physical;
    pb_pack(&pb, out);
    return true;
}

static void range_from(const Etcdserverpb__RangeResponse *pb, struct etcd_range_response *plain, struct arena *arena) {
    plain->header = header_from(pb->header);
    plain->kvs = kvs_from(pb->kvs, pb->n_kvs, arena);
    plain->kv_count = pb->n_kvs;
    plain->more = pb->more;
    plain->count = pb->count;
}

static void put_from(const Etcdserverpb__PutResponse *pb, struct etcd_put_response *plain, struct arena *arena) {
    plain->header = header_from(pb->header);
    plain->prev_kv = kv_or_null(pb->prev_kv, arena);
}

static void delete_from(const Etcdserverpb__DeleteRangeResponse *pb, struct etcd_delete_response *plain,
                        struct arena *arena) {
    plain->header = header_from(pb->header);
    plain->deleted = pb->deleted;
    plain->prev_kvs = kvs_from(pb->prev_kvs, pb->n_prev_kvs, arena);
    plain->prev_kv_count = pb->n_prev_kvs;
}

static void *decode_range(struct slice message, struct arena *arena) {
    Etcdserverpb__RangeResponse *pb = pb_unpack(&etcdserverpb__range_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_range_response *response = client_response_alloc(arena, sizeof(*response));
    range_from(pb, response, arena);
    return response;
}

static void *decode_put(struct slice message, struct arena *arena) {
    Etcdserverpb__PutResponse *pb = pb_unpack(&etcdserverpb__put_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_put_response *response = client_response_alloc(arena, sizeof(*response));
    put_from(pb, response, arena);
    return response;
}

static void *decode_delete(struct slice message, struct arena *arena) {
    Etcdserverpb__DeleteRangeResponse *pb = pb_unpack(&etcdserverpb__delete_range_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_delete_response *response = client_response_alloc(arena, sizeof(*response));
    delete_from(pb, response, arena);
    return response;
}

/* ---- transactions ---- */

static Etcdserverpb__Compare *compare_to(const struct etcd_compare *plain, struct arena *scratch) {
    Etcdserverpb__Compare *pb = arena_alloc(scratch, sizeof(*pb));
    etcdserverpb__compare__init(pb);
    pb->result = (Etcdserverpb__Compare__CompareResult)plain->result;
    pb->target = (Etcdserverpb__Compare__CompareTarget)plain->target;
    pb->key = to_pb(plain->key);
    pb->range_end = to_pb(plain->range_end);
    switch (plain->target) {
    case ETCD_VERSION:
        pb->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        pb->version = plain->number;
        break;
    case ETCD_CREATE_REVISION:
        pb->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        pb->create_revision = plain->number;
        break;
    case ETCD_MOD_REVISION:
        pb->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        pb->mod_revision = plain->number;
        break;
    case ETCD_VALUE:
        pb->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        pb->value = to_pb(plain->value);
        break;
    case ETCD_LEASE:
        pb->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
        pb->lease = plain->number;
        break;
    }
    return pb;
}

static Etcdserverpb__TxnRequest *txn_to(const struct etcd_txn_request *plain, struct arena *scratch, unsigned depth);

static Etcdserverpb__RequestOp *op_to(const struct etcd_op *plain, struct arena *scratch, unsigned depth) {
    Etcdserverpb__RequestOp *pb = arena_alloc(scratch, sizeof(*pb));
    etcdserverpb__request_op__init(pb);
    switch (plain->type) {
    case ETCD_OP_RANGE:
        pb->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        pb->request_range = arena_alloc(scratch, sizeof(*pb->request_range));
        range_to(plain->range, pb->request_range);
        break;
    case ETCD_OP_PUT:
        pb->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        pb->request_put = arena_alloc(scratch, sizeof(*pb->request_put));
        put_to(plain->put, pb->request_put);
        break;
    case ETCD_OP_DELETE:
        pb->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        pb->request_delete_range = arena_alloc(scratch, sizeof(*pb->request_delete_range));
        delete_to(plain->delete_range, pb->request_delete_range);
        break;
    case ETCD_OP_TXN:
        pb->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        pb->request_txn = txn_to(plain->txn, scratch, depth + 1);
        if (pb->request_txn == NULL) return NULL;
        break;
    }
    return pb;
}

static bool ops_to(const struct etcd_op *plain, size_t count, Etcdserverpb__RequestOp ***ret_pb, struct arena *scratch,
                   unsigned depth) {
    Etcdserverpb__RequestOp **pb = ARENA_ARRAY(scratch, Etcdserverpb__RequestOp *, count);
    for (size_t i = 0; i < count; i++) {
        pb[i] = op_to(&plain[i], scratch, depth);
        if (pb[i] == NULL) return false;
    }
    *ret_pb = pb;
    return true;
}

static Etcdserverpb__TxnRequest *txn_to(const struct etcd_txn_request *plain, struct arena *scratch, unsigned depth) {
    if (depth > CLIENT_MAX_TXN_DEPTH) return NULL;
    Etcdserverpb__TxnRequest *pb = arena_alloc(scratch, sizeof(*pb));
    etcdserverpb__txn_request__init(pb);
    pb->n_compare = plain->compare_count;
    pb->compare = ARENA_ARRAY(scratch, Etcdserverpb__Compare *, plain->compare_count);
    for (size_t i = 0; i < plain->compare_count; i++) pb->compare[i] = compare_to(&plain->compares[i], scratch);
    pb->n_success = plain->success_count;
    pb->n_failure = plain->failure_count;
    if (!ops_to(plain->success, plain->success_count, &pb->success, scratch, depth)) return NULL;
    if (!ops_to(plain->failure, plain->failure_count, &pb->failure, scratch, depth)) return NULL;
    return pb;
}

static bool encode_txn(const void *request, struct arena *scratch, struct buf *out) {
    Etcdserverpb__TxnRequest *pb = txn_to(request, scratch, 1);
    if (pb == NULL) return false;
    pb_pack(pb, out);
    return true;
}

/* The decoder has bounded the depth of what comes here. */
static void txn_from(const Etcdserverpb__TxnResponse *pb, struct etcd_txn_response *plain, struct arena *arena) {
    plain->header = header_from(pb->header);
    plain->succeeded = pb->succeeded;
    plain->response_count = pb->n_responses;
    struct etcd_op_response *ops = ARENA_ARRAY(arena, struct etcd_op_response, pb->n_responses);
    plain->responses = ops;
    for (size_t i = 0; i < pb->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = pb->responses[i];
        if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT) {
            struct etcd_put_response *put = ARENA_NEW(arena, struct etcd_put_response);
            put_from(op->response_put, put, arena);
            ops[i] = (struct etcd_op_response){.type = ETCD_OP_PUT, .put = put};
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE) {
            struct etcd_delete_response *delete_range = ARENA_NEW(arena, struct etcd_delete_response);
            delete_from(op->response_delete_range, delete_range, arena);
            ops[i] = (struct etcd_op_response){.type = ETCD_OP_DELETE, .delete_range = delete_range};
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN) {
            struct etcd_txn_response *txn = ARENA_NEW(arena, struct etcd_txn_response);
            txn_from(op->response_txn, txn, arena);
            ops[i] = (struct etcd_op_response){.type = ETCD_OP_TXN, .txn = txn};
        } else {
            /* A range, or nothing that we know: an empty range keeps the pointer good. */
            struct etcd_range_response *range = ARENA_NEW(arena, struct etcd_range_response);
            if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE)
                range_from(op->response_range, range, arena);
            ops[i] = (struct etcd_op_response){.type = ETCD_OP_RANGE, .range = range};
        }
    }
}

static void *decode_txn(struct slice message, struct arena *arena) {
    Etcdserverpb__TxnResponse *pb = pb_unpack(&etcdserverpb__txn_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_txn_response *response = client_response_alloc(arena, sizeof(*response));
    txn_from(pb, response, arena);
    return response;
}

/* ---- leases ---- */

static bool encode_grant(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_lease_grant_request *plain = request;
    Etcdserverpb__LeaseGrantRequest pb = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    pb.ttl = plain->ttl_s;
    pb.id = plain->id;
    pb_pack(&pb, out);
    return true;
}

static void *decode_grant(struct slice message, struct arena *arena) {
    Etcdserverpb__LeaseGrantResponse *pb = pb_unpack(&etcdserverpb__lease_grant_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_lease_grant_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(pb->header);
    response->id = pb->id;
    response->ttl_s = pb->ttl;
    return response;
}

static bool encode_revoke(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_lease_revoke_request *plain = request;
    Etcdserverpb__LeaseRevokeRequest pb = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    pb.id = plain->id;
    pb_pack(&pb, out);
    return true;
}

static bool encode_ttl(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_lease_ttl_request *plain = request;
    Etcdserverpb__LeaseTimeToLiveRequest pb = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    pb.id = plain->id;
    pb.keys = plain->keys;
    pb_pack(&pb, out);
    return true;
}

static void *decode_ttl(struct slice message, struct arena *arena) {
    Etcdserverpb__LeaseTimeToLiveResponse *pb =
        pb_unpack(&etcdserverpb__lease_time_to_live_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_lease_ttl_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(pb->header);
    response->id = pb->id;
    response->ttl_s = pb->ttl;
    response->granted_ttl_s = pb->grantedttl;
    struct etcd_bytes *keys = ARENA_ARRAY(arena, struct etcd_bytes, pb->n_keys);
    for (size_t i = 0; i < pb->n_keys; i++) keys[i] = from_pb(pb->keys[i]);
    response->keys = keys;
    response->key_count = pb->n_keys;
    return response;
}

static void *decode_leases(struct slice message, struct arena *arena) {
    Etcdserverpb__LeaseLeasesResponse *pb = pb_unpack(&etcdserverpb__lease_leases_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_lease_list_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(pb->header);
    int64_t *ids = ARENA_ARRAY(arena, int64_t, pb->n_leases);
    for (size_t i = 0; i < pb->n_leases; i++) ids[i] = pb->leases[i]->id;
    response->ids = ids;
    response->id_count = pb->n_leases;
    return response;
}

void client_encode_keepalive(int64_t lease_id, struct buf *out) {
    Etcdserverpb__LeaseKeepAliveRequest pb = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    pb.id = lease_id;
    pb_pack(&pb, out);
}

bool client_decode_keepalive(struct slice message, struct arena *scratch,
                             struct etcd_lease_keepalive_response *ret_response) {
    Etcdserverpb__LeaseKeepAliveResponse *pb =
        pb_unpack_borrowed(&etcdserverpb__lease_keep_alive_response__descriptor, message, scratch);
    if (pb == NULL) return false;
    ret_response->header = header_from(pb->header);
    ret_response->id = pb->id;
    ret_response->ttl_s = pb->ttl;
    return true;
}

static bool encode_keepalive(const void *request, struct arena *scratch, struct buf *out) {
    client_encode_keepalive(*(const int64_t *)request, out);
    return true;
}

static void *decode_keepalive(struct slice message, struct arena *arena) {
    struct etcd_lease_keepalive_response *response = client_response_alloc(arena, sizeof(*response));
    return client_decode_keepalive(message, arena, response) ? response : NULL;
}

/* ---- members ---- */

static bool encode_member_list(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_member_list_request *plain = request;
    Etcdserverpb__MemberListRequest pb = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    pb.linearizable = !plain->serializable;
    pb_pack(&pb, out);
    return true;
}

static bool encode_member_add(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_member_add_request *plain = request;
    Etcdserverpb__MemberAddRequest pb = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    pb.peerurls = to_pb_texts(plain->peer_urls);
    pb.n_peerurls = plain->peer_url_count;
    pb.islearner = plain->is_learner;
    pb_pack(&pb, out);
    return true;
}

static bool encode_member_update(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_member_update_request *plain = request;
    Etcdserverpb__MemberUpdateRequest pb = ETCDSERVERPB__MEMBER_UPDATE_REQUEST__INIT;
    pb.id = plain->id;
    pb.peerurls = to_pb_texts(plain->peer_urls);
    pb.n_peerurls = plain->peer_url_count;
    pb_pack(&pb, out);
    return true;
}

/* MemberRemove and MemberPromote look the same. */
static bool encode_member_id(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_member_id_request *plain = request;
    Etcdserverpb__MemberRemoveRequest pb = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
    pb.id = plain->id;
    pb_pack(&pb, out);
    return true;
}

static struct etcd_member *members_from(Etcdserverpb__Member **members, size_t count, struct arena *arena) {
    struct etcd_member *plain = ARENA_ARRAY(arena, struct etcd_member, count);
    for (size_t i = 0; i < count; i++) {
        plain[i].id = members[i]->id;
        plain[i].name = members[i]->name;
        plain[i].peer_urls = (const char *const *)members[i]->peerurls;
        plain[i].peer_url_count = members[i]->n_peerurls;
        plain[i].client_urls = (const char *const *)members[i]->clienturls;
        plain[i].client_url_count = members[i]->n_clienturls;
        plain[i].is_learner = members[i]->islearner;
    }
    return plain;
}

static struct etcd_members_response *members_response(const Etcdserverpb__ResponseHeader *header,
                                                      Etcdserverpb__Member **members, size_t count,
                                                      struct arena *arena) {
    struct etcd_members_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(header);
    response->members = members_from(members, count, arena);
    response->member_count = count;
    return response;
}

/* MemberList, MemberRemove, MemberUpdate and MemberPromote answer alike. */
static void *decode_members(struct slice message, struct arena *arena) {
    Etcdserverpb__MemberListResponse *pb = pb_unpack(&etcdserverpb__member_list_response__descriptor, message, arena);
    return pb == NULL ? NULL : members_response(pb->header, pb->members, pb->n_members, arena);
}

static void *decode_member_add(struct slice message, struct arena *arena) {
    Etcdserverpb__MemberAddResponse *pb = pb_unpack(&etcdserverpb__member_add_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_members_response *response = members_response(pb->header, pb->members, pb->n_members, arena);
    if (pb->member != NULL) response->member = members_from(&pb->member, 1, arena);
    return response;
}

/* ---- maintenance ---- */

static void *decode_status(struct slice message, struct arena *arena) {
    Etcdserverpb__StatusResponse *pb = pb_unpack(&etcdserverpb__status_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_status_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(pb->header);
    response->version = pb->version;
    response->db_size_bytes = pb->dbsize;
    response->db_size_in_use_bytes = pb->dbsizeinuse;
    response->leader = pb->leader;
    response->raft_index = pb->raftindex;
    response->raft_term = pb->raftterm;
    response->raft_applied_index = pb->raftappliedindex;
    response->errors = (const char *const *)pb->errors;
    response->error_count = pb->n_errors;
    response->is_learner = pb->islearner;
    response->storage_version = pb->storageversion;
    response->db_size_quota_bytes = pb->dbsizequota;
    response->downgrade_enabled = pb->downgradeinfo != NULL && pb->downgradeinfo->enabled;
    response->downgrade_target_version = pb->downgradeinfo != NULL ? pb->downgradeinfo->targetversion : "";
    return response;
}

static void *decode_hash(struct slice message, struct arena *arena) {
    Etcdserverpb__HashResponse *pb = pb_unpack(&etcdserverpb__hash_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_hash_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(pb->header);
    response->hash = pb->hash;
    return response;
}

static bool encode_hash_kv(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_hash_kv_request *plain = request;
    Etcdserverpb__HashKVRequest pb = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    pb.revision = plain->revision;
    pb_pack(&pb, out);
    return true;
}

static void *decode_hash_kv(struct slice message, struct arena *arena) {
    Etcdserverpb__HashKVResponse *pb = pb_unpack(&etcdserverpb__hash_kvresponse__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_hash_kv_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(pb->header);
    response->hash = pb->hash;
    response->compact_revision = pb->compact_revision;
    response->hash_revision = pb->hash_revision;
    return response;
}

static bool encode_alarm(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_alarm_request *plain = request;
    Etcdserverpb__AlarmRequest pb = ETCDSERVERPB__ALARM_REQUEST__INIT;
    pb.action = (Etcdserverpb__AlarmRequest__AlarmAction)plain->action;
    pb.memberid = plain->member_id;
    pb.alarm = (Etcdserverpb__AlarmType)plain->alarm;
    pb_pack(&pb, out);
    return true;
}

static void *decode_alarm(struct slice message, struct arena *arena) {
    Etcdserverpb__AlarmResponse *pb = pb_unpack(&etcdserverpb__alarm_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct etcd_alarm_response *response = client_response_alloc(arena, sizeof(*response));
    response->header = header_from(pb->header);
    struct etcd_alarm *alarms = ARENA_ARRAY(arena, struct etcd_alarm, pb->n_alarms);
    for (size_t i = 0; i < pb->n_alarms; i++) {
        alarms[i].member_id = pb->alarms[i]->memberid;
        alarms[i].alarm = (enum etcd_alarm_type)pb->alarms[i]->alarm;
    }
    response->alarms = alarms;
    response->alarm_count = pb->n_alarms;
    return response;
}

static bool encode_move_leader(const void *request, struct arena *scratch, struct buf *out) {
    const struct etcd_move_leader_request *plain = request;
    Etcdserverpb__MoveLeaderRequest pb = ETCDSERVERPB__MOVE_LEADER_REQUEST__INIT;
    pb.targetid = plain->target_id;
    pb_pack(&pb, out);
    return true;
}

bool client_decode_snapshot(struct slice message, struct arena *scratch, struct etcd_bytes *ret_piece,
                            uint64_t *ret_remaining_bytes, const char **ret_version) {
    Etcdserverpb__SnapshotResponse *pb =
        pb_unpack_borrowed(&etcdserverpb__snapshot_response__descriptor, message, scratch);
    if (pb == NULL) return false;
    *ret_piece = from_pb(pb->blob);
    *ret_remaining_bytes = pb->remaining_bytes;
    *ret_version = pb->version;
    return true;
}

/* ---- watches ---- */

void client_encode_watch_create(const struct etcd_watch_request *request, int64_t start_revision, struct buf *out) {
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filters[2];
    create.key = to_pb(request->key);
    create.range_end = to_pb(request->range_end);
    create.start_revision = start_revision;
    create.prev_kv = request->prev_kv;
    create.progress_notify = request->progress_notify;
    create.fragment = request->fragment;
    create.filters = filters;
    if (request->no_put) filters[create.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    if (request->no_delete) filters[create.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    Etcdserverpb__WatchRequest pb = ETCDSERVERPB__WATCH_REQUEST__INIT;
    pb.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    pb.create_request = &create;
    pb_pack(&pb, out);
}

void client_encode_watch_cancel(int64_t watch_id, struct buf *out) {
    Etcdserverpb__WatchCancelRequest cancel = ETCDSERVERPB__WATCH_CANCEL_REQUEST__INIT;
    cancel.watch_id = watch_id;
    Etcdserverpb__WatchRequest pb = ETCDSERVERPB__WATCH_REQUEST__INIT;
    pb.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    pb.cancel_request = &cancel;
    pb_pack(&pb, out);
}

void client_encode_watch_progress(struct buf *out) {
    Etcdserverpb__WatchProgressRequest progress = ETCDSERVERPB__WATCH_PROGRESS_REQUEST__INIT;
    Etcdserverpb__WatchRequest pb = ETCDSERVERPB__WATCH_REQUEST__INIT;
    pb.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    pb.progress_request = &progress;
    pb_pack(&pb, out);
}

struct client_watch_answer *client_decode_watch(struct slice message, struct arena *arena) {
    Etcdserverpb__WatchResponse *pb = pb_unpack(&etcdserverpb__watch_response__descriptor, message, arena);
    if (pb == NULL) return NULL;
    struct client_watch_answer *answer = ARENA_NEW(arena, struct client_watch_answer);
    struct etcd_event *events = ARENA_ARRAY(arena, struct etcd_event, pb->n_events);
    for (size_t i = 0; i < pb->n_events; i++) {
        const Mvccpb__Event *event = pb->events[i];
        events[i].type = event->type == MVCCPB__EVENT__EVENT_TYPE__PUT ? ETCD_EVENT_PUT : ETCD_EVENT_DELETE;
        events[i].kv = kv_from(event->kv);
        events[i].prev_kv = kv_or_null(event->prev_kv, arena);
    }
    answer->fragment = pb->fragment;
    answer->response = (struct etcd_watch_response){
        .header = header_from(pb->header),
        .watch = pb->watch_id,
        .created = pb->created,
        .canceled = pb->canceled,
        .cancel_reason = pb->cancel_reason,
        .compact_revision = pb->compact_revision,
        .events = events,
        .event_count = pb->n_events,
    };
    return answer;
}

/* ---- the table ---- */

static const struct client_method methods[] = {
    [ETCD_METHOD_RANGE] = {"/etcdserverpb.KV/Range", true, encode_range, decode_range},
    [ETCD_METHOD_PUT] = {"/etcdserverpb.KV/Put", false, encode_put, decode_put},
    [ETCD_METHOD_DELETE] = {"/etcdserverpb.KV/DeleteRange", false, encode_delete, decode_delete},
    [ETCD_METHOD_TXN] = {"/etcdserverpb.KV/Txn", false, encode_txn, decode_txn},
    [ETCD_METHOD_COMPACT] = {"/etcdserverpb.KV/Compact", false, encode_compact, decode_header},
    [ETCD_METHOD_LEASE_GRANT] = {"/etcdserverpb.Lease/LeaseGrant", true, encode_grant, decode_grant},
    [ETCD_METHOD_LEASE_REVOKE] = {"/etcdserverpb.Lease/LeaseRevoke", true, encode_revoke, decode_header},
    [ETCD_METHOD_LEASE_TTL] = {"/etcdserverpb.Lease/LeaseTimeToLive", true, encode_ttl, decode_ttl},
    [ETCD_METHOD_LEASE_LIST] = {"/etcdserverpb.Lease/LeaseLeases", true, encode_nothing, decode_leases},
    [ETCD_METHOD_LEASE_KEEPALIVE_ONCE] = {"/etcdserverpb.Lease/LeaseKeepAlive", true, encode_keepalive,
                                          decode_keepalive},
    [ETCD_METHOD_MEMBER_LIST] = {"/etcdserverpb.Cluster/MemberList", true, encode_member_list, decode_members},
    [ETCD_METHOD_MEMBER_ADD] = {"/etcdserverpb.Cluster/MemberAdd", false, encode_member_add, decode_member_add},
    [ETCD_METHOD_MEMBER_REMOVE] = {"/etcdserverpb.Cluster/MemberRemove", false, encode_member_id, decode_members},
    [ETCD_METHOD_MEMBER_UPDATE] = {"/etcdserverpb.Cluster/MemberUpdate", false, encode_member_update, decode_members},
    [ETCD_METHOD_MEMBER_PROMOTE] = {"/etcdserverpb.Cluster/MemberPromote", false, encode_member_id, decode_members},
    [ETCD_METHOD_STATUS] = {"/etcdserverpb.Maintenance/Status", true, encode_nothing, decode_status},
    [ETCD_METHOD_HASH] = {"/etcdserverpb.Maintenance/Hash", true, encode_nothing, decode_hash},
    [ETCD_METHOD_HASH_KV] = {"/etcdserverpb.Maintenance/HashKV", true, encode_hash_kv, decode_hash_kv},
    [ETCD_METHOD_ALARM] = {"/etcdserverpb.Maintenance/Alarm", true, encode_alarm, decode_alarm},
    [ETCD_METHOD_DEFRAGMENT] = {"/etcdserverpb.Maintenance/Defragment", false, encode_nothing, decode_header},
    [ETCD_METHOD_MOVE_LEADER] = {"/etcdserverpb.Maintenance/MoveLeader", true, encode_move_leader, decode_header},
};

static const char *const other_repeatable[] = {
    "/etcdserverpb.Auth/AuthStatus", "/etcdserverpb.Auth/UserGet",  "/etcdserverpb.Auth/UserList",
    "/etcdserverpb.Auth/RoleGet",    "/etcdserverpb.Auth/RoleList", "/grpc.health.v1.Health/Check",
};

const struct client_method *client_method_get(enum etcd_method method) {
    CHECK(method >= 0 && method < sizeof(methods) / sizeof(methods[0]));
    return &methods[method];
}

bool client_path_is_repeatable(const char *path) {
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(methods[i].path, path) == 0) return methods[i].repeatable;
    for (size_t i = 0; i < sizeof(other_repeatable) / sizeof(other_repeatable[0]); i++)
        if (strcmp(other_repeatable[i], path) == 0) return true;
    return false;
}

/* ---- answers as objects ---- */

struct client_answer {
    struct arena arena;
};

/* In front of every response object: whose it is. */
struct response_prefix {
    struct client_answer *owner;
};

struct client_answer *client_answer_new(void) {
    struct client_answer *self = NEW(struct client_answer);
    arena_init(&self->arena, 0);
    return self;
}

struct arena *client_answer_arena(struct client_answer *self) {
    return &self->arena;
}

void client_answer_free(struct client_answer *self) {
    if (self == NULL) return;
    arena_release(&self->arena);
    mem_free(self);
}

void *client_response_alloc(struct arena *arena, size_t size_bytes) {
    struct response_prefix *prefix = arena_calloc(arena, 1, sizeof(*prefix) + size_bytes);
    return prefix + 1;
}

static struct response_prefix *prefix_of(const void *response) {
    return (struct response_prefix *)(uintptr_t)response - 1;
}

void *client_answer_seal(struct client_answer *self, void *response) {
    prefix_of(response)->owner = self;
    return response;
}

void client_response_free(const void *response) {
    if (response != NULL) client_answer_free(prefix_of(response)->owner);
}

void *client_decode_answer(const struct client_method *method, struct slice message) {
    struct client_answer *answer = client_answer_new();
    void *response = method->decode(message, &answer->arena);
    if (response == NULL) {
        client_answer_free(answer);
        return NULL;
    }
    return client_answer_seal(answer, response);
}

struct etcd_raw_response *client_raw_answer(struct slice message) {
    struct client_answer *answer = client_answer_new();
    struct etcd_raw_response *response = client_response_alloc(&answer->arena, sizeof(*response));
    response->message = client_bytes(arena_copy(&answer->arena, message));
    return client_answer_seal(answer, response);
}
