"""The suite `load`: what pgbench loses while a full backup of its server is taken, by the second.

pgbench is in a session of its own, as the clients of a server are: the kernel shares cores between sessions first. "a fifth of the
disk": mainstay reads no faster than a fifth of what this disk writes, measured at the beginning of the suite.
"""

import os
import shutil
import statistics
import time

import tools
from cluster import alone
from measure import shell

SECONDS = 20
BESIDE = "setsid pgbench -n -c 4 -j 2 -P 1 -T 900 {db} 2> {said} & load=$!; sleep 2; {command}; code=$?; kill $load; wait; exit $code"


def fifth_of_the_disk(data):
    """-> KiB a second"""
    start = time.monotonic()
    shell(f"dd if=/dev/zero of={data.out}/probe bs=1M count=2048 oflag=direct conv=fsync status=none", os.environ)
    os.remove(f"{data.out}/probe")
    return int(2048 * 1024 / 5 / (time.monotonic() - start))


def load(bench):
    data, seconds = bench.data, max(5, int(SECONDS * bench.data.scale))
    db = alone(data)
    rate = fifth_of_the_disk(data)
    print(f"a fifth of the disk: {rate} KiB/s", flush=True)
    ways, mainstay = [("nothing beside", None, "")], bench.tools[0]
    peers = [peer for peer in tools.cluster_peers(data) if peer.present()]
    for tool in [mainstay, *peers]:
        ways.append((tool.name, tool, ""))
        if tool is mainstay:
            ways.append(("mainstay, a fifth of the disk", tool, f" --rate-kib-max {rate}"))
    turn = bench.round % len(ways)
    for name, tool, more in ways[turn:] + ways[:turn]:
        said, repo, backup = f"{data.out}/load.txt", f"{data.out}/load-repo", f"sleep {seconds}"
        if tool:
            shutil.rmtree(repo, ignore_errors=True)
            os.makedirs(repo)
            shell(tool.cluster_init(repo=repo, path=data.cluster), data.environment(tool.name))
            backup = tool.cluster(repo=repo, path=data.cluster) + more
        command = BESIDE.format(db=db, said=said, command=backup)
        data.sql("checkpoint")
        bench.measure("full backup beside pgbench", tool or name, command, source=data.cluster, name=name, more=lambda: dict(tps=speed(said)))


def speed(said):
    """-> transactions a second while the backup ran: the first two seconds were before it, the last one is not whole"""
    with open(said) as f:
        each = [float(line.split()[3]) for line in f if line.startswith("progress:")]
    return round(statistics.mean(each[2:-1] or each), 1)
