#include "base/bytes.h"
#include "base/crc32c.h"
#include "pb/wire.h"
#include "wal/frame.h"

/* Length word, type, crc and the tag and length of the data. */
#define FRAME_HEAD_MAX_BYTES (WAL_LENGTH_BYTES + 2 + 6 + 1 + VARINT_MAX_BYTES)
#define ALIGNMENT 8

/* One frame whose data is `head` and `tail` one behind the other; `has_data` is false for crc records. */
static void put_frame(struct buf *out, uint32_t crc, enum wal_record_type type, bool has_data, struct slice head,
                      struct slice tail) {
    size_t data_bytes = head.len + tail.len;
    uint8_t *start = buf_reserve(out, FRAME_HEAD_MAX_BYTES + data_bytes + ALIGNMENT);
    uint8_t *at = start + WAL_LENGTH_BYTES;
    at = pb_store_number(at, 1, type);
    at = pb_store_number(at, 2, crc);
    if (has_data) {
        *at++ = PB_TAG(3, PB_BYTES);
        at += varint_store(at, data_bytes);
        if (head.len > 0) memcpy(at, head.data, head.len);
        at += head.len;
        if (tail.len > 0) memcpy(at, tail.data, tail.len);
        at += tail.len;
    }
    uint64_t record_bytes = (uint64_t)(at - start) - WAL_LENGTH_BYTES;
    uint64_t pad_bytes = -record_bytes % ALIGNMENT;
    memset(at, 0, ALIGNMENT);
    at += pad_bytes;
    store_u64le(start, pad_bytes == 0 ? record_bytes : record_bytes | (0x80 | pad_bytes) << 56);
    out->len += (size_t)(at - start);
}

void wal_put_record(struct buf *out, uint32_t *crc, enum wal_record_type type, struct slice data) {
    *crc = crc32c(*crc, data.data, data.len);
    put_frame(out, *crc, type, data.data != NULL, data, SLICE_NONE);
}

void wal_put_entry(struct buf *out, uint32_t *crc, const struct raft_entry *entry) {
    uint8_t head[RAFT_ENTRY_HEAD_MAX_BYTES];
    size_t head_bytes = raft_entry_encode_head(entry, head);
    *crc = crc32c(*crc, head, head_bytes);
    *crc = crc32c(*crc, entry->data.data, entry->data.len);
    put_frame(out, *crc, WAL_RECORD_ENTRY, true, slice_make(head, head_bytes), entry->data);
}

void wal_put_hard_state(struct buf *out, uint32_t *crc, const struct raft_hard_state *hard_state) {
    uint8_t data[3 * (1 + VARINT_MAX_BYTES)];
    uint8_t *at = pb_store_number(data, 1, hard_state->term);
    at = pb_store_number(at, 2, hard_state->vote);
    at = pb_store_number(at, 3, hard_state->commit);
    wal_put_record(out, crc, WAL_RECORD_STATE, slice_make(data, (size_t)(at - data)));
}

void wal_put_snapshot(struct buf *out, uint32_t *crc, const struct wal_snapshot *snapshot) {
    CLEANUP_BUF struct buf data = BUF_INIT;
    wal_snapshot_encode(snapshot, &data);
    wal_put_record(out, crc, WAL_RECORD_SNAPSHOT, buf_slice(&data));
}

void wal_put_crc(struct buf *out, uint32_t crc) { put_frame(out, crc, WAL_RECORD_CRC, false, SLICE_NONE, SLICE_NONE); }
