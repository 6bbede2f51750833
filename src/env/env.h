/* env.h - what the world must supply: clock, randomness, files, background work, log.
 *
 * Floor 1. No module below floor 7 touches the operating system but through here. os/ gives the real world; the
 * simulator gives one with virtual time and a disk that fails on a seed. Each call goes through the table of the
 * world that the caller was given; nothing is global.
 *
 * Threads. The *loop* is the one thread on which the server lives. Blocking calls (all file calls) may be made from
 * the loop only while a member starts or ends; while it serves they belong to jobs on a worker (the one exception, a
 * lone flush on a fast disk, is told in server/replicate.c).
 */
#ifndef ENV_ENV_H
#define ENV_ENV_H

#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/slice.h"
#include "env/log.h"

struct env;
struct env_file;
struct env_worker;
struct env_timer;
struct env_job;

/* ---- time and chance ---- */

/* Monotonic nanoseconds; never goes back. Any thread. */
int64_t env_now_ns(struct env *env);
/* Nanoseconds since 1970; may jump. Any thread. */
int64_t env_wall_ns(struct env *env);
/* Unpredictable in the real world, seeded in the simulator. Any thread. */
uint64_t env_random(struct env *env);
void env_random_bytes(struct env *env, void *bytes, size_t size_bytes);
/* The process's log; may be NULL. */
struct log *env_log(struct env *env);

/* ---- timers: loop only; the caller embeds the timer and keeps it until stopped or fired ---- */

typedef void (*env_timer_callback)(struct env_timer *timer);

struct env_timer {
    env_timer_callback callback;
    void *context;
    struct heap_node world; /* the world's own; zero before the first start; place != 0 while running */
};

/* Fires once, on the loop, not before delay_ns from now (0 = next turn) and never from inside this call. A timer that
 * is running is moved. */
void env_timer_start(struct env *env, struct env_timer *timer, int64_t delay_ns);
/* It will not fire any more; its memory may go. Harmless when not running. */
void env_timer_stop(struct env *env, struct env_timer *timer);
bool env_timer_is_running(const struct env_timer *timer);

/* ---- background work ---- */

/* One piece of work. The caller embeds it and keeps it until `done`. `run` is called once on the worker's thread, may
 * block, and must not touch what the loop owns; then `done` is called once on the loop, never from inside submit. */
struct env_job {
    void (*run)(struct env_job *job);
    void (*done)(struct env_job *job);
    struct list link; /* the world's own */
};

/* A thread of its own that runs its jobs one after another, in the order submitted. `name` is for humans. */
struct env_worker *env_worker_new(struct env *env, const char *name);
/* Loop only. */
void env_worker_submit(struct env_worker *worker, struct env_job *job);
/* Runs what is queued to its end, and what the `done` callbacks submit meanwhile (each `done`, those of other workers
 * among them, is called from within this call), then ends the thread. Loop only. NULL is allowed. */
void env_worker_free(struct env_worker *worker);
/* One of a few shared threads; no order among jobs. Loop only. */
void env_pool_submit(struct env *env, struct env_job *job);
/* Has job->done called on the loop in a later turn; job->run is not used. Any thread. */
void env_post(struct env *env, struct env_job *job);

/* ---- files: blocking; each file one thread at a time unless said otherwise; paths are UTF-8 C strings ---- */

enum env_open_flags {
    ENV_READ = 0,
    ENV_WRITE = 1,     /* read and write */
    ENV_CREATE = 2,    /* when absent */
    ENV_EXCLUSIVE = 4, /* with ENV_CREATE: ERR_FILE_EXISTS when present */
    ENV_TRUNCATE = 8,
};

/* `mode` is for a created file, minus the umask. Closes on exec. Errors: of the system. */
enum err env_open(struct env *env, const char *path, int flags, unsigned mode, struct env_file **ret_file) MUST_USE;
/* Gives locks back too. NULL is allowed. */
void env_close(struct env_file *file);

/* Up to size_bytes; *ret_read is less only at the end of the file. */
enum err env_pread(struct env_file *file, void *bytes, size_t size_bytes, int64_t offset, size_t *ret_read) MUST_USE;
/* All of it, or an error after which an unknown part is written. */
enum err env_pwrite(struct env_file *file, const void *bytes, size_t size_bytes, int64_t offset) MUST_USE;
/* The pieces one behind the other, as one write. */
enum err env_pwritev(struct env_file *file, const struct slice *pieces, size_t count, int64_t offset) MUST_USE;
/* Data and what is needed to read it back; env_fsync also times and modes. After an error the file's content is
 * unknown: the member must stop. */
enum err env_fdatasync(struct env_file *file) MUST_USE;
enum err env_fsync(struct env_file *file) MUST_USE;
enum err env_truncate(struct env_file *file, int64_t size_bytes) MUST_USE;
/* Reserves blocks for [offset, offset + length); grows the file. Falls back to env_truncate where the file system can
 * not. */
enum err env_allocate(struct env_file *file, int64_t offset, int64_t length_bytes) MUST_USE;
enum err env_file_size(struct env_file *file, int64_t *ret_size_bytes) MUST_USE;

enum env_lock_kind {
    ENV_LOCK_OFD,   /* open-file-description lock over the whole file: the WAL's */
    ENV_LOCK_FLOCK, /* BSD lock: bolt's */
};
/* Never waits: ERR_LOCKED when another open file holds it. */
enum err env_lock(struct env_file *file, enum env_lock_kind kind, bool exclusive) MUST_USE;

/* A read-only shared view of [0, size_bytes), which may reach beyond the file's end (those bytes must not be touched
 * until the file has grown). Writes by env_pwrite show through. Lives until env_unmap, also after env_close. */
enum err env_map(struct env_file *file, size_t size_bytes, const uint8_t **ret_view) MUST_USE;
void env_unmap(struct env *env, const uint8_t *view, size_t size_bytes);
/* Frees the blocks of a range without changing the file's size (a hole reads as zeros); ERR_NOT_SUPPORTED where it
 * can't be. */
enum err env_punch_hole(struct env_file *file, int64_t offset, int64_t length_bytes) MUST_USE;

struct env_stat {
    bool is_directory;
    unsigned mode; /* permission bits */
    int64_t size_bytes;
};
enum err env_stat(struct env *env, const char *path, struct env_stat *ret_stat) MUST_USE;
/* One level; ERR_FILE_EXISTS when it is there. */
enum err env_mkdir(struct env *env, const char *path, unsigned mode) MUST_USE;
enum err env_rename(struct env *env, const char *from, const char *to) MUST_USE;
enum err env_unlink(struct env *env, const char *path) MUST_USE;
/* A file or a whole folder; fine when absent. */
enum err env_remove_all(struct env *env, const char *path) MUST_USE;
/* Makes renames and creations in a folder durable: a synced file may still lose its name in a crash. */
enum err env_sync_directory(struct env *env, const char *path) MUST_USE;

struct env_names {
    char **names; /* sorted bytewise, without "." and ".." */
    size_t count;
};
enum err env_list(struct env *env, const char *path, struct env_names *ret_names) MUST_USE;
void env_names_release(struct env_names *names);
/* The folder a path lies in, "." when it names none; the caller's to free. */
char *env_parent(const char *path);
/* Makes every missing folder of the path, durably. */
enum err env_mkdir_all(struct env *env, const char *path, unsigned mode) MUST_USE;

/* Whole small files. `limit_bytes` bounds what is read (ERR_INVALID beyond it). */
struct buf;
enum err env_read_file(struct env *env, const char *path, size_t limit_bytes, struct buf *ret_content) MUST_USE;

/* ---- for those who make a world ---- */

struct env_ops {
    int64_t (*now_ns)(struct env *);
    int64_t (*wall_ns)(struct env *);
    void (*random_bytes)(struct env *, void *, size_t);
    void (*timer_start)(struct env *, struct env_timer *, int64_t);
    void (*timer_stop)(struct env *, struct env_timer *);
    struct env_worker *(*worker_new)(struct env *, const char *);
    void (*worker_submit)(struct env_worker *, struct env_job *);
    void (*worker_free)(struct env_worker *);
    void (*pool_submit)(struct env *, struct env_job *);
    void (*post)(struct env *, struct env_job *);
    enum err (*open)(struct env *, const char *, int, unsigned, struct env_file **);
    void (*close)(struct env_file *);
    enum err (*pread)(struct env_file *, void *, size_t, int64_t, size_t *);
    enum err (*pwritev)(struct env_file *, const struct slice *, size_t, int64_t);
    enum err (*sync)(struct env_file *, bool data_only);
    enum err (*truncate)(struct env_file *, int64_t);
    enum err (*allocate)(struct env_file *, int64_t, int64_t);
    enum err (*file_size)(struct env_file *, int64_t *);
    enum err (*lock)(struct env_file *, enum env_lock_kind, bool);
    enum err (*map)(struct env_file *, size_t, const uint8_t **);
    void (*unmap)(struct env *, const uint8_t *, size_t);
    enum err (*punch_hole)(struct env_file *, int64_t, int64_t);
    enum err (*stat)(struct env *, const char *, struct env_stat *);
    enum err (*mkdir)(struct env *, const char *, unsigned);
    enum err (*rename)(struct env *, const char *, const char *);
    enum err (*unlink)(struct env *, const char *);
    enum err (*remove_all)(struct env *, const char *);
    enum err (*sync_directory)(struct env *, const char *);
    enum err (*list)(struct env *, const char *, struct env_names *);
};

/* A world embeds these as the first member of its own struct. */
struct env {
    const struct env_ops *ops;
    struct log *log;
};
struct env_file {
    struct env *env;
};
struct env_worker {
    struct env *env;
};

#endif
