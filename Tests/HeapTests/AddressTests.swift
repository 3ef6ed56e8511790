// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Addresses, pages, and the numbers that cut memory up.
//
// The heaps of a test are small, so what must hold for 256 TiB is proved here by arithmetic:
// every shift and mask at the first, the last and the border pages of the address space.

import CHeapShims
import Heap
import TestSupport
import Testing

@Suite("Addresses and pages")
struct AddressTests {
  @Test("the four sizes are the powers of two that the shifts say")
  func sizes() {
    #expect(Geometry.pageSize == 1 << Int(Geometry.pageShift))
    #expect(Geometry.chunkSize == 1 << Int(Geometry.chunkShift))
    #expect(Geometry.arenaSize == 1 << Int(Geometry.arenaShift))
    #expect(Geometry.pagesPerChunk * Geometry.pageSize == Geometry.chunkSize)
    #expect(Geometry.chunksPerArena * Geometry.chunkSize == Geometry.arenaSize)
    #expect(Geometry.pagesPerArena == Geometry.pagesPerChunk * Geometry.chunksPerArena)
    #expect(Geometry.addressBits == UInt(HEAP_ADDRESS_BITS))
    #expect(Geometry.arenaShift == UInt(HEAP_ARENA_SHIFT))
  }

  @Test(
    "a page knows its address, its arena and its place in it, up to the end of the space",
    arguments: [
      0, 1, 8191, 8192, 8193, 1 << 34, (1 << 35) - 8193, (1 << 35) - 1,
    ] as [UInt])
  func places(number: UInt) {
    let page = PageIndex(number)
    #expect(page.address == number * 8192)
    #expect(page.address < 1 << Geometry.addressBits)
    #expect(PageIndex(holding: page.address) == page)
    #expect(PageIndex(holding: page.address + 8191) == page)
    #expect(page.arena == page.address / UInt(Geometry.arenaSize))
    #expect(page.arena < 1 << (Geometry.addressBits - Geometry.arenaShift))
    #expect(page.inArena == Int(number % 8192))
    #expect(page.arena * 8192 + UInt(page.inArena) == number)
  }

  @Test("pages are ordered, counted and stepped over like numbers, backwards too")
  func steps() {
    let (low, high) = (PageIndex(10), PageIndex((1 << 35) - 1))
    #expect(low < high && !(high < low) && !(low < low))
    #expect(high - low == (1 << 35) - 11)
    #expect(low - high == -((1 << 35) - 11))
    #expect(low + (high - low) == high)
    #expect(high + (low - high) == low)
  }

  @Test("the pages that hold a number of bytes are exact, and nil beyond the address space")
  func pagesToHold() {
    #expect(Geometry.pages(toHold: 0) == 0)
    #expect(Geometry.pages(toHold: 1) == 1)
    #expect(Geometry.pages(toHold: 8192) == 1)
    #expect(Geometry.pages(toHold: 8193) == 2)
    #expect(Geometry.pages(toHold: 1 << 47) == 1 << 34)
    #expect(Geometry.pages(toHold: (1 << 47) + 1) == nil)
    for beyond in [Int.max, Int.max - 8191, -1, .min] {
      #expect(Geometry.pages(toHold: beyond) == nil)
    }
  }

  @Test("rounding up to an alignment moves by less than it, and leaves a multiple alone")
  func alignedUp() {
    var random = RandomNumbers("alignedUp")
    for _ in 0..<10_000 {
      let alignment = UInt(1) << UInt.random(in: 0...26, using: &random)
      let value = UInt.random(in: 0...(1 << 48), using: &random)
      let up = value.aligned(up: alignment)
      #expect(up % alignment == 0 && up >= value && up - value < alignment)
      #expect(up.aligned(up: alignment) == up)
    }
  }
}
