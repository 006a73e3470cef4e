"""The prepared data with its server, and one run of one suite over it."""

import fcntl
import glob
import json
import os
import shutil
import sys
import tempfile
import time

import tools
from measure import PreparationFailed, append, measured, new_file_system, no_file_system, shell, stored, warm

HERE = os.path.dirname(os.path.abspath(__file__))


class Data:
    """The prepared sources below the work directory, and the PostgreSQL server."""

    def __init__(self, scale):
        root = os.path.abspath(os.environ.get("M", "/var/tmp/peerbench"))
        self.work, self.scale = (root if scale == 1 else f"{root}/scale-{scale}"), scale
        self.cluster, self.socket = f"{self.work}/pg15", f"{self.work}/sock"
        self.bin = os.environ.get("PGBIN", "/usr/lib/postgresql/15/bin")
        self.changes, self.started = f"{self.work}/prepared/changes.json", False
        self.more = {}  # further variables that every tool gets
        for name in ("cache", "home", "log", "prepared"):
            os.makedirs(f"{self.work}/{name}", exist_ok=True)
        self.root = root
        self.lock = open(f"{self.work}/lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"another run uses {self.work}: two at once would measure each other") from None
        self.undo_changes()
        for killed in glob.glob(f"{self.work}/run-*"):
            self.remove(killed)
        self.out = tempfile.mkdtemp(prefix="run-", dir=self.work)  # repositories and restored files, removed at the end

    def environment(self, tool="plain", **more):
        """The same for every tool, with a cache of its own."""
        cache, secret = f"{self.work}/cache/{tool}", tools.PASSWORD
        return dict(
            os.environ,
            PATH=f"{self.bin}:{os.environ['PATH']}",
            HOME=f"{self.work}/home",
            XDG_CACHE_HOME=cache,
            PGHOST=self.socket,
            PGUSER="postgres",
            PGPORT="5432",
            MAINSTAY_PASSWORD=secret,
            RESTIC_PASSWORD=secret,
            RUSTIC_PASSWORD=secret,
            RUSTIC_NO_PROGRESS="true",
            BORG_PASSPHRASE=secret,
            BORG_BASE_DIR=cache,
            BORG_RELOCATED_REPO_ACCESS_IS_OK="yes",
            **self.more,
            **more,
        )

    def tree(self, factor=1):
        """The directory, at a factor of its size."""
        path = f"{self.work}/tree" if factor == 1 else f"{self.work}/prepared/tree-{factor}"
        if not os.path.exists(path):
            make = f"{sys.executable} {HERE}/make_tree.py {path}.new --scale {self.scale * factor}"
            shell(f"rm -rf {path}.new; {make} && mv {path}.new {path}", self.environment())
        return path

    def big(self, kind, size):
        """A directory with one large file, "incompressible" or "compressible"."""
        path = f"{self.work}/prepared/big-{kind}"
        if not os.path.exists(path):
            make = f"{sys.executable} {HERE}/make_big.py {path}.new {kind} {size}"
            shell(f"rm -rf {path}.new; {make} && mv {path}.new {path}", self.environment())
        return path

    def change_files(self, tree, seed):
        """Append a line to every 20th file; what they were is written down first."""
        paths = sorted(os.path.join(d, name) for d, _, names in os.walk(tree) for name in names)
        files = [path for path in paths if not os.path.islink(path)][seed % 20 :: 20]
        before = [(path, os.stat(path)) for path in files]
        with open(f"{self.changes}.new", "w") as f:
            json.dump([(path, stat.st_size, stat.st_atime_ns, stat.st_mtime_ns) for path, stat in before], f)
        os.rename(f"{self.changes}.new", self.changes)
        for i, path in enumerate(files):
            with open(path, "a") as f:
                f.write(f"changed line {seed} {i}\n")

    def undo_changes(self):
        """Put the changed files back, also those of a run that was killed."""
        if os.path.exists(self.changes):
            with open(self.changes) as f:
                for path, size, atime, mtime in json.load(f):
                    os.truncate(path, size)
                    os.utime(path, ns=(atime, mtime))
            os.remove(self.changes)

    def database(self):
        """Start the server, made before if need be. -> the name of the database"""
        if not os.path.exists(f"{self.cluster}/PG_VERSION"):
            sizes = dict(SCALE=200, TEXT_MB=1000, SMALL_TABLES=2000)
            sizes = {name: str(max(1, int(n * self.scale))) for name, n in sizes.items()}
            shell(f"{HERE}/make_database.sh {self.cluster}", self.environment(**sizes))
        if "no server" in self.control("status"):
            self.control(f"-l {self.socket}/server.log -w start >&2", must=True)
            self.started = True
        return "bench"

    def control(self, words, must=False):
        as_postgres = "setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/tmp"
        return shell(f"{as_postgres} {self.bin}/pg_ctl -D {self.cluster} {words}", self.environment(), quiet=not must)

    def sql(self, statement, db="postgres"):
        return shell(f'psql -XqAt -v ON_ERROR_STOP=1 {db} -c "{statement}"', self.environment()).strip()

    def clone(self, name):
        """A copy of the database to change: the prepared one stays as it was made."""
        self.database()
        self.drop(name)
        self.sql(f"create database {name} template bench strategy file_copy")
        return name

    def drop(self, name):
        self.sql(f"drop database if exists {name}")

    def close(self):
        """Stop the server if it was started here; remove repositories and restored files."""
        if self.started:
            self.control("-m fast -w stop", must=True)
        self.remove(self.out)
        self.lock.close()

    def remove(self, out):
        no_file_system(out, self.environment())
        shutil.rmtree(out, ignore_errors=True)


class Bench:
    """One run of one suite: measures commands and appends their rows."""

    def __init__(self, args, suite):
        self.data, self.suite, self.round, self.results = Data(args.scale), suite, 0, args.out
        self.tools = tools.chosen(self.data.root, args.peers, args.build)

    def versions(self):
        versions = {
            t.name: shell(t.version.format(bin=t.binary), self.data.environment(), quiet=True).strip().split("\n")[0]
            for t in self.tools
        }
        day = time.strftime("%Y-%m-%d", time.gmtime())
        versions["machine"] = f"{os.cpu_count()} cores, Linux {os.uname().release}, niceness {os.nice(0)}, {day}"
        append(self.results, dict(versions=versions))

    def empty_directory(self):
        """On a file system of its own."""
        return new_file_system(self.data.out, self.data.environment())

    def turns(self):
        """The tools, each round another one first."""
        n = self.round % max(1, len(self.tools))
        return self.tools[n:] + self.tools[:n]

    def repo(self, tool):
        return f"{self.data.out}/{self.suite}-{tool.name}"

    def init(self, tool, repo):
        """An empty repository and an empty cache."""
        for path in (repo, f"{self.data.work}/cache/{tool.name}"):
            shutil.rmtree(path, ignore_errors=True)
        self.prepare(tool, tool.init(repo=repo))

    def prepare(self, tool, command):
        """Run a tool's unmeasured command; a tool that fails is left out of the rest of the suite."""
        try:
            shell(command, self.data.environment(tool.name))
        except PreparationFailed as failure:
            tools.left_out(f"{tool.name} in {self.suite}", str(failure))
            self.tools = [other for other in self.tools if other is not tool]

    def measure(self, step, tool, command, *, source=None, repo=None, size=None, growth=False, right=None, name=None, more=dict):
        """Measure one command. tool: a Tool, or the name of a plain way. source: what is read into the page cache
        before. size: the path whose bytes are recorded (growth: only what was added). right: called after, says
        whether the result is right. repo: where `$ID` is looked up. name: what it is called, if not as the tool. more: called
        after, gives further figures.
        """
        own = tool if isinstance(tool, str) else tool.name
        name, env = name or own, self.data.environment(own)
        if "$ID" in command:
            env["ID"] = shell(tool.newest.format(bin=tool.binary, repo=repo), env, quiet=True).strip()
        if source:
            warm(source)
        before = stored(size) if growth else 0
        row = dict(
            suite=self.suite,
            step=step,
            tool=name,
            kind=getattr(tool, "kind", "plain"),
            round=self.round,
            cores=os.cpu_count(),
            **measured(command, env, f"{self.data.work}/log/{self.suite}.log", f"{self.data.cluster}/postmaster.pid"),
        )
        row["bytes"] = stored(size) - before if size else None
        row["right"] = right() if right else None
        row.update(more())
        append(self.results, dict(row, command=command))
        print(
            f"{step:32} {name:28} rc={row['rc']} wall={row['wall']:7.2f} cpu={row['cpu']:6.2f}+{row['server']:.2f}",
            f"rss={row['rss']:5} MiB bytes={(row['bytes'] or 0) / 1e6:8.1f} MB others={row['others']:.1f}",
            f"{row['tps']:.0f} tps" if "tps" in row else "",
            "WRONG" if row["right"] is False else "",
            flush=True,
        )
