/* wal.c - a write-ahead log of any content: read only, read with repair, written to, read again.
 *
 * The input makes the segments record by record, with right checksums unless it says otherwise: a fuzzer would never
 * guess those. The first three bytes: index and term of the snapshot at which the log is opened, and which call to the
 * disk fails (0: none). */
#include "fuzz/disk.h"

#include "wal/internal.h"

#include <stdio.h>

#define DIR "/wal"
#define MAX_SEGMENT_BYTES (64 * 1024)
#define MAX_SEGMENTS 6

enum { RECORD, RAW, ENTRY, STATE, SNAPSHOT, CRC, BAD_CRC, CUT, ZEROS, FLIP, SHORTEN, METADATA, SKIP_NAME, NAME, OPS };

struct builder {
    struct buf segment;
    uint32_t crc;
    uint64_t sequence;
    uint64_t index; /* of the segment's name */
    size_t count;
};

static void end_segment(struct builder *self) {
    char path[64];
    snprintf(path, sizeof path, DIR "/%016llx-%016llx.wal", (unsigned long long)self->sequence,
             (unsigned long long)self->index);
    sim_disk_put_file(fuzz_disk.disk, path, buf_slice(&self->segment));
    buf_clear(&self->segment);
    self->sequence++;
    self->count++;
}

static void flip(struct builder *self, struct fuzz_input *input) {
    size_t at = (size_t)fuzz_number(input, 2);
    uint8_t bits = fuzz_byte(input);
    if (self->segment.len != 0) self->segment.data[self->segment.len - 1 - at % self->segment.len] ^= bits;
}

static void put_snapshot(struct builder *self, struct fuzz_input *input) {
    uint64_t ids[] = {1, 2};
    struct wal_snapshot snapshot = {.index = fuzz_byte(input), .term = fuzz_byte(input)};
    snapshot.has_conf_state = fuzz_byte(input) & 1;
    if (snapshot.has_conf_state) snapshot.conf_state.voters = (struct raft_ids){ids, 2, 2};
    wal_put_snapshot(&self->segment, &self->crc, &snapshot);
}

static void build_step(struct builder *self, struct fuzz_input *input) {
    struct buf *out = &self->segment;
    switch (fuzz_byte(input) % OPS) {
    case RECORD: {
        enum wal_record_type type = (enum wal_record_type)(fuzz_byte(input) % 8);
        wal_put_record(out, &self->crc, type, fuzz_take(input, fuzz_byte(input)));
        break;
    }
    case RAW: buf_append_slice(out, fuzz_take(input, fuzz_byte(input))); break;
    case ENTRY: {
        struct raft_entry entry = {.type = (enum raft_entry_type)(fuzz_byte(input) % 3)};
        entry.term = fuzz_byte(input);
        entry.index = fuzz_byte(input);
        entry.data = fuzz_take(input, fuzz_byte(input));
        wal_put_entry(out, &self->crc, &entry);
        break;
    }
    case STATE: {
        struct raft_hard_state state = {fuzz_byte(input), fuzz_byte(input), fuzz_byte(input)};
        wal_put_hard_state(out, &self->crc, &state);
        break;
    }
    case SNAPSHOT: put_snapshot(self, input); break;
    case CRC: wal_put_crc(out, self->crc); break;
    case BAD_CRC: wal_put_crc(out, (uint32_t)fuzz_number(input, 4)); break;
    case CUT:
        if (self->count < MAX_SEGMENTS) end_segment(self);
        self->index = fuzz_byte(input);
        break;
    case ZEROS: {
        static const uint8_t zeros[64 * 256];
        buf_append(out, zeros, 64 * (size_t)fuzz_byte(input));
        break;
    }
    case FLIP: flip(self, input); break;
    case SHORTEN: {
        size_t count = (size_t)fuzz_number(input, 2);
        out->len -= count < out->len ? count : out->len;
        break;
    }
    case METADATA: wal_put_record(out, &self->crc, WAL_RECORD_METADATA, fuzz_take(input, fuzz_byte(input) % 8)); break;
    case SKIP_NAME: self->sequence++; break;
    case NAME: {
        struct slice name = fuzz_take(input, fuzz_byte(input) % 64);
        if (name.len == 0 || memchr(name.data, '/', name.len) || memchr(name.data, 0, name.len)) break;
        char path[80];
        snprintf(path, sizeof path, DIR "/%.*s", (int)name.len, (const char *)name.data);
        if (strcmp(path, DIR "/.") != 0 && strcmp(path, DIR "/..") != 0)
            sim_disk_put_file(fuzz_disk.disk, path, buf_slice(out));
        break;
    }
    }
}

static void build(struct fuzz_input *input) {
    struct builder builder = {0};
    while (fuzz_left(input) != 0) {
        build_step(&builder, input);
        if (builder.segment.len > MAX_SEGMENT_BYTES) break;
    }
    end_segment(&builder);
    buf_release(&builder.segment);
}

/* ---- reading ---- */

static void check_contents(const struct wal_contents *contents, uint64_t snapshot_index) {
    uint32_t sum = 0;
    for (size_t i = 0; i < contents->entries.count; i++) {
        const struct raft_entry *entry = &contents->entries.items[i];
        CHECK(entry->index == snapshot_index + 1 + i);
        for (size_t k = 0; k < entry->data.len; k++) sum = sum * 31 + entry->data.data[k];
    }
    (void)sum;
}

static void read_only(const struct wal_options *options, uint64_t index, uint64_t term) {
    struct wal *wal;
    struct wal_contents contents;
    struct errmsg message = {""};
    enum err error = wal_open_read_only(options, index, term, &wal, &message);
    CHECK(error == OK || message.text[0] != 0);
    if (error != OK) return;
    error = wal_read_all(wal, &contents, &message);
    CHECK(error == OK || message.text[0] != 0);
    if (error == OK) {
        check_contents(&contents, index);
        wal_contents_release(&contents);
    }
    CHECK(wal_close(wal) == OK);
}

static void snapshots(struct env *env) {
    struct wal_snapshots found;
    struct errmsg message = {""};
    enum err error = wal_valid_snapshots(env, DIR, &found, &message);
    CHECK(error == OK || message.text[0] != 0);
    if (error == OK) wal_snapshots_release(&found);
}

/* Adds an entry behind what was read; false when the log can't be read. */
static bool read_and_add(const struct wal_options *options, uint64_t index, uint64_t term, size_t *ret_count) {
    struct wal *wal;
    struct wal_contents contents;
    struct errmsg message = {""};
    enum err error = wal_open_and_read(options, index, term, &wal, &contents, &message);
    CHECK(error == OK || message.text[0] != 0);
    if (error != OK) return false;
    check_contents(&contents, index);
    *ret_count = contents.entries.count;
    struct raft_entry entry = {.term = 9, .index = index + 1 + contents.entries.count, .data = SLICE_LITERAL("added")};
    struct raft_hard_state state = contents.hard_state;
    state.commit = entry.index;
    bool is_saved = wal_save(wal, state, &entry, 1, NULL) == OK;
    wal_contents_release(&contents);
    is_saved &= wal_close(wal) == OK;
    CHECK(is_saved || fuzz_disk.has_failed);
    return is_saved;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    uint64_t index = fuzz_byte(&input), term = fuzz_byte(&input);
    uint8_t fail_at = fuzz_byte(&input);
    struct env *env = fuzz_disk_open();
    struct wal_options options = {.env = env, .dir = DIR, .segment_bytes = 8192};
    build(&input);
    fuzz_disk_fail(fail_at);
    CHECK(wal_exists(env, DIR) || fuzz_disk.has_failed);
    snapshots(env);
    read_only(&options, index, term);
    size_t first, second;
    if (read_and_add(&options, index, term, &first)) {
        bool is_added = read_and_add(&options, index, term, &second);
        CHECK(is_added ? second == first + 1 : fuzz_disk.has_failed);
        CHECK(wal_purge(env, DIR, 1) == OK || fuzz_disk.has_failed);
    }
    fuzz_disk_close();
    return 0;
}
