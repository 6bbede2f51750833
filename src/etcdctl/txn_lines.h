/* txn_lines.h - the lines of a transaction: comparisons and operations.
 *
 * Floor 8, pure.
 *
 *     comparison: TARGET("key") OP "value"    TARGET ver version c create m mod val value lease, OP = != < >
 *     operation:  a get, put or del command with its options
 *
 * Keys and values of comparisons are quoted as in Go ("..." with escapes or `...`), numbers too.
 */
#ifndef ETCDCTL_TXN_LINES_H
#define ETCDCTL_TXN_LINES_H

#include "etcdctl/requests.h"

/* The request is in the arena, its bytes too. */
bool txn_parse_compare(struct slice line, struct arena *arena, Etcdserverpb__Compare **ret_compare,
                       struct failure *failure);

struct txn_op_parser {
    struct arena *arena;
    stdin_reader read_stdin;
    void *stdin_context;
    struct buf *notes; /* what goes to standard error beside the failure: usages and warnings */
};

bool txn_parse_op(const struct txn_op_parser *self, struct slice line, Etcdserverpb__RequestOp **ret_op,
                  struct failure *failure);

#endif
