#include "cluster/urls.h"

#include "base/gotext.h"
#include "base/mem.h"
#include "base/vec.h"

#include <stdlib.h>

static const char *const scheme_names[] = {"http", "https", "unix", "unixs"};

const char *url_scheme_name(enum url_scheme scheme) { return scheme_names[scheme]; }

void url_release(struct url *self) {
    mem_free(self->text);
    mem_free(self->host);
    mem_free(self->port);
    *self = (struct url){0};
}

static char *copy_text(struct slice text) {
    char *copy = mem_alloc(text.len + 1);
    if (text.len > 0) memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    return copy;
}

static struct slice cut(struct slice text, size_t from, size_t to) { return slice_make(text.data + from, to - from); }

static struct slice trim(struct slice text) {
    size_t from = 0;
    size_t to = text.len;
    while (from < to && strchr(" \t\n\v\f\r", text.data[from]) != NULL && text.data[from] != 0) from++;
    while (to > from && strchr(" \t\n\v\f\r", text.data[to - 1]) != NULL && text.data[to - 1] != 0) to--;
    return cut(text, from, to);
}

static bool find_byte(struct slice text, uint8_t byte, size_t *ret_at) {
    const uint8_t *at = text.len == 0 ? NULL : memchr(text.data, byte, text.len);
    if (at == NULL) return false;
    *ret_at = (size_t)(at - text.data);
    return true;
}

/* net/url's errors look so: parse "::": missing protocol scheme */
static enum err parse_error(struct slice text, const char *what, struct errmsg *message) {
    struct buf quoted CLEANUP_BUF = BUF_INIT;
    go_append_quoted(&quoted, text);
    return err_set(message, ERR_INVALID, "parse %s: %s", buf_cstr(&quoted), what);
}

static bool is_letter(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* The scheme in front of ':', as net/url finds it: "" when the text has none. */
static enum err take_scheme(struct slice text, size_t *ret_length, struct errmsg *message) {
    *ret_length = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (is_letter(c)) continue;
        if ((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.') {
            if (i == 0) return OK;
            continue;
        }
        if (c != ':') return OK;
        if (i == 0) return parse_error(text, "missing protocol scheme", message);
        *ret_length = i;
        return OK;
    }
    return OK;
}

static bool scheme_of(struct slice name, enum url_scheme *ret_scheme) {
    for (size_t i = 0; i < 4; i++) {
        if (name.len != strlen(scheme_names[i]) || strncasecmp((const char *)name.data, scheme_names[i], name.len) != 0)
            continue;
        *ret_scheme = (enum url_scheme)i;
        return true;
    }
    return false;
}

/* "host:port" or "[v6]:port" as net.SplitHostPort takes it. */
static bool split_host_port(struct slice text, struct slice *ret_host, struct slice *ret_port) {
    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':') colon--;
    if (colon == 0) return false;
    struct slice host = cut(text, 0, colon - 1);
    size_t ignored;
    if (host.len > 0 && host.data[0] == '[') {
        if (host.data[host.len - 1] != ']') return false;
        host = cut(host, 1, host.len - 1);
    } else if (find_byte(host, ':', &ignored)) {
        return false;
    }
    if (find_byte(host, '[', &ignored) || find_byte(host, ']', &ignored)) return false;
    *ret_host = host;
    *ret_port = slice_from(text, colon);
    return true;
}

/* net/url itself wants digits after the last colon, whatever the scheme. */
static enum err check_port(struct slice whole, struct slice authority, struct errmsg *message) {
    size_t at = authority.len;
    while (at > 0 && authority.data[at - 1] != ':' && authority.data[at - 1] != ']') at--;
    if (at == 0 || authority.data[at - 1] == ']') return OK;
    for (size_t i = at; i < authority.len; i++) {
        if (authority.data[i] >= '0' && authority.data[i] <= '9') continue;
        struct buf quoted CLEANUP_BUF = BUF_INIT;
        go_append_quoted(&quoted, slice_from(authority, at - 1));
        struct buf what CLEANUP_BUF = BUF_INIT;
        buf_printf(&what, "invalid port %s after host", buf_cstr(&quoted));
        return parse_error(whole, buf_cstr(&what), message);
    }
    return OK;
}

enum err url_parse(struct slice text, struct url *ret_url, struct errmsg *message) {
    text = trim(text);
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 0x20 || text.data[i] == 0x7f)
            return parse_error(text, "net/url: invalid control character in URL", message);
    size_t scheme_length;
    TRY(take_scheme(text, &scheme_length, message));
    size_t after = scheme_length == 0 ? 0 : scheme_length + 1;
    struct slice rest = slice_from(text, after);
    if (scheme_length == 0) {
        /* "a:b" without a scheme can't be told from a relative path */
        size_t colon;
        size_t slash;
        if (find_byte(rest, ':', &colon) && (!find_byte(rest, '/', &slash) || colon < slash))
            return parse_error(text, "first path segment in URL cannot contain colon", message);
    }
    struct slice authority = SLICE_NONE;
    struct slice path = rest;
    if (rest.len >= 2 && rest.data[0] == '/' && rest.data[1] == '/') {
        size_t end = 2;
        while (end < rest.len && strchr("/?#", rest.data[end]) == NULL) end++;
        authority = cut(rest, 2, end);
        path = slice_from(rest, end);
        for (size_t i = 0; i < authority.len; i++)
            if (strchr(" \"<>^`{|}\\", authority.data[i]) != NULL)
                return parse_error(text, "invalid character in host name", message);
        TRY(check_port(text, authority, message));
    }
    enum url_scheme scheme;
    if (!scheme_of(cut(text, 0, scheme_length), &scheme))
        return err_set(message, ERR_INVALID, "URL scheme must be http, https, unix, or unixs: %.*s", (int)text.len,
                       (const char *)text.data);
    struct slice host = SLICE_NONE;
    struct slice port = SLICE_NONE;
    if (scheme == URL_HTTP || scheme == URL_HTTPS) {
        size_t at;
        struct slice host_and_port = authority;
        if (find_byte(authority, '@', &at)) host_and_port = slice_from(authority, at + 1);
        if (!split_host_port(host_and_port, &host, &port))
            return err_set(message, ERR_INVALID, "URL address does not have the form \"host:port\": %.*s",
                           (int)text.len, (const char *)text.data);
        if (path.len > 0 && path.data[0] == '/')
            return err_set(message, ERR_INVALID, "URL must not contain a path: %.*s", (int)text.len,
                           (const char *)text.data);
    } else {
        host = cut(rest, (size_t)(authority.data == NULL ? 0 : 2), rest.len);
        port = slice_make("", 0);
    }
    struct buf printed CLEANUP_BUF = BUF_INIT;
    buf_append_cstr(&printed, scheme_names[scheme]);
    buf_append_byte(&printed, ':');
    buf_append_slice(&printed, rest);
    *ret_url = (struct url){
        .scheme = scheme, .text = buf_detach_cstr(&printed), .host = copy_text(host), .port = copy_text(port)};
    return OK;
}

/* ---- lists ---- */

void urls_release(struct urls *self) {
    for (size_t i = 0; i < self->count; i++) url_release(&self->items[i]);
    mem_free(self->items);
    *self = (struct urls){0};
}

static int by_text(const void *a, const void *b) {
    return strcmp(((const struct url *)a)->text, ((const struct url *)b)->text);
}

static enum err from_slices(const struct slice *texts, size_t count, struct urls *ret_urls, struct errmsg *message) {
    if (count == 0) return err_set(message, ERR_INVALID, "no valid URLs given");
    struct urls urls = {.items = NEW_ARRAY(struct url, count)};
    for (; urls.count < count; urls.count++) {
        enum err error = url_parse(texts[urls.count], &urls.items[urls.count], message);
        if (error != OK) {
            urls_release(&urls);
            return error;
        }
    }
    qsort(urls.items, urls.count, sizeof *urls.items, by_text);
    *ret_urls = urls;
    return OK;
}

typedef VEC(struct slice) slices;

static void split(struct slice text, uint8_t separator, slices *out) {
    size_t at;
    while (find_byte(text, separator, &at)) {
        VEC_PUSH(out, cut(text, 0, at));
        text = slice_from(text, at + 1);
    }
    VEC_PUSH(out, text);
}

enum err urls_parse(struct slice text, struct urls *ret_urls, struct errmsg *message) {
    slices parts = {0};
    split(text, ',', &parts);
    enum err error = from_slices(parts.items, parts.count, ret_urls, message);
    VEC_RELEASE(&parts);
    return error;
}

enum err urls_from_texts(const char *const *texts, size_t count, struct urls *ret_urls, struct errmsg *message) {
    slices parts = {0};
    for (size_t i = 0; i < count; i++) VEC_PUSH(&parts, slice_from_cstr(texts[i]));
    enum err error = from_slices(parts.items, parts.count, ret_urls, message);
    VEC_RELEASE(&parts);
    return error;
}

void urls_append_text(const struct urls *self, struct buf *out) {
    for (size_t i = 0; i < self->count; i++) {
        if (i > 0) buf_append_byte(out, ',');
        buf_append_cstr(out, self->items[i].text);
    }
}

/* ---- names and their URLs ---- */

void urls_map_release(struct urls_map *self) {
    for (size_t i = 0; i < self->count; i++) {
        mem_free(self->items[i].name);
        urls_release(&self->items[i].urls);
    }
    mem_free(self->items);
    *self = (struct urls_map){0};
}

struct pair {
    struct slice name;
    struct slice value;
    size_t place; /* in the text: keeps the order of one name's URLs */
};

static int by_name(const void *a, const void *b) {
    const struct pair *left = a;
    const struct pair *right = b;
    int order = slice_compare(left->name, right->name);
    if (order != 0) return order;
    return left->place < right->place ? -1 : left->place > right->place;
}

static enum err from_pairs(const struct pair *pairs, size_t count, struct urls_map *map, struct errmsg *message) {
    map->items = NEW_ARRAY(struct urls_map_entry, count);
    slices values = {0};
    enum err error = OK;
    for (size_t i = 0; i < count && error == OK;) {
        values.count = 0;
        size_t first = i;
        for (; i < count && slice_equal(pairs[i].name, pairs[first].name); i++) VEC_PUSH(&values, pairs[i].value);
        struct urls urls;
        error = from_slices(values.items, values.count, &urls, message);
        if (error == OK)
            map->items[map->count++] = (struct urls_map_entry){.name = copy_text(pairs[first].name), .urls = urls};
    }
    VEC_RELEASE(&values);
    return error;
}

enum err urls_map_parse(struct slice text, struct urls_map *ret_map, struct errmsg *message) {
    slices parts = {0};
    split(text, ',', &parts);
    VEC(struct pair) pairs = {0};
    for (size_t i = 0; i < parts.count; i++) {
        if (parts.items[i].len == 0) continue;
        struct pair pair = {.name = parts.items[i], .value = slice_make("", 0), .place = i};
        size_t equals;
        if (find_byte(parts.items[i], '=', &equals)) {
            pair.name = cut(parts.items[i], 0, equals);
            pair.value = slice_from(parts.items[i], equals + 1);
        }
        VEC_PUSH(&pairs, pair);
    }
    VEC_RELEASE(&parts);
    struct urls_map map = {0};
    enum err error = OK;
    if (pairs.count > 0) {
        qsort(pairs.items, pairs.count, sizeof *pairs.items, by_name);
        error = from_pairs(pairs.items, pairs.count, &map, message);
    }
    VEC_RELEASE(&pairs);
    if (error != OK)
        urls_map_release(&map);
    else
        *ret_map = map;
    return error;
}

const struct urls_map_entry *urls_map_find(const struct urls_map *self, const char *name) {
    for (size_t i = 0; i < self->count; i++)
        if (strcmp(self->items[i].name, name) == 0) return &self->items[i];
    return NULL;
}

static int by_cstr(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void append_entry_text(const char *name, const struct urls *urls, struct buf *out) {
    for (size_t i = 0; i < urls->count; i++)
        buf_printf(out, "%s%s=%s", out->len == 0 ? "" : ",", name, urls->items[i].text);
}

/* The whole pairs are sorted, so names that are another's prefix may change places with it. */
void urls_map_append_text(const struct urls_map *self, struct buf *out) {
    VEC(char *) pairs = {0};
    for (size_t i = 0; i < self->count; i++) {
        for (size_t j = 0; j < self->items[i].urls.count; j++) {
            struct buf pair = BUF_INIT;
            buf_printf(&pair, "%s=%s", self->items[i].name, self->items[i].urls.items[j].text);
            VEC_PUSH(&pairs, buf_detach_cstr(&pair));
        }
    }
    if (pairs.count > 0) qsort(pairs.items, pairs.count, sizeof *pairs.items, by_cstr);
    for (size_t i = 0; i < pairs.count; i++) {
        if (i > 0) buf_append_byte(out, ',');
        buf_append_cstr(out, pairs.items[i]);
        mem_free(pairs.items[i]);
    }
    VEC_RELEASE(&pairs);
}

/* ---- the checks before a start ---- */

/* Equal as addresses. "localhost" is the one name that is known without asking. */
static bool same_address(const struct url *a, const struct url *b) {
    if (strcmp(a->text, b->text) == 0) return true;
    const char *host_a = strcmp(a->host, "localhost") == 0 ? "127.0.0.1" : a->host;
    const char *host_b = strcmp(b->host, "localhost") == 0 ? "127.0.0.1" : b->host;
    return a->scheme == b->scheme && strcmp(host_a, host_b) == 0 && strcmp(a->port, b->port) == 0;
}

static void append_go_list(const struct urls *urls, struct buf *out) {
    buf_append_byte(out, '[');
    for (size_t i = 0; i < urls->count; i++) {
        if (i > 0) buf_append_byte(out, ' ');
        go_append_quoted(out, slice_from_cstr(urls->items[i].text));
    }
    buf_append_byte(out, ']');
}

/* Why the lists (both sorted) do not mean the same addresses; nothing appended: they do. */
static void compare_lists(const struct urls *a, const struct urls *b, struct buf *why) {
    if (a->count != b->count) {
        buf_append_cstr(why, "len(");
        append_go_list(a, why);
        buf_append_cstr(why, ") != len(");
        append_go_list(b, why);
        buf_append_cstr(why, ")");
        return;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (same_address(&a->items[i], &b->items[i])) continue;
        buf_append_cstr(why, "resolved urls: ");
        go_append_quoted(why, slice_from_cstr(a->items[i].text));
        buf_append_cstr(why, " != ");
        go_append_quoted(why, slice_from_cstr(b->items[i].text));
        return;
    }
}

static bool has_url(const struct urls *urls, const char *text) {
    for (size_t i = 0; i < urls->count; i++)
        if (strcmp(urls->items[i].text, text) == 0) return true;
    return false;
}

static enum err check_advertised(const struct urls_map_entry *own, const struct urls *advertised,
                                 struct errmsg *message) {
    struct buf why CLEANUP_BUF = BUF_INIT;
    compare_lists(advertised, &own->urls, &why);
    if (why.len == 0) return OK;
    struct buf missing CLEANUP_BUF = BUF_INIT;
    struct buf all_advertised CLEANUP_BUF = BUF_INIT;
    urls_append_text(advertised, &all_advertised);
    for (size_t i = 0; i < own->urls.count; i++)
        if (!has_url(advertised, own->urls.items[i].text))
            buf_printf(&missing, "%s%s=%s", missing.len == 0 ? "" : ",", own->name, own->urls.items[i].text);
    if (missing.len > 0)
        return err_set(message, ERR_INVALID,
                       "--initial-cluster has %s but missing from --initial-advertise-peer-urls=%s (%s)",
                       buf_cstr(&missing), buf_cstr(&all_advertised), buf_cstr(&why));
    for (size_t i = 0; i < advertised->count; i++)
        if (!has_url(&own->urls, advertised->items[i].text))
            buf_printf(&missing, "%s%s", missing.len == 0 ? "" : ",", advertised->items[i].text);
    struct buf pairs CLEANUP_BUF = BUF_INIT;
    append_entry_text(own->name, advertised, &pairs);
    if (missing.len > 0)
        return err_set(message, ERR_INVALID,
                       "--initial-advertise-peer-urls has %s but missing from --initial-cluster=%s", buf_cstr(&missing),
                       buf_cstr(&pairs));
    return err_set(message, ERR_INVALID, "failed to resolve %s to match --initial-cluster=%s (%s)",
                   buf_cstr(&all_advertised), buf_cstr(&pairs), buf_cstr(&why));
}

static const struct urls_map_entry *find_own(const struct urls_map *self, const char *own_name,
                                             struct errmsg *message) {
    const struct urls_map_entry *own = urls_map_find(self, own_name);
    if (own != NULL) return own;
    struct buf quoted CLEANUP_BUF = BUF_INIT;
    go_append_quoted(&quoted, slice_from_cstr(own_name));
    err_set(message, ERR_INVALID, "couldn't find local name %s in the initial cluster configuration",
            buf_cstr(&quoted));
    return NULL;
}

static bool has_duplicate(const struct urls_map *self) {
    VEC(char *) texts = {0};
    for (size_t i = 0; i < self->count; i++)
        for (size_t j = 0; j < self->items[i].urls.count; j++) VEC_PUSH(&texts, self->items[i].urls.items[j].text);
    bool found = false;
    if (texts.count > 0) qsort(texts.items, texts.count, sizeof *texts.items, by_cstr);
    for (size_t i = 1; i < texts.count && !found; i++) found = strcmp(texts.items[i - 1], texts.items[i]) == 0;
    VEC_RELEASE(&texts);
    return found;
}

static enum err check_duplicates(const struct urls_map *self, struct errmsg *message) {
    if (!has_duplicate(self)) return OK;
    struct buf text CLEANUP_BUF = BUF_INIT;
    urls_map_append_text(self, &text);
    return err_set(message, ERR_INVALID, "initial cluster %s has duplicate url", buf_cstr(&text));
}

enum err urls_map_verify_bootstrap(const struct urls_map *self, const char *own_name, const struct urls *advertised,
                                   struct errmsg *message) {
    const struct urls_map_entry *own = find_own(self, own_name, message);
    if (own == NULL) return ERR_INVALID;
    TRY(check_advertised(own, advertised, message));
    TRY(check_duplicates(self, message));
    if (self->count == 0) return err_set(message, ERR_INVALID, "initial cluster unset and no discovery URL found");
    return OK;
}

enum err urls_map_verify_join(const struct urls_map *self, const char *own_name, bool has_discovery,
                              struct errmsg *message) {
    const struct urls_map_entry *own = find_own(self, own_name, message);
    if (own == NULL) return ERR_INVALID;
    TRY(check_duplicates(self, message));
    if (has_discovery)
        return err_set(message, ERR_INVALID, "discovery URL should not be set when joining existing initial cluster");
    return OK;
}
