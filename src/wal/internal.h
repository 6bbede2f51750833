/* internal.h - what the files of wal/ share. */
#ifndef WAL_INTERNAL_H
#define WAL_INTERNAL_H

#include "wal/frame.h"
#include "wal/wal.h"

#define WAL_DIR_MODE 0700
#define WAL_FILE_MODE 0600

/* A segment by its name. */
struct wal_segment_name {
    uint64_t sequence;
    uint64_t index;
};

struct wal_segment {
    struct env_file *file; /* locked when open for writing */
    char *name;
    struct wal_segment_name number;
};

struct wal_segments {
    struct wal_segment *items;
    size_t count;
    size_t capacity;
};

enum wal_spare_phase { WAL_SPARE_NONE, WAL_SPARE_ORDERED, WAL_SPARE_READY };
enum wal_phase { WAL_OPENED, WAL_READ, WAL_WRITING, WAL_FAILED };

struct wal {
    struct env *env;
    char *dir;
    int64_t segment_bytes;
    bool no_sync;
    bool is_read_only;
    enum wal_phase phase;
    enum err failure; /* the first one, in WAL_FAILED */

    struct wal_segments segments; /* those held; the last one is the tail */
    uint64_t snapshot_index;      /* where it was opened */
    uint64_t snapshot_term;

    struct buf metadata;               /* repeated at the head of each segment */
    struct raft_hard_state hard_state; /* last saved by this struct */
    uint64_t last_index;               /* of the last entry or snapshot written or read */
    uint32_t crc;                      /* running, over all that is in the file and in `pending` */
    uint32_t written_crc;              /* what it was behind the last byte in the file */
    struct buf pending;                /* encoded and not yet written */
    int64_t offset;                    /* in the tail: where `pending` goes */

    enum wal_spare_phase spare_phase;
    struct wal_spare *spare; /* in WAL_SPARE_READY */
    unsigned spare_number;   /* of the next one; one that is ordered has the number before, so the names differ */
};

/* ---- names.c ---- */

/* "<dir>/<name>", for the caller to free. */
char *wal__path(const char *dir, const char *name);
/* `dir` without slashes at its end, for the caller to free. */
char *wal__clean_dir(const char *dir);
bool wal__has_suffix(const char *name, const char *suffix);
bool wal__parse_name(const char *name, struct wal_segment_name *ret_number);
/* The name of a segment, for the caller to free. */
char *wal__make_name(struct wal_segment_name number);
/* The names of segments in the folder, in order; others are passed over, with a warning. ERR_WAL_FILE_NOT_FOUND when
 * there are none. */
enum err wal__list(struct env *env, const char *dir, struct env_names *ret_names) MUST_USE;
/* Opens segments names[from...]; locks them unless read-only. */
enum err wal__open_segments(struct env *env, const char *dir, const struct env_names *names, size_t from,
                            bool read_only, struct wal_segments *ret_segments) MUST_USE;
void wal__close_segment(struct wal_segment *segment);
void wal__close_segments(struct wal_segments *segments);
/* One source a segment, for the caller to free. */
struct wal_source *wal__sources(const struct wal_segments *segments);

/* ---- spare.c ---- */

/* Makes a segment file of zeros at <dir>/<number>.tmp, locked. */
struct wal_spare *wal__spare_new(struct env *env, const char *dir, int64_t segment_bytes, unsigned number);
/* The file and its path, which the caller takes over; frees the rest. */
struct env_file *wal__spare_take(struct wal_spare *self, char **ret_path);
/* Deletes what spares an earlier process left. */
void wal__remove_spares(struct env *env, const char *dir);

/* ---- purge.c ---- */

/* Deletes the oldest files whose names end in `suffix` while there are more than max_files (0 = keep all). With `lock`,
 * ends at one that somebody has locked. */
enum err wal__purge(struct env *env, const char *dir, const char *suffix, size_t max_files, bool lock) MUST_USE;

#endif
