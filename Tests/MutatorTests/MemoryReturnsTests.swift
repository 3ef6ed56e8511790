// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Memory that is let go of can be used again, for anything; and a heap with a hard limit
// lives on after it has reached it.

import Collector
import Heap
import Mutator
import TestSupport
import Testing

@Suite struct MemoryReturnsTests {
  /// What stale words on the stack of an attached thread may keep, in bytes: a few of the
  /// largest objects here. (One word could keep a whole list, so `fill` leaves none behind.)
  private static let staleBytes = 256 << 10

  private struct Large: HeapObject {
    var words = InlineArray<60, Int>(repeating: 1)
    var next: HeapRef<Large>?
  }

  @inline(never)
  private static func fill(_ mutator: HeapMutator, bytes: Int) {
    let root = mutator.allocateArray(of: HeapArray<Int>?.self, count: 64, repeating: nil)
    for index in 0..<64 {
      root[index] = mutator.allocateArray(of: Int.self, count: bytes / 64 / 8, repeating: index)
    }
    var list: HeapRef<Large>?
    for _ in 0..<(bytes / 512) { list = mutator.allocate(Large(next: list)) }
    #expect(root[63]?[0] == 63 && list?.words[0] == 1)
    root.update(repeating: nil)
    while let object = list {
      list = object.next
      object.next = nil
    }
  }

  @Test("after two collections nothing is left of what was dropped, on the thread that dropped it")
  func attached() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      for _ in 0..<4 { Self.fill(mutator, bytes: 4 << 20) }
      mutator.collect()
      mutator.collect()
      #expect(heap.statistics.liveBytes <= Self.staleBytes)
      // No other thread, and no cycle under way: caches can be looked at as well.
      var problems: [String] = []
      heap.core.checkInvariants { problems.append($0) }
      #expect(problems.isEmpty)
      // What caches do not hold is free.
      #expect(heap.core.pageHeap.usage.spanBytes <= Self.staleBytes + 20 * 80 << 10)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("pages that small objects had serve a large one, and the reverse")
  func reuse() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    for round in 0..<4 {
      heap.withMutator { mutator in
        if round % 2 == 0 {
          _ = mutator.list(300_000)
        } else {
          let array = mutator.allocateArray(of: Int.self, count: 1_000_000, repeating: round)
          #expect(array[999_999] == round)
        }
      }
      heap.core.collectAndWaitForAll()
      heap.core.collectAndWaitForAll()
      #expect(heap.core.pageHeap.usage.spanBytes == 0)
    }
    // 7 or 8 MB at a time: one arena is enough.
    #expect(heap.core.pageHeap.usage.arenaBytes == Geometry.arenaSize)
    HeapCheck.expectEmpty(heap)
  }

  @Test("releasing free memory gives all free pages back, and they can be used again")
  func releasing() throws {
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { _ = $0.list(500_000) }
    heap.releaseFreeMemory()
    heap.releaseFreeMemory()
    let usage = heap.core.pageHeap.usage
    #expect(usage.releasedBytes == usage.arenaBytes && usage.spanBytes == 0)
    #expect(heap.statistics.releasedBytes == usage.arenaBytes)
    let sum = heap.withMutator { mutator in
      sequence(first: mutator.list(1000), next: { $0?.next }).reduce(0) { $0 + ($1?.key ?? 0) }
    }
    #expect(sum == 999 * 500)
    HeapCheck.expectEmpty(heap)
  }

  // MARK: - The hard limit

  @Test("at the hard limit tryAllocate throws, and the heap is as good as before afterwards")
  func hardLimit() throws {
    let limit = 8 << 20
    let heap = try HeapCheck.pacedHeap { $0.hardLimit = limit }
    for _ in 0..<3 {
      let (count, error) = heap.withMutator { mutator -> (Int, HeapError?) in
        var (list, count): (HeapRef<TestNode>?, Int) = (nil, 0)
        do throws(HeapError) {
          while true {
            list = try mutator.tryAllocate(TestNode(next: list, key: count))
            count += 1
          }
        } catch {
          #expect(list?.key == count - 1)
          // A word that is left on the stack may keep a node, but not a list of them.
          while let node = list {
            list = node.next
            node.next = nil
          }
          return (count, error)
        }
      }
      #expect(error == .outOfMemory(requested: 24, limit: limit))
      #expect(count > limit / 24 * 9 / 10 && count <= limit / 24)
      #expect(heap.core.pageHeap.usage.spanBytes <= limit)
    }
    heap.withMutator { mutator in
      let list = mutator.list(100_000)
      #expect(list?.next?.key == 1)
    }
    #expect(heap.hardLimit == limit)
    HeapCheck.expectEmpty(heap)
  }

  @Test("an array over the hard limit is refused, smaller ones are not")
  func hardLimitOfArrays() throws {
    let limit = 4 << 20
    let heap = try HeapCheck.heap { $0.hardLimit = limit }
    heap.withMutator { mutator in
      #expect(throws: HeapError.self) {
        _ = try mutator.tryAllocateArray(of: Int.self, count: limit / 8, repeating: 0)
      }
      for round in 0..<20 {
        let array = try? mutator.tryAllocateArray(of: Int.self, count: limit / 32, repeating: round)
        #expect(array?[100] == round)
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("garbage does not count: under a hard limit a program allocates without end")
  func hardLimitAndGarbage() throws {
    let heap = try HeapCheck.pacedHeap {
      $0.hardLimit = 4 << 20
      $0.gcPercent = .off
    }
    heap.withMutator { mutator in
      for _ in 0..<100 { _ = mutator.list(20_000) }
    }
    #expect(heap.statistics.allocatedObjects >= 2_000_000)
    #expect(heap.core.pageHeap.usage.spanBytes <= 4 << 20)
    HeapCheck.expectEmpty(heap)
  }

  @Test("several threads reach the hard limit together, and all of them hear of it")
  func hardLimitOfMany() throws {
    let heap = try HeapCheck.pacedHeap { $0.hardLimit = 4 << 20 }
    onThreads(3) { _ in
      for _ in 0..<2 {
        let failed = heap.withMutator { mutator in
          var list: HeapRef<TestNode>?
          for key in 0..<400_000 {
            guard let node = try? mutator.tryAllocate(TestNode(next: list, key: key)) else {
              return true
            }
            list = node
          }
          return false
        }
        #expect(failed)
      }
    }
    HeapCheck.expectEmpty(heap)
  }
}
