#!/usr/bin/env python3
"""Puts the cause of each known bug into a copy of the sources, and demands that its test notices (docs/LESSONS.md).

    tests/mutants.py [--only WORD] [--jobs N]

Ends with one line: N causes, N noticed. Exit status 1 if a test sleeps. `make mutants` runs it; it takes some minutes.
"""
import argparse, os, re, shutil, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY, BUILD = os.path.join(ROOT, "build/mutants/tree"), os.path.join(ROOT, "build/mutants/build")
CRASH, LESSONS = "sim_crash", "sim_lessons"
SWEEP, PURGED = "test_no_crash_loses_or_halves_anything", "test_no_crash_loses_anything_while_files_are_purged"

# bug, what is done wrong, file, what stands there once, what is put instead, program, test
CAUSES = [
    ("#13766 #13514 #13654", "the consistent index is ahead of its data", "server/start.c",
     "    store_u64be(number, self->consistent_index);\n", "    store_u64be(number, self->consistent_index + 1);\n", CRASH, SWEEP),
    ("#13766 #13514 #13654", "the consistent index is saved without its data, now and then", "server/start.c",
     "    if (self->consistent_index == 0) return;\n", "    if (self->consistent_index == 0 || self->consistent_index % 8 != 0) return;\n", CRASH, SWEEP),
    ("#13922 #13937 #13933", "the consistent index is taken from the snapshot", "server/start.c",
     "        self->applied_index = self->snapshot_index = snapshot.index;\n", "        self->applied_index = self->snapshot_index = snapshot.index;\n        if (snapshot.index > 0) self->consistent_index = snapshot.index;\n", CRASH, SWEEP),
    ("#13508", "checkpoints are not kept", "lease/lessor.c",
     "    if (self->config.checkpoints_persisted) persist(self, lease);\n", "", LESSONS, "test_13508_a_lease_keeps_its_checkpoint"),
    ("#14370", "entries are committed before they are saved", "server/start.c",
     "        .check_quorum = true,\n", "        .check_quorum = true,\n        .saves_first = true,\n", CRASH, SWEEP),
    ("#14571 #14648 #11651", "the auth revision is not read back", "auth/store.c",
     "    if (value.len == 8) self->revision = load_u64be(value.data);\n", "", LESSONS, "test_14571_users_are_the_same_after_a_snapshot"),
    ("#14685", "the defragmented copy comes under the database's name without being synced", "backend/defrag.c",
     "    struct bolt_options options = backend__bolt_options(self);\n    struct errmsg *message = &self->work.message;\n",
     "    struct bolt_options options = backend__bolt_options(self);\n    options.no_sync = true;\n    struct errmsg *message = &self->work.message;\n", CRASH, SWEEP),
    ("#15220", "progress is told while events are still to come", "api/watch.c",
     "        if (!watcher_is_compacted(watch->watcher) && !watcher_is_synced(watch->watcher)) return;\n", "        (void)watch;\n", LESSONS, "test_15220_progress_is_not_ahead_of_events"),
    ("#20221", "a watch of the future sees what comes before it", "mvcc/watch.c",
     "    return event->revision.main >= self->next_revision;\n", "    return true;\n", LESSONS, "test_20221_a_watch_of_the_future_sees_nothing_older"),
    ("#19179", "a deletion at the compacted revision is compacted away", "mvcc/index_key.c",
     "        if (history->revisions[i].main == at) break; /* its generation is still the one at `at` */\n", "", LESSONS, "test_19179_a_watch_from_the_compacted_revision_sees_its_deletion"),
    ("#18089", "a watcher behind the compaction is not told", "mvcc/watch_catchup.c",
     "    if (watcher->next_revision < store->compact_revision || watcher->next_revision == INT64_MIN) {\n        tell_compacted(watcher);\n    } else if",
     "    if (watcher->next_revision < store->compact_revision) watcher->next_revision = store->compact_revision;\n    if", LESSONS, "test_18089_a_compaction_does_not_leave_a_gap"),
    ("#14563", "a watcher that catches up misses a revision", "mvcc/watch_catchup.c",
     "    size_t begin = ring_find(hub, watcher->next_revision), at = begin;\n", "    size_t begin = ring_find(hub, watcher->next_revision + 1), at = begin;\n", LESSONS, "test_18089_a_compaction_does_not_leave_a_gap"),
    ("#17780", "the revision is that of the newest pair in the file", "mvcc/store.c",
     "    if (self->revision < self->compact_revision) self->revision = self->compact_revision;\n    if (self->revision < scheduled) self->revision = scheduled;\n", "", LESSONS, "test_17780_nor_with_a_database_without_its_newest_revision"),
    ("#18667 #18799 #21432", "ranges are not checked where nobody waits", "mvcc/txn.c",
     "    if (error == OK) error = check_path(&run, request, CHECK_RANGES);\n", "    if (error == OK && !skip_ranges) error = check_path(&run, request, CHECK_RANGES);\n", LESSONS, "test_18667_a_txn_with_a_bad_range_writes_nothing"),
    ("#18055 #20271 #20650", "pages that a reader sees are used again", "bolt/tx.c",
     "    LIST_FOREACH (link, &db->readers) txids[count++] = CONTAINER_OF(link, struct bolt_tx, link)->meta.txid;\n", "", LESSONS, "test_20650_a_snapshot_is_one_moment"),
    ("#10219", "the WAL names a snapshot that is not durable", "wal/snap.c",
     "    if (error == OK) error = env_fsync(file);\n    *ret_sync_ns", "    *ret_sync_ns", CRASH, PURGED),
    ("#13541", "a key deleted in the buffer is read from the file", "backend/view.c",
     "    *ret_value = small_value(entry);\n    return true;\n", "    *ret_value = small_value(entry);\n    return !entry->is_deleted;\n", "unit_backend_backend", "what_is_deleted_stays_deleted_until_it_is_gone_from_the_file"),
    ("#14127", "what lies behind the last good record stays", "wal/read.c",
     "    TRY(env_truncate(tail, decoder->next_offset));\n    TRY(env_allocate(tail, 0, size_bytes));\n", "", CRASH, SWEEP),
    ("#19557 #21694 #20995", "a member's peer URLs are lost in the snapshot", "cluster/v2.c",
     "    cluster__append_raft_attributes(member, &value);\n", "", LESSONS, "test_19557_the_members_are_the_same_after_a_snapshot"),
]


def run(argv, limit=900, **more):
    try:
        r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit, **more)
        return r.returncode, r.stdout
    except subprocess.TimeoutExpired:
        return -1, "no end within %d s" % limit


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def copy_tree():
    """The files that git knows, as they lie here; unchanged ones keep their time so that little is built again."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        source, target = os.path.join(ROOT, name), os.path.join(COPY, name)
        if not os.path.isfile(source):
            continue
        with open(source, "rb") as f:
            content = f.read()
        if os.path.exists(target):
            with open(target, "rb") as f:
                if f.read() == content:
                    continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)


def build(programs, jobs):
    return run(["ninja", "-C", BUILD, "-j", str(jobs), *programs])


def failed_tests(program):
    """Runs a program of cmocka tests -> names of those that failed, the one that was running when it ended early."""
    status, output = run([os.path.join(BUILD, "bin", program)], 300, cwd=COPY)
    names = set(re.findall(r"\[  FAILED  \] (\w+)$", output, re.M))
    if status != 0:
        begun = re.findall(r"\[ RUN      \] (\w+)", output)
        done = set(re.findall(r"\[       OK \] (\w+)", output)) | names
        names |= {n for n in begun if n not in done}
    return status, names, output


def notice(cause, jobs):
    """-> whether the cause's test notices it, and what was seen."""
    bug, what, name, old, new, program, test = cause
    path = os.path.join(COPY, "src", name)
    with open(path) as f:
        text = f.read()
    if text.count(old) != 1:
        return False, "src/%s has the place %d times" % (name, text.count(old))
    write(path, text.replace(old, new))
    try:
        status, output = build([program], jobs)
        if status:
            return False, "does not build:\n" + output[-2000:]
        status, names, output = failed_tests(program)
    finally:
        write(path, text)
    return test in names, ", ".join(sorted(names)) or "exit status %d" % status


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="", help="causes whose bug, words or file contain this")
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    a = p.parse_args()
    causes = [c for c in CAUSES if a.only in " ".join(c[:3])]
    copy_tree()
    status, output = run(["cmake", "--preset", "dev", "-B", BUILD, "-DETCD_WERROR=OFF"], cwd=COPY)
    programs = sorted({c[5] for c in causes})
    if status == 0:
        status, output = build(programs, a.jobs)
    if status:
        sys.exit("the copy can't be built:\n" + output[-3000:])
    for program in programs:
        status, names, output = failed_tests(program)
        if status:
            sys.exit("%s fails without any cause: %s" % (program, ", ".join(sorted(names))))
    noticed = 0
    for cause in causes:
        is_seen, seen = notice(cause, a.jobs)
        noticed += is_seen
        print("%-8s %-24s %s\n         %s" % ("noticed" if is_seen else "ASLEEP", cause[0], cause[1], seen), flush=True)
    print("%d causes, %d noticed" % (len(causes), noticed))
    sys.exit(noticed != len(causes))


if __name__ == "__main__":
    main()
