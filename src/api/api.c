#include "api/api.h"

#include "api/internal.h"
#include "grpc/status.h"

#include <stdio.h>

#define DEFAULT_PROGRESS_INTERVAL_NS (600 * NS_PER_S)

/* Clients that ask for a leader get an error at once when there is none. */
static enum err admit(void *context, struct grpc_call *call) {
    struct api *self = context;
    if (!slice_equal_cstr(grpc_call_metadata(call, "hasleader"), "true")) return OK;
    struct server_status status;
    server_status(self->server, &status);
    return status.leader == 0 ? ERR_NO_LEADER : OK;
}

struct api *api_new(const struct api_options *options) {
    struct api *self = NEW(struct api);
    *self = (struct api){
        .server = options->server,
        .env = server_env(options->server),
        .watch_progress_interval_ns = options->watch_progress_interval_ns != 0 ? options->watch_progress_interval_ns
                                                                               : DEFAULT_PROGRESS_INTERVAL_NS,
        .max_request_bytes = options->max_request_bytes,
        .max_txn_ops = options->max_txn_ops,
        .cors_origins = options->cors_origins,
        .cors_origin_count = options->cors_origin_count,
        .seed = env_random(server_env(options->server)),
    };
    self->log = env_log(self->env);
    list_init(&self->health_watches);
    list_init(&self->watch_streams);
    struct grpc_server_options grpc_options = {
        .env = self->env,
        .receive_max_bytes = self->max_request_bytes + GRPC_OVERHEAD_BYTES,
        .observer = options->observer,
        .admit = admit,
        .admit_context = self,
    };
    self->grpc = grpc_server_new(&grpc_options);
    api__kv_add(self);
    api__watch_add(self);
    api__lease_add(self);
    api__cluster_add(self);
    api__maintenance_add(self);
    api__auth_add(self);
    api__health_add(self);
    return self;
}

void api_free(struct api *self) {
    if (self == NULL) return;
    grpc_server_free(self->grpc);
    mem_free(self);
}

struct grpc_server *api_grpc(struct api *self) {
    return self->grpc;
}

void api_stop(struct api *self) {
    self->is_stopping = true;
    api__health_stop(self);
    api__watch_stop(self);
}

/* ---- decoding ---- */

#define MALFORMED "grpc: error unmarshalling request: unexpected EOF"

void *api__request(struct grpc_call *call, const ProtobufCMessageDescriptor *type) {
    void *message = pb_unpack_borrowed(type, grpc_call_message(call), grpc_call_arena(call));
    if (message == NULL) api__fail_malformed(call);
    return message;
}

void api__fail_malformed(struct grpc_call *call) { grpc_call_fail_text(call, 13, MALFORMED); }

/* ---- answering ---- */

void api__fail_too_long(struct grpc_call *call, size_t size_bytes) {
    char text[96];
    snprintf(text, sizeof text, "grpc: trying to send message larger than max (%zu vs. %d)", size_bytes,
             (int)GRPC_SEND_MAX_BYTES);
    grpc_call_fail_text(call, GRPC_RESOURCE_EXHAUSTED, text);
}

void api__append_uint(struct buf *out, uint32_t field, uint64_t value) {
    if (value == 0) return;
    buf_append_varint(out, (uint64_t)field << 3);
    buf_append_varint(out, value);
}

void api__append_bytes(struct buf *out, uint32_t field, struct slice bytes) {
    buf_append_varint(out, (uint64_t)field << 3 | 2);
    buf_append_varint(out, bytes.len);
    buf_append_slice(out, bytes);
}

static void write_reserved(struct api *self, struct grpc_call *call, int64_t revision, struct slice body) {
    uint8_t bytes[SERVER_HEADER_MAX_BYTES];
    size_t header_len = server_store_header(self->server, revision, bytes);
    uint8_t *at = grpc_call_reserve(call, header_len + body.len);
    memcpy(at, bytes, header_len);
    if (body.len != 0) memcpy(at + header_len, body.data, body.len);
}

void api__reply(struct api *self, struct grpc_call *call, int64_t revision, struct slice body) {
    write_reserved(self, call, revision, body);
    grpc_call_reply_reserved(call);
}

void api__send(struct api *self, struct grpc_call *call, int64_t revision, struct slice body) {
    write_reserved(self, call, revision, body);
    grpc_call_send_reserved(call);
}

/* ---- proposals ---- */

struct proposal {
    struct server_request request;
    struct api *api;
    struct grpc_call *call;
    struct buf out;
};

static void proposal_done(struct server_request *request) {
    struct proposal *self = CONTAINER_OF(request, struct proposal, request);
    struct buf out = self->out; /* the proposal goes with the call */
    if (request->error != OK)
        grpc_call_fail(self->call, request->error);
    else
        api__reply(self->api, self->call, request->revision, buf_slice(&out));
    buf_release(&out);
}

static bool has_top_range(Etcdserverpb__RequestOp *const *ops, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE) return true;
    return false;
}

/* The entry says who asks: what he may is decided where it is applied. A Go member that is not the proposer leaves out
 * the top-level ranges of a transaction before it checks the rest: one that has some and must be refused is refused
 * here, lest members differ. */
static enum err sign(struct proposal *self) {
    struct auth_info info;
    TRY(api__who(self->api, self->call, &info));
    self->request.username = info.username;
    self->request.auth_revision = info.revision;
    if (self->request.op != SERVER_OP_TXN) return OK;
    const Etcdserverpb__TxnRequest *txn = self->request.message;
    if (!has_top_range(txn->success, txn->n_success) && !has_top_range(txn->failure, txn->n_failure)) return OK;
    struct auth_leases leases = server_auth_leases(self->api->server);
    return auth_check_txn(server_auth(self->api->server), &info, txn, &leases);
}

void api__propose(struct api *self, struct grpc_call *call, enum server_op op, const void *message,
                  struct slice encoded) {
    struct proposal *proposal = ARENA_NEW(grpc_call_arena(call), struct proposal);
    proposal->request = (struct server_request){
        .op = op, .encoded = encoded, .message = message, .callback = proposal_done, .out = &proposal->out};
    proposal->api = self;
    proposal->call = call;
    grpc_call_set_context(call, proposal);
    enum err error = api__auth_is_on(self) ? sign(proposal) : OK;
    if (error == OK) error = server_propose(self->server, &proposal->request);
    proposal->request.username = SLICE_NONE; /* encoded by now */
    if (error != OK) grpc_call_fail(call, error);
}

void api__propose_cancelled(struct grpc_call *call) {
    struct proposal *proposal = grpc_call_context(call);
    if (proposal != NULL) {
        server_cancel(proposal->api->server, &proposal->request);
        buf_release(&proposal->out);
    }
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}
