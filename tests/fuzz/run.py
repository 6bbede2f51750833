#!/usr/bin/env python3
"""Fuzzing: what `make fuzz` and `make fuzz-coverage` do.

    run.py fuzz [--seconds N] [--targets a,b]     fuzzes each target so long; exit status 1 when something was found
    run.py coverage [--targets a,b] [--missing]   lines of each decoder that its kept inputs reach; fails below 90 %
    run.py keep [--targets a,b]                   makes anew the kept inputs, of them and what was found since

Targets are the files tests/fuzz/<target>.c; kept inputs lie in tests/fuzz/corpus/<target>/. Those with a name of their own
stay: "found-..." once brought something to light, "made-..." is large and reaches what no small one does. What fuzzing
finds new goes to build/fuzz-work/<target>/, and what crashes, hangs or leaks to build/fuzz-work/<target>.crash-*.
"""
import argparse, glob, hashlib, os, re, resource, shutil, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WORK = os.path.join(ROOT, "build", "fuzz-work")
CORPUS = os.path.join(HERE, "corpus")
LEAST_PERCENT = 90
MAX_KEPT_BYTES = 8 * 1024        # no larger input is kept
SLOW_CPU_SECONDS = 3
# A hang is 5 s; memory in all, and one allocation, are far beyond what any input is worth.
# (The schedule that libFuzzer takes by itself spends more time on its figures than on inputs when a target is large.)
LIMITS = ["-timeout=5", "-rss_limit_mb=2048", "-malloc_limit_mb=256", "-entropic=0"]
MAX_LEN = {"bolt": 16384}
DEFAULT_MAX_LEN = 4096


def all_targets():
    with open(os.path.join(HERE, "CMakeLists.txt")) as f:
        return re.findall(r"^etcd_fuzz\((\w+)", f.read(), re.M)


def decoders():
    """Lines of decoders.txt: a file under src/ and the targets whose kept inputs count for it."""
    with open(os.path.join(HERE, "decoders.txt")) as f:
        return [(w[0], w[1:]) for w in (x.split("#")[0].split() for x in f) if w]


def build(preset, targets):
    if subprocess.run(["cmake", "--preset", preset, "-B", "build/" + preset], cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        sys.exit("cmake failed")
    if subprocess.run(["ninja", "--quiet", "-C", "build/" + preset] + ["fuzz_" + t for t in targets], cwd=ROOT).returncode:
        sys.exit("the build failed")


def program(preset, target):
    return os.path.join(ROOT, "build", preset, "bin", "fuzz_" + target)


def folder(*parts):
    path = os.path.join(*parts)
    os.makedirs(path, exist_ok=True)
    return path


def environment():
    return dict(os.environ, ASAN_OPTIONS="detect_stack_use_after_return=1:allocator_may_return_null=1", UBSAN_OPTIONS="print_stacktrace=1")


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def is_slow(target, path):
    """Whether an input that took too long does so by itself: others may have had the processor."""
    before = cpu_seconds()
    subprocess.run([program("fuzz", target), "-timeout=100", path], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    return cpu_seconds() - before > SLOW_CPU_SECONDS


def run_once(target, seconds, log):
    """-> executions, edges reached, exit status."""
    work = folder(WORK, target)
    argv = [program("fuzz", target), work, folder(CORPUS, target), "-max_total_time=%d" % seconds, "-print_final_stats=1", "-verbosity=1",
            "-max_len=%d" % MAX_LEN.get(target, DEFAULT_MAX_LEN), "-artifact_prefix=%s." % os.path.join(WORK, target)] + LIMITS
    words = os.path.join(HERE, target + ".dict")
    if os.path.exists(words):
        argv.append("-dict=" + words)
    with open(log, "wb") as f:
        status = subprocess.run(argv, cwd=ROOT, stdout=f, stderr=subprocess.STDOUT, env=environment()).returncode
    with open(log, errors="replace") as f:
        text = f.read()
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    cover = re.findall(r"cov: (\d+)", text)
    return int(runs.group(1)) if runs else 0, cover[-1] if cover else "?", status


def fuzz_one(target, seconds):
    """-> executions, edges reached, what was found."""
    log = os.path.join(WORK, target + ".log")
    known = set(glob.glob(os.path.join(WORK, target + ".*-*")))
    end, total = time.monotonic() + seconds, 0
    while True:
        runs, cover, status = run_once(target, max(1, int(end - time.monotonic())), log)
        total += runs
        found = sorted(set(glob.glob(os.path.join(WORK, target + ".*-*"))) - known)
        unjust = [x for x in found if os.path.basename(x).startswith(target + ".timeout-") and not is_slow(target, x)]
        for path in unjust:
            os.unlink(path)
        found = [x for x in found if x not in unjust]
        if unjust and not found and time.monotonic() + 2 < end:
            continue
        if status and not found and not unjust:
            found = [log]
        return total, cover, found


def fuzz(targets, seconds):
    build("fuzz", targets)
    folder(WORK)
    bad = []
    for target in targets:
        began, cpu = time.monotonic(), cpu_seconds()
        runs, cover, found = fuzz_one(target, seconds)
        print("%-10s %5d s %5d s of CPU %10d inputs %6s edges  %s" % (target, time.monotonic() - began, cpu_seconds() - cpu, runs, cover, "found %d" % len(found) if found else "nothing found"), flush=True)
        for path in found:
            print("    " + os.path.relpath(path, ROOT), flush=True)
        bad += found
    return 1 if bad else 0


def keep(targets):
    """The fewest inputs, of those kept and those found meanwhile, that reach what all of them reach; and the named ones."""
    build("fuzz", targets)
    for target in targets:
        work, kept = folder(WORK, target), folder(CORPUS, target)
        before = os.listdir(kept)
        with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as fewest:
            for path in glob.glob(os.path.join(work, "*")) + glob.glob(os.path.join(kept, "*")):
                if os.path.getsize(path) <= MAX_KEPT_BYTES:
                    shutil.copy(path, small)
            with open(os.path.join(WORK, target + ".merge.log"), "wb") as log:
                if subprocess.run([program("fuzz", target), "-set_cover_merge=1", fewest, small] + LIMITS, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment()).returncode:
                    sys.exit("%s: the merge failed" % target)
            for name in before:
                if "-" not in name:
                    os.unlink(os.path.join(kept, name))
            for name in os.listdir(fewest):
                with open(os.path.join(fewest, name), "rb") as f:   # as libFuzzer names them
                    content = f.read()
                with open(os.path.join(kept, hashlib.sha1(content).hexdigest()), "wb") as f:
                    f.write(content)
        files = [os.path.join(kept, x) for x in os.listdir(kept)]
        print("%-12s %4d inputs (%d before), %d bytes" % (target, len(files), len(before), sum(map(os.path.getsize, files))), flush=True)
    return 0


def lines_of(target):
    """-> {file as in decoders.txt: {line that can run: reached?}}, by the kept inputs. (The build leaves src/ off names.)"""
    profile = os.path.join(WORK, target + ".profraw")
    if subprocess.run([program("coverage", target), os.path.join(CORPUS, target)], cwd=ROOT, stdout=subprocess.DEVNULL, env=dict(os.environ, LLVM_PROFILE_FILE=profile)).returncode:
        sys.exit("the kept inputs of %s do not pass" % target)
    data = profile[:-3] + "data"
    subprocess.run(["llvm-profdata", "merge", "-o", data, profile], check=True)
    out = subprocess.run(["llvm-cov", "export", "-format=lcov", "-instr-profile", data, program("coverage", target)], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    files, lines = {}, {}
    for x in out.splitlines():
        if x.startswith("SF:"):
            lines = files.setdefault(os.path.relpath(x[3:], os.path.join(ROOT, "build", "coverage")), {})
        elif x.startswith("DA:"):
            number, count = map(int, x[3:].split(",")[:2])
            lines[number] = lines.get(number, False) or count > 0
    return files


def coverage(targets, missing):
    wanted = [(f, [t for t in ts if t in targets]) for f, ts in decoders()]
    wanted = [(f, ts) for f, ts in wanted if ts]
    used = sorted({t for _, ts in wanted for t in ts})
    build("coverage", used)
    folder(WORK)
    reached = {t: lines_of(t) for t in used}
    bad = 0
    print("%-24s %-28s %6s %8s %7s" % ("decoder", "inputs of", "lines", "reached", ""))
    for name, ts in wanted:
        lines = {}
        for t in ts:
            for number, hit in reached[t].get(name, {}).items():
                lines[number] = lines.get(number, False) or hit
        hits = sum(lines.values())
        percent = 100 * hits / len(lines) if lines else 0
        low = percent < LEAST_PERCENT
        bad += low
        print("%-24s %-28s %6d %8d %5.1f %%%s" % (name, " ".join(ts), len(lines), hits, percent, "  too few" if low else ""))
        if missing:
            show_missing(name, sorted(n for n, hit in lines.items() if not hit))
    return 1 if bad else 0


def show_missing(name, numbers):
    with open(os.path.join(ROOT, "src", name)) as f:
        text = f.read().splitlines()
    for n in numbers:
        print("    %5d  %s" % (n, text[n - 1]))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["fuzz", "coverage", "keep"])
    p.add_argument("--seconds", type=int, default=10, help="a target")
    p.add_argument("--targets", default="", help="comma list; all if not given")
    p.add_argument("--missing", action="store_true", help="show the lines that are not reached")
    a = p.parse_args()
    every = all_targets()
    targets = [t for t in a.targets.split(",") if t] or every
    for t in targets:
        if t not in every:
            p.error("no target %r; there are %s" % (t, " ".join(every)))
    if a.what == "fuzz":
        return fuzz(targets, a.seconds)
    return keep(targets) if a.what == "keep" else coverage(targets, a.missing)


if __name__ == "__main__":
    sys.exit(main())
