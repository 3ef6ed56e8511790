// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Summaries against booleans, and the tree of them up to the last page of 256 TiB. The tree
// is tested on leaves that no bitmap backs: arenas at any place cost nothing but their
// entries, so the arithmetic of all eight levels is seen without 256 TiB.

import Heap
import TestSupport
import Testing

@Suite("Summaries of free pages")
struct PageSummaryTests {
  @Test("eight neighbours add up to what counting their pages gives")
  func merging() {
    var random = RandomNumbers(seed: 17)
    for round in 0..<400 {
      // Stretches of 6 pages; all free or all used ones often, so that runs cross many.
      let stretches = (0..<8).map { _ in
        let kind = Int.random(in: 0..<4, using: &random)
        return (0..<6).map { _ in
          kind == 0 ? true : kind == 1 ? false : Bool.random(using: &random)
        }
      }
      let parts = stretches.map(naive)
      #expect(
        PageSummary(of: 6) { parts[$0] } == naive(Array(stretches.joined())), "round \(round)")
    }
  }

  @Test("a chunk's summary survives packing, whatever the counts")
  func packing() {
    for (start, longest, end) in [
      (0, 0, 0), (512, 512, 512), (0, 510, 0), (1, 509, 1), (511, 511, 0), (0, 511, 511),
      (170, 171, 169),
    ] as [(UInt32, UInt32, UInt32)] {
      let summary = PageSummary(start: start, longest: longest, end: end)
      #expect(PageSummary(packed: summary.packed) == summary)
      #expect(summary.packed < 1 << 30)
    }
    #expect(PageSummary().packed == 0, "a fresh leaf says that nothing is free")
  }

  @Test("what does not fit a chunk is not packed")
  func packingTooMuch() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = PageSummary(allFree: 1024).packed
    }
    #expect(result.said("only a chunk's summary can be packed"))
  }

  @Test("free memory adds up to a free root entry, 2^30 pages, on every level")
  func fullWidth() {
    var pages: UInt32 = 512
    var level = PageSummaryTree.Level.leaves
    while level > .root {
      level = level.above
      let sum = PageSummary(of: pages) { _ in PageSummary(allFree: pages) }
      #expect(sum == PageSummary(allFree: pages * 8))
      // One used page in the middle of the last child.
      let half = pages / 2
      let ragged = PageSummary(of: pages) {
        $0 < 7
          ? PageSummary(allFree: pages)
          : PageSummary(start: half, longest: half, end: half - 1)
      }
      let most = pages * 7 + half
      #expect(ragged == PageSummary(start: most, longest: most, end: half - 1))
      pages *= 8
      #expect(Int(pages) == 1 << level.pageShift)
    }
    #expect(pages == 1 << 30)
  }

  @Test("a row of all 32 root entries counts 2^35 pages")
  func wholeSpace() {
    var row = PageRow()
    for _ in 0..<32 { row.append(PageSummary(allFree: 1 << 30), of: 1 << 30) }
    #expect(row.longest == Geometry.pageCount)
    row.append(PageSummary(start: 5, longest: 9, end: 1), of: 1 << 30)
    row.append(PageSummary(start: 1 << 30, longest: 1 << 30, end: 1 << 30), of: 1 << 30)
    #expect(row.longest == Geometry.pageCount + 5)
  }

  @Test("each level's entries cover the space once, and all of them take 366 MiB of addresses")
  func levels() {
    for number in 0...7 {
      let level = PageSummaryTree.Level(number)
      #expect(level.entryCount << level.pageShift == Geometry.pageCount)
      #expect(level.entryCount << level.chunkShift == Geometry.chunkCount)
    }
    #expect(PageSummaryTree.Level.root.entryCount == 32)
    #expect(PageSummaryTree.Level.leaves.entryCount << Int(Geometry.chunkShift) == 1 << 48)
    #expect((365 << 20..<367 << 20).contains(SummaryMemory.reservedSize))
  }
}

@Suite("The tree of summaries")
struct PageSummaryTreeTests {
  @Test("an empty tree has no run and owns nothing")
  func empty() throws {
    let tree = try PageSummaryTree()
    #expect(tree.firstRun(of: 1, from: PageIndex(0)) == nil)
    #expect(tree.longestRun == 0)
    #expect(tree.owns(arena(0)) == false)
    #expect(tree.owns(arena(Geometry.arenaCount - 1)) == false)
    expectConsistent(tree)
  }

  @Test("the top is as deep as the heap is small")
  func top() {
    func top(_ chunks: ClosedRange<UInt>) -> Int {
      PageSummaryTree.top(over: ChunkIndex(chunks.lowerBound)...ChunkIndex(chunks.upperBound))
        .number
    }
    #expect(top(0...15) == 6)
    #expect(top(0...63) == 6)
    #expect(top(0...64) == 5)
    #expect(top(256...511) == 5, "1 GiB")
    #expect(top(0...(1 << 12) - 1) == 4, "16 GiB")
    #expect(top(0...(1 << 26) - 1) == 0)
    // A small heap on the border of two root entries needs no root.
    #expect(top((1 << 21) - 16...(1 << 21) + 15) == 6)
    #expect(top(0...(1 << 21) - 1) == 1)
    #expect(top(0...1 << 21) == 0)
    #expect(top(0...1 << 24) == 0)
  }

  @Test(
    "a run is found across the border of any two entries, up to the root's",
    arguments: 0...6)
  func borders(level: Int) throws {
    // The two arenas on both sides of the border between two entries of the level.
    let level = PageSummaryTree.Level(level)
    let border = 3 << (level.pageShift - 13)  // an arena's number
    let number = level.number == 6 ? 3 : border
    var tree = try PageSummaryTree()
    try add(number - 1...number, to: &tree)
    setAll(&tree, arenas: number - 1...number, to: PageSummary())
    let chunk = number << 4
    // 3 pages before the border, 4 behind it, and 6 in a chunk of their own behind those.
    set(&tree, chunk - 1, PageSummary(start: 1, longest: 5, end: 3))
    set(&tree, chunk, PageSummary(start: 4, longest: 4, end: 0))
    set(&tree, chunk + 9, PageSummary(start: 0, longest: 6, end: 2))
    let page = chunk << 9
    #expect(tree.firstRun(of: 1, from: PageIndex(0)) == .page(PageIndex((chunk - 1) << 9)))
    #expect(tree.firstRun(of: 2, from: PageIndex(0)) == .chunk(ChunkIndex(chunk - 1)))
    #expect(tree.firstRun(of: 5, from: PageIndex(0)) == .chunk(ChunkIndex(chunk - 1)))
    #expect(tree.firstRun(of: 6, from: PageIndex(0)) == .page(PageIndex(page - 3)))
    #expect(tree.firstRun(of: 7, from: PageIndex(0)) == .page(PageIndex(page - 3)))
    #expect(tree.firstRun(of: 8, from: PageIndex(0)) == nil)
    #expect(tree.firstRun(of: 6, from: PageIndex(page + 8)) == .chunk(ChunkIndex(chunk + 9)))
    #expect(tree.longestRun == 7)
    expectConsistent(tree)
  }

  @Test("the first and the last chunk of 256 TiB are found, and the space between them")
  func wholeSpace() throws {
    var tree = try PageSummaryTree()
    try add(0...Geometry.arenaCount - 1, to: &tree)
    #expect(tree.top == .root)
    let last = (1 << 26) - 1
    #expect(tree.firstRun(of: 1, from: PageIndex(0)) == nil)
    set(&tree, last, PageSummary(allFree: 512))
    #expect(tree.firstRun(of: 512, from: PageIndex(0)) == .page(PageIndex(last << 9)))
    #expect(tree.firstRun(of: 513, from: PageIndex(0)) == nil)
    #expect(tree.longestRun == 512)
    set(&tree, last - 1, PageSummary(start: 0, longest: 300, end: 300))
    #expect(tree.firstRun(of: 513, from: PageIndex(0)) == .page(PageIndex(last << 9 - 300)))
    #expect(tree.longestRun == 812)
    set(&tree, 0, PageSummary(start: 7, longest: 20, end: 0))
    #expect(tree.firstRun(of: 7, from: PageIndex(0)) == .page(PageIndex(0)))
    #expect(tree.firstRun(of: 20, from: PageIndex(0)) == .chunk(ChunkIndex(0)))
    #expect(tree.firstRun(of: 21, from: PageIndex(0)) == .chunk(ChunkIndex(last - 1)))
    #expect(tree.firstRun(of: 301, from: PageIndex(0)) == .page(PageIndex(last << 9 - 300)))
    // Full chunks over the border of root entries 15 and 16: 64 chunks, 32768 pages.
    setAll(&tree, arenas: (1 << 21) - 2...(1 << 21) + 1, to: PageSummary(allFree: 512))
    #expect(tree.longestRun == 32768)
    #expect(tree.firstRun(of: 32768, from: PageIndex(0)) == .page(PageIndex(((1 << 25) - 32) << 9)))
    #expect(tree.firstRun(of: 32769, from: PageIndex(0)) == nil)
  }

  @Test("arenas far apart share a tree, and nothing between them is read")
  func farApart() throws {
    var tree = try PageSummaryTree()
    // The order makes the top climb, in steps, over entries that were not there before.
    let arenas = [
      2_000_000, 2_000_001, 2_000_040, 1_999_000, 2_100_000, 5, Geometry.arenaCount - 1,
    ]
    for arena in arenas {
      try add(arena...arena, to: &tree)
      setAll(&tree, arenas: arena...arena, to: PageSummary(allFree: 512))
      expectConsistent(tree)
    }
    #expect(tree.top == .root)
    #expect(tree.longestRun == 16384, "two arenas are neighbours")
    #expect(tree.firstRun(of: 8192, from: PageIndex(0)) == .page(PageIndex(5 << 13)))
    #expect(tree.firstRun(of: 8193, from: PageIndex(0)) == .page(PageIndex(2_000_000 << 13)))
    for arena in [5, 1_999_000, 2_000_000, 2_000_001] {
      setAll(&tree, arenas: arena...arena, to: PageSummary())
    }
    for start in [0, 6 << 13, 2_000_002 << 13, 2_000_040 << 13] {
      #expect(tree.firstRun(of: 8192, from: PageIndex(start)) == .page(PageIndex(2_000_040 << 13)))
    }
    #expect(tree.longestRun == 8192)
    expectConsistent(tree)
    for number in arenas { #expect(tree.owns(arena(number)) == true) }
    for number in [4, 6, 1_999_999, 2_000_002] { #expect(tree.owns(arena(number)) == false) }
  }

  @Test("an arena's siblings can be read wherever the system's pages cut its entries apart")
  func siblings() throws {
    // 128 groups of eight entries of level 6, four arenas each, are three pages of 4 KiB; the
    // arena at either end of a group is alone in its tree.
    for group in 0..<128 {
      for arena in [1_000_000 + 4 * group, 1_000_003 + 4 * group] {
        var tree = try PageSummaryTree()
        try add(arena...arena, to: &tree)
        setAll(&tree, arenas: arena...arena, to: PageSummary(allFree: 512))
        #expect(tree.firstRun(of: 8192, from: PageIndex(0)) == .page(PageIndex(arena << 13)))
        _ = tree.merged(.init(5), arena >> 2)
        _ = tree.merged(.root, arena >> 17)
      }
    }
  }

  @Test("a change that a parent does not show ends there, and no change is none")
  func hiddenChange() throws {
    var tree = try PageSummaryTree()
    try add(0...63, to: &tree)  // 4 GiB: levels 4 to 7
    setAll(&tree, arenas: 0...63, to: PageSummary(start: 0, longest: 40, end: 0))
    let parent = tree[.init(6), 0]
    let isNew = tree.setLeaf(ChunkIndex(3), PageSummary(start: 0, longest: 39, end: 0))
    #expect(isNew)
    tree.refresh(above: ChunkIndex(3)...ChunkIndex(3))
    #expect(tree[.init(6), 0] == parent && parent.longest == 40)
    expectConsistent(tree)
    let isNewAgain = tree.setLeaf(ChunkIndex(3), PageSummary(start: 0, longest: 39, end: 0))
    #expect(!isNewAgain)
  }

  // MARK: - Helpers

  private func arena(_ number: Int) -> ArenaIndex { ArenaIndex(UInt(number)) }

  private func add(_ arenas: ClosedRange<Int>, to tree: inout PageSummaryTree) throws {
    let arenas = arena(arenas.lowerBound)...arena(arenas.upperBound)
    try tree.memory.commit(arenas)
    tree.add(arenas)
  }

  private func set(_ tree: inout PageSummaryTree, _ chunk: Int, _ summary: PageSummary) {
    let chunk = ChunkIndex(UInt(chunk))
    _ = tree.setLeaf(chunk, summary)
    tree.refresh(above: chunk...chunk)
  }

  private func setAll(
    _ tree: inout PageSummaryTree, arenas: ClosedRange<Int>, to summary: PageSummary
  ) {
    let chunks = (arena(arenas.lowerBound)...arena(arenas.upperBound)).chunks
    for chunk in chunks { _ = tree.setLeaf(chunk, summary) }
    tree.refresh(above: chunks)
  }

  private func expectConsistent(_ tree: borrowing PageSummaryTree) {
    tree.checkInvariants { Issue.record("\($0)") }
  }
}

/// Places that tests compute as `Int`.
extension PageIndex {
  fileprivate init(_ number: Int) { self.init(UInt(number)) }
}

extension ChunkIndex {
  fileprivate init(_ number: Int) { self.init(UInt(number)) }
}

/// What counting says.
private func naive(_ pages: [Bool]) -> PageSummary {
  var (longest, run) = (0, 0)
  for page in pages {
    run = page ? run + 1 : 0
    longest = max(longest, run)
  }
  return PageSummary(
    start: UInt32(pages.prefix { $0 }.count), longest: UInt32(longest), end: UInt32(run))
}
