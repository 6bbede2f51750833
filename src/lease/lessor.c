#include "lease/lessor.h"

#include "base/arena.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "pb/arena_pb.h"
#include "pb/lease.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>

#define NEVER INT64_MAX
#define SECOND_NS INT64_C(1000000000)

struct lease {
    int64_t id;
    int64_t ttl_s;
    int64_t remaining_ttl_s; /* 0: the full TTL */
    int64_t expiry_ns;       /* NEVER when not primary */
    struct list items;
    size_t key_count;
    struct heap_node expiry_node;     /* key: when to look at it next */
    struct heap_node checkpoint_node; /* key: when its checkpoint is due */
};

/* A key that has a lease. */
struct item {
    struct lease *lease;
    struct list link;
    uint32_t key_bytes;
    uint8_t key[];
};

struct lessor {
    struct lessor_config config;
    struct backend *backend;
    bool is_primary;
    struct map_u64 leases; /* id -> lease */
    struct map_bytes keys; /* key -> item */
    struct heap expiries;
    struct heap checkpoints;
};

int64_t lessor_min_ttl_s(int64_t election_timeout_ms) { return (3 * election_timeout_ms / 2 + 999) / 1000; }

struct lessor *lessor_new(const struct lessor_config *config) {
    struct lessor *self = NEW(struct lessor);
    self->config = *config;
    if (self->config.checkpoint_interval_ns == 0)
        self->config.checkpoint_interval_ns = LESSOR_DEFAULT_CHECKPOINT_INTERVAL_NS;
    map_u64_init(&self->leases, config->seed);
    map_bytes_init(&self->keys, config->seed);
    heap_init(&self->expiries);
    heap_init(&self->checkpoints);
    return self;
}

static void free_items(struct list *items) {
    LIST_FOREACH (link, items) mem_free(CONTAINER_OF(link, struct item, link));
    list_init(items);
}

static void clear(struct lessor *self) {
    size_t at = 0;
    for (struct lease *lease; (lease = map_u64_next(&self->leases, &at)) != NULL;) {
        free_items(&lease->items);
        mem_free(lease);
    }
    map_u64_release(&self->leases);
    map_bytes_release(&self->keys);
    heap_release(&self->expiries);
    heap_release(&self->checkpoints);
    self->is_primary = false;
}

void lessor_free(struct lessor *self) {
    if (self == NULL) return;
    clear(self);
    mem_free(self);
}

static struct lease *find(const struct lessor *self, int64_t id) { return map_u64_get(&self->leases, (uint64_t)id); }

static struct lease *add(struct lessor *self, int64_t id, int64_t ttl_s, int64_t remaining_ttl_s) {
    struct lease *lease = NEW(struct lease);
    lease->id = id;
    lease->ttl_s = ttl_s < self->config.min_ttl_s ? self->config.min_ttl_s : ttl_s;
    lease->remaining_ttl_s = remaining_ttl_s;
    lease->expiry_ns = NEVER;
    list_init(&lease->items);
    map_u64_put(&self->leases, (uint64_t)id, lease);
    return lease;
}

/* ---- the bucket ---- */

static void persist(struct lessor *self, const struct lease *lease) {
    if (self->backend == NULL) return;
    Leasepb__Lease record = LEASEPB__LEASE__INIT;
    record.id = lease->id;
    record.ttl = lease->ttl_s;
    record.remainingttl = lease->remaining_ttl_s;
    uint8_t bytes[64]; /* three varints of at most ten bytes, and their tags */
    size_t size_bytes = leasepb__lease__pack(&record, bytes);
    uint8_t key[8];
    store_u64be(key, (uint64_t)lease->id);
    backend_put(self->backend, BACKEND_LEASE, slice_make(key, sizeof key), slice_make(bytes, size_bytes));
}

static void forget(struct lessor *self, int64_t id) {
    if (self->backend == NULL) return;
    uint8_t key[8];
    store_u64be(key, (uint64_t)id);
    backend_delete(self->backend, BACKEND_LEASE, slice_make(key, sizeof key));
}

static enum err load(struct lessor *self, const struct backend_view *view, struct errmsg *message) {
    struct backend_cursor cursor;
    backend_cursor_init(&cursor, view, BACKEND_LEASE);
    struct arena arena;
    arena_init(&arena, 0);
    enum err error = OK;
    struct slice key;
    struct slice value;
    while (error == OK && backend_cursor_next(&cursor, &key, &value)) {
        arena_reset(&arena);
        const Leasepb__Lease *record = pb_unpack(&leasepb__lease__descriptor, value, &arena);
        if (record == NULL || key.len != 8 || (int64_t)load_u64be(key.data) != record->id || record->id == 0 ||
            record->ttl > LESSOR_MAX_TTL_S)
            error = err_set(message, ERR_CORRUPT, "bucket lease: bad record of %zu bytes", value.len);
        else
            add(self, record->id, record->ttl, record->remainingttl > 0 ? record->remainingttl : 0);
    }
    arena_release(&arena);
    if (error == OK && cursor.error != OK) error = err_set(message, cursor.error, "bucket lease");
    return error;
}

enum err lessor_restore(struct lessor *self, struct backend *backend, struct errmsg *message) {
    clear(self);
    self->backend = backend;
    backend_create_bucket(backend, BACKEND_LEASE);
    struct backend_view *view = backend_view(backend, BACKEND_VIEW_ALL);
    enum err error = load(self, view, message);
    backend_view_unref(view);
    return error;
}

/* ---- expiry and checkpoints, on the primary ---- */

static void put_into(struct heap *heap, struct heap_node *node, int64_t key) {
    if (heap_contains(node)) {
        heap_update(heap, node, key);
    } else {
        node->key = key;
        heap_push(heap, node);
    }
}

static int64_t saturating_add(int64_t a, int64_t b) {
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? NEVER : sum;
}

/* What it has left to live when its time begins anew. */
static int64_t full_time_ns(const struct lease *lease) {
    int64_t seconds = lease->remaining_ttl_s > 0 ? lease->remaining_ttl_s : lease->ttl_s;
    return seconds > NEVER / SECOND_NS ? NEVER : seconds * SECOND_NS;
}

static void start_time(struct lessor *self, struct lease *lease, int64_t now_ns, int64_t extend_ns) {
    lease->expiry_ns = saturating_add(saturating_add(now_ns, extend_ns), full_time_ns(lease));
    put_into(&self->expiries, &lease->expiry_node, lease->expiry_ns);
}

static void schedule_checkpoint(struct lessor *self, struct lease *lease, int64_t now_ns) {
    if (!self->config.checkpoints || !self->is_primary) return;
    if (full_time_ns(lease) <= self->config.checkpoint_interval_ns) return;
    put_into(&self->checkpoints, &lease->checkpoint_node, saturating_add(now_ns, self->config.checkpoint_interval_ns));
}

static int by_remaining(const void *a, const void *b) {
    const struct lease *left = *(const struct lease *const *)a;
    const struct lease *right = *(const struct lease *const *)b;
    int64_t x = full_time_ns(left);
    int64_t y = full_time_ns(right);
    if (x != y) return x < y ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

/* A new leader would see every lease of one TTL run out in one instant, and the revokes would drown the rest. So beyond
 * LESSOR_SPREAD_PER_SECOND leases within a window of a second, the later ones get some seconds more. */
static void spread(struct lessor *self, struct lease **leases, size_t count, int64_t now_ns, int64_t extend_ns) {
    int64_t window_start = full_time_ns(leases[0]);
    int64_t window_end = saturating_add(window_start, SECOND_NS);
    int64_t in_window = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t remaining = full_time_ns(leases[i]);
        if (remaining > window_end) {
            window_start = remaining;
            window_end = saturating_add(remaining, SECOND_NS);
            in_window = 1;
            continue;
        }
        if (++in_window <= LESSOR_SPREAD_PER_SECOND) continue;
        /* One that runs out later within the window needs that much less. */
        int64_t delay = in_window * SECOND_NS / LESSOR_SPREAD_PER_SECOND - (remaining - window_start);
        window_end = saturating_add(window_start, delay);
        start_time(self, leases[i], now_ns, saturating_add(extend_ns, delay));
    }
}

void lessor_promote(struct lessor *self, int64_t now_ns, int64_t extend_ns) {
    self->is_primary = true;
    size_t count = self->leases.count;
    if (count == 0) return;
    struct lease **leases = NEW_ARRAY(struct lease *, count);
    size_t filled = 0;
    size_t at = 0;
    for (struct lease *lease; (lease = map_u64_next(&self->leases, &at)) != NULL;) {
        leases[filled++] = lease;
        start_time(self, lease, now_ns, extend_ns);
        schedule_checkpoint(self, lease, now_ns);
    }
    if (count > LESSOR_SPREAD_PER_SECOND) {
        qsort(leases, count, sizeof(struct lease *), by_remaining);
        spread(self, leases, count, now_ns, extend_ns);
    }
    mem_free(leases);
}

static void empty_heap(struct heap *heap) {
    for (size_t i = 0; i < heap->count; i++) heap->nodes[i]->place = 0;
    heap_release(heap);
}

void lessor_demote(struct lessor *self) {
    if (!self->is_primary) return;
    self->is_primary = false;
    empty_heap(&self->expiries);
    empty_heap(&self->checkpoints);
    size_t at = 0;
    for (struct lease *lease; (lease = map_u64_next(&self->leases, &at)) != NULL;) lease->expiry_ns = NEVER;
}

bool lessor_is_primary(const struct lessor *self) { return self->is_primary; }

enum err lessor_renew(struct lessor *self, int64_t id, int64_t now_ns, int64_t *ret_ttl_s, bool *ret_clear_checkpoint) {
    if (!self->is_primary) return ERR_NOT_PRIMARY;
    struct lease *lease = find(self, id);
    if (lease == NULL || lease->expiry_ns <= now_ns) return ERR_LEASE_NOT_FOUND;
    *ret_clear_checkpoint = self->config.checkpoints && lease->remaining_ttl_s > 0;
    lease->remaining_ttl_s = 0;
    start_time(self, lease, now_ns, 0);
    *ret_ttl_s = lease->ttl_s;
    return OK;
}

size_t lessor_expired(struct lessor *self, int64_t now_ns, int64_t *ids, size_t max) {
    size_t count = 0;
    while (count < max) {
        struct heap_node *node = heap_peek(&self->expiries);
        if (node == NULL || node->key > now_ns) break;
        struct lease *lease = CONTAINER_OF(node, struct lease, expiry_node);
        heap_update(&self->expiries, node, saturating_add(now_ns, LESSOR_RETRY_NS));
        ids[count++] = lease->id;
    }
    return count;
}

static int64_t first_key(const struct heap *heap) {
    const struct heap_node *node = heap_peek(heap);
    return node == NULL ? NEVER : node->key;
}

int64_t lessor_next_expiry_ns(const struct lessor *self) { return first_key(&self->expiries); }
int64_t lessor_next_checkpoint_ns(const struct lessor *self) { return first_key(&self->checkpoints); }

size_t lessor_due_checkpoints(struct lessor *self, int64_t now_ns, struct lease_checkpoint *checkpoints, size_t max) {
    size_t count = 0;
    while (count < max) {
        struct heap_node *node = heap_peek(&self->checkpoints);
        if (node == NULL || node->key > now_ns) break;
        struct lease *lease = CONTAINER_OF(node, struct lease, checkpoint_node);
        heap_remove(&self->checkpoints, node);
        if (lease->expiry_ns <= now_ns) continue; /* it will be revoked */
        int64_t left_s = (lease->expiry_ns - now_ns + SECOND_NS - 1) / SECOND_NS;
        if (left_s < lease->ttl_s)
            checkpoints[count++] = (struct lease_checkpoint){lease->id, left_s};
        else
            schedule_checkpoint(self, lease, now_ns); /* just renewed: nothing to tell */
    }
    return count;
}

/* ---- applying entries ---- */

enum err lessor_grant(struct lessor *self, int64_t id, int64_t ttl_s, int64_t now_ns, int64_t *ret_ttl_s) {
    if (id == 0) return ERR_LEASE_NOT_FOUND;
    if (ttl_s > LESSOR_MAX_TTL_S) return ERR_LEASE_TTL_TOO_LARGE;
    if (find(self, id) != NULL) return ERR_LEASE_EXISTS;
    struct lease *lease = add(self, id, ttl_s, 0);
    if (self->is_primary) {
        start_time(self, lease, now_ns, 0);
        schedule_checkpoint(self, lease, now_ns);
    }
    persist(self, lease);
    *ret_ttl_s = lease->ttl_s;
    return OK;
}

static struct slice item_key(const struct item *item) { return slice_make(item->key, item->key_bytes); }

static int by_key(const void *a, const void *b) {
    return slice_compare(item_key(*(const struct item *const *)a), item_key(*(const struct item *const *)b));
}

enum err lessor_revoke(struct lessor *self, int64_t id, struct lease_keys *ret_keys) {
    struct lease *lease = find(self, id);
    if (lease == NULL) return ERR_LEASE_NOT_FOUND;
    struct lease_keys result = {.count = lease->key_count};
    struct item **items = NULL;
    if (result.count > 0) {
        items = NEW_ARRAY(struct item *, result.count);
        result.keys = NEW_ARRAY(struct slice, result.count);
        size_t at = 0;
        LIST_FOREACH (link, &lease->items) items[at++] = CONTAINER_OF(link, struct item, link);
        CHECK(at == result.count);
        qsort(items, result.count, sizeof(struct item *), by_key);
        for (size_t i = 0; i < result.count; i++) {
            result.keys[i] = item_key(items[i]);
            map_bytes_remove(&self->keys, result.keys[i]);
        }
    }
    result.items = items;
    heap_remove(&self->expiries, &lease->expiry_node);
    heap_remove(&self->checkpoints, &lease->checkpoint_node);
    map_u64_remove(&self->leases, (uint64_t)id);
    mem_free(lease);
    forget(self, id);
    *ret_keys = result;
    return OK;
}

void lease_keys_release(struct lease_keys *self) {
    struct item **items = self->items;
    for (size_t i = 0; i < self->count; i++) mem_free(items[i]);
    mem_free(items);
    mem_free(self->keys);
    *self = (struct lease_keys){0};
}

enum err lessor_attach(struct lessor *self, int64_t id, struct slice key) {
    struct item *item = self->keys.count == 0 ? NULL : map_bytes_get(&self->keys, key);
    struct lease *lease = id == 0 ? NULL : find(self, id);
    if (item != NULL && item->lease == lease) return OK;
    if (item != NULL) {
        list_remove(&item->link);
        item->lease->key_count--;
        if (lease == NULL) {
            map_bytes_remove(&self->keys, key);
            mem_free(item);
        }
    }
    if (lease == NULL) return id == 0 ? OK : ERR_LEASE_NOT_FOUND;
    if (item == NULL) {
        CHECK(key.len <= UINT32_MAX);
        item = mem_alloc(sizeof *item + key.len);
        item->key_bytes = (uint32_t)key.len;
        memcpy(item->key, key.data, key.len);
        map_bytes_put(&self->keys, item_key(item), item);
    }
    item->lease = lease;
    list_push_back(&lease->items, &item->link);
    lease->key_count++;
    return OK;
}

void lessor_detach(struct lessor *self, struct slice key) {
    enum err error = lessor_attach(self, 0, key);
    CHECK(error == OK);
}

int64_t lessor_lease_of(const struct lessor *self, struct slice key) {
    const struct item *item = map_bytes_get(&self->keys, key);
    return item == NULL ? 0 : item->lease->id;
}

enum err lessor_checkpoint(struct lessor *self, int64_t id, int64_t remaining_ttl_s, int64_t now_ns) {
    struct lease *lease = find(self, id);
    if (lease == NULL) return ERR_LEASE_NOT_FOUND;
    lease->remaining_ttl_s = remaining_ttl_s > 0 ? remaining_ttl_s : 0;
    if (self->config.checkpoints_persisted) persist(self, lease);
    schedule_checkpoint(self, lease, now_ns);
    return OK;
}

/* ---- looking ---- */

bool lessor_exists(const struct lessor *self, int64_t id) { return find(self, id) != NULL; }

bool lessor_lookup(const struct lessor *self, int64_t id, struct lease_info *ret_info) {
    const struct lease *lease = find(self, id);
    if (lease == NULL) return false;
    *ret_info = (struct lease_info){
        .id = lease->id,
        .ttl_s = lease->ttl_s,
        .remaining_ttl_s = lease->remaining_ttl_s,
        .expiry_ns = lease->expiry_ns,
        .key_count = lease->key_count,
    };
    return true;
}

void lessor_keys(const struct lessor *self, int64_t id, struct slice *keys) {
    struct lease *lease = find(self, id);
    if (lease == NULL) return;
    LIST_FOREACH (link, &lease->items) *keys++ = item_key(CONTAINER_OF(link, struct item, link));
}

size_t lessor_count(const struct lessor *self) { return self->leases.count; }

static int by_expiry(const void *a, const void *b) {
    const struct lease *left = *(const struct lease *const *)a;
    const struct lease *right = *(const struct lease *const *)b;
    if (left->expiry_ns != right->expiry_ns) return left->expiry_ns < right->expiry_ns ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

void lessor_list(const struct lessor *self, int64_t *ids) {
    size_t count = self->leases.count;
    if (count == 0) return;
    const struct lease **leases = NEW_ARRAY(const struct lease *, count);
    size_t filled = 0;
    size_t at = 0;
    for (const struct lease *lease; (lease = map_u64_next(&self->leases, &at)) != NULL;) leases[filled++] = lease;
    qsort(leases, count, sizeof(const struct lease *), by_expiry);
    for (size_t i = 0; i < count; i++) ids[i] = leases[i]->id;
    mem_free(leases);
}
