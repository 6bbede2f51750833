#include "etcdctl/failure.h"

bool failure_set(struct failure *self, enum exit_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    self->code = code;
    buf_clear(&self->text);
    buf_vprintf(&self->text, format, args);
    va_end(args);
    return false;
}

void failure_release(struct failure *self) { buf_release(&self->text); }
