#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.

# Runs the tests in each mode that a heap can be put into by its environment. A test's heap is as the
# environment says, but for what the test sets itself (HeapCheck.heap, HeapFixture).
#
#     Scripts/check-modes.sh [--configuration release|debug] [--filter REGEX] [MODE...]
#
# Modes, all of them by default:
#
#     full      HEAP_GENERATIONS=off: every collection is a full one
#     minor     HEAP_STRESS=minor=3: three minor collections for each full one
#     checked   HEAP_CHECK=1
#     stressed  HEAP_CHECK=1, a collection at every 50th allocation, two of three of them minor
#               ones, and barrier buffers of four entries
#
# Prints a line for each mode, the failures before it, and at the end "N passed, N failed". The log of
# a mode that failed is kept in .build/modes. A failure of a random test says the seed
# (HEAP_TEST_SEED). On two cores the four take a minute in release. In debug, checked takes four
# minutes and stressed longer: each cycle verifies all objects.

set -uo pipefail
cd "$(dirname "$0")/.."

configuration=release
filter=()
modes=()
while [ $# -gt 0 ]; do
  case "$1" in
    --configuration) configuration=${2:?--configuration needs debug or release}; shift 2 ;;
    --filter) filter=(--filter "${2:?--filter needs an expression}"); shift 2 ;;
    full | minor | checked | stressed) modes+=("$1"); shift ;;
    *) sed -n '5,21p' "$0" | cut -c3- >&2; exit 64 ;;
  esac
done
[ ${#modes[@]} -gt 0 ] || modes=(full minor checked stressed)

swift build -c "$configuration" --build-tests | tail -n 1 || exit 1
mkdir -p .build/modes
passed=0
failed=0
for mode in "${modes[@]}"; do
  case $mode in
    full) settings=(HEAP_GENERATIONS=off) ;;
    minor) settings=(HEAP_STRESS=minor=3) ;;
    checked) settings=(HEAP_CHECK=1) ;;
    stressed) settings=(HEAP_CHECK=1 HEAP_STRESS=collect=50,buffer=4,minor=2) ;;
  esac
  log=.build/modes/$mode-$configuration.log
  start=$SECONDS
  if env "${settings[@]}" swift test -c "$configuration" --skip-build "${filter[@]}" \
    > "$log" 2>&1 && grep -q 'Test run with [1-9]' "$log"; then
    passed=$((passed + 1))
    verdict=passed
    rm "$log"
  else
    failed=$((failed + 1))
    verdict=FAILED
    grep -aE '^✘ Test "?.* recorded an issue|Fatal error|unexpected signal|HEAP_TEST_SEED' "$log"
  fi
  echo "$verdict  $mode: ${settings[*]} ($configuration, $((SECONDS - start)) s)"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
