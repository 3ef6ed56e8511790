// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// How a field's type says what it is.
//
// A layout is derived at run time, from values of `Any.Type`. Three questions about such a
// type are answered by the conformances below, found with a dynamic cast:
//
//   is it one word that holds a reference or zero?   _HeapReferenceWord
//   is it an InlineArray, of what, how many?         InlineElements
//   what to use instead of a container of ARC's?     OwnedByARC
//
// `_HeapReferenceWord` has two steps because of `Optional`. The optional of a reference is
// the same word, zero for nil; the optional of that optional needs a tag beside the word. So
// `Optional` is a reference word only where the wrapped type is one that is never zero.

/// A type that is one word: the address of an object in a managed heap, zero, or an odd number, which
/// is none (`HeapValue`).
///
/// Implementation detail: the reference types of this package conform, and nothing else may.
public protocol _HeapReferenceWord {}

/// A reference word that is never zero, so that its optional is one word as well.
///
/// Implementation detail, as `_HeapReferenceWord` is.
public protocol _HeapNonNullReference: _HeapReferenceWord {}

extension Optional: _HeapReferenceWord where Wrapped: _HeapNonNullReference {}

/// `InlineArray`, seen without its parameters.
protocol InlineElements {
  static var elementType: Any.Type { get }
  static var elementStride: Int { get }
  static var elementCount: Int { get }
}

extension InlineArray: InlineElements where Element: Copyable {
  static var elementType: Any.Type { Element.self }
  static var elementStride: Int { MemoryLayout<Element>.stride }
  static var elementCount: Int { count }
}

/// A standard library type that owns memory by reference counting.
protocol OwnedByARC {
  /// What to use in an object instead, as the end of a sentence.
  static var advice: String { get }
}

extension OwnedByARC {
  static func advice(list element: Any.Type) -> String { "HeapList<\(element)>" }
}

extension Array: OwnedByARC {
  static var advice: String { advice(list: Element.self) }
}
extension ContiguousArray: OwnedByARC {
  static var advice: String { advice(list: Element.self) }
}
extension ArraySlice: OwnedByARC {
  static var advice: String { advice(list: Element.self) }
}
extension Set: OwnedByARC {
  static var advice: String { "HeapDictionary<\(Element.self), Bool>" }
}
extension Dictionary: OwnedByARC {
  static var advice: String { "HeapDictionary<\(Key.self), \(Value.self)>" }
}
extension String: OwnedByARC {
  static var advice: String { "HeapString" }
}
extension Substring: OwnedByARC {
  static var advice: String { "HeapString" }
}
extension Character: OwnedByARC {
  static var advice: String { "Unicode.Scalar, or HeapString" }
}
