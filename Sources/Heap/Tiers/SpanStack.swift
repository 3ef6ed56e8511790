// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A list of spans, last in first out: the lists of a shelf, and the spans that are handed from
// tier to tier at a time.
//
// The list is linked through the spans' own records (`listNext`). So it takes no memory, and a
// span is on one list at the most. The span that was put in last comes out first, because its
// memory is the most likely to be in the processor's cache.
//
// Owner       whoever has the list owns the spans on it. A list cannot be copied, so there is
//             one owner.
//
// Overview: Documentation/AllocatorTiers.md

/// A last-in-first-out list of spans.
package struct SpanStack: ~Copyable {
  /// The span that was put in last.
  package private(set) var first: HeapSpan?
  private var last: HeapSpan?
  package private(set) var count = 0

  package init() {}

  package var isEmpty: Bool { first == nil }

  package mutating func push(_ span: HeapSpan) {
    span.listNext = first
    if first == nil { last = span }
    first = span
    count += 1
  }

  package mutating func pop() -> HeapSpan? {
    guard let span = first else { return nil }
    first = span.listNext
    if first == nil { last = nil }
    span.listNext = nil
    count -= 1
    return span
  }

  /// Puts all spans of another list in.
  /// - Complexity: O(1).
  package mutating func push(_ other: consuming SpanStack) {
    guard let otherFirst = other.first, let otherLast = other.last else { return }
    otherLast.listNext = first
    if first == nil { last = otherLast }
    first = otherFirst
    count += other.count
  }

  /// Takes at most so many spans out, the last ones that were put in, in the order of the list.
  /// - Complexity: O(spans taken), and O(1) if these are all.
  package mutating func popFirst(_ limit: Int) -> SpanStack {
    guard limit < count else { return popAll() }
    var taken = SpanStack()
    guard limit > 0, let start = first else { return taken }
    var end = start
    for _ in 1..<limit {
      // There is a next one: the list is longer than `limit`.
      guard let next = end.listNext else { break }
      end = next
    }
    (taken.first, taken.last, taken.count) = (start, end, limit)
    first = end.listNext
    end.listNext = nil
    count -= limit
    return taken
  }

  /// Takes all spans out.
  package mutating func popAll() -> SpanStack {
    var taken = SpanStack()
    (taken.first, taken.last, taken.count) = (first, last, count)
    (first, last, count) = (nil, nil, 0)
    return taken
  }

  /// Calls `body` with each span, which must not change its place on the list.
  package func forEach(_ body: (HeapSpan) -> Void) {
    var next = first
    while let span = next {
      body(span)
      next = span.listNext
    }
  }

  /// Reports a wrong count or end, and calls `body` with the spans, as many as are counted.
  package func checkInvariants(_ report: (String) -> Void, _ body: (HeapSpan) -> Void) {
    var found = 0
    var end: HeapSpan?
    var next = first
    while let span = next {
      found += 1
      guard found <= count else { return report("a list of \(count) spans goes on") }
      body(span)
      end = span
      next = span.listNext
    }
    if found != count { report("a list counts \(count) spans, has \(found)") }
    if end != last { report("a list does not end with its last span") }
  }
}
