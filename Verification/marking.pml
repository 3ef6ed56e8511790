/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * Marking: from raising the barrier flag to the moment at which the collector says "all that lives is marked".
 *
 * The heap is a root slot f[0] and N objects with one slot each, f[1] ... f[N]. One slot an object is enough: what
 * goes wrong with several is that a reference moves from a slot not yet read to one already read, and two objects have
 * two such slots. The model starts between two cycles, in every graph of the OLD objects and with every content of the
 * stacks; sweep.pml shows that a cycle leaves the heap as this model expects to find it (marks clear, buffers
 * empty, nobody black), so that one cycle from every start is as good as many in a row.
 *
 * A stack is the set of objects it refers to (`hold`), without a bound and without an order. A barrier buffer is a set
 * too, and "is it full?" is answered by chance after every append: that covers every capacity. A set loses the
 * order of the entries and their number; marking needs neither.
 *
 * A mark bit is set in one step, and who sets it has the object: it is on the stack of whoever marked it, and goes to the shared
 * store with the rest of that stack. Only from there is anything taken here. In the code a marker also reads what is on its own
 * stack, and puts a part of it into the store whenever a block is full. With OWN_STACK the model does so, too.
 *
 * A handshake is a request that each mutator answers at its next safepoint, at the top of its loop: handshake.pml shows
 * that status words, blocking regions, the collector acting on a mutator's behalf, attaching and detaching come
 * to just that. A mutator that nobody uses (idle, in the pool) has an empty stack and answers like any other: here it is one
 * that has dropped all and does nothing. Idle mutators are retired between two cycles only, so none goes here. What is posted and the heap-wide state that a new mutator adopts change in one step, because the
 * collector changes both under the registry lock.
 *
 * The property is asserted at the moment when marking ends, and is stronger than "no reachable object is swept later":
 * everything that the roots, the stacks and the objects reachable from them refer to is marked. From then on
 * nobody can reach a white object (weak look-ups read nil, new objects are black), so nothing after it has to be explored.
 *
 * Configurations   NM mutators; OLD objects at the start, FRESH free slots to allocate from
 *                  WEAK        object 1 has a weak reference to it
 *                  ATTACH      the last mutator is made in the midst of the cycle
 *                  ASSIST      mutators take work from the store
 *                  AMBIGUOUS   mutators store words that may look like a reference to anything; the search goes on to the answers
 *                              to OFF
 *                  OWN_STACK   mutators read what is on their own stacks, and put any part of it into the store at any time
 *                  DROPPER     a thread that is not attached drops a root handle (a second root slot)
 *                  STALE       stacks hold stale words, which may point into the unused rest of anybody's run
 *                  GARBAGE     what nobody could reach when the flag went up must be white when marking ends
 *                  POLLS       mutators answer when asked; with LTL `ends`
 *                  MINOR       the cycle is a minor one: some objects are old, that is marked from the start, and not grey. Where an
 *                              old one refers to a young one, its card is dirty; other cards may be. generations.pml shows that every
 *                              cycle leaves it so
 *                  CLOSED      no marked object refers to an unmarked one when marking ends, dead or not; dead objects are not forgotten
 * Variants         NOTE_AFTER: an assist notes only when it is through; LOOK_AGAIN: a first round that was not clean is looked at
 *                  once more, as the last one is, and may end marking. Each is as good; not both together. The code has neither
 * Smaller searches EAGER       see below; FINE: a flush in its single steps; STORELESS: no stores but initialising ones;
 *                  BLACK_START: begins when all stacks have been scanned; CHAIN: one graph; FEW_STORES: mutator 0 clears slots,
 *                  mutator 1 stores into f[0] and has a small buffer
 * Switches         ONE_SYNC  NO_DELETION  NO_INSERTION  BLACK_EARLY  TRACE_EARLY  NO_FLUSH  NO_CONFIRM  RESET_BETWEEN
 *                  NO_SHADED_LOOKUP  UNLOCKED_END  NO_ROOT_SHADE  ROOTS_LATE  GIVE_BACK  WHITE_ATTACH  LOSE_BUFFER
 *                  NOTE_BEFORE  NO_NOTE  NOTE_ALWAYS  ASSIST_EARLY  LATE_MARKS  LATE_FLUSH  NO_CARDS
 *                  CARDS_TAKE
 *
 * EAGER. A mutator that holds more can do all that one can that holds less, and more has to be marked at the end. So it is enough to
 * search the runs in which every mutator loads all that it can reach as soon as it is at leisure, and drops a reference
 * only in the step in which its stack is scanned, where alone it makes a difference. (Not with GARBAGE, which asks the
 * opposite question.)
 */
#ifndef NM
#define NM 2
#endif
#ifndef OLD
#define OLD 2
#endif
#ifndef FRESH
#define FRESH 0
#endif
#define N (OLD + FRESH)

/* Sets of objects are bit masks; object o is bit o, and nil (0) is in no set. */
#define SET(o)  ((1 << (o)) & 254)
#define ALL     ((1 << (N + 1)) - 2)
#define LOWEST(s) ((s) & -(s))

#define NONE   0
#define SYNC   1
#define SCAN   2
#define FLUSH  3
#define OFF    4

byte f[N + 1];             /* f[o] is object o's slot; f[0] that of an object which a root keeps for ever */
byte mark;                 /* gcmarkBits */
byte grey;                 /* ghost: found and not taken to be read: on somebody's stack, or in the store */
byte store;                /* the shared store of grey objects */
bool foundWork = true;     /* something was newly marked, or taken from the store by a mutator, since this was last cleared */
bool flag;                 /* the barrier flag */
bool finished;
#ifdef ASSIST
bool isMarking;            /* mutators may take work from the store */
#endif
byte inHand[3];            /* what is being scanned: by the collector and, with ASSIST, by mutators */
byte reached;              /* scratch, 0 between steps */

byte hold[NM];             /* what the stack refers to */
bool busy[NM];             /* between two safepoints: inside a store, a flush or an answer */
byte buffer[NM];
byte request[NM];
bool black[NM];            /* blackens its runs */
byte vacant;               /* free slots in nobody's run */
byte rest[NM];             /* the unused rest of the mutator's run: one slot at most */

#ifdef MINOR
byte card;                 /* old objects on dirty cards */
#define dirty(o) card = card | SET(o)
#else
#define dirty(o) skip
#endif
bool ended;                /* marking has ended: an unmarked object is dead. Guarded by: rootLock */
#ifdef AMBIGUOUS
bool flushing[NM];         /* flushes between two safepoints. Guarded by: rootLock, to begin */
#if NM > 1
#define FLUSHING (flushing[0] || flushing[1])
#else
#define FLUSHING flushing[0]
#endif
#endif

#if defined(WEAK) || defined(DROPPER)
#define LOCKED             /* there are threads that mark outside the discipline of the handshakes */
bool rootLock;
bool rootsMark;            /* they are to mark. Guarded by: rootLock */
#endif
#ifdef ATTACH
bool registered[NM];
bool heapBlack;            /* what a new mutator goes by. Guarded by: the registry lock */
#endif
#ifdef DROPPER
byte g;                    /* a root slot */
bool handle = true;        /* the program still has its handle */
byte using;                /* mutators in the midst of using the handle: they keep it */
#endif
#ifdef GARBAGE
byte garbage;
#endif

#if defined(NOTE_ALWAYS)
#define MAY_ASSIST isMarking
#elif defined(ASSIST_EARLY)
#define MAY_ASSIST store && black[m]
#else
#define MAY_ASSIST store && isMarking
#endif

/* Picks an object of a set that is not empty; or nil or something on the stack. Local steps. */
inline pickFrom(set, v) {
  if
  :: ((set) & 2) -> v = 1
#if N >= 2
  :: ((set) & 4) -> v = 2
#endif
#if N >= 3
  :: ((set) & 8) -> v = 3
#endif
#if N >= 4
  :: ((set) & 16) -> v = 4
#endif
  fi
}
inline pick(v) {
  if
  :: v = 0
  :: (hold[m]) -> pickFrom(hold[m], v)
  fi
}

inline indexOf(s, v) {
  if
  :: s == 2 -> v = 1
  :: s == 4 -> v = 2
  :: s == 8 -> v = 3
  :: s == 16 -> v = 4
  fi
}

/* What the objects of a set refer to, and they themselves; as often as a path can be long. */
#if N == 1
#define SLOTS(r) ((r & 2 -> SET(f[1]) : 0))
#elif N == 2
#define SLOTS(r) ((r & 2 -> SET(f[1]) : 0) | (r & 4 -> SET(f[2]) : 0))
#elif N == 3
#define SLOTS(r) ((r & 2 -> SET(f[1]) : 0) | (r & 4 -> SET(f[2]) : 0) | (r & 8 -> SET(f[3]) : 0))
#else
#define SLOTS(r) ((r & 2 -> SET(f[1]) : 0) | (r & 4 -> SET(f[2]) : 0) | (r & 8 -> SET(f[3]) : 0) | (r & 16 -> SET(f[4]) : 0))
#endif
inline close(r) {
  r = r | SLOTS(r);
#if N >= 3
  r = r | SLOTS(r);
#endif
#if N >= 4
  r = r | SLOTS(r);
#endif
  skip
}
/* What the program can reach. */
#if NM > 1
#define STACKS (hold[0] | hold[1])
#define BUFFERS (buffer[0] | buffer[1])
#define RUNS (rest[0] | rest[1])
#else
#define STACKS hold[0]
#define BUFFERS buffer[0]
#define RUNS rest[0]
#endif
#ifdef DROPPER
#define ROOTS (SET(f[0]) | SET(g))
#else
#define ROOTS SET(f[0])
#endif
#ifdef WEAK
#define WEAKLY 2
#else
#define WEAKLY 0
#endif
#ifdef ASSIST
#define IN_HAND (inHand[0] | inHand[1] | inHand[2])
#else
#define IN_HAND inHand[0]
#endif

#ifdef EAGER
/* Every mutator that is at leisure loads all that it can reach. */
inline loadAll() {
  if
  :: !busy[0] -> hold[0] = hold[0] | ROOTS; close(hold[0])
  :: else
  fi;
#if NM > 1
  if
  :: !busy[1] -> hold[1] = hold[1] | ROOTS; close(hold[1])
  :: else
  fi
#endif
}
#endif

/* Forgets the dead (not with AMBIGUOUS words, which may find them). An object that the program cannot reach, that is in no buffer and that marking will not read has no
   part in what follows. Its slot and its bits are set to fixed values, so that states which differ only in such remains
   are one state. */
inline forget() {
#ifdef EAGER
  loadAll();
#endif
#if !defined(AMBIGUOUS) && !defined(CLOSED)
  reached = ROOTS | STACKS | BUFFERS | grey | IN_HAND | WEAKLY;
  close(reached);
  reached = ALL & ~vacant & ~RUNS & ~reached;
  if
  :: (reached & 2) -> f[1] = 0
  :: else
  fi;
#if N >= 2
  if
  :: (reached & 4) -> f[2] = 0
  :: else
  fi;
#endif
#if N >= 3
  if
  :: (reached & 8) -> f[3] = 0
  :: else
  fi;
#endif
#if N >= 4
  if
  :: (reached & 16) -> f[4] = 0
  :: else
  fi;
#endif
#ifndef GARBAGE
  mark = mark | reached;
#endif
#ifdef MINOR
  card = card & ~reached;
#endif
  reached = 0;
#endif
  skip
}

/* Takes an object out of the store, to be read. */
inline take(o) {
  assert(grey & SET(o));
  store = store & ~SET(o);
  grey = grey & ~SET(o)
}

/* Marks and buffers. An object that is marked already can be in a buffer or not: flushing it does nothing. So the model
   leaves it out, when it is appended and when it is marked, which saves states and changes nothing else. */
inline append(m, o) {
  buffer[m] = buffer[m] | (SET(o) & ~mark)
}
inline setMarks(s) {
  grey = grey | ((s) & ~mark);
  mark = mark | (s);
  buffer[0] = buffer[0] & ~mark;
#if NM > 1
  buffer[1] = buffer[1] & ~mark;
#endif
  skip
}

/* Answering SCAN. The stack's objects are marked one after the other in the code; here at once: nothing is scanned before
   the last mutator has answered, nobody ends a round, and whoever else marks one of them meanwhile only takes the work off us.
   Blackening comes last. */
inline scanStack() {
#ifdef STALE
  /* A stale word may mark any slot below a freeIndex, an unused one in a run included. */
  if
  :: c = 0
  :: (rest[0]) -> c = rest[0]
#if NM > 1
  :: (rest[1]) -> c = rest[1]
#endif
  fi;
  c = c | hold[m];
#else
  c = hold[m];
#endif
  store = store | (c & ~mark);
  setMarks(c);
  c = 0
}
inline blacken(m) {
  black[m] = true;
  mark = mark | rest[m]
}

/* Marks what is in the buffer: each object by a test-and-set; then, when all are marked, a note that something was found; then
   the objects go to the shared store. Between these steps the others go on. There is no safepoint in between, so a mutator
   that is asked for something answers only when it is through. Without FINE this is one step. */
inline flush(m) {
#ifdef FINE
  do
  :: (buffer[m]) ->
     d_step {
       a1 = LOWEST(buffer[m]) & ~mark;
       buffer[m] = buffer[m] & ~LOWEST(buffer[m]);
       setMarks(a1);
       c = c | a1;
#ifdef OWN_STACK
       found = found || a1;
#endif
       a1 = 0
     }
#ifdef OWN_STACK
  :: c -> store = store | c; c = 0
  :: buffer[m] == 0 -> break
  od;
  if
  :: found -> foundWork = true; found = false
  :: else
  fi;
  store = store | c; c = 0
#else
  :: else -> break
  od;
  if
  :: c -> foundWork = true; store = store | c; c = 0
  :: else
  fi
#endif
#else
  d_step {
    c = buffer[m] & ~mark;
    setMarks(c);
    store = store | c;
    if :: c -> foundWork = true :: else fi;
    c = 0
  }
#endif
}

/* The buffer is full: a flush between two safepoints. It may meet the end of marking. If it has begun before, the collector waits for
   it. If it begins later, it marks nothing: what is in the buffer is marked, or a word looked like it. Without such words
   there is nothing to be lost: the buffer holds nothing that is white (asserted at the end). */
inline flushFull(m) {
#ifdef AMBIGUOUS
  d_step {
    if
#ifndef LATE_MARKS
    :: ended -> buffer[m] = 0
#endif
    :: else -> flushing[m] = true
    fi
  };
  if
  :: flushing[m] -> flush(m); flushing[m] = false
  :: else
  fi
#else
  flush(m)
#endif
}

proctype Mutator(byte m) {
  byte a, b, c, a1;
#ifdef OWN_STACK
  bool found;              /* something was marked in this flush */
#endif

#ifdef ATTACH
  /* The last mutator is made during the cycle. */
  if
  :: !registered[m] -> goto away
  :: else
  fi;
#endif
end: do

  /* Answers. */
  :: atomic { request[m] == SYNC -> 
#ifdef BLACK_EARLY
       blacken(m);
#endif
       request[m] = NONE }
  :: atomic { request[m] == SCAN -> 
#ifdef EAGER
       /* Now is the time to have dropped what is not to be found. */
       c = hold[m]; hold[m] = 0;
       do
       :: c -> if :: hold[m] = hold[m] | LOWEST(c) :: true fi; c = c & ~LOWEST(c)
       :: else -> break
       od;
#endif
       scanStack();
       blacken(m);
       request[m] = NONE;
       forget() }
#if defined(AMBIGUOUS) && !defined(LATE_MARKS)
  :: d_step { request[m] == OFF -> buffer[m] = 0; request[m] = NONE; forget() }
#define MARKS_BUFFER(m) request[m] == FLUSH
#else
#define MARKS_BUFFER(m) request[m] >= FLUSH
#endif
  :: atomic { MARKS_BUFFER(m) -> busy[m] = true };
#ifndef NO_FLUSH
     flush(m);
#endif
     d_step { busy[m] = false; request[m] = NONE; forget() }

#ifdef POLLS
#define WHEN(c) request[m] == NONE && (c)
#else
#define WHEN(c) (c)
#endif

#ifndef EAGER
  /* A load: one step. */
  :: atomic { WHEN(f[0] && !(hold[m] & SET(f[0]))) -> hold[m] = hold[m] | SET(f[0]) }
  :: atomic { WHEN(hold[m]) -> pickFrom(hold[m], a); hold[m] = hold[m] | SET(f[a]); a = 0 }

  /* The stack forgets a reference. */
  :: atomic { WHEN(hold[m]) -> pickFrom(hold[m], a); hold[m] = hold[m] & ~SET(a); a = 0; forget() }
#endif

#ifndef STORELESS
  /* A store into the root slot or into an object's. With the flag down: its test, and the store. With the flag up: its
     test, the old value's reading and the two appends; then a flush if the buffer is full; then the store. The test
     that found the flag up is one step with the reading, because the flag stays up from then on: the model
     ends before it is lowered. What is stored where is chosen when it first matters. */
  :: atomic { WHEN(!flag) -> busy[m] = true }; atomic { busy[m] = false; pick(a); pick(b); f[a] = b; dirty(a); a = 0; b = 0; forget() }
  :: atomic { WHEN(flag) ->
       busy[m] = true;
#ifdef FEW_STORES
       if :: m == 0 -> pick(a) :: else -> pick(b) fi;
#else
       pick(a); pick(b);
#endif
#ifndef NO_DELETION
       append(m, f[a]);
#endif
#ifndef NO_INSERTION
       append(m, b);
#endif
       skip
     };
     if
     :: true
#ifdef FEW_STORES
     :: m == 1 && buffer[m] -> flushFull(m)
#else
     :: buffer[m] -> flushFull(m)
#endif
     fi;
     atomic { busy[m] = false; f[a] = b; a = 0; b = 0; forget() }

#endif

#if FRESH
  /* The next run, of one slot. A black mutator's is blackened as it is taken. */
  :: atomic { WHEN(vacant && !rest[m]) ->
       rest[m] = LOWEST(vacant);
       vacant = vacant & ~rest[m];
       if
       :: black[m] -> mark = mark | rest[m]
       :: else
       fi }
  /* An allocation with an initialising store, which has no barrier. Nobody else can see the object yet. */
  :: atomic { WHEN(rest[m]) -> pick(b); indexOf(rest[m], a); f[a] = b; hold[m] = hold[m] | rest[m]; rest[m] = 0; a = 0; b = 0; forget() }
#endif

#ifdef WEAK
  /* A weak look-up. Outside marking, and of a marked target, it is a load. Otherwise it takes the lock and marks the target there
     and then, with the note and the push; once marking has ended, it reads nil. */
  :: atomic { WHEN(!(hold[m] & 2) && (!rootsMark || (mark & 2))) -> hold[m] = hold[m] | 2; forget() }
  :: atomic { WHEN(!(hold[m] & 2) && rootsMark && !(mark & 2) && !ended && !rootLock) -> rootLock = true; busy[m] = true };
#ifndef NO_SHADED_LOOKUP
     d_step { c = 2 & ~mark; setMarks(c) };
     if
     :: c -> foundWork = true; store = store | c; c = 0
     :: else
     fi;
#endif
     d_step { hold[m] = hold[m] | 2; rootLock = false; busy[m] = false; forget() }
#endif

#ifdef ASSIST
  /* Work taken from the store. If there is some, a note comes first; then an object is taken, if there still is one, and
     scanned. Who has taken one notes again when it is through, whether it found anything or not: the collector may have cleared the
     first note while the object was in the mutator's hands, and what the scan did not find any more may be in the buffer of
     another mutator, which has answered for this round. */
  :: atomic { WHEN(MAY_ASSIST) ->
#if !defined(NOTE_AFTER) && !defined(NO_NOTE)
       foundWork = true;
#endif
       busy[m] = true };
     atomic {
       if
       :: store -> pickFrom(store, a); take(a); inHand[m + 1] = SET(a)
       :: else
       fi };
     if
     :: a ->
        d_step { inHand[m + 1] = SET(f[a]); a = 0; forget() }
#ifdef OWN_STACK
        /* It marks what it has read. What was white is on its stack (c): it reads on from there, or takes more from the store, or
           puts what it has there. It notes nothing until it is through. */
        do
        :: inHand[m + 1] ->
           d_step { a1 = inHand[m + 1] & ~mark; setMarks(a1); c = c | a1; a1 = 0; inHand[m + 1] = 0; forget() }
        :: inHand[m + 1] == 0 && c ->
           atomic { pickFrom(c, a); c = c & ~SET(a); grey = grey & ~SET(a); inHand[m + 1] = SET(a) };
           d_step { inHand[m + 1] = SET(f[a]); a = 0; forget() }
        :: atomic { inHand[m + 1] == 0 && store -> pickFrom(store, a); take(a); inHand[m + 1] = SET(a) };
           d_step { inHand[m + 1] = SET(f[a]); a = 0; forget() }
        :: inHand[m + 1] == 0 && c -> store = store | c; c = 0
        :: inHand[m + 1] == 0 -> break
        od;
        if
        :: c -> foundWork = true; store = store | c; c = 0
        :: else
        fi;
#else
        if
        :: inHand[m + 1] ->
           d_step {
             c = inHand[m + 1] & ~mark;
             setMarks(c);
             inHand[m + 1] = 0;
             forget()
           }
           if
           :: c -> foundWork = true; store = store | c; c = 0
           :: else
           fi
        :: else
        fi;
#endif
#if !defined(NOTE_BEFORE) && !defined(NO_NOTE)
        foundWork = true
#endif
     :: else
     fi;
     d_step { busy[m] = false; forget() }
#endif

#ifdef AMBIGUOUS
  /* A store of an ambiguous word: the old and the new word may look like a reference to any object, garbage included. It is
     recorded like a reference. */
  :: atomic { WHEN(flag && (ALL & ~(mark | buffer[m]))) ->
       pickFrom(ALL & ~(mark | buffer[m]), a);
       buffer[m] = buffer[m] | SET(a); a = 0;
       forget()
     }
#endif

#ifdef DROPPER
  /* A root slot, as long as the program has the handle. Setting it shades at once, under the table's lock. */
  :: atomic { WHEN(handle && g && !(hold[m] & SET(g))) -> hold[m] = hold[m] | SET(g) }
  :: atomic { WHEN(handle && !rootLock) -> rootLock = true; busy[m] = true; using++ };
     atomic { pick(b); c = (rootsMark -> (SET(g) | SET(b)) & ~mark : 0); setMarks(c) };
     if
     :: c -> foundWork = true; store = store | c; c = 0
     :: else
     fi;
     d_step { busy[m] = false; g = b; b = 0; using--; rootLock = false; forget() }
#endif

#if defined(LOSE_BUFFER) || defined(GIVE_BACK)
  /* An idle mutator is retired while a collection is on: what it still had is gone, or is given back too early. */
  :: d_step { registered[m] && request[m] == NONE ->
       hold[m] = 0;
#ifndef LOSE_BUFFER
       c = buffer[m]; store = store | (c & ~mark); setMarks(c); foundWork = true; c = 0;
#endif
       buffer[m] = 0;
#ifdef GIVE_BACK
       vacant = vacant | rest[m];
#else
       mark = mark | rest[m];
#endif
       rest[m] = 0;
       registered[m] = false; black[m] = false; busy[m] = true
     };
     goto away
#endif
  od;

#ifdef ATTACH
away:
end2: atomic { !registered[m] && !ended ->
    registered[m] = true;
#ifndef WHITE_ATTACH
    black[m] = heapBlack;
#endif
    busy[m] = false;
    forget()
  };
  goto end
#endif
}

#ifdef DROPPER
/* Drops the last reference to the handle, on a thread that is not attached: no buffer, no safepoint, nobody waits for it. */
proctype Dropper() {
  byte c;
  atomic { handle && using == 0 -> handle = false };
  atomic { !rootLock -> rootLock = true };
#ifndef NO_ROOT_SHADE
  if
  :: rootsMark ->
     d_step { c = SET(g) & ~mark; setMarks(c) };
     if
     :: c -> foundWork = true; store = store | c; c = 0
     :: else
     fi
  :: else
  fi;
#endif
  d_step { g = 0; forget() }
  rootLock = false
}
#endif

inline post(k) {
  d_step {
#ifdef ATTACH
    if :: k == SCAN -> heapBlack = true :: else fi;
    if :: registered[0] -> request[0] = k :: else fi;
#if NM > 1
    if :: registered[1] -> request[1] = k :: else fi
#endif
#else
    request[0] = k
#if NM > 1
    ; request[1] = k
#endif
#endif
  }
}
#if NM > 1
#define ANSWERED (request[0] == NONE && request[1] == NONE)
#else
#define ANSWERED (request[0] == NONE)
#endif
inline handshake(k) { post(k); ANSWERED }

/* Takes an object from the store and reads its slot. Which object: any of them. The collector's own mark and push are one
   step: whoever else looks at the store may find it a step later. The test and the taking are one step, so that the
   collector does not wait for an object that an assist took first. */
inline scanOne() {
  atomic {
    store -> pickFrom(store, o); take(o); inHand[0] = SET(o)
  };
  shadeSlot(f[o])
}
inline shadeSlot(slot) {
  d_step { inHand[0] = SET(slot); o = 0; forget() };
  d_step { store = store | (inHand[0] & ~mark); setMarks(inHand[0]); inHand[0] = 0; forget() }
}
inline drain() {
  do
  :: scanOne()
  :: store == 0 -> break
  od
}

#ifdef MINOR
/* The cards, after the second SYNC: each is cleared, and the object on it is read if it is marked. Perhaps it is not old and has
   been found meanwhile. Then it stays where it is, and is read again. Whether the card is cleared first does not matter, because
   no recorded store dirties a card. The remembered set is complete at the beginning, but for what is in buffers. */
inline useCards() {
  d_step { reached = mark & ~grey & ~card; reached = SLOTS(reached); assert((reached & ~(mark | BUFFERS)) == 0); reached = 0 };
#ifdef STALE
  /* Before it, a recorded store of an ambiguous word may have marked an unused slot in a run, and the slot may share its card. */
  d_step { card = card | RUNS };
  atomic {
    if
    :: rest[0] -> store = store | (rest[0] & ~mark); setMarks(rest[0])
#if NM > 1
    :: rest[1] -> store = store | (rest[1] & ~mark); setMarks(rest[1])
#endif
    :: true
    fi
  };
#endif
#ifndef NO_CARDS
  do
  :: atomic {
       card -> pickFrom(card, o); card = card & ~SET(o);
       if
       :: mark & SET(o) ->
#ifdef CARDS_TAKE
          /* As if this were all the reading that it needs. */
          store = store & ~SET(o); grey = grey & ~SET(o);
#endif
          skip
       :: else -> o = 0
       fi
     };
     if
     :: o -> shadeSlot(f[o])
     :: else
     fi
  :: card == 0 -> break
  od
#endif
  skip
}
#endif

/* Whether the round that ends now found nothing: the store first, then the note. */
inline look() {
  clean = store == 0;
  clean = clean && !foundWork
}
/* The last look, and the decision. A weak look-up may find a white target when everybody has answered. So the look and the
   decision are made under the lock under which look-ups mark. */
inline lookAndEnd() {
#if defined(LOCKED) && !defined(UNLOCKED_END)
  atomic { !rootLock -> rootLock = true };
  look();
  d_step { ended = clean; rootLock = false }
#elif defined(AMBIGUOUS) && !defined(LATE_FLUSH)
  /* The lock is held while the last flush comes to its end. */
  atomic { !FLUSHING -> look(); ended = clean }
#else
  look();
  ended = clean
#endif
}

proctype Collector() {
  byte o;
  bool clean;

#ifndef BLACK_START
  /* raiseBarrier */
  atomic {
    flag = true;
#ifdef GARBAGE
    garbage = ROOTS | STACKS | WEAKLY; close(garbage); garbage = ALL & ~vacant & ~RUNS & ~garbage;
#endif
    skip
  }
#if defined(LOCKED) && !defined(ROOTS_LATE)
  atomic { !rootLock -> rootsMark = true };
#endif
  handshake(SYNC);
#ifndef ONE_SYNC
  handshake(SYNC);
#endif
#ifdef MINOR
  useCards();
#endif

  /* scanStacksAndRoots */
  post(SCAN);
#ifdef TRACE_EARLY
  do
  :: ANSWERED -> break
  :: scanOne()
  od;
#else
  ANSWERED;
#endif
#if defined(LOCKED) && defined(ROOTS_LATE)
  atomic { !rootLock -> rootsMark = true };
#endif
#endif /* BLACK_START */
  shadeSlot(f[0]);
#ifdef DROPPER
  atomic { !rootLock -> shadeSlot(g) };
#endif

#ifdef ASSIST
  isMarking = true;
#endif

  /* terminateMarking. Two rounds in a row that find nothing, the note being cleared before the first of them only. */
  do
  :: drain();
     foundWork = false;
#ifdef NO_FLUSH
     ended = true;
     break;
#endif
     handshake(FLUSH);
#ifdef NO_CONFIRM
     lookAndEnd();
     if
     :: clean -> break
     :: else
     fi;
#else
     look();
     if
     :: clean ->
#ifdef RESET_BETWEEN
        drain();
        foundWork = false;
#endif
        handshake(FLUSH);
        lookAndEnd();
        if
        :: clean -> break
        :: else
        fi
     :: else
#ifdef LOOK_AGAIN
        -> lookAndEnd();
        if
        :: clean -> break
        :: else
        fi
#endif
     fi;
#endif
     foundWork = true /* or false: it is cleared before it is read again */
  od;

  /* Nothing that can be reached is white, and nothing has changed it since the last look. In the end the model forgets
     everything, so that what the mutators do afterwards costs no states. */
  skip; /* Spin does not let a loop break into a d_step */
  d_step {
    reached = ROOTS | STACKS;
    close(reached);
    assert((reached & ~mark) == 0);
#ifdef CLOSED
    reached = mark; close(reached);
    assert((reached & ~mark) == 0);
#endif
#ifndef AMBIGUOUS
    assert((BUFFERS & ~mark) == 0)
#endif
  };
#ifdef ASSIST
  isMarking = false;
#endif
#ifdef AMBIGUOUS
  /* lowerBarrier. Nobody marks any more: nothing that lives on refers to something swept. */
  flag = false;
  handshake(OFF);
  d_step { reached = mark; close(reached); assert((reached & ~mark) == 0) };
#endif
  d_step {
#ifdef GARBAGE
    assert((garbage & mark) == 0);
#endif
    finished = true; clean = false;
    reached = 0; clean = false;
    f[0] = 0; f[1] = 0;
#if N >= 2
    f[2] = 0;
#endif
#if N >= 3
    f[3] = 0;
#endif
#if N >= 4
    f[4] = 0;
#endif
    hold[0] = 0; buffer[0] = 0; rest[0] = 0; black[0] = false;
#if NM > 1
    hold[1] = 0; buffer[1] = 0; rest[1] = 0; black[1] = false;
#endif
#ifdef DROPPER
    g = 0; handle = false;
#endif
    mark = 254; grey = 0; store = 0; vacant = 0; foundWork = false; flag = false
  }
}

init {
  byte i;
  atomic {
    /* Every graph of the old objects, every stack. */
    i = 0;
    do
    :: i <= OLD ->
#ifdef CHAIN
       if :: i < OLD -> f[i] = i + 1 :: else fi;
#else
       if
       :: f[i] = 0
#if OLD >= 1
       :: f[i] = 1
#endif
#if OLD >= 2
       :: f[i] = 2
#endif
#if OLD >= 3
       :: f[i] = 3
#endif
#if OLD >= 4
       :: f[i] = 4
#endif
       fi;
#endif
#ifdef EAGER
       if :: i > 0 -> hold[0] = hold[0] | SET(i); hold[NM - 1] = hold[0] :: else fi;
#else
       if
       :: i > 0 -> if :: hold[0] = hold[0] | SET(i) :: true fi
#if NM > 1
       ; if :: hold[1] = hold[1] | SET(i) :: true fi
#endif
       :: else
       fi;
#endif
       i++
    :: else -> break
    od;
    vacant = ALL & ~((1 << (OLD + 1)) - 1);
#ifdef MINOR
    /* Some are old. What an old one refers to is old too, or its card is dirty. */
    i = 1;
    do
    :: i <= OLD -> if :: mark = mark | SET(i) :: true fi; i++
    :: else -> break
    od;
    i = 1;
    do
    :: i <= OLD ->
       if
       :: (mark & SET(i)) && (SET(f[i]) & ~mark) -> card = card | SET(i)
       :: else -> if :: card = card | SET(i) :: true fi
       fi;
       i++
    :: else -> break
    od;
#ifdef BLACK_START
    reached = card & mark; reached = SLOTS(reached) & ~mark;
    store = reached; setMarks(reached); reached = 0; card = 0;
#endif
#endif
    i = 0;
#ifdef ATTACH
    registered[0] = true;
#if defined(LOSE_BUFFER) || defined(GIVE_BACK)
    registered[1] = true;
#else
    busy[1] = true; hold[1] = 0;
#endif
#endif
#ifdef BLACK_START
    flag = true;
#ifdef LOCKED
    rootsMark = true;
#endif
    hold[0] = 0; black[0] = true;
    hold[NM - 1] = 0; black[NM - 1] = true;
    d_step { forget() };
#endif
    run Mutator(0);
#if NM > 1
    run Mutator(1);
#endif
#ifdef DROPPER
    run Dropper();
#endif
    run Collector()
  }
}

#ifdef POLLS
ltl ends { <> finished }
#endif
