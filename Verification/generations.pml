/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * Generations: what keeps its mark from cycle to cycle is old, and a minor cycle finds the young without marking the old again.
 *
 * The heap is a root slot f[0] and N slots for objects with one slot each, f[1] ... f[N]. It begins empty. Objects are
 * allocated, swept, and their slots are used again. Cycles follow each other for ever, and each may be full or minor: every
 * sequence of them is searched.
 *
 * A full cycle clears all marks first. A minor one keeps them, and reads no old objects. So it has to be told of every old
 * object that refers to a young one. That is what the cards are for: an unrecorded store dirties the card of its slot. Each object has
 * a card of its own here. In the code a card has several objects: then more is dirty, more is read, and nothing is lost by it.
 * A card that is dirty when its slot is swept counts as clean, for the same reason.
 *
 * What marking.pml shows is taken for granted here: buffers, the end of marking, weak references. A recorded store shades
 * at once, and the collector sees in one step that nothing is grey. A grey object is read in one step. (marking.pml has minor cycles too,
 * in its small steps, from every graph of old and young objects with every set of dirty cards that this model allows.) Runs, spans and
 * what is swept when are sweep.pml's matter: here an object is black or white when it is allocated, and all is swept in one step.
 *
 * A stack is the set of objects it refers to (`hold`). A handshake is a request that each mutator answers at its next safepoint, at the
 * top of its loop (handshake.pml).
 *
 * Properties       remembered: in a minor cycle, before the cards are used, an old object that refers to a white one has a dirty card;
 *                  closed: when marking has ended, and when spans are swept, no marked object refers to an unmarked one,
 *                  whether the program can reach it or not;
 *                  nothing that can be reached is unmarked when marking ends, or swept; what is left refers to nothing that is swept;
 *                  with GARBAGE: a full cycle leaves nothing marked that was garbage when it began
 * Configurations   N object slots; NM mutators
 *                  OTHER       there is another heap, and the process's flag may be up on its behalf
 *                  ATTACH      the last mutator is retired between cycles and made at any time
 *                  AMBIGUOUS   recorded stores may mark anything
 *                  GARBAGE     see above
 *                  COPY        recorded stores copy from slot to slot, too
 * Smaller searches EAGER       as in marking.pml: mutators load all they can, and drop references when they are scanned
 *                  FEW_STORES  all stores but the initialising ones go into f[0]
 *                  UNVERIFIED  without `remembered` and `closed`: a switch has to show the loss itself
 * Variants         CARDS_BETWEEN, CARDS_LATE: cards are used after the first `sync`, after `scan`
 *                  CLEAR_UNDER_FLAG: a full cycle clears the marks when the flag is up already, before the first `sync`
 *                  SCAN_THEN_CLEAR: an object is read before its card is cleared
 *                  ALL_CARD: recorded stores dirty cards as well
 *                  COPY_AFTER: what a copy has stored is shaded after the store, before the next safepoint
 *                  DUE_AT_BIRTH: the card of an object that is born old after OFF is dirtied then and there
 * Switches         STORE_NO_CARD  CARDS_EARLY  KEEP_MARKS  CLEAR_LATE  BORN_OLD  ATTACH_PAID  NO_OFF  OTHER_NO_CARD
 *                  COPY_TWICE (COPY_CARD, with it, is no repair)
 */
#ifndef NM
#define NM 2
#endif
#ifndef N
#define N 2
#endif

#define SET(o)  ((1 << (o)) & 254)
#define ALL     ((1 << (N + 1)) - 2)
#define LOWEST(s) ((s) & -(s))

#define NONE   0
#define SYNC   1
#define SCAN   2
#define OFF    3
#define RETURN 4

/* What a mutator's new objects are. */
#define WHITE  0
#define BLACK  1
#define LATE   2           /* black, after OFF: the others may have young objects already, so the card is due */

byte f[N + 1];
byte vacant = ALL;         /* free slots */
byte mark;                 /* marked objects: the old ones, and what has been found or born black in this cycle */
byte grey;                 /* what has been found and not read: it is on somebody's stack, or in the shared store */
byte card;                 /* dirty cards */
bool flag;                 /* the barrier flag: with OTHER, the process's; it may be up for another heap's sake, too */
#ifdef OTHER
bool word;                 /* the heap's own word */
#else
#define word flag
#endif
bool returning;            /* ghost: from the posting of RETURN until all is swept */
byte recent;               /* in spans of the new generation: not swept now */
bool minor;                /* ghost: the kind of the cycle */
byte reached;              /* scratch, 0 between steps */

byte hold[NM];             /* what the stack refers to */
bool busy[NM];             /* inside a store */
byte request[NM];
byte colour[NM];           /* WHITE, BLACK, LATE */
byte due[NM];              /* born LATE: their cards are to be dirtied */
#ifdef ATTACH
bool registered[NM];
byte heapColour;           /* what a new mutator goes by. Guarded by: the registry lock */
bool cycleIsOn;            /* nobody is retired */
#endif
#ifdef GARBAGE
byte garbage;
#endif

inline pickFrom(set, v) {
  if
  :: ((set) & 2) -> v = 1
#if N >= 2
  :: ((set) & 4) -> v = 2
#endif
#if N >= 3
  :: ((set) & 8) -> v = 3
#endif
  fi
}
inline pick(v) {
  if
  :: v = 0
  :: (hold[m]) -> pickFrom(hold[m], v)
  fi
}
/* What a store goes into. */
inline pickSlot(v) {
#ifdef FEW_STORES
  v = 0
#else
  pick(v)
#endif
}
inline indexOf(s, v) {
  if
  :: s == 2 -> v = 1
  :: s == 4 -> v = 2
  :: s == 8 -> v = 3
  fi
}

/* What the objects of a set refer to. */
#if N == 1
#define SLOTS(r) ((r & 2 -> SET(f[1]) : 0))
#elif N == 2
#define SLOTS(r) ((r & 2 -> SET(f[1]) : 0) | (r & 4 -> SET(f[2]) : 0))
#else
#define SLOTS(r) ((r & 2 -> SET(f[1]) : 0) | (r & 4 -> SET(f[2]) : 0) | (r & 8 -> SET(f[3]) : 0))
#endif
inline close(r) {
  r = r | SLOTS(r);
#if N >= 3
  r = r | SLOTS(r);
#endif
  skip
}
#if NM > 1
#define STACKS (hold[0] | hold[1])
#else
#define STACKS hold[0]
#endif
#define ROOTS SET(f[0])
#define ALLOCATED (ALL & ~vacant)

/* Marks a set of objects. Who sets the mark bit of an object has it, and will read it. */
#define shade(s) grey = grey | ((s) & ~mark); mark = mark | (s)

#ifdef EAGER
inline loadAll() {
  if
  :: !busy[0] -> hold[0] = hold[0] | ROOTS; close(hold[0])
  :: else
  fi;
#if NM > 1
  if
#ifdef ATTACH
  :: registered[1] && !busy[1] -> hold[1] = hold[1] | ROOTS; close(hold[1])
#else
  :: !busy[1] -> hold[1] = hold[1] | ROOTS; close(hold[1])
#endif
  :: else
  fi
#endif
}
#endif

/* Forgets the slots of objects that neither the program nor the marker can come to: states that differ only in such
   remains are one state. Not what is marked: a card may lead there. */
inline forget() {
#ifdef EAGER
  loadAll();
#endif
#ifndef AMBIGUOUS
  reached = ROOTS | STACKS | mark | grey;
  close(reached);
  reached = ALLOCATED & ~reached;
  if :: (reached & 2) -> f[1] = 0 :: else fi;
#if N >= 2
  if :: (reached & 4) -> f[2] = 0 :: else fi;
#endif
#if N >= 3
  if :: (reached & 8) -> f[3] = 0 :: else fi;
#endif
  card = card & ~reached;
  reached = 0;
#endif
  skip
}

#ifdef STORE_NO_CARD
#define dirty(a) skip
#else
#define dirty(a) card = card | SET(a)
#endif

/* What a recorded store does between its test and itself: it reads the old value, and shades both. */
inline recorded() {
  pickSlot(a); pick(b);
  shade(SET(f[a]) | SET(b))
#ifdef ALL_CARD
  ; dirty(a)
#endif
}

proctype Mutator(byte m) {
  byte a, b;

#ifdef ATTACH
  if
  :: !registered[m] -> goto away
  :: else
  fi;
#endif
end: do

  /* Answers. */
  :: d_step { request[m] == SYNC -> request[m] = NONE }
  :: atomic { request[m] == SCAN ->
#ifdef EAGER
       a = hold[m]; hold[m] = 0;
       do
       :: a -> if :: hold[m] = hold[m] | LOWEST(a) :: true fi; a = a & ~LOWEST(a)
       :: else -> break
       od;
#endif
       shade(hold[m]);
#ifdef NO_OFF
       colour[m] = LATE;
#else
       colour[m] = BLACK;
#endif
       request[m] = NONE;
       forget() }
  :: d_step { request[m] == OFF -> colour[m] = LATE; request[m] = NONE }
  :: d_step { request[m] == RETURN ->
       card = card | due[m];
       due[m] = 0;
       colour[m] = WHITE;
       request[m] = NONE;
       forget() }

#ifndef EAGER
  /* A load. */
  :: d_step { f[0] && !(hold[m] & SET(f[0])) -> hold[m] = hold[m] | SET(f[0]) }
  :: atomic { hold[m] -> pickFrom(hold[m], a); hold[m] = hold[m] | SET(f[a]); a = 0 }
  /* The stack forgets a reference. */
  :: atomic { hold[m] -> pickFrom(hold[m], a); hold[m] = hold[m] & ~SET(a); a = 0; forget() }
#endif

  /* A store whose test found the flag down. The card is dirtied before the store or after it; there is no safepoint between
     the three steps. */
  :: atomic { !flag -> busy[m] = true };
unrecorded:
     if
     :: atomic { pickSlot(a); dirty(a) };
        atomic { busy[m] = false; pick(b); f[a] = b; a = 0; b = 0; forget() }
     :: atomic { pickSlot(a); pick(b); f[a] = b; b = 0; forget() };
        d_step { busy[m] = false; dirty(a); a = 0; forget() }
     fi

#ifdef OTHER
  /* A store whose test found the process's flag up, for this heap's sake or for another's. The slow half looks at the heap's
     own word. */
  :: atomic { busy[m] = true };
     if
     :: word -> atomic { recorded() }
#ifdef OTHER_NO_CARD
     :: atomic { !word -> pickSlot(a); pick(b) }
#else
     :: atomic { !word -> goto unrecorded }
#endif
     fi;
     atomic { busy[m] = false; f[a] = b; a = 0; b = 0; forget() }
#else
  :: atomic { flag -> busy[m] = true };
     atomic { recorded() };
     atomic { busy[m] = false; f[a] = b; a = 0; b = 0; forget() }
#endif

#ifdef COPY
  /* A recorded store of what another slot holds. Between its reading and its storing an unrecorded store may change the source. */
  :: atomic { flag && hold[m] -> busy[m] = true };
#ifdef COPY_AFTER
     atomic { pickSlot(a); pickFrom(hold[m], b); shade(SET(f[a])); b = f[b] };
     atomic { f[a] = b; a = 0; forget() };
     d_step { busy[m] = false; shade(SET(b)); b = 0; forget() }
#else
     atomic {
       pickSlot(a); pickFrom(hold[m], b);
       shade(SET(f[a]) | SET(f[b]));
#ifdef COPY_CARD
       dirty(a);
#endif
#ifndef COPY_TWICE
       b = f[b];
#endif
       skip
     };
     atomic {
#ifdef COPY_TWICE
       b = f[b];
#endif
       busy[m] = false; f[a] = b; a = 0; b = 0; forget()
     }
#endif
#endif

  /* An allocation with an initialising store: no barrier, no card. */
  :: atomic { vacant ->
       indexOf(LOWEST(vacant), a);
       pick(b);
       f[a] = b;
       vacant = vacant & ~SET(a);
       hold[m] = hold[m] | SET(a);
       if
       :: colour[m] == WHITE -> if :: returning -> recent = recent | SET(a) :: else fi
       :: else ->
          mark = mark | SET(a);
#ifndef BORN_OLD
          if
#ifdef DUE_AT_BIRTH
          :: colour[m] == LATE -> dirty(a)
#else
          :: colour[m] == LATE -> due[m] = due[m] | SET(a)
#endif
          :: else
          fi
#endif
       fi;
       a = 0; b = 0;
       forget() }

#ifdef AMBIGUOUS
  /* A recorded store of an ambiguous word, which looks like a reference to anything. */
  :: atomic { flag && (ALLOCATED & ~mark) -> busy[m] = true };
     atomic {
       if
       :: (ALLOCATED & ~mark) -> pickFrom(ALLOCATED & ~mark, a); shade(SET(a)); a = 0
       :: else
       fi;
       busy[m] = false }
#endif

#ifdef ATTACH
  :: d_step { m == NM - 1 && request[m] == NONE && !cycleIsOn ->
       registered[m] = false; hold[m] = 0; forget() };
away: 
end2: atomic { !registered[m] ->
       registered[m] = true;
#ifdef ATTACH_PAID
       colour[m] = (heapColour == LATE -> BLACK : heapColour);
#else
       colour[m] = heapColour;
#endif
       forget() }
#endif
  od
}

inline post(k) {
  d_step {
#ifdef ATTACH
    heapColour = (k == SCAN -> BLACK : (k == OFF -> LATE : (k == RETURN -> WHITE : heapColour)));
    if :: registered[0] -> request[0] = k :: else fi;
#if NM > 1
    if :: registered[1] -> request[1] = k :: else fi;
#endif
#else
    request[0] = k;
#if NM > 1
    request[1] = k;
#endif
#endif
    if :: k == RETURN -> returning = true :: else fi
  }
}
#if NM > 1
#define ANSWERED (request[0] == NONE && request[1] == NONE)
#else
#define ANSWERED (request[0] == NONE)
#endif
inline handshake(k) { post(k); ANSWERED }

/* remembered: old objects that refer to white ones. What is marked and not grey is old: nobody is black yet. */
#ifdef UNVERIFIED
#define checkRemembered() skip
#define checkClosed() skip
#else
inline checkRemembered() {
  d_step {
    reached = mark & ~grey & ~card;
    reached = SLOTS(reached);
    assert(!minor || (reached & ~mark) == 0);
    reached = 0
  }
}
inline checkClosed() {
  d_step { reached = mark; close(reached); assert((reached & ~mark) == 0); reached = 0 }
}
#endif

/* The cards, one after the other, in any order. In a minor cycle the object there is read if it is marked. It may be grey, and not
   old: then it is read again later. */
inline useCards() {
  do
  :: atomic { minor && card -> pickFrom(card, o);
#ifndef SCAN_THEN_CLEAR
       card = card & ~SET(o)
#endif
     };
     d_step {
       if
       :: mark & SET(o) -> shade(SET(f[o]))
       :: else
       fi;
#ifndef SCAN_THEN_CLEAR
       o = 0;
#endif
       forget() }
#ifdef SCAN_THEN_CLEAR
     d_step { card = card & ~SET(o); o = 0 }
#endif
  :: d_step { !minor && card -> card = card & ~LOWEST(card) }
  :: !card -> break
  od
}

#if defined(CLEAR_UNDER_FLAG) || defined(CLEAR_LATE)
inline clearMarks() { d_step { if :: !minor -> mark = 0; forget() :: else fi } }
#endif

inline drain() {
  do
  :: atomic { grey -> pickFrom(grey, o); grey = grey & ~SET(o); shade(SET(f[o])); o = 0; forget() }
  :: !grey -> break
  od
}

proctype Collector() {
  byte o;

  do
  :: /* Full or minor. */
     if
     :: d_step {
#if !defined(KEEP_MARKS) && !defined(CLEAR_UNDER_FLAG) && !defined(CLEAR_LATE)
          mark = 0;
#endif
          minor = false; forget()
        }
     :: minor = true
     fi;

     /* raiseBarrier */
     d_step {
#ifdef ATTACH
       cycleIsOn = true;
#endif
       word = true;
#ifdef GARBAGE
       garbage = ROOTS | STACKS; close(garbage); garbage = (minor -> 0 : ALLOCATED & ~garbage);
#endif
     }
#ifdef OTHER
     flag = true;
#endif
#ifdef CLEAR_UNDER_FLAG
     clearMarks();
#endif
#ifdef CARDS_EARLY
     useCards();
#endif
     handshake(SYNC);
#ifdef CARDS_BETWEEN
     useCards();
#endif
#ifdef CLEAR_LATE
     clearMarks();
#endif
     handshake(SYNC);
#if !defined(CARDS_EARLY) && !defined(CARDS_BETWEEN)
     checkRemembered();
#ifndef CARDS_LATE
     useCards();
#endif
#endif
     handshake(SCAN);
#ifdef CARDS_LATE
     useCards();
#endif
     shade(SET(f[0]));
     drain();

     /* Marking has ended: the last look, and what must be true then. */
     do
     :: d_step { !grey ->
          reached = ROOTS | STACKS;
          close(reached);
          assert((reached & ~mark) == 0);
          reached = 0;
#ifdef GARBAGE
          assert((garbage & mark) == 0);
          garbage = 0
#endif
        };
        break
     :: grey -> drain()
     od;

     /* lowerBarrier */
#ifdef OTHER
     flag = false;
#endif
     word = false;
#ifndef NO_OFF
     handshake(OFF);
#endif
     drain();
     checkClosed();

     /* advanceGeneration, sweep */
     handshake(RETURN);
     d_step {
       reached = ROOTS | STACKS;
       close(reached);
       assert((reached & vacant) == 0);
       o = ALLOCATED & ~mark & ~recent;
       assert((reached & o) == 0);
       vacant = vacant | o;
       card = card & ~o;
       if :: (o & 2) -> f[1] = 0 :: else fi;
#if N >= 2
       if :: (o & 4) -> f[2] = 0 :: else fi;
#endif
#if N >= 3
       if :: (o & 8) -> f[3] = 0 :: else fi;
#endif
       reached = ALLOCATED;
       reached = SLOTS(reached);
#ifndef UNVERIFIED
       assert((reached & vacant) == 0);
#endif
#ifndef UNVERIFIED
       assert(grey == 0);
#endif
       reached = 0; o = 0; recent = 0; returning = false;
#ifdef ATTACH
       cycleIsOn = false;
#endif
       forget()
     }
  od
}

init {
  atomic {
#ifdef ATTACH
    registered[0] = true;
#endif
    run Mutator(0);
#if NM > 1
    run Mutator(1);
#endif
    run Collector()
  }
}
