#include "cluster/urls.h"
#include "cluster/version.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void versions(void **state) {
    struct version version;
    char text[VERSION_TEXT_BYTES];
    assert_true(version_parse(SLICE_LITERAL("3.5.33"), &version));
    assert_string_equal(version_text(version, text), "3.5.33");
    assert_string_equal(version_text_minor(version, text), "3.5");
    assert_true(version_parse(SLICE_LITERAL("3.6.0-rc.1+git"), &version));
    assert_string_equal(version_text(version, text), "3.6.0");
    const char *bad[] = {"", "3", "3.5", "3.5.", "3.5.x", ".5.1", "3.5.1.2", "3.5.65536", "v3.5.1", "3.5.1 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(version_parse(slice_from_cstr(bad[i]), &version));
    struct version a = {3, 5, 9};
    struct version b = {3, 5, 10};
    struct version c = {3, 10, 0};
    assert_true(version_compare(a, b) < 0 && version_compare(b, c) < 0 && version_compare(c, a) > 0);
    assert_int_equal(version_compare(a, a), 0);
}

static void good_urls_are_taken_apart(void **state) {
    struct {
        const char *text, *printed, *host, *port;
        enum url_scheme scheme;
    } cases[] = {
        {"http://localhost:2380", "http://localhost:2380", "localhost", "2380", URL_HTTP},
        {" https://[::1]:2379\n", "https://[::1]:2379", "::1", "2379", URL_HTTPS},
        {"HTTP://:2380", "http://:2380", "", "2380", URL_HTTP},
        {"http://a:", "http://a:", "a", "", URL_HTTP},
        {"unix:///run/etcd.sock", "unix:///run/etcd.sock", "/run/etcd.sock", "", URL_UNIX},
        {"unixs://localhost:1234", "unixs://localhost:1234", "localhost:1234", "", URL_UNIXS},
        {"unix:relative", "unix:relative", "relative", "", URL_UNIX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct url url;
        struct errmsg message = {{0}};
        assert_int_equal(url_parse(slice_from_cstr(cases[i].text), &url, &message), OK);
        assert_string_equal(url.text, cases[i].printed);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.port, cases[i].port);
        assert_int_equal(url.scheme, cases[i].scheme);
        url_release(&url);
    }
}

static void bad_urls_are_refused_in_etcds_words(void **state) {
    struct {
        const char *text, *error;
    } cases[] = {
        {"http://10.0.0.1", "URL address does not have the form \"host:port\": http://10.0.0.1"},
        {"http://127.0.0.1:1/x", "URL must not contain a path: http://127.0.0.1:1/x"},
        {"tcp://127.0.0.1:1", "URL scheme must be http, https, unix, or unixs: tcp://127.0.0.1:1"},
        {"", "URL scheme must be http, https, unix, or unixs: "},
        {"foo", "URL scheme must be http, https, unix, or unixs: foo"},
        {"::", "parse \"::\": missing protocol scheme"},
        {"127.0.0.1:2379", "parse \"127.0.0.1:2379\": first path segment in URL cannot contain colon"},
        {"http://a:b", "parse \"http://a:b\": invalid port \":b\" after host"},
        {"http://a b:1", "parse \"http://a b:1\": invalid character in host name"},
        {"http://a\x01:1", "parse \"http://a\\x01:1\": net/url: invalid control character in URL"},
        {"http://a::1", "URL address does not have the form \"host:port\": http://a::1"},
        {"http:", "URL address does not have the form \"host:port\": http:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct url url;
        struct errmsg message = {{0}};
        assert_int_equal(url_parse(slice_from_cstr(cases[i].text), &url, &message), ERR_INVALID);
        assert_string_equal(message.text, cases[i].error);
    }
}

static void a_map_groups_names_and_prints_sorted_pairs(void **state) {
    struct urls_map map;
    struct errmsg message = {{0}};
    assert_int_equal(urls_map_parse(SLICE_LITERAL("b=http://b:2,,a=http://a:1,b=http://b:1,"), &map, &message), OK);
    assert_int_equal(map.count, 2);
    assert_string_equal(map.items[0].name, "a");
    assert_int_equal(urls_map_find(&map, "b")->urls.count, 2);
    assert_string_equal(urls_map_find(&map, "b")->urls.items[0].text, "http://b:1");
    assert_null(urls_map_find(&map, "c"));
    struct buf text CLEANUP_BUF = BUF_INIT;
    urls_map_append_text(&map, &text);
    assert_string_equal(buf_cstr(&text), "a=http://a:1,b=http://b:1,b=http://b:2");
    urls_map_release(&map);
    assert_int_equal(urls_map_parse(SLICE_LITERAL(""), &map, &message), OK);
    assert_int_equal(map.count, 0);
    urls_map_release(&map);
    assert_int_equal(urls_map_parse(SLICE_LITERAL("m1"), &map, &message), ERR_INVALID);
    assert_string_equal(message.text, "URL scheme must be http, https, unix, or unixs: ");
}

/* The texts of golden server/cases.jsonl. */
static void bootstrap_is_checked_in_etcds_words(void **state) {
    struct {
        const char *cluster, *name, *advertised, *error;
    } cases[] = {
        {"m2=http://127.0.0.1:30501", "m1", "http://localhost:2380",
         "couldn't find local name \"m1\" in the initial cluster configuration"},
        {"m1=http://127.0.0.1:30599", "m1", "http://localhost:2380",
         "--initial-cluster has m1=http://127.0.0.1:30599 but missing from "
         "--initial-advertise-peer-urls=http://localhost:2380 (resolved urls: \"http://localhost:2380\" != "
         "\"http://127.0.0.1:30599\")"},
        {"m1=http://127.0.0.1:30501", "m1", "http://127.0.0.1:30501,http://127.0.0.1:30502",
         "--initial-advertise-peer-urls has http://127.0.0.1:30502 but missing from "
         "--initial-cluster=m1=http://127.0.0.1:30501,m1=http://127.0.0.1:30502"},
        {"m1=http://127.0.0.1:30501,m2=http://127.0.0.1:30501", "m1", "http://127.0.0.1:30501",
         "initial cluster m1=http://127.0.0.1:30501,m2=http://127.0.0.1:30501 has duplicate url"},
        {"", "default", "http://localhost:2380",
         "couldn't find local name \"default\" in the initial cluster configuration"},
        {"m1=http://127.0.0.1:2380", "m1", "http://localhost:2380", NULL},
        {"m1=http://a:1,m2=http://b:1,m1=http://a:2", "m1", "http://a:2,http://a:1", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct urls_map map;
        struct urls advertised;
        struct errmsg message = {{0}};
        assert_int_equal(urls_map_parse(slice_from_cstr(cases[i].cluster), &map, &message), OK);
        assert_int_equal(urls_parse(slice_from_cstr(cases[i].advertised), &advertised, &message), OK);
        enum err error = urls_map_verify_bootstrap(&map, cases[i].name, &advertised, &message);
        assert_int_equal(error, cases[i].error == NULL ? OK : ERR_INVALID);
        if (cases[i].error != NULL) assert_string_equal(message.text, cases[i].error);
        urls_map_release(&map);
        urls_release(&advertised);
    }
    struct urls_map map;
    struct errmsg message = {{0}};
    assert_int_equal(urls_map_parse(SLICE_LITERAL("m1=http://a:1"), &map, &message), OK);
    assert_int_equal(urls_map_verify_join(&map, "m1", false, &message), OK);
    assert_int_equal(urls_map_verify_join(&map, "m1", true, &message), ERR_INVALID);
    assert_string_equal(message.text, "discovery URL should not be set when joining existing initial cluster");
    urls_map_release(&map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions),
        cmocka_unit_test(good_urls_are_taken_apart),
        cmocka_unit_test(bad_urls_are_refused_in_etcds_words),
        cmocka_unit_test(a_map_groups_names_and_prints_sorted_pairs),
        cmocka_unit_test(bootstrap_is_checked_in_etcds_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
