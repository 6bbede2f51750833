/* The real world keeps env.h's promises: timers, workers, files, locks. */
#include "os/os.h"

#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LIMIT_NS 120000000000ll
/* Between two timers whose order is judged: longer than a busy machine holds a thread up. */
#define STEP_NS 200000000ll

static int order[16];
static int order_count;

static bool order_is_full(void *context) { return order_count >= *(int *)context; }
static void note_timer(struct env_timer *timer) { order[order_count++] = *(int *)timer->context; }

static void timers_fire_in_the_order_of_their_time(void **state) {
    struct os_world *world = os_world_new(NULL);
    struct env *env = os_world_env(world);
    int names[] = {0, 1, 2, 3};
    struct env_timer timers[4] = {0};
    for (int i = 0; i < 4; i++) timers[i] = (struct env_timer){.callback = note_timer, .context = &names[i]};
    order_count = 0;
    env_timer_start(env, &timers[0], 3 * STEP_NS);
    env_timer_start(env, &timers[1], 1 * STEP_NS);
    env_timer_start(env, &timers[2], 2 * STEP_NS);
    env_timer_start(env, &timers[3], STEP_NS / 2);
    env_timer_stop(env, &timers[3]);
    env_timer_start(env, &timers[1], 4 * STEP_NS); /* moved */
    int expected = 3;
    assert_true(os_world_run(world, order_is_full, &expected, LIMIT_NS));
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 0);
    assert_int_equal(order[2], 1);
    assert_false(env_timer_is_running(&timers[3]));
    os_world_free(world);
}

struct numbered {
    struct env_job job;
    int number;
    bool has_run;
};

static void mark_run(struct env_job *job) { CONTAINER_OF(job, struct numbered, job)->has_run = true; }
static void note_done(struct env_job *job) {
    struct numbered *numbered = CONTAINER_OF(job, struct numbered, job);
    assert_true(numbered->has_run);
    order[order_count++] = numbered->number;
}

static void a_worker_runs_its_jobs_in_order_and_ends_them_before_it_goes(void **state) {
    struct os_world *world = os_world_new(NULL);
    struct env_worker *worker = env_worker_new(os_world_env(world), "test");
    struct numbered jobs[8] = {0};
    order_count = 0;
    for (int i = 0; i < 8; i++) {
        jobs[i] = (struct numbered){.job = {.run = mark_run, .done = note_done}, .number = i};
        env_worker_submit(worker, &jobs[i].job);
    }
    env_worker_free(worker);
    assert_int_equal(order_count, 8);
    for (int i = 0; i < 8; i++) assert_int_equal(order[i], i);
    os_world_free(world);
}

static void the_pool_calls_done_once_for_each_job(void **state) {
    struct os_world *world = os_world_new(NULL);
    struct numbered jobs[8] = {0};
    order_count = 0;
    for (int i = 0; i < 8; i++) {
        jobs[i] = (struct numbered){.job = {.run = mark_run, .done = note_done}, .number = i};
        env_pool_submit(os_world_env(world), &jobs[i].job);
    }
    os_world_free(world);
    assert_int_equal(order_count, 8);
}

static void files_do_what_they_are_told(void **state) {
    struct os_world *world = os_world_new(NULL);
    struct env *env = os_world_env(world);
    char dir[] = "/tmp/etcd-c-os-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct buf path = BUF_INIT, inner = BUF_INIT;
    buf_printf(&inner, "%s/a/b", dir);
    assert_int_equal(env_mkdir_all(env, buf_cstr(&inner), 0700), OK);
    buf_printf(&path, "%s/file", buf_cstr(&inner));
    struct env_file *file;
    assert_int_equal(env_open(env, buf_cstr(&path), ENV_READ, 0, &file), ERR_NOT_FOUND_FILE);
    assert_int_equal(env_open(env, buf_cstr(&path), ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, 0600, &file), OK);
    struct slice pieces[] = {SLICE_LITERAL("hello "), SLICE_LITERAL(""), SLICE_LITERAL("world")};
    assert_int_equal(env_pwritev(file, pieces, 3, 2), OK);
    char bytes[32];
    size_t got;
    assert_int_equal(env_pread(file, bytes, sizeof bytes, 0, &got), OK);
    assert_int_equal(got, 13);
    assert_memory_equal(bytes, "\0\0hello world", 13);
    const uint8_t *view;
    assert_int_equal(env_map(file, 1 << 20, &view), OK);
    assert_memory_equal(view + 2, "hello", 5);
    assert_int_equal(env_pwrite(file, "H", 1, 2), OK);
    assert_int_equal(view[2], 'H');
    env_unmap(env, view, 1 << 20);
    assert_int_equal(env_allocate(file, 0, 8192), OK);
    int64_t size;
    assert_int_equal(env_file_size(file, &size), OK);
    assert_int_equal(size, 8192);

    struct env_file *other;
    assert_int_equal(env_open(env, buf_cstr(&path), ENV_WRITE, 0, &other), OK);
    assert_int_equal(env_lock(file, ENV_LOCK_OFD, true), OK);
    assert_int_equal(env_lock(other, ENV_LOCK_OFD, true), ERR_LOCKED);
    assert_int_equal(env_lock(file, ENV_LOCK_FLOCK, true), OK);
    assert_int_equal(env_lock(other, ENV_LOCK_FLOCK, true), ERR_LOCKED);
    env_close(file);
    assert_int_equal(env_lock(other, ENV_LOCK_FLOCK, true), OK);
    env_close(other);

    struct env_names names;
    assert_int_equal(env_list(env, buf_cstr(&inner), &names), OK);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.names[0], "file");
    env_names_release(&names);
    assert_int_equal(env_remove_all(env, dir), OK);
    struct env_stat stat;
    assert_int_equal(env_stat(env, dir, &stat), ERR_NOT_FOUND_FILE);
    assert_int_equal(env_remove_all(env, dir), OK);
    buf_release(&path);
    buf_release(&inner);
    os_world_free(world);
}

static void freed_memory_goes_back_to_the_system(void **state) {
    enum { BLOCKS = 100000, BLOCK_BYTES = 2000 };
    void **blocks = NEW_ARRAY(void *, BLOCKS);
    for (size_t i = 0; i < BLOCKS; i++) blocks[i] = memset(mem_alloc(BLOCK_BYTES), 1, BLOCK_BYTES);
    for (size_t i = 0; i < BLOCKS; i++)
        if (i % 500 != 0) mem_free(blocks[i]);                      /* those that stay keep all below them */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* whose memory glibc does not know */
    assert_true(os_memory_trim((size_t)BLOCKS * BLOCK_BYTES / 2));
    assert_false(os_memory_trim((size_t)BLOCKS * BLOCK_BYTES / 2));
#endif
    for (size_t i = 0; i < BLOCKS; i += 500) mem_free(blocks[i]);
    mem_free(blocks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_the_order_of_their_time),
        cmocka_unit_test(a_worker_runs_its_jobs_in_order_and_ends_them_before_it_goes),
        cmocka_unit_test(the_pool_calls_done_once_for_each_job),
        cmocka_unit_test(files_do_what_they_are_told),
        cmocka_unit_test(freed_memory_goes_back_to_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
