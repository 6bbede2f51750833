/* kv_range.c - reads: Range, and transactions that change nothing.
 *
 *   linearizable --- read index ---+--> one key: answered from the store at once
 *   serializable ------------------+--> a range: collected in slices, a turn each; then
 *                                         small: copied into one message
 *                                         large: made piece by piece as the client takes it
 *
 * A large answer needs its length first, so the pairs' places are gathered (48 bytes each), never their bytes. */
#include "api/internal.h"
#include "mvcc/txn.h"

struct reading {
    struct server_read read;
    struct api *api;
    struct grpc_call *call;
    const Etcdserverpb__RangeRequest *range_request; /* or */
    const Etcdserverpb__TxnRequest *txn_request;
    bool waits_for_index;
    uint64_t auth_revision; /* when it was allowed; 0 while auth is off */

    struct store_range *range;
    struct env_timer next_slice;
    VEC(struct slice) pairs;
    size_t pair_bytes;  /* with tags and lengths */
    size_t place_bytes; /* counted in the api's */

    struct http_producer producer;
    struct buf tail; /* more and count */
    size_t next_pair;
    bool has_head;
    bool is_failed;
};

static size_t pair_size(struct slice pair) { return 1 + varint_size(pair.len) + pair.len; }

static void append_pair(struct buf *out, struct slice pair) {
    /* `out` has exactly the room it needs: buf_append_varint would ask for more */
    out->data[out->len++] = 2 << 3 | 2;
    out->len += varint_store(out->data + out->len, pair.len);
    buf_append_slice(out, pair);
}

/* What is gathered before the first byte of an answer is sent: of all ranges together it is bounded, but for one that
 * is alone. */
static bool count_places(struct reading *self) {
    size_t bytes = store_range_place_bytes(self->range) + self->pairs.capacity * sizeof *self->pairs.items;
    self->api->range_place_bytes += bytes - self->place_bytes;
    self->place_bytes = bytes;
    return self->api->range_place_bytes <= API_RANGE_PLACES_MAX_BYTES ||
           self->api->range_place_bytes == self->place_bytes;
}

static void release(struct reading *self) {
    self->api->range_place_bytes -= self->place_bytes;
    self->place_bytes = 0;
    env_timer_stop(self->api->env, &self->next_slice);
    store_range_free(self->range);
    self->range = NULL;
    VEC_RELEASE(&self->pairs);
    buf_release(&self->tail);
}

static void fail(struct reading *self, enum err error) {
    struct grpc_call *call = self->call;
    release(self);
    grpc_call_fail(call, error);
}

/* ---- one key ---- */

static bool is_single_key(const Etcdserverpb__RangeRequest *request) {
    return request->range_end.len == 0 && !request->keys_only && !request->count_only &&
           request->min_mod_revision == 0 && request->max_mod_revision == 0 && request->min_create_revision == 0 &&
           request->max_create_revision == 0;
}

/* False: the value is large, and better sent as the client takes it than copied now. */
static bool answer_single(struct reading *self) {
    struct store *store = server_store(self->api->server);
    const Etcdserverpb__RangeRequest *request = self->range_request;
    struct slice pair;
    bool found;
    enum err error = store_get(store, pb_slice(request->key), request->revision, &pair, &found);
    if (error != OK) {
        fail(self, error);
        return true;
    }
    if (found && pair.len > API_RANGE_COPY_BYTES) return false;
    uint8_t header[SERVER_HEADER_MAX_BYTES];
    size_t header_len = server_store_header(self->api->server, store_revision(store), header);
    size_t body_len = found ? pair_size(pair) + 2 : 0;
    uint8_t *at = grpc_call_reserve(self->call, header_len + body_len);
    memcpy(at, header, header_len);
    at += header_len;
    if (found) {
        *at++ = 2 << 3 | 2;
        at += varint_store(at, pair.len);
        memcpy(at, pair.data, pair.len);
        at += pair.len;
        *at++ = 4 << 3; /* count */
        *at++ = 1;
    }
    grpc_call_reply_reserved(self->call);
    return true;
}

/* ---- a range ---- */

static enum http_pull pull(struct http_producer *producer, size_t want_bytes, struct http_piece *ret_piece) {
    struct reading *self = CONTAINER_OF(producer, struct reading, producer);
    size_t from = self->next_pair, size_bytes = 0;
    while (self->next_pair < self->pairs.count && size_bytes < want_bytes)
        size_bytes += pair_size(self->pairs.items[self->next_pair++]);
    bool is_last = self->next_pair == self->pairs.count;
    if (from == self->next_pair && self->tail.len == 0) return HTTP_PULL_END;
    uint8_t header[SERVER_HEADER_MAX_BYTES];
    size_t header_len = 0;
    if (!self->has_head) header_len = server_store_header(self->api->server, store_range_revision(self->range), header);
    self->has_head = true;
    struct shared *piece = shared_new(header_len + size_bytes + (is_last ? self->tail.len : 0));
    struct buf out = {.data = piece->bytes, .capacity = piece->size_bytes};
    buf_append(&out, header, header_len);
    for (size_t i = from; i < self->next_pair; i++) append_pair(&out, self->pairs.items[i]);
    if (is_last) {
        buf_append_slice(&out, buf_slice(&self->tail));
        buf_clear(&self->tail);
    }
    CHECK(out.len == piece->size_bytes);
    *ret_piece = http_piece_from_shared(piece);
    return HTTP_PULL_PIECE;
}

static void produced(struct http_producer *producer) {
    struct reading *self = CONTAINER_OF(producer, struct reading, producer);
    release(self);
    mem_free(self);
}

/* Users or roles have changed while the range was collected: what was allowed then may not be now. */
static bool is_outdated(const struct reading *self) {
    return self->auth_revision != 0 && self->auth_revision != auth_store_revision(server_auth(self->api->server));
}

static void answer_range(struct reading *self) {
    if (is_outdated(self)) {
        fail(self, ERR_AUTH_OLD_REVISION);
        return;
    }
    api__append_uint(&self->tail, 3, store_range_more(self->range));
    api__append_uint(&self->tail, 4, (uint64_t)store_range_count(self->range));
    uint8_t header[SERVER_HEADER_MAX_BYTES];
    int64_t revision = store_range_revision(self->range);
    size_t header_len = server_store_header(self->api->server, revision, header);
    size_t total_bytes = header_len + self->pair_bytes + self->tail.len;
    if (total_bytes > GRPC_SEND_MAX_BYTES) {
        struct grpc_call *call = self->call;
        release(self);
        api__fail_too_long(call, total_bytes);
        return;
    }
    if (total_bytes > API_RANGE_COPY_BYTES && !count_places(self)) {
        fail(self, ERR_TOO_MANY_REQUESTS);
        return;
    }
    if (total_bytes > API_RANGE_COPY_BYTES) {
        struct reading *moved = mem_alloc(sizeof *moved); /* it outlives the call */
        *moved = *self;
        moved->producer = (struct http_producer){.pull = pull, .done = produced};
        grpc_call_set_context(self->call, NULL);
        grpc_call_reply_pieces(moved->call, total_bytes, &moved->producer);
        return;
    }
    struct buf out = {.data = grpc_call_reserve(self->call, total_bytes), .capacity = total_bytes};
    buf_append(&out, header, header_len);
    for (size_t i = 0; i < self->pairs.count; i++) append_pair(&out, self->pairs.items[i]);
    buf_append_slice(&out, buf_slice(&self->tail));
    struct grpc_call *call = self->call;
    release(self);
    grpc_call_reply_reserved(call);
}

/* Gathers where the pairs are, at most a slice of them a turn. True when all are there or the call has ended. */
static bool gather(struct reading *self) {
    for (size_t i = 0; i < API_RANGE_SLICE_KEYS; i++) {
        struct slice pair;
        bool found;
        enum err error = store_range_next(self->range, &pair, &found);
        if (error != OK) {
            fail(self, error);
            return true;
        }
        if (!found) {
            answer_range(self);
            return true;
        }
        VEC_PUSH(&self->pairs, pair);
        self->pair_bytes += pair_size(pair);
    }
    return false;
}

static void collect_slice(struct env_timer *timer) {
    struct reading *self = CONTAINER_OF(timer, struct reading, next_slice);
    bool is_collected = self->pairs.count > 0 || store_range_step(self->range, API_RANGE_SLICE_KEYS);
    if (is_collected && gather(self)) return;
    if (!count_places(self)) {
        fail(self, ERR_TOO_MANY_REQUESTS);
        return;
    }
    env_timer_start(self->api->env, &self->next_slice, 0);
}

static void answer_txn(struct reading *self) {
    struct buf out = BUF_INIT;
    int64_t revision;
    enum err error = txn_apply(server_store(self->api->server), self->txn_request, 0, &out, &revision);
    if (error != OK)
        grpc_call_fail(self->call, error);
    else
        api__reply(self->api, self->call, revision, buf_slice(&out));
    buf_release(&out);
}

static enum err check_permission(struct reading *self) {
    self->auth_revision = auth_store_revision(server_auth(self->api->server));
    if (self->txn_request != NULL) return api__check_read_txn(self->api, self->call, self->txn_request);
    const Etcdserverpb__RangeRequest *request = self->range_request;
    return api__check_read(self->api, self->call, pb_slice(request->key), pb_slice(request->range_end));
}

static void answer(struct reading *self) {
    if (api__auth_is_on(self->api)) {
        enum err error = check_permission(self);
        if (error != OK) {
            fail(self, error);
            return;
        }
    }
    if (self->txn_request != NULL) {
        answer_txn(self);
        return;
    }
    if (is_single_key(self->range_request) && answer_single(self)) return;
    struct store_range_options options;
    store_range_options_from(self->range_request, &options);
    enum err error = store_range_begin(server_store(self->api->server), &options, &self->range);
    if (error != OK) {
        fail(self, error);
        return;
    }
    self->next_slice.callback = collect_slice;
    collect_slice(&self->next_slice);
}

static void index_known(struct server_read *read, enum err error) {
    struct reading *self = CONTAINER_OF(read, struct reading, read);
    self->waits_for_index = false;
    if (error != OK)
        fail(self, error);
    else
        answer(self);
}

static void begin(struct reading *self, bool is_serializable) {
    if (is_serializable) {
        answer(self);
        return;
    }
    self->read.callback = index_known;
    enum err error = server_read_index(self->api->server, &self->read);
    if (error != OK)
        fail(self, error);
    else
        self->waits_for_index = true;
}

static struct reading *reading_new(struct grpc_call *call) {
    struct reading *self = ARENA_NEW(grpc_call_arena(call), struct reading);
    self->api = grpc_call_service(call);
    self->call = call;
    grpc_call_set_context(call, self);
    return self;
}

void api__range(struct grpc_call *call) {
    const Etcdserverpb__RangeRequest *request = api__request(call, &etcdserverpb__range_request__descriptor);
    if (request == NULL) return;
    enum err error = api__check_range(request);
    if (error != OK) {
        grpc_call_fail(call, error);
        return;
    }
    struct reading *self = reading_new(call);
    self->range_request = request;
    begin(self, request->serializable);
}

void api__read_txn(struct grpc_call *call, const Etcdserverpb__TxnRequest *request) {
    struct reading *self = reading_new(call);
    self->txn_request = request;
    begin(self, txn_is_serializable(request));
}

void api__range_cancelled(struct grpc_call *call) {
    struct reading *self = grpc_call_context(call);
    if (self != NULL) {
        if (self->waits_for_index) server_read_cancel(self->api->server, &self->read);
        release(self);
    }
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}
