"""The soak in short, and that its judges can find something."""
import collections, os, subprocess, sys

import pytest
from members import ROOT
from soak_life import Wrong, judge_flat, judge_log
from soak_watch import Watched
from wire import Fields, message


def test_a_short_soak_finds_nothing():
    r = subprocess.run([sys.executable, os.path.join(ROOT, "tests/soak.py"), "--seconds", "15"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert r.returncode == 0, r.stdout
    assert r.stdout.endswith("soak: all well\n")


def event(key, create, mod, version, value=b"v", previous=None, is_delete=False):
    pair = lambda c, m, n, v: message((1, key), (2, c), (3, m), (4, n), (5, v))
    return message((1, int(is_delete)), (2, message((1, key), (3, mod)) if is_delete else pair(create, mod, version, value)),
                   *([(3, pair(*previous))] if previous else []))


def response(revision, *events):
    return Fields(message((1, message((3, revision))), *((11, e) for e in events)))


FIRST, SECOND = event(b"a", 2, 2, 1), event(b"a", 2, 3, 2, b"w", previous=(2, 2, 1, b"v"))


def test_a_watcher_takes_what_is_right():
    w = Watched(b"a", b"c", lambda: 0, prev_kv=True)
    w.take(response(3, FIRST, SECOND))
    w.take(response(4))
    w.take(response(7, event(b"a", 0, 5, 0, is_delete=True, previous=(2, 3, 2, b"w")), event(b"b", 5, 5, 1), event(b"b", 5, 6, 2, previous=(5, 5, 1, b"v"))))
    assert (w.position, w.state, w.events) == (6, {b"b": (5, 6, 2, b"v", 0)}, 5)


@pytest.mark.parametrize("why, responses", [
    ("twice", [response(2, FIRST), response(2, FIRST)]),
    ("out of order", [response(3, event(b"b", 3, 3, 1), event(b"a", 2, 2, 1))]),
    ("after a promise", [response(2), response(2, FIRST)]),
    ("an event is missing", [response(3, SECOND)]),
    ("an event is missing", [response(2, FIRST), response(5, event(b"a", 2, 4, 3, previous=(2, 2, 1, b"v")))]),
    ("something is missing", [response(2, event(b"a", 0, 2, 0, is_delete=True))]),
    ("not watched", [response(2, event(b"c", 2, 2, 1))]),
    ("twice in one revision", [response(2, FIRST, FIRST)]),
    ("no previous pair", [response(3, FIRST, event(b"a", 2, 3, 2))]),
    ("another previous pair", [response(3, FIRST, event(b"a", 2, 3, 2, previous=(2, 2, 1, b"x")))]),
    ("beyond the header", [response(1, FIRST)]),
])
def test_a_watcher_notices(why, responses):
    w = Watched(b"a", b"c", lambda: 0, prev_kv=True)
    with pytest.raises(Wrong, match=why):
        for r in responses:
            w.take(r)


def test_what_grows_is_noticed():
    judge_flat("flat", [(t, 50 + t * 7 % 11) for t in range(40)], 0.1, 4)
    with pytest.raises(Wrong, match="grows: leak"):
        judge_flat("leak", [(t, 50 + t * 7 % 11 + t / 2) for t in range(40)], 0.1, 4)


@pytest.mark.parametrize("line, wrong", [
    ('{"level":"info","ts":"x","msg":"any"}', None),
    ('{"level":"warn","ts":"x","caller":"a","msg":"slow fdatasync","took":"2s"}', None),
    ('{"level":"warn","ts":"x","caller":"a","msg":"something else"}', "unexpected in the log"),
    ('{"level":"warn","ts":"x","caller":"a","msg":"ignored file in WAL directory","path":"0.wal.broken"}', None),
    ('{"level":"warn","ts":"x","caller":"a","msg":"ignored file in WAL directory","path":"0.wal.other"}', "unexpected in the log"),
    ('{"level":"error","ts":"x","caller":"a","msg":"slow fdatasync"}', "unexpected in the log"),
    ('{"level":"error","ts":"x","caller":"a","msg":"something else"}', "unexpected in the log"),
    ("==1==ERROR: AddressSanitizer", "no line of a log"),
])
def test_the_log_is_read(line, wrong):
    member = collections.namedtuple("Member", "text")(lambda: line + "\n")
    if wrong is None:
        assert sum(judge_log(member).values()) == ("warn" in line)
    else:
        with pytest.raises(Wrong, match=wrong):
            judge_log(member)
