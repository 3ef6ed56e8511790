// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A shelf: the spans of one span class and one layout that no cache holds.
//
// A shelf has lists by three properties of a span: whether it has free slots (partial) or none
// (full); whether it was touched since its sweep or is clean; and the parity of one of its
// generation's numbers (Generation.swift), of a touched span the cycle's, of a clean one the full
// cycle's. When the heap's generation advances after a minor cycle, every list of touched spans is
// a list of unswept ones, and the clean ones stay what they are. After a full cycle, all lists are
// lists of unswept spans. In either case nothing has moved.
//
//                 unswept                       swept, or of the current generation
//   partial       taken and swept               taken first
//   full          swept to find free slots      waits for the next cycle
//
// A thread works with its own copy of the generation, which may be one behind the heap's. Such a
// thread still takes and returns spans of its generation, and what it returns is touched, so it is
// swept like the rest. But what it takes for unswept spans, those of the generation before its own,
// is a list of the same parity as the heap's. Other threads may have put swept spans there already.
// So a list gives a span away only to a thread that names the span's generation.
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
  let counts: InlineArray<8, Atomic<Int>>
  /// Slots allocated and spans in use, caches' spans as of when they were taken. Relaxed: figures.
  let objects = Atomic(0)
  let spans = Atomic(0)
}

/// One of the lists of a shelf.
private struct ListPlace {
  enum Role: Int { case partial, full }
  enum Kind: Int { case clean, touched }

  let kind: Kind
  let role: Role
  let parity: UInt32

  init(_ kind: Kind, _ role: Role, of generation: Generation) {
    self.kind = kind
    self.role = role
    parity = (kind == .clean ? generation.full : generation.cycle) & 1
  }

  /// Where a span belongs.
  init(of span: HeapSpan) {
    self.init(
      span.isTouched ? .touched : .clean,
      span.usedCount == span.slotCount ? .full : .partial, of: span.generation)
  }

  var index: Int { kind.rawValue << 2 | role.rawValue << 1 | Int(parity) }

  static var all: [ListPlace] {
    [Kind.clean, .touched].flatMap { kind in
      [Role.partial, .full].flatMap { role in
        [0, 1].map { ListPlace(kind, role, of: Generation(cycle: $0, full: $0)) }
      }
    }
  }

  /// Whether a span in the list is of a generation, and not of one with the same parity.
  func isMember(_ span: HeapSpan, of generation: Generation) -> Bool {
    kind == .clean
      ? span.generation.full == generation.full : span.generation.cycle == generation.cycle
  }
}

private struct ShelfLists: ~Copyable {
  /// By `ListPlace`.
  var all = InlineArray<8, SpanStack> { _ in SpanStack() }
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

  // A generation's spans are those that may be used; those of `previous` are unswept.

  /// Takes a span of `generation` with free slots.
  package func popPartial(of generation: Generation) -> HeapSpan? {
    var taken = popPartial(of: generation, atMost: 1)
    return taken.pop()
  }

  /// Takes a full span of `generation`.
  package func popFull(of generation: Generation) -> HeapSpan? {
    var taken = popFull(of: generation, atMost: 1)
    return taken.pop()
  }

  /// Takes spans of `generation` with free slots, at most so many.
  package func popPartial(of generation: Generation, atMost limit: Int) -> SpanStack {
    take(.partial, of: generation, atMost: limit)
  }

  /// Takes full spans of `generation`, at most so many.
  package func popFull(of generation: Generation, atMost limit: Int) -> SpanStack {
    take(.full, of: generation, atMost: limit)
  }

  /// Whether the shelf may have spans of `generation`, without taking a lock.
  ///
  /// `false` is true of unswept spans if the caller has read, acquiring, that sweeping began.
  package func mayHaveSpans(of generation: Generation) -> Bool {
    mayHave(ListPlace(.clean, .partial, of: generation))
      || mayHave(ListPlace(.clean, .full, of: generation))
      || mayHave(ListPlace(.touched, .partial, of: generation))
      || mayHave(ListPlace(.touched, .full, of: generation))
  }

  private func mayHave(_ place: ListPlace) -> Bool {
    // Relaxed: see `ShelfRecord.counts`.
    unsafe record.pointee.counts[place.index].load(ordering: .relaxed) != 0
  }

  private func take(
    _ role: ListPlace.Role, of generation: Generation, atMost limit: Int
  ) -> SpanStack {
    let clean = take(ListPlace(.clean, role, of: generation), of: generation, atMost: limit)
    guard clean.isEmpty else { return clean }
    return take(ListPlace(.touched, role, of: generation), of: generation, atMost: limit)
  }

  private func take(
    _ place: ListPlace, of generation: Generation, atMost limit: Int
  ) -> SpanStack {
    guard mayHave(place) else { return SpanStack() }
    return withList(place) { list in
      // A list never has spans of two generations: when one generation is new, the lists of the
      // last but one are empty. So the first span speaks for all.
      guard let first = list.first, place.isMember(first, of: generation) else {
        return SpanStack()
      }
      return list.popFirst(limit)
    }
  }

  // MARK: - Putting back

  /// Puts a span into the list that its generation and its slots say. The caller has owned it
  /// until now.
  package func put(_ span: HeapSpan) {
    withList(ListPlace(of: span)) { $0.push(span) }
  }

  /// Puts spans into the lists that their generations and slots say, under one lock. The caller
  /// has owned them until now.
  package func put(_ spans: consuming SpanStack) {
    guard !spans.isEmpty else { return }
    var sorted = InlineArray<8, SpanStack> { _ in SpanStack() }
    while let span = spans.pop() { sorted[ListPlace(of: span).index].push(span) }
    unsafe record.pointee.lists.withLock { lists in
      for index in sorted.indices where !sorted[index].isEmpty {
        lists.all[index].push(sorted[index].popAll())
        unsafe record.pointee.counts[index].store(lists.all[index].count, ordering: .relaxed)
      }
    }
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
  package func count(of generation: Generation) -> (partial: Int, full: Int) {
    unsafe record.pointee.lists.withLock { lists in
      func count(_ role: ListPlace.Role) -> Int {
        lists.all[ListPlace(.clean, role, of: generation).index].count
          + lists.all[ListPlace(.touched, role, of: generation).index].count
      }
      return (count(.partial), count(.full))
    }
  }

  /// Calls `body` with every span on the shelf, under its lock.
  package func forEach(_ body: (HeapSpan) -> Void) {
    unsafe record.pointee.lists.withLock { lists in
      for index in lists.all.indices { lists.all[index].forEach(body) }
    }
  }

  /// Reports what is wrong with the lists and the spans in them.
  /// - Precondition: no thread allocates or sweeps meanwhile.
  package func checkInvariants(_ report: (String) -> Void) {
    unsafe record.pointee.lists.withLock { lists in
      for place in ListPlace.all {
        let count = unsafe record.pointee.counts[place.index].load(ordering: .relaxed)
        if count != lists.all[place.index].count {
          report("a list of \(lists.all[place.index].count) spans is said to have \(count)")
        }
        lists.all[place.index].checkInvariants(report) { check($0, in: place, report) }
      }
    }
  }

  private func check(_ span: HeapSpan, in place: ListPlace, _ report: (String) -> Void) {
    span.checkInvariants(report)
    let own = ListPlace(of: span)
    if own.kind != place.kind { report("a \(own.kind) span is in a list of \(place.kind) ones") }
    if own.parity != place.parity { report("a span is on the wrong parity") }
    if own.role != place.role {
      report("a span with \(span.usedCount) slots in use is on the wrong list")
    }
    if span.shelf != self { report("a span is on another's shelf") }
  }
}
