// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Who wants a cycle, and the thread that runs them.
//
// A mutator that crosses the trigger asks for a cycle and goes on. `collectAndWait` asks for one
// that begins after the call, and waits in a blocking region until that cycle is swept: a cycle
// that is under way may have scanned what has become unreachable since.
//
// The thread is started with the first request: a heap that never collects has none.
//
// Guarded by: the lock. `changes` counts requests, for the thread to sleep on. `finished` is the
// number of the last cycle that is swept. `markings` changes when a cycle begins to mark and
// when it ends.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// What was asked for.
package struct CycleRequest: Sendable {
  /// `collectAndWait` asked, and not the pacer alone.
  package var isForced: Bool
  package var mustBeFull: Bool

  package init(isForced: Bool, mustBeFull: Bool) {
    self.isForced = isForced
    self.mustBeFull = mustBeFull
  }
}

/// Requests for cycles, by number.
@safe package final class CycleRequests: @unchecked Sendable {
  // Sendable: the state is behind the lock; the rest is atomic words.

  private struct State {
    /// The number of the cycle that began last.
    var started: UInt32 = 0
    /// Cycles up to this number are wanted by `collectAndWait`; those up to the second one shall be
    /// full.
    var wanted: UInt32 = 0
    var wantedFull: UInt32 = 0
    var isStopping = false
    var thread: HeapThread?
    /// Runs one cycle, sweeping included.
    var runCycle: (@Sendable (CycleRequest) -> Void)?
    /// Does a piece of other work. Nanoseconds until the next piece; nil: there is none.
    var work: (@Sendable () -> Int?)?
  }

  private let state = HeapLock(State(), rank: .control)
  private let words: UnsafeMutablePointer<HeapWords>
  private let changes = WaitWord.make()
  private let finished = WaitWord.make()
  private let markings = WaitWord.make()

  init(words: UnsafeMutablePointer<HeapWords>) { unsafe self.words = words }

  deinit {
    changes.destroy()
    finished.destroy()
    markings.destroy()
  }

  // MARK: - Asking

  /// Asks for a cycle, soon.
  package func request() {
    // Releasing: pairs with the collector's thread (`next`), which then looks.
    guard
      unsafe !words.pointee.cycleIsWanted.exchange(true, ordering: .acquiringAndReleasing)
    else { return }
    startThread()
    wake()
  }

  /// Has the collector's thread look for other work than cycles, soon. If there is no thread and none
  /// can be had, nothing is lost.
  func requestWork() {
    startThread(isNeeded: false)
    wake()
  }

  /// A collection that begins after the call, and a full one, unless minor ones are forced by stress
  /// and any kind will do. From any thread: if it is attached to heaps, it is in blocking regions of
  /// all of them meanwhile.
  package func collectAndWait(ofAnyKind: Bool = false) {
    startThread()
    let number = state.withLock { state -> UInt32 in
      state.wanted = state.started &+ 1
      if !ofAnyKind { state.wantedFull = state.wanted }
      return state.wanted
    }
    wake()
    CollectedHeap.blocking { awaitCycle(number) }
  }

  /// Returns when a cycle has been swept.
  private func awaitCycle(_ number: UInt32) {
    while true {
      let done = finished.value
      if Self.isReached(number, at: done) { return }
      finished.wait(while: done)
    }
  }

  /// Whether cycle `number` is `latest` or before it. Numbers wrap, so they are compared within
  /// half of all numbers.
  package static func isReached(_ number: UInt32, at latest: UInt32) -> Bool {
    Int32(bitPattern: latest &- number) >= 0
  }

  /// A value that changes when a cycle begins or ends to mark.
  var markingCount: UInt32 { markings.value }

  /// Waits until a cycle begins or ends to mark, at most so many nanoseconds.
  func awaitMarking(since seen: UInt32, atMost nanoseconds: Int) {
    markings.wait(while: seen, atMost: nanoseconds)
  }

  // MARK: - The collector's side

  /// A cycle begins or ends to mark.
  func noteMarking() {
    markings.add(1)
    markings.wakeAll()
  }

  /// What asked for a cycle until now has got it: the trigger has moved.
  ///
  /// Acquiring: whoever found the request standing and did not wake anybody has counted before what
  /// it allocated, and the collector looks at that next (`Pacer.requestIfDueAgain`).
  func clearRequest() {
    _ = unsafe words.pointee.cycleIsWanted.exchange(false, ordering: .acquiringAndReleasing)
  }

  // MARK: - The thread

  /// Says how a cycle is run, and what is done while none is wanted. Once, before the first request.
  ///
  /// - Parameter work: does a piece of it, and says in how many nanoseconds it is to be called again;
  ///   nil: after the next cycle or `requestWork`.
  func serve(
    _ runCycle: @escaping @Sendable (CycleRequest) -> Void,
    work: @escaping @Sendable () -> Int?
  ) {
    state.withLock { ($0.runCycle, $0.work) = (runCycle, work) }
  }

  private func startThread(isNeeded: Bool = true) {
    state.withLock { state in
      guard state.thread == nil, !state.isStopping, let runCycle = state.runCycle,
        let work = state.work
      else { return }
      // The thread is joined before the heap goes (`stop`).
      state.thread = HeapThread("heap-collector") { [unowned self] in run(runCycle, work) }
      require(
        state.thread != nil || !isNeeded,
        "the system refused to start the collector's thread: the process or its user has as many "
          + "threads as allowed (ulimit -u, the control group's pids.max), or there is no memory for "
          + "a stack; end other threads, raise the limit, or call collect() early, while there are "
          + "threads to be had")
    }
  }

  private func run(_ runCycle: (CycleRequest) -> Void, _ work: () -> Int?) {
    while let (number, request) = next(work) {
      runCycle(request)
      finished.set(number)
    }
  }

  /// The next cycle; works or sleeps until there is one. Nil: the heap ends.
  private func next(_ work: () -> Int?) -> (number: UInt32, request: CycleRequest)? {
    enum Found { case cycle(UInt32, CycleRequest), stop, nothing }
    while true {
      let seen = changes.value
      // Acquiring: pairs with `request`.
      let isTriggered = unsafe words.pointee.cycleIsWanted.load(ordering: .acquiring)
      let found = state.withLock { state -> Found in
        if state.isStopping { return .stop }
        let isForced = !Self.isReached(state.wanted, at: state.started)
        guard isForced || isTriggered else { return .nothing }
        let isFull = !Self.isReached(state.wantedFull, at: state.started)
        state.started &+= 1
        // Numbers that were reached long ago are taken along: they would seem to lie ahead one day.
        if !isForced { state.wanted = state.started }
        if !isFull { state.wantedFull = state.started }
        return .cycle(state.started, CycleRequest(isForced: isForced, mustBeFull: isFull))
      }
      switch found {
      case .cycle(let number, let request): return (number, request)
      case .stop: return nil
      case .nothing:
        let pause = work()
        if pause != 0 { changes.wait(while: seen, atMost: pause) }
      }
    }
  }

  private func wake() {
    changes.add(1)
    changes.wakeAll()
  }

  /// Ends the thread, after the cycle that is under way.
  func stop() {
    let thread = state.withLock { state -> HeapThread? in
      state.isStopping = true
      (state.runCycle, state.work) = (nil, nil)
      return state.thread.take()
    }
    wake()
    thread?.join()
  }
}
