/* os.h - the real world behind env/: POSIX files, threads, clocks.
 *
 * Floor 7. The only place that knows file descriptors of files, and threads. It knows no sockets and no event loop:
 * whoever runs the loop calls os_world_turn once a turn and lets itself be woken.
 *
 * Threads: worker and pool threads run env_job.run; everything else here is called on the loop thread, but for the
 * calls that env.h allows from any thread.
 */
#ifndef OS_OS_H
#define OS_OS_H

#include "env/env.h"

struct os_world;

/* `log` may be NULL and is not owned. Threads start when first used. */
struct os_world *os_world_new(struct log *log);
/* No worker may be left. Waits for pool jobs that run (their `done` is called). NULL is allowed. */
void os_world_free(struct os_world *self);
/* Lives as long as the world. */
struct env *os_world_env(struct os_world *self);
void os_world_set_log(struct os_world *self, struct log *log);

/* `wake` is called from any thread when there is something for os_world_turn to do; it must make the loop turn soon. */
void os_world_set_wake(struct os_world *self, void (*wake)(void *context), void *context);

/* Calls `done` of all finished jobs and fires the timers that are due. Returns the nanoseconds until the next timer,
 * 0 when there is more to do now, -1 when no timer runs. */
int64_t os_world_turn(struct os_world *self);

/* A loop of its own for programs and tests without sockets: turns until `is_done` says so or limit_ns has passed;
 * false in that case. */
bool os_world_run(struct os_world *self, bool (*is_done)(void *context), void *context, int64_t limit_ns);

/* Memory that was freed goes back to the system when more than idle_max_bytes of what the process has is not in use;
 * true when it did. A look costs microseconds, giving back about a tenth of a second for each GiB, in which nobody can
 * allocate: for the time after a flood, not for always. */
bool os_memory_trim(size_t idle_max_bytes);

/* Wall clock in the form that log_new wants; the context is not used. */
int64_t os_wall_clock_ns(void *context);

#endif
