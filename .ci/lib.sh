# Copyright (c) 2026 The evchan Authors.
# Use of this source code is governed by the MIT license in the LICENSE file.

# A part of CI is a script that begins with
#
#	. "$(dirname "$0")/lib.sh"
#	part SECONDS
#
# and then calls packages and step. It runs in the root directory of the repository, on
# a Debian machine that has Go, alone or from .ci/run. The exit status is 0 if all
# is well; otherwise the last line says which step failed, and the step's limit.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null
export GOWORK=$PWD/go.work
# Nothing in here may edit a go.mod. A checkout may belong to another user than ours: git
# would fail, and go build with it.
export GOFLAGS='-mod=readonly -buildvcs=false'

# part SECONDS gives the script its limit. CI_END, if .ci/run has set it, is the moment
# at which the limit for all parts together is over, in seconds since 1970.
part() {
	part_name=${0##*/} part_limit=$1 part_began=$EPOCHSECONDS current=start reason= child= alive=
	part_end=$((part_began + part_limit))
	((part_end <= ${CI_END:-part_end})) || part_end=$CI_END
	trap finish EXIT
	trap 'reason=interrupted; kill $child && wait $child; exit 130' INT TERM
}

finish() {
	local status=$?
	kill -- -$alive 2>/dev/null || true
	if ((status)); then
		echo "FAILED: $part_name: $current (${reason:-status $status}; the part has run for $((EPOCHSECONDS - part_began))s of its ${part_limit}s)"
	else
		echo "=== $part_name: all is well after $((EPOCHSECONDS - part_began))s"
	fi
}

# step NAME SECONDS COMMAND... runs the command, or a function of the script, for at most
# that many seconds and for no longer than the part may still take. The
# functions and what is exported are all that a function finds. A line every 30 seconds shows
# that the step is alive.
step() {
	local seconds=$2 left=$((part_end - EPOCHSECONDS)) began=$EPOCHSECONDS status=0
	current=$1 reason="had no time left"
	shift 2
	((left > 0)) || exit 1
	((seconds <= left)) || seconds=$left
	if [ "$(type -t "$1")" = function ]; then
		set -- bash -euo pipefail -c "$(declare -f)"$'\n"$@"' bash "$@"
	fi

	echo "=== $part_name: $current"
	set -m # a process group for each
	while sleep 30; do echo "... $current: $((EPOCHSECONDS - began))s"; done &
	alive=$!
	timeout --kill-after=10 "$seconds" "$@" &
	child=$!
	set +m
	TIMEFORMAT="--- $current: %0Rs (CPU: %0Us user, %0Ss system)"
	time wait $child || status=$?
	kill -- -$alive
	reason="status $status after $((EPOCHSECONDS - began))s, limit ${seconds}s"
	((status != 124 && status != 137)) || reason="out of time, limit ${seconds}s"
	((status == 0)) || exit $status
	reason= current="after $current"
}

# packages COMMAND=PACKAGE... installs the Debian packages whose command, or whose file if
# it is a path, is missing.
packages() {
	local pair missing=()
	for pair; do
		command -v "${pair%=*}" >/dev/null || [ -e "${pair%=*}" ] || missing+=("${pair#*=}")
	done
	((${#missing[@]} == 0)) || step "install ${missing[*]}" 240 install "${missing[@]}"
}

install() {
	local apt="apt-get -qq --no-install-recommends -o Dpkg::Use-Pty=0"
	export DEBIAN_FRONTEND=noninteractive
	# A new machine has no lists, an old machine has old ones: both fail.
	$apt install -y "$@" >/dev/null 2>&1 || { $apt update && $apt install -y "$@" >/dev/null; }
}
