// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Assists: what an allocation pays, and what it must not say.

import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Assists")
struct AssistTests {
  @Test("an assist that finds an empty queue notes no work: the round of handshakes stays clean")
  func emptyQueue() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let words = unsafe fixture.heap.words
      let state = unsafe program.mutator.state
      program.beginCycle()
      program.collecting { fixture.heap.drain() }
      unsafe words.pointee.isMarking.store(true, ordering: .relaxed)
      unsafe words.pointee.assistRatio.store(1024, ordering: .relaxed)
      unsafe words.pointee.foundWork.store(false, ordering: .relaxed)
      unsafe state.pointee.assistDebt = 1 << 20
      fixture.heap.safepoints.poll(program.mutator)
      #expect(unsafe !words.pointee.foundWork.load(ordering: .relaxed))
      #expect(unsafe words.pointee.isHungry.load(ordering: .relaxed))
      #expect(unsafe state.pointee.assistDebt == 0)
      unsafe words.pointee.isMarking.store(false, ordering: .relaxed)
      program.endCycle()
    }
  }

  @Test("an assist that takes spans notes work before it takes them")
  func fullQueue() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let words = unsafe fixture.heap.words
      let state = unsafe program.mutator.state
      _ = program.makeList(1...2000)
      program.beginCycle()
      unsafe words.pointee.isMarking.store(true, ordering: .relaxed)
      unsafe words.pointee.assistRatio.store(1024, ordering: .relaxed)
      unsafe words.pointee.foundWork.store(false, ordering: .relaxed)
      unsafe state.pointee.assistDebt = 64 << 10
      fixture.heap.safepoints.poll(program.mutator)
      #expect(unsafe words.pointee.foundWork.load(ordering: .relaxed))
      unsafe words.pointee.isMarking.store(false, ordering: .relaxed)
      program.endCycle()
    }
  }

  @Test("an assist that has scanned spans notes work again when it is through")
  func secondNote() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let heap = fixture.heap
      let words = unsafe heap.words
      let state = unsafe program.mutator.state
      // Scanning it takes a while, and finds nothing.
      _ = program.root(program.makeArray(count: 400_000))
      program.beginCycle()
      unsafe words.pointee.isMarking.store(true, ordering: .relaxed)
      unsafe words.pointee.assistRatio.store(1024, ordering: .relaxed)
      unsafe words.pointee.foundWork.store(false, ordering: .relaxed)
      unsafe state.pointee.assistDebt = 1 << 30
      // The collector forgets the first note while the assist holds the span.
      let (isReady, hasForgotten) = (Event(), Event())
      let collector = TestThread {
        let words = unsafe heap.words
        isReady.happen()
        while unsafe !words.pointee.foundWork.exchange(false, ordering: .relaxed) {}
        hasForgotten.happen()
      }
      isReady.wait()
      heap.safepoints.poll(program.mutator)
      #expect(hasForgotten.wait())
      #expect(unsafe words.pointee.foundWork.load(ordering: .relaxed))
      collector.join()
      unsafe words.pointee.isMarking.store(false, ordering: .relaxed)
      program.endCycle()
    }
  }

  @Test("a debt that no number holds is paid, and traps nowhere")
  func hugeDebt() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let words = unsafe fixture.heap.words
      let state = unsafe program.mutator.state
      program.beginCycle()
      unsafe words.pointee.isMarking.store(true, ordering: .relaxed)
      unsafe words.pointee.assistRatio.store(.max, ordering: .relaxed)
      unsafe state.pointee.assistDebt = .max
      fixture.heap.safepoints.poll(program.mutator)
      unsafe words.pointee.isMarking.store(false, ordering: .relaxed)
      program.endCycle()
    }
  }
}
