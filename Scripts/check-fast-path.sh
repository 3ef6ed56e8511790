#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.

# Disassembles the fast paths of a release build (Tests/FastPathProbe) and fails when one of
# them calls into the Swift runtime or has grown.
#
#     Scripts/check-fast-path.sh [scratch path, default .build]
#
# For each probe: how many instructions it may have, the slow half included (its call and
# the spills around it), and which calls it may make. No probe may call swift_retain,
# swift_release, swift_beginAccess, swift_once, swift_allocObject, swift_getWitnessTable or
# swift_getGenericMetadata: none of them is in a list below.

set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${1:-.build}

swift build -c release --scratch-path "$scratch" --product fast-path-probe >&2
binary=$(swift build -c release --scratch-path "$scratch" --show-bin-path)/fast-path-probe
"$binary"

objdump=$(command -v llvm-objdump || command -v objdump) || {
  echo "check-fast-path: neither llvm-objdump (it comes with the toolchain) nor objdump" >&2
  exit 2
}
if [ "$(uname -m)" != x86_64 ]; then
  echo "check-fast-path: the instruction counts are for x86-64; only calls are checked" >&2
fi

failures=0
checks=0

# check NAME MOST-INSTRUCTIONS CALL…
check() {
  local name=$1 most=$2
  shift 2
  local body
  body=$("$objdump" -d --no-show-raw-insn "$binary" \
    | awk -v f="<$name>:" 'index($0, f) { p = 1; next } /^$/ { p = 0 } p' \
    | grep -vE '\bnop|data16|int3' || true)
  local count calls unexpected=""
  count=$(printf '%s\n' "$body" | grep -c . || true)
  calls=$(printf '%s\n' "$body" | grep -E '\b(call|callq|jmp|jmpq|bl|b)\b' \
    | grep -oE '<[^>+]+(@plt)?>' | tr -d '<>' | grep -v "^$name" | sort -u || true)
  for call in $calls; do
    local demangled allowed=no
    demangled=$(swift demangle --compact "$call")
    for pattern in "$@"; do
      case $demangled in *"$pattern"*) allowed=yes ;; esac
    done
    [ "$allowed" = yes ] || unexpected+=" $demangled"
  done
  checks=$((checks + 1))
  local verdict=passed
  [ "$count" -gt 0 ] || verdict="failed: not found in the binary"
  if [ "$(uname -m)" = x86_64 ] && [ "$count" -gt "$most" ]; then
    verdict="failed: more than $most instructions"
  fi
  [ -z "$unexpected" ] || verdict="failed: calls$unexpected"
  printf '%-24s %3d instructions  %s\n' "$name" "$count" "$verdict"
  case $verdict in failed*) failures=$((failures + 1)) ;; esac
}

check probe_allocate 40 allocateSlow
# Arrays are allocated in a function for each element type, here bytes and references.
array='$s7Mutator04HeapA0V13allocateArray2of5count9repeatingAA0bD0VyxGxm_SixtlF'
check "${array}s5UInt8V_Ttg5" 97 changeRun arraySlotSlow fillInPieces memset
check "${array}AA0B3RefVy15fast_path_probe4NodeVGSg_Ttg5" 128 changeRun arraySlotSlow fillInPieces \
  checkSlow instantiateConcreteType
check probe_store_reference 31 recordReference recordSlow
check probe_store_pair 42 recordSlow
check probe_store_choice 37 recordSlow
check probe_store_table 94 storeSlow stack_chk_fail
check probe_load_reference 5
check probe_increment 5
check probe_safepoint 9 safepointSlow
check probe_array_sum 60 indexOutOfRange
check probe_array_store 38 recordReference recordSlow indexOutOfRange
check probe_store_element 37 recordReference recordSlow indexOutOfRange
check probe_load_element 9 indexOutOfRange

echo "$((checks - failures)) passed, $failures failed"
[ "$failures" -eq 0 ]
