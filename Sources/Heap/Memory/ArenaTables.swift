// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// An arena's side tables, and the index that finds them.
//
// Everything that is known about the memory of an arena lies beside it, never in it: the
// object pages hold objects and nothing else, so a span of 16-byte slots has exactly 512
// of them, and marking touches no object that it does not scan.
//
//   entries     8 B a page     page → span, packed (PageEntry)
//   marks       128 B a page   gcmarkBits   one bit a slot; a span's bits start at those of
//   scanned     128 B a page                its first page, so their address is arithmetic
//   allocated   128 B a page   allocBits
//   free        1 bit a page   the page allocator's bitmap, by chunk
//   released    1 bit a page   1: reads as zero and has no memory behind it
//
// 128 bytes a page are enough for the smallest slot, 8 bytes. Per 64 MiB arena that is
// 3.07 MiB of addresses, 4.8 % of the heap at the most; what is never touched is never
// backed, and spans of 32-byte slots touch a quarter of it.
//
// The index of all arenas is one flat table in the C shims (4 M entries for the 48-bit
// space, lazily backed), so any word whatever can be looked up: two dependent loads from
// address to span. Arenas of different heaps share the index; `owner` tells them apart.
//
// Tables are never unmapped: a thread may be looking up a stale word of its stack while the
// heap that had that arena ends. They go to a pool, emptied, and serve the next arena.
//
// Ordering    See Note [Publishing a span] in Documentation/MemoryOrdering.md.

public import CHeapShims
public import Synchronization

/// The side tables of one arena: a handle to memory laid out as the head of the file says.
@safe @frozen @usableFromInline package struct ArenaTables: Hashable, @unchecked Sendable {
  // Sendable: a plain address; each table names its own protection.
  @usableFromInline package let base: UInt

  @inlinable package init(base: UInt) { self.base = base }

  /// Where the tables lie from `base` on, in bytes.
  @usableFromInline package enum Layout {
    @inlinable package static var entries: UInt { 0 }
    @inlinable package static var marks: UInt { 64 << 10 }
    @inlinable package static var scanned: UInt { marks + (1 << 20) }
    @inlinable package static var allocated: UInt { scanned + (1 << 20) }
    @inlinable package static var free: UInt { allocated + (1 << 20) }
    @inlinable package static var released: UInt { free + 1024 }
    @inlinable package static var owner: UInt { released + 1024 }
    @inlinable package static var size: Int { (64 << 10) + (3 << 20) + 4096 }
    /// Bytes of slot bitmap for a page.
    @inlinable package static var bitsStride: UInt { 128 }
  }

  // MARK: - Looking up

  /// The tables of the arena that holds `address`, which may be any word.
  @inlinable @inline(__always)
  package static func find(_ address: UInt) -> ArenaTables? {
    guard address < 1 << Geometry.addressBits else { return nil }
    let base = heap_arena_tables(address >> Geometry.arenaShift)
    return base == 0 ? nil : ArenaTables(base: UInt(base))
  }

  /// The tables of the arena that holds `address`, known to be in an arena.
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

  /// A page's entry. Owner: whoever owns the span of the page. Ordering: releasing store,
  /// relaxed load and an address dependency, see Note [Publishing a span].
  @inlinable @inline(__always)
  package func entry(_ pageInArena: Int) -> UnsafeMutablePointer<Atomic<UInt>> {
    unsafe pointer(Layout.entries &+ UInt(bitPattern: pageInArena) &* 8)
      .assumingMemoryBound(to: Atomic<UInt>.self)
  }

  /// The address of a slot bitmap, from the bits of a page on.
  @inlinable @inline(__always)
  package func slotBits(_ table: UInt, _ pageInArena: Int) -> UInt {
    base &+ table &+ UInt(bitPattern: pageInArena) &* Layout.bitsStride
  }

  /// The eight words of a page bitmap (`free` or `released`) that belong to a chunk.
  /// Guarded by: the page heap's lock.
  @inlinable package func chunkBits(
    _ table: UInt, chunkInArena: Int
  ) -> UnsafeMutablePointer<UInt64> {
    unsafe pointer(table &+ UInt(bitPattern: chunkInArena) &* 64)
      .assumingMemoryBound(to: UInt64.self)
  }

  @inlinable @inline(__always)
  func pointer(_ offset: UInt) -> UnsafeMutableRawPointer {
    // SAFETY: within the tables, which stay mapped for ever.
    unsafe UnsafeMutableRawPointer(bitPattern: base &+ offset).unsafelyUnwrapped
  }

  // MARK: - Coming and going

  /// Tables that no arena uses, all zero.
  private static let pool = HeapLock<[ArenaTables]>([], rank: .records)

  /// Gives the arena at `address` tables of its own and publishes them.
  package static func publish(
    arena address: UInt, owner: UInt
  ) throws(SystemFailure) -> ArenaTables {
    let tables: ArenaTables
    if let pooled = pool.withLock({ $0.popLast() }) {
      tables = pooled
    } else {
      let base = try VirtualMemory.reserve(
        size: Layout.size, alignment: VirtualMemory.systemPageSize)
      do throws(SystemFailure) {
        try VirtualMemory.commit(base, size: Layout.size)
      } catch {
        VirtualMemory.release(base, size: Layout.size)
        throw error
      }
      tables = ArenaTables(base: base)
    }
    tables.owner = owner
    heap_arena_publish(address >> Geometry.arenaShift, tables.base)
    return tables
  }

  /// Takes the arena at `address` out of the index; its tables go to the pool.
  package func withdraw(arena address: UInt) {
    heap_arena_publish(address >> Geometry.arenaShift, 0)
    // A table that cannot be emptied is left out of use: correctness before 3 MiB.
    guard (try? VirtualMemory.discard(base, size: Layout.size)) != nil else { return }
    Self.pool.withLock { $0.append(self) }
  }
}
