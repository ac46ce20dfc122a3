#!/usr/bin/env bash
# The captures are too large for the repository; tests that compare with them skip themselves.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ -d $repository/../shared/data ]] || skip "there is no ../shared/data beside the checkout"
