#include "etcdctl/txn_lines.h"

#include "base/gotext.h"
#include "etcdctl/command.h"
#include "etcdctl/words.h"
#include "pb/arena_pb.h"

/* ---- comparisons ---- */

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static struct slice skip_space(struct slice text) {
    while (text.len > 0 && is_space(text.data[0])) text = slice_from(text, 1);
    return text;
}

/* What stands behind "target(": what could be read of it, and whether that is all. */
struct comparison {
    struct buf key, operation, value;
};

static bool scan_comparison(struct slice text, struct comparison *comparison) {
    text = skip_space(text);
    size_t taken = word_unquote(text, &comparison->key);
    if (taken == 0) return false;
    text = slice_from(text, taken);
    if (text.len < 2 || text.data[0] != ')' || !is_space(text.data[1])) return false;
    text = skip_space(slice_from(text, 1));
    size_t length = 0;
    while (length < text.len && !is_space(text.data[length])) length++;
    if (length == 0) return false;
    buf_append(&comparison->operation, text.data, length);
    text = skip_space(slice_from(text, length));
    return word_unquote(text, &comparison->value) > 0;
}

static bool malformed(struct slice line, struct slice target, const struct comparison *comparison,
                      struct failure *failure) {
    failure_set(failure, EXIT_INVALID_INPUT, "malformed comparison: %.*s; got %.*s(", (int)line.len,
                (const char *)line.data, (int)target.len, (const char *)target.data);
    go_append_quoted(&failure->text, buf_slice(&comparison->key));
    buf_append_cstr(&failure->text, ") ");
    buf_append_slice(&failure->text, buf_slice(&comparison->operation));
    buf_append_byte(&failure->text, ' ');
    go_append_quoted(&failure->text, buf_slice(&comparison->value));
    return false;
}

static const struct {
    const char *name;
    Etcdserverpb__Compare__CompareTarget target;
} targets[] = {
    {"ver", ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION},
    {"version", ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION},
    {"c", ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE},
    {"create", ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE},
    {"m", ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD},
    {"mod", ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD},
    {"val", ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE},
    {"value", ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE},
    {"lease", ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE},
};

static const struct {
    const char *name;
    Etcdserverpb__Compare__CompareResult result;
} results[] = {
    {"=", ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL},
    {"!=", ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL},
    {">", ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER},
    {"<", ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Puts the value where the target keeps it. The ID of a lease is hexadecimal, as everywhere else on the command line
 * (upstream's tool crashes on a comparison of leases). */
static bool set_value(Etcdserverpb__Compare *compare, struct buf *text, struct arena *arena) {
    if (compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE) {
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        compare->value = pb_bytes(arena_copy(arena, buf_slice(text)));
        return true;
    }
    static const Etcdserverpb__Compare__TargetUnionCase cases[] = {
        [ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION] = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION,
        [ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE] = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION,
        [ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD] = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION,
        [ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE] = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE,
    };
    int base = compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE ? 16 : 10;
    CLEANUP_BUF struct buf ignored = BUF_INIT;
    compare->target_union_case = cases[compare->target];
    return word_parse_int(buf_cstr(text), base, &compare->version, &ignored);
}

static bool build_compare(struct slice line, struct slice target, struct comparison *comparison, struct arena *arena,
                          Etcdserverpb__Compare *compare, struct failure *failure) {
    size_t t = 0, r = 0;
    while (t < COUNT(targets) && !slice_equal_cstr(target, targets[t].name)) t++;
    if (t == COUNT(targets))
        return failure_set(failure, EXIT_INVALID_INPUT, "malformed comparison: %.*s (unknown target %.*s)",
                           (int)line.len, (const char *)line.data, (int)target.len, (const char *)target.data);
    compare->target = targets[t].target;
    if (!set_value(compare, &comparison->value, arena))
        return failure_set(failure, EXIT_INVALID_INPUT, "invalid txn compare request: %.*s", (int)line.len,
                           (const char *)line.data);
    while (r < COUNT(results) && !slice_equal_cstr(buf_slice(&comparison->operation), results[r].name)) r++;
    if (r == COUNT(results))
        return failure_set(failure, EXIT_ERROR, "malformed comparison: %.*s (unknown operator %s)", (int)line.len,
                           (const char *)line.data, buf_cstr(&comparison->operation));
    compare->result = results[r].result;
    compare->key = pb_bytes(arena_copy(arena, buf_slice(&comparison->key)));
    return true;
}

bool txn_parse_compare(struct slice line, struct arena *arena, Etcdserverpb__Compare **ret_compare,
                       struct failure *failure) {
    const uint8_t *paren = line.len > 0 ? memchr(line.data, '(', line.len) : NULL;
    if (!paren)
        return failure_set(failure, EXIT_INVALID_INPUT, "malformed comparison: %.*s", (int)line.len,
                           (const char *)line.data);
    struct slice target = slice_make(line.data, (size_t)(paren - line.data));
    struct comparison comparison = {0};
    Etcdserverpb__Compare *compare = arena_alloc(arena, sizeof *compare);
    etcdserverpb__compare__init(compare);
    bool good = scan_comparison(slice_from(line, target.len + 1), &comparison)
                    ? build_compare(line, target, &comparison, arena, compare, failure)
                    : malformed(line, target, &comparison, failure);
    if (good) *ret_compare = compare;
    buf_release(&comparison.key);
    buf_release(&comparison.operation);
    buf_release(&comparison.value);
    return good;
}

/* ---- operations ---- */

/* The commands that a line may name; the root has no name, as its usage shows. */
static const struct command op_commands[] = {
    {.name = "put", .arguments = "[options] <key> <value> (<value> can also be given from stdin)"},
    {.name = "get", .arguments = "[options] <key> [range_end]"},
    {.name = "del", .arguments = "[options] <key> [range_end]"},
};

static bool invalid(struct slice line, struct failure *failure) {
    return failure_set(failure, EXIT_INVALID_INPUT, "invalid txn request: %.*s", (int)line.len,
                       (const char *)line.data);
}

static struct command op_command(size_t which) {
    struct command command = op_commands[which];
    const struct flag_spec *const specs[] = {put_flag_specs, get_flag_specs, del_flag_specs};
    const size_t counts[] = {PUT_FLAG_COUNT, GET_FLAG_COUNT, DEL_FLAG_COUNT};
    command.flags = specs[which];
    command.flag_count = counts[which];
    return command;
}

static bool build_op(const struct txn_op_parser *self, size_t which, const struct flags *flags,
                     const struct arguments *arguments, Etcdserverpb__RequestOp *op, struct failure *failure) {
    bool warn = false;
    switch (which) {
    case 0:
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        return request_put(flags, arguments, self->arena, self->read_stdin, self->stdin_context, &op->request_put,
                           failure);
    case 1:
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        return request_get(flags, arguments, self->arena, &op->request_range, failure);
    default:
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        if (!request_del(flags, arguments, self->arena, &op->request_delete_range, &warn, failure)) return false;
        if (warn) buf_append_cstr(self->notes, DEL_RANGE_WARNING);
        return true;
    }
}

/* The lengths of the positional words: a quoted word may hold zero bytes. */
static const size_t *lengths_of(const struct arguments *arguments, const struct slice *words, size_t count,
                                struct arena *arena) {
    size_t *lengths = arena_alloc(arena, (arguments->count + 1) * sizeof *lengths);
    for (size_t i = 0; i < arguments->count; i++) {
        lengths[i] = strlen(arguments->items[i]);
        for (size_t j = 0; j < count; j++)
            if ((const char *)words[j].data == arguments->items[i]) lengths[i] = words[j].len;
    }
    return lengths;
}

bool txn_parse_op(const struct txn_op_parser *self, struct slice line, Etcdserverpb__RequestOp **ret_op,
                  struct failure *failure) {
    struct slice *words;
    size_t count;
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (!word_split(line, self->arena, &words, &count, &reason))
        return failure_set(failure, EXIT_INVALID_INPUT, "%s", buf_cstr(&reason));
    if (count < 2)
        return failure_set(failure, EXIT_INVALID_INPUT, "invalid txn compare request: %.*s", (int)line.len,
                           (const char *)line.data);
    const char **argv = arena_alloc(self->arena, count * sizeof *argv);
    for (size_t i = 0; i < count; i++) argv[i] = (const char *)words[i].data;
    size_t which = 0, matches = 0;
    for (size_t i = 0; i < COUNT(op_commands); i++) {
        if (words[0].len == 0 || strncmp(op_commands[i].name, argv[0], words[0].len) != 0) continue;
        which = i;
        matches++;
    }
    if (matches != 1) return invalid(line, failure);
    struct command command = op_command(which);
    struct command_path path = {{&command}, 1};
    struct flags flags;
    command_flags(&path, &flags);
    struct arguments arguments;
    buf_clear(&reason);
    enum flags_outcome outcome = flags_parse(&flags, argv + 1, count - 1, &arguments, &reason);
    Etcdserverpb__RequestOp *op = arena_alloc(self->arena, sizeof *op);
    etcdserverpb__request_op__init(op);
    bool good;
    if (outcome != FLAGS_GOOD || flags_bool(&flags, "help")) {
        command_short_usage(&command, self->notes);
        good = invalid(line, failure);
    } else {
        arguments.lengths = lengths_of(&arguments, words, count, self->arena);
        good = build_op(self, which, &flags, &arguments, op, failure);
    }
    flags_release(&flags);
    if (good) *ret_op = op;
    return good;
}
