// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The page heap: pages and spans, and the system behind them.
//
// The tests look at the memory itself where they can: is it zero, is it there, can any class
// use it next. Refusals of the system are provoked at every call in turn, in a process of
// their own since the provocation is the process's.

import CHeapShims
import Foundation
import Glibc
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Page heap")
struct PageHeapTests {
  private static let arenaPages = Geometry.pagesPerArena

  // MARK: - Growth

  @Test("a heap takes its first arena with its first span, and none before")
  func firstArena() throws {
    let fixture = try SpanFixture()
    #expect(fixture.pages.usage.arenaBytes == 0)
    let span = try fixture.span(size: 64)
    let usage = fixture.pages.usage
    #expect(usage.arenaBytes == Geometry.arenaSize)
    #expect(usage.spanBytes == Geometry.pageSize && usage.spanCount == 1)
    #expect(usage.releasedBytes == Geometry.arenaSize - Geometry.pageSize)
    #expect(ArenaTables.find(span.base)?.owner == fixture.pages.owner)
    #expect(fixture.problems.isEmpty)
  }

  @Test("two heaps have two owners, and their spans are told apart")
  func owners() throws {
    let (a, b) = try (SpanFixture(), SpanFixture())
    #expect(a.pages.owner != b.pages.owner && a.pages.owner != 0 && b.pages.owner != 0)
    let (one, other) = try (a.span(size: 8), b.span(size: 8))
    #expect(ArenaTables.of(one.base).owner == a.pages.owner)
    #expect(ArenaTables.of(other.base).owner == b.pages.owner)
  }

  @Test(
    "arenas are taken side by side, and a large span may begin in one and end in the next",
    .disabled(if: Sanitizer.isThread, "arenas do not lie side by side"))
  func contiguous() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 40_000)  // Five pages.
    var spans: [HeapSpan] = []
    while spans.count < 2 * Self.arenaPages / 5 { spans.append(try fixture.span(on: shelf)) }
    let bases = spans.map(\.base)
    // Nothing else in the process takes addresses in this part of the space on purpose.
    #expect(bases == bases.indices.map { bases[0] + UInt($0 * 5 * Geometry.pageSize) })
    let crossing = try #require(
      spans.first { $0.firstPage.arena != ($0.firstPage + 4).arena })
    #expect(reports(crossing.checkInvariants).isEmpty)
    for page in 0..<5 {
      let address = (crossing.firstPage + page).address
      #expect(ArenaTables.find(address)?.owner == fixture.pages.owner)
    }
    #expect(fixture.pages.usage.arenaBytes == 2 * Geometry.arenaSize)
    #expect(fixture.problems.isEmpty)
  }

  // MARK: - Borders

  @Test("a span of a small class lies in one arena, and the pages before the border serve others")
  func borders() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 27264)  // Ten pages.
    let perArena = Self.arenaPages / 10
    let spans = try (0..<3 * perArena).map { _ in try fixture.span(on: shelf) }
    #expect(spans.allSatisfy { $0.firstPage.arena == ($0.firstPage + 9).arena })
    #expect(fixture.pages.usage.arenaBytes == 3 * Geometry.arenaSize)
    #expect(spans.flatMap { reports($0.checkInvariants) }.isEmpty)
    #expect(fixture.problems.isEmpty)
    // What is left before each border, two pages, is free for whom it fits.
    let arenas = Set(spans.map(\.firstPage.arena))
    for _ in 0..<6 {
      let page = try fixture.span(size: 64)
      #expect(arenas.contains(page.firstPage.arena))
      #expect(page.firstPage.inArena >= 10 * perArena)
    }
    #expect(fixture.problems.isEmpty)
  }

  /// Two arenas in use, in large spans of so many pages, and one of the rest.
  private static func spans(_ counts: [Int], in fixture: SpanFixture) throws -> [HeapSpan] {
    let shelf = try fixture.shelf(size: 40_000)
    return try (counts + [2 * arenaPages - counts.reduce(0, +)]).map { count in
      try #require(fixture.pages.makeSpan(for: shelf, pageCount: count, generation: 2))
    }
  }

  @Test(
    "of free pages across a border, those behind it are taken if they are enough",
    .disabled(if: Sanitizer.isThread, "arenas do not lie side by side"))
  func behindBorder() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 3072)  // Three pages.
    // Two pages before the border, and six behind it.
    let across = try Self.spans([Self.arenaPages - 2, 8], in: fixture)[1]
    across.freeAll(to: fixture.pages)
    let border = across.firstPage + 2
    #expect(border.inArena == 0)
    #expect(try fixture.span(on: shelf).firstPage == border)
    #expect(fixture.problems.isEmpty)
    #expect(try fixture.span(on: shelf).firstPage == border + 3)
    #expect(fixture.pages.usage.arenaBytes == 2 * Geometry.arenaSize)
    #expect(fixture.pages.longestFreeRun == 2)
    #expect(fixture.problems.isEmpty)
  }

  @Test(
    "free pages across a border that are too few on either side are left for others",
    .disabled(if: Sanitizer.isThread, "arenas do not lie side by side"))
  func acrossBorder() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 3072)  // Three pages.
    // Two pages before the border and two behind it; three in a row elsewhere, further up.
    let spans = try Self.spans([Self.arenaPages - 2, 4, 5, 3], in: fixture)
    let (across, exact) = (spans[1].firstPage, spans[3].firstPage)
    spans[1].freeAll(to: fixture.pages)
    spans[3].freeAll(to: fixture.pages)
    #expect(try fixture.span(on: shelf).firstPage == exact)
    #expect(fixture.pages.usage.arenaBytes == 2 * Geometry.arenaSize)
    #expect(fixture.problems.isEmpty)
    // There are no others: the heap grows.
    #expect(try fixture.span(on: shelf).firstPage.arena != exact.arena)
    #expect(fixture.pages.usage.arenaBytes == 3 * Geometry.arenaSize)
    #expect(fixture.problems.isEmpty)
    // A large object may lie across.
    let large = try fixture.shelf(size: 40_000)
    let crossing = fixture.pages.makeSpan(for: large, pageCount: 4, generation: 2)
    #expect(crossing?.firstPage == across)
  }

  @Test(
    "when somebody has the addresses behind the last arena, the heap grows elsewhere",
    .disabled(if: Sanitizer.isThread, "the sanitizer may have them already"))
  func takenHint() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 40_000)
    let first = try fixture.span(on: shelf)
    let next = (first.base & ~UInt(Geometry.arenaSize - 1)) + UInt(Geometry.arenaSize)
    // A C library's mapping, in the midst of what would be the next arena.
    let strange = unsafe mmap(
      UnsafeMutableRawPointer(bitPattern: next + 0x123_4000), 8192, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)
    try #require(UInt(bitPattern: strange) == next + 0x123_4000)
    unsafe strange?.storeBytes(of: 0x5a5a, as: UInt64.self)
    let rest = try #require(
      fixture.pages.makeSpan(for: shelf, pageCount: Self.arenaPages, generation: 2))
    #expect(rest.base % UInt(Geometry.arenaSize) == 0)
    #expect(rest.base != next)
    let kept = unsafe strange?.load(as: UInt64.self)
    #expect(kept == 0x5a5a, "the strange mapping is untouched")
    write(1, at: rest.base)
    write(1, at: rest.base + rest.slotSize - 8)
    #expect(fixture.pages.usage.arenaBytes == 2 * Geometry.arenaSize)
    #expect(fixture.problems.isEmpty)
    unsafe munmap(strange, 8192)
  }

  @Test("a large object spans as many arenas as it needs")
  func hugeSpan() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 40_000)
    let count = 2 * Self.arenaPages + 1
    let span = try #require(fixture.pages.makeSpan(for: shelf, pageCount: count, generation: 2))
    #expect(span.slotSize == UInt(count * Geometry.pageSize))
    #expect(fixture.pages.usage.arenaBytes == 3 * Geometry.arenaSize)
    for page in [0, 1, Self.arenaPages - 1, Self.arenaPages, count - 1] {
      let place = span.firstPage + page
      let entry = PageEntry(
        bits: unsafe ArenaTables.of(place.address).entry(place.inArena).pointee
          .load(ordering: .relaxed))
      #expect(entry.span == span)
      write(7, at: place.address)
    }
    #expect(fixture.problems.isEmpty)
    span.freeAll(to: fixture.pages)
    #expect(fixture.pages.longestFreeRun == 3 * Self.arenaPages)
    #expect(fixture.problems.isEmpty)
  }

  @Test("a thread that waited for another one's growth looks again before it grows the heap")
  func secondLook() throws {
    let fixture = try SpanFixture()
    let (pages, shelf) = (fixture.pages, try fixture.shelf(size: 40_000))
    let all = try #require(
      pages.makeSpan(for: shelf, pageCount: Self.arenaPages, generation: 2))
    let (isLocked, isFreed, isDone) = (Event(), Event(), Event())
    // It is "growing"; what it brings is the pages of the span.
    let grower = TestThread {
      pages.growth.withLock { _ in
        isLocked.happen()
        isFreed.wait()
      }
    }
    isLocked.wait()
    let waiter = TestThread {
      require(
        pages.makeSpan(for: shelf, pageCount: 1, generation: 2)?.base == all.base,
        "the pages were not found")
      isDone.happen()
    }
    // Time to find no pages and wait for the lock. (Without it the test passes for nothing.)
    #expect(!isDone.wait(seconds: 0.05), "there are no pages yet")
    // Threads that need no arena need not wait.
    all.freeAll(to: pages)
    isFreed.happen()
    grower.join()
    waiter.join()
    #expect(pages.usage.arenaBytes == Geometry.arenaSize)
    #expect(fixture.problems.isEmpty)
  }

  @Test("while one thread grows the heap, others make and free spans from what is there")
  func growthMeanwhile() throws {
    let fixture = try SpanFixture()
    let first = try fixture.span(size: 64)
    let isDone = Event()
    let other = fixture.pages.growth.withLock { _ in
      let pages = fixture.pages
      let shelf = first.shelf
      let other = TestThread {
        pages.makeSpan(for: shelf, pageCount: 5, generation: 2)?.freeAll(to: pages)
        isDone.happen()
      }
      #expect(isDone.wait(), "it waits for the thread that grows the heap")
      return other
    }
    other.join()
    #expect(fixture.problems.isEmpty)
  }

  // MARK: - Limits

  @Test("the limit is exact to the page, and freeing makes room under it")
  func limit() throws {
    let fixture = try SpanFixture(byteLimit: 20 * Geometry.pageSize + 8191)
    let shelf = try fixture.shelf(size: 40_000)
    let spans = try (0..<4).map { _ in try fixture.span(on: shelf) }  // Five pages each.
    #expect(fixture.pages.makeSpan(for: shelf, pageCount: 1, generation: 2) == nil)
    #expect(fixture.pages.usage.spanBytes == 20 * Geometry.pageSize)
    spans[1].freeAll(to: fixture.pages)
    #expect(fixture.pages.makeSpan(for: shelf, pageCount: 6, generation: 2) == nil)
    #expect(fixture.pages.makeSpan(for: shelf, pageCount: 5, generation: 2) != nil)
    #expect(fixture.problems.isEmpty)
  }

  @Test(
    "a limit of nothing gives nothing, and takes nothing from the system",
    arguments: [0, 1, -1, .min])
  func noMemory(limit: Int) throws {
    let fixture = try SpanFixture(byteLimit: limit)
    let shelf = try fixture.shelf(size: 64)
    #expect(fixture.pages.makeSpan(for: shelf, pageCount: 1, generation: 2) == nil)
    #expect(fixture.pages.usage.arenaBytes == 0)
  }

  @Test("more than the address space is refused, and the heap goes on")
  func tooMuch() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 40_000)
    #expect(fixture.pages.makeSpan(for: shelf, pageCount: 1 << 34, generation: 2) == nil)
    #expect(fixture.pages.usage.arenaBytes == 0 && fixture.pages.usage.spanCount == 0)
    #expect(fixture.pages.makeSpan(for: shelf, pageCount: 1, generation: 2) != nil)
    #expect(fixture.problems.isEmpty)
  }

  // MARK: - Use and use again

  @Test("the pages of an empty span serve any class next, and all of them are free in the end")
  func reuse() throws {
    var random = RandomNumbers("reuse")
    let fixture = try SpanFixture()
    var spans: [HeapSpan] = []
    for round in 0..<4 {
      for _ in 0..<400 {
        let sizeClass = SizeClass(UInt8.random(in: 0...66, using: &random))
        let shelf = try fixture.shelf(size: max(sizeClass.slotSize, 1), in: sizeClass)
        let span = try fixture.span(on: shelf)
        #expect(span.hasCleanBits)
        // Use it: bits and memory.
        _ = span.takeRun(atMost: Int.random(in: 1...100, using: &random))
        write(UInt(round), at: span.base)
        spans.append(span)
      }
      #expect(fixture.problems.isEmpty)
      spans.shuffle(using: &random)
      for _ in 0..<(round == 3 ? spans.count : 300) {
        let span = spans.removeLast()
        span.freeAll(to: fixture.pages)
        #expect(!span.isLive)
      }
      #expect(fixture.problems.isEmpty)
    }
    let usage = fixture.pages.usage
    #expect(usage.spanBytes == 0 && usage.spanCount == 0)
    #expect(fixture.pages.longestFreeRun * Geometry.pageSize == usage.arenaBytes)
    for shelf in fixture.central.shelves() { #expect(shelf.spanCount == 0) }
  }

  @Test("a dead span's record is used again, and memory once used is said to need zeroing")
  func deadRecords() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 64)
    let first = try fixture.span(on: shelf)
    #expect(!first.needsZero)
    write(1, at: first.base)
    first.freeAll(to: fixture.pages)
    let second = try fixture.span(on: shelf, generation: 5)
    #expect(second == first, "the same record")
    #expect(second.needsZero && second.isLive && second.generation == 5)
    let mapped = fixture.pages.memory.mappedBytes
    for _ in 0..<20_000 {
      let span = try fixture.span(on: shelf)
      span.freeAll(to: fixture.pages)
    }
    #expect(fixture.pages.memory.mappedBytes == mapped)
  }

  @Test("a span that begins in fresh memory and ends in used memory needs zeroing")
  func halfFresh() throws {
    let fixture = try SpanFixture()
    let large = try fixture.shelf(size: 40_000)
    let first = try #require(fixture.pages.makeSpan(for: large, pageCount: 1, generation: 2))
    first.freeAll(to: fixture.pages)
    let second = try #require(fixture.pages.makeSpan(for: large, pageCount: 2, generation: 2))
    #expect(second.base == first.base && second.needsZero)
    let third = try #require(fixture.pages.makeSpan(for: large, pageCount: 2, generation: 2))
    #expect(!third.needsZero)
  }

  @Test("freeing a span with objects, or twice, stops the program")
  func misuse() async {
    let used = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let fixture = try SpanFixture()
      let span = try fixture.span(size: 64)
      _ = span.takeRun(atMost: 1)
      fixture.pages.freeSpan(span)
    }
    #expect(used.said("only an empty live span is freed"))
    let twice = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let fixture = try SpanFixture()
      let span = try fixture.span(size: 64)
      fixture.pages.freeSpan(span)
      fixture.pages.freeSpan(span)
    }
    #expect(twice.said("only an empty live span is freed"))
  }

  @Test("the pages of many spans are freed under one lock, and each span is dead")
  func bulk() throws {
    let fixture = try SpanFixture()
    var random = RandomNumbers("bulk")
    var list = SpanStack()
    var spans: [HeapSpan] = []
    for _ in 0..<300 {
      let sizeClass = SizeClass(UInt8.random(in: 0...66, using: &random))
      let span = try fixture.span(
        on: fixture.shelf(size: max(sizeClass.slotSize, 1), in: sizeClass))
      write(.max, at: span.base)
      list.push(span)
      spans.append(span)
    }
    fixture.pages.freeSpans(list)
    #expect(spans.allSatisfy { !$0.isLive })
    #expect(fixture.pages.usage.spanCount == 0 && fixture.pages.usage.spanBytes == 0)
    #expect(fixture.problems.isEmpty)
    for shelf in fixture.central.shelves() { #expect(shelf.spanCount == 0) }
    let mapped = fixture.pages.memory.mappedBytes
    for _ in 0..<300 { _ = try fixture.span(size: 64) }
    #expect(fixture.problems.isEmpty)
    #expect(fixture.pages.memory.mappedBytes <= mapped + 256 << 10, "the records are used again")
    fixture.pages.freeSpans(SpanStack())
    #expect(fixture.pages.usage.spanCount == 300, "none is none")
  }

  @Test("threads that make and free spans of all classes leave a whole heap behind")
  func contention() throws {
    let fixture = try SpanFixture()
    let shelves = try (1...66).map { try fixture.shelf(size: 8, in: SizeClass(UInt8($0))) }
    let pages = fixture.pages
    onThreads(4) { number in
      var mine: [HeapSpan] = []
      var random = RandomNumbers(seed: UInt64(number))
      for _ in 0..<3000 {
        if mine.count > 20 || random.oneIn(2), let span = mine.popLast() {
          require(word(at: span.base) == span.address, "shared")
          span.freeAll(to: pages)
        } else {
          let shelf = shelves[random.below(66)]
          guard
            let span = pages.makeSpan(
              for: shelf, pageCount: shelf.spanClass.sizeClass.spanPages, generation: 2)
          else { broken("no memory") }
          write(span.address, at: span.base)
          mine.append(span)
        }
      }
      for span in mine { span.freeAll(to: pages) }
    }
    #expect(fixture.problems.isEmpty)
    #expect(pages.usage.spanCount == 0)
    #expect(pages.longestFreeRun == Self.arenaPages)
  }

  // MARK: - Marks

  @Test(
    "clearing the marks makes every object white, on each page of each class, and large ones")
  func clearMarks() throws {
    let fixture = try SpanFixture()
    var spans: [HeapSpan] = []
    for sizeClass in SizeClass.small {
      spans.append(try fixture.span(on: fixture.shelf(size: sizeClass.slotSize, in: sizeClass)))
    }
    let large = try fixture.shelf(size: 40_000)
    for count in [5, 1, Self.arenaPages + 3] {
      spans.append(
        try #require(fixture.pages.makeSpan(for: large, pageCount: count, generation: 2)))
    }
    for span in spans {
      _ = span.takeRun()
      for slot in 0..<span.slotCount {
        span.setMark(slot)
      }
    }
    fixture.pages.clearMarks()
    for span in spans {
      #expect((0..<span.slotCount).allSatisfy { !span.isMarked($0) })
      #expect((0..<span.slotCount).allSatisfy { span.isAllocated($0) })
      #expect(reports(span.checkInvariants).isEmpty)
    }
  }

  @Test("a heap that grows asks for huge pages if it shall always have them, or forbids them")
  func hugePages() throws {
    let hasHugePages = FileManager.default.fileExists(atPath: "/sys/kernel/mm/transparent_hugepage")
    func has(_ flag: Substring, _ policy: PageHeap.HugePagePolicy) throws -> [Bool] {
      let fixture = try SpanFixture(hugePages: policy)
      let shelf = try fixture.shelf(size: 40_000)
      // Two arenas.
      let large = try (0..<2).map { _ in
        try #require(
          fixture.pages.makeSpan(
            for: shelf, pageCount: Geometry.pagesPerArena - 5, generation: 2))
      }
      let (first, second) = (large[0].base, large[1].base)
      return try [first, first + 4 << 20, second].map {
        try mappingFlags(at: $0).contains(flag)
      }
    }
    for flag: Substring in ["hg", "nh"] {
      #expect(try has(flag, .automatic) == [false, false, false])
      #expect(try has(flag, .system) == [false, false, false])
      #expect(try has(flag, .always) == Array(repeating: hasHugePages && flag == "hg", count: 3))
      #expect(try has(flag, .never) == Array(repeating: hasHugePages && flag == "nh", count: 3))
    }
  }

  // MARK: - Giving back

  @Test("released pages read as zero, are counted, and need no zeroing when they are used again")
  func releasing() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 40_000)
    // Every other span stays, over more than a chunk.
    let spans = try (0..<250).map { _ in try fixture.span(on: shelf) }
    for span in spans { write(.max, at: span.base) }
    for (i, span) in spans.enumerated() where i % 2 == 0 { span.freeAll(to: fixture.pages) }
    let dirty = 125 * 5 * Geometry.pageSize
    let before = fixture.pages.usage.releasedBytes
    #expect(fixture.pages.releaseFreePages() == dirty)
    #expect(fixture.pages.usage.releasedBytes == before + dirty)
    #expect(fixture.problems.isEmpty)
    #expect(fixture.pages.releaseFreePages() == 0, "there is nothing left to give back")
    for (i, span) in spans.enumerated() where i % 2 == 1 {
      #expect(word(at: span.base) == .max)
    }
    for _ in 0..<125 {
      let span = try fixture.span(on: shelf)
      #expect(!span.needsZero)
      #expect(word(at: span.base) == 0)
    }
    #expect(fixture.pages.usage.releasedBytes == before)
    #expect(fixture.problems.isEmpty)
  }

  @Test("threads allocate while memory is given back, and get no arena for pages that are out")
  func releasingMeanwhile() throws {
    let fixture = try SpanFixture()
    let (pages, shelf) = (fixture.pages, try fixture.shelf(size: 40_000))
    // One arena, of which a chunk's pages are free: half a chunk for each of two threads.
    let used = try #require(
      pages.makeSpan(
        for: shelf, pageCount: Geometry.pagesPerArena - Geometry.pagesPerChunk, generation: 2))
    let isOver = Event()
    onThreads(3) { number in
      guard number > 0 else {
        // Until something was given back ten times.
        var times = 0
        while times < 10 { if pages.releaseFreePages() > 0 { times += 1 } }
        return isOver.happen()
      }
      while !isOver.hasHappened {
        let count = Geometry.pagesPerChunk / 2
        guard let span = pages.makeSpan(for: shelf, pageCount: count, generation: 2) else {
          broken("no memory")
        }
        for word in stride(from: span.base, to: span.base + span.slotSize, by: 8192 * 16) {
          require(span.needsZero || heap_load_word(word) == 0, "released pages are not zero")
          write(.max, at: word)
        }
        span.freeAll(to: pages)
      }
    }
    #expect(pages.usage.arenaBytes == Geometry.arenaSize)
    #expect(fixture.problems.isEmpty)
    used.freeAll(to: pages)
    #expect(pages.longestFreeRun == Geometry.pagesPerArena)
  }

  // MARK: - The end

  @Test("a heap's end withdraws its arenas and unmaps them")
  func end() async {
    await #expect(processExitsWith: .success) {
      var addresses: [UInt] = []
      do {
        let fixture = try SpanFixture()
        let shelf = try fixture.shelf(size: 40_000)
        for _ in 0..<3 {
          guard
            let span = fixture.pages.makeSpan(
              for: shelf, pageCount: Geometry.pagesPerArena, generation: 2)
          else { broken("no memory") }
          write(1, at: span.base)
          addresses.append(span.base)
        }
        require(addresses.allSatisfy { ArenaTables.find($0) != nil }, "not published")
      }
      for address in addresses {
        require(ArenaTables.find(address) == nil, "still published")
        // Nobody has the addresses: they can be had.
        let again = unsafe mmap(
          UnsafeMutableRawPointer(bitPattern: address), Geometry.arenaSize, PROT_NONE,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0)
        require(UInt(bitPattern: again) == address, "still mapped")
      }
    }
  }

  // MARK: - Refusals

  /// A new fixture, kept, whose next arenas are not where an earlier one has its own. Places are
  /// random, so with sixty fixtures two meet in one run of forty.
  private static func fixtureWithRoom(keeping fixtures: inout [SpanFixture]) throws -> SpanFixture {
    while true {
      let fixture = try SpanFixture()
      fixtures.append(fixture)
      let place = fixture.pages.growth.withLock { $0.nextArena }
      if (0..<4).allSatisfy({ ArenaTables.find(place.advanced(by: $0).address) == nil }) {
        return fixture
      }
    }
  }

  @Test(
    "wherever the system refuses, the result is nil or whole, nothing leaks, the next try works")
  func refusals() async {
    await #expect(processExitsWith: .success) {
      // Kept to the end: a heap that ends would leave its tables to the next, which would
      // then have no call to refuse.
      var fixtures: [SpanFixture] = []
      for hasRecords in [false, true] {
        var refused = 0
        for call in 1...30 {
          let fixture = try Self.fixtureWithRoom(keeping: &fixtures)
          let shelf = try fixture.shelf(size: 40_000)
          if hasRecords { try fixture.span(size: 64).freeAll(to: fixture.pages) }
          let (before, mapped) = (fixture.pages.usage, fixture.pages.memory.mappedBytes)
          let count = 2 * Geometry.pagesPerArena
          // Where the arenas would be.
          let place = fixture.pages.growth.withLock { $0.nextArena }
          VirtualMemory.failCall(in: call)
          let span = fixture.pages.makeSpan(for: shelf, pageCount: count, generation: 2)
          VirtualMemory.failCall(in: 0)
          require(fixture.problems.isEmpty, "call \(call): \(fixture.problems)")
          guard let span else {
            refused += 1
            let after = fixture.pages.usage
            require(
              after.arenaBytes == before.arenaBytes && after.spanBytes == before.spanBytes
                && after.spanCount == before.spanCount && shelf.spanCount == 0
                && after.releasedBytes == before.releasedBytes, "call \(call) has left a trace")
            for arena in [place, place.advanced(by: 1)] {
              require(ArenaTables.find(arena.address) == nil, "call \(call) has left tables behind")
            }
            require(
              fixture.pages.growth.withLock { $0.nextArena } == place, "the next place has moved")
            guard
              let again = fixture.pages.makeSpan(for: shelf, pageCount: count, generation: 2)
            else { broken("call \(call): the heap does not recover") }
            require(hasRecords || !again.needsZero, "fresh memory is said to be used")
            write(1, at: again.base + again.slotSize - 8)
            again.freeAll(to: fixture.pages)
            require(
              fixture.pages.usage.arenaBytes == before.arenaBytes + 2 * Geometry.arenaSize,
              "call \(call) has cost an arena")
            require(fixture.problems.isEmpty, "call \(call): \(fixture.problems)")
            require(fixture.pages.memory.mappedBytes <= mapped + 256 << 10, "records leak")
            continue
          }
          span.freeAll(to: fixture.pages)
          require(fixture.problems.isEmpty, "call \(call): \(fixture.problems)")
        }
        // At least: committing the arenas, and reserving and committing two sets of tables.
        require(refused >= 5, "only \(refused) calls were refused")
        require(refused < 25, "the refusals do not end")
      }
    }
  }

  @Test("a heap that gets no memory to begin with says so")
  func refusalAtFirst() async {
    await #expect(processExitsWith: .success) {
      var call = 1
      while true {
        VirtualMemory.failCall(in: call)
        let fixture = try? SpanFixture()
        VirtualMemory.failCall(in: 0)
        guard fixture == nil else { break }
        require(call < 20, "the refusals do not end")
        call += 1
      }
    }
  }

  @Test("memory that cannot be given back stays, and is not counted as given back")
  func refusalOfRelease() async {
    await #expect(processExitsWith: .success) {
      let fixture = try SpanFixture()
      let span = try fixture.span(size: 64)
      write(5, at: span.base)
      span.freeAll(to: fixture.pages)
      VirtualMemory.failCall(in: 1)
      require(fixture.pages.releaseFreePages() == 0, "counted")
      require(fixture.problems.isEmpty, "\(fixture.problems)")
      require(fixture.pages.releaseFreePages() == Geometry.pageSize, "not tried again")
      require(fixture.problems.isEmpty, "\(fixture.problems)")
    }
  }
}
