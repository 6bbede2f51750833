"""Clients that do harm, and what a member costs meanwhile: memory, descriptors, time to answer others."""
import os, resource, select, socket, struct, threading, time

from wire import AUTH, DATA, GOAWAY, GRPC, HEADERS, KV, LEASE, MAINT, PING, RST, SETTINGS, WATCH, WINDOW_UPDATE, Fields, Frames, Stream, Wire, frame, message, readable     # noqa: F401

CONTINUATION, END_STREAM, END_HEADERS = 9, 1, 4
MIB = 1 << 20
CODES = {2: "INTERNAL_ERROR", 6: "FRAME_SIZE_ERROR", 7: "REFUSED_STREAM", 9: "COMPRESSION_ERROR", 11: "ENHANCE_YOUR_CALM"}


def preface(window=65535):
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window))


def number(n, first, bits=7):
    """An HPACK integer."""
    top = (1 << bits) - 1
    if n < top:
        return bytes([first | n])
    o, n = bytearray([first | top]), n - top
    while n > 127:
        o.append(n & 127 | 128)
        n >>= 7
    return bytes(o) + bytes([n])


def line(name, value, indexed=False):
    return (b"\x40" if indexed else b"\0") + number(len(name), 0) + name + number(len(value), 0) + value


def request_headers(path, *more):
    pairs = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"t"), *((k.encode(), v.encode()) for k, v in GRPC), *more]
    return b"".join(line(k, v) for k, v in pairs)


def header_frames(stream, block, end_stream=False):
    parts = [block[i:i + 16384] for i in range(0, len(block), 16384)]
    flags = [END_HEADERS * (i + 1 == len(parts)) | END_STREAM * (end_stream and i == 0) for i in range(len(parts))]
    return b"".join(frame(CONTINUATION if i else HEADERS, flags[i], stream, p) for i, p in enumerate(parts))


def grpc(*pairs):
    m = message(*pairs)
    return b"\0" + len(m).to_bytes(4, "big") + m


def calls(path, body, count, first=1, reset=False):
    """Unary calls, one stream each."""
    block, end = request_headers(path), struct.pack(">I", 8)
    return b"".join(frame(HEADERS, END_HEADERS, n, block) + frame(DATA, END_STREAM, n, body) + (frame(RST, 0, n, end) if reset else b"") for n in range(first, first + 2 * count, 2))


def parts(path, body_of, streams):
    """The same with bodies of their own, without end of stream."""
    block = request_headers(path)
    return b"".join(frame(HEADERS, END_HEADERS, n, block) + frame(DATA, 0, n, body_of(n)) for n in streams)


class Raw(Frames):
    """A connection whose every byte is the test's. Whatever comes is counted by frame, not answered: windows stay as they are."""

    open = []       # for who cleans up after a test

    def __init__(self, port, hello=None):
        super().__init__(socket.socket())
        self.socket.bind(("127.0.0.2", 0))      # not the address whose ports members listen on
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(20)
        self.frames, self.resets, self.goaways = {}, {}, []
        self.reader = None
        Raw.open.append(self)
        if hello is not None:
            self.send(hello)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        self.is_closed = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        if self.reader:
            self.reader.join()

    def send(self, data, limit=20):
        """-> whether all of it was taken."""
        end, view = time.monotonic() + limit, memoryview(data)
        while len(view):
            wait = end - time.monotonic()
            if wait < 0 or not writable(self.socket, wait):
                return False
            try:
                view = view[self.socket.send(view[:MIB], socket.MSG_DONTWAIT):]
            except BlockingIOError:
                pass
            except OSError:
                self.is_closed = True
                return False
        return True

    def take(self, kind, flags, number, payload):
        self.frames[kind] = self.frames.get(kind, 0) + 1
        if kind == RST:
            code = CODES.get(int.from_bytes(payload, "big"), payload.hex())
            self.resets[code] = self.resets.get(code, 0) + 1
        elif kind == GOAWAY:
            code = int.from_bytes(payload[4:8], "big")
            self.goaways.append((CODES.get(code, code), bytes(payload[8:]).decode()))

    def until(self, condition, limit=60.0):
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end or self.is_closed:
                return condition()
            self.read(min(0.5, end - time.monotonic()))
        return True

    def read_aside(self):
        """From now on another thread reads, until the end."""
        def run():
            while not self.is_closed:
                self.read(0.5)
        self.reader = threading.Thread(target=run, daemon=True)
        self.reader.start()


def writable(s, wait):
    p = select.poll()
    p.register(s, select.POLLOUT)
    return bool(p.poll(int(wait * 1000)))


def allow_descriptors(count):
    """-> how many this process may open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Costs:
    """What a member costs: `with Costs(member, name, most=bytes) as costs:` does the flood inside. At its end the
    member has served a put and a get within a second; a little later, the clients gone, so have memory and descriptors.
    """
    IDLE_BYTES = 48 * MIB       # freed memory that may stay: IDLE_MEMORY_MAX_BYTES and what small blocks keep

    def __init__(self, member, most_bytes, stays_bytes=0):
        self.member, self.most_bytes, self.stays_bytes = member, most_bytes, stays_bytes

    def status(self, name):
        with open("/proc/%d/status" % self.member.process.pid) as f:
            return int(dict(x.split(":", 1) for x in f.read().splitlines())[name].split()[0]) * 1024

    @property
    def rss(self):
        """Without the pages of the database, which are the system's."""
        return self.status("RssAnon")

    @property
    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.member.process.pid))

    def serves(self, limit=1.0, tries=3):
        """Somebody else's put and get, on a connection of his own; the machine may have been busy with something else once."""
        began = time.monotonic()
        with Wire(self.member.client_port) as w:
            revision = w.ask(KV + "Put", (1, b"served"), (2, b"%f" % began)).sub(1).int(3)
            assert Fields(w.ask(KV + "Range", (1, b"served")).all(2)[0]).int(3) == revision
        took = time.monotonic() - began
        if took >= limit and tries > 1:
            return self.serves(limit, tries - 1)
        assert took < limit, "a put and a get took %.2f s" % took
        return took

    def __enter__(self):
        self.serves()
        self.before, self.before_descriptors, self.before_files = self.rss, self.descriptors, self.status("RssFile")
        with open("/proc/%d/clear_refs" % self.member.process.pid, "w") as f:
            f.write("5")        # VmHWM from now on
        return self

    def __exit__(self, kind, *a):
        if kind is not None:
            return
        took, now = self.serves(), self.rss
        peak = self.status("VmHWM") - max(self.before_files, self.status("RssFile")) - self.before
        end = time.monotonic() + 12
        while time.monotonic() < end and not self.is_back():
            time.sleep(0.1)
        print("\n    RSS %.1f MiB, at most %+.1f, at the end %+.1f, afterwards %+.1f; descriptors %d, afterwards %d; served in %.3f s" %
              (self.before / MIB, peak / MIB, (now - self.before) / MIB, (self.rss - self.before) / MIB, self.before_descriptors, self.descriptors, took))
        assert peak <= self.most_bytes, "%.1f MiB more than before" % (peak / MIB)
        assert self.is_back(), "%.1f MiB and %d descriptors more than before" % ((self.rss - self.before) / MIB, self.descriptors - self.before_descriptors)
        self.serves()

    def is_back(self):
        return self.rss - self.before <= self.IDLE_BYTES + self.stays_bytes and self.descriptors <= self.before_descriptors + 4

