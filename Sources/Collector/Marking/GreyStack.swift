// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A marker's own grey objects: a stack in two blocks.
//
// The newest object comes first. So the stack stays small where a queue would grow as wide as the
// graph. A block that fills up makes room by going below the top, and the one that was below goes
// to the shared store.
//
// There are two blocks because a marker with one would go back and forth: pushing and popping
// around the end of it, it would visit the store at every turn. With two, at least a block's
// worth of objects lies between two visits.
//
// Owner       the marker that has it.

internal import Heap

/// Grey objects that nobody else sees.
@safe package struct GreyStack: ~Copyable {
  // The block on top, taken apart. All three are nil when there is none.

  /// Where the block's first object is.
  private var start: UnsafeMutablePointer<UInt>?
  /// Behind its last object.
  private var cursor: UnsafeMutablePointer<UInt>?
  /// Behind its last place.
  private var end: UnsafeMutablePointer<UInt>?
  /// Below the top: full or empty.
  private var below: GreyBlock?

  package init() {}

  package var isEmpty: Bool { unsafe cursor == start && below?.isEmpty ?? true }

  /// Objects in both blocks.
  package var count: Int { (top?.count ?? 0) + (below?.count ?? 0) }

  // MARK: - One object

  /// - Parameter store: where a block goes that has to make room.
  @inline(__always)
  package mutating func push(_ object: UInt, _ store: @autoclosure () -> GreyStore) {
    if unsafe cursor == end { makeRoom(store()) }
    // SAFETY: before the end of the block.
    let place = unsafe cursor.unsafelyUnwrapped
    unsafe place.pointee = object
    unsafe cursor = place + 1
  }

  /// The newest object; nil when there is none here and none in the store.
  @inline(__always)
  package mutating func pop(_ store: @autoclosure () -> GreyStore) -> UInt? {
    if unsafe cursor == start {
      guard refill(store()) else { return nil }
    }
    // SAFETY: behind the start of the block.
    let place = unsafe cursor.unsafelyUnwrapped - 1
    unsafe cursor = place
    return unsafe place.pointee
  }

  // MARK: - Blocks

  /// The block on top, with the count that it has now.
  private var top: GreyBlock? {
    guard let start = unsafe start, let cursor = unsafe cursor else { return nil }
    let block = unsafe GreyBlock(start: start)
    block.count = unsafe cursor - start
    return block
  }

  private mutating func setTop(_ block: GreyBlock?) {
    unsafe start = block?.objects
    unsafe cursor = block.map { unsafe $0.objects + $0.count }
    unsafe end = block.map { unsafe $0.objects + GreyBlock.capacity }
  }

  /// The block on top is full, or there is none: now there is one with room.
  ///
  /// A block may go to the store here before its marker has noted work (`Marker.settle`). That is as
  /// good: while the block is in the store the collector sees it there, and a mutator that takes it
  /// notes work itself (Verification/marking.pml, OWN_STACK).
  @inline(never)
  private mutating func makeRoom(_ store: GreyStore) {
    guard let full = top else { return setTop(store.makeEmpty()) }
    if let below, below.isEmpty {
      setTop(below)
    } else {
      if let below { store.put(below) }
      setTop(store.makeEmpty())
    }
    below = full
  }

  /// The block on top is empty, or there is none: now there is one with objects, or false.
  @inline(never)
  private mutating func refill(_ store: GreyStore) -> Bool {
    let empty = top
    if let below, !below.isEmpty {
      setTop(below)
      self.below = empty
      return true
    }
    guard let block = store.take() else { return false }
    if let empty { store.recycle(empty) }
    setTop(block)
    return true
  }

  /// Gives all objects and both blocks away.
  package mutating func giveAll(to store: GreyStore) {
    for case let block? in [top, below] {
      if block.isEmpty { store.recycle(block) } else { store.put(block) }
    }
    setTop(nil)
    below = nil
  }

  /// Gives a part of the objects away, if there are two at least.
  package mutating func giveSome(to store: GreyStore) {
    if let below, !below.isEmpty {
      store.put(below)
      self.below = nil
    } else if let top, top.count > 1 {
      let older = store.makeEmpty()
      top.moveHalf(to: older)
      store.put(older)
      setTop(top)
    }
  }
}
