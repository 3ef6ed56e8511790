// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The central lists: for each of the 136 span classes, its spans by layout.
//
// Spans hold objects of one layout only, so a central list is a set of shelves, one for each
// layout that ever had an object of the class. An object layout has one shelf, since all its
// objects have one size; an array layout has one in each size class in use, and one in class
// 0 for large arrays. A cache keeps the shelf it takes from, so the look-up happens once for
// a type and a thread, and the lock here is not part of refilling.
//
// Shelves are never removed. Sweeping walks them all: their number is types, not objects.
//
// Guarded by: the lock inside.

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
      shelf.forEach { bytes += Int($0.slotSize) }
    }
    return bytes
  }

  package func checkInvariants(_ report: (String) -> Void) {
    for shelf in shelves() { shelf.checkInvariants(report) }
  }
}
