#!/bin/bash
# try-install.sh BINARY: install.sh in a Debian that knows nothing of mainstay: with systemd, and again without; then the first
# backup and the way back. Needs root. Leaves nothing behind.
set -euo pipefail
binary=$(realpath "${1:?usage: try-install.sh BINARY}")
here=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "try-install: a chroot needs root" >&2; exit 1; }
tree=$("$here/scripts/make-test-server.sh" debian)
work=$(mktemp -d /var/tmp/mainstay-install.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
cp -a --reflink=auto "$tree" "$work/root"
install -m 755 "$here/install.sh" "$work/root/root/install.sh"
cp --reflink=auto "$binary" "$work/root/root/mainstay"
mkdir -p "$work/root/srv/data"
echo "what was written" > "$work/root/srv/data/paper"
cat > "$work/root/root/try" << 'EOF'
set -eux
cd /root
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
as() { runuser -u mainstay -- env HOME=/var/lib/mainstay "$@"; }

# One line, with systemd there (not running).
./install.sh ./mainstay --directory /srv/data > first 2>&1 || { cat first; exit 1; }
cat first
grep -q 'recovery key' first
test "$(stat -c %U:%a /var/lib/mainstay/repository)" = mainstay:700
test "$(stat -c %U:%G:%a /etc/mainstay/secrets/default)" = root:mainstay:640
test -L /etc/systemd/system/timers.target.wants/mainstay.timer
systemd-analyze verify --man=no /etc/systemd/system/mainstay*.service /etc/systemd/system/mainstay.timer
as mainstay run --due
as mainstay backup list | grep -q default-data-
as mainstay backup restore default/data --to /var/lib/mainstay/back
grep -q 'what was written' /var/lib/mainstay/back/paper

# Once more: what is there stays.
before=$(cat /etc/mainstay/secrets/default /etc/mainstay/mainstay.toml | sha256sum)
./install.sh ./mainstay --directory /srv/data
test "$(cat /etc/mainstay/secrets/default /etc/mainstay/mainstay.toml | sha256sum)" = "$before"
as mainstay check

# Without systemd it is cron.
mv "$(command -v systemctl)" /root/
./install.sh ./mainstay
grep -q '^\*/5 \* \* \* \* mainstay /usr/local/bin/mainstay --config /etc/mainstay/mainstay.toml run --due >> ' /etc/cron.d/mainstay
if ./install.sh ./mainstay --tenant '../x'; then exit 1; fi

# Paths that end alike are different sources; what makes a configuration with a mistake leaves none.
rm -r /etc/mainstay
mkdir -p /srv/other/data
if ./install.sh ./mainstay --directory "$(printf '/srv/\001')"; then exit 1; fi
test ! -e /etc/mainstay/mainstay.toml -a ! -e /etc/mainstay/mainstay.toml.new
if ./install.sh ./mainstay --directory /srv/data --directory /srv/data/; then exit 1; fi
./install.sh ./mainstay --directory /srv/data/ --directory /srv/other/data// --database data --repository /var/lib/mainstay/second
as mainstay config show | grep '^tenants.default.sources' | grep -E '(directory|database) ' > shown
grep -q 'sources.data.directory .*"/srv/data"' shown
grep -q 'sources.srv_other_data.directory .*"/srv/other/data"' shown
grep -q 'sources.data_2.database .*"data"' shown
echo "try-install ok"
EOF
unshare --mount --pid --fork --mount-proc="$work/root/proc" chroot "$work/root" /bin/sh /root/try
