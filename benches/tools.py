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


# Not backup programs, but what people use instead: name -> command writing {out}
PLAIN_TREE = {"tar | zstd -3 -T2": "tar -C {path} -cf - . | zstd -q -3 -T2 -f -o {out}"}
PLAIN_DUMP = {
    "pg_dump -Fc -Z0 | zstd -3 -T2": PG_DUMP + " | zstd -q -3 -T2 -f -o {out}",
    "pg_dump -Fc": "pg_dump -Fc -d {db} -f {out}",
}
# What no backup of a file can be faster than: reading, cutting, hashing, compressing and sealing, and keeping nothing.
LIMIT = "{bin} {path}/*"
PLAIN_LOAD = {"pg_restore -j2 of a -Fc file": "pg_restore -j2 -d {db} {out}"}


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
            print(f"absent, left out: {tool.name} ({tool.binary})")
    return [tool for tool in known if tool.present()]
