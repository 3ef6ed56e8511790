// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Reference fields as atomic words.
//
// A reference field is an aligned word, so it can be read and changed with a memory order of
// the caller's choice. The orders mean what they mean in the Synchronization module, with one
// addition: whatever writes a reference is at least releasing, because an object that is
// published must be seen initialised.
//
// The barrier: a store shades the value that it overwrites and the one that it writes. An
// exchange does not know what it will overwrite until it has, so it records the slot and the
// new value before, as a store does, and then the value that came back as well. A failed
// compareExchange has shaded two values for nothing, which costs a little memory for one
// cycle and is never wrong.
//
// The types of the orders are exported again, so that a program that imports Mutator alone
// can write `.acquiring`.

public import CHeapShims
internal import Heap
public import Synchronization

@_exported public import struct Synchronization.AtomicLoadOrdering
@_exported public import struct Synchronization.AtomicStoreOrdering
@_exported public import struct Synchronization.AtomicUpdateOrdering

extension HeapRef {
  // MARK: - Operations

  /// Reads a reference field with a memory order.
  ///
  /// - Precondition: the key path leads to a stored property.
  @inlinable public func load<Reference: _HeapReferenceWord>(
    _ keyPath: KeyPath<Object, Reference>, ordering: AtomicLoadOrdering
  ) -> Reference {
    let slot: HeapSlot<Reference> = slot(at: keyPath)
    let word =
      if ordering == .relaxed {
        unsafe slot.word.pointee.load(ordering: .relaxed)
      } else if ordering == .acquiring {
        unsafe slot.word.pointee.load(ordering: .acquiring)
      } else {
        unsafe slot.word.pointee.load(ordering: .sequentiallyConsistent)
      }
    return unsafe unsafeBitCast(word, to: Reference.self)
  }

  /// Writes a reference field with a memory order, which is `.releasing` at least.
  ///
  /// - Precondition: the key path leads to a stored property.
  @inlinable public func store<Reference: _HeapReferenceWord>(
    _ keyPath: WritableKeyPath<Object, Reference>, _ reference: Reference,
    ordering: AtomicStoreOrdering
  ) {
    let slot: HeapSlot<Reference> = slot(at: keyPath)
    let new = unsafe unsafeBitCast(reference, to: UInt.self)
    if heap_barrier_is_up() { slot.recordSlow(word: reference) } else { slot.markCards() }
    if ordering == .sequentiallyConsistent {
      unsafe slot.word.pointee.store(new, ordering: .sequentiallyConsistent)
    } else {
      unsafe slot.word.pointee.store(new, ordering: .releasing)
    }
  }

  /// Writes a reference field and returns the value that it had, in one step.
  ///
  /// - Parameter ordering: `.releasing` at least; `.acquiring` counts as both.
  /// - Precondition: the key path leads to a stored property.
  @inlinable public func exchange<Reference: _HeapReferenceWord>(
    _ keyPath: WritableKeyPath<Object, Reference>, _ reference: Reference,
    ordering: AtomicUpdateOrdering
  ) -> Reference {
    let slot: HeapSlot<Reference> = slot(at: keyPath)
    let new = unsafe unsafeBitCast(reference, to: UInt.self)
    if heap_barrier_is_up() { slot.recordSlow(word: reference) } else { slot.markCards() }
    let old =
      if ordering == .sequentiallyConsistent {
        unsafe slot.word.pointee.exchange(new, ordering: .sequentiallyConsistent)
      } else if ordering == .relaxed || ordering == .releasing {
        unsafe slot.word.pointee.exchange(new, ordering: .releasing)
      } else {
        unsafe slot.word.pointee.exchange(new, ordering: .acquiringAndReleasing)
      }
    let original = unsafe unsafeBitCast(old, to: Reference.self)
    if heap_barrier_is_up() { slot.recordSlow(word: original) }
    return original
  }

  /// Writes a reference field if it has the expected value, in one step.
  ///
  /// - Parameter ordering: `.releasing` at least; `.acquiring` counts as both.
  /// - Returns: whether the field was written, and the value that it had.
  /// - Precondition: the key path leads to a stored property.
  @inlinable public func compareExchange<Reference: _HeapReferenceWord>(
    _ keyPath: WritableKeyPath<Object, Reference>, expected: Reference, desired: Reference,
    ordering: AtomicUpdateOrdering
  ) -> (exchanged: Bool, original: Reference) {
    let slot: HeapSlot<Reference> = slot(at: keyPath)
    let old = unsafe unsafeBitCast(expected, to: UInt.self)
    let new = unsafe unsafeBitCast(desired, to: UInt.self)
    if heap_barrier_is_up() { slot.recordSlow(word: desired) } else { slot.markCards() }
    let result =
      if ordering == .sequentiallyConsistent {
        unsafe slot.word.pointee.compareExchange(
          expected: old, desired: new, ordering: .sequentiallyConsistent)
      } else if ordering == .relaxed || ordering == .releasing {
        unsafe slot.word.pointee.compareExchange(
          expected: old, desired: new, ordering: .releasing)
      } else {
        unsafe slot.word.pointee.compareExchange(
          expected: old, desired: new, ordering: .acquiringAndReleasing)
      }
    let original = unsafe unsafeBitCast(result.original, to: Reference.self)
    if heap_barrier_is_up() { slot.recordSlow(word: original) }
    return (result.exchanged, original)
  }

  // MARK: - The field's word

  @inlinable @inline(__always)
  func slot<Reference: _HeapReferenceWord>(
    at keyPath: KeyPath<Object, Reference>
  ) -> HeapSlot<Reference> {
    guard let offset = MemoryLayout<Object>.offset(of: keyPath) else { notStored(keyPath) }
    return unsafe HeapSlot(_raw + offset)
  }

  @usableFromInline @inline(never)
  func notStored(_ keyPath: PartialKeyPath<Object>) -> Never {
    broken("\(keyPath) is not a stored property of \(Object.self): it has no atomic access")
  }
}
