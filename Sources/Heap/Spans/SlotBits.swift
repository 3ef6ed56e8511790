// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// From an address to its bits, and from a span's slots to theirs.
//
// A bit stands for 16 bytes of address, a granule. The bit of an object is that of the granule in
// which its slot starts. So the address alone says where an object's mark bit is: neither the
// page's entry nor the span's record is read on the way (`MarkBit`). A page has 512 granules, and
// so one cache line of bits in each table of an arena. The words of a span are eight for each of
// its pages, in a row, because a span of a small class lies in one arena. A large span has one
// word, that of its first granules, with one bit in use.
//
// No slot is smaller than a granule, so no two slots share a bit. All slots but those of 24 bytes
// start where a granule starts:
//
//   slots of   start in the granules               as bits
//   16         0, 1, 2, 3, 4, 5, 6, 7, 8, 9 …      …1111111111
//   24         0, 1, 3, 4, 6, 7, 9 …               …1011011011
//   32         0, 2, 4, 6, 8 …                     …0101010101
//   48         0, 3, 6, 9 …                        …1001001001
//
// The bits of 64 granules from a slot on are the same for every slot of a class, but for slots of
// 24 bytes: those see one pattern from every other slot on, and from the ones between the same
// pattern, rotated by one. The span's record has the pattern of its first slot (`starts`). Whoever
// looks for slots in a span goes from word to word: the pattern from a slot on covers the rest of
// the slot's word, and a division by multiplication finds the first slot behind that word.
//
// Bits are set at the starts of slots only, so counting bits counts slots.
//
// Owner, ordering    See HeapSpan+Slots.

public import CHeapShims

/// Where the mark bit of an object is.
@frozen @usableFromInline package struct MarkBit: Hashable, Sendable {
  /// Address of the word.
  @usableFromInline package var word: UInt
  /// The bit's number in the word.
  @usableFromInline package var bit: UInt

  @inlinable @inline(__always) package init(word: UInt, bit: UInt) {
    self.word = word
    self.bit = bit
  }

  /// The mark bit of the object at an address: of its granule.
  /// - Precondition: the address is in an arena, and where an object begins (or, if the object is
  ///   a tiny value, where it lies). Of any other word in an arena the bit may be looked at, and
  ///   says nothing for certain.
  @inlinable @inline(__always) package init(of address: UInt) {
    let granule = (address & UInt(Geometry.arenaSize - 1)) >> Geometry.granuleShift
    word = ArenaTables.of(address).base &+ ArenaTables.Layout.marks &+ (granule >> 6) &* 8
    bit = granule & 63
  }

  /// Relaxed: an answer of no may be late.
  @inlinable @inline(__always) package var isSet: Bool { heap_load_word(word) &>> bit & 1 != 0 }

  /// Sets the bit, sequentially consistent; whether it was set before.
  @inlinable @inline(__always) package func testAndSet() -> Bool {
    heap_test_and_set_bit(word, bit)
  }
}

extension HeapSpan {
  // MARK: - Granules

  // Granules and words are counted from the span's first one on.

  /// The granule in which a slot starts.
  @inlinable @inline(__always) package func granule(ofSlot slot: Int) -> Int {
    Int(bitPattern: (UInt(bitPattern: slot) &* slotSize) >> Geometry.granuleShift)
  }

  /// The slot that starts in a granule.
  /// - Precondition: one does.
  @inlinable @inline(__always) package func slot(ofGranule granule: Int) -> Int {
    // That slot holds the granule's last byte, too.
    let last = UInt(bitPattern: granule) << Geometry.granuleShift | (Geometry.granuleSize - 1)
    return slot(dividing: last)
  }

  /// The address of the slot that starts in a granule.
  /// - Precondition: one does.
  @inlinable @inline(__always) package func address(ofGranule granule: Int) -> UInt {
    let address = base &+ UInt(bitPattern: granule) << Geometry.granuleShift
    // Of slots of 24 bytes, every other one starts in the midst of a granule.
    return hasUnevenSlots && granule % 3 == 1 ? address &+ 8 : address
  }

  /// Slots are 24 bytes: not a multiple of a granule.
  @inlinable @inline(__always) package var hasUnevenSlots: Bool { slotSize & 8 != 0 }

  /// `offset / slotSize`; 0 for a large span.
  @inlinable @inline(__always) func slot(dividing offset: UInt) -> Int {
    Int(truncatingIfNeeded: (offset &* UInt(unsafe record.pointee.reciprocal)) >> 32)
  }

  // MARK: - Words of bits

  /// Bytes that a word of bits stands for.
  @inlinable @inline(__always) package static var wordSize: UInt { 64 * Geometry.granuleSize }

  /// The word and the bit of a slot.
  @inlinable @inline(__always)
  package func bit(ofSlot slot: Int) -> (word: Int, mask: UInt) {
    let granule = granule(ofSlot: slot)
    return (granule >> 6, 1 << UInt(granule & 63))
  }

  /// The word of a slot's bit, and of that word the bits of the slot and of those behind it. There
  /// may be bits behind the span's last slot.
  @inlinable @inline(__always)
  package func starts(from slot: Int) -> (word: Int, mask: UInt) {
    let granule = granule(ofSlot: slot)
    var pattern = unsafe record.pointee.starts
    if hasUnevenSlots && slot & 1 != 0 { pattern = pattern >> 1 | pattern << 63 }
    return (granule >> 6, pattern << UInt(granule & 63))
  }

  /// The first slot that starts behind a word, in which `slot` starts.
  @inlinable @inline(__always)
  package func firstSlot(behindWord word: Int, of slot: Int) -> Int {
    let offset = UInt(bitPattern: word &+ 1) &* Self.wordSize
    // A large span has no other slot, and all its offsets are in slot 0.
    return max(slot &+ 1, self.slot(dividing: offset &+ slotSize &- 1))
  }

  /// Calls `body` with each word that some slots have bits in, and those bits.
  @inlinable @inline(__always)
  package func forEachWord(of slots: SlotRange, _ body: (_ word: Int, _ mask: UInt) -> Void) {
    var slot = slots.start
    while slot < slots.end {
      let (word, starts) = starts(from: slot)
      body(word, starts & bits(below: slots.end, inWord: word))
      slot = firstSlot(behindWord: word, of: slot)
    }
  }

  /// The bits of a word below that of a slot.
  @inlinable @inline(__always)
  package func bits(below slot: Int, inWord word: Int) -> UInt {
    let granules = granule(ofSlot: slot) &- word << 6
    return granules >= 64 ? .max : granules <= 0 ? 0 : (1 << UInt(granules)) &- 1
  }
}
