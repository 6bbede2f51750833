/* grpc/server.h - the gRPC server: takes HTTP/2 requests, finds the method, makes a call of it.
 *
 * Floor 3. Owns framing, metadata checks, deadlines, compression and status trailers, in the words of grpc-go as etcd
 * 3.5 uses it. What a handler sees is grpc/call.h.
 */
#ifndef GRPC_SERVER_H
#define GRPC_SERVER_H

#include "env/env.h"
#include "grpc/call.h"
#include "http/request.h"

struct grpc_server;

/* What happens to calls, for metrics; each may be NULL. Called on the loop, must not touch the call's reply. */
struct grpc_observer {
    void (*started)(void *context, const struct grpc_call *call);
    void (*received)(void *context, const struct grpc_call *call, size_t message_bytes);
    void (*sent)(void *context, const struct grpc_call *call, size_t message_bytes);
    /* `code`: 0 to 16, as on the wire. */
    void (*finished)(void *context, const struct grpc_call *call, int code);
    void *context;
};

struct grpc_server_options {
    struct env *env;
    /* Longest request message, also after decompression: etcd's --max-request-bytes + GRPC_OVERHEAD_BYTES. */
    size_t receive_max_bytes;
    struct grpc_observer observer;
    /* Asked before on_call of every known method, after the message has come; OK lets it through. May be NULL. */
    enum err (*admit)(void *context, struct grpc_call *call);
    void *admit_context;
};

#define GRPC_OVERHEAD_BYTES (512 * 1024)

struct grpc_server *grpc_server_new(const struct grpc_server_options *options);
/* After the last call has ended. NULL is allowed. */
void grpc_server_free(struct grpc_server *self);
/* `methods` is static; `service` is what grpc_call_service returns. Paths of one service ("/pkg.Service/") are added
 * together or apart; a path may be added once. */
void grpc_server_add(struct grpc_server *self, const struct grpc_method *methods, size_t count, void *service);
/* From http's on_request: takes the request over, whatever its content type. */
void grpc_server_handle(struct grpc_server *self, struct http_request *request);
/* Cancels every open call with `error` as status (ERR_STOPPED-like texts come from the handlers; this is for the end).
 */
void grpc_server_cancel_all(struct grpc_server *self, enum err error);
size_t grpc_server_open_calls(const struct grpc_server *self);

#endif
