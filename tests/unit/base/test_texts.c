/* Values as Go prints them; checksums; the error table. */
#include "base/crc32c.h"
#include "base/err.h"
#include "base/gotext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define EXPECT(text, ...)                                                                                              \
    do {                                                                                                               \
        struct buf out = BUF_INIT;                                                                                     \
        __VA_ARGS__;                                                                                                   \
        assert_string_equal(buf_cstr(&out), text);                                                                     \
        buf_release(&out);                                                                                             \
    } while (0)

static void durations_print_as_in_go(void **state) {
    EXPECT("0s", go_append_duration(&out, 0));
    EXPECT("1ns", go_append_duration(&out, 1));
    EXPECT("12.345\xc2\xb5s", go_append_duration(&out, 12345));
    EXPECT("100ms", go_append_duration(&out, 100000000));
    EXPECT("1.5s", go_append_duration(&out, 1500000000));
    EXPECT("1m0s", go_append_duration(&out, 60000000000));
    EXPECT("1h0m0.25s", go_append_duration(&out, 3600250000000));
    EXPECT("-2h3m4s", go_append_duration(&out, -7384000000000));
}

static void durations_parse_as_in_go(void **state) {
    int64_t ns;
    assert_true(go_parse_duration("1h15m30.918s", &ns));
    assert_true(ns == 4530918000000);
    assert_true(go_parse_duration("-1.5h", &ns));
    assert_true(ns == -5400000000000);
    assert_true(go_parse_duration("0", &ns) && ns == 0);
    assert_true(go_parse_duration("10us", &ns) && ns == 10000);
    static const char *const bad[] = {"", "1", "s", "1x", "--1s", "1s2", ".s", "99999999999h"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(go_parse_duration(bad[i], &ns));
}

static void strings_quote_as_in_go(void **state) {
    EXPECT("\"a\\\"b\\\\\\n\\t\\x00\\x7f\\xff\xc3\xa9\"",
           go_append_quoted(&out, slice_make("a\"b\\\n\t\0\x7f\xff\xc3\xa9", 11)));
    EXPECT("a\\u003cb\\u0026\\ufffd\\u2028", go_append_json_string(&out, slice_make("a<b&\xff\xe2\x80\xa8", 8), true));
    EXPECT("a<b\\u0001", go_append_json_string(&out, slice_make("a<b\x01", 4), false));
}

static void floats_print_shortest(void **state) {
    EXPECT("0", go_append_float(&out, 0));
    EXPECT("0.001", go_append_float(&out, 0.001));
    EXPECT("1e-05", go_append_float(&out, 0.00001));
    EXPECT("100", go_append_float(&out, 100));
    EXPECT("8.192", go_append_float(&out, 8.192));
    EXPECT("1e+21", go_append_float(&out, 1e21));
    EXPECT("1.7976931348623157e+308", go_append_float(&out, 1.7976931348623157e308));
    EXPECT("+Inf", go_append_float(&out, 1e308 * 10));
}

static void sizes_are_humanized_in_thousands(void **state) {
    EXPECT("9 B", go_append_humanized_bytes(&out, 9));
    EXPECT("20 kB", go_append_humanized_bytes(&out, 20480));
    EXPECT("2.1 GB", go_append_humanized_bytes(&out, 2147483648u));
    EXPECT("25 kB", go_append_humanized_bytes(&out, 24576));
}

static void base64_pads(void **state) {
    EXPECT("", append_base64(&out, SLICE_NONE));
    EXPECT("Zg==", append_base64(&out, SLICE_LITERAL("f")));
    EXPECT("Zm8=", append_base64(&out, SLICE_LITERAL("fo")));
    EXPECT("Zm9v", append_base64(&out, SLICE_LITERAL("foo")));
    EXPECT("00ff", append_hex(&out, slice_make("\x00\xff", 2)));
}

static void utf8_is_judged_strictly(void **state) {
    assert_true(utf8_is_valid(SLICE_LITERAL("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")));
    static const char *const bad[] = {"\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xc3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(utf8_is_valid(slice_from_cstr(bad[i])));
}

static void crc32c_has_its_check_value_and_continues(void **state) {
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static void every_error_has_a_text_and_a_code(void **state) {
    for (int e = 1; e < ERR_COUNT; e++) {
        assert_true(err_text((enum err)e)[0] != 0);
        assert_in_range(err_grpc_code((enum err)e), 1, 16);
    }
    struct errmsg message;
    assert_int_equal(err_set(&message, ERR_CORRUPT, "page %d", 7), ERR_CORRUPT);
    assert_int_equal(err_prefix(&message, ERR_CORRUPT, "file %s", "db"), ERR_CORRUPT);
    assert_string_equal(message.text, "file db: page 7");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_print_as_in_go),
        cmocka_unit_test(durations_parse_as_in_go),
        cmocka_unit_test(strings_quote_as_in_go),
        cmocka_unit_test(floats_print_shortest),
        cmocka_unit_test(sizes_are_humanized_in_thousands),
        cmocka_unit_test(base64_pads),
        cmocka_unit_test(utf8_is_judged_strictly),
        cmocka_unit_test(crc32c_has_its_check_value_and_continues),
        cmocka_unit_test(every_error_has_a_text_and_a_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
