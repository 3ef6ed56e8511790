// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Random programs against a model: a sorted list of free runs, searched from its start.
//
// Each program allocates, frees whole runs and parts of them, takes pages by place and grows
// the heap, in arenas with and without gaps between them; every answer is compared, and every
// so often each bit and each summary. The seed is the test's argument, so a failure names it;
// one seed is new in each run. HEAP_LONG_TESTS=1 makes programs fifty times as long.

import Foundation
import Heap
import TestSupport
import Testing

@Suite("The page allocator and a list of free runs")
struct PageAllocatorModelTests {
  private static let seeds: [UInt64] = [1, 2, 3, 4, 5, 6, .random(in: 1000...(.max))]

  private static let steps =
    ProcessInfo.processInfo.environment["HEAP_LONG_TESTS"] == nil ? 1500 : 75_000

  @Test("answer alike", arguments: seeds)
  func program(seed: UInt64) throws {
    var random = RandomNumbers(seed: seed)
    // Neighbours, a gap, a far one; the order of growth is random.
    var waiting = [0, 1, 2, 4, 5, 37, 700].shuffled(using: &random)
    let arenas = try FakeArenas([0..<3, 4..<6, 37..<38, 700..<701])
    var allocator = try PageAllocator()
    var model = FreeRuns()
    var held: [Range<Int>] = []
    /// Of 100 steps, how many allocate: the heap fills up and empties in turns.
    var filling = 70

    for step in 0..<Self.steps {
      if step % 300 == 0 { filling = 100 - filling }
      let dice = Int.random(in: 0..<1000, using: &random)
      if waiting.count == 7 || (dice < 6 && !waiting.isEmpty) {
        let arena = waiting.removeLast()
        try allocator.grow(by: arenas[arena...arena])
        model.free(arena * 8192..<(arena + 1) * 8192)
      } else if dice < 30 {
        // By place, where they are free.
        let start = Int.random(in: 0..<6 * 8192, using: &random)
        let range = start..<start + Self.count(using: &random)
        if model.take(range) {
          arenas.take(range, in: &allocator)
          held.append(range)
        }
      } else if dice % 100 < filling || held.isEmpty {
        let count = Self.count(using: &random)
        let pages = allocator.allocate(count)
        let found = pages.map { $0.start - arenas.first }
        let expected = model.allocate(count)
        guard found == expected, pages == nil || pages?.count == count else {
          Issue.record(
            """
            seed \(seed), step \(step): \(count) pages at \(String(describing: found)), \
            not at \(String(describing: expected))
            """)
          return
        }
        if let found { held.append(found..<found + count) }
      } else {
        // One run, or a part of it, which leaves up to two to be freed later.
        let run = held.remove(at: Int.random(in: held.indices, using: &random))
        var part = run
        if dice % 3 == 0 {
          let a = Int.random(in: run.lowerBound..<run.upperBound, using: &random)
          part = a..<Int.random(in: a + 1...run.upperBound, using: &random)
        }
        if run.lowerBound < part.lowerBound { held.append(run.lowerBound..<part.lowerBound) }
        if part.upperBound < run.upperBound { held.append(part.upperBound..<run.upperBound) }
        allocator.free(arenas.pages(part))
        model.free(part)
      }
      #expect(allocator.freePages == model.total, "seed \(seed), step \(step)")
      #expect(allocator.longestFreeRun == model.longest, "seed \(seed), step \(step)")
      if step % 50 == 49 {
        allocator.checkInvariants { Issue.record("seed \(seed), step \(step): \($0)") }
        compareBits(arenas, without: waiting, with: model, "seed \(seed), step \(step)")
      }
    }
    // Everything back: one run a stretch of neighbours, as if nothing had been.
    for run in held.shuffled(using: &random) {
      allocator.free(arenas.pages(run))
      model.free(run)
    }
    allocator.checkInvariants { Issue.record("seed \(seed), at the end: \($0)") }
    compareBits(arenas, without: waiting, with: model, "seed \(seed), at the end")
    #expect(allocator.freePages == (7 - waiting.count) * 8192)
    #expect(allocator.longestFreeRun == model.longest)
  }

  /// Mostly the page counts of small spans; some of large objects; now and then a huge one.
  private static func count(using random: inout RandomNumbers) -> Int {
    switch Int.random(in: 0..<100, using: &random) {
    case ..<40: 1
    case ..<80: Int.random(in: 2...10, using: &random)
    case ..<92: Int.random(in: 11...100, using: &random)
    case ..<98: Int.random(in: 100...1500, using: &random)
    default: Int.random(in: 1500...12000, using: &random)
    }
  }

  private func compareBits(
    _ arenas: FakeArenas, without waiting: [Int], with model: FreeRuns, _ context: String
  ) {
    for arena in [0, 1, 2, 4, 5, 37, 700] where !waiting.contains(arena) {
      let first = arena * 8192
      let tables = ArenaTables.of((arenas.first + first).address)
      for (number, chunk) in arenas[arena...arena].chunks.enumerated() {
        let start = first + number * 512
        let expected = model.runs.filter { $0.overlaps(start..<start + 512) }
          .map { $0.clamped(to: start..<start + 512) }
          .map { $0.lowerBound - start..<$0.upperBound - start }
        let free = tables.freePages(of: chunk)
        // All of these are free, and no others.
        #expect(
          expected.allSatisfy { free.containsAll($0) }
            && free.count() == expected.reduce(0) { $0 + $1.count },
          "\(context): chunk \(number) of arena \(arena)")
      }
    }
  }
}

/// Free runs in ascending order, never touching each other.
private struct FreeRuns {
  private(set) var runs: [Range<Int>] = []
  private(set) var total = 0

  var longest: Int { runs.map(\.count).max() ?? 0 }

  mutating func allocate(_ count: Int) -> Int? {
    guard let index = runs.firstIndex(where: { $0.count >= count }) else { return nil }
    let start = runs[index].lowerBound
    remove(start..<start + count, from: index)
    return start
  }

  mutating func take(_ pages: Range<Int>) -> Bool {
    let holds = { (run: Range<Int>) in
      run.lowerBound <= pages.lowerBound && pages.upperBound <= run.upperBound
    }
    guard let index = runs.firstIndex(where: holds) else { return false }
    remove(pages, from: index)
    return true
  }

  private mutating func remove(_ pages: Range<Int>, from index: Int) {
    let run = runs[index]
    let rest = [run.lowerBound..<pages.lowerBound, pages.upperBound..<run.upperBound]
    runs.replaceSubrange(index...index, with: rest.filter { !$0.isEmpty })
    total -= pages.count
  }

  mutating func free(_ pages: Range<Int>) {
    total += pages.count
    let place = runs.firstIndex { $0.lowerBound > pages.lowerBound } ?? runs.endIndex
    runs.insert(pages, at: place)
    if place + 1 < runs.count, runs[place].upperBound == runs[place + 1].lowerBound {
      runs[place] = runs[place].lowerBound..<runs[place + 1].upperBound
      runs.remove(at: place + 1)
    }
    if place > 0, runs[place - 1].upperBound == runs[place].lowerBound {
      runs[place - 1] = runs[place - 1].lowerBound..<runs[place].upperBound
      runs.remove(at: place)
    }
  }
}
