/* h2.c - a server's connection over HTTP/2: frames, HPACK, flow control, handlers that answer in every way. The first
 * byte says how the bytes are cut, the second what the server's options are (128: the input has its own preface); then
 * steps (frames.h). */
#include "fuzz/frames.h"
#include "fuzz/http_world.h"

/* A stream takes 20 bytes of input and some 4 KB of memory, an answer of LARGE_BYTES a copy of it. */
#define BASE_BYTES (2 * 1024 * 1024)
#define FACTOR (LARGE_BYTES / 2)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    struct http_world world;
    struct fuzz_wire wire = {.deliver = http_world_deliver,
                             .pass = http_world_pass,
                             .other = http_world_other,
                             .context = &world,
                             .paths = http_paths,
                             .path_count = sizeof http_paths / sizeof *http_paths};
    wire.cuts = fuzz_cuts_make(fuzz_byte(&input));
    uint8_t options = fuzz_byte(&input);
    size_t before_bytes = fuzz_live_bytes();
    http_world_open(&world, options);
    if (options < 128) fuzz_begin_client(&wire);
    fuzz_play(&wire, &input);
    CHECK(fuzz_live_bytes() <= before_bytes + BASE_BYTES + FACTOR * size);
    http_world_close(&world);
    return 0;
}
