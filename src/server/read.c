/* read.c - linearizable reads: one read index for all who wait at that moment.
 *
 *   waiting --- turn, none in flight ---> asked --- read state ---> applying --- index applied ---> callback
 *
 * Who comes while one is in flight waits for the next: its index may be older than their question. */
#include "base/bytes.h"
#include "server/internal.h"

#define RETRY_NS (500 * NS_PER_MS)

enum err server_read_index(struct server *self, struct server_read *read) {
    if (self->state != SERVER_RUNNING) return ERR_STOPPED;
    read->asked_ns = env_now_ns(self->env);
    list_push_back(&self->reads_waiting, &read->link);
    server__want_turn(self);
    return OK;
}

void server_read_cancel(struct server *self, struct server_read *read) {
    if (read->link.next != NULL) list_remove(&read->link);
}

static void ask(struct server *self, int64_t now_ns) {
    uint8_t context[8];
    store_u64be(context, self->read_context);
    self->read_asked_ns = now_ns;
    struct raft_event event = {.type = RAFT_READ_INDEX, .read_context = slice_make(context, sizeof context)};
    enum err error = raft_step(self->raft, &event, NULL);
    if (error != OK && error != ERR_NO_LEADER) self->stats.read_indexes_failed++;
}

void server__ask_read_index(struct server *self, int64_t now_ns) {
    if (self->read_context != 0 || list_is_empty(&self->reads_waiting) || self->lead == 0) return;
    list_splice_back(&self->reads_asked, &self->reads_waiting);
    self->read_context = server_next_id(self);
    ask(self, now_ns);
}

void server__read_state(struct server *self, const struct raft_read_state *state) {
    if (state->context.len != 8 || load_u64be(state->context.data) != self->read_context) return;
    self->read_context = 0;
    /* Waiters of an earlier index are served with the later one: it is not older. */
    self->read_index = state->index;
    list_splice_back(&self->reads_applying, &self->reads_asked);
    server__release_reads(self);
    if (!list_is_empty(&self->reads_waiting)) server__want_turn(self);
}

static void call_all(struct list *reads, enum err error) {
    while (!list_is_empty(reads)) {
        struct server_read *read = CONTAINER_OF(reads->next, struct server_read, link);
        list_remove(&read->link);
        read->callback(read, error);
    }
}

void server__release_reads(struct server *self) {
    if (self->applied_index < self->read_index || list_is_empty(&self->reads_applying)) return;
    struct list ready;
    list_init(&ready);
    list_splice_back(&ready, &self->reads_applying);
    call_all(&ready, OK);
}

static void expire(struct server *self, struct list *reads, int64_t now_ns, enum err error) {
    while (!list_is_empty(reads)) {
        struct server_read *read = CONTAINER_OF(reads->next, struct server_read, link);
        if (now_ns - read->asked_ns < self->request_timeout_ns) break;
        list_remove(&read->link);
        self->stats.read_indexes_failed++;
        read->callback(read, error);
    }
}

void server__check_reads(struct server *self, int64_t now_ns) {
    if (self->read_context != 0 && now_ns - self->read_asked_ns >= RETRY_NS) ask(self, now_ns);
    expire(self, &self->reads_waiting, now_ns, ERR_TIMEOUT);
    expire(self, &self->reads_asked, now_ns, ERR_TIMEOUT);
    expire(self, &self->reads_applying, now_ns, ERR_TIMEOUT_WAIT_APPLIED);
}

void server__fail_all_reads(struct server *self, enum err error) {
    self->read_context = 0;
    call_all(&self->reads_applying, error);
    call_all(&self->reads_asked, error);
    call_all(&self->reads_waiting, error);
}
