/* net.c - pairs of ends; what one sends waits in the other's queue until its time has come. */
#include "sim/net.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/vec.h"

#include <stdio.h>
#include <string.h>

enum piece_kind { PIECE_CONNECTED, PIECE_BYTES, PIECE_END };

struct piece {
    struct list link;
    enum piece_kind kind;
    int64_t arrival_ns;
    enum err error; /* PIECE_END */
    size_t len;
    uint8_t bytes[];
};

struct pair;

struct sim_end {
    struct pair *pair;
    struct sim_end *other;
    struct sim_machine *machine; /* NULL: nobody is there */
    char peer[64];
    const struct sim_end_events *events;
    void *context;
    struct list incoming;
    struct sim_event arrival;
    size_t unsent_bytes; /* in the other's incoming */
    bool is_held;
    bool is_closed;
};

struct pair {
    struct list link;
    struct sim_net *net;
    struct sim_end ends[2]; /* the one who connects, the one who listens */
    unsigned busy;          /* an event of one of them is under way */
};

struct listener {
    struct sim_machine *machine;
    char address[64];
    void (*accept)(void *context, struct sim_end *end);
    void *context;
};

struct cut {
    const char *names[2]; /* of machines: kept by the caller of sim_net_cut */
};

struct sim_net {
    struct sim *sim;
    struct list pairs;
    VEC(struct listener) listeners;
    VEC(struct cut) cuts;
    int64_t delay_min_ns;
    int64_t delay_max_ns;
    unsigned next_port;
};

struct sim_net *sim_net_new(struct sim *sim) {
    struct sim_net *self = NEW(struct sim_net);
    *self = (struct sim_net){.sim = sim, .delay_min_ns = 20000, .delay_max_ns = 100000, .next_port = 40000};
    list_init(&self->pairs);
    return self;
}

static void drop_incoming(struct sim_end *end) {
    while (!list_is_empty(&end->incoming)) {
        struct piece *piece = CONTAINER_OF(end->incoming.next, struct piece, link);
        list_remove(&piece->link);
        end->other->unsent_bytes -= piece->len;
        mem_free(piece);
    }
    sim_event_cancel(end->pair->net->sim, &end->arrival);
}

static void pair_free_when_over(struct pair *self) {
    if (self->busy > 0 || !self->ends[0].is_closed || !self->ends[1].is_closed) return;
    drop_incoming(&self->ends[0]);
    drop_incoming(&self->ends[1]);
    list_remove(&self->link);
    mem_free(self);
}

void sim_net_free(struct sim_net *self) {
    if (self == NULL) return;
    CHECKF(list_is_empty(&self->pairs), "a connection is left");
    VEC_RELEASE(&self->listeners);
    VEC_RELEASE(&self->cuts);
    mem_free(self);
}

void sim_net_set_delay(struct sim_net *self, int64_t min_ns, int64_t max_ns) {
    self->delay_min_ns = min_ns;
    self->delay_max_ns = max_ns;
}

/* ---- arrivals ---- */

static bool is_cut(const struct pair *pair) {
    const struct sim_net *net = pair->net;
    if (pair->ends[0].machine == NULL || pair->ends[1].machine == NULL) return false;
    const char *a = sim_machine_name(pair->ends[0].machine), *b = sim_machine_name(pair->ends[1].machine);
    for (size_t i = 0; i < net->cuts.count; i++) {
        const char *const *names = net->cuts.items[i].names;
        if ((strcmp(names[0], a) == 0 && strcmp(names[1], b) == 0) ||
            (strcmp(names[0], b) == 0 && strcmp(names[1], a) == 0))
            return true;
    }
    return false;
}

static void schedule(struct sim_end *self) {
    struct sim *sim = self->pair->net->sim;
    if (list_is_empty(&self->incoming) || self->is_held || self->is_closed || is_cut(self->pair)) {
        sim_event_cancel(sim, &self->arrival);
        return;
    }
    int64_t at_ns = CONTAINER_OF(self->incoming.next, struct piece, link)->arrival_ns, now_ns = sim_now_ns(sim);
    if (self->machine != NULL && sim_machine_resumes_ns(self->machine) > at_ns)
        at_ns = sim_machine_resumes_ns(self->machine);
    sim_event_start(sim, &self->arrival, at_ns > now_ns ? at_ns - now_ns : 0);
}

static void hand_over(struct sim_end *self, const struct piece *piece) {
    if (self->events == NULL) return;
    switch (piece->kind) {
    case PIECE_CONNECTED: self->events->connected(self->context, self); break;
    case PIECE_BYTES: self->events->received(self->context, self, slice_make(piece->bytes, piece->len)); break;
    case PIECE_END: self->events->ended(self->context, self, piece->error); break;
    }
}

static void arrived(struct sim_event *event) {
    struct sim_end *self = CONTAINER_OF(event, struct sim_end, arrival), *other = self->other;
    struct pair *pair = self->pair;
    if (self->machine != NULL && sim_machine_resumes_ns(self->machine) > sim_now_ns(pair->net->sim)) {
        schedule(self);
        return;
    }
    struct piece *piece = CONTAINER_OF(self->incoming.next, struct piece, link);
    list_remove(&piece->link);
    pair->busy++;
    other->unsent_bytes -= piece->len;
    hand_over(self, piece);
    bool is_drained = piece->kind == PIECE_BYTES && other->unsent_bytes == 0 && !other->is_closed;
    if (is_drained && other->events != NULL && other->events->drained != NULL)
        other->events->drained(other->context, other);
    mem_free(piece);
    schedule(self);
    pair->busy--;
    pair_free_when_over(pair);
}

static void send_piece(struct sim_end *from, enum piece_kind kind, enum err error, struct slice bytes) {
    struct sim_end *to = from->other;
    struct sim_net *net = from->pair->net;
    struct piece *piece = mem_alloc(sizeof *piece + bytes.len);
    *piece = (struct piece){.kind = kind, .error = error, .len = bytes.len};
    if (bytes.len > 0) memcpy(piece->bytes, bytes.data, bytes.len);
    piece->arrival_ns = sim_now_ns(net->sim) + net->delay_min_ns;
    if (net->delay_max_ns > net->delay_min_ns)
        piece->arrival_ns += (int64_t)prng_below(sim_prng(net->sim), (uint64_t)(net->delay_max_ns - net->delay_min_ns));
    if (!list_is_empty(&to->incoming)) {
        int64_t before_ns = CONTAINER_OF(to->incoming.previous, struct piece, link)->arrival_ns;
        if (piece->arrival_ns < before_ns) piece->arrival_ns = before_ns;
    }
    list_push_back(&to->incoming, &piece->link);
    from->unsent_bytes += bytes.len;
    schedule(to);
}

/* ---- connections ---- */

void sim_net_listen(struct sim_net *self, struct sim_machine *machine, const char *address,
                    void (*accept)(void *context, struct sim_end *end), void *context) {
    struct listener listener = {.machine = machine, .accept = accept, .context = context};
    snprintf(listener.address, sizeof listener.address, "%s", address);
    VEC_PUSH(&self->listeners, listener);
}

void sim_net_unlisten(struct sim_net *self, const char *address) {
    for (size_t i = 0; i < self->listeners.count; i++)
        if (strcmp(self->listeners.items[i].address, address) == 0)
            self->listeners.items[i--] = self->listeners.items[--self->listeners.count];
}

static const struct listener *find_listener(const struct sim_net *self, const char *address) {
    for (size_t i = 0; i < self->listeners.count; i++)
        if (strcmp(self->listeners.items[i].address, address) == 0) return &self->listeners.items[i];
    return NULL;
}

struct sim_end *sim_net_connect(struct sim_net *self, struct sim_machine *machine, const char *address,
                                const struct sim_end_events *events, void *context) {
    struct pair *pair = NEW(struct pair);
    struct sim_end *near = &pair->ends[0], *far = &pair->ends[1];
    pair->net = self;
    list_push_back(&self->pairs, &pair->link);
    for (int i = 0; i < 2; i++) {
        pair->ends[i].pair = pair;
        pair->ends[i].other = &pair->ends[1 - i];
        pair->ends[i].arrival.fire = arrived;
        list_init(&pair->ends[i].incoming);
    }
    near->machine = machine;
    near->events = events;
    near->context = context;
    snprintf(near->peer, sizeof near->peer, "%s", address);
    snprintf(far->peer, sizeof far->peer, "%s:%u", sim_machine_name(machine), self->next_port++);
    const struct listener *listener = find_listener(self, address);
    if (listener == NULL) {
        far->is_closed = true;
        send_piece(far, PIECE_END, ERR_CONNECTION_REFUSED, SLICE_NONE);
        return near;
    }
    far->machine = listener->machine;
    send_piece(far, PIECE_CONNECTED, OK, SLICE_NONE);
    pair->busy++;
    listener->accept(listener->context, far);
    pair->busy--;
    return near;
}

void sim_end_set_events(struct sim_end *self, const struct sim_end_events *events, void *context) {
    self->events = events;
    self->context = context;
}
const char *sim_end_peer(const struct sim_end *self) { return self->peer; }
size_t sim_end_unsent(const struct sim_end *self) { return self->unsent_bytes; }

void sim_end_send(struct sim_end *self, struct slice bytes) {
    CHECK(!self->is_closed);
    if (bytes.len > 0 && !self->other->is_closed) send_piece(self, PIECE_BYTES, OK, bytes);
}

void sim_end_hold(struct sim_end *self, bool held) {
    self->is_held = held;
    schedule(self);
}

void sim_end_close(struct sim_end *self, enum sim_close how) {
    CHECK(!self->is_closed);
    self->is_closed = true;
    drop_incoming(self);
    if (!self->other->is_closed && how != SIM_CLOSE_SILENT) {
        if (how == SIM_CLOSE_RESET) drop_incoming(self->other);
        send_piece(self, PIECE_END, how == SIM_CLOSE_RESET ? ERR_IO : OK, SLICE_NONE);
    }
    pair_free_when_over(self->pair);
}

void sim_net_cut(struct sim_net *self, const char *name, const char *other, bool is_cut_now) {
    for (size_t i = 0; i < self->cuts.count; i++) {
        const char *const *names = self->cuts.items[i].names;
        if ((strcmp(names[0], name) == 0 && strcmp(names[1], other) == 0) ||
            (strcmp(names[0], other) == 0 && strcmp(names[1], name) == 0))
            self->cuts.items[i--] = self->cuts.items[--self->cuts.count];
    }
    if (is_cut_now) VEC_PUSH(&self->cuts, (struct cut){{name, other}});
    for (struct list *at = self->pairs.next; at != &self->pairs; at = at->next) {
        struct pair *pair = CONTAINER_OF(at, struct pair, link);
        schedule(&pair->ends[0]);
        schedule(&pair->ends[1]);
    }
}
