// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The central lists: one shelf for each layout and class, made once, found ever after.

import Heap
import TestSupport
import Testing

@Suite("Central lists")
struct CentralListsTests {
  let fixture: SpanFixture

  init() throws { fixture = try SpanFixture() }

  @Test("a layout has one shelf in a class, and another in every other class")
  func shelves() throws {
    let (a, b) = try (fixture.layout(size: 64), fixture.layout(size: 64))
    let small = try #require(SizeClass.of(size: 64))
    let shelf = try fixture.central.shelf(for: a, in: small)
    #expect(try fixture.central.shelf(for: a, in: small) == shelf)
    #expect(try fixture.central.shelf(for: b, in: small) != shelf, "equal is not the same")
    #expect(try fixture.central.shelf(for: a, in: .large) != shelf)
    #expect(fixture.central.shelves().count == 3)
    #expect(shelf.layout == a && shelf.spanClass == SpanClass(small, noscan: false))
    #expect(shelf.objectCount == 0 && shelf.spanCount == 0)
  }

  @Test("a layout without references gets the noscan half of its class")
  func noscan() throws {
    let layout = try fixture.layout(size: 64, references: [])
    let sizeClass = try #require(SizeClass.of(size: 64))
    #expect(try fixture.central.shelf(for: layout, in: sizeClass).spanClass.isNoscan)
  }

  @Test("shelves are listed in the order in which they were made")
  func order() throws {
    let made = try (1...20).map { try fixture.shelf(size: $0 * 8) }
    #expect(fixture.central.shelves() == made)
  }

  @Test("threads that ask for the same new shelf at once all get the same one")
  func contention() throws {
    let layouts = try (0..<50).map { _ in try fixture.layout(size: 32) }
    let sizeClass = try #require(SizeClass.of(size: 32))
    let found = HeapLock<[HeapLayout: Set<SpanShelf>]>([:], rank: .verifier)
    let central = fixture.central
    onThreads(4) { _ in
      for layout in layouts {
        guard let shelf = try? central.shelf(for: layout, in: sizeClass) else { continue }
        found.withLock { _ = $0[layout, default: []].insert(shelf) }
      }
    }
    #expect(found.withLock { $0.values.allSatisfy { $0.count == 1 } && $0.count == 50 })
    #expect(fixture.central.shelves().count == 50)
  }

  @Test("what is wrong on any shelf is reported")
  func invariants() throws {
    let shelf = try fixture.shelf(size: 128)
    let span = try fixture.span(on: shelf)
    shelf.put(span)
    #expect(reports(fixture.central.checkInvariants).isEmpty)
    span.allocatedCount = 5
    #expect(!reports(fixture.central.checkInvariants).isEmpty)
  }
}
