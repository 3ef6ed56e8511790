/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * Weak references, cleanups and ephemerons through full and minor cycles: look-ups before, while and after marking, settling,
 * and what a look-up meets when the next objects are white again.
 *
 * Two slots for objects, a set of roots. Objects do not refer to each other: tracing is marking.pml's matter, which also
 * has weak look-ups in it, up to the end of marking. Stores into the root set shade in one step with the store, for the same
 * reason. Here the weak cell lives on: it is settled, its target is swept, the slot is used again, the next
 * object may get a weak reference of its own. The cell itself lives for ever.
 *
 * A full cycle clears the marks first, a minor one leaves them. A minor cycle settles only what has been made since settling
 * last (`fresh`): the target of every other cell was marked then, and still is.
 *
 * The root table's lock makes four things whole: a look-up that finds its target unmarked while marking is on; the
 * beginning of a flush that is not an answer; the collector's last look at `foundWork` with the decision that marking has
 * ended; the end of that state. Each is one step here.
 *
 * Configurations   EPHEMERON   an entry of a map, which lives for ever: a key, and a box that has the value and that nothing but the
 *                              entry refers to. The marker reads neither the key nor the box. A pass over the entries does
 *                  CLEANUP     an object may have a cleanup
 *                  AMBIGUOUS   stores record words that look like a reference to any object, garbage included
 *                  GARBAGE     what nobody could reach when a full cycle began is not marked when marking ends
 * Smaller searches CELLESS: there are no weak references; FEW_ENTRIES: mutator 0 alone changes the map, mutator 1 the roots
 * Properties       a look-up never returns a dead object, nor another one than its target; it returns nil only when the target can
 *                  be reached from no root and no stack; after nil it returns nothing else; a target that dies has its cell
 *                  cleared first, its cleanup queued, and its entry emptied; nothing reachable is swept
 * Switches         NO_END  NO_SHADED_LOOKUP  IDLE_LATE  NO_SETTLE  SETTLE_EARLY  SETTLE_LATE
 *                  LATE_MARKS  CELLS_OLD  BORN_SETTLED  QUEUE_EARLY
 *                  NO_PASS  PASS_FIRST  NO_RECORD  NO_EMPTY  BOX_NO_CARD  STRONG_VALUE
 *                  FROZEN  the first design: look-ups are frozen by a handshake, one mutator after the other. A frozen one then reads
 *                          nil for a target that another, not frozen yet, looks up and keeps: nil is not for ever
 */
#ifndef NM
#define NM 2
#endif
#ifndef CYCLES
#define CYCLES 2
#endif
#define NONE 0
#define SCAN 1
#define FLUSH 2
#define FREEZE 3
#define OFF 4
#define RETURN 5

byte made = 1, marks, root = 1; /* objects are the bits 1 and 2 */
byte young;                /* in spans of the new generation: not swept in this one */
#ifdef CELLESS
#define FIRST_TARGET 0
#else
#define FIRST_TARGET 1
#endif
byte cell = FIRST_TARGET;  /* the weak cell's target, or 0 */
bool fresh = true;         /* the cell has not been settled yet. Guarded by: the table's lock */
byte saidNil;              /* ghost: objects for which a look-up has answered nil */
bool flag, foundWork;
bool marking, ended;       /* what look-ups go by. Guarded by: the root table's lock */
bool isFull;                 /* the kind of the cycle */

#ifdef EPHEMERON
byte key, value;           /* the entry's; key 0: there is no entry */
bool boxMarked, boxCard;   /* of the box that has the value */
bool cardsBirths[NM];
bool entryFresh;           /* the entry has not been settled yet */
#endif
#ifdef CLEANUP
byte watched = 1;          /* the object that has a cleanup */
bool watchFresh = true;
#endif
#ifdef GARBAGE
byte garbage;
#endif

byte hold[NM], buffer[NM], request[NM], looking[NM];
bool flushing[NM], frozen[NM], black[NM], white[NM];

#if NM > 1
#define DIRECT (root | hold[0] | hold[1])
#define LOOKING (looking[0] | looking[1])
#define ANSWERED (request[0] == NONE && request[1] == NONE)
#define FLUSHING (flushing[0] || flushing[1])
inline post(k) { d_step { request[0] = k; request[1] = k } }
#else
#define DIRECT (root | hold[0])
#define LOOKING (looking[0])
#define ANSWERED (request[0] == NONE)
#define FLUSHING (flushing[0])
inline post(k) { request[0] = k }
#endif
#ifdef EPHEMERON
#define STRONG (DIRECT | ((DIRECT & key) -> value : 0))
#define GOT ((cell & key) -> value : 0) /* by a look-up */
#else
#define STRONG DIRECT
#define GOT 0
#endif
inline handshake(k) { post(k); ANSWERED }

inline anyOf(set, v) {
  if
  :: (set) & 1 -> v = 1
  :: (set) & 2 -> v = 2
  fi
}

/* The flush of an answer, in one step: marking.pml shows what may happen within. */
inline flush(m) {
  if
  :: buffer[m] & ~marks -> marks = marks | buffer[m]; foundWork = true
  :: else
  fi;
  buffer[m] = 0
}

#ifdef FEW_ENTRIES
#define CHANGES_MAP (m == 0)
#define CHANGES_ROOTS (m == 1)
#else
#define CHANGES_MAP true
#define CHANGES_ROOTS true
#endif

proctype Mutator(byte m) {
  byte o, p;

end: do
  :: d_step { request[m] == SCAN -> marks = marks | hold[m]; black[m] = true; request[m] = NONE }
  :: d_step { request[m] == FLUSH -> flush(m); request[m] = NONE }
  :: d_step { request[m] == FREEZE -> frozen[m] = true; flush(m); request[m] = NONE }
  :: d_step { request[m] == OFF ->
#ifdef LATE_MARKS
       flush(m);
#endif
       /* Marking has ended. Whatever was recorded since is marked, or it is garbage that a word looked like. */
       buffer[m] = 0;
       frozen[m] = false;
#ifdef EPHEMERON
       cardsBirths[m] = true;
#endif
       request[m] = NONE }
  :: d_step { request[m] == RETURN -> black[m] = false; white[m] = true;
#ifdef EPHEMERON
       cardsBirths[m] = false;
#endif
       request[m] = NONE }

  /* Load, drop, store, clear; for each object. */
  :: atomic { root & ~hold[m] -> anyOf(root, o); hold[m] = hold[m] | o; o = 0 }
  :: atomic { hold[m] -> anyOf(hold[m], o); hold[m] = hold[m] & ~o; o = 0 }
  :: atomic { CHANGES_ROOTS && (hold[m] & ~root) -> anyOf(hold[m], o);
       if :: flag -> buffer[m] = buffer[m] | o :: else fi; root = root | o; o = 0 }
  :: atomic { CHANGES_ROOTS && root -> anyOf(root, o);
       if :: flag -> buffer[m] = buffer[m] | o :: else fi; root = root & ~o; o = 0 }

  /* The buffer is full: it is flushed between two safepoints. When marking has ended nobody marks any more. */
  :: d_step { buffer[m] ->
#ifndef LATE_MARKS
       if
       :: ended -> buffer[m] = 0
       :: else ->
          flushing[m] = true
       fi
#else
       flushing[m] = true
#endif
     };
     if
     :: flushing[m] ->
        d_step { o = buffer[m] & ~marks; marks = marks | o; buffer[m] = 0 };
        d_step { if :: o -> foundWork = true :: else fi; flushing[m] = false; o = 0 }
     :: else
     fi

#ifdef AMBIGUOUS
  :: atomic { flag && (made & ~(marks | buffer[m])) -> anyOf(made & ~(marks | buffer[m]), o); buffer[m] = buffer[m] | o; o = 0 }
#endif

  /* Allocation: black or white. */
  :: atomic { made != 3 ->
       anyOf(3 & ~made, o);
       made = made | o; hold[m] = hold[m] | o;
       if :: black[m] -> marks = marks | o :: else fi;
       if :: white[m] -> young = young | o :: else fi;
       o = 0 }
  /* A weak reference is made, and a cleanup, to whatever the mutator holds. */
#ifndef CELLESS
  :: atomic { cell == 0 && hold[m] -> anyOf(hold[m], cell);
#if defined(CELLS_OLD)
       fresh = false
#elif defined(BORN_SETTLED)
       /* As if a cell that is allocated black, and so is old at birth, were settled. */
       fresh = !black[m]
#else
       fresh = true
#endif
     }
#endif
#ifdef CLEANUP
  :: atomic { watched == 0 && hold[m] -> anyOf(hold[m], watched); watchFresh = true }
#endif

#ifdef EPHEMERON
  /* An entry is made: of what the mutator holds. Its box is a new object, black or white. A black one is not read. */
  :: atomic { CHANGES_MAP && key == 0 && hold[m] ->
       anyOf(hold[m], o); anyOf(hold[m], p); key = o; value = p; o = 0; p = 0;
       /* As generations.pml has it: what is born old after OFF has its card dirtied. */
       boxMarked = black[m]; boxCard = black[m] && cardsBirths[m]; entryFresh = true }
  /* A look-up: two loads, without a barrier. */
  :: d_step { key && (hold[m] & key) && (value & ~hold[m]) -> hold[m] = hold[m] | value }
  /* The value is replaced: a store into the box. */
  :: atomic { CHANGES_MAP && key && (hold[m] & key) && (hold[m] & ~value) ->
       anyOf(hold[m] & ~value, o);
       if
       :: flag -> buffer[m] = buffer[m] | value | o
       :: else ->
#ifndef BOX_NO_CARD
          boxCard = true
#endif
       fi;
       value = o; o = 0 }
  /* The entry is removed: a store of nil into the entry records the box, and whoever marks the box reads it. */
  :: d_step { CHANGES_MAP && key && (hold[m] & key) ->
#ifndef NO_RECORD
       if :: flag -> buffer[m] = buffer[m] | value :: else fi;
#endif
       key = 0; value = 0; boxMarked = false; boxCard = false; entryFresh = false }
#endif

#ifdef FROZEN
  /* The look-up of the first design: the cell, then the target's mark. */
  :: atomic { cell -> looking[m] = cell };
     atomic {
       o = looking[m];
       if
       :: frozen[m] && !(marks & o) -> assert(!(STRONG & o))
       :: else ->
          assert(made & o);
          if
          :: flag && !(marks & o) -> buffer[m] = buffer[m] | o
          :: else
          fi;
          hold[m] = hold[m] | o
       fi;
       looking[m] = 0; o = 0
     }
#else
  /* The look-up. Outside marking: the test, then the cell. */
  :: !marking -> d_step { assert((made & cell) == cell); assert(!(saidNil & cell)); hold[m] = hold[m] | cell }
  /* While marking: a marked target is returned, another one shaded; when marking has ended, an unmarked one is dead. */
  :: d_step { marking && cell ->
       o = cell;
       if
#ifndef NO_END
       :: ended && !(marks & o) -> assert(!(STRONG & o)); saidNil = saidNil | o
#endif
       :: else ->
#ifndef NO_SHADED_LOOKUP
          if
          :: !(marks & o) -> marks = marks | o; foundWork = true
          :: else
          fi;
#endif
          assert(!(saidNil & o));
          hold[m] = hold[m] | o
       fi;
       o = 0
     }
#endif
  od
}

/* What is taken to be settled, and what is decided of it, are two steps: cells are made in between. */
inline settleCells() {
  d_step { taken = (isFull || fresh -> cell : 0); fresh = false };
  if
  :: taken && !(marks & taken) -> d_step { assert(!(STRONG & taken)); cell = 0; taken = 0 }
  :: else -> taken = 0
  fi
}
#ifdef CLEANUP
inline settleCleanups() {
  d_step { taken = (isFull || watchFresh -> watched : 0); watchFresh = false };
  if
  :: taken && !(marks & taken) -> d_step { assert(!(STRONG & taken)); assert(cell != taken); watched = 0; taken = 0 }
  :: else -> taken = 0
  fi
}
#endif
#ifdef EPHEMERON
inline settleEntries() {
  d_step { taken = (isFull || entryFresh -> key : 0); entryFresh = false };
#ifndef NO_EMPTY
  if
  :: taken && key == taken && !(marks & taken) ->
     d_step { assert(!(STRONG & taken)); key = 0; value = 0; boxMarked = false; boxCard = false; taken = 0 }
  :: else -> taken = 0
  fi
#endif
  taken = 0
}
/* The pass: the box of an entry whose key is marked is marked, and read. */
inline pass() {
  d_step {
    passed = false;
    if
#ifdef STRONG_VALUE
    :: key && !boxMarked ->
#else
    :: (marks & key) && !boxMarked ->
#endif
       boxMarked = true; passed = true; marks = marks | value
    :: else
    fi
  }
}
#endif

inline sweepSlot(o) {
  d_step {
    if
    :: !(young & o) && (made & o) && !(marks & o) ->
       assert(!(STRONG & o));
       assert(cell != o && !(LOOKING & o));
#ifdef CLEANUP
       assert(watched != o);
#endif
#ifdef EPHEMERON
       assert(key != o && (value != o || !boxMarked));
#endif
       made = made & ~o; saidNil = saidNil & ~o
    :: else
    fi
  }
}

proctype Collector() {
  byte cycle, taken;
  bool clean, passed;

  do
  :: cycle < CYCLES ->
     cycle++;
     atomic {
       if :: isFull = true :: isFull = false fi;
       if
       :: isFull -> marks = 0;
#ifdef EPHEMERON
          boxMarked = false
#endif
       :: else
       fi
     };
     marking = true;
     d_step {
       flag = true;
#ifdef GARBAGE
       garbage = (isFull -> made & ~(STRONG | cell | GOT) : 0)
#endif
     };
#ifdef EPHEMERON
     /* The box is an object like others: a minor cycle reads it if it is old and its card is dirty. */
     d_step {
       if
       :: !isFull && boxMarked && boxCard -> marks = marks | value
       :: else
       fi;
       boxCard = false
     };
#endif
     handshake(SCAN);
     marks = marks | root;

     do
     ::
#if defined(EPHEMERON) && defined(PASS_FIRST)
        pass();
#endif
        foundWork = false;
#if defined(EPHEMERON) && !defined(PASS_FIRST) && !defined(NO_PASS)
        pass();
        if
        :: passed -> goto again
        :: else
        fi;
#endif
#ifdef SETTLE_EARLY
        settleCells();
#endif
#ifdef FROZEN
        handshake(FREEZE);
#else
        handshake(FLUSH);
#endif
        if
        :: !foundWork ->
           handshake(FLUSH);
#if defined(CLEANUP) && defined(QUEUE_EARLY)
           settleCleanups();
#endif
           /* The lock is held while the last flush comes to its end. */
           d_step {
#ifndef LATE_MARKS
             !FLUSHING ->
#endif
             clean = !foundWork; ended = clean }
           if
           :: clean -> clean = false; break
           :: else
           fi
        :: else
        fi;
again:  skip
     od;

     skip; /* Spin does not let a loop break into a d_step */
     d_step {
       assert((STRONG & ~marks) == 0);
#ifdef GARBAGE
       assert((garbage & marks) == 0)
#endif
     };
#if defined(EPHEMERON)
     settleEntries();
#endif
#if !defined(NO_SETTLE) && !defined(SETTLE_LATE) && !defined(SETTLE_EARLY)
     settleCells();
#endif
#if defined(CLEANUP) && !defined(QUEUE_EARLY)
     settleCleanups();
#endif
     skip;
#ifndef IDLE_LATE
     d_step { marking = false; ended = false };
#endif
     flag = false;
     handshake(OFF);
#ifdef SETTLE_LATE
     settleCells();
#endif
     handshake(RETURN);
#ifdef IDLE_LATE
     d_step { marking = false; ended = false };
#endif
     sweepSlot(1);
     sweepSlot(2);
     d_step { young = 0; white[0] = false;
#if NM > 1
       white[1] = false
#endif
     }
  :: else -> break
  od
}

init {
  atomic {
    run Mutator(0);
#if NM > 1
    run Mutator(1);
#endif
    run Collector()
  }
}
