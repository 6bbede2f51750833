/* known.c - see known.h. */
#include "model/known.h"

const char *known_name(enum known known) {
    static const char *const names[KNOWN_COUNT] = {
        [KNOWN_NONE] = "none",
        [KNOWN_HASH_AT_COMPACTED] = "hashkv-at-compacted-revision",
        [KNOWN_LOST_DELETION] = "watch-loses-deletion-at-compacted-revision",
    };
    return names[known];
}

enum known known_call(enum model_method method, const void *request, const struct model_answer *model, int code,
                      struct slice text, const void *message) {
    if (method == MODEL_HASH_KV && model->code == 0 && code == err_grpc_code(ERR_COMPACTED) &&
        slice_equal_cstr(text, err_text(ERR_COMPACTED))) {
        const Etcdserverpb__HashKVResponse *response = model->message;
        if (((const Etcdserverpb__HashKVRequest *)request)->revision == response->compact_revision)
            return KNOWN_HASH_AT_COMPACTED;
    }
    return KNOWN_NONE;
}
