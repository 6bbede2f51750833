#include "etcdctl/words.h"

#include "base/gotext.h"
#include "base/vec.h"

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\f' || byte == '\r';
}

struct slice word_trim(struct slice text) {
    while (text.len > 0 && (is_blank(text.data[0]) || text.data[0] == '\v')) text = slice_from(text, 1);
    while (text.len > 0 && (is_blank(text.data[text.len - 1]) || text.data[text.len - 1] == '\v')) text.len--;
    return text;
}

/* ---- numbers ---- */

enum number_problem { NUMBER_GOOD, NUMBER_SYNTAX, NUMBER_RANGE };

static int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 99;
}

/* In base 0 an underscore may stand between digits, and between the prefix and the first digit. */
static bool underscores_are_good(const char *text) {
    char before = '^'; /* begin; then '0' after a digit or prefix, '_', or '!' after anything else */
    if (*text == '+' || *text == '-') text++;
    bool hex = false;
    if (text[0] == '0' && text[1] != 0 && strchr("bBoOxX", text[1])) {
        hex = text[1] == 'x' || text[1] == 'X';
        text += 2;
        before = '0';
    }
    for (; *text != 0; text++) {
        if ((*text >= '0' && *text <= '9') || (hex && digit_value(*text) < 16)) {
            before = '0';
        } else if (*text == '_') {
            if (before != '0') return false;
            before = '_';
        } else {
            if (before == '_') return false;
            before = '!';
        }
    }
    return before != '_';
}

static enum number_problem parse_magnitude(const char *text, int base, uint64_t *ret_value) {
    const char *at = text;
    bool underscores = false;
    bool any_base = base == 0;
    if (*at == 0) return NUMBER_SYNTAX;
    if (any_base) {
        base = 10;
        if (*at == '0') {
            char kind = at[1] == 0 ? 0 : at[1];
            bool prefixed = at[1] != 0 && at[2] != 0;
            if (prefixed && (kind == 'x' || kind == 'X'))
                base = 16, at += 2;
            else if (prefixed && (kind == 'b' || kind == 'B'))
                base = 2, at += 2;
            else if (prefixed && (kind == 'o' || kind == 'O'))
                base = 8, at += 2;
            else
                base = 8, at += 1;
        }
    }
    uint64_t value = 0;
    bool overflow = false;
    for (; *at != 0; at++) {
        if (*at == '_' && any_base) {
            underscores = true;
            continue;
        }
        int digit = digit_value(*at);
        if (digit >= base) return NUMBER_SYNTAX;
        uint64_t next;
        if (__builtin_mul_overflow(value, (uint64_t)base, &next) ||
            __builtin_add_overflow(next, (uint64_t)digit, &next))
            overflow = true;
        else
            value = next;
    }
    if (underscores && !underscores_are_good(text)) return NUMBER_SYNTAX;
    if (overflow) return NUMBER_RANGE;
    *ret_value = value;
    return NUMBER_GOOD;
}

static bool number_error(struct buf *error, const char *function, const char *text, enum number_problem problem) {
    buf_printf(error, "strconv.%s: parsing ", function);
    go_append_quoted(error, slice_from_cstr(text));
    buf_append_cstr(error, problem == NUMBER_RANGE ? ": value out of range" : ": invalid syntax");
    return false;
}

bool word_parse_int(const char *text, int base, int64_t *ret_value, struct buf *error) {
    bool negative = *text == '-';
    const char *digits = *text == '-' || *text == '+' ? text + 1 : text;
    uint64_t magnitude = 0;
    enum number_problem problem = parse_magnitude(digits, base, &magnitude);
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (problem == NUMBER_GOOD && magnitude > limit) problem = NUMBER_RANGE;
    if (problem != NUMBER_GOOD) return number_error(error, "ParseInt", text, problem);
    *ret_value = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

bool word_parse_uint(const char *text, int base, uint64_t *ret_value, struct buf *error) {
    enum number_problem problem = parse_magnitude(text, base, ret_value);
    return problem == NUMBER_GOOD || number_error(error, "ParseUint", text, problem);
}

bool word_parse_bool(const char *text, bool *ret_value, struct buf *error) {
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *ret_value = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return number_error(error, "ParseBool", text, NUMBER_SYNTAX);
}

/* Finds out what Go would say about a duration it does not take. */
static void duration_error(const char *text, struct buf *error) {
    const char *at = *text == '-' || *text == '+' ? text + 1 : text;
    while (*at != 0) {
        const char *number = at;
        size_t digits = 0;
        for (; (*at >= '0' && *at <= '9') || *at == '.'; at++) digits += *at != '.';
        if (at == number || digits == 0) break;
        const char *unit = at;
        while (*at != 0 && *at != '.' && !(*at >= '0' && *at <= '9')) at++;
        if (at == unit) {
            buf_append_cstr(error, "time: missing unit in duration ");
            go_append_quoted(error, slice_from_cstr(text));
            return;
        }
        CLEANUP_BUF struct buf one = BUF_INIT;
        buf_append_byte(&one, '1');
        buf_append(&one, unit, (size_t)(at - unit));
        int64_t ignored;
        if (go_parse_duration(buf_cstr(&one), &ignored)) continue;
        buf_append_cstr(error, "time: unknown unit ");
        go_append_quoted(error, slice_make(unit, (size_t)(at - unit)));
        buf_append_cstr(error, " in duration ");
        go_append_quoted(error, slice_from_cstr(text));
        return;
    }
    buf_append_cstr(error, "time: invalid duration ");
    go_append_quoted(error, slice_from_cstr(text));
}

bool word_parse_duration(const char *text, int64_t *ret_ns, struct buf *error) {
    if (go_parse_duration(text, ret_ns)) return true;
    duration_error(text, error);
    return false;
}

/* ---- quoted words ---- */

static void append_utf8(struct buf *out, uint32_t code_point) {
    if (code_point < 0x80) {
        buf_append_byte(out, (uint8_t)code_point);
        return;
    }
    int more = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;
    static const uint8_t heads[] = {0, 0xc0, 0xe0, 0xf0};
    buf_append_byte(out, (uint8_t)(heads[more] | code_point >> (6 * more)));
    while (more-- > 0) buf_append_byte(out, (uint8_t)(0x80 | (code_point >> (6 * more) & 0x3f)));
}

/* The escape behind a backslash: bytes taken, or 0. */
static size_t unescape(struct slice text, struct buf *out) {
    static const char simple[] = "abfnrtv\\\"";
    static const char meaning[] = "\a\b\f\n\r\t\v\\\"";
    if (text.len == 0) return 0;
    char kind = (char)text.data[0];
    const char *found = kind ? strchr(simple, kind) : NULL;
    if (found) {
        buf_append_byte(out, (uint8_t)meaning[found - simple]);
        return 1;
    }
    size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : kind >= '0' && kind <= '7' ? 3 : 0;
    size_t from = digits == 3 ? 0 : 1;
    int base = digits == 3 ? 8 : 16;
    if (digits == 0 || text.len < from + digits) return 0;
    uint32_t value = 0;
    for (size_t i = from; i < from + digits; i++) {
        int digit = digit_value((char)text.data[i]);
        if (digit >= base) return 0;
        value = value * (uint32_t)base + (uint32_t)digit;
    }
    if (kind == 'u' || kind == 'U') {
        if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 0;
        append_utf8(out, value);
    } else {
        if (value > 255) return 0;
        buf_append_byte(out, (uint8_t)value);
    }
    return from + digits;
}

size_t word_unquote(struct slice text, struct buf *out) {
    if (text.len < 2 || (text.data[0] != '"' && text.data[0] != '`')) return 0;
    uint8_t quote = text.data[0];
    size_t length_before = out->len;
    size_t at = 1;
    while (at < text.len && text.data[at] != quote) {
        if (quote == '"' && text.data[at] == '\\') {
            size_t taken = unescape(slice_from(text, at + 1), out);
            if (taken == 0) break;
            at += 1 + taken;
        } else if (quote == '"' && text.data[at] == '\n') {
            break;
        } else {
            if (quote != '`' || text.data[at] != '\r') buf_append_byte(out, text.data[at]);
            at++;
        }
    }
    if (at < text.len && text.data[at] == quote) return at + 1;
    out->len = length_before;
    return 0;
}

/* Where the double-quoted word that begins at text[0] ends (behind its closing quote), or 0. */
static size_t quoted_length(struct slice text) {
    for (size_t at = 1; at < text.len; at++) {
        if (text.data[at] == '"') return at + 1;
        if (text.data[at] == '\\') at++;
    }
    return 0;
}

bool word_split(struct slice line, struct arena *arena, struct slice **ret_words, size_t *ret_count,
                struct buf *error) {
    VEC(struct slice) words = {0};
    CLEANUP_BUF struct buf word = BUF_INIT;
    bool good = true;
    while (line.len > 0 && good) {
        uint8_t first = line.data[0];
        size_t taken = 0;
        struct slice text = SLICE_NONE;
        if (first == '"' && (taken = quoted_length(line)) != 0) {
            buf_clear(&word);
            good = word_unquote(slice_make(line.data, taken), &word) == taken;
            text = buf_slice(&word);
        } else if (first == '\'') {
            const uint8_t *end = memchr(line.data + 1, '\'', line.len - 1);
            if (end) {
                taken = (size_t)(end - line.data) + 1;
                text = slice_make(line.data + 1, taken - 2);
            }
        } else if (first != '"' && !is_blank(first)) {
            while (taken < line.len && !is_blank(line.data[taken])) taken++;
            text = slice_make(line.data, taken);
        }
        if (taken > 0 && good) VEC_PUSH(&words, arena_copy(arena, text));
        line = slice_from(line, taken > 0 ? taken : 1);
    }
    if (good) {
        struct slice *copy = arena_alloc(arena, (words.count + 1) * sizeof *copy);
        if (words.count > 0) memcpy(copy, words.items, words.count * sizeof *copy);
        *ret_words = copy;
        *ret_count = words.count;
    } else {
        buf_append_cstr(error, "invalid syntax");
    }
    VEC_RELEASE(&words);
    return good;
}
