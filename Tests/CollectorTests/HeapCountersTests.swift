// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Figures: buckets of pauses, and totals that stay exact over collections and leaving threads.

import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Counters")
struct HeapCountersTests {
  @Test("every length has a bucket whose bound is at most an eighth below it")
  func buckets() {
    var random = RandomNumbers("buckets")
    var values = Array(0...5000) + [.max, .max - 1, 1 << 62, (1 << 62) - 1]
    for _ in 0..<10_000 { values.append(Int(random.next() >> UInt64(1 + random.below(62)))) }
    for value in values {
      let index = PauseBuckets.index(of: value)
      #expect((0..<PauseBuckets.count).contains(index))
      let bound = PauseBuckets.lowerBound(of: index)
      #expect(bound <= value && value - bound <= bound / 8)
      #expect(PauseBuckets.index(of: bound) == index)
    }
    #expect(PauseBuckets.index(of: -5) == 0)
  }

  @Test("bounds ascend, bucket by bucket, up to that of the longest length")
  func bounds() {
    let last = PauseBuckets.index(of: .max)
    let bounds = (0...last).map { PauseBuckets.lowerBound(of: $0) }
    #expect(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 })
  }

  @Test("a pause is counted in its bucket, in the total and as the longest if it is")
  func pauses() {
    let counters = HeapCounters()
    for length in [100, 1_000_000, 5, 100] as [UInt64] {
      counters.recordPause(nanoseconds: length)
    }
    let pauses = counters.pauses
    #expect(pauses.count == 4 && pauses.buckets[PauseBuckets.index(of: 100)] == 2)
    #expect(pauses.total == 1_000_205 && pauses.longest == 1_000_000)
    let other = HeapCounters()
    for _ in 0..<3 { other.recordPause(nanoseconds: .max) }
    #expect(other.pauses.longest == .max && other.pauses.total == .max)
  }

  @Test("while pauses are recorded, their number and their sum belong together")
  func consistentPauses() {
    let counters = HeapCounters()
    let isDone = Event()
    let writer = TestThread {
      while !isDone.hasHappened { counters.recordPause(nanoseconds: 1000) }
    }
    var wrong = 0
    while counters.pauses.count < 50_000 {
      let pauses = counters.pauses
      if pauses.total != pauses.count * 1000 { wrong += 1 }
    }
    isDone.happen()
    writer.join()
    #expect(wrong == 0)
  }

  @Test("no more cycles are forced, or minor, than there were, whenever one looks")
  func cycles() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      program.beginCycle()
      #expect(fixture.heap.counters.cycleCounts == (all: 0, forced: 0, minor: 0))
      program.endCycle()
      #expect(fixture.heap.counters.cycleCounts == (all: 1, forced: 1, minor: 0))
      program.cycle(.minor)
      #expect(fixture.heap.counters.cycleCounts == (all: 2, forced: 2, minor: 1))
    }
  }

  @Test("taken less freed is live, to the byte, whatever was allocated, kept and left behind")
  func balance() throws {
    var random = RandomNumbers("balance")
    let fixture = try HeapFixture { $0.checks = true }
    for _ in 0..<4 {
      fixture.attached { program in
        for round in 0..<300 {
          let keep = random.below(3) == 0
          let object: UInt
          switch random.below(4) {
          case 0: object = program.makeNode()
          case 1: object = program.makeLeaf()
          case 2: object = program.makeArray(count: random.below(200))
          default: object = program.makeBytes(count: random.below(90_000))
          }
          if keep { _ = program.root(object) }
          if round % 100 == 50 { program.cycle() }
        }
        // Leaving with runs that are not used up.
      }
      fixture.heap.collectAndWait()
      let (taken, freed, counters) = (
        fixture.heap.taken, fixture.heap.freed, fixture.heap.counters
      )
      let live = counters.liveBytes.load(ordering: .relaxed)
      let objects = counters.liveObjects.load(ordering: .relaxed)
      #expect(taken.bytes - freed.bytes == live)
      #expect(taken.slots - freed.slots == objects)
      #expect(objects == fixture.heap.roots.references.count)
      #expect(fixture.heap.central.shelves().reduce(0) { $0 + $1.objectCount } == objects)
      #expect(fixture.problems.isEmpty)
    }
  }
}
