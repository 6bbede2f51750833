/* alarm, defrag, move-leader. */
#include "etcdctl/commands.h"

#include "etcdctl/words.h"
#include "pb/arena_pb.h"

#include <stdio.h>
#include <unistd.h>

static Etcdserverpb__AlarmResponse *call_alarm(struct ctl *ctl, struct etcd_client *client,
                                               Etcdserverpb__AlarmRequest__AlarmAction action,
                                               const Etcdserverpb__AlarmMember *which) {
    Etcdserverpb__AlarmRequest request;
    etcdserverpb__alarm_request__init(&request);
    request.action = action;
    if (which) {
        request.memberid = which->memberid;
        request.alarm = which->alarm;
    }
    return ctl_call(ctl, client, "Maintenance/Alarm", &request, &etcdserverpb__alarm_response__descriptor);
}

RUN(run_alarm_list) {
    if (arguments->count != 0) ctl_fail(ctl, EXIT_BAD_ARGS, "alarm list command accepts no arguments");
    struct etcd_client *client = ctl_connect(ctl);
    ctl_print(ctl, &view_alarms, call_alarm(ctl, client, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET, NULL), NULL);
    return EXIT_OK;
}

/* Takes all alarms back, one by one; the answer printed is made up of theirs and has no header. */
RUN(run_alarm_disarm) {
    if (arguments->count != 0) ctl_fail(ctl, EXIT_BAD_ARGS, "alarm disarm command accepts no arguments");
    struct etcd_client *client = ctl_connect(ctl);
    const Etcdserverpb__AlarmResponse *list =
        call_alarm(ctl, client, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET, NULL);
    VEC(Etcdserverpb__AlarmMember *) alarms = {0};
    for (size_t i = 0; i < list->n_alarms; i++) {
        const Etcdserverpb__AlarmResponse *one =
            call_alarm(ctl, client, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE, list->alarms[i]);
        for (size_t j = 0; j < one->n_alarms; j++) VEC_PUSH(&alarms, one->alarms[j]);
    }
    Etcdserverpb__AlarmResponse answer;
    etcdserverpb__alarm_response__init(&answer);
    answer.alarms = alarms.items;
    answer.n_alarms = alarms.count;
    ctl_print(ctl, &view_alarms, &answer, "no header");
    VEC_RELEASE(&alarms);
    return EXIT_OK;
}

RUN(run_defrag) {
    if (*flags_text(&ctl->flags, "data-dir") != 0)
        ctl_fail(ctl, EXIT_BAD_FEATURE, "--data-dir is not supported here: use `etcdutl defrag`");
    const char *const *endpoints;
    size_t count;
    bool failed = false;
    ctl_cluster_endpoints(ctl, &endpoints, &count);
    Etcdserverpb__DefragmentRequest request;
    etcdserverpb__defragment_request__init(&request);
    for (size_t i = 0; i < count; i++) {
        struct etcd_error error;
        if (ctl_try_call(ctl, ctl_connect_to(ctl, endpoints[i]), "Maintenance/Defragment", &request,
                         &etcdserverpb__defragment_response__descriptor, &error)) {
            buf_printf(&ctl->out, "Finished defragmenting etcd member[%s]\n", endpoints[i]);
            ctl_flush(ctl);
        } else {
            failed = true;
            fprintf(stderr, "Failed to defragment etcd member[%s] (%s)\n", endpoints[i], ctl_error_text(ctl, &error));
        }
    }
    return failed ? EXIT_ERROR : EXIT_OK;
}

RUN(run_move_leader) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "move-leader command needs 1 argument");
    uint64_t ids[2];
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (!word_parse_uint(arguments->items[0], 16, &ids[1], &reason))
        ctl_fail(ctl, EXIT_BAD_ARGS, "%s", buf_cstr(&reason));
    ctl_setup(ctl);
    Etcdserverpb__StatusRequest ask;
    etcdserverpb__status_request__init(&ask);
    struct etcd_client *leader = NULL;
    for (size_t i = 0; i < ctl->endpoint_count && !leader; i++) {
        struct etcd_client *client = ctl_connect_to(ctl, ctl->endpoints[i]);
        const Etcdserverpb__StatusResponse *status =
            ctl_call(ctl, client, "Maintenance/Status", &ask, &etcdserverpb__status_response__descriptor);
        if (!status->header || status->header->member_id != status->leader) continue;
        leader = client;
        ids[0] = status->leader;
    }
    if (!leader) {
        CLEANUP_BUF struct buf list = BUF_INIT;
        for (size_t i = 0; i < ctl->endpoint_count; i++) buf_printf(&list, "%s%s", i > 0 ? " " : "", ctl->endpoints[i]);
        ctl_fail(ctl, EXIT_BAD_ARGS, "no leader endpoint given at [%s]", buf_cstr(&list));
    }
    Etcdserverpb__MoveLeaderRequest request;
    etcdserverpb__move_leader_request__init(&request);
    request.targetid = ids[1];
    const void *response =
        ctl_call(ctl, leader, "Maintenance/MoveLeader", &request, &etcdserverpb__move_leader_response__descriptor);
    ctl_print(ctl, &view_move_leader, response, ids);
    return EXIT_OK;
}
