/* http.c - what a member answers over plain HTTP: /version and /health for clients, /version and /members for peers.
 *
 * Paths, texts and headers are etcd's (catalog of HTTP endpoints): the client port sets CORS headers, errors are
 * text/plain with nosniff. */
#include "cluster/cluster.h"

#include "api/internal.h"
#include "base/gotext.h"

static const struct http_header cors[] = {
    HTTP_HEADER("access-control-allow-headers", "accept, content-type, authorization"),
    HTTP_HEADER("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
};
#define CORS_COUNT 2
#define MAX_HEADERS 8

static bool is_origin_allowed(const struct api *self, struct slice origin) {
    if (self->cors_origin_count == 0) return true;
    for (size_t i = 0; i < self->cors_origin_count; i++)
        if (strcmp(self->cors_origins[i], "*") == 0 || slice_equal_cstr(origin, self->cors_origins[i])) return true;
    return false;
}

/* Any origin, or the asking one if it is on the list: the CORS headers of an answer, their number. */
static size_t add_cors(const struct api *self, struct http_request *request, struct http_header *headers) {
    struct slice origin = SLICE_LITERAL("*");
    if (!is_origin_allowed(self, origin)) origin = http_request_header(request, "origin");
    if (!is_origin_allowed(self, origin)) return 0;
    for (size_t i = 0; i < CORS_COUNT; i++) headers[i] = cors[i];
    headers[CORS_COUNT] = (struct http_header){SLICE_LITERAL("access-control-allow-origin"), origin};
    return CORS_COUNT + 1;
}

struct reply {
    int status;
    const char *content_type;
    const char *allow; /* NULL: no such header */
    bool is_error;
    bool with_cors;
    struct slice body;
};

static void send_reply(struct api *self, struct http_request *request, const struct reply *reply) {
    struct http_header headers[MAX_HEADERS];
    size_t count = 0;
    if (reply->with_cors) count = add_cors(self, request, headers);
    if (reply->allow != NULL)
        headers[count++] = (struct http_header){SLICE_LITERAL("allow"), slice_from_cstr(reply->allow)};
    headers[count++] = (struct http_header){SLICE_LITERAL("content-type"), slice_from_cstr(reply->content_type)};
    if (reply->is_error)
        headers[count++] = (struct http_header){SLICE_LITERAL("x-content-type-options"), SLICE_LITERAL("nosniff")};
    http_reply_full(request, reply->status, headers, count, reply->body);
}

static void send_error(struct api *self, struct http_request *request, int status, const char *allow, bool with_cors,
                       const char *text) {
    struct reply reply = {.status = status,
                          .content_type = "text/plain; charset=utf-8",
                          .allow = allow,
                          .is_error = true,
                          .with_cors = with_cors,
                          .body = slice_from_cstr(text)};
    send_reply(self, request, &reply);
}

static bool is_get(struct api *self, struct http_request *request, bool with_cors) {
    if (slice_equal_cstr(request->method, "GET")) return true;
    send_error(self, request, 405, "GET", with_cors, "Method Not Allowed\n");
    return false;
}

static void version(struct api *self, struct http_request *request, bool with_cors) {
    if (!is_get(self, request, with_cors)) return;
    const char *cluster = server_cluster_version(self->server);
    struct buf body = BUF_INIT;
    buf_printf(&body, "{\"etcdserver\":\"" SERVER_VERSION "\",\"etcdcluster\":\"%s\"}",
               cluster[0] != 0 ? cluster : "not_decided");
    struct reply reply = {
        .status = 200, .content_type = "application/json", .with_cors = with_cors, .body = buf_slice(&body)};
    send_reply(self, request, &reply);
    buf_release(&body);
}

/* ---- health: alarms, a leader, and a read that goes through ---- */

struct health_check {
    struct server_read read;
    struct api *api;
    struct http_request *request;
};

static void answer_health(struct api *self, struct http_request *request, const char *reason) {
    bool is_healthy = reason[0] == 0;
    struct buf body = BUF_INIT;
    buf_printf(&body, "{\"health\":\"%s\",\"reason\":\"%s\"}", is_healthy ? "true" : "false", reason);
    struct reply reply = {.status = is_healthy ? 200 : 503,
                          .content_type = "text/plain; charset=utf-8",
                          .is_error = !is_healthy,
                          .with_cors = true,
                          .body = buf_slice(&body)};
    if (!is_healthy) buf_append_byte(&body, '\n');
    reply.body = buf_slice(&body);
    send_reply(self, request, &reply);
    buf_release(&body);
}

static void health_known(struct server_read *read, enum err error) {
    struct health_check *check = CONTAINER_OF(read, struct health_check, read);
    struct buf reason = BUF_INIT;
    if (error != OK) buf_printf(&reason, "RANGE ERROR:%s", err_text(error));
    answer_health(check->api, check->request, buf_cstr(&reason));
    buf_release(&reason);
}

/* The read index answers, with an error at the latest after the request time-out: the request stays until then. */
static void health_cancelled(struct http_request *request) {}
static const struct http_request_handler health_handler = {.on_cancel = health_cancelled};

static bool query_has(struct http_request *request, const char *pair) {
    struct slice query = http_request_query(request);
    size_t len = strlen(pair);
    for (size_t at = 0; at + len <= query.len; at++)
        if (memcmp(query.data + at, pair, len) == 0 && (at == 0 || query.data[at - 1] == '&') &&
            (at + len == query.len || query.data[at + len] == '&'))
            return true;
    return false;
}

static void health(struct api *self, struct http_request *request) {
    if (!is_get(self, request, true)) return;
    struct server_status status;
    server_status(self->server, &status);
    if (status.has_nospace_alarm && !query_has(request, "exclude=NOSPACE")) {
        answer_health(self, request, "ALARM NOSPACE");
        return;
    }
    if (status.has_corrupt_alarm && !query_has(request, "exclude=CORRUPT")) {
        answer_health(self, request, "ALARM CORRUPT");
        return;
    }
    bool is_serializable = query_has(request, "serializable=true");
    if (status.leader == 0 && !is_serializable) {
        answer_health(self, request, "RAFT NO LEADER");
        return;
    }
    if (is_serializable) {
        answer_health(self, request, "");
        return;
    }
    struct health_check *check = ARENA_NEW(&request->arena, struct health_check);
    *check = (struct health_check){.read = {.callback = health_known}, .api = self, .request = request};
    http_request_handle(request, &health_handler, check);
    enum err error = server_read_index(self->server, &check->read);
    if (error != OK) health_known(&check->read, error);
}

void api_handle_http(struct api *self, struct http_request *request) {
    struct slice path = http_request_path(request);
    if (slice_equal_cstr(request->method, "OPTIONS")) { /* a browser asks what it may */
        struct http_header headers[CORS_COUNT + 1];
        http_reply_full(request, 200, headers, add_cors(self, request, headers), SLICE_NONE);
        return;
    }
    if (slice_equal_cstr(path, "/version"))
        version(self, request, true);
    else if (slice_equal_cstr(path, "/health"))
        health(self, request);
    else
        send_error(self, request, 404, NULL, true, "404 page not found\n");
}

static void members(struct api *self, struct http_request *request) {
    if (!is_get(self, request, false)) return;
    struct cluster *cluster = server_cluster(self->server);
    struct buf body = BUF_INIT, id = BUF_INIT;
    cluster_append_members_json(cluster, &body);
    buf_append_byte(&body, '\n');
    buf_printf(&id, "%llx", (unsigned long long)cluster_id(cluster));
    struct http_header headers[] = {HTTP_HEADER("content-type", "application/json"),
                                    {SLICE_LITERAL("x-etcd-cluster-id"), buf_slice(&id)}};
    http_reply_full(request, 200, headers, 2, buf_slice(&body));
    buf_release(&body);
    buf_release(&id);
}

void api_handle_peer_http(struct api *self, struct http_request *request) {
    struct slice path = http_request_path(request);
    if (slice_equal_cstr(path, "/version"))
        version(self, request, false);
    else if (slice_equal_cstr(path, "/members"))
        members(self, request);
    else
        send_error(self, request, 404, NULL, false, "404 page not found\n");
}
