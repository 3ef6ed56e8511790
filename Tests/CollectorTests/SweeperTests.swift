// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Sweeping: where a span goes, what is counted, and the pattern of checked mode.

import CHeapShims
import Collector
import Glibc
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Sweeping")
struct SweeperTests {
  @Test("an empty span goes to the page heap, and its page serves another class")
  func emptySpan() throws {
    let fixture = try HeapFixture { $0.checks = false }
    fixture.attached { program in
      let node = program.makeNode()
      program.initialize(node, HeapFixture.value, .max)
      program.cycle()
      #expect(fixture.heap.pageHeap.usage.spanCount == 0)
      #expect(fixture.shelf(fixture.node).spanCount == 0)
      let bytes = program.makeArray(count: 100)
      #expect(PageIndex(holding: bytes) == PageIndex(holding: node), "another class has the page")
      #expect((1...100).allSatisfy { program.load(bytes, 8 * $0) == 0 }, "and finds it zeroed")
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("a span with free slots goes to its shelf's partial list, a full one to the full list")
  func lists() throws {
    let fixture = try HeapFixture { $0.checks = false }
    fixture.attached { program in
      for i in 0..<340 {
        let node = program.makeNode()
        if i < 170 || i == 200 { _ = program.root(node) }
      }
      program.cycle()
      let shelf = fixture.shelf(fixture.node)
      #expect(shelf.count(of: program.heap.generation) == (partial: 1, full: 1))
      #expect(shelf.objectCount == 171 && shelf.spanCount == 2)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("what was freed is counted to the byte")
  func counting() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      for i in 0..<1000 {
        let node = program.makeNode()
        if i % 4 == 0 { _ = program.root(node) }
      }
      _ = program.makeBytes(count: 100_000)
      program.cycle()
      let counters = fixture.heap.counters
      #expect(fixture.heap.freed.slots == 751)
      #expect(fixture.heap.freed.bytes == 750 * 48 + 13 * 8192)
      #expect(counters.liveObjects.load(ordering: .relaxed) == 250)
      #expect(counters.liveBytes.load(ordering: .relaxed) == 250 * 48)
      program.cycle()
      #expect(fixture.heap.freed.slots == 751, "nothing dies twice")
    }
  }

  @Test("in checked mode dead slots are filled, and live ones are not touched")
  func pattern() throws {
    let fixture = try HeapFixture { $0.checks = true }
    fixture.attached { program in
      var nodes: [UInt] = []
      for i in 0..<170 {
        let node = program.makeNode(value: UInt(i))
        nodes.append(node)
        if i % 5 == 0 { _ = program.root(node) }
      }
      let large = program.root(program.makeBytes(count: 50_000))
      let address = large.reference
      program.drop(large)
      program.cycle()
      let pattern = UInt(Sweeper.freedPattern) &* 0x0101_0101_0101_0101
      for (i, node) in nodes.enumerated() {
        if i % 5 == 0 {
          #expect(program.load(node, HeapFixture.value) == UInt(i))
          #expect(program.load(node, HeapFixture.left) == 0)
        } else {
          #expect(stride(from: 0, to: 48, by: 8).allSatisfy { program.load(node, $0) == pattern })
        }
      }
      #expect(program.load(address, 49_000) == pattern)
      // What is allocated next is zero again.
      for _ in 0..<100 {
        let node = program.take(fixture.node, in: Program.nodeClass) ?? 0
        #expect(stride(from: 0, to: 48, by: 8).allSatisfy { program.load(node, $0) == 0 })
      }
    }
  }

  @Test("before all threads have handed their spans back, nobody sweeps")
  func notYet() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      for _ in 0..<200 { _ = program.makeNode() }
      program.cycle()
      // As between posting the last handshake and its last answer.
      let generation = program.heap.generation
      unsafe fixture.heap.words.pointee.sweepableGeneration.store(
        generation.previous.bits, ordering: .relaxed)
      let shelf = fixture.shelf(fixture.leaf)
      guard
        let span = fixture.heap.pageHeap.makeSpan(
          for: shelf, pageCount: 1, generation: generation.previous)
      else { return }
      _ = span.takeRun(atMost: 3)
      shelf.put(span)
      #expect(fixture.heap.sweeper.sweepForSlots(shelf, program.mutator) == nil)
      fixture.heap.finishSweeping()
      #expect(shelf.count(of: generation.previous).partial == 1)
      unsafe fixture.heap.words.pointee.sweepableGeneration.store(
        generation.bits, ordering: .relaxed)
      fixture.heap.finishSweeping()
      #expect(shelf.count(of: generation.previous).partial == 0)
      #expect(unsafe fixture.heap.words.pointee.activeSweepers.load(ordering: .relaxed) == 0)
    }
  }

  @Test(
    "threads that sweep for slots while the collector sweeps hand no slot out twice",
    arguments: [false, true])
  func contention(isChecked: Bool) throws {
    let fixture = try HeapFixture { $0.checks = isChecked }
    let isDone = Event()
    let collector = TestThread { while !isDone.hasHappened { fixture.heap.collectAndWait() } }
    onThreads(2) { number in
      fixture.attached { program in
        // A ring of live nodes, the rest garbage: every span has holes.
        var ring = (0..<64).map { _ in program.root(0) }
        for i in 0..<30_000 {
          let value = UInt(number) << 32 | UInt(i)
          let node = program.makeNode(value: value)
          require(program.load(node, HeapFixture.left) == 0, "a new node is not zero")
          program.initialize(node, HeapFixture.left, node)
          let slot = ring[i % 64]
          if slot.reference != 0 {
            let old = program.load(slot.reference, HeapFixture.value)
            require(old == value - 64, "a live node was overwritten")
          }
          program.set(slot, node)
        }
        for slot in ring { program.drop(slot) }
        ring = []
      }
    }
    isDone.happen()
    collector.join()
    fixture.heap.collectAndWaitForAll()
    #expect(fixture.problems.isEmpty)
    #expect(fixture.heap.pageHeap.usage.spanCount == 0)
  }

  @Test("when everything is swept, a thread that wants slots touches no shared counter")
  func closed() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      for _ in 0..<200 { _ = program.makeNode() }
      program.cycle()
      let words = unsafe fixture.heap.words
      #expect(unsafe words.pointee.sweepableGeneration.load(ordering: .relaxed) == 0)
      // Somebody else's count would be waited for: with nothing unswept there is none to wait for.
      unsafe words.pointee.activeSweepers.store(7, ordering: .relaxed)
      #expect(
        fixture.heap.sweeper.sweepForSlots(fixture.shelf(fixture.node), program.mutator) == nil)
      #expect(unsafe words.pointee.activeSweepers.load(ordering: .relaxed) == 7)
      program.collecting { fixture.heap.finishSweeping() }
      unsafe words.pointee.activeSweepers.store(0, ordering: .relaxed)
    }
  }

  @Test("the collector waits for a thread in the midst of a span, and closes sweeping before")
  func waiting() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      program.beginCycle()
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
        fixture.heap.advanceGeneration()
        let words = unsafe fixture.heap.words
        unsafe words.pointee.activeSweepers.add(1, ordering: .sequentiallyConsistent)
        let hasFinished = Event()
        let collector = TestThread {
          fixture.heap.finishSweeping()
          hasFinished.happen()
        }
        // The thread may have to wait for a processor before it begins.
        let deadline = heap_now() + 20_000_000_000
        while unsafe words.pointee.sweepableGeneration.load(ordering: .relaxed) != 0,
          heap_now() < deadline
        {
          sched_yield()
        }
        #expect(unsafe words.pointee.sweepableGeneration.load(ordering: .relaxed) == 0)
        #expect(!hasFinished.wait(seconds: 0.05))
        unsafe words.pointee.activeSweepers.subtract(1, ordering: .releasing)
        #expect(hasFinished.wait())
        collector.join()
      }
    }
  }

  @Test("a thread that finds an empty span of its kind keeps it")
  func keeping() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      for _ in 0..<5 { _ = program.makeNode() }
      program.beginCycle()
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
        fixture.heap.advanceGeneration()
      }
      let shelf = fixture.shelf(fixture.node)
      #expect(shelf.count(of: fixture.heap.generation.previous).partial == 1)
      let kept = fixture.heap.sweeper.sweepForSlots(shelf, program.mutator)
      #expect(kept?.allocatedCount == 0 && shelf.spanCount == 1)
      if let kept { shelf.put(kept) }
      program.collecting { fixture.heap.finishSweeping() }
    }
  }
}
