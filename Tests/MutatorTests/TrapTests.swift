// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Mistakes that stop the program, and what it says then. Each in a process of its own.

import Collector
import Heap
import Mutator
import TestSupport
import Testing

@Suite struct TrapTests {
  struct Hiding: HeapObject {
    var hidden: [HeapRef<Hiding>] = []
    var number = 0
  }

  static func checked() throws -> ManagedHeap { try HeapCheck.heap { $0.checks = .on } }

  /// Expects a message on standard error.
  private func expect(
    _ result: ExitTest.Result?, says message: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(result?.message.contains(message) == true, sourceLocation: sourceLocation)
  }

  // MARK: - Using the interface

  @Test("a heap that ends while a thread is inside says so")
  func end() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let heap = unsafe Unmanaged.passRetained(try HeapCheck.heap())
      // As withMutator does, without keeping the heap meanwhile.
      _ = unsafe heap._withUnsafeGuaranteedRef { $0.core.attach(stackBase: 0) }
      unsafe heap.release()
    }
    expect(result, says: "a heap ended while a thread was attached to it")
  }

  @Test("an index that is out of range says which, and how many elements there are")
  func index() async {
    let read = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try HeapCheck.heap().withMutator { mutator in
        _ = mutator.allocateArray(of: Int.self, count: 5, repeating: 0)[5]
      }
    }
    expect(read, says: "Index out of range: index 5 in an array of 5 elements")
    let written = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try HeapCheck.heap().withMutator { mutator in
        mutator.allocateArray(of: TestNode.self, count: 0, repeating: TestNode())[-1] = TestNode()
      }
    }
    expect(written, says: "Index out of range: index -1 in an array of 0 elements")
  }

  @Test("a negative count says so")
  func negative() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try HeapCheck.heap().withMutator { mutator in
        _ = mutator.allocateArray(of: Int.self, count: -1, repeating: 0)
      }
    }
    expect(result, says: "an array cannot have -1 elements")
    let tried = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try HeapCheck.heap().withMutator { mutator in
        _ = try mutator.tryAllocateArray(of: Int.self, count: .min, repeating: 0)
      }
    }
    expect(tried, says: "the count is negative")
  }

  @Test("more elements than there is memory for: allocating traps, trying throws")
  func tooMany() async throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      for count in [Int.max, Int.max / 8, 1 << 60] {
        #expect(throws: HeapError.self) {
          _ = try mutator.tryAllocateArray(of: Int.self, count: count, repeating: 0)
        }
        #expect(throws: HeapError.self) {
          _ = try mutator.tryAllocateArray(
            of: HeapRef<TestNode>?.self, count: count, repeating: nil)
        }
      }
      #expect(mutator.list(10)?.next?.key == 1)
    }
    HeapCheck.expectEmpty(heap)
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try HeapCheck.heap().withMutator { mutator in
        _ = mutator.allocateArray(of: Int.self, count: .max, repeating: 0)
      }
    }
    expect(result, says: "out of memory")
  }

  @Test("a type that cannot be kept: allocating traps, trying and registering throw")
  func unsupported() async throws {
    let heap = try HeapCheck.heap()
    #expect(throws: HeapError.self) { try heap.register(Hiding.self) }
    heap.withMutator { mutator in
      #expect(throws: HeapError.self) { _ = try mutator.tryAllocate(Hiding()) }
      #expect(throws: HeapError.self) {
        _ = try mutator.tryAllocateArray(of: String.self, count: 1, repeating: "")
      }
    }
    HeapCheck.expectEmpty(heap)
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try HeapCheck.heap().withMutator { _ = $0.allocate(Hiding()) }
    }
    expect(result, says: "cannot be kept in the heap: the field")
    expect(result, says: "Hiding.hidden")
  }

  @Test("out of memory in allocate says how much was asked for and what the limit is")
  func outOfMemory() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try HeapCheck.pacedHeap { $0.hardLimit = 1 << 20 }.withMutator { _ = $0.list(1_000_000)?.key }
    }
    expect(result, says: "24 bytes were requested")
    expect(result, says: "hard limit of 1048576 bytes")
  }

  @Test("a root that is used with the mutator of another heap says so")
  func root() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
      let root = a.withMutator { HeapRoot($0.allocate(TestNode()), in: $0) }
      b.withMutator { _ = root.get(in: $0) }
    }
    expect(result, says: "a HeapRoot was used with a mutator of another heap")
  }

  @Test("heaps that are left in the wrong order say so")
  func order() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
      let first = a.core.attach(stackBase: 0)
      _ = b.core.attach(stackBase: 0)
      a.core.detach(first)
    }
    expect(result, says: "heaps are left in the reverse order of entering them")
  }

  @Test("a percentage below zero says what is accepted")
  func percent() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { try HeapCheck.heap().gcPercent = -1 }
    expect(result, says: "gcPercent is -1")
  }

  // MARK: - Checked mode

  @Test("storing a reference to an object of another heap is found in checked mode")
  func otherHeap() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let (a, b) = (try TrapTests.checked(), try TrapTests.checked())
      a.withMutator { inA in
        b.withMutator { inB in
          inA.allocate(TestNode()).next = inB.allocate(TestNode())
        }
      }
    }
    expect(result, says: "a reference to an object of another heap (0x")
    expect(result, says: ") was stored into field next of a TestNode at 0x")
  }

  @Test("storing on a thread that is not attached is found in checked mode")
  func notAttached() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let heap = try TrapTests.checked()
      let (node, root) = heap.withMutator { mutator in
        let node = mutator.list(2)!
        return (UInt(bitPattern: unsafe node._raw), HeapRoot(node, in: mutator))
      }
      // Smuggled out.
      let smuggled = unsafe HeapRef<TestNode>(_raw: UnsafeMutableRawPointer(bitPattern: node)!)
      smuggled.next = smuggled
      withExtendedLifetime(root) {}
    }
    expect(result, says: "by a thread that is not attached to the object's heap")
  }

  @Test("storing a reference to an object that was collected is found in checked mode")
  func collected() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let heap = try TrapTests.checked()
      let (root, stale) = heap.withMutator { mutator in
        let root = HeapRoot(mutator.allocate(TestNode()), in: mutator)
        return (root, UInt(bitPattern: unsafe mutator.list(1)!._raw))
      }
      heap.collect()
      heap.collect()
      heap.withMutator { mutator in
        // A reference that was kept where the collector does not look. (Nothing is allocated
        // before: its slot would be part of a run, and count as allocated.)
        root.get(in: mutator).next = unsafe HeapRef(
          _raw: UnsafeMutableRawPointer(bitPattern: stale)!)
      }
    }
    expect(result, says: "heap check: a reference to an object that has been collected")
  }

  @Test("storing into an object that was collected is found in checked mode")
  func collectedTarget() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let heap = try TrapTests.checked()
      let stale = heap.withMutator { mutator in
        UInt(bitPattern: unsafe mutator.list(1)!._raw)
      }
      heap.collect()
      heap.collect()
      heap.withMutator { _ in
        let node = unsafe HeapRef<TestNode>(_raw: UnsafeMutableRawPointer(bitPattern: stale)!)
        node.next = nil
      }
    }
    expect(result, says: "a reference was stored into an object that has been collected")
  }

  @Test("correct programs run in checked mode")
  func correct() throws {
    let heap = try TrapTests.checked()
    heap.withMutator { mutator in
      let list = mutator.list(1000)
      let array = mutator.allocateArray(of: HeapRef<TestNode>?.self, count: 100, repeating: list)
      mutator.collect()
      for index in array.indices { array[index] = mutator.allocate(TestNode(next: list)) }
      mutator.collect()
      #expect(array[99]?.next == list)
      list?.next?.other = nil
    }
    HeapCheck.expectEmpty(heap)
  }
}
