/* auth, user, role. None of these has a command timeout, as upstream. */
#include "etcdctl/commands.h"

#include "base/err.h"
#include "etcdctl/requests.h"
#include "pb/arena_pb.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static void need(struct ctl *ctl, const struct arguments *arguments, size_t count, const char *complaint) {
    if (arguments->count != count) ctl_fail(ctl, EXIT_BAD_ARGS, "%s", complaint);
}

static struct etcd_client *patient_client(struct ctl *ctl) {
    struct etcd_client *client = ctl_connect(ctl);
    ctl_without_timeout(ctl, client);
    return client;
}

/* Go's requests hold a string, protobuf-c's a char * that nobody writes to. */
static char *text_of(const char *text) { return (char *)(uintptr_t)text; }

/* Calls and prints a message whose simple form is one sentence. */
static int do_and_say(struct ctl *ctl, const char *method, const void *request, const ProtobufCMessageDescriptor *type,
                      const char *sentence) {
    const void *response = ctl_call(ctl, patient_client(ctl), method, request, type);
    ctl_print(ctl, &view_done, response, sentence);
    return EXIT_OK;
}

/* ---- auth ---- */

static bool try_enable(struct ctl *ctl, struct etcd_client *client, struct etcd_error *error) {
    Etcdserverpb__AuthEnableRequest request;
    etcdserverpb__auth_enable_request__init(&request);
    return ctl_try_call(ctl, client, "Auth/AuthEnable", &request, &etcdserverpb__auth_enable_response__descriptor,
                        error) != NULL;
}

/* Role root is made and given to user root when that is all that is missing. */
static void make_root(struct ctl *ctl, struct etcd_client *client) {
    Etcdserverpb__AuthRoleAddRequest role;
    etcdserverpb__auth_role_add_request__init(&role);
    role.name = text_of("root");
    ctl_call(ctl, client, "Auth/RoleAdd", &role, &etcdserverpb__auth_role_add_response__descriptor);
    Etcdserverpb__AuthUserGrantRoleRequest grant;
    etcdserverpb__auth_user_grant_role_request__init(&grant);
    grant.user = grant.role = text_of("root");
    ctl_call(ctl, client, "Auth/UserGrantRole", &grant, &etcdserverpb__auth_user_grant_role_response__descriptor);
}

RUN(run_auth_enable) {
    need(ctl, arguments, 0, "auth enable command does not accept any arguments");
    struct etcd_client *client = ctl_connect(ctl);
    struct etcd_error error;
    if (!try_enable(ctl, client, &error)) {
        if (strcmp(error.text, err_text(ERR_ROOT_ROLE_NOT_EXIST)) != 0) ctl_fail_call(ctl, EXIT_ERROR, &error);
        make_root(ctl, client);
        if (!try_enable(ctl, client, &error)) ctl_fail_call(ctl, EXIT_ERROR, &error);
    }
    buf_append_cstr(&ctl->out, "Authentication Enabled\n");
    ctl_flush(ctl);
    return EXIT_OK;
}

RUN(run_auth_disable) {
    need(ctl, arguments, 0, "auth disable command does not accept any arguments");
    Etcdserverpb__AuthDisableRequest request;
    etcdserverpb__auth_disable_request__init(&request);
    ctl_call(ctl, ctl_connect(ctl), "Auth/AuthDisable", &request, &etcdserverpb__auth_disable_response__descriptor);
    buf_append_cstr(&ctl->out, "Authentication Disabled\n");
    ctl_flush(ctl);
    return EXIT_OK;
}

RUN(run_auth_status) {
    need(ctl, arguments, 0, "auth status command does not accept any arguments");
    Etcdserverpb__AuthStatusRequest request;
    etcdserverpb__auth_status_request__init(&request);
    const void *response =
        ctl_call(ctl, ctl_connect(ctl), "Auth/AuthStatus", &request, &etcdserverpb__auth_status_response__descriptor);
    ctl_print(ctl, &view_auth_status, response, NULL);
    return EXIT_OK;
}

/* ---- users ---- */

/* One word of standard input, without prompt. */
static const char *word_from_stdin(struct ctl *ctl) {
    CLEANUP_BUF struct buf word = BUF_INIT;
    int c;
    while ((c = getchar()) == ' ' || c == '\t') {
    }
    for (; c != EOF && !isspace(c); c = getchar()) buf_append_byte(&word, (uint8_t)c);
    return arena_strdup(&ctl->arena, buf_slice(&word));
}

static const char *ask_twice(struct ctl *ctl, const char *user) {
    const char *first = ctl_ask_password(ctl, arena_printf(&ctl->arena, "Password of %s: ", user));
    if (*first == 0) ctl_fail(ctl, EXIT_BAD_ARGS, "empty password");
    const char *second =
        ctl_ask_password(ctl, arena_printf(&ctl->arena, "Type password of %s again for confirmation: ", user));
    if (strcmp(first, second) != 0) ctl_fail(ctl, EXIT_BAD_ARGS, "given passwords are different");
    return first;
}

static const char *new_password(struct ctl *ctl, const char *user) {
    return flags_bool(&ctl->flags, "interactive") ? ask_twice(ctl, user) : word_from_stdin(ctl);
}

/* The name and the password: from flags, from "name:password", or asked for. */
static void user_and_password(struct ctl *ctl, const char *text, const char **ret_user, const char **ret_password) {
    *ret_user = text;
    *ret_password = flags_text(&ctl->flags, "new-user-password");
    if (**ret_password != 0) return;
    const char *colon = strchr(text, ':');
    if (!colon) {
        *ret_password = new_password(ctl, text);
        return;
    }
    if (colon == text) ctl_fail(ctl, EXIT_BAD_ARGS, "empty user name is not allowed");
    *ret_user = arena_strdup(&ctl->arena, slice_make(text, (size_t)(colon - text)));
    *ret_password = colon + 1;
}

RUN(run_user_add) {
    need(ctl, arguments, 1, "user add command requires user name as its argument");
    const char *user = arguments->items[0], *password = "";
    Authpb__UserAddOptions options;
    authpb__user_add_options__init(&options);
    options.no_password = flags_bool(&ctl->flags, "no-password");
    if (!options.no_password) user_and_password(ctl, user, &user, &password);
    Etcdserverpb__AuthUserAddRequest request;
    etcdserverpb__auth_user_add_request__init(&request);
    request.name = text_of(user);
    request.password = text_of(password);
    request.options = &options;
    return do_and_say(ctl, "Auth/UserAdd", &request, &etcdserverpb__auth_user_add_response__descriptor,
                      arena_printf(&ctl->arena, "User %s created\n", user));
}

RUN(run_user_delete) {
    need(ctl, arguments, 1, "user delete command requires user name as its argument");
    Etcdserverpb__AuthUserDeleteRequest request;
    etcdserverpb__auth_user_delete_request__init(&request);
    request.name = text_of(arguments->items[0]);
    return do_and_say(ctl, "Auth/UserDelete", &request, &etcdserverpb__auth_user_delete_response__descriptor,
                      arena_printf(&ctl->arena, "User %s deleted\n", request.name));
}

static const void *get_role(struct ctl *ctl, struct etcd_client *client, const char *role) {
    Etcdserverpb__AuthRoleGetRequest request;
    etcdserverpb__auth_role_get_request__init(&request);
    request.role = text_of(role);
    return ctl_call(ctl, client, "Auth/RoleGet", &request, &etcdserverpb__auth_role_get_response__descriptor);
}

RUN(run_user_get) {
    need(ctl, arguments, 1, "user get command requires user name as its argument");
    const char *user = arguments->items[0];
    struct etcd_client *client = patient_client(ctl);
    Etcdserverpb__AuthUserGetRequest request;
    etcdserverpb__auth_user_get_request__init(&request);
    request.name = text_of(user);
    const Etcdserverpb__AuthUserGetResponse *response =
        ctl_call(ctl, client, "Auth/UserGet", &request, &etcdserverpb__auth_user_get_response__descriptor);
    if (!flags_bool(&ctl->flags, "detail")) {
        ctl_print(ctl, &view_user_get, response, user);
        return EXIT_OK;
    }
    buf_printf(&ctl->out, "User: %s\n", user);
    for (size_t i = 0; i < response->n_roles; i++) {
        buf_append_byte(&ctl->out, '\n');
        ctl_print(ctl, &view_role_get, get_role(ctl, client, response->roles[i]), response->roles[i]);
    }
    ctl_flush(ctl);
    return EXIT_OK;
}

RUN(run_user_list) {
    need(ctl, arguments, 0, "user list command requires no arguments");
    Etcdserverpb__AuthUserListRequest request;
    etcdserverpb__auth_user_list_request__init(&request);
    const void *response = ctl_call(ctl, patient_client(ctl), "Auth/UserList", &request,
                                    &etcdserverpb__auth_user_list_response__descriptor);
    ctl_print(ctl, &view_user_list, response, NULL);
    return EXIT_OK;
}

RUN(run_user_passwd) {
    need(ctl, arguments, 1, "user passwd command requires user name as its argument");
    Etcdserverpb__AuthUserChangePasswordRequest request;
    etcdserverpb__auth_user_change_password_request__init(&request);
    request.name = text_of(arguments->items[0]);
    request.password = text_of(new_password(ctl, arguments->items[0]));
    return do_and_say(ctl, "Auth/UserChangePassword", &request,
                      &etcdserverpb__auth_user_change_password_response__descriptor, "Password updated\n");
}

RUN(run_user_grant_role) {
    need(ctl, arguments, 2, "user grant command requires user name and role name as its argument");
    Etcdserverpb__AuthUserGrantRoleRequest request;
    etcdserverpb__auth_user_grant_role_request__init(&request);
    request.user = text_of(arguments->items[0]);
    request.role = text_of(arguments->items[1]);
    return do_and_say(ctl, "Auth/UserGrantRole", &request, &etcdserverpb__auth_user_grant_role_response__descriptor,
                      arena_printf(&ctl->arena, "Role %s is granted to user %s\n", request.role, request.user));
}

RUN(run_user_revoke_role) {
    need(ctl, arguments, 2, "user revoke-role requires user name and role name as its argument");
    Etcdserverpb__AuthUserRevokeRoleRequest request;
    etcdserverpb__auth_user_revoke_role_request__init(&request);
    request.name = text_of(arguments->items[0]);
    request.role = text_of(arguments->items[1]);
    return do_and_say(ctl, "Auth/UserRevokeRole", &request, &etcdserverpb__auth_user_revoke_role_response__descriptor,
                      arena_printf(&ctl->arena, "Role %s is revoked from user %s\n", request.role, request.name));
}

/* ---- roles ---- */

RUN(run_role_add) {
    need(ctl, arguments, 1, "role add command requires role name as its argument");
    Etcdserverpb__AuthRoleAddRequest request;
    etcdserverpb__auth_role_add_request__init(&request);
    request.name = text_of(arguments->items[0]);
    return do_and_say(ctl, "Auth/RoleAdd", &request, &etcdserverpb__auth_role_add_response__descriptor,
                      arena_printf(&ctl->arena, "Role %s created\n", request.name));
}

RUN(run_role_delete) {
    need(ctl, arguments, 1, "role delete command requires role name as its argument");
    Etcdserverpb__AuthRoleDeleteRequest request;
    etcdserverpb__auth_role_delete_request__init(&request);
    request.role = text_of(arguments->items[0]);
    return do_and_say(ctl, "Auth/RoleDelete", &request, &etcdserverpb__auth_role_delete_response__descriptor,
                      arena_printf(&ctl->arena, "Role %s deleted\n", request.role));
}

RUN(run_role_get) {
    need(ctl, arguments, 1, "role get command requires role name as its argument");
    const char *role = arguments->items[0];
    ctl_print(ctl, &view_role_get, get_role(ctl, patient_client(ctl), role), role);
    return EXIT_OK;
}

RUN(run_role_list) {
    need(ctl, arguments, 0, "role list command requires no arguments");
    Etcdserverpb__AuthRoleListRequest request;
    etcdserverpb__auth_role_list_request__init(&request);
    const void *response = ctl_call(ctl, patient_client(ctl), "Auth/RoleList", &request,
                                    &etcdserverpb__auth_role_list_response__descriptor);
    ctl_print(ctl, &view_role_list, response, NULL);
    return EXIT_OK;
}

#define OPEN_END SLICE_LITERAL("\0")

/* Key and range end of a permission, from the arguments behind `first`. */
static void permission_range(struct ctl *ctl, const struct arguments *arguments, size_t first, struct slice *ret_key,
                             struct slice *ret_end) {
    bool prefix = flags_bool(&ctl->flags, "prefix"), from_key = flags_bool(&ctl->flags, "from-key");
    *ret_key = argument(arguments, first);
    *ret_end = SLICE_NONE;
    bool has_end = arguments->count > first + 1;
    if (prefix && from_key && !(has_end && ret_key->len > 0))
        ctl_fail(ctl, EXIT_BAD_ARGS, "--from-key and --prefix flags are mutually exclusive");
    if (ret_key->len == 0) {
        *ret_key = OPEN_END;
        if (prefix || from_key) *ret_end = OPEN_END;
        return;
    }
    if (has_end && prefix) ctl_fail(ctl, EXIT_BAD_ARGS, "unexpected endkey argument with --prefix flag");
    if (has_end && from_key) ctl_fail(ctl, EXIT_BAD_ARGS, "unexpected endkey argument with --from-key flag");
    if (has_end)
        *ret_end = argument(arguments, first + 1);
    else if (prefix)
        *ret_end = prefix_end(*ret_key, &ctl->arena);
    else if (from_key)
        *ret_end = OPEN_END;
}

RUN(run_role_grant_permission) {
    if (arguments->count < 3)
        ctl_fail(ctl, EXIT_BAD_ARGS,
                 "role grant command requires role name, permission type, and key [endkey] as its argument");
    static const char *const types[] = {"read", "write", "readwrite"};
    int type = 0;
    while (type < 3 && strcasecmp(arguments->items[1], types[type]) != 0) type++;
    if (type == 3) ctl_fail(ctl, EXIT_BAD_ARGS, "invalid permission type: %s", arguments->items[1]);
    struct slice key, end;
    permission_range(ctl, arguments, 2, &key, &end);
    Authpb__Permission permission;
    authpb__permission__init(&permission);
    permission.permtype = (Authpb__Permission__Type)type;
    permission.key = pb_bytes(key);
    permission.range_end = pb_bytes(end);
    Etcdserverpb__AuthRoleGrantPermissionRequest request;
    etcdserverpb__auth_role_grant_permission_request__init(&request);
    request.name = text_of(arguments->items[0]);
    request.perm = &permission;
    return do_and_say(ctl, "Auth/RoleGrantPermission", &request,
                      &etcdserverpb__auth_role_grant_permission_response__descriptor,
                      arena_printf(&ctl->arena, "Role %s updated\n", request.name));
}

RUN(run_role_revoke_permission) {
    if (arguments->count < 2)
        ctl_fail(ctl, EXIT_BAD_ARGS,
                 "role revoke-permission command requires role name and key [endkey] as its argument");
    struct slice key, end;
    permission_range(ctl, arguments, 1, &key, &end);
    Etcdserverpb__AuthRoleRevokePermissionRequest request;
    etcdserverpb__auth_role_revoke_permission_request__init(&request);
    const char *role = arguments->items[0], *name = arguments->items[1];
    request.role = text_of(role);
    request.key = pb_bytes(key);
    request.range_end = pb_bytes(end);
    const char *sentence;
    if (end.len == 0)
        sentence = arena_printf(&ctl->arena, "Permission of key %s is revoked from role %s\n", name, role);
    else if (slice_equal(end, OPEN_END))
        sentence =
            arena_printf(&ctl->arena, "Permission of range [%s, <open ended> is revoked from role %s\n", name, role);
    else
        sentence = arena_printf(&ctl->arena, "Permission of range [%s, %.*s) is revoked from role %s\n", name,
                                (int)end.len, (const char *)end.data, role);
    return do_and_say(ctl, "Auth/RoleRevokePermission", &request,
                      &etcdserverpb__auth_role_revoke_permission_response__descriptor, sentence);
}
