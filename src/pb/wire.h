/* wire.h - protobuf's wire format, one field at a time: the ground under the hand-written codecs.
 *
 * Floor 1, for the .c files of pb/ (and whoever else writes a codec by hand). Field numbers below 16 only when writing:
 * one byte a tag. Reading is as strict as the Go decoders of 3.5, and tells errors in their words.
 */
#ifndef PB_WIRE_H
#define PB_WIRE_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

enum pb_wire_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_START_GROUP = 3, PB_END_GROUP = 4, PB_FIXED32 = 5 };

#define PB_TAG(field, wire) ((uint8_t)((field) << 3 | (wire)))

/* ---- writing ---- */

/* A number: tag and varint. Room for 1 + VARINT_MAX_BYTES; returns where the next byte goes. */
static inline uint8_t *pb_store_number(uint8_t *at, unsigned field, uint64_t value) {
    *at++ = PB_TAG(field, PB_VARINT);
    return at + varint_store(at, value);
}

static inline void pb_put_number(struct buf *out, unsigned field, uint64_t value) {
    uint8_t *at = buf_reserve(out, 1 + VARINT_MAX_BYTES);
    out->len += (size_t)(pb_store_number(at, field, value) - at);
}

/* Tag and length of a message or bytes that follow. */
static inline void pb_put_nested(struct buf *out, unsigned field, size_t size_bytes) {
    uint8_t *at = buf_reserve(out, 1 + VARINT_MAX_BYTES);
    *at = PB_TAG(field, PB_BYTES);
    out->len += 1 + varint_store(at + 1, size_bytes);
}

/* Nothing when the bytes are not there (data NULL). */
static inline void pb_put_bytes(struct buf *out, unsigned field, struct slice bytes) {
    if (bytes.data == NULL) return;
    pb_put_nested(out, field, bytes.len);
    buf_append_slice(out, bytes);
}

/* What pb_put_nested and so many bytes behind it take. */
static inline size_t pb_nested_size(size_t size_bytes) { return 1 + varint_size(size_bytes) + size_bytes; }
/* What pb_put_bytes takes. */
static inline size_t pb_bytes_size(struct slice bytes) { return bytes.data == NULL ? 0 : pb_nested_size(bytes.len); }

/* ---- reading ----
 *
 *     struct pb_reader reader = pb_reader_make(bytes, "Entry", message);
 *     while (pb_read_field(&reader)) {
 *         switch (reader.field) {
 *         case 2: entry.term = pb_read_u64(&reader, "Term"); break;
 *         default: pb_skip_field(&reader);
 *         }
 *     }
 *     if (reader.error != OK) ...
 */
struct pb_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t field; /* of the field whose value comes next */
    unsigned wire;  /* enum pb_wire_type */
    enum err error; /* ERR_UNEXPECTED_EOF: the bytes end inside a field; ERR_CORRUPT. Sticks. */
    const char *type_name;
    struct errmsg *message; /* may be NULL */
};

static inline struct pb_reader pb_reader_make(struct slice bytes, const char *type_name, struct errmsg *message) {
    return (struct pb_reader){
        .at = bytes.data, .end = bytes.data + bytes.len, .type_name = type_name, .message = message};
}

uint64_t pb__read_long_varint(struct pb_reader *self);

/* A bare varint, without a tag; 0 after an error. Most are one byte. */
static inline uint64_t pb_read_varint(struct pb_reader *self) {
    if (self->at < self->end && *self->at < 0x80 && self->error == OK) return *self->at++;
    return pb__read_long_varint(self);
}

/* Reads the next tag; false at the end and after an error. */
bool pb_read_field(struct pb_reader *self);
/* The value of the field at hand, of this wire type or it is an error; 0 or SLICE_NONE then. A bytes value is never
 * NULL, also when empty, and points into what is read. `name` is Go's name of the field, for the error. */
uint64_t pb_read_u64(struct pb_reader *self, const char *name);
static inline uint32_t pb_read_u32(struct pb_reader *self, const char *name) {
    return (uint32_t)pb_read_u64(self, name);
}
struct slice pb_read_bytes(struct pb_reader *self, const char *name);
/* Over the value of a field that nobody knows, whole groups included. */
void pb_skip_field(struct pb_reader *self);

/* Shared by raftpb.c and walpb.c. */
struct raft_conf_state;
enum err pb__merge_conf_state(struct slice bytes, struct raft_conf_state *self, struct errmsg *message) MUST_USE;

#endif
