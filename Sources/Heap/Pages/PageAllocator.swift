// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The page allocator: n contiguous free pages, the lowest there are.
//
// Address-ordered first fit keeps the heap dense at its low end. It leaves long free runs at the
// high end, where large objects fit and where memory can be given back to the system. With a
// list of free runs this would be a slow policy. Here it is a search by place:
//
//   bitmap     one bit a page, in the arena's side tables (PageBitmap)    the truth
//   summaries  a tree of (start, longest, end) over all chunks            PageSummaryTree
//   hints      for n = 1…16: no n free pages begin below this page        `hints`
//
// An allocation asks the chunk of its hint first, which nearly always has the pages. If not, it
// searches the tree from the hint on: at most eight entries a level, and eight words of a
// chunk. Then it clears the bits, computes the chunk's summary again, and goes up the levels
// until one does not change. Freeing does the same without the search. The size of the heap
// matters through the number of levels only: three for 1 GiB, eight for 256 TiB.
//
// Runs may cross chunks and arenas. Addresses between two arenas that are not the heap's have no
// free bit, so no run crosses them. Which pages are zero, and which have memory behind them, is
// the page heap's business.
//
// Invariant   freePages is the number of set bits. Leaves are as the bitmaps say. No n free
//             pages begin below hints[n - 1], and hints[n - 1] <= hints[n] + 1.
// Guarded by  the page heap's lock. The allocator itself is not thread-safe.
//
// After: M. Knyszek and A. Clements, "Scaling the Go page allocator", Go proposal 35112.
// Overview: Documentation/AllocatorTiers.md

/// Finds, takes and returns runs of pages.
package struct PageAllocator: ~Copyable {
  private var tree: PageSummaryTree

  /// How many pages are free.
  package private(set) var freePages = 0

  /// For a count c up to 16, no c contiguous free pages begin below `hints[c - 1]`; the last
  /// one serves longer runs as well. With more hints, more counts start at the right chunk, and
  /// every free looks at more of them. Spans of small objects have 1 to 10 pages.
  private var hints: InlineArray<16, PageIndex>

  /// A page allocator without pages.
  package init() throws(SystemFailure) {
    tree = try PageSummaryTree()
    hints = InlineArray(repeating: .end)
  }

  /// Where the summaries are: to be committed before `add`.
  package var summaryMemory: SummaryMemory { tree.memory }

  /// The longest run of free pages.
  /// - Complexity: O(1), at most 32 steps.
  package var longestFreeRun: Int { tree.longestRun }

  // MARK: - Growth

  /// Adds arenas, all of their pages free, and joins them to free neighbours.
  ///
  /// - Precondition: `summaryMemory` has been committed for the arenas, their tables are in the
  ///   arena index, and they were not added before.
  package mutating func add(_ arenas: ClosedRange<ArenaIndex>) {
    for arena in arenas {
      require(!tree.owns(arena), "an arena is added to the page allocator once")
      require(
        ArenaTables.find(arena.address) != nil,
        "an arena's tables are published before its pages are free")
    }
    tree.add(arenas)
    free(arenas.pages)
  }

  // MARK: - Allocation

  /// Takes the lowest `count` contiguous free pages, or nil if there are none.
  ///
  /// - Precondition: `count` is positive.
  /// - Complexity: O(levels), and O(chunks taken).
  package mutating func allocate(_ count: Int) -> PageRange? {
    require(count > 0, "an allocation has at least one page")
    guard count <= freePages else { return nil }
    guard let first = firstRun(of: count) else {
      raiseHints(from: count, to: .end)
      return nil
    }
    let pages = PageRange(first, count: count)
    // No `count` pages are free below the run, and its own no longer are.
    raiseHints(from: count, to: pages.end)
    take(pages)
    return pages
  }

  private func firstRun(of count: Int) -> PageIndex? {
    let hint = hints[min(count, hints.count) - 1]
    // A run inside the hint's chunk comes before all that leave the chunk or lie behind it.
    // (The hint may lie in no arena, right behind the heap for one; then its leaf is nobody's.)
    if hint < .end, tree.owns(hint.arena), tree.leaf(hint.chunk).longest >= count {
      return Self.firstRun(of: count, in: hint.chunk, from: hint.inChunk)
    }
    switch tree.firstRun(of: count, from: hint) {
    case .page(let page): return page
    case .chunk(let chunk):
      return Self.firstRun(of: count, in: chunk, from: chunk == hint.chunk ? hint.inChunk : 0)
    case nil: return nil
    }
  }

  /// The first run in a chunk whose summary says that it has one.
  private static func firstRun(
    of count: Int, in chunk: ChunkIndex, from place: Int
  ) -> PageIndex {
    guard let place = bitmap(of: chunk).firstRun(of: count, from: place) else {
      broken("chunk \(chunk.number) has no \(count) free pages, but its summary says so")
    }
    return chunk.firstPage + place
  }

  // MARK: - Taking and freeing

  /// Whether all of certain pages are free. They may lie in no arena of the heap.
  package func areFree(_ pages: PageRange) -> Bool {
    var areFree = true
    pages.forEachChunk { chunk, places in
      areFree = areFree && tree.owns(chunk.arena) && Self.bitmap(of: chunk).containsAll(places)
    }
    return areFree
  }

  /// Takes certain pages.
  ///
  /// - Precondition: all of them are free.
  /// - Complexity: O(levels), and O(chunks taken).
  package mutating func take(_ pages: PageRange) {
    freePages -= pages.count
    var hasChanged = false
    pages.forEachChunk { chunk, places in
      let free = Self.bitmap(of: chunk)
      assert(free.containsAll(places), "the page allocator took pages that are in use")
      free.remove(places)
      let summary =
        places.count == PageBitmap.pageCount
        ? PageSummary() : free.summary(tree.leaf(chunk), afterTaking: places)
      if tree.setLeaf(chunk, summary) { hasChanged = true }
    }
    if hasChanged { tree.refresh(above: pages.chunks) }
  }

  /// Makes pages free again and joins them to free neighbours.
  ///
  /// - Precondition: the pages are the heap's, and none of them is free.
  /// - Complexity: O(levels), and O(chunks freed).
  package mutating func free(_ pages: PageRange) {
    var hasChanged = false
    pages.forEachChunk { chunk, places in
      require(tree.owns(chunk.arena), "pages were freed that are not of this heap")
      let free = Self.bitmap(of: chunk)
      require(free.containsNone(places), "pages were freed that are free already")
      free.insert(places)
      let summary =
        places.count == PageBitmap.pageCount
        ? PageSummary(allFree: UInt32(PageBitmap.pageCount))
        : free.summary(tree.leaf(chunk), afterFreeing: places)
      if tree.setLeaf(chunk, summary) { hasChanged = true }
    }
    freePages += pages.count
    lowerHints(to: pages.start)
    if hasChanged { tree.refresh(above: pages.chunks) }
  }

  /// - Precondition: the chunk is in an arena of the heap.
  @inline(__always) private static func bitmap(of chunk: ChunkIndex) -> PageBitmap {
    ArenaTables.of(chunk.address).freePages(of: chunk)
  }

  // MARK: - Hints

  /// Learns that no `count` free pages begin below `page`; nor, then, do more than `count`.
  @inline(__always) private mutating func raiseHints(from count: Int, to page: PageIndex) {
    var index = count - 1
    while index < hints.count, hints[index] < page {
      hints[index] = page
      index += 1
    }
  }

  /// Learns that pages from `page` on became free. A run of c pages that one of them completes
  /// begins at most c - 1 pages before `page`, so `hints[c - 1]` must not be above that.
  ///
  /// The loop goes down from the longest runs and stops at the first hint that is low enough:
  /// `hints[i - 1] <= hints[i] + 1` always holds (c pages from p on are c - 1 pages from p on
  /// and from p + 1 on). So once `hints[i] <= page - i`, every shorter hint is low enough, too.
  @inline(__always) private mutating func lowerHints(to page: PageIndex) {
    var index = hints.count - 1
    while index >= 0, hints[index] + index > page {
      hints[index] = page + -min(index, Int(bitPattern: page.number))
      index -= 1
    }
  }

  // MARK: - Invariants

  /// Reports everything that contradicts the bitmaps. Walks all of them.
  package func checkInvariants(_ report: (String) -> Void) {
    var total = 0
    tree.forEachArena { arena in
      guard ArenaTables.find(arena.address) != nil else {
        report("arena \(arena.number) of the page allocator is not in the arena index")
        return
      }
      for chunk in arena.chunks {
        let free = Self.bitmap(of: chunk)
        total += free.count()
        if tree.leaf(chunk) != free.summary {
          report("the leaf of chunk \(chunk.number) is \(tree.leaf(chunk)), not \(free.summary)")
        }
      }
    }
    if total != freePages { report("\(total) pages are free, counted are \(freePages)") }
    tree.checkInvariants(report)
    for index in hints.indices {
      let first: PageIndex? =
        switch tree.firstRun(of: index + 1, from: PageIndex(0)) {
        case .page(let page): page
        case .chunk(let chunk): Self.firstRun(of: index + 1, in: chunk, from: 0)
        case nil: nil
        }
      if let first, first < hints[index] {
        report("\(index + 1) pages are free at \(first), below their hint \(hints[index])")
      }
      if index > 0, hints[index - 1] > hints[index] + 1 {
        report("hint \(index - 1) is \(hints[index - 1]), hint \(index) only \(hints[index])")
      }
    }
  }
}
