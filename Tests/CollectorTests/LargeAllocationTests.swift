// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Large objects: a span each, zeroed in pieces, coloured last.

import Collector
import Heap
import Synchronization
import Testing

@Suite("Large allocation")
struct LargeAllocationTests {
  let fixture: HeapFixture

  init() throws { fixture = try HeapFixture() }

  @Test(
    "a large object has the pages it needs, all of them zero",
    arguments: [32_769 / 8, 5000, 8191, 8192, 200_000])
  func pages(count: Int) {
    fixture.attached { program in
      for _ in 0..<2 {
        let array = program.makeArray(count: count)
        guard let (span, slot) = fixture.place(of: array + UInt(8 * count)) else {
          return #expect(Bool(false), "the last element is in no object")
        }
        #expect(slot == 0 && span.isLarge && span.base == array)
        #expect(span.pageCount == (8 * count + 8 + 8191) / 8192)
        #expect((1...count).allSatisfy { program.load(array, 8 * $0) == 0 })
        for i in 1...count { program.initialize(array, 8 * i, .max) }
        for i in 1...count { program.initialize(array, 8 * i, 0) }
        // The next round gets this memory again, dirty behind the count.
        program.initialize(array, 8 * count, 0)
        program.cycle()
      }
      #expect(fixture.heap.pageHeap.usage.spanBytes == 0)
    }
  }

  @Test("used memory is zeroed for references, and left alone for bytes")
  func zeroing() {
    fixture.attached { program in
      let bytes = program.makeBytes(count: 700_000)
      for offset in stride(from: 8, to: 700_000, by: 8) { program.initialize(bytes, offset, .max) }
      program.cycle()
      let again = program.makeBytes(count: 700_000)
      #expect(again == bytes && program.load(again, 8) == .max, "no time is spent on bytes")
      program.cycle()
      let array = program.makeArray(count: 87_000)
      #expect(array == bytes)
      #expect((1...87_000).allSatisfy { program.load(array, 8 * $0) == 0 })
      program.cycle()
    }
  }

  @Test(
    "a size that no memory holds is nil: beyond the space, and beyond the limit after two collections"
  )
  func tooLarge() throws {
    let fixture = try HeapFixture { $0.hardLimit = 1 << 20 }
    fixture.attached { program in
      let shelf = fixture.shelf(fixture.bytes, in: .large)
      for size in [Int.max, -1, 1 << 48, 1 << 46, (1 << 20) + 1] {
        #expect(program.heap.allocator.takeLarge(program.mutator, shelf: shelf, size: size) == nil)
      }
      let most = program.heap.allocator.takeLarge(program.mutator, shelf: shelf, size: 1 << 20)
      #expect(most != nil)
      // Garbage makes room for the next.
      #expect(
        program.heap.allocator.takeLarge(program.mutator, shelf: shelf, size: 1 << 20) == most)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("a large object is black while the heap marks, and swept like any other")
  func colour() {
    fixture.attached { program in
      let kept = program.root(program.makeArray(count: 10_000))
      let dead = program.makeArray(count: 10_000)
      program.beginCycle()
      #expect(fixture.isMarked(kept.reference) == false || fixture.counted.objects > 0)
      let black = program.makeArray(count: 10_000)
      #expect(fixture.isMarked(black) && !fixture.isMarked(dead))
      program.endCycle()
      #expect(fixture.objects(of: fixture.array) == [kept.reference, black])
      program.cycle()
      #expect(fixture.objects(of: fixture.array) == [kept.reference])
      #expect(fixture.shelf(fixture.array, in: .large).objectCount == 1)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("large allocations count towards the trigger and start cycles of their own accord")
  func pacing() throws {
    let fixture = try HeapFixture { $0.percent = 100 }
    fixture.attached { program in
      for cycle in 0..<5 {
        var pieces = 0
        while fixture.heap.counters.cycles.load(ordering: .relaxed) <= cycle {
          if pieces < 16 { _ = program.makeBytes(count: 1 << 20) } else { program.poll() }
          pieces += 1
        }
      }
    }
    #expect(fixture.heap.counters.forcedCycles.load(ordering: .relaxed) == 0)
    fixture.heap.collectAndWait()
    #expect(fixture.heap.pageHeap.usage.spanCount == 0)
  }
}
