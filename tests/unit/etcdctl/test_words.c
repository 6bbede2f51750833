/* Texts read as Go reads them. */
#include "etcdctl/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void check_int(const char *text, int base, int64_t want, const char *want_error) {
    int64_t value = 77;
    struct buf error = BUF_INIT;
    bool good = word_parse_int(text, base, &value, &error);
    assert_string_equal(buf_cstr(&error), want_error);
    assert_int_equal(good, *want_error == 0);
    if (good) assert_int_equal(value, want);
    buf_release(&error);
}

static void test_integers_have_gos_grammar_and_errors(void **state) {
    check_int("0", 10, 0, "");
    check_int("-9223372036854775808", 10, INT64_MIN, "");
    check_int("+9223372036854775807", 10, INT64_MAX, "");
    check_int("9223372036854775808", 10, 0, "strconv.ParseInt: parsing \"9223372036854775808\": value out of range");
    check_int("694d7e8f", 16, 0x694d7e8f, "");
    check_int("0x12", 16, 0, "strconv.ParseInt: parsing \"0x12\": invalid syntax");
    check_int("", 10, 0, "strconv.ParseInt: parsing \"\": invalid syntax");
    check_int("-", 10, 0, "strconv.ParseInt: parsing \"-\": invalid syntax");
    check_int("12 ", 10, 0, "strconv.ParseInt: parsing \"12 \": invalid syntax");
    check_int("1_000", 10, 0, "strconv.ParseInt: parsing \"1_000\": invalid syntax");
    check_int("1_000", 0, 1000, "");
    check_int("0x_1f", 0, 31, "");
    check_int("0b101", 0, 5, "");
    check_int("0o17", 0, 15, "");
    check_int("017", 0, 15, "");
    check_int("08", 0, 0, "strconv.ParseInt: parsing \"08\": invalid syntax");
    check_int("0x", 0, 0, "strconv.ParseInt: parsing \"0x\": invalid syntax");
    check_int("1__0", 0, 0, "strconv.ParseInt: parsing \"1__0\": invalid syntax");
    check_int("1_", 0, 0, "strconv.ParseInt: parsing \"1_\": invalid syntax");
}

static void test_unsigned_integers_take_no_sign(void **state) {
    uint64_t value;
    struct buf error = BUF_INIT;
    assert_true(word_parse_uint("ffffffffffffffff", 16, &value, &error));
    assert_true(value == UINT64_MAX);
    assert_false(word_parse_uint("-1", 16, &value, &error));
    assert_string_equal(buf_cstr(&error), "strconv.ParseUint: parsing \"-1\": invalid syntax");
    buf_release(&error);
}

static void check_duration(const char *text, int64_t want_ns, const char *want_error) {
    int64_t value = 0;
    struct buf error = BUF_INIT;
    assert_int_equal(word_parse_duration(text, &value, &error), *want_error == 0);
    assert_string_equal(buf_cstr(&error), want_error);
    if (*want_error == 0) assert_int_equal(value, want_ns);
    buf_release(&error);
}

static void test_durations_have_gos_errors(void **state) {
    check_duration("1.5s", 1500000000, "");
    check_duration("1m2s", 62000000000, "");
    check_duration("0", 0, "");
    check_duration("5", 0, "time: missing unit in duration \"5\"");
    check_duration("5x", 0, "time: unknown unit \"x\" in duration \"5x\"");
    check_duration("1s5x", 0, "time: unknown unit \"x\" in duration \"1s5x\"");
    check_duration("abc", 0, "time: invalid duration \"abc\"");
    check_duration("", 0, "time: invalid duration \"\"");
    check_duration(".s", 0, "time: invalid duration \".s\"");
}

static void check_unquote(const char *text, size_t want_taken, const char *want, size_t want_len) {
    struct buf word = BUF_INIT;
    assert_int_equal(word_unquote(slice_from_cstr(text), &word), want_taken);
    assert_int_equal(word.len, want_len);
    if (want_len > 0) assert_memory_equal(word.data, want, want_len);
    buf_release(&word);
}

static void test_quoted_words_have_gos_escapes(void **state) {
    check_unquote("\"ab\" rest", 4, "ab", 2);
    check_unquote("\"\"", 2, "", 0);
    check_unquote("`a\\n`", 5, "a\\n", 3);
    check_unquote("\"\\\"\\\\\\n\\t\\x00\\377\\u00e9\\U0001f600\"", 34, "\"\\\n\t\0\xff\xc3\xa9\xf0\x9f\x98\x80", 12);
    check_unquote("\"\\q\"", 0, "", 0);
    check_unquote("\"\\x1\"", 0, "", 0);
    check_unquote("\"\\400\"", 0, "", 0);
    check_unquote("\"\\ud800\"", 0, "", 0);
    check_unquote("\"open", 0, "", 0);
    check_unquote("plain", 0, "", 0);
    check_unquote("'a'", 0, "", 0);
}

static void check_split(const char *line, size_t want_count, const char *const *want) {
    struct arena arena;
    arena_init(&arena, 0);
    struct slice *words;
    size_t count;
    struct buf error = BUF_INIT;
    assert_true(word_split(slice_from_cstr(line), &arena, &words, &count, &error));
    assert_int_equal(count, want_count);
    for (size_t i = 0; i < count; i++) assert_string_equal((const char *)words[i].data, want[i]);
    buf_release(&error);
    arena_release(&arena);
}

#define SPLIT(line, ...)                                                                                               \
    do {                                                                                                               \
        const char *const want_[] = {__VA_ARGS__};                                                                     \
        check_split(line, sizeof want_ / sizeof *want_, want_);                                                        \
    } while (0)

static void test_lines_split_into_words(void **state) {
    SPLIT("put a b", "put", "a", "b");
    SPLIT("  put\ta \r", "put", "a");
    SPLIT("put \"a b\" 'c \"d\"'", "put", "a b", "c \"d\"");
    SPLIT("put \"\" ''", "put", "", "");
    SPLIT("a\"b c\"", "a\"b", "c\"");     /* a quote inside a word is a character */
    SPLIT("\"open word", "open", "word"); /* never closed */
    SPLIT("'open word", "open", "word");  /* the same */
    SPLIT("\"a\"b", "a", "b");            /* a word ends with its quote */
    SPLIT("\"a\\\"b\" c", "a\"b", "c");
    check_split("", 0, NULL);
    check_split(" \t ", 0, NULL);
}

static void test_a_bad_escape_is_an_error(void **state) {
    struct arena arena;
    arena_init(&arena, 0);
    struct slice *words;
    size_t count;
    struct buf error = BUF_INIT;
    assert_false(word_split(slice_from_cstr("put \"a\\q\" b"), &arena, &words, &count, &error));
    assert_string_equal(buf_cstr(&error), "invalid syntax");
    buf_release(&error);
    arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_have_gos_grammar_and_errors),
        cmocka_unit_test(test_unsigned_integers_take_no_sign),
        cmocka_unit_test(test_durations_have_gos_errors),
        cmocka_unit_test(test_quoted_words_have_gos_escapes),
        cmocka_unit_test(test_lines_split_into_words),
        cmocka_unit_test(test_a_bad_escape_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
