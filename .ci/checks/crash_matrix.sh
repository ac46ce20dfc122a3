#!/usr/bin/env bash
# One pass, killed or refused at each of its writes, fsyncs and renames, and the commands that write
# documents. Usage: crash_matrix.sh [BINARY]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

provide strace strace
provide python3 python3
strace -o /dev/null true 2>/dev/null || skip "strace may not trace here"
python3 "$repository/.ci/checks/command_matrix.py" "${1:-$binary}"
exec python3 "$repository/.ci/checks/crash_matrix.py" "${1:-$binary}"
