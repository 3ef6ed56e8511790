// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the tests of whole heaps share: settings from the environment, and the questions asked of
// a heap after a test. Random numbers and threads: Tests/TestSupport.
//
//   HEAP_TEST_OPERATIONS   operations of a random program, all threads together
//   HEAP_TEST_THREADS      threads of a random program
//   HEAP_TEST_SEED         its seed
//   HEAP_STRESS, HEAP_CHECK, …   as for any heap (HeapConfiguration.fromEnvironment)

import Collector
import Glibc
import Heap
import Mutator
import Testing

/// Numbers from the environment of the test run.
enum TestEnvironment {
  static func number(_ name: String) -> Int? {
    guard let text = unsafe getenv(name) else { return nil }
    return unsafe Int(String(cString: text))
  }
}

/// What is asked of a heap.
enum HeapCheck {
  /// A heap as the environment says, but for what the test sets itself. So all tests can be run in
  /// another mode (Scripts/check-modes.sh); one that needs a certain mode sets it.
  static func heap(
    _ change: (inout HeapConfiguration) -> Void = { _ in }
  ) throws -> ManagedHeap {
    var configuration = HeapConfiguration.fromEnvironment()
    change(&configuration)
    return try ManagedHeap(configuration)
  }

  /// The same, for a test that says when the heap collects, or that allocates so much that a
  /// collection at every so many allocations takes for ever: the environment does not ask for that.
  static func pacedHeap(
    _ change: (inout HeapConfiguration) -> Void = { _ in }
  ) throws -> ManagedHeap {
    try heap {
      $0.stress.collectEvery = 0
      change(&$0)
    }
  }

  /// Whatever is wrong with the structures of a heap that is at rest: no thread is attached,
  /// and no cycle is under way.
  static func problems(of heap: ManagedHeap) -> [String] {
    var problems: [String] = []
    // A cycle that some allocation asked for may be under way: after this one, none is.
    heap.collect()
    heap.core.checkInvariants { if problems.count < 10 { problems.append($0) } }
    return problems
  }

  /// Expects the structures of a heap at rest to be sound.
  static func expectSound(_ heap: ManagedHeap, sourceLocation: SourceLocation = #_sourceLocation) {
    let problems = problems(of: heap)
    #expect(problems.isEmpty, sourceLocation: sourceLocation)
  }

  /// Expects that nothing is left: no object, no span, and every page free, in one piece with
  /// its neighbours.
  static func expectEmpty(_ heap: ManagedHeap, sourceLocation: SourceLocation = #_sourceLocation) {
    heap.core.collectAndWaitForAll()
    heap.core.collectAndWaitForAll()
    let statistics = heap.statistics
    #expect(statistics.liveBytes == 0, sourceLocation: sourceLocation)
    #expect(statistics.heapBytes == 0, sourceLocation: sourceLocation)
    #expect(
      statistics.allocatedObjects == statistics.freedObjects, sourceLocation: sourceLocation)
    let usage = heap.core.pageHeap.usage
    #expect(usage.spanCount == 0 && usage.spanBytes == 0, sourceLocation: sourceLocation)
    if usage.arenaBytes > 0 {
      let longest = heap.core.pageHeap.longestFreeRun * Geometry.pageSize
      #expect(longest >= Geometry.arenaSize, sourceLocation: sourceLocation)
    }
    expectSound(heap, sourceLocation: sourceLocation)
  }
}
