/* script.h - a seeded scenario for sweeps: everything that makes a member write, in steps whose states are known.
 *
 * Puts small and large (overflow pages), transactions, deletes, leases, compactions, defragmentation, with snapshots
 * and segment cuts on the way (script_options). The steps of one batch are under way together; they are sent on one
 * connection and each makes one state of its own, so that a member that holds the first n of them has exactly one state
 * it may be in:
 *
 *     states[0] -step 1-> states[1] -step 2-> states[2] ...
 *               `acked` of them are answered, `sent` of them are on their way: a crash leaves one in [acked, sent]
 *
 * A first run records the states (script_rehearse); later runs of the same seed send the same again.
 */
#ifndef TESTS_SIM_SCRIPT_H
#define TESTS_SIM_SCRIPT_H

#include "base/vec.h"
#include "sim/stage.h"

struct script {
    uint64_t seed;
    unsigned batches;
    unsigned pause_ms; /* between batches, at most; what is written behind comes to the disk meanwhile */
    /* recorded by the rehearsal, or NULL */
    VEC(struct sim_state) states;
    /* while it runs */
    struct sim_stage *stage;
    struct prng prng;
    size_t acked;
    size_t sent;
    bool is_recording;
    unsigned failed_calls;
    int64_t lease_next, lease_first;
    unsigned waiting;
};

/* The options under which a few dozen entries make a snapshot and a few more a new segment. */
extern const struct sim_member_options script_options;

void script_init(struct script *self, uint64_t seed, unsigned batches);
void script_release(struct script *self);
/* Runs it all on a new stage with a healthy disk, and keeps the states. */
void script_rehearse(struct script *self);
/* Runs it on a stage whose member is started, until the end, or false once a call failed or the member did. */
bool script_run(struct script *self, struct sim_stage *stage);
/* Whether a member in this state holds all that was acknowledged and nothing that was not sent. */
bool script_allows(const struct script *self, const struct sim_state *state);

#endif
