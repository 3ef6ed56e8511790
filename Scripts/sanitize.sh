#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.

# Runs the tests under ThreadSanitizer (data races) and AddressSanitizer (bad addresses, leaks),
# in debug, so that assertions and the lock order are checked at the same time.
#
#     Scripts/sanitize.sh [thread] [address] [--filter REGEX]
#
# Without a name it runs both. Each has a build of its own, .build-tsan and .build-asan: about two
# minutes on two cores when nothing is built yet, then the suite in about two minutes.
#
# Prints each kind of report once, and at the end a line for each sanitizer. Exits with 1 if a test
# failed or anything was reported, by a process that an exit test started as well.

set -uo pipefail
cd "$(dirname "$0")/.."

sanitizers=()
filter=()
while [ $# -gt 0 ]; do
  case "$1" in
    thread | address) sanitizers+=("$1"); shift ;;
    --filter) filter=(--filter "${2:?--filter needs an expression}"); shift 2 ;;
    *) sed -n '5,14p' "$0" | cut -c3- >&2; exit 64 ;;
  esac
done
[ ${#sanitizers[@]} -gt 0 ] || sanitizers=(thread address)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ThreadSanitizer expects programs in certain parts of the address space. A kernel that moves them
# far (more than 28 random bits) may put them elsewhere.
straight=()
if [ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)" -gt 28 ] &&
  setarch "$(uname -m)" -R true 2>/dev/null; then
  straight=(setarch "$(uname -m)" -R)
fi

# Signals are left to the program: exit tests expect to see them. The toolchain's own backtraces
# are off, because the sanitizers' processes are too large for them.
export SWIFT_BACKTRACE=enable=no
signals=handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:handle_abort=0
common="exitcode=66:log_path=$work/report:$signals"
export TSAN_OPTIONS="$common:history_size=4:suppressions=$PWD/Scripts/tsan-suppressions.txt"
# Locals in fake frames: the collector has to find what they refer to.
export ASAN_OPTIONS="$common:detect_stack_use_after_return=1:detect_leaks=1"
export LSAN_OPTIONS="suppressions=$PWD/Scripts/lsan-suppressions.txt:print_suppressions=0"

# The first report of each kind that is in the files, and how many there are of that kind.
show_reports() {
  awk '
    /^(WARNING|ERROR|==[0-9]+==ERROR|==[0-9]+==WARNING|FATAL): / { text = "" }
    { text = text $0 "\n" }
    /^SUMMARY: / { if (!count[$0]++) first[$0] = text; text = "" }
    END { for (kind in first) printf "%s%d of this kind\n\n", first[kind], count[kind] }
  ' "$work"/report.* | sed -E 's/ \(BuildId: [0-9a-f]+\)//' | swift demangle --simplified
}

verdicts=()
failed=0
for sanitizer in "${sanitizers[@]}"; do
  start=$SECONDS
  flags=(--sanitize "$sanitizer" --scratch-path ".build-${sanitizer:0:1}san")
  printf '\n== %s\n' "$sanitizer"
  swift build --build-tests "${flags[@]}" | tail -n 3 || exit 1
  built=$SECONDS
  rm -f "$work"/report.*
  verdict=passed
  "${straight[@]}" swift test --skip-build "${flags[@]}" "${filter[@]}" > "$work/output" 2>&1 ||
    verdict=FAILED
  grep -E '^✘ Test "|✘ Test run|✔ Test run|Fatal error|unexpected signal' "$work/output"
  count=$(cat "$work"/report.* 2>/dev/null | grep -c '^SUMMARY: ')
  if [ "$count" -gt 0 ]; then
    verdict=FAILED
    show_reports
  fi
  [ "$verdict" = passed ] || failed=1
  verdicts+=("$verdict  $sanitizer: $count reports, built in $((built - start)) s, run in $((SECONDS - built)) s")
done
printf '%s\n' "${verdicts[@]}"
exit "$failed"
