#!/usr/bin/env bash
# The shipped units under a real systemd, which is the first process of namespaces of its own.
# Usage: systemd.sh SCRATCH [BINARY]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $EUID == 0 ]] || skip "only root can start another systemd"
provide systemctl systemd
provide python3 python3
provide nsenter util-linux
provide findmnt util-linux
[[ -x /lib/systemd/systemd && -d /srv && -d /usr/local/bin ]] || skip "this host is laid out in another way"

space=$1/systemd program=${2:-$binary} project=/srv/project
mkdir -p "$space"
host='' first='' group=''

end_all() {
    # The death of the first process of a namespace is that of all others in it.
    [[ -z $first ]] || kill -KILL "$first" 2>/dev/null || true
    [[ -z $host ]] || end_process "$host"
    [[ -z $group ]] || wait_until 5 remove_group 2>/dev/null || echo "remains: $group"
}
trap end_all EXIT

remove_group() {
    find "$group" -depth -type d -exec rmdir {} + && [[ ! -e $group ]]
}

# boot starts systemd in a control group of its own, so that none of its groups stays behind.
boot() {
    local own=(--fork --kill-child --pid --mount --cgroup --uts --ipc --net) base
    base=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
    [[ -n $base ]] || skip "there are no control groups of version 2"
    group=$base$(sed -n 's/^0:://p' /proc/self/cgroup)/runscribe-ci-$$
    mkdir "$group" 2>/dev/null || { group='' && skip "no control group may be made here"; }
    (in_group unshare "${own[@]}" mount -t cgroup2 cgroup2 /sys/fs/cgroup) 2>/dev/null ||
        skip "namespaces with control groups of their own are not allowed here"
    in_group unshare "${own[@]}" "$repository/.ci/checks/systemd_host.sh" "$space" "$program" \
        >"$space.log" 2>&1 &
    host=$!
    wait_until 10 find_first || fail "no systemd: $(tail "$space.log")"
    wait_until 20 inside systemctl -q is-active basic.target 2>/dev/null ||
        fail "systemd does not start: $(tail "$space.log")"
}

# in_group COMMAND… becomes a command in the control group.
in_group() {
    echo "$BASHPID" >"$group/cgroup.procs" && exec "$@"
}

find_first() {
    first=$(cat "/proc/$host/task/$host/children" 2>/dev/null)
    first=${first%% *}
    [[ -n $first && $(readlink "/proc/$first/exe") == /*/systemd ]]
}

# inside COMMAND… runs a command where the services are.
inside() {
    nsenter --target "$first" --mount --pid --ipc --uts --cgroup --net -- "$@"
}

# small_project COMMAND ROOT [STEP] writes as the trainer would.
small_project() {
    python3 "$repository/.ci/checks/small_project.py" "$1" "/proc/$first/root$2" "${@:3}"
    inside chown -R researcher: "$2"
}

# wrong TEXT… fails with what the service said.
wrong() {
    inside systemctl --no-pager --lines 0 status 'runscribe*' || true
    inside journalctl --no-pager -q -o cat -n 40 || true
    fail "$@"
}

# property UNIT NAME
property() {
    inside systemctl show --property "$2" --value "$1"
}

# is UNIT NAME VALUE
is() {
    [[ $(property "$1" "$2") == "$3" ]]
}

# changed UNIT NAME VALUE: the property is neither this nor nothing.
changed() {
    local now
    now=$(property "$1" "$2")
    [[ $now != "$3" && $now != 0 ]]
}

# status [PROJECT] finds the socket by the project, as people do.
status() {
    inside runscribe status --json --root "${1:-$project}" 2>/dev/null
}

# answers PROJECT
answers() {
    status "$1" | holds "\"root\": *\"$1\""
}

# has_event KIND: the daemon has told of such an event.
has_event() {
    { inside timeout 1 runscribe tail --json --since 0 --root "$project" 2>/dev/null || true; } |
        holds "\"kind\": *\"$1\""
}

# processes prints what runs as the project's owner.
processes() {
    inside ps -o pid=,args= -u researcher || true
}

nothing_runs() {
    [[ -z $(processes) ]]
}

# change UNIT LINE… puts lines in force that would otherwise make this check wait.
change() {
    local unit=$1
    shift
    inside mkdir -p "/etc/systemd/system/$unit.d"
    printf '%s\n' '[Service]' "$@" | inside tee "/etc/systemd/system/$unit.d/ci.conf" >/dev/null
    inside systemctl daemon-reload
}

# make_project NAME [SETTING…] makes a project of the user whom the units name.
make_project() {
    local root=/srv/$1
    small_project new "$root"
    inside mv "$root/fake/analysis" "$root/fake/report"
    inside tee "$root/fake/analysis" <<'ANALYSIS' >/dev/null
#!/bin/sh
# Tries what the sandbox must allow, and what it must not, and then reports.
try() {
    what=$1
    shift
    if "$@" >/dev/null 2>&1; then echo "$what: yes"; else echo "$what: no"; fi
}
{
    try "write into the project" touch "$1/made"
    try "write into the caches" touch /srv/hf_home/made
    try "write into shared memory" touch /dev/shm/made
    try "write into a private /tmp" touch /tmp/made
    try "read what others made" cat /srv/other/file
    try "read a home" cat /home/researcher/file
    try "see processes" cat /proc/1/stat
    try "analyze a hard link" test "$(stat -c %h "$2/model.safetensors")" -ge 2
    try "write elsewhere" touch /srv/other/made
    try "write into a home" touch /home/researcher/made
    try "write into /etc" touch /etc/open/made
    try "make namespaces" unshare --user true
    try "make programs that change the user" chmod u+s "$1/made"
    try "tell systemd something" test -n "$NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID"
} >"$1/tried"
exec "$1/report" "$@"
ANALYSIS
    inside chmod 755 "$root/fake/analysis"
    inside chown -R researcher: "$root"
}

readonly allowed='write into the project: yes
write into the caches: yes
write into shared memory: yes
write into a private /tmp: yes
read what others made: yes
read a home: yes
see processes: yes
analyze a hard link: yes
write elsewhere: no
write into a home: no
write into /etc: no
make namespaces: no
make programs that change the user: no
tell systemd something: no'

# prepare makes the project, and folders that only the sandbox keeps the analysis from.
prepare() {
    inside mkdir -p /etc/runscribe/projects /srv/other /srv/hf_home /etc/open
    inside chmod 777 /srv/other /srv/hf_home /etc/open
    inside sh -c 'echo "[project]
root = \"/srv/project\"" >/etc/runscribe/config.toml; echo x | tee /srv/other/file >/home/researcher/file'
    make_project project
}

starts_and_works() {
    local before=${EPOCHREALTIME/./}
    inside systemctl start runscribe || wrong "no start"
    echo "figure: systemctl start to READY: $(((${EPOCHREALTIME/./} - before) / 1000)) ms"
    says '"last_reconcile": *"' || wrong "ready before the first scan, or a socket that is not found"
    inside test -S /run/runscribe/status.sock || wrong "the socket is elsewhere"
    wait_until 10 status_text "watching 1 run, analyzing checkpoint-20 of diffusion_" ||
        wrong "the status line is: $(property runscribe StatusText)"
    wait_until 10 inside test -e "$project/fake/waiting" || wrong "no analysis"
    diff <(printf '%s\n' "$allowed") <(inside cat "$project/fake/tried") ||
        wrong "the sandbox allows something else"
    ! inside test -e /tmp/made || wrong "/tmp is the host's"
    inside touch "$project/fake/go"
    wait_until 10 count analyzed 1 || wrong "no observation"
    wait_until 10 inside grep -q 'checkpoint-20' "$project/$registry/master_experiment_log.md" ||
        wrong "no row"
    echo "starts, says when it is ready and what it does, and analyzes in the sandbox"
}

# status_text TEXT
status_text() {
    [[ $(property runscribe StatusText) == "$1"* ]]
}

reloads() {
    local main
    main=$(property runscribe MainPID)
    inside cp "$project/runscribe.toml" "$project/kept"
    inside sh -c "echo 'settel = \"1s\"' >>$project/runscribe.toml"
    inside systemctl reload runscribe || wrong "no reload"
    wait_until 10 journal_says settel || wrong "a wrong configuration is not reported"
    inside cp "$project/kept" "$project/runscribe.toml"
    inside systemctl reload runscribe || wrong "no second reload"
    wait_until 10 has_event config_reloaded || wrong "not reloaded"
    is runscribe MainPID "$main" || wrong "a reload is a restart"
    echo "reloads, and keeps what is in force when the new configuration is wrong"
}

# journal_says TEXT
journal_says() {
    inside journalctl -q -o cat -u runscribe | holds "$1"
}

# analysis_of STEP: a checkpoint is saved, and its analysis waits until it may go on.
analysis_of() {
    inside rm -f "$project/fake/go" "$project/fake/waiting"
    small_project save "$project" "$1"
    wait_until 20 inside test -e "$project/fake/waiting" || wrong "no analysis"
}

# restarts_after SIGNAL STEP COUNT: during the analysis of that step, which makes so many.
restarts_after() {
    local main restarts
    analysis_of "$2"
    main=$(property runscribe MainPID)
    restarts=$(property runscribe NRestarts)
    inside kill "-$1" "$main"
    wait_until 30 changed runscribe MainPID "$main" || wrong "no restart after $1"
    wait_until 30 is runscribe ActiveState active || wrong "not ready again after $1"
    is runscribe NRestarts $((restarts + 1)) || wrong "restarted more than once after $1"
    inside touch "$project/fake/go"
    wait_until 30 count analyzed "$3" || wrong "the analysis that was interrupted is not repeated"
}

watched() {
    local restarts
    change runscribe.service 'RestartSec=100ms' 'WatchdogSec=2s'
    inside systemctl restart runscribe || wrong "no restart"
    wait_until 10 count analyzed 1 || wrong "it does not know what it saw"
    restarts_after STOP 40 2
    journal_says "Watchdog timeout" || wrong "something else than the watchdog ended it"
    restarts_after KILL 60 3
    # Three times its patience: a healthy daemon feeds it.
    restarts=$(property runscribe NRestarts)
    ! wait_until 6 changed runscribe NRestarts "$restarts" || wrong "the watchdog ends a healthy daemon"
    echo "SIGSTOP and kill -9 during an analysis: restarted once each, and analyzed once"
}

stops() {
    local before
    analysis_of 80
    before=${EPOCHREALTIME/./}
    inside systemctl stop runscribe || wrong "no stop"
    echo "figure: systemctl stop during an analysis: $(((${EPOCHREALTIME/./} - before) / 1000)) ms"
    is runscribe Result success || wrong "the stop ended as $(property runscribe Result)"
    is runscribe ExecMainStatus 0 || wrong "the stop ended with $(property runscribe ExecMainStatus)"
    nothing_runs || wrong "remains: $(processes)"
    ! inside test -e /run/runscribe || wrong "the folder of the socket remains"
    echo "stops during an analysis, and leaves no process"
}

# refuses TEXT: a start ends with 78, says this, and is not repeated.
refuses() {
    ! inside systemctl start runscribe 2>/dev/null || wrong "it starts: $1"
    is runscribe ExecMainStatus 78 || wrong "exit status $(property runscribe ExecMainStatus): $1"
    # Ten times as long as it waits before it starts a service again.
    ! wait_until 1 changed runscribe NRestarts 0 || wrong "it was started again: $1"
    is runscribe ActiveState failed || wrong "it is $(property runscribe ActiveState): $1"
    journal_says "$1" || wrong "it does not say: $1"
    inside systemctl reset-failed runscribe
}

is_refused() {
    inside sh -c "printf 'unknown_key = 1\n' >>$project/runscribe.toml"
    refuses unknown_key
    inside cp "$project/kept" "$project/runscribe.toml"
    change runscribe.service 'RestartSec=100ms' 'User=root' 'Group=root'
    refuses "belongs to another user"
    echo "a wrong configuration, and root: exit 78, said why, not started again"

    change runscribe.service 'RestartSec=2s' 'ReadWritePaths=' 'ReadWritePaths=-/srv/projcet'
    ! inside systemctl start runscribe 2>/dev/null || wrong "it starts on a read-only project"
    journal_says 'ReadWritePaths=' || wrong "it does not say why"
    change runscribe.service 'RestartSec=100ms'
    wait_until 10 is runscribe ActiveState active || wrong "it is not started again"
    inside systemctl stop runscribe
    echo "a root that the unit does not name: said why, and tried again"
}

several_projects() {
    local name
    for name in alpha beta-2; do
        make_project "$name"
        inside sh -c "printf '[project]\nroot = \"/srv/$name\"\n' >/etc/runscribe/projects/$name.toml"
        inside touch "/srv/$name/fake/go"
    done
    inside systemctl start runscribe runscribe@alpha runscribe@beta-2 || wrong "they do not start"
    for name in project alpha beta-2; do
        wait_until 10 answers "/srv/$name" || wrong "/srv/$name does not answer"
    done
    inside systemctl stop runscribe runscribe@alpha || wrong "they do not stop"
    wait_until 10 answers /srv/beta-2 || wrong "/srv/beta-2 does not answer when others have stopped"
    project=/srv/beta-2
    wait_until 10 count analyzed 1 || wrong "no observation in /srv/beta-2"
    inside systemctl stop runscribe@beta-2 || wrong "it does not stop"
    is runscribe@beta-2 Result success || wrong "ended as $(property runscribe@beta-2 Result)"
    nothing_runs || wrong "remains: $(processes)"
    echo "three projects at once, each with a socket of its own"
}

boot
prepare
starts_and_works
reloads
watched
stops
is_refused
several_projects
