"""The real etcd 3.5 and ours take turns on one data directory under writes, each stopped by SIGKILL."""
import random, threading

import pytest
from members import OURS, REAL35, Member
from replay.client import CallError

TURNS = 20


class Writer(threading.Thread):
    """Puts keys one after another until the server is gone. `sure`: acknowledged; `maybe`: the one that was under way."""

    def __init__(self, member, turn, number, sure):
        super().__init__()
        self.client, self.turn, self.number, self.sure, self.maybe, self.count = member.client, turn, number, sure, {}, 0

    def run(self):
        rng = random.Random(self.turn * 100 + self.number)
        while True:
            key = b"w%d/%d" % (self.number, rng.randrange(40))
            value = b"%d-%d" % (self.turn, self.count) + b"x" * rng.randrange(2000)
            self.maybe = {key: value}
            try:
                self.client.put(key, value)
            except (OSError, CallError, ValueError, IndexError):
                return
            self.sure[key], self.maybe = value, {}
            self.count += 1


def content(member):
    import base64
    return {base64.b64decode(x["key"]): base64.b64decode(x.get("value", "")) for x in member.client.range()[2]}


@pytest.mark.parametrize("seed", [1])
def test_turns_lose_nothing(tmp_path, seed):
    rng, ports, sure, hashes = random.Random(seed), None, {}, []
    maybe, written = {}, 0
    for turn in range(TURNS + 1):
        ours = turn % 2 == 1
        with Member(OURS if ours else REAL35, tmp_path, "--snapshot-count", "100", ports=ports) as m:
            ports = m.ports
            found = content(m)
            for key in set(found) | set(sure):
                assert found.get(key) in (sure.get(key), maybe.get(key, sure.get(key))), "turn %d: %r" % (turn, key)
            sure = dict(found)
            revision = m.client.range()[0]
            hashes.append(m.client.hashkv(revision))
            if turn == TURNS:
                break
            if turn and turn % 6 == 0:
                m.client.call("/etcdserverpb.KV/Compact", (1, revision - 5))
            # each state is judged by the other program too: before it is written to, after the same kill
            check = m.client.hashkv(revision)["hash"]
            m.process.kill()
            m.process.wait()
            with Member(REAL35 if ours else OURS, tmp_path, "--snapshot-count", "100", ports=ports) as other:
                assert other.client.range()[0] == revision
                assert other.client.hashkv(revision)["hash"] == check, "turn %d" % turn
                assert content(other) == found
                other.process.kill()
                other.process.wait()
        with Member(OURS if ours else REAL35, tmp_path, "--snapshot-count", "100", ports=ports) as m:
            writers = [Writer(m, turn, n, sure) for n in range(4)]
            for w in writers:
                w.start()
            timer = threading.Timer(rng.uniform(0.1, 0.6), m.process.kill)
            timer.start()
            for w in writers:
                w.join(30)
            timer.cancel()
            m.process.kill()
            m.process.wait()
            maybe = {k: v for w in writers for k, v in w.maybe.items()}
            written += sum(w.count for w in writers)
    assert written > 20 * TURNS
