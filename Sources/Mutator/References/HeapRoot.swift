// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Keeping a reference outside the heap.
//
// The collector looks at the stacks of attached threads and at objects, and nowhere else
// (Documentation/Roots.md). A root is a handle for all other places: a property of a class, an
// element of a Swift array, a capture of an escaping closure, a task. The handle owns a slot in
// the heap's root table. What the reference in the slot leads to lives as long as the handle.
//
// A slot holds one word, so a root is made for any type that is one word: a reference, or an
// optional of one. Zero is nil, and the collector skips it.
//
// The handle keeps the heap, too: a heap ends when its last root and its last user have gone.
//
// Owner       the slot: this handle, which gives it back at the end of its own life.
// Ordering    see RootTable: a thread that reads a root sees the object initialised.

internal import Collector
internal import Heap

/// Keeps what a reference leads to alive from outside the heap.
///
/// A root holds a ``HeapRef``, a ``HeapArray``, a ``HeapString``, or an optional of one. It may
/// be shared between threads and dropped on any of them. It is read and set by threads inside
/// `withMutator`.
///
/// ```swift
/// final class Document {
///   let top: HeapRoot<HeapRef<Node>?>
///   init(in mutator: HeapMutator) { top = HeapRoot(nil, in: mutator) }
/// }
///
/// document.top.set(mutator.allocate(Node()), in: mutator)
/// let node = document.top.get(in: mutator)
/// ```
public final class HeapRoot<Reference: _HeapReferenceWord>: Sendable {
  private let heap: ManagedHeap
  private let slot: RootSlot

  /// Makes a root that holds a reference.
  ///
  /// - Parameters:
  ///   - reference: what to keep.
  ///   - mutator: the calling thread's mutator, of the heap that the reference leads into.
  /// - Complexity: O(1); takes a lock.
  public init(_ reference: Reference, in mutator: HeapMutator) {
    mutator.attached.requireRunning()
    if mutator.attached.isChecked { mutator.attached.checkRoot(reference) }
    heap = mutator.heap
    slot = heap.core.roots.make(Self.word(of: reference))
  }

  deinit { heap.core.roots.drop(slot) }

  /// The reference that the root holds.
  ///
  /// - Parameter mutator: the calling thread's mutator.
  /// - Precondition: `mutator` is of the heap that the root was made in.
  /// - Complexity: O(1); takes no lock.
  public func get(in mutator: HeapMutator) -> Reference {
    check(mutator)
    // SAFETY: the slot holds what was put into it, a value of this type.
    return unsafe unsafeBitCast(slot.reference, to: Reference.self)
  }

  /// Holds another reference from now on.
  ///
  /// - Parameters:
  ///   - reference: what to keep instead.
  ///   - mutator: the calling thread's mutator.
  /// - Precondition: `mutator` is of the heap that the root was made in.
  /// - Complexity: O(1); takes a lock.
  public func set(_ reference: Reference, in mutator: HeapMutator) {
    check(mutator)
    if mutator.attached.isChecked { mutator.attached.checkRoot(reference) }
    heap.core.roots.set(slot, to: Self.word(of: reference))
  }

  /// The reference as the word that the collector reads.
  private static func word(of reference: Reference) -> UInt {
    // SAFETY: a reference word is one word.
    unsafe unsafeBitCast(reference, to: UInt.self)
  }

  private func check(_ mutator: HeapMutator) {
    mutator.attached.requireRunning()
    require(
      mutator.attached.belongs(to: heap.core),
      "a HeapRoot was used with a mutator of another heap: use it inside withMutator of its own")
  }
}
