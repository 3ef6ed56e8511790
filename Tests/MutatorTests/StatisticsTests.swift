// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The figures of a heap, for programs whose every object is known.

import Collector
import Heap
import Mutator
import TestSupport
import Testing

@Suite struct StatisticsTests {
  @Test("a new heap has done nothing")
  func new() throws {
    let statistics = try HeapCheck.heap().statistics
    #expect(statistics.allocatedObjects == 0 && statistics.freedObjects == 0)
    #expect(statistics.liveBytes == 0 && statistics.heapBytes == 0)
    #expect(statistics.cycleCount == 0 && statistics.forcedCycleCount == 0)
    #expect(statistics.heapGoal == 4 << 20)
    #expect(statistics.pauses.count == 0)
  }

  @Test("objects and bytes are counted exactly, inside and outside")
  func counting() throws {
    let heap = try HeapCheck.heap { $0.gcPercent = .off }
    heap.withMutator { mutator in
      _ = mutator.list(777)
      let statistics = heap.statistics
      #expect(statistics.allocatedObjects == 777)
      #expect(statistics.allocatedBytes == 777 * 24)
      #expect(statistics.heapBytes == 777 * 24)
    }
    #expect(heap.statistics.allocatedObjects == 777)
    heap.collect()
    let statistics = heap.statistics
    #expect(statistics.freedObjects == 777 && statistics.heapBytes == 0)
    #expect(statistics.allocatedBytes == 777 * 24)
    HeapCheck.expectEmpty(heap)
  }

  @Test("what is live is what the last collection reached")
  func live() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    let root = heap.withMutator { mutator in
      _ = mutator.list(10_000)
      let array = mutator.allocateArray(of: Int.self, count: 10_000, repeating: 1)
      _ = array
      return HeapRoot(mutator.list(500)!, in: mutator)
    }
    #expect(heap.statistics.liveBytes == 0)
    heap.collect()
    let statistics = heap.statistics
    #expect(statistics.liveBytes == 500 * 24 && statistics.heapBytes == 500 * 24)
    #expect(statistics.allocatedObjects == 10_501 && statistics.freedObjects == 10_001)
    HeapCheck.expectSound(heap)
    withExtendedLifetime(root) {}
  }

  @Test("size classes add up to the whole")
  func sizeClasses() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    let root = heap.withMutator { mutator in
      let list = mutator.list(1000)!
      for count in [1, 10, 100, 1000, 10_000] {
        list.other = mutator.list(10)
        _ = mutator.allocateArray(of: Int.self, count: count, repeating: 0)
      }
      return HeapRoot(list, in: mutator)
    }
    let statistics = heap.statistics
    #expect(statistics.bySizeClass.count == 67)
    #expect(statistics.bySizeClass.reduce(0) { $0 + $1.objects } == statistics.allocatedObjects)
    #expect(statistics.bySizeClass.reduce(0) { $0 + $1.bytes } == statistics.heapBytes)
    let spans = heap.core.pageHeap.usage.spanCount
    #expect(statistics.bySizeClass.reduce(0) { $0 + $1.spans } == spans)
    #expect(statistics.bySizeClass[0].objects == 1 && statistics.bySizeClass[0].slotSize == 0)
    heap.collect()
    let after = heap.statistics
    #expect(after.bySizeClass.reduce(0) { $0 + $1.objects } == 1010)
    #expect(after.bySizeClass.reduce(0) { $0 + $1.bytes } == after.liveBytes)
    HeapCheck.expectSound(heap)
    withExtendedLifetime(root) {}
  }

  @Test("cycles, goals and pauses are counted as they happen")
  func cycles() throws {
    let heap = try HeapCheck.pacedHeap()
    let root = heap.withMutator { mutator in
      let root = HeapRoot(mutator.list(200_000)!, in: mutator)
      mutator.collect()
      return root
    }
    let first = heap.statistics
    #expect(first.forcedCycleCount == 1 && first.cycleCount >= 1)
    // Twice what is live, and a little for roots and stacks.
    #expect(first.heapGoal >= 2 * first.liveBytes)
    #expect(first.heapGoal < 2 * first.liveBytes + 2 << 20)
    #expect(first.markTime > .zero)
    #expect(first.mappedBytes >= first.liveBytes && first.mappedBytes >= first.releasedBytes)
    #expect(first.gcCPUFraction >= 0 && first.gcCPUFraction <= 1)
    heap.withMutator { mutator in
      var turns = 0
      // A cycle may find the thread waiting each time, and answer for it: that is no pause.
      while heap.statistics.cycleCount == first.cycleCount || heap.statistics.pauses.count == 0,
        turns < 500
      {
        _ = mutator.list(50_000)
        turns += 1
      }
    }
    let second = heap.statistics
    #expect(second.cycleCount > first.cycleCount && second.forcedCycleCount == 1)
    #expect(second.pauses.count > 0 && second.pauses.max > .zero)
    #expect(second.pauses.percentile(50) <= second.pauses.max)
    #expect(second.allocatedObjects > first.allocatedObjects)
    withExtendedLifetime(root) {}
  }

  @Test("statistics describe themselves, one figure a line")
  func describing() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    heap.withMutator { _ = $0.list(100) }
    heap.withMutator { _ = $0.allocateArray(of: Int.self, count: 10_000, repeating: 1) }
    // The columns are as wide as the longest name.
    let lines = heap.statistics.description.split(separator: "\n").map { line in
      line.split(separator: " ").joined(separator: " ")
    }
    let wanted = [
      "heapBytes 82.3 KiB", "heapGoal none", "allocatedObjects 101", "cycleCount 0",
      "pauses 0 pauses, median 0.0 seconds", "weakReferences 0",
      "large objects 1 objects, 80.0 KiB, 1 spans", "slots of 24 B 100 objects, 2.3 KiB, 1 spans",
    ]
    for line in wanted {
      #expect(lines.contains { $0.hasPrefix(line) }, "\(line) is not in \(lines)")
    }
    #expect(lines.count == 25)
  }

  @Test(
    "while collections are forced and threads allocate, each value of the figures is consistent")
  func consistency() throws {
    let heap = try HeapCheck.heap { $0.minimumHeap = 64 << 10 }
    let isDone = Event()
    let collecting = TestThread { while !isDone.hasHappened { heap.collect() } }
    let allocating = TestThread {
      while !isDone.hasHappened { heap.withMutator { _ = $0.list(500) } }
    }
    var seen = 0
    while seen < 200 {
      let statistics = heap.statistics
      seen = max(seen + 1, min(statistics.cycleCount, 199))
      #expect(statistics.forcedCycleCount <= statistics.cycleCount)
      #expect(statistics.freedObjects <= statistics.allocatedObjects)
      #expect(statistics.pauses.percentile(100) == statistics.pauses.max)
      #expect(statistics.pauses.total >= statistics.pauses.max)
    }
    isDone.happen()
    collecting.join()
    allocating.join()
  }
}
