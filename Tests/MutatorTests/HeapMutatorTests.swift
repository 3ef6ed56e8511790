// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread inside a heap: allocating objects of all kinds, staying alive across collections,
// safepoints and blocking regions.

import Collector
import Glibc
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

@Suite struct HeapMutatorTests {
  private struct Leaf: HeapObject {
    var a = 1
    var b = 2
    var c = 3
  }

  private struct Small: HeapObject {
    var number: Int32 = 0
    var flag = true
  }

  private struct Empty: HeapObject {}

  private struct Wide: HeapObject {
    var references = InlineArray<200, HeapRef<TestNode>?>(repeating: nil)
    var key = 0
  }

  private struct Huge: HeapObject {
    var words = InlineArray<5000, Int>(repeating: 7)
    var node: HeapRef<TestNode>?
  }

  // MARK: - Allocating

  @Test("objects of every kind keep their values through a collection")
  func kinds() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let node = mutator.allocate(TestNode(key: 1))
      let leaf = mutator.allocate(Leaf(a: 10))
      let small = mutator.allocateArray(of: HeapRef<Small>?.self, count: 40, repeating: nil)
      for index in small.indices { small[index] = mutator.allocate(Small(number: Int32(index))) }
      let wide = mutator.allocate(Wide(key: 5))
      let huge = mutator.allocate(Huge(node: node))
      let empty = mutator.allocate(Empty())
      for index in 0..<200 { wide.references[index] = mutator.allocate(TestNode(key: index)) }
      mutator.collect()
      mutator.collect()
      #expect(node.key == 1 && leaf.a == 10 && leaf.c == 3 && wide.key == 5)
      #expect(small.enumerated().allSatisfy { $1?.number == Int32($0) && $1?.flag == true })
      #expect((0..<200).allSatisfy { wide.references[$0]?.key == $0 })
      #expect(huge.words[4999] == 7 && huge.node == node)
      #expect(empty == empty)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("tryAllocate makes the same objects")
  func trying() throws {
    let heap = try HeapCheck.heap()
    try heap.withMutator { mutator in
      let node = try mutator.tryAllocate(TestNode(key: 1))
      node.next = try mutator.tryAllocate(TestNode(key: 2))
      #expect(node.next?.key == 2)
      #expect(try mutator.tryAllocate(Small(number: 9)).number == 9)
      #expect(try mutator.tryAllocate(Huge()).words[0] == 7)
      #expect(try mutator.tryAllocateArray(of: Int.self, count: 3, repeating: 4).reduce(0, +) == 12)
      #expect(try String(mutator.tryAllocateString("grün")) == "grün")
      #expect(try mutator.tryAllocateBytes([1, 2, 3]).elementsEqual([1, 2, 3]))
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("tiny values share slots of 16 bytes")
  func tiny() throws {
    // A collection ends the sharing of a slot.
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    heap.withMutator { mutator in
      for number in 0..<2000 { _ = mutator.allocate(Small(number: Int32(number))) }
    }
    #expect(heap.statistics.allocatedObjects == 1000)
    #expect(heap.statistics.allocatedBytes == 16_000)
    HeapCheck.expectEmpty(heap)
  }

  @Test("a list of five million nodes is marked and reclaimed without recursion")
  func deep() throws {
    let heap = try HeapCheck.pacedHeap()
    // Fewer where an allocation takes long, and still more than any stack has frames for.
    #if DEBUG
      let count = heap.configuration.checks == .on ? 200_000 : 1_000_000
    #else
      let count = 5_000_000
    #endif
    let root = heap.withMutator { HeapRoot($0.list(count)!, in: $0) }
    heap.collect()
    #expect(heap.statistics.liveBytes == count * 24)
    let length = heap.withMutator { mutator in
      var length = 0
      var node: HeapRef<TestNode>? = root.get(in: mutator)
      while let next = node {
        length += 1
        node = next.next
      }
      return length
    }
    #expect(length == count)
    withExtendedLifetime(root) {}
  }

  // MARK: - A thousand types

  private protocol Digit {}
  private enum D0: Digit {}
  private enum D1: Digit {}
  private enum D2: Digit {}
  private enum D3: Digit {}
  private enum D4: Digit {}
  private enum D5: Digit {}
  private enum D6: Digit {}
  private enum D7: Digit {}
  private enum D8: Digit {}
  private enum D9: Digit {}

  private struct Typed<A: Digit, B: Digit, C: Digit>: HeapObject {
    var previous: HeapRef<TestNode>?
    var number = 0
  }

  private static func make<A: Digit, B: Digit, C: Digit>(
    _ a: A.Type, _ b: B.Type, _ c: C.Type, _ number: Int, _ mutator: HeapMutator
  ) -> Bool {
    let node = mutator.allocate(TestNode(key: number))
    let object = mutator.allocate(Typed<A, B, C>(previous: node, number: number))
    return object.previous?.key == number && object.number == number
  }

  /// Makes an object of each of a thousand types; returns how many are as they were made.
  private static func makeAllTypes(_ mutator: HeapMutator) -> Int {
    let digits: [any Digit.Type] = [
      D0.self, D1.self, D2.self, D3.self, D4.self, D5.self, D6.self, D7.self, D8.self, D9.self,
    ]
    var (number, intact) = (0, 0)
    for a in digits {
      for b in digits {
        for c in digits {
          if make(a, b, c, number, mutator) { intact += 1 }
          number += 1
        }
      }
    }
    return intact
  }

  @Test("a thousand types live in one heap, and one thread allocates all of them")
  func manyTypes() throws {
    let heap = try HeapCheck.heap { $0.minimumHeap = 256 << 10 }
    heap.withMutator { mutator in
      for _ in 0..<3 { #expect(Self.makeAllTypes(mutator) == 1000) }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a few objects of each of a thousand types do not fill a small heap")
  func fewOfManyTypes() throws {
    let heap = try HeapCheck.pacedHeap { $0.minimumHeap = 4 << 20 }
    heap.withMutator { mutator in
      for _ in 0..<10 { #expect(Self.makeAllTypes(mutator) == 1000) }
    }
    // 480,000 bytes.
    #expect(heap.statistics.cycleCount == 0)
    HeapCheck.expectEmpty(heap)
  }

  // MARK: - Safepoints

  @Test("current is the innermost mutator of the thread, and nil outside")
  func current() throws {
    let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
    #expect(HeapMutator.current == nil)
    a.withMutator { _ in
      #expect(HeapMutator.current?.heap === a)
      b.withMutator { _ in
        #expect(HeapMutator.current?.heap === b)
        a.withMutator { #expect($0.heap === a) }
      }
      #expect(HeapMutator.current?.heap === a)
    }
    #expect(HeapMutator.current == nil)
  }

  @Test("a thread that only polls lets others collect")
  func polling() throws {
    let heap = try HeapCheck.heap()
    let isDone = Atomic<Bool>(false)
    let polls = TestThread {
      heap.withMutator { mutator in
        let node = mutator.list(100)
        while !isDone.load(ordering: .acquiring) { mutator.safepoint() }
        #expect(node?.next?.key == 1)
      }
    }
    for _ in 0..<20 { heap.collect() }
    isDone.store(true, ordering: .releasing)
    polls.join()
    HeapCheck.expectEmpty(heap)
  }

  @Test("a thread in a blocking region does not hold a collection up, and loses nothing")
  func blocking() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let node = mutator.list(1000)
      let result = mutator.blocking {
        onThreads(2) { _ in for _ in 0..<10 { heap.collect() } }
        return 42
      }
      #expect(result == 42)
      let sum = sequence(first: node, next: { $0?.next }).reduce(0) { $0 + ($1?.key ?? 0) }
      #expect(sum == 999 * 500)
      // The thread itself collects while it is blocked.
      mutator.blocking { mutator.blocking { heap.collect() } }
      #expect(node?.next?.next?.key == 2)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("what only a local of an outer frame refers to stays")
  func frames() throws {
    let heap = try HeapCheck.heap { $0.stress = StressOptions(collectEvery: 50) }
    @inline(never)
    func recurse(_ mutator: HeapMutator, _ depth: Int) -> Int {
      let node = mutator.allocate(TestNode(key: depth))
      let array = mutator.allocateArray(of: Int.self, count: 3, repeating: depth)
      let sum = depth == 0 ? 0 : recurse(mutator, depth - 1)
      return sum + node.key + array[2]
    }
    let sum = heap.withMutator { recurse($0, 300) }
    #expect(sum == 300 * 301)
    HeapCheck.expectEmpty(heap)
  }

  @Test("an array is kept by a loop over its elements")
  func loops() throws {
    let heap = try HeapCheck.heap()
    let sum = heap.withMutator { mutator in
      var sum = 0
      for (index, element) in mutator.allocateArray(
        of: Int.self, count: 2000, repeating: 3
      ).enumerated() {
        if index % 500 == 0 { mutator.collect() }
        _ = mutator.allocateArray(of: Int.self, count: 2000, repeating: 9)
        sum += element
      }
      return sum
    }
    #expect(sum == 6000)
    HeapCheck.expectEmpty(heap)
  }
}
