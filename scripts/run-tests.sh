#!/bin/bash
# run-tests.sh PROFILE: the whole workspace's tests by cargo-nextest, or by cargo test where that is not to be had.
set -euo pipefail
profile=${1:?usage: run-tests.sh default|quick}
mkdir -p target
# Two judges: the restic of this machine and, for the full run, the newest one, where it can be fetched.
if [ "$profile" = default ] && [ -z "${MAINSTAY_TEST_RESTIC:-}" ] && [ "${FRUGAL:-0}" != 1 ]; then
  if newest=$(benches/fetch-from-sid.sh restic target/restic-new 2> target/restic-new.log); then
    export MAINSTAY_TEST_RESTIC="restic:$newest"
  else
    echo "tests: the newest restic cannot be fetched here ($(tail -n 1 target/restic-new.log)); by 'restic' alone" >&2
  fi
fi
# Every major of PostgreSQL that is promised instead of one, where they can be fetched.
if [ "$profile" = default ] && [ -z "${MAINSTAY_TEST_PG_DIRS:-}" ] && [ "${FRUGAL:-0}" != 1 ]; then
  if more=$(scripts/fetch-postgres.sh target/postgres-more 2> target/postgres-more.log); then
    export MAINSTAY_TEST_PG_DIRS="$more"
    grep '^fetch-postgres: ' target/postgres-more.log >&2 || true
  else
    echo "tests: more versions of PostgreSQL cannot be fetched here ($(tail -n 1 target/postgres-more.log))" >&2
  fi
fi
# The servers of the store tests come first too: making them takes minutes once, and no test should time out over it.
if [ "$profile" = default ] && [ "${FRUGAL:-0}" != 1 ]; then
  scripts/make-test-server.sh all > /dev/null
fi
echo "tests: judged by ${MAINSTAY_TEST_RESTIC:-restic}" >&2
# The binaries come first: tests run the real program. Together with the tests, because what only tests depend on
# switches on features of other crates, and everything would be built twice.
cargo build --workspace --locked --bins --tests
if command -v cargo-nextest > /dev/null 2>&1; then
  cargo nextest run --workspace --locked --profile "$profile"
  cargo test --workspace --locked --doc --quiet
else
  echo "tests: no cargo-nextest; by cargo test, without its time limits, slow tests included" >&2
  cargo test --workspace --locked --quiet -- --test-threads=3
fi
