/* http/internal.h - what the files of http/ share: connection, stream, the queue of a reply.
 *
 * One http_stream is one request with its reply. It has two holders: the connection (conn != NULL, in conn->streams)
 * until the wire is done with it, and the handler until http_reply_end or http_request_abort. It goes back to the
 * server's pool when both have let go.
 *
 *     state of the reply:  NONE --http_reply--> OPEN --http_reply_end--> ENDED       (handler's side)
 *                             \______________________ http_request_abort -> ABORTED
 */
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include "base/check.h"
#include "base/mem.h"
#include "http/pool.h"
#include "http/server.h"

#include <nghttp2/nghttp2.h>

#define HTTP__INLINE_PIECES 4
#define HTTP__ARENA_CHUNK_BYTES 2000
#define HTTP__ARENA_KEPT_MAX (64 * 1024)
#define HTTP__STREAM_POOL_MAX 4096

/* Pieces that wait, oldest first. */
struct http_stream;

struct http__queue {
    struct http_piece *pieces; /* a ring; inline_pieces at first */
    uint32_t head;
    uint32_t count;
    uint32_t capacity; /* a power of two */
    size_t size_bytes;
    size_t taken_bytes; /* of the first piece */
    struct http_piece inline_pieces[HTTP__INLINE_PIECES];
};

/* What pieces cost in memory: for a connection, whose client could read them, each counts in full; for the server,
 * bytes that many share count once. */
struct http__cost {
    size_t conn_bytes;
    size_t server_bytes;
};
void http__queue_init(struct http__queue *self);
/* Releases all pieces; empty and usable afterwards. What that frees is added to *cost. */
void http__queue_release(struct http__queue *self, struct http__cost *cost);
/* Both at once: the stream's queue and the connection's count. */
void http__stream_push(struct http_stream *self, struct http_piece piece);
void http__stream_drop_queue(struct http_stream *self);
/* Empty pieces are released at once. The pieces' cost is added to *cost. */
void http__queue_push(struct http__queue *self, struct http_piece piece, struct http__cost *cost);
/* Moves the first size_bytes (at most what is there) to the end of `output`. What that frees is added to *cost. */
void http__queue_take(struct http__queue *self, size_t size_bytes, struct buf *output, struct http__cost *cost);
/* A copy of `bytes` that frees itself. */
struct http_piece http__piece_copy(struct slice bytes);

/* The other end's name, shared by a connection and its streams; counted on the loop only. */
struct http__peer {
    unsigned references;
    char text[];
};
struct http__peer *http__peer_ref(struct http__peer *self);
void http__peer_unref(struct http__peer *self);

struct h2__headers;
struct h2__template;

enum http__reply_state { HTTP__REPLY_NONE, HTTP__REPLY_OPEN, HTTP__REPLY_ENDED, HTTP__REPLY_ABORTED };

struct http_stream {
    struct http_request request; /* first: the handler's view */
    struct http_server *server;
    struct http_conn *conn; /* NULL: the wire has let go */
    struct http__peer *peer;
    const struct http_request_handler *handler;
    struct list link;       /* in conn->streams, or in the server's pool */
    struct list dirty_link; /* in conn->dirty */
    struct http__queue queue;
    struct http_producer *producer;
    struct list producer_link; /* in server->producing, while there is one */
    int64_t producer_moved_ns;
    struct h2__template *template; /* whose strings the request's headers are, or NULL */
    nghttp2_nv *headers;           /* of the reply until it is submitted; in the arena */
    nghttp2_nv *trailers;
    struct http_header *request_headers; /* grows in the arena */
    uint32_t request_header_capacity;
    uint32_t request_header_bytes;
    size_t reply_header_count;
    size_t trailer_count;
    size_t unconsumed_bytes; /* body given to the handler and not given back */
    uint64_t body_bytes;     /* received */
    size_t kept_bytes;       /* http_request_set_kept */
    size_t own_held_bytes;   /* header lines of its own, and http_request_add_held */
    size_t unreturned_bytes; /* given back, but the sender's window is not yet told */
    uint32_t abort_code;
    int32_t id;
    enum http__reply_state reply_state;
    int16_t status;
    bool is_dispatched; /* on_request was called */
    bool is_submitted;  /* the reply's headers are with the protocol */
    bool is_deferred;   /* the protocol waits for http_reply_write */
    bool is_above_low_water;
    bool producer_waits;
    bool has_reply_length; /* content-length among the reply's headers */
    bool is_headers_refused;
    bool is_held;
    bool is_cut_off; /* what is written is dropped, the stream is reset */
};

struct http_server {
    struct http_server_options options;
    nghttp2_session_callbacks *h2_callbacks;
    nghttp2_option *h2_option;
    struct http__pool *pool_memory; /* nghttp2's */
    struct list pool;               /* free streams */
    size_t pool_count;
    size_t stream_count; /* alive */
    struct list conns;
    size_t held_bytes;     /* for all clients */
    size_t given_up_count; /* connections that their owners are to close */
    struct env_timer relief;
    struct list producing; /* streams */
    struct env_timer stall;
    int64_t date_second; /* what date_text says */
    char date_text[32];
};

struct http1;

enum http__protocol { HTTP__UNKNOWN, HTTP__1, HTTP__2 };

struct http_conn {
    struct http_server *server;
    struct http_conn_owner *owner;
    struct http__peer *peer;
    struct list link; /* in server->conns */
    struct list streams;
    struct list dirty; /* streams whose reply moved since the last produce */
    size_t stream_count;
    size_t queued_bytes; /* in the streams' queues */
    size_t queued_cost_bytes;
    size_t kept_bytes; /* by handlers */
    size_t held_bytes; /* all: queued, kept, the streams' own, unsent and pending */
    size_t unsent_bytes;
    size_t pending_bytes; /* input that no request has yet */
    enum http__protocol protocol;
    bool is_tls;
    bool is_flush_wanted; /* want_flush was called since the last produce */
    bool is_producing;
    bool is_stopping;
    bool is_finished;
    bool is_broken;     /* nothing more is read */
    bool is_given_up;   /* its owner was told to close it */
    struct buf *output; /* during produce */
    size_t output_end;  /* its length at which produce stops */
    struct buf sniff;   /* first bytes while the protocol is unknown */
    struct env_timer timer;

    /* HTTP/2 */
    nghttp2_session *session;
    struct h2__headers *headers;
    struct http_stream *recent_stream; /* of the last frame received, or NULL */
    size_t unreturned_bytes;           /* consumed, but the connection's window is not yet told */
    int64_t last_read_ns;
    int64_t last_client_ping_ns;
    int64_t resets_paid_ns; /* when the resets received so far are all paid for */
    int ping_strikes;
    bool has_greeted;         /* the client's SETTINGS, the end of its preface, are here */
    bool has_sent_since_ping; /* DATA or HEADERS: the client's strikes are forgiven */
    bool is_pinged;           /* our keepalive ping is out */
    bool is_goaway_final;

    /* HTTP/1.1 */
    struct http1 *h1;
};

/* ---- request.c ---- */

/* A fresh stream in conn->streams, from the pool. */
struct http_stream *http__stream_new(struct http_conn *conn, int32_t id);
/* The wire lets go: tells the handler (on_cancel) unless it has ended the request. The stream may be gone after. */
void http__stream_detach(struct http_stream *self);
/* One header line more. False: the list is too long. */
bool http__stream_count_header(struct http_stream *self, struct slice name, struct slice value);
/* The same, and keeps a copy among the request's headers. */
bool http__stream_add_header(struct http_stream *self, struct slice name, struct slice value);
/* Headers are complete: calls on_request. */
void http__stream_dispatch(struct http_stream *self);
/* Body bytes, and its end, to the handler. */
void http__stream_body(struct http_stream *self, struct slice bytes);
void http__stream_end(struct http_stream *self);
/* Fills the queue from the producer until it has `want_bytes`, waits, or is done. False: the reply has failed. */
bool http__stream_fill(struct http_stream *self, size_t want_bytes);
/* Takes bytes from the queue into conn->output and tells the handler when it has drained. */
void http__stream_take(struct http_stream *self, size_t size_bytes);
/* Drops what waits and resets the stream: the client does not read. What the handler still writes is dropped. */
void http__stream_cut_off(struct http_stream *self);
/* Everything the handler will ever send is in the queue. */
bool http__stream_is_complete(const struct http_stream *self);
/* Puts the stream into conn->dirty and asks for a flush. */
void http__stream_touch(struct http_stream *self);

/* ---- conn.c ---- */

void http__conn_want_flush(struct http_conn *self);
/* "Sat, 21 Nov 2026 01:09:45 GMT" */
const char *http__server_date(struct http_server *self);
/* Restarts the connection's one timer. */
void http__conn_set_timer(struct http_conn *self, int64_t delay_ns);

/* ---- held.c ---- */

/* Too much is held: somebody must go. */
void http__server_want_relief(struct http_server *self);
/* Counts more (or less) for the connection and its server. */
static inline void http__conn_hold(struct http_conn *self, size_t more_bytes) {
    self->held_bytes += more_bytes;
    self->server->held_bytes += more_bytes;
    if (self->server->held_bytes > HTTP_SERVER_HELD_MAX) http__server_want_relief(self->server);
}
static inline void http__conn_let_go(struct http_conn *self, size_t less_bytes) {
    CHECK(less_bytes <= self->held_bytes);
    self->held_bytes -= less_bytes;
    self->server->held_bytes -= less_bytes;
}
static inline void http__conn_hold_cost(struct http_conn *self, struct http__cost cost) {
    self->held_bytes += cost.conn_bytes;
    self->queued_cost_bytes += cost.conn_bytes;
    self->server->held_bytes += cost.server_bytes;
    if (self->server->held_bytes > HTTP_SERVER_HELD_MAX) http__server_want_relief(self->server);
}
static inline void http__conn_let_go_cost(struct http_conn *self, struct http__cost cost) {
    CHECK(cost.conn_bytes <= self->queued_cost_bytes);
    self->held_bytes -= cost.conn_bytes;
    self->queued_cost_bytes -= cost.conn_bytes;
    self->server->held_bytes -= cost.server_bytes;
}
/* The newest figure of a part counts. */
void http__conn_set_held(struct http_conn *self, size_t *part, size_t size_bytes);
/* Timer: too much is held. */
void http__server_relieve(struct env_timer *timer);

/* ---- producers.c ---- */

/* The stream has a producer, which was just asked. */
void http__producer_moved(struct http_stream *self);
/* Timer. */
void http__server_end_stalled(struct env_timer *timer);

/* ---- h2.c ---- */

void h2__server_init(struct http_server *server);
void h2__server_release(struct http_server *server);
void h2__start(struct http_conn *conn);
void h2__free(struct http_conn *conn);
void h2__receive(struct http_conn *conn, struct slice bytes);
bool h2__produce(struct http_conn *conn, size_t budget_bytes);
void h2__stop(struct http_conn *conn);
void h2__consume(struct http_stream *stream, size_t size_bytes);
void h2__timer(struct http_conn *conn);

/* ---- h2_headers.c ---- */

enum h2__verdict { H2__GOOD, H2__MALFORMED, H2__TOO_LARGE };

struct h2__headers *h2__headers_new(void);
void h2__headers_free(struct h2__headers *self);
/* One block of a request: begin, add for each line, end. At the first bad verdict the stream is to be reset. */
void h2__headers_begin(struct h2__headers *self);
enum h2__verdict h2__headers_add(struct h2__headers *self, struct http_stream *stream, nghttp2_rcbuf *name,
                                 nghttp2_rcbuf *value);
enum h2__verdict h2__headers_end(struct h2__headers *self, struct http_stream *stream);
/* NULL is allowed. */
void h2__template_unref(struct h2__template *self);

/* ---- h2_keepalive.c ---- */

void h2__keepalive_start(struct http_conn *conn);
void h2__keepalive_timer(struct http_conn *conn);
/* A PING that is no answer has come. */
void h2__keepalive_pinged(struct http_conn *conn);
void h2__keepalive_ponged(struct http_conn *conn, const uint8_t opaque[8]);

/* ---- h2_resets.c ---- */

/* A RST_STREAM has come. */
void h2__reset_received(struct http_conn *conn);

/* ---- h1.c ---- */

void h1__start(struct http_conn *conn);
void h1__free(struct http_conn *conn);
void h1__receive(struct http_conn *conn, struct slice bytes);
void h1__receive_end(struct http_conn *conn);
bool h1__produce(struct http_conn *conn, size_t budget_bytes);
void h1__stop(struct http_conn *conn);
void h1__consume(struct http_stream *stream, size_t size_bytes);
bool h1__wants_read(const struct http_conn *conn);
void h1__timer(struct http_conn *conn);

#endif
