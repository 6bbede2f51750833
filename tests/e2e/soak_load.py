"""Who uses a member in a soak: writers, holders of leases, who manages users, readers, rude clients, and floods of bench_load."""
import json, math, os, random, socket, struct, subprocess, time, urllib.request

from members import OURS
from soak_life import Over, Wrong
from soak_watch import pairs
from wire import AUTH, GRPC, HEADERS, KV, LEASE, RANGE, WATCH, Fields, Wire, frame, lit, message
from writers import Writer

NOT_FOUND, OUT_OF_RANGE = 5, 11


class SoakWriter(Writer):
    """A writer that also makes large values and wide transactions, reads what it wrote, and stands still when told to."""

    def __init__(self, life, number, seed, sure):
        super().__init__(life.port, number, seed, sure)
        self.life = life

    def value(self):
        kind = self.rng.random()
        size = self.rng.randrange(100000, 700000) if kind < 0.003 else self.rng.randrange(20000) if kind < 0.1 else self.rng.randrange(1000)
        return b"%d" % self.rng.randrange(10**9) + b"x" * size

    def step(self):
        if self.rng.random() < 0.95:
            return super().step()
        keys, value = dict(self.sure["keys"]), b"%d" % self.rng.randrange(10**9)
        many = {self.key() for _ in range(self.rng.randrange(2, 30))}
        keys.update((k, (value, 0)) for k in many)
        operations = [(2, message((2, message((1, k), (2, value))))) for k in sorted(many)]
        whole = (2, message((1, message((1, b"w%d/" % self.number), (2, b"w%d0" % self.number), (9, 1)))))
        return KV + "Txn", (*operations, whole), {"keys": keys, "leases": self.sure["leases"]}

    def act(self):
        with Wire(self.port) as w:
            while True:
                with self.life.turn():
                    if not self.once(w):
                        raise RuntimeError("refused: %s %s" % self.refusal)
                    if self.rng.random() < 0.1:
                        self.read_back(w)
                self.life.counts.add("call of writers")
                self.life.rest(self.rng)

    def read_back(self, w):
        """What it has just been told is there for the next read, linearizable or not."""
        r = w.ask(RANGE, (1, b"w%d/" % self.number), (2, b"w%d0" % self.number), (7, self.rng.randrange(2)))
        found = {}
        for x in r.all(2):
            f = Fields(x)
            found[f.bytes(1)] = f.bytes(5), f.int(6)
        if found != self.sure["keys"]:
            raise Wrong("reads other than it wrote: %r" % [k for k in {*found, *self.sure["keys"]} if found.get(k) != self.sure["keys"].get(k)])
        self.life.counts.add("call of writers reading back")


class Holder:
    """Leases of few seconds with keys below l/, some renewed, some revoked, most left to expire: none too early, none much too late."""

    NUMBER, SLACK_S = 9, 10         # ids end with this digit, those of writers with theirs

    def __init__(self, seed):
        self.rng, self.held, self.gone, self.since = random.Random(seed), {}, set(), 0.0

    def member_began(self):
        """A member that starts gives each lease its whole time again."""
        self.since = time.monotonic()

    def act(self, life):
        with Wire(life.port) as w:
            while True:
                with life.turn():
                    self.step(w)
                    self.look(w, life)
                life.counts.add("call of lease holders", 3)
                life.sleep(self.rng.uniform(0, 0.4))

    def step(self, w):
        kind = self.rng.random()
        if len(self.held) < 3 or kind < 0.2 and len(self.held) < 12:
            lease, began = self.rng.randrange(1, 1 << 40) * 10 + self.NUMBER, time.monotonic()
            ttl = self.rng.randrange(4, 12)
            s = w.ask(LEASE + "LeaseGrant", (1, ttl), (2, lease))
            self.held[lease] = {"ttl": ttl, "from": began, "to": time.monotonic(), "keys": set(), "in doubt": False}
            if (s.int(2), s.int(3)) != (lease, ttl):
                raise Wrong("granted %d for %d s instead of %d for %d s" % (s.int(2), s.int(3), lease, ttl))
            return
        lease = self.rng.choice(sorted(self.held))
        h = self.held[lease]
        if kind < 0.6:
            key = b"l/%d/%d" % (lease, self.rng.randrange(4))
            s = w.call(KV + "Put", (1, key), (2, b"x" * self.rng.randrange(2000)), (3, lease))
            if s.status == 0:
                h["keys"].add(key)
            elif s.status != NOT_FOUND or time.monotonic() < h["from"] + h["ttl"] and not h["in doubt"]:
                raise RuntimeError("a put with lease %d: %s %s" % (lease, s.status, s.text))
        elif kind < 0.75:
            began, h["to"] = time.monotonic(), math.inf
            s = w.call(LEASE + "LeaseKeepAlive", (1, lease))
            if s.status != 0:
                raise RuntimeError("keepalive: %s %s" % (s.status, s.text))
            if Fields(s.messages[0]).int(3) > 0:
                h["from"] = began
            elif time.monotonic() < h["from"] + h["ttl"] and not h["in doubt"]:
                raise Wrong("lease %d cannot be renewed" % lease)
            h["to"] = time.monotonic()
        elif kind < 0.85:
            h["in doubt"] = True
            s = w.call(LEASE + "LeaseRevoke", (1, lease))
            if s.status not in (0, NOT_FOUND):
                raise RuntimeError("revoke: %s %s" % (s.status, s.text))

    def look(self, w, life):
        began = time.monotonic()
        _, keys = pairs(w, b"l/", b"l0")
        leases = {Fields(x).int(1) for x in w.ask(LEASE + "LeaseLeases").all(2)}
        ended = time.monotonic()
        for key in keys:
            if int(key.split(b"/")[1]) in self.gone:
                raise Wrong("%r outlives its lease" % key)
        for lease, h in list(self.held.items()):
            if h["to"] == math.inf:
                h["to"] = self.since        # the member ended while the lease was renewed
            is_there, is_whole = lease in leases, h["keys"] <= set(keys)
            if not (is_there and is_whole) and ended < h["from"] + h["ttl"] and not h["in doubt"]:
                raise Wrong("lease %d of %d s is gone after %.3f s" % (lease, h["ttl"], ended - h["from"]))
            if is_there and began > max(h["to"], self.since) + h["ttl"] + self.SLACK_S:
                raise Wrong("lease %d of %d s is there after %.3f s" % (lease, h["ttl"], began - h["from"]))
            if not is_there:
                del self.held[lease]
                self.gone.add(lease)
                life.counts.add("lease revoked or expired")


def accounts(wire):
    """-> {"users": {name: its roles}, "roles": {name: keys it may touch}}, all asked for at once."""
    def each(method, names):
        numbers = [wire.open(AUTH + method, ((1, n),)) for n in names]
        streams = [wire.streams[n] for n in numbers]
        if not wire.until(lambda: all(s.is_over for s in streams)) or any(s.status != 0 for s in streams):
            raise RuntimeError("%s: %r" % (method, [(s.status, s.text) for s in streams]))
        return [Fields(s.messages[0]).all(2) for s in streams]
    users, roles = (wire.ask(AUTH + x).all(2) for x in ("UserList", "RoleList"))
    return {"users": {u.decode(): frozenset(r.decode() for r in of) for u, of in zip(users, each("UserGet", users))},
            "roles": {r.decode(): frozenset(Fields(p).text(2) for p in of) for r, of in zip(roles, each("RoleGet", roles))}}


class Manager:
    """Adds, changes and deletes users and roles. `sure` and `maybe` as those of writers."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.sure = self.maybe = {"users": {}, "roles": {}}

    def step(self):
        users, roles = dict(self.sure["users"]), dict(self.sure["roles"])
        user, role, kind = "u%d" % self.rng.randrange(8), "r%d" % self.rng.randrange(8), self.rng.random()
        if user not in users:
            users[user] = frozenset()
            path, q = "UserAdd", ((1, user), (2, "secret")) if kind < 0.3 else ((1, user), (3, message((1, 1))))
        elif role not in roles:
            roles[role] = frozenset()
            path, q = "RoleAdd", ((1, role),)
        elif kind < 0.2:
            del users[user]
            path, q = "UserDelete", ((1, user),)
        elif kind < 0.4:
            del roles[role]
            users = {u: of - {role} for u, of in users.items()}
            path, q = "RoleDelete", ((1, role),)
        elif kind < 0.7 and role not in users[user]:
            users[user] |= {role}
            path, q = "UserGrantRole", ((1, user), (2, role))
        else:
            key = "p%d" % self.rng.randrange(5)
            roles[role] |= {key}
            path, q = "RoleGrantPermission", ((1, role), (2, message((1, 2), (2, key))))
        return AUTH + path, q, {"users": users, "roles": roles}

    def act(self, life):
        with Wire(life.port) as w:
            while True:
                with life.turn():
                    path, q, self.maybe = self.step()
                    w.ask(path, *q)
                    self.sure = self.maybe
                life.counts.add("call of managers")
                life.sleep(self.rng.uniform(0, 0.2))

    def judge(self, port):
        with Wire(port) as w:
            found = accounts(w)
        if found not in (self.sure, self.maybe):
            raise Wrong("users and roles: found %r, acknowledged %r" % (found, self.sure))
        self.sure = self.maybe = found


class Reader:
    """Reads again what it has read: the past does not change, and the revision never goes back."""

    def __init__(self, seed, compacted):
        self.rng, self.compacted = random.Random(seed), compacted

    def act(self, life):
        last = 0
        with Wire(life.port) as w:
            while True:
                with life.turn():
                    key = b"w%d/%02d" % (self.rng.randrange(6), self.rng.randrange(40))
                    end = self.rng.choice([b"x", key + b"9", key[:2] + b"0"])
                    revision, first = pairs(w, key, end)
                    if revision < last:
                        raise Wrong("the revision goes back from %d to %d" % (last, revision))
                    last = revision
                    life.rest(self.rng)
                    self.again(w, key, end, revision, first)
                life.counts.add("call of readers", 3)
                life.rest(self.rng)

    def again(self, w, key, end, revision, first):
        s = w.call(RANGE, (1, key), (2, end), (4, revision), (9, 1))
        if s.status == OUT_OF_RANGE and revision < self.compacted():
            return
        count = Fields(s.messages[0]).int(4) if s.status == 0 else None
        if count != len(first):
            raise Wrong("%r..%r had %d keys at %d, then %r %s" % (key, end, len(first), revision, count, s.text))
        try:
            _, second = pairs(w, key, end, revision)
        except RuntimeError:
            if revision < self.compacted():
                return
            raise
        if second != first:
            raise Wrong("%r..%r at %d has changed" % (key, end, revision))


class Rude:
    """Comes, asks, and goes without a word. What it leaves behind shows in memory and descriptors."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def act(self, life):
        ways = [self.silent, self.half, self.streams, self.resets, self.http, self.cancels, self.linger]
        while True:
            with life.turn():
                self.rng.choice(ways)(life)
            life.counts.add("call of rude clients")
            life.sleep(self.rng.uniform(0, 0.1))

    def silent(self, life):
        with socket.create_connection(("127.0.0.1", life.port), 5):
            life.ending.wait(self.rng.uniform(0, 0.1))

    def half(self, life):
        with Wire(life.port) as w:
            block = b"".join(lit(k, v) for k, v in [(":method", "POST"), (":scheme", "http"), (":path", RANGE), *GRPC])
            w.socket.sendall(frame(HEADERS, 4, 1, block)[:self.rng.randrange(1, 40)])

    def streams(self, life):
        with Wire(life.port) as w:
            for _ in range(self.rng.randrange(20)):
                w.open(WATCH, ((1, message((1, b"w"), (2, b"x"))),), end=False)
                w.open(LEASE + "LeaseKeepAlive", ((1, 1),), end=False)
            w.read(0.05)

    def resets(self, life):
        with Wire(life.port) as w:
            for _ in range(self.rng.randrange(50)):
                w.reset(w.open(RANGE, ((1, b"\0"), (2, b"\0"))))
            w.ask(RANGE, (1, b"w"))

    def http(self, life):
        with urllib.request.urlopen("http://127.0.0.1:%d%s" % (life.port, self.rng.choice(["/health", "/version"])), timeout=15) as r:
            r.read(self.rng.choice([1, 1 << 20]))

    def cancels(self, life):
        with Wire(life.port) as w:
            for _ in range(self.rng.randrange(10)):
                number = w.open(WATCH, ((1, message((1, b"w"), (2, b"x"), (7, 5))),), end=False)
                s = w.streams[number]
                if not w.until(lambda: s.messages):
                    raise RuntimeError("no watcher is made")
                w.send(number, (2, message((1, 5))))
                if not w.until(lambda: Fields(s.messages[-1]).int(4)):
                    raise RuntimeError("a watcher is not cancelled")

    def linger(self, life):
        w = Wire(life.port)
        w.open(RANGE, ((1, b"\0"), (2, b"\0")))
        w.read(0.1)
        w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        w.socket.close()


class Flood:
    """bench_load now and then: as much at once as it takes, on keys below k."""

    KEYS = 20000

    def __init__(self, seed):
        self.rng, self.process, self.pause_s = random.Random(seed), None, 6

    def act(self, life):
        while True:
            life.sleep(self.rng.uniform(0, 2 * self.pause_s))
            with life.turn():
                what = self.rng.choice(["fill", "fill", "del", "txn", "lget", "get", "range", "mixed"])
                n = self.rng.randrange(200, 400 if what == "range" else self.KEYS)
                argv = [os.path.join(OURS, "bench_load"), what, "-p", str(life.port), "-n", str(n), "-o", str(self.rng.randrange(self.KEYS - n + 1)),
                        "-K", str(self.KEYS), "-c", str(self.rng.randrange(1, 20)), "-s", str(self.rng.randrange(1, 20)), "-w", "0", "-t", "20",
                        "-v", str(self.rng.choice([10, 100, 1000]))]
                self.process = p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                while p.poll() is None and not life.ending.wait(0.02):
                    pass
                p.kill()
                out, errors = p.communicate()
            if life.ending.is_set():
                raise Over
            if p.returncode != 0:
                raise RuntimeError("bench_load %s: %s" % (what, errors.decode()))
            life.counts.add("call of floods", json.loads(out)["calls"])
