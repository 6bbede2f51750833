/* load.c - drives any etcd over gRPC and measures: how many calls, how long each, how much CPU on both sides.
 *
 *     bench_load OPERATION [-p port] [-c connections] [-s streams] [-t seconds] [-w warmup_seconds] [-n calls]
 *                [-k key_bytes] [-v value_bytes] [-K keys] [-r calls_per_second] [-P server_pid]
 *
 *     put          new keys, one after another        get, lget   a random key of -K, serializable / linearizable
 *     del          keys as put made them, in order    range       1,000 keys, serializable (-K says how many exist)
 *     txn          compare + put of new keys          mixed       nine lget to one put
 *     keepalive    a stream each, one lease each      watch       -c x -s watchers of a prefix, one writer (10 in
 * flight) fill         puts -n keys, then ends
 *
 * Closed loop: connections x streams calls are always under way. With -r the loop is open: calls are due at fixed
 * times, and a late one counts from when it was due. Prints one JSON object.
 */
#include "base/bytes.h"
#include "base/mem.h"
#include "base/prng.h"
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
#define KEY_DIGITS 15
#define WRITERS_OF_WATCH 10

enum operation { PUT, GET, LGET, RANGE, TXN, DEL, MIXED, KEEPALIVE, WATCH, FILL, OPERATION_COUNT };
static const char *const operation_names[OPERATION_COUNT] = {"put", "get",   "lget",      "range", "txn",
                                                             "del", "mixed", "keepalive", "watch", "fill"};

struct load {
    struct os_world *world;
    struct env *env;
    struct net_loop *loop;
    enum operation operation;
    size_t connections, streams, key_bytes, value_bytes;
    uint64_t keys, calls_wanted, next_key;
    double rate;
    int64_t next_due_ns;
    size_t open_links;
    uint64_t started, finished, failures, events;
    uint64_t histogram[BUCKETS];
    bool is_measuring, is_stopping;
    struct prng prng;
    struct buf value;
    struct buf message; /* the next request */
    struct slot *idle;  /* open loop: who has nothing to do */
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
    int64_t lease;
    struct grpc_client_call *stream;
    struct slot *next_idle;
    bool is_watcher;
};

/* ---- latency: logarithmic buckets, the exponent and the next five bits ---- */

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

static double percentile_us(const struct load *load, double part) {
    uint64_t wanted = (uint64_t)((double)load->finished * part), seen = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        if ((seen += load->histogram[i]) > wanted) return bucket_us(i);
    return 0;
}

/* ---- messages ---- */

static void append_head(struct buf *out, uint32_t field, size_t len) {
    buf_append_varint(out, (uint64_t)field << 3 | 2);
    buf_append_varint(out, len);
}

static void append_number(struct buf *out, uint32_t field, uint64_t value) {
    buf_append_varint(out, (uint64_t)field << 3);
    buf_append_varint(out, value);
}

/* "k000000000000042" and dots up to key_bytes. */
static void append_key(struct load *load, struct buf *out, uint32_t field, uint64_t number) {
    append_head(out, field, load->key_bytes);
    uint8_t *at = buf_extend(out, load->key_bytes);
    memset(at, '.', load->key_bytes);
    *at++ = 'k';
    for (int digit = KEY_DIGITS - 1; digit >= 0; digit--, number /= 10) at[digit] = (uint8_t)('0' + number % 10);
}

static size_t head_size(size_t len) { return 1 + varint_size(len) + len; }

static void append_put(struct load *load, struct buf *out, uint64_t number) {
    append_key(load, out, 1, number);
    append_head(out, 2, load->value.len);
    buf_append_slice(out, buf_slice(&load->value));
}

/* If the key was never made, put it. */
static void append_txn(struct load *load, struct buf *out, uint64_t number) {
    size_t compare = 2 + head_size(load->key_bytes) + 2;
    append_head(out, 1, compare);
    append_number(out, 2, 1); /* target CREATE; result EQUAL is 0 */
    append_key(load, out, 3, number);
    append_number(out, 5, 0);
    size_t put = head_size(load->key_bytes) + head_size(load->value.len);
    append_head(out, 2, head_size(put));
    append_head(out, 2, put);
    append_put(load, out, number);
}

static void append_range(struct load *load, struct buf *out, uint64_t first, uint64_t count, bool is_serializable) {
    append_key(load, out, 1, first);
    if (count > 1) append_key(load, out, 2, first + count);
    if (is_serializable) append_number(out, 7, 1);
}

static const char *next_message(struct load *load, enum operation operation) {
    struct buf *out = &load->message;
    buf_clear(out);
    switch (operation) {
    case PUT:
    case FILL:
    case WATCH: append_put(load, out, load->next_key++); return "/etcdserverpb.KV/Put";
    case DEL: append_key(load, out, 1, load->next_key++); return "/etcdserverpb.KV/DeleteRange";
    case TXN: append_txn(load, out, load->next_key++); return "/etcdserverpb.KV/Txn";
    case GET:
    case LGET:
        append_range(load, out, prng_below(&load->prng, load->keys), 1, operation == GET);
        return "/etcdserverpb.KV/Range";
    case RANGE:
        append_range(load, out, prng_below(&load->prng, load->keys > 1000 ? load->keys - 1000 : 1), 1000, true);
        return "/etcdserverpb.KV/Range";
    case MIXED: return next_message(load, prng_below(&load->prng, 10) == 0 ? PUT : LGET);
    default: abort();
    }
}

/* ---- calls ---- */

static void start_call(struct slot *slot);

static void count(struct slot *slot, bool failed) {
    struct load *load = slot->connection->load;
    if (!load->is_measuring) return;
    load->finished++;
    load->failures += failed;
    load->histogram[bucket_of(env_now_ns(load->env) - slot->started_ns)]++;
}

static void tell_failure(struct load *load, const struct grpc_status *status) {
    if (load->failures == 0 && !load->is_stopping)
        fprintf(stderr, "first failure: %d %.*s\n", status->code, (int)status->text.len,
                (const char *)status->text.data);
}

static void next_call(struct slot *slot) {
    struct load *load = slot->connection->load;
    if (load->is_stopping || (load->calls_wanted != 0 && load->started >= load->calls_wanted)) return;
    if (load->rate > 0) {
        slot->next_idle = load->idle;
        load->idle = slot;
    } else {
        start_call(slot);
    }
}

static void ignore_message(void *context, struct slice message) {}

static void on_status(void *context, const struct grpc_status *status) {
    struct slot *slot = context;
    if (status->code != GRPC_OK) tell_failure(slot->connection->load, status);
    count(slot, status->code != GRPC_OK);
    if (status->from_server) next_call(slot);
}

static const struct grpc_client_handler unary = {.on_message = ignore_message, .on_status = on_status};

static void start_unary(struct slot *slot, enum operation operation) {
    struct load *load = slot->connection->load;
    const char *path = next_message(load, operation);
    struct grpc_client_call_options options = {.path = path, .handler = &unary, .context = slot};
    slot->started_ns = load->rate > 0 ? load->next_due_ns : env_now_ns(load->env);
    load->started++;
    grpc_client_unary(slot->connection->client, &options, buf_slice(&load->message));
}

/* ---- keepalive: grant, then one renewal after another on a stream ---- */

static void send_keepalive(struct slot *slot) {
    struct load *load = slot->connection->load;
    buf_clear(&load->message);
    append_number(&load->message, 1, (uint64_t)slot->lease);
    slot->started_ns = env_now_ns(load->env);
    grpc_client_call_send(slot->stream, buf_slice(&load->message));
}

static void kept_alive(void *context, struct slice message) {
    struct slot *slot = context;
    count(slot, false);
    if (!slot->connection->load->is_stopping) send_keepalive(slot);
}

static void stream_ended(void *context, const struct grpc_status *status) {
    struct load *load = ((struct slot *)context)->connection->load;
    if (load->is_stopping) return;
    tell_failure(load, status);
    load->failures++;
}

static const struct grpc_client_handler keepalive = {.on_message = kept_alive, .on_status = stream_ended};

static void granted(void *context, const struct grpc_status *status) {
    struct slot *slot = context;
    if (status->code != GRPC_OK) {
        stream_ended(context, status);
        return;
    }
    struct grpc_client_call_options options = {
        .path = "/etcdserverpb.Lease/LeaseKeepAlive", .handler = &keepalive, .context = slot};
    slot->stream = grpc_client_start(slot->connection->client, &options);
    send_keepalive(slot);
}

static const struct grpc_client_handler grant = {.on_message = ignore_message, .on_status = granted};

static void start_keepalive(struct slot *slot) {
    struct load *load = slot->connection->load;
    slot->lease = (int64_t)(prng_next(&load->prng) >> 1) | 1;
    buf_clear(&load->message);
    append_number(&load->message, 1, 600);
    append_number(&load->message, 2, (uint64_t)slot->lease);
    struct grpc_client_call_options options = {
        .path = "/etcdserverpb.Lease/LeaseGrant", .handler = &grant, .context = slot};
    grpc_client_unary(slot->connection->client, &options, buf_slice(&load->message));
}

/* ---- watch ---- */

/* How many fields 11 a WatchResponse has. */
static uint64_t count_events(struct slice message) {
    const uint8_t *at = message.data, *end = at + message.len;
    uint64_t events = 0, tag, value;
    while (at < end) {
        size_t taken = varint_load(at, end, &tag);
        if (taken == 0) break;
        at += taken;
        taken = varint_load(at, end, &value);
        if (taken == 0) break;
        at += taken;
        if ((tag & 7) == 2) at += value;
        events += tag >> 3 == 11;
    }
    return events;
}

static void watched(void *context, struct slice message) {
    struct load *load = ((struct slot *)context)->connection->load;
    if (load->is_measuring) load->events += count_events(message);
}

static const struct grpc_client_handler watch = {.on_message = watched, .on_status = stream_ended};

static void start_watch(struct slot *slot) {
    struct load *load = slot->connection->load;
    struct grpc_client_call_options options = {.path = "/etcdserverpb.Watch/Watch", .handler = &watch, .context = slot};
    slot->stream = grpc_client_start(slot->connection->client, &options);
    static const uint8_t create[] = {1 << 3 | 2, 6, 1 << 3 | 2, 1, 'k', 2 << 3 | 2, 1, 'l'};
    buf_clear(&load->message);
    buf_append(&load->message, create, sizeof create);
    grpc_client_call_send(slot->stream, buf_slice(&load->message));
}

static void start_call(struct slot *slot) {
    enum operation operation = slot->connection->load->operation;
    if (operation == KEEPALIVE)
        start_keepalive(slot);
    else if (slot->is_watcher)
        start_watch(slot);
    else
        start_unary(slot, operation);
}

/* ---- connections ---- */

static void want_flush(struct http_client_owner *owner) {
    net_link_touch(CONTAINER_OF(owner, struct connection, owner)->link);
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
    if (reason != OK && !self->load->is_stopping) fprintf(stderr, "connection closed: %s\n", err_text(reason));
    grpc_client_free(self->client);
    self->load->open_links--;
}

static const struct net_machine machine = {
    .receive = receive, .produce = produce, .is_finished = is_finished, .closed = closed};

static bool dial(struct load *load, struct connection *self, const char *address) {
    self->load = load;
    self->owner.want_flush = want_flush;
    if (net_dial(load->loop, (struct net_address){.text = address}, &machine, self, &self->link) != OK) return false;
    struct grpc_client_options options = {.env = load->env, .authority = address};
    self->client = grpc_client_new(&options, &self->owner);
    load->open_links++;
    return true;
}

/* ---- the run ---- */

#define BEAT_NS 5000000

/* Keeps the loop turning when nothing arrives, so that a run ends in time. */
static void beat(struct env_timer *timer) { env_timer_start(((struct load *)timer->context)->env, timer, BEAT_NS); }

static int64_t turn(void *context) {
    struct load *load = context;
    int64_t wait_ns = os_world_turn(load->world);
    if (load->rate <= 0 || load->is_stopping) return wait_ns;
    int64_t now_ns = env_now_ns(load->env);
    while (load->next_due_ns <= now_ns && load->idle != NULL) {
        struct slot *slot = load->idle;
        load->idle = slot->next_idle;
        start_call(slot);
        load->next_due_ns += (int64_t)(NS_PER_SECOND / load->rate);
    }
    int64_t until_ns = load->idle != NULL ? load->next_due_ns - now_ns : 1000000;
    if (until_ns < 0) until_ns = 0;
    return wait_ns < 0 || until_ns < wait_ns ? until_ns : wait_ns;
}

static double process_cpu_seconds(long pid) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = pid > 0 ? fopen(path, "r") : NULL;
    if (file == NULL) return 0;
    double seconds = 0;
    char *rest = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
    unsigned long user, system;
    if (rest != NULL && sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
        seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    fclose(file);
    return seconds;
}

static double own_cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run_for(struct load *load, double seconds) {
    int64_t end_ns = env_now_ns(load->env) + (int64_t)(seconds * NS_PER_SECOND);
    while (env_now_ns(load->env) < end_ns && load->open_links != 0) {
        if (load->is_measuring && load->calls_wanted != 0 && load->finished >= load->calls_wanted) break;
        net_loop_turn(load->loop, true);
    }
}

static void print_result(const struct load *load, double took, double own, double server) {
    double units = (double)(load->operation == WATCH ? load->events : load->finished);
    printf("{\"op\":\"%s\",\"connections\":%zu,\"streams\":%zu,\"seconds\":%.3f,\"calls\":%llu,\"per_s\":%.0f,"
           "\"failures\":%llu,\"events\":%llu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
           "\"max_us\":%.1f,\"client_cpu_s_per_100k\":%.4f,\"server_cpu_s_per_100k\":%.4f}\n",
           operation_names[load->operation], load->connections, load->streams, took, (unsigned long long)load->finished,
           units / took, (unsigned long long)load->failures, (unsigned long long)load->events, percentile_us(load, 0.5),
           percentile_us(load, 0.9), percentile_us(load, 0.99), percentile_us(load, 0.999), percentile_us(load, 1),
           units > 0 ? own * 1e5 / units : 0, units > 0 ? server * 1e5 / units : 0);
}

static enum operation operation_named(const char *name) {
    for (int i = 0; i < OPERATION_COUNT; i++)
        if (strcmp(name, operation_names[i]) == 0) return (enum operation)i;
    return OPERATION_COUNT;
}

int main(int argc, char **argv) {
    struct load load = {.connections = 50, .streams = 10, .key_bytes = 64, .value_bytes = 256, .keys = 100000};
    const char *port = "2379";
    double seconds = 3, warmup = 0.5;
    long pid = 0;
    load.operation = argc > 1 ? operation_named(argv[1]) : OPERATION_COUNT;
    if (load.operation == OPERATION_COUNT) {
        fprintf(stderr, "usage: bench_load put|get|lget|range|txn|del|mixed|keepalive|watch|fill [options]\n");
        return 2;
    }
    optind = 2;
    int letter;
    while ((letter = getopt(argc, argv, "p:c:s:t:w:n:k:v:K:r:P:o:")) != -1) {
        if (letter == 'p')
            port = optarg;
        else if (letter == 'c')
            load.connections = strtoul(optarg, NULL, 10);
        else if (letter == 's')
            load.streams = strtoul(optarg, NULL, 10);
        else if (letter == 't')
            seconds = strtod(optarg, NULL);
        else if (letter == 'w')
            warmup = strtod(optarg, NULL);
        else if (letter == 'n')
            load.calls_wanted = strtoull(optarg, NULL, 10);
        else if (letter == 'k')
            load.key_bytes = strtoul(optarg, NULL, 10);
        else if (letter == 'v')
            load.value_bytes = strtoul(optarg, NULL, 10);
        else if (letter == 'K')
            load.keys = strtoull(optarg, NULL, 10);
        else if (letter == 'r')
            load.rate = strtod(optarg, NULL);
        else if (letter == 'P')
            pid = strtol(optarg, NULL, 10);
        else if (letter == 'o')
            load.next_key = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    if (load.key_bytes < KEY_DIGITS + 1) load.key_bytes = KEY_DIGITS + 1;
    if (load.operation == FILL) {
        warmup = 0;
        seconds = 3600;
    }
    prng_init(&load.prng, 42);
    memset(buf_extend(&load.value, load.value_bytes), 'v', load.value_bytes);
    load.world = os_world_new(NULL);
    load.env = os_world_env(load.world);
    load.loop = net_loop_new();
    net_loop_set_turn_hook(load.loop, turn, &load);
    struct env_timer heart = {.callback = beat, .context = &load};
    env_timer_start(load.env, &heart, BEAT_NS);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%s", port);

    bool is_watch = load.operation == WATCH;
    struct connection *connections = NEW_ARRAY(struct connection, load.connections + 1);
    size_t slot_count = load.connections * load.streams;
    struct slot *slots = NEW_ARRAY(struct slot, slot_count + WRITERS_OF_WATCH);
    for (size_t i = 0; i < load.connections + is_watch; i++)
        if (!dial(&load, &connections[i], address)) return 1;
    load.is_measuring = warmup <= 0;
    int64_t begin_ns = env_now_ns(load.env);
    load.next_due_ns = begin_ns;
    for (size_t i = 0; i < slot_count; i++) {
        slots[i].connection = &connections[i % load.connections];
        slots[i].is_watcher = is_watch;
        if (is_watch)
            start_call(&slots[i]);
        else
            next_call(&slots[i]);
    }
    if (is_watch) run_for(&load, 0.3);
    for (size_t i = slot_count; is_watch && i < slot_count + WRITERS_OF_WATCH; i++) {
        slots[i].connection = &connections[load.connections];
        start_call(&slots[i]);
    }
    if (warmup > 0) run_for(&load, warmup);
    if (!load.is_measuring) begin_ns = env_now_ns(load.env);
    double own_before = own_cpu_seconds(), server_before = process_cpu_seconds(pid);
    load.is_measuring = true;
    run_for(&load, seconds);
    load.is_measuring = false;
    double took = (double)(env_now_ns(load.env) - begin_ns) / NS_PER_SECOND;
    print_result(&load, took, own_cpu_seconds() - own_before, process_cpu_seconds(pid) - server_before);
    load.is_stopping = true;
    env_timer_stop(load.env, &heart);
    net_loop_free(load.loop);
    os_world_free(load.world);
    buf_release(&load.value);
    buf_release(&load.message);
    mem_free(connections);
    mem_free(slots);
    return load.failures != 0;
}
