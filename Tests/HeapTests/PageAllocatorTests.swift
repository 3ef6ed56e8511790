// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The page allocator, scenario by scenario. The keys are those of Go's TestPageAllocAlloc,
// -Exhaust, -Free and -AllocAndFree: one page, runs across chunks and arenas, exhaustion,
// joining on free, and gaps that are never joined.
//
// The arenas are fake (FakeArenas, at the end): tables in the arena index at addresses that
// nobody has, with nothing behind them. The allocator does not touch pages, only bits.

import Foundation
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("The page allocator")
struct PageAllocatorTests {
  // MARK: - Allocating

  @Test("the lowest run that is long enough is taken", arguments: Scenario.all)
  func allocate(_ scenario: Scenario) throws {
    let arenas = try FakeArenas(scenario.arenas)
    var allocator = try arenas.allocator()
    for used in scenario.used { arenas.take(used, in: &allocator) }
    for (step, request) in scenario.requests.enumerated() {
      let page = allocator.allocate(request.count)
      #expect(
        page.map { $0.start - arenas.first } == request.page, "request \(step) of \(scenario)")
      arenas.expectConsistent(allocator)
    }
  }

  @Test(
    "a heap is used up to its last page, from the first on",
    arguments: [1, 2, 5, 64, 65, 512, 517])
  func exhaust(count: Int) throws {
    let arenas = try FakeArenas([0..<1, 2..<4])
    var allocator = try arenas.allocator()
    var expected: [Int] = []
    for stretch in [0..<8192, 16384..<32768] {
      expected += stride(from: stretch.lowerBound, through: stretch.upperBound - count, by: count)
    }
    // Single pages are many: every hundredth is looked at.
    for (step, page) in expected.enumerated() {
      let found = allocator.allocate(count).map { $0.start - arenas.first }
      guard found == page else {
        Issue.record("run \(step) begins at \(String(describing: found)), not \(page)")
        return
      }
    }
    #expect(allocator.allocate(count) == nil)
    #expect(allocator.freePages == 3 * 8192 - expected.count * count)
    arenas.expectConsistent(allocator)
  }

  @Test("there is no run longer than the longest, whatever the number of free pages")
  func fragmented() throws {
    let arenas = try FakeArenas([0..<2])
    var allocator = try arenas.allocator()
    // Every tenth page used: 9 in a row are left, and a few at the end.
    for page in stride(from: 9, to: 16384, by: 10) {
      arenas.take(page..<page + 1, in: &allocator)
    }
    #expect(allocator.longestFreeRun == 9)
    #expect(allocator.allocate(10) == nil)
    #expect(allocator.allocate(17) == nil)
    #expect(allocator.allocate(10_000) == nil)
    #expect(allocator.allocate(.max) == nil)
    #expect(allocator.allocate(9).map { $0.start - arenas.first } == 0)
    #expect(allocator.allocate(9).map { $0.start - arenas.first } == 10)
    arenas.expectConsistent(allocator)
  }

  @Test("an empty allocator has nothing, and says so")
  func empty() throws {
    var allocator = try PageAllocator()
    #expect(allocator.freePages == 0)
    #expect(allocator.longestFreeRun == 0)
    #expect(allocator.allocate(1) == nil)
    allocator.checkInvariants { Issue.record("\($0)") }
  }

  @Test("pages taken by place are used, and no others; their neighbours are joined no more")
  func takeByPlace() throws {
    let arenas = try FakeArenas([0..<1, 2..<3])
    var allocator = try arenas.allocator()
    arenas.take(500..<530, in: &allocator)
    arenas.take(530..<8192, in: &allocator)
    #expect(allocator.freePages == 8192 + 500)
    #expect(allocator.longestFreeRun == 8192)
    arenas.expectConsistent(allocator)
    #expect(allocator.allocate(501)?.start == arenas.first + 2 * 8192)
    #expect(allocator.allocate(500)?.start == arenas.first)
    arenas.expectConsistent(allocator)
  }

  // MARK: - Freeing

  @Test(
    "freed pages are found again at the same place",
    arguments: [
      0..<1, 8191..<8192, 511..<513, 60..<65, 64..<128, 63..<128, 508..<520, 0..<512, 1..<512,
      512..<1536, 256..<1280, 3..<3591, 8190..<8194, 4096..<16384, 0..<16384,
    ])
  func free(range: Range<Int>) throws {
    let arenas = try FakeArenas([0..<2])
    var allocator = try arenas.allocator()
    #expect(allocator.allocate(16384)?.start == arenas.first)
    #expect(allocator.allocate(1) == nil)
    allocator.free(arenas.pages(range))
    #expect(allocator.freePages == range.count)
    #expect(allocator.longestFreeRun == range.count)
    arenas.expectConsistent(allocator)
    #expect(allocator.allocate(range.count + 1) == nil)
    #expect(allocator.allocate(range.count)?.start == arenas.first + range.lowerBound)
    #expect(allocator.allocate(1) == nil)
    arenas.expectConsistent(allocator)
  }

  @Test(
    "neighbours join when freed, in any order",
    arguments: [[0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 0, 2]])
  func coalesce(order: [Int]) throws {
    let arenas = try FakeArenas([0..<2])
    var allocator = try arenas.allocator()
    // Three runs that meet inside of a chunk and at an arena's border.
    let parts = [7000..<7777, 7777..<8192, 8192..<9000]
    #expect(allocator.allocate(16384) != nil)
    for part in order {
      allocator.free(arenas.pages(parts[part]))
      arenas.expectConsistent(allocator)
    }
    #expect(allocator.longestFreeRun == 2000)
    #expect(allocator.allocate(2000)?.start == arenas.first + 7000)
  }

  @Test("a run freed below the last allocation is taken before those above it")
  func lowestAgain() throws {
    let arenas = try FakeArenas([0..<1])
    var allocator = try arenas.allocator()
    for _ in 0..<100 { _ = allocator.allocate(10) }
    // 10 pages in a row, freed in two halves, the upper first; 9 further down.
    allocator.free(arenas.pages(35..<40))
    allocator.free(arenas.pages(30..<35))
    allocator.free(arenas.pages(11..<20))
    #expect(allocator.allocate(10)?.start == arenas.first + 30)
    #expect(allocator.allocate(10)?.start == arenas.first + 1000)
    #expect(allocator.allocate(4)?.start == arenas.first + 11)
    #expect(allocator.allocate(6)?.start == arenas.first + 1010)
    #expect(allocator.allocate(5)?.start == arenas.first + 15)
    arenas.expectConsistent(allocator)
  }

  @Test("a run may begin in pages that were free before, right below those that were freed")
  func completedRun() throws {
    for count in 2...18 {
      let arenas = try FakeArenas([0..<1])
      var allocator = try arenas.allocator()
      // One page short of `count`, then the missing one, across a chunk's border.
      arenas.take(0..<510, in: &allocator)
      arenas.take(510 + count - 1..<8192, in: &allocator)
      #expect(allocator.allocate(count) == nil)
      allocator.free(arenas.pages(509 + count..<510 + count))
      #expect(allocator.allocate(count)?.start == arenas.first + 510)
      arenas.expectConsistent(allocator)
    }
  }

  // MARK: - Growing

  @Test("arenas that come later join their neighbours below and above")
  func growth() throws {
    let arenas = try FakeArenas([0..<3])
    var allocator = try PageAllocator()
    for arena in [1, 2, 0] {
      try allocator.grow(by: arenas[arena...arena])
      arenas.expectConsistent(allocator)
    }
    #expect(allocator.longestFreeRun == 3 * 8192)
    #expect(allocator.allocate(8192 * 2 + 1)?.start == arenas.first)
  }

  @Test("an arena below the hint is used at once")
  func growthBelow() throws {
    let arenas = try FakeArenas([0..<2])
    var allocator = try PageAllocator()
    try allocator.grow(by: arenas[1...1])
    #expect(allocator.allocate(5)?.start == arenas.first + 8192)
    #expect(allocator.allocate(8192) == nil)
    try allocator.grow(by: arenas[0...0])
    #expect(allocator.allocate(5)?.start == arenas.first)
  }

  @Test("addresses between two arenas are never part of a run")
  func gap() throws {
    let arenas = try FakeArenas([0..<1, 2..<3])
    var allocator = try arenas.allocator()
    #expect(allocator.longestFreeRun == 8192)
    #expect(allocator.allocate(8193) == nil)
    arenas.take(0..<8190, in: &allocator)
    #expect(allocator.allocate(3)?.start == arenas.first + 16384)
    #expect(allocator.allocate(2)?.start == arenas.first + 8190)
    arenas.expectConsistent(allocator)
  }

  @Test("arenas that are terabytes apart share an allocator", arguments: [0, 1, 2])
  func farApart(_ kind: Int) throws {
    // In the middle of the space; on both sides of a root entry's border; at its very end.
    // (These addresses are another process's business on every system that has them.)
    let places: [[UInt]] = [
      [0x6801_0000_0000, 0x6805_0400_0000, 0x6900_0000_0000],
      [0x6fff_fc00_0000, 0x7000_0000_0000],
      [0x0008_0000_0000, 0xffff_fc00_0000],
    ]
    let sorted = places[kind]
    for address in sorted { _ = try ArenaTables.publish(ArenaIndex(holding: address), owner: 1) }
    defer {
      for address in sorted { ArenaTables.of(address).withdraw(ArenaIndex(holding: address)) }
    }
    var allocator = try PageAllocator()
    for address in sorted.reversed() {
      let arena = ArenaIndex(holding: address)
      try allocator.grow(by: arena...arena)
      allocator.checkInvariants { Issue.record("\($0)") }
    }
    #expect(allocator.longestFreeRun == (kind == 1 ? 16384 : 8192))
    for address in sorted {
      #expect(allocator.allocate(8192)?.start.address == address)
    }
    #expect(allocator.allocate(1) == nil)
    for address in sorted.reversed() {
      allocator.free(PageRange(PageIndex(holding: address) + 8191, count: 1))
      #expect(allocator.allocate(1)?.start.address == address + 8191 * 8192)
    }
    allocator.checkInvariants { Issue.record("\($0)") }
  }

  // MARK: - Refusals

  @Test("freeing what is not taken, or not owned, traps")
  func badFree() async {
    var said: ExitTest.Result?
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try FakeArenas.withAllocator { allocator, first in
        allocator.free(PageRange(first, count: 1))
      }
    }
    expect(said, "free already")
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try FakeArenas.withAllocator { allocator, first in
        _ = allocator.allocate(600)
        allocator.free(PageRange(first, count: 601))
      }
    }
    expect(said, "free already")
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try FakeArenas.withAllocator { allocator, first in
        _ = allocator.allocate(10)
        allocator.free(PageRange(first + 3, count: 2))
        allocator.free(PageRange(first, count: 10))
      }
    }
    expect(said, "free already")
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      // Behind the heap's only arena.
      try FakeArenas.withAllocator { allocator, first in
        _ = allocator.allocate(8192)
        allocator.free(PageRange(first + 8191, count: 2))
      }
    }
    expect(said, "not of this heap")
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      // In another heap's arena.
      try FakeArenas.withAllocator { allocator, first in
        let other = try FakeArenas([0..<1])
        allocator.free(PageRange(other.first, count: 1))
      }
    }
    expect(said, "not of this heap")
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try FakeArenas.withAllocator { allocator, first in
        allocator.free(PageRange(PageIndex(0), count: 1))
      }
    }
    expect(said, "not of this heap")
  }

  @Test("an allocation of no pages, or fewer, traps")
  func absurd() async {
    var said: ExitTest.Result?
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try FakeArenas.withAllocator { allocator, first in _ = allocator.allocate(0) }
    }
    expect(said, "at least one page")
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try FakeArenas.withAllocator { allocator, first in _ = allocator.allocate(-1) }
    }
    expect(said, "at least one page")
  }

  @Test("growth by an arena twice, or by an unknown one, traps")
  func badGrowth() async {
    var said: ExitTest.Result?
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try FakeArenas.withAllocator { allocator, first in
        try allocator.grow(by: first.arena...first.arena)
      }
    }
    expect(said, "once")
    said = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try FakeArenas.withAllocator { allocator, first in
        let next = first.arena.advanced(by: 1)
        try allocator.grow(by: next...next)
      }
    }
    expect(said, "published before")
  }

  /// Expects that a process said why it ended. (It does so in release builds too.)
  private func expect(_ said: ExitTest.Result?, _ words: String) {
    let text = said?.message ?? ""
    #expect(text.contains(words), "a process ended with: \(text)")
  }

  // MARK: - No memory

  // Fault injection is process-wide: these run in processes of their own, and trap to fail.

  @Test("an allocator that cannot reserve its summaries throws and keeps no addresses")
  func noReservation() async {
    await #expect(processExitsWith: .success) {
      let before = try addressSpace()
      for round in 0..<100 {
        VirtualMemory.failCall(in: 1 + round % 2)
        do throws(SystemFailure) {
          _ = try PageAllocator()
          preconditionFailure("call \(1 + round % 2) did not fail")
        } catch {
          precondition(error.operation == (round % 2 == 0 ? "mmap" : "mprotect"))
        }
      }
      // One that succeeds gives its addresses back in the end.
      for _ in 0..<100 { _ = try PageAllocator() }
      let after = try addressSpace()
      precondition(after < before + 1 << 30, "\(after - before) bytes of addresses were kept")
    }
  }

  @Test("growth that fails at any call leaves the allocator as it was")
  func noGrowth() async {
    await #expect(processExitsWith: .success) {
      let arenas = try FakeArenas([0..<2, 5000..<5001])
      var allocator = try PageAllocator()
      try allocator.grow(by: arenas[0...0])
      precondition(allocator.allocate(8000)?.start == arenas.first)
      for (arena, free) in [(1, 8384), (5000, 16576)] {
        for call in 1...8 {
          VirtualMemory.failCall(in: call)
          do throws(SystemFailure) {
            try allocator.grow(by: arenas[arena...arena])
            preconditionFailure("growth did not fail at call \(call)")
          } catch {}
          precondition(allocator.freePages == free - 8192)
          precondition(allocator.longestFreeRun == free - 8192 || arena == 5000)
          allocator.checkInvariants { preconditionFailure($0) }
        }
        VirtualMemory.failCall(in: 0)
        try allocator.grow(by: arenas[arena...arena])
        precondition(allocator.freePages == free)
        allocator.checkInvariants { preconditionFailure($0) }
      }
    }
  }
}

// MARK: - Scenarios

/// Pages in use at the start, and what each request then gets; pages count from the first.
struct Scenario: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let arenas: [Range<Int>]
  let used: [Range<Int>]
  let requests: [(count: Int, page: Int?)]

  init(
    _ name: String, arenas: [Range<Int>] = [0..<1], used: [Range<Int>] = [],
    _ requests: [(count: Int, page: Int?)]
  ) {
    testDescription = name
    (self.arenas, self.used, self.requests) = (arenas, used, requests)
  }

  static let all: [Scenario] = [
    Scenario("one page of a free heap", [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]),
    Scenario(
      "one page, the last of many arenas", arenas: [0..<16], used: [0..<16 * 8192 - 1],
      [(1, 16 * 8192 - 1), (1, nil)]),
    Scenario(
      "one page of arenas with a gap", arenas: [0..<1, 255..<256], used: [0..<8192],
      [(1, 255 * 8192), (1, 255 * 8192 + 1)]),
    Scenario(
      "one page between used ones", used: [0..<100, 101..<300, 301..<8192],
      [(1, 100), (1, 300), (1, nil)]),
    Scenario("two pages of a free heap", [(2, 0), (2, 2), (2, 4), (2, 6), (2, 8)]),
    Scenario(
      "two pages across chunks", used: [0..<511, 513..<8192],
      [(3, nil), (2, 511), (2, nil), (1, nil)]),
    Scenario(
      "two pages across arenas", arenas: [0..<2], used: [0..<8191, 8193..<16384],
      [(3, nil), (2, 8191), (1, nil)]),
    Scenario("five pages of a free heap", [(5, 0), (5, 5), (5, 10), (5, 15), (5, 20)]),
    Scenario("64 pages of a free heap", [(64, 0), (64, 64), (64, 128)]),
    Scenario("65 pages of a free heap", [(65, 0), (65, 65), (65, 130)]),
    Scenario(
      "a chunk less three pages", [(509, 0), (509, 509), (3, 1018), (509, 1021)]),
    Scenario("a chunk of a free heap", [(512, 0), (512, 512), (512, 1024)]),
    Scenario(
      "a chunk's pages across chunks", used: [0..<256, 768..<8192],
      [(513, nil), (512, 256), (1, nil)]),
    Scenario(
      "a chunk's pages and one across chunks", used: [0..<255, 768..<8192],
      [(513, 255), (513, nil), (1, nil)]),
    Scenario("two chunks of a free heap", [(1024, 0), (1024, 1024)]),
    Scenario(
      "two chunks' pages, and a gap after one", arenas: [0..<1, 2..<3], used: [0..<7680],
      [(1024, 16384), (512, 7680), (1024, 17408)]),
    Scenario(
      "two chunks' pages across three", used: [0..<256, 1280..<8192],
      [(1025, nil), (1024, 256), (1, nil)]),
    Scenario(
      "a chunk and a quarter across two", used: [0..<384, 1024..<8192],
      [(641, nil), (640, 384), (1, nil)]),
    Scenario("seven chunks and five pages", [(3589, 0), (3589, 3589), (3589, nil), (1014, 7178)]),
    Scenario(
      "an arena's pages across arenas", arenas: [0..<3], used: [0..<4000, 20000..<24576],
      [(8192, 4000), (8192, nil), (7808, 12192), (1, nil)]),
    Scenario(
      "nothing of a used heap", used: [0..<8192], [(1, nil), (2, nil), (512, nil), (8192, nil)]),
    Scenario(
      "everything, at once", arenas: [0..<20], [(20 * 8192 + 1, nil), (20 * 8192, 0), (1, nil)]),
    Scenario(
      "different counts, each the lowest that fits", used: [4..<8, 10..<20, 30..<100, 164..<8000],
      [(10, 20), (3, 0), (64, 100), (2, 8), (65, 8000), (1, 3), (1, 8065)]),
    Scenario(
      "a run that a shorter one before does not hide", arenas: [0..<2],
      used: [10..<500, 520..<8000, 8100..<8180, 8300..<16384],
      [(120, 8180), (100, 8000), (20, 500), (10, 0), (1, nil)]),
  ]
}

// MARK: - Fixture

/// Arenas with tables and nothing else, at addresses that nobody has; each instance has its
/// own 64 GiB, for tests run side by side.
final class FakeArenas {
  let first: PageIndex
  private let arenas: [Range<Int>]

  private static let count = Atomic<UInt>(0)

  /// - Parameter arenas: which of 1024 there are.
  init(_ arenas: [Range<Int>]) throws(SystemFailure) {
    // Addresses are used again only after 2048 fixtures, which do not live at the same time.
    let place = Self.count.add(1, ordering: .relaxed).newValue % 128
    self.arenas = arenas
    first = PageIndex(holding: 0x6000_0000_0000 + place << 36)
    for arena in arenas.joined() {
      let arena = self[arena...arena].lowerBound
      precondition(ArenaTables.find(arena.address) == nil, "too many fixtures at a time")
      _ = try ArenaTables.publish(arena, owner: 1)
    }
  }

  deinit {
    for arena in arenas.joined() {
      let arena = self[arena...arena].lowerBound
      ArenaTables.of(arena.address).withdraw(arena)
    }
  }

  /// Arenas by their places.
  subscript(_ places: ClosedRange<Int>) -> ClosedRange<ArenaIndex> {
    first.arena.advanced(by: places.lowerBound)...first.arena.advanced(by: places.upperBound)
  }

  /// Pages by their places, counted from the first arena's first.
  func pages(_ places: Range<Int>) -> PageRange {
    PageRange(first + places.lowerBound, count: places.count)
  }

  /// An allocator that has all of the arenas.
  func allocator() throws -> PageAllocator {
    var allocator = try PageAllocator()
    for range in arenas {
      try allocator.grow(by: self[range.lowerBound...range.upperBound - 1])
    }
    return allocator
  }

  /// Runs `body` with an allocator of one free arena.
  static func withAllocator(_ body: (inout PageAllocator, PageIndex) throws -> Void) throws {
    let arenas = try FakeArenas([0..<1])
    var allocator = try arenas.allocator()
    try body(&allocator, arenas.first)
  }

  func take(_ places: Range<Int>, in allocator: inout PageAllocator) {
    allocator.take(pages(places))
  }

  func expectConsistent(_ allocator: borrowing PageAllocator) {
    allocator.checkInvariants { Issue.record("\($0)") }
  }
}

extension PageAllocator {
  /// Adds arenas as the page heap does, in two steps.
  mutating func grow(by arenas: ClosedRange<ArenaIndex>) throws(SystemFailure) {
    try summaryMemory.commit(arenas)
    add(arenas)
  }
}

/// Bytes of addresses that the process has taken.
func addressSpace() throws -> Int {
  let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
  let pages = text.split(separator: " ").first.flatMap { Int($0) }
  return try #require(pages) * VirtualMemory.systemPageSize
}
