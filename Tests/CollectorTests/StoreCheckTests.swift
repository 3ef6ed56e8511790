// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked stores: each rule broken once, in a process of its own, and the words that name it.

import Collector
import Heap
import TestSupport
import Testing

@Suite("Checked stores")
struct StoreCheckTests {
  private static func checked(_ body: (Program) throws -> Void) throws {
    let fixture = try HeapFixture { $0.checks = true }
    try fixture.attached(body)
    withExtendedLifetime(fixture) {}
  }

  @Test("right stores pass, in checked mode and while the heap marks")
  func right() throws {
    try Self.checked { program in
      let (a, b) = (program.root(program.makeNode()), program.root(0))
      program.set(b, program.makeArray(count: 9))
      for _ in 0..<2 {
        program.store(b.reference, into: a.reference, HeapFixture.left)
        program.store(a.reference, into: b.reference, 16)
        program.store(0, into: b.reference, 24)
        program.beginCycle()
        program.store(a.reference, into: a.reference, HeapFixture.right)
        program.endCycle()
      }
    }
  }

  @Test("a store into a collected object is named")
  func deadObject() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.checked { program in
        let (kept, dead) = (program.root(program.makeNode()), program.makeNode())
        program.cycle()
        program.store(kept.reference, into: dead, HeapFixture.left)
      }
    }
    #expect(result.said("stored into an object that has been collected"))
  }

  @Test("storing a reference to a collected object is named, with the type stored into")
  func deadValue() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.checked { program in
        let (kept, dead) = (program.root(program.makeNode()), program.makeNode())
        program.cycle()
        program.store(dead, into: kept.reference, HeapFixture.left)
      }
    }
    #expect(result.said("a reference to an object that has been collected"))
    #expect(result.said("Node"))
  }

  @Test("storing a number is named")
  func noReference() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.checked { program in
        program.store(4711, into: program.makeNode(), HeapFixture.left)
      }
    }
    #expect(result.said("0x1267, which is no reference, was stored into field"))
  }

  @Test("storing another heap's reference is named")
  func otherHeap() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.checked { program in
        let mine = program.makeNode()
        try Self.checked { other in
          program.store(other.makeNode(), into: mine, HeapFixture.left)
        }
      }
    }
    #expect(result.said("objects of two heaps cannot refer to each other"))
  }

  @Test("storing an address inside an object is named")
  func interior() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.checked { program in
        let node = program.makeNode()
        program.store(node + 8, into: node, HeapFixture.left)
      }
    }
    #expect(result.said("an address inside an object"))
  }
}
