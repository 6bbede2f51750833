#include "pb/wire.h"

static void fail(struct pb_reader *self, enum err error) {
    if (self->error == OK) self->error = err_set(self->message, error, "%s", err_text(error));
}

uint64_t pb__read_long_varint(struct pb_reader *self) {
    uint64_t value;
    if (self->error != OK) return 0;
    size_t taken = varint_load(self->at, self->end, &value);
    if (taken != 0) {
        self->at += taken;
        return value;
    }
    if (self->end - self->at < VARINT_MAX_BYTES)
        fail(self, ERR_UNEXPECTED_EOF);
    else
        self->error = err_set(self->message, ERR_CORRUPT, "proto: integer overflow");
    return 0;
}

static struct slice read_length_and_bytes(struct pb_reader *self) {
    uint64_t len = pb_read_varint(self);
    if (self->error != OK) return SLICE_NONE;
    if (len > (uint64_t)(self->end - self->at)) {
        if (len > INT64_MAX)
            self->error = err_set(self->message, ERR_CORRUPT, "proto: negative length found during unmarshaling");
        else
            fail(self, ERR_UNEXPECTED_EOF);
        return SLICE_NONE;
    }
    struct slice bytes = slice_make(self->at, (size_t)len);
    self->at += len;
    return bytes;
}

static void refuse_wire_type(struct pb_reader *self, const char *name) {
    self->error = err_set(self->message, ERR_CORRUPT, "proto: wrong wireType = %u for field %s", self->wire, name);
}

bool pb_read_field(struct pb_reader *self) {
    if (self->error != OK || self->at >= self->end) return false;
    uint64_t tag = pb_read_varint(self);
    if (self->error != OK) return false;
    self->wire = (unsigned)(tag & 7);
    self->field = (uint32_t)(tag >> 3);
    if (self->wire == PB_END_GROUP) {
        self->error =
            err_set(self->message, ERR_CORRUPT, "proto: %s: wiretype end group for non-group", self->type_name);
        return false;
    }
    if ((int32_t)self->field <= 0) {
        self->error = err_set(self->message, ERR_CORRUPT, "proto: %s: illegal tag %d (wire type %llu)", self->type_name,
                              (int32_t)self->field, (unsigned long long)tag);
        return false;
    }
    return true;
}

uint64_t pb_read_u64(struct pb_reader *self, const char *name) {
    if (self->error == OK && self->wire != PB_VARINT) refuse_wire_type(self, name);
    return pb_read_varint(self);
}

struct slice pb_read_bytes(struct pb_reader *self, const char *name) {
    if (self->error == OK && self->wire != PB_BYTES) refuse_wire_type(self, name);
    return read_length_and_bytes(self);
}

static void skip_fixed(struct pb_reader *self, size_t size_bytes) {
    if ((size_t)(self->end - self->at) < size_bytes)
        fail(self, ERR_UNEXPECTED_EOF);
    else
        self->at += size_bytes;
}

static void skip_value(struct pb_reader *self, unsigned wire, size_t *depth) {
    switch (wire) {
    case PB_VARINT: pb_read_varint(self); break;
    case PB_FIXED64: skip_fixed(self, 8); break;
    case PB_BYTES: read_length_and_bytes(self); break;
    case PB_START_GROUP: (*depth)++; break;
    case PB_END_GROUP:
        if (*depth == 0) self->error = err_set(self->message, ERR_CORRUPT, "proto: unexpected end of group");
        if (*depth > 0) (*depth)--;
        break;
    case PB_FIXED32: skip_fixed(self, 4); break;
    default: self->error = err_set(self->message, ERR_CORRUPT, "proto: illegal wireType %u", wire);
    }
}

void pb_skip_field(struct pb_reader *self) {
    size_t depth = 0;
    skip_value(self, self->wire, &depth);
    while (depth > 0 && self->error == OK) {
        unsigned wire = (unsigned)(pb_read_varint(self) & 7);
        if (self->error == OK) skip_value(self, wire, &depth);
    }
}
