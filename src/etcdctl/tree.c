/* The tree of commands with their options and help. Suggestions for a mistyped command come in this order. */
#include "etcdctl/tree.h"

#include "etcdctl/commands.h"
#include "etcdctl/requests.h"
#include "etcdctl/watch_args.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define FLAGS(array) .flags = array, .flag_count = COUNT(array)
#define CHILDREN(array) .arguments = "<subcommand>", .children = array, .child_count = COUNT(array)

static const struct flag_spec global_flags[] = {
    {"endpoints", 0, FLAG_STRINGS, "127.0.0.1:2379", "where to find the members, separated by commas"},
    {"debug", 0, FLAG_BOOL, NULL, "say what the client does"},
    {"write-out", 'w', FLAG_STRING, "simple", "form of the output: fields, json, protobuf, simple or table"},
    {"hex", 0, FLAG_BOOL, NULL, "print keys and values in hexadecimal"},
    {"dial-timeout", 0, FLAG_DURATION, "2s", "how long connecting may take"},
    {"command-timeout", 0, FLAG_DURATION, "5s", "how long a command may take, connecting apart"},
    {"keepalive-time", 0, FLAG_DURATION, "2s", "ping an idle connection after this time"},
    {"keepalive-timeout", 0, FLAG_DURATION, "6s", "without an answer to the ping for so long it counts as broken"},
    {"insecure-transport", 0, FLAG_BOOL, "true", "connect without TLS"},
    {"insecure-discovery", 0, FLAG_BOOL, "true", "take SRV records for endpoints without TLS"},
    {"insecure-skip-tls-verify", 0, FLAG_BOOL, NULL, "take any server certificate (for tests only)"},
    {"cert", 0, FLAG_STRING, NULL, "file of the certificate we show to the server"},
    {"key", 0, FLAG_STRING, NULL, "file of the key of our certificate"},
    {"cacert", 0, FLAG_STRING, NULL, "file of the authorities that may have signed the server's certificate"},
    {"user", 0, FLAG_STRING, NULL, "name[:password] to log in with; asks when there is no password"},
    {"password", 0, FLAG_STRING, NULL, "password to log in with; then --user is the name only"},
    {"discovery-srv", 'd', FLAG_STRING, NULL, "domain whose SRV records tell the endpoints"},
    {"discovery-srv-name", 0, FLAG_STRING, NULL, "name of the service in the SRV records"},
};

static const struct flag_spec txn_flags[] = {
    {"interactive", 'i', FLAG_BOOL, NULL, "say what is to be typed next"},
};
static const struct flag_spec compaction_flags[] = {
    {"physical", 0, FLAG_BOOL, NULL, "wait until the old revisions are off the disk"},
};

static const struct command alarm_commands[] = {
    {.name = "disarm", .arguments = "", .summary = "Takes all alarms back", .run = run_alarm_disarm},
    {.name = "list", .arguments = "", .summary = "Lists the alarms that are raised", .run = run_alarm_list},
};

static const struct flag_spec defrag_flags[] = {
    {"cluster", 0, FLAG_BOOL, NULL, "all members of the cluster, not only those of --endpoints"},
    {"data-dir", 0, FLAG_STRING, NULL, "the data directory of a member that does not run"},
};

static const struct flag_spec endpoint_flags[] = {
    {"cluster", 0, FLAG_BOOL, NULL, "all members of the cluster, not only those of --endpoints"},
};
static const struct flag_spec hashkv_flags[] = {
    {"rev", 0, FLAG_INT, NULL, "hash up to this revision; 0 for all there is"},
};
static const struct command endpoint_commands[] = {
    {.name = "health",
     .arguments = "",
     .summary = "Tells which endpoints answer and can commit",
     .run = run_endpoint_health},
    {.name = "status",
     .arguments = "",
     .summary = "Tells the state of the member at each endpoint",
     .description = "In the simple format a line holds: endpoint, ID, version, size of the database, is leader,\n"
                    "is learner, raft term, raft index, applied raft index, errors.",
     .run = run_endpoint_status},
    {.name = "hashkv",
     .arguments = "",
     .summary = "Tells the hash of the history of keys at each endpoint",
     FLAGS(hashkv_flags),
     .run = run_endpoint_hashkv},
};

static const struct flag_spec timetolive_flags[] = {
    {"keys", 0, FLAG_BOOL, NULL, "also tell the keys that are attached"},
};
static const struct flag_spec keep_alive_flags[] = {
    {"once", 0, FLAG_BOOL, NULL, "renew once and end"},
};
static const struct command lease_commands[] = {
    {.name = "grant", .arguments = "<ttl>", .summary = "Makes a lease of so many seconds", .run = run_lease_grant},
    {.name = "revoke",
     .arguments = "<leaseID>",
     .summary = "Ends a lease and deletes its keys",
     .run = run_lease_revoke},
    {.name = "timetolive",
     .arguments = "<leaseID> [options]",
     .summary = "Tells how long a lease has left",
     FLAGS(timetolive_flags),
     .run = run_lease_timetolive},
    {.name = "list", .arguments = "", .summary = "Lists all leases", .run = run_lease_list},
    {.name = "keep-alive",
     .arguments = "[options] <leaseID>",
     .summary = "Renews a lease again and again",
     FLAGS(keep_alive_flags),
     .run = run_lease_keep_alive},
};

static const struct flag_spec member_add_flags[] = {
    {"peer-urls", 0, FLAG_STRING, NULL, "where other members reach the new one, separated by commas"},
    {"learner", 0, FLAG_BOOL, NULL, "it shall follow without a vote"},
};
static const struct flag_spec member_update_flags[] = {
    {"peer-urls", 0, FLAG_STRING, NULL, "where other members reach it from now on, separated by commas"},
};
static const struct command member_commands[] = {
    {.name = "add",
     .arguments = "<memberName> [options]",
     .summary = "Adds a member to the cluster",
     FLAGS(member_add_flags),
     .run = run_member_add},
    {.name = "remove",
     .arguments = "<memberID>",
     .summary = "Removes a member from the cluster",
     .run = run_member_remove},
    {.name = "update",
     .arguments = "<memberID> [options]",
     .summary = "Changes the peer URLs of a member",
     FLAGS(member_update_flags),
     .run = run_member_update},
    {.name = "list",
     .arguments = "",
     .summary = "Lists the members of the cluster",
     .description = "In the simple format a line holds: ID, status, name, peer URLs, client URLs, is learner.",
     .run = run_member_list},
    {.name = "promote", .arguments = "<memberID>", .summary = "Gives a learner a vote", .run = run_member_promote},
};

static const struct flag_spec restore_flags[] = {
    {"data-dir", 0, FLAG_STRING, NULL, "the directory to make"},
    {"wal-dir", 0, FLAG_STRING, NULL, "the directory for the write-ahead log, when it is another one"},
    {"initial-cluster", 0, FLAG_STRING, "default=http://localhost:2380", "the members of the new cluster"},
    {"initial-cluster-token", 0, FLAG_STRING, "etcd-cluster", "what makes the new cluster's ID its own"},
    {"initial-advertise-peer-urls", 0, FLAG_STRING, "http://localhost:2380", "where others reach this member"},
    {"name", 0, FLAG_STRING, "default", "this member's name"},
    {"skip-hash-check", 0, FLAG_BOOL, NULL, "do not check the hash at the end (a copied db file has none)"},
    {"bump-revision", 0, FLAG_UINT, NULL, "add this to the latest revision"},
    {"mark-compacted", 0, FLAG_BOOL, NULL, "mark the latest revision as compacted; goes with --bump-revision"},
    {"initial-memory-map-size", 0, FLAG_UINT, NULL, "size of the memory map in bytes; 0 for the default"},
};
static const struct command snapshot_commands[] = {
    {.name = "save",
     .arguments = "<filename>",
     .summary = "Saves a member's database to a file",
     .run = run_snapshot_save},
    {.name = "restore",
     .arguments = "<filename> [options]",
     .summary = "Moved to etcdutl: makes a data directory of a snapshot",
     FLAGS(restore_flags),
     .run = run_snapshot_restore},
    {.name = "status",
     .arguments = "<filename>",
     .summary = "Tells what is in a snapshot (moved to etcdutl)",
     .run = run_snapshot_status},
};

static const struct flag_spec mirror_flags[] = {
    {"prefix", 0, FLAG_STRING, NULL, "mirror only keys that begin with this"},
    {"dest-prefix", 0, FLAG_STRING, NULL, "what they begin with over there instead"},
    {"no-dest-prefix", 0, FLAG_BOOL, NULL, "cut the prefix off over there"},
    {"dest-cert", 0, FLAG_STRING, NULL, "as --cert, for the destination"},
    {"dest-key", 0, FLAG_STRING, NULL, "as --key, for the destination"},
    {"dest-cacert", 0, FLAG_STRING, NULL, "as --cacert, for the destination"},
    {"dest-insecure-transport", 0, FLAG_BOOL, "true", "connect to the destination without TLS"},
    {"dest-user", 0, FLAG_STRING, NULL, "as --user, for the destination"},
    {"dest-password", 0, FLAG_STRING, NULL, "as --password, for the destination"},
};

static const struct flag_spec lock_flags[] = {
    {"ttl", 0, FLAG_INT, "10", "the lock is free again so many seconds after we die"},
};
static const struct flag_spec elect_flags[] = {
    {"listen", 'l', FLAG_BOOL, NULL, "only tell who leads"},
};

static const struct command auth_commands[] = {
    {.name = "enable", .arguments = "", .summary = "Turns authentication on", .run = run_auth_enable},
    {.name = "disable", .arguments = "", .summary = "Turns authentication off", .run = run_auth_disable},
    {.name = "status", .arguments = "", .summary = "Tells whether authentication is on", .run = run_auth_status},
};

static const struct flag_spec user_add_flags[] = {
    {"interactive", 0, FLAG_BOOL, "true", "ask for the password; false takes a word from standard input"},
    {"new-user-password", 0, FLAG_STRING, NULL, "the new user's password"},
    {"no-password", 0, FLAG_BOOL, NULL, "a user who comes in by certificate only"},
};
static const struct flag_spec user_get_flags[] = {
    {"detail", 0, FLAG_BOOL, NULL, "tell the permissions of the roles too"},
};
static const struct flag_spec user_passwd_flags[] = {
    {"interactive", 0, FLAG_BOOL, "true", "ask for the password; false takes a word from standard input"},
};
static const struct command user_commands[] = {
    {.name = "add",
     .arguments = "<user name or user:password> [options]",
     .summary = "Adds a user",
     FLAGS(user_add_flags),
     .run = run_user_add},
    {.name = "delete", .arguments = "<user name>", .summary = "Deletes a user", .run = run_user_delete},
    {.name = "get",
     .arguments = "<user name> [options]",
     .summary = "Tells the roles of a user",
     FLAGS(user_get_flags),
     .run = run_user_get},
    {.name = "list", .arguments = "", .summary = "Lists all users", .run = run_user_list},
    {.name = "passwd",
     .arguments = "<user name> [options]",
     .summary = "Changes a user's password",
     FLAGS(user_passwd_flags),
     .run = run_user_passwd},
    {.name = "grant-role",
     .arguments = "<user name> <role name>",
     .summary = "Gives a role to a user",
     .run = run_user_grant_role},
    {.name = "revoke-role",
     .arguments = "<user name> <role name>",
     .summary = "Takes a role from a user",
     .run = run_user_revoke_role},
};

static const struct flag_spec permission_flags[] = {
    {"prefix", 0, FLAG_BOOL, NULL, "for all keys that begin with <key>"},
    {"from-key", 0, FLAG_BOOL, NULL, "for <key> and all keys behind it, in byte order"},
};
static const struct command role_commands[] = {
    {.name = "add", .arguments = "<role name>", .summary = "Adds a role", .run = run_role_add},
    {.name = "delete", .arguments = "<role name>", .summary = "Deletes a role", .run = run_role_delete},
    {.name = "get", .arguments = "<role name>", .summary = "Tells the permissions of a role", .run = run_role_get},
    {.name = "list", .arguments = "", .summary = "Lists all roles", .run = run_role_list},
    {.name = "grant-permission",
     .arguments = "[options] <role name> <permission type> <key> [endkey]",
     .summary = "Lets a role read, write or readwrite a key or range",
     FLAGS(permission_flags),
     .run = run_role_grant_permission},
    {.name = "revoke-permission",
     .arguments = "<role name> <key> [endkey]",
     .summary = "Takes the permission for a key or range from a role",
     FLAGS(permission_flags),
     .run = run_role_revoke_permission},
};

static const struct flag_spec perf_flags[] = {
    {"load", 0, FLAG_STRING, "s", "how much load: s(mall), m(edium), l(arge) or xl(arge)"},
    {"prefix", 0, FLAG_STRING, "/etcdctl-check-perf/", "what the keys written begin with"},
    {"auto-compact", 0, FLAG_BOOL, NULL, "compact what was written afterwards"},
    {"auto-defrag", 0, FLAG_BOOL, NULL, "defragment afterwards"},
};
static const struct flag_spec datascale_flags[] = {
    {"load", 0, FLAG_STRING, "s", "how many keys: s(mall), m(edium), l(arge) or xl(arge)"},
    {"prefix", 0, FLAG_STRING, "/etcdctl-check-datascale/", "what the keys written begin with"},
    {"auto-compact", 0, FLAG_BOOL, NULL, "compact what was written afterwards"},
    {"auto-defrag", 0, FLAG_BOOL, NULL, "defragment afterwards"},
};
static const struct command check_commands[] = {
    {.name = "perf",
     .arguments = "[options]",
     .summary = "Measures whether the cluster is fast enough",
     FLAGS(perf_flags),
     .run = run_check},
    {.name = "datascale",
     .arguments = "[options]",
     .summary = "Measures how much memory a member takes for many keys",
     FLAGS(datascale_flags),
     .run = run_check},
};

#define PUT_DESCRIPTION                                                                                                \
    "A <value> that begins with '-' would be taken for an option. Put '--' before it:\n"                               \
    "\n"                                                                                                               \
    "$ put <key> -- <value>\n"                                                                                         \
    "$ put -- <key> <value>\n"                                                                                         \
    "\n"                                                                                                               \
    "Without <value> (and without --ignore-value) the value is all of standard input:\n"                               \
    "\n"                                                                                                               \
    "$ put <key> < file"

static const struct command top_commands[] = {
    {.name = "get",
     .arguments = "[options] <key> [range_end]",
     .summary = "Gets keys and their values",
     FLAGS(get_flag_specs),
     .run = run_get},
    {.name = "put",
     .arguments = "[options] <key> <value> (<value> can also be given from stdin)",
     .summary = "Sets the value of a key",
     .description = PUT_DESCRIPTION,
     FLAGS(put_flag_specs),
     .run = run_put},
    {.name = "del",
     .arguments = "[options] <key> [range_end]",
     .summary = "Deletes keys",
     FLAGS(del_flag_specs),
     .run = run_del},
    {.name = "txn",
     .arguments = "[options]",
     .summary = "Reads a transaction from standard input and does it",
     .description = "Three sections, each ended by an empty line: comparisons, what to do when all hold, what to do\n"
                    "else. A comparison is TARGET(\"key\") OP \"value\" with ver, create, mod, value or lease as\n"
                    "target and = != < > as operator; operations are get, put and del with their options.",
     FLAGS(txn_flags),
     .run = run_txn},
    {.name = "compaction",
     .arguments = "[options] <revision>",
     .summary = "Forgets what was superseded before a revision",
     FLAGS(compaction_flags),
     .run = run_compaction},
    {.name = "alarm", CHILDREN(alarm_commands), .summary = "Alarms"},
    {.name = "defrag",
     .arguments = "",
     .summary = "Gives the free space in the members' files back",
     FLAGS(defrag_flags),
     .run = run_defrag},
    {.name = "endpoint",
     CHILDREN(endpoint_commands),
     .summary = "Endpoints",
     FLAGS(endpoint_flags),
     .flags_inherited = true},
    {.name = "move-leader",
     .arguments = "<transferee-member-id>",
     .summary = "Makes another member the leader",
     .run = run_move_leader},
    {.name = "watch",
     .arguments = "[options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
     .summary = "Shows changes of keys as they happen",
     FLAGS(watch_flag_specs),
     .run = run_watch},
    {.name = "version", .arguments = "", .summary = "Tells the version of etcdctl", .run = run_version},
    {.name = "lease", CHILDREN(lease_commands), .summary = "Leases"},
    {.name = "member", CHILDREN(member_commands), .summary = "Members of the cluster"},
    {.name = "snapshot", CHILDREN(snapshot_commands), .summary = "Snapshots of a member's database"},
    {.name = "make-mirror",
     .arguments = "[options] <destination>",
     .summary = "Copies keys to another cluster and keeps up with changes",
     FLAGS(mirror_flags),
     .run = run_make_mirror},
    {.name = "lock",
     .arguments = "<lockname> [exec-command arg1 arg2 ...]",
     .summary = "Takes a lock and holds it",
     FLAGS(lock_flags),
     .run = run_lock},
    {.name = "elect",
     .arguments = "<election-name> [proposal]",
     .summary = "Runs for leader, or tells who leads",
     FLAGS(elect_flags),
     .run = run_elect},
    {.name = "auth",
     .arguments = "<enable or disable>",
     .children = auth_commands,
     .child_count = COUNT(auth_commands),
     .summary = "Authentication"},
    {.name = "user", CHILDREN(user_commands), .summary = "Users"},
    {.name = "role", CHILDREN(role_commands), .summary = "Roles"},
    {.name = "check", CHILDREN(check_commands), .summary = "Measurements of the cluster"},
    {.name = "help",
     .arguments = "[command]",
     .summary = "Shows help of a command",
     .description = "etcdctl help <command> [<subcommand>] shows what the command does and its options.",
     .run = run_help},
};

const struct command command_tree = {
    .name = "etcdctl",
    .arguments = "",
    .summary = "The command line client of etcd.",
    FLAGS(global_flags),
    .flags_inherited = true,
    .children = top_commands,
    .child_count = COUNT(top_commands),
};
