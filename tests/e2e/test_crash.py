"""SIGKILL under load, again and again: nothing acknowledged is lost, no revision is given twice, history is whole."""
import random, threading, time

from members import OURS, Member
from wire import WATCH, Fields, Wire, message
from writers import Writer, content, judge

TURNS, WRITERS = 12, 8


def history(port, start, end):
    """Revisions of all events from start on until one of end has come, as a watcher gets them, and how often each came."""
    with Wire(port) as w:
        number = w.open(WATCH, ((1, message((1, b"w"), (2, b"x"), (3, start))),), end=False)
        s, seen = w.streams[number], []

        def done():
            for m in s.messages:
                seen.extend(Fields(e).sub(2) for e in Fields(m).all(11))
            s.messages.clear()
            return bool(seen) and seen[-1].int(3) >= end
        assert w.until(done, 30), "the watcher saw %d events, the last of %s" % (len(seen), seen and seen[-1].int(3))
        return [(e.int(3), e.bytes(1)) for e in seen]


def under_load(writers, calls=100, limit=30):
    """Until so many calls are answered, on however slow a disk."""
    end = time.monotonic() + limit
    while sum(len(w.revisions) for w in writers) < calls:
        assert time.monotonic() < end, "the writers get no answers"
        time.sleep(0.01)


def test_killed_under_load(tmp_path):
    rng, ports, sure, given = random.Random(4), None, [Writer.nothing() for _ in range(WRITERS)], set()
    writers = []
    for turn in range(TURNS + 1):
        with Member(OURS, tmp_path, "--snapshot-count", "500", ports=ports) as m:
            ports = m.ports
            revision, found = content(m.client_port)
            judge(revision, found, writers, "turn %d" % turn)
            sure = [found.get(n, Writer.nothing()) for n in range(WRITERS)]
            if turn:
                events = history(m.client_port, 2, revision)
                assert len(set(events)) == len(events), "an event came twice"
                assert events == sorted(events, key=lambda e: e[0])
                missing = given - {r for r, _ in events}
                assert not missing, "acknowledged revisions without an event: %r" % sorted(missing)[:5]
            if turn == TURNS:
                break
            writers = [Writer(m.client_port, n, 100 + turn, sure[n]) for n in range(WRITERS)]
            for w in writers:
                w.start()
            under_load(writers)
            threading.Event().wait(rng.uniform(0.1, 0.5))
            m.kill()
            for w in writers:
                w.join(30)
                # a call that changes nothing (a delete of nothing) is answered with a revision that others have too
                fresh = {r for r in w.revisions if r > revision}
                given |= fresh
    assert len(given) > 1000
