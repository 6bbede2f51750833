#include "raft/core.h"

#include <inttypes.h>

bool raft__conf_votes(const struct raft_conf_state *conf, uint64_t id) {
    return raft__ids_have(&conf->voters, id) || raft__ids_have(&conf->voters_outgoing, id);
}

bool raft__conf_has(const struct raft_conf_state *conf, uint64_t id) {
    return raft__conf_votes(conf, id) || raft__ids_have(&conf->learners, id);
}

static void copy_sorted(struct raft_conf_state *self, const struct raft_conf_state *from) {
    raft__ids_copy(&self->voters, &from->voters);
    raft__ids_copy(&self->learners, &from->learners);
    raft__ids_copy(&self->voters_outgoing, &from->voters_outgoing);
    raft__ids_copy(&self->learners_next, &from->learners_next);
    self->auto_leave = from->auto_leave;
}

static void make_voter(struct raft_conf_state *conf, uint64_t id) {
    raft__ids_remove(&conf->learners, id);
    raft__ids_remove(&conf->learners_next, id);
    raft__ids_add(&conf->voters, id);
}

/* A voter of the outgoing half can't be a learner before the joint configuration is left. */
static void make_learner(struct raft_conf_state *conf, uint64_t id) {
    raft__ids_remove(&conf->voters, id);
    if (raft__ids_have(&conf->voters_outgoing, id))
        raft__ids_add(&conf->learners_next, id);
    else
        raft__ids_add(&conf->learners, id);
}

static void remove_node(struct raft_conf_state *conf, uint64_t id) {
    raft__ids_remove(&conf->voters, id);
    raft__ids_remove(&conf->learners, id);
    raft__ids_remove(&conf->learners_next, id);
}

static const char *apply(struct raft_conf_state *conf, const struct raft_conf_change_single *changes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t id = changes[i].node_id;
        if (id == 0) continue; /* found invalid by the state machine */
        switch (changes[i].type) {
        case RAFT_ADD_NODE: make_voter(conf, id); break;
        case RAFT_ADD_LEARNER_NODE: make_learner(conf, id); break;
        case RAFT_REMOVE_NODE: remove_node(conf, id); break;
        case RAFT_UPDATE_NODE: break;
        default: return "unexpected conf type";
        }
    }
    return conf->voters.count == 0 ? "removed all voters" : NULL;
}

static size_t count_missing(const raft_ids *of, const raft_ids *in) {
    size_t missing = 0;
    for (size_t i = 0; i < of->count; i++) missing += !raft__ids_have(in, of->items[i]);
    return missing;
}

const char *raft__conf_simple(const struct raft_conf_state *conf, const struct raft_conf_change_single *changes,
                              size_t count, struct raft_conf_state *ret) {
    if (raft__conf_is_joint(conf)) return "can't apply simple config change in joint config";
    struct raft_conf_state next;
    copy_sorted(&next, conf);
    const char *problem = apply(&next, changes, count);
    if (problem == NULL && count_missing(&conf->voters, &next.voters) + count_missing(&next.voters, &conf->voters) > 1)
        problem = "more than one voter changed without entering joint config";
    if (problem == NULL)
        *ret = next;
    else
        raft_conf_state_release(&next);
    return problem;
}

const char *raft__conf_enter_joint(const struct raft_conf_state *conf, bool auto_leave,
                                   const struct raft_conf_change_single *changes, size_t count,
                                   struct raft_conf_state *ret) {
    if (raft__conf_is_joint(conf)) return "config is already joint";
    if (conf->voters.count == 0) return "can't make a zero-voter config joint";
    struct raft_conf_state next;
    copy_sorted(&next, conf);
    mem_free(next.voters_outgoing.items);
    raft__ids_copy(&next.voters_outgoing, &next.voters);
    const char *problem = apply(&next, changes, count);
    next.auto_leave = auto_leave;
    if (problem == NULL)
        *ret = next;
    else
        raft_conf_state_release(&next);
    return problem;
}

const char *raft__conf_leave_joint(const struct raft_conf_state *conf, struct raft_conf_state *ret) {
    if (!raft__conf_is_joint(conf)) return "can't leave a non-joint config";
    struct raft_conf_state next;
    copy_sorted(&next, conf);
    for (size_t i = 0; i < next.learners_next.count; i++) raft__ids_add(&next.learners, next.learners_next.items[i]);
    next.learners_next.count = 0;
    next.voters_outgoing.count = 0;
    next.auto_leave = false;
    *ret = next;
    return NULL;
}

static void append_ids(const raft_ids *ids, struct buf *out) {
    buf_append_byte(out, '(');
    for (size_t i = 0; i < ids->count; i++) buf_printf(out, i == 0 ? "%" PRIu64 : " %" PRIu64, ids->items[i]);
    buf_append_byte(out, ')');
}

void raft__conf_append_text(const struct raft_conf_state *conf, struct buf *out) {
    buf_append_cstr(out, "voters=");
    append_ids(&conf->voters, out);
    if (raft__conf_is_joint(conf)) {
        buf_append_cstr(out, "&&");
        append_ids(&conf->voters_outgoing, out);
    }
    if (conf->learners.count > 0) {
        buf_append_cstr(out, " learners=");
        append_ids(&conf->learners, out);
    }
    if (conf->learners_next.count > 0) {
        buf_append_cstr(out, " learners_next=");
        append_ids(&conf->learners_next, out);
    }
    if (conf->auto_leave) buf_append_cstr(out, " autoleave");
}

static const char *change_name(enum raft_conf_change_type type) {
    switch (type) {
    case RAFT_ADD_NODE: return "ConfChangeAddNode";
    case RAFT_REMOVE_NODE: return "ConfChangeRemoveNode";
    case RAFT_UPDATE_NODE: return "ConfChangeUpdateNode";
    case RAFT_ADD_LEARNER_NODE: return "ConfChangeAddLearnerNode";
    }
    return "ConfChangeUnknown";
}

static void append_bytes(struct slice bytes, struct buf *out) {
    buf_append_byte(out, '[');
    for (size_t i = 0; i < bytes.len; i++) buf_printf(out, i == 0 ? "%u" : " %u", bytes.data[i]);
    buf_append_byte(out, ']');
}

void raft__conf_append_change_text(const struct raft_entry *entry, struct buf *out) {
    static const char *const transitions[] = {"ConfChangeTransitionAuto", "ConfChangeTransitionJointImplicit",
                                              "ConfChangeTransitionJointExplicit"};
    if (entry->type == RAFT_ENTRY_CONF_CHANGE) {
        struct raft_conf_change change;
        if (raft_conf_change_decode(entry->data, &change) != OK) return;
        buf_printf(out, "{%s %" PRIu64 " ", change_name(change.type), change.node_id);
        append_bytes(change.context, out);
        buf_printf(out, " %" PRIu64 "}", change.id);
        return;
    }
    struct raft_conf_change_v2 change;
    if (raft_conf_change_v2_decode(entry->data, &change) != OK) return;
    buf_printf(out, "{%s [",
               change.transition <= RAFT_TRANSITION_JOINT_EXPLICIT ? transitions[change.transition] : "?");
    for (size_t i = 0; i < change.change_count; i++)
        buf_printf(out, "%s{%s %" PRIu64 "}", i == 0 ? "" : " ", change_name(change.changes[i].type),
                   change.changes[i].node_id);
    buf_append_cstr(out, "] ");
    append_bytes(change.context, out);
    buf_append_byte(out, '}');
    raft_conf_change_v2_release(&change);
}
