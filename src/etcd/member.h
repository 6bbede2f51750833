/* member.h - one member in one process: world, loop, listeners, server and services put together and taken apart.
 *
 * Floor 8.
 *
 *     member_start: bind -> open the server -> services -> start -> peers' doors open
 *     ready hook:   clients' doors open, service manager told, signals caught
 *     a signal:     streams end -> clients' doors close -> server stops -> peers' doors close -> member_run returns
 *
 * Until it is ready a signal ends the process at once, which is as safe as any crash.
 */
#ifndef ETCD_MEMBER_H
#define ETCD_MEMBER_H

#include "env/env.h"
#include "etcd/options.h"

struct member;

/* Options and log must outlive it. */
struct member *member_new(const struct options *options, struct log *log);
struct env *member_env(struct member *self);
/* Errors in etcd's words; the process should end then. `has_data`: the directory was a member's before. */
enum err member_start(struct member *self, bool has_data, struct errmsg *message) MUST_USE;
/* Until a signal has stopped it; returns the signal. A member that fails ends the process from inside. */
int member_run(struct member *self);
void member_free(struct member *self);

/* Ends the process now: lines are flushed, nothing else is run. What is on disk is good for a restart at any time. */
_Noreturn void member_leave(int status);

#endif
