/* ranges.c - what a user may read and write: the permissions of all its roles, merged.
 *
 * The same answers as upstream's interval tree gives: a range is allowed when the permissions together cover it
 * without a gap; a range that ends before it begins, when its key is. */
#include "auth/internal.h"

#include <stdlib.h>

enum permission_type { READ, WRITE, READWRITE };

void auth__ranges_release(struct ranges *ranges) { VEC_RELEASE(&ranges->all); }

static bool is_open_ended(struct slice range_end) { return range_end.len == 1 && range_end.data[0] == 0; }

/* As ends: an empty one is greater than all. */
static int compare_ends(struct slice a, struct slice b) {
    if (a.len == 0 || b.len == 0) return (a.len == 0) - (b.len == 0);
    return slice_compare(a, b);
}

static struct range range_of(const struct permission *permission) {
    struct slice end = permission->range_end;
    if (end.len == 0)
        end = slice_make(permission->key.data, permission->key.len + 1); /* the key and a zero */
    else if (is_open_ended(end))
        end = SLICE_NONE;
    return (struct range){permission->key, end};
}

/* A permission that covers nothing may be in a database of an older etcd. */
static void collect(struct ranges *ranges, const struct permission *permission, int32_t type) {
    if (permission->type != type && permission->type != READWRITE) return;
    struct range range = range_of(permission);
    if (range.begin.len == 0 || compare_ends(range.begin, range.end) >= 0) return;
    VEC_PUSH(&ranges->all, range);
}

static int compare_begins(const void *a, const void *b) {
    return slice_compare(((const struct range *)a)->begin, ((const struct range *)b)->begin);
}

static void merge(struct ranges *ranges) {
    if (ranges->all.count < 2) return;
    struct range *all = ranges->all.items;
    qsort(all, ranges->all.count, sizeof *all, compare_begins);
    size_t last = 0;
    for (size_t i = 1; i < ranges->all.count; i++) {
        if (compare_ends(all[i].begin, all[last].end) > 0)
            all[++last] = all[i];
        else if (compare_ends(all[i].end, all[last].end) > 0)
            all[last].end = all[i].end;
    }
    ranges->all.count = last + 1;
}

static void refresh(struct auth_store *self, struct user *user) {
    user->readable.all.count = user->writable.all.count = 0;
    for (size_t i = 0; i < user->roles.count; i++) {
        const struct role *role = auth__role(self, slice_from_cstr(user->roles.items[i]));
        if (role == NULL) continue;
        for (size_t j = 0; j < role->permissions.count; j++) {
            collect(&user->readable, &role->permissions.items[j], READ);
            collect(&user->writable, &role->permissions.items[j], WRITE);
        }
    }
    merge(&user->readable);
    merge(&user->writable);
    user->ranges_version = self->ranges_version;
}

/* The last range that begins at or before the key; NULL when there is none. */
static const struct range *find(const struct ranges *ranges, struct slice key) {
    size_t low = 0, high = ranges->all.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(ranges->all.items[middle].begin, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : &ranges->all.items[low - 1];
}

bool auth__may(struct auth_store *self, struct user *user, struct slice key, struct slice range_end, bool writes) {
    if (user->ranges_version != self->ranges_version) refresh(self, user);
    const struct range *range = find(writes ? &user->writable : &user->readable, key);
    if (range == NULL || compare_ends(key, range->end) >= 0) return false;
    if (range_end.len == 0) return true;
    return compare_ends(is_open_ended(range_end) ? SLICE_NONE : range_end, range->end) <= 0;
}
