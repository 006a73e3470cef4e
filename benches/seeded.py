"""Seeded text and bytes, the raw material of make_tree.py and make_rows.py: the same on every machine, no word list needed.

Words are made of syllables and drawn with Zipf's frequencies, as in natural text; phrases repeat as in source code.
"""

import itertools
import random

SYLLABLES = [
    c + v + e
    for c in ("", "b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "pr")
    for v in "aeiou"
    for e in ("", "n", "r", "s", "t")
]


def zipf(n, shift=2.7):
    """Cumulative weights of n ranks, for random.choices."""
    return list(itertools.accumulate(1 / (i + shift) for i in range(n)))


def vocabulary(rng, n):
    """n distinct words, short ones first (frequent words are short)."""
    words = {}
    while len(words) < n:
        words["".join(rng.choices(SYLLABLES, k=1 + (len(words) * 3 // n) + rng.randrange(2)))] = None
    return [w for w in words if w]


def running_text(rng, words, n):
    """A list of n words in Zipf's frequencies."""
    return rng.choices(words, cum_weights=zipf(len(words)), k=n)


def seed(*parts):
    """A generator of its own for every part, so that parts can be made in any order."""
    return random.Random("/".join(map(str, parts)))
