#!/usr/bin/env bash
# The training folder behind FUSE, as a network folder: polled, because inotify says nothing of what
# others write there. Usage: network_folder.sh SCRATCH
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $EUID == 0 ]] || skip "only root can mount"
[[ -e /dev/fuse ]] || skip "there is no FUSE here"
provide python3 python3
provide bindfs bindfs
project=$1/network
training=$project/Cache/Training
small=$repository/.ci/checks/small_project.py
python3 "$small" new "$project"
: >"$project/fake/go"
mv "$training" "$project/disk"
mkdir "$training"

daemon=''
end_all() {
    [[ -z $daemon ]] || end_process "$daemon"
    umount "$training" 2>/dev/null || true
}
trap end_all EXIT
bindfs "$project/disk" "$training" || skip "FUSE cannot be used here"

status() {
    "$binary" status --json --root "$project" 2>/dev/null
}

backend() {
    status | grep -Eq "\"backend\": *\"$1\""
}

"$binary" watch --root "$project" >"$project.log" 2>&1 &
daemon=$!
wait_until 30 backend poll || give_up "a FUSE folder is not polled"
wait_until 30 count analyzed 1 || give_up "the first checkpoint was not analyzed"
# Written behind its back, as another host would.
mkdir -p "$project/host/Cache"
ln -s "$project/disk" "$project/host/Cache/Training"
python3 "$small" save "$project/host" 40
wait_until 30 count analyzed 2 || give_up "a checkpoint that another host wrote was missed"
echo "behind FUSE: polled, nothing missed"
