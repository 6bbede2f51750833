/* http/h1.h - the state of an HTTP/1.1 connection; for h1.c only (apart from internal.h, because http_parser.h and
 * nghttp2.h need not meet elsewhere). */
#ifndef HTTP_H1_H
#define HTTP_H1_H

#include "http/internal.h"

#include <http_parser.h>

enum h1_state { H1_LINE, H1_HEAD, H1_BODY, H1_DONE, H1_FAILED };

struct http1 {
    struct http_conn *conn;
    struct http_stream *stream; /* the request that is read or answered */
    http_parser parser;
    enum h1_state state;
    size_t request_count;
    uint64_t body_bytes;
    int host_count;
    bool is_line_bad; /* 400 when the headers are complete */
    bool is_value_open;
    bool has_foreign_encoding;
    bool expects_continue;
    bool has_other_expectation;
    bool keep_alive;
    bool is_reply_chunked;
    bool is_head_only;
    struct buf name;
    struct buf value;
    struct buf pending; /* received, not parsed */
    struct buf interim; /* "100 Continue" and errors, to be sent */
};

#endif
