// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a word means that the heap keeps as a reference.
//
//   zero    nil
//   odd     an immediate: a number of the program's own (HeapValue)
//   even    a reference: the address of an object
//
// The low bit can tell the two apart because no object begins at an odd address. Slots begin at
// multiples of eight, and a tiny value, which shares its slot with others, at a multiple of two
// (Collector/Allocation/TinyAllocation.swift).
//
// This is about the words that hold a reference by their type: a field, an element, a root, a store
// that was recorded, the payload of an enum. A word of a stack may point into an object, at any
// byte of it. So the low bit of such a word says nothing, and nobody asks here about it.

/// The words of references.
package enum ReferenceWord {
  /// Whether a word leads to an object: it is neither nil nor an immediate.
  @inlinable @inline(__always)
  package static func isReference(_ word: UInt) -> Bool { word != 0 && word & 1 == 0 }
}
