#include "base/gotext.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_US 1000
#define NS_PER_MS 1000000
#define NS_PER_S 1000000000u

/* value / unit with as many of the unit's decimals as are not zero. */
static void append_scaled(struct buf *out, uint64_t value, uint64_t unit) {
    buf_printf(out, "%llu", (unsigned long long)(value / unit));
    uint64_t rest = value % unit;
    if (rest == 0) return;
    buf_append_byte(out, '.');
    while (rest != 0) {
        unit /= 10;
        buf_append_byte(out, (uint8_t)('0' + rest / unit));
        rest %= unit;
    }
}

void go_append_duration(struct buf *out, int64_t duration_ns) {
    if (duration_ns == 0) {
        buf_append_cstr(out, "0s");
        return;
    }
    uint64_t ns = (uint64_t)duration_ns;
    if (duration_ns < 0) {
        buf_append_byte(out, '-');
        ns = -ns;
    }
    if (ns < NS_PER_US) {
        buf_printf(out, "%lluns", (unsigned long long)ns);
    } else if (ns < NS_PER_MS) {
        append_scaled(out, ns, NS_PER_US);
        buf_append_cstr(out, "\xc2\xb5s");
    } else if (ns < NS_PER_S) {
        append_scaled(out, ns, NS_PER_MS);
        buf_append_cstr(out, "ms");
    } else {
        uint64_t seconds = ns / NS_PER_S;
        uint64_t hours = seconds / 3600;
        uint64_t minutes = seconds / 60 % 60;
        if (hours > 0) buf_printf(out, "%lluh", (unsigned long long)hours);
        if (hours > 0 || minutes > 0) buf_printf(out, "%llum", (unsigned long long)minutes);
        append_scaled(out, ns % (60ull * NS_PER_S), NS_PER_S);
        buf_append_byte(out, 's');
    }
}

static bool duration_unit(const char **at, double *ret_unit_ns) {
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
                 {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t length = strlen(units[i].name);
        if (strncmp(*at, units[i].name, length) != 0) continue;
        *at += length;
        *ret_unit_ns = units[i].ns;
        return true;
    }
    return false;
}

bool go_parse_duration(const char *text, int64_t *ret_duration_ns) {
    const char *at = text;
    bool negative = *at == '-';
    if (*at == '-' || *at == '+') at++;
    if (strcmp(at, "0") == 0) {
        *ret_duration_ns = 0;
        return true;
    }
    if (*at == 0) return false;
    long double total_ns = 0;
    while (*at != 0) {
        if (!((*at >= '0' && *at <= '9') || *at == '.')) return false;
        long double number = 0, scale = 1;
        size_t digits = 0;
        for (; *at >= '0' && *at <= '9'; at++, digits++) number = number * 10 + (*at - '0');
        if (*at == '.')
            for (at++; *at >= '0' && *at <= '9'; at++, digits++) number += (*at - '0') * (scale /= 10);
        double unit_ns;
        if (digits == 0 || !duration_unit(&at, &unit_ns)) return false;
        total_ns += number * unit_ns;
        if (total_ns > 9.2233720368547758e18L) return false;
    }
    int64_t duration_ns = (int64_t)(total_ns + 0.0000001L);
    *ret_duration_ns = negative ? -duration_ns : duration_ns;
    return true;
}

size_t utf8_decode(const uint8_t *at, const uint8_t *end, uint32_t *ret_code_point) {
    uint8_t first = *at;
    if (first < 0x80) {
        *ret_code_point = first;
        return 1;
    }
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || (size_t)(end - at) < length) return 0;
    uint32_t code_point = first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        code_point = code_point << 6 | (at[i] & 0x3f);
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code_point < smallest[length] || code_point > 0x10ffff) return 0;
    if (code_point >= 0xd800 && code_point <= 0xdfff) return 0;
    *ret_code_point = code_point;
    return length;
}

bool utf8_is_valid(struct slice text) {
    const uint8_t *at = text.data, *end = at + text.len;
    while (at < end) {
        uint32_t code_point;
        size_t length = utf8_decode(at, end, &code_point);
        if (length == 0) return false;
        at += length;
    }
    return true;
}

void go_append_quoted(struct buf *out, struct slice text) {
    buf_append_byte(out, '"');
    const uint8_t *at = text.data, *end = at + text.len;
    while (at < end) {
        uint32_t code_point;
        size_t length = utf8_decode(at, end, &code_point);
        if (length == 0) {
            buf_printf(out, "\\x%02x", *at++);
            continue;
        }
        static const char escapes[] = "abtnvfr"; /* 7 to 13 */
        if (code_point == '"' || code_point == '\\')
            buf_printf(out, "\\%c", (int)code_point);
        else if (code_point >= 7 && code_point <= 13)
            buf_printf(out, "\\%c", escapes[code_point - 7]);
        else if (code_point < 0x20 || code_point == 0x7f)
            buf_printf(out, "\\x%02x", (unsigned)code_point);
        else if (code_point >= 0x80 && code_point < 0xa0)
            buf_printf(out, "\\u%04x", (unsigned)code_point);
        else if (code_point == 0xa0 || code_point == 0xad || code_point == 0x2028 || code_point == 0x2029 ||
                 code_point == 0xfeff)
            buf_printf(out, "\\u%04x", (unsigned)code_point);
        else
            buf_append(out, at, length);
        at += length;
    }
    buf_append_byte(out, '"');
}

void go_append_json_string(struct buf *out, struct slice text, bool html) {
    const uint8_t *at = text.data, *end = at + text.len;
    while (at < end) {
        uint32_t code_point;
        size_t length = utf8_decode(at, end, &code_point);
        if (length == 0) {
            buf_append_cstr(out, "\\ufffd");
            at++;
            continue;
        }
        if (code_point == '"' || code_point == '\\')
            buf_printf(out, "\\%c", (int)code_point);
        else if (code_point == '\n')
            buf_append_cstr(out, "\\n");
        else if (code_point == '\r')
            buf_append_cstr(out, "\\r");
        else if (code_point == '\t')
            buf_append_cstr(out, "\\t");
        else if (code_point < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)code_point);
        else if (html && (code_point == '<' || code_point == '>' || code_point == '&' || code_point == 0x2028 ||
                          code_point == 0x2029))
            buf_printf(out, "\\u%04x", (unsigned)code_point);
        else
            buf_append(out, at, length);
        at += length;
    }
}

void go_append_float(struct buf *out, double value) {
    if (isnan(value)) {
        buf_append_cstr(out, "NaN");
        return;
    }
    if (isinf(value)) {
        buf_append_cstr(out, value > 0 ? "+Inf" : "-Inf");
        return;
    }
    char digits[40];
    int precision = 0;
    do snprintf(digits, sizeof digits, "%.*e", precision, value);
    while (strtod(digits, NULL) != value && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (value != 0 && (exponent < -4 || exponent >= 21)) {
        *strchr(digits, 'e') = 0;
        buf_printf(out, "%se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    buf_printf(out, "%.*f", precision > exponent ? precision - exponent : 0, value);
}

void go_append_humanized_bytes(struct buf *out, uint64_t size_bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    if (size_bytes < 10) {
        buf_printf(out, "%llu B", (unsigned long long)size_bytes);
        return;
    }
    int unit = (int)floor(log((double)size_bytes) / log(1000));
    double value = floor((double)size_bytes / pow(1000, unit) * 10 + 0.5) / 10;
    buf_printf(out, value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void append_base64(struct buf *out, struct slice bytes) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *to = buf_extend(out, (bytes.len + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        if (left > 1) group |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2) group |= bytes.data[i + 2];
        *to++ = (uint8_t)alphabet[group >> 18];
        *to++ = (uint8_t)alphabet[group >> 12 & 63];
        *to++ = left > 1 ? (uint8_t)alphabet[group >> 6 & 63] : '=';
        *to++ = left > 2 ? (uint8_t)alphabet[group & 63] : '=';
    }
}

void append_hex(struct buf *out, struct slice bytes) {
    static const char digits[] = "0123456789abcdef";
    uint8_t *to = buf_extend(out, bytes.len * 2);
    for (size_t i = 0; i < bytes.len; i++) {
        *to++ = (uint8_t)digits[bytes.data[i] >> 4];
        *to++ = (uint8_t)digits[bytes.data[i] & 15];
    }
}
