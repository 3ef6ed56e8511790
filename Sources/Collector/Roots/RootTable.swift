// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Root slots: references that the program keeps outside the heap.
//
// A slot is a word at an address that does not change while it is in use. Creating, setting
// and dropping one shades as a store into an object does: what the slot held, and what it
// will hold. A slot may be dropped by a thread that is attached to nothing (the last release
// of a HeapRoot happens anywhere), so shading here uses a marker of the table's own, under
// the table's lock, and no mutator's buffer.
//
// Whether to shade is decided under the same lock: `isMarking` is set before the first
// barrier handshake and cleared before the last, and a drop that comes later shades nothing.
// Without that, a late mark could land in a span that is swept already, and would make the
// next cycle take the object for black.
//
// Guarded by: the lock inside, everything but reading a slot.
// Ordering    a slot is written with a releasing store and read with an acquiring load: a
//             thread that gets a reference from a root sees the object initialised.

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
    var marker: Marker?
  }

  private let state = Mutex(State())

  deinit {
    state.withLock { state in
      for i in unsafe state.blocks.indices { unsafe state.blocks[i].deallocate() }
      if let marker = state.marker.take() { marker.destroy() }
    }
  }

  // MARK: - Slots

  /// A slot that holds `reference`.
  package func make(_ reference: UInt, in heap: CollectedHeap) -> RootSlot {
    state.withLock { state in
      if state.free.isEmpty { Self.addBlock(&state) }
      let slot = state.free.removeLast()
      Self.shade(reference, in: heap, &state)
      unsafe slot.word.pointee.store(reference, ordering: .releasing)
      return slot
    }
  }

  /// Replaces a slot's reference.
  package func set(_ slot: RootSlot, to reference: UInt, in heap: CollectedHeap) {
    state.withLock { state in
      Self.shade(slot.reference, in: heap, &state)
      Self.shade(reference, in: heap, &state)
      unsafe slot.word.pointee.store(reference, ordering: .releasing)
    }
  }

  /// Gives a slot up.
  package func drop(_ slot: RootSlot, in heap: CollectedHeap) {
    state.withLock { state in
      Self.shade(slot.reference, in: heap, &state)
      unsafe slot.word.pointee.store(0, ordering: .relaxed)
      state.free.append(slot)
    }
  }

  private static func addBlock(_ state: inout State) {
    let block = UnsafeMutablePointer<Atomic<UInt>>.allocate(capacity: blockSize)
    for i in 0..<blockSize { unsafe (block + i).initialize(to: Atomic(0)) }
    unsafe state.blocks.append(block)
    for i in (0..<blockSize).reversed() { unsafe state.free.append(RootSlot(block + i)) }
  }

  private static func shade(_ reference: UInt, in heap: CollectedHeap, _ state: inout State) {
    guard state.isMarking, reference != 0 else { return }
    state.marker?.mark(reference)
    state.marker?.settle(heap)
  }

  // MARK: - The collector's side

  /// From now on (or no longer) slots shade what they held and will hold.
  package func setMarking(_ isMarking: Bool, in heap: CollectedHeap) {
    state.withLock { state in
      if state.marker == nil { state.marker = Marker(heap: heap) }
      state.isMarking = isMarking
    }
  }

  /// Marks what the slots hold, a block at a time so that nobody waits long for the lock.
  package func scan(in heap: CollectedHeap) {
    var next = 0
    while true {
      let isDone = state.withLock { state -> Bool in
        guard unsafe next < state.blocks.count else { return true }
        for i in 0..<Self.blockSize {
          // Relaxed: written under the lock that is held.
          let reference = unsafe state.blocks[next][i].load(ordering: .relaxed)
          guard reference != 0 else { continue }
          state.marker?.mark(reference)
          heap.counters.rootBytes.wrappingAdd(8, ordering: .relaxed)
        }
        state.marker?.settle(heap)
        return false
      }
      if isDone { return }
      next += 1
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
          if reference != 0 { found.append(reference) }
        }
      }
      return found
    }
  }
}
