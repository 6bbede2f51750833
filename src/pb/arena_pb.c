/* arena_pb.c - a protobuf decoder driven by protobuf-c's descriptors, see arena_pb.h. */
#include "pb/arena_pb.h"

#include "base/bytes.h"
#include "base/check.h"

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_GROUP = 3,
    WIRE_END_GROUP = 4,
    WIRE_FIXED32 = 5
};

/* A list grows by doubling from this many elements on; its count alone tells its capacity. */
#define FIRST_LIST_CAPACITY 4

struct decoder {
    struct arena *arena;
    bool is_too_deep;
};

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static bool take_varint(struct cursor *in, uint64_t *ret_value) {
    if (in->at < in->end && *in->at < 0x80) {
        *ret_value = *in->at++;
        return true;
    }
    size_t taken = varint_load(in->at, in->end, ret_value);
    in->at += taken;
    return taken != 0;
}

static bool take_bytes(struct cursor *in, struct slice *ret_bytes) {
    uint64_t len;
    if (!take_varint(in, &len) || len > (uint64_t)(in->end - in->at)) return false;
    *ret_bytes = slice_make(in->at, (size_t)len);
    in->at += len;
    return true;
}

static bool skip_fixed(struct cursor *in, size_t size_bytes) {
    if ((size_t)(in->end - in->at) < size_bytes) return false;
    in->at += size_bytes;
    return true;
}

static bool take_key(struct cursor *in, uint32_t *ret_number, enum wire_type *ret_wire_type) {
    uint64_t key;
    if (!take_varint(in, &key) || (key >> 3) == 0 || (key >> 3) > UINT32_MAX >> 3) return false;
    *ret_number = (uint32_t)(key >> 3);
    *ret_wire_type = (enum wire_type)(key & 7);
    return true;
}

/* Passes over the value of an unknown field; groups in groups are counted, not recursed into. */
static bool skip_value(struct cursor *in, enum wire_type wire_type) {
    size_t open_groups = 0;
    for (;;) {
        uint64_t number;
        struct slice bytes;
        switch (wire_type) {
        case WIRE_VARINT:
            if (!take_varint(in, &number)) return false;
            break;
        case WIRE_FIXED64:
            if (!skip_fixed(in, 8)) return false;
            break;
        case WIRE_BYTES:
            if (!take_bytes(in, &bytes)) return false;
            break;
        case WIRE_FIXED32:
            if (!skip_fixed(in, 4)) return false;
            break;
        case WIRE_GROUP: open_groups++; break;
        case WIRE_END_GROUP:
            if (open_groups == 0) return false;
            open_groups--;
            break;
        default: return false;
        }
        if (open_groups == 0) return true;
        uint32_t field_number;
        if (!take_key(in, &field_number, &wire_type)) return false;
    }
}

/* Fields mostly come in the order of their numbers, so the one behind the last is tried first. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type, uint32_t number,
                                                  unsigned *hint) {
    for (unsigned i = *hint; i < type->n_fields && i <= *hint + 1; i++) {
        if (type->fields[i].id == number) {
            *hint = i;
            return &type->fields[i];
        }
    }
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(type, number);
    if (field != NULL) *hint = (unsigned)(field - type->fields);
    return field;
}

static enum wire_type wire_type_of(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return WIRE_FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return WIRE_FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return WIRE_BYTES;
    default: return WIRE_VARINT;
    }
}

static size_t element_size(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    default: return 4;
    }
}

/* Reads one scalar (anything that is not text, bytes or a message) into `place`. */
static bool take_scalar(struct cursor *in, ProtobufCType type, void *place) {
    uint64_t value = 0;
    switch (wire_type_of(type)) {
    case WIRE_FIXED32:
        if (!skip_fixed(in, 4)) return false;
        *(uint32_t *)place = load_u32le(in->at - 4);
        return true;
    case WIRE_FIXED64:
        if (!skip_fixed(in, 8)) return false;
        *(uint64_t *)place = load_u64le(in->at - 8);
        return true;
    default:
        if (!take_varint(in, &value)) return false;
    }
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL: *(protobuf_c_boolean *)place = value != 0; break;
    case PROTOBUF_C_TYPE_SINT32: *(uint32_t *)place = (uint32_t)(value >> 1) ^ -(uint32_t)(value & 1); break;
    case PROTOBUF_C_TYPE_SINT64: *(uint64_t *)place = (value >> 1) ^ -(value & 1); break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64: *(uint64_t *)place = value; break;
    default: *(uint32_t *)place = (uint32_t)value; break;
    }
    return true;
}

static bool merge_message(struct decoder *self, ProtobufCMessage *message, struct slice bytes, unsigned depth);

static ProtobufCMessage *new_message(struct decoder *self, const ProtobufCMessageDescriptor *type) {
    ProtobufCMessage *message = arena_alloc(self->arena, type->sizeof_message);
    type->message_init(message);
    return message;
}

/* Reads the value of `field` into `place`; `fresh` says that what is there now does not count. */
static bool take_value(struct decoder *self, struct cursor *in, const ProtobufCFieldDescriptor *field, void *place,
                       bool fresh, unsigned depth) {
    struct slice bytes;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        if (!take_bytes(in, &bytes) || memchr(bytes.data, 0, bytes.len) != NULL) return false;
        *(char **)place = arena_strdup(self->arena, bytes);
        return true;
    case PROTOBUF_C_TYPE_BYTES:
        if (!take_bytes(in, &bytes)) return false;
        *(ProtobufCBinaryData *)place = pb_bytes(bytes);
        return true;
    case PROTOBUF_C_TYPE_MESSAGE: {
        if (!take_bytes(in, &bytes)) return false;
        ProtobufCMessage **message = place;
        if (fresh || *message == NULL) *message = new_message(self, field->descriptor);
        return merge_message(self, *message, bytes, depth + 1);
    }
    default: return take_scalar(in, field->type, place);
    }
}

/* Makes room for one element more and returns where it goes; the count is the caller's to raise. */
static void *list_slot(struct decoder *self, const ProtobufCFieldDescriptor *field, void **list, size_t count) {
    size_t size_bytes = element_size(field->type);
    bool full = count == 0 || (count >= FIRST_LIST_CAPACITY && (count & (count - 1)) == 0);
    if (full) {
        size_t capacity = count == 0 ? FIRST_LIST_CAPACITY : count * 2;
        void *grown = arena_alloc(self->arena, capacity * size_bytes);
        if (count > 0) memcpy(grown, *list, count * size_bytes);
        *list = grown;
    }
    return (char *)*list + count * size_bytes;
}

static bool take_repeated(struct decoder *self, struct cursor *in, const ProtobufCFieldDescriptor *field, char *message,
                          enum wire_type wire_type, unsigned depth) {
    size_t *count = (size_t *)(void *)(message + field->quantifier_offset);
    void **list = (void **)(void *)(message + field->offset);
    enum wire_type own = wire_type_of(field->type);
    if (wire_type == own) {
        void *slot = list_slot(self, field, list, *count);
        if (!take_value(self, in, field, slot, true, depth)) return false;
        ++*count;
        return true;
    }
    struct slice packed;
    if (wire_type != WIRE_BYTES || !take_bytes(in, &packed)) return false;
    struct cursor elements = {packed.data, packed.data + packed.len};
    while (elements.at < elements.end) {
        void *slot = list_slot(self, field, list, *count);
        if (!take_scalar(&elements, field->type, slot)) return false;
        ++*count;
    }
    return true;
}

static bool take_field(struct decoder *self, struct cursor *in, const ProtobufCFieldDescriptor *field, char *message,
                       enum wire_type wire_type, unsigned depth) {
    if (field->label == PROTOBUF_C_LABEL_REPEATED) return take_repeated(self, in, field, message, wire_type, depth);
    if (wire_type != wire_type_of(field->type)) return false;
    void *quantifier = message + field->quantifier_offset;
    bool fresh = false;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        *(uint32_t *)quantifier = field->id;
        fresh = true;
    } else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->type != PROTOBUF_C_TYPE_MESSAGE &&
               field->type != PROTOBUF_C_TYPE_STRING) {
        *(protobuf_c_boolean *)quantifier = true;
    }
    return take_value(self, in, field, message + field->offset, fresh, depth);
}

static bool merge_message(struct decoder *self, ProtobufCMessage *message, struct slice bytes, unsigned depth) {
    if (depth > PB_MAX_DEPTH) {
        self->is_too_deep = true;
        return false;
    }
    struct cursor in = {bytes.data, bytes.data + bytes.len};
    unsigned hint = 0;
    while (in.at < in.end) {
        uint32_t number;
        enum wire_type wire_type;
        if (!take_key(&in, &number, &wire_type)) return false;
        const ProtobufCFieldDescriptor *field = find_field(message->descriptor, number, &hint);
        bool good = field == NULL ? skip_value(&in, wire_type)
                                  : take_field(self, &in, field, (char *)message, wire_type, depth);
        if (!good) return false;
    }
    return true;
}

void *pb_unpack_depth(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena,
                      bool *ret_is_too_deep) {
    struct decoder decoder = {.arena = arena};
    ProtobufCMessage *message = new_message(&decoder, type);
    bool is_good = merge_message(&decoder, message, bytes, 1);
    *ret_is_too_deep = decoder.is_too_deep;
    return is_good ? message : NULL;
}

void *pb_unpack_borrowed(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena) {
    bool is_too_deep;
    return pb_unpack_depth(type, bytes, arena, &is_too_deep);
}

void *pb_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena) {
    return pb_unpack_borrowed(type, arena_copy(arena, bytes), arena);
}
