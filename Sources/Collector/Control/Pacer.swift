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
// What is allocated while a cycle marks counts as live at its end, whether it is or not. Objects
// that live are a reason for the heap to grow, and the next cycle will find them. That marking was
// slow is none: what was allocated past the goal meanwhile does not raise the next goal. If it did,
// a program that allocates faster than its graph is marked would get a larger goal, and allocate
// still more, with every cycle.
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
    /// Bytes allocated when the last marking began.
    var before = 0
    /// Bytes that the last marking found dead.
    var dead = 0
    /// Bytes of what the last marking found live that do not raise the goal.
    var excess = 0
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

  // MARK: - A cycle

  /// Mutators have begun to allocate black.
  package func markingBegan() {
    let allocated = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    state.withLock { $0.before = allocated }
  }

  /// Marking has ended, and has found `marked` bytes. The rest is dead.
  package func markingEnded(marked: Int) {
    let allocated = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    let goal = unsafe words.pointee.goal.load(ordering: .relaxed)
    state.withLock { state in
      state.dead = allocated - marked
      state.excess = max(0, allocated.saturatingAdd(-max(goal, state.before)))
    }
  }

  /// What is dead can be swept from now on: it does not count any longer. Before that, whoever
  /// waits because the heap is past its goal still waits.
  ///
  /// - Parameters:
  ///   - live: bytes that the cycle has found.
  ///   - roots: bytes of roots and stacks that it has scanned.
  package func cycleEnded(live: Int, roots: Int) {
    decide { state in
      unsafe words.pointee.allocatedBytes.subtract(state.dead, ordering: .relaxed)
      (state.live, state.roots) = (max(live - state.excess, 0), roots)
      (state.dead, state.excess) = (0, 0)
    }
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
