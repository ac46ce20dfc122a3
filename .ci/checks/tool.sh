#!/usr/bin/env bash
# A tool without which some tests skip themselves. Usage: tool.sh COMMAND PACKAGE
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

provide "$1" "$2"
