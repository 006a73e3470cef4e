#!/usr/bin/env python3
"""run.py: mainstay beside its peers, interleaved (A B C, A B C, …), one JSON line per measured command.

    run.py SUITE [--peers restic,rustic,borg] [--rounds 3] [--out FILE]
    run.py report FILE…         medians and ratios as markdown

SUITE: tree dump restore dedup kept memory list big prune random s3 afar wal receive cluster load loss tenants all

Needs root (a new file system per restore, the server as user postgres). Work directory: $M (default /var/tmp/peerbench).
The data is made where it is missing. See README.md for what each suite measures.
"""

import argparse
import os
import signal
import sys

import tools
from bench import Bench
from report import report
from suites import SUITES


def main():
    if sys.argv[1:2] == ["report"]:
        return report(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=[*SUITES, "all"])
    parser.add_argument(
        "--peers",
        type=lambda s: [p for p in s.split(",") if p],
        default=["restic", "rustic", "borg"],
        help="restic, restic-old, rustic, borg; empty: mainstay alone",
    )
    parser.add_argument("--rounds", type=int, help="default: 3; dedup, kept, memory 1; list 5")
    parser.add_argument(
        "--build", action="append", default=[], metavar="NAME=PATH", help="another build of mainstay beside the first"
    )
    parser.add_argument("--scale", type=float, default=1, help="smaller data, to try the harness itself")
    parser.add_argument("--out", default=f"{os.environ.get('M', '/var/tmp/peerbench')}/results.jsonl")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what a run made is removed
    start = os.path.getsize(args.out) if os.path.exists(args.out) else 0
    for suite in SUITES if args.suite == "all" else [args.suite]:
        bench = Bench(args, suite)
        bench.versions()
        work, rounds = SUITES[suite]
        try:
            for bench.round in range(args.rounds or rounds):
                work(bench)
        finally:
            bench.data.close()
    report([args.out], start)
    for what, why in tools.LEFT_OUT.items():
        print(f"- left out: {what}: {why}")


if __name__ == "__main__":
    main()
