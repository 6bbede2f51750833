/* target_socket.c - an etcd that listens somewhere: the loop of net/ and one connection. */
#include "base/list.h"
#include "base/mem.h"
#include "model/target.h"
#include "net/link.h"
#include "os/os.h"

#define TURN_NS INT64_C(50000000)

struct target_socket {
    struct target target;
    struct os_world *world;
    struct net_loop *loop;
    struct net_link *link;  /* NULL: lost */
    struct env_timer alarm; /* ends a turn in which nothing happens */
};

static struct target_socket *of(struct target *self) { return CONTAINER_OF(self, struct target_socket, target); }

static void want_flush(struct http_client_owner *owner) {
    struct target_socket *self = of(CONTAINER_OF(owner, struct target, owner));
    if (self->link != NULL) net_link_touch(self->link);
}

static void received(void *machine, struct slice bytes) {
    grpc_client_receive(((struct target_socket *)machine)->target.client, bytes);
}
static bool produce(void *machine, struct buf *output, size_t budget_bytes) {
    return grpc_client_produce(((struct target_socket *)machine)->target.client, output, budget_bytes);
}
static bool is_finished(void *machine) {
    return http_client_is_finished(grpc_client_http(((struct target_socket *)machine)->target.client));
}
static void closed(void *machine, enum err reason) {
    struct target_socket *self = machine;
    self->link = NULL;
    grpc_client_free(TAKE(self->target.client));
}
static const struct net_machine machine_table = {
    .receive = received, .produce = produce, .is_finished = is_finished, .closed = closed};

static void awake(struct env_timer *timer) {}

static int64_t world_turn(void *context) { return os_world_turn(context); }

static bool turn(struct target *target, bool is_waiting) {
    struct target_socket *self = of(target);
    if (is_waiting && !env_timer_is_running(&self->alarm)) {
        env_timer_start(target->env, &self->alarm, TURN_NS);
        net_loop_wake(self->loop); /* it asks for timers in a turn only */
    }
    net_loop_turn(self->loop, is_waiting);
    return self->link != NULL;
}

static void free_socket(struct target *target) {
    struct target_socket *self = of(target);
    env_timer_stop(target->env, &self->alarm);
    if (self->link != NULL) net_link_close(self->link);
    while (self->link != NULL) net_loop_turn(self->loop, true);
    net_loop_free(self->loop);
    os_world_free(self->world);
    mem_free(self);
}

static const struct target_ops ops = {.turn = turn, .free = free_socket};

struct target *target_socket_open(const char *address) {
    struct target_socket *self = NEW(struct target_socket);
    self->alarm.callback = awake;
    self->target.ops = &ops;
    self->target.owner.want_flush = want_flush;
    self->world = os_world_new(NULL);
    self->target.env = os_world_env(self->world);
    self->loop = net_loop_new();
    os_world_set_wake(self->world, net_loop_wake_callback, self->loop);
    net_loop_set_turn_hook(self->loop, world_turn, self->world);
    struct grpc_client_options options = {.env = self->target.env, .authority = address};
    self->target.client = grpc_client_new(&options, &self->target.owner);
    if (net_dial(self->loop, (struct net_address){.text = address}, &machine_table, self, &self->link) != OK) {
        grpc_client_free(TAKE(self->target.client));
        self->link = NULL;
    }
    return &self->target;
}
