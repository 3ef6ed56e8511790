# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.

"""Prints what Scripts/bench.sh has measured, as Markdown: medians, and ratios of ours to each peer.

    python3 Scripts/bench-table.py record.json ...

A record is what the peers' run.py writes with --json. A ratio below 1 is in our favour.
"""

import json
import statistics
import sys
from pathlib import Path


def median(runs, read):
    values = [value for value in map(read, runs) if value is not None]
    return statistics.median(values) if values else None


def spread(runs, read):
    values = [value for value in map(read, runs) if value is not None]
    return f"{min(values):.2f}–{max(values):.2f}" if values else ""


def extra(name):
    return lambda run: (run.get("report") or {}).get("extra", {}).get(name)


WALL = lambda run: run["wall_s"]
CPU = lambda run: run["cpu_s"]
PEAK = lambda run: run["rss_peak_kb"] / 1024


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}" if ours is not None and theirs else ""


def main(paths):
    records = [(Path(path).stem, json.loads(Path(path).read_text())) for path in paths]
    machine = records[0][1]["machine"]
    print(f"{machine['cpus']} × {machine['cpu']}, {machine['when'][:10]}\n")
    print("| workload | peer | wall s (range) | wall | CPU | peak MiB | peak | others |")
    print("|---|---|---|---|---|---|---|---|")
    for name, record in records:
        ours = record["peers"].get("heap")
        if not ours:
            continue
        for peer, runs in record["peers"].items():
            wall, cpu, peak = (median(runs, read) for read in (WALL, CPU, PEAK))
            ratios = ["", "", ""]
            if peer != "heap":
                ratios = [ratio(median(ours, read), value)
                          for read, value in ((WALL, wall), (CPU, cpu), (PEAK, peak))]
            others = median(runs, lambda run: run["others_cpus"])
            print(f"| {name} | {peer} | {wall:.2f} ({spread(runs, WALL)}) | {ratios[0]} | {ratios[1]}"
                  f" | {peak:.0f} | {ratios[2]} | {others:.2f} |")
    print("\nFigures of the workloads themselves (ours ÷ peer):\n")
    print("| workload | peer | " + "figure: ours, theirs, ratio |")
    print("|---|---|---|")
    for name, record in records:
        ours = record["peers"].get("heap")
        for peer, runs in record["peers"].items():
            if not ours or peer == "heap":
                continue
            shared = [key for key in (runs[0].get("report") or {}).get("extra", {})
                      if isinstance(extra(key)(ours[0]), (int, float))]
            cells = []
            for key in shared:
                mine, other = median(ours, extra(key)), median(runs, extra(key))
                if mine is not None and other:
                    cells.append(f"{key}: {mine:.4g}, {other:.4g}, {mine / other:.2f}")
            print(f"| {name} | {peer} | {'; '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
