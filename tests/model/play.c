/* play.c - see play.h.
 *
 * One request at a time. What comes on watch streams meanwhile is given to the model as it comes. Before a compaction
 * and before a watch is cancelled the streams are settled: otherwise it is a race which events still come, and with
 * which previous values.
 */
#include "model/play.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "model/compare.h"

#define MS_NS INT64_C(1000000)
/* So long before a lease may end, time is let pass until it has ended. */
#define EXPIRY_MARGIN_NS (500 * MS_NS)
/* So long after its time a lease must be gone: checked every 500 ms, then proposed; again after 3 s if that failed. */
#define EXPIRY_GRACE_NS (8000 * MS_NS)

#define CANARY_STEP 100

struct player {
    struct target *target;
    struct play_counts *counts;
    bool is_real, is_told, alters_answer, drops_response;
    struct model *model;
    struct model_identity identity;
    struct arena arena; /* of one step */
    struct target_stream *streams[MODEL_STREAMS_MAX];
    struct target_stream *keep_alive;
    struct buf difference;
};

struct player *player_new(struct target *target, struct play_counts *counts) {
    struct player *self = NEW(struct player);
    self->target = target;
    self->counts = counts;
    arena_init(&self->arena, 1 << 16);
    return self;
}

static void close_streams(struct player *self) {
    for (size_t i = 0; i < MODEL_STREAMS_MAX; i++) target_stream_close(TAKE(self->streams[i]));
    target_stream_close(TAKE(self->keep_alive));
}

void player_free(struct player *self) {
    if (self == NULL) return;
    close_streams(self);
    model_free(self->model);
    arena_release(&self->arena);
    buf_release(&self->difference);
    mem_free(self);
}

const char *player_difference(const struct player *self) { return (const char *)self->difference.data; }

static bool differ(struct player *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool differ(struct player *self, const char *format, ...) {
    va_list args;
    va_start(args, format);
    buf_vprintf(&self->difference, format, args);
    va_end(args);
    buf_append_byte(&self->difference, '\n');
    (void)buf_cstr(&self->difference);
    return false;
}

static void look_at_clock(struct player *self) { model_set_now(self->model, env_now_ns(self->target->env)); }

/* ---- asking the member ---- */

struct reply {
    int code;
    struct slice text;
    void *message; /* NULL unless OK */
};

static void decode(struct player *self, const ProtobufCMessageDescriptor *type, struct slice bytes,
                   struct reply *reply) {
    reply->message = pb_unpack(type, bytes, &self->arena);
    if (reply->message != NULL) return;
    reply->code = -1;
    reply->text = SLICE_LITERAL("an answer that can't be decoded");
}

static void call(struct player *self, enum model_method method, const void *request, struct reply *ret_reply) {
    const struct model_method_info *info = model_method_info(method);
    struct target_reply reply;
    target_call(self->target, info->path, pb_pack_arena(request, &self->arena), &self->arena, &reply);
    *ret_reply = (struct reply){.code = reply.code, .text = reply.text};
    if (reply.code == 0) decode(self, info->response, reply.message, ret_reply);
    if (!self->alters_answer || self->model == NULL || self->counts->steps < CANARY_STEP || ret_reply->message == NULL)
        return;
    const struct answer {
        ProtobufCMessage base;
        Etcdserverpb__ResponseHeader *header;
    } *answer = ret_reply->message;
    answer->header->revision++;
    self->alters_answer = false;
}

/* On the one stream that there is for it. */
static void call_stream(struct player *self, enum model_method method, const void *request, struct reply *ret_reply) {
    const struct model_method_info *info = model_method_info(method);
    if (self->keep_alive == NULL) self->keep_alive = target_stream_open(self->target, info->path);
    target_stream_send(self->keep_alive, pb_pack_arena(request, &self->arena));
    *ret_reply = (struct reply){.code = -1, .text = SLICE_LITERAL("no answer")};
    int64_t until_ns = env_now_ns(self->target->env) + TARGET_PATIENCE_NS;
    struct slice message;
    while (!target_stream_take(self->keep_alive, &self->arena, &message)) {
        if (target_stream_is_ended(self->keep_alive, &ret_reply->code, &ret_reply->text)) return;
        if (!self->target->ops->turn(self->target, true) || env_now_ns(self->target->env) > until_ns) return;
    }
    *ret_reply = (struct reply){.code = 0};
    decode(self, info->response, message, ret_reply);
}

static void tell_answer(struct buf *text, const char *who, int code, struct slice error, const void *message) {
    buf_printf(text, "%s: ", who);
    if (code != 0)
        buf_printf(text, "code %d, \"%.*s\"", code, (int)error.len, (const char *)error.data);
    else
        compare_tell_lines(message, 1, text);
    buf_append_byte(text, '\n');
}

/* A grant that leaves the id to the server: the model is asked for the one that was chosen. */
static const void *with_chosen_id(struct player *self, const void *request, const struct reply *reply) {
    const Etcdserverpb__LeaseGrantRequest *grant = request;
    if (grant->id != 0 || reply->code != 0) return request;
    int64_t id = ((const Etcdserverpb__LeaseGrantResponse *)reply->message)->id;
    Etcdserverpb__LeaseGrantRequest *chosen = ARENA_NEW(&self->arena, Etcdserverpb__LeaseGrantRequest);
    *chosen = *grant;
    chosen->id = id > 0 ? id : 0;
    return chosen;
}

/* A grant of which we do not know the id says so by an id that nobody takes: the model only has to find its error. */
static const void *with_any_id(struct player *self, const void *request) {
    Etcdserverpb__LeaseGrantRequest *chosen = ARENA_NEW(&self->arena, Etcdserverpb__LeaseGrantRequest);
    *chosen = *(const Etcdserverpb__LeaseGrantRequest *)request;
    if (chosen->id == 0) chosen->id = INT64_MIN + 1;
    return chosen;
}

/* Whether the reply is the model's answer. */
static bool judge(struct player *self, enum model_method method, const void *request, struct reply *reply) {
    look_at_clock(self);
    const void *asked = request;
    if (method == MODEL_GRANT)
        asked = reply->code == 0 ? with_chosen_id(self, request, reply) : with_any_id(self, request);
    struct model_answer answer;
    model_ask(self->model, method, asked, &self->arena, &answer);
    self->counts->calls[method]++;
    if (answer.code != 0) self->counts->errors[method]++;
    if (compare_answers(method, request, &answer, reply->code, reply->text, reply->message)) return true;
    enum known known =
        self->is_real ? known_call(method, request, &answer, reply->code, reply->text, reply->message) : KNOWN_NONE;
    self->counts->known[known]++;
    if (known != KNOWN_NONE) return true;
    tell_answer(&self->difference, "model ", answer.code, slice_from_cstr(answer.text), answer.message);
    if (answer.other_message != NULL) tell_answer(&self->difference, "or    ", 0, SLICE_NONE, answer.other_message);
    tell_answer(&self->difference, "member", reply->code, reply->text, reply->message);
    return differ(self, "(revision %" PRId64 ", compacted at %" PRId64 ")", model_revision(self->model),
                  model_compact_revision(self->model));
}

static bool ask_both(struct player *self, enum model_method method, const void *request) {
    struct reply reply;
    if (model_method_info(method)->is_stream)
        call_stream(self, method, request, &reply);
    else
        call(self, method, request, &reply);
    return judge(self, method, request, &reply);
}

/* ---- watch streams ---- */

static bool take_response(struct player *self, size_t stream, struct slice message) {
    const Etcdserverpb__WatchResponse *response =
        pb_unpack(&etcdserverpb__watch_response__descriptor, message, &self->arena);
    if (response == NULL) return differ(self, "watch stream %zu: a response that can't be decoded", stream);
    if (self->drops_response && response->n_events != 0 && self->counts->steps >= CANARY_STEP) {
        self->drops_response = false;
        return true;
    }
    if (self->is_told) {
        struct buf text = BUF_INIT;
        compare_tell(&response->base, &text);
        fprintf(stderr, "       watch stream %zu: %s\n", stream, buf_cstr(&text));
        buf_release(&text);
    }
    self->counts->responses++;
    self->counts->events += response->n_events;
    char *wrong = model_stream_take(self->model, stream, response);
    if (wrong == NULL) return true;
    buf_printf(&self->difference, "watch stream %zu: %s\n", stream, wrong);
    mem_free(wrong);
    tell_answer(&self->difference, "member", 0, SLICE_NONE, response);
    return differ(self, "(revision %" PRId64 ", compacted at %" PRId64 ")", model_revision(self->model),
                  model_compact_revision(self->model));
}

static bool take_responses(struct player *self) {
    for (size_t i = 0; i < MODEL_STREAMS_MAX; i++) {
        if (self->streams[i] == NULL) continue;
        struct slice message;
        while (target_stream_take(self->streams[i], &self->arena, &message))
            if (!take_response(self, i, message)) return false;
        int code;
        struct slice text;
        if (target_stream_is_ended(self->streams[i], &code, &text))
            return differ(self, "watch stream %zu has ended: code %d, \"%.*s\"", i, code, (int)text.len,
                          (const char *)text.data);
    }
    return true;
}

static bool is_done(struct player *self, bool (*is_stream_done)(struct player *, size_t)) {
    for (size_t i = 0; i < MODEL_STREAMS_MAX; i++)
        if (self->streams[i] != NULL && !is_stream_done(self, i)) return false;
    return true;
}
static bool is_answered(struct player *self, size_t stream) { return model_stream_is_answered(self->model, stream); }
static bool is_settled(struct player *self, size_t stream) { return model_stream_is_settled(self->model, stream); }

static bool wait_for(struct player *self, bool (*is_stream_done)(struct player *, size_t)) {
    int64_t until_ns = env_now_ns(self->target->env) + TARGET_PATIENCE_NS;
    for (;;) {
        if (!take_responses(self)) return false;
        if (is_done(self, is_stream_done)) return true;
        if (env_now_ns(self->target->env) > until_ns) break;
        if (!self->target->ops->turn(self->target, true)) return differ(self, "the connection is lost");
    }
    for (size_t i = 0; i < MODEL_STREAMS_MAX; i++) {
        if (self->streams[i] == NULL) continue;
        buf_printf(&self->difference, "watch stream %zu lacks\n", i);
        model_stream_tell_missing(self->model, i, &self->difference);
    }
    return differ(self, "(revision %" PRId64 ", compacted at %" PRId64 ")", model_revision(self->model),
                  model_compact_revision(self->model));
}

static bool ask_watch(struct player *self, size_t stream, const Etcdserverpb__WatchRequest *request) {
    if (request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST &&
        !wait_for(self, is_settled))
        return false;
    self->counts->watches++;
    target_stream_send(self->streams[stream], pb_pack_arena(request, &self->arena));
    model_stream_ask(self->model, stream, request);
    return wait_for(self, is_answered);
}

/* ---- leases that end by themselves ---- */

/* All keys, from the revision behind the model's: what expired, in order. */
static bool follow_deletions(struct player *self, int64_t revision) {
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    create.key = create.range_end = pb_bytes(SLICE_LITERAL("\0"));
    create.start_revision = model_revision(self->model) + 1;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    struct target_stream *stream = target_stream_open(self->target, "/etcdserverpb.Watch/Watch");
    target_stream_send(stream, pb_pack_arena(&request, &self->arena));
    int64_t until_ns = env_now_ns(self->target->env) + TARGET_PATIENCE_NS;
    bool is_fine = true;
    while (is_fine && model_revision(self->model) < revision) {
        struct slice message;
        if (!target_stream_take(stream, &self->arena, &message)) {
            is_fine = self->target->ops->turn(self->target, true) && env_now_ns(self->target->env) < until_ns;
            continue;
        }
        const Etcdserverpb__WatchResponse *response =
            pb_unpack(&etcdserverpb__watch_response__descriptor, message, &self->arena);
        for (size_t i = 0; is_fine && response != NULL && i < response->n_events; i++) {
            const Mvccpb__KeyValue *kv = response->events[i]->kv;
            if (kv->mod_revision != model_revision(self->model) + 1) continue;
            is_fine = model_expire(self->model, model_key_lease(self->model, pb_slice(kv->key))) == NULL;
            self->counts->expired++;
        }
    }
    target_stream_close(stream);
    return is_fine || differ(self, "the revision has gone from %" PRId64 " to %" PRId64 ", and no lease has ended",
                             model_revision(self->model), revision);
}

static bool list_leases(struct player *self, const Etcdserverpb__LeaseLeasesResponse **ret_list) {
    Etcdserverpb__LeaseLeasesRequest request = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    struct reply reply;
    call(self, MODEL_LEASES, &request, &reply);
    *ret_list = reply.message;
    return reply.code == 0 ||
           differ(self, "leases: code %d, \"%.*s\"", reply.code, (int)reply.text.len, (const char *)reply.text.data);
}

static bool is_listed(const Etcdserverpb__LeaseLeasesResponse *list, int64_t id) {
    for (size_t i = 0; i < list->n_leases; i++)
        if (list->leases[i]->id == id) return true;
    return false;
}

/* Finds out which leases the member has let end since it was last asked, and tells the model. */
static bool follow_expiries(struct player *self) {
    const Etcdserverpb__LeaseLeasesResponse *list;
    if (!list_leases(self, &list)) return false;
    look_at_clock(self);
    if (list->header->revision > model_revision(self->model) && !follow_deletions(self, list->header->revision))
        return false;
    for (size_t i = model_lease_count(self->model); i-- > 0;) {
        int64_t id = model_lease_id(self->model, i);
        if (is_listed(list, id)) continue;
        const char *wrong = model_expire(self->model, id);
        if (wrong != NULL) return differ(self, "lease %" PRId64 " has ended: %s", id, wrong);
        self->counts->expired++;
    }
    for (size_t i = 0; i < model_lease_count(self->model); i++)
        if (model_is_overdue(self->model, i, EXPIRY_GRACE_NS))
            return differ(self, "lease %" PRId64 " should have ended", model_lease_id(self->model, i));
    return true;
}

/* No step begins while a lease may end any moment. */
static bool let_leases_end(struct player *self) {
    look_at_clock(self);
    while (model_next_expiry_ns(self->model) - EXPIRY_MARGIN_NS <= env_now_ns(self->target->env)) {
        CHECK(self->target->ops->pass != NULL);
        if (!self->target->ops->pass(self->target, EXPIRY_MARGIN_NS)) return differ(self, "the connection is lost");
        look_at_clock(self);
        if (!follow_expiries(self)) return false;
    }
    return true;
}

/* ---- beginning ---- */

static bool learn_identity(struct player *self, int64_t *ret_revision, int64_t *ret_compact_revision) {
    Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    struct reply reply;
    call(self, MODEL_HASH_KV, &request, &reply);
    if (reply.code != 0)
        return differ(self, "the member can't be asked: code %d, \"%.*s\"", reply.code, (int)reply.text.len,
                      (const char *)reply.text.data);
    const Etcdserverpb__HashKVResponse *response = reply.message;
    self->identity =
        (struct model_identity){response->header->cluster_id, response->header->member_id, response->header->raft_term};
    *ret_revision = response->header->revision;
    *ret_compact_revision = response->compact_revision;
    return true;
}

static bool call_fine(struct player *self, enum model_method method, const void *request, struct reply *ret_reply) {
    call(self, method, request, ret_reply);
    return ret_reply->code == 0 ||
           differ(self, "emptying the member: %s: code %d, \"%.*s\"", model_method_info(method)->name, ret_reply->code,
                  (int)ret_reply->text.len, (const char *)ret_reply->text.data);
}

static bool empty_member(struct player *self) {
    struct reply reply;
    Etcdserverpb__LeaseLeasesRequest leases = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    if (!call_fine(self, MODEL_LEASES, &leases, &reply)) return false;
    const Etcdserverpb__LeaseLeasesResponse *list = reply.message;
    for (size_t i = 0; i < list->n_leases; i++) {
        Etcdserverpb__LeaseRevokeRequest revoke = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
        revoke.id = list->leases[i]->id;
        if (!call_fine(self, MODEL_REVOKE, &revoke, &reply)) return false;
    }
    Etcdserverpb__DeleteRangeRequest all = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    all.key = all.range_end = pb_bytes(SLICE_LITERAL("\0"));
    return call_fine(self, MODEL_DELETE_RANGE, &all, &reply);
}

#define FORGETTING_ROUNDS 12

/* So often, that nothing a member still knows of what was before (deletions at the compacted revision, the hashes of
 * the last ten compactions) can be asked for. */
static bool forget_past(struct player *self) {
    for (int i = 0; i < FORGETTING_ROUNDS; i++) {
        Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
        put.key = pb_bytes(SLICE_LITERAL("a"));
        if (!ask_both(self, MODEL_PUT, &put)) return false;
        Etcdserverpb__CompactionRequest compact = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
        compact.revision = model_revision(self->model);
        compact.physical = true;
        if (!ask_both(self, MODEL_COMPACT, &compact)) return false;
    }
    return true;
}

static bool begin(struct player *self, uint64_t seed) {
    close_streams(self);
    model_free(TAKE(self->model));
    buf_clear(&self->difference);
    arena_reset(&self->arena);
    if (self->target->ops->renew != NULL && !self->target->ops->renew(self->target, seed))
        return differ(self, "there is no new member");
    int64_t revision, compact_revision;
    if (!learn_identity(self, &revision, &compact_revision)) return false;
    bool is_new = revision == 1 && compact_revision == -1;
    if (!is_new && (!empty_member(self) || !learn_identity(self, &revision, &compact_revision))) return false;
    self->model = model_new(revision, compact_revision);
    model_set_identity(self->model, &self->identity);
    if (self->is_real) model_allow_lost_deletions(self->model, &self->counts->known[KNOWN_LOST_DELETION]);
    return is_new || forget_past(self);
}

/* ---- steps ---- */

/* Whether a call that was never answered has been done all the same. */
static bool was_done(struct player *self, const struct step *step, int64_t revision, int64_t compact_revision,
                     const Etcdserverpb__LeaseLeasesResponse *leases) {
    switch (step->method) {
    case MODEL_COMPACT: return compact_revision != model_compact_revision(self->model);
    case MODEL_GRANT: return is_listed(leases, ((const Etcdserverpb__LeaseGrantRequest *)step->request)->id);
    case MODEL_REVOKE: return !is_listed(leases, ((const Etcdserverpb__LeaseRevokeRequest *)step->request)->id);
    default: return revision != model_revision(self->model);
    }
}

/* `unanswered`: NULL, or a call of which it is not known whether it has been done. */
static bool restart(struct player *self, enum target_restart how, const struct step *unanswered) {
    close_streams(self);
    struct model_identity before = self->identity;
    if (!self->target->ops->restart(self->target, how)) return differ(self, "the member did not come back");
    int64_t revision, compact_revision;
    if (!learn_identity(self, &revision, &compact_revision)) return false;
    look_at_clock(self);
    const Etcdserverpb__LeaseLeasesResponse *leases;
    if (!list_leases(self, &leases)) return false;
    if (unanswered != NULL && was_done(self, unanswered, revision, compact_revision, leases)) {
        struct model_answer answer;
        model_ask(self->model, unanswered->method, unanswered->request, &self->arena, &answer);
    }
    model_restart(self->model);
    model_set_identity(self->model, &self->identity);
    self->counts->restarts++;
    if (before.cluster_id != self->identity.cluster_id || before.member_id != self->identity.member_id ||
        before.raft_term >= self->identity.raft_term)
        return differ(self, "another member or no new term after a restart");
    return (revision == model_revision(self->model) && compact_revision == model_compact_revision(self->model)) ||
           differ(self, "revision %" PRId64 ", compacted at %" PRId64 ", after a restart: %" PRId64 ", %" PRId64,
                  model_revision(self->model), model_compact_revision(self->model), revision, compact_revision);
}

static bool crash_during(struct player *self, const struct step *step) {
    if (step->method == MODEL_COMPACT && !wait_for(self, is_settled)) return false;
    const struct model_method_info *info = model_method_info(step->method);
    struct target_reply answer;
    target_call_for(self->target, info->path, pb_pack_arena(step->request, &self->arena), step->turns, &self->arena,
                    &answer);
    if (answer.code == -1) return restart(self, TARGET_CRASH, step);
    struct reply reply = {.code = answer.code, .text = answer.text};
    if (reply.code == 0) decode(self, info->response, answer.message, &reply);
    return judge(self, step->method, step->request, &reply) && restart(self, TARGET_CRASH, NULL);
}

static bool do_step(struct player *self, const struct step *step) {
    switch (step->kind) {
    case STEP_CALL:
        if (step->method == MODEL_COMPACT && !wait_for(self, is_settled)) return false;
        return ask_both(self, step->method, step->request);
    case STEP_STREAM_OPEN:
        self->streams[step->stream] = target_stream_open(self->target, "/etcdserverpb.Watch/Watch");
        model_stream_open(self->model, step->stream);
        return true;
    case STEP_STREAM_CLOSE:
        target_stream_close(TAKE(self->streams[step->stream]));
        model_stream_close(self->model, step->stream);
        return true;
    case STEP_WATCH: return ask_watch(self, step->stream, step->request);
    case STEP_SETTLE: return wait_for(self, is_settled);
    case STEP_PASS:
        if (!self->target->ops->pass(self->target, step->duration_ns)) return differ(self, "the connection is lost");
        look_at_clock(self);
        return follow_expiries(self);
    case STEP_STOP: return restart(self, TARGET_STOP, NULL);
    case STEP_CRASH: return restart(self, TARGET_CRASH, NULL);
    default: return crash_during(self, step);
    }
}

bool player_play(struct player *self, const struct play_options *options, size_t *ret_step) {
    *ret_step = SIZE_MAX;
    self->is_real = options->is_real;
    self->is_told = options->is_told;
    self->alters_answer = options->alters_answer;
    self->drops_response = options->drops_response;
    if (!begin(self, options->history.seed)) return false;
    for (size_t i = 0; i < options->length; i++) {
        if (options->left_out != NULL && options->left_out[i]) continue;
        *ret_step = i;
        arena_reset(&self->arena);
        if (!let_leases_end(self)) return false;
        struct step step;
        history_step(&options->history, i, self->model, &self->arena, &step);
        struct buf text = BUF_INIT;
        if (options->is_told) {
            step_tell(&step, &text);
            fprintf(stderr, "%6zu %s\n", i, buf_cstr(&text));
            buf_clear(&text);
        }
        self->counts->steps++;
        bool is_fine = do_step(self, &step) && take_responses(self);
        if (!is_fine) {
            step_tell(&step, &text);
            differ(self, "in step %zu: %s", i, buf_cstr(&text));
        }
        buf_release(&text);
        if (!is_fine) return false;
    }
    arena_reset(&self->arena);
    if (!wait_for(self, is_settled)) return false;
    return true;
}
