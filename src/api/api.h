/* api.h - the gRPC services of a member, and what it answers over plain HTTP.
 *
 * Floor 6. Checks requests as etcd does, hands them to the server, writes the answers. One file a service:
 *
 *     kv.c kv_range.c  KV           check.c txn_keys.c  what is wrong with a KV request
 *     watch.c          Watch        lease.c   Lease
 *     cluster.c        Cluster      maintenance.c snapshot.c  Maintenance
 *     auth.c           Auth, and who may call the others
 *     health.c         grpc.health  http.c    /version, /health
 *
 * Handlers answer through the call handle only and know no connection. Loop only.
 */
#ifndef API_API_H
#define API_API_H

#include "grpc/server.h"
#include "http/request.h"
#include "server/server.h"

struct api;

/* Events queued for one watch stream before its watchers are told to wait, and the size from which a snapshot's sender
 * waits for the client. */
#define API_WATCH_QUEUE_BYTES (512 * 1024)
#define API_SNAPSHOT_QUEUE_BYTES (1024 * 1024)
/* The same for all streams of one connection: beyond it a stream with more than GRPC_CALL_LOW_WATER waits. */
#define API_WATCH_CONN_QUEUE_BYTES ((size_t)32 << 20)
/* An event from this size on is queued by reference, however many streams it goes to. */
#define API_WATCH_SHARED_EVENT_BYTES 4096
/* Memory of all watchers; the stream that asks for more ends with ERR_TOO_MANY_REQUESTS. */
#define API_WATCHERS_MAX_BYTES ((size_t)1 << 30)
/* Keepalives of one stream that wait; beyond them its client is stopped by the window. */
#define API_KEEPALIVES_PER_STREAM 1000
/* Calls at a time of each kind that read the whole database; beyond them ERR_TOO_MANY_REQUESTS. Hash and HashKV are
 * one kind. */
#define API_SNAPSHOTS_MAX 16
#define API_HASHES_MAX 4
#define API_DEFRAGS_MAX 4
/* A snapshot of which the client takes nothing for so long is given up. */
#define API_SNAPSHOT_STALL_NS INT64_C(60000000000)
/* Raised alarms beyond which no further one is taken. */
#define API_ALARMS_MAX 1000
/* Keys looked at in one turn by one range; pairs of a range answered without a producer. */
#define API_RANGE_SLICE_KEYS 2000
#define API_RANGE_COPY_BYTES (64 * 1024)
/* What all ranges that are being answered have gathered together (some 48 bytes a key); the one that goes beyond it
 * ends with ERR_TOO_MANY_REQUESTS, unless it is alone. */
#define API_RANGE_PLACES_MAX_BYTES ((size_t)512 << 20)

struct api_options {
    struct server *server;
    /* --experimental-watch-progress-notify-interval; 0 = 10 minutes. */
    int64_t watch_progress_interval_ns;
    /* --max-request-bytes, --max-txn-ops */
    uint64_t max_request_bytes;
    uint64_t max_txn_ops;
    /* --cors: origins that browsers may ask from; none, or "*" among them: any. Not copied. */
    const char *const *cors_origins;
    size_t cors_origin_count;
    struct grpc_observer observer;
};

/* Makes a gRPC server with all services. The server must outlive it. */
struct api *api_new(const struct api_options *options);
/* Where gRPC requests go; lives as long as the api. */
struct grpc_server *api_grpc(struct api *self);
/* After the last call has ended. NULL is allowed. */
void api_free(struct api *self);
/* Health answers SERVING until this, NOT_SERVING from then on; watch streams end. */
void api_stop(struct api *self);

/* A request on a client listener that is no gRPC: takes it over. */
void api_handle_http(struct api *self, struct http_request *request);
/* The same for a peer listener: /version, /members. */
void api_handle_peer_http(struct api *self, struct http_request *request);

#endif
