#!/usr/bin/env python3
"""Random histories against the model (tests/model/model.h): starts what they are played against, in memory and without fsync.

    run.py [--ops N] [--seed N] [--against ours,sim,real] [more options of model_run]

ours: build/release/bin/etcd over a socket. sim: our member in the simulated world, with restarts and crashes. real: etcd 3.5.1 (scripts/real-etcd.sh).
Prints what model_run says; exit status 1 when there was a difference. MODEL_RUN: another program than build/release/bin/model_run.
"""
import argparse, os, signal, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))
from members import OURS, REAL35, Member        # noqa: E402

MODEL_RUN = os.environ.get("MODEL_RUN", os.path.join(ROOT, "build/release/bin/model_run"))
MEMBER = ["--unsafe-no-fsync", "--quota-backend-bytes", str(8 << 30), "--log-level", "error"]


def play(against, *options, limit_s=None):
    """-> exit status of model_run (0: no difference), what it printed."""
    if against == "sim":
        return run(["--target", "sim", *options], limit_s)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as tmp, Member(REAL35 if against == "real" else OURS, tmp, *MEMBER) as member:
        status, text = run(["--target", "127.0.0.1:%d" % member.client_port, *(["--real"] if against == "real" else []), *options], limit_s)
        if member.process.poll() is not None:
            text += "the member has ended: %d\n%s" % (member.process.returncode, member.text()[-3000:])
            status = status or 1
        return status, text


def run(argv, limit_s):
    r = subprocess.run([MODEL_RUN, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit_s)
    return r.returncode, r.stdout


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--against", default="ours,sim,real")
    a, options = p.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))       # nothing is left running
    failed = 0
    for against in a.against.split(","):
        status, text = play(against, *options)
        print("== %s\n%s" % (against, text), end="", flush=True)
        failed |= status != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
