// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Pools: objects come back until a collection begins, and never after it.

import Mutator
import TestSupport
import Testing

private struct Item: HeapObject {
  var id: Int
  var twin: HeapRef<Item>?
}

private struct Block: HeapObject {
  var words = InlineArray<4096, Int>(repeating: 0)
}

@Suite struct HeapPoolTests {
  @Test("what was put comes back as it was, the last one first")
  func order() throws {
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let pool = HeapPool<Item>(in: mutator)
      #expect(pool.get(in: mutator) == nil)
      var model: [Int] = []
      for id in 0..<100 {
        let twin = mutator.allocate(Item(id: -id, twin: nil))
        pool.put(mutator.allocate(Item(id: id, twin: twin)), in: mutator)
        model.append(id)
        if id % 3 == 0 {
          let item = pool.get(in: mutator)
          #expect(item?.id == model.removeLast() && item?.twin?.id == -id)
        }
      }
      while let id = model.popLast() { #expect(pool.get(in: mutator)?.id == id) }
      #expect(pool.get(in: mutator) == nil)
    }
  }

  @Test("a collection empties a pool, which keeps nothing alive")
  func emptied() throws {
    let heap = try HeapCheck.pacedHeap()
    let pool = heap.withMutator { mutator in
      let pool = HeapPool<Block>(in: mutator)
      for _ in 0..<64 { pool.put(mutator.allocate(Block()), in: mutator) }
      return pool
    }
    #expect(heap.withMutator { pool.get(in: $0) != nil })
    heap.collect()
    #expect(heap.statistics.liveBytes == 0)
    heap.withMutator { mutator in
      #expect(pool.get(in: mutator) == nil)
      // And is filled again.
      pool.put(mutator.allocate(Block()), in: mutator)
      #expect(pool.get(in: mutator) != nil)
      pool.put(mutator.allocate(Block()), in: mutator)
      mutator.collect()
      #expect(pool.get(in: mutator) == nil)
    }
  }

  @Test("a thread gets what it has put there itself, also when it comes again")
  func threads() throws {
    let heap = try HeapCheck.pacedHeap()
    let pool = heap.withMutator { mutator in
      let pool = HeapPool<Item>(in: mutator)
      pool.put(mutator.allocate(Item(id: 1, twin: nil)), in: mutator)
      return pool
    }
    onThreads(2) { number in
      #expect(heap.withMutator { pool.get(in: $0) == nil })
      heap.withMutator { pool.put($0.allocate(Item(id: 10 + number, twin: nil)), in: $0) }
      #expect(heap.withMutator { pool.get(in: $0)?.id } == 10 + number)
    }
    #expect(heap.withMutator { pool.get(in: $0)?.id } == 1)
  }

  @Test("no object comes back that a collection may have freed", arguments: [false, true])
  func stress(isChecked: Bool) throws {
    let heap = try HeapCheck.heap {
      $0.stress.collectEvery = 0
      $0.stress.minorCycles = 3
      $0.checks = isChecked ? .on : .off
    }
    let stop = Event()
    let collector = TestThread {
      while !stop.hasHappened { heap.collect() }
    }
    let pool = heap.withMutator { HeapPool<Item>(in: $0) }
    onThreads(2) { number in
      var numbers = RandomNumbers(seed: UInt64(number))
      for round in 0..<300 {
        heap.withMutator { mutator in
          for step in 0..<30 {
            let id = (number << 40) + round * 100 + step
            // As it was put there by this thread, with what only it led to.
            let item =
              pool.get(in: mutator)
              ?? mutator.allocate(
                Item(
                  id: number << 40, twin: mutator.allocate(Item(id: -(number << 40), twin: nil))))
            #expect(item.id >> 40 == number && item.twin?.id == -item.id)
            item.twin = mutator.allocate(Item(id: -id, twin: nil))
            item.id = id
            if numbers.oneIn(10) { mutator.safepoint() }
            if isChecked, numbers.oneIn(300) {
              // Held to the end of the collection that is under way: what was freed is overwritten.
              let cycles = heap.statistics.cycleCount
              while heap.statistics.cycleCount < cycles + 2 { mutator.safepoint() }
              #expect(item.id == id && item.twin?.id == -id)
            }
            pool.put(item, in: mutator)
          }
        }
      }
    }
    stop.happen()
    collector.join()
    HeapCheck.expectEmpty(heap)
  }

  @Test("mutators and objects of another heap are refused")
  func otherHeap() async {
    let mutator = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let (a, b) = (try ManagedHeap(), try ManagedHeap())
      let pool = a.withMutator { HeapPool<Item>(in: $0) }
      b.withMutator { _ = pool.get(in: $0) == nil }
    }
    #expect(mutator.said("a HeapPool was used with a mutator of another heap"))
    let object = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let (a, b) = (try ManagedHeap(), try ManagedHeap())
      let pool = a.withMutator { HeapPool<Item>(in: $0) }
      a.withMutator { mutator in
        b.withMutator { pool.put($0.allocate(Item(id: 1, twin: nil)), in: mutator) }
      }
    }
    #expect(object.said("HeapMutator") || object.said("object of another heap"))
  }
}
