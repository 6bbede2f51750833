/* The lines of transactions and of interactive watches. */
#include "etcdctl/txn_lines.h"
#include "etcdctl/watch_args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct failure failure;
    struct buf notes;
};

static int set_up(void **state) {
    struct fixture *self = NEW(struct fixture);
    arena_init(&self->arena, 0);
    *state = self;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *self = *state;
    arena_release(&self->arena);
    failure_release(&self->failure);
    buf_release(&self->notes);
    mem_free(self);
    return 0;
}

/* ---- comparisons ---- */

static Etcdserverpb__Compare *compare(struct fixture *self, const char *line) {
    Etcdserverpb__Compare *result = NULL;
    if (!txn_parse_compare(slice_from_cstr(line), &self->arena, &result, &self->failure))
        fail_msg("%s: %s", line, buf_cstr(&self->failure.text));
    return result;
}

static void refuse_compare(struct fixture *self, const char *line, int code, const char *text) {
    Etcdserverpb__Compare *result;
    assert_false(txn_parse_compare(slice_from_cstr(line), &self->arena, &result, &self->failure));
    assert_string_equal(buf_cstr(&self->failure.text), text);
    assert_int_equal(self->failure.code, code);
}

static void test_targets_and_operators(void **state) {
    struct fixture *self = *state;
    static const struct {
        const char *line;
        int target, result, which;
        int64_t number;
    } cases[] = {
        {"ver(\"k\") = \"1\"", 0, 0, 4, 1},     {"version(\"k\") != \"-2\"", 0, 3, 4, -2},
        {"c(\"k\") > \"3\"", 1, 1, 5, 3},       {"create(\"k\") < \"4\"", 1, 2, 5, 4},
        {"m(\"k\") =   \"5\"", 2, 0, 6, 5},     {"mod(`k`) = `6`", 2, 0, 6, 6},
        {"lease(\"k\") = \"10\"", 4, 0, 8, 16}, {"ver(\"k\") = \"7\" more", 0, 0, 4, 7},
        {"ver( \"k\") = \"8\"", 0, 0, 4, 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Etcdserverpb__Compare *got = compare(self, cases[i].line);
        assert_int_equal(got->target, cases[i].target);
        assert_int_equal(got->result, cases[i].result);
        assert_int_equal(got->target_union_case, cases[i].which);
        assert_int_equal(got->version, cases[i].number);
        assert_int_equal(got->key.len, 1);
        assert_memory_equal(got->key.data, "k", 1);
    }
}

static void test_values_and_keys_are_unquoted(void **state) {
    const Etcdserverpb__Compare *got = compare(*state, "val(\"a\\x00b\") = \"c\\nd\"");
    assert_int_equal(got->target, 3);
    assert_int_equal(got->target_union_case, 7);
    assert_int_equal(got->key.len, 3);
    assert_memory_equal(got->key.data, "a\0b", 3);
    assert_int_equal(got->value.len, 3);
    assert_memory_equal(got->value.data, "c\nd", 3);
}

/* Texts and codes as recorded from etcdctl 3.5. */
static void test_bad_comparisons(void **state) {
    struct fixture *self = *state;
    refuse_compare(self, "junk", 3, "malformed comparison: junk");
    refuse_compare(self, "ver('k1') = '1'", 3, "malformed comparison: ver('k1') = '1'; got ver(\"\")  \"\"");
    refuse_compare(self, "ver(\"k1\") = 1", 3, "malformed comparison: ver(\"k1\") = 1; got ver(\"k1\") = \"\"");
    refuse_compare(self, "ver(\"k1\" = \"1\"", 3, "malformed comparison: ver(\"k1\" = \"1\"; got ver(\"k1\")  \"\"");
    refuse_compare(self, "ver(\"k\")=\"1\"", 3, "malformed comparison: ver(\"k\")=\"1\"; got ver(\"k\")  \"\"");
    refuse_compare(self, "ver( \"k\" ) = \"1\"", 3, "malformed comparison: ver( \"k\" ) = \"1\"; got ver(\"k\")  \"\"");
    refuse_compare(self, "ver(\"k\") = \"0", 3, "malformed comparison: ver(\"k\") = \"0; got ver(\"k\") = \"\"");
    refuse_compare(self, "foo(\"k\") = \"1\"", 3, "malformed comparison: foo(\"k\") = \"1\" (unknown target foo)");
    refuse_compare(self, "ver(\"k\") = \"abc\"", 3, "invalid txn compare request: ver(\"k\") = \"abc\"");
    refuse_compare(self, "ver(\"k\") == \"1\"", 1, "malformed comparison: ver(\"k\") == \"1\" (unknown operator ==)");
}

/* ---- operations ---- */

static bool no_stdin(void *context, struct arena *arena, struct slice *ret_bytes) { return false; }

static bool parse_op(struct fixture *self, const char *line, Etcdserverpb__RequestOp **ret_op) {
    struct txn_op_parser parser = {.arena = &self->arena, .read_stdin = no_stdin, .notes = &self->notes};
    buf_clear(&self->notes);
    return txn_parse_op(&parser, slice_from_cstr(line), ret_op, &self->failure);
}

static void test_operations_take_the_options_of_their_commands(void **state) {
    struct fixture *self = *state;
    Etcdserverpb__RequestOp *op;
    assert_true(parse_op(self, "put \"a b\" 'c d' --lease=1f --prev-kv", &op));
    assert_int_equal(op->request_case, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT);
    assert_int_equal(op->request_put->key.len, 3);
    assert_memory_equal(op->request_put->value.data, "c d", 3);
    assert_int_equal(op->request_put->lease, 0x1f);
    assert_true(op->request_put->prev_kv);

    assert_true(parse_op(self, "get k --prefix --sort-by=MODIFY --order descend --limit=3", &op));
    assert_int_equal(op->request_case, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE);
    assert_memory_equal(op->request_range->range_end.data, "l", 1);
    assert_int_equal(op->request_range->sort_order, 2);
    assert_int_equal(op->request_range->sort_target, 3);
    assert_int_equal(op->request_range->limit, 3);

    assert_true(parse_op(self, "del a b", &op));
    assert_int_equal(op->request_case, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE);
    assert_string_equal(buf_cstr(&self->notes), DEL_RANGE_WARNING);

    assert_true(parse_op(self, "put -- -k -v", &op));
    assert_memory_equal(op->request_put->key.data, "-k", 2);
    assert_true(parse_op(self, "ge \"a\\x00b\"", &op));
    assert_int_equal(op->request_range->key.len, 3);
}

static void refuse_op(struct fixture *self, const char *line, int code, const char *text) {
    Etcdserverpb__RequestOp *op;
    assert_false(parse_op(self, line, &op));
    assert_string_equal(buf_cstr(&self->failure.text), text);
    assert_int_equal(self->failure.code, code);
}

static void test_bad_operations(void **state) {
    struct fixture *self = *state;
    refuse_op(self, "frob a b", 3, "invalid txn request: frob a b");
    refuse_op(self, "put", 3, "invalid txn compare request: put");
    refuse_op(self, "put a", 128, "put command needs 1 argument and input from stdin or 2 arguments");
    refuse_op(self, "put a b --lease=zz", 128,
              "bad lease ID (strconv.ParseInt: parsing \"zz\": invalid syntax), expecting ID in Hex");
    refuse_op(self, "get a --consistency=x", 4, "unknown consistency flag \"x\"");
    refuse_op(self, "put \"a\\q\" b", 3, "invalid syntax");
    refuse_op(self, "put a b --nosuch", 3, "invalid txn request: put a b --nosuch");
    assert_non_null(strstr(buf_cstr(&self->notes), "Usage:\n   put [options] <key> <value>"));
    assert_non_null(strstr(buf_cstr(&self->notes), "      --lease string "));
    assert_non_null(strstr(buf_cstr(&self->notes), "(default \"0\")\n"));
}

/* ---- watch ---- */

static void test_watch_lines(void **state) {
    struct fixture *self = *state;
    struct watch_args args;
    assert_int_equal(watch_line_parse(SLICE_LITERAL("watch foo bar --rev=7 --prev-kv -- sh -c 'echo x'"), "", "",
                                      &self->arena, &args, &self->failure),
                     WATCH_LINE_WATCH);
    assert_memory_equal(args.request.key.data, "foo", 3);
    assert_memory_equal(args.request.range_end.data, "bar", 3);
    assert_int_equal(args.request.start_revision, 7);
    assert_true(args.request.prev_kv);
    assert_int_equal(args.exec_argc, 3);
    assert_string_equal(args.exec_argv[2], "echo x");
    assert_null(args.exec_argv[3]);

    assert_int_equal(watch_line_parse(SLICE_LITERAL("progress"), "", "", &self->arena, &args, &self->failure),
                     WATCH_LINE_PROGRESS);
    assert_int_equal(
        watch_line_parse(SLICE_LITERAL("watch \"\" --prefix"), "", "", &self->arena, &args, &self->failure),
        WATCH_LINE_WATCH);
    assert_int_equal(args.request.key.len, 1); /* everything: from "\0" on */
    assert_int_equal(args.request.range_end.len, 1);
    assert_int_equal(watch_line_parse(SLICE_LITERAL("watch --rev=2"), "key", "", &self->arena, &args, &self->failure),
                     WATCH_LINE_WATCH);
    assert_memory_equal(args.request.key.data, "key", 3);
}

static void test_bad_watch_lines(void **state) {
    struct fixture *self = *state;
    static const struct {
        const char *line;
        enum watch_line_kind kind;
        const char *text;
    } cases[] = {
        {"", WATCH_LINE_BAD, "Invalid command:  (watch and progress supported)"},
        {"frob", WATCH_LINE_BAD, "Invalid command frob (only support watch)"},
        {"watch", WATCH_LINE_BAD, "Invalid command watch (command type or key is not provided)"},
        {"watch a --prefix b", WATCH_LINE_BAD,
         "Invalid command watch a --prefix b (`range_end` and `--prefix` are mutually exclusive)"},
        {"watch a --", WATCH_LINE_FATAL, "bad number of arguments (found separator --, but no commands)"},
        {"watch --nosuch a", WATCH_LINE_FATAL, "unknown flag: --nosuch"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct watch_args args;
        assert_int_equal(watch_line_parse(slice_from_cstr(cases[i].line), "", "", &self->arena, &args, &self->failure),
                         cases[i].kind);
        assert_string_equal(buf_cstr(&self->failure.text), cases[i].text);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_targets_and_operators), TEST(test_values_and_keys_are_unquoted),
        TEST(test_bad_comparisons),       TEST(test_operations_take_the_options_of_their_commands),
        TEST(test_bad_operations),        TEST(test_watch_lines),
        TEST(test_bad_watch_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
