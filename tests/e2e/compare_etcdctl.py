#!/usr/bin/env python3
"""Runs the same commands with two etcdctl programs, each against a fresh server of the same kind, and compares what they
print and how they exit.

    compare_etcdctl.py --etcd ETCD --theirs ETCDCTL --ours ETCDCTL [--port 24200] [REGEX]

Needs nothing but python3. Everything is bounded in time; the servers listen on 127.0.0.1 and end with the script.
"""
import argparse, difflib, os, re, shutil, signal, socket, subprocess, sys, tempfile, time

LIMIT_S = 15

# What may differ between two runs of one program, and between two releases of it.
VOLATILE = [
    (r"\+-[-+]*\+", "+--+"),
    (r" *\| *", "|"),
    (r"\|\d+(\.\d+)?(ms|s|\u00b5s)\|", "|took|"),
    (r'"ts":("[^"]*"|[\d.]+)', '"ts":T'),
    (r'"caller":"[^"]*"', '"caller":C'),
    (r',"peer":"[^"]*"', ""),
    (r'"logger":"[^"]*",', ""),
    (r'"stacktrace":"[^"]*"', '"stacktrace":S'),
    (r"(msg=|desc = )?etcd-endpoints://0x[0-9a-f]+/", "etcd-endpoints://P/"),
    (r"took = \S+|\"took\":\"[^\"]*\"|\"Took\" : \S+", "took"),
    # ids of members added are hashes of the time: they may begin with zeros, which %x leaves out (and %16x pads)
    (r" *(?<![-\w])[0-9a-f]{12,16}\b| *(?<![-\w])\d{16,20}\b", " ID"),
    (r"remaining\(\d+s\)", "remaining"),
    (r"etcdctl version: \S+", "etcdctl version: V"),
    (r"\d+(\.\d+)? [kM]?B", "SIZE"),
    (r'("dbSize(InUse)?":|"DBSize" : )\d+', r"\1N"),
    # in the order of ids, which for added members depend on the clock
    (r'(?<=ETCD_INITIAL_CLUSTER=")[^"]*', lambda m: ",".join(sorted(m.group().split(",")))),
]


# Where etcdctl 3.5.1 differs from later 3.5 releases, which are what we follow: a regex on names, and why.
KNOWN = [
    (r"endpoint status -w fields", "prints RaftTerm twice"),
    (r"^del a b|del x y", "the notice about ranges came with --range in 3.5.6"),
    (r"'s k'|put ''", "cut words in single quotes to as many bytes as there are words"),
    (r"^get  --prefix --keys-only$|^watch  --prefix --rev=3", "follows from the line above: other keys"),
    (r"^watch a --rev=2", "follows from the line above: another revision"),
    (r"^endpoint status --cluster", "follows from the line above: another index"),
    (r"^move-leader 1", "did not take the endpoints from the environment"),
    (r"127.0.0.1:1 ", "other words of gRPC for a connection that was refused"),
]


class Server:
    def __init__(self, program, port, folder):
        self.folder = folder
        self.log = open(os.path.join(folder, "log"), "wb")
        url = "http://127.0.0.1:%d" % port
        self.process = subprocess.Popen(
            [program, "--data-dir", os.path.join(folder, "d"), "--listen-client-urls", url, "--advertise-client-urls",
             url, "--listen-peer-urls", "http://127.0.0.1:%d" % (port + 1)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        end = time.time() + 20
        while time.time() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        time.sleep(1)       # the first leader

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def cases():
    """(arguments, standard input, environment, seconds after which SIGINT ends it) one after the other"""
    out = []

    def add(*argv, stdin="", env=None, interrupt=None):
        out.append((list(argv), stdin, env or {}, interrupt))

    formats = ("simple", "json", "fields", "protobuf", "table", "xml")
    for f in formats:
        add("put", "k-" + f, "v", "-w", f)
        add("put", "k-" + f, "v2", "--prev-kv", "-w", f)
        add("get", "k-", "--prefix", "-w", f)
        add("get", "nokey", "-w", f)
        add("del", "k-" + f, "--prev-kv", "-w", f)
        add("member", "list", "-w", f)
        add("member", "list", "-w", f, "--hex")
        add("lease", "list", "-w", f)
        add("lease", "timetolive", "1234", "-w", f)
        add("lease", "keep-alive", "1234", "--once", "-w", f)
        add("alarm", "list", "-w", f)
        add("endpoint", "status", "-w", f)
        add("endpoint", "health", "-w", f)
        add("endpoint", "hashkv", "-w", f)
        add("role", "add", "r-" + f, "-w", f)
        add("role", "grant-permission", "r-" + f, "readwrite", "a", "-w", f)
        add("role", "get", "r-" + f, "-w", f)
        add("role", "list", "-w", f)
        add("user", "add", "u-" + f + ":pw", "-w", f)
        add("user", "grant-role", "u-" + f, "r-" + f, "-w", f)
        add("user", "get", "u-" + f, "-w", f)
        add("user", "get", "u-" + f, "--detail", "-w", f)
        add("user", "list", "-w", f)
        add("auth", "status", "-w", f)
        add("txn", "-w", f, stdin='ver("k") = "0"\n\nput k 1\nget k\n\nget k\ndel k --prev-kv\n\n')
    for k, v in (("a", "3"), ("b", "1"), ("c", "2"), ("b", "0"), ("\u00e9\t\"", "\x01\x7f\u00ff<&>"), ("big", "x" * 70000)):
        add("put", k, v)
    for rest in (["--prefix"], ["--from-key"], ["c"], ["--limit=2"], ["--limit", "0x2", "--prefix"], ["--rev=3"],
                 ["--keys-only", "--prefix"], ["--count-only", "--prefix"], ["--count-only", "--prefix", "-w", "fields"],
                 ["--print-value-only"], ["--print-value-only", "-w", "json"], ["--hex"], ["--consistency=s"],
                 ["--consistency=q"], ["--order=up"], ["--sort-by=size"], ["--prefix", "--from-key"], ["x", "--prefix"]):
        for key in ("a", ""):
            add("get", key, *rest)
    for order in ("", "ASCEND", "descend"):
        for by in ("KEY", "version", "CREATE", "MODIFY", "VALUE"):
            add("get", "", "--prefix", "--keys-only", "--order=" + order, "--sort-by=" + by)
    for bad in (["--nosuch"], ["-z"], ["-=x"], ["--=x"], ["---x"], ["--limit"], ["-w"], ["--limit=x"], ["--rev", "1e3"],
                ["--prefix=maybe"], ["--hex=2"], ["--dial-timeout=5"], ["--dial-timeout=5x"], ["--command-timeout="],
                ["--limit", "99999999999999999999"]):
        add("get", "a", *bad)
    for words in (["gut"], ["c"], ["de"], ["xyzzy"], ["completion"], ["lease", "nosuch"], ["member"], ["help", "nosuch"],
                  ["help", "get"], ["help", "lease", "grant"], ["mem", "li"], ["-wjson", "get", "a"], ["--hex", "get", "a"],
                  ["get", "-hw", "a"], ["version"], [], ["--version"], ["lease", "--help"], ["get", "a", "--help"]):
        add(*words)
    for env in ({"ETCDCTL_HEX": "true"}, {"ETCDCTL_HEX": "maybe"}, {"ETCDCTL_HEX": ""}, {"ETCDCTL_NOSUCH": "1"},
                {"ETCDCTL_WRITE_OUT": "json"}, {"ETCDCTL_API": "3"}, {"ETCDCTL_API": "5"}, {"ETCDCTL_WATCH_KEY": "a"}):
        add("get", "a", env=env)
    add("get", "a", "--hex", env={"ETCDCTL_HEX": "true"})
    add("put", "in", stdin="two\nlines\n")
    add("put", "in", stdin="")
    add("put", "in", "--ignore-value")
    add("put", "in", "x", "--ignore-value")
    add("put", "in", "x", "--lease=zz")
    add("put", "in", "x", "--lease=77")
    add("put", "in", "x", "--ignore-lease")
    add("put", "--", "-dash", "--value")
    add("del", "a", "b")
    add("del", "")
    add("del", "x", "y", "z")
    for line in ('ver("a") = "1"', 'ver("a") != "9"', 'c("a") > "1"', 'm("a") < "100"', 'val("b") = "0"', "junk", 'ver(a) = "1"',
                 'ver("a")="1"', 'ver( "a" ) = "1"', 'ver("a") = 1', 'ver("a") = "x"', "ver(`a`) = `1`", 'foo("a") = "1"',
                 'ver("a\\q") = "1"', ' ver("a")  =   "1"  ', 'val("\\x61") = "3"', 'ver ("a") = "1"'):
        add("txn", stdin=line + "\n\nget a\n\nget b\n\n")
        add("txn", "-i", stdin=line + "\n\nget a\n\nget b\n\n")
    for line in ('put "q k" "v \\"w\\""', "put 's k' 'v w'", 'put "\\x41\\u00e9" z', 'put a"b c"', 'put "open x', "put\tt\tu  ",
                 "put x", "put", "frob x y", "ge a", "get a --prefix --limit=1", "get a -w json", "put x y --nosuch",
                 "del x y", "put -- -x -y", 'put "a\\q" b', "get a --consistency=x", "put x y --lease=zz", "put '' y"):
        add("txn", stdin="\n" + line + "\n\n\n")
    add("txn", stdin="")
    add("txn", stdin="\n\n")
    add("txn", "x")
    add("get", "", "--prefix", "--keys-only")
    for argv in (["b", "a"], ["a", "b", "--prefix"], [], ["a", "--"], ["--", "echo"], ["a", "--rev=x"]):
        add("watch", *argv)
    for argv in (["a", "--rev=2"], ["", "--prefix", "--rev=3"], ["a", "c", "--rev=2"], ["a", "--rev=2", "--prev-kv"],
                 ["a", "--rev=2", "-w", "json"], ["a", "--rev=2", "-w", "fields"], ["a", "--rev=2", "-w", "protobuf"],
                 ["a", "--rev=2", "-w", "table"], ["a", "--rev=2", "--hex"], ["a", "--rev=2", "--", "sh", "-c", "env | grep ETCD_WATCH | sort"],
                 ["a", "--rev=2", "--", "sh", "-c", "exit 3"], ["a", "--rev=2", "--", "nosuchprogram"], ["a", "--rev=9999"]):
        add("watch", *argv, interrupt=0.7)
    add("watch", "--rev=2", env={"ETCDCTL_WATCH_KEY": "a"}, interrupt=0.7)
    add("watch", "a", env={"ETCDCTL_WATCH_KEY": "a"})
    add("watch", env={"ETCDCTL_WATCH_RANGE_END": "a"})
    for line in ("frob", "watch", "", "watch a --prefix b", "watch a --", "watch --nosuch a", 'watch "a\\q"', "get a"):
        add("watch", "-i", stdin=line + "\n")
    add("lease", "grant", "x")
    add("lease", "grant", "50000000000")
    add("lease", "revoke", "1")
    add("lease", "revoke", "zz")
    add("compaction", "8")
    add("compaction", "8")
    add("compaction", "99999")
    add("compaction", "x")
    add("compact", "9", "--physical")
    add("get", "a", "--rev=5")
    add("watch", "a", "--rev=2")
    add("watch", "a", "--rev=2", "-w", "json")
    add("endpoint", "hashkv", "--rev=99999", "-w", "json")
    add("endpoint", "status", "--cluster")
    add("endpoint", "health", "--cluster")
    add("defrag")
    add("defrag", "--cluster")
    add("move-leader", "zz")
    add("move-leader", "1")
    for what in ("add", "remove", "update", "promote"):
        add("member", what)
        add("member", what, "zz", "--peer-urls=http://127.0.0.1:1" if what in ("add", "update") else "zz")
    add("member", "add", "n", "--peer-urls=bad")
    add("member", "add", "n", "--peer-urls=http://127.0.0.1")
    add("member", "add", "n", "http://127.0.0.1:1")
    add("member", "remove", "1")
    add("snapshot", "save")
    add("snapshot", "save", "/nonexistent/x")
    for who in (["put", "x", "y"], ["member", "list"], ["endpoint", "health"], ["endpoint", "status", "-w", "json"]):
        add(*who, "--endpoints=127.0.0.1:1", "--command-timeout=300ms", "--dial-timeout=300ms", env={"ETCDCTL_ENDPOINTS": None})
    add("get", "a", "--endpoints=", env={"ETCDCTL_ENDPOINTS": None})
    return out


def run(program, case, port):
    argv, stdin, more, interrupt = case
    env = {"PATH": os.environ.get("PATH", ""), "LANG": "C", "ETCDCTL_ENDPOINTS": "127.0.0.1:%d" % port}
    env.update(more)
    env = {k: v for k, v in env.items() if v is not None}
    p = subprocess.Popen([program] + argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        if interrupt:
            try:
                out, err = p.communicate(timeout=interrupt)
            except subprocess.TimeoutExpired:
                p.send_signal(signal.SIGINT)
                out, err = p.communicate(timeout=LIMIT_S)
        else:
            out, err = p.communicate(stdin.encode(), timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        p.kill()
        out, err = p.communicate()
        err += b"(took too long)\n"
    return p.returncode, out, err


def plain(data):
    """Without what is volatile, and of help texts without the words."""
    text = data.decode("utf-8", "backslashreplace")
    for pattern, to in VOLATILE:
        text = re.sub(pattern, to, text)
    lines, in_help = [], False
    for line in text.splitlines():
        if re.match(r"NAME:|Usage:", line):
            in_help = True
        if in_help and re.match(r"Error: ", line):
            in_help = False
        if not in_help:
            lines.append(line)
            continue
        flag = re.match(r"\s*(-\w, )?--[\w-]+", line)       # the words are each program's own
        if flag:
            lines.append(flag.group(0))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--etcd", required=True)
    parser.add_argument("--theirs", required=True)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--port", type=int, default=24200)
    parser.add_argument("regex", nargs="?", default="")
    options = parser.parse_args()
    results = []
    for program in (options.theirs, options.ours):
        folder = tempfile.mkdtemp(prefix="compare-")
        server = Server(options.etcd, options.port, folder)
        try:
            results.append([run(program, case, options.port) for case in cases()])
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)
    different = 0
    for case, theirs, ours in zip(cases(), *results):
        name = " ".join(case[0]) + (" < %r" % case[1] if case[1] else "") + (" %r" % case[2] if case[2] else "")
        if not re.search(options.regex, name):
            continue
        a = ["exit %d" % theirs[0]] + plain(theirs[1]).split("\n") + ["--"] + plain(theirs[2]).split("\n")
        b = ["exit %d" % ours[0]] + plain(ours[1]).split("\n") + ["--"] + plain(ours[2]).split("\n")
        if a == b or any(re.search(pattern, name) for pattern, _ in KNOWN):
            continue
        different += 1
        print("DIFFERS", name[:200])
        print("\n".join("    " + x[:300] for x in list(difflib.unified_diff(a, b, "theirs", "ours", lineterm="", n=1))[2:]))
    print("%d commands, %d differ" % (len(results[0]), different))
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
