/* Lists with a row for each endpoint, and the status of a snapshot file. */
#include "etcdctl/printer.h"

#include "base/arena.h"
#include "base/gotext.h"
#include "etcdctl/go_json.h"
#include "etcdctl/printer_parts.h"
#include "etcdctl/table.h"

static bool unsupported(struct failure *failure) {
    return failure_set(failure, EXIT_BAD_FEATURE, "protobuf not supported as output format");
}

/* ---- health ---- */

#define HEALTH_COLUMNS 4

static void health_table(struct buf *out, const struct endpoint_health *list, size_t count) {
    static const char *const header[HEALTH_COLUMNS] = {"ENDPOINT", "HEALTH", "TOOK", "ERROR"};
    struct arena arena;
    arena_init(&arena, 0);
    const char **cells = arena_alloc(&arena, (count + 1) * HEALTH_COLUMNS * sizeof *cells);
    for (size_t i = 0; i < count; i++) {
        const char **row = &cells[i * HEALTH_COLUMNS];
        row[0] = list[i].endpoint;
        row[1] = list[i].health ? "true" : "false";
        row[2] = list[i].took;
        row[3] = list[i].error;
    }
    table_append(out, header, HEALTH_COLUMNS, cells, count);
    arena_release(&arena);
}

static void health_json(struct buf *out, const struct endpoint_health *list, size_t count) {
    buf_append_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        buf_append_cstr(out, i > 0 ? ",{\"endpoint\":" : "{\"endpoint\":");
        go_json_append_string(out, list[i].endpoint);
        buf_printf(out, ",\"health\":%s,\"took\":", list[i].health ? "true" : "false");
        go_json_append_string(out, list[i].took);
        if (list[i].error[0] != 0) {
            buf_append_cstr(out, ",\"error\":");
            go_json_append_string(out, list[i].error);
        }
        buf_append_byte(out, '}');
    }
    buf_append_cstr(out, "]\n");
}

bool print_endpoint_health(const struct printer *self, const struct endpoint_health *list, size_t count,
                           struct failure *failure) {
    struct buf *out = self->out;
    switch (self->format) {
    case OUTPUT_PROTOBUF: return unsupported(failure);
    case OUTPUT_TABLE: health_table(out, list, count); return true;
    case OUTPUT_JSON: health_json(out, list, count); return true;
    default: break;
    }
    for (size_t i = 0; i < count; i++) {
        const struct endpoint_health *health = &list[i];
        if (self->format == OUTPUT_FIELDS) {
            part_quoted(out, "Endpoint", slice_from_cstr(health->endpoint));
            buf_printf(out, "\"Health\" : %s\n\"Took\" : %s\n\"Error\" : %s\n\n", health->health ? "true" : "false",
                       health->took, health->error);
        } else if (health->error[0] == 0) {
            buf_printf(out, "%s is healthy: successfully committed proposal: took = %s\n", health->endpoint,
                       health->took);
        } else {
            buf_printf(self->errors, "%s is unhealthy: failed to commit proposal: %s\n", health->endpoint,
                       health->error);
        }
    }
    return true;
}

/* ---- status ---- */

#define STATUS_COLUMNS 10

static const char *joined_errors(const Etcdserverpb__StatusResponse *response, const char *separator,
                                 struct arena *arena) {
    CLEANUP_BUF struct buf text = BUF_INIT;
    for (size_t i = 0; i < response->n_errors; i++) {
        if (i > 0) buf_append_cstr(&text, separator);
        buf_append_cstr(&text, response->errors[i]);
    }
    return arena_strdup(arena, buf_slice(&text));
}

static uint64_t status_member(const Etcdserverpb__StatusResponse *response) {
    return response->header ? response->header->member_id : 0;
}

static void status_row(const struct endpoint_status *status, struct arena *arena, const char **row) {
    const Etcdserverpb__StatusResponse *response = status->response;
    CLEANUP_BUF struct buf size = BUF_INIT;
    go_append_humanized_bytes(&size, (uint64_t)response->dbsize);
    row[0] = status->endpoint;
    row[1] = arena_printf(arena, "%llx", (unsigned long long)status_member(response));
    row[2] = response->version;
    row[3] = arena_strdup(arena, buf_slice(&size));
    row[4] = response->leader == status_member(response) ? "true" : "false";
    row[5] = response->islearner ? "true" : "false";
    row[6] = arena_printf(arena, "%llu", (unsigned long long)response->raftterm);
    row[7] = arena_printf(arena, "%llu", (unsigned long long)response->raftindex);
    row[8] = arena_printf(arena, "%llu", (unsigned long long)response->raftappliedindex);
    row[9] = joined_errors(response, ", ", arena);
}

static void status_rows(const struct printer *self, const struct endpoint_status *list, size_t count) {
    static const char *const header[STATUS_COLUMNS] = {"ENDPOINT",           "ID",         "VERSION",   "DB SIZE",
                                                       "IS LEADER",          "IS LEARNER", "RAFT TERM", "RAFT INDEX",
                                                       "RAFT APPLIED INDEX", "ERRORS"};
    struct arena arena;
    arena_init(&arena, 0);
    const char **cells = arena_alloc(&arena, (count + 1) * STATUS_COLUMNS * sizeof *cells);
    for (size_t i = 0; i < count; i++) status_row(&list[i], &arena, &cells[i * STATUS_COLUMNS]);
    if (self->format == OUTPUT_TABLE)
        table_append(self->out, header, STATUS_COLUMNS, cells, count);
    else
        for (size_t i = 0; i < count * STATUS_COLUMNS; i++)
            buf_printf(self->out, "%s%s", cells[i], (i + 1) % STATUS_COLUMNS ? ", " : "\n");
    arena_release(&arena);
}

static void status_fields(struct buf *out, const struct endpoint_status *status) {
    const Etcdserverpb__StatusResponse *response = status->response;
    struct arena arena;
    arena_init(&arena, 0);
    part_header(out, response->header);
    part_quoted(out, "Version", slice_from_cstr(response->version));
    buf_printf(out, "\"DBSize\" : %lld\n\"Leader\" : %llu\n\"IsLearner\" : %s\n", (long long)response->dbsize,
               (unsigned long long)response->leader, response->islearner ? "true" : "false");
    buf_printf(out, "\"RaftIndex\" : %llu\n\"RaftAppliedIndex\" : %llu\n\"Errors\" : [%s]\n",
               (unsigned long long)response->raftindex, (unsigned long long)response->raftappliedindex,
               joined_errors(response, " ", &arena));
    part_quoted(out, "Endpoint", slice_from_cstr(status->endpoint));
    buf_append_byte(out, '\n');
    arena_release(&arena);
}

/* [{"Endpoint":"...","<name>":{...}}] */
static void json_item(struct buf *out, bool first, const char *endpoint, const char *name, const void *message) {
    buf_append_cstr(out, first ? "{\"Endpoint\":" : ",{\"Endpoint\":");
    go_json_append_string(out, endpoint);
    buf_printf(out, ",\"%s\":", name);
    go_json_append_message(out, message);
    buf_append_byte(out, '}');
}

bool print_endpoint_status(const struct printer *self, const struct endpoint_status *list, size_t count,
                           struct failure *failure) {
    switch (self->format) {
    case OUTPUT_PROTOBUF: return unsupported(failure);
    case OUTPUT_JSON:
        buf_append_byte(self->out, '[');
        for (size_t i = 0; i < count; i++) json_item(self->out, i == 0, list[i].endpoint, "Status", list[i].response);
        buf_append_cstr(self->out, "]\n");
        return true;
    case OUTPUT_FIELDS:
        for (size_t i = 0; i < count; i++) status_fields(self->out, &list[i]);
        return true;
    default: status_rows(self, list, count); return true;
    }
}

/* ---- hash ---- */

static void hash_table(struct buf *out, const struct endpoint_hash *list, size_t count) {
    static const char *const header[2] = {"ENDPOINT", "HASH"};
    struct arena arena;
    arena_init(&arena, 0);
    const char **cells = arena_alloc(&arena, (count + 1) * 2 * sizeof *cells);
    for (size_t i = 0; i < count; i++) {
        cells[2 * i] = list[i].endpoint;
        cells[2 * i + 1] = arena_printf(&arena, "%u", list[i].response->hash);
    }
    table_append(out, header, 2, cells, count);
    arena_release(&arena);
}

bool print_endpoint_hash(const struct printer *self, const struct endpoint_hash *list, size_t count,
                         struct failure *failure) {
    struct buf *out = self->out;
    switch (self->format) {
    case OUTPUT_PROTOBUF: return unsupported(failure);
    case OUTPUT_TABLE: hash_table(out, list, count); return true;
    case OUTPUT_JSON:
        buf_append_byte(out, '[');
        for (size_t i = 0; i < count; i++) json_item(out, i == 0, list[i].endpoint, "HashKV", list[i].response);
        buf_append_cstr(out, "]\n");
        return true;
    case OUTPUT_FIELDS:
        for (size_t i = 0; i < count; i++) {
            part_header(out, list[i].response->header);
            part_quoted(out, "Endpoint", slice_from_cstr(list[i].endpoint));
            buf_printf(out, "\"Hash\" : %u\n\n", list[i].response->hash);
        }
        return true;
    default:
        for (size_t i = 0; i < count; i++) buf_printf(out, "%s, %u\n", list[i].endpoint, list[i].response->hash);
        return true;
    }
}

/* ---- snapshot files ---- */

bool print_snapshot_status(const struct printer *self, const struct snapshot_status *status, struct failure *failure) {
    struct buf *out = self->out;
    long long revision = status->revision, keys = status->total_keys, size = status->total_size_bytes;
    if (self->format == OUTPUT_PROTOBUF) return unsupported(failure);
    if (self->format == OUTPUT_JSON) {
        buf_printf(out, "{\"hash\":%u,\"revision\":%lld,\"totalKey\":%lld,\"totalSize\":%lld}\n", status->hash,
                   revision, keys, size);
        return true;
    }
    if (self->format == OUTPUT_FIELDS) {
        buf_printf(out, "\"Hash\" : %u\n\"Revision\" : %lld\n\"Keys\" : %lld\n\"Size\" : %lld\n", status->hash,
                   revision, keys, size);
        return true;
    }
    struct arena arena;
    arena_init(&arena, 0);
    CLEANUP_BUF struct buf humanized = BUF_INIT;
    go_append_humanized_bytes(&humanized, (uint64_t)size);
    const char *cells[4] = {arena_printf(&arena, "%x", status->hash), arena_printf(&arena, "%lld", revision),
                            arena_printf(&arena, "%lld", keys), buf_cstr(&humanized)};
    static const char *const header[4] = {"HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"};
    if (self->format == OUTPUT_TABLE)
        table_append(out, header, 4, cells, 1);
    else
        buf_printf(out, "%s, %s, %s, %s\n", cells[0], cells[1], cells[2], cells[3]);
    arena_release(&arena);
    return true;
}
