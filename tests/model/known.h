/* known.h - where the real etcd 3.5.1 answers otherwise than the model and ours, and why that is no difference to tell.
 *
 * Each has a name, and docs/DIFFERENCES.md says who is right. Narrow: the request, what the model says and what the
 * member says must all fit. Only for runs with --real.
 */
#ifndef TESTS_MODEL_KNOWN_H
#define TESTS_MODEL_KNOWN_H

#include "model/model.h"

enum known {
    KNOWN_NONE,
    KNOWN_HASH_AT_COMPACTED, /* HashKV at the compacted revision is refused */
    KNOWN_LOST_DELETION,     /* a watcher from the compacted revision on is not told of a deletion there */
    KNOWN_COUNT
};
const char *known_name(enum known known);

/* Of a unary call. `message` as in compare_answers. */
enum known known_call(enum model_method method, const void *request, const struct model_answer *model, int code,
                      struct slice text, const void *message);

#endif
