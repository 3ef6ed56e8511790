// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A chunk's bitmap: a set of its 512 pages.
//
// Eight words; bit i of word w is page 64 w + i. Each chunk has two such sets: the free pages, and
// the pages that were released (they read as zero and have no memory behind them). The set of
// free pages is the truth of the page allocator. Everything above it (PageSummary) is derived
// and can be computed again.
//
// No loop goes over bits. A run inside a word is found by shifting the word against itself:
// `x & x >> 1` keeps the bits that begin two ones in a row, and the same again with a shift by 2
// keeps those that begin four. So n in a row take log n steps, and the first of them is a count
// of trailing zeros. Runs across words are sums of leading and trailing ones.
//
// Owner       the arena's side tables (ArenaTables); a `PageBitmap` is a handle.
// Guarded by  the page heap's lock.
//
// Overview: Documentation/AllocatorTiers.md

/// A set of a chunk's pages, by their places in it: a handle to eight words.
@safe package struct PageBitmap {
  private let words: UnsafeMutablePointer<UInt64>

  package static var pageCount: Int { Geometry.pagesPerChunk }
  package static var wordCount: Int { pageCount / UInt64.bitWidth }

  /// - Parameter words: eight words that outlive the handle.
  package init(_ words: UnsafeMutablePointer<UInt64>) { unsafe self.words = words }

  // SAFETY: the initialiser's caller gave us eight words, and both accessors check.
  private subscript(_ word: Int) -> UInt64 {
    get {
      assert(0 <= word && word < Self.wordCount)
      return unsafe words[word]
    }
    nonmutating set {
      assert(0 <= word && word < Self.wordCount)
      unsafe words[word] = newValue
    }
  }

  // MARK: - Ranges

  package func insert(_ pages: Range<Int>) {
    forEachWord(of: pages) { word, mask in
      self[word] |= mask
      return true
    }
  }

  package func remove(_ pages: Range<Int>) {
    forEachWord(of: pages) { word, mask in
      self[word] &= ~mask
      return true
    }
  }

  package func containsAll(_ pages: Range<Int>) -> Bool {
    forEachWord(of: pages) { word, mask in self[word] & mask == mask }
  }

  package func containsNone(_ pages: Range<Int>) -> Bool {
    forEachWord(of: pages) { word, mask in self[word] & mask == 0 }
  }

  /// How many pages of a range are in the set.
  package func count(in pages: Range<Int> = 0..<Self.pageCount) -> Int {
    var count = 0
    forEachWord(of: pages) { word, mask in
      count += (self[word] & mask).nonzeroBitCount
      return true
    }
    return count
  }

  /// Calls `body` with each word that a range touches and the range's bits in it, until one
  /// call answers false; whether none did.
  @discardableResult @inline(__always)
  private func forEachWord(of pages: Range<Int>, _ body: (Int, UInt64) -> Bool) -> Bool {
    require(
      pages.lowerBound >= 0 && pages.upperBound <= Self.pageCount, "a chunk has 512 pages")
    var page = pages.lowerBound
    while page < pages.upperBound {
      let count = min(64 - (page & 63), pages.upperBound - page)
      let ones = UInt64.max &>> UInt64(truncatingIfNeeded: 64 - count)
      guard body(page >> 6, ones &<< UInt64(truncatingIfNeeded: page & 63)) else { return false }
      page += count
    }
    return true
  }

  // MARK: - Finding

  /// The first page at or after `start` that begins `count` pages of the set in a row.
  ///
  /// - Complexity: at most eight words, log `count` steps for each.
  package func firstRun(of count: Int, from start: Int = 0) -> Int? {
    require(count > 0 && start >= 0, "a run has at least one page")
    guard start < Self.pageCount, count <= Self.pageCount - start else { return nil }
    return count <= 64
      ? firstShortRun(of: count, from: start) : firstLongRun(of: count, from: start)
  }

  /// A run of at most 64 pages lies in a word and the next.
  private func firstShortRun(of count: Int, from start: Int) -> Int? {
    var index = start >> 6
    var word = self[index] & .max &<< UInt64(truncatingIfNeeded: start & 63)
    while true {
      let next = index + 1 < Self.wordCount ? self[index + 1] : 0
      if word != 0 {
        let starts = Self.starts(of: count, in: word, followedBy: next)
        if starts != 0 { return index << 6 + starts.trailingZeroBitCount }
      }
      index += 1
      guard index < Self.wordCount else { return nil }
      word = next
    }
  }

  /// A longer run takes in at least one end of a word, so only the ends are looked at.
  private func firstLongRun(of count: Int, from start: Int) -> Int? {
    var mask = UInt64.max &<< UInt64(truncatingIfNeeded: start & 63)
    var run = 0  // pages of the set up to the end of the word before
    for index in (start >> 6)..<Self.wordCount {
      let word = self[index] & mask
      mask = .max
      if run + word.trailingOnes >= count { return index << 6 - run }
      run = word == .max ? run + 64 : word.leadingOnes
    }
    return nil
  }

  /// The bits of `word` that begin `count` ones in a row, at most 64, going on into `next`.
  ///
  /// The number of steps depends on `count` alone: stopping early would save less than the
  /// mispredicted branch costs.
  @inline(__always)
  private static func starts(of count: Int, in word: UInt64, followedBy next: UInt64) -> UInt64 {
    var (low, high) = (word, next)
    var length = 1  // what each remaining one begins
    while length < count {
      let step = UInt64(truncatingIfNeeded: min(length, count &- length))  // 1...32
      low &= low &>> step | high &<< (64 &- step)
      high &= high &>> step
      length &+= Int(truncatingIfNeeded: step)
    }
    return low
  }

  /// The next stretch of pages, at or after `start`, that are in this set and not in another.
  package func nextRun(from start: Int, without other: PageBitmap) -> Range<Int>? {
    var page = start
    // The first page of the stretch…
    while true {
      guard page < Self.pageCount else { return nil }
      let rest = (self[page >> 6] & ~other[page >> 6]) &>> UInt64(truncatingIfNeeded: page & 63)
      if rest != 0 {
        page += rest.trailingZeroBitCount
        break
      }
      page = (page | 63) + 1
    }
    // … and its end.
    let first = page
    while page < Self.pageCount {
      let bit = page & 63
      let rest = (self[page >> 6] & ~other[page >> 6]) &>> UInt64(truncatingIfNeeded: bit)
      page += rest.trailingOnes
      guard rest.trailingOnes == 64 - bit else { break }
    }
    return first..<page
  }

  // MARK: - Summing up

  /// The chunk's free pages at the start, in the longest run, and at the end: the set is that of
  /// the free pages, here and below.
  package var summary: PageSummary {
    PageSummary(
      start: UInt32(truncatingIfNeeded: freePages(from: 0)),
      longest: UInt32(truncatingIfNeeded: longestRun(atLeast: 0)),
      end: UInt32(truncatingIfNeeded: freePages(before: Self.pageCount)))
  }

  /// The longest run of free pages, of which one of `known` pages is known.
  private func longestRun(atLeast known: Int) -> Int {
    var longest = known
    var run = 0  // free pages up to the end of the word before
    for index in 0..<Self.wordCount {
      let word = self[index]
      if word == .max {
        run += 64
        continue
      }
      longest = max(longest, run + word.trailingOnes)
      run = word.leadingOnes
      // Log steps to know whether a run inside the word is longer, and as many to measure it.
      if longest < 63, word.hasOnes(longest + 1) { longest = word.longestOnes }
    }
    return max(longest, run)
  }
}

// MARK: - Changing one run

extension PageBitmap {
  /// The summary after some free pages were taken, from the one before.
  ///
  /// The pages came from one free run. All words are read again only if that run was the longest
  /// one; else only what the chunk's ends say may have changed.
  package func summary(_ old: PageSummary, afterTaking pages: Range<Int>) -> PageSummary {
    let (before, behind) = freeNeighbours(of: pages)
    var new = old
    if before + pages.count + behind >= old.longest {
      new.longest = UInt32(truncatingIfNeeded: longestRun(atLeast: max(before, behind)))
    }
    if before == pages.lowerBound { new.start = UInt32(truncatingIfNeeded: before) }
    if pages.upperBound + behind == Self.pageCount {
      new.end = UInt32(truncatingIfNeeded: behind)
    }
    return new
  }

  /// The summary after some pages in use became free, from the one before.
  package func summary(_ old: PageSummary, afterFreeing pages: Range<Int>) -> PageSummary {
    let (before, behind) = freeNeighbours(of: pages)
    let run = UInt32(truncatingIfNeeded: before + pages.count + behind)
    var new = old
    new.longest = max(old.longest, run)
    if before == pages.lowerBound { new.start = run }
    if pages.upperBound + behind == Self.pageCount { new.end = run }
    return new
  }

  /// How many pages are free right before some pages, and right behind them.
  @inline(__always)
  private func freeNeighbours(of pages: Range<Int>) -> (before: Int, behind: Int) {
    (freePages(before: pages.lowerBound), freePages(from: pages.upperBound))
  }

  private func freePages(before end: Int) -> Int {
    var page = end
    while page > 0 {
      let bit = (page - 1) & 63  // of the last page before
      let ones = (self[(page - 1) >> 6] &<< UInt64(truncatingIfNeeded: 63 - bit)).leadingOnes
      page -= ones
      guard ones == bit + 1 else { break }
    }
    return end - page
  }

  private func freePages(from start: Int) -> Int {
    var page = start
    while page < Self.pageCount {
      let bit = page & 63
      let ones = (self[page >> 6] &>> UInt64(truncatingIfNeeded: bit)).trailingOnes
      page += ones
      guard ones == 64 - bit else { break }
    }
    return page - start
  }
}

extension UInt64 {
  fileprivate var trailingOnes: Int { (~self).trailingZeroBitCount }
  fileprivate var leadingOnes: Int { (~self).leadingZeroBitCount }

  /// Whether there are `count` ones in a row, 1 to 64.
  @inline(__always) fileprivate func hasOnes(_ count: Int) -> Bool {
    var starts = self
    var length = 1
    while length < count {
      let step = Swift.min(length, count &- length)
      starts &= starts &>> UInt64(truncatingIfNeeded: step)
      length &+= step
    }
    return starts != 0
  }

  /// The length of the longest run of ones.
  fileprivate var longestOnes: Int {
    // What begins 1, 2, 4, … ones. The answer's bits are then found from the top, each by
    // asking whether the runs known so far go on for that many more.
    let ones2 = self & self &>> 1
    let ones4 = ones2 & ones2 &>> 2
    let ones8 = ones4 & ones4 &>> 4
    let ones16 = ones8 & ones8 &>> 8
    let ones32 = ones16 & ones16 &>> 16
    guard self != .max else { return 64 }
    var starts = UInt64.max
    var length: UInt64 = 0
    func extend(by ones: UInt64, _ count: UInt64) {
      let longer = starts & ones &>> length
      guard longer != 0 else { return }
      starts = longer
      length += count
    }
    extend(by: ones32, 32)
    extend(by: ones16, 16)
    extend(by: ones8, 8)
    extend(by: ones4, 4)
    extend(by: ones2, 2)
    extend(by: self, 1)
    return Int(truncatingIfNeeded: length)
  }
}
