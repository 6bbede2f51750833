/* bolt.c - a database file of any content: opened, walked, checked, copied, then written to.
 *
 * The first byte: 1 make the checksums of both meta pages right (else nearly every input ends there), 2 keep the free
 * list in the file when writing, 4 do not write. Then how many pages of 1024 bytes the file has, and for each page two
 * bytes, how much of it follows (the rest is zeros), and so much. Then a byte, which call to the disk fails
 * (0: none), and two and one: where a byte goes bad once the file is open, and how (0: it does not). Then what is to be
 * done when writing. */
#include "fuzz/disk.h"

#include "bolt/bolt.h"
#include "bolt/format.h"

#define PATH "/db"
#define COPY_PATH "/copy"
#define UNIT_BYTES 1024
#define MAX_WALKED 600
#define MAX_NESTED 40

static struct slice make_file(struct fuzz_input *input, bool fix_checksums) {
    size_t pages = 1 + (size_t)fuzz_byte(input), size_bytes = pages * UNIT_BYTES;
    uint8_t *bytes = calloc(1, size_bytes);
    for (size_t i = 0; i < pages; i++) {
        struct slice given = fuzz_take(input, (size_t)fuzz_number(input, 2) % (UNIT_BYTES + 1));
        if (given.len != 0) memcpy(bytes + i * UNIT_BYTES, given.data, given.len);
    }
    uint32_t page_bytes = load_u32le(bytes + PAGE_HEADER_BYTES + 8);
    for (int i = 0; i < 2 && fix_checksums; i++) {
        size_t at = (i == 0 ? 0 : (size_t)page_bytes) + PAGE_HEADER_BYTES;
        if (at + META_BYTES > size_bytes) break;
        uint64_t hash = 0xcbf29ce484222325;
        for (size_t k = 0; k < 56; k++) hash = (hash ^ bytes[at + k]) * 0x100000001b3;
        store_u64le(bytes + at + 56, hash);
    }
    return slice_make(bytes, size_bytes);
}

/* ---- reading ---- */

/* A disk that goes bad while the file is open: what was looked at then does not count any more. */
struct damage {
    size_t at;
    uint8_t bits;
};

static void do_damage(const struct damage *damage) {
    for (unsigned bit = 0; bit < 8; bit++)
        if (damage->bits >> bit & 1) (void)sim_disk_flip_bit(fuzz_disk.disk, PATH, (int64_t)damage->at, bit);
}

struct walk {
    size_t walked;
    size_t pages;
    uint32_t sum; /* so that every byte of keys and values is read */
};

static void read_bytes(struct walk *self, struct slice bytes) {
    for (size_t i = 0; i < bytes.len; i++) self->sum = self->sum * 31 + bytes.data[i];
}

static void walk_bucket(struct walk *self, struct bolt_bucket *bucket, int nested);

static void look_up(struct walk *self, struct bolt_bucket *bucket, const struct bolt_item *item) {
    struct slice value;
    struct bolt_hint hint = {0};
    struct bolt_cursor cursor;
    struct bolt_item found;
    if (bolt_get(bucket, item->key, &value) == OK) read_bytes(self, value);
    if (bolt_get_near(bucket, &hint, item->key, &value) == OK) read_bytes(self, value);
    if (bolt_get_near(bucket, &hint, item->key, &value) == OK) read_bytes(self, value);
    bolt_cursor_init(&cursor, bucket);
    if (bolt_cursor_seek(&cursor, item->key, &found) && bolt_cursor_previous(&cursor, &found))
        read_bytes(self, found.key);
}

static void walk_item(struct walk *self, struct bolt_bucket *bucket, const struct bolt_item *item, int nested) {
    read_bytes(self, item->key);
    read_bytes(self, item->value);
    if (self->walked % 7 == 0) look_up(self, bucket, item);
    struct bolt_bucket *inner;
    if (item->is_bucket && nested < MAX_NESTED && bolt_bucket_open(bucket, item->key, &inner) == OK)
        walk_bucket(self, inner, nested + 1);
}

static void walk_bucket(struct walk *self, struct bolt_bucket *bucket, int nested) {
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    for (bool more = bolt_cursor_first(&cursor, &item); more; more = bolt_cursor_next(&cursor, &item)) {
        if (++self->walked > MAX_WALKED) return;
        walk_item(self, bucket, &item, nested);
    }
    CHECK(cursor.error == OK || cursor.error == ERR_CORRUPT);
    bolt_cursor_init(&cursor, bucket);
    if (bolt_cursor_last(&cursor, &item)) read_bytes(self, item.key);
    (void)bolt_bucket_sequence(bucket);
}

static void count_finding(void *context, const char *text) {
    CHECK(text[0] != 0);
    ++*(size_t *)context;
}

static size_t check(struct bolt_tx *tx) {
    size_t told = 0, findings = bolt_check(tx, count_finding, &told);
    CHECK(told == findings);
    return findings;
}

static void read_image(struct bolt_tx *tx) {
    uint64_t size_bytes = bolt_tx_size_bytes(tx), step = 700;
    uint8_t *piece = malloc(step);
    for (uint64_t at = 0; at < size_bytes; at += step)
        bolt_image_read(tx, at, piece, size_bytes - at < step ? size_bytes - at : step);
    free(piece);
}

/* A file without findings can be copied, and its copy has none. */
static void copy(struct env *env, struct bolt_tx *tx, bool is_sound) {
    struct bolt *fresh;
    struct bolt_options options = {.page_size_bytes = 1024};
    if (env_remove_all(env, COPY_PATH) != OK) return;
    if (bolt_open(env, COPY_PATH, &options, &fresh, NULL) != OK) {
        CHECK(fuzz_disk.has_failed);
        return;
    }
    enum err error = bolt_copy(tx, fresh);
    CHECKF(error == OK || !is_sound || fuzz_disk.has_failed, "the copy failed: %s", err_name(error));
    if (error == OK) {
        struct bolt_tx *read = bolt_begin_read(fresh);
        size_t findings = check(read);
        CHECKF(findings == 0 || !is_sound, "the copy is not sound");
        bolt_tx_end(read);
    }
    bolt_close(fresh);
}

static void read_file(struct env *env, const struct damage *damage) {
    struct bolt_options options = {.read_only = true};
    struct bolt *bolt;
    struct errmsg message = {""};
    struct bolt_tx *none;
    enum err error = bolt_open(env, PATH, &options, &bolt, &message);
    CHECK(error == OK || message.text[0] != 0);
    if (error != OK) return;
    CHECK(bolt_begin_write(bolt, &none) == ERR_BOLT_READ_ONLY);
    struct bolt_tx *tx = bolt_begin_read(bolt);
    CHECK(strcmp(bolt_path(bolt), PATH) == 0 && bolt_tx_file(tx) == bolt);
    bool is_sound = check(tx) == 0;
    do_damage(damage);
    struct slice value;
    (void)(bolt_get(bolt_tx_root(tx), SLICE_LITERAL("A"), &value) == OK);
    (void)check(tx);
    read_image(tx);
    if (is_sound) {
        struct walk walk = {0};
        walk_bucket(&walk, bolt_tx_root(tx), 0);
        copy(env, tx, damage->bits == 0);
    }
    bolt_explain(bolt, &message);
    bolt_tx_end(tx);
    bolt_close(bolt);
    do_damage(damage); /* and well again */
}

/* ---- writing ---- */

enum {
    PUT,
    DELETE,
    CREATE,
    DELETE_BUCKET,
    NEST,
    COMMIT,
    ROLLBACK,
    PUT_LARGE,
    FILL,
    WALK,
    THIN_OUT,
    ENSURE,
    READER,
    DAMAGE,
    MOVE,
    OPS
};
#define LARGEST_BYTES (1200 * 1000)

struct writer {
    struct bolt *bolt;
    struct bolt_tx *tx;
    struct bolt_bucket *bucket;
    struct bolt_tx *reader;
    const struct damage *damage;
    bool is_sound;
    bool has_failed;
};

static bool is_excused(const struct writer *self) { return !self->is_sound || fuzz_disk.has_failed; }

static bool begin(struct writer *self) {
    enum err error = bolt_begin_write(self->bolt, &self->tx);
    if (error != OK) self->tx = NULL;
    self->bucket = self->tx != NULL ? bolt_tx_root(self->tx) : NULL;
    CHECK(error == OK || self->has_failed);
    return error == OK;
}

/* What was sound stays so; a commit of what was not may be refused. */
static bool commit(struct writer *self) {
    enum err error = bolt_tx_commit(self->tx, NULL);
    self->tx = NULL;
    CHECKF(error == OK || is_excused(self), "the commit failed: %s", err_name(error));
    self->has_failed = error != OK;
    struct bolt_tx *reader = bolt_begin_read(self->bolt);
    if (self->is_sound) CHECKF(check(reader) == 0, "a commit left something unsound");
    bolt_tx_end(reader);
    return begin(self);
}

static void judge(const struct writer *self, enum err error) { CHECK(error != ERR_CORRUPT || !self->is_sound); }

static void put(struct writer *self, struct slice key, struct slice value) {
    judge(self, bolt_put(self->bucket, key, value));
}

/* Deletes all keys but every n-th. */
static void thin_out(struct writer *self, unsigned n) {
    struct bolt_cursor cursor;
    struct bolt_item item;
    struct slice keys[256];
    size_t count = 0, seen = 0;
    bolt_cursor_init(&cursor, self->bucket);
    for (bool more = bolt_cursor_first(&cursor, &item); more && count < 256; more = bolt_cursor_next(&cursor, &item))
        if (!item.is_bucket && ++seen % n != 0) keys[count++] = fuzz_copy(item.key);
    for (size_t i = 0; i < count; i++) {
        judge(self, bolt_delete(self->bucket, keys[i]));
        fuzz_drop(keys[i]);
    }
}

static struct slice name_of(struct fuzz_input *input) { return fuzz_take(input, fuzz_byte(input) % 8); }

static bool write_step(struct writer *self, struct fuzz_input *input) {
    static const uint8_t zeros[LARGEST_BYTES];
    struct bolt_bucket *inner;
    enum err error = OK;
    switch (fuzz_byte(input) % OPS) {
    case PUT: {
        struct slice key = name_of(input);
        put(self, key, name_of(input));
        break;
    }
    case PUT_LARGE: {
        struct slice key = name_of(input);
        uint8_t size = fuzz_byte(input);
        put(self, key, slice_make(zeros, size == 255 ? LARGEST_BYTES : 20 * (size_t)size));
        break;
    }
    case WALK: {
        struct walk walk = {0};
        walk_bucket(&walk, self->bucket, 0);
        break;
    }
    case THIN_OUT: thin_out(self, 2 + fuzz_byte(input) % 8u); break;
    case ENSURE: error = bolt_bucket_create_if_missing(self->bucket, name_of(input), &inner); break;
    case READER:
        bolt_tx_end(self->reader);
        self->reader = bolt_begin_read(self->bolt);
        CHECK(bolt_tx_id(self->reader) + 1 == bolt_tx_id(self->tx));
        break;
    case DAMAGE:
        if (self->damage->bits != 0) self->is_sound = false;
        do_damage(self->damage);
        break;
    case MOVE:
        error = bolt_move(self->bolt, PATH);
        if (error == OK) error = bolt_sync(self->bolt);
        break;
    case FILL:
        for (size_t i = 0; i < 40; i++) put(self, fuzz_take(input, 2), slice_make(zeros, 100));
        break;
    case DELETE: error = bolt_delete(self->bucket, name_of(input)); break;
    case CREATE: error = bolt_bucket_create(self->bucket, name_of(input), &inner); break;
    case DELETE_BUCKET: error = bolt_bucket_delete(self->bucket, name_of(input)); break;
    case NEST:
        error = bolt_bucket_open(self->bucket, name_of(input), &inner);
        if (error == OK) self->bucket = inner;
        if (error == OK) bolt_bucket_set_sequence(inner, bolt_bucket_sequence(inner) + 1);
        break;
    case COMMIT: return commit(self);
    case ROLLBACK: bolt_tx_end(self->tx); return begin(self);
    }
    judge(self, error);
    return true;
}

static void write_file(struct env *env, struct fuzz_input *input, bool sync_freelist, const struct damage *damage) {
    struct bolt_options options = {.no_freelist_sync = !sync_freelist};
    struct errmsg message = {""};
    struct writer writer = {.damage = damage};
    enum err error = bolt_open(env, PATH, &options, &writer.bolt, &message);
    CHECK(error == OK || message.text[0] != 0);
    if (error != OK) return;
    writer.reader = bolt_begin_read(writer.bolt);
    writer.is_sound = check(writer.reader) == 0;
    bool goes_on = begin(&writer);
    while (goes_on && fuzz_left(input) != 0) goes_on = write_step(&writer, input);
    if (goes_on) goes_on = commit(&writer);
    if (goes_on) bolt_tx_end(writer.tx);
    struct bolt_tx *last = bolt_begin_read(writer.bolt);
    if (goes_on) copy(env, last, writer.is_sound);
    bolt_tx_end(last);
    bolt_tx_end(writer.reader);
    struct bolt_stats stats;
    bolt_get_stats(writer.bolt, &stats);
    CHECK(stats.open_readers == 0 && stats.size_bytes % bolt_page_size_bytes(writer.bolt) == 0);
    bolt_close(writer.bolt);
    if (!goes_on) return;
    error = bolt_open(env, PATH, &options, &writer.bolt, &message);
    CHECKF(error == OK || is_excused(&writer), "%s", message.text);
    if (error == OK) bolt_close(writer.bolt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    int flags = fuzz_byte(&input);
    struct slice file = make_file(&input, flags & 1);
    struct env *env = fuzz_disk_open();
    sim_disk_put_file(fuzz_disk.disk, PATH, file);
    fuzz_disk_fail(fuzz_byte(&input));
    struct damage damage = {.at = (size_t)fuzz_number(&input, 2)};
    damage.bits = fuzz_byte(&input);
    read_file(env, &damage);
    if (!(flags & 4)) write_file(env, &input, flags & 2, &damage);
    fuzz_disk_close();
    fuzz_drop(file);
    return 0;
}
