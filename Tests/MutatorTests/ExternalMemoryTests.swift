// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Memory outside of the heap that objects stand for: what it does to pacing.

import Collector
import Heap
import Mutator
import TestSupport
import Testing

@Suite("External memory")
struct ExternalMemoryTests {
  @Test("external bytes are counted, and go when they are given back, on any thread")
  func counting() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      mutator.adjustExternalMemory(by: 1000)
      mutator.adjustExternalMemory(by: 500)
      #expect(heap.statistics.externalBytes == 1500)
      mutator.adjustExternalMemory(by: -1000)
      mutator.adjustExternalMemory(by: 0)
    }
    TestThread { heap.adjustExternalMemory(by: -500) }.join()
    #expect(heap.statistics.externalBytes == 0)
  }

  @Test("small objects that stand for large buffers are collected as if they were large")
  func pacing() throws {
    // 2000 objects of 32 bytes fit under the minimum of 4 MiB; with 1 MiB each they do not.
    func cycles(external: Int) throws -> Int {
      let heap = try HeapCheck.pacedHeap()
      heap.withMutator { mutator in
        var (taken, cycles) = (0, 0)
        for key in 0..<2000 {
          _ = mutator.allocate(TestNode(key: key))
          mutator.adjustExternalMemory(by: external)
          taken += external
          // As a cleanup would: what belonged to dead objects is given back after a collection.
          let now = heap.statistics.cycleCount
          if now != cycles {
            mutator.adjustExternalMemory(by: -taken)
            (taken, cycles) = (0, now)
          }
        }
      }
      return heap.statistics.cycleCount
    }
    #expect(try cycles(external: 0) == 0)
    #expect(try cycles(external: 1 << 20) > 20)
  }

  @Test("what lives outside raises the goal as what lives inside does")
  func goal() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { $0.adjustExternalMemory(by: 100 << 20) }
    heap.collect()
    #expect(heap.statistics.heapGoal >= 200 << 20 && heap.statistics.heapGoal < 201 << 20)
    #expect(heap.statistics.liveBytes < 1 << 20, "it is not in the heap")
    heap.withMutator { $0.adjustExternalMemory(by: -(100 << 20)) }
    heap.collect()
    #expect(heap.statistics.heapGoal < 5 << 20)
  }

  @Test("the memory limit counts external bytes")
  func memoryLimit() throws {
    let heap = try HeapCheck.heap {
      $0.memoryLimit = 64 << 20
      $0.gcPercent = .off
    }
    heap.withMutator { mutator in
      for _ in 0..<10 {
        mutator.adjustExternalMemory(by: 100 << 20)
        mutator.adjustExternalMemory(by: -(100 << 20))
      }
    }
    // The last request may still be served.
    heap.collect()
    #expect(heap.statistics.cycleCount > 1)
  }

  @Test("giving back more than was taken stops the program, and so does what no machine has")
  func misuse() async {
    await #expect(processExitsWith: .failure) {
      let heap = try ManagedHeap(HeapConfiguration())
      heap.withMutator { $0.adjustExternalMemory(by: -1) }
    }
    await #expect(processExitsWith: .failure) {
      let heap = try ManagedHeap(HeapConfiguration())
      heap.withMutator { $0.adjustExternalMemory(by: .max) }
    }
    await #expect(processExitsWith: .success) {
      let heap = try ManagedHeap(HeapConfiguration())
      heap.adjustExternalMemory(by: 1 << 56)
      heap.collect()
      heap.adjustExternalMemory(by: -1 << 56)
    }
  }
}
