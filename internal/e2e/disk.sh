#!/usr/bin/env bash
# Runs a command in name spaces for mounts and processes of its own and with a temporary directory of its own, so that
# it leaves no mount, loop device, process or file behind in whatever way it ends. What a failure kept as evidence
# stays, and is named.
set -euo pipefail
work=$(mktemp -d -t coordd-disk.XXXXXX)
evidence=$(mktemp -d -t coordd-disk-evidence.XXXXXX)
clean() {
  rm -rf "$work"
  rmdir "$evidence" 2>/dev/null || echo "evidence of the failure: $evidence"
  if losetup --all 2>/dev/null | grep -F "$work"; then echo "loop devices were left behind"; exit 1; fi
}
trap clean EXIT
trap 'exit 130' INT TERM
TMPDIR=$work COORDD_EVIDENCE=$evidence unshare --mount --pid --fork --kill-child --mount-proc "$@"
