// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The lock of the whole package: a word on which threads wait, and the state that it guards.
//
//   0   free
//   1   held
//   2   held, and a thread may be asleep
//
// The lock barges. A thread that finds it free takes it, even when another one was woken to
// take it and has not run yet. The standard library's `Mutex` hands the lock over through the
// kernel instead (a priority-inheriting futex), so that every hand-over costs a context switch:
// where threads meet often, that is a convoy. Here a thread that finds the lock held spins for
// a moment, because a lock of this package is held for a few loads and stores, and sleeps only
// then. No lock here is held while something is awaited, so nobody starves.
//
// The state is memory of the lock's own, on its own cache line.
//
// Ordering    Taking the lock acquires, letting it go releases. Both are operations on one atomic
//             word, so ThreadSanitizer sees them.
// Lock order  `LockRank`: the list of all locks, asserted in debug builds.
// After       U. Drepper, "Futexes Are Tricky" (2011), the second mutex.

internal import CHeapShims
public import Synchronization

/// A lock and the state that it guards.
@safe @usableFromInline package struct HeapLock<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
  // Sendable: the state is reached with the lock held only.

  @usableFromInline package let word: WaitWord
  @usableFromInline package let value: UnsafeMutablePointer<Value>
  @usableFromInline package let rank: LockRank

  /// A free lock that guards `initial`.
  ///
  /// - Parameter rank: the lock's place in the lock order.
  package init(_ initial: consuming Value, rank: LockRank) {
    let alignment = max(64, MemoryLayout<Value>.alignment)
    let valueOffset = max(8, MemoryLayout<Value>.alignment)
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: valueOffset + max(MemoryLayout<Value>.size, 1), alignment: alignment)
    let state = unsafe memory.bindMemory(to: Atomic<UInt32>.self, capacity: 1)
    unsafe state.initialize(to: Atomic(0))
    word = unsafe WaitWord(state)
    unsafe value = (memory + valueOffset).bindMemory(to: Value.self, capacity: 1)
    unsafe value.initialize(to: initial)
    self.rank = rank
  }

  deinit {
    unsafe value.deinitialize(count: 1)
    // The word is where the allocation begins.
    unsafe UnsafeMutableRawPointer(word.word).deallocate()
  }

  // MARK: - Fast path

  /// Runs `body` with the lock held.
  @inlinable
  package borrowing func withLock<Result: ~Copyable, Failure: Error>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    assert(rank.enter())
    if unsafe !word.word.pointee.compareExchange(
      expected: 0, desired: 1, ordering: .acquiring
    ).exchanged {
      takeSlow()
    }
    defer {
      if unsafe word.word.pointee.exchange(0, ordering: .releasing) == 2 { wakeSlow() }
      assert(rank.leave())
    }
    return unsafe try body(&value.pointee)
  }

  // MARK: - Slow path

  /// Looks at a held lock before a thread sleeps. More wastes time when the holder is not
  /// running, less puts threads to sleep that would have had the lock in a microsecond.
  private static var spins: Int { 40 }

  @usableFromInline @inline(never)
  borrowing func takeSlow() {
    for _ in 0..<Self.spins {
      // Relaxed: a look that decides nothing.
      if unsafe word.word.pointee.load(ordering: .relaxed) == 0,
        unsafe word.word.pointee.compareExchange(
          expected: 0, desired: 1, ordering: .acquiring
        ).exchanged
      {
        return
      }
      heap_pause()
    }
    // From here on this thread may sleep, so it takes the lock as 2: when it lets go, it wakes
    // whoever else sleeps.
    while unsafe word.word.pointee.exchange(2, ordering: .acquiring) != 0 {
      word.wait(while: 2)
    }
  }

  @usableFromInline @inline(never)
  borrowing func wakeSlow() { word.wakeOne() }
}

/// The place of a lock in the lock order: a thread that holds a lock takes only locks of a
/// higher rank. Outermost first.
@frozen @usableFromInline package enum LockRank: UInt8, Sendable {
  /// Who verifies, in the whole process.
  case verifier
  /// Types that a heap has met; layouts that were derived.
  case types
  /// Attaching, detaching, posting.
  case registry
  /// Root slots.
  case roots
  /// Requests for cycles, the collector's threads, the pacing rules, figures.
  case control
  /// A heap's shelves.
  case centralLists
  /// The shared mark queue.
  case markQueue
  /// The lists of one shelf.
  case shelf
  /// Adding arenas to a heap: held across system calls, unlike all others.
  case growth
  /// Pages and span records.
  case pageHeap
  /// Names of types and fields, for reports.
  case layouts
  /// Memory of records, side tables.
  case records

  /// Whether the calling thread may take a lock of this rank now. Notes that it does.
  @usableFromInline package func enter() -> Bool {
    let held = heap_held_ranks()
    let bit = UInt64(1) << UInt64(rawValue)
    guard held < bit else { return false }
    heap_set_held_ranks(held | bit)
    return true
  }

  /// Notes that the calling thread no longer holds a lock of this rank.
  @usableFromInline package func leave() -> Bool {
    heap_set_held_ranks(heap_held_ranks() & ~(UInt64(1) << UInt64(rawValue)))
    return true
  }
}
