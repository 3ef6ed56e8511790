/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * One span's bits and its place in the mark queue: the other models treat an object as a span of its own, and this
 * one shows that a span with several slots loses nothing.
 *
 * Two threads mark (a plain test, an atomic or, an exchange of `queued`, a push), and two scan (a pop, `queued` cleared, the
 * marks read, `scanned` read and set). The span's owner takes a run and makes it black, because it allocates black: it sets the run's
 * `scanned` bits, then its marks, and then it initialises the objects. All of them share one word of each bitmap.
 * The queue is linked through the spans themselves, so a span must never be in it twice.
 *
 * The steps are interleaved, so what the owner writes is seen in the order in which it is written. In the code that takes a
 * releasing store of the marks and an acquiring load; MARKS_FIRST is what could be seen without them.
 *
 * Property    nobody scans a slot of the run; when all is quiet, the queue is empty and every mark that was set has been scanned
 * Switches    READ_FIRST  CLEAR_FIRST  PLAIN_MARK  PLAIN_BLACKEN  NO_QUEUED  MARKS_FIRST
 */
#define RUN 4              /* slot 2: the run that the owner makes black */

byte marks, scanned;
bool queued;
byte length;               /* how often the span is in the queue */
byte scans;                /* ghost: slots that some scanner has read */
byte wanted;               /* ghost: slots that a marker has found */
byte working = 3;          /* markers and the owner that are not through */
byte scanning;             /* scanners between their pop and the end of their scan */

inline markSlot(s) {
  wanted = wanted | s;
  if
  :: marks & s             /* the plain test */
  :: else ->
#ifdef PLAIN_MARK
     old = marks;
     marks = old | s;
#else
     d_step { old = marks; marks = marks | s };
#endif
     if
     :: old & s
     :: else ->
#ifdef NO_QUEUED
        old = 0;
#else
        old = queued;        /* a plain test here too */
        if
        :: old
        :: else -> d_step { old = queued; queued = true }
        fi;
#endif
        if
        :: old
        :: else -> d_step { assert(length == 0); length++ }
        fi
     fi
  fi;
  old = 0
}

active proctype MarkerA() { byte old; markSlot(1); markSlot(2); working-- }
active proctype MarkerB() { byte old; markSlot(2); markSlot(1); working-- }

/* blacken: `scanned` first. */
active proctype Owner() {
#ifdef MARKS_FIRST
  marks = marks | RUN;
  scanned = scanned | RUN;
#else
  scanned = scanned | RUN;
#ifdef PLAIN_BLACKEN
  byte old = marks;
  marks = old | RUN;
#else
  marks = marks | RUN;
#endif
#endif
  working--
}

active [2] proctype Scanner() {
  byte found, before;
end: do
#ifdef CLEAR_FIRST
  :: atomic { length > 0 -> scanning++; queued = false };
     if
     :: d_step { length > 0 -> length-- }
     :: length == 0
     fi;
#else
  :: d_step { length > 0 -> scanning++; length-- };
#ifndef READ_FIRST
     queued = false;
#endif
#endif
     found = marks;
#ifdef READ_FIRST
     queued = false;
#endif
     /* What it was first to set is its own. */
     d_step { before = scanned; scanned = scanned | found; found = found & ~before; before = 0 };
     d_step { assert(!(found & RUN)); assert(!(scans & found)); scans = scans | found; found = 0; scanning-- }
  od
}

active proctype Quiet() {
  d_step {
    working == 0 && length == 0 && scanning == 0 ->
    assert((wanted & ~scans) == 0 && (marks & wanted) == wanted)
  }
}
