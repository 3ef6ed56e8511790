// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the heap knows about a type: a description goes in, a record for the scan loop comes
// out, and says the same.

import Heap
import Testing

@Suite("Layout records")
struct LayoutRecordTests {
  let memory = RecordMemory()

  @Test("a record says what its description said")
  func roundTrip() throws {
    let layout = try HeapLayout.make(
      .init(
        kind: .array, size: 40, alignment: 16, elementsOffset: 16, references: [0, 8, 32],
        ambiguous: [24], isTiny: false),
      identifier: 12, in: memory)
    #expect(layout.kind == .array)
    #expect(layout.size == 40 && layout.alignment == 16 && layout.elementsOffset == 16)
    let (references, ambiguous) = unsafe (Array(layout.references), Array(layout.ambiguous))
    #expect(references == [0, 8, 32])
    #expect(ambiguous == [24])
    #expect(layout.identifier == 12)
    #expect(!layout.isNoscan && !layout.isTiny)
  }

  @Test(
    "a layout is noscan exactly when it has neither precise nor ambiguous references",
    arguments: [([], []), ([0], []), ([], [8]), ([0], [8])] as [([Int], [Int])])
  func noscan(references: [Int], ambiguous: [Int]) throws {
    let layout = try HeapLayout.make(
      .init(kind: .object, size: 16, alignment: 8, references: references, ambiguous: ambiguous),
      identifier: 0, in: memory)
    #expect(layout.isNoscan == (references.isEmpty && ambiguous.isEmpty))
    let counts = unsafe (layout.references.count, layout.ambiguous.count)
    #expect(counts == (references.count, ambiguous.count))
  }

  @Test("a type with thousands of references keeps them all")
  func many() throws {
    let offsets = Array(stride(from: 0, to: 4 << 20, by: 8 * 11))
    let layout = try HeapLayout.make(
      .init(kind: .object, size: 4 << 20, alignment: 8, references: offsets),
      identifier: 0, in: memory)
    let kept = unsafe layout.references.map { Int($0) }
    #expect(kept == offsets)
  }

  @Test("an array's size is exact, and nil where an address ends")
  func arraySize() throws {
    let layout = try HeapLayout.make(
      .init(kind: .array, size: 24, alignment: 8, elementsOffset: 8, references: [0]),
      identifier: 0, in: memory)
    #expect(layout.arraySize(count: 0) == 8)
    #expect(layout.arraySize(count: 1) == 32)
    #expect(layout.arraySize(count: 1_000_000) == 24_000_008)
    let most = (1 << 47) / 24
    #expect(layout.arraySize(count: most) == most * 24 + 8)
    for beyond in [most + 1, .max / 24, .max / 24 + 1, .max, -1, .min] {
      #expect(layout.arraySize(count: beyond) == nil)
    }
  }
}
