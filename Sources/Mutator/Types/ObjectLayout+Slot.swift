// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What memory an object takes.
//
//   8 bytes and more                    a slot of the smallest class that fits and is aligned
//   less, so that no reference fits     a share of a 16-byte slot (the tiny allocator)
//   more than the largest slot          class 0: pages of its own
//
// A slot that values share does not know their types. A slot of its own does: so an object of 8 bytes
// has one of 16, and may be asked for its type (AnyHeapRef).

internal import Heap

extension ObjectLayout {
  /// The size class that objects of the type are allocated in, 1 to 66; 0 for large objects.
  public var sizeClass: Int { Int(slotClass.number) }

  /// Bytes that an object takes: its slot, or its pages when it is large.
  ///
  /// An object of less than 8 bytes shares a slot of 16 with others.
  public var slotSize: Int {
    slotClass.isLarge
      ? Int(UInt(bitPattern: size).aligned(up: UInt(bitPattern: Geometry.pageSize)))
      : slotClass.slotSize
  }

  /// Objects share 16-byte slots.
  package var isTiny: Bool { size < 8 && alignment <= 8 }

  private var slotClass: SizeClass {
    SizeClass.of(size: isTiny ? 16 : size, alignment: alignment) ?? .large
  }
}
