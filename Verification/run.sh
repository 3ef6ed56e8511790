#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part of swift-managed-heap. See LICENSE.
#
# Checks the models of the collection protocol: every configuration, and every switch that leaves a rule out.
#
#     Verification/run.sh              everything: within 30 minutes on two cores and 16 GB
#     Verification/run.sh --quick      what CI runs: under 2 minutes on two cores
#     Verification/run.sh PATTERN      the runs whose names match a shell pattern (with either of the above)
#
# It needs `spin` (Debian: apt-get install spin) and a C compiler, and installs nothing. JOBS=1 runs one at a
# time; CC names the compiler; KEEP=directory keeps the searches with their trails, to be replayed there with
#
#     spin -p -g -l -k MODEL.pml.trail DEFINES MODEL.pml
#
# A run is expected to be `clean` (no counterexample, searched whole), to find an `error` (a violated assertion or
# a cycle), or to find a `deadlock`. Anything else fails: a `clean` run that hits a limit of time or memory, and
# above all a switch that finds nothing. Then the model does not see what the rule is for.
set -u
cd "$(dirname "$0")" || exit 1

quick=0
pattern='*'
for argument in "$@"; do
  case $argument in
    --quick) quick=1 ;;
    -*) sed -n '5,20s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) pattern=$argument ;;
  esac
done

CC=${CC:-cc}
missing=0
command -v spin >/dev/null || { echo "missing: spin (Debian, Ubuntu: apt-get install spin)"; missing=1; }
command -v "$CC" >/dev/null || { echo "missing: a C compiler as $CC (Debian, Ubuntu: apt-get install gcc)"; missing=1; }
command -v timeout >/dev/null || { echo "missing: timeout (coreutils)"; missing=1; }
[ $missing = 0 ] || exit 1

# Bounds of one run: seconds, and megabytes (two at a time fit into 16 GB).
SECONDS_EACH=${SECONDS_EACH:-600}
MEGABYTES=${MEGABYTES:-6500}
JOBS=${JOBS:-2}

# tier   name   model   mode   expected   defines
#
# mode: safety  assertions and deadlocks;  progress  non-progress cycles under weak fairness;  ltl  the model's formula
# under weak fairness.
table() {
  cat <<'TABLE'
quick  handshake/two                     handshake  safety    clean
quick  handshake/count-last              handshake  safety    clean    COUNT_LAST
quick  handshake/goes-on                 handshake  progress  clean
quick  handshake/nobody-waits            handshake  ltl       clean    STUCK
full   handshake/three                   handshake  safety    clean    NM=3 STAY
quick  handshake/blind-enter             handshake  progress  error    BLIND_ENTER
quick  handshake/leave-unserved          handshake  safety    error    LEAVE_UNSERVED
quick  handshake/ignore-request          handshake  progress  error    IGNORE_REQUEST
quick  handshake/answer-backwards        handshake  progress  error    ANSWER_BACKWARDS
quick  handshake/sync-unposted           handshake  safety    error    SYNC_UNPOSTED
quick  handshake/pool-first              handshake  safety    error    POOL_FIRST
quick  handshake/take-unserved           handshake  safety    error    TAKE_UNSERVED
quick  handshake/retire-unlocked         handshake  safety    error    RETIRE_UNLOCKED
quick  handshake/early-adopt             handshake  safety    error    EARLY_ADOPT
quick  handshake/unlocked-post           handshake  safety    error    UNLOCKED_POST
quick  handshake/lost-wake               handshake  progress  error    LOST_WAKE
quick  handshake/no-wake                 handshake  progress  error    NO_WAKE
quick  handshake/awaited-first           handshake  progress  error    AWAITED_FIRST
quick  handshake/forget-waiter           handshake  ltl       error    STUCK FORGET_WAITER
quick  handshake/hold-lock               handshake  ltl       error    STUCK HOLD_LOCK
quick  park/two-heaps                    park       safety    clean    ROUNDS=1
full   park/two-rounds                   park       safety    clean
quick  park/many-verifiers               park       safety    deadlock ROUNDS=1 MANY_VERIFIERS
quick  park/wait-running                 park       safety    deadlock ROUNDS=1 WAIT_RUNNING
quick  park/park-unclaimed               park       safety    error    ROUNDS=1 PARK_UNCLAIMED
quick  marking/one-mutator               marking    safety    clean    NM=1 OLD=2 FINE
quick  marking/one-allocates             marking    safety    clean    NM=1 OLD=1 FRESH=1 FINE
quick  marking/two-mutators              marking    safety    clean    NM=2 OLD=1 FINE
quick  marking/attach                    marking    safety    clean    NM=2 OLD=1 EAGER FINE ATTACH
quick  marking/runs                      marking    safety    clean    NM=2 OLD=1 FRESH=2 EAGER STORELESS STALE ATTACH
quick  marking/weak                      marking    safety    clean    NM=1 OLD=2 EAGER FINE WEAK
quick  marking/assist                    marking    safety    clean    NM=2 OLD=2 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES
quick  marking/assist-whole              marking    safety    clean    NM=2 OLD=1 EAGER FINE ASSIST
quick  marking/own-stack                 marking    safety    clean    NM=1 OLD=2 FINE OWN_STACK
quick  marking/own-stack-assist          marking    safety    clean    NM=2 OLD=1 EAGER FINE ASSIST OWN_STACK
quick  marking/own-stack-chain           marking    safety    clean    NM=2 OLD=2 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES OWN_STACK
quick  marking/look-again                marking    safety    clean    NM=2 OLD=2 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES LOOK_AGAIN
quick  marking/assist-runs               marking    safety    clean    NM=2 OLD=1 FRESH=1 EAGER STORELESS STALE ASSIST
quick  marking/ambiguous                 marking    safety    clean    NM=1 OLD=2 EAGER FINE AMBIGUOUS
quick  marking/garbage                   marking    safety    clean    NM=1 OLD=2 GARBAGE
quick  marking/ends                      marking    ltl       clean    NM=2 OLD=1 EAGER POLLS ASSIST
full   marking/two-allocate              marking    safety    clean    NM=2 OLD=1 FRESH=1 EAGER
full   marking/one-three-objects         marking    safety    clean    NM=1 OLD=2 FRESH=1 EAGER FINE
full   marking/two-mutators-two          marking    safety    clean    NM=2 OLD=2 EAGER
full   marking/two-fine                  marking    safety    clean    NM=2 OLD=2 EAGER FINE BLACK_START
full   marking/three-in-a-chain          marking    safety    clean    NM=2 OLD=3 EAGER FINE BLACK_START CHAIN FEW_STORES
full   marking/two-weak                  marking    safety    clean    NM=2 OLD=2 EAGER WEAK BLACK_START
full   marking/roots                     marking    safety    clean    NM=1 OLD=2 EAGER FINE DROPPER
full   marking/weak-attach               marking    safety    clean    NM=2 OLD=1 EAGER FINE WEAK ATTACH
full   marking/assist-one                marking    safety    clean    NM=1 OLD=2 EAGER FINE ASSIST
full   marking/assist-three              marking    safety    clean    NM=2 OLD=3 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES
full   marking/look-again-three          marking    safety    clean    NM=2 OLD=3 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES LOOK_AGAIN
full   marking/assist-three-after        marking    safety    clean    NM=2 OLD=3 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES NOTE_AFTER
full   marking/own-stack-two             marking    safety    clean    NM=2 OLD=2 EAGER FINE BLACK_START OWN_STACK
full   marking/own-stack-three           marking    safety    clean    NM=2 OLD=3 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES OWN_STACK
full   marking/own-stack-three-after     marking    safety    clean    NM=2 OLD=3 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES OWN_STACK NOTE_AFTER
full   marking/assist-two                marking    safety    clean    NM=2 OLD=2 EAGER FINE ASSIST BLACK_START
full   marking/two-ambiguous             marking    safety    clean    NM=2 OLD=2 EAGER AMBIGUOUS BLACK_START
quick  marking/one-sync                  marking    safety    error    NM=2 OLD=1 ONE_SYNC
quick  marking/no-deletion               marking    safety    error    NM=1 OLD=1 NO_DELETION
full   marking/no-insertion              marking    safety    error    NM=2 OLD=1 FRESH=1 EAGER NO_INSERTION
quick  marking/black-early               marking    safety    error    NM=1 OLD=1 FRESH=1 BLACK_EARLY
quick  marking/trace-early               marking    safety    error    NM=2 OLD=1 FRESH=1 EAGER STORELESS STALE TRACE_EARLY
quick  marking/assist-early              marking    safety    error    NM=2 OLD=1 FRESH=1 EAGER STORELESS STALE ASSIST ASSIST_EARLY
quick  marking/no-flush                  marking    safety    error    NM=1 OLD=1 NO_FLUSH
full   marking/no-confirm                marking    safety    error    NM=2 OLD=2 EAGER FINE BLACK_START NO_CONFIRM
full   marking/reset-between             marking    safety    error    NM=2 OLD=3 EAGER FINE BLACK_START CHAIN FEW_STORES RESET_BETWEEN
quick  marking/no-note                   marking    safety    error    NM=2 OLD=2 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES NO_NOTE
quick  marking/note-before               marking    safety    error    NM=2 OLD=3 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES NOTE_BEFORE
quick  marking/first-note                marking    safety    error    NM=2 OLD=2 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES LOOK_AGAIN NOTE_AFTER
quick  marking/note-always               marking    ltl       error    NM=2 OLD=1 EAGER POLLS ASSIST NOTE_ALWAYS
quick  marking/late-marks                marking    safety    error    NM=1 OLD=2 EAGER AMBIGUOUS LATE_MARKS
quick  marking/late-flush                marking    safety    error    NM=1 OLD=2 EAGER FINE AMBIGUOUS LATE_FLUSH
quick  marking/lose-buffer               marking    safety    error    NM=2 OLD=1 EAGER ATTACH LOSE_BUFFER
quick  marking/white-attach              marking    safety    error    NM=2 OLD=1 FRESH=1 EAGER STORELESS ATTACH WHITE_ATTACH
quick  marking/give-back                 marking    safety    error    NM=2 OLD=1 FRESH=1 EAGER STORELESS ATTACH GIVE_BACK
quick  marking/no-shaded-lookup          marking    safety    error    NM=1 OLD=1 EAGER WEAK NO_SHADED_LOOKUP
quick  marking/unlocked-end              marking    safety    error    NM=1 OLD=2 EAGER WEAK UNLOCKED_END
quick  marking/no-root-shade             marking    safety    error    NM=1 OLD=1 EAGER DROPPER NO_ROOT_SHADE
quick  marking/roots-late                marking    safety    error    NM=1 OLD=1 EAGER DROPPER ROOTS_LATE
quick  marking/minor-one                 marking    safety    clean    NM=1 OLD=2 FINE MINOR
quick  marking/minor-two                 marking    safety    clean    NM=2 OLD=1 FINE MINOR
quick  marking/minor-closed              marking    safety    clean    NM=1 OLD=2 MINOR CLOSED
quick  marking/minor-runs                marking    safety    clean    NM=2 OLD=1 FRESH=2 EAGER STORELESS STALE ATTACH MINOR
quick  marking/minor-assist              marking    safety    clean    NM=2 OLD=2 EAGER FINE ASSIST BLACK_START CHAIN FEW_STORES MINOR
full   marking/minor-two-two             marking    safety    clean    NM=2 OLD=2 EAGER MINOR
full   marking/minor-two-allocate        marking    safety    clean    NM=2 OLD=1 FRESH=1 EAGER MINOR
full   marking/minor-two-closed          marking    safety    clean    NM=2 OLD=2 EAGER BLACK_START MINOR CLOSED
quick  marking/no-cards                  marking    safety    error    NM=1 OLD=2 MINOR NO_CARDS
quick  marking/cards-take                marking    safety    error    NM=2 OLD=1 FRESH=1 EAGER STORELESS STALE MINOR CARDS_TAKE
quick  generations/one-mutator           generations safety   clean    NM=1
quick  generations/two-mutators          generations safety   clean    N=1
quick  generations/two-few-stores        generations safety   clean    EAGER FEW_STORES
quick  generations/other-heap            generations safety   clean    NM=1 OTHER
quick  generations/attach                generations safety   clean    EAGER FEW_STORES ATTACH
quick  generations/ambiguous             generations safety   clean    NM=1 AMBIGUOUS
quick  generations/garbage               generations safety   clean    NM=1 GARBAGE
quick  generations/copy                  generations safety   clean    N=1 COPY
quick  generations/copy-after            generations safety   clean    N=1 COPY COPY_AFTER
full   generations/two-and-two           generations safety   clean
full   generations/two-ambiguous         generations safety   clean    EAGER AMBIGUOUS
full   generations/two-copy              generations safety   clean    EAGER COPY
full   generations/one-three-objects     generations safety   clean    NM=1 N=3 EAGER
full   generations/two-three-objects     generations safety   clean    N=3 EAGER FEW_STORES
full   generations/cards-between         generations safety   clean    EAGER CARDS_BETWEEN
full   generations/cards-late            generations safety   clean    EAGER CARDS_LATE
full   generations/scan-then-clear       generations safety   clean    EAGER SCAN_THEN_CLEAR
full   generations/card-always           generations safety   clean    EAGER ALL_CARD SCAN_THEN_CLEAR
full   generations/due-at-birth          generations safety   clean    EAGER DUE_AT_BIRTH
quick  generations/clear-under-flag      generations safety   clean    EAGER FEW_STORES CLEAR_UNDER_FLAG
quick  generations/store-no-card         generations safety   error    NM=1 EAGER UNVERIFIED STORE_NO_CARD
quick  generations/cards-early           generations safety   error    NM=1 EAGER UNVERIFIED CARDS_EARLY
quick  generations/other-no-card         generations safety   error    NM=1 EAGER UNVERIFIED OTHER OTHER_NO_CARD
quick  generations/keep-marks            generations safety   error    NM=1 EAGER UNVERIFIED KEEP_MARKS
quick  generations/clear-late            generations safety   error    EAGER FEW_STORES UNVERIFIED CLEAR_LATE
quick  generations/born-old              generations safety   error    EAGER FEW_STORES UNVERIFIED BORN_OLD
quick  generations/attach-paid           generations safety   error    EAGER FEW_STORES UNVERIFIED ATTACH ATTACH_PAID
quick  generations/copy-twice            generations safety   error    N=1 UNVERIFIED COPY COPY_TWICE
quick  generations/copy-card             generations safety   error    N=1 UNVERIFIED COPY COPY_TWICE COPY_CARD
quick  generations/no-off                generations safety   error    EAGER FEW_STORES NO_OFF
quick  weak/one-mutator                  weak       safety    clean    NM=1 CYCLES=3
quick  weak/ambiguous                    weak       safety    clean    NM=1 AMBIGUOUS
quick  weak/cleanup                      weak       safety    clean    NM=1 CLEANUP CYCLES=3
quick  weak/ephemeron                    weak       safety    clean    NM=1 EPHEMERON
quick  weak/garbage                      weak       safety    clean    NM=1 EPHEMERON GARBAGE
full   weak/two-mutators                 weak       safety    clean
full   weak/two-ambiguous                weak       safety    clean    AMBIGUOUS
full   weak/two-cleanup                  weak       safety    clean    CLEANUP
full   weak/two-ephemeron                weak       safety    clean    EPHEMERON CELLESS FEW_ENTRIES
quick  weak/no-end                       weak       safety    error    NO_END
quick  weak/no-shaded-lookup             weak       safety    error    NO_SHADED_LOOKUP
quick  weak/idle-late                    weak       safety    error    NM=1 IDLE_LATE
quick  weak/no-settle                    weak       safety    error    NO_SETTLE
quick  weak/settle-early                 weak       safety    error    SETTLE_EARLY
quick  weak/settle-late                  weak       safety    error    SETTLE_LATE
quick  weak/frozen                       weak       safety    error    FROZEN
quick  weak/late-marks                   weak       safety    error    AMBIGUOUS LATE_MARKS
quick  weak/cells-old                    weak       safety    error    NM=1 CELLS_OLD
full   weak/born-settled                 weak       safety    error    BORN_SETTLED
quick  weak/queue-early                  weak       safety    error    NM=1 CLEANUP QUEUE_EARLY
quick  weak/no-pass                      weak       safety    error    NM=1 EPHEMERON NO_PASS
quick  weak/pass-first                   weak       safety    error    NM=1 EPHEMERON PASS_FIRST
quick  weak/no-record                    weak       safety    error    NM=1 EPHEMERON NO_RECORD
quick  weak/no-empty                     weak       safety    error    NM=1 EPHEMERON NO_EMPTY
quick  weak/box-no-card                  weak       safety    error    NM=1 EPHEMERON BOX_NO_CARD
quick  weak/strong-value                 weak       safety    error    NM=1 EPHEMERON GARBAGE STRONG_VALUE
quick  sweep/two-mutators                sweep      safety    clean    SLOTS=1
quick  sweep/early                       sweep      safety    clean    SLOTS=1 EARLY_SWEEP
quick  sweep/keep-allowed-named          sweep      safety    clean    SLOTS=1 KEEP_ALLOWED
quick  sweep/name-unchecked              sweep      safety    clean    SLOTS=1 NAME_UNCHECKED
quick  sweep/sweep-all                   sweep      safety    clean    SLOTS=1 SWEEP_ALL
quick  sweep/stale-retire                sweep      safety    clean    SLOTS=1 STALE RETIRE
quick  sweep/checked                     sweep      safety    clean    SLOTS=1 CHECKED
quick  sweep/ends                        sweep      ltl       clean    SLOTS=1 CYCLES=1 STARVE
full   sweep/ends-twice                  sweep      ltl       clean    SLOTS=1 STARVE
full   sweep/two-slots                   sweep      safety    clean
full   sweep/two-slots-stale-retire      sweep      safety    clean    NM=1 STALE RETIRE
full   sweep/buffer-dropper              sweep      safety    clean    NM=1 BUFFER DROPPER
full   sweep/three-cycles                sweep      safety    clean    SLOTS=1 CYCLES=3 STALE RETIRE
quick  sweep/no-finish                   sweep      safety    error    SLOTS=1 NO_FINISH
quick  sweep/no-finish-wait              sweep      safety    error    SLOTS=1 NO_FINISH_WAIT
quick  sweep/no-reread                   sweep      safety    error    SLOTS=1 NO_REREAD
quick  sweep/wait-first                  sweep      ltl       error    SLOTS=1 CYCLES=1 STARVE WAIT_FIRST
quick  sweep/free-index-first            sweep      safety    error    SLOTS=1 CHECKED FREE_INDEX_FIRST
quick  sweep/no-off                      sweep      safety    error    SLOTS=1 NO_OFF
quick  sweep/no-return-wait              sweep      safety    error    SLOTS=1 NO_RETURN_WAIT
quick  sweep/keep-allowed                sweep      safety    error    SLOTS=1 KEEP_ALLOWED NAME_UNCHECKED
quick  sweep/no-touch                    sweep      safety    error    SLOTS=1 NO_TOUCH
quick  sweep/clear-first                 sweep      safety    error    SLOTS=1 CLEAR_FIRST
quick  sweep/clear-late                  sweep      safety    error    SLOTS=1 CLEAR_LATE
quick  sweep/no-clear                    sweep      safety    error    SLOTS=1 NO_CLEAR
quick  sweep/keep-spans                  sweep      safety    error    SLOTS=1 KEEP_SPANS
quick  sweep/stay-black                  sweep      safety    error    SLOTS=1 STAY_BLACK
quick  sweep/heap-generation             sweep      safety    error    SLOTS=1 HEAP_GENERATION
quick  sweep/keep-marks                  sweep      safety    error    SLOTS=1 KEEP_MARKS
quick  sweep/give-back                   sweep      safety    error    SLOTS=1 STALE RETIRE GIVE_BACK
quick  sweep/collect-late                sweep      safety    error    SLOTS=1 STALE RETIRE COLLECT_LATE
quick  sweep/keep-buffer                 sweep      safety    error    SLOTS=1 BUFFER KEEP_BUFFER
quick  sweep/roots-mark-on               sweep      safety    error    SLOTS=1 DROPPER ROOTS_MARK_ON
quick  sweep/own-attach                  sweep      safety    error    SLOTS=1 RETIRE OWN_ATTACH
TABLE
}

work=${KEEP:-$(mktemp -d)} || exit 1
mkdir -p "$work"
: >"$work/results"
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT

# One run; prints one line, which begins with pass or FAIL.
one() {
  local tier=$1 name=$2 model=$3 mode=$4 expected=$5 defines=$6
  local directory=$work/$name flags=() options compile=() define
  # Small searches take less time than an optimising compiler.
  local level=-O2
  options=(-w24)
  if [ "$tier" = quick ]; then
    options=(-w21)
    level=-O1
    [ "$expected" = clean ] || level=-O0
  fi
  for define in $defines; do flags+=("-D$define"); done
  # The longest path without a repeated state: with three mutators and no end to the handshakes it is very long.
  # So it is with cycles that follow each other for ever.
  case $tier-$model-$defines in
    *NM=3*) options+=(-m30000000) ;;
    full-generations-*) options+=(-m6000000) ;;
    *) options+=(-m1500000) ;;
  esac
  case $mode in
    safety) compile=(-DSAFETY -DNOFAIR) ;;
    progress) compile=(-DNP -DNFAIR=3); options+=(-l -f) ;;
    ltl) compile=(-DNFAIR=3); options+=(-a -f) ;;
  esac
  mkdir -p "$directory"
  cp "$model.pml" "$directory/" || return
  cd "$directory" || return
  local verdict seen states took start=$SECONDS
  if ! spin -a "${flags[@]+"${flags[@]}"}" "$model.pml" >spin.txt 2>&1; then
    verdict=broken; sed -n 1,3p spin.txt
  elif ! "$CC" $level -w -DCOLLAPSE "-DMEMLIM=$MEGABYTES" "${compile[@]}" -o pan pan.c >cc.txt 2>&1; then
    verdict=broken; sed -n 1,3p cc.txt
  else
    timeout -s INT "$SECONDS_EACH" nice -n 19 ./pan "${options[@]}" >pan.txt 2>&1
    if grep -q 'errors: [1-9]' pan.txt; then
      verdict=error
    elif grep -q 'errors: 0' pan.txt && ! grep -Eq 'Search not completed|max search depth too small|out of memory' pan.txt
    then
      verdict=clean
    elif grep -Eq 'errors: 0|Interrupted' pan.txt; then
      verdict=unfinished
    else
      verdict=broken
    fi
  fi
  took=$((SECONDS - start))
  states=$(grep 'states, stored' pan.txt 2>/dev/null | tail -1 | awk '{printf "%d", $1}')
  seen=$(sed -n 's/^pan:1: //p' pan.txt 2>/dev/null)
  # The searches are thrown away, their results kept until the end.
  rm -f pan pan.c pan.[bhmpt]
  local word=FAIL
  case $verdict-$seen in error-*'invalid end'*) verdict=deadlock ;; esac
  [ "$verdict" = "$expected" ] && word=pass
  printf '%s  %-34s %-10s %10s states %5d s  %s\n' "$word" "$name" "$verdict" "${states:--}" "$took" "${seen% (at}"
}

running=0
while read -r tier name model mode expected defines; do
  [ "$quick" = 0 ] || [ "$tier" = quick ] || continue
  # shellcheck disable=SC2254  # a pattern on purpose
  case $name in $pattern) ;; *) continue ;; esac
  if [ "$running" -ge "$JOBS" ]; then wait -n; running=$((running - 1)); fi
  (one "$tier" "$name" "$model" "$mode" "$expected" "$defines") | tee -a "$work/results" &
  running=$((running + 1))
done < <(table)
wait

passed=$(grep -c '^pass' "$work/results")
failed=$(grep -c '^FAIL' "$work/results")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
