#!/bin/bash
# judge-with-rustic.sh: a third judge for the nightly run: rustic checks and restores what mainstay wrote, and mainstay
# what rustic wrote. Building rustic takes ten minutes, which is why this is no part of `make test`.
#
# MAINSTAY (default: target/release/mainstay) and RUSTIC (default: rustic in PATH, else it is built) name the programs.
set -euo pipefail
cd "$(dirname "$0")/.."
mainstay=${MAINSTAY:-target/release/mainstay}
[ -x "$mainstay" ] || cargo build --release --locked --package mainstay
if [ -z "${RUSTIC:-}" ] && ! RUSTIC=$(command -v rustic); then
  echo "nightly: building rustic, once" >&2
  cargo install --locked --quiet --root target/rustic rustic-rs < /dev/null >&2
  RUSTIC=target/rustic/bin/rustic
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MAINSTAY_PASSWORD=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01
export RUSTIC_PASSWORD=$MAINSTAY_PASSWORD RUSTIC_NO_PROGRESS=true RUSTIC_CACHE_DIR=$work/cache

cp -a crates "$work/tree"
head -c 20000000 /dev/urandom > "$work/tree/large"
ln -s ../outside "$work/tree/link"; ln "$work/tree/large" "$work/tree/second-name"
truncate -s 50M "$work/tree/sparse"

echo "== rustic judges mainstay"
ours=$work/ours
"$mainstay" -r "$ours" init --no-recovery-key > /dev/null
"$mainstay" -r "$ours" backup create acme --directory "$work/tree"
echo changed >> "$work/tree/link-free"; "$mainstay" -r "$ours" backup create acme --directory "$work/tree"
"$RUSTIC" -r "$ours" check --read-data
"$RUSTIC" -r "$ours" restore "latest:$work/tree" "$work/by-rustic"
diff -r --no-dereference "$work/tree" "$work/by-rustic"
"$mainstay" -r "$ours" forget --keep-last 1 > /dev/null
"$mainstay" -r "$ours" prune --cooling-off 0h > /dev/null
"$RUSTIC" -r "$ours" check --read-data

echo "== mainstay judges rustic"
theirs=$work/theirs
"$RUSTIC" -r "$theirs" init > /dev/null
"$RUSTIC" -r "$theirs" backup "$work/tree"
"$mainstay" -r "$theirs" check --read-data
id=$("$mainstay" -r "$theirs" backup list | awk 'NR==2 {print $1}')
"$mainstay" -r "$theirs" backup restore "$id" --to "$work/by-mainstay"
diff -r --no-dereference "$work/tree" "$work/by-mainstay"
echo "== both on a hot and a cold part"
for maker in mainstay rustic; do
  cold=$work/cold-$maker hot=$work/hot-$maker
  if [ "$maker" = mainstay ]; then
    "$mainstay" -r "$cold" --repository-hot "$hot" init --no-recovery-key > /dev/null
  else
    "$RUSTIC" -r "$cold" --repo-hot "$hot" init > /dev/null
  fi
  "$mainstay" -r "$cold" --repository-hot "$hot" backup create acme --directory "$work/tree"
  "$RUSTIC" -r "$cold" --repo-hot "$hot" backup "$work/tree"
  "$RUSTIC" -r "$cold" --repo-hot "$hot" check --read-data
  "$mainstay" -r "$cold" --repository-hot "$hot" check --read-data
  "$RUSTIC" -r "$cold" --repo-hot "$hot" restore "latest:$work/tree" "$work/hot-by-rustic-$maker"
  diff -r --no-dereference "$work/tree" "$work/hot-by-rustic-$maker"
  id=$("$mainstay" -r "$cold" --repository-hot "$hot" backup list | awk '$2 == "restic" {print $1}')
  "$mainstay" -r "$cold" --repository-hot "$hot" backup restore "$id" --to "$work/hot-by-mainstay-$maker"
  diff -r --no-dereference "$work/tree" "$work/hot-by-mainstay-$maker"
done
echo "== rustic and mainstay agree"
