#include "sim/script.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define BATCH_MAX 8
#define LARGE_BYTES 20000
#define KEYS 40
#define LEASES_MAX 6

const struct sim_member_options script_options = {
    .snapshot_count = 60,
    .catch_up_entries = 10,
    .segment_bytes = 96 * 1024,
    .max_wals = 1000, /* all: the log is replayed from its beginning */
    .max_snapshots = 1000,
};

void script_init(struct script *self, uint64_t seed, unsigned batches) {
    *self = (struct script){.seed = seed, .batches = batches, .pause_ms = 60};
}
void script_release(struct script *self) { VEC_RELEASE(&self->states); }

static uint64_t below(struct script *self, uint64_t bound) { return prng_below(&self->prng, bound); }

/* ---- calls ---- */

static void answered(void *context, void *response, const struct etcd_error *error) {
    struct script *self = context;
    self->waiting--;
    if (response == NULL) {
        self->failed_calls++;
        return;
    }
    client_response_free(response);
    /* Answers come in the order in which the requests were sent. */
    if (self->failed_calls == 0) self->acked++;
}

static void send_step(struct script *self, enum etcd_method method, const void *request) {
    self->waiting++;
    self->sent++;
    client_call_start(sim_client_core(self->stage->client), method, request, answered, self);
}

static bool is_settled(void *context) {
    struct script *self = context;
    return self->waiting == 0;
}

/* ---- steps ---- */

static struct etcd_bytes key_of(char text[16], uint64_t number) {
    snprintf(text, 16, "key%02u", (unsigned)number);
    return etcd_text(text);
}

static struct etcd_bytes value_of(struct script *self, char *bytes, size_t size_bytes) {
    for (size_t i = 0; i < size_bytes; i += 16) bytes[i] = (char)('a' + below(self, 26));
    return etcd_bytes_of(bytes, size_bytes);
}

static void step_put(struct script *self, size_t size_bytes, int64_t lease) {
    static char bytes[LARGE_BYTES];
    char key[16];
    struct etcd_put_request put = {.key = key_of(key, below(self, KEYS)), .lease = lease};
    put.value = value_of(self, bytes, size_bytes);
    send_step(self, ETCD_METHOD_PUT, &put);
}

/* Two puts and a delete: half of it must never be seen. */
static void step_txn(struct script *self) {
    static char bytes[300];
    char keys[3][16];
    uint64_t first = below(self, KEYS);
    struct etcd_put_request puts[2];
    for (unsigned i = 0; i < 2; i++)
        puts[i] = (struct etcd_put_request){.key = key_of(keys[i], (first + i) % KEYS),
                                            .value = value_of(self, bytes + 150 * i, 150)};
    struct etcd_delete_request gone = {.key = key_of(keys[2], (first + 2) % KEYS)};
    struct etcd_op ops[] = {{.type = ETCD_OP_PUT, .put = &puts[0]},
                            {.type = ETCD_OP_DELETE, .delete_range = &gone},
                            {.type = ETCD_OP_PUT, .put = &puts[1]}};
    struct etcd_txn_request txn = {.success = ops, .success_count = 3};
    send_step(self, ETCD_METHOD_TXN, &txn);
}

static void step_delete(struct script *self) {
    char from[16], to[16];
    uint64_t first = below(self, KEYS - 5);
    struct etcd_delete_request gone = {.key = key_of(from, first), .range_end = key_of(to, first + 5)};
    send_step(self, ETCD_METHOD_DELETE, &gone);
}

static void step_compact(struct script *self) {
    const struct sim_state *now = &self->states.items[self->sent];
    int64_t from = now->compact_revision > 0 ? now->compact_revision : 0;
    if (now->revision <= from) return;
    int64_t revision = from + 1 + (int64_t)below(self, (uint64_t)(now->revision - from));
    struct etcd_compact_request compact = {.revision = revision, .physical = below(self, 2) == 0};
    send_step(self, ETCD_METHOD_COMPACT, &compact);
}

static void step_grant(struct script *self) {
    struct etcd_lease_grant_request grant = {.ttl_s = 100000, .id = ++self->lease_next};
    send_step(self, ETCD_METHOD_LEASE_GRANT, &grant);
}

static void step_revoke(struct script *self) {
    struct etcd_lease_revoke_request revoke = {.id = ++self->lease_first};
    send_step(self, ETCD_METHOD_LEASE_REVOKE, &revoke);
}

/* Not a step: it changes no state. */
static void defragment(struct script *self) {
    struct etcd_error error;
    if (sim_client_call(self->stage->client, ETCD_METHOD_DEFRAGMENT, NULL, NULL, &error) != ETCD_OK)
        self->failed_calls++;
}

static void send_batch(struct script *self) {
    uint64_t draw = below(self, 100);
    bool has_lease = self->lease_next > self->lease_first;
    if (draw < 50) {
        for (uint64_t count = 1 + below(self, BATCH_MAX); count > 0; count--) {
            if (below(self, 4) == 0)
                step_txn(self);
            else
                step_put(self, 20 + below(self, 200), 0);
        }
    } else if (draw < 60) {
        step_put(self, LARGE_BYTES - below(self, 5000), 0);
    } else if (draw < 70) {
        step_delete(self);
    } else if (draw < 78 && self->lease_next - self->lease_first < LEASES_MAX) {
        step_grant(self);
    } else if (draw < 84 && has_lease) {
        step_put(self, 30, self->lease_next);
    } else if (draw < 88 && has_lease) {
        step_revoke(self);
    } else if (draw < 95) {
        step_compact(self);
    } else if (draw < 97) {
        defragment(self);
    } else {
        step_put(self, 5, 0);
    }
}

/* ---- runs ---- */

/* Of a batch of more than one step each makes one revision and touches no lease: the states in between can be asked for
 * afterwards. */
static void record_states(struct script *self) {
    struct sim_state last;
    CHECK(sim_stage_state(self->stage, 0, &last));
    while (self->states.count <= self->sent) {
        struct sim_state state = last;
        int64_t behind = (int64_t)(self->sent - self->states.count);
        if (behind > 0) CHECK(sim_stage_state(self->stage, last.revision - behind, &state));
        VEC_PUSH(&self->states, state);
    }
}

static bool run_batch(struct script *self) {
    send_batch(self);
    CHECK(sim_run_until(self->stage->sim, is_settled, self, 600 * SIM_S_NS));
    if (self->failed_calls > 0) return false;
    if (self->is_recording) record_states(self);
    sim_run_for(self->stage->sim, (int64_t)below(self, self->pause_ms) * SIM_MS_NS);
    return sim_member_failed(self->stage->member) == 0;
}

bool script_run(struct script *self, struct sim_stage *stage) {
    self->stage = stage;
    prng_init(&self->prng, self->seed);
    self->acked = self->sent = 0;
    self->failed_calls = self->waiting = 0;
    self->lease_next = self->lease_first = 1000;
    if (self->is_recording) record_states(self);
    for (unsigned i = 0; i < self->batches; i++)
        if (!run_batch(self)) return false;
    return true;
}

void script_rehearse(struct script *self) {
    struct sim_stage stage;
    sim_stage_init(&stage, self->seed, &script_options);
    sim_stage_start(&stage);
    self->is_recording = true;
    CHECK(script_run(self, &stage));
    self->is_recording = false;
    sim_stage_release(&stage);
}

bool script_allows(const struct script *self, const struct sim_state *state) {
    for (size_t i = self->acked; i <= self->sent && i < self->states.count; i++)
        if (sim_state_equals(state, &self->states.items[i])) return true;
    return false;
}
