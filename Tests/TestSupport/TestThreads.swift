// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Threads for tests: real ones, not tasks, because a thread is what enters a heap.
//
//   TestThread    a thread of its own
//   onThreads     so many threads at once
//   Event         something that one thread does and another waits for
//   Rendezvous    all threads meet, again and again

import CHeapShims
import Heap

/// A thread of a test.
package final class TestThread: Sendable {
  private let id: UInt64

  private final class Start: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  package init(_ body: @escaping @Sendable () -> Void) {
    var id: UInt64 = 0
    let context = unsafe Unmanaged.passRetained(Start(body)).toOpaque()
    let error = unsafe heap_thread_start(
      &id,
      { context in
        guard let context = unsafe context else { return }
        unsafe Unmanaged<Start>.fromOpaque(context).takeRetainedValue().body()
      }, context)
    precondition(error == 0, "a test's thread could not be started")
    self.id = id
  }

  /// Returns when the thread has ended.
  package func join() { heap_thread_join(id) }
}

/// Runs `body` on so many threads at once, and returns when all have ended.
package func onThreads(_ count: Int, _ body: @escaping @Sendable (_ number: Int) -> Void) {
  let threads = (0..<count).map { number in TestThread { body(number) } }
  for thread in threads { thread.join() }
}

/// Something that one thread does and another waits for.
package final class Event: Sendable {
  private let word = WaitWord.make()

  package init() {}

  deinit { word.destroy() }

  package func happen() { word.set(1) }
  package var hasHappened: Bool { word.value == 1 }

  /// Waits until it has happened; false after so many seconds without.
  @discardableResult
  package func wait(seconds: Double = 20) -> Bool {
    let end = heap_now() + UInt64(seconds * 1e9)
    while word.value == 0 {
      if heap_now() > end { return false }
      word.wait(while: 0, atMost: 1_000_000)
    }
    return true
  }
}

/// A place where a fixed number of threads meet.
package final class Rendezvous: Sendable {
  private let count: UInt32
  private let arrived = WaitWord.make()
  private let round = WaitWord.make()

  package init(_ count: Int) { self.count = UInt32(count) }

  deinit {
    arrived.destroy()
    round.destroy()
  }

  /// Returns when all threads have called it.
  package func meet() {
    let now = round.value
    if arrived.add(1) == count {
      arrived.set(0)
      round.set(now &+ 1)
    } else {
      while round.value == now { round.wait(while: now) }
    }
  }
}
