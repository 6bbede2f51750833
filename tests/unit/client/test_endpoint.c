/* Endpoints in every spelling that etcd's programs take. */
#include "client/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_good_endpoints(void **state) {
    static const struct {
        const char *text, *host, *port, *unix_path, *authority;
    } cases[] = {
        {"127.0.0.1:2379", "127.0.0.1", "2379", NULL, "127.0.0.1:2379"},
        {"http://example.com:80", "example.com", "80", NULL, "example.com:80"},
        {"http://example.com:80/path/x", "example.com", "80", NULL, "example.com:80"},
        {"[::1]:2379", "::1", "2379", NULL, "[::1]:2379"},
        {"http://[fe80::1]:1", "fe80::1", "1", NULL, "[fe80::1]:1"},
        {":2379", "localhost", "2379", NULL, ":2379"},
        {"unix:///run/etcd.sock", NULL, NULL, "/run/etcd.sock", "localhost"},
        {"unix:etcd.sock", NULL, NULL, "etcd.sock", "localhost"},
        {"unix://localhost:27000", NULL, NULL, "localhost:27000", "localhost"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client_endpoint endpoint;
        assert_int_equal(client_endpoint_parse(cases[i].text, &endpoint, NULL), OK);
        assert_string_equal(endpoint.text, cases[i].text);
        assert_string_equal(endpoint.authority, cases[i].authority);
        if (cases[i].unix_path != NULL) {
            assert_null(endpoint.host);
            assert_string_equal(endpoint.unix_path, cases[i].unix_path);
        } else {
            assert_null(endpoint.unix_path);
            assert_string_equal(endpoint.host, cases[i].host);
            assert_string_equal(endpoint.port, cases[i].port);
        }
        client_endpoint_release(&endpoint);
    }
}

static void test_bad_endpoints(void **state) {
    static const struct {
        const char *text;
        enum err error;
    } cases[] = {
        {"", ERR_INVALID},
        {"localhost", ERR_INVALID},
        {"localhost:", ERR_INVALID},
        {"http://", ERR_INVALID},
        {"::1:2379", ERR_INVALID},
        {"[::1:2379", ERR_INVALID},
        {"ftp://a:1", ERR_INVALID},
        {"a b:1", ERR_INVALID},
        {"unix://", ERR_INVALID},
        {"https://127.0.0.1:2379", ERR_NOT_SUPPORTED},
        {"unixs:///run/etcd.sock", ERR_NOT_SUPPORTED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client_endpoint endpoint;
        struct errmsg message = {""};
        assert_int_equal(client_endpoint_parse(cases[i].text, &endpoint, &message), cases[i].error);
        assert_true(message.text[0] != 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_endpoints),
        cmocka_unit_test(test_bad_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
