/* Limits in time: what a client makes a member hold on to, and for how long. */
#include "api/api.h"
#include "backend/backend.h"
#include "base/check.h"
#include "base/mem.h"
#include "http/server.h"
#include "sim/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FRAME_HEAD_BYTES 9
#define DATA 0
#define HEADERS 1
#define RST_STREAM 3
#define END_STREAM 1
#define END_HEADERS 4
#define ENHANCE_YOUR_CALM 11

/* A client that asks once and gives no window back. */
struct stranger {
    struct sim_end *end;
    struct buf received;
    bool is_connected;
};

static void connected(void *context, struct sim_end *end) { ((struct stranger *)context)->is_connected = true; }
static void received(void *context, struct sim_end *end, struct slice bytes) {
    buf_append_slice(&((struct stranger *)context)->received, bytes);
}
static void ended(void *context, struct sim_end *end, enum err error) {}
static bool is_connected(void *context) { return ((struct stranger *)context)->is_connected; }

static void append_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream, struct slice payload) {
    const uint8_t head[FRAME_HEAD_BYTES] = {(uint8_t)(payload.len >> 16),
                                            (uint8_t)(payload.len >> 8),
                                            (uint8_t)payload.len,
                                            type,
                                            flags,
                                            0,
                                            0,
                                            0,
                                            (uint8_t)stream};
    buf_append(out, head, sizeof head);
    buf_append_slice(out, payload);
}

static void append_line(struct buf *block, const char *name, const char *value) {
    buf_append_byte(block, 0);
    buf_append_byte(block, (uint8_t)strlen(name));
    buf_append_cstr(block, name);
    buf_append_byte(block, (uint8_t)strlen(value));
    buf_append_cstr(block, value);
}

static void ask(struct sim_stage *stage, struct stranger *self, const char *path, struct slice message) {
    static const struct sim_end_events events = {.connected = connected, .received = received, .ended = ended};
    *self = (struct stranger){0};
    self->end = sim_net_connect(stage->net, stage->desk, "host:2379", &events, self);
    assert_true(sim_run_until(stage->sim, is_connected, self, SIM_S_NS));
    struct buf block = BUF_INIT, out = BUF_INIT, body = BUF_INIT;
    append_line(&block, ":method", "POST");
    append_line(&block, ":scheme", "http");
    append_line(&block, ":path", path);
    append_line(&block, ":authority", "host");
    append_line(&block, "content-type", "application/grpc");
    append_line(&block, "te", "trailers");
    const uint8_t prefix[] = {0, 0, 0, 0, (uint8_t)message.len};
    buf_append(&body, prefix, sizeof prefix);
    buf_append_slice(&body, message);
    buf_append_cstr(&out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    append_frame(&out, 4, 0, 0, SLICE_NONE);
    append_frame(&out, HEADERS, END_HEADERS, 1, buf_slice(&block));
    append_frame(&out, DATA, END_STREAM, 1, buf_slice(&body));
    sim_end_send(self->end, buf_slice(&out));
    buf_release(&block);
    buf_release(&out);
    buf_release(&body);
}

static void leave(struct stranger *self) {
    sim_end_close(self->end, SIM_CLOSE_ORDERLY);
    buf_release(&self->received);
}

static size_t data_bytes(const struct stranger *self) {
    size_t bytes = 0;
    for (size_t at = 0; at + FRAME_HEAD_BYTES <= self->received.len;) {
        const uint8_t *head = self->received.data + at;
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (head[3] == DATA) bytes += len;
        at += FRAME_HEAD_BYTES + len;
    }
    return bytes;
}

/* The code of the reset that came; -1: none. */
static int reset_code(const struct stranger *self) {
    for (size_t at = 0; at + FRAME_HEAD_BYTES <= self->received.len;) {
        const uint8_t *head = self->received.data + at;
        if (head[3] == RST_STREAM) return head[FRAME_HEAD_BYTES + 3];
        at += FRAME_HEAD_BYTES + ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]);
    }
    return -1;
}

static size_t readers(struct sim_stage *stage) {
    return backend_open_readers(server_backend(sim_member_server(stage->member)));
}

/* A member with 5 MB in its database -> its readers. */
static size_t start_full(struct sim_stage *stage) {
    sim_stage_init(stage, 1, NULL);
    sim_stage_start(stage);
    enum { VALUE_BYTES = 1000000 };
    char *value = mem_alloc(VALUE_BYTES + 1);
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = 0;
    for (int i = 0; i < 5; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        sim_stage_put(stage, key, value);
    }
    mem_free(value);
    sim_run_for(stage->sim, SIM_S_NS); /* committed */
    return readers(stage);
}

static void test_a_snapshot_nobody_reads_is_given_up(void **state) {
    struct sim_stage stage;
    struct stranger stranger;
    size_t before = start_full(&stage);
    ask(&stage, &stranger, "/etcdserverpb.Maintenance/Snapshot", SLICE_NONE);
    sim_run_for(stage.sim, API_SNAPSHOT_STALL_NS / 2);
    assert_in_range(data_bytes(&stranger), 60000, 65535);
    assert_true(readers(&stage) > before);
    sim_run_for(stage.sim, API_SNAPSHOT_STALL_NS / 2 + SIM_S_NS);
    assert_int_equal(readers(&stage), before);
    sim_stage_put(&stage, "key", "value");
    leave(&stranger);
    sim_stage_release(&stage);
}

static void test_a_range_nobody_reads_is_given_up(void **state) {
    struct sim_stage stage;
    struct stranger stranger;
    size_t before = start_full(&stage);
    ask(&stage, &stranger, "/etcdserverpb.KV/Range", SLICE_LITERAL("\x0a\x01\0\x12\x01\0"));
    sim_run_for(stage.sim, HTTP_PRODUCER_STALL_NS / 2);
    assert_in_range(data_bytes(&stranger), 60000, 65535);
    sim_stage_put(&stage, "key", "value"); /* others go on with another view */
    sim_run_for(stage.sim, SIM_S_NS);
    assert_string_equal(sim_stage_get(&stage, "key"), "value");
    assert_true(readers(&stage) > before);
    sim_run_for(stage.sim, HTTP_PRODUCER_STALL_NS / 2 + SIM_S_NS);
    assert_int_equal(readers(&stage), before);
    assert_int_equal(reset_code(&stranger), ENHANCE_YOUR_CALM);
    leave(&stranger);
    sim_stage_release(&stage);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_snapshot_nobody_reads_is_given_up),
        cmocka_unit_test(test_a_range_nobody_reads_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
