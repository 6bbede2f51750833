/* words.h - texts read as Go's libraries read them: numbers with Go's error texts, quoted words, command lines.
 *
 * Floor 8, pure. Functions that can fail append the text of the error to `error` and return false.
 */
#ifndef ETCDCTL_WORDS_H
#define ETCDCTL_WORDS_H

#include "base/arena.h"
#include "base/buf.h"

/* strconv.ParseInt(text, base, 64): base 0 takes 0x, 0o, 0b, leading 0 and underscores between digits. The error is
 * "strconv.ParseInt: parsing \"x\": invalid syntax" (or "value out of range"). */
bool word_parse_int(const char *text, int base, int64_t *ret_value, struct buf *error);
/* strconv.ParseUint(text, base, 64), the same. */
bool word_parse_uint(const char *text, int base, uint64_t *ret_value, struct buf *error);
/* strconv.ParseBool. */
bool word_parse_bool(const char *text, bool *ret_value, struct buf *error);
/* time.ParseDuration. */
bool word_parse_duration(const char *text, int64_t *ret_ns, struct buf *error);

/* Reads one quoted word at the begin of `text`, "..." with Go's escapes or `...` literally, quotes included. Returns
 * the bytes taken and appends the word, or 0 when there is none: not closed, or a bad escape. */
size_t word_unquote(struct slice text, struct buf *out);

/* Splits a command line. Words are separated by blanks; a word that begins with a double quote goes to the closing one
 * and has Go's escapes; one that begins with a single quote is literal up to the next. A quote inside a word is an
 * ordinary character; one that is never closed is dropped. Words may hold any byte but are zero-terminated in the
 * arena. False ("invalid syntax") for a bad escape. */
bool word_split(struct slice line, struct arena *arena, struct slice **ret_words, size_t *ret_count, struct buf *error);

/* The text without white space at both ends. */
struct slice word_trim(struct slice text);

#endif
