// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The tiny allocator: small values without references share a slot of 16 bytes.

import Collector
import Heap
import TestSupport
import Testing

@Suite("Tiny allocation")
struct TinyAllocationTests {
  let fixture: HeapFixture
  let layout: HeapLayout

  init() throws {
    fixture = try HeapFixture()
    layout = try fixture.heap.register(
      .init(kind: .object, size: 16, alignment: 16, references: [], isTiny: true), name: "tiny")
  }

  private func allocate(_ program: Program, size: Int, alignment: Int) -> UInt {
    if let place = program.heap.allocator.takeTiny(
      program.mutator, size: size, alignment: alignment)
    {
      return place
    }
    let slots = unsafe program.entry(layout, in: SizeClass.of(size: 16) ?? .large)
    return unsafe program.heap.allocator.openTiny(
      program.mutator, slots, size: size, alignment: alignment) ?? 0
  }

  @Test("no slot is open at first")
  func closed() {
    fixture.attached { program in
      #expect(program.heap.allocator.takeTiny(program.mutator, size: 1, alignment: 1) == nil)
    }
  }

  @Test("values lie side by side at their alignment until one does not fit")
  func sharing() {
    fixture.attached { program in
      let first = allocate(program, size: 1, alignment: 1)
      #expect(first % 16 == 0)
      #expect(allocate(program, size: 4, alignment: 4) == first + 4)
      #expect(allocate(program, size: 1, alignment: 1) == first + 8)
      #expect(allocate(program, size: 2, alignment: 2) == first + 10)
      #expect(allocate(program, size: 4, alignment: 4) == first + 12, "to the last byte")
      #expect(allocate(program, size: 1, alignment: 1) == first + 16, "the next slot")
      #expect(allocate(program, size: 8, alignment: 8) == first + 24)
      #expect(allocate(program, size: 15, alignment: 1) == first + 32)
    }
  }

  @Test("random values never overlap, and each is aligned and within one slot")
  func random() {
    var random = RandomNumbers("tiny")
    fixture.attached { program in
      var taken = Set<UInt>()
      for _ in 0..<5000 {
        let alignment = 1 << random.below(4)
        let size = min(15, alignment * (1 + random.below(15 / alignment)))
        let place = allocate(program, size: size, alignment: alignment)
        #expect(place % UInt(alignment) == 0)
        #expect(place / 16 == (place + UInt(size) - 1) / 16)
        for byte in place..<place + UInt(size) { #expect(taken.insert(byte).inserted) }
      }
    }
  }

  @Test("no value begins at an odd address: the low bit of a reference says that it is one")
  func even() {
    fixture.attached { program in
      let first = allocate(program, size: 1, alignment: 1)
      let others = (0..<9).map { _ in allocate(program, size: 1, alignment: 1) }
      // Eight in a slot, and then the next.
      #expect(others == (1..<8).map { first + 2 * UInt($0) } + [first + 16, first + 18])
    }
  }

  @Test("a slot lives while any of its values is referred to, from inside it too")
  func liveness() {
    fixture.attached { program in
      let (a, b) = (
        allocate(program, size: 4, alignment: 4), allocate(program, size: 4, alignment: 4)
      )
      #expect(a / 16 == b / 16)
      let slot = program.root(b)
      program.cycle()
      #expect(fixture.objects(of: layout) == [a])
      program.drop(slot)
      program.cycle()
      #expect(fixture.objects(of: layout).isEmpty)
    }
  }

  @Test("the open slot is given up when black allocation begins, and again when it ends")
  func colour() {
    fixture.attached { program in
      let white = allocate(program, size: 1, alignment: 1)
      program.beginCycle()
      let black = allocate(program, size: 1, alignment: 1)
      #expect(black / 16 != white / 16 && fixture.isMarked(black) && !fixture.isMarked(white))
      program.endCycle()
      let next = allocate(program, size: 1, alignment: 1)
      #expect(next / 16 != black / 16)
      #expect(fixture.objects(of: layout).contains(black))
    }
  }
}
