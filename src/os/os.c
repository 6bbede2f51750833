#include "os/os.h"

#include "base/check.h"
#include "base/mem.h"
#include "os/world.h"

#include <sys/random.h>
#include <time.h>

#define NS_PER_SECOND 1000000000

static int64_t clock_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * NS_PER_SECOND + time.tv_nsec;
}

static int64_t now_ns(struct env *env) { return clock_ns(CLOCK_MONOTONIC); }
static int64_t wall_ns(struct env *env) { return clock_ns(CLOCK_REALTIME); }
int64_t os_wall_clock_ns(void *context) { return clock_ns(CLOCK_REALTIME); }

static void random_bytes(struct env *env, void *bytes, size_t size_bytes) {
    uint8_t *at = bytes;
    while (size_bytes > 0) {
        ssize_t got = getrandom(at, size_bytes, 0);
        CHECK(got > 0);
        at += got;
        size_bytes -= (size_t)got;
    }
}

static void timer_start(struct env *env, struct env_timer *timer, int64_t delay_ns) {
    struct os_world *self = CONTAINER_OF(env, struct os_world, env);
    int64_t due_ns = now_ns(env) + (delay_ns > 0 ? delay_ns : 0);
    if (heap_contains(&timer->world)) {
        heap_update(&self->timers, &timer->world, due_ns);
        return;
    }
    timer->world.key = due_ns;
    heap_push(&self->timers, &timer->world);
}

static void timer_stop(struct env *env, struct env_timer *timer) {
    heap_remove(&CONTAINER_OF(env, struct os_world, env)->timers, &timer->world);
}

static const struct env_ops os_ops = {
    .now_ns = now_ns,
    .wall_ns = wall_ns,
    .random_bytes = random_bytes,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .worker_new = os__worker_new,
    .worker_submit = os__worker_submit,
    .worker_free = os__worker_free,
    .pool_submit = os__pool_submit,
    .post = os__post,
    .open = os__open,
    .close = os__close,
    .pread = os__pread,
    .pwritev = os__pwritev,
    .sync = os__sync,
    .truncate = os__truncate,
    .allocate = os__allocate,
    .file_size = os__file_size,
    .lock = os__lock,
    .map = os__map,
    .unmap = os__unmap,
    .punch_hole = os__punch_hole,
    .stat = os__stat,
    .mkdir = os__mkdir,
    .rename = os__rename,
    .unlink = os__unlink,
    .remove_all = os__remove_all,
    .sync_directory = os__sync_directory,
    .list = os__list,
};

struct os_world *os_world_new(struct log *log) {
    struct os_world *self = NEW(struct os_world);
    self->env = (struct env){&os_ops, log};
    heap_init(&self->timers);
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->done_added, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&self->pool_added, NULL);
    list_init(&self->done);
    list_init(&self->pool.jobs);
    return self;
}

void os_world_free(struct os_world *self) {
    if (self == NULL) return;
    os__pool_end(self);
    heap_release(&self->timers);
    pthread_cond_destroy(&self->done_added);
    pthread_cond_destroy(&self->pool_added);
    pthread_mutex_destroy(&self->lock);
    mem_free(self);
}

struct env *os_world_env(struct os_world *self) {
    return &self->env;
}
void os_world_set_log(struct os_world *self, struct log *log) { self->env.log = log; }

void os_world_set_wake(struct os_world *self, void (*wake)(void *context), void *context) {
    self->wake = wake;
    self->wake_context = context;
}

int64_t os_world_turn(struct os_world *self) {
    os__deliver_done(self);
    struct heap_node *next = heap_peek(&self->timers);
    if (next == NULL) return -1;
    /* Timers that callbacks start with no delay wait for the next turn: `now` is read once. */
    int64_t now = now_ns(&self->env);
    while ((next = heap_peek(&self->timers)) != NULL && next->key <= now) {
        struct env_timer *timer = CONTAINER_OF(next, struct env_timer, world);
        heap_remove(&self->timers, next);
        timer->callback(timer);
    }
    if (next == NULL) return -1;
    int64_t left_ns = next->key - now_ns(&self->env);
    return left_ns > 0 ? left_ns : 0;
}

bool os_world_run(struct os_world *self, bool (*is_done)(void *context), void *context, int64_t limit_ns) {
    int64_t end_ns = now_ns(&self->env) + limit_ns;
    for (;;) {
        int64_t wait_ns = os_world_turn(self);
        if (is_done(context)) return true;
        int64_t now = now_ns(&self->env);
        if (now >= end_ns) return false;
        if (wait_ns == 0) continue;
        int64_t until_ns = wait_ns < 0 || now + wait_ns > end_ns ? end_ns : now + wait_ns;
        struct timespec until = {until_ns / NS_PER_SECOND, until_ns % NS_PER_SECOND};
        pthread_mutex_lock(&self->lock);
        if (list_is_empty(&self->done)) pthread_cond_timedwait(&self->done_added, &self->lock, &until);
        pthread_mutex_unlock(&self->lock);
    }
}
