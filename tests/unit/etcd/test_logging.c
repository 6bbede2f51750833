/* Where lines go: streams and files, thinned out, put aside when a file has grown. */
#include "etcd/logging.h"
#include "etcd/rotation.h"

#include "base/mem.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = P_tmpdir "/etcd-logging-XXXXXX";

static int make_folder(void **state) { return mkdtemp(folder) == NULL; }

static size_t list_files(struct dirent ***ret_names) {
    struct dirent **names;
    int count = scandir(folder, &names, NULL, alphasort);
    assert_true(count >= 2);
    free(names[0]); /* . and .. sort first */
    free(names[1]);
    memmove(names, names + 2, (size_t)(count - 2) * sizeof *names);
    *ret_names = names;
    return (size_t)count - 2;
}

static void path_of(const char *name, struct buf *out) {
    buf_clear(out);
    buf_printf(out, "%s/%s", folder, name);
    buf_cstr(out);
}

static int empty_folder(void **state) {
    struct dirent **names;
    size_t count = list_files(&names);
    struct buf path = BUF_INIT;
    for (size_t i = 0; i < count; i++) {
        path_of(names[i]->d_name, &path);
        unlink(buf_cstr(&path));
        free(names[i]);
    }
    free(names);
    buf_release(&path);
    return 0;
}

static int remove_folder(void **state) { return empty_folder(state) != 0 || rmdir(folder) != 0; }

static size_t count_lines(const char *name, const char *word) {
    struct buf path = BUF_INIT;
    path_of(name, &path);
    FILE *file = fopen(buf_cstr(&path), "r");
    buf_release(&path);
    assert_non_null(file);
    char line[1000];
    size_t count = 0;
    while (fgets(line, sizeof line, file) != NULL) count += strstr(line, word) != NULL;
    fclose(file);
    return count;
}

static void set(struct options *options, const char *flag, const char *text) {
    struct errmsg problem;
    assert_true(option_set(options, option_find(flag, strlen(flag)), text, &problem));
}

static struct logging *open_file_log(struct options *options) {
    struct buf path = BUF_INIT;
    path_of("e.log", &path);
    options_init(options);
    set(options, "log-outputs", buf_cstr(&path));
    set(options, "log-level", "WARN");
    buf_release(&path);
    struct logging *logging;
    struct errmsg message;
    assert_int_equal(logging_open(options, &logging, &message), OK);
    return logging;
}

static void lines_of_the_level_and_above_go_to_the_file(void **state) {
    struct options options;
    struct logging *logging = open_file_log(&options);
    log_info(logging_log(logging), "quiet");
    log_warn(logging_log(logging), "loud", LOG_INT("n", 1));
    logging_close(logging);
    assert_int_equal(count_lines("e.log", ""), 1);
    assert_int_equal(count_lines("e.log", "\"msg\":\"loud\",\"n\":1}"), 1);
    options_release(&options);
}

static void a_flood_of_one_message_is_thinned_out(void **state) {
    struct options options;
    struct logging *logging = open_file_log(&options);
    for (int i = 0; i < 1000; i++) log_warn(logging_log(logging), "same \"text\"", LOG_INT("n", i));
    log_warn(logging_log(logging), "another");
    logging_close(logging);
    size_t kept = count_lines("e.log", "same");
    /* 100 of the first and every hundredth of the other 900; at most once more when the second changed meanwhile */
    assert_in_range(kept, 109, 218);
    assert_int_equal(count_lines("e.log", "another"), 1);
    options_release(&options);
}

static void mistakes_are_told_in_etcds_words(void **state) {
    static const struct {
        const char *flag, *text, *problem;
    } cases[] = {
        {"logger", "capnslog", "--logger=capnslog is removed in v3.5"},
        {"logger", "xx", "unknown logger option \"xx\""},
        {"log-outputs", "default,stdout", "multi logoutput for \"default\" is not supported yet"},
        {"log-outputs", "/nosuch/x.log",
         "couldn't open sink \"/nosuch/x.log\": open /nosuch/x.log: no such file or directory"},
        {"log-outputs", "a,systemd/journal",
         "running with systemd/journal but other '--log-outputs' values ([\"a\" \"systemd/journal\"]) are configured "
         "with "
         "'default'; override 'default' value with something else"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options options;
        struct logging *logging;
        struct errmsg message;
        options_init(&options);
        set(&options, cases[i].flag, cases[i].text);
        assert_int_equal(logging_open(&options, &logging, &message), ERR_INVALID);
        assert_string_equal(message.text, cases[i].problem);
        options_release(&options);
    }
}

static void rotation_settings_are_read_as_go_reads_them(void **state) {
    struct rotation_config config;
    struct errmsg message;
    assert_int_equal(rotation_config_parse("{\"maxsize\": 1, \"compress\": true, \"x\": 1}", &config, &message), OK);
    assert_int_equal(config.max_size_mb, 1);
    assert_true(config.compress);
    static const struct {
        const char *json, *problem;
    } cases[] = {
        {"{bad",
         "improperly formatted log rotation config: invalid character 'b' looking for beginning of object key string"},
        {"", "improperly formatted log rotation config: unexpected end of JSON input"},
        {"{\"maxsize\":\"a\"}", "invalid log rotation config: json: cannot unmarshal string into Go struct field "
                                "logRotationConfig.Logger.maxsize of type int"},
        {"{\"compress\":1}", "invalid log rotation config: json: cannot unmarshal number into Go struct field "
                             "logRotationConfig.Logger.compress of type bool"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(rotation_config_parse(cases[i].json, &config, &message), ERR_INVALID);
        assert_string_equal(message.text, cases[i].problem);
    }
}

static void a_grown_file_is_put_aside_and_old_ones_go(void **state) {
    struct buf path = BUF_INIT;
    path_of("r.log", &path);
    struct rotation_config config = {.max_size_mb = 1, .max_backups = 2};
    struct rotation *rotation = rotation_new(buf_cstr(&path), &config);
    static uint8_t block[256 * 1024];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 4 * 5; i++) rotation_write(rotation, slice_make(block, sizeof block));
    rotation_free(rotation);
    struct dirent **names;
    size_t count = list_files(&names);
    assert_int_equal(count, 3); /* two put aside and the one in use */
    assert_int_equal(strlen(names[0]->d_name), strlen("r-2006-01-02T15-04-05.000.log"));
    assert_string_equal(names[2]->d_name, "r.log");
    for (size_t i = 0; i < count; i++) free(names[i]);
    free(names);
    buf_release(&path);
}

static void files_put_aside_are_compressed(void **state) {
    struct buf path = BUF_INIT;
    path_of("z.log", &path);
    struct rotation_config config = {.max_size_mb = 1, .compress = true};
    struct rotation *rotation = rotation_new(buf_cstr(&path), &config);
    static uint8_t block[600 * 1024];
    rotation_write(rotation, slice_make(block, sizeof block));
    rotation_write(rotation, slice_make(block, sizeof block));
    rotation_free(rotation);
    struct dirent **names;
    size_t count = list_files(&names);
    assert_int_equal(count, 2);
    assert_non_null(strstr(names[0]->d_name, ".log.gz"));
    for (size_t i = 0; i < count; i++) free(names[i]);
    free(names);
    buf_release(&path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(lines_of_the_level_and_above_go_to_the_file, empty_folder),
        cmocka_unit_test_teardown(a_flood_of_one_message_is_thinned_out, empty_folder),
        cmocka_unit_test(mistakes_are_told_in_etcds_words),
        cmocka_unit_test(rotation_settings_are_read_as_go_reads_them),
        cmocka_unit_test_teardown(a_grown_file_is_put_aside_and_old_ones_go, empty_folder),
        cmocka_unit_test_teardown(files_put_aside_are_compressed, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
