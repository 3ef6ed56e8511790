// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Runs that are changed between live objects: nothing is lost, and everything is counted once.

import Mutator
import Testing

@Suite("Changes of runs") struct RunChangeTests {
  private struct Item: HeapObject {
    var number: Int
    var next: HeapRef<Item>?
  }

  @Test("objects that are allocated between live ones are counted exactly, and none is lost")
  func counts() throws {
    let heap = try HeapCheck.heap()
    var made = 1
    heap.withMutator { mutator in
      let kept = mutator.allocateArray(of: HeapRef<Item>?.self, count: 2_000, repeating: nil)
      for round in 0..<4 {
        for number in 0..<2_000 {
          let item = mutator.allocate(Item(number: round * 10_000 + number, next: nil))
          made += 1
          // One in nine lives: its neighbours are holes after the collection.
          if number % 9 == round { kept[number] = item }
          #expect(heap.statistics.allocatedObjects == made)
        }
        for number in 0..<2_000 where kept[number] != nil {
          #expect(kept[number]?.number == (number % 9) * 10_000 + number)
        }
        mutator.collect()
      }
    }
    #expect(heap.statistics.allocatedObjects == made)
    HeapCheck.expectSound(heap)
  }
}
