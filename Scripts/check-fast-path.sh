#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.

# Disassembles the fast paths of a release build (Tests/FastPathProbe) and fails when one of
# them has another number of instructions than the table below says, or makes a call that the table
# does not allow.
#
#     Scripts/check-fast-path.sh [scratch path, default .build]
#
# The table has a line for each path: the probe, its golden number of instructions, and the calls it
# may make. The number counts every instruction of the function, that of the slow half's call and
# the spills around it included, without padding. Whoever changes a fast path on purpose changes the
# number in the same commit.
#
# A call is anything that leads out of the function: call, jump, conditional jump. One through a
# register or through memory leads nobody knows where. It fails unless the table allows `indirect`.
# No path may call swift_retain, swift_release, swift_beginAccess, swift_once, swift_allocObject,
# swift_getWitnessTable or swift_getGenericMetadata: none of them is in the table.
#
# What a probe does may be in a function of its own, which the compiler has made for the probe's
# types. A line `PROBE/PATTERN` is about the function whose demangled name has PATTERN in it, and
# that the probe calls. `PROBE/PATTERN/PATTERN` goes one step further.
#
# The numbers are those of one compiler on x86-64. Another release of the compiler may be 10 percent
# off, and elsewhere only calls are checked.

set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${1:-.build}
compiler=6.3.1

swift build -c release --scratch-path "$scratch" --product fast-path-probe >&2
binary=$(swift build -c release --scratch-path "$scratch" --show-bin-path)/fast-path-probe
"$binary"

objdump=$(command -v llvm-objdump || command -v objdump) || {
  echo "check-fast-path: neither llvm-objdump (it comes with the toolchain) nor objdump" >&2
  exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$objdump" -d --no-show-raw-insn "$binary" > "$work/code"
"$objdump" -t "$binary" > "$work/symbols"

tolerance=0
if [ "$(uname -m)" != x86_64 ]; then
  tolerance=any
  echo "check-fast-path: the instruction counts are for x86-64; only calls are checked" >&2
elif ! swift --version 2>&1 | grep -qF "Swift version $compiler "; then
  tolerance=10
  echo "check-fast-path: the instruction counts are for Swift $compiler; 10 percent off will do" >&2
fi

failures=0
checks=0

# The instructions of a function, by its symbol, as far as the symbol's size says: a function without a
# symbol may follow.
body_of() {
  local start size end
  read -r start size < <(awk -v f="$1" '$NF == f {
    for (i = NF - 1; i > 1; i--) if ($i ~ /^[0-9a-f]+$/ && length($i) == 16) { print $1, $i; exit }
  }' "$work/symbols") || true
  end=$(printf '%016x' $((16#${start:-0} + 16#${size:-0})))
  awk -v f="<$1>:" -v end="$end" 'index($0, f) { p = 1; next } /^$/ { p = 0 } p {
    address = $1
    sub(/:$/, "", address)
    while (length(address) < 16) address = "0" address
    # The "x" makes them strings.
    if ("x" address >= "x" end) p = 0; else print
  }' "$work/code" | grep -vE '\bnop|data16|int3' || true
}

# The symbols that a body of code leads to outside of the function $1; `indirect` for what is not
# known. On standard input: the body.
calls_from() {
  local own=$1
  grep -E '[[:space:]](notrack )?(call|j[a-z]+|bl?|blr|br|b\.[a-z]+|cbn?z|tbn?z)q?[[:space:]]' |
    sed -E 's/#.*//' |
    awk -v own="$own" '{
      if (match($0, /<[^>]+>/)) {
        name = substr($0, RSTART + 1, RLENGTH - 2)
        sub(/\+0x[0-9a-f]+$/, "", name)
        if ($0 ~ /\*/) name = "indirect"
        if (name != own) print name
      } else print "indirect"
    }' | sort -u
}

# check PATH INSTRUCTIONS CALL…
check() {
  local path=$1 golden=$2
  shift 2
  local symbol=${path%%/*} rest=${path#*/} verdict=passed count=0
  [ "$rest" != "$path" ] || rest=""
  while [ -n "$rest" ] && [ "$verdict" = passed ]; do
    local pattern=${rest%%/*} found="" next
    if [[ "$rest" == */* ]]; then rest=${rest#*/}; else rest=""; fi
    for next in $(body_of "$symbol" | calls_from "$symbol"); do
      case $(swift demangle --compact "$next") in *"$pattern"*) found+="${found:+ }$next" ;; esac
    done
    case $found in
      "") verdict="failed: $symbol calls nothing with $pattern in its name" ;;
      *" "*) verdict="failed: $symbol calls several with $pattern in their names: $found" ;;
      *) symbol=$found ;;
    esac
  done
  if [ "$verdict" = passed ]; then
    local call unexpected="" demangled allowed pattern off
    body_of "$symbol" > "$work/body"
    count=$(grep -c . "$work/body" || true)
    for call in $(calls_from "$symbol" < "$work/body"); do
      demangled=$(swift demangle --compact "${call%@plt}")
      allowed=no
      for pattern in "$@"; do
        case $demangled in *"$pattern"*) allowed=yes ;; esac
      done
      [ "$allowed" = yes ] || unexpected+="${unexpected:+, }$demangled"
    done
    off=$((count > golden ? count - golden : golden - count))
    if [ "$count" -eq 0 ]; then
      verdict="failed: not found in the binary"
    elif [ -n "$unexpected" ]; then
      verdict="failed: calls $unexpected"
    elif [ "$tolerance" != any ] && [ $((off * 100)) -gt $((golden * tolerance)) ]; then
      verdict="failed: $golden instructions is what the table says; if the change is meant, change it"
    fi
  fi
  checks=$((checks + 1))
  printf '%-45s %3d instructions  %s\n' "$path" "$count" "$verdict"
  case $verdict in failed*) failures=$((failures + 1)) ;; esac
}

# Objects.
check probe_allocate 27 allocateSlow
# Arrays: of bytes, of references.
check probe_allocate_array 7 allocateArray
check probe_allocate_array/allocateArray 97 changeRun arraySlotSlow fillInPieces memset
check probe_allocate_references 6 allocateArray
check probe_allocate_references/allocateArray 128 changeRun arraySlotSlow fillInPieces checkSlow \
  instantiateConcreteType
# Bytes and text: first the slot, then what goes into it.
check probe_allocate_bytes 9 allocateBytes
check probe_allocate_bytes/allocateBytes 77 changeRun arraySlotSlow HeapMutator.copy
check probe_allocate_bytes/allocateBytes/HeapMutator.copy 29 memmove wrongCount
check probe_allocate_string 8 allocateText
check probe_allocate_string/allocateText 87 changeRun arraySlotSlow HeapMutator.copy UTF8View._foreignCount
# The calls but for memmove and memcpy are for strings that are not native, and before a trap.
check probe_allocate_string/allocateText/HeapMutator.copy 166 memmove memcpy wrongCount \
  tooManyElements UTF8View._foreign _slowEnsureMatchingEncoding sharedUTF8 \
  swift_bridgeObjectRetain
# Buffers: the metatype of the pair of types costs a call that is a load and a test.
check probe_allocate_buffer 10 allocateBuffer
check probe_allocate_buffer/allocateBuffer 143 changeRun bufferSlotSlow fillInPieces checkSlow \
  instantiateConcreteType
check probe_buffer_store 38 recordReference recordSlow indexOutOfRange
check probe_buffer_load 10 indexOutOfRange
check probe_header_store 32 recordReference recordSlow
check probe_header_increment 5
check probe_allocate_contents 8 allocateArray
check probe_allocate_contents/allocateArray 63 changeRun arraySlotSlow checkSlow instantiateConcreteType
# Fields.
check probe_store_reference 31 recordReference recordSlow
check probe_store_pair 30 recordSlow
check probe_store_choice 29 recordSlow
check probe_store_table 89 storeSlow stack_chk_fail
check probe_load_reference 5
check probe_increment 5
# Elements of arrays, and of inline arrays in objects.
check probe_array_sum 38 indexOutOfRange
check probe_array_store 38 recordReference recordSlow indexOutOfRange
check probe_store_element 37 recordReference recordSlow indexOutOfRange
check probe_load_element 9 indexOutOfRange
# Values of a dynamic language. Storing is as with references, but for the address of the field and the
# index of the element.
check probe_store_value 32 recordReference recordSlow
check probe_load_value 5
check probe_value_array_store 41 recordReference recordSlow indexOutOfRange
check probe_add_values 20
check probe_value_as 25
check probe_box_double 22 allocateSlow
# Lists and dictionaries. Looking for a number asks the standard library for its hash.
check probe_list_load 11 indexOutOfRange
check probe_list_append 60 HeapList.grow recordReference recordSlow
check probe_list_sum 37
check probe_dictionary_find 7 HeapDictionary.subscript
check probe_dictionary_find/HeapDictionary.subscript 55 Hasher._hash damaged
check probe_safepoint 9 safepointSlow

echo "$((checks - failures)) passed, $failures failed"
[ "$failures" -eq 0 ]
