// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Keeping a reference outside the heap.
//
// The collector looks at the stacks of threads inside `withMutator` and at objects, and
// nowhere else. A root is a handle for all other places: a property of a class, an element of
// a Swift array, a capture of an escaping closure, a task. It owns a slot in the heap's root
// table; the object in it lives as long as the handle. The handle keeps the heap as well.

internal import Collector
internal import Heap

/// Keeps an object of a managed heap alive from outside the heap.
///
/// A root may be shared between threads and dropped on any; it is read and set by threads
/// inside `withMutator`.
public final class HeapRoot<Object: HeapObject>: Sendable {
  private let heap: ManagedHeap
  private let slot: RootSlot

  /// A root for an object.
  ///
  /// - Complexity: a lock and a few dozen nanoseconds.
  public init(_ ref: HeapRef<Object>, _ mutator: HeapMutator) {
    heap = mutator.heap
    slot = heap.core.roots.make(UInt(bitPattern: unsafe ref._raw), in: heap.core)
  }

  deinit { heap.core.roots.drop(slot, in: heap.core) }

  /// The object.
  ///
  /// - Precondition: `mutator` is of the heap that the root was made in.
  public func get(_ mutator: HeapMutator) -> HeapRef<Object> {
    checkHeap(of: mutator)
    // SAFETY: a slot of a root in use holds a reference to an object of the type.
    return unsafe HeapRef(
      _raw: UnsafeMutableRawPointer(bitPattern: slot.reference).unsafelyUnwrapped)
  }

  /// Keeps another object instead.
  ///
  /// - Precondition: `mutator` is of the heap that the root was made in.
  public func set(_ ref: HeapRef<Object>, _ mutator: HeapMutator) {
    checkHeap(of: mutator)
    heap.core.roots.set(slot, to: UInt(bitPattern: unsafe ref._raw), in: heap.core)
  }

  private func checkHeap(of mutator: HeapMutator) {
    require(
      mutator.attached.belongs(to: heap.core),
      "a HeapRoot was used with a mutator of another heap: use it inside withMutator of its own")
  }
}
