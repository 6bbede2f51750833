#include "mvcc/keyvalue.h"

#include "base/bytes.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
#define TAG(field, wire) ((field) << 3 | (wire))

static enum err take_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value) {
    size_t taken = varint_load(*at, end, ret_value);
    if (taken == 0) return ERR_CORRUPT;
    *at += taken;
    return OK;
}

static enum err take_bytes(const uint8_t **at, const uint8_t *end, struct slice *ret_bytes) {
    uint64_t length;
    TRY(take_varint(at, end, &length));
    if (length > (uint64_t)(end - *at)) return ERR_CORRUPT;
    *ret_bytes = slice_make(*at, length);
    *at += length;
    return OK;
}

static enum err skip_field(const uint8_t **at, const uint8_t *end, uint64_t tag) {
    uint64_t number;
    struct slice bytes;
    switch (tag & 7) {
    case WIRE_VARINT: return take_varint(at, end, &number);
    case WIRE_BYTES: return take_bytes(at, end, &bytes);
    case WIRE_FIXED64:
    case WIRE_FIXED32: {
        size_t length = (tag & 7) == WIRE_FIXED64 ? 8 : 4;
        if ((size_t)(end - *at) < length) return ERR_CORRUPT;
        *at += length;
        return OK;
    }
    default: return ERR_CORRUPT;
    }
}

enum err keyvalue_decode(struct slice bytes, struct keyvalue *ret_kv) {
    struct keyvalue kv = {.key = SLICE_LITERAL(""), .value = SLICE_LITERAL("")};
    const uint8_t *at = bytes.data, *end = bytes.data + bytes.len;
    while (at < end) {
        uint64_t tag, number;
        TRY(take_varint(&at, end, &tag));
        switch (tag) {
        case TAG(1, WIRE_BYTES): TRY(take_bytes(&at, end, &kv.key)); break;
        case TAG(5, WIRE_BYTES): TRY(take_bytes(&at, end, &kv.value)); break;
        case TAG(2, WIRE_VARINT):
            TRY(take_varint(&at, end, &number));
            kv.create_revision = (int64_t)number;
            break;
        case TAG(3, WIRE_VARINT):
            TRY(take_varint(&at, end, &number));
            kv.mod_revision = (int64_t)number;
            break;
        case TAG(4, WIRE_VARINT):
            TRY(take_varint(&at, end, &number));
            kv.version = (int64_t)number;
            break;
        case TAG(6, WIRE_VARINT):
            TRY(take_varint(&at, end, &number));
            kv.lease = (int64_t)number;
            break;
        default:
            if (tag >> 3 == 0 || tag >> 3 <= 6) return ERR_CORRUPT; /* a known field of another type */
            TRY(skip_field(&at, end, tag));
        }
    }
    *ret_kv = kv;
    return OK;
}

static size_t bytes_field_size(struct slice bytes) { return bytes.len ? 1 + varint_size(bytes.len) + bytes.len : 0; }
static size_t number_field_size(int64_t number) { return number ? 1 + varint_size((uint64_t)number) : 0; }

size_t keyvalue_size(const struct keyvalue *kv) {
    return bytes_field_size(kv->key) + number_field_size(kv->create_revision) + number_field_size(kv->mod_revision) +
           number_field_size(kv->version) + bytes_field_size(kv->value) + number_field_size(kv->lease);
}

static uint8_t *store_bytes_field(uint8_t *out, uint8_t field, struct slice bytes) {
    if (bytes.len == 0) return out;
    *out++ = TAG(field, WIRE_BYTES) & 0xff;
    out += varint_store(out, bytes.len);
    memcpy(out, bytes.data, bytes.len);
    return out + bytes.len;
}

static uint8_t *store_number_field(uint8_t *out, uint8_t field, int64_t number) {
    if (number == 0) return out;
    *out++ = TAG(field, WIRE_VARINT) & 0xff;
    return out + varint_store(out, (uint64_t)number);
}

uint8_t *keyvalue_encode(const struct keyvalue *kv, uint8_t *out) {
    out = store_bytes_field(out, 1, kv->key);
    out = store_number_field(out, 2, kv->create_revision);
    out = store_number_field(out, 3, kv->mod_revision);
    out = store_number_field(out, 4, kv->version);
    out = store_bytes_field(out, 5, kv->value);
    return store_number_field(out, 6, kv->lease);
}
