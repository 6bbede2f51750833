/* tokens.c - simple tokens: in memory, alive as long as they are used within their TTL. */
#include "auth/internal.h"

struct token {
    struct user *user;
    int64_t used_ns;
    struct list by_use;
    struct list of_user;
    struct slice text; /* behind the struct */
};

static void end_token(struct auth_store *self, struct token *token) {
    CHECK(map_bytes_remove(&self->tokens, token->text) == token);
    list_remove(&token->by_use);
    list_remove(&token->of_user);
    mem_free(token);
}

static struct token *longest_unused(const struct auth_store *self) {
    if (list_is_empty(&self->tokens_by_use)) return NULL;
    return CONTAINER_OF(self->tokens_by_use.next, struct token, by_use);
}

void auth__end_tokens_of(struct auth_store *self, struct user *user) {
    while (!list_is_empty(&user->tokens)) end_token(self, CONTAINER_OF(user->tokens.next, struct token, of_user));
}

void auth__end_all_tokens(struct auth_store *self) {
    for (struct token *token; (token = longest_unused(self)) != NULL;) end_token(self, token);
}

size_t auth_store_token_count(const struct auth_store *self) { return self->tokens.count; }

static bool is_over(const struct auth_store *self, const struct token *token, int64_t now_ns) {
    return now_ns - token->used_ns >= self->token_ttl_ns;
}

void auth_store_tick(struct auth_store *self, int64_t now_ns) {
    for (struct token *token; (token = longest_unused(self)) != NULL && is_over(self, token, now_ns);) {
        log_debug(self->log, "deleted a simple token", LOG_SLICE("user-name", token->user->name));
        end_token(self, token);
    }
}

enum err auth_assign_token(struct auth_store *self, struct slice username, struct slice prefix, uint64_t index,
                           int64_t now_ns, struct buf *out) {
    if (!self->is_enabled) return ERR_AUTH_NOT_ENABLED;
    struct user *user = auth__user(self, username);
    if (user == NULL || user->no_password) return ERR_AUTH_FAILED;
    size_t from = out->len;
    buf_append_slice(out, prefix);
    buf_printf(out, ".%llu", (unsigned long long)index);
    struct slice text = slice_from(buf_slice(out), from);
    struct token *same = map_bytes_get(&self->tokens, text);
    if (same != NULL) end_token(self, same);
    if (self->tokens.count >= AUTH_MAX_TOKENS) end_token(self, longest_unused(self));
    struct token *token = mem_alloc(sizeof *token + text.len);
    memcpy(token + 1, text.data, text.len);
    token->user = user;
    token->used_ns = now_ns;
    token->text = slice_make(token + 1, text.len);
    map_bytes_put(&self->tokens, token->text, token);
    list_push_back(&self->tokens_by_use, &token->by_use);
    list_push_back(&user->tokens, &token->of_user);
    return OK;
}

enum err auth_identify(struct auth_store *self, struct slice text, int64_t now_ns, struct auth_info *ret_info) {
    *ret_info = (struct auth_info){0};
    if (!self->is_enabled || text.data == NULL) return OK;
    struct slice bearer = SLICE_LITERAL("Bearer ");
    if (slice_starts_with(text, bearer)) text = slice_from(text, bearer.len);
    struct token *token = map_bytes_get(&self->tokens, text);
    if (token == NULL || is_over(self, token, now_ns)) {
        log_warn(self->log, "invalid auth token");
        return ERR_INVALID_AUTH_TOKEN;
    }
    token->used_ns = now_ns;
    list_remove(&token->by_use);
    list_push_back(&self->tokens_by_use, &token->by_use);
    *ret_info = (struct auth_info){token->user->name, self->revision};
    return OK;
}
