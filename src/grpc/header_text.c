/* header_text.c - small texts in gRPC's request headers: timeouts and binary metadata. */
#include "base/gotext.h"
#include "grpc/internal.h"

/* grpc-timeout: at most 8 digits and a unit of H M S m u n (gRPC over HTTP/2). Texts are grpc-go's. */
static bool parse_digits(struct slice digits, uint64_t *ret_value) {
    uint64_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9') return false;
        value = value * 10 + (uint64_t)(digits.data[i] - '0');
    }
    *ret_value = value;
    return digits.len != 0;
}

static int64_t unit_ns(uint8_t unit) {
    switch (unit) {
    case 'H': return INT64_C(3600000000000);
    case 'M': return INT64_C(60000000000);
    case 'S': return INT64_C(1000000000);
    case 'm': return 1000000;
    case 'u': return 1000;
    case 'n': return 1;
    default: return 0;
    }
}

static struct slice problem(struct arena *arena, const char *what, struct slice text, const char *rest) {
    struct buf line = BUF_INIT;
    buf_append_cstr(&line, "malformed grpc-timeout: ");
    buf_append_cstr(&line, what);
    go_append_quoted(&line, text);
    buf_append_cstr(&line, rest);
    struct slice kept = arena_copy(arena, buf_slice(&line));
    buf_release(&line);
    return kept;
}

bool grpc__parse_timeout(struct arena *arena, struct slice text, int64_t *ret_timeout_ns, struct slice *ret_problem) {
    if (text.len < 2) {
        *ret_problem = problem(arena, "transport: timeout string is too short: ", text, "");
        return false;
    }
    if (text.len > 9) {
        *ret_problem = problem(arena, "transport: timeout string is too long: ", text, "");
        return false;
    }
    int64_t unit = unit_ns(text.data[text.len - 1]);
    if (unit == 0) {
        *ret_problem = problem(arena, "transport: timeout unit is not recognized: ", text, "");
        return false;
    }
    struct slice digits = slice_make(text.data, text.len - 1);
    uint64_t value;
    if (!parse_digits(digits, &value)) {
        *ret_problem = problem(arena, "strconv.ParseUint: parsing ", digits, ": invalid syntax");
        return false;
    }
    if (__builtin_mul_overflow((int64_t)value, unit, ret_timeout_ns)) *ret_timeout_ns = INT64_MAX;
    return true;
}

static bool is_base64_char(uint8_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

bool grpc__is_base64(struct slice text, size_t *ret_bad_offset) {
    size_t len = text.len;
    if (len % 4 == 0)
        for (int i = 0; i < 2 && len != 0 && text.data[len - 1] == '='; i++) len--;
    for (size_t i = 0; i < len; i++) {
        if (is_base64_char(text.data[i])) continue;
        *ret_bad_offset = i;
        return false;
    }
    if (len % 4 == 1) {
        *ret_bad_offset = len;
        return false;
    }
    return true;
}
