#!/usr/bin/env python3
"""Include directions: a folder of src/ includes headers of lower floors only, and only of the modules it declares.

Floors and modules are read from src/CMakeLists.txt: each block between blank lines is a floor, the lowest first; DEPS of
etcd_module() are the modules it may use. On top of that: sockets and libuv belong to net/, files and threads to os/,
exit and standard output to the programs.

    check_includes.py [ROOT]    exit status 1 and one line for each wrong include
    check_includes.py --self-test    the same on a small tree with known mistakes
"""
import os, re, sys, tempfile

PROGRAMS = ("etcd", "etcdctl", "etcdutl", "etcdclient")
SYSTEM = {      # system header -> modules that may include it
    "uv.h": {"net"},
    "sys/socket.h": {"net"}, "netinet/in.h": {"net"}, "netdb.h": {"net"}, "arpa/inet.h": {"net"},
    "fcntl.h": {"os", "net"}, "sys/mman.h": {"os"}, "sys/file.h": {"os"}, "sys/stat.h": {"os", "net"}, "dirent.h": {"os"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
LEAVING = re.compile(r"(?<![\w.>])(exit|_exit|printf|puts|putchar)\s*\(")


def modules(root):
    """-> module: (floor, modules it may include)"""
    with open(os.path.join(root, "src/CMakeLists.txt")) as f:
        text = re.sub(r"#[^\n]*", "", f.read())
    floors, deps = {}, {}
    blocks = [b for b in re.split(r"\n\s*\n", text) if b.strip()]
    for floor, block in enumerate(blocks):
        for name, rest in re.findall(r"etcd_module\((\w+)([^)]*)\)", block):
            m = re.search(r"DEPS\s+(.*?)(?:\bLIBS\b|$)", rest, re.S)
            floors[name], deps[name] = floor, set(m.group(1).split()) if m else set()
        for name in re.findall(r"^add_subdirectory\((\w+)\)", block, re.M):
            floors[name], deps[name] = floor, None
        m = re.search(r"foreach\(program ([\w ]+)\)", block)
        for name in m.group(1).split() if m else ():
            floors[name], deps[name] = floor, None
    for name, wanted in deps.items():
        if wanted is None:          # all lower floors
            deps[name] = {n for n in floors if floors[n] < floors[name]}
    return {n: (floors[n], deps[n]) for n in floors}


def sources(folder):
    for path, folders, files in os.walk(folder):
        folders.sort()
        for f in sorted(files):
            if f.endswith((".c", ".h")):
                yield os.path.join(path, f)


def plain(text):
    """Without comments and the insides of strings; include lines keep theirs."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return "\n".join(x if re.match(r"\s*#", x) else re.sub(r'"(?:\\.|[^"\\])*"', '""', x) for x in text.split("\n"))


def check(root):
    table, wrong = modules(root), []
    for name, (floor, deps) in sorted(table.items()):
        for d in sorted(deps - set(table)):
            wrong.append("src/CMakeLists.txt: %s uses %s, which is no module" % (name, d))
        for d in sorted(deps & set(table)):
            if table[d][0] >= floor:
                wrong.append("src/CMakeLists.txt: %s (floor %d) may not use %s (floor %d)" % (name, floor, d, table[d][0]))
    src = os.path.join(root, "src")
    for name in sorted(os.listdir(src)):
        if not os.path.isdir(os.path.join(src, name)):
            continue
        if name not in table:
            wrong.append("src/%s: no floor; name it in src/CMakeLists.txt" % name)
            continue
        floor, deps = table[name]
        for path in sources(os.path.join(src, name)):
            with open(path) as f:
                text = plain(f.read())
            where = lambda m: "%s:%d" % (os.path.relpath(path, root), text.count("\n", 0, m.start(2)) + 1)
            for m in INCLUDE.finditer(text):
                kind, what = m.groups()
                if kind == "<":
                    if name not in PROGRAMS and name not in SYSTEM.get(what, {name}):
                        wrong.append("%s: <%s> is for %s only" % (where(m), what, ", ".join(sorted(SYSTEM[what]))))
                    continue
                if "/" not in what:
                    wrong.append('%s: "%s" must name its module' % (where(m), what))
                    continue
                to = what.split("/")[0]
                if what.startswith("etcd/") and os.path.exists(os.path.join(root, "include", what)):
                    to = "client"           # the public header of libetcdclient
                if to == name:
                    continue
                if to not in table:
                    wrong.append('%s: "%s": no such module' % (where(m), what))
                elif table[to][0] >= floor:
                    wrong.append('%s: "%s" is on floor %d, not below %d' % (where(m), what, table[to][0], floor))
                elif to not in deps:
                    wrong.append('%s: "%s": src/CMakeLists.txt does not let %s use %s' % (where(m), what, name, to))
            if name not in PROGRAMS and name != "base":         # base/check.c and mem.c end a broken process
                for m in LEAVING.finditer(text):
                    line = text.count("\n", 0, m.start()) + 1
                    wrong.append("%s:%d: %s() belongs to the programs" % (os.path.relpath(path, root), line, m.group(1)))
    return wrong


def self_test():
    cmake = """etcd_module(base)\n\netcd_module(env DEPS base)\nadd_subdirectory(pb)\n\netcd_module(raft DEPS pb base)\n
etcd_module(net DEPS env LIBS uv)\n\nforeach(program etcd)\nendforeach()\n"""
    cases = [       # file, text, words of the complaint ("" = none)
        ("raft/a.c", '#include "raft/a.h"\n#include "pb/x.h"\n#include "base/b.h"\n#include <stdio.h>\n', ""),
        ("base/a.c", '#include "env/e.h"\n', "is on floor 1, not below 0"),
        ("env/a.h", '#include "pb/x.h"\n', "is on floor 1, not below 1"),
        ("raft/b.c", '#include "env/e.h"\n', "does not let raft use env"),
        ("raft/c.c", '#include "nosuch/e.h"\n', "no such module"),
        ("raft/d.c", '#include "d.h"\n', "must name its module"),
        ("raft/e.c", "#include <uv.h>\n", "is for net only"),
        ("net/f.c", "#include <uv.h>\n", ""),
        ("raft/g.c", "void f(void) { exit(1); }\n", "belongs to the programs"),
        ("raft/h.c", '/* exit( */\nvoid f(void) { fprintf(x, "exit("); g.exit(1); }\n// #include "net/x.h"\n', ""),
        ("etcd/main.c", '#include "net/n.h"\n#include "raft/r.h"\nint main(void) { exit(1); }\n', ""),
        ("other/a.c", "", "no floor"),
    ]
    bad = 0
    for rel, text, complaint in cases:
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "src", os.path.dirname(rel)))
            for f, t in (("src/CMakeLists.txt", cmake), ("src/" + rel, text)):
                with open(os.path.join(root, f), "w") as o:
                    o.write(t)
            got = check(root)
            if (len(got) != 1 or complaint not in got[0]) if complaint else got:
                print("self-test: %s %r: wanted %r, got %s" % (rel, text, complaint, got))
                bad += 1
    return bad


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(1 if self_test() else 0)
    found = check(sys.argv[1] if sys.argv[1:] else os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    print("\n".join(found) if found else "includes are in order")
    sys.exit(1 if found else 0)
