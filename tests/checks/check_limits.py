#!/usr/bin/env python3
"""docs/LIMITS.md against source and tests: each row's constant is where it says and has that value, its flag exists, and so do its tests; and the
limits of the headers that outsiders meet are all in it.   [--self-test]"""
import os, re, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADERS = ["src/http/server.h", "src/http/request.h", "src/api/api.h", "src/server/config.h"]
# sizes of steps, and what is no limit on anybody
NO_LIMITS = {"HTTP_REPLY_LOW_WATER", "API_RANGE_SLICE_KEYS", "SERVER_VERSION", "SERVER_MIN_CLUSTER_VERSION", "SERVER_MAX_QUOTA_BYTES", "HTTP_HEADER"}
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 10**9}


def read(path):
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            return f.read()
    except OSError:
        return ""


def value_of(text):
    """The number a #define stands for, or None."""
    text = re.sub(r"\((?:size_t|uint64_t|int64_t)\)", "", text.replace("INT32_MAX", str(2**31 - 1)))
    text = re.sub(r"INT64_C|(?<=\d)[uUlL]+", "", text)
    return eval(text) if re.fullmatch(r"[\d\s()*+<-]+", text) else None


def said(text):
    m = re.fullmatch(r"([\d,]+)(?: (KiB|MiB|GiB|s))?", text)
    return int(m.group(1).replace(",", "")) * UNITS[m.group(2) or ""] if m else text


def check_constant(cell, value):
    m = re.fullmatch(r"`(\w+)` in `([\w/.]+)`", cell)
    if not m:
        return None, "no constant and file in %r" % cell
    name, path = m.groups()
    source = read(path)
    define = re.search(r"^#define %s[ \t]+(.*?)[ \t]*(?:/\*.*)?$" % name, source, re.M)
    if define:
        now = value_of(define.group(1))
        return name, None if now == said(value) else "%s is %s, not %s" % (name, now if now is not None else define.group(1), value)
    option = re.search(r"\b%s\b((?:, \"[^\"]*\")+)" % name, source)
    if not option:
        return name, "no %s in %s" % (name, path)
    return name, None if '"%s"' % value in option.group(1) else "%s is %s, not %s" % (name, option.group(1), value)


def check_flag(cell):
    options = read("src/etcd/options.c")
    return ["no flag --%s" % f for f in re.findall(r"`--([\w-]+)`", cell) if '"%s"' % f not in options]


def check_tests(cell):
    wrong, path, count = [], None, 0
    for word in re.findall(r"`([\w/.]+)`", cell):
        if "/" in word:
            path = word
        elif path is None or not re.search(r"^(?:def|static void) %s\(" % word, read(path), re.M):
            wrong.append("no test %s in %s" % (word, path))
        else:
            count += 1
    return wrong if wrong or count else ["no test"]


def check(document, headers=HEADERS):
    wrong, named = [], set()
    for number, text in enumerate(document.splitlines(), 1):
        cells = [c.strip() for c in text.strip().strip("|").split("|")]
        if not text.startswith("|") or cells[0] == "what" or set(text) <= set("|-"):
            continue
        if len(cells) != 8:
            wrong.append("line %d: %d columns" % (number, len(cells)))
            continue
        name, bad = check_constant(cells[1], cells[2])
        named.add(name)
        wrong += ["line %d: %s" % (number, x) for x in ([bad] if bad else []) + check_flag(cells[3]) + check_tests(cells[7])]
    for path in headers:
        for name in re.findall(r"^#define (\w+)[ (].*\S", read(path), re.M):
            if name not in named and name not in NO_LIMITS and not name.endswith("_H"):
                wrong.append("%s of %s is not in docs/LIMITS.md" % (name, path))
    return wrong


def self_test(document):
    """Breaks it in each way that must be found."""
    row = next(x for x in document.splitlines() if "`HTTP_CONN_QUEUED_MAX`" in x)
    breaks = {"a constant renamed": row.replace("HTTP_CONN_QUEUED_MAX", "HTTP_CONN_QUEUE_MAX"), "a value changed": row.replace("| 128 MiB |", "| 64 MiB |"),
              "a flag that is none": row.replace("| 128 MiB | |", "| 128 MiB | `--conn-queue` |"), "a test renamed": row.replace("without_a_window", "without_window"),
              "a row gone": "", "no test": re.sub(r"[^|]*\|$", " |", row)}
    missed = [k for k, v in breaks.items() if not check(document.replace(row, v))]
    return ["not found: " + k for k in missed]


def main():
    document = read("docs/LIMITS.md")
    wrong = self_test(document) if sys.argv[1:] == ["--self-test"] else check(document)
    for x in wrong:
        print(x)
    return 1 if wrong or not document else 0


if __name__ == "__main__":
    sys.exit(main())
