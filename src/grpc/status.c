#include "grpc/status.h"

static const char *const names[] = {
    "OK",       "Canceled",        "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",   "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",      "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated",
};

const char *grpc_code_name(int code) {
    return code >= 0 && (size_t)code < sizeof names / sizeof *names ? names[code] : NULL;
}

enum grpc_code grpc_status_code(enum err error) { return (enum grpc_code)err_grpc_code(error); }

enum err grpc_status_error(int code, struct slice text) {
    for (int i = OK + 1; i < ERR_COUNT; i++)
        if (err_grpc_code((enum err)i) == code && slice_equal_cstr(text, err_text((enum err)i))) return (enum err)i;
    return ERR_COUNT;
}

static bool is_plain(uint8_t byte) { return byte >= 0x20 && byte <= 0x7e && byte != '%'; }

struct slice grpc_message_encode(struct arena *arena, struct slice text) {
    size_t escapes = 0;
    for (size_t i = 0; i < text.len; i++) escapes += !is_plain(text.data[i]);
    if (escapes == 0) return text;
    uint8_t *encoded = arena_alloc(arena, text.len + 2 * escapes);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (is_plain(byte)) {
            encoded[len++] = byte;
            continue;
        }
        encoded[len++] = '%';
        encoded[len++] = (uint8_t) "0123456789ABCDEF"[byte >> 4];
        encoded[len++] = (uint8_t) "0123456789ABCDEF"[byte & 15];
    }
    return slice_make(encoded, len);
}

static int hex_digit(uint8_t byte) {
    if (byte >= '0' && byte <= '9') return byte - '0';
    if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
    return -1;
}

struct slice grpc_message_decode(struct arena *arena, struct slice value) {
    if (value.len == 0 || memchr(value.data, '%', value.len) == NULL) return value;
    uint8_t *text = arena_alloc(arena, value.len);
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        int high = -1, low = -1;
        if (value.data[i] == '%' && i + 2 < value.len) {
            high = hex_digit(value.data[i + 1]);
            low = hex_digit(value.data[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            text[len++] = (uint8_t)(high << 4 | low);
            i += 2;
        } else {
            text[len++] = value.data[i];
        }
    }
    return slice_make(text, len);
}

enum grpc_code grpc_code_from_http(int http_status) {
    switch (http_status) {
    case 400: return GRPC_INTERNAL;
    case 401: return GRPC_UNAUTHENTICATED;
    case 403: return GRPC_PERMISSION_DENIED;
    case 404: return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504: return GRPC_UNAVAILABLE;
    default: return GRPC_UNKNOWN;
    }
}
