// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

import Heap
import TestSupport
import Testing

/// Counts up on several threads under one lock.
private func count(threads: Int, times: Int) -> Int {
  final class Shared: Sendable { let lock = HeapLock(0, rank: .shelf) }
  let shared = Shared()
  onThreads(threads) { _ in
    for _ in 0..<times { shared.lock.withLock { $0 += 1 } }
  }
  return shared.lock.withLock { $0 }
}

@Suite("The lock") struct HeapLockTests {
  @Test("no addition under the lock is lost") func exclusive() {
    #expect(count(threads: 8, times: 20_000) == 160_000)
  }

  @Test("a body that throws lets the lock go") func throwing() {
    struct Failure: Error {}
    let lock = HeapLock(1, rank: .shelf)
    #expect(throws: Failure.self) { try lock.withLock { _ in throw Failure() } }
    #expect(lock.withLock { $0 } == 1)
  }

  @Test("a value that cannot be copied is guarded and destroyed") func noncopyable() {
    final class Witness { var ended = false }
    struct Owner: ~Copyable {
      let witness: Witness
      deinit { witness.ended = true }
    }
    let witness = Witness()
    do {
      let lock = HeapLock(Owner(witness: witness), rank: .shelf)
      #expect(lock.withLock { !$0.witness.ended })
    }
    #expect(witness.ended)
  }

  #if DEBUG
    @Test("taking locks against their order is caught") func order() async {
      await #expect(processExitsWith: .failure) {
        let outer = HeapLock(0, rank: .registry)
        let inner = HeapLock(0, rank: .shelf)
        inner.withLock { _ in outer.withLock { _ in } }
      }
    }
  #endif
}
