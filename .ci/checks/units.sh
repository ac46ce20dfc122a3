#!/usr/bin/env bash
# The systemd units: known keys only, and an exposure of at most 3.0. Usage: units.sh SCRATCH
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

provide systemd-analyze systemd
folder=$1/units
mkdir -p "$folder"

# `verify` wants the programs to exist, and the release build comes later: `true` stands in. It
# reports unknown keys as warnings only, so any output is a failure.
for unit in "$repository"/systemd/*.service; do
    copy=$folder/$(basename "${unit/@/@ci}")
    stand_in=$(command -v true)
    sed "s#=/usr/local/bin/runscribe#=$stand_in#" "$unit" >"$copy"
    [[ -x /bin/kill ]] || sed -i "s#=/bin/kill#=$stand_in#" "$copy"
    grep -q "^ExecStart=$stand_in watch" "$copy" || fail "$unit does not start /usr/local/bin/runscribe"
    output=$(systemd-analyze verify "$copy" 2>&1) || fail "$unit: $output"
    [[ -z $output ]] || fail "$unit: $output"
    systemd-analyze security --no-pager --offline=true --threshold=30 "$copy"
done

# The two say the same, but for the project's name.
without_comments() {
    grep -v '^#' "$1"
}
diff <(without_comments "$repository/systemd/runscribe@.service") <(
    without_comments "$repository/systemd/runscribe.service" | sed \
        -e '/^Description=/s/a research project/the research project %i/' \
        -e '/^ExecStart=/s#/config.toml#/projects/%i.toml#' \
        -e 's#^ReadWritePaths=-/srv/project$#ReadWritePaths=-/srv/%i#' \
        -e 's#^RuntimeDirectory=runscribe$#RuntimeDirectory=runscribe-%i#'
) || fail "the two units differ in more than the project's name"
