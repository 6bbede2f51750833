/* echo_stack.c - bench_echo's canned answer through our own http, grpc and net: what the layers cost.
 *
 *     bench_echo_stack [port]      unary /echo.Echo/Call and etcd's own /etcdserverpb.KV/Put, /etcdserverpb.KV/Range
 */
#include "grpc/server.h"
#include "net/listener.h"
#include "os/os.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t reply[] = {0x0a, 0x1a, 0x08, 0xb2, 0x98, 0xea, 0xf1, 0x94, 0x83, 0x86, 0xfc, 0xcd, 0x01, 0x10,
                                0xcd, 0xd2, 0x91, 0x8b, 0xd2, 0xb8, 0x81, 0xcf, 0x8e, 0x01, 0x18, 0x02, 0x20, 0x02};

static void answer(struct grpc_call *call) {
    memcpy(grpc_call_reserve(call, sizeof reply), reply, sizeof reply);
    grpc_call_reply_reserved(call);
}

static const struct grpc_method methods[] = {
    {.path = "/echo.Echo/Call", .on_call = answer},
    {.path = "/etcdserverpb.KV/Put", .on_call = answer},
    {.path = "/etcdserverpb.KV/Range", .on_call = answer},
};

static void on_request(void *context, struct http_request *request) { grpc_server_handle(context, request); }

static int64_t turn(void *context) { return os_world_turn(context); }

static void on_signal(void *context, int signal_number) { net_loop_stop(context); }

int main(int argc, char **argv) {
    struct os_world *world = os_world_new(NULL);
    struct net_loop *loop = net_loop_new();
    os_world_set_wake(world, net_loop_wake_callback, loop);
    net_loop_set_turn_hook(loop, turn, world);
    struct grpc_server_options grpc_options = {.env = os_world_env(world), .receive_max_bytes = 2 * 1024 * 1024};
    struct grpc_server *grpc = grpc_server_new(&grpc_options);
    grpc_server_add(grpc, methods, sizeof methods / sizeof *methods, NULL);
    struct http_server_options http_options = {.env = os_world_env(world), .on_request = on_request, .context = grpc};
    struct http_server *http = http_server_new(&http_options);
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%s", argc > 1 ? argv[1] : "21001");
    struct net_listener_options options = {.address = {.text = address}, .server = http};
    struct net_listener *listener;
    struct errmsg message;
    if (net_listen(loop, &options, &listener, &message) != OK) {
        fprintf(stderr, "bench_echo_stack: %s\n", message.text);
        return 1;
    }
    if (net_loop_on_signal(loop, SIGTERM, on_signal, loop) != OK ||
        net_loop_on_signal(loop, SIGINT, on_signal, loop) != OK)
        return 1;
    printf("listening on %s\n", address);
    fflush(stdout);
    net_loop_run(loop);
    net_listener_shutdown(listener, 0, NULL, NULL);
    net_loop_free(loop);
    http_server_free(http);
    grpc_server_free(grpc);
    os_world_free(world);
    return 0;
}
