// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Looking up any word: a slot is found from its first byte to its last, and nothing else is.

import Heap
import Testing

@Suite("Looking words up")
struct HeapSpanLookUpTests {
  let fixture: SpanFixture

  init() throws { fixture = try SpanFixture() }

  private func lookUp(_ word: UInt) -> (span: HeapSpan, slot: Int)? {
    HeapSpan.lookUp(word, owner: fixture.pages.owner)
  }

  @Test("every word of an allocated slot leads to the slot, and no word of a free one does")
  func slots() throws {
    // Ten pages, and slots that cross their borders.
    let span = try fixture.span(size: 27264)
    _ = span.takeRun(atMost: 2)
    for slot in 0..<span.slotCount {
      let start = span.address(ofSlot: slot)
      for offset in [0, 1, 8, 8191, 8192, span.slotSize - 1] as [UInt] {
        let found = lookUp(start + offset)
        #expect(found?.span == (slot < 2 ? span : nil))
        #expect(found?.slot == (slot < 2 ? slot : nil))
      }
    }
    let behind = span.address(ofSlot: span.slotCount)
    #expect(behind < span.pages.end.address && lookUp(behind) == nil, "behind the last slot")
  }

  @Test("a large object is found from any of its pages")
  func large() throws {
    let span = try fixture.span(on: fixture.shelf(size: 40_000))
    #expect(lookUp(span.base) == nil, "not taken yet")
    _ = span.takeRun()
    for word in [span.base, span.base + 8192, span.base + span.slotSize - 1] {
      #expect(lookUp(word)?.span == span && lookUp(word)?.slot == 0)
    }
    span.freeAll(to: fixture.pages)
    #expect(lookUp(span.base) == nil, "freed")
  }

  @Test("numbers, free pages and another heap's objects are not found")
  func others() throws {
    let span = try fixture.span(size: 64)
    _ = span.takeRun()
    for word in [0, 1, 8, 0x1234_5678, 1 << 48, .max, span.base | 1 << 60] as [UInt] {
      #expect(lookUp(word) == nil)
    }
    #expect(lookUp(span.base + UInt(Geometry.pageSize)) == nil, "a free page")
    #expect(HeapSpan.lookUp(span.base, owner: fixture.pages.owner + 1) == nil)
    #expect(lookUp(span.base) != nil)
  }
}
