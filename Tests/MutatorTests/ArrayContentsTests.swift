// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Arrays with contents: from closures that allocate and fail, inline arrays, collections, and arrays.

import CHeapShims
import Collector
import Heap
import Mutator
import TestSupport
import Testing

private struct ContentLink {
  var number = 0
  var node: HeapRef<TestNode>?
}

private enum ContentPayload {
  case nothing
  case number(Int)
  case node(HeapRef<TestNode>)
}

/// A collection that misstates its count, and gives its elements one by one.
private struct Liar: Collection {
  var promised: Int
  var found: Int
  var startIndex: Int { 0 }
  var endIndex: Int { found }
  var count: Int { promised }
  subscript(index: Int) -> Int { index }
  func index(after index: Int) -> Int { index + 1 }
}

private struct Refusal: Error, Equatable { var index: Int }

@Suite struct ArrayContentsTests {
  // MARK: - From a closure

  @Test(
    "a closure makes the elements in order, and may allocate and collect",
    arguments: StressMode.allCases)
  func closure(mode: StressMode) throws {
    let heap = try mode.heap()
    let isDone = Event()
    let collecting = TestThread { while !isDone.hasHappened { heap.collect() } }
    heap.withMutator { mutator in
      for count in mode.isSlow ? [0, 1, 40] : [0, 1, 40, 5000] {
        let nodes = mutator.allocateArray(count: count) { mutator.allocate(TestNode(key: $0)) }
        let links = mutator.allocateArray(count: count) { index in
          let link = ContentLink(number: index, node: mutator.allocate(TestNode(key: index)))
          if index % 1000 == 7 { mutator.collect() }
          return link
        }
        let payloads = mutator.allocateArray(count: count) { index -> ContentPayload in
          index % 2 == 0 ? .number(index) : .node(mutator.allocate(TestNode(key: index)))
        }
        // Nothing but nil behind the element that is being made, and each before it whole.
        let values = mutator.allocateArray(count: count) { index -> HeapValue in
          _ = mutator.allocate(TestNode())
          return index % 3 == 0
            ? HeapValue(immediate: index) : HeapValue(mutator.allocateString("\(index)"))
        }
        let arrays = mutator.allocateArray(count: min(count, 50)) { outer in
          mutator.allocateArray(count: outer) { inner in
            mutator.allocate(TestNode(key: outer * 100 + inner))
          }
        }
        mutator.collect()
        #expect(nodes.count == count && nodes.enumerated().allSatisfy { $1.key == $0 })
        #expect(links.enumerated().allSatisfy { $1.number == $0 && $1.node?.key == $0 })
        for index in payloads.indices {
          switch payloads[index] {
          case .number(let number): #expect(index % 2 == 0 && number == index)
          case .node(let node): #expect(index % 2 == 1 && node.key == index)
          case .nothing: Issue.record("an element was lost")
          }
        }
        #expect(
          values.enumerated().allSatisfy { index, value in
            index % 3 == 0
              ? value.immediate == index
              : value.as(HeapString.self)?.isEqual(to: "\(index)") == true
          })
        #expect(
          arrays.enumerated().allSatisfy { outer, array in
            array.count == outer && array.enumerated().allSatisfy { $1.key == outer * 100 + $0 }
          })
      }
      mutator.blocking {
        isDone.happen()
        collecting.join()
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("an array that is old before it is filled keeps the young elements that come then")
  func oldArray() throws {
    let heap = try HeapCheck.pacedHeap {
      $0.gcPercent = .off
      $0.stress.minorCycles = 100
    }
    heap.withMutator { mutator in
      let nodes = mutator.allocateArray(count: 3000) { index in
        // The array is on this thread's stack only: this makes it old.
        if index % 500 == 0 { heap.core.requests.collectAndWait(ofAnyKind: true) }
        return mutator.allocate(TestNode(key: index))
      }
      heap.core.requests.collectAndWait(ofAnyKind: true)
      _ = mutator.list(5000)
      #expect(nodes.enumerated().allSatisfy { $1.key == $0 })
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("numbers from a closure are what it returned, and a long array has safepoints")
  func numbers() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    let isDone = Event()
    let collecting = TestThread { while !isDone.hasHappened { heap.collect() } }
    heap.withMutator { mutator in
      // Again if the other thread did not get a processor meanwhile. The allocation itself has a few
      // safepoints, and a collection needs several.
      var during = 0
      let deadline = heap_now() + 30_000_000_000
      while during < 8, heap_now() < deadline {
        let before = heap.statistics.cycleCount
        let halves = mutator.allocateArray(count: 2_000_000) { Double($0) / 2 }
        during = heap.statistics.cycleCount - before
        #expect(halves[1_999_999] == 999_999.5 && halves[1] == 0.5)
      }
      #expect(during >= 8, "the thread passes safepoints while it fills")
      mutator.blocking {
        isDone.happen()
        collecting.join()
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a closure that throws leaves no array, and its error is passed on")
  func throwing() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      for index in [0, 1, 99] {
        #expect(throws: Refusal(index: index)) {
          try mutator.allocateArray(count: 100) { number throws(Refusal) in
            if number == index { throw Refusal(index: number) }
            return mutator.allocate(TestNode(key: number))
          }
        }
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("the throwing form throws its own errors and the closure's, again and again")
  func trying() throws {
    let heap = try HeapCheck.pacedHeap { $0.hardLimit = 8 << 20 }
    heap.withMutator { mutator in
      for _ in 0..<3 {
        #expect(throws: HeapError.self) {
          try mutator.tryAllocateArray(count: 4 << 20) { $0 }
        }
        #expect(throws: HeapError.self) {
          try mutator.tryAllocateArray(count: 1000) { _ throws(HeapError) in
            try mutator.tryAllocateArray(of: Int.self, count: 10_000, repeating: 1)
          }
        }
        let array = try? mutator.tryAllocateArray(count: 100) { index throws(HeapError) in
          try mutator.tryAllocate(TestNode(key: index))
        }
        #expect(array?.enumerated().allSatisfy { $1.key == $0 } == true)
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a negative count stops the program, whatever makes the elements")
  func negative() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try HeapCheck.heap().withMutator { mutator in
        _ = mutator.allocateArray(count: -3) { $0 }
      }
    }
    #expect(result.said("an array cannot have -3 elements: the count is negative"))
  }

  // MARK: - From an InlineArray

  @Test("a literal of references becomes an array", arguments: StressMode.allCases)
  func inlineArray(mode: StressMode) throws {
    let heap = try mode.heap()
    heap.withMutator { mutator in
      for turn in 0..<(mode.isSlow ? 30 : 2000) {
        let nodes = mutator.allocateArray([
          mutator.allocate(TestNode(key: turn)), mutator.allocate(TestNode(key: turn + 1)),
          mutator.allocate(TestNode(key: turn + 2)),
        ])
        let links = mutator.allocateArray([
          ContentLink(number: 5, node: nodes[0]), ContentLink(node: nodes[2]),
        ])
        let values = mutator.allocateArray([
          HeapValue(immediate: turn), .nil, HeapValue(mutator.allocate(TestNode(key: turn))),
        ])
        _ = mutator.list(3)
        #expect(nodes.map(\.key) == [turn, turn + 1, turn + 2])
        #expect(links[0].number == 5 && links[0].node == nodes[0] && links[1].node == nodes[2])
        #expect(values[0].immediate == turn && values[1].isNil)
        #expect(values[2].as(TestNode.self)?.key == turn)
      }
      #expect(mutator.allocateArray([1, 2, 3]).elementsEqual([1, 2, 3]))
      #expect(mutator.allocateArray([] as InlineArray<0, Int>).isEmpty)
      #expect((try? mutator.tryAllocateArray([0.5, 1.5]))?.elementsEqual([0.5, 1.5]) == true)
      let large = mutator.allocateArray(InlineArray<6000, Int> { $0 })
      #expect(large.enumerated().allSatisfy { $0 == $1 })
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test(
    "checked mode names a stale reference in an InlineArray, and one from a closure",
    arguments: 0..<2)
  func stale(way: Int) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      [way] in
      let heap = try StressMode.checkedEveryAllocation.heap()
      heap.withMutator { mutator in
        var kept: [HeapRef<TestNode>] = []
        for key in 0..<100 { kept.append(mutator.allocate(TestNode(key: key))) }
        let good = mutator.allocate(TestNode())
        if way == 0 {
          _ = mutator.allocateArray([good, kept[50]])
        } else {
          _ = mutator.allocateArray(count: 2) { $0 == 0 ? good : kept[50] }
        }
      }
    }
    #expect(result.said("a reference to an object that has been collected"))
    #expect(
      result.said(
        way == 0
          ? "the elements of a new HeapArray<HeapRef<TestNode>>"
          : "element 1 of a HeapArray<HeapRef<TestNode>>"))
  }

  // MARK: - From collections

  @Test(
    "a collection of plain elements is copied, contiguous or not", arguments: [0, 1, 100, 50_000])
  func copying(count: Int) throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let ints = mutator.allocateArray(copying: Array(0..<count))
      let lazily = mutator.allocateArray(copying: (0..<count).lazy.map { Double($0) / 2 })
      let tuples = mutator.allocateArray(copying: (0..<count).map { ($0, Int8(1)) })
      let shorts = mutator.allocateArray(
        copying: (0..<count).map { UInt16(truncatingIfNeeded: $0) })
      let slice = mutator.allocateArray(copying: Array(0..<count + 2)[1..<count + 1])
      let bytes = mutator.allocateArray(copying: "text".utf8)
      mutator.collect()
      _ = mutator.list(100)
      #expect(ints.elementsEqual(0..<count) && slice.elementsEqual(1..<count + 1))
      #expect(lazily.enumerated().allSatisfy { $1 == Double($0) / 2 })
      #expect(tuples.enumerated().allSatisfy { $1.0 == $0 && $1.1 == 1 })
      #expect(shorts.enumerated().allSatisfy { $1 == UInt16(truncatingIfNeeded: $0) })
      #expect(bytes.elementsEqual("text".utf8))
      #expect((try? mutator.tryAllocateArray(copying: Set([7])))?.elementsEqual([7]) == true)
      // The closure of a lazy collection may allocate.
      let odd = mutator.allocateArray(
        copying: (0..<min(count, 100)).lazy.map { mutator.allocate(TestNode(key: $0)).key })
      #expect(odd.elementsEqual(0..<min(count, 100)))
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test(
    "an array in the heap is copied with its references, small or large",
    arguments: StressMode.allCases)
  func copyingHeapArray(mode: StressMode) throws {
    let heap = try mode.heap()
    let isDone = Event()
    let collecting = TestThread { while !isDone.hasHappened { heap.collect() } }
    heap.withMutator { mutator in
      for count in mode.isSlow ? [0, 50] : [0, 50, 100_000] {
        let nodes = mutator.allocateArray(count: count) { index -> HeapRef<TestNode>? in
          index % 10 == 0 ? mutator.allocate(TestNode(key: index)) : nil
        }
        let copy = mutator.allocateArray(copying: nodes)
        nodes.update(repeating: nil)
        let tried = try? mutator.tryAllocateArray(copying: copy)
        copy.update(repeating: nil)
        _ = mutator.list(30)
        mutator.collect()
        #expect(tried?.count == count)
        #expect(
          tried?.enumerated().allSatisfy { $0 % 10 == 0 ? $1?.key == $0 : $1 == nil } == true)
      }
      mutator.blocking {
        isDone.happen()
        collecting.join()
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a collection whose elements can hold a reference is refused, with what to do instead")
  func references() async throws {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try HeapCheck.heap().withMutator { mutator in
        _ = mutator.allocateArray(copying: [ContentLink()])
      }
    }
    #expect(result.said("a collection of ContentLink cannot be copied into the heap"))
    #expect(result.said("allocateArray(count:) { index in … }"))
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      #expect(throws: HeapError.self) {
        try mutator.tryAllocateArray(copying: [ContentPayload.nothing])
      }
      #expect(throws: HeapError.self) {
        try mutator.tryAllocateArray(copying: [[1], [2]] as [Set<Int>])
      }
    }
  }

  @Test("a collection that misstates its count stops the program", arguments: [2, 4])
  func liars(found: Int) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      [found] in
      try HeapCheck.heap().withMutator { mutator in
        _ = mutator.allocateArray(copying: Liar(promised: 3, found: found))
      }
    }
    #expect(
      result.said(
        found == 2
          ? "a collection has 2 elements, and its count says 3"
          : "a collection has more elements than its count says, which is 3"))
  }
}
