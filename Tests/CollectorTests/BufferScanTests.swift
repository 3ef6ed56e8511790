// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Scanning buffers: a header between the count and the elements, each with references or without.
//
// The header is three words, of which the second is a reference and the third is ambiguous. It lies
// behind the count, so its reference is 16 bytes into the buffer.

import Collector
import Heap
import TestSupport
import Testing

@Suite("Scanning buffers")
struct BufferScanTests {
  let fixture: HeapFixture
  /// Elements are references.
  let both: HeapLayout
  /// Elements are bytes.
  let headed: HeapLayout
  /// The header has no references, the elements are pairs of a number and a reference.
  let tailed: HeapLayout

  private static let reference = 16
  private static let ambiguous = 24
  private static let elements = 32

  init() throws {
    fixture = try HeapFixture()
    let header = try fixture.heap.register(
      .init(kind: .object, size: 24, alignment: 8, references: [8], ambiguous: [16]),
      name: "Header")
    let plain = try fixture.heap.register(
      .init(kind: .object, size: 24, alignment: 8, references: []), name: "Plain")
    both = try fixture.heap.register(
      .init(
        kind: .buffer, size: 8, alignment: 8, elementsOffset: Self.elements, references: [0],
        header: (header, 8)), name: "Both")
    headed = try fixture.heap.register(
      .init(
        kind: .buffer, size: 1, alignment: 8, elementsOffset: Self.elements, references: [],
        header: (header, 8)), name: "Headed")
    tailed = try fixture.heap.register(
      .init(
        kind: .buffer, size: 16, alignment: 8, elementsOffset: Self.elements, references: [8],
        header: (plain, 8)), name: "Tailed")
  }

  private var leaves: Set<UInt> { fixture.objects(of: fixture.leaf) }

  private func make(_ layout: HeapLayout, _ count: Int, _ program: Program) -> UInt {
    guard let buffer = program.tryArray(layout, count: count) else { broken("no memory") }
    return buffer
  }

  @Test("a buffer is free of references only if its header and its elements are")
  func noscan() throws {
    let plain = try fixture.heap.register(
      .init(kind: .object, size: 8, alignment: 8, references: []), name: "Plain")
    let bytes = try fixture.heap.register(
      .init(
        kind: .buffer, size: 1, alignment: 8, elementsOffset: 16, references: [],
        header: (plain, 8)), name: "Bytes")
    #expect(bytes.isNoscan && !both.isNoscan && !headed.isNoscan && !tailed.isNoscan)
  }

  @Test("the header's references and the elements', to the last one", arguments: [1, 100, 100_000])
  func scanning(count: Int) {
    fixture.attached { program in
      let root = program.root(make(both, count, program))
      var expected: [UInt] = []
      for offset in [Self.reference, Self.ambiguous, Self.elements + 8 * (count - 1)] {
        expected.append(program.makeLeaf())
        program.store(expected.last ?? 0, into: root.reference, offset)
      }
      let unreachable = program.makeLeaf()
      // The first word of the header is a number.
      program.initialize(root.reference, 8, unreachable)
      program.cycle()
      #expect(leaves == Set(expected))
      program.set(root, make(headed, count, program))
      let (leaf, number) = (program.makeLeaf(), program.makeLeaf())
      program.store(leaf, into: root.reference, Self.reference)
      if count >= 8 { program.initialize(root.reference, Self.elements, number) }
      program.cycle()
      #expect(leaves == [leaf])
      program.set(root, make(tailed, count, program))
      let (last, plain) = (program.makeLeaf(), program.makeLeaf())
      program.store(last, into: root.reference, Self.elements + 16 * (count - 1) + 8)
      program.initialize(root.reference, Self.reference, plain)
      program.cycle()
      #expect(leaves == [last])
      program.drop(root)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("an old buffer that was written, for a minor cycle", arguments: [1, 600, 100_000])
  func cards(count: Int) {
    fixture.attached { program in
      for layout in [both, headed, tailed] {
        let buffer = program.root(make(layout, count, program))
        program.cycle()
        var expected: Set<UInt> = []
        if layout != tailed {
          for offset in [Self.reference, Self.ambiguous] {
            let leaf = program.makeLeaf()
            program.store(leaf, into: buffer.reference, offset)
            expected.insert(leaf)
          }
        }
        if layout != headed {
          let leaf = program.makeLeaf()
          program.store(
            leaf, into: buffer.reference,
            layout == both ? Self.elements + 8 * (count - 1) : Self.elements + 16 * count - 8)
          expected.insert(leaf)
        }
        _ = program.makeLeaf()
        program.cycle(.minor)
        #expect(leaves == expected)
        program.drop(buffer)
        program.cycle()
        #expect(leaves.isEmpty)
      }
    }
    #expect(fixture.problems.isEmpty)
  }
}
