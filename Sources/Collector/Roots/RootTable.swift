// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Root slots: references that the program keeps outside the heap.
//
// A slot holds a reference, nil or an immediate (ReferenceWord). It is a word at an address that does not change while it is in use. Creating, setting
// and dropping one shades as a store into an object does: what the slot held, and what it
// will hold. A slot may be dropped by a thread that is attached to nothing (the last release
// of a HeapRoot happens anywhere), so shading here uses a marker of the table's own, under
// the table's lock, and no mutator's buffer.
//
// Whether to shade is decided under the same lock. `isMarking` is set before the barrier flag goes
// up. It is cleared when marking has ended, in the same critical section in which the
// collector decides that (`endMarking`). A drop that comes later shades nothing: a late mark could
// land in a span that is swept already, and would make the next cycle take the object for black.
//
// Two others mark at times of their own, and ask here whether they may:
//
//   a weak look-up     marks its target under the lock. After the end an unmarked target is dead,
//                      and nobody marks it any more: nil is for ever (`keep`)
//   a full buffer      is flushed between two answers. The flush begins under the lock, or the buffer is
//                      thrown away: after the end, what is white in it is garbage that a word looked
//                      like. The collector waits for the flushes that have begun before it looks for
//                      the last time (`beginFlush`)
//
// Guarded by: the lock inside, everything but reading a slot.
// Ordering    A slot is written with a releasing store and read with an acquiring load: a
//             thread that gets a reference from a root sees the object initialised. See Note
//             [Root slots] in Documentation/MemoryOrdering.md.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// A root slot in use.
@safe package struct RootSlot: Hashable, @unchecked Sendable {
  // Sendable: an atomic word.
  private let address: UInt

  fileprivate init(_ word: UnsafeMutablePointer<Atomic<UInt>>) { address = UInt(bitPattern: word) }

  fileprivate var word: UnsafeMutablePointer<Atomic<UInt>> {
    // SAFETY: slots are never freed while their table lives.
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// The reference. Acquiring: pairs with the store of `RootTable.set`.
  package var reference: UInt { unsafe word.pointee.load(ordering: .acquiring) }
}

/// All root slots of a heap.
package final class RootTable: @unchecked Sendable {
  // Sendable: the state is behind the lock; the marker is used under it.

  /// Slots made at a time.
  private static let blockSize = 512

  @safe private struct State: ~Copyable {
    var blocks: [UnsafeMutablePointer<Atomic<UInt>>] = unsafe []
    var free: [RootSlot] = []
    var isMarking = false
    var marker: Marker

    init(_ marking: SharedMarking) { marker = Marker(marking) }

    deinit { for i in unsafe blocks.indices { unsafe blocks[i].deallocate() } }

    mutating func addBlock() {
      let block = UnsafeMutablePointer<Atomic<UInt>>.allocate(capacity: blockSize)
      for i in 0..<blockSize { unsafe (block + i).initialize(to: Atomic(0)) }
      unsafe blocks.append(block)
      for i in (0..<blockSize).reversed() { unsafe free.append(RootSlot(block + i)) }
    }

    mutating func shade(_ reference: UInt) {
      guard isMarking, ReferenceWord.isReference(reference) else { return }
      marker.mark(reference)
      marker.settle()
    }
  }

  private let state: HeapLock<State>
  private let marking: SharedMarking
  /// Flushes that are under way and are no answers. They begin under the lock. Releasing when one
  /// ends, acquiring when the collector looks: it sees what was marked and noted.
  private let activeFlushes = Atomic<Int>(0)

  init(_ marking: SharedMarking) {
    self.marking = marking
    state = HeapLock(State(marking), rank: .roots)
  }

  // MARK: - Slots

  /// A slot that holds `reference`.
  package func make(_ reference: UInt) -> RootSlot {
    state.withLock { state in
      if state.free.isEmpty { state.addBlock() }
      let slot = state.free.removeLast()
      state.shade(reference)
      unsafe slot.word.pointee.store(reference, ordering: .releasing)
      return slot
    }
  }

  /// Replaces a slot's reference.
  package func set(_ slot: RootSlot, to reference: UInt) {
    state.withLock { state in
      state.shade(slot.reference)
      state.shade(reference)
      unsafe slot.word.pointee.store(reference, ordering: .releasing)
    }
  }

  /// Gives a slot up.
  package func drop(_ slot: RootSlot) {
    state.withLock { state in
      state.shade(slot.reference)
      unsafe slot.word.pointee.store(0, ordering: .relaxed)
      state.free.append(slot)
    }
  }

  // MARK: - The collector's side

  /// From now on slots shade what they held and will hold.
  func beginMarking() { state.withLock { $0.isMarking = true } }

  /// Decides whether marking has ended: it has not while there is work. If it has, nobody marks any
  /// more.
  ///
  /// - Returns: whether marking has ended.
  func endMarking(unless hasWork: () -> Bool) -> Bool {
    state.withLock { state in
      if hasWork() || !flushesHaveEnded() || hasWork() { return false }
      state.isMarking = false
      return true
    }
  }

  /// Looks at flushes that are under way before marking goes on for another round. A flush takes some
  /// microseconds, unless its thread has lost its processor.
  private static var looks: Int { 2_000 }

  /// Waits for the flushes that are under way, for a moment. None begins meanwhile.
  private func flushesHaveEnded() -> Bool {
    for _ in 0..<Self.looks {
      if activeFlushes.load(ordering: .acquiring) == 0 { return true }
      heap_pause()
    }
    return false
  }

  // MARK: - Who marks at a time of its own

  /// Whether the target of a weak reference lives; then it is marked. While the barrier of the heap is
  /// up.
  ///
  /// - Complexity: takes no lock if the target is marked already.
  func keep(_ target: UInt) -> Bool {
    let mark = MarkBit(of: target)
    if mark.isSet { return true }
    return state.withLock { state in
      guard state.isMarking else { return mark.isSet }
      state.shade(target)
      return true
    }
  }

  /// A flush begins that is no answer to a handshake. False: it must not, because marking has ended.
  package func beginFlush() -> Bool {
    state.withLock { state in
      guard state.isMarking else { return false }
      // Relaxed: whoever looks has the lock.
      activeFlushes.add(1, ordering: .relaxed)
      return true
    }
  }

  /// The flush is over: what it has marked is noted.
  package func endFlush() { activeFlushes.subtract(1, ordering: .releasing) }

  /// Marks what the slots hold, a block at a time so that nobody waits long for the lock.
  package func scan() {
    var next = 0
    while let slots = scan(block: next) {
      marking.counters.rootBytes.wrappingAdd(slots * 8, ordering: .relaxed)
      next += 1
    }
  }

  /// Marks what the slots of a block hold; how many hold a reference. Nil: there is no such block.
  private func scan(block: Int) -> Int? {
    state.withLock { state -> Int? in
      guard unsafe block < state.blocks.count else { return nil }
      var slots = 0
      for i in 0..<Self.blockSize {
        // Relaxed: written under the lock that is held.
        let reference = unsafe state.blocks[block][i].load(ordering: .relaxed)
        guard ReferenceWord.isReference(reference) else { continue }
        marking.check?.checkRoot(reference)
        state.marker.mark(reference)
        slots += 1
      }
      state.marker.settle()
      return slots
    }
  }

  /// Every reference in a slot.
  package var references: [UInt] {
    state.withLock { state in
      var found: [UInt] = []
      for number in unsafe state.blocks.indices {
        let block = unsafe state.blocks[number]
        for i in 0..<Self.blockSize {
          let reference = unsafe block[i].load(ordering: .relaxed)
          if ReferenceWord.isReference(reference) { found.append(reference) }
        }
      }
      return found
    }
  }
}
