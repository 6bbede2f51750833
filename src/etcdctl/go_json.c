#include "etcdctl/go_json.h"

#include "base/gotext.h"
#include "pb/rpc.pb-c.h"

#include <stdlib.h>

void go_json_append_string(struct buf *out, const char *text) {
    buf_append_byte(out, '"');
    go_append_json_string(out, slice_from_cstr(text), true);
    buf_append_byte(out, '"');
}

static size_t element_bytes(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    default: return 4;
    }
}

static int64_t integer_at(ProtobufCType type, const void *at) {
    switch (type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: return *(const uint32_t *)at;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64: return *(const int64_t *)at;
    default: return *(const int32_t *)at;
    }
}

static bool is_unsigned_64(ProtobufCType type) {
    return type == PROTOBUF_C_TYPE_UINT64 || type == PROTOBUF_C_TYPE_FIXED64;
}

/* Go leaves fields out that have the zero value of their type. */
static bool is_zero(ProtobufCType type, const void *at) {
    switch (type) {
    case PROTOBUF_C_TYPE_STRING: return !*(char *const *)at || **(char *const *)at == 0;
    case PROTOBUF_C_TYPE_BYTES: return ((const ProtobufCBinaryData *)at)->len == 0;
    case PROTOBUF_C_TYPE_MESSAGE: return !*(void *const *)at;
    case PROTOBUF_C_TYPE_BOOL: return !*(const protobuf_c_boolean *)at;
    case PROTOBUF_C_TYPE_DOUBLE: return *(const double *)at == 0;
    case PROTOBUF_C_TYPE_FLOAT: return *(const float *)at == 0;
    default: return is_unsigned_64(type) ? *(const uint64_t *)at == 0 : integer_at(type, at) == 0;
    }
}

static void append_value(struct buf *out, ProtobufCType type, const void *at) {
    const ProtobufCBinaryData *bytes;
    switch (type) {
    case PROTOBUF_C_TYPE_STRING: go_json_append_string(out, *(char *const *)at); return;
    case PROTOBUF_C_TYPE_BYTES:
        bytes = at;
        buf_append_byte(out, '"');
        append_base64(out, slice_make(bytes->data, bytes->len));
        buf_append_byte(out, '"');
        return;
    case PROTOBUF_C_TYPE_MESSAGE: go_json_append_message(out, *(void *const *)at); return;
    case PROTOBUF_C_TYPE_BOOL: buf_append_cstr(out, *(const protobuf_c_boolean *)at ? "true" : "false"); return;
    case PROTOBUF_C_TYPE_DOUBLE: go_append_float(out, *(const double *)at); return;
    case PROTOBUF_C_TYPE_FLOAT: go_append_float(out, (double)*(const float *)at); return;
    default:
        if (is_unsigned_64(type))
            buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
        else
            buf_printf(out, "%lld", (long long)integer_at(type, at));
    }
}

static void append_field(struct buf *out, const ProtobufCFieldDescriptor *field, const uint8_t *message,
                         const char **separator) {
    const uint8_t *at = message + field->offset;
    size_t count = 1;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        count = *(const size_t *)(message + field->quantifier_offset);
        if (count == 0) return;
        at = *(const uint8_t *const *)at;
    } else if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        if (*(const uint32_t *)(message + field->quantifier_offset) != field->id) return;
    } else if (is_zero(field->type, at)) {
        return;
    }
    buf_printf(out, "%s\"%s\":", *separator, field->name);
    *separator = ",";
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        append_value(out, field->type, at);
        return;
    }
    buf_append_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buf_append_byte(out, ',');
        append_value(out, field->type, at + i * element_bytes(field->type));
    }
    buf_append_byte(out, ']');
}

void go_json_append_fields(struct buf *out, const void *message) {
    const ProtobufCMessageDescriptor *type = ((const ProtobufCMessage *)message)->descriptor;
    const char *separator = "";
    /* Descriptors are sorted by number; Go structs are in the order of declaration, which is the same in every message
     * that is printed. */
    for (unsigned i = 0; i < type->n_fields; i++) append_field(out, &type->fields[i], message, &separator);
}

void go_json_append_message(struct buf *out, const void *message) {
    const ProtobufCMessageDescriptor *type = ((const ProtobufCMessage *)message)->descriptor;
    /* The oneof is an interface in Go, and has a name there. */
    bool wrapped = type == &etcdserverpb__response_op__descriptor;
    buf_append_cstr(out, wrapped ? "{\"Response\":{" : "{");
    go_json_append_fields(out, message);
    buf_append_cstr(out, wrapped ? "}}" : "}");
}
