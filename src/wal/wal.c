/* Making, opening and writing the log. */
#include "wal/wal.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/vec.h"
#include "wal/internal.h"

#include <time.h>

/* More than this is not kept back: commit indexes that wait for the next entry to be written with. */
#define MAX_HELD_BACK_BYTES (64 * 1024)
/* A larger buffer is given back after it was written. */
#define MAX_IDLE_BUFFER_BYTES (4 * 1024 * 1024)

static struct wal *wal_new(const struct wal_options *options) {
    struct wal *self = NEW(struct wal);
    self->env = options->env;
    self->dir = wal__clean_dir(options->dir);
    self->segment_bytes = options->segment_bytes != 0 ? options->segment_bytes : WAL_SEGMENT_BYTES;
    self->no_sync = options->no_sync;
    return self;
}

static void wal_free(struct wal *self) {
    wal__close_segments(&self->segments);
    wal_spare_free(self->spare);
    buf_release(&self->metadata);
    buf_release(&self->pending);
    mem_free(self->dir);
    mem_free(self);
}

static struct wal_segment *tail_of(struct wal *self) { return &self->segments.items[self->segments.count - 1]; }

static struct log *log_of(struct wal *self) { return env_log(self->env); }

/* ---- output ---- */

static enum err write_pending(struct wal *self, struct wal_io *io) {
    if (self->pending.len == 0) return OK;
    struct slice bytes = buf_slice(&self->pending);
    int64_t start_ns = env_now_ns(self->env);
    TRY(env_pwritev(tail_of(self)->file, &bytes, 1, self->offset));
    io->write_ns += env_now_ns(self->env) - start_ns;
    io->write_count++;
    io->written_bytes += bytes.len;
    self->offset += (int64_t)bytes.len;
    self->written_crc = self->crc;
    buf_clear(&self->pending);
    if (self->pending.capacity > MAX_IDLE_BUFFER_BYTES) buf_release(&self->pending);
    return OK;
}

static enum err flush(struct wal *self, struct wal_io *io) {
    if (self->no_sync) return OK;
    int64_t start_ns = env_now_ns(self->env);
    enum err error = env_fdatasync(tail_of(self)->file);
    int64_t took_ns = env_now_ns(self->env) - start_ns;
    if (took_ns > WAL_SLOW_SYNC_NS) {
        log_warn(log_of(self), "slow fdatasync", LOG_DURATION("took", took_ns),
                 LOG_DURATION("expected-duration", WAL_SLOW_SYNC_NS));
    }
    if (io->sync_count < WAL_MAX_SYNCS) io->sync_ns[io->sync_count++] = took_ns;
    return error;
}

static enum err write_and_flush(struct wal *self, struct wal_io *io) {
    TRY(write_pending(self, io));
    return flush(self, io);
}

/* Remembers the first failure: what is on disk is unknown from then on. */
static enum err result_of_write(struct wal *self, enum err error, const struct wal_io *io, struct wal_io *ret_io) {
    if (ret_io != NULL) *ret_io = *io;
    if (ret_io != NULL) ret_io->room_bytes = self->segment_bytes - self->offset;
    if (error != OK) {
        self->phase = WAL_FAILED;
        self->failure = error;
    }
    return error;
}

/* ---- making ---- */

static void put_head(struct wal *self) {
    wal_put_crc(&self->pending, self->crc);
    wal_put_record(&self->pending, &self->crc, WAL_RECORD_METADATA, buf_slice(&self->metadata));
}

/* The first segment, in the staging folder. */
static enum err make_first_segment(struct wal *self, const char *staging) {
    struct wal_segment first = {0};
    first.name = wal__make_name(first.number);
    CLEANUP_FREE char *path = wal__path(staging, first.name);
    enum err error = env_open(self->env, path, ENV_WRITE | ENV_CREATE, WAL_FILE_MODE, &first.file);
    if (error == OK) error = env_lock(first.file, ENV_LOCK_OFD, true);
    if (error != OK) {
        log_warn(log_of(self), "failed to flock an initial WAL file", LOG_STRING("path", path), LOG_ERR(error));
    } else if ((error = env_allocate(first.file, 0, self->segment_bytes)) != OK) {
        log_warn(log_of(self), "failed to preallocate an initial WAL file", LOG_STRING("path", path),
                 LOG_INT("segment-bytes", self->segment_bytes), LOG_ERR(error));
    }
    if (error != OK) {
        wal__close_segment(&first);
        return error;
    }
    VEC_PUSH(&self->segments, first);
    put_head(self);
    wal_put_snapshot(&self->pending, &self->crc, &(struct wal_snapshot){0});
    struct wal_io io = {0};
    return write_and_flush(self, &io);
}

static enum err make_in_staging(struct wal *self, const char *staging) {
    enum err error = env_remove_all(self->env, staging);
    if (error == OK) error = env_mkdir_all(self->env, staging, WAL_DIR_MODE);
    if (error != OK) {
        log_warn(log_of(self), "failed to create a temporary WAL directory", LOG_STRING("tmp-dir-path", staging),
                 LOG_STRING("dir-path", self->dir), LOG_ERR(error));
        return error;
    }
    TRY(make_first_segment(self, staging));
    TRY(env_sync_directory(self->env, staging));
    error = env_remove_all(self->env, self->dir);
    if (error == OK) error = env_rename(self->env, staging, self->dir);
    if (error != OK) {
        log_warn(log_of(self), "failed to rename the temporary WAL directory", LOG_STRING("tmp-dir-path", staging),
                 LOG_STRING("dir-path", self->dir), LOG_ERR(error));
    }
    return error;
}

/* A log that may vanish in a crash must not be found by the next start: it gets another name. The time is local, as
 * Go's layout 20060102.150405.999999 has it: without the zeros at the end of the fraction. */
static void set_aside(struct wal *self) {
    int64_t now_us = env_wall_ns(self->env) / 1000;
    time_t seconds = (time_t)(now_us / 1000000);
    struct tm local;
    char text[32];
    localtime_r(&seconds, &local);
    strftime(text, sizeof text, "%Y%m%d.%H%M%S", &local);
    CLEANUP_BUF struct buf broken = BUF_INIT;
    buf_printf(&broken, "%s.broken.%s", self->dir, text);
    if (now_us % 1000000 != 0) {
        buf_printf(&broken, ".%06d", (int)(now_us % 1000000));
        while (broken.data[broken.len - 1] == '0') broken.len--;
    }
    enum err error = env_rename(self->env, self->dir, buf_cstr(&broken));
    if (error != OK) {
        log_error(log_of(self), "failed to rename WAL during cleanup", LOG_ERR(error),
                  LOG_STRING("source-path", self->dir), LOG_STRING("rename-path", buf_cstr(&broken)));
    }
}

static enum err make_folder_durable(struct wal *self) {
    CLEANUP_FREE char *parent = env_parent(self->dir);
    enum err error = env_sync_directory(self->env, parent);
    if (error != OK) {
        log_warn(log_of(self), "failed to fsync the parent data directory file", LOG_STRING("parent-dir-path", parent),
                 LOG_STRING("dir-path", self->dir), LOG_ERR(error));
        set_aside(self);
    }
    return error;
}

enum err wal_create(const struct wal_options *options, struct slice metadata, struct wal **ret_wal,
                    struct errmsg *message) {
    if (wal_exists(options->env, options->dir))
        return err_set(message, ERR_FILE_EXISTS, "%s", err_text(ERR_FILE_EXISTS));
    struct wal *self = wal_new(options);
    self->phase = WAL_WRITING;
    buf_append_slice(&self->metadata, metadata);
    CLEANUP_BUF struct buf staging = BUF_INIT;
    buf_printf(&staging, "%s.tmp", self->dir);
    enum err error = make_in_staging(self, buf_cstr(&staging));
    if (error == OK) error = make_folder_durable(self);
    if (error != OK) {
        wal_free(self);
        return err_set(message, error, "%s", err_text(error));
    }
    *ret_wal = self;
    return OK;
}

/* ---- opening ---- */

/* The last segment that begins at or before the entry behind the snapshot; names->count when there is none. */
static size_t find_first(const struct env_names *names, uint64_t snapshot_index) {
    struct wal_segment_name number = {0};
    for (size_t i = names->count; i > 0; i--) {
        wal__parse_name(names->names[i - 1], &number);
        if (number.index <= snapshot_index) return i - 1;
    }
    return names->count;
}

/* No segment is missing between; what follows number 0 is not checked, as upstream. */
static bool is_contiguous(const struct env_names *names, size_t from) {
    uint64_t last = 0;
    for (size_t i = from; i < names->count; i++) {
        struct wal_segment_name number = {0};
        wal__parse_name(names->names[i], &number);
        if (last != 0 && number.sequence != last + 1) return false;
        last = number.sequence;
    }
    return true;
}

static enum err open_at(struct wal *self) {
    struct env_names names;
    TRY(wal__list(self->env, self->dir, &names));
    size_t first = find_first(&names, self->snapshot_index);
    enum err error = first < names.count && is_contiguous(&names, first) ? OK : ERR_WAL_FILE_NOT_FOUND;
    if (error == OK)
        error = wal__open_segments(self->env, self->dir, &names, first, self->is_read_only, &self->segments);
    env_names_release(&names);
    return error;
}

static enum err open_any(const struct wal_options *options, bool read_only, uint64_t snapshot_index,
                         uint64_t snapshot_term, struct wal **ret_wal, struct errmsg *message) {
    struct wal *self = wal_new(options);
    self->phase = WAL_OPENED;
    self->is_read_only = read_only;
    self->snapshot_index = snapshot_index;
    self->snapshot_term = snapshot_term;
    enum err error = open_at(self);
    if (error != OK) {
        wal_free(self);
        return err_set(message, error, "%s", err_text(error));
    }
    *ret_wal = self;
    return OK;
}

enum err wal_open(const struct wal_options *options, uint64_t snapshot_index, uint64_t snapshot_term,
                  struct wal **ret_wal, struct errmsg *message) {
    return open_any(options, false, snapshot_index, snapshot_term, ret_wal, message);
}

enum err wal_open_read_only(const struct wal_options *options, uint64_t snapshot_index, uint64_t snapshot_term,
                            struct wal **ret_wal, struct errmsg *message) {
    return open_any(options, true, snapshot_index, snapshot_term, ret_wal, message);
}

/* ---- cutting ---- */

/* The spare, or one made now. */
static enum err take_spare(struct wal *self, struct env_file **ret_file, char **ret_path) {
    struct wal_spare *spare = TAKE(self->spare);
    if (spare == NULL) {
        spare = wal__spare_new(self->env, self->dir, self->segment_bytes, self->spare_number);
        enum err error = wal_spare_make(spare);
        if (error != OK) {
            wal_spare_free(spare);
            return error;
        }
    }
    if (self->spare_phase != WAL_SPARE_ORDERED) self->spare_phase = WAL_SPARE_NONE;
    *ret_file = wal__spare_take(spare, ret_path);
    return OK;
}

/* Ends the tail behind its last record and begins the next segment, which comes under its name only when its head is
 * durable. All is written already; nothing is flushed. */
static enum err cut(struct wal *self, struct wal_io *io) {
    TRY(env_truncate(tail_of(self)->file, self->offset));
    TRY(flush(self, io));

    struct wal_segment next = {.number = {tail_of(self)->number.sequence + 1, self->last_index + 1}};
    CLEANUP_FREE char *spare_path = NULL;
    TRY(take_spare(self, &next.file, &spare_path));
    next.name = wal__make_name(next.number);
    VEC_PUSH(&self->segments, next);
    self->offset = 0;
    put_head(self);
    if (!raft_hard_state_is_empty(self->hard_state)) wal_put_hard_state(&self->pending, &self->crc, &self->hard_state);
    TRY(write_and_flush(self, io));

    CLEANUP_FREE char *path = wal__path(self->dir, next.name);
    TRY(env_rename(self->env, spare_path, path));
    TRY(env_sync_directory(self->env, self->dir));
    log_info(log_of(self), "created a new WAL segment", LOG_STRING("path", path));
    return OK;
}

/* ---- writing ---- */

static void put_records(struct wal *self, struct raft_hard_state hard_state, const struct raft_entry *entries,
                        size_t entry_count) {
    for (size_t i = 0; i < entry_count; i++) wal_put_entry(&self->pending, &self->crc, &entries[i]);
    if (entry_count > 0) self->last_index = entries[entry_count - 1].index;
    if (!raft_hard_state_is_empty(hard_state)) {
        self->hard_state = hard_state;
        wal_put_hard_state(&self->pending, &self->crc, &hard_state);
    }
}

static enum err save(struct wal *self, struct raft_hard_state hard_state, const struct raft_entry *entries,
                     size_t entry_count, struct wal_io *io) {
    bool must_sync =
        entry_count > 0 || hard_state.vote != self->hard_state.vote || hard_state.term != self->hard_state.term;
    struct raft_hard_state hard_state_before = self->hard_state;
    uint64_t last_index_before = self->last_index;
    put_records(self, hard_state, entries, entry_count);
    if (must_sync || self->pending.len > MAX_HELD_BACK_BYTES || self->offset >= self->segment_bytes) {
        enum err error = write_pending(self, io);
        if (error == ERR_NO_DISK_SPACE && self->spare != NULL) {
            /* The end of a segment may reach beyond the room that was taken for it. The spare has its room. Commit
             * indexes that were kept back are in its head. */
            buf_clear(&self->pending);
            self->crc = self->written_crc;
            self->hard_state = hard_state_before;
            self->last_index = last_index_before;
            TRY(cut(self, io));
            put_records(self, hard_state, entries, entry_count);
            error = write_pending(self, io);
        }
        if (error != OK) return error;
    }
    if (self->offset >= self->segment_bytes) return cut(self, io);
    return must_sync ? flush(self, io) : OK;
}

enum err wal_save(struct wal *self, struct raft_hard_state hard_state, const struct raft_entry *entries,
                  size_t entry_count, struct wal_io *ret_io) {
    struct wal_io io = {0};
    if (self->phase == WAL_FAILED) return result_of_write(self, self->failure, &io, ret_io);
    CHECK(self->phase == WAL_WRITING);
    if (entry_count == 0 && raft_hard_state_is_empty(hard_state)) return result_of_write(self, OK, &io, ret_io);
    enum err error = save(self, hard_state, entries, entry_count, &io);
    return result_of_write(self, error, &io, ret_io);
}

enum err wal_save_snapshot(struct wal *self, const struct wal_snapshot *snapshot, struct wal_io *ret_io) {
    struct wal_io io = {0};
    if (self->phase == WAL_FAILED) return result_of_write(self, self->failure, &io, ret_io);
    CHECK(self->phase == WAL_WRITING);
    CHECK(snapshot->index == 0 || snapshot->has_conf_state);
    wal_put_snapshot(&self->pending, &self->crc, snapshot);
    if (snapshot->index > self->last_index) self->last_index = snapshot->index;
    enum err error = write_and_flush(self, &io);
    return result_of_write(self, error, &io, ret_io);
}

enum err wal_sync(struct wal *self, struct wal_io *ret_io) {
    struct wal_io io = {0};
    if (self->phase == WAL_FAILED) return result_of_write(self, self->failure, &io, ret_io);
    CHECK(self->phase == WAL_WRITING);
    enum err error = write_and_flush(self, &io);
    return result_of_write(self, error, &io, ret_io);
}

void wal_release_to(struct wal *self, uint64_t index) {
    struct wal_segments *segments = &self->segments;
    size_t behind = 0; /* the first segment that begins at `index` or later */
    while (behind < segments->count && segments->items[behind].number.index < index) behind++;
    if (behind <= 1) return;
    size_t released = behind - 1;
    for (size_t i = 0; i < released; i++) wal__close_segment(&segments->items[i]);
    segments->count -= released;
    memmove(segments->items, segments->items + released, segments->count * sizeof *segments->items);
}

enum err wal_close(struct wal *self) {
    if (self == NULL) return OK;
    enum err error = self->phase == WAL_WRITING ? wal_sync(self, NULL) : OK;
    if (error != OK) log_error(log_of(self), "failed to close WAL", LOG_ERR(error));
    if (!self->is_read_only) {
        wal_spare_free(TAKE(self->spare));
        wal__remove_spares(self->env, self->dir);
    }
    wal_free(self);
    return error;
}
