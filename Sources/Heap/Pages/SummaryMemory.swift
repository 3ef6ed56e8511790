// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The memory of the page allocator's summaries: one reservation with three arrays in it.
//
//   owned    a bit for each arena of the address space: whether it is the heap's
//   upper    the entries of the levels above the leaves, the root's first (PageSummary)
//   leaves   one entry for each chunk, packed into 32 bits
//
// The arrays have a place for everything in 256 TiB. `owned` is committed at once. Of the others
// only the entries of arenas that the heap has are committed, before the tree takes the arenas
// in. That is a handful of system calls, and the tree is used under the page heap's lock, which
// is not held across system calls: so committing is apart from the tree.
//
// Guarded by  the lock for growth (PageHeap), while `commit` runs.

/// The reserved addresses of a `PageSummaryTree`.
@safe package struct SummaryMemory: Sendable {
  private let base: UInt

  // Three arrays, each from a page of the system on (64 KiB is the largest there is): a bit for
  // each arena, whether the heap owns it; the levels above the leaves; the leaves, packed.

  static var ownedOffset: Int { 0 }
  static var upperOffset: Int { wholePages(Geometry.arenaCount / 8) }
  static var leafOffset: Int {
    let upperEntries = PageSummaryTree.Level.leaves.offset
    return upperOffset + wholePages(upperEntries * MemoryLayout<PageSummary>.stride)
  }

  /// Bytes of addresses that a tree reserves; the part in use is a millionth of the heap.
  package static var reservedSize: Int {
    leafOffset + PageSummaryTree.Level.leaves.entryCount * MemoryLayout<UInt32>.stride
  }

  private static func wholePages(_ bytes: Int) -> Int {
    Int(UInt(bytes).aligned(up: 64 << 10))
  }

  static func reserve() throws(SystemFailure) -> SummaryMemory {
    let base = try VirtualMemory.reserve(
      size: reservedSize, alignment: VirtualMemory.systemPageSize)
    do {
      // Which arenas are ours can be asked of any page. Untouched words have no memory.
      try VirtualMemory.commit(base, size: upperOffset)
    } catch {
      VirtualMemory.release(base, size: reservedSize)
      throw error
    }
    return SummaryMemory(base: base)
  }

  func release() { VirtualMemory.release(base, size: Self.reservedSize) }

  func array<T>(at offset: Int) -> UnsafeMutablePointer<T> {
    let start = unsafe UnsafeMutableRawPointer(bitPattern: base + UInt(offset))
    return unsafe start.unsafelyUnwrapped.assumingMemoryBound(to: T.self)
  }

  /// Commits the entries of some arenas on all levels, with their siblings. Entries that are
  /// committed already are not changed, so other threads may use them meanwhile.
  package func commit(_ arenas: ClosedRange<ArenaIndex>) throws(SystemFailure) {
    for number in 0...PageSummaryTree.Level.leaves.number {
      let level = PageSummaryTree.Level(number)
      let fanOut = PageSummaryTree.fanOut
      let entries = level.entries(of: arenas.chunks)
      var first = entries.lowerBound & ~(fanOut - 1)
      var end = (entries.upperBound | (fanOut - 1)) + 1
      if level == .root { (first, end) = (0, level.entryCount) }
      let (start, stride) =
        level == .leaves
        ? (Self.leafOffset, MemoryLayout<UInt32>.stride)
        : (
          Self.upperOffset + level.offset * MemoryLayout<PageSummary>.stride,
          MemoryLayout<PageSummary>.stride
        )
      let page = UInt(VirtualMemory.systemPageSize)
      let from = (base + UInt(start + first * stride)) & ~(page - 1)
      let to = (base + UInt(start + end * stride)).aligned(up: page)
      try VirtualMemory.commit(from, size: Int(to - from))
    }
  }
}
