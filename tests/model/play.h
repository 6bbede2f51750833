/* play.h - plays a history against a target and the model at once, and tells the first difference. */
#ifndef TESTS_MODEL_PLAY_H
#define TESTS_MODEL_PLAY_H

#include "model/history.h"
#include "model/known.h"
#include "model/target.h"

struct play_counts {
    uint64_t steps, calls[MODEL_METHOD_COUNT], errors[MODEL_METHOD_COUNT];
    uint64_t watches, responses, events, expired, restarts;
    uint64_t known[KNOWN_COUNT]; /* differences of the real 3.5.1 */
};

struct play_options {
    struct history_options history;
    size_t length;        /* steps */
    bool is_real;         /* what is known of the real 3.5.1 is no difference */
    bool alters_answer;   /* canaries, which must be noticed: one answer's revision is off by one, */
    bool drops_response;  /* one watch response with events is lost */
    const bool *left_out; /* of each step; NULL: none is left out */
    bool is_told;         /* every step on standard error */
};

struct player;
/* Keeps the target. `counts` is added to. */
struct player *player_new(struct target *target, struct play_counts *counts);
void player_free(struct player *self);

/* Empties the member (or makes a new one, where the target can) and plays. True: no difference. Else *ret_step is the
 * number of the step that showed it (SIZE_MAX: getting ready) and player_difference tells. */
bool player_play(struct player *self, const struct play_options *options, size_t *ret_step);
/* Until the next play. */
const char *player_difference(const struct player *self);

#endif
