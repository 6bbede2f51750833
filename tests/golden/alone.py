#!/usr/bin/env python3
"""Runs a command in a network namespace of its own, with loopback up: alone.py COMMAND...

The recordings name ports; two runs at a time would collide, and so would anything else on this machine. Where the kernel
does not allow a namespace the command runs without one.
"""
import ctypes, fcntl, os, socket, struct, sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def leave():
    """A new network namespace; without the right to one, inside a user namespace where we are who we are."""
    libc, uid, gid = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET) == 0:
        return True
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", "%d %d 1" % (uid, uid)), ("gid_map", "%d %d 1" % (gid, gid))):
        with open("/proc/self/" + name, "w") as f:
            f.write(text)
    return True


def loopback_up():
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


if __name__ == "__main__":
    if leave():
        loopback_up()
    os.execvp(sys.argv[1], sys.argv[1:])
