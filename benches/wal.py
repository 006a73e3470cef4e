"""The suite `wal`: 64 real segments of 16 MiB archived and fetched, a fresh process for each, as PostgreSQL does it.

mainstay beside pgBackRest (see README.md), encrypted and not, and beside `zstd -3` and `cp` with
fsync. "waiting": the server has marked all of them as ready, so that both may work ahead.

The suite `receive`: WAL that a slot has kept, received to its end; beside pg_receivewal, which neither compresses (but with
lz4) nor encrypts, and leaves plain files.
"""

import os
import shutil

import tools
from measure import PreparationFailed, shell

SEGMENTS = 64


def segments(bench):
    """A data directory as far as WAL goes, with the segments that a load of updates and wide rows made."""
    data, count = bench.data, max(4, int(SEGMENTS * bench.data.scale))
    path = f"{data.work}/prepared/wal"
    if os.path.exists(path):
        return path
    shutil.rmtree(f"{path}.new", ignore_errors=True)
    os.makedirs(f"{path}.new/pg_wal/archive_status")
    os.makedirs(f"{path}.new/global")
    db = data.clone("bench_wal")
    data.sql("alter system set wal_keep_size = '4GB'")
    data.sql("select pg_reload_conf()")
    first = data.sql("select pg_walfile_name(pg_switch_wal() + 1)")
    data.sql("create table wide as select * from docs limit 0", db)
    made = lambda: [name for name in sorted(os.listdir(f"{data.cluster}/pg_wal")) if first <= name < now()]
    now = lambda: data.sql("select pg_walfile_name(pg_current_wal_lsn())")
    while len(made()) < count:
        shell(f"pgbench -n -c 2 -t 5000 {db}", data.environment())
        data.sql("insert into wide select * from docs order by random() limit 30000", db)
    for name in made()[:count]:
        shutil.copy(f"{data.cluster}/pg_wal/{name}", f"{path}.new/pg_wal/{name}")
    for name in ("global/pg_control", "PG_VERSION"):
        shutil.copy(f"{data.cluster}/{name}", f"{path}.new/{name}")
    data.sql("alter system reset wal_keep_size")
    data.sql("select pg_reload_conf()")
    data.drop(db)
    os.rename(f"{path}.new", path)
    return path


def end_agents(repo):
    """What one step started must not help the next one; by pid, and only those of this repository."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if b"agent" in words and repo.encode() in words:
            shell(f"kill {process}; while [ -e /proc/{process} ]; do sleep 0.01; done", os.environ, quiet=True)


def mark(path, ready):
    """What the server says of its segments."""
    folder = f"{path}/pg_wal/archive_status"
    for name in os.listdir(folder):
        os.remove(f"{folder}/{name}")
    if ready:
        for name in os.listdir(f"{path}/pg_wal"):
            if len(name) == 24:
                open(f"{folder}/{name}.ready", "w").close()


def wal(bench):
    path, out = segments(bench), f"{bench.data.out}/wal-plain"
    names = [name for name in os.listdir(f"{path}/pg_wal") if len(name) == 24]
    arrived = lambda: sorted(os.listdir(f"{bench.data.out}/wal-target/pg_wal")) == ["RECOVERYXLOG"]

    def plain(step, ways):
        for name, command in ways.items():
            shutil.rmtree(out, ignore_errors=True)
            os.makedirs(out)
            shell(f"cat {path}/pg_wal/0* > /dev/null", os.environ)
            bench.measure(step, name, command.format(path=path, out=out), size=out)

    def each(step, template, ready, size=None, fresh=False, right=None):
        mark(path, ready)
        for tool in bench.turns() + [known for known in tools.wal_peers(bench.data) if known.present()]:
            repo = f"{bench.data.out}/wal-{tool.name.replace(' ', '-')}"
            command = getattr(tool, template)(repo=repo, path=path, out=bench.data.out)
            if not command:
                continue
            try:
                if fresh:
                    shutil.rmtree(repo, ignore_errors=True)
                    os.makedirs(repo)
                    shell(tool.wal_init(repo=repo, path=path), bench.data.environment(tool.name))
            except PreparationFailed as failure:
                print(f"left out: {tool.name}: {failure}", flush=True)
                continue
            target = f"{bench.data.out}/wal-target"
            shutil.rmtree(target, ignore_errors=True)
            os.makedirs(f"{target}/pg_wal")
            shutil.copytree(f"{path}/global", f"{target}/global")
            shell(f"cat {path}/pg_wal/0* > /dev/null", os.environ)
            bench.measure(step, tool, command, size=f"{repo}/{tool.wal_folder}" if size else None, right=right)
            end_agents(repo)

    bench.tools = [tool for tool in bench.tools if hasattr(type(tool), "WAL_PUSH")]
    plain(f"push {len(names)} segments", tools.PLAIN_WAL)
    each(f"push {len(names)} segments", "wal_push", ready=False, size=True, fresh=True)
    each(f"push {len(names)} segments, waiting", "wal_push_ahead", ready=True, size=True, fresh=True)
    each(f"fetch {len(names)} segments", "wal_fetch", ready=False, right=arrived)
    each(f"fetch {len(names)} segments, ahead", "wal_fetch_ahead", ready=False, right=arrived)
    mark(path, False)


def receive(bench):
    data, out = bench.data, f"{bench.data.out}/received"
    count = max(4, int(SEGMENTS * data.scale))
    db = data.clone("bench_receive")
    end = kept_by_slot(data, db, count)
    try:
        for name, command in ways(bench, count, end):
            shutil.rmtree(out, ignore_errors=True)
            os.makedirs(f"{out}/wal")
            if name.startswith("mainstay"):
                shell(bench.tools[0].wal_init(repo=f"{out}/repo", path=""), data.environment(name))
            data.sql("select pg_copy_physical_replication_slot('bench_kept', 'bench_turn')")
            shell(f"cat {data.cluster}/pg_wal/0* > /dev/null", os.environ)
            size = f"{out}/repo/wal" if os.path.isdir(f"{out}/repo") else f"{out}/wal"
            bench.measure(f"receive {count} segments", name, command.format(out=out), size=size)
            data.sql("select pg_drop_replication_slot('bench_turn')")
    finally:
        data.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'bench_%'")
        data.drop(db)


def kept_by_slot(data, db, count):
    """Let a slot keep so many segments of updates and wide rows. -> where they end"""
    data.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'bench_%'")
    data.sql("select pg_create_physical_replication_slot('bench_kept', true)")
    data.sql("create table wide as select * from docs limit 0", db)
    behind = lambda: int(data.sql(f"select pg_wal_lsn_diff(pg_current_wal_lsn(), '{start}')::bigint")) >> 24
    start = data.sql("select restart_lsn from pg_replication_slots where slot_name = 'bench_kept'")
    while behind() < count + 1:
        shell(f"pgbench -n -c 2 -t 5000 {db}", data.environment())
        data.sql("insert into wide select * from docs order by random() limit 30000", db)
    high, low = (int(half, 16) for half in start.split("/"))
    end = (high << 32 | low >> 24 << 24) + (count << 24)
    return f"{end >> 32:X}/{end & 0xFFFFFFFF:X}"


def ways(bench, count, end):
    """-> name, command; each ends when all of them are durable where it keeps them. Round by round another one first."""
    words, tool = dict(repo="{out}/repo", out="{out}", count=count, end=end), bench.tools[0]
    known = [("mainstay", tool.wal_receive(**words)), ("mainstay, into its spool", tool.wal_receive_spool(**words))]
    known += [(name, command.replace("END", end)) for name, command in tools.PLAIN_RECEIVE.items()]
    turn = bench.round % len(known)
    return known[turn:] + known[:turn]
