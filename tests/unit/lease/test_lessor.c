#include "lease/lessor.h"

#include "base/mem.h"

#include "../backend/own_backend.h"

#define S INT64_C(1000000000)

struct fixture {
    struct own_backend own;
    struct lessor *lessor;
};

static void restart(struct fixture *self, bool checkpoints, bool persisted) {
    struct lessor_config config = {.min_ttl_s = 2, .checkpoints = checkpoints, .checkpoints_persisted = persisted};
    if (self->lessor != NULL) {
        lessor_free(self->lessor);
        own_backend_reopen(&self->own);
    }
    self->lessor = lessor_new(&config);
    struct errmsg message = {{0}};
    assert_int_equal(lessor_restore(self->lessor, self->own.backend, &message), OK);
}

static int setup(void **state) {
    struct fixture *self = NEW(struct fixture);
    own_backend_init(&self->own);
    restart(self, false, false);
    *state = self;
    return 0;
}

static int teardown(void **state) {
    struct fixture *self = *state;
    lessor_free(self->lessor);
    own_backend_release(&self->own);
    mem_free(self);
    return 0;
}

static int64_t grant(struct lessor *lessor, int64_t id, int64_t ttl_s, int64_t now_ns) {
    int64_t granted = 0;
    assert_int_equal(lessor_grant(lessor, id, ttl_s, now_ns, &granted), OK);
    return granted;
}

static struct slice text(const char *literal) { return slice_from_cstr(literal); }

static void grants_follow_the_rules(void **state) {
    struct lessor *lessor = ((struct fixture *)*state)->lessor;
    int64_t ttl;
    assert_int_equal(lessor_grant(lessor, 0, 10, 0, &ttl), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lessor_grant(lessor, 1, LESSOR_MAX_TTL_S + 1, 0, &ttl), ERR_LEASE_TTL_TOO_LARGE);
    assert_int_equal(grant(lessor, 1, 10, 0), 10);
    assert_int_equal(lessor_grant(lessor, 1, 10, 0, &ttl), ERR_LEASE_EXISTS);
    assert_int_equal(grant(lessor, 2, 1, 0), 2);
    assert_int_equal(grant(lessor, 3, 0, 0), 2);
    assert_int_equal(grant(lessor, 4, -5, 0), 2);
    assert_int_equal(grant(lessor, -7, LESSOR_MAX_TTL_S, 0), LESSOR_MAX_TTL_S);
    assert_int_equal(lessor_count(lessor), 5);
    assert_int_equal(lessor_min_ttl_s(1000), 2);
    assert_int_equal(lessor_min_ttl_s(2000), 3);
    assert_int_equal(lessor_min_ttl_s(5000), 8);
}

static void the_bucket_has_the_bytes_of_a_go_member(void **state) {
    struct fixture *self = *state;
    grant(self->lessor, 0x694d0102, 60, 0);
    grant(self->lessor, -1, 60, 0);
    struct slice value;
    const uint8_t key[] = {0, 0, 0, 0, 0x69, 0x4d, 1, 2};
    const uint8_t bytes[] = {0x08, 0x82, 0x82, 0xb4, 0xca, 0x06, 0x10, 0x3c};
    assert_int_equal(backend_get(self->own.backend, BACKEND_LEASE, slice_make(key, 8), &value), OK);
    assert_true(slice_equal(value, slice_make(bytes, sizeof bytes)));
    const uint8_t minus_one[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(backend_get(self->own.backend, BACKEND_LEASE, slice_make(minus_one, 8), &value), OK);
    assert_int_equal(value.len, 13);
    struct lease_keys keys;
    assert_int_equal(lessor_revoke(self->lessor, -1, &keys), OK);
    lease_keys_release(&keys);
    assert_int_equal(backend_get(self->own.backend, BACKEND_LEASE, slice_make(minus_one, 8), &value), OK);
    assert_null(value.data);
}

static void leases_come_back_from_the_bucket_without_keys(void **state) {
    struct fixture *self = *state;
    grant(self->lessor, 5, 100, 0);
    grant(self->lessor, 6, 200, 0);
    assert_int_equal(lessor_attach(self->lessor, 5, text("k")), OK);
    restart(self, false, false);
    struct lease_info info;
    assert_true(lessor_lookup(self->lessor, 5, &info));
    assert_int_equal(info.ttl_s, 100);
    assert_int_equal(info.key_count, 0);
    assert_int_equal(info.expiry_ns, INT64_MAX);
    assert_int_equal(lessor_lease_of(self->lessor, text("k")), 0);
    assert_int_equal(lessor_count(self->lessor), 2);
}

static void a_key_belongs_to_its_last_lease_only(void **state) {
    struct lessor *lessor = ((struct fixture *)*state)->lessor;
    grant(lessor, 1, 10, 0);
    grant(lessor, 2, 10, 0);
    struct lease_info info;
    lessor_detach(lessor, text("unknown"));
    assert_int_equal(lessor_attach(lessor, 1, text("a")), OK);
    assert_int_equal(lessor_attach(lessor, 1, text("a")), OK);
    assert_int_equal(lessor_attach(lessor, 1, text("b")), OK);
    assert_int_equal(lessor_attach(lessor, 1, text("")), OK);
    assert_int_equal(lessor_attach(lessor, 2, text("a")), OK);
    assert_int_equal(lessor_lease_of(lessor, text("a")), 2);
    assert_true(lessor_lookup(lessor, 1, &info));
    assert_int_equal(info.key_count, 2);
    assert_int_equal(lessor_attach(lessor, 0, text("b")), OK);
    assert_int_equal(lessor_lease_of(lessor, text("b")), 0);
    assert_int_equal(lessor_attach(lessor, 99, text("a")), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lessor_lease_of(lessor, text("a")), 0);
    assert_true(lessor_lookup(lessor, 2, &info));
    assert_int_equal(info.key_count, 0);
    struct slice keys[1];
    lessor_keys(lessor, 1, keys);
    assert_int_equal(keys[0].len, 0);
}

static void revoke_gives_the_keys_in_order(void **state) {
    struct lessor *lessor = ((struct fixture *)*state)->lessor;
    grant(lessor, 1, 10, 0);
    grant(lessor, 2, 10, 0);
    const char *names[] = {"b", "a", "ab", "\xff", "B", "aa"};
    const char *sorted[] = {"B", "a", "aa", "ab", "b", "\xff"};
    for (size_t i = 0; i < 6; i++) assert_int_equal(lessor_attach(lessor, 1, text(names[i])), OK);
    assert_int_equal(lessor_attach(lessor, 2, text("other")), OK);
    struct lease_keys keys;
    assert_int_equal(lessor_revoke(lessor, 1, &keys), OK);
    assert_int_equal(keys.count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_true(slice_equal_cstr(keys.keys[i], sorted[i]));
        assert_int_equal(lessor_lease_of(lessor, keys.keys[i]), 0);
        lessor_detach(lessor, keys.keys[i]); /* as the deletion of the key does */
    }
    lease_keys_release(&keys);
    assert_int_equal(lessor_revoke(lessor, 1, &keys), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lessor_lease_of(lessor, text("other")), 2);
    assert_false(lessor_exists(lessor, 1));
}

static void only_the_primary_lets_leases_run_out(void **state) {
    struct lessor *lessor = ((struct fixture *)*state)->lessor;
    int64_t ids[4];
    int64_t ttl;
    bool clear;
    grant(lessor, 1, 10, 0);
    assert_int_equal(lessor_expired(lessor, 1000 * S, ids, 4), 0);
    assert_int_equal(lessor_next_expiry_ns(lessor), INT64_MAX);
    assert_int_equal(lessor_renew(lessor, 1, 0, &ttl, &clear), ERR_NOT_PRIMARY);
    lessor_promote(lessor, 100 * S, S);
    assert_true(lessor_is_primary(lessor));
    struct lease_info info;
    assert_true(lessor_lookup(lessor, 1, &info));
    assert_int_equal(info.expiry_ns, 111 * S);
    grant(lessor, 2, 5, 100 * S);
    assert_int_equal(lessor_next_expiry_ns(lessor), 105 * S);
    assert_int_equal(lessor_expired(lessor, 105 * S - 1, ids, 4), 0);
    assert_int_equal(lessor_expired(lessor, 105 * S, ids, 4), 1);
    assert_int_equal(ids[0], 2);
    assert_int_equal(lessor_renew(lessor, 2, 106 * S, &ttl, &clear), ERR_LEASE_NOT_FOUND);
    /* nobody revoked it: again after three seconds */
    assert_int_equal(lessor_expired(lessor, 108 * S - 1, ids, 4), 0);
    assert_int_equal(lessor_expired(lessor, 108 * S, ids, 4), 1);
    assert_int_equal(lessor_renew(lessor, 1, 110 * S, &ttl, &clear), OK);
    assert_int_equal(ttl, 10);
    assert_false(clear);
    assert_true(lessor_lookup(lessor, 1, &info));
    assert_int_equal(info.expiry_ns, 120 * S);
    assert_int_equal(lessor_renew(lessor, 77, 110 * S, &ttl, &clear), ERR_LEASE_NOT_FOUND);
    lessor_demote(lessor);
    assert_int_equal(lessor_expired(lessor, 1000 * S, ids, 4), 0);
    assert_true(lessor_lookup(lessor, 1, &info));
    assert_int_equal(info.expiry_ns, INT64_MAX);
}

static void expired_leases_come_the_longest_overdue_first_and_at_most_max(void **state) {
    struct lessor *lessor = ((struct fixture *)*state)->lessor;
    lessor_promote(lessor, 0, 0);
    for (int64_t id = 1; id <= 5; id++) grant(lessor, id, 10 - id, 0);
    int64_t ids[5];
    lessor_list(lessor, ids);
    for (int64_t i = 0; i < 5; i++) assert_int_equal(ids[i], 5 - i);
    assert_int_equal(lessor_expired(lessor, 20 * S, ids, 3), 3);
    assert_int_equal(ids[0], 5);
    assert_int_equal(ids[1], 4);
    assert_int_equal(ids[2], 3);
    assert_int_equal(lessor_expired(lessor, 20 * S, ids, 3), 2);
    assert_int_equal(ids[1], 1);
    assert_int_equal(lessor_expired(lessor, 20 * S, ids, 3), 0);
}

static void a_promotion_spreads_expiries(void **state) {
    struct lessor *lessor = ((struct fixture *)*state)->lessor;
    const size_t count = 10000;
    for (size_t i = 0; i < count; i++) grant(lessor, (int64_t)i + 1, 60, 0);
    lessor_promote(lessor, 0, S);
    size_t per_second[100] = {0};
    for (size_t i = 0; i < count; i++) {
        struct lease_info info;
        assert_true(lessor_lookup(lessor, (int64_t)i + 1, &info));
        assert_true(info.expiry_ns >= 61 * S);
        per_second[(info.expiry_ns - 61 * S) / S]++;
    }
    for (size_t second = 0; second < 100; second++) assert_true(per_second[second] <= LESSOR_SPREAD_PER_SECOND + 1);
    lessor_demote(lessor);
    lessor_promote(lessor, 0, S); /* places in the heap were given back */
}

static void checkpoints_shorten_what_remains(void **state) {
    struct fixture *self = *state;
    restart(self, true, true);
    struct lessor *lessor = self->lessor;
    struct lease_checkpoint due[4];
    lessor_promote(lessor, 0, 0);
    grant(lessor, 1, 1000, 0);
    grant(lessor, 2, 200, 0); /* shorter than the interval */
    assert_int_equal(lessor_next_checkpoint_ns(lessor), 300 * S);
    assert_int_equal(lessor_due_checkpoints(lessor, 299 * S, due, 4), 0);
    assert_int_equal(lessor_due_checkpoints(lessor, 300 * S + 1, due, 4), 1);
    assert_int_equal(due[0].id, 1);
    assert_int_equal(due[0].remaining_ttl_s, 700);
    assert_int_equal(lessor_checkpoint(lessor, 1, 700, 300 * S), OK);
    assert_int_equal(lessor_checkpoint(lessor, 99, 700, 300 * S), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lessor_next_checkpoint_ns(lessor), 600 * S);
    restart(self, true, true);
    lessor = self->lessor;
    lessor_promote(lessor, 0, S);
    struct lease_info info;
    assert_true(lessor_lookup(lessor, 1, &info));
    assert_int_equal(info.ttl_s, 1000);
    assert_int_equal(info.remaining_ttl_s, 700);
    assert_int_equal(info.expiry_ns, 701 * S);
    int64_t ttl;
    bool clear;
    assert_int_equal(lessor_renew(lessor, 1, 10 * S, &ttl, &clear), OK);
    assert_true(clear);
    assert_int_equal(ttl, 1000);
    assert_true(lessor_lookup(lessor, 1, &info));
    assert_int_equal(info.expiry_ns, 1010 * S);
    /* renewed just now: nothing to tell, looked at again later */
    assert_int_equal(lessor_renew(lessor, 1, 300 * S, &ttl, &clear), OK);
    assert_int_equal(lessor_due_checkpoints(lessor, 300 * S, due, 4), 0);
    assert_int_equal(lessor_next_checkpoint_ns(lessor), 600 * S);
}

static void a_bad_record_is_corruption(void **state) {
    struct fixture *self = *state;
    backend_put(self->own.backend, BACKEND_LEASE, SLICE_LITERAL("\0\0\0\0\0\0\0\1"), SLICE_LITERAL("\x08\x02"));
    struct errmsg message = {{0}};
    assert_int_equal(lessor_restore(self->lessor, self->own.backend, &message), ERR_CORRUPT);
    assert_true(message.text[0] != 0);
    backend_delete(self->own.backend, BACKEND_LEASE, SLICE_LITERAL("\0\0\0\0\0\0\0\1"));
    assert_int_equal(lessor_restore(self->lessor, self->own.backend, &message), OK);
}

static void a_hundred_thousand_expire_at_once(void **state) {
    struct lessor *lessor = ((struct fixture *)*state)->lessor;
    const int64_t count = 100000;
    lessor_promote(lessor, 0, 0);
    for (int64_t id = 1; id <= count; id++) {
        grant(lessor, id, 10, 0);
        char key[32];
        snprintf(key, sizeof key, "key-%lld", (long long)id);
        assert_int_equal(lessor_attach(lessor, id, text(key)), OK);
    }
    int64_t revoked = 0;
    int64_t ids[LESSOR_MAX_REVOKES_PER_CHECK];
    for (int64_t now = 10 * S; lessor_count(lessor) > 0; now += LESSOR_CHECK_INTERVAL_NS) {
        size_t got = lessor_expired(lessor, now, ids, LESSOR_MAX_REVOKES_PER_CHECK);
        assert_int_equal(got, LESSOR_MAX_REVOKES_PER_CHECK);
        for (size_t i = 0; i < got; i++) {
            struct lease_keys keys;
            assert_int_equal(lessor_revoke(lessor, ids[i], &keys), OK);
            assert_int_equal(keys.count, 1);
            lease_keys_release(&keys);
            revoked++;
        }
    }
    assert_int_equal(revoked, count);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(grants_follow_the_rules),
        TEST(the_bucket_has_the_bytes_of_a_go_member),
        TEST(leases_come_back_from_the_bucket_without_keys),
        TEST(a_key_belongs_to_its_last_lease_only),
        TEST(revoke_gives_the_keys_in_order),
        TEST(only_the_primary_lets_leases_run_out),
        TEST(expired_leases_come_the_longest_overdue_first_and_at_most_max),
        TEST(a_promotion_spreads_expiries),
        TEST(checkpoints_shorten_what_remains),
        TEST(a_bad_record_is_corruption),
        TEST(a_hundred_thousand_expire_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
