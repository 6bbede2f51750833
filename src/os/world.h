/* world.h - what the files of os/ share. */
#ifndef OS_WORLD_H
#define OS_WORLD_H

#include "os/os.h"

#include <pthread.h>

#define OS_POOL_THREADS 2

struct os_queue {
    struct list jobs; /* under the lock */
    bool is_running;  /* a thread is inside a job's run */
    bool is_ending;
};

struct os_world {
    struct env env;
    void (*wake)(void *context);
    void *wake_context;
    struct heap timers; /* loop only */

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t done_added;
    struct list done;
    pthread_cond_t pool_added;
    struct os_queue pool;
    size_t pool_jobs; /* submitted and not yet done */
    pthread_t pool_threads[OS_POOL_THREADS];
    size_t pool_thread_count;
};

/* files.c */
enum err os__open(struct env *, const char *, int, unsigned, struct env_file **);
void os__close(struct env_file *);
enum err os__pread(struct env_file *, void *, size_t, int64_t, size_t *);
enum err os__pwritev(struct env_file *, const struct slice *, size_t, int64_t);
enum err os__sync(struct env_file *, bool);
enum err os__truncate(struct env_file *, int64_t);
enum err os__allocate(struct env_file *, int64_t, int64_t);
enum err os__file_size(struct env_file *, int64_t *);
enum err os__lock(struct env_file *, enum env_lock_kind, bool);
enum err os__map(struct env_file *, size_t, const uint8_t **);
void os__unmap(struct env *, const uint8_t *, size_t);
enum err os__punch_hole(struct env_file *, int64_t, int64_t);
enum err os__stat(struct env *, const char *, struct env_stat *);
enum err os__mkdir(struct env *, const char *, unsigned);
enum err os__rename(struct env *, const char *, const char *);
enum err os__unlink(struct env *, const char *);
enum err os__remove_all(struct env *, const char *);
enum err os__sync_directory(struct env *, const char *);
enum err os__list(struct env *, const char *, struct env_names *);

/* workers.c */
struct env_worker *os__worker_new(struct env *, const char *);
void os__worker_submit(struct env_worker *, struct env_job *);
void os__worker_free(struct env_worker *);
void os__pool_submit(struct env *, struct env_job *);
void os__pool_end(struct os_world *);
void os__post(struct env *, struct env_job *);
/* Calls `done` of what has finished; false when there was nothing. */
bool os__deliver_done(struct os_world *);

#endif
