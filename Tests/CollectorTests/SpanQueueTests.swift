// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The mark queue: lists of spans, first in first out, linked through the records.
//
// The lists are checked against arrays by a random program; the shared queue by threads that
// put and take at once: every span comes out as often as it was put in.

import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Span lists and the mark queue")
struct SpanQueueTests {
  let memory = RecordMemory()

  private func span() throws -> HeapSpan {
    HeapSpan(address: try memory.allocate(size: 256))
  }

  private func contents(_ list: SpanList) -> [HeapSpan] {
    var found: [HeapSpan] = []
    var next = list.head
    while let span = next {
      found.append(span)
      next = span.queueNext
    }
    return found
  }

  @Test("a list is what an array with the same history is")
  func model() throws {
    var random = RandomNumbers("span lists")
    var unused = try (0..<200).map { _ in try span() }
    var lists = [SpanList(), SpanList(), SpanList()]
    var models: [[HeapSpan]] = [[], [], []]
    for _ in 0..<20_000 {
      let i = random.below(3)
      let j = (i + 1 + random.below(2)) % 3
      switch random.below(6) {
      case 0, 1, 2:
        guard let span = unused.popLast() else { continue }
        lists[i].append(span)
        models[i].append(span)
      case 3:
        let span = lists[i].removeFirst()
        #expect(span == models[i].first)
        if let span {
          models[i].removeFirst()
          unused.append(span)
        }
      case 4:
        var moved = lists[j]
        lists[i].append(all: &moved)
        lists[j] = moved
        models[i] += models[j]
        models[j] = []
      default:
        let limit = 1 + random.below(8)
        var target = lists[j]
        lists[i].moveFirst(limit, to: &target)
        lists[j] = target
        models[j] += models[i].prefix(limit)
        models[i].removeFirst(min(limit, models[i].count))
      }
      for (list, model) in zip(lists, models) {
        #expect(list.count == model.count && list.isEmpty == model.isEmpty)
        #expect(list.head == model.first && list.tail == model.last)
      }
    }
    for (list, model) in zip(lists, models) { #expect(contents(list) == model) }
  }

  @Test("the shared queue gives out at most a batch, and says when it is empty")
  func batches() throws {
    let fixture = try HeapFixture()
    let queue = fixture.heap.marking.queue
    #expect(queue.isEmpty)
    var list = SpanList()
    #expect(!queue.take(4, into: &list))
    let spans = try (0..<10).map { _ in try span() }
    for span in spans { list.append(span) }
    queue.put(&list)
    #expect(list.isEmpty && !queue.isEmpty)
    var taken: [[HeapSpan]] = []
    while queue.take(4, into: &list) {
      taken.append(contents(list))
      list = SpanList()
    }
    #expect(taken.map(\.count) == [4, 4, 2])
    #expect(taken.flatMap { $0 } == spans, "first in, first out")
    #expect(queue.isEmpty)
    queue.put(&list)
    #expect(queue.isEmpty, "nothing was put in")
  }

  @Test("of threads that put and take at once, none loses a span or gets one twice")
  func contention() throws {
    let fixture = try HeapFixture()
    let queue = fixture.heap.marking.queue
    let spans = try (0..<400).map { _ in try span() }
    let found = Mutex<[HeapSpan]>([])
    onThreads(4) { number in
      var mine = SpanList()
      var random = RandomNumbers(seed: UInt64(number))
      for span in spans[(number * 100)..<(number * 100 + 100)] {
        mine.append(span)
        if random.below(3) == 0 { queue.put(&mine) }
        if random.below(3) == 0 { _ = queue.take(1 + random.below(5), into: &mine) }
      }
      var held: [HeapSpan] = []
      while let span = mine.removeFirst() { held.append(span) }
      found.withLock { $0 += held }
    }
    var rest = SpanList()
    while queue.take(7, into: &rest) {}
    let all = found.withLock { $0 } + contents(rest)
    #expect(all.count == 400 && Set(all) == Set(spans))
    #expect(queue.isEmpty)
  }
}
