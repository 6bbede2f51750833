"""The limits of docs/LIMITS.md that a client can reach, reached: what it is told, what the member costs meanwhile, and that others are served."""
import gzip, os, re, resource, socket, struct, time

import pytest
from flood import (AUTH, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, KV, LEASE, MAINT, MIB, PING, SETTINGS, WATCH, WINDOW_UPDATE, Costs, Fields, Raw, Stream, Wire,
                   allow_descriptors, calls, frame, grpc, header_frames, line, message, parts, preface, request_headers)
from members import OURS, ROOT, Member
from replay.pb import varint

ALL = ((1, b"\0"), (2, b"\0"))


def constant(name):
    """The value of a limit, from the source."""
    for folder, _, names in os.walk(os.path.join(ROOT, "src")):
        for n in names:
            if n.endswith((".h", ".c")):
                with open(os.path.join(folder, n)) as f:
                    m = re.search(r"^#define %s\s+(.*?)\s*(?:/\*.*)?$" % name, f.read(), re.M)
                if m:
                    return eval(re.sub(r"\(size_t\)|\(uint64_t\)|INT64_C|(?<=\d)[uUlL]+", "", m.group(1)))
    raise KeyError(name)


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    with Member(OURS, tmp_path_factory.mktemp("m")) as m:
        yield m


@pytest.fixture(autouse=True)
def closed():
    """What a test that failed has left open does not go on."""
    yield
    while Raw.open:
        Raw.open.pop().close()


@pytest.fixture
def alone(tmp_path):
    """A member of the test's own: alone(arguments)"""
    started = []

    def start(*args, **more):
        started.append(Member(OURS, tmp_path, *args, **more))
        return started[-1]
    yield start
    for m in started:
        m.kill()


def put_large(member, count, size, name=b"large"):
    with Wire(member.client_port) as w:
        for i in range(count):
            w.ask(KV + "Put", (1, b"%s%03d" % (name, i)), (2, b"v" * size))


def raw_call(member, path, body, headers=(), limit=20):
    """Sends a message as it is -> the stream."""
    w = Wire(member.client_port)
    with w:
        n = w.open(path, headers=headers)
        s, at = w.streams[n], 0
        while at < len(body) and w.until(lambda: s.is_over or min(w.room[0], w.room[n]) > 0, limit) and not s.is_over:
            size = min(16384, w.room[0], w.room[n], len(body) - at)
            w.room[0], w.room[n] = w.room[0] - size, w.room[n] - size
            try:
                w.socket.sendall(frame(DATA, END_STREAM if at + size == len(body) else 0, n, body[at:at + size]))
            except OSError:
                break
            at += size
        assert w.until(lambda: s.is_over or w.is_closed, limit)
        return s


# ---- connections

def test_ten_thousand_idle_connections_cost_little(member):
    count = min(10000, allow_descriptors(20000) - 500)
    kinds = {"silent": b"", "HTTP/2": preface(), "HTTP/1.1": b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n", "half a request": b"GET /version HTTP/1.1\r\nHo"}
    # nghttp2's session with its HPACK tables is most of the second
    most = {"silent": 1200, "HTTP/2": 16000, "HTTP/1.1": 6000, "half a request": 6000}
    with Costs(member, sum(most.values()) * count // 4) as costs:
        held = []
        for kind, first in kinds.items():
            before = costs.rss
            held += [Raw(member.client_port, first) for _ in range(count // 4)]
            costs.serves()
            each = (costs.rss - before) * 4 / count
            print("\n    %s: %d bytes a connection" % (kind, each), end="")
            assert each < most[kind]
        assert costs.descriptors > len(held)
        for c in held:
            while c.read(0):
                pass
        assert not any(c.is_closed for c in held)
        for c in held:
            c.close()


def test_connections_beyond_the_descriptors_wait(alone):
    reserved, peers, metrics = constant("RESERVED_DESCRIPTORS"), constant("PEER_CONNECTIONS_MAX"), constant("METRICS_CONNECTIONS_MAX")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", 0)) as s:
        metrics_port = s.getsockname()[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        m = alone("--listen-metrics-urls", "http://127.0.0.1:%d" % metrics_port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with Costs(m, 16 * MIB) as costs:
        served = [Raw(m.client_port, preface()) for _ in range(400 - reserved - 5)]
        assert all(c.until(lambda: c.frames.get(SETTINGS)) for c in served)
        costs.serves()
        served += [Raw(m.client_port, preface()) for _ in range(5)]
        assert all(c.until(lambda: c.frames.get(SETTINGS)) for c in served)
        late = Raw(m.client_port, preface())
        assert not late.read(0.3)
        others = [Raw(m.peer_port, preface()) for _ in range(peers + 10)] + [Raw(metrics_port, preface()) for _ in range(metrics + 10)]
        assert not late.read(0.3)
        answered = sum(bool(c.read(0.02)) for c in others)
        assert answered == peers + metrics
        assert costs.descriptors <= 400 - 20
        served[0].close()
        assert late.until(lambda: late.frames.get(SETTINGS))
        for c in [late, *served, *others]:
            c.close()


def test_clients_that_do_not_answer_pings_are_left(alone):
    """Half-open connections: --grpc-keepalive-interval and -timeout, 2 h and 20 s unless set."""
    m = alone("--grpc-keepalive-interval", "1s", "--grpc-keepalive-timeout", "1s")
    with Costs(m, 8 * MIB) as costs:
        clients = [Raw(m.client_port, preface()) for _ in range(200)]
        costs.serves()
        assert all(c.until(lambda: c.is_closed, 8) for c in clients)
        assert clients[0].frames[PING] == 1
        for c in clients:
            c.close()


# ---- headers

def test_header_lists_are_bounded(member):
    most, end = constant("HTTP_HEADER_LIST_MAX"), request_headers(KV + "Range")
    size = sum(len(k) + len(v) + 32 for k, v in [(":method", "POST"), (":scheme", "http"), (":path", KV + "Range"), (":authority", "t"), ("content-type", "application/grpc"), ("te", "trailers")])
    with Costs(member, 4 * MIB):
        with Raw(member.client_port, preface()) as c:
            room = most - size - 2 * 32 - 2
            fits = end + line(b"a", b"v" * (room // 2)) + line(b"b", b"v" * (room - room // 2))
            c.send(header_frames(1, fits) + frame(DATA, END_STREAM, 1, grpc((1, b"a"))))
            assert c.until(lambda: c.frames.get(HEADERS)) and not c.resets
            c.send(header_frames(3, fits + line(b"c", b"")))
            assert c.until(lambda: c.resets) and c.resets == {"FRAME_SIZE_ERROR": 1} and not c.is_closed
            c.send(header_frames(5, end + line(b"a", b"v" * 70000)))
            assert c.until(lambda: c.goaways) and c.goaways == [("COMPRESSION_ERROR", "")]
        with Raw(member.client_port, preface(1 << 20)) as c:       # what was asked for may come back in the text of an error, three times as long
            c.send(header_frames(1, request_headers("/" + "%" * 60000 + "/x")) + frame(DATA, END_STREAM, 1, grpc()))
            assert c.until(lambda: c.frames.get(CONTINUATION, 0) > 5)


def test_header_blocks_without_end_are_cut_off(member):
    with Costs(member, 4 * MIB):
        for block in (b"", line(b"x-a", b"b")):
            with Raw(member.client_port, preface() + frame(HEADERS, 0, 1, request_headers(KV + "Range"))) as c:
                c.send(frame(CONTINUATION, 0, 1, block) * 50000)
                assert c.until(lambda: c.is_closed)
                assert c.goaways == [("ENHANCE_YOUR_CALM", "")] or not c.goaways      # it may be lost in the reset


def test_a_few_indexed_bytes_do_not_make_gigabytes_of_headers(member):
    """A line of 4,000 bytes in the table, then 15 references to it a request: each request is 60 KB of headers in memory. Beyond what all may hold the client goes."""
    most = constant("HTTP_SERVER_HELD_MAX")
    with Costs(member, most + 256 * MIB):
        with Raw(member.client_port, preface()) as c:
            c.send(frame(HEADERS, END_HEADERS, 1, request_headers(KV + "Range") + line(b"x", b"v" * 4000, indexed=True)))
            block = request_headers(KV + "Range") + b"\xbe" * 15
            for first in range(3, 40003, 2000):
                if not c.send(b"".join(frame(HEADERS, END_HEADERS, n, block) for n in range(first, first + 2000, 2))):
                    break
            assert c.until(lambda: c.is_closed)
    assert "closing the connection that holds most of the memory of all clients" in member.messages()


# ---- floods of frames

def test_pings_too_often_end_the_connection(member):
    with Costs(member, 4 * MIB):
        with Raw(member.client_port, preface()) as c:
            c.send(frame(PING, 0, 0, b"12345678") * 4)
            assert c.until(lambda: c.goaways) and c.goaways == [("ENHANCE_YOUR_CALM", "too_many_pings")]
            assert c.frames[PING] == 4
        for _ in range(3):
            with Raw(member.client_port, preface()) as c:      # and never reads
                c.send(frame(PING, 0, 0, b"12345678") * 500000, 5)


def test_settings_that_nobody_fetches_the_answers_of_end_the_connection(member):
    with Costs(member, 4 * MIB):
        with Raw(member.client_port, preface()) as c:
            c.send(frame(SETTINGS, 0, 0) * 500000, 5)
            assert c.until(lambda: c.is_closed)
        with Raw(member.client_port, preface()) as c:
            c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100) * 2730) * 300, 5)
            assert not c.goaways
        with Raw(member.client_port, preface()) as c:          # a few at a time are fine
            for _ in range(20):
                c.send(frame(SETTINGS, 0, 0) * 100)
                assert c.read(2)


def test_rapid_resets_end_in_goaway(member):
    burst = constant("HTTP_RESET_BURST")
    with Costs(member, 16 * MIB):
        with Raw(member.client_port, preface()) as c:
            c.read_aside()
            c.send(calls(KV + "Range", grpc((1, b"a")), burst - 100, reset=True))
            time.sleep(0.2)
            assert not c.goaways
            c.send(calls(KV + "Put", grpc((1, b"a"), (2, b"b")), 5 * burst, first=2 * burst + 1, reset=True))
            for _ in range(100):
                if c.goaways:
                    break
                time.sleep(0.1)
            assert c.goaways == [("ENHANCE_YOUR_CALM", "too_many_resets")]


@pytest.mark.parametrize("what", ["priority", "window", "unknown", "empty-data"])
def test_frames_that_ask_for_nothing_cost_nothing(member, what):
    flood = {"priority": frame(2, 0, 3, struct.pack(">IB", 1, 3)), "window": frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)), "unknown": frame(0x77, 0, 0, b"a" * 10), "empty-data": frame(DATA, 0, 1)}[what]
    with Costs(member, 4 * MIB):
        with Raw(member.client_port, preface() + frame(HEADERS, END_HEADERS, 1, request_headers(WATCH))) as c:
            c.read_aside()
            c.send(flood * 500000, 10)


# ---- streams

def test_streams_are_bounded(member):
    of_one, of_all = constant("HTTP_STREAMS_MAX"), constant("HTTP_SERVER_STREAMS_MAX")
    with Costs(member, of_all * 4000) as costs:
        held = [Raw(member.client_port, preface()) for _ in range(3)]
        for c in held:
            # the whole block once in the table, by reference afterwards
            lines = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/etcdserverpb.KV/Range"), (b":authority", b"t"), (b"content-type", b"application/grpc"), (b"te", b"trailers")]
            c.send(frame(HEADERS, END_HEADERS, 1, b"".join(line(k, v, indexed=True) for k, v in lines)))
            again = bytes(0x80 | 62 + len(lines) - 1 - i for i in range(len(lines)))
            c.send(b"".join(frame(HEADERS, END_HEADERS, n, again) for n in range(3, 2 * (of_one + 10) + 1, 2)))
            c.until(lambda: c.frames.get(PING) or sum(c.resets.values()) >= 10, 3)
        assert [c.resets for c in held[:2]] == [{"REFUSED_STREAM": 10}] * 2
        assert held[2].until(lambda: held[2].resets.get("REFUSED_STREAM", 0) == 3 * of_one + 10 - of_all, 5)
        for c in held:
            c.close()


def test_announced_streams_are_all_there_are(alone):
    """--max-concurrent-streams; not limited unless set."""
    m = alone("--max-concurrent-streams", "5")
    with Costs(m, 4 * MIB), Raw(m.client_port, preface()) as c:
        c.send(b"".join(frame(HEADERS, END_HEADERS, n, request_headers(KV + "Range")) for n in range(1, 15, 2)))
        assert c.until(lambda: c.resets.get("REFUSED_STREAM") == 2)


# ---- messages

def test_messages_and_requests_have_a_size(member):
    """--max-request-bytes, and 512 KiB more for a message."""
    with Costs(member, 32 * MIB):
        s = raw_call(member, KV + "Put", grpc((1, b"a"), (2, b"x" * 1600000)))
        assert (s.status, s.text) == (3, "etcdserver: request is too large")
        s = raw_call(member, KV + "Put", b"\0" + struct.pack(">I", 2 * MIB + 1) + b"x")
        assert (s.status, s.text) == (8, "grpc: received message larger than max (2097153 vs. 2097152)")
        s = raw_call(member, KV + "Put", b"\0\xff\xff\xff\xff" + b"x" * 1000)
        assert (s.status, s.text) == (8, "grpc: received message larger than max (4294967295 vs. 2097152)")


def test_gzip_bombs_stop_at_the_limit(member):
    bomb = gzip.compress(b"\0" * (64 * MIB))
    body = b"\1" + struct.pack(">I", len(bomb)) + bomb
    with Costs(member, 32 * MIB):
        for _ in range(20):
            s = raw_call(member, KV + "Put", body, headers=[("grpc-encoding", "gzip")])
            assert (s.status, s.text) == (8, "grpc: received message after decompression larger than max (2097153 vs. 2097152)")


def test_unfinished_messages_of_a_connection_are_bounded(member):
    most, room = constant("HTTP_CONN_KEPT_MAX"), 2 * MIB - 100
    with Costs(member, most + 48 * MIB), Wire(member.client_port) as w:
        path, ended = KV + "Put", []
        for i in range(most // room + 3):
            n = w.open(path)
            head = b"\0" + struct.pack(">I", 2 * MIB)
            left, s = head + b"x" * (room - len(head)), w.streams[n]
            while left and not s.is_over:
                assert w.until(lambda: s.is_over or min(w.room[0], w.room[n]) > 0)
                size = min(16384, w.room[0], w.room[n], len(left))
                if not s.is_over and size > 0:
                    w.room[0], w.room[n] = w.room[0] - size, w.room[n] - size
                    w.socket.sendall(frame(DATA, 0, n, left[:size]))
                    left = left[size:]
            ended += [s] if s.is_over else []
        assert ended and {(s.status, s.text) for s in ended} == {(8, "grpc: too many unfinished messages on one connection")}


def test_unfinished_messages_of_all_are_bounded_together(member):
    """Ten connections, each below its own limit."""
    most, each = constant("HTTP_SERVER_HELD_MAX"), constant("HTTP_CONN_KEPT_MAX") - 4 * MIB
    with Costs(member, most + 192 * MIB) as costs:
        wires, head = [Wire(member.client_port) for _ in range(10)], b"\0" + struct.pack(">I", 2 * MIB)
        try:
            for w in wires:
                try:
                    for _ in range(each // (2 * MIB)):
                        send_stream(w, w.open(KV + "Put"), head + b"x" * (2 * MIB - 100))
                except (OSError, AssertionError):
                    pass        # that was too much
            costs.serves()
            for w in wires:
                while w.read(0.2):
                    pass
            assert any(w.is_closed for w in wires) and not all(w.is_closed for w in wires)
        finally:
            for w in wires:
                w.socket.close()


def nested(depth):
    x = message((2, message((2, message((1, b"deep"), (2, b"b"))))))
    for _ in range(depth - 1):
        op = b"\x22" + varint(len(x)) + x
        x = b"\x12" + varint(len(op)) + op
    return b"\0" + len(x).to_bytes(4, "big") + x


def test_transactions_have_a_width_and_a_depth(member):
    """--max-txn-ops, 128: nested ones share it, and PB_MAX_DEPTH is beyond it."""
    wide = [(2, message((2, message((1, b"k%d" % i), (2, b"v"))))) for i in range(129)]
    with Costs(member, 16 * MIB):
        for body in (grpc(*wide), nested(129), nested(constant("PB_MAX_DEPTH")), nested(10000)):
            s = raw_call(member, KV + "Txn", body)
            assert (s.status, s.text) == (3, "etcdserver: too many operations in txn request")
        assert raw_call(member, KV + "Txn", grpc(*wide[:128])).status == 0
        assert raw_call(member, KV + "Txn", nested(128)).status == 0


def test_a_log_with_the_deepest_transaction_is_read_again(alone, tmp_path):
    m = alone()
    assert raw_call(m, KV + "Txn", nested(128)).status == 0
    m.stop(9)
    again = alone(ports=m.ports)
    with Wire(again.client_port) as w:
        assert w.ask(KV + "Range", (1, b"deep")).int(4) == 1


# ---- answers that nobody takes

def starve(member, path, body, count, first=1):
    """Asks and never opens a window."""
    c = Raw(member.client_port, preface(0))
    assert c.send(calls(path, body, count, first))
    return c


def test_answers_without_a_window_are_bounded(member):
    """20,000 answers of 60 KB on one connection, then 2,000 of a value that is sent as the client takes it."""
    most = constant("HTTP_CONN_QUEUED_MAX")
    put_large(member, 1, 60000, b"starve")
    put_large(member, 1, 1000000, b"vast")
    with Costs(member, most + 160 * MIB):
        c = starve(member, KV + "Range", grpc((1, b"starve000")), 20000)
        assert c.until(lambda: sum(c.resets.values()) + most // 60000 >= 20000 - 300)
        assert set(c.resets) == {"ENHANCE_YOUR_CALM"}
        d = starve(member, KV + "Range", grpc((1, b"vast000")), 2000)
        assert d.until(lambda: d.frames.get(HEADERS, 0) + sum(d.resets.values()) >= 2000)
        c.close()
        d.close()


def test_who_holds_most_of_all_memory_goes(member):
    """Eight connections each below its own limit: together too much."""
    most = constant("HTTP_SERVER_HELD_MAX")
    put_large(member, 1, 60000, b"starve")
    with Costs(member, most + 256 * MIB):
        held = [starve(member, KV + "Range", grpc((1, b"starve000")), 1800) for _ in range(8)]
        assert any(c.until(lambda: c.is_closed, 2) for c in held)
        assert not all(c.is_closed for c in held)
        with Wire(member.client_port) as w:
            assert w.ask(KV + "Range", (1, b"starve000")).int(4) == 1
        for c in held:
            c.close()


def test_places_of_ranges_are_bounded(alone):
    """100,000 keys; each answer that nobody takes holds 40 bytes a key until HTTP_PRODUCER_STALL_NS."""
    most, m = constant("API_RANGE_PLACES_MAX_BYTES"), alone()
    with Wire(m.client_port) as w:
        for i in range(0, 100080, 120):
            w.ask(KV + "Txn", *[(2, message((2, message((1, b"place%06d" % k), (2, b"v"))))) for k in range(i, i + 120)])
    with Costs(m, most + 256 * MIB) as costs:
        c = starve(m, KV + "Range", grpc((1, b"place"), (2, b"placf")), 300)
        assert c.until(lambda: c.frames.get(HEADERS, 0) >= 300, 60)
        costs.serves()
        c.close()
    with Wire(m.client_port) as w:
        assert w.ask(KV + "Range", (1, b"place"), (2, b"placf"), (9, 1)).int(4) == 100080


def test_answers_of_transactions_have_a_size(alone):
    m = alone()
    put_large(m, 10, 1000000)
    with Costs(m, 4 * constant("TXN_RESPONSE_MAX_BYTES")), Wire(m.client_port) as w:
        ranges = [(2, message((1, message(*ALL)))) for _ in range(8)]
        s = w.call(KV + "Txn", *ranges)
        assert (s.status, s.text) == (8, "etcdserver: response is too large")
        s = w.call(KV + "Txn", *ranges, (2, message((2, message((1, b"done"), (2, b"x"))))))
        assert (s.status, s.text) == (8, "etcdserver: response is too large")
        assert w.ask(KV + "Range", (1, b"done")).int(4) == 1


def test_large_values_do_not_stay_in_memory_as_log(alone):
    """--snapshot-count, 100,000 entries, is far away."""
    m = alone()
    most = 6 * constant("SERVER_LOG_BYTES")     # twice that, and what waits for the disk
    with Costs(m, most, stays_bytes=most), Wire(m.client_port) as w:
        for i in range(600):
            w.ask(KV + "Put", (1, b"same%d" % (i % 3)), (2, b"v" * 1000000))
        m.wait_for("saved snapshot")


# ---- watches

def creates(count, first=0):
    return b"".join(grpc((1, message((1, b"w%07d" % i)))) for i in range(first, first + count))


def send_stream(w, n, body):
    """As the windows allow."""
    s, at = w.streams[n], 0
    while at < len(body) and not s.is_over:
        assert w.until(lambda: s.is_over or min(w.room[0], w.room[n]) > 0)
        size = min(16384, w.room[0], w.room[n], len(body) - at)
        if s.is_over or size <= 0:
            continue
        w.room[0], w.room[n] = w.room[0] - size, w.room[n] - size
        w.socket.sendall(frame(DATA, 0, n, body[at:at + size]))
        at += size
        w.read(0)
    return s


def test_a_hundred_thousand_watchers_on_one_stream(member):
    with Costs(member, 100000 * 1100) as costs:
        with Wire(member.client_port, keep=False) as w:
            n, before = w.open(WATCH, end=False), costs.rss
            s = send_stream(w, n, creates(100000))
            assert w.until(lambda: s.bytes > 100000 * 20)
            w.until(lambda: False, 0.3)
            print("\n    %d bytes a watcher" % ((costs.rss - before) / 100000), end="")
            costs.serves()
            s.bytes = 0
            with Wire(member.client_port) as other:
                other.ask(KV + "Put", (1, b"w0000007"), (2, b"x"))
            assert w.until(lambda: s.bytes > 0)


def test_watchers_are_bounded_by_their_memory(alone):
    """Keys of 1 MB count twice: in the watcher and in its group."""
    m, most = alone(), constant("API_WATCHERS_MAX_BYTES")
    with Costs(m, most + 128 * MIB), Wire(m.client_port, keep=True) as w:
        n, s = w.open(WATCH, end=False), None
        for i in range(most // 2000000 + 3):
            s = send_stream(w, n, grpc((1, message((1, b"%04d" % i + b"k" * 1000000)))))
            if s.is_over:
                break
        assert w.until(lambda: s.is_over)
        assert s.text == "etcdserver: too many requests"
        assert most // 2000000 * 0.8 < len(s.messages) < most // 2000000 + 2


def test_watchers_that_never_read_are_positions_not_queues(member):
    """A hundred streams on ten connections; meanwhile 40 MB are put, and a reader gets all of it."""
    value = b"x" * 20000
    with Costs(member, 10 * constant("API_WATCH_CONN_QUEUE_BYTES") // 4) as costs, Wire(member.client_port) as reader, Wire(member.client_port) as other:
        number_of = reader.open(WATCH, ((1, message((1, b"n"), (2, b"o"))),), end=False)
        s = reader.streams[number_of]
        assert reader.until(lambda: len(s.messages) == 1)
        silent = [Raw(member.client_port, preface(0)) for _ in range(10)]
        for c in silent:
            c.send(parts(WATCH, lambda _: grpc((1, message((1, b"n"), (2, b"o")))), range(1, 21, 2)))
            assert c.until(lambda: c.frames.get(HEADERS) == 10)
        for i in range(2000):
            other.ask(KV + "Put", (1, b"n%d" % (i % 10)), (2, value))
            reader.read(0)
        assert reader.until(lambda: s.bytes > 2000 * 20000)
        assert reader.until(lambda: sum(len(Fields(x).all(11)) for x in s.messages) == 2000)
        costs.serves()
        for c in silent:
            c.close()


def test_a_hundred_silent_streams_of_a_connection_share_a_limit(member):
    """Alone they could hold 50 MB, and the connection would be cut off at a time of many more."""
    most = constant("API_WATCH_CONN_QUEUE_BYTES")
    with Costs(member, most + 24 * MIB) as costs, Wire(member.client_port) as other:
        with Raw(member.client_port, preface(0)) as c:
            c.send(parts(WATCH, lambda _: grpc((1, message((1, b"n"), (2, b"o")))), range(1, 201, 2)))
            assert c.until(lambda: c.frames.get(HEADERS) == 100)
            for i in range(700):
                other.ask(KV + "Put", (1, b"n%d" % (i % 10)), (2, b"x" * 1000))
            assert not c.resets
            costs.serves()


def test_one_large_event_for_many_watchers_is_there_once(member):
    """5,000 streams wait for the same 1.4 MB."""
    with Costs(member, 5000 * 6000 + 48 * MIB) as costs, Wire(member.client_port) as other:
        silent = [Raw(member.client_port, preface(0)) for _ in range(100)]
        for c in silent:
            c.send(parts(WATCH, lambda _: grpc((1, message((1, b"event"), (6, 1)))), range(1, 101, 2)))
            assert c.until(lambda: c.frames.get(HEADERS) == 50)
        for i in range(3):
            other.ask(KV + "Put", (1, b"event"), (2, b"%d" % i * 1400000))
        costs.serves()
        assert not any(c.resets for c in silent)
        for c in silent:
            c.close()


# ---- what reads the whole database, and what works long

def burst(member, path, body, count):
    """That many calls at once -> how often each status text came."""
    with Wire(member.client_port) as w:
        numbers = range(1, 2 * count, 2)
        w.streams.update((n, Stream()) for n in numbers)
        w.socket.sendall(calls(path, body, count))
        assert w.until(lambda: all(w.streams[n].is_over for n in numbers), 60)
        texts = {}
        for n in numbers:
            t = w.streams[n].text if w.streams[n].status else "ok"
            texts[t] = texts.get(t, 0) + 1
        return texts


def test_snapshots_hashes_and_defragmentations_at_a_time_are_few(alone):
    m, refused = alone(), "etcdserver: too many requests"
    put_large(m, 6, 1000000)
    with Costs(m, 160 * MIB):
        assert burst(m, MAINT + "Snapshot", grpc(), 30) == {"ok": constant("API_SNAPSHOTS_MAX"), refused: 30 - constant("API_SNAPSHOTS_MAX")}
        assert burst(m, MAINT + "Snapshot", grpc(), 10) == {"ok": 10}
        assert burst(m, MAINT + "Hash", grpc(), 100)[refused] >= 100 - 2 * constant("API_HASHES_MAX")
        assert burst(m, MAINT + "HashKV", grpc(), 100)[refused] >= 100 - 2 * constant("API_HASHES_MAX")
        assert burst(m, MAINT + "Defragment", grpc(), 100)[refused] >= 100 - 2 * constant("API_DEFRAGS_MAX")
        assert burst(m, MAINT + "Hash", grpc(), 1) == {"ok": 1}


def test_alarms_are_bounded(alone):
    m, most = alone(), constant("API_ALARMS_MAX")
    with Costs(m, 8 * MIB), Wire(m.client_port) as w:
        for i in range(most):
            w.ask(MAINT + "Alarm", (1, 1), (2, i + 1), (3, 1))
        s = w.call(MAINT + "Alarm", (1, 1), (2, most + 1), (3, 1))
        assert s.text == "etcdserver: too many requests"
        assert len(w.ask(MAINT + "Alarm").all(2)) == most
        for i in range(most):
            w.ask(MAINT + "Alarm", (1, 2), (2, i + 1), (3, 1))
        assert w.ask(KV + "Put", (1, b"a")).sub(1).int(3)


def test_logins_wait_in_line_up_to_a_limit(alone):
    m, most = alone("--bcrypt-cost", "4"), constant("SERVER_PASSWORDS_WAITING")
    with Wire(m.client_port) as w:
        w.ask(AUTH + "UserAdd", (1, "root"), (2, "secret"))
        w.ask(AUTH + "UserGrantRole", (1, "root"), (2, "root"))
    with Costs(m, 32 * MIB):
        w = Wire(m.client_port)
        w.ask(AUTH + "AuthEnable")
        w.socket.close()
        texts = burst(m, AUTH + "Authenticate", grpc((1, "root"), (2, "wrong")), 3 * most)
        wrong = "etcdserver: authentication failed, invalid user ID or password"
        assert texts.pop(wrong) >= most and texts.pop("etcdserver: too many requests") > most // 2 and not texts
        with Wire(m.client_port) as w:
            token = w.ask(AUTH + "Authenticate", (1, "root"), (2, "secret")).text(2)
            assert w.call(AUTH + "AuthDisable", headers=[("token", token)]).status == 0


def test_keepalives_of_a_stream_wait_up_to_a_limit(member):
    with Wire(member.client_port) as w:
        w.ask(LEASE + "LeaseGrant", (1, 1000), (2, 77))
    count = 100 * constant("API_KEEPALIVES_PER_STREAM")
    with Costs(member, 8 * MIB), Wire(member.client_port) as w:
        n = w.open(LEASE + "LeaseKeepAlive", end=False)
        s = send_stream(w, n, grpc((1, 77)) * count)
        assert w.until(lambda: s.is_over or len(s.messages) == count, 60)
        assert not s.is_over


# ---- HTTP/1.1

def first_line(c):
    c.until(lambda: b"\r\n" in c.plain or c.is_closed)
    return bytes(c.plain).split(b"\r\n")[0]


class Plain(Raw):
    """HTTP/1.1: what came, as it is."""

    def __init__(self, port, hello=None):
        self.plain = bytearray()
        super().__init__(port, hello)

    def received(self, got):
        self.plain += got


def test_http1_lines_and_headers_have_a_length(member):
    most, of_line = constant("HTTP1_HEADER_MAX"), constant("HTTP1_REQUEST_LINE_MAX")
    with Costs(member, 8 * MIB):
        for text in (b"GET /" + b"x" * (of_line + 70000), b"GET /version HTTP/1.1\r\nHost: a\r\nX: " + b"v" * (most + 70000), b"GET /version HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * (most // 34 + 1) + b"\r\n"):
            with Plain(member.client_port) as c:
                c.send(text)
                assert first_line(c).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")) or c.is_closed
        with Plain(member.client_port, b"GET /version HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 200000 + b"\r\n\r\n") as c:
            assert first_line(c) == b"HTTP/1.1 200 OK"


def test_headers_that_never_end_cost_what_they_are(member):
    """Slow loris: 200 connections with 900 KB of one header line each, and a byte now and then."""
    with Costs(member, 200 * 2 * constant("HTTP1_HEADER_MAX")) as costs:
        held = [Plain(member.client_port, b"GET /version HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 900000) for _ in range(200)]
        for _ in range(3):
            for c in held:
                c.send(b"v")
            costs.serves()
        assert not any(c.read(0) for c in held)
        for c in held:
            c.close()


def test_bodies_that_never_end_and_pipelines_cost_little(member):
    """Slow bodies; requests after requests whose answers nobody reads."""
    with Costs(member, 64 * MIB) as costs:
        slow = [Plain(member.client_port, b"POST /version HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx") for _ in range(500)]
        flood = [Plain(member.client_port) for _ in range(4)]
        for c in flood:
            c.send(b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n" * 300000, 0.5)
        costs.serves()
        for c in slow + flood:
            c.close()


def test_logs_of_what_clients_do_wrong_are_sampled(alone):
    """As zap does for etcd: of equal lines the first 100 of a second and then each 100th."""
    m = alone("--host-whitelist", "127.0.0.1")
    first = constant("SAMPLE_FIRST")
    with Costs(m, 8 * MIB), Plain(m.client_port) as c:
        began = time.monotonic()
        c.read_aside()
        c.send(b"GET /version HTTP/1.1\r\nHost: bad\r\n\r\n" * 20000)
        while c.bytes < 20000 * 300 and time.monotonic() - began < 20 and not c.is_closed:
            time.sleep(0.05)
        seconds = time.monotonic() - began + 2
        count = m.messages().count("rejecting HTTP request to prevent DNS rebinding attacks")
        assert first <= count <= seconds * first + 20000 // constant("SAMPLE_THEREAFTER")


# ---- space

def test_the_quota_refuses_what_grows(alone):
    """--quota-backend-bytes, 2 GiB; users and roles are within it."""
    m = alone("--quota-backend-bytes", str(2 * MIB))
    with Costs(m, 32 * MIB), Wire(m.client_port) as w:
        s = None
        for i in range(100):
            s = w.call(AUTH + "RoleAdd", (1, "r%d" % i + "x" * 30000))
            time.sleep(0.005)       # the quota sees what is committed, ten times a second
            if s.status:
                break
        assert (s.status, s.text) == (8, "etcdserver: mvcc: database space exceeded")
        assert w.call(KV + "Put", (1, b"a"), (2, b"b")).text == "etcdserver: mvcc: database space exceeded"
        for r in w.ask(AUTH + "RoleList").all(2):
            w.ask(AUTH + "RoleDelete", (1, r))
        w.ask(MAINT + "Defragment")
        w.ask(MAINT + "Alarm", (1, 2), (2, w.ask(MAINT + "Alarm").sub(2).int(1)), (3, 1))
