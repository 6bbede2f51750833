/* Small texts of the protocol: timeouts, base64, grpc-message, codes; and gzip. */
#include "grpc/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int setup(void **state) {
    struct arena *arena = NEW(struct arena);
    arena_init(arena, 0);
    *state = arena;
    return 0;
}

static int teardown(void **state) {
    arena_release(*state);
    mem_free(*state);
    return 0;
}

static void timeouts_are_read(void **state) {
    static const struct {
        const char *text;
        int64_t ns;
    } cases[] = {{"5S", INT64_C(5000000000)},
                 {"1n", 1},
                 {"0S", 0},
                 {"100m", 100000000},
                 {"7u", 7000},
                 {"2M", INT64_C(120000000000)},
                 {"1H", INT64_C(3600000000000)},
                 {"99999999H", INT64_MAX},
                 {"00000001S", INT64_C(1000000000)}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ns = -1;
        struct slice problem;
        assert_true(grpc__parse_timeout(*state, slice_from_cstr(cases[i].text), &ns, &problem));
        assert_true(ns == cases[i].ns);
    }
}

static void bad_timeouts_are_named(void **state) {
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"", "malformed grpc-timeout: transport: timeout string is too short: \"\""},
        {"5", "malformed grpc-timeout: transport: timeout string is too short: \"5\""},
        {"5x", "malformed grpc-timeout: transport: timeout unit is not recognized: \"5x\""},
        {"-5S", "malformed grpc-timeout: strconv.ParseUint: parsing \"-5\": invalid syntax"},
        {"123456789S", "malformed grpc-timeout: transport: timeout string is too long: \"123456789S\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ns;
        struct slice problem = SLICE_NONE;
        assert_false(grpc__parse_timeout(*state, slice_from_cstr(cases[i].text), &ns, &problem));
        assert_true(slice_equal_cstr(problem, cases[i].problem));
    }
}

static void base64_with_and_without_padding(void **state) {
    static const char *const good[] = {"", "AAEC", "AA==", "AAE=", "AA", "AAE", "+/+/"};
    static const struct {
        const char *text;
        size_t offset;
    } bad[] = {{"%%%", 0}, {"AA!A", 2}, {"A", 1}, {"AA=A", 2}, {"=", 0}, {"AA-_", 2}};
    size_t offset;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(grpc__is_base64(slice_from_cstr(good[i]), &offset));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(grpc__is_base64(slice_from_cstr(bad[i].text), &offset));
        assert_int_equal(offset, bad[i].offset);
    }
}

static void every_byte_survives_percent_encoding(void **state) {
    uint8_t all[256];
    for (int i = 0; i < 256; i++) all[i] = (uint8_t)i;
    struct slice encoded = grpc_message_encode(*state, slice_make(all, 256));
    for (size_t i = 0; i < encoded.len; i++) assert_true(encoded.data[i] >= 0x20 && encoded.data[i] <= 0x7e);
    assert_true(slice_equal(grpc_message_decode(*state, encoded), slice_make(all, 256)));
    assert_true(slice_equal_cstr(grpc_message_encode(*state, slice_from_cstr("a%b\n")), "a%25b%0A"));
    assert_true(slice_equal_cstr(grpc_message_decode(*state, slice_from_cstr("a%2xb%")), "a%2xb%"));
}

static void every_error_has_its_way_back(void **state) {
    for (int i = OK + 1; i < ERR_COUNT; i++) {
        enum err error = (enum err)i;
        enum err back = grpc_status_error(grpc_status_code(error), slice_from_cstr(err_text(error)));
        assert_int_equal(grpc_status_code(back), grpc_status_code(error));
        assert_string_equal(err_text(back), err_text(error));
        assert_non_null(grpc_code_name(grpc_status_code(error)));
    }
    assert_int_equal(grpc_status_error(GRPC_UNKNOWN, SLICE_LITERAL("no such text")), ERR_COUNT);
    assert_null(grpc_code_name(17));
    assert_string_equal(grpc_code_name(GRPC_CANCELLED), "Canceled");
}

static struct slice pack(struct buf *packed, size_t size_bytes) {
    struct http_piece pieces[2];
    struct buf plain = BUF_INIT;
    for (size_t i = 0; i < size_bytes; i++) buf_append_byte(&plain, (uint8_t)(i * i >> 3));
    size_t half = size_bytes / 2;
    pieces[0] = (struct http_piece){slice_make(plain.data, half), NULL, NULL};
    pieces[1] = (struct http_piece){slice_make(plain.data + half, size_bytes - half), NULL, NULL};
    grpc__gzip(pieces, 2, packed);
    buf_release(&plain);
    return buf_slice(packed);
}

static void gzip_there_and_back(void **state) {
    static const size_t sizes[] = {0, 1, 100, 16383, 16384, 16385, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf packed = BUF_INIT, plain = BUF_INIT;
        const char *problem;
        assert_int_equal(grpc__gunzip(pack(&packed, sizes[i]), sizes[i], &plain, &problem), OK);
        assert_int_equal(plain.len, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(plain.data[k], (uint8_t)(k * k >> 3));
        buf_release(&packed);
        buf_release(&plain);
    }
}

static void a_bomb_stops_at_the_limit(void **state) {
    struct buf zeros = BUF_INIT, packed = BUF_INIT, plain = BUF_INIT;
    memset(buf_extend(&zeros, 10000000), 0, 10000000);
    struct http_piece piece = {buf_slice(&zeros), NULL, NULL};
    grpc__gzip(&piece, 1, &packed);
    const char *problem;
    assert_int_equal(grpc__gunzip(buf_slice(&packed), 100000, &plain, &problem), ERR_REQUEST_TOO_LARGE);
    assert_true(plain.capacity < 300000);
    buf_release(&zeros);
    buf_release(&packed);
    buf_release(&plain);
}

static void damaged_gzip_is_named_and_never_a_crash(void **state) {
    struct buf packed = BUF_INIT;
    struct slice whole = pack(&packed, 300);
    for (size_t len = 0; len < whole.len; len++) { /* cut */
        struct buf plain = BUF_INIT;
        const char *problem = NULL;
        assert_int_equal(grpc__gunzip(slice_make(whole.data, len), 1000, &plain, &problem), ERR_CORRUPT);
        assert_string_equal(problem, len == 0 ? "EOF" : "unexpected EOF");
        buf_release(&plain);
    }
    for (size_t i = 0; i < whole.len * 8; i++) { /* one bit flipped */
        struct buf plain = BUF_INIT;
        const char *problem = NULL;
        packed.data[i / 8] ^= (uint8_t)(1 << i % 8);
        if (grpc__gunzip(whole, 1000, &plain, &problem) == ERR_CORRUPT) assert_non_null(problem);
        packed.data[i / 8] ^= (uint8_t)(1 << i % 8);
        buf_release(&plain);
    }
    packed.data[0] = 0;
    struct buf plain = BUF_INIT;
    const char *problem = NULL;
    assert_int_equal(grpc__gunzip(whole, 1000, &plain, &problem), ERR_CORRUPT);
    assert_string_equal(problem, "gzip: invalid header");
    buf_release(&plain);
    buf_release(&packed);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(timeouts_are_read),
        TEST(bad_timeouts_are_named),
        TEST(base64_with_and_without_padding),
        TEST(every_byte_survives_percent_encoding),
        TEST(every_error_has_its_way_back),
        TEST(gzip_there_and_back),
        TEST(a_bomb_stops_at_the_limit),
        TEST(damaged_gzip_is_named_and_never_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
