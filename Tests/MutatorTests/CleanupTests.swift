// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Cleanups: they run once, on the heap's own thread, after the object has died.

import CHeapShims
import Collector
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

private struct Item: HeapObject {
  var next: HeapRef<Item>?
  var key = 0
}

/// Numbers that cleanups have reported.
private final class Record: Sendable {
  private let keys = HeapLock<[Int]>([], rank: .records)
  private let count = WaitWord.make()

  deinit { count.destroy() }

  func note(_ key: Int) {
    keys.withLock { $0.append(key) }
    count.add(1)
    count.wakeAll()
  }

  var all: [Int] { keys.withLock { $0 } }

  /// Waits until so many have been noted; false after 20 seconds.
  func wait(for number: Int) -> Bool {
    let end = heap_now() + 20_000_000_000
    while Int(count.value) < number {
      if heap_now() > end { return false }
      count.wait(while: count.value, atMost: 1_000_000)
    }
    return true
  }
}

@Suite struct CleanupTests {
  @inline(never)
  private static func makeDead(
    _ keys: Range<Int>, _ record: Record, in mutator: HeapMutator
  ) {
    for key in keys {
      let item = mutator.allocate(Item(key: key))
      mutator.addCleanup(item) { record.note(key) }
    }
  }

  @Test("a cleanup runs once, after its object has died, on a thread of the heap's own")
  func running() throws {
    let heap = try HeapCheck.pacedHeap()
    let record = Record()
    let thread = Atomic<UInt64>(0)
    let root = heap.withMutator { mutator in
      let item = mutator.allocate(Item(key: 5))
      mutator.addCleanup(item) {
        thread.store(heap_thread_self(), ordering: .relaxed)
        record.note(5)
      }
      return HeapRoot(Optional(item), in: mutator)
    }
    for _ in 0..<3 { heap.collect() }
    #expect(record.all.isEmpty)
    #expect(heap.statistics.waitingCleanups == 1)
    heap.withMutator { root.set(nil, in: $0) }
    _ = clearStack()
    heap.collect()
    #expect(record.wait(for: 1))
    for _ in 0..<3 { heap.collect() }
    #expect(record.all == [5])
    let ran = thread.load(ordering: .relaxed)
    #expect(ran != 0 && ran != heap_thread_self())
    // Counted by the cleanups' thread when the closure has returned.
    for _ in 0..<10_000 where heap.statistics.waitingCleanups > 0 { heap.collect() }
    #expect(heap.statistics.waitingCleanups == 0 && heap.statistics.finishedCleanups == 1)
  }

  @Test("when a cleanup runs, weak references to the object are nil")
  func weakFirst() throws {
    let heap = try HeapCheck.pacedHeap()
    let record = Record()
    @inline(never) func make(_ mutator: HeapMutator) {
      for key in 0..<50 {
        let item = mutator.allocate(Item(key: key))
        let weak = WeakHeapRoot(item, in: mutator)
        mutator.addCleanup(item) { [weak heap] in
          // Nil: the heap is at its end.
          record.note(heap?.withMutator { weak.get(in: $0) == nil ? 1 : 0 } ?? 1)
        }
      }
    }
    heap.withMutator { make($0) }
    _ = clearStack()
    heap.collect()
    #expect(record.wait(for: 48))
    #expect(!record.all.contains(0))
  }

  @Test("several cleanups of one object all run")
  func several() throws {
    let heap = try HeapCheck.pacedHeap()
    let record = Record()
    let root = heap.withMutator { mutator in
      let item = mutator.allocate(Item())
      for key in 0..<100 { mutator.addCleanup(item) { record.note(key) } }
      return HeapRoot(Optional(item), in: mutator)
    }
    heap.collect()
    heap.withMutator { root.set(nil, in: $0) }
    _ = clearStack()
    heap.collect()
    #expect(record.wait(for: 100))
    #expect(record.all.sorted() == Array(0..<100))
  }

  @Test("a cleanup that is cancelled does not run, and lets go of what it has captured")
  func cancelling() throws {
    final class Witness: Sendable {}
    let heap = try HeapCheck.pacedHeap()
    let record = Record()
    weak var witness: Witness?
    let root = heap.withMutator { mutator in
      let item = mutator.allocate(Item())
      let captured = Witness()
      witness = captured
      let cancelled = mutator.addCleanup(item) {
        withExtendedLifetime(captured) {}
        record.note(1)
      }
      mutator.addCleanup(item) { record.note(2) }
      #expect(cancelled.cancel())
      #expect(!cancelled.cancel())
      return HeapRoot(Optional(item), in: mutator)
    }
    #expect(witness == nil)
    #expect(heap.statistics.waitingCleanups == 1)
    heap.withMutator { root.set(nil, in: $0) }
    _ = clearStack()
    heap.collect()
    #expect(record.wait(for: 1))
    #expect(record.all == [2])
  }

  @Test("cleanups that are added and cancelled do not pile up without a collection")
  func cancelledByTheThousand() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    heap.withMutator { mutator in
      let item = mutator.allocate(Item())
      let kept = mutator.addCleanup(item) {}
      for _ in 0..<20_000 { mutator.addCleanup(item) {}.cancel() }
      var targets = 0
      heap.core.cleanups.forEachTarget { _ in targets += 1 }
      #expect(targets == 1)
      #expect(heap.core.cleanups.recordCount < 5_000)
      #expect(kept.cancel())
    }
  }

  @Test("a cleanup may allocate, and its objects have cleanups in turn")
  func allocating() throws {
    let heap = try HeapCheck.pacedHeap { $0.minimumHeap = 64 << 10 }
    let record = Record()
    @Sendable @inline(never) func add(_ depth: Int, _ mutator: HeapMutator) {
      mutator.addCleanup(mutator.allocate(Item(key: depth))) { [unowned heap] in
        heap.withMutator { mutator in
          var list: HeapRef<Item>?
          for key in 0..<2_000 { list = mutator.allocate(Item(next: list, key: key)) }
          #expect(list?.next?.next?.key == 1_997)
          if depth > 0 { add(depth - 1, mutator) }
        }
        record.note(depth)
      }
    }
    heap.withMutator { add(5, $0) }
    for wanted in 1...6 {
      let end = heap_now() + 20_000_000_000
      while record.all.count < wanted, heap_now() < end {
        _ = clearStack()
        heap.collect()
      }
    }
    #expect(record.all == [5, 4, 3, 2, 1, 0])
  }

  @Test("cleanups of arrays and strings run, too")
  func otherReferences() throws {
    let heap = try HeapCheck.pacedHeap()
    let record = Record()
    @inline(never) func make(_ mutator: HeapMutator) {
      mutator.addCleanup(mutator.allocateString("some text that is long enough")) { record.note(1) }
      mutator.addCleanup(mutator.allocateArray(of: Int.self, count: 9000, repeating: 1)) {
        record.note(2)
      }
    }
    heap.withMutator { make($0) }
    _ = clearStack()
    heap.collect()
    #expect(record.wait(for: 2))
    #expect(Set(record.all) == [1, 2])
  }

  @Test("with minor collections each cleanup runs once")
  func minorCollections() throws {
    let heap = try HeapCheck.pacedHeap {
      $0.minimumHeap = 64 << 10
      $0.generations = .automatic
      $0.stress.minorCycles = 5
    }
    let record = Record()
    let count = 5_000
    heap.withMutator { mutator in
      let kept = mutator.allocateArray(of: HeapRef<Item>?.self, count: 64, repeating: nil)
      for key in 0..<count {
        let item = mutator.allocate(Item(key: key))
        mutator.addCleanup(item) { record.note(key) }
        kept[key % 64] = item
        for _ in 0..<20 { _ = mutator.allocate(Item()) }
      }
    }
    #expect(heap.statistics.minorCycleCount > 0)
    _ = clearStack()
    heap.collect()
    heap.collect()
    #expect(record.wait(for: count - 2))
    #expect(Set(record.all).count == record.all.count)
  }

  @Test("at the heap's end what is due runs, and what waits does not")
  func atTheEnd() throws {
    let record = Record()
    func run() throws {
      let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
      let root = heap.withMutator { mutator in
        Self.makeDead(0..<100, record, in: mutator)
        let item = mutator.allocate(Item())
        mutator.addCleanup(item) { record.note(-1) }
        return HeapRoot(item, in: mutator)
      }
      _ = clearStack()
      heap.collect()
      withExtendedLifetime(root) {}
    }
    try run()
    #expect(record.all.count >= 98 && !record.all.contains(-1))
  }

  @Test("the last reference to a heap may be that of a cleanup: the heap ends on its own thread")
  func endingTheHeap() throws {
    let record = Record()
    weak var ended: ManagedHeap?
    func run() throws {
      let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
      ended = heap
      let mayGo = Event()
      @inline(never) func make(_ mutator: HeapMutator) {
        mutator.addCleanup(mutator.allocate(Item())) {
          mayGo.wait()
          withExtendedLifetime(heap) {}
          record.note(1)
        }
        Self.makeDead(0..<10, record, in: mutator)
      }
      heap.withMutator { make($0) }
      _ = clearStack()
      heap.collect()
      mayGo.happen()
    }
    try run()
    #expect(record.wait(for: 9))
    let end = heap_now() + 20_000_000_000
    while ended != nil, heap_now() < end { heap_pause() }
    #expect(ended == nil)
  }

  @Test("a cleanup is added to an object of the mutator's own heap only")
  func anotherHeap() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
      a.withMutator { inA in
        let item = inA.allocate(Item())
        b.withMutator { inB in _ = inB.addCleanup(item) {} }
      }
    }
    #expect(result.said("a reference to an object of another heap (0x"))
    #expect(result.said("stored into a Cleanup"))
  }
}
