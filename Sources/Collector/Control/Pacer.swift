// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The pacer of a heap: the rules in force, what the last cycle found, and the words that mutators
// go by.
//
// Rules change when the program sets a percentage or a limit, on any thread. Figures change when
// a cycle ends, on the collector's. Either change leads to a new decision, which is made and
// stored under the lock: so a decision never overwrites a later one, and never mixes old rules
// with new figures.
//
// Guarded by: the lock inside. The words are read without it (HeapWords).

internal import Heap
internal import Synchronization

/// Decides when a heap is collected.
@safe package final class Pacer: @unchecked Sendable {
  // Sendable: the state is behind the lock, the words are atomic.

  private struct State {
    var rules: Pacing
    var live = 0
    var roots = 0
  }

  private let state: HeapLock<State>
  private let words: UnsafeMutablePointer<HeapWords>
  private let requests: CycleRequests
  private let pageHeap: PageHeap

  init(
    rules: Pacing, words: UnsafeMutablePointer<HeapWords>, requests: CycleRequests,
    pageHeap: PageHeap
  ) {
    state = HeapLock(State(rules: rules), rank: .control)
    unsafe self.words = words
    self.requests = requests
    self.pageHeap = pageHeap
    cycleEnded(live: 0, roots: 0)
  }

  /// The rules in force.
  package var rules: Pacing { state.withLock { $0.rules } }

  /// Changes the rules. If the heap has already passed the new trigger, a cycle is asked for.
  package func update(_ change: (inout Pacing) -> Void) {
    decide { change(&$0.rules) }
    requestIfDue()
  }

  /// Asks for a cycle if the heap has passed the trigger.
  func requestIfDue() {
    if unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
      >= words.pointee.trigger.load(ordering: .relaxed)
    {
      requests.request()
    }
  }

  /// A cycle has found so many bytes live, and scanned so many bytes of roots and stacks.
  func cycleEnded(live: Int, roots: Int) {
    decide { ($0.live, $0.roots) = (live, roots) }
  }

  private func decide(_ change: (inout State) -> Void) {
    // Outside the lock: it takes locks of its own.
    let overhead = pageHeap.metadataBytes
    state.withLock { state in
      change(&state)
      let decision = state.rules.decide(
        .init(live: state.live, roots: state.roots, overhead: overhead))
      unsafe words.pointee.goal.store(decision.goal, ordering: .relaxed)
      unsafe words.pointee.assistRatio.store(decision.assistRatio, ordering: .relaxed)
      unsafe words.pointee.trigger.store(decision.trigger, ordering: .relaxed)
    }
  }
}
