/* options.c - everything that sets a member's options: the command line, the environment, the file of --config-file,
 * and the judgement on them. Mistakes may end the process, as in etcd: here that ends the input.
 *
 * The first byte: 1 arguments, 2 environment (parts with 0xff behind each, a part 0xff ends the list), 4 the rest is
 * the file, 8 judge. */
#include "fuzz/fuzz.h"

#include "base/vec.h"
#include "etcd/options.h"
#include "etcd/rotation.h"

#include <setjmp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORDS_MAX 32

/* What is left behind where the process would have ended is no leak. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }

static jmp_buf end_of_process;
static bool may_end;

/* The linker puts it in exit's place (CMakeLists.txt). */
_Noreturn void __real_exit(int status);
_Noreturn void __wrap_exit(int status);
_Noreturn void __wrap_exit(int status) {
    if (may_end) longjmp(end_of_process, 1);
    __real_exit(status);
}

struct words {
    char *items[WORDS_MAX + 1]; /* NULL behind the last */
    size_t count;
};

static void take_words(struct words *self, struct fuzz_input *input) {
    *self = (struct words){.count = 0};
    while (fuzz_left(input) != 0 && self->count < WORDS_MAX) {
        struct slice word = fuzz_part(input);
        if (word.len == 0) break;
        self->items[self->count++] = fuzz_text(word);
    }
}

static void drop_words(struct words *self) {
    for (size_t i = 0; i < self->count; i++) free(self->items[i]);
}

/* A file's path with this content. */
static const char *put_file(struct slice content) {
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("config", 0);
        CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, content.data, content.len, 0) == (ssize_t)content.len);
    return path;
}

static void check_message(enum err error, const struct errmsg *message) { CHECK(error == OK || message->text[0] != 0); }

static void judge(struct options *options) {
    struct errmsg message = {""};
    int64_t retention;
    options_settle(options, NULL);
    options_follow_name(options, "default=http://localhost:2380");
    check_message(options_validate(options, NULL, &message), &message);
    message.text[0] = 0;
    check_message(options_retention(options, &retention, &message), &message);
    struct rotation_config rotation;
    message.text[0] = 0;
    check_message(rotation_config_parse(options->log_rotation_config_json, &rotation, &message), &message);
    configfile_check_proxy(options);
}

/* A value that was taken is printed in help without harm, too. */
static void read_all(struct options *options, uint8_t choice, struct words *arguments, struct words *environment,
                     struct slice file) {
    struct errmsg message = {""};
    enum err error = OK;
    if (choice & 1) error = arguments_read(options, (int)arguments->count, arguments->items, &message);
    check_message(error, &message);
    if (error == OK && (choice & 2)) {
        char **before = environ;
        environ = environment->items;
        error = environment_read(options, NULL, environment->items, &message);
        environ = before;
        check_message(error, &message);
    }
    if (error == OK && (choice & 4)) {
        error = configfile_read(options, put_file(file), &message);
        check_message(error, &message);
    }
    if (error == OK && (choice & 8)) judge(options);
    for (size_t i = 0; i < option_row_count; i++) CHECK(option_value(options, &option_rows[i]) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static FILE *nowhere;
    if (nowhere == NULL) nowhere = fopen("/dev/null", "w");
    struct fuzz_input input = {data, data + size};
    uint8_t choice = fuzz_byte(&input);
    struct words arguments = {.count = 0}, environment = {.count = 0};
    if (choice & 1) take_words(&arguments, &input);
    if (choice & 2) take_words(&environment, &input);
    FILE *out = stdout, *errors = stderr;
    char **before = environ;
    struct options options;
    options_init(&options);
    stdout = stderr = nowhere;
    may_end = true;
    if (setjmp(end_of_process) == 0) {
        read_all(&options, choice, &arguments, &environment, fuzz_rest(&input));
        options_release(&options);
    }
    may_end = false;
    environ = before;
    stdout = out;
    stderr = errors;
    drop_words(&arguments);
    drop_words(&environment);
    return 0;
}
