"""Starting and stopping members, ours and the real ones. Every wait has a limit and no process outlives its block.

ETCD_BIN: folder of our programs. ETCD_REAL: folder with 3.5/bin and 3.4/bin (scripts/real-etcd.sh).
"""
import json, os, random, signal, socket, subprocess, sys, time, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/golden"))
from replay.client import Client        # noqa: E402  a small gRPC client of the recordings' player

OURS = os.environ.get("ETCD_BIN", os.path.join(ROOT, "build/release/bin"))
REAL = os.environ.get("ETCD_REAL", os.path.join(ROOT, "build/real"))
REAL35, REAL34 = os.path.join(REAL, "3.5/bin"), os.path.join(REAL, "3.4/bin")


def free_ports(count, first=0):
    """Ports nobody uses now: of the 200 from `first` on, or of those that the system gives to no outgoing connection, so that
    they are still free when a member starts there again."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        low = int(f.read().split()[0])
    candidates = list(range(first, first + 200) if first else range(max(1024, low // 2), low))
    random.shuffle(candidates)
    held = []
    while len(held) < count:
        try:
            held.append(socket.create_server(("127.0.0.1", candidates.pop())))
        except OSError:
            continue
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Member:
    """One etcd with its log file: `with Member(folder, tmp) as m`."""

    def __init__(self, folder, tmp, *args, ports=None, name="m", wait=True, env=None):
        self.tmp, self.dir = str(tmp), os.path.join(str(tmp), name + ".etcd")
        self.client_port, self.peer_port = ports or free_ports(2)
        self.log_path = os.path.join(self.tmp, name + ".log")
        self.at = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        client, peer = ("http://127.0.0.1:%d" % p for p in (self.client_port, self.peer_port))
        argv = [os.path.join(folder, "etcd"), "--data-dir", self.dir, "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, *args]
        plain = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.tmp, env=dict(plain, **(env or {})))
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.kill()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.kill()

    @property
    def ports(self):
        return self.client_port, self.peer_port

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.client_port

    @property
    def client(self):
        return Client(self.client_port)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=5) as r:
            return r.read()

    def wait_ready(self, limit=20):
        """Ready: /version names a decided cluster version."""
        stop = time.monotonic() + limit
        while time.monotonic() < stop and self.process.poll() is None:
            try:
                if json.loads(self.get("/version"))["etcdcluster"] != "not_decided":
                    return
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.02)
        raise AssertionError("not ready (exit %s):\n%s" % (self.process.poll(), self.text()[-3000:]))

    def text(self):
        with open(self.log_path, "rb") as f:
            f.seek(self.at)
            return f.read().decode("utf-8", "replace")

    def lines(self):
        """Lines of log as dicts."""
        return [json.loads(x) for x in self.text().splitlines() if x.startswith("{")]

    def messages(self):
        return [x["msg"] for x in self.lines()]

    def wait_for(self, word, limit=20):
        stop = time.monotonic() + limit
        while time.monotonic() < stop:
            if word in self.text():
                return
            time.sleep(0.02)
        raise AssertionError("%r never came:\n%s" % (word, self.text()[-3000:]))

    def stop(self, number=signal.SIGTERM, limit=20):
        """-> exit status, negative for a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(limit)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def ctl(folder, member, *args, stdin=None, env=None):
    """Runs etcdctl of a folder against a member -> exit status, stdout, stderr."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    r = subprocess.run([os.path.join(folder, "etcdctl"), *args], input=stdin, capture_output=True, text=True, errors="replace", timeout=30, cwd=member.tmp,
                       env=dict(plain, ETCDCTL_API="3", ETCDCTL_ENDPOINTS="127.0.0.1:%d" % member.client_port, **(env or {})))
    return r.returncode, r.stdout, r.stderr
