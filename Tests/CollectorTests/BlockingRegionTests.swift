// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Blocking regions: the collector answers for a thread that waits, in every heap it is in.

import CHeapShims
import Collector
import Glibc
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Blocking regions")
struct BlockingRegionTests {
  @Test("a thread in a blocking region does not hold up a collection, and loses nothing")
  func answeredFor() throws {
    let fixture = try HeapFixture { $0.checks = true }
    let (isBlocked, mayGo) = (Event(), Event())
    let thread = TestThread {
      fixture.attachedWithStack { program in
        let node = program.makeNode(value: 31)
        CollectedHeap.blocking {
          isBlocked.happen()
          require(mayGo.wait(), "nobody woke the thread")
        }
        require(program.load(node, HeapFixture.value) == 31, "a local was lost")
      }
    }
    #expect(isBlocked.wait())
    for _ in 0..<5 { fixture.heap.collectAndWait() }
    #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 5)
    #expect(fixture.objects(of: fixture.node).count == 1)
    mayGo.happen()
    thread.join()
  }

  @Test("a thread blocks in all heaps that it is attached to")
  func nestedHeaps() throws {
    let (outer, inner) = try (HeapFixture(), HeapFixture())
    outer.attached { program in
      let list = program.makeList(1...10)
      inner.attached { _ in
        CollectedHeap.blocking {
          TestThread {
            outer.heap.collectAndWait()
            inner.heap.collectAndWait()
          }.join()
        }
      }
      #expect(program.values(of: list) == Array(1...10))
    }
    #expect(outer.heap.counters.cycles.load(ordering: .relaxed) == 1)
    #expect(inner.heap.counters.cycles.load(ordering: .relaxed) == 1)
  }

  @Test("collecting one heap from inside another blocks in both")
  func collectInner() throws {
    let (outer, inner) = try (HeapFixture(), HeapFixture())
    outer.attached { program in
      inner.attached { other in
        _ = other.makeNode()
        inner.heap.collectAndWait()
        outer.heap.collectAndWait()
      }
      _ = program.makeNode()
    }
    #expect(inner.objects(of: inner.node).isEmpty)
  }

  @Test(
    "a region inside a region changes nothing, and entering the heap from one ends it for a while")
  func reentry() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let state = unsafe program.mutator.state
      func isBlocked() -> Bool {
        unsafe state.pointee.status.load(ordering: .relaxed) == MutatorStatus.blocked
      }
      CollectedHeap.blocking {
        #expect(isBlocked())
        CollectedHeap.blocking { #expect(isBlocked()) }
        #expect(isBlocked(), "the inner end is not the outer's")
        let stackPointer = unsafe state.pointee.stackPointer
        CollectedHeap.unblocked(program.mutator) {
          #expect(!isBlocked())
          _ = program.root(program.makeNode(value: 4))
        }
        #expect(isBlocked())
        let stored = unsafe state.pointee.stackPointer
        #expect(stored == stackPointer)
      }
      #expect(!isBlocked())
      CollectedHeap.unblocked(program.mutator) { #expect(!isBlocked()) }
    }
    #expect(fixture.heap.attachedCount == 0)
  }

  @Test("entering and leaving a thousand times during collections keeps every object")
  func storm() throws {
    let fixture = try HeapFixture { $0.checks = true }
    let isDone = Event()
    let collector = TestThread { while !isDone.hasHappened { fixture.heap.collectAndWait() } }
    onThreads(2) { _ in
      fixture.attached { program in
        let list = program.makeList(1...20)
        for _ in 0..<1000 {
          CollectedHeap.blocking {}
          _ = program.makeNode()
        }
        require(program.values(of: list) == Array(1...20), "lost")
        program.drop(list)
      }
    }
    isDone.happen()
    collector.join()
    #expect(fixture.problems.isEmpty)
  }

  @Test("a thread that is attached to nothing may block")
  func unattached() {
    var hasRun = false
    CollectedHeap.blocking { hasRun = true }
    #expect(hasRun)
  }

  @Test("the registers of the caller lie at or above the stack pointer that is given")
  func spilling() {
    var below = false
    CollectedHeap.spilling { stackPointer in
      var local: UInt = 0
      unsafe withUnsafePointer(to: &local) {
        below = UInt(bitPattern: $0) < stackPointer
      }
    }
    #expect(below, "the body's frame is below")
  }

  @Test("a thread that leaves does not wait for the service of all others, and its wait is a pause")
  func leavingDuringService() throws {
    // Each answer takes four milliseconds at most, two on average: eighty take 160.
    let fixture = try HeapFixture { $0.stress.handshakeDelay = 4000 }
    let (areIn, mayLeave) = (Rendezvous(81), Event())
    // Attached first, and so served first.
    fixture.attached { program in
      let others = (0..<80).map { _ in
        TestThread {
          fixture.attached { _ in
            CollectedHeap.blocking {
              areIn.meet()
              mayLeave.wait(seconds: 60)
            }
          }
        }
      }
      CollectedHeap.blocking { areIn.meet() }
      // It may have to wait for a processor. Of many times that it leaves, once it does not.
      var least = UInt64.max
      for _ in 0..<20 where least >= 80_000_000 {
        // Long enough for one answer, and not for eighty.
        least = min(least, leastWait(of: program, leaving: 10_000_000))
      }
      #expect(least < 80_000_000, "\(least) ns")
      // Now it comes before the collector.
      let pauses = { fixture.heap.counters.pauses.count }
      let before = pauses()
      for _ in 0..<20 where pauses() == before { _ = leastWait(of: program, leaving: 0) }
      #expect(pauses() > before)
      mayLeave.happen()
      for thread in others { thread.join() }
    }
  }

  /// Nanoseconds that a thread waits when it leaves a blocking region; the least in a collection.
  ///
  /// - Parameter delay: nanoseconds between the post of a request and the end of the region.
  private func leastWait(of program: Program, leaving delay: UInt64) -> UInt64 {
    let isDone = Event()
    let heap = program.heap
    let collector = TestThread {
      heap.collectAndWait()
      isDone.happen()
    }
    var least = UInt64.max
    while !isDone.hasHappened {
      var start: UInt64 = 0
      CollectedHeap.blocking {
        let status = { unsafe program.mutator.state.pointee.status.load(ordering: .relaxed) }
        let before = status()
        while status() == before { if isDone.hasHappened { return } }
        // A request was posted.
        let end = heap_now() + delay
        while heap_now() < end {}
        start = heap_now()
      }
      if start > 0 { least = min(least, heap_now() - start) }
    }
    collector.join()
    return least
  }
}
