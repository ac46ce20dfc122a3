#!/usr/bin/env bash
# Kills the daemon again and again while checkpoints are written; nothing may be lost or doubled.
# Usage: kill.sh DEMO_PROJECT PROJECT
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

demo=$1 project=$2
run=$(basename "$(find "$demo/Cache/Training" -mindepth 1 -maxdepth 1 -type d | sort | head -n 1)")
mkdir -p "$project"
cp "$demo/runscribe.toml" "$project/"

daemon='' trainer=''
end_all() {
    [[ -z $daemon ]] || end_process "$daemon"
    [[ -z $trainer ]] || end_process "$trainer"
}
trap end_all EXIT

# kill_after SECONDS starts the daemon and kills it that much later.
kill_after() {
    "$binary" watch --root "$project" >>"$project.daemon" 2>&1 &
    daemon=$!
    sleep "$1"
    kill -KILL "$daemon" || fail "the daemon had ended by itself: $(tail -n 20 "$project.daemon")"
    wait "$daemon" 2>/dev/null || true
    daemon=
}

mkdir -p "$project/Cache/Training"
"$binary" demo-trainer --root "$project" --run "$run" >"$project.trainer" 2>&1 &
trainer=$!

# The moments lie in the start, in an analysis, between two, and in the writing of documents.
moments=(0.15 1.3 0.4 2.6 0.8 3.1 0.05 1.9 0.6)
kills=0
until has_ended "$trainer"; do
    kill_after "${moments[kills % ${#moments[@]}]}"
    kills=$((kills + 1))
done
wait "$trainer" || fail "the trainer failed: $(tail -n 20 "$project.trainer")"
trainer=
((kills >= 3)) || fail "the trainer ended after $kills kills; at least 3 are wanted"
for moment in 0.1 0.3 0.9 2.2 0.2; do
    kill_after "$moment"
done

timeout 120 "$binary" watch --root "$project" --once >>"$project.daemon" 2>&1 ||
    fail "the last pass ended with exit status $?: $(tail -n 20 "$project.daemon")"

# The final model stands in a folder of the run's name, and is called `final` in the log.
expected=$(find "$project/Cache/Training/$run" -mindepth 1 -maxdepth 1 -type d \
    \( -name 'checkpoint-*' -o -name "$run" \) -printf '%f\n' | sed "s/^$run\$/final/" | sort)
rows=$(observation_rows "$project" | awk -v run="$run" '$1 == run { print $2 }' | sort)
printf '%d kills, checkpoints:\n%s\n' "$((kills + 5))" "$expected"
[[ -n $expected ]] || fail "the trainer wrote no checkpoint"
doubled=$(uniq -d <<<"$rows")
[[ -z $doubled ]] || fail "more than one row for $doubled"
# Rotated checkpoints may have a row or not; what is still there must have one.
missing=$(comm -23 <(printf '%s\n' "$expected") <(printf '%s\n' "$rows"))
[[ -z $missing ]] || fail "no row for $missing"
check_notes "$project"
wait_until 2 no_process_of "$project" || fail "processes remain: $(processes_of "$project")"
