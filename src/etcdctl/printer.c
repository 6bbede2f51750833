/* Formats, and what is not printed as its message is. */
#include "etcdctl/printer.h"

#include "base/gotext.h"
#include "base/vec.h"
#include "etcdctl/go_json.h"
#include "etcdctl/printer_parts.h"
#include "etcdctl/table.h"
#include "pb/arena_pb.h"

#include <stdlib.h>

static const char *const format_names[] = {
    [OUTPUT_SIMPLE] = "simple",     [OUTPUT_FIELDS] = "fields", [OUTPUT_JSON] = "json",
    [OUTPUT_PROTOBUF] = "protobuf", [OUTPUT_TABLE] = "table",
};

bool output_format_parse(const char *name, enum output_format *ret_format) {
    for (size_t i = 0; i < sizeof format_names / sizeof *format_names; i++) {
        if (strcmp(name, format_names[i]) != 0) continue;
        *ret_format = (enum output_format)i;
        return true;
    }
    return false;
}

static bool unsupported(const struct printer *self, struct failure *failure) {
    return failure_set(failure, EXIT_BAD_FEATURE, "%s not supported as output format", format_names[self->format]);
}

bool print_answer(const struct printer *self, const struct view *view, const void *message, const void *context,
                  struct failure *failure) {
    switch (self->format) {
    case OUTPUT_JSON:
        go_json_append_message(self->out, message);
        buf_append_byte(self->out, '\n');
        return true;
    case OUTPUT_PROTOBUF: pb_pack(message, self->out); return true;
    case OUTPUT_SIMPLE: view->simple(self, message, context); return true;
    case OUTPUT_FIELDS:
        if (!view->fields) break;
        view->fields(self, message, context);
        return true;
    case OUTPUT_TABLE: break;
    }
    return unsupported(self, failure);
}

/* ---- members ---- */

static void append_joined(struct buf *out, char *const *texts, size_t count, const char *separator) {
    for (size_t i = 0; i < count; i++) buf_printf(out, "%s%s", i > 0 ? separator : "", texts[i]);
}

#define MEMBER_COLUMNS 6

/* One member as the six texts of its row, in the arena. */
static void member_row(const Etcdserverpb__Member *member, struct arena *arena, const char **row) {
    CLEANUP_BUF struct buf text = BUF_INIT;
    row[0] = arena_printf(arena, "%llx", (unsigned long long)member->id);
    row[1] = *member->name != 0 ? "started" : "unstarted";
    row[2] = member->name;
    append_joined(&text, member->peerurls, member->n_peerurls, ",");
    row[3] = arena_strdup(arena, buf_slice(&text));
    buf_clear(&text);
    append_joined(&text, member->clienturls, member->n_clienturls, ",");
    row[4] = arena_strdup(arena, buf_slice(&text));
    row[5] = member->islearner ? "true" : "false";
}

static void append_row(struct buf *out, const char *const *row, size_t columns) {
    for (size_t c = 0; c < columns; c++) buf_printf(out, "%s%s", c > 0 ? ", " : "", row[c]);
    buf_append_byte(out, '\n');
}

static void append_url_list(struct buf *out, const char *name, char *const *urls, size_t count) {
    buf_printf(out, ",\"%s\":", name);
    if (count == 0) {
        buf_append_cstr(out, "null");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(out, i == 0 ? '[' : ',');
        go_json_append_string(out, urls[i]);
    }
    buf_append_byte(out, ']');
}

/* -w json --hex of a member list: IDs in hexadecimal. The spelling of "clientURLS" is upstream's. */
static void members_hex_json(struct buf *out, const Etcdserverpb__MemberListResponse *response) {
    const Etcdserverpb__ResponseHeader *header = response->header;
    buf_printf(out, "{\"header\":{\"cluster_id\":\"%llx\",\"member_id\":\"%llx\",\"raft_term\":%llu},\"members\":[",
               header ? (unsigned long long)header->cluster_id : 0, header ? (unsigned long long)header->member_id : 0,
               header ? (unsigned long long)header->raft_term : 0);
    for (size_t i = 0; i < response->n_members; i++) {
        const Etcdserverpb__Member *member = response->members[i];
        buf_printf(out, "%s{\"ID\":\"%llx\",\"name\":\"%s\"", i > 0 ? "," : "", (unsigned long long)member->id,
                   member->name);
        append_url_list(out, "peerURLs", member->peerurls, member->n_peerurls);
        append_url_list(out, "clientURLS", member->clienturls, member->n_clienturls);
        buf_append_byte(out, '}');
    }
    buf_append_cstr(out, "]}\n");
}

static void members_fields(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__MemberListResponse *response = message;
    part_header(self->out, response->header);
    for (size_t i = 0; i < response->n_members; i++) {
        const Etcdserverpb__Member *member = response->members[i];
        buf_printf(self->out, "\"ID\" : %llu\n", (unsigned long long)member->id);
        part_quoted(self->out, "Name", slice_from_cstr(member->name));
        for (size_t j = 0; j < member->n_peerurls; j++)
            part_quoted(self->out, "PeerURL", slice_from_cstr(member->peerurls[j]));
        for (size_t j = 0; j < member->n_clienturls; j++)
            part_quoted(self->out, "ClientURL", slice_from_cstr(member->clienturls[j]));
        buf_printf(self->out, "\"IsLearner\" : %s\n\n", member->islearner ? "true" : "false");
    }
}

static void members_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__MemberListResponse *response = message;
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < response->n_members; i++) {
        const char *row[MEMBER_COLUMNS];
        member_row(response->members[i], &arena, row);
        append_row(self->out, row, MEMBER_COLUMNS);
    }
    arena_release(&arena);
}

bool print_members(const struct printer *self, const Etcdserverpb__MemberListResponse *response,
                   struct failure *failure) {
    static const struct view view = {members_simple, members_fields};
    if (self->format == OUTPUT_JSON && self->hex) {
        members_hex_json(self->out, response);
        return true;
    }
    if (self->format != OUTPUT_TABLE) return print_answer(self, &view, response, NULL, failure);
    static const char *const header[MEMBER_COLUMNS] = {"ID",         "STATUS",       "NAME",
                                                       "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"};
    struct arena arena;
    arena_init(&arena, 0);
    const char **cells = arena_alloc(&arena, (response->n_members + 1) * MEMBER_COLUMNS * sizeof *cells);
    for (size_t i = 0; i < response->n_members; i++)
        member_row(response->members[i], &arena, &cells[i * MEMBER_COLUMNS]);
    table_append(self->out, header, MEMBER_COLUMNS, cells, response->n_members);
    arena_release(&arena);
    return true;
}

/* ---- leases: Go prints a client-side struct into which the header is embedded ---- */

static Etcdserverpb__ResponseHeader header_message(const struct etcd_header *header) {
    Etcdserverpb__ResponseHeader message = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    message.cluster_id = header->cluster_id;
    message.member_id = header->member_id;
    message.revision = header->revision;
    message.raft_term = header->raft_term;
    return message;
}

/* What all answers about leases have: the header's fields; with protobuf nothing else. Returns whether the rest is to
 * be printed. */
static bool lease_begin(const struct printer *self, const struct etcd_header *header, bool *ret_good,
                        struct failure *failure) {
    Etcdserverpb__ResponseHeader message = header_message(header);
    *ret_good = true;
    switch (self->format) {
    case OUTPUT_PROTOBUF: pb_pack(&message, self->out); return false;
    case OUTPUT_TABLE: *ret_good = unsupported(self, failure); return false;
    case OUTPUT_FIELDS: part_header(self->out, &message); return true;
    case OUTPUT_JSON:
        buf_append_byte(self->out, '{');
        go_json_append_fields(self->out, &message);
        buf_append_byte(self->out, ',');
        return true;
    default: return true;
    }
}

#define ID_HEX "%016llx"

bool print_lease_grant(const struct printer *self, const struct etcd_lease_grant_response *response,
                       struct failure *failure) {
    long long id = response->id, ttl = response->ttl_s;
    bool good;
    if (!lease_begin(self, &response->header, &good, failure)) return good;
    if (self->format == OUTPUT_SIMPLE)
        buf_printf(self->out, "lease " ID_HEX " granted with TTL(%llds)\n", (unsigned long long)id, ttl);
    else if (self->format == OUTPUT_JSON)
        buf_printf(self->out, "\"ID\":%lld,\"TTL\":%lld,\"Error\":\"\"}\n", id, ttl);
    else
        buf_printf(self->out, "\"ID\" : %lld\n\"TTL\" : %lld\n", id, ttl);
    return true;
}

bool print_lease_revoke(const struct printer *self, int64_t lease, const struct etcd_header *header,
                        struct failure *failure) {
    Etcdserverpb__ResponseHeader message = header_message(header);
    switch (self->format) {
    case OUTPUT_SIMPLE: buf_printf(self->out, "lease " ID_HEX " revoked\n", (unsigned long long)lease); return true;
    case OUTPUT_FIELDS: part_header(self->out, &message); return true;
    case OUTPUT_JSON:
        buf_append_cstr(self->out, "{\"header\":");
        go_json_append_message(self->out, &message);
        buf_append_cstr(self->out, "}\n");
        return true;
    case OUTPUT_PROTOBUF:
        return failure_set(failure, EXIT_BAD_FEATURE,
                           "marshal unsupported for type clientv3.LeaseRevokeResponse ({cluster_id:%llu "
                           "member_id:%llu revision:%lld raft_term:%llu  {} [] 0})",
                           (unsigned long long)header->cluster_id, (unsigned long long)header->member_id,
                           (long long)header->revision, (unsigned long long)header->raft_term);
    default: return unsupported(self, failure);
    }
}

static void ttl_json(struct buf *out, const struct etcd_lease_ttl_response *response) {
    buf_printf(out, "\"id\":%lld,\"ttl\":%lld,\"granted-ttl\":%lld,\"keys\":", (long long)response->id,
               (long long)response->ttl_s, (long long)response->granted_ttl_s);
    for (size_t i = 0; i < response->key_count; i++) {
        buf_append_cstr(out, i == 0 ? "[\"" : ",\"");
        append_base64(out, slice_make(response->keys[i].data, response->keys[i].len));
        buf_append_byte(out, '"');
    }
    buf_append_cstr(out, response->key_count > 0 ? "]}\n" : "null}\n");
}

static void ttl_simple(struct buf *out, const struct etcd_lease_ttl_response *response, bool keys) {
    if (response->granted_ttl_s == 0 && response->ttl_s == -1) {
        buf_printf(out, "lease " ID_HEX " already expired\n", (unsigned long long)response->id);
        return;
    }
    buf_printf(out, "lease " ID_HEX " granted with TTL(%llds), remaining(%llds)", (unsigned long long)response->id,
               (long long)response->granted_ttl_s, (long long)response->ttl_s);
    if (keys) {
        buf_append_cstr(out, ", attached keys([");
        for (size_t i = 0; i < response->key_count; i++) {
            if (i > 0) buf_append_byte(out, ' ');
            buf_append(out, response->keys[i].data, response->keys[i].len);
        }
        buf_append_cstr(out, "])");
    }
    buf_append_byte(out, '\n');
}

bool print_lease_ttl(const struct printer *self, const struct etcd_lease_ttl_response *response, bool keys,
                     struct failure *failure) {
    bool good;
    if (!lease_begin(self, &response->header, &good, failure)) return good;
    if (self->format == OUTPUT_JSON) {
        ttl_json(self->out, response);
    } else if (self->format == OUTPUT_SIMPLE) {
        ttl_simple(self->out, response, keys);
    } else {
        buf_printf(self->out, "\"ID\" : %lld\n\"TTL\" : %lld\n\"GrantedTTL\" : %lld\n", (long long)response->id,
                   (long long)response->ttl_s, (long long)response->granted_ttl_s);
        for (size_t i = 0; i < response->key_count; i++)
            part_quoted(self->out, "Key", slice_make(response->keys[i].data, response->keys[i].len));
    }
    return true;
}

bool print_lease_list(const struct printer *self, const struct etcd_lease_list_response *response,
                      struct failure *failure) {
    bool good;
    if (!lease_begin(self, &response->header, &good, failure)) return good;
    if (self->format == OUTPUT_SIMPLE) buf_printf(self->out, "found %zu leases\n", response->id_count);
    if (self->format == OUTPUT_JSON) buf_append_cstr(self->out, "\"leases\":[");
    for (size_t i = 0; i < response->id_count; i++) {
        long long id = response->ids[i];
        if (self->format == OUTPUT_SIMPLE)
            buf_printf(self->out, ID_HEX "\n", (unsigned long long)id);
        else if (self->format == OUTPUT_JSON)
            buf_printf(self->out, "%s{\"id\":%lld}", i > 0 ? "," : "", id);
        else
            buf_printf(self->out, "\"ID\" : %lld\n", id);
    }
    if (self->format == OUTPUT_JSON) buf_append_cstr(self->out, "]}\n");
    return true;
}

bool print_lease_keepalive(const struct printer *self, const struct etcd_lease_keepalive_response *response,
                           struct failure *failure) {
    long long id = response->id, ttl = response->ttl_s;
    bool good;
    if (!lease_begin(self, &response->header, &good, failure)) return good;
    if (self->format == OUTPUT_SIMPLE)
        buf_printf(self->out, "lease " ID_HEX " keepalived with TTL(%lld)\n", (unsigned long long)id, ttl);
    else if (self->format == OUTPUT_JSON)
        buf_printf(self->out, "\"ID\":%lld,\"TTL\":%lld}\n", id, ttl);
    else
        buf_printf(self->out, "\"ID\" : %lld\n\"TTL\" : %lld\n", id, ttl);
    return true;
}

/* ---- watch ---- */

static ProtobufCBinaryData binary(struct etcd_bytes bytes) { return pb_bytes(slice_make(bytes.data, bytes.len)); }

static Mvccpb__KeyValue *kv_message(const struct etcd_kv *kv, struct arena *arena) {
    Mvccpb__KeyValue *message = arena_alloc(arena, sizeof *message);
    mvccpb__key_value__init(message);
    message->key = binary(kv->key);
    message->value = binary(kv->value);
    message->create_revision = kv->create_revision;
    message->mod_revision = kv->mod_revision;
    message->version = kv->version;
    message->lease = kv->lease;
    return message;
}

static Mvccpb__Event *event_message(const struct etcd_event *event, struct arena *arena) {
    Mvccpb__Event *message = arena_alloc(arena, sizeof *message);
    mvccpb__event__init(message);
    message->type =
        event->type == ETCD_EVENT_DELETE ? MVCCPB__EVENT__EVENT_TYPE__DELETE : MVCCPB__EVENT__EVENT_TYPE__PUT;
    message->kv = kv_message(&event->kv, arena);
    if (event->prev_kv) message->prev_kv = kv_message(event->prev_kv, arena);
    return message;
}

static void watch_json(const struct printer *self, const Etcdserverpb__WatchResponse *message) {
    struct buf *out = self->out;
    buf_append_cstr(out, "{\"Header\":");
    go_json_append_message(out, message->header);
    /* A watch that could not be made has no list of events at all, others may have an empty one. */
    bool never_was = message->canceled && message->n_events == 0 && message->compact_revision == 0;
    buf_append_cstr(out, never_was ? ",\"Events\":null" : ",\"Events\":[");
    for (size_t i = 0; i < message->n_events; i++) {
        if (i > 0) buf_append_byte(out, ',');
        go_json_append_message(out, message->events[i]);
    }
    buf_printf(out, "%s,\"CompactRevision\":%lld,\"Canceled\":%s,\"Created\":%s}\n", never_was ? "" : "]",
               (long long)message->compact_revision, message->canceled ? "true" : "false",
               message->created ? "true" : "false");
}

static void watch_text(const struct printer *self, const Etcdserverpb__WatchResponse *message) {
    bool fields = self->format == OUTPUT_FIELDS;
    if (fields) part_header(self->out, message->header);
    for (size_t i = 0; i < message->n_events; i++) {
        const Mvccpb__Event *event = message->events[i];
        const char *type = event->type == MVCCPB__EVENT__EVENT_TYPE__DELETE ? "DELETE" : "PUT";
        buf_printf(self->out, fields ? "\"Type\" : %s\n" : "%s\n", type);
        if (event->prev_kv && fields)
            part_kv_fields(self->out, "Prev", event->prev_kv);
        else if (event->prev_kv)
            part_kv(self, event->prev_kv);
        if (fields)
            part_kv_fields(self->out, "", event->kv);
        else
            part_kv(self, event->kv);
    }
}

bool print_watch(const struct printer *self, const struct etcd_watch_response *response, struct failure *failure) {
    struct arena arena;
    arena_init(&arena, 0);
    Etcdserverpb__ResponseHeader header = header_message(&response->header);
    Etcdserverpb__WatchResponse message;
    etcdserverpb__watch_response__init(&message);
    if (response->canceled && response->compact_revision == 0)
        header = (Etcdserverpb__ResponseHeader)ETCDSERVERPB__RESPONSE_HEADER__INIT;
    message.header = &header;
    message.compact_revision = response->compact_revision;
    message.canceled = response->canceled;
    message.created = response->created && !response->canceled;
    message.n_events = response->event_count;
    message.events = arena_alloc(&arena, (response->event_count + 1) * sizeof *message.events);
    for (size_t i = 0; i < response->event_count; i++) message.events[i] = event_message(&response->events[i], &arena);
    bool good = true;
    switch (self->format) {
    case OUTPUT_JSON: watch_json(self, &message); break;
    case OUTPUT_PROTOBUF: pb_pack(&message, self->out); break;
    case OUTPUT_TABLE: good = unsupported(self, failure); break;
    default: watch_text(self, &message);
    }
    arena_release(&arena);
    return good;
}
