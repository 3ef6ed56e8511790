// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A span: a run of pages cut into equal slots.
//
// The span's record is a descriptor beside the memory. Each slot has one bit in each of three
// bitmaps of the arena's tables (ArenaTables), which start at the bits of the span's first page.
// Where in them, the slot's address says (SlotBits):
//
//   allocated   allocBits: the slot was allocated as of the last sweep
//   marks       gcmarkBits: the slot was found reachable in this cycle
//   held        the slot is not allocated, and is held out of use (checked mode only)
//
// A slot counts as allocated when its `allocated` bit is set or its index is below
// `freeIndex`. Sweeping makes the marks the new `allocated` bits, and leaves the marks as they
// are: what is marked between cycles is old, and all else is young.
//
//   state      owner                 on a list     what may be done
//   dead       the page heap         its own       use the record for a new span
//   listed     its shelf             one of four   take it off (whoever does owns it)
//   cached     one thread's cache    none          take runs, hand them back
//   sweeping   whoever took it off   none          sweep
//
// A large span has one slot and is listed like any other; no cache ever has it. The record does
// not tell "cached" and "sweeping" apart: in both states one thread, which took the span off a
// list under the list's lock, owns it alone.
//
// Whether a span has to be swept before slots are taken from it, its `generation` says, and
// whether it was touched (allocated from) since it was swept last: Generation.swift.
//
// Owner       as in the table.
// Ordering    See Note [Publishing a span] in Documentation/MemoryOrdering.md.
// Slots and bits: HeapSpan+Slots.swift, SlotBits.swift. Overview: Documentation/AllocatorTiers.md

public import Synchronization

/// The descriptor behind a `HeapSpan`.
@usableFromInline package struct SpanRecord: ~Copyable {
  // What marking reads, on the first cache line.

  /// Address of the first slot. Constant while the span lives.
  @usableFromInline package var base: UInt
  /// Bytes from a slot to the next; of a large span, all its bytes.
  @usableFromInline package var slotSize: UInt
  /// Address of the mark bits; the others lie at fixed distances.
  @usableFromInline package var markBits: UInt
  /// The layout of every object in the span.
  @usableFromInline package var layout: HeapLayout
  @usableFromInline package var slotCount: UInt32
  @usableFromInline package var reciprocal: UInt32
  /// In which of the first 64 granules slots start, one bit each (SlotBits).
  @usableFromInline package var starts: UInt
  /// Slots below this index are allocated whatever their bit says.
  ///
  /// Owner: whoever owns the span. Ordering: stored releasing, after what the new value makes
  /// others believe: zeroed and coloured slots when it moves up, new `allocated` bits when a sweep
  /// sets it to 0. Read acquiring by whoever has a word that may point into the span.
  @usableFromInline package let freeIndex: Atomic<UInt32>

  // What allocation and sweeping touch.

  /// When the span was swept last, or when it was touched. Owner: the span's owner writes.
  /// Ordering: relaxed; who reads it to decide something has the lock of the list that the span
  /// is on.
  @usableFromInline package let generation: Atomic<UInt64>
  /// Slots that are allocated or in a cache's run.
  @usableFromInline package var allocatedCount: UInt32
  @usableFromInline package var pageCount: UInt32
  @usableFromInline package var spanClass: SpanClass
  @usableFromInline package var isLive: Bool
  /// Slots were taken since the span was swept last.
  @usableFromInline package var isTouched: Bool
  /// Free slots may hold something other than zeroes.
  @usableFromInline package var needsZero: Bool
  /// The next span of a shelf's list, or of the page heap's list of dead records.
  @usableFromInline package var listNext: UInt
  /// The shelf that the span belongs to.
  @usableFromInline package var shelf: UInt
  /// Freed slots that are held out of use; 0 unless the heap is checked.
  package var heldCount: UInt32
}

/// A handle to a span's descriptor. Never dangling while the heap lives.
@safe @frozen @usableFromInline package struct HeapSpan: Hashable, @unchecked Sendable {
  // Sendable: an address; every field of the record names its own owner.
  @usableFromInline package let address: UInt

  @inlinable @inline(__always) package init(address: UInt) { self.address = address }

  /// - Note: SAFETY: `address` is that of a record, and records are never unmapped while
  ///   their heap lives (RecordMemory).
  @inlinable @inline(__always) package var record: UnsafeMutablePointer<SpanRecord> {
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  @inlinable package var base: UInt { unsafe record.pointee.base }
  @inlinable package var slotSize: UInt { unsafe record.pointee.slotSize }
  @inlinable package var slotCount: Int { Int(unsafe record.pointee.slotCount) }
  @inlinable package var layout: HeapLayout { unsafe record.pointee.layout }
  @inlinable package var pageCount: Int { Int(unsafe record.pointee.pageCount) }
  @inlinable package var firstPage: PageIndex { PageIndex(holding: base) }
  package var pages: PageRange { PageRange(firstPage, count: pageCount) }
  @inlinable package var spanClass: SpanClass { unsafe record.pointee.spanClass }
  @inlinable package var isLarge: Bool { spanClass.sizeClass.isLarge }
  @inlinable package var isLive: Bool { unsafe record.pointee.isLive }
  package var shelf: SpanShelf { SpanShelf(address: unsafe record.pointee.shelf) }

  @inlinable package var generation: Generation {
    get { Generation(bits: unsafe record.pointee.generation.load(ordering: .relaxed)) }
    nonmutating set { unsafe record.pointee.generation.store(newValue.bits, ordering: .relaxed) }
  }

  @inlinable package var isTouched: Bool { unsafe record.pointee.isTouched }

  /// Slots are going to be taken. The caller owns the span, and works with this generation.
  @inlinable package func touch(in generation: Generation) {
    self.generation = generation
    unsafe record.pointee.isTouched = true
  }

  /// For the owner: what it wrote itself is read relaxed. All others: `isAllocated`.
  @inlinable package var freeIndex: Int {
    get { Int(unsafe record.pointee.freeIndex.load(ordering: .relaxed)) }
    nonmutating set {
      // Pairs with `isAllocated`.
      unsafe record.pointee.freeIndex.store(UInt32(newValue), ordering: .releasing)
    }
  }

  @inlinable package var allocatedCount: Int {
    get { Int(unsafe record.pointee.allocatedCount) }
    nonmutating set { unsafe record.pointee.allocatedCount = UInt32(newValue) }
  }

  /// Freed slots that are not handed out again yet (HeapSpan+Slots).
  package var heldCount: Int {
    get { Int(unsafe record.pointee.heldCount) }
    nonmutating set { unsafe record.pointee.heldCount = UInt32(newValue) }
  }

  /// Slots that are not free: allocated, in a cache's run, or held out of use.
  package var usedCount: Int { allocatedCount + heldCount }

  @inlinable package var needsZero: Bool {
    get { unsafe record.pointee.needsZero }
    nonmutating set { unsafe record.pointee.needsZero = newValue }
  }

  @inlinable package var listNext: HeapSpan? {
    get {
      let next = unsafe record.pointee.listNext
      return next == 0 ? nil : HeapSpan(address: next)
    }
    nonmutating set { unsafe record.pointee.listNext = newValue?.address ?? 0 }
  }
}
