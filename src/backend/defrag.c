#include "backend/state.h"
#include "base/check.h"
#include "base/mem.h"

/* ---- on the worker ---- */

static enum err make_copy(struct backend *self, struct bolt **ret_copy) {
    struct bolt_options options = backend__bolt_options(self);
    struct errmsg *message = &self->work.message;
    const char *temporary_path = self->work.temporary_path;
    enum err error = env_remove_all(self->env, temporary_path);
    if (error != OK) return err_set(message, error, "remove %s: %s", temporary_path, err_text(error));
    struct bolt *copy;
    TRY(bolt_open(self->env, temporary_path, &options, &copy, message));
    struct bolt_tx *tx = bolt_begin_read(self->work.bolt);
    error = bolt_copy(tx, copy);
    bolt_tx_end(tx);
    if (error == ERR_CORRUPT) bolt_explain(self->work.bolt, message);
    if (error == OK) error = bolt_sync(copy);
    if (error == OK) error = bolt_move(copy, self->path);
    if (error != OK) {
        if (message->text[0] == 0) (void)err_set(message, error, "defragment %s: %s", self->path, err_text(error));
        bolt_close(copy);
        if (env_unlink(self->env, temporary_path) != OK)
            log_warn(env_log(self->env), "failed to remove the unfinished copy", LOG_STRING("path", temporary_path));
        return error;
    }
    *ret_copy = copy;
    return OK;
}

static void run_defrag(struct env_job *job) {
    struct backend *self = CONTAINER_OF(job, struct backend, job);
    self->work.message.text[0] = 0;
    self->work.error = make_copy(self, &self->work.defragmented);
}

/* ---- on the loop ---- */

static void finish_request(struct defrag_request *request, enum err error) {
    struct backend_waiter *waiter = request->waiter;
    list_remove(&request->link);
    mem_free(request->temporary_path);
    mem_free(request);
    waiter->callback(waiter, error);
}

void backend__drop_defrag_requests(struct backend *self, enum err error) {
    while (!list_is_empty(&self->defrag_requests))
        finish_request(CONTAINER_OF(self->defrag_requests.next, struct defrag_request, link), error);
}

static void defrag_done(struct env_job *job) {
    struct backend *self = CONTAINER_OF(job, struct backend, job);
    struct defrag_request *request = CONTAINER_OF(self->defrag_requests.next, struct defrag_request, link);
    enum err error = self->work.error;
    self->state = BACKEND_IDLE;
    if (error == OK) {
        struct file *old = self->file;
        self->file = file__new(self, self->work.defragmented);
        file__unref(old); /* the old reader still holds it */
        self->latest_view = NULL;
        error = backend__renew_reader(self);
        if (error != OK) backend__fail(self, error, "the defragmented file can't be read");
    } else {
        log_error(env_log(self->env), "failed to defragment", LOG_STRING("path", self->path),
                  LOG_STRING("error", self->work.message.text));
    }
    finish_request(request, error);
    backend__pump(self);
}

void backend__start_defrag(struct backend *self) {
    struct defrag_request *request = CONTAINER_OF(self->defrag_requests.next, struct defrag_request, link);
    self->state = BACKEND_DEFRAGMENTING;
    self->work.bolt = self->file->bolt;
    self->work.temporary_path = request->temporary_path;
    self->job = (struct env_job){.run = run_defrag, .done = defrag_done};
    env_worker_submit(self->worker, &self->job);
}

void backend_defrag(struct backend *self, const char *temporary_path, struct backend_waiter *waiter) {
    struct defrag_request *request = NEW(struct defrag_request);
    request->waiter = waiter;
    request->temporary_path = mem_strdup(temporary_path);
    list_push_back(&self->defrag_requests, &request->link);
    if (self->state == BACKEND_IDLE || self->state == BACKEND_FAILED) backend__arm_timer(self, 0);
}
