// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A shelf: the spans of one span class and one layout that no cache holds.
//
// A shelf has four lists: spans with free slots (partial) and spans without (full), of an even
// generation and of an odd one. A span's own generation says which. When the heap's generation
// advances to g, every list of swept spans is a list of unswept ones, and nothing has moved.
//
//                 generation g - 1: unswept     generation g: swept
//   partial       taken and swept               taken first
//   full          swept to find free slots      waits for the next cycle
//
// Two parities are enough: the heap's generation advances only when all spans have reached it
// (CollectionCycle.swift), so there are never spans of three generations.
//
// A thread works with its own copy of the generation, which may be one behind the heap's. Such a
// thread still takes and returns spans of its generation, g - 1, and what it returns is swept
// like the rest. But what it takes for unswept spans, those of g - 2, is the list of generation
// g, which has the same parity. Other threads may have put swept spans there already. So a list
// gives a span away only to a thread that names the span's generation.
//
// Taking from a list that is empty takes no lock: see `counts`.
//
// Invariant   a span is on one list or owned by one thread, never both.
// Guarded by  the shelf's lock, held for a few loads and stores.
// Owner       whoever takes a span owns it until it puts it back.
//
// Overview: Documentation/AllocatorTiers.md

internal import Synchronization

/// The record behind a `SpanShelf`.
private struct ShelfRecord: ~Copyable {
  let layout: HeapLayout
  let spanClass: SpanClass
  let lists: HeapLock<ShelfLists>
  /// How many spans each list has. Written with the lock held, read without.
  ///
  /// Ordering: relaxed, which is enough for what the readers do with a zero.
  /// - Swept spans: the reader takes a fresh span from the page heap while another thread puts
  ///   one back. It could as well have come a moment earlier.
  /// - Unswept spans: all of them were put back before sweeping began, and whoever wants to
  ///   sweep has read that it began, acquiring (`sweepableGeneration`). So the reader sees those
  ///   additions; from then on spans are only taken from the list, and zero is the truth.
  let counts: InlineArray<4, Atomic<Int>>
  /// Slots allocated and spans in use, caches' spans as of when they were taken. Relaxed: figures.
  let objects = Atomic(0)
  let spans = Atomic(0)
}

/// One of the four lists of a shelf.
private struct ListPlace {
  enum Role: Int { case partial, full }

  let index: Int

  init(_ role: Role, of generation: UInt32) {
    index = role.rawValue << 1 | Int(generation & 1)
  }
}

private struct ShelfLists: ~Copyable {
  /// By `ListPlace`.
  var all = InlineArray<4, SpanStack> { _ in SpanStack() }
}

/// A handle to the spans of one class and layout.
@safe package struct SpanShelf: Hashable, @unchecked Sendable {
  // Sendable: an address; the lists are behind a lock, the rest is constant or atomic.
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
        layout: layout, spanClass: spanClass, lists: HeapLock(ShelfLists(), rank: .shelf),
        counts: InlineArray { _ in Atomic(0) }))
    // The lock owns memory.
    memory.atEnd { unsafe _ = shelf.record.deinitialize(count: 1) }
    return shelf
  }

  // MARK: - Figures

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
    var taken = take(.partial, of: generation, atMost: 1)
    return taken.pop()
  }

  /// Takes a full span of `generation`.
  package func popFull(of generation: UInt32) -> HeapSpan? {
    var taken = take(.full, of: generation, atMost: 1)
    return taken.pop()
  }

  /// Takes spans of `generation` with free slots, at most so many, under one lock.
  package func popPartial(of generation: UInt32, atMost limit: Int) -> SpanStack {
    take(.partial, of: generation, atMost: limit)
  }

  /// Takes full spans of `generation`, at most so many, under one lock.
  package func popFull(of generation: UInt32, atMost limit: Int) -> SpanStack {
    take(.full, of: generation, atMost: limit)
  }

  /// Whether the shelf may have spans of `generation`, without taking a lock.
  ///
  /// `false` is true of unswept spans if the caller has read, acquiring, that sweeping began.
  package func mayHaveSpans(of generation: UInt32) -> Bool {
    mayHave(.partial, of: generation) || mayHave(.full, of: generation)
  }

  private func mayHave(_ role: ListPlace.Role, of generation: UInt32) -> Bool {
    // Relaxed: see `ShelfRecord.counts`.
    unsafe record.pointee.counts[ListPlace(role, of: generation).index].load(ordering: .relaxed)
      != 0
  }

  private func take(
    _ role: ListPlace.Role, of generation: UInt32, atMost limit: Int
  ) -> SpanStack {
    guard mayHave(role, of: generation) else { return SpanStack() }
    return withList(ListPlace(role, of: generation)) { list in
      // A list never has spans of two generations: when one generation is new, the lists of the
      // last but one are empty. So the first span speaks for all.
      guard list.first?.sweepGeneration == generation else { return SpanStack() }
      return list.popFirst(limit)
    }
  }

  // MARK: - Putting back

  /// Puts a span into the list that its generation and its free slots say. The caller has
  /// owned it until now.
  package func put(_ span: HeapSpan) {
    withList(Self.place(of: span)) { $0.push(span) }
  }

  /// Puts spans into the lists that their generations and free slots say, under one lock. The
  /// caller has owned them until now.
  package func put(_ spans: consuming SpanStack) {
    guard !spans.isEmpty else { return }
    var sorted = InlineArray<4, SpanStack> { _ in SpanStack() }
    while let span = spans.pop() { sorted[Self.place(of: span).index].push(span) }
    unsafe record.pointee.lists.withLock { lists in
      for index in 0..<4 where !sorted[index].isEmpty {
        lists.all[index].push(sorted[index].popAll())
        unsafe record.pointee.counts[index].store(lists.all[index].count, ordering: .relaxed)
      }
    }
  }

  private static func place(of span: HeapSpan) -> ListPlace {
    ListPlace(
      span.usedCount == span.slotCount ? .full : .partial, of: span.sweepGeneration)
  }

  /// Runs `body` with one list, under the lock.
  private func withList<Result: ~Copyable>(
    _ place: ListPlace, _ body: (inout SpanStack) -> Result
  ) -> Result {
    unsafe record.pointee.lists.withLock { lists in
      let result = body(&lists.all[place.index])
      unsafe record.pointee.counts[place.index].store(
        lists.all[place.index].count, ordering: .relaxed)
      return result
    }
  }

  // MARK: - Looking

  /// How many spans of a generation are on the shelf.
  package func count(of generation: UInt32) -> (partial: Int, full: Int) {
    unsafe record.pointee.lists.withLock { lists in
      (
        lists.all[ListPlace(.partial, of: generation).index].count,
        lists.all[ListPlace(.full, of: generation).index].count
      )
    }
  }

  /// Calls `body` with every span on the shelf, under its lock.
  package func forEach(_ body: (HeapSpan) -> Void) {
    unsafe record.pointee.lists.withLock { lists in
      for index in 0..<4 { lists.all[index].forEach(body) }
    }
  }

  /// Reports what is wrong with the lists and the spans in them.
  /// - Precondition: no thread allocates or sweeps meanwhile.
  package func checkInvariants(_ report: (String) -> Void) {
    unsafe record.pointee.lists.withLock { lists in
      for role in [ListPlace.Role.partial, .full] {
        for parity in [0, 1] as [UInt32] {
          let place = ListPlace(role, of: parity)
          let count = unsafe record.pointee.counts[place.index].load(ordering: .relaxed)
          if count != lists.all[place.index].count {
            report("a list of \(lists.all[place.index].count) spans is said to have \(count)")
          }
          lists.all[place.index].checkInvariants(report) {
            check($0, in: role, parity: parity, report)
          }
        }
      }
    }
  }

  private func check(
    _ span: HeapSpan, in role: ListPlace.Role, parity: UInt32, _ report: (String) -> Void
  ) {
    span.checkInvariants(report)
    if span.sweepGeneration & 1 != parity { report("a span is on the wrong parity") }
    if (span.usedCount == span.slotCount) != (role == .full) {
      report("a span with \(span.usedCount) slots in use is on the wrong list")
    }
    if span.shelf != self { report("a span is on another's shelf") }
  }
}
