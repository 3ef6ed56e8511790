// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Addresses, and the numbers that cut memory up.
//
// Memory comes in four sizes, each a power of two and a number of the next smaller one:
//
//   arena    64 MiB    16 chunks      what is reserved from the system, aligned to its size
//   chunk     4 MiB    512 pages      one bitmap and one leaf summary of the page allocator
//   page      8 KiB    512 granules   the unit of spans
//   granule  16 bytes                 what has a mark bit, and the smallest slot
//
// `Geometry` states four numbers (a granule's and a page's size, pages of a chunk, chunks of an
// arena) and derives the others. A 48-bit address space has 2^22 arenas, 2^26 chunks and 2^35 pages. Every
// packed field of this module is sized for those.
//
// The numbers of arenas, chunks and pages have types of their own: PageIndex.swift.
// Overview: Documentation/AllocatorTiers.md

/// The sizes that everything else is derived from.
@usableFromInline package enum Geometry {
  /// Bits of an address. User space on x86-64 and arm64 Linux has 47 or 48.
  @inlinable package static var addressBits: UInt { 48 }

  // Logarithms. The names say of what, and in which unit: a chunk has 2^chunkPageShift pages.

  @inlinable package static var granuleShift: UInt { 4 }
  @inlinable package static var pageShift: UInt { 13 }
  @inlinable package static var chunkPageShift: UInt { 9 }
  @inlinable package static var arenaChunkShift: UInt { 4 }
  @inlinable package static var arenaPageShift: UInt { arenaChunkShift + chunkPageShift }
  @inlinable package static var chunkShift: UInt { chunkPageShift + pageShift }
  @inlinable package static var arenaShift: UInt { arenaChunkShift + chunkShift }

  // Bytes.

  @inlinable package static var arenaSize: Int { 1 << Int(arenaShift) }
  @inlinable package static var chunkSize: Int { 1 << Int(chunkShift) }
  @inlinable package static var pageSize: Int { 1 << Int(pageShift) }
  @inlinable package static var granuleSize: UInt { 1 << granuleShift }

  // How many of one are in another.

  @inlinable package static var pagesPerArena: Int { 1 << Int(arenaPageShift) }
  @inlinable package static var pagesPerChunk: Int { 1 << Int(chunkPageShift) }
  @inlinable package static var chunksPerArena: Int { 1 << Int(arenaChunkShift) }

  // How many there are in the address space.

  @inlinable package static var arenaCount: Int { 1 << Int(addressBits - arenaShift) }
  @inlinable package static var chunkCount: Int { 1 << Int(addressBits - chunkShift) }
  @inlinable package static var pageCount: Int { 1 << Int(addressBits - pageShift) }

  /// Pages that hold `bytes`, or nil when that is more than half of the address space has.
  @inlinable package static func pages(toHold bytes: Int) -> Int? {
    guard bytes >= 0, bytes <= 1 << Int(addressBits - 1) else { return nil }
    return (bytes + pageSize - 1) >> Int(pageShift)
  }
}

extension UInt {
  /// The smallest multiple of `alignment` (a power of two) that is not below the number.
  @inlinable package func aligned(up alignment: UInt) -> UInt {
    (self &+ alignment &- 1) & ~(alignment &- 1)
  }
}
