#include "raft/core.h"

#include <inttypes.h>

/* "<id> <what> <peer> [<its progress>]"; `what` ends with the words before the id, `link` stands behind it. */
static void log_peer(struct raft *self, const char *what, const struct raft__progress *peer, const char *link) {
    if (!log_is_enabled(self->config.log, LOG_DEBUG_LEVEL)) return;
    struct buf text CLEANUP_BUF = BUF_INIT;
    raft__progress_append_text(peer, &text);
    raft__log_line(self, LOG_DEBUG_LEVEL, "%" PRIx64 " %s %" PRIx64 "%s [%s]", self->config.id, what, peer->id, link,
                   buf_cstr(&text));
}

/* ---- sending ---- */

static bool send_snapshot(struct raft *self, struct raft__progress *peer) {
    if (!peer->recently_active) {
        raft__log_line(self, LOG_DEBUG_LEVEL, "ignore sending snapshot to %" PRIx64 " since it is not recently active",
                       peer->id);
        return false;
    }
    if (self->own_snapshot.index == 0) {
        raft__log_line(self, LOG_DEBUG_LEVEL,
                       "%" PRIx64 " failed to send snapshot to %" PRIx64 " because snapshot is temporarily unavailable",
                       self->config.id, peer->id);
        return false;
    }
    struct raft__outbox *box = &self->outboxes[self->filling];
    struct raft_snapshot *snapshot = ARENA_NEW(&box->arena, struct raft_snapshot);
    raft_snapshot_copy(snapshot, &self->own_snapshot); /* released with the outbox */
    if (log_is_enabled(self->config.log, LOG_DEBUG_LEVEL)) {
        struct buf text CLEANUP_BUF = BUF_INIT;
        raft__progress_append_text(peer, &text);
        raft__log_line(self, LOG_DEBUG_LEVEL,
                       "%" PRIx64 " [firstindex: %" PRIu64 ", commit: %" PRIu64 "] sent snapshot[index: %" PRIu64
                       ", term: %" PRIu64 "] to %" PRIx64 " [%s]",
                       self->config.id, raft__log_first(&self->log), self->log.committed, snapshot->index,
                       snapshot->term, peer->id, buf_cstr(&text));
    }
    raft__progress_become_snapshot(peer, snapshot->index);
    log_peer(self, "paused sending replication messages to", peer, "");
    raft__send(self, (struct raft_message){.type = RAFT_MSG_SNAP, .to = peer->id, .snapshot = snapshot});
    return true;
}

bool raft__maybe_send_append(struct raft *self, struct raft__progress *peer, bool send_if_empty) {
    if (raft__progress_is_paused(peer)) return false;
    uint64_t last = raft__log_last(&self->log);
    uint64_t previous = peer->next - 1;
    uint64_t previous_term;
    bool is_kept = raft__log_term(&self->log, previous, &previous_term) == OK;
    if (!send_if_empty && (!is_kept || peer->next > last)) return false;
    if (!is_kept) return send_snapshot(self, peer);
    uint64_t bytes = 0;
    size_t count = raft__log_batch(&self->log, peer->next, last, self->config.max_message_bytes, &bytes);
    struct raft_message message = {
        .type = RAFT_MSG_APP,
        .to = peer->id,
        .index = previous,
        .log_term = previous_term,
        .commit = self->log.committed,
        .entry_count = count,
    };
    if (count > 0) {
        message.entries = raft__outbox_entries(self, raft__log_at(&self->log, peer->next), count);
        if (peer->state == RAFT_REPLICATE) {
            peer->next += count;
            raft__progress_inflight_add(peer, peer->next - 1);
        } else {
            peer->probe_sent = true;
        }
    }
    raft__send(self, message);
    return true;
}

void raft__bcast_append(struct raft *self) {
    for (size_t i = 0; i < self->peers.count; i++)
        if (self->peers.items[i].id != self->config.id) raft__maybe_send_append(self, &self->peers.items[i], true);
}

void raft__bcast_heartbeat(struct raft *self) {
    struct slice context = raft__reads_last_context(self);
    for (size_t i = 0; i < self->peers.count; i++) {
        const struct raft__progress *peer = &self->peers.items[i];
        if (peer->id == self->config.id) continue;
        /* Never beyond what the peer is known to have: it might be missing the entries in between. */
        uint64_t commit = peer->match < self->log.committed ? peer->match : self->log.committed;
        raft__send(self, (struct raft_message){.type = RAFT_MSG_HEARTBEAT,
                                               .to = peer->id,
                                               .commit = commit,
                                               .context = raft__outbox_bytes(self, context)});
    }
}

/* ---- commit ---- */

static bool match_of(const void *context, uint64_t id, uint64_t *ret_index) {
    const struct raft__progress *peer = raft__peer(context, id);
    if (peer == NULL) return false;
    *ret_index = peer->match;
    return true;
}

bool raft__maybe_commit(struct raft *self) {
    uint64_t index = raft__joint_committed(&self->conf, match_of, self);
    if (index <= self->log.committed || index > raft__log_last(&self->log)) return false;
    /* An entry of an earlier term is committed only together with one of this term (Raft paper 5.4.2). */
    if (raft__log_term_or_zero(&self->log, index) != self->term) return false;
    self->log.committed = index;
    return true;
}

void raft__after_commit(struct raft *self) {
    raft__reads_release_early(self);
    raft__bcast_append(self);
}

void raft__leader_saved(struct raft *self) {
    struct raft__progress *own = raft__peer(self, self->config.id);
    if (own == NULL || !raft__progress_update(own, self->log.saved)) return;
    if (raft__maybe_commit(self)) raft__after_commit(self);
}

/* ---- proposals ---- */

void raft__append_own(struct raft *self, const struct raft_entry *entries, size_t count) {
    uint64_t index = raft__log_last(&self->log);
    for (size_t i = 0; i < count; i++) {
        struct raft_entry entry = raft_entry_copy(&entries[i]);
        entry.term = self->term;
        entry.index = ++index;
        raft__log_push(&self->log, entry);
    }
    if (!self->config.saves_first) return;
    struct raft__progress *own = raft__peer(self, self->config.id);
    if (own != NULL) raft__progress_update(own, index);
    raft__maybe_commit(self);
}

static enum err decode_change(const struct raft_entry *entry, bool *ret_leaves_joint) {
    if (entry->type == RAFT_ENTRY_CONF_CHANGE) {
        struct raft_conf_change change;
        TRY(raft_conf_change_decode(entry->data, &change));
        *ret_leaves_joint = false;
        return OK;
    }
    struct raft_conf_change_v2 change;
    TRY(raft_conf_change_v2_decode(entry->data, &change));
    *ret_leaves_joint = change.change_count == 0;
    raft_conf_change_v2_release(&change);
    return OK;
}

/* Appends why not; nothing: it may be appended to the log. */
static void append_refusal(const struct raft *self, bool leaves_joint, struct buf *out) {
    bool is_joint = raft__conf_is_joint(&self->conf);
    if (self->pending_conf_index > self->log.applied)
        buf_printf(out, "possible unapplied conf change at index %" PRIu64 " (applied to %" PRIu64 ")",
                   self->pending_conf_index, self->log.applied);
    else if (is_joint && !leaves_joint)
        buf_append_cstr(out, "must transition out of joint config first");
    else if (!is_joint && leaves_joint)
        buf_append_cstr(out, "not in joint state; refusing empty conf change");
}

static void log_refusal(struct raft *self, const struct raft_entry *entry, struct buf *why) {
    struct buf change CLEANUP_BUF = BUF_INIT;
    struct buf conf CLEANUP_BUF = BUF_INIT;
    raft__conf_append_change_text(entry, &change);
    raft__conf_append_text(&self->conf, &conf);
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " ignoring conf change %s at config %s: %s", self->config.id,
                   buf_cstr(&change), buf_cstr(&conf), buf_cstr(why));
}

static bool has_conf_change(const struct raft_entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (entries[i].type != RAFT_ENTRY_NORMAL) return true;
    return false;
}

/* One at a time, since a refused one is replaced, and a good one makes the next one wait. */
static enum err append_with_conf_changes(struct raft *self, const struct raft_entry *entries, size_t count) {
    bool leaves_joint = false;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].type == RAFT_ENTRY_NORMAL) continue;
        if (entries[i].type != RAFT_ENTRY_CONF_CHANGE && entries[i].type != RAFT_ENTRY_CONF_CHANGE_V2)
            return ERR_INVALID;
        if (decode_change(&entries[i], &leaves_joint) != OK) return ERR_INVALID;
    }
    for (size_t i = 0; i < count; i++) {
        struct raft_entry entry = entries[i];
        if (entry.type != RAFT_ENTRY_NORMAL) {
            CHECK(decode_change(&entry, &leaves_joint) == OK);
            struct buf why CLEANUP_BUF = BUF_INIT;
            append_refusal(self, leaves_joint, &why);
            if (why.len > 0) {
                log_refusal(self, &entry, &why);
                entry = (struct raft_entry){.type = RAFT_ENTRY_NORMAL};
            } else {
                self->pending_conf_index = raft__log_last(&self->log) + 1;
            }
        }
        raft__append_own(self, &entry, 1);
    }
    return OK;
}

enum err raft__leader_propose(struct raft *self, const struct raft_entry *entries, size_t count) {
    if (count == 0) return ERR_INVALID;
    if (raft__peer(self, self->config.id) == NULL) return ERR_RAFT_PROPOSAL_DROPPED; /* it was removed */
    if (self->transferee != 0) {
        raft__log_line(self, LOG_DEBUG_LEVEL,
                       "%" PRIx64 " [term %" PRIu64 "] transfer leadership to %" PRIx64
                       " is in progress; dropping proposal",
                       self->config.id, self->term, self->transferee);
        return ERR_RAFT_PROPOSAL_DROPPED;
    }
    if (has_conf_change(entries, count))
        TRY(append_with_conf_changes(self, entries, count));
    else
        raft__append_own(self, entries, count);
    raft__bcast_append(self);
    return OK;
}

void raft__maybe_leave_joint(struct raft *self, uint64_t applied_before) {
    if (self->role != RAFT_LEADER || !self->conf.auto_leave) return;
    if (applied_before > self->pending_conf_index || self->log.applied < self->pending_conf_index) return;
    struct buf text CLEANUP_BUF = BUF_INIT;
    raft__conf_append_text(&self->conf, &text);
    raft__log_line(self, LOG_INFO_LEVEL, "initiating automatic transition out of joint configuration %s",
                   buf_cstr(&text));
    struct raft_entry leave = {.type = RAFT_ENTRY_CONF_CHANGE_V2};
    raft__append_own(self, &leave, 1);
    self->pending_conf_index = raft__log_last(&self->log);
}

/* ---- answers ---- */

static void send_timeout_now(struct raft *self, uint64_t to) {
    raft__send(self, (struct raft_message){.type = RAFT_MSG_TIMEOUT_NOW, .to = to});
}

static void handle_rejection(struct raft *self, struct raft__progress *peer, const struct raft_message *message) {
    raft__log_line(self, LOG_DEBUG_LEVEL,
                   "%" PRIx64 " received MsgAppResp(rejected, hint: (index %" PRIu64 ", term %" PRIu64
                   ")) from %" PRIx64 " for index %" PRIu64,
                   self->config.id, message->reject_hint, message->log_term, message->from, message->index);
    uint64_t hint = message->reject_hint;
    if (message->log_term > 0) hint = raft__log_find_conflict_by_term(&self->log, hint, message->log_term);
    if (!raft__progress_decrease(peer, message->index, hint)) return;
    log_peer(self, "decreased progress of", peer, " to");
    if (peer->state == RAFT_REPLICATE) raft__progress_become_probe(peer);
    raft__maybe_send_append(self, peer, true);
}

static void advance_state(struct raft *self, struct raft__progress *peer, uint64_t index) {
    switch (peer->state) {
    case RAFT_PROBE: raft__progress_become_replicate(peer); break;
    case RAFT_SNAPSHOT:
        if (peer->match < peer->pending_snapshot) break;
        log_peer(self, "recovered from needing snapshot, resumed sending replication messages to", peer, "");
        raft__progress_become_probe(peer);
        raft__progress_become_replicate(peer);
        break;
    case RAFT_REPLICATE: raft__progress_inflight_free_to(peer, index); break;
    }
}

static enum err handle_append_response(struct raft *self, struct raft__progress *peer,
                                       const struct raft_message *message) {
    peer->recently_active = true;
    if (message->reject) {
        handle_rejection(self, peer, message);
        return OK;
    }
    if (message->index > raft__log_last(&self->log)) return ERR_INVALID; /* what we never had */
    bool was_paused = raft__progress_is_paused(peer);
    if (!raft__progress_update(peer, message->index)) return OK;
    advance_state(self, peer, message->index);
    if (raft__maybe_commit(self))
        raft__after_commit(self);
    else if (was_paused)
        raft__maybe_send_append(self, peer, true); /* tells it the commit index it may have missed */
    while (raft__maybe_send_append(self, peer, false)) continue;
    if (message->from == self->transferee && peer->match == raft__log_last(&self->log)) {
        raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " sent MsgTimeoutNow to %" PRIx64 " after received MsgAppResp",
                       self->config.id, message->from);
        send_timeout_now(self, message->from);
    }
    return OK;
}

static void handle_heartbeat_response(struct raft *self, struct raft__progress *peer,
                                      const struct raft_message *message) {
    peer->recently_active = true;
    peer->probe_sent = false;
    /* A full window whose answers were lost would stay full for ever. */
    if (peer->state == RAFT_REPLICATE && raft__progress_is_full(peer)) raft__progress_inflight_free_first(peer);
    if (peer->match < raft__log_last(&self->log)) raft__maybe_send_append(self, peer, true);
    if (message->context.len > 0) raft__reads_ack(self, message->from, message->context);
}

void raft__leader_unreachable(struct raft *self, uint64_t id) {
    struct raft__progress *peer = raft__peer(self, id);
    if (peer == NULL) return;
    if (peer->state == RAFT_REPLICATE) raft__progress_become_probe(peer);
    log_peer(self, "failed to send message to", peer, " because it is unreachable");
}

void raft__leader_snapshot_status(struct raft *self, uint64_t to, bool failed) {
    struct raft__progress *peer = raft__peer(self, to);
    if (peer == NULL || peer->state != RAFT_SNAPSHOT) return;
    if (failed) peer->pending_snapshot = 0;
    raft__progress_become_probe(peer);
    log_peer(self,
             failed ? "snapshot failed, resumed sending replication messages to"
                    : "snapshot succeeded, resumed sending replication messages to",
             peer, "");
    /* It answers when it has installed the snapshot; sending more before that is in vain. */
    peer->probe_sent = true;
}

void raft__leader_transfer(struct raft *self, uint64_t transferee) {
    struct raft__progress *peer = raft__peer(self, transferee);
    if (peer == NULL) return;
    uint64_t id = self->config.id;
    if (peer->is_learner) {
        raft__log_line(self, LOG_DEBUG_LEVEL, "%" PRIx64 " is learner. Ignored transferring leadership", id);
        return;
    }
    if (self->transferee == transferee) {
        raft__log_line(self, LOG_INFO_LEVEL,
                       "%" PRIx64 " [term %" PRIu64 "] transfer leadership to %" PRIx64
                       " is in progress, ignores request to same node %" PRIx64,
                       id, self->term, transferee, transferee);
        return;
    }
    if (self->transferee != 0) {
        raft__log_line(self, LOG_INFO_LEVEL,
                       "%" PRIx64 " [term %" PRIu64 "] abort previous transferring leadership to %" PRIx64, id,
                       self->term, self->transferee);
        self->transferee = 0;
    }
    if (transferee == id) {
        raft__log_line(self, LOG_DEBUG_LEVEL, "%" PRIx64 " is already leader. Ignored transferring leadership to self",
                       id);
        return;
    }
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " [term %" PRIu64 "] starts to transfer leadership to %" PRIx64, id,
                   self->term, transferee);
    self->election_elapsed = 0; /* it has an election timeout to succeed */
    self->transferee = transferee;
    if (peer->match == raft__log_last(&self->log)) {
        raft__log_line(self, LOG_INFO_LEVEL,
                       "%" PRIx64 " sends MsgTimeoutNow to %" PRIx64 " immediately as %" PRIx64
                       " already has up-to-date log",
                       id, transferee, transferee);
        send_timeout_now(self, transferee);
    } else {
        raft__maybe_send_append(self, peer, true);
    }
}

enum err raft__step_leader(struct raft *self, const struct raft_message *message) {
    if (message->type == RAFT_MSG_PROP) return raft__leader_propose(self, message->entries, message->entry_count);
    if (message->type == RAFT_MSG_READ_INDEX) {
        if (message->entry_count != 1) return ERR_INVALID;
        raft__leader_read(self, message->from, message->entries[0].data);
        return OK;
    }
    struct raft__progress *peer = raft__peer(self, message->from);
    if (peer == NULL) {
        raft__log_line(self, LOG_DEBUG_LEVEL, "%" PRIx64 " no progress available for %" PRIx64, self->config.id,
                       message->from);
        return OK;
    }
    switch (message->type) {
    case RAFT_MSG_APP_RESP: return handle_append_response(self, peer, message);
    case RAFT_MSG_HEARTBEAT_RESP: handle_heartbeat_response(self, peer, message); return OK;
    case RAFT_MSG_TRANSFER_LEADER: raft__leader_transfer(self, message->from); return OK;
    default: return OK;
    }
}

/* ---- time ---- */

static enum raft__vote activity_of(const void *context, uint64_t id) {
    const struct raft__progress *peer = raft__peer(context, id);
    return peer != NULL && peer->recently_active ? RAFT__VOTE_YES : RAFT__VOTE_NO;
}

static void check_quorum(struct raft *self) {
    struct raft__progress *own = raft__peer(self, self->config.id);
    if (own != NULL) own->recently_active = true;
    if (raft__joint_vote(&self->conf, activity_of, self) != RAFT__VOTE_WON) {
        raft__log_line(self, LOG_WARN_LEVEL, "%" PRIx64 " stepped down to follower since quorum is not active",
                       self->config.id);
        raft__become_follower(self, self->term, 0);
    }
    for (size_t i = 0; i < self->peers.count; i++)
        if (self->peers.items[i].id != self->config.id) self->peers.items[i].recently_active = false;
}

void raft__tick_leader(struct raft *self) {
    self->heartbeat_elapsed++;
    self->election_elapsed++;
    if (self->election_elapsed >= self->config.election_ticks) {
        self->election_elapsed = 0;
        if (self->config.check_quorum) check_quorum(self);
        if (self->role == RAFT_LEADER) self->transferee = 0; /* it took too long */
    }
    if (self->role != RAFT_LEADER || self->heartbeat_elapsed < self->config.heartbeat_ticks) return;
    self->heartbeat_elapsed = 0;
    raft__bcast_heartbeat(self);
}
