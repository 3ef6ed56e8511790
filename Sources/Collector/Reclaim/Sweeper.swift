// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Sweeping: what is not marked is free.
//
// A span is swept by whoever takes it from an unswept list: the collector's thread, which goes
// through all shelves after a cycle, or a mutator that wants slots of just that kind. The
// collector gives an empty span to the page heap, where it can serve any class next. A mutator
// keeps it: it wants the slots. A mutator that wants a large object sweeps other large ones until
// as many pages are free as it is about to take; these go to the page heap too.
//
// Sweeping may begin when every mutator has handed its spans back and allocates white: then
// `sweepableGeneration` is the heap's generation. It ends in two steps. The collector sweeps all
// that is on the lists and closes sweeping (`sweepableGeneration` becomes 0). Then it waits for
// the mutators that are in the midst of a span: each of them has counted itself in
// `activeSweepers`. See Note [Sweep hand-over] in Documentation/MemoryOrdering.md: a mutator looks
// at `sweepableGeneration` again after it has counted itself, so none begins after the collector
// has found the count at zero, and none is waited for that has nothing to sweep.
//
// In checked mode the dead slots are filled with a pattern and held out of use (Quarantine). What
// dead objects own is taken out of their slots first, and destroyed by another thread (Destroyer).

internal import CHeapShims
package import Heap
internal import Synchronization

/// Sweeps the spans of one heap.
@safe package final class Sweeper: @unchecked Sendable {
  // Sendable: constants, and a pointer to atomics.

  private let central: CentralLists
  private let pageHeap: PageHeap
  private let counters: HeapCounters
  private let words: UnsafeMutablePointer<HeapWords>
  private let destroyer: Destroyer
  /// Nil: the heap is unchecked.
  private let quarantine: Quarantine?

  init(
    central: CentralLists, pageHeap: PageHeap, counters: HeapCounters,
    words: UnsafeMutablePointer<HeapWords>, destroyer: Destroyer, quarantine: Quarantine?
  ) {
    self.central = central
    self.pageHeap = pageHeap
    self.counters = counters
    unsafe self.words = words
    self.destroyer = destroyer
    self.quarantine = quarantine
  }

  /// The bytes of freed slots in checked mode.
  ///
  /// Even: an odd word would be an immediate where any reference may be (ReferenceWord), and storing
  /// it would be no mistake.
  package static var freedPattern: UInt8 { 0xda }

  // MARK: - One span

  /// Sweeps a span that the caller owns.
  private func sweep(_ span: HeapSpan, to generation: Generation) {
    let remains = span.layout.ownsValues ? Remains(takenFrom: span) : nil
    let result =
      if let quarantine {
        span.sweep(to: generation) { word, dead, held in
          Self.fill(word: word, dead: dead, of: span)
          return quarantine.hold(dead, held, of: span)
        }
      } else {
        span.sweep(to: generation)
      }
    guard result.freed > 0 else { return }
    span.shelf.countObjects(-result.freed)
    counters.countFreed(slots: result.freed, bytes: result.freed * Int(span.slotSize))
    // After that: nothing is counted as destroyed that is not counted as freed.
    if let remains { destroyer.add(remains) }
  }

  private static func fill(word: Int, dead: UInt, of span: HeapSpan) {
    var dead = dead
    while dead != 0 {
      let start = span.address(ofGranule: word << 6 + dead.trailingZeroBitCount)
      dead &= dead - 1
      // SAFETY: a slot that nothing refers to, of a span that the caller owns.
      unsafe UnsafeMutableRawPointer(bitPattern: start).unsafelyUnwrapped
        .initializeMemory(as: UInt8.self, repeating: Self.freedPattern, count: Int(span.slotSize))
    }
  }

  // MARK: - All spans

  /// Sweeps every unswept span, and waits for mutators that are in the midst of one. On return
  /// every span is of the heap's generation. The collector's thread.
  package func finish() {
    let bits = unsafe words.pointee.generation.load(ordering: .relaxed)
    // Relaxed: the collector alone writes the word.
    guard unsafe words.pointee.sweepableGeneration.load(ordering: .relaxed) == bits else {
      return
    }
    let generation = Generation(bits: bits)
    let start = heap_thread_cpu()
    for shelf in central.shelves() { sweepAll(of: shelf, to: generation) }
    // See Note [Sweep hand-over].
    unsafe words.pointee.sweepableGeneration.store(0, ordering: .sequentiallyConsistent)
    while unsafe words.pointee.activeSweepers.load(ordering: .sequentiallyConsistent) != 0 {
      heap_pause()
    }
    counters.sweepNanoseconds.add(Int(heap_thread_cpu() - start), ordering: .relaxed)
  }

  /// Spans that the collector takes at a time. More means fewer visits to the locks of the shelf
  /// and the page heap, less leaves more to the mutators that need slots just then.
  private static var batch: Int { 32 }

  private func sweepAll(of shelf: SpanShelf, to generation: Generation) {
    while true {
      var unswept = shelf.popPartial(of: generation.previous, atMost: Self.batch)
      if unswept.isEmpty { unswept = shelf.popFull(of: generation.previous, atMost: Self.batch) }
      if unswept.isEmpty { return }
      var empty = SpanStack()
      var kept = SpanStack()
      while let span = unswept.pop() {
        sweep(span, to: generation)
        if span.usedCount == 0 { empty.push(span) } else { kept.push(span) }
      }
      if !empty.isEmpty { pageHeap.freeSpans(empty) }
      if !kept.isEmpty { shelf.put(kept) }
    }
  }

  /// Lets mutators sweep, and `finish` end it: every mutator has handed its spans back.
  func open(_ generation: Generation, _ kind: CycleKind) {
    quarantine?.begin(kind, live: counters.liveBytes.load(ordering: .relaxed))
    // Releasing: a mutator that may sweep sees what all have marked.
    unsafe words.pointee.sweepableGeneration.store(generation.bits, ordering: .releasing)
  }

  /// Checked mode holds so much memory out of use that the next cycle has to be a full one. After
  /// `finish`.
  var wantsFullCycle: Bool { quarantine?.wantsFullCycle ?? false }

  // MARK: - A mutator that needs memory

  /// Spans with no free slot that are swept in vain before a fresh span is taken.
  /// More keeps the heap denser, less makes the worst case of a refill shorter.
  private static var searchBudget: Int { 8 }

  /// A swept span with free slots from a shelf's unswept lists, owned by the mutator.
  package func sweepForSlots(_ shelf: SpanShelf, _ mutator: AttachedMutator) -> HeapSpan? {
    whileOpen(shelf, mutator) { generation in
      // A partial span has free slots whatever the marks say.
      if let span = shelf.popPartial(of: generation.previous) {
        sweep(span, to: generation)
        return span
      }
      for _ in 0..<Self.searchBudget {
        guard let span = shelf.popFull(of: generation.previous) else { return nil }
        sweep(span, to: generation)
        if span.usedCount < span.slotCount { return span }
        shelf.put(span)
      }
      return nil
    }
  }

  /// Sweeps large objects of a shelf until as many pages are free again as a mutator is about to
  /// take. So threads that allocate large objects do not run away from the collector's sweep.
  package func sweepForPages(_ pageCount: Int, _ shelf: SpanShelf, _ mutator: AttachedMutator) {
    _ = whileOpen(shelf, mutator) { generation -> HeapSpan? in
      var (freed, kept) = (0, 0)
      while freed < pageCount, kept < Self.searchBudget,
        let span = shelf.popFull(of: generation.previous)
      {
        sweep(span, to: generation)
        if span.usedCount == 0 {
          freed += span.pageCount
          pageHeap.freeSpan(span)
        } else {
          kept += 1
          shelf.put(span)
        }
      }
      return nil
    }
  }

  /// What `body` finds among a shelf's unswept spans, if there are any and mutators may sweep.
  private func whileOpen(
    _ shelf: SpanShelf, _ mutator: AttachedMutator, _ body: (Generation) -> HeapSpan?
  ) -> HeapSpan? {
    let state = unsafe mutator.state
    let generation = unsafe state.pointee.generation
    // Acquiring: pairs with `open`, so an empty list is empty for good.
    guard unsafe words.pointee.sweepableGeneration.load(ordering: .acquiring) == generation.bits
    else { return nil }
    guard shelf.mayHaveSpans(of: generation.previous) else { return nil }
    unsafe words.pointee.activeSweepers.add(1, ordering: .sequentiallyConsistent)
    defer { unsafe words.pointee.activeSweepers.subtract(1, ordering: .releasing) }
    // See Note [Sweep hand-over].
    guard
      unsafe words.pointee.sweepableGeneration.load(ordering: .sequentiallyConsistent)
        == generation.bits
    else { return nil }
    let start = heap_now()
    defer {
      unsafe _ = state.pointee.tally.sweepNanoseconds.add(
        Int(heap_now() - start), ordering: .relaxed)
    }
    return body(generation)
  }
}
