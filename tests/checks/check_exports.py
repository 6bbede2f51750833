#!/usr/bin/env python3
"""libetcdclient.so offers exactly the functions that include/etcd/client.h declares.

    check_exports.py HEADER LIBRARY
"""
import re, subprocess, sys

header = re.sub(r"/\*.*?\*/", "", open(sys.argv[1]).read(), flags=re.S)
header = re.sub(r"static inline[^{]*\{[^}]*\}", "", header, flags=re.S)
declared = set(re.findall(r"\b(etcd_\w+)\s*\((?!\*)", re.sub(r"typedef[^;]*;", "", header))) - {"etcd_bytes_of"}
listing = subprocess.run(["nm", "-D", "--defined-only", sys.argv[2]], check=True, capture_output=True, text=True).stdout
exported = {line.split()[-1].split("@")[0] for line in listing.splitlines() if line.split()[-2] != "A"}
for name in sorted(declared ^ exported):
    print(f"{name}: {'declared, not exported' if name in declared else 'exported, not declared'}")
sys.exit(declared != exported)
