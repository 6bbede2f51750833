/* target_sim.c - our member in a world of its own: virtual time, restarts, crashes that lose what was not synced. */
#include "base/mem.h"
#include "model/target.h"
#include "sim/stage.h"

#define ADDRESS "host:2379"
#define PRODUCE_BYTES ((size_t)64 * 1024)

struct target_sim {
    struct target target;
    struct sim_stage stage;
    bool has_stage;
    struct prng prng;
    struct sim_end *end; /* NULL: not connected */
    struct env_timer flush;
    struct buf output;
};

static struct target_sim *of(struct target *self) { return CONTAINER_OF(self, struct target_sim, target); }

/* ---- the connection ---- */

static void want_flush(struct http_client_owner *owner) {
    struct target_sim *self = of(CONTAINER_OF(owner, struct target, owner));
    if (!env_timer_is_running(&self->flush)) env_timer_start(self->target.env, &self->flush, 0);
}

static void flush(struct env_timer *timer) {
    struct target_sim *self = timer->context;
    if (self->end == NULL || sim_end_unsent(self->end) > 0) return;
    buf_clear(&self->output);
    bool has_more = grpc_client_produce(self->target.client, &self->output, PRODUCE_BYTES);
    sim_end_send(self->end, buf_slice(&self->output));
    if (has_more && sim_end_unsent(self->end) == 0) want_flush(&self->target.owner);
}

static void connected(void *context, struct sim_end *end) { want_flush(&((struct target_sim *)context)->target.owner); }

static void received(void *context, struct sim_end *end, struct slice bytes) {
    struct target_sim *self = context;
    grpc_client_receive(self->target.client, bytes);
    want_flush(&self->target.owner);
}

static void hang_up(struct target_sim *self) {
    if (self->end != NULL) sim_end_close(TAKE(self->end), SIM_CLOSE_ORDERLY);
    if (self->target.env != NULL) env_timer_stop(self->target.env, &self->flush);
    grpc_client_free(TAKE(self->target.client));
}

static void ended(void *context, struct sim_end *end, enum err error) {
    struct target_sim *self = context;
    sim_end_close(TAKE(self->end), SIM_CLOSE_ORDERLY);
}

static void drained(void *context, struct sim_end *end) { want_flush(&((struct target_sim *)context)->target.owner); }

static void connect(struct target_sim *self) {
    static const struct sim_end_events events = {
        .connected = connected, .received = received, .ended = ended, .drained = drained};
    struct grpc_client_options options = {.env = self->target.env, .authority = ADDRESS};
    self->target.client = grpc_client_new(&options, &self->target.owner);
    self->end = sim_net_connect(self->stage.net, self->stage.desk, ADDRESS, &events, self);
}

/* ---- what can be done with it ---- */

static bool is_alive(const struct target_sim *self) {
    return self->end != NULL && sim_member_failed(self->stage.member) == 0;
}

static bool turn(struct target *target, bool is_waiting) {
    struct target_sim *self = of(target);
    return is_alive(self) && sim_step(self->stage.sim);
}

static bool pass(struct target *target, int64_t duration_ns) {
    struct target_sim *self = of(target);
    sim_run_for(self->stage.sim, duration_ns);
    return is_alive(self);
}

static bool start(struct target_sim *self) {
    struct errmsg message;
    if (!sim_stage_try_start(&self->stage, &message)) return false;
    connect(self);
    return true;
}

static bool restart(struct target *target, enum target_restart how) {
    struct target_sim *self = of(target);
    hang_up(self);
    if (how == TARGET_STOP)
        sim_stage_stop(&self->stage);
    else
        sim_stage_crash(&self->stage, (enum sim_loss)prng_below(&self->prng, SIM_LOSS_COUNT));
    return start(self);
}

static void release(struct target_sim *self) {
    if (!self->has_stage) return;
    hang_up(self);
    sim_stage_release(&self->stage);
    self->has_stage = false;
    self->target.env = NULL;
}

/* Snapshots and segments are small, so that a history meets many. */
static bool renew(struct target *target, uint64_t seed) {
    struct target_sim *self = of(target);
    release(self);
    prng_init(&self->prng, seed);
    struct sim_member_options options = {
        .snapshot_count = 50 + prng_below(&self->prng, 2000),
        .catch_up_entries = 20,
        .segment_bytes = 64 * 1024 << prng_below(&self->prng, 6),
        .max_snapshots = 2,
        .max_wals = 2,
    };
    sim_stage_init(&self->stage, seed, &options);
    self->has_stage = true;
    self->target.env = sim_machine_env(self->stage.desk);
    return start(self);
}

static void free_sim(struct target *target) {
    struct target_sim *self = of(target);
    release(self);
    buf_release(&self->output);
    mem_free(self);
}

static const struct target_ops ops = {.turn = turn, .restart = restart, .pass = pass, .renew = renew, .free = free_sim};

struct target *target_sim_open(void) {
    struct target_sim *self = NEW(struct target_sim);
    self->target.ops = &ops;
    self->target.owner.want_flush = want_flush;
    self->flush = (struct env_timer){.callback = flush, .context = self};
    return &self->target;
}
