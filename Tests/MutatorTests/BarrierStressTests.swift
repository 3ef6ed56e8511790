// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The cases for which a reference store has a barrier, made to happen in nearly every cycle.
//
// Insertion. One thread's stack has been scanned; it makes an object, which is black, and
// publishes it. Another thread, which has not been scanned yet, has the only reference to a
// white object in a local, stores it into the black one, forgets the local and is scanned.
// Nobody will look into the black object again: the store must have shaded what it wrote.
// For this the second thread passes no safepoint while it waits for the first to publish, so
// most handshakes begin while it does.
//
// Deletion. A thread whose stack has been scanned loads a reference that the collector has not
// come to yet, and overwrites the only place where it was. The store must have shaded what it
// overwrote.

import Glibc
import Mutator
import Synchronization
import TestSupport
import Testing

@Suite(.serialized) struct BarrierStressTests {
  /// Overwrites what functions that have returned left on the stack.
  @inline(never)
  private static func scrub() {
    var words = InlineArray<1024, Int>(repeating: 0)
    unsafe withUnsafeMutableBytes(of: &words) { bytes in
      _ = unsafe bytes.initializeMemory(as: Int.self, repeating: 1)
    }
  }

  /// Stores a fresh node with `key` into the node that was published last, and returns that.
  @inline(never)
  private static func hide(
    _ key: Int, in board: HeapRef<TestNode>, _ mutator: HeapMutator, polls: Int
  ) -> HeapRef<TestNode>? {
    let fresh = mutator.allocate(TestNode(key: key))
    for _ in 0..<polls {
      mutator.safepoint()
      for _ in 0..<300 { _ = board.load(\.next, ordering: .acquiring) }
    }
    // From here on no safepoint.
    let first = board.load(\.next, ordering: .acquiring)
    var last = first
    for turn in 0..<20_000 where turn < 2000 || last == first {
      last = board.load(\.next, ordering: .acquiring)
      if turn % 1000 == 999 { sched_yield() }
    }
    last?.other = fresh
    return last
  }

  @Test("a white object stored into a black one is kept")
  func insertion() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { HeapRoot($0.allocate(TestNode()), in: $0) }
    let isDone = Atomic<Bool>(false)
    let lost = Atomic<Int>(0)
    let publishing = TestThread {
      heap.withMutator { mutator in
        let board = root.get(in: mutator)
        while !isDone.load(ordering: .acquiring) {
          board.store(\.next, mutator.allocate(TestNode(key: 1)), ordering: .releasing)
          mutator.safepoint()
        }
      }
    }
    let collecting = TestThread {
      while !isDone.load(ordering: .acquiring) { heap.collect() }
    }
    heap.withMutator { mutator in
      let board = root.get(in: mutator)
      for round in 0..<200 {
        let key = 1000 + round
        let place = Self.hide(key, in: board, mutator, polls: round % 4)
        Self.scrub()
        mutator.collect()
        // If it was freed, one of these takes its slot.
        _ = mutator.list(300)
        if let place, place.other?.key != key { lost.add(1, ordering: .relaxed) }
      }
    }
    isDone.store(true, ordering: .releasing)
    publishing.join()
    collecting.join()
    #expect(lost.load(ordering: .relaxed) == 0)
    withExtendedLifetime(root) {}
    HeapCheck.expectSound(heap)
  }

  @Test(
    "an object is kept by the thread that took it out of its only place, a field or a struct",
    arguments: [false, true])
  func deletion(wholeStruct: Bool) throws {
    let heap = try HeapCheck.heap { $0.stress = StressOptions(handshakeDelay: 50, seed: 1) }
    let isDone = Atomic<Bool>(false)
    let lost = Atomic<Int>(0)
    let collecting = TestThread {
      while !isDone.load(ordering: .acquiring) { heap.collect() }
    }
    onThreads(2) { _ in
      heap.withMutator { mutator in
        for _ in 0..<20 {
          // Long, so that the collector takes a while to come to its end.
          let first = mutator.list(5000)
          var node = first
          while let place = node {
            // Each node is on the stack only for a while, and then back in its place.
            let taken = place.load(\.next, ordering: .acquiring)
            if wholeStruct {
              place.pointee = TestNode(key: place.key)
            } else {
              _ = place.exchange(\.next, nil, ordering: .acquiring)
            }
            if let key = taken?.key, key % 64 == 0 { _ = mutator.list(20) }
            if let taken, taken.key != place.key + 1 { lost.add(1, ordering: .relaxed) }
            place.next = taken
            node = taken
          }
        }
      }
    }
    isDone.store(true, ordering: .releasing)
    collecting.join()
    #expect(lost.load(ordering: .relaxed) == 0)
    HeapCheck.expectEmpty(heap)
  }
}
