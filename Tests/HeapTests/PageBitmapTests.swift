// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A chunk's bitmap against an array of 512 booleans: each operation is done to both, and what
// the word tricks find is compared with what a loop over pages finds.

import Heap
import TestSupport
import Testing

@Suite("The bitmap of a chunk")
struct PageBitmapTests {
  // MARK: - Finding

  @Test("a run is found at its first page, whatever words it lies in", arguments: runLengths)
  func oneRun(length: Int) {
    for start in starts(for: length) {
      let chunk = NaiveChunk(free: [start..<start + length])
      chunk.withBitmap { bitmap in
        #expect(bitmap.firstRun(of: length) == start)
        #expect(bitmap.firstRun(of: 1) == start)
        #expect(bitmap.firstRun(of: length + 1) == nil)
        #expect(bitmap.firstRun(of: length, from: start) == start)
        #expect(bitmap.firstRun(of: length, from: start + 1) == nil)
        #expect(bitmap.summary == chunk.summary)
        #expect(bitmap.count() == length)
      }
    }
  }

  @Test("of two runs the first that is long enough is found")
  func twoRuns() {
    for length in [2, 10, 63, 64, 65, 130] {
      let chunk = NaiveChunk(free: [30..<30 + length - 1, 200..<200 + length, 400..<512])
      chunk.withBitmap { bitmap in
        #expect(bitmap.firstRun(of: length) == 200)
        #expect(bitmap.firstRun(of: 1) == 30)
        #expect(bitmap.firstRun(of: 1, from: 250) == (length > 50 ? 250 : 400))
      }
    }
  }

  @Test("an empty and a full chunk are no special cases")
  func extremes() {
    NaiveChunk(free: []).withBitmap { bitmap in
      #expect(bitmap.firstRun(of: 1) == nil)
      #expect(bitmap.summary == PageSummary())
      #expect(bitmap.containsNone(0..<512) && !bitmap.containsAll(0..<1))
    }
    NaiveChunk(free: [0..<512]).withBitmap { bitmap in
      #expect(bitmap.firstRun(of: 512) == 0)
      #expect(bitmap.firstRun(of: 511, from: 1) == 1)
      #expect(bitmap.firstRun(of: 512, from: 1) == nil)
      #expect(bitmap.firstRun(of: 513) == nil)
      #expect(bitmap.firstRun(of: 1, from: 512) == nil)
      #expect(bitmap.summary == PageSummary(allFree: 512))
      #expect(bitmap.containsAll(0..<512) && !bitmap.containsNone(511..<512))
    }
  }

  @Test("the stretches of pages that are in one set and not in another are found, one by one")
  func difference() {
    var random = RandomNumbers("difference")
    for _ in 0..<200 {
      // Long runs and short ones, so that stretches begin and end at the borders of words.
      func ragged() -> [Bool] {
        var pages: [Bool] = []
        while pages.count < 512 {
          let length = random.oneIn(3) ? 64 : 1 + random.below(9)
          pages += Array(repeating: random.oneIn(2), count: length)
        }
        return Array(pages.prefix(512))
      }
      let (one, other) = (NaiveChunk(pages: ragged()), NaiveChunk(pages: ragged()))
      one.withBitmap { set in
        other.withBitmap { without in
          var found: [Range<Int>] = []
          while let run = set.nextRun(from: found.last?.upperBound ?? 0, without: without) {
            found.append(run)
          }
          let expected = (0..<512).filter { one.pages[$0] && !other.pages[$0] }
          #expect(found.flatMap { Array($0) } == expected)
          for (a, b) in zip(found, found.dropFirst()) { #expect(a.upperBound < b.lowerBound) }
        }
      }
    }
  }

  // MARK: - Changing

  @Test("inserting or removing a range changes its pages and no other", arguments: runLengths)
  func ranges(length: Int) {
    for start in starts(for: length) {
      let range = start..<start + length
      NaiveChunk(free: []).withBitmap { bitmap in
        bitmap.insert(range)
        #expect(bitmap.containsAll(range))
        #expect(bitmap.count() == length)
        #expect(bitmap.count(in: range) == length)
      }
      NaiveChunk(free: [0..<512]).withBitmap { bitmap in
        bitmap.remove(range)
        #expect(bitmap.containsNone(range))
        #expect(bitmap.count() == 512 - length)
        #expect(bitmap.count(in: range) == 0)
      }
    }
  }

  @Test("random changes agree with 512 booleans", arguments: [1, 2, 3, 4] as [UInt64])
  func model(seed: UInt64) {
    var random = RandomNumbers(seed: seed)
    var chunk = NaiveChunk(free: [])
    chunk.withMutableBitmap { bitmap, pages in
      var summary = PageSummary()
      for step in 0..<600 {
        // Mostly short runs, so that chunks get ragged; long ones now and then.
        let length = Int.random(in: 1...(step % 8 == 0 ? 200 : 12), using: &random)
        let start = Int.random(in: 0...512 - length, using: &random)
        let range = start..<start + length
        if bitmap.containsAll(range) {
          bitmap.remove(range)
          for page in range { pages[page] = false }
          summary = bitmap.summary(summary, afterTaking: range)
        } else {
          // The pages in use among them, run by run.
          for page in range where !pages[page] {
            bitmap.insert(page..<page + 1)
            pages[page] = true
            summary = bitmap.summary(summary, afterFreeing: page..<page + 1)
          }
        }
        let naive = NaiveChunk(pages: pages)
        #expect(bitmap.summary == naive.summary, "seed \(seed), step \(step)")
        #expect(summary == naive.summary, "seed \(seed), step \(step): followed")
        #expect(bitmap.count(in: range) == naive.pages[range].count { $0 })
        let count = Int.random(in: 1...(step % 5 == 0 ? 150 : 16), using: &random)
        let from = Int.random(in: 0..<512, using: &random)
        #expect(
          bitmap.firstRun(of: count, from: from) == naive.firstRun(of: count, from: from),
          "seed \(seed), step \(step): \(count) pages from \(from)")
      }
    }
  }

  @Test("a range outside of the chunk, or a run of nothing, is refused")
  func refusals() async {
    let outside = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      NaiveChunk(free: []).withBitmap { $0.insert(500..<513) }
    }
    #expect(outside.said("a chunk has 512 pages"))
    let empty = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      NaiveChunk(free: []).withBitmap { _ = $0.firstRun(of: 0) }
    }
    #expect(empty.said("a run has at least one page"))
  }

  // MARK: - Cases

  private static let runLengths = [1, 2, 3, 10, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300, 511]

  /// Where runs lie badly: at both ends, and around the borders of words.
  private func starts(for length: Int) -> [Int] {
    let places = [0, 1, 62, 63, 64, 65, 100, 192 - length / 2, 256 - length, 512 - length]
    return places.filter { $0 >= 0 && $0 + length <= 512 }
  }
}

/// 512 booleans, and loops over them.
private struct NaiveChunk {
  var pages: [Bool]

  init(pages: [Bool]) { self.pages = pages }

  init(free ranges: [Range<Int>]) {
    pages = Array(repeating: false, count: 512)
    for page in ranges.joined() { pages[page] = true }
  }

  func firstRun(of count: Int, from start: Int) -> Int? {
    var run = 0
    for page in start..<512 {
      run = pages[page] ? run + 1 : 0
      if run == count { return page - count + 1 }
    }
    return nil
  }

  var summary: PageSummary {
    var (longest, run) = (0, 0)
    for page in pages {
      run = page ? run + 1 : 0
      longest = max(longest, run)
    }
    return PageSummary(
      start: UInt32(pages.prefix { $0 }.count), longest: UInt32(longest), end: UInt32(run))
  }

  private func withWords(_ body: (PageBitmap) -> Void) {
    let words = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: PageBitmap.wordCount)
    defer { unsafe words.deallocate() }
    unsafe words.initialize(repeating: 0)
    for page in 0..<512 where pages[page] {
      unsafe words[page / 64] |= UInt64(1) << UInt64(page % 64)
    }
    // SAFETY: eight words, which outlive the call.
    unsafe body(PageBitmap(words.baseAddress!))
  }

  func withBitmap(_ body: (PageBitmap) -> Void) { withWords(body) }

  mutating func withMutableBitmap(_ body: (PageBitmap, inout [Bool]) -> Void) {
    var copy = pages
    withWords { body($0, &copy) }
    pages = copy
  }
}
