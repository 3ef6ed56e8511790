// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A span's slots and their bits: runs, handing back, sweeping, and what `checkInvariants` sees.
//
// The model is an array of Bool, one a slot. Runs are checked against it for random bitmaps, in
// classes with many slots for a word of bits, with one for some words only, and in that of slots
// that start in the midst of granules.

import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Slots of a span")
struct HeapSpanSlotsTests {
  // MARK: - Runs

  @Test(
    "runs are the maximal free stretches, in order",
    arguments: [16, 24, 32, 48, 128, 896, 1024, 1408, 8192, 27264])
  func runs(slotSize: Int) throws {
    var random = RandomNumbers("runs of \(slotSize)")
    let fixture = try SpanFixture()
    let span = try fixture.span(size: slotSize)
    for round in 0..<300 {
      // From all free over mixed to all used, in stretches as sweeping leaves them.
      var used = Array(repeating: false, count: span.slotCount)
      let density = Double(round % 11) / 10
      var slot = 0
      while slot < used.count {
        let length = Int.random(in: 1...(round % 3 == 0 ? 100 : 3), using: &random)
        let value = Double.random(in: 0..<1, using: &random) < density
        for i in slot..<min(slot + length, used.count) { used[i] = value }
        slot += length
      }
      span.setAllocated(used)
      let before = span.allocatedCount
      var expected: [SlotRange] = []
      slot = 0
      while slot < used.count {
        let end = used[slot...].firstIndex { $0 != used[slot] } ?? used.count
        if !used[slot] { expected.append(SlotRange(start: slot, end: end)) }
        slot = end
      }
      var found: [SlotRange] = []
      while let run = span.takeRun() {
        #expect(span.freeIndex == run.end)
        found.append(run)
      }
      #expect(found == expected)
      #expect(span.freeIndex == (expected.last?.end ?? 0))
      #expect(span.allocatedCount == span.slotCount)
      #expect(before + found.reduce(0) { $0 + $1.count } == span.slotCount)
      #expect(span.takeRun() == nil, "and it stays used up")
      #expect(reports(span.checkInvariants).isEmpty)
    }
  }

  @Test("looking for a run takes nothing: it is the same until somebody takes it")
  func looking() throws {
    let fixture = try SpanFixture()
    let span = try fixture.span(size: 64)
    span.setAllocated((0..<128).map { $0 < 7 || $0 == 20 })
    for _ in 0..<2 {
      #expect(span.nextRun() == SlotRange(start: 7, end: 20))
      #expect(span.freeIndex == 0 && span.allocatedCount == 8)
    }
    span.take(SlotRange(start: 7, end: 20))
    #expect(span.freeIndex == 20 && span.allocatedCount == 21)
    #expect(span.nextRun() == SlotRange(start: 21, end: 128))
    withExtendedLifetime(fixture.pages) {}
  }

  @Test("a run of at most so many slots leaves the rest for the next one")
  func limitedRuns() throws {
    var random = RandomNumbers("limitedRuns")
    let fixture = try SpanFixture()
    let span = try fixture.span(size: 48)
    for _ in 0..<200 {
      let used = (0..<span.slotCount).map { _ in Bool.random(using: &random) }
      span.setAllocated(used)
      var taken: [Int] = []
      let limit = Int.random(in: 1...4, using: &random)
      while let run = span.takeRun(atMost: limit) {
        #expect((1...limit).contains(run.count))
        taken += run.start..<run.end
        #expect(reports(span.checkInvariants).isEmpty)
      }
      #expect(taken == used.indices.filter { !used[$0] })
    }
  }

  @Test("what is given back is free, and is the beginning of the next run")
  func givingBack() throws {
    let fixture = try SpanFixture()
    let span = try fixture.span(size: 64)
    let run = try #require(span.takeRun())
    #expect(run == SlotRange(start: 0, end: 128))
    span.giveBack(SlotRange(start: 5, end: run.end))
    #expect(span.freeIndex == 5 && span.allocatedCount == 5)
    #expect((0..<128).filter { span.isAllocated($0) } == Array(0..<5))
    #expect(span.takeRun() == SlotRange(start: 5, end: 128))
  }

  @Test("a slot is allocated when its bit is set or it lies below freeIndex")
  func isAllocated() throws {
    let fixture = try SpanFixture()
    let span = try fixture.span(size: 64)
    span.setAllocated((0..<128).map { $0 == 3 || $0 == 100 })
    #expect((0..<128).filter { span.isAllocated($0) } == [3, 100])
    _ = span.takeRun()
    #expect((0..<128).filter { span.isAllocated($0) } == [0, 1, 2, 3, 100])
  }

  // MARK: - Sweeping

  @Test(
    "sweeping makes the marks the allocated bits, clears the others, and counts exactly",
    arguments: [16, 24, 48, 1152, 3072])
  func sweeping(slotSize: Int) throws {
    var random = RandomNumbers("sweeping \(slotSize)")
    let fixture = try SpanFixture()
    let span = try fixture.span(size: slotSize)
    var used = Array(repeating: false, count: span.slotCount)
    for round in 0..<200 {
      // Allocate a few runs, then mark some of what is allocated.
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        guard let run = span.takeRun(atMost: 20) else { break }
        for slot in run.start..<run.end { used[slot] = true }
      }
      let live = used.map { $0 && Int.random(in: 0..<3, using: &random) > 0 }
      for slot in live.indices where live[slot] { span.setMark(slot) }
      let generation = Generation(cycle: UInt32(10 + round), full: UInt32(3 + round))
      let (before, after) = (used.filter { $0 }.count, live.filter { $0 }.count)
      var dead = Set<Int>()
      let result = span.sweep(to: generation) { word, bits, _ in
        dead.formUnion(span.slots(ofWord: word, bits))
        return 0
      }
      #expect(result.live == after && result.freed == before - after)
      #expect(dead == Set(used.indices.filter { used[$0] && !live[$0] }))
      #expect(span.generation == generation && !span.isTouched)
      #expect(span.allocatedCount == after && span.freeIndex == 0)
      #expect(used.indices.filter { span.isAllocated($0) } == live.indices.filter { live[$0] })
      // What lives is old from now on.
      #expect(live.indices.allSatisfy { span.isMarked($0) == live[$0] })
      #expect(reports(span.checkInvariants).isEmpty)
      span.clearMarks()
      used = live
    }
  }

  @Test("a slot that a sweep holds is neither allocated nor handed out until a sweep lets it go")
  func holding() throws {
    let fixture = try SpanFixture()
    let span = try fixture.span(size: 4096)  // One page, 2 slots.
    // Each slot is the first of a word: 4096 bytes are four words of bits.
    func takeSlot() -> Int? {
      guard let slot = span.freeSlot(from: 0) else { return nil }
      span.takeSlot(slot)
      return slot.start
    }
    #expect(takeSlot() == 0 && takeSlot() == 1 && takeSlot() == nil)
    span.setMark(1)
    _ = span.sweep(to: 3) { word, dead, held in
      #expect(word == 0 && dead == 1 && held == 0)
      return dead
    }
    #expect(!span.isAllocated(0) && span.allocatedCount == 1 && span.heldCount == 1)
    #expect(takeSlot() == nil, "what is held is not handed out")
    #expect(reports(span.checkInvariants).isEmpty)
    // Held on, beside one that dies.
    span.clearMarks()
    _ = span.sweep(to: 4) { word, dead, held in
      #expect(word == 0 ? dead == 0 && held == 1 : word == 4 && dead == 1 && held == 0)
      return held
    }
    #expect(span.usedCount == 1 && takeSlot() == 1)
    span.clearMarks()
    span.setMark(1)
    _ = span.sweep(to: 5) { word, dead, held in
      #expect(word == 0 && dead == 0 && held == 1)
      return 0
    }
    #expect(span.heldCount == 0 && takeSlot() == 0)
    #expect(reports(span.checkInvariants).isEmpty)
  }

  @Test("a span that lost nothing keeps its memory's state; one that lost a slot needs zeroing")
  func needsZero() throws {
    let fixture = try SpanFixture()
    let span = try fixture.span(size: 4096)
    #expect(span.takeRun() == SlotRange(start: 0, end: 2))
    span.setMark(0)
    span.setMark(1)
    _ = span.sweep(to: 3)
    #expect(!span.needsZero)
    span.clearMarks()
    span.setMark(1)
    _ = span.sweep(to: 4)
    #expect(span.needsZero)
  }

  @Test("more marks than allocated slots stop the program: somebody marked a free slot")
  func tooManyMarks() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let fixture = try SpanFixture()
      let span = try fixture.span(size: 64)
      _ = span.takeRun(atMost: 1)
      span.setMark(0)
      span.setMark(1)
      _ = span.sweep(to: 3)
      withExtendedLifetime(fixture.pages) {}
    }
    #expect(result.said("2 slots of the span at 0x"))
    #expect(result.said("are marked, but only 1 are allocated"))
    #expect(result.said("A reference was probably kept where the collector does not look"))
    #expect(result.said("run with HEAP_CHECK=1"), "checked mode is off, and would find the cause")
  }

  @Test("in checked mode a marked free slot is found even when the count would hide it")
  func markedFreeSlot() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let fixture = try SpanFixture()
      let span = try fixture.span(size: 64)
      _ = span.takeRun(atMost: 4)
      span.setMark(9)
      _ = span.sweep(to: 3) { _, _, _ in 0 }
      withExtendedLifetime(fixture.pages) {}
    }
    #expect(result.said("Slot 9 of the span at 0x"))
    #expect(result.said("is marked, but free. A reference was probably kept"))
    #expect(!result.said("HEAP_CHECK"), "checked mode is on already")
  }

  // MARK: - Invariants

  @Test("checkInvariants sees a wrong count, a stray bit, a wrong freeIndex and a lost page")
  func invariants() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 1408)  // Two pages, 11 slots.
    func broken(_ harm: (HeapSpan) -> Void) throws -> [String] {
      let span = try fixture.span(on: shelf)
      _ = span.takeRun(atMost: 3)
      #expect(reports(span.checkInvariants).isEmpty)
      harm(span)
      return reports(span.checkInvariants)
    }
    #expect(try broken { $0.allocatedCount += 1 }.first?.contains("the span counts 4") == true)
    #expect(try broken { $0.setMark(11) }.first?.contains("where no slot starts") == true)
    let astray = try broken { _ = MarkBit(of: $0.base + 16).testAndSet() }
    #expect(astray.first?.contains("bit 1 is set, where no slot starts") == true)
    let held = try broken { unsafe $0.held[0].store(1, ordering: .relaxed) }
    #expect(held.contains { $0.contains("a slot is allocated and held") })
    #expect(held.contains { $0.contains("1 slots are held, the span counts 0") })
    #expect(try broken { $0.freeIndex = 12 }.first?.contains("freeIndex") == true)
    #expect(
      try broken { unsafe $0.record.pointee.isLive = false }.first?.contains("is dead") == true)
    let lost = try broken { span in
      let page = span.firstPage + 1
      unsafe ArenaTables.of(page.address).entry(page.inArena).pointee.store(0, ordering: .relaxed)
    }
    #expect(lost.first?.contains("the entry of page 1") == true)
    let changed = try broken { span in
      let page = span.firstPage + 1
      unsafe ArenaTables.of(page.address).layout(page.inArena).pointee
        .store(1, ordering: .relaxed)
    }
    #expect(changed.first?.contains("page 1 has another layout") == true)
  }
}
