// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The write barrier: what a reference store does while the collector marks.
//
//     store(slot, new):                      in Mutator/References, inlined
//       if heap_barrier_is_up() { record(slot, new) }
//       else { card(slot) := dirty }
//       slot := new                          releasing
//
// `record` shades the value that is about to be overwritten and the one that is about to be
// written: both halves, whatever their colour, always (Go's hybrid barrier). Why both:
//
//   deletion half    keeps what was reachable when the cycle began: a thread whose stack has
//                    been scanned may load a white reference and destroy the last path to it
//   insertion half   keeps what comes from a stack that has not been scanned yet
//
// Shading goes through the mutator's buffer. No safepoint lies between the test of the flag and
// the store, so a handshake falls before or after a whole store, never into it. That is why the
// second barrier handshake ends every store that began without the barrier.
//
// The flag is the process's: it is up while any heap wants its stores recorded. Whether this
// heap wants it is the heap's own word, read here; if it does not, the card is set here. A store
// that is recorded needs no card (Documentation/Protocol.md, "Generations"). In checked mode the flag is
// always up, so that every store comes here and is checked (StoreCheck).
//
// A store by a thread that is not attached to the heap of the object, or that is in a blocking
// region, breaks the contract. It is found here: while the flag is up, and in checked mode always.
//
// Model: Verification/marking.pml. Invariants in words: Documentation/Protocol.md

internal import CHeapShims
internal import Heap
internal import Synchronization

/// Recording of reference stores.
@usableFromInline package enum WriteBarrier {
  // MARK: - Slow path

  /// Records the store of `new` into the heap word at `slot`, which is about to happen, after
  /// checking it in checked mode.
  ///
  /// Called while the flag is up.
  package static func record(slot: UInt, new: UInt) {
    let mutator = mutator(for: slot)
    if mutator.isChecked {
      StoreCheck.check(new, storedAt: slot, by: mutator)
    }
    record(slot: slot, new: new, by: mutator)
  }

  /// The same, if there is nothing to check. False: nothing has been recorded.
  @inline(__always)
  package static func recordUnchecked(slot: UInt, new: UInt) -> Bool {
    guard let mutator = uncheckedMutator(for: slot) else { return false }
    record(slot: slot, new: new, by: mutator)
    return true
  }

  /// The thread's innermost mutator, if the slot is in its heap, it may store there, and no store is
  /// checked. So it is in all but a few programs.
  @inline(__always)
  package static func uncheckedMutator(for slot: UInt) -> AttachedMutator? {
    guard let mutator = AttachedMutator.current, let tables = ArenaTables.find(slot),
      unsafe mutator.state.pointee.storesInto == tables.owner
    else { return nil }
    return mutator
  }

  /// The same for a mutator that is known and a store that has been checked.
  @inline(__always)
  package static func record(slot: UInt, new: UInt, by mutator: AttachedMutator) {
    let state = unsafe mutator.state
    // Acquiring: see Note [Barrier flag].
    guard unsafe state.pointee.words.pointee.barrierIsUp.load(ordering: .acquiring) else {
      return heap_card_mark(slot)
    }
    if unsafe state.pointee.barrier.append(old: heap_load_word(slot), new: new) {
      mutator.flushFullBarrier()
    }
  }

  /// The same for `count` values of `stride` bytes at `destination`, which are about to be
  /// replaced by those at `source`. Checks nothing.
  ///
  /// The caller stores what it has at `source`, which nobody else writes.
  package static func recordAggregate(
    destination: UInt, source: UInt, count: Int, stride: Int,
    references: UnsafeBufferPointer<UInt32>, ambiguous: UnsafeBufferPointer<UInt32>,
    by mutator: AttachedMutator
  ) {
    let state = unsafe mutator.state
    guard count > 0 else { return }
    // Acquiring: see Note [Barrier flag].
    guard unsafe state.pointee.words.pointee.barrierIsUp.load(ordering: .acquiring) else {
      return CardTable.mark(destination, size: UInt(count * stride))
    }
    for element in 0..<count {
      let offset = UInt(bitPattern: element &* stride)
      for i in references.indices {
        let place = unsafe offset &+ UInt(references[i])
        record(slot: destination &+ place, new: heap_load_word(source &+ place), by: mutator)
      }
      for i in ambiguous.indices {
        let place = unsafe offset &+ UInt(ambiguous[i])
        recordAmbiguous(heap_load_word(destination &+ place), by: mutator)
        recordAmbiguous(heap_load_word(source &+ place), by: mutator)
      }
    }
  }

  /// Records a word that may be anything: the object that it leads to, if there is one.
  ///
  /// That is found out now. In the buffer are references only, and no object goes before it is
  /// emptied: no span is swept while the heap's word is up.
  ///
  /// First comes the mark bit of the word's own granule. If the word is a reference, that is its
  /// object's. If it points into an object of 24 bytes, the bit may be the neighbour's, and nothing is
  /// recorded: nothing has to live because of such a word.
  @inline(__always)
  private static func recordAmbiguous(_ word: UInt, by mutator: AttachedMutator) {
    guard ReferenceWord.isReference(word), let tables = ArenaTables.find(word),
      unsafe tables.owner == mutator.state.pointee.owner, !MarkBit(of: word).isSet
    else { return }
    recordUnmarked(word, by: mutator)
  }

  /// The same for a word that points into the heap, but at no object that is marked already.
  @inline(never)
  private static func recordUnmarked(_ word: UInt, by mutator: AttachedMutator) {
    let state = unsafe mutator.state
    guard let (span, slot) = HeapSpan.lookUp(word, owner: unsafe state.pointee.owner) else {
      return
    }
    if unsafe state.pointee.barrier.append(old: span.address(ofSlot: slot), new: 0) {
      mutator.flushFullBarrier()
    }
  }

  /// The calling thread's mutator in the heap of an address; the thread may store there.
  @inline(__always)
  package static func mutator(for address: UInt) -> AttachedMutator {
    let owner = ArenaTables.find(address)?.owner ?? 0
    guard let mutator = AttachedMutator.current(in: owner) else { notAttached(owner: owner) }
    if mutator.isBlocked { mutator.requireRunning() }
    return mutator
  }

  @inline(never)
  private static func notAttached(owner: UInt) -> Never {
    require(
      owner != 0,
      "a reference was stored into memory that belongs to no heap: the object's heap has ended, "
        + "or the reference was never one")
    broken(
      "a reference was stored into an object by a thread that is not attached to the object's "
        + "heap: use references only inside withMutator, and keep a HeapRoot elsewhere")
  }
}
