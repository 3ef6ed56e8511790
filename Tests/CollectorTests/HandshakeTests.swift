// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Handshakes: threads are asked one by one, and only the one that does not answer is late.

import CHeapShims
import Collector
import Glibc
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Handshakes")
struct HandshakeTests {
  @Test("a thread that never polls delays the cycle and nobody else")
  func silentThread() throws {
    let fixture = try HeapFixture()
    let (isIn, mayAnswer) = (Event(), Event())
    let silent = TestThread {
      fixture.attached { program in
        isIn.happen()
        require(mayAnswer.wait(), "nobody woke the thread")
        program.poll()
      }
    }
    isIn.wait()
    let hasCollected = Event()
    let collector = TestThread {
      fixture.heap.collectAndWait()
      hasCollected.happen()
    }
    // Others attach, allocate, block and leave as if nothing were.
    for _ in 0..<20 {
      fixture.attached { program in
        let list = program.makeList(1...300)
        program.poll()
        CollectedHeap.blocking {}
        #expect(program.values(of: list) == Array(1...300))
        program.drop(list)
      }
    }
    #expect(!hasCollected.hasHappened)
    #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 0)
    mayAnswer.happen()
    silent.join()
    collector.join()
    #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 1)
  }

  @Test(
    "each answer of a running thread is a pause that is counted; those of a blocked one are not")
  func pauses() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      program.cycle()
      #expect(fixture.heap.counters.pauses.count == 0)
      let hasCollected = Event()
      let collector = TestThread {
        fixture.heap.collectAndWait()
        hasCollected.happen()
      }
      while !hasCollected.hasHappened { program.poll() }
      collector.join()
    }
    // sync, sync, scan, at least one flush, off, returnSpans.
    #expect(fixture.heap.counters.pauses.count >= 6)
    #expect(fixture.heap.counters.pauses.longest > 0)
  }

  @Test("a safepoint of an inner heap answers for the outer one too")
  func outerHeap() throws {
    let (outer, inner) = try (HeapFixture(), HeapFixture())
    outer.attached { _ in
      inner.attached { program in
        let hasCollected = Event()
        let collector = TestThread {
          outer.heap.collectAndWait()
          hasCollected.happen()
        }
        while !hasCollected.hasHappened { program.poll() }
        collector.join()
      }
    }
    #expect(outer.heap.counters.cycles.load(ordering: .relaxed) == 1)
  }

  @Test("threads that come and go during cycles neither hang nor lose anything", arguments: [1, 2])
  func attachStorm(workers: Int) throws {
    let fixture = try HeapFixture { $0.workers = workers }
    let isDone = Event()
    let collector = TestThread { while !isDone.hasHappened { fixture.heap.collectAndWait() } }
    onThreads(4) { number in
      var lists: [RootSlot] = []
      for round in 0..<150 {
        fixture.attached { program in
          if round % 10 == 0 { lists.append(program.makeList(1...40)) }
          for _ in 0..<20 { _ = program.makeNode() }
          for list in lists { require(program.values(of: list) == Array(1...40), "lost") }
        }
      }
      for list in lists { fixture.heap.roots.drop(list) }
    }
    isDone.happen()
    collector.join()
    fixture.heap.collectAndWait()
    #expect(fixture.heap.attachedCount == 0)
    #expect(fixture.objects(of: fixture.node).isEmpty)
    #expect(fixture.problems.isEmpty)
  }

  @Test("the same in checked mode, where the verifier parks the threads")
  func attachStormChecked() async {
    await #expect(processExitsWith: .success) {
      let fixture = try HeapFixture { $0.checks = true }
      let isDone = Event()
      let collector = TestThread { while !isDone.hasHappened { fixture.heap.collectAndWait() } }
      onThreads(4) { _ in
        for _ in 0..<800 {
          fixture.attached { program in for _ in 0..<20 { _ = program.makeNode() } }
        }
      }
      isDone.happen()
      collector.join()
      fixture.heap.collectAndWait()
      require(fixture.problems.isEmpty, "\(fixture.problems)")
    }
  }

  @Test(
    "a thread that does not answer for five seconds is reported by name",
    .enabled(if: unsafe getenv("HEAP_LONG_TESTS") != nil))
  func report() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      let fixture = try HeapFixture { $0.name = "of this test" }
      let silent = ["the silent one", ""].map { name in
        let isIn = Event()
        let thread = TestThread {
          unsafe heap_set_thread_name(name)
          fixture.attached { program in
            isIn.happen()
            sleep(7)
            program.poll()
          }
        }
        isIn.wait()
        return thread
      }
      fixture.heap.collectAndWait()
      silent.forEach { $0.join() }
    }
    #expect(result.said("of this test: 2 thread(s) have not reached a safepoint"))
    #expect(result.said("\"the silent one\", a thread without a name. Call safepoint()"))
  }

  @Test("two heaps in checked mode, entered by the same threads in both orders, verify without end")
  func twoVerifiers() async {
    await #expect(processExitsWith: .success) {
      let isDone = Event()
      let guardian = TestThread { if !isDone.wait(seconds: 30) { broken("a deadlock") } }
      let heaps = try (0..<2).map { _ in
        try HeapFixture {
          $0.checks = true
          $0.stress.handshakeDelay = 300
        }
      }
      let areCollected = Event()
      let collectors = heaps.map { fixture in
        TestThread {
          for _ in 0..<40 { fixture.heap.collectAndWait() }
          areCollected.happen()
        }
      }
      onThreads(3) { number in
        while !areCollected.hasHappened {
          let (outer, inner) = (heaps[number & 1], heaps[1 - number & 1])
          outer.attached { first in
            inner.attached { second in
              for _ in 0..<50 {
                first.poll()
                second.poll()
              }
              CollectedHeap.blocking { usleep(50) }
            }
          }
        }
      }
      for collector in collectors { collector.join() }
      isDone.happen()
      guardian.join()
    }
  }
}
