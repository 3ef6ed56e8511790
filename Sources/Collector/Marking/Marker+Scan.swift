// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Scanning: reading the references of grey objects, and of dirty cards.
//
// A large array is read in pieces, so that several markers share it and none is away for long:
// whoever takes the array makes grey objects of its pieces, but for the first, which it reads. A
// piece is known by its address, which is not that of an object.
//
// Fields are read with relaxed loads while mutators change them. A word that is read is the old
// or the new value, and the barrier has recorded the other one.

internal import CHeapShims
internal import Heap
internal import Synchronization

extension Marker {
  /// Bytes of a large array that are scanned at a time (as Go's oblets).
  private static var pieceSize: UInt { 128 << 10 }

  /// Bytes that are scanned between two looks at whether somebody waits, and at most an object or a
  /// piece more. More makes a handshake wait for an assist, less costs time for the looks.
  private static var batch: Int { 4096 }

  /// Scans some objects; false when there is none here or in the shared store.
  package mutating func scanNext() -> Bool {
    let before = scannedBytes
    while scannedBytes &- before < Self.batch {
      guard let object = nextGrey() else { return scannedBytes != before }
      scan(object)
    }
    return true
  }

  /// Scans a grey object, or a piece of one.
  @inline(__always)
  private mutating func scan(_ object: UInt) {
    let page = PageLayout(of: object)
    let slotSize = page.sizeClass.slotSize
    guard slotSize != 0 else { return scanLarge(object) }
    scannedBytes &+= slotSize
    if isChecked { checkReferences(of: object, page.layout) }
    scanObject(object, page.layout)
  }

  /// Scans a large object or a piece of a large array or buffer.
  @inline(never)
  private mutating func scanLarge(_ start: UInt) {
    let span = HeapSpan(holding: start)
    let (object, layout) = (span.base, span.layout)
    if start == object, isChecked { checkReferences(of: object, layout) }
    guard layout.kind != .object else {
      scannedBytes &+= Int(bitPattern: span.slotSize)
      return scanFields(object, layout)
    }
    let end = object &+ layout.elementsOffset &+ heap_load_word(object) &* layout.size
    if start == object {
      scanHeader(of: object, layout)
      guard layout.hasOwnReferences else { return }
      var piece = object &+ Self.pieceSize
      while piece < end {
        push(piece)
        piece &+= Self.pieceSize
      }
    }
    let pieceEnd = min(end, start &+ Self.pieceSize)
    scannedBytes &+= Int(bitPattern: pieceEnd &- start)
    scanElements(elements(startingIn: start..<pieceEnd, of: object, layout), of: object, layout)
  }

  /// The elements of an array that start in a range of addresses.
  private func elements(
    startingIn range: Range<UInt>, of array: UInt, _ layout: HeapLayout
  ) -> Range<UInt> {
    let first = array &+ layout.elementsOffset
    func index(_ address: UInt) -> UInt {
      address <= first ? 0 : (address - first + layout.size - 1) / layout.size
    }
    return index(range.lowerBound)..<index(range.upperBound)
  }

  @inline(__always)
  private mutating func scanObject(_ object: UInt, _ layout: HeapLayout) {
    switch layout.kind {
    case .object:
      scanFields(object, layout)
    case .array:
      scanElements(0..<heap_load_word(object), of: object, layout)
    case .buffer:
      scanHeader(of: object, layout)
      if layout.hasOwnReferences {
        scanElements(0..<heap_load_word(object), of: object, layout)
      }
    }
  }

  /// Scans what lies before the elements of a buffer.
  private mutating func scanHeader(of object: UInt, _ layout: HeapLayout) {
    if let header = layout.header { scanFields(object &+ layout.headerOffset, header) }
  }

  @inline(__always)
  private mutating func scanFields(_ start: UInt, _ layout: HeapLayout) {
    let record = unsafe layout.record
    guard unsafe record.pointee.isPlain else { return scanMixed(start, layout) }
    let references = unsafe record.pointee.references
    for i in unsafe 0..<record.pointee.referenceCount {
      let word = heap_load_word(start &+ UInt(unsafe references[i]))
      if word != 0 { mark(word) }
    }
  }

  /// The same for a layout with immediates or ambiguous words.
  @inline(never)
  private mutating func scanMixed(_ start: UInt, _ layout: HeapLayout) {
    for i in unsafe layout.references.indices {
      let word = heap_load_word(start &+ UInt(unsafe layout.references[i]))
      if ReferenceWord.isReference(word) { mark(word) }
    }
    for i in unsafe layout.ambiguous.indices {
      markAmbiguous(heap_load_word(start &+ UInt(unsafe layout.ambiguous[i])))
    }
  }

  /// Marks what a word of an enum refers to, if it is a reference.
  private mutating func markAmbiguous(_ word: UInt) {
    if ReferenceWord.isReference(word) { markConservatively(word) }
  }

  private mutating func scanElements(_ range: Range<UInt>, of array: UInt, _ layout: HeapLayout) {
    let first = array &+ layout.elementsOffset
    if layout.isValueWord {
      // Values of a dynamic language: no call for each.
      for i in range {
        let word = heap_load_word(first &+ i &* 8)
        if ReferenceWord.isReference(word) { mark(word) }
      }
    } else {
      for i in range { scanFields(first &+ i &* layout.size, layout) }
    }
  }
}

extension Marker {
  // MARK: - Cards

  /// Marks what the old objects on a card refer to, as far as the references lie on it.
  ///
  /// All marked objects are taken for old ones. One may have been found in this cycle; then it is
  /// read again later, and one that its owner is about to initialise has zeroes or references.
  mutating func scanCard(_ card: UInt) {
    guard let (span, slot) = HeapSpan.slot(of: card, owner: owner), !span.layout.isNoscan else {
      return
    }
    let (layout, end) = (span.layout, card &+ CardTable.cardSize)
    let first = span.address(ofSlot: slot)
    if first < card {
      let (word, mask) = span.bit(ofSlot: slot)
      // Acquiring: pairs with whoever set the mark. The slot has been zeroed (Note [Mark bits]).
      if unsafe span.marks[word].load(ordering: .acquiring) & mask != 0 {
        scanObject(first, layout, within: card..<end)
      }
    }
    // A card's bits are whole words.
    let words = Int(bitPattern: (card &- span.base) / HeapSpan.wordSize)
    let wordsOfCard = Int(bitPattern: CardTable.cardSize / HeapSpan.wordSize)
    for word in words..<max(words, min(words &+ wordsOfCard, span.wordCount)) {
      // Acquiring, as above.
      var marked = unsafe span.marks[word].load(ordering: .acquiring)
      while marked != 0 {
        let object = span.address(ofGranule: word << 6 &+ marked.trailingZeroBitCount)
        marked &= marked &- 1
        if object &+ span.slotSize <= end {
          scanObject(object, layout)
        } else {
          scanObject(object, layout, within: card..<end)
        }
      }
    }
  }

  /// Scans the part of an object that lies in `range`.
  private mutating func scanObject(_ object: UInt, _ layout: HeapLayout, within range: Range<UInt>)
  {
    guard layout.kind != .object else { return scanFields(object, layout, within: range) }
    if let header = layout.header {
      scanFields(object &+ layout.headerOffset, header, within: range)
    }
    guard layout.hasOwnReferences else { return }
    let first = object &+ layout.elementsOffset
    guard range.upperBound > first else { return }
    let begin = range.lowerBound > first ? (range.lowerBound &- first) / layout.size : 0
    let end = min(
      heap_load_word(object), (range.upperBound &- first &+ layout.size &- 1) / layout.size)
    guard begin < end else { return }
    for i in begin..<end { scanFields(first &+ i &* layout.size, layout, within: range) }
  }

  private mutating func scanFields(_ start: UInt, _ layout: HeapLayout, within range: Range<UInt>) {
    // A value may be much larger than a card: the offsets on the card are looked for.
    let low = range.lowerBound > start ? range.lowerBound &- start : 0
    guard range.upperBound > start else { return }
    let offsets = low..<max(low, range.upperBound &- start)
    unsafe layout.references.forEach(in: offsets) { offset in
      let word = heap_load_word(start &+ offset)
      if ReferenceWord.isReference(word) { mark(word) }
    }
    unsafe layout.ambiguous.forEach(in: offsets) { offset in
      markAmbiguous(heap_load_word(start &+ offset))
    }
  }
}

extension UnsafeBufferPointer<UInt32> {
  /// Calls `body` with every offset of a sorted list that lies in a range.
  fileprivate func forEach(in range: Range<UInt>, _ body: (UInt) -> Void) {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if unsafe UInt(self[middle]) < range.lowerBound { low = middle + 1 } else { high = middle }
    }
    while low < count, unsafe UInt(self[low]) < range.upperBound {
      body(unsafe UInt(self[low]))
      low += 1
    }
  }
}

extension HeapLayout {
  /// An element is one word, which may be an immediate.
  fileprivate var isValueWord: Bool {
    unsafe !isPlain && size == 8 && record.pointee.ambiguousCount == 0
  }
}

extension Marker {
  // MARK: - Checked mode

  /// Looks up every precise reference of an object, and stops the program if one leads to no object
  /// of this heap.
  @inline(never)
  private func checkReferences(of object: UInt, _ layout: HeapLayout) {
    withShared { $0.check?.checkObject(at: object, layout) }
  }
}
