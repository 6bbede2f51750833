/* pack.c - encodes protobuf-c messages, see arena_pb.h.
 *
 * From the last field to the first, into room that grows downwards: by the time a nested message needs its length in
 * front, it is written and the length known. So nothing is measured before it is written, and each byte is written
 * once; protobuf_c_message_pack walks every nested message twice for each level above it.
 */
#include "pb/arena_pb.h"

#include "base/bytes.h"

#define FIRST_ROOM_BYTES 512

/* out->data[at, end) is written; [start, at) is room. While writing, out->len is `end`, so that growth keeps it. */
struct writer {
    struct buf *out;
    size_t start;
    size_t at;
};

static void grow(struct writer *self, size_t more_bytes) {
    size_t end = self->out->len, used = end - self->at;
    size_t add = (end - self->start) + more_bytes;
    buf_extend(self->out, add);
    memmove(self->out->data + self->at + add, self->out->data + self->at, used);
    self->at += add;
}

/* Room for size_bytes in front of what is written. */
static inline uint8_t *put(struct writer *self, size_t size_bytes) {
    if (__builtin_expect(self->at - self->start < size_bytes, 0)) grow(self, size_bytes);
    self->at -= size_bytes;
    return self->out->data + self->at;
}

static inline void put_varint(struct writer *self, uint64_t value) {
    if (value < 0x80) {
        *put(self, 1) = (uint8_t)value;
        return;
    }
    varint_store(put(self, varint_size(value)), value);
}

static inline void put_key(struct writer *self, const ProtobufCFieldDescriptor *field, unsigned wire_type) {
    put_varint(self, (uint64_t)field->id << 3 | wire_type);
}

static void put_message(struct writer *self, const ProtobufCMessage *message);

static void put_bytes(struct writer *self, const void *data, size_t len) {
    uint8_t *at = put(self, len);
    if (len > 0) memcpy(at, data, len);
    put_varint(self, len);
}

/* The value alone, without its key. */
static void put_scalar(struct writer *self, ProtobufCType type, const void *place) {
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM: put_varint(self, (uint64_t)(int64_t) * (const int32_t *)place); break;
    case PROTOBUF_C_TYPE_UINT32: put_varint(self, *(const uint32_t *)place); break;
    case PROTOBUF_C_TYPE_SINT32: {
        int32_t value = *(const int32_t *)place;
        put_varint(self, (uint32_t)value << 1 ^ -(uint32_t)(value < 0));
        break;
    }
    case PROTOBUF_C_TYPE_SINT64: {
        int64_t value = *(const int64_t *)place;
        put_varint(self, (uint64_t)value << 1 ^ -(uint64_t)(value < 0));
        break;
    }
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64: put_varint(self, *(const uint64_t *)place); break;
    case PROTOBUF_C_TYPE_BOOL: *put(self, 1) = *(const protobuf_c_boolean *)place ? 1 : 0; break;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: store_u32le(put(self, 4), *(const uint32_t *)place); break;
    default: store_u64le(put(self, 8), *(const uint64_t *)place); break;
    }
}

static unsigned wire_type_of(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return 5;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 1;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return 2;
    default: return 0;
    }
}

/* One element or singular field that is present. */
static void put_field(struct writer *self, const ProtobufCFieldDescriptor *field, const void *place) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(const char *const *)place;
        put_bytes(self, text, text == NULL ? 0 : strlen(text));
        break;
    }
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = place;
        put_bytes(self, bytes->data, bytes->len);
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        size_t written = self->out->len - self->at;
        const ProtobufCMessage *message = *(const ProtobufCMessage *const *)place;
        if (message != NULL) put_message(self, message);
        put_varint(self, self->out->len - self->at - written);
        break;
    }
    default: put_scalar(self, field->type, place); break;
    }
    put_key(self, field, wire_type_of(field->type));
}

static size_t element_size(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return 4;
    default: return 8;
    }
}

static void put_repeated(struct writer *self, const ProtobufCFieldDescriptor *field, const char *message) {
    size_t count = *(const size_t *)(const void *)(message + field->quantifier_offset);
    if (count == 0) return;
    const char *list = *(const char *const *)(const void *)(message + field->offset);
    size_t size_bytes = element_size(field->type);
    if (!(field->flags & PROTOBUF_C_FIELD_FLAG_PACKED)) {
        while (count-- > 0) put_field(self, field, list + count * size_bytes);
        return;
    }
    size_t written = self->out->len - self->at;
    while (count-- > 0) put_scalar(self, field->type, list + count * size_bytes);
    put_varint(self, self->out->len - self->at - written);
    put_key(self, field, 2);
}

/* Whether a field without presence (proto3) has a value worth writing. */
static bool is_set(const ProtobufCFieldDescriptor *field, const void *place) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(const char *const *)place;
        return text != NULL && text[0] != 0;
    }
    case PROTOBUF_C_TYPE_MESSAGE: return *(const void *const *)place != NULL;
    case PROTOBUF_C_TYPE_BYTES: return ((const ProtobufCBinaryData *)place)->len != 0;
    case PROTOBUF_C_TYPE_BOOL: return *(const protobuf_c_boolean *)place != 0;
    default: return element_size(field->type) == 4 ? *(const uint32_t *)place != 0 : *(const uint64_t *)place != 0;
    }
}

static bool is_present(const ProtobufCFieldDescriptor *field, const char *message) {
    const void *place = message + field->offset;
    const void *quantifier = message + field->quantifier_offset;
    bool is_pointer = field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)quantifier == field->id && !(is_pointer && *(const void *const *)place == NULL);
    if (field->label == PROTOBUF_C_LABEL_NONE) return is_set(field, place);
    if (field->label == PROTOBUF_C_LABEL_REQUIRED) return true;
    if (is_pointer) {
        const void *pointer = *(const void *const *)place;
        return pointer != NULL && pointer != field->default_value;
    }
    return *(const protobuf_c_boolean *)quantifier;
}

static void put_message(struct writer *self, const ProtobufCMessage *message) {
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = type->n_fields; i-- > 0;) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        const char *base = (const char *)message;
        /* Most fields of the largest message (a proposal) are messages that are absent. */
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && field->label != PROTOBUF_C_LABEL_REPEATED &&
            *(const void *const *)(const void *)(base + field->offset) == NULL)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            put_repeated(self, field, base);
        else if (is_present(field, base))
            put_field(self, field, base + field->offset);
    }
}

void pb_pack(const void *message, struct buf *out) {
    struct writer writer = {.out = out, .start = out->len, .at = out->len + FIRST_ROOM_BYTES};
    buf_extend(out, FIRST_ROOM_BYTES);
    put_message(&writer, message);
    size_t used = out->len - writer.at;
    memmove(out->data + writer.start, out->data + writer.at, used);
    out->len = writer.start + used;
}

size_t pb_packed_size(const void *message) { return protobuf_c_message_get_packed_size(message); }

struct slice pb_pack_arena(const void *message, struct arena *arena) {
    size_t size_bytes = pb_packed_size(message);
    uint8_t *at = arena_alloc(arena, size_bytes);
    protobuf_c_message_pack(message, at);
    return slice_make(at, size_bytes);
}
