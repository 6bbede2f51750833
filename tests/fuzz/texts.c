/* texts.c - small texts from outside: durations, URLs and lists of them, versions, endpoints, gRPC's header values, and
 * the escapes of answers. The first byte says which. */
#include "fuzz.h"

#include "base/gotext.h"
#include "client/endpoint.h"
#include "cluster/cluster.h"
#include "cluster/urls.h"
#include "cluster/version.h"
#include "grpc/internal.h"
#include "grpc/status.h"

#include <math.h>

enum { DURATION, URL, URLS, URLS_MAP, VERSION, ENDPOINT, TIMEOUT, BASE64, MESSAGE, QUOTE, FLOAT, KINDS };

static void duration(const char *text) {
    int64_t read_ns, again_ns;
    if (!go_parse_duration(text, &read_ns)) return;
    struct buf printed = BUF_INIT;
    go_append_duration(&printed, read_ns);
    CHECK(go_parse_duration(buf_cstr(&printed), &again_ns) && again_ns == read_ns);
    buf_release(&printed);
}

static void url(struct slice text) {
    struct url first, second;
    struct errmsg message = {""};
    enum err error = url_parse(text, &first, &message);
    CHECK(error == OK || (error == ERR_INVALID && message.text[0] != 0));
    if (error != OK) return;
    CHECK(url_scheme_name(first.scheme)[0] == (url_is_tls(&first) || first.scheme == URL_HTTP ? first.text[0] : 'u'));
    CHECK(first.host != NULL && first.port != NULL);
    if (url_parse(slice_from_cstr(first.text), &second, &message) == OK) url_release(&second);
    url_release(&first);
}

static void urls(struct slice text) {
    struct urls list;
    struct errmsg message = {""};
    enum err error = urls_parse(text, &list, &message);
    CHECK(error == OK || (error == ERR_INVALID && message.text[0] != 0));
    if (error != OK) return;
    struct buf printed = BUF_INIT;
    urls_append_text(&list, &printed);
    for (size_t i = 1; i < list.count; i++) CHECK(strcmp(list.items[i - 1].text, list.items[i].text) <= 0);
    urls_release(&list);
    buf_release(&printed);
}

static void members(const struct urls_map *map) {
    struct member_list list;
    struct errmsg message = {""};
    enum err error = member_list_from_urls_map(map, "token", &list, &message);
    CHECK(error == OK || (error == ERR_INVALID && message.text[0] != 0));
    if (error != OK) return;
    uint64_t ids[2] = {1, 2};
    for (size_t i = 0; i < list.count && i < 2; i++) ids[i] = list.items[i].id;
    CHECK(cluster_id_of(ids, 2) != 0);
    member_list_release(&list);
}

/* The map, 0xff, the URLs advertised. */
static void urls_map(struct slice bytes) {
    struct fuzz_input input = {bytes.data, bytes.data + bytes.len};
    struct slice text = fuzz_part(&input), advertised_text = fuzz_rest(&input);
    struct urls_map map;
    struct errmsg message = {""};
    enum err error = urls_map_parse(text, &map, &message);
    CHECK(error == OK || (error == ERR_INVALID && message.text[0] != 0));
    if (error != OK) return;
    struct buf printed = BUF_INIT;
    urls_map_append_text(&map, &printed);
    const char *name = map.count != 0 ? map.items[0].name : "x";
    CHECK((urls_map_find(&map, name) != NULL) == (map.count != 0));
    struct urls advertised = {0};
    if (urls_parse(advertised_text, &advertised, &message) == OK && map.count != 0) {
        const char *texts[] = {advertised.count != 0 ? advertised.items[0].text : "http://x:1", "http://localhost:1"};
        struct urls more;
        error = urls_from_texts(texts, 2, &more, &message);
        CHECKF(error == OK, "%s", message.text);
        error = urls_map_verify_bootstrap(&map, name, &more, &message);
        CHECK(error == OK || error == ERR_INVALID);
        urls_release(&more);
    }
    enum err verdicts[] = {
        urls_map_verify_bootstrap(&map, name, map.count != 0 ? &map.items[0].urls : &advertised, &message),
        urls_map_verify_bootstrap(&map, name, &advertised, &message), urls_map_verify_join(&map, name, false, &message),
        urls_map_verify_join(&map, name, true, &message)};
    for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++)
        CHECK(verdicts[i] == OK || verdicts[i] == ERR_INVALID);
    urls_release(&advertised);
    members(&map);
    urls_map_release(&map);
    buf_release(&printed);
}

static void version(struct slice text) {
    struct version first, second;
    char printed[VERSION_TEXT_BYTES], minor[VERSION_TEXT_BYTES];
    if (!version_parse(text, &first)) return;
    CHECK(version_parse(slice_from_cstr(version_text(first, printed)), &second));
    CHECK(version_compare(first, second) == 0 && version_is_none(first) == version_is_none(second));
    CHECK(strlen(version_text_minor(first, minor)) < strlen(printed));
}

static void endpoint(const char *text) {
    struct client_endpoint endpoint;
    struct errmsg message = {""};
    enum err error = client_endpoint_parse(text, &endpoint, &message);
    CHECK(error == OK || ((error == ERR_INVALID || error == ERR_NOT_SUPPORTED) && message.text[0] != 0));
    if (error != OK) return;
    CHECK(endpoint.authority != NULL && (endpoint.host != NULL) == (endpoint.unix_path == NULL));
    client_endpoint_release(&endpoint);
}

static void timeout(struct arena *arena, struct slice text) {
    int64_t timeout_ns = -1;
    struct slice problem = SLICE_NONE;
    bool is_good = grpc__parse_timeout(arena, text, &timeout_ns, &problem);
    CHECK(is_good ? timeout_ns >= 0 : problem.len != 0);
}

static void base64(struct slice text) {
    size_t bad_offset = SIZE_MAX;
    if (grpc__is_base64(text, &bad_offset)) return;
    CHECK(bad_offset <= text.len);
}

static void message(struct arena *arena, struct slice text) {
    struct slice encoded = grpc_message_encode(arena, text);
    for (size_t i = 0; i < encoded.len; i++) CHECK(encoded.data[i] >= 0x20 && encoded.data[i] <= 0x7e);
    CHECK(slice_equal(grpc_message_decode(arena, encoded), text));
    CHECK(grpc_message_decode(arena, text).len <= text.len);
    for (int code = 0; code <= 17; code++) {
        enum err error = grpc_status_error(code, text);
        if (error != OK && error != ERR_COUNT) CHECK((int)grpc_status_code(error) == code);
        CHECK((grpc_code_name(code) == NULL) == (code > 16));
    }
    for (size_t i = 0; i < text.len; i++) CHECK(grpc_code_from_http(text.data[i] * 2) != GRPC_OK);
}

static void quote(struct slice text) {
    struct buf out = BUF_INIT;
    go_append_quoted(&out, text);
    CHECK(out.len >= text.len + 2 || !utf8_is_valid(text) || text.len == 0);
    buf_clear(&out);
    go_append_json_string(&out, text, true);
    CHECK(utf8_is_valid(buf_slice(&out)));
    buf_clear(&out);
    go_append_json_string(&out, text, false);
    CHECK(utf8_is_valid(buf_slice(&out)));
    buf_clear(&out);
    append_base64(&out, text);
    CHECK(out.len == (text.len + 2) / 3 * 4);
    buf_clear(&out);
    append_hex(&out, text);
    CHECK(out.len == 2 * text.len);
    buf_release(&out);
}

static void number(struct slice text) {
    uint64_t bits = 0;
    memcpy(&bits, text.data, text.len < 8 ? text.len : 8);
    double value;
    memcpy(&value, &bits, 8);
    struct buf out = BUF_INIT;
    go_append_float(&out, value);
    CHECK(isnan(value) || strtod(buf_cstr(&out), NULL) == value);
    buf_clear(&out);
    go_append_humanized_bytes(&out, bits);
    go_append_duration(&out, (int64_t)bits);
    CHECK(out.len > 3);
    buf_release(&out);
}

static void read_one(int kind, struct slice bytes, const char *text, struct arena *arena) {
    switch (kind) {
    case DURATION: duration(text); break;
    case URL: url(bytes); break;
    case URLS: urls(bytes); break;
    case URLS_MAP: urls_map(bytes); break;
    case VERSION: version(bytes); break;
    case ENDPOINT: endpoint(text); break;
    case TIMEOUT: timeout(arena, bytes); break;
    case BASE64: base64(bytes); break;
    case MESSAGE: message(arena, bytes); break;
    case QUOTE: quote(bytes); break;
    case FLOAT: number(bytes); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    int kind = fuzz_byte(&input) % KINDS;
    struct slice bytes = fuzz_copy(fuzz_rest(&input));
    char *text = fuzz_text(bytes);
    struct arena arena;
    arena_init(&arena, 0);
    read_one(kind, bytes, text, &arena);
    arena_release(&arena);
    free(text);
    fuzz_drop(bytes);
    return 0;
}
