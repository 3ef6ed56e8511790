// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The tiny allocator: values of less than 8 bytes without references share a slot.
//
// A mutator has one open 16-byte slot; a value is put behind the last one at its own alignment, and
// at an even address at least (ReferenceWord), or into a new slot when it does not fit. The slot lives as long as any of its
// values is referred to. Slots come from an ordinary noscan span of the 16-byte class, with a
// layout of its own.
//
// Owner: the mutator. The open slot is given up when its colour could be wrong: when black
// allocation begins and when spans are handed back.

package import Heap

/// The unused rest of a mutator's open tiny slot.
struct TinyRun {
  var cursor: UInt = 0
  var limit: UInt = 0

  /// Bytes of a slot.
  static var slotSize: Int { 16 }

  /// A reference to a value shall not be odd.
  private static var leastAlignment: Int { 2 }

  /// Space for a value, or nil when it does not fit.
  mutating func take(size: Int, alignment: Int) -> UInt? {
    let start = cursor.aligned(up: UInt(max(alignment, Self.leastAlignment)))
    // A value without bytes takes one: its address shall be inside the slot.
    let end = start + UInt(max(size, 1))
    guard cursor != 0, end <= limit else { return nil }
    cursor = end
    return start
  }
}

extension Allocator {
  /// Space for a tiny value in the mutator's open slot, or nil when it does not fit.
  package func takeTiny(_ mutator: AttachedMutator, size: Int, alignment: Int) -> UInt? {
    begin(mutator)
    return unsafe mutator.state.pointee.tiny.take(size: size, alignment: alignment)
  }

  /// Opens a new slot after `takeTiny` found no space, and takes space for the value in it; nil
  /// when there is no memory.
  ///
  /// - Parameter slots: the cache entry of the slots that tiny values share.
  package func openTiny(
    _ mutator: AttachedMutator, _ slots: UnsafeMutablePointer<CacheEntry>, size: Int,
    alignment: Int
  ) -> UInt? {
    guard let slot = unsafe nextSlot(mutator, slots) else { return nil }
    unsafe mutator.state.pointee.tiny = TinyRun(
      cursor: slot, limit: slot + UInt(TinyRun.slotSize))
    // Fits: the value is smaller than a slot.
    return unsafe mutator.state.pointee.tiny.take(size: size, alignment: alignment)
  }
}
