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
// What is allocated while a cycle marks is marked, whether it lives or not. For the next goal it
// counts as far as what was there before lives, and nothing counts that was allocated past the goal.
// If all of it counted, a program that allocates faster than its graph is marked would get a larger
// goal, and allocate still more, with every cycle.
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
    var liveAfterFull = 0
    var roots = 0
    /// Bytes allocated when the last cycle ended, and when the last marking began.
    var atEnd = 0
    var before = 0
    /// Bytes that the last marking found dead.
    var dead = 0
    /// Bytes outside of the heap that the figures above count: as of the last marking, and no more
    /// than there are now.
    var external = 0
    /// Bytes of what the last marking found live that do not raise the goal.
    var excess = 0
    /// Bytes allocated while the last cycle marked, and while the last full one did.
    var black = 0
    var blackInFull: Int?
    /// Bytes allocated since the last full cycle, up to the end of the last cycle.
    var sinceFull = 0
    var minorControl = MinorControl()
    /// How often the rules have been changed, and how often when the last cycle began.
    var changes = 0
    var changesAtBeginning = 0
    /// What the next cycle is to be, if nobody asks for a full one.
    var nextKind = CycleKind.full
    /// Minor cycles still to come before the next full one, under stress.
    var minorsLeft: Int
  }

  private let state: HeapLock<State>
  private let words: UnsafeMutablePointer<HeapWords>
  private let requests: CycleRequests
  private let pageHeap: PageHeap
  /// Under stress: so many minor cycles for each full one.
  private let minorCycles: Int?

  init(
    rules: Pacing, minorCycles: Int?, words: UnsafeMutablePointer<HeapWords>,
    requests: CycleRequests, pageHeap: PageHeap
  ) {
    state = HeapLock(State(rules: rules, minorsLeft: minorCycles ?? 0), rank: .control)
    self.minorCycles = minorCycles
    unsafe self.words = words
    self.requests = requests
    self.pageHeap = pageHeap
    decide { _ in }
  }

  /// The rules in force.
  package var rules: Pacing { state.withLock { $0.rules } }

  /// Changes the rules. If the heap has already passed the new trigger, a cycle is asked for.
  package func update(_ change: (inout Pacing) -> Void) {
    decide {
      change(&$0.rules)
      $0.changes += 1
    }
    requestIfDue()
  }

  /// Asks for another cycle at the end of one, if the rules have been changed since it began or
  /// something has been allocated since it marked, and the heap has passed the trigger.
  ///
  /// Else not: a heap that has no room, because its limit is below what lives, has passed its trigger
  /// after every cycle, and would collect for ever though nobody allocates.
  func requestIfDueAgain() {
    let allocated = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    let hasChanged = state.withLock {
      $0.changes != $0.changesAtBeginning || allocated > $0.atEnd
    }
    if hasChanged { requestIfDue() }
  }

  /// Asks for a cycle if the heap has passed the trigger.
  private func requestIfDue() {
    if unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
      >= words.pointee.trigger.load(ordering: .relaxed)
    {
      requests.request()
    }
  }

  // MARK: - External memory

  /// Far more than there is, and far from what a sum could not hold.
  private static var mostExternal: Int { 1 << 56 }

  /// Memory outside of the heap has been taken (or given back, if negative) that goes when objects do.
  ///
  /// It counts as if the objects were so much larger: for the goal, and for the limit.
  package func adjustExternal(by bytes: Int) {
    // Relaxed: quantities.
    let (_, total) = unsafe words.pointee.externalBytes.wrappingAdd(bytes, ordering: .relaxed)
    require(
      total >= 0 && total <= Self.mostExternal,
      "adjustExternalMemory(by: \(bytes)): the heap's external memory would be \(total) bytes; what "
        + "is given back must have been taken, and no machine has more than \(Self.mostExternal)")
    unsafe words.pointee.allocatedBytes.wrappingAdd(bytes, ordering: .relaxed)
    if bytes > 0 { requestIfDue() } else { forgetExternal(above: total) }
  }

  /// Lowers the goal where it counts external memory that is there no longer.
  ///
  /// What dead objects stand for is given back after the cycle that has found them dead, which has
  /// counted it as live. With that, each goal would be twice the one before.
  private func forgetExternal(above total: Int) {
    decide { state in
      let gone = max(state.external - total, 0)
      state.external -= gone
      state.live = max(state.live - gone, 0)
      state.liveAfterFull = max(state.liveAfterFull - gone, 0)
      state.atEnd = max(state.atEnd - gone, 0)
    }
  }

  // MARK: - A cycle

  /// What the cycle that begins now is to be.
  package func kind(of request: CycleRequest) -> CycleKind {
    let fullGoal = unsafe words.pointee.fullGoal.load(ordering: .relaxed)
    return state.withLock { state in
      state.changesAtBeginning = state.changes
      if request.mustBeFull { return .full }
      guard let minorCycles else {
        // What the last cycle has marked is old, also what was allocated past the goal meanwhile: a
        // minor cycle would bring the heap back to no goal.
        return request.isForced || state.atEnd >= fullGoal ? .full : state.nextKind
      }
      defer { state.minorsLeft = state.minorsLeft == 0 ? minorCycles : state.minorsLeft - 1 }
      return state.minorsLeft > 0 ? .minor : .full
    }
  }

  /// Mutators have begun to allocate black.
  package func markingBegan() {
    let allocated = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    state.withLock { $0.before = allocated }
  }

  /// Marking has ended, and has found `marked` bytes. The rest is dead.
  package func markingEnded(marked: Int) {
    let allocated = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    // What changes between this load and the last one counts wrong until the next cycle.
    let external = unsafe words.pointee.externalBytes.load(ordering: .relaxed)
    let goal = unsafe words.pointee.goal.load(ordering: .relaxed)
    let marked = marked.saturatingAdd(external)
    state.withLock { state in
      state.external = external
      state.dead = allocated - marked
      state.black = allocated - state.before
      state.excess = Self.excess(
        marked: marked, before: state.before, allocated: allocated, goal: goal)
    }
  }

  /// Bytes of what a cycle has marked that do not raise the next goal.
  ///
  /// What was allocated black is marked, alive or not. As much of it counts as of what was there
  /// `before`, of which the cycle has found out. And nothing counts that was allocated past the goal.
  /// Then live is less than twice what the cycle has found out to live, at any percentage: the
  /// black bytes are the way from the trigger to the goal at most, and the trigger is half-way at the earliest.
  private static func excess(marked: Int, before: Int, allocated: Int, goal: Int) -> Int {
    let black = max(allocated - before, 0)
    let found = max(marked - black, 0)
    let withinGoal = min(black, max(goal.saturatingAdd(-before), 0))
    return black - withinGoal.scaled(by: min(found, before), over: max(before, 1))
  }

  /// What is dead can be swept from now on: it does not count any longer. Before that, whoever
  /// waits because the heap is past its goal still waits.
  ///
  /// - Parameters:
  ///   - live: bytes that the cycle has found.
  ///   - roots: bytes of roots and stacks that it has scanned.
  ///   - time: nanoseconds of processor time that it has taken.
  package func cycleEnded(_ kind: CycleKind, live: Int, roots: Int, time: Int) {
    decide { state in
      let live = live.saturatingAdd(state.external)
      unsafe words.pointee.allocatedBytes.subtract(state.dead, ordering: .relaxed)
      state.minorControl.cycleEnded(
        kind, old: state.atEnd, young: max(state.before - state.atEnd, 0), freed: state.dead,
        time: time)
      let allocated = max(live + state.dead - state.atEnd, 0)
      state.sinceFull = kind == .full ? 0 : state.sinceFull.saturatingAdd(allocated)
      state.atEnd = live
      (state.live, state.roots) = (max(live - state.excess, 0), roots)
      if kind == .full { (state.liveAfterFull, state.blackInFull) = (state.live, state.black) }
      (state.dead, state.excess) = (0, 0)
    }
  }

  private func decide(_ change: (inout State) -> Void) {
    // Outside the lock: it takes locks of its own.
    let overhead = pageHeap.metadataBytes
    state.withLock { state in
      change(&state)
      var rules = state.rules
      if !state.minorControl.isWorthwhile { rules.hasGenerations = false }
      let decision = rules.decide(
        .init(
          live: state.live, liveAfterFull: state.liveAfterFull, black: state.blackInFull,
          sinceFull: state.sinceFull, roots: state.roots, overhead: overhead))
      state.nextKind = decision.kind
      unsafe words.pointee.goal.store(decision.goal, ordering: .relaxed)
      unsafe words.pointee.fullGoal.store(decision.fullGoal, ordering: .relaxed)
      unsafe words.pointee.assistRatio.store(decision.assistRatio, ordering: .relaxed)
      unsafe words.pointee.assistGrain.store(decision.assistGrain, ordering: .relaxed)
      unsafe words.pointee.trigger.store(decision.trigger, ordering: .relaxed)
    }
  }
}
