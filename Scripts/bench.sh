#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.

# Measures the programs against the same programs for other runtimes, side by side, and prints the
# table of Documentation/Performance.md.
#
#     Scripts/bench.sh [runs, default 3] [row ...]      rows: see below; all of them by default
#
# The peers are a folder of its own, beside this package: PEERS says where its run.py is (default
# ../shared/peers/run.py). It needs Python 3 and the peers' tools; a peer whose tool is missing is
# left out. The records of all runs are kept in .build/bench, one JSON file a row.
#
# Nothing else should run meanwhile. A row that was disturbed is marked with the number of CPUs
# that were busy with something else.

set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-3}
[ $# -gt 0 ] && shift
peers=${PEERS:-../shared/peers/run.py}
if [ ! -f "$peers" ]; then
  echo "bench: there is no $peers; set PEERS to the run.py of the peers" >&2
  exit 2
fi

swift build -c release >&2
binaries=$(swift build -c release --show-bin-path)
records=.build/bench
mkdir -p "$records"

# name | workload | arguments | peers
rows='
binary-trees-18|binary-trees|18|go,ocaml,mimalloc
binary-trees-21|binary-trees|21|go,ocaml,mimalloc
gcbench|gcbench|20 18 2000000 4 18|go
lru-cache|lru-cache|5000000 200000 1000000|go,malloc
graph-mutate|graph-mutate|1000000 20000000 8|go
mark-rate-128|mark-rate|128 5 32|go
mark-rate-1024|mark-rate|1024 3 32|go
threads|threads|2 16 10 10000|go,mimalloc
latency-noscan|latency|2000000 200000 1024 noscan map|go
latency-linked|latency|2000000 200000 1024 linked map|go
alloc-micro|alloc-micro|5000000 0 10 both|go,mimalloc
'

while IFS='|' read -r name workload arguments others; do
  [ -n "$name" ] || continue
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  echo "bench: $name" >&2
  python3 "$peers" "$workload" --args "$arguments" --peers "$others" --runs "$runs" \
    --wait-quiet 30 --timeout 900 --extra "heap=$binaries/$workload" \
    --json "$records/$name.json" > "$records/$name.txt" 2>&1 ||
    echo "bench: $name failed; see $records/$name.txt" >&2
done <<< "$rows"

python3 Scripts/bench-table.py "$records"/*.json
