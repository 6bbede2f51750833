/* etcdclient.h - what a struct etcd_client is made of; for the files of this folder.
 *
 * Floor 8: the public library. It gives the core (client/) a real world, os/ for time and net/ for connections, and
 * runs the loop inside the calls that wait.
 */
#ifndef ETCDCLIENT_ETCDCLIENT_H
#define ETCDCLIENT_ETCDCLIENT_H

#include "client/core.h"
#include "client/keepalive.h"
#include "etcd/client.h"
#include "net/link.h"
#include "net/loop.h"
#include "os/os.h"

struct etcd_client {
    struct client_owner owner;
    struct os_world *world;
    struct net_loop *loop;
    struct client *core;
    struct client_renewals *renewals;
    struct connection *connection; /* dialing or connected; NULL: neither */
    int64_t until_ns;              /* env_now_ns-time when the present wait ends; INT64_MAX: never */
    struct env_timer refusal;      /* tells the core of an address that can't be dialed */
    bool is_stopping;              /* etcd_client_stop was called */
    bool has_work;                 /* something was begun since the last turn, which knows nothing of it yet */
};

/* One turn of the loop: waits for something to happen, but not beyond until_ns (env_now_ns-time; INT64_MAX: no limit).
 * A turn that comes after something was begun does not wait. */
void etcdclient_turn(struct etcd_client *client, int64_t until_ns);
/* Whose core it is. */
struct etcd_client *etcdclient_of(struct client *core);

#endif
