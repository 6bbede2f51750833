#include "auth/password.h"

#include "base/buf.h"
#include "base/check.h"

#include <crypt.h>
#include <stdio.h>

/* "$2a$10$" and 22 characters of salt. */
#define SETTING_BYTES 29

static const char alphabet[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/* bcrypt's own base64: 16 bytes become 22 characters. */
static void encode_salt(const uint8_t salt[PASSWORD_SALT_BYTES], char out[22]) {
    size_t at = 0;
    for (size_t i = 0; i < PASSWORD_SALT_BYTES; i += 3) {
        uint32_t bits = (uint32_t)salt[i] << 16;
        if (i + 1 < PASSWORD_SALT_BYTES) bits |= (uint32_t)salt[i + 1] << 8;
        if (i + 2 < PASSWORD_SALT_BYTES) bits |= salt[i + 2];
        for (int shift = 18; shift >= 0 && at < 22; shift -= 6) out[at++] = alphabet[bits >> shift & 63];
    }
}

/* `setting` is a hash or its beginning. Computes as "$2b$": libxcrypt's "$2a$" treats some passwords with bytes above
 * 127 specially, against the fault of an old implementation that Go never had. */
static bool compute(struct slice password, const char setting[SETTING_BYTES], char ret_text[PASSWORD_HASH_BYTES]) {
    char phrase[PASSWORD_MAX_BYTES + 1] = {0}, sane_setting[SETTING_BYTES + 1] = {0};
    size_t len = password.len < PASSWORD_MAX_BYTES ? password.len : PASSWORD_MAX_BYTES;
    if (len != 0) memcpy(phrase, password.data, len);
    memcpy(sane_setting, setting, SETTING_BYTES);
    sane_setting[2] = 'b';
    struct crypt_data state = {0};
    const char *text = crypt_r(phrase, sane_setting, &state);
    bool is_good = text != NULL && strlen(text) == PASSWORD_HASH_BYTES;
    if (is_good) memcpy(ret_text, text, PASSWORD_HASH_BYTES);
    if (is_good) ret_text[2] = setting[2];
    explicit_bzero(phrase, sizeof phrase);
    explicit_bzero(&state, sizeof state);
    return is_good;
}

enum err password_hash(struct slice password, unsigned cost, const uint8_t salt[PASSWORD_SALT_BYTES],
                       char ret_text[PASSWORD_HASH_BYTES]) {
    CHECK(cost >= PASSWORD_MIN_COST && cost <= PASSWORD_MAX_COST);
    if (password.len > PASSWORD_MAX_BYTES) return ERR_PASSWORD_TOO_LONG;
    char setting[SETTING_BYTES + 1];
    snprintf(setting, sizeof setting, "$2a$%02u$", cost);
    encode_salt(salt, setting + 7);
    CHECK(compute(password, setting, ret_text));
    return OK;
}

/* Which minor version a hash claims ("$2a$", "$2y$") makes no difference, as in Go. */
static bool is_bcrypt(struct slice text) {
    return text.len == PASSWORD_HASH_BYTES && text.data[0] == '$' && text.data[1] == '2' && text.data[2] != '$' &&
           text.data[3] == '$' && text.data[6] == '$';
}

bool password_matches(struct slice password, struct slice text) {
    char computed[PASSWORD_HASH_BYTES];
    if (!is_bcrypt(text) || !compute(password, (const char *)text.data, computed)) return false;
    unsigned difference = 0; /* in the same time wherever they differ */
    for (size_t i = 0; i < PASSWORD_HASH_BYTES; i++) difference |= (unsigned)((uint8_t)computed[i] ^ text.data[i]);
    return difference == 0;
}

/* ---- base64 ---- */

static int digit_of(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Line ends are skipped, as in Go. */
bool password_decode_base64(struct slice text, struct buf *out) {
    uint32_t bits = 0;
    size_t digits = 0, padding = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '\n' || c == '\r') continue;
        if (c == '=') {
            padding++;
            continue;
        }
        int digit = digit_of(c);
        if (digit < 0 || padding > 0) return false;
        bits = bits << 6 | (uint32_t)digit;
        if (++digits % 4 != 0) continue;
        uint8_t bytes[3] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits};
        buf_append(out, bytes, 3);
    }
    size_t rest = digits % 4;
    if (rest == 1 || padding != (4 - rest) % 4) return false;
    if (rest >= 2) buf_append_byte(out, (uint8_t)(rest == 2 ? bits >> 4 : bits >> 10));
    if (rest == 3) buf_append_byte(out, (uint8_t)(bits >> 2));
    return true;
}
