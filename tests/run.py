#!/usr/bin/env python3
"""Runs the levels of tests and ends with one line: N passed, N failed, N skipped. Exit status 1 if anything failed.

    checks   include directions, layout, clang-tidy, cppcheck, and that the checks themselves can fail
    unit     unit, scenario and corpus tests under CTest, plain build
    asan     the same under AddressSanitizer and UndefinedBehaviorSanitizer
    tsan     the same under ThreadSanitizer
    golden   recordings of the real programs played against ours (tests/golden/)
    e2e      our programs and the real ones together (tests/e2e/)

What failed is told as it happens, and once more before the last line.
"""
import argparse, os, re, shlex, signal, subprocess, sys, time
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LEVELS = ["checks", "unit", "asan", "tsan", "golden", "e2e"]
JOBS = str(os.cpu_count() or 2)
GOLDEN_KINDS = "tests/golden/kinds"         # which kinds of replay.py a make test plays


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.names = []

    def add(self, passed, failed=(), skipped=0):
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + len(failed), self.skipped + skipped
        self.names += failed


def run(argv, quiet=True, **more):
    """-> exit status, output. Quiet: the output is shown only when it fails."""
    r = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None, text=True, errors="replace", **more)
    if quiet and r.returncode:
        sys.stdout.write(r.stdout)
        sys.stdout.flush()
    return r.returncode, r.stdout or ""


def build(preset, *targets):
    if run(["cmake", "--preset", preset, "-B", "build/" + preset])[0]:
        return False
    return run(["ninja", "--quiet", "-k", "0", "-C", "build/" + preset, *targets])[0] == 0


def level_checks(count):
    configured = run(["cmake", "--preset", "dev", "-B", "build/dev"])[0] == 0 and run(["ninja", "-C", "build/dev", "-k", "0", "etcd_pb"])[0] == 0
    py = sys.executable
    for name, argv in (("include directions", [py, "tests/checks/check_includes.py"]),
                       ("include directions: the check can fail", [py, "tests/checks/check_includes.py", "--self-test"]),
                       ("limits", [py, "tests/checks/check_limits.py"]),
                       ("limits: the check can fail", [py, "tests/checks/check_limits.py", "--self-test"]),
                       ("format", [py, "tests/checks/lint.py", "format"]),
                       ("clang-tidy", [py, "tests/checks/lint.py", "tidy"]),
                       ("cppcheck", [py, "tests/checks/lint.py", "cppcheck"])):
        ok = (configured or "tidy" not in name) and run(argv)[0] == 0
        count.add(1 if ok else 0, [] if ok else ["checks: " + name])


def junit(count, path, level):
    """Counts one JUnit file; -> number of cases."""
    cases = list(xml.parse(path).getroot().iter("testcase"))
    for c in cases:
        bad = c.find("failure") is not None or c.find("error") is not None or c.get("status") == "fail"
        skip = c.find("skipped") is not None or c.get("status") in ("notrun", "disabled")
        name = "%s: %s%s" % (level, c.get("classname") + "." if level == "e2e" and c.get("classname") else "", c.get("name"))
        count.add(0 if bad or skip else 1, [name] if bad else [], 1 if skip and not bad else 0)
    return len(cases)


def ctest(count, preset, level):
    if not build(preset):
        count.add(0, ["%s: build" % level])
        return
    out = os.path.join(ROOT, "build", preset, "ctest.xml")
    if os.path.exists(out):
        os.unlink(out)
    env = dict(os.environ, ASAN_OPTIONS="abort_on_error=0:detect_stack_use_after_return=1", UBSAN_OPTIONS="print_stacktrace=1", TSAN_OPTIONS="halt_on_error=1")
    status, _ = run(["ctest", "--test-dir", "build/" + preset, "-j", JOBS, "--output-on-failure", "--output-junit", out, "--no-tests=error"], env=env)
    if not os.path.exists(out) or not junit(count, out, level):
        count.add(0, ["%s: ctest, exit status %d" % (level, status)])


def level_unit(count):
    ctest(count, "dev", "unit")


def level_asan(count):
    ctest(count, "asan", "asan")


def level_tsan(count):
    ctest(count, "tsan", "tsan")


def programs(count, level, *more):
    if not build("release", "programs", *more):
        count.add(0, ["%s: build" % level])
        return False
    return True


def level_golden(count):
    with open(os.path.join(ROOT, GOLDEN_KINDS)) as f:
        plays = [shlex.split(x, comments=True) for x in f if shlex.split(x, comments=True)]
    if not plays or not programs(count, "golden"):
        return
    for what in plays:
        print("  " + " ".join(what), flush=True)
        status, out = run([sys.executable, "tests/golden/alone.py", sys.executable, "tests/golden/replay.py", "--bin", "build/release/bin", "--allow", "tests/golden/allowed", "--show", "20", "--keep-going", "--kind", *what])
        m = re.search(r"(\d+) passed, (\d+) failed, (\d+) skipped\s*$", out)
        if not m:
            count.add(0, ["golden: %s ended with status %d" % (" ".join(what), status)])
            continue
        passed, failed, skipped = map(int, m.groups())
        names = re.findall(r"^FAIL(?:ED)?:? +(.*)$", out, re.M)
        count.add(passed, (["golden: " + n for n in names] + ["golden: " + " ".join(what)] * failed)[:failed], skipped)


def level_e2e(count):
    if not programs(count, "e2e", "bench_load", "model_run"):
        return
    if run(["scripts/real-etcd.sh"])[0]:
        count.add(0, ["e2e: the real programs could not be fetched"])
        return
    out = os.path.join(ROOT, "build", "e2e.xml")
    if os.path.exists(out):
        os.unlink(out)
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", ETCD_BIN=os.path.join(ROOT, "build/release/bin"), ETCD_REAL=os.path.join(ROOT, "build/real"))
    status, _ = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", out, "tests/e2e"], env=env)
    if not os.path.exists(out) or not junit(count, out, "e2e"):
        count.add(0, ["e2e: pytest, exit status %d" % status])


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell's background job ignores it, and so would programs that tests interrupt
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--levels", help="comma list; all of them if not given")
    a = p.parse_args()
    wanted = a.levels.split(",") if a.levels else LEVELS
    for w in wanted:
        if w not in LEVELS:
            p.error("no level %r; there are %s" % (w, " ".join(LEVELS)))
    total = Count()
    for level in (x for x in LEVELS if x in wanted):
        print("== %s" % level, flush=True)
        count, began = Count(), time.monotonic()
        globals()["level_" + level](count)
        print("   %d passed, %d failed, %d skipped in %d s" % (count.passed, count.failed, count.skipped, time.monotonic() - began), flush=True)
        total.add(count.passed, count.names, count.skipped)
    if total.names:
        print("failed:\n  " + "\n  ".join(total.names))
    print("%d passed, %d failed, %d skipped" % (total.passed, total.failed, total.skipped))
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
