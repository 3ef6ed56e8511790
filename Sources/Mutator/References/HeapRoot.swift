// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Keeping a reference outside the heap.
//
// The collector looks at the stacks of attached threads and at objects, and nowhere else
// (Documentation/Roots.md). A root is a handle for all other places: a property of a class, an
// element of a Swift array, a capture of an escaping closure, a task. The handle owns a slot in
// the heap's root table. What the reference in the slot leads to lives as long as the handle.
//
// A slot holds one word, so a root is made for any type that is one word: a reference, an optional
// of one, or a HeapValue. The collector skips nil and immediates. The class takes any type, and only its
// initialiser wants a reference: so the compiler can say what to do with other values.
//
// The handle keeps the heap, too: a heap ends when its last root and its last user have gone.
//
// Owner       the slot: this handle, which gives it back at the end of its own life.
// Ordering    see RootTable: a thread that reads a root sees the object initialised.

internal import Collector
internal import Heap

/// Keeps what a reference leads to alive from outside the heap.
///
/// A root holds a ``HeapRef``, a ``HeapArray``, a ``HeapString``, a ``HeapBuffer``, a ``HeapList``, a
/// ``HeapDictionary``, an ``AnyHeapRef``, an optional of one, or a ``HeapValue``. It may be shared
/// between threads and dropped on any of them. It is read and set by threads inside
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
///
/// An enum, a struct or a tuple with references in it is no reference. Put it into an object, and
/// keep a root of the object:
///
/// ```swift
/// struct Box: HeapObject {
///   var value: Value
/// }
///
/// let root = HeapRoot(mutator.allocate(Box(value: value)), in: mutator)
/// let value = root.get(in: mutator).value
/// ```
public final class HeapRoot<Reference>: Sendable {
  private let heap: ManagedHeap
  private let slot: RootSlot

  private init(heap: ManagedHeap, slot: RootSlot) {
    self.heap = heap
    self.slot = slot
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
  /// - Precondition: `mutator` is of the heap that the root was made in, and `reference` leads into
  ///   that heap, or is nil.
  /// - Complexity: O(1); takes a lock.
  public func set(
    _ reference: Reference, in mutator: HeapMutator
  ) where Reference: _HeapReferenceWord {
    check(mutator)
    heap.core.roots.set(slot, to: Self.word(of: reference, checkedBy: mutator))
  }

  /// The reference as the word that the collector reads. Stops the program if it leads into
  /// another heap: that heap would not look here.
  static func word(
    of reference: Reference, checkedBy mutator: HeapMutator
  ) -> UInt where Reference: _HeapReferenceWord {
    let attached = mutator.attached
    if attached.isChecked { attached.checkRoot(reference) }
    // SAFETY: a reference word is one word.
    let word = unsafe unsafeBitCast(reference, to: UInt.self)
    if Reference.self == HeapValue.self, !ReferenceWord.isReference(word) { return word }
    StoreCheck.checkOwner(of: word, storedInto: "a HeapRoot<\(Reference.self)>", by: attached)
    return word
  }

  /// Stops the program if a mutator may not use the root.
  func check(_ mutator: HeapMutator) {
    mutator.attached.requireRunning()
    require(
      mutator.attached.belongs(to: heap.core),
      "a HeapRoot was used with a mutator of another heap: use it inside withMutator of its own")
  }
}

extension HeapRoot where Reference: _HeapReferenceWord {
  /// Makes a root that holds a reference.
  ///
  /// - Parameters:
  ///   - reference: what to keep.
  ///   - mutator: the calling thread's mutator, of the heap that the reference leads into.
  /// - Precondition: `reference` leads into that heap, or is nil.
  /// - Complexity: O(1); takes a lock.
  public convenience init(_ reference: Reference, in mutator: HeapMutator) {
    mutator.attached.requireRunning()
    let word = Self.word(of: reference, checkedBy: mutator)
    let heap = mutator.heap
    self.init(heap: heap, slot: heap.core.roots.make(word))
  }
}

extension HeapRoot {
  /// Not for values that are no references.
  @available(
    *, unavailable,
    message: """
      a HeapRoot holds a HeapRef, a HeapArray, a HeapString, a HeapBuffer, a container, an AnyHeapRef, \
      an optional of one, or a HeapValue; put any other value into an object (struct Box: HeapObject { \
      var value: … }) and keep a HeapRoot of that
      """
  )
  public convenience init(_ value: Reference, in mutator: HeapMutator) { fatalError() }
}
