#!/usr/bin/env bash
# Everything at once for a while, and the daemon is as it was before. Usage: soak.sh SECONDS SCRATCH [BINARY]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

provide python3 python3
exec python3 "$repository/.ci/checks/soak.py" "${3:-$binary}" "$1" "$2/soak"
