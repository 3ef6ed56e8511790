/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * One span's bits and its place in the mark queue: the other models treat an object as a span of its own, and this
 * one shows that a span with several slots loses nothing.
 *
 * Two threads mark (a plain test, an atomic or, an exchange of `queued`, a push), two scan (a pop, `queued` cleared, the marks read,
 * `scanned` set), and a detaching mutator hands the unused end of its run back. All of them share one word of marks.
 * The queue is linked through the spans themselves, so a span must never be in it twice.
 *
 * Property    when all is quiet, the queue is empty and every mark that was set has been scanned
 * Switches    READ_FIRST  CLEAR_FIRST  PLAIN_MARK  PLAIN_HANDBACK  NO_QUEUED
 */
#define UNUSED 4           /* slot 2: the rest of a run that is handed back */

byte marks = UNUSED, scanned = UNUSED;
bool queued;
byte length;               /* how often the span is in the queue */
byte scans;                /* ghost: slots that some scanner has read */
byte wanted;               /* ghost: slots that a marker has found */
byte working = 3;          /* markers and the detaching mutator that are not through */
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

active proctype Detaching() {
#ifdef PLAIN_HANDBACK
  byte old = marks;
  marks = old & ~UNUSED;
#else
  marks = marks & ~UNUSED;
#endif
  scanned = scanned & ~UNUSED;
  working--
}

active [2] proctype Scanner() {
  byte found;
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
     found = marks & ~scanned;
#ifdef READ_FIRST
     queued = false;
#endif
     scanned = scanned | found;
     d_step { scans = scans | found; found = 0; scanning-- }
  od
}

active proctype Quiet() {
  d_step {
    working == 0 && length == 0 && scanning == 0 ->
    assert((wanted & ~scans) == 0 && (marks & wanted) == wanted)
  }
}
