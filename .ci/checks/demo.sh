#!/usr/bin/env bash
# Runs the demo and looks at what it leaves. Usage: demo.sh PROJECT COMMAND…
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

project=$1
shift
started=$SECONDS
timeout 120 "$@" || fail "the demo ended with exit status $?"
took=$((SECONDS - started))
((took < 60)) || fail "the demo took $took s"

rows=$(observation_rows "$project")
printf '%s\n' "$rows"
(($(wc -l <<<"$rows") >= 3)) || fail "fewer than three rows of observations"
last=$(sed -n 's/^.* checkpoint-\([0-9]*\) /\1 /p' <<<"$rows" | sort -n | tail -n 1)
[[ $last == *" **fail**" ]] || fail "the checkpoint of the highest step is not a failure: $last"
check_notes "$project"
wait_until 2 no_process_of "$project" || fail "processes remain: $(processes_of "$project")"
