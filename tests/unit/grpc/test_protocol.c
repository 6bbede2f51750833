/* The framing layer against recordings of grpc-go: the same request bytes must give the same answer. */
#include "grpc/internal.h"
#include "http/client.h"
#include "http/server.h"

#include "../http/fake_env.h"
#include "protocol_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define RECEIVE_MAX (1572864 + GRPC_OVERHEAD_BYTES)

static const char canned[] = "\x0a\x1a the answer of the server";

/* ---- what api/ would do with these requests ---- */

static void answer(struct grpc_call *call) {
    struct slice message = grpc_call_message(call);
    if (message.len == 0)
        grpc_call_fail(call, ERR_EMPTY_KEY);
    else if (slice_equal(message, slice_make("\x0a\x03", 2)))
        grpc_call_fail_text(call, GRPC_INTERNAL, "grpc: error unmarshalling request: unexpected EOF");
    else if (message.len > 1572864)
        grpc_call_fail(call, ERR_REQUEST_TOO_LARGE);
    else
        grpc_call_reply(call, SLICE_LITERAL(canned));
}

static void watch(struct grpc_call *call) {}
static void watch_message(struct grpc_call *call, struct slice message) { grpc_call_send(call, SLICE_LITERAL(canned)); }
static void watch_cancel(struct grpc_call *call) { grpc_call_fail(call, ERR_CONTEXT_CANCELED); }

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.KV/Range", .on_call = answer},
    {.path = "/etcdserverpb.KV/Put", .on_call = answer},
    {.path = "/etcdserverpb.Watch/Watch",
     .client_stream = true,
     .server_stream = true,
     .on_call = watch,
     .on_message = watch_message,
     .on_cancel = watch_cancel},
};

/* ---- one request over a new connection ---- */

struct result {
    struct buf answer;
    struct buf trailers;
    struct buf body;
    bool is_closed;
};

static int by_name(const void *a, const void *b) {
    return slice_compare(((const struct http_header *)a)->name, ((const struct http_header *)b)->name);
}

static void on_headers(void *context, int status, const struct http_header *headers, size_t count) {
    struct result *result = context;
    struct http_header sorted[16];
    assert_true(count <= 16);
    memcpy(sorted, headers, count * sizeof *headers);
    if (status != 0) qsort(sorted, count, sizeof *sorted, by_name);
    struct buf *out = status != 0 ? &result->answer : &result->trailers;
    if (status != 0) buf_printf(out, "status: %d\n", status);
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%.*s: %.*s\n", (int)sorted[i].name.len, (const char *)sorted[i].name.data,
                   (int)sorted[i].value.len, (const char *)sorted[i].value.data);
}

static void on_data(void *context, struct slice bytes) { buf_append_slice(&((struct result *)context)->body, bytes); }
static void on_close(void *context, enum http_close why, uint32_t code) {
    ((struct result *)context)->is_closed = why == HTTP_CLOSE_DONE;
}
static const struct http_exchange_handler exchange_handler = {on_headers, on_data, on_close, NULL};

static void conn_flush(struct http_conn_owner *owner) {}
static void client_flush(struct http_client_owner *owner) {}
static void on_request(void *context, struct http_request *request) { grpc_server_handle(context, request); }

static size_t make_headers(const struct protocol_case *test, struct http_header *headers) {
    size_t count = 0;
    headers[count++] = (struct http_header){SLICE_LITERAL(":method"), slice_from_cstr(test->method)};
    headers[count++] = (struct http_header){SLICE_LITERAL(":scheme"), SLICE_LITERAL("http")};
    headers[count++] = (struct http_header){SLICE_LITERAL(":path"), slice_from_cstr(test->path)};
    headers[count++] = (struct http_header){SLICE_LITERAL(":authority"), SLICE_LITERAL("localhost")};
    const char *line = test->headers;
    for (size_t i = 0; i < test->header_count; i++) {
        const char *colon = strstr(line, ": "), *end = strchr(line, '\n');
        headers[count++] = (struct http_header){slice_make(line, (size_t)(colon - line)),
                                                slice_make(colon + 2, (size_t)(end - colon - 2))};
        line = end + 1;
    }
    return count;
}

static void make_body(const struct protocol_case *test, struct buf *body) {
    if (test->big == 0) {
        buf_append(body, test->body, test->body_bytes);
        return;
    }
    struct buf message = BUF_INIT;
    buf_append(&message,
               "\x0a\x03"
               "big\x12",
               6);
    buf_append_varint(&message, test->big);
    memset(buf_extend(&message, test->big), 'x', test->big);
    const uint8_t prefix[5] = {0, (uint8_t)(message.len >> 24), (uint8_t)(message.len >> 16),
                               (uint8_t)(message.len >> 8), (uint8_t)message.len};
    buf_append(body, prefix, sizeof prefix);
    buf_append_slice(body, buf_slice(&message));
    buf_release(&message);
}

static void play(const struct protocol_case *test, size_t cut, struct result *result) {
    struct fake_env env;
    fake_env_init(&env);
    env.tick_ns = 1;
    struct grpc_server_options grpc_options = {.env = &env.env, .receive_max_bytes = RECEIVE_MAX};
    struct grpc_server *grpc = grpc_server_new(&grpc_options);
    grpc_server_add(grpc, methods, sizeof methods / sizeof *methods, NULL);
    struct http_server_options options = {.env = &env.env, .on_request = on_request, .context = grpc};
    struct http_server *server = http_server_new(&options);
    struct http_conn_owner conn_owner = {conn_flush};
    struct http_conn_info info = {.peer = "p"};
    struct http_conn *conn = http_conn_new(server, &conn_owner, &info);
    struct http_client_owner client_owner = {client_flush};
    struct http_client_options client_options = {.env = &env.env};
    struct http_client *client = http_client_new(&client_options, &client_owner);

    struct http_header headers[16];
    size_t count = make_headers(test, headers);
    struct http_exchange *exchange =
        http_client_start(client, headers, count, test->ends_with_headers, &exchange_handler, result);
    struct buf body = BUF_INIT, wire = BUF_INIT;
    make_body(test, &body);
    if (!test->ends_with_headers) http_exchange_write(exchange, buf_slice(&body), true);
    bool is_moving = true;
    while (is_moving) {
        is_moving = http_client_produce(client, &wire, 1 << 20) || wire.len != 0;
        for (size_t from = 0; from < wire.len; from += cut)
            http_conn_receive(conn, slice_make(wire.data + from, wire.len - from < cut ? wire.len - from : cut));
        buf_clear(&wire);
        fake_env_advance(&env, 2);
        is_moving |= http_conn_produce(conn, &wire, 1 << 20) || wire.len != 0;
        http_client_receive(client, buf_slice(&wire));
        buf_clear(&wire);
    }
    bool is_closed = result->is_closed;
    http_client_free(client);
    http_conn_free(conn);
    http_server_free(server);
    grpc_server_free(grpc);
    assert_true(fake_env_release(&env));
    buf_release(&body);
    buf_release(&wire);
    result->is_closed = is_closed;
}

static void check_message(const struct protocol_case *test, struct result *result) {
    if (test->message_flag < 0) {
        assert_int_equal(result->body.len, 0);
        return;
    }
    assert_true(result->body.len > GRPC_PREFIX_BYTES);
    assert_int_equal(result->body.data[0], test->message_flag);
    struct slice message = slice_from(buf_slice(&result->body), GRPC_PREFIX_BYTES);
    struct buf plain = BUF_INIT;
    const char *problem;
    if (test->message_flag == 1) {
        assert_int_equal(grpc__gunzip(message, 1000, &plain, &problem), OK);
        message = buf_slice(&plain);
    }
    assert_true(slice_equal(message, SLICE_LITERAL(canned)));
    buf_release(&plain);
}

static void play_all(size_t cut) {
    for (size_t i = 0; i < sizeof protocol_cases / sizeof *protocol_cases; i++) {
        const struct protocol_case *test = &protocol_cases[i];
        if (test->big != 0 && cut < 1000) continue;
        struct result result = {0};
        play(test, cut, &result);
        const char *answer = buf_cstr(&result.answer), *trailers = buf_cstr(&result.trailers);
        if (strcmp(answer, test->answer) != 0 || strcmp(trailers, test->trailers) != 0)
            print_error("case %zu: %s\n", i, test->name);
        assert_string_equal(answer, test->answer);
        assert_string_equal(trailers, test->trailers);
        check_message(test, &result);
        buf_release(&result.answer);
        buf_release(&result.trailers);
        buf_release(&result.body);
    }
}

static void answers_are_those_of_grpc_go(void **state) { play_all(1 << 20); }

static void cuts_of_the_input_change_nothing(void **state) {
    for (size_t cut = 1; cut <= 16; cut++) play_all(cut);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_grpc_go),
        cmocka_unit_test(cuts_of_the_input_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
