/* world.h - a world in memory: virtual time, chance from one seed, machines with a disk each, on one thread.
 *
 * The whole member runs in it unchanged, as many of them as a test wants: each machine is an env (env/env.h). Nothing
 * happens but what a step makes happen, and the same seed makes the same things happen in the same order:
 *
 *     sim_step: the earliest of  - a timer of a machine
 *                                - a job of a machine's worker (begins; runs in one go, its time being what the disk
 *                                  took; then its `done` is due)
 *                                - an event (bytes that arrive, see net.h)
 *
 * Time jumps from one to the next: an idle second costs nothing. Inside a job env_now_ns goes on with the disk's work;
 * a disk call on the loop itself moves the whole world's clock.
 *
 * Not simulated: threads that really run beside each other (ThreadSanitizer's and the unit tests' business).
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "base/prng.h"
#include "env/env.h"

struct sim;
struct sim_disk;
struct sim_machine;

#define SIM_MS_NS INT64_C(1000000)
#define SIM_S_NS INT64_C(1000000000)

struct sim *sim_new(uint64_t seed);
/* After its machines, connections and events. NULL is allowed. */
void sim_free(struct sim *self);
struct prng *sim_prng(struct sim *self);
int64_t sim_now_ns(const struct sim *self);

/* ---- letting time pass ---- */

/* The next thing that is due; false when there is nothing left to happen. */
bool sim_step(struct sim *self);
void sim_run_for(struct sim *self, int64_t duration_ns);
/* Until is_done, for limit_ns of virtual time at most; false when that was not enough or nothing happens any more. */
bool sim_run_until(struct sim *self, bool (*is_done)(void *context), void *context, int64_t limit_ns);

/* Something to happen once; the owner embeds it, and keeps it until it fired or was cancelled. */
struct sim_event {
    struct heap_node node;
    void (*fire)(struct sim_event *event);
};
void sim_event_start(struct sim *self, struct sim_event *event, int64_t delay_ns);
void sim_event_cancel(struct sim *self, struct sim_event *event);

/* ---- machines ---- */

/* `name` for humans, copied. The disk is not owned: it outlives the machine, which may be made anew on it. `log` may
 * be NULL, is not owned. */
struct sim_machine *sim_machine_new(struct sim *sim, const char *name, struct sim_disk *disk, struct log *log);
/* What ran on it must be closed: a timer or a worker left behind is a CHECK. NULL is allowed. */
void sim_machine_free(struct sim_machine *self);
struct env *sim_machine_env(struct sim_machine *self);
struct sim *sim_machine_world(struct sim_machine *self);
struct sim_disk *sim_machine_disk(struct sim_machine *self);
const char *sim_machine_name(const struct sim_machine *self);
/* Nothing happens on it until that time, as when its process is stopped: then all that is late comes at once. */
void sim_machine_pause(struct sim_machine *self, int64_t duration_ns);
/* When it goes on; in the past when it is not paused. */
int64_t sim_machine_resumes_ns(const struct sim_machine *self);
/* Only what happens on this machine, while the world stands still: to take a member apart that has crashed. */
bool sim_machine_drain(struct sim_machine *self, bool (*is_done)(void *context), void *context, unsigned steps_max);

#endif
