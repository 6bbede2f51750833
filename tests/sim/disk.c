/* disk.c - inodes with a live and a durable side.
 *
 * The live content of a file is one piece of reserved address space, so that maps show what is written. The durable
 * content is a list of blocks that images share until one of them changes it; what lies between the two is the list of
 * changes since the last sync. Folders likewise, with names instead of bytes. */
#include "sim/disk.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/vec.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK_BYTES 4096
#define FILE_MAX_BYTES ((size_t)16 << 30) /* of address space: more than anybody maps */

struct block {
    unsigned refs;
    uint8_t bytes[BLOCK_BYTES];
};

enum change_kind { CHANGE_WRITE, CHANGE_RESIZE, CHANGE_HOLE };

struct change {
    enum change_kind kind;
    int64_t offset; /* CHANGE_RESIZE: the new size */
    size_t size_bytes;
    uint8_t *bytes; /* CHANGE_WRITE */
};

struct name {
    char *text;
    struct inode *inode;
};

/* One atomic step: a name goes, another comes, or both. */
struct name_change {
    char *gone;
    char *come;
    struct inode *inode;
};

typedef VEC(struct name) names;

struct inode {
    struct sim_disk *disk;
    unsigned refs; /* names of either side, changes, handles, views */
    bool is_folder;
    unsigned mode;
    /* a file */
    uint8_t *live;
    int64_t size_bytes;
    VEC(uint8_t) has_block;      /* room is taken for it */
    VEC(struct block *) durable; /* NULL: zeros */
    int64_t durable_bytes;
    VEC(struct change) changes;
    unsigned shared_locks[2];
    struct handle *exclusive_lock[2];
    /* a folder */
    names live_names;
    names durable_names;
    VEC(struct name_change) name_changes;
};

struct handle {
    struct env_file file;
    struct sim_disk_user *user;
    struct inode *inode;
    char *path;
    bool is_locked[2], is_exclusive[2];
};

struct sim_disk {
    struct inode *root;
    sim_disk_hook hook;
    void *hook_context;
    struct sim_disk_speed speed;
    uint64_t capacity_bytes;
    uint64_t used_bytes;
    uint32_t syncs;
    unsigned open_handles;
    VEC(struct inode *) views; /* one entry for each map */
};

static const char *const op_names[] = {"open", "read",   "look",   "lock",   "create",     "write",
                                       "sync", "resize", "rename", "unlink", "sync-folder"};
static const char *const loss_names[] = {"keep", "drop", "tear", "reorder"};

const char *sim_disk_op_name(enum sim_disk_op op) { return op_names[op]; }
const char *sim_loss_name(enum sim_loss loss) { return loss_names[loss]; }
bool sim_disk_op_changes(enum sim_disk_op op) { return op >= SIM_DISK_CREATE; }

/* ---- inodes ---- */

static uint8_t *reserve(size_t size_bytes) {
    void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static struct inode *inode_new(struct sim_disk *disk, bool is_folder, unsigned mode) {
    struct inode *self = NEW(struct inode);
    self->disk = disk;
    self->refs = 1;
    self->is_folder = is_folder;
    self->mode = mode;
    if (!is_folder) {
        self->live = reserve(FILE_MAX_BYTES);
    }
    return self;
}

static void inode_unref(struct inode *self);

static void names_release(names *list) {
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->items[i].text);
        inode_unref(list->items[i].inode);
    }
    VEC_RELEASE(list);
}

static void forget_changes(struct inode *self) {
    for (size_t i = 0; i < self->changes.count; i++) mem_free(self->changes.items[i].bytes);
    self->changes.count = 0;
}

static void forget_name_changes(struct inode *self) {
    for (size_t i = 0; i < self->name_changes.count; i++) {
        struct name_change *change = &self->name_changes.items[i];
        mem_free(change->gone);
        mem_free(change->come);
        inode_unref(change->inode);
    }
    self->name_changes.count = 0;
}

static void block_unref(struct block *block) {
    if (block != NULL && --block->refs == 0) mem_free(block);
}

static void set_blocks(struct inode *self, int64_t size_bytes) {
    size_t count = (size_t)((size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
    for (size_t i = count; i < self->has_block.count; i++)
        if (self->has_block.items[i]) self->disk->used_bytes -= BLOCK_BYTES;
    if (count > self->has_block.count) {
        VEC_RESERVE(&self->has_block, count - self->has_block.count);
        memset(self->has_block.items + self->has_block.count, 0, count - self->has_block.count);
    }
    self->has_block.count = count;
}

static void inode_unref(struct inode *self) {
    if (self == NULL || --self->refs > 0) return;
    if (!self->is_folder) {
        set_blocks(self, 0);
        munmap(self->live, FILE_MAX_BYTES);
    }
    for (size_t i = 0; i < self->durable.count; i++) block_unref(self->durable.items[i]);
    VEC_RELEASE(&self->durable);
    VEC_RELEASE(&self->has_block);
    forget_changes(self);
    VEC_RELEASE(&self->changes);
    names_release(&self->live_names);
    names_release(&self->durable_names);
    forget_name_changes(self);
    VEC_RELEASE(&self->name_changes);
    mem_free(self);
}

static struct inode *inode_ref(struct inode *self) {
    if (self != NULL) self->refs++;
    return self;
}

/* ---- names ---- */

static struct name *names_find(const names *list, const char *text) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].text, text) == 0) return &list->items[i];
    return NULL;
}

static void names_remove(names *list, const char *text) {
    struct name *found = names_find(list, text);
    if (found == NULL) return;
    mem_free(found->text);
    inode_unref(found->inode);
    *found = list->items[--list->count];
}

static void names_apply(names *list, const struct name_change *change) {
    if (change->gone != NULL) names_remove(list, change->gone);
    if (change->come == NULL) return;
    names_remove(list, change->come);
    VEC_PUSH(list, (struct name){mem_strdup(change->come), inode_ref(change->inode)});
}

static void change_names(struct inode *folder, const char *gone, const char *come, struct inode *inode) {
    struct name_change change = {gone != NULL ? mem_strdup(gone) : NULL, come != NULL ? mem_strdup(come) : NULL,
                                 inode_ref(inode)};
    names_apply(&folder->live_names, &change);
    VEC_PUSH(&folder->name_changes, change);
}

static void sync_names(struct inode *folder) {
    for (size_t i = 0; i < folder->name_changes.count; i++)
        names_apply(&folder->durable_names, &folder->name_changes.items[i]);
    forget_name_changes(folder);
}

/* The folder of the last part, and that part in `ret_last`; NULL when a folder on the way is missing. */
static struct inode *find_folder(const struct sim_disk *self, const char *path, char ret_last[256]) {
    struct inode *folder = self->root;
    ret_last[0] = 0;
    while (folder != NULL) {
        while (*path == '/') path++;
        const char *end = strchrnul(path, '/');
        size_t length = (size_t)(end - path);
        CHECK(length < 256);
        memcpy(ret_last, path, length);
        ret_last[length] = 0;
        while (*end == '/') end++;
        if (*end == 0) return folder->is_folder ? folder : NULL;
        struct name *next = names_find(&folder->live_names, ret_last);
        folder = next != NULL ? next->inode : NULL;
        path = end;
    }
    return NULL;
}

static struct inode *find(const struct sim_disk *self, const char *path) {
    char last[256];
    struct inode *folder = find_folder(self, path, last);
    if (folder == NULL || last[0] == 0) return folder;
    struct name *name = names_find(&folder->live_names, last);
    return name != NULL ? name->inode : NULL;
}

/* ---- content ---- */

static struct block *own_block(struct inode *self, size_t index) {
    if (index >= self->durable.count) {
        size_t more = index + 1 - self->durable.count;
        VEC_RESERVE(&self->durable, more);
        memset(self->durable.items + self->durable.count, 0, more * sizeof *self->durable.items);
        self->durable.count += more;
    }
    struct block *old = self->durable.items[index];
    if (old != NULL && old->refs == 1) return old;
    struct block *own = NEW(struct block);
    own->refs = 1;
    if (old != NULL) memcpy(own->bytes, old->bytes, BLOCK_BYTES);
    block_unref(old);
    return self->durable.items[index] = own;
}

/* NULL bytes: zeros. */
static void durable_write(struct inode *self, int64_t offset, const uint8_t *bytes, size_t size_bytes) {
    int64_t end = offset + (int64_t)size_bytes;
    while (offset < end) {
        size_t index = (size_t)(offset / BLOCK_BYTES), at = (size_t)(offset % BLOCK_BYTES);
        size_t length = BLOCK_BYTES - at < (size_t)(end - offset) ? BLOCK_BYTES - at : (size_t)(end - offset);
        if (bytes != NULL) {
            memcpy(own_block(self, index)->bytes + at, bytes, length);
            bytes += length;
        } else if (index < self->durable.count && self->durable.items[index] != NULL) {
            memset(own_block(self, index)->bytes + at, 0, length);
        }
        offset += (int64_t)length;
    }
}

static void durable_resize(struct inode *self, int64_t size_bytes) {
    if (size_bytes < self->durable_bytes)
        durable_write(self, size_bytes, NULL, (size_t)(self->durable_bytes - size_bytes));
    self->durable_bytes = size_bytes;
}

static void durable_apply(struct inode *self, const struct change *change) {
    switch (change->kind) {
    case CHANGE_WRITE:
        durable_write(self, change->offset, change->bytes, change->size_bytes);
        if (change->offset + (int64_t)change->size_bytes > self->durable_bytes)
            self->durable_bytes = change->offset + (int64_t)change->size_bytes;
        break;
    case CHANGE_RESIZE: durable_resize(self, change->offset); break;
    case CHANGE_HOLE: durable_write(self, change->offset, NULL, change->size_bytes); break;
    }
}

static void sync_content(struct inode *self) {
    for (size_t i = 0; i < self->changes.count; i++) durable_apply(self, &self->changes.items[i]);
    forget_changes(self);
}

/* The live side of an inode that only has a durable one. */
static void revive(struct inode *self) {
    self->size_bytes = self->durable_bytes;
    CHECK((size_t)self->size_bytes <= FILE_MAX_BYTES);
    set_blocks(self, self->size_bytes);
    for (size_t i = 0; i < self->durable.count; i++) {
        if (self->durable.items[i] == NULL || i >= self->has_block.count) continue;
        memcpy(self->live + i * BLOCK_BYTES, self->durable.items[i]->bytes, BLOCK_BYTES);
        self->has_block.items[i] = 1;
        self->disk->used_bytes += BLOCK_BYTES;
    }
}

/* ---- images ---- */

/* Where the piece of a write that lies in one sector ends. */
static size_t sector_end(const struct change *change, size_t at) {
    int64_t position = change->offset + (int64_t)at;
    size_t length = (size_t)(SIM_SECTOR_BYTES - position % SIM_SECTOR_BYTES);
    return at + length < change->size_bytes ? at + length : change->size_bytes;
}

static void apply_part(struct inode *image, const struct change *change, size_t from, size_t end) {
    struct change part = {CHANGE_WRITE, change->offset + (int64_t)from, end - from, change->bytes + from};
    durable_apply(image, &part);
}

static void apply_torn(struct inode *image, const struct change *change, struct prng *prng) {
    if (change->kind != CHANGE_WRITE) return;
    size_t end = prng_below(prng, change->size_bytes + 1), at = 0;
    while (at < change->size_bytes && sector_end(change, at) <= end) at = sector_end(change, at);
    if (at > 0) apply_part(image, change, 0, at);
}

static void apply_some(struct inode *image, const struct change *change, struct prng *prng) {
    if (change->kind != CHANGE_WRITE) {
        if (prng_below(prng, 2) == 0) durable_apply(image, change);
        return;
    }
    for (size_t at = 0, end; at < change->size_bytes; at = end) {
        end = sector_end(change, at);
        if (prng_below(prng, 2) == 0) apply_part(image, change, at, end);
    }
}

static void image_content(const struct inode *from, struct inode *image, enum sim_loss loss, struct prng *prng) {
    VEC_RESERVE(&image->durable, from->durable.count);
    for (size_t i = 0; i < from->durable.count; i++) {
        if (from->durable.items[i] != NULL) from->durable.items[i]->refs++;
        image->durable.items[image->durable.count++] = from->durable.items[i];
    }
    image->durable_bytes = from->durable_bytes;
    size_t whole = loss == SIM_KEEP ? from->changes.count : 0;
    if (loss == SIM_TEAR && from->changes.count > 0) whole = prng_below(prng, from->changes.count + 1);
    for (size_t i = 0; i < whole; i++) durable_apply(image, &from->changes.items[i]);
    if (loss == SIM_TEAR && whole < from->changes.count) apply_torn(image, &from->changes.items[whole], prng);
    for (size_t i = 0; loss == SIM_REORDER && i < from->changes.count; i++)
        apply_some(image, &from->changes.items[i], prng);
    revive(image);
}

static struct inode *image_of(const struct inode *from, struct sim_disk *disk, enum sim_loss loss, struct prng *prng) {
    struct inode *image = inode_new(disk, from->is_folder, from->mode);
    if (!from->is_folder) {
        image_content(from, image, loss, prng);
        return image;
    }
    names found = {0};
    for (size_t i = 0; i < from->durable_names.count; i++)
        VEC_PUSH(&found, (struct name){mem_strdup(from->durable_names.items[i].text),
                                       inode_ref(from->durable_names.items[i].inode)});
    size_t whole = loss == SIM_KEEP ? from->name_changes.count : 0;
    if (loss == SIM_TEAR && from->name_changes.count > 0) whole = prng_below(prng, from->name_changes.count + 1);
    for (size_t i = 0; i < from->name_changes.count; i++)
        if (i < whole || (loss == SIM_REORDER && prng_below(prng, 2) == 0))
            names_apply(&found, &from->name_changes.items[i]);
    for (size_t i = 0; i < found.count; i++) {
        struct inode *child = image_of(found.items[i].inode, disk, loss, prng);
        VEC_PUSH(&image->live_names, (struct name){mem_strdup(found.items[i].text), child});
        VEC_PUSH(&image->durable_names, (struct name){mem_strdup(found.items[i].text), inode_ref(child)});
    }
    names_release(&found);
    return image;
}

struct sim_disk *sim_disk_image(const struct sim_disk *self, enum sim_loss loss, struct prng *prng) {
    struct sim_disk *image = sim_disk_new();
    inode_unref(image->root);
    image->root = image_of(self->root, image, loss, prng);
    image->speed = self->speed;
    image->capacity_bytes = self->capacity_bytes;
    return image;
}

static bool has_unsynced(const struct inode *self) {
    if (self->changes.count > 0 || self->name_changes.count > 0) return true;
    for (size_t i = 0; i < self->live_names.count; i++)
        if (has_unsynced(self->live_names.items[i].inode)) return true;
    return false;
}
bool sim_disk_has_unsynced(const struct sim_disk *self) { return has_unsynced(self->root); }

/* ---- life ---- */

struct sim_disk *sim_disk_new(void) {
    struct sim_disk *self = NEW(struct sim_disk);
    self->root = inode_new(self, true, 0755);
    self->speed = (struct sim_disk_speed){.write_ns = 5000, .byte_ps = 500, .sync_ns = 200000};
    return self;
}

void sim_disk_free(struct sim_disk *self) {
    if (self == NULL) return;
    CHECKF(self->open_handles == 0, "%u files are open", self->open_handles);
    CHECKF(self->views.count == 0, "%zu views are open", self->views.count);
    VEC_RELEASE(&self->views);
    inode_unref(self->root);
    mem_free(self);
}

void sim_disk_set_hook(struct sim_disk *self, sim_disk_hook hook, void *context) {
    self->hook = hook;
    self->hook_context = context;
}
void sim_disk_set_capacity(struct sim_disk *self, uint64_t capacity_bytes) { self->capacity_bytes = capacity_bytes; }
uint64_t sim_disk_used_bytes(const struct sim_disk *self) { return self->used_bytes; }
void sim_disk_set_speed(struct sim_disk *self, const struct sim_disk_speed *speed) { self->speed = *speed; }

/* ---- the calls ---- */

static struct sim_disk *disk_of(struct env *env) { return sim_disk_user_of(env)->disk; }

static enum err ask(struct sim_disk *self, struct sim_disk_call *call) {
    if (self->hook != NULL) self->hook(self->hook_context, call);
    return call->error;
}

static enum err ask_about(struct env *env, enum sim_disk_op op, const char *path) {
    struct sim_disk_call call = {.op = op, .path = path};
    return ask(disk_of(env), &call);
}

static enum err disk_open(struct env *env, const char *path, int flags, unsigned mode, struct env_file **ret_file) {
    struct sim_disk *self = disk_of(env);
    char last[256];
    struct inode *folder = find_folder(self, path, last), *inode = find(self, path);
    TRY(ask_about(env, inode == NULL && flags & ENV_CREATE ? SIM_DISK_CREATE : SIM_DISK_OPEN, path));
    if (folder == NULL || (inode == NULL && !(flags & ENV_CREATE))) return ERR_NOT_FOUND_FILE;
    if (inode != NULL && flags & ENV_CREATE && flags & ENV_EXCLUSIVE) return ERR_FILE_EXISTS;
    if (inode != NULL && inode->is_folder) return ERR_IS_DIRECTORY;
    if (inode == NULL) {
        inode = inode_new(self, false, mode & 0777 & ~022u);
        change_names(folder, NULL, last, inode);
        inode_unref(inode);
    }
    struct handle *handle = NEW(struct handle);
    *handle = (struct handle){.file.env = env, .user = sim_disk_user_of(env), .inode = inode_ref(inode)};
    handle->path = mem_strdup(path);
    self->open_handles++;
    *ret_file = &handle->file;
    if (flags & ENV_TRUNCATE && inode->size_bytes > 0) return env_truncate(&handle->file, 0);
    return OK;
}

static struct handle *handle_of(struct env_file *file) { return CONTAINER_OF(file, struct handle, file); }

static void unlock(struct handle *self, int kind) {
    if (!self->is_locked[kind]) return;
    if (self->is_exclusive[kind])
        self->inode->exclusive_lock[kind] = NULL;
    else
        self->inode->shared_locks[kind]--;
    self->is_locked[kind] = false;
}

static void disk_close(struct env_file *file) {
    struct handle *self = handle_of(file);
    unlock(self, ENV_LOCK_OFD);
    unlock(self, ENV_LOCK_FLOCK);
    self->user->disk->open_handles--;
    inode_unref(self->inode);
    mem_free(self->path);
    mem_free(self);
}

static enum err disk_pread(struct env_file *file, void *bytes, size_t size_bytes, int64_t offset, size_t *ret_read) {
    struct handle *self = handle_of(file);
    struct sim_disk_call call = {.op = SIM_DISK_READ, .path = self->path, .offset = offset, .size_bytes = size_bytes};
    TRY(ask(self->inode->disk, &call));
    int64_t there = self->inode->size_bytes - offset;
    size_t length = there <= 0 ? 0 : (size_t)there < size_bytes ? (size_t)there : size_bytes;
    if (length > 0) memcpy(bytes, self->inode->live + offset, length);
    *ret_read = length;
    return OK;
}

/* Takes room for the blocks of a range. */
static enum err take_room(struct inode *self, int64_t offset, int64_t size_bytes) {
    struct sim_disk *disk = self->disk;
    uint64_t wanted = 0;
    size_t end = (size_t)((offset + size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
    for (size_t i = (size_t)(offset / BLOCK_BYTES); i < end; i++)
        if (i >= self->has_block.count || !self->has_block.items[i]) wanted += BLOCK_BYTES;
    if (disk->capacity_bytes != 0 && wanted > 0 && disk->used_bytes + wanted > disk->capacity_bytes)
        return ERR_NO_DISK_SPACE;
    if (end > self->has_block.count) set_blocks(self, (int64_t)end * BLOCK_BYTES);
    for (size_t i = (size_t)(offset / BLOCK_BYTES); i < end; i++) self->has_block.items[i] = 1;
    disk->used_bytes += wanted;
    return OK;
}

static void spend_write(struct handle *self, size_t size_bytes) {
    const struct sim_disk_speed *speed = &self->inode->disk->speed;
    self->user->spend(self->user, speed->write_ns + (int64_t)size_bytes * speed->byte_ps / 1000);
}

static void write_live(struct inode *inode, const uint8_t *bytes, size_t size_bytes, int64_t offset) {
    CHECK((size_t)offset + size_bytes <= FILE_MAX_BYTES);
    memcpy(inode->live + offset, bytes, size_bytes);
    if (offset + (int64_t)size_bytes > inode->size_bytes) inode->size_bytes = offset + (int64_t)size_bytes;
    struct change change = {CHANGE_WRITE, offset, size_bytes, mem_alloc(size_bytes)};
    memcpy(change.bytes, bytes, size_bytes);
    VEC_PUSH(&inode->changes, change);
}

/* Of a write, at most part_bytes, up to the end of a sector. */
static size_t whole_sectors(int64_t offset, size_t part_bytes, size_t size_bytes) {
    if (part_bytes >= size_bytes) return size_bytes;
    size_t beyond = (size_t)((offset + (int64_t)part_bytes) % SIM_SECTOR_BYTES);
    return part_bytes > beyond ? part_bytes - beyond : 0;
}

static enum err disk_pwritev(struct env_file *file, const struct slice *pieces, size_t count, int64_t offset) {
    struct handle *self = handle_of(file);
    size_t size_bytes = 0;
    for (size_t i = 0; i < count; i++) size_bytes += pieces[i].len;
    uint8_t *joined = mem_alloc(size_bytes);
    for (size_t i = 0, at = 0; i < count; at += pieces[i++].len)
        if (pieces[i].len > 0) memcpy(joined + at, pieces[i].data, pieces[i].len);
    struct sim_disk_call call = {.op = SIM_DISK_WRITE, .path = self->path, .offset = offset, .size_bytes = size_bytes};
    enum err error = ask(self->inode->disk, &call);
    if (error == OK) error = take_room(self->inode, offset, (int64_t)size_bytes);
    size_t done = error == OK ? size_bytes : whole_sectors(offset, call.part_bytes, size_bytes);
    if (done > 0) write_live(self->inode, joined, done, offset);
    mem_free(joined);
    spend_write(self, done);
    return error;
}

static enum err disk_sync(struct env_file *file, bool data_only) {
    struct handle *self = handle_of(file);
    struct sim_disk *disk = self->inode->disk;
    struct sim_disk_call call = {.op = SIM_DISK_SYNC, .path = self->path};
    TRY(ask(disk, &call));
    if (!call.pretend) sync_content(self->inode);
    bool stalls = disk->speed.stall_in > 0 && ++disk->syncs % disk->speed.stall_in == 0;
    self->user->spend(self->user, disk->speed.sync_ns + (stalls ? disk->speed.stall_ns : 0));
    return OK;
}

static enum err ask_resize(struct handle *self, int64_t size_bytes) {
    struct sim_disk_call call = {.op = SIM_DISK_RESIZE, .path = self->path, .offset = size_bytes};
    return ask(self->inode->disk, &call);
}

static void resize(struct inode *inode, int64_t size_bytes) {
    CHECK((size_t)size_bytes <= FILE_MAX_BYTES);
    if (size_bytes < inode->size_bytes) memset(inode->live + size_bytes, 0, (size_t)(inode->size_bytes - size_bytes));
    set_blocks(inode, size_bytes);
    inode->size_bytes = size_bytes;
    VEC_PUSH(&inode->changes, (struct change){.kind = CHANGE_RESIZE, .offset = size_bytes});
}

static enum err disk_truncate(struct env_file *file, int64_t size_bytes) {
    struct handle *self = handle_of(file);
    TRY(ask_resize(self, size_bytes));
    resize(self->inode, size_bytes);
    return OK;
}

static enum err disk_allocate(struct env_file *file, int64_t offset, int64_t length_bytes) {
    struct handle *self = handle_of(file);
    TRY(ask_resize(self, offset + length_bytes));
    TRY(take_room(self->inode, offset, length_bytes));
    if (offset + length_bytes > self->inode->size_bytes) resize(self->inode, offset + length_bytes);
    return OK;
}

static enum err disk_punch_hole(struct env_file *file, int64_t offset, int64_t length_bytes) {
    struct handle *self = handle_of(file);
    struct inode *inode = self->inode;
    TRY(ask_resize(self, inode->size_bytes));
    if (offset >= inode->size_bytes) return OK;
    if (offset + length_bytes > inode->size_bytes) length_bytes = inode->size_bytes - offset;
    memset(inode->live + offset, 0, (size_t)length_bytes);
    VEC_PUSH(&inode->changes,
             (struct change){.kind = CHANGE_HOLE, .offset = offset, .size_bytes = (size_t)length_bytes});
    size_t end = (size_t)((offset + length_bytes) / BLOCK_BYTES);
    for (size_t i = (size_t)((offset + BLOCK_BYTES - 1) / BLOCK_BYTES); i < end && i < inode->has_block.count; i++) {
        if (inode->has_block.items[i]) inode->disk->used_bytes -= BLOCK_BYTES;
        inode->has_block.items[i] = 0;
    }
    return OK;
}

static enum err disk_file_size(struct env_file *file, int64_t *ret_size_bytes) {
    struct handle *self = handle_of(file);
    TRY(ask_about(file->env, SIM_DISK_LOOK, self->path));
    *ret_size_bytes = self->inode->size_bytes;
    return OK;
}

static enum err disk_lock(struct env_file *file, enum env_lock_kind kind, bool exclusive) {
    struct handle *self = handle_of(file);
    struct inode *inode = self->inode;
    TRY(ask_about(file->env, SIM_DISK_LOCK, self->path));
    if (inode->exclusive_lock[kind] != NULL && inode->exclusive_lock[kind] != self) return ERR_LOCKED;
    unlock(self, kind);
    if (exclusive && inode->shared_locks[kind] > 0) return ERR_LOCKED;
    if (exclusive)
        inode->exclusive_lock[kind] = self;
    else
        inode->shared_locks[kind]++;
    self->is_locked[kind] = true;
    self->is_exclusive[kind] = exclusive;
    return OK;
}

static enum err disk_map(struct env_file *file, size_t size_bytes, const uint8_t **ret_view) {
    struct handle *self = handle_of(file);
    struct inode *inode = self->inode;
    TRY(ask_about(file->env, SIM_DISK_LOOK, self->path));
    CHECK(size_bytes <= FILE_MAX_BYTES);
    VEC_PUSH(&inode->disk->views, inode_ref(inode));
    *ret_view = inode->live;
    return OK;
}

static void disk_unmap(struct env *env, const uint8_t *view, size_t size_bytes) {
    struct sim_disk *self = disk_of(env);
    size_t i = 0;
    while (i < self->views.count && self->views.items[i]->live != view) i++;
    CHECKF(i < self->views.count, "no file has this view");
    struct inode *inode = self->views.items[i];
    self->views.items[i] = self->views.items[--self->views.count];
    inode_unref(inode);
}

static enum err disk_stat(struct env *env, const char *path, struct env_stat *ret_stat) {
    TRY(ask_about(env, SIM_DISK_LOOK, path));
    struct inode *inode = find(disk_of(env), path);
    if (inode == NULL) return ERR_NOT_FOUND_FILE;
    *ret_stat = (struct env_stat){inode->is_folder, inode->mode, inode->size_bytes};
    return OK;
}

static enum err disk_mkdir(struct env *env, const char *path, unsigned mode) {
    struct sim_disk *self = disk_of(env);
    char last[256];
    if (find(self, path) != NULL) return ERR_FILE_EXISTS;
    TRY(ask_about(env, SIM_DISK_CREATE, path));
    struct inode *folder = find_folder(self, path, last);
    if (folder == NULL) return ERR_NOT_FOUND_FILE;
    struct inode *made = inode_new(self, true, mode);
    change_names(folder, NULL, last, made);
    inode_unref(made);
    return OK;
}

static enum err disk_rename(struct env *env, const char *from, const char *to) {
    struct sim_disk *self = disk_of(env);
    char last_from[256], last_to[256];
    TRY(ask_about(env, SIM_DISK_RENAME, from));
    struct inode *folder = find_folder(self, from, last_from), *inode = find(self, from);
    struct inode *target = find_folder(self, to, last_to), *replaced = find(self, to);
    if (inode == NULL || target == NULL) return ERR_NOT_FOUND_FILE;
    CHECKF(folder == target, "renames between folders are not simulated");
    if (replaced != NULL && replaced->is_folder && replaced->live_names.count > 0) return ERR_NOT_EMPTY;
    if (strcmp(last_from, last_to) != 0) change_names(folder, last_from, last_to, inode);
    return OK;
}

static enum err disk_unlink(struct env *env, const char *path) {
    struct sim_disk *self = disk_of(env);
    char last[256];
    TRY(ask_about(env, SIM_DISK_UNLINK, path));
    struct inode *inode = find(self, path), *folder = find_folder(self, path, last);
    if (inode == NULL) return ERR_NOT_FOUND_FILE;
    if (inode->is_folder) return ERR_IS_DIRECTORY;
    change_names(folder, last, NULL, NULL);
    return OK;
}

static enum err disk_remove_all(struct env *env, const char *path) {
    struct sim_disk *self = disk_of(env);
    char last[256];
    if (find(self, path) == NULL) return OK;
    TRY(ask_about(env, SIM_DISK_UNLINK, path));
    change_names(find_folder(self, path, last), last, NULL, NULL);
    return OK;
}

static enum err disk_sync_directory(struct env *env, const char *path) {
    struct sim_disk *self = disk_of(env);
    struct sim_disk_call call = {.op = SIM_DISK_SYNC_FOLDER, .path = path};
    TRY(ask(self, &call));
    struct inode *folder = find(self, path);
    if (folder == NULL) return ERR_NOT_FOUND_FILE;
    if (!folder->is_folder) return ERR_NOT_DIRECTORY;
    if (!call.pretend) sync_names(folder);
    struct sim_disk_user *user = sim_disk_user_of(env);
    user->spend(user, self->speed.sync_ns);
    return OK;
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static enum err disk_list(struct env *env, const char *path, struct env_names *ret_names) {
    TRY(ask_about(env, SIM_DISK_LOOK, path));
    struct inode *folder = find(disk_of(env), path);
    if (folder == NULL) return ERR_NOT_FOUND_FILE;
    if (!folder->is_folder) return ERR_NOT_DIRECTORY;
    struct env_names found = {NEW_ARRAY(char *, folder->live_names.count + 1), folder->live_names.count};
    for (size_t i = 0; i < found.count; i++) found.names[i] = mem_strdup(folder->live_names.items[i].text);
    qsort(found.names, found.count, sizeof *found.names, compare_texts);
    *ret_names = found;
    return OK;
}

void sim_disk_fill_ops(struct env_ops *ops) {
    ops->open = disk_open;
    ops->close = disk_close;
    ops->pread = disk_pread;
    ops->pwritev = disk_pwritev;
    ops->sync = disk_sync;
    ops->truncate = disk_truncate;
    ops->allocate = disk_allocate;
    ops->file_size = disk_file_size;
    ops->lock = disk_lock;
    ops->map = disk_map;
    ops->unmap = disk_unmap;
    ops->punch_hole = disk_punch_hole;
    ops->stat = disk_stat;
    ops->mkdir = disk_mkdir;
    ops->rename = disk_rename;
    ops->unlink = disk_unlink;
    ops->remove_all = disk_remove_all;
    ops->sync_directory = disk_sync_directory;
    ops->list = disk_list;
}

/* ---- from outside ---- */

int64_t sim_disk_file_bytes(const struct sim_disk *self, const char *path) {
    struct inode *inode = find(self, path);
    return inode != NULL && !inode->is_folder ? inode->size_bytes : -1;
}

bool sim_disk_flip_bit(struct sim_disk *self, const char *path, int64_t offset, unsigned bit) {
    struct inode *inode = find(self, path);
    if (inode == NULL || inode->is_folder || offset >= inode->size_bytes) return false;
    inode->live[offset] ^= (uint8_t)(1u << bit);
    if (offset < inode->durable_bytes)
        own_block(inode, (size_t)(offset / BLOCK_BYTES))->bytes[offset % BLOCK_BYTES] ^= (uint8_t)(1u << bit);
    return true;
}

void sim_disk_put_file(struct sim_disk *self, const char *path, struct slice content) {
    struct inode *folder = self->root;
    for (;;) {
        while (*path == '/') path++;
        const char *end = strchrnul(path, '/');
        char name[256];
        CHECK((size_t)(end - path) < sizeof name);
        memcpy(name, path, (size_t)(end - path));
        name[end - path] = 0;
        bool is_file = *end == 0;
        struct name *there = names_find(&folder->live_names, name);
        if (there == NULL || is_file) {
            struct inode *made = inode_new(self, !is_file, is_file ? 0600 : 0700);
            change_names(folder, NULL, name, made);
            inode_unref(made);
            sync_names(folder);
            there = names_find(&folder->live_names, name);
        }
        if (is_file) {
            if (content.len == 0) return;
            CHECK(take_room(there->inode, 0, (int64_t)content.len) == OK);
            write_live(there->inode, content.data, content.len, 0);
            sync_content(there->inode);
            return;
        }
        folder = there->inode;
        path = end;
    }
}

void sim_disk_sync_file(struct sim_disk *self, const char *path) {
    struct inode *inode = find(self, path);
    if (inode != NULL && !inode->is_folder) sync_content(inode);
}

void sim_disk_remove(struct sim_disk *self, const char *path) {
    char last[256];
    struct inode *folder = find_folder(self, path, last);
    if (folder == NULL || names_find(&folder->live_names, last) == NULL) return;
    change_names(folder, last, NULL, NULL);
    sync_names(folder);
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t size_bytes) {
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size_bytes; i++) hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash;
}

/* A sum over the names, whose order does not count. Zeros at the end of a preallocated file cost nothing: only what
 * has blocks is looked at. */
static uint64_t fingerprint(const struct inode *self, uint64_t hash) {
    hash = mix(hash, &self->size_bytes, sizeof self->size_bytes);
    for (size_t i = 0; i < self->has_block.count; i++) {
        size_t from = i * BLOCK_BYTES;
        if (!self->has_block.items[i] || (int64_t)from >= self->size_bytes) continue;
        size_t length = (size_t)self->size_bytes - from < BLOCK_BYTES ? (size_t)self->size_bytes - from : BLOCK_BYTES;
        bool is_zero = true;
        for (size_t at = 0; at < length && is_zero; at++) is_zero = self->live[from + at] == 0;
        if (is_zero) continue;
        hash = mix(mix(hash, &i, sizeof i), self->live + from, length);
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < self->live_names.count; i++) {
        const struct name *name = &self->live_names.items[i];
        sum += fingerprint(name->inode, mix(hash, name->text, strlen(name->text)));
    }
    return hash + sum;
}

uint64_t sim_disk_fingerprint(const struct sim_disk *self) {
    return fingerprint(self->root, UINT64_C(14695981039346656037));
}
