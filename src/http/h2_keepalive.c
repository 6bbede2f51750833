/* h2_keepalive.c - pings: ours to silent clients, and the limit on theirs (grpc proposals A8 and A9, as grpc-go does
 * it: a ping within keepalive_min of the last, or within two hours while no stream is open, is a strike; the third
 * strike is GOAWAY ENHANCE_YOUR_CALM "too_many_pings". Sending DATA or HEADERS forgives). */
#include "http/internal.h"

#define NS_PER_SECOND INT64_C(1000000000)
#define IDLE_PING_MIN_NS (7200 * NS_PER_SECOND)

static const uint8_t keepalive_opaque[8] = "etcdping";

void h2__keepalive_start(struct http_conn *conn) {
    const struct http_server_options *options = &conn->server->options;
    conn->last_read_ns = env_now_ns(options->env);
    conn->last_client_ping_ns = INT64_MIN;
    if (options->keepalive_interval_ns > 0 && options->keepalive_timeout_ns > 0)
        http__conn_set_timer(conn, options->keepalive_interval_ns);
    else
        env_timer_stop(options->env, &conn->timer);
}

void h2__keepalive_timer(struct http_conn *conn) {
    const struct http_server_options *options = &conn->server->options;
    int64_t silent_ns = env_now_ns(options->env) - conn->last_read_ns;
    if (silent_ns < options->keepalive_interval_ns) {
        conn->is_pinged = false;
        http__conn_set_timer(conn, options->keepalive_interval_ns - silent_ns);
        return;
    }
    if (conn->is_pinged) {
        conn->is_broken = conn->is_finished = true;
        return;
    }
    conn->is_pinged = true;
    nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, keepalive_opaque);
    http__conn_set_timer(conn, options->keepalive_timeout_ns);
    http__conn_want_flush(conn);
}

void h2__keepalive_pinged(struct http_conn *conn) {
    if (conn->is_broken) return;
    const struct http_server_options *options = &conn->server->options;
    int64_t now_ns = env_now_ns(options->env);
    int64_t last_ns = conn->last_client_ping_ns;
    conn->last_client_ping_ns = now_ns;
    if (conn->has_sent_since_ping) {
        conn->has_sent_since_ping = false;
        conn->ping_strikes = 0;
        return;
    }
    bool is_idle = conn->stream_count == 0 && !options->keepalive_without_streams;
    int64_t least_ns = is_idle ? IDLE_PING_MIN_NS : options->keepalive_min_ns;
    if (last_ns == INT64_MIN || now_ns - last_ns >= least_ns) return;
    if (++conn->ping_strikes <= HTTP_PING_STRIKES_MAX) return;
    static const char text[] = "too_many_pings";
    nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(conn->session),
                          NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)text, sizeof text - 1);
    conn->is_broken = true;
}

void h2__keepalive_ponged(struct http_conn *conn, const uint8_t opaque[8]) {
    if (memcmp(opaque, keepalive_opaque, 8) == 0) conn->is_pinged = false;
}
