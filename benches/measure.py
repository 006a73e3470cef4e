"""Measuring one command: wall clock, CPU, memory, bytes; and what is the same before each: file system, warm cache."""

import json
import os
import signal
import subprocess
import threading
import time

PAGE, HZ = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


class PreparationFailed(SystemExit):
    """An unmeasured command failed; uncaught, it ends the benchmark with its text."""


def shell(command, env, quiet=False):
    """Run an unmeasured command. -> its output"""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode and not quiet:
        raise PreparationFailed(f"preparation failed ({done.returncode}): {command[:300]}\n{done.stdout[-2000:]}")
    return done.stdout


def stored(path):
    """Bytes of all regular files below a path, or of the file."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.lstat(os.path.join(d, f)).st_size
        for d, _, files in os.walk(path)
        for f in files
        if not os.path.islink(os.path.join(d, f))
    )


def warm(path):
    """Read a source into the page cache."""
    subprocess.run(
        [
            "bash",
            "-c",
            f"find {path} -type f -size -4G -not -path '*/pg_wal/*' -print0 | xargs -0 -r -n 500 cat > /dev/null",
        ],
        check=True,
    )


def no_file_system(directory, env):
    """Remove what new_file_system made."""
    shell(
        f"""cd {directory} && rm -f fs.img
        if mountpoint -q fs; then loop=$(findmnt -n -o SOURCE $PWD/fs) && umount fs && losetup -d $loop; fi""",
        env,
    )


def new_file_system(directory, env, size="20G"):
    """A new ext4 at DIRECTORY/fs instead of the former one. -> an empty directory in it

    Why: ext4 skips recently deleted inodes one by one, so making many files where many were deleted minutes ago
    measures that scan (36-58 s instead of 7-14 s for a restore) and not the tool.
    """
    no_file_system(directory, env)
    shell(
        f"""cd {directory} && mkdir -p fs && truncate -s {size} fs.img
        mkfs.ext4 -q -F -m 0 -E lazy_itable_init=1,nodiscard fs.img
        loop=$(losetup --direct-io=on -f --show fs.img) && mount -o noinit_itable $loop fs && mkdir fs/out""",
        env,
    )
    return f"{directory}/fs/out"


def processes():
    """pid -> (parent, session, CPU seconds with reaped children, resident bytes)"""
    table = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                line = f.read()
        except OSError:
            continue
        v = line[line.rindex(")") + 2 :].split()
        table[int(pid)] = (int(v[1]), int(v[3]), sum(map(int, v[11:15])) / HZ, int(v[21]) * PAGE)
    return table


def server_cpu(pid_file):
    """CPU seconds of the PostgreSQL server so far."""
    if not os.path.exists(pid_file):
        return 0.0
    with open(pid_file) as f:
        postmaster = int(f.readline())
    return sum(cpu for pid, (parent, _, cpu, _) in processes().items() if postmaster in (pid, parent))


def machine_cpu():
    """CPU seconds of the whole machine so far: user, nice, system, interrupts, but neither idle nor waiting."""
    with open("/proc/stat") as f:
        v = [int(x) / HZ for x in f.readline().split()[1:8]]
    return sum(v) - v[3] - v[4]


def measured(command, env, log, pid_file):
    """Run a command in a session of its own; return its figures.

    rss: the largest sum over all processes of the session, seen every 50 ms, MiB; rss_one: of the largest process.
    others: CPU seconds that neither the command nor the server used: how busy the machine was with something else.
    """
    os.sync()
    peak, done = 0, threading.Event()
    server, machine, start = server_cpu(pid_file), machine_cpu(), time.monotonic()
    with open(log, "ab") as out:
        child = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )

    def sample():
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, sum(rss for _, session, _, rss in processes().values() if session == child.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - start
    except BaseException:  # interrupted: the command must not go on alone
        os.killpg(child.pid, signal.SIGKILL)
        raise
    finally:
        done.set()
        sampler.join()
    cpu, server, machine = usage.ru_utime + usage.ru_stime, server_cpu(pid_file) - server, machine_cpu() - machine
    start = time.monotonic()
    os.sync()
    return dict(
        rc=os.waitstatus_to_exitcode(status),
        wall=round(wall, 3),
        cpu=round(cpu, 2),
        server=round(server, 2),
        rss=round(max(peak, usage.ru_maxrss * 1024) / 2**20),
        rss_one=usage.ru_maxrss // 1024,
        others=round(max(0.0, machine - cpu - server), 2),
        sync=round(time.monotonic() - start, 2),
    )


def append(path, row):
    """One JSON line more; written at once, so that an interrupted run keeps what it has."""
    with open(path, "a") as f:
        f.write(json.dumps(row) + "\n")
