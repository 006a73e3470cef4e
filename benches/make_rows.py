#!/usr/bin/env python3
"""make_rows.py MEGABYTES: COPY rows (id, ts, kind, doc json, body) of the table `docs` on stdout, the same on every run.

The mix is meant to be hard on compressors (about 2.1x with zstd -3): 35 % of the rows carry 300 random bytes in base64,
2 % 6,000; bodies are half running text, half shuffled words.
"""

import base64
import itertools
import json
import sys

from seeded import running_text, seed, vocabulary

TAGS = ["a", "beta", "gamma", "new", "sale", "vip", "eu", "us"]


def rows(rng):
    text = running_text(rng, vocabulary(rng, 15000), 100000)
    pick = lambda: text[rng.randrange(len(text))]
    for i in itertools.count(1):
        kind, start, length = rng.random(), rng.randrange(len(text) - 400), min(int(rng.paretovariate(1.3) * 30), 400)
        body = text[start : start + length] if rng.random() < 0.5 else rng.choices(text, k=length)
        doc = {
            "id": "%032x" % rng.getrandbits(128),
            "user": pick() + str(rng.randrange(100000)),
            "email": pick() + "@example.org",
            "ip": ".".join(str(rng.randrange(256)) for _ in range(4)),
            "amount": round(rng.random() * 10000, 2),
            "tags": rng.choices(TAGS, k=3),
            "active": kind < 0.7,
            "geo": [round(rng.uniform(-90, 90), 6), round(rng.uniform(-180, 180), 6)],
        }
        if kind < 0.37:
            doc["token" if kind < 0.35 else "blob"] = base64.b64encode(
                rng.randbytes(300 if kind < 0.35 else 6000)
            ).decode()
        ts = "2024-%02d-%02d %02d:%02d:%02d" % (
            rng.randrange(1, 13),
            rng.randrange(1, 29),
            rng.randrange(24),
            rng.randrange(60),
            rng.randrange(60),
        )
        yield f"{i}\t{ts}\t{rng.choice(('order', 'event', 'note', 'mail'))}\t{json.dumps(doc)}\t{' '.join(body)}\n"


def main():
    left = int(sys.argv[1]) * 1000000
    for row in rows(seed("docs")):
        left -= sys.stdout.write(row)
        if left <= 0:
            break


if __name__ == "__main__":
    main()
