// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A collection, step by step and as a whole: what is reachable lives, what is not is gone.
//
// The first tests are the collector themselves and stop between two steps, where a program may
// do what the barrier is for. The last ones let programs and collector run against each other
// and compare with a graph kept in Swift arrays.

import Collector
import Glibc
import Heap
import Synchronization
import TestSupport
import Testing

/// Swift does not offer `fork`.
@_silgen_name("fork") private func fork() -> Int32

@Suite("Collection cycles")
struct CollectionCycleTests {
  let fixture: HeapFixture

  init() throws { fixture = try HeapFixture() }

  @Test("what a root reaches lives, whatever the shape; the rest is gone after one cycle")
  func reachability() {
    fixture.attached { program in
      let list = program.makeList(1...1000)
      let (a, b) = (program.makeNode(), program.makeNode())
      program.initialize(a, HeapFixture.left, b)
      program.initialize(b, HeapFixture.left, a)
      let cycle = program.root(a)
      _ = program.makeList(1...500)
      let garbage = program.root(program.makeNode())
      program.initialize(garbage.reference, HeapFixture.left, garbage.reference)
      program.drop(garbage)
      program.drop(cycle)
      let expected = fixture.reachable()
      program.cycle()
      #expect(fixture.objects(of: fixture.node) == expected)
      #expect(program.values(of: list) == Array(1...1000))
      program.drop(list)
      program.cycle()
    }
    #expect(fixture.heap.counters.cycles.load(ordering: .relaxed) == 2)
    #expect(fixture.problems.isEmpty)
  }

  @Test("a random graph loses exactly what a naive traversal does not reach")
  func randomGraphs() {
    var random = RandomNumbers("randomGraphs")
    fixture.attached { program in
      var all: [RootSlot] = []
      for _ in 0..<5 {
        for _ in 0..<2000 { all.append(program.root(program.makeNode())) }
        for i in 0..<500 {
          let array = program.root(program.makeArray(count: 20))
          for place in 1...20 where random.below(2) == 0 {
            program.store(
              all[random.below(all.count)].reference, into: array.reference, 8 * place)
          }
          if i % 10 != 0 { program.drop(array) }
        }
        for slot in all {
          for field in [HeapFixture.left, HeapFixture.right] where random.below(3) > 0 {
            program.store(all[random.below(all.count)].reference, into: slot.reference, field)
          }
        }
        all.shuffle(using: &random)
        while all.count > 30 { program.drop(all.removeLast()) }
        let expected = fixture.reachable()
        program.cycle()
        let live = fixture.objects(of: fixture.node).union(fixture.objects(of: fixture.array))
        #expect(live == expected)
        #expect(fixture.heap.counters.liveObjects.load(ordering: .relaxed) == expected.count)
      }
    }
    #expect(fixture.problems.isEmpty)
  }

  // MARK: - What the barrier is for

  @Test("deletion: the last path to a white object is destroyed after the thread was scanned")
  func deletion() {
    fixture.attached { program in
      let holder = program.root(program.makeNode())
      program.store(program.makeNode(value: 5), into: holder.reference, HeapFixture.left)
      program.beginCycle()
      // In a register of a black thread only: the snapshot has to keep it.
      let moved = program.load(holder.reference, HeapFixture.left)
      program.store(0, into: holder.reference, HeapFixture.left)
      program.endCycle()
      #expect(fixture.objects(of: fixture.node) == [holder.reference, moved])
      program.cycle()
      #expect(fixture.objects(of: fixture.node) == [holder.reference])
    }
  }

  @Test("insertion: a white object moves into a black one before its own thread is scanned")
  func insertion() {
    fixture.attached { program in
      let target = program.root(program.makeNode())
      program.collecting {
        fixture.heap.beginMarking()
        fixture.heap.raiseBarrier()
        fixture.heap.roots.scan()
        fixture.heap.drain()
      }
      #expect(fixture.isMarked(target.reference), "the target is black")
      let white = program.makeNode(value: 9)
      #expect(!fixture.isMarked(white))
      program.store(white, into: target.reference, HeapFixture.left)
      program.collecting { fixture.heap.scanStacksAndRoots() }
      program.endCycle()
      #expect(program.load(white, HeapFixture.value) == 9)
      #expect(fixture.objects(of: fixture.node).contains(white))
    }
  }

  @Test("a white object that moves through black ones while the heap is marked is never lost")
  func moving() {
    var random = RandomNumbers("moving")
    fixture.attached { program in
      let slots = (0..<20).map { _ in program.root(0) }
      for slot in slots { program.set(slot, program.makeNode()) }
      for value in 1...20 as ClosedRange<UInt> {
        let node = program.makeNode(value: value)
        program.store(node, into: slots[Int(value) - 1].reference, HeapFixture.left)
      }
      for _ in 0..<30 {
        program.beginCycle()
        for _ in 0..<200 {
          let (from, to) = (slots[random.below(20)].reference, slots[random.below(20)].reference)
          let (a, b) = (program.load(from, HeapFixture.left), program.load(to, HeapFixture.left))
          program.store(0, into: from, HeapFixture.left)
          program.store(a, into: to, HeapFixture.left)
          program.store(b, into: from, HeapFixture.left)
          if random.below(40) == 0 { program.collecting { fixture.heap.drain() } }
        }
        program.endCycle()
        let values = slots.map {
          program.load(program.load($0.reference, HeapFixture.left), HeapFixture.value)
        }
        #expect(values.sorted() == Array(1...20))
      }
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("the generation advances by one a cycle")
  func generations() {
    var expected = fixture.heap.generation
    for _ in 0..<5 {
      fixture.heap.collectAndWait()
      expected = expected.next(isFull: true)
    }
    #expect(fixture.heap.generation == expected)
  }

  // MARK: - Programs against the collector

  /// A random program on nodes of its own, against a graph of Swift arrays.
  private static func churn(_ program: Program, seed: UInt64, operations: Int) {
    var random = RandomNumbers(seed: seed)
    struct Shadow {
      var left = -1
      var right = -1
    }
    var shadows: [Shadow] = []
    var roots = (0..<24).map { _ in (slot: program.root(0), shadow: -1) }
    func check(_ reference: UInt, _ shadow: Int) {
      let value = reference == 0 ? -1 : Int(program.load(reference, HeapFixture.value))
      require(value == shadow, "seed \(seed): found \(value), expected \(shadow)")
    }
    for _ in 0..<operations {
      let (i, j) = (random.below(roots.count), random.below(roots.count))
      switch random.below(8) {
      case 0, 1:
        let node = program.makeNode(value: UInt(shadows.count))
        program.set(roots[i].slot, node)
        roots[i].shadow = shadows.count
        shadows.append(Shadow())
      case 2, 3:
        guard roots[i].shadow >= 0 else { continue }
        program.store(roots[j].slot.reference, into: roots[i].slot.reference, HeapFixture.left)
        shadows[roots[i].shadow].left = roots[j].shadow
      case 4:
        guard roots[i].shadow >= 0 else { continue }
        program.store(roots[j].slot.reference, into: roots[i].slot.reference, HeapFixture.right)
        shadows[roots[i].shadow].right = roots[j].shadow
      case 5, 6:
        // Walk: what is loaded may be on no other path.
        guard roots[i].shadow >= 0 else { continue }
        let left = program.load(roots[i].slot.reference, HeapFixture.left)
        check(left, shadows[roots[i].shadow].left)
        if random.below(2) == 0 {
          program.store(0, into: roots[i].slot.reference, HeapFixture.left)
          shadows[roots[i].shadow].left = -1
          program.set(roots[j].slot, left)
          roots[j].shadow = left == 0 ? -1 : Int(program.load(left, HeapFixture.value))
        } else {
          let shadow = shadows[roots[i].shadow].left
          program.set(roots[j].slot, left)
          roots[j].shadow = shadow
        }
      default:
        if random.below(4) == 0 {
          program.set(roots[i].slot, 0)
          roots[i].shadow = -1
        }
        program.poll()
      }
    }
    // The whole graph, once.
    var seen = Set<Int>()
    var work = roots.map { ($0.slot.reference, $0.shadow) }
    while let (reference, shadow) = work.popLast() {
      check(reference, shadow)
      guard shadow >= 0, seen.insert(shadow).inserted else { continue }
      work.append((program.load(reference, HeapFixture.left), shadows[shadow].left))
      work.append((program.load(reference, HeapFixture.right), shadows[shadow].right))
    }
    for root in roots { program.drop(root.slot) }
  }

  /// How a program is collected.
  enum Collections: CaseIterable { case full, fullWithStress, minor, minorWithStress }

  @Test(
    "random programs on several threads lose nothing and leave nothing behind",
    arguments: Collections.allCases)
  fileprivate func churning(collections: Collections) throws {
    let withStress = collections == .fullWithStress || collections == .minorWithStress
    let withMinors = collections == .minor || collections == .minorWithStress
    var random = RandomNumbers("churning")
    let seed = random.next()
    let fixture = try HeapFixture {
      $0.checks = true
      $0.workers = 2
      $0.stress.minorCycles = withMinors ? 5 : nil
      if withStress {
        $0.stress.barrierBuffer = 2
        $0.stress.handshakeDelay = 100
        $0.stress.collectEvery = 500
        $0.stress.seed = seed
      }
    }
    let isDone = Event()
    let collector = TestThread {
      while !isDone.hasHappened { fixture.heap.requests.collectAndWait(ofAnyKind: true) }
    }
    onThreads(3) { number in
      // Until there were some cycles, however fast the programs are.
      repeat {
        fixture.attached { Self.churn($0, seed: seed &+ UInt64(number), operations: 25_000) }
      } while fixture.heap.counters.cycles.load(ordering: .relaxed) < 5
    }
    isDone.happen()
    collector.join()
    let minors = fixture.heap.counters.minorCycles.load(ordering: .relaxed)
    #expect(withMinors ? minors > 0 : minors == 0)
    fixture.heap.collectAndWaitForAll()
    #expect(fixture.objects(of: fixture.node).isEmpty)
    #expect(fixture.heap.pageHeap.usage.spanCount == 0)
    #expect(fixture.problems.isEmpty)
  }

  @Test("a child process that uses the heap of its parent is stopped with a message")
  func forked() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      let fixture = try HeapFixture()
      fixture.attached { program in _ = program.makeNode() }
      fixture.heap.collectAndWait()
      let child = fork()
      if child == 0 {
        fixture.heap.collectAndWait()
        _exit(0)
      }
      var status: Int32 = 0
      _ = unsafe waitpid(child, &status, 0)
      require(status & 0x7f != 0, "the child was not stopped")
      fixture.heap.collectAndWait()
    }
    #expect(result.said("forked after the heap was made"))
  }

  @Test("what is allocated black is counted once: the heap's figure is what lives, and what is new")
  func figures() {
    fixture.attached { program in
      let words = unsafe fixture.heap.words
      program.beginCycle()
      for _ in 0..<200 { _ = program.makeNode() }
      program.endCycle()
      let live = fixture.heap.counters.liveBytes.load(ordering: .relaxed)
      #expect(live == 200 * 48)
      fixture.heap.safepoints.account(program.mutator)
      #expect(unsafe words.pointee.allocatedBytes.load(ordering: .relaxed) == live)
    }
  }
}
