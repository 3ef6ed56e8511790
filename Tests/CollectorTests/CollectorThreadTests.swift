// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The collector's thread: requests, waiting, triggers, and the end.

import CHeapShims
import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("The collector's thread")
struct CollectorThreadTests {
  @Test("a collection that is asked for has been swept when the call returns")
  func collecting() throws {
    let fixture = try HeapFixture { $0.checks = false }
    fixture.attached { program in
      for _ in 0..<1000 { _ = program.makeNode() }
      fixture.heap.collectAndWait()
      #expect(fixture.heap.pageHeap.usage.spanCount == 0)
      #expect(fixture.objects(of: fixture.node).isEmpty)
    }
    #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 1)
    #expect(fixture.heap.counters.forcedCycles.load(ordering: .relaxed) == 1)
  }

  @Test("threads that ask at once, attached or not, are all served, by no more cycles than calls")
  func manyCallers() throws {
    let fixture = try HeapFixture()
    onThreads(6) { number in
      for _ in 0..<20 {
        if number % 2 == 0 {
          fixture.heap.collectAndWait()
        } else {
          fixture.attached { program in
            _ = program.makeNode()
            program.heap.collectAndWait()
          }
        }
      }
    }
    let cycles = fixture.heap.counters.cycles.load(ordering: .relaxed)
    #expect(cycles >= 20 && cycles <= 120)
    fixture.heap.collectAndWait()
    #expect(fixture.problems.isEmpty)
  }

  @Test("crossing the trigger starts a cycle that nobody waits for")
  func trigger() throws {
    let fixture = try HeapFixture {
      $0.percent = 100
      $0.minimumHeap = 1 << 20
    }
    fixture.attached { program in
      let list = program.makeList(1...1000)
      while fixture.heap.counters.cycles.load(ordering: .relaxed) < 3 { _ = program.makeNode() }
      #expect(program.values(of: list) == Array(1...1000))
    }
    fixture.heap.collectAndWait()
    let counters = fixture.heap.counters
    #expect(counters.forcedCycles.load(ordering: .relaxed) == 1)
    #expect(fixture.objects(of: fixture.node).count == 1000)
    #expect(fixture.problems.isEmpty)
  }

  @Test("with collection switched off no amount of allocation starts a cycle")
  func off() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in for _ in 0..<100_000 { _ = program.makeNode() } }
    #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 0)
  }

  @Test("a heap whose limit is below what lives does not collect while nobody allocates")
  func noRoom() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let list = program.makeList(1...10_000)
      fixture.heap.pacer.update { $0.memoryLimit = 1 }
      // What was asked for until now.
      for _ in 0..<3 { fixture.heap.collectAndWait() }
      for _ in 0..<5 {
        fixture.heap.collectAndWait()
        #expect(unsafe !fixture.heap.words.pointee.cycleIsWanted.load(ordering: .acquiring))
      }
      #expect(program.values(of: list).count == 10_000)
    }
  }

  @Test("many requests before the thread wakes are one cycle")
  func coalescing() throws {
    let fixture = try HeapFixture()
    fixture.attached { _ in
      // Without a safepoint no cycle gets past its first handshake.
      for _ in 0..<1000 { fixture.heap.requestCycle() }
    }
    fixture.heap.collectAndWait()
    let cycles = fixture.heap.counters.cycles.load(ordering: .relaxed)
    #expect(cycles >= 1 && cycles <= 3)
  }

  @Test("who passes the trigger while a request stands gets a cycle, though nobody is woken")
  func standingRequest() throws {
    // No room: whatever is allocated is past the trigger.
    let fixture = try HeapFixture { $0.memoryLimit = 1 }
    // The test is the collector: nobody else runs what is asked for.
    fixture.heap.shutDown()
    let (isEnding, hasAllocated) = (Event(), Event())
    let (isEarlyThere, isLateThere) = (Event(), Event())
    let early = TestThread {
      fixture.attached { program in
        isEarlyThere.happen()
        // Until it is white again, and so has answered `returnSpans`.
        while unsafe !isEnding.hasHappened || program.mutator.state.pointee.allocatesBlack {
          program.poll()
        }
        _ = program.makeBytes(count: 100_000)
        hasAllocated.happen()
      }
    }
    let late = TestThread {
      fixture.attached { program in
        isLateThere.happen()
        while !isEnding.hasHappened { program.poll() }
        // The cycle ends when this thread has answered, too.
        hasAllocated.wait()
      }
    }
    isEarlyThere.wait()
    isLateThere.wait()
    fixture.attached { program in
      fixture.heap.requestCycle()
      program.beginCycle()
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
        // Nobody is to wait for the collector.
        unsafe fixture.heap.words.pointee.goal.store(.max, ordering: .relaxed)
        isEnding.happen()
        fixture.heap.advanceGeneration()
      }
    }
    early.join()
    late.join()
    #expect(unsafe fixture.heap.words.pointee.cycleIsWanted.load(ordering: .acquiring))
  }

  @Test("a heap that never collected ends at once, and one that is collecting ends too")
  func end() throws {
    for requests in 0..<20 {
      let fixture = try HeapFixture()
      for _ in 0..<requests { fixture.heap.requestCycle() }
    }
  }

  @Test("heaps beside each other collect at the same time")
  func severalHeaps() throws {
    let fixtures = try (0..<3).map { _ in try HeapFixture { $0.checks = true } }
    onThreads(3) { number in
      fixtures[number].attached { program in
        let list = program.makeList(1...200)
        for _ in 0..<10 {
          for _ in 0..<300 { _ = program.makeNode() }
          program.heap.collectAndWait()
        }
        require(program.values(of: list) == Array(1...200), "lost")
      }
    }
    for fixture in fixtures {
      #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 10)
      #expect(fixture.problems.isEmpty)
    }
  }

  @Test("a heap that ends while a thread is attached stops the program and says so")
  func attachedAtEnd() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let fixture = try HeapFixture()
      fixture.attached { _ in fixture.heap.shutDown() }
    }
    #expect(result.said("leave withMutator first"))
  }
}
