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
//
// Birth. A thread that is late hands its spans back when another has done so already and makes young
// objects. Until then, what the late thread makes is old. It puts a young object into such an old
// one as a first value, for which no store sets a card: its birth must have done so. For this the
// late thread passes no safepoint for up to a millisecond, and most cycles are minor ones.

import CHeapShims
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

  /// Makes a node that holds what was published last, unless that is the one with key `last`.
  @inline(never)
  private static func hold(
    _ board: HeapRef<TestNode>, in ring: HeapArray<HeapRef<TestNode>?>, at place: Int,
    last: Int, _ mutator: HeapMutator
  ) -> Int {
    guard let found = board.load(\.next, ordering: .acquiring), found.key != last else {
      return last
    }
    ring[place] = mutator.allocate(TestNode(next: found, key: found.key))
    return found.key
  }

  /// Whether a node still holds what it was made with.
  @inline(never)
  private static func isWhole(_ node: HeapRef<TestNode>?) -> Bool {
    guard let node else { return true }
    return node.next?.key == node.key && node.next?.other?.key == -node.key
  }

  @Test("a young object is kept by one that was born old around it")
  func birth() throws {
    let heap = try HeapCheck.heap {
      $0.gcPercent = 1
      $0.stress = StressOptions(minorCycles: 7)
    }
    let root = heap.withMutator { HeapRoot($0.allocate(TestNode()), in: $0) }
    let isDone = Atomic<Bool>(false)
    let publishing = TestThread {
      heap.withMutator { mutator in
        let board = root.get(in: mutator)
        var key = 0
        while !isDone.load(ordering: .acquiring) {
          key += 1
          let fresh = mutator.allocate(TestNode(key: key))
          fresh.other = mutator.allocate(TestNode(key: -key))
          board.store(\.next, fresh, ordering: .releasing)
          mutator.safepoint()
        }
      }
    }
    var numbers = RandomNumbers(seed: 1)
    var lost = 0
    heap.withMutator { mutator in
      let board = root.get(in: mutator)
      let ring = mutator.allocateArray(of: HeapRef<TestNode>?.self, count: 2000, repeating: nil)
      var (made, last) = (0, 0)
      // In checked mode, which stops the threads for each cycle, fewer will do.
      let deadline = heap_now() + 10_000_000_000
      for _ in 0..<1000 where heap_now() < deadline {
        let end = heap_now() + UInt64(numbers.below(1_000_000))
        var left = 60
        while left > 0 && heap_now() < end {
          let key = Self.hold(board, in: ring, at: made % ring.count, last: last, mutator)
          guard key != last else { continue }
          last = key
          made += 1
          left -= 1
        }
        mutator.safepoint()
        Self.scrub()
        for _ in 0..<5 where !Self.isWhole(ring[numbers.below(ring.count)]) { lost += 1 }
      }
      lost += ring.count { !Self.isWhole($0) }
    }
    isDone.store(true, ordering: .releasing)
    publishing.join()
    #expect(lost == 0)
    withExtendedLifetime(root) {}
    HeapCheck.expectSound(heap)
  }
}
