#!/bin/bash
# when-there.sh TOOL COMMAND…: run COMMAND where TOOL is there; otherwise say that this check was left out.
set -euo pipefail
tool=$1
shift
if ! command -v "$tool" > /dev/null 2>&1; then
  echo "lint: $tool is not here, LEFT OUT: $* ('make install-tools' brings it)" >&2
  exit 0
fi
echo "$*" >&2
exec "$@"
