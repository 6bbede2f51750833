/* txn.h - the KV requests of a raft entry carried out on the store: Put, DeleteRange, Txn, and read-only Txn and Range.
 *
 * Floor 4 (mvcc). Loop only. Takes decoded requests (protobuf-c structs of pb/rpc.pb-c.h) and gives encoded responses:
 * each function appends to `out` the fields of its response *behind the header* (fields 2 and up of PutResponse,
 * DeleteRangeResponse, TxnResponse, RangeResponse), so that who answers only puts the header before it. On an error
 * `out` is as before. Auth, quota and the checks of the API layer happened before. Must give identical state on every
 * member: rules in spec/apply.md 4, 9, 15. Values no client of ours can send but a log of a Go leader may hold (unknown
 * enum values, empty operations) change nothing and never stop the process.
 */
#ifndef MVCC_TXN_H
#define MVCC_TXN_H

#include "mvcc/store.h"
#include "pb/rpc.pb-c.h"

/* *ret_revision: header revision of the response, in all functions below. */

/* Pairs in one response. What has more is carried out, as on members that do not answer it, and then answered with
 * ERR_RESPONSE_TOO_LARGE (all functions below): a range of 128 in one transaction could ask for the whole store each.
 */
#define TXN_RESPONSE_MAX_BYTES ((size_t)64 << 20)

/* ERR_LEASE_NOT_FOUND, ERR_KEY_NOT_FOUND (ignore_value, ignore_lease); ERR_CORRUPT: the member must stop. */
enum err txn_apply_put(struct store *store, const Etcdserverpb__PutRequest *request, struct buf *out,
                       int64_t *ret_revision) MUST_USE;
/* ERR_CORRUPT. */
enum err txn_apply_delete_range(struct store *store, const Etcdserverpb__DeleteRangeRequest *request, struct buf *out,
                                int64_t *ret_revision) MUST_USE;

/* Does it change anything on any path (put or delete at any level)? Those go through raft. */
bool txn_is_write(const Etcdserverpb__TxnRequest *request);
/* A read-only txn may be served without a read index when all its ranges are serializable. */
bool txn_is_serializable(const Etcdserverpb__TxnRequest *request);

enum txn_flags {
    /* Nobody waits for the answer: the ranges of the top level are left out, and their responses. They are checked all
     * the same. Go members do not (spec/apply.md 3): there a transaction with a range at a compacted or future revision
     * writes nothing on the member that proposed it, and writes on all others and when the log is replayed (#18667). */
    TXN_SKIP_TOP_RANGES = 1,
};
/* ERR_KEY_NOT_FOUND, ERR_LEASE_NOT_FOUND, ERR_FUTURE_REV, ERR_COMPACTED: nothing was changed. ERR_CORRUPT: the member
 * must stop. For read-only transactions as well. */
enum err txn_apply(struct store *store, const Etcdserverpb__TxnRequest *request, int flags, struct buf *out,
                   int64_t *ret_revision) MUST_USE;

/* ERR_FUTURE_REV, ERR_COMPACTED. Fills `ret_options` from a request; the slices point into it. */
void store_range_options_from(const Etcdserverpb__RangeRequest *request, struct store_range_options *ret_options);
/* A range answered in one go, for small ones (get); larger ones are taken in pieces with store_range_begin. */
enum err txn_range(struct store *store, const Etcdserverpb__RangeRequest *request, struct buf *out,
                   int64_t *ret_revision) MUST_USE;

#endif
