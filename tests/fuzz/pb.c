/* pb.c - protobuf into an arena: every message that comes from a client, a member or the disk. The first byte says
 * which. What was understood is written and read again, and must be the same. */
#include "fuzz.h"

#include "pb/arena_pb.h"
#include "pb/auth.pb-c.h"
#include "pb/etcdserver.pb-c.h"
#include "pb/health.pb-c.h"
#include "pb/kv.pb-c.h"
#include "pb/lease.pb-c.h"
#include "pb/membership.pb-c.h"
#include "pb/raft.pb-c.h"
#include "pb/raft_internal.pb-c.h"
#include "pb/rpc.pb-c.h"
#include "pb/v3election.pb-c.h"
#include "pb/v3lock.pb-c.h"

#include <every_type.pb-c.h>

/* New ones at the end: the kept inputs name them by place. */
static const ProtobufCMessageDescriptor *const types[] = {
    &etcdserverpb__range_request__descriptor,
    &etcdserverpb__put_request__descriptor,
    &etcdserverpb__delete_range_request__descriptor,
    &etcdserverpb__txn_request__descriptor,
    &etcdserverpb__compaction_request__descriptor,
    &etcdserverpb__watch_request__descriptor,
    &etcdserverpb__lease_grant_request__descriptor,
    &etcdserverpb__lease_revoke_request__descriptor,
    &etcdserverpb__lease_checkpoint_request__descriptor,
    &etcdserverpb__lease_keep_alive_request__descriptor,
    &etcdserverpb__lease_time_to_live_request__descriptor,
    &etcdserverpb__lease_leases_request__descriptor,
    &etcdserverpb__member_add_request__descriptor,
    &etcdserverpb__member_remove_request__descriptor,
    &etcdserverpb__member_update_request__descriptor,
    &etcdserverpb__member_list_request__descriptor,
    &etcdserverpb__member_promote_request__descriptor,
    &etcdserverpb__alarm_request__descriptor,
    &etcdserverpb__status_request__descriptor,
    &etcdserverpb__defragment_request__descriptor,
    &etcdserverpb__hash_request__descriptor,
    &etcdserverpb__hash_kvrequest__descriptor,
    &etcdserverpb__snapshot_request__descriptor,
    &etcdserverpb__move_leader_request__descriptor,
    &etcdserverpb__downgrade_request__descriptor,
    &etcdserverpb__auth_enable_request__descriptor,
    &etcdserverpb__authenticate_request__descriptor,
    &etcdserverpb__auth_user_add_request__descriptor,
    &etcdserverpb__auth_user_get_request__descriptor,
    &etcdserverpb__auth_user_delete_request__descriptor,
    &etcdserverpb__auth_user_change_password_request__descriptor,
    &etcdserverpb__auth_user_grant_role_request__descriptor,
    &etcdserverpb__auth_user_revoke_role_request__descriptor,
    &etcdserverpb__auth_role_add_request__descriptor,
    &etcdserverpb__auth_role_get_request__descriptor,
    &etcdserverpb__auth_role_delete_request__descriptor,
    &etcdserverpb__auth_role_grant_permission_request__descriptor,
    &etcdserverpb__auth_role_revoke_permission_request__descriptor,
    &etcdserverpb__internal_raft_request__descriptor,
    &etcdserverpb__request__descriptor,
    &authpb__user__descriptor,
    &authpb__role__descriptor,
    &leasepb__lease__descriptor,
    &mvccpb__key_value__descriptor,
    &mvccpb__event__descriptor,
    &membershippb__cluster_version_set_request__descriptor,
    &membershippb__cluster_member_attr_set_request__descriptor,
    &membershippb__downgrade_info_set_request__descriptor,
    &raftpb__message__descriptor,
    &v3electionpb__campaign_request__descriptor,
    &v3electionpb__proclaim_request__descriptor,
    &v3electionpb__resign_request__descriptor,
    &v3lockpb__lock_request__descriptor,
    &v3lockpb__unlock_request__descriptor,
    &grpc__health__v1__health_check_request__descriptor,
    &grpc__health__v1__health_list_response__descriptor,
    &etcdserverpb__range_response__descriptor,
    &etcdserverpb__txn_response__descriptor,
    &etcdserverpb__watch_response__descriptor,
    &etcdserverpb__lease_leases_response__descriptor,
    &etcdserverpb__member_list_response__descriptor,
    &etcdserverpb__status_response__descriptor,
    &etcdserverpb__auth_role_get_response__descriptor,
    &etcdserverpb__response_header__descriptor,
    &fuzzpb__every_type__descriptor,
};

/* Two bytes of input are enough for the largest message in a list, and lists grow by doubling. */
#define BASE_BYTES (64 * 1024)
#define FACTOR 512

static void check_written(const ProtobufCMessageDescriptor *type, const void *message, struct arena *arena) {
    struct buf first = BUF_INIT, second = BUF_INIT;
    pb_pack(message, &first);
    CHECK(first.len == pb_packed_size(message));
    const void *again = pb_unpack_borrowed(type, buf_slice(&first), arena);
    CHECK(again != NULL);
    pb_pack(again, &second);
    CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
    CHECK(slice_equal(buf_slice(&first), pb_pack_arena(again, arena)));
    buf_release(&first);
    buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    const ProtobufCMessageDescriptor *type = types[fuzz_byte(&input) % (sizeof types / sizeof *types)];
    struct slice bytes = fuzz_rest(&input);
    struct arena arena;
    struct fuzz_limit limit;
    arena_init(&arena, 0);
    fuzz_begin(&limit, size, BASE_BYTES, FACTOR);
    const void *borrowed = pb_unpack_borrowed(type, bytes, &arena);
    const void *copied = pb_unpack(type, bytes, &arena);
    CHECK((borrowed == NULL) == (copied == NULL));
    fuzz_end();
    if (copied != NULL) check_written(type, copied, &arena);
    arena_release(&arena);
    return 0;
}
