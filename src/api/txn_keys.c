/* txn_keys.c - no key may be changed twice on any way through a transaction.
 *
 * A transaction of one request can nest to some 100,000 operations, and the loop must not stand still for them: so keys
 * put and ranges deleted are kept as sorted runs, few and each at least twice as long as the next, and of two sets the
 * smaller is looked up in the larger. (Hash maps would do for keys, if outsiders could not choose them.)
 */
#include "api/internal.h"
#include "base/vec.h"

#include <stdlib.h>

typedef Etcdserverpb__RequestOp request_op;

struct interval {
    struct slice begin, end; /* end empty: the key alone */
};

/* Ascending; none reaches into the next. */
struct run {
    struct interval *items;
    size_t count;
};

/* Keys, or deleted ranges. {0} is empty. */
struct key_set {
    VEC(struct run) runs; /* the longest first */
    size_t count;         /* of all */
};

/* What one branch, with the transactions nested in it, puts and deletes. */
struct touched {
    struct key_set puts;
    struct key_set deletes;
};

/* etcd compares the end as it is written: "\0", which to a delete means everything from its key on, is before every key
 * here, so that a put beside such a delete is let pass. */
static bool covers(const struct interval *interval, struct slice key) {
    if (interval->end.len == 0) return slice_equal(interval->begin, key);
    return slice_compare(key, interval->begin) >= 0 && slice_compare(key, interval->end) < 0;
}

/* ---- sets ---- */

static void key_set_release(struct key_set *self) {
    for (size_t i = 0; i < self->runs.count; i++) mem_free(self->runs.items[i].items);
    VEC_RELEASE(&self->runs);
    self->count = 0;
}

/* How many items begin before `key`, or at it. */
static size_t count_up_to(const struct run *run, struct slice key) {
    size_t low = 0, high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(run->items[middle].begin, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_key(const struct key_set *self, struct slice key) {
    for (size_t i = 0; i < self->runs.count; i++) {
        const struct run *run = &self->runs.items[i];
        size_t place = count_up_to(run, key);
        if (place > 0 && covers(&run->items[place - 1], key)) return true;
    }
    return false;
}

/* Whether one of the keys (points) lies in the interval. */
static bool has_key_inside(const struct key_set *keys, const struct interval *interval) {
    for (size_t i = 0; i < keys->runs.count; i++) {
        const struct run *run = &keys->runs.items[i];
        size_t place = count_up_to(run, interval->begin);
        if (place > 0 && covers(interval, run->items[place - 1].begin)) return true;
        if (place < run->count && covers(interval, run->items[place].begin)) return true;
    }
    return false;
}

/* Whether a key of one set is in the other. */
static bool meet(const struct key_set *keys, const struct key_set *others) {
    bool looks_up_keys = keys->count <= others->count;
    const struct key_set *smaller = looks_up_keys ? keys : others;
    for (size_t i = 0; i < smaller->runs.count; i++) {
        const struct run *run = &smaller->runs.items[i];
        for (size_t k = 0; k < run->count; k++)
            if (looks_up_keys ? has_key(others, run->items[k].begin) : has_key_inside(keys, &run->items[k]))
                return true;
    }
    return false;
}

/* The next in order of begin joins the run's last one if that reaches it. */
static void append(struct run *run, struct interval next) {
    struct interval *last = run->count > 0 ? &run->items[run->count - 1] : NULL;
    if (last == NULL || !covers(last, next.begin))
        run->items[run->count++] = next;
    else if (last->end.len == 0 || slice_compare(next.end, last->end) > 0)
        last->end = next.end;
}

/* Sorted items become a run. */
static void join(struct run *run) {
    size_t count = run->count;
    run->count = 0;
    for (size_t i = 0; i < count; i++) append(run, run->items[i]);
}

static struct run merge(const struct run *a, const struct run *b) {
    struct run merged = {mem_alloc((a->count + b->count) * sizeof *merged.items), 0};
    size_t i = 0, k = 0;
    while (i < a->count || k < b->count) {
        bool is_a = k == b->count || (i < a->count && slice_compare(a->items[i].begin, b->items[k].begin) <= 0);
        append(&merged, is_a ? a->items[i++] : b->items[k++]);
    }
    return merged;
}

/* Takes the run over. */
static void add_run(struct key_set *self, struct run run) {
    while (self->runs.count > 0 && self->runs.items[self->runs.count - 1].count < 2 * run.count) {
        struct run last = self->runs.items[--self->runs.count];
        struct run merged = merge(&last, &run);
        self->count -= last.count;
        mem_free(last.items);
        mem_free(run.items);
        run = merged;
    }
    self->count += run.count;
    if (run.count > 0)
        VEC_PUSH(&self->runs, run);
    else
        mem_free(run.items);
}

/* Leaves the other one empty. */
static void add_set(struct key_set *self, struct key_set *other) {
    for (size_t i = 0; i < other->runs.count; i++) add_run(self, other->runs.items[i]);
    VEC_RELEASE(&other->runs);
    other->count = 0;
}

/* Leaves out the keys that the other set has too. */
static void remove_keys(struct key_set *self, const struct key_set *others) {
    if (others->count == 0) return;
    struct key_set kept = {0};
    for (size_t i = 0; i < self->runs.count; i++) {
        struct run run = self->runs.items[i];
        size_t left = 0;
        for (size_t k = 0; k < run.count; k++)
            if (!has_key(others, run.items[k].begin)) run.items[left++] = run.items[k];
        run.count = left;
        add_run(&kept, run);
    }
    VEC_RELEASE(&self->runs);
    *self = kept;
}

/* ---- transactions ---- */

static int by_begin(const void *a, const void *b) {
    return slice_compare(((const struct interval *)a)->begin, ((const struct interval *)b)->begin);
}

/* The operations' own keys of one kind, sorted. */
static struct run own_keys(request_op *const *ops, size_t count, Etcdserverpb__RequestOp__RequestCase kind) {
    struct run run = {NULL, 0};
    size_t most = 0;
    for (size_t i = 0; i < count; i++) most += ops[i]->request_case == kind;
    if (most == 0) return run;
    run.items = mem_alloc(most * sizeof *run.items);
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case != kind) continue;
        struct interval own;
        if (kind == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            own = (struct interval){pb_slice(ops[i]->request_put->key), SLICE_NONE};
        else
            own = (struct interval){pb_slice(ops[i]->request_delete_range->key),
                                    pb_slice(ops[i]->request_delete_range->range_end)};
        if (own.end.len == 0 || slice_compare(own.begin, own.end) < 0) run.items[run.count++] = own;
    }
    qsort(run.items, run.count, sizeof *run.items, by_begin);
    return run;
}

static bool has_twice(const struct run *keys) {
    for (size_t i = 1; i < keys->count; i++)
        if (slice_equal(keys->items[i - 1].begin, keys->items[i].begin)) return true;
    return false;
}

static bool collect(request_op *const *ops, size_t count, struct touched *into);

/* Adds a branch's puts; false when one of them is put or deleted already. */
static bool add_puts(struct touched *into, struct key_set *puts) {
    if (meet(puts, &into->puts) || meet(puts, &into->deletes)) return false;
    add_set(&into->puts, puts);
    return true;
}

/* A key both branches of one transaction put is fine: only one of them runs. */
static bool collect_nested(const Etcdserverpb__TxnRequest *txn, struct touched *into) {
    struct touched success = {0}, failure = {0};
    bool is_good = collect(txn->success, txn->n_success, &success) && collect(txn->failure, txn->n_failure, &failure);
    if (is_good) remove_keys(&failure.puts, &success.puts);
    is_good = is_good && add_puts(into, &success.puts) && add_puts(into, &failure.puts);
    if (is_good) {
        add_set(&into->deletes, &success.deletes);
        add_set(&into->deletes, &failure.deletes);
    }
    key_set_release(&success.puts);
    key_set_release(&success.deletes);
    key_set_release(&failure.puts);
    key_set_release(&failure.deletes);
    return is_good;
}

/* Own deletes first, then nested transactions in their order, own puts last: what comes is held against what came. */
static bool collect(request_op *const *ops, size_t count, struct touched *into) {
    struct run deletes = own_keys(ops, count, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE);
    join(&deletes);
    add_run(&into->deletes, deletes);
    for (size_t i = 0; i < count; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN &&
            !collect_nested(ops[i]->request_txn, into))
            return false;
    struct run puts = own_keys(ops, count, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT);
    bool is_good = !has_twice(&puts);
    struct key_set own = {0};
    add_run(&own, puts);
    is_good = is_good && add_puts(into, &own);
    key_set_release(&own);
    return is_good;
}

enum err api__check_keys(request_op *const *ops, size_t count) {
    struct touched touched = {0};
    bool is_good = collect(ops, count, &touched);
    key_set_release(&touched.puts);
    key_set_release(&touched.deletes);
    return is_good ? OK : ERR_DUPLICATE_KEY;
}
