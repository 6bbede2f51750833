/* fake_env.h - a world of clock and timers that stand still until the test moves them; for tests of http/ and grpc/. */
#ifndef TESTS_FAKE_ENV_H
#define TESTS_FAKE_ENV_H

#include "base/heap.h"
#include "base/list.h"
#include "base/mem.h"
#include "env/env.h"

struct fake_env {
    struct env env;
    int64_t now_ns;
    int64_t tick_ns;    /* the clock moves by this with each look at it */
    struct heap timers; /* by the time they fall due */
};

static inline int64_t fake_now(struct env *env) {
    struct fake_env *self = (struct fake_env *)env;
    return self->now_ns += self->tick_ns;
}
static inline int64_t fake_wall(struct env *env) { return INT64_C(1795223385000000000); /* Sat, 21 Nov 2026 */ }

static inline void fake_timer_stop(struct env *env, struct env_timer *timer) {
    heap_remove(&((struct fake_env *)env)->timers, &timer->world);
}

static inline void fake_timer_start(struct env *env, struct env_timer *timer, int64_t delay_ns) {
    fake_timer_stop(env, timer);
    timer->world.key = ((struct fake_env *)env)->now_ns + delay_ns;
    heap_push(&((struct fake_env *)env)->timers, &timer->world);
}

static inline void fake_env_init(struct fake_env *self) {
    static const struct env_ops ops = {
        .now_ns = fake_now, .wall_ns = fake_wall, .timer_start = fake_timer_start, .timer_stop = fake_timer_stop};
    self->env.ops = &ops;
    self->env.log = NULL;
    self->now_ns = INT64_C(1000000000000);
    self->tick_ns = 0;
    heap_init(&self->timers);
}

/* No timer may be left. */
static inline bool fake_env_release(struct fake_env *self) {
    bool is_clean = self->timers.count == 0;
    heap_release(&self->timers);
    return is_clean;
}

/* Moves the clock, firing what falls due, earliest first. */
static inline void fake_env_advance(struct fake_env *self, int64_t by_ns) {
    int64_t end_ns = self->now_ns + by_ns;
    struct heap_node *next;
    while ((next = heap_peek(&self->timers)) != NULL && next->key <= end_ns) {
        if (next->key > self->now_ns) self->now_ns = next->key;
        heap_remove(&self->timers, next);
        struct env_timer *timer = CONTAINER_OF(next, struct env_timer, world);
        timer->callback(timer);
    }
    self->now_ns = end_ns;
}

#endif
