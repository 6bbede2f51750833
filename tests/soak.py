#!/usr/bin/env python3
"""A member of ours for long, on a real disk, under load that changes: what `make soak SECONDS=n` does.

    soak.py [--seconds N] [--seed N] [--dir FOLDER] [--port N]

The member lives many short lives, one long one (at least a third of the time), and short ones again. A life ends by SIGTERM
or SIGKILL under load, at rest, while it is stopped, or amid a compaction, a defragmentation or a snapshot. After each:

    what was acknowledged is there, to the key, the lease, the user and the role; no more than the calls under way besides
    HashKV at revisions of before is what it was
    watchers go on where they were: each event once, in order, none missing; what they made of them equals a range
    now and then: a copy of the directory says the same in a second process of ours, and in the real etcd 3.5.1

In the long life all is compared every few seconds while calls stand still; memory and descriptors at those moments must not
rise. Snapshots taken under load are restored by the real etcdutl and compared. Sizes of log and database stay bounded, and the
log of the member holds no warning but those known (soak_life.EXPECTED). Exit status 1, and the directory kept, at the first fault.
"""
import argparse, os, random, shutil, signal, sys, tempfile, time, traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))
from members import OURS, REAL35, Member, free_ports                                        # noqa: E402
from soak_life import Counts, Life, Wrong, judge_flat, judge_log, weigh                     # noqa: E402
from soak_load import Flood, Holder, Manager, Reader, Rude, SoakWriter                      # noqa: E402
from soak_upkeep import ALL, Operator, judge_restored, judge_same, pairs, probe             # noqa: E402
from soak_watch import Watched, Watches                                                     # noqa: E402
from wire import Wire                                                                       # noqa: E402
from witness import copy_directory                                                          # noqa: E402
from writers import Writer, content, judge                                                  # noqa: E402

WRITERS = 6
MAX_WALS = 3
WALS_AT_MOST = MAX_WALS + 6             # one is made beforehand, and old ones go every 30 s
MIB = 1 << 20
# Few entries are kept in memory, so that what leaks is not lost in their coming and going.
ARGS = ["--snapshot-count", "1000", "--experimental-snapshot-catchup-entries", "200", "--max-wals", str(MAX_WALS), "--max-snapshots", "3",
        "--bcrypt-cost", "4", "--experimental-watch-progress-notify-interval", "3s"]
LONG_FROM, LONG_PART = 0.3, 0.4         # where the long life begins, and how much of the time it has
WARM_UP = 0.25                          # of the long life
LEAST_FOR_MEMORY_S = 300                # a shorter long life has not seen its load's ups and downs often enough
DB_BYTES = 512 * MIB                    # far beyond what lives in it at any time
ENDS = ["kill"] * 5 + ["term"] * 3 + ["kill at rest", "term at rest", "kill when stopped", "kill amid compaction", "kill amid defragmentation", "kill amid snapshot"]
PACES_S = [0, 0, 0.002, 0.01, 0.05]
ROW = "%7s %5s %10s %7s %8s %7s %7s %4s %4s %7s %9s %6s"


class Soak:
    def __init__(self, seconds, seed, folder, port):
        self.rng, self.folder, self.seconds, self.port = random.Random(seed), folder, seconds, port
        self.began, self.counts, self.lives, self.turn = time.monotonic(), Counts(), 0, 0
        self.sure = [Writer.nothing() for _ in range(WRITERS)]
        compacted = lambda: self.operator.compacted
        self.whole = Watched(*ALL, compacted, prev_kv=True)
        self.parts = [Watched(b"w%d/" % n, b"w%d0" % n, compacted, prev_kv=n % 2 == 0) for n in range(WRITERS)]
        self.lazy = Watched(b"l", b"x", compacted, may_fall_behind=True)
        self.watched = [self.whole, *self.parts, self.lazy]
        self.operator = Operator(seed, folder, lambda: [w.position for w in self.watched if not w.may_fall_behind])
        self.holder, self.manager, self.writers, self.member, self.expected = Holder(seed), Manager(seed), [], None, {}
        self.weights, self.stills, self.next_row, self.last_row = [], [], 0.0, (0.0, 0)
        self.row_s = min(60, max(5, seconds / 6))

    def age(self):
        return time.monotonic() - self.began

    # ---- a life

    def begin(self):
        """Starts the member and all who use it -> Life."""
        self.lives += 1
        life = Life(self.member, self.counts)
        life.pace_s = self.rng.choice(PACES_S)
        self.writers = [SoakWriter(life, n, self.rng.randrange(1 << 30), self.sure[n]) for n in range(WRITERS)]
        for w in self.writers:
            life.start("writer %d" % w.number, w.act)
        streams = [("watcher", Watches([self.whole], self.rng)), ("watchers", Watches(self.parts, self.rng)),
                   ("lazy watcher", Watches([self.lazy], self.rng, naps_s=4))]
        seed = self.rng.randrange(1 << 30)
        for name, actor in [*streams, ("holder", self.holder), ("manager", self.manager), ("operator", self.operator), ("flood", Flood(seed)),
                            ("rude", Rude(seed)), *[("reader %d" % i, Reader(seed + i, lambda: self.operator.compacted)) for i in range(2)]]:
            life.start(name, lambda actor=actor: actor.act(life))
        return life

    def live(self, seconds, is_long=False):
        life = self.begin()
        end = time.monotonic() + seconds
        every_s = max(2.5, min(15, seconds / 12))
        still, weight, change = (time.monotonic() + self.rng.uniform(0.5, 1) * x for x in (every_s, 0, 6))
        stop = time.monotonic() + self.rng.uniform(1, 20)
        restore = time.monotonic() + (seconds / 2 if is_long else 1e9)
        while time.monotonic() < end:
            life.check()
            now = time.monotonic()
            if now >= weight:
                weight = now + 1
                self.weigh()
            if now >= change:
                life.pace_s, change = self.rng.choice(PACES_S), now + self.rng.uniform(2, 12)
            if now >= stop:
                self.pause(self.rng.uniform(0.05, 3))
                stop = time.monotonic() + self.rng.uniform(5, 40)
            if is_long and now >= still:
                self.compare(life)
                still = time.monotonic() + every_s
            if now >= restore:
                self.restored(life)
                restore = time.monotonic() + max(60, seconds / 6)
            time.sleep(max(0, min(0.1, end - time.monotonic())))
        return life

    def pause(self, seconds):
        self.member.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.member.process.send_signal(signal.SIGCONT)
        self.counts.add("SIGSTOP and SIGCONT")

    def weigh(self):
        self.weights.append((self.age(), weigh(self.member)))
        if self.age() >= self.next_row:
            self.row()
            self.next_row += self.row_s

    def row(self):
        w, calls = self.weights[-1][1], self.counts.calls()
        rate = (calls - self.last_row[1]) / max(0.001, self.age() - self.last_row[0])
        self.last_row = self.age(), calls
        print(ROW % ("%d s" % self.age(), self.lives, calls, "%d" % rate, self.whole.position, "%.1f" % (w.rss / MIB), "%.1f" % (w.anon / MIB), w.descriptors,
                     w.threads, "%.1f" % (w.db / MIB), "%d (%d)" % (w.wal / MIB, w.wals), w.snaps), flush=True)

    def restored(self, life):
        folder = tempfile.mkdtemp(dir=self.folder)
        judge_restored(life, self.operator, folder)
        shutil.rmtree(folder)

    # ---- what is found

    def rest(self, life):
        """Within life.still(): everything acknowledged is there, nothing else, and all watchers have seen it."""
        life.check()
        with Wire(life.port) as w:
            for watched in self.watched:
                watched.settle(w)
        revision, found = content(life.port)
        judge(revision, found, self.writers, "at rest")
        self.manager.judge(life.port)
        life.check()

    def compare(self, life):
        with life.still():
            self.rest(life)
            time.sleep(0.2)         # what closed connections leave goes within that
            self.stills.append((self.lives, weigh(self.member)))
            self.counts.add("comparison at rest")

    def end(self, life, how):
        """Ends a life -> what it said at rest just before, if it was at rest: revision, pairs, probe."""
        last, mark = None, signal.SIGTERM if how.startswith("term") else signal.SIGKILL
        if "at rest" in how:
            with life.still():
                self.rest(life)
                with Wire(life.port) as w:
                    revision, found = pairs(w, *ALL)
                    last = revision, found, probe(w, revision)
                life.end()
                status = self.member.stop(mark)
        else:
            if "amid" in how:
                act = {"compaction": self.operator.compact, "defragmentation": self.operator.defragment, "snapshot": self.operator.snapshot}[how.split()[-1]]

                def run():
                    with Wire(life.port) as w:
                        act(life, w)
                life.start(how, run)
                time.sleep(self.rng.uniform(0, 0.05))
            life.check()
            if "stopped" in how:
                self.member.process.send_signal(signal.SIGSTOP)
                time.sleep(self.rng.uniform(0, 1))
            life.end()
            status = self.member.stop(mark)
        life.join()
        if life.wrongs:
            raise Wrong("; ".join(life.wrongs))
        if status != -mark:
            raise Wrong("ended by signal %d with status %d" % (mark, status))
        self.judge_log(self.member)
        self.counts.add("end: " + how)
        return last

    def judge_log(self, member):
        for message, count in judge_log(member).items():
            self.expected[message] = self.expected.get(message, 0) + count

    def renew(self, how, last, copies):
        """The member starts again, and says what it must; so do others on copies of its directory. copies: folders of programs."""
        left = []
        for program in copies:
            folder = tempfile.mkdtemp(dir=self.folder)
            copy_directory(self.member.dir, os.path.join(folder, "m.etcd"))
            left.append((program, folder))
        when = "life %d, after %s" % (self.lives + 1, how)
        self.member = Member(OURS, self.folder, *ARGS, ports=free_ports(2, self.port))
        self.holder.member_began()
        port = self.member.client_port
        revision, found = content(port)
        judge(revision, found, self.writers, when)
        self.sure = [found.get(n, Writer.nothing()) for n in range(WRITERS)]
        self.manager.judge(port)
        for w in self.watched:
            if w.position > revision:
                raise Wrong("%s: a watcher has seen revision %d, the store ends at %d" % (when, w.position, revision))
        with Wire(port) as w:
            self.operator.judge_probes(self, w)
            if last and (pairs(w, *ALL, last[0])[1], probe(w, last[0])) != last[1:]:
                raise Wrong("%s: not what it was at rest" % when)
        for program, folder in left:
            with Member(program, folder, *(ARGS if program == OURS else ()), ports=free_ports(2, self.port)) as m:
                judge_same(port, m.client_port, "%s, a copy in %s" % (when, program))
                if program == OURS:
                    m.stop()
                    self.judge_log(m)
            shutil.rmtree(folder)
            self.counts.add("copy compared in the real etcd" if program == REAL35 else "copy compared in ours")

    # ---- the whole

    def short_lives(self, until_s):
        mean_s = min(3, self.seconds / 20)
        while self.age() < until_s:
            life = self.live(min(self.rng.expovariate(1 / mean_s), 4 * mean_s, max(0.1, until_s - self.age())))
            how = self.rng.choice(ENDS)
            self.turn += 1
            self.renew(how, self.end(life, how), {1: [OURS], 4: [REAL35]}.get(self.turn % 6, []))

    def run(self):
        print(ROW % ("time", "lives", "calls", "per s", "rev", "RSS MB", "anon MB", "fds", "thr", "db MB", "WAL (n)", ".snap"))
        self.member = Member(OURS, self.folder, *ARGS, ports=free_ports(2, self.port))
        self.short_lives(LONG_FROM * self.seconds)
        began = time.monotonic()
        life = self.live(LONG_PART * self.seconds, is_long=True)
        self.compare(life)
        verdicts = self.judge_long(life, time.monotonic() - began)
        self.renew("kill", self.end(life, "kill"), [OURS, REAL35])
        self.short_lives(self.seconds)
        life = self.live(1)
        self.renew("term at rest", self.end(life, "term at rest"), [REAL35])
        self.member.stop()
        self.judge_log(self.member)
        return verdicts + self.judge_sizes()

    def judge_long(self, life, seconds):
        """Memory and descriptors at rest, after the warm-up."""
        at_rest = [w for n, w in self.stills if n == self.lives]
        at_rest = at_rest[int(WARM_UP * len(at_rest)):]
        points = lambda name, unit: [(w.at - at_rest[0].at, getattr(w, name) / unit) for w in at_rest]
        few = 2 if seconds >= LEAST_FOR_MEMORY_S else 8         # a segment of the log or a defragmentation holds some for a moment
        lines = ["the long life: %d s, %d comparisons at rest after the warm-up" % (seconds, len(at_rest)),
                 judge_flat("descriptors", points("descriptors", 1), 0, few),
                 judge_flat("threads", points("threads", 1), 0, few)]
        lines += ["memory that is no file, at rest (MB): " + " ".join("%.0f" % y for _, y in points("anon", MIB))]
        if seconds < LEAST_FOR_MEMORY_S:
            return lines + ["too short to say whether memory and database are flat"]
        return lines + [judge_flat("memory that is no file (MB)", points("anon", MIB), 0.25, 8),
                        judge_flat("RSS but for the database's pages (MB)", [(w.at - at_rest[0].at, (w.rss - w.db) / MIB) for w in at_rest], 0.2, 16),
                        judge_flat("database (MB)", points("db", MIB), 0.25, 16)]

    def judge_sizes(self):
        largest = {name: max(getattr(w, name) for _, w in self.weights) for name in ("rss", "anon", "descriptors", "db", "wal", "wals", "snaps")}
        if largest["db"] > DB_BYTES:
            raise Wrong("the database took %d MB" % (largest["db"] / MIB))
        if largest["wals"] > WALS_AT_MOST:
            raise Wrong("there were %d segments of the WAL" % largest["wals"])
        return ["largest: RSS %.1f MB, of it no file %.1f MB, %d descriptors, database %.1f MB, WAL %.1f MB in %d files, %d .snap files" % (
            largest["rss"] / MIB, largest["anon"] / MIB, largest["descriptors"], largest["db"] / MIB, largest["wal"] / MIB, largest["wals"], largest["snaps"])]

    def summary(self):
        print("\n%d s, %d lives, %d calls, revision %d" % (self.age(), self.lives, self.counts.calls(), self.whole.position))
        for what, count in sorted(self.counts.of.items()):
            print("  %9d  %s" % (count, what))
        print("  %9d  event checked; %d lists anew" % (sum(w.events for w in self.watched), sum(w.lists for w in self.watched)))
        for what, count in sorted(self.expected.items()):
            print("  %9d  in the log, expected: %s" % (count, what))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--seed", type=int, default=None, help="chosen by chance if not given")
    p.add_argument("--dir", default=os.path.join(ROOT, "build/soak"), help="on the disk that is to be used")
    p.add_argument("--port", type=int, default=0, help="take free ones of the 200 ports from here on")
    a = p.parse_args()
    seed = a.seed if a.seed is not None else random.SystemRandom().randrange(1 << 31)
    os.makedirs(a.dir, exist_ok=True)
    folder = tempfile.mkdtemp(dir=a.dir)
    print("soak of %d s, seed %d, in %s" % (a.seconds, seed, folder), flush=True)
    soak = Soak(a.seconds, seed, folder, a.port)
    try:
        verdicts = soak.run()
    except (Exception, KeyboardInterrupt) as e:
        soak.summary()
        print("\nFAILED after %d s, seed %d, kept in %s:\n%s" % (soak.age(), seed, folder, e if isinstance(e, Wrong) else traceback.format_exc()))
        return 1
    finally:
        if soak.member:
            soak.member.kill()
    soak.summary()
    print("\n" + "\n".join(verdicts))
    shutil.rmtree(folder)
    print("soak: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
