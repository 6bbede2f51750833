/* history.h - random histories: what is asked next.
 *
 * A step is made from its number, the history's seed, and the model as it stands then. So a history can be played again
 * with steps left out (that is how it is cut down to the few that matter): what is left still fits the keys, leases and
 * revisions there are.
 *
 * Few keys, few leases, revisions near the present, the compacted one and the bounds: so that things collide.
 */
#ifndef TESTS_MODEL_HISTORY_H
#define TESTS_MODEL_HISTORY_H

#include "model/model.h"

struct history_options {
    uint64_t seed;
    bool has_time;              /* the target lets time pass and restarts */
    bool is_fragile;            /* a real 3.5 member: no requests that kill it */
    unsigned large_per_million; /* steps with a request of megabytes */
};

enum step_kind {
    STEP_CALL,        /* method, request */
    STEP_STREAM_OPEN, /* stream; here and below */
    STEP_STREAM_CLOSE,
    STEP_WATCH,  /* request: WatchRequest */
    STEP_SETTLE, /* wait until all streams have told everything */
    STEP_PASS,   /* duration_ns */
    STEP_STOP,
    STEP_CRASH,
    STEP_CRASH_DURING, /* method, request; so many turns after it was sent */
};

struct step {
    enum step_kind kind;
    enum model_method method;
    size_t stream;
    const void *request; /* in the arena */
    int64_t duration_ns;
    unsigned turns;
};

/* Step `number` of the history. */
void history_step(const struct history_options *options, size_t number, struct model *model, struct arena *arena,
                  struct step *ret_step);
/* In words, one line. */
void step_tell(const struct step *step, struct buf *text);

#endif
