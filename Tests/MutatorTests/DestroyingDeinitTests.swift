// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a `deinit` may do that runs because an object has died: anything.
//
// It runs on the heap's destroying thread, which holds no lock and is not attached. It drops roots,
// enters the heap, allocates, collects, and may even drop the last reference to the heap.

import CHeapShims
import Collector
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

/// Calls a closure when it ends.
final class Finally: Sendable {
  private let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  deinit { body() }
}

struct Guarded: HeapObject {
  var finally: Finally
}

@Suite("A deinit that uses the heap", .timeLimit(.minutes(5)))
struct DestroyingDeinitTests {
  /// Makes garbage that calls `body` when it ends. The thread is not attached.
  private func makeGarbage(
    _ heap: ManagedHeap, count: Int = 1, _ body: @escaping @Sendable () -> Void
  ) {
    heap.withMutator { mutator in
      for _ in 0..<count { _ = mutator.allocate(Guarded(finally: Finally(body))) }
    }
  }

  @Test("it enters the heap, allocates and collects", arguments: StressMode.allCases)
  func entersHeap(_ mode: StressMode) throws {
    let heap = try mode.heap()
    let done = Event()
    let found = Atomic(0)
    makeGarbage(heap) { [unowned heap] in
      heap.withMutator { mutator in
        var list: HeapRef<Keeping>?
        for key in 0..<100 { list = mutator.allocate(Keeping(next: list, key: key)) }
        mutator.collect()
        found.store(list?.next?.key ?? -1, ordering: .relaxed)
      }
      heap.collect()
      done.happen()
    }
    heap.collect()
    #expect(done.wait(seconds: 60))
    #expect(found.load(ordering: .relaxed) == 98)
    HeapCheck.expectSound(heap)
  }

  @Test("it drops roots: what only they kept dies in turn", arguments: StressMode.allCases)
  func dropsRoots(_ mode: StressMode) throws {
    let population = Population()
    let heap = try mode.heap()
    struct Keeper: HeapObject {
      var citizen: Citizen
      var root: HeapRoot<HeapRef<Keeper>?>
    }
    // A chain that hangs from roots inside of objects: each link ends a collection later.
    heap.withMutator { mutator in
      var last: HeapRef<Keeper>?
      for _ in 0..<5 {
        last = mutator.allocate(
          Keeper(citizen: Citizen(population), root: HeapRoot(last, in: mutator)))
      }
    }
    let end = heap_now() + 60_000_000_000
    while population.endedCount < 5, heap_now() < end { heap.collect() }
    #expect(population.endedCount == 5 && population.aliveCount == 0)
    HeapCheck.expectSound(heap)
  }

  @Test("it makes more garbage of its kind, again and again")
  func makesMore() throws {
    final class Chain: Sendable {
      let count = Atomic(0)
      let done = Event()
    }
    struct Link: HeapObject { var finally: Finally }
    @Sendable func makeLink(_ heap: ManagedHeap, _ chain: Chain) {
      heap.withMutator { mutator in
        _ = mutator.allocate(
          Link(
            finally: Finally { [weak heap] in
              guard let heap else { return }
              let count = chain.count.add(1, ordering: .relaxed).newValue
              if count == 20 { return chain.done.happen() }
              makeLink(heap, chain)
              heap.collect()
            }))
      }
    }
    let chain = Chain()
    let heap = try HeapCheck.pacedHeap()
    makeLink(heap, chain)
    let end = heap_now() + 60_000_000_000
    while !chain.done.hasHappened, heap_now() < end { heap.collect() }
    #expect(chain.done.hasHappened)
  }

  @Test("storing a field runs it on the storing thread, which is in the heap")
  func inAStore() throws {
    let heap = try HeapCheck.pacedHeap()
    let key = heap.withMutator { mutator in
      let first = mutator.allocate(Keeping(key: 7))
      let root = HeapRoot(first, in: mutator)
      let guarded = mutator.allocate(
        Guarded(
          finally: Finally { [unowned heap] in
            heap.withMutator { mutator in
              mutator.collect()
              let holder = root.get(in: mutator)
              holder.next = mutator.allocate(Keeping(key: 8))
            }
          }))
      guarded.finally = Finally {}
      return first.next?.key
    }
    #expect(key == 8)
  }

  @Test("a thread that waits in a deinit holds up nobody who allocates or collects")
  func waits() throws {
    let (entered, leave) = (Event(), Event())
    let heap = try HeapCheck.pacedHeap()
    let population = Population()
    makeGarbage(heap) {
      entered.happen()
      leave.wait()
    }
    heap.collect()
    #expect(entered.wait())
    for _ in 0..<3 {
      heap.withMutator { mutator in
        for _ in 0..<10_000 { _ = mutator.allocate(Keeping(citizen: Citizen(population))) }
      }
      heap.collect()
    }
    #expect(heap.statistics.freedObjects >= 30_000)
    #expect(population.endedCount == 0, "one thread destroys")
    leave.happen()
    #expect(population.awaitEnded(30_000))
  }

  // MARK: - The heap's end

  @Test("it drops the last reference to its own heap: the heap ends all the same")
  func endsOwnHeap() throws {
    let population = Population()
    let (taken, given, ended) = (Event(), Event(), Event())
    final class Keeper: Sendable {
      let heap = Mutex<ManagedHeap?>(nil)
    }
    let keeper = Keeper()
    do {
      let heap = try HeapCheck.pacedHeap()
      keeper.heap.withLock { $0 = heap }
      heap.withMutator { mutator in
        _ = mutator.allocate(Keeping(citizen: Citizen(population)))
        for _ in 0..<2 {
          _ = mutator.allocate(
            Guarded(
              finally: Finally {
                if taken.hasHappened { return }
                taken.happen()
                given.wait()
                // Nobody else has the heap by now.
                keeper.heap.withLock { $0 = nil }
                ended.happen()
              }))
        }
      }
      heap.collect()
      #expect(taken.wait())
      // What lives when the heap ends.
      heap.withMutator { mutator in
        for _ in 0..<99 { _ = mutator.allocate(Keeping(citizen: Citizen(population))) }
      }
    }
    given.happen()
    #expect(ended.wait())
    #expect(population.awaitEnded(100))
    #expect(population.aliveCount == 0)
  }

  @Test("the threads of two heaps end each other's heap, and none waits for ever")
  func endEachOther() throws {
    for _ in 0..<20 {
      let population = Population()
      let go = Event()
      final class Keeper: Sendable { let heap = Mutex<ManagedHeap?>(nil) }
      let keepers = [Keeper(), Keeper()]
      let waiting = Atomic(0)
      do {
        let heaps = try [HeapCheck.pacedHeap(), HeapCheck.pacedHeap()]
        for (heap, keeper) in zip(heaps, keepers) { keeper.heap.withLock { $0 = heap } }
        for (number, heap) in heaps.enumerated() {
          heap.withMutator { mutator in
            _ = mutator.allocate(
              Guarded(
                finally: Finally {
                  waiting.add(1, ordering: .relaxed)
                  go.wait()
                  keepers[1 - number].heap.withLock { $0 = nil }
                }))
          }
          heap.collect()
          heap.withMutator { mutator in
            for _ in 0..<10 { _ = mutator.allocate(Keeping(citizen: Citizen(population))) }
          }
        }
        let end = heap_now() + 20_000_000_000
        while waiting.load(ordering: .relaxed) < 2, heap_now() < end {}
      }
      go.happen()
      #expect(population.awaitEnded(20))
      #expect(population.aliveCount == 0)
    }
  }

  @Test("an object that owns another heap ends it")
  func ownsAHeap() throws {
    struct Sub: HeapObject { var heap: ManagedHeap }
    let population = Population()
    do {
      let outer = try HeapCheck.pacedHeap()
      try outer.withMutator { mutator in
        for _ in 0..<3 {
          let inner = try HeapCheck.pacedHeap()
          inner.withMutator { _ = $0.allocate(Keeping(citizen: Citizen(population))) }
          _ = mutator.allocate(Sub(heap: inner))
        }
      }
      outer.collect()
      #expect(population.awaitEnded(3))
    }
    #expect(population.aliveCount == 0)
  }
}
