// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Roots: what keeps an object from outside of the heap.

import Collector
import Heap
import Mutator
import Synchronization
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
    var root: HeapRoot<TestNode>? = heap.withMutator { HeapRoot($0.list(1000)!, $0) }
    #expect(liveObjects(heap) == 1000)
    #expect(heap.withMutator { root?.get($0).next?.key } == 1)
    root = nil
    #expect(liveObjects(heap) == 0)
    HeapCheck.expectEmpty(heap)
  }

  @Test("setting a root lets go of what it held")
  func setting() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { HeapRoot($0.list(1000)!, $0) }
    heap.withMutator { mutator in
      root.set(mutator.list(10)!, mutator)
      #expect(root.get(mutator).key == 0)
    }
    #expect(liveObjects(heap) == 10)
    HeapCheck.expectSound(heap)
    withExtendedLifetime(root) {}
  }

  @Test("roots by the thousand are kept apart, and their slots are used again")
  func many() throws {
    let heap = try HeapCheck.heap { $0.minimumHeap = 64 << 10 }
    var roots = heap.withMutator { mutator in
      (0..<5000).map { HeapRoot(mutator.allocate(TestNode(key: $0)), mutator) }
    }
    #expect(liveObjects(heap) == 5000)
    heap.withMutator { mutator in
      #expect(roots.enumerated().allSatisfy { $1.get(mutator).key == $0 })
    }
    roots.removeLast(4000)
    #expect(liveObjects(heap) == 1000)
    roots += heap.withMutator { mutator in
      (1000..<3000).map { HeapRoot(mutator.allocate(TestNode(key: $0)), mutator) }
    }
    heap.withMutator { mutator in
      #expect(roots.enumerated().allSatisfy { $1.get(mutator).key == $0 })
    }
    roots = []
    HeapCheck.expectEmpty(heap)
  }

  @Test("roots are dropped by threads that are attached to nothing, while a collection runs")
  func droppingOutside() throws {
    let heap = try HeapCheck.heap { $0.stress = StressOptions(handshakeDelay: 200, seed: 1) }
    let roots = Mutex<[HeapRoot<TestNode>]>([])
    let isDone = Atomic<Bool>(false)
    let collecting = TestThreads.start {
      while !isDone.load(ordering: .acquiring) { heap.collect() }
    }
    let dropping = TestThreads.start {
      while !isDone.load(ordering: .acquiring) {
        let dead = roots.withLock { $0.popLast() }
        withExtendedLifetime(dead) {}
      }
    }
    heap.withMutator { mutator in
      for round in 0..<2000 {
        let root = HeapRoot(mutator.list(20)!, mutator)
        let node = root.get(mutator)
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

  @Test("a root keeps the heap, too")
  func keepingTheHeap() throws {
    func make() throws -> HeapRoot<TestNode> {
      let heap = try HeapCheck.heap()
      return heap.withMutator { HeapRoot($0.list(3)!, $0) }
    }
    let root = try make()
    withExtendedLifetime(root) {}
  }
}
