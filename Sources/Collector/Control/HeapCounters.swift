// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Counters: what a heap counts about itself.
//
// Counters are atomics to which a batch is added at a time (a refill, a swept span, a marker that
// settles), so counting costs the hot paths nothing. What each mutator allocates is counted in
// its own tally (MutatorState) and summed when somebody asks (HeapFigures).
//
// Pauses are behind a lock: their number, their sum and the longest belong together, and a thread
// counts few of them.
//
// Ordering    Relaxed, with two exceptions. What was freed is added releasing and read acquiring,
//             before what was allocated is read. Forced cycles are added releasing, after all cycles,
//             and read acquiring, before all cycles. So nobody sees more freed than allocated, or more
//             cycles forced than there were.

internal import CHeapShims
internal import Heap
package import Synchronization

/// Running totals of one heap.
package final class HeapCounters: Sendable {
  /// Marked in the cycle under way or the last one, unused slots of runs excluded once spans
  /// have been handed back.
  package let markedBytes = Atomic<Int>(0)
  package let markedObjects = Atomic<Int>(0)
  /// Marked when the last cycle ended: in a minor one, dead old objects are included.
  package let liveBytes = Atomic<Int>(0)
  package let liveObjects = Atomic<Int>(0)
  let freedBytes = Atomic<Int>(0)
  let freedObjects = Atomic<Int>(0)
  /// Objects of those that were freed whose values have been destroyed.
  let destroyedObjects = Atomic<Int>(0)
  /// Root slots and stacks, as of the last cycle, in bytes.
  package let rootBytes = Atomic<Int>(0)
  /// Cycles that have ended to mark.
  package let cycles = Atomic<Int>(0)
  /// Those of them that a program asked for.
  package let forcedCycles = Atomic<Int>(0)
  package let minorCycles = Atomic<Int>(0)
  /// The cycle under way was asked for. Owner: the collector's thread.
  private let isForced = Atomic(false)
  /// Processor time of the collector's thread and the helpers outside of sweeping.
  let markNanoseconds = Atomic<Int>(0)
  /// Processor time of the collector's thread in sweeping.
  let sweepNanoseconds = Atomic<Int>(0)

  /// What mutators that are gone had counted.
  let retired = MutatorTally()

  private let pauseLock = HeapLock(Pauses(), rank: .control)

  package init() {}

  // MARK: - A cycle

  /// A cycle begins. In a full one nothing is marked; in a minor one the old objects are.
  func beginCycle(_ kind: CycleKind, forced: Bool) {
    if kind == .full {
      markedBytes.store(0, ordering: .relaxed)
      markedObjects.store(0, ordering: .relaxed)
    }
    rootBytes.store(0, ordering: .relaxed)
    isForced.store(forced, ordering: .relaxed)
  }

  /// All mutators have handed back what they did not use: what is marked is what lives.
  func endMarking(_ kind: CycleKind) {
    liveBytes.store(markedBytes.load(ordering: .relaxed), ordering: .relaxed)
    liveObjects.store(markedObjects.load(ordering: .relaxed), ordering: .relaxed)
    cycles.add(1, ordering: .relaxed)
    if kind == .minor { minorCycles.add(1, ordering: .releasing) }
    // Pairs with `cycleCounts`.
    if isForced.load(ordering: .relaxed) { forcedCycles.add(1, ordering: .releasing) }
  }

  /// Cycles that have ended to mark, and those of them that a program asked for, and that were
  /// minor ones: never more.
  package var cycleCounts: (all: Int, forced: Int, minor: Int) {
    // First. Pairs with `endMarking`.
    let forced = forcedCycles.load(ordering: .acquiring)
    let minor = minorCycles.load(ordering: .acquiring)
    return (cycles.load(ordering: .relaxed), forced, minor)
  }

  /// A span was swept.
  func countFreed(slots: Int, bytes: Int) {
    // Pairs with HeapFigures.
    freedObjects.add(slots, ordering: .releasing)
    freedBytes.add(bytes, ordering: .releasing)
  }

  /// Keeps what a mutator has counted that is about to go. Under the registry's lock.
  func keepTally(of mutator: AttachedMutator) {
    retired.add(unsafe mutator.state.pointee.tally)
  }

  // MARK: - Pauses

  /// Notes one mutator's answer to one handshake, or its wait to leave a blocking region.
  package func recordPause(nanoseconds: UInt64) {
    let length = Int(clamping: nanoseconds)
    pauseLock.withLock { pauses in
      pauses.buckets[PauseBuckets.index(of: length)] += 1
      pauses.total = pauses.total.saturatingAdd(length)
      pauses.longest = max(pauses.longest, length)
    }
  }

  /// The pauses until now.
  package var pauses: Pauses { pauseLock.withLock { $0 } }
}

/// Pauses of one heap; the figures belong together.
package struct Pauses: Sendable {
  /// How many pauses fell into each bucket (`PauseBuckets`).
  package var buckets = Array(repeating: 0, count: PauseBuckets.count)
  /// The sum and the longest, in nanoseconds.
  package var total = 0
  package var longest = 0

  package var count: Int { buckets.reduce(0, +) }
}

/// Buckets whose width grows with the value: eight for each power of two, so a bucket's lower
/// bound is at most an eighth below any value in it.
package enum PauseBuckets {
  package static var count: Int { 62 * 8 }

  package static func index(of value: Int) -> Int {
    let value = max(value, 0)
    guard value >= 8 else { return value }
    let exponent = Int.bitWidth - 1 - value.leadingZeroBitCount
    return (exponent - 2) * 8 + (value >> (exponent - 3)) & 7
  }

  /// The smallest value of a bucket.
  package static func lowerBound(of index: Int) -> Int {
    guard index >= 8 else { return index }
    let exponent = index / 8 + 2
    return (8 + index % 8) << (exponent - 3)
  }
}
