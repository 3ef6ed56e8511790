// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The summaries of all chunks, and a tree over them.
//
// The tree covers the whole 48-bit space, 2^35 pages, with fixed places: entry i of a level
// sums up the entries 8i to 8i+7 of the level below.
//
//   level      entries   pages of an entry   of memory   bytes
//   0 root     2^5       2^30                8 TiB       384
//   1          2^8       2^27                1 TiB       3 KiB
//   2          2^11      2^24                128 GiB     24 KiB
//   3          2^14      2^21                16 GiB      192 KiB
//   4          2^17      2^18                2 GiB       1.5 MiB
//   5          2^20      2^15                256 MiB     12 MiB
//   6          2^23      2^12                32 MiB      96 MiB
//   7 leaves   2^26      2^9                 4 MiB       256 MiB   one a chunk
//
// All of it is reserved, 366 MiB of addresses. Only the entries of arenas that the heap has, and
// their seven siblings, are committed: about 90 bytes for an arena of 64 MiB.
//
// A heap of a gigabyte needs no eight levels, so the tree has a top: the deepest level on which
// the heap spans at most eight entries (32 if that is the root). Searches start at the top,
// updates end there, and what is above it has never been written. When the heap outgrows the
// top, the top moves up and the new entries are computed from the old.
//
// Invariant   from the top down, an entry with an owned page below it is the merge of its
//             children; an entry without one is zero, or not committed and never read.
//             Leaves are as their chunk's bitmap says.
// Guarded by  the page heap's lock.
//
// Where the entries lie: SummaryMemory.swift. Overview: Documentation/AllocatorTiers.md

/// Where a search ended: at a page, or in a chunk whose bitmap knows the page.
package enum PageSearchResult: Equatable, Sendable {
  case page(PageIndex)
  case chunk(ChunkIndex)
}

/// The summaries of all chunks, and of those.
@safe package struct PageSummaryTree: ~Copyable {
  /// A level of the tree, from the root (0) down to the leaves.
  ///
  /// Three numbers are given, and the rest follows: an entry has eight children, there are seven
  /// levels above the leaves, and a leaf sums up a chunk.
  package struct Level: Hashable, Comparable, Sendable {
    package let number: Int

    package init(_ number: Int) { self.number = number }

    package static var root: Level { Level(0) }
    package static var leaves: Level { Level(7) }

    @inline(__always) package var below: Level { Level(number &+ 1) }
    @inline(__always) package var above: Level { Level(number &- 1) }

    package static func < (a: Level, b: Level) -> Bool { a.number < b.number }

    /// Chunks of an entry, as a power of two.
    @inline(__always) package var chunkShift: Int {
      PageSummaryTree.fanOutShift &* (Level.leaves.number &- number)
    }

    /// Pages of an entry, as a power of two.
    @inline(__always) package var pageShift: Int {
      chunkShift &+ Int(truncatingIfNeeded: Geometry.chunkPageShift)
    }

    /// Entries of the level.
    @inline(__always) package var entryCount: Int { Geometry.chunkCount &>> chunkShift }

    /// Where the level begins among the upper entries: behind those of the levels above it.
    ///
    /// Each level has eight times as many entries as the one above. The sum of such a series,
    /// up to but not including this level, is (entries of this level - entries of the root) / 7.
    @inline(__always) var offset: Int {
      (entryCount &- Level.root.entryCount) / (PageSummaryTree.fanOut &- 1)
    }

    /// The entry that sums up a chunk.
    @inline(__always) package func entry(of chunk: ChunkIndex) -> Int {
      Int(bitPattern: chunk.number) &>> chunkShift
    }

    /// The entries that sum up some chunks.
    @inline(__always)
    package func entries(of chunks: ClosedRange<ChunkIndex>) -> ClosedRange<Int> {
      entry(of: chunks.lowerBound)...entry(of: chunks.upperBound)
    }

    /// The first page that an entry sums up.
    @inline(__always) package func firstPage(of entry: Int) -> PageIndex {
      PageIndex(UInt(bitPattern: entry &<< pageShift))
    }
  }

  /// Children of an entry.
  package static var fanOut: Int { 1 << fanOutShift }
  private static var fanOutShift: Int { 3 }

  /// Where the entries are: to be committed before `add`, with no lock held that others need.
  package let memory: SummaryMemory
  private let owned: UnsafeMutablePointer<UInt64>
  private let upper: UnsafeMutablePointer<PageSummary>
  private let leaves: UnsafeMutablePointer<UInt32>

  /// The chunks from the heap's first to its last; nil for a heap without memory.
  private var chunks: ClosedRange<ChunkIndex>?
  /// The level that searches start on; the leaves for a heap without memory.
  package private(set) var top = Level.leaves

  /// Reserves the levels. Throws what the system says, and leaves nothing behind then.
  package init() throws(SystemFailure) {
    memory = try SummaryMemory.reserve()
    // SAFETY: the three arrays lie in the reservation one after the other, zero when
    // committed, and zero is a valid value of each.
    unsafe owned = memory.array(at: SummaryMemory.ownedOffset)
    unsafe upper = memory.array(at: SummaryMemory.upperOffset)
    unsafe leaves = memory.array(at: SummaryMemory.leafOffset)
  }

  deinit { memory.release() }

  // MARK: - Entries

  /// Whether an arena of the address space is the heap's.
  @inline(__always) package func owns(_ arena: ArenaIndex) -> Bool {
    require(arena.number < UInt(Geometry.arenaCount), "no such arena")
    let number = Int(bitPattern: arena.number)
    return unsafe owned[number >> 6] &>> UInt64(truncatingIfNeeded: number & 63) & 1 != 0
  }

  /// An entry of a level at or below the top.
  /// - Precondition: it or a sibling of it covers an arena of the heap.
  @inline(__always) package subscript(_ level: Level, _ entry: Int) -> PageSummary {
    assert(0 <= entry && entry < level.entryCount)
    return level == .leaves
      ? leaf(ChunkIndex(UInt(bitPattern: entry))) : unsafe upper[level.offset &+ entry]
  }

  @inline(__always) package func leaf(_ chunk: ChunkIndex) -> PageSummary {
    PageSummary(packed: unsafe leaves[Int(bitPattern: chunk.number)])
  }

  /// Replaces a chunk's summary; `refresh` makes the levels above follow. Whether it differs.
  @inline(__always)
  package mutating func setLeaf(_ chunk: ChunkIndex, _ summary: PageSummary) -> Bool {
    let packed = summary.packed
    let place = Int(bitPattern: chunk.number)
    guard unsafe leaves[place] != packed else { return false }
    unsafe leaves[place] = packed
    return true
  }

  /// What the children of an upper entry add up to.
  package func merged(_ level: Level, _ entry: Int) -> PageSummary {
    let firstChild = entry &<< Self.fanOutShift
    let pages = UInt32(1) &<< UInt32(truncatingIfNeeded: level.below.pageShift)
    if level.below == .leaves {
      return PageSummary(of: pages) { PageSummary(packed: unsafe leaves[firstChild &+ $0]) }
    }
    let place = level.below.offset &+ firstChild
    return PageSummary(of: pages) { unsafe upper[place &+ $0] }
  }

  /// Recomputes what is above some chunks, up to the top or to where nothing changes.
  package mutating func refresh(above chunks: ClosedRange<ChunkIndex>) {
    var level = Level.leaves
    while level > top {
      level = level.above
      var hasChanged = false
      let entries = level.entries(of: chunks)
      var entry = entries.lowerBound
      while entry <= entries.upperBound {
        let sum = merged(level, entry)
        if unsafe upper[level.offset &+ entry] != sum {
          unsafe Self.store(sum, in: upper, at: level.offset &+ entry)
          hasChanged = true
        }
        entry &+= 1
      }
      guard hasChanged else { return }
    }
  }

  // MARK: - Growth

  /// Takes in new arenas, which have no free pages yet, and moves the top up to where all of the
  /// heap is in sight.
  ///
  /// - Precondition: `memory` has been committed for the arenas.
  package mutating func add(_ arenas: ClosedRange<ArenaIndex>) {
    for number in arenas.lowerBound.number...arenas.upperBound.number {
      unsafe Self.setBit(Int(bitPattern: number), in: owned)
    }
    let added = arenas.chunks
    guard let old = chunks else {
      chunks = added
      top = Self.top(over: added)
      return
    }
    let all = min(old.lowerBound, added.lowerBound)...max(old.upperBound, added.upperBound)
    let newTop = Self.top(over: all)
    // The entries above the old top have never been computed.
    while top > newTop {
      top = top.above
      for entry in top.entries(of: old) {
        unsafe Self.store(merged(top, entry), in: upper, at: top.offset &+ entry)
      }
    }
    chunks = all
  }

  // Stores into the arrays, in functions of their own: with them in line the compiler of Swift
  // 6.2 cannot build the package for ThreadSanitizer ("Invalid bitcast").

  private static func setBit(_ bit: Int, in words: UnsafeMutablePointer<UInt64>) {
    unsafe words[bit >> 6] |= 1 << UInt64(bit & 63)
  }

  @inline(__always)
  private static func store(
    _ summary: PageSummary, in entries: UnsafeMutablePointer<PageSummary>, at place: Int
  ) {
    unsafe entries[place] = summary
  }

  /// The deepest level on which some chunks span at most eight entries.
  package static func top(over chunks: ClosedRange<ChunkIndex>) -> Level {
    var level = Level.leaves
    while level > .root, level.entries(of: chunks).count > fanOut { level = level.above }
    return level
  }

  // MARK: - Search

  /// Where the first `count` contiguous free pages are: their first page if they reach across
  /// a chunk's border or lie at a chunk's start, else the chunk that they lie in.
  ///
  /// At each level the entries are read in order. `run` is how many pages are free right before
  /// the entry at hand. If they and the entry's first free pages are enough, the run is found.
  /// If the entry has enough inside, the search goes on among its children. So at most eight
  /// entries a level are read (32 of the root).
  ///
  /// - Parameter start: a page before which no such run begins.
  package func firstRun(of count: Int, from start: PageIndex) -> PageSearchResult? {
    guard let chunks else { return nil }
    var level = top
    var entry = level.entry(of: chunks.lowerBound)
    var last = level.entry(of: chunks.upperBound)
    while true {
      let pages = 1 &<< level.pageShift
      entry = max(entry, level.entry(of: start.chunk))
      var run = 0
      while true {
        guard entry <= last else {
          require(level == top, "a page summary promises a run that is not there")
          return nil
        }
        let summary = self[level, entry]
        if run &+ Int(summary.start) >= count { return .page(level.firstPage(of: entry) + -run) }
        if summary.longest >= count { break }
        run = summary.end == pages ? run &+ pages : Int(summary.end)
        entry &+= 1
      }
      if level == .leaves { return .chunk(ChunkIndex(UInt(bitPattern: entry))) }
      level = level.below
      entry = entry &<< Self.fanOutShift
      last = entry &+ Self.fanOut &- 1
    }
  }

  /// The longest run of free pages.
  package var longestRun: Int {
    guard let chunks else { return 0 }
    var row = PageRow()
    for entry in top.entries(of: chunks) { row.append(self[top, entry], of: 1 << top.pageShift) }
    return row.longest
  }

  // MARK: - Invariants

  /// Calls `body` with each arena of the heap, ascending.
  package func forEachArena(_ body: (ArenaIndex) -> Void) {
    guard let chunks else { return }
    for word in chunks.lowerBound.arena.number >> 6...chunks.upperBound.arena.number >> 6 {
      var bits = unsafe owned[Int(bitPattern: word)]
      while bits != 0 {
        body(ArenaIndex(word << 6 + UInt(bits.trailingZeroBitCount)))
        bits &= bits &- 1
      }
    }
  }

  /// Reports each entry that is not what its children add up to.
  package func checkInvariants(_ report: (String) -> Void) {
    guard let chunks else { return }
    if top != Self.top(over: chunks) {
      report("the top of the summaries is \(top), not \(Self.top(over: chunks))")
    }
    var level = Level.leaves
    while level > top {
      level = level.above
      var checked = -1
      forEachArena { arena in
        for entry in level.entries(of: arena.chunks) where entry > checked {
          checked = entry
          let (found, sum) = (self[level, entry], merged(level, entry))
          if found != sum {
            report(
              "summary \(entry) of level \(level.number) is \(found), its children add up to \(sum)"
            )
          }
        }
      }
    }
  }
}
