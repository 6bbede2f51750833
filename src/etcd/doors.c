#include "etcd/doors.h"

#include "base/gotext.h"
#include "base/mem.h"
#include "etcd/unbuilt.h"
#include "http/server.h"
#include "net/listener.h"
#include "os/os.h"

#include <stdlib.h>
#include <sys/resource.h>

/* File descriptors kept back for everything but client connections: etcd's number. Peers and metrics get their share of
 * it, so that neither these nor the log and the database are left without because of clients. (etcd counts each address
 * by itself and those of peers and metrics not at all.) */
#define RESERVED_DESCRIPTORS 150
#define PEER_CONNECTIONS_MAX 80
#define METRICS_CONNECTIONS_MAX 20

/* Freed memory that may lie idle once clients have gone, how often it is looked at, and how many times after the last
 * has gone: what they asked for may end later. */
#define IDLE_MEMORY_MAX_BYTES ((size_t)32 << 20)
#define MEMORY_LOOK_NS INT64_C(1000000000)
#define MEMORY_LOOKS 5

enum role { ROLE_PEER, ROLE_CLIENT, ROLE_CLIENT_HTTP, ROLE_CLIENT_GRPC, ROLE_METRICS };

struct door {
    struct doors *doors;
    enum role role;
    const struct url *url;
    char *address; /* "127.0.0.1:2379", or the path of a unix socket */
    struct http_server *http;
    struct net_listener *listener; /* NULL once it is closing */
};

struct doors {
    struct net_loop *loop;
    struct env *env;
    struct log *log;
    const struct options *options;
    struct api *api;
    struct door **items;
    size_t count;
    struct net_quota client_quota, peer_quota, metrics_quota;

    struct env_timer memory_look;
    uint64_t seen_closed;
    int looks_left;

    size_t closing; /* doors whose end is awaited */
    void (*closed)(void *context);
    void *context;
};

static void look_at_memory(struct env_timer *timer) {
    struct doors *self = CONTAINER_OF(timer, struct doors, memory_look);
    env_timer_start(self->env, timer, MEMORY_LOOK_NS);
    if (self->client_quota.closed != self->seen_closed) self->looks_left = MEMORY_LOOKS;
    self->seen_closed = self->client_quota.closed;
    if (self->looks_left == 0) return;
    self->looks_left--;
    os_memory_trim(IDLE_MEMORY_MAX_BYTES);
}

struct doors *doors_new(struct net_loop *loop, struct env *env, const struct options *options) {
    struct doors *self = NEW(struct doors);
    *self = (struct doors){.loop = loop, .env = env, .log = env_log(env), .options = options};
    net_quota_init(&self->client_quota, SIZE_MAX);
    net_quota_init(&self->peer_quota, PEER_CONNECTIONS_MAX);
    net_quota_init(&self->metrics_quota, METRICS_CONNECTIONS_MAX);
    self->memory_look.callback = look_at_memory;
    return self;
}

void doors_free(struct doors *self) {
    if (self == NULL) return;
    env_timer_stop(self->env, &self->memory_look);
    for (size_t i = 0; i < self->count; i++) {
        http_server_free(self->items[i]->http);
        mem_free(self->items[i]->address);
        mem_free(self->items[i]);
    }
    mem_free(self->items);
    mem_free(self);
}

void doors_set_api(struct doors *self, struct api *api) { self->api = api; }

/* ---- requests ---- */

static const struct http_header plain_headers[] = {HTTP_HEADER("content-type", "text/plain; charset=utf-8"),
                                                   HTTP_HEADER("x-content-type-options", "nosniff")};

static void not_found(struct http_request *request) {
    http_reply_full(request, 404, plain_headers, 2, SLICE_LITERAL("404 page not found\n"));
}

/* ---- the host whitelist, against DNS rebinding ---- */

static struct slice host_of(struct slice authority) {
    size_t len = authority.len;
    const uint8_t *at = authority.data;
    if (len > 0 && at[0] == '[') {
        const uint8_t *end = memchr(at, ']', len);
        return end != NULL ? slice_make(at + 1, (size_t)(end - at) - 1) : authority;
    }
    const uint8_t *colon = memrchr(at, ':', len);
    bool has_port = colon != NULL && memchr(at, ':', len) == colon;
    return has_port ? slice_make(at, (size_t)(colon - at)) : authority;
}

static bool is_host_allowed(const struct texts *whitelist, struct slice host) {
    if (whitelist->count == 0) return true;
    for (size_t i = 0; i < whitelist->count; i++) {
        const char *allowed = whitelist->items[i];
        if (strcmp(allowed, "*") == 0 || slice_equal_cstr(host, allowed)) return true;
    }
    return false;
}

/* The text is etcd's: people look it up. */
static void refuse_host(struct doors *self, struct http_request *request, struct slice host) {
    log_warn(self->log, "rejecting HTTP request to prevent DNS rebinding attacks", LOG_SLICE("host", host));
    struct buf body = BUF_INIT;
    buf_append_cstr(&body, "\netcd received your request, but the Host header was unrecognized.\n\n"
                           "To fix this, choose one of the following options:\n"
                           "- Enable TLS, then any HTTPS request will be allowed.\n"
                           "- Add the hostname you want to use to the whitelist in settings.\n"
                           "  - e.g. etcd --host-whitelist ");
    go_append_quoted(&body, host);
    buf_append_cstr(&body, "\n\nThis requirement has been added to help prevent \"DNS Rebinding\" attacks "
                           "(CVE-2018-5702).\n\n");
    http_reply_full(request, 421, plain_headers, 2, buf_slice(&body));
    buf_release(&body);
}

static void handle_client_http(struct doors *self, struct http_request *request) {
    struct slice host = host_of(request->authority);
    if (request->is_tls || is_host_allowed(&self->options->host_whitelist, host))
        api_handle_http(self->api, request);
    else
        refuse_host(self, request, host);
}

/* ---- dispatch ---- */

static bool is_metrics_path(struct http_request *request) {
    struct slice path = http_request_path(request);
    return slice_equal_cstr(path, "/metrics") || slice_equal_cstr(path, "/health");
}

static void on_request(void *context, struct http_request *request) {
    struct door *self = context;
    struct api *api = self->doors->api;
    bool is_http2 = request->version_major == 2;
    switch (self->role) {
    case ROLE_PEER: api_handle_peer_http(api, request); break;
    case ROLE_CLIENT: /* as etcd's multiplexer: by protocol, not by content */
        if (is_http2)
            grpc_server_handle(api_grpc(api), request);
        else
            handle_client_http(self->doors, request);
        break;
    case ROLE_CLIENT_GRPC:
        if (is_http2)
            grpc_server_handle(api_grpc(api), request);
        else
            http_request_abort(request, 0);
        break;
    case ROLE_CLIENT_HTTP: handle_client_http(self->doors, request); break;
    case ROLE_METRICS:
        if (is_metrics_path(request))
            api_handle_http(api, request);
        else
            not_found(request);
        break;
    }
}

static struct http_server *new_http_server(struct door *door) {
    const struct options *o = door->doors->options;
    struct http_server_options options = {.env = door->doors->env, .on_request = on_request, .context = door};
    if (door->role != ROLE_PEER && door->role != ROLE_METRICS) {
        options.max_concurrent_streams = (uint32_t)o->max_concurrent_streams;
        options.keepalive_min_ns = o->grpc_keepalive_min_time_ns > 0 ? o->grpc_keepalive_min_time_ns : 0;
        if (o->grpc_keepalive_interval_ns > 0 && o->grpc_keepalive_timeout_ns > 0) {
            options.keepalive_interval_ns = o->grpc_keepalive_interval_ns;
            options.keepalive_timeout_ns = o->grpc_keepalive_timeout_ns;
        }
    }
    return http_server_new(&options);
}

/* ---- binding ---- */

static char *address_of(const struct url *url) {
    struct buf text = BUF_INIT;
    bool is_unix = url->scheme == URL_UNIX || url->scheme == URL_UNIXS;
    if (is_unix)
        buf_append_cstr(&text, url->host);
    else if (strchr(url->host, ':') != NULL)
        buf_printf(&text, "[%s]:%s", url->host, url->port);
    else
        buf_printf(&text, "%s:%s", url->host, url->port);
    return buf_detach_cstr(&text);
}

static struct door *find_door(struct doors *self, const char *address, bool clients_only) {
    for (size_t i = 0; i < self->count; i++) {
        bool is_client = self->items[i]->role != ROLE_PEER && self->items[i]->role != ROLE_METRICS;
        if ((is_client || !clients_only) && strcmp(self->items[i]->address, address) == 0) return self->items[i];
    }
    return NULL;
}

static enum err bind_door(struct doors *self, enum role role, const struct url *url, char *address,
                          struct errmsg *message) {
    struct door *door = NEW(struct door);
    *door = (struct door){.doors = self, .role = role, .url = url, .address = address};
    door->http = new_http_server(door);
    struct net_listener_options options = {
        .address = {.text = address, .is_unix = url->scheme == URL_UNIX || url->scheme == URL_UNIXS},
        .server = door->http,
        .quota = role == ROLE_PEER      ? &self->peer_quota
                 : role == ROLE_METRICS ? &self->metrics_quota
                                        : &self->client_quota,
        .is_held = true,
        .reuse_port = self->options->socket_reuse_port,
    };
    enum err error = net_listen(self->loop, &options, &door->listener, message);
    if (error != OK) {
        http_server_free(door->http);
        mem_free(door->address);
        mem_free(door);
        return error;
    }
    self->items = mem_realloc(self->items, (self->count + 1) * sizeof(struct door *));
    self->items[self->count++] = door;
    return OK;
}

static void tell_urls(struct log *log, const char *what, const char *key, const struct urls *urls) {
    const char **texts = NEW_ARRAY(const char *, urls->count + 1);
    for (size_t i = 0; i < urls->count; i++) texts[i] = urls->items[i].text;
    log_info(log, what, LOG_STRINGS(key, texts, urls->count));
    mem_free(texts);
}

enum err doors_bind_peers(struct doors *self, struct errmsg *message) {
    const struct urls *urls = &self->options->listen_peer_urls;
    if (self->options->socket_reuse_address || self->options->socket_reuse_port)
        log_info(self->log, "configuring socket options",
                 LOG_BOOL("reuse-address", self->options->socket_reuse_address),
                 LOG_BOOL("reuse-port", self->options->socket_reuse_port));
    tell_urls(self->log, "configuring peer listeners", "listen-peer-urls", urls);
    TRY(unbuilt_check_tls(self->options, true, self->log, message));
    for (size_t i = 0; i < urls->count; i++) {
        enum err error = bind_door(self, ROLE_PEER, &urls->items[i], address_of(&urls->items[i]), message);
        if (error == OK) continue;
        log_error(self->log, "creating peer listener failed", LOG_STRING("error", message->text));
        return error;
    }
    return OK;
}

static void limit_connections(struct doors *self) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    if (limit.rlim_cur <= RESERVED_DESCRIPTORS) {
        log_fatal(self->log, "file descriptor limit of etcd process is too low; please set higher",
                  LOG_UINT("limit", limit.rlim_cur), LOG_INT("recommended-limit", RESERVED_DESCRIPTORS));
        exit(EXIT_FAILURE);
    }
    self->client_quota.max = limit.rlim_cur - RESERVED_DESCRIPTORS;
}

enum err doors_bind_clients(struct doors *self, struct errmsg *message) {
    const struct options *o = self->options;
    const struct urls *urls = &o->listen_client_urls, *http_urls = &o->listen_client_http_urls;
    tell_urls(self->log, "configuring client listeners", "listen-client-urls", urls);
    TRY(unbuilt_check_tls(o, false, self->log, message));
    limit_connections(self);
    for (size_t i = 0; i < urls->count; i++) {
        char *address = address_of(&urls->items[i]);
        if (find_door(self, address, true) != NULL) /* given twice */
            mem_free(address);
        else
            TRY(bind_door(self, http_urls->count > 0 ? ROLE_CLIENT_GRPC : ROLE_CLIENT, &urls->items[i], address,
                          message));
    }
    for (size_t i = 0; i < http_urls->count; i++) {
        char *address = address_of(&http_urls->items[i]);
        struct door *there = find_door(self, address, true);
        if (there == NULL) {
            TRY(bind_door(self, ROLE_CLIENT_HTTP, &http_urls->items[i], address, message));
            continue;
        }
        mem_free(address);
        if (there->role != ROLE_CLIENT_HTTP)
            return err_set(message, ERR_INVALID,
                           "cannot bind both --client-listen-urls and --client-listen-http-urls on the same url %s",
                           http_urls->items[i].text);
    }
    return OK;
}

/* ---- opening ---- */

void doors_open_peers(struct doors *self) {
    for (size_t i = 0; i < self->count; i++) {
        struct door *door = self->items[i];
        if (door->role != ROLE_PEER || door->listener == NULL) continue;
        log_info(self->log, "serving peer traffic", LOG_STRING("address", door->address));
        net_listener_open(door->listener);
    }
}

void doors_open_clients(struct doors *self) {
    env_timer_start(self->env, &self->memory_look, MEMORY_LOOK_NS);
    for (size_t i = 0; i < self->count; i++) {
        struct door *door = self->items[i];
        if (door->role == ROLE_PEER || door->role == ROLE_METRICS || door->listener == NULL) continue;
        const char *traffic = door->role == ROLE_CLIENT        ? "grpc+http"
                              : door->role == ROLE_CLIENT_GRPC ? "grpc"
                                                               : "http";
        log_info(self->log, "serving client traffic insecurely; this is strongly discouraged!",
                 LOG_STRING("traffic", traffic), LOG_STRING("address", door->address));
        net_listener_open(door->listener);
    }
}

enum err doors_open_metrics(struct doors *self, struct errmsg *message) {
    const struct urls *urls = &self->options->listen_metrics_urls;
    for (size_t i = 0; i < urls->count; i++) {
        TRY(bind_door(self, ROLE_METRICS, &urls->items[i], address_of(&urls->items[i]), message));
        log_info(self->log, "serving metrics", LOG_STRING("address", urls->items[i].text));
        net_listener_open(self->items[self->count - 1]->listener);
    }
    return OK;
}

/* ---- closing ---- */

static void door_closed(void *context) {
    struct doors *self = context;
    if (--self->closing == 0) self->closed(self->context);
}

static void close_doors(struct doors *self, bool peers, int64_t grace_ns) {
    self->closing = 1; /* so that doors that are gone at once do not end it early */
    for (size_t i = 0; i < self->count; i++) {
        struct door *door = self->items[i];
        if ((door->role == ROLE_PEER) != peers || door->listener == NULL) continue;
        if (peers) log_info(self->log, "stopping serving peer traffic", LOG_STRING("address", door->address));
        struct net_listener *listener = door->listener;
        door->listener = NULL;
        self->closing++;
        net_listener_shutdown(listener, grace_ns, door_closed, self);
        if (peers) log_info(self->log, "stopped serving peer traffic", LOG_STRING("address", door->address));
    }
    door_closed(self);
}

void doors_close_clients(struct doors *self, int64_t grace_ns, void (*closed)(void *context), void *context) {
    self->closed = closed;
    self->context = context;
    close_doors(self, false, grace_ns);
}

void doors_close_peers(struct doors *self, void (*closed)(void *context), void *context) {
    self->closed = closed;
    self->context = context;
    close_doors(self, true, 0);
}
