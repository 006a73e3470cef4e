"""The suite `loss`: what of the commits is lost when a primary dies with its disk while `mainstay wal receive` takes its WAL.

1,000 transactions a second, one row each, by four clients; after some seconds every process of the server is killed at once.
What was acknowledged says the client; what is left says a base backup that recovers by what was received. late_ms: how much
earlier its last commit was made than the last one in the directory that died. The receiver is on the same machine: a network
adds its own way.
"""

import collections
import glob
import os
import random
import shutil
import signal
import subprocess
import time

from measure import append, processes, shell

RATE, SECONDS = 1000, 12
SCRIPT = "insert into commits (client, at) values (:client_id, clock_timestamp());\n"
AS_POSTGRES = "setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/tmp"


def loss(bench):
    for name, synchronous in [("mainstay", False), ("mainstay, synchronous", True)]:
        row = dict(suite="loss", step=f"death at {RATE} tps", tool=name, kind="mainstay", round=bench.round, rc=0)
        row.update(one(bench, synchronous))
        append(bench.results, row)
        print(row, flush=True)


def one(bench, synchronous):
    data, place = bench.data, f"{bench.data.out}/loss"
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    shell(f"chmod a+x {data.out}; chown postgres {place}", os.environ)
    env = data.environment("mainstay", MAINSTAY_REPOSITORY=f"{place}/repo")
    env.update(PGHOST=place, PGPORT="5433")
    mainstay = bench.tools[0].binary
    run = lambda command: shell(command, env).strip()
    ctl = lambda directory, words: run(f"{AS_POSTGRES} {data.bin}/pg_ctl -D {directory} -w {words} -l {directory}.log >&2 || {{ cat {directory}.log; false; }}")
    sql = lambda statement: run(f'psql -XqAt postgres -c "{statement}"')
    run(f"{AS_POSTGRES} {data.bin}/initdb -k -A trust -D {place}/first")
    with open(f"{place}/first/postgresql.conf", "a") as f:
        f.write(f"port = 5433\nlisten_addresses = ''\nunix_socket_directories = '{place}'\n")
    ctl(f"{place}/first", "start")
    sql("create table commits (client int, at timestamptz)")
    run(f"{mainstay} init --again")
    run(f"{mainstay} backup create loss --cluster --db-host {place} --db-port 5433 --db-user postgres")
    receive = [mainstay, "wal", "receive", "--spool", f"{place}/spool", "--slot", "vault", "--create-slot"]
    receiver = subprocess.Popen([*receive, "--application-name", "vault"], env=env, stderr=subprocess.DEVNULL)
    try:
        while sql("select count(*) from pg_stat_replication where state = 'streaming'") != "1":
            time.sleep(0.1)
        if synchronous:
            sql("alter system set synchronous_standby_names = 'vault'")
            sql("select pg_reload_conf()")
        with open(f"{place}/script", "w") as f:
            f.write(SCRIPT)
        load = ["pgbench", "-n", "-f", f"{place}/script", "-c", "4", "-j", "2", "-R", str(RATE), "-T", "900", "-l", "--log-prefix", f"{place}/said", "postgres"]
        load = subprocess.Popen(load, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(SECONDS + random.random())
        kill(f"{place}/first/postmaster.pid")
        load.wait()  # it ends with its connections, and has written down what was acknowledged
        time.sleep(1)  # so that what was on its way arrives, as it would on another machine
    finally:
        receiver.terminate()
        receiver.wait()
    run(f"{mainstay} wal receive --spool {place}/spool --flush-spool")
    run(f"rm -f {place}/first/postmaster.pid {place}/.s.PGSQL.*")
    if synchronous:
        with open(f"{place}/first/postgresql.auto.conf", "a") as f:
            f.write("synchronous_standby_names = ''\n")
    committed = counted(ctl, sql, f"{place}/first")
    run(f"{mainstay} backup restore loss/cluster --to {place}/second")
    run(f"chown -R postgres {place}")
    left = counted(ctl, sql, f"{place}/second", f"env {words(env)} {mainstay} wal fetch --no-agent %f %p")
    acknowledged = collections.Counter(line.split()[0] for said in glob.glob(f"{place}/said.*") for line in open(said))
    lost = sum(max(0, count - left[0].get(client, 0)) for client, count in acknowledged.items())
    late = round(1000 * (committed[1] - left[1]), 1)
    return dict(acknowledged=acknowledged.total(), lost=lost, late_ms=late)


def words(env):
    kept = ("MAINSTAY_PASSWORD", "MAINSTAY_REPOSITORY", "XDG_CACHE_HOME", "HOME")
    return " ".join(f"{name}={env[name]}" for name in kept)


def kill(pid_file):
    """Every process of the server, at once."""
    with open(pid_file) as f:
        postmaster = int(f.readline())
    for pid in [postmaster] + [pid for pid, (parent, *_) in processes().items() if parent == postmaster]:
        os.kill(pid, signal.SIGKILL)


def counted(ctl, sql, directory, restore_command=None):
    """Start the server of a directory. -> commits of each client, and the time of the last one"""
    if restore_command:
        with open(f"{directory}/postgresql.auto.conf", "a") as f:
            f.write(f"restore_command = '{restore_command}'\n")
        open(f"{directory}/recovery.signal", "w").close()
        shutil.chown(f"{directory}/recovery.signal", "postgres")
    ctl(directory, "start")
    while sql("select pg_is_in_recovery()") != "f":
        time.sleep(0.1)
    commits = dict(line.split("|") for line in sql("select client, count(*) from commits group by client").splitlines())
    last = sql("select extract(epoch from max(at)) from commits")
    ctl(directory, "-m fast stop")
    return {client: int(count) for client, count in commits.items()}, float(last)
