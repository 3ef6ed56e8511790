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
    let taken = core.taken
    let usage = core.pageHeap.usage
    let freedBytes = counters.freedBytes.load(ordering: .relaxed)
    let marking = counters.collectorCPU.load(ordering: .relaxed) + taken.assistNanoseconds
    let processCPU = max(heap_process_cpu() - startCPU, 1)
    return HeapStatistics(
      liveBytes: counters.liveBytes.load(ordering: .relaxed),
      heapBytes: taken.bytes - freedBytes, heapGoal: counters.goal.load(ordering: .relaxed),
      mappedBytes: usage.arenaBytes + core.metadataBytes, releasedBytes: usage.releasedBytes,
      allocatedBytes: taken.bytes, allocatedObjects: taken.slots,
      freedObjects: counters.freedObjects.load(ordering: .relaxed),
      cycleCount: counters.cycles.load(ordering: .relaxed),
      forcedCycleCount: counters.forcedCycles.load(ordering: .relaxed),
      gcCPUFraction: min(Double(marking) / Double(processCPU), 1),
      markTime: .nanoseconds(counters.markNanoseconds.load(ordering: .relaxed)),
      assistTime: .nanoseconds(taken.assistNanoseconds),
      sweepTime: .nanoseconds(counters.sweepNanoseconds.load(ordering: .relaxed)),
      pauses: PauseHistogram(
        buckets: counters.pauses.map { UInt64($0) },
        totalNanoseconds: UInt64(counters.pauseTotal.load(ordering: .relaxed)),
        maxNanoseconds: UInt64(counters.pauseLongest.load(ordering: .relaxed))),
      bySizeClass: core.usageBySizeClass.enumerated().map { number, usage in
        let slotSize = SizeClass(UInt8(number)).slotSize
        return .init(
          sizeClass: number, slotSize: slotSize, objects: usage.objects,
          bytes: usage.bytes, spans: usage.spans)
      })
  }
}
