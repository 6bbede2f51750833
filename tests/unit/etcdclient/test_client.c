/* The library as its users see it, over real sockets to a server of our own machines in a second thread. */
#include "base/check.h"
#include "base/mem.h"
#include "etcd/client.h"
#include "grpc/call.h"
#include "grpc/server.h"
#include "net/listener.h"
#include "os/os.h"
#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the server: answers Range at once, Put never ---- */

static struct {
    pthread_t thread;
    struct os_world *world;
    struct net_loop *loop;
    struct http_server *http;
    struct grpc_server *grpc;
    struct net_listener *tcp, *local;
    struct env_job stop;
    int open_listeners;
    char tcp_endpoint[64], directory[64], socket_path[128], local_endpoint[160];
} server;

static void on_range(struct grpc_call *call) {
    Etcdserverpb__RangeRequest *request =
        pb_unpack(&etcdserverpb__range_request__descriptor, grpc_call_message(call), grpc_call_arena(call));
    Etcdserverpb__RangeResponse response = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    response.count = request->limit;
    grpc_call_reply(call, pb_pack_arena(&response, grpc_call_arena(call)));
}
static void on_put(struct grpc_call *call) {}
static void on_put_canceled(struct grpc_call *call) { grpc_call_fail(call, ERR_CONTEXT_CANCELED); }

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.KV/Range", .on_call = on_range},
    {.path = "/etcdserverpb.KV/Put", .on_call = on_put, .on_cancel = on_put_canceled},
};

static void on_request(void *context, struct http_request *request) { grpc_server_handle(server.grpc, request); }
static int64_t on_turn(void *context) { return os_world_turn(server.world); }

static void on_listener_closed(void *context) {
    if (--server.open_listeners == 0) net_loop_stop(server.loop);
}
static void on_stop(struct env_job *job) {
    net_listener_shutdown(server.tcp, 0, on_listener_closed, NULL);
    net_listener_shutdown(server.local, 0, on_listener_closed, NULL);
}

static void *run_server(void *context) {
    net_loop_run(server.loop);
    return NULL;
}

static void listen_on(const char *text, bool is_unix, struct net_listener **listener) {
    struct net_listener_options options = {.address = {.text = text, .is_unix = is_unix}, .server = server.http};
    struct errmsg message;
    CHECK(net_listen(server.loop, &options, listener, &message) == OK);
    server.open_listeners++;
}

static int start_server(void **state) {
    server.world = os_world_new(NULL);
    server.loop = net_loop_new();
    os_world_set_wake(server.world, net_loop_wake_callback, server.loop);
    net_loop_set_turn_hook(server.loop, on_turn, NULL);
    struct env *env = os_world_env(server.world);
    server.http = http_server_new(&(struct http_server_options){.env = env, .on_request = on_request});
    server.grpc = grpc_server_new(&(struct grpc_server_options){.env = env, .receive_max_bytes = 1024 * 1024});
    grpc_server_add(server.grpc, methods, 2, NULL);
    listen_on("127.0.0.1:0", false, &server.tcp);
    snprintf(server.tcp_endpoint, sizeof(server.tcp_endpoint), "http://127.0.0.1:%d", net_listener_port(server.tcp));
    snprintf(server.directory, sizeof(server.directory), "/tmp/etcdclient-XXXXXX");
    CHECK(mkdtemp(server.directory) != NULL);
    snprintf(server.socket_path, sizeof(server.socket_path), "%s/socket", server.directory);
    snprintf(server.local_endpoint, sizeof(server.local_endpoint), "unix://%s", server.socket_path);
    listen_on(server.socket_path, true, &server.local);
    server.stop.done = on_stop;
    return pthread_create(&server.thread, NULL, run_server, NULL);
}

static int stop_server(void **state) {
    env_post(os_world_env(server.world), &server.stop);
    pthread_join(server.thread, NULL);
    net_loop_free(server.loop);
    grpc_server_free(server.grpc);
    http_server_free(server.http);
    os_world_free(server.world);
    unlink(server.socket_path);
    rmdir(server.directory);
    return 0;
}

/* ---- tests ---- */

static struct etcd_client *connect_to(const char *first, const char *second) {
    const char *endpoints[] = {first, second};
    struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
    options.endpoints = endpoints;
    options.endpoint_count = second == NULL ? 1 : 2;
    struct etcd_client *client = etcd_client_new(&options, NULL);
    assert_non_null(client);
    return client;
}

static void assert_range(struct etcd_client *client, int64_t number) {
    struct etcd_range_response *response;
    struct etcd_error error;
    assert_int_equal(etcd_range(client, &(struct etcd_range_request){.limit = number}, &response, &error), ETCD_OK);
    assert_int_equal(response->count, number);
    etcd_free(response);
}

static void test_calls_that_wait(void **state) {
    struct etcd_client *client = connect_to(server.tcp_endpoint, NULL);
    assert_string_equal(etcd_client_endpoint(client), "");
    for (int64_t i = 0; i < 100; i++) assert_range(client, i);
    assert_string_equal(etcd_client_endpoint(client), server.tcp_endpoint);
    assert_int_equal(etcd_range(client, &(struct etcd_range_request){0}, NULL, NULL), ETCD_OK);
    etcd_client_free(client);
}

static void test_a_unix_socket(void **state) {
    struct etcd_client *client = connect_to(server.local_endpoint, NULL);
    assert_range(client, 7);
    etcd_client_free(client);
}

static void test_the_second_endpoint_when_the_first_is_dead(void **state) {
    struct etcd_client *client = connect_to("127.0.0.1:1", server.tcp_endpoint);
    assert_range(client, 7);
    assert_string_equal(etcd_client_endpoint(client), server.tcp_endpoint);
    etcd_client_free(client);
}

// A call to a dead endpoint lasts as long as its time-out; what it then says of the connection must have been seen by
// then, on the slowest machine that runs this under a sanitizer.
enum { TIME_TO_BE_REFUSED_MS = 1000 };

static void test_nobody_there(void **state) {
    struct etcd_client *client = connect_to("127.0.0.1:1", NULL);
    etcd_client_set_command_timeout(client, TIME_TO_BE_REFUSED_MS);
    struct etcd_error error;
    assert_int_equal(etcd_put(client, &(struct etcd_put_request){0}, NULL, &error), ETCD_DEADLINE_EXCEEDED);
    assert_string_equal(error.text, "context deadline exceeded");
    assert_string_equal(error.detail, "latest balancer error: connection error: desc = \"transport: Error while "
                                      "dialing: dial tcp 127.0.0.1:1: connect: connection refused\"");
    etcd_client_free(client);
}

static void test_a_socket_that_is_not_there(void **state) {
    struct etcd_client *client = connect_to("unix:///nowhere/socket", NULL);
    etcd_client_set_command_timeout(client, TIME_TO_BE_REFUSED_MS);
    struct etcd_error error;
    assert_int_equal(etcd_put(client, &(struct etcd_put_request){0}, NULL, &error), ETCD_DEADLINE_EXCEEDED);
    assert_non_null(strstr(error.detail, "dial unix /nowhere/socket: "));
    etcd_client_free(client);
}

static void test_an_answer_that_does_not_come(void **state) {
    struct etcd_client *client = connect_to(server.tcp_endpoint, NULL);
    etcd_client_set_command_timeout(client, 20);
    struct etcd_error error;
    assert_int_equal(etcd_put(client, &(struct etcd_put_request){0}, NULL, &error), ETCD_DEADLINE_EXCEEDED);
    assert_string_equal(error.text, "context deadline exceeded");
    etcd_client_set_command_timeout(client, 60000);
    assert_range(client, 1);
    etcd_client_free(client);
}

static void test_raw_calls_and_unknown_methods(void **state) {
    struct etcd_client *client = connect_to(server.tcp_endpoint, NULL);
    struct etcd_raw_response *response;
    struct etcd_error error;
    assert_int_equal(etcd_call_raw(client, "/etcdserverpb.KV/Range", etcd_bytes_of("\x18\x05", 2), &response, &error),
                     ETCD_OK);
    assert_int_equal(response->message.len, 2);
    assert_memory_equal(response->message.data, "\x20\x05", 2);
    etcd_free(response);
    assert_int_equal(etcd_call_raw(client, "/no.Such/Thing", etcd_text(""), &response, &error), ETCD_UNIMPLEMENTED);
    struct etcd_stream *stream = etcd_stream_open(client, "/etcdserverpb.KV/Range");
    etcd_stream_send(stream, etcd_bytes_of("\x18\x06", 2));
    etcd_stream_close_send(stream);
    assert_int_equal(etcd_stream_next(stream, -1, &response, &error), ETCD_OK);
    assert_memory_equal(response->message.data, "\x20\x06", 2);
    etcd_free(response);
    assert_int_equal(etcd_stream_next(stream, -1, &response, &error), ETCD_OK);
    assert_null(response);
    etcd_stream_close(stream);
    stream = etcd_stream_open(client, "/etcdserverpb.KV/Put");
    etcd_stream_send(stream, etcd_text(""));
    assert_int_equal(etcd_stream_next(stream, 10, &response, &error), ETCD_DEADLINE_EXCEEDED);
    assert_string_equal(error.text, "");
    assert_int_equal(etcd_stream_next(stream, 0, &response, &error), ETCD_DEADLINE_EXCEEDED);
    etcd_stream_close(stream);
    etcd_client_free(client);
}

struct counter {
    struct etcd_client *client;
    int started, done, failed, limit;
    bool is_chain; /* each answer begins the next call */
};

static void on_counted(void *context, void *response, const struct etcd_error *error) {
    struct counter *counter = context;
    counter->done++;
    if (error != NULL)
        counter->failed++;
    else
        assert_int_equal(((struct etcd_range_response *)response)->count, 3);
    etcd_free(response);
    if (counter->is_chain && counter->started < counter->limit) {
        counter->started++;
        etcd_call_start(counter->client, ETCD_METHOD_RANGE, &(struct etcd_range_request){.limit = 3}, on_counted,
                        counter);
    } else if (counter->done == counter->limit) {
        etcd_client_stop(counter->client);
    }
}

static void start_counted(struct counter *counter, int count) {
    for (; count > 0; count--, counter->started++)
        etcd_call_start(counter->client, ETCD_METHOD_RANGE, &(struct etcd_range_request){.limit = 3}, on_counted,
                        counter);
}

static void test_a_loop_of_the_users_own(void **state) {
    struct counter counter = {.client = connect_to(server.tcp_endpoint, NULL), .limit = 500, .is_chain = true};
    start_counted(&counter, 10);
    while (counter.done < counter.limit) {
        struct pollfd wait = {.fd = etcd_client_fd(counter.client), .events = POLLIN};
        assert_true(poll(&wait, 1, (int)etcd_client_timeout_ms(counter.client)) >= 0);
        etcd_client_run(counter.client, 0);
    }
    assert_int_equal(counter.failed, 0);
    etcd_client_free(counter.client);
}

static void test_running_until_nothing_is_left(void **state) {
    struct counter counter = {.client = connect_to(server.tcp_endpoint, NULL), .limit = -1};
    start_counted(&counter, 100);
    etcd_client_run(counter.client, -1);
    assert_int_equal(counter.done, 100);
    etcd_client_run(counter.client, -1); /* returns at once */
    etcd_client_free(counter.client);
}

static void test_stopping_from_a_callback(void **state) {
    struct counter counter = {.client = connect_to(server.tcp_endpoint, NULL), .limit = 1};
    struct etcd_watch_stream *stream = etcd_watch_open(counter.client, NULL); /* would keep it running for ever */
    start_counted(&counter, 1);
    etcd_client_run(counter.client, -1);
    assert_int_equal(counter.done, 1);
    etcd_watch_close(stream);
    etcd_client_free(counter.client);
}

static void test_running_for_a_time(void **state) {
    struct etcd_client *client = connect_to(server.tcp_endpoint, NULL);
    etcd_client_run(client, 5);
    etcd_client_run(client, 0);
    struct etcd_lease_keepalive_response renewed;
    struct etcd_keepalive *keepalive = etcd_keepalive_open(client, 1, NULL, NULL);
    assert_int_equal(etcd_keepalive_next(keepalive, 5, &renewed, NULL), ETCD_DEADLINE_EXCEEDED);
    etcd_keepalive_close(keepalive);
    etcd_client_free(client);
}

static void test_a_client_freed_with_calls_open(void **state) {
    struct counter counter = {.client = connect_to(server.tcp_endpoint, NULL)};
    etcd_call_start(counter.client, ETCD_METHOD_PUT, &(struct etcd_put_request){0}, on_counted, &counter);
    start_counted(&counter, 1);
    etcd_client_run(counter.client, 0);
    struct etcd_call *canceled =
        etcd_call_start(counter.client, ETCD_METHOD_PUT, &(struct etcd_put_request){0}, on_counted, &counter);
    etcd_call_cancel(canceled);
    etcd_client_free(counter.client);
    etcd_client_free(connect_to(server.tcp_endpoint, NULL)); /* never used */
    etcd_client_free(NULL);
    etcd_free(NULL);
}

static void test_refused_options(void **state) {
    struct etcd_error error;
    static const char *const endpoints[] = {"https://127.0.0.1:2379"};
    struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
    options.endpoints = endpoints;
    options.endpoint_count = 1;
    assert_null(etcd_client_new(&options, &error));
    assert_int_equal(error.code, ETCD_UNIMPLEMENTED);
}

static void test_prefix_ends(void **state) {
    static const struct {
        const char *prefix;
        size_t len;
        const char *end;
        size_t end_len;
    } cases[] = {
        {"a", 1, "b", 1},     {"a\xff", 2, "b", 1}, {"a\xff\xff", 3, "b", 1}, {"a\x00", 2, "a\x01", 2},
        {"\xff", 1, "\0", 1}, {"", 0, "\0", 1},     {"foo/", 4, "foo0", 4},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[8];
        struct etcd_bytes end = etcd_prefix_end(etcd_bytes_of(cases[i].prefix, cases[i].len), out);
        assert_int_equal(end.len, cases[i].end_len);
        assert_memory_equal(end.data, cases[i].end, end.len);
    }
}

static void test_code_names(void **state) {
    assert_string_equal(etcd_code_name(ETCD_OK), "OK");
    assert_string_equal(etcd_code_name(ETCD_DEADLINE_EXCEEDED), "DeadlineExceeded");
    assert_string_equal(etcd_code_name(ETCD_UNAUTHENTICATED), "Unauthenticated");
    assert_string_equal(etcd_code_name(17), "Code(17)");
    assert_string_equal(etcd_code_name(-1), "Code(-1)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_that_wait),
        cmocka_unit_test(test_a_unix_socket),
        cmocka_unit_test(test_the_second_endpoint_when_the_first_is_dead),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_a_socket_that_is_not_there),
        cmocka_unit_test(test_an_answer_that_does_not_come),
        cmocka_unit_test(test_raw_calls_and_unknown_methods),
        cmocka_unit_test(test_a_loop_of_the_users_own),
        cmocka_unit_test(test_running_until_nothing_is_left),
        cmocka_unit_test(test_stopping_from_a_callback),
        cmocka_unit_test(test_running_for_a_time),
        cmocka_unit_test(test_a_client_freed_with_calls_open),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_prefix_ends),
        cmocka_unit_test(test_code_names),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
