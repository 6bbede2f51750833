/* Scripts for rafts: commands in, what happened out, compared with what the file says. Without arguments the scripts of
 * traces/ are run; with arguments those files.
 *
 * The language is that of the data-driven tests of etcd's raft library, so that those can be run as well:
 *   blocks of `command arg key=value key=(v1,v2)`, input lines, `----`, the expected output, an empty line; # comments.
 * The rafts run with saves_first, in the rhythm of the library of 3.5: every `process-ready` takes one update, saves
 * it, applies it, and puts its messages in flight.
 *
 *   add-nodes N [voters=(..) learners=(..) index=I content=S]   campaign ID     propose ID DATA    tick-heartbeat ID
 *   propose-conf-change ID [v1=true] [transition=auto|implicit|explicit] + lines "v1 l2 r3 u4"
 *   process-ready ID...     deliver-msgs ID... [drop=(ID..)]    stabilize [ID..]
 *   compact ID INDEX        raft-log ID                         status ID       log-level debug|info|..|none
 * and for the pure functions below it
 *   simple | enter-joint [autoleave=true] | leave-joint + changes   (configuration, then progress)
 *   committed cfg=(..) [cfgj=(..)|zero] idx=(..)      vote cfg=(..) [cfgj=..] votes=(..)      (`_` = unknown)
 * Of a picture before the index of `committed` nothing is compared.
 */
#include "base/gotext.h"
#include "raft/core.h"

#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_NODES 16
#define QUIET 99 /* a log level beyond all: output is dropped, too */

struct arg {
    struct slice key;
    struct slice *values;
    size_t value_count; /* 0: a bare word */
};

struct command {
    struct slice name;
    struct arg args[16];
    size_t arg_count;
    struct slice input[16];
    size_t input_count;
};

struct node {
    struct raft *raft;
    struct log *log;
    struct buf state; /* all data applied */
};

struct world {
    struct arena arena; /* of the script */
    struct node nodes[MAX_NODES + 1];
    size_t count;
    VEC(struct raft_message) flying;
    struct buf out;
    int log_level;
    /* of the commands without rafts */
    struct raft_conf_state conf;
    VEC(struct raft__progress) peers;
    uint64_t last_index;
};

/* ---- the script ---- */

static uint64_t number(struct slice text) {
    uint64_t value = 0;
    for (size_t i = 0; i < text.len && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    return value;
}

static bool take_line(struct slice *rest, struct slice *ret_line) {
    if (rest->len == 0) return false;
    const uint8_t *end = memchr(rest->data, '\n', rest->len);
    size_t length = end == NULL ? rest->len : (size_t)(end - rest->data);
    *ret_line = slice_make(rest->data, length);
    *rest = slice_from(*rest, end == NULL ? length : length + 1);
    return true;
}

/* The next run of bytes that are none of `stops`; those before it are skipped if they are in `skips`. */
static struct slice take_word(struct slice *rest, const char *skips, const char *stops) {
    while (rest->len > 0 && strchr(skips, rest->data[0]) != NULL) *rest = slice_from(*rest, 1);
    size_t length = 0;
    while (length < rest->len && strchr(stops, rest->data[length]) == NULL) length++;
    struct slice word = slice_make(rest->data, length);
    *rest = slice_from(*rest, length);
    return word;
}

static struct arg take_arg(struct world *world, struct slice *line) {
    struct arg arg = {.key = take_word(line, " ", " =")};
    if (line->len == 0 || line->data[0] != '=') return arg;
    arg.values = ARENA_ARRAY(&world->arena, struct slice, line->len);
    *line = slice_from(*line, 1);
    if (line->len == 0 || line->data[0] != '(') {
        arg.values[arg.value_count++] = take_word(line, "", " ");
        return arg;
    }
    *line = slice_from(*line, 1);
    for (;;) {
        struct slice value = take_word(line, " ,", " ,)");
        if (value.len > 0) arg.values[arg.value_count++] = value;
        if (line->len == 0) return arg;
        if (line->data[0] != ')') continue;
        *line = slice_from(*line, 1);
        return arg;
    }
}

static struct command parse_command(struct world *world, struct slice line) {
    struct command command = {.name = take_word(&line, " ", " ")};
    while (line.len > 0) {
        struct arg arg = take_arg(world, &line);
        assert_true(command.arg_count < 16);
        if (arg.key.len > 0) command.args[command.arg_count++] = arg;
    }
    return command;
}

static const struct arg *find_arg(const struct command *command, const char *key) {
    for (size_t i = 0; i < command->arg_count; i++)
        if (slice_equal_cstr(command->args[i].key, key)) return &command->args[i];
    return NULL;
}

static bool has_value(const struct command *command, const char *key, const char *value) {
    const struct arg *arg = find_arg(command, key);
    return arg != NULL && arg->value_count == 1 && slice_equal_cstr(arg->values[0], value);
}

static raft_ids ids_of(const struct command *command, const char *key) {
    raft_ids ids = {0};
    const struct arg *arg = find_arg(command, key);
    for (size_t i = 0; arg != NULL && i < arg->value_count; i++) raft__ids_add(&ids, number(arg->values[i]));
    return ids;
}

/* The bare numbers of a command, in their order. */
static size_t bare_ids(const struct command *command, uint64_t ids[MAX_NODES]) {
    size_t count = 0;
    for (size_t i = 0; i < command->arg_count; i++) {
        struct slice key = command->args[i].key;
        if (command->args[i].value_count == 0 && key.data[0] >= '0' && key.data[0] <= '9') ids[count++] = number(key);
    }
    return count;
}

static struct raft *first_raft(struct world *world, const struct command *command) {
    uint64_t ids[MAX_NODES];
    assert_true(bare_ids(command, ids) > 0);
    assert_true(ids[0] >= 1 && ids[0] <= world->count);
    return world->nodes[ids[0]].raft;
}

/* ---- printing ---- */

static const char change_letters[] = {'v', 'r', 'u', 'l'};

static void print_entry(struct buf *out, const struct raft_entry *entry) {
    buf_printf(out, "%" PRIu64 "/%" PRIu64 " ", entry->term, entry->index);
    if (entry->type == RAFT_ENTRY_NORMAL) {
        buf_append_cstr(out, "EntryNormal ");
        go_append_quoted(out, entry->data);
    } else if (entry->type == RAFT_ENTRY_CONF_CHANGE) {
        struct raft_conf_change change;
        assert_int_equal(raft_conf_change_decode(entry->data, &change), OK);
        buf_printf(out, "EntryConfChange %c%" PRIu64, change_letters[change.type], change.node_id);
    } else {
        struct raft_conf_change_v2 change;
        assert_int_equal(raft_conf_change_v2_decode(entry->data, &change), OK);
        buf_append_cstr(out, "EntryConfChangeV2");
        for (size_t i = 0; i < change.change_count; i++)
            buf_printf(out, " %c%" PRIu64, change_letters[change.changes[i].type], change.changes[i].node_id);
        raft_conf_change_v2_release(&change);
    }
}

static void print_ids(struct buf *out, const char *name, const raft_ids *ids) {
    buf_printf(out, "%s:[", name);
    for (size_t i = 0; i < ids->count; i++) buf_printf(out, i == 0 ? "%" PRIu64 : " %" PRIu64, ids->items[i]);
    buf_append_byte(out, ']');
}

static void print_snapshot(struct buf *out, const char *separator, const struct raft_snapshot *snapshot) {
    const struct raft_conf_state *conf = &snapshot->conf_state;
    buf_printf(out, "Snapshot%s Index:%" PRIu64 " Term:%" PRIu64 " ConfState:", separator, snapshot->index,
               snapshot->term);
    print_ids(out, "Voters", &conf->voters);
    print_ids(out, " VotersOutgoing", &conf->voters_outgoing);
    print_ids(out, " Learners", &conf->learners);
    print_ids(out, " LearnersNext", &conf->learners_next);
    buf_printf(out, " AutoLeave:%s", conf->auto_leave ? "true" : "false");
}

static void print_flying(struct buf *out, const struct raft_message *message) {
    buf_printf(out, "%" PRIx64 "->%" PRIx64 " %s Term:%" PRIu64 " Log:%" PRIu64 "/%" PRIu64, message->from, message->to,
               raft_message_type_name(message->type), message->term, message->log_term, message->index);
    if (message->reject) buf_printf(out, " Rejected (Hint: %" PRIu64 ")", message->reject_hint);
    if (message->commit != 0) buf_printf(out, " Commit:%" PRIu64, message->commit);
    for (size_t i = 0; i < message->entry_count; i++) {
        buf_append_cstr(out, i == 0 ? " Entries:[" : ", ");
        print_entry(out, &message->entries[i]);
    }
    if (message->entry_count > 0) buf_append_byte(out, ']');
    if (message->snapshot != NULL) {
        buf_append_byte(out, ' ');
        print_snapshot(out, ":", message->snapshot);
    }
}

static void print_entries(struct buf *out, const char *title, const struct raft_entry *entries, size_t count) {
    if (count > 0) buf_printf(out, "%s:\n", title);
    for (size_t i = 0; i < count; i++) {
        print_entry(out, &entries[i]);
        buf_append_byte(out, '\n');
    }
}

static bool is_empty(const struct raft_update *update) {
    return !update->soft_changed && !update->hard_changed && update->entry_count == 0 && update->snapshot == NULL &&
           update->committed_count == 0 && update->message_count == 0 && update->read_state_count == 0;
}

static void print_update(struct buf *out, const struct raft_update *update) {
    if (is_empty(update)) {
        buf_append_cstr(out, "<empty Ready>");
        return;
    }
    buf_printf(out, "Ready MustSync=%s:\n", update->must_sync ? "true" : "false");
    if (update->soft_changed)
        buf_printf(out, "Lead:%" PRIu64 " State:%s\n", update->lead, raft_role_name(update->role));
    if (update->hard_changed) {
        buf_printf(out, "HardState Term:%" PRIu64, update->hard.term);
        if (update->hard.vote != 0) buf_printf(out, " Vote:%" PRIu64, update->hard.vote);
        buf_printf(out, " Commit:%" PRIu64 "\n", update->hard.commit);
    }
    print_entries(out, "Entries", update->entries, update->entry_count);
    if (update->snapshot != NULL) {
        print_snapshot(out, "", update->snapshot);
        buf_append_byte(out, '\n');
    }
    print_entries(out, "CommittedEntries", update->committed, update->committed_count);
    if (update->message_count > 0) buf_append_cstr(out, "Messages:\n");
    for (size_t i = 0; i < update->message_count; i++) {
        print_flying(out, &update->messages[i]);
        buf_append_byte(out, '\n');
    }
}

/* Puts two blanks before each line from `from` on. */
static void indent(struct buf *out, size_t from) {
    struct buf lines CLEANUP_BUF = BUF_INIT;
    buf_append(&lines, out->data + from, out->len - from);
    out->len = from;
    struct slice rest = buf_slice(&lines);
    for (struct slice line; take_line(&rest, &line);) {
        buf_append_cstr(out, "  ");
        buf_append_slice(out, line);
        buf_append_byte(out, '\n');
    }
}

/* The log's lines are part of the output: "INFO text". */
static void take_log_line(void *context, enum log_level level, struct slice line) {
    struct world *world = context;
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR", "PANIC", "FATAL"};
    if ((int)level < world->log_level) return;
    static const char mark[] = "\"msg\":\"";
    const uint8_t *at = memmem(line.data, line.len, mark, sizeof mark - 1);
    assert_non_null(at);
    buf_printf(&world->out, "%s ", names[level]);
    for (at += sizeof mark - 1; *at != '"'; at++) {
        if (*at == '\\') at++;
        buf_append_byte(&world->out, *at);
    }
    buf_append_byte(&world->out, '\n');
}

static int64_t no_time(void *context) { return 0; }

/* ---- commands with rafts ---- */

static void add_nodes(struct world *world, const struct command *command) {
    uint64_t numbers[MAX_NODES];
    assert_int_equal(bare_ids(command, numbers), 1);
    struct raft_conf_state conf = {.voters = ids_of(command, "voters"), .learners = ids_of(command, "learners")};
    struct raft_start start = {.conf_state = &conf};
    const struct arg *index = find_arg(command, "index");
    if (index != NULL) start.snapshot_index = number(index->values[0]);
    if (index != NULL) start.snapshot_term = 1;
    const struct arg *content = find_arg(command, "content");
    for (uint64_t i = 0; i < numbers[0]; i++) {
        assert_true(world->count < MAX_NODES);
        struct node *node = &world->nodes[++world->count];
        node->log = log_new(LOG_DEBUG_LEVEL, take_log_line, world, no_time, NULL);
        struct raft_config config = {
            .id = world->count,
            .election_ticks = 3,
            .heartbeat_ticks = 1,
            .max_message_bytes = UINT64_MAX,
            .max_applying_bytes = UINT64_MAX,
            .max_inflight = 4096,
            .saves_first = true,
            .log = node->log,
        };
        if (content != NULL) buf_append_slice(&node->state, content->values[0]);
        assert_int_equal(raft_new(&config, &start, &node->raft, NULL), OK);
    }
    raft_conf_state_release(&conf);
}

static void apply_entry(struct node *node, const struct raft_entry *entry) {
    if (entry->type == RAFT_ENTRY_NORMAL) {
        buf_append_slice(&node->state, entry->data);
    } else if (entry->type == RAFT_ENTRY_CONF_CHANGE) {
        struct raft_conf_change change;
        assert_int_equal(raft_conf_change_decode(entry->data, &change), OK);
        struct raft_event event = {.type = RAFT_CONF_CHANGE, .conf_change = &change};
        assert_int_equal(raft_step(node->raft, &event, NULL), OK);
    } else {
        struct raft_conf_change_v2 change;
        assert_int_equal(raft_conf_change_v2_decode(entry->data, &change), OK);
        struct raft_event event = {.type = RAFT_CONF_CHANGE_V2, .conf_change_v2 = &change};
        assert_int_equal(raft_step(node->raft, &event, NULL), OK);
        raft_conf_change_v2_release(&change);
    }
}

static void process_ready(struct world *world, uint64_t id) {
    struct node *node = &world->nodes[id];
    struct raft_update update;
    assert_int_equal(raft_step(node->raft, &(struct raft_event){.type = RAFT_NOTHING}, &update), OK);
    print_update(&world->out, &update);
    uint64_t applied = 0;
    if (update.snapshot != NULL) {
        applied = update.snapshot->index;
        buf_clear(&node->state);
        buf_append_slice(&node->state, shared_slice(update.snapshot->data));
    }
    /* The entries lie in the log and go nowhere while they are applied; messages fly after that. */
    for (size_t i = 0; i < update.message_count; i++) {
        struct raft_message copy;
        raft_message_copy(&copy, &update.messages[i]);
        VEC_PUSH(&world->flying, copy);
    }
    for (size_t i = 0; i < update.committed_count; i++) {
        applied = update.committed[i].index;
        struct raft_entry entry = raft_entry_copy(&update.committed[i]);
        apply_entry(node, &entry);
        raft_entry_release(&entry);
    }
    if (applied == 0) return;
    assert_int_equal(raft_step(node->raft, &(struct raft_event){.type = RAFT_APPLIED, .applied = applied}, NULL), OK);
    if (update.committed_count == 0) return;
    struct shared *data = shared_copy(buf_slice(&node->state));
    assert_int_equal(raft_set_snapshot(node->raft, applied, raft_conf_state(node->raft), data), OK);
    shared_unref(data);
}

static void process_ready_titled(struct world *world, uint64_t id) {
    buf_printf(&world->out, "> %" PRIu64 " handling Ready\n", id);
    size_t from = world->out.len;
    process_ready(world, id);
    indent(&world->out, from);
}

/* How many there were. Those sent meanwhile are not for now. */
static size_t deliver(struct world *world, uint64_t id, bool drop) {
    VEC(struct raft_message) mine = {0};
    size_t kept = 0;
    for (size_t i = 0; i < world->flying.count; i++) {
        if (world->flying.items[i].to == id)
            VEC_PUSH(&mine, world->flying.items[i]);
        else
            world->flying.items[kept++] = world->flying.items[i];
    }
    world->flying.count = kept;
    for (size_t i = 0; i < mine.count; i++) {
        struct raft_message *message = &mine.items[i];
        if (drop) buf_append_cstr(&world->out, "dropped: ");
        print_flying(&world->out, message);
        buf_append_byte(&world->out, '\n');
        struct raft_event event = {.type = RAFT_RECEIVE, .message = message};
        enum err error = drop ? OK : raft_step(world->nodes[id].raft, &event, NULL);
        if (error != OK) buf_printf(&world->out, "%s\n", err_text(error));
        raft_message_release(message);
    }
    size_t count = mine.count;
    VEC_RELEASE(&mine);
    return count;
}

static bool has_mail(const struct world *world, uint64_t id) {
    for (size_t i = 0; i < world->flying.count; i++)
        if (world->flying.items[i].to == id) return true;
    return false;
}

static void stabilize(struct world *world, const uint64_t *ids, size_t count) {
    for (bool busy = true; busy;) {
        busy = false;
        for (size_t i = 0; i < count; i++) {
            if (!raft_has_update(world->nodes[ids[i]].raft)) continue;
            busy = true;
            process_ready_titled(world, ids[i]);
        }
        for (size_t i = 0; i < count; i++) {
            if (!has_mail(world, ids[i])) continue;
            busy = true;
            buf_printf(&world->out, "> %" PRIu64 " receiving messages\n", ids[i]);
            size_t from = world->out.len;
            deliver(world, ids[i], false);
            indent(&world->out, from);
        }
    }
}

static void print_log(struct buf *out, const struct raft *raft) {
    if (raft_last_index(raft) < raft_first_index(raft))
        buf_printf(out, "log is empty: first index=%" PRIu64 ", last index=%" PRIu64 "\n", raft_first_index(raft),
                   raft_last_index(raft));
    for (uint64_t i = raft_first_index(raft); i <= raft_last_index(raft); i++) {
        print_entry(out, raft_entry_at(raft, i));
        buf_append_byte(out, '\n');
    }
}

static void step(struct world *world, struct raft *raft, struct raft_event event) {
    enum err error = raft_step(raft, &event, NULL);
    if (error != OK) buf_append_cstr(&world->out, err_text(error));
}

static void propose(struct world *world, struct raft *raft, enum raft_entry_type type, struct slice data) {
    struct raft_entry entry = {.type = type, .data = data};
    step(world, raft, (struct raft_event){.type = RAFT_PROPOSE, .propose = {.entries = &entry, .count = 1}});
}

/* "v1 l2 r3 u4" of all input lines, in the script's arena. */
static size_t parse_changes(struct world *world, const struct command *command,
                            struct raft_conf_change_single **ret_changes) {
    struct raft_conf_change_single *changes = ARENA_ARRAY(&world->arena, struct raft_conf_change_single, 32);
    size_t count = 0;
    for (size_t i = 0; i < command->input_count; i++) {
        struct slice line = command->input[i];
        for (struct slice word; (word = take_word(&line, " ", " ")).len > 0;) {
            const char *letter = memchr(change_letters, word.data[0], sizeof change_letters);
            assert_non_null(letter);
            assert_true(count < 32);
            changes[count++] = (struct raft_conf_change_single){(enum raft_conf_change_type)(letter - change_letters),
                                                                number(slice_from(word, 1))};
        }
    }
    *ret_changes = changes;
    return count;
}

static void propose_conf_change(struct world *world, const struct command *command) {
    struct raft_conf_change_single *changes;
    size_t count = parse_changes(world, command, &changes);
    struct buf bytes CLEANUP_BUF = BUF_INIT;
    if (has_value(command, "v1", "true")) {
        assert_int_equal(count, 1);
        struct raft_conf_change change = {.type = changes[0].type, .node_id = changes[0].node_id};
        raft_conf_change_encode(&change, &bytes);
        propose(world, first_raft(world, command), RAFT_ENTRY_CONF_CHANGE, buf_slice(&bytes));
        return;
    }
    struct raft_conf_change_v2 change = {.changes = changes, .change_count = count};
    if (has_value(command, "transition", "implicit")) change.transition = RAFT_TRANSITION_JOINT_IMPLICIT;
    if (has_value(command, "transition", "explicit")) change.transition = RAFT_TRANSITION_JOINT_EXPLICIT;
    raft_conf_change_v2_encode(&change, &bytes);
    propose(world, first_raft(world, command), RAFT_ENTRY_CONF_CHANGE_V2, buf_slice(&bytes));
}

static void set_log_level(struct world *world, struct slice name) {
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR", "PANIC", "FATAL"};
    world->log_level = QUIET;
    for (int i = 0; i < 6; i++)
        if (name.len == strlen(names[i]) && strncasecmp((const char *)name.data, names[i], name.len) == 0)
            world->log_level = i;
}

static void print_progress(struct buf *out, const struct raft__progress *peers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%" PRIu64 ": ", peers[i].id);
        raft__progress_append_text(&peers[i], out);
        buf_append_byte(out, '\n');
    }
}

static void deliver_all(struct world *world, const struct command *command, const uint64_t *ids, size_t count) {
    size_t delivered = 0;
    for (size_t i = 0; i < count; i++) delivered += deliver(world, ids[i], false);
    raft_ids dropped = ids_of(command, "drop");
    for (size_t i = 0; i < dropped.count; i++) delivered += deliver(world, dropped.items[i], true);
    mem_free(dropped.items);
    if (delivered == 0) buf_append_cstr(&world->out, "no messages\n");
}

/* ---- commands without rafts ---- */

struct knowledge {
    uint64_t ids[32];
    struct slice values[32];
    size_t count;
};

static const struct slice *known(const struct knowledge *self, uint64_t id) {
    for (size_t i = 0; i < self->count; i++)
        if (self->ids[i] == id && self->values[i].data[0] != '_') return &self->values[i];
    return NULL;
}

static bool known_index(const void *context, uint64_t id, uint64_t *ret_index) {
    const struct slice *value = known(context, id);
    if (value != NULL) *ret_index = number(*value);
    return value != NULL;
}

static enum raft__vote known_vote(const void *context, uint64_t id) {
    const struct slice *value = known(context, id);
    if (value == NULL) return RAFT__VOTE_UNKNOWN;
    return value->data[0] == 'y' ? RAFT__VOTE_YES : RAFT__VOTE_NO;
}

static void add_voters(struct knowledge *self, const struct arg *arg) {
    for (size_t i = 0; arg != NULL && i < arg->value_count; i++) {
        if (slice_equal_cstr(arg->values[i], "zero")) continue;
        bool is_new = true;
        for (size_t j = 0; j < self->count; j++) is_new &= self->ids[j] != number(arg->values[i]);
        if (is_new) self->ids[self->count++] = number(arg->values[i]);
    }
}

/* The harness of the language prints the voters in its own way when their number is wrong: not compared. */
#define MISMATCH "error: mismatched input"

static void ask_quorum(struct world *world, const struct command *command, bool is_vote) {
    struct knowledge knowledge = {.count = 0};
    add_voters(&knowledge, find_arg(command, "cfg"));
    add_voters(&knowledge, find_arg(command, "cfgj"));
    const struct arg *given = find_arg(command, is_vote ? "votes" : "idx");
    if ((given == NULL ? 0 : given->value_count) != knowledge.count) {
        buf_append_cstr(&world->out, MISMATCH);
        return;
    }
    for (size_t i = 0; i < knowledge.count; i++) knowledge.values[i] = given->values[i];
    struct raft_conf_state conf = {.voters = ids_of(command, "cfg")};
    if (!has_value(command, "cfgj", "zero")) conf.voters_outgoing = ids_of(command, "cfgj");
    if (is_vote) {
        static const char *const names[] = {"VotePending", "VoteLost", "VoteWon"};
        buf_append_cstr(&world->out, names[raft__joint_vote(&conf, known_vote, &knowledge)]);
    } else {
        uint64_t index = raft__joint_committed(&conf, known_index, &knowledge);
        if (index == UINT64_MAX)
            buf_append_cstr(&world->out, "∞");
        else
            buf_printf(&world->out, "%" PRIu64, index);
    }
    raft_conf_state_release(&conf);
}

/* Members that left lose their progress, new ones begin at the last index. */
static void reconcile(struct world *world) {
    const struct raft_conf_state *conf = &world->conf;
    size_t kept = 0;
    for (size_t i = 0; i < world->peers.count; i++) {
        if (raft__conf_has(conf, world->peers.items[i].id))
            world->peers.items[kept++] = world->peers.items[i];
        else
            raft__progress_release(&world->peers.items[i]);
    }
    world->peers.count = kept;
    for (uint64_t id = 1; id < 100; id++) {
        if (!raft__conf_has(conf, id)) continue;
        size_t at = 0;
        while (at < world->peers.count && world->peers.items[at].id < id) at++;
        if (at == world->peers.count || world->peers.items[at].id != id) {
            VEC_RESERVE(&world->peers, 1);
            memmove(world->peers.items + at + 1, world->peers.items + at,
                    (world->peers.count++ - at) * sizeof *world->peers.items);
            raft__progress_init(&world->peers.items[at], id, world->last_index, 10);
        }
        world->peers.items[at].is_learner = raft__ids_have(&conf->learners, id);
    }
}

static void change_conf(struct world *world, const struct command *command) {
    struct raft_conf_change_single *changes;
    size_t count = parse_changes(world, command, &changes);
    struct raft_conf_state next;
    const char *problem;
    if (slice_equal_cstr(command->name, "simple"))
        problem = raft__conf_simple(&world->conf, changes, count, &next);
    else if (slice_equal_cstr(command->name, "enter-joint"))
        problem = raft__conf_enter_joint(&world->conf, has_value(command, "autoleave", "true"), changes, count, &next);
    else
        problem = count > 0 ? "this command takes no input" : raft__conf_leave_joint(&world->conf, &next);
    if (problem != NULL) {
        buf_append_cstr(&world->out, problem);
    } else {
        raft_conf_state_release(&world->conf);
        world->conf = next;
        raft__conf_append_text(&world->conf, &world->out);
        buf_append_byte(&world->out, '\n');
        reconcile(world);
        print_progress(&world->out, world->peers.items, world->peers.count);
    }
    world->last_index++;
}

/* ---- running ---- */

static bool run_pure(struct world *world, const struct command *command) {
    struct slice name = command->name;
    if (slice_equal_cstr(name, "committed") || slice_equal_cstr(name, "vote"))
        ask_quorum(world, command, slice_equal_cstr(name, "vote"));
    else if (slice_equal_cstr(name, "simple") || slice_equal_cstr(name, "enter-joint") ||
             slice_equal_cstr(name, "leave-joint"))
        change_conf(world, command);
    else
        return false;
    return true;
}

static void run(struct world *world, const struct command *command) {
    if (run_pure(world, command)) return;
    struct slice name = command->name;
    uint64_t ids[MAX_NODES];
    size_t count = bare_ids(command, ids);
    if (slice_equal_cstr(name, "add-nodes")) {
        add_nodes(world, command);
    } else if (slice_equal_cstr(name, "log-level")) {
        set_log_level(world, command->args[0].key);
    } else if (slice_equal_cstr(name, "campaign")) {
        step(world, first_raft(world, command), (struct raft_event){.type = RAFT_CAMPAIGN});
    } else if (slice_equal_cstr(name, "tick-heartbeat")) {
        step(world, first_raft(world, command), (struct raft_event){.type = RAFT_TICK});
    } else if (slice_equal_cstr(name, "propose")) {
        propose(world, first_raft(world, command), RAFT_ENTRY_NORMAL, command->args[1].key);
    } else if (slice_equal_cstr(name, "propose-conf-change")) {
        propose_conf_change(world, command);
    } else if (slice_equal_cstr(name, "process-ready") && count == 1) {
        process_ready(world, ids[0]);
    } else if (slice_equal_cstr(name, "process-ready")) {
        for (size_t i = 0; i < count; i++) process_ready_titled(world, ids[i]);
    } else if (slice_equal_cstr(name, "deliver-msgs")) {
        deliver_all(world, command, ids, count);
    } else if (slice_equal_cstr(name, "stabilize")) {
        for (uint64_t id = 1; count < world->count && id <= world->count && command->arg_count == 0; id++)
            ids[count++] = id;
        stabilize(world, ids, count);
    } else if (slice_equal_cstr(name, "compact")) {
        assert_int_equal(raft_compact(first_raft(world, command), ids[1]), OK);
        print_log(&world->out, first_raft(world, command));
    } else if (slice_equal_cstr(name, "raft-log")) {
        print_log(&world->out, first_raft(world, command));
    } else if (slice_equal_cstr(name, "status")) {
        const struct raft *raft = first_raft(world, command);
        print_progress(&world->out, raft->peers.items, raft->peers.count);
    } else if (!slice_equal_cstr(name, "_breakpoint")) {
        buf_append_cstr(&world->out, "unknown command");
    }
}

static void finish_output(struct world *world) {
    struct buf *out = &world->out;
    if (world->log_level == QUIET && out->len > 0) {
        buf_clear(out);
        buf_append_cstr(out, "ok (quiet)");
    }
    if (out->len == 0) buf_append_cstr(out, "ok");
    if (out->data[out->len - 1] != '\n') buf_append_byte(out, '\n');
}

static struct slice last_line(struct slice text) {
    struct slice line = SLICE_NONE;
    for (struct slice rest = text; take_line(&rest, &line);) continue;
    return line;
}

static bool is_as_expected(struct world *world, const struct command *command, struct slice expected) {
    if (!slice_equal_cstr(command->name, "committed") && !slice_equal_cstr(command->name, "vote"))
        return slice_equal(buf_slice(&world->out), expected);
    struct slice ours = last_line(buf_slice(&world->out));
    struct slice theirs = last_line(expected);
    if (slice_starts_with(ours, SLICE_LITERAL(MISMATCH))) return slice_starts_with(theirs, ours);
    /* the picture of nobody has no line end */
    return theirs.len >= ours.len && slice_equal(slice_from(theirs, theirs.len - ours.len), ours);
}

static void read_input(struct command *command, struct slice *rest) {
    for (struct slice line; take_line(rest, &line) && !slice_equal_cstr(line, "----");) {
        assert_true(command->input_count < 16);
        command->input[command->input_count++] = line;
    }
}

static struct slice read_expected(struct slice *rest) {
    struct slice all = *rest;
    struct slice line;
    struct slice before = *rest;
    while (take_line(rest, &line) && line.len > 0) before = *rest;
    return slice_make(all.data, all.len - before.len);
}

static int run_script(struct world *world, const char *path, struct slice script) {
    int differences = 0;
    for (struct slice line; take_line(&script, &line);) {
        if (line.len == 0 || line.data[0] == '#') continue;
        struct command command = parse_command(world, line);
        read_input(&command, &script);
        struct slice expected = read_expected(&script);
        buf_clear(&world->out);
        run(world, &command);
        finish_output(world);
        if (is_as_expected(world, &command, expected)) continue;
        differences++;
        fprintf(stderr, "%s: %.*s\n--- expected\n%.*s--- got\n%s\n", path, (int)line.len, (const char *)line.data,
                (int)expected.len, (const char *)expected.data, buf_cstr(&world->out));
    }
    return differences;
}

static void release_world(struct world *world) {
    for (size_t id = 1; id <= world->count; id++) {
        raft_free(world->nodes[id].raft);
        log_free(world->nodes[id].log);
        buf_release(&world->nodes[id].state);
    }
    for (size_t i = 0; i < world->flying.count; i++) raft_message_release(&world->flying.items[i]);
    VEC_RELEASE(&world->flying);
    for (size_t i = 0; i < world->peers.count; i++) raft__progress_release(&world->peers.items[i]);
    VEC_RELEASE(&world->peers);
    raft_conf_state_release(&world->conf);
    buf_release(&world->out);
    arena_release(&world->arena);
}

/* How many blocks differ. */
static int run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    struct buf script CLEANUP_BUF = BUF_INIT;
    for (int c; (c = fgetc(file)) != EOF;) buf_append_byte(&script, (uint8_t)c);
    fclose(file);
    struct world world = {.log_level = LOG_DEBUG_LEVEL};
    arena_init(&world.arena, 0);
    int differences = run_script(&world, path, buf_slice(&script));
    release_world(&world);
    return differences;
}

static void traces_replay(void **state) {
    const char *folder = TEST_SOURCE_DIR "/unit/raft/traces";
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    int files = 0;
    int differences = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        differences += run_file(path);
        files++;
    }
    closedir(directory);
    assert_true(files > 0);
    assert_int_equal(differences, 0);
}

int main(int argc, char **argv) {
    int differences = 0;
    for (int i = 1; i < argc; i++) differences += run_file(argv[i]);
    if (argc > 1) return differences != 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(traces_replay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
