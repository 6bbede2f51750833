#include "cluster/version.h"

#include <stdio.h>

/* One number at *at; false when there is none or it is too large. */
static bool take_number(struct slice text, size_t *at, uint16_t *ret_number) {
    uint32_t number = 0;
    size_t from = *at;
    for (; *at < text.len && text.data[*at] >= '0' && text.data[*at] <= '9'; (*at)++) {
        number = number * 10 + (uint32_t)(text.data[*at] - '0');
        if (number > UINT16_MAX) return false;
    }
    *ret_number = (uint16_t)number;
    return *at > from;
}

static bool take_point(struct slice text, size_t *at) {
    if (*at >= text.len || text.data[*at] != '.') return false;
    (*at)++;
    return true;
}

bool version_parse(struct slice text, struct version *ret_version) {
    struct version version;
    size_t at = 0;
    if (!take_number(text, &at, &version.major) || !take_point(text, &at) || !take_number(text, &at, &version.minor) ||
        !take_point(text, &at) || !take_number(text, &at, &version.patch))
        return false;
    if (at < text.len && text.data[at] != '-' && text.data[at] != '+') return false;
    *ret_version = version;
    return true;
}

const char *version_text(struct version version, char text[VERSION_TEXT_BYTES]) {
    snprintf(text, VERSION_TEXT_BYTES, "%u.%u.%u", version.major, version.minor, version.patch);
    return text;
}

const char *version_text_minor(struct version version, char text[VERSION_TEXT_BYTES]) {
    snprintf(text, VERSION_TEXT_BYTES, "%u.%u", version.major, version.minor);
    return text;
}

int version_compare(struct version a, struct version b) {
    if (a.major != b.major) return a.major < b.major ? -1 : 1;
    if (a.minor != b.minor) return a.minor < b.minor ? -1 : 1;
    return a.patch < b.patch ? -1 : a.patch > b.patch;
}
