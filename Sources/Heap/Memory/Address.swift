// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Addresses, pages, and the numbers that cut memory up.
//
// Memory comes in four sizes, each a power of two:
//
//   arena  64 MiB   what is reserved from the system, aligned to its size
//   chunk   4 MiB   512 pages: one bitmap and one leaf summary of the page allocator
//   page    8 KiB   the unit of spans
//   word    8 bytes the unit of marking, and the smallest slot
//
// An address is looked up by taking it apart: the arena number is an index into the
// process-wide arena index, the page number within it an index into that arena's tables.
// A 48-bit address space has 2^22 arenas, 2^26 chunks and 2^35 pages; every packed field
// in this module is sized for those.
//
// Overview: Documentation/AllocatorTiers.md

/// The sizes that everything else is derived from.
@usableFromInline package enum Geometry {
  /// Bits of an address. User space on x86-64 and arm64 Linux has 47 or 48.
  @inlinable package static var addressBits: UInt { 48 }
  @inlinable package static var arenaShift: UInt { 26 }
  @inlinable package static var chunkShift: UInt { 22 }
  @inlinable package static var pageShift: UInt { 13 }

  @inlinable package static var arenaSize: Int { 1 << 26 }
  @inlinable package static var chunkSize: Int { 1 << 22 }
  @inlinable package static var pageSize: Int { 1 << 13 }
  @inlinable package static var wordSize: Int { 8 }

  @inlinable package static var pagesPerArena: Int { 1 << 13 }
  @inlinable package static var pagesPerChunk: Int { 1 << 9 }
  @inlinable package static var chunksPerArena: Int { 1 << 4 }

  /// Pages that hold `bytes`, or nil when that is more than the address space has.
  @inlinable package static func pages(toHold bytes: Int) -> Int? {
    guard bytes >= 0, bytes <= 1 << 47 else { return nil }
    return (bytes + pageSize - 1) >> 13
  }
}

/// A page of the address space: its address divided by the page size.
@frozen @usableFromInline package struct PageIndex: Hashable, Comparable, Sendable {
  @usableFromInline package let number: UInt

  @inlinable package init(_ number: UInt) { self.number = number }

  /// The page that holds `address`.
  @inlinable package init(holding address: UInt) { number = address >> Geometry.pageShift }

  @inlinable package var address: UInt { number << Geometry.pageShift }

  /// The arena of the page, as an index into the arena index.
  @inlinable package var arena: UInt { number >> 13 }

  /// The page's place within its arena.
  @inlinable package var inArena: Int { Int(truncatingIfNeeded: number & 0x1fff) }

  @inlinable package static func < (a: PageIndex, b: PageIndex) -> Bool { a.number < b.number }

  @inlinable package static func + (page: PageIndex, count: Int) -> PageIndex {
    PageIndex(page.number &+ UInt(bitPattern: count))
  }

  @inlinable package static func - (a: PageIndex, b: PageIndex) -> Int {
    Int(bitPattern: a.number &- b.number)
  }
}

extension UInt {
  /// The smallest multiple of `alignment` (a power of two) that is not below the number.
  @inlinable package func aligned(up alignment: UInt) -> UInt {
    (self &+ alignment &- 1) & ~(alignment &- 1)
  }
}
