/* watch_event.c - events: made once, encoded once, shared.
 *
 * mvccpb.Event: type=1 (PUT 0, left out; DELETE 1), kv=2, prev_kv=3. A DELETE's kv has only key and mod_revision.
 */
#include "base/bytes.h"
#include "base/check.h"
#include "mvcc/watch_private.h"

#define TAG_TYPE 0x08
#define TAG_KV 0x12
#define TAG_PREV_KV 0x1a
#define TYPE_DELETE 1

struct watch_event *watch_event_ref(struct watch_event *event) {
    event->references++;
    return event;
}

void watch_event_unref(struct watch_event *event) {
    if (event == NULL || --event->references > 0) return;
    shared_unref(event->encoded);
    shared_unref(event->previous);
    mem_free(event);
}

size_t watch__event_bytes(const struct watch_event *event) {
    return sizeof *event + sizeof *event->encoded + event->encoded->size_bytes;
}

/* Room for a KeyValue of kv_bytes; *ret_at is where it goes. */
static struct watch_event *event_new(bool is_delete, size_t kv_bytes, struct revision revision, uint8_t **ret_at) {
    struct watch_event *event = NEW(struct watch_event);
    event->references = 1;
    event->is_delete = is_delete;
    event->revision = revision;
    event->encoded = shared_new((is_delete ? 2 : 0) + 1 + varint_size(kv_bytes) + kv_bytes);
    uint8_t *at = event->encoded->bytes;
    if (is_delete) {
        *at++ = TAG_TYPE;
        *at++ = TYPE_DELETE;
    }
    *at++ = TAG_KV;
    at += varint_store(at, kv_bytes);
    event->kv = slice_make(at, kv_bytes);
    *ret_at = at;
    return event;
}

/* The key is the first field of every KeyValue that we write. */
static struct slice key_inside(struct slice kv, struct slice key) {
    if (key.len == 0) return slice_make(kv.data, 0);
    return slice_make(kv.data + 1 + varint_size(key.len), key.len);
}

struct watch_event *watch__event_put(const struct keyvalue *kv, struct revision revision) {
    uint8_t *at;
    struct watch_event *event = event_new(false, keyvalue_size(kv), revision, &at);
    uint8_t *end = keyvalue_encode(kv, at);
    CHECK(end == event->encoded->bytes + event->encoded->size_bytes);
    event->create_revision = kv->create_revision;
    event->key = key_inside(event->kv, kv->key);
    return event;
}

struct watch_event *watch__event_delete(struct slice key, struct revision revision) {
    struct keyvalue kv = {.key = key, .mod_revision = revision.main};
    uint8_t *at;
    struct watch_event *event = event_new(true, keyvalue_size(&kv), revision, &at);
    keyvalue_encode(&kv, at);
    event->key = key_inside(event->kv, key);
    return event;
}

struct watch_event *watch__event_stored_put(struct slice encoded_kv, const struct keyvalue *kv,
                                            struct revision revision) {
    uint8_t *at;
    struct watch_event *event = event_new(false, encoded_kv.len, revision, &at);
    if (encoded_kv.len != 0) memcpy(at, encoded_kv.data, encoded_kv.len);
    event->create_revision = kv->create_revision;
    event->key = kv->key.len != 0 ? slice_make(at + (kv->key.data - encoded_kv.data), kv->key.len) : slice_make(at, 0);
    return event;
}

void watch__event_find_previous(struct store *store, struct watch_event *event) {
    int64_t before = event->revision.main - 1;
    if (before < store->compact_revision) { /* also when it was found earlier, for somebody else */
        event->has_previous = true;
        shared_unref(TAKE(event->previous));
        return;
    }
    if (event->has_previous) return;
    event->has_previous = true;
    if (!event->is_delete && event->create_revision == event->revision.main) return;
    struct index_item item;
    struct slice kv;
    if (!index_get(store->index, event->key, before, &item)) return;
    if (store__fetch(store, NULL, NULL, item.mod, &kv) == OK) event->previous = shared_copy(kv);
}

size_t watch_event_size(const struct watch_event *event, bool with_previous) {
    size_t size_bytes = event->encoded->size_bytes;
    if (with_previous && event->previous != NULL)
        size_bytes += 1 + varint_size(event->previous->size_bytes) + event->previous->size_bytes;
    return size_bytes;
}

void watch_event_append(const struct watch_event *event, bool with_previous, struct buf *out) {
    buf_append_slice(out, shared_slice(event->encoded));
    if (!with_previous || event->previous == NULL) return;
    buf_append_byte(out, TAG_PREV_KV);
    buf_append_varint(out, event->previous->size_bytes);
    buf_append_slice(out, shared_slice(event->previous));
}
