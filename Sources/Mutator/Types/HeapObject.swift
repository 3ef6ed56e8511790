// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a type must be to live in the heap.
//
// Nothing: a struct declares the conformance and is done. Where its references are is read
// from the field metadata that the compiler emits anyway, once for each type, when the first
// object is allocated or the type is registered. The answer is an `ObjectLayout`.
//
//     struct Node: HeapObject {
//       var left: HeapRef<Node>?       a reference word: precise
//       var right: HeapRef<Node>?      a reference word: precise
//       var key = 0                    no reference
//     }
//
// A layout never guesses. A type that cannot be laid out (a class, a field that ARC manages)
// has a layout that carries the reason instead of offsets; whoever asks to allocate or to
// register it gets that reason as a `HeapError`.
//
// Overview: Documentation/Layouts.md

/// A struct whose instances can be allocated in a managed heap.
///
/// There is nothing to implement. Fields may be trivially copyable values, `HeapRef`,
/// `HeapArray`, `HeapString`, and nested structs, tuples, optionals, `InlineArray`s and enums
/// made of these.
public protocol HeapObject {
  /// Where the references are in an instance.
  ///
  /// Derived from the fields of the type unless the type states it by hand:
  ///
  ///     static var layout: ObjectLayout {
  ///       ObjectLayout(of: Self.self, references: [\.left, \.right])
  ///     }
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
