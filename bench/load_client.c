/* load_client.c - a closed loop of one unary call over many connections and streams, for measuring the wire.
 *
 *     bench_load_client [-p port] [-c connections] [-s streams] [-t seconds] [-b message_bytes] [-P server_pid] [path]
 *
 * Prints calls per second, percentiles of the round trip, and the CPU seconds per 100,000 calls of this program and,
 * when its pid is given, of the server.
 */
#include "base/mem.h"
#include "grpc/client.h"
#include "net/link.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define NS_PER_SECOND 1e9
#define BUCKETS_PER_DOUBLING 32
#define BUCKETS (40 * BUCKETS_PER_DOUBLING)

struct load {
    struct env *env;
    struct net_loop *loop;
    const char *path;
    struct slice message;
    size_t streams;
    size_t open_links;
    size_t calls;
    size_t failures;
    size_t histogram[BUCKETS];
    bool is_measuring;
    bool is_stopping;
    struct os_world *world;
};

struct connection {
    struct load *load;
    struct net_link *link;
    struct grpc_client *client;
    struct http_client_owner owner;
};

struct slot {
    struct connection *connection;
    int64_t started_ns;
};

/* Logarithmic buckets: the exponent and the next five bits. */
static size_t bucket_of(int64_t ns) {
    uint64_t value = ns < BUCKETS_PER_DOUBLING ? BUCKETS_PER_DOUBLING : (uint64_t)ns;
    int exponent = 63 - __builtin_clzll(value);
    size_t bucket = (size_t)(exponent - 5) * BUCKETS_PER_DOUBLING + (value >> (exponent - 5)) - BUCKETS_PER_DOUBLING;
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double bucket_us(size_t bucket) {
    size_t exponent = bucket / BUCKETS_PER_DOUBLING, part = bucket % BUCKETS_PER_DOUBLING;
    return (double)((uint64_t)(BUCKETS_PER_DOUBLING + part) << exponent) / 1000;
}

static void start_call(struct slot *slot);

static void on_message(void *context, struct slice message) {}

static void on_status(void *context, const struct grpc_status *status) {
    struct slot *slot = context;
    struct load *load = slot->connection->load;
    if (load->is_measuring) {
        load->calls++;
        load->histogram[bucket_of(env_now_ns(load->env) - slot->started_ns)]++;
        if (status->code != GRPC_OK && load->failures++ == 0)
            fprintf(stderr, "first failure: %d %.*s\n", status->code, (int)status->text.len,
                    (const char *)status->text.data);
    }
    if (!load->is_stopping && status->from_server) start_call(slot);
}

static const struct grpc_client_handler handler = {.on_message = on_message, .on_status = on_status};

static void start_call(struct slot *slot) {
    struct load *load = slot->connection->load;
    struct grpc_client_call_options options = {.path = load->path, .handler = &handler, .context = slot};
    slot->started_ns = env_now_ns(load->env);
    grpc_client_unary(slot->connection->client, &options, load->message);
}

static void want_flush(struct http_client_owner *owner) {
    struct connection *self = CONTAINER_OF(owner, struct connection, owner);
    net_link_touch(self->link);
}

static void receive(void *machine, struct slice bytes) {
    grpc_client_receive(((struct connection *)machine)->client, bytes);
}

static bool produce(void *machine, struct buf *output, size_t budget_bytes) {
    return grpc_client_produce(((struct connection *)machine)->client, output, budget_bytes);
}

static bool is_finished(void *machine) {
    return http_client_is_finished(grpc_client_http(((struct connection *)machine)->client));
}

static void closed(void *machine, enum err reason) {
    struct connection *self = machine;
    if (reason != OK) fprintf(stderr, "connection closed: %s\n", err_text(reason));
    grpc_client_free(self->client);
    self->load->open_links--;
}

static const struct net_machine machine = {
    .receive = receive, .produce = produce, .is_finished = is_finished, .closed = closed};

static int64_t turn(void *context) { return os_world_turn(((struct load *)context)->world); }

static double process_cpu_seconds(long pid) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    double seconds = 0;
    char *rest = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
    unsigned long user, system;
    if (rest != NULL && sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
        seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    fclose(file);
    return seconds;
}

static void run_for(struct load *load, double seconds) {
    int64_t end_ns = env_now_ns(load->env) + (int64_t)(seconds * NS_PER_SECOND);
    while (env_now_ns(load->env) < end_ns && load->open_links != 0) net_loop_turn(load->loop, true);
}

static double percentile_us(const struct load *load, double part) {
    size_t wanted = (size_t)((double)load->calls * part), seen = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        if ((seen += load->histogram[i]) > wanted) return bucket_us(i);
    return 0;
}

int main(int argc, char **argv) {
    const char *port = "21000";
    size_t connections = 50, streams = 10, message_bytes = 64;
    double seconds = 3;
    long pid = 0;
    int letter;
    while ((letter = getopt(argc, argv, "p:c:s:t:b:P:")) != -1) {
        if (letter == 'p')
            port = optarg;
        else if (letter == 'c')
            connections = strtoul(optarg, NULL, 10);
        else if (letter == 's')
            streams = strtoul(optarg, NULL, 10);
        else if (letter == 't')
            seconds = strtod(optarg, NULL);
        else if (letter == 'b')
            message_bytes = strtoul(optarg, NULL, 10);
        else if (letter == 'P')
            pid = strtol(optarg, NULL, 10);
        else
            return 2;
    }
    struct load load = {.path = optind < argc ? argv[optind] : "/etcdserverpb.KV/Put", .streams = streams};
    /* A PutRequest{key} of that many bytes: 0x0a, length, key. */
    struct buf message = BUF_INIT;
    buf_append_byte(&message, 0x0a);
    buf_append_varint(&message, message_bytes);
    memset(buf_extend(&message, message_bytes), 'k', message_bytes);
    load.message = buf_slice(&message);
    load.world = os_world_new(NULL);
    load.env = os_world_env(load.world);
    load.loop = net_loop_new();
    net_loop_set_turn_hook(load.loop, turn, &load);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
    struct connection *all = NEW_ARRAY(struct connection, connections);
    struct slot *slots = NEW_ARRAY(struct slot, connections * streams);
    for (size_t i = 0; i < connections; i++) {
        struct connection *self = &all[i];
        self->load = &load;
        self->owner.want_flush = want_flush;
        if (net_dial(load.loop, (struct net_address){.text = address}, &machine, self, &self->link) != OK) return 1;
        struct grpc_client_options options = {.env = load.env, .authority = address};
        self->client = grpc_client_new(&options, &self->owner);
        load.open_links++;
        for (size_t k = 0; k < streams; k++) {
            slots[i * streams + k].connection = self;
            start_call(&slots[i * streams + k]);
        }
    }
    run_for(&load, 0.3);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double server_before = process_cpu_seconds(pid);
    int64_t begin_ns = env_now_ns(load.env);
    load.is_measuring = true;
    run_for(&load, seconds);
    load.is_measuring = false;
    double took = (double)(env_now_ns(load.env) - begin_ns) / NS_PER_SECOND;
    getrusage(RUSAGE_SELF, &after);
    double lots = (double)load.calls / 100000;
    double own =
        (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
        (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) /
            1e6;
    printf("%.0f calls/s  p50 %.0f us  p99 %.0f us  failures %zu  CPU s per 100k: client %.3f  server %.3f\n",
           (double)load.calls / took, percentile_us(&load, 0.5), percentile_us(&load, 0.99), load.failures, own / lots,
           (process_cpu_seconds(pid) - server_before) / lots);
    load.is_stopping = true;
    net_loop_free(load.loop);
    os_world_free(load.world);
    buf_release(&message);
    mem_free(all);
    mem_free(slots);
    return load.failures != 0;
}
