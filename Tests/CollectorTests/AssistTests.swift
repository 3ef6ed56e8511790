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
