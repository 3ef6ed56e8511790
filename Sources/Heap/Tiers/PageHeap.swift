// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The page heap: all pages and span records of a heap, behind one lock.
//
// It has arenas (64 MiB of reserved addresses each, with side tables), a page allocator over
// them, and the records of spans that died. A span is made from free pages and given back as
// free pages; there is no list of free spans, so an empty span can serve any class next.
//
// Growth is contiguous while the system lets us have the addresses behind the last arena,
// and goes anywhere when it does not: a C library that has mapped the neighbouring addresses
// never stops the heap from growing. The first arena's address is random.
//
// Invariant   a free page's slot bits are all zero and its table entry is 0.
//             a page whose `released` bit is set reads as zero.
// Guarded by  the lock; zeroing and the record of a new span are outside of it, where the
//             caller already owns the pages.
// Lock order  PageHeap is innermost but for RecordMemory.
//
// Overview: Documentation/AllocatorTiers.md

internal import Synchronization

/// Pages and spans: where every other tier's memory comes from.
package final class PageHeap: Sendable {
  /// What is done about huge pages in an arena.
  package enum HugePagePolicy: Sendable { case system, always, never }

  private struct State: ~Copyable {
    var pages: PageAllocator
    /// Arenas by address: where each begins, ascending.
    var arenas: [UInt] = []
    var nextHint: UInt
    /// Records of dead spans.
    var dead: HeapSpan?
    var pagesInUse = 0
    /// Free pages without memory behind them.
    var releasedPages = 0
    var spanCount = 0
  }

  private let state: HeapLock<State>
  private let hugePages: HugePagePolicy
  /// More pages than this are never in use at a time.
  private let pageLimit: Int
  private let byteLimit: Int?
  package let memory = RecordMemory()
  /// What the tables of this heap's arenas say in `owner`; never 0, never used again.
  package let owner: UInt

  /// Pages of a span at the most: what the machine has. Addresses for more could often be had,
  /// and setting up their tables would take seconds before the first touch failed.
  private static let largestRequest = VirtualMemory.physicalMemory >> Int(Geometry.pageShift)

  private static let owners = Atomic<UInt>(0)

  package init(hugePages: HugePagePolicy, byteLimit: Int?) throws(SystemFailure) {
    // Anywhere in the low half of user space, far above a program and far below its libraries.
    let hint = UInt(0x1000_0000_0000) + UInt.random(in: 0..<0x4_0000) << Geometry.arenaShift
    state = HeapLock(State(pages: try PageAllocator(), nextHint: hint), rank: .pageHeap)
    self.hugePages = hugePages
    self.byteLimit = byteLimit
    pageLimit = byteLimit.map { $0 >> Int(Geometry.pageShift) } ?? Int.max
    owner = Self.owners.add(1, ordering: .relaxed).newValue
  }

  deinit {
    state.withLock { state in
      for arena in state.arenas {
        ArenaTables.of(arena).withdraw(arena: arena)
        VirtualMemory.release(arena, size: Geometry.arenaSize)
      }
    }
  }

  // MARK: - Limits

  /// Pages of a span at the most: more are refused whatever else is in use.
  package var largestRequest: Int { min(pageLimit, Self.largestRequest) }

  /// The hard limit in bytes if it is what refuses a request of `bytes`; nil if it is the system.
  package func limit(refusing bytes: Int) -> Int? {
    guard pageLimit < .max else { return nil }
    let pages = Geometry.pages(toHold: bytes) ?? .max
    let isReached = state.withLock { pages > pageLimit - $0.pagesInUse }
    return isReached ? byteLimit : nil
  }

  // MARK: - Spans

  /// A span of free slots for a shelf: fresh, owned by the caller, on no list, and of the
  /// caller's generation. Nil when the limit is reached or the system has no memory.
  ///
  /// - Parameter pageCount: how many pages; more than a class has for large objects only.
  package func makeSpan(
    for shelf: SpanShelf, pageCount: Int, generation: UInt32
  ) -> HeapSpan? {
    let taken = state.withLock { state -> (HeapSpan, PageIndex, Bool)? in
      guard pageCount <= min(pageLimit - state.pagesInUse, Self.largestRequest) else { return nil }
      guard let span = takeRecord(&state) else { return nil }
      guard let first = takePages(pageCount, &state) else {
        span.listNext = state.dead
        state.dead = span
        return nil
      }
      let released = Self.clearReleased(first, pageCount)
      state.releasedPages -= released
      state.pagesInUse += pageCount
      state.spanCount += 1
      return (span, first, released < pageCount)
    }
    guard let (span, first, isDirty) = taken else { return nil }
    initialize(
      span, at: first, pageCount: pageCount, shelf: shelf, generation: generation,
      needsZero: isDirty)
    shelf.countSpans(1)
    return span
  }

  /// Makes a span's pages free again.
  /// - Precondition: the caller owns it, and all its slots are free.
  package func freeSpan(_ span: HeapSpan) {
    require(span.isLive && span.allocatedCount == 0, "only an empty live span is freed")
    let first = span.firstPage
    let count = span.pageCount
    unsafe span.record.pointee.isLive = false
    span.shelf.countSpans(-1)
    for page in 0..<count {
      let index = first + page
      unsafe ArenaTables.of(index.address).entry(index.inArena).pointee
        .store(0, ordering: .relaxed)
    }
    state.withLock { state in
      state.pages.free(first, count)
      state.pagesInUse -= count
      state.spanCount -= 1
      span.listNext = state.dead
      state.dead = span
    }
  }

  private func takeRecord(_ state: inout State) -> HeapSpan? {
    if let span = state.dead {
      state.dead = span.listNext
      return span
    }
    guard let address = try? memory.allocate(size: MemoryLayout<SpanRecord>.size) else {
      return nil
    }
    return HeapSpan(address: address)
  }

  /// Fills the record in and makes the pages lead to it, in this order.
  /// See Note [Publishing a span].
  private func initialize(
    _ span: HeapSpan, at first: PageIndex, pageCount: Int, shelf: SpanShelf, generation: UInt32,
    needsZero: Bool
  ) {
    let spanClass = shelf.spanClass
    let sizeClass = spanClass.sizeClass
    let tables = ArenaTables.of(first.address)
    let bytes = pageCount << Int(Geometry.pageShift)
    unsafe span.record.initialize(
      to: SpanRecord(
        base: first.address,
        slotSize: sizeClass.isLarge ? UInt(bytes) : UInt(sizeClass.slotSize),
        markBits: tables.slotBits(ArenaTables.Layout.marks, first.inArena),
        layout: shelf.layout,
        slotCount: sizeClass.isLarge ? 1 : UInt32(sizeClass.slotsPerSpan),
        reciprocal: sizeClass.reciprocal, freeIndex: Atomic(0), queued: Atomic(false), queueNext: 0,
        sweepGeneration: Atomic(generation), allocatedCount: 0, pageCount: UInt32(pageCount),
        spanClass: spanClass, isLive: true, needsZero: needsZero, scanCursor: Atomic(0),
        listNext: 0, shelf: shelf.address))
    for page in 0..<pageCount {
      let index = first + page
      let entry = PageEntry(span: span, spanClass: spanClass, pageInSpan: page)
      // Releasing: pairs with the address dependency of PageEntry readers.
      unsafe ArenaTables.of(index.address).entry(index.inArena).pointee
        .store(entry.bits, ordering: .releasing)
    }
  }

  // MARK: - Pages

  private func takePages(_ count: Int, _ state: inout State) -> PageIndex? {
    if let first = state.pages.allocate(count) { return first }
    guard grow(by: count, &state) else { return nil }
    return state.pages.allocate(count)
  }

  /// Adds arenas until `count` contiguous pages are free; false when the system refuses.
  private func grow(by count: Int, _ state: inout State) -> Bool {
    let arenas = (count + Geometry.pagesPerArena - 1) / Geometry.pagesPerArena
    let size = arenas * Geometry.arenaSize
    guard
      let address = try? VirtualMemory.reserve(
        size: size, alignment: Geometry.arenaSize, hint: state.nextHint)
    else { return false }
    var published: [UInt] = []
    do throws(SystemFailure) {
      try VirtualMemory.commit(address, size: size)
      for arena in 0..<arenas {
        let start = address + UInt(arena * Geometry.arenaSize)
        let tables = try ArenaTables.publish(arena: start, owner: owner)
        published.append(start)
        for chunk in 0..<Geometry.chunksPerArena {
          let words = unsafe tables.chunkBits(
            ArenaTables.Layout.released, chunkInArena: chunk)
          for word in 0..<8 { unsafe words[word] = .max }
        }
      }
      try state.pages.grow(by: PageIndex(holding: address), count: size >> 13)
    } catch {
      for start in published { ArenaTables.of(start).withdraw(arena: start) }
      VirtualMemory.release(address, size: size)
      return false
    }
    switch hugePages {
    case .system: break
    case .always: VirtualMemory.adviseHugePages(address, size: size, wanted: true)
    case .never: VirtualMemory.adviseHugePages(address, size: size, wanted: false)
    }
    let place = state.arenas.firstIndex { $0 > address } ?? state.arenas.endIndex
    state.arenas.insert(contentsOf: published, at: place)
    state.releasedPages += size >> 13
    state.nextHint = address + UInt(size)
    return true
  }

  /// Clears the `released` bits of pages that are about to be used; how many were set.
  private static func clearReleased(_ first: PageIndex, _ count: Int) -> Int {
    var released = 0
    unsafe forEachChunk(first, count) { words, range in
      range.forEachWord { word, mask in
        released += unsafe (words[word] & UInt64(mask)).nonzeroBitCount
        unsafe words[word] &= ~UInt64(mask)
      }
    }
    return released
  }

  /// Calls `body` with the `released` bits of each chunk that the pages lie in.
  private static func forEachChunk(
    _ first: PageIndex, _ count: Int,
    _ body: (UnsafeMutablePointer<UInt64>, SlotRange) -> Void
  ) {
    var page = first
    let end = first + count
    while page < end {
      let inChunk = page.inArena & (Geometry.pagesPerChunk - 1)
      let length = min(Geometry.pagesPerChunk - inChunk, end - page)
      let words = unsafe ArenaTables.of(page.address).chunkBits(
        ArenaTables.Layout.released, chunkInArena: page.inArena / Geometry.pagesPerChunk)
      unsafe body(words, SlotRange(start: inChunk, end: inChunk + length))
      page = page + length
    }
  }

  // MARK: - Giving back

  /// Returns the memory behind every free page to the system. Bytes returned.
  ///
  /// The lock is held for one chunk at a time.
  package func releaseFreePages() -> Int {
    var bytes = 0
    for arena in state.withLock({ $0.arenas }) {
      for chunk in 0..<Geometry.chunksPerArena {
        bytes += state.withLock { releaseFreePages(arena: arena, chunk: chunk, &$0) }
      }
    }
    return bytes
  }

  private func releaseFreePages(arena: UInt, chunk: Int, _ state: inout State) -> Int {
    let tables = ArenaTables.of(arena)
    let free = unsafe tables.chunkBits(ArenaTables.Layout.free, chunkInArena: chunk)
    let released = unsafe tables.chunkBits(ArenaTables.Layout.released, chunkInArena: chunk)
    let start = arena + UInt(chunk * Geometry.chunkSize)
    var count = 0
    var page = 0
    while page < Geometry.pagesPerChunk {
      let (word, bit) = (page >> 6, UInt64(page & 63))
      let wanted = unsafe (free[word] & ~released[word]) >> bit
      if wanted == 0 {
        page = (page | 63) + 1
        continue
      }
      page += wanted.trailingZeroBitCount
      let first = page
      // Runs end at word borders: a few more calls, no more bookkeeping.
      let length = min(
        64 - (page & 63), (~(wanted >> UInt64(wanted.trailingZeroBitCount))).trailingZeroBitCount)
      page += length
      let address = start + UInt(first * Geometry.pageSize)
      guard
        (try? VirtualMemory.discard(address, size: length * Geometry.pageSize)) != nil
      else { continue }
      SlotRange(start: first, end: page).forEachWord { word, mask in
        unsafe released[word] |= UInt64(mask)
      }
      count += length
    }
    state.releasedPages += count
    return count * Geometry.pageSize
  }

  // MARK: - Figures

  /// What the page heap has taken and uses, in bytes.
  package struct Usage: Sendable {
    /// Addresses of all arenas.
    package var arenaBytes: Int
    /// Pages in spans.
    package var spanBytes: Int
    /// Free pages without memory behind them: never used, or given back.
    package var releasedBytes: Int
    package var spanCount: Int
  }

  package var usage: Usage {
    state.withLock { state in
      Usage(
        arenaBytes: state.arenas.count * Geometry.arenaSize,
        spanBytes: state.pagesInUse * Geometry.pageSize,
        releasedBytes: state.releasedPages * Geometry.pageSize, spanCount: state.spanCount)
    }
  }

  /// The longest stretch of free pages.
  package var longestFreeRun: Int { state.withLock { $0.pages.longestFreeRun } }

  package func checkInvariants(_ report: (String) -> Void) {
    let problems = state.withLock { state -> [String] in
      var problems: [String] = []
      state.pages.checkInvariants { problems.append($0) }
      let total = state.arenas.count * Geometry.pagesPerArena
      if state.pages.freePages + state.pagesInUse != total {
        problems.append(
          "\(state.pages.freePages) pages are free and \(state.pagesInUse) in use, of \(total)")
      }
      var releasedPages = 0
      for arena in state.arenas {
        let tables = ArenaTables.of(arena)
        for page in 0..<Geometry.pagesPerArena {
          let (chunk, inChunk) = (page / Geometry.pagesPerChunk, page % Geometry.pagesPerChunk)
          let bit = UInt64(1) << UInt64(inChunk & 63)
          let free = unsafe tables.chunkBits(ArenaTables.Layout.free, chunkInArena: chunk)
          let released = unsafe tables.chunkBits(ArenaTables.Layout.released, chunkInArena: chunk)
          let isFree = unsafe free[inChunk >> 6] & bit != 0
          let isReleased = unsafe released[inChunk >> 6] & bit != 0
          if isReleased { releasedPages += 1 }
          if isReleased && !isFree { problems.append("page \(page) is released and in use") }
          let hasSpan = unsafe tables.entry(page).pointee.load(ordering: .relaxed) != 0
          if isFree == hasSpan {
            problems.append("page \(page): free is \(isFree), has span is \(hasSpan)")
          }
        }
      }
      if releasedPages != state.releasedPages {
        problems.append("\(releasedPages) pages are released, counted are \(state.releasedPages)")
      }
      return problems
    }
    problems.forEach(report)
  }
}
