#include "backend/state.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"

enum { SEALED, ACTIVE, SOURCES };

/* Everything here is fixed when the view is made, but for the reference count. */
struct backend_view {
    unsigned references; /* loop only */
    struct backend *backend;
    enum backend_view_scope scope;
    uint64_t operations; /* of the active buffer when it was made */
    struct reader *reader;
    struct buffer *buffers[SOURCES]; /* keep alive what follows; SEALED may be NULL */
    struct key_list puts[SOURCES];
    struct key_runs deletes[SOURCES];
    struct small_list small[SOURCES][BACKEND_BUCKET_COUNT];
    bool has_bucket[BACKEND_BUCKET_COUNT]; /* of a view of all */
};

/* ---- reading without a view ---- */

static enum err get_from_file(const struct reader *reader, enum backend_bucket bucket, struct slice key,
                              struct slice *ret_value) {
    *ret_value = SLICE_NONE;
    return reader->buckets[bucket] == NULL ? OK : bolt_get(reader->buckets[bucket], key, ret_value);
}

/* True when the lists know the answer. */
static bool get_revision(const struct key_list *puts, const struct key_runs *deletes, struct slice key,
                         struct slice *ret_value) {
    if (!key_runs_is_empty(deletes) && key_runs_contain(deletes, key)) {
        *ret_value = SLICE_NONE;
        return true;
    }
    const struct key_entry *entry = key_list_find(puts, key);
    if (entry == NULL) return false;
    *ret_value = slice_make(entry->value, entry->value_bytes);
    return true;
}

static struct slice small_value(const struct small_entry *entry) {
    return entry->is_deleted ? SLICE_NONE : entry->value;
}

static bool get_from_buffer(const struct buffer *buffer, enum backend_bucket bucket, struct slice key,
                            struct slice *ret_value) {
    if (bucket == BACKEND_KEY) return get_revision(&buffer->puts, &buffer->deletes, key, ret_value);
    const struct small_entry *entry = map_bytes_get(&buffer->small[bucket], key);
    if (entry == NULL) return false;
    *ret_value = small_value(entry);
    return true;
}

enum err backend_get(struct backend *self, enum backend_bucket bucket, struct slice key, struct slice *ret_value) {
    if (get_from_buffer(self->active, bucket, key, ret_value)) return OK;
    if (self->sealed != NULL && get_from_buffer(self->sealed, bucket, key, ret_value)) return OK;
    return get_from_file(self->reader, bucket, key, ret_value);
}

/* ---- views ---- */

static bool is_still_true(const struct backend_view *view, const struct backend *backend,
                          enum backend_view_scope scope) {
    return view != NULL && view->scope >= scope && view->reader == backend->reader &&
           view->buffers[ACTIVE] == backend->active && view->operations == backend->active->operations;
}

static bool buffer_makes_bucket(const struct buffer *buffer, enum backend_bucket bucket) {
    return buffer != NULL && (buffer->is_created[bucket] || buffer->small[bucket].count > 0 ||
                              (bucket == BACKEND_KEY && buffer->puts.count > 0));
}

static void freeze_small(struct backend_view *self) {
    for (int i = 0; i < BACKEND_BUCKET_COUNT; i++)
        self->has_bucket[i] = self->reader->buckets[i] != NULL || buffer_makes_bucket(self->buffers[SEALED], i) ||
                              buffer_makes_bucket(self->buffers[ACTIVE], i);
    for (int source = 0; source < SOURCES; source++) {
        for (int bucket = 0; self->buffers[source] != NULL && bucket < BACKEND_BUCKET_COUNT; bucket++) {
            struct small_list list = buffer_sort_small(self->buffers[source], bucket);
            for (size_t i = 0; i < list.count; i++) list.items[i]->references++;
            self->small[source][bucket] = list;
        }
    }
}

struct backend_view *backend_view(struct backend *backend, enum backend_view_scope scope) {
    if (is_still_true(backend->latest_view, backend, scope)) return backend_view_ref(backend->latest_view);
    struct backend_view *self = NEW(struct backend_view);
    self->references = 1;
    self->backend = backend;
    self->scope = scope;
    self->operations = backend->active->operations;
    self->reader = backend->reader;
    self->reader->references++;
    self->buffers[SEALED] = backend->sealed;
    self->buffers[ACTIVE] = backend->active;
    for (int source = 0; source < SOURCES; source++) {
        struct buffer *buffer = self->buffers[source];
        if (buffer == NULL) continue;
        buffer->references++;
        self->puts[source] = buffer->puts;
        self->deletes[source] = buffer->deletes;
    }
    if (scope == BACKEND_VIEW_ALL) freeze_small(self);
    backend->view_count++;
    backend->latest_view = self;
    return self;
}

struct backend_view *backend_view_ref(struct backend_view *view) {
    view->references++;
    return view;
}

void backend_view_unref(struct backend_view *view) {
    if (view == NULL || --view->references > 0) return;
    struct backend *backend = view->backend;
    if (backend->latest_view == view) backend->latest_view = NULL;
    backend->view_count--;
    for (int source = 0; source < SOURCES; source++) {
        for (int bucket = 0; view->scope == BACKEND_VIEW_ALL && bucket < BACKEND_BUCKET_COUNT; bucket++) {
            struct small_list *list = &view->small[source][bucket];
            for (size_t i = 0; i < list->count; i++) small_entry_unref(list->items[i]);
            mem_free(list->items);
        }
        buffer_unref(view->buffers[source], backend->env);
    }
    reader__unref(view->reader);
    mem_free(view);
}

static void check_scope(const struct backend_view *view, enum backend_bucket bucket) {
    CHECKF(bucket == BACKEND_KEY || view->scope == BACKEND_VIEW_ALL, "backend: view of the key bucket only");
}

enum err backend_view_get_near(const struct backend_view *view, struct bolt_hint *hint, struct slice key,
                               struct slice *ret_value) {
    for (int source = SOURCES - 1; source >= 0; source--)
        if (get_revision(&view->puts[source], &view->deletes[source], key, ret_value)) return OK;
    *ret_value = SLICE_NONE;
    struct bolt_bucket *bucket = view->reader->buckets[BACKEND_KEY];
    return bucket == NULL ? OK : bolt_get_near(bucket, hint, key, ret_value);
}

enum err backend_view_get(const struct backend_view *view, enum backend_bucket bucket, struct slice key,
                          struct slice *ret_value) {
    check_scope(view, bucket);
    for (int source = SOURCES - 1; source >= 0; source--) {
        if (bucket == BACKEND_KEY) {
            if (get_revision(&view->puts[source], &view->deletes[source], key, ret_value)) return OK;
            continue;
        }
        const struct small_entry *entry = small_list_find(&view->small[source][bucket], key);
        if (entry == NULL) continue;
        *ret_value = small_value(entry);
        return OK;
    }
    return get_from_file(view->reader, bucket, key, ret_value);
}

/* ---- cursors: the smallest key of file, sealed and active buffer; on a tie the newest ---- */

void backend_cursor_init(struct backend_cursor *self, const struct backend_view *view, enum backend_bucket bucket) {
    check_scope(view, bucket);
    self->view = view;
    self->bucket = bucket;
    self->error = OK;
    backend_cursor_seek(self, slice_make("", 0));
}

void backend_cursor_seek(struct backend_cursor *self, struct slice key) {
    const struct backend_view *view = self->view;
    for (int source = 0; source < SOURCES; source++)
        self->at[source] = self->bucket == BACKEND_KEY
                               ? key_list_lower_bound(&view->puts[source], key)
                               : small_list_lower_bound(&view->small[source][self->bucket], key);
    self->file_is_live = false;
    struct bolt_bucket *bucket = view->reader->buckets[self->bucket];
    if (bucket == NULL || self->error != OK) return;
    bolt_cursor_init(&self->file, bucket);
    self->file_is_live = bolt_cursor_seek(&self->file, key, &self->file_item);
    self->error = self->file.error;
}

struct candidate {
    struct slice key;
    struct slice value;
    bool is_deleted;
};

/* What source `source` has next; false at its end. */
static bool peek_buffer(const struct backend_cursor *self, int source, struct candidate *ret_candidate) {
    const struct backend_view *view = self->view;
    size_t at = self->at[source];
    if (self->bucket == BACKEND_KEY) {
        if (at >= view->puts[source].count) return false;
        const struct key_entry *entry = key_list_at(&view->puts[source], at);
        *ret_candidate = (struct candidate){key_entry_key(entry), slice_make(entry->value, entry->value_bytes), false};
        return true;
    }
    const struct small_list *list = &view->small[source][self->bucket];
    if (at >= list->count) return false;
    *ret_candidate = (struct candidate){list->items[at]->key, list->items[at]->value, list->items[at]->is_deleted};
    return true;
}

static bool is_deleted_revision(const struct backend_view *view, struct slice key) {
    for (int source = 0; source < SOURCES; source++)
        if (!key_runs_is_empty(&view->deletes[source]) && key_runs_contain(&view->deletes[source], key)) return true;
    return false;
}

static void step_file(struct backend_cursor *self) {
    self->file_is_live = bolt_cursor_next(&self->file, &self->file_item);
    if (self->file.error != OK) self->error = self->file.error;
}

bool backend_cursor_next(struct backend_cursor *self, struct slice *ret_key, struct slice *ret_value) {
    while (self->error == OK) {
        struct candidate best = {0}, other;
        bool has_best = false, is_from[SOURCES] = {false}, is_from_file = false;
        for (int source = SOURCES - 1; source >= 0; source--) {
            if (!peek_buffer(self, source, &other)) continue;
            int order = has_best ? slice_compare(other.key, best.key) : -1;
            if (order < 0) {
                best = other;
                memset(is_from, 0, sizeof is_from);
            }
            if (order <= 0) is_from[source] = true;
            has_best = true;
        }
        if (self->file_is_live) {
            int order = has_best ? slice_compare(self->file_item.key, best.key) : -1;
            if (order < 0) {
                best = (struct candidate){self->file_item.key, self->file_item.value, self->file_item.is_bucket};
                memset(is_from, 0, sizeof is_from);
            }
            is_from_file = order <= 0;
        } else if (!has_best) {
            return false;
        }
        for (int source = 0; source < SOURCES; source++) self->at[source] += is_from[source];
        if (is_from_file) step_file(self);
        if (best.is_deleted || (self->bucket == BACKEND_KEY && is_deleted_revision(self->view, best.key))) continue;
        *ret_key = best.key;
        *ret_value = best.value;
        return true;
    }
    return false;
}

/* ---- hash ---- */

static bool is_left_out(enum backend_bucket bucket, struct slice key, bool skip_storage_version) {
    return bucket == BACKEND_META && (slice_equal_cstr(key, "consistent_index") || slice_equal_cstr(key, "term") ||
                                      (skip_storage_version && slice_equal_cstr(key, "storageVersion")));
}

enum err backend_view_hash(const struct backend_view *view, bool skip_storage_version, uint32_t *ret_hash) {
    CHECK(view->scope == BACKEND_VIEW_ALL);
    uint32_t hash = 0;
    for (int bucket = 0; bucket < BACKEND_BUCKET_COUNT; bucket++) {
        if (!view->has_bucket[bucket]) continue;
        struct slice name = backend_bucket_name(bucket), key, value;
        hash = crc32c(hash, name.data, name.len);
        struct backend_cursor cursor;
        backend_cursor_init(&cursor, view, bucket);
        while (backend_cursor_next(&cursor, &key, &value)) {
            if (is_left_out(bucket, key, skip_storage_version)) continue;
            hash = crc32c(hash, key.data, key.len);
            hash = crc32c(hash, value.data, value.len);
        }
        if (cursor.error != OK) return cursor.error;
    }
    *ret_hash = hash;
    return OK;
}

/* ---- snapshots ---- */

struct backend_snapshot {
    struct file *file;
    struct bolt_tx *tx;
};

struct backend_snapshot *backend_snapshot_new(struct backend *backend) {
    struct backend_snapshot *self = NEW(struct backend_snapshot);
    self->file = backend->file;
    self->file->references++;
    self->tx = bolt_begin_read(self->file->bolt);
    return self;
}

uint64_t backend_snapshot_size_bytes(const struct backend_snapshot *snapshot) {
    return bolt_tx_size_bytes(snapshot->tx);
}

void backend_snapshot_read(const struct backend_snapshot *snapshot, uint64_t offset, void *bytes, size_t size_bytes) {
    bolt_image_read(snapshot->tx, offset, bytes, size_bytes);
}

void backend_snapshot_free(struct backend_snapshot *snapshot) {
    if (snapshot == NULL) return;
    bolt_tx_end(snapshot->tx);
    file__unref(snapshot->file);
    mem_free(snapshot);
}
