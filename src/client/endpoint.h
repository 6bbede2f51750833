/* endpoint.h - where a server is: one entry of the client's list of endpoints.
 *
 * Floor 6, part of client/. Texts as etcd's programs take them: "host:port", "http://host:port", "[::1]:2379",
 * "unix://path", "unix:path". A path behind http://host:port is dropped, as clientv3 does.
 */
#ifndef CLIENT_ENDPOINT_H
#define CLIENT_ENDPOINT_H

#include "base/err.h"

struct client_endpoint {
    char *text;      /* as given */
    char *host;      /* without brackets; NULL for a unix socket */
    char *port;      /* decimal, or a service name; NULL for a unix socket */
    char *unix_path; /* NULL for TCP */
    char *authority; /* the :authority of calls */
};

/* ERR_INVALID: it makes no sense; ERR_NOT_SUPPORTED: it wants TLS. The caller releases it after success. */
enum err client_endpoint_parse(const char *text, struct client_endpoint *ret_endpoint, struct errmsg *message) MUST_USE;
void client_endpoint_release(struct client_endpoint *self);

#endif
