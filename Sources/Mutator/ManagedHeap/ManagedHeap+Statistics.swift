// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// One consistent value out of many counters.
//
// What threads have taken is summed under the registry's lock; what they have not used of it
// is known for the calling thread only, since another one's cache is its own. Everything else
// is a running total.

internal import CHeapShims
internal import Collector
internal import Heap
internal import Synchronization

extension ManagedHeap {
  /// What the heap has done so far.
  ///
  /// - Complexity: O(threads + types); takes a few locks for a moment each.
  public var statistics: HeapStatistics {
    let counters = core.counters
    let figures = core.figures
    let cycles = counters.cycleCounts
    let pauses = counters.pauses
    let usage = core.pageHeap.usage
    let (weak, cleanups) = (core.weak.figures, core.cleanups.figures)
    let processCPU = max(heap_process_cpu() - startCPU, 1)
    return HeapStatistics(
      liveBytes: counters.liveBytes.load(ordering: .relaxed),
      heapBytes: figures.allocatedBytes - figures.freedBytes,
      heapGoal: unsafe core.words.pointee.fullGoal.load(ordering: .relaxed),
      externalBytes: unsafe core.words.pointee.externalBytes.load(ordering: .relaxed),
      mappedBytes: usage.arenaBytes + core.pageHeap.metadataBytes,
      releasedBytes: usage.releasedBytes,
      allocatedBytes: figures.allocatedBytes, allocatedObjects: figures.allocatedObjects,
      freedObjects: figures.freedObjects, destroyedObjects: figures.destroyedObjects,
      cycleCount: cycles.all, forcedCycleCount: cycles.forced,
      minorCycleCount: cycles.minor,
      gcCPUFraction: min(Double(figures.collectionNanoseconds) / Double(processCPU), 1),
      markTime: .nanoseconds(figures.markNanoseconds),
      assistTime: .nanoseconds(figures.assistNanoseconds),
      sweepTime: .nanoseconds(figures.sweepNanoseconds),
      pauses: PauseHistogram(
        buckets: pauses.buckets, totalNanoseconds: pauses.total, maxNanoseconds: pauses.longest),
      weakReferences: weak.known, clearedWeakReferences: weak.cleared,
      ephemerons: core.ephemerons.count, waitingCleanups: cleanups.waiting,
      finishedCleanups: cleanups.run,
      bySizeClass: core.usageBySizeClass.enumerated().map { number, usage in
        let slotSize = SizeClass(UInt8(number)).slotSize
        return .init(
          sizeClass: number, slotSize: slotSize, objects: usage.objects,
          bytes: usage.bytes, spans: usage.spans)
      })
  }
}
