/* net/loop.h - the one event loop of a program, on libuv.
 *
 * Floor 7. The only place, with the other files of net/, that knows sockets. What others see: links (a connected byte
 * stream with a machine on top of it, net/link.h), listeners (net/listener.h), and a turn hook through which the
 * program lets the world of os/ run on this loop.
 *
 *     one turn:  poll -> reads, each into its machine -> hook (jobs done, timers due) -> one write a touched link
 *
 * A link is flushed once a turn however many calls it answered (sooner only when NET_FLUSH_BATCH links wait for it).
 * Reads and writes of a link have a byte budget a turn; what is over waits for the next turn, so that no connection
 * starves another or the clock. A turn reads for NET_TURN_READ_NS; links that had something to read and no turn go
 * first in the next, and those that did read wait until none of them is left.
 *
 * All on the loop's thread but net_loop_wake.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/err.h"

#include <stdint.h>

struct net_loop;

#define NET_READ_BUDGET_BYTES (256 * 1024) /* a link and turn, */
#define NET_READ_SHARE_BYTES (16 * 1024)   /* when more than NET_MANY_READERS have something */
#define NET_MANY_READERS 64
#define NET_WRITE_BUDGET_BYTES (512 * 1024) /* a link and turn */
#define NET_TURN_READ_NS INT64_C(5000000)
#define NET_FLUSH_BATCH 32
#define NET_LINGER_NS INT64_C(500000000) /* after our end of stream, for the other side's */

/* Never NULL. */
struct net_loop *net_loop_new(void);
/* Closes what is open (links' `closed` is called) and frees. Listeners must have been told to shut down. Not from
 * inside a callback. NULL is allowed. */
void net_loop_free(struct net_loop *self);

/* Called once a turn, after the reads, and again after a flush; returns the nanoseconds until it wants to be called
 * again at the latest, 0 for at once, -1 for when something happens. */
void net_loop_set_turn_hook(struct net_loop *self, int64_t (*hook)(void *context), void *context);
/* Makes the loop turn soon. Any thread, also from signal handlers' threads. */
void net_loop_wake(struct net_loop *self);
/* net_loop_wake in the shape of os_world_set_wake: `loop` is the struct net_loop. */
void net_loop_wake_callback(void *loop);

/* Turns until net_loop_stop. */
void net_loop_run(struct net_loop *self);
/* The present turn is finished, then run returns. From the loop's thread. */
void net_loop_stop(struct net_loop *self);
/* One turn that does not wait when `is_waiting` is false. For tests and for programs with a loop of their own. */
void net_loop_turn(struct net_loop *self, bool is_waiting);
/* For a loop of somebody else's: wait until the descriptor is readable, at most net_loop_timeout_ms (-1: no limit),
 * then turn without waiting. */
int net_loop_fd(const struct net_loop *self);
int64_t net_loop_timeout_ms(struct net_loop *self);

/* `callback` on the loop for each arrival of the signal. At most 8 different ones. */
enum err net_loop_on_signal(struct net_loop *self, int signal_number,
                            void (*callback)(void *context, int signal_number), void *context) MUST_USE;

#endif
