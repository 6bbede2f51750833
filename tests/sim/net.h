/* net.h - connections between machines: two byte pipes each, with time between the ends.
 *
 * What one end sends arrives at the other in the same order, later, in pieces of any size. A link between two machines
 * can be slow or cut; while it is cut nothing arrives and nobody is told (as with a pulled cable); bytes sent meanwhile
 * wait and arrive when it is healed. A machine that crashes closes its connections with a reset, or, when its whole
 * host is gone, leaves them half open.
 */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

#include "base/slice.h"
#include "sim/world.h"

struct sim_net;
struct sim_end;

struct sim_net *sim_net_new(struct sim *sim);
/* Drops what is under way; all ends must be closed. */
void sim_net_free(struct sim_net *self);

/* What the owner of an end is told; never from inside a call of its own. */
struct sim_end_events {
    /* It is connected (the connecting side only). */
    void (*connected)(void *context, struct sim_end *end);
    void (*received)(void *context, struct sim_end *end, struct slice bytes);
    /* The other side has closed: no more bytes will come. `error`: OK for an orderly end, ERR_CONNECTION_REFUSED when
     * nobody listens there, ERR_IO for a reset. The owner closes its end then or later. */
    void (*ended)(void *context, struct sim_end *end, enum err error);
    /* What was sent has left (sim_end_unsent is 0). May be NULL. */
    void (*drained)(void *context, struct sim_end *end);
};

/* `machine` listens at the address until unlisten. `accept` gets each new connection's end; the events must be set
 * before it returns. */
void sim_net_listen(struct sim_net *self, struct sim_machine *machine, const char *address,
                    void (*accept)(void *context, struct sim_end *end), void *context);
/* Connections that stand, stay. */
void sim_net_unlisten(struct sim_net *self, const char *address);
/* `connected` or `ended` follows. */
struct sim_end *sim_net_connect(struct sim_net *self, struct sim_machine *machine, const char *address,
                                const struct sim_end_events *events, void *context);
void sim_end_set_events(struct sim_end *self, const struct sim_end_events *events, void *context);
/* "name:port" of the other side, for logs. */
const char *sim_end_peer(const struct sim_end *self);
/* Copies. */
void sim_end_send(struct sim_end *self, struct slice bytes);
/* Sent and not yet arrived. */
size_t sim_end_unsent(const struct sim_end *self);
/* While held nothing is received: what the other side sends stays unsent there. */
void sim_end_hold(struct sim_end *self, bool held);
/* No event comes any more; the other side is told after all that was sent, with a reset at once, or never. */
enum sim_close { SIM_CLOSE_ORDERLY, SIM_CLOSE_RESET, SIM_CLOSE_SILENT };
void sim_end_close(struct sim_end *self, enum sim_close how);

/* The time from end to end is in [min_ns, max_ns] for each piece. 20 to 100 us unless told otherwise. */
void sim_net_set_delay(struct sim_net *self, int64_t min_ns, int64_t max_ns);
/* Between these two machines, both ways. */
void sim_net_cut(struct sim_net *self, const char *name, const char *other, bool is_cut);

#endif
