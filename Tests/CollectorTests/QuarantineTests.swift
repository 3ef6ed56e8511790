// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked mode: how long freed slots are held out of use, and what that costs.

import Collector
import Heap
import Testing

@Suite("Quarantine")
struct QuarantineTests {
  private static let limit = Quarantine.smallestLimit

  /// Makes garbage of many pages, in objects that are held when they are freed.
  private static func makeGarbage(_ program: Program, bytes: Int) {
    let size = 512 << 10
    for _ in 0..<(bytes / size) { _ = program.makeBytes(count: size - 64) }
  }

  @Test("a freed slot is no object and nobody gets it until half of the limit has been freed")
  func held() throws {
    let fixture = try HeapFixture { $0.checks = true }
    fixture.attached { program in
      let first = program.makeNode(value: 1)
      let place = HeapSpan.slot(of: first, owner: fixture.heap.pageHeap.owner)
      program.cycle()
      #expect(fixture.place(of: first) == nil)
      #expect(program.load(first, HeapFixture.value) == 0xdada_dada_dada_dada)
      #expect(place?.span.heldCount == 1 && fixture.shelf(fixture.node).spanCount == 1)
      // More nodes than the span has slots for: each other slot of it is used.
      for _ in 0..<400 { #expect(program.makeNode() != first) }
      program.cycle()
      #expect(fixture.problems.isEmpty)
      #expect(fixture.objects(of: fixture.node).isEmpty)
      // What this cycle frees is held, and what was held before is free after the next one.
      Self.makeGarbage(program, bytes: Self.limit / 4 * 3)
      program.cycle()
      #expect(place?.span.heldCount == place?.span.slotCount)
      program.cycle()
      #expect(fixture.shelf(fixture.node).spanCount == 0)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("a span with nothing but held slots is full, and is a large object's after a cycle, too")
  func lists() throws {
    let fixture = try HeapFixture { $0.checks = true }
    fixture.attached { program in
      _ = program.makeBytes(count: 100_000)
      for _ in 0..<170 { _ = program.makeNode() }
      program.cycle()
      let generation = program.heap.generation
      #expect(fixture.shelf(fixture.node).count(of: generation) == (partial: 0, full: 1))
      #expect(fixture.shelf(fixture.bytes, in: .large).count(of: generation) == (0, 1))
      #expect(fixture.heap.usageBySizeClass.allSatisfy { $0.objects == 0 && $0.bytes == 0 })
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("what is held stays within the limit, however much is freed")
  func bounded() throws {
    let fixture = try HeapFixture { $0.checks = true }
    fixture.attached { program in
      var most = 0
      for _ in 0..<8 {
        Self.makeGarbage(program, bytes: Self.limit * 3 / 4)
        program.cycle()
        most = max(most, fixture.heap.pageHeap.usage.spanBytes)
      }
      #expect(most > Self.limit / 2 && most <= Self.limit * 5 / 4)
      Self.makeGarbage(program, bytes: Self.limit * 2)
      program.cycle()
      #expect(fixture.heap.pageHeap.usage.spanBytes <= Self.limit * 5 / 4)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("minor cycles hold no more than the limit; when much is held, the next cycle is a full one")
  func minorCycles() throws {
    let fixture = try HeapFixture {
      $0.checks = true
      $0.stress.minorCycles = .max
    }
    let counters = fixture.heap.counters
    fixture.attached { program in
      var most = 0
      for _ in 0..<24 {
        Self.makeGarbage(program, bytes: Self.limit / 8)
        fixture.heap.requests.collectAndWait(ofAnyKind: true)
        most = max(most, fixture.heap.pageHeap.usage.spanBytes)
      }
      #expect(most > Self.limit / 2 && most <= Self.limit)
      let (all, _, minor) = counters.cycleCounts
      // Three quarters of the limit are passed after 7 minor cycles.
      #expect((3...4).contains(all - minor), "\(minor) of \(all) were minor ones")
      // However much dies between two cycles.
      Self.makeGarbage(program, bytes: Self.limit * 3 / 2)
      program.cycle(.minor)
      #expect(fixture.heap.pageHeap.usage.spanBytes <= Self.limit * 5 / 4)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("what is held goes on being held through minor cycles, in spans that they sweep or not")
  func heldOn() throws {
    let fixture = try HeapFixture { $0.checks = true }
    fixture.attached { program in
      // Of the leaves' span no more is taken.
      let (node, leaf) = (program.makeNode(), program.makeLeaf())
      let owner = fixture.heap.pageHeap.owner
      let places = [node, leaf].map { HeapSpan.slot(of: $0, owner: owner) }
      for _ in 0..<5 {
        program.cycle(.minor)
        for _ in 0..<20 { _ = program.makeNode() }
        #expect(fixture.place(of: node) == nil && fixture.place(of: leaf) == nil)
      }
      #expect(places.map { $0?.span.heldCount } == [81, 1])
      #expect(fixture.problems.isEmpty)
      Self.makeGarbage(program, bytes: Self.limit / 4 * 3)
      program.cycle(.minor)
      #expect(places.map { $0?.span.heldCount } == [101, 1])
      program.cycle(.full)
      #expect(fixture.shelf(fixture.node).spanCount == 0)
      #expect(fixture.shelf(fixture.leaf).spanCount == 0)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("what is held leaves half of what the memory limit has over live objects free")
  func memoryLimit() throws {
    let live = 4 << 20
    let softLimit = 20 << 20
    let fixture = try HeapFixture {
      $0.checks = true
      $0.memoryLimit = softLimit
    }
    try fixture.attached { program in
      let bytes = try #require(program.tryArray(fixture.bytes, count: live))
      let root = fixture.heap.roots.make(bytes)
      var most = 0
      let allowed = (softLimit - live) / 2
      for _ in 0..<6 {
        // Too little for a collection that nobody asks for: two in a row would leave nothing held.
        Self.makeGarbage(program, bytes: allowed / 2)
        program.heap.collectAndWait()
        most = max(most, fixture.heap.pageHeap.usage.spanBytes)
      }
      #expect(most > live + allowed / 4 && most <= live + allowed + (1 << 20))
      // No limit, and then one that live objects do not keep.
      fixture.heap.pacer.update { $0.memoryLimit = nil }
      Self.makeGarbage(program, bytes: softLimit)
      program.heap.collectAndWait()
      #expect(fixture.heap.pageHeap.usage.spanBytes > live + allowed + (1 << 20))
      fixture.heap.pacer.update { $0.memoryLimit = live / 2 }
      program.heap.collectAndWait()
      program.heap.collectAndWait()
      #expect(fixture.heap.pageHeap.usage.spanBytes < live + (1 << 20))
      // So that nothing is being collected when the invariants are looked at.
      fixture.heap.pacer.update { $0.memoryLimit = nil }
      program.heap.collectAndWait()
      fixture.heap.roots.drop(root)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("an object that would take much of the limit is not held")
  func large() throws {
    let fixture = try HeapFixture { $0.checks = true }
    fixture.attached { program in
      _ = program.makeBytes(count: Quarantine.largestSlot + 1)
      program.cycle()
      #expect(fixture.heap.pageHeap.usage.spanCount == 0)
    }
  }

  @Test("a request is not refused for the sake of what is held")
  func hardLimit() throws {
    let fixture = try HeapFixture {
      $0.checks = true
      $0.hardLimit = 4 << 20
    }
    fixture.attached { program in
      var refused = 0
      for _ in 0..<40 where program.tryArray(fixture.bytes, count: 500_000) == nil { refused += 1 }
      for _ in 0..<2000 where program.tryArray(fixture.bytes, count: 8000) == nil { refused += 1 }
      #expect(refused == 0)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("a collection for all leaves nothing held")
  func all() throws {
    let fixture = try HeapFixture { $0.checks = true }
    fixture.attached { program in
      for _ in 0..<1000 { _ = program.makeNode() }
      program.heap.collectAndWait()
      #expect(fixture.heap.pageHeap.usage.spanCount > 0)
      program.heap.collectAndWaitForAll()
      #expect(fixture.heap.pageHeap.usage.spanCount == 0)
    }
    #expect(fixture.problems.isEmpty)
  }
}
