/* What a user may do is the union of its permissions: every query over a small set of keys, against a model that knows
 * nothing of ranges, for permissions drawn from a seed. */
#include "fixture.h"

#include "base/prng.h"

/* All strings of one and two letters out of "ab", and each with a zero behind it: every place where a range over them
 * can begin or end. A gap begins at one of them, so looking at these finds it. */
static struct slice universe[12];
static uint8_t universe_bytes[12][3];
static struct slice words[6];

static void make_universe(void) {
    static const char *const texts[] = {"a", "aa", "ab", "b", "ba", "bb"};
    for (size_t i = 0; i < 6; i++) {
        size_t len = strlen(texts[i]);
        memcpy(universe_bytes[2 * i], texts[i], len);
        memcpy(universe_bytes[2 * i + 1], texts[i], len); /* and a zero */
        universe[2 * i] = slice_make(universe_bytes[2 * i], len);
        universe[2 * i + 1] = slice_make(universe_bytes[2 * i + 1], len + 1);
        words[i] = universe[2 * i];
    }
}

#define OPEN SLICE_LITERAL("\0")

struct rule {
    int type;
    struct slice key, end;
};

static bool is_in(struct slice point, struct slice key, struct slice end) {
    if (end.len == 0) return slice_equal(point, key);
    if (slice_compare(point, key) < 0) return false;
    return slice_equal(end, OPEN) || slice_compare(point, end) < 0;
}

static bool point_allowed(const struct rule *rules, size_t count, struct slice point, int type) {
    for (size_t i = 0; i < count; i++)
        if ((rules[i].type == type || rules[i].type == READWRITE) && is_in(point, rules[i].key, rules[i].end))
            return true;
    return false;
}

static bool open_ended_allowed(const struct rule *rules, size_t count, int type) {
    for (size_t i = 0; i < count; i++)
        if ((rules[i].type == type || rules[i].type == READWRITE) && slice_equal(rules[i].end, OPEN)) return true;
    return false;
}

static bool model(const struct rule *rules, size_t count, struct slice key, struct slice end, int type) {
    if (!point_allowed(rules, count, key, type)) return false;
    if (slice_equal(end, OPEN) && !open_ended_allowed(rules, count, type)) return false;
    for (size_t i = 0; i < 12; i++)
        if (is_in(universe[i], key, end) && !point_allowed(rules, count, universe[i], type)) return false;
    return true;
}

static struct rule draw_rule(struct prng *prng) {
    struct rule rule = {.type = (int)(prng_next(prng) % 3)};
    for (;;) {
        rule.key = words[prng_next(prng) % 6];
        uint64_t kind = prng_next(prng) % 8;
        rule.end = kind < 2 ? SLICE_NONE : kind == 2 ? OPEN : words[prng_next(prng) % 6];
        if (kind <= 2 || slice_compare(rule.key, rule.end) < 0) return rule;
    }
}

static void check_everything(struct fixture *f, const struct rule *rules, size_t count) {
    struct auth_info info = info_of(f, "u");
    for (size_t i = 0; i < 6; i++) {
        for (size_t j = 0; j < 8; j++) {
            struct slice end = j < 6 ? words[j] : j == 6 ? OPEN : SLICE_NONE;
            bool may_read = auth_check_read(f->store, &info, words[i], end) == OK;
            bool may_write = auth_check_write(f->store, &info, words[i], end) == OK;
            assert_int_equal(may_read, model(rules, count, words[i], end, READ));
            assert_int_equal(may_write, model(rules, count, words[i], end, WRITE));
        }
    }
}

static void permissions_add_up_and_nothing_more(void **state) {
    struct fixture *f = *state;
    make_universe();
    enable(f);
    assert_int_equal(add_user(f, "u", "x"), OK);
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 400; round++) {
        static const char *const roles[] = {"r0", "r1", "r2"};
        struct rule rules[6];
        size_t count = prng_next(&prng) % 7;
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(add_role(f, roles[i]), OK);
            assert_int_equal(grant_role(f, "u", roles[i]), OK);
        }
        for (size_t i = 0; i < count; i++) {
            rules[i] = draw_rule(&prng);
            /* each its own role if it can be: the same range granted twice to one would replace the first */
            bool is_repeated = false;
            for (size_t j = 0; j < i; j++)
                is_repeated |= slice_equal(rules[j].key, rules[i].key) && slice_equal(rules[j].end, rules[i].end);
            if (is_repeated) rules[i].type = rules[0].type, rules[i].key = rules[0].key, rules[i].end = rules[0].end;
            assert_int_equal(grant_permission(f, roles[i % 3], rules[i].type, rules[i].key, rules[i].end), OK);
        }
        check_everything(f, rules, count);
        if (round % 50 == 0) {
            restart(f);
            check_everything(f, rules, count);
        }
        for (size_t i = 0; i < 3; i++) assert_int_equal(delete_role(f, roles[i]), OK);
        check_everything(f, rules, 0);
    }
}

static void touching_ranges_are_one(void **state) {
    struct fixture *f = *state;
    enable(f);
    assert_int_equal(add_user(f, "u", "x"), OK);
    assert_int_equal(add_role(f, "r"), OK);
    assert_int_equal(grant_role(f, "u", "r"), OK);
    assert_int_equal(grant_permission(f, "r", READ, SLICE_LITERAL("a"), SLICE_LITERAL("c")), OK);
    assert_int_equal(grant_permission(f, "r", READ, SLICE_LITERAL("c"), SLICE_NONE), OK);
    assert_int_equal(grant_permission(f, "r", READ, slice_make("c", 2), SLICE_LITERAL("e")), OK);
    struct auth_info info = info_of(f, "u");
    assert_int_equal(auth_check_read(f->store, &info, SLICE_LITERAL("a"), SLICE_LITERAL("e")), OK);
    assert_int_equal(auth_check_read(f->store, &info, SLICE_LITERAL("a"), SLICE_LITERAL("f")), ERR_PERMISSION_DENIED);
    assert_int_equal(revoke_permission(f, "r", SLICE_LITERAL("c"), SLICE_NONE), OK);
    info = info_of(f, "u");
    assert_int_equal(auth_check_read(f->store, &info, SLICE_LITERAL("a"), SLICE_LITERAL("e")), ERR_PERMISSION_DENIED);
    assert_int_equal(auth_check_read(f->store, &info, SLICE_LITERAL("a"), SLICE_LITERAL("c")), OK);
}

/* CVE-2026-73499: one key's permission is not that of all keys behind it. */
static void one_key_is_not_all_keys_from_it_on(void **state) {
    struct fixture *f = *state;
    enable(f);
    assert_int_equal(add_user(f, "u", "x"), OK);
    assert_int_equal(add_role(f, "r"), OK);
    assert_int_equal(grant_role(f, "u", "r"), OK);
    assert_int_equal(grant_permission(f, "r", READ, SLICE_LITERAL("a"), SLICE_NONE), OK);
    struct auth_info info = info_of(f, "u");
    assert_int_equal(auth_check_read(f->store, &info, SLICE_LITERAL("a"), SLICE_NONE), OK);
    assert_int_equal(auth_check_read(f->store, &info, SLICE_LITERAL("a"), OPEN), ERR_PERMISSION_DENIED);
    assert_int_equal(auth_check_read(f->store, &info, SLICE_NONE, SLICE_NONE), ERR_PERMISSION_DENIED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(permissions_add_up_and_nothing_more, setup, teardown),
        cmocka_unit_test_setup_teardown(touching_ranges_are_one, setup, teardown),
        cmocka_unit_test_setup_teardown(one_key_is_not_all_keys_from_it_on, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
