#!/usr/bin/env bash
# inotify without watches, without instances and with a queue that overflows: stated, every
# checkpoint found all the same, and cured when the limit is. Usage: watch_limits.sh SCRATCH
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $EUID == 0 ]] || skip "only root can make the kernel's queue of events small"
provide python3 python3
provide unshare util-linux
project=$1/limits
small=$repository/.ci/checks/small_project.py
queue=/proc/sys/fs/inotify/max_queued_events
queue_before=$(cat "$queue")

daemon=''
end_all() {
    [[ -z $daemon ]] || end_process "$daemon"
    # Only where it was lowered; this machine's own limit must stay as it is.
    [[ ! -w $queue ]] || echo "$queue_before" >"$queue" || true
}
trap end_all EXIT

status() {
    "$binary" status --json --root "$project" 2>/dev/null
}

begin() {
    rm -rf "$project"
    python3 "$small" new "$project"
    : >"$project/fake/go"
}

# start_limited LIMIT N starts the daemon in a user namespace of its own, with a limit of its own.
start_limited() {
    # shellcheck disable=SC2016 # The inner shell expands these.
    unshare --user --map-root-user bash -c '
        echo "$2" >"/proc/sys/user/$1" && exec "$3" watch --root "$4"
    ' limited "$1" "$2" "$binary" "$project" >"$project.log" 2>&1 &
    daemon=$!
}

unshare --user --map-root-user true 2>/dev/null || skip "user namespaces are not allowed here"

begin
start_limited max_inotify_watches 1
wait_until 30 count analyzed 1 || give_up "the first checkpoint was not analyzed"
wait_until 10 says "sysctl fs.inotify.max_user_watches=" || give_up "the advice is missing"
python3 "$small" save "$project" 40
wait_until 15 count analyzed 2 || give_up "a checkpoint was missed without watches"
end_process "$daemon"
echo "no watch left: stated with its sysctl, and checkpoints found by scanning"

begin
start_limited max_inotify_instances 0
wait_until 30 says "sysctl fs.inotify.max_user_instances=" || give_up "the advice is missing"
wait_until 10 says '"backend": *"poll"' || give_up "it is not polling"
python3 "$small" save "$project" 40
wait_until 15 count analyzed 2 || give_up "a checkpoint was missed without an instance"
"$binary" tail --json --since 0 --root "$project" >"$project.events" & tail=$!
wait_until 10 grep -q '"kind":"watch_degraded"' "$project.events" || give_up "no watch_degraded"
kill "$tail"
end_process "$daemon"
echo "no instance left: stated with its sysctl, and checkpoints found by scanning"

[[ -w $queue ]] || skip "the queue of events cannot be made small here"
begin
echo 4 >"$queue"
"$binary" watch --root "$project" >"$project.log" 2>&1 &
daemon=$!
wait_until 30 count analyzed 1 || give_up "the first checkpoint was not analyzed"
for step in $(seq 100 100 5000); do
    python3 "$small" save "$project" "$step" &
done
wait_until 120 count analyzed 51 || give_up "checkpoints were missed with a queue of 4 events"
overflows=$(status | python3 -c 'import json, sys; print(json.load(sys.stdin)["watch"]["overflows"])')
((overflows > 0)) || give_up "a queue of 4 events never overflowed"
end_process "$daemon"
daemon=''
echo "a queue of 4 events: $overflows overflows, none of 50 checkpoints missed"
