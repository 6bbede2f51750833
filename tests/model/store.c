/* store.c - keys with all their revisions, in one array in the order they were written. */
#include "model/private.h"

#include <stdlib.h>

void *model__make(struct arena *arena, const ProtobufCMessageDescriptor *type) {
    void *message = arena_calloc(arena, 1, type->sizeof_message);
    type->message_init(message);
    return message;
}

static struct slice own(struct slice bytes) {
    uint8_t *copy = mem_alloc(bytes.len + 1);
    if (bytes.len != 0) memcpy(copy, bytes.data, bytes.len);
    return slice_make(copy, bytes.len);
}

static void disown(struct slice bytes) { mem_free((void *)(uintptr_t)bytes.data); }

/* ---- keys and records ---- */

static struct model_key *key_named(struct model *self, struct slice name) {
    size_t place = 0;
    while (place < self->keys.count && slice_compare(self->keys.items[place]->name, name) < 0) place++;
    if (place < self->keys.count && slice_equal(self->keys.items[place]->name, name)) return self->keys.items[place];
    struct model_key *key = NEW(struct model_key);
    key->name = own(name);
    VEC_PUSH(&self->keys, key);
    for (size_t i = self->keys.count - 1; i > place; i--) self->keys.items[i] = self->keys.items[i - 1];
    self->keys.items[place] = key;
    return key;
}

static void record_free(struct model_record *record) {
    disown(record->value);
    mem_free(record);
}

static struct model_record *append(struct model *self, struct slice key) {
    struct model_record *record = NEW(struct model_record);
    record->key = key_named(self, key);
    record->main = self->revision + 1;
    record->sub = self->changes++;
    VEC_PUSH(&self->records, record);
    return record;
}

void model__commit(struct model *self) {
    if (self->changes != 0) self->revision++;
    self->changes = 0;
}

void model__look(struct model *self, int64_t revision) {
    for (size_t i = 0; i < self->keys.count; i++) self->keys.items[i]->seen = NULL;
    size_t missing = self->keys.count;
    for (size_t i = self->records.count; i-- > 0 && missing != 0;) {
        const struct model_record *record = self->records.items[i];
        if (record->main > revision || record->key->seen != NULL) continue;
        record->key->seen = record;
        missing--;
    }
}

static const struct model_record *live(const struct model_key *key) {
    return key->seen != NULL && !key->seen->is_delete ? key->seen : NULL;
}

bool model__covers(struct slice begin, struct slice end, struct slice key) {
    if (end.len == 0) return slice_equal(begin, key);
    bool is_open = end.len == 1 && end.data[0] == 0;
    return slice_compare(key, begin) >= 0 && (is_open || slice_compare(key, end) < 0);
}

int64_t model__visible(const struct model *self) { return self->revision + (self->changes != 0); }

static const struct model_record *newest(struct model *self, struct slice key) {
    model__look(self, model__visible(self));
    return live(key_named(self, key));
}

bool model__exists(struct model *self, struct slice key) { return newest(self, key) != NULL; }

int64_t model_key_lease(struct model *self, struct slice key) {
    const struct model_record *record = newest(self, key);
    return record != NULL ? record->lease : 0;
}

size_t model_live_keys(struct model *self) {
    size_t count = 0;
    model__look(self, self->revision);
    for (size_t i = 0; i < self->keys.count; i++) count += live(self->keys.items[i]) != NULL;
    return count;
}

/* ---- answers ---- */

Mvccpb__KeyValue *model__key_value(const struct model_record *record, struct arena *arena) {
    Mvccpb__KeyValue *kv = model__make(arena, &mvccpb__key_value__descriptor);
    kv->key = pb_bytes(record->key->name);
    kv->create_revision = record->create_revision;
    kv->mod_revision = record->main;
    kv->version = record->version;
    kv->value = pb_bytes(record->value);
    kv->lease = record->lease;
    return kv;
}

Etcdserverpb__ResponseHeader *model__header(int64_t revision, struct arena *arena) {
    Etcdserverpb__ResponseHeader *header = model__make(arena, &etcdserverpb__response_header__descriptor);
    header->revision = revision;
    return header;
}

/* ---- range ---- */

/* Asked by a reader who sees model__visible. */
enum err model__check_revision(const struct model *self, int64_t revision) {
    if (revision > model__visible(self)) return ERR_FUTURE_REV;
    if (revision > 0 && revision < self->compact_revision) return ERR_COMPACTED;
    return OK;
}

static int compare_numbers(int64_t a, int64_t b) { return (a > b) - (a < b); }

static int compare_by(Etcdserverpb__RangeRequest__SortTarget target, const Mvccpb__KeyValue *a,
                      const Mvccpb__KeyValue *b) {
    switch (target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION: return compare_numbers(a->version, b->version);
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        return compare_numbers(a->create_revision, b->create_revision);
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD: return compare_numbers(a->mod_revision, b->mod_revision);
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE: return slice_compare(pb_slice(a->value), pb_slice(b->value));
    default: return slice_compare(pb_slice(a->key), pb_slice(b->key));
    }
}

/* By insertion, so that equals keep the order of their keys. */
static void sort(Mvccpb__KeyValue **kvs, size_t count, Etcdserverpb__RangeRequest__SortTarget target, int direction) {
    for (size_t i = 1; i < count; i++)
        for (size_t j = i; j > 0 && direction * compare_by(target, kvs[j - 1], kvs[j]) > 0; j--) {
            Mvccpb__KeyValue *other = kvs[j];
            kvs[j] = kvs[j - 1];
            kvs[j - 1] = other;
        }
}

static bool is_filtered(const Etcdserverpb__RangeRequest *request, const struct model_record *record) {
    if (request->min_mod_revision != 0 && record->main < request->min_mod_revision) return true;
    if (request->max_mod_revision != 0 && record->main > request->max_mod_revision) return true;
    if (request->min_create_revision != 0 && record->create_revision < request->min_create_revision) return true;
    return request->max_create_revision != 0 && record->create_revision > request->max_create_revision;
}

void model__range(struct model *self, const Etcdserverpb__RangeRequest *request, struct arena *arena,
                  Etcdserverpb__RangeResponse *response) {
    response->header = model__header(model__visible(self), arena);
    model__look(self, request->revision > 0 ? request->revision : model__visible(self));
    bool has_filter = request->min_mod_revision != 0 || request->max_mod_revision != 0 ||
                      request->min_create_revision != 0 || request->max_create_revision != 0;
    bool has_order = request->sort_order != ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE;
    size_t limit = request->limit > 0 ? (size_t)request->limit : SIZE_MAX;
    /* Without an order or a filter only so many are looked at, and one more that tells whether there are more. */
    size_t taken = has_filter || has_order || limit == SIZE_MAX ? SIZE_MAX : limit + 1;
    Mvccpb__KeyValue **kvs = ARENA_ARRAY(arena, Mvccpb__KeyValue *, self->keys.count + 1);
    size_t count = 0;
    for (size_t i = 0; i < self->keys.count; i++) {
        const struct model_record *record = live(self->keys.items[i]);
        if (record == NULL || !model__covers(pb_slice(request->key), pb_slice(request->range_end), record->key->name))
            continue;
        response->count++;
        if (count < taken && !is_filtered(request, record)) kvs[count++] = model__key_value(record, arena);
    }
    if (request->count_only) return;
    if (request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND)
        sort(kvs, count, request->sort_target, -1);
    else if (request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND)
        sort(kvs, count, request->sort_target, 1);
    else if (!has_order && request->sort_target != ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY)
        sort(kvs, count, request->sort_target, 1);
    response->more = count > limit;
    response->kvs = kvs;
    response->n_kvs = count < limit ? count : limit;
    for (size_t i = 0; i < response->n_kvs && request->keys_only; i++) kvs[i]->value = (ProtobufCBinaryData){0};
}

/* ---- writing ---- */

void model__put(struct model *self, const Etcdserverpb__PutRequest *request, struct arena *arena,
                Etcdserverpb__PutResponse *response) {
    const struct model_record *before = newest(self, pb_slice(request->key));
    if (request->prev_kv && before != NULL) response->prev_kv = model__key_value(before, arena);
    struct model_record *record = append(self, pb_slice(request->key));
    record->value = own(request->ignore_value ? before->value : pb_slice(request->value));
    if (record->value.len > MODEL_LARGE_BYTES) self->has_large = true;
    record->lease = request->ignore_lease ? before->lease : request->lease;
    record->create_revision = before != NULL ? before->create_revision : record->main;
    record->version = before != NULL ? before->version + 1 : 1;
    response->header = model__header(model__visible(self), arena);
}

void model__delete_key(struct model *self, struct slice key) { append(self, key)->is_delete = true; }

void model__delete_range(struct model *self, const Etcdserverpb__DeleteRangeRequest *request, struct arena *arena,
                         Etcdserverpb__DeleteRangeResponse *response) {
    model__look(self, model__visible(self));
    const struct model_record **found = ARENA_ARRAY(arena, const struct model_record *, self->keys.count + 1);
    size_t count = 0;
    for (size_t i = 0; i < self->keys.count; i++) {
        const struct model_record *record = live(self->keys.items[i]);
        if (record != NULL && model__covers(pb_slice(request->key), pb_slice(request->range_end), record->key->name))
            found[count++] = record;
    }
    for (size_t i = 0; i < count; i++) model__delete_key(self, found[i]->key->name);
    response->header = model__header(model__visible(self), arena);
    response->deleted = (int64_t)count;
    if (!request->prev_kv) return;
    response->prev_kvs = ARENA_ARRAY(arena, Mvccpb__KeyValue *, count + 1);
    response->n_prev_kvs = count;
    for (size_t i = 0; i < count; i++) response->prev_kvs[i] = model__key_value(found[i], arena);
}

/* ---- compaction ---- */

/* What the newest state at the compacted revision does not need goes; a deletion of just that revision stays, as
 * watchers may begin there. */
void model__drop_records(struct model *self, int64_t compact_revision) {
    model__look(self, compact_revision);
    size_t kept = 0;
    for (size_t i = 0; i < self->records.count; i++) {
        struct model_record *record = self->records.items[i];
        bool is_needed = record->main >= compact_revision || (record->key->seen == record && !record->is_delete);
        if (is_needed)
            self->records.items[kept++] = record;
        else
            record_free(record);
    }
    self->records.count = kept;
}

/* ---- the model as a whole ---- */

struct model *model_new(int64_t revision, int64_t compact_revision) {
    struct model *self = NEW(struct model);
    self->revision = revision;
    self->compact_revision = compact_revision;
    return self;
}

void model_free(struct model *self) {
    if (self == NULL) return;
    for (size_t i = 0; i < self->records.count; i++) record_free(self->records.items[i]);
    for (size_t i = 0; i < self->keys.count; i++) {
        disown(self->keys.items[i]->name);
        mem_free(self->keys.items[i]);
    }
    model__streams_release(self);
    VEC_RELEASE(&self->records);
    VEC_RELEASE(&self->keys);
    VEC_RELEASE(&self->leases);
    mem_free(self);
}

void model_set_identity(struct model *self, const struct model_identity *identity) { self->identity = *identity; }
void model_set_now(struct model *self, int64_t now_ns) { self->now_ns = now_ns; }
int64_t model_revision(const struct model *self) { return self->revision; }
int64_t model_compact_revision(const struct model *self) { return self->compact_revision; }
