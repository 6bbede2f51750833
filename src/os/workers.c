/* Threads that run jobs, and the way of their results back to the loop. */
#include "base/check.h"
#include "base/mem.h"
#include "os/world.h"

#include <string.h>

struct os_worker {
    struct env_worker worker;
    struct os_world *world;
    pthread_t thread;
    pthread_cond_t added;
    struct os_queue queue;
};

static struct os_world *world_of(struct env *env) { return CONTAINER_OF(env, struct os_world, env); }

/* The lock is held. Returns whether the loop has to be woken: once for all that gathers until it looks. */
static bool add_done(struct os_world *world, struct env_job *job) {
    bool was_empty = list_is_empty(&world->done);
    list_push_back(&world->done, &job->link);
    pthread_cond_broadcast(&world->done_added);
    return was_empty;
}

static void wake(struct os_world *world) {
    if (world->wake != NULL) world->wake(world->wake_context);
}

static struct env_job *pop(struct os_queue *queue) {
    struct env_job *job = CONTAINER_OF(queue->jobs.next, struct env_job, link);
    list_remove(&job->link);
    return job;
}

static void *worker_main(void *context) {
    struct os_worker *self = context;
    struct os_world *world = self->world;
    pthread_mutex_lock(&world->lock);
    for (;;) {
        while (list_is_empty(&self->queue.jobs) && !self->queue.is_ending)
            pthread_cond_wait(&self->added, &world->lock);
        if (list_is_empty(&self->queue.jobs)) break;
        struct env_job *job = pop(&self->queue);
        self->queue.is_running = true;
        pthread_mutex_unlock(&world->lock);
        job->run(job);
        pthread_mutex_lock(&world->lock);
        self->queue.is_running = false;
        if (add_done(world, job)) {
            pthread_mutex_unlock(&world->lock);
            wake(world);
            pthread_mutex_lock(&world->lock);
        }
    }
    pthread_mutex_unlock(&world->lock);
    return NULL;
}

struct env_worker *os__worker_new(struct env *env, const char *name) {
    struct os_worker *self = NEW(struct os_worker);
    self->worker.env = env;
    self->world = world_of(env);
    list_init(&self->queue.jobs);
    pthread_cond_init(&self->added, NULL);
    CHECKF(pthread_create(&self->thread, NULL, worker_main, self) == 0, "cannot start the %s thread", name);
    char short_name[16] = {0};
    strncpy(short_name, name, sizeof short_name - 1);
    pthread_setname_np(self->thread, short_name);
    return &self->worker;
}

void os__worker_submit(struct env_worker *worker, struct env_job *job) {
    struct os_worker *self = CONTAINER_OF(worker, struct os_worker, worker);
    pthread_mutex_lock(&self->world->lock);
    list_push_back(&self->queue.jobs, &job->link);
    pthread_mutex_unlock(&self->world->lock);
    pthread_cond_signal(&self->added);
}

void os__worker_free(struct env_worker *worker) {
    struct os_worker *self = CONTAINER_OF(worker, struct os_worker, worker);
    struct os_world *world = self->world;
    for (;;) {
        os__deliver_done(world);
        pthread_mutex_lock(&world->lock);
        bool has_work = !list_is_empty(&self->queue.jobs) || self->queue.is_running;
        if (has_work && list_is_empty(&world->done)) pthread_cond_wait(&world->done_added, &world->lock);
        bool is_idle = !has_work && list_is_empty(&world->done);
        if (is_idle) self->queue.is_ending = true;
        pthread_mutex_unlock(&world->lock);
        if (is_idle) break;
    }
    pthread_cond_signal(&self->added);
    pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->added);
    mem_free(self);
}

static void *pool_main(void *context) {
    struct os_world *world = context;
    pthread_mutex_lock(&world->lock);
    for (;;) {
        while (list_is_empty(&world->pool.jobs) && !world->pool.is_ending)
            pthread_cond_wait(&world->pool_added, &world->lock);
        if (list_is_empty(&world->pool.jobs)) break;
        struct env_job *job = pop(&world->pool);
        pthread_mutex_unlock(&world->lock);
        job->run(job);
        pthread_mutex_lock(&world->lock);
        world->pool_jobs--;
        if (add_done(world, job)) {
            pthread_mutex_unlock(&world->lock);
            wake(world);
            pthread_mutex_lock(&world->lock);
        }
    }
    pthread_mutex_unlock(&world->lock);
    return NULL;
}

void os__pool_submit(struct env *env, struct env_job *job) {
    struct os_world *world = world_of(env);
    pthread_mutex_lock(&world->lock);
    list_push_back(&world->pool.jobs, &job->link);
    world->pool_jobs++;
    if (world->pool_thread_count < OS_POOL_THREADS && world->pool_jobs > world->pool_thread_count) {
        pthread_t *thread = &world->pool_threads[world->pool_thread_count];
        CHECKF(pthread_create(thread, NULL, pool_main, world) == 0, "cannot start a pool thread");
        pthread_setname_np(*thread, "pool");
        world->pool_thread_count++;
    }
    pthread_mutex_unlock(&world->lock);
    pthread_cond_signal(&world->pool_added);
}

void os__pool_end(struct os_world *world) {
    for (;;) {
        os__deliver_done(world);
        pthread_mutex_lock(&world->lock);
        bool is_idle = world->pool_jobs == 0 && list_is_empty(&world->done);
        if (world->pool_jobs != 0 && list_is_empty(&world->done)) pthread_cond_wait(&world->done_added, &world->lock);
        if (is_idle) world->pool.is_ending = true;
        pthread_mutex_unlock(&world->lock);
        if (is_idle) break;
    }
    pthread_cond_broadcast(&world->pool_added);
    for (size_t i = 0; i < world->pool_thread_count; i++) pthread_join(world->pool_threads[i], NULL);
}

void os__post(struct env *env, struct env_job *job) {
    struct os_world *world = world_of(env);
    pthread_mutex_lock(&world->lock);
    bool must_wake = add_done(world, job);
    pthread_mutex_unlock(&world->lock);
    if (must_wake) wake(world);
}

bool os__deliver_done(struct os_world *world) {
    struct list finished;
    list_init(&finished);
    pthread_mutex_lock(&world->lock);
    list_splice_back(&finished, &world->done);
    pthread_mutex_unlock(&world->lock);
    if (list_is_empty(&finished)) return false;
    while (!list_is_empty(&finished)) {
        struct env_job *job = CONTAINER_OF(finished.next, struct env_job, link);
        list_remove(&job->link);
        job->done(job);
    }
    return true;
}
