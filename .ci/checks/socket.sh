#!/usr/bin/env bash
# Reads all events from the status socket without client code. Usage: socket.sh PROJECT
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

provide socat socat
project=$1
socket=$project/Cache/runscribe/status.sock
answer=$project.answer

"$binary" watch --root "$project" >"$project.daemon" 2>&1 &
daemon=$!
trap 'end_process "$daemon"' EXIT

read_events() {
    printf '{"since":0}\n' |
        timeout 20 socat -t 2 - "UNIX-CONNECT:$socket" >"$answer" 2>/dev/null || return 1
    grep -q '"type": *"live"' "$answer"
}

wait_until 40 read_events || fail "no events: $(tail -n 5 "$answer" "$project.daemon")"

awk '
    function seq() {
        match($0, /"seq": *[0-9]+/)
        text = substr($0, RSTART, RLENGTH)
        gsub(/[^0-9]/, "", text)
        return text + 0
    }
    /"type": *"gap"/ { print "a gap: " $0; wrong = 1 }
    /"type": *"live"/ { live = seq() }
    /"type": *"event"/ {
        if (seq() != last + 1) { print "event " seq() " came after " last; wrong = 1 }
        last = seq()
    }
    /"kind": *"observation_written"/ { written++ }
    END {
        print last " events, " written + 0 " observations written, live at " live
        if (last < live || live < 1 || written < 3) { wrong = 1 }
        exit wrong
    }
' "$answer" || fail "the events are not 1, 2, 3, … with at least three observations"

kill -TERM "$daemon"
wait_until 30 has_ended "$daemon" || fail "the daemon did not stop within 30 s of TERM"
status=0
wait "$daemon" || status=$?
[[ $status == 0 ]] || fail "the daemon ended with exit status $status"
wait_until 2 no_process_of "$project" || fail "processes remain: $(processes_of "$project")"
