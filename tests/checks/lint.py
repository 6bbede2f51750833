#!/usr/bin/env python3
"""Static checks of our own C files: lint.py format | tidy | analyze | cppcheck   [--build DIR]

analyze is clang-tidy with the path-sensitive analyzer, which takes minutes; tidy is without.

tidy and cppcheck remember under build/lint/ what they found clean: a file is looked at again when it, a header or the
configuration has changed. Exit status 1 and the findings if there are any.
"""
import argparse, concurrent.futures, hashlib, json, os, re, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def ours(suffixes):
    out = subprocess.run(["git", "ls-files", "--cached", "--", *["*" + s for s in suffixes]], cwd=ROOT, check=True, capture_output=True, text=True)
    return [f for f in out.stdout.splitlines() if f.startswith(("src/", "include/", "tests/", "bench/")) and os.path.exists(os.path.join(ROOT, f))]


def check_format():
    files = ours((".c", ".h"))
    r = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True)
    bad = sorted(set(re.findall(r"^([^\s:]+):\d+:\d+: error", r.stderr, re.M)))
    return ["%s: not formatted (make format)" % f for f in bad] or ([r.stderr] if r.returncode else [])


def digest(files, *more):
    h = hashlib.sha256(repr(more).encode())
    for f in files:
        with open(os.path.join(ROOT, f), "rb") as x:
            h.update(f.encode() + b"\0" + x.read())
    return h.hexdigest()


def each_file(kind, commands, common):
    """Runs the command of every file whose digest is not remembered, two at a time."""
    folder = os.path.join(ROOT, "build/lint", kind)
    os.makedirs(folder, exist_ok=True)

    def one(item):
        file, command = item
        stamp = os.path.join(folder, file.replace("/", "+"))
        now = digest([file], common, command)
        try:
            with open(stamp) as f:
                if f.read() == now:
                    return []
        except OSError:
            pass
        r = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if r.returncode:
            found = [x for x in (r.stdout + r.stderr).splitlines() if re.search(r": (error|warning|style|portability|performance)", x)]
            found = [x.replace(ROOT + "/", "") for x in found]
            return found or ["%s: %s" % (file, (r.stderr or r.stdout).strip()[-300:])]
        with open(stamp, "w") as f:
            f.write(now)
        return []

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(one, commands), [])


def check_tidy(build, deep):
    with open(os.path.join(ROOT, build, "compile_commands.json")) as f:
        built = {os.path.relpath(x["file"], ROOT) for x in json.load(f)}
    files = [f for f in ours((".c",)) if f in built and f.startswith("src/")]
    common = digest(ours((".h",)) + [".clang-tidy"])
    command = ["clang-tidy", "-quiet", "--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-format-nonliteral", "-p", build] + ([] if deep else ["--checks=-clang-analyzer-*"])
    return each_file("analyze" if deep else "tidy", [(f, command + [f]) for f in files], common)


def check_cppcheck(build):
    files = [f for f in ours((".c",)) if f.startswith("src/")]
    common = digest(ours((".h",)))
    # env/log.h is left out: its macros are beyond cppcheck's parser, and calls of unknown functions are not
    command = ["cppcheck", "-q", "--std=c11", "--language=c", "--enable=warning,portability", "--inline-suppr", "--error-exitcode=1", "--max-configs=1",
               "--suppress=missingIncludeSystem", "--suppress=unknownMacro", "--suppress=zerodivcond", "--suppress=nullPointerRedundantCheck",
               "--suppress=unknownEvaluationOrder", "--suppress=autoVariables", "-DENV_LOG_H", "--suppress=checkersReport", "-D__GNUC__=12", "-D_GNU_SOURCE", "-Isrc", "-Iinclude"]
    return each_file("cppcheck", [(f, command + [f]) for f in files], common)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kind", choices=["format", "tidy", "analyze", "cppcheck"])
    p.add_argument("--build", default="build/dev", help="build directory with compile_commands.json")
    a = p.parse_args()
    if a.kind == "format":
        found = check_format()
    else:
        found = check_cppcheck(a.build) if a.kind == "cppcheck" else check_tidy(a.build, a.kind == "analyze")
    print("\n".join(dict.fromkeys(found)) if found else "%s: clean" % a.kind)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
