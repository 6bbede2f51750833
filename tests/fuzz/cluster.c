/* cluster.c - the members as JSON: what a .snap file holds, what a conf change carries, what /members of another member
 * answers. The first byte says which. What was understood is written and read again, and must be the same. */
#include "fuzz.h"

#include "cluster/cluster.h"

#include <inttypes.h>
#include <stdio.h>

enum { V2_STORE, MEMBER, MEMBER_LIST, CONF_CHANGE, V2_REQUEST, KINDS };

static void append_all(const struct cluster *self, struct buf *out) {
    cluster_append_v2_json(self, out);
    cluster_append_members_json(self, out);
    for (size_t i = 0; i < cluster_member_count(self); i++) {
        uint64_t id = cluster_member_at(self, i)->id;
        CHECK(cluster_member(self, id) == cluster_member_at(self, i));
        buf_printf(out, "%d", cluster_is_learner(self, id));
    }
    CHECK(cluster_started_voter_count(self) <= cluster_voter_count(self));
}

static void v2_store(struct slice json) {
    struct cluster *first = cluster_new(1, 2, NULL), *second = cluster_new(1, 2, NULL);
    struct errmsg message = {""};
    enum err error = cluster_recover_v2(first, json, &message);
    CHECK(error == OK || (error == ERR_CORRUPT && message.text[0] != 0));
    if (error == OK) {
        struct buf written = BUF_INIT, again = BUF_INIT;
        cluster_append_v2_json(first, &written);
        error = cluster_recover_v2(second, buf_slice(&written), &message);
        CHECKF(error == OK, "%s", message.text);
        buf_clear(&written);
        append_all(first, &written);
        append_all(second, &again);
        CHECK(slice_equal(buf_slice(&written), buf_slice(&again)));
        buf_release(&written);
        buf_release(&again);
    }
    cluster_free(first);
    cluster_free(second);
}

static void member(struct slice json) {
    struct member first, second;
    struct errmsg message = {""};
    bool is_promote;
    enum err error = member_parse_json(json, &first, &is_promote, &message);
    CHECK(error == OK || (error == ERR_CORRUPT && message.text[0] != 0));
    if (error != OK) return;
    struct buf written = BUF_INIT, again = BUF_INIT;
    member_append_json(&first, is_promote, &written);
    error = member_parse_json(buf_slice(&written), &second, &is_promote, &message);
    CHECKF(error == OK, "%s", message.text);
    member_append_json(&second, is_promote, &again);
    CHECK(slice_equal(buf_slice(&written), buf_slice(&again)));
    buf_release(&written);
    buf_release(&again);
    member_release(&first);
    member_release(&second);
}

static void list(struct slice json) {
    struct member_list list;
    struct errmsg message = {""};
    enum err error = member_list_parse_json(json, &list, &message);
    CHECK(error == OK || (error == ERR_CORRUPT && message.text[0] != 0));
    if (error != OK) return;
    for (size_t i = 0; i < list.count; i++) CHECK(member_list_find_name(&list, list.items[i].name) != NULL);
    CHECK(member_list_find_name(&list, "\x01") == NULL || list.count != 0);
    member_list_release(&list);
}

static struct cluster *two_members(void) {
    static const char json[] =
        "{\"Root\":{\"Path\":\"/\",\"Children\":{\"0\":{\"Path\":\"/0\",\"Children\":{\"members\":{\"Path\":\"/0/"
        "members\",\"Children\":{"
        "\"a\":{\"Path\":\"/0/members/a\",\"Children\":{\"raftAttributes\":{\"Path\":\"/0/members/a/"
        "raftAttributes\",\"Value\":"
        "\"{\\\"peerURLs\\\":[\\\"http://a:1\\\"]}\",\"Children\":null}}},"
        "\"b\":{\"Path\":\"/0/members/b\",\"Children\":{\"raftAttributes\":{\"Path\":\"/0/members/b/"
        "raftAttributes\",\"Value\":"
        "\"{\\\"peerURLs\\\":[\\\"http://b:1\\\"],\\\"isLearner\\\":true}\",\"Children\":null}}}}}}}}}}";
    struct cluster *self = cluster_new(1, 10, NULL);
    struct errmsg message = {""};
    enum err error = cluster_recover_v2(self, slice_make(json, sizeof json - 1), &message);
    CHECKF(error == OK && cluster_member_count(self) == 2, "%s", message.text);
    return self;
}

/* Changes in a row, as the log has them: type, node id, context. */
static void conf_changes(struct fuzz_input *input) {
    struct cluster *self = two_members();
    while (fuzz_left(input) != 0) {
        struct raft_conf_change change = {.type = (enum raft_conf_change_type)(fuzz_byte(input) % 5)};
        change.node_id = fuzz_byte(input);
        struct slice context = fuzz_copy(fuzz_part(input));
        change.context = context;
        struct cluster_change done;
        enum err error = cluster_validate_conf_change(self, &change);
        if (error == OK) cluster_apply_conf_change(self, &change, false, &done);
        fuzz_drop(context);
    }
    struct buf written = BUF_INIT;
    append_all(self, &written);
    buf_release(&written);
    cluster_free(self);
}

static void v2_requests(struct fuzz_input *input) {
    struct cluster *self = two_members();
    while (fuzz_left(input) != 0) {
        struct slice method = fuzz_part(input), path = fuzz_part(input), value = fuzz_copy(fuzz_part(input));
        (void)cluster_apply_v2_request(self, method, path, value, false);
        fuzz_drop(value);
    }
    struct buf written = BUF_INIT;
    append_all(self, &written);
    buf_release(&written);
    cluster_free(self);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    switch (fuzz_byte(&input) % KINDS) {
    case V2_STORE: v2_store(fuzz_rest(&input)); break;
    case MEMBER: member(fuzz_rest(&input)); break;
    case MEMBER_LIST: list(fuzz_rest(&input)); break;
    case CONF_CHANGE: conf_changes(&input); break;
    case V2_REQUEST: v2_requests(&input); break;
    }
    return 0;
}
