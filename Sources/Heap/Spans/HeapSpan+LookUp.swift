// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// From any word to the object that it points at, or to none.
//
// A word of a stack or of an enum's payload may be anything: a reference, an address inside an
// object, a number. Looking it up reads the arena index, the page's entry and the span's record,
// and is safe for any word whatever.
//
// Ordering    The entry is read acquiring, because the word may be stale and depend on nothing:
//             see Note [Publishing a span] in Documentation/MemoryOrdering.md.

internal import Synchronization

extension HeapSpan {
  /// The span that an object lies in.
  /// - Precondition: the address is that of an object, or lies in one; it was read from the heap.
  package init(holding object: UInt) {
    let page = PageIndex(holding: object)
    // Relaxed: the reference depends on it (Note [Publishing a span]).
    let entry = unsafe PageEntry(
      bits: ArenaTables.of(object).entry(page.inArena).pointee.load(ordering: .relaxed))
    self = entry.span
  }

  /// The allocated slot of the heap `owner` that a word points at or into, if there is one.
  package static func lookUp(_ word: UInt, owner: UInt) -> (span: HeapSpan, slot: Int)? {
    guard let (span, slot) = slot(of: word, owner: owner), span.isAllocated(slot) else {
      return nil
    }
    return (span, slot)
  }

  /// The slot of the heap `owner` that a word points at or into, whether an object is there or not;
  /// nil if no span is there.
  @inline(__always)
  package static func slot(of word: UInt, owner: UInt) -> (span: HeapSpan, slot: Int)? {
    guard let tables = ArenaTables.find(word), tables.owner == owner else { return nil }
    let page = PageIndex(holding: word)
    let entry = unsafe PageEntry(
      bits: tables.entry(page.inArena).pointee.load(ordering: .acquiring))
    guard !entry.isFree, let slot = entry.span.slot(holding: word) else { return nil }
    return (entry.span, slot)
  }
}
