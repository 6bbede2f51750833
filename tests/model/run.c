/* run.c - plays random histories against a member and the model.
 *
 *     model_run --target HOST:PORT|sim [--ops 100000] [--seed 1] [--length 2000] [--real] [--large 20]
 *               [--steps 3,17,18] [--tell] [--no-cut] [--canary answer|watch]
 *
 * Histories of --length steps with seeds --seed, --seed + 1, ... until --ops steps are played. --real: the member is
 * upstream's 3.5: nothing that kills it is asked. --large: requests of megabytes in a million. A difference is cut down
 * to the steps that are needed to see it, and told with the options that play just those again (--steps). --canary: an
 * answer is altered, or a watch response lost, on the way from the member: that must be told as a difference.
 *
 * Exit status: 0 no difference, 1 a difference, 2 wrong options or no member.
 */
#include "model/play.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct options {
    const char *target;
    uint64_t ops, seed;
    size_t length;
    unsigned large;
    bool is_real, is_told, is_uncut;
    const char *steps, *canary;
};

static void usage(void) {
    fprintf(stderr, "usage: model_run --target HOST:PORT|sim [--ops N] [--seed N] [--length N] [--real] [--large N]\n"
                    "                 [--steps N,N,...] [--tell] [--no-cut] [--canary answer|watch]\n");
    exit(2);
}

static bool take_number(const char *name, int argc, char **argv, int *at, uint64_t *ret_value) {
    if (strcmp(argv[*at], name) != 0) return false;
    if (*at + 1 == argc) usage();
    char *end;
    *ret_value = strtoull(argv[++*at], &end, 10);
    if (*end != 0) usage();
    return true;
}

static bool take_text(const char *name, int argc, char **argv, int *at, const char **ret_value) {
    if (strcmp(argv[*at], name) != 0) return false;
    if (*at + 1 == argc) usage();
    *ret_value = argv[++*at];
    return true;
}

static bool take_flag(const char *name, char **argv, int at, bool *ret_value) {
    if (strcmp(argv[at], name) != 0) return false;
    *ret_value = true;
    return true;
}

static struct options read_options(int argc, char **argv) {
    struct options options = {.ops = 10000, .seed = 1, .length = 2000, .large = 20};
    uint64_t length = options.length, large = options.large;
    for (int i = 1; i < argc; i++) {
        bool known =
            take_number("--ops", argc, argv, &i, &options.ops) ||
            take_number("--seed", argc, argv, &i, &options.seed) || take_number("--length", argc, argv, &i, &length) ||
            take_number("--large", argc, argv, &i, &large) || take_text("--target", argc, argv, &i, &options.target) ||
            take_text("--steps", argc, argv, &i, &options.steps) ||
            take_text("--canary", argc, argv, &i, &options.canary) || take_flag("--real", argv, i, &options.is_real) ||
            take_flag("--tell", argv, i, &options.is_told) || take_flag("--no-cut", argv, i, &options.is_uncut);
        if (!known) usage();
    }
    options.length = (size_t)length;
    options.large = (unsigned)large;
    if (options.target == NULL || length == 0) usage();
    return options;
}

/* ---- cutting a history down ---- */

static bool still_differs(struct player *player, struct play_options *play, bool *left_out) {
    size_t step;
    play->left_out = left_out;
    return !player_play(player, play, &step);
}

/* Leaves out ever smaller runs of steps as long as there is still a difference, any one. */
static void cut(struct player *player, struct play_options *play, size_t last, bool *left_out) {
    play->length = last + 1;
    bool *attempt = NEW_ARRAY(bool, play->length);
    for (size_t size = play->length / 2; size > 0; size /= 2)
        for (size_t from = 0; from + size <= play->length; from += size) {
            memcpy(attempt, left_out, play->length);
            memset(attempt + from, true, size);
            if (memcmp(attempt, left_out, play->length) != 0 && still_differs(player, play, attempt))
                memcpy(left_out, attempt, play->length);
        }
    mem_free(attempt);
}

static void tell_steps(const struct options *options, const struct play_options *play, const bool *left_out) {
    printf("again: --seed %" PRIu64 " --length %zu%s --steps ", play->history.seed, play->length,
           options->is_real ? " --real" : "");
    const char *comma = "";
    for (size_t i = 0; i < play->length; i++)
        if (!left_out[i]) {
            printf("%s%zu", comma, i);
            comma = ",";
        }
    printf("\n");
}

static void explain(struct player *player, const struct options *options, struct play_options play, size_t step) {
    printf("DIFFERENCE, seed %" PRIu64 "\n%s", play.history.seed, player_difference(player));
    if (options->is_uncut || options->steps != NULL || step == SIZE_MAX) return;
    bool *left_out = NEW_ARRAY(bool, play.length);
    fflush(stdout);
    cut(player, &play, step < play.length ? step : play.length - 1, left_out);
    size_t last;
    play.is_told = true;
    play.left_out = left_out;
    printf("cut down:\n");
    fflush(stdout);
    if (player_play(player, &play, &last))
        printf("(it did not show again)\n");
    else
        printf("%s", player_difference(player));
    tell_steps(options, &play, left_out);
    mem_free(left_out);
}

static bool *only(const char *steps, size_t length) {
    bool *left_out = NEW_ARRAY(bool, length);
    memset(left_out, true, length);
    while (*steps != 0) {
        char *end;
        size_t step = strtoull(steps, &end, 10);
        if (end == steps || step >= length) usage();
        left_out[step] = false;
        steps = *end == ',' ? end + 1 : end;
    }
    return left_out;
}

static void tell_counts(const struct play_counts *counts) {
    printf("%" PRIu64 " steps:", counts->steps);
    for (int i = 0; i < MODEL_METHOD_COUNT; i++)
        printf(" %s %" PRIu64 " (%" PRIu64 " refused)", model_method_info((enum model_method)i)->name, counts->calls[i],
               counts->errors[i]);
    printf("; watch requests %" PRIu64 ", responses %" PRIu64 ", events %" PRIu64 "; leases ended %" PRIu64
           ", restarts %" PRIu64 "\n",
           counts->watches, counts->responses, counts->events, counts->expired, counts->restarts);
    for (int i = KNOWN_NONE + 1; i < KNOWN_COUNT; i++)
        if (counts->known[i] != 0)
            printf("known of 3.5.1: %s %" PRIu64 "\n", known_name((enum known)i), counts->known[i]);
}

int main(int argc, char **argv) {
    struct options options = read_options(argc, argv);
    bool is_sim = strcmp(options.target, "sim") == 0;
    struct target *target = is_sim ? target_sim_open() : target_socket_open(options.target);
    struct play_counts counts = {0};
    struct player *player = player_new(target, &counts);
    struct play_options play = {.length = options.length, .is_told = options.is_told};
    play.is_real = options.is_real;
    play.alters_answer = options.canary != NULL && strcmp(options.canary, "answer") == 0;
    play.drops_response = options.canary != NULL && strcmp(options.canary, "watch") == 0;
    play.history = (struct history_options){.seed = options.seed,
                                            .has_time = target->ops->pass != NULL,
                                            .is_fragile = options.is_real,
                                            .large_per_million = options.large};
    bool *left_out = options.steps != NULL ? only(options.steps, options.length) : NULL;
    int status = 0;
    do {
        size_t step;
        play.left_out = left_out;
        if (!player_play(player, &play, &step)) {
            explain(player, &options, play, step);
            status = step == SIZE_MAX ? 2 : 1;
        }
        play.history.seed++;
    } while (status == 0 && counts.steps < options.ops && options.steps == NULL);
    tell_counts(&counts);
    mem_free(left_out);
    player_free(player);
    target_free(target);
    return status;
}
