// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The collector's thread between cycles: it makes huge pages, and drops them for a cycle or the end.
// Which ranges become huge is HugePagesTests' matter.

import CHeapShims
import Collector
import Glibc
import Heap
import Synchronization
import TestSupport
import Testing

@Suite(
  "Work on huge pages",
  .enabled(
    if: VirtualMemory.canMakeHugePages,
    "the system has no huge pages of 2 MiB, or forbids them, or does not make them on request"))
struct HugePageWorkTests {
  private static let arrayBytes = 24 << 20

  /// Runs `body` in a heap with an array in use that fills many huge ranges.
  private func withArray(
    _ policy: PageHeap.HugePagePolicy = .automatic, _ body: (HeapFixture, Program) throws -> Void
  ) throws {
    let fixture = try HeapFixture { $0.hugePages = policy }
    try fixture.attached { program in
      Self.makeArray(program)
      try body(fixture, program)
    }
  }

  /// An array that lives, its memory touched.
  private static func makeArray(_ program: Program) {
    let array = program.makeBytes(count: arrayBytes)
    for offset in stride(from: 0, to: arrayBytes, by: VirtualMemory.systemPageSize) {
      program.initialize(array, offset + 8, 1)
    }
    _ = program.root(array)
  }

  /// Whether something comes true before many seconds have passed.
  private static func comesTrue(_ condition: () -> Bool) -> Bool {
    let end = heap_now() + 20_000_000_000
    while !condition() {
      if heap_now() > end { return false }
      usleep(500)
    }
    return true
  }

  // MARK: - The thread

  @Test("after a cycle the ranges in use are collapsed, one by one")
  func afterCycle() throws {
    try withArray { fixture, _ in
      let pages = fixture.heap.pageHeap
      #expect(pages.usage.hugeBytes == 0)
      fixture.heap.collectAndWait()
      // But for the first 4 MiB, and the last range.
      #expect(Self.comesTrue { pages.usage.hugeBytes == Self.arrayBytes - 4 << 20 })
      #expect(fixture.problems.isEmpty)
    }
  }

  @Test("a heap that never collects has ranges prepared as it grows")
  func neverCollected() throws {
    try withArray { fixture, program in
      let pages = fixture.heap.pageHeap
      Self.makeArray(program)
      #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 0)
      // The array crosses the border of 32 MiB. The span after it begins behind.
      _ = program.makeBytes(count: 40_000)
      #expect(Self.comesTrue { pages.usage.hugeBytes == HugeRange.size })
    }
  }

  @Test(
    "a heap with another setting is left as it is",
    arguments: [PageHeap.HugePagePolicy.system, .never])
  func otherPolicies(_ policy: PageHeap.HugePagePolicy) throws {
    try withArray(policy) { fixture, program in
      Self.makeArray(program)
      for _ in 0..<3 { fixture.heap.collectAndWait() }
      // The cycles before this one have been followed by the work, if there was any.
      #expect(fixture.heap.pageHeap.usage.hugeBytes == 0)
    }
  }

  @Test("a heap ends, and is collected, while there are ranges to collapse")
  func meanwhile() throws {
    for number in 0..<6 {
      try withArray { fixture, _ in
        for _ in 0...number { fixture.heap.collectAndWait() }
        #expect(fixture.objects(of: fixture.bytes).count == 1)
      }
    }
  }

  // MARK: - Pacing

  @Test("a call takes one range, and names a pause as long as it took")
  func pauses() throws {
    try withArray { fixture, _ in
      let pages = fixture.heap.pageHeap
      let work = HugePageWork(pages)
      #expect(work.next() == nil, "no cycle has been made")
      work.cycleEnded()
      let start = heap_thread_cpu()
      let pause = try #require(work.next())
      let time = Int(heap_thread_cpu() - start)
      #expect(pages.usage.hugeBytes == HugeRange.size)
      #expect(pause <= time && pause >= time / 2)
      var calls = 0
      while let pause = work.next() {
        calls += 1
        #expect(pages.usage.hugeBytes <= HugeRange.size * (calls + 1))
        usleep(UInt32(pause / 1000))
      }
      #expect(pages.usage.hugeBytes == Self.arrayBytes - 4 << 20)
    }
  }

  @Test("after refusals it is tried again: after the next cycle, the second, the fourth")
  func refusals() async {
    await #expect(processExitsWith: .success) {
      let fixture = try HeapFixture { $0.hugePages = .automatic }
      fixture.attached { program in
        Self.makeArray(program)
        let pages = fixture.heap.pageHeap
        let work = HugePageWork(pages)
        // Calls to the system before that which collapses: committing and discarding the spare range,
        // and populating it; reserving it only once.
        for (calls, cycles) in [(5, 1), (4, 1), (4, 2), (4, 4)] {
          for _ in 1..<cycles {
            work.cycleEnded()
            require(work.next() == nil, "too early")
          }
          VirtualMemory.failCall(in: calls)
          work.cycleEnded()
          require(work.next() == nil, "it was not refused")
          VirtualMemory.failCall(in: 0)
          require(pages.usage.hugeBytes == 0, "a refused range is not huge")
        }
        for _ in 1..<8 {
          work.cycleEnded()
          require(work.next() == nil, "too early")
        }
        work.cycleEnded()
        require(work.next() != nil, "never again")
        require(pages.usage.hugeBytes == HugeRange.size, "not collapsed")
      }
    }
  }
}
