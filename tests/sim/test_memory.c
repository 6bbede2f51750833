/* The allocation sweep: each allocation of a member's life fails in turn.
 *
 * At an allocation the process forks; in the child it fails. A member that can't get memory ends with a line and
 * status 2 (base/mem.h), which is a crash like any other: the crash sweep has shown for every moment that nothing
 * acknowledged is lost then. Should one get over it, it plays the scenario to its end and must have every state right.
 *
 * SIM_EVERY=n: each n-th allocation only. */
#include "base/check.h"
#include "base/mem.h"
#include "sim/script.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BATCHES 25
#define STATUS_OUT_OF_MEMORY 2
#define STATUS_WENT_ON 7
#define STATUS_WRONG_STATE 8
#define OUTPUT_BYTES 4000

struct sweep {
    uint64_t every;
    uint64_t allocations, failed, ended, went_on;
    bool is_child; /* what it has left to do, it does with memory */
};

static struct script rehearsed;

/* What the child says about its end. */
static void read_all(int from, char *text) {
    ssize_t got, length = 0;
    while ((got = read(from, text + length, (size_t)(OUTPUT_BYTES - 1 - length))) > 0) length += got;
    text[length] = 0;
}

static void judge(struct sweep *self, int status, const char *output) {
    bool has_ended = WIFEXITED(status) && WEXITSTATUS(status) == STATUS_OUT_OF_MEMORY;
    bool went_on = WIFEXITED(status) && WEXITSTATUS(status) == STATUS_WENT_ON;
    self->ended += has_ended;
    self->went_on += went_on;
    bool has_told = strncmp(output, "out of memory (", strlen("out of memory (")) == 0;
    if (went_on || (has_ended && has_told)) return;
    fprintf(stderr, "allocation %llu: status %#x, output:\n%s", (unsigned long long)self->allocations, status, output);
    abort();
}

static int on_allocation(void *context, size_t size_bytes) {
    struct sweep *self = context;
    if (self->is_child || self->allocations++ % self->every != 0) return 1;
    int ends[2];
    char output[OUTPUT_BYTES];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        self->is_child = true;
        dup2(ends[1], STDERR_FILENO);
        return 0;
    }
    int status;
    close(ends[1]);
    read_all(ends[0], output);
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    self->failed++;
    judge(self, status, output);
    return 1;
}

/* A child that is still there at the end has got over it. */
static void end_child(struct sweep *self, struct sim_stage *stage) {
    struct sim_state state;
    if (!self->is_child) return;
    bool is_right = sim_stage_state(stage, 0, &state) && script_allows(&rehearsed, &state);
    _exit(is_right ? STATUS_WENT_ON : STATUS_WRONG_STATE);
}

static void test_each_allocation_that_fails_ends_clean(void **state) {
    const char *every = getenv("SIM_EVERY");
    struct sweep sweep = {.every = every != NULL && *every != 0 ? strtoull(every, NULL, 10) : 1};
    struct sim_stage stage;
    script_init(&rehearsed, 4, BATCHES);
    script_rehearse(&rehearsed);
    sim_stage_init(&stage, rehearsed.seed, &script_options);
    rehearsed.acked = rehearsed.sent = 0;
    mem_set_fail_hook(on_allocation, &sweep);
    sim_stage_start(&stage);
    bool is_over = script_run(&rehearsed, &stage);
    end_child(&sweep, &stage);
    assert_true(is_over);
    sim_stage_stop(&stage);
    sim_stage_start(&stage); /* the start of a member with a past */
    end_child(&sweep, &stage);
    sim_stage_stop(&stage);
    mem_set_fail_hook(NULL, NULL);
    sim_stage_release(&stage);
    script_release(&rehearsed);
    fprintf(stderr, "%llu allocations, %llu of them failed: %llu ended with a line, %llu went on\n",
            (unsigned long long)sweep.allocations, (unsigned long long)sweep.failed, (unsigned long long)sweep.ended,
            (unsigned long long)sweep.went_on);
    assert_int_not_equal(sweep.ended, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_that_fails_ends_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
