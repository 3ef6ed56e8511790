// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Cards: where references were stored since a collection looked last.
//
// A minor cycle takes every old object for alive and does not scan it. So it has to know which old
// objects may refer to young ones. After a reference store the card of the slot is set, one byte
// for 2 KiB of memory, without any test: whether the object is old and the reference young is
// cheaper to find out later, for the few cards that are set. (With smaller cards the table does not
// fit into a processor's nearest cache, and every store into a graph of 50 MiB waits for it; with
// larger ones the collector scans more around each store.)
//
// A dirty card is cleared before the old objects on it are scanned. A card says nothing of
// objects without references, nor of free memory: stale ones do no harm.
//
// Owner       set by any thread that stores; cleared by the collector, at a time when no thread
//             sets cards of this heap (Documentation/Protocol.md, "Generations").
// Ordering    Relaxed: a handshake lies between a store with its card and the collector's look. See
//             Note [Cards] in Documentation/MemoryOrdering.md.

internal import CHeapShims
internal import Synchronization

/// Cards of 2 KiB.
package enum CardTable {
  /// Bytes of memory that a card stands for.
  package static var cardSize: UInt { 1 << UInt(HEAP_CARD_SHIFT) }

  /// Sets the cards of `size` bytes, which lie in arenas and belong to one span.
  package static func mark(_ address: UInt, size: UInt) {
    if size > 0 { heap_card_mark_range(address, Int(size)) }
  }

  /// Whether the card of an address, which lies in an arena, is dirty.
  package static func isDirty(_ address: UInt) -> Bool {
    let tables = ArenaTables.of(address)
    let card = (address & UInt(Geometry.arenaSize - 1)) / cardSize
    return unsafe tables.pointer(ArenaTables.Layout.cards + card)
      .assumingMemoryBound(to: Atomic<UInt8>.self).pointee.load(ordering: .relaxed) != 0
  }

  /// Calls `body` with the address of the memory behind each dirty card of an arena. The card is
  /// clean by then.
  package static func takeDirty(of arena: ArenaIndex, _ body: (UInt) -> Void) {
    let cards = unsafe ArenaTables.of(arena.address).pointer(ArenaTables.Layout.cards)
    let bytes = unsafe cards.assumingMemoryBound(to: Atomic<UInt8>.self)
    let count = Geometry.arenaSize / Int(cardSize)
    var group = 0
    while true {
      group = heap_next_dirty_group(UInt(bitPattern: cards), group, count)
      guard group < count else { return }
      for card in group..<group + 8 where unsafe bytes[card].load(ordering: .relaxed) != 0 {
        unsafe bytes[card].store(0, ordering: .relaxed)
        body(arena.address + UInt(card) * cardSize)
      }
      group += 8
    }
  }
}
