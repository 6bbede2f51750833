/* watch_set.c - which watchers want a key.
 *
 * Watchers of the same key or range form a group. Groups of single keys are in a hash map. Groups of ranges are in a
 * treap ordered by (begin, end) whose nodes know the greatest end below them: the ranges over a key are found in
 * O(log n + found), but for unlucky nestings.
 */
#include "base/check.h"
#include "mvcc/watch_private.h"

struct watch_group {
    struct index_range range; /* points into `text` */
    struct buf text;
    struct list watchers;
    /* treap */
    struct watch_group *left, *right;
    uint64_t priority;
    const struct watch_group *furthest; /* below or at this: the one that ends last */
};

void watch_set_init(struct watch_set *self, uint64_t seed) {
    *self = (struct watch_set){.priority_state = seed | 1};
    map_bytes_init(&self->singles, seed);
}

void watch_set_release(struct watch_set *self) {
    CHECK(self->count == 0 && self->root == NULL && self->singles.count == 0);
    map_bytes_release(&self->singles);
}

/* Orders ends; an open one is after all others. */
static int compare_ends(const struct index_range *a, const struct index_range *b) {
    if (a->is_open || b->is_open) return (int)a->is_open - (int)b->is_open;
    return slice_compare(a->end, b->end);
}

static int compare_ranges(const struct index_range *a, const struct index_range *b) {
    int order = slice_compare(a->begin, b->begin);
    return order != 0 ? order : compare_ends(a, b);
}

static void update(struct watch_group *node) {
    node->furthest = node;
    if (node->left != NULL && compare_ends(&node->left->furthest->range, &node->furthest->range) > 0)
        node->furthest = node->left->furthest;
    if (node->right != NULL && compare_ends(&node->right->furthest->range, &node->furthest->range) > 0)
        node->furthest = node->right->furthest;
}

static struct watch_group *rotate_right(struct watch_group *node) {
    struct watch_group *up = node->left;
    node->left = up->right;
    up->right = node;
    update(node);
    update(up);
    return up;
}

static struct watch_group *rotate_left(struct watch_group *node) {
    struct watch_group *up = node->right;
    node->right = up->left;
    up->left = node;
    update(node);
    update(up);
    return up;
}

static struct watch_group *insert(struct watch_group *node, struct watch_group *added) {
    if (node == NULL) return added;
    if (compare_ranges(&added->range, &node->range) < 0) {
        node->left = insert(node->left, added);
        if (node->left->priority > node->priority) return rotate_right(node);
    } else {
        node->right = insert(node->right, added);
        if (node->right->priority > node->priority) return rotate_left(node);
    }
    update(node);
    return node;
}

static struct watch_group *merge(struct watch_group *left, struct watch_group *right) {
    if (left == NULL) return right;
    if (right == NULL) return left;
    if (left->priority > right->priority) {
        left->right = merge(left->right, right);
        update(left);
        return left;
    }
    right->left = merge(left, right->left);
    update(right);
    return right;
}

static struct watch_group *take_out(struct watch_group *node, const struct watch_group *gone) {
    CHECK(node != NULL);
    if (node == gone) return merge(node->left, node->right);
    if (compare_ranges(&gone->range, &node->range) < 0)
        node->left = take_out(node->left, gone);
    else
        node->right = take_out(node->right, gone);
    update(node);
    return node;
}

static struct watch_group *find_range(struct watch_group *node, const struct index_range *range) {
    while (node != NULL) {
        int order = compare_ranges(range, &node->range);
        if (order == 0) return node;
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

static uint64_t next_priority(struct watch_set *self) {
    self->priority_state ^= self->priority_state << 13;
    self->priority_state ^= self->priority_state >> 7;
    self->priority_state ^= self->priority_state << 17;
    return self->priority_state;
}

static struct watch_group *group_new(struct watch_set *self, const struct index_range *range) {
    struct watch_group *group = NEW(struct watch_group);
    list_init(&group->watchers);
    size_t begin_length = range->begin.len, end_length = range->is_single || range->is_open ? 0 : range->end.len;
    buf_reserve(&group->text, begin_length + end_length + 1);
    buf_append_slice(&group->text, range->begin);
    buf_append(&group->text, range->end.data, end_length);
    group->range = *range;
    group->range.begin = slice_make(group->text.data, begin_length);
    group->range.end = slice_make(group->text.data + begin_length, end_length);
    if (range->is_single) {
        map_bytes_put(&self->singles, group->range.begin, group);
    } else {
        group->priority = next_priority(self);
        update(group);
        self->root = insert(self->root, group);
    }
    return group;
}

void watch_set_add(struct watch_set *self, struct watcher *watcher) {
    CHECK(watcher->set == NULL);
    struct watch_group *group = watcher->range.is_single ? map_bytes_get(&self->singles, watcher->range.begin)
                                                         : find_range(self->root, &watcher->range);
    if (group == NULL) group = group_new(self, &watcher->range);
    list_push_back(&group->watchers, &watcher->set_link);
    watcher->group = group;
    watcher->set = self;
    self->count++;
}

void watch_set_remove(struct watch_set *self, struct watcher *watcher) {
    CHECK(watcher->set == self);
    struct watch_group *group = watcher->group;
    list_remove(&watcher->set_link);
    watcher->set = NULL;
    watcher->group = NULL;
    self->count--;
    if (!list_is_empty(&group->watchers)) return;
    if (group->range.is_single)
        map_bytes_remove(&self->singles, group->range.begin);
    else
        self->root = take_out(self->root, group);
    buf_release(&group->text);
    mem_free(group);
}

struct visit {
    void (*call)(void *context, struct watcher *watcher);
    void *context;
};

static void visit_group(const struct watch_group *group, const struct visit *visit) {
    LIST_FOREACH (it, (struct list *)(uintptr_t)&group->watchers) {
        visit->call(visit->context, CONTAINER_OF(it, struct watcher, set_link));
    }
}

static bool ends_after(const struct index_range *range, struct slice key) {
    return range->is_open || slice_compare(range->end, key) > 0;
}

static void stab(const struct watch_group *node, struct slice key, const struct visit *visit) {
    while (node != NULL && ends_after(&node->furthest->range, key)) {
        stab(node->left, key, visit);
        if (slice_compare(node->range.begin, key) > 0) return;
        if (ends_after(&node->range, key)) visit_group(node, visit);
        node = node->right;
    }
}

void watch_set_find(const struct watch_set *self, struct slice key,
                    void (*call)(void *context, struct watcher *watcher), void *context) {
    struct visit visit = {call, context};
    const struct watch_group *group = map_bytes_get(&self->singles, key);
    if (group != NULL) visit_group(group, &visit);
    stab(self->root, key, &visit);
}
