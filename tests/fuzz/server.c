/* server.c - a whole member, from the bytes of its clients' connections to the pages on its disk. The first byte says
 * how the bytes are cut, the second (1) that it is started once more at the end and must hold the same; then steps
 * (frames.h). Each input has a world of its own. */
#include "fuzz/frames.h"
#include "fuzz/methods.h"
#include "sim/stage.h"

#include "lease/lessor.h"
#include "mvcc/store.h"

#include <ctype.h>

#define CONNECTIONS 3
/* What a member takes before anybody asks, and what a byte of an input may take: a range of one put's value, watchers,
 * leases, streams, half a large value in log, history and database. */
#define BASE_BYTES ((size_t)64 << 20)
#define FACTOR (128 * 1024)
#define LARGE_BYTES 20000
#define TOKEN_LETTERS 16
/* After a turn of bytes: as long as a few flushes take. */
#define TURN_NS (3 * SIM_MS_NS)

struct world {
    struct sim_stage stage;
    struct sim_end *ends[CONNECTIONS];
    size_t at; /* the connection that bytes go to */
    bool has_closed[CONNECTIONS];
    struct fuzz_wire *wire;
    char token[TOKEN_LETTERS + 24];
};

/* A token in an answer: letters, a point, digits. */
static void look_for_token(struct world *self, struct slice bytes) {
    size_t letters = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        if (isalpha(bytes.data[i])) {
            letters++;
            continue;
        }
        size_t digits = 0;
        if (letters >= TOKEN_LETTERS && bytes.data[i] == '.')
            while (i + 1 + digits < bytes.len && digits < 20 && isdigit(bytes.data[i + 1 + digits])) digits++;
        if (digits != 0) {
            snprintf(self->token, sizeof self->token, "%.*s", (int)(TOKEN_LETTERS + 1 + digits),
                     (const char *)bytes.data + i - TOKEN_LETTERS);
            self->wire->token = self->token;
        }
        letters = 0;
    }
}

static void connected(void *context, struct sim_end *end) {}
static void received(void *context, struct sim_end *end, struct slice bytes) { look_for_token(context, bytes); }
static void ended(void *context, struct sim_end *end, enum err error) {
    struct world *self = context;
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (self->ends[i] == end) self->has_closed[i] = true;
}

static void hang_up(struct world *self, size_t at, enum sim_close how) {
    if (self->ends[at] != NULL) sim_end_close(TAKE(self->ends[at]), how);
    self->has_closed[at] = false;
}

static void dial(struct world *self, size_t at, bool is_http2) {
    static const struct sim_end_events events = {.connected = connected, .received = received, .ended = ended};
    self->at = at;
    if (self->ends[at] != NULL && !self->has_closed[at]) return;
    hang_up(self, at, SIM_CLOSE_ORDERLY);
    self->ends[at] = sim_net_connect(self->stage.net, self->stage.desk, self->stage.options.address, &events, self);
    sim_run_for(self->stage.sim, SIM_MS_NS);
    self->wire->next_stream = 1;
    if (is_http2) fuzz_begin_client(self->wire);
}

static void deliver(void *context, struct slice bytes) {
    struct world *self = context;
    if (self->ends[self->at] == NULL || self->has_closed[self->at]) return;
    sim_end_send(self->ends[self->at], bytes);
    if (self->wire->cuts.state == 0 || bytes.len > 16) sim_run_for(self->stage.sim, TURN_NS);
}

static void pass(void *context, int64_t duration_ns) {
    struct world *self = context;
    sim_run_for(self->stage.sim, duration_ns);
}

/* What our own client puts is larger than an input may be: an event, a range's answer that are sent in pieces. */
static void put_large(struct world *self, uint8_t which) {
    static char value[LARGE_BYTES];
    char key = (char)('a' + which);
    struct etcd_put_request put = {.key = {&key, 1}, .value = {value, sizeof value}};
    (void)sim_client_call(self->stage.client, ETCD_METHOD_PUT, &put, NULL, NULL);
}

static void other(void *context, uint8_t choice) {
    struct world *self = context;
    sim_run_for(self->stage.sim, TURN_NS);
    if (choice < 3) dial(self, choice, true);
    if (choice >= 3 && choice < 6) hang_up(self, choice - 3u, SIM_CLOSE_ORDERLY);
    if (choice >= 6 && choice < 9) hang_up(self, choice - 6u, SIM_CLOSE_RESET);
    if ((choice == 9 || choice == 10) && self->ends[self->at] != NULL) sim_end_hold(self->ends[self->at], choice == 9);
    if (choice == 11) sim_disk_set_capacity(self->stage.disk, sim_disk_used_bytes(self->stage.disk));
    if (choice == 12) sim_disk_set_capacity(self->stage.disk, 0);
    if (choice == 13) dial(self, CONNECTIONS - 1, false); /* for HTTP/1.1, or anything */
    if (choice >= 14 && choice < 18) put_large(self, choice - 14u);
}

static int64_t check_alive(struct world *self) {
    struct etcd_error error;
    int code = sim_client_call(self->stage.client, ETCD_METHOD_STATUS, NULL, NULL, &error);
    CHECKF(code == ETCD_OK || code == ETCD_INVALID_ARGUMENT || code == ETCD_PERMISSION_DENIED, "it does not answer: %s",
           error.text);
    CHECK(sim_member_failed(self->stage.member) == 0);
    struct server *server = sim_member_server(self->stage.member);
    CHECK(store_error(server_store(server)) == OK);
    return store_revision(server_store(server));
}

static void play(struct world *self, struct fuzz_input *input, uint8_t options, size_t size, size_t before_bytes) {
    sim_stage_start(&self->stage);
    dial(self, 0, true);
    fuzz_play(self->wire, input);
    sim_run_for(self->stage.sim, SIM_S_NS);
    CHECK(fuzz_live_bytes() <= before_bytes + BASE_BYTES + FACTOR * size);
    for (size_t i = 0; i < CONNECTIONS; i++) hang_up(self, i, SIM_CLOSE_RESET);
    sim_disk_set_capacity(self->stage.disk, 0);
    sim_run_for(self->stage.sim, 3 * SIM_S_NS);
    int64_t revision = check_alive(self);
    sim_stage_stop(&self->stage);
    if (!(options & 1)) return;
    CHECK(sim_check_database(self->stage.disk) == 0);
    sim_stage_start(&self->stage);
    CHECK(check_alive(self) >= revision); /* leases may have run out meanwhile */
    sim_stage_stop(&self->stage);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct sim_member_options member_options = {.snapshot_count = 20,
                                                             .segment_bytes = 64 * 1024,
                                                             .catch_up_entries = 5,
                                                             .max_request_bytes = 32 * 1024,
                                                             .max_txn_ops = 8};
    struct fuzz_input input = {data, data + size};
    struct world world = {0};
    struct fuzz_wire wire = {.deliver = deliver,
                             .pass = pass,
                             .other = other,
                             .context = &world,
                             .paths = method_paths,
                             .path_count = sizeof method_paths / sizeof *method_paths};
    world.wire = &wire;
    wire.cuts = fuzz_cuts_make(fuzz_byte(&input));
    uint8_t options = fuzz_byte(&input);
    size_t before_bytes = fuzz_live_bytes();
    sim_stage_init(&world.stage, 1, &member_options);
    play(&world, &input, options, size, before_bytes);
    sim_stage_release(&world.stage);
    return 0;
}
