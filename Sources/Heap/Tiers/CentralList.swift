// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The central lists: all shelves of a heap, by span class and layout.
//
// A span holds objects of one layout, so there is a shelf for each layout and each of the 134
// span classes that the layout has objects in. An object layout has one shelf, because all its
// objects have one size. An array layout has one in each size class in use, and one in class 0
// for large arrays.
//
// A thread's cache keeps the shelf that it takes spans from. So a shelf is looked up once for
// each key of a cache, and the lock here is not part of a refill. Shelves are never removed, and
// sweeping walks all of them: there are as many as types, not as objects.
//
// Guarded by  the lock inside; the shelves have locks of their own.
//
// Overview: Documentation/AllocatorTiers.md

/// All shelves of a heap, by span class and layout.
package final class CentralLists: Sendable {
  private struct Key: Hashable {
    var layout: HeapLayout
    var spanClass: SpanClass
  }

  private struct State {
    var shelves: [Key: SpanShelf] = [:]
    var inOrder: [SpanShelf] = []
  }

  private let memory: RecordMemory
  private let state = HeapLock(State(), rank: .centralLists)

  package init(memory: RecordMemory) { self.memory = memory }

  /// The shelf for a layout's objects in a size class; made when it is new.
  package func shelf(
    for layout: HeapLayout, in sizeClass: SizeClass
  ) throws(SystemFailure) -> SpanShelf {
    let spanClass = SpanClass(sizeClass, noscan: layout.isNoscan)
    let key = Key(layout: layout, spanClass: spanClass)
    return try state.withLock { state throws(SystemFailure) -> SpanShelf in
      if let shelf = state.shelves[key] { return shelf }
      let shelf = try SpanShelf.make(layout: layout, spanClass: spanClass, in: memory)
      state.shelves[key] = shelf
      state.inOrder.append(shelf)
      return shelf
    }
  }

  /// All shelves, in the order in which they were made.
  package func shelves() -> [SpanShelf] { state.withLock { $0.inOrder } }

  /// Bytes of all large objects.
  package var largeBytes: Int {
    var bytes = 0
    for shelf in shelves() where shelf.spanClass.sizeClass.isLarge {
      // A span whose object was freed may be held out of use (checked mode).
      shelf.forEach { bytes += $0.allocatedCount * Int($0.slotSize) }
    }
    return bytes
  }

  package func checkInvariants(_ report: (String) -> Void) {
    for shelf in shelves() { shelf.checkInvariants(report) }
  }
}
