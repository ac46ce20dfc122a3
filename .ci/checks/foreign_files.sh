#!/usr/bin/env bash
# The daemon as a user who may not read everything: files and folders of another user are a stated
# problem, never incomplete and never gone, and are analyzed once they may be read.
# Usage: foreign_files.sh SCRATCH
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $EUID == 0 ]] || skip "only root can be two users"
provide python3 python3
provide setpriv util-linux
readonly user=65534
project=$1/foreign
small=$repository/.ci/checks/small_project.py
run=$project/Cache/Training/diffusion_H64L2C128D2_20261123_063802
python3 "$small" new "$project"
echo 'reconcile = "2s"' >>"$project/runscribe.toml"
# The program may lie where that user may not go.
cp "$binary" "$project/runscribe"
chmod a+rx "$1" "$project"
chown -R "$user:$user" "$project"

daemon=''
end_all() {
    [[ -z $daemon ]] || end_process "$daemon"
}
trap end_all EXIT

# An array and not a function: what is started in the background must be the program itself.
as_user=(setpriv --reuid "$user" --regid "$user" --clear-groups env "HOME=$project")

status() {
    "${as_user[@]}" "$project/runscribe" status --json --root "$project" 2>/dev/null
}

# explains PATH TEXT
explains() {
    "${as_user[@]}" "$project/runscribe" explain "$1" --root "$project" >"$project.explained" 2>&1 || true
    grep -q "$2" "$project.explained" || fail "explain $1: $(cat "$project.explained")"
}

"${as_user[@]}" "$project/runscribe" watch --root "$project" >"$project.log" 2>&1 &
daemon=$!
wait_until 30 count pending 1 || give_up "the first checkpoint was not seen"
# The trainer is root and leaves weights that only it may read, as safetensors does.
python3 "$small" save "$project" 40
chown -R root:root "$run/checkpoint-40"
chmod 600 "$run/checkpoint-40/model.safetensors"
wait_until 30 says "setfacl" || give_up "unreadable weights are not stated"
explains "$run/checkpoint-40" "may not be read by this user"
grep -q "incomplete" "$project.explained" && fail "unreadable is called incomplete"

# A whole run that may not be listed, with a checkpoint that is still pending.
chown root:root "$run"
chmod 700 "$run"
wait_until 30 says "run \`" || give_up "an unreadable run is not stated"
scan_twice
count gone 0 || give_up "an unreadable run made checkpoints gone"
explains "$run" "may not be read by this user"
: >"$project/fake/go"
chmod 755 "$run"
chmod 644 "$run/checkpoint-40/model.safetensors"
wait_until 40 count analyzed 2 || give_up "what may be read again was not analyzed"
count gone 0 || give_up "something is gone"
end_process "$daemon"
has_ended "$daemon" || fail "the daemon is still there"
daemon=''
echo "unreadable files and folders: stated, nothing gone, analyzed once they may be read"
