#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "wal/frame.h"

#include <inttypes.h>

/* Read at a time. Entries keep the windows alive in which their data lies, so a window is not much larger than what a
 * snapshot lets go of at once. */
#define WINDOW_BYTES (256 * 1024)

struct wal_decoder wal_decoder_make(const struct wal_source *sources, size_t count) {
    return (struct wal_decoder){.sources = sources, .source_count = count, .source_size = -1};
}

void wal_decoder_release(struct wal_decoder *self) {
    shared_unref(self->window);
    self->window = NULL;
}

static const struct wal_source *current(const struct wal_decoder *self) { return &self->sources[self->source_at]; }

static bool is_last_source(const struct wal_decoder *self) { return self->source_at + 1 == self->source_count; }

static void go_to_next_source(struct wal_decoder *self) {
    wal_decoder_release(self);
    self->source_at++;
    self->source_size = -1;
    self->next_offset = 0;
}

/* Memory for a window that nobody reads any more: the old one, unless entries hold it. */
static struct shared *make_window(struct wal_decoder *self, size_t size_bytes) {
    if (self->window != NULL && size_bytes <= self->window_capacity && atomic_load(&self->window->references) == 1)
        return TAKE(self->window);
    self->window_capacity = size_bytes;
    return shared_new(size_bytes);
}

/* A window from `offset` on, which begins with the bytes `left` of the old one. */
static enum err refill(struct wal_decoder *self, int64_t offset, size_t wanted_bytes, struct slice left) {
    size_t left_in_file = offset < self->source_size ? (size_t)(self->source_size - offset) : 0;
    size_t size_bytes = wanted_bytes > WINDOW_BYTES ? wanted_bytes : WINDOW_BYTES;
    if (size_bytes > left_in_file) size_bytes = left_in_file;
    struct shared *window = make_window(self, size_bytes);
    size_t read_bytes = 0;
    if (left.len > 0) memmove(window->bytes, left.data, left.len);
    shared_unref(self->window);
    self->window = window;
    self->window_offset = offset;
    enum err error = env_pread(current(self)->file, window->bytes + left.len, size_bytes - left.len,
                               offset + (int64_t)left.len, &read_bytes);
    window->size_bytes = (uint32_t)(left.len + read_bytes);
    return error;
}

/* The bytes of the segment from `offset` on, as many as the window has: at least `wanted_bytes` unless the file ends.
 * Bytes that an entry may hold are never written again. */
static enum err look_at(struct wal_decoder *self, int64_t offset, size_t wanted_bytes, struct slice *ret_bytes) {
    struct slice seen = shared_slice(self->window);
    int64_t skip = offset - self->window_offset;
    struct slice left = self->window != NULL && skip <= (int64_t)seen.len ? slice_from(seen, (size_t)skip) : SLICE_NONE;
    if (left.len < wanted_bytes) {
        TRY(refill(self, offset, wanted_bytes, left));
        left = shared_slice(self->window);
    }
    *ret_bytes = left;
    return OK;
}

static bool is_zero(const uint8_t *at, size_t len) {
    while (len > 0 && *at == 0) {
        at++;
        len--;
    }
    return len == 0;
}

/* Whether a whole sector of what lies at `offset` in the file is zero. */
static bool is_torn(struct slice bytes, int64_t offset) {
    while (bytes.len > 0) {
        size_t chunk = WAL_SECTOR_BYTES - (size_t)(offset % WAL_SECTOR_BYTES);
        if (chunk > bytes.len) chunk = bytes.len;
        if (is_zero(bytes.data, chunk)) return true;
        offset += (int64_t)chunk;
        bytes = slice_from(bytes, chunk);
    }
    return false;
}

static enum err unexpected_eof(struct errmsg *message) {
    return err_set(message, ERR_UNEXPECTED_EOF, "%s", err_text(ERR_UNEXPECTED_EOF));
}

static enum err check_crc(struct wal_decoder *self, const struct wal_record *record, struct errmsg *message) {
    if (record->type == WAL_RECORD_CRC) {
        if (self->crc != 0 && self->crc != record->crc)
            return err_set(message, ERR_WAL_CRC_MISMATCH, "wal: crc mismatch");
        self->crc = record->crc;
        return OK;
    }
    uint32_t crc = crc32c(self->crc, record->data.data, record->data.len);
    if (crc != record->crc) return err_set(message, ERR_WAL_CRC_MISMATCH, "walpb: crc mismatch");
    self->crc = crc;
    return OK;
}

/* The frame at next_offset, whose length word is not zero. */
static enum err read_frame(struct wal_decoder *self, uint64_t length_word, struct wal_record *ret_record,
                           struct errmsg *message) {
    int64_t record_bytes = (int64_t)(length_word & UINT64_C(0x00ffffffffffffff));
    int64_t pad_bytes = length_word >> 63 ? (int64_t)(length_word >> 56 & 7) : 0;
    int64_t limit = self->source_size - self->next_offset - pad_bytes;
    if (record_bytes > limit) {
        return err_set(message, ERR_UNEXPECTED_EOF,
                       "unexpected EOF: [wal] max entry size limit exceeded when decoding \"%s\", recBytes: %" PRId64
                       ", fileSize(%" PRId64 ") - offset(%" PRId64 ") - padBytes(%" PRId64 ") = entryLimit(%" PRId64
                       ")",
                       current(self)->name, record_bytes, self->source_size, self->next_offset, pad_bytes, limit);
    }
    size_t frame_bytes = WAL_LENGTH_BYTES + (size_t)(record_bytes + pad_bytes);
    if (frame_bytes > SHARED_MAX_BYTES)
        return err_set(message, ERR_WAL_MAX_ENTRY_SIZE, "%s", err_text(ERR_WAL_MAX_ENTRY_SIZE));
    struct slice bytes;
    enum err error = look_at(self, self->next_offset, frame_bytes, &bytes);
    if (error != OK) return err_set(message, error, "%s", err_text(error));
    if (bytes.len < frame_bytes) return unexpected_eof(message);

    struct slice body = slice_make(bytes.data + WAL_LENGTH_BYTES, frame_bytes - WAL_LENGTH_BYTES);
    struct wal_record record = {0};
    error = wal_record_decode(slice_make(body.data, (size_t)record_bytes), &record, message);
    if (error == OK) error = check_crc(self, &record, message);
    if (error != OK) {
        bool is_crc_record = error == ERR_WAL_CRC_MISMATCH && record.type == WAL_RECORD_CRC;
        if (is_last_source(self) && !is_crc_record && is_torn(body, self->next_offset + WAL_LENGTH_BYTES))
            return unexpected_eof(message);
        return error;
    }
    self->next_offset += (int64_t)frame_bytes;
    *ret_record = record;
    return OK;
}

enum err wal_decoder_next(struct wal_decoder *self, struct wal_record *ret_record, struct errmsg *message) {
    while (self->source_at < self->source_count) {
        if (self->source_size < 0) {
            enum err error = env_file_size(current(self)->file, &self->source_size);
            if (error != OK) return err_set(message, error, "%s", err_text(error));
        }
        struct slice bytes;
        enum err error = look_at(self, self->next_offset, WAL_LENGTH_BYTES, &bytes);
        if (error != OK) return err_set(message, error, "%s", err_text(error));
        if (bytes.len > 0 && bytes.len < WAL_LENGTH_BYTES) return unexpected_eof(message);
        uint64_t length_word = bytes.len > 0 ? load_u64le(bytes.data) : 0;
        if (length_word != 0) return read_frame(self, length_word, ret_record, message);
        if (is_last_source(self)) break;
        go_to_next_source(self);
    }
    return err_set(message, ERR_EOF, "%s", err_text(ERR_EOF));
}
