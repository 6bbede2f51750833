"""Writers that know what must be there after the server was killed under them."""
import random, threading

from wire import KV, LEASE, Fields, Wire, message

KEYS = 40


class Writer(threading.Thread):
    """Puts, deletes, transactions and leases on keys of its own, one call after another, until the server is gone.

    `sure` is what the acknowledged calls made, `maybe` what it would be if the call under way got through as well: each
    {"keys": {key: (value, lease)}, "leases": set of ids}. `last` is the last acknowledged revision. `before` and `before_last`
    are `sure` and `last` without the last acknowledged call, `answer` is the revision it was answered with.
    """

    def __init__(self, port, number, seed, sure):
        super().__init__(daemon=True)
        self.port, self.number, self.rng = port, number, random.Random(seed * 1000 + number)
        self.sure, self.maybe, self.count, self.last, self.revisions = sure, sure, 0, 0, []
        self.before, self.before_last, self.answer = sure, 0, 0

    @staticmethod
    def nothing():
        return {"keys": {}, "leases": set()}

    def key(self):
        return b"w%d/%02d" % (self.number, self.rng.randrange(KEYS))

    def value(self):
        return b"%d" % self.rng.randrange(10**9) + b"x" * self.rng.randrange(2000)

    def step(self):
        """-> path, pairs and the content when it is done."""
        keys, leases = dict(self.sure["keys"]), set(self.sure["leases"])
        kind = self.rng.random()
        if kind < 0.6:
            key, value, lease = self.key(), self.value(), 0
            if leases and kind < 0.1:
                lease = self.rng.choice(sorted(leases))
            keys[key] = (value, lease)
            path, pairs = KV + "Put", ((1, key), (2, value), *([(3, lease)] if lease else []))
        elif kind < 0.72:
            first, last = sorted((self.key(), self.key()))
            keys = {k: v for k, v in keys.items() if not first <= k < last}
            path, pairs = KV + "DeleteRange", ((1, first), (2, last)) if first < last else ((1, first), (2, first))
        elif kind < 0.92:
            one, two, gone, value = b"w%d/t1" % self.number, b"w%d/t2" % self.number, self.key(), self.value()
            keys[one] = keys[two] = (value, 0)
            keys.pop(gone, None)
            put = lambda k: (2, message((2, message((1, k), (2, value)))))
            path, pairs = KV + "Txn", (put(one), put(two), (2, message((3, message((1, gone))))))
        elif len(leases) < 4:
            new = self.rng.randrange(1, 1 << 40) * 10 + self.number
            leases.add(new)
            path, pairs = LEASE + "LeaseGrant", ((1, 100000), (2, new))
        else:
            old = self.rng.choice(sorted(leases))
            leases.remove(old)
            keys = {k: v for k, v in keys.items() if v[1] != old}
            path, pairs = LEASE + "LeaseRevoke", ((1, old),)
        return path, pairs, {"keys": keys, "leases": leases}

    def once(self, wire):
        """One call -> whether it was acknowledged."""
        path, pairs, then = self.step()
        self.maybe = then
        s = wire.call(path, *pairs)
        if s.status != 0:
            self.refusal = s.status, s.text
            return False
        self.answer = Fields(s.messages[0]).sub(1).int(3)
        if path.startswith(KV):
            self.revisions.append(self.answer)
        self.before, self.before_last = self.sure, self.last
        self.last, self.sure, self.count = max(self.last, self.answer), then, self.count + 1
        return True

    def one_back(self):
        """-> this writer as it was before its last acknowledged call."""
        w = Writer(self.port, self.number, 0, self.before)
        w.last = self.before_last
        return w

    def run(self):
        try:
            with Wire(self.port) as w:
                while self.once(w):
                    pass
        except (OSError, AssertionError, RuntimeError):
            return      # the server is gone


def content(port):
    """-> revision, {number of writer: its content} as the server tells it."""
    with Wire(port) as w:
        r = w.ask(KV + "Range", (1, b"w"), (2, b"x"))
        found = {}
        for x in r.all(2):
            pair = Fields(x)
            key = pair.bytes(1)
            found.setdefault(int(key[1:2]), Writer.nothing())["keys"][key] = (pair.bytes(5), pair.int(6))
        for x in w.ask(LEASE + "LeaseLeases").all(2):
            lease = Fields(x).int(1)
            found.setdefault(lease % 10, Writer.nothing())["leases"].add(lease)
        return r.sub(1).int(3), found


def judge(revision, found, writers, when=""):
    """Every writer's keys and leases are as acknowledged, or with the one call more that was under way."""
    for w in writers:
        own = found.get(w.number, Writer.nothing())
        if own != w.sure and own != w.maybe:
            lost = {k: (own["keys"].get(k), w.sure["keys"].get(k)) for k in set(own["keys"]) | set(w.sure["keys"])
                    if own["keys"].get(k) != w.sure["keys"].get(k)}
            raise AssertionError("%s writer %d: found and acknowledged differ: %r; leases %r and %r" % (
                when, w.number, {k: tuple(v and (v[0][:12], v[1]) for v in x) for k, x in lost.items()}, own["leases"], w.sure["leases"]))
    assert revision >= max([w.last for w in writers], default=1), "%s: the revision is %d" % (when, revision)


def judge_without_tail(revision, found, writers, when=""):
    """As judge, for a log whose last entries are lost: a writer may miss its last acknowledged call, if that came after all
    that is there -> the numbers of those who do."""
    def misses_one(w):
        own, was_change = found.get(w.number, Writer.nothing()), w.sure["keys"] != w.before["keys"]
        if own in (w.sure, w.maybe) and not (own == w.before and w.last > revision):    # a last call that did nothing tells the revision of others
            return False
        return w.answer >= revision + was_change
    missing = [w for w in writers if misses_one(w)]
    judge(revision, found, [w if w not in missing else w.one_back() for w in writers], when)
    return [w.number for w in missing]
