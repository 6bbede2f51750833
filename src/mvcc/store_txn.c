/* store_txn.c - write transactions: revisions, tombstones, leases, events. */
#include "base/check.h"
#include "mvcc/store_private.h"

struct store_txn *store_txn_begin(struct store *self) {
    CHECK(!self->txn.is_open);
    self->txn.is_open = true;
    self->txn.changes = 0;
    self->txn.operations = 0;
    return &self->txn;
}

static struct revision next_revision(struct store_txn *txn) {
    return (struct revision){txn->store->revision + 1, txn->changes++};
}

/* The lease of a key's last put. */
static int64_t old_lease(struct store *store, const struct index_before *before) {
    if (!before->was_live || !before->had_lease) return 0;
    struct slice encoded;
    struct keyvalue kv;
    if (store__fetch(store, NULL, NULL, before->mod, &encoded) != OK) return 0;
    if (keyvalue_decode(encoded, &kv) != OK) {
        (void)store__fail(store, ERR_CORRUPT);
        return 0;
    }
    return kv.lease;
}

static void move_lease(struct store *store, struct slice key, int64_t from, int64_t to) {
    const struct store_lease_ops *lease = &store->options.lease;
    if (from == to) return;
    if (from != 0 && lease->detach != NULL) lease->detach(lease->context, key, from);
    if (to != 0 && lease->attach != NULL) lease->attach(lease->context, key, to);
}

static void write_pair(struct store *store, struct revision revision, const struct watch_event *event,
                       struct slice value) {
    uint8_t bytes[BACKEND_REVISION_MAX_BYTES];
    size_t length = backend_revision_encode(bytes, revision.main, revision.sub, event->is_delete);
    backend_put_shared(store->backend, BACKEND_KEY, slice_make(bytes, length), event->encoded, value);
}

void store_txn_put(struct store_txn *txn, struct slice key, struct slice value, int64_t lease) {
    CHECK(txn->is_open);
    struct store *store = txn->store;
    struct revision revision = next_revision(txn);
    struct index_before before;
    struct index_item item = index_put(store->index, key, revision, &before);
    struct keyvalue kv = {key, item.create_main, revision.main, item.version, value, lease};
    struct watch_event *event = watch__event_put(&kv, revision);
    int64_t previous_lease = old_lease(store, &before);
    write_pair(store, revision, event, event->kv);
    VEC_PUSH(&txn->events, event);
    index_key_set_lease(item.key, lease != 0);
    if ((previous_lease | lease) != 0) move_lease(store, event->key, previous_lease, lease);
    txn->operations++;
    store->stats.put_count++;
    store->stats.put_bytes += key.len + value.len;
}

static void delete_key(struct store_txn *txn, struct slice key) {
    struct store *store = txn->store;
    struct revision revision = next_revision(txn);
    struct index_before before;
    CHECK(index_tombstone(store->index, key, revision, &before));
    struct watch_event *event = watch__event_delete(key, revision);
    int64_t previous_lease = old_lease(store, &before);
    /* The pair holds only the key, which comes first in the event's KeyValue. */
    struct slice stored = slice_make(event->kv.data, (size_t)(event->key.data + event->key.len - event->kv.data));
    write_pair(store, revision, event, stored);
    VEC_PUSH(&txn->events, event);
    if (previous_lease != 0) move_lease(store, event->key, previous_lease, 0);
}

int64_t store_txn_delete_range(struct store_txn *txn, struct slice key, struct slice range_end) {
    CHECK(txn->is_open);
    struct index_range range = index_range_of(key, range_end);
    struct index_cursor cursor = index_seek(txn->store->index, key);
    int64_t deleted = 0;
    for (struct index_key *found; (found = index_next_live(&cursor, &range)) != NULL; deleted++)
        delete_key(txn, index_key_bytes(found));
    txn->operations++;
    txn->store->stats.delete_count++;
    return deleted;
}

bool store_txn_get(struct store_txn *txn, struct slice key, struct slice *ret_kv) {
    struct index_item item;
    return index_get(txn->store->index, key, INT64_MAX, &item) &&
           store__fetch(txn->store, NULL, NULL, item.mod, ret_kv) == OK;
}

int64_t store_txn_revision(const struct store_txn *txn) { return txn->store->revision + (txn->changes > 0); }
int64_t store_txn_changes(const struct store_txn *txn) { return txn->changes; }

int64_t store_txn_end(struct store_txn *txn) {
    struct store *store = txn->store;
    CHECK(txn->is_open);
    txn->is_open = false;
    if (txn->operations > 1) store->stats.txn_count++;
    if (txn->changes > 0) {
        store->revision++;
        watch__hub_notify(store->hub, txn->events.items, txn->events.count);
        txn->events.count = 0;
    }
    return store->revision;
}
