/* Hashes are those of Go's bcrypt: the texts below were made by real etcd programs. */
#include "auth/password.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct {
    const char *password;
    const char *text;
} made_by_go[] = {
    {"rootpw", "$2a$04$r1x0voxzfnbGQztiqO5uTOeJ3mvCFqQstreSPUxvJgsysp0h8LMmi"},
    {"alicepw", "$2a$04$7nHyLCcl29nrjMX/PcDD5ujsnB0h9VZwXWnL2rNhxT5obP.HteszW"},
    {"newbob", "$2a$04$CO//PD54ME0/xNZXR8BBLOHC3LS5UZR2BY0sv00fDz2JzdArj9q6q"},
    {"p\xc3\xa4ssw\xc3\xb6rd-\xc3\xbf\xc2\xa3", "$2a$04$.1swxFA6kU5PqKpT8cx5xuEwO7J6kdxecNmp/IXYCxj0dqUMY1SaG"},
    {"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567",
     "$2a$04$.iEOwMe1eH9QBfzNijpdQeyX1vfUYgoMVQTfMcCcjArJunCma7UW."},
    {"", "$2a$04$/xn/ALBaJNDcTQ38UBJ/geKc1vtxqojZvSjndZLCWHtX8eObcF/0i"},
};

static void go_hashes_match_their_password_only(void **state) {
    for (size_t i = 0; i < sizeof made_by_go / sizeof *made_by_go; i++)
        for (size_t j = 0; j < sizeof made_by_go / sizeof *made_by_go; j++)
            assert_int_equal(
                password_matches(slice_from_cstr(made_by_go[j].password), slice_from_cstr(made_by_go[i].text)), i == j);
}

/* libxcrypt's own "$2a$" gives another hash for this one. */
static void eight_bit_passwords_are_hashed_as_in_go(void **state) {
    struct slice password = SLICE_LITERAL("\xff\xff\xa3");
    assert_true(password_matches(password, SLICE_LITERAL("$2a$05$/OK.fbVrR/bpIqNJ5ianF."
                                                         "CE5elHaaO4EbggVDjb8P19RukzXSM3e")));
}

static void a_hash_is_go_shaped_and_matches(void **state) {
    static const uint8_t salt[PASSWORD_SALT_BYTES] = {0, 255, 1, 254, 7, 9, 200, 100, 3, 3, 3, 3, 90, 91, 92, 93};
    char text[PASSWORD_HASH_BYTES];
    struct slice password = SLICE_LITERAL("secret");
    assert_int_equal(password_hash(password, 4, salt, text), OK);
    assert_memory_equal(text, "$2a$04$", 7);
    assert_true(password_matches(password, slice_make(text, sizeof text)));
    assert_false(password_matches(SLICE_LITERAL("Secret"), slice_make(text, sizeof text)));
    char again[PASSWORD_HASH_BYTES];
    assert_int_equal(password_hash(password, 4, salt, again), OK);
    assert_memory_equal(text, again, sizeof text);
}

static void the_limit_is_72_bytes(void **state) {
    static const uint8_t salt[PASSWORD_SALT_BYTES] = {1};
    uint8_t password[80];
    memset(password, 'p', sizeof password);
    char text[PASSWORD_HASH_BYTES];
    assert_int_equal(password_hash(slice_make(password, 73), 4, salt, text), ERR_PASSWORD_TOO_LONG);
    assert_int_equal(password_hash(slice_make(password, 72), 4, salt, text), OK);
    assert_true(password_matches(slice_make(password, 80), slice_make(text, sizeof text)));
    assert_false(password_matches(slice_make(password, 71), slice_make(text, sizeof text)));
}

static void what_is_no_bcrypt_matches_nothing(void **state) {
    static const char *const texts[] = {"",
                                        "x",
                                        "$2a$04$",
                                        "$1a$04$r1x0voxzfnbGQztiqO5uTOeJ3mvCFqQstreSPUxvJgsysp0h8LMmi",
                                        "$2a$04$r1x0voxzfnbGQztiqO5uTOeJ3mvCFqQstreSPUxvJgsysp0h8LMm",
                                        "$2a$99$r1x0voxzfnbGQztiqO5uTOeJ3mvCFqQstreSPUxvJgsysp0h8LMmi",
                                        "$2a$xx$r1x0voxzfnbGQztiqO5uTOeJ3mvCFqQstreSPUxvJgsysp0h8LMmi",
                                        "$2a$04$r1x0voxzfnbGQztiqO!uTOeJ3mvCFqQstreSPUxvJgsysp0h8LMmi"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_false(password_matches(SLICE_LITERAL("rootpw"), slice_from_cstr(texts[i])));
        assert_false(password_matches(SLICE_NONE, slice_from_cstr(texts[i])));
    }
}

static void base64_is_decoded_as_in_go(void **state) {
    static const struct {
        const char *text;
        const char *bytes; /* NULL: refused */
    } cases[] = {
        {"", ""},       {"eA==", "x"},  {"eHk=", "xy"},  {"eHl6", "xyz"}, {"eH\nl6\r\n", "xyz"}, {"eHl6eA==", "xyzx"},
        {"eA", NULL},   {"eA=", NULL},  {"e===", NULL},  {"eHl6=", NULL}, {"eA==eA==", NULL},    {"e!==", NULL},
        {"====", NULL}, {"-_==", NULL}, {"+/==", "\xfb"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = BUF_INIT;
        bool is_good = password_decode_base64(slice_from_cstr(cases[i].text), &out);
        assert_int_equal(is_good, cases[i].bytes != NULL);
        if (is_good) assert_string_equal(buf_cstr(&out), cases[i].bytes);
        buf_release(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(go_hashes_match_their_password_only),
        cmocka_unit_test(eight_bit_passwords_are_hashed_as_in_go),
        cmocka_unit_test(a_hash_is_go_shaped_and_matches),
        cmocka_unit_test(the_limit_is_72_bytes),
        cmocka_unit_test(what_is_no_bcrypt_matches_nothing),
        cmocka_unit_test(base64_is_decoded_as_in_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
