#!/bin/bash
# install-tool.sh TOOL: install a cargo tool where it is missing, and say so.
#
# A tool that cannot be installed does not stop the door: what uses it has a second way (cargo test) or is left out
# with a word (cargo deny). FRUGAL=1 installs nothing.
set -euo pipefail
tool=${1:?usage: install-tool.sh TOOL}
case $tool in
  cargo-nextest) why='runs the tests in parallel and ends those that hang' ;;
  cargo-deny)    why='checks licences, sources and banned crates' ;;
  mdbook)        why='builds the book'; features=(--no-default-features --features search) ;;
  *) echo "install-tool: $tool is not one of ours" >&2; exit 2 ;;
esac
command -v "$tool" > /dev/null 2>&1 && exit 0
if [ "${FRUGAL:-0}" = 1 ]; then
  echo "tools: $tool is missing ($why); FRUGAL=1, going on without it" >&2
  exit 0
fi
echo "tools: $tool is missing ($why); building it takes some minutes, once" >&2
cargo install --locked --quiet "$tool" ${features[@]+"${features[@]}"} < /dev/null >&2 ||
  echo "tools: $tool could not be installed; going on without it" >&2
