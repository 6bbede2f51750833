/* Files through POSIX calls. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/vec.h"
#include "os/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct os_file {
    struct env_file file;
    int descriptor;
};

static int descriptor_of(struct env_file *file) { return CONTAINER_OF(file, struct os_file, file)->descriptor; }
static enum err last_error(void) { return err_from_errno(errno); }
static enum err result_of(int returned) { return returned < 0 ? last_error() : OK; }

enum err os__open(struct env *env, const char *path, int flags, unsigned mode, struct env_file **ret_file) {
    int posix_flags = O_CLOEXEC | (flags & ENV_WRITE ? O_RDWR : O_RDONLY);
    if (flags & ENV_CREATE) posix_flags |= O_CREAT;
    if (flags & ENV_EXCLUSIVE) posix_flags |= O_EXCL;
    if (flags & ENV_TRUNCATE) posix_flags |= O_TRUNC;
    int descriptor = open(path, posix_flags, (mode_t)mode);
    if (descriptor < 0) return last_error();
    struct os_file *self = NEW(struct os_file);
    self->file.env = env;
    self->descriptor = descriptor;
    *ret_file = &self->file;
    return OK;
}

void os__close(struct env_file *file) {
    close(descriptor_of(file));
    mem_free(CONTAINER_OF(file, struct os_file, file));
}

enum err os__pread(struct env_file *file, void *bytes, size_t size_bytes, int64_t offset, size_t *ret_read) {
    size_t total = 0;
    while (total < size_bytes) {
        ssize_t got =
            pread(descriptor_of(file), (uint8_t *)bytes + total, size_bytes - total, (off_t)(offset + (int64_t)total));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return last_error();
        if (got == 0) break;
        total += (size_t)got;
    }
    *ret_read = total;
    return OK;
}

#define PIECES_A_CALL 256

enum err os__pwritev(struct env_file *file, const struct slice *pieces, size_t count, int64_t offset) {
    size_t skip = 0; /* bytes of pieces[0] that are already written */
    while (count > 0) {
        struct iovec vector[PIECES_A_CALL];
        int used = 0;
        for (size_t i = 0; i < count && used < PIECES_A_CALL; i++, used++) {
            size_t from = i == 0 ? skip : 0;
            vector[used].iov_base = (void *)(uintptr_t)(pieces[i].data + from);
            vector[used].iov_len = pieces[i].len - from;
        }
        ssize_t wrote = pwritev(descriptor_of(file), vector, used, (off_t)offset);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return last_error();
        offset += wrote;
        skip += (size_t)wrote;
        while (count > 0 && skip >= pieces[0].len) {
            skip -= pieces[0].len;
            pieces++;
            count--;
        }
    }
    return OK;
}

enum err os__sync(struct env_file *file, bool data_only) {
    return result_of(data_only ? fdatasync(descriptor_of(file)) : fsync(descriptor_of(file)));
}

enum err os__truncate(struct env_file *file, int64_t size_bytes) {
    return result_of(ftruncate(descriptor_of(file), (off_t)size_bytes));
}

enum err os__allocate(struct env_file *file, int64_t offset, int64_t length_bytes) {
    if (length_bytes <= 0) return OK;
    if (fallocate(descriptor_of(file), 0, (off_t)offset, (off_t)length_bytes) == 0) return OK;
    if (errno != EOPNOTSUPP && errno != EINTR) return last_error();
    int64_t size_bytes;
    TRY(os__file_size(file, &size_bytes));
    return offset + length_bytes > size_bytes ? os__truncate(file, offset + length_bytes) : OK;
}

enum err os__file_size(struct env_file *file, int64_t *ret_size_bytes) {
    struct stat stat;
    if (fstat(descriptor_of(file), &stat) < 0) return last_error();
    *ret_size_bytes = stat.st_size;
    return OK;
}

enum err os__lock(struct env_file *file, enum env_lock_kind kind, bool exclusive) {
    int returned;
    if (kind == ENV_LOCK_FLOCK) {
        returned = flock(descriptor_of(file), (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
    } else {
        struct flock whole_file = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
        returned = fcntl(descriptor_of(file), F_OFD_SETLK, &whole_file);
    }
    if (returned == 0) return OK;
    return errno == EWOULDBLOCK || errno == EACCES ? ERR_LOCKED : last_error();
}

enum err os__map(struct env_file *file, size_t size_bytes, const uint8_t **ret_view) {
    void *view = mmap(NULL, size_bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, descriptor_of(file), 0);
    if (view == MAP_FAILED) return last_error();
    *ret_view = view;
    return OK;
}

void os__unmap(struct env *env, const uint8_t *view, size_t size_bytes) { munmap((void *)(uintptr_t)view, size_bytes); }

enum err os__punch_hole(struct env_file *file, int64_t offset, int64_t length_bytes) {
    return result_of(
        fallocate(descriptor_of(file), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length_bytes));
}

enum err os__stat(struct env *env, const char *path, struct env_stat *ret_stat) {
    struct stat found;
    if (stat(path, &found) < 0) return last_error();
    *ret_stat = (struct env_stat){S_ISDIR(found.st_mode), found.st_mode & 07777, found.st_size};
    return OK;
}

enum err os__mkdir(struct env *env, const char *path, unsigned mode) { return result_of(mkdir(path, (mode_t)mode)); }
enum err os__rename(struct env *env, const char *from, const char *to) { return result_of(rename(from, to)); }
enum err os__unlink(struct env *env, const char *path) { return result_of(unlink(path)); }

enum err os__remove_all(struct env *env, const char *path) {
    struct stat found;
    if (lstat(path, &found) < 0) return errno == ENOENT ? OK : last_error();
    if (!S_ISDIR(found.st_mode)) return os__unlink(env, path);
    struct env_names names;
    TRY(os__list(env, path, &names));
    enum err error = OK;
    for (size_t i = 0; i < names.count && error == OK; i++) {
        struct buf inner = BUF_INIT;
        buf_printf(&inner, "%s/%s", path, names.names[i]);
        error = os__remove_all(env, buf_cstr(&inner));
        buf_release(&inner);
    }
    env_names_release(&names);
    return error != OK ? error : result_of(rmdir(path));
}

enum err os__sync_directory(struct env *env, const char *path) {
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return last_error();
    enum err error = result_of(fsync(descriptor));
    close(descriptor);
    return error;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

enum err os__list(struct env *env, const char *path, struct env_names *ret_names) {
    DIR *directory = opendir(path);
    if (directory == NULL) return last_error();
    VEC(char *) names = {0};
    struct dirent *entry;
    while ((errno = 0, entry = readdir(directory)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            VEC_PUSH(&names, mem_strdup(entry->d_name));
    enum err error = errno == 0 ? OK : last_error();
    closedir(directory);
    struct env_names found = {names.items, names.count};
    if (error != OK) {
        env_names_release(&found);
        return error;
    }
    if (found.count > 0) qsort(found.names, found.count, sizeof *found.names, compare_names);
    *ret_names = found;
    return OK;
}
