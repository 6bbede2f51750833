"""One member of ours: how it starts, ends, and what it says about its surroundings."""
import os, signal, socket, subprocess, time

import pytest
from members import OURS, Member


def in_order(wanted, messages):
    """Whether the wanted messages come in this order among others."""
    rest = iter(messages)
    return [w for w in wanted if not any(m == w for m in rest)]


@pytest.mark.parametrize("number, word", [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupt")])
def test_a_signal_ends_it_in_order(tmp_path, number, word):
    with Member(OURS, tmp_path) as m:
        assert m.client.put(b"a", b"1") == 2
        assert m.stop(number) == -number
        assert in_order(["starting an etcd server", "opened backend db", "starting local member", "restore consistentIndex", "starting etcd server",
                         "now serving peer/client/metrics", "published local member to cluster through raft", "ready to serve client requests",
                         "successfully notified init daemon", "received signal; shutting down", "closing etcd server",
                         "skipped leadership transfer for single voting member cluster", "stopping serving peer traffic",
                         "stopped serving peer traffic", "closed etcd server"], m.messages()) == []
        assert [x["signal"] for x in m.lines() if x["msg"] == "received signal; shutting down"] == [word]


def test_what_was_acknowledged_survives_sigkill(tmp_path):
    ports = None
    for turn in range(3):
        with Member(OURS, tmp_path, ports=ports) as m:
            ports = m.ports
            revision, count, _ = m.client.range()
            assert (revision, count) == (1 + 20 * turn, 20 * turn)
            for i in range(20):
                m.client.put(b"k%d-%d" % (turn, i), b"v")
            m.process.kill()
            m.process.wait()


def test_a_second_member_waits_for_the_lock_of_the_first(tmp_path):
    with Member(OURS, tmp_path) as first:
        first.client.put(b"a", b"1")
        with Member(OURS, tmp_path, wait=False) as second:
            time.sleep(0.5)         # it has no word for "I wait" before ten seconds have passed
            assert second.process.poll() is None
            assert first.client.put(b"b", b"2") == 3
            first.stop()
            second.wait_ready()
            assert second.client.range()[1] == 2
            assert second.stop() == -signal.SIGTERM


def test_open_permissions_are_told(tmp_path):
    os.mkdir(tmp_path / "m.etcd", 0o755)
    with Member(OURS, tmp_path) as m:
        told = [x["error"] for x in m.lines() if x["msg"] == "check file permission"]
        assert told == ['directory "%s" exist, but the permission is "drwxr-xr-x". The recommended permission is "-rwx------" to prevent possible '
                        "unprivileged access to the data" % m.dir]


def test_new_folders_are_private(tmp_path):
    with Member(OURS, tmp_path) as m:
        for folder in ("", "member", "member/snap", "member/wal"):
            assert os.stat(os.path.join(m.dir, folder)).st_mode & 0o777 == 0o700


def test_the_service_manager_is_told_when_clients_are_served(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(10)
        with Member(OURS, tmp_path, env={"NOTIFY_SOCKET": path}) as m:
            assert s.recv(100) == b"READY=1"
            assert b'"health":"true"' in m.get("/health")


def test_a_snapshot_count_of_its_own_makes_snapshots_and_they_are_read(tmp_path):
    with Member(OURS, tmp_path, "--snapshot-count", "10") as m:
        ports = m.ports
        for i in range(45):
            m.client.put(b"k%d" % i, b"v")
        m.wait_for("saved snapshot")
        m.kill()
    with Member(OURS, tmp_path, "--snapshot-count", "10", ports=ports) as m:
        assert m.client.range()[1] == 45
        assert "recovered v2 store from snapshot" in m.messages()


def test_automatic_compaction_keeps_a_while(tmp_path):
    with Member(OURS, tmp_path, "--auto-compaction-retention", "300ms") as m:
        for i in range(5):
            m.client.put(b"a", b"%d" % i)
        m.wait_for("finished scheduled compaction")
        m.wait_for('"msg":"completed auto periodic compaction","revision":6')
        assert m.client.range()[1] == 1


def test_a_port_that_is_taken_is_told_before_anything_is_made(tmp_path):
    with Member(OURS, tmp_path) as first:
        with Member(OURS, tmp_path, name="n", ports=first.ports, wait=False) as second:
            assert second.process.wait(10) == 1
            assert second.messages()[-2:] == ["failed to start etcd", "discovery failed"]
            assert second.lines()[-1]["error"] == "listen tcp 127.0.0.1:%d: bind: address already in use" % first.peer_port
            assert not os.path.exists(second.dir)


def test_a_unix_socket_serves(tmp_path):
    path = str(tmp_path / "client.sock")
    with Member(OURS, tmp_path, "--listen-client-urls", "unix://" + path, wait=False) as m:
        m.wait_for("serving client traffic")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            s.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            assert b"etcdserver" in s.recv(4096)


@pytest.mark.parametrize("output", ["stdout", "file"])
def test_lines_go_where_they_should(tmp_path, output):
    target = str(tmp_path / "own.log") if output == "file" else output
    with Member(OURS, tmp_path, "--log-outputs", target) as m:
        m.stop()
        if output == "file":
            assert m.text() == ""
            with open(target) as f:
                assert "closed etcd server" in f.read()
        else:
            assert "closed etcd server" in m.messages()


def cpu_ns(pid):
    """CPU time of all threads so far."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
            total += int(f.read().split()[0])
    return total


def share_of_cpu(pid, seconds):
    before, began = cpu_ns(pid), time.monotonic_ns()
    time.sleep(seconds)
    return (cpu_ns(pid) - before) / (time.monotonic_ns() - began)


def test_an_idle_member_is_small_and_quiet(tmp_path):
    with Member(OURS, tmp_path) as m:
        # what a start puts off, the next segment and the first commit, is over once there was a quiet second
        assert any(share_of_cpu(m.process.pid, 1) < 0.002 for _ in range(20))
        assert share_of_cpu(m.process.pid, 3) < 0.002
        with open("/proc/%d/status" % m.process.pid) as f:
            status = dict(x.split(":", 1) for x in f.read().splitlines())
        assert int(status["VmRSS"].split()[0]) < 10 * 1024


def test_version_and_help(tmp_path):
    run = lambda *a: subprocess.run([os.path.join(OURS, "etcd"), *a], capture_output=True, text=True, timeout=10)
    r = run("--version")
    assert (r.returncode, [x.split(":")[0] for x in r.stdout.splitlines()]) == (0, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"])
    r = run("-h")
    assert r.returncode == 0 and r.stderr.startswith("Usage:") and "  --data-dir '" in r.stdout
    for name in ("gateway", "grpc-proxy"):
        r = run(name, "start")
        assert r.returncode == 1 and "not built" in r.stderr
