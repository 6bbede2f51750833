/* keepalive.h - renewal of leases every third of their TTL.
 *
 * Floor 6; the public face is etcd_keepalive_* of etcd/client.h. All renewals of a client share one LeaseKeepAlive
 * stream, opened with the first one and opened again CLIENT_KEEPALIVE_PAUSE_NS after it broke. A renewal ends when the
 * server says that there is no such lease (TTL 0), or when its TTL has passed without an answer; before the first
 * answer, the dial timeout and a second count as TTL. As clientv3.
 */
#ifndef CLIENT_KEEPALIVE_H
#define CLIENT_KEEPALIVE_H

#include "client/core.h"

#define CLIENT_KEEPALIVE_PAUSE_NS (500 * INT64_C(1000000))

/* The shared stream of one client. */
struct client_renewals;

struct client_renewals *client_renewals_new(struct client *client);
/* After the last keepalive is closed. NULL is allowed. */
void client_renewals_free(struct client_renewals *self);

struct etcd_keepalive *client_keepalive_open(struct client_renewals *renewals, int64_t lease_id,
                                             etcd_keepalive_callback callback, void *context);
/* False: nothing yet. Else the newest answer, or with a code other than ETCD_OK the end, which can be taken any number
 * of times. */
bool client_keepalive_take(struct etcd_keepalive *self, struct etcd_lease_keepalive_response *ret_response,
                           int *ret_code, struct etcd_error *error);
void client_keepalive_close(struct etcd_keepalive *self);
struct client *client_keepalive_client(const struct etcd_keepalive *self);

#endif
