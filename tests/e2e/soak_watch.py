"""Watchers that keep a copy of what they watch: each event once, in order, none missing, across all lives of the member."""
import threading, time

from soak_life import Wrong
from wire import RANGE, WATCH, Fields, Wire, message


def pair_of(raw):
    """KeyValue -> key, (create revision, mod revision, version, value, lease)."""
    f = Fields(raw)
    return f.bytes(1), (f.int(2), f.int(3), f.int(4), f.bytes(5), f.int(6))


def pairs(wire, key, end, revision=0):
    """All pairs of a range -> revision of the store, {key: rest}."""
    r = wire.ask(RANGE, (1, key), (2, end), *([(4, revision)] if revision else []))
    found = [pair_of(x) for x in r.all(2)]
    if [k for k, _ in found] != sorted({k for k, _ in found}):
        raise Wrong("keys of a range twice or out of order")
    if r.int(4) != len(found):
        raise Wrong("a range of %d pairs counts %d" % (len(found), r.int(4)))
    return r.sub(1).int(3), dict(found)


class Watched:
    """A range of keys as its events tell it: `state` is that of revision `position`, and all before it has been seen.
    `may_fall_behind`: compaction does not wait for it; it then lists anew. `compacted` -> highest revision a compaction was asked for."""

    def __init__(self, key, end, compacted, prev_kv=False, may_fall_behind=False):
        self.key, self.end, self.prev_kv, self.may_fall_behind, self.compacted = key, end, prev_kv, may_fall_behind, compacted
        self.lock, self.state, self.position, self.events, self.lists = threading.Lock(), {}, 1, 0, 0

    def wrong(self, what, *about):
        raise Wrong("watch of %r..%r at revision %d: %s %r" % (self.key, self.end, self.position, what, about))

    def take(self, response):
        with self.lock:
            revision, seen = self.position, set()
            for x in response.all(11):
                e = Fields(x)
                key, now = pair_of(e.bytes(2))
                if now[1] <= self.position or now[1] < revision:
                    self.wrong("an event twice, out of order, or after a promise that all had come", key, now[:3])
                if now[1] > revision:
                    revision, seen = now[1], set()
                if key in seen:
                    self.wrong("a key twice in one revision", key, now[:3])
                seen.add(key)
                self.apply(key, now, e)
            told = response.sub(1).int(3)
            if told < revision:
                self.wrong("an event from beyond the header's revision", revision, told)
            self.events += len(response.all(11))
            self.position = max(revision, told if not response.all(11) else 0)

    def apply(self, key, now, event):
        old = self.state.get(key)
        if not self.key <= key or self.end != b"\0" and key >= self.end:
            self.wrong("a key that is not watched", key)
        if event.int(1) == 1:
            if old is None:
                self.wrong("a key is deleted that is not there: something is missing", key, now[:3])
            del self.state[key]
        else:
            wanted = (old[0], old[2] + 1) if old else (now[1], 1)
            if (now[0], now[2]) != wanted:
                self.wrong("an event is missing before", key, now[:3], old and old[:3])
            self.state[key] = now
        if self.prev_kv and old is not None:
            if event.bytes(3):
                if pair_of(event.bytes(3)) != (key, old):
                    self.wrong("another previous pair", key, pair_of(event.bytes(3))[1][:3], old[:3])
            elif now[1] - 1 >= self.compacted():
                self.wrong("no previous pair", key, now[:3], old[:3])

    def list(self, wire):
        """What compaction took from under it."""
        revision, found = pairs(wire, self.key, self.end)
        with self.lock:
            if revision < self.position:
                self.wrong("the revision goes back", revision)
            self.state, self.position, self.lists = found, revision, self.lists + 1

    def settle(self, wire, limit=60):
        """Waits until it has seen all there is, and compares with what a range says."""
        stop = time.monotonic() + limit
        while time.monotonic() < stop:
            revision, found = pairs(wire, self.key, self.end)
            while self.position < revision and time.monotonic() < stop:
                time.sleep(0.01)
            with self.lock:
                if self.position == revision:       # else a lease has expired meanwhile
                    if self.state != found:
                        bad = [k for k in {*self.state, *found} if self.state.get(k) != found.get(k)]
                        self.wrong("events and range differ", [(k, *(x and x[:3] for x in (self.state.get(k), found.get(k)))) for k in sorted(bad)[:5]])
                    return
        self.wrong("never came to the store's revision", revision)


class Watches:
    """One stream that carries several Watched over one life of the member. `naps_s`: how long at most it now and then reads nothing."""

    def __init__(self, watched, rng, naps_s=0):
        self.watched, self.rng, self.naps_s, self.by_id = watched, rng, naps_s, {}

    def act(self, life):
        with Wire(life.port) as wire, Wire(life.port) as lister:
            number = wire.open(WATCH, *[self.create(w) for w in self.watched], end=False)
            stream, asked = wire.streams[number], time.monotonic()
            nap = time.monotonic() + 1
            while not life.ending.is_set():
                if self.naps_s and time.monotonic() > nap and not life.is_still.is_set():
                    stop = time.monotonic() + self.rng.uniform(0, self.naps_s)
                    while time.monotonic() < stop and not life.is_still.is_set():
                        life.sleep(0.05)
                    nap = time.monotonic() + self.rng.uniform(0.5, 3)
                wire.read(0.05)
                if wire.is_closed or stream.is_over:
                    raise RuntimeError("the stream of watchers ended: %s %s" % (stream.status, stream.text))
                for m in stream.messages:
                    self.take(wire, lister, number, Fields(m), life)
                stream.messages.clear()
                if time.monotonic() > asked + (0.1 if life.is_still.is_set() else 2):
                    wire.send(number, (3, b""))       # "how far am I?"
                    asked = time.monotonic()

    def create(self, w):
        """-> the request that makes a watcher for it, with an id no other watcher of the stream has had."""
        self.by_id[len(self.by_id) + 1] = w
        return (1, message((1, w.key), (2, w.end), (3, w.position + 1), (4, 1), (6, int(w.prev_kv)), (7, len(self.by_id)))),

    def take(self, wire, lister, number, response, life):
        if response.int(4):
            w = self.by_id[response.int(2)]
            if not response.int(5) or not w.may_fall_behind:
                raise Wrong("watch of %r..%r cancelled: %s" % (w.key, w.end, response.text(6)))
            w.list(lister)
            life.counts.add("watcher lists anew")
            wire.send(number, *self.create(w))
        elif not response.int(3):
            life.counts.add("event seen", len(response.all(11)))
            for w in self.watched if response.signed(2) == -1 else [self.by_id[response.int(2)]]:
                w.take(response)
