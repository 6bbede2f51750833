/* commands.h - what each command does. One file for each group; all have the form of struct command's run. */
#ifndef ETCDCTL_COMMANDS_H
#define ETCDCTL_COMMANDS_H

#include "etcdctl/ctl.h"

#define RUN(name) int name(struct ctl *ctl, const struct command *command, const struct arguments *arguments)

/* keys.c */
RUN(run_get);
RUN(run_put);
RUN(run_del);
RUN(run_compaction);
RUN(run_txn);

/* watch.c */
RUN(run_watch);

/* lease.c */
RUN(run_lease_grant);
RUN(run_lease_revoke);
RUN(run_lease_timetolive);
RUN(run_lease_list);
RUN(run_lease_keep_alive);

/* endpoint.c */
RUN(run_endpoint_health);
RUN(run_endpoint_status);
RUN(run_endpoint_hashkv);

/* maintenance.c */
RUN(run_alarm_disarm);
RUN(run_alarm_list);
RUN(run_defrag);
RUN(run_move_leader);

/* member.c */
RUN(run_member_add);
RUN(run_member_remove);
RUN(run_member_update);
RUN(run_member_promote);
RUN(run_member_list);

/* snapshot.c, snapshot_status.c */
RUN(run_snapshot_save);
RUN(run_snapshot_status);

/* auth.c: auth, users, roles */
RUN(run_auth_enable);
RUN(run_auth_disable);
RUN(run_auth_status);
RUN(run_user_add);
RUN(run_user_delete);
RUN(run_user_get);
RUN(run_user_list);
RUN(run_user_passwd);
RUN(run_user_grant_role);
RUN(run_user_revoke_role);
RUN(run_role_add);
RUN(run_role_delete);
RUN(run_role_get);
RUN(run_role_list);
RUN(run_role_grant_permission);
RUN(run_role_revoke_permission);

/* main.c */
RUN(run_version);
RUN(run_help);

/* unported.c */
RUN(run_snapshot_restore);
RUN(run_make_mirror);
RUN(run_lock);
RUN(run_elect);
RUN(run_check);

#endif
