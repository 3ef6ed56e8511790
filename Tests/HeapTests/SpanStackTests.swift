// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Lists of spans against an array: what is put in comes out, once, in the order of a stack.

import Heap
import TestSupport
import Testing

@Suite("Lists of spans")
struct SpanStackTests {
  private func contents(_ list: borrowing SpanStack) -> [HeapSpan] {
    var found: [HeapSpan] = []
    list.forEach { found.append($0) }
    return found
  }

  private func problems(_ list: borrowing SpanStack) -> [String] {
    var found: [String] = []
    list.checkInvariants({ found.append($0) }, { _ in })
    return found
  }

  @Test("a list does what an array does at its end, whatever is asked of it")
  func model() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 64)
    var idle = try (0..<40).map { _ in try fixture.span(on: shelf) }
    var random = RandomNumbers("lists of spans")
    var list = SpanStack()
    var model: [HeapSpan] = []  // The first of the list is the last here.
    for _ in 0..<3000 {
      switch random.below(4) {
      case 0:
        guard let span = idle.popLast() else { continue }
        list.push(span)
        model.append(span)
      case 1:
        let span = list.pop()
        #expect(span == model.popLast())
        if let span { idle.append(span) }
      case 2:
        // Some at once, which come back at the front, or are idle from now on.
        let limit = random.below(12)
        let some = list.popFirst(limit)
        let expected = Array(model.suffix(limit).reversed())
        model.removeLast(expected.count)
        #expect(contents(some) == expected && some.count == expected.count)
        #expect(problems(some) == [])
        if random.oneIn(2) {
          list.push(some)
          model += expected.reversed()
        } else {
          idle += expected
        }
      default:
        guard random.oneIn(10) else { continue }
        let all = list.popAll()
        #expect(contents(all) == model.reversed())
        idle += model
        model = []
      }
      #expect(list.count == model.count && list.isEmpty == model.isEmpty)
      #expect(list.first == model.last)
      #expect(problems(list) == [])
    }
    #expect(contents(list) == model.reversed())
    withExtendedLifetime(fixture) {}
  }

  @Test("a list that was changed behind its back is found out")
  func invariants() throws {
    let fixture = try SpanFixture()
    let shelf = try fixture.shelf(size: 64)
    let spans = try (0..<3).map { _ in try fixture.span(on: shelf) }
    func broken(_ harm: () -> Void) -> [String] {
      var list = SpanStack()
      for span in spans { list.push(span) }
      #expect(problems(list) == [])
      harm()
      return problems(list)
    }
    // The list is 2, 1, 0.
    #expect(broken { spans[1].listNext = nil }.contains { $0.contains("counts 3 spans, has 2") })
    #expect(broken { spans[0].listNext = spans[2] }.contains { $0.contains("goes on") })
    #expect(broken { spans[2].listNext = spans[0] }.contains { $0.contains("has 2") })
  }
}
