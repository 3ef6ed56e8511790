// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A weak reference outside the heap: a root of a cell, whose target lives or does not.

/// A reference to an object from outside the heap that does not keep the object alive.
///
/// What a ``WeakHeapRef`` is in an object, this is in a property of a class, in a Swift array or
/// dictionary, in an escaping closure or a task. It may be shared between threads and dropped on
/// any of them.
///
/// ```swift
/// final class Watcher: Sendable {
///   let node: WeakHeapRoot<Node>
///   init(_ node: HeapRef<Node>, in mutator: HeapMutator) {
///     self.node = WeakHeapRoot(node, in: mutator)
///   }
/// }
///
/// if let node = watcher.node.get(in: mutator) { … }
/// ```
///
/// It keeps the heap, as a ``HeapRoot`` does.
public final class WeakHeapRoot<Object: HeapObject>: Sendable {
  private let root: HeapRoot<WeakHeapRef<Object>>

  /// Makes a weak root of an object.
  ///
  /// A safepoint, as ``HeapMutator/weak(to:)`` is.
  ///
  /// - Parameters:
  ///   - reference: the object.
  ///   - mutator: the calling thread's mutator, of the heap of the object.
  public convenience init(_ reference: HeapRef<Object>, in mutator: HeapMutator) {
    self.init(mutator.weak(to: reference), in: mutator)
  }

  /// Makes a weak root of the object that a weak reference leads to.
  ///
  /// - Parameters:
  ///   - reference: the weak reference.
  ///   - mutator: the calling thread's mutator, of the heap of the object.
  public init(_ reference: WeakHeapRef<Object>, in mutator: HeapMutator) {
    root = HeapRoot(reference, in: mutator)
  }

  /// The object, if it lives: once nil, nil for ever.
  ///
  /// - Parameter mutator: the calling thread's mutator, of the heap of the object.
  /// - Returns: the object, or nil.
  /// - Complexity: O(1): two loads, unless some heap is being marked.
  public func get(in mutator: HeapMutator) -> HeapRef<Object>? {
    root.get(in: mutator).get(in: mutator)
  }
}
