// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// An arena's side tables, and the index that finds them.
//
// The index is the process's and other tests run beside these, so the arenas here are made up
// of addresses that no heap takes: publishing one touches its tables, never the arena.

import Heap
import Synchronization
import Testing

@Suite("Arena tables")
struct ArenaTablesTests {
  /// Addresses of made-up arenas, each given out once.
  private static let next = Atomic<UInt>(0x0800_0000_0000)

  private func someArena() -> ArenaIndex {
    ArenaIndex(holding: Self.next.add(UInt(Geometry.arenaSize), ordering: .relaxed).oldValue)
  }

  @Test("the tables lie one behind the other without overlapping, and fit")
  func layout() {
    typealias Layout = ArenaTables.Layout
    let pages = UInt(Geometry.pagesPerArena)
    #expect(UInt(Geometry.arenaSize) / CardTable.cardSize <= Layout.entries, "cards come first")
    #expect(Layout.entries + pages * 8 <= Layout.layouts)
    #expect(Layout.layouts + pages * 8 <= Layout.marks)
    #expect(Layout.marks + pages * Layout.bitsStride <= Layout.allocated)
    #expect(Layout.allocated + pages * Layout.bitsStride <= Layout.held)
    #expect(Layout.held + pages * Layout.bitsStride <= Layout.free)
    #expect(Layout.free + pages / 8 <= Layout.released)
    #expect(Layout.released + pages / 8 <= Layout.owner)
    #expect(Layout.owner + 8 <= UInt(Layout.size))
    #expect(Layout.bitsStride * 8 * 16 == UInt(Geometry.pageSize), "a bit for each 16 bytes")
    #expect(Layout.bitsStride == 64, "one cache line a page")
    for table in [Layout.marks, Layout.allocated, Layout.held] {
      #expect(table % 64 == 0, "a page's bits do not share a cache line with another's")
    }
    // What Documentation states as the share of the heap.
    #expect((0.026..<0.027).contains(Double(Layout.size) / Double(Geometry.arenaSize)))
  }

  @Test("any word can be looked up, and one outside every arena finds nothing")
  func anyWord() {
    for word in [0, 1, 0xffff_ffff, 1 << 48, 1 << 63, UInt.max] as [UInt] {
      #expect(ArenaTables.find(word) == nil)
    }
    #expect(ArenaTables.find(someArena().address) == nil)
  }

  @Test("a published arena is found from its first to its last byte, and no further")
  func published() throws {
    let arena = someArena()
    let tables = try ArenaTables.publish(arena, owner: 4711)
    defer { tables.withdraw(arena) }
    let start = arena.address
    let end = start + UInt(Geometry.arenaSize)
    for address in [start, start + 1, start + 12_345_678, end - 1] {
      #expect(ArenaTables.find(address) == tables)
      #expect(ArenaTables.of(address) == tables)
    }
    #expect(ArenaTables.find(start - 1) != tables)
    #expect(ArenaTables.find(end) != tables)
    #expect(tables.owner == 4711)
    // The same bits above the 48th are another word, not another spelling of the address.
    #expect(ArenaTables.find(start | 1 << 48) == nil)
  }

  @Test("the last arena of the address space is found like any other")
  func lastArena() async {
    // In a process of its own: there is one last arena, and other tests use it, too.
    await #expect(processExitsWith: .success) {
      let arena = ArenaIndex(holding: (1 << 48) - 1)
      require(ArenaTables.find((1 << 48) - 1) == nil, "found before it is published")
      let tables = try ArenaTables.publish(arena, owner: 1)
      require(ArenaTables.find((1 << 48) - 1) == tables, "not found")
      tables.withdraw(arena)
      require(ArenaTables.find((1 << 48) - 1) == nil, "found after it was withdrawn")
    }
  }

  @Test("a withdrawn arena is not found, and its tables serve the next one empty")
  func withdrawn() throws {
    for _ in 0..<3 {
      let arena = someArena()
      let tables = try ArenaTables.publish(arena, owner: 7)
      for page in [0, 1, 4095, 8191] {
        #expect(unsafe tables.entry(page).pointee.load(ordering: .relaxed) == 0)
        unsafe tables.entry(page).pointee.store(.max, ordering: .relaxed)
        #expect(unsafe tables.layout(page).pointee.load(ordering: .relaxed) == 0)
        unsafe tables.layout(page).pointee.store(.max, ordering: .relaxed)
        for table in [
          ArenaTables.Layout.marks, ArenaTables.Layout.allocated,
          ArenaTables.Layout.held,
        ] {
          let bits = tables.slotBits(table, page)
          #expect(word(at: bits) == 0)
          write(.max, at: bits)
        }
      }
      for chunk in arena.chunks {
        for pages in [tables.freePages(of: chunk), tables.releasedPages(of: chunk)] {
          #expect(pages.count() == 0)
          pages.insert(0..<512)
        }
      }
      #expect(tables.owner == 7, "no table reaches into the owner's word")
      tables.withdraw(arena)
      #expect(ArenaTables.find(arena.address) == nil)
      // A thread with a stale word may still look: the tables are there, and say nothing.
      #expect(unsafe tables.entry(8191).pointee.load(ordering: .relaxed) == 0)
    }
  }

  @Test("a page's bits are its own: those of two pages never share a byte")
  func bitsOfPages() throws {
    let arena = someArena()
    let tables = try ArenaTables.publish(arena, owner: 1)
    defer { tables.withdraw(arena) }
    let marks = ArenaTables.Layout.marks
    for page in 0..<(Geometry.pagesPerArena - 1) {
      #expect(tables.slotBits(marks, page + 1) - tables.slotBits(marks, page) == 64)
    }
  }
  @Test("clearing a page's bits clears all of them, and nothing of its neighbours")
  func clearing() throws {
    let arena = someArena()
    let tables = try ArenaTables.publish(arena, owner: 1)
    defer { tables.withdraw(arena) }
    let (marks, first) = (ArenaTables.Layout.marks, tables.slotBits(ArenaTables.Layout.marks, 8))
    for word in 0..<24 as Range<UInt> { write(.max, at: first + word * 8) }
    tables.clearSlotBits(marks, 9)
    for number in 0..<24 as Range<UInt> {
      #expect(word(at: first + number * 8) == ((8..<16).contains(number) ? 0 : .max))
    }
  }
}
