#!/bin/bash
# install-test-needs.sh [build|demo]: install the programs that the tests run beside mainstay, where they are missing;
# with `build` only what compiling needs, with `demo` also what `mainstay demo` calls.
#
# Says what is missing and why it is needed before it installs anything. Does nothing, in a moment, when all is there.
# Needs apt (Debian and its relatives) and root or sudo; on other systems it names what to install and stops.
# FRUGAL=1 only names what is missing.
set -euo pipefail

[ $# = 0 ] || [ "$*" = build ] || [ "$*" = demo ] || { echo "usage: install-test-needs.sh [build|demo]" >&2; exit 2; }
for_what=${1:-test}

# for what | program | Debian package | why
needs='
build|cc|build-essential|zstd is written in C, and Rust links with cc
demo|psql|postgresql-client|mainstay asks databases by it, and the tests look into them
demo|pg_dump|postgresql-client|mainstay calls it to dump a database
demo|initdb|postgresql|servers of their own are started in temporary directories
demo|restic|restic|the oracle: stock restic must check and restore what mainstay wrote
test|/usr/bin/time|time|the tests measure memory
test|pgrep|procps|the tests look for processes of servers
test|strace|strace|the tests let system calls fail, to see what survives
test|sshd|openssh-server|the tests keep repositories behind SFTP
test|vsftpd|vsftpd|the tests back up directories behind FTPS
test|curl|curl|the tests make buckets by signed requests
test|openssl|openssl|the tests of TLS make an authority of their own
test|zstd|zstd|the decoder of WAL that needs no mainstay is run
test|mmdebstrap|mmdebstrap|Ceph, the strict S3 of the tests, comes from Debian sid, and the installation is tried in a clean Debian
test|systemd-analyze|systemd|the tests ask systemd whether it takes the units that we write
test|npm|npm|Azurite, the Azure of the tests, comes from npm, and so does another reader of SOPS
test|pgbackrest|pgbackrest|the observer looks at backups that it made
'

# PostgreSQL keeps the server programs outside PATH on Debian.
is_there() {
  command -v "$1" > /dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || compgen -G "/usr/lib/postgresql/*/bin/$1" > /dev/null
}

missing=()
while IFS='|' read -r kind program package why; do
  [ -n "$program" ] || continue
  case $for_what:$kind in build:demo | build:test | demo:test) continue ;; esac
  is_there "$program" && continue
  echo "$for_what needs: $program is missing ($why) -> package $package" >&2
  [[ " ${missing[*]-} " == *" $package "* ]] || missing+=("$package")
done <<< "$needs"

# Debian's python can be without its own installer of packages, and no program shows that.
if [ "$for_what" = test ] && ! python3 -c 'import ensurepip, venv' > /dev/null 2>&1; then
  echo "test needs: python3-venv is missing (moto, an S3 of the tests, comes from PyPI)" >&2
  missing+=(python3-venv python3-pip)
fi

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "${FRUGAL:-0}" = 1 ]; then
  echo "$for_what needs: FRUGAL=1, nothing is installed; what needs these programs will fail and say so" >&2
  exit 0
fi
if ! command -v apt-get > /dev/null 2>&1; then
  echo "$for_what needs: this is no Debian machine; install by hand what is named above, then try again" >&2
  exit 1
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo > /dev/null 2>&1 || { echo "$for_what needs: run 'apt-get install ${missing[*]}' as root, then try again" >&2; exit 1; }
  as_root=(sudo)
fi

# Debian's postgresql would make and start a cluster of its own; the tests never use it, so it is not made
# on a machine that has no PostgreSQL yet.
if [[ " ${missing[*]} " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf > /dev/null
fi

echo "$for_what needs: installing ${missing[*]} with apt" >&2
apt_get() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold "$@" < /dev/null >&2; }
apt_get install --no-install-recommends -y "${missing[@]}" || { apt_get update && apt_get install --no-install-recommends -y "${missing[@]}"; }
echo "$for_what needs: done" >&2
