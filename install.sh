#!/bin/sh
# install.sh BINARY [--directory PATH | --database NAME]… [--repository URL] [--tenant NAME] [--every N]: mainstay on this server,
# in one line: the program, a user, directories, a configuration, the repository, and a timer of systemd or a crontab.
#
# Says what it does. Again, it changes nothing that is there: not the configuration, not the password, not the repository.
# Needs root. FRUGAL=1 names what would be done and stops.
set -eu

usage() { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
say() { echo "install: $*" >&2; }
fail() { echo "install: $*" >&2; exit 1; }

[ $# -ge 1 ] || usage
binary=$1; shift
tenant=default repository=/var/lib/mainstay/repository every=5 sources=
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case $1 in
    --directory|--database)
      what=$2
      # One directory is one source, however it is spelt.
      while [ "$1" = --directory ] && [ "$what" != / ] && [ "${what%/}" != "$what" ]; do what=${what%/}; done
      case "
$sources" in *"
${1#--} $what
"*) fail "$1 $what stands there twice" ;; esac
      sources="$sources${1#--} $what
" ;;
    --repository) repository=$2 ;;
    --tenant) tenant=$2 ;;
    --every) every=$2 ;;
    *) usage ;;
  esac
  shift 2
done
case $every in ''|*[!0-9]*|0) fail "--every takes minutes" ;; esac
case $tenant in ''|-*|.*|*[!A-Za-z0-9._-]*) fail "the name of a tenant is letters, digits, . _ and -" ;; esac
case "$repository$sources" in *'"'*|*'\'*) fail "a quote or a backslash would end a line of the configuration early" ;; esac
[ -x "$binary" ] || fail "$binary is no program"
"$binary" --version > /dev/null || fail "$binary does not run here"
if [ "${FRUGAL:-0}" = 1 ]; then
  say "FRUGAL=1: would install $binary, a user mainstay, /etc/mainstay, $repository and a timer"
  exit 0
fi
[ "$(id -u)" = 0 ] || fail "it needs root"

# What a source is called is letters, digits and _.
plain() { printf '%s' "$1" | tr -c 'A-Za-z0-9_' '_'; }
# The tables of the sources; of two whose paths end alike the second one is called by its whole path, else by a number.
tables() {
  printf '%s' "$sources" | {
    used=' '
    while read -r kind path; do
      name=$(plain "${path##*/}")
      name=${name:-root}
      case $used in *" $name "*) name=$(plain "${path#/}") ;; esac
      first=$name number=2
      while case $used in *" $name "*) true ;; *) false ;; esac; do
        name=${first}_$number number=$((number + 1))
      done
      used="$used$name "
      printf '\n[tenants.%s.sources.%s]\n%s = "%s"\n' "$tenant" "$name" "$kind" "$path"
    done
  }
}

program=/usr/local/bin/mainstay etc=/etc/mainstay
say "the program: $program"
install -D -m 755 "$binary" "$program.new"
mv -f "$program.new" "$program"

if ! id mainstay > /dev/null 2>&1; then
  say "a user of its own: mainstay"
  useradd --system --home-dir /var/lib/mainstay --no-create-home --shell /usr/sbin/nologin mainstay
fi
install -d -m 750 -o root -g mainstay "$etc" "$etc/secrets"
for folder in /var/lib/mainstay /var/log/mainstay; do
  install -d -m 700 -o mainstay -g mainstay "$folder"
done

if [ ! -e "$etc/mainstay.toml" ]; then
  say "the configuration: $etc/mainstay.toml"
  {
    printf '# Every key: `mainstay config schema`; what holds: `mainstay config show`.\n'
    printf '[defaults]\nschedule  = "@daily"\nmax_age   = "26h"\nretention = { keep_daily = 30, keep_monthly = 12 }\n\n'
    printf '[tenants.%s]\nrepository = { url = "%s", password = "file:%s/secrets/%s" }\n' "$tenant" "$repository" "$etc" "$tenant"
    tables
  } > "$etc/mainstay.toml.new"
  # What has a mistake is not kept: the next call would take it for somebody's own.
  "$program" --config "$etc/mainstay.toml.new" config check > /dev/null || {
    rm -f "$etc/mainstay.toml.new"
    fail "so there is no configuration yet; call it again without what is wrong"
  }
  chown root:mainstay "$etc/mainstay.toml.new"
  chmod 640 "$etc/mainstay.toml.new"
  mv "$etc/mainstay.toml.new" "$etc/mainstay.toml"
fi
if [ ! -e "$etc/secrets/$tenant" ]; then
  say "a password: $etc/secrets/$tenant (keep a copy elsewhere: without it or the recovery key nobody opens the backups)"
  (umask 077 && "$program" key generate > "$etc/secrets/$tenant.new")
  chown root:mainstay "$etc/secrets/$tenant.new"
  chmod 640 "$etc/secrets/$tenant.new"
  mv "$etc/secrets/$tenant.new" "$etc/secrets/$tenant"
fi
"$program" --config "$etc/mainstay.toml" config check

as_mainstay() { runuser -u mainstay -- env HOME=/var/lib/mainstay "$@"; }
place=${repository#file://}
case $place in
  /*) [ -e "$place" ] || install -d -m 700 -o mainstay -g mainstay "$place" ;;
esac
say "the repository: $repository"
as_mainstay "$program" --config "$etc/mainstay.toml" init

if [ -d /run/systemd/system ] || command -v systemctl > /dev/null 2>&1; then
  say "a timer of systemd, every $every minutes: mainstay.timer; and an observer to enable: mainstay-watch.service"
  install -d /etc/systemd/system
  "$program" --config "$etc/mainstay.toml" manifests systemd --output /etc/systemd/system --calendar "*:0/$every" --delay 0 --force > /dev/null
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --now mainstay.timer
  else
    systemctl enable mainstay.timer
  fi
else
  say "a crontab, every $every minutes: /etc/cron.d/mainstay"
  install -d /etc/cron.d
  "$program" --config "$etc/mainstay.toml" manifests cron --output /etc/cron.d --calendar "*/$every * * * *" --force > /dev/null
fi
say "done; the first backup: runuser -u mainstay -- env HOME=/var/lib/mainstay mainstay run"
