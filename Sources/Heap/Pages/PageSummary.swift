// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Summaries of free pages.
//
// A summary says three things about a stretch of pages: how many are free at its start, in its
// longest free run, and at its end. That is enough to find a run without looking at pages. A run
// of n pages lies inside the stretch if its longest run has at least n. It lies across the
// border of two stretches if the free pages at the end of one and those at the start of the next
// add up to n. And the summary of eight neighbours follows from their summaries.
//
// The tree of all summaries: PageSummaryTree.swift. Overview: Documentation/AllocatorTiers.md

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
