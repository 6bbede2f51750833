/* requests.h - what the commands get, put and del ask for, from their flags and arguments; the operations of
 * transactions are read by the same functions.
 *
 * Floor 8, pure. Everything lives in the arena, or points to what the arguments point to.
 */
#ifndef ETCDCTL_REQUESTS_H
#define ETCDCTL_REQUESTS_H

#include "etcdctl/failure.h"
#include "etcdctl/flags.h"

#include "pb/rpc.pb-c.h"

#define GET_FLAG_COUNT 10
#define PUT_FLAG_COUNT 4
#define DEL_FLAG_COUNT 4
extern const struct flag_spec get_flag_specs[GET_FLAG_COUNT];
extern const struct flag_spec put_flag_specs[PUT_FLAG_COUNT];
extern const struct flag_spec del_flag_specs[DEL_FLAG_COUNT];

/* Reads all of standard input into the arena; false when that fails. */
typedef bool (*stdin_reader)(void *context, struct arena *arena, struct slice *ret_bytes);

bool request_get(const struct flags *flags, const struct arguments *arguments, struct arena *arena,
                 Etcdserverpb__RangeRequest **ret_request, struct failure *failure);
/* The value comes from `read_stdin` when no argument has it. */
bool request_put(const struct flags *flags, const struct arguments *arguments, struct arena *arena,
                 stdin_reader read_stdin, void *context, Etcdserverpb__PutRequest **ret_request,
                 struct failure *failure);
/* What upstream's 3.5 says when two keys come without --range. */
#define DEL_RANGE_WARNING                                                                                              \
    "In etcd v3.6, the operation will be suspended for a few seconds to provide the user time to verify range.\n"
/* *ret_warn: DEL_RANGE_WARNING is due. */
bool request_del(const struct flags *flags, const struct arguments *arguments, struct arena *arena,
                 Etcdserverpb__DeleteRangeRequest **ret_request, bool *ret_warn, struct failure *failure);

/* The end of the range of all keys that begin with `prefix`, in the arena; "\0" (everything behind) when there is no
 * greater one. */
struct slice prefix_end(struct slice prefix, struct arena *arena);

#endif
