/* stage.h - the usual scene of a test: one member on a host with a disk, one client at a desk.
 *
 * The member can be stopped, crashed and started again on what its disk has kept; and its state can be summed up for
 * comparing it with another member's. Anything unexpected ends the process (CHECK): tests that await refusals use
 * member.h themselves.
 */
#ifndef TESTS_SIM_STAGE_H
#define TESTS_SIM_STAGE_H

#include "bolt/bolt.h"
#include "sim/client.h"
#include "sim/disk.h"
#include "sim/member.h"

#define SIM_DATABASE_PATH SIM_DATA_DIR "/member/snap/db"

struct sim_stage {
    struct sim *sim;
    struct sim_net *net;
    struct sim_disk *disk;
    struct sim_machine *host, *desk;
    struct sim_member *member; /* NULL while there is none */
    struct sim_client *client;
    struct sim_member_options options; /* may be changed before a start */
};

/* The address is always "host:2379". `options` may be NULL. No member yet. */
void sim_stage_init(struct sim_stage *self, uint64_t seed, const struct sim_member_options *options);
/* Takes `disk` over instead of the one it had. While there is no member. */
void sim_stage_set_disk(struct sim_stage *self, struct sim_disk *disk);
void sim_stage_release(struct sim_stage *self);

/* False with `message` when the start is refused, or the member does not become ready. */
bool sim_stage_try_start(struct sim_stage *self, struct errmsg *message);
void sim_stage_start(struct sim_stage *self);
void sim_stage_stop(struct sim_stage *self);
/* The disk goes on as what a crash now leaves of it. The member's memory is gone. */
void sim_stage_crash(struct sim_stage *self, enum sim_loss loss);
/* The same for a member that has failed, or whose process is killed: the system's cache lives on. */
void sim_stage_kill(struct sim_stage *self);

/* What can be said in short about all that a member holds: two members with the same history have the same. */
struct sim_state {
    int64_t revision;
    int64_t compact_revision;
    uint32_t hash_kv;
    uint64_t leases; /* a hash of their ids and granted TTLs */
};
/* As of a revision, with the leases of now; 0: now. False when the member failed meanwhile. */
bool sim_stage_state(struct sim_stage *self, int64_t revision, struct sim_state *ret_state);
bool sim_state_equals(const struct sim_state *a, const struct sim_state *b);
/* The database of a member that does not run, for looking into it and for damage. */
struct sim_database {
    struct sim *sim;
    struct sim_machine *machine;
    struct bolt *bolt;
};
/* False with `message` (may be NULL): there is none, or it can't be opened. */
bool sim_database_open(struct sim_database *self, struct sim_disk *disk, bool read_only, struct errmsg *message);
void sim_database_close(struct sim_database *self);
/* Findings of bolt_check in the disk's database; 0 = clean. No member may run. */
size_t sim_check_database(struct sim_disk *disk);

/* Calls that must succeed. */
void sim_stage_call(struct sim_stage *self, enum etcd_method method, const void *request);
void sim_stage_put(struct sim_stage *self, const char *key, const char *value);
/* The beginning of the value; "" when there is no such key. Valid until the next call. */
const char *sim_stage_get(struct sim_stage *self, const char *key);

#endif
