// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Size classes: the 66 slot sizes that small objects are rounded up to, and class 0, large.
//
// A span is cut into slots of one size. With few sizes, memory is lost inside the slots. With
// many, it is lost in half-empty spans. The table is Go's current one without its smallest class,
// a compromise with rules:
//
//   - sizes are multiples of 8, from 16 on; from 32 on of 16; from 128 on of an eighth of the
//     power of two below; from 2048 on of 256; and every power of two from 16 to 32768 is a class;
//   - a span has as few pages (10 at the most) as leave at most an eighth of it unused behind
//     the last slot;
//   - of sizes that would cut the same pages into the same number of slots, only the largest
//     is a class; and a size grows, by 128, into what would be left of its span.
//
// From 128 bytes on, a class is at most 16 % of itself larger than the one below. The worst case
// is a span whose objects are all one byte larger than the slots of the class below: 17 % of it
// is lost. SizeClassTests derives the table from these rules.
//
// No slot is smaller than 16 bytes, so that each has a bit of its own where a bit stands for 16
// bytes (SlotBits).
//
// A slot's index is `offset / size`, computed as `offset * reciprocal >> 32`, which is exact for
// every offset in a span. All numbers are loads from constant tables in HeapSizeClasses.h. Nothing
// here takes a lock, is written, or needs initialising.
//
// Overview: Documentation/AllocatorTiers.md

public import CHeapShims

/// One of 67 sizes of slots; class 0 stands for objects larger than all of them.
@frozen @usableFromInline package struct SizeClass: Hashable, Sendable {
  // Invariant: below `count`.
  @usableFromInline package let number: UInt8

  /// - Precondition: `number` is below `count`.
  @inlinable package init(_ number: UInt8) {
    require(number < 67, "there are 67 size classes, 0 to 66")
    self.number = number
  }

  @inlinable @inline(__always) init(unchecked number: UInt8) { self.number = number }

  @inlinable package static var count: Int { 67 }

  /// The class of objects over `maxSmallSize`: each has a span of its own.
  @inlinable package static var large: SizeClass { SizeClass(unchecked: 0) }

  /// The largest slot, 32 KiB.
  @inlinable package static var maxSmallSize: Int { 32 << 10 }

  /// The classes with slots, by size.
  package static var small: [SizeClass] { (1..<UInt8(count)).map { SizeClass($0) } }

  // MARK: - From a size

  /// The smallest class whose slots hold `size` bytes, or nil above `maxSmallSize`.
  ///
  /// A size of 0 gets the smallest slot. A negative size has no class: it reads as too large.
  ///
  /// - Complexity: O(1), a compare and a table load.
  @inlinable @inline(__always)
  package static func of(size: Int) -> SizeClass? {
    guard UInt(bitPattern: size) <= UInt(bitPattern: maxSmallSize) else { return nil }
    return SizeClass(unchecked: heap_size_class_of(UInt(bitPattern: size)))
  }

  /// The smallest class whose slots hold `size` bytes and lie at multiples of `alignment`. Nil if
  /// there is none: then the object is large.
  ///
  /// A span starts at a page, so slots can be aligned to the page size, 8192, and no further.
  ///
  /// - Precondition: `alignment` is a power of two.
  /// - Complexity: O(1) up to an alignment of 8; beyond, O(classes), at most 16 steps.
  package static func of(size: Int, alignment: Int) -> SizeClass? {
    require(
      alignment > 0 && alignment & (alignment - 1) == 0, "an alignment is a power of two")
    guard alignment <= Geometry.pageSize, let smallest = of(size: size) else { return nil }
    let candidates = smallest.number..<UInt8(count)
    return candidates.first { SizeClass(unchecked: $0).slotSize & (alignment - 1) == 0 }
      .map { SizeClass(unchecked: $0) }
  }

  // MARK: - Figures

  @inlinable @inline(__always) package var isLarge: Bool { number == 0 }

  /// Bytes of a slot; 0 for `large`, whose spans know.
  @inlinable @inline(__always)
  package var slotSize: Int { Int(bitPattern: heap_slot_size(number)) }

  /// Pages of a span, 1 to 10; 0 for `large`.
  @inlinable @inline(__always)
  package var spanPages: Int { Int(bitPattern: heap_pages_of_span(number)) }

  /// Slots of a span, at most 512; 0 for `large`, whose spans have one.
  @inlinable @inline(__always)
  package var slotsPerSpan: Int { Int(bitPattern: heap_slots_of_span(number)) }

  /// For every offset in a span, `offset * reciprocal >> 32` is `offset / slotSize`. 0 for
  /// `large`: every offset is in slot 0.
  @inlinable @inline(__always)
  package var reciprocal: UInt32 { heap_reciprocal(number) }

  /// In which of the first 64 granules of a span slots start, one bit each (SlotBits).
  @inlinable @inline(__always)
  package var starts: UInt { UInt(heap_slot_starts(number)) }
}

/// A size class, and whether the slots can hold references: what a span is for.
@frozen @usableFromInline package struct SpanClass: Hashable, Sendable {
  /// `sizeClass << 1 | noscan`. Invariant: below `count`.
  @usableFromInline package let number: UInt8

  @inlinable package init(_ sizeClass: SizeClass, noscan: Bool) {
    number = sizeClass.number << 1 | (noscan ? 1 : 0)
  }

  /// - Precondition: `number` is below `count`.
  @inlinable package init(_ number: UInt8) {
    require(number < 134, "there are 134 span classes, 0 to 133")
    self.number = number
  }

  @inlinable package static var count: Int { 134 }

  @inlinable @inline(__always)
  package var sizeClass: SizeClass { SizeClass(unchecked: number >> 1) }

  /// Whether the collector need not look into the slots.
  @inlinable @inline(__always) package var isNoscan: Bool { number & 1 != 0 }
}
