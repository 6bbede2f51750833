/* accept.c - a request's headers become a call, or are refused in grpc-go's words (see catalog of gRPC behaviour:
 * content type 415, malformed header 400, method 405, unknown service or method 200 with UNIMPLEMENTED). */
#include "base/gotext.h"
#include "grpc/internal.h"

#include <stdio.h>

static const struct slice plain_content_type = {(const uint8_t *)"application/grpc", 16};

/* ---- registry ---- */

struct grpc_server *grpc_server_new(const struct grpc_server_options *options) {
    struct grpc_server *self = NEW(struct grpc_server);
    self->options = *options;
    map_bytes_init(&self->entries, 0);
    map_bytes_init(&self->services, 0);
    list_init(&self->calls);
    return self;
}

void grpc_server_free(struct grpc_server *self) {
    if (self == NULL) return;
    CHECK(self->call_count == 0);
    size_t index = 0;
    struct grpc__service *service;
    while ((service = map_bytes_next(&self->services, &index)) != NULL) {
        mem_free(service->name);
        mem_free(service);
    }
    for (size_t i = 0; i < self->all.count; i++) mem_free(self->all.items[i]);
    VEC_RELEASE(&self->all);
    map_bytes_release(&self->entries);
    map_bytes_release(&self->services);
    mem_free(self);
}

/* "/pkg.Service/Method": the text between the first and the last slash. */
static bool split_path(struct slice path, struct slice *ret_service, struct slice *ret_method) {
    if (path.len != 0 && path.data[0] == '/') path = slice_from(path, 1);
    const uint8_t *slash = path.len != 0 ? memrchr(path.data, '/', path.len) : NULL;
    if (slash == NULL) return false;
    size_t at = (size_t)(slash - path.data);
    *ret_service = slice_make(path.data, at);
    *ret_method = slice_from(path, at + 1);
    return true;
}

void grpc_server_add(struct grpc_server *self, const struct grpc_method *methods, size_t count, void *service) {
    for (size_t i = 0; i < count; i++) {
        struct grpc__entry *entry = NEW(struct grpc__entry);
        *entry = (struct grpc__entry){&methods[i], service};
        VEC_PUSH(&self->all, entry);
        CHECKF(map_bytes_put(&self->entries, slice_from_cstr(methods[i].path), entry) == NULL,
               "gRPC method %s added twice", methods[i].path);
        struct slice service_name, method_name;
        CHECK(split_path(slice_from_cstr(methods[i].path), &service_name, &method_name));
        if (map_bytes_get(&self->services, service_name) != NULL) continue;
        struct grpc__service *known = NEW(struct grpc__service);
        known->name = mem_alloc(service_name.len + 1);
        snprintf(known->name, service_name.len + 1, "%.*s", (int)service_name.len, (const char *)service_name.data);
        map_bytes_put(&self->services, slice_from_cstr(known->name), known);
    }
}

size_t grpc_server_open_calls(const struct grpc_server *self) { return self->call_count; }

void grpc_server_cancel_all(struct grpc_server *self, enum err error) {
    while (!list_is_empty(&self->calls)) {
        struct grpc_call *call = CONTAINER_OF(self->calls.next, struct grpc_call, link);
        list_remove(&call->link);
        if (!call->is_settled) grpc__call_settle(call, grpc_status_code(error), slice_from_cstr(err_text(error)));
    }
}

/* ---- header checks ---- */

/* "application/grpc", or with a "+name" or ";name" tail; the reply says "+name". */
static bool check_content_type(struct grpc_call *call, struct slice value) {
    if (!slice_starts_with(value, plain_content_type)) return false;
    if (value.len == plain_content_type.len) {
        call->content_type = plain_content_type;
        return true;
    }
    uint8_t mark = value.data[plain_content_type.len];
    if (mark != '+' && mark != ';') return false;
    struct slice tail = slice_from(value, plain_content_type.len + 1);
    if (tail.len == 0)
        call->content_type = plain_content_type;
    else
        call->content_type = slice_from_cstr(
            arena_printf(&call->request->arena, "application/grpc+%.*s", (int)tail.len, (const char *)tail.data));
    return true;
}

static struct slice text_with_quoted(struct arena *arena, const char *before, struct slice quoted, const char *after) {
    struct buf line = BUF_INIT;
    buf_append_cstr(&line, before);
    go_append_quoted(&line, quoted);
    buf_append_cstr(&line, after);
    struct slice kept = arena_copy(arena, buf_slice(&line));
    buf_release(&line);
    return kept;
}

static struct slice bad_metadata_text(struct arena *arena, const struct http_header *header, size_t offset) {
    struct buf line = BUF_INIT;
    buf_append_cstr(&line, "malformed binary metadata ");
    go_append_quoted(&line, header->value);
    buf_append_cstr(&line, " in header ");
    go_append_quoted(&line, header->name);
    buf_printf(&line, ": illegal base64 data at input byte %zu", offset);
    struct slice kept = arena_copy(arena, buf_slice(&line));
    buf_release(&line);
    return kept;
}

struct header_findings {
    struct slice content_type;
    struct slice encoding;
    struct slice problem; /* of the first malformed header */
    int64_t timeout_ns;   /* INT64_MAX: none */
};

static bool name_is(const struct http_header *header, const char *name, size_t len) {
    return header->name.len == len && memcmp(header->name.data, name, len) == 0;
}
#define NAME_IS(header, literal) name_is((header), (literal), sizeof(literal) - 1)

static void look_at_headers(struct http_request *request, struct header_findings *findings) {
    for (uint32_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];
        struct slice name = header->name;
        size_t bad_offset;
        struct slice problem = SLICE_NONE;
        if (NAME_IS(header, "content-type"))
            findings->content_type = header->value;
        else if (NAME_IS(header, "grpc-encoding"))
            findings->encoding = header->value;
        else if (NAME_IS(header, "grpc-timeout"))
            grpc__parse_timeout(&request->arena, header->value, &findings->timeout_ns, &problem);
        else if (name.len > 4 && memcmp(name.data + name.len - 4, "-bin", 4) == 0 &&
                 !grpc__is_base64(header->value, &bad_offset))
            problem = bad_metadata_text(&request->arena, header, bad_offset);
        if (problem.data != NULL && findings->problem.data == NULL) findings->problem = problem;
    }
}

/* ---- the call ---- */

static void on_body(struct http_request *request, struct slice bytes) { grpc__receive(request->context, bytes); }
static void on_end(struct http_request *request) { grpc__receive_end(request->context); }
static void on_cancel(struct http_request *request) { grpc__call_cancelled(request->context); }

static void on_writable(struct http_request *request) {
    struct grpc_call *call = request->context;
    if (call->is_settled || call->is_over || !call->is_dispatched) return;
    if (call->held.len != 0) grpc__receive_resume(call);
    if (!call->is_over && !call->is_settled && call->entry->method->on_drain != NULL)
        call->entry->method->on_drain(call);
}

static const struct http_request_handler request_handler = {on_body, on_end, on_cancel, on_writable};

static void on_deadline(struct env_timer *timer) {
    struct grpc_call *call = timer->context;
    grpc__call_settle(call, GRPC_DEADLINE_EXCEEDED, SLICE_LITERAL("context deadline exceeded"));
}

static void refuse_unknown(struct grpc_call *call) {
    struct http_request *request = call->request;
    struct slice service, method, text;
    if (!split_path(request->target, &service, &method))
        text = text_with_quoted(&request->arena, "malformed method name: ", request->target, "");
    else if (map_bytes_get(&call->server->services, service) == NULL)
        text = slice_from_cstr(
            arena_printf(&request->arena, "unknown service %.*s", (int)service.len, (const char *)service.data));
    else
        text = slice_from_cstr(arena_printf(&request->arena, "unknown method %.*s for service %.*s", (int)method.len,
                                            (const char *)method.data, (int)service.len, (const char *)service.data));
    grpc__call_refuse(call, 200, GRPC_UNIMPLEMENTED, text);
}

static bool check_encoding(struct grpc_call *call, struct slice encoding) {
    if (encoding.len == 0 || slice_equal(encoding, SLICE_LITERAL("identity"))) return true;
    if (slice_equal(encoding, SLICE_LITERAL("gzip"))) {
        call->uses_gzip = true;
        return true;
    }
    grpc__call_refuse(call, 200, GRPC_UNIMPLEMENTED,
                      text_with_quoted(&call->request->arena, "grpc: Decompressor is not installed for grpc-encoding ",
                                       encoding, ""));
    return false;
}

/* In grpc-go's order. False: the call has been refused. */
static bool check_request(struct grpc_call *call, const struct header_findings *findings) {
    struct http_request *request = call->request;
    struct arena *arena = &request->arena;
    if (!check_content_type(call, findings->content_type)) {
        call->content_type = plain_content_type;
        grpc__call_refuse(call, 415, GRPC_INVALID_ARGUMENT,
                          text_with_quoted(arena, "invalid gRPC request content-type ", findings->content_type, ""));
        return false;
    }
    if (findings->problem.data != NULL) {
        grpc__call_refuse(call, 400, GRPC_INTERNAL, findings->problem);
        return false;
    }
    if (!slice_equal(request->method, SLICE_LITERAL("POST"))) {
        grpc__call_refuse(call, 405, GRPC_INTERNAL,
                          text_with_quoted(arena, "Received a HEADERS frame with :method ", request->method,
                                           " which should be POST"));
        return false;
    }
    call->entry = map_bytes_get(&call->server->entries, request->target);
    if (call->entry == NULL) {
        refuse_unknown(call);
        return false;
    }
    return check_encoding(call, findings->encoding);
}

static void start_deadline(struct grpc_call *call, int64_t timeout_ns) {
    if (timeout_ns == INT64_MAX || __builtin_add_overflow(call->started_ns, timeout_ns, &call->deadline_ns)) {
        call->deadline_ns = INT64_MAX;
        return;
    }
    call->deadline.callback = on_deadline;
    call->deadline.context = call;
    env_timer_start(call->server->options.env, &call->deadline, timeout_ns);
}

void grpc_server_handle(struct grpc_server *self, struct http_request *request) {
    struct grpc_call *call = ARENA_NEW(&request->arena, struct grpc_call);
    call->server = self;
    call->request = request;
    call->deadline_ns = INT64_MAX;
    list_push_back(&self->calls, &call->link);
    self->call_count++;
    http_request_handle(request, &request_handler, call);
    struct header_findings findings = {.timeout_ns = INT64_MAX};
    look_at_headers(request, &findings);
    if (!check_request(call, &findings)) return;
    call->started_ns = env_now_ns(self->options.env);
    start_deadline(call, findings.timeout_ns);
    if (call->entry->method->client_stream) grpc__receive(call, SLICE_NONE);
}
