/* ctl.c - what etcdctl reads and prints: words, numbers, lines of transactions and of watch --interactive, options, and
 * answers of any content in every format. The first byte says which. */
#include "fuzz/fuzz.h"

#include "client/codec.h"
#include "etcdctl/go_json.h"
#include "etcdctl/printer.h"
#include "etcdctl/txn_lines.h"
#include "etcdctl/watch_args.h"
#include "etcdctl/words.h"
#include "pb/arena_pb.h"

#include <every_type.pb-c.h>

enum { SPLIT, UNQUOTE, NUMBERS, COMPARE, OPERATION, WATCH_LINE, OPTIONS, ENVIRONMENT, ANSWER, PLAIN, KINDS };

#define WORDS_MAX 24

static bool no_input(void *context, struct arena *arena, struct slice *ret_bytes) {
    *ret_bytes = SLICE_LITERAL("from standard input");
    return true;
}

static void split(struct slice line, struct arena *arena) {
    struct slice *words;
    size_t count;
    struct buf error = BUF_INIT;
    if (word_split(line, arena, &words, &count, &error)) {
        size_t total = 0;
        for (size_t i = 0; i < count; i++) {
            total += words[i].len;
            CHECK(words[i].data[words[i].len] == 0);
        }
        CHECK(total <= line.len * 4);
    } else {
        CHECK(error.len != 0);
    }
    buf_release(&error);
}

static void unquote(struct slice text) {
    struct buf out = BUF_INIT;
    size_t taken = word_unquote(text, &out);
    CHECK(taken <= text.len);
    CHECK(word_trim(text).len <= text.len);
    buf_release(&out);
}

static void numbers(const char *text) {
    int64_t signed_number;
    uint64_t number;
    bool boolean;
    struct buf error = BUF_INIT;
    for (int base = 0; base <= 16; base += 2) {
        if (base == 2 || base == 4 || base == 6 || base == 12 || base == 14) continue;
        buf_clear(&error);
        CHECK(word_parse_int(text, base, &signed_number, &error) == (error.len == 0));
        buf_clear(&error);
        CHECK(word_parse_uint(text, base, &number, &error) == (error.len == 0));
    }
    buf_clear(&error);
    CHECK(word_parse_bool(text, &boolean, &error) == (error.len == 0));
    buf_clear(&error);
    CHECK(word_parse_duration(text, &signed_number, &error) == (error.len == 0));
    buf_release(&error);
}

static void check_failure(bool is_good, const struct failure *failure) {
    CHECK(is_good || (failure->code != EXIT_OK && failure->text.len != 0));
}

static void line(int kind, struct slice text, struct arena *arena) {
    struct failure failure = {EXIT_OK, BUF_INIT};
    struct buf notes = BUF_INIT;
    struct txn_op_parser parser = {arena, no_input, NULL, &notes};
    Etcdserverpb__Compare *compare;
    Etcdserverpb__RequestOp *op;
    struct watch_args args;
    if (kind == COMPARE) {
        bool is_good = txn_parse_compare(text, arena, &compare, &failure);
        check_failure(is_good, &failure);
        if (is_good) CHECK(pb_packed_size(compare) != 0);
    } else if (kind == OPERATION) {
        bool is_good = txn_parse_op(&parser, text, &op, &failure);
        check_failure(is_good, &failure);
        if (is_good) CHECK(pb_packed_size(op) != 0);
    } else {
        enum watch_line_kind found = watch_line_parse(text, "", "", arena, &args, &failure);
        check_failure(found == WATCH_LINE_WATCH || found == WATCH_LINE_PROGRESS, &failure);
        if (found == WATCH_LINE_WATCH) CHECK(args.request.key.len <= text.len);
    }
    failure_release(&failure);
    buf_release(&notes);
}

/* ---- options ---- */

static size_t take_words(struct fuzz_input *input, char *words[WORDS_MAX + 1]) {
    size_t count = 0;
    while (fuzz_left(input) != 0 && count < WORDS_MAX) words[count++] = fuzz_text(fuzz_part(input));
    words[count] = NULL;
    return count;
}

static void report(void *context, enum environment_problem problem, const char *text) { CHECK(text != NULL); }

static void read_requests(const struct flags *flags, const struct arguments *rest, struct arena *arena) {
    struct failure failure = {EXIT_OK, BUF_INIT};
    Etcdserverpb__RangeRequest *range;
    Etcdserverpb__PutRequest *put;
    Etcdserverpb__DeleteRangeRequest *delete_range;
    struct watch_args watch;
    bool warn, is_good = true;
    if (flags_find(flags, "keys-only") != NULL)
        is_good = request_get(flags, rest, arena, &range, &failure);
    else if (flags_find(flags, "ignore-value") != NULL)
        is_good = request_put(flags, rest, arena, no_input, NULL, &put, &failure);
    else if (flags_find(flags, "progress-notify") != NULL)
        is_good = watch_args_parse(flags, rest, "key", "", arena, &watch, &failure);
    else
        is_good = request_del(flags, rest, arena, &delete_range, &warn, &failure);
    check_failure(is_good, &failure);
    failure_release(&failure);
}

static void options(struct fuzz_input *input, bool with_environment, struct arena *arena) {
    static const struct flag_spec every_kind[] = {{"bool", 'b', FLAG_BOOL, NULL, ""},
                                                  {"string", 's', FLAG_STRING, "x", ""},
                                                  {"int", 'i', FLAG_INT, "0", ""},
                                                  {"uint", 'u', FLAG_UINT, "0", ""},
                                                  {"duration", 'd', FLAG_DURATION, "5s", ""},
                                                  {"strings", 'l', FLAG_STRINGS, "a,b", ""}};
    static const struct {
        const struct flag_spec *specs;
        size_t count;
    } sets[] = {{get_flag_specs, GET_FLAG_COUNT},
                {put_flag_specs, PUT_FLAG_COUNT},
                {del_flag_specs, DEL_FLAG_COUNT},
                {watch_flag_specs, WATCH_FLAG_COUNT},
                {every_kind, sizeof every_kind / sizeof *every_kind}};
    static const char *const known[] = {"ETCDCTL_API", NULL};
    size_t set = fuzz_byte(input) % 5;
    char *words[WORDS_MAX + 1];
    size_t count = take_words(input, words);
    struct flags flags;
    struct arguments rest;
    struct buf error = BUF_INIT;
    flags_init(&flags);
    flags_add(&flags, sets[set].specs, sets[set].count, with_environment);
    flags_sort(&flags);
    if (with_environment) flags_read_environment(&flags, words, known, report, NULL);
    enum flags_outcome outcome =
        flags_parse(&flags, (const char *const *)words, with_environment ? 0 : count, &rest, &error);
    CHECK((outcome == FLAGS_BAD) == (error.len != 0));
    if (outcome == FLAGS_GOOD && set < 4) read_requests(&flags, &rest, arena);
    for (size_t i = 0; i < flags.all.count; i++) flag_append_value(&flags.all.items[i], &error);
    buf_release(&error);
    flags_release(&flags);
    for (size_t i = 0; i < count; i++) free(words[i]);
}

/* ---- answers ---- */

static void print(struct fuzz_input *input, struct arena *arena) {
    static const struct {
        const struct view *view;
        const ProtobufCMessageDescriptor *type;
    } answers[] = {{&view_range, &etcdserverpb__range_response__descriptor},
                   {&view_put, &etcdserverpb__put_response__descriptor},
                   {&view_delete, &etcdserverpb__delete_range_response__descriptor},
                   {&view_txn, &etcdserverpb__txn_response__descriptor},
                   {&view_alarms, &etcdserverpb__alarm_response__descriptor},
                   {&view_member_add, &etcdserverpb__member_add_response__descriptor},
                   {&view_member_remove, &etcdserverpb__member_remove_response__descriptor},
                   {&view_auth_status, &etcdserverpb__auth_status_response__descriptor},
                   {&view_user_get, &etcdserverpb__auth_user_get_response__descriptor},
                   {&view_user_list, &etcdserverpb__auth_user_list_response__descriptor},
                   {&view_role_get, &etcdserverpb__auth_role_get_response__descriptor},
                   {&view_role_list, &etcdserverpb__auth_role_list_response__descriptor},
                   {NULL, &etcdserverpb__member_list_response__descriptor},
                   {NULL, &etcdserverpb__status_response__descriptor},
                   {NULL, &etcdserverpb__hash_kvresponse__descriptor},
                   {&view_move_leader, &etcdserverpb__move_leader_response__descriptor},
                   {&view_member_update, &etcdserverpb__member_update_response__descriptor},
                   {&view_member_promote, &etcdserverpb__member_promote_response__descriptor},
                   {&view_done, &etcdserverpb__auth_role_add_response__descriptor},
                   {NULL, &fuzzpb__every_type__descriptor}};
    size_t at = fuzz_byte(input) % (sizeof answers / sizeof *answers);
    uint8_t choice = fuzz_byte(input);
    struct buf out = BUF_INIT, errors = BUF_INIT;
    struct failure failure = {EXIT_OK, BUF_INIT};
    struct printer printer = {(enum output_format)(choice % 5), choice & 16, choice & 32, &out, &errors};
    const void *message = pb_unpack(answers[at].type, fuzz_rest(input), arena);
    uint64_t ids[] = {1, 2};
    const char name[] = "name";
    bool is_good = true;
    if (message != NULL && answers[at].view != NULL) {
        bool of_members = at == 5 || at == 6 || (at >= 15 && at <= 17);
        const void *context = of_members ? (const void *)ids : at == 4 ? NULL : name;
        is_good = print_answer(&printer, answers[at].view, message, context, &failure);
    } else if (message != NULL && at == 12) {
        is_good = print_members(&printer, message, &failure);
    } else if (message != NULL && at == 13) {
        struct endpoint_status status = {"a:1", message};
        is_good = print_endpoint_status(&printer, &status, 1, &failure);
    } else if (message != NULL && at == 14) {
        struct endpoint_hash hash = {"a:1", message};
        is_good = print_endpoint_hash(&printer, &hash, 1, &failure);
    }
    check_failure(is_good, &failure);
    if (message != NULL) go_json_append_message(&out, message);
    failure_release(&failure);
    buf_release(&out);
    buf_release(&errors);
}

static void print_plain(struct fuzz_input *input, struct arena *arena) {
    uint8_t choice = fuzz_byte(input);
    struct buf out = BUF_INIT, errors = BUF_INIT;
    struct failure failure = {EXIT_OK, BUF_INIT};
    struct printer printer = {(enum output_format)(choice % 5), choice & 16, choice & 32, &out, &errors};
    static const enum etcd_method methods[] = {ETCD_METHOD_LEASE_GRANT, ETCD_METHOD_LEASE_TTL, ETCD_METHOD_LEASE_LIST,
                                               ETCD_METHOD_LEASE_KEEPALIVE_ONCE};
    size_t at = fuzz_byte(input) % 5;
    bool is_good = true;
    if (at == 4) {
        struct client_watch_answer *watch = client_decode_watch(fuzz_rest(input), arena);
        if (watch != NULL) is_good = print_watch(&printer, &watch->response, &failure);
    } else {
        void *response = client_decode_answer(client_method_get(methods[at]), fuzz_rest(input));
        if (response != NULL && at == 0) is_good = print_lease_grant(&printer, response, &failure);
        if (response != NULL && at == 1) is_good = print_lease_ttl(&printer, response, choice & 64, &failure);
        if (response != NULL && at == 2) is_good = print_lease_list(&printer, response, &failure);
        if (response != NULL && at == 3) is_good = print_lease_keepalive(&printer, response, &failure);
        client_response_free(response);
    }
    check_failure(is_good, &failure);
    failure_release(&failure);
    buf_release(&out);
    buf_release(&errors);
}

static void read_text(int kind, struct slice bytes, struct arena *arena) {
    char *text;
    switch (kind) {
    case SPLIT: split(bytes, arena); break;
    case UNQUOTE: unquote(bytes); break;
    case NUMBERS:
        text = fuzz_text(bytes);
        numbers(text);
        free(text);
        break;
    default: line(kind, bytes, arena);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    int kind = fuzz_byte(&input) % KINDS;
    struct arena arena;
    arena_init(&arena, 0);
    if (kind == ANSWER) {
        print(&input, &arena);
    } else if (kind == PLAIN) {
        print_plain(&input, &arena);
    } else if (kind == OPTIONS || kind == ENVIRONMENT) {
        options(&input, kind == ENVIRONMENT, &arena);
    } else {
        struct slice bytes = fuzz_copy(fuzz_rest(&input));
        read_text(kind, bytes, &arena);
        fuzz_drop(bytes);
    }
    arena_release(&arena);
    return 0;
}
