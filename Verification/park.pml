/* SPDX-License-Identifier: Apache-2.0
 * Part of swift-managed-heap. See LICENSE.
 *
 * Several heaps in one thread, and the verifier that makes threads stand still.
 *
 * handshake.pml has one heap. There nobody waits for another mutator's answer. A thread that is attached to several heaps
 * brings those heaps together: while it waits for something in one heap, it does not poll in the others. What it waits for
 * could then depend, by way of other threads, on its own answer. This model asks whether it can.
 *
 * Two heaps with a collector each, and threads that come to both heaps in every order. In each heap, a thread either runs or is
 * blocked. Blocked stands for all of these: in a blocking region; detached (its mutator is idle); in a blocking region of both
 * heaps and back in one of them (`unblocked`). So a thread enters and leaves each heap's blocked state at any time and
 * independently of the other heap.
 *
 * A collector does one of two things, ROUNDS times. A plain handshake is handshake.pml's: the collector asks, serves those that
 * are blocked, and waits for the answers of the others. A verifier asks the running threads to park, claims the blocked ones,
 * waits until all stand still, looks at the heap, and lets all go.
 *
 * A thread may also wait until a collector gets on (`collect()`, an allocation that has to wait, the end of a heap). It is
 * blocked in all heaps then.
 *
 * Properties   while a verifier looks, nobody runs in its heap; no deadlock. (A thread answers when asked, and does nothing else
 *              before. Collectors end and threads may end, so whoever waits in vain is found as a deadlock.)
 * Switches     MANY_VERIFIERS   the verifiers of both heaps at a time
 *              WAIT_RUNNING     who waits for a collector blocks in that collector's heap only
 *              PARK_UNCLAIMED   the verifier asks blocked threads to park, as a handshake asks them to answer
 */
#ifndef NM
#define NM 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#define RUNNING 0
#define BLOCKED 1
#define SERVING 2
#define REQUEST 4
#define WAITER  8

#define AT(h, t) (2 * (t) + (h))
byte status[2 * NM];
bool parks[2];             /* the heap's present handshake is a verifier's: parked threads stay */
byte outstanding[2];       /* answers awaited */
byte parked[2];            /* threads that stand in the heap's park */
byte claimed[2];           /* threads that the verifier holds in their blocked state */
byte rounds[2];            /* what the collector has done */
byte verifying;            /* the process-wide lock: heaps whose verifiers are on */

#define ASKED(h) (status[AT(h, t)] == (RUNNING | REQUEST))
#define RUNS(h) ((status[AT(h, t)] & (BLOCKED | SERVING)) == 0)
#define WHEN(c) !ASKED(0) && !ASKED(1) && (c)

/* At a safepoint, or in the midst of entering or leaving. */
inline answer(h) {
  if
  :: atomic { ASKED(h) && !parks[h] -> status[AT(h, t)] = RUNNING; outstanding[h]-- }
  :: atomic { ASKED(h) && parks[h] -> parked[h]++ };
     atomic { !parks[h] -> parked[h]--; status[AT(h, t)] = RUNNING; outstanding[h]-- }
  fi
}

inline enter(h) {
  do
  :: atomic { status[AT(h, t)] == RUNNING -> status[AT(h, t)] = BLOCKED; break }
  :: atomic { !RUNS(h) -> break }
  :: ASKED(h) -> answer(h)
  od
}

/* Waits, if it must, with whatever status it has in the other heap. */
inline leave(h) {
  do
  :: atomic { status[AT(h, t)] == BLOCKED -> status[AT(h, t)] = RUNNING; break }
  :: atomic { status[AT(h, t)] == (BLOCKED | REQUEST) -> status[AT(h, t)] = RUNNING | REQUEST }; answer(h); break
  :: atomic { status[AT(h, t)] & SERVING -> status[AT(h, t)] = SERVING | WAITER }; !(status[AT(h, t)] & WAITER)
  od
}

proctype Thread(byte t) {
  byte was;

  do
  :: ASKED(0) -> answer(0)
  :: ASKED(1) -> answer(1)

  :: atomic { WHEN(status[AT(0, t)] == RUNNING) -> status[AT(0, t)] = BLOCKED }
  :: atomic { WHEN(status[AT(1, t)] == RUNNING) -> status[AT(1, t)] = BLOCKED }
  :: WHEN(!RUNS(0)) -> leave(0)
  :: WHEN(!RUNS(1)) -> leave(1)

  /* Waits for a collector. */
  :: WHEN(rounds[0] < ROUNDS) ->
     enter(0);
#ifndef WAIT_RUNNING
     enter(1);
#endif
     was = rounds[0];
     atomic { rounds[0] != was || was == ROUNDS -> was = 0 }
  :: WHEN(rounds[1] < ROUNDS) ->
     enter(1);
#ifndef WAIT_RUNNING
     enter(0);
#endif
     was = rounds[1];
     atomic { rounds[1] != was || was == ROUNDS -> was = 0 }

  :: WHEN(!RUNS(0) && !RUNS(1)) -> break
  od
}

/* Posts to everybody in one step: the registry lock. */
inline postTo(k) {
  if
  :: status[AT(h, k)] == RUNNING -> status[AT(h, k)] = RUNNING | REQUEST; outstanding[h]++
#ifndef PARK_UNCLAIMED
  :: status[AT(h, k)] == BLOCKED && parks[h] -> status[AT(h, k)] = SERVING; claimed[h] = claimed[h] | (1 << k)
  :: status[AT(h, k)] == BLOCKED && !parks[h] -> status[AT(h, k)] = BLOCKED | REQUEST; outstanding[h]++; posted = posted | (1 << k)
#else
  :: status[AT(h, k)] == BLOCKED -> status[AT(h, k)] = BLOCKED | REQUEST; outstanding[h]++; posted = posted | (1 << k)
#endif
  fi
}
inline post() {
  postTo(0); postTo(1)
#if NM > 2
  ; postTo(2)
#endif
}
inline serve(k) {
  if
  :: atomic { (posted & (1 << k)) && status[AT(h, k)] == (BLOCKED | REQUEST) -> status[AT(h, k)] = SERVING };
     d_step { posted = posted & ~(1 << k); outstanding[h]--; status[AT(h, k)] = BLOCKED }
  :: d_step { !(posted & (1 << k)) || status[AT(h, k)] != (BLOCKED | REQUEST) -> posted = posted & ~(1 << k) }
  fi
}
inline letGo(k) {
  if
  :: claimed[h] & (1 << k) -> status[AT(h, k)] = BLOCKED
  :: else
  fi
}
/* Everybody is claimed, or stands in the park. */
inline still() {
  assert(status[AT(h, 0)] & (SERVING | REQUEST));
  assert(status[AT(h, 1)] & (SERVING | REQUEST))
#if NM > 2
  ; assert(status[AT(h, 2)] & (SERVING | REQUEST))
#endif
}

proctype Collector(byte h) {
  byte posted;

  do
  :: rounds[h] < ROUNDS ->
     if
     :: /* A plain handshake. */
        d_step { post() };
        serve(0); serve(1);
#if NM > 2
        serve(2);
#endif
        outstanding[h] == 0

     :: /* The verifier. */
#ifndef MANY_VERIFIERS
        atomic { verifying == 0 -> verifying++ };
#endif
        d_step { parks[h] = true; post() };
#ifdef PARK_UNCLAIMED
        serve(0); serve(1);
#endif
        parked[h] == outstanding[h];
        d_step { still() };
        d_step { still(); parks[h] = false };
        d_step {
          letGo(0); letGo(1);
#if NM > 2
          letGo(2);
#endif
          claimed[h] = 0
        };
        outstanding[h] == 0;
#ifndef MANY_VERIFIERS
        verifying--
#endif
     fi;
     rounds[h]++
  :: else -> break
  od
}

init {
  byte i;
  atomic {
    do
    :: i < 2 * NM -> status[i] = BLOCKED; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < NM -> run Thread(i); i++
    :: else -> break
    od;
    i = 0;
    run Collector(0);
    run Collector(1)
  }
}
