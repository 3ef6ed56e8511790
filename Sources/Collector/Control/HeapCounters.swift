// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Figures: what a heap counts about itself.
//
// Counters are atomics that are added to a batch at a time (a refill, a swept span, a marker
// that settles), so counting costs the hot paths nothing. Relaxed throughout: a figure hands
// nothing over.

internal import CHeapShims
internal import Heap
package import Synchronization

/// Running totals of one heap.
@safe package final class HeapCounters: @unchecked Sendable {
  // Sendable: atomics, and a pointer to atomics.

  /// Marked in the cycle under way or the last one, unused slots of runs excluded once spans
  /// have been handed back.
  package let markedBytes = Atomic<Int>(0)
  package let markedObjects = Atomic<Int>(0)
  /// Marked in the last complete cycle.
  package let liveBytes = Atomic<Int>(0)
  package let liveObjects = Atomic<Int>(0)
  package let freedBytes = Atomic<Int>(0)
  package let freedObjects = Atomic<Int>(0)
  /// Root slots and stacks, as of the last cycle, in bytes.
  package let rootBytes = Atomic<Int>(0)
  package let goal = Atomic<Int>(0)
  package let cycles = Atomic<Int>(0)
  package let forcedCycles = Atomic<Int>(0)
  package let markNanoseconds = Atomic<Int>(0)
  package let sweepNanoseconds = Atomic<Int>(0)
  /// CPU time of the collector's threads, as of the last cycle, in nanoseconds.
  package let collectorCPU = Atomic<Int>(0)

  package let pauseTotal = Atomic<Int>(0)
  package let pauseLongest = Atomic<Int>(0)
  private let pauseBuckets: UnsafeMutablePointer<Atomic<Int>>

  package init() {
    unsafe pauseBuckets = .allocate(capacity: PauseBuckets.count)
    for i in 0..<PauseBuckets.count { unsafe (pauseBuckets + i).initialize(to: Atomic(0)) }
  }

  deinit { unsafe pauseBuckets.deallocate() }

  /// Notes one mutator's answer to one handshake.
  package func recordPause(nanoseconds: UInt64) {
    let length = Int(clamping: nanoseconds)
    unsafe pauseBuckets[PauseBuckets.index(of: length)].add(1, ordering: .relaxed)
    pauseTotal.add(length, ordering: .relaxed)
    pauseLongest.max(length, ordering: .relaxed)
  }

  /// How many pauses fell into each bucket.
  package var pauses: [Int] {
    (0..<PauseBuckets.count).map { unsafe pauseBuckets[$0].load(ordering: .relaxed) }
  }
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

extension CollectedHeap {
  /// At the start of a cycle, when nothing is marked.
  package func beginFigures(forced: Bool) {
    counters.markedBytes.store(0, ordering: .relaxed)
    counters.markedObjects.store(0, ordering: .relaxed)
    counters.rootBytes.store(0, ordering: .relaxed)
    unsafe words.pointee.assistCredit.store(0, ordering: .relaxed)
    if forced { counters.forcedCycles.add(1, ordering: .relaxed) }
  }

  /// When all mutators have handed back what they did not use.
  func finishFigures() {
    let live = counters.markedBytes.load(ordering: .relaxed)
    counters.liveBytes.store(live, ordering: .relaxed)
    counters.liveObjects.store(
      counters.markedObjects.load(ordering: .relaxed), ordering: .relaxed)
    counters.cycles.add(1, ordering: .relaxed)
    counters.collectorCPU.store(Int(heap_thread_cpu()), ordering: .relaxed)
    pace(live: live)
    // What asked for a cycle until now has got it: the trigger has moved.
    unsafe words.pointee.cycleIsWanted.store(0, ordering: .relaxed)
    requests.noteMarking()
  }

  /// What mutators have taken so far, in bytes and slots, less what the calling thread has not
  /// used of its runs. (Other threads' caches are their own.)
  package var taken: (bytes: Int, slots: Int, assistNanoseconds: Int) {
    registry.withLock { registry in
      var sum = (registry.takenBytes, registry.takenSlots, registry.assistNanoseconds)
      for mutator in registry.mutators {
        let state = unsafe mutator.state
        if mutator == attachedMutator {
          unsafe state.pointee.cache.forEachSpan { entry in
            let unused = unsafe entry.pointee.unusedSlots.count
            sum.0 -= unsafe unused * Int(entry.pointee.slotSize)
            sum.1 -= unused
          }
        }
        sum.0 += unsafe state.pointee.takenBytes
        sum.1 += unsafe state.pointee.takenSlots
        sum.2 += unsafe state.pointee.assistNanoseconds
      }
      return sum
    }
  }

  /// Bytes of side tables and records, as addresses taken from the system.
  package var metadataBytes: Int {
    pageHeap.memory.mappedBytes
      + pageHeap.usage.arenaBytes / Geometry.arenaSize * ArenaTables.Layout.size
  }

  /// Objects, bytes and spans of each size class, caches' spans as of when they were taken.
  package var usageBySizeClass: [(objects: Int, bytes: Int, spans: Int)] {
    var sums = Array(repeating: (objects: 0, bytes: 0, spans: 0), count: SizeClass.count)
    for shelf in central.shelves() {
      let sizeClass = shelf.spanClass.sizeClass
      let number = Int(sizeClass.number)
      let objects = shelf.objectCount
      sums[number].objects += objects
      sums[number].spans += shelf.spanCount
      if !sizeClass.isLarge { sums[number].bytes += objects * sizeClass.slotSize }
    }
    sums[0].bytes = central.largeBytes
    return sums
  }
}
