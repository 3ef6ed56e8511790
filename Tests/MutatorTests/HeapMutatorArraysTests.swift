// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Allocating arrays, strings and bytes: all sizes from none to several pieces of a large
// object, with and without references.

import CHeapShims
import Collector
import Heap
import Mutator
import TestSupport
import Testing

@Suite struct HeapMutatorArraysTests {
  private struct Pair {
    var node: HeapRef<TestNode>?
    var number = 0
  }

  @Test(
    "arrays of references of every size keep their elements",
    arguments: [
      0, 1, 2, 7, 100, 2047, 4095, 4096, 20_000, 70_000,
    ])
  func references(count: Int) throws {
    let heap = try HeapCheck.heap {
      $0.minimumHeap = 256 << 10
      // A collection at every so many of tens of thousands takes too long.
      if count > 5000 { $0.stress.collectEvery = 0 }
    }
    heap.withMutator { mutator in
      let array = mutator.allocateArray(of: Pair.self, count: count, repeating: Pair(number: 1))
      for index in 0..<count {
        array[index] = Pair(node: mutator.allocate(TestNode(key: index)), number: index)
      }
      mutator.collect()
      _ = mutator.list(10_000)
      #expect(array.count == count)
      #expect(array.enumerated().allSatisfy { $1.node?.key == $0 && $1.number == $0 })
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test(
    "arrays without references of every size keep their elements",
    arguments: [
      0, 1, 8, 1000, 32_760, 32_761, 1_000_000,
    ])
  func plain(count: Int) throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let bytes = mutator.allocateBytes((0..<count).lazy.map { UInt8(truncatingIfNeeded: $0) })
      let doubles = mutator.allocateArray(of: Double.self, count: count, repeating: 0.5)
      mutator.collect()
      #expect(bytes.count == count && doubles.count == count)
      #expect(bytes.enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: $0) })
      #expect(doubles.allSatisfy { $0 == 0.5 })
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("strings keep their text, whatever they are made of")
  func strings() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let long = String(repeating: "länger ", count: 10_000)
      let empty = mutator.allocateString("")
      let short = mutator.allocateString("héllo")
      let sub = mutator.allocateString("a substring".dropFirst(2))
      let large = mutator.allocateString(long)
      mutator.collect()
      #expect(empty.isEmpty && String(empty).isEmpty)
      #expect(String(short) == "héllo" && short.count == 6)
      #expect(sub.isEqual(to: "substring") && String(large) == long)
      #expect(short == mutator.allocateString("héllo") && short < sub)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("arrays of different element types never share a span, however alike they are")
  func separation() throws {
    let heap = try HeapCheck.heap { $0.gcPercent = .off }
    heap.withMutator { mutator in
      for _ in 0..<50 {
        _ = mutator.allocateArray(of: Int.self, count: 3, repeating: 1)
        _ = mutator.allocateArray(of: UInt.self, count: 3, repeating: 1)
        _ = mutator.allocateArray(of: Double.self, count: 3, repeating: 1)
      }
    }
    // 50 arrays of 32 bytes fill a part of one span.
    #expect(heap.core.pageHeap.usage.spanCount == 3)
    HeapCheck.expectEmpty(heap)
  }

  @Test("a collection goes on while a thread fills a large array, and the array is whole")
  func fillingLargeArrays() throws {
    let count = 16_000_000
    let heap = try HeapCheck.heap { $0.gcPercent = .off }
    let isDone = Event()
    let collector = TestThread { while !isDone.hasHappened { heap.collect() } }
    heap.withMutator { mutator in
      // Again if the other thread did not get a processor meanwhile.
      var during = 0
      let deadline = heap_now() + 30_000_000_000
      while during < 2, heap_now() < deadline {
        let before = heap.statistics.cycleCount
        let numbers = mutator.allocateArray(of: Int.self, count: count, repeating: 5)
        during = heap.statistics.cycleCount - before
        #expect(numbers[0] == 5 && numbers[count / 2] == 5 && numbers[count - 1] == 5)
      }
      #expect(during >= 2, "the thread passes safepoints while it fills")
      let target = mutator.allocateArray(of: Int.self, count: 1, repeating: 7)
      let array = mutator.allocateArray(of: HeapArray<Int>.self, count: 200_000, repeating: target)
      #expect((0..<200_000).allSatisfy { array[$0][0] == 7 })
    }
    isDone.happen()
    collector.join()
  }

  @Test("a collection goes on while a thread copies a large array, and the copy is whole")
  func copyingLargeArrays() throws {
    let count = 4_000_000
    let heap = try HeapCheck.heap { $0.gcPercent = .off }
    heap.withMutator { mutator in
      let numbers = mutator.allocateArray(of: Int.self, count: count, repeating: 5)
      let boxes = mutator.allocateArray(of: HeapArray<Int>?.self, count: 200_000, repeating: nil)
      for index in stride(from: 0, to: 200_000, by: 1000) {
        boxes[index] = mutator.allocateArray(of: Int.self, count: 1, repeating: index)
      }
      numbers[count - 1] = 7
      let isDone = Event()
      let collector = TestThread { while !isDone.hasHappened { heap.collect() } }
      let before = heap.statistics.cycleCount
      var rounds = 0
      while heap.statistics.cycleCount < before + 2, rounds < 500 {
        numbers.copy(range: 1..<count, to: 0)
        boxes.copy(range: 0..<199_999, to: 1)
        rounds += 1
      }
      // Nothing but the copies is a safepoint here.
      #expect(rounds < 500, "the thread passes safepoints while it copies")
      #expect(numbers[count - 1] == 7 && numbers[count - 1 - rounds] == 7)
      #expect(numbers[0] == 5 && numbers[count - 2 - rounds] == 5)
      for index in stride(from: 0, to: 200_000 - rounds, by: 1000) {
        #expect(boxes[index + rounds]?[0] == index)
      }
      mutator.blocking {
        isDone.happen()
        collector.join()
      }
    }
    HeapCheck.expectEmpty(heap)
  }
}
