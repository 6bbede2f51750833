#include "bolt/db.h"

#include "base/buf.h"
#include "base/check.h"

#include <inttypes.h>

#define DEFAULT_PAGE_BYTES 4096u
#define NEW_FILE_PAGES 4

enum err bolt__corrupt(struct bolt *self, uint64_t page, const char *what) {
    pthread_mutex_lock(&self->lock);
    if (self->corruption == NULL) {
        struct buf text = BUF_INIT;
        buf_printf(&text, "page %" PRIu64 ": %s", page, what);
        self->corruption = buf_detach_cstr(&text);
    }
    pthread_mutex_unlock(&self->lock);
    return ERR_CORRUPT;
}

const char *bolt__page_problem(const struct bolt_tx *tx, uint64_t page) {
    if (page < 2 || page >= tx->page_limit) return "a reference to it lies outside of the file";
    const uint8_t *data = tx->view->data + (page << tx->db->page_shift);
    uint64_t pages = 1 + (uint64_t)page_overflow(data);
    struct block block;
    if (page_id(data) != page) return "it carries another page's id";
    if (pages > tx->page_limit - page) return "its overflow reaches beyond the high water mark";
    if (!block_open(data, pages << tx->db->page_shift, &block)) return "it is neither a branch nor a leaf";
    return NULL;
}

void bolt__bad_page(const struct bolt_tx *tx, uint64_t page) {
    (void)bolt__corrupt(tx->db, page, bolt__page_problem(tx, page));
}

void bolt_explain(struct bolt *self, struct errmsg *message) {
    pthread_mutex_lock(&self->lock);
    (void)err_set(message, ERR_CORRUPT, "%s: %s", self->path, self->corruption ? self->corruption : "no damage found");
    pthread_mutex_unlock(&self->lock);
}

const char *bolt_path(const struct bolt *self) { return self->path; }
uint32_t bolt_page_size_bytes(const struct bolt *self) { return self->page_size_bytes; }

/* ---- views ---- */

/* bbolt's steps: 32 KiB doubling up to 1 GiB, then whole GiB. */
uint64_t bolt__map_bytes(uint64_t size_bytes) {
    const uint64_t gib = 1ull << 30;
    for (unsigned shift = 15; shift <= 30; shift++)
        if (size_bytes <= 1ull << shift) return 1ull << shift;
    return (size_bytes + gib - 1) / gib * gib;
}

enum err bolt__view_new(struct bolt *self, uint64_t size_bytes, struct view **ret_view) {
    uint64_t wanted = bolt__map_bytes(size_bytes);
    if (wanted < self->options.initial_map_bytes) wanted = bolt__map_bytes(self->options.initial_map_bytes);
    struct view *view = NEW(struct view);
    enum err error = env_map(self->file, (size_t)wanted, &view->data);
    if (error != OK) {
        mem_free(view);
        return error;
    }
    view->size_bytes = (size_t)wanted;
    view->references = 1;
    *ret_view = view;
    return OK;
}

/* Under the lock. */
void bolt__view_unref(struct bolt *self, struct view *view) {
    if (view == NULL || --view->references > 0) return;
    env_unmap(self->env, view->data, view->size_bytes);
    mem_free(view);
}

/* ---- open ---- */

static enum err write_new_file(struct bolt *self) {
    uint32_t size = self->options.page_size_bytes != 0 ? self->options.page_size_bytes : DEFAULT_PAGE_BYTES;
    CHECKF(size >= MIN_PAGE_BYTES && size <= MAX_PAGE_BYTES && (size & (size - 1)) == 0, "bolt: page size %u", size);
    CLEANUP_FREE uint8_t *pages = mem_calloc(NEW_FILE_PAGES, size);
    struct meta meta = {.page_size_bytes = size, .root = 3, .freelist = 2, .high_water_mark = NEW_FILE_PAGES};
    for (uint64_t id = 0; id < 2; id++) {
        meta.txid = id;
        meta_encode(&meta, id, pages + id * size);
    }
    page_write_header(pages + 2 * (size_t)size, 2, FLAG_FREELIST, 0, 0);
    page_write_header(pages + 3 * (size_t)size, 3, FLAG_LEAF, 0, 0);
    /* Page by page: Linux caches what was written at once as one block, and would then count, and may write, all of it
     * again with each meta page. */
    for (size_t id = 0; id < NEW_FILE_PAGES; id++)
        TRY(env_pwrite(self->file, pages + id * size, size, (int64_t)(id * size)));
    TRY(env_fsync(self->file));
    self->file_size_bytes = (int64_t)size * NEW_FILE_PAGES;
    CLEANUP_FREE char *folder = env_parent(self->path);
    return env_sync_directory(self->env, folder);
}

/* The page size of a present file: from the first meta page, or from the second wherever it may be. */
static enum err find_page_size(struct bolt *self, uint32_t *ret_size) {
    uint8_t page[PAGE_HEADER_BYTES + META_BYTES];
    struct meta meta;
    size_t got;
    TRY(env_pread(self->file, page, sizeof page, 0, &got));
    if (got == sizeof page && meta_decode(page, &meta) == OK) {
        *ret_size = meta.page_size_bytes;
        return OK;
    }
    for (uint32_t at = MIN_PAGE_BYTES; at <= MAX_PAGE_BYTES; at *= 2) {
        TRY(env_pread(self->file, page, sizeof page, at, &got));
        if (got == sizeof page && meta_decode(page, &meta) == OK && meta.page_size_bytes == at) {
            *ret_size = at;
            return OK;
        }
    }
    *ret_size = DEFAULT_PAGE_BYTES;
    return OK;
}

static enum err read_metas(struct bolt *self, struct errmsg *message) {
    TRY(find_page_size(self, &self->page_size_bytes));
    self->page_shift = (unsigned)__builtin_ctz(self->page_size_bytes);
    if (self->file_size_bytes < 2 * (int64_t)self->page_size_bytes)
        return err_set(message, ERR_CORRUPT, "%s: file size too small %" PRId64, self->path, self->file_size_bytes);
    enum err errors[2];
    struct meta metas[2];
    for (unsigned i = 0; i < 2; i++) {
        uint8_t page[PAGE_HEADER_BYTES + META_BYTES];
        size_t got;
        TRY(env_pread(self->file, page, sizeof page, (int64_t)i * self->page_size_bytes, &got));
        errors[i] = got < sizeof page ? ERR_BOLT_INVALID : meta_decode(page, &metas[i]);
        if (errors[i] == OK && metas[i].page_size_bytes != self->page_size_bytes) errors[i] = ERR_BOLT_INVALID;
    }
    if (errors[0] != OK && errors[1] != OK)
        return err_set(message, errors[0], "%s: %s", self->path, err_text(errors[0]));
    bool use_second = errors[0] != OK || (errors[1] == OK && metas[1].txid > metas[0].txid);
    self->meta = metas[use_second];
    if (self->meta.high_water_mark > (uint64_t)self->file_size_bytes >> self->page_shift)
        return err_set(message, ERR_CORRUPT, "%s: the file has %" PRId64 " bytes but its pages need %" PRIu64,
                       self->path, self->file_size_bytes, self->meta.high_water_mark << self->page_shift);
    return OK;
}

static enum err open_file(struct bolt *self, struct errmsg *message) {
    const struct bolt_options *options = &self->options;
    int flags = options->read_only ? ENV_READ : ENV_WRITE | ENV_CREATE;
    enum err error = env_open(self->env, self->path, flags, 0600, &self->file);
    if (error != OK) return err_set(message, error, "open %s: %s", self->path, err_text(error));
    error = env_lock(self->file, ENV_LOCK_FLOCK, !options->read_only);
    if (error != OK) return err_set(message, error, "%s: %s", self->path, err_text(error));
    error = env_file_size(self->file, &self->file_size_bytes);
    if (error == OK && self->file_size_bytes == 0 && !options->read_only) error = write_new_file(self);
    if (error != OK) return err_set(message, error, "%s: %s", self->path, err_text(error));

    struct errmsg detail = {""};
    error = read_metas(self, &detail);
    if (error == OK) error = bolt__view_new(self, (uint64_t)self->file_size_bytes, &self->view);
    if (error != OK && detail.text[0] != 0) return err_set(message, error, "%s", detail.text);
    if (error != OK) return err_set(message, error, "%s: %s", self->path, err_text(error));
    freelist_init(&self->freelist, self->meta.txid);
    self->settled_txid = self->meta.txid;
    if (options->read_only) return OK;
    struct bolt_tx *tx = bolt_begin_read(self);
    error = bolt__examine(self, tx, message);
    bolt_tx_end(tx);
    self->free_pages = self->freelist.free_count;
    return error;
}

enum err bolt_open(struct env *env, const char *path, const struct bolt_options *options, struct bolt **ret_bolt,
                   struct errmsg *message) {
    struct bolt *self = NEW(struct bolt);
    self->env = env;
    self->path = mem_strdup(path);
    self->options = options != NULL ? *options : (struct bolt_options){0};
    self->oldest_ended = UINT64_MAX;
    pthread_mutex_init(&self->lock, NULL);
    list_init(&self->readers);
    freelist_init(&self->freelist, 0);
    arena_init(&self->writer_arena, 256 << 10);
    enum err error = open_file(self, message);
    if (error != OK) {
        bolt_close(self);
        return error;
    }
    *ret_bolt = self;
    return OK;
}

void bolt_close(struct bolt *self) {
    if (self == NULL) return;
    CHECKF(self->writer == NULL && list_is_empty(&self->readers), "bolt: closed with open transactions");
    bolt__view_unref(self, self->view);
    env_close(self->file);
    freelist_release(&self->freelist);
    arena_release(&self->writer_arena);
    pthread_mutex_destroy(&self->lock);
    mem_free(self->stage);
    mem_free(self->corruption);
    mem_free(self->path);
    mem_free(self);
}

enum err bolt_sync(struct bolt *self) { return env_fdatasync(self->file); }

enum err bolt_move(struct bolt *self, const char *path) {
    TRY(env_rename(self->env, self->path, path));
    char *new_path = mem_strdup(path);
    pthread_mutex_lock(&self->lock);
    mem_free(self->path);
    self->path = new_path;
    pthread_mutex_unlock(&self->lock);
    CLEANUP_FREE char *folder = env_parent(path);
    return env_sync_directory(self->env, folder);
}

void bolt_get_stats(struct bolt *self, struct bolt_stats *ret_stats) {
    pthread_mutex_lock(&self->lock);
    *ret_stats = (struct bolt_stats){
        .txid = self->meta.txid,
        .size_bytes = self->meta.high_water_mark << self->page_shift,
        .free_pages = self->free_pages,
        .pending_pages = self->pending_pages,
        .written_bytes = self->written_bytes,
        .commits = self->commits,
        .open_readers = self->reader_count,
        .freelist_is_stored = self->meta.freelist != NO_FREELIST,
    };
    pthread_mutex_unlock(&self->lock);
}

/* ---- readers ---- */

struct bolt_tx *bolt_begin_read(struct bolt *self) {
    struct bolt_tx *tx = NEW(struct bolt_tx);
    tx->db = self;
    arena_init(&tx->own_arena, 2048);
    tx->arena = &tx->own_arena;
    pthread_mutex_lock(&self->lock);
    tx->meta = self->meta;
    tx->view = self->view;
    tx->view->references++;
    list_push_back(&self->readers, &tx->link);
    self->reader_count++;
    pthread_mutex_unlock(&self->lock);
    tx->page_limit = tx->meta.high_water_mark;
    bucket__init(&tx->root, tx, NULL);
    tx->root.root = tx->meta.root;
    tx->root.sequence = tx->meta.sequence;
    return tx;
}

static void end_read(struct bolt_tx *tx) {
    struct bolt *self = tx->db;
    bucket__release(&tx->root);
    arena_release(&tx->own_arena);
    pthread_mutex_lock(&self->lock);
    list_remove(&tx->link);
    self->reader_count--;
    if (tx->meta.txid < self->oldest_ended) self->oldest_ended = tx->meta.txid;
    bolt__view_unref(self, tx->view);
    pthread_mutex_unlock(&self->lock);
    mem_free(tx);
}

void bolt_tx_end(struct bolt_tx *tx) {
    if (tx == NULL) return;
    if (tx->is_writable)
        tx__rollback(tx);
    else
        end_read(tx);
}

uint64_t bolt_tx_id(const struct bolt_tx *tx) { return tx->meta.txid; }
uint64_t bolt_tx_size_bytes(const struct bolt_tx *tx) { return tx->meta.high_water_mark << tx->db->page_shift; }
struct bolt *bolt_tx_file(const struct bolt_tx *tx) {
    return tx->db;
}
struct bolt_bucket *bolt_tx_root(struct bolt_tx *tx) {
    return &tx->root;
}
