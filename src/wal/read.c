/* Reading a log. */
#include "base/check.h"
#include "base/mem.h"
#include "base/vec.h"
#include "wal/internal.h"

#include <inttypes.h>

void wal_contents_release(struct wal_contents *self) {
    buf_release(&self->metadata);
    for (size_t i = 0; i < self->entries.count; i++) raft_entry_release(&self->entries.items[i]);
    VEC_RELEASE(&self->entries);
    *self = (struct wal_contents){0};
}

static enum err fail(struct errmsg *message, enum err error) { return err_set(message, error, "%s", err_text(error)); }

/* A record whose checksum is right and whose content is not. */
static enum err fail_corrupt(struct wal_decoder *decoder, const char *what, struct errmsg *message) {
    return err_set(message, ERR_CORRUPT, "wal: malformed %s in %s before offset %" PRId64, what,
                   decoder->sources[decoder->source_at].name, decoder->next_offset);
}

/* An entry replaces those with its index and behind. */
static enum err take_entry(struct wal *self, struct wal_decoder *decoder, struct slice data,
                           struct wal_contents *contents, struct errmsg *message) {
    struct wal_entries *entries = &contents->entries;
    struct raft_entry entry;
    if (raft_entry_decode(data, decoder->window, &entry) != OK) return fail_corrupt(decoder, "entry", message);
    self->last_index = entry.index;
    if (entry.index <= self->snapshot_index) {
        raft_entry_release(&entry);
        return OK;
    }
    uint64_t place = entry.index - self->snapshot_index - 1;
    if (place > entries->count) {
        raft_entry_release(&entry);
        return err_set(message, ERR_WAL_SLICE_OUT_OF_RANGE,
                       "wal: slice bounds out of range, snapshot[Index: %" PRIu64 ", Term: %" PRIu64
                       "], current entry[Index: %" PRIu64 ", Term: %" PRIu64 "], len(ents): %zu",
                       self->snapshot_index, self->snapshot_term, entry.index, entry.term, entries->count);
    }
    while (entries->count > place) raft_entry_release(&entries->items[--entries->count]);
    VEC_PUSH(entries, entry);
    return OK;
}

static enum err take_metadata(struct slice data, struct wal_contents *contents, struct errmsg *message) {
    if (contents->metadata.len != 0 && !slice_equal(buf_slice(&contents->metadata), data))
        return fail(message, ERR_WAL_METADATA_CONFLICT);
    buf_clear(&contents->metadata);
    buf_append_slice(&contents->metadata, data);
    return OK;
}

static enum err take_snapshot(struct wal *self, struct wal_decoder *decoder, struct slice data,
                              struct wal_contents *contents, struct errmsg *message) {
    struct wal_snapshot snapshot;
    if (wal_snapshot_decode(data, &snapshot) != OK) return fail_corrupt(decoder, "snapshot", message);
    bool is_ours = snapshot.index == self->snapshot_index;
    bool matches = snapshot.term == self->snapshot_term;
    wal_snapshot_release(&snapshot);
    if (is_ours && !matches) return fail(message, ERR_WAL_SNAPSHOT_MISMATCH);
    if (is_ours) contents->snapshot_found = true;
    return OK;
}

static enum err take_record(struct wal *self, struct wal_decoder *decoder, const struct wal_record *record,
                            struct wal_contents *contents, struct errmsg *message) {
    switch (record->type) {
    case WAL_RECORD_ENTRY: return take_entry(self, decoder, record->data, contents, message);
    case WAL_RECORD_STATE:
        if (raft_hard_state_decode(record->data, &contents->hard_state) != OK)
            return fail_corrupt(decoder, "state", message);
        return OK;
    case WAL_RECORD_METADATA: return take_metadata(record->data, contents, message);
    case WAL_RECORD_CRC: return OK;
    case WAL_RECORD_SNAPSHOT: return take_snapshot(self, decoder, record->data, contents, message);
    default: return err_set(message, ERR_CORRUPT, "unexpected block type %" PRId64, record->type);
    }
}

/* ERR_EOF at the end of a good log. */
static enum err read_records(struct wal *self, struct wal_decoder *decoder, struct wal_contents *contents,
                             struct errmsg *message) {
    for (;;) {
        struct wal_record record;
        TRY(wal_decoder_next(decoder, &record, message));
        TRY(take_record(self, decoder, &record, contents, message));
    }
}

/* Makes the tail ready for more: zeros from `offset` on, so that nothing old can show up behind a new record. */
static enum err go_over_to_writing(struct wal *self, const struct wal_decoder *decoder) {
    struct env_file *tail = self->segments.items[self->segments.count - 1].file;
    int64_t size_bytes;
    TRY(env_file_size(tail, &size_bytes));
    TRY(env_truncate(tail, decoder->next_offset));
    TRY(env_allocate(tail, 0, size_bytes));
    self->offset = decoder->next_offset;
    self->crc = self->written_crc = decoder->crc;
    self->phase = WAL_WRITING;
    return OK;
}

static enum err finish_reading(struct wal *self, struct wal_decoder *decoder, enum err end,
                               struct wal_contents *contents, struct errmsg *message) {
    if (self->is_read_only) {
        if (end != ERR_EOF && end != ERR_UNEXPECTED_EOF) return end;
        if (!contents->snapshot_found) return fail(message, ERR_WAL_SNAPSHOT_NOT_FOUND);
        self->phase = WAL_READ;
        return OK;
    }
    if (end != ERR_EOF) return end;
    enum err error = go_over_to_writing(self, decoder);
    if (error != OK) return fail(message, error);
    buf_append_slice(&self->metadata, buf_slice(&contents->metadata));
    return OK;
}

enum err wal_read_all(struct wal *self, struct wal_contents *ret_contents, struct errmsg *message) {
    CHECK(self->phase == WAL_OPENED);
    struct wal_contents contents = {0};
    CLEANUP_FREE struct wal_source *sources = wal__sources(&self->segments);
    struct wal_decoder decoder = wal_decoder_make(sources, self->segments.count);
    enum err error = read_records(self, &decoder, &contents, message);
    error = finish_reading(self, &decoder, error, &contents, message);
    wal_decoder_release(&decoder);
    if (error != OK) {
        self->phase = WAL_FAILED;
        self->failure = error;
        wal_contents_release(&contents);
        return error;
    }
    *ret_contents = contents;
    return OK;
}

/* ---- snapshots on record ---- */

void wal_snapshots_release(struct wal_snapshots *self) {
    for (size_t i = 0; i < self->count; i++) wal_snapshot_release(&self->items[i]);
    VEC_RELEASE(self);
}

static enum err read_snapshots(struct wal_decoder *decoder, struct wal_snapshots *snapshots,
                               struct raft_hard_state *hard_state, struct errmsg *message) {
    for (;;) {
        struct wal_record record;
        TRY(wal_decoder_next(decoder, &record, message));
        if (record.type == WAL_RECORD_STATE && raft_hard_state_decode(record.data, hard_state) != OK)
            return fail_corrupt(decoder, "state", message);
        if (record.type != WAL_RECORD_SNAPSHOT) continue;
        struct wal_snapshot snapshot;
        if (wal_snapshot_decode(record.data, &snapshot) != OK) return fail_corrupt(decoder, "snapshot", message);
        VEC_PUSH(snapshots, snapshot);
    }
}

static void drop_uncommitted(struct wal_snapshots *snapshots, uint64_t commit) {
    size_t kept = 0;
    for (size_t i = 0; i < snapshots->count; i++) {
        if (snapshots->items[i].index <= commit)
            snapshots->items[kept++] = snapshots->items[i];
        else
            wal_snapshot_release(&snapshots->items[i]);
    }
    snapshots->count = kept;
}

static enum err open_all(struct env *env, const char *dir, struct wal_segments *ret_segments) {
    struct env_names names;
    TRY(wal__list(env, dir, &names));
    enum err error = wal__open_segments(env, dir, &names, 0, true, ret_segments);
    env_names_release(&names);
    return error;
}

enum err wal_valid_snapshots(struct env *env, const char *dir, struct wal_snapshots *ret_snapshots,
                             struct errmsg *message) {
    struct wal_segments segments;
    CLEANUP_FREE char *clean_dir = wal__clean_dir(dir);
    enum err error = open_all(env, clean_dir, &segments);
    if (error != OK) return fail(message, error);
    CLEANUP_FREE struct wal_source *sources = wal__sources(&segments);
    struct wal_decoder decoder = wal_decoder_make(sources, segments.count);
    struct wal_snapshots snapshots = {0};
    struct raft_hard_state hard_state = {0};
    error = read_snapshots(&decoder, &snapshots, &hard_state, message);
    wal_decoder_release(&decoder);
    wal__close_segments(&segments);
    if (error != ERR_EOF && error != ERR_UNEXPECTED_EOF) {
        wal_snapshots_release(&snapshots);
        return error;
    }
    drop_uncommitted(&snapshots, hard_state.commit);
    *ret_snapshots = snapshots;
    return OK;
}
