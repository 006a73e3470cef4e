#!/usr/bin/env python3
"""make_big.py DIR incompressible|compressible BYTES: one large file, seeded.

Incompressible: random bytes. Compressible: lines of running text out of a pool, in an order of their own, so that zstd
finds much and a chunker finds nothing twice.
"""

import os
import sys

import seeded

PIECE = 1 << 20


def incompressible(rng):
    while True:
        yield rng.randbytes(PIECE)


def compressible(rng):
    words = seeded.vocabulary(rng, 20000)
    pool = " ".join(seeded.running_text(rng, words, 2_000_000)).encode()
    while True:
        starts = (rng.randrange(len(pool) - 2000) for _ in range(PIECE // 1000))
        yield b"\n".join(pool[start : start + rng.randrange(200, 1800)] for start in starts)


def main():
    directory, kind, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.makedirs(directory)
    with open(f"{directory}/{kind}", "wb") as f:
        for piece in {"incompressible": incompressible, "compressible": compressible}[kind](seeded.seed(kind)):
            f.write(piece[:left])
            left -= len(piece)
            if left <= 0:
                return


if __name__ == "__main__":
    main()
