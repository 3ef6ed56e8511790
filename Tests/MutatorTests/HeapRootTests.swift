// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Roots: what keeps an object from outside of the heap.

import Collector
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

@Suite struct HeapRootTests {
  private func liveObjects(_ heap: ManagedHeap) -> Int {
    heap.collect()
    heap.collect()
    return heap.core.counters.liveObjects.load(ordering: .relaxed)
  }

  @Test("a root keeps its object and all that it leads to, and lets go when it is dropped")
  func keeping() throws {
    let heap = try HeapCheck.heap()
    var root: HeapRoot<HeapRef<TestNode>>? = heap.withMutator { HeapRoot($0.list(1000)!, in: $0) }
    #expect(liveObjects(heap) == 1000)
    #expect(heap.withMutator { root?.get(in: $0).next?.key } == 1)
    root = nil
    #expect(liveObjects(heap) == 0)
    HeapCheck.expectEmpty(heap)
  }

  @Test("setting a root lets go of what it held")
  func setting() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { HeapRoot($0.list(1000)!, in: $0) }
    heap.withMutator { mutator in
      root.set(mutator.list(10)!, in: mutator)
      #expect(root.get(in: mutator).key == 0)
    }
    #expect(liveObjects(heap) == 10)
    HeapCheck.expectSound(heap)
    withExtendedLifetime(root) {}
  }

  @Test("a root holds a reference of any kind, or nil")
  func kinds() throws {
    let heap = try HeapCheck.heap()
    let (array, string, optional, none) = heap.withMutator { mutator in
      let list = mutator.list(10)!
      let array = mutator.allocateArray(of: HeapRef<TestNode>?.self, count: 3, repeating: list)
      return (
        HeapRoot(array, in: mutator), HeapRoot(mutator.allocateString("héllo"), in: mutator),
        HeapRoot(Optional(mutator.allocate(TestNode(key: 7))), in: mutator),
        HeapRoot(nil as HeapArray<Int>?, in: mutator)
      )
    }
    // Ten nodes of the list, the array, the string and one node.
    #expect(liveObjects(heap) == 13)
    heap.withMutator { mutator in
      #expect(array.get(in: mutator)[2]?.next?.key == 1)
      #expect(string.get(in: mutator).isEqual(to: "héllo"))
      #expect(optional.get(in: mutator)?.key == 7)
      #expect(none.get(in: mutator) == nil)
      none.set(mutator.allocateArray(of: Int.self, count: 4, repeating: 9), in: mutator)
      optional.set(nil, in: mutator)
    }
    #expect(liveObjects(heap) == 13)
    heap.withMutator { mutator in
      #expect(none.get(in: mutator).map { Array($0) } == [9, 9, 9, 9])
      #expect(optional.get(in: mutator) == nil)
    }
    withExtendedLifetime((array, string)) {}
  }

  @Test("roots by the thousand are kept apart, and their slots are used again")
  func many() throws {
    let heap = try HeapCheck.heap { $0.minimumHeap = 64 << 10 }
    var roots = heap.withMutator { mutator in
      (0..<5000).map { HeapRoot(mutator.allocate(TestNode(key: $0)), in: mutator) }
    }
    #expect(liveObjects(heap) == 5000)
    heap.withMutator { mutator in
      #expect(roots.enumerated().allSatisfy { $1.get(in: mutator).key == $0 })
    }
    roots.removeLast(4000)
    #expect(liveObjects(heap) == 1000)
    roots += heap.withMutator { mutator in
      (1000..<3000).map { HeapRoot(mutator.allocate(TestNode(key: $0)), in: mutator) }
    }
    heap.withMutator { mutator in
      #expect(roots.enumerated().allSatisfy { $1.get(in: mutator).key == $0 })
    }
    roots = []
    HeapCheck.expectEmpty(heap)
  }

  @Test("roots are dropped by threads that are attached to nothing, while a collection runs")
  func droppingOutside() throws {
    let heap = try HeapCheck.heap { $0.stress = StressOptions(handshakeDelay: 200, seed: 1) }
    let roots = HeapLock<[HeapRoot<HeapRef<TestNode>>]>([], rank: .verifier)
    let isDone = Atomic<Bool>(false)
    let collecting = TestThread {
      while !isDone.load(ordering: .acquiring) { heap.collect() }
    }
    let dropping = TestThread {
      while !isDone.load(ordering: .acquiring) {
        let dead = roots.withLock { $0.popLast() }
        withExtendedLifetime(dead) {}
      }
    }
    heap.withMutator { mutator in
      for round in 0..<2000 {
        let root = HeapRoot(mutator.list(20)!, in: mutator)
        let node = root.get(in: mutator)
        roots.withLock { $0.append(root) }
        // The local keeps it from here on.
        #expect(node.next?.next?.key == 2)
        if round % 100 == 0 { mutator.blocking {} }
      }
    }
    isDone.store(true, ordering: .releasing)
    collecting.join()
    dropping.join()
    roots.withLock { $0 = [] }
    HeapCheck.expectEmpty(heap)
  }

  /// How a reference into another heap comes into a root.
  enum Way: String, Codable, CaseIterable { case make, makeOptional, set }

  @Test(
    "a root takes no reference into another heap, in unchecked mode either", arguments: Way.allCases
  )
  func anotherHeap(way: Way) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [way] in
      let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
      a.withMutator { inA in
        let node = inA.allocate(TestNode())
        b.withMutator { inB in
          // Its own, and nil, are taken.
          let root = HeapRoot(Optional(inB.allocate(TestNode())), in: inB)
          root.set(nil, in: inB)
          switch way {
          case .make: _ = HeapRoot(node, in: inB)
          case .makeOptional: _ = HeapRoot(Optional(node), in: inB)
          case .set: root.set(node, in: inB)
          }
        }
      }
    }
    #expect(result.said("a reference to an object of another heap (0x"))
    #expect(result.said("stored into a HeapRoot<"))
    #expect(result.said("objects of two heaps cannot refer to each other"))
  }

  @Test("a root keeps the heap, too")
  func keepingTheHeap() throws {
    func make() throws -> HeapRoot<HeapRef<TestNode>> {
      let heap = try HeapCheck.heap()
      return heap.withMutator { HeapRoot($0.list(3)!, in: $0) }
    }
    let root = try make()
    withExtendedLifetime(root) {}
  }
}
