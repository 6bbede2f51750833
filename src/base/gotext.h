/* gotext.h - values as Go's libraries print them, because clients and operators match the texts.
 *
 * Floor 0. All append to a buf.
 */
#ifndef BASE_GOTEXT_H
#define BASE_GOTEXT_H

#include "base/buf.h"

/* time.Duration.String: "1.5s", "100ms", "12.345µs", "1h0m0s", "0s". */
void go_append_duration(struct buf *out, int64_t duration_ns);
/* Reads time.ParseDuration's grammar ("1h15m30.5s", "-3ms"); false when it is not one. */
bool go_parse_duration(const char *text, int64_t *ret_duration_ns);
/* strconv.Quote / %q. */
void go_append_quoted(struct buf *out, struct slice text);
/* The inside of a JSON string (no quotes). `html` also escapes < > & and U+2028/9 as encoding/json does by default;
 * invalid UTF-8 becomes \ufffd. zap's encoder is html = false. */
void go_append_json_string(struct buf *out, struct slice text, bool html);
/* Shortest form that reads back the same, as strconv 'g' with exponent below -4 or from 21 on (encoding/json, expvar
 * and Prometheus differ only in the infinities, which are "+Inf" and "-Inf" here). */
void go_append_float(struct buf *out, double value);
/* humanize.Bytes: "20 kB", "2.1 GB". */
void go_append_humanized_bytes(struct buf *out, uint64_t size_bytes);
/* Standard base64 with padding. */
void append_base64(struct buf *out, struct slice bytes);
/* Lower-case hex, two digits a byte. */
void append_hex(struct buf *out, struct slice bytes);
/* Whether the bytes are valid UTF-8. */
bool utf8_is_valid(struct slice text);
/* Decodes one code point at `at` (< end): its length, or 0 when invalid (take one byte as U+FFFD then). */
size_t utf8_decode(const uint8_t *at, const uint8_t *end, uint32_t *ret_code_point);

#endif
