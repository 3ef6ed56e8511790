// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The verifier and checkInvariants, themselves under test: what is broken on purpose is found.

import CHeapShims
import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Verifier")
struct VerifierTests {
  /// Runs a cycle up to the end of marking, does harm, and verifies.
  private static func verify(after harm: (Program, RootSlot) -> Void) throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let list = program.makeList(1...10)
      let unreachable = program.root(program.makeNode(value: 99))
      program.store(unreachable.reference, into: unreachable.reference, HeapFixture.right)
      let harmed = unreachable.reference
      program.drop(unreachable)
      program.beginCycle()
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
      }
      harm(program, list)
      program.initialize(harmed, HeapFixture.value, 100)
      program.collecting { fixture.heap.verify() }
    }
    withExtendedLifetime(fixture) {}
  }

  private static func bit(
    of object: UInt, in fixture: HeapFixture, isSet: Bool
  ) {
    guard let (span, slot) = fixture.place(of: object) else { broken("no such object") }
    let (word, bit) = span.bit(ofSlot: slot)
    if isSet {
      _ = unsafe span.marks[word].bitwiseOr(bit, ordering: .relaxed)
    } else {
      _ = unsafe span.marks[word].bitwiseAnd(~bit, ordering: .relaxed)
    }
  }

  @Test("a heap that is right passes")
  func right() async {
    await #expect(processExitsWith: .success) { try Self.verify { _, _ in } }
  }

  @Test("a mark that is missing on a reachable object is found")
  func missingMark() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.verify { program, list in
        let second = program.load(list.reference, HeapFixture.left)
        Self.bit(of: second, in: program.fixture, isSet: false)
      }
    }
    #expect(result.said("marking is wrong"))
    #expect(result.said("that is not marked"))
    #expect(result.said("objects are marked, counted were"))
  }

  @Test("a mark that is missing on a root is found")
  func missingRoot() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.verify { program, list in
        Self.bit(of: list.reference, in: program.fixture, isSet: false)
      }
    }
    #expect(result.said("a root refers to a Node at"))
  }

  @Test("a reference to something that is no object is found")
  func strayReference() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.verify { program, list in
        program.initialize(list.reference, HeapFixture.right, 0x7777_0000)
      }
    }
    #expect(result.said("refers to 0x77770000, which is no object"))
  }

  @Test("a reference that came without a barrier is found")
  func lostReference() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.verify { program, list in
        // White: dropped before the cycle began.
        for object in program.fixture.objects(of: program.fixture.node)
        where program.load(object, HeapFixture.value) == 99 {
          program.initialize(list.reference, HeapFixture.right, object)
        }
      }
    }
    #expect(result.said("that is not marked"))
  }

  @Test("a mark on a free slot is found")
  func markedFreeSlot() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.verify { program, _ in
        let shelf = program.fixture.shelf(program.fixture.leaf)
        guard
          let span = program.heap.pageHeap.makeSpan(for: shelf, pageCount: 1, generation: .first)
        else { return }
        _ = MarkBit(of: span.address(ofSlot: 1)).testAndSet()
        shelf.put(span)
      }
    }
    #expect(result.said("a free slot is marked"))
  }

  @Test("figures that are off by one are found", arguments: [true, false])
  func wrongCount(isBytes: Bool) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [isBytes] in
      try Self.verify { program, _ in
        let counters = program.heap.counters
        if isBytes { counters.markedBytes.add(1, ordering: .relaxed) }
        if !isBytes { counters.markedObjects.subtract(1, ordering: .relaxed) }
      }
    }
    #expect(
      result.said(isBytes ? "bytes are marked, counted were" : "objects are marked, counted were"))
    #expect(!result.said(isBytes ? "objects are marked" : "bytes are marked"), "only the wrong one")
  }

  @Test(
    "floating garbage with live marks passes: the verifier asks for too few marks, not too many")
  func floatingGarbage() async {
    await #expect(processExitsWith: .success) {
      let fixture = try HeapFixture()
      fixture.attached { program in
        let list = program.makeList(1...100)
        program.beginCycle()
        program.set(list, 0)
        program.endCycle()
      }
      withExtendedLifetime(fixture) {}
    }
  }

  @Test("graphs with cycles and shared parts are verified, each object once")
  func cycles() async {
    await #expect(processExitsWith: .success) {
      let isDone = Event()
      let guardian = TestThread { if !isDone.wait(seconds: 8) { broken("verifying hangs") } }
      let fixture = try HeapFixture()
      fixture.attached { program in
        let list = program.makeList(1...2000)
        program.store(list.reference, into: list.reference, HeapFixture.right)
        var node = list.reference
        while node != 0 {
          // Two ways to every next one: 2^2000 paths.
          program.store(program.load(node, HeapFixture.left), into: node, HeapFixture.right)
          node = program.load(node, HeapFixture.left)
        }
        let other = program.root(program.makeNode())
        program.store(other.reference, into: other.reference, HeapFixture.right)
        program.cycle()
      }
      isDone.happen()
      guardian.join()
      withExtendedLifetime(fixture) {}
    }
  }

  @Test("checkInvariants sees a span that is on no shelf and in no cache, and a wrong count")
  func invariants() throws {
    let fixture = try HeapFixture { $0.checks = false }
    fixture.attached { program in
      _ = program.makeNode()
      #expect(fixture.problems.isEmpty)
      let shelf = fixture.shelf(fixture.leaf)
      let lost = fixture.heap.pageHeap.makeSpan(for: shelf, pageCount: 1, generation: .first)
      #expect(fixture.problems.count == 1)
      #expect(fixture.problems.first?.contains("2") == true)
      if let lost { shelf.put(lost) }
      #expect(fixture.problems.isEmpty)
      lost?.allocatedCount = 3
      #expect(fixture.problems.contains { $0.contains("the span counts 3") })
      lost?.allocatedCount = 0
      let node = program.makeNode()
      guard let (span, slot) = fixture.place(of: node) else { return }
      program.initialize(span.address(ofSlot: slot + 5), 0, 1)
      #expect(fixture.problems.contains { $0.contains("not zero") })
      program.initialize(span.address(ofSlot: slot + 5), 0, 0)
    }
  }

  @Test("running, blocked and busy threads are parked, and go on unharmed")
  func parking() throws {
    let fixture = try HeapFixture { $0.checks = true }
    let (isBlocked, mayGo, isDone) = (Event(), Event(), Event())
    let blocked = TestThread {
      fixture.attached { program in
        let list = program.makeList(1...50)
        program.collecting {
          isBlocked.happen()
          mayGo.wait()
        }
        require(program.values(of: list) == Array(1...50), "lost while blocked")
      }
    }
    let busy = TestThread {
      fixture.attached { program in
        let list = program.makeList(1...50)
        while !isDone.hasHappened { _ = program.makeNode() }
        require(program.values(of: list) == Array(1...50), "lost while busy")
      }
    }
    isBlocked.wait()
    for _ in 0..<20 { fixture.heap.collectAndWait() }
    mayGo.happen()
    isDone.happen()
    blocked.join()
    busy.join()
    #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 20)
  }

  /// A number that looks like a reference to garbage, stored into a marked object's enum after
  /// marking has ended; `isReference` is what the enum says.
  private static func verifyEnum(isReference: Bool) throws {
    let fixture = try HeapFixture()
    let layout = try fixture.heap.register(
      .init(kind: .object, size: 40, alignment: 8, references: [], ambiguous: [24]), name: "Enum",
      enumReferences: { value, body in
        if isReference { body(24, heap_load_word(value + 24)) }
      })
    fixture.attached { program in
      guard let object = program.take(layout, in: Program.nodeClass) else { return }
      _ = program.root(object)
      let garbage = program.makeNode()
      program.beginCycle()
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
      }
      program.initialize(object, 24, garbage)
      program.collecting { fixture.heap.verify() }
    }
  }

  @Test("a number in an enum that looks like a reference to garbage is no false alarm")
  func numberInEnum() async {
    await #expect(processExitsWith: .success) { try Self.verifyEnum(isReference: false) }
  }

  @Test("an enum that holds no address of an object is not asked for its references")
  func numbersInEnums() throws {
    let asked = Atomic(0)
    let fixture = try HeapFixture()
    let layout = try fixture.heap.register(
      .init(
        kind: .array, size: 16, alignment: 8, elementsOffset: 8, references: [], ambiguous: [8]),
      name: "Enums",
      enumReferences: { value, body in
        asked.add(1, ordering: .relaxed)
        let word = heap_load_word(value + 8)
        if word > 500 * 4711 { body(8, word) }
      })
    fixture.attached { program in
      guard let array = program.tryArray(layout, count: 500) else { return }
      let root = program.root(array)
      for i in 0..<500 { program.initialize(array, 16 + 16 * i, UInt(i) * 4711) }
      program.initialize(array, 16 + 16 * 70, program.makeNode())
      program.initialize(array, 16 + 16 * 7, root.reference + 8)
      program.cycle()
      // The two rules that look at references ask once each.
      #expect(asked.load(ordering: .relaxed) == 4)
      #expect(fixture.objects(of: fixture.node).count == 1)
    }
  }

  @Test("a reference in an enum to an object that is not marked is found")
  func referenceInEnum() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try Self.verifyEnum(isReference: true)
    }
    #expect(result.said("of a Enum at") && result.said("that is not marked"))
  }

  @Test("a bad reference that marking meets is reported with its holder, before it is followed")
  func badReference() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let fixture = try HeapFixture { $0.checks = true }
      fixture.attached { program in
        let holder = program.root(program.makeNode())
        let dead = program.makeNode()
        program.cycle()
        // As if it had been kept where nobody looks, and put into a field without a store.
        program.initialize(holder.reference, HeapFixture.right, dead)
        program.cycle()
      }
    }
    #expect(result.said("field at byte 8 of a Node at"))
    #expect(result.said("an object that has been collected"))
  }
}
