/* codec.c - answers of a server as the client's plain structs. The first byte says of which call. */
#include "fuzz/fuzz.h"

#include "client/codec.h"

#include "pb/arena_pb.h"

/* An element of a list takes two bytes of an answer, and some 200 as a message and as a plain struct. */
#define BASE_BYTES (64 * 1024)
#define FACTOR 2048

enum { WATCH = ETCD_METHOD_MOVE_LEADER + 1, KEEPALIVE, SNAPSHOT, RAW, REQUESTS, KINDS };

static uint32_t sum;

static void touch(struct etcd_bytes bytes) {
    for (size_t i = 0; i < bytes.len; i++) sum = sum * 31 + ((const uint8_t *)bytes.data)[i];
}

static void touch_kvs(const struct etcd_kv *kvs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        touch(kvs[i].key);
        touch(kvs[i].value);
    }
}

static void touch_range(const struct etcd_range_response *range) { touch_kvs(range->kvs, range->kv_count); }
static void touch_put(const struct etcd_put_response *put) {
    if (put->prev_kv != NULL) touch_kvs(put->prev_kv, 1);
}
static void touch_delete(const struct etcd_delete_response *response) {
    touch_kvs(response->prev_kvs, response->prev_kv_count);
}

static void touch_txn(const struct etcd_txn_response *txn) {
    for (size_t i = 0; i < txn->response_count; i++) {
        const struct etcd_op_response *op = &txn->responses[i];
        switch (op->type) {
        case ETCD_OP_RANGE: touch_range(op->range); break;
        case ETCD_OP_PUT: touch_put(op->put); break;
        case ETCD_OP_DELETE: touch_delete(op->delete_range); break;
        case ETCD_OP_TXN: touch_txn(op->txn); break;
        }
    }
}

static void touch_text(const char *text) {
    for (; *text != 0; text++) sum = sum * 31 + (uint8_t)*text;
}

static void touch_members(const struct etcd_members_response *response) {
    for (size_t i = 0; i < response->member_count; i++) {
        const struct etcd_member *member = &response->members[i];
        touch_text(member->name);
        for (size_t k = 0; k < member->peer_url_count; k++) touch_text(member->peer_urls[k]);
        for (size_t k = 0; k < member->client_url_count; k++) touch_text(member->client_urls[k]);
    }
}

static void answer(int method, struct slice bytes) {
    void *response = client_decode_answer(client_method_get((enum etcd_method)method), bytes);
    if (response == NULL) return;
    switch ((enum etcd_method)method) {
    case ETCD_METHOD_RANGE: touch_range(response); break;
    case ETCD_METHOD_PUT: touch_put(response); break;
    case ETCD_METHOD_DELETE: touch_delete(response); break;
    case ETCD_METHOD_TXN: touch_txn(response); break;
    case ETCD_METHOD_MEMBER_LIST:
    case ETCD_METHOD_MEMBER_ADD:
    case ETCD_METHOD_MEMBER_REMOVE:
    case ETCD_METHOD_MEMBER_UPDATE:
    case ETCD_METHOD_MEMBER_PROMOTE: touch_members(response); break;
    default: break;
    }
    client_response_free(response);
}

static void watch(struct slice bytes, struct arena *arena) {
    struct client_watch_answer *answer = client_decode_watch(bytes, arena);
    if (answer == NULL) return;
    for (size_t i = 0; i < answer->response.event_count; i++) {
        const struct etcd_event *event = &answer->response.events[i];
        touch_kvs(&event->kv, 1);
        if (event->prev_kv != NULL) touch_kvs(event->prev_kv, 1);
    }
}

static void others(int kind, struct slice bytes, struct arena *arena) {
    struct etcd_lease_keepalive_response keepalive;
    struct etcd_bytes piece;
    uint64_t remaining_bytes;
    const char *version;
    if (kind == KEEPALIVE) {
        (void)client_decode_keepalive(bytes, arena, &keepalive);
    } else if (kind == SNAPSHOT) {
        if (!client_decode_snapshot(bytes, arena, &piece, &remaining_bytes, &version)) return;
        touch(piece);
        touch_text(version);
    } else {
        struct etcd_raw_response *raw = client_raw_answer(bytes);
        CHECK(slice_equal(client_slice(raw->message), bytes));
        client_response_free(raw);
    }
}

/* ---- requests: whatever a user says goes out as protobuf that reads ---- */

static struct etcd_bytes bytes_of(struct fuzz_input *input) {
    return client_bytes(fuzz_take(input, fuzz_byte(input) % 16));
}

static void encode(enum etcd_method method, const void *request, struct arena *arena) {
    struct buf out = BUF_INIT;
    (void)client_method_get(method)->encode(request, arena, &out);
    buf_release(&out);
}

static void encode_watch(const struct etcd_watch_request *request) {
    struct buf out = BUF_INIT;
    client_encode_watch_create(request, request->start_revision, &out);
    client_encode_watch_cancel(request->start_revision, &out);
    client_encode_watch_progress(&out);
    buf_release(&out);
}

/* A transaction in a transaction in ..., each with the same operations. */
static const struct etcd_txn_request *nest(struct arena *arena, unsigned depth, const struct etcd_compare *compare,
                                           const struct etcd_op *ops, size_t count) {
    struct etcd_txn_request *txn = ARENA_NEW(arena, struct etcd_txn_request);
    *txn = (struct etcd_txn_request){compare, 1, ops, count, ops, count - 1};
    for (; depth > 0; depth--) {
        struct etcd_op *op = ARENA_NEW(arena, struct etcd_op);
        *op = (struct etcd_op){.type = ETCD_OP_TXN, .txn = txn};
        txn = ARENA_NEW(arena, struct etcd_txn_request);
        *txn = (struct etcd_txn_request){compare, 1, op, 1, NULL, 0};
    }
    return txn;
}

static void requests(struct fuzz_input *input, struct arena *arena) {
    uint8_t flags = fuzz_byte(input), depth = fuzz_byte(input) % 70;
    int64_t number = (int64_t)fuzz_number(input, 8);
    struct etcd_range_request range = {.key = bytes_of(input),
                                       .range_end = bytes_of(input),
                                       .limit = number,
                                       .sort_order = (enum etcd_sort_order)(flags % 3),
                                       .keys_only = flags & 1};
    struct etcd_put_request put = {.key = range.key, .value = bytes_of(input), .lease = number, .prev_kv = flags & 2};
    struct etcd_delete_request delete_range = {.key = range.key, .range_end = range.range_end};
    struct etcd_compare compare = {
        range.key, range.range_end, (enum etcd_compare_target)(flags % 5), (enum etcd_compare_result)(flags % 4),
        number,    put.value};
    struct etcd_op ops[] = {{.type = ETCD_OP_RANGE, .range = &range},
                            {.type = ETCD_OP_PUT, .put = &put},
                            {.type = ETCD_OP_DELETE, .delete_range = &delete_range}};
    struct etcd_watch_request watch_request = {.key = range.key,
                                               .range_end = range.range_end,
                                               .start_revision = number,
                                               .no_put = flags & 1,
                                               .no_delete = flags & 2,
                                               .fragment = flags & 4};
    const char *urls[] = {"http://a:1", "b"};
    struct etcd_member_add_request add = {.peer_urls = urls, .peer_url_count = 2, .is_learner = flags & 1};
    struct etcd_member_update_request update = {.id = (uint64_t)number, .peer_urls = urls, .peer_url_count = 2};
    static const uint64_t zeros[64];
    encode(ETCD_METHOD_RANGE, &range, arena);
    encode(ETCD_METHOD_PUT, &put, arena);
    encode(ETCD_METHOD_DELETE, &delete_range, arena);
    encode(ETCD_METHOD_TXN, nest(arena, depth, &compare, ops, 3), arena);
    encode(ETCD_METHOD_MEMBER_ADD, &add, arena);
    encode(ETCD_METHOD_MEMBER_UPDATE, &update, arena);
    for (int method = ETCD_METHOD_COMPACT; method <= ETCD_METHOD_MOVE_LEADER; method++)
        encode((enum etcd_method)method, zeros, arena);
    encode_watch(&watch_request);
    char *path = fuzz_text(fuzz_rest(input));
    (void)client_path_is_repeatable(path);
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    int kind = fuzz_byte(&input) % KINDS;
    struct arena arena;
    struct fuzz_limit limit;
    arena_init(&arena, 0);
    fuzz_begin(&limit, size, kind == REQUESTS ? 1024 * 1024 : BASE_BYTES, FACTOR);
    if (kind < WATCH)
        answer(kind, fuzz_rest(&input));
    else if (kind == WATCH)
        watch(fuzz_rest(&input), &arena);
    else if (kind == REQUESTS)
        requests(&input, &arena);
    else
        others(kind, fuzz_rest(&input), &arena);
    fuzz_end();
    arena_release(&arena);
    return 0;
}
