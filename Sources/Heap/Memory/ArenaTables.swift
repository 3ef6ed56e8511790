// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// An arena's side tables, and the index that finds them.
//
// Everything that is known about the memory of an arena lies beside it, never in it. The pages
// hold objects and nothing else: a page of 16-byte slots has exactly 512 of them, and marking
// touches no object that it does not scan.
//
//   cards       4 B a page    one byte for 2 KiB: references were stored there (CardTable)
//   entries     8 B a page    page → span (PageEntry)
//   layouts     8 B a page    page → layout, size class, noscan: what marking reads (PageLayout)
//   marks       64 B a page   gcmarkBits   one bit for 16 bytes, set where a slot starts: the
//   allocated   64 B a page   allocBits    bit's address is arithmetic (SlotBits)
//   held        64 B a page                written in checked mode only
//   free        1 bit a page  the page allocator's bitmap, by chunk
//   released    1 bit a page  the page reads as zero and has no memory behind it
//   owner       a word        which heap the arena belongs to
//   huge        1 bit a 2 MiB a huge page was asked for there
//
// 64 bytes a page are a bit for each 16 bytes, the smallest slot, and are one cache line. For an
// arena of 64 MiB all tables make 1.7 MiB of addresses, 2.6 % of the heap. What is never touched
// is never backed: without checked mode 1.2 MiB are, 1.8 %, and none for pages never used.
//
// The index of all arenas is one flat table in the C shims: 4 M entries for the 48-bit space,
// backed where they are touched. So any word whatever can be looked up, with two dependent loads
// from address to span. Arenas of different heaps share the index; `owner` tells them apart.
//
// Tables are never unmapped, because a thread may be looking up a stale word of its stack while
// the heap that had the arena ends. They go to a pool, emptied, and serve the next arena.
//
// Ordering    See Note [Publishing a span] in Documentation/MemoryOrdering.md.
// Guarded by  the pool: its lock. Each table names its own protection.

public import CHeapShims
public import Synchronization

/// The side tables of one arena: a handle to memory laid out as the head of the file says.
@safe @frozen @usableFromInline package struct ArenaTables: Hashable, @unchecked Sendable {
  // Sendable: a plain address; each table names its own protection.
  @usableFromInline package let base: UInt

  @inlinable package init(base: UInt) { self.base = base }

  /// Where the tables lie from `base` on, in bytes.
  @usableFromInline package enum Layout {
    /// Bytes of slot bitmap for a page: a bit for each granule.
    @inlinable package static var bitsStride: UInt {
      UInt(Geometry.pageSize) / Geometry.granuleSize / 8
    }
    /// Words of slot bitmap for a page.
    @inlinable package static var wordsPerPage: Int { Int(bitsStride) / 8 }
    @inlinable static var slotTableSize: UInt { UInt(Geometry.pagesPerArena) * bitsStride }
    /// Bytes of page bitmap for a chunk, and for an arena.
    @inlinable static var chunkTableSize: UInt { UInt(Geometry.pagesPerChunk) / 8 }
    @inlinable static var pageTableSize: UInt { UInt(Geometry.pagesPerArena) / 8 }

    // First, so that a card's address is the tables' plus the card's number (`heap_card_mark`).
    @inlinable static var cards: UInt { 0 }
    @inlinable package static var entries: UInt {
      cards + UInt(Geometry.arenaSize >> Int(HEAP_CARD_SHIFT))
    }
    @inlinable package static var layouts: UInt { entries + UInt(Geometry.pagesPerArena) * 8 }
    @inlinable package static var marks: UInt { layouts + UInt(Geometry.pagesPerArena) * 8 }
    @inlinable package static var allocated: UInt { marks + slotTableSize }
    @inlinable package static var held: UInt { allocated + slotTableSize }
    @inlinable package static var free: UInt { held + slotTableSize }
    @inlinable package static var released: UInt { free + pageTableSize }
    @inlinable package static var owner: UInt { released + pageTableSize }
    @inlinable package static var huge: UInt { owner + 8 }
    /// Bytes of all tables: whole pages of 64 KiB, the largest of any system.
    @inlinable package static var size: Int { Int((huge + 8).aligned(up: 64 << 10)) }
  }

  // MARK: - Looking up

  /// The tables of the arena that holds `address`, which may be any word.
  @inlinable @inline(__always)
  package static func find(_ address: UInt) -> ArenaTables? {
    guard address < 1 << Geometry.addressBits else { return nil }
    let base = heap_arena_tables(address >> Geometry.arenaShift)
    return base == 0 ? nil : ArenaTables(base: UInt(base))
  }

  /// The tables of the arena that holds `address`.
  /// - Precondition: the address is in an arena.
  @inlinable @inline(__always)
  package static func of(_ address: UInt) -> ArenaTables {
    ArenaTables(base: UInt(heap_arena_tables(address >> Geometry.arenaShift)))
  }

  // MARK: - Fields

  /// Which heap the arena belongs to: a number that no other living heap has.
  /// Written before the arena is published and after it is withdrawn, relaxed: a reader of
  /// another heap sees some number that is not its own.
  @inlinable package var owner: UInt {
    get { heap_load_word(base &+ Layout.owner) }
    nonmutating set {
      unsafe pointer(Layout.owner).assumingMemoryBound(to: Atomic<UInt>.self)
        .pointee.store(newValue, ordering: .relaxed)
    }
  }

  /// A page's entry (PageEntry). Owner: whoever owns the span of the page. Ordering: releasing
  /// store, relaxed load and an address dependency, see Note [Publishing a span].
  @inlinable @inline(__always)
  package func entry(_ pageInArena: Int) -> UnsafeMutablePointer<Atomic<UInt>> {
    unsafe pointer(Layout.entries &+ UInt(bitPattern: pageInArena) &* 8)
      .assumingMemoryBound(to: Atomic<UInt>.self)
  }

  /// What the objects of a page are like (PageLayout). Owner and ordering: as of the entry.
  @inlinable @inline(__always)
  package func layout(_ pageInArena: Int) -> UnsafeMutablePointer<Atomic<UInt>> {
    unsafe pointer(Layout.layouts &+ UInt(bitPattern: pageInArena) &* 8)
      .assumingMemoryBound(to: Atomic<UInt>.self)
  }

  /// The address of a slot bitmap, from the bits of a page on.
  @inlinable @inline(__always)
  package func slotBits(_ table: UInt, _ pageInArena: Int) -> UInt {
    base &+ table &+ UInt(bitPattern: pageInArena) &* Layout.bitsStride
  }

  /// The free pages of one of the arena's chunks. Guarded by: the page heap's lock.
  package func freePages(of chunk: ChunkIndex) -> PageBitmap { pageBits(Layout.free, chunk) }

  /// The pages of one of the arena's chunks that read as zero and have no memory behind them: they
  /// were never used, or were given back. Guarded by: the page heap's lock.
  package func releasedPages(of chunk: ChunkIndex) -> PageBitmap {
    pageBits(Layout.released, chunk)
  }

  /// Whether a huge page was asked for in a range of the arena, and no memory there given back since.
  /// Guarded by: the page heap's locks `growth` and `state`: written with both, read with either.
  package func isHuge(_ range: HugeRange) -> Bool { huge & 1 << UInt64(range.inArena) != 0 }

  package func setHuge(_ range: HugeRange, to isHuge: Bool) {
    if isHuge { huge |= 1 << UInt64(range.inArena) } else { huge &= ~(1 << UInt64(range.inArena)) }
  }

  /// A bit for each huge range. Guarded by: as `isHuge`.
  package private(set) var huge: UInt64 {
    get { unsafe pointer(Layout.huge).load(as: UInt64.self) }
    nonmutating set { unsafe pointer(Layout.huge).storeBytes(of: newValue, as: UInt64.self) }
  }

  /// Clears the bits of a page in a slot bitmap.
  package func clearSlotBits(_ table: UInt, _ pageInArena: Int) {
    let line = slotBits(table, pageInArena) &- base
    for word in 0..<UInt(Layout.wordsPerPage) {
      let bits = unsafe pointer(line &+ word &* 8).assumingMemoryBound(to: Atomic<UInt>.self)
      // Looked at first: memory that was never written stays without backing.
      guard unsafe bits.pointee.load(ordering: .relaxed) != 0 else { continue }
      unsafe bits.pointee.store(0, ordering: .relaxed)
    }
  }

  private func pageBits(_ table: UInt, _ chunk: ChunkIndex) -> PageBitmap {
    let place = table &+ UInt(bitPattern: chunk.inArena) &* Layout.chunkTableSize
    return unsafe PageBitmap(pointer(place).assumingMemoryBound(to: UInt64.self))
  }

  @inlinable @inline(__always)
  func pointer(_ offset: UInt) -> UnsafeMutableRawPointer {
    // SAFETY: within the tables, which stay mapped for ever.
    unsafe UnsafeMutableRawPointer(bitPattern: base &+ offset).unsafelyUnwrapped
  }

  // MARK: - Coming and going

  /// Tables that no arena uses, all zero.
  private static let pool = HeapLock<[ArenaTables]>([], rank: .records)

  /// Gives an arena tables of its own and publishes them.
  package static func publish(
    _ arena: ArenaIndex, owner: UInt
  ) throws(SystemFailure) -> ArenaTables {
    let pooled = pool.withLock { $0.popLast() }
    let tables: ArenaTables
    if let pooled { tables = pooled } else { tables = try make() }
    tables.owner = owner
    heap_arena_publish(arena.number, tables.base)
    return tables
  }

  private static func make() throws(SystemFailure) -> ArenaTables {
    let base = try VirtualMemory.reserve(
      size: Layout.size, alignment: VirtualMemory.systemPageSize)
    do throws(SystemFailure) {
      try VirtualMemory.commit(base, size: Layout.size)
    } catch {
      VirtualMemory.release(base, size: Layout.size)
      throw error
    }
    return ArenaTables(base: base)
  }

  /// Takes an arena out of the index; its tables go to the pool.
  package func withdraw(_ arena: ArenaIndex) {
    heap_arena_publish(arena.number, 0)
    // Tables that cannot be emptied are not used again: 2 MiB are lost, nothing else.
    guard (try? VirtualMemory.discard(base, size: Layout.size)) != nil else { return }
    Self.pool.withLock { $0.append(self) }
  }
}
