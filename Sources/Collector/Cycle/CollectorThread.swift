// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The collector's thread, and how it is asked for cycles.
//
// A mutator that crosses the trigger asks for a cycle and goes on. `collect` asks for one that
// begins after the call and waits, in a blocking region, until it has been swept: a cycle
// that is under way may have scanned what has become unreachable since.
//
// Guarded by: the lock in CycleRequests. `changes` is a count of requests to sleep on,
// `finished` the number of the last cycle that is swept.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// Requests for cycles, by number.
final class CycleRequests: Sendable {
  private struct State {
    /// The number of the cycle that began last.
    var started: UInt32 = 0
    /// Cycles up to this number are wanted by `collect`.
    var wanted: UInt32 = 0
    var isStopping = false
  }

  private let state = Mutex(State())
  private let changes = WaitWord.make()
  private let finished = WaitWord.make()
  /// Raised when a cycle begins to mark and when it ends.
  private let markings = WaitWord.make()

  deinit {
    changes.destroy()
    finished.destroy()
    markings.destroy()
  }

  /// Wakes the collector's thread to look again.
  func wake() {
    changes.add(1)
    changes.wakeAll()
  }

  func stop() {
    state.withLock { $0.isStopping = true }
    wake()
  }

  /// Asks for a cycle that begins after this call; its number.
  func want() -> UInt32 {
    let number = state.withLock { state -> UInt32 in
      let number = state.started &+ 1
      state.wanted = number
      return number
    }
    wake()
    return number
  }

  /// Returns when a cycle has been swept.
  func await(_ number: UInt32) {
    while true {
      let done = finished.value
      // Wraps: cycles are compared within half of the numbers.
      if Int32(bitPattern: done &- number) >= 0 { return }
      finished.wait(while: done)
    }
  }

  /// What the collector's thread does next.
  enum Next {
    case cycle(number: UInt32, forced: Bool)
    case stop
  }

  /// Sleeps until there is something to do. The collector's thread.
  func next(isTriggered: () -> Bool) -> Next {
    while true {
      let seen = changes.value
      let triggered = isTriggered()
      let next = state.withLock { state -> Next? in
        if state.isStopping { return .stop }
        let forced =
          state.wanted != state.started
          && Int32(bitPattern: state.wanted &- state.started) > 0
        guard forced || triggered else { return nil }
        state.started &+= 1
        return .cycle(number: state.started, forced: forced)
      }
      if let next { return next }
      changes.wait(while: seen)
    }
  }

  func finish(_ number: UInt32) { finished.set(number) }

  /// A cycle begins or ends to mark.

  func noteMarking() {
    markings.add(1)
    markings.wakeAll()
  }

  /// A value that changes when a cycle begins or ends to mark.
  var markingCount: UInt32 { markings.value }

  /// Waits until a cycle begins or ends to mark, at most so many nanoseconds.
  func awaitMarking(since seen: UInt32, atMost nanoseconds: Int) {
    markings.wait(while: seen, atMost: nanoseconds)
  }
}

extension CollectedHeap {
  /// What the collector's thread does all its life.
  func collectorMain() {
    unsafe heap_set_thread_name("heap-collector")
    // Acquiring: pairs with `requestCycle`.
    while case .cycle(let number, let forced) = requests.next(isTriggered: {
      unsafe words.pointee.cycleIsWanted.load(ordering: .acquiring) != 0
    }) {
      runCycle(forced: forced)
      finishSweeping()
      requests.finish(number)
    }
  }

  /// Asks for a cycle, soon.
  package func requestCycle() {
    guard
      unsafe words.pointee.cycleIsWanted.exchange(1, ordering: .acquiringAndReleasing) == 0
    else { return }
    startThread()
    requests.wake()
  }

  /// A full collection. From any thread: if it is attached to heaps, it is in blocking regions
  /// of all of them meanwhile.
  package func collectAndWait() {
    startThread()
    let number = requests.want()
    CollectedHeap.blocking { requests.await(number) }
  }
}
