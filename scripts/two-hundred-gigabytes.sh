#!/bin/bash
# two-hundred-gigabytes.sh: a backup of 200 GB that are mostly holes, with 2 GB of noise all over, there and back.
#
# Every byte is compared, stock restic checks the repository, and no step may take more than 300 MiB.
set -euo pipefail
mainstay=${MAINSTAY:-target/release/mainstay}
place=$(mktemp -d "${TMPDIR:-/var/tmp}/mainstay-200.XXXXXX")
trap 'rm -rf "$place"' EXIT
export MAINSTAY_PASSWORD=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01
export MAINSTAY_REPOSITORY=$place/repository RESTIC_PASSWORD=$MAINSTAY_PASSWORD XDG_CACHE_HOME=$place/cache
mkdir "$place/data"
python3 - "$place/data/disk" << 'EOF'
import random, sys
dice = random.Random(200)
with open(sys.argv[1], "wb") as disk:
    disk.truncate(200 * 10**9)
    for _ in range(2000):
        disk.seek(dice.randrange(200 * 10**9 - 2**20))
        disk.write(dice.randbytes(2**20))
EOF

# Run a command; say its time and its peak memory, which has a bound.
measured() {
  /usr/bin/time -f '%e %M' -o "$place/time" "$@" > "$place/out"
  read -r seconds kib < "$place/time"
  echo "200 GB: $2${3:+ $3}: $seconds s, $((kib / 1024)) MiB"
  [ "$kib" -lt $((300 * 1024)) ] || { echo "more memory than it may take" >&2; exit 1; }
}

"$mainstay" init --no-recovery-key
measured "$mainstay" backup create acme --directory "$place/data"
id=$("$mainstay" backup list | awk 'NR==2 {print $1}')
measured "$mainstay" backup create acme --directory "$place/data"
measured "$mainstay" check --read-data
measured "$mainstay" backup restore "$id" --to "$place/back"
cmp "$place/data/disk" "$place/back/disk"
[ "$(du -k "$place/back/disk" | cut -f 1)" -lt 4000000 ] || { echo "the holes were filled" >&2; exit 1; }
restic -r "$MAINSTAY_REPOSITORY" check
echo "200 GB: there and back, every byte"
