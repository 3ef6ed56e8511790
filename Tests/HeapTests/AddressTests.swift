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
  @Test("the sizes are those of the documents and of the C index, and they divide each other")
  func sizes() {
    #expect(Geometry.arenaSize == 64 << 20)
    #expect(Geometry.chunkSize == 4 << 20)
    #expect(Geometry.pageSize == 8 << 10)
    #expect(Geometry.pagesPerChunk * Geometry.pageSize == Geometry.chunkSize)
    #expect(Geometry.chunksPerArena * Geometry.chunkSize == Geometry.arenaSize)
    #expect(Geometry.pagesPerArena == Geometry.pagesPerChunk * Geometry.chunksPerArena)
    for (count, size) in [
      (Geometry.arenaCount, Geometry.arenaSize), (Geometry.chunkCount, Geometry.chunkSize),
      (Geometry.pageCount, Geometry.pageSize),
    ] {
      #expect(count * size == 1 << Int(Geometry.addressBits))
    }
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
    #expect(page.arena.number == page.address / UInt(Geometry.arenaSize))
    #expect(page.arena == ArenaIndex(holding: page.address))
    #expect(page.arena.number < UInt(Geometry.arenaCount))
    #expect(page.inArena == Int(number % 8192))
    #expect(page.arena.pages.start + page.inArena == page)
    #expect(page.chunk.number == page.address / UInt(Geometry.chunkSize))
    #expect(page.chunk.number < UInt(Geometry.chunkCount))
    #expect(page.inChunk == Int(number % 512))
    #expect(page.chunk.firstPage + page.inChunk == page)
    #expect(page.chunk.arena == page.arena)
    #expect(page.arena.chunks.contains(page.chunk))
    #expect(page.chunk == page.arena.chunks.lowerBound.advanced(by: page.chunk.inArena))
  }

  @Test("arenas in a row have their pages and chunks in a row")
  func arenas() {
    let arenas = ArenaIndex(5)...ArenaIndex(7)
    #expect(arenas.count == 3)
    #expect(arenas.pages == PageRange(PageIndex(5 * 8192), count: 3 * 8192))
    #expect(arenas.chunks == ChunkIndex(5 * 16)...ChunkIndex(8 * 16 - 1))
    #expect(Array(arenas).flatMap { Array($0.chunks) } == Array(arenas.chunks))
  }

  @Test(
    "a row of pages is cut up by chunks, without a page lost or twice",
    arguments: [(0, 1), (511, 1), (511, 2), (512, 512), (5, 3000), (8190, 5)] as [(UInt, Int)])
  func cutting(start: UInt, count: Int) {
    let range = PageRange(PageIndex(start), count: count)
    var (cut, chunks): ([PageIndex], [ChunkIndex]) = ([], [])
    range.forEachChunk { chunk, places in
      chunks.append(chunk)
      cut += places.map { chunk.firstPage + $0 }
      #expect(chunk.pages(places).count == places.count)
      #expect(chunk.pages(places).start == chunk.firstPage + places.lowerBound)
    }
    var pages: [PageIndex] = []
    range.forEach { pages.append($0) }
    #expect(cut == pages && pages == (0..<count).map { range.start + $0 })
    #expect(chunks == Array(range.chunks))
    #expect(range.end == range.start + count && range.byteCount == count * 8192)
  }

  @Test("a row without pages, or beyond the address space, traps")
  func absurdRanges() async {
    var said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = PageRange(PageIndex(5), count: 0)
    }
    #expect(said.said("at least one page"))
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = PageRange(PageIndex(5), count: .max)
    }
    #expect(said.said("below the end"))
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = PageRange(PageIndex((1 << 35) - 1), count: 2)
    }
    #expect(said.said("below the end"))
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = PageRange(PageIndex(.max), count: 1)
    }
    #expect(said.said("below the end"))
    // The last page of all is one like any other.
    #expect(PageRange(PageIndex((1 << 35) - 1), count: 1).end == .end)
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
