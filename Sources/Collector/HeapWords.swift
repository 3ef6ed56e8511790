// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The words that a heap's threads share.
//
// Mutators read them on warm paths (a refill, a recorded store), so the words lie behind a
// pointer and not in an object: no class property is touched there. Words that are read often
// and written a few times a cycle share a cache line. A word that many threads write has a line
// of its own, so that writing it does not take the others away from their readers.
//
// All words are hints or are backed by a handshake. None of them alone decides whether an
// object lives.

internal import Heap
package import Synchronization

/// Shared words of one heap.
package struct HeapWords: ~Copyable {
  // MARK: - Read often, written a few times a cycle

  /// Stores are to be recorded. Owner: the collector; set from raiseBarrier to lowerBarrier.
  /// Ordering: releasing by the collector; acquiring by a mutator that records a store, so that
  /// it sees what the collector wrote before (Note [Barrier flag]).
  package let barrierIsUp = Atomic<Bool>(false)

  /// The collector marks, and allocation owes work: every mutator has answered `scan`. Owner: the
  /// collector. Ordering: see Note [Assists]. That the word is down may be seen late: relaxed.
  package let isMarking = Atomic<Bool>(false)

  /// A cycle has been asked for. Any thread sets it. The collector clears it when marking has ended:
  /// whoever has asked until then has got it.
  /// Ordering: releasing by who asks, acquiring by the collector's thread.
  package let cycleIsWanted = Atomic<Bool>(false)

  /// The heap's generation, as bits. Owner: the collector. Relaxed: a mutator works with a copy of
  /// its own, which a handshake brings.
  package let generation = Atomic<UInt64>(Generation.first.bits)

  /// The generation whose mutators may sweep what is left of the one before; 0 while nothing
  /// is left to sweep or a cycle marks. Ordering: See Note [Sweep hand-over].
  package let sweepableGeneration = Atomic<UInt64>(0)

  /// A cycle starts when `allocatedBytes` reaches this. Owner: the pacer.
  package let trigger = Atomic<Int>(.max)

  /// Bytes allocated at which the marking of the next cycle should have ended. Owner: the pacer.
  package let goal = Atomic<Int>(.max)

  /// The same of the next full cycle, which is what the percentage says. Owner: the pacer.
  package let fullGoal = Atomic<Int>(.max)

  /// Bytes to mark for each byte allocated while marking, in 1/1024. Owner: the pacer.
  package let assistRatio = Atomic<Int>(0)

  /// Bytes that a thread allocates while marking before it assists. Owner: the pacer.
  package let assistGrain = Atomic<Int>(.max)

  private let readMostly = CacheLine()

  // MARK: - Written by every thread that allocates

  /// Bytes allocated as far as accounted: marked in the last cycle, plus what was taken since.
  package let allocatedBytes = Atomic<Int>(0)

  /// Bytes outside of the heap that its objects stand for; they are in `allocatedBytes`, too.
  package let externalBytes = Atomic<Int>(0)

  private let allocation = CacheLine()

  /// Mutators in the midst of taking and sweeping an unswept span.
  /// Ordering: See Note [Sweep hand-over].
  package let activeSweepers = Atomic<Int>(0)

  private let sweeping = CacheLine()

  // MARK: - Written by every thread that marks

  /// Something white was found, or grey objects were in a mutator's hands, since the collector
  /// last looked. Owner: set by anyone who marks, cleared by the collector. Ordering: relaxed;
  /// handshakes and the store's lock order it (SharedMarking.noteWork).
  package let foundWork = Atomic<Bool>(false)

  /// An assist or a worker found nothing to do: whoever has more than one object shares. Relaxed: a
  /// hint.
  package let isHungry = Atomic<Bool>(false)

  /// Bytes that workers have marked and no assist has claimed yet.
  package let assistCredit = Atomic<Int>(0)

  private let marking = CacheLine()

  package init() {}
}

/// Room that keeps the words before it and the words after it on different cache lines.
private struct CacheLine {
  private let bytes = InlineArray<16, UInt64>(repeating: 0)
}
