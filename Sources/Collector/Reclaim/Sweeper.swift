// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Sweeping: what is not marked is free.
//
// A span is swept by whoever takes it from an unswept list: the collector's thread, going
// through all shelves after a cycle, or a mutator that wants slots of just that kind. An
// empty span goes to the page heap and can serve any class next, a span with free slots to
// its shelf's partial list, a full one to the full list.
//
// Sweeping may begin when every mutator has handed its spans back and allocates white
// (`sweepableGeneration`). It has ended when all unswept lists are empty and no mutator is
// between taking a span and putting it back: `activeSweepers` is raised before taking
// (sequentially consistent) and lowered, releasing, after the last touch; the collector reads
// it, acquiring, after it has found the lists empty. A mutator that raises it after that
// finds nothing to take.
//
// In checked mode the dead slots are filled with a pattern.

internal import CHeapShims
package import Heap
internal import Synchronization

extension CollectedHeap {
  /// The bytes of freed slots in checked mode.
  package static var freedPattern: UInt8 { 0xdb }

  // MARK: - One span

  /// Sweeps a span that the caller owns; nil when it was empty and is the page heap's now.
  package func sweep(_ span: HeapSpan, to generation: UInt32) -> HeapSpan? {
    let size = Int(span.slotSize)
    let result: HeapSpan.SweepResult
    if options.checks {
      result = span.sweep(to: generation) { word, dead in
        self.fill(word: word, dead: dead, of: span)
      }
    } else {
      result = span.sweep(to: generation)
    }
    if result.freed > 0 {
      span.shelf.countObjects(-result.freed)
      counters.freedObjects.add(result.freed, ordering: .relaxed)
      counters.freedBytes.add(result.freed * size, ordering: .relaxed)
    }
    guard result.live > 0 else {
      pageHeap.freeSpan(span)
      return nil
    }
    return span
  }

  private func fill(word: Int, dead: UInt, of span: HeapSpan) {
    var dead = dead
    while dead != 0 {
      let slot = word << 6 + dead.trailingZeroBitCount
      dead &= dead - 1
      let start = span.address(ofSlot: slot)
      // SAFETY: a slot that nothing refers to, of a span that the caller owns.
      unsafe UnsafeMutableRawPointer(bitPattern: start).unsafelyUnwrapped
        .initializeMemory(as: UInt8.self, repeating: Self.freedPattern, count: Int(span.slotSize))
    }
  }

  // MARK: - All spans

  /// Sweeps every unswept span. The collector's thread.
  package func sweepAll() {
    let start = heap_now()
    let generation = generation
    guard unsafe words.pointee.sweepableGeneration.load(ordering: .relaxed) == generation else {
      return
    }
    for shelf in central.shelves() {
      while let span = shelf.popPartial(of: generation &- 1) ?? shelf.popFull(of: generation &- 1) {
        if let kept = sweep(span, to: generation) { shelf.put(kept) }
      }
    }
    counters.sweepNanoseconds.add(Int(heap_now() - start), ordering: .relaxed)
  }

  // MARK: - A mutator that needs slots

  /// Full spans that are swept in search of a free slot before a fresh span is taken. More
  /// keeps the heap denser, less makes a refill's worst case shorter.
  private static var searchBudget: Int { 8 }

  /// A swept span with free slots from a shelf's unswept lists, owned by the caller.
  package func sweepForSlots(_ shelf: SpanShelf, generation: UInt32) -> HeapSpan? {
    // Acquiring: pairs with advanceGeneration.
    guard unsafe words.pointee.sweepableGeneration.load(ordering: .acquiring) == generation else {
      return nil
    }
    unsafe words.pointee.activeSweepers.add(1, ordering: .sequentiallyConsistent)
    defer { unsafe words.pointee.activeSweepers.subtract(1, ordering: .releasing) }
    while let span = shelf.popPartial(of: generation &- 1) {
      if let kept = sweep(span, to: generation) {
        if kept.allocatedCount < kept.slotCount { return kept }
        shelf.put(kept)
      }
    }
    for _ in 0..<Self.searchBudget {
      guard let span = shelf.popFull(of: generation &- 1) else { return nil }
      if let kept = sweep(span, to: generation) {
        if kept.allocatedCount < kept.slotCount { return kept }
        shelf.put(kept)
      }
    }
    return nil
  }
}
