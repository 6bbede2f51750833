/* Finding commands, options, environment, help. */
#include "etcdctl/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static int no_run(struct ctl *ctl, const struct command *command, const struct arguments *arguments) { return 0; }

static const struct flag_spec globals[] = {
    {"endpoints", 0, FLAG_STRINGS, "127.0.0.1:2379", "where"},
    {"write-out", 'w', FLAG_STRING, "simple", "how"},
    {"hex", 'x', FLAG_BOOL, NULL, "digits"},
    {"command-timeout", 0, FLAG_DURATION, "5s", "how long"},
};
static const struct flag_spec get_flags[] = {
    {"limit", 'n', FLAG_INT, NULL, "so many"},
    {"prefix", 0, FLAG_BOOL, NULL, "all of them"},
};
static const struct command member_children[] = {
    {.name = "list", .arguments = "", .summary = "Lists", .run = no_run},
    {.name = "add", .arguments = "<name>", .summary = "Adds", .run = no_run},
};
static const struct command children[] = {
    {.name = "get", .arguments = "<key>", .summary = "Gets", .flags = get_flags, .flag_count = 2, .run = no_run},
    {.name = "put", .arguments = "<key>", .summary = "Puts", .run = no_run},
    {.name = "compaction", .arguments = "", .summary = "Compacts", .run = no_run},
    {.name = "member",
     .arguments = "<subcommand>",
     .summary = "Members",
     .children = member_children,
     .child_count = 2},
    {.name = "check", .arguments = "", .summary = "Checks", .run = no_run},
};
static const struct command root = {.name = "ctl",
                                    .arguments = "",
                                    .summary = "The client.",
                                    .flags = globals,
                                    .flag_count = 4,
                                    .flags_inherited = true,
                                    .children = children,
                                    .child_count = 5};

struct found {
    struct command_path path;
    const char *rest[16];
    size_t rest_count;
    struct buf error;
    bool good;
};

/* Words are separated by one blank; "" stands for an empty one. */
static size_t words_of(char *line, const char **argv) {
    size_t argc = 0;
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "\"\"") ? word : "";
    return argc;
}

static void find(struct found *self, char *line) {
    const char *argv[16];
    size_t argc = words_of(line, argv);
    memset(self, 0, sizeof *self);
    self->good = command_find(&root, argv, argc, &self->path, self->rest, &self->rest_count, &self->error);
}

static void check_found(const char *text, const char *name, const char *rest) {
    char line[128];
    snprintf(line, sizeof line, "%s", text);
    struct found found;
    find(&found, line);
    assert_true(found.good);
    assert_string_equal(command_last(&found.path)->name, name);
    struct buf joined = BUF_INIT;
    for (size_t i = 0; i < found.rest_count; i++) buf_printf(&joined, "%s%s", i > 0 ? " " : "", found.rest[i]);
    assert_string_equal(buf_cstr(&joined), rest);
    buf_release(&joined);
    buf_release(&found.error);
}

static void test_commands_are_found_between_options_and_by_their_beginnings(void **state) {
    check_found("get foo", "get", "foo");
    check_found("-w json get foo", "get", "-w json foo");
    check_found("-wjson --endpoints a,b get get", "get", "-wjson --endpoints a,b get");
    check_found("--hex get foo", "get", "--hex foo");
    check_found("mem li", "list", "");
    check_found("compact 5", "compaction", "5");
    check_found("member nosuch", "member", "nosuch");
    check_found("", "ctl", "");
    check_found("\"\"", "ctl", "");
    check_found("-- get", "ctl", "-- get");
}

static void check_unknown(const char *text, const char *want) {
    char line[128];
    snprintf(line, sizeof line, "%s", text);
    struct found found;
    find(&found, line);
    assert_false(found.good);
    assert_string_equal(buf_cstr(&found.error), want);
    buf_release(&found.error);
}

static void test_an_unknown_command_brings_suggestions(void **state) {
    check_unknown("xyzzy", "unknown command \"xyzzy\" for \"ctl\"");
    check_unknown("gut", "unknown command \"gut\" for \"ctl\"\n\nDid you mean this?\n\tget\n\tput\n");
    check_unknown("c", "unknown command \"c\" for \"ctl\"\n\nDid you mean this?\n\tcompaction\n\tcheck\n");
    check_unknown("completion", "unknown command \"completion\" for \"ctl\"\n\nDid you mean this?\n\tcompaction\n");
}

/* ---- options ---- */

struct parsed {
    struct flags flags;
    struct arguments arguments;
    struct buf error;
    enum flags_outcome outcome;
    char line[256];
};

static void parse(struct parsed *self, const char *text) {
    memset(self, 0, sizeof *self);
    struct command_path path = {{&root, &children[0]}, 2};
    command_flags(&path, &self->flags);
    snprintf(self->line, sizeof self->line, "%s", text);
    const char *argv[16];
    size_t argc = words_of(self->line, argv);
    self->outcome = flags_parse(&self->flags, argv, argc, &self->arguments, &self->error);
}

static void release(struct parsed *self) {
    flags_release(&self->flags);
    buf_release(&self->error);
}

static void test_options_have_many_spellings(void **state) {
    struct parsed p;
    parse(&p, "a --limit=3 b -xw fields --prefix=false --command-timeout 1m -- --c -d");
    assert_int_equal(p.outcome, FLAGS_GOOD);
    assert_int_equal(p.arguments.count, 4);
    assert_int_equal(p.arguments.before_dash, 2);
    assert_string_equal(p.arguments.items[3], "-d");
    assert_int_equal(flags_number(&p.flags, "limit"), 3);
    assert_true(flags_bool(&p.flags, "hex"));
    assert_string_equal(flags_text(&p.flags, "write-out"), "fields");
    assert_false(flags_bool(&p.flags, "prefix"));
    assert_true(flags_changed(&p.flags, "prefix"));
    assert_int_equal(flags_number(&p.flags, "command-timeout"), INT64_C(60000000000));
    release(&p);

    parse(&p, "-n=0x10 -wjson -");
    assert_int_equal(p.outcome, FLAGS_GOOD);
    assert_int_equal(flags_number(&p.flags, "limit"), 16);
    assert_string_equal(flags_text(&p.flags, "write-out"), "json");
    assert_string_equal(p.arguments.items[0], "-");
    release(&p);
}

static void test_lists_are_split_at_commas_and_added_to(void **state) {
    struct parsed p;
    parse(&p, "--endpoints a,b --endpoints c");
    const struct flag *flag = flags_find(&p.flags, "endpoints");
    assert_int_equal(flag->string_count, 3);
    assert_string_equal(flag->strings[2], "c");
    release(&p);
    parse(&p, "--endpoints=");
    assert_int_equal(flags_find(&p.flags, "endpoints")->string_count, 0);
    release(&p);
    parse(&p, "--endpoints \"a,b\",c");
    flag = flags_find(&p.flags, "endpoints");
    assert_int_equal(flag->string_count, 2);
    assert_string_equal(flag->strings[0], "a,b");
    release(&p);
}

static void check_bad(const char *text, const char *want) {
    struct parsed p;
    parse(&p, text);
    assert_int_equal(p.outcome, FLAGS_BAD);
    assert_string_equal(buf_cstr(&p.error), want);
    release(&p);
}

static void test_bad_options_have_pflags_words(void **state) {
    check_bad("--nosuch", "unknown flag: --nosuch");
    check_bad("--nosuch=1", "unknown flag: --nosuch");
    check_bad("-z", "unknown shorthand flag: 'z' in -z");
    check_bad("-xz", "unknown shorthand flag: 'z' in -z");
    check_bad("-=x", "unknown shorthand flag: '=' in -=x");
    check_bad("--=x", "bad flag syntax: --=x");
    check_bad("---x", "bad flag syntax: ---x");
    check_bad("a -w", "flag needs an argument: 'w' in -w");
    check_bad("a --write-out", "flag needs an argument: --write-out");
    check_bad("--prefix=maybe",
              "invalid argument \"maybe\" for \"--prefix\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax");
    check_bad("-nx",
              "invalid argument \"x\" for \"-n, --limit\" flag: strconv.ParseInt: parsing \"x\": invalid syntax");
    check_bad("--command-timeout=5",
              "invalid argument \"5\" for \"--command-timeout\" flag: time: missing unit in duration \"5\"");
}

/* ---- environment ---- */

static void note_problem(void *context, enum environment_problem problem, const char *text) {
    static const char *const names[] = {"unknown", "malformed", "conflicting"};
    buf_printf(context, "%s %s\n", names[problem], text);
}

static void test_variables_stand_for_global_options(void **state) {
    static char variables[][40] = {"PATH=/bin",         "CTL",
                                   "ETCDCTL_HEX=true",  "ETCDCTL_COMMAND_TIMEOUT=zzz",
                                   "ETCDCTL_NOSUCH=1",  "ETCDCTL_WRITE_OUT=json",
                                   "ETCDCTL_API=3",     "ETCDCTL_LIMIT=3",
                                   "ETCDCTL_ENDPOINTS="};
    char *environment[10] = {0};
    for (size_t i = 0; i < 9; i++) environment[i] = variables[i];
    static const char *const known[] = {"ETCDCTL_API", NULL};
    struct parsed p;
    struct buf problems = BUF_INIT;
    parse(&p, "-w fields");
    flags_read_environment(&p.flags, environment, known, note_problem, &problems);
    assert_string_equal(buf_cstr(&problems), "malformed CTL\nunknown ETCDCTL_NOSUCH=1\nconflicting ETCDCTL_WRITE_OUT\n"
                                             "unknown ETCDCTL_LIMIT=3\nunknown ETCDCTL_ENDPOINTS=\n");
    assert_true(flags_bool(&p.flags, "hex"));
    assert_int_equal(flags_number(&p.flags, "command-timeout"), INT64_C(5000000000));
    assert_string_equal(flags_text(&p.flags, "write-out"), "fields");
    buf_release(&problems);
    release(&p);
}

/* ---- help ---- */

static void test_help_has_its_columns(void **state) {
    struct command_path path = {{&root, &children[0]}, 2};
    struct buf help = BUF_INIT;
    command_help(&path, "1.2.3", "1.2", true, &help);
    assert_string_equal(buf_cstr(&help), "NAME:\n\tget - Gets\n\n"
                                         "USAGE:\n\tctl get <key> [flags]\n\n"
                                         "OPTIONS:\n"
                                         "  -h, --help[=false]\tshow this help\n"
                                         "  -n, --limit=0\t\tso many\n"
                                         "      --prefix[=false]\tall of them\n\n"
                                         "GLOBAL OPTIONS:\n"
                                         "      --command-timeout=5s\t\thow long\n"
                                         "      --endpoints=[127.0.0.1:2379]\twhere\n"
                                         "  -x, --hex[=false]\t\t\tdigits\n"
                                         "  -w, --write-out=\"simple\"\t\thow\n\n");
    buf_clear(&help);
    path = (struct command_path){{&root}, 1};
    command_help(&path, "1.2.3", "1.2", false, &help);
    assert_non_null(strstr(buf_cstr(&help), "VERSION:\n\t1.2.3\n\nAPI VERSION:\n\t1.2\n\n\nCOMMANDS:\n"
                                            "\tcheck\t\tChecks\n\tcompaction\tCompacts\n\tget\t\tGets\n"
                                            "\tmember add\tAdds\n\tmember list\tLists\n\tput\t\tPuts\n\n"));
    assert_null(strstr(buf_cstr(&help), "--help"));
    buf_release(&help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_are_found_between_options_and_by_their_beginnings),
        cmocka_unit_test(test_an_unknown_command_brings_suggestions),
        cmocka_unit_test(test_options_have_many_spellings),
        cmocka_unit_test(test_lists_are_split_at_commas_and_added_to),
        cmocka_unit_test(test_bad_options_have_pflags_words),
        cmocka_unit_test(test_variables_stand_for_global_options),
        cmocka_unit_test(test_help_has_its_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
