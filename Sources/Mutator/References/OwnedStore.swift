// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Stores of values that ARC manages, and of values with such parts.
//
// Whoever stores has a value of its own and a slot with another one. The two change places, as bytes,
// and nobody's count changes. Then the caller releases what it has in hand: the value that the slot
// held. That may run a `deinit`, which may enter the heap. So it comes last: no safepoint lies between
// the test of the flag and the last word stored (WriteBarrier).
//
// A value may hold references beside what ARC manages. The collector reads those words while they are
// stored, so all words are stored as RecordedStore and HeapSlot store theirs: recorded or put on cards
// first, each word whole, after a releasing fence. The words of what ARC manages are not in the
// layout, and the collector does not read them (in an enum it may, and takes them for what they are:
// any words).
//
// What threads do to one such field at the same time is the program's affair, as in any Swift class:
// two stores, or a store and a load, need a lock. Different fields of an object do not.

internal import CHeapShims
internal import Synchronization

/// Stores of values that ARC manages.
enum OwnedStore {
  /// Exchanges the value of a type in a slot of an object with the one at `value`.
  ///
  /// - Precondition: a value may be moved by moving its bytes.
  static func exchange(_ type: Any.Type, at slot: UInt, with value: UInt) {
    // Before the test of the flag: it may call the program's code.
    let map = FieldMap.of(type)
    unsafe withUnsafeTemporaryAllocation(byteCount: map.size, alignment: max(map.alignment, 8)) {
      let old = UInt(bitPattern: $0.baseAddress)
      RecordedStore.copy(map.size, from: slot, to: old)
      if heap_barrier_is_up() {
        RecordedStore.replace(type, at: slot, from: value, count: 1)
      } else {
        if !map.isNoscan { heap_card_mark_range(slot, map.size) }
        // Pair: the address dependency of whoever loads one of the references.
        atomicMemoryFence(ordering: .releasing)
        RecordedStore.copy(map.size, from: value, to: slot)
      }
      RecordedStore.copy(map.size, from: old, to: value)
    }
  }
}
