#!/usr/bin/env bash
# `sync` onto a full file system, through rsync and sftp: the old file stays whole, the problem is
# stated, and the next try ends it once there is room. Usage: sync_full_disk.sh SCRATCH [BINARY]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

program=$(realpath "${2:-$binary}")
[[ $EUID == 0 ]] || skip "only root can mount a small file system"
provide rsync rsync
provide /usr/sbin/sshd openssh-server
folder=$1/sync
there=$folder/there/Cache/Evaluation_reports
mkdir -p "$folder/bin" "$folder/only-ssh" "$there" /run/sshd

daemon='' mounted=''
end_all() {
    [[ -z $daemon ]] || end_process "$daemon"
    [[ -z $mounted ]] || umount "$mounted" 2>/dev/null || true
}
trap end_all EXIT

for key in host user; do
    ssh-keygen -q -t ed25519 -N '' -f "$folder/$key"
done
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$folder/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $folder/host
PidFile none
AuthorizedKeysFile $folder/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
END
/usr/sbin/sshd -D -e -f "$folder/sshd_config" 2>"$folder/sshd.log" &
daemon=$!
echo "[127.0.0.1]:$port $(cat "$folder/host.pub")" >"$folder/known_hosts"
cat >"$folder/config" <<END
Host box
 HostName 127.0.0.1
 Port $port
 IdentityFile $folder/user
 IdentitiesOnly yes
 UserKnownHostsFile $folder/known_hosts
 StrictHostKeyChecking yes
END
# An `ssh` that reads this configuration and not the user's; beside it there is no rsync.
printf '#!/bin/sh\nexec /usr/bin/ssh -F "%s/config" "$@"\n' "$folder" >"$folder/only-ssh/ssh"
chmod +x "$folder/only-ssh/ssh"
listens() { (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null; }
wait_until 10 listens || fail "sshd does not listen: $(cat "$folder/sshd.log")"

# One file that was there before and is newer and larger on the other side, and a small one.
head -c 2M /dev/urandom | base64 >"$there/large.csv"
echo small >"$there/small.csv"
touch -d 2026-02-01 "$there"/*

# download PATH: runs `sync` with this search path; its words go into $folder/said.
download() {
    env -i PATH="$1" HOME="$folder" "$program" sync "box:$folder/there" --root "$project" >"$folder/said" 2>&1
}

# try_full TRANSPORT PATH WHERE: with the file system of WHERE, a folder below the project, full.
try_full() {
    local transport=$1 path=$2 where=$3
    project=$folder/$transport-${where//\//-}
    local reports=$project/Cache/Evaluation_reports
    mkdir -p "$reports" "$project/$where"
    : >"$project/runscribe.toml"
    mounted=$project/$where
    mount -t tmpfs -o size=6m tmpfs "$mounted" || skip "a tmpfs cannot be mounted here"
    echo "what was measured before" >"$reports/large.csv"
    touch -d 2026-01-01 "$reports/large.csv"
    head -c 5M /dev/zero >"$mounted/ballast"
    if download "$path"; then
        cat "$folder/said"
        fail "$transport: $where was full, and nothing was said"
    fi
    grep -qi "no space\|is full\|disk" "$folder/said" || {
        cat "$folder/said"
        fail "$transport: a full disk under $where is not named"
    }
        [[ $(cat "$reports/large.csv") == "what was measured before" ]] ||
        fail "$transport: the old file is not whole with $where full"
    rm "$mounted/ballast"
    download "$path" || {
        cat "$folder/said"
        fail "$transport: the next try does not end it"
    }
    cmp -s "$there/large.csv" "$reports/large.csv" || fail "$transport: the new file differs"
    cmp -s "$there/small.csv" "$reports/small.csv" || fail "$transport: the small file differs"
    [[ -z $(find "$project" -name '*.part*' -o -name '*.runscribe-sync*') ]] ||
        fail "$transport: $(find "$project" -name '*.part*' -o -name '*.runscribe-sync*') is left"
    umount "$mounted"
    mounted=''
    echo "figure: $transport: full disk under $where: stated, the old file whole, and done at the next try"
}

for where in Cache/Evaluation_reports Cache/runscribe; do
    try_full rsync "$folder/only-ssh:/usr/bin:/bin" "$where"
    try_full sftp "$folder/only-ssh" "$where"
done
