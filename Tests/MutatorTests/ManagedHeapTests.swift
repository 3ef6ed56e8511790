// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A heap as a whole: entering and leaving it, collecting, its percentage, its end.
//
// What concerns the whole process (threads, mapped addresses) is measured in a process of its
// own, because other tests run at the same time.

import Collector
import Glibc
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

/// An object with references, for tests of whole heaps.
struct TestNode: HeapObject {
  var next: HeapRef<TestNode>?
  var other: HeapRef<TestNode>?
  var key = 0
}

extension HeapMutator {
  /// A list of so many nodes with the keys 0 ..< count, first to last.
  @inline(never)
  func list(_ count: Int) -> HeapRef<TestNode>? {
    var first: HeapRef<TestNode>?
    for key in stride(from: count - 1, through: 0, by: -1) {
      first = allocate(TestNode(next: first, key: key))
    }
    return first
  }
}

@Suite struct ManagedHeapTests {
  private struct Refused: Error, Equatable { var code: Int }

  // MARK: - Entering

  @Test("the result of the body is the result of the call")
  func result() throws {
    let heap = try HeapCheck.heap()
    #expect(heap.withMutator { $0.allocate(TestNode(key: 7)).key } == 7)
    heap.withMutator { _ in }
    let words = heap.withMutator { mutator in
      ["a", "b"].map { String(mutator.allocateString($0)) + "!" }
    }
    #expect(words == ["a!", "b!"])
    HeapCheck.expectSound(heap)
  }

  @Test("an error thrown inside comes out as it is, and the thread has left the heap")
  func thrown() throws {
    let heap = try HeapCheck.heap()
    #expect(throws: Refused(code: 3)) {
      try heap.withMutator { mutator throws(Refused) in
        _ = mutator.allocate(TestNode())
        throw Refused(code: 3)
      }
    }
    #expect(throws: Refused(code: 4)) {
      try heap.withMutator { mutator throws(Refused) in
        try mutator.heap.withMutator { inner throws(Refused) in
          try inner.blocking { () throws(Refused) in throw Refused(code: 4) }
        }
      }
    }
    #expect(heap.core.attachedCount == 0)
    HeapCheck.expectEmpty(heap)
  }

  @Test("calls nest on one thread, which is attached once")
  func nesting() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { outer in
      let node = outer.allocate(TestNode(key: 1))
      heap.withMutator { inner in
        #expect(heap.core.attachedCount == 1)
        node.next = inner.list(1000)
        heap.collect()
        inner.collect()
      }
      #expect(heap.core.attachedCount == 1)
      #expect(node.next?.key == 0 && node.key == 1)
    }
    #expect(heap.core.attachedCount == 0)
    HeapCheck.expectEmpty(heap)
  }

  @Test("a thread enters its heap again from inside a blocking region")
  func enteringFromBlocking() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let node = mutator.allocate(TestNode(key: 1))
      mutator.blocking {
        heap.collect()
        heap.withMutator { inner in
          node.next = inner.list(10_000)
          inner.collect()
          #expect(node.next?.next?.key == 1)
          inner.blocking { heap.collect() }
        }
        heap.collect()
      }
      #expect(node.next?.next?.key == 1)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("many threads enter and leave while others collect")
  func comingAndGoing() throws {
    let heap = try HeapCheck.heap { $0.minimumHeap = 64 << 10 }
    onThreads(4) { number in
      for round in 0..<100 {
        if number == 0 && round % 4 == 0 { heap.collect() }
        let sum = heap.withMutator { mutator in
          let list = mutator.list(200)
          if round % 10 == number { mutator.collect() }
          return sequence(first: list, next: { $0?.next }).reduce(0) { $0 + ($1?.key ?? 0) }
        }
        #expect(sum == 199 * 100)
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  // MARK: - Collecting

  @Test("a heap that nothing was allocated in can be collected")
  func collectingNothing() throws {
    let heap = try HeapCheck.heap()
    heap.collect()
    heap.releaseFreeMemory()
    #expect(heap.statistics.cycleCount == 2 && heap.statistics.forcedCycleCount == 2)
    HeapCheck.expectEmpty(heap)
  }

  @Test("many threads collect at once, attached or not, and all return")
  func collectingTogether() throws {
    let heap = try HeapCheck.heap()
    onThreads(6) { number in
      for _ in 0..<8 {
        if number % 2 == 0 {
          heap.collect()
        } else {
          heap.withMutator { mutator in
            let node = mutator.list(100)
            mutator.collect()
            #expect(node?.next?.key == 1)
          }
        }
      }
    }
    let cycles = heap.statistics.cycleCount
    #expect(cycles >= 8 && cycles <= 48 + 2)
    HeapCheck.expectEmpty(heap)
  }

  @Test("objects in circles are reclaimed when nothing else refers to them")
  func circles() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { mutator in
      var kept: HeapRoot<HeapRef<TestNode>>?
      for number in 0..<1000 {
        let a = mutator.allocate(TestNode(key: number))
        let b = mutator.allocate(TestNode(next: a, other: a, key: number))
        (a.next, a.other) = (b, a)
        if number == 500 { kept = HeapRoot(a, in: mutator) }
      }
      return kept
    }
    heap.collect()
    heap.collect()
    #expect(heap.core.counters.liveObjects.load(ordering: .relaxed) == 2)
    heap.withMutator { mutator in
      #expect(root?.get(in: mutator).next?.next?.key == 500)
    }
    HeapCheck.expectSound(heap)
    withExtendedLifetime(root) {}
  }

  @Test("when collect returns, all that was unreachable is freed, and nothing else")
  func collectIsComplete() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    let root = heap.withMutator { mutator in
      _ = mutator.list(50_000)
      // SAFETY of the unwrapping: a list of 100 has a first node.
      return HeapRoot(mutator.list(100)!, in: mutator)
    }
    heap.collect()
    #expect(heap.core.counters.liveObjects.load(ordering: .relaxed) == 100)
    #expect(heap.statistics.liveBytes == 2400)
    #expect(heap.statistics.freedObjects == 50_000)
    HeapCheck.expectSound(heap)
    withExtendedLifetime(root) {}
  }

  // MARK: - The percentage

  @Test("at 100 percent a heap collects of its own accord and stays small")
  func automatic() throws {
    // Unchecked: what is freed is not held out of use.
    let heap = try HeapCheck.pacedHeap { $0.checks = .off }
    heap.withMutator { mutator in
      for _ in 0..<40 { _ = mutator.list(50_000) }
    }
    let statistics = heap.statistics
    // A thread that leaves while a collection marks leaves the rest of its runs as allocated.
    #expect(statistics.allocatedObjects >= 2_000_000)
    #expect(statistics.allocatedObjects < 2_002_000)
    #expect(statistics.cycleCount >= 2 && statistics.forcedCycleCount == 0)
    // Without a collection it would be 46 MiB.
    #expect(heap.core.pageHeap.usage.spanBytes < 36 << 20)
    HeapCheck.expectEmpty(heap)
  }

  @Test("with the percentage off a heap never collects of its own accord")
  func off() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    #expect(heap.statistics.heapGoal == .max)
    heap.withMutator { mutator in
      for _ in 0..<10 { _ = mutator.list(50_000) }
    }
    #expect(heap.statistics.cycleCount == 0)
    heap.collect()
    #expect(heap.statistics.cycleCount == 1)
    HeapCheck.expectEmpty(heap)
  }

  @Test("a percentage of zero collects all the time and loses nothing")
  func zero() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = 0 }
    heap.withMutator { mutator in
      let list = mutator.list(20_000)
      var turns = 0
      while heap.statistics.cycleCount < 3, turns < 10_000 {
        _ = mutator.list(1000)
        turns += 1
      }
      let sum = sequence(first: list, next: { $0?.next }).reduce(0) { $0 + ($1?.key ?? 0) }
      #expect(sum == 19_999 * 10_000)
    }
    #expect(heap.statistics.cycleCount >= 3 && heap.statistics.forcedCycleCount == 0)
    HeapCheck.expectEmpty(heap)
  }

  @Test("a percentage of Int.max is as good as off")
  func huge() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .percent(.max) }
    heap.withMutator { mutator in
      for _ in 0..<10 { _ = mutator.list(50_000) }
    }
    #expect(heap.statistics.cycleCount == 0)
    heap.collect()
    HeapCheck.expectEmpty(heap)
  }

  @Test("lowering the percentage below what is allocated starts a collection")
  func changing() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    heap.withMutator { _ = $0.list(500_000) }
    #expect(heap.statistics.cycleCount == 0 && heap.gcPercent == .off)
    heap.gcPercent = 50
    #expect(heap.gcPercent == 50)
    let deadline = 500
    var waited = 0
    while heap.statistics.cycleCount == 0 && waited < deadline {
      usleep(10_000)
      waited += 1
    }
    #expect(heap.statistics.cycleCount >= 1)
    #expect(heap.statistics.forcedCycleCount == 0)
    HeapCheck.expectEmpty(heap)
  }

  // MARK: - The end

  @Test("when a heap goes, its threads end and its addresses return to the system")
  func end() async {
    await #expect(processExitsWith: .success) {
      func mapped() -> Int {
        guard let file = unsafe fopen("/proc/self/statm", "r") else { return 0 }
        defer { unsafe fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard unsafe fgets(&line, 128, file) != nil else { return 0 }
        let digits = line.prefix { $0 != 0x20 }.map(UInt8.init(bitPattern:))
        return (Int(String(decoding: digits, as: UTF8.self)) ?? 0) << 12
      }
      // Within two seconds.
      func isSoon(_ condition: () -> Bool) -> Bool {
        for _ in 0..<200 {
          if condition() { return true }
          usleep(10_000)
        }
        return false
      }
      func run() throws {
        let heap = try HeapCheck.pacedHeap { $0.workers = 3 }
        heap.withMutator { mutator in
          let list = mutator.list(100_000)
          mutator.collect()
          #expect(list?.key == 0)
        }
        #expect(ProcessFigures.threadNames.contains("heap-collector"))
        // Nobody waits for a helper, so one may not have begun to run yet.
        #expect(isSoon { ProcessFigures.threadNames.count { $0 == "heap-marker" } == 2 })
      }
      try run()
      let (threads, bytes) = (ProcessFigures.threadNames.count, mapped())
      #expect(isSoon { !ProcessFigures.threadNames.contains { $0.hasPrefix("heap-") } })
      for _ in 0..<20 { try run() }
      #expect(isSoon { ProcessFigures.threadNames.count <= threads })
      #expect(isSoon { !ProcessFigures.threadNames.contains { $0.hasPrefix("heap-") } })
      // Twenty arenas would be 1.25 GiB, one is 64 MiB.
      #expect(mapped() < bytes + 32 << 20)
    }
  }

  @Test("a heap that never collects has no thread")
  func threadless() async {
    await #expect(processExitsWith: .success) {
      let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
      heap.withMutator { _ = $0.list(1000) }
      #expect(!ProcessFigures.threadNames.contains("heap-collector"))
      withExtendedLifetime(heap) {}
    }
  }
}
