/* frame.h - the bytes of a WAL segment.
 *
 * Floor 2, within wal/. A segment is a row of frames from offset 0 on, then perhaps zeros:
 *
 *   8 bytes   length word, little endian: record bytes n in the low 56 bits; the top byte is 0 when n is a multiple of
 * 8, else 0x80 | number of pad bytes n bytes   walpb.Record {1: type, 2: crc, 3: data (absent in crc records)} 0..7
 * zero bytes up to a multiple of 8
 *
 * A length word of 0 ends the segment, whatever follows.
 *
 * crc is a running CRC-32C over the data of all records since the log began, this one included. A segment begins with a
 * record of type crc and no data that repeats the running value, so that reading may begin at any segment; then comes
 * the metadata; then a snapshot record of index 0 in the first, and in later ones the hard state last saved by the
 * process that made the segment (nothing when it had saved none).
 *
 * What a crash leaves of a write is whole sectors of 512 bytes that are missing (zero): a bad last record with such a
 * sector is torn, and repaired away; any other bad record is damage.
 */
#ifndef WAL_FRAME_H
#define WAL_FRAME_H

#include "base/buf.h"
#include "env/env.h"
#include "pb/raftpb.h"

#define WAL_SECTOR_BYTES 512
#define WAL_LENGTH_BYTES 8

/* ---- writing: appends one frame and moves the running crc on ---- */

void wal_put_record(struct buf *out, uint32_t *crc, enum wal_record_type type, struct slice data);
void wal_put_entry(struct buf *out, uint32_t *crc, const struct raft_entry *entry);
void wal_put_hard_state(struct buf *out, uint32_t *crc, const struct raft_hard_state *hard_state);
void wal_put_snapshot(struct buf *out, uint32_t *crc, const struct wal_snapshot *snapshot);
/* A record of type crc: the running value as it is. */
void wal_put_crc(struct buf *out, uint32_t crc);

/* ---- reading ---- */

struct wal_source {
    struct env_file *file;
    const char *name; /* for errors */
};

/* Reads segments one behind the other. Segments must stay open; the decoder owns nothing of them. */
struct wal_decoder {
    const struct wal_source *sources;
    size_t source_count;
    size_t source_at;
    int64_t source_size; /* -1: not asked yet */
    struct shared *window;
    size_t window_capacity;
    int64_t window_offset; /* in the segment */
    int64_t next_offset;   /* behind the last good record of the segment at hand */
    uint32_t crc;          /* running */
};

struct wal_decoder wal_decoder_make(const struct wal_source *sources, size_t count);
void wal_decoder_release(struct wal_decoder *self);

/* The next record, checked; its data lies in self->window until the next call, or as long as a reference to the window
 * is held.
 *   ERR_EOF              no more: next_offset is the end of the last segment
 *   ERR_UNEXPECTED_EOF   a frame is cut off or torn
 *   ERR_WAL_CRC_MISMATCH, ERR_CORRUPT, errors of the system; `message` has the text for each */
enum err wal_decoder_next(struct wal_decoder *self, struct wal_record *ret_record, struct errmsg *message) MUST_USE;

#endif
