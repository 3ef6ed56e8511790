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
  let fixture: HeapFixture

  init() throws { fixture = try HeapFixture() }

  private var words: UnsafeMutablePointer<HeapWords> { unsafe fixture.heap.words }

  private var hasNote: Bool { unsafe words.pointee.foundWork.load(ordering: .relaxed) }

  /// A cycle at the point where assists begin, in which a thread owes `debt` bytes.
  ///
  /// - Parameter pay: what happens then; `poll` pays.
  private func marking(
    _ program: Program, debt: Int, ratio: Int = 1024, drained: Bool = false,
    _ pay: () -> Void
  ) {
    program.beginCycle()
    if drained { program.collecting { fixture.heap.drain() } }
    unsafe words.pointee.isMarking.store(true, ordering: .relaxed)
    unsafe words.pointee.assistRatio.store(ratio, ordering: .relaxed)
    unsafe words.pointee.foundWork.store(false, ordering: .relaxed)
    unsafe program.mutator.state.pointee.assistDebt = debt
    pay()
    unsafe words.pointee.isMarking.store(false, ordering: .relaxed)
    program.endCycle()
  }

  @Test("an assist that finds an empty queue notes no work: the round of handshakes stays clean")
  func emptyQueue() {
    fixture.attached { program in
      marking(program, debt: 1 << 20, drained: true) {
        fixture.heap.safepoints.poll(program.mutator)
        #expect(!hasNote)
        #expect(unsafe words.pointee.isHungry.load(ordering: .relaxed))
        #expect(unsafe program.mutator.state.pointee.assistDebt == 0)
      }
    }
  }

  @Test("an assist that takes spans notes work")
  func fullQueue() {
    fixture.attached { program in
      _ = program.makeList(1...2000)
      marking(program, debt: 64 << 10) {
        fixture.heap.safepoints.poll(program.mutator)
        #expect(hasNote)
      }
    }
  }

  @Test("an assist that has scanned spans notes work again when it is through")
  func secondNote() {
    fixture.attached { program in
      // Scanning it takes a while, and finds nothing.
      _ = program.root(program.makeArray(count: 400_000))
      // A thread forgets the first note. When it is too slow it forgets the second one as well,
      // which proves nothing: one attempt in which the second note is left proves it all.
      let isNoted = (0..<50).contains { _ in attempt(program) }
      #expect(isNoted)
    }
  }

  /// Whether a note is left when an assist is through whose first note was forgotten.
  private func attempt(_ program: Program) -> Bool {
    let heap = fixture.heap
    var isNoted = false
    marking(program, debt: 1 << 30) {
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
      isNoted = hasNote
      collector.join()
    }
    return isNoted
  }

  @Test("a debt that no number holds is paid, and traps nowhere")
  func hugeDebt() {
    fixture.attached { program in
      marking(program, debt: .max, ratio: .max) {
        fixture.heap.safepoints.poll(program.mutator)
        #expect(unsafe program.mutator.state.pointee.assistDebt == 0)
      }
    }
  }
}
