// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The page allocator: n contiguous free pages, the lowest there are.
//
// Address-ordered first fit keeps the heap dense at its low end and leaves long free runs at
// its high end, where they can be given back to the system and where large objects fit. It
// would be a slow policy with a free list; here it is a search by place:
//
//   bitmap     one bit a page, in the arena's side tables (PageBitmap)    the truth
//   summaries  a tree of (start, longest, end) over all chunks            PageSummaryTree
//   hints      for n = 1…16: no n free pages begin below this page        `hints`
//
// Allocation asks the hint's own chunk first. It has the pages nearly always; if not, the
// tree is searched from the hint on: at most eight entries a level, and a chunk's eight words.
// Then the bits are cleared, the chunk's summary is computed again, and the levels above
// until one does not change. Free is the same without the search. Neither depends on the
// size of the heap but through the number of levels, three for 1 GiB and eight for 256 TiB;
// neither walks a list. Runs may cross chunks and arenas; addresses between two arenas that
// are not the heap's have no free bit, so no run crosses them.
//
// Which pages are clean, and which have memory behind them, is the page heap's business.
//
// Invariant   freePages is the number of set bits. Leaves are as the bitmaps say. No n free
//             pages begin below hints[n - 1], and hints[n - 1] <= hints[n] + 1.
// Guarded by  the page heap's lock: not thread-safe itself.
//
// After: M. Knyszek and A. Clements, "Scaling the Go page allocator", Go proposal 35112.
// Overview: Documentation/AllocatorTiers.md

/// Finds, takes and returns runs of pages.
package struct PageAllocator: ~Copyable {
  private var tree: PageSummaryTree

  /// How many pages are free.
  package private(set) var freePages = 0

  /// For a count c up to 16, no c contiguous free pages begin below `hints[c - 1]`; the last
  /// serves longer runs as well. More hints make more counts start at the right chunk, and
  /// every free look at more of them. Spans of small objects have 1 to 10 pages.
  private var hints: InlineArray<16, Int>

  /// A page allocator without pages.
  package init() throws(SystemFailure) {
    tree = try PageSummaryTree()
    hints = InlineArray(repeating: PageSummaryTree.pageLimit)
  }

  /// The longest run of free pages.
  /// - Complexity: O(1), at most 32 steps.
  package var longestFreeRun: Int { tree.longestRun }

  // MARK: - Growth

  /// Adds whole arenas, all of their pages free, and joins them to free neighbours.
  ///
  /// - Precondition: the arenas' tables are in the arena index, and they were not added
  ///   before.
  /// - Throws: what the system says when it refuses memory for the summaries; everything is
  ///   as it was then.
  package mutating func grow(by first: PageIndex, count: Int) throws(SystemFailure) {
    let start = Self.checkedStart(first, count)
    require(
      first.inArena == 0 && count & (Geometry.pagesPerArena - 1) == 0,
      "the page allocator grows by whole arenas")
    let arenas = start >> 13...(start + count - 1) >> 13
    for arena in arenas {
      require(!tree.owns(arena: arena), "an arena is added to the page allocator once")
      require(
        ArenaTables.find(UInt(arena) << Geometry.arenaShift) != nil,
        "an arena's tables are published before its pages are free")
    }
    try tree.add(arenas: arenas)
    put(start, count)
  }

  // MARK: - Allocation

  /// Takes the lowest `count` contiguous free pages, or nil if there are none.
  ///
  /// - Precondition: `count` is positive.
  /// - Complexity: O(levels), and O(chunks taken).
  package mutating func allocate(_ count: Int) -> PageIndex? {
    require(count > 0, "an allocation has at least one page")
    guard count <= freePages else { return nil }
    guard let start = firstRun(of: count) else {
      raiseHints(from: count, to: PageSummaryTree.pageLimit)
      return nil
    }
    // No `count` pages are free below the run, and its own no longer are.
    raiseHints(from: count, to: start + count)
    take(start, count)
    return PageIndex(UInt(bitPattern: start))
  }

  /// Takes these pages if all of them are free; whether they were.
  ///
  /// - Precondition: `count` is positive and the pages exist; they need not be the heap's.
  package mutating func allocate(at first: PageIndex, count: Int) -> Bool {
    let start = Self.checkedStart(first, count)
    guard count <= freePages else { return false }
    let isFree = Self.forEachChunk(start, count) { chunk, pages in
      tree.owns(arena: chunk >> 4) && Self.bitmap(chunk).isAllFree(pages)
    }
    guard isFree else { return false }
    take(start, count)
    return true
  }

  /// Makes pages free again and joins them to free neighbours.
  ///
  /// - Precondition: the pages are the heap's, and none of them is free.
  /// - Complexity: O(levels), and O(chunks freed).
  package mutating func free(_ first: PageIndex, _ count: Int) {
    put(Self.checkedStart(first, count), count)
  }

  private static func checkedStart(_ first: PageIndex, _ count: Int) -> Int {
    require(count > 0, "a run of pages has at least one page")
    require(
      first.number < UInt(PageSummaryTree.pageLimit)
        && count <= PageSummaryTree.pageLimit - Int(bitPattern: first.number),
      "a run of pages lies below the end of the 48-bit address space")
    return Int(bitPattern: first.number)
  }

  private func firstRun(of count: Int) -> Int? {
    let hint = hints[min(count, 16) - 1]
    let chunk = hint >> 9
    // A run inside the hint's chunk comes before all that leave the chunk or lie behind it.
    // (The hint may lie in no arena, right behind the heap for one; then its leaf is nobody's.)
    if 0 <= hint, hint < PageSummaryTree.pageLimit, tree.owns(arena: chunk >> 4),
      tree.leaf(chunk).longest >= count
    {
      return Self.firstRun(of: count, inChunk: chunk, from: hint & 511)
    }
    switch tree.firstRun(of: count, from: hint) {
    case .page(let page): return page
    case .chunk(let chunk):
      return Self.firstRun(of: count, inChunk: chunk, from: max(0, hint - chunk << 9))
    case nil: return nil
    }
  }

  /// The first run in a chunk whose summary says that it has one.
  private static func firstRun(of count: Int, inChunk chunk: Int, from start: Int) -> Int {
    guard let page = bitmap(chunk).firstRun(of: count, from: start) else {
      broken("chunk \(chunk) has no \(count) free pages, but its summary says so")
    }
    return chunk << 9 + page
  }

  // MARK: - Taking and putting back

  /// Clears the bits of free pages, and makes the summaries follow.
  private mutating func take(_ start: Int, _ count: Int) {
    freePages -= count
    var hasChanged = false
    _ = Self.forEachChunk(start, count) { chunk, pages in
      let bitmap = Self.bitmap(chunk)
      assert(bitmap.isAllFree(pages), "the page allocator took pages that are in use")
      bitmap.setUsed(pages)
      let summary =
        pages.count == 512
        ? PageSummary() : bitmap.summary(tree.leaf(chunk), afterTaking: pages)
      if tree.setLeaf(chunk, summary) { hasChanged = true }
      return true
    }
    if hasChanged { tree.refresh(above: start >> 9...(start + count - 1) >> 9) }
  }

  /// Sets the bits of pages in use, makes the summaries follow, and lowers the hints.
  private mutating func put(_ start: Int, _ count: Int) {
    var hasChanged = false
    _ = Self.forEachChunk(start, count) { chunk, pages in
      require(
        tree.owns(arena: chunk >> 4), "pages were freed that are not of this heap")
      let bitmap = Self.bitmap(chunk)
      require(bitmap.isAllUsed(pages), "pages were freed that are free already")
      bitmap.setFree(pages)
      let summary =
        pages.count == 512
        ? PageSummary(allFree: 512) : bitmap.summary(tree.leaf(chunk), afterFreeing: pages)
      if tree.setLeaf(chunk, summary) { hasChanged = true }
      return true
    }
    freePages += count
    lowerHints(to: start)
    if hasChanged { tree.refresh(above: start >> 9...(start + count - 1) >> 9) }
  }

  /// Calls `body` with each chunk that some pages lie in, and their places in it, until a
  /// call answers false; whether none did.
  @inline(__always)
  private static func forEachChunk(
    _ start: Int, _ count: Int, _ body: (Int, Range<Int>) -> Bool
  ) -> Bool {
    var page = start
    let end = start + count
    while page < end {
      let first = page & 511
      let length = min(512 - first, end - page)
      guard body(page >> 9, first..<first + length) else { return false }
      page += length
    }
    return true
  }

  /// - Precondition: the chunk is in an arena of the heap.
  @inline(__always) private static func bitmap(_ chunk: Int) -> PageBitmap {
    let tables = ArenaTables.of(UInt(bitPattern: chunk) << Geometry.chunkShift)
    return unsafe PageBitmap(
      tables.chunkBits(ArenaTables.Layout.free, chunkInArena: chunk & 15))
  }

  // MARK: - Hints

  /// Learns that no `count` free pages begin below `page`; nor, then, do more than `count`.
  @inline(__always) private mutating func raiseHints(from count: Int, to page: Int) {
    var index = count - 1
    while index < 16, hints[index] < page {
      hints[index] = page
      index += 1
    }
  }

  /// Learns that pages from `page` on became free: a run of c that one of them completes
  /// begins at most c - 1 pages before.
  ///
  /// Looks from the longest down and stops early. If hints[c] <= page - c, then hints[c - 1],
  /// at most one more (c pages from p on are c - 1 from p on and from p + 1 on, so raising
  /// and lowering both keep it so), is low enough as well.
  @inline(__always) private mutating func lowerHints(to page: Int) {
    var index = 15
    while index >= 0, hints[index] > page - index {
      hints[index] = page - index
      index -= 1
    }
  }

  // MARK: - Invariants

  /// Reports everything that contradicts the bitmaps. Walks all of them.
  package func checkInvariants(_ report: (String) -> Void) {
    var total = 0
    tree.forEachArena { arena in
      guard ArenaTables.find(UInt(arena) << Geometry.arenaShift) != nil else {
        report("arena \(arena) of the page allocator is not in the arena index")
        return
      }
      for chunk in arena << 4...arena << 4 | 15 {
        let bitmap = Self.bitmap(chunk)
        total += bitmap.freeCount()
        if tree.leaf(chunk) != bitmap.summary {
          report("the leaf of chunk \(chunk) is \(tree.leaf(chunk)), not \(bitmap.summary)")
        }
      }
    }
    if total != freePages { report("\(total) pages are free, counted are \(freePages)") }
    tree.checkInvariants(report)
    for index in 0..<16 {
      if let first = tree.firstRun(of: index + 1, from: 0) {
        let page: Int
        switch first {
        case .page(let start): page = start
        case .chunk(let chunk):
          page = Self.firstRun(of: index + 1, inChunk: chunk, from: 0)
        }
        if page < hints[index] {
          report("\(index + 1) pages are free at \(page), below their hint \(hints[index])")
        }
      }
      if index > 0, hints[index - 1] > hints[index] + 1 {
        report("hint \(index - 1) is \(hints[index - 1]), hint \(index) only \(hints[index])")
      }
    }
  }
}
