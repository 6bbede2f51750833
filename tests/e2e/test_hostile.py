"""Requests that kill a real etcd 3.5, and logs that hold one: each is answered, and each start is survived."""
import json, urllib.error, urllib.request

import pytest
from members import Member, OURS, REAL35, free_ports
from wire import MAINT, PUT, RANGE, TXN, WATCH, Wire, message

ALARM, UPDATE = MAINT + "Alarm", "/etcdserverpb.Cluster/MemberUpdate"
K, L, X = b"k", b"l", b"x"
INVALID, UNKNOWN = 3, 2


def sorted_range(**more):
    """A RangeRequest of k..l in a target and an order that do not exist."""
    return [(1, K), (2, L), (5, more.get("order", 1)), (6, more.get("target", 9))]


def op_range(*pairs):
    return (2, message((1, message(*pairs))))       # success: request_range


def op_put(key):
    return (2, message((2, message((1, key)))))     # success: request_put


# name, method, fields, expected grpc-status (None: any answer of the member's own)
REQUESTS = [
    ("range sort_target 9", RANGE, sorted_range(), INVALID),
    ("range sort_target 9, no order", RANGE, [(1, K), (6, 9)], INVALID),
    ("range sort_order 9", RANGE, sorted_range(order=9, target=0), None),
    ("txn compare target 9", TXN, [(1, message((2, 9), (3, K))), op_put(X)], None),
    ("txn compare result 9", TXN, [(1, message((1, 9), (3, K), (4, 1))), op_put(X)], None),
    ("txn range sort_target 9", TXN, [op_range(*sorted_range()), op_put(X)], INVALID),
    ("txn readonly range sort_target 9", TXN, [op_range(*sorted_range())], INVALID),
    ("alarm action 9", ALARM, [(1, 9)], None),
    ("alarm activate type 9", ALARM, [(1, 1), (2, 7), (3, 9)], None),
    ("alarm activate NONE", ALARM, [(1, 1)], 0),
    ("downgrade action 9", "/etcdserverpb.Maintenance/Downgrade", [(1, 9), (2, b"3.4")], None),
    ("grant permType 9", "/etcdserverpb.Auth/RoleGrantPermission", [(1, b"r"), (2, message((1, 9), (2, K)))], None),
    ("txn of nothing deep", TXN, [(2, message((4, message((2, message((4, b"")))))))], 0),
    ("put lease -1", PUT, [(1, K), (3, (1 << 64) - 1)], 5),
    ("compaction -1", "/etcdserverpb.KV/Compact", [(1, (1 << 64) - 1)], 11),
    ("range limit -1", RANGE, [(1, K), (3, (1 << 64) - 1)], 0),
    ("hashkv -1", "/etcdserverpb.Maintenance/HashKV", [(1, (1 << 64) - 1)], 0),
    ("member add without urls", "/etcdserverpb.Cluster/MemberAdd", [], None),
    ("member add learner without urls", "/etcdserverpb.Cluster/MemberAdd", [(2, 1)], None),
    ("own update without urls", UPDATE, [(1, 0x8e9e05c52164694d)], None),
    ("own URL becomes junk", UPDATE, [(1, 0x8e9e05c52164694d), (2, b"bad")], None),
    ("another member's URL becomes junk", UPDATE, [(1, 7), (2, b"bad")], None),
]


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    with Member(OURS, tmp_path_factory.mktemp("hostile")) as m:
        with Wire(m.client_port) as w:
            w.ask(PUT, (1, K), (2, b"v"))
            w.ask("/etcdserverpb.Auth/RoleAdd", (1, b"r"))
        yield m


@pytest.mark.parametrize("name,path,fields,status", REQUESTS, ids=[r[0] for r in REQUESTS])
def test_request_is_answered(member, name, path, fields, status):
    with Wire(member.client_port) as w:
        s = w.call(path, *fields)
        assert s.status is not None
        if status is not None:
            assert s.status == status, s.text
        assert member.process.poll() is None
        assert w.ask(RANGE, (1, K)).int(4) == 1


def test_killers_get_errors(member):
    with Wire(member.client_port) as w:
        for name, path, fields, _ in REQUESTS:
            if "sort_target 9" in name or "alarm action 9" in name or "activate type 9" in name or "another" in name:
                s = w.call(path, *fields)
                assert s.status not in (None, 0), name


def test_watch_with_unknown_filter_or_huge_start(member):
    for create in ([(1, K), (5, 9)], [(1, K), (3, (1 << 63) - 1)]):
        with Wire(member.client_port) as w:
            number = w.open(WATCH, [(1, message(*create))], end=False)
            assert w.until(lambda: w.streams[number].messages)
            with Wire(member.client_port) as other:
                other.ask(PUT, (1, K), (2, b"v"))
        assert member.process.poll() is None


# ---- logs of a real member that hold what kills it ----


def post(m, path, body):
    """A call over the real member's gateway -> its answer, or None when the member died of it."""
    request = urllib.request.Request(m.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as r:
            return json.load(r)
    except urllib.error.HTTPError as e:
        return json.load(e)
    except OSError:
        return None


def txn_with_unknown_sort(m):
    post(m, "/v3/kv/txn", {"success": [{"request_range": {"key": "aw==", "range_end": "bA==", "sort_target": 9, "sort_order": 1}}, {"request_put": {"key": "eA=="}}]})


def unknown_alarm_action(m):
    post(m, "/v3/maintenance/alarm", {"action": 9})


def unknown_alarm_type(m):
    post(m, "/v3/maintenance/alarm", {"action": 1, "alarm": 9, "memberID": 7})


def junk_url_of_another(m):
    added = post(m, "/v3/cluster/member/add", {"peerURLs": ["http://127.0.0.1:1"], "isLearner": True})
    post(m, "/v3/cluster/member/update", {"ID": added["member"]["ID"], "peerURLs": ["bad"]})


@pytest.mark.parametrize("kill", [txn_with_unknown_sort, unknown_alarm_action, unknown_alarm_type, junk_url_of_another])
def test_log_of_a_real_member_is_survived(tmp_path, kill):
    ports = free_ports(2)
    with Member(REAL35, tmp_path, ports=ports) as real:
        assert post(real, "/v3/kv/put", {"key": "aw==", "value": "dg=="}) is not None
        kill(real)
        real.process.wait(10)       # it dies of it
    for _ in range(2):
        with Member(OURS, tmp_path, ports=ports) as ours:
            with Wire(ours.client_port) as w:
                assert w.ask(RANGE, (1, K)).int(4) == 1
                w.ask(PUT, (1, K), (2, b"w"))
            assert ours.stop() in (0, -15)
