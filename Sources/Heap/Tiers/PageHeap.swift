// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The page heap: all pages and span records of a heap.
//
// It has arenas (64 MiB of reserved addresses each, with side tables), a page allocator over
// them, and the records of dead spans. A span is made from free pages and is given back as free
// pages. There is no list of free spans, so the pages of an empty span can serve any class next.
//
// Two locks that allocation may wait for. `state` guards the pages and the records, and is held for a few loads and stores.
// `growth` is held by the one thread that adds arenas or gives memory back: it makes its system
// calls without `state`, and takes `state` for a moment to add the pages or to take them out. So
// threads that find free pages go on meanwhile. A thread that finds none waits for `growth` and
// then looks again (PageHeap+Growth.swift).
//
// A request that is refused, by the limit or by the system, leaves everything as it was.
//
// Invariant   a free page's slot bits are all zero; its entry and its layout are 0.
//             a span of a small class lies in one arena, so that its bits lie in a row.
//             a page whose `released` bit is set is free and reads as zero. It has no memory, unless
//             a huge page was prepared there (PageHeap+HugePages.swift).
// Guarded by  these locks; `conversion` keeps the making of huge pages apart from giving back. Zeroing
//             and filling in a span's record need none: the caller owns the pages by then.
// Lock order  LockRank: `conversion` and then `growth` outside, `state` inside, records and tables
//             innermost.
//
// Overview: Documentation/AllocatorTiers.md

internal import Synchronization

/// Pages and spans: where every other tier's memory comes from.
package final class PageHeap: Sendable {
  /// What is done about huge pages in an arena.
  package enum HugePagePolicy: Sendable { case automatic, system, always, never }

  struct State: ~Copyable {
    var pages: PageAllocator
    /// The heap's arenas, ascending.
    var arenas: [ArenaIndex] = []
    /// Records of dead spans.
    var dead = SpanStack()
    var pagesInUse = 0
    /// Free pages whose `released` bit is set.
    var releasedPages = 0
    var spanCount = 0
    var huge = HugePageState()
  }

  package struct Growth {
    /// Where the next arena should be: behind the last one.
    package var nextArena: ArenaIndex
  }

  let state: HeapLock<State>
  /// `package`: a test holds it, to be the thread that grows the heap.
  package let growth: HeapLock<Growth>
  /// Held by who makes a huge page or gives memory back: one at a time, and nobody else waits.
  let conversion = HeapLock((), rank: .conversion)
  /// To be committed before arenas are added: outside of `state`.
  let summaries: SummaryMemory
  let hugePages: HugePagePolicy
  /// The collector's thread makes huge pages.
  let makesHugePages: Bool
  /// Addresses of a huge range (`fetchHugePage`), or 0. Owner: the collector's thread.
  let spareRange = Atomic<UInt>(0)
  /// Set: allocation has come to the memory that was prepared for it, and more is wanted.
  let asksForHugePages = Atomic<Bool>(false)
  /// More pages than this are never in use at a time.
  let pageLimit: Int
  /// The same in bytes, as it was given; nil: there is none.
  private let byteLimit: Int?
  package let memory = RecordMemory()
  /// What the tables of this heap's arenas say in `owner`; never 0, never used again.
  package let owner: UInt

  /// Pages that the machine has. A larger span is refused: addresses for it could often be had,
  /// and setting up their tables would take seconds before the first touch failed.
  private static let machinePages = VirtualMemory.physicalMemory >> Int(Geometry.pageShift)

  private static let owners = Atomic<UInt>(0)

  package init(hugePages: HugePagePolicy, byteLimit: Int?) throws(SystemFailure) {
    let pages = try PageAllocator()
    summaries = pages.summaryMemory
    state = HeapLock(State(pages: pages), rank: .pageHeap)
    // Anywhere in the low half of user space, far above a program and far below its libraries.
    let place = ArenaIndex(holding: 0x1000_0000_0000).advanced(by: .random(in: 0..<0x4_0000))
    growth = HeapLock(Growth(nextArena: place), rank: .growth)
    self.hugePages = hugePages
    makesHugePages = hugePages == .automatic && VirtualMemory.canMakeHugePages
    self.byteLimit = byteLimit
    pageLimit = byteLimit.map { $0 >> Int(Geometry.pageShift) } ?? Int.max
    owner = Self.owners.add(1, ordering: .relaxed).newValue
  }

  deinit {
    for arena in state.withLock({ $0.arenas }) {
      ArenaTables.of(arena.address).withdraw(arena)
      VirtualMemory.release(arena.address, size: Geometry.arenaSize)
    }
    // Relaxed: the collector's thread has been joined.
    let spareRange = spareRange.load(ordering: .relaxed)
    if spareRange != 0 { VirtualMemory.release(spareRange, size: HugeRange.size) }
  }

  // MARK: - Limits

  /// Pages of a span at the most. More are refused, whatever else is in use.
  package var largestRequest: Int { min(pageLimit, Self.machinePages) }

  /// The hard limit in bytes if it is what refuses a request of `bytes`; nil if it is the system.
  package func limit(refusing bytes: Int) -> Int? {
    guard pageLimit < .max else { return nil }
    let pages = Geometry.pages(toHold: bytes) ?? .max
    let isReached = state.withLock { pages > pageLimit - $0.pagesInUse }
    return isReached ? byteLimit : nil
  }

  // MARK: - Making spans

  /// A span of free slots for a shelf: fresh, owned by the caller, on no list, and of the
  /// caller's generation. Nil when the limit is reached or the system has no memory.
  ///
  /// - Parameter pageCount: how many pages; more than a class has for large objects only.
  package func makeSpan(
    for shelf: SpanShelf, pageCount: Int, generation: Generation
  ) -> HeapSpan? {
    let mayCross = shelf.spanClass.sizeClass.isLarge
    guard let taken = take(Request(pageCount: pageCount, mayCross: mayCross)) else { return nil }
    initialize(taken, shelf: shelf, generation: generation)
    shelf.countSpans(1)
    return taken.span
  }

  /// What pages are looked for.
  struct Request {
    var pageCount: Int
    /// They may lie in two arenas, or more.
    var mayCross: Bool
  }

  /// What a new span is made of.
  struct Taken {
    var span: HeapSpan
    var pages: PageRange
    /// Some of the pages were used before.
    var needsZero: Bool
  }

  /// What a look for pages found.
  enum Found {
    case taken(Taken)
    /// More than the limit, or than the machine has.
    case tooMany
    /// No record of a dead span.
    case noRecord
    /// Not so many free pages in a row.
    case noPages
  }

  /// A record and free pages for a span. What is missing is got from the system, with no lock
  /// held that threads need which find what they look for.
  private func take(_ request: Request) -> Taken? {
    var found = state.withLock { take(request, &$0) }
    while true {
      switch found {
      case .taken(let taken): return taken
      case .tooMany: return nil
      case .noRecord:
        guard makeRecords() else { return nil }
        found = state.withLock { take(request, &$0) }
      case .noPages:
        guard let grown = grow(for: request) else { return nil }
        found = grown
      }
    }
  }

  /// One look, with the lock held. Nothing has changed unless the answer is `.taken`.
  func take(_ request: Request, _ state: inout State) -> Found {
    let pageCount = request.pageCount
    guard pageCount <= min(pageLimit - state.pagesInUse, Self.machinePages) else {
      return .tooMany
    }
    guard !state.dead.isEmpty else { return .noRecord }
    let found =
      request.mayCross
      ? state.pages.allocate(pageCount) : Self.allocateInOneArena(pageCount, &state.pages)
    guard let pages = found, let span = state.dead.pop() else { return .noPages }
    var released = 0
    defer { if released > 0 { noteFreshPages(from: pages.start, &state) } }
    pages.forEachChunk { chunk, places in
      let bits = ArenaTables.of(chunk.address).releasedPages(of: chunk)
      released += bits.count(in: places)
      bits.remove(places)
    }
    state.releasedPages -= released
    state.pagesInUse += pageCount
    state.spanCount += 1
    return .taken(Taken(span: span, pages: pages, needsZero: released < pageCount))
  }

  /// Free pages that lie in one arena, the lowest there are; nil if there are none.
  private static func allocateInOneArena(
    _ count: Int, _ pages: inout PageAllocator
  ) -> PageRange? {
    // The lowest pages lie across a border, and there are too few before it. They are kept aside,
    // so that the next look finds others.
    var aside: [PageRange] = []
    defer { for across in aside { pages.free(across) } }
    while let found = pages.allocate(count) {
      let last = found.end + -1
      guard found.start.arena != last.arena else { return found }
      // Behind the border there may be enough, of which some have just been taken.
      pages.free(found)
      let behind = PageRange(last.arena.pages.start, count: count)
      if pages.areFree(behind) {
        pages.take(behind)
        return behind
      }
      pages.take(found)
      aside.append(found)
    }
    return nil
  }

  /// Records made at a time. More wastes memory in a small heap, less takes the lock more often
  /// while a heap grows.
  private static var recordBatch: Int { 16 }

  /// Makes records for spans to come; whether there was memory.
  private func makeRecords() -> Bool {
    var made = SpanStack()
    while made.count < Self.recordBatch,
      let address = try? memory.allocate(size: MemoryLayout<SpanRecord>.size)
    {
      made.push(HeapSpan(address: address))
    }
    guard !made.isEmpty else { return false }
    state.withLock { $0.dead.push(made.popAll()) }
    return true
  }

  /// Fills the record in and makes the pages lead to it, in this order.
  /// See Note [Publishing a span].
  private func initialize(_ taken: Taken, shelf: SpanShelf, generation: Generation) {
    let (span, pages) = (taken.span, taken.pages)
    let spanClass = shelf.spanClass
    let sizeClass = spanClass.sizeClass
    let first = pages.start
    let markBits = ArenaTables.of(first.address).slotBits(
      ArenaTables.Layout.marks, first.inArena)
    unsafe span.record.initialize(
      to: SpanRecord(
        base: first.address,
        slotSize: UInt(sizeClass.isLarge ? pages.byteCount : sizeClass.slotSize),
        markBits: markBits, layout: shelf.layout,
        slotCount: sizeClass.isLarge ? 1 : UInt32(sizeClass.slotsPerSpan),
        reciprocal: sizeClass.reciprocal, starts: sizeClass.starts, freeIndex: Atomic(0),
        generation: Atomic(generation.bits), allocatedCount: 0, pageCount: UInt32(pages.count),
        spanClass: spanClass, isLive: true, isTouched: true, needsZero: taken.needsZero,
        listNext: 0, shelf: shelf.address, heldCount: 0))
    let (entry, layout) = (PageEntry(span), PageLayout(shelf.layout, spanClass))
    pages.forEach { page in
      let tables = ArenaTables.of(page.address)
      // Releasing: pairs with the address dependency of those who read them.
      unsafe tables.entry(page.inArena).pointee.store(entry.bits, ordering: .releasing)
      unsafe tables.layout(page.inArena).pointee.store(layout.bits, ordering: .releasing)
    }
  }

  // MARK: - Freeing spans

  /// Makes a span's pages free again.
  /// - Precondition: the caller owns it, and all its slots are free.
  package func freeSpan(_ span: HeapSpan) {
    var spans = SpanStack()
    spans.push(span)
    freeSpans(spans)
  }

  /// Makes the pages of several spans free again, under one lock.
  /// - Precondition: the caller owns them, and all their slots are free.
  package func freeSpans(_ spans: consuming SpanStack) {
    guard !spans.isEmpty else { return }
    spans.forEach { span in
      require(span.isLive && span.usedCount == 0, "only an empty live span is freed")
      unsafe span.record.pointee.isLive = false
      span.shelf.countSpans(-1)
      span.pages.forEach { page in
        let tables = ArenaTables.of(page.address)
        unsafe tables.layout(page.inArena).pointee.store(0, ordering: .relaxed)
        unsafe tables.entry(page.inArena).pointee.store(0, ordering: .relaxed)
      }
    }
    state.withLock { state in
      spans.forEach { span in
        state.pages.free(span.pages)
        state.pagesInUse -= span.pageCount
      }
      state.spanCount -= spans.count
      state.dead.push(spans.popAll())
    }
  }

  // MARK: - Looking at everything

  /// The arenas, as of now.
  package var arenas: [ArenaIndex] { state.withLock { $0.arenas } }

  /// Makes every object white.
  ///
  /// Goes through the tables of the pages in use, and touches no record.
  ///
  /// - Precondition: nobody marks, sweeps or allocates black.
  /// - Complexity: O(pages).
  package func clearMarks() {
    for arena in arenas {
      let tables = ArenaTables.of(arena.address)
      arena.pages.forEach { page in
        // Relaxed: of a span that another thread makes meanwhile nothing is marked.
        if unsafe tables.layout(page.inArena).pointee.load(ordering: .relaxed) != 0 {
          tables.clearSlotBits(ArenaTables.Layout.marks, page.inArena)
        }
      }
    }
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
    /// Ranges where huge pages were made, or at least tried.
    package var hugeBytes: Int
  }

  package var usage: Usage {
    state.withLock { state in
      let (ranges, prepared) = Self.countHuge(state)
      return Usage(
        arenaBytes: state.arenas.count * Geometry.arenaSize,
        spanBytes: state.pagesInUse * Geometry.pageSize,
        releasedBytes: (state.releasedPages - prepared) * Geometry.pageSize,
        spanCount: state.spanCount, hugeBytes: ranges * HugeRange.size)
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
        releasedPages += Self.check(arena) { problems.append($0) }
      }
      if releasedPages != state.releasedPages {
        problems.append("\(releasedPages) pages are released, counted are \(state.releasedPages)")
      }
      return problems
    }
    problems.forEach(report)
  }

  /// Reports what is wrong with an arena's page bits and entries; how many pages are released.
  private static func check(_ arena: ArenaIndex, _ report: (String) -> Void) -> Int {
    let tables = ArenaTables.of(arena.address)
    var count = 0
    for chunk in arena.chunks {
      let (free, released) = (tables.freePages(of: chunk), tables.releasedPages(of: chunk))
      for place in 0..<PageBitmap.pageCount {
        let page = chunk.firstPage + place
        let isFree = free.containsAll(place..<place + 1)
        let isReleased = released.containsAll(place..<place + 1)
        if isReleased { count += 1 }
        if isReleased && !isFree { report("page \(page) is released and in use") }
        let hasSpan = unsafe tables.entry(page.inArena).pointee.load(ordering: .relaxed) != 0
        if isFree == hasSpan { report("\(page): free is \(isFree), has span is \(hasSpan)") }
        let hasLayout = unsafe tables.layout(page.inArena).pointee.load(ordering: .relaxed) != 0
        if hasLayout != hasSpan {
          report("\(page): has span is \(hasSpan), has layout is \(hasLayout)")
        }
      }
    }
    return count
  }
}
