// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Arenas, chunks and pages by number, each with a type of its own.
//
// All three are counted from address 0 on, and they convert into each other by shifting. So an
// address is taken apart without a table: the number of its arena is an index into the index of
// all arenas (ArenaTables), and its page's place in the arena is an index into that arena's
// tables.
//
// Arenas and chunks in a row are closed ranges. Pages in a row are a `PageRange`, which cannot be
// empty and cannot leave the address space; its initialiser checks both, so whoever is handed
// one need not.
//
// Overview: Documentation/AllocatorTiers.md

// MARK: - Arenas

/// An arena of the address space: its address divided by the arena size.
@frozen @usableFromInline package struct ArenaIndex: Hashable, Strideable, Sendable {
  @usableFromInline package let number: UInt

  @inlinable package init(_ number: UInt) { self.number = number }

  /// The arena that holds `address`.
  @inlinable package init(holding address: UInt) { number = address >> Geometry.arenaShift }

  @inlinable package var address: UInt { number << Geometry.arenaShift }

  @inlinable package var pages: PageRange {
    PageRange(PageIndex(number << Geometry.arenaPageShift), count: Geometry.pagesPerArena)
  }

  @inlinable package var chunks: ClosedRange<ChunkIndex> {
    let first = ChunkIndex(number << Geometry.arenaChunkShift)
    return first...first.advanced(by: Geometry.chunksPerArena - 1)
  }

  @inlinable package func distance(to other: ArenaIndex) -> Int {
    Int(bitPattern: other.number &- number)
  }

  @inlinable package func advanced(by count: Int) -> ArenaIndex {
    ArenaIndex(number &+ UInt(bitPattern: count))
  }
}

extension ClosedRange<ArenaIndex> {
  /// All pages of some arenas in a row.
  @inlinable package var pages: PageRange {
    PageRange(lowerBound.pages.start, count: count * Geometry.pagesPerArena)
  }

  /// All chunks of some arenas in a row.
  @inlinable package var chunks: ClosedRange<ChunkIndex> {
    lowerBound.chunks.lowerBound...upperBound.chunks.upperBound
  }
}

// MARK: - Chunks

/// A chunk of the address space: its address divided by the chunk size.
@frozen @usableFromInline package struct ChunkIndex: Hashable, Strideable, Sendable {
  @usableFromInline package let number: UInt

  @inlinable package init(_ number: UInt) { self.number = number }

  @inlinable package var address: UInt { number << Geometry.chunkShift }

  @inlinable package var firstPage: PageIndex { PageIndex(number << Geometry.chunkPageShift) }

  @inlinable package var arena: ArenaIndex { ArenaIndex(number >> Geometry.arenaChunkShift) }

  /// The chunk's place within its arena.
  @inlinable package var inArena: Int {
    Int(truncatingIfNeeded: number) & (Geometry.chunksPerArena - 1)
  }

  /// Some pages of the chunk, of which their places in the chunk are given.
  @inlinable package func pages(_ places: Range<Int>) -> PageRange {
    PageRange(firstPage + places.lowerBound, count: places.count)
  }

  @inlinable package func distance(to other: ChunkIndex) -> Int {
    Int(bitPattern: other.number &- number)
  }

  @inlinable package func advanced(by count: Int) -> ChunkIndex {
    ChunkIndex(number &+ UInt(bitPattern: count))
  }
}

// MARK: - Huge ranges

/// A stretch of the address space that one huge page can back: its address divided by 2 MiB. A
/// chunk has two, an arena 32.
package struct HugeRange: Hashable, Comparable, Sendable {
  package let number: UInt

  private static var shift: UInt { 21 }

  package static var size: Int { 1 << Int(shift) }
  package static var pageCount: Int { size >> Int(Geometry.pageShift) }
  package static var perArena: Int { Geometry.arenaSize >> Int(shift) }
  package static var perChunk: Int { Geometry.chunkSize >> Int(shift) }

  package init(_ number: UInt) { self.number = number }

  /// The range that holds `address`.
  package init(holding address: UInt) { number = address >> Self.shift }

  package var address: UInt { number << Self.shift }

  package var chunk: ChunkIndex { ChunkIndex(address >> Geometry.chunkShift) }

  package var pages: PageRange {
    PageRange(PageIndex(holding: address), count: Self.pageCount)
  }

  /// The places of the range's pages in their chunk.
  package var inChunk: Range<Int> {
    let first = pages.start.inChunk
    return first..<first + Self.pageCount
  }

  /// The range's place within its arena.
  package var inArena: Int { Int(truncatingIfNeeded: number) & (Self.perArena - 1) }

  package func advanced(by count: Int) -> HugeRange {
    HugeRange(number &+ UInt(bitPattern: count))
  }

  package var next: HugeRange { advanced(by: 1) }

  package static func < (a: HugeRange, b: HugeRange) -> Bool { a.number < b.number }
}

extension ChunkIndex {
  /// The chunk's huge ranges, ascending.
  package var hugeRanges: [HugeRange] {
    (0..<HugeRange.perChunk).map { HugeRange(holding: address).advanced(by: $0) }
  }
}

// MARK: - Pages

/// A page of the address space: its address divided by the page size.
@frozen @usableFromInline package struct PageIndex: Hashable, Comparable, Sendable {
  @usableFromInline package let number: UInt

  @inlinable package init(_ number: UInt) { self.number = number }

  /// The page that holds `address`.
  @inlinable package init(holding address: UInt) { number = address >> Geometry.pageShift }

  /// The page behind the last one of the address space.
  @inlinable package static var end: PageIndex { PageIndex(UInt(Geometry.pageCount)) }

  @inlinable package var address: UInt { number << Geometry.pageShift }

  @inlinable package var arena: ArenaIndex { ArenaIndex(number >> Geometry.arenaPageShift) }

  @inlinable package var chunk: ChunkIndex { ChunkIndex(number >> Geometry.chunkPageShift) }

  /// The page's place within its arena.
  @inlinable package var inArena: Int {
    Int(truncatingIfNeeded: number) & (Geometry.pagesPerArena - 1)
  }

  /// The page's place within its chunk.
  @inlinable package var inChunk: Int {
    Int(truncatingIfNeeded: number) & (Geometry.pagesPerChunk - 1)
  }

  @inlinable package static func < (a: PageIndex, b: PageIndex) -> Bool { a.number < b.number }

  @inlinable package static func + (page: PageIndex, count: Int) -> PageIndex {
    PageIndex(page.number &+ UInt(bitPattern: count))
  }

  @inlinable package static func - (a: PageIndex, b: PageIndex) -> Int {
    Int(bitPattern: a.number &- b.number)
  }
}

/// Some pages in a row, at least one, all of them below the end of the address space.
@frozen @usableFromInline package struct PageRange: Hashable, Sendable {
  @usableFromInline package let start: PageIndex
  @usableFromInline package let count: Int

  /// - Precondition: `count` is positive, and the pages lie in the address space.
  @inlinable package init(_ start: PageIndex, count: Int) {
    require(count > 0, "a run of pages has at least one page")
    require(
      start < .end && count <= PageIndex.end - start,
      "a run of pages lies below the end of the 48-bit address space")
    self.start = start
    self.count = count
  }

  /// The page behind the last one.
  @inlinable package var end: PageIndex { start + count }

  @inlinable package var byteCount: Int { count << Int(Geometry.pageShift) }

  /// The chunks that the pages lie in.
  @inlinable package var chunks: ClosedRange<ChunkIndex> { start.chunk...(end + -1).chunk }

  /// Calls `body` with each page.
  @inlinable @inline(__always)
  package func forEach(_ body: (PageIndex) -> Void) {
    var page = start
    while page < end {
      body(page)
      page = page + 1
    }
  }

  /// Calls `body` with each chunk that the pages lie in, and their places in the chunk.
  @inlinable @inline(__always)
  package func forEachChunk(_ body: (_ chunk: ChunkIndex, _ places: Range<Int>) -> Void) {
    var page = start
    while page < end {
      let first = page.inChunk
      let length = min(Geometry.pagesPerChunk - first, end - page)
      body(page.chunk, first..<first + length)
      page = page + length
    }
  }
}
