/* Options: values as Go reads them, the command line, variables, the YAML file, and what is judged wrong. */
#include "etcd/options.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const struct option_row *row(const char *name) {
    const struct option_row *found = option_find(name, strlen(name));
    assert_non_null(found);
    return found;
}

static void every_default_in_the_table_is_accepted(void **state) {
    struct options options;
    options_init(&options);
    assert_string_equal(options.name, "default");
    assert_int_equal(options.heartbeat_interval_ms, 100);
    assert_int_equal(options.grpc_keepalive_interval_ns, 7200000000000ll);
    assert_int_equal(options.max_concurrent_streams, UINT32_MAX);
    assert_int_equal(options.listen_client_urls.count, 1);
    assert_string_equal(options.listen_client_urls.items[0].text, "http://localhost:2379");
    assert_true(options.pre_vote);
    assert_int_equal(options.cors.count, 1);
    options_release(&options);
}

static void rows_have_names_variables_and_keys_of_their_own(void **state) {
    for (size_t i = 0; i < option_row_count; i++)
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(option_rows[i].name, option_rows[j].name);
            if (option_rows[i].yaml != NULL && option_rows[j].yaml != NULL)
                assert_string_not_equal(option_rows[i].yaml, option_rows[j].yaml);
        }
    struct buf variable = BUF_INIT;
    assert_string_equal(option_variable(row("listen-client-urls"), &variable), "ETCD_LISTEN_CLIENT_URLS");
    buf_release(&variable);
}

static void values_are_read_as_go_reads_them(void **state) {
    static const struct {
        const char *flag, *text, *problem; /* NULL: accepted */
    } cases[] = {
        {"heartbeat-interval", "0x10", NULL},
        {"heartbeat-interval", "1_000", "parse error"},
        {"heartbeat-interval", "0b1_01", NULL},
        {"heartbeat-interval", "", "parse error"},
        {"heartbeat-interval", "-1", "parse error"},
        {"heartbeat-interval", "18446744073709551616", "value out of range"},
        {"quota-backend-bytes", "-9223372036854775808", NULL},
        {"quota-backend-bytes", "9223372036854775808", "value out of range"},
        {"max-concurrent-streams", "4294967296", "strconv.ParseUint: parsing \"4294967296\": value out of range"},
        {"max-concurrent-streams", "x", "strconv.ParseUint: parsing \"x\": invalid syntax"},
        {"pre-vote", "T", NULL},
        {"pre-vote", "yes", "parse error"},
        {"grpc-keepalive-timeout", "1h2m3.5s", NULL},
        {"grpc-keepalive-timeout", "5", "parse error"},
        {"initial-cluster-state", "existing", NULL},
        {"initial-cluster-state", "exist", "invalid value"},
        {"initial-cluster-state", "", "invalid value"},
        {"v2-deprecation", "foo", "invalid value \"foo\""},
        {"listen-peer-urls", "http://10.0.0.1", "URL address does not have the form \"host:port\": http://10.0.0.1"},
        {"listen-peer-urls", "", NULL},
        {"cors", "foo", "URL scheme must be http, https, unix, or unixs: foo"},
        {"cors", "*", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options options;
        struct errmsg problem = {""};
        options_init(&options);
        bool is_accepted = option_set(&options, row(cases[i].flag), cases[i].text, &problem);
        assert_string_equal(is_accepted ? "" : problem.text, cases[i].problem != NULL ? cases[i].problem : "");
        options_release(&options);
    }
}

static void lists_are_split_sorted_and_made_single(void **state) {
    struct options options;
    struct errmsg problem;
    options_init(&options);
    assert_true(option_set(&options, row("log-outputs"), "stdout,b,a,b", &problem));
    assert_int_equal(options.log_outputs.count, 3);
    assert_string_equal(options.log_outputs.items[0], "a");
    assert_string_equal(options.log_outputs.items[2], "stdout");
    assert_true(option_set(&options, row("cipher-suites"), "B,A", &problem));
    assert_string_equal(options.cipher_suites.items[0], "B");
    assert_true(option_set(&options, row("listen-client-urls"), "http://b:1,http://a:1", &problem));
    assert_string_equal(options.listen_client_urls.items[0].text, "http://a:1");
    assert_true(option_set(&options, row("listen-client-urls"), "http://b:1", &problem)); /* is in it: no change */
    assert_int_equal(options.listen_client_urls.count, 2);
    options_release(&options);
}

static void the_command_line_is_read_as_the_flag_package_does(void **state) {
    struct options options;
    struct errmsg message;
    options_init(&options);
    char *good[] = {(char[]){"-name"},          (char[]){"a=b"}, (char[]){"--pre-vote=false"},
                    (char[]){"--enable-pprof"}, (char[]){"--v"}, (char[]){"--"}};
    assert_int_equal(arguments_read(&options, 6, good, &message), OK);
    assert_string_equal(options.name, "a=b");
    assert_false(options.pre_vote);
    assert_true(options.enable_pprof);
    assert_true(option_is_given(&options, "name"));
    assert_false(option_is_given(&options, "data-dir"));
    char *left[] = {(char[]){"--enable-pprof"}, (char[]){"true"}};
    assert_int_equal(arguments_read(&options, 2, left, &message), ERR_INVALID);
    assert_string_equal(message.text, "'true' is not a valid flag");
    options_release(&options);
}

static void variables_set_what_the_command_line_did_not(void **state) {
    struct options options;
    struct errmsg message;
    options_init(&options);
    setenv("ETCD_SNAPSHOT_COUNT", "77", 1);
    setenv("ETCD_MAX_WALS", "x", 1);
    setenv("ETCD_NAME", "", 1);
    assert_int_equal(environment_read(&options, NULL, (char *[]){NULL}, &message), ERR_INVALID);
    assert_string_equal(message.text, "invalid value \"x\" for ETCD_MAX_WALS: parse error");
    assert_int_equal(options.snapshot_count, 77);
    assert_string_equal(options.name, "default");
    assert_true(option_is_given(&options, "snapshot-count"));
    unsetenv("ETCD_SNAPSHOT_COUNT");
    unsetenv("ETCD_MAX_WALS");
    unsetenv("ETCD_NAME");
    options_release(&options);
}

static void listening_without_advertising_is_noticed(void **state) {
    struct options options;
    struct errmsg message;
    options_init(&options);
    char *arguments[] = {(char[]){"--listen-client-urls=http://127.0.0.1:1"}};
    assert_int_equal(arguments_read(&options, 1, arguments, &message), OK);
    options_settle(&options, NULL);
    assert_int_equal(options_validate(&options, NULL, &message), ERR_INVALID);
    assert_string_equal(message.text, options_advertise_missing);
    options_release(&options);
}

/* ---- the file ---- */

static enum err read_text(struct options *options, const char *text, struct errmsg *message) {
    char path[] = P_tmpdir "/etcd-options-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs(text, file);
    fclose(file);
    enum err error = configfile_read(options, path, message);
    unlink(path);
    return error;
}

static void a_file_sets_values_of_every_kind(void **state) {
    struct options options;
    struct errmsg message;
    options_init(&options);
    const char *text = "NAME: m\n" /* keys match in any case */
                       "snapshot-count: 5\n"
                       "pre-vote: no\n"
                       "grpc-keepalive-timeout: 5000000000\n"
                       "quota-backend-bytes: -1\n"
                       "listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2\n"
                       "log-outputs: [stdout, a]\n"
                       "socket-options:\n  reuse-port: true\n"
                       "client-transport-security:\n  cert-file: c\n  allowed-cn: [x]\n"
                       "nosuch: 1\n"
                       "wal-dir:\n"
                       "name: b\n";
    if (read_text(&options, text, &message) != OK) fail_msg("%s", message.text);
    assert_string_equal(options.name, "b"); /* "NAME" sorts before "name" */
    assert_int_equal(options.snapshot_count, 5);
    assert_false(options.pre_vote);
    assert_int_equal(options.grpc_keepalive_timeout_ns, 5000000000ll);
    assert_int_equal(options.quota_backend_bytes, -1);
    assert_int_equal(options.listen_client_urls.count, 2);
    assert_int_equal(options.log_outputs.count, 2);
    assert_true(options.socket_reuse_port);
    assert_string_equal(options.client_tls.cert_file, "c");
    assert_int_equal(options.client_tls.allowed_cn.count, 1);
    assert_string_equal(options.wal_dir, "");
    options_release(&options);
}

static void wrong_types_in_a_file_are_told_in_gos_words(void **state) {
#define UNMARSHAL "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"snapshot-count: abc\n",
         UNMARSHAL "string into Go struct field configYAML.Config.snapshot-count of type uint64"},
        {"snapshot-count: -1\n",
         UNMARSHAL "number -1 into Go struct field configYAML.Config.snapshot-count of type uint64"},
        {"name: 5\n", UNMARSHAL "number into Go struct field configYAML.Config.name of type string"},
        {"name: {a: b}\n", UNMARSHAL "object into Go struct field configYAML.Config.name of type string"},
        {"name: [a]\n", UNMARSHAL "array into Go struct field configYAML.Config.name of type string"},
        {"pre-vote: \"false\"\n", UNMARSHAL "string into Go struct field configYAML.Config.pre-vote of type bool"},
        {"z: 1\npre-vote: 1\nname: 5\n", /* by key, not by line */
         UNMARSHAL "number into Go struct field configYAML.Config.name of type string"},
        {"log-outputs: stdout\n",
         UNMARSHAL "string into Go struct field configYAML.Config.log-outputs of type []string"},
        {"cors: 1\n", UNMARSHAL "number into Go struct field configYAML.configJSON.cors of type string"},
        {"socket-options: 1\n",
         UNMARSHAL "number into Go struct field configYAML.Config.socket-options of type transport.SocketOpts"},
        {"[1]\n", UNMARSHAL "array into Go value of type embed.configYAML"},
        {"name: [\n", "error converting YAML to JSON: yaml: line 1: did not find expected node content"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options options;
        struct errmsg message = {""};
        options_init(&options);
        assert_int_equal(read_text(&options, cases[i].text, &message), ERR_INVALID);
        assert_string_equal(message.text, cases[i].problem);
        options_release(&options);
    }
}

/* Any cut of a file, and any byte of it changed, is read or refused, never worse. */
static void damaged_files_are_read_or_refused(void **state) {
    const char *text = "name: \"m\"\nlog-outputs: [a, b]\nclient-transport-security: {cert-file: &x c, key-file: *x}\n";
    size_t len = strlen(text);
    for (size_t cut = 0; cut <= len; cut++)
        for (int damage = 0; damage < 4; damage++) {
            char *copy = mem_strdup(text);
            if (cut < len) copy[cut] = "\0[\x80:"[damage];
            struct options options;
            struct errmsg message;
            options_init(&options);
            enum err error = read_text(&options, copy, &message);
            assert_true(error == OK || error == ERR_INVALID);
            options_release(&options);
            mem_free(copy);
        }
}

static void retention_is_hours_revisions_or_a_duration(void **state) {
    static const struct {
        const char *mode, *text;
        int64_t retention; /* -1: refused */
    } cases[] = {
        {"periodic", "0", 0},
        {"periodic", "2", 7200000000000ll},
        {"periodic", "5m", 300000000000ll},
        {"revision", "1000", 1000},
        {"revision", "1h", 3600000000000ll},
        {"periodic", "x", -1},
        {"periodic", "", 0},
        {"", "1", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options options;
        struct errmsg message;
        int64_t retention = -1;
        options_init(&options);
        option_set(&options, row("auto-compaction-mode"), cases[i].mode, &message);
        option_set(&options, row("auto-compaction-retention"), cases[i].text, &message);
        enum err error = options_retention(&options, &retention, &message);
        assert_int_equal(error == OK, cases[i].retention >= 0);
        assert_int_equal(retention, cases[i].retention);
        options_release(&options);
    }
}

static void the_initial_cluster_follows_the_name(void **state) {
    struct options options;
    struct errmsg message;
    options_init(&options);
    CLEANUP_FREE char *before = mem_strdup(options.initial_cluster);
    option_set(&options, row("name"), "m", &message);
    option_set(&options, row("initial-advertise-peer-urls"), "http://b:1,http://a:1", &message);
    options_follow_name(&options, before);
    assert_string_equal(options.initial_cluster, "m=http://a:1,m=http://b:1");
    options_release(&options);
}

static void help_names_every_flag_that_has_a_group(void **state) {
    struct buf text = BUF_INIT, line = BUF_INIT;
    help_flags(&text);
    for (size_t i = 0; i < option_row_count; i++) {
        buf_clear(&line);
        buf_printf(&line, "\n  --%s '", option_rows[i].name);
        bool is_there = strstr(buf_cstr(&text), buf_cstr(&line)) != NULL;
        assert_int_equal(is_there, option_rows[i].group != GROUP_HIDDEN);
    }
    buf_release(&text);
    buf_release(&line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_in_the_table_is_accepted),
        cmocka_unit_test(rows_have_names_variables_and_keys_of_their_own),
        cmocka_unit_test(values_are_read_as_go_reads_them),
        cmocka_unit_test(lists_are_split_sorted_and_made_single),
        cmocka_unit_test(the_command_line_is_read_as_the_flag_package_does),
        cmocka_unit_test(variables_set_what_the_command_line_did_not),
        cmocka_unit_test(listening_without_advertising_is_noticed),
        cmocka_unit_test(a_file_sets_values_of_every_kind),
        cmocka_unit_test(wrong_types_in_a_file_are_told_in_gos_words),
        cmocka_unit_test(damaged_files_are_read_or_refused),
        cmocka_unit_test(retention_is_hours_revisions_or_a_duration),
        cmocka_unit_test(the_initial_cluster_follows_the_name),
        cmocka_unit_test(help_names_every_flag_that_has_a_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
