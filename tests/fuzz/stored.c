/* stored.c - what the backend's buckets hold, of any content: revisions and keys, leases, users and roles, members.
 * Each module takes over what is there, answers about it, changes it, and takes it over once more.
 *
 * The input is a row of records (see put_record), a byte 0, and then what is done with the store. */
#include "fuzz/disk.h"

#include "auth/auth.h"
#include "backend/backend.h"
#include "bolt/bolt.h"
#include "cluster/cluster.h"
#include "lease/lessor.h"
#include "mvcc/keyvalue.h"
#include "mvcc/store.h"
#include "mvcc/watch.h"

#include "pb/rpc.pb-c.h"

#define PATH "/db"
#define LEASES_MAX 64
#define MAP_BYTES (1 << 20)

enum { END, KEY, RAW, NAMED, NUMBER, KINDS };

/* ---- the file ---- */

struct writer {
    struct bolt_bucket *buckets[BACKEND_BUCKET_COUNT];
};

/* Keys and values must stay until the commit. */
struct copies {
    struct slice items[4096];
    size_t count;
};
static struct copies copies;

static struct slice keep_copy(struct slice bytes) {
    if (copies.count == sizeof copies.items / sizeof *copies.items) return SLICE_LITERAL("full");
    struct slice copy = fuzz_copy(bytes);
    copies.items[copies.count++] = copy;
    return copy;
}

static void put(struct writer *self, enum backend_bucket bucket, struct slice key, struct slice value) {
    if (key.len == 0) return;
    CHECK(bolt_put(self->buckets[bucket], keep_copy(key), keep_copy(value)) == OK);
}

/* A revision: main of 2 bytes (as it is, or far up), sub, flags: 1 a tombstone, 2 value as it is, 4 main far up, 8 a
 * lease. */
static void put_key(struct writer *self, struct fuzz_input *input) {
    uint8_t name[BACKEND_REVISION_MAX_BYTES];
    int64_t main = (int64_t)fuzz_number(input, 2), sub = fuzz_byte(input);
    uint8_t flags = fuzz_byte(input);
    if (flags & 4) main += INT64_MAX - 65535;
    struct keyvalue kv = {.key = fuzz_take(input, fuzz_byte(input) % 24)};
    if (!(flags & 1)) {
        kv.create_revision = fuzz_byte(input);
        kv.mod_revision = main;
        kv.version = fuzz_byte(input);
        kv.value = fuzz_take(input, fuzz_byte(input));
        if (flags & 8) kv.lease = fuzz_byte(input) % 4;
    }
    uint8_t encoded[512];
    struct slice value = slice_make(encoded, keyvalue_size(&kv));
    CHECK(value.len <= sizeof encoded && keyvalue_encode(&kv, encoded) == encoded + value.len);
    if (flags & 2) value = kv.value;
    put(self, BACKEND_KEY, slice_make(name, backend_revision_encode(name, main, sub, flags & 1)), value);
}

static bool put_record(struct writer *self, struct fuzz_input *input) {
    static const struct {
        enum backend_bucket bucket;
        const char *key;
    } names[] = {{BACKEND_META, "consistent_index"},
                 {BACKEND_META, "term"},
                 {BACKEND_META, "confState"},
                 {BACKEND_META, "scheduledCompactRev"},
                 {BACKEND_META, "finishedCompactRev"},
                 {BACKEND_META, "storageVersion"},
                 {BACKEND_AUTH, "authEnabled"},
                 {BACKEND_AUTH, "authRevision"},
                 {BACKEND_CLUSTER, "clusterVersion"},
                 {BACKEND_CLUSTER, "downgrade"},
                 {BACKEND_AUTH_USERS, "root"},
                 {BACKEND_AUTH_USERS, "u"},
                 {BACKEND_AUTH_ROLES, "root"},
                 {BACKEND_AUTH_ROLES, "r"},
                 {BACKEND_MEMBERS, "a"},
                 {BACKEND_MEMBERS_REMOVED, "b"},
                 {BACKEND_LEASE, "\1\2\3\4\5\6\7\10"}};
    switch (fuzz_byte(input) % KINDS) {
    case KEY: put_key(self, input); return true;
    case RAW: {
        enum backend_bucket bucket = (enum backend_bucket)(fuzz_byte(input) % BACKEND_BUCKET_COUNT);
        struct slice key = fuzz_take(input, fuzz_byte(input));
        put(self, bucket, key, fuzz_take(input, fuzz_byte(input)));
        return true;
    }
    case NAMED: {
        size_t at = fuzz_byte(input) % (sizeof names / sizeof *names);
        put(self, names[at].bucket, slice_from_cstr(names[at].key), fuzz_take(input, fuzz_byte(input)));
        return true;
    }
    case NUMBER: { /* a compaction, at a revision */
        uint8_t name[BACKEND_REVISION_MAX_BYTES];
        bool is_finished = fuzz_byte(input) & 1;
        size_t length = backend_revision_encode(name, (int64_t)fuzz_number(input, 2), 0, false);
        put(self, BACKEND_META, slice_from_cstr(is_finished ? "finishedCompactRev" : "scheduledCompactRev"),
            slice_make(name, length));
        return true;
    }
    default: return false;
    }
}

static void make_file(struct env *env, struct fuzz_input *input) {
    struct bolt *bolt;
    struct bolt_tx *tx;
    struct writer writer;
    CHECK(bolt_open(env, PATH, NULL, &bolt, NULL) == OK && bolt_begin_write(bolt, &tx) == OK);
    for (int i = 0; i < BACKEND_BUCKET_COUNT; i++)
        CHECK(bolt_bucket_create(bolt_tx_root(tx), backend_bucket_name((enum backend_bucket)i), &writer.buckets[i]) ==
              OK);
    while (fuzz_left(input) != 0 && put_record(&writer, input)) {
    }
    CHECK(bolt_tx_commit(tx, NULL) == OK);
    bolt_close(bolt);
    for (size_t i = 0; i < copies.count; i++) fuzz_drop(copies.items[i]);
    copies.count = 0;
}

/* ---- a member's modules on it ---- */

struct modules {
    struct backend *backend;
    struct lessor *lessor;
    struct auth_store *auth;
    struct cluster *cluster;
    struct store *store;
    bool is_stopped;
    bool is_sound; /* nothing was refused */
};

static void on_failure(void *context, enum err error, const char *text) { CHECKF(false, "a commit failed: %s", text); }

static bool lease_exists(void *context, int64_t lease) {
    return lessor_exists(((struct modules *)context)->lessor, lease);
}
static void lease_attach(void *context, struct slice key, int64_t lease) {
    (void)(lessor_attach(((struct modules *)context)->lessor, lease, key) == OK);
}
static void lease_detach(void *context, struct slice key, int64_t lease) {
    lessor_detach(((struct modules *)context)->lessor, key);
}

static void judge(struct modules *self, enum err error, const struct errmsg *message) {
    CHECK(error == OK || error == ERR_CORRUPT);
    CHECK(error == OK || message->text[0] != 0);
    if (error != OK) self->is_sound = false;
}

static void open_modules(struct modules *self, struct env *env, bool beside) {
    struct errmsg message = {""};
    struct backend_options options = {.initial_map_bytes = MAP_BYTES, .hooks = {.on_failure = on_failure}};
    *self = (struct modules){.is_sound = true};
    enum err error = backend_open(env, PATH, &options, &self->backend, &message);
    CHECKF(error == OK, "%s", message.text);
    struct lessor_config lessor_config = {.min_ttl_s = 2, .checkpoints = true};
    self->lessor = lessor_new(&lessor_config);
    judge(self, lessor_restore(self->lessor, self->backend, &message), &message);
    struct auth_config auth_config = {.env = env, .bcrypt_cost = 4};
    self->auth = auth_store_new(&auth_config);
    message.text[0] = 0;
    judge(self, auth_store_restore(self->auth, self->backend, &message), &message);
    self->cluster = cluster_new(1, 10, NULL);
    message.text[0] = 0;
    judge(self, cluster_recover_backend(self->cluster, self->backend, &message), &message);
    struct store_options store_options = {.env = env,
                                          .lease = {lease_exists, lease_attach, lease_detach, self},
                                          .compaction_batch_limit = 3,
                                          .compaction_slice_keys = 5,
                                          .watch_ring_events = 4};
    message.text[0] = 0;
    struct store_load *load = beside ? store_load_start(self->backend, env) : NULL;
    error = store_open(self->backend, &store_options, load, &self->store, &message);
    judge(self, error, &message);
    if (error != OK) self->store = NULL;
}

static void set_stopped(void *context) { ((struct modules *)context)->is_stopped = true; }
static bool is_stopped(void *context) { return ((struct modules *)context)->is_stopped; }

static void close_modules(struct modules *self) {
    if (self->store != NULL) {
        store_stop(self->store, set_stopped, self);
        CHECK(sim_run_until(fuzz_disk.sim, is_stopped, self, 60 * SIM_S_NS));
        store_close(self->store);
    }
    cluster_free(self->cluster);
    auth_store_free(self->auth);
    lessor_free(self->lessor);
    CHECK(backend_close(self->backend) == OK);
}

/* ---- asking and changing ---- */

static void read_range(struct modules *self, const struct store_range_options *options) {
    struct store_range *range;
    if (store_range_begin(self->store, options, &range) != OK) return;
    while (!store_range_step(range, 3)) {
    }
    struct slice pair;
    struct keyvalue kv;
    bool found = true;
    while (store_range_next(range, &pair, &found) == OK && found)
        CHECK(keyvalue_decode(pair, &kv) == OK || pair.len == 0);
    CHECK(store_range_length(range) <= (size_t)store_range_count(range));
    store_range_free(range);
}

static void read_all(struct modules *self) {
    for (int target = STORE_BY_KEY; target <= STORE_BY_VALUE; target++) {
        struct store_range_options options = {.key = SLICE_LITERAL("\0"),
                                              .range_end = SLICE_LITERAL("\0"),
                                              .order = (enum store_sort_order)(target % 3),
                                              .target = (enum store_sort_target)target,
                                              .keys_only = target == STORE_BY_MOD,
                                              .limit = target == STORE_BY_CREATE ? 3 : 0,
                                              .revision = target * store_revision(self->store) / 4};
        read_range(self, &options);
    }
}

static bool deliver(void *context, struct watcher *watcher, const struct watch_batch *batch) {
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < batch->count; i++) watch_event_append(batch->events[i], true, &out);
    buf_release(&out);
    return true;
}
static void compacted(void *context, struct watcher *watcher, int64_t compact_revision) {
    CHECK(compact_revision >= 0);
}

static void hashed(void *context, enum err error, const struct store_hash *hash) {
    CHECK(error == OK || error == ERR_COMPACTED || error == ERR_FUTURE_REV || error == ERR_STOPPED ||
          error == ERR_CORRUPT);
}

static void watch_all(struct modules *self, int64_t from) {
    struct watch_options options = {.key = SLICE_LITERAL("\0"),
                                    .range_end = SLICE_LITERAL("\0"),
                                    .start_revision = from,
                                    .prev_kv = true,
                                    .sink = {deliver, compacted, NULL}};
    struct watcher *watcher;
    if (watch_hub_add(store_watch_hub(self->store), &options, &watcher) != OK) return;
    sim_run_for(fuzz_disk.sim, SIM_S_NS);
    watcher_free(watcher);
}

static void change(struct modules *self, struct fuzz_input *input) {
    struct store_txn *txn = store_txn_begin(self->store);
    struct slice key = fuzz_take(input, 1 + fuzz_byte(input) % 4), pair;
    uint8_t choice = fuzz_byte(input);
    if (key.len != 0 && choice & 1) store_txn_put(txn, key, fuzz_take(input, choice % 16), choice & 2 ? choice % 4 : 0);
    if (key.len != 0 && choice & 4) (void)store_txn_get(txn, key, &pair);
    if (choice & 8) (void)store_txn_delete_range(txn, key, choice & 16 ? SLICE_LITERAL("\0") : SLICE_NONE);
    (void)store_txn_end(txn);
}

static void use_store(struct modules *self, struct fuzz_input *input) {
    int64_t newest = store_revision(self->store);
    switch (fuzz_byte(input) % 7) {
    case 0: read_all(self); break;
    case 1: change(self, input); break;
    case 2: watch_all(self, fuzz_byte(input)); break;
    case 3: (void)(store_compact(self->store, newest - fuzz_byte(input) % 8, NULL, NULL) == OK); break;
    case 4: store_hash_by_revision(self->store, fuzz_byte(input) % 4 * newest / 3, hashed, NULL); break;
    case 5: sim_run_for(fuzz_disk.sim, fuzz_byte(input) * SIM_MS_NS); break;
    case 6: {
        struct slice pair;
        bool found;
        (void)(store_get(self->store, fuzz_take(input, fuzz_byte(input) % 4), newest, &pair, &found) == OK);
        break;
    }
    }
}

static void use_leases(struct modules *self) {
    int64_t ids[LEASES_MAX], now_ns = sim_now_ns(fuzz_disk.sim), ttl_s;
    struct lease_checkpoint checkpoints[LEASES_MAX];
    struct lease_info info;
    bool clears;
    lessor_promote(self->lessor, now_ns, SIM_S_NS);
    if (lessor_count(self->lessor) <= LEASES_MAX) lessor_list(self->lessor, ids);
    size_t expired = lessor_expired(self->lessor, now_ns + 1000 * SIM_S_NS, ids, LEASES_MAX);
    for (size_t i = 0; i < expired; i++) {
        CHECK(lessor_lookup(self->lessor, ids[i], &info) && info.id == ids[i]);
        if (i % 2 == 0) {
            enum err error = lessor_renew(self->lessor, ids[i], now_ns, &ttl_s, &clears);
            CHECK(error == OK || error == ERR_LEASE_NOT_FOUND);
        } else {
            struct lease_keys keys;
            CHECK(lessor_revoke(self->lessor, ids[i], &keys) == OK);
            lease_keys_release(&keys);
        }
    }
    (void)lessor_due_checkpoints(self->lessor, now_ns + 1000 * SIM_S_NS, checkpoints, LEASES_MAX);
    (void)(lessor_grant(self->lessor, 77, 5, now_ns, &ttl_s) == OK);
}

static void use_auth(struct modules *self) {
    static const char *const users[] = {"root", "u", "x"};
    struct buf out = BUF_INIT;
    auth_append_status(self->auth, &out);
    auth_append_users(self->auth, &out);
    auth_append_roles(self->auth, &out);
    for (size_t i = 0; i < 3; i++) {
        struct auth_info info = {slice_from_cstr(users[i]), auth_store_revision(self->auth)};
        struct slice hash;
        uint64_t revision;
        enum err errors[] = {auth_check_read(self->auth, &info, SLICE_LITERAL("k"), SLICE_LITERAL("l")),
                             auth_check_write(self->auth, &info, SLICE_LITERAL("k"), SLICE_NONE),
                             auth_check_read(self->auth, &info, SLICE_LITERAL("k"), SLICE_LITERAL("\0")),
                             auth_check_admin(self->auth, &info),
                             auth_append_user(self->auth, info.username, &out),
                             auth_append_role(self->auth, SLICE_LITERAL("r"), &out),
                             auth_password_of(self->auth, info.username, &hash, &revision)};
        for (size_t k = 0; k < sizeof errors / sizeof *errors; k++) CHECK(errors[k] < ERR_COUNT);
    }
    char user[] = "u", role[] = "r";
    Etcdserverpb__AuthUserGrantRoleRequest grant;
    Etcdserverpb__AuthRoleDeleteRequest delete_role;
    etcdserverpb__auth_user_grant_role_request__init(&grant);
    etcdserverpb__auth_role_delete_request__init(&delete_role);
    grant.user = user;
    grant.role = delete_role.role = role;
    enum err error = auth_user_grant_role(self->auth, &grant);
    CHECK(error == OK || error == ERR_USER_NOT_FOUND || error == ERR_ROLE_NOT_FOUND);
    error = auth_role_delete(self->auth, &delete_role);
    CHECK(error == OK || error == ERR_ROLE_NOT_FOUND);
    buf_release(&out);
}

static void use_cluster(struct modules *self) {
    struct buf out = BUF_INIT;
    cluster_append_v2_json(self->cluster, &out);
    cluster_append_members_json(self->cluster, &out);
    cluster_set_backend(self->cluster, self->backend);
    cluster_sync_backend(self->cluster);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    struct env *env = fuzz_disk_open();
    struct modules modules;
    make_file(env, &input);
    open_modules(&modules, env, false);
    if (modules.is_sound) {
        use_leases(&modules);
        use_auth(&modules);
        use_cluster(&modules);
        while (fuzz_left(&input) != 0 && store_error(modules.store) == OK) use_store(&modules, &input);
    }
    bool was_sound = modules.is_sound && store_error(modules.store) == OK;
    int64_t revision = modules.store != NULL ? store_revision(modules.store) : 0;
    close_modules(&modules);
    if (was_sound) {
        open_modules(&modules, env, true);
        CHECK(modules.is_sound && store_revision(modules.store) == revision);
        close_modules(&modules);
    }
    fuzz_disk_close();
    return 0;
}
