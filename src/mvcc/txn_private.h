/* txn_private.h - between txn.c and txn_compare.c. */
#ifndef MVCC_TXN_PRIVATE_H
#define MVCC_TXN_PRIVATE_H

#include "mvcc/store_private.h"
#include "mvcc/txn.h"
#include "pb/arena_pb.h"

/* Which branch each transaction takes, in the order they are met. */
struct txn__path {
    bool *items;
    size_t count, capacity;
};

/* Do all comparisons of this level hold now? ERR_CORRUPT. */
enum err txn__compare_all(struct store_txn *txn, const Etcdserverpb__TxnRequest *request, bool *ret_holds) MUST_USE;

#endif
