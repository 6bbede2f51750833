"""What the real etcd makes of a data directory in which ours does not find what the writers were told.

A cluster of one member of etcd 3.5.0 to 3.5.4 acknowledges entries before it saves them (etcd-io/etcd#14370): entries of one
round of raft are applied, and answered, while the log is still being written. SIGKILL may thus take from each writer the last
call that was acknowledged, and, if the database was committed meanwhile, leave a log that ends before the database does.

etcd 3.5.0 to 3.5.2 commits the consistent index apart from what belongs to it (etcd-io/etcd#13766): SIGKILL between the two
leaves a database that says it holds an entry whose changes it lacks. With the index set back by one, the entry is applied and
everything is there: that is how a Witness tells this fault from others.
"""
import os, re, shutil, subprocess

from members import REAL35, Member
from replay.client import CallError
from writers import content, judge, judge_without_tail

UPSTREAM = "the real etcd 3.5.1 acknowledges before it saves, etcd-io/etcd#14370"
APART = "the real etcd 3.5.1 commits the consistent index apart from its data, etcd-io/etcd#13766"
INDEX_KEY = b"consistent_index"
LOG_IS_SHORT = r"the WAL in \S+ ends at index \d+, before the consistent index \d+ of \S+: entries are lost"


def copy_directory(source, target):
    """Copies a data directory nobody has open; the room that logs take beforehand takes none in the copy."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)


def state(member):
    """What one program makes of its directory: revision, content, HashKV."""
    revision, found = content(member.client_port)
    return revision, found, member.client.hashkv(revision)


def set_index_back(directory):
    """Sets the consistent index of a database nobody has open back by one; its value follows its key in the leaf page."""
    path = os.path.join(directory, "member/snap/db")
    with open(path, "rb") as f:
        db = f.read()
    at = [m.end() for m in re.finditer(INDEX_KEY, db)]          # pages no longer in use among them
    newest = max(db[i:i + 8] for i in at if db[i] == 0)
    with open(path, "wb") as f:
        f.write(db.replace(INDEX_KEY + newest, INDEX_KEY + (int.from_bytes(newest, "big") - 1).to_bytes(8, "big")))


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

    def real(self, change=None):
        """The real etcd on a copy of the copy, which `change` may change first."""
        tmp = os.path.join(self.tmp, "real" if change is None else "changed")
        directory = os.path.join(tmp, "m.etcd")
        copy_directory(self.copy, directory)
        if change is not None:
            change(directory)
        return Member(REAL35, tmp, *self.args)

    def judge_tail(self, seen):
        """-> why what was found may be so, by the real one's fault; raises AssertionError when it may not."""
        missing = judge_without_tail(*seen[:2], self.writers, self.when)
        return "the last acknowledged call of writers %r is lost, for both programs: %s" % (missing, UPSTREAM)

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
            why = self.judge_tail(seen)
        except AssertionError as e:
            with self.real(set_index_back) as m:
                again = state(m)
            try:
                self.judge_tail(again)
            except AssertionError:
                self.fail(fault, "The real etcd 3.5.1 finds the same there, but it is more than a last call: %s" % e)
            why = "an acknowledged call is lost, for both programs; it is there with the index set back by one: %s" % APART
        print("%s: %s" % (self.when, why))

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
