"""HTTP/2 connections whose flow control, streams and frames are in the hands of a test."""
import os, select, socket, struct, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden"))
from replay.h2 import Hpack, frame, lit     # noqa: E402
from replay.pb import Fields, message       # noqa: E402

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
KV, LEASE, MAINT, AUTH, WATCH = "/etcdserverpb.KV/", "/etcdserverpb.Lease/", "/etcdserverpb.Maintenance/", "/etcdserverpb.Auth/", "/etcdserverpb.Watch/Watch"
RANGE, PUT, TXN = KV + "Range", KV + "Put", KV + "Txn"
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


def readable(s, limit):
    p = select.poll()       # unlike select, for descriptors of any number
    p.register(s, select.POLLIN)
    return bool(p.poll(limit * 1000))


class Stream:
    """What came for one request: headers, trailers, whole messages, the code of a reset."""

    def __init__(self):
        self.headers, self.trailers, self.messages, self.reset, self.is_over, self.bytes, self.partial = None, None, [], None, False, 0, bytearray()

    @property
    def status(self):
        t = dict(self.trailers or self.headers or [])
        return int(t["grpc-status"]) if "grpc-status" in t else None

    @property
    def text(self):
        return dict(self.trailers or self.headers or []).get("grpc-message")


class Frames:
    """What comes on a socket, frame by frame: `take` gets each."""

    def __init__(self, s):
        self.socket, self.buffer, self.bytes, self.is_closed = s, bytearray(), 0, False

    def read(self, limit=5.0):
        """Takes in what is there, waiting at most limit seconds for something -> whether there was something."""
        if self.is_closed or not readable(self.socket, limit):
            return False
        try:
            got = self.socket.recv(1 << 18)
        except OSError:
            got = b""
        if not got:
            self.is_closed = True
            return False
        self.bytes += len(got)
        self.received(got)
        return True

    def received(self, got):
        self.buffer += got
        at = 0
        while len(self.buffer) - at >= 9:
            size = int.from_bytes(self.buffer[at:at + 3], "big")
            if len(self.buffer) - at < 9 + size:
                break
            kind, flags, number = self.buffer[at + 3], self.buffer[at + 4], int.from_bytes(self.buffer[at + 5:at + 9], "big") & 0x7FFFFFFF
            self.take(kind, flags, number, bytes(self.buffer[at + 9:at + 9 + size]))
            at += 9 + size
        del self.buffer[:at]


class Wire(Frames):
    """One connection. Windows are given back only as `window` says: "auto" at once, "hold" never (see give)."""

    def __init__(self, port, initial_window=65535, keep=True):
        super().__init__(socket.create_connection(("127.0.0.1", port), 5))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.hpack, self.streams, self.next_id = Hpack(), {}, 1
        self.room, self.first_room = {0: 65535}, 65535       # what the server's windows still take
        self.goaways, self.window, self.keep = [], "auto", keep
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, initial_window)))

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.socket.close()

    def open(self, path, *messages, headers=(), end=True):
        """-> id of a new stream with these messages (each a tuple of protobuf pairs)."""
        number, self.next_id = self.next_id, self.next_id + 2
        self.streams[number], self.room[number] = Stream(), self.first_room
        block = b"".join(lit(k, v) for k, v in [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"), *GRPC, *headers])
        self.socket.sendall(frame(HEADERS, 4, number, block))
        for i, pairs in enumerate(messages):
            self.send(number, *pairs, end=end and i + 1 == len(messages))
        return number

    def send(self, number, *pairs, end=False):
        m = message(*pairs)
        m, at = memoryview(b"\0" + len(m).to_bytes(4, "big") + m), 0
        while at < len(m):
            if not self.until(lambda: min(self.room[0], self.room[number]) > 0):
                raise RuntimeError("no room to send")
            size = min(16384, self.room[0], self.room[number], len(m) - at)
            self.room[0], self.room[number] = self.room[0] - size, self.room[number] - size
            self.socket.sendall(frame(DATA, 1 if end and at + size == len(m) else 0, number, m[at:at + size]))
            at += size

    def reset(self, number):
        self.socket.sendall(frame(RST, 0, number, struct.pack(">I", 8)))

    def give(self, number, size):
        """Opens the window of a stream and of the connection by size bytes."""
        for n in (0, number):
            self.socket.sendall(frame(WINDOW_UPDATE, 0, n, struct.pack(">I", size)))

    def take(self, kind, flags, number, p):
        if kind == SETTINGS and not flags & 1:
            for i in range(0, len(p), 6):
                name, value = struct.unpack_from(">HI", p, i)
                if name == 4:
                    self.room = {n: r + (value - self.first_room if n else 0) for n, r in self.room.items()}
                    self.first_room = value
            self.socket.sendall(frame(SETTINGS, 1, 0))
        elif kind == WINDOW_UPDATE and number in self.room:
            self.room[number] += int.from_bytes(p, "big")
        elif kind == PING and not flags & 1:
            self.socket.sendall(frame(PING, 1, 0, p))
        elif kind == GOAWAY:
            self.goaways.append((int.from_bytes(p[:4], "big"), int.from_bytes(p[4:8], "big")))
        s = self.streams.get(number)
        if s is None:
            return
        if kind == HEADERS:
            assert flags & 4
            h = self.hpack.decode(p)
            if s.headers is None:
                s.headers = h
            else:
                s.trailers = h
        elif kind == DATA:
            s.bytes += len(p)
            if p and self.window == "auto":
                self.give(number, len(p))
            if self.keep:
                s.partial += p
                while len(s.partial) >= 5 and len(s.partial) >= 5 + int.from_bytes(s.partial[1:5], "big"):
                    n = int.from_bytes(s.partial[1:5], "big")
                    s.messages.append(bytes(s.partial[5:5 + n]))
                    del s.partial[:5 + n]
        elif kind == RST:
            s.reset, s.is_over = int.from_bytes(p, "big"), True
        if kind in (DATA, HEADERS) and flags & 1:
            s.is_over = True

    def until(self, condition, limit=60.0):
        """Reads until the condition holds -> whether it does."""
        end = time.monotonic() + limit
        while not condition():
            if self.is_closed or time.monotonic() > end:
                return False
            self.read(min(1.0, max(0.0, end - time.monotonic())))
        return True

    def call(self, path, *pairs, headers=()):
        """A unary call -> its Stream, which is over."""
        number = self.open(path, pairs, headers=headers)
        s = self.streams[number]
        assert self.until(lambda: s.is_over), "no answer to " + path
        del self.streams[number], self.room[number]
        return s

    def ask(self, path, *pairs):
        """A unary call that must be answered with status 0 -> Fields."""
        s = self.call(path, *pairs)
        if s.status != 0:
            raise RuntimeError("%s: %s %s" % (path, s.status, s.text))
        return Fields(s.messages[0])
