// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Exclusion, waking, and the lock order. A lost wake would leave a thread asleep for ever: such
// tests wait for an event with a limit, and do not join.

import CHeapShims
import Glibc
import Heap
import TestSupport
import Testing

/// A lock that threads share.
private final class Shared: Sendable {
  let lock = HeapLock(0, rank: .shelf)
}

/// Runs `body` on so many threads at once; whether all came to an end.
private func allEnd(_ threads: Int, _ body: @escaping @Sendable (_ number: Int) -> Void) -> Bool {
  let started = (0..<threads).map { number in
    let end = Event()
    let thread = TestThread {
      body(number)
      end.happen()
    }
    return (thread, end)
  }
  guard started.allSatisfy({ $0.1.wait() }) else { return false }
  for (thread, _) in started { thread.join() }
  return true
}

@Suite("The lock") struct HeapLockTests {
  struct Failure: Error {}

  // MARK: - Exclusion

  @Test("no addition of eight threads is lost") func exclusive() throws {
    let shared = Shared()
    try #require(
      allEnd(8) { _ in
        for _ in 0..<20_000 { shared.lock.withLock { $0 += 1 } }
      })
    #expect(shared.lock.withLock { $0 } == 160_000)
  }

  @Test("no addition is lost when bodies throw") func throwing() throws {
    let shared = Shared()
    try #require(
      allEnd(8) { _ in
        for _ in 0..<2000 {
          _ = try? shared.lock.withLock {
            $0 += 1
            throw Failure()
          }
        }
      })
    #expect(shared.lock.withLock { $0 } == 16_000)
  }

  @Test("what a body returns is what withLock returns, and what it throws is thrown")
  func results() throws {
    let shared = Shared()
    #expect(shared.lock.withLock { $0 - 1 } == -1)
    #expect(throws: Failure.self) { try shared.lock.withLock { _ in throw Failure() } }
  }

  // MARK: - Sleeping

  @Test("threads that wait for a long time sleep, and all get the lock in the end")
  func sleepingHolder() throws {
    let shared = Shared()
    let isHeld = Event()
    let waiting = Rendezvous(9)
    let holder = TestThread {
      shared.lock.withLock { _ in
        isHeld.happen()
        waiting.meet()
        usleep(50_000)
      }
    }
    let time = Shared()
    try #require(
      allEnd(8) { _ in
        isHeld.wait()
        waiting.meet()
        let start = heap_thread_cpu()
        shared.lock.withLock { $0 += 1 }
        let spent = Int(heap_thread_cpu() - start)
        time.lock.withLock { $0 += spent }
      })
    holder.join()
    #expect(shared.lock.withLock { $0 } == 8)
    // Threads that did not sleep would use the processors for 50 ms.
    #expect(time.lock.withLock { $0 } < 5_000_000)
  }

  @Test("no wake is lost when holders are slow and threads come and go")
  func wakes() throws {
    let shared = Shared()
    try #require(
      allEnd(8) { number in
        for turn in 0..<100 {
          shared.lock.withLock {
            $0 += 1
            if (turn + number) % 4 == 0 { usleep(50) }
          }
          if (turn + number) % 3 == 0 { sched_yield() }
        }
      })
    #expect(shared.lock.withLock { $0 } == 800)
  }

  // MARK: - State

  @Test("a value that cannot be copied is guarded and destroyed") func noncopyable() {
    struct Owner: ~Copyable {
      let end: Event
      deinit { end.happen() }
    }
    let end = Event()
    do {
      let lock = HeapLock(Owner(end: end), rank: .shelf)
      #expect(lock.withLock { !$0.end.hasHappened })
    }
    #expect(end.hasHappened)
  }

  @Test("the word and the value are in cache lines of their own, and the value is aligned")
  func layout() {
    let small = HeapLock(UInt8(1), rank: .shelf)
    #expect(UInt(bitPattern: unsafe small.word.word) % 64 == 0)
    let wide = HeapLock(SIMD16<UInt64>(repeating: 1), rank: .shelf)
    #expect(UInt(bitPattern: unsafe wide.value) % 16 == 0)
    #expect(unsafe UInt(bitPattern: wide.value) >= UInt(bitPattern: wide.word.word) + 4)
    #expect(wide.withLock { $0 } == SIMD16(repeating: 1))
    let nothing = HeapLock((), rank: .shelf)
    nothing.withLock { _ in }
  }

  // MARK: - Lock order

  #if DEBUG
    @Test("taking a lock against the order stops the process, and says which locks were held")
    func order() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        let outer = HeapLock(0, rank: .registry)
        let inner = HeapLock(0, rank: .shelf)
        inner.withLock { _ in outer.withLock { _ in } }
      }
      let text = result?.message ?? ""
      #expect(text.contains("registry is taken while the thread holds shelf"))
    }

    @Test("taking a second lock of the same rank stops the process") func sameRank() async {
      await #expect(processExitsWith: .failure) {
        let one = HeapLock(0, rank: .shelf)
        let other = HeapLock(0, rank: .shelf)
        one.withLock { _ in other.withLock { _ in } }
      }
    }

    @Test("a rank is free again after the body, thrown out of or not") func ranks() {
      let outer = HeapLock(0, rank: .registry)
      let inner = HeapLock(0, rank: .shelf)
      outer.withLock { _ in
        inner.withLock { _ in }
        _ = try? inner.withLock { _ in throw Failure() }
        inner.withLock { _ in #expect(heap_held_ranks().nonzeroBitCount == 2) }
      }
      #expect(heap_held_ranks() == 0)
    }
  #endif
}
