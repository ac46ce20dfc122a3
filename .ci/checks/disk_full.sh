#!/usr/bin/env bash
# A full and a read-only file system under the documents, then a full one under the journal: stated
# in the status, and delivered as soon as there is room. Usage: disk_full.sh SCRATCH [BINARY]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

program=${2:-$binary}
project=$1/disk
documents=$project/$registry
state=$project/Cache/runscribe
[[ $EUID == 0 ]] || skip "only root can mount a small file system"
provide python3 python3
mkdir -p "$documents" "$state"

daemon=''
end_all() {
    [[ -z $daemon ]] || end_process "$daemon"
    umount "$documents" 2>/dev/null || true
    umount "$state" 2>/dev/null || true
}
trap end_all EXIT
mount -t tmpfs -o size=96k tmpfs "$documents" || skip "a tmpfs cannot be mounted here"
mount -t tmpfs -o size=3m tmpfs "$state" || skip "a tmpfs cannot be mounted here"

# fill FOLDER takes all that is left of its file system.
fill() {
    head -c 64M /dev/zero >"$1/ballast" 2>/dev/null && fail "$1 took 64 MB"
    return 0
}

# says TEXT: the status names it, for people and for programs.
says() {
    "$program" status --root "$project" 2>/dev/null | tr -s '\n ' ' ' | holds "$1" &&
        "$program" status --json --root "$project" 2>/dev/null | holds "$1"
}

# rows N: that many rows stand in the log, and nothing waits.
rows() {
    [[ $(observation_rows "$project" | wc -l) == "$1" ]] &&
        "$program" status --json --root "$project" | grep -Eq '"pending": *0[,}].*"held": *\[\]'
}

save() {
    python3 "$repository/.ci/checks/small_project.py" save "$project" "$1"
}

python3 "$repository/.ci/checks/small_project.py" new "$project"
: >"$project/fake/go"
fill "$documents"
"$program" watch --root "$project" >"$project/daemon" 2>&1 &
daemon=$!

explain_and_fail() {
    "$program" status --root "$project" || true
    tail -n 20 "$project/daemon"
    fail "$@"
}

wait_until 30 says "no space is left" || explain_and_fail "a full disk is not stated"
rm "$documents/ballast"
wait_until 60 rows 1 || explain_and_fail "nothing was delivered after space had been freed"
echo "figure: full disk under the documents: stated, and delivered once there was room"

# The old text stays open for a while after it was replaced.
wait_until 30 mount -o remount,ro "$documents" 2>/dev/null || fail "it cannot be made read-only"
save 40
wait_until 30 says "read-only" || explain_and_fail "a read-only file system is not stated"
mount -o remount,rw "$documents"
wait_until 60 rows 2 || explain_and_fail "nothing was delivered after the mount was writable again"
echo "figure: read-only mount: stated, and delivered once it was writable"

fill "$state"
save 60
wait_until 30 says "journal cannot commit" || explain_and_fail "a full state folder is not stated"
save 80
rm "$state/ballast"
wait_until 90 rows 4 || explain_and_fail "not every observation was made after space had been freed"
echo "figure: full disk under the journal: stated, and nothing lost"

check_notes "$project"
grep -q "A person's words, kept as they are.  $" "$documents/master_experiment_log.md" ||
    fail "a person's line was changed"
