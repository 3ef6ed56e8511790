// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked stores: in checked mode the barrier flag is simply kept up, so every reference
// store comes through the barrier's slow half and is checked there, without a rebuild.
//
//   1. the thread is attached to the heap of the object that is stored into (WriteBarrier)
//   2. that object is allocated
//   3. the new value is zero, or an allocated object of the same heap
//   4. … its first address, unless it is a tiny value
//
// A failure names the rule, the address and the type.

internal import CHeapShims
internal import Heap

enum StoreCheck {
  /// Stops the program if a store breaks a rule.
  static func check(slot: UInt, new: UInt, _ mutator: AttachedMutator) {
    let heap = mutator.heap
    guard let (span, _) = HeapSpan.lookUp(slot, owner: heap.pageHeap.owner) else {
      failure(
        "a reference was stored into an object that has been collected, at \(hex(slot)): "
          + "it was not reachable from a local, a HeapRoot or another object")
    }
    guard new != 0 else { return }
    // Looked up on failure only: it takes a lock.
    var target: String { heap.name(of: span.layout) }
    guard let tables = ArenaTables.find(new), tables.owner != 0 else {
      failure("what was stored into a \(target) is not a reference: \(hex(new))")
    }
    guard tables.owner == heap.pageHeap.owner else {
      failure(
        "a reference to an object of another heap was stored into a \(target) at \(hex(slot)): "
          + "objects of two heaps cannot refer to each other")
    }
    guard let (newSpan, newSlot) = HeapSpan.lookUp(new, owner: heap.pageHeap.owner) else {
      failure(
        "a reference to an object that has been collected, \(hex(new)), was stored into a "
          + "\(target): it was kept where the collector does not look (a Swift array, a class, "
          + "an escaping closure); keep a HeapRoot there")
    }
    guard newSpan.layout.isTiny || newSpan.address(ofSlot: newSlot) == new else {
      failure("an address inside an object, \(hex(new)), was stored into a \(target)")
    }
  }

  static func failure(_ message: String) -> Never {
    broken("heap check: \(message)")
  }

  static func hex(_ address: UInt) -> String { "0x" + String(address, radix: 16) }
}
