#include "raft/core.h"

#include <inttypes.h>

/* The context of a vote request by leader transfer: such a candidate is not kept waiting by a leader's lease. */
#define CAMPAIGN_TRANSFER SLICE_LITERAL("CampaignTransfer")

const char *raft_role_name(enum raft_role role) {
    static const char *const names[] = {"StateFollower", "StateCandidate", "StateLeader", "StatePreCandidate"};
    return names[role];
}

static void draw_timeout(struct raft *self) {
    self->randomized_timeout =
        self->config.election_ticks + (uint32_t)prng_below(&self->prng, self->config.election_ticks);
}

static void reset(struct raft *self, uint64_t term) {
    if (self->term != term) {
        self->term = term;
        self->vote = 0;
    }
    self->lead = 0;
    self->election_elapsed = 0;
    self->heartbeat_elapsed = 0;
    draw_timeout(self);
    self->transferee = 0;
    self->pending_conf_index = 0;
    raft__reads_reset(self);
    uint64_t last = raft__log_last(&self->log);
    for (size_t i = 0; i < self->peers.count; i++) {
        struct raft__progress *peer = &self->peers.items[i];
        peer->match = 0;
        if (peer->id == self->config.id) peer->match = self->config.saves_first ? last : self->log.saved;
        raft__progress_become_probe(peer);
        peer->next = last + 1;
        peer->recently_active = false;
        peer->vote = RAFT__VOTE_UNKNOWN;
    }
}

void raft__become_follower(struct raft *self, uint64_t term, uint64_t lead) {
    self->role = RAFT_FOLLOWER;
    reset(self, term);
    self->lead = lead;
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " became follower at term %" PRIu64, self->config.id, self->term);
}

static void become_candidate(struct raft *self) {
    self->role = RAFT_CANDIDATE;
    reset(self, self->term + 1);
    self->vote = self->config.id;
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " became candidate at term %" PRIu64, self->config.id, self->term);
}

/* Neither term nor vote change: a pre-candidate promises nothing. */
static void become_pre_candidate(struct raft *self) {
    self->role = RAFT_PRE_CANDIDATE;
    self->lead = 0;
    for (size_t i = 0; i < self->peers.count; i++) self->peers.items[i].vote = RAFT__VOTE_UNKNOWN;
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " became pre-candidate at term %" PRIu64, self->config.id,
                   self->term);
}

static void become_leader(struct raft *self) {
    self->role = RAFT_LEADER;
    reset(self, self->term);
    self->lead = self->config.id;
    struct raft__progress *own = raft__peer(self, self->config.id);
    if (own != NULL) raft__progress_become_replicate(own);
    /* Whether the log's tail holds an unapplied conf change is not known cheaply: assume it does. */
    self->pending_conf_index = raft__log_last(&self->log);
    struct raft_entry empty = {.type = RAFT_ENTRY_NORMAL};
    raft__append_own(self, &empty, 1);
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " became leader at term %" PRIu64, self->config.id, self->term);
}

static bool is_promotable(const struct raft *self) {
    const struct raft__progress *own = raft__peer(self, self->config.id);
    return own != NULL && !own->is_learner && self->log.installing == 0;
}

static enum raft__vote vote_of(const void *context, uint64_t id) {
    const struct raft__progress *peer = raft__peer(context, id);
    return peer == NULL ? RAFT__VOTE_UNKNOWN : peer->vote;
}

static enum raft__vote_result poll(struct raft *self, uint64_t id, enum raft_message_type type, bool granted) {
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " received %s%s from %" PRIx64 " at term %" PRIu64, self->config.id,
                   raft_message_type_name(type), granted ? "" : " rejection", id, self->term);
    struct raft__progress *peer = raft__peer(self, id);
    if (peer != NULL && peer->vote == RAFT__VOTE_UNKNOWN) peer->vote = granted ? RAFT__VOTE_YES : RAFT__VOTE_NO;
    return raft__joint_vote(&self->conf, vote_of, self);
}

static void request_votes(struct raft *self, enum raft_message_type type, uint64_t term, bool is_transfer) {
    uint64_t last = raft__log_last(&self->log);
    uint64_t last_term = raft__log_last_term(&self->log);
    for (size_t i = 0; i < self->peers.count; i++) {
        uint64_t id = self->peers.items[i].id;
        if (id == self->config.id || !raft__conf_votes(&self->conf, id)) continue;
        raft__log_line(self, LOG_INFO_LEVEL,
                       "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 "] sent %s request to %" PRIx64
                       " at term %" PRIu64,
                       self->config.id, last_term, last, raft_message_type_name(type), id, self->term);
        raft__send(self, (struct raft_message){.type = type,
                                               .to = id,
                                               .term = term,
                                               .index = last,
                                               .log_term = last_term,
                                               .context = is_transfer ? CAMPAIGN_TRANSFER : SLICE_NONE});
    }
}

static void campaign_for_real(struct raft *self, bool is_transfer) {
    become_candidate(self);
    if (!self->config.saves_first) {
        /* The own vote counts when it can't be forgotten any more: it waits like an answer to somebody else. */
        raft__send(self, (struct raft_message){.type = RAFT_MSG_VOTE_RESP, .to = self->config.id, .term = self->term});
    } else if (poll(self, self->config.id, RAFT_MSG_VOTE_RESP, true) == RAFT__VOTE_WON) {
        become_leader(self);
        return;
    }
    request_votes(self, RAFT_MSG_VOTE, self->term, is_transfer);
}

static void campaign(struct raft *self, bool is_transfer) {
    if (!self->config.pre_vote || is_transfer) {
        campaign_for_real(self, is_transfer);
        return;
    }
    become_pre_candidate(self);
    if (poll(self, self->config.id, RAFT_MSG_PRE_VOTE_RESP, true) == RAFT__VOTE_WON) {
        campaign_for_real(self, false);
        return;
    }
    request_votes(self, RAFT_MSG_PRE_VOTE, self->term + 1, false);
}

static size_t count_pending_conf_changes(const struct raft *self) {
    size_t count = 0;
    uint64_t from = self->log.applied + 1;
    if (from < raft__log_first(&self->log)) from = raft__log_first(&self->log);
    for (uint64_t i = from; i <= self->log.committed; i++)
        count += raft__log_at(&self->log, i)->type != RAFT_ENTRY_NORMAL;
    return count;
}

void raft__hup(struct raft *self, bool is_transfer) {
    if (self->role == RAFT_LEADER) {
        raft__log_line(self, LOG_DEBUG_LEVEL, "%" PRIx64 " ignoring MsgHup because already leader", self->config.id);
        return;
    }
    if (!is_promotable(self)) {
        raft__log_line(self, LOG_WARN_LEVEL, "%" PRIx64 " is unpromotable and can not campaign", self->config.id);
        return;
    }
    size_t pending = count_pending_conf_changes(self);
    if (pending > 0) {
        raft__log_line(self, LOG_WARN_LEVEL,
                       "%" PRIx64 " cannot campaign at term %" PRIu64
                       " since there are still %zu pending configuration changes to apply",
                       self->config.id, self->term, pending);
        return;
    }
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " is starting a new election at term %" PRIu64, self->config.id,
                   self->term);
    campaign(self, is_transfer);
}

void raft__tick_election(struct raft *self) {
    self->election_elapsed++;
    if (self->election_elapsed < self->randomized_timeout || !is_promotable(self)) return;
    self->election_elapsed = 0;
    raft__hup(self, false);
}

/* ---- messages of any role ---- */

static bool is_from_leader(enum raft_message_type type) {
    return type == RAFT_MSG_APP || type == RAFT_MSG_HEARTBEAT || type == RAFT_MSG_SNAP;
}

static bool gate_higher_term(struct raft *self, const struct raft_message *message) {
    bool is_vote = message->type == RAFT_MSG_VOTE || message->type == RAFT_MSG_PRE_VOTE;
    if (is_vote && !slice_equal(message->context, CAMPAIGN_TRANSFER) && self->config.check_quorum && self->lead != 0 &&
        self->election_elapsed < self->config.election_ticks) {
        raft__log_line(self, LOG_INFO_LEVEL,
                       "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 ", vote: %" PRIx64
                       "] ignored %s from %" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 "] at term %" PRIu64
                       ": lease is not expired (remaining ticks: %" PRIu32 ")",
                       self->config.id, raft__log_last_term(&self->log), raft__log_last(&self->log), self->vote,
                       raft_message_type_name(message->type), message->from, message->log_term, message->index,
                       self->term, self->config.election_ticks - self->election_elapsed);
        return false;
    }
    if (message->type == RAFT_MSG_PRE_VOTE) return true;
    if (message->type == RAFT_MSG_PRE_VOTE_RESP && !message->reject) return true; /* it carries the term we asked for */
    raft__log_line(self, LOG_INFO_LEVEL,
                   "%" PRIx64 " [term: %" PRIu64 "] received a %s message with higher term from %" PRIx64
                   " [term: %" PRIu64 "]",
                   self->config.id, self->term, raft_message_type_name(message->type), message->from, message->term);
    raft__become_follower(self, message->term, is_from_leader(message->type) ? message->from : 0);
    return true;
}

static void gate_lower_term(struct raft *self, const struct raft_message *message) {
    bool is_lease_holder = message->type == RAFT_MSG_HEARTBEAT || message->type == RAFT_MSG_APP;
    if (is_lease_holder && (self->config.check_quorum || self->config.pre_vote)) {
        /* Somebody who leads an older term and might never hear of ours, since we may not disturb it by elections. */
        raft__send(self, (struct raft_message){.type = RAFT_MSG_APP_RESP, .to = message->from});
        return;
    }
    if (message->type == RAFT_MSG_PRE_VOTE) {
        raft__log_line(self, LOG_INFO_LEVEL,
                       "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 ", vote: %" PRIx64
                       "] rejected %s from %" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 "] at term %" PRIu64,
                       self->config.id, raft__log_last_term(&self->log), raft__log_last(&self->log), self->vote,
                       raft_message_type_name(message->type), message->from, message->log_term, message->index,
                       self->term);
        raft__send(self, (struct raft_message){
                             .type = RAFT_MSG_PRE_VOTE_RESP, .to = message->from, .term = self->term, .reject = true});
        return;
    }
    raft__log_line(self, LOG_INFO_LEVEL,
                   "%" PRIx64 " [term: %" PRIu64 "] ignored a %s message with lower term from %" PRIx64
                   " [term: %" PRIu64 "]",
                   self->config.id, self->term, raft_message_type_name(message->type), message->from, message->term);
}

bool raft__term_gate(struct raft *self, const struct raft_message *message) {
    if (message->term == 0 || message->term == self->term) return true;
    if (message->term > self->term) return gate_higher_term(self, message);
    gate_lower_term(self, message);
    return false;
}

void raft__handle_vote_request(struct raft *self, const struct raft_message *message) {
    bool is_pre = message->type == RAFT_MSG_PRE_VOTE;
    enum raft_message_type answer = is_pre ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP;
    bool is_free =
        self->vote == message->from || (self->vote == 0 && self->lead == 0) || (is_pre && message->term > self->term);
    uint64_t last = raft__log_last(&self->log);
    uint64_t last_term = raft__log_last_term(&self->log);
    bool is_up_to_date = message->log_term > last_term || (message->log_term == last_term && message->index >= last);
    bool is_granted = is_free && is_up_to_date;
    raft__log_line(self, LOG_INFO_LEVEL,
                   "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 ", vote: %" PRIx64 "] %s %s %s %" PRIx64
                   " [logterm: %" PRIu64 ", index: %" PRIu64 "] at term %" PRIu64,
                   self->config.id, last_term, last, self->vote, is_granted ? "cast" : "rejected",
                   raft_message_type_name(message->type), is_granted ? "for" : "from", message->from, message->log_term,
                   message->index, self->term);
    if (!is_granted) {
        raft__send(self,
                   (struct raft_message){.type = answer, .to = message->from, .term = self->term, .reject = true});
        return;
    }
    if (!is_pre) {
        self->election_elapsed = 0;
        self->vote = message->from;
    }
    /* A pre-vote is answered with the term it asked for: our own may be lower, and would be ignored then. */
    raft__send(self, (struct raft_message){.type = answer, .to = message->from, .term = message->term});
}

void raft__handle_vote_response(struct raft *self, const struct raft_message *message) {
    bool is_pre = self->role == RAFT_PRE_CANDIDATE;
    if (message->type != (is_pre ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP)) return;
    enum raft__vote_result result = poll(self, message->from, message->type, !message->reject);
    size_t granted = 0;
    size_t rejected = 0;
    for (size_t i = 0; i < self->peers.count; i++) {
        const struct raft__progress *peer = &self->peers.items[i];
        granted += !peer->is_learner && peer->vote == RAFT__VOTE_YES;
        rejected += !peer->is_learner && peer->vote == RAFT__VOTE_NO;
    }
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " has received %zu %s votes and %zu vote rejections",
                   self->config.id, granted, raft_message_type_name(message->type), rejected);
    if (result == RAFT__VOTE_LOST) {
        raft__become_follower(self, self->term, 0);
    } else if (result == RAFT__VOTE_WON && is_pre) {
        campaign_for_real(self, false);
    } else if (result == RAFT__VOTE_WON) {
        become_leader(self);
        raft__bcast_append(self);
    }
}

enum err raft__step_candidate(struct raft *self, const struct raft_message *message) {
    switch (message->type) {
    case RAFT_MSG_PROP:
        raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " no leader at term %" PRIu64 "; dropping proposal",
                       self->config.id, self->term);
        return ERR_RAFT_PROPOSAL_DROPPED;
    case RAFT_MSG_APP:
    case RAFT_MSG_HEARTBEAT:
    case RAFT_MSG_SNAP:
        raft__become_follower(self, message->term, message->from); /* of this very term: it has won */
        return raft__step_follower(self, message);
    case RAFT_MSG_PRE_VOTE_RESP:
    case RAFT_MSG_VOTE_RESP: raft__handle_vote_response(self, message); return OK;
    case RAFT_MSG_TIMEOUT_NOW:
        raft__log_line(self, LOG_DEBUG_LEVEL,
                       "%" PRIx64 " [term %" PRIu64 " state %s] ignored MsgTimeoutNow from %" PRIx64, self->config.id,
                       self->term, raft_role_name(self->role), message->from);
        return OK;
    default: return OK;
    }
}
