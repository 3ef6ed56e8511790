// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The colour of what a mutator allocates, and handing spans back.
//
// Black allocation is the run's business, not the object's. While the mutator allocates black, a
// run is marked when it is taken. When the mutator begins to allocate black, in its answer to
// `scan`, the rest of every current run is marked. What it hands back unused in its answer to
// `returnSpans` is unmarked again: a free slot with a mark would be taken for an object by the
// next sweep.
//
// What is black when the cycle ends is old. Between its answers to `off` and to `returnSpans` a
// mutator allocates black, while another that has answered both allocates young objects already.
// It may load one of these and put it into a black object as a first value, for which no store
// sets a card. So the cards of all that a mutator allocates in that time are set when its runs are
// counted, at the latest in its answer to `returnSpans`.
//
// Ordering    A slot is zeroed before it is marked, releasing. Whoever acquires the mark sees zeroes,
//             or what its owner has initialised since (Note [Mark bits]).
// Owner       the mutator, or the collector while it answers for the mutator.

internal import Heap
internal import Synchronization

extension AttachedMutator {
  // MARK: - Black

  /// Marks slots and puts them on no stack: nobody has to read them.
  func blacken(_ slots: SlotRange, of span: HeapSpan) {
    var marked = 0
    span.forEachWord(of: slots) { word, mask in
      // Releasing: pairs with whoever goes from a mark to the slot (`scanCard`).
      let old = unsafe span.marks[word].bitwiseOr(mask, ordering: .releasing).oldValue
      marked += (mask & ~old).nonzeroBitCount
    }
    // No work was found: nothing that was allocated before became grey.
    count(marked, of: span)
  }

  /// The rest of every current run is black from now on.
  func blackenRuns() {
    unsafe state.pointee.cache.forEachSpan { entry in
      guard let span = unsafe entry.pointee.span else { return }
      unsafe blacken(entry.pointee.unusedSlots, of: span)
    }
    // The open tiny slot is white: values that come are put into a new one.
    unsafe state.pointee.tiny = TinyRun()
    unsafe state.pointee.allocatesBlack = true
  }

  private func whiten(_ slots: SlotRange, of span: HeapSpan) {
    var cleared = 0
    span.forEachWord(of: slots) { word, mask in
      // Relaxed: nobody marks, and the span's list hands it over.
      let old = unsafe span.marks[word].bitwiseAnd(~mask, ordering: .relaxed).oldValue
      cleared += (old & mask).nonzeroBitCount
    }
    count(-cleared, of: span)
  }

  private func count(_ marked: Int, of span: HeapSpan) {
    guard marked != 0 else { return }
    unsafe state.pointee.marker.withShared {
      $0.countMarked(bytes: marked * Int(span.slotSize), objects: marked)
    }
  }

  // MARK: - Handing back

  /// Puts every span of the cache on its shelf. Unused slots become free again.
  func returnSpans() {
    unsafe state.pointee.tiny = TinyRun()
    unsafe state.pointee.cache.forEachSpan { entry in
      guard let span = unsafe entry.pointee.span else { return }
      let unused = unsafe entry.pointee.unusedSlots
      unsafe closeRun(entry)
      if unused.count > 0 {
        whiten(unused, of: span)
        span.giveBack(unused)
        // The slots are zero, but to zero them again costs less than to remember it.
        span.needsZero = true
        unsafe state.pointee.unaccountedBytes -= unused.count * Int(span.slotSize)
      }
      unsafe Self.putBack(span, entry)
      unsafe entry.pointee.recentBytes = 0
    }
  }

  // MARK: - Counting

  /// Counts the objects of an entry's run, which gets no more of them.
  func closeRun(_ entry: UnsafeMutablePointer<CacheEntry>) {
    unsafe countRun(entry)
    unsafe (entry.pointee.runStart, entry.pointee.cursor, entry.pointee.limit) = (0, 0, 0)
  }

  /// Counts the objects that an entry's run has got since they were counted last.
  private func countRun(_ entry: UnsafeMutablePointer<CacheEntry>) {
    let used = unsafe entry.pointee.usedCount
    guard used > 0 else { return }
    unsafe state.pointee.tally.countAllocated(
      slots: used, bytes: used * Int(entry.pointee.slotSize))
    unsafe cardBirths(
      at: entry.pointee.runStart, size: entry.pointee.cursor - entry.pointee.runStart)
    unsafe entry.pointee.runStart = entry.pointee.cursor
  }

  /// Sets the cards of what was allocated. See the head of the file.
  func cardBirths(at start: UInt, size: UInt) {
    guard unsafe state.pointee.cardsBirths else { return }
    CardTable.mark(start, size: size)
  }

  /// Counts everything that the mutator has allocated, before it gives its cache out of its hands:
  /// nobody who asks for figures can read the runs of a mutator that is blocked or idle.
  func countRuns() {
    unsafe state.pointee.cache.forEachSpan { entry in
      guard let span = unsafe entry.pointee.span else { return }
      unsafe countRun(entry)
      let counted = unsafe span.allocatedCount - entry.pointee.unusedSlots.count
      let change = unsafe counted - entry.pointee.countBefore
      guard change != 0 else { return }
      unsafe entry.pointee.shelf.countObjects(change)
      unsafe entry.pointee.countBefore = counted
    }
  }

  /// Puts an entry's span on its shelf.
  static func putBack(_ span: HeapSpan, _ entry: UnsafeMutablePointer<CacheEntry>) {
    unsafe entry.pointee.span = nil
    unsafe (entry.pointee.runStart, entry.pointee.cursor, entry.pointee.limit) = (0, 0, 0)
    let shelf = unsafe entry.pointee.shelf
    unsafe shelf.countObjects(span.allocatedCount - entry.pointee.countBefore)
    shelf.put(span)
  }
}
