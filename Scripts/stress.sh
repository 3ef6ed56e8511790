#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.
#
# Runs the shadow model (Tests/MutatorTests/ShadowModelTests.swift) in release, for several
# seeds under several kinds of stress, with and without checks.
#
#   Scripts/stress.sh [--operations N] [--threads N] [--seeds "1 2 3"] [--timeout SECONDS]
#
# Prints a line for each run, the output of each that failed, and at the end
# "N passed, N failed". Exits with 1 if any failed. 20,000,000 operations are a few minutes a
# run; the default, 1,000,000, is some seconds.

set -u
cd "$(dirname "$0")/.."
operations=1000000
threads=4
seeds="1 2 3"
limit=1800
while [ $# -gt 0 ]; do
  case "$1" in
    --operations) operations=$2; shift 2 ;;
    --threads) threads=$2; shift 2 ;;
    --seeds) seeds=$2; shift 2 ;;
    --timeout) limit=$2; shift 2 ;;
    *) sed -n '5,13p' "$0" | cut -c3- >&2; exit 64 ;;
  esac
done

# stress | HEAP_CHECK | share of the operations, in percent (checks cost a lot)
settings=(
  "|0|100"
  "delay=100|0|30"
  "buffer=2|0|100"
  "collect=200|0|100"
  "minor=7|0|100"
  "collect=100,minor=3|0|100"
  "collect=50,buffer=4,delay=50|0|10"
  "|1|10"
  "collect=300,minor=5,buffer=8|1|10"
  "collect=500,buffer=8,delay=20|1|5"
)

swift build -c release --build-tests ${SWIFT_BUILD_FLAGS:-} || exit 1
passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for seed in $seeds; do
  for setting in "${settings[@]}"; do
    IFS='|' read -r stress check share <<< "$setting"
    count=$((operations * share / 100))
    name="seed=$seed threads=$threads operations=$count stress=${stress:-none} check=$check"
    start=$SECONDS
    if env HEAP_TEST_SEED="$seed" HEAP_TEST_THREADS="$threads" HEAP_TEST_OPERATIONS="$count" \
      HEAP_STRESS="${stress:+$stress,seed=$seed}" HEAP_CHECK="$check" timeout "$limit" \
      swift test -c release --skip-build ${SWIFT_BUILD_FLAGS:-} \
      --filter 'ShadowModelTests/configured' > "$log" 2>&1; then
      passed=$((passed + 1))
      echo "passed  $name  ($((SECONDS - start)) s)"
    else
      failed=$((failed + 1))
      echo "FAILED  $name  ($((SECONDS - start)) s)"
      grep -v '^\[' "$log" | tail -n 40
    fi
  done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
