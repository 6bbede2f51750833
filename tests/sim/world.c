/* world.c - one clock, one queue of what is due, machines with timers and workers. */
#include "sim/world.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/vec.h"
#include "sim/disk.h"

#include <string.h>

#define POOL_LANES 2
/* From a submit to the job's begin, and from its end to `done`: what a wake-up takes. */
#define HANDOVER_MIN_NS 5000
#define HANDOVER_MAX_NS 50000
#define WALL_START_NS (INT64_C(1763700000) * SIM_S_NS)

struct sim {
    struct prng prng;
    int64_t now_ns;
    struct heap events;
    VEC(struct sim_machine *) machines;
};

/* Jobs that run one after another. */
struct lane {
    struct env_worker worker;
    struct sim_machine *machine;
    struct list jobs;
    struct heap_node begin; /* in the machine's queue while a job waits */
    int64_t free_ns;        /* when the job before is over */
};

struct sim_machine {
    struct env env;
    struct sim_disk_user disk_user;
    struct sim *sim;
    char *name;
    struct heap timers;
    struct heap lanes; /* those with jobs, by when the first begins */
    struct list done;  /* over; `done` is due at done_ns */
    int64_t done_ns;
    struct lane pool[POOL_LANES];
    unsigned workers;
    int64_t paused_until_ns;
    bool is_in_job;
    int64_t job_now_ns;
    struct prng prng; /* of its own: what one machine draws changes nothing for the others */
};

struct sim *sim_new(uint64_t seed) {
    struct sim *self = NEW(struct sim);
    prng_init(&self->prng, seed);
    self->now_ns = SIM_S_NS;
    heap_init(&self->events);
    return self;
}

void sim_free(struct sim *self) {
    if (self == NULL) return;
    CHECKF(self->machines.count == 0, "a machine is left");
    CHECKF(self->events.count == 0, "an event is left");
    VEC_RELEASE(&self->machines);
    heap_release(&self->events);
    mem_free(self);
}

struct prng *sim_prng(struct sim *self) {
    return &self->prng;
}
int64_t sim_now_ns(const struct sim *self) { return self->now_ns; }

/* ---- machines: clock and chance ---- */

static struct sim_machine *machine_of(struct env *env) { return CONTAINER_OF(env, struct sim_machine, env); }

struct sim_disk_user *sim_disk_user_of(struct env *env) {
    return &machine_of(env)->disk_user;
}

static int64_t machine_now_ns(struct env *env) {
    struct sim_machine *self = machine_of(env);
    return self->is_in_job ? self->job_now_ns : self->sim->now_ns;
}
static int64_t machine_wall_ns(struct env *env) { return WALL_START_NS + machine_now_ns(env); }

static void machine_spend(struct sim_disk_user *user, int64_t ns) {
    struct sim_machine *self = CONTAINER_OF(user, struct sim_machine, disk_user);
    if (self->is_in_job)
        self->job_now_ns += ns;
    else
        self->sim->now_ns += ns;
}

static void machine_random_bytes(struct env *env, void *bytes, size_t size_bytes) {
    uint8_t *at = bytes;
    for (size_t i = 0; i < size_bytes; i++) at[i] = (uint8_t)prng_next(&machine_of(env)->prng);
}

static int64_t handover_ns(struct sim_machine *self) {
    return HANDOVER_MIN_NS + (int64_t)prng_below(&self->prng, HANDOVER_MAX_NS - HANDOVER_MIN_NS);
}

/* ---- timers ---- */

static void timer_stop(struct env *env, struct env_timer *timer) {
    heap_remove(&machine_of(env)->timers, &timer->world);
}

static void timer_start(struct env *env, struct env_timer *timer, int64_t delay_ns) {
    struct sim_machine *self = machine_of(env);
    heap_remove(&self->timers, &timer->world);
    timer->world.key = self->sim->now_ns + (delay_ns > 0 ? delay_ns : 0);
    heap_push(&self->timers, &timer->world);
}

/* ---- jobs ---- */

static void lane_schedule(struct lane *self) {
    int64_t begin_ns = self->machine->sim->now_ns + handover_ns(self->machine);
    self->begin.key = begin_ns > self->free_ns ? begin_ns : self->free_ns;
    heap_push(&self->machine->lanes, &self->begin);
}

static void lane_submit(struct lane *self, struct env_job *job) {
    list_push_back(&self->jobs, &job->link);
    if (!heap_contains(&self->begin)) lane_schedule(self);
}

static void job_is_over(struct sim_machine *self, struct env_job *job, int64_t at_ns) {
    if (list_is_empty(&self->done)) self->done_ns = at_ns;
    list_push_back(&self->done, &job->link);
}

static void run_first_job(struct lane *self) {
    struct sim_machine *machine = self->machine;
    struct env_job *job = CONTAINER_OF(self->jobs.next, struct env_job, link);
    list_remove(&job->link);
    CHECK(!machine->is_in_job);
    machine->is_in_job = true;
    machine->job_now_ns = machine->sim->now_ns;
    job->run(job);
    machine->is_in_job = false;
    self->free_ns = machine->job_now_ns;
    job_is_over(machine, job, machine->job_now_ns + handover_ns(machine));
    if (!list_is_empty(&self->jobs)) lane_schedule(self);
}

static void deliver_done(struct sim_machine *self) {
    struct list over;
    list_init(&over);
    list_splice_back(&over, &self->done);
    while (!list_is_empty(&over)) {
        struct env_job *job = CONTAINER_OF(over.next, struct env_job, link);
        list_remove(&job->link);
        job->done(job);
    }
}

static void lane_init(struct lane *self, struct sim_machine *machine) {
    self->worker.env = &machine->env;
    self->machine = machine;
    list_init(&self->jobs);
}

static void lane_end(struct lane *self) {
    for (;;) {
        deliver_done(self->machine);
        if (list_is_empty(&self->jobs)) break;
        heap_remove(&self->machine->lanes, &self->begin);
        run_first_job(self);
    }
}

static struct env_worker *worker_new(struct env *env, const char *name) {
    struct lane *self = NEW(struct lane);
    lane_init(self, machine_of(env));
    self->machine->workers++;
    return &self->worker;
}

static struct lane *lane_of(struct env_worker *worker) { return CONTAINER_OF(worker, struct lane, worker); }
static void worker_submit(struct env_worker *worker, struct env_job *job) { lane_submit(lane_of(worker), job); }

static void worker_free(struct env_worker *worker) {
    struct lane *self = lane_of(worker);
    lane_end(self);
    self->machine->workers--;
    mem_free(self);
}

static void pool_submit(struct env *env, struct env_job *job) {
    struct sim_machine *self = machine_of(env);
    struct lane *chosen = &self->pool[0];
    for (size_t i = 1; i < POOL_LANES; i++)
        if (!heap_contains(&self->pool[i].begin) && heap_contains(&chosen->begin)) chosen = &self->pool[i];
    lane_submit(chosen, job);
}

static void post(struct env *env, struct env_job *job) { job_is_over(machine_of(env), job, machine_now_ns(env)); }

/* ---- what is due next ---- */

static void take_earlier(int64_t key, int64_t *earliest_ns) {
    if (key < *earliest_ns) *earliest_ns = key;
}

/* INT64_MAX: nothing. */
static int64_t machine_next_ns(const struct sim_machine *self) {
    int64_t next_ns = INT64_MAX;
    struct heap_node *timer = heap_peek(&self->timers), *lane = heap_peek(&self->lanes);
    if (timer != NULL) take_earlier(timer->key, &next_ns);
    if (lane != NULL) take_earlier(lane->key, &next_ns);
    if (!list_is_empty(&self->done)) take_earlier(self->done_ns, &next_ns);
    return next_ns < self->paused_until_ns ? self->paused_until_ns : next_ns;
}

static void machine_do_next(struct sim_machine *self) {
    struct heap_node *timer = heap_peek(&self->timers), *lane = heap_peek(&self->lanes);
    int64_t next_ns = INT64_MAX;
    if (timer != NULL) take_earlier(timer->key, &next_ns);
    if (lane != NULL) take_earlier(lane->key, &next_ns);
    if (!list_is_empty(&self->done) && self->done_ns <= next_ns) {
        deliver_done(self);
    } else if (lane != NULL && lane->key == next_ns) {
        heap_remove(&self->lanes, lane);
        run_first_job(CONTAINER_OF(lane, struct lane, begin));
    } else {
        heap_remove(&self->timers, timer);
        struct env_timer *due = CONTAINER_OF(timer, struct env_timer, world);
        due->callback(due);
    }
}

/* The earliest machine in *ret_machine, NULL when an event is earlier. INT64_MAX: nothing at all is due. */
static int64_t find_next(struct sim *self, struct sim_machine **ret_machine) {
    struct heap_node *event = heap_peek(&self->events);
    int64_t earliest_ns = event != NULL ? event->key : INT64_MAX;
    *ret_machine = NULL;
    for (size_t i = 0; i < self->machines.count; i++) {
        int64_t next_ns = machine_next_ns(self->machines.items[i]);
        if (next_ns >= earliest_ns) continue;
        earliest_ns = next_ns;
        *ret_machine = self->machines.items[i];
    }
    return earliest_ns;
}

static void do_next(struct sim *self, struct sim_machine *machine, int64_t at_ns) {
    if (at_ns > self->now_ns) self->now_ns = at_ns;
    if (machine != NULL) {
        machine_do_next(machine);
        return;
    }
    struct heap_node *node = heap_peek(&self->events);
    heap_remove(&self->events, node);
    struct sim_event *event = CONTAINER_OF(node, struct sim_event, node);
    event->fire(event);
}

bool sim_step(struct sim *self) {
    struct sim_machine *machine;
    int64_t at_ns = find_next(self, &machine);
    if (at_ns == INT64_MAX) return false;
    do_next(self, machine, at_ns);
    return true;
}

static bool never(void *context) { return false; }

void sim_run_for(struct sim *self, int64_t duration_ns) {
    int64_t end_ns = self->now_ns + duration_ns;
    sim_run_until(self, never, NULL, duration_ns);
    if (self->now_ns < end_ns) self->now_ns = end_ns;
}

bool sim_run_until(struct sim *self, bool (*is_done)(void *context), void *context, int64_t limit_ns) {
    int64_t end_ns = self->now_ns + limit_ns;
    while (!is_done(context)) {
        struct sim_machine *machine;
        int64_t at_ns = find_next(self, &machine);
        if (at_ns == INT64_MAX || at_ns > end_ns) return false;
        do_next(self, machine, at_ns);
    }
    return true;
}

void sim_event_start(struct sim *self, struct sim_event *event, int64_t delay_ns) {
    heap_remove(&self->events, &event->node);
    event->node.key = self->now_ns + delay_ns;
    heap_push(&self->events, &event->node);
}

void sim_event_cancel(struct sim *self, struct sim_event *event) { heap_remove(&self->events, &event->node); }

/* ---- machines: life ---- */

struct sim_machine *sim_machine_new(struct sim *sim, const char *name, struct sim_disk *disk, struct log *log) {
    static struct env_ops ops = {
        .now_ns = machine_now_ns,
        .wall_ns = machine_wall_ns,
        .random_bytes = machine_random_bytes,
        .timer_start = timer_start,
        .timer_stop = timer_stop,
        .worker_new = worker_new,
        .worker_submit = worker_submit,
        .worker_free = worker_free,
        .pool_submit = pool_submit,
        .post = post,
    };
    sim_disk_fill_ops(&ops);
    struct sim_machine *self = NEW(struct sim_machine);
    self->env = (struct env){.ops = &ops, .log = log};
    self->disk_user = (struct sim_disk_user){.env = &self->env, .disk = disk, .spend = machine_spend};
    self->sim = sim;
    self->name = mem_strdup(name);
    prng_init(&self->prng, prng_next(&sim->prng));
    heap_init(&self->timers);
    heap_init(&self->lanes);
    list_init(&self->done);
    for (size_t i = 0; i < POOL_LANES; i++) lane_init(&self->pool[i], self);
    VEC_PUSH(&sim->machines, self);
    return self;
}

void sim_machine_free(struct sim_machine *self) {
    if (self == NULL) return;
    for (size_t i = 0; i < POOL_LANES; i++) lane_end(&self->pool[i]);
    CHECKF(self->workers == 0, "%s: a worker is left", self->name);
    CHECKF(self->timers.count == 0, "%s: a timer is left", self->name);
    heap_release(&self->timers);
    heap_release(&self->lanes);
    size_t i = 0;
    while (self->sim->machines.items[i] != self) i++;
    size_t last = --self->sim->machines.count;
    for (; i < last; i++) self->sim->machines.items[i] = self->sim->machines.items[i + 1];
    mem_free(self->name);
    mem_free(self);
}

struct env *sim_machine_env(struct sim_machine *self) {
    return &self->env;
}
struct sim *sim_machine_world(struct sim_machine *self) {
    return self->sim;
}
struct sim_disk *sim_machine_disk(struct sim_machine *self) {
    return self->disk_user.disk;
}
const char *sim_machine_name(const struct sim_machine *self) { return self->name; }

void sim_machine_pause(struct sim_machine *self, int64_t duration_ns) {
    self->paused_until_ns = self->sim->now_ns + duration_ns;
}

int64_t sim_machine_resumes_ns(const struct sim_machine *self) { return self->paused_until_ns; }

bool sim_machine_drain(struct sim_machine *self, bool (*is_done)(void *context), void *context, unsigned steps_max) {
    int64_t began_ns = self->sim->now_ns;
    self->paused_until_ns = 0;
    while (!is_done(context) && steps_max-- > 0) {
        int64_t next_ns = machine_next_ns(self);
        if (next_ns == INT64_MAX) break;
        if (next_ns > self->sim->now_ns) self->sim->now_ns = next_ns;
        machine_do_next(self);
    }
    self->sim->now_ns = began_ns;
    return is_done(context);
}
