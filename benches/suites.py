"""The suites: which commands are measured in which order. Each function is one round."""

import filecmp
import functools
import json
import os
import random
import shutil
import subprocess

import tools
from afar import afar
from cluster import cluster
from load import load
from loss import loss
from tenants import tenants
from measure import shell, stored
from wal import receive, wal


def new_database(bench):
    """An empty database to restore into. -> its name"""
    bench.data.drop("restored")
    bench.data.sql("create database restored template template0")
    bench.data.sql("checkpoint")
    return "restored"


def loaded(bench, original, restored):
    """Whether a restored database has the same tables with the same numbers of rows."""
    rows = "query_to_xml('select count(*) from ' || oid::regclass, false, true, '')::text"
    tables = "from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    count = f"select string_agg(relname || {rows}, ',' order by relname) {tables}"
    return bench.data.sql(count, original) == bench.data.sql(count, restored)


def change_database(bench, db, how, seed):
    """1.5 % of the pages: transactions all over pgbench's tables, or a range of rows."""
    scale = bench.data.scale
    if how == "uniform":
        shell(f"pgbench -n -c 2 -t {max(1, int(4000 * scale))} --random-seed={seed} {db}", bench.data.environment())
    else:
        first = int(seed * 7919 % 32768 * 500 * scale)
        accounts = f"aid between {first} and {first + 250000 * scale}"
        docs = f"id between {first // 20} and {first // 20 + 10000 * scale}"
        bench.data.sql(f"update pgbench_accounts set abalance = abalance + 1 where {accounts}", db)
        bench.data.sql(f"update docs set kind = kind || '{seed}' where {docs}", db)
    bench.data.sql("checkpoint")


def dump_step(bench, step, db, growth=True):
    """Dump a database into every tool's repository of this suite."""
    for tool in bench.turns():
        repo = bench.repo(tool)
        bench.measure(step, tool, tool.dump(repo=repo, db=db), source=bench.data.cluster, size=repo, growth=growth)


def tree(bench):
    path = bench.data.tree()
    for tool in bench.turns():
        bench.init(tool, bench.repo(tool))
    archive = f"{bench.data.out}/plain"
    for name, command in tools.PLAIN_TREE.items():
        bench.measure("first backup", name, command.format(path=path, out=archive), source=path, size=archive)
        os.remove(archive)

    def backup(step):
        for tool in bench.turns():
            repo = bench.repo(tool)
            bench.measure(step, tool, tool.backup(repo=repo, path=path), source=path, size=repo, growth=True)

    backup("first backup")
    backup("unchanged")
    bench.data.change_files(path, bench.round)
    try:
        backup("5 % of files changed")
        expected = stored(path)
        for tool in bench.turns():
            repo, to = bench.repo(tool), bench.empty_directory()
            command, same = tool.restore(repo=repo, to=to), lambda: stored(to) == expected
            bench.measure("restore", tool, command, repo=repo, source=repo, size=to, right=same)
    finally:
        bench.data.undo_changes()
    for tool in bench.turns():
        repo = bench.repo(tool)
        bench.measure("check --read-data", tool, tool.check(repo=repo), source=repo, size=repo)


def dump(bench):
    db = bench.data.database()
    out = f"{bench.data.out}/plain"
    for name, command in tools.PLAIN_DUMP.items():
        bench.measure("dump", name, command.format(db=db, out=out), source=bench.data.cluster, size=out)
        os.remove(out)
    for tool in bench.turns():
        bench.init(tool, bench.repo(tool))
    dump_step(bench, "dump", db)


def dedup(bench):
    db = bench.data.clone("bench_dedup")
    for tool in bench.turns():
        bench.init(tool, bench.repo(tool))
    dump_step(bench, "first dump", db)
    dump_step(bench, "again, nothing changed", db)
    for how in ("uniform", "clustered"):
        change_database(bench, db, how, bench.round + 1)
        dump_step(bench, f"after a {how} change of 1.5 %", db)
    bench.data.drop(db)


def kept(bench, dumps=15):
    db, files = bench.data.clone("bench_kept"), f"{bench.data.out}/kept-files"
    shutil.rmtree(files, ignore_errors=True)
    os.makedirs(files)
    for tool in bench.turns():
        bench.init(tool, bench.repo(tool))
    for i in range(dumps):
        which = f"dump {i + 1} of {dumps}" if i in (0, dumps - 1) else f"dumps 2-{dumps - 1}"
        step = f"{which} (all kept so far)"
        dump_step(bench, step, db, growth=False)
        command = tools.PLAIN_DUMP["pg_dump -Fc"].format(db=db, out=f"{files}/{i}")
        bench.measure(step, "pg_dump -Fc", command, source=bench.data.cluster, size=files)
        change_database(bench, db, "uniform", i + 1)
    bench.data.drop(db)
    shutil.rmtree(files)


def restore(bench):
    db, archive, step = bench.data.database(), f"{bench.data.work}/prepared/bench.dump", "restore into a new database"
    if not os.path.exists(archive):
        make = tools.PLAIN_DUMP["pg_dump -Fc"].format(db=db, out=f"{archive}.new")
        shell(f"{make} && mv {archive}.new {archive}", bench.data.environment())
    if bench.round == 0:
        for tool in bench.tools:
            bench.init(tool, bench.repo(tool))
            bench.prepare(tool, tool.dump(repo=bench.repo(tool), db=db))
    same = functools.partial(loaded, bench, db, "restored")
    for name, command in tools.PLAIN_LOAD.items():
        bench.measure(step, name, command.format(db=new_database(bench), out=archive), source=archive, right=same)
    for tool in bench.turns():
        repo = bench.repo(tool)
        command = tool.load(repo=repo, db=new_database(bench))
        bench.measure(step, tool, command, repo=repo, source=repo, right=same)
    bench.data.drop("restored")


def memory(bench):
    """Sizes in steps, so that what grows with the data is seen to grow."""

    def directory(label, path):
        for tool in bench.turns():
            repo = bench.repo(tool)
            bench.init(tool, repo)
            bench.measure(f"backup {label}", tool, tool.backup(repo=repo, path=path), source=path, size=repo)
            to = bench.empty_directory()
            command, same = tool.restore(repo=repo, to=to), lambda: stored(to) == stored(path)
            bench.measure(f"restore {label}", tool, command, repo=repo, right=same)

    for factor in (0.25, 0.5, 1, 2):
        path = bench.data.tree(factor)
        directory(f"tree {stored(path) / 1e9:.2f} GB", path)
    for gigabytes in (1, 10, 50):
        path = f"{bench.data.out}/sparse"
        os.makedirs(path, exist_ok=True)
        with open(f"{path}/file", "wb") as f:
            f.truncate(int(gigabytes * 1e9 * bench.data.scale))
        directory(f"sparse file {gigabytes * bench.data.scale:g} GB", path)
        shutil.rmtree(path)
    bench.data.database()
    for scale in (12, 50, None):
        db = "bench"
        if scale:
            db = f"bench_{scale}"
            if not bench.data.sql(f"select 1 from pg_database where datname = '{db}'"):
                bench.data.sql(f"create database {db}")
                shell(f"pgbench -i -q -s {max(1, int(scale * bench.data.scale))} {db}", bench.data.environment())
        size = int(bench.data.sql("select pg_database_size(current_database())", db))
        label = f"dump of a database of {size / 1e9:.2f} GB"
        for tool in bench.turns():
            repo = bench.repo(tool)
            bench.init(tool, repo)
            bench.measure(f"backup {label}", tool, tool.dump(repo=repo, db=db), size=repo)
            bench.measure(f"restore {label}", tool, tool.load(repo=repo, db=new_database(bench)), repo=repo)
    bench.data.drop("restored")


def damage(directory):
    """Overwrite 1 % of every file below a directory: one MiB of every hundred."""
    for d, _, names in os.walk(directory):
        for name in names:
            with open(f"{d}/{name}", "r+b") as f:
                for start in range(0, os.path.getsize(f"{d}/{name}"), 100 << 20):
                    f.seek(start)
                    f.write(b"damaged " * (1 << 17))


def equal(directory, other):
    """Whether the only file below each has the same bytes."""
    paths = [os.path.join(d, name) for path in (directory, other) for d, _, names in os.walk(path) for name in names]
    return len(paths) == 2 and filecmp.cmp(*paths, shallow=False)


def big(bench, size=4 << 30):
    """One large file: what the engine does once cutting, hashing, compressing and sealing are all there is to do."""
    for kind in ("incompressible", "compressible"):
        path = bench.data.big(kind, int(size * bench.data.scale))
        limit = built("limit")
        if os.path.exists(limit):
            command = tools.LIMIT.format(bin=limit, path=path)
            bench.measure(f"backup {kind}", "limit: cut, hash, zstd, seal", command, source=path)
        else:
            tools.left_out("limit in big", f"{limit} is not built")
        to = bench.empty_directory()
        same = functools.partial(equal, path, to)
        bench.measure(f"restore {kind}", "cp, sync", f"cp {path}/* {to} && sync -f {to}", source=path, right=same)
        for tool in bench.turns():
            repo = bench.repo(tool)
            bench.init(tool, repo)
            bench.measure(f"backup {kind}", tool, tool.backup(repo=repo, path=path), source=path, size=repo)
            to = bench.empty_directory()
            same = functools.partial(equal, path, to)
            bench.measure(f"restore {kind}", tool, tool.restore(repo=repo, to=to), source=repo, repo=repo, right=same)
            damage(to)
            step, command = f"restore {kind}, 1 % damaged", tool.delta(repo=repo, to=to)
            bench.measure(step, tool, command, source=repo, repo=repo, right=same)
            shutil.rmtree(repo)


def list_(bench):
    """The repositories are kept from run to run: remove prepared/list-* after a change of format."""
    count, path = max(10, int(1000 * bench.data.scale)), f"{bench.data.out}/tiny"
    os.makedirs(path, exist_ok=True)
    repos = {tool: f"{bench.data.work}/prepared/list-{tool.name}" for tool in bench.tools}
    for tool, repo in repos.items():
        if not os.path.exists(repo):
            bench.init(tool, f"{repo}.new")
            bench.prepare(tool, tool.fill(f"{repo}.new", path, count) + f" && mv {repo}.new {repo}")
    for step in (f"list {count} snapshots, no cache", f"list {count} snapshots"):
        for tool in bench.turns():
            if "no cache" in step:
                shutil.rmtree(f"{bench.data.work}/cache/{tool.name}", ignore_errors=True)
            bench.measure(step, tool, tool.list(repo=repos[tool]) + " > /dev/null", source=repos[tool])


def prune(bench):
    """Of a tree 30 % of the files go; what only the first backup has goes too."""
    path = f"{bench.data.out}/shrinking"
    for tool in bench.turns():
        shell(f"rm -rf {path} && cp -al {bench.data.tree()} {path}", bench.data.environment())
        repo = bench.repo(tool)
        bench.init(tool, repo)
        bench.prepare(tool, tool.backup(repo=repo, path=path))
        files = sorted(os.path.join(d, name) for d, _, names in os.walk(path) for name in names)
        for file in random.Random(7).sample(files, len(files) * 3 // 10):
            os.remove(file)
        bench.prepare(tool, tool.backup(repo=repo, path=path))
        bench.measure("forget and prune", tool, tool.prune(repo=repo), source=repo, size=repo)
        to, expected = bench.empty_directory(), stored(path)
        same = lambda: stored(to) == expected
        bench.measure("restore after it", tool, tool.restore(repo=repo, to=to), source=repo, repo=repo, right=same)
        shutil.rmtree(repo)
    shutil.rmtree(path)


def random_(bench):
    """8 KiB at random places of a big file, by mainstay alone."""
    tool, repo = bench.tools[0], bench.repo(bench.tools[0])
    example, path = built("random_reads"), bench.data.big("incompressible", int((4 << 30) * bench.data.scale))
    bench.init(tool, repo)
    bench.prepare(tool, tool.backup(repo=repo, path=path))
    name = os.listdir(path)[0]
    command = tools.RANDOM.format(bin=example, repo=repo, path=name) + f" | tee {bench.data.work}/log/random.txt"
    bench.measure("random reads", tool, command, source=repo, repo=repo)
    with open(f"{bench.data.work}/log/random.txt") as f:
        print(f.read(), end="")
    shutil.rmtree(repo)


def s3(bench, milliseconds=20):
    """A tree into object storage and back, on this machine and behind a wire."""
    path = bench.data.tree(0.5)
    expected = stored(path)
    command = tools.S3.format(bin=built("serve_s3"), milliseconds=milliseconds).split()
    if not os.path.exists(command[0]):
        return tools.left_out("s3", f"{command[0]} is not built")
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        if not line:
            return tools.left_out("s3", "Ceph's gateway did not start")
        served = json.loads(line)
        for wire, label in (("near", "S3 here"), ("far", f"S3 behind {milliseconds} ms")):
            for tool in [tool for tool in bench.turns() if hasattr(type(tool), "FAR")]:
                place = f"{wire}-{tool.name}-{bench.round}"
                bench.data.more = tools.s3_environment(served, served[wire], place)
                repo = tool.far(place=place, endpoint=served[wire])
                bench.init(tool, repo)
                bench.measure(f"backup to {label}", tool, tool.backup(repo=repo, path=path), source=path)
                to = bench.empty_directory()
                command, same = tool.restore(repo=repo, to=to), lambda: stored(to) == expected
                bench.measure(f"restore from {label}", tool, command, repo=repo, right=same)
    finally:
        bench.data.more = {}
        server.stdin.close()
        server.wait()


def built(example):
    """The path of an example of ours; `make bench` builds them."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), f"../target/release/examples/{example}")


SUITES = {
    "tree": (tree, 3),
    "dump": (dump, 3),
    "restore": (restore, 3),
    "dedup": (dedup, 1),
    "kept": (kept, 1),
    "memory": (memory, 1),
    "list": (list_, 5),
    "big": (big, 3),
    "prune": (prune, 3),
    "random": (random_, 1),
    "s3": (s3, 3),
    "afar": (afar, 3),
    "wal": (wal, 3),
    "receive": (receive, 3),
    "cluster": (cluster, 3),
    "load": (load, 3),
    "loss": (loss, 5),
    "tenants": (tenants, 3),
}
