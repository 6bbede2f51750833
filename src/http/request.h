/* http/request.h - one HTTP request as a handler on the server side sees it, over HTTP/1.1 and HTTP/2 alike.
 *
 * Floor 2. This header is for those who answer requests (grpc/, api/, peer/); http/server.h is for those who feed
 * connections. It knows nothing of sockets: a reply is queued here and leaves when the connection is flushed.
 *
 * Life of a request. The owner's `on_request` (http/server.h) gets it when its headers are complete; it either answers
 * at once or calls http_request_handle to be told of the rest:
 *
 *     on_request -> [on_body ...] -> on_end          the request's body
 *              \-> http_reply, [http_reply_write ...], http_reply_end     the answer, any time from on_request on
 *     on_cancel, at most once: nobody will read the answer any more (client reset, connection gone)
 *
 * The handler ends every request EXACTLY ONCE, with http_reply_end or http_request_abort, cancelled or not; until then
 * the struct and everything it points to stays valid, even when the connection has gone long ago; from then on the
 * handler must not touch it, and no callback comes any more. What is written to a cancelled request is dropped. So a
 * reply may come later, from a job's `done`, without asking whether anybody still waits.
 *
 * All on the loop's thread. Callbacks may reply and end from inside.
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "base/arena.h"
#include "base/shared.h"
#include "base/slice.h"

struct http_request;

struct http_header {
    struct slice name; /* lower case, in requests and replies; HTTP/1.1 replies are sent with Go's spelling */
    struct slice value;
};

/* For static tables: HTTP_HEADER("content-type", "application/json"). */
#define HTTP_HEADER(name, value)                                                                                       \
    {                                                                                                                  \
        {(const uint8_t *)(name), sizeof(name) - 1}, { (const uint8_t *)(value), sizeof(value) - 1 }                   \
    }

/* What a handler may read at any time while the request is alive. Written by http/ only. */
struct http_request {
    struct slice method;               /* "POST" */
    struct slice target;               /* path and query as sent: "/v3/kv/put?x=1" */
    struct slice authority;            /* Host or :authority; may be empty */
    const struct http_header *headers; /* names in lower case, in order, without the pseudo headers */
    uint32_t header_count;
    uint8_t version_major; /* 1.0, 1.1 or 2 */
    uint8_t version_minor;
    bool is_tls;
    bool has_body;           /* false: on_end is the only callback about the body */
    bool has_ended;          /* the whole body is here */
    bool is_cancelled;       /* nobody reads the answer */
    uint64_t content_length; /* UINT64_MAX when not announced */
    struct arena arena; /* for the handler too; freed when the request has ended and its reply is sent or dropped */
    const char *peer;   /* "127.0.0.1:50123"; lives as long as the request */
    void *context;      /* the handler's own */
};

struct http_request_handler {
    /* A piece of the body, valid during the call. Each byte must be given back with http_request_consume (now or
     * later), or the sender is stopped after HTTP_REQUEST_WINDOW_BYTES. May be NULL: the body is dropped. */
    void (*on_body)(struct http_request *request, struct slice bytes);
    /* The body is complete; also called when there was none. May be NULL. */
    void (*on_end)(struct http_request *request);
    /* See above. The request must still be ended. May be NULL. */
    void (*on_cancel)(struct http_request *request);
    /* What was queued for the client has fallen below HTTP_REPLY_LOW_WATER after it was above. May be NULL. */
    void (*on_writable)(struct http_request *request);
};

/* The most body bytes that wait unconsumed for one request. */
#define HTTP_REQUEST_WINDOW_BYTES (256 * 1024)
#define HTTP_REPLY_LOW_WATER (32 * 1024)

/* Registers the callbacks; `handler` is a static table. Only from inside on_request. */
void http_request_handle(struct http_request *request, const struct http_request_handler *handler, void *context);
/* The first header of that (lower-case) name; SLICE_NONE when there is none. Lives as long as the request. */
struct slice http_request_header(const struct http_request *request, const char *name);
/* The target up to '?' and what follows it (empty when nothing does). */
struct slice http_request_path(const struct http_request *request);
struct slice http_request_query(const struct http_request *request);
/* Gives `size_bytes` of body back, so that the sender may send as much again. */
void http_request_consume(struct http_request *request, size_t size_bytes);

/* Tells the connection that the handler keeps so many bytes of unfinished input for this request (the newest figure
 * counts). False: the requests of this connection together keep more than HTTP_CONN_KEPT_MAX; give up on this one. */
bool http_request_set_kept(struct http_request *request, size_t size_bytes);
#define HTTP_CONN_KEPT_MAX (64 * 1024 * 1024)
/* The handler keeps so many bytes of finished input, as long as the request lives: they count among what the server
 * holds for its clients (http/server.h). */
void http_request_add_held(struct http_request *request, size_t more_bytes);

/* ---- answering ---- */

/* Bytes handed over by reference: `release` is called exactly once, when they have been copied to the wire or dropped.
 * With release NULL they are copied at once. */
struct http_piece {
    struct slice bytes;
    void (*release)(void *context);
    void *context;
    /* For bytes that many replies refer to: how many pieces in queues do; 0 at first, kept by http/. They are then
     * counted once among what a server holds for its clients. NULL: nobody else has these bytes. */
    uint32_t *queued;
};

/* A piece that holds one reference of `bytes`; takes over the caller's reference. */
struct http_piece http_piece_from_shared(struct shared *bytes);
/* The same for a part [from, from + len) of it. */
struct http_piece http_piece_from_shared_part(struct shared *bytes, size_t from, size_t len);

/* Bytes that live as long as the request: static, or in its arena. */
struct http_piece http_piece_kept(struct slice bytes);

enum http_pull {
    HTTP_PULL_PIECE,  /* *ret_piece is set (may be empty) */
    HTTP_PULL_WAIT,   /* nothing now: http_reply_resume comes later */
    HTTP_PULL_END,    /* no more */
    HTTP_PULL_FAILED, /* the stream is reset: the reply can not be completed */
};

/* Content made on demand, when the client's window and the connection's turn allow. Embedded by the handler. */
struct http_producer {
    /* Gives about `want_bytes` (more is kept and sent later). Called while the connection is flushed: it must not
     * reply to or end other requests, and should take no longer than some 100 us. */
    enum http_pull (*pull)(struct http_producer *self, size_t want_bytes, struct http_piece *ret_piece);
    /* Exactly once, after the last pull, also when cancelled; the producer may be freed in it. */
    void (*done)(struct http_producer *self);
};

/* Sends status and headers (without :status; names and values are copied). Once. content-length may be among them;
 * without it an HTTP/1.1 body is chunked. `date` is added for HTTP/1.1. */
void http_reply(struct http_request *request, int status, const struct http_header *headers, size_t count);
/* One more piece of the body; after http_reply. */
void http_reply_write(struct http_request *request, struct slice bytes);
void http_reply_write_piece(struct http_request *request, struct http_piece piece);
/* Everything `producer` gives follows what is queued. One at a time: the next write may come only after its done. */
void http_reply_produce(struct http_request *request, struct http_producer *producer);
/* After HTTP_PULL_WAIT: there is more now. */
void http_reply_resume(struct http_request *request);
/* Ends the request (also while a producer runs: its content is sent first). Trailers are copied; HTTP/1.1 drops them
 * when the body is not chunked. */
void http_reply_end(struct http_request *request, const struct http_header *trailers, size_t count);
/* Ends the request: status, headers with content-length, body, end. */
void http_reply_full(struct http_request *request, int status, const struct http_header *headers, size_t count,
                     struct slice body);
/* The same without copying: names and values are static or in request->arena. */
void http_reply_kept(struct http_request *request, int status, const struct http_header *headers, size_t count);
void http_reply_end_kept(struct http_request *request, const struct http_header *trailers, size_t count);
/* Ends the request without a (complete) answer: RST_STREAM `h2_error_code` (0 NO_ERROR, 2 INTERNAL_ERROR, 8 CANCEL)
 * or, for HTTP/1.1, the connection is closed. */
void http_request_abort(struct http_request *request, uint32_t h2_error_code);
/* Keeps the struct and its arena readable beyond the end of the request, until http_request_release. For handlers that
 * must answer before they can let go of what they are working on. At most one hold. */
void http_request_hold(struct http_request *request);
void http_request_release(struct http_request *request);
/* The same of all requests of its connection. */
size_t http_reply_conn_queued_bytes(const struct http_request *request);
/* Body bytes accepted from the handler that have not gone into the connection's output. */
size_t http_reply_queued_bytes(const struct http_request *request);

#endif
