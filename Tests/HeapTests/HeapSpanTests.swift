// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A span's descriptor and the page entries that lead to it.
//
// Slot arithmetic is proved for every class and every word of its span, since one slot wrong is
// another object marked.

import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Spans")
struct HeapSpanTests {
  // MARK: - Fresh spans

  @Test("a fresh span of any class has the shape of its class, and every page leads to it")
  func freshSpans() throws {
    let fixture = try SpanFixture()
    for sizeClass in SizeClass.small {
      let noscan = sizeClass.number % 2 == 0
      let shelf = try fixture.shelf(
        size: sizeClass.slotSize, references: noscan ? [] : [0], in: sizeClass)
      let span = try fixture.span(on: shelf, generation: 8)
      #expect(span.isLive && !span.isLarge)
      #expect(span.base % UInt(Geometry.pageSize) == 0)
      #expect(span.firstPage.address == span.base)
      #expect(span.slotSize == UInt(sizeClass.slotSize))
      #expect(span.slotCount == sizeClass.slotsPerSpan)
      #expect(span.pageCount == sizeClass.spanPages)
      #expect(span.spanClass == SpanClass(sizeClass, noscan: noscan))
      #expect(span.layout == shelf.layout && span.shelf == shelf)
      #expect(span.freeIndex == 0 && span.allocatedCount == 0)
      #expect(span.generation == 8)
      #expect(!span.needsZero, "the memory has never been used")
      #expect(span.hasCleanBits)
      #expect(reports(span.checkInvariants).isEmpty)
      for page in 0..<span.pageCount {
        let place = span.firstPage + page
        let tables = ArenaTables.of(place.address)
        let entry = unsafe PageEntry(
          bits: tables.entry(place.inArena).pointee.load(ordering: .relaxed))
        #expect(entry == PageEntry(span))
        let layout = unsafe PageLayout(
          bits: tables.layout(place.inArena).pointee.load(ordering: .relaxed))
        #expect(layout == PageLayout(span.layout, span.spanClass))
      }
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("a large span has one slot as long as all its pages")
  func largeSpan() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 40_000)
    let span = try fixture.span(on: shelf)
    #expect(span.isLarge && span.slotCount == 1 && span.wordCount == 1)
    #expect(span.slotSize == UInt(5 * Geometry.pageSize))
    for offset in stride(from: 0, to: span.slotSize, by: 1000) {
      #expect(span.slot(holding: span.base + offset) == 0)
    }
  }

  // MARK: - Slots and addresses

  @Test("every word of every class's span is in the slot that division says")
  func slotArithmetic() throws {
    let fixture = try SpanFixture()
    for sizeClass in SizeClass.small {
      let span = try fixture.span(on: fixture.shelf(size: sizeClass.slotSize, in: sizeClass))
      var wrong = 0
      for offset in stride(from: 0, to: span.pageCount * Geometry.pageSize, by: 8) {
        let expected = offset / sizeClass.slotSize
        let slot = span.slot(holding: span.base + UInt(offset))
        if slot != (expected < span.slotCount ? expected : nil) { wrong += 1 }
      }
      #expect(wrong == 0, "class \(sizeClass.number)")
      for slot in 0..<span.slotCount {
        let address = span.address(ofSlot: slot)
        if span.slot(holding: address) != slot
          || span.slot(holding: address + span.slotSize - 1) != slot
        {
          wrong += 1
        }
      }
      #expect(wrong == 0, "class \(sizeClass.number)")
    }
  }

  @Test("the bits of a span begin with those of its first page, in each table")
  func bitsOfSpan() throws {
    let fixture = try SpanFixture()
    let span = try fixture.span(size: 3072)  // Three pages.
    let tables = ArenaTables.of(span.base)
    let page = span.firstPage.inArena
    #expect(span.wordCount == 3 * 8)
    typealias Layout = ArenaTables.Layout
    #expect(UInt(bitPattern: unsafe span.marks) == tables.slotBits(Layout.marks, page))
    #expect(UInt(bitPattern: unsafe span.allocated) == tables.slotBits(Layout.allocated, page))
    #expect(UInt(bitPattern: unsafe span.held) == tables.slotBits(Layout.held, page))
  }
}
