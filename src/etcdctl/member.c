/* member add, remove, update, promote, list. */
#include "etcdctl/commands.h"

#include "base/gotext.h"
#include "etcdctl/words.h"

#include <stdio.h>

static uint64_t member_argument(struct ctl *ctl, const struct arguments *arguments) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "member ID is not provided");
    uint64_t id;
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (!word_parse_uint(arguments->items[0], 16, &id, &reason))
        ctl_fail(ctl, EXIT_BAD_ARGS, "bad member ID arg (%s), expecting ID in Hex", buf_cstr(&reason));
    return id;
}

/* What upstream's client checks before it asks the server. */
static void check_url(struct ctl *ctl, const char *url) {
    static const char *const schemes[] = {"http://", "https://", "unix://", "unixs://"};
    size_t i = 0;
    while (i < 4 && strncmp(url, schemes[i], strlen(schemes[i])) != 0) i++;
    if (i == 4) ctl_fail(ctl, EXIT_ERROR, "URL scheme must be http, https, unix, or unixs: %s", url);
    if (i >= 2) return;
    const char *host = url + strlen(schemes[i]);
    size_t length = strcspn(host, "/?#");
    const char *colon = NULL;
    size_t colons = 0;
    for (size_t j = 0; j < length; j++) {
        if (host[j] == ']') colons = 0;
        if (host[j] != ':') continue;
        colon = &host[j];
        colons++;
    }
    if (!colon || colons != 1) ctl_fail(ctl, EXIT_ERROR, "URL address does not have the form \"host:port\": %s", url);
    if (host[length] == '/') ctl_fail(ctl, EXIT_ERROR, "URL must not contain a path: %s", url);
}

/* --peer-urls split at its commas. */
static void peer_urls(struct ctl *ctl, char ***ret_urls, size_t *ret_count) {
    const char *text = flags_text(&ctl->flags, "peer-urls");
    if (*text == 0) ctl_fail(ctl, EXIT_BAD_ARGS, "member peer urls not provided");
    VEC(char *) urls = {0};
    for (;;) {
        size_t length = strcspn(text, ",");
        VEC_PUSH(&urls, arena_strdup(&ctl->arena, slice_make(text, length)));
        if (text[length] == 0) break;
        text += length + 1;
    }
    *ret_urls = arena_alloc(&ctl->arena, urls.count * sizeof **ret_urls);
    memcpy(*ret_urls, urls.items, urls.count * sizeof **ret_urls);
    *ret_count = urls.count;
    VEC_RELEASE(&urls);
}

static void check_urls(struct ctl *ctl, char *const *urls, size_t count) {
    for (size_t i = 0; i < count; i++) check_url(ctl, urls[i]);
}

static const Etcdserverpb__MemberListResponse *list_members(struct ctl *ctl, struct etcd_client *client) {
    Etcdserverpb__MemberListRequest request;
    etcdserverpb__member_list_request__init(&request);
    request.linearizable = true;
    return ctl_call(ctl, client, "Cluster/MemberList", &request, &etcdserverpb__member_list_response__descriptor);
}

RUN(run_member_list) {
    const Etcdserverpb__MemberListResponse *response = list_members(ctl, ctl_connect(ctl));
    ctl_printed(ctl, print_members(&ctl->printer, response, &ctl->failure));
    return EXIT_OK;
}

/* The environment the new member is to be started with. The members are those of the answer: asking for the list again
 * would wait for the new member where two of two are needed to agree. */
static void print_start_environment(struct ctl *ctl, const char *name, const Etcdserverpb__MemberAddResponse *added) {
    CLEANUP_BUF struct buf cluster = BUF_INIT;
    for (size_t i = 0; i < added->n_members; i++) {
        const Etcdserverpb__Member *member = added->members[i];
        bool is_new = added->member && member->id == added->member->id;
        for (size_t j = 0; j < member->n_peerurls; j++)
            buf_printf(&cluster, "%s%s=%s", cluster.len > 0 ? "," : "", is_new ? name : member->name,
                       member->peerurls[j]);
    }
    buf_append_cstr(&ctl->out, "\nETCD_NAME=");
    go_append_quoted(&ctl->out, slice_from_cstr(name));
    buf_append_cstr(&ctl->out, "\nETCD_INITIAL_CLUSTER=");
    go_append_quoted(&ctl->out, buf_slice(&cluster));
    buf_append_cstr(&ctl->out, "\nETCD_INITIAL_ADVERTISE_PEER_URLS=");
    go_append_quoted(&ctl->out, slice_from_cstr(flags_text(&ctl->flags, "peer-urls")));
    buf_append_cstr(&ctl->out, "\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n");
    ctl_flush(ctl);
}

RUN(run_member_add) {
    if (arguments->count < 1) ctl_fail(ctl, EXIT_BAD_ARGS, "member name not provided");
    if (arguments->count > 1) {
        CLEANUP_BUF struct buf hint = BUF_INIT;
        for (size_t i = 0; i < arguments->count; i++)
            if (strncmp(arguments->items[i], "http", 4) == 0)
                buf_printf(&hint, ", did you mean --peer-urls=%s", arguments->items[i]);
        ctl_fail(ctl, EXIT_BAD_ARGS, "too many arguments%s", buf_cstr(&hint));
    }
    Etcdserverpb__MemberAddRequest request;
    etcdserverpb__member_add_request__init(&request);
    peer_urls(ctl, &request.peerurls, &request.n_peerurls);
    request.islearner = flags_bool(&ctl->flags, "learner");
    struct etcd_client *client = ctl_connect(ctl);
    check_urls(ctl, request.peerurls, request.n_peerurls);
    const Etcdserverpb__MemberAddResponse *response =
        ctl_call(ctl, client, "Cluster/MemberAdd", &request, &etcdserverpb__member_add_response__descriptor);
    ctl_print(ctl, &view_member_add, response, NULL);
    if (ctl_is_simple(ctl)) print_start_environment(ctl, arguments->items[0], response);
    return EXIT_OK;
}

RUN(run_member_remove) {
    Etcdserverpb__MemberRemoveRequest request;
    etcdserverpb__member_remove_request__init(&request);
    request.id = member_argument(ctl, arguments);
    const void *response = ctl_call(ctl, ctl_connect(ctl), "Cluster/MemberRemove", &request,
                                    &etcdserverpb__member_remove_response__descriptor);
    ctl_print(ctl, &view_member_remove, response, &request.id);
    return EXIT_OK;
}

RUN(run_member_update) {
    Etcdserverpb__MemberUpdateRequest request;
    etcdserverpb__member_update_request__init(&request);
    request.id = member_argument(ctl, arguments);
    peer_urls(ctl, &request.peerurls, &request.n_peerurls);
    struct etcd_client *client = ctl_connect(ctl);
    check_urls(ctl, request.peerurls, request.n_peerurls);
    const void *response =
        ctl_call(ctl, client, "Cluster/MemberUpdate", &request, &etcdserverpb__member_update_response__descriptor);
    ctl_print(ctl, &view_member_update, response, &request.id);
    return EXIT_OK;
}

RUN(run_member_promote) {
    Etcdserverpb__MemberPromoteRequest request;
    etcdserverpb__member_promote_request__init(&request);
    request.id = member_argument(ctl, arguments);
    const void *response = ctl_call(ctl, ctl_connect(ctl), "Cluster/MemberPromote", &request,
                                    &etcdserverpb__member_promote_response__descriptor);
    ctl_print(ctl, &view_member_promote, response, &request.id);
    return EXIT_OK;
}
