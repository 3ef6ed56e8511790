/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * Spans through the cycles: generations, cached spans and their runs, mark bits, who sweeps what and when.
 *
 * Marking itself is marking.pml's matter; here it is one step that marks what lives. What lives is a ghost: a bit for each
 * object, set when it is allocated and cleared, by chance, when the program forgets it. What stays of marking is
 * what could touch the bits of a span at the wrong time: black runs, shades by mutators that found the flag up, a
 * stale stack word that marks an unused slot, and drops of roots by threads that are not attached. A shade marks directly, as a
 * full buffer does; with BUFFER it may stay in the buffer instead.
 *
 * Marks stay after a sweep: what is marked is old. A full cycle clears them, between the end of the last sweep and the raising of the
 * flag. A minor cycle does not, and sweeps only spans that were touched, that is allocated from, since they were swept last; in the
 * others the marks say what the `allocated` bits say. Each cycle is full or minor by chance.
 *
 * S spans of SLOTS slots. A generation is a pair: the number of the cycle, and that of the full cycle. A touched span goes by the
 * first and a clean one by the second. They are counted modulo 4, so that "one too old" and "one too new" differ; the lists
 * know their parity only, as the code's do. Taking a span from a list and putting it back are single steps: the list's
 * lock. Everything else about a span belongs to its owner alone, except the mark bits.
 *
 * Properties       no object that lives is freed; a span is swept only from the generation before; no slot that was
 *                  never allocated becomes an object; at the start of a cycle all marks are those of the last sweep, all spans are
 *                  of the heap's generation, and all that was dead when the last cycle began is gone (after a minor cycle: all
 *                  that was young and dead); from then until sweeping is allowed again, nobody sweeps
 *                  `ends` (STARVE): finishSweeping ends, however often mutators look for something to sweep
 * Configurations   NM, S, SLOTS, CYCLES; STALE, BUFFER, DROPPER
 *                  RETIRE: idle mutators are retired between two cycles, new ones come at any time
 *                  CHECKED: mutators ask whether a slot is allocated, in spans that others own
 * Variant          EARLY_SWEEP: sweeping is allowed when RETURN is posted, not when all have answered: as good, because a mutator
 *                  sweeps only when `sweepable` is its own generation; what must wait for the answers is the next cycle
 *                  SWEEP_ALL: a minor cycle sweeps clean spans as well. NAME_UNCHECKED: who takes a span names the parity only
 * Switches         NO_FINISH  NO_FINISH_WAIT  NO_OFF  NO_RETURN_WAIT  KEEP_ALLOWED  KEEP_SPANS  STAY_BLACK  HEAP_GENERATION  KEEP_MARKS
 *                  GIVE_BACK  COLLECT_LATE  KEEP_BUFFER  ROOTS_MARK_ON  OWN_ATTACH  NO_REREAD  WAIT_FIRST  FREE_INDEX_FIRST
 *                  NO_TOUCH  CLEAR_FIRST  CLEAR_LATE  NO_CLEAR
 */
#ifndef NM
#define NM 2
#endif
#ifndef S
#define S 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef CYCLES
#define CYCLES 2
#endif
#define FULL ((1 << SLOTS) - 1)
#define BELOW(i) ((1 << (i)) - 1)

/* Where a span is. */
#define PAGES 0            /* in the page heap */
#define LISTED 1           /* in the central list of its generation's parity */
#define SWEEPING 2         /* owned by whoever sweeps it */
#define CACHED 3           /* owned by a mutator */

#define NONE 0
#define SCAN 1
#define OFF 2
#define RETURN 3

byte place[S];
byte cycleOf[S], fullOf[S]; /* a span's generation */
bool touched[S];
byte allocated[S], marks[S], freeIndex[S];
byte object[S], live[S], dead[S]; /* ghosts: slots that hold an object; that the program can reach; that were garbage when the cycle began */

byte heapCycle, heapFull;  /* the heap's generation. Guarded by: the registry lock (changes with the posting of RETURN) */
bool heapBlack;            /* likewise, with SCAN and RETURN */
byte sweepable;            /* sweepableGeneration: the cycle's number in the one whose mutators may sweep, or 4: none may */
byte sweepers;             /* activeSweepers: mutators that sweep or are about to look whether they may */
#ifdef RETIRE
bool cycleIsOn;            /* from raising the flag until all have answered RETURN: nobody is retired */
#endif
#if !defined(KEEP_ALLOWED) && !defined(NO_FINISH_WAIT)
#define SECTION            /* nobody sweeps between finishSweeping and the next time when it is allowed */
bool closed;               /* ghost */
byte inside;               /* ghost: mutators that have found that they may sweep, and have not finished */
#endif
#ifdef STARVE
bool finishing;            /* finishSweeping is under way */
#endif
bool flag;
#ifdef DROPPER
bool rootsMark;
#endif

byte request[NM];
bool registered[NM];       /* Guarded by: the registry lock */
byte myCycle[NM], myFull[NM]; /* the mutator's copy of the generation; changed by RETURN and by attaching only */
bool black[NM];
byte span[NM];             /* cached span + 1, or 0 */
byte cursor[NM], limit[NM];
#ifdef BUFFER
byte buffered[NM];         /* one slot, as span * SLOTS + slot + 1, or 0 */
#endif

/* The first free slot from freeIndex on; SLOTS if none. */
inline firstFree(s, i) {
  i = freeIndex[s];
  do
  :: i < SLOTS && (allocated[s] & (1 << i)) -> i++
  :: else -> break
  od
}
#if SLOTS == 1
#define HAS_ROOM(s) (freeIndex[s] == 0 && allocated[s] == 0)
#else
#define HAS_ROOM(s) ((freeIndex[s] == 0 && allocated[s] != FULL) || (freeIndex[s] == 1 && !(allocated[s] & 2)))
#endif
/* Listed spans that are for a thread of generation (c, f) to use, and those that it has to sweep first: the parity says which list,
   and a list gives only spans of just the generation that is named. */
#ifdef NAME_UNCHECKED
#define SAME(a, b) ((((a) ^ (b)) & 1) == 0)
#else
#define SAME(a, b) ((a) == (b))
#endif
#ifdef SWEEP_ALL
#define BY_CYCLE(s) true
#else
#define BY_CYCLE(s) touched[s]
#endif
#define USABLE(s, c, f) (place[s] == LISTED && (BY_CYCLE(s) -> SAME(cycleOf[s], c) : SAME(fullOf[s], f)))
#define UNSWEPT(s, c, f) (place[s] == LISTED && (BY_CYCLE(s) -> SAME(cycleOf[s], (c + 3) % 4) : SAME(fullOf[s], (f + 3) % 4)))

#if S == 1
#define ANY(P) (P(0))
#define CHOOSE(P, v) if :: P(0) -> v = 0 fi
#define ANY2(P, c, f) (P(0, c, f))
#define CHOOSE2(P, c, f, v) if :: P(0, c, f) -> v = 0 fi
#else
#define ANY(P) (P(0) || P(1))
#define CHOOSE(P, v) if :: P(0) -> v = 0 :: P(1) -> v = 1 fi
#define ANY2(P, c, f) (P(0, c, f) || P(1, c, f))
#define CHOOSE2(P, c, f, v) if :: P(0, c, f) -> v = 0 :: P(1, c, f) -> v = 1 fi
#endif
#define FRESH(s) (place[s] == PAGES)
#define LIVES(s) (live[s] != 0)
#define COUNTS(s) (((allocated[s] | BELOW(freeIndex[s])) & FULL) != 0)

/* Picks one of the bits of a set that is not empty. */
inline pickBit(set, v) {
  if
  :: ((set) & 1) -> v = 1
#if SLOTS > 1
  :: ((set) & 2) -> v = 2
#endif
  fi
}

/* Hands the cached span back. The rest of the run was never allocated, so its marks go, and freeIndex goes back to the cursor.
   (Nobody may be about to mark such a slot for a stale word then: a span is handed back for RETURN and between two cycles.) */
inline handBack(m) {
  if
  :: span[m] ->
     s = span[m] - 1;
#ifndef KEEP_MARKS
     marks[s] = marks[s] & ~(BELOW(limit[m]) & ~BELOW(cursor[m]));
#endif
     freeIndex[s] = cursor[m];
     place[s] = LISTED;
     span[m] = 0; cursor[m] = 0; limit[m] = 0; s = 0
  :: else
  fi
}

/* Slots of span s are going to be taken by a mutator that has just taken the span. */
inline touch(s) {
#ifndef NO_TOUCH
  touched[s] = true;
#endif
#ifdef HEAP_GENERATION
  cycleOf[s] = heapCycle; fullOf[s] = heapFull
#else
  cycleOf[s] = myCycle[m]; fullOf[s] = myFull[m]
#endif
}

/* Sweeps span s, which the caller owns, to generation (c, f). Two steps: the bits, and what makes the span usable. The order
   matters to checked stores, which look at spans that others sweep. */
inline sweep(s, c, f) {
#ifdef FREE_INDEX_FIRST
  freeIndex[s] = 0;
#endif
  d_step {
    assert(BY_CYCLE(s) -> cycleOf[s] == (c + 3) % 4 : fullOf[s] == (f + 3) % 4);
    b = marks[s];
    assert((live[s] & ~b) == 0);   /* nothing that lives is freed */
    assert((b & ~object[s]) == 0); /* nothing comes from nowhere */
    object[s] = b;
    dead[s] = dead[s] & b;
    allocated[s] = b;
    b = 0
  }
  d_step {
    freeIndex[s] = 0;
    touched[s] = false;
    cycleOf[s] = c; fullOf[s] = f
  }
}

#ifdef SECTION
#define ENTER assert(!closed); inside++
#define LEAVE inside--
#else
#define ENTER skip
#define LEAVE skip
#endif

proctype Mutator(byte m) {
  byte s, b;
#ifdef CHECKED
  byte c;
#endif

end: do
  /* Answers. */
  :: atomic { request[m] == SCAN ->
       black[m] = true;
       if
       :: span[m] -> marks[span[m] - 1] = marks[span[m] - 1] | (BELOW(limit[m]) & ~BELOW(cursor[m]))
       :: else
       fi;
       request[m] = NONE }
  :: atomic { request[m] == OFF ->
#if defined(BUFFER) && !defined(KEEP_BUFFER)
       buffered[m] = 0;
#endif
       request[m] = NONE }
  :: atomic { request[m] == RETURN ->
#ifndef KEEP_SPANS
       handBack(m);
#endif
#ifndef STAY_BLACK
       black[m] = false;
#endif
       myCycle[m] = heapCycle; myFull[m] = heapFull;
       request[m] = NONE }

  /* Allocation: from the run; from the next run of the span; a full span is handed back. */
  :: atomic { cursor[m] < limit[m] ->
       s = span[m] - 1;
       assert((object[s] & (1 << cursor[m])) == 0);
       object[s] = object[s] | (1 << cursor[m]);
       live[s] = live[s] | (1 << cursor[m]);
       cursor[m]++;
       s = 0 }
  :: d_step { span[m] && cursor[m] == limit[m] ->
       s = span[m] - 1;
       firstFree(s, b);
       if
       :: b < SLOTS ->
          cursor[m] = b;
          do
          :: b < SLOTS && !(allocated[s] & (1 << b)) -> b++
          :: else -> break
          od;
          limit[m] = b;
          freeIndex[s] = b;
          if
          :: black[m] -> marks[s] = marks[s] | (BELOW(limit[m]) & ~BELOW(cursor[m]))
          :: else
          fi
       :: else ->
          freeIndex[s] = SLOTS; place[s] = LISTED; span[m] = 0; cursor[m] = 0; limit[m] = 0
       fi;
       s = 0; b = 0 }

  /* The next span: one swept with room, or fresh from the page heap. */
#define ROOMY(s, c, f) (USABLE(s, c, f) && HAS_ROOM(s))
  :: atomic { registered[m] && !span[m] && ANY2(ROOMY, myCycle[m], myFull[m]) ->
       CHOOSE2(ROOMY, myCycle[m], myFull[m], s);
       assert(BY_CYCLE(s) -> cycleOf[s] == myCycle[m] : fullOf[s] == myFull[m]);
       place[s] = CACHED; span[m] = s + 1;
       touch(s);
       cursor[m] = freeIndex[s]; limit[m] = freeIndex[s]; s = 0 }
  :: atomic { registered[m] && !span[m] && ANY(FRESH) ->
       CHOOSE(FRESH, s);
       assert(marks[s] == 0 && object[s] == 0);
       place[s] = CACHED; span[m] = s + 1;
       allocated[s] = 0; freeIndex[s] = 0;
       touch(s);
       s = 0 }

  /* Or one that has to be swept first: the test, the count, the test again; then the taking and the sweep. */
  :: registered[m] && !span[m] && sweepable == myCycle[m] ->
     sweepers++;
     if
#ifndef NO_REREAD
     :: sweepable != myCycle[m]
     :: atomic { sweepable == myCycle[m] -> ENTER };
#else
     :: atomic { true -> ENTER };
#endif
        if
        :: atomic { ANY2(UNSWEPT, myCycle[m], myFull[m]) -> CHOOSE2(UNSWEPT, myCycle[m], myFull[m], s); place[s] = SWEEPING };
           sweep(s, myCycle[m], myFull[m]);
           atomic { place[s] = (allocated[s] == 0 -> PAGES : LISTED); s = 0; LEAVE }
        :: atomic { !ANY2(UNSWEPT, myCycle[m], myFull[m]) -> LEAVE }
        fi
     fi;
     sweepers--

  /* The program forgets an object. */
  :: atomic { ANY(LIVES) -> CHOOSE(LIVES, s); pickBit(live[s], b); live[s] = live[s] & ~b; s = 0; b = 0 }

  /* A store that finds the flag up; then, without a safepoint in between, the shade of something that lives: what it reads or
     what it writes. */
  :: registered[m] && flag ->
     if
     :: atomic { ANY(LIVES) -> CHOOSE(LIVES, s); pickBit(live[s], b); marks[s] = marks[s] | b; s = 0; b = 0 }
#ifdef BUFFER
     :: atomic { ANY(LIVES) -> CHOOSE(LIVES, s); pickBit(live[s], b); buffered[m] = s * SLOTS + b; s = 0; b = 0 }
     :: atomic { buffered[m] -> 
          s = (buffered[m] - 1) / SLOTS; b = buffered[m] - s * SLOTS; marks[s] = marks[s] | b; buffered[m] = 0; s = 0; b = 0 }
#endif
     :: true
     fi

#ifdef CHECKED
  /* A checked store asks whether a slot is allocated, without owning its span: freeIndex first, then the bits. */
  :: atomic { registered[m] && ANY(LIVES) -> CHOOSE(LIVES, s); pickBit(live[s], b); c = BELOW(freeIndex[s]) };
     atomic { assert(!(live[s] & b) || ((c | allocated[s]) & b)); s = 0; b = 0; c = 0 }
#endif

#ifdef RETIRE
  /* A mutator that is idle is retired. (Idle ones answer like any other.) */
#ifdef GIVE_BACK
  :: atomic { registered[m] && request[m] == NONE ->
#else
  :: atomic { registered[m] && request[m] == NONE && !cycleIsOn ->
#endif
       handBack(m);
       registered[m] = false; black[m] = false }
  /* A new one. */
  :: atomic { !registered[m] ->
       registered[m] = true; black[m] = heapBlack;
#ifndef OWN_ATTACH
       myCycle[m] = heapCycle; myFull[m] = heapFull
#endif
     }
#endif
  od
}

#ifdef DROPPER
/* A root handle is dropped by a thread that is not attached: one step, because of the root table's lock. */
active proctype Dropper() {
  byte s, b;
end: do
  :: atomic { rootsMark && ANY(LIVES) -> CHOOSE(LIVES, s); pickBit(live[s], b); marks[s] = marks[s] | b; s = 0; b = 0 }
  od
}
#endif

#if NM > 1
#define ANSWERED (request[0] == NONE && request[1] == NONE)
inline post(k) {
  if :: registered[0] -> request[0] = k :: else fi;
  if :: registered[1] -> request[1] = k :: else fi
}
#else
#define ANSWERED (request[0] == NONE)
inline post(k) {
  if :: registered[0] -> request[0] = k :: else fi
}
#endif

/* Step 1, and what must be true when it is done: sweeps all; says that nobody may sweep; waits for those who have begun. */
inline finishSweeping() {
#ifdef STARVE
  finishing = true;
#endif
#ifndef NO_FINISH
  do
  :: atomic { ANY2(UNSWEPT, heapCycle, heapFull) -> CHOOSE2(UNSWEPT, heapCycle, heapFull, s); place[s] = SWEEPING };
     sweep(s, heapCycle, heapFull);
     atomic { place[s] = (allocated[s] == 0 -> PAGES : LISTED); s = 0 }
  :: !ANY2(UNSWEPT, heapCycle, heapFull) -> break
  od;
#endif
#if defined(WAIT_FIRST) && !defined(NO_FINISH_WAIT)
  sweepers == 0;
#endif
#ifndef KEEP_ALLOWED
  sweepable = 4;
#endif
#if !defined(WAIT_FIRST) && !defined(NO_FINISH_WAIT)
  sweepers == 0;
#endif
#ifdef STARVE
  finishing = false;
#endif
#ifdef SECTION
  d_step { assert(inside == 0); closed = true };
#endif
  skip; /* Spin does not let a loop break into a d_step */
  d_step {
    s = 0;
    do
    :: s < S ->
       assert(marks[s] == allocated[s]);
       assert(dead[s] == 0);
       assert(place[s] == PAGES || (BY_CYCLE(s) -> cycleOf[s] == heapCycle : fullOf[s] == heapFull));
       s++
    :: else -> break
    od;
    s = 0
  }
}

/* A stale word, on a stack or in an ambiguous field: it is looked up, and then the slot is marked. Finding garbage is its
   right. Here the collector does it, whoever does it in the code. */
inline staleWord() {
  if
  :: atomic { ANY(COUNTS) -> CHOOSE(COUNTS, s); pickBit((allocated[s] | BELOW(freeIndex[s])) & FULL, b); dead[s] = dead[s] & ~b };
     d_step { marks[s] = marks[s] | b; s = 0; b = 0 }
  :: true
  fi
}

#ifdef SECTION
#define ALLOW sweepable = heapCycle; closed = false
#else
#define ALLOW sweepable = heapCycle
#endif

/* A full cycle begins without marks. One span after the other: there may be new ones meanwhile. */
inline clearMarks() {
#ifndef NO_CLEAR
  s = 0;
  do
  :: d_step { s < S -> if :: isFull -> marks[s] = 0 :: else fi; s++ }
  :: s == S -> break
  od;
  s = 0
#else
  skip
#endif
}

proctype Collector() {
  byte s, b, cycle;
  bool isFull;

  do
  :: cycle < CYCLES ->
     cycle++;
     if
     :: isFull = true
     :: isFull = false
     fi;
#ifdef CLEAR_FIRST
     clearMarks();
#endif
     finishSweeping();
#if !defined(CLEAR_FIRST) && !defined(CLEAR_LATE)
     clearMarks();
#endif

     d_step {
#if defined(RETIRE) && !defined(COLLECT_LATE)
       cycleIsOn = true;
#endif
       flag = true;
       do
       :: s < S -> dead[s] = object[s] & ~live[s] & ~(isFull -> 0 : marks[s]); s++
       :: else -> break
       od;
       s = 0
     }
#ifdef DROPPER
     rootsMark = true;
#endif

#ifdef STALE
     staleWord();
#endif
#ifdef RETIRE
     cycleIsOn = true;
#endif
     d_step { heapBlack = true; post(SCAN) };
     ANSWERED;
#ifdef CLEAR_LATE
     clearMarks();
#endif

#ifdef STALE
     staleWord();
#endif

     /* Marking. */
     d_step {
       s = 0;
       do
       :: s < S -> marks[s] = marks[s] | live[s]; s++
       :: else -> break
       od;
       s = 0
     };

     /* lowerBarrier */
#if defined(DROPPER) && !defined(ROOTS_MARK_ON)
     rootsMark = false;
#endif
#ifdef NO_OFF
     flag = false;
#else
     flag = false;
     d_step { post(OFF) };
     ANSWERED;
#endif

     /* advanceGeneration */
     d_step {
       heapCycle = (heapCycle + 1) % 4;
       heapFull = (heapFull + isFull) % 4;
       heapBlack = false;
       post(RETURN)
#ifdef EARLY_SWEEP
       ; ALLOW
#endif
     };
#ifndef NO_RETURN_WAIT
     ANSWERED;
#endif
#ifdef RETIRE
     cycleIsOn = false;
#endif
     d_step { ALLOW };
#if defined(DROPPER) && defined(ROOTS_MARK_ON)
     if :: atomic { ANY2(UNSWEPT, heapCycle, heapFull) -> CHOOSE2(UNSWEPT, heapCycle, heapFull, s); place[s] = SWEEPING };
        sweep(s, heapCycle, heapFull);
        atomic { place[s] = (allocated[s] == 0 -> PAGES : LISTED); s = 0 }
     :: !ANY2(UNSWEPT, heapCycle, heapFull)
     fi;
     rootsMark = false
#endif
  :: else -> break
  od;
  finishSweeping()
}

init {
  atomic {
    registered[0] = true;
    run Mutator(0);
#if NM > 1
    registered[1] = true;
    run Mutator(1);
#endif
    run Collector()
  }
}

#ifdef STARVE
ltl ends { [] (finishing -> <> !finishing) }
#endif
