/* lease grant, revoke, timetolive, list, keep-alive. */
#include "etcdctl/commands.h"

#include "etcdctl/words.h"

RUN(run_lease_grant) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "lease grant command needs TTL argument");
    struct etcd_lease_grant_request request = {0};
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (!word_parse_int(arguments->items[0], 10, &request.ttl_s, &reason))
        ctl_fail(ctl, EXIT_BAD_ARGS, "bad TTL (%s)", buf_cstr(&reason));
    struct etcd_lease_grant_response *response;
    struct etcd_error error;
    if (etcd_lease_grant(ctl_connect(ctl), &request, &response, &error) != ETCD_OK)
        ctl_fail(ctl, EXIT_ERROR, "failed to grant lease (%s)", ctl_error_text(ctl, &error));
    ctl_printed(ctl, print_lease_grant(&ctl->printer, response, &ctl->failure));
    etcd_free(response);
    return EXIT_OK;
}

RUN(run_lease_revoke) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "lease revoke command needs 1 argument");
    struct etcd_lease_revoke_request request = {.id = ctl_lease_argument(ctl, arguments->items[0])};
    struct etcd_header_response *response;
    struct etcd_error error;
    if (etcd_lease_revoke(ctl_connect(ctl), &request, &response, &error) != ETCD_OK)
        ctl_fail(ctl, EXIT_ERROR, "failed to revoke lease (%s)", ctl_error_text(ctl, &error));
    ctl_printed(ctl, print_lease_revoke(&ctl->printer, request.id, &response->header, &ctl->failure));
    etcd_free(response);
    return EXIT_OK;
}

RUN(run_lease_timetolive) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "lease timetolive command needs lease ID as argument");
    struct etcd_lease_ttl_request request = {.id = ctl_lease_argument(ctl, arguments->items[0]),
                                             .keys = flags_bool(&ctl->flags, "keys")};
    struct etcd_client *client = ctl_connect(ctl);
    ctl_without_timeout(ctl, client);
    struct etcd_lease_ttl_response *response;
    struct etcd_error error;
    if (etcd_lease_ttl(client, &request, &response, &error) != ETCD_OK) ctl_fail_call(ctl, EXIT_BAD_CONNECTION, &error);
    ctl_printed(ctl, print_lease_ttl(&ctl->printer, response, request.keys, &ctl->failure));
    etcd_free(response);
    return EXIT_OK;
}

RUN(run_lease_list) {
    struct etcd_client *client = ctl_connect(ctl);
    ctl_without_timeout(ctl, client);
    struct etcd_lease_list_response *response;
    struct etcd_error error;
    if (etcd_lease_list(client, &response, &error) != ETCD_OK) ctl_fail_call(ctl, EXIT_BAD_CONNECTION, &error);
    ctl_printed(ctl, print_lease_list(&ctl->printer, response, &ctl->failure));
    etcd_free(response);
    return EXIT_OK;
}

/* Renews until the lease is gone. */
static void keep_alive(struct ctl *ctl, struct etcd_client *client, int64_t id) {
    struct etcd_keepalive *keepalive = etcd_keepalive_open(client, id, NULL, NULL);
    struct etcd_lease_keepalive_response response;
    struct etcd_error error;
    int code;
    while ((code = etcd_keepalive_next(keepalive, -1, &response, &error)) == ETCD_OK)
        ctl_printed(ctl, print_lease_keepalive(&ctl->printer, &response, &ctl->failure));
    etcd_keepalive_close(keepalive);
    if (code != ETCD_NOT_FOUND) ctl_fail_call(ctl, EXIT_BAD_CONNECTION, &error);
    if (ctl_is_simple(ctl)) buf_printf(&ctl->out, "lease %016llx expired or revoked.\n", (unsigned long long)id);
    ctl_flush(ctl);
}

RUN(run_lease_keep_alive) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "lease keep-alive command needs lease ID as argument");
    int64_t id = ctl_lease_argument(ctl, arguments->items[0]);
    struct etcd_client *client = ctl_connect(ctl);
    ctl_without_timeout(ctl, client);
    if (!flags_bool(&ctl->flags, "once")) {
        keep_alive(ctl, client, id);
        return EXIT_OK;
    }
    struct etcd_lease_keepalive_response *response;
    struct etcd_error error;
    if (etcd_lease_keepalive_once(client, id, &response, &error) != ETCD_OK)
        ctl_fail_call(ctl, EXIT_BAD_CONNECTION, &error);
    ctl_printed(ctl, print_lease_keepalive(&ctl->printer, response, &ctl->failure));
    etcd_free(response);
    return EXIT_OK;
}
