// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What an object is, as one word that its layout has.
//
//     an object of a type      the address of the type's metatype
//     an array                 the address of the element's metatype, and 1
//     a string                 the same, of a type of bytes that only strings have
//     a buffer                 the address of the buffer's metatype, and 2
//     tiny values              0: a slot that they share has no type of its own
//
// Metatypes are aligned to words, so the low bits are free. A span holds objects of one layout, so
// from an object's address to its key are three loads: the arena's tables, the page's word, the
// layout's record. Two heaps have two layouts of one type, with one key.
//
// Used by: AnyHeapRef, which may lead to an object of any type.

public import Heap

/// The keys of objects' types.
@usableFromInline package enum TypeKey {
  /// The key of the objects of a type.
  @inlinable @inline(__always)
  package static func object<Object: HeapObject>(_ type: Object.Type) -> UInt {
    unsafe unsafeBitCast(type, to: UInt.self)
  }

  /// The key of the arrays of an element type.
  @inlinable @inline(__always)
  package static func array(of element: Any.Type) -> UInt {
    unsafe unsafeBitCast(element, to: UInt.self) | array
  }

  /// The key of the buffers of a type.
  @inlinable @inline(__always)
  package static func buffer(_ type: Any.Type) -> UInt {
    unsafe unsafeBitCast(type, to: UInt.self) | buffer
  }

  /// The key of the slots that tiny values share.
  package static var tiny: UInt { 0 }

  @inlinable static var array: UInt { 1 }
  @inlinable static var buffer: UInt { 2 }
  @inlinable static var kinds: UInt { 7 }

  /// The key of the object at an address.
  @inlinable @inline(__always)
  package static func of(_ object: UInt) -> UInt { PageLayout(of: object).layout.type }

  /// What the objects of a key are called.
  package static func name(of key: UInt) -> String {
    guard key != tiny else { return "tiny values" }
    // SAFETY: a key is the address of a metatype, but for the bits that say what it is the key of.
    let type = unsafe unsafeBitCast(key & ~kinds, to: Any.Type.self)
    switch key & kinds {
    case array where type == HeapString.Byte.self: return "HeapString"
    case array where type is any ElementStorageType.Type: return "\(type)"
    case array: return "HeapArray<\(type)>"
    default: return "\((type as? any ContainerObject.Type)?.container ?? type)"
    }
  }
}
