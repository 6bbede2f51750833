/* membership.c - who is in the cluster, as the log tells it: conf changes, attributes, cluster version.
 *
 * A member publishes its name and client URLs through raft until they are applied, and only then serves clients. The
 * leader decides the cluster version: the lowest server version of all members (spec/raft-wire.md 12, 13). Both go as
 * v2 requests, which members of 3.4 know too. */
#include "server/internal.h"

#include "base/gotext.h"
#include "pb/arena_pb.h"
#include "pb/etcdserver.pb-c.h"

#define VERSION_CHECK_INTERVAL_NS (4 * NS_PER_S)

static struct version server_version(void) {
    struct version version = {0};
    CHECK(version_parse(slice_from_cstr(SERVER_VERSION), &version));
    return version;
}

/* ---- conf changes ---- */

static void own_removal(struct server *self) {
    log_warn(self->log, "server error",
             LOG_STRING("error", "the member has been permanently removed from the cluster"));
    log_warn(self->log, "data-dir used by this member must be removed");
    self->state = SERVER_FAILED;
    if (self->hooks.failed != NULL) self->hooks.failed(self->hooks.context, 0);
}

void server__apply_conf_change(struct server *self, const struct raft_entry *entry, bool both) {
    struct raft_conf_change change;
    if (raft_conf_change_decode(entry->data, &change) != OK) {
        server__fail(self, "failed to unmarshal a committed entry", ERR_CORRUPT, "");
        return;
    }
    enum err invalid = cluster_validate_conf_change(self->cluster, &change);
    if (invalid == ERR_CORRUPT) {
        server__fail(self, "got different member ID", ERR_CORRUPT, "");
        return;
    }
    if (invalid != OK) {
        log_error(self->log, "Validation on configuration change failed", LOG_BOOL("shouldApplyV3", both),
                  LOG_ERR(invalid));
        change.node_id = 0;
    }
    struct raft_event event = {.type = RAFT_CONF_CHANGE, .conf_change = &change};
    enum err error = raft_step(self->raft, &event, NULL);
    CHECK(error == OK);
    if (both) self->conf_state_is_dirty = true;
    if (invalid == OK) {
        struct cluster_change what;
        cluster_apply_conf_change(self->cluster, &change, both, &what);
        log_info(self->log, "checking and cleaning up zombie members if needed after confState changed");
        if (both) cluster_sync_backend(self->cluster);
        if (what.kind == CLUSTER_MEMBER_REMOVED && what.id == self->member_id) own_removal(self);
    }
    struct server_request *request = server__take_request(self, change.id);
    if (request != NULL) server__answer(self, request, invalid, 0);
}

/* ---- attributes and version ---- */

static void published(struct server *self) {
    self->publish.is_running = false;
    if (self->is_published) return;
    self->is_published = true;
    struct buf attributes = BUF_INIT, path = BUF_INIT, timeout = BUF_INIT;
    buf_printf(&attributes, "{Name:%s ClientURLs:[", self->config.name);
    for (size_t i = 0; i < self->config.advertise_client_url_count; i++)
        buf_printf(&attributes, "%s%s", i > 0 ? " " : "", self->config.advertise_client_urls[i]);
    buf_append_cstr(&attributes, "]}");
    cluster_append_attributes_path(self->member_id, &path);
    go_append_duration(&timeout, self->request_timeout_ns);
    log_info(self->log, "published local member to cluster through raft",
             LOG_HEX_ID("local-member-id", self->member_id),
             LOG_STRING("local-member-attributes", buf_cstr(&attributes)), LOG_STRING("request-path", buf_cstr(&path)),
             LOG_HEX_ID("cluster-id", self->cluster_id), LOG_STRING("publish-timeout", buf_cstr(&timeout)));
    buf_release(&attributes);
    buf_release(&path);
    buf_release(&timeout);
    if (self->hooks.ready != NULL) self->hooks.ready(self->hooks.context);
}

void server__member_attributes_set(struct server *self, uint64_t id, const char *name, const char *const *urls,
                                   size_t url_count, bool both) {
    cluster_set_attributes(self->cluster, id, name, urls, url_count, both);
}

bool server__is_downgrade(struct server *self, struct version version) {
    struct version own = server_version();
    char text[VERSION_TEXT_BYTES], own_text[VERSION_TEXT_BYTES];
    if (version.major < own.major || (version.major == own.major && version.minor <= own.minor)) return false;
    log_fatal(self->log, "invalid downgrade; server version is lower than determined cluster version",
              LOG_STRING("current-server-version", version_text(own, own_text)),
              LOG_STRING("determined-cluster-version", version_text_minor(version, text)));
    return true;
}

static void version_applied(struct server *self, struct version version) {
    if (server__is_downgrade(self, version)) {
        self->state = SERVER_FAILED;
        if (self->hooks.failed != NULL) self->hooks.failed(self->hooks.context, 1);
        return;
    }
    char text[VERSION_TEXT_BYTES];
    log_info(self->log, "enabled capabilities for version",
             LOG_STRING("cluster-version", version_text_minor(version, text)));
}

void server__cluster_version_set(struct server *self, const char *text, bool both) {
    struct version version;
    if (text == NULL || !version_parse(slice_from_cstr(text), &version)) return;
    cluster_set_version(self->cluster, version, both);
    version_applied(self, version);
}

static void version_confirmed(struct server *self) {
    char text[VERSION_TEXT_BYTES];
    self->version_set.is_running = false;
    log_info(self->log, "cluster version is updated",
             LOG_STRING("cluster-version", version_text_minor(cluster_version(self->cluster), text)));
}

bool server__apply_v2_request(struct server *self, struct slice data, bool both) {
    const Etcdserverpb__Request *request = pb_unpack(&etcdserverpb__request__descriptor, data, &self->apply_arena);
    if (request == NULL || request->method == NULL) return false;
    enum cluster_v2_result result = cluster_apply_v2_request(
        self->cluster, slice_from_cstr(request->method), slice_from_cstr(request->path != NULL ? request->path : ""),
        slice_from_cstr(request->val != NULL ? request->val : ""), both);
    if (result == CLUSTER_V2_VERSION) version_applied(self, cluster_version(self->cluster));
    if (self->state == SERVER_FAILED) return true;
    if (self->publish.is_running && request->id == self->publish.id) published(self);
    if (self->version_set.is_running && request->id == self->version_set.id) version_confirmed(self);
    return true;
}

/* ---- proposing them ---- */

static void propose_put(struct server *self, struct cluster_proposal *proposal, const char *path, const char *value,
                        int64_t now_ns) {
    proposal->is_running = true;
    proposal->id = server_next_id(self);
    proposal->proposed_ns = now_ns;
    char empty[] = "", put[] = "PUT";
    Etcdserverpb__Request request = ETCDSERVERPB__REQUEST__INIT;
    request.has_id = 1;
    request.id = proposal->id;
    request.method = put;
    request.path = (char *)(uintptr_t)path;
    request.val = (char *)(uintptr_t)value;
    request.prevvalue = empty;
    request.has_dir = request.has_previndex = request.has_expiration = request.has_wait = request.has_since =
        request.has_recursive = request.has_sorted = request.has_quorum = request.has_time = request.has_stream = 1;
    struct buf encoded = BUF_INIT;
    pb_pack(&request, &encoded);
    server__propose_data(self, RAFT_ENTRY_NORMAL, shared_copy(buf_slice(&encoded)));
    buf_release(&encoded);
}

static void publish(struct server *self, int64_t now_ns) {
    struct buf path = BUF_INIT, value = BUF_INIT;
    cluster_append_attributes_path(self->member_id, &path);
    member_append_attributes_json(self->config.name, self->config.advertise_client_urls,
                                  self->config.advertise_client_url_count, &value);
    propose_put(self, &self->publish, buf_cstr(&path), buf_cstr(&value), now_ns);
    buf_release(&path);
    buf_release(&value);
}

/* Of one voter the decision is its own version; more members are asked over the peer protocol. */
static void decide_version(struct server *self, int64_t now_ns) {
    self->next_version_check_ns = now_ns + VERSION_CHECK_INTERVAL_NS;
    if (self->role != RAFT_LEADER || self->version_set.is_running || cluster_member_count(self->cluster) != 1) return;
    struct version decided = server_version(), current = cluster_version(self->cluster);
    decided.patch = 0;
    if (!version_is_none(current) && version_compare(decided, current) <= 0) return;
    char text[VERSION_TEXT_BYTES], minor[VERSION_TEXT_BYTES], from[VERSION_TEXT_BYTES];
    if (version_is_none(current))
        log_info(self->log, "setting up initial cluster version using v2 API",
                 LOG_STRING("cluster-version", version_text_minor(decided, minor)));
    else
        log_info(self->log, "updating cluster version using v2 API",
                 LOG_STRING("from", version_text_minor(current, from)),
                 LOG_STRING("to", version_text_minor(decided, minor)));
    propose_put(self, &self->version_set, CLUSTER_V2_VERSION_PATH, version_text(decided, text), now_ns);
}

void server__first_commit_in_term(struct server *self) {
    if (self->role != RAFT_LEADER) return;
    int64_t now_ns = env_now_ns(self->env);
    lessor_promote(self->lessor, now_ns, self->config.tick_ns * self->config.election_ticks);
    self->next_version_check_ns = now_ns;
    server__want_turn(self);
}

void server__membership_tick(struct server *self, int64_t now_ns) {
    if (self->lead != 0 && !self->is_published &&
        (!self->publish.is_running || now_ns - self->publish.proposed_ns >= self->request_timeout_ns))
        publish(self, now_ns);
    if (self->version_set.is_running && now_ns - self->version_set.proposed_ns >= self->request_timeout_ns)
        self->version_set.is_running = false;
    if (now_ns >= self->next_version_check_ns) decide_version(self, now_ns);
}

const char *server_cluster_version(const struct server *self) {
    struct version version = cluster_version(self->cluster);
    return version_is_none(version) ? "" : version_text(version, ((struct server *)(uintptr_t)self)->version_text);
}
