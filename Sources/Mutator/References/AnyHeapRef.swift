// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A reference to an object of any type.
//
// One word, the object's first address, as HeapRef is, and never zero, so that its optional is one
// word too. The type is not in the reference: the heap knows it. A span holds objects of one layout,
// and the layout knows the type (TypeKey):
//
//     reference ─► arena's tables ─► page's word ─► layout's record: key      3 loads
//     is(Node.self)                                 compare it with Node's key, a constant
//
// A type of less than 8 bytes is the exception. Its objects share slots with those of other such
// types, so no layout knows which is which. A reference to one does not become an AnyHeapRef: that
// stops the program, and the message says what to do.
//
// For the collector it is a reference like any other: it reads the word and asks for no type.

internal import Heap

/// A reference to an object of any type in a managed heap, compared by identity.
///
/// It is valid where a ``HeapRef`` is, may be a field, and keeps its object alive as a ``HeapRef``
/// does. The heap knows each object's type:
///
/// ```swift
/// let any = AnyHeapRef(node)
/// if let node = any.as(Node.self) { print(node.key) }
/// if let text = any.as(HeapString.self) { print(text) }
/// print(any.typeName)
/// ```
///
/// An object of less than 8 bytes has no slot of its own and cannot be named by an `AnyHeapRef`. Keep
/// such a value as the immediate of a ``HeapValue``.
@safe @frozen
public struct AnyHeapRef: _HeapNonNullReference {
  /// The object's first address.
  @usableFromInline package let _raw: UnsafeMutableRawPointer

  @inlinable @inline(__always)
  package init(_raw raw: UnsafeMutableRawPointer) { unsafe _raw = raw }

  // MARK: - From a reference

  /// A reference to the same object.
  ///
  /// - Precondition: `Object` has 8 bytes or more.
  @inlinable @inline(__always)
  public init<Object: HeapObject>(_ reference: HeapRef<Object>) {
    if MemoryLayout<Object>.size < Self.leastSize { Self.refuse(Object.self) }
    unsafe _raw = reference._raw
  }

  /// A reference to the same array, string or buffer.
  @inlinable @inline(__always)
  public init<Reference: _HeapTypedReference>(_ reference: Reference) {
    // SAFETY: a reference is one word.
    unsafe _raw = unsafeBitCast(reference, to: UnsafeMutableRawPointer.self)
  }

  /// Bytes of the smallest object that has a slot of its own.
  @inlinable static var leastSize: Int { 8 }

  @usableFromInline @inline(never)
  static func refuse(_ type: any HeapObject.Type) -> Never {
    let size = TypeMetadata(type).size
    broken(
      "a HeapRef<\(type)> cannot become an AnyHeapRef or a HeapValue: a \(type) has \(size) bytes, "
        + "and an object of less than \(leastSize) shares its slot with others and does not know its "
        + "type; keep the value itself, HeapValue(immediate: …), or give the type \(leastSize) bytes"
    )
  }

  // MARK: - The object's type

  @inlinable @inline(__always)
  var typeKey: UInt { TypeKey.of(UInt(bitPattern: unsafe _raw)) }

  /// Whether the object is of a type.
  ///
  /// - Complexity: O(1), three loads and a compare.
  @inlinable @inline(__always)
  public func `is`<Object: HeapObject>(_ type: Object.Type) -> Bool {
    typeKey == TypeKey.object(type)
  }

  /// The reference, if the object is of a type; otherwise nil.
  ///
  /// - Complexity: O(1), three loads and a compare.
  @inlinable @inline(__always)
  public func `as`<Object: HeapObject>(_ type: Object.Type) -> HeapRef<Object>? {
    unsafe self.is(type) ? HeapRef(_raw: _raw) : nil
  }

  /// Whether the object is an array of such elements, `HeapArray<Int>.self`, a string,
  /// `HeapString.self`, or a buffer of such types, `HeapBuffer<Frame, Int>.self`.
  ///
  /// - Complexity: O(1), three loads and a compare.
  @inlinable @inline(__always)
  public func `is`<Reference: _HeapTypedReference>(_ type: Reference.Type) -> Bool {
    typeKey == Reference._typeKey
  }

  /// The array, the string or the buffer, if the object is one of that type; otherwise nil.
  ///
  /// - Complexity: O(1), three loads and a compare.
  @inlinable @inline(__always)
  public func `as`<Reference: _HeapTypedReference>(_ type: Reference.Type) -> Reference? {
    // SAFETY: a reference is one word, and the object is what its type says.
    unsafe self.is(type) ? unsafeBitCast(_raw, to: Reference.self) : nil
  }

  /// The name of the object's type: `Node`, `HeapArray<Int>`, `HeapString`.
  public var typeName: String { TypeKey.name(of: typeKey) }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension AnyHeapRef: Sendable {}

extension AnyHeapRef: Hashable {
  /// Whether both are references to the same object.
  @inlinable public static func == (a: AnyHeapRef, b: AnyHeapRef) -> Bool {
    unsafe a._raw == b._raw
  }

  /// Hashes the identity of the object.
  @inlinable public func hash(into hasher: inout Hasher) {
    hasher.combine(UInt(bitPattern: unsafe _raw))
  }
}

extension AnyHeapRef: CustomStringConvertible, CustomDebugStringConvertible {
  /// The object's type and its address: `AnyHeapRef(Node, 0x7f3a5c000040)`.
  public var description: String {
    "AnyHeapRef(\(typeName), 0x" + String(UInt(bitPattern: unsafe _raw), radix: 16) + ")"
  }

  /// The same as `description`.
  public var debugDescription: String { description }
}

// MARK: - References with a type

/// A reference that says what it leads to, and is no ``HeapRef``.
///
/// Implementation detail: the reference types of this package conform, and nothing else may.
public protocol _HeapTypedReference: _HeapNonNullReference {
  /// What the layout of the objects says that they are.
  static var _typeKey: UInt { get }
}

extension HeapArray: _HeapTypedReference {
  /// The key of arrays of such elements.
  @inlinable public static var _typeKey: UInt { TypeKey.array(of: Element.self) }
}

extension HeapString: _HeapTypedReference {
  /// The key of strings.
  @inlinable public static var _typeKey: UInt { TypeKey.array(of: Byte.self) }
}
