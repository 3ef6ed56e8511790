// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Refilling: the escalation from a run to the system, one step at a time, and colours.

import Collector
import Heap
import Synchronization
import Testing

@Suite("Refilling")
struct RefillTests {
  let fixture: HeapFixture
  let shelf: SpanShelf

  init() throws {
    // Unchecked: runs have as many slots as there are side by side, and freed ones are not held.
    fixture = try HeapFixture { $0.checks = false }
    shelf = fixture.shelf(fixture.node)
  }

  /// Slots of a node span: 48 bytes each in 8 KiB.
  private static let slots = 170

  @Test("a span is used up slot by slot in order, then comes a fresh one")
  func freshSpans() {
    fixture.attached { program in
      let nodes = (0..<(2 * Self.slots)).map { _ in program.makeNode() }
      #expect(Set(nodes).count == nodes.count)
      for half in [nodes[..<Self.slots], nodes[Self.slots...]] {
        #expect(zip(half, half.dropFirst()).allSatisfy { $1 - $0 == 48 })
      }
      #expect(shelf.spanCount == 2)
      #expect(
        shelf.count(of: .first) == (partial: 0, full: 1), "the first is full and on its shelf")
      _ = program.makeNode()
      #expect(shelf.spanCount == 3)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("a run is as long as all before it together: no more is taken and unused than used")
  func growingRuns() {
    fixture.attached { program in
      for _ in 0..<3 {
        let entry = unsafe program.entry(fixture.node, in: Program.nodeClass)
        var tooLong = 0
        for used in 0..<1000 {
          _ = program.makeNode()
          let unused = unsafe entry.pointee.unusedSlots.count
          if unused >= max(used, 512 / 48) { tooLong += 1 }
        }
        #expect(tooLong == 0)
        // The first run after the spans were handed back is a short one again.
        program.cycle()
      }
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("after a sweep, allocation fills the holes of a span before it takes another")
  func holes() {
    fixture.attached { program in
      var kept: [UInt] = []
      for i in 0..<Self.slots {
        let node = program.makeNode(value: 77)
        program.initialize(node, HeapFixture.right, node)
        if i % 3 == 0 { kept.append(program.root(node).reference) }
      }
      program.cycle()
      #expect(shelf.count(of: program.heap.generation) == (partial: 1, full: 0))
      let holes = Self.slots - kept.count
      let new = (0..<holes).map { _ in program.take(fixture.node, in: Program.nodeClass) ?? 0 }
      #expect(shelf.spanCount == 1 && Set(new).isDisjoint(with: kept))
      #expect(new == new.sorted(), "ascending: the nth run is behind the one before")
      for node in new {
        for offset in stride(from: 0, to: 48, by: 8) { #expect(program.load(node, offset) == 0) }
      }
      #expect(kept.allSatisfy { program.load($0, HeapFixture.value) == 77 })
      _ = program.makeNode()
      #expect(shelf.spanCount == 2)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("an unswept span is swept by the thread that needs its slots: partial first, then full")
  func lazySweeping() {
    fixture.attached { program in
      // Three full spans with some dead nodes each, and one partial.
      for i in 0..<(3 * Self.slots + 10) {
        let node = program.makeNode()
        if i % 2 == 0 { _ = program.root(node) }
      }
      program.beginCycle()
      program.collecting {
        program.heap.terminateMarking()
        program.heap.lowerBarrier()
        program.heap.advanceGeneration()
      }
      let generation = program.heap.generation
      #expect(shelf.count(of: generation.previous) == (partial: 1, full: 3), "nothing is swept yet")
      _ = program.makeNode()
      #expect(shelf.count(of: generation.previous) == (partial: 0, full: 3))
      for _ in 0..<(Self.slots - 5) { _ = program.makeNode() }
      #expect(shelf.count(of: generation.previous) == (partial: 0, full: 2))
      #expect(shelf.spanCount == 4, "no fresh span while there are holes")
      program.collecting { program.heap.finishSweeping() }
      #expect(shelf.count(of: generation.previous) == (partial: 0, full: 0))
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("full spans without a hole are swept up to a budget, then a fresh span is taken")
  func budget() {
    fixture.attached { program in
      for _ in 0..<(20 * Self.slots) { _ = program.root(program.makeNode()) }
      program.beginCycle()
      program.collecting {
        program.heap.terminateMarking()
        program.heap.lowerBarrier()
        program.heap.advanceGeneration()
      }
      let generation = program.heap.generation
      #expect(shelf.count(of: generation.previous).full == 20)
      _ = program.makeNode()
      #expect(shelf.count(of: generation.previous).full == 12)
      #expect(shelf.count(of: generation).full == 8)
      #expect(shelf.spanCount == 21)
      program.collecting { program.heap.finishSweeping() }
    }
  }

  @Test("at the limit a collection makes room; without garbage there is nil, and no harm")
  func limit() throws {
    let fixture = try HeapFixture { $0.hardLimit = 16 * Geometry.pageSize }
    fixture.attached { program in
      var kept: [RootSlot] = []
      for value in 0..<(10_000 as UInt) {
        let node = program.makeNode(value: value)
        if value % 10 == 0 && kept.count < 500 { kept.append(program.root(node)) }
      }
      #expect(fixture.heap.counters.forcedCycles.load(ordering: .relaxed) > 0)
      #expect(fixture.heap.pageHeap.usage.spanBytes <= 16 * Geometry.pageSize)
      var count = 0
      while let node = program.tryNode() {
        kept.append(program.root(node))
        count += 1
        if count > 100_000 { break }
      }
      #expect(kept.count == 16 * Self.slots, "every slot under the limit is in use")
      #expect(program.tryNode() == nil && program.tryNode() == nil)
      for (i, slot) in kept.prefix(500).enumerated() {
        #expect(program.load(slot.reference, HeapFixture.value) == UInt(10 * i))
      }
      program.drop(kept[0])
      #expect(program.tryNode() != nil)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("what is allocated before the own scan is white, after it black, after the cycle white")
  func colours() {
    fixture.attached { program in
      let before = program.makeNode()
      program.collecting {
        program.heap.beginMarking()
        program.heap.raiseBarrier()
      }
      let white = program.makeNode()
      #expect(!fixture.isMarked(before) && !fixture.isMarked(white))
      program.collecting { program.heap.scanStacksAndRoots() }
      let black = (0..<(2 * Self.slots)).map { _ in program.makeNode() }
      #expect(black.allSatisfy { fixture.isMarked($0) })
      #expect(!fixture.isMarked(before) && !fixture.isMarked(white))
      program.endCycle()
      #expect(fixture.objects(of: fixture.node) == Set(black), "not one unused slot lives on")
      let after = program.makeNode()
      #expect(!fixture.isMarked(after))
      program.cycle()
      #expect(fixture.objects(of: fixture.node).isEmpty)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("a thread hands back what it has not used, and the figures are of what it has")
  func handingBack() {
    fixture.attached { program in
      let node = program.root(program.makeNode())
      #expect(fixture.heap.taken.slots == 1, "not the whole run")
      program.cycle()
      #expect(fixture.heap.taken.slots == 1 && fixture.heap.taken.bytes == 48)
      #expect(fixture.counted == (bytes: 48, objects: 1))
      #expect(shelf.objectCount == 1)
      #expect(fixture.objects(of: fixture.node) == [node.reference])
    }
    #expect(fixture.heap.taken.slots == 1)
  }

  @Test("stress makes every nth allocation of a thread a complete collection, exactly")
  func stress() throws {
    let fixture = try HeapFixture {
      $0.stress.collectEvery = 10
      $0.checks = true
    }
    fixture.attached { program in
      let list = program.makeList(1...300)
      #expect(program.values(of: list) == Array(1...300))
      #expect(fixture.heap.counters.forcedCycles.load(ordering: .relaxed) == 30)
      for _ in 0..<10 { _ = program.makeLeaf() }
      #expect(fixture.heap.counters.forcedCycles.load(ordering: .relaxed) == 31)
      #expect(fixture.objects(of: fixture.leaf).count == 1, "the tenth came after its collection")
      for _ in 0..<10 { _ = program.makeBytes(count: 50_000) }
      #expect(fixture.heap.counters.forcedCycles.load(ordering: .relaxed) == 32)
    }
    fixture.heap.collectAndWait()
    #expect(fixture.objects(of: fixture.node).count == 300)
  }

  @Test("an allocation that owes marks what its debt times the ratio says, and no more")
  func assist() {
    fixture.attached { program in
      _ = program.makeList(1...5000)
      _ = program.makeLeaf()
      let state = unsafe program.mutator.state
      let words = unsafe fixture.heap.words
      for (ratio, expected) in [(512, 32 << 10), (1024, 64 << 10), (1536, 96 << 10)] {
        program.beginCycle()
        unsafe words.pointee.isMarking.store(true, ordering: .relaxed)
        unsafe words.pointee.assistRatio.store(ratio, ordering: .relaxed)
        let before = fixture.counted.bytes
        unsafe state.pointee.assistDebt = 64 << 10
        program.heap.safepoints.poll(program.mutator)
        let marked = fixture.counted.bytes - before
        // Some objects at a time: up to a batch more.
        #expect(marked >= expected - 8192 && marked <= expected + 16384, "ratio \(ratio)")
        unsafe words.pointee.isMarking.store(false, ordering: .relaxed)
        program.endCycle()
      }
    }
  }
}
