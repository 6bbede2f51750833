#include "base/gotext.h"
#include "base/mem.h"
#include "cluster/internal.h"

#include <errno.h>
#include <stdlib.h>

/* Digits of the longest number that surely fits a signed 64-bit integer. */
#define SAFE_DIGITS 18

/* Copies the text with quotes around every longer run of digits outside of strings. */
static void quote_long_numbers(struct slice text, struct buf *out) {
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (in_string) {
            buf_append_byte(out, c);
            if (c == '\\' && i + 1 < text.len) buf_append_byte(out, text.data[++i]);
            if (c == '"') in_string = false;
            continue;
        }
        size_t digits = 0;
        while (i + digits < text.len && text.data[i + digits] >= '0' && text.data[i + digits] <= '9') digits++;
        if (digits == 0) {
            in_string = c == '"';
            buf_append_byte(out, c);
            continue;
        }
        if (digits > SAFE_DIGITS) buf_append_byte(out, '"');
        buf_append(out, text.data + i, digits);
        if (digits > SAFE_DIGITS) buf_append_byte(out, '"');
        i += digits - 1;
    }
}

json_t *cluster__json_parse(struct slice text, struct errmsg *message) {
    struct buf quoted CLEANUP_BUF = BUF_INIT;
    quote_long_numbers(text, &quoted);
    json_error_t error;
    json_t *root = json_loadb((const char *)quoted.data, quoted.len, 0, &error);
    if (root == NULL) err_set(message, ERR_CORRUPT, "bad JSON at byte %d: %s", error.position, error.text);
    return root;
}

bool cluster__json_u64(const json_t *object, const char *key, uint64_t *ret_value) {
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        if (number < 0) return false;
        *ret_value = (uint64_t)number;
        return true;
    }
    const char *text = json_string_value(value);
    if (text == NULL || text[0] < '0' || text[0] > '9') return false;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != 0) return false;
    *ret_value = number;
    return true;
}

bool cluster__json_string(const json_t *object, const char *key, const char **ret_text) {
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        *ret_text = "";
        return true;
    }
    if (!json_is_string(value)) return false;
    *ret_text = json_string_value(value);
    return true;
}

bool cluster__json_strings(const json_t *object, const char *key, struct member_urls *ret_texts, bool *ret_is_there) {
    const json_t *array = json_object_get(object, key);
    *ret_texts = (struct member_urls){0};
    *ret_is_there = array != NULL && !json_is_null(array);
    if (!*ret_is_there) return true;
    if (!json_is_array(array)) return false;
    size_t count = json_array_size(array);
    for (size_t i = 0; i < count; i++)
        if (!json_is_string(json_array_get(array, i))) return false;
    if (count > 0) ret_texts->items = NEW_ARRAY(char *, count);
    for (size_t i = 0; i < count; i++) ret_texts->items[i] = mem_strdup(json_string_value(json_array_get(array, i)));
    ret_texts->count = count;
    return true;
}

void cluster__append_json_string(const char *text, struct buf *out) {
    buf_append_byte(out, '"');
    go_append_json_string(out, slice_from_cstr(text), true);
    buf_append_byte(out, '"');
}
