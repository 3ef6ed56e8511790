// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A word that threads wait on.
//
// The kernel compares the word with what the waiter has seen before it puts the waiter to sleep.
// So no change between the look and the sleep is missed. The rule for callers: whoever changes
// the word wakes, and whoever waits looks again.
//
// Waking is a call to the system, even if nobody waits. `set` always makes that call. A caller
// that knows more separates the two: `store` only changes the word, and `wakeOne` or `wakeAll`
// follows when there is a waiter.
//
// The word is in raw memory because the kernel wants its address. Waking reads no memory: a
// thread may wake the waiters of a word that a waiter has destroyed meanwhile.

internal import CHeapShims
public import Synchronization

/// An atomic 32-bit word with the kernel's wait and wake.
@safe @frozen @usableFromInline package struct WaitWord: @unchecked Sendable {
  // Sendable: an atomic in memory of its own.
  @usableFromInline package let word: UnsafeMutablePointer<Atomic<UInt32>>

  /// A word of its own, with the value 0. Freed with `destroy`.
  package static func make() -> WaitWord {
    let word = UnsafeMutablePointer<Atomic<UInt32>>.allocate(capacity: 1)
    unsafe word.initialize(to: Atomic(0))
    return unsafe WaitWord(word)
  }

  /// A word that lies in somebody else's memory.
  @inlinable package init(_ word: UnsafeMutablePointer<Atomic<UInt32>>) { unsafe self.word = word }

  package func destroy() {
    unsafe word.deinitialize(count: 1)
    unsafe word.deallocate()
  }

  // MARK: - The value

  /// Acquiring: pairs with whatever released the value.
  @inlinable package var value: UInt32 { unsafe word.pointee.load(ordering: .acquiring) }

  /// Sets the value and wakes nobody. Releasing: pairs with `value`.
  @inlinable package func store(_ value: UInt32) {
    unsafe word.pointee.store(value, ordering: .releasing)
  }

  /// Sets the value and wakes all who wait. Releasing: pairs with `value`.
  package func set(_ value: UInt32) {
    store(value)
    wakeAll()
  }

  /// Adds to the value, wrapping, and returns the new one. Wakes nobody. Acquiring and releasing.
  @inlinable @discardableResult
  package func add(_ count: Int32) -> UInt32 {
    unsafe word.pointee.wrappingAdd(
      UInt32(bitPattern: count), ordering: .acquiringAndReleasing
    ).newValue
  }

  /// Replaces one value by another; false when the value was a third. Wakes nobody. Acquiring and
  /// releasing.
  @inlinable package func exchange(from old: UInt32, to new: UInt32) -> Bool {
    unsafe word.pointee.compareExchange(
      expected: old, desired: new, ordering: .acquiringAndReleasing
    ).exchanged
  }

  /// The value, sequentially consistent: for one half of a Dekker pair.
  @inlinable package var current: UInt32 {
    unsafe word.pointee.load(ordering: .sequentiallyConsistent)
  }

  /// Subtracts one and returns the new value. Wakes nobody. Sequentially consistent: for the other
  /// half of a Dekker pair.
  @inlinable package func decrement() -> UInt32 {
    unsafe word.pointee.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue
  }

  // MARK: - Waiting

  /// Sleeps while the value is `seen`, at most so many nanoseconds (nil: for ever). May return
  /// early; the caller looks again.
  package func wait(while seen: UInt32, atMost nanoseconds: Int? = nil) {
    unsafe heap_wait(raw, seen, Int64(nanoseconds ?? -1))
  }

  /// Wakes one of the threads that wait.
  @usableFromInline @inline(never)
  package func wakeOne() { unsafe heap_wake(raw, 1) }

  /// Wakes all threads that wait.
  package func wakeAll() { unsafe heap_wake(raw, .max) }

  private var raw: UnsafeMutablePointer<UInt32> {
    // SAFETY: an atomic integer has the layout of the integer.
    unsafe UnsafeMutableRawPointer(word).assumingMemoryBound(to: UInt32.self)
  }
}
