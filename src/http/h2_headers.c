/* h2_headers.c - header blocks of HTTP/2 requests: the rules of RFC 9113 section 8, and how to read the same block
 * twice without work.
 *
 * A client's calls carry the same headers over and over; HPACK sends them as references into its table, and nghttp2
 * hands out the table's own counted strings. So a block whose strings are those of an earlier one, mostly pointer by
 * pointer (some senders never index :path), needs no checks and no copies: its request points into the earlier block,
 * kept as a template.
 *
 *     on_header --same as a template so far?--> count only ----------------------> end: share the template
 *                       \ no: replay what was skipped, then check and copy each -> end: checks of the whole;
 *                                                                                  twice the same: a new template
 *
 * nghttp2's own checks (its "HTTP messaging") are off, those here are in their place.
 */
#include "http/internal.h"

#define TEMPLATES_MAX 4
#define TEMPLATE_HEADERS_MAX 16
#define TEMPLATE_BYTES_MAX 2048

/* Holds references. */
struct strings {
    size_t count; /* of pairs; beyond TEMPLATE_HEADERS_MAX the rest is not held */
    nghttp2_rcbuf *names[TEMPLATE_HEADERS_MAX];
    nghttp2_rcbuf *values[TEMPLATE_HEADERS_MAX];
};

struct h2__template {
    unsigned references;
    struct strings strings;
    struct slice method, target, authority;
    uint64_t content_length;
    uint32_t header_count;
    uint32_t header_bytes;
    struct http_header headers[TEMPLATE_HEADERS_MAX];
};

struct h2__headers {
    struct h2__template *templates[TEMPLATES_MAX];
    size_t template_count;
    size_t next_victim;
    /* the block that is being read */
    unsigned candidates; /* templates that are the same so far, a bit each; 0: checked and copied */
    size_t count;
    bool has_method, has_scheme, has_path, has_authority, has_regular;
    struct strings current;
    struct strings previous; /* of the block before */
};

static struct slice slice_of(nghttp2_rcbuf *string) {
    nghttp2_vec bytes = nghttp2_rcbuf_get_buf(string);
    return slice_make(bytes.base, bytes.len);
}

static void strings_release(struct strings *self) {
    size_t held = self->count < TEMPLATE_HEADERS_MAX ? self->count : TEMPLATE_HEADERS_MAX;
    for (size_t i = 0; i < held; i++) {
        nghttp2_rcbuf_decref(self->names[i]);
        nghttp2_rcbuf_decref(self->values[i]);
    }
    self->count = 0;
}

static void strings_add(struct strings *self, nghttp2_rcbuf *name, nghttp2_rcbuf *value) {
    size_t at = self->count++;
    if (at >= TEMPLATE_HEADERS_MAX) return;
    nghttp2_rcbuf_incref(name);
    nghttp2_rcbuf_incref(value);
    self->names[at] = name;
    self->values[at] = value;
}

static bool is_same(nghttp2_rcbuf *a, nghttp2_rcbuf *b) { return a == b || slice_equal(slice_of(a), slice_of(b)); }

static bool pair_is(const struct strings *self, size_t at, nghttp2_rcbuf *name, nghttp2_rcbuf *value) {
    return is_same(self->names[at], name) && is_same(self->values[at], value);
}

static bool strings_are_same(const struct strings *a, const struct strings *b) {
    if (a->count != b->count || a->count > TEMPLATE_HEADERS_MAX) return false;
    for (size_t i = 0; i < a->count; i++)
        if (!pair_is(a, i, b->names[i], b->values[i])) return false;
    return true;
}

void h2__template_unref(struct h2__template *self) {
    if (self == NULL || --self->references != 0) return;
    strings_release(&self->strings);
    mem_free(self);
}

struct h2__headers *h2__headers_new(void) {
    return NEW(struct h2__headers);
}

void h2__headers_free(struct h2__headers *self) {
    for (size_t i = 0; i < self->template_count; i++) h2__template_unref(self->templates[i]);
    strings_release(&self->current);
    strings_release(&self->previous);
    mem_free(self);
}

void h2__headers_begin(struct h2__headers *self) {
    self->candidates = (1U << self->template_count) - 1;
    self->count = 0;
    self->has_method = self->has_scheme = self->has_path = self->has_authority = self->has_regular = false;
    strings_release(&self->current);
}

/* ---- checks ---- */

/* Marks a pseudo header as seen; false when it was. */
static bool once(bool *has_it) {
    if (*has_it) return false;
    return *has_it = true;
}

static bool take_pseudo(struct h2__headers *self, struct http_request *request, struct slice name, struct slice value) {
    if (self->has_regular) return false;
    if (slice_equal(name, SLICE_LITERAL(":path"))) {
        request->target = arena_copy(&request->arena, value);
        return value.len != 0 && nghttp2_check_path(value.data, value.len) && once(&self->has_path);
    }
    if (slice_equal(name, SLICE_LITERAL(":method"))) {
        request->method = arena_copy(&request->arena, value);
        return nghttp2_check_method(value.data, value.len) && once(&self->has_method);
    }
    if (slice_equal(name, SLICE_LITERAL(":authority"))) {
        request->authority = arena_copy(&request->arena, value);
        /* etcd's clients up to 3.4 put the endpoint here as it was given, "http://127.0.0.1:2379" */
        return nghttp2_check_header_value(value.data, value.len) && once(&self->has_authority);
    }
    if (slice_equal(name, SLICE_LITERAL(":scheme")))
        return value.len != 0 && nghttp2_check_header_value(value.data, value.len) && once(&self->has_scheme);
    return false;
}

static bool parse_length(struct slice text, uint64_t *ret_length) {
    uint64_t length = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || length > UINT64_MAX / 10 - 1) return false;
        length = length * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_length = length;
    return text.len != 0;
}

/* Fields of an HTTP/1.1 connection have no place here (RFC 9113, 8.2.2). */
static bool is_of_connection(struct slice name, struct slice value) {
    static const struct slice names[] = {
        {(const uint8_t *)"connection", 10},       {(const uint8_t *)"keep-alive", 10},
        {(const uint8_t *)"proxy-connection", 16}, {(const uint8_t *)"transfer-encoding", 17},
        {(const uint8_t *)"upgrade", 7},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_equal(name, names[i])) return true;
    return slice_equal(name, SLICE_LITERAL("te")) && !slice_equal(value, SLICE_LITERAL("trailers"));
}

static bool check_regular(struct h2__headers *self, struct http_request *request, struct slice name,
                          struct slice value) {
    self->has_regular = true;
    if (!nghttp2_check_header_name(name.data, name.len) || !nghttp2_check_header_value(value.data, value.len))
        return false;
    if (is_of_connection(name, value)) return false;
    if (!slice_equal(name, SLICE_LITERAL("content-length"))) return true;
    return request->content_length == UINT64_MAX && parse_length(value, &request->content_length);
}

static enum h2__verdict take_header(struct h2__headers *self, struct http_stream *stream, nghttp2_rcbuf *name_string,
                                    nghttp2_rcbuf *value_string) {
    struct slice name = slice_of(name_string), value = slice_of(value_string);
    strings_add(&self->current, name_string, value_string);
    if (name.len != 0 && name.data[0] == ':') {
        if (!http__stream_count_header(stream, name, value)) return H2__TOO_LARGE;
        return take_pseudo(self, &stream->request, name, value) ? H2__GOOD : H2__MALFORMED;
    }
    if (!check_regular(self, &stream->request, name, value)) return H2__MALFORMED;
    return http__stream_add_header(stream, name, value) ? H2__GOOD : H2__TOO_LARGE;
}

/* ---- templates ---- */

/* The block is no longer like any template: what was only counted is now read. */
static enum h2__verdict replay(struct h2__headers *self, struct http_stream *stream) {
    const struct h2__template *template = self->templates[__builtin_ctz(self->candidates)];
    enum h2__verdict verdict = H2__GOOD;
    self->candidates = 0;
    for (size_t i = 0; i < self->count && verdict == H2__GOOD; i++)
        verdict = take_header(self, stream, template->strings.names[i], template->strings.values[i]);
    return verdict;
}

enum h2__verdict h2__headers_add(struct h2__headers *self, struct http_stream *stream, nghttp2_rcbuf *name,
                                 nghttp2_rcbuf *value) {
    if (self->candidates != 0) {
        unsigned left = 0;
        for (unsigned bits = self->candidates; bits != 0; bits &= bits - 1) {
            const struct strings *strings = &self->templates[__builtin_ctz(bits)]->strings;
            if (self->count < strings->count && pair_is(strings, self->count, name, value)) left |= bits & -bits;
        }
        if (left != 0) {
            self->candidates = left;
            self->count++;
            return H2__GOOD;
        }
        enum h2__verdict verdict = replay(self, stream);
        if (verdict != H2__GOOD) return verdict;
    }
    return take_header(self, stream, name, value);
}

static struct h2__template *template_new(struct h2__headers *self, const struct http_stream *stream) {
    struct h2__template *template = NEW(struct h2__template);
    const struct http_request *request = &stream->request;
    template->references = 1;
    template->content_length = request->content_length;
    template->header_bytes = stream->request_header_bytes;
    for (size_t i = 0; i < self->current.count; i++) {
        nghttp2_rcbuf *name_string = self->current.names[i], *value_string = self->current.values[i];
        strings_add(&template->strings, name_string, value_string);
        struct slice name = slice_of(name_string), value = slice_of(value_string);
        if (name.data[0] != ':')
            template->headers[template->header_count++] = (struct http_header){name, value};
        else if (name.data[1] == 'p')
            template->target = value;
        else if (name.data[1] == 'm')
            template->method = value;
        else if (name.data[1] == 'a')
            template->authority = value;
    }
    return template;
}

/* Only a block that came twice is worth keeping: one with a deadline in it never comes again. */
static void learn(struct h2__headers *self, const struct http_stream *stream) {
    if (!strings_are_same(&self->current, &self->previous)) {
        strings_release(&self->previous);
        self->previous = self->current;
        self->current.count = 0;
        return;
    }
    if (stream->request_header_bytes > TEMPLATE_BYTES_MAX) return;
    struct h2__template *template = template_new(self, stream);
    if (self->template_count < TEMPLATES_MAX) {
        self->templates[self->template_count++] = template;
        return;
    }
    struct h2__template **victim = &self->templates[self->next_victim++ % TEMPLATES_MAX];
    h2__template_unref(*victim);
    *victim = template;
}

static void share(struct h2__template *template, struct http_stream *stream) {
    struct http_request *request = &stream->request;
    template->references++;
    stream->template = template;
    stream->request_header_bytes = template->header_bytes;
    request->method = template->method;
    request->target = template->target;
    request->authority = template->authority;
    request->content_length = template->content_length;
    request->headers = template->headers;
    request->header_count = template->header_count;
}

enum h2__verdict h2__headers_end(struct h2__headers *self, struct http_stream *stream) {
    for (unsigned bits = self->candidates; bits != 0; bits &= bits - 1) {
        struct h2__template *template = self->templates[__builtin_ctz(bits)];
        if (template->strings.count != self->count) continue;
        share(template, stream);
        return H2__GOOD;
    }
    enum h2__verdict verdict = self->candidates != 0 ? replay(self, stream) : H2__GOOD;
    if (verdict != H2__GOOD) return verdict;
    /* CONNECT has no path: there is nothing to connect to here. */
    if (!self->has_method || !self->has_scheme || !self->has_path) return H2__MALFORMED;
    if (!self->has_authority) stream->request.authority = http_request_header(&stream->request, "host");
    if (self->has_authority) learn(self, stream);
    return H2__GOOD;
}
