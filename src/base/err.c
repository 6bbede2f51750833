#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *text;
    int grpc_code;
} errors[ERR_COUNT] = {[OK] = {"OK", "", 0},
#define ERR_ROW(name, code, text) [name] = {#name, text, code},
                       ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

const char *err_text(enum err error) { return errors[error].text; }
const char *err_name(enum err error) { return errors[error].name; }
int err_grpc_code(enum err error) { return errors[error].grpc_code; }

enum err err_from_errno(int error_number) {
    switch (error_number) {
    case 0: return OK;
    case ENOENT: return ERR_NOT_FOUND_FILE;
    case EEXIST: return ERR_FILE_EXISTS;
    case EACCES:
    case EPERM: return ERR_ACCESS;
    case ENOSPC:
    case EDQUOT: return ERR_NO_DISK_SPACE;
    case EROFS: return ERR_READ_ONLY_DISK;
    case EISDIR: return ERR_IS_DIRECTORY;
    case ENOTDIR: return ERR_NOT_DIRECTORY;
    case ENOTEMPTY: return ERR_NOT_EMPTY;
    case EMFILE:
    case ENFILE: return ERR_TOO_MANY_FILES;
    case EIO: return ERR_IO;
    case EOPNOTSUPP: return ERR_NOT_SUPPORTED;
    case EADDRINUSE: return ERR_ADDRESS_IN_USE;
    case EADDRNOTAVAIL: return ERR_ADDRESS_NOT_AVAILABLE;
    case ECONNREFUSED: return ERR_CONNECTION_REFUSED;
    case EINVAL: return ERR_INVALID;
    case ENOMEM: return ERR_NO_MEMORY;
    case ETIMEDOUT: return ERR_TIMEDOUT;
    default: return ERR_SYSTEM;
    }
}

enum err err_set(struct errmsg *self, enum err error, const char *format, ...) {
    if (self != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(self->text, sizeof self->text, format, args);
        va_end(args);
    }
    return error;
}

enum err err_prefix(struct errmsg *self, enum err error, const char *format, ...) {
    if (self != NULL) {
        char before[sizeof self->text];
        memcpy(before, self->text, sizeof before);
        va_list args;
        va_start(args, format);
        int length = vsnprintf(self->text, sizeof self->text, format, args);
        va_end(args);
        if (length >= 0 && (size_t)length < sizeof self->text)
            snprintf(self->text + length, sizeof self->text - (size_t)length, ": %s", before);
    }
    return error;
}
