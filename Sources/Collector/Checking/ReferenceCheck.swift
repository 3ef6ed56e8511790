// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked mode, while the collector marks: is each reference that it meets one?
//
// Stores are checked when they happen (StoreCheck). A reference can also turn bad where it
// lies: nothing kept its target alive, because the object that holds it was itself held where
// the collector does not look. The marker meets such a reference when it scans the holder. It
// stops the program before it follows the reference, and names the holder's type, the field, the
// two addresses, and what was probably done.

internal import CHeapShims
internal import Heap

/// Looks up references before they are marked.
@safe package struct ReferenceCheck: Sendable {
  /// What the tables of the heap's arenas say in `owner`.
  let owner: UInt
  let layouts: LayoutCatalog

  /// Stops the program if a precise reference of an object leads to no object of the heap.
  func checkObject(at object: UInt, _ layout: HeapLayout) {
    layout.forEachPreciseReference(of: object) { offset, reference in
      guard HeapSpan.lookUp(reference, owner: owner) == nil else { return }
      let field = layouts.field(of: layout, at: offset)
      StoreCheck.failure(
        "\(field) of a \(layouts.name(of: layout)) at \(StoreCheck.hex(object)) refers to "
          + Self.explain(reference, owner: owner, layouts))
    }
  }

  /// Stops the program if a root slot holds no reference to an object of the heap.
  func checkRoot(_ reference: UInt) {
    guard HeapSpan.lookUp(reference, owner: owner) == nil else { return }
    StoreCheck.failure("a root refers to " + Self.explain(reference, owner: owner, layouts))
  }

  /// What a bad reference is, and how it probably came about, as the end of a sentence.
  static func explain(_ reference: UInt, owner: UInt, _ layouts: LayoutCatalog) -> String {
    let address = StoreCheck.hex(reference)
    guard let tables = ArenaTables.find(reference), tables.owner != 0 else {
      return "\(address), which is no object: it was read from an object that has been collected, "
        + "or the memory was overwritten"
    }
    guard tables.owner == owner else {
      return "\(address), an object of another heap: objects of two heaps cannot refer to each "
        + "other"
    }
    let type = HeapSpan.slot(of: reference, owner: owner).map { layouts.name(of: $0.span.layout) }
    return "\(address), an object that has been collected\(type.map { " (a \($0))" } ?? ""): a "
      + "reference to it, or to the object that refers to it, was " + StoreCheck.keptElsewhere
  }
}

extension HeapLayout {
  /// Calls `body` with the offset and the value of each precise reference of an object that leads
  /// to one.
  func forEachPreciseReference(of object: UInt, _ body: (_ offset: Int, _ word: UInt) -> Void) {
    if let header {
      let start = headerOffset
      header.forEachPreciseReference(of: object + start) { body(Int(start) + $0, $1) }
    }
    unsafe forEachWord(of: object, in: references, body)
  }

  /// Calls `body` with the offset and the value of each ambiguous word of an object that may lead to
  /// one; of a buffer, in the elements only.
  func forEachAmbiguousWord(of object: UInt, _ body: (_ offset: Int, _ word: UInt) -> Void) {
    unsafe forEachWord(of: object, in: ambiguous, body)
  }

  private func forEachWord(
    of object: UInt, in offsets: UnsafeBufferPointer<UInt32>, _ body: (Int, UInt) -> Void
  ) {
    guard !offsets.isEmpty else { return }
    forEachValue(of: object) { start in
      for i in offsets.indices {
        let offset = unsafe start + Int(offsets[i])
        let word = heap_load_word(object + UInt(offset))
        if ReferenceWord.isReference(word) { body(offset, word) }
      }
    }
  }

  /// Calls `body` with the offset of each value in an object: of the object's own, or of each
  /// element of an array or a buffer.
  func forEachValue(of object: UInt, _ body: (_ offset: Int) -> Void) {
    switch kind {
    case .object: body(0)
    case .array, .buffer:
      for i in 0..<Int(heap_load_word(object)) { body(Int(elementsOffset) + i * Int(size)) }
    }
  }
}
