// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The making of huge pages: which ranges, once, and what becomes of their memory. The tests take
// the part of the collector's thread. Whether a huge page was asked for is looked up in the kernel's
// own list of mappings; whether it was had is not asked, because a machine may have none left.
//
// Spans of 256 pages are a huge range each, in order, as long as nothing else is allocated.

import CHeapShims
import Foundation
import Heap
import TestSupport
import Testing

@Suite(
  "Huge pages",
  .enabled(
    if: VirtualMemory.canMakeHugePages,
    "the system has no huge pages of 2 MiB, or forbids them, or does not make them on request"))
struct HugePagesTests {
  private static let pages = HugeRange.pageCount

  /// A page heap with so many spans of a huge range each, all of their memory touched.
  private struct Fixture {
    let spans: SpanFixture
    let shelf: SpanShelf
    var all: [HeapSpan] = []
    var heap: PageHeap { spans.pages }

    init(
      _ count: Int, _ policy: PageHeap.HugePagePolicy = .automatic, byteLimit: Int? = nil
    ) throws {
      spans = try SpanFixture(byteLimit: byteLimit, hugePages: policy)
      shelf = try spans.shelf(size: 40_000)
      for _ in 0..<count { all.append(try span()) }
    }

    /// A span of so many pages, its memory touched.
    func span(_ pageCount: Int = HugePagesTests.pages) throws -> HeapSpan {
      let span = try #require(
        heap.makeSpan(for: shelf, pageCount: pageCount, generation: 2))
      HugePagesTests.fill(span)
      return span
    }

    /// Collapses all that there is to collapse; how often it was done.
    func collapseAll() -> Int {
      heap.lookAgain()
      var count = 0
      while case .done = heap.collapseHugePage() { count += 1 }
      return count
    }
  }

  private static func fill(_ span: HeapSpan) {
    for address in words(of: span) { write(address, at: address) }
  }

  private static func words(of span: HeapSpan) -> StrideTo<UInt> {
    stride(from: span.base, to: span.base + span.slotSize, by: VirtualMemory.systemPageSize)
  }

  private static func isFilled(_ span: HeapSpan) -> Bool {
    words(of: span).allSatisfy { word(at: $0) == $0 }
  }

  private static func isHuge(_ address: UInt) -> Bool {
    ArenaTables.of(address).isHuge(HugeRange(holding: address))
  }

  // MARK: - Which ranges

  @Test("ranges in use are collapsed once, but neither the first 4 MiB nor what is free or fresh")
  func collapsing() throws {
    var fixture = try Fixture(6)
    let heap = fixture.heap
    // Of range 6 more is free than may be, of range 7 less. Range 8 is fresh in part.
    let rest = try [fixture.span(Self.pages - 33), fixture.span(33), fixture.span(Self.pages - 32)]
    let free = try fixture.span(32)
    let last = try fixture.span(Self.pages / 2)
    rest[1].freeAll(to: heap)
    free.freeAll(to: heap)
    #expect(fixture.collapseAll() == 5)
    fixture.all += [rest[0], rest[2], last]
    let wanted = [false, false, true, true, true, true, false, true, false]
    #expect(fixture.all.map { Self.isHuge($0.base) } == wanted)
    for (span, isWanted) in zip(fixture.all, wanted) {
      #expect(try mappingFlags(at: span.base).contains("hg") == isWanted)
      #expect(Self.isFilled(span))
    }
    #expect(heap.usage.hugeBytes == 5 * HugeRange.size)
    #expect(fixture.spans.problems.isEmpty)
    #expect(fixture.collapseAll() == 0, "each range is tried once")
    _ = try fixture.span(Self.pages / 2)
    #expect(fixture.collapseAll() == 1, "the last range is in use now")
  }

  @Test("a collapsed range has its memory in a huge page, if the system has one to give")
  func anonymousHugePages() throws {
    let fixture = try Fixture(10)
    // Fewer: the system has refused, for now.
    guard fixture.collapseAll() == 8 else { return }
    #expect(try hugeBytes(at: fixture.all[5].base) > 0)
  }

  @Test(
    "nothing is made huge unless that is automatic",
    arguments: [PageHeap.HugePagePolicy.system, .always, .never])
  func otherPolicies(_ policy: PageHeap.HugePagePolicy) throws {
    let fixture = try Fixture(20, policy)
    #expect(fixture.collapseAll() == 0)
    #expect(!fixture.heap.prepareHugePage())
    #expect(!fixture.heap.takeAsk())
    #expect(fixture.heap.usage.hugeBytes == 0)
  }

  // MARK: - Ahead

  @Test("a heap of 32 MiB asks, and gets the next range prepared: zero, free, and not released")
  func preparing() throws {
    let fixture = try Fixture(15)
    let heap = fixture.heap
    #expect(!heap.takeAsk() && !heap.prepareHugePage(), "the heap is too small")
    _ = try fixture.span()
    #expect(!heap.takeAsk())
    // From 32 MiB on.
    let small = try fixture.span(1)
    #expect(heap.takeAsk() && !heap.takeAsk(), "asked once")
    let released = heap.usage.releasedBytes
    #expect(heap.prepareHugePage())
    #expect(!heap.prepareHugePage(), "one is enough for this heap")
    #expect(heap.usage.releasedBytes == released - HugeRange.size)
    #expect(heap.usage.hugeBytes == HugeRange.size)
    #expect(fixture.spans.problems.isEmpty)
    // The range that the small span lies in was no longer whole: it is the next one.
    let range = HugeRange(holding: small.base).next
    #expect(Self.isHuge(range.address))
    #expect(try mappingFlags(at: range.address).contains("hg"))
    #expect(residentPages(range) == HugeRange.size / VirtualMemory.systemPageSize)
    // Allocation comes there.
    let before = try #require(
      heap.makeSpan(for: fixture.shelf, pageCount: Self.pages - 1, generation: 2))
    #expect(!heap.takeAsk())
    let inside = try #require(heap.makeSpan(for: fixture.shelf, pageCount: 2, generation: 2))
    #expect(inside.base == range.address && !inside.needsZero && !before.needsZero)
    #expect(Self.words(of: inside).allSatisfy { word(at: $0) == 0 })
    #expect(heap.takeAsk())
    #expect(heap.prepareHugePage())
    #expect(Self.isHuge(range.next.address))
    #expect(fixture.spans.problems.isEmpty)
  }

  @Test("four ranges are kept ready for a large heap, none past the hard limit")
  func howMany() throws {
    func ready(byteLimit: Int?) throws -> Int {
      let fixture = try Fixture(140, byteLimit: byteLimit)
      var count = 0
      while fixture.heap.prepareHugePage() { count += 1 }
      #expect(fixture.spans.problems.isEmpty)
      return count
    }
    #expect(try ready(byteLimit: nil) == 4)
    #expect(try ready(byteLimit: 143 * HugeRange.size - 1) == 2)
    #expect(try ready(byteLimit: 140 * HugeRange.size) == 0)
  }

  @Test("a heap leaves its threads free pages while it prepares")
  func fewPages() throws {
    // One arena has 32 ranges.
    let fixture = try Fixture(31)
    #expect(!fixture.heap.prepareHugePage())
    #expect(fixture.heap.usage.arenaBytes == Geometry.arenaSize)
    // With the next arena there are more.
    _ = try fixture.span()
    _ = try fixture.span(1)
    #expect(fixture.heap.takeAsk())
    #expect(fixture.heap.prepareHugePage())
  }

  @Test("a huge page is made while another thread grows the heap, and neither waits")
  func besideGrowth() throws {
    let fixture = try Fixture(17)
    let heap = fixture.heap
    heap.lookAgain()
    let isDone = Event()
    let thread = heap.growth.withLock { _ in
      let thread = TestThread {
        _ = heap.prepareHugePage()
        _ = heap.collapseHugePage()
        isDone.happen()
      }
      #expect(isDone.wait(), "it waits for the thread that grows the heap")
      return thread
    }
    thread.join()
    #expect(heap.usage.hugeBytes > 0)
    #expect(fixture.spans.problems.isEmpty)
  }

  // MARK: - Giving back

  @Test("memory that was given back and is used again may be made huge again")
  func releasing() throws {
    var fixture = try Fixture(20)
    let heap = fixture.heap
    #expect(fixture.collapseAll() == 18)
    #expect(heap.prepareHugePage())
    let prepared = HugeRange(holding: fixture.all[19].base).next
    // A whole range, a page of another one, and what was prepared.
    let lone = try fixture.span(1)
    #expect(lone.base == prepared.address)
    lone.freeAll(to: heap)
    for _ in 0..<2 { fixture.all.removeLast().freeAll(to: heap) }
    let split = try fixture.span(Self.pages - 1)
    let range = HugeRange(holding: split.base)
    #expect(heap.releaseFreePages() == (2 * Self.pages + 1) * Geometry.pageSize)
    #expect(
      heap.usage.releasedBytes == heap.usage.arenaBytes - heap.usage.spanBytes, "all that is free")
    #expect(fixture.spans.problems.isEmpty)
    for range in [range, range.next, prepared] {
      #expect(!Self.isHuge(range.address))
      #expect(try mappingFlags(at: range.address).contains("nh"))
    }
    #expect(residentPages(prepared) == 0)
    #expect(Self.isHuge(fixture.all[10].base) && Self.isFilled(fixture.all[10]))
    #expect(Self.isFilled(split))
    // Used again.
    _ = try fixture.span(1)
    #expect(fixture.collapseAll() == 1)
    #expect(Self.isHuge(split.base))
    #expect(try mappingFlags(at: split.base).contains("hg"))
    #expect(heap.prepareHugePage())
    #expect(Self.isHuge(range.next.address), "the lowest range without memory")
    #expect(fixture.spans.problems.isEmpty)
  }

  @Test("more ranges collapsed than the heap has: some of them again")
  func repeated() throws {
    let fixture = try Fixture(32)
    var isRepeated = false
    var span = fixture.all[31]
    #expect(fixture.collapseAll() == 30)
    for _ in 0..<4 {
      #expect(!isRepeated || fixture.heap.usage.arenaBytes == Geometry.arenaSize)
      span.freeAll(to: fixture.heap)
      #expect(fixture.heap.releaseFreePages() == HugeRange.size)
      span = try fixture.span()
      fixture.heap.lookAgain()
      guard case .done(let again) = fixture.heap.collapseHugePage() else {
        Issue.record("nothing was collapsed")
        return
      }
      isRepeated = again
    }
    #expect(isRepeated)
  }

  // MARK: - Refusals, and company

  @Test("what the system refuses is tried again later, and nothing is lost")
  func refusals() async {
    await #expect(processExitsWith: .success) {
      let fixture = try Fixture(17)
      let heap = fixture.heap
      // The spare range is there from now on.
      heap.lookAgain()
      require(heap.collapseHugePage() == .done(isRepeated: false), "the first one")
      // Committing, populating and discarding the spare range, then the call itself.
      VirtualMemory.failCall(in: 4)
      require(heap.collapseHugePage() == .refused, "the call did not fail")
      VirtualMemory.failCall(in: 0)
      require(heap.usage.hugeBytes == HugeRange.size, "a refused range is not huge")
      require(fixture.collapseAll() == 14, "the others, and the refused one")
      VirtualMemory.failCall(in: 1)
      require(!heap.prepareHugePage(), "the call did not fail")
      VirtualMemory.failCall(in: 0)
      require(fixture.spans.problems.isEmpty, "\(fixture.spans.problems)")
      let next = try fixture.span()
      require(!next.needsZero && fixture.all.allSatisfy(HugePagesTests.isFilled), "lost")
    }
  }

  @Test("threads allocate, write and free, and memory is given back, while huge pages are made")
  func meanwhile() throws {
    let fixture = try Fixture(17)
    let (heap, shelf) = (fixture.heap, fixture.shelf)
    let isOver = Event()
    onThreads(4) { number in
      switch number {
      case 0:
        var made = 0
        let end = heap_now() + 20_000_000_000
        while made < 60, heap_now() < end {
          if heap.prepareHugePage() { made += 1 }
          if heap.collapseHugePage() == .nothing { heap.lookAgain() } else { made += 1 }
        }
        isOver.happen()
      case 1: while !isOver.hasHappened { _ = heap.releaseFreePages() }
      default:
        while !isOver.hasHappened {
          var mine: [HeapSpan] = []
          for _ in 0..<6 {
            guard let span = heap.makeSpan(for: shelf, pageCount: 200, generation: 2) else {
              broken("no memory")
            }
            if !span.needsZero {
              require(Self.words(of: span).allSatisfy { word(at: $0) == 0 }, "fresh and not zero")
            }
            Self.fill(span)
            mine.append(span)
          }
          for span in mine {
            require(Self.isFilled(span), "contents were lost")
            span.freeAll(to: heap)
          }
        }
      }
    }
    #expect(fixture.all.allSatisfy(Self.isFilled))
    #expect(fixture.spans.problems.isEmpty)
  }

  // MARK: - The system's view

  /// Bytes in huge pages of the mapping that holds an address.
  private func hugeBytes(at address: UInt) throws -> Int {
    let words = try mappingLine("AnonHugePages:", at: address)
    return (words.first.flatMap { Int($0) } ?? 0) << 10
  }

  /// The system's pages of a range that are in memory.
  private func residentPages(_ range: HugeRange) -> Int {
    var bytes = [UInt8](repeating: 0, count: HugeRange.size / VirtualMemory.systemPageSize)
    // SAFETY: a byte for each page of a range that the test's heap has.
    let result = unsafe mincore(
      UnsafeMutableRawPointer(bitPattern: range.address), HugeRange.size, &bytes)
    return result == 0 ? bytes.count { $0 & 1 != 0 } : -1
  }
}
