// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a thread's cache is asked for: the keys of `ThreadCache`, to which they are plain words.
//
//     objects of a type        the address of the type's metatype
//     arrays of an element     the address of the element's metatype and the size class
//     buffers of a type        the same of the buffer's metatype, and a bit
//     slots for tiny values    16, which is no metatype's address
//
// The linker knows the address of a metatype, so an allocation needs neither a token from the
// user nor a static variable for each type.
//
// An array's key has the size class + 1 in its top 16 bits, which are zero in every address, so
// it is no object type's key. The class is also added to the address, from bit 4 on: the cache
// looks at the bits from there on to choose a place, and the classes of one element type shall
// not all want the same one.

public import Heap

/// The keys of a thread's cache.
@usableFromInline package enum CacheKey {
  /// The key of the objects of a type.
  @inlinable @inline(__always)
  package static func object(_ type: any HeapObject.Type) -> UInt {
    UInt(bitPattern: unsafe unsafeBitCast(type as Any.Type, to: Int.self))
  }

  /// The same, where the type is known when the program is compiled: a constant.
  @inlinable @inline(__always)
  package static func object<Object: HeapObject>(_ type: Object.Type) -> UInt {
    UInt(bitPattern: unsafe unsafeBitCast(type, to: Int.self))
  }

  /// The key of the arrays of an element type whose slots are of a size class.
  @inlinable @inline(__always)
  package static func array(of element: Any.Type, in sizeClass: SizeClass) -> UInt {
    let metatype = UInt(bitPattern: unsafe unsafeBitCast(element, to: Int.self))
    let number = UInt(sizeClass.number) &+ 1
    // Five places apart: the next element type's metatype is seldom as near.
    return metatype &+ (number &* 5) &<< 4 | number &<< 48
  }

  /// The key of the buffers of a type whose slots are of a size class.
  @inlinable @inline(__always)
  package static func buffer(_ type: Any.Type, in sizeClass: SizeClass) -> UInt {
    // A buffer may be the element of an array as well.
    array(of: type, in: sizeClass) | 1 << 63
  }

  /// The key of the slots that tiny values share.
  package static var tinySlots: UInt { 16 }
}
