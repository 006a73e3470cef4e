#!/bin/bash
# try-systemd.sh BINARY: install.sh in a Debian whose systemd runs: the timer starts the backup, the observer alarms, the daemon stops
# when it is told, and the sandbox of the units keeps nothing from being read. Needs root; leaves nothing behind. Exit 77: it cannot be tried here.
#
# systemd is PID 1 of a PID namespace of its own, with a mount, IPC, host name and cgroup namespace; what it could change of the
# machine (/sys, /proc/sys) it sees read-only.
set -euo pipefail
binary=$(realpath "${1:?usage: try-systemd.sh BINARY}")
here=$(cd "$(dirname "$0")/.." && pwd)
lack() { echo "try-systemd: $*" >&2; exit 77; }
[ "$(id -u)" = 0 ] || lack "namespaces need root"
tree=$("$here/scripts/make-test-server.sh" debian)
work=$(mktemp -d /var/tmp/mainstay-systemd.XXXXXX)
# systemd is given a control group of its own, below which it makes what it likes.
groups=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET) || lack "cgroup2 is not mounted"
unshare --mount --pid --fork --cgroup --ipc --uts true || lack "no namespaces are to be had"
group=$groups/mainstay-try-$$
clean_groups() { [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \; ; }
# The processes of the namespace end with its PID 1.
trap 'kill -9 ${init:-} 2> /dev/null || true; wait; clean_groups; rm -rf --one-file-system "$work"' EXIT
root=$work/root
cp -a --reflink=auto "$tree" "$root"
install -m 755 "$here/install.sh" "$root/root/install.sh"
install -m 755 "$binary" "$root/root/mainstay"
# For root alone: what CAP_DAC_READ_SEARCH is for; and in a home, which the units see read-only.
mkdir -p -m 700 "$root/srv/data" "$root/home/somebody"
echo "what was written" > "$root/srv/data/paper"
echo "at home" > "$root/home/somebody/letter"
chmod 600 "$root/srv/data/paper" "$root/home/somebody/letter"
units=$root/etc/systemd/system
for unit in systemd-udevd.service systemd-modules-load.service systemd-sysctl.service systemd-remount-fs.service \
  systemd-logind.service systemd-networkd.service systemd-timesyncd.service getty.target console-getty.service \
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount; do
  ln -sf /dev/null "$units/$unit"
done
cat > "$units/try.service" << 'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /root/try
StandardOutput=file:/root/out
StandardError=inherit
ExecStopPost=/bin/sh -c 'echo "$SERVICE_RESULT" > /root/result; systemctl exit --no-block'
UNIT
cat > "$units/try.target" << 'UNIT'
[Unit]
Requires=multi-user.target
Wants=try.service timers.target
AllowIsolate=yes
UNIT
cat > "$root/root/try" << 'TRY'
set -eux
trap 'test $? = 0 || journalctl --no-pager | tail -20' EXIT
cd /root
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
as() { runuser -u mainstay -- env HOME=/var/lib/mainstay "$@"; }
until_() { n=0; until "$@"; do n=$((n + 1)); test $n -lt 600; sleep 0.1; done; }
property() { systemctl show "$1" --property "$2" --value; }

# One line; the timer runs from here on. A second time of its calendar, so that nobody waits for the minute.
mkdir -p /etc/systemd/system/mainstay.timer.d
printf '[Timer]\nOnCalendar=*:*:0/2\nAccuracySec=100ms\n' > /etc/systemd/system/mainstay.timer.d/often.conf
./install.sh ./mainstay --directory /srv/data --directory /home/somebody --repository /mnt/backups/mainstay
test "$(property mainstay.timer ActiveState)" = active
said() { journalctl --sync; journalctl -u "$1" | grep -q "$2"; }
until_ said mainstay.service 'backup ok id=default-data-'
until_ said mainstay.service 'backup ok id=default-somebody-'
ended() { test "$(property "$1" ActiveState)" = inactive; }
until_ ended mainstay.service
test "$(property mainstay.service Result)" = success
as mainstay backup restore default/data --to /var/lib/mainstay/back
grep -q 'what was written' /var/lib/mainstay/back/paper
as mainstay backup restore default/somebody --to /var/lib/mainstay/letters
grep -q 'at home' /var/lib/mainstay/letters/letter
as mainstay watch --once

# A run that fails is a unit that failed, and the observer alarms where no run ever was.
systemctl stop mainstay.timer
printf '\n[tenants.default.sources.gone]\ndirectory = "/srv/nowhere"\n' >> /etc/mainstay/mainstay.toml
if systemctl start mainstay.service; then exit 1; fi
test "$(property mainstay.service ExecMainStatus)" = 5
systemctl reset-failed mainstay.service
systemctl enable --now mainstay-watch.service
until_ said mainstay-watch.service 'alarm default/gone: there is no good backup'
test "$(property mainstay-watch.service ActiveState)" = active
systemctl stop mainstay-watch.service
test "$(property mainstay-watch.service Result)" = success

# The daemon backs up what is due, and stops in order, also in the middle of a backup.
sed -i '/gone/,$d' /etc/mainstay/mainstay.toml
mkdir /srv/large
head -c 200M /dev/urandom | base64 > /srv/large/noise
# It takes its time: it is still at it when it is told to stop.
printf '\n[tenants.default.sources.large]\ndirectory = "/srv/large"\ncompression = 19\n' >> /etc/mainstay/mainstay.toml
systemctl start mainstay-serve.service
busy() { test -n "$(find /mnt/backups/mainstay/data -newer /srv/large/noise -type f | head -1)"; }
until_ busy
systemctl stop mainstay-serve.service
test "$(property mainstay-serve.service Result)" = success
test "$(property mainstay-serve.service ExecMainStatus)" = 0
as mainstay check --read-data
as mainstay backup list > /root/list
if grep default-large- /root/list; then exit 1; fi
sed -i '/^compression/d' /etc/mainstay/mainstay.toml

# What the unit allows, whoever runs it: no right of root's but to read; and of the system nothing can be written, while its own
# directory can.
probe() {
  printf '[Service]\nType=oneshot\nExecStart=/bin/sh -c "grep CapEff /proc/self/status; touch /etc/x /usr/x /home/x /root/x /var/lib/mainstay/x; exit 0"\n' > /root/body
  sed '/^\[Unit\]/,/^$/d; /^ExecStart/d; /^Type/d; /^\[Service\]/d' /etc/systemd/system/mainstay.service | cat /root/body - > "/etc/systemd/system/$1.service"
  systemctl daemon-reload
  systemctl start "$1.service"
  said "$1.service" 'CapEff:.*0000000000000004'
  for kept in /etc /usr /home /root; do test ! -e $kept/x; done
  rm /var/lib/mainstay/x
}
probe probe-user

# As root, for commands around a run that need it; what ran is remembered all the same. It may write what is its own.
printf '[Service]\nExecStart=/bin/sleep infinity\n' > /etc/systemd/system/acme.service
mainstay --config /etc/mainstay/mainstay.toml manifests systemd --user root --output /etc/systemd/system --force
printf 'hooks = { before = ["systemctl stop acme; systemctl is-active acme > /var/lib/mainstay/told; true"], after = ["systemctl start acme"] }\n' \
  >> /etc/mainstay/mainstay.toml
# Root may write there where no unit keeps it from that.
probe probe-root
chown -R root: /mnt/backups/mainstay
systemctl daemon-reload
systemctl start acme.service mainstay.service
grep -q inactive /var/lib/mainstay/told
test "$(property acme.service ActiveState)" = active
MAINSTAY_STATE_DIR=/var/lib/mainstay mainstay runs default/large | grep -q ' ok '
echo "try-systemd ok"
TRY

cat > "$work/begin" << 'BEGIN'
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=mainstay-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=try.target --log-target=null
BEGIN
mkdir "$group" 2> /dev/null || lack "no control group can be made"
/bin/sh -c 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
  unshare --mount --pid --fork --kill-child=KILL --cgroup --ipc --uts /bin/sh "$work/begin" "$root" < /dev/null > "$work/log" 2>&1 &
init=$!
for _ in $(seq 300); do
  [ ! -e "$root/root/result" ] || break
  kill -0 "$init" 2> /dev/null || break
  sleep 1
done
# It has been told to end.
for _ in $(seq 300); do
  kill -0 "$init" 2> /dev/null || break
  sleep 0.1
done
cat "$root/root/out" "$work/log" >&2 || true
[ "$(cat "$root/root/result" 2> /dev/null)" = success ] && grep -q '^try-systemd ok' "$root/root/out" && echo "try-systemd ok"
