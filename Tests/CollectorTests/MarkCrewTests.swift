// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Workers: with any number of them, the same objects are marked, and no drain hangs.

import CHeapShims
import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Marking crews")
struct MarkCrewTests {
  @Test("workers mark exactly what a naive traversal reaches", arguments: [1, 2, 3])
  func sameMarks(workers: Int) throws {
    var random = RandomNumbers("sameMarks with \(workers)")
    let fixture = try HeapFixture { $0.workers = workers }
    fixture.attached { program in
      // Roots while it is made, so that nothing is lost; few of them stay.
      let all = program.root(program.makeArray(count: 30_000))
      for i in 1...30_000 {
        let object = i % 10 == 0 ? program.makeArray(count: 30) : program.makeNode()
        program.store(object, into: all.reference, 8 * i)
      }
      for i in 1...30_000 {
        let object = program.load(all.reference, 8 * i)
        let fields = i % 10 == 0 ? Array(1...30).map { 8 * $0 } : [0, 8]
        for field in fields where random.below(3) == 0 {
          let other = program.load(all.reference, 8 * (1 + random.below(30_000)))
          program.store(other, into: object, field)
        }
      }
      for i in 1...40 { _ = program.root(program.load(all.reference, 8 * i)) }
      program.drop(all)
      for _ in 0..<3 {
        let expected = fixture.reachable()
        program.collecting {
          fixture.heap.finishSweeping()
          fixture.heap.beginMarking()
          fixture.heap.raiseBarrier()
          fixture.heap.scanStacksAndRoots()
          fixture.heap.terminateMarking()
          fixture.heap.lowerBarrier()
          // Unused slots of runs were black till here.
          fixture.heap.advanceGeneration()
        }
        var marked = Set<UInt>()
        var bytes = 0
        fixture.heap.forEachSpan { span in
          for slot in 0..<span.slotCount where span.isMarked(slot) {
            marked.insert(span.address(ofSlot: slot))
            bytes += Int(span.slotSize)
          }
        }
        #expect(marked.symmetricDifference(expected).isEmpty)
        #expect(fixture.counted == (bytes: bytes, objects: expected.count))
        program.collecting { fixture.heap.finishSweeping() }
      }
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("the collector's thread asks a helper for work when it has run dry")
  func hunger() throws {
    let fixture = try HeapFixture()
    let heap = fixture.heap
    // It has no helper but the test's.
    let crew = MarkCrew(size: 1, marking: heap.marking)
    fixture.attached { program in
      let list = program.makeList(1...10_000)
      let (isInside, wasAsked, isOver) = (Event(), Event(), Event())
      let helper = TestThread {
        while !crew.enter() { if isOver.hasHappened { return } }
        isInside.happen()
        // As if it had much to scan. It may be asked more than once.
        let words = unsafe heap.words
        unsafe words.pointee.isHungry.store(false, ordering: .relaxed)
        let end = heap_now() + 10_000_000_000
        while heap_now() < end, !wasAsked.hasHappened {
          if unsafe words.pointee.isHungry.load(ordering: .relaxed) { wasAsked.happen() }
        }
        crew.leave()
      }
      // The helper may miss a drain.
      let end = heap_now() + 60_000_000_000
      while !isInside.hasHappened, heap_now() < end {
        program.beginCycle()
        crew.drain()
        program.endCycle()
      }
      isOver.happen()
      helper.join()
      #expect(wasAsked.hasHappened)
      #expect(program.values(of: list).count == 10_000)
    }
  }

  @Test("hundreds of small drains end, with more workers than processors")
  func smallDrains() throws {
    let fixture = try HeapFixture { $0.workers = 4 }
    fixture.attached { program in
      let list = program.makeList(1...20)
      for _ in 0..<150 { program.cycle() }
      #expect(program.values(of: list) == Array(1...20))
    }
    #expect(fixture.objects(of: fixture.node).count == 20)
  }

  @Test("a heap with workers may end while it is being collected")
  func endDuringCycle() async {
    await #expect(processExitsWith: .success) {
      // A drain that hangs would hang the process: let it be killed instead.
      let isDone = Event()
      let guardian = TestThread { if !isDone.wait(seconds: 60) { broken("the end hangs") } }
      for _ in 0..<30 {
        let fixture = try HeapFixture { $0.workers = 3 }
        fixture.attached { program in
          _ = program.makeList(1...20_000)
          fixture.heap.requestCycle()
        }
        fixture.heap.shutDown()
      }
      isDone.happen()
      guardian.join()
    }
  }

  @Test("a heap that has ended its threads may be asked to end them again")
  func stoppingTwice() throws {
    let fixture = try HeapFixture { $0.workers = 3 }
    fixture.attached { program in
      _ = program.makeList(1...5000)
      program.heap.collectAndWait()
    }
    fixture.heap.shutDown()
    fixture.heap.shutDown()
  }
}
