// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Refilling a cache: the slow half of allocation.
//
// Four escalations, each naming the next:
//
//   the run is used up      → the next run of the same span
//   the span is used up     → a span of the shelf: partial and swept, then partial and
//                             unswept, then full and unswept (up to a budget)
//   the shelf has nothing   → a fresh span from the page heap
//   that has no pages       → the system; and when it refuses, or the limit is reached, a
//                             full collection, and once more
//
// A refill is a safepoint: first the handshake that waits is answered and the collector gets
// its share of work (the assist), then a run is taken. Between taking a run and the
// initialisation of the object there is no safepoint.
//
// Black allocation is the run's business, not the object's: while the mutator allocates
// black, a run is marked when it is taken (`blacken`), and what is left of the current runs
// when it begins to. What a mutator hands back unused is unmarked again (`returnSpans`).

internal import CHeapShims
internal import Heap
internal import Synchronization

extension CollectedHeap {
  // MARK: - Runs

  /// Gives the entry of a key a run with a free slot; false when there is no memory.
  package func refill(_ mutator: AttachedMutator, key: UInt) -> Bool {
    poll(mutator)
    for _ in 0..<2 {
      if takeRun(mutator, key) { return true }
      // No pages: what is unreachable is in the way.
      collectAndWait()
    }
    return takeRun(mutator, key)
  }

  private func takeRun(_ mutator: AttachedMutator, _ key: UInt) -> Bool {
    let state = unsafe mutator.state
    // Found: the caller has just added or used it.
    let entry = unsafe state.pointee.cache.find(key).unsafelyUnwrapped
    while true {
      if let span = unsafe entry.pointee.span {
        if let run = span.nextRun(atMost: runLimit) {
          unsafe start(run, in: span, entry, mutator)
          return true
        }
        unsafe putBack(span, entry)
      }
      guard let span = unsafe findSpan(entry.pointee.shelf, mutator) else { return false }
      unsafe entry.pointee.span = span
      unsafe entry.pointee.countBefore = span.allocatedCount
    }
  }

  /// Puts a cache's span on its shelf.
  private func putBack(_ span: HeapSpan, _ entry: UnsafeMutablePointer<CacheEntry>) {
    unsafe entry.pointee.span = nil
    unsafe (entry.pointee.cursor, entry.pointee.limit) = (0, 0)
    let shelf = unsafe entry.pointee.shelf
    unsafe shelf.countObjects(span.allocatedCount - entry.pointee.countBefore)
    shelf.put(span)
  }

  /// A span of the shelf with a free slot, or a fresh one.
  private func findSpan(_ shelf: SpanShelf, _ mutator: AttachedMutator) -> HeapSpan? {
    let generation = unsafe mutator.state.pointee.generation
    return shelf.popPartial(of: generation)
      ?? sweepForSlots(shelf, generation: generation)
      ?? pageHeap.makeSpan(
        for: shelf, pageCount: shelf.spanClass.sizeClass.spanPages, generation: generation)
  }

  /// Makes a run the entry's, zeroed and in the mutator's colour.
  private func start(
    _ run: SlotRange, in span: HeapSpan, _ entry: UnsafeMutablePointer<CacheEntry>,
    _ mutator: AttachedMutator
  ) {
    let state = unsafe mutator.state
    let first = span.address(ofSlot: run.start)
    let bytes = run.count * Int(span.slotSize)
    if span.needsZero && !span.layout.isNoscan {
      // SAFETY: free slots of a span that the mutator owns.
      unsafe UnsafeMutableRawPointer(bitPattern: first).unsafelyUnwrapped
        .initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    }
    if unsafe state.pointee.allocatesBlack { blacken(run, of: span) }
    span.take(run)
    unsafe entry.pointee.cursor = first
    unsafe entry.pointee.limit = first + UInt(bytes)
    unsafe state.pointee.takenBytes += bytes
    unsafe state.pointee.takenSlots += run.count
    unsafe state.pointee.unaccountedBytes += bytes
    if unsafe state.pointee.words.pointee.isMarking.load(ordering: .relaxed) != 0 {
      unsafe state.pointee.assistDebt += bytes
    }
  }

  // MARK: - Colour

  /// Marks slots as if they had been scanned. Scanned first: nobody then sees one that is
  /// marked and not scanned.
  func blacken(_ slots: SlotRange, of span: HeapSpan) {
    var marked = 0
    slots.forEachWord { word, mask in
      _ = unsafe span.scanned[word].bitwiseOr(mask, ordering: .relaxed)
      let old = unsafe span.marks[word].bitwiseOr(mask, ordering: .relaxed).oldValue
      marked += (mask & ~old).nonzeroBitCount
    }
    // Not `foundWhite`: nothing that was allocated before became grey.
    counters.markedObjects.add(marked, ordering: .relaxed)
    counters.markedBytes.add(marked * Int(span.slotSize), ordering: .relaxed)
  }

  /// The rest of every current run is black from now on.
  func blackenRuns(_ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    unsafe state.pointee.cache.forEachSpan { entry in
      guard let span = unsafe entry.pointee.span else { return }
      unsafe blacken(entry.pointee.unusedSlots, of: span)
    }
    // The open tiny slot is white: values that come are put into a new one.
    unsafe state.pointee.tiny = TinyRun()
    unsafe state.pointee.allocatesBlack = true
  }

  // MARK: - Handing back

  /// Puts every span of the cache on its shelf.
  ///
  /// Unused slots become free again, and their marks are cleared: a free slot with a mark
  /// would be taken for an object by the next sweep.
  ///
  /// - Parameter keepingUnused: leave them allocated. While a collection marks, somebody may
  ///   be about to mark such a slot for a stale word, and must not do so behind our back:
  ///   the slots are lost until they are swept.
  func returnSpans(_ mutator: AttachedMutator, keepingUnused: Bool) {
    let state = unsafe mutator.state
    unsafe state.pointee.tiny = TinyRun()
    unsafe state.pointee.cache.forEachSpan { entry in
      guard let span = unsafe entry.pointee.span else { return }
      let unused = unsafe entry.pointee.unusedSlots
      if unused.count > 0, !keepingUnused {
        whiten(unused, of: span)
        span.giveBack(unused)
        // They are zero, but zero again costs less than remembering it.
        span.needsZero = true
        let bytes = unused.count * Int(span.slotSize)
        unsafe state.pointee.takenBytes -= bytes
        unsafe state.pointee.takenSlots -= unused.count
        unsafe state.pointee.unaccountedBytes -= bytes
      }
      unsafe putBack(span, entry)
    }
  }

  private func whiten(_ slots: SlotRange, of span: HeapSpan) {
    var cleared = 0
    slots.forEachWord { word, mask in
      // Relaxed: nobody marks.
      let old = unsafe span.marks[word].bitwiseAnd(~mask, ordering: .relaxed).oldValue
      _ = unsafe span.scanned[word].bitwiseAnd(~mask, ordering: .relaxed)
      cleared += (old & mask).nonzeroBitCount
    }
    guard cleared > 0 else { return }
    counters.markedObjects.subtract(cleared, ordering: .relaxed)
    counters.markedBytes.subtract(cleared * Int(span.slotSize), ordering: .relaxed)
  }
}
