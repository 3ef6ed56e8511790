// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A shelf: four lists, found by a span's free slots and the parity of its generation.
//
// The dangerous case is the thread that lags a generation behind: its lists of "unswept" spans
// have the parity of those that others have put back swept. It must get none of them.

import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Shelves")
struct SpanShelfTests {
  let fixture: SpanFixture
  let shelf: SpanShelf

  init() throws {
    fixture = try SpanFixture()
    shelf = try fixture.shelf(size: 2048)  // Four slots a span.
  }

  private func span(_ generation: Generation, allocated: Int) throws -> HeapSpan {
    let span = try fixture.span(on: shelf, generation: generation)
    if allocated > 0 { _ = span.takeRun(atMost: allocated) }
    return span
  }

  @Test("a span goes to the list that its free slots and its generation say")
  func lists() throws {
    for generation in [6, 7] as [Generation] {
      let (partial, full) = try (span(generation, allocated: 3), span(generation, allocated: 4))
      shelf.put(partial)
      shelf.put(full)
      #expect(shelf.count(of: generation) == (partial: 1, full: 1))
      #expect(shelf.count(of: generation.next(isFull: true)) == (partial: 0, full: 0))
      #expect(reports(shelf.checkInvariants).isEmpty)
      #expect(shelf.popPartial(of: generation) == partial)
      #expect(shelf.popFull(of: generation) == full)
      #expect(shelf.popPartial(of: generation) == nil && shelf.popFull(of: generation) == nil)
    }
  }

  @Test("when the generation advances, swept spans have become unswept without moving")
  func advance() throws {
    let spans = try (0..<5).map { try span(10, allocated: $0) }
    for span in spans { shelf.put(span) }
    let generation: Generation = 11
    #expect(shelf.popPartial(of: generation) == nil, "nothing is swept yet")
    #expect(shelf.popPartial(of: generation.previous) == spans[3], "the last one put in")
    #expect(shelf.popFull(of: generation.previous) == spans[4])
  }

  @Test("several spans are taken and put back at a time, each from and to the list that it is of")
  func batches() throws {
    var all = SpanStack()
    for _ in 0..<2 {
      for allocated in 0...4 { all.push(try span(8, allocated: allocated)) }
    }
    all.push(try span(7, allocated: 1))
    all.push(try span(7, allocated: 4))
    shelf.put(all)
    #expect(shelf.count(of: 8) == (partial: 8, full: 2))
    #expect(shelf.count(of: 7) == (partial: 1, full: 1))
    #expect(reports(shelf.checkInvariants).isEmpty)

    var some = shelf.popPartial(of: 8, atMost: 3)
    #expect(some.count == 3)
    #expect(shelf.count(of: 8) == (partial: 5, full: 2))
    while let span = some.pop() {
      #expect(span.generation == 8 && span.allocatedCount < 4)
      shelf.put(span)
    }
    let full = shelf.popFull(of: 8, atMost: .max)
    #expect(full.count == 2)
    full.forEach { #expect($0.allocatedCount == 4) }
    let none = shelf.popPartial(of: 6, atMost: .max)
    #expect(none.count == 0, "six is of eight's parity, and not of its generation")
    #expect(shelf.count(of: 8) == (partial: 8, full: 0))
    #expect(reports(shelf.checkInvariants).isEmpty)
  }

  @Test("a shelf says without its lock whether it may have spans of a generation")
  func hint() throws {
    #expect(!shelf.mayHaveSpans(of: 4) && !shelf.mayHaveSpans(of: 5))
    for allocated in [1, 4] {
      let span = try span(5, allocated: allocated)
      shelf.put(span)
      #expect(!shelf.mayHaveSpans(of: 4) && shelf.mayHaveSpans(of: 5))
      #expect(shelf.mayHaveSpans(of: 3), "it tells parities apart, not generations")
      #expect((shelf.popPartial(of: 5) ?? shelf.popFull(of: 5)) == span)
      #expect(!shelf.mayHaveSpans(of: 5))
    }
    var two = SpanStack()
    two.push(try span(4, allocated: 1))
    two.push(try span(5, allocated: 4))
    shelf.put(two)
    #expect(shelf.mayHaveSpans(of: 4) && shelf.mayHaveSpans(of: 5))
  }

  #if DEBUG
    @Test("taking from a list without spans takes no lock") func lockless() throws {
      shelf.put(try span(4, allocated: 1))
      // With the innermost lock held, taking the shelf's would stop a debug build.
      HeapLock(0, rank: .records).withLock { _ in
        #expect(shelf.popPartial(of: 5) == nil)
        #expect(shelf.popFull(of: 4) == nil)
        let none = shelf.popPartial(of: 5, atMost: 8)
        #expect(none.count == 0)
        #expect(shelf.mayHaveSpans(of: 4))
      }
    }
  #endif

  @Test("a thread that lags behind is not handed spans of the generation after its own")
  func lagging() throws {
    // The heap is at 12 and others have put swept spans back; this thread still works with
    // 11 and looks for its unswept spans, those of 10.
    shelf.put(try span(12, allocated: 1))
    shelf.put(try span(12, allocated: 4))
    #expect(shelf.popPartial(of: 10) == nil)
    #expect(shelf.popFull(of: 10) == nil)
    #expect(shelf.count(of: 12) == (partial: 1, full: 1), "they are still there")
    #expect(shelf.popPartial(of: 12) != nil)
    #expect(shelf.popFull(of: 12) != nil)
  }

  @Test("generations wrap: the last one is odd and the next is even")
  func wrapping() throws {
    let generation = Generation(cycle: .max, full: .max)
    let last = try span(generation, allocated: 1)
    shelf.put(last)
    let next = generation.next(isFull: true)
    #expect(next == 0)
    #expect(shelf.popPartial(of: next) == nil)
    #expect(shelf.popPartial(of: next.previous) == last)
  }

  @Test("after a minor cycle touched spans are unswept, and clean ones are swept still")
  func minorCycle() throws {
    let before = Generation(cycle: 8, full: 5)
    let (touched, clean) = try (span(before, allocated: 4), span(before, allocated: 1))
    // Its one object is found alive.
    clean.setMark(0)
    _ = clean.sweep(to: before)
    shelf.put(touched)
    shelf.put(clean)
    let generation = before.next(isFull: false)
    #expect(generation == Generation(cycle: 9, full: 5))
    #expect(shelf.popFull(of: generation) == nil)
    #expect(shelf.popFull(of: generation.previous) == touched)
    #expect(shelf.popPartial(of: generation.previous) == nil, "it need not be swept again")
    #expect(shelf.popPartial(of: generation) == clean)
    // Whoever takes slots from it makes it one of the cycle's.
    clean.touch(in: generation)
    shelf.put(clean)
    #expect(reports(shelf.checkInvariants).isEmpty)
    #expect(shelf.popPartial(of: generation) == clean)
    shelf.put(clean)
    #expect(shelf.popPartial(of: generation.next(isFull: false).previous) == clean)
  }

  @Test("after a full cycle touched and clean spans are unswept")
  func fullCycle() throws {
    let before = Generation(cycle: 8, full: 5)
    let (touched, clean) = try (span(before, allocated: 2), span(before, allocated: 1))
    clean.setMark(0)
    _ = clean.sweep(to: Generation(cycle: 6, full: 5))
    shelf.put(touched)
    shelf.put(clean)
    let generation = before.next(isFull: true)
    #expect(shelf.popPartial(of: generation) == nil)
    #expect(shelf.popPartial(of: generation.previous) != nil)
    #expect(shelf.popPartial(of: generation.previous) != nil)
    #expect(shelf.popPartial(of: generation.previous) == nil)
  }

  @Test("every span on the shelf is visited once")
  func visiting() throws {
    var all = Set<HeapSpan>()
    for generation in [4, 5] as [Generation] {
      for allocated in 0...4 {
        let span = try span(generation, allocated: allocated)
        shelf.put(span)
        all.insert(span)
      }
    }
    var seen: [HeapSpan] = []
    shelf.forEach { seen.append($0) }
    #expect(seen.count == 10 && Set(seen) == all)
    #expect(shelf.spanCount == 10)
  }

  @Test("objects are counted by whoever allocates and sweeps, and the count is the shelf's")
  func counting() throws {
    shelf.countObjects(12)
    shelf.countObjects(-5)
    #expect(shelf.objectCount == 7)
    let other = try fixture.shelf(size: 2048)
    #expect(other.objectCount == 0)
  }

  @Test("a span is on the shelf or one thread's, never both", .timeLimit(.minutes(1)))
  func contention() throws {
    let spans = try (0..<8).map { try span(2, allocated: $0 % 5) }
    let owners = spans.map { _ in Owner() }
    let places = Dictionary(uniqueKeysWithValues: zip(spans, 0...))
    for span in spans { shelf.put(span) }
    let shelf = shelf
    onThreads(4) { number in
      var random = RandomNumbers(seed: UInt64(number))
      for _ in 0..<3000 {
        let (full, limit) = (random.oneIn(2), 1 + random.below(3))
        var taken =
          full ? shelf.popFull(of: 2, atMost: limit) : shelf.popPartial(of: 2, atMost: limit)
        require(taken.count <= limit, "too many were taken")
        var changed = SpanStack()
        while let span = taken.pop() {
          let owner = owners[places[span] ?? 0]
          require(owner.taken.exchange(true, ordering: .relaxed) == false, "owned twice")
          require(full == (span.allocatedCount == 4), "a span was on the wrong list")
          // One slot more, or all but one free again.
          if span.takeRun(atMost: 1) == nil { span.setAllocated([true, false, false, false]) }
          owner.taken.store(false, ordering: .relaxed)
          changed.push(span)
        }
        shelf.put(changed)
      }
    }
    #expect(reports(shelf.checkInvariants).isEmpty)
    let counts = shelf.count(of: 2)
    #expect(counts.partial + counts.full == 8)
  }

  private final class Owner: Sendable { let taken = Atomic(false) }

  @Test("checkInvariants sees a span of the wrong generation, on the wrong list or shelf")
  func invariants() throws {
    func broken(_ harm: (HeapSpan) -> Void) throws -> [String] {
      let span = try span(2, allocated: 2)
      shelf.put(span)
      #expect(reports(shelf.checkInvariants).isEmpty)
      harm(span)
      defer { _ = shelf.popPartial(of: span.generation) ?? shelf.popPartial(of: 2) }
      defer { span.touch(in: 2) }
      return reports(shelf.checkInvariants)
    }
    #expect(try broken { $0.generation = 3 }.contains { $0.contains("parity") })
    #expect(try broken { _ = $0.takeRun() }.contains { $0.contains("wrong list") })
    let other = try fixture.shelf(size: 2048)
    let strange = try broken { unsafe $0.record.pointee.shelf = other.address }
    #expect(strange.contains { $0.contains("another's shelf") })
  }
}
