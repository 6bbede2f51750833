/* printer.h - answers in the output formats of -w.
 *
 * Floor 8, pure: appends to a buf. The texts are etcd's to the byte; scripts read them.
 *
 *   simple    for people; one form for each command
 *   fields    "Name" : value, a line each
 *   json      Go's JSON (go_json.h)
 *   protobuf  the encoded message
 *   table     members and endpoints only
 */
#ifndef ETCDCTL_PRINTER_H
#define ETCDCTL_PRINTER_H

#include "etcd/client.h"
#include "etcdctl/failure.h"

#include "pb/rpc.pb-c.h"

enum output_format { OUTPUT_SIMPLE, OUTPUT_FIELDS, OUTPUT_JSON, OUTPUT_PROTOBUF, OUTPUT_TABLE };

/* False for a name that is none. */
bool output_format_parse(const char *name, enum output_format *ret_format);

struct printer {
    enum output_format format;
    bool hex;        /* simple: keys and values as \x61\x62 */
    bool value_only; /* simple: values without keys */
    struct buf *out;
    struct buf *errors; /* what the simple format says on standard error */
};

/* How one kind of answer looks in the two formats that are its own. NULL: it does not have that format. `context` is
 * what the simple form says beyond the message (the name of a user, ...). */
typedef void (*print_form)(const struct printer *self, const void *message, const void *context);
struct view {
    print_form simple;
    print_form fields;
};

extern const struct view view_range, view_put, view_delete, view_txn;
extern const struct view view_alarms;      /* context: not NULL when the message has no header (disarm) */
extern const struct view view_move_leader; /* context: uint64_t[2], from and to */
extern const struct view view_member_add, view_member_remove, view_member_update, view_member_promote;
extern const struct view view_auth_status, view_user_get, view_user_list, view_role_get, view_role_list;
extern const struct view view_done; /* context: the whole text of the simple form */

/* Prints any message; false (EXIT_BAD_FEATURE) when the format does not exist for it. The context of member views is
 * uint64_t[1], the ID meant. */
bool print_answer(const struct printer *self, const struct view *view, const void *message, const void *context,
                  struct failure *failure);

/* What is not printed as its message is. All return false as above. */
bool print_members(const struct printer *self, const Etcdserverpb__MemberListResponse *response,
                   struct failure *failure);

bool print_lease_grant(const struct printer *self, const struct etcd_lease_grant_response *response,
                       struct failure *failure);
bool print_lease_revoke(const struct printer *self, int64_t lease, const struct etcd_header *header,
                        struct failure *failure);
bool print_lease_ttl(const struct printer *self, const struct etcd_lease_ttl_response *response, bool keys,
                     struct failure *failure);
bool print_lease_list(const struct printer *self, const struct etcd_lease_list_response *response,
                      struct failure *failure);
bool print_lease_keepalive(const struct printer *self, const struct etcd_lease_keepalive_response *response,
                           struct failure *failure);

bool print_watch(const struct printer *self, const struct etcd_watch_response *response, struct failure *failure);

struct endpoint_health {
    const char *endpoint;
    bool health;
    char took[40]; /* Go duration */
    char error[512];
};
bool print_endpoint_health(const struct printer *self, const struct endpoint_health *list, size_t count,
                           struct failure *failure);

struct endpoint_status {
    const char *endpoint;
    const Etcdserverpb__StatusResponse *response;
};
bool print_endpoint_status(const struct printer *self, const struct endpoint_status *list, size_t count,
                           struct failure *failure);

struct endpoint_hash {
    const char *endpoint;
    const Etcdserverpb__HashKVResponse *response;
};
bool print_endpoint_hash(const struct printer *self, const struct endpoint_hash *list, size_t count,
                         struct failure *failure);

struct snapshot_status {
    uint32_t hash;
    int64_t revision;
    int64_t total_keys;
    int64_t total_size_bytes;
};
bool print_snapshot_status(const struct printer *self, const struct snapshot_status *status, struct failure *failure);

#endif
