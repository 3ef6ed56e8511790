/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * A weak reference through the cycles: look-ups before, while and after marking, settling, and what a look-up
 * meets when the next objects are white again.
 *
 * Two slots for objects, a set of roots, no references between objects: tracing is marking.pml's matter, which also
 * has weak look-ups in it, up to the end of marking. Stores into the root set shade in one step with the store, for the same
 * reason. Here the weak cell lives on: it is settled, its target is swept, the slot is used again, the next
 * object may get a weak reference of its own.
 *
 * The root table's lock makes three things whole: a look-up that finds its target unmarked while marking is on; the
 * collector's last look at `foundWork` with the decision that marking has ended; the end of that state. Each is one step here.
 *
 * Properties   a look-up never returns a dead object, nor another one than its target; it returns nil only when the target can
 *              be reached from no root and no stack; a target that dies has its cell cleared first; nothing reachable is swept
 * Switches     NO_END  NO_SHADED_LOOKUP  IDLE_LATE  NO_SETTLE  SETTLE_EARLY  SETTLE_LATE
 *              FROZEN  the first design: look-ups are frozen by a handshake, one mutator after the other. A frozen one then reads
 *                      nil for a target that another, not frozen yet, looks up and keeps: nil is not for ever
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
byte cell = 1;             /* the weak cell's target, or 0 */
bool flag, foundWork;
bool marking, ended;       /* what look-ups go by. Guarded by: the root table's lock */

byte hold[NM], buffer[NM], request[NM], looking[NM];
bool frozen[NM], black[NM], white[NM];

#if NM > 1
#define STRONG (root | hold[0] | hold[1])
#define LOOKING (looking[0] | looking[1])
#define ANSWERED (request[0] == NONE && request[1] == NONE)
inline post(k) { d_step { request[0] = k; request[1] = k } }
#else
#define STRONG (root | hold[0])
#define LOOKING (looking[0])
#define ANSWERED (request[0] == NONE)
inline post(k) { request[0] = k }
#endif
inline handshake(k) { post(k); ANSWERED }

/* One step: marking.pml shows what may happen within. */
inline flush(m) {
  if
  :: buffer[m] & ~marks -> marks = marks | buffer[m]; foundWork = true
  :: else
  fi;
  buffer[m] = 0
}

proctype Mutator(byte m) {
  byte o;

end: do
  :: d_step { request[m] == SCAN -> marks = marks | hold[m]; black[m] = true; request[m] = NONE }
  :: d_step { request[m] == FLUSH -> flush(m); request[m] = NONE }
  :: d_step { request[m] == FREEZE -> frozen[m] = true; flush(m); request[m] = NONE }
  :: d_step { request[m] == OFF -> buffer[m] = 0;
       frozen[m] = false;
       request[m] = NONE }
  :: d_step { request[m] == RETURN -> black[m] = false; white[m] = true;
       request[m] = NONE }

  /* Load, drop, store, clear; for each object. */
  :: atomic { root & ~hold[m] -> if :: root & 1 -> o = 1 :: root & 2 -> o = 2 fi; hold[m] = hold[m] | o; o = 0 }
  :: atomic { hold[m] -> if :: hold[m] & 1 -> o = 1 :: hold[m] & 2 -> o = 2 fi; hold[m] = hold[m] & ~o; o = 0 }
  :: atomic { hold[m] & ~root -> if :: hold[m] & 1 -> o = 1 :: hold[m] & 2 -> o = 2 fi;
       if :: flag -> buffer[m] = buffer[m] | o :: else fi; root = root | o; o = 0 }
  :: atomic { root -> if :: root & 1 -> o = 1 :: root & 2 -> o = 2 fi;
       if :: flag -> buffer[m] = buffer[m] | o :: else fi; root = root & ~o; o = 0 }

  /* Allocation: black or white; a weak reference to it if the cell is to be had. */
  :: atomic { made != 3 ->
       if :: made & 1 -> o = 2 :: else -> o = 1 fi;
       made = made | o; hold[m] = hold[m] | o;
       if :: black[m] -> marks = marks | o :: else fi;
       if :: white[m] -> young = young | o :: else fi;
       if
       :: cell == 0 -> cell = o
       :: true
       fi;
       o = 0 }

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
  :: !marking -> d_step { assert((made & cell) == cell); hold[m] = hold[m] | cell }
  /* While marking: a marked target is returned, another one shaded; when marking has ended, an unmarked one is dead. */
  :: d_step { marking && cell ->
       o = cell;
       if
#ifndef NO_END
       :: ended && !(marks & o) -> assert(!(STRONG & o))
#endif
       :: else ->
#ifndef NO_SHADED_LOOKUP
          if
          :: !(marks & o) -> marks = marks | o; foundWork = true
          :: else
          fi;
#endif
          hold[m] = hold[m] | o
       fi;
       o = 0
     }
#endif
  od
}

inline settle() {
  if
  :: cell && !(marks & cell) -> d_step { assert(!(STRONG & cell)); cell = 0 }
  :: else
  fi
}

inline sweepSlot(o) {
  d_step {
    if
    :: !(young & o) ->
       if
       :: (made & o) && !(marks & o) ->
          assert(!(STRONG & o));
          assert(cell != o && !(LOOKING & o));
          made = made & ~o
       :: else
       fi;
       marks = marks & ~o
    :: else
    fi
  }
}

proctype Collector() {
  byte cycle;
  bool clean;

  do
  :: cycle < CYCLES ->
     cycle++;
     assert(marks == 0);
     marking = true;
     flag = true;
     handshake(SCAN);
     marks = marks | root;

     do
     :: foundWork = false;
#ifdef SETTLE_EARLY
        settle();
#endif
#ifdef FROZEN
        handshake(FREEZE);
#else
        handshake(FLUSH);
#endif
        if
        :: !foundWork ->
           handshake(FLUSH);
           d_step { clean = !foundWork; ended = clean }
           if
           :: clean -> clean = false; break
           :: else
           fi
        :: else
        fi
     od;

#if !defined(NO_SETTLE) && !defined(SETTLE_LATE) && !defined(SETTLE_EARLY)
     settle();
#endif
     skip; /* Spin does not let a loop break into a d_step */
#ifndef IDLE_LATE
     d_step { marking = false; ended = false };
#endif
     flag = false;
     handshake(OFF);
#ifdef SETTLE_LATE
     settle();
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
