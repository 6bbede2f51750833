/* child.h - running another program and waiting for it. */
#ifndef ETCDCTL_CHILD_H
#define ETCDCTL_CHILD_H

#include "base/buf.h"

/* Runs argv[0] (looked for in $PATH) with our standard streams and, beside our environment, the variables of `more`
 * ("NAME=value", NULL-terminated). Returns its exit status, 0 for success. Else `error` gets the reason in the words
 * of Go's os/exec: "exit status 7", "signal: killed", "exec: \"x\": executable file not found in $PATH"; for a program
 * that did not run or did not end by itself the status is 1. */
int child_run(const char *const *argv, const char *const *more, struct buf *error);

#endif
