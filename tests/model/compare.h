/* compare.h - messages in words, and two answers to one request side by side. */
#ifndef TESTS_MODEL_COMPARE_H
#define TESTS_MODEL_COMPARE_H

#include "model/model.h"

/* One line: every field that is set, by name; bytes as a quoted text (cut when they are long). */
void compare_tell(const ProtobufCMessage *message, struct buf *text);
/* Many lines, for a difference. */
void compare_tell_lines(const ProtobufCMessage *message, unsigned indent, struct buf *text);

/* Whether the member's answer is the model's. What has no order (the keys of a lease, leases, keys that are equal in
 * what they are sorted by) is put in order first; a time to live may be ttl_slack_s off. `message` (NULL unless code is
 * 0) may be changed by it. */
bool compare_answers(enum model_method method, const void *request, struct model_answer *model, int code,
                     struct slice text, void *message);

#endif
