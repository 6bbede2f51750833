#include "server/compactor.h"

#include "base/mem.h"
#include "base/vec.h"
#include "mvcc/store.h"
#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"

#define NS_PER_S 1000000000ll
#define REVISION_INTERVAL_NS (300 * NS_PER_S)
#define PERIOD_INTERVAL_MAX_NS (3600 * NS_PER_S)
#define SAMPLES_PER_INTERVAL 10
#define STEP_MIN_NS 10000000ll /* however short the retention */

struct compactor {
    struct server *server;
    struct env *env;
    struct log *log;
    enum compactor_mode mode;
    int64_t retention;
    int64_t step_ns; /* from one look to the next */
    struct env_timer timer;

    /* periodic: revisions at past looks, oldest first */
    VEC(int64_t) samples;
    size_t samples_max;
    int64_t interval_ns; /* the whole retention at first, then at most an hour */
    int64_t last_success_ns;

    int64_t last_revision; /* compacted to */
    bool is_running;
    int64_t revision;
    int64_t began_ns;
    Etcdserverpb__CompactionRequest message;
    struct buf encoded;
    struct server_request request;
};

static int64_t interval_of(int64_t retention_ns) {
    return retention_ns > PERIOD_INTERVAL_MAX_NS ? PERIOD_INTERVAL_MAX_NS : retention_ns;
}

/* ---- one compaction ---- */

static void tell_begin(struct compactor *self) {
    if (self->mode == COMPACTOR_PERIODIC)
        log_info(self->log, "starting auto periodic compaction", LOG_INT("revision", self->revision),
                 LOG_DURATION("compact-period", self->retention));
    else
        log_info(self->log, "starting auto revision compaction", LOG_INT("revision", self->revision),
                 LOG_INT("revision-compaction-retention", self->retention));
}

static void tell_end(struct compactor *self, enum err error) {
    bool is_done = error == OK || error == ERR_COMPACTED; /* by somebody else */
    int64_t took_ns = env_now_ns(self->env) - self->began_ns;
    if (self->mode == COMPACTOR_PERIODIC) {
        if (is_done)
            log_info(self->log, "completed auto periodic compaction", LOG_INT("revision", self->revision),
                     LOG_DURATION("compact-period", self->retention), LOG_DURATION("took", took_ns));
        else
            log_warn(self->log, "failed auto periodic compaction", LOG_INT("revision", self->revision),
                     LOG_DURATION("compact-period", self->retention), LOG_DURATION("retry-interval", self->step_ns),
                     LOG_ERR(error));
    } else {
        if (is_done)
            log_info(self->log, "completed auto revision compaction", LOG_INT("revision", self->revision),
                     LOG_INT("revision-compaction-retention", self->retention), LOG_DURATION("took", took_ns));
        else
            log_warn(self->log, "failed auto revision compaction", LOG_INT("revision", self->revision),
                     LOG_INT("revision-compaction-retention", self->retention),
                     LOG_DURATION("retry-interval", self->step_ns), LOG_ERR(error));
    }
}

static void finish(struct compactor *self, enum err error) {
    self->is_running = false;
    tell_end(self, error);
    if (error != OK && error != ERR_COMPACTED) return;
    self->last_revision = self->revision;
    self->last_success_ns = env_now_ns(self->env);
}

static void compacted(struct server_request *request) {
    finish(CONTAINER_OF(request, struct compactor, request), request->error);
}

static void compact(struct compactor *self, int64_t revision) {
    self->revision = revision;
    self->began_ns = env_now_ns(self->env);
    tell_begin(self);
    self->message = (Etcdserverpb__CompactionRequest)ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    self->message.revision = revision;
    buf_clear(&self->encoded);
    pb_pack(&self->message, &self->encoded);
    self->request = (struct server_request){.op = SERVER_OP_COMPACTION,
                                            .encoded = buf_slice(&self->encoded),
                                            .message = &self->message,
                                            .callback = compacted};
    self->is_running = true;
    enum err error = server_propose(self->server, &self->request);
    if (error != OK) finish(self, error);
}

/* ---- the clock ---- */

static void take_sample(struct compactor *self) {
    if (self->samples.count == self->samples_max) {
        memmove(self->samples.items, self->samples.items + 1, (self->samples.count - 1) * sizeof(int64_t));
        self->samples.count--;
    }
    VEC_PUSH(&self->samples, store_revision(server_store(self->server)));
}

static void look_periodic(struct compactor *self) {
    int64_t revision = self->samples.items[0];
    int64_t now_ns = env_now_ns(self->env);
    if (now_ns - self->last_success_ns >= self->interval_ns && revision != self->last_revision) {
        self->interval_ns = interval_of(self->retention);
        compact(self, revision);
    }
}

static void look_revision(struct compactor *self) {
    int64_t revision = store_revision(server_store(self->server)) - self->retention;
    if (revision > 0 && revision != self->last_revision) compact(self, revision);
}

static void look(struct env_timer *timer) {
    struct compactor *self = CONTAINER_OF(timer, struct compactor, timer);
    struct server_status status;
    server_status(self->server, &status);
    if (status.is_leader && !self->is_running) {
        if (self->mode == COMPACTOR_PERIODIC)
            look_periodic(self);
        else
            look_revision(self);
    }
    if (self->mode == COMPACTOR_PERIODIC) take_sample(self);
    env_timer_start(self->env, &self->timer, self->step_ns);
}

struct compactor *compactor_new(struct server *server, enum compactor_mode mode, int64_t retention) {
    struct compactor *self = NEW(struct compactor);
    *self = (struct compactor){.server = server,
                               .env = server_env(server),
                               .mode = mode,
                               .retention = retention,
                               .step_ns = REVISION_INTERVAL_NS,
                               .timer.callback = look};
    self->log = env_log(self->env);
    if (mode == COMPACTOR_PERIODIC) {
        self->interval_ns = retention;
        self->step_ns = interval_of(retention) / SAMPLES_PER_INTERVAL;
        if (self->step_ns < STEP_MIN_NS) self->step_ns = STEP_MIN_NS;
        self->samples_max = (size_t)(retention / self->step_ns) + 1;
        self->last_success_ns = env_now_ns(self->env);
        take_sample(self);
    }
    env_timer_start(self->env, &self->timer, self->step_ns);
    return self;
}

void compactor_free(struct compactor *self) {
    if (self == NULL) return;
    env_timer_stop(self->env, &self->timer);
    if (self->is_running) server_cancel(self->server, &self->request);
    VEC_RELEASE(&self->samples);
    buf_release(&self->encoded);
    mem_free(self);
}
