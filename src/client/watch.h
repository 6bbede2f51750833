/* watch.h - many watches over one stream that is made anew when it breaks.
 *
 * Floor 6; the public face is etcd_watch_* of etcd/client.h. Create requests are sent without waiting for each other:
 * a server answers them in their order, which is how answers are told apart. After a break every watch is created
 * again from the revision behind the last one delivered, so nothing is missing and nothing comes twice.
 *
 *     a watch:  CREATING --created--> LIVE --cancel--> CANCELING --canceled--> gone
 *                  ^  | canceled       |  | canceled by the server
 *                  |  +--> gone        |  +--> gone
 *                  +--- stream broke --+
 *
 * The stream ends for good when the server refuses it (anything but UNAVAILABLE and INTERNAL), or says "no leader" to a
 * stream that requires one: as clientv3.
 */
#ifndef CLIENT_WATCH_H
#define CLIENT_WATCH_H

#include "client/core.h"

/* Answers waiting to be taken; beyond this many the server is stopped by flow control. */
#define CLIENT_WATCH_BACKLOG_MAX 64
/* Fragments of one revision put together, encoded: what one gRPC message may have. More ends the stream. */
#define CLIENT_WATCH_FRAGMENTS_MAX ((size_t)INT32_MAX)
/* Before the stream is opened again after it broke without having brought anything. */
#define CLIENT_WATCH_PAUSE_NS (100 * INT64_C(1000000))

struct etcd_watch_stream *client_watch_open(struct client *client, const struct etcd_watch_stream_options *options);
int64_t client_watch_add(struct etcd_watch_stream *self, const struct etcd_watch_request *request);
void client_watch_cancel(struct etcd_watch_stream *self, int64_t watch);
void client_watch_request_progress(struct etcd_watch_stream *self);
/* False: nothing yet. Else an answer (the caller's to free), or with a code other than ETCD_OK the end of the stream,
 * which can be taken any number of times. */
bool client_watch_take(struct etcd_watch_stream *self, struct etcd_watch_response **ret_response, int *ret_code,
                       struct etcd_error *error);
void client_watch_close(struct etcd_watch_stream *self);
struct client *client_watch_client(const struct etcd_watch_stream *self);

#endif
