"""What the real etcd makes of a data directory in which ours does not find what the writers were told.

A cluster of one member of etcd 3.5.0 to 3.5.4 acknowledges entries before it saves them (etcd-io/etcd#14370): entries of one
round of raft are applied, and answered, while the log is still being written. SIGKILL may thus take from each writer the last
call that was acknowledged, and, if the database was committed meanwhile, leave a log that ends before the database does.
"""
import os, re, shutil, subprocess

from members import REAL35, Member
from replay.client import CallError
from writers import content, judge, judge_without_tail

UPSTREAM = "the real etcd 3.5.1 acknowledges before it saves, etcd-io/etcd#14370"
LOG_IS_SHORT = r"the WAL in \S+ ends at index \d+, before the consistent index \d+ of \S+: entries are lost"


def copy_directory(source, target):
    """Copies a data directory nobody has open; the room that logs take beforehand takes none in the copy."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)


def state(member):
    """What one program makes of its directory: revision, content, HashKV."""
    revision, found = content(member.client_port)
    return revision, found, member.client.hashkv(revision)


class Witness:
    """Holds a copy of a directory as its writers left it. `may_lose`: they were acknowledged by the real etcd, which was ended by
    SIGKILL. The copy stays where it is when a judgement fails; call drop when all was well.
    """

    def __init__(self, directory, writers, when, may_lose, args=()):
        self.tmp = os.path.join(os.path.dirname(directory), when.replace(" ", "-"))
        self.copy = os.path.join(self.tmp, "as-left", os.path.basename(directory))
        copy_directory(directory, self.copy)
        self.writers, self.when, self.may_lose, self.args = writers, when, may_lose, args

    def drop(self):
        shutil.rmtree(self.tmp)

    def fail(self, fault, verdict):
        raise AssertionError("%s\n%s\nThe directory as the writers left it: %s" % (fault, verdict, self.copy))

    def real(self):
        """The real etcd on a copy of the copy."""
        tmp = os.path.join(self.tmp, "real")
        copy_directory(self.copy, os.path.join(tmp, "m.etcd"))
        return Member(REAL35, tmp, *self.args)

    def judge(self, seen):
        """Judges what a program found, in the form of `state`."""
        try:
            return judge(*seen[:2], self.writers, self.when)
        except AssertionError as e:
            fault = str(e)
        with self.real() as m:
            real = state(m)
        if real != seen:
            self.fail(fault, "The real etcd 3.5.1 finds something else there: revision %d and %d, HashKV %r and %r" % (real[0], seen[0], real[2], seen[2]))
        if not self.may_lose:
            self.fail(fault, "The real etcd 3.5.1 finds the same there.")
        try:
            missing = judge_without_tail(*seen[:2], self.writers, self.when)
        except AssertionError as e:
            self.fail(fault, "The real etcd 3.5.1 finds the same there, but it is more than a last call: %s" % e)
        print("%s: the last acknowledged call of writers %r is lost, for both programs: %s" % (self.when, missing, UPSTREAM))

    def judge_refusal(self, member):
        """Judges that a member of ours did not start: a directory that no program can go on with, and no fault of ours?"""
        member.process.wait(20)
        fault = "%s: ours does not start:\n%s" % (self.when, member.text()[-2000:])
        if not self.may_lose or not re.search(LOG_IS_SHORT, fault):
            self.fail(fault, "Nothing excuses it.")
        with self.real() as m:
            try:
                m.client.put(b"x", b"")
            except CallError as e:
                print("%s: the log ends before the database, the real etcd says to a put: %s: %s" % (self.when, e.text, UPSTREAM))
                return
        self.fail(fault, "The real etcd 3.5.1 goes on there.")
