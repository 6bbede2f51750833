"""One process life of a member under load: its actors, the gate that makes them stand still, what went wrong, and what it weighs."""
import collections, contextlib, os, re, threading, time, traceback


class Wrong(Exception):
    """The member did what it must not do."""


class Over(Exception):
    """The life ends; the actor that hears it stops."""


class Counts:
    """How often what was done, in all lives."""

    def __init__(self):
        self.lock, self.of = threading.Lock(), collections.Counter()

    def add(self, what, count=1):
        with self.lock:
            self.of[what] += count

    def calls(self):
        """What clients asked for, without what the soak itself did."""
        with self.lock:
            return sum(n for what, n in self.of.items() if what.startswith("call "))


class Life:
    """`ending` is set before a signal that ends the member is sent: from then on calls may fail, and only then. `pace_s` is the mean
    pause between two calls of an actor. While the gate is closed no actor has a call under way; watchers go on reading."""

    def __init__(self, member, counts):
        self.member, self.port, self.counts = member, member.client_port, counts
        self.ending, self.is_still, self.pace_s = threading.Event(), threading.Event(), 0.01
        self.wrongs, self.threads, self.began = [], [], time.monotonic()
        self.condition, self.inside = threading.Condition(), 0

    # ---- actors

    def start(self, name, act):
        """Runs act() on a thread of its own; what it raises is the member's fault unless the life is ending."""
        def run():
            try:
                act()
            except Over:
                pass
            except Wrong as e:
                self.wrongs.append("%s: %s" % (name, e))
            except (OSError, AssertionError, RuntimeError) as e:
                if not self.ending.is_set():
                    self.wrongs.append("%s: %s" % (name, e or traceback.format_exc()))
            except BaseException:
                self.wrongs.append("%s: %s" % (name, traceback.format_exc()))
        thread = threading.Thread(target=run, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()

    def check(self):
        if self.wrongs:
            raise Wrong("; ".join(self.wrongs))
        if not self.ending.is_set() and self.member.process.poll() is not None:
            raise Wrong("the member ended by itself: %s\n%s" % (self.member.process.poll(), self.member.text()[-3000:]))

    def sleep(self, seconds):
        if self.ending.wait(seconds):
            raise Over

    def rest(self, rng):
        self.sleep(rng.expovariate(1 / self.pace_s) if self.pace_s else 0)

    def join(self):
        for t in self.threads:
            t.join(60)
            if t.is_alive():
                raise Wrong("%s does not end" % t.name)

    # ---- the gate

    @contextlib.contextmanager
    def turn(self):
        """A call, or a few that belong together."""
        with self.condition:
            while self.is_still.is_set() and not self.ending.is_set():
                self.condition.wait(1)
            if self.ending.is_set():
                raise Over
            self.inside += 1
        try:
            yield
        finally:
            with self.condition:
                self.inside -= 1
                self.condition.notify_all()

    @contextlib.contextmanager
    def still(self):
        """No actor has a call under way within."""
        self.is_still.set()
        with self.condition:
            if not self.condition.wait_for(lambda: self.inside == 0 or self.wrongs, 60):
                raise Wrong("a call does not end")
        try:
            yield
        finally:
            self.is_still.clear()
            with self.condition:
                self.condition.notify_all()

    def end(self):
        """From here on calls may fail."""
        self.ending.set()
        with self.condition:
            self.condition.notify_all()


# ---- what a process and its files weigh

Weight = collections.namedtuple("Weight", "at rss anon descriptors threads db wal wals snaps")


def weigh(member):
    """RSS and its part that is no file, in bytes; descriptors; threads; bytes of the db and of all segments; numbers of files."""
    pid = member.process.pid
    with open("/proc/%d/status" % pid) as f:
        status = dict(x.split(":", 1) for x in f.read().splitlines())
    kib = lambda name: int(status[name].split()[0]) * 1024

    def files(folder):
        found = {}
        for e in os.scandir(os.path.join(member.dir, "member", folder)):
            with contextlib.suppress(FileNotFoundError):        # it went while it was looked at
                found[e.name] = e.stat()
        return found
    wal, snap = {n: x for n, x in files("wal").items() if not n.endswith(".broken")}, files("snap")
    return Weight(time.monotonic(), kib("VmRSS"), kib("RssAnon"), len(os.listdir("/proc/%d/fd" % pid)), int(status["Threads"]),
                  snap["db"].st_size if "db" in snap else 0, sum(x.st_blocks * 512 for x in wal.values()), len(wal), sum(n.endswith(".snap") for n in snap))


def slope(points):
    """[(x, y)] -> y per x of the line nearest to them."""
    n, sx, sy = len(points), sum(x for x, _ in points), sum(y for _, y in points)
    wide = n * sum(x * x for x, _ in points) - sx * sx
    return (n * sum(x * y for x, y in points) - sx * sy) / wide if wide else 0.0


def judge_flat(name, points, part, least):
    """[(seconds, value)]: over their time the line through them rises by at most `part` of their mean, or `least` -> a line of text."""
    span, mean = points[-1][0] - points[0][0], sum(y for _, y in points) / len(points)
    rise = slope(points) * span
    text = "%s: %d points in %d s, mean %.1f, from %.1f to %.1f, the line through them rises by %.2f" % (
        name, len(points), span, mean, points[0][1], points[-1][1], rise)
    if rise > max(part * mean, least):
        raise Wrong("grows: " + text)
    return text


# ---- the log

# Warnings that a member in health may print: on a busy machine, stopped for a while, or after SIGKILL.
EXPECTED = {
    "simple token is not cryptographically signed": "",
    "Running http and grpc server on single port. This is not recommended for production.": "",
    "apply request took too long": "",
    "slow fdatasync": "",
    "ignored file in WAL directory": r"\.wal\.broken\"",       # SIGKILL cut a write to the log short, which was repaired
}


def judge_log(member):
    """-> {expected message, or that a torn end of the log was repaired: how often}; raises Wrong for any other line above info, and for what is no line of a log."""
    seen = collections.Counter()
    for line in member.text().splitlines():
        m = re.match(r'\{"level":"(\w+)".*?"msg":"((?:[^"\\]|\\.)*)"', line)
        if not m:
            raise Wrong("no line of a log: %s" % line[:2000])
        is_warning = m[1] not in ("info", "debug")
        if is_warning and (m[1] != "warn" or m[2] not in EXPECTED or not re.search(EXPECTED[m[2]], line)):
            raise Wrong("unexpected in the log: %s" % line[:2000])
        if is_warning or m[2] == "repaired WAL":
            seen[m[2]] += 1
    return seen
