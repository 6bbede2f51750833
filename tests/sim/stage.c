#include "sim/stage.h"

#include "base/check.h"
#include "base/mem.h"
#include "lease/lessor.h"
#include "mvcc/store.h"

#include <stdio.h>
#include <string.h>

#define HOST_ADDRESS "host:2379"

void sim_stage_init(struct sim_stage *self, uint64_t seed, const struct sim_member_options *options) {
    *self = (struct sim_stage){.sim = sim_new(seed), .disk = sim_disk_new()};
    if (options != NULL) self->options = *options;
    self->options.address = HOST_ADDRESS;
    self->net = sim_net_new(self->sim);
    self->desk = sim_machine_new(self->sim, "desk", NULL, NULL);
    self->client = sim_client_new(self->net, self->desk, HOST_ADDRESS, 0);
}

void sim_stage_set_disk(struct sim_stage *self, struct sim_disk *disk) {
    CHECK(self->member == NULL);
    sim_disk_free(self->disk);
    self->disk = disk;
}

bool sim_stage_try_start(struct sim_stage *self, struct errmsg *message) {
    CHECK(self->member == NULL);
    self->host = sim_machine_new(self->sim, "host", self->disk, NULL);
    self->member = sim_member_start(self->net, self->host, &self->options, message);
    if (self->member == NULL) {
        sim_machine_free(TAKE(self->host));
        return false;
    }
    if (sim_member_wait_ready(self->member)) return true;
    (void)err_set(message, ERR_SYSTEM, "it %s", sim_member_failed(self->member) ? "failed" : "is never ready");
    sim_stage_kill(self);
    return false;
}

void sim_stage_start(struct sim_stage *self) {
    struct errmsg message = {{0}};
    CHECKF(sim_stage_try_start(self, &message), "%s", message.text);
}

static void take_apart(struct sim_stage *self) {
    sim_member_drop(TAKE(self->member), SIM_CLOSE_RESET);
    sim_machine_free(TAKE(self->host));
}

void sim_stage_stop(struct sim_stage *self) {
    sim_member_stop(TAKE(self->member));
    sim_machine_free(TAKE(self->host));
}

void sim_stage_crash(struct sim_stage *self, enum sim_loss loss) {
    struct sim_disk *left = sim_disk_image(self->disk, loss, sim_prng(self->sim));
    sim_disk_set_hook(self->disk, NULL, NULL);
    take_apart(self);
    sim_stage_set_disk(self, left);
}

void sim_stage_kill(struct sim_stage *self) { sim_stage_crash(self, SIM_KEEP); }

void sim_stage_release(struct sim_stage *self) {
    sim_client_free(self->client);
    if (self->member != NULL) {
        sim_disk_set_hook(self->disk, NULL, NULL);
        take_apart(self);
    }
    sim_machine_free(self->desk);
    sim_net_free(self->net);
    sim_free(self->sim);
    sim_disk_free(self->disk);
}

/* ---- state ---- */

struct hashing {
    struct sim_stage *stage;
    bool is_done;
    enum err error;
    struct store_hash hash;
};

static void hashed(void *context, enum err error, const struct store_hash *hash) {
    struct hashing *self = context;
    self->is_done = true;
    self->error = error;
    if (error == OK) self->hash = *hash;
}

static bool is_hashed(void *context) {
    struct hashing *self = context;
    return self->is_done || sim_member_failed(self->stage->member) != 0;
}

static uint64_t hash_leases(const struct lessor *lessor) {
    uint64_t sum = lessor_count(lessor);
    int64_t *ids = NEW_ARRAY(int64_t, sum + 1);
    lessor_list(lessor, ids);
    for (size_t i = 0, count = lessor_count(lessor); i < count; i++) {
        struct lease_info info;
        CHECK(lessor_lookup(lessor, ids[i], &info));
        uint64_t one = (uint64_t)ids[i] * UINT64_C(0x9E3779B97F4A7C15) + (uint64_t)info.ttl_s;
        sum += one * one; /* in whatever order */
    }
    mem_free(ids);
    return sum;
}

bool sim_stage_state(struct sim_stage *self, int64_t revision, struct sim_state *ret_state) {
    struct server *server = sim_member_server(self->member);
    struct hashing hashing = {.stage = self};
    store_hash_by_revision(server_store(server), revision, hashed, &hashing);
    CHECK(sim_run_until(self->sim, is_hashed, &hashing, 60 * SIM_S_NS));
    if (!hashing.is_done || hashing.error != OK) return false;
    *ret_state = (struct sim_state){
        .revision = hashing.hash.revision,
        .compact_revision = hashing.hash.compact_revision,
        .hash_kv = hashing.hash.hash,
        .leases = hash_leases(server_lessor(server)),
    };
    return true;
}

bool sim_state_equals(const struct sim_state *a, const struct sim_state *b) {
    return a->revision == b->revision && a->compact_revision == b->compact_revision && a->hash_kv == b->hash_kv &&
           a->leases == b->leases;
}

static void tell_finding(void *context, const char *text) { fprintf(stderr, "bolt check: %s\n", text); }

bool sim_database_open(struct sim_database *self, struct sim_disk *disk, bool read_only, struct errmsg *message) {
    struct bolt_options options = {.read_only = read_only};
    *self = (struct sim_database){.sim = sim_new(1)};
    self->machine = sim_machine_new(self->sim, "opener", disk, NULL);
    if (sim_disk_file_bytes(disk, SIM_DATABASE_PATH) <= 0)
        (void)err_set(message, ERR_NOT_FOUND_FILE, "there is no database");
    else if (bolt_open(sim_machine_env(self->machine), SIM_DATABASE_PATH, &options, &self->bolt, message) == OK)
        return true;
    sim_database_close(self);
    return false;
}

void sim_database_close(struct sim_database *self) {
    bolt_close(self->bolt);
    sim_machine_free(self->machine);
    sim_free(self->sim);
}

size_t sim_check_database(struct sim_disk *disk) {
    struct sim_database database;
    struct errmsg message = {{0}};
    if (!sim_database_open(&database, disk, true, &message)) {
        tell_finding(NULL, message.text);
        return 1;
    }
    struct bolt_tx *tx = bolt_begin_read(database.bolt);
    size_t findings = bolt_check(tx, tell_finding, NULL);
    bolt_tx_end(tx);
    sim_database_close(&database);
    return findings;
}

/* ---- calls ---- */

void sim_stage_call(struct sim_stage *self, enum etcd_method method, const void *request) {
    struct etcd_error error = {0};
    CHECKF(sim_client_call(self->client, method, request, NULL, &error) == ETCD_OK, "%s", error.text);
}

void sim_stage_put(struct sim_stage *self, const char *key, const char *value) {
    struct etcd_put_request request = {.key = etcd_text(key), .value = etcd_text(value)};
    sim_stage_call(self, ETCD_METHOD_PUT, &request);
}

const char *sim_stage_get(struct sim_stage *self, const char *key) {
    static char value[256];
    struct etcd_range_request request = {.key = etcd_text(key)};
    struct etcd_range_response *response;
    struct etcd_error error = {0};
    CHECKF(sim_client_call(self->client, ETCD_METHOD_RANGE, &request, &response, &error) == ETCD_OK, "%s", error.text);
    value[0] = 0;
    if (response->kv_count > 0) {
        size_t length = response->kvs[0].value.len < sizeof value ? response->kvs[0].value.len : sizeof value - 1;
        memcpy(value, response->kvs[0].value.data, length);
        value[length] = 0;
    }
    client_response_free(response);
    return value;
}
