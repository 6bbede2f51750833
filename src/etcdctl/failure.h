/* failure.h - why a command can't go on, and the exit code that says so.
 *
 * Floor 8. The parsing and printing parts never exit by themselves: they fill in a struct failure and return false;
 * main prints "Error: <text>" and exits. The codes are those of etcd's own tool, scripts test for them.
 */
#ifndef ETCDCTL_FAILURE_H
#define ETCDCTL_FAILURE_H

#include "base/buf.h"

enum exit_code {
    EXIT_OK = 0,
    EXIT_ERROR = 1,
    EXIT_BAD_CONNECTION = 2,
    EXIT_INVALID_INPUT = 3, /* a transaction or watch line */
    EXIT_BAD_FEATURE = 4,   /* an output format or the value of an option that does not exist */
    EXIT_INTERRUPTED = 5,
    EXIT_BAD_ARGS = 128,
};

/* {0} is empty; failure_release gives its memory back. */
struct failure {
    enum exit_code code;
    struct buf text;
};

/* Replaces what is there; always false, so that `return failure_set(...)` reads well. */
bool failure_set(struct failure *self, enum exit_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void failure_release(struct failure *self);

#endif
