/* password.h - bcrypt, as Go's golang.org/x/crypto/bcrypt writes and reads it.
 *
 * Floor 4 (auth). "$2a$<cost>$" and 53 characters of salt and hash. Takes 50 ms at the default cost and doubles with
 * each step: never on the loop. Any thread, several at a time.
 */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include "base/err.h"
#include "base/slice.h"

#define PASSWORD_MIN_COST 4
#define PASSWORD_DEFAULT_COST 10
#define PASSWORD_MAX_COST 31
#define PASSWORD_MAX_BYTES 72
#define PASSWORD_SALT_BYTES 16
#define PASSWORD_HASH_BYTES 60

/* `salt` is random. Writes the text without a zero behind it. ERR_PASSWORD_TOO_LONG: more than PASSWORD_MAX_BYTES. */
enum err password_hash(struct slice password, unsigned cost, const uint8_t salt[PASSWORD_SALT_BYTES],
                       char ret_text[PASSWORD_HASH_BYTES]) MUST_USE;
/* Of a longer password the first PASSWORD_MAX_BYTES count. False also for a text that is no bcrypt. */
bool password_matches(struct slice password, struct slice text);

/* Standard base64 with padding: how a hash travels in UserAdd and UserChangePassword (writing it: base/gotext.h).
 * Appends; false when the text is none (what was appended is then to be thrown away). */
struct buf;
bool password_decode_base64(struct slice text, struct buf *out);

#endif
