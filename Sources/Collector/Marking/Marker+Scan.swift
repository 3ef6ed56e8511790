// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Scanning: reading the references of grey objects.
//
// A span is taken from the queue, `queued` is cleared, and every object of it that is marked
// and not scanned is read; the layout is loaded once for all of them. Two markers may have
// the same span (a mark that came after `queued` was cleared queued it again): each claims
// its objects by setting their `scanned` bits in one read-modify-write, and takes those that
// it was first to set.
//
// A large object is read in pieces, so that several markers share it and none is away for
// long: whoever has the span claims the next piece, puts the span back if more is left, and
// reads its piece.
//
// Slots are read with relaxed loads while mutators change them. A word that is read is the
// old or the new value, and the barrier has recorded the other one.

internal import CHeapShims
package import Heap
internal import Synchronization

extension Marker {
  /// Bytes of a large object that are scanned at a time (as Go's oblets).
  private static var pieceSize: UInt { 128 << 10 }

  /// Scans the objects of the next span; false when there is none here or in the shared queue.
  @inline(__always)
  package mutating func scanNext() -> Bool {
    if local.isEmpty {
      // The ring may hold the last references.
      emptyRing()
      if local.isEmpty, !takeBatch() { return false }
    }
    guard let span = local.removeFirst() else { return false }
    prefetchAhead()
    scan(span)
    shareSurplus()
    return true
  }

  /// Has the processor fetch what the next visits will read: of the next span its grey objects, of
  /// the one after it the bits that say which these are, and of the third one the record that says
  /// where the bits are. Each was fetched by the step before.
  @inline(__always)
  private func prefetchAhead() {
    guard let next = local.head else { return }
    prefetchGreyObjects(of: next)
    guard let second = next.queueNext else { return }
    let marks = UInt(bitPattern: unsafe second.marks)
    heap_prefetch(marks)
    heap_prefetch(marks &+ (ArenaTables.Layout.scanned - ArenaTables.Layout.marks))
    if let third = second.queueNext { heap_prefetch(third.address) }
  }

  /// Objects of a span that are prefetched before its visit; the visit fetches the others. More
  /// push each other out of the nearest cache.
  private static var fetchedAhead: Int { 16 }

  @inline(__always)
  private func prefetchGreyObjects(of span: HeapSpan) {
    var left = Self.fetchedAhead
    var word = 0
    while word < span.wordCount, left > 0 {
      // Relaxed: a hint.
      var grey =
        unsafe span.marks[word].load(ordering: .relaxed)
        & ~span.scanned[word].load(ordering: .relaxed)
      while grey != 0, left > 0 {
        heap_prefetch(span.address(ofGranule: word << 6 &+ grey.trailingZeroBitCount))
        grey &= grey &- 1
        left &-= 1
      }
      word += 1
    }
  }

  /// Scans what is grey in a span that has been taken from a queue.
  package mutating func scan(_ span: HeapSpan) {
    // See Note [Span queue].
    _ = unsafe span.record.pointee.queued.exchange(false, ordering: .sequentiallyConsistent)
    if withShared({ $0.check != nil }) { checkReferences(of: span) }
    if span.isLarge { return scanLarge(span) }
    let layout = span.layout
    let (marks, scanned) = unsafe (span.marks, span.scanned)
    let slotSize = span.slotSize
    for word in 0..<span.wordCount {
      // Sequentially consistent for Note [Span queue]; it also acquires, and so pairs with the
      // owner of a black run, which sets `scanned` before `marks` (RunColour).
      let marked = unsafe marks[word].load(ordering: .sequentiallyConsistent)
      let done = unsafe scanned[word].load(ordering: .relaxed)
      guard marked & ~done != 0 else { continue }
      let before = unsafe scanned[word].bitwiseOr(marked, ordering: .relaxed).oldValue
      var grey = marked & ~before
      scannedBytes &+= grey.nonzeroBitCount &* Int(bitPattern: slotSize)
      var coming = grey
      while coming != 0 {
        heap_prefetch(span.address(ofGranule: word << 6 &+ coming.trailingZeroBitCount))
        coming &= coming &- 1
      }
      while grey != 0 {
        let object = span.address(ofGranule: word << 6 &+ grey.trailingZeroBitCount)
        grey &= grey &- 1
        scanObject(object, layout)
      }
    }
  }

  @inline(__always)
  private mutating func scanObject(_ object: UInt, _ layout: HeapLayout) {
    switch layout.kind {
    case .object:
      scanFields(object, layout)
    case .array:
      scanElements(0..<heap_load_word(object), of: object, layout)
    }
  }

  @inline(__always)
  private mutating func scanFields(_ start: UInt, _ layout: HeapLayout) {
    let record = unsafe layout.record
    let references = unsafe record.pointee.references
    for i in unsafe 0..<record.pointee.referenceCount {
      let word = heap_load_word(start &+ UInt(unsafe references[i]))
      if word != 0 { mark(word) }
    }
    guard unsafe record.pointee.ambiguousCount != 0 else { return }
    for i in unsafe layout.ambiguous.indices {
      let offset = unsafe layout.ambiguous[i]
      markConservatively(heap_load_word(start &+ UInt(offset)))
    }
  }

  private mutating func scanElements(_ range: Range<UInt>, of array: UInt, _ layout: HeapLayout) {
    let first = array &+ layout.elementsOffset
    for i in range { scanFields(first &+ i &* layout.size, layout) }
  }

  /// Marks what the old objects on a card refer to, as far as the references lie on it.
  ///
  /// Old objects are marked and scanned. What is marked only was found in this cycle, and may be a
  /// slot that its owner is about to initialise: it is read later, with its span.
  mutating func scanCard(_ card: UInt) {
    guard let (span, first) = HeapSpan.slot(of: card, owner: owner), !span.layout.isNoscan else {
      return
    }
    let layout = span.layout
    let end = card + CardTable.cardSize
    var slot = first
    while slot < span.slotCount, span.address(ofSlot: slot) < end {
      // Acquiring: pairs with `blacken`, of a cycle before.
      let (word, mask) = span.bit(ofSlot: slot)
      let marked = unsafe span.marks[word].load(ordering: .acquiring)
      let old = unsafe marked & span.scanned[word].load(ordering: .relaxed)
      if old & mask != 0 {
        scanObject(span.address(ofSlot: slot), layout, within: card..<end)
      }
      slot += 1
    }
  }

  /// Scans the part of an object that lies in `range`.
  private mutating func scanObject(_ object: UInt, _ layout: HeapLayout, within range: Range<UInt>)
  {
    guard layout.kind == .array else { return scanFields(object, layout, within: range) }
    let first = object + layout.elementsOffset
    let count = heap_load_word(object)
    guard range.upperBound > first, layout.size > 0 else { return }
    let begin = range.lowerBound > first ? (range.lowerBound - first) / layout.size : 0
    let end = min(count, (range.upperBound - first + layout.size - 1) / layout.size)
    guard begin < end else { return }
    for i in begin..<end { scanFields(first + i * layout.size, layout, within: range) }
  }

  private mutating func scanFields(_ start: UInt, _ layout: HeapLayout, within range: Range<UInt>) {
    let record = unsafe layout.record
    for i in unsafe 0..<record.pointee.referenceCount {
      let place = start + UInt(unsafe record.pointee.references[i])
      guard range.contains(place) else { continue }
      let word = heap_load_word(place)
      if word != 0 { mark(word) }
    }
    for i in unsafe layout.ambiguous.indices {
      let place = start + UInt(unsafe layout.ambiguous[i])
      if range.contains(place) { markConservatively(heap_load_word(place)) }
    }
  }

  /// Claims and scans the next piece of a large object.
  private mutating func scanLarge(_ span: HeapSpan) {
    let marked = unsafe span.marks[0].load(ordering: .sequentiallyConsistent)
    guard marked & 1 != 0 else { return }
    let layout = span.layout
    guard layout.kind == .array else {
      let before = unsafe span.scanned[0].bitwiseOr(1, ordering: .relaxed).oldValue
      guard before & 1 == 0 else { return }
      scannedBytes &+= Int(bitPattern: span.slotSize)
      return scanFields(span.base, layout)
    }
    let count = heap_load_word(span.base)
    let perPiece = max(1, Self.pieceSize / max(layout.size, 1))
    let start = unsafe span.record.pointee.scanCursor.wrappingAdd(
      perPiece, ordering: .relaxed
    ).oldValue
    guard start < count, unsafe span.scanned[0].load(ordering: .relaxed) & 1 == 0 else { return }
    let end = min(count, start + perPiece)
    if end < count {
      enqueue(span)
    } else {
      _ = unsafe span.scanned[0].bitwiseOr(1, ordering: .relaxed)
    }
    scannedBytes &+= Int(bitPattern: (end - start) * layout.size)
    scanElements(start..<end, of: span.base, layout)
  }
}

extension Marker {
  // MARK: - Checked mode

  /// Looks up every precise reference of the span's grey objects, and stops the program if one
  /// leads to no object of this heap.
  @inline(never)
  private func checkReferences(of span: HeapSpan) {
    for word in 0..<span.wordCount {
      let marked = unsafe span.marks[word].load(ordering: .acquiring)
      var grey = unsafe marked & ~span.scanned[word].load(ordering: .relaxed)
      while grey != 0 {
        let object = span.address(ofGranule: word << 6 + grey.trailingZeroBitCount)
        grey &= grey &- 1
        withShared { $0.check?.checkObject(at: object, span.layout) }
      }
    }
  }
}
