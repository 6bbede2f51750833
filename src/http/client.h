/* http/client.h - the client side of one HTTP/2 connection as a machine: bytes in, bytes out.
 *
 * Floor 2. Prior-knowledge HTTP/2 (nghttp2); HTTP/1.1 clients are libcurl's business. grpc/client.h stands on this.
 *
 *     http_client_start -> exchange -> on_headers -> [on_data ...] -> on_close
 *
 * on_close comes exactly once for every exchange, also when the connection dies (http_client_free) and after
 * http_exchange_cancel; then the exchange is dead. Never from inside http_client_start. All on one thread.
 */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include "base/buf.h"
#include "env/env.h"
#include "http/request.h"

struct http_client;
struct http_exchange;

/* Names and values of an answer, and 32 for each line: more than what a server takes, as errors may repeat that. */
#define HTTP_CLIENT_HEADER_LIST_MAX (1024 * 1024)

/* What the connection asks of its owner. */
struct http_client_owner {
    /* There may be something to produce, or the connection is finished. May come from inside any call but produce; not
     * repeated until the next produce. */
    void (*want_flush)(struct http_client_owner *self);
};

struct http_client_options {
    struct env *env;
    int64_t keepalive_interval_ns; /* ping when nothing was heard so long; 0: never */
    int64_t keepalive_timeout_ns;  /* then finished when the answer takes longer than this */
    bool keepalive_without_streams;
    uint32_t stream_window_bytes; /* 0: 1 MiB; what a server may send ahead on a stream */
    uint32_t conn_window_bytes;   /* 0: 16 MiB */
};

/* Why an exchange ended. */
enum http_close {
    HTTP_CLOSE_DONE,    /* the whole response is here */
    HTTP_CLOSE_RESET,   /* RST_STREAM by the server (code given) or a broken response */
    HTTP_CLOSE_REFUSED, /* the server did not look at it: safe to try elsewhere (REFUSED_STREAM, GOAWAY, never sent) */
    HTTP_CLOSE_CANCELLED,
    HTTP_CLOSE_LOST, /* the connection went away */
};

struct http_exchange_handler {
    /* Headers of the response, or its trailers (status 0). Valid during the call. */
    void (*on_headers)(void *context, int status, const struct http_header *headers, size_t count);
    void (*on_data)(void *context, struct slice bytes);
    /* `h2_error_code` for HTTP_CLOSE_RESET. */
    void (*on_close)(void *context, enum http_close why, uint32_t h2_error_code);
    /* Queued request bytes have fallen below HTTP_REPLY_LOW_WATER. May be NULL. */
    void (*on_writable)(void *context);
};

/* The owner lives until http_client_free. */
struct http_client *http_client_new(const struct http_client_options *options, struct http_client_owner *owner);
/* The transport is gone: closes what is open with HTTP_CLOSE_LOST. NULL is allowed. Not from inside a callback. */
void http_client_free(struct http_client *self);
void http_client_receive(struct http_client *self, struct slice bytes);
/* Appends about up to budget_bytes to send. Returns true when there is more now. */
bool http_client_produce(struct http_client *self, struct buf *output, size_t budget_bytes);
/* Protocol broken, keepalive unanswered, or GOAWAY received and nothing open: send what is produced, then close. */
bool http_client_is_finished(const struct http_client *self);
/* No new exchange may start: GOAWAY was received or the connection is finished. */
bool http_client_is_draining(const struct http_client *self);
/* Debug text of a GOAWAY ("too_many_pings"), "" without one. */
const char *http_client_goaway_text(const struct http_client *self);
/* The server's SETTINGS have come: it does speak HTTP/2. */
bool http_client_is_ready(const struct http_client *self);
size_t http_client_open_exchanges(const struct http_client *self);

/* Starts an exchange with these headers (the pseudo headers first), whose bytes live until on_close. The body follows
 * by http_exchange_write; when `end` is set there is none. NULL when draining. Beyond the server's stream limit it
 * waits in line. */
struct http_exchange *http_client_start(struct http_client *self, const struct http_header *headers, size_t count,
                                        bool end, const struct http_exchange_handler *handler, void *context);
/* Queues body bytes (copied); `end` closes our side. */
void http_exchange_write(struct http_exchange *self, struct slice bytes, bool end);
/* Room for exactly size_bytes of body, to be filled at once and then queued without a copy. */
uint8_t *http_exchange_reserve(struct http_exchange *self, size_t size_bytes);
void http_exchange_write_reserved(struct http_exchange *self, bool end);
/* Bytes given to on_data are taken as read at once unless the exchange is paused. */
void http_exchange_pause(struct http_exchange *self, bool paused);
size_t http_exchange_queued_bytes(const struct http_exchange *self);
/* RST_STREAM CANCEL; on_close follows, HTTP_CLOSE_CANCELLED, during the next produce or free. */
void http_exchange_cancel(struct http_exchange *self);
/* The same, but no callback comes any more and the handle is dead at once. Not from inside its own callbacks. */
void http_exchange_abandon(struct http_exchange *self);

#endif
