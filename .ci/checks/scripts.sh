#!/usr/bin/env bash
# The shell scripts of the checks themselves.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

provide shellcheck shellcheck
cd "$repository"
shellcheck --external-sources --source-path=SCRIPTDIR .ci/run .ci/checks/*.sh
