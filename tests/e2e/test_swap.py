"""The real etcd 3.5 and ours take turns on one data directory under writes. After each turn both programs find what was acknowledged."""
import random, shutil, signal, threading

import pytest
from members import OURS, REAL35, Member
from witness import Witness, state
from writers import Writer

WRITERS = 4


def first_look(folder, tmp_path, args, ports, witness):
    """What the other program finds -> state; None if the directory is such that nobody can go on with it, by the real one's fault."""
    with Member(folder, tmp_path, *args, ports=ports, wait=False) as m:
        try:
            m.wait_ready()
        except AssertionError:
            if folder != OURS:
                raise
            witness.judge_refusal(m)
            return None
        first = state(m)
        witness.judge(first)
        m.kill()
        return first


# SIGKILL as the end of each turn; or in turn with SIGTERM, with so few entries a snapshot that .snap files change hands
@pytest.mark.parametrize("turns, snapshot_count, signals", [
    (24, 10000, [signal.SIGKILL]),
    (12, 40, [signal.SIGTERM, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]),
], ids=["killed", "snapshots"])
def test_turns_lose_nothing(tmp_path, turns, snapshot_count, signals):
    rng, ports, total = random.Random(turns), None, 0
    sure = [Writer.nothing() for _ in range(WRITERS)]
    args = ["--snapshot-count", str(snapshot_count)]
    for turn in range(turns):
        writer_of, judge_of = (OURS, REAL35) if turn % 2 else (REAL35, OURS)
        end = signals[turn % len(signals)]
        with Member(writer_of, tmp_path, *args, ports=ports) as m:
            ports = m.ports
            writers = [Writer(m.client_port, n, turn, sure[n]) for n in range(WRITERS)]
            for w in writers:
                w.start()
            if turn % 4 > 1:        # scheduled compaction runs beside the writes, and may be cut short by the end
                while max(w.last for w in writers) < 50 and any(w.is_alive() for w in writers):
                    threading.Event().wait(0.01)
                m.client.call("/etcdserverpb.KV/Compact", (1, max(w.last for w in writers) - 10))
            threading.Event().wait(rng.uniform(0.15, 0.5))
            m.stop(end)
            for w in writers:
                w.join(30)
                assert not w.is_alive()
            total += sum(w.count for w in writers)
        witness = Witness(m.dir, writers, "turn %d" % turn, writer_of == REAL35 and end == signal.SIGKILL, args)
        first = first_look(judge_of, tmp_path, args, ports, witness)
        if first is None:
            shutil.rmtree(m.dir)
            sure = [Writer.nothing() for _ in range(WRITERS)]
            continue
        with Member(writer_of, tmp_path, *args, ports=ports) as m:
            assert state(m) == first, witness.when
            m.kill()
        witness.drop()
        sure = [first[1].get(n, Writer.nothing()) for n in range(WRITERS)]
    assert total > 20 * turns
