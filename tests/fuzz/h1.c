/* h1.c - a server's connection over HTTP/1.1. The first byte says how the bytes are cut, the second what the server's
 * options are; then the bytes. A byte 0xff (which no request needs) is a step: what is before it arrives, and the byte
 * behind it says what happens then. */
#include "fuzz/http_world.h"

#define BASE_BYTES (1024 * 1024)
#define FACTOR 1024

static void play(struct http_world *world, struct fuzz_input *input, struct fuzz_cuts *cuts) {
    while (fuzz_left(input) != 0) {
        struct slice part = fuzz_part(input);
        while (part.len != 0) {
            size_t length = fuzz_cut(cuts, part.len);
            struct slice piece = fuzz_copy(slice_make(part.data, length));
            http_world_deliver(world, piece);
            fuzz_drop(piece);
            part = slice_from(part, length);
        }
        if (fuzz_left(input) == 0) break;
        uint8_t choice = fuzz_byte(input);
        if (choice >= 0xf0)
            http_world_pass(world, (choice - 0xf0) * INT64_C(30000000000));
        else
            http_world_other(world, choice);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    struct http_world world;
    struct fuzz_cuts cuts = fuzz_cuts_make(fuzz_byte(&input));
    size_t before_bytes = fuzz_live_bytes();
    http_world_open(&world, fuzz_byte(&input));
    play(&world, &input, &cuts);
    CHECK(fuzz_live_bytes() <= before_bytes + BASE_BYTES + FACTOR * size);
    http_world_close(&world);
    return 0;
}
