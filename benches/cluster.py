"""The suite `cluster`: a whole server backed up as files, what changed of it, and back.

mainstay from the data directory and over the replication protocol, beside pgBackRest with zst 3, aes-256-cbc, two processes,
bundles and blocks, and beside pipes of tar and pg_basebackup, which neither encrypt nor find anything again.
"""

import os
import shutil

import tools
from measure import PreparationFailed, shell

PAGE = 8192
PLAIN = {
    "tar | zstd -3 -T2": "tar -C {path} --exclude=pg_wal --exclude=postmaster.pid -cf - . | zstd -q -3 -T2 -f -o {out}",
    "pg_basebackup | zstd -3 -T2": "pg_basebackup -c fast -X none -Ft -D - | zstd -q -3 -T2 -f -o {out}",
}


def alone(data):
    """Start the server on a copy of its data directory, where the database may be changed: a clone of it beside itself in one
    cluster would be found again by whoever looks for what is there twice. -> the name of the database
    """
    db, copy = data.database(), f"{data.out}/pg15"
    if data.cluster != copy:
        data.control("-m fast -w stop", must=True)
        shell(f"chmod a+x {data.out} && cp -a {data.cluster} {copy}", data.environment())
        data.cluster, data.started = copy, False
        data.database()
    return db


def damage(path):
    """Overwrite a page of every hundredth file and of one of 1 GB, and leave their times as they were. -> what was there"""
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(f"{path}/base") for name in names)
    files = [file for file in files if os.path.getsize(file) >= PAGE]
    places = []
    for file in {*files[::100], max(files, key=os.path.getsize)}:
        about = os.stat(file)
        at = about.st_size // PAGE // 2 * PAGE
        with open(file, "r+b") as f:
            f.seek(at)
            places.append((file, at, f.read(PAGE)))
            f.seek(at)
            f.write(b"x" * PAGE)
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    os.sync()
    return places


def wrong(places):
    for file, at, was in places:
        with open(file, "rb") as f:
            f.seek(at)
            if f.read(PAGE) != was:
                return True
    return False


def cluster(bench):
    from suites import change_database

    data, out = bench.data, f"{bench.data.out}/cluster-plain"
    db = alone(data)
    path = data.cluster
    bench.tools = [tool for tool in bench.turns() if hasattr(type(tool), "CLUSTER")]
    known = bench.tools + [peer for peer in tools.cluster_peers(data) if peer.present()]
    repo = lambda tool: f"{data.out}/cluster-{tool.name.replace(' ', '-')}"
    for tool in list(known):
        try:
            shutil.rmtree(repo(tool), ignore_errors=True)
            os.makedirs(repo(tool))
            shell(tool.cluster_init(repo=repo(tool), path=path), data.environment(tool.name))
        except PreparationFailed as failure:
            print(f"left out: {tool.name}: {failure}", flush=True)
            known.remove(tool)

    def turns():
        first = bench.round % max(1, len(known))
        return known[first:] + known[:first]

    def backup(step, growth):
        for tool in turns():
            data.sql("checkpoint")
            command = tool.cluster(repo=repo(tool), path=path) if not growth else tool.cluster_again(repo=repo(tool), path=path)
            if command:
                bench.measure(step, tool, command, source=path, size=repo(tool), growth=growth)

    def back(step, damaged=False):
        if damaged:  # how fast this disk takes the files
            to = f"{bench.empty_directory()}/data"
            bench.measure(step, "cp -a && sync", f"cp -a {path} {to} && sync -f {to}", source=path)
        for tool in turns():
            to = f"{bench.empty_directory()}/data"
            os.makedirs(to, mode=0o700)
            complete = lambda: os.path.exists(f"{to}/global/pg_control") and os.path.exists(f"{to}/backup_label")
            words = dict(repo=repo(tool), source=repo(tool), right=complete)
            bench.measure(step, tool, tool.cluster_back(repo=repo(tool), to=to), **words)
            if damaged:
                places = damage(to)
                words["right"] = lambda: not wrong(places)
                bench.measure("delta restore, 1 % damaged", tool, tool.cluster_delta(repo=repo(tool), to=to), **words)
            shutil.rmtree(to, ignore_errors=True)

    for name, command in PLAIN.items():
        data.sql("checkpoint")
        bench.measure("full backup", name, command.format(path=path, out=out), source=path, size=out)
        os.remove(out)
    backup("full backup", False)
    back("full restore", damaged=True)
    backup("nothing changed", True)
    change_database(bench, db, "uniform", bench.round)
    backup("1.5 % of the pages changed, uniform", True)
    change_database(bench, db, "clustered", bench.round)
    backup("1.5 % of the pages changed, clustered", True)
    back("restore through 3 increments")
