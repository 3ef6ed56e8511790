// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The lock of the whole package: a word that says who waits, and the state that it guards.
//
//   0   free
//   1   held
//   2   held, and a thread may be asleep
//
//   0 → 1   a thread takes the lock at once, or while it spins
//   0 → 2   a thread takes the lock after it slept
//   1 → 2   a thread is about to sleep
//   1 → 0   the holder lets go
//   2 → 0   the holder lets go and wakes one sleeper
//
// No sleeper is forgotten. A thread that has slept takes the lock as 2, because it does not know
// whether others sleep; so when it lets go, it wakes the next one. That wake may be for nobody.
//
// The lock barges. A thread that finds it free takes it, even if a sleeper was woken and has not
// run yet. The standard library's `Mutex` is handed over by the kernel instead: whoever lets go
// names the next holder, and until that thread runs nobody has the use of the lock. Where threads
// meet often, every hand-over then costs a context switch. The benchmark `lock-convoy` shows both
// locks side by side.
//
// The price is fairness: a woken thread can find the lock taken again, and sleep again. Nearly all
// locks of the package are held for a few loads and stores, and no thread waits for another while
// it holds one. So a lock is free most of the time, and such a loss is rare.
//
// Layout      The word and the state are one piece of memory in cache lines of their own.
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
  package init(_ initial: consuming sending Value, rank: LockRank) {
    let alignment = max(Self.cacheLine, MemoryLayout<Value>.alignment)
    let valueOffset = max(MemoryLayout<UInt>.size, MemoryLayout<Value>.alignment)
    let size = UInt(valueOffset + MemoryLayout<Value>.size).aligned(up: UInt(alignment))
    let memory = UnsafeMutableRawPointer.allocate(byteCount: Int(size), alignment: alignment)
    let state = unsafe memory.bindMemory(to: Atomic<UInt32>.self, capacity: 1)
    unsafe state.initialize(to: Atomic(0))
    word = unsafe WaitWord(state)
    unsafe value = (memory + valueOffset).bindMemory(to: Value.self, capacity: 1)
    unsafe value.initialize(to: initial)
    self.rank = rank
  }

  deinit {
    unsafe value.deinitialize(count: 1)
    // The word is where the memory begins. A thread that lets go may wake a sleeper after the
    // next holder has destroyed the lock: waking reads no memory.
    unsafe UnsafeMutableRawPointer(word.word).deallocate()
  }

  private static var cacheLine: Int { 64 }

  // MARK: - Fast path

  /// Runs `body` with the lock held. Without contention: one compare-and-exchange, one exchange.
  @inlinable
  package borrowing func withLock<Result: ~Copyable, Failure: Error>(
    _ body: (inout sending Value) throws(Failure) -> sending Result
  ) throws(Failure) -> sending Result {
    assert(rank.enter(), rank.refusal)
    if unsafe !word.word.pointee.compareExchange(
      expected: 0, desired: 1, ordering: .acquiring
    ).exchanged {
      word.takeLockSlow()
    }
    defer {
      if unsafe word.word.pointee.exchange(0, ordering: .releasing) == 2 { word.wakeOne() }
      assert(rank.leave())
    }
    return unsafe try body(&value.pointee)
  }
}

// MARK: - Slow path

extension WaitWord {
  /// Looks at a held lock before a thread sleeps. More looks waste time when the holder does not
  /// run; fewer put threads to sleep that would have had the lock in a microsecond.
  private static var looks: Int { 40 }

  /// Takes the lock whose word this is. It was held a moment ago.
  @usableFromInline @inline(never)
  package func takeLockSlow() {
    for _ in 0..<Self.looks {
      // Relaxed: what is seen decides only whether to try.
      if unsafe word.pointee.load(ordering: .relaxed) == 0,
        unsafe word.pointee.compareExchange(
          expected: 0, desired: 1, ordering: .acquiring
        ).exchanged
      {
        return
      }
      heap_pause()
    }
    // The exchange takes the lock if it was free, and announces a sleeper if it was not.
    while unsafe word.pointee.exchange(2, ordering: .acquiring) != 0 { wait(while: 2) }
  }
}

// MARK: - Lock order

/// The place of a lock in the lock order: a thread that holds a lock takes only locks of a
/// higher rank. Outermost first.
@frozen @usableFromInline package enum LockRank: UInt8, CaseIterable, Sendable {
  /// Who verifies, in the whole process.
  case verifier
  /// The references of a root array.
  case rootArrays
  /// Types that a heap has met; layouts that were derived.
  case types
  /// Attaching, detaching, posting.
  case registry
  /// Root slots.
  case roots
  /// Weak references.
  case weak
  /// Requests for cycles, the collector's threads, the pacing rules, figures.
  case control
  /// A heap's shelves.
  case centralLists
  /// The shared store of grey objects.
  case greyStore
  /// The lists of one shelf.
  case shelf
  /// Making huge pages, giving memory back: held across system calls, for milliseconds.
  case conversion
  /// Adding arenas to a heap, giving memory back: held across system calls.
  case growth
  /// Pages and span records. Never held across a system call (asserted in VirtualMemory).
  case pageHeap
  /// Names of types and fields, for reports.
  case layouts
  /// Memory of records, side tables; mutators of heaps that have ended. Held while the system is
  /// asked for another block of records.
  case records

  private var bit: UInt64 { 1 << UInt64(rawValue) }

  /// Whether the calling thread holds a lock of this rank. Known in debug builds only.
  package var isHeld: Bool { heap_held_ranks() & bit != 0 }

  /// Whether the calling thread may take a lock of this rank now. Notes that it does.
  @usableFromInline package func enter() -> Bool {
    let held = heap_held_ranks()
    guard held < bit else { return false }
    heap_set_held_ranks(held | bit)
    return true
  }

  /// Notes that the calling thread no longer holds a lock of this rank.
  @usableFromInline package func leave() -> Bool {
    let held = heap_held_ranks()
    heap_set_held_ranks(held & ~bit)
    return held & bit != 0
  }

  /// Why the calling thread may not take a lock of this rank now.
  @usableFromInline package var refusal: String {
    let held = Self.allCases.filter { heap_held_ranks() & $0.bit != 0 }.map { "\($0)" }
    return "the lock order is broken: \(self) is taken while the thread holds "
      + held.joined(separator: ", ")
  }
}
