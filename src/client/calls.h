/* calls.h - unary calls with retries, and raw streams, on the core.
 *
 * Floor 6. A unary call (struct etcd_call) is tried again, at once or after a short pause, as clientv3's retry
 * interceptor does: when no server can have acted on it; or when it is repeatable and the answer was UNAVAILABLE. After
 * a round over all endpoints it pauses CLIENT_RETRY_PAUSE_NS; it gives up after CLIENT_ATTEMPTS_MAX or at its deadline.
 *
 *     attempt --ok, or an error that is final--> callback
 *        ^ |
 *        | +--error that may pass--> (pause) --+
 *        +-------------------------------------+
 */
#ifndef CLIENT_CALLS_H
#define CLIENT_CALLS_H

#include "client/codec.h"
#include "client/core.h"

#define CLIENT_ATTEMPTS_MAX 100
#define CLIENT_RETRY_PAUSE_NS (25 * INT64_C(1000000))

/* etcd_call_start and etcd_call_start_raw. The deadline is the client's command timeout from now. */
struct etcd_call *client_call_start(struct client *client, enum etcd_method method, const void *request,
                                    etcd_call_callback callback, void *context);
struct etcd_call *client_call_start_raw(struct client *client, const char *path, struct etcd_bytes request,
                                        etcd_call_callback callback, void *context);
void client_call_cancel(struct etcd_call *call);

/* ---- raw streams ---- */

/* Messages waiting to be taken; beyond this many the server is stopped by flow control. */
#define CLIENT_STREAM_BACKLOG_MAX 64

/* `timeout_ns` for all of it; 0: none. */
struct etcd_stream *client_stream_open(struct client *client, const char *path, int64_t timeout_ns);
void client_stream_send(struct etcd_stream *self, struct etcd_bytes message);
void client_stream_close_send(struct etcd_stream *self);
/* False: nothing yet. Else *ret_code is ETCD_OK with a message (the caller's to free), or at the end ETCD_OK with NULL
 * or the error. The end can be taken any number of times. */
bool client_stream_take(struct etcd_stream *self, struct etcd_raw_response **ret_response, int *ret_code,
                        struct etcd_error *error);
void client_stream_close(struct etcd_stream *self);
struct client *client_stream_client(const struct etcd_stream *self);

#endif
