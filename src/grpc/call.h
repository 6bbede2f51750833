/* grpc/call.h - one gRPC call as its handler sees it.
 *
 * Floor 3. Handlers (api/) include this and nothing of http/. Unary, server-streaming, client-streaming and
 * bidirectional calls share one handle.
 *
 * Life of a call. `on_call` of the method comes when there is something to do: for a method whose request is one
 * message (unary, server stream) when that message is here, else when the headers are here. The handler ends EVERY call
 * EXACTLY ONCE: grpc_call_reply*, grpc_call_finish or grpc_call_fail*; at once or at any later time, from the loop.
 * Until then the handle, its message, metadata and arena stay valid, even when the client or the whole connection has
 * gone meanwhile: what is sent then is dropped in silence, so a handler need not care. After the end the handle is dead
 * and no callback comes any more.
 *
 *     unary:          on_call(message) ................................. reply | fail
 *     server stream:  on_call(message) ............ send* .............. finish | fail
 *     client streams: on_call -> on_message* -> on_half_close, send* ... reply | finish | fail
 *     any:            on_cancel, at most once, before the end: reset by the client, deadline passed, connection gone,
 *                     server stopping. The wire is already settled; the handler still ends the call.
 *
 * All on the loop's thread. Any callback may end the call from inside.
 */
#ifndef GRPC_CALL_H
#define GRPC_CALL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"
#include "http/request.h" /* http_piece, http_producer: bytes by reference */

struct grpc_call;
struct grpc_method;

typedef void (*grpc_call_callback)(struct grpc_call *call);

/* Static; one per RPC. */
struct grpc_method {
    const char *path; /* "/etcdserverpb.KV/Put" */
    bool client_stream;
    bool server_stream;
    grpc_call_callback on_call;
    /* client_stream only; `message` lives during the call of the callback. */
    void (*on_message)(struct grpc_call *call, struct slice message);
    /* client_stream only: the client will send no more. May be NULL. */
    grpc_call_callback on_half_close;
    /* May be NULL. */
    grpc_call_callback on_cancel;
    /* What was queued for the client has drained (after grpc_call_queued_bytes had grown beyond
     * GRPC_CALL_LOW_WATER). May be NULL. */
    grpc_call_callback on_drain;
    int index; /* free for the service: metrics and so on */
};

#define GRPC_CALL_LOW_WATER HTTP_REPLY_LOW_WATER

/* ---- asking ---- */

/* The context the method was registered with (grpc_server_add). */
void *grpc_call_service(const struct grpc_call *call);
const struct grpc_method *grpc_call_method(const struct grpc_call *call);
/* The request of a unary or server-stream call, decompressed; empty otherwise. Lives until the call ends. */
struct slice grpc_call_message(const struct grpc_call *call);
/* The first metadata value of that lower-case name ("token"); SLICE_NONE when absent. "-bin" values are as sent
 * (base64, checked). Lives until the call ends. */
struct slice grpc_call_metadata(const struct grpc_call *call, const char *name);
/* env_now_ns-time when the client gives up; INT64_MAX without a deadline. */
int64_t grpc_call_deadline_ns(const struct grpc_call *call);
/* env_now_ns-time when the call began. */
int64_t grpc_call_started_ns(const struct grpc_call *call);
/* "127.0.0.1:50123"; lives until the call ends. */
const char *grpc_call_peer(const struct grpc_call *call);
/* Memory that goes with the call. */
struct arena *grpc_call_arena(struct grpc_call *call);
/* The handler's own pointer, NULL at first. */
void *grpc_call_context(const struct grpc_call *call);
void grpc_call_set_context(struct grpc_call *call, void *context);
/* Nobody reads the answer any more (on_cancel has been or is being called). */
bool grpc_call_is_cancelled(const struct grpc_call *call);

/* ---- answering once: unary, and client streams that end with one message; each of these ends the call ---- */

/* Room for a message of exactly size_bytes, to be written before anything else is asked of the call; then
 * grpc_call_reply_reserved sends it without another copy. */
uint8_t *grpc_call_reserve(struct grpc_call *call, size_t size_bytes);
void grpc_call_reply_reserved(struct grpc_call *call);
/* Copies `message`. */
void grpc_call_reply(struct grpc_call *call, struct slice message);
/* One message of total_bytes in pieces on demand: `producer` must give exactly total_bytes (HTTP_PULL_FAILED after the
 * first piece resets the stream). At most GRPC_MESSAGE_MAX. */
void grpc_call_reply_pieces(struct grpc_call *call, size_t total_bytes, struct http_producer *producer);

/* A message longer than the frame's length field can say. */
#define GRPC_MESSAGE_MAX UINT32_MAX
/* The longest answer of a member: etcd's maxSendBytes. */
#define GRPC_SEND_MAX_BYTES ((size_t)INT32_MAX)

/* Status `error` with its code and text (grpc/status.h); not OK. Also for streams, after any number of sends. */
void grpc_call_fail(struct grpc_call *call, enum err error);
/* A status with a text of its own (UTF-8, percent-encoded on the wire). code: 1 to 16. */
void grpc_call_fail_text(struct grpc_call *call, int code, const char *text);

/* ---- streaming answers ---- */

/* Queues one message: copied; written into grpc_call_reserve's room; made of `count` pieces (each taken over). */
void grpc_call_send(struct grpc_call *call, struct slice message);
void grpc_call_send_reserved(struct grpc_call *call);
void grpc_call_send_pieces(struct grpc_call *call, const struct http_piece *pieces, size_t count);
/* Bytes queued that the client has not taken yet. A handler that sends unasked (watch) stops at a limit of its own and
 * goes on in on_drain. While more than GRPC_CALL_QUEUE_MAX wait, no further message of this client stream is
 * delivered. */
size_t grpc_call_queued_bytes(const struct grpc_call *call);
#define GRPC_CALL_QUEUE_MAX (1024 * 1024)
/* The same of all calls of its connection. */
size_t grpc_call_conn_queued_bytes(const struct grpc_call *call);
/* While held back no message of a client stream is delivered and the client is stopped by its window. Letting go
 * delivers what waits, from inside: the call may have ended when this returns. Not from inside on_message with false.
 */
void grpc_call_hold_back(struct grpc_call *call, bool is_held_back);
/* Ends a streaming call with status OK. */
void grpc_call_finish(struct grpc_call *call);

#endif
