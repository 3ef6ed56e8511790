// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The words of a heap that its mutators read.
//
// Mutators look at them on warm paths (a refill, a recorded store), so they are behind a
// pointer and not in the heap's object: no class property is touched there. Each word names
// who writes it. All of them are hints or are backed by a handshake; none of them alone
// decides whether an object lives.

package import Synchronization

/// Shared words of one heap.
package struct HeapWords: ~Copyable {
  /// Stores are to be recorded. Owner: the collector; 1 from raiseBarrier to lowerBarrier.
  /// Ordering: relaxed; the handshake after each change makes it known.
  package let barrierIsUp = Atomic<UInt32>(0)

  /// The collector marks: allocation owes work. Owner: the collector. Relaxed: a hint.
  package let isMarking = Atomic<UInt32>(0)

  /// The generation whose mutators may sweep what is left of the one before: the heap's, once
  /// every mutator has answered the handshake that announced it; 0 while a cycle marks.
  /// Ordering: releasing by the collector, acquiring by a mutator that is about to sweep:
  /// it then sees the marks of every mutator's last round.
  package let sweepableGeneration = Atomic<UInt32>(0)

  /// Mutators in the midst of taking and sweeping an unswept span.
  /// Ordering: See Sweeper.
  package let activeSweepers = Atomic<Int>(0)

  /// Something white was found, or grey spans were in a mutator's hands, since the collector
  /// last looked. Owner: set by anyone who marks, cleared by the collector. Ordering: relaxed;
  /// handshakes and the queue's lock order it (Marker.noteWork).
  package let foundWhite = Atomic<UInt32>(0)

  /// Bytes allocated as far as accounted: marked in the last cycle, plus what was taken since.
  package let allocatedBytes = Atomic<Int>(0)

  /// A cycle starts when `allocatedBytes` reaches this. Owner: the pacer.
  package let trigger = Atomic<Int>(.max)

  /// Bytes to mark for each byte allocated while marking, in 1/1024. Owner: the pacer.
  package let assistRatio = Atomic<Int>(0)

  /// Bytes that workers have marked and no assist has claimed yet.
  package let assistCredit = Atomic<Int>(0)

  /// An assist found nothing to do: whoever has more than one span shares. Relaxed: a hint.
  package let isHungry = Atomic<UInt32>(0)

  /// A cycle has been asked for and has not begun. Any thread sets it, the collector clears.
  package let cycleIsWanted = Atomic<UInt32>(0)

  package init() {}
}
