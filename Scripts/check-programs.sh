#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.

# Runs each example and benchmark once on small input and compares its result with what the
# same program prints in Go: once as it is, once verifying everything (HEAP_CHECK=1), and once
# with stress on top of that.
#
#     Scripts/check-programs.sh [scratch path, default .build]

set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${1:-.build}

swift build -c release --scratch-path "$scratch" >&2
bin=$(swift build -c release --scratch-path "$scratch" --show-bin-path)

passed=0
failed=0

# run EXPECTED PROGRAM ARGUMENT…, under the settings in the environment
run() {
  local expected="checksum $1" output
  # An interpreter prints what a script is worth.
  if [ "$2" = lisp ]; then expected=$1; fi
  shift
  output=$("$bin/$1" "${@:2}" 2>/dev/null | head -n 1 || true)
  if [ "$output" = "$expected" ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "failed: ${HEAP_CHECK:+HEAP_CHECK=$HEAP_CHECK }${HEAP_STRESS:+HEAP_STRESS=$HEAP_STRESS }$*"
    echo "  expected $expected, got: $output"
  fi
}

# check EXPECTED PROGRAM ARGUMENT…
check() {
  run "$@"
  HEAP_CHECK=1 run "$@"
  for seed in 1 2; do
    HEAP_CHECK=1 HEAP_STRESS="collect=2000,buffer=4,delay=30,seed=$seed" run "$@"
  done
}

check 788960654 binary-trees 12
check 221319269 gcbench 12 10 20000 4 10
check 764125125 lru-cache 100000 5000 20000
check 6168944 alloc-micro 20000 0 10 both
check 404214634 graph-mutate 5000 100000 8
check 1023151648 latency 40000 4000 256 noscan map
check 65050144 latency 40000 4000 128 linked ring
check 451533365 mark-rate 2 2 32
check 940858401 mark-rate 2 2 64
check 753718291 threads 2 8 8 300
check 46368 lisp Examples/lisp/programs/fib.lisp
check 42 lisp Examples/lisp/programs/closures.lisp
# growth is this package's alone. Stress takes too long for what allocates millions of objects.
check 326065152 growth scattered 2 2
check 87883648 growth allocate 2 2
for settings in "" 1; do
  HEAP_CHECK=$settings run 935121376 growth minor 2 2
  HEAP_CHECK=$settings run 443465984 growth types 100 1
  HEAP_CHECK=$settings run 260304771 growth threads 8 1
done

json=$(mktemp)
trap 'rm -f "$json" "$json.expected" "$json.actual"' EXIT
python3 - "$json" <<'PYTHON'
import json, random, sys
random.seed(1)
def value(depth):
    kind = random.randrange(6 if depth < 6 else 4)
    if kind == 0: return random.choice([None, True, False])
    if kind == 1: return random.randrange(-10**6, 10**6) / random.choice([1, 8])
    if kind < 4: return "".join(chr(random.choice([65, 233, 0x4e2d, 0x1f600, 10, 34])) for _ in range(random.randrange(12)))
    if kind == 4: return [value(depth + 1) for _ in range(random.randrange(9))]
    return {str(random.random()): value(depth + 1) for _ in range(random.randrange(9))}
json.dump([value(0) for _ in range(4000)], open(sys.argv[1], "w"))
PYTHON
python3 Examples/json-tree/compare.py "$json" > "$json.expected"
for settings in "HEAP_CHECK=off" "HEAP_CHECK=1"; do
  [ "$settings" = "HEAP_CHECK=off" ] && unset HEAP_CHECK || export HEAP_CHECK=1
  "$bin/json-tree" "$json" > "$json.actual" 2>/dev/null || true
  if cmp -s "$json.expected" "$json.actual"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "failed: json-tree ($settings)"
    diff "$json.expected" "$json.actual" | head -n 10 || true
  fi
done
unset HEAP_CHECK

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
