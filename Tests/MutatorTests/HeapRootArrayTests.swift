// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Root arrays: many references that are kept from outside of the heap.

import Collector
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

@Suite("Root arrays")
struct HeapRootArrayTests {
  private func liveObjects(_ heap: ManagedHeap) -> Int {
    heap.collect()
    heap.collect()
    return heap.core.counters.liveObjects.load(ordering: .relaxed)
  }

  @Test("what was appended stays, in order and across chunks, until it is taken out or dropped")
  func stack() throws {
    let heap = try HeapCheck.heap()
    var roots: HeapRootArray<HeapRef<TestNode>>? = heap.withMutator { HeapRootArray(in: $0) }
    let empty = liveObjects(heap)
    // More than the first directory has room for.
    let count = 5000
    heap.withMutator { mutator in
      for key in 0..<count { roots?.append(mutator.allocate(TestNode(key: key)), in: mutator) }
    }
    #expect(roots?.count == count && roots?.isEmpty == false)
    // A chunk for 512 of them.
    #expect(liveObjects(heap) == empty + count + (count + 511) / 512)
    heap.withMutator { mutator in
      for key in 0..<count { #expect(roots?.get(at: key, in: mutator).key == key) }
      for key in (10..<count).reversed() { #expect(roots?.popLast(in: mutator)?.key == key) }
    }
    #expect(liveObjects(heap) == empty + 10 + (count + 511) / 512)
    heap.withMutator { mutator in
      roots?.removeAll(in: mutator)
      #expect(roots?.isEmpty == true && roots?.popLast(in: mutator) == nil)
      roots?.append(mutator.allocate(TestNode(key: 1)), in: mutator)
    }
    #expect(liveObjects(heap) == empty + 2)
    HeapCheck.expectSound(heap)
    roots = nil
    #expect(liveObjects(heap) == 0)
    HeapCheck.expectEmpty(heap)
  }

  @Test("a reference is replaced in its place, and what was there goes")
  func replacing() throws {
    let heap = try HeapCheck.heap()
    let roots = heap.withMutator { mutator in
      let roots = HeapRootArray<HeapRef<TestNode>?>(repeating: nil, count: 600, in: mutator)
      roots[599, in: mutator] = mutator.list(100)
      roots.set(mutator.allocate(TestNode(key: 7)), at: 0, in: mutator)
      return roots
    }
    let before = liveObjects(heap)
    heap.withMutator { mutator in
      #expect(roots[599, in: mutator]?.next?.key == 1)
      #expect(roots[0, in: mutator]?.key == 7)
      #expect(roots[1, in: mutator] == nil)
      roots[599, in: mutator] = nil
    }
    #expect(liveObjects(heap) == before - 100)
    HeapCheck.expectSound(heap)
  }

  @Test("it holds references of any kind: arrays, strings, values, and objects that share slots")
  func kinds() throws {
    struct Small: HeapObject { var number: UInt8 }
    let heap = try HeapCheck.heap()
    let (strings, values, small) = heap.withMutator { mutator in
      let strings = HeapRootArray<HeapString>(in: mutator)
      strings.append(mutator.allocateString("héllo"), in: mutator)
      let values = HeapRootArray<HeapValue>(in: mutator)
      for value in [HeapValue(immediate: -1), .nil] { values.append(value, in: mutator) }
      values.append(HeapValue(mutator.allocate(TestNode(key: 3))), in: mutator)
      let small = HeapRootArray<HeapRef<Small>>(in: mutator)
      for number in 0..<100 {
        small.append(mutator.allocate(Small(number: UInt8(number))), in: mutator)
      }
      return (strings, values, small)
    }
    heap.collect()
    heap.withMutator { mutator in
      #expect(String(strings[0, in: mutator]) == "héllo")
      #expect(values[0, in: mutator].immediate == -1 && values[1, in: mutator].isNil)
      #expect(values[2, in: mutator].as(TestNode.self)?.key == 3)
      for number in 0..<100 { #expect(small[number, in: mutator].number == UInt8(number)) }
    }
    HeapCheck.expectSound(heap)
  }

  @Test(
    "threads append, read, replace and take out at once while the heap is collected: nothing is lost"
  )
  func threads() throws {
    let heap = try HeapCheck.heap { $0.stress.collectEvery = 500 }
    // No thread takes out more than it has added: so these places are always there.
    let first = 100
    let roots = heap.withMutator {
      HeapRootArray<HeapRef<TestNode>?>(
        repeating: $0.allocate(TestNode(key: 0)), count: first, in: $0)
    }
    let rounds = 2000
    let threads = (0..<4).map { number in
      TestThread {
        heap.withMutator { mutator in
          for round in 0..<rounds {
            roots.append(mutator.allocate(TestNode(key: number)), in: mutator)
            if round % 3 == 0 { roots.popLast(in: mutator) }
            let place = round % first
            roots[place, in: mutator] = mutator.allocate(TestNode(key: -1))
            let key = roots[place, in: mutator]?.key ?? -2
            require((-1..<4).contains(key), "a root array has lost what it held")
          }
        }
      }
    }
    for thread in threads { thread.join() }
    let taken = (rounds + 2) / 3
    #expect(roots.count == first + 4 * (rounds - taken))
    heap.withMutator { mutator in
      for index in 0..<roots.count {
        #expect((-1..<4).contains(roots[index, in: mutator]?.key ?? -2))
      }
    }
    HeapCheck.expectSound(heap)
  }

  @Test(
    "a place that is not there, another heap's mutator and another heap's reference stop the program"
  )
  func misuse() async {
    await #expect(processExitsWith: .failure) {
      let heap = try ManagedHeap(HeapConfiguration())
      let roots = heap.withMutator { HeapRootArray<HeapRef<TestNode>?>(in: $0) }
      heap.withMutator { _ = roots[0, in: $0] }
    }
    await #expect(processExitsWith: .failure) {
      let (heap, other) = (
        try ManagedHeap(HeapConfiguration()), try ManagedHeap(HeapConfiguration())
      )
      let roots = heap.withMutator { HeapRootArray<HeapRef<TestNode>?>(in: $0) }
      other.withMutator { roots.append(nil, in: $0) }
    }
    await #expect(processExitsWith: .failure) {
      let (heap, other) = (
        try ManagedHeap(HeapConfiguration()), try ManagedHeap(HeapConfiguration())
      )
      let roots = heap.withMutator { HeapRootArray<HeapRef<TestNode>?>(in: $0) }
      other.withMutator { stranger in
        let node = stranger.allocate(TestNode(key: 1))
        heap.withMutator { roots.append(node, in: $0) }
      }
    }
  }
}
