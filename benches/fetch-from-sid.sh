#!/bin/bash
# fetch-from-sid.sh PACKAGE TARGET: unpack a program of Debian sid into TARGET and print the path by which it runs.
#
# Why: Debian 12 carries restic 0.14 and pgBackRest 2.45 (both of 2022/23). Speed is compared with, and formats are checked
# against, current ones. Nothing is installed and the machine's apt is not touched: all apt state is private and thrown away.
# The mirror is the one that apt uses already; DEBIAN_MIRROR=URL chooses another. Idempotent: an unpacked program that
# runs is only printed. apt checks the archive's signatures as always. What needs libraries gets those of sid beside it, and
# a script that starts it with them.
set -euo pipefail
fail() { echo "fetch-from-sid: $*" >&2; exit 1; }
[ $# = 2 ] || { echo "usage: fetch-from-sid.sh restic|pgbackrest TARGET" >&2; exit 2; }
package=$1
mkdir -p "$2" || fail "cannot make $2"
target=$(cd "$2" && pwd)
binary=$target/usr/bin/$package
[ "$package" = restic ] || binary=$target/run-$package
if [ -x "$binary" ] && "$binary" version > /dev/null 2>&1; then echo "$binary"; exit 0; fi
for tool in apt-get dpkg-deb; do command -v $tool > /dev/null || fail "$tool is needed (a Debian machine)"; done

# Where apt takes Debian's main archive from; the security archive has no sid.
mirror=${DEBIAN_MIRROR:-}
if [ -z "$mirror" ]; then
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' \
    'Label: Debian' 2> /dev/null | sed -n 1p || true)
fi
if [ -z "$mirror" ]; then # the package lists were never fetched: read the sources themselves
  mirror=$( { sed -nE 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p' /etc/apt/sources.list.d/*.sources
              sed -nE 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
            } 2> /dev/null | grep -E '/debian/?$' | head -n 1 || true)
fi
[ -n "$mirror" ] || fail "no Debian mirror in this machine's apt sources; set DEBIAN_MIRROR"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r $keyring ] || fail "$keyring is missing (package debian-archive-keyring)"

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{etc/apt.conf.d,etc/preferences.d,state/lists/partial,cache/archives/partial}
echo "deb [signed-by=$keyring] $mirror sid main" > "$work/etc/sources.list"
: > "$work/state/status"
apt=(apt-get -qq -o Dir::Etc="$work/etc" -o Dir::Etc::SourceList="$work/etc/sources.list" -o Dir::Etc::SourceParts=/dev/null
     -o Dir::State="$work/state" -o Dir::State::status="$work/state/status" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root
     -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o Acquire::Retries=2)
timeout 40 "${apt[@]}" update >&2 || fail "the mirror does not provide Debian sid"
if [ "$package" = restic ]; then # static
  ( cd "$work" && timeout 15 "${apt[@]}" download "$package" >&2 ) || fail "the mirror has no $package in sid"
else
  timeout 120 "${apt[@]}" -y --no-install-recommends --download-only install "$package" >&2 \
    || fail "the mirror has no $package in sid, or not what it needs"
  mv "$work"/cache/archives/*.deb "$work"
  cat > "$binary" <<S
#!/bin/sh
exec $target/usr/lib64/ld-linux-x86-64.so.2 --library-path $target/usr/lib/x86_64-linux-gnu --argv0 "\$0" $target/usr/bin/$package "\$@"
S
  chmod +x "$binary"
fi
for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$target"; done
"$binary" version >&2 || fail "the program does not run on this machine"
echo "$binary"
