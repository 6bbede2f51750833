/* v2.c - the members as the old v2 store's JSON, the data of a .snap file (spec snap 4).
 *
 *   /0                                  directory, made with the store
 *   /0/members/ID/raftAttributes        {"peerURLs":[..],"isLearner":true}
 *   /0/members/ID/attributes            {"name":"..","clientURLs":[..]}, once published
 *   /0/removed_members/ID               empty
 *   /0/version                          3.5.0
 *   /1                                  directory, made with the store
 *
 * A node: {"Path","CreatedIndex","ModifiedIndex","ExpireTime","Value","Children"}; Children is null for a file. The
 * indexes are the v2 store's own clock; no member compares them, but we keep them as a Go member would. WatcherHub and
 * Stats are left out: a reader keeps its empty ones.
 */
#include "base/mem.h"
#include "cluster/internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- writing ---- */

/* Everything before the value of Children. */
static void begin_node(const char *path, uint64_t created, uint64_t modified, const char *value, struct buf *out) {
    buf_append_cstr(out, "{\"Path\":");
    cluster__append_json_string(path, out);
    buf_printf(out,
               ",\"CreatedIndex\":%" PRIu64 ",\"ModifiedIndex\":%" PRIu64
               ",\"ExpireTime\":\"0001-01-01T00:00:00Z\",\"Value\":",
               created, modified);
    cluster__append_json_string(value, out);
    buf_append_cstr(out, ",\"Children\":");
}

static void append_file(const char *path, uint64_t created, uint64_t modified, const char *value, struct buf *out) {
    begin_node(path, created, modified, value, out);
    buf_append_cstr(out, "null}");
}

static void append_member(const struct member *member, struct buf *out) {
    struct buf path CLEANUP_BUF = BUF_INIT;
    struct buf value CLEANUP_BUF = BUF_INIT;
    buf_printf(&path, "/0/members/%" PRIx64, member->id);
    size_t directory_length = path.len;
    begin_node(buf_cstr(&path), member->v2.directory_created, member->v2.directory_created, "", out);
    buf_append_byte(out, '{');
    if (member->v2.attributes_created != 0) {
        buf_append_cstr(&path, "/attributes");
        member_append_attributes_json(member->name, (const char *const *)member->client_urls.items,
                                      member->client_urls.count, &value);
        buf_append_cstr(out, "\"attributes\":");
        append_file(buf_cstr(&path), member->v2.attributes_created, member->v2.attributes_modified, buf_cstr(&value),
                    out);
        buf_append_byte(out, ',');
    }
    path.len = directory_length;
    buf_append_cstr(&path, "/raftAttributes");
    buf_clear(&value);
    buf_append_byte(&value, '{');
    cluster__append_raft_attributes(member, &value);
    buf_append_byte(&value, '}');
    buf_append_cstr(out, "\"raftAttributes\":");
    append_file(buf_cstr(&path), member->v2.raft_created, member->v2.raft_modified, buf_cstr(&value), out);
    buf_append_cstr(out, "}}");
}

static int by_hex_name(const void *a, const void *b) {
    char left[17];
    char right[17];
    snprintf(left, sizeof left, "%" PRIx64, *(const uint64_t *)a);
    snprintf(right, sizeof right, "%" PRIx64, *(const uint64_t *)b);
    return strcmp(left, right);
}

/* Children are ordered by name, and names are hex without padding: not the order of the numbers. */
static uint64_t *sorted_ids(const void *first, size_t stride, size_t count) {
    uint64_t *ids = NEW_ARRAY(uint64_t, count + 1);
    for (size_t i = 0; i < count; i++) ids[i] = *(const uint64_t *)((const char *)first + i * stride);
    qsort(ids, count, sizeof *ids, by_hex_name);
    return ids;
}

static void append_members(const struct cluster *self, struct buf *out) {
    begin_node("/0/members", self->v2_members_created, self->v2_members_created, "", out);
    buf_append_byte(out, '{');
    uint64_t *ids = self->members.count == 0
                        ? NULL
                        : sorted_ids(&self->members.items[0].id, sizeof *self->members.items, self->members.count);
    for (size_t i = 0; i < self->members.count; i++) {
        buf_printf(out, "%s\"%" PRIx64 "\":", i == 0 ? "" : ",", ids[i]);
        append_member(cluster__find(self, ids[i]), out);
    }
    mem_free(ids);
    buf_append_cstr(out, "}}");
}

static uint64_t removed_created(const struct cluster *self, uint64_t id) {
    for (size_t i = 0; i < self->removed.count; i++)
        if (self->removed.items[i].id == id) return self->removed.items[i].v2_created;
    return 0;
}

static void append_removed(const struct cluster *self, struct buf *out) {
    begin_node("/0/removed_members", self->v2_removed_created, self->v2_removed_created, "", out);
    buf_append_byte(out, '{');
    uint64_t *ids = sorted_ids(&self->removed.items[0].id, sizeof *self->removed.items, self->removed.count);
    for (size_t i = 0; i < self->removed.count; i++) {
        char path[64];
        snprintf(path, sizeof path, "/0/removed_members/%" PRIx64, ids[i]);
        buf_printf(out, "%s\"%" PRIx64 "\":", i == 0 ? "" : ",", ids[i]);
        uint64_t created = removed_created(self, ids[i]);
        append_file(path, created, created, "", out);
    }
    mem_free(ids);
    buf_append_cstr(out, "}}");
}

void cluster_append_v2_json(const struct cluster *self, struct buf *out) {
    buf_append_cstr(out, "{\"Root\":");
    begin_node("/", 0, 0, "", out);
    buf_append_cstr(out, "{\"0\":");
    begin_node("/0", 0, 0, "", out);
    buf_append_byte(out, '{');
    const char *separator = "";
    if (self->v2_members_created != 0) {
        buf_append_cstr(out, "\"members\":");
        append_members(self, out);
        separator = ",";
    }
    if (self->removed.count > 0) {
        buf_printf(out, "%s\"removed_members\":", separator);
        append_removed(self, out);
        separator = ",";
    }
    if (!version_is_none(self->version)) {
        char text[VERSION_TEXT_BYTES];
        buf_printf(out, "%s\"version\":", separator);
        append_file(CLUSTER_V2_VERSION_PATH, self->v2_version_created, self->v2_version_created,
                    version_text(self->version, text), out);
    }
    buf_append_cstr(out, "}},\"1\":");
    begin_node("/1", 0, 0, "", out);
    buf_printf(out, "{}}}},\"CurrentIndex\":%" PRIu64 ",\"CurrentVersion\":2}", self->v2_index);
}

/* ---- reading ---- */

/* Indexes may be missing; never 0 for what is there, since 0 means that it is not. */
static uint64_t index_of(const json_t *node, const char *key) {
    uint64_t index;
    return cluster__json_u64(node, key, &index) && index != 0 ? index : 1;
}

static const json_t *child(const json_t *node, const char *name) {
    return json_object_get(json_object_get(node, "Children"), name);
}

static bool parse_hex_id(const char *text, uint64_t *ret_id) {
    size_t length = strlen(text);
    if (length == 0 || length > 16 || strspn(text, "0123456789abcdefABCDEF") != length) return false;
    *ret_id = strtoull(text, NULL, 16);
    return true;
}

static enum err read_raft_attributes(const json_t *node, struct member *member, struct errmsg *message) {
    const char *value = json_string_value(json_object_get(node, "Value"));
    if (value == NULL) return err_set(message, ERR_CORRUPT, "member %" PRIx64 " has no raftAttributes", member->id);
    json_t *object = cluster__json_parse(slice_from_cstr(value), message);
    if (object == NULL) return ERR_CORRUPT;
    bool is_good =
        json_is_object(object) && cluster__json_strings(object, "peerURLs", &member->peer_urls, &member->has_peer_urls);
    member->is_learner = json_is_true(json_object_get(object, "isLearner"));
    json_decref(object);
    if (!is_good) return err_set(message, ERR_CORRUPT, "bad raftAttributes of member %" PRIx64, member->id);
    member->v2.raft_created = index_of(node, "CreatedIndex");
    member->v2.raft_modified = index_of(node, "ModifiedIndex");
    return OK;
}

static enum err read_attributes(const json_t *node, struct member *member, struct errmsg *message) {
    const char *value = json_string_value(json_object_get(node, "Value"));
    if (value == NULL) return err_set(message, ERR_CORRUPT, "bad attributes of member %" PRIx64, member->id);
    json_t *object = cluster__json_parse(slice_from_cstr(value), message);
    if (object == NULL) return ERR_CORRUPT;
    const char *name;
    bool has_urls;
    bool is_good = json_is_object(object) && cluster__json_string(object, "name", &name) &&
                   cluster__json_strings(object, "clientURLs", &member->client_urls, &has_urls);
    if (is_good) {
        mem_free(member->name);
        member->name = mem_strdup(name);
    }
    json_decref(object);
    if (!is_good) return err_set(message, ERR_CORRUPT, "bad attributes of member %" PRIx64, member->id);
    member->v2.attributes_created = index_of(node, "CreatedIndex");
    member->v2.attributes_modified = index_of(node, "ModifiedIndex");
    return OK;
}

static enum err read_member(struct cluster *self, uint64_t id, const json_t *node, struct errmsg *message) {
    struct member member = {.id = id, .name = mem_strdup("")};
    member.v2.directory_created = index_of(node, "CreatedIndex");
    enum err error = read_raft_attributes(child(node, "raftAttributes"), &member, message);
    const json_t *attributes = child(node, "attributes");
    if (error == OK && attributes != NULL) error = read_attributes(attributes, &member, message);
    if (error != OK)
        member_release(&member);
    else
        cluster__insert(self, member);
    return error;
}

static enum err read_members(struct cluster *self, json_t *directory, struct errmsg *message) {
    if (directory == NULL) return OK;
    self->v2_members_created = index_of(directory, "CreatedIndex");
    const char *name;
    json_t *node;
    json_object_foreach(json_object_get(directory, "Children"), name, node) {
        uint64_t id;
        if (!parse_hex_id(name, &id) || cluster__find(self, id) != NULL)
            return err_set(message, ERR_CORRUPT, "bad member id %.32s", name);
        TRY(read_member(self, id, node, message));
    }
    return OK;
}

static enum err read_removed(struct cluster *self, json_t *directory, struct errmsg *message) {
    if (directory == NULL) return OK;
    self->v2_removed_created = index_of(directory, "CreatedIndex");
    const char *name;
    json_t *node;
    json_object_foreach(json_object_get(directory, "Children"), name, node) {
        uint64_t id;
        if (!parse_hex_id(name, &id)) return err_set(message, ERR_CORRUPT, "bad removed member id %.32s", name);
        cluster__insert_removed(self, id, index_of(node, "CreatedIndex"));
    }
    return OK;
}

static enum err read_version(struct cluster *self, const json_t *node, struct errmsg *message) {
    if (node == NULL) return OK;
    const char *text = json_string_value(json_object_get(node, "Value"));
    if (text == NULL || !version_parse(slice_from_cstr(text), &self->version))
        return err_set(message, ERR_CORRUPT, "bad cluster version");
    self->v2_version_created = index_of(node, "CreatedIndex");
    return OK;
}

static enum err read_store(struct cluster *self, json_t *store, struct errmsg *message) {
    json_t *root = json_object_get(store, "Root");
    if (!json_is_object(root)) return err_set(message, ERR_CORRUPT, "no v2 store: there is no Root");
    const json_t *zero = child(root, "0");
    TRY(read_members(self, json_object_get(json_object_get(zero, "Children"), "members"), message));
    TRY(read_removed(self, json_object_get(json_object_get(zero, "Children"), "removed_members"), message));
    TRY(read_version(self, child(zero, "version"), message));
    if (!cluster__json_u64(store, "CurrentIndex", &self->v2_index)) self->v2_index = 1;
    return OK;
}

enum err cluster__read_v2(struct cluster *self, struct slice json, struct errmsg *message) {
    json_t *store = cluster__json_parse(json, message);
    if (store == NULL) return ERR_CORRUPT;
    enum err error = read_store(self, store, message);
    json_decref(store);
    return error;
}
