/* http/server.h - the server side of one connection as a machine: bytes in, bytes out.
 *
 * Floor 2. net/ owns the socket and feeds this; handlers see http/request.h only. HTTP/2 (nghttp2, prior knowledge: the
 * first bytes are the preface "PRI * HTTP/2.0") and HTTP/1.1 (http-parser) behind one face.
 *
 *     bytes --> http_conn_receive --> on_request, on_body, ...     (handlers)
 *     replies --> want_flush(conn) --> later http_conn_produce --> bytes
 *
 * Time comes from env: keepalive and idle timers run on env timers. All on the loop's thread.
 *
 * Limits an outsider meets are named below; what happens at each, what etcd does there and its test: docs/LIMITS.md.
 *
 * What clients make a server hold (answers they have not read, bytes the socket did not take, header lists, unfinished
 * messages, requests being answered) is counted together. Beyond HTTP_SERVER_HELD_MAX the connection that holds most is
 * given up, then the next, until it fits: who does not read pays, not who comes late.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/buf.h"
#include "env/env.h"
#include "http/request.h"

struct http_conn;
struct http_server;

/* Names and values of a request, and 32 for each line (RFC 9113, 6.5.2). HTTP/2 announces it, so that clients refuse
 * themselves; nghttp2 takes no longer line and no block of more than 9 frames. */
#define HTTP_HEADER_LIST_MAX (64 * 1024)
#define HTTP1_HEADER_MAX (1024 * 1024)  /* Go's default */
#define HTTP_CONTROL_QUEUE_MAX 1000     /* answers to PING and SETTINGS not yet sent */
#define HTTP_RESET_BURST 10000          /* RST_STREAM received on one connection at once, */
#define HTTP_RESET_PER_SECOND 1000      /* and what comes back to that allowance */
#define HTTP_PING_STRIKES_MAX 2         /* pings that came too early; grpc-go's maxPingStrikes */
#define HTTP_STREAM_WINDOW (256 * 1024) /* SETTINGS_INITIAL_WINDOW_SIZE we give */
#define HTTP_CONN_WINDOW (4 * 1024 * 1024)
#define HTTP_OUTPUT_HIGH_WATER (1024 * 1024) /* bytes net/ may hold unsent before reading stops */
#define HTTP_STREAMS_MAX 100000              /* open at once on a connection, whatever was announced */
#define HTTP_SERVER_STREAMS_MAX 250000       /* the same on all connections of a server */
#define HTTP1_PIPELINE_MAX (64 * 1024)       /* bytes of later requests kept while one is answered */
#define HTTP1_REQUEST_LINE_MAX (64 * 1024)
/* From accept, or the end of a reply, to complete headers (HTTP/1.1) or the preface (HTTP/2), unless set otherwise.
 * etcd waits for ever. */
#define HTTP_HEADER_TIMEOUT_NS INT64_C(300000000000)
/* A reply made on demand of which the client takes nothing for so long is cut off. */
#define HTTP_PRODUCER_STALL_NS INT64_C(60000000000)
/* Reply bytes that wait on one connection; the stream that adds more is reset. */
#define HTTP_CONN_QUEUED_MAX ((size_t)128 * 1024 * 1024)
/* See above. Answers that come before somebody has gone may add HTTP_CONN_QUEUED_MAX; then their streams are reset. */
#define HTTP_SERVER_HELD_MAX ((size_t)512 * 1024 * 1024)

struct http_server_options {
    struct env *env;
    /* A request's headers are complete. */
    void (*on_request)(void *context, struct http_request *request);
    void *context;
    uint32_t max_concurrent_streams; /* 0 or UINT32_MAX: not limited, not announced */
    int64_t keepalive_min_ns;        /* least time between a client's pings; 0: grpc's own default, 5 min */
    bool keepalive_without_streams;  /* pings with no stream open are no offence */
    int64_t keepalive_interval_ns;   /* we ping a silent client; 0: never */
    int64_t keepalive_timeout_ns;    /* then it has this long to answer */
    int64_t header_timeout_ns;       /* from accept or the end of a reply to complete request headers (HTTP/1.1) and for
                                        the HTTP/2 preface; 0: HTTP_HEADER_TIMEOUT_NS */
};

/* Options are copied; env and context outlive the server. */
struct http_server *http_server_new(const struct http_server_options *options);
/* After its last connection and the end of the last request. NULL is allowed. */
void http_server_free(struct http_server *self);

/* What the connection asks of its owner. */
struct http_conn_owner {
    /* There is (or may be) something to produce, or the connection is finished: call http_conn_produce soon. May come
     * from inside any http_ call but produce; not repeated until the next produce. */
    void (*want_flush)(struct http_conn_owner *self);
    /* Close without sending what is left: the server holds too much for its clients. From a timer, never from inside an
     * http_ call. May be NULL: the connection is left as it is. */
    void (*give_up)(struct http_conn_owner *self);
};

struct http_conn_info {
    const char *peer; /* "127.0.0.1:50123"; copied */
    bool is_tls;
};

/* The owner lives until http_conn_free. Never NULL. */
struct http_conn *http_conn_new(struct http_server *server, struct http_conn_owner *owner,
                                const struct http_conn_info *info);
/* The transport is gone: cancels what is open. Requests that were not ended stay valid for their handlers. NULL is
 * allowed. Not from inside a callback of this connection. */
void http_conn_free(struct http_conn *self);

/* Any cut of the stream. Bytes that violate the protocol end in output (GOAWAY or 400) and http_conn_is_finished. */
void http_conn_receive(struct http_conn *self, struct slice bytes);
/* The client has closed its sending side. */
void http_conn_receive_end(struct http_conn *self);
/* Appends about up to budget_bytes of what is to be sent. Returns true when there is more now. */
bool http_conn_produce(struct http_conn *self, struct buf *output, size_t budget_bytes);
/* Everything is produced and nothing will follow: send, then close. */
bool http_conn_is_finished(const struct http_conn *self);
/* False: stop reading until a later produce makes it true again. */
bool http_conn_wants_read(const struct http_conn *self);
/* GOAWAY and no new requests; finished when the open ones have ended. Harmless when repeated. */
void http_conn_stop(struct http_conn *self);
/* Reply bytes accepted from handlers and not produced yet. */
size_t http_conn_queued_bytes(const struct http_conn *self);
/* Bytes it was given by http_conn_produce and could not send yet; the newest figure counts. */
void http_conn_set_unsent(struct http_conn *self, size_t size_bytes);
/* All that is held for this client, and for all clients of a server. */
size_t http_conn_held_bytes(const struct http_conn *self);
size_t http_server_held_bytes(const struct http_server *self);
/* Requests open. */
size_t http_conn_open_requests(const struct http_conn *self);
bool http_conn_is_http2(const struct http_conn *self);

#endif
