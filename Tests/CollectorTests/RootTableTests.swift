// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Root slots: created, set and dropped from any thread, shading while the heap marks.

import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Root slots")
struct RootTableTests {
  let fixture: HeapFixture

  init() throws { fixture = try HeapFixture() }

  @Test("a slot holds what it was given, then what it was set to, and a dropped one nothing")
  func values() {
    fixture.attached { program in
      let nodes = (0..<3).map { _ in program.makeNode() }
      let slots = nodes.map { program.root($0) }
      #expect(slots.map(\.reference) == nodes)
      program.set(slots[1], nodes[2])
      #expect(Set(fixture.heap.roots.references) == [nodes[0], nodes[2]])
      for slot in slots { program.drop(slot) }
      #expect(fixture.heap.roots.references.isEmpty)
    }
  }

  @Test("thousands of slots are distinct, and dropped ones are used again")
  func manySlots() {
    let words = (1...3000).map { UInt($0) * 8 }
    let slots = words.map { fixture.heap.roots.make($0) }
    #expect(Set(slots).count == 3000)
    #expect(Set(fixture.heap.roots.references) == Set(words))
    for slot in slots { fixture.heap.roots.drop(slot) }
    let again = words.map { fixture.heap.roots.make($0) }
    #expect(Set(again) == Set(slots))
    for slot in again { fixture.heap.roots.drop(slot) }
  }

  @Test("what a slot holds lives, what it held dies")
  func liveness() {
    fixture.attached { program in
      let slot = program.root(program.makeNode(value: 1))
      program.cycle()
      #expect(fixture.objects(of: fixture.node) == [slot.reference])
      program.set(slot, program.makeNode(value: 2))
      program.cycle()
      #expect(fixture.objects(of: fixture.node) == [slot.reference])
      #expect(program.load(slot.reference, HeapFixture.value) == 2)
      program.drop(slot)
      program.cycle()
      #expect(fixture.objects(of: fixture.node).isEmpty)
    }
  }

  @Test("while the heap marks, a slot shades what it held and what it will hold")
  func shading() {
    fixture.attached { program in
      let holder = program.root(program.makeNode())
      for field in [HeapFixture.left, HeapFixture.right] {
        let node = program.makeNode()
        program.initialize(holder.reference, field, node)
      }
      let dropped = program.root(program.makeNode())
      let replaced = program.root(program.makeNode())
      let (a, b) = (dropped.reference, replaced.reference)
      let left = program.load(holder.reference, HeapFixture.left)
      let right = program.load(holder.reference, HeapFixture.right)
      program.collecting {
        fixture.heap.beginMarking()
        fixture.heap.raiseBarrier()
      }
      // Not scanned yet: all is white.
      #expect([a, b, left, right].allSatisfy { !fixture.isMarked($0) })
      program.drop(dropped)
      program.set(replaced, left)
      let made = program.root(right)
      #expect([a, b, left, right].allSatisfy { fixture.isMarked($0) })
      program.collecting { fixture.heap.scanStacksAndRoots() }
      program.endCycle()
      program.drop(made)
      let before = fixture.counted.objects
      program.set(replaced, holder.reference)
      #expect(fixture.counted.objects == before, "the heap no longer marks")
    }
  }

  @Test("however many slots are set while the heap marks, little memory is used for what is grey")
  func manyShaded() {
    fixture.attached { program in
      let all = program.root(program.makeArray(count: 20_000))
      for i in 1...20_000 { program.store(program.makeNode(), into: all.reference, 8 * i) }
      program.beginCycle()
      let slot = program.root(0)
      let nodes = (1...20_000).map { program.load(all.reference, 8 * $0) }
      for node in nodes { program.set(slot, node) }
      #expect(nodes.allSatisfy { fixture.isMarked($0) })
      #expect(fixture.heap.marking.grey.byteCount <= 1 << 20)
      program.endCycle()
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("a thread that is attached to nothing may drop a slot while the heap marks")
  func dropFromAnywhere() {
    fixture.attached { program in
      let slots = (0..<50).map { _ in program.root(0) }
      for slot in slots { program.set(slot, program.makeNode()) }
      let nodes = slots.map(\.reference)
      program.collecting {
        fixture.heap.beginMarking()
        fixture.heap.raiseBarrier()
        let heap = fixture.heap
        TestThread { for slot in slots { heap.roots.drop(slot) } }.join()
        fixture.heap.scanStacksAndRoots()
      }
      program.endCycle()
      #expect(fixture.objects(of: fixture.node) == Set(nodes), "the snapshot lives")
      program.cycle()
      #expect(fixture.objects(of: fixture.node).isEmpty)
    }
  }

  @Test("threads that make, set and drop slots during collections lose nothing")
  func contention() throws {
    let fixture = try HeapFixture { $0.checks = true }
    let isDone = Event()
    let collector = TestThread { while !isDone.hasHappened { fixture.heap.collectAndWait() } }
    onThreads(2) { number in
      var random = RandomNumbers(seed: UInt64(number))
      fixture.attached { program in
        var held: [(slot: RootSlot, value: UInt)] = []
        for round in 0..<4000 as Range<UInt> {
          let node = program.makeNode(value: round)
          switch random.below(3) {
          case 0 where held.count < 50: held.append((program.root(node), round))
          case 1 where !held.isEmpty:
            let i = random.below(held.count)
            program.set(held[i].slot, node)
            held[i].value = round
          default: if !held.isEmpty { program.drop(held.remove(at: random.below(held.count)).slot) }
          }
          for (slot, value) in held.suffix(3) {
            require(program.load(slot.reference, HeapFixture.value) == value, "a root was lost")
          }
        }
        for (slot, value) in held {
          require(program.load(slot.reference, HeapFixture.value) == value, "a root was lost")
          program.drop(slot)
        }
      }
    }
    isDone.happen()
    collector.join()
    fixture.heap.collectAndWait()
    #expect(fixture.objects(of: fixture.node).isEmpty)
    #expect(fixture.problems.isEmpty)
  }
}
