// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Summaries of free pages, and the tree of them.
//
// A summary says three things of a stretch of pages: how many are free at its start, in its
// longest free run, and at its end. That is what it takes to find a run without looking at
// pages: a run of n lies inside a stretch if its longest is at least n, and across the border
// of two if the end of one and the start of the next add up to n. The summary of eight
// neighbours follows from theirs.
//
// The tree covers the whole 48-bit space, 2^35 pages, with fixed places: entry i of a level
// sums up entries 8i to 8i+7 of the next.
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
// All of it is reserved, 366 MiB of addresses; only entries of arenas that the heap has, and
// their seven siblings, are committed. Per 64 MiB arena that is about 90 bytes.
//
// A heap of a gigabyte needs no eight levels. The tree has a top: the deepest level on which
// the heap spans at most eight entries (the root may span 32). Search starts there, updates
// end there, and what is above has never been written. When the heap outgrows it, the top
// moves up and the new entries are computed from the old.
//
// Invariant   from the top down, an entry with an owned page below it is the merge of its
//             children; an entry without one is zero, or not committed and never read.
//             Leaves are as their chunk's bitmap says.
// Guarded by  the page heap's lock.
//
// Overview: Documentation/AllocatorTiers.md

/// The free pages of a stretch: at its start, in its longest run, and at its end.
///
/// Counts go up to 2^30, a root entry's pages.
package struct PageSummary: Hashable, Sendable {
  package var start: UInt32
  package var longest: UInt32
  package var end: UInt32

  package init(start: UInt32, longest: UInt32, end: UInt32) {
    self.start = start
    self.longest = longest
    self.end = end
  }

  /// No page is free.
  package init() { self.init(start: 0, longest: 0, end: 0) }

  /// All of a stretch of `count` pages are free.
  package init(allFree count: UInt32) { self.init(start: count, longest: count, end: count) }

  /// Takes in the stretch that follows. This one has `count` pages so far, the next `more`.
  @inline(__always)
  package mutating func append(_ next: PageSummary, of more: UInt32, after count: UInt32) {
    if start == count { start &+= next.start }
    longest = max(longest, next.longest, end &+ next.start)
    end = next.end == more ? end &+ more : next.end
  }

  /// The sum of eight neighbours of `pages` pages each.
  @inline(__always)
  package init(of pages: UInt32, merging child: (Int) -> PageSummary) {
    self = child(0)
    for index in 1..<8 {
      append(child(index), of: pages, after: pages &* UInt32(truncatingIfNeeded: index))
    }
  }

  // MARK: - Packed

  /// Ten bits a count, for a chunk: 0 to 512. The two upper bits are 0.
  package init(packed bits: UInt32) {
    self.init(start: bits & 0x3ff, longest: bits &>> 10 & 0x3ff, end: bits &>> 20)
  }

  /// - Precondition: no count is over 1023.
  package var packed: UInt32 {
    require((start | longest | end) < 1024, "only a chunk's summary can be packed")
    return start | longest &<< 10 | end &<< 20
  }
}

/// The longest free run of stretches in a row: any number of them, up to all 2^35 pages,
/// which a summary's 32 bits cannot count.
package struct PageRow {
  package private(set) var longest = 0
  /// Free pages at the end.
  private var run = 0

  package init() {}

  /// Takes in the next stretch, of `pages` pages.
  package mutating func append(_ next: PageSummary, of pages: Int) {
    longest = max(longest, Int(next.longest), run + Int(next.start))
    run = Int(next.end) == pages ? run + pages : Int(next.end)
  }
}

// MARK: - The tree

/// Where a search ended: at a page, or in a chunk whose bitmap knows the page.
package enum PageSearchResult: Equatable, Sendable {
  case page(Int)
  case chunk(Int)
}

/// The summaries of all chunks, and of those. Pages, chunks and entries are plain indices
/// from address 0 on.
@safe package struct PageSummaryTree: ~Copyable {
  package static var leafLevel: Int { 7 }
  package static var fanOut: Int { 8 }
  /// Pages of the address space, 2^35.
  package static var pageLimit: Int { 1 << 35 }

  package static func entryCount(_ level: Int) -> Int { 32 &<< (3 &* level) }

  /// Logarithm of the pages of an entry.
  @inline(__always) package static func pageShift(_ level: Int) -> Int { 30 &- 3 &* level }

  /// Logarithm of the chunks of an entry.
  @inline(__always) static func chunkShift(_ level: Int) -> Int { 21 &- 3 &* level }

  /// Where a level begins among the upper entries: 32 (1 + 8 + 64 + …).
  @inline(__always) static func offset(_ level: Int) -> Int {
    (0o1111111 & (1 &<< (3 &* level) &- 1)) &<< 5
  }

  private static var ownedSize: Int { 1 << 19 }  // a bit for each of 2^22 arenas
  private static var upperSize: Int {
    // To 64 KiB, the largest page of any system: what is reserved is whole pages.
    Int(UInt(offset(leafLevel) * MemoryLayout<PageSummary>.stride).aligned(up: 64 << 10))
  }
  private static var leafSize: Int { entryCount(leafLevel) * MemoryLayout<UInt32>.stride }

  /// Bytes of addresses that a tree reserves; the part in use is a millionth of the heap.
  package static var reservedSize: Int { ownedSize + upperSize + leafSize }

  private let base: UInt
  private let owned: UnsafeMutablePointer<UInt64>
  private let upper: UnsafeMutablePointer<PageSummary>
  private let leaves: UnsafeMutablePointer<UInt32>

  /// The chunks from the heap's first to its last, and the level that search starts on; nil
  /// and the leaves' for a heap without memory.
  private var chunks: ClosedRange<Int>?
  package private(set) var top = leafLevel

  /// Reserves the levels. Throws what the system says, and leaves nothing behind then.
  package init() throws(SystemFailure) {
    let base = try VirtualMemory.reserve(
      size: Self.reservedSize, alignment: VirtualMemory.systemPageSize)
    do {
      // Which arenas are ours can be asked of any page. Untouched words have no memory.
      try VirtualMemory.commit(base, size: Self.ownedSize)
    } catch {
      VirtualMemory.release(base, size: Self.reservedSize)
      throw error
    }
    self.base = base
    // SAFETY: the three arrays lie in the reservation one after the other, zero when
    // committed, and zero is a valid value of each.
    func array<T>(at offset: Int, of: T.Type) -> UnsafeMutablePointer<T> {
      let start = unsafe UnsafeMutableRawPointer(bitPattern: base + UInt(offset))
      return unsafe start.unsafelyUnwrapped.assumingMemoryBound(to: T.self)
    }
    unsafe owned = array(at: 0, of: UInt64.self)
    unsafe upper = array(at: Self.ownedSize, of: PageSummary.self)
    unsafe leaves = array(at: Self.ownedSize + Self.upperSize, of: UInt32.self)
  }

  deinit { VirtualMemory.release(base, size: Self.reservedSize) }

  // MARK: - Entries

  /// Whether the arena with this number is the heap's. Any number of a 48-bit address.
  @inline(__always) package func owns(arena: Int) -> Bool {
    require(0 <= arena && arena < 1 << 22, "no such arena")
    return unsafe owned[arena >> 6] &>> UInt64(truncatingIfNeeded: arena & 63) & 1 != 0
  }

  /// An entry of a level at or below the top.
  /// - Precondition: it or a sibling of it covers an arena of the heap.
  @inline(__always) package subscript(_ level: Int, _ index: Int) -> PageSummary {
    assert(0 <= index && index < Self.entryCount(level))
    return level == Self.leafLevel
      ? leaf(index) : unsafe upper[Self.offset(level) &+ index]
  }

  @inline(__always) package func leaf(_ chunk: Int) -> PageSummary {
    PageSummary(packed: unsafe leaves[chunk])
  }

  /// Replaces a chunk's summary; `refresh` makes the levels above follow. Whether it differs.
  @inline(__always) package mutating func setLeaf(_ chunk: Int, _ summary: PageSummary) -> Bool {
    let packed = summary.packed
    guard unsafe leaves[chunk] != packed else { return false }
    unsafe leaves[chunk] = packed
    return true
  }

  /// What the children of an upper entry add up to.
  package func merged(_ level: Int, _ index: Int) -> PageSummary {
    let first = index &<< 3
    let pages = UInt32(1) &<< UInt32(truncatingIfNeeded: Self.pageShift(level &+ 1))
    if level &+ 1 == Self.leafLevel {
      return PageSummary(of: pages) { leaf(first &+ $0) }
    }
    let place = Self.offset(level &+ 1) &+ first
    return PageSummary(of: pages) { unsafe upper[place &+ $0] }
  }

  /// Recomputes what is above some chunks, up to the top or to where nothing changes.
  package mutating func refresh(above chunks: ClosedRange<Int>) {
    var (first, last) = (chunks.lowerBound, chunks.upperBound)
    var level = Self.leafLevel
    while level > top {
      (first, last, level) = (first >> 3, last >> 3, level - 1)
      var hasChanged = false
      for index in first...last {
        let sum = merged(level, index)
        let place = Self.offset(level) &+ index
        if unsafe upper[place] != sum {
          unsafe upper[place] = sum
          hasChanged = true
        }
      }
      guard hasChanged else { return }
    }
  }

  // MARK: - Growth

  /// Makes the entries of new arenas, which have no free pages yet, and moves the top up to
  /// where they are in sight. On failure everything is as it was.
  package mutating func add(arenas: ClosedRange<Int>) throws(SystemFailure) {
    let added = arenas.lowerBound << 4...arenas.upperBound << 4 | 15
    try commit(added)
    for arena in arenas { unsafe Self.setBit(arena, in: owned) }
    guard let old = chunks else {
      chunks = added
      top = Self.top(over: added)
      return
    }
    let all =
      min(old.lowerBound, added.lowerBound)...max(old.upperBound, added.upperBound)
    let newTop = Self.top(over: all)
    // The old top's parents have never been computed.
    for level in (newTop..<top).reversed() {
      let shift = Self.chunkShift(level)
      for index in old.lowerBound >> shift...old.upperBound >> shift {
        unsafe Self.store(merged(level, index), in: upper, at: Self.offset(level) + index)
      }
    }
    chunks = all
    top = newTop
  }

  // Two stores of `add`, in functions of their own: with them in line the compiler of Swift 6.2
  // cannot build the package for ThreadSanitizer ("Invalid bitcast").

  private static func setBit(_ arena: Int, in words: UnsafeMutablePointer<UInt64>) {
    unsafe words[arena >> 6] |= 1 << UInt64(arena & 63)
  }

  private static func store(
    _ summary: PageSummary, in entries: UnsafeMutablePointer<PageSummary>, at place: Int
  ) {
    unsafe entries[place] = summary
  }

  /// The deepest level on which some chunks span at most eight entries.
  package static func top(over chunks: ClosedRange<Int>) -> Int {
    var level = leafLevel
    while level > 0 {
      let shift = chunkShift(level)
      if chunks.upperBound >> shift - chunks.lowerBound >> shift < fanOut { break }
      level -= 1
    }
    return level
  }

  /// Commits the entries of some chunks on all levels, with their siblings.
  private func commit(_ chunks: ClosedRange<Int>) throws(SystemFailure) {
    for level in 0...Self.leafLevel {
      let shift = Self.chunkShift(level)
      var first = chunks.lowerBound >> shift & ~7
      var end = chunks.upperBound >> shift | 7
      if level == 0 { (first, end) = (0, 31) }
      let (start, stride) =
        level == Self.leafLevel
        ? (Self.ownedSize + Self.upperSize, MemoryLayout<UInt32>.stride)
        : (
          Self.ownedSize + Self.offset(level) * MemoryLayout<PageSummary>.stride,
          MemoryLayout<PageSummary>.stride
        )
      let page = UInt(VirtualMemory.systemPageSize)
      let from = (base + UInt(start + first * stride)) & ~(page - 1)
      let to = (base + UInt(start + (end + 1) * stride)).aligned(up: page)
      try VirtualMemory.commit(from, size: Int(to - from))
    }
  }

  // MARK: - Search

  /// Where the first `count` contiguous free pages are: their first page if they reach across
  /// a chunk's border or lie at a chunk's start, else the chunk that they lie in.
  ///
  /// At each level entries are taken in order, with the free pages up to the border before
  /// them in `run`. The first border or inside that has room decides; an inside is looked at
  /// one level down. So at most eight entries a level are read (32 of the root).
  ///
  /// - Parameter start: a page before which no such run begins.
  package func firstRun(of count: Int, from start: Int) -> PageSearchResult? {
    guard let chunks else { return nil }
    var level = top
    var index = chunks.lowerBound >> Self.chunkShift(level)
    var last = chunks.upperBound >> Self.chunkShift(level)
    while true {
      let shift = Self.pageShift(level)
      index = max(index, start >> shift)
      var run = 0
      while true {
        guard index <= last else {
          require(level == top, "a page summary promises a run that is not there")
          return nil
        }
        let entry = self[level, index]
        if run &+ Int(entry.start) >= count { return .page(index &<< shift &- run) }
        if entry.longest >= count { break }
        run = entry.end == 1 &<< shift ? run &+ 1 &<< shift : Int(entry.end)
        index &+= 1
      }
      if level == Self.leafLevel { return .chunk(index) }
      level &+= 1
      (index, last) = (index &<< 3, index &<< 3 &+ 7)
    }
  }

  /// The longest run of free pages.
  package var longestRun: Int {
    guard let chunks else { return 0 }
    let shift = Self.chunkShift(top)
    var row = PageRow()
    for index in chunks.lowerBound >> shift...chunks.upperBound >> shift {
      row.append(self[top, index], of: 1 << Self.pageShift(top))
    }
    return row.longest
  }

  // MARK: - Invariants

  /// Calls `body` with the number of each arena of the heap, ascending.
  package func forEachArena(_ body: (Int) -> Void) {
    guard let chunks else { return }
    for word in chunks.lowerBound >> 10...chunks.upperBound >> 10 {
      var bits = unsafe owned[word]
      while bits != 0 {
        body(word << 6 + bits.trailingZeroBitCount)
        bits &= bits &- 1
      }
    }
  }

  /// Reports each entry that is not what its children add up to.
  package func checkInvariants(_ report: (String) -> Void) {
    guard let chunks else { return }
    if top != Self.top(over: chunks) {
      report("the top of the summaries is level \(top), not \(Self.top(over: chunks))")
    }
    for level in top..<Self.leafLevel {
      var checked = -1
      forEachArena { arena in
        // An arena's 16 chunks are two entries of level 6, one of each level above.
        for index in (arena << 4) >> Self.chunkShift(level)...(arena << 4 | 15)
          >> Self.chunkShift(level) where index > checked
        {
          checked = index
          let (found, sum) = (self[level, index], merged(level, index))
          if found != sum {
            report("summary \(index) of level \(level) is \(found), its children add up to \(sum)")
          }
        }
      }
    }
  }
}
