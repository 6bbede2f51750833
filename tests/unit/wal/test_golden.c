/* Logs of real members: each record read, each byte written again; and what real etcd did with damaged ones. */
#include "fixture.h"

#include "wal/frame.h"
#include "wal/snap.h"

#include <jansson.h>

/* ---- recordings ---- */

static json_t *load_json(struct fixture *self, const char *name) {
    CLEANUP_BUF struct buf text = BUF_INIT;
    read_recording(self, name, &text);
    json_error_t error;
    json_t *root = json_loadb((const char *)text.data, text.len, 0, &error);
    if (root == NULL) fail_msg("%s: %s", name, error.text);
    return root;
}

static const char *string_of(json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}
static uint64_t number_of(json_t *object, const char *key) {
    return (uint64_t)json_integer_value(json_object_get(object, key));
}
static uint64_t hex_of(json_t *object, const char *key) { return strtoull(string_of(object, key), NULL, 16); }

/* Undoes the folding of long recordings: (literal length, literal, copy length, copy distance)* with varints, the last
 * literal without a copy. */
static void unfold(struct slice folded, struct buf *out) {
    const uint8_t *at = folded.data, *end = at + folded.len;
    for (;;) {
        uint64_t literal_bytes, copy_bytes, distance;
        at += varint_load(at, end, &literal_bytes);
        buf_append(out, at, literal_bytes);
        at += literal_bytes;
        if (at >= end) return;
        at += varint_load(at, end, &copy_bytes);
        at += varint_load(at, end, &distance);
        uint8_t *to = buf_extend(out, copy_bytes);
        for (uint64_t i = 0; i < copy_bytes; i++) to[i] = to[(int64_t)i - (int64_t)distance];
    }
}

/* A segment up to its last record. */
static void read_segment(struct fixture *self, const char *base, const char *segment, struct buf *out) {
    CLEANUP_BUF struct buf path = BUF_INIT;
    CLEANUP_BUF struct buf folded = BUF_INIT;
    buf_printf(&path, "%s/golden/data-dirs/%s/member/wal/%s.lz", TEST_SOURCE_DIR, base, segment);
    if (env_read_file(self->env, buf_cstr(&path), 1u << 20, &folded) == OK) {
        unfold(buf_slice(&folded), out);
        return;
    }
    path.len -= strlen(".lz");
    assert_int_equal(env_read_file(self->env, buf_cstr(&path), 1u << 20, out), OK);
}

/* ---- record by record ---- */

static const char *const type_names[] = {NULL, "metadata", "entry", "state", "crc", "snapshot"};

static void assert_entry_matches(json_t *expected, const struct raft_entry *entry) {
    const char *type = string_of(expected, "type");
    assert_int_equal(entry->type, strcmp(type, "conf_change") == 0 ? RAFT_ENTRY_CONF_CHANGE : RAFT_ENTRY_NORMAL);
    assert_int_equal(entry->term, number_of(expected, "term"));
    assert_int_equal(entry->index, number_of(expected, "index"));
    assert_int_equal(entry->data.len, number_of(expected, "size"));
    json_t *conf_change = json_object_get(expected, "conf_change");
    if (conf_change == NULL) return;
    struct raft_conf_change change;
    assert_int_equal(raft_conf_change_decode(entry->data, &change), OK);
    assert_int_equal(change.node_id, hex_of(conf_change, "node"));
    assert_true(slice_equal_cstr(change.context, string_of(conf_change, "context")));
}

static void compare_record(json_t *expected, const struct wal_record *record) {
    assert_in_range(record->type, 1, 5);
    assert_string_equal(type_names[record->type], string_of(expected, "type"));
    assert_int_equal(record->crc, number_of(expected, "crc"));
    struct raft_entry entry;
    struct raft_hard_state hard_state;
    struct wal_snapshot snapshot;
    struct wal_metadata metadata;
    switch (record->type) {
    case WAL_RECORD_ENTRY:
        assert_int_equal(raft_entry_decode(record->data, NULL, &entry), OK);
        assert_entry_matches(json_object_get(expected, "entry"), &entry);
        break;
    case WAL_RECORD_STATE:
        assert_int_equal(raft_hard_state_decode(record->data, &hard_state), OK);
        assert_int_equal(hard_state.term, number_of(expected, "term"));
        assert_int_equal(hard_state.vote, hex_of(expected, "vote"));
        assert_int_equal(hard_state.commit, number_of(expected, "commit"));
        break;
    case WAL_RECORD_SNAPSHOT:
        assert_int_equal(wal_snapshot_decode(record->data, &snapshot), OK);
        assert_int_equal(snapshot.index, number_of(expected, "index"));
        assert_int_equal(snapshot.term, number_of(expected, "term"));
        wal_snapshot_release(&snapshot);
        break;
    case WAL_RECORD_METADATA:
        assert_int_equal(wal_metadata_decode(record->data, &metadata), OK);
        assert_int_equal(metadata.node_id, hex_of(expected, "node"));
        assert_int_equal(metadata.cluster_id, hex_of(expected, "cluster"));
        break;
    default: break;
    }
}

/* The record once more, from what its decoder made of it. */
static void write_again(const struct wal_record *record, struct buf *out, uint32_t *crc) {
    CLEANUP_BUF struct buf bytes = BUF_INIT;
    struct raft_entry entry;
    struct raft_hard_state hard_state;
    struct wal_snapshot snapshot;
    struct wal_metadata metadata;
    switch (record->type) {
    case WAL_RECORD_ENTRY:
        assert_int_equal(raft_entry_decode(record->data, NULL, &entry), OK);
        wal_put_entry(out, crc, &entry);
        break;
    case WAL_RECORD_STATE:
        assert_int_equal(raft_hard_state_decode(record->data, &hard_state), OK);
        wal_put_hard_state(out, crc, &hard_state);
        break;
    case WAL_RECORD_CRC:
        *crc = record->crc;
        wal_put_crc(out, *crc);
        break;
    case WAL_RECORD_SNAPSHOT:
        assert_int_equal(wal_snapshot_decode(record->data, &snapshot), OK);
        wal_put_snapshot(out, crc, &snapshot);
        wal_snapshot_release(&snapshot);
        break;
    case WAL_RECORD_METADATA:
        assert_int_equal(wal_metadata_decode(record->data, &metadata), OK);
        wal_metadata_encode(&metadata, &bytes);
        wal_put_record(out, crc, WAL_RECORD_METADATA, buf_slice(&bytes));
        break;
    default: fail();
    }
}

static void check_segment(struct fixture *self, const char *base, const char *name, json_t *expected) {
    CLEANUP_BUF struct buf bytes = BUF_INIT, again = BUF_INIT;
    read_segment(self, base, name, &bytes);
    write_file(self, self->dir, name, buf_slice(&bytes), 65000000);
    char *path = path_in(self->dir, name);
    struct wal_source source = {.name = name};
    assert_int_equal(env_open(self->env, path, ENV_READ, 0, &source.file), OK);
    struct wal_decoder decoder = wal_decoder_make(&source, 1);
    json_t *records = json_object_get(expected, "records"), *row;
    size_t i;
    uint32_t crc = 0;
    struct wal_record record;
    struct errmsg message;
    json_array_foreach(records, i, row) {
        uint64_t left_out = number_of(row, "left_out");
        if (left_out == 0) assert_int_equal(decoder.next_offset, number_of(row, "offset"));
        for (uint64_t n = 0; n < (left_out > 0 ? left_out : 1); n++) {
            assert_int_equal(wal_decoder_next(&decoder, &record, &message), OK);
            if (left_out == 0) compare_record(row, &record);
            write_again(&record, &again, &crc);
        }
    }
    assert_int_equal(wal_decoder_next(&decoder, &record, &message), ERR_EOF);
    assert_int_equal(decoder.next_offset, number_of(expected, "end_offset"));
    assert_int_equal(again.len, bytes.len);
    assert_memory_equal(again.data, bytes.data, bytes.len);
    wal_decoder_release(&decoder);
    env_close(source.file);
    assert_int_equal(env_unlink(self->env, path), OK);
    mem_free(path);
}

static const char *const bases[] = {"alarm",       "auth",        "single-basic", "single-snapshots", "v3.6",
                                    "cluster3-n1", "cluster3-n2", "cluster3-n3",  "cluster3-n4"};

static void every_record_is_read_and_written_as_recorded(void **state) {
    struct fixture *self = *state;
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "data-dirs/%s.decoded.json", bases[i]);
        json_t *root = load_json(self, name), *segment;
        const char *segment_name;
        json_object_foreach(json_object_get(root, "wal"), segment_name, segment)
            check_segment(self, bases[i], segment_name, segment);
        json_decref(root);
    }
}

static void check_snap(struct fixture *self, const char *base, const char *name, json_t *expected) {
    CLEANUP_BUF struct buf recording = BUF_INIT, content = BUF_INIT, again = BUF_INIT;
    buf_printf(&recording, "data-dirs/%s/member/snap/%s", base, name);
    read_recording(self, buf_cstr(&recording), &content);
    write_file(self, self->snap_dir, name, buf_slice(&content), 0);
    char *path = path_in(self->snap_dir, name);
    struct raft_snapshot snapshot;
    assert_int_equal(snap_read(self->env, path, &snapshot, NULL), OK);
    assert_int_equal(snapshot.index, number_of(expected, "index"));
    assert_int_equal(snapshot.term, number_of(expected, "term"));
    assert_int_equal(snapshot.data->size_bytes, number_of(expected, "data_bytes"));
    json_t *voters = json_object_get(json_object_get(expected, "conf_state"), "voters");
    assert_int_equal(snapshot.conf_state.voters.count, json_array_size(voters));
    for (size_t i = 0; i < json_array_size(voters); i++) {
        uint64_t id = strtoull(json_string_value(json_array_get(voters, i)), NULL, 16);
        assert_int_equal(snapshot.conf_state.voters.items[i], id);
    }
    assert_int_equal(env_unlink(self->env, path), OK);
    assert_int_equal(snap_save(self->env, self->snap_dir, &snapshot, NULL), OK);
    read_file(self, self->snap_dir, name, content.len + 1, &again);
    assert_true(slice_equal(buf_slice(&again), buf_slice(&content)));
    raft_snapshot_release(&snapshot);
    mem_free(path);
}

static void every_snap_is_read_and_written_as_recorded(void **state) {
    struct fixture *self = *state;
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "data-dirs/%s.decoded.json", bases[i]);
        json_t *root = load_json(self, name), *snap;
        const char *snap_name;
        json_object_foreach(json_object_get(root, "snap"), snap_name, snap) check_snap(self, bases[i], snap_name, snap);
        json_decref(root);
    }
}

/* ---- damage ---- */

/* The files of a recorded member, but for db, whole. */
struct member_files {
    struct {
        char path[96]; /* from the data directory */
        struct buf bytes;
        int64_t size_bytes;
    } files[8];
    size_t count;
};

static struct buf *add_file(struct member_files *self, const char *folder, const char *name, int64_t size_bytes) {
    CHECK(self->count < sizeof self->files / sizeof self->files[0]);
    snprintf(self->files[self->count].path, sizeof self->files[0].path, "member/%s/%s", folder, name);
    self->files[self->count].size_bytes = size_bytes;
    self->files[self->count].bytes = BUF_INIT;
    return &self->files[self->count++].bytes;
}

static void load_member(struct fixture *self, const char *base, struct member_files *files) {
    char name[64];
    snprintf(name, sizeof name, "data-dirs/%s.decoded.json", base);
    json_t *root = load_json(self, name), *ignored;
    const char *file;
    json_object_foreach(json_object_get(root, "wal"), file, ignored)
        read_segment(self, base, file, add_file(files, "wal", file, 64000000));
    json_object_foreach(json_object_get(root, "snap"), file, ignored) {
        char recording[160];
        snprintf(recording, sizeof recording, "data-dirs/%s/member/snap/%s", base, file);
        read_recording(self, recording, add_file(files, "snap", file, 0));
    }
    if (strcmp(base, "single-basic") == 0) add_file(files, "wal", "0.tmp", 64000000);
    json_decref(root);
}

static void release_member(struct member_files *files) {
    for (size_t i = 0; i < files->count; i++) buf_release(&files->files[i].bytes);
    files->count = 0;
}

/* Where the case's files lie: <dir>/case/member/... */
static void unpack(struct fixture *self, const struct member_files *files) {
    char *top = path_in(self->dir, "case");
    assert_int_equal(env_remove_all(self->env, top), OK);
    char *folder = path_in(top, "member/wal");
    assert_int_equal(env_mkdir_all(self->env, folder, 0700), OK);
    mem_free(folder);
    folder = path_in(top, "member/snap");
    assert_int_equal(env_mkdir_all(self->env, folder, 0700), OK);
    mem_free(folder);
    for (size_t i = 0; i < files->count; i++)
        write_file(self, top, files->files[i].path, buf_slice(&files->files[i].bytes), files->files[i].size_bytes);
    mem_free(top);
}

static void append_hex_bytes(struct buf *out, const char *text) {
    for (; *text != 0; text += 2) {
        char pair[3] = {text[0], text[1], 0};
        buf_append_byte(out, (uint8_t)strtoul(pair, NULL, 16));
    }
}

static void edit_in_place(struct fixture *self, const char *path, const char *op, json_t *edit) {
    struct env_file *file;
    int64_t offset = (int64_t)number_of(edit, "offset");
    assert_int_equal(env_open(self->env, path, ENV_WRITE, 0, &file), OK);
    CLEANUP_BUF struct buf bytes = BUF_INIT;
    if (strcmp(op, "truncate") == 0) {
        assert_int_equal(env_truncate(file, (int64_t)number_of(edit, "size")), OK);
    } else if (strcmp(op, "zero") == 0) {
        size_t count = number_of(edit, "bytes");
        memset(buf_extend(&bytes, count), 0, count);
    } else if (strcmp(op, "write") == 0) {
        append_hex_bytes(&bytes, string_of(edit, "hex"));
    } else if (strcmp(op, "flip") == 0) {
        size_t read_bytes;
        assert_int_equal(env_pread(file, buf_extend(&bytes, 1), 1, offset, &read_bytes), OK);
        bytes.data[0] ^= (uint8_t)(1u << number_of(edit, "bit"));
    } else {
        fail_msg("unknown edit %s", op);
    }
    assert_int_equal(env_pwrite(file, bytes.data, bytes.len, offset), OK);
    env_close(file);
}

static void copy(struct fixture *self, const char *dir, const char *from, const char *to) {
    CLEANUP_BUF struct buf bytes = BUF_INIT;
    read_file(self, dir, from, 64000000, &bytes);
    write_file(self, dir, to, buf_slice(&bytes), 0);
}

static void damage(struct fixture *self, json_t *edits) {
    char *top = path_in(self->dir, "case");
    json_t *edit;
    size_t i;
    json_array_foreach(edits, i, edit) {
        const char *op = string_of(edit, "op"), *name = string_of(edit, "file");
        char *path = path_in(top, name);
        if (strcmp(op, "create") == 0) {
            CLEANUP_BUF struct buf bytes = BUF_INIT;
            append_hex_bytes(&bytes, string_of(edit, "hex"));
            write_file(self, top, name, buf_slice(&bytes), 0);
        } else if (strcmp(op, "delete") == 0) {
            assert_int_equal(env_unlink(self->env, path), OK);
        } else if (strcmp(op, "rename") == 0) {
            char *to = path_in(top, string_of(edit, "to"));
            assert_int_equal(env_rename(self->env, path, to), OK);
            mem_free(to);
        } else if (strcmp(op, "copy") == 0) {
            copy(self, top, name, string_of(edit, "to"));
        } else {
            edit_in_place(self, path, op, edit);
        }
        mem_free(path);
    }
    mem_free(top);
}

/* ---- a start, as the server does it ---- */

struct outcome {
    char discovery[512]; /* error of the snapshot records */
    bool opened;
    bool has_metadata;
    uint64_t last_index;
    uint64_t snapshot_index;
};

static struct outcome start(struct fixture *self) {
    struct outcome outcome = {0};
    char *wal_dir = path_in(self->dir, "case/member/wal"), *snap_dir = path_in(self->dir, "case/member/snap");
    struct wal_options options = {.env = self->env, .dir = wal_dir};
    struct wal_snapshots recorded = {0};
    struct errmsg message = {0};
    assert_int_equal(snap_remove_temporary(self->env, snap_dir), OK);
    enum err error = wal_valid_snapshots(self->env, wal_dir, &recorded, &message);
    if (error != OK) {
        snprintf(outcome.discovery, sizeof outcome.discovery, "%s", message.text);
    } else {
        struct raft_snapshot snapshot = {0};
        struct wal *wal;
        struct wal_contents contents;
        error = snap_load_newest(self->env, snap_dir, &recorded, &snapshot);
        assert_true(error == OK || error == ERR_SNAP_NO_SNAPSHOT);
        error = wal_open_and_read(&options, snapshot.index, snapshot.term, &wal, &contents, &message);
        if (error == OK) {
            outcome.opened = true;
            outcome.snapshot_index = snapshot.index;
            outcome.has_metadata = contents.metadata.len > 0;
            outcome.last_index = snapshot.index + contents.entries.count;
            struct raft_hard_state hard_state = {contents.hard_state.term + 1, 1, contents.hard_state.commit};
            struct raft_entry entry = make_entry(hard_state.term, outcome.last_index + 1, 100);
            if (outcome.has_metadata) assert_int_equal(wal_save(wal, hard_state, &entry, 1, NULL), OK);
            raft_entry_release(&entry);
            wal_contents_release(&contents);
            assert_int_equal(wal_close(wal), OK);
        }
        raft_snapshot_release(&snapshot);
    }
    wal_snapshots_release(&recorded);
    mem_free(wal_dir);
    mem_free(snap_dir);
    return outcome;
}

/* ---- compared with what etcd did ---- */

/* Lines of other parts of the server. */
static bool is_ours(const char *message) {
    static const char *const others[] = {"discovery failed", "request stats", "failed to open database",
                                         "failed to recover v3 backend from snapshot",
                                         "failed to find [SNAPSHOT-INDEX].snap.db"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(message, others[i]) == 0) return false;
    return true;
}

static bool is_kept_info(const char *message) {
    return strcmp(message, "repairing") == 0 || strcmp(message, "repaired") == 0 ||
           strcmp(message, "repaired WAL") == 0;
}

static json_t *recorded_lines(json_t *lines) {
    json_t *kept = json_array(), *line;
    size_t i;
    json_array_foreach(lines, i, line) {
        const char *message = string_of(line, "msg");
        if (message != NULL && is_ours(message)) json_array_append(kept, line);
    }
    return kept;
}

static json_t *own_lines(struct fixture *self) {
    CLEANUP_BUF struct buf text = BUF_INIT;
    size_t dir_len = strlen(self->dir);
    for (size_t i = 0; i < self->lines.len; i++) {
        if (self->lines.len - i >= dir_len && memcmp(self->lines.data + i, self->dir, dir_len) == 0) {
            buf_append_cstr(&text, "$TMP");
            i += dir_len - 1;
        } else {
            buf_append_byte(&text, self->lines.data[i]);
        }
    }
    json_t *kept = json_array();
    char *at = (char *)(uintptr_t)buf_cstr(&text);
    for (char *line = strtok(at, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, 0, NULL);
        json_object_del(object, "ts");
        json_object_del(object, "caller");
        if (strcmp(string_of(object, "level"), "info") != 0 || is_kept_info(string_of(object, "msg")))
            json_array_append(kept, object);
        json_decref(object);
    }
    return kept;
}

static void assert_same_lines(struct fixture *self, const char *name, json_t *lines) {
    json_t *theirs = recorded_lines(lines), *ours = own_lines(self);
    if (!json_equal(theirs, ours)) {
        char *a = json_dumps(theirs, JSON_INDENT(1)), *b = json_dumps(ours, JSON_INDENT(1));
        fail_msg("%s: recorded %s\nours %s", name, a, b);
    }
    json_decref(theirs);
    json_decref(ours);
}

static const char *recorded_discovery_error(json_t *lines) {
    json_t *line;
    size_t i;
    json_array_foreach(lines, i, line) {
        const char *message = string_of(line, "msg");
        if (message != NULL && strcmp(message, "discovery failed") == 0) return string_of(line, "error");
    }
    return "";
}

/* The log itself was the reason that the real member did not start. */
static bool failed_by_log(json_t *lines) {
    json_t *line;
    size_t i;
    json_array_foreach(lines, i, line) {
        const char *message = string_of(line, "msg");
        if (message != NULL && strstr(message, "WAL") != NULL && strcmp(string_of(line, "level"), "fatal") == 0)
            return true;
    }
    return false;
}

static void assert_files(struct fixture *self, json_t *recorded) {
    char *top = path_in(self->dir, "case");
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(recorded, "files_gone"), i, item) assert_int_equal(
        size_of_file(self, top, json_string_value(item)) == -1 || strstr(json_string_value(item), "db.tmp") != NULL,
        true);
    json_array_foreach(json_object_get(recorded, "files_changed"), i, item) {
        const char *name = json_string_value(json_array_get(item, 0));
        if (strstr(name, ".broken") == NULL) continue;
        assert_int_equal(size_of_file(self, top, name), json_integer_value(json_array_get(item, 1)));
    }
    mem_free(top);
}

static void check_case(struct fixture *self, json_t *row, uint64_t undamaged_last_index) {
    const char *name = string_of(row, "name");
    json_t *recorded = json_object_get(row, "3.5"), *lines = json_object_get(recorded, "log");
    damage(self, json_object_get(row, "ops"));
    buf_clear(&self->lines);
    char *wal_dir = path_in(self->dir, "case/member/wal");
    bool is_log = wal_exists(self->env, wal_dir);
    mem_free(wal_dir);
    if (!is_log) return; /* a new member */
    struct outcome outcome = start(self);
    assert_same_lines(self, name, lines);
    assert_string_equal(outcome.discovery, recorded_discovery_error(lines));
    assert_files(self, recorded);
    bool fails = outcome.discovery[0] != 0 || failed_by_log(lines);
    if (outcome.opened == fails) fail_msg("%s: opened %d", name, outcome.opened);
    assert_true(outcome.last_index <= undamaged_last_index);
    if (!outcome.has_metadata) return;
    /* what was written behind the damage is there at the next start, and at the one after that */
    for (uint64_t i = 1; i <= 2; i++) {
        struct outcome again = start(self);
        assert_true(again.opened);
        assert_int_equal(again.last_index, outcome.last_index + i);
    }
}

static void damaged_logs_end_as_with_etcd(void **state) {
    struct fixture *self = *state;
    CLEANUP_BUF struct buf text = BUF_INIT;
    read_recording(self, "wal/cases.jsonl", &text);
    struct member_files files = {0};
    char base[32] = "";
    uint64_t last_index = 0;
    size_t count = 0;
    char *at = (char *)(uintptr_t)buf_cstr(&text);
    for (char *line = at, *end; *line != 0; line = end + 1) {
        end = strchr(line, '\n');
        *end = 0;
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        if (strcmp(base, string_of(row, "base")) != 0) {
            snprintf(base, sizeof base, "%s", string_of(row, "base"));
            release_member(&files);
            load_member(self, base, &files);
            unpack(self, &files);
            last_index = start(self).last_index;
        }
        unpack(self, &files);
        write_file(self, self->dir, "case/member/snap/db", SLICE_NONE, 65536);
        check_case(self, row, last_index);
        json_decref(row);
        count++;
    }
    release_member(&files);
    assert_in_range(count, 60, 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_record_is_read_and_written_as_recorded),
        TEST(every_snap_is_read_and_written_as_recorded),
        TEST(damaged_logs_end_as_with_etcd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
