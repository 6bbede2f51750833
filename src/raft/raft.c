#include "raft/core.h"

#include <inttypes.h>

/* ---- small things for all files ---- */

void raft__log_line(struct raft *self, enum log_level level, const char *format, ...) {
    if (self->config.log == NULL || !log_is_enabled(self->config.log, level)) return;
    struct buf text CLEANUP_BUF = BUF_INIT;
    va_list args;
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    LOG_AT(self->config.log, level, buf_cstr(&text));
}

static size_t place_of(const struct raft *self, uint64_t id) {
    size_t at = 0;
    while (at < self->peers.count && self->peers.items[at].id < id) at++;
    return at;
}

struct raft__progress *raft__peer(const struct raft *self, uint64_t id) {
    size_t at = place_of(self, id);
    return at < self->peers.count && self->peers.items[at].id == id ? &self->peers.items[at] : NULL;
}

/* ---- what leaves, and what waits for the disk ---- */

struct raft_entry *raft__outbox_entries(struct raft *self, const struct raft_entry *entries, size_t count) {
    struct raft__outbox *box = &self->outboxes[self->filling];
    struct raft_entry *copies = arena_alloc(&box->arena, count * sizeof *copies);
    for (size_t i = 0; i < count; i++) {
        copies[i] = entries[i];
        if (entries[i].owner != NULL)
            shared_ref(copies[i].owner);
        else
            copies[i].data = raft__outbox_bytes(self, entries[i].data);
    }
    return copies;
}

struct slice raft__outbox_bytes(struct raft *self, struct slice bytes) {
    if (bytes.data == NULL) return SLICE_NONE;
    return arena_copy(&self->outboxes[self->filling].arena, bytes);
}

void raft__add_read_state(struct raft *self, uint64_t index, struct slice context) {
    struct raft_read_state state = {.index = index, .context = raft__outbox_bytes(self, context)};
    VEC_PUSH(&self->outboxes[self->filling].read_states, state);
}

static void outbox_clear(struct raft__outbox *box) {
    for (size_t i = 0; i < box->messages.count; i++) {
        struct raft_message *message = &box->messages.items[i];
        for (size_t j = 0; j < message->entry_count; j++) shared_unref(message->entries[j].owner);
        if (message->snapshot != NULL) raft_snapshot_release(message->snapshot);
    }
    box->messages.count = 0;
    box->read_states.count = 0;
    arena_reset(&box->arena);
}

static bool needs_save(const struct raft *self) {
    return self->log.taken < raft__log_last(&self->log) || self->has_received || self->term != self->given_hard.term ||
           self->vote != self->given_hard.vote;
}

/* The save that makes everything up to now durable; 0: it is. */
static uint64_t save_to_wait_for(const struct raft *self) {
    if (self->config.saves_first) return 0;
    if (needs_save(self)) return self->last_save_id + 1;
    return self->saves.count > 0 ? self->saves.items[self->saves.count - 1].id : 0;
}

static bool is_promise(const struct raft_message *message) {
    return message->type == RAFT_MSG_APP_RESP || message->type == RAFT_MSG_VOTE_RESP;
}

static void push_message(struct raft *self, struct raft_message message) {
    struct raft__outbox *box = &self->outboxes[self->filling];
    if (message.type == RAFT_MSG_APP_RESP && !message.reject && !self->config.saves_first && box->messages.count > 0) {
        /* A later acknowledgement says what the one before it said. */
        struct raft_message *last = &box->messages.items[box->messages.count - 1];
        if (last->type == RAFT_MSG_APP_RESP && !last->reject && last->to == message.to && last->term == message.term &&
            last->index <= message.index) {
            *last = message;
            return;
        }
    }
    VEC_PUSH(&box->messages, message);
}

void raft__send(struct raft *self, struct raft_message message) {
    if (message.from == 0) message.from = self->config.id;
    switch (message.type) {
    case RAFT_MSG_VOTE:
    case RAFT_MSG_VOTE_RESP:
    case RAFT_MSG_PRE_VOTE:
    case RAFT_MSG_PRE_VOTE_RESP: break; /* say themselves */
    case RAFT_MSG_PROP:
    case RAFT_MSG_READ_INDEX: break; /* have none: whoever leads is meant */
    default: message.term = self->term;
    }
    uint64_t save_id = is_promise(&message) ? save_to_wait_for(self) : 0;
    if (save_id != 0 || message.to == self->config.id)
        VEC_PUSH(&self->held, (struct raft__held){.save_id = save_id, .message = message});
    else
        push_message(self, message);
}

static void release_held(struct raft *self, uint64_t save_id) {
    size_t done = 0;
    while (done < self->held.count && self->held.items[done].save_id <= save_id) done++;
    if (done == 0) return;
    /* Counting the own vote may hold back new messages, behind these. */
    for (size_t i = 0; i < done; i++) {
        struct raft_message message = self->held.items[i].message;
        if (message.to != self->config.id)
            push_message(self, message);
        else if (message.term == self->term && self->role == RAFT_CANDIDATE)
            raft__handle_vote_response(self, &message);
    }
    self->held.count -= done;
    memmove(self->held.items, self->held.items + done, self->held.count * sizeof *self->held.items);
}

static void handle_saved(struct raft *self, uint64_t save_id) {
    size_t done = 0;
    for (; done < self->saves.count && self->saves.items[done].id <= save_id; done++)
        if (self->saves.items[done].last_index > self->log.saved) self->log.saved = self->saves.items[done].last_index;
    self->saves.count -= done;
    memmove(self->saves.items, self->saves.items + done, self->saves.count * sizeof *self->saves.items);
    if (self->role == RAFT_LEADER) raft__leader_saved(self);
    release_held(self, save_id);
}

/* ---- members ---- */

static void reconcile_peers(struct raft *self) {
    size_t kept = 0;
    for (size_t i = 0; i < self->peers.count; i++) {
        if (raft__conf_has(&self->conf, self->peers.items[i].id))
            self->peers.items[kept++] = self->peers.items[i];
        else
            raft__progress_release(&self->peers.items[i]);
    }
    self->peers.count = kept;
    uint64_t last = raft__log_last(&self->log);
    const raft_ids *lists[] = {&self->conf.voters, &self->conf.voters_outgoing, &self->conf.learners};
    for (size_t list = 0; list < 3; list++) {
        for (size_t i = 0; i < lists[list]->count; i++) {
            uint64_t id = lists[list]->items[i];
            if (raft__peer(self, id) != NULL) continue;
            struct raft__progress peer;
            raft__progress_init(&peer, id, last > 0 ? last : 1, self->config.max_inflight);
            if (id == self->config.id) raft__progress_update(&peer, self->config.saves_first ? last : self->log.saved);
            size_t at = place_of(self, id);
            VEC_RESERVE(&self->peers, 1);
            memmove(self->peers.items + at + 1, self->peers.items + at,
                    (self->peers.count - at) * sizeof *self->peers.items);
            self->peers.items[at] = peer;
            self->peers.count++;
        }
    }
    for (size_t i = 0; i < self->peers.count; i++)
        self->peers.items[i].is_learner = raft__ids_have(&self->conf.learners, self->peers.items[i].id);
}

void raft__switch_conf(struct raft *self, struct raft_conf_state conf) {
    raft_conf_state_release(&self->conf);
    self->conf = conf;
    reconcile_peers(self);
    struct buf text CLEANUP_BUF = BUF_INIT;
    raft__conf_append_text(&self->conf, &text);
    raft__log_line(self, LOG_INFO_LEVEL, "%" PRIx64 " switched to configuration %s", self->config.id, buf_cstr(&text));

    const struct raft__progress *own = raft__peer(self, self->config.id);
    if (self->role != RAFT_LEADER || own == NULL || own->is_learner || self->conf.voters.count == 0) return;
    if (raft__maybe_commit(self)) {
        raft__after_commit(self); /* a smaller quorum may have it already */
    } else {
        for (size_t i = 0; i < self->peers.count; i++)
            if (self->peers.items[i].id != self->config.id) raft__maybe_send_append(self, &self->peers.items[i], false);
    }
    if (self->transferee != 0 && !raft__conf_votes(&self->conf, self->transferee)) self->transferee = 0;
}

static enum err change_conf(struct raft *self, enum raft_conf_change_transition transition,
                            const struct raft_conf_change_single *changes, size_t count) {
    struct raft_conf_state next;
    const char *problem;
    if (count == 0 && transition == RAFT_TRANSITION_AUTO)
        problem = raft__conf_leave_joint(&self->conf, &next);
    else if (transition != RAFT_TRANSITION_AUTO || count > 1)
        problem =
            raft__conf_enter_joint(&self->conf, transition != RAFT_TRANSITION_JOINT_EXPLICIT, changes, count, &next);
    else
        problem = raft__conf_simple(&self->conf, changes, count, &next);
    if (problem != NULL) {
        raft__log_line(self, LOG_ERROR_LEVEL, "%" PRIx64 " refused conf change: %s", self->config.id, problem);
        return ERR_INVALID;
    }
    raft__switch_conf(self, next);
    return OK;
}

/* ---- events ---- */

static void handle_applied(struct raft *self, uint64_t index) {
    uint64_t before = self->log.applied;
    if (index <= before) return;
    CHECKF(index <= self->log.handed,
           "applied(%" PRIu64 ") is out of range [prevApplied(%" PRIu64 "), handed(%" PRIu64 ")]", index, before,
           self->log.handed);
    uint64_t from = before > self->log.base_index ? before + 1 : raft__log_first(&self->log);
    for (uint64_t i = from; i <= index && self->log.handed_bytes > 0; i++)
        self->log.handed_bytes -= raft_entry_size(raft__log_at(&self->log, i));
    self->log.applied = index;
    if (self->log.installing != 0 && index >= self->log.installing) self->log.installing = 0;
    raft__maybe_leave_joint(self, before);
}

static enum err step_message(struct raft *self, const struct raft_message *message) {
    if (!raft__term_gate(self, message)) return OK;
    if (message->type == RAFT_MSG_VOTE || message->type == RAFT_MSG_PRE_VOTE) {
        raft__handle_vote_request(self, message);
        return OK;
    }
    switch (self->role) {
    case RAFT_LEADER: return raft__step_leader(self, message);
    case RAFT_FOLLOWER: return raft__step_follower(self, message);
    default: return raft__step_candidate(self, message);
    }
}

/* Numbers beyond what any log gets to would wrap where one is added to them. */
static bool is_in_range(const struct raft_message *message) {
    const uint64_t max = INT64_MAX;
    const struct raft_snapshot *snapshot = message->snapshot;
    return message->term <= max && message->log_term <= max && message->index <= max && message->commit <= max &&
           message->reject_hint <= max && (snapshot == NULL || (snapshot->term <= max && snapshot->index <= max));
}

/* Requests that are passed on may come back to whom they are from; a transfer is from whom it is for. Any other message
 * from ourselves is not: we'd take ourselves for the leader that we follow. */
static bool keeps_its_origin(enum raft_message_type type) {
    return type == RAFT_MSG_PROP || type == RAFT_MSG_READ_INDEX || type == RAFT_MSG_TRANSFER_LEADER;
}

static enum err receive(struct raft *self, const struct raft_message *message) {
    if (!is_in_range(message) || (message->from == self->config.id && !keeps_its_origin(message->type)))
        return ERR_INVALID;
    switch (message->type) {
    case RAFT_MSG_PROP: {
        /* The leader is the one who proposes; who asked it to is lost, as upstream. */
        struct raft_message proposal = *message;
        proposal.from = self->config.id;
        proposal.term = 0;
        return step_message(self, &proposal);
    }
    case RAFT_MSG_APP_RESP:
    case RAFT_MSG_VOTE_RESP:
    case RAFT_MSG_PRE_VOTE_RESP:
    case RAFT_MSG_HEARTBEAT_RESP:
        if (raft__peer(self, message->from) == NULL) return ERR_RAFT_PEER_NOT_FOUND;
        break;
    case RAFT_MSG_APP:
    case RAFT_MSG_VOTE:
    case RAFT_MSG_PRE_VOTE:
    case RAFT_MSG_SNAP:
    case RAFT_MSG_HEARTBEAT:
    case RAFT_MSG_TRANSFER_LEADER:
    case RAFT_MSG_TIMEOUT_NOW:
    case RAFT_MSG_READ_INDEX:
    case RAFT_MSG_READ_INDEX_RESP: break;
    default: return ERR_INVALID;
    }
    /* Only requests passed on have no term; the rest would slip through the gate. */
    if (message->term == 0 && message->type != RAFT_MSG_READ_INDEX) return ERR_INVALID;
    return step_message(self, message);
}

static enum err propose(struct raft *self, const struct raft_entry *entries, size_t count) {
    if (self->role == RAFT_LEADER) return raft__leader_propose(self, entries, count);
    /* Only looked at during the call: entries that the message does not own. */
    struct raft_message message = {
        .type = RAFT_MSG_PROP, .entries = (struct raft_entry *)(uintptr_t)entries, .entry_count = count};
    return step_message(self, &message);
}

static enum err read_index(struct raft *self, struct slice context) {
    if (context.len > RAFT_MAX_READ_CONTEXT_BYTES) return ERR_INVALID;
    if (self->role == RAFT_LEADER) {
        raft__leader_read(self, 0, context);
        return OK;
    }
    if (self->role != RAFT_FOLLOWER) return ERR_NO_LEADER;
    struct raft_entry entry = {.data = context};
    struct raft_message message = {.type = RAFT_MSG_READ_INDEX, .entries = &entry, .entry_count = 1};
    return step_message(self, &message);
}

static enum err transfer_leader(struct raft *self, uint64_t transferee) {
    if (self->role == RAFT_LEADER) {
        raft__leader_transfer(self, transferee);
        return OK;
    }
    if (self->role != RAFT_FOLLOWER) return ERR_NO_LEADER;
    struct raft_message message = {.type = RAFT_MSG_TRANSFER_LEADER, .from = transferee};
    return step_message(self, &message);
}

static enum err handle(struct raft *self, const struct raft_event *event) {
    switch (event->type) {
    case RAFT_NOTHING: return OK;
    case RAFT_TICK:
        if (self->role == RAFT_LEADER)
            raft__tick_leader(self);
        else
            raft__tick_election(self);
        return OK;
    case RAFT_CAMPAIGN: raft__hup(self, false); return OK;
    case RAFT_PROPOSE: return propose(self, event->propose.entries, event->propose.count);
    case RAFT_RECEIVE: return receive(self, event->message);
    case RAFT_SAVED: handle_saved(self, event->save_id); return OK;
    case RAFT_APPLIED: handle_applied(self, event->applied); return OK;
    case RAFT_CONF_CHANGE: {
        struct raft_conf_change_single single = {event->conf_change->type, event->conf_change->node_id};
        return change_conf(self, RAFT_TRANSITION_AUTO, &single, 1);
    }
    case RAFT_CONF_CHANGE_V2: {
        const struct raft_conf_change_v2 *change = event->conf_change_v2;
        return change_conf(self, change->transition, change->changes, change->change_count);
    }
    case RAFT_READ_INDEX: return read_index(self, event->read_context);
    case RAFT_TRANSFER_LEADER: return transfer_leader(self, event->transferee);
    case RAFT_UNREACHABLE:
        if (self->role == RAFT_LEADER) raft__leader_unreachable(self, event->unreachable);
        return OK;
    case RAFT_SNAPSHOT_STATUS:
        if (self->role == RAFT_LEADER)
            raft__leader_snapshot_status(self, event->snapshot_status.to, event->snapshot_status.failed);
        return OK;
    }
    UNREACHABLE();
}

/* ---- the update ---- */

static struct raft_hard_state hard_of(const struct raft *self) {
    return (struct raft_hard_state){.term = self->term, .vote = self->vote, .commit = self->log.committed};
}

static bool soft_changed(const struct raft *self) {
    return self->given_lead != self->lead || self->given_role != self->role;
}

/* The last entry that may be handed out for applying now. */
static uint64_t last_to_apply(const struct raft *self) {
    if (self->log.installing != 0) return 0;
    if (self->log.handed_bytes >= self->config.max_applying_bytes) return 0;
    uint64_t safe = self->config.saves_first ? raft__log_last(&self->log) : self->log.saved;
    return safe < self->log.committed ? safe : self->log.committed;
}

bool raft_has_update(const struct raft *self) {
    const struct raft__outbox *box = &self->outboxes[self->filling];
    return soft_changed(self) || !raft_hard_state_equal(hard_of(self), self->given_hard) ||
           self->log.taken < raft__log_last(&self->log) || self->has_received || box->messages.count > 0 ||
           box->read_states.count > 0 || last_to_apply(self) > self->log.handed;
}

static void give_what_to_save(struct raft *self, struct raft_update *update) {
    struct raft_hard_state hard = hard_of(self);
    update->hard = hard;
    update->hard_changed = !raft_hard_state_equal(hard, self->given_hard);
    update->must_sync = self->log.taken < raft__log_last(&self->log) || hard.term != self->given_hard.term ||
                        hard.vote != self->given_hard.vote || (self->has_received && !self->config.saves_first);
    self->given_hard = hard;
    if (self->has_received) {
        self->given_snapshot = self->received_snapshot;
        self->received_snapshot = (struct raft_snapshot){0};
        self->has_received = false;
        update->snapshot = &self->given_snapshot;
    }
    uint64_t last = raft__log_last(&self->log);
    if (self->log.taken < last) {
        update->entries = raft__log_at(&self->log, self->log.taken + 1);
        update->entry_count = (size_t)(last - self->log.taken);
        self->log.taken = last;
    }
    if (!update->must_sync || self->config.saves_first) return;
    update->save_id = ++self->last_save_id;
    VEC_PUSH(&self->saves, (struct raft__save){.id = update->save_id, .last_index = last});
}

static void give_what_to_apply(struct raft *self, struct raft_update *update) {
    uint64_t last = last_to_apply(self);
    if (last <= self->log.handed) return;
    uint64_t room = self->config.max_applying_bytes - self->log.handed_bytes;
    uint64_t bytes = 0;
    update->committed = raft__log_at(&self->log, self->log.handed + 1);
    update->committed_count = raft__log_batch(&self->log, self->log.handed + 1, last, room, &bytes);
    self->log.handed += update->committed_count;
    self->log.handed_bytes += bytes;
}

static void give(struct raft *self, struct raft_update *update) {
    *update = (struct raft_update){.soft_changed = soft_changed(self), .lead = self->lead, .role = self->role};
    self->given_lead = self->lead;
    self->given_role = self->role;
    give_what_to_save(self, update);
    if (self->config.saves_first) self->log.saved = self->log.taken;
    give_what_to_apply(self, update);

    struct raft__outbox *box = &self->outboxes[self->filling];
    update->messages = box->messages.items;
    update->message_count = box->messages.count;
    update->read_states = box->read_states.items;
    update->read_state_count = box->read_states.count;
    self->filling = !self->filling;
    update->has_more = raft_has_update(self);
}

enum err raft_step(struct raft *self, const struct raft_event *event, struct raft_update *ret_update) {
    enum err error = handle(self, event);
    if (ret_update == NULL) return error;
    outbox_clear(&self->outboxes[!self->filling]);
    raft_snapshot_release(&self->given_snapshot);
    give(self, ret_update);
    return error;
}

/* ---- life ---- */

static enum err check_start(const struct raft_start *start, struct errmsg *message) {
    uint64_t last = start->snapshot_index + start->entry_count;
    for (size_t i = 0; i < start->entry_count; i++)
        if (start->entries[i].index != start->snapshot_index + 1 + i)
            return err_set(message, ERR_CORRUPT, "missing log entry [last: %" PRIu64 ", append at: %" PRIu64 "]",
                           start->snapshot_index + i, start->entries[i].index);
    if (!raft_hard_state_is_empty(start->hard_state) &&
        (start->hard_state.commit < start->snapshot_index || start->hard_state.commit > last))
        return err_set(message, ERR_CORRUPT, "state.commit %" PRIu64 " is out of range [%" PRIu64 ", %" PRIu64 "]",
                       start->hard_state.commit, start->snapshot_index, last);
    uint64_t committed = raft_hard_state_is_empty(start->hard_state) ? start->snapshot_index : start->hard_state.commit;
    if (start->applied > committed)
        return err_set(message, ERR_CORRUPT,
                       "applied(%" PRIu64 ") is out of range [prevApplied(0), committed(%" PRIu64 ")]", start->applied,
                       committed);
    return OK;
}

static void load(struct raft *self, const struct raft_start *start) {
    struct raft__log *log = &self->log;
    log->base_index = start->snapshot_index;
    log->base_term = start->snapshot_term;
    for (size_t i = 0; i < start->entry_count; i++) raft__log_push(log, raft_entry_copy(&start->entries[i]));
    log->taken = log->saved = raft__log_last(log);
    bool is_new = raft_hard_state_is_empty(start->hard_state);
    log->committed = is_new ? start->snapshot_index : start->hard_state.commit;
    log->applied = log->handed = start->applied > start->snapshot_index ? start->applied : start->snapshot_index;
    self->term = start->hard_state.term;
    self->vote = start->hard_state.vote;
    self->own_snapshot.index = start->snapshot_index;
    self->own_snapshot.term = start->snapshot_term;
}

static void log_start(struct raft *self) {
    struct buf peers CLEANUP_BUF = BUF_INIT;
    for (size_t i = 0; i < self->conf.voters.count; i++)
        buf_printf(&peers, i == 0 ? "%" PRIx64 : ",%" PRIx64, self->conf.voters.items[i]);
    raft__log_line(self, LOG_INFO_LEVEL,
                   "newRaft %" PRIx64 " [peers: [%s], term: %" PRIu64 ", commit: %" PRIu64 ", applied: %" PRIu64
                   ", lastindex: %" PRIu64 ", lastterm: %" PRIu64 "]",
                   self->config.id, buf_cstr(&peers), self->term, self->log.committed, self->log.applied,
                   raft__log_last(&self->log), raft__log_last_term(&self->log));
}

enum err raft_new(const struct raft_config *config, const struct raft_start *start, struct raft **ret_raft,
                  struct errmsg *message) {
    CHECK(config->id != 0 && config->heartbeat_ticks > 0 && config->election_ticks > config->heartbeat_ticks);
    TRY(check_start(start, message));
    struct raft *self = NEW(struct raft);
    self->config = *config;
    if (self->config.max_message_bytes == 0) self->config.max_message_bytes = RAFT_DEFAULT_MAX_MESSAGE_BYTES;
    if (self->config.max_applying_bytes == 0) self->config.max_applying_bytes = RAFT_DEFAULT_MAX_APPLYING_BYTES;
    if (self->config.max_inflight == 0) self->config.max_inflight = RAFT_DEFAULT_MAX_INFLIGHT;
    prng_init(&self->prng, config->seed);
    arena_init(&self->outboxes[0].arena, 0);
    arena_init(&self->outboxes[1].arena, 0);
    load(self, start);

    struct raft_conf_state conf = {0};
    if (start->conf_state != NULL) {
        raft__ids_copy(&conf.voters, &start->conf_state->voters);
        raft__ids_copy(&conf.learners, &start->conf_state->learners);
        raft__ids_copy(&conf.voters_outgoing, &start->conf_state->voters_outgoing);
        raft__ids_copy(&conf.learners_next, &start->conf_state->learners_next);
        conf.auto_leave = start->conf_state->auto_leave;
        raft_conf_state_copy(&self->own_snapshot.conf_state, &conf);
    }
    raft__switch_conf(self, conf);
    raft__become_follower(self, self->term, 0);
    self->given_hard = hard_of(self);
    log_start(self);
    *ret_raft = self;
    return OK;
}

void raft_free(struct raft *self) {
    if (self == NULL) return;
    raft__reads_reset(self);
    VEC_RELEASE(&self->reads);
    VEC_RELEASE(&self->early_reads);
    for (size_t i = 0; i < 2; i++) {
        outbox_clear(&self->outboxes[i]);
        VEC_RELEASE(&self->outboxes[i].messages);
        VEC_RELEASE(&self->outboxes[i].read_states);
        arena_release(&self->outboxes[i].arena);
    }
    VEC_RELEASE(&self->held);
    VEC_RELEASE(&self->saves);
    for (size_t i = 0; i < self->peers.count; i++) raft__progress_release(&self->peers.items[i]);
    VEC_RELEASE(&self->peers);
    raft_conf_state_release(&self->conf);
    raft_snapshot_release(&self->own_snapshot);
    raft_snapshot_release(&self->received_snapshot);
    raft_snapshot_release(&self->given_snapshot);
    raft__log_release(&self->log);
    mem_free(self);
}

void raft_bootstrap(struct raft *self, const struct raft_peer *peers, size_t count) {
    CHECK(raft__log_last(&self->log) == 0 && self->term == 0 && count > 0);
    raft__become_follower(self, 1, 0);
    for (size_t i = 0; i < count; i++) {
        struct raft_conf_change change = {.type = RAFT_ADD_NODE, .node_id = peers[i].id, .context = peers[i].context};
        struct buf bytes CLEANUP_BUF = BUF_INIT;
        raft_conf_change_encode(&change, &bytes);
        raft__log_push(&self->log, raft_entry_make(RAFT_ENTRY_CONF_CHANGE, 1, i + 1, shared_copy(buf_slice(&bytes))));
    }
    self->log.committed = count;
    for (size_t i = 0; i < count; i++) {
        struct raft_conf_change_single single = {RAFT_ADD_NODE, peers[i].id};
        CHECK(change_conf(self, RAFT_TRANSITION_AUTO, &single, 1) == OK);
    }
}

/* ---- looking ---- */

const struct raft_conf_state *raft_conf_state(const struct raft *self) { return &self->conf; }
bool raft_is_voter(const struct raft *self, uint64_t id) { return raft__conf_votes(&self->conf, id); }
bool raft_is_learner(const struct raft *self, uint64_t id) { return raft__ids_have(&self->conf.learners, id); }

void raft_status(const struct raft *self, struct raft_status *ret_status) {
    *ret_status = (struct raft_status){
        .id = self->config.id,
        .hard = hard_of(self),
        .lead = self->lead,
        .role = self->role,
        .applied = self->log.applied,
        .transferee = self->transferee,
    };
}

size_t raft_progress_count(const struct raft *self) { return self->peers.count; }

static struct raft_progress progress_of(const struct raft__progress *peer) {
    return (struct raft_progress){
        .id = peer->id,
        .match = peer->match,
        .next = peer->next,
        .state = peer->state,
        .pending_snapshot = peer->pending_snapshot,
        .is_learner = peer->is_learner,
        .is_paused = raft__progress_is_paused(peer),
        .recently_active = peer->recently_active,
        .inflight = peer->inflight_count,
        .is_full = raft__progress_is_full(peer),
    };
}

void raft_progress_at(const struct raft *self, size_t index, struct raft_progress *ret_progress) {
    CHECK(index < self->peers.count);
    *ret_progress = progress_of(&self->peers.items[index]);
}

bool raft_progress_of(const struct raft *self, uint64_t id, struct raft_progress *ret_progress) {
    const struct raft__progress *peer = raft__peer(self, id);
    if (peer == NULL) return false;
    *ret_progress = progress_of(peer);
    return true;
}
