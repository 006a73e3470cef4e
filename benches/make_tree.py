#!/usr/bin/env python3
"""make_tree.py DIR [--scale X]: a directory as a large source tree with its data: 1.93 GB, 73,585 files, 61,600 of them
of at most 16 KiB, 11 big ones, nested directories, some executables and symbolic links. Seeded: the same on every run;
the digest printed at the end proves it. zstd -3 makes about 560 MB of it. --scale makes a smaller one for a trial."""

import argparse
import hashlib
import os

from seeded import running_text, seed, vocabulary, zipf

SMALL, MIDDLE, BIG, LINKS = 61600, 11974, 11, 200
SMALL_LIMIT, TOTAL = 16384, 1.93e9
EPOCH = 1_700_000_000
WORDS = vocabulary(seed("tree"), 20000)
TEXT = running_text(seed("tree text"), WORDS, 300000)


def phrases(rng, count):
    """Pieces of code: lines and parts of lines with their indentation."""
    patterns = [
        "%s",
        " %s",
        " %s.%s",
        "(%s, %s)",
        " = %s(%s);\n",
        "\n    if (%s != %s) {\n",
        "\n        return %s;\n    }\n",
        "->%s",
        "\n    %s_%s(",
        ' "%s %s"',
        "\n/* %s %s\n */\n",
        "\nstatic int %s_%s(struct %s *%s)\n{\n",
        "\n#define %s_%s 0x",
    ]
    names = iter(running_text(rng, WORDS, count * 4))
    return [
        p % tuple(next(names) for _ in range(p.count("%s")))
        for p in rng.choices(patterns, cum_weights=zipf(len(patterns)), k=count)
    ]


PHRASES = [p.encode() for p in phrases(seed("phrases"), 60000)]
OPCODES = [seed("opcode", i).randbytes(1 + i % 6) for i in range(3000)]
WEIGHTS = {len(pool): zipf(len(pool), 20) for pool in (PHRASES, OPCODES)}


def drawn(rng, pool, size, own):
    """Pieces of the pool; a file repeats its own: one piece per `own` bytes."""
    short = rng.choices(pool, cum_weights=WEIGHTS[len(pool)], k=size // own + 20)
    mean = sum(map(len, short)) / len(short)
    return b"".join(rng.choices(short, k=int(size / mean * 1.1) + 30))


def source(rng, size):
    """Code."""
    return drawn(rng, PHRASES, size, 260)


def machine_code(rng, size):
    """Object files: short instructions in sequences, a symbol table, zeros."""
    data = drawn(rng, OPCODES, size * 2 // 5, 100) + drawn(rng, PHRASES, size // 3, 90)
    return data + bytes(max(0, size - len(data)))


def prose(rng, size):
    """Documentation: running text, partly repeated from a common stock."""
    out = []
    while size > 0:
        start = rng.randrange(len(TEXT) - 60)
        line = " ".join(TEXT[start : start + 12] if rng.random() < 0.5 else rng.choices(TEXT, k=12)) + "\n"
        out.append(line)
        size -= len(line)
    return "".join(out).encode()


def records(rng, size):
    """JSON with numbers and keys, as test data and logs have."""
    out, i = ["[\n"], rng.randrange(10**6)
    while size > 0:
        i += 1
        line = (
            '  {"id": %d, "name": "%s", "value": %.2f, "state": "%s", "path": "/%s/%s", "at": "2024-05-%02dT%02d:00:00Z"},\n'
            % (
                i,
                rng.choice(TEXT),
                rng.random() * 1000,
                rng.choice(("open", "done", "late")),
                rng.choice(TEXT),
                rng.choice(TEXT),
                i % 28 + 1,
                i % 24,
            )
        )
        out.append(line)
        size -= len(line)
    return "".join(out).encode()


def noise(rng, size):
    """Pictures, archives, keys: nothing to compress."""
    return rng.randbytes(size)


#        suffixes and maker                                                        share of small, of middle files
KINDS = [
    ((".c", ".h", ".rs", ".py", ".go", ".ts", ".java"), source, 0.74, 0.63),
    ((".md", ".txt", ".rst", ""), prose, 0.10, 0.07),
    ((".json", ".csv", ".log"), records, 0.09, 0.14),
    ((".o", ".so", ".class"), machine_code, 0.03, 0.12),
    ((".png", ".gz", ".woff2", ".jpg"), noise, 0.04, 0.04),
]
# the big files: megabytes and maker
BIG_FILES = [
    ("history.pack", 20, noise),
    ("libengine.a", 90, machine_code),
    ("debug.sym", 75, machine_code),
    ("amalgam.c", 110, source),
    ("events.json", 120, records),
    ("manual.txt", 30, prose),
    ("generated.ts", 120, source),
    ("fixtures.json", 60, records),
    ("release.tar.gz", 25, noise),
    ("tests.c", 125, source),
    ("toolchain.bin", 30, machine_code),
]


def directories(rng, count):
    """A forest of nested directories: 40 projects, every other directory below a random earlier one."""
    dirs = [f"{name}-{i}" for i, name in enumerate(rng.sample(WORDS[2000:], min(40, count)))]
    while len(dirs) < count:
        parent = dirs[rng.randrange(len(dirs)) if rng.random() < 0.5 else -1 - rng.randrange(min(30, len(dirs)))]
        if parent.count("/") < 8:
            dirs.append(f"{parent}/{rng.choice(WORDS)}{len(dirs)}")
    return dirs


def plan(scale):
    """Yield (path, size, maker) of every file; the middle ones are scaled so that the sum is right."""
    rng = seed("plan")
    dirs = directories(rng, max(40, int(5200 * scale)))

    def named(small, i):
        suffixes, maker = rng.choices([k[:2] for k in KINDS], weights=[k[2 if small else 3] for k in KINDS])[0]
        return f"{rng.choice(dirs)}/{rng.choice(TEXT)}_{i}{rng.choice(suffixes)}", maker

    small = [(*named(True, i), min(SMALL_LIMIT, int(rng.lognormvariate(7.9, 1.1)))) for i in range(int(SMALL * scale))]
    middle = [(*named(False, i), min(60.0, rng.lognormvariate(0, 1.2))) for i in range(int(MIDDLE * scale))]
    big = [(f"{rng.choice(dirs)}/{name}", maker, int(megabytes * 1e6 * scale)) for name, megabytes, maker in BIG_FILES]
    left = TOTAL * scale - sum(size for *_, size in small + big) - SMALL_LIMIT * len(middle)
    unit = left / sum(size for *_, size in middle)
    return small + [(path, maker, SMALL_LIMIT + 1 + int(size * unit)) for path, maker, size in middle] + big


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir")
    parser.add_argument("--scale", type=float, default=1)
    args = parser.parse_args()
    os.makedirs(args.dir)  # an existing one is refused
    os.chdir(args.dir)
    files, digest, total = plan(args.scale), hashlib.sha256(), 0
    for i, (path, maker, size) in enumerate(files):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = maker(seed(path), size)
        data = data[:size].ljust(size, b"\n")
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, 0o755 if i % 50 == 0 else 0o644)
        os.utime(path, (EPOCH + i, EPOCH + i))
        digest.update(path.encode() + data)
        total += size
    for i in range(int(LINKS * args.scale)):
        target = files[i * 7][0]
        os.symlink(os.path.basename(target), f"{target}.link")
    for path, _, _ in os.walk(".", topdown=False):
        os.utime(path, (EPOCH, EPOCH))
    print(
        f"{len(files)} files, {sum(s <= SMALL_LIMIT for *_, s in files)} small, {total / 1e6:.0f} MB, digest {digest.hexdigest()[:16]}"
    )


if __name__ == "__main__":
    main()
