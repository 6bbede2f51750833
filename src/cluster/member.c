#include "base/bytes.h"
#include "base/mem.h"
#include "cluster/internal.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdlib.h>

/* ---- ids ---- */

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static uint64_t hash_to_id(const struct buf *bytes) {
    uint8_t digest[SHA_DIGEST_LENGTH];
    SHA1(bytes->data, bytes->len, digest);
    return load_u64be(digest);
}

uint64_t cluster_member_id(const char *const *peer_urls, size_t count, const char *token, int64_t wall_s) {
    const char **sorted = NEW_ARRAY(const char *, count + 1);
    for (size_t i = 0; i < count; i++) sorted[i] = peer_urls[i];
    qsort(sorted, count, sizeof *sorted, by_text);
    struct buf bytes CLEANUP_BUF = BUF_INIT;
    for (size_t i = 0; i < count; i++) buf_append_cstr(&bytes, sorted[i]);
    mem_free(sorted);
    buf_append_cstr(&bytes, token);
    if (wall_s >= 0) buf_printf(&bytes, "%" PRId64, wall_s);
    return hash_to_id(&bytes);
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

uint64_t cluster_id_of(const uint64_t *member_ids, size_t count) {
    uint64_t *sorted = NEW_ARRAY(uint64_t, count + 1);
    memcpy(sorted, member_ids, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_number);
    struct buf bytes CLEANUP_BUF = BUF_INIT;
    for (size_t i = 0; i < count; i++) store_u64be(buf_extend(&bytes, 8), sorted[i]);
    mem_free(sorted);
    return hash_to_id(&bytes);
}

/* ---- one member ---- */

struct member_urls cluster__urls_copy(const char *const *texts, size_t count) {
    struct member_urls copy = {.count = count};
    if (count > 0) copy.items = NEW_ARRAY(char *, count);
    for (size_t i = 0; i < count; i++) copy.items[i] = mem_strdup(texts[i]);
    return copy;
}

void cluster__urls_release(struct member_urls *self) {
    for (size_t i = 0; i < self->count; i++) mem_free(self->items[i]);
    mem_free(self->items);
    *self = (struct member_urls){0};
}

void member_release(struct member *self) {
    mem_free(self->name);
    cluster__urls_release(&self->peer_urls);
    cluster__urls_release(&self->client_urls);
    *self = (struct member){0};
}

static void append_texts(const char *const *texts, size_t count, struct buf *out) {
    buf_append_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buf_append_byte(out, ',');
        cluster__append_json_string(texts[i], out);
    }
    buf_append_byte(out, ']');
}

void cluster__append_raft_attributes(const struct member *self, struct buf *out) {
    buf_append_cstr(out, "\"peerURLs\":");
    if (self->has_peer_urls)
        append_texts((const char *const *)self->peer_urls.items, self->peer_urls.count, out);
    else
        buf_append_cstr(out, "null");
    if (self->is_learner) buf_append_cstr(out, ",\"isLearner\":true");
}

static void append_attributes(const char *name, const char *const *client_urls, size_t count, const char *before,
                              struct buf *out) {
    if (name[0] != 0) {
        buf_append_cstr(out, before);
        buf_append_cstr(out, "\"name\":");
        cluster__append_json_string(name, out);
        before = ",";
    }
    if (count > 0) {
        buf_append_cstr(out, before);
        buf_append_cstr(out, "\"clientURLs\":");
        append_texts(client_urls, count, out);
    }
}

void member_append_json(const struct member *self, bool is_promote, struct buf *out) {
    buf_printf(out, "{\"id\":%" PRIu64 ",", self->id);
    cluster__append_raft_attributes(self, out);
    append_attributes(self->name, (const char *const *)self->client_urls.items, self->client_urls.count, ",", out);
    if (is_promote) buf_append_cstr(out, ",\"isPromote\":true");
    buf_append_byte(out, '}');
}

void member_append_attributes_json(const char *name, const char *const *client_urls, size_t count, struct buf *out) {
    buf_append_byte(out, '{');
    append_attributes(name, client_urls, count, "", out);
    buf_append_byte(out, '}');
}

enum err cluster__member_from_json(const json_t *object, struct member *ret_member, bool *ret_is_promote,
                                   struct errmsg *message) {
    struct member member = {0};
    const char *name;
    bool has_client_urls;
    bool is_good = json_is_object(object) && cluster__json_u64(object, "id", &member.id) &&
                   cluster__json_string(object, "name", &name) &&
                   cluster__json_strings(object, "peerURLs", &member.peer_urls, &member.has_peer_urls) &&
                   cluster__json_strings(object, "clientURLs", &member.client_urls, &has_client_urls);
    if (!is_good) {
        member_release(&member);
        return err_set(message, ERR_CORRUPT, "not a member");
    }
    member.is_learner = json_is_true(json_object_get(object, "isLearner"));
    *ret_is_promote = json_is_true(json_object_get(object, "isPromote"));
    member.name = mem_strdup(name);
    *ret_member = member;
    return OK;
}

enum err member_parse_json(struct slice json, struct member *ret_member, bool *ret_is_promote, struct errmsg *message) {
    json_t *object = cluster__json_parse(json, message);
    if (object == NULL) return ERR_CORRUPT;
    enum err error = cluster__member_from_json(object, ret_member, ret_is_promote, message);
    json_decref(object);
    return error;
}

/* ---- lists ---- */

void member_list_release(struct member_list *self) {
    for (size_t i = 0; i < self->count; i++) member_release(&self->items[i]);
    mem_free(self->items);
    *self = (struct member_list){0};
}

static int by_id(const void *a, const void *b) {
    uint64_t x = ((const struct member *)a)->id;
    uint64_t y = ((const struct member *)b)->id;
    return x < y ? -1 : x > y;
}

static struct member member_from_entry(const struct urls_map_entry *entry, const char *token) {
    const char **texts = NEW_ARRAY(const char *, entry->urls.count + 1);
    for (size_t i = 0; i < entry->urls.count; i++) texts[i] = entry->urls.items[i].text;
    struct member member = {
        .id = cluster_member_id(texts, entry->urls.count, token, -1),
        .name = mem_strdup(entry->name),
        .peer_urls = cluster__urls_copy(texts, entry->urls.count),
        .has_peer_urls = true,
    };
    mem_free(texts);
    return member;
}

enum err member_list_from_urls_map(const struct urls_map *map, const char *token, struct member_list *ret_list,
                                   struct errmsg *message) {
    struct member_list list = {.count = map->count};
    if (map->count > 0) list.items = NEW_ARRAY(struct member, map->count);
    for (size_t i = 0; i < map->count; i++) list.items[i] = member_from_entry(&map->items[i], token);
    if (list.count > 0) qsort(list.items, list.count, sizeof *list.items, by_id);
    for (size_t i = 1; i < list.count; i++) {
        if (list.items[i - 1].id != list.items[i].id) continue;
        struct buf urls CLEANUP_BUF = BUF_INIT;
        for (size_t j = 0; j < list.items[i].peer_urls.count; j++)
            buf_printf(&urls, "%s%s", j == 0 ? "" : " ", list.items[i].peer_urls.items[j]);
        /* as Go prints the struct: id, peer URLs, learner, name, client URLs */
        err_set(message, ERR_INVALID, "member exists with identical ID &{%" PRIx64 " {[%s] false} {%s []}}",
                list.items[i].id, buf_cstr(&urls), list.items[i].name);
        member_list_release(&list);
        return ERR_INVALID;
    }
    *ret_list = list;
    return OK;
}

const struct member *member_list_find_name(const struct member_list *self, const char *name) {
    for (size_t i = 0; i < self->count; i++)
        if (strcmp(self->items[i].name, name) == 0) return &self->items[i];
    return NULL;
}

enum err member_list_parse_json(struct slice json, struct member_list *ret_list, struct errmsg *message) {
    json_t *array = cluster__json_parse(json, message);
    if (array == NULL) return ERR_CORRUPT;
    enum err error = json_is_array(array) ? OK : err_set(message, ERR_CORRUPT, "not a list of members");
    struct member_list list = {0};
    size_t count = json_array_size(array);
    if (error == OK && count > 0) list.items = NEW_ARRAY(struct member, count);
    for (; error == OK && list.count < count;) {
        bool is_promote;
        error =
            cluster__member_from_json(json_array_get(array, list.count), &list.items[list.count], &is_promote, message);
        if (error == OK) list.count++;
    }
    json_decref(array);
    if (error != OK) {
        member_list_release(&list);
        return error;
    }
    if (list.count > 0) qsort(list.items, list.count, sizeof *list.items, by_id);
    *ret_list = list;
    return OK;
}
