// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A shelf: the spans of one span class and one layout that no cache holds.
//
// Four lists: partial (has free slots) and full, each swept and unswept. A list is found by
// the parity of its spans' own generation, so when the heap's generation advances, every
// "swept" list is an "unswept" one without anything having moved. Before the next advance
// all unswept lists are empty again, so two parities are enough.
//
//                 g - 1 (unswept)      g (swept)
//   partial       taken, then swept    taken first
//   full          swept to find room   waits for the next cycle
//
// A thread works with its own copy of the generation (CollectionCycle.advanceGeneration says
// why), and a span goes to the lists of its own generation. A thread that has not yet heard
// of an advance therefore takes and returns spans of generation g - 1 as it always did, and
// what it returns is swept like the rest. Its "unswept" list (g - 2) has the parity of the
// spans that others already put back swept, in generation g: so a list gives a span away
// only to who names the span's generation. (A list never mixes generations: when one is
// advanced, the lists of the one before the last are empty.)
//
// Invariant   a span is on one list or owned by one thread, never both.
// Guarded by  the shelf's lock, held for a few loads and stores.
// Owner       whoever pops a span owns it until it puts it back.
//
// Overview: Documentation/AllocatorTiers.md

internal import Synchronization

/// A last-in-first-out list of spans, linked through their records.
struct SpanStack {
  private(set) var head: HeapSpan?
  private(set) var count = 0

  mutating func push(_ span: HeapSpan) {
    span.listNext = head
    head = span
    count += 1
  }

  /// The last span put in, if it is of `generation`.
  mutating func pop(of generation: UInt32) -> HeapSpan? {
    guard let span = head, span.sweepGeneration == generation else { return nil }
    head = span.listNext
    span.listNext = nil
    count -= 1
    return span
  }
}

/// The record behind a `SpanShelf`.
struct ShelfRecord: ~Copyable {
  struct Lists {
    /// By parity of the spans' generation.
    var partial = (SpanStack(), SpanStack())
    var full = (SpanStack(), SpanStack())
  }

  let lists: HeapLock<Lists>
  /// Slots allocated and spans in use, caches' spans as of when they were taken. Relaxed.
  let objects: Atomic<Int>
  let spans: Atomic<Int>
  let layout: HeapLayout
  let spanClass: SpanClass
}

/// A handle to the spans of one class and layout.
@safe package struct SpanShelf: Hashable, @unchecked Sendable {
  // Sendable: an address; the lists are behind a lock, the rest is constant.
  package let address: UInt

  package init(address: UInt) { self.address = address }

  private var record: UnsafeMutablePointer<ShelfRecord> {
    // SAFETY: records outlive every handle (RecordMemory).
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  package var layout: HeapLayout { unsafe record.pointee.layout }
  package var spanClass: SpanClass { unsafe record.pointee.spanClass }

  static func make(
    layout: HeapLayout, spanClass: SpanClass, in memory: RecordMemory
  ) throws(SystemFailure) -> SpanShelf {
    let shelf = SpanShelf(address: try memory.allocate(size: MemoryLayout<ShelfRecord>.size))
    unsafe shelf.record.initialize(
      to: ShelfRecord(
        lists: HeapLock(.init(), rank: .shelf), objects: Atomic(0), spans: Atomic(0),
        layout: layout, spanClass: spanClass))
    // The lock owns memory.
    memory.atEnd { unsafe _ = shelf.record.deinitialize(count: 1) }
    return shelf
  }

  /// Slots allocated in the shelf's spans, caches' spans as of when they were taken.
  package var objectCount: Int { unsafe record.pointee.objects.load(ordering: .relaxed) }
  /// Spans of the shelf, caches' spans included.
  package var spanCount: Int { unsafe record.pointee.spans.load(ordering: .relaxed) }

  package func countObjects(_ change: Int) {
    unsafe record.pointee.objects.wrappingAdd(change, ordering: .relaxed)
  }

  func countSpans(_ change: Int) {
    unsafe record.pointee.spans.wrappingAdd(change, ordering: .relaxed)
  }

  // MARK: - Taking

  /// Takes a span of `generation` with free slots.
  package func popPartial(of generation: UInt32) -> HeapSpan? {
    unsafe record.pointee.lists.withLock {
      generation & 1 == 0 ? $0.partial.0.pop(of: generation) : $0.partial.1.pop(of: generation)
    }
  }

  /// Takes a full span of `generation`.
  package func popFull(of generation: UInt32) -> HeapSpan? {
    unsafe record.pointee.lists.withLock {
      generation & 1 == 0 ? $0.full.0.pop(of: generation) : $0.full.1.pop(of: generation)
    }
  }

  // MARK: - Putting back

  /// Puts a span into the list that its generation and its free slots say. The caller has
  /// owned it until now.
  package func put(_ span: HeapSpan) {
    let isFull = span.allocatedCount == span.slotCount
    let even = span.sweepGeneration & 1 == 0
    unsafe record.pointee.lists.withLock {
      switch (isFull, even) {
      case (true, true): $0.full.0.push(span)
      case (true, false): $0.full.1.push(span)
      case (false, true): $0.partial.0.push(span)
      case (false, false): $0.partial.1.push(span)
      }
    }
  }

  // MARK: - Looking

  /// How many spans of a generation are on the shelf.
  package func count(of generation: UInt32) -> (partial: Int, full: Int) {
    unsafe record.pointee.lists.withLock {
      generation & 1 == 0
        ? ($0.partial.0.count, $0.full.0.count) : ($0.partial.1.count, $0.full.1.count)
    }
  }

  /// Calls `body` with every span on the shelf, under its lock.
  package func forEach(_ body: (HeapSpan) -> Void) {
    unsafe record.pointee.lists.withLock { lists in
      for stack in [lists.partial.0, lists.partial.1, lists.full.0, lists.full.1] {
        var next = stack.head
        while let span = next {
          body(span)
          next = span.listNext
        }
      }
    }
  }

  /// Reports what is wrong with the lists and the spans in them.
  /// - Precondition: no thread allocates or sweeps meanwhile.
  package func checkInvariants(_ report: (String) -> Void) {
    unsafe record.pointee.lists.withLock { lists in
      for (parity, isFull, stack) in [
        (0, false, lists.partial.0), (1, false, lists.partial.1),
        (0, true, lists.full.0), (1, true, lists.full.1),
      ] {
        var count = 0
        var next = stack.head
        while let span = next {
          count += 1
          if count > stack.count { break }
          span.checkInvariants(report)
          if Int(span.sweepGeneration & 1) != parity { report("a span is on the wrong parity") }
          if (span.allocatedCount == span.slotCount) != isFull {
            report("a span with \(span.allocatedCount) slots is on the wrong list")
          }
          if span.shelf != self { report("a span is on another's shelf") }
          next = span.listNext
        }
        if count != stack.count { report("a list counts \(stack.count) spans, has \(count)") }
      }
    }
  }
}
