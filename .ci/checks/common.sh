# What the checks share; read by them, not run.
# shellcheck shell=bash
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly repository
# shellcheck disable=SC2034 # The checks that run the program use it.
readonly binary=${CARGO_TARGET_DIR:-$repository/target}/release/runscribe
readonly registry=docs/2_Experiments_Registry

# fail TEXT… ends the check as failed.
fail() {
    printf 'failed: %s\n' "$*"
    exit 1
}

# skip TEXT… ends the check as one that cannot run here.
skip() {
    printf 'skipped: %s\n' "$*"
    exit 77
}

# provide COMMAND PACKAGE makes sure that a command is there, or skips the check.
provide() {
    command -v "$1" >/dev/null && return
    [[ $EUID == 0 ]] || skip "$1 is not installed, and only root can install it"
    command -v apt-get >/dev/null || skip "$1 is not installed, and there is no apt-get"
    install_package "$2" || skip "$1 is not installed, and apt-get cannot install $2"
    command -v "$1" >/dev/null || skip "$1 is not installed, and $2 does not bring it"
}

# install_package PACKAGE
install_package() {
    local install=(timeout 300 apt-get install -y -q --no-install-recommends "$1")
    export DEBIAN_FRONTEND=noninteractive
    "${install[@]}" || { timeout 120 apt-get update -q && "${install[@]}"; }
}

# wait_until SECONDS COMMAND… waits until a command succeeds; fails when it never does.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# holds PATTERN: standard input has such a line. It is read to its end: whoever writes it would fail
# when `grep -q` left early, and the pipe with it.
holds() {
    grep -- "$1" >/dev/null
}

# has_ended PID
has_ended() {
    ! kill -0 "$1" 2>/dev/null
}

# end_process PID asks a child of this shell to end, and ends it if it does not.
end_process() {
    kill -TERM "$1" 2>/dev/null || true
    wait_until 10 has_ended "$1" || kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# processes_of FOLDER prints the processes that run the program or work in a folder.
processes_of() {
    local process pid exe cwd
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        exe=$(readlink "$process/exe" 2>/dev/null) || continue
        cwd=$(readlink "$process/cwd" 2>/dev/null) || continue
        if [[ $exe == "$binary" || $cwd == "$1" || $cwd == "$1"/* ]]; then
            printf '%s %s\n' "$pid" "$(tr '\0' ' ' 2>/dev/null <"$process/cmdline")"
        fi
    done
}

# no_process_of FOLDER
no_process_of() {
    [[ -z $(processes_of "$1") ]]
}

# observation_rows PROJECT prints `RUN CHECKPOINT VERDICT` for each row of the observations table.
observation_rows() {
    awk -F '|' '
        function cell(text) { gsub(/^[ `]+|[ `]+$/, "", text); return text }
        /^## / { inside = /^## Checkpoint Observations/ }
        inside && /^\| *[0-9][0-9][0-9][0-9]-/ { print cell($3), cell($4), cell($9) }
    ' "$1/$registry/master_experiment_log.md"
}

# failure_notes PROJECT prints the failure notes.
failure_notes() {
    find "$1/$registry/run_reports" -name '*_failure_*.md'
}

# check_notes PROJECT: exactly one note, and exactly one line of the log that links to it.
check_notes() {
    local notes links
    notes=$(failure_notes "$1")
    [[ -n $notes && $(wc -l <<<"$notes") == 1 ]] || fail "not exactly one failure note: ${notes:-none}"
    links=$(awk '
        /^## / { inside = /^## Failure Notes/ }
        inside && /^[-*] / { count++ }
        END { print count + 0 }
    ' "$1/$registry/master_experiment_log.md")
    [[ $links == 1 ]] || fail "$links list items under Failure Notes instead of 1"
}

# What follows asks `status`, which a check with a daemon defines: it prints the snapshot as JSON, or
# nothing while there is no daemon.

# says TEXT: the snapshot holds it.
says() {
    status | holds "$1"
}

# count STANDING N: the snapshot counts so many checkpoints in this standing.
count() {
    [[ $(status | python3 -c '
import json, sys
print(sum(run["checkpoints"][sys.argv[1]] for run in json.load(sys.stdin)["runs"]))' "$1" 2>/dev/null) == "$2" ]]
}

# last_scan prints when the last full scan ended.
last_scan() {
    status | python3 -c 'import json, sys; print(json.load(sys.stdin)["watch"]["last_reconcile"])'
}

# scanned_since TIME
scanned_since() {
    [[ $(last_scan) != "$1" ]]
}

# scan_twice waits until two more full scans have ended: whatever one would conclude is there then.
scan_twice() {
    local before
    for _ in 1 2; do
        before=$(last_scan)
        wait_until 20 scanned_since "$before" || give_up "no full scan"
    done
}

# give_up TEXT… fails with what the daemon said; its log is `$project.log`.
give_up() {
    status || true
    # shellcheck disable=SC2154 # The check sets it.
    tail -n 20 "$project.log"
    fail "$@"
}
