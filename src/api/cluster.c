/* cluster.c - the Cluster service: who is in it. */
#include "cluster/cluster.h"

#include "api/internal.h"

static void append_member(struct buf *body, struct buf *scratch, const struct member *member) {
    buf_clear(scratch);
    api__append_uint(scratch, 1, member->id);
    if (member->name[0] != 0) api__append_bytes(scratch, 2, slice_from_cstr(member->name));
    for (size_t i = 0; i < member->peer_urls.count; i++)
        api__append_bytes(scratch, 3, slice_from_cstr(member->peer_urls.items[i]));
    for (size_t i = 0; i < member->client_urls.count; i++)
        api__append_bytes(scratch, 4, slice_from_cstr(member->client_urls.items[i]));
    api__append_uint(scratch, 5, member->is_learner);
    api__append_bytes(body, 2, buf_slice(scratch));
}

/* Its header has no revision. */
static void answer(struct api *self, struct grpc_call *call) {
    struct cluster *cluster = server_cluster(self->server);
    struct buf body = BUF_INIT, scratch = BUF_INIT;
    for (size_t i = 0; i < cluster_member_count(cluster); i++)
        append_member(&body, &scratch, cluster_member_at(cluster, i));
    api__reply(self, call, 0, buf_slice(&body));
    buf_release(&body);
    buf_release(&scratch);
}

struct listing {
    struct server_read read;
    struct api *api;
    struct grpc_call *call;
};

static void index_known(struct server_read *read, enum err error) {
    struct listing *self = CONTAINER_OF(read, struct listing, read);
    if (error != OK)
        grpc_call_fail(self->call, error);
    else
        answer(self->api, self->call);
}

static void member_list(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    const Etcdserverpb__MemberListRequest *request = api__request(call, &etcdserverpb__member_list_request__descriptor);
    if (request == NULL || !api__require_user(call)) return;
    if (!request->linearizable) {
        answer(self, call);
        return;
    }
    struct listing *listing = ARENA_NEW(grpc_call_arena(call), struct listing);
    *listing = (struct listing){.read = {.callback = index_known}, .api = self, .call = call};
    grpc_call_set_context(call, listing);
    enum err error = server_read_index(self->server, &listing->read);
    if (error != OK) grpc_call_fail(call, error);
}

static void member_list_cancelled(struct grpc_call *call) {
    struct listing *listing = grpc_call_context(call);
    if (listing != NULL) server_read_cancel(listing->api->server, &listing->read);
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.Cluster/MemberList", .on_call = member_list, .on_cancel = member_list_cancelled},
};

void api__cluster_add(struct api *self) { grpc_server_add(self->grpc, methods, 1, self); }
