"""The compared programs and every command line they are run with: the only place to change when an interface changes.

A command is a shell line (run by `bash -o pipefail`). PGHOST, PGUSER and PATH are set by Data.environment; `$ID` is the
newest backup, found by `newest` before the clock starts. kind: "mainstay", "peer" (encrypts and deduplicates), "plain"
(a pipe or a file, neither encrypted nor deduplicated).
"""

import os
import shutil

# As `mainstay key generate` and `init --generate-password` draw them: mainstay spends on the key derivation what the password needs.
PASSWORD = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01"
SERVER = "--db-host $PGHOST --db-port 5432 --db-user postgres"
PG_DUMP = "pg_dump -Fc -Z0 -d {db}"

# rclone with its defaults; vsftpd's rule about sessions is one that it keeps with TLS 1.2 alone.
RCLONE = "{bin} sync -q --config /dev/null {remote} {copy}"
RCLONE_SFTP = "':sftp,host=127.0.0.1,port={port},user=root,key_file={place}/key,known_hosts_file={place}/known_hosts,shell_type=none:{path}'"
RCLONE_FTPS = "':ftp,host=127.0.0.1,port={port},user={user},pass={secret},explicit_tls=true,no_check_certificate=true,disable_tls13=true:'"


class Tool:
    """What a backup program must be able to do; {repo} and the like are filled in by the suites."""

    kind = "peer"
    newest = ""  # prints the newest backup's id, where the tool has no word for it
    version = "{bin} --version"

    def __init__(self, name, binary):
        self.name, self.binary = name, binary

    def __getattr__(self, action):
        """tool.backup(repo=…, path=…): the command line of that action, written in upper case in the class."""
        template = getattr(type(self), action.upper())
        return lambda **words: template.format(bin=self.binary, **words)

    def present(self):
        return shutil.which(self.binary) is not None

    # `count` snapshots of a tiny directory, for the suite `list`
    def fill(self, repo, path, count):
        return f"for i in $(seq {count}); do echo $i > {path}/file; {self.backup(repo=repo, path=path)} || exit 1; done"


class Mainstay(Tool):
    kind = "mainstay"
    newest = "{bin} -r {repo} backup list | awk 'NR==2 {{print $1}}'"
    INIT = "{bin} init -r {repo}"
    BACKUP = "{bin} -r {repo} backup create bench --directory {path}"
    RESTORE = "{bin} -r {repo} backup restore $ID --to {to}"
    DELTA = RESTORE + " --delta --yes={to}"
    CHECK = "{bin} -r {repo} check --read-data"
    DUMP = "{bin} -r {repo} backup create bench --database {db} " + SERVER
    LOAD = "{bin} -r {repo} backup restore $ID --database {db} --jobs 2 --yes={db} " + SERVER
    LIST = "{bin} -r {repo} backup list --json"
    # Only the newest backup stays, and what it does not need goes at once.
    PRUNE = "{bin} -r {repo} forget --keep-last 1 && {bin} -r {repo} prune --cooling-off 0h"
    FAR = "s3://bench/{place}?endpoint={endpoint}"
    WAL_INIT = INIT + " --again"
    WAL_PUSH = "for f in {path}/pg_wal/0*; do {bin} -r {repo} wal push $f || exit 1; done"
    WAL_PUSH_AHEAD = WAL_PUSH
    WAL_FETCH = "for f in {path}/pg_wal/0*; do {bin} -r {repo} wal fetch ${{f##*/}} {out}/wal-target/pg_wal/RECOVERYXLOG || exit 1; done"
    WAL_FETCH_AHEAD = ""  # it always does
    wal_folder = "wal"
    WAL_RECEIVE = (
        "{bin} -r {repo} wal receive --spool {out}/spool --slot bench_turn & receiver=$!; trap 'kill -9 $receiver; wait' EXIT\n"
        "until [ $(find {repo}/wal -type f | wc -l) -ge {count} ]; do kill -0 $receiver || exit 1; sleep 0.02; done"
    )
    # When the server has heard that all is on disk: it goes on into the repository after that.
    WAL_RECEIVE_SPOOL = WAL_RECEIVE.split("until")[0] + (
        "until [ $(psql -XqAtd postgres -c \"select restart_lsn >= '{end}' from pg_replication_slots"
        " where slot_name = 'bench_turn'\") = t ]; do kill -0 $receiver || exit 1; sleep 0.02; done"
    )
    CLUSTER_INIT = INIT + " --again"
    CLUSTER = "{bin} -r {repo} backup create bench --cluster"
    CLUSTER_AGAIN = CLUSTER
    CLUSTER_BACK = "{bin} -r {repo} backup restore bench/cluster --to {to}"
    CLUSTER_DELTA = CLUSTER_BACK + " --delta --yes={to}"


class Restic(Tool):
    version = "{bin} version"
    INIT = "{bin} -q -r {repo} init"
    BACKUP = "{bin} -q -r {repo} backup {path}"
    RESTORE = "{bin} -q -r {repo} restore latest --sparse --target {to}"
    DELTA = RESTORE  # compares what is there, unless told otherwise
    CHECK = "{bin} -q -r {repo} check --read-data"
    DUMP = PG_DUMP + " | {bin} -q -r {repo} backup --stdin --stdin-filename bench.dump"
    LOAD = "{bin} -q -r {repo} dump latest /bench.dump | pg_restore -d {db}"
    LIST = "{bin} -r {repo} snapshots --json"
    PRUNE = "{bin} -q -r {repo} forget --keep-last 1 --prune"
    FAR = "s3:{endpoint}/bench/{place}"

    def fill(self, repo, path, count):
        # every rewrite doubles the snapshots: ten commands instead of a thousand
        return f"""set -e; echo 0 > {path}/file; {self.backup(repo=repo, path=path)}
            while n=$(ls {repo}/snapshots | wc -l); [ $n -lt {count} ]; do
              {self.binary} -q -r {repo} rewrite --new-host host$n $(ls {repo}/snapshots | head -n $(({count} - n)))
            done; true"""


class Rustic(Tool):
    INIT = "{bin} -r {repo} init"
    BACKUP = "{bin} -r {repo} backup {path}"
    RESTORE = "{bin} -r {repo} restore latest {to}"
    DELTA = RESTORE + " --verify-existing"
    CHECK = "{bin} -r {repo} check --read-data"
    # --force: 0.11 takes a second stdin backup of the same name for unchanged and stores nothing
    DUMP = PG_DUMP + " | {bin} -r {repo} backup --force --stdin-filename bench.dump -"
    LOAD = "{bin} -r {repo} dump latest:bench.dump | pg_restore -d {db}"
    LIST = "{bin} -r {repo} snapshots --json"
    PRUNE = "{bin} -r {repo} forget --keep-last 1 --prune --instant-delete"
    FAR = "opendal:s3"  # the rest is in its environment


class Borg(Tool):
    newest = "{bin} list --last 1 --short {repo}"
    INIT = "{bin} init -e repokey-blake2 {repo}"
    BACKUP = "{bin} create -C zstd,3 {repo}::$(date +%s%N) {path}"
    RESTORE = "cd {to} && {bin} extract --sparse {repo}::$ID"
    DELTA = RESTORE  # it knows none, and writes everything again
    CHECK = "{bin} check --verify-data {repo}"
    DUMP = PG_DUMP + " | {bin} create -C zstd,3 --stdin-name bench.dump {repo}::$(date +%s%N) -"
    LOAD = "{bin} extract --stdout {repo}::$ID | pg_restore -d {db}"
    LIST = "{bin} list --json {repo}"


class PgBackRest(Tool):
    """Of the suite `wal` alone. Not encrypted: its asynchronous worker reads no passphrase from the environment."""

    kind = "plain"
    wal_folder = "archive"
    BASE = (
        "{bin} --config=/dev/null --allow-root --stanza=b --pg1-path={path} --repo1-path={repo} --log-path={repo}/log --log-level-file=off"
        " --log-level-console=warn --lock-path={repo}/lock"
    )
    ZST = " --compress-type=zst --compress-level=3"
    AHEAD = " --archive-async --spool-path={repo}/spool --process-max=2"
    LOOP = "for f in {path}/pg_wal/0*; do "
    WAL_INIT = BASE + " stanza-create --no-online"
    WAL_PUSH = LOOP + BASE + ZST + " archive-push $f || exit 1; done"
    WAL_PUSH_AHEAD = LOOP + BASE + ZST + AHEAD + " archive-push $f || exit 1; done"
    GET = " archive-get ${{f##*/}} {out}/wal-target/pg_wal/RECOVERYXLOG || exit 1; done"
    WAL_FETCH = LOOP + BASE + GET
    WAL_FETCH_AHEAD = LOOP + BASE + AHEAD + " --archive-get-queue-max=1GiB" + GET
    version = "{bin} version"


class MainstayStream(Mainstay):
    """The same over the replication protocol; it makes full backups alone."""

    CLUSTER = Mainstay.CLUSTER + " --via stream"
    CLUSTER_AGAIN = ""


class PgBackRestCluster(Tool):
    """Of the suite `cluster` alone."""

    kind = "encrypting"
    BASE = (
        "PGBACKREST_REPO1_CIPHER_PASS=$MAINSTAY_PASSWORD {bin} --config=/dev/null --allow-root --stanza=b --repo1-path={repo}"
        " --repo1-cipher-type=aes-256-cbc --log-level-file=off --log-level-console=warn --lock-path={repo}/lock"
    )
    TWO = " --process-max=2"
    AT = " --pg1-path={path} --pg1-socket-path=$PGHOST --pg1-port=5432 --pg1-user=postgres"
    CLUSTER_INIT = BASE + AT + " stanza-create"
    MORE = TWO + (
        " --compress-type=zst --compress-level=3 --no-archive-check --start-fast --repo1-bundle --repo1-block"
        " --repo1-retention-full=9"
    )
    CLUSTER = BASE + AT + MORE + " --type=full backup"
    CLUSTER_AGAIN = BASE + AT + MORE + " --type=incr backup"
    CLUSTER_BACK = BASE + TWO + " --pg1-path={to} --type=none --force restore"
    # By checksums: with --force alone it believes sizes and times.
    CLUSTER_DELTA = BASE + TWO + " --pg1-path={to} --type=none --delta restore"
    version = "{bin} version"


def cluster_peers(data):
    here = os.path.dirname(os.path.abspath(__file__))
    ours = os.environ.get("MAINSTAY", os.path.join(here, "../target/release/mainstay"))
    return [
        MainstayStream("mainstay, stream", os.path.abspath(ours)),
        PgBackRestCluster("pgBackRest", pgbackrest(data.root)),
    ]


def wal_peers(data):
    return [PgBackRest("pgBackRest", pgbackrest(data.root))]


def pgbackrest(work):
    """The newest one that is there."""
    newest = f"{work}/pgbackrest-new/run-pgbackrest"
    return os.environ.get("PGBACKREST", newest if os.path.exists(newest) else "/usr/bin/pgbackrest")


# How fast a file of a backup is read here and there; nobody else has it without a FUSE mount.
RANDOM = "{bin} {repo} $ID {path}"
# An S3 near and far, both with TLS: restic's way of signing is not taken by this server without.
S3 = "{bin} {milliseconds}"


def s3_environment(served, endpoint, place):
    """Credentials and the authority for all; where it is for rustic, whose address does not say it."""
    options = dict(bucket="bench", endpoint=endpoint, root=f"/{place}", region=served["region"])
    return dict(
        {f"RUSTIC_REPO_OPT_{name.upper()}": value for name, value in options.items()},
        AWS_ACCESS_KEY_ID=served["key"],
        AWS_SECRET_ACCESS_KEY=served["secret"],
        AWS_REGION=served["region"],
        SSL_CERT_FILE=served["ca"],
    )


# Not backup programs, but what people use instead: name -> command writing {out}
PLAIN_TREE = {"tar | zstd -3 -T2": "tar -C {path} -cf - . | zstd -q -3 -T2 -f -o {out}"}
PLAIN_DUMP = {
    "pg_dump -Fc -Z0 | zstd -3 -T2": PG_DUMP + " | zstd -q -3 -T2 -f -o {out}",
    "pg_dump -Fc": "pg_dump -Fc -d {db} -f {out}",
}
# What no backup of a file can be faster than: reading, cutting, hashing, compressing and sealing, and keeping nothing.
LIMIT = "{bin} {path}/*"
PLAIN_WAL = {
    "zstd -3 -T1": "for f in {path}/pg_wal/0*; do zstd -q -3 -T1 $f -o {out}/${{f##*/}}.zst || exit 1; done",
    "cp + fsync": "for f in {path}/pg_wal/0*; do dd if=$f of={out}/${{f##*/}} bs=1M conv=fsync status=none || exit 1; done",
}
RECEIVEWAL = "pg_receivewal -D {out}/wal -S bench_turn --no-loop --endpos=END"
PLAIN_RECEIVE = {
    "pg_receivewal": RECEIVEWAL,
    "pg_receivewal --synchronous": RECEIVEWAL + " --synchronous",
    "pg_receivewal, lz4": RECEIVEWAL + " --compress=lz4",
}
PLAIN_LOAD = {"pg_restore -j2 of a -Fc file": "pg_restore -j2 -d {db} {out}"}


# What a run did not measure, and why.
LEFT_OUT = {}


def left_out(what, why):
    LEFT_OUT.setdefault(what, why)
    print(f"left out: {what}: {why}", flush=True)


def chosen(work, peers, builds):
    """mainstay (and other builds of it, NAME=PATH) first, then the peers; absent ones are named and left out."""
    here = os.path.dirname(os.path.abspath(__file__))
    env = os.environ.get
    known = [Mainstay("mainstay", os.path.abspath(env("MAINSTAY", os.path.join(here, "../target/release/mainstay"))))]
    known += [Mainstay(*build.split("=", 1)) for build in builds]
    available = {
        "restic": Restic("restic", env("RESTIC", f"{work}/restic-new/usr/bin/restic")),
        "restic-old": Restic("restic-old", "/usr/bin/restic"),
        "rustic": Rustic("rustic", env("RUSTIC", f"{work}/cargo/bin/rustic")),
        "borg": Borg("borg", env("BORG", f"{work}/borgvenv/bin/borg")),
    }
    known += [available[name] for name in peers]
    for tool in known:
        if not tool.present():
            left_out(tool.name, f"absent: {tool.binary}")
    return [tool for tool in known if tool.present()]
