/* grpc/internal.h - what the server's files share.
 *
 *     accept.c   the request's headers: content type, timeout, encoding, method; makes the call
 *     receive.c  body -> messages
 *     call.c     the handler's side: replies, status, the end
 *     gzip.c     compressed messages
 *
 * A call lives in the arena of its request. Its two ends are apart: `is_settled` - the wire has its last word -
 * and `is_over` - the handler has ended it. When the wire is first (deadline, server stop) the request is held until
 * the handler follows.
 */
#ifndef GRPC_INTERNAL_H
#define GRPC_INTERNAL_H

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "grpc/server.h"
#include "grpc/status.h"

#define GRPC_PREFIX_BYTES 5

struct grpc__entry {
    const struct grpc_method *method;
    void *service;
};

struct grpc__service {
    char *name;
};

struct grpc_server {
    struct grpc_server_options options;
    struct map_bytes entries; /* by path */
    VEC(struct grpc__entry *) all;
    struct map_bytes services; /* names, for "unknown method" */
    struct list calls;
    size_t call_count;
};

struct grpc_call {
    struct grpc_server *server;
    struct http_request *request;
    const struct grpc__entry *entry;
    struct list link; /* in server->calls */
    void *context;
    int64_t started_ns;
    int64_t deadline_ns;
    struct env_timer deadline;
    struct slice content_type; /* of the reply */
    struct slice message;      /* unary */

    /* receiving */
    uint8_t prefix[GRPC_PREFIX_BYTES];
    uint8_t prefix_len;
    size_t message_bytes; /* announced */
    struct buf partial;
    struct buf held; /* body not looked at, because the client does not read our answers */
    size_t held_unconsumed_bytes;

    /* sending */
    uint8_t *reserved; /* prefix and room; in the arena for short answers of unary calls, else on the heap */
    size_t reserved_bytes;

    bool is_held_back;  /* by the handler */
    bool uses_gzip;     /* grpc-encoding: gzip */
    bool is_dispatched; /* on_call was called */
    bool has_message;   /* unary: later bytes are nobody's */
    bool is_half_closed;
    bool is_cancelled;
    bool is_settled;
    bool is_over;
    bool has_replied; /* headers are out */
};

/* ---- call.c ---- */

/* The wire's last word, from grpc/ itself: status now, on_cancel, and the handler may take its time. */
void grpc__call_settle(struct grpc_call *call, int code, struct slice text);
/* Status from grpc/ itself before any handler knew of the call. */
void grpc__call_refuse(struct grpc_call *call, int http_status, int code, struct slice text);
/* Frees what the call holds outside the arena. */
void grpc__call_release(struct grpc_call *call);
/* The client has gone. */
void grpc__call_cancelled(struct grpc_call *call);

/* ---- receive.c ---- */

void grpc__receive(struct grpc_call *call, struct slice bytes);
void grpc__receive_end(struct grpc_call *call);
/* The reply's queue has drained: goes on with what was held. */
void grpc__receive_resume(struct grpc_call *call);

/* ---- gzip.c ---- */

/* Appends the unpacked bytes to *output, at most limit_bytes. On failure *ret_text says why, in Go's words; OK,
 * ERR_CORRUPT or ERR_REQUEST_TOO_LARGE. */
enum err grpc__gunzip(struct slice packed, size_t limit_bytes, struct buf *output, const char **ret_text);
/* Appends a gzip member of the pieces. */
void grpc__gzip(const struct http_piece *pieces, size_t count, struct buf *output);

/* ---- header_text.c ---- */

/* "5S" -> nanoseconds, INT64_MAX when beyond counting. False: *ret_problem (in the arena) says why. */
bool grpc__parse_timeout(struct arena *arena, struct slice text, int64_t *ret_timeout_ns, struct slice *ret_problem);
/* Whether a "-bin" value is base64, with or without padding; else the offset of the first bad byte. */
bool grpc__is_base64(struct slice text, size_t *ret_bad_offset);

#endif
