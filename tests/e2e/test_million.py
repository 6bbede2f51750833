"""A million keys: filled, compacted, restarted after SIGTERM and after SIGKILL; all there, in bounded time and memory."""
import os, signal, subprocess, time

from members import OURS, Member
from wire import KV, Fields, Wire

COUNT = 1000000


def fill(member, count):
    subprocess.run([os.path.join(OURS, "bench_load"), "fill", "-p", str(member.client_port), "-n", str(count), "-k", "64", "-v", "256"],
                   check=True, stdout=subprocess.DEVNULL, timeout=120)


def totals(member):
    """Revision, number of keys, HashKV of it all, and ten keys from all over."""
    with Wire(member.client_port) as w:
        r = w.ask(KV + "Range", (1, b"\0"), (2, b"\0"), (9, 1))
        some = [w.ask(KV + "Range", (1, b"%c" % c), (2, b"\0"), (3, 3)).all(2) for c in b"\x01ak"]
        revision = r.sub(1).int(3)
        return revision, r.int(4), w.ask("/etcdserverpb.Maintenance/HashKV", (1, revision)).int(2), some


def pages(member):
    """All keys in pages of ten thousand, as a client that lists everything reads them -> how many, and whether in order."""
    with Wire(member.client_port) as w:
        seen, at = 0, b"\0"
        while True:
            r = w.ask(KV + "Range", (1, at), (2, b"\0"), (3, 10000), (8, 1))
            keys = [Fields(x).bytes(1) for x in r.all(2)]
            assert keys == sorted(set(keys)) and keys[0] >= at
            seen, at = seen + len(keys), keys[-1] + b"\0"
            assert r.int(4) == COUNT - seen + len(keys)
            if not r.int(3):
                return seen


def test_a_million_keys(tmp_path):
    args = ["--quota-backend-bytes", "8000000000", "--auto-compaction-retention", "0"]
    with Member(OURS, tmp_path, *args) as m:
        ports = m.ports
        fill(m, COUNT)
        with Wire(m.client_port) as w:
            for key in range(100):      # what compaction takes away
                w.ask(KV + "Put", (1, b"z"), (2, b"%d" % key))
            w.ask(KV + "DeleteRange", (1, b"z"))
            assert w.ask(KV + "Compact", (1, COUNT + 102), (2, 1)).sub(1).int(3) == COUNT + 102
            w.ask(KV + "Put", (1, b"k"), (2, b"first"))     # beyond what the compaction's own hash is kept for
            w.ask(KV + "DeleteRange", (1, b"k"))
        first = totals(m)
        assert first[:2] == (COUNT + 104, COUNT)
        assert pages(m) == COUNT
        assert m.stop() == -signal.SIGTERM
    for how in (signal.SIGKILL, signal.SIGTERM):        # the start after SIGTERM, then the one after SIGKILL
        began = time.monotonic()
        with Member(OURS, tmp_path, *args, ports=ports) as m:
            assert time.monotonic() - began < 10
            assert totals(m) == first
            m.stop(how)
