/* urls.h - the URLs that members are known by, and lists of them.
 *
 * Floor 4, pure. A member's identity is made of its URL texts, so they are kept as given (after what Go's net/url does
 * when it parses and prints). Hosts are not resolved here.
 */
#ifndef CLUSTER_URLS_H
#define CLUSTER_URLS_H

#include "base/buf.h"
#include "base/err.h"

enum url_scheme { URL_HTTP, URL_HTTPS, URL_UNIX, URL_UNIXS };

/* One URL, taken apart. The texts belong to it. */
struct url {
    enum url_scheme scheme;
    char *text; /* as Go prints it */
    char *host; /* without port and brackets; of a unix socket: the path it means ("name:port", "/run/x") */
    char *port; /* digits; "" for a path */
};
void url_release(struct url *self);
/* "http" ... */
const char *url_scheme_name(enum url_scheme scheme);
static inline bool url_is_tls(const struct url *self) { return self->scheme == URL_HTTPS || self->scheme == URL_UNIXS; }

/* Blanks around it are cut. The scheme must be http, https, unix or unixs; the first two need host:port and no path.
 * ERR_INVALID with etcd's text. */
enum err url_parse(struct slice text, struct url *ret_url, struct errmsg *message) MUST_USE;

/* URLs ordered by text. {0} is an empty list. */
struct urls {
    struct url *items;
    size_t count;
};
void urls_release(struct urls *self);
/* A list with commas between ("http://a:1,http://b:1"), sorted. ERR_INVALID. */
enum err urls_parse(struct slice text, struct urls *ret_urls, struct errmsg *message) MUST_USE;
/* From single texts; none is an error. */
enum err urls_from_texts(const char *const *texts, size_t count, struct urls *ret_urls,
                         struct errmsg *message) MUST_USE;
/* The texts with commas between. */
void urls_append_text(const struct urls *self, struct buf *out);

/* --initial-cluster: names and their URLs. */
struct urls_map_entry {
    char *name;
    struct urls urls;
};
struct urls_map {
    struct urls_map_entry *items; /* by name */
    size_t count;
};
void urls_map_release(struct urls_map *self);
/* "a=http://x:1,b=http://y:1,b=http://z:1"; empty text is an empty map. ERR_INVALID. */
enum err urls_map_parse(struct slice text, struct urls_map *ret_map, struct errmsg *message) MUST_USE;
const struct urls_map_entry *urls_map_find(const struct urls_map *self, const char *name);
/* name=url pairs, sorted, with commas between. */
void urls_map_append_text(const struct urls_map *self, struct buf *out);

/* The checks before a new member is made, in etcd's order and words: own name is in the map, its URLs are exactly those
 * advertised, no URL twice, the map is not empty. ERR_INVALID. */
enum err urls_map_verify_bootstrap(const struct urls_map *self, const char *own_name, const struct urls *advertised,
                                   struct errmsg *message) MUST_USE;
/* For joining a cluster that runs: own name, no URL twice, no discovery. ERR_INVALID. */
enum err urls_map_verify_join(const struct urls_map *self, const char *own_name, bool has_discovery,
                              struct errmsg *message) MUST_USE;

#endif
