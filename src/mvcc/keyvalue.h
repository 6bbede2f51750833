/* keyvalue.h - revisions and mvccpb.KeyValue as they lie in the `key` bucket.
 *
 * Floor 4 (mvcc). Pure functions, any thread.
 *
 * The bucket's keys are written and read by backend.h (backend_revision_encode).
 *
 * Value (proto3, zero fields left out): key=1 create_revision=2 mod_revision=3 version=4 value=5 lease=6. A tombstone
 * holds only `key`. An empty value is a KeyValue without any field.
 */
#ifndef MVCC_KEYVALUE_H
#define MVCC_KEYVALUE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/shared.h"

struct revision {
    int64_t main;
    int64_t sub;
};
/* No store counts that far; what claims to is ERR_CORRUPT, so that a next revision can be had without a look. */
#define REVISION_MAIN_MAX (INT64_MAX / 2)

static inline int revision_compare(struct revision a, struct revision b) {
    if (a.main != b.main) return a.main < b.main ? -1 : 1;
    return (a.sub > b.sub) - (a.sub < b.sub);
}

/* A KeyValue taken apart; the slices point into the encoded bytes. */
struct keyvalue {
    struct slice key;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version;
    struct slice value;
    int64_t lease;
};

/* The last of a repeated field wins, unknown fields are skipped. ERR_CORRUPT when the bytes are no protobuf message. */
enum err keyvalue_decode(struct slice bytes, struct keyvalue *ret_kv) MUST_USE;
size_t keyvalue_size(const struct keyvalue *kv);
/* Writes keyvalue_size bytes and returns the end. */
uint8_t *keyvalue_encode(const struct keyvalue *kv, uint8_t *out);
#endif
