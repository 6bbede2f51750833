#include "net/internal.h"

#define NS_PER_MS 1000000
#define LINGER_CHECK_MS 100

static void on_wake(uv_async_t *handle) {}

static void flush_dirty(struct net_loop *self) {
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &self->dirty);
    self->dirty_count = 0;
    while (!list_is_empty(&batch)) {
        struct net_link *link = CONTAINER_OF(batch.next, struct net_link, dirty_link);
        list_remove(&link->dirty_link);
        net__link_flush(link);
    }
}

size_t net__loop_read_budget(const struct net_loop *self) {
    bool are_many = self->readers > NET_MANY_READERS || self->last_readers > NET_MANY_READERS;
    return are_many ? NET_READ_SHARE_BYTES : NET_READ_BUDGET_BYTES;
}

bool net__loop_has_read_enough(struct net_loop *self) {
    uint64_t now_ns = uv_hrtime();
    if (self->reads_end_ns == 0) self->reads_end_ns = now_ns + NET_TURN_READ_NS;
    return now_ns >= self->reads_end_ns;
}

void net__loop_flush_batch(struct net_loop *self) {
    if (self->dirty_count >= NET_FLUSH_BATCH) flush_dirty(self);
}

static void resume(struct list *links) {
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, links);
    while (!list_is_empty(&batch)) {
        struct net_link *link = CONTAINER_OF(batch.next, struct net_link, wait_link);
        list_remove(&link->wait_link);
        net__link_resume_reading(link);
    }
}

/* A turn that was cut short has links that did not read. The poll would report the same ones first again: so those who
 * have read wait until nobody is late any more. */
static void share_reading(struct net_loop *self) {
    bool was_cut = !list_is_empty(&self->late);
    while (!list_is_empty(&self->reading)) {
        struct net_link *link = CONTAINER_OF(self->reading.next, struct net_link, wait_link);
        if (was_cut)
            net__link_throttle(link, &self->served);
        else
            list_remove(&link->wait_link);
    }
    resume(was_cut ? &self->late : &self->served);
}

/* libuv runs timers before it polls: without a turn in between, the poll would not know of the hook's next deadline. */
static void on_hook_timer(uv_timer_t *timer) { ((struct net_loop *)timer->data)->has_turned = false; }
static void on_idle(uv_idle_t *idle) {}

static void schedule(struct net_loop *self, int64_t next_ns) {
    if (next_ns == 0 || !list_is_empty(&self->dirty) || !list_is_empty(&self->served))
        uv_idle_start(&self->idle, on_idle);
    else
        uv_idle_stop(&self->idle);
    uv_update_time(&self->uv); /* the turn took time */
    if (next_ns > 0)
        uv_timer_start(&self->hook_timer, on_hook_timer, (uint64_t)(next_ns + NS_PER_MS - 1) / NS_PER_MS, 0);
    else
        uv_timer_stop(&self->hook_timer);
}

static void turn(struct net_loop *self) {
    self->has_turned = true;
    self->turn++;
    self->reads_end_ns = 0;
    self->last_readers = self->readers;
    self->readers = 0;
    int64_t next_ns = self->hook != NULL ? self->hook(self->hook_context) : -1;
    if (!list_is_empty(&self->dirty)) {
        flush_dirty(self);
        /* Flushing asks machines for bytes, which may start timers: they count for this poll. */
        if (self->hook != NULL) next_ns = self->hook(self->hook_context);
    }
    share_reading(self);
    schedule(self, next_ns);
    if (self->is_stopping) uv_stop(&self->uv);
}

static void on_check(uv_check_t *check) { turn(check->data); }

/* Before a poll: nothing that was made since the turn (by callbacks of closing, or outside of the loop) must wait in
 * it; before the very first one there was no turn, and a deadline of the hook's that has just passed wants one. */
static void on_prepare(uv_prepare_t *prepare) {
    struct net_loop *self = prepare->data;
    if (!self->has_turned) {
        turn(self);
    } else if (!list_is_empty(&self->dirty)) {
        flush_dirty(self);
        if (!list_is_empty(&self->dirty)) uv_idle_start(&self->idle, on_idle);
    }
}

static void end_lingering(uv_timer_t *timer) {
    struct net_loop *self = timer->data;
    uint64_t now_ns = uv_hrtime();
    while (!list_is_empty(&self->lingering)) {
        struct net_link *link = CONTAINER_OF(self->lingering.next, struct net_link, wait_link);
        if (link->linger_until_ns > now_ns) return;
        net__link_close(link, OK);
    }
    uv_timer_stop(timer);
}

void net__loop_linger(struct net_loop *self, struct net_link *link) {
    link->linger_until_ns = uv_hrtime() + NET_LINGER_NS;
    list_remove(&link->wait_link);
    list_push_back(&self->lingering, &link->wait_link);
    if (!uv_is_active((uv_handle_t *)&self->linger_timer))
        uv_timer_start(&self->linger_timer, end_lingering, LINGER_CHECK_MS, LINGER_CHECK_MS);
}

struct net_loop *net_loop_new(void) {
    struct net_loop *self = NEW(struct net_loop);
    CHECK(uv_loop_init(&self->uv) == 0);
    CHECK(uv_async_init(&self->uv, &self->wake, on_wake) == 0);
    uv_prepare_init(&self->uv, &self->prepare);
    uv_check_init(&self->uv, &self->check);
    uv_idle_init(&self->uv, &self->idle);
    uv_timer_init(&self->uv, &self->hook_timer);
    uv_timer_init(&self->uv, &self->linger_timer);
    self->prepare.data = self->check.data = self->hook_timer.data = self->linger_timer.data = self;
    uv_prepare_start(&self->prepare, on_prepare);
    uv_check_start(&self->check, on_check);
    list_init(&self->links);
    list_init(&self->dirty);
    list_init(&self->late);
    list_init(&self->served);
    list_init(&self->reading);
    list_init(&self->lingering);
    self->read_bytes = mem_alloc(NET__READ_BYTES);
    return self;
}

static void close_handle(uv_handle_t *handle, void *context) {
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void net_loop_free(struct net_loop *self) {
    if (self == NULL) return;
    LIST_FOREACH (it, &self->links) net__link_close(CONTAINER_OF(it, struct net_link, link), OK);
    uv_prepare_stop(&self->prepare);
    uv_check_stop(&self->check);
    /* Links first: their listeners close their own handles when the last is gone. */
    do uv_run(&self->uv, UV_RUN_NOWAIT);
    while (!list_is_empty(&self->links));
    uv_run(&self->uv, UV_RUN_NOWAIT);
    uv_walk(&self->uv, close_handle, NULL);
    uv_run(&self->uv, UV_RUN_DEFAULT);
    CHECK(list_is_empty(&self->links));
    CHECK(uv_loop_close(&self->uv) == 0);
    buf_release(&self->scratch);
    mem_free(self->read_bytes);
    mem_free(self);
}

void net_loop_set_turn_hook(struct net_loop *self, int64_t (*hook)(void *context), void *context) {
    self->hook = hook;
    self->hook_context = context;
}

void net_loop_wake(struct net_loop *self) { uv_async_send(&self->wake); }

void net_loop_wake_callback(void *loop) { net_loop_wake(loop); }

void net_loop_run(struct net_loop *self) {
    self->is_stopping = false;
    uv_run(&self->uv, UV_RUN_DEFAULT);
}

void net_loop_stop(struct net_loop *self) {
    self->is_stopping = true;
    net_loop_wake(self);
}

void net_loop_turn(struct net_loop *self, bool is_waiting) {
    uv_run(&self->uv, is_waiting ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

int net_loop_fd(const struct net_loop *self) { return uv_backend_fd(&self->uv); }

int64_t net_loop_timeout_ms(struct net_loop *self) {
    uv_update_time(&self->uv);
    return uv_backend_timeout(&self->uv);
}

static void on_signal(uv_signal_t *handle, int signal_number) {
    struct net__signal *signal = handle->data;
    signal->callback(signal->context, signal_number);
}

enum err net_loop_on_signal(struct net_loop *self, int signal_number,
                            void (*callback)(void *context, int signal_number), void *context) {
    CHECK(self->signal_count < NET__SIGNALS_MAX);
    struct net__signal *signal = &self->signals[self->signal_count];
    int error = uv_signal_init(&self->uv, &signal->handle);
    if (error != 0) return net__err(error);
    self->signal_count++;
    signal->handle.data = signal;
    signal->callback = callback;
    signal->context = context;
    return net__err(uv_signal_start(&signal->handle, on_signal, signal_number));
}
