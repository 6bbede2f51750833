/* doors.h - the listeners of a member: for clients, for other members, for metrics.
 *
 * Floor 8. Addresses are bound before the server opens, so that a wrong one is told before anything is touched;
 * connections wait in the kernel until doors_open_* has been called. Loop only.
 */
#ifndef ETCD_DOORS_H
#define ETCD_DOORS_H

#include "api/api.h"
#include "env/env.h"
#include "etcd/options.h"
#include "net/loop.h"

struct doors;

/* Nothing is bound yet. The options must outlive it. */
struct doors *doors_new(struct net_loop *loop, struct env *env, const struct options *options);
/* After both have closed, or when nothing was ever accepted. NULL is allowed. */
void doors_free(struct doors *self);

/* Each tells its lines of log and binds. Errors in etcd's words. */
enum err doors_bind_peers(struct doors *self, struct errmsg *message) MUST_USE;
enum err doors_bind_clients(struct doors *self, struct errmsg *message) MUST_USE;
/* Before any is opened. */
void doors_set_api(struct doors *self, struct api *api);
/* Requests are answered from now on. */
void doors_open_peers(struct doors *self);
void doors_open_clients(struct doors *self);
enum err doors_open_metrics(struct doors *self, struct errmsg *message) MUST_USE;

/* The clients' doors and that for metrics: no new connections; the open ones end when their requests have, or after
 * grace_ns. `closed` comes once, when the last is gone. */
void doors_close_clients(struct doors *self, int64_t grace_ns, void (*closed)(void *context), void *context);
/* The same for the others', without grace. */
void doors_close_peers(struct doors *self, void (*closed)(void *context), void *context);

#endif
