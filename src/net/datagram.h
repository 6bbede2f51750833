/* datagram.h - one message to a local datagram socket: the service manager's and the journal's.
 *
 * Floor 7. Blocking, any thread.
 */
#ifndef NET_DATAGRAM_H
#define NET_DATAGRAM_H

#include "base/err.h"
#include "base/slice.h"

/* `path` of the socket; one that begins with '@' is abstract. ERR_NOT_FOUND_FILE, ERR_CONNECTION_REFUSED when nobody
 * listens; ERR_INVALID when the path is too long. */
enum err net_datagram_send(const char *path, struct slice message) MUST_USE;
/* Whether somebody listens there: the same errors. */
enum err net_datagram_probe(const char *path) MUST_USE;

#endif
