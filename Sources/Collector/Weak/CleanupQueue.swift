// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The cleanups that are due, and the thread that runs them.
//
// The collector puts a cycle's cleanups into the queue at once, and wakes the thread. The thread
// takes all that is there, and runs one after the other, in the order of the queue. It is started with
// the first cleanup that is due, and is attached to no heap: a cleanup enters one as any other code
// does. While it runs, the next cycle may come and go.
//
// What a cleanup has captured is given up on this thread, too, and that may be the last
// reference to the heap. Then the heap ends here. A thread cannot wait for its own end: it runs what is
// left, and goes on to its end after the heap's. So the thread keeps the queue, and uses nothing else
// of the heap.
//
// Guarded by: the lock inside. `changes` is what the thread sleeps on.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// Runs cleanups, on a thread of the heap's own.
package final class CleanupQueue: @unchecked Sendable {
  // Sendable: the state is behind the lock; the rest is atomic words.

  private struct State {
    var due: [CleanupRecord] = []
    var thread: HeapThread?
    var isStopping = false
  }

  private let state = HeapLock(State(), rank: .control)
  private let changes = WaitWord.make()
  /// The thread, as the system knows it. Written by the thread itself.
  private let threadID = Atomic<UInt64>(0)
  /// Cleanups that are due. Relaxed: a figure.
  private let dueCount = Atomic<Int>(0)
  /// Cleanups that have run. Relaxed: a figure.
  private let runCount = Atomic<Int>(0)

  init() {}

  deinit { changes.destroy() }

  /// Cleanups that are due, and that have run.
  var figures: (due: Int, run: Int) {
    (dueCount.load(ordering: .relaxed), runCount.load(ordering: .relaxed))
  }

  // MARK: - The collector's side

  /// Has cleanups run, soon. If no thread is to be had, they wait for the next ones, or for the
  /// heap's end.
  func add(_ records: [CleanupRecord]) {
    dueCount.add(records.count, ordering: .relaxed)
    state.withLock { state in
      state.due += records
      if state.thread == nil {
        // The thread keeps the queue until it ends.
        state.thread = HeapThread("heap-cleanup") { self.run() }
      }
    }
    wake()
  }

  private func wake() {
    changes.add(1)
    changes.wakeAll()
  }

  // MARK: - The thread

  private func run() {
    threadID.store(heap_thread_self(), ordering: .relaxed)
    while true {
      let seen = changes.value
      if runDue() { continue }
      if state.withLock({ $0.isStopping }) { return }
      changes.wait(while: seen)
    }
  }

  /// Runs what is due now. False: nothing is.
  private func runDue() -> Bool {
    var batch = state.withLock { state in
      defer { state.due = [] }
      return state.due
    }
    guard !batch.isEmpty else { return false }
    // In the order of the queue; each is given up when it has run.
    batch.reverse()
    while let record = batch.popLast() {
      if let action = record.take() {
        action()
        runCount.add(1, ordering: .relaxed)
      }
      dueCount.subtract(1, ordering: .relaxed)
    }
    return true
  }

  /// The heap ends: runs what is due, and ends the thread. Nothing is added any more.
  func finish() {
    let thread = state.withLock { state -> HeapThread? in
      state.isStopping = true
      return state.thread.take()
    }
    guard let thread else {
      _ = runDue()
      return
    }
    if threadID.load(ordering: .relaxed) == heap_thread_self() {
      // The thread itself: the last cleanup has given the heap up.
      while runDue() {}
      return thread.detach()
    }
    wake()
    thread.join()
  }
}
