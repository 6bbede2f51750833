/* gzip.c - the one message encoding besides identity. Texts of failures are those of Go's gzip reader. */
#include "grpc/internal.h"

#include <zlib.h>

#define GZIP_WINDOW_BITS (15 + 16)
#define GZIP_HEAD_BYTES 10
#define STEP_BYTES (16 * 1024)

static enum err gunzip_failed(const char **ret_text, const char *text) {
    *ret_text = text;
    return ERR_CORRUPT;
}

static const char *corrupt_text(const z_stream *stream) {
    if (stream->msg != NULL && strstr(stream->msg, "header") != NULL) return "gzip: invalid header";
    if (stream->msg != NULL &&
        (strstr(stream->msg, "data check") != NULL || strstr(stream->msg, "length check") != NULL))
        return "gzip: invalid checksum";
    return "flate: corrupt input before offset 0";
}

enum err grpc__gunzip(struct slice packed, size_t limit_bytes, struct buf *output, const char **ret_text) {
    if (packed.len == 0) return gunzip_failed(ret_text, "EOF");
    if (packed.len < GZIP_HEAD_BYTES) return gunzip_failed(ret_text, "unexpected EOF");
    z_stream stream = {0};
    CHECK(inflateInit2(&stream, GZIP_WINDOW_BITS) == Z_OK);
    stream.next_in = (uint8_t *)(uintptr_t)packed.data;
    stream.avail_in = (unsigned)packed.len;
    size_t begin = output->len;
    enum err error = OK;
    for (;;) {
        size_t room = limit_bytes + 1 - (output->len - begin);
        stream.avail_out = (unsigned)(room < STEP_BYTES ? room : STEP_BYTES);
        unsigned step = stream.avail_out;
        stream.next_out = buf_reserve(output, step);
        int result = inflate(&stream, Z_NO_FLUSH);
        output->len += step - stream.avail_out;
        if (output->len - begin > limit_bytes) {
            error = ERR_REQUEST_TOO_LARGE;
            break;
        }
        if (result == Z_STREAM_END && stream.avail_in == 0) break;
        if (result == Z_STREAM_END) { /* another member follows */
            inflateReset(&stream);
        } else if (result == Z_BUF_ERROR) {
            error = gunzip_failed(ret_text, "unexpected EOF");
            break;
        } else if (result != Z_OK) {
            error = gunzip_failed(ret_text, corrupt_text(&stream));
            break;
        }
    }
    inflateEnd(&stream);
    return error;
}

void grpc__gzip(const struct http_piece *pieces, size_t count, struct buf *output) {
    z_stream stream = {0};
    CHECK(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    for (size_t i = 0; i <= count; i++) {
        bool is_last = i == count;
        stream.next_in = is_last ? NULL : (uint8_t *)(uintptr_t)pieces[i].bytes.data;
        stream.avail_in = is_last ? 0 : (unsigned)pieces[i].bytes.len;
        int result;
        do {
            stream.next_out = buf_reserve(output, STEP_BYTES);
            stream.avail_out = STEP_BYTES;
            result = deflate(&stream, is_last ? Z_FINISH : Z_NO_FLUSH);
            CHECK(result != Z_STREAM_ERROR);
            output->len += STEP_BYTES - stream.avail_out;
        } while (is_last ? result != Z_STREAM_END : stream.avail_in != 0 || stream.avail_out == 0);
    }
    deflateEnd(&stream);
}
