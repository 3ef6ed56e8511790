// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Blocks of grey objects, and the store of them that the markers of a heap share.
//
// An object is grey from the moment when a marker has set its mark bit until a marker reads its
// references. Meanwhile its address is in one block. A marker has two blocks of its own
// (GreyStack) and needs no lock for them. A block that is full goes to the shared store, and a
// marker that has run dry takes one from there. So a lock is taken once for some five hundred
// objects.
//
// A block is a page of memory: two words of head, then addresses. Blocks are cut from slabs, which
// are mapped from the system and not taken from the program's allocator: a marker may run in a
// thread that has just been stopped in the middle of anything. Between cycles all blocks are empty,
// and all slabs but one are given back.
//
// Some markers have few objects to give: whoever sets a root slot while the heap is marked has one at
// a time. So what is put in goes to the block that was put in last, if there is room for it.
//
// Limit       A block holds 510 objects. Two blocks that lie on each other in the store hold more than
//             that together, so the store takes 16 bytes for each grey object, in the worst case.
//             Grey are at most all objects with references. Markers take the newest first, and large
//             arrays are cut into pieces, so programs come nowhere near it.
// Guarded by  the lock; `length` may be read without it, as a hint.

internal import Heap
internal import Synchronization

/// A page of addresses of grey objects: a handle to its memory.
@safe package struct GreyBlock: @unchecked Sendable {
  // Sendable: an address. Whoever has the block owns its memory.

  /// Bytes of a block.
  static var size: Int { 4096 }
  private static var headWords: Int { 2 }
  /// Objects that a block holds.
  package static var capacity: Int { size / 8 - headWords }

  /// The place of the first object.
  let objects: UnsafeMutablePointer<UInt>

  /// The block whose first object is at `start`.
  init(start: UnsafeMutablePointer<UInt>) { unsafe objects = start }

  fileprivate init(address: UInt) {
    // SAFETY: a block of a slab.
    unsafe objects =
      UnsafeMutablePointer<UInt>(bitPattern: address).unsafelyUnwrapped
      + Self.headWords
  }

  fileprivate var next: GreyBlock? {
    get {
      let next = unsafe objects[-2]
      return next == 0 ? nil : GreyBlock(address: next)
    }
    nonmutating set {
      unsafe objects[-2] =
        newValue.map { unsafe UInt(bitPattern: $0.objects - Self.headWords) } ?? 0
    }
  }

  /// Objects in the block. Not kept up to date while the block is a stack's top.
  package var count: Int {
    get { unsafe Int(bitPattern: objects[-1]) }
    nonmutating set { unsafe objects[-1] = UInt(bitPattern: newValue) }
  }

  package var isEmpty: Bool { count == 0 }

  /// Moves all objects to another block, which has room for them.
  fileprivate func moveAll(to other: GreyBlock) {
    unsafe (other.objects + other.count).update(from: objects, count: count)
    other.count += count
    count = 0
  }

  /// Moves the older half of the objects to another block, which is empty.
  func moveHalf(to other: GreyBlock) {
    let moved = count / 2
    unsafe other.objects.update(from: objects, count: moved)
    other.count = moved
    count -= moved
    unsafe objects.update(from: objects + moved, count: count)
  }
}

/// The blocks of grey objects that nobody has in hand.
package final class GreyStore: Sendable {
  private struct State {
    var grey: GreyBlock?
    var empty: GreyBlock?
    var emptyCount = 0
    /// Where the blocks were cut from.
    var slabs: [UInt] = []

    mutating func addEmpty(_ block: GreyBlock) {
      block.next = empty
      empty = block
      emptyCount += 1
    }
  }

  private let state = HeapLock(State(), rank: .greyStore)
  /// The number of grey blocks. Written under the lock. Read without it, it is a hint, except after
  /// a handshake, which orders what was put in before.
  private let length = Atomic<Int>(0)

  /// Bytes that are mapped at a time.
  private static var slabSize: Int { 64 * GreyBlock.size }

  package init() {}

  deinit {
    for slab in state.withLock({ $0.slabs }) { VirtualMemory.release(slab, size: Self.slabSize) }
  }

  /// Acquiring: pairs with `countGrey`.
  package var isEmpty: Bool { length.load(ordering: .acquiring) == 0 }

  /// Bytes of memory that blocks were cut from.
  package var byteCount: Int { state.withLock { $0.slabs.count * Self.slabSize } }

  // MARK: - Grey blocks

  /// Puts a block with objects in, or its objects into the block that was put in last.
  package func put(_ block: GreyBlock) {
    assert(!block.isEmpty, "a block without objects is not grey")
    state.withLock {
      if let last = $0.grey, last.count + block.count <= GreyBlock.capacity {
        block.moveAll(to: last)
        return $0.addEmpty(block)
      }
      block.next = $0.grey
      $0.grey = block
      countGrey(1)
    }
  }

  /// Takes a block with objects; nil when there is none.
  package func take() -> GreyBlock? {
    guard !isEmpty else { return nil }
    return state.withLock {
      guard let block = $0.grey else { return nil }
      $0.grey = block.next
      countGrey(-1)
      return block
    }
  }

  /// - Precondition: the lock is held.
  private func countGrey(_ change: Int) {
    // Relaxed: nobody else writes meanwhile. Releasing: pairs with `isEmpty`.
    length.store(length.load(ordering: .relaxed) + change, ordering: .releasing)
  }

  // MARK: - Empty blocks

  /// A block without objects.
  package func makeEmpty() -> GreyBlock {
    while true {
      let block = state.withLock { state -> GreyBlock? in
        guard let block = state.empty else { return nil }
        state.empty = block.next
        state.emptyCount -= 1
        return block
      }
      if let block { return block }
      let slab = Self.makeSlab()
      state.withLock {
        $0.slabs.append(slab)
        Self.cut(slab, &$0)
      }
    }
  }

  /// Takes an empty block back.
  package func recycle(_ block: GreyBlock) {
    assert(block.isEmpty, "a block is recycled when all objects have been taken out")
    state.withLock { $0.addEmpty(block) }
  }

  /// Gives all memory back but that of one slab, unless a block is in use.
  package func trim() {
    let surplus = state.withLock { state -> ArraySlice<UInt> in
      guard state.slabs.count > 1,
        state.emptyCount * GreyBlock.size == state.slabs.count * Self.slabSize
      else { return [] }
      let surplus = state.slabs[1...]
      state.slabs = [state.slabs[0]]
      (state.empty, state.emptyCount) = (nil, 0)
      Self.cut(state.slabs[0], &state)
      return surplus
    }
    for slab in surplus { VirtualMemory.release(slab, size: Self.slabSize) }
  }

  // MARK: - Slabs

  private static func makeSlab() -> UInt {
    do {
      let slab = try VirtualMemory.reserve(
        size: slabSize, alignment: VirtualMemory.systemPageSize)
      try VirtualMemory.commit(slab, size: slabSize)
      return slab
    } catch {
      broken("the system has no memory for the list of objects that are to be scanned: \(error)")
    }
  }

  /// Makes a slab's memory empty blocks.
  private static func cut(_ slab: UInt, _ state: inout State) {
    // From the end on, so that memory is used in order of address.
    for offset in stride(from: slabSize - GreyBlock.size, through: 0, by: -GreyBlock.size) {
      let block = GreyBlock(address: slab + UInt(offset))
      block.count = 0
      state.addEmpty(block)
    }
  }
}
