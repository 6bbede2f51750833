/* arena_pb.h - protobuf-c messages in arenas.
 *
 * Floor 1. The structs, descriptors and packers are protobuf-c's (include "pb/<file>.pb-c.h" for proto/<file>.proto);
 * the decoder is ours, because bytes from the wire need what protobuf_c_message_unpack does not give:
 *   - no malloc: everything goes into the caller's arena and is freed with it. Never call *__free_unpacked on it.
 *   - a depth limit, met before anything overflows (transactions may nest).
 *   - bytes fields that point into the request instead of being copied (pb_unpack_borrowed).
 *
 * As the Go programs of 3.5 do: unknown fields are skipped and forgotten; a known field with another wire type is an
 * error; a repeated scalar may come packed or not; of a oneof the last one counts,
 * and nothing of the ones before; any other message field that comes twice is merged; enums may have values nobody has
 * named; text is not checked for UTF-8. Unlike them: text with a zero byte inside is an error, since a C string would
 * cut it off silently and members would differ.
 */
#ifndef PB_ARENA_PB_H
#define PB_ARENA_PB_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#include <protobuf-c/protobuf-c.h>

/* How deep messages may nest, so that whoever walks a decoded message may recurse: the decoder takes 300 bytes of stack
 * a level, other walkers less. A transaction inside a transaction takes two levels, and etcd lets them nest as deep as
 * --max-txn-ops says (128): a log of others may hold that. */
#define PB_MAX_DEPTH 2100

/* Decodes `bytes` as a message of `type` (&etcdserverpb__put_request__descriptor). NULL when they are malformed. The
 * message and all it points to live in the arena and do not refer to `bytes`. Do not write to its strings: empty ones
 * are shared. */
void *pb_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena);

/* The same, but bytes fields of the message point into `bytes`, which must stay as long as the message is used. (Text
 * fields are copied, they need a zero behind them.) */
void *pb_unpack_borrowed(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena);

/* The same. *ret_is_too_deep is set: whether NULL means that they nest deeper than PB_MAX_DEPTH. */
void *pb_unpack_depth(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena,
                      bool *ret_is_too_deep);

/* `message` is any generated struct. */
size_t pb_packed_size(const void *message);
/* Appends the encoding: fields by number, as Go writes them. */
void pb_pack(const void *message, struct buf *out);
/* The encoding, in the arena. */
struct slice pb_pack_arena(const void *message, struct arena *arena);

/* Between bytes fields and slices; neither copies. */
static inline struct slice pb_slice(ProtobufCBinaryData bytes) { return slice_make(bytes.data, bytes.len); }
static inline ProtobufCBinaryData pb_bytes(struct slice bytes) {
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data};
}

#endif
