#include "etcdctl/requests.h"

#include "base/gotext.h"
#include "etcdctl/words.h"
#include "pb/arena_pb.h"

#include <ctype.h>
#include <strings.h>

#define EVERYTHING SLICE_LITERAL("\0")

const struct flag_spec get_flag_specs[GET_FLAG_COUNT] = {
    {"consistency", 0, FLAG_STRING, "l",
     "l (linearizable: what the cluster agreed on) or s (serializable: what the member has)"},
    {"order", 0, FLAG_STRING, NULL, "ASCEND or DESCEND; without it ascending"},
    {"sort-by", 0, FLAG_STRING, NULL, "what to sort by: CREATE, KEY, MODIFY, VALUE or VERSION"},
    {"limit", 0, FLAG_INT, NULL, "at most this many keys; 0 for all"},
    {"prefix", 0, FLAG_BOOL, NULL, "all keys that begin with <key>"},
    {"from-key", 0, FLAG_BOOL, NULL, "<key> and all keys behind it, in byte order"},
    {"rev", 0, FLAG_INT, NULL, "as it was at this revision; 0 for now"},
    {"keys-only", 0, FLAG_BOOL, NULL, "keys without values"},
    {"count-only", 0, FLAG_BOOL, NULL, "only how many keys there are"},
    {"print-value-only", 0, FLAG_BOOL, NULL, "with the output format simple, print values without their keys"},
};

const struct flag_spec put_flag_specs[PUT_FLAG_COUNT] = {
    {"lease", 0, FLAG_STRING, "0", "attach the key to the lease of this ID (hexadecimal)"},
    {"prev-kv", 0, FLAG_BOOL, NULL, "answer with key and value as they were before"},
    {"ignore-value", 0, FLAG_BOOL, NULL, "leave the value as it is"},
    {"ignore-lease", 0, FLAG_BOOL, NULL, "leave the key attached to its lease"},
};

const struct flag_spec del_flag_specs[DEL_FLAG_COUNT] = {
    {"prefix", 0, FLAG_BOOL, NULL, "all keys that begin with <key>"},
    {"prev-kv", 0, FLAG_BOOL, NULL, "answer with the deleted keys and values"},
    {"from-key", 0, FLAG_BOOL, NULL, "<key> and all keys behind it, in byte order"},
    {"range", 0, FLAG_BOOL, NULL, "a range is meant: do not warn about two keys"},
};

struct slice prefix_end(struct slice prefix, struct arena *arena) {
    size_t length = prefix.len;
    while (length > 0 && prefix.data[length - 1] == 0xff) length--;
    if (length == 0) return EVERYTHING;
    uint8_t *end = arena_alloc(arena, length);
    memcpy(end, prefix.data, length);
    end[length - 1]++;
    return slice_make(end, length);
}

static bool both_ranges(struct failure *failure) {
    return failure_set(failure, EXIT_BAD_ARGS,
                       "`--prefix` and `--from-key` cannot be set at the same time, choose one");
}

static bool too_many(struct failure *failure) {
    return failure_set(failure, EXIT_BAD_ARGS,
                       "too many arguments, only accept one argument when `--prefix` or `--from-key` is set");
}

/* The key and where its range ends. */
static void set_range(const struct flags *flags, const struct arguments *arguments, struct arena *arena,
                      ProtobufCBinaryData *key, ProtobufCBinaryData *end) {
    struct slice from = argument(arguments, 0);
    struct slice to = arguments->count > 1 ? argument(arguments, 1) : SLICE_NONE;
    bool prefix = flags_bool(flags, "prefix"), from_key = flags_bool(flags, "from-key");
    if ((prefix || from_key) && from.len == 0)
        from = to = EVERYTHING;
    else if (prefix)
        to = prefix_end(from, arena);
    else if (from_key)
        to = EVERYTHING;
    *key = pb_bytes(from);
    *end = pb_bytes(to);
}

/* The place of a word in a list, whatever its case; -1 when it is not there. */
static int choose(const char *word, const char *const *words, int count) {
    for (int i = 0; i < count; i++)
        if (strcasecmp(word, words[i]) == 0) return i;
    return -1;
}

static bool set_sorting(const struct flags *flags, Etcdserverpb__RangeRequest *request, struct failure *failure) {
    static const char *const orders[] = {"", "ASCEND", "DESCEND"};
    static const char *const targets[] = {"KEY", "VERSION", "CREATE", "MODIFY", "VALUE", ""};
    int order = choose(flags_text(flags, "order"), orders, 3);
    if (order < 0) return failure_set(failure, EXIT_BAD_FEATURE, "bad sort order %s", flags_text(flags, "order"));
    int target = choose(flags_text(flags, "sort-by"), targets, 6);
    if (target < 0) return failure_set(failure, EXIT_BAD_FEATURE, "bad sort target %s", flags_text(flags, "sort-by"));
    if (target == 5) target = 0;
    /* Ascending by key is how they come anyway; asking for it would make the server sort all before it limits. */
    if (target == 0 && order == 1) order = 0;
    request->sort_order = (Etcdserverpb__RangeRequest__SortOrder)order;
    request->sort_target = (Etcdserverpb__RangeRequest__SortTarget)target;
    return true;
}

bool request_get(const struct flags *flags, const struct arguments *arguments, struct arena *arena,
                 Etcdserverpb__RangeRequest **ret_request, struct failure *failure) {
    if (arguments->count == 0)
        return failure_set(failure, EXIT_BAD_ARGS,
                           "get command needs one argument as key and an optional argument as range_end");
    bool prefix = flags_bool(flags, "prefix"), from_key = flags_bool(flags, "from-key");
    if (prefix && from_key) return both_ranges(failure);
    if (flags_bool(flags, "keys-only") && flags_bool(flags, "count-only"))
        return failure_set(failure, EXIT_BAD_ARGS,
                           "`--keys-only` and `--count-only` cannot be set at the same time, choose one");
    const char *consistency = flags_text(flags, "consistency");
    if (strcmp(consistency, "l") != 0 && strcmp(consistency, "s") != 0) {
        failure_set(failure, EXIT_BAD_FEATURE, "unknown consistency flag ");
        go_append_quoted(&failure->text, slice_from_cstr(consistency));
        return false;
    }
    if (arguments->count > 1 && (prefix || from_key)) return too_many(failure);
    Etcdserverpb__RangeRequest *request = arena_alloc(arena, sizeof *request);
    etcdserverpb__range_request__init(request);
    if (!set_sorting(flags, request, failure)) return false;
    set_range(flags, arguments, arena, &request->key, &request->range_end);
    request->serializable = *consistency == 's';
    request->limit = flags_number(flags, "limit");
    request->revision = flags_number(flags, "rev") > 0 ? flags_number(flags, "rev") : 0;
    request->keys_only = flags_bool(flags, "keys-only");
    request->count_only = flags_bool(flags, "count-only");
    *ret_request = request;
    return true;
}

bool request_put(const struct flags *flags, const struct arguments *arguments, struct arena *arena,
                 stdin_reader read_stdin, void *context, Etcdserverpb__PutRequest **ret_request,
                 struct failure *failure) {
    bool ignore_value = flags_bool(flags, "ignore-value");
    if (ignore_value && arguments->count > 1)
        return failure_set(failure, EXIT_BAD_ARGS, "put command needs only 1 argument when 'ignore-value' is set");
    struct slice value = SLICE_NONE;
    bool good = arguments->count > 0;
    if (good && !ignore_value) {
        if (arguments->count > 1)
            value = argument(arguments, 1);
        else
            good = read_stdin(context, arena, &value) && value.len > 0;
    }
    if (!good)
        return failure_set(failure, EXIT_BAD_ARGS, "put command needs 1 argument and input from stdin or 2 arguments");
    int64_t lease;
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (!word_parse_int(flags_text(flags, "lease"), 16, &lease, &reason))
        return failure_set(failure, EXIT_BAD_ARGS, "bad lease ID (%s), expecting ID in Hex", buf_cstr(&reason));
    Etcdserverpb__PutRequest *request = arena_alloc(arena, sizeof *request);
    etcdserverpb__put_request__init(request);
    request->key = pb_bytes(argument(arguments, 0));
    request->value = pb_bytes(value);
    request->lease = lease;
    request->prev_kv = flags_bool(flags, "prev-kv");
    request->ignore_value = ignore_value;
    request->ignore_lease = flags_bool(flags, "ignore-lease");
    *ret_request = request;
    return true;
}

bool request_del(const struct flags *flags, const struct arguments *arguments, struct arena *arena,
                 Etcdserverpb__DeleteRangeRequest **ret_request, bool *ret_warn, struct failure *failure) {
    if (arguments->count == 0 || arguments->count > 2)
        return failure_set(failure, EXIT_BAD_ARGS,
                           "del command needs one argument as key and an optional argument as range_end");
    bool prefix = flags_bool(flags, "prefix"), from_key = flags_bool(flags, "from-key");
    if (prefix && from_key) return both_ranges(failure);
    if (arguments->count > 1 && (prefix || from_key)) return too_many(failure);
    Etcdserverpb__DeleteRangeRequest *request = arena_alloc(arena, sizeof *request);
    etcdserverpb__delete_range_request__init(request);
    set_range(flags, arguments, arena, &request->key, &request->range_end);
    request->prev_kv = flags_bool(flags, "prev-kv");
    *ret_request = request;
    *ret_warn = arguments->count > 1 && !flags_bool(flags, "range");
    return true;
}
