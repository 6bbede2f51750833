"""When may a call that was acknowledged be missing? Only the last of each writer, only of a turn of the real etcd 3.5.1 that SIGKILL
ended, only if the real one misses it as well. Each other case fails a test."""
import os, shutil, signal

import pytest
from members import OURS, REAL35, Member
from wire import Wire
from witness import Witness, copy_directory, state
from writers import Writer, judge, judge_without_tail


def told(number, *calls):
    """A writer of whom calls were acknowledged, each (revision, content after it); no other was under way."""
    w = Writer(0, number, 0, Writer.nothing())
    for revision, now in calls:
        w.before, w.before_last, w.sure, w.maybe = w.sure, w.last, now, now
        w.answer, w.last = revision, max(w.last, revision)
    return w


def having(*keys, leases=()):
    return {"keys": {k: (b"v", 0) for k in keys}, "leases": set(leases)}


ONE, TWO = told(0, (2, having(b"a")), (4, having(b"a", b"b"))), told(1, (3, having(b"c")))
NOTHING = told(1, (3, having(b"c")), (4, having(b"c")))      # the last call deleted nothing, after the other's last
LEASE = told(2, (2, having(b"a")), (2, having(b"a", leases=[7])))


@pytest.mark.parametrize("revision, found, writers, missing", [
    (4, {0: ONE.sure, 1: TWO.sure}, [ONE, TWO], []),
    (3, {0: ONE.before, 1: TWO.sure}, [ONE, TWO], [0]),
    (2, {0: ONE.before}, [ONE, TWO], [0, 1]),
    (3, {0: ONE.before, 1: NOTHING.sure}, [ONE, NOTHING], [0, 1]),
    (2, {2: LEASE.before}, [LEASE], [2]),
    (1, {}, [ONE, TWO], None),                                  # more than the last call
    (4, {0: ONE.sure}, [ONE, TWO], None),                       # one is missing that came before another that is there
    (4, {0: ONE.before, 1: TWO.sure}, [ONE, TWO], None),        # its revision is there, its key is not
    (3, {0: having(b"b"), 1: TWO.sure}, [ONE, TWO], None),      # it is not the last one that is missing
    (3, {0: having(b"a", b"x"), 1: TWO.sure}, [ONE, TWO], None),
    (3, {0: ONE.sure, 1: TWO.sure}, [ONE, TWO], None),          # all is there but the revision
    (2, {1: NOTHING.sure}, [NOTHING], None),
    (5, {2: LEASE.before}, [LEASE], None),
])
def test_only_the_tail_may_be_missing(revision, found, writers, missing):
    if missing is None:
        with pytest.raises(AssertionError):
            judge_without_tail(revision, found, writers)
    else:
        assert judge_without_tail(revision, found, writers) == missing
    if missing != []:
        with pytest.raises(AssertionError):
            judge(revision, found, writers)


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """A directory of the real etcd as it was one and two calls of each writer ago -> writers, path of now, {calls ago: path}."""
    tmp, ports, ago = tmp_path_factory.mktemp("past"), None, {}
    writers = [Writer(0, n, 7, Writer.nothing()) for n in range(2)]
    for left in (2, 1, 0):
        with Member(REAL35, tmp, ports=ports) as m:
            ports = m.ports
            with Wire(m.client_port) as wire:
                for w in writers:
                    was = w.sure["keys"]
                    while w.sure["keys"] == was:        # grants and deletes of nothing alone would not show
                        assert w.once(wire)
            assert m.stop() in (0, -signal.SIGTERM)
        if left:
            ago[left] = str(tmp / ("ago%d" % left) / "m.etcd")
            copy_directory(m.dir, ago[left])
    return writers, m.dir, ago


def seen(tmp_path, directory, folder=OURS):
    """A copy of a directory to be judged, and what a program finds there."""
    copy_directory(directory, str(tmp_path / "m.etcd"))
    copy_directory(directory, str(tmp_path / "looked" / "m.etcd"))
    with Member(folder, tmp_path / "looked") as m:
        return str(tmp_path / "m.etcd"), state(m)


def test_the_last_call_may_be_lost_by_the_real_one(tmp_path, past, capsys):
    writers, _, ago = past
    directory, first = seen(tmp_path, ago[1])
    Witness(directory, writers, "turn 8", may_lose=True).judge(first)
    assert "turn 8: the last acknowledged call of writers [0, 1] is lost, for both programs: " in capsys.readouterr().out


@pytest.mark.parametrize("calls, may_lose, why", [(1, False, "finds the same there."), (2, True, "but it is more than a last call")])
def test_nothing_else_may_be_lost(tmp_path, past, calls, may_lose, why):
    writers, _, ago = past
    directory, first = seen(tmp_path, ago[calls])
    with pytest.raises(AssertionError, match=why) as e:
        Witness(directory, writers, "turn 9", may_lose).judge(first)
    kept = str(e.value).rsplit(": ", 1)[1]
    assert os.path.isdir(os.path.join(kept, "member", "wal")) and kept.startswith(str(tmp_path))


def test_nothing_may_be_lost_that_the_real_one_finds(tmp_path, past):
    writers, now, ago = past
    _, first = seen(tmp_path / "other", ago[1])
    copy_directory(now, str(tmp_path / "m.etcd"))
    with pytest.raises(AssertionError, match="finds something else there"):
        Witness(str(tmp_path / "m.etcd"), writers, "turn 10", may_lose=True).judge(first)


@pytest.mark.parametrize("may_lose", [True, False])
def test_a_log_that_ends_before_the_database(tmp_path, past, capsys, may_lose):
    writers, now, ago = past
    directory = str(tmp_path / "m.etcd")
    copy_directory(ago[1], directory)
    shutil.copy(os.path.join(now, "member/snap/db"), os.path.join(directory, "member/snap/db"))
    witness = Witness(directory, writers, "turn 11", may_lose)
    with Member(OURS, tmp_path, wait=False) as m:
        if may_lose:
            witness.judge_refusal(m)
            assert "turn 11: the log ends before the database, the real etcd says to a put: etcdserver: request timed out" in capsys.readouterr().out
        else:
            with pytest.raises(AssertionError, match="Nothing excuses it"):
                witness.judge_refusal(m)
