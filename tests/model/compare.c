/* compare.c - see compare.h. */
#include "model/compare.h"

#include <inttypes.h>
#include <stdlib.h>

#define LONG_BYTES 60

/* ---- in words ---- */

static void tell_bytes(struct slice bytes, struct buf *text) {
    buf_append_byte(text, '"');
    for (size_t i = 0; i < bytes.len && i < LONG_BYTES; i++) {
        uint8_t c = bytes.data[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            buf_append_byte(text, c);
        else
            buf_printf(text, "\\x%02x", c);
    }
    buf_append_byte(text, '"');
    if (bytes.len > LONG_BYTES) buf_printf(text, "...(%zu bytes)", bytes.len);
}

static void tell_message(const ProtobufCMessage *message, unsigned indent, bool is_lines, struct buf *text);

static void tell_value(const ProtobufCFieldDescriptor *field, const void *value, unsigned indent, bool is_lines,
                       struct buf *text) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64: buf_printf(text, "%" PRId64, *(const int64_t *)value); break;
    case PROTOBUF_C_TYPE_UINT64: buf_printf(text, "%" PRIu64, *(const uint64_t *)value); break;
    case PROTOBUF_C_TYPE_UINT32: buf_printf(text, "%" PRIu32, *(const uint32_t *)value); break;
    case PROTOBUF_C_TYPE_BOOL: buf_append_cstr(text, *(const protobuf_c_boolean *)value ? "true" : "false"); break;
    case PROTOBUF_C_TYPE_STRING: tell_bytes(slice_from_cstr(*(char *const *)value), text); break;
    case PROTOBUF_C_TYPE_BYTES: tell_bytes(pb_slice(*(const ProtobufCBinaryData *)value), text); break;
    case PROTOBUF_C_TYPE_MESSAGE:
        tell_message(*(const ProtobufCMessage *const *)value, indent + 1, is_lines, text);
        break;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumValue *name = protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)value);
        if (name != NULL)
            buf_append_cstr(text, name->name);
        else
            buf_printf(text, "%d", *(const int *)value);
        break;
    }
    default: buf_append_cstr(text, "?"); break;
    }
}

static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
    const uint8_t *base = (const uint8_t *)message;
    const void *value = base + field->offset;
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
        return *(const uint32_t *)(const void *)(base + field->quantifier_offset) == field->id;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64: return *(const uint64_t *)value != 0;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM: return *(const uint32_t *)value != 0;
    case PROTOBUF_C_TYPE_BOOL: return *(const protobuf_c_boolean *)value;
    case PROTOBUF_C_TYPE_STRING: return (*(char *const *)value)[0] != 0;
    case PROTOBUF_C_TYPE_BYTES: return ((const ProtobufCBinaryData *)value)->len != 0;
    case PROTOBUF_C_TYPE_MESSAGE: return *(void *const *)value != NULL;
    default: return true;
    }
}

static size_t value_size(const ProtobufCFieldDescriptor *field) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_MESSAGE:
    case PROTOBUF_C_TYPE_STRING: return sizeof(void *);
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_UINT32: return sizeof(uint32_t);
    default: return sizeof(uint64_t);
    }
}

static void tell_name(const ProtobufCFieldDescriptor *field, unsigned indent, bool is_lines, bool is_first,
                      struct buf *text) {
    if (is_lines)
        buf_printf(text, "\n%*s", (int)(2 * indent), "");
    else if (!is_first)
        buf_append_byte(text, ' ');
    buf_append_cstr(text, field->name);
    buf_append_cstr(text, field->type == PROTOBUF_C_TYPE_MESSAGE ? " " : "=");
}

static void tell_message(const ProtobufCMessage *message, unsigned indent, bool is_lines, struct buf *text) {
    const ProtobufCMessageDescriptor *type = message->descriptor;
    bool is_first = true;
    buf_append_byte(text, '{');
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        const uint8_t *value = (const uint8_t *)message + field->offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)(const void *)((const uint8_t *)message + field->quantifier_offset);
            const uint8_t *items = *(uint8_t *const *)(const void *)value;
            for (size_t j = 0; j < count; j++, is_first = false) {
                tell_name(field, indent, is_lines, is_first, text);
                tell_value(field, items + j * value_size(field), indent, is_lines, text);
            }
        } else if (is_set(message, field)) {
            tell_name(field, indent, is_lines, is_first, text);
            tell_value(field, value, indent, is_lines, text);
            is_first = false;
        }
    }
    buf_append_byte(text, '}');
}

void compare_tell(const ProtobufCMessage *message, struct buf *text) { tell_message(message, 0, false, text); }
void compare_tell_lines(const ProtobufCMessage *message, unsigned indent, struct buf *text) {
    tell_message(message, indent, true, text);
}

/* ---- what has no order ---- */

static int by_id(const void *a, const void *b) {
    int64_t left = (*(Etcdserverpb__LeaseStatus *const *)a)->id, right = (*(Etcdserverpb__LeaseStatus *const *)b)->id;
    return (left > right) - (left < right);
}

static int by_bytes(const void *a, const void *b) {
    return slice_compare(pb_slice(*(const ProtobufCBinaryData *)a), pb_slice(*(const ProtobufCBinaryData *)b));
}

static int by_key(const void *a, const void *b) {
    return slice_compare(pb_slice((*(Mvccpb__KeyValue *const *)a)->key),
                         pb_slice((*(Mvccpb__KeyValue *const *)b)->key));
}

/* Equal in what they are sorted by. Of values only when they have been sent. */
static bool is_tie(const Etcdserverpb__RangeRequest *request, const Mvccpb__KeyValue *a, const Mvccpb__KeyValue *b) {
    switch (request->sort_target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION: return a->version == b->version;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE: return a->create_revision == b->create_revision;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD: return a->mod_revision == b->mod_revision;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE:
        return request->keys_only || slice_equal(pb_slice(a->value), pb_slice(b->value));
    default: return false;
    }
}

/* Ties in the order of their keys; of the last ones, which a limit may have cut anywhere, only what makes them ties. */
static void order_range(const Etcdserverpb__RangeRequest *request, Etcdserverpb__RangeResponse *response) {
    for (size_t from = 0, to; from < response->n_kvs; from = to) {
        for (to = from + 1; to < response->n_kvs && is_tie(request, response->kvs[from], response->kvs[to]);) to++;
        qsort(response->kvs + from, to - from, sizeof *response->kvs, by_key);
        if (to < response->n_kvs || !response->more ||
            request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY)
            continue;
        for (size_t i = from; i < to; i++) {
            Mvccpb__KeyValue *kv = response->kvs[i], left = MVCCPB__KEY_VALUE__INIT;
            if (request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION) left.version = kv->version;
            if (request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE)
                left.create_revision = kv->create_revision;
            if (request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD)
                left.mod_revision = kv->mod_revision;
            if (request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE) left.value = kv->value;
            *kv = left;
        }
    }
}

static void order_txn(const Etcdserverpb__TxnRequest *request, Etcdserverpb__TxnResponse *response) {
    Etcdserverpb__RequestOp **ops = response->succeeded ? request->success : request->failure;
    size_t count = response->succeeded ? request->n_success : request->n_failure;
    for (size_t i = 0; i < count && i < response->n_responses; i++) {
        Etcdserverpb__ResponseOp *op = response->responses[i];
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE &&
            op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE)
            order_range(ops[i]->request_range, op->response_range);
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN &&
            op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN)
            order_txn(ops[i]->request_txn, op->response_txn);
    }
}

static void order(enum model_method method, const void *request, void *message) {
    switch (method) {
    case MODEL_RANGE: order_range(request, message); break;
    case MODEL_TXN: order_txn(request, message); break;
    case MODEL_LEASES: {
        Etcdserverpb__LeaseLeasesResponse *leases = message;
        if (leases->n_leases != 0) qsort(leases->leases, leases->n_leases, sizeof *leases->leases, by_id);
        break;
    }
    case MODEL_TIME_TO_LIVE: {
        Etcdserverpb__LeaseTimeToLiveResponse *lease = message;
        if (lease->n_keys != 0) qsort(lease->keys, lease->n_keys, sizeof *lease->keys, by_bytes);
        break;
    }
    default: break;
    }
}

/* ---- side by side ---- */

static void forgive(enum model_method method, struct model_answer *model, void *message) {
    if (method == MODEL_HASH_KV && model->is_hash_open) {
        Etcdserverpb__HashKVResponse *hash = message;
        if (model->message != NULL) ((Etcdserverpb__HashKVResponse *)model->message)->hash = hash->hash;
        if (model->other_message != NULL) ((Etcdserverpb__HashKVResponse *)model->other_message)->hash = hash->hash;
    }
    if (method == MODEL_TIME_TO_LIVE && model->message != NULL) {
        Etcdserverpb__LeaseTimeToLiveResponse *lease = message;
        Etcdserverpb__LeaseTimeToLiveResponse *expected = model->message;
        int64_t off = lease->ttl - expected->ttl;
        if (off >= -model->ttl_slack_s && off <= model->ttl_slack_s && lease->ttl >= 0) lease->ttl = expected->ttl;
    }
}

static bool is_equal(const void *a, const void *b) {
    struct buf left = BUF_INIT, right = BUF_INIT;
    pb_pack(a, &left);
    pb_pack(b, &right);
    bool equal = slice_equal(buf_slice(&left), buf_slice(&right));
    buf_release(&left);
    buf_release(&right);
    return equal;
}

bool compare_answers(enum model_method method, const void *request, struct model_answer *model, int code,
                     struct slice text, void *message) {
    if (code == 0 && message != NULL) forgive(method, model, message);
    if (code == 0 && message != NULL && model->other_message != NULL && is_equal(model->other_message, message))
        return true;
    if (code != model->code || !slice_equal_cstr(text, model->text)) return false;
    if (code != 0) return true;
    if (message == NULL) return false;
    order(method, request, model->message);
    order(method, request, message);
    return is_equal(model->message, message);
}
