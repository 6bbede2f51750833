/* frames.h - HTTP/2 as fuzz targets say it: an input is a row of steps, most of which append a frame whose lengths are
 * right, so that what is inside gets looked at; others append bytes as they are.
 *
 * Each step is a byte, and what it needs behind it. The bytes that were appended arrive with DELIVER, before whatever
 * concerns time or the connection as a whole, and at the end; cut as fuzz_cuts says.
 */
#ifndef TESTS_FUZZ_FRAMES_H
#define TESTS_FUZZ_FRAMES_H

#include "base/buf.h"
#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "grpc/internal.h"

#include <stdio.h>

/* New ones at the end: the kept inputs name them by place. */
enum fuzz_step {
    FUZZ_FRAME,    /* type, flags, stream, length, payload */
    FUZZ_RAW,      /* length, bytes */
    FUZZ_REQUEST,  /* stream, path, extras: HEADERS of a request */
    FUZZ_MESSAGE,  /* stream, flags, length, payload: DATA with one gRPC message */
    FUZZ_RESPONSE, /* stream, kind: HEADERS of an answer */
    FUZZ_TRAILERS, /* stream, code, length, text: HEADERS that end an answer */
    FUZZ_DATA,     /* stream, flags, hundreds: DATA of zeros */
    FUZZ_WINDOW,   /* stream, 4 bytes: WINDOW_UPDATE */
    FUZZ_SETTING,  /* number, 4 bytes: SETTINGS with one of them */
    FUZZ_DELIVER,
    FUZZ_PASS,  /* tenths of a second */
    FUZZ_OTHER, /* a byte for the target */
    FUZZ_CALL,  /* path, flags, length, payload: HEADERS on the next stream, and a message */
    FUZZ_STEPS
};

struct fuzz_wire {
    /* Bytes that have arrived: they are gone after the call. */
    void (*deliver)(void *context, struct slice bytes);
    void (*pass)(void *context, int64_t duration_ns);
    /* What else may happen, with a byte to choose by. */
    void (*other)(void *context, uint8_t choice);
    void *context;
    const char *const *paths; /* of requests */
    size_t path_count;
    const char *token;    /* for calls that want one; may be NULL */
    uint32_t next_stream; /* of calls; begins at 1 */
    struct fuzz_cuts cuts;
    struct buf bytes;
    struct buf block; /* headers */
};

static inline void fuzz_deliver(struct fuzz_wire *self) {
    struct slice left = buf_slice(&self->bytes);
    while (left.len != 0) {
        size_t length = fuzz_cut(&self->cuts, left.len);
        struct slice piece = fuzz_copy(slice_make(left.data, length));
        self->deliver(self->context, piece);
        fuzz_drop(piece);
        left = slice_from(left, length);
    }
    buf_clear(&self->bytes);
}

/* Odd streams from 1 on are the client's; 254 is the newest. */
static inline uint32_t fuzz__stream(const struct fuzz_wire *self, uint8_t byte) {
    if (byte == 254) return self->next_stream < 2 ? 1 : self->next_stream - 2;
    return byte < 128 ? byte * 2u + 1 : byte == 255 ? 0 : byte * 2u - 256;
}

static inline void fuzz_frame(struct fuzz_wire *self, uint8_t type, uint8_t flags, uint32_t stream,
                              struct slice payload) {
    uint8_t head[9] = {(uint8_t)(payload.len >> 16), (uint8_t)(payload.len >> 8), (uint8_t)payload.len, type, flags};
    store_u32be(head + 5, stream);
    buf_append(&self->bytes, head, sizeof head);
    buf_append_slice(&self->bytes, payload);
}

/* A literal that is not indexed, or, every other one, is. */
static inline void fuzz__field(struct fuzz_wire *self, bool is_indexed, const char *name, struct slice value) {
    struct buf *out = &self->block;
    buf_append_byte(out, is_indexed ? 0x40 : 0);
    buf_append_byte(out, (uint8_t)strlen(name));
    buf_append_cstr(out, name);
    CHECK(value.len < 127 && strlen(name) < 127);
    buf_append_byte(out, (uint8_t)value.len);
    buf_append_slice(out, value);
}

static inline void fuzz__headers(struct fuzz_wire *self, uint32_t stream, uint8_t flags) {
    fuzz_frame(self, 1, (uint8_t)(flags | 4), stream, buf_slice(&self->block));
    buf_clear(&self->block);
}

static inline void fuzz__text_field(struct fuzz_wire *self, bool is_indexed, const char *name, const char *value) {
    fuzz__field(self, is_indexed, name, slice_from_cstr(value));
}

static inline void fuzz__request(struct fuzz_wire *self, struct fuzz_input *input) {
    uint32_t stream = fuzz__stream(self, fuzz_byte(input));
    const char *path = self->paths[fuzz_byte(input) % self->path_count];
    uint8_t extras = fuzz_byte(input);
    bool index = extras & 1;
    fuzz__text_field(self, index, ":method", extras & 2 ? "GET" : "POST");
    fuzz__text_field(self, index, ":scheme", "http");
    fuzz__text_field(self, index, ":path", path);
    fuzz__text_field(self, index, ":authority", "localhost");
    fuzz__text_field(self, index, "content-type", extras & 4 ? "text/plain" : "application/grpc");
    if (extras & 8) fuzz__text_field(self, index, "te", "trailers");
    if (extras & 16) fuzz__text_field(self, index, "grpc-timeout", "500m");
    if (extras & 32) fuzz__text_field(self, index, "grpc-encoding", "gzip");
    if (extras & 64) fuzz__text_field(self, index, "hasleader", "true");
    fuzz__headers(self, stream, extras & 128 ? 1 : 0);
    if (stream >= self->next_stream) self->next_stream = (stream + 2) | 1;
}

/* Flags: 1 with the token, 2 more messages may follow, 4 on an indexed path. */
static inline void fuzz__call(struct fuzz_wire *self, struct fuzz_input *input) {
    const char *path = self->paths[fuzz_byte(input) % self->path_count];
    uint8_t flags = fuzz_byte(input);
    struct slice payload = fuzz_take(input, fuzz_byte(input));
    self->next_stream |= 1;
    fuzz__text_field(self, true, ":method", "POST");
    fuzz__text_field(self, true, ":scheme", "http");
    fuzz__text_field(self, flags & 4, ":path", path);
    fuzz__text_field(self, true, ":authority", "a");
    fuzz__text_field(self, true, "content-type", "application/grpc");
    if ((flags & 1) && self->token != NULL) fuzz__text_field(self, true, "token", self->token);
    fuzz__headers(self, self->next_stream, 0);
    uint8_t head[GRPC_PREFIX_BYTES] = {0};
    struct buf message = BUF_INIT;
    store_u32be(head + 1, (uint32_t)payload.len);
    buf_append(&message, head, sizeof head);
    buf_append_slice(&message, payload);
    fuzz_frame(self, 0, flags & 2 ? 0 : 1, self->next_stream, buf_slice(&message));
    buf_release(&message);
    self->next_stream += 2;
}

/* Flags: 1 the last, 2 say that it is packed, 4 pack it, 8 a length that is too long. */
static inline void fuzz__message(struct fuzz_wire *self, struct fuzz_input *input) {
    uint32_t stream = fuzz__stream(self, fuzz_byte(input));
    uint8_t flags = fuzz_byte(input);
    struct slice payload = fuzz_take(input, fuzz_byte(input));
    struct buf message = BUF_INIT, packed = BUF_INIT;
    if (flags & 4) {
        struct http_piece piece = {payload, NULL, NULL};
        grpc__gzip(&piece, 1, &packed);
        payload = buf_slice(&packed);
    }
    uint8_t head[GRPC_PREFIX_BYTES] = {(flags & 2) != 0};
    store_u32be(head + 1, (uint32_t)payload.len + (flags & 8 ? 100 : 0));
    buf_append(&message, head, sizeof head);
    buf_append_slice(&message, payload);
    fuzz_frame(self, 0, flags & 1, stream, buf_slice(&message));
    buf_release(&message);
    buf_release(&packed);
}

static inline void fuzz__response(struct fuzz_wire *self, struct fuzz_input *input) {
    static const char *const statuses[] = {"200", "200", "100", "404", "503", "204", "0", "x"};
    static const char *const types[] = {"application/grpc", "application/grpc+proto", "text/html", ""};
    uint32_t stream = fuzz__stream(self, fuzz_byte(input));
    uint8_t kind = fuzz_byte(input);
    fuzz__text_field(self, true, ":status", statuses[kind & 7]);
    fuzz__text_field(self, true, "content-type", types[kind >> 3 & 3]);
    if (kind & 32) fuzz__text_field(self, false, "grpc-encoding", "gzip");
    fuzz__headers(self, stream, kind & 64 ? 1 : 0);
}

/* Code 255: none; from 100 on: also a :status, an answer of trailers only. */
static inline void fuzz__trailers(struct fuzz_wire *self, struct fuzz_input *input) {
    uint32_t stream = fuzz__stream(self, fuzz_byte(input));
    uint8_t code = fuzz_byte(input);
    char text[8];
    if (code >= 100) {
        fuzz__text_field(self, true, ":status", "200");
        fuzz__text_field(self, true, "content-type", "application/grpc");
    }
    snprintf(text, sizeof text, "%d", code % 100 == 99 ? -1 : code % 100);
    if (code != 255) fuzz__text_field(self, false, "grpc-status", text);
    fuzz__field(self, false, "grpc-message", fuzz_take(input, fuzz_byte(input) % 100));
    fuzz__headers(self, stream, 1);
}

static inline void fuzz__data(struct fuzz_wire *self, struct fuzz_input *input) {
    static const uint8_t zeros[16384];
    uint32_t stream = fuzz__stream(self, fuzz_byte(input));
    uint8_t flags = fuzz_byte(input);
    size_t length = 100 * (size_t)fuzz_byte(input);
    fuzz_frame(self, 0, flags & 1, stream, slice_make(zeros, length < sizeof zeros ? length : sizeof zeros));
}

static inline void fuzz__step(struct fuzz_wire *self, struct fuzz_input *input) {
    switch ((enum fuzz_step)(fuzz_byte(input) % FUZZ_STEPS)) {
    case FUZZ_FRAME: {
        uint8_t type = fuzz_byte(input), flags = fuzz_byte(input);
        uint32_t stream = fuzz__stream(self, fuzz_byte(input));
        fuzz_frame(self, type, flags, stream, fuzz_take(input, fuzz_byte(input)));
        break;
    }
    case FUZZ_RAW: buf_append_slice(&self->bytes, fuzz_take(input, fuzz_byte(input))); break;
    case FUZZ_REQUEST: fuzz__request(self, input); break;
    case FUZZ_MESSAGE: fuzz__message(self, input); break;
    case FUZZ_RESPONSE: fuzz__response(self, input); break;
    case FUZZ_TRAILERS: fuzz__trailers(self, input); break;
    case FUZZ_DATA: fuzz__data(self, input); break;
    case FUZZ_WINDOW: {
        uint32_t stream = fuzz__stream(self, fuzz_byte(input));
        uint8_t bytes[4];
        store_u32be(bytes, (uint32_t)fuzz_number(input, 4));
        fuzz_frame(self, 8, 0, stream, slice_make(bytes, 4));
        break;
    }
    case FUZZ_SETTING: {
        uint8_t bytes[6] = {0, fuzz_byte(input)};
        store_u32be(bytes + 2, (uint32_t)fuzz_number(input, 4));
        fuzz_frame(self, 4, 0, 0, slice_make(bytes, 6));
        break;
    }
    case FUZZ_DELIVER: fuzz_deliver(self); break;
    case FUZZ_PASS:
        fuzz_deliver(self);
        self->pass(self->context, fuzz_byte(input) * INT64_C(100000000));
        break;
    case FUZZ_OTHER:
        fuzz_deliver(self);
        self->other(self->context, fuzz_byte(input));
        break;
    case FUZZ_CALL: fuzz__call(self, input); break;
    case FUZZ_STEPS: break;
    }
}

/* How a client begins: preface and SETTINGS. */
static inline void fuzz_begin_client(struct fuzz_wire *self) {
    buf_append_cstr(&self->bytes, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    fuzz_frame(self, 4, 0, 0, SLICE_NONE);
}

/* Plays the whole input. */
static inline void fuzz_play(struct fuzz_wire *self, struct fuzz_input *input) {
    while (fuzz_left(input) != 0) fuzz__step(self, input);
    fuzz_deliver(self);
    buf_release(&self->bytes);
    buf_release(&self->block);
}

#endif
