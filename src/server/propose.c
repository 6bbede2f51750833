/* propose.c - requests on their way through raft.
 *
 * A request's operation is put into an InternalRaftRequest as the client encoded it; the entries of one turn are
 * proposed together. Who waits is found again by its id when the entry comes back committed. All
 * requests have the same time-out, so the list in order of proposal is the list in order of expiry. */
#include "base/bytes.h"
#include "pb/arena_pb.h"
#include "server/internal.h"

/* InternalRaftRequest.ID, InternalRaftRequest.header and its fields */
#define FIELD_ID 1
#define FIELD_HEADER 100
#define WIRE_LEN 2

/* Of an entry beside its data, in the batch and in the log. */
#define ENTRY_COST_BYTES 128

/* Entries of others count as well: the figure may be too small then, never too large for long. */
void server__count_applied(struct server *self, const struct raft_entry *entry) {
    uint64_t bytes = entry->data.len + ENTRY_COST_BYTES;
    self->unapplied_bytes -= bytes < self->unapplied_bytes ? bytes : self->unapplied_bytes;
    self->log_bytes += bytes;
}

void server__recount_unapplied(struct server *self) {
    self->unapplied_bytes = 0;
    for (size_t i = 0; i < self->batch.count; i++)
        self->unapplied_bytes += self->batch.items[i].data.len + ENTRY_COST_BYTES;
}

static uint64_t tag(uint32_t field) { return (uint64_t)field << 3 | WIRE_LEN; }

static size_t length_field_size(uint32_t field, size_t len) { return varint_size(tag(field)) + varint_size(len) + len; }

static uint8_t *store_head(uint8_t *at, uint32_t field, size_t len) {
    at += varint_store(at, tag(field));
    return at + varint_store(at, len);
}

static uint8_t *store_bytes(uint8_t *at, struct slice bytes) {
    if (bytes.len != 0) memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

static size_t header_size(const struct server_request *request) {
    size_t size = 1 + varint_size(request->id);
    if (request->username.len != 0) size += length_field_size(2, request->username.len);
    if (request->auth_revision != 0) size += 1 + varint_size(request->auth_revision);
    return size;
}

static uint8_t *store_header(uint8_t *at, const struct server_request *request, size_t size) {
    at = store_head(at, FIELD_HEADER, size);
    *at++ = 1 << 3;
    at += varint_store(at, request->id);
    if (request->username.len != 0) {
        at = store_head(at, 2, request->username.len);
        at = store_bytes(at, request->username);
    }
    if (request->auth_revision != 0) {
        *at++ = 3 << 3;
        at += varint_store(at, request->auth_revision);
    }
    return at;
}

/* The id without a header, as etcd wrote before it had auth and as every etcd reads (it asks for ID first, and takes a
 * missing header as "nobody"): three bytes less per entry. */
static struct shared *encode_anonymous(const struct server_request *request) {
    uint32_t field = (uint32_t)request->op;
    struct shared *data = shared_new(1 + varint_size(request->id) + length_field_size(field, request->encoded.len));
    uint8_t *at = data->bytes;
    *at++ = FIELD_ID << 3;
    at += varint_store(at, request->id);
    at = store_head(at, field, request->encoded.len);
    at = store_bytes(at, request->encoded);
    CHECK(at == data->bytes + data->size_bytes);
    return data;
}

static size_t size_with_header(const struct server_request *request) {
    return length_field_size((uint32_t)request->op, request->encoded.len) +
           length_field_size(FIELD_HEADER, header_size(request));
}

/* Fields go by number, as Go's encoder writes them: the header stands before the auth operations, behind the others. */
static struct shared *encode(const struct server_request *request) {
    if (request->username.len == 0 && request->auth_revision == 0) return encode_anonymous(request);
    size_t head_size = header_size(request);
    uint32_t field = (uint32_t)request->op;
    struct shared *data = shared_new(size_with_header(request));
    uint8_t *at = data->bytes;
    if (field > FIELD_HEADER) at = store_header(at, request, head_size);
    at = store_head(at, field, request->encoded.len);
    at = store_bytes(at, request->encoded);
    if (field < FIELD_HEADER) at = store_header(at, request, head_size);
    CHECK(at == data->bytes + data->size_bytes);
    return data;
}

uint64_t server_next_id(struct server *self) {
    self->id_suffix = (self->id_suffix + 1) & 0xffffffffffffull;
    return self->id_prefix | self->id_suffix;
}

void server__propose_data(struct server *self, enum raft_entry_type type, struct shared *data) {
    VEC_PUSH(&self->batch, raft_entry_make(type, 0, 0, data));
    self->unapplied_bytes += data->size_bytes + ENTRY_COST_BYTES;
    server__want_turn(self);
}

void server__propose_message(struct server *self, enum server_op op, const void *message) {
    if (self->state != SERVER_RUNNING) return;
    struct buf encoded = BUF_INIT;
    pb_pack(message, &encoded);
    struct server_request request = {.op = op, .encoded = buf_slice(&encoded), .id = server_next_id(self)};
    if (op == SERVER_OP_LEASE_REVOKE && auth_store_is_enabled(self->auth)) {
        /* a lease that ran out takes its keys along, whoever owns them */
        request.username = SLICE_LITERAL("root");
        request.auth_revision = auth_store_revision(self->auth);
    }
    server__propose_data(self, RAFT_ENTRY_NORMAL, encode(&request));
    buf_release(&encoded);
}

enum err server_propose(struct server *self, struct server_request *request) {
    if (self->state != SERVER_RUNNING) return ERR_STOPPED;
    if (self->committed_index > self->applied_index + SERVER_MAX_GAP) return ERR_TOO_MANY_REQUESTS;
    if (self->unapplied_bytes > SERVER_MAX_UNAPPLIED_BYTES) return ERR_TOO_MANY_REQUESTS;
    request->id = server_next_id(self);
    if (size_with_header(request) > self->config.max_request_bytes) return ERR_REQUEST_TOO_LARGE;
    TRY(server__quota_check(self, request->op, request->message));
    request->proposed_ns = env_now_ns(self->env);
    map_u64_put(&self->pending, request->id, request);
    list_push_back(&self->pending_order, &request->link);
    self->stats.proposals_pending++;
    server__propose_data(self, RAFT_ENTRY_NORMAL, encode(request));
    return OK;
}

struct server_request *server__take_request(struct server *self, uint64_t id) {
    struct server_request *request = map_u64_remove(&self->pending, id);
    if (request == NULL) return NULL;
    list_remove(&request->link);
    self->stats.proposals_pending--;
    return request;
}

void server_cancel(struct server *self, struct server_request *request) {
    if (request->id != 0 && map_u64_get(&self->pending, request->id) == request)
        server__take_request(self, request->id);
}

void server__answer(struct server *self, struct server_request *request, enum err error, int64_t revision) {
    request->error = error;
    request->revision = revision;
    request->callback(request);
}

static void release_batch(struct server *self) {
    for (size_t i = 0; i < self->batch.count; i++) raft_entry_release(&self->batch.items[i]);
    self->batch.count = 0;
}

/* Without a leader proposals wait, as in etcd, until there is one or they time out. */
void server__propose_batch(struct server *self) {
    if (self->batch.count == 0 || self->lead == 0) return;
    struct raft_event event = {.type = RAFT_PROPOSE,
                               .propose = {.entries = self->batch.items, .count = self->batch.count}};
    enum err error = raft_step(self->raft, &event, NULL);
    if (error != OK) {
        self->stats.proposals_failed += self->batch.count;
        release_batch(self);
        server__recount_unapplied(self);
        server__fail_all_requests(self, error);
        return;
    }
    release_batch(self);
}

enum err server__timeout_error(const struct server *self, int64_t proposed_ns) { return ERR_TIMEOUT; }

void server__check_timeouts(struct server *self, int64_t now_ns) {
    while (!list_is_empty(&self->pending_order)) {
        struct server_request *request = CONTAINER_OF(self->pending_order.next, struct server_request, link);
        if (now_ns - request->proposed_ns < self->request_timeout_ns) break;
        server__take_request(self, request->id);
        self->stats.proposals_failed++;
        server__answer(self, request, server__timeout_error(self, request->proposed_ns), 0);
    }
}

void server__fail_all_requests(struct server *self, enum err error) {
    while (!list_is_empty(&self->pending_order)) {
        struct server_request *request = CONTAINER_OF(self->pending_order.next, struct server_request, link);
        server__take_request(self, request->id);
        server__answer(self, request, error, 0);
    }
    if (self->state != SERVER_RUNNING) release_batch(self);
}
