// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A word that threads wait on.
//
// The kernel compares the word with what the waiter saw before it puts it to sleep, so a
// change between the look and the wait is never missed: whoever changes the word wakes, and
// whoever waits looks again. The word is in raw memory because the kernel wants its address.

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

  package init(_ word: UnsafeMutablePointer<Atomic<UInt32>>) { unsafe self.word = word }

  package func destroy() {
    unsafe word.deinitialize(count: 1)
    unsafe word.deallocate()
  }

  /// Acquiring: pairs with whatever released the value.
  package var value: UInt32 { unsafe word.pointee.load(ordering: .acquiring) }

  /// Sets the value and wakes all who wait. Releasing: pairs with `value`.
  package func set(_ value: UInt32) {
    unsafe word.pointee.store(value, ordering: .releasing)
    wakeAll()
  }

  /// Adds to the value, wrapping, and returns the new one. Acquiring and releasing.
  @discardableResult
  package func add(_ count: Int32) -> UInt32 {
    unsafe word.pointee.wrappingAdd(
      UInt32(bitPattern: count), ordering: .acquiringAndReleasing
    ).newValue
  }

  /// Sets the value and wakes nobody. Releasing: pairs with `value`.
  package func store(_ value: UInt32) { unsafe word.pointee.store(value, ordering: .releasing) }

  /// Replaces one value by another; false when the value was a third. Acquiring and releasing.
  package func exchange(from old: UInt32, to new: UInt32) -> Bool {
    unsafe word.pointee.compareExchange(
      expected: old, desired: new, ordering: .acquiringAndReleasing
    ).exchanged
  }

  /// The value, sequentially consistent: for one half of a Dekker pair.
  package var current: UInt32 { unsafe word.pointee.load(ordering: .sequentiallyConsistent) }

  /// Subtracts one and returns the new value, sequentially consistent.
  package func decrement() -> UInt32 {
    unsafe word.pointee.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue
  }

  /// Sleeps while the value is `seen`, at most so many nanoseconds (nil: for ever). May return
  /// early; the caller looks again.
  package func wait(while seen: UInt32, atMost nanoseconds: Int? = nil) {
    unsafe heap_wait(
      UnsafeMutableRawPointer(word).assumingMemoryBound(to: UInt32.self), seen,
      Int64(nanoseconds ?? -1))
  }

  /// Wakes one of the threads that wait.
  package func wakeOne() {
    unsafe heap_wake(UnsafeMutableRawPointer(word).assumingMemoryBound(to: UInt32.self), 1)
  }

  package func wakeAll() {
    unsafe heap_wake(UnsafeMutableRawPointer(word).assumingMemoryBound(to: UInt32.self), .max)
  }
}
