/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * The handshake: how the collector has every mutator do something once, without stopping any of them.
 *
 * What is done does not matter here. An action is "bring `seen` to the number of the present handshake", in two steps, so
 * that two threads in it at a time are noticed. The other models take the result as given: post, then each attached mutator acts once,
 * alone, at a safepoint or in a blocking region, then the collector goes on; a mutator that attaches meanwhile has the new
 * state from its first step.
 *
 * The status word is as in the code: running, blocked or serving, and a request bit. An update of the word by
 * compare-and-swap that is retried until it succeeds is one step here, as the last, successful try is.
 * Waiting is as on a futex: compare and sleep in one step, wake later; whoever wakes up looks again.
 *
 * The registry lock is a ticket lock. The system's locks promise less, but a thread that never gets a lock that others keep
 * taking and leaving is not the protocol's doing.
 *
 * Properties   safety   an action is done once a handshake, by one thread; a handshake ends only when every attached mutator has
 *                       acted or was attached since; nobody touches a mutator that has detached; no deadlock
 *              `-l`     (non-progress cycles, weak fairness) if mutators poll, handshakes go on ending
 *              `gets`   (STUCK) mutator 0 attaches, detaches and leaves blocking regions even if mutator 1 never polls again. (Handshake
 *                       upon handshake without end could pass over a thread that wants to leave a blocking region each
 *                       time it wakes; a cycle has finitely many, so the property is asked of one that never ends.)
 * Switches     BLIND_ENTER  LEAVE_UNSERVED  ANSWER_BACKWARDS  NO_RECHECK  EARLY_ADOPT  UNLOCKED_POST  HOLD_LOCK  SERVE_LATE
 *              LOST_WAKE  NO_WAKE
 * Variant      COUNT_LAST (the number of answers awaited is raised after the request bit is set): as good
 */
#ifndef NM
#define NM 2
#endif
#define RUNNING 0
#define BLOCKED 1
#define SERVING 2
#define REQUEST 4

byte status[NM];
bool attached[NM];
byte asleep;               /* threads that sleep: mutator m is bit m, the collector bit NM */
short outstanding;         /* answers awaited */
byte number;               /* of the present handshake, modulo 4: all heap-wide protocol state. Guarded by: the registry lock */

byte seen[NM];             /* the last handshake that the mutator acted in */
byte acting[NM];           /* threads that act for it at this moment */
#ifdef STUCK
bool waits;                /* mutator 0 waits */
bool stuck;                /* mutator 1 is in a loop without a safepoint, for ever */
#endif

#define TICKETS (NM + 2)
byte nextTicket, served;
inline lock()   { atomic { t = nextTicket; nextTicket = (nextTicket + 1) % TICKETS }; atomic { t == served -> t = 0 } }
inline unlock() { served = (served + 1) % TICKETS }

inline sleepWhile(condition, who) {
#ifdef LOST_WAKE
  if
  :: condition -> asleep = asleep | (1 << (who)); !(asleep & (1 << (who)))
  :: else
  fi
#else
  d_step {
    if
    :: condition -> asleep = asleep | (1 << (who))
    :: else
    fi
  }
  !(asleep & (1 << (who)))
#endif
}
inline wake(who) { asleep = asleep & ~(1 << (who)) }

inline act(who) {
  d_step {
    assert(attached[who]);
    assert(acting[who] == 0);
    assert(seen[who] == (number + 3) % 4);
    acting[who]++
  }
  d_step {
    assert(attached[who]);
    seen[who] = number;
    acting[who]--
  }
}

/* At a safepoint. The request bit is cleared before the answer is counted: once the last one is counted, the next request
   may come. */
inline answer(m) {
  act(m);
#ifdef ANSWER_BACKWARDS
  countAnswer();
  status[m] = status[m] & ~REQUEST
#else
  status[m] = status[m] & ~REQUEST;
  countAnswer()
#endif
}
inline countAnswer() {
  d_step { outstanding--; last = outstanding == 0 }
  if
  :: last -> last = false;
#ifndef NO_WAKE
     wake(NM)
#endif
  :: else
  fi
}

#ifdef STUCK
#define WAITS(yes) waits = (m == 0 && yes)
#else
#define WAITS(yes) skip
#endif

proctype Mutator(byte m) {
  byte t;
  bool last;

endAway:
  WAITS(true);
#ifdef EARLY_ADOPT
  seen[m] = number;
  lock();
  d_step { attached[m] = true; status[m] = RUNNING };
#else
  lock();
  d_step { seen[m] = number; attached[m] = true; status[m] = RUNNING };
#endif
  unlock();
  WAITS(false);

atLeisure:
  do
  :: status[m] & REQUEST -> answer(m)

  /* A blocking region. A request that came before it is answered first: the collector counts on that. */
  :: true -> goto entering
entering:
#ifdef BLIND_ENTER
     if
     :: !(status[m] & REQUEST) -> status[m] = BLOCKED; goto endBlocked
     :: else
     fi;
#else
     if
     :: atomic { status[m] == RUNNING -> status[m] = BLOCKED; goto endBlocked }
     :: status[m] & REQUEST
     fi;
#endif
     answer(m);
     goto entering;
endBlocked:
     WAITS(true);
     do
#ifdef LEAVE_UNSERVED
     :: status[m] = RUNNING; break
#else
     :: atomic { status[m] == BLOCKED -> status[m] = RUNNING }; break
     :: status[m] == SERVING -> sleepWhile(status[m] == SERVING, m)
#endif
     od;
     WAITS(false)

  /* Detaching. A request may come until the lock is ours; then the lock is let go, and it is answered. */
  :: true ->
     WAITS(true);
detaching:
     lock();
#ifndef NO_RECHECK
     if
     :: status[m] & REQUEST -> unlock(); answer(m); goto detaching
     :: else
     fi;
#endif
     attached[m] = false;
     unlock();
     WAITS(false);
     goto endAway

#ifdef STUCK
  /* A loop without a safepoint. */
  :: atomic { m == 1 -> stuck = true; goto endStuck }
#endif
  od;
endStuck:
  false
}

inline awaitAnswers() {
  do
  :: outstanding == 0 -> break
  :: outstanding != 0 -> sleepWhile(outstanding != 0, NM)
  od
}

proctype Collector() {
  byte t, k, claimed;

  do
  :: true ->
     /* post */
#ifndef UNLOCKED_POST
     lock();
#endif
     number = (number + 1) % 4;
     k = 0;
     do
     :: k < NM ->
        if
        :: attached[k] ->
#ifndef COUNT_LAST
           outstanding++;
#endif
           atomic {
             assert(attached[k]);
             if
             :: status[k] == BLOCKED -> status[k] = SERVING; claimed = claimed | (1 << k)
             :: else -> status[k] = status[k] | REQUEST
             fi
           };
#ifndef COUNT_LAST
           if :: claimed & (1 << k) -> outstanding-- :: else fi
#else
           if :: !(claimed & (1 << k)) -> outstanding++ :: else fi
#endif
        :: else
        fi;
        k++
     :: else -> k = 0; break
     od;
#if !defined(UNLOCKED_POST) && !defined(HOLD_LOCK)
     unlock();
#endif

#ifdef SERVE_LATE
     awaitAnswers();
#endif
     /* serveOnBehalf. A thread that is claimed sleeps if it wants to leave; it waits for nobody but this loop. */
     do
     :: k < NM ->
        if
        :: claimed & (1 << k) ->
           claimed = claimed & ~(1 << k);
           act(k);
           status[k] = BLOCKED;
           wake(k)
        :: else
        fi;
        k++
     :: else -> k = 0; break
     od;

     awaitAnswers();

#ifdef HOLD_LOCK
     unlock();
#endif
progress:
     skip;
     d_step {
       do
       :: k < NM -> assert(!attached[k] || seen[k] == number); k++
       :: else -> k = 0; break
       od
     }
  od
}

init {
  byte i;
  atomic {
    do
    :: i < NM -> run Mutator(i); i++
    :: else -> break
    od;
    run Collector()
  }
}

#ifdef STUCK
ltl gets { [] ((waits && stuck) -> <> !waits) }
#endif
