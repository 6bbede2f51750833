/* The generated descriptors are the catalog of messages and enums: same names, numbers, types and labels, nothing
 * missing and nothing more. tests/golden/catalog holds what was read from etcd 3.5, 3.6 and 3.7. */
#include "pb/auth.pb-c.h"
#include "pb/etcdserver.pb-c.h"
#include "pb/health.pb-c.h"
#include "pb/kv.pb-c.h"
#include "pb/lease.pb-c.h"
#include "pb/membership.pb-c.h"
#include "pb/raft.pb-c.h"
#include "pb/raft_internal.pb-c.h"
#include "pb/record.pb-c.h"
#include "pb/rpc.pb-c.h"
#include "pb/snap.pb-c.h"
#include "pb/v3election.pb-c.h"
#include "pb/v3lock.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const ProtobufCMessageDescriptor *const all_messages[] = {
    &authpb__user_add_options__descriptor,
    &authpb__user__descriptor,
    &authpb__permission__descriptor,
    &authpb__role__descriptor,
    &etcdserverpb__request__descriptor,
    &etcdserverpb__metadata__descriptor,
    &grpc__health__v1__health_check_request__descriptor,
    &grpc__health__v1__health_check_response__descriptor,
    &grpc__health__v1__health_list_request__descriptor,
    &grpc__health__v1__health_list_response__descriptor,
    &mvccpb__key_value__descriptor,
    &mvccpb__event__descriptor,
    &leasepb__lease__descriptor,
    &leasepb__lease_internal_request__descriptor,
    &leasepb__lease_internal_response__descriptor,
    &membershippb__raft_attributes__descriptor,
    &membershippb__attributes__descriptor,
    &membershippb__member__descriptor,
    &membershippb__cluster_version_set_request__descriptor,
    &membershippb__cluster_member_attr_set_request__descriptor,
    &membershippb__downgrade_info_set_request__descriptor,
    &raftpb__entry__descriptor,
    &raftpb__snapshot_metadata__descriptor,
    &raftpb__snapshot__descriptor,
    &raftpb__message__descriptor,
    &raftpb__hard_state__descriptor,
    &raftpb__conf_state__descriptor,
    &raftpb__conf_change__descriptor,
    &raftpb__conf_change_single__descriptor,
    &raftpb__conf_change_v2__descriptor,
    &etcdserverpb__request_header__descriptor,
    &etcdserverpb__internal_raft_request__descriptor,
    &etcdserverpb__empty_response__descriptor,
    &etcdserverpb__internal_authenticate_request__descriptor,
    &etcdserverpb__downgrade_version_test_request__descriptor,
    &walpb__record__descriptor,
    &walpb__snapshot__descriptor,
    &etcdserverpb__response_header__descriptor,
    &etcdserverpb__range_request__descriptor,
    &etcdserverpb__range_response__descriptor,
    &etcdserverpb__put_request__descriptor,
    &etcdserverpb__put_response__descriptor,
    &etcdserverpb__delete_range_request__descriptor,
    &etcdserverpb__delete_range_response__descriptor,
    &etcdserverpb__request_op__descriptor,
    &etcdserverpb__response_op__descriptor,
    &etcdserverpb__compare__descriptor,
    &etcdserverpb__txn_request__descriptor,
    &etcdserverpb__txn_response__descriptor,
    &etcdserverpb__compaction_request__descriptor,
    &etcdserverpb__compaction_response__descriptor,
    &etcdserverpb__hash_request__descriptor,
    &etcdserverpb__hash_kvrequest__descriptor,
    &etcdserverpb__hash_kvresponse__descriptor,
    &etcdserverpb__hash_response__descriptor,
    &etcdserverpb__snapshot_request__descriptor,
    &etcdserverpb__snapshot_response__descriptor,
    &etcdserverpb__watch_request__descriptor,
    &etcdserverpb__watch_create_request__descriptor,
    &etcdserverpb__watch_cancel_request__descriptor,
    &etcdserverpb__watch_progress_request__descriptor,
    &etcdserverpb__watch_response__descriptor,
    &etcdserverpb__lease_grant_request__descriptor,
    &etcdserverpb__lease_grant_response__descriptor,
    &etcdserverpb__lease_revoke_request__descriptor,
    &etcdserverpb__lease_revoke_response__descriptor,
    &etcdserverpb__lease_checkpoint__descriptor,
    &etcdserverpb__lease_checkpoint_request__descriptor,
    &etcdserverpb__lease_checkpoint_response__descriptor,
    &etcdserverpb__lease_keep_alive_request__descriptor,
    &etcdserverpb__lease_keep_alive_response__descriptor,
    &etcdserverpb__lease_time_to_live_request__descriptor,
    &etcdserverpb__lease_time_to_live_response__descriptor,
    &etcdserverpb__lease_leases_request__descriptor,
    &etcdserverpb__lease_status__descriptor,
    &etcdserverpb__lease_leases_response__descriptor,
    &etcdserverpb__member__descriptor,
    &etcdserverpb__member_add_request__descriptor,
    &etcdserverpb__member_add_response__descriptor,
    &etcdserverpb__member_remove_request__descriptor,
    &etcdserverpb__member_remove_response__descriptor,
    &etcdserverpb__member_update_request__descriptor,
    &etcdserverpb__member_update_response__descriptor,
    &etcdserverpb__member_list_request__descriptor,
    &etcdserverpb__member_list_response__descriptor,
    &etcdserverpb__member_promote_request__descriptor,
    &etcdserverpb__member_promote_response__descriptor,
    &etcdserverpb__defragment_request__descriptor,
    &etcdserverpb__defragment_response__descriptor,
    &etcdserverpb__move_leader_request__descriptor,
    &etcdserverpb__move_leader_response__descriptor,
    &etcdserverpb__alarm_request__descriptor,
    &etcdserverpb__alarm_member__descriptor,
    &etcdserverpb__alarm_response__descriptor,
    &etcdserverpb__downgrade_request__descriptor,
    &etcdserverpb__downgrade_response__descriptor,
    &etcdserverpb__status_request__descriptor,
    &etcdserverpb__status_response__descriptor,
    &etcdserverpb__auth_enable_request__descriptor,
    &etcdserverpb__auth_disable_request__descriptor,
    &etcdserverpb__auth_status_request__descriptor,
    &etcdserverpb__authenticate_request__descriptor,
    &etcdserverpb__auth_user_add_request__descriptor,
    &etcdserverpb__auth_user_get_request__descriptor,
    &etcdserverpb__auth_user_delete_request__descriptor,
    &etcdserverpb__auth_user_change_password_request__descriptor,
    &etcdserverpb__auth_user_grant_role_request__descriptor,
    &etcdserverpb__auth_user_revoke_role_request__descriptor,
    &etcdserverpb__auth_role_add_request__descriptor,
    &etcdserverpb__auth_role_get_request__descriptor,
    &etcdserverpb__auth_user_list_request__descriptor,
    &etcdserverpb__auth_role_list_request__descriptor,
    &etcdserverpb__auth_role_delete_request__descriptor,
    &etcdserverpb__auth_role_grant_permission_request__descriptor,
    &etcdserverpb__auth_role_revoke_permission_request__descriptor,
    &etcdserverpb__auth_enable_response__descriptor,
    &etcdserverpb__auth_disable_response__descriptor,
    &etcdserverpb__auth_status_response__descriptor,
    &etcdserverpb__authenticate_response__descriptor,
    &etcdserverpb__auth_user_add_response__descriptor,
    &etcdserverpb__auth_user_get_response__descriptor,
    &etcdserverpb__auth_user_delete_response__descriptor,
    &etcdserverpb__auth_user_change_password_response__descriptor,
    &etcdserverpb__auth_user_grant_role_response__descriptor,
    &etcdserverpb__auth_user_revoke_role_response__descriptor,
    &etcdserverpb__auth_role_add_response__descriptor,
    &etcdserverpb__auth_role_get_response__descriptor,
    &etcdserverpb__auth_role_list_response__descriptor,
    &etcdserverpb__auth_user_list_response__descriptor,
    &etcdserverpb__auth_role_delete_response__descriptor,
    &etcdserverpb__auth_role_grant_permission_response__descriptor,
    &etcdserverpb__auth_role_revoke_permission_response__descriptor,
    &etcdserverpb__downgrade_info__descriptor,
    &etcdserverpb__range_stream_response__descriptor,
    &snappb__snapshot__descriptor,
    &v3electionpb__campaign_request__descriptor,
    &v3electionpb__campaign_response__descriptor,
    &v3electionpb__leader_key__descriptor,
    &v3electionpb__leader_request__descriptor,
    &v3electionpb__leader_response__descriptor,
    &v3electionpb__resign_request__descriptor,
    &v3electionpb__resign_response__descriptor,
    &v3electionpb__proclaim_request__descriptor,
    &v3electionpb__proclaim_response__descriptor,
    &v3lockpb__lock_request__descriptor,
    &v3lockpb__lock_response__descriptor,
    &v3lockpb__unlock_request__descriptor,
    &v3lockpb__unlock_response__descriptor,
};

static const ProtobufCEnumDescriptor *const all_enums[] = {
    &authpb__permission__type__descriptor,
    &grpc__health__v1__health_check_response__serving_status__descriptor,
    &mvccpb__event__event_type__descriptor,
    &raftpb__entry_type__descriptor,
    &raftpb__message_type__descriptor,
    &raftpb__conf_change_transition__descriptor,
    &raftpb__conf_change_type__descriptor,
    &etcdserverpb__alarm_type__descriptor,
    &etcdserverpb__range_request__sort_order__descriptor,
    &etcdserverpb__range_request__sort_target__descriptor,
    &etcdserverpb__compare__compare_result__descriptor,
    &etcdserverpb__compare__compare_target__descriptor,
    &etcdserverpb__watch_create_request__filter_type__descriptor,
    &etcdserverpb__alarm_request__alarm_action__descriptor,
    &etcdserverpb__downgrade_request__downgrade_action__descriptor,
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_COLUMNS 12

/* Splits a line at its tabs, in place. */
static size_t split(char *line, char **columns) {
    line[strcspn(line, "\n")] = 0;
    size_t count = 0;
    for (char *rest = line; rest != NULL && count < MAX_COLUMNS;) columns[count++] = strsep(&rest, "\t");
    return count;
}

static FILE *open_catalog(const char *name, char **line, size_t *capacity) {
    char path[4096];
    snprintf(path, sizeof(path), TEST_SOURCE_DIR "/golden/catalog/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(getline(line, capacity, file) > 0); /* the header */
    return file;
}

static const ProtobufCMessageDescriptor *find_message(const char *name) {
    for (size_t i = 0; i < COUNT_OF(all_messages); i++)
        if (strcmp(all_messages[i]->name, name) == 0) return all_messages[i];
    fail_msg("no message %s", name);
    return NULL;
}

static const char *type_name(const ProtobufCFieldDescriptor *field) {
    static const char *const names[] = {"int32",  "sint32",  "sfixed32", "int64",   "sint64", "sfixed64",
                                        "uint32", "fixed32", "uint64",   "fixed64", "float",  "double",
                                        "bool",   "enum",    "string",   "bytes",   "message"};
    static char map[256];
    if (field->type == PROTOBUF_C_TYPE_ENUM) return ((const ProtobufCEnumDescriptor *)field->descriptor)->name;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) return names[field->type];
    const ProtobufCMessageDescriptor *type = field->descriptor;
    if (strstr(type->name, "Entry") == NULL || type->n_fields != 2 || strcmp(type->fields[0].name, "key") != 0)
        return type->name;
    /* What a map field becomes. */
    snprintf(map, sizeof(map), "map<%s,%s>", names[type->fields[0].type],
             ((const ProtobufCMessageDescriptor *)type->fields[1].descriptor)->name);
    return map;
}

static const char *label_name(const ProtobufCFieldDescriptor *field) {
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return strncmp(type_name(field), "map<", 4) == 0 ? "map" : "repeated";
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL && !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)) return "optional";
    return "singular";
}

static bool is_proto2(const char *message) {
    return strncmp(message, "raftpb.", 7) == 0 || strncmp(message, "walpb.", 6) == 0 ||
           strncmp(message, "snappb.", 7) == 0 || strcmp(message, "etcdserverpb.Request") == 0 ||
           strcmp(message, "etcdserverpb.Metadata") == 0;
}

static void test_messages_are_those_of_the_catalog(void **state) {
    char *line = NULL, *columns[MAX_COLUMNS];
    size_t capacity = 0, messages = 0, fields = 0, own_fields = 0;
    FILE *file = open_catalog("messages.tsv", &line, &capacity);
    while (getline(&line, &capacity, file) > 0) {
        assert_true(split(line, columns) >= 6);
        const ProtobufCMessageDescriptor *type = find_message(columns[0]);
        if (strcmp(columns[1], "(message)") == 0) {
            messages++;
            assert_string_equal(columns[4], is_proto2(columns[0]) ? "proto2" : "proto3");
            continue;
        }
        fields++;
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)atoi(columns[2]));
        if (field == NULL) fail_msg("%s has no field %s", columns[0], columns[2]);
        assert_string_equal(field->name, columns[1]);
        assert_string_equal(type_name(field), columns[3]);
        /* protobuf-c calls proto3's message fields optional: their presence is the pointer. */
        bool message_field = field->type == PROTOBUF_C_TYPE_MESSAGE && !is_proto2(columns[0]);
        if (!(message_field && strcmp(columns[4], "singular") == 0)) assert_string_equal(label_name(field), columns[4]);
        bool in_oneof = strncmp(columns[6], "oneof ", 6) == 0;
        assert_int_equal(in_oneof, (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0);
    }
    fclose(file);
    free(line);
    assert_int_equal(messages, COUNT_OF(all_messages));
    for (size_t i = 0; i < COUNT_OF(all_messages); i++) own_fields += all_messages[i]->n_fields;
    assert_int_equal(fields, own_fields);
}

static void test_enums_are_those_of_the_catalog(void **state) {
    char *line = NULL, *columns[MAX_COLUMNS];
    size_t capacity = 0, values = 0, own_values = 0;
    FILE *file = open_catalog("enums.tsv", &line, &capacity);
    while (getline(&line, &capacity, file) > 0) {
        assert_true(split(line, columns) >= 3);
        const ProtobufCEnumDescriptor *type = NULL;
        for (size_t i = 0; i < COUNT_OF(all_enums); i++)
            if (strcmp(all_enums[i]->name, columns[0]) == 0) type = all_enums[i];
        if (type == NULL) fail_msg("no enum %s", columns[0]);
        const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, atoi(columns[2]));
        if (value == NULL) fail_msg("%s has no value %s", columns[0], columns[2]);
        assert_string_equal(value->name, columns[1]);
        values++;
    }
    fclose(file);
    free(line);
    for (size_t i = 0; i < COUNT_OF(all_enums); i++) own_values += all_enums[i]->n_values;
    assert_int_equal(values, own_values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_are_those_of_the_catalog),
        cmocka_unit_test(test_enums_are_those_of_the_catalog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
