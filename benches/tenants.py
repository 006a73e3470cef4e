"""The suite `tenants`: two hundred of them due at once, each with a directory, a repository and a key of its own."""

import os
import random
import shutil

import tools
from measure import shell, stored

TENANTS, FILES = 200, 100


def directories(bench):
    """One of 8 MB for each tenant: text that compresses like logs do, and one file of 4 MB that does not compress."""
    path, dice = f"{bench.data.work}/prepared/tenants", random.Random(200)
    if os.path.exists(path):
        return path
    shutil.rmtree(f"{path}.new", ignore_errors=True)
    for tenant in range(int(TENANTS * bench.data.scale)):
        folder = f"{path}.new/t{tenant:03}"
        os.makedirs(folder)
        for number in range(FILES):
            with open(f"{folder}/file-{number}.log", "w") as f:
                while f.tell() < 40_000:
                    f.write(f"{tenant} {number} {dice.getrandbits(64):x} a line of a log\n")
        with open(f"{folder}/noise", "wb") as f:
            f.write(dice.randbytes(4_000_000))
    os.rename(f"{path}.new", path)
    return path


def tenants(bench):
    path = directories(bench)
    names = sorted(os.listdir(path))
    for tool in [tool for tool in bench.turns() if tool.kind == "mainstay"]:
        place = f"{bench.data.out}/tenants-{tool.name}"
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)
        with open(f"{place}/mainstay.toml", "w") as f:
            f.write(
                f'[repository]\nurl = "{place}/repositories"\n'
                f'password = "${{MAINSTAY_SHARED}}"\n[defaults]\nschedule = "@daily"\nmax_age = "26h"\n'
            )
            for name in names:
                f.write(f'[tenants.{name}.sources.files]\ndirectory = "{path}/{name}"\n')
        bench.data.more = {"MAINSTAY_CONFIG": f"{place}/mainstay.toml", "MAINSTAY_SHARED": tools.PASSWORD, "XDG_STATE_HOME": place}
        run = f"env -u MAINSTAY_PASSWORD {tool.binary} run"
        try:
            shell(f"env -u MAINSTAY_PASSWORD {tool.binary} init", bench.data.environment(tool.name))
            bench.measure("all due, first", tool, f"{run} --due", source=path, size=f"{place}/repositories")
            bench.measure("all due, unchanged", tool, f"{run} {' '.join(names)}", source=path, size=f"{place}/repositories", growth=True)
            bench.measure("all listed", tool, f"env -u MAINSTAY_PASSWORD {tool.binary} backup list")
        finally:
            bench.data.more = {}
            shutil.rmtree(place, ignore_errors=True)
