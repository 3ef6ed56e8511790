// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the tables say of a page. The packed word is proved at the ends of its fields.

import Heap
import Testing

@Suite("Page entries")
struct PageEntryTests {
  @Test("a page's layout keeps a 48-bit address, every class and noscan apart")
  func layouts() {
    for address in [64, 0x7fff_ffff_ffc0, 0xffff_ffff_ffc0] as [UInt] {
      let layout = HeapLayout(address: address)
      for sizeClass in [.large] + SizeClass.small {
        for noscan in [false, true] {
          let kind = PageLayout(layout, SpanClass(sizeClass, noscan: noscan))
          #expect(!kind.isFree)
          #expect(kind.layout == layout)
          #expect(kind.sizeClass == sizeClass)
          #expect(kind.isNoscan == noscan)
          #expect(PageLayout(bits: kind.bits) == kind)
        }
      }
    }
    #expect(PageLayout(bits: 0).isFree)
  }

  @Test("a page's entry is the address of its span, and 0 for a free page")
  func entries() {
    let span = HeapSpan(address: 0xffff_ffff_ffc0)
    #expect(PageEntry(span).span == span && !PageEntry(span).isFree)
    #expect(PageEntry(bits: 0).isFree)
  }
}
