// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a type must be to live in the heap.
//
// Nothing: a struct declares the conformance and is done. The compiler emits metadata about the
// fields of every type anyway. From there the heap reads where the references are, once for each
// type, when the first object is allocated or the type is registered. The answer is an
// `ObjectLayout`.
//
//     struct Node: HeapObject {
//       var left: HeapRef<Node>?       a reference word: precise
//       var right: HeapRef<Node>?      a reference word: precise
//       var key = 0                    no reference
//     }
//
// What ARC manages may be a field, too, and is destroyed when the object has died (Destroyer).
//
// A layout never guesses. A type that cannot be laid out (a class, a Swift array of references)
// has a layout that carries the reason instead of offsets; whoever asks to allocate or to
// register it gets that reason as a `HeapError`.
//
// How the references are found: LayoutDerivation.swift. Stated by hand: ObjectLayout+KeyPaths.swift.

/// A struct whose instances can be allocated in a managed heap.
///
/// There is nothing to implement:
///
/// ```swift
/// struct Node: HeapObject {
///   var left: HeapRef<Node>?
///   var right: HeapRef<Node>?
///   var key = 0
/// }
/// ```
///
/// Fields may be numbers and other trivially copyable values (`@convention(c)` functions too),
/// ``HeapRef``, ``HeapArray``, ``HeapString``, ``HeapBuffer``, ``HeapList``, ``HeapDictionary``,
/// ``AnyHeapRef``, ``HeapValue``, ``WeakHeapRef``, and nested structs, tuples, optionals, inline arrays
/// and enums made of these.
///
/// Fields may also be what ARC manages: a `String`, an array, an instance of a class, a closure, an
/// existential. Such a field is released once, after the object has died, on a thread of the heap's
/// own; what it held before a store, by the thread that stores. Two threads need a lock to use the same
/// such field if one of them stores. The collector does not look into it for references.
///
/// A type with any other field, or with a Swift array of references or the like, is refused when its
/// first object is allocated, or by ``ManagedHeap/register(_:)``, with the name of the field and what
/// to use instead.
///
/// Fields are read and written through a reference, `node.left`. A field that is called
/// `description`, `debugDescription`, `hashValue`, `pointee`, `load`, `store`, `exchange` or
/// `compareExchange` is hidden behind ``HeapRef``'s own member of that name: reach it with
/// `node.pointee.description`, or give it another name. Methods are called on the value,
/// `node.pointee.bump()`; a mutating one stores the whole value back.
public protocol HeapObject {
  /// Where the references are in an instance.
  ///
  /// Derived from the fields of the type unless the type states it by hand:
  ///
  /// ```swift
  /// static var layout: ObjectLayout {
  ///   ObjectLayout(of: Self.self, references: [\.left, \.right])
  /// }
  /// ```
  static var layout: ObjectLayout { get }
}

extension HeapObject {
  /// The layout derived from the type's fields.
  ///
  /// - Complexity: O(fields) the first time, a dictionary look-up afterwards.
  public static var layout: ObjectLayout {
    do throws(HeapError) {
      return try LayoutDerivation.derive(Self.self)
    } catch {
      return ObjectLayout(refused: Self.self, because: error)
    }
  }
}
