// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Several heaps in one process, and in one thread.
//
// They share the barrier flag and the arena index and nothing else: a collection of one heap
// leaves the objects of another alone, and a thread that is in two answers for both.

import Glibc
import Mutator
import Synchronization
import TestSupport
import Testing

@Suite struct SeveralHeapsTests {
  @Test("objects of two heaps live on one thread's stack, and each heap keeps its own")
  func together() throws {
    let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
    a.withMutator { inA in
      let first = inA.list(1000)
      b.withMutator { inB in
        let second = inB.list(2000)
        inA.collect()
        inB.collect()
        a.collect()
        b.collect()
        // The outer heap's mutator is as good inside.
        let third = inA.list(10)
        inB.collect()
        first?.other = third
        second?.other = inB.list(5)
        inA.collect()
        #expect(second?.next?.key == 1 && second?.other?.next?.key == 1)
        #expect(third?.next?.key == 1)
      }
      inA.collect()
      #expect(first?.other?.next?.key == 1)
    }
    HeapCheck.expectEmpty(a)
    HeapCheck.expectEmpty(b)
  }

  @Test("a store is recorded by the heap that it goes into while the other one marks")
  func barriers() throws {
    let heaps = try (0..<2).map { _ in
      try HeapCheck.heap { $0.stress = StressOptions(handshakeDelay: 100, seed: 1) }
    }
    let isDone = Atomic<Bool>(false)
    let collecting = heaps.map { heap in
      TestThread { while !isDone.load(ordering: .acquiring) { heap.collect() } }
    }
    onThreads(2) { number in
      heaps[number].withMutator { outer in
        heaps[1 - number].withMutator { inner in
          let (a, b) = (outer.allocate(TestNode()), inner.allocate(TestNode()))
          for round in 0..<3000 {
            a.next = outer.allocate(TestNode(next: a.next?.next, key: round))
            b.next = inner.allocate(TestNode(next: b.next?.next, key: -round))
            (a.other, a.next) = (a.next, nil)
            (b.other, b.next) = (b.next, nil)
            if round % 16 == 0 { inner.safepoint() }
            (a.next, b.next) = (a.other, b.other)
            #expect(a.next?.key == round && b.next?.key == -round)
          }
        }
      }
    }
    isDone.store(true, ordering: .releasing)
    for thread in collecting { thread.join() }
    for heap in heaps { HeapCheck.expectEmpty(heap) }
  }

  @Test("work in the inner heap does not hold a collection of the outer one up")
  func outerIsAnswered() throws {
    // Off: a collection of the heap that is worked in would do for both.
    let a = try HeapCheck.heap { $0.gcPercent = .off }
    let b = try HeapCheck.heap { $0.gcPercent = .off }
    #expect(Self.collects(a, whileIn: a, b, allocatingIn: 1))
  }

  @Test("work in the outer heap does not hold a collection of the inner one up")
  func innerIsAnswered() throws {
    // Off: a collection of the heap that is worked in would do for both.
    let a = try HeapCheck.heap { $0.gcPercent = .off }
    let b = try HeapCheck.heap { $0.gcPercent = .off }
    #expect(Self.collects(b, whileIn: a, b, allocatingIn: 0))
  }

  /// Whether a collection of a heap ends while a thread that is in both allocates in one.
  private static func collects(
    _ heap: ManagedHeap, whileIn outer: ManagedHeap, _ inner: ManagedHeap, allocatingIn place: Int
  ) -> Bool {
    let isCollected = Atomic<Bool>(false)
    let isInside = Atomic<Bool>(false)
    let wasInTime = Atomic<Bool>(false)
    let working = TestThread {
      outer.withMutator { a in
        inner.withMutator { b in
          isInside.store(true, ordering: .releasing)
          var turns = 0
          while !isCollected.load(ordering: .acquiring), turns < 3000 {
            _ = (place == 0 ? a : b).list(500)
            turns += 1
            // On a loaded machine the collector's thread may not get a processor for long.
            if turns > 200 { usleep(1000) }
          }
          wasInTime.store(turns < 3000, ordering: .releasing)
        }
      }
    }
    while !isInside.load(ordering: .acquiring) { usleep(100) }
    let before = heap.statistics.cycleCount
    let collecting = TestThread {
      heap.collect()
      isCollected.store(true, ordering: .releasing)
    }
    working.join()
    collecting.join()
    return wasInTime.load(ordering: .acquiring) && heap.statistics.cycleCount > before
  }

  @Test("heaps come and go while others work")
  func comingAndGoing() throws {
    let steady = try HeapCheck.heap { $0.minimumHeap = 64 << 10 }
    let root = steady.withMutator { HeapRoot($0.list(5000)!, in: $0) }
    let failures = Atomic<Int>(0)
    onThreads(4) { number in
      for round in 0..<15 {
        guard let heap = try? HeapCheck.heap({ $0.workers = 1 + round % 2 }) else {
          failures.add(1, ordering: .relaxed)
          continue
        }
        heap.withMutator { mutator in
          let list = mutator.list(1000 * number + 10)
          mutator.collect()
          steady.withMutator { inSteady in
            if root.get(in: inSteady).next?.key != 1 { failures.add(1, ordering: .relaxed) }
            _ = inSteady.list(2000)
          }
          if list?.next?.key != 1 { failures.add(1, ordering: .relaxed) }
        }
      }
    }
    #expect(failures.load(ordering: .relaxed) == 0)
    withExtendedLifetime(root) {}
    HeapCheck.expectSound(steady)
  }
}
