#!/bin/bash
# run-tests.sh PROFILE: the whole workspace's tests by cargo-nextest, or by cargo test where that is not to be had.
set -euo pipefail
profile=${1:?usage: run-tests.sh default|quick}
# The binaries come first, in one build: tests run the real program.
cargo build --workspace --locked --bins
if command -v cargo-nextest > /dev/null 2>&1; then
  cargo nextest run --workspace --locked --profile "$profile"
  cargo test --workspace --locked --doc --quiet
else
  echo "tests: no cargo-nextest; by cargo test, without its time limits, slow tests included" >&2
  cargo test --workspace --locked --quiet -- --test-threads=3
fi
