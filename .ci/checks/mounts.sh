#!/usr/bin/env bash
# The training folder as a mount, unmounted and mounted again: nothing is gone while it is away, and
# what comes back is watched. Usage: mounts.sh SCRATCH
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $EUID == 0 ]] || skip "only root can mount"
provide python3 python3
project=$1/mounts
training=$project/Cache/Training
small=$repository/.ci/checks/small_project.py
python3 "$small" new "$project"
# Half a minute between full scans would only make this check long.
echo 'reconcile = "2s"' >>"$project/runscribe.toml"
mv "$training" "$project/disk"
mkdir "$training"

daemon=''
end_all() {
    [[ -z $daemon ]] || end_process "$daemon"
    umount "$training" 2>/dev/null || true
}
trap end_all EXIT
mount --bind "$project/disk" "$training" || skip "a folder cannot be bound here"

status() {
    "$binary" status --json --root "$project" 2>/dev/null
}

# The analysis waits, so that the checkpoint is still pending when its disk goes away.
"$binary" watch --root "$project" >"$project.log" 2>&1 &
daemon=$!
python3 "$small" save "$project" 40
wait_until 30 count pending 2 || give_up "the checkpoints on the bound folder were not seen"
umount -l "$training"
scan_twice
count gone 0 || give_up "an unmount made checkpoints gone"
count pending 2 || give_up "an unmount changed what is pending"
mount --bind "$project/disk" "$training"
: >"$project/fake/go"
wait_until 30 count analyzed 2 || give_up "what came back was not analyzed"
python3 "$small" save "$project" 60
wait_until 30 count analyzed 3 || give_up "a checkpoint after the mount came back was missed"
count gone 0 || give_up "something is gone"
echo "unmounted and mounted again: nothing gone, nothing missed"
