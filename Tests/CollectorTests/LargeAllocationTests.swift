// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Large objects: a span each, zeroed in pieces, coloured last.

import Collector
import Glibc
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Large allocation")
struct LargeAllocationTests {
  let fixture: HeapFixture

  /// Unchecked: dead objects are not held out of use.
  init() throws { fixture = try HeapFixture { $0.checks = false } }

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

  @Test("before the collector has swept, a large object takes the pages of dead ones")
  func sweepsFirst() {
    fixture.attached { program in
      for _ in 0..<20 { _ = program.makeBytes(count: 100_000) }
      let kept = program.root(program.makeBytes(count: 100_000))
      program.beginCycle()
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
        fixture.heap.advanceGeneration()
      }
      let before = fixture.heap.pageHeap.usage.spanBytes
      let one = program.makeBytes(count: 100_000)
      #expect(fixture.heap.pageHeap.usage.spanBytes == before)
      let large = program.makeBytes(count: 1_000_000)
      #expect(fixture.heap.pageHeap.usage.spanBytes <= before)
      program.collecting { fixture.heap.finishSweeping() }
      #expect(fixture.objects(of: fixture.bytes) == [kept.reference, one, large])
    }
    #expect(fixture.problems.isEmpty)
  }

  // MARK: - Past the goal

  /// A cycle is wanted, and the heap has reached its goal.
  private func reachGoal() {
    let words = unsafe fixture.heap.words
    let allocated = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    unsafe words.pointee.goal.store(allocated, ordering: .relaxed)
    unsafe words.pointee.cycleIsWanted.store(true, ordering: .relaxed)
  }

  @Test("a large object that would take the heap past its goal waits for the end of the cycle")
  func waiting() {
    fixture.attached { program in
      program.beginCycle()
      reachGoal()
      let taken = Event()
      let thread = TestThread { [fixture] in
        fixture.attached { other in
          _ = other.makeBytes(count: 256 << 20)
          taken.happen()
        }
      }
      // Time for a thread that does not wait. One that does is not through, however slow it is.
      usleep(50_000)
      #expect(!taken.hasHappened)
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
        #expect(!taken.hasHappened)
        fixture.heap.advanceGeneration()
        fixture.heap.finishSweeping()
      }
      thread.join()
      #expect(taken.hasHappened)
    }
  }

  @Test("past the goal of a full cycle, a large object waits for the full one after a minor one")
  func waitingForFull() throws {
    // No room, so that whatever is taken is past both goals.
    let fixture = try HeapFixture { $0.memoryLimit = 1 }
    // The test is the collector: nobody else runs what is asked for.
    fixture.heap.shutDown()
    fixture.attached { program in
      fixture.heap.requestCycle()
      let (waiting, taken) = (Waiting(), Event())
      let thread = TestThread {
        fixture.attached { other in
          waiting.mutator.store(other.mutator.address, ordering: .releasing)
          _ = other.makeBytes(count: 256 << 20)
          taken.happen()
        }
      }
      while !waiting.isBlocked { program.poll() }
      program.beginCycle(.minor)
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
        // So that another cycle is asked for.
        fixture.heap.pacer.update { $0.percent = nil }
        fixture.heap.advanceGeneration(.minor)
        fixture.heap.finishSweeping()
      }
      // Time for a thread that goes on now. One that waits is not through, however slow it is.
      usleep(50_000)
      #expect(waiting.isBlocked && !taken.hasHappened)
      program.cycle()
      thread.join()
      #expect(taken.hasHappened)
    }
    #expect(fixture.heap.counters.cycleCounts == (all: 2, forced: 2, minor: 1))
  }

  /// A thread that is to be found waiting.
  private final class Waiting: Sendable {
    let mutator = Atomic<UInt>(0)
    var isBlocked: Bool {
      AttachedMutator(address: mutator.load(ordering: .acquiring))?.isBlocked ?? false
    }
  }

  @Test("a collector that is stuck stops no large object for good")
  func stuckCollector() {
    fixture.attached { program in
      program.beginCycle()
      reachGoal()
      // The cycle goes on when this thread has its array, and not before.
      #expect(program.tryArray(fixture.bytes, count: 50_000) != nil)
      program.endCycle()
    }
  }

  private final class Peak: Sendable { let bytes = Atomic(0) }

  @Test(
    "threads that allocate only large objects while a list is marked keep near the goal",
    .disabled(if: Sanitizer.isThread, "the list takes longer to mark than an object waits"))
  func peak() throws {
    let fixture = try HeapFixture {
      $0.percent = 100
      $0.minimumHeap = 1
    }
    let size = 16 << 20
    let peak = Peak()
    fixture.attached { program in
      let list = program.makeList(1...30_000)
      program.collecting {
        onThreads(2) { _ in
          fixture.attached { other in
            for _ in 0..<40 {
              _ = other.makeBytes(count: size - 8)
              let words = unsafe fixture.heap.words
              peak.bytes.max(
                unsafe words.pointee.allocatedBytes.load(ordering: .relaxed), ordering: .relaxed)
            }
          }
        }
      }
      program.drop(list)
    }
    // What lives: the list, and an object of each thread that was allocated black. Twice that
    // after a cycle that ended at its goal; twice that is the goal; and an object of each thread.
    let live = 30_000 * 48 + 2 * size
    #expect(peak.bytes.load(ordering: .relaxed) <= 4 * live + 2 * size)
  }
}
