/* h2_resets.c - the limit on a client's stream resets ("rapid reset", CVE-2023-44487). A reset lets a client start
 * stream after stream without ever having many open: each costs us a request. HTTP_RESET_BURST of them are free, for
 * those who give up on many calls at once, and HTTP_RESET_PER_SECOND from then on. Beyond that GOAWAY
 * ENHANCE_YOUR_CALM: open streams go on, new ones are not taken on this connection. etcd has no such limit. */
#include "http/internal.h"

#define RESET_NS (INT64_C(1000000000) / HTTP_RESET_PER_SECOND)

void h2__reset_received(struct http_conn *conn) {
    int64_t now_ns = env_now_ns(conn->server->options.env);
    if (conn->resets_paid_ns < now_ns) conn->resets_paid_ns = now_ns;
    conn->resets_paid_ns += RESET_NS;
    if (conn->resets_paid_ns - now_ns <= HTTP_RESET_BURST * RESET_NS || conn->is_goaway_final) return;
    conn->is_goaway_final = true;
    static const char text[] = "too_many_resets";
    nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(conn->session),
                          NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)text, sizeof text - 1);
}
