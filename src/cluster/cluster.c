#include "base/check.h"
#include "base/mem.h"
#include "cluster/internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* A second learner is refused (3.5 has no flag for it). */
#define MAX_LEARNERS 1

#define ID_TEXT_BYTES 17

static struct slice id_text(uint64_t id, char text[ID_TEXT_BYTES]) {
    int length = snprintf(text, ID_TEXT_BYTES, "%" PRIx64, id);
    return slice_make(text, (size_t)length);
}

struct cluster *cluster_new(uint64_t id, uint64_t own_id, struct log *log) {
    struct cluster *self = NEW(struct cluster);
    self->id = id;
    self->own_id = own_id;
    self->log = log;
    return self;
}

void cluster__clear(struct cluster *self) {
    for (size_t i = 0; i < self->members.count; i++) member_release(&self->members.items[i]);
    self->members.count = 0;
    self->removed.count = 0;
    self->version = (struct version){0};
    self->downgrade = (struct downgrade_info){0};
    self->v2_index = self->v2_members_created = self->v2_removed_created = self->v2_version_created = 0;
}

void cluster_free(struct cluster *self) {
    if (self == NULL) return;
    cluster__clear(self);
    VEC_RELEASE(&self->members);
    VEC_RELEASE(&self->removed);
    mem_free(self);
}

void cluster_set_backend(struct cluster *self, struct backend *backend) {
    self->backend = backend;
    backend_create_bucket(backend, BACKEND_CLUSTER);
    backend_create_bucket(backend, BACKEND_MEMBERS);
    backend_create_bucket(backend, BACKEND_MEMBERS_REMOVED);
}

/* ---- looking ---- */

uint64_t cluster_id(const struct cluster *self) { return self->id; }
uint64_t cluster_own_id(const struct cluster *self) { return self->own_id; }
size_t cluster_member_count(const struct cluster *self) { return self->members.count; }
struct version cluster_version(const struct cluster *self) {
    return self->version;
}
struct downgrade_info cluster_downgrade(const struct cluster *self) {
    return self->downgrade;
}

const struct member *cluster_member_at(const struct cluster *self, size_t index) {
    CHECK(index < self->members.count);
    return &self->members.items[index];
}

static size_t place_of(const struct cluster *self, uint64_t id) {
    size_t at = 0;
    while (at < self->members.count && self->members.items[at].id < id) at++;
    return at;
}

struct member *cluster__find(const struct cluster *self, uint64_t id) {
    size_t at = place_of(self, id);
    return at < self->members.count && self->members.items[at].id == id ? &self->members.items[at] : NULL;
}

const struct member *cluster_member(const struct cluster *self, uint64_t id) { return cluster__find(self, id); }

bool cluster_is_removed(const struct cluster *self, uint64_t id) {
    for (size_t i = 0; i < self->removed.count; i++)
        if (self->removed.items[i].id == id) return true;
    return false;
}

size_t cluster_voter_count(const struct cluster *self) {
    size_t count = 0;
    for (size_t i = 0; i < self->members.count; i++) count += !self->members.items[i].is_learner;
    return count;
}

size_t cluster_started_voter_count(const struct cluster *self) {
    size_t count = 0;
    for (size_t i = 0; i < self->members.count; i++)
        count += !self->members.items[i].is_learner && self->members.items[i].name[0] != 0;
    return count;
}

bool cluster_is_learner(const struct cluster *self, uint64_t id) {
    const struct member *member = cluster__find(self, id);
    return member != NULL && member->is_learner;
}

void cluster_append_members_json(const struct cluster *self, struct buf *out) {
    buf_append_byte(out, '[');
    for (size_t i = 0; i < self->members.count; i++) {
        if (i > 0) buf_append_byte(out, ',');
        member_append_json(&self->members.items[i], false, out);
    }
    buf_append_byte(out, ']');
}

/* ---- changing memory ---- */

void cluster__insert(struct cluster *self, struct member member) {
    size_t at = place_of(self, member.id);
    VEC_RESERVE(&self->members, 1);
    memmove(self->members.items + at + 1, self->members.items + at,
            (self->members.count - at) * sizeof *self->members.items);
    self->members.items[at] = member;
    self->members.count++;
}

void cluster__insert_removed(struct cluster *self, uint64_t id, uint64_t v2_created) {
    if (cluster_is_removed(self, id)) return;
    size_t at = 0;
    while (at < self->removed.count && self->removed.items[at].id < id) at++;
    VEC_RESERVE(&self->removed, 1);
    memmove(self->removed.items + at + 1, self->removed.items + at,
            (self->removed.count - at) * sizeof *self->removed.items);
    self->removed.items[at] = (struct cluster__removed){id, v2_created};
    self->removed.count++;
}

/* ---- the backend ---- */

static void persist_member(struct cluster *self, const struct member *member) {
    char text[ID_TEXT_BYTES];
    struct buf json CLEANUP_BUF = BUF_INIT;
    member_append_json(member, false, &json);
    backend_put(self->backend, BACKEND_MEMBERS, id_text(member->id, text), buf_slice(&json));
}

static void persist_removal(struct cluster *self, uint64_t id) {
    char text[ID_TEXT_BYTES];
    struct slice key = id_text(id, text);
    backend_put(self->backend, BACKEND_MEMBERS_REMOVED, key, SLICE_LITERAL("removed"));
    backend_delete(self->backend, BACKEND_MEMBERS, key);
}

static enum err load_members(struct cluster *self, const struct backend_view *view, struct errmsg *message) {
    struct backend_cursor cursor;
    backend_cursor_init(&cursor, view, BACKEND_MEMBERS);
    struct slice key;
    struct slice value;
    while (backend_cursor_next(&cursor, &key, &value)) {
        struct member member;
        bool is_promote;
        TRY(member_parse_json(value, &member, &is_promote, message));
        char text[ID_TEXT_BYTES];
        if (!slice_equal(key, id_text(member.id, text)) || cluster__find(self, member.id) != NULL) {
            member_release(&member);
            return err_set(message, ERR_CORRUPT, "bucket members: key %.*s holds another member", (int)key.len,
                           (const char *)key.data);
        }
        uint64_t index = ++self->v2_index;
        if (self->v2_members_created == 0) self->v2_members_created = index;
        member.v2.directory_created = member.v2.raft_created = member.v2.raft_modified = index;
        if (member.name[0] != 0 || member.client_urls.count > 0)
            member.v2.attributes_created = member.v2.attributes_modified = ++self->v2_index;
        cluster__insert(self, member);
    }
    return cursor.error;
}

static enum err load_removed(struct cluster *self, const struct backend_view *view, struct errmsg *message) {
    struct backend_cursor cursor;
    backend_cursor_init(&cursor, view, BACKEND_MEMBERS_REMOVED);
    struct slice key;
    struct slice value;
    while (backend_cursor_next(&cursor, &key, &value)) {
        char text[ID_TEXT_BYTES] = {0};
        char *end = text;
        if (key.len > 0 && key.len < sizeof text) memcpy(text, key.data, key.len);
        uint64_t id = strtoull(text, &end, 16);
        if (end == text || *end != 0) return err_set(message, ERR_CORRUPT, "bucket members_removed: bad key");
        uint64_t index = ++self->v2_index;
        if (self->v2_removed_created == 0) self->v2_removed_created = index;
        cluster__insert_removed(self, id, index);
    }
    return cursor.error;
}

static enum err load_downgrade(struct cluster *self, struct backend *backend, struct errmsg *message) {
    struct slice value;
    TRY(backend_get(backend, BACKEND_CLUSTER, SLICE_LITERAL("downgrade"), &value));
    if (value.data == NULL) return OK;
    json_t *object = cluster__json_parse(value, message);
    if (object == NULL) return ERR_CORRUPT;
    const char *target;
    struct downgrade_info info = {.enabled = json_is_true(json_object_get(object, "enabled"))};
    bool is_good = json_is_object(object) && cluster__json_string(object, "target-version", &target) &&
                   (!info.enabled || version_parse(slice_from_cstr(target), &info.target));
    json_decref(object);
    if (!is_good) return err_set(message, ERR_CORRUPT, "bucket cluster: bad downgrade record");
    self->downgrade = info;
    return OK;
}

static enum err load_version(struct cluster *self, struct backend *backend, struct errmsg *message) {
    struct slice value;
    TRY(backend_get(backend, BACKEND_CLUSTER, SLICE_LITERAL("clusterVersion"), &value));
    if (value.data == NULL) return OK;
    if (!version_parse(value, &self->version))
        return err_set(message, ERR_CORRUPT, "bucket cluster: bad version %.*s", (int)value.len,
                       (const char *)value.data);
    self->v2_version_created = ++self->v2_index;
    return OK;
}

static void log_recovered(struct cluster *self) {
    for (size_t i = 0; i < self->members.count; i++) {
        const struct member *member = &self->members.items[i];
        log_info(self->log, "recovered/added member from store", LOG_HEX_ID("cluster-id", self->id),
                 LOG_HEX_ID("local-member-id", self->own_id), LOG_HEX_ID("recovered-remote-peer-id", member->id),
                 LOG_STRINGS("recovered-remote-peer-urls", (const char *const *)member->peer_urls.items,
                             member->peer_urls.count));
    }
    char text[VERSION_TEXT_BYTES];
    if (!version_is_none(self->version))
        log_info(self->log, "set cluster version from store",
                 LOG_STRING("cluster-version", version_text_minor(self->version, text)));
}

enum err cluster_recover_v2(struct cluster *self, struct slice json, struct errmsg *message) {
    cluster__clear(self);
    if (json.len > 0) TRY(cluster__read_v2(self, json, message));
    if (self->backend != NULL) TRY(load_downgrade(self, self->backend, message));
    log_recovered(self);
    return OK;
}

enum err cluster_recover_backend(struct cluster *self, struct backend *backend, struct errmsg *message) {
    cluster__clear(self);
    struct backend_view *view = backend_view(backend, BACKEND_VIEW_ALL);
    enum err error = load_members(self, view, message);
    if (error == OK) error = load_removed(self, view, message);
    backend_view_unref(view);
    TRY(error);
    TRY(load_version(self, backend, message));
    TRY(load_downgrade(self, backend, message));
    log_recovered(self);
    return OK;
}

void cluster_sync_backend(struct cluster *self) {
    CHECK(self->backend != NULL);
    struct backend_view *view = backend_view(self->backend, BACKEND_VIEW_ALL);
    struct backend_cursor cursor;
    backend_cursor_init(&cursor, view, BACKEND_MEMBERS);
    struct slice key;
    struct slice value;
    while (backend_cursor_next(&cursor, &key, &value)) {
        struct member member;
        bool is_promote;
        if (member_parse_json(value, &member, &is_promote, NULL) != OK) continue;
        const struct member *own = cluster__find(self, member.id);
        if (own == NULL) {
            log_warn(self->log, "Removing zombie member from v3store", LOG_SLICE("member", value));
            backend_delete(self->backend, BACKEND_MEMBERS, key);
        } else if (own->is_learner != member.is_learner) {
            log_warn(self->log, "Syncing member in v3store", LOG_SLICE("member", value));
            persist_member(self, own);
        }
        member_release(&member);
    }
    backend_view_unref(view);
}

/* ---- conf changes ---- */

static bool url_is_used(const struct cluster *self, const struct member_urls *urls, uint64_t but_by) {
    for (size_t i = 0; i < self->members.count; i++) {
        const struct member *member = &self->members.items[i];
        if (member->id == but_by) continue;
        for (size_t j = 0; j < member->peer_urls.count; j++)
            for (size_t k = 0; k < urls->count; k++)
                if (strcmp(member->peer_urls.items[j], urls->items[k]) == 0) return true;
    }
    return false;
}

static enum err validate_add(const struct cluster *self, const struct raft_conf_change *change,
                             const struct member *member, bool is_promote) {
    const struct member *known = cluster__find(self, change->node_id);
    if (is_promote) {
        if (known == NULL) return ERR_MEMBER_NOT_FOUND;
        return known->is_learner ? OK : ERR_MEMBER_NOT_LEARNER;
    }
    if (known != NULL) return ERR_MEMBER_EXISTS;
    if (url_is_used(self, &member->peer_urls, 0)) return ERR_PEER_URL_EXISTS;
    size_t learners = self->members.count - cluster_voter_count(self);
    if (change->type == RAFT_ADD_LEARNER_NODE && member->is_learner && learners + 1 > MAX_LEARNERS)
        return ERR_TOO_MANY_LEARNERS;
    return OK;
}

static enum err parse_context(const struct raft_conf_change *change, struct member *ret_member, bool *ret_is_promote) {
    TRY(member_parse_json(change->context, ret_member, ret_is_promote, NULL));
    if (ret_member->id == change->node_id) return OK;
    member_release(ret_member);
    return ERR_CORRUPT;
}

enum err cluster_validate_conf_change(const struct cluster *self, const struct raft_conf_change *change) {
    if (cluster_is_removed(self, change->node_id)) return ERR_MEMBER_NOT_FOUND;
    if (change->type == RAFT_REMOVE_NODE)
        return cluster__find(self, change->node_id) == NULL ? ERR_MEMBER_NOT_FOUND : OK;
    struct member member;
    bool is_promote;
    TRY(parse_context(change, &member, &is_promote));
    enum err error;
    switch (change->type) {
    case RAFT_ADD_NODE:
    case RAFT_ADD_LEARNER_NODE: error = validate_add(self, change, &member, is_promote); break;
    case RAFT_UPDATE_NODE:
        if (cluster__find(self, change->node_id) == NULL)
            error = ERR_MEMBER_NOT_FOUND;
        else
            error = url_is_used(self, &member.peer_urls, change->node_id) ? ERR_PEER_URL_EXISTS : OK;
        break;
    default: error = ERR_CORRUPT;
    }
    member_release(&member);
    return error;
}

static void add_member(struct cluster *self, struct member member, bool persist) {
    uint64_t index = ++self->v2_index;
    if (self->v2_members_created == 0) self->v2_members_created = index;
    member.v2.directory_created = member.v2.raft_created = member.v2.raft_modified = index;
    if (persist) persist_member(self, &member);
    log_info(self->log, "added member", LOG_HEX_ID("cluster-id", self->id), LOG_HEX_ID("local-member-id", self->own_id),
             LOG_HEX_ID("added-peer-id", member.id),
             LOG_STRINGS("added-peer-peer-urls", (const char *const *)member.peer_urls.items, member.peer_urls.count),
             LOG_BOOL("added-peer-is-learner", member.is_learner));
    cluster__insert(self, member);
}

static void promote_member(struct cluster *self, uint64_t id, bool persist) {
    struct member *member = cluster__find(self, id);
    member->is_learner = false;
    member->v2.raft_modified = ++self->v2_index;
    if (persist) persist_member(self, member);
    log_info(self->log, "promote member", LOG_HEX_ID("cluster-id", self->id),
             LOG_HEX_ID("local-member-id", self->own_id), LOG_HEX_ID("promoted-member-id", id));
}

static void update_member(struct cluster *self, struct member *from, bool persist) {
    struct member *member = cluster__find(self, from->id);
    cluster__urls_release(&member->peer_urls);
    member->peer_urls = from->peer_urls;
    member->has_peer_urls = from->has_peer_urls;
    member->is_learner = from->is_learner;
    from->peer_urls = (struct member_urls){0};
    member->v2.raft_modified = ++self->v2_index;
    if (persist) persist_member(self, member);
    log_info(
        self->log, "updated member", LOG_HEX_ID("cluster-id", self->id), LOG_HEX_ID("local-member-id", self->own_id),
        LOG_HEX_ID("updated-remote-peer-id", member->id),
        LOG_STRINGS("updated-remote-peer-urls", (const char *const *)member->peer_urls.items, member->peer_urls.count));
}

static void remove_member(struct cluster *self, uint64_t id, bool persist) {
    size_t at = place_of(self, id);
    struct member member = self->members.items[at];
    self->members.count--;
    memmove(self->members.items + at, self->members.items + at + 1,
            (self->members.count - at) * sizeof *self->members.items);
    self->v2_index++; /* the deletion */
    uint64_t index = ++self->v2_index;
    if (self->v2_removed_created == 0) self->v2_removed_created = index;
    cluster__insert_removed(self, id, index);
    if (persist) persist_removal(self, id);
    log_info(
        self->log, "removed member", LOG_HEX_ID("cluster-id", self->id), LOG_HEX_ID("local-member-id", self->own_id),
        LOG_HEX_ID("removed-remote-peer-id", id),
        LOG_STRINGS("removed-remote-peer-urls", (const char *const *)member.peer_urls.items, member.peer_urls.count),
        LOG_BOOL("removed-remote-peer-is-learner", member.is_learner));
    member_release(&member);
}

void cluster_apply_conf_change(struct cluster *self, const struct raft_conf_change *change, bool persist,
                               struct cluster_change *ret_change) {
    CHECK(cluster_validate_conf_change(self, change) == OK);
    ret_change->id = change->node_id;
    if (change->type == RAFT_REMOVE_NODE) {
        remove_member(self, change->node_id, persist);
        ret_change->kind = CLUSTER_MEMBER_REMOVED;
        return;
    }
    struct member member;
    bool is_promote;
    CHECK(parse_context(change, &member, &is_promote) == OK);
    if (change->type == RAFT_UPDATE_NODE) {
        update_member(self, &member, persist);
        member_release(&member);
        ret_change->kind = CLUSTER_MEMBER_UPDATED;
    } else if (is_promote) {
        promote_member(self, member.id, persist);
        member_release(&member);
        ret_change->kind = CLUSTER_MEMBER_PROMOTED;
    } else {
        add_member(self, member, persist);
        ret_change->kind = CLUSTER_MEMBER_ADDED;
    }
}

/* ---- attributes and versions ---- */

void cluster_set_attributes(struct cluster *self, uint64_t id, const char *name, const char *const *client_urls,
                            size_t count, bool persist) {
    struct member *member = cluster__find(self, id);
    if (member == NULL) {
        log_warn(self->log, "skipped attributes update of removed member", LOG_HEX_ID("cluster-id", self->id),
                 LOG_HEX_ID("local-member-id", self->own_id), LOG_HEX_ID("updated-peer-id", id));
        return;
    }
    struct member_urls urls = cluster__urls_copy(client_urls, count);
    char *copied_name = mem_strdup(name);
    cluster__urls_release(&member->client_urls);
    mem_free(member->name);
    member->client_urls = urls;
    member->name = copied_name;
    member->v2.attributes_created = member->v2.attributes_modified = ++self->v2_index;
    if (!persist) return;
    persist_member(self, member);
    if (id != self->own_id) return;
    log_info(self->log, "checking and cleaning up zombie members after attribute update");
    cluster_sync_backend(self);
}

void cluster_set_version(struct cluster *self, struct version version, bool persist) {
    char text[VERSION_TEXT_BYTES];
    char old_text[VERSION_TEXT_BYTES];
    if (version_is_none(self->version))
        log_info(self->log, "set initial cluster version", LOG_HEX_ID("cluster-id", self->id),
                 LOG_HEX_ID("local-member-id", self->own_id),
                 LOG_STRING("cluster-version", version_text_minor(version, text)));
    else
        log_info(self->log, "updated cluster version", LOG_HEX_ID("cluster-id", self->id),
                 LOG_HEX_ID("local-member-id", self->own_id),
                 LOG_STRING("from", version_text_minor(self->version, old_text)),
                 LOG_STRING("to", version_text_minor(version, text)));
    self->version = version;
    self->v2_version_created = ++self->v2_index;
    if (!persist) return;
    version_text(version, text);
    backend_put(self->backend, BACKEND_CLUSTER, SLICE_LITERAL("clusterVersion"), slice_from_cstr(text));
}

void cluster_set_downgrade(struct cluster *self, struct downgrade_info info, bool persist) {
    self->downgrade = info.enabled ? info : (struct downgrade_info){0};
    if (!persist) return;
    char text[VERSION_TEXT_BYTES];
    struct buf json CLEANUP_BUF = BUF_INIT;
    buf_printf(&json, "{\"target-version\":\"%s\",\"enabled\":%s}", info.enabled ? version_text(info.target, text) : "",
               info.enabled ? "true" : "false");
    backend_put(self->backend, BACKEND_CLUSTER, SLICE_LITERAL("downgrade"), buf_slice(&json));
}

/* ---- the v2 forms ---- */

#define MEMBERS_PREFIX "/0/members/"
#define ATTRIBUTES_SUFFIX "/attributes"

void cluster_append_attributes_path(uint64_t id, struct buf *out) {
    buf_printf(out, MEMBERS_PREFIX "%" PRIx64 ATTRIBUTES_SUFFIX, id);
}

static bool parse_attributes_path(struct slice path, uint64_t *ret_id) {
    struct slice prefix = SLICE_LITERAL(MEMBERS_PREFIX);
    struct slice suffix = SLICE_LITERAL(ATTRIBUTES_SUFFIX);
    if (!slice_starts_with(path, prefix) || path.len <= prefix.len + suffix.len) return false;
    if (!slice_equal(slice_from(path, path.len - suffix.len), suffix)) return false;
    size_t length = path.len - prefix.len - suffix.len;
    char text[ID_TEXT_BYTES] = {0};
    if (length >= sizeof text) return false;
    memcpy(text, path.data + prefix.len, length);
    if (strspn(text, "0123456789abcdef") != length) return false;
    *ret_id = strtoull(text, NULL, 16);
    return true;
}

static bool apply_published(struct cluster *self, uint64_t id, struct slice value, bool persist) {
    json_t *object = cluster__json_parse(value, NULL);
    if (object == NULL) return false;
    const char *name;
    struct member_urls urls = {0};
    bool is_there;
    bool is_good = json_is_object(object) && cluster__json_string(object, "name", &name) &&
                   cluster__json_strings(object, "clientURLs", &urls, &is_there);
    if (is_good) cluster_set_attributes(self, id, name, (const char *const *)urls.items, urls.count, persist);
    cluster__urls_release(&urls);
    json_decref(object);
    return is_good;
}

enum cluster_v2_result cluster_apply_v2_request(struct cluster *self, struct slice method, struct slice path,
                                                struct slice value, bool persist) {
    if (!slice_equal_cstr(method, "PUT")) return CLUSTER_V2_IGNORED;
    uint64_t id;
    struct version version;
    if (parse_attributes_path(path, &id))
        return apply_published(self, id, value, persist) ? CLUSTER_V2_ATTRIBUTES : CLUSTER_V2_IGNORED;
    if (!slice_equal_cstr(path, CLUSTER_V2_VERSION_PATH) || !version_parse(value, &version)) return CLUSTER_V2_IGNORED;
    cluster_set_version(self, version, persist);
    return CLUSTER_V2_VERSION;
}
