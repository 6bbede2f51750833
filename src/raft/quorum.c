#include "raft/core.h"

static size_t place_of(const raft_ids *ids, uint64_t id) {
    size_t low = 0;
    size_t high = ids->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ids->items[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool raft__ids_have(const raft_ids *ids, uint64_t id) {
    size_t at = place_of(ids, id);
    return at < ids->count && ids->items[at] == id;
}

bool raft__ids_add(raft_ids *ids, uint64_t id) {
    size_t at = place_of(ids, id);
    if (at < ids->count && ids->items[at] == id) return false;
    VEC_RESERVE(ids, 1);
    memmove(ids->items + at + 1, ids->items + at, (ids->count - at) * sizeof *ids->items);
    ids->items[at] = id;
    ids->count++;
    return true;
}

bool raft__ids_remove(raft_ids *ids, uint64_t id) {
    size_t at = place_of(ids, id);
    if (at >= ids->count || ids->items[at] != id) return false;
    ids->count--;
    memmove(ids->items + at, ids->items + at + 1, (ids->count - at) * sizeof *ids->items);
    return true;
}

void raft__ids_copy(raft_ids *ids, const raft_ids *from) {
    *ids = (raft_ids){0};
    for (size_t i = 0; i < from->count; i++) raft__ids_add(ids, from->items[i]);
}

/* Most clusters have up to nine voters; more is legal. */
#define FEW_VOTERS 16

static uint64_t majority_committed(const raft_ids *voters, raft__index_of index_of, const void *context) {
    size_t count = voters->count;
    if (count == 0) return UINT64_MAX;
    uint64_t few[FEW_VOTERS];
    uint64_t *sorted = count <= FEW_VOTERS ? few : NEW_ARRAY(uint64_t, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t index = 0;
        if (!index_of(context, voters->items[i], &index)) index = 0;
        size_t at = i;
        for (; at > 0 && sorted[at - 1] > index; at--) sorted[at] = sorted[at - 1];
        sorted[at] = index;
    }
    /* A majority has at least what the ((n - 1) / 2)-th smallest has. */
    uint64_t committed = sorted[(count - 1) / 2];
    if (sorted != few) mem_free(sorted);
    return committed;
}

static enum raft__vote_result majority_vote(const raft_ids *voters, raft__vote_of vote_of, const void *context) {
    if (voters->count == 0) return RAFT__VOTE_WON;
    size_t yes = 0;
    size_t unknown = 0;
    for (size_t i = 0; i < voters->count; i++) {
        enum raft__vote vote = vote_of(context, voters->items[i]);
        yes += vote == RAFT__VOTE_YES;
        unknown += vote == RAFT__VOTE_UNKNOWN;
    }
    size_t quorum = voters->count / 2 + 1;
    if (yes >= quorum) return RAFT__VOTE_WON;
    return yes + unknown >= quorum ? RAFT__VOTE_PENDING : RAFT__VOTE_LOST;
}

uint64_t raft__joint_committed(const struct raft_conf_state *conf, raft__index_of index_of, const void *context) {
    uint64_t incoming = majority_committed(&conf->voters, index_of, context);
    uint64_t outgoing = majority_committed(&conf->voters_outgoing, index_of, context);
    return incoming < outgoing ? incoming : outgoing;
}

enum raft__vote_result raft__joint_vote(const struct raft_conf_state *conf, raft__vote_of vote_of,
                                        const void *context) {
    enum raft__vote_result incoming = majority_vote(&conf->voters, vote_of, context);
    enum raft__vote_result outgoing = majority_vote(&conf->voters_outgoing, vote_of, context);
    if (incoming == RAFT__VOTE_LOST || outgoing == RAFT__VOTE_LOST) return RAFT__VOTE_LOST;
    if (incoming == RAFT__VOTE_WON && outgoing == RAFT__VOTE_WON) return RAFT__VOTE_WON;
    return RAFT__VOTE_PENDING;
}
