/* kv.c - the KV service: writes go to the server as they came, reads are in kv_range.c. */
#include "api/internal.h"
#include "mvcc/txn.h"

static void put(struct grpc_call *call) {
    const Etcdserverpb__PutRequest *request = api__request(call, &etcdserverpb__put_request__descriptor);
    if (request == NULL) return;
    enum err error = api__check_put(request);
    if (error != OK)
        grpc_call_fail(call, error);
    else
        api__propose(grpc_call_service(call), call, SERVER_OP_PUT, request, grpc_call_message(call));
}

static void delete_range(struct grpc_call *call) {
    const Etcdserverpb__DeleteRangeRequest *request =
        api__request(call, &etcdserverpb__delete_range_request__descriptor);
    if (request == NULL) return;
    enum err error = api__check_delete_range(request);
    if (error != OK)
        grpc_call_fail(call, error);
    else
        api__propose(grpc_call_service(call), call, SERVER_OP_DELETE_RANGE, request, grpc_call_message(call));
}

/* Nested deeper than what can be decoded is deeper than any number of operations allows. */
static const Etcdserverpb__TxnRequest *txn_request(struct grpc_call *call) {
    bool is_too_deep;
    const Etcdserverpb__TxnRequest *request = pb_unpack_depth(
        &etcdserverpb__txn_request__descriptor, grpc_call_message(call), grpc_call_arena(call), &is_too_deep);
    if (is_too_deep)
        grpc_call_fail(call, ERR_TOO_MANY_OPS);
    else if (request == NULL)
        api__fail_malformed(call);
    return request;
}

static void txn(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    const Etcdserverpb__TxnRequest *request = txn_request(call);
    if (request == NULL) return;
    enum err error = api__check_txn(request, self->max_txn_ops);
    if (error != OK)
        grpc_call_fail(call, error);
    else if (txn_is_write(request))
        api__propose(self, call, SERVER_OP_TXN, request, grpc_call_message(call));
    else
        api__read_txn(call, request);
}

/* A write txn waits for its proposal, a read-only one for the read index: the context says which. */
static void txn_cancelled(struct grpc_call *call) {
    const Etcdserverpb__TxnRequest *request =
        pb_unpack_borrowed(&etcdserverpb__txn_request__descriptor, grpc_call_message(call), grpc_call_arena(call));
    if (request != NULL && txn_is_write(request))
        api__propose_cancelled(call);
    else
        api__range_cancelled(call);
}

static void compact(struct grpc_call *call) {
    const Etcdserverpb__CompactionRequest *request = api__request(call, &etcdserverpb__compaction_request__descriptor);
    if (request == NULL || !api__require_admin(call)) return;
    api__propose(grpc_call_service(call), call, SERVER_OP_COMPACTION, request, grpc_call_message(call));
}

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.KV/Range", .on_call = api__range, .on_cancel = api__range_cancelled},
    {.path = "/etcdserverpb.KV/Put", .on_call = put, .on_cancel = api__propose_cancelled},
    {.path = "/etcdserverpb.KV/DeleteRange", .on_call = delete_range, .on_cancel = api__propose_cancelled},
    {.path = "/etcdserverpb.KV/Txn", .on_call = txn, .on_cancel = txn_cancelled},
    {.path = "/etcdserverpb.KV/Compact", .on_call = compact, .on_cancel = api__propose_cancelled},
};

void api__kv_add(struct api *self) { grpc_server_add(self->grpc, methods, sizeof methods / sizeof *methods, self); }
