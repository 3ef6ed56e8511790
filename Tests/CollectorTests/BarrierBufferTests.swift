// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A mutator's barrier buffer, and the barrier that fills it.

import CHeapShims
import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Barrier buffers")
struct BarrierBufferTests {
  @Test("both halves are kept, zeroes and repetitions are not")
  func halves() {
    var buffer = BarrierBuffer(capacity: 8)
    var counts: [Int] = []
    // Nothing, one, one, the same object twice, two.
    for (old, new) in [(0, 0), (16, 0), (0, 32), (48, 48), (64, 80)] as [(UInt, UInt)] {
      _ = buffer.append(old: old, new: new)
      counts.append(buffer.count)
    }
    #expect(counts == [0, 1, 2, 3, 5])
  }

  @Test("a buffer is full when another store might not fit", arguments: [-1, 0, 1, 2, 3, 16, 17])
  func full(capacity: Int) {
    var buffer = BarrierBuffer(capacity: capacity)
    let room = max(capacity, 2)
    var isFull = false
    while !isFull {
      let count = buffer.count
      #expect(count + 2 <= room, "there was room for this store")
      isFull = buffer.append(old: 16, new: 32)
    }
    let count = buffer.count
    #expect(count <= room && count + 2 > room)
  }

  @Test("flushing marks every reference in the buffer, and empties it")
  func flushing() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let nodes = (0..<40).map { program.makeNode(value: UInt($0)) }
      var buffer = BarrierBuffer(capacity: 100)
      var marker = Marker(program.heap.marking)
      for pair in 0..<20 { _ = buffer.append(old: nodes[2 * pair], new: nodes[2 * pair + 1]) }
      #expect(nodes.allSatisfy { !fixture.isMarked($0) })
      buffer.flush(to: &marker)
      marker.settle()
      #expect(nodes.allSatisfy { fixture.isMarked($0) })
      let left = buffer.count
      #expect(left == 0)
      #expect(fixture.counted.objects == 40)
    }
  }

  @Test("a store records what it overwrites and what it writes, but only while the heap marks")
  func recording() throws {
    let fixture = try HeapFixture { $0.stress.barrierBuffer = nil }
    fixture.attached { program in
      let (owner, old, new) = (program.root(0), program.root(0), program.root(0))
      program.set(owner, program.makeNode())
      program.set(old, program.makeNode())
      program.set(new, program.makeNode())
      program.store(old.reference, into: owner.reference, HeapFixture.left)
      WriteBarrier.record(slot: owner.reference, new: new.reference)
      #expect(program.recorded == 0, "another heap's flag is up")
      program.beginCycle()
      program.store(new.reference, into: owner.reference, HeapFixture.left)
      #expect(program.recorded == 2)
      program.store(0, into: owner.reference, HeapFixture.left)
      #expect(program.recorded == 3)
      program.endCycle()
      #expect(program.recorded == 0)
    }
  }

  @Test("a full buffer is flushed by the store that fills it")
  func overflow() throws {
    let fixture = try HeapFixture { $0.stress.barrierBuffer = 4 }
    fixture.attached { program in
      let owner = program.root(program.makeNode())
      program.beginCycle()
      for value in 0..<50 as Range<UInt> {
        // Black when it is made: only what is overwritten could be white.
        program.store(program.makeNode(value: value), into: owner.reference, HeapFixture.left)
        #expect(program.recorded < 4)
      }
      program.endCycle()
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("replacing a range of values records every reference in it, ambiguous ones too")
  func aggregates() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let roots = (0..<4).map { _ in program.root(0) }
      for root in roots { program.set(root, program.makeNode()) }
      let target = roots[0].reference
      program.initialize(target, HeapFixture.left, roots[1].reference)
      program.initialize(target, HeapFixture.ambiguous, roots[2].reference + 8)
      // Nothing but the fields refers to them from here on.
      let (left, inside) = (roots[1].reference, roots[2].reference)
      program.drop(roots[1])
      program.drop(roots[2])
      program.beginCycle()
      unsafe withUnsafeTemporaryAllocation(byteCount: 40, alignment: 8) { zeroes in
        unsafe zeroes.initializeMemory(as: UInt8.self, repeating: 0)
        unsafe WriteBarrier.recordAggregate(
          destination: target, source: UInt(bitPattern: zeroes.baseAddress), count: 1, stride: 40,
          references: fixture.node.references, ambiguous: fixture.node.ambiguous,
          by: program.mutator)
      }
      program.initialize(target, HeapFixture.left, 0)
      program.initialize(target, HeapFixture.ambiguous, 0)
      program.endCycle()
      let live = fixture.objects(of: fixture.node)
      #expect(live.contains(left) && live.contains(inside))
      program.cycle()
      #expect(fixture.objects(of: fixture.node) == [target, roots[3].reference])
    }
  }

  @Test("a store by a thread that is not attached stops the program and says what to do")
  func notAttached() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let fixture = try HeapFixture { $0.checks = true }
      let slot = fixture.attached { program in program.root(program.makeNode()) }
      WriteBarrier.record(slot: slot.reference, new: 0)
      withExtendedLifetime(fixture) {}
    }
    #expect(result.said("not attached to the object's heap"))
    let nowhere = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      WriteBarrier.record(slot: 0x1234_5678, new: 0)
    }
    #expect(nowhere.said("belongs to no heap"))
  }
}
