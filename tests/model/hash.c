/* hash.c - HashKV: CRC-32C over what the store holds, in the order it was written (spec/backend-schema.md 9). */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "model/private.h"

#define REVISION_BYTES 17

static uint32_t hash_record(uint32_t hash, const struct model_record *record, struct arena *arena) {
    uint8_t key[REVISION_BYTES + 1];
    for (int i = 0; i < 8; i++) {
        key[i] = (uint8_t)((uint64_t)record->main >> (56 - 8 * i));
        key[9 + i] = (uint8_t)((uint64_t)record->sub >> (56 - 8 * i));
    }
    key[8] = '_';
    key[REVISION_BYTES] = 't';
    hash = crc32c(hash, key, REVISION_BYTES + record->is_delete);
    Mvccpb__KeyValue deleted = MVCCPB__KEY_VALUE__INIT;
    deleted.key = pb_bytes(record->key->name);
    struct slice value = pb_pack_arena(record->is_delete ? &deleted : model__key_value(record, arena), arena);
    return crc32c(hash, value.data, value.len);
}

/* The newest of its key by then; of deletions only what compacting to that revision keeps. */
static bool is_kept(const struct model_record *record, int64_t revision, bool is_compacting) {
    if (record->key->seen != record) return false;
    return !record->is_delete || (is_compacting && record->main == revision);
}

uint32_t model__hash(struct model *self, int64_t from, int64_t revision, bool is_compacting) {
    struct arena arena;
    arena_init(&arena, 0);
    model__look(self, revision);
    bool keeps_any = false;
    for (size_t i = 0; i < self->records.count && !keeps_any; i++)
        keeps_any = is_kept(self->records.items[i], revision, is_compacting);
    uint32_t hash = crc32c(0, "key", 3);
    for (size_t i = 0; i < self->records.count; i++) {
        const struct model_record *record = self->records.items[i];
        if (record->main > revision) continue;
        if (record->main <= from && keeps_any && !is_kept(record, revision, is_compacting)) continue;
        if (record->main == from && record->is_delete) continue;
        hash = hash_record(hash, record, &arena);
    }
    arena_release(&arena);
    return hash;
}

bool model__is_hash_open_at(const struct model *self, int64_t revision) {
    for (size_t i = 0; i < self->records.count; i++)
        for (size_t j = 0; j < i; j++) {
            const struct model_record *before = self->records.items[j], *after = self->records.items[i];
            if (before->main == revision && after->main == revision && before->key == after->key && before->is_delete &&
                !after->is_delete)
                return true;
        }
    return false;
}

static bool keeps_nothing(struct model *self, int64_t revision) {
    model__look(self, revision);
    for (size_t i = 0; i < self->keys.count; i++)
        if (self->keys.items[i]->seen != NULL && !self->keys.items[i]->seen->is_delete) return false;
    return true;
}

enum err model__hash_kv(struct model *self, int64_t revision, struct arena *arena, struct model_answer *ret_answer) {
    Etcdserverpb__HashKVResponse *kept = NULL;
    int64_t upto = revision == 0 ? self->revision : revision;
    ret_answer->is_hash_open = model__is_hash_open_at(self, upto) || (self->may_sweep && keeps_nothing(self, upto));
    for (size_t i = 0; i < self->compact_hash_count; i++) {
        if (self->compact_hashes[i].revision != revision) continue;
        ret_answer->is_hash_open = ret_answer->is_hash_open || self->compact_hashes[i].is_open;
        kept = model__make(arena, &etcdserverpb__hash_kvresponse__descriptor);
        kept->header = model__header(self->revision, arena);
        kept->hash = self->compact_hashes[i].hash;
        kept->compact_revision = self->compact_hashes[i].from;
    }
    ret_answer->other_message = kept;
    if (revision > 0 && revision < self->compact_revision) return ERR_COMPACTED;
    if (revision > self->revision) return ERR_FUTURE_REV;
    Etcdserverpb__HashKVResponse *response = model__make(arena, &etcdserverpb__hash_kvresponse__descriptor);
    response->header = model__header(self->revision, arena);
    response->compact_revision = self->compact_revision;
    response->hash = model__hash(self, self->compact_revision, upto, false);
    ret_answer->message = response;
    return OK;
}
