// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The figures of a heap at one moment, which fit together.
//
// A heap is never stopped for its figures, so they are read in an order that keeps them right:
//
//   1. what was destroyed   acquiring
//   2. what was freed       acquiring
//   3. what was allocated   the tallies of all mutators, under the registry's lock
//
// An object is counted as allocated before its span can be swept, and as freed when it has been.
// What it owned is destroyed after that. So each step sees the earlier life of everything whose end
// the step before it has seen: the heap never has fewer objects than none. Both only grow. See Note [Figures] in Documentation/MemoryOrdering.md.
//
// An allocation is counted when its run is used up or handed back, and when its thread enters a
// blocking region or leaves the heap. What is in the current runs of the calling thread is added.
// So when all threads have left, the figures are exact; what other threads that run have taken
// from their current runs is missing.
//
// The cache of a mutator is never read here unless the mutator is the calling thread's and
// running: the collector may be handing back the runs of any other.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// The figures of a heap at one moment.
package struct HeapFigures: Sendable {
  package var destroyedObjects = 0
  package var freedBytes = 0
  package var freedObjects = 0
  package var allocatedBytes = 0
  package var allocatedObjects = 0
  /// Processor time of assists, in nanoseconds.
  package var assistNanoseconds = 0
  /// Processor time of workers outside of sweeping, in nanoseconds.
  package var markNanoseconds = 0
  /// Sweeping: processor time of the collector's thread, elapsed time of mutators.
  package var sweepNanoseconds = 0

  /// Processor time of collecting, in nanoseconds.
  package var collectionNanoseconds: Int {
    markNanoseconds + assistNanoseconds + sweepNanoseconds
  }
}

extension CollectedHeap {
  /// What the heap has done so far.
  package var figures: HeapFigures {
    var figures = HeapFigures()
    // First. Acquiring: pairs with Destroyer, which counts after `countFreed`.
    figures.destroyedObjects = counters.destroyedObjects.load(ordering: .acquiring)
    // Before the tallies. Acquiring: pairs with `countFreed`.
    figures.freedObjects = counters.freedObjects.load(ordering: .acquiring)
    figures.freedBytes = counters.freedBytes.load(ordering: .acquiring)
    figures.markNanoseconds = counters.markNanoseconds.load(ordering: .relaxed)
    figures.sweepNanoseconds = counters.sweepNanoseconds.load(ordering: .relaxed)
    registry.withAll { mutators, _ in
      for mutator in mutators { figures.add(unsafe mutator.state.pointee.tally) }
      // Under the same lock: a mutator that is retired takes its tally there.
      figures.add(counters.retired)
    }
    if let own = runningMutator { figures.addCurrentRuns(of: own) }
    return figures
  }

  /// The calling thread's mutator, if it may touch the heap: then nobody else touches its cache.
  private var runningMutator: AttachedMutator? {
    AttachedMutator.current(in: pageHeap.owner).flatMap { $0.isBlocked ? nil : $0 }
  }

  /// Objects, bytes and spans of each size class. What running threads have taken from the
  /// spans in their caches is missing, but for the calling thread.
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
    guard let own = runningMutator else { return sums }
    unsafe own.state.pointee.cache.forEachSpan { entry in
      guard let span = unsafe entry.pointee.span else { return }
      let sizeClass = span.spanClass.sizeClass
      let objects =
        unsafe span.allocatedCount - entry.pointee.countBefore - entry.pointee.unusedSlots.count
      sums[Int(sizeClass.number)].objects += objects
      sums[Int(sizeClass.number)].bytes += objects * sizeClass.slotSize
    }
    return sums
  }
}

extension HeapFigures {
  fileprivate mutating func add(_ tally: borrowing MutatorTally) {
    allocatedBytes += tally.allocatedBytes.load(ordering: .relaxed)
    allocatedObjects += tally.allocatedSlots.load(ordering: .relaxed)
    assistNanoseconds += tally.assistNanoseconds.load(ordering: .relaxed)
    sweepNanoseconds += tally.sweepNanoseconds.load(ordering: .relaxed)
  }

  fileprivate mutating func addCurrentRuns(of mutator: AttachedMutator) {
    unsafe mutator.state.pointee.cache.forEachSpan { entry in
      let used = unsafe entry.pointee.usedCount
      allocatedObjects += used
      unsafe allocatedBytes += used * Int(entry.pointee.slotSize)
    }
  }
}

extension MutatorTally {
  /// Adds what another tally has counted.
  func add(_ other: borrowing MutatorTally) {
    countAllocated(
      slots: other.allocatedSlots.load(ordering: .relaxed),
      bytes: other.allocatedBytes.load(ordering: .relaxed))
    assistNanoseconds.add(other.assistNanoseconds.load(ordering: .relaxed), ordering: .relaxed)
    sweepNanoseconds.add(other.sweepNanoseconds.load(ordering: .relaxed), ordering: .relaxed)
  }
}

extension PageHeap {
  /// Bytes of side tables and records, as addresses taken from the system.
  package var metadataBytes: Int {
    memory.mappedBytes + arenas.count * ArenaTables.Layout.size
  }
}
