// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A request for memory that is refused leaves the heap as it was.

import Collector
import Heap
import Mutator
import Testing

private struct Item: HeapObject {
  var next: HeapRef<Item>?
  var value = 0
}

@Suite("Refused requests")
struct RefusedRequestTests {
  @Test("after a request that no machine can hold, the heap is collected as before")
  func collectsAsBefore() throws {
    let heap = try HeapCheck.heap { $0.minimumHeap = 1 << 20 }
    heap.withMutator { (mutator: HeapMutator) -> Void in
      for _ in 0..<3 {
        #expect(throws: HeapError.self) {
          _ = try mutator.tryAllocateArray(of: Int.self, count: 1 << 40, repeating: 0)
        }
      }
      for value in 0..<200_000 { _ = mutator.allocate(Item(next: nil, value: value)) }
    }
    #expect(heap.statistics.cycleCount >= 2)
    #expect(heap.core.pageHeap.usage.spanBytes < 4 << 20)
    #expect(heap.statistics.allocatedObjects == 200_000)
  }

  @Test("a request that is impossible whatever is freed is refused without a collection")
  func refusedAtOnce() throws {
    let heap = try HeapCheck.heap { $0.hardLimit = 8 << 20 }
    heap.withMutator { (mutator: HeapMutator) -> Void in
      #expect(throws: HeapError.outOfMemory(requested: 8 << 40 + 8, limit: 8 << 20)) {
        _ = try mutator.tryAllocateArray(of: Int.self, count: 1 << 40, repeating: 0)
      }
    }
    #expect(heap.statistics.cycleCount == 0)
    #expect(heap.statistics.allocatedBytes == 0)
  }

  @Test("the error names the hard limit when that is the reason, and none when it is the system")
  func reason() throws {
    let limited = try HeapCheck.heap { $0.hardLimit = 1 << 20 }
    limited.withMutator { (mutator: HeapMutator) -> Void in
      #expect(throws: HeapError.outOfMemory(requested: 2_000_008, limit: 1 << 20)) {
        _ = try mutator.tryAllocateArray(of: UInt8.self, count: 2_000_000, repeating: 0)
      }
    }
    let free = try HeapCheck.heap()
    free.withMutator { (mutator: HeapMutator) -> Void in
      #expect(throws: HeapError.outOfMemory(requested: 8 << 40 + 8, limit: nil)) {
        _ = try mutator.tryAllocateArray(of: Int.self, count: 1 << 40, repeating: 0)
      }
    }
  }
}
