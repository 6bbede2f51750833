"""Slow readers, deadlines, cancellation, and the end of a member with calls under way."""
import os, signal, time

import pytest
from members import OURS, Member
from wire import MAINT, PUT, RANGE, TXN, WATCH, Fields, Wire, message

ALL = ((1, b"\0"), (2, b"\0"))


def rss_bytes(member, what="VmRSS"):
    with open("/proc/%d/status" % member.process.pid) as f:
        return int(dict(x.split(":", 1) for x in f.read().splitlines())[what].split()[0]) * 1024


@pytest.fixture
def member(tmp_path):
    with Member(OURS, tmp_path) as m:
        yield m


def watch_create(*pairs):
    return ((1, message(*pairs)),)


def test_a_long_range_read_slowly_holds_nobody_up(member):
    """100 MB, of which the client takes a piece now and then; meanwhile others put, and what was asked for stays as it was."""
    value = b"v" * 1000000
    with Wire(member.client_port) as other:
        for i in range(100):
            other.ask(PUT, (1, b"big/%03d" % i), (2, value))
        with Wire(member.client_port) as slow:
            slow.window = "hold"
            number = slow.open(RANGE, ((1, b"big/"), (2, b"big0")))
            s = slow.streams[number]
            assert slow.until(lambda: s.bytes >= 65535)
            before, worst = rss_bytes(member), 0
            for i in range(200):
                began = time.monotonic()
                other.ask(PUT, (1, b"big/%03d" % (i % 100)), (2, b"new"))
                worst = max(worst, time.monotonic() - began)
                if i % 20 == 0:
                    slow.give(number, 100000)
                    slow.read(0)
            assert worst < 0.5
            assert rss_bytes(member) - before < 40 << 20
            assert s.bytes < 2 << 20
            slow.window = "auto"
            slow.give(number, 1 << 24)
            assert slow.until(lambda: s.is_over, 60)
            assert s.status == 0
            answer = Fields(s.messages[0])
            assert [Fields(x).bytes(5) == value for x in answer.all(2)] == [True] * 100
            assert answer.sub(1).int(3) == 101


def test_a_watcher_that_never_reads_costs_little_and_misses_nothing(member):
    with Wire(member.client_port) as idle, Wire(member.client_port) as other:
        number = idle.open(WATCH, watch_create((1, b"w"), (2, b"x")), end=False)
        s = idle.streams[number]
        assert idle.until(lambda: len(s.messages) == 1)
        idle.window = "hold"
        before = rss_bytes(member)
        for i in range(2000):
            other.ask(PUT, (1, b"w%d" % (i % 10)), (2, b"%06d" % i + b"x" * 20000))
        assert rss_bytes(member) - before < 80 << 20
        idle.window = "auto"
        idle.give(number, 1 << 20)

        def seen():
            return sum(len(Fields(m).all(11)) for m in s.messages)
        assert idle.until(lambda: s.bytes > 2000 * 20000 and seen() >= 2000, 60)
        revisions = [Fields(e).sub(2).int(3) for m in s.messages for e in Fields(m).all(11)]
        assert revisions == list(range(2, 2002))


def test_an_answer_is_not_made_at_once_however_wide_its_window(member):
    with Wire(member.client_port) as w:
        for i in range(60):
            w.ask(PUT, (1, b"%d" % i), (2, b"x" * 1000000))
    before, last = rss_bytes(member, "RssAnon"), None
    for _ in range(20):         # what was put is being written to the database
        if before == last:
            break
        time.sleep(0.3)
        before, last = rss_bytes(member, "RssAnon"), before
    with Wire(member.client_port, initial_window=(1 << 31) - 1, keep=False) as w:
        w.give(0, 1 << 29)          # both of the two are the connection's
        number = w.open(RANGE, ALL)
        s = w.streams[number]
        assert w.until(lambda: s.bytes > 0)
        time.sleep(0.3)         # whatever is made is made by now
        assert rss_bytes(member, "RssAnon") - before < 10 << 20
        assert w.until(lambda: s.is_over, 60) and s.status == 0 and s.bytes > 60000000


def test_a_deadline_ends_a_call(member):
    with Wire(member.client_port) as w:
        number = w.open(WATCH, watch_create((1, b"a")), headers=[("grpc-timeout", "200m")], end=False)
        s, began = w.streams[number], time.monotonic()
        assert w.until(lambda: s.is_over, 5)
        assert 0.15 < time.monotonic() - began < 2
        assert s.status == 4 or s.reset is not None
        assert w.call(RANGE, (1, b"a"), headers=[("grpc-timeout", "10S")]).status == 0
        assert w.call(RANGE, (1, b"a"), headers=[("grpc-timeout", "1n")]).status == 4


def test_a_cancelled_call_takes_its_watchers_along(member):
    with Wire(member.client_port) as w:
        for i in range(300):
            number = w.open(WATCH, watch_create((1, b"a"), (7, 0)), end=False)
            assert w.until(lambda: len(w.streams[number].messages) == 1)
            w.reset(number)
        assert w.ask(PUT, (1, b"a"), (2, b"b")).sub(1).int(3) == 2
        w.read(0.2)
        assert all(len(s.messages) == 1 for s in w.streams.values())


def test_sigterm_says_goaway_and_ends_streams(member):
    with Wire(member.client_port) as w:
        number = w.open(WATCH, watch_create((1, b"a")), end=False)
        s = w.streams[number]
        assert w.until(lambda: len(s.messages) == 1)
        member.process.send_signal(signal.SIGTERM)
        assert w.until(lambda: w.is_closed, 10) or w.is_closed
        assert w.goaways and w.goaways[-1][1] == 0
        assert s.is_over and s.status is not None
        assert member.process.wait(10) == -signal.SIGTERM


def test_requests_that_kill_etcd_3_5_are_answered(member):
    ALARM = MAINT + "Alarm"
    bad_sort = message((1, b"a"), (5, 1), (6, 9))
    with Wire(member.client_port) as w:
        assert w.call(RANGE, (1, b"a"), (5, 1), (6, 9)).status == 3
        assert w.call(TXN, (2, message((1, bad_sort)))).status == 3
        assert w.call(ALARM, (1, 7)).status not in (0, None)
        assert w.call(ALARM, (1, 1), (3, 9)).status not in (0, None)
        assert w.ask(RANGE, *ALL).sub(1).int(3) == 1


def test_many_connections_that_say_nothing_do_no_harm(member):
    wires = [Wire(member.client_port) for _ in range(300)]
    try:
        assert member.client.put(b"a", b"b") == 2
    finally:
        for w in wires:
            w.socket.close()
    with Wire(member.client_port) as w:
        assert w.ask(RANGE, *ALL).int(4) == 1
    assert os.path.exists("/proc/%d" % member.process.pid)
