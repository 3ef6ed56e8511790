// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Scanning a stack: which words keep which objects, and that real frames are seen.

import Collector
import Heap
import Testing

@Suite("Stack scanning")
struct StackScannerTests {
  let fixture: HeapFixture

  init() throws { fixture = try HeapFixture() }

  @Test("of a stack's words, those in the range that point into objects mark them, and no other")
  func words() {
    fixture.attached { program in
      let nodes = (0..<8).map { _ in program.makeNode() }
      let words: [UInt] = [
        nodes[0], 0, nodes[1], 42, nodes[2] + 39, .max, nodes[3], nodes[4] - 1 << 40, nodes[5],
      ]
      unsafe words.withUnsafeBufferPointer { words in
        let first = UInt(bitPattern: words.baseAddress)
        var marker = Marker(program.heap.marking)
        // From the middle of the first word, which is not whole, to before the last.
        marker.scanStack(from: first + 1, to: first + UInt(8 * (words.count - 1)))
        marker.settle()
      }
      let marked = nodes.indices.filter { fixture.isMarked(nodes[$0]) }
      #expect(marked == [1, 2, 3])
    }
  }

  @Test("an empty stretch of stack marks nothing")
  func empty() {
    fixture.attached { program in
      var marker = Marker(program.heap.marking)
      marker.scanStack(from: 0, to: 0)
      marker.scanStack(from: .max & ~7, to: 8)
      marker.settle()
      #expect(fixture.counted.objects == 0)
    }
  }

  @Test("what a local variable refers to lives, and is found with what is behind it")
  func locals() {
    fixture.attachedWithStack { program in
      let list = Self.makeList(program)
      program.cycle()
      #expect(program.load(list, HeapFixture.value) == 1)
      let live = fixture.objects(of: fixture.node)
      #expect(live.contains(list) && live.contains(program.load(list, HeapFixture.left)))
      Self.use(list)
    }
  }

  @Test("an interior pointer in a local keeps the whole object")
  func interior() {
    fixture.attachedWithStack { program in
      let inside = program.makeArray(count: 50) + 208
      program.cycle()
      #expect(fixture.objects(of: fixture.array).contains(inside - 208))
      Self.use(inside)
    }
  }

  @inline(never) private static func makeList(_ program: Program) -> UInt {
    let tail = program.makeNode(value: 2)
    let head = program.makeNode(value: 1)
    program.initialize(head, HeapFixture.left, tail)
    return head
  }

  @inline(never) private static func use(_ word: UInt) {
    #expect(word != 0)
  }
}
