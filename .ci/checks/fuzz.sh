#!/usr/bin/env bash
# Fuzzes one target for a while, beginning with the fixtures of the tests. The same seed tries the same
# inputs; without one each run tries others. Usage: fuzz.sh TARGET SECONDS [SEED]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

target=$1 seconds=$2 sequence=${3:-0}
cd "$repository"
# Sanitizers and coverage are unstable flags of the compiler; a stable one takes them when asked so.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=$repository/target/fuzz
tools=$repository/target/tools
if ! PATH=$tools/bin:$PATH cargo fuzz --version >/dev/null 2>&1; then
    cargo install --quiet --locked --version 0.13.1 --root "$tools" cargo-fuzz ||
        skip "cargo-fuzz is not installed, and cargo cannot install it"
fi
export PATH=$tools/bin:$PATH
command -v c++ >/dev/null || skip "there is no C++ compiler for libFuzzer"

# The targets are built with the very versions that the program is built with.
cp Cargo.lock fuzz/Cargo.lock
corpus=$repository/target/fuzz-corpus/$target
mkdir -p "$corpus"
# What the target takes before the document itself: a byte, and three texts for an edit.
case $target in
document) before='0t\0r_1\0note\0' seeds=(tests/fixtures/document/*.md) ;;
parse) before=0 seeds=(tests/fixtures/parse/*.* tests/fixtures/parse/shell_logs/*.log) ;;
*) fail "there is no target $target" ;;
esac
for seed in "${seeds[@]}"; do
    { printf '%b' "$before" && cat "$seed"; } >"$corpus/$(basename "$seed")"
done
# No memory is touched without the compiler's checks, so that no sanitizer is needed.
cargo fuzz run --sanitizer none "$target" "$corpus" -- \
    -seed="$sequence" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 2>&1 |
    tee "$corpus.log" | tail -n 60
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$corpus.log")
echo "figure: $target: $runs inputs in $seconds s, none of them broke a promise"
