/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * The handshake: how the collector has every mutator do something once, without stopping any of them.
 *
 * What is done does not matter here. An action is "set `behind`, the number of handshakes not acted on, from one to none", in two
 * steps, so that two threads in it at a time are noticed. The other models take the result as given: post; then each attached mutator
 * acts once, alone, at a safepoint or in a blocking region; then the collector goes on. A mutator that attaches meanwhile has
 * the new state from its first step.
 *
 * A mutator (a state with a status word) is not a thread. A thread that attaches takes an idle mutator out of the pool, or
 * makes one. A thread that detaches leaves its mutator in the pool: registered, blocked, with an empty stack. The collector
 * serves idle mutators as it serves blocked ones, and retires some of them between two handshakes.
 *
 * The status word is as in the code: running, blocked or serving, a request bit, and a waiter bit beside serving. An update of
 * the word by compare-and-swap that is retried until it succeeds is one step here: the last, successful try.
 * Waiting is as on a futex: compare and sleep in one step, wake later; whoever wakes up looks again.
 *
 * Two kinds of handshake. One is acted on by or for everybody. The other one (`sync`) asks nothing of those who are blocked: they
 * stand at a safepoint. It only has to make sure that they see the collector's change when they leave. So the model keeps,
 * for each thread, whether it has seen the change (`fresh`). A thread sees it when it reads a word, acquiring, that the
 * collector has written, releasing, after the change (`carries`), or when it takes the registry lock after the collector.
 * Nothing else is believed to tell it.
 *
 * The registry lock is handed over in the order of asking. The system's locks promise less, but a thread that never gets a lock that others keep
 * taking and leaving is not the protocol's doing.
 *
 * Properties   safety   an action is done once a handshake, by one thread; a handshake ends only when every registered mutator
 *                       has acted or was made since; when it has ended, every thread that works in the heap has seen the
 *                       change; nobody but its thread acts for a mutator that runs; nobody touches a retired one; no deadlock
 *              `-l`     (non-progress cycles, weak fairness) if mutators poll, handshakes go on ending
 *              `gets`   (STUCK) thread 0 attaches, detaches and leaves blocking regions even if thread 1 never polls again.
 *                       (Handshake upon handshake without end could pass over a thread that wants to leave a blocking region
 *                       each time it wakes. A cycle has finitely many, so the property is asked of one that never ends.)
 * Switches     BLIND_ENTER  LEAVE_UNSERVED  IGNORE_REQUEST  ANSWER_BACKWARDS  SYNC_UNPOSTED  POOL_FIRST  TAKE_UNSERVED
 *              RETIRE_UNLOCKED  EARLY_ADOPT  UNLOCKED_POST  HOLD_LOCK  LOST_WAKE  NO_WAKE  AWAITED_FIRST  FORGET_WAITER
 * Smaller      STAY: only thread 0 detaches, nobody is retired
 * Variant      COUNT_LAST (the number of answers awaited is raised after the request bit is set): as good
 */
#ifndef NM
#define NM 2
#endif
#define RUNNING 0
#define BLOCKED 1
#define SERVING 2
#define REQUEST 4
#define WAITER  8

/* Mutators, and the pool. */
byte status[NM];
bool registered[NM];       /* Guarded by: the registry lock */
bool idle[NM];             /* in the pool. Guarded by: the registry lock */
byte user[NM];             /* ghost: the thread that uses it, from 1 on; 0: none */
byte behind[NM];           /* handshakes not acted on yet; 2 is "more than one" */
byte acting[NM];           /* ghost: threads that act for it at this moment */

byte asleep;               /* who sleeps: on mutator s's status word is bit s, the collector bit NM */
short outstanding;         /* answers awaited */
bool isAwaited;            /* the collector sleeps until the last one, or is about to */
bool isSync;

/* Visibility of the collector's change. */
bool fresh[NM];            /* the thread has seen it */
bool carries[NM];          /* reading the mutator's status word, acquiring, tells of it */
bool lockCarries;          /* taking the registry lock does */
bool over = true;          /* the handshake that announced it has ended */

#ifdef STUCK
bool waits;                /* thread 0 waits */
bool stuck;                /* thread 1 is in a loop without a safepoint, for ever */
#endif

byte inLine;               /* threads that hold the registry lock (one) or wait for it */
byte place[NM + 1];        /* whose turn: 1 has the lock, 2 is next; 0 is not in line */
inline lock(me) { atomic { inLine++; place[me] = inLine }; place[me] == 1 }
#define NEARER(i) place[i] = (place[i] -> place[i] - 1 : 0)
inline unlock() {
  d_step {
    inLine--;
    NEARER(0); NEARER(1)
#if NM > 1
    ; NEARER(2)
#endif
#if NM > 2
    ; NEARER(3)
#endif
  }
}

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
    assert(registered[who]);
    assert(acting[who] == 0);
    assert(behind[who] == 1);
    acting[who]++
  }
  d_step {
    assert(registered[who]);
    behind[who] = 0;
    acting[who]--
  }
}

/* At a safepoint. The request bit is cleared before the answer is counted: once the last one is counted, the next request
   may come. */
inline answer() {
  fresh[t] = fresh[t] || carries[s];
  act(s);
#ifdef ANSWER_BACKWARDS
  countAnswer();
  status[s] = status[s] & ~REQUEST
#else
  status[s] = status[s] & ~REQUEST;
  countAnswer()
#endif
}
/* Whoever answers last wakes the collector, if it sleeps: counts, then looks at `isAwaited`. */
inline countAnswer() {
#ifdef AWAITED_FIRST
  last = isAwaited;
  d_step { outstanding--; last = last && outstanding == 0 };
  if
  :: last -> last = false; wake(NM)
#else
  d_step { outstanding--; last = outstanding == 0 };
  if
  :: last && isAwaited -> last = false;
#ifndef NO_WAKE
     wake(NM)
#endif
#endif
  :: else -> last = false
  fi
}

#ifdef STUCK
#define WAITS(yes) waits = (t == 0 && yes)
#else
#define WAITS(yes) skip
#endif

#if NM == 1
#define NO_IDLE (!idle[0])
#elif NM == 2
#define NO_IDLE (!idle[0] && !idle[1])
#else
#define NO_IDLE (!idle[0] && !idle[1] && !idle[2])
#endif

proctype Thread(byte t) {
  byte s;
  bool last;

endAway:
  WAITS(true);
#ifdef EARLY_ADOPT
  s = 0;
  do :: s < NM && registered[s] -> s++ :: else -> break od;
  if :: s < NM -> behind[s] = 0 :: else fi;
#endif
  lock(t);
  fresh[t] = fresh[t] || lockCarries;
  if
  /* An idle mutator. From here on it is left as a blocking region is. */
  :: atomic { idle[0] -> s = 0; idle[0] = false }; unlock(); goto leaving
#if NM > 1
  :: atomic { idle[1] -> s = 1; idle[1] = false }; unlock(); goto leaving
#endif
#if NM > 2
  :: atomic { idle[2] -> s = 2; idle[2] = false }; unlock(); goto leaving
#endif
  /* Or a new one, which starts out in the present state. (A thread has one mutator at most, so there is one to make.) */
  :: d_step {
       NO_IDLE -> s = 0;
       do :: registered[s] -> s++ :: else -> break od;
#ifndef EARLY_ADOPT
       behind[s] = 0
#endif
     };
     d_step { registered[s] = true; status[s] = RUNNING; user[s] = t + 1 };
     unlock()
  fi;
running:
  WAITS(false);

atLeisure:
  do
  /* Work in the heap: nobody acts for the mutator, and a change whose handshake has ended has been seen. */
  :: d_step {
       !(status[s] & REQUEST) ->
       assert(registered[s] && user[s] == t + 1 && acting[s] == 0);
       assert(!(status[s] & (BLOCKED | SERVING)));
       assert(fresh[t] || !over)
     }

  :: status[s] & REQUEST -> answer()

  /* A blocking region. A request that came before it is answered first. */
  :: true -> goto entering
entering:
#ifdef BLIND_ENTER
     if
     :: !(status[s] & REQUEST) -> status[s] = BLOCKED; goto leaving
     :: else
     fi;
#else
     if
     :: atomic { status[s] == RUNNING -> status[s] = BLOCKED; fresh[t] = fresh[t] || carries[s]; goto leaving }
     :: status[s] & REQUEST
     fi;
#endif
     answer();
     goto entering;
leaving:
     WAITS(true);
     do
     :: atomic { status[s] == BLOCKED -> status[s] = RUNNING; fresh[t] = fresh[t] || carries[s]; user[s] = t + 1 }; break
     /* A request that nobody has served: the thread takes it and answers. */
#ifdef IGNORE_REQUEST
     :: atomic { status[s] == (BLOCKED | REQUEST) -> status[s] = RUNNING; fresh[t] = fresh[t] || carries[s]; user[s] = t + 1 }; break
#else
     :: atomic { status[s] == (BLOCKED | REQUEST) -> status[s] = RUNNING | REQUEST; user[s] = t + 1 }; answer(); break
#endif
#ifdef LEAVE_UNSERVED
     :: d_step { status[s] & SERVING -> status[s] = RUNNING; fresh[t] = fresh[t] || carries[s]; user[s] = t + 1 }; break
#endif
#ifdef TAKE_UNSERVED
     /* An idle mutator is taken without looking whether it is being served. */
     :: d_step { user[s] == 0 && (status[s] & SERVING) -> status[s] = RUNNING; fresh[t] = true; user[s] = t + 1 }; break
#endif
     :: atomic { status[s] == SERVING -> status[s] = SERVING | WAITER }
     :: status[s] == (SERVING | WAITER) -> sleepWhile(status[s] == (SERVING | WAITER), s)
     od;
     goto running

  /* Detaching: as entering a blocking region; then the mutator goes to the pool. */
#ifdef STAY
  :: t == 0 ->
#else
  :: true ->
#endif
     WAITS(true);
#ifdef POOL_FIRST
     lock(t);
     fresh[t] = fresh[t] || lockCarries;
     d_step { idle[s] = true; user[s] = 0 };
     unlock();
#endif
detaching:
     if
     :: atomic { status[s] == RUNNING -> status[s] = BLOCKED; user[s] = 0; goto parted }
     :: status[s] & REQUEST
     fi;
     answer();
     goto detaching;
parted:
#ifndef POOL_FIRST
     lock(t);
     fresh[t] = fresh[t] || lockCarries;
     d_step { assert(registered[s] && !idle[s]); idle[s] = true; s = 0 };
     unlock();
#endif
     WAITS(false);
     goto endAway

#ifdef STUCK
  /* A loop without a safepoint. */
  :: atomic { t == 1 -> stuck = true; goto endStuck }
#endif
  od;
endStuck:
  false
}

/* The collector looks for a while, as long as chance has it. Then it says that it will sleep, and looks again. */
inline awaitAnswers() {
  if
  :: outstanding == 0
  :: true ->
     isAwaited = true;
     do
     :: outstanding == 0 -> break
     :: outstanding != 0 -> sleepWhile(outstanding != 0, NM)
     od;
     isAwaited = false
  fi
}

proctype Collector() {
  byte k, posted;
  bool asked, waiter;

  do
  :: true ->
     /* The change that the handshake is to make known. */
     d_step {
       over = false; lockCarries = false;
       do
       :: k < NM -> fresh[k] = false; carries[k] = false; k++
       :: else -> k = 0; break
       od
     };
     if :: isSync = true :: isSync = false fi;

     /* post */
#ifndef UNLOCKED_POST
     lock(NM);
#endif
     /* All heap-wide state of the protocol changes here. Who is made from here on has it; who was made before is behind. */
     d_step {
       do
       :: k < NM -> if :: behind[k] < 2 -> behind[k]++ :: else fi; k++
       :: else -> k = 0; break
       od
     };
     do
     :: k < NM ->
        if
        :: registered[k] ->
           /* Counted before the request can be seen, and uncounted if none is made. */
#ifndef COUNT_LAST
           outstanding++;
#endif
           atomic {
             assert(registered[k]);
             if
             :: status[k] == BLOCKED && isSync ->
                /* blocked to blocked: nothing is asked, but the collector's change goes with the word. */
                assert(behind[k] == 1);
                behind[k] = 0;
#ifndef SYNC_UNPOSTED
                carries[k] = true;
#endif
                asked = false
             :: status[k] == BLOCKED && !isSync ->
                status[k] = BLOCKED | REQUEST; posted = posted | (1 << k); carries[k] = true; asked = true
             :: else -> status[k] = status[k] | REQUEST; carries[k] = true; asked = true
             fi
           };
#ifndef COUNT_LAST
           if :: asked :: else -> outstanding-- fi;
#else
           if :: asked -> outstanding++ :: else fi;
#endif
           asked = false
        :: else
        fi;
        k++
     :: else -> k = 0; break
     od;
     lockCarries = true;
#if !defined(UNLOCKED_POST) && !defined(HOLD_LOCK)
     unlock();
#endif

     /* serve: those that were blocked and still are, one after the other. Whoever has left meanwhile answers for itself. */
     do
     :: k < NM ->
        if
        :: posted & (1 << k) ->
           posted = posted & ~(1 << k);
           if
           :: atomic { status[k] == (BLOCKED | REQUEST) -> status[k] = SERVING };
              act(k);
              outstanding--;
              d_step { waiter = (status[k] & WAITER) != 0; status[k] = BLOCKED };
#ifdef FORGET_WAITER
              waiter = false;
#endif
              if
              :: waiter -> wake(k); waiter = false
              :: else
              fi
           :: atomic { status[k] != (BLOCKED | REQUEST) -> skip }
           fi
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
       over = true;
       do
       :: k < NM -> assert(!registered[k] || behind[k] == 0); k++
       :: else -> k = 0; break
       od
     };

#ifndef STAY
     /* retire: an idle mutator goes, by chance. Under the lock nobody takes it meanwhile, and no handshake is on. */
     do
     :: k < NM && idle[k] ->
#ifdef RETIRE_UNLOCKED
        idle[k] = false;
#else
        lock(NM);
#endif
        d_step {
          if
#ifdef RETIRE_UNLOCKED
          :: true ->
#else
          :: idle[k] ->
#endif
             idle[k] = false; registered[k] = false; behind[k] = 2; status[k] = RUNNING; carries[k] = false
#ifndef RETIRE_UNLOCKED
          :: else
#endif
          fi
        };
#ifndef RETIRE_UNLOCKED
        unlock();
#endif
        k++
     :: k < NM -> k++
     :: else -> k = 0; break
     od
#endif

  od
}

init {
  byte i;
  atomic {
    do
    :: i < NM -> fresh[i] = true; behind[i] = 2; i++
    :: else -> break
    od;
    i = 0;
    lockCarries = true;
    do
    :: i < NM -> run Thread(i); i++
    :: else -> break
    od;
    i = 0;
    run Collector()
  }
}

#ifdef STUCK
ltl gets { [] ((waits && stuck) -> <> !waits) }
#endif
