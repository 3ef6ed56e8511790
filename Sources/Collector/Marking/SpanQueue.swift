// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The mark queue: spans with objects that are marked and not yet scanned.
//
// The unit of marking work is the span. Marking an object sets its bit and puts its span into
// a queue unless it is in one; scanning a span reads all objects that are marked and not
// scanned by then. First in, first out, so that marks gather on a span while it waits: the
// longer the queue, the more objects a visit finds, close together (the idea of Go's "Green
// Tea" collector).
//
// A span is in one queue at most, so queues are linked through the span records: no memory,
// no overflow. Each marker has a short list of its own (no lock, no atomics), takes batches
// from the shared queue, and puts what exceeds its share back.
//
// Note [Span queue]. A marker sets the mark bit with a read-modify-write and then exchanges
// `queued` for 1; if it was 0, it puts the span into its list. A scanner clears `queued` with
// an exchange and then reads the mark bits. All four are sequentially consistent, in the order
// bit, then `queued` on one side and `queued`, then bit on the other, so either the scanner
// sees the bit or the marker sees `queued` clear: no mark is left behind. (On x86-64 the loads
// are plain ones; on arm64 they must not pass the read-modify-write before them.)
//
// Guarded by: the lock for the shared list; a local list belongs to its marker.

package import Heap
internal import Synchronization

/// A first-in-first-out list of spans, linked through their records.
package struct SpanList {
  package private(set) var head: HeapSpan?
  package private(set) var tail: HeapSpan?
  package private(set) var count = 0

  package init() {}

  package var isEmpty: Bool { head == nil }

  package mutating func append(_ span: HeapSpan) {
    span.queueNext = nil
    if let tail { tail.queueNext = span } else { head = span }
    tail = span
    count += 1
  }

  package mutating func removeFirst() -> HeapSpan? {
    guard let span = head else { return nil }
    head = span.queueNext
    if head == nil { tail = nil }
    count -= 1
    return span
  }

  /// Moves all of `other` to the end, in constant time.
  package mutating func append(all other: inout SpanList) {
    guard let first = other.head else { return }
    if let tail { tail.queueNext = first } else { head = first }
    tail = other.tail
    count += other.count
    other = SpanList()
  }

  /// Moves up to `limit` spans from the front to the end of `other`.
  package mutating func moveFirst(_ limit: Int, to other: inout SpanList) {
    guard count > limit else { return other.append(all: &self) }
    var moved = SpanList()
    var last = head
    for _ in 1..<max(limit, 1) { last = last?.queueNext }
    moved.head = head
    moved.tail = last
    moved.count = limit
    head = last?.queueNext
    last?.queueNext = nil
    count -= limit
    other.append(all: &moved)
  }
}

/// The queue that a heap's markers share.
package final class SpanQueue: Sendable {
  private let list = HeapLock(SpanList(), rank: .markQueue)
  /// The list's length. Written under the lock; relaxed reads are hints, except after a
  /// handshake, which orders them.
  private let length = Atomic<Int>(0)

  package var isEmpty: Bool { length.load(ordering: .acquiring) == 0 }

  /// Puts all of a marker's spans in.
  package func put(_ spans: inout SpanList) {
    guard !spans.isEmpty else { return }
    list.withLock {
      $0.append(all: &spans)
      length.store($0.count, ordering: .releasing)
    }
  }

  /// Takes up to `limit` spans; false when there are none.
  ///
  /// To find the last of them it walks their records under the lock. These are the records that the
  /// taker reads next, so the walk costs no cache misses that would not come anyway.
  package func take(_ limit: Int, into spans: inout SpanList) -> Bool {
    guard !isEmpty else { return false }
    return list.withLock {
      $0.moveFirst(limit, to: &spans)
      length.store($0.count, ordering: .releasing)
      return !spans.isEmpty
    }
  }
}
