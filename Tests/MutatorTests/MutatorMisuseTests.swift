// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A mutator that is used where it is not valid: inside its own blocking region, after its
// withMutator has returned, on another thread. Each use stops the program and says why, without
// checked mode. Only the inlined half of an allocation looks at nothing; it finds no run in a
// mutator that is blocked or gone, and in checked mode it never has one.

import Mutator
import TestSupport
import Testing

/// What a program does with a mutator.
private enum Use: String, Codable, CaseIterable {
  case allocate, tryAllocate, allocateArray, allocateString, collect, makeRoot, getRoot, setRoot

  /// Does it, with a root of the mutator's heap.
  func perform(_ mutator: HeapMutator, _ root: HeapRoot<HeapRef<TestNode>?>) {
    switch self {
    case .allocate: _ = mutator.allocate(TestNode())
    case .tryAllocate: _ = try? mutator.tryAllocate(TestNode())
    case .allocateArray: _ = mutator.allocateArray(of: Int.self, count: 1, repeating: 0)
    case .allocateString: _ = mutator.allocateString("text")
    case .collect: mutator.collect()
    case .makeRoot: _ = HeapRoot(nil as HeapRef<TestNode>?, in: mutator)
    case .getRoot: _ = root.get(in: mutator)
    case .setRoot: root.set(nil, in: mutator)
    }
  }
}

@Suite struct MutatorMisuseTests {
  /// A heap, a root in it, and runs with free slots, so that nothing is refused for their lack.
  private static func prepared(
    _ change: (inout HeapConfiguration) -> Void = { _ in }
  ) throws -> (ManagedHeap, HeapRoot<HeapRef<TestNode>?>) {
    let heap = try HeapCheck.heap(change)
    let root = heap.withMutator { mutator in
      for use in Use.allCases { use.perform(mutator, HeapRoot(nil, in: mutator)) }
      return HeapRoot(mutator.list(1), in: mutator)
    }
    return (heap, root)
  }

  private func expect(
    _ result: ExitTest.Result?, says message: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(result?.message.contains(message) == true, sourceLocation: sourceLocation)
  }

  @Test("a mutator that is used inside its own blocking region says so", arguments: Use.allCases)
  fileprivate func blocked(use: Use) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [use] in
      let (heap, root) = try Self.prepared()
      heap.withMutator { mutator in
        _ = mutator.list(3)
        mutator.blocking { use.perform(mutator, root) }
      }
    }
    expect(result, says: "a HeapMutator was used inside its own blocking(_:)")
  }

  @Test("a mutator that is kept after its withMutator says so", arguments: Use.allCases)
  fileprivate func kept(use: Use) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [use] in
      let (heap, root) = try Self.prepared()
      var kept: HeapMutator?
      heap.withMutator { mutator in
        _ = mutator.list(3)
        kept = mutator
      }
      if let kept { use.perform(kept, root) }
    }
    expect(result, says: "a HeapMutator was used outside the withMutator call that made it")
  }

  @Test("a kept mutator says so, too, while another thread is inside")
  func keptWhileAnotherThreadIsInside() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let (heap, root) = try Self.prepared()
      var kept: HeapMutator?
      heap.withMutator { kept = $0 }
      let (isInside, isDone) = (Event(), Event())
      let other = TestThread {
        heap.withMutator { mutator in
          _ = mutator.list(3)
          isInside.happen()
          while !isDone.hasHappened { mutator.safepoint() }
        }
      }
      isInside.wait()
      if let kept { Use.allocate.perform(kept, root) }
      isDone.happen()
      other.join()
    }
    expect(result, says: "a HeapMutator was used outside the withMutator call that made it")
  }

  @Test(
    "a mutator that is used on another thread says so",
    .disabled(if: Sanitizer.isThread, "to use it is a data race"), arguments: Use.allCases)
  fileprivate func otherThread(use: Use) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [use] in
      // Checked: of a thread that runs, the inlined half of an allocation would take a slot.
      let (heap, root) = try Self.prepared { $0.checks = .on }
      heap.withMutator { mutator in
        let smuggled = unsafe unsafeBitCast(mutator, to: UInt.self)
        let other = TestThread {
          use.perform(unsafe unsafeBitCast(smuggled, to: HeapMutator.self), root)
        }
        mutator.blocking { other.join() }
      }
    }
    expect(result, says: "or on another thread")
  }

  @Test("a mutator whose heap has ended says so", arguments: Use.allCases)
  fileprivate func ended(use: Use) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [use] in
      let (_, root) = try Self.prepared()
      let kept = try Self.keptOfAnEndedHeap()
      Self.useMemory()
      use.perform(kept, root)
    }
    expect(result, says: "a HeapMutator was used outside the withMutator call that made it")
  }

  @Test(
    "a mutator whose heap has ended says so when the thread has been in another heap since",
    arguments: Use.allCases)
  fileprivate func endedAndAnother(use: Use) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [use] in
      let kept = try Self.keptOfAnEndedHeap()
      let (heap, root) = try Self.prepared()
      Self.useMemory()
      use.perform(kept, root)
      withExtendedLifetime(heap) {}
    }
    expect(result, says: "a HeapMutator was used outside the withMutator call that made it")
  }

  @Test("a safepoint with a mutator whose heap has ended says so")
  func endedSafepoint() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let kept = try Self.keptOfAnEndedHeap()
      Self.useMemory()
      kept.safepoint()
    }
    expect(result, says: "a HeapMutator was used outside the withMutator call that made it")
  }

  /// A mutator of a heap that is no more.
  private static func keptOfAnEndedHeap() throws -> HeapMutator {
    var kept: HeapMutator?
    try prepared().0.withMutator { mutator in
      _ = mutator.list(3)
      kept = mutator
    }
    return try #require(kept)
  }

  /// Has the system's allocator hand out what was freed, in all sizes, and fills it.
  private static func useMemory() {
    for pattern in [0, Int.max] {
      var blocks: [[Int]] = []
      for count in 1...600 { blocks.append(Array(repeating: pattern, count: count)) }
      withExtendedLifetime(blocks) {}
    }
  }

  @Test("a safepoint in a blocking region says so")
  func safepoint() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try Self.prepared().0.withMutator { mutator in mutator.blocking { mutator.safepoint() } }
    }
    expect(result, says: "a HeapMutator was used inside its own blocking(_:)")
  }

  @Test("a store in a blocking region is found in checked mode")
  func store() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try Self.prepared { $0.checks = .on }.0.withMutator { mutator in
        let node = mutator.allocate(TestNode())
        mutator.blocking { node.next = node }
      }
    }
    expect(result, says: "a HeapMutator was used inside its own blocking(_:)")
  }

  @Test("there is no current mutator in a blocking region, not even that of an inner call")
  func current() throws {
    let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
    #expect(HeapMutator.current == nil)
    a.withMutator { inA in
      #expect(HeapMutator.current?.heap === a)
      b.withMutator { inB in
        #expect(HeapMutator.current?.heap === b)
        inB.blocking {
          #expect(HeapMutator.current == nil)
          // The outer heap is entered again; the innermost mutator stays blocked.
          a.withMutator { again in
            #expect(HeapMutator.current == nil)
            #expect(again.list(3)?.next?.key == 1)
          }
          b.withMutator { _ in #expect(HeapMutator.current?.heap === b) }
        }
        #expect(HeapMutator.current?.heap === b)
      }
      #expect(HeapMutator.current?.heap === a)
    }
    #expect(HeapMutator.current == nil)
  }

  @Test("blocking inside blocking is allowed, and so is collecting the heap")
  func nestedBlocking() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = mutator.list(100)
      mutator.blocking { mutator.blocking { heap.collect() } }
      #expect(list?.next?.key == 1)
    }
    HeapCheck.expectEmpty(heap)
  }
}
