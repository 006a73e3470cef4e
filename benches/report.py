"""Medians and ratios of a results file as markdown (`run.py report results.jsonl`)."""

import json
import statistics

RATIO = "x peer / plain"
HEADS = ["tool", "n", "wall s (min-max)", RATIO, "cpu + server s", "MB", RATIO, "RSS MiB", RATIO]


def median(rows, key):
    values = [r[key] for r in rows if r.get(key) is not None]
    return statistics.median(values) if values else None


def good(rows):
    return [r for r in rows if r["rc"] == 0 and r.get("right") is not False]


def best(tools, kind, key):
    """The smallest median among the tools of a kind."""
    values = [median(good(rows), key) for rows in tools.values() if rows[0]["kind"] == kind]
    return min((v for v in values if v), default=None)


def cell(tools, rows, key, unit, digits):
    """A median and its ratio to the best peer and to the best plain way."""
    value = median(rows, key)
    if value is None:
        return "", ""
    ratios = [f"{value / b:.2f}" if b else "-" for b in (best(tools, "peer", key), best(tools, "plain", key))]
    return f"{value / unit:.{digits}f}", " / ".join(ratios)


def line(name, rows, tools):
    """The cells of one tool in one step."""
    ok = good(rows)
    if not ok:
        wrong = ", wrong result" if rows[-1].get("right") is False else ""
        return [name, f"failed: exit {rows[-1]['rc']}{wrong}"] + [""] * (len(HEADS) - 2)
    walls = [r["wall"] for r in ok]
    disturbed = "~" if median(ok, "others") > 0.15 * median(ok, "wall") * rows[0]["cores"] else ""
    failed = f", {len(rows) - len(ok)} failed" if len(ok) < len(rows) else ""
    wall, wall_ratio = cell(tools, ok, "wall", 1, 2)
    cpu = f"{median(ok, 'cpu'):.1f} + {median(ok, 'server'):.1f}"
    size, rss = cell(tools, ok, "bytes", 1e6, 1), cell(tools, ok, "rss", 1, 0)
    spread = f"{wall}{disturbed} ({min(walls):.2f}-{max(walls):.2f})"
    return [name, f"{len(ok)}{failed}", spread, wall_ratio, cpu, *size, *rss]


def table(heads, lines):
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for cells in lines:
        print("| " + " | ".join(cells) + " |")


def memory_cell(rows):
    return f"{median(rows, 'rss'):.0f} ({median(rows, 'wall'):.1f})" if rows else "-"


def report(paths, start=0):
    """Of the rows of these files, each from its byte `start` on."""
    suites, versions = {}, {}
    for path in paths:
        with open(path) as f:
            f.seek(start)
            for row in map(json.loads, f):
                if "versions" in row:
                    versions.update(row["versions"])
                else:
                    tool = row["tool"].replace("|", "\\|")
                    suites.setdefault(row["suite"], {}).setdefault(row["step"], {}).setdefault(tool, []).append(row)
    print("\n".join(f"- {name}: {text}" for name, text in versions.items()))
    for suite, by_step in suites.items():
        print(f"\n## {suite}")
        if suite == "memory":  # against size: a line per size, a column per tool
            names = list(dict.fromkeys(name for tools in by_step.values() for name in tools))
            print("\nRSS MiB (wall s)\n")
            table(
                ["step", *names],
                ([step] + [memory_cell(good(t.get(n, []))) for n in names] for step, t in by_step.items()),
            )
            continue
        for step, tools in by_step.items():
            print(f"\n### {step}\n")
            if suite == "load":  # what somebody else lost by it
                alone = median(tools["nothing beside"], "tps")
                figures = lambda rows: (median(good(rows), "tps") or 0, median(good(rows), "wall") or 0)
                lines = [(name, *figures(rows)) for name, rows in tools.items()]
                table(
                    ["beside pgbench", "transactions a second", "of those alone", "wall s"],
                    ((name, f"{tps:.0f}", f"{tps / alone:.3f}", f"{wall:.1f}") for name, tps, wall in lines),
                )
                continue
            table(HEADS, (line(name, rows, tools) for name, rows in tools.items()))
    print(
        "\nMedians. x: ratio to the best peer (encrypts and deduplicates) / to the best plain way (neither). "
        "~: others used more than 15 % of the machine's CPU meanwhile."
    )
