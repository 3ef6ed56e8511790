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

  @Test("an assist that finds nothing grey notes no work: the round of handshakes stays clean")
  func nothingGrey() {
    fixture.attached { program in
      marking(program, debt: 1 << 20, drained: true) {
        fixture.heap.safepoints.poll(program.mutator)
        #expect(!hasNote)
        #expect(unsafe words.pointee.isHungry.load(ordering: .relaxed))
        #expect(unsafe program.mutator.state.pointee.assistDebt == 0)
      }
    }
  }

  @Test("an assist that takes grey objects notes work")
  func greyObjects() {
    fixture.attached { program in
      _ = program.makeList(1...2000)
      marking(program, debt: 64 << 10) {
        fixture.heap.safepoints.poll(program.mutator)
        #expect(hasNote)
      }
    }
  }

  @Test("an assist that has scanned objects notes work again when it is through")
  func secondNote() {
    fixture.attached { program in
      // To scan it finds nothing, so that there is no other reason for a note.
      _ = program.root(program.makeArray(count: 100))
      marking(program, debt: 64 << 10) {
        var (turns, isNotedBefore) = (0, false)
        fixture.heap.safepoints.assist(program.mutator) { marker in
          // The collector begins a round, in which it forgets what was noted before.
          isNotedBefore = isNotedBefore || hasNote
          unsafe words.pointee.foundWork.store(false, ordering: .relaxed)
          guard marker.scanNext() else { return false }
          turns += 1
          return true
        }
        #expect(turns == 1 && isNotedBefore)
        #expect(hasNote)
      }
    }
  }

  @Test("a debt is paid when it has reached the grain, and not before")
  func grain() {
    fixture.attached { program in
      _ = program.makeList(1...2000)
      for (debt, isPaid) in [(4095, false), (4096, true)] {
        marking(program, debt: debt) {
          unsafe words.pointee.assistGrain.store(4096, ordering: .relaxed)
          fixture.heap.safepoints.poll(program.mutator)
          #expect(hasNote == isPaid)
          #expect(unsafe program.mutator.state.pointee.assistDebt == (isPaid ? 0 : debt))
        }
      }
    }
  }

  @Test("a run that is taken while the collector marks is no longer than the grain")
  func shortRuns() {
    fixture.attached { program in
      for _ in 0..<1000 { _ = program.makeNode() }
      program.beginCycle()
      unsafe words.pointee.assistGrain.store(1024, ordering: .relaxed)
      let entry = unsafe program.entry(fixture.node, in: Program.nodeClass)
      var longest: UInt = 0
      for _ in 0..<200 {
        let node = program.makeNode()
        unsafe longest = max(longest, entry.pointee.limit - node)
      }
      // Checked mode has runs of one slot.
      #expect(longest <= 1024 && (longest > 500 || fixture.heap.options.checks))
      program.endCycle()
    }
  }

  @Test("an assist scans little more than it owes, however large the objects")
  func largerObjects() {
    fixture.attached { program in
      for _ in 0..<64 { _ = program.root(program.makeArray(count: 4000)) }  // 32,000 bytes each.
      marking(program, debt: 32 << 10) {
        var scanned = 0
        fixture.heap.safepoints.assist(program.mutator) { marker in
          defer { scanned += marker.scannedBytes }
          return marker.scanNext()
        }
        #expect(scanned >= 32 << 10 && scanned <= 64 << 10)
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
