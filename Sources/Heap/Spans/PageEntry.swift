// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What an arena's tables say of a page: which span has it, and what its objects are like.
//
// These are two tables because they are read at different times. Who has any word, and wants to
// know whether an object is there, needs the span (`PageEntry`). A marker has a reference. It knows
// where the mark bit is (SlotBits), and what else it needs of an object that it has marked, fits
// into one word of the page (`PageLayout`): the marker does not touch the span's record.
//
// Both words are 0 for a free page. They are written together: when a span is made, and when its
// pages become free.
//
// Owner       whoever owns the span of the page.
// Ordering    See Note [Publishing a span] in Documentation/MemoryOrdering.md.

public import Synchronization

/// Which span a page belongs to, as its table entry says.
@frozen @usableFromInline package struct PageEntry: Equatable, Sendable {
  /// Address of the span's record; 0 for a free page.
  @usableFromInline package let bits: UInt

  @inlinable @inline(__always) package init(bits: UInt) { self.bits = bits }

  @inlinable @inline(__always) package init(_ span: HeapSpan) { bits = span.address }

  @inlinable @inline(__always) package var isFree: Bool { bits == 0 }
  @inlinable @inline(__always) package var span: HeapSpan { HeapSpan(address: bits) }
}

/// What the objects of a page are like.
///
///     bits 0–47   address of the layout's record; the whole word is 0 for a free page
///     bits 48–54  size class
///     bit  55     noscan
@frozen @usableFromInline package struct PageLayout: Equatable, Sendable {
  @usableFromInline package let bits: UInt

  @inlinable @inline(__always) package init(bits: UInt) { self.bits = bits }

  package init(_ layout: HeapLayout, _ spanClass: SpanClass) {
    let size = UInt(spanClass.sizeClass.number)
    bits = layout.address | size << 48 | (spanClass.isNoscan ? 1 << 55 : 0)
  }

  /// What the objects of the page that holds an object are like.
  /// - Precondition: the address is that of an object, or lies in one; it was read from the heap.
  @inlinable @inline(__always) package init(of object: UInt) {
    let page = PageIndex(holding: object)
    // Relaxed: the reference depends on it (Note [Publishing a span]).
    bits = unsafe ArenaTables.of(object).layout(page.inArena).pointee.load(ordering: .relaxed)
  }

  @inlinable @inline(__always) package var isFree: Bool { bits == 0 }
  @inlinable @inline(__always) package var layout: HeapLayout {
    HeapLayout(address: bits & 0xffff_ffff_ffff)
  }
  @inlinable @inline(__always) package var sizeClass: SizeClass {
    SizeClass(unchecked: UInt8(truncatingIfNeeded: bits >> 48) & 0x7f)
  }
  @inlinable @inline(__always) package var isNoscan: Bool { bits & (1 << 55) != 0 }
}
