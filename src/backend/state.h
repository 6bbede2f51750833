/* state.h - what the files of backend/ share.
 *
 * Floor 3, private to backend/.
 */
#ifndef BACKEND_STATE_H
#define BACKEND_STATE_H

#include "backend/buffer.h"

/* The open file; after a defrag the old one lives until its last reader is gone. */
struct file {
    unsigned references; /* loop only, here and below */
    struct bolt *bolt;
    struct env_job closing;
    struct backend *backend;
};

/* A read transaction on it with all buckets opened, shared by the loop's own reads and views. */
struct reader {
    unsigned references;
    struct file *file;
    struct bolt_tx *tx;
    struct bolt_bucket *buckets[BACKEND_BUCKET_COUNT]; /* NULL: not in the file */
};

/* What the worker is doing. The moves: IDLE -> COMMITTING -> IDLE, IDLE -> DEFRAGMENTING -> IDLE, and from any to
 * FAILED, where it stays. */
enum backend_state { BACKEND_IDLE, BACKEND_COMMITTING, BACKEND_DEFRAGMENTING, BACKEND_FAILED };

struct backend {
    struct env *env;
    struct backend_options options;
    char *path;
    struct file *file;
    struct reader *reader;
    struct bolt_stats stats; /* as of the last commit that is visible */
    struct env_worker *worker;
    struct env_timer timer;
    uint64_t seed; /* of the buffers' tables */

    enum backend_state state;
    enum err failed;
    bool is_due;  /* commit as soon as the worker is free */
    bool is_full; /* the disk is: the sealed buffer waits for room */
    bool is_closing;
    struct buffer *active;
    struct buffer *sealed;            /* in the worker's hands; NULL unless COMMITTING */
    struct list waiting;              /* backend_waiter.link: for what is in the active buffer */
    struct list committing;           /* for what is in the sealed buffer */
    struct list defrag_requests;      /* struct defrag_request.link */
    struct backend_view *latest_view; /* borrowed: the newest that is still referenced, to be shared */
    size_t view_count;
    size_t open_files; /* old ones that wait for readers included */

    /* the job in the worker's hands: inputs are set before, results read after */
    struct env_job job;
    struct {
        struct bolt *bolt;
        struct buffer *buffer;
        char *temporary_path;
        enum err error;
        struct errmsg message;
        struct backend_commit_report report;
        struct bolt *defragmented;
    } work;
};

struct defrag_request {
    struct list link;
    struct backend_waiter *waiter;
    char *temporary_path;
};

/* backend.c */
enum err reader__new(struct file *file, struct reader **ret_reader) MUST_USE;
void reader__unref(struct reader *self);
void file__unref(struct file *self);
struct file *file__new(struct backend *backend, struct bolt *bolt);
/* Starts what is to be done next, if the worker is free. In a turn of its own only. */
void backend__pump(struct backend *self);
void backend__arm_timer(struct backend *self, int64_t delay_ns);
void backend__fail(struct backend *self, enum err error, const char *text);
/* Goes on with a new reader. */
enum err backend__renew_reader(struct backend *self) MUST_USE;
void backend__call_waiters(struct list *waiters, enum err error);
struct bolt_options backend__bolt_options(const struct backend *self);

/* commit.c */
void backend__start_commit(struct backend *self);
/* The disk was full: the same once more. */
void backend__retry_commit(struct backend *self);

/* defrag.c */
void backend__start_defrag(struct backend *self);
/* For requests that can't be served any more. */
void backend__drop_defrag_requests(struct backend *self, enum err error);

#endif
