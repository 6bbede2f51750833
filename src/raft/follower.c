#include "raft/core.h"

#include <inttypes.h>

static enum err commit_to(struct raft *self, uint64_t index) {
    if (index <= self->log.committed) return OK;
    if (index > raft__log_last(&self->log)) {
        raft__log_line(self, LOG_PANIC_LEVEL,
                       "tocommit(%" PRIu64 ") is out of range [lastIndex(%" PRIu64
                       ")]. Was the raft log corrupted, truncated, or lost?",
                       index, raft__log_last(&self->log));
        return ERR_CORRUPT;
    }
    self->log.committed = index;
    return OK;
}

static void truncate(struct raft *self, uint64_t index) {
    raft__log_truncate(&self->log, index);
    for (size_t i = 0; i < self->saves.count; i++)
        if (self->saves.items[i].last_index >= index) self->saves.items[i].last_index = index - 1;
}

/* Entries that follow one another behind the message's index, of terms that do not fall. */
static bool is_sound(const struct raft_message *message) {
    if (message->index > UINT64_MAX - message->entry_count - 1) return false;
    uint64_t term = message->log_term;
    for (size_t i = 0; i < message->entry_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        if (entry->index != message->index + 1 + i || entry->term < term || entry->term > message->term) return false;
        term = entry->term;
    }
    return true;
}

static enum err append(struct raft *self, const struct raft_message *message) {
    size_t i = 0;
    while (i < message->entry_count &&
           raft__log_matches(&self->log, message->entries[i].index, message->entries[i].term))
        i++;
    if (i < message->entry_count) {
        uint64_t from = message->entries[i].index;
        if (from <= self->log.committed) {
            raft__log_line(self, LOG_PANIC_LEVEL,
                           "entry %" PRIu64 " conflict with committed entry [committed(%" PRIu64 ")]", from,
                           self->log.committed);
            return ERR_CORRUPT;
        }
        if (from <= raft__log_last(&self->log)) {
            raft__log_line(self, LOG_INFO_LEVEL,
                           "found conflict at index %" PRIu64 " [existing term: %" PRIu64 ", conflicting term: %" PRIu64
                           "]",
                           from, raft__log_term_or_zero(&self->log, from), message->entries[i].term);
            raft__log_line(self, LOG_INFO_LEVEL, "replace the unstable entries from index %" PRIu64, from);
            truncate(self, from);
        }
        for (; i < message->entry_count; i++) raft__log_push(&self->log, raft_entry_copy(&message->entries[i]));
    }
    uint64_t last_new = message->index + message->entry_count;
    return commit_to(self, message->commit < last_new ? message->commit : last_new);
}

static enum err handle_append(struct raft *self, const struct raft_message *message) {
    if (message->index < self->log.committed) {
        raft__send(self,
                   (struct raft_message){.type = RAFT_MSG_APP_RESP, .to = message->from, .index = self->log.committed});
        return OK;
    }
    if (!is_sound(message)) return ERR_INVALID;
    if (raft__log_matches(&self->log, message->index, message->log_term)) {
        TRY(append(self, message));
        raft__send(self, (struct raft_message){.type = RAFT_MSG_APP_RESP,
                                               .to = message->from,
                                               .index = message->index + message->entry_count});
        return OK;
    }
    raft__log_line(self, LOG_DEBUG_LEVEL,
                   "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 "] rejected MsgApp [logterm: %" PRIu64
                   ", index: %" PRIu64 "] from %" PRIx64,
                   self->config.id, raft__log_term_or_zero(&self->log, message->index), message->index,
                   message->log_term, message->index, message->from);
    /* Where the logs may agree at best: lets the leader skip whole terms of its own. */
    uint64_t last = raft__log_last(&self->log);
    uint64_t hint =
        raft__log_find_conflict_by_term(&self->log, message->index < last ? message->index : last, message->log_term);
    raft__send(self, (struct raft_message){.type = RAFT_MSG_APP_RESP,
                                           .to = message->from,
                                           .index = message->index,
                                           .reject = true,
                                           .reject_hint = hint,
                                           .log_term = raft__log_term_or_zero(&self->log, hint)});
    return OK;
}

static enum err handle_heartbeat(struct raft *self, const struct raft_message *message) {
    TRY(commit_to(self, message->commit));
    raft__send(self, (struct raft_message){.type = RAFT_MSG_HEARTBEAT_RESP,
                                           .to = message->from,
                                           .context = raft__outbox_bytes(self, message->context)});
    return OK;
}

static bool restore(struct raft *self, const struct raft_snapshot *snapshot) {
    if (snapshot == NULL || snapshot->index <= self->log.committed) return false;
    struct raft_conf_state conf;
    raft__ids_copy(&conf.voters, &snapshot->conf_state.voters);
    raft__ids_copy(&conf.learners, &snapshot->conf_state.learners);
    raft__ids_copy(&conf.voters_outgoing, &snapshot->conf_state.voters_outgoing);
    raft__ids_copy(&conf.learners_next, &snapshot->conf_state.learners_next);
    conf.auto_leave = snapshot->conf_state.auto_leave;
    if (!raft__conf_has(&conf, self->config.id)) {
        raft__log_line(self, LOG_WARN_LEVEL,
                       "%" PRIx64 " attempted to restore snapshot but it is not in the ConfState; should never happen",
                       self->config.id);
        raft_conf_state_release(&conf);
        return false;
    }
    if (raft__log_matches(&self->log, snapshot->index, snapshot->term)) {
        raft__log_line(self, LOG_INFO_LEVEL,
                       "%" PRIx64 " [commit: %" PRIu64 ", lastindex: %" PRIu64 ", lastterm: %" PRIu64
                       "] fast-forwarded commit to snapshot [index: %" PRIu64 ", term: %" PRIu64 "]",
                       self->config.id, self->log.committed, raft__log_last(&self->log),
                       raft__log_last_term(&self->log), snapshot->index, snapshot->term);
        self->log.committed = snapshot->index;
        raft_conf_state_release(&conf);
        return false;
    }
    raft__log_line(self, LOG_INFO_LEVEL,
                   "log [committed=%" PRIu64 ", applied=%" PRIu64 ", unstable.offset=%" PRIu64
                   ", len(unstable.Entries)=%" PRIu64 "] starts to restore snapshot [index: %" PRIu64 ", term: %" PRIu64
                   "]",
                   self->log.committed, self->log.applied, self->log.taken + 1,
                   raft__log_last(&self->log) - self->log.taken, snapshot->index, snapshot->term);
    raft__log_restore(&self->log, snapshot->index, snapshot->term);
    for (size_t i = 0; i < self->saves.count; i++) self->saves.items[i].last_index = 0;
    raft_snapshot_release(&self->received_snapshot);
    raft_snapshot_copy(&self->received_snapshot, snapshot);
    self->has_received = true;
    raft_snapshot_release(&self->own_snapshot);
    raft_snapshot_copy(&self->own_snapshot, snapshot);
    /* What was known of peers is of another log. */
    for (size_t i = 0; i < self->peers.count; i++) raft__progress_release(&self->peers.items[i]);
    self->peers.count = 0;
    raft__switch_conf(self, conf);
    struct raft__progress *own = raft__peer(self, self->config.id);
    if (own != NULL) raft__progress_update(own, snapshot->index);
    raft__log_line(self, LOG_INFO_LEVEL,
                   "%" PRIx64 " [commit: %" PRIu64 ", lastindex: %" PRIu64 ", lastterm: %" PRIu64
                   "] restored snapshot [index: %" PRIu64 ", term: %" PRIu64 "]",
                   self->config.id, self->log.committed, raft__log_last(&self->log), raft__log_last_term(&self->log),
                   snapshot->index, snapshot->term);
    return true;
}

static void handle_snapshot(struct raft *self, const struct raft_message *message) {
    uint64_t index = message->snapshot == NULL ? 0 : message->snapshot->index;
    uint64_t term = message->snapshot == NULL ? 0 : message->snapshot->term;
    bool is_restored = restore(self, message->snapshot);
    raft__log_line(self, LOG_INFO_LEVEL,
                   "%" PRIx64 " [commit: %" PRIu64 "] %s snapshot [index: %" PRIu64 ", term: %" PRIu64 "]",
                   self->config.id, self->log.committed, is_restored ? "restored" : "ignored", index, term);
    raft__send(self, (struct raft_message){.type = RAFT_MSG_APP_RESP,
                                           .to = message->from,
                                           .index = is_restored ? raft__log_last(&self->log) : self->log.committed});
}

/* ---- what a follower passes on ---- */

static enum err forward_proposal(struct raft *self, const struct raft_message *message) {
    if (message->entry_count == 0) return ERR_INVALID;
    if (self->lead == 0) {
        raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " no leader at term %" PRIu64 "; dropping proposal",
                       self->config.id, self->term);
        return ERR_RAFT_PROPOSAL_DROPPED;
    }
    raft__send(self,
               (struct raft_message){.type = RAFT_MSG_PROP,
                                     .to = self->lead,
                                     .from = message->from,
                                     .entries = raft__outbox_entries(self, message->entries, message->entry_count),
                                     .entry_count = message->entry_count});
    return OK;
}

static enum err forward_read(struct raft *self, const struct raft_message *message) {
    if (message->entry_count != 1) return ERR_INVALID;
    if (self->lead == 0) {
        raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " no leader at term %" PRIu64 "; dropping index reading msg",
                       self->config.id, self->term);
        return ERR_NO_LEADER;
    }
    raft__send(self, (struct raft_message){.type = RAFT_MSG_READ_INDEX,
                                           .to = self->lead,
                                           .from = message->from,
                                           .entries = raft__outbox_entries(self, message->entries, 1),
                                           .entry_count = 1});
    return OK;
}

static enum err forward_transfer(struct raft *self, const struct raft_message *message) {
    if (self->lead == 0) {
        raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " no leader at term %" PRIu64 "; dropping leader transfer msg",
                       self->config.id, self->term);
        return ERR_NO_LEADER;
    }
    raft__send(self, (struct raft_message){.type = RAFT_MSG_TRANSFER_LEADER, .to = self->lead, .from = message->from});
    return OK;
}

static void heard_from_leader(struct raft *self, const struct raft_message *message) {
    self->election_elapsed = 0;
    self->lead = message->from;
}

enum err raft__step_follower(struct raft *self, const struct raft_message *message) {
    switch (message->type) {
    case RAFT_MSG_PROP: return forward_proposal(self, message);
    case RAFT_MSG_READ_INDEX: return forward_read(self, message);
    case RAFT_MSG_TRANSFER_LEADER: return forward_transfer(self, message);
    case RAFT_MSG_APP: heard_from_leader(self, message); return handle_append(self, message);
    case RAFT_MSG_HEARTBEAT: heard_from_leader(self, message); return handle_heartbeat(self, message);
    case RAFT_MSG_SNAP:
        heard_from_leader(self, message);
        handle_snapshot(self, message);
        return OK;
    case RAFT_MSG_TIMEOUT_NOW:
        raft__log_line(self, LOG_INFO_LEVEL,
                       "%" PRIx64 " [term %" PRIu64 "] received MsgTimeoutNow from %" PRIx64
                       " and starts an election to get leadership.",
                       self->config.id, self->term, message->from);
        raft__hup(self, true); /* without asking first: the leader wants it */
        return OK;
    case RAFT_MSG_READ_INDEX_RESP:
        if (message->entry_count != 1) {
            raft__log_line(self, LOG_ERROR_LEVEL,
                           "%" PRIx64 " invalid format of MsgReadIndexResp from %" PRIx64 ", entries count: %zu",
                           self->config.id, message->from, message->entry_count);
            return OK;
        }
        raft__add_read_state(self, message->index, message->entries[0].data);
        return OK;
    default: return OK;
    }
}
