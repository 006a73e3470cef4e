"""The suite `cluster`: a whole server backed up as files, what changed of it, and back.

mainstay from the data directory and over the replication protocol, beside pgBackRest (`apt-get install pgbackrest`, or
`PGBACKREST`) with zst 3, aes-256-cbc, two processes, and bundles and blocks where it has them, and beside pipes of tar and
pg_basebackup, which neither encrypt nor find anything again.
"""

import os
import shutil

import tools
from measure import PreparationFailed, shell

PLAIN = {
    "tar | zstd -3 -T2": "tar -C {path} --exclude=pg_wal --exclude=postmaster.pid -cf - . | zstd -q -3 -T2 -f -o {out}",
    "pg_basebackup | zstd -3 -T2": "pg_basebackup -c fast -X none -Ft -D - | zstd -q -3 -T2 -f -o {out}",
}


def cluster(bench):
    from suites import change_database

    data, out = bench.data, f"{bench.data.out}/cluster-plain"
    db = data.clone("bench_cluster")
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

    for name, command in PLAIN.items():
        data.sql("checkpoint")
        bench.measure("full backup", name, command.format(path=path, out=out), source=path, size=out)
        os.remove(out)
    backup("full backup", False)
    backup("nothing changed", True)
    change_database(bench, db, "uniform", bench.round)
    backup("1.5 % of the pages changed, uniform", True)
    change_database(bench, db, "clustered", bench.round)
    backup("1.5 % of the pages changed, clustered", True)
    for tool in turns():
        to = f"{bench.empty_directory()}/data"
        os.makedirs(to, mode=0o700)
        complete = lambda: os.path.exists(f"{to}/global/pg_control") and os.path.exists(f"{to}/backup_label")
        bench.measure("restore", tool, tool.cluster_back(repo=repo(tool), to=to), repo=repo(tool), source=repo(tool), right=complete)
        shutil.rmtree(to, ignore_errors=True)
    data.drop(db)
