// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Weak cells through the steps of a cycle: what a look-up finds at each of them.
//
// The collector's cells are leaves here: objects without references whose first word is the target.

import CHeapShims
import Collector
import Heap
import Synchronization
import TestSupport
import Testing

extension Program {
  /// A cell with a target, known to the heap.
  func makeCell(_ target: UInt) -> WeakCellAddress {
    let cell = makeLeaf()
    initialize(cell, 0, target)
    initialize(cell, 8, 0)
    let address = unsafe WeakCellAddress(
      UnsafeMutableRawPointer(bitPattern: cell).unsafelyUnwrapped)
    heap.weak.add(address)
    return address
  }

  func lookUp(_ cell: WeakCellAddress) -> UInt { mutator.target(of: cell) }
}

@Suite("Weak references, step by step")
struct WeakTableTests {
  let fixture: HeapFixture

  init() throws { fixture = try HeapFixture() }

  /// A cell that a root keeps, and its target, which nothing keeps.
  private func makeWeak(_ program: Program) -> (cell: WeakCellAddress, target: UInt) {
    let keeper = program.root(0)
    let target = program.root(program.makeNode(value: 7))
    let cell = program.makeCell(target.reference)
    program.set(keeper, cell.address)
    defer { program.drop(target) }
    return (cell, target.reference)
  }

  @Test("a look-up while the heap is marked marks the target, with all that it leads to")
  func whileMarking() {
    fixture.attached { program in
      let inner = program.root(program.makeNode(value: 8))
      let (cell, target) = makeWeak(program)
      program.store(inner.reference, into: target, HeapFixture.left)
      program.drop(inner)
      program.beginCycle()
      #expect(!fixture.isMarked(target))
      #expect(program.lookUp(cell) == target)
      #expect(fixture.isMarked(target))
      program.endCycle()
      #expect(program.lookUp(cell) == target)
      #expect(program.load(program.load(target, HeapFixture.left), HeapFixture.value) == 8)
      // Nobody has kept it.
      program.cycle()
      #expect(program.lookUp(cell) == 0)
      #expect(fixture.objects(of: fixture.node).isEmpty)
    }
  }

  @Test("a look-up that finds a white target keeps marking from ending")
  func noting() {
    fixture.attached { program in
      let (cell, target) = makeWeak(program)
      program.beginCycle()
      program.collecting { fixture.heap.drain() }
      #expect(program.lookUp(cell) == target)
      #expect(fixture.heap.marking.hasWork)
      program.endCycle()
      #expect(program.lookUp(cell) == target)
    }
  }

  @Test("after the end of marking a dead target reads nil, before it is settled and after")
  func afterTheEnd() {
    fixture.attached { program in
      let (cell, target) = makeWeak(program)
      program.beginCycle()
      program.collecting { fixture.heap.terminateMarking() }
      #expect(cell.target == target)
      #expect(program.lookUp(cell) == 0)
      #expect(!fixture.isMarked(target))
      program.collecting { fixture.heap.settle() }
      #expect(cell.target == 0)
      #expect(program.lookUp(cell) == 0)
      program.collecting {
        fixture.heap.lowerBarrier()
        fixture.heap.verify()
        fixture.heap.advanceGeneration()
        fixture.heap.finishSweeping()
      }
      #expect(program.lookUp(cell) == 0)
      #expect(fixture.objects(of: fixture.node).isEmpty)
    }
  }

  @Test("after the end of marking no word that looks like a reference to garbage marks it")
  func noLateMarks() throws {
    // A buffer of two entries: every store flushes it.
    let fixture = try HeapFixture { $0.stress.barrierBuffer = 2 }
    fixture.attached { program in
      let holder = program.root(program.makeNode())
      let (cell, target) = makeWeak(program)
      program.beginCycle()
      program.collecting { fixture.heap.terminateMarking() }
      #expect(program.lookUp(cell) == 0)
      // An enum's payload becomes a number that is the target's address.
      unsafe withUnsafeTemporaryAllocation(of: UInt.self, capacity: 5) { value in
        for index in 0..<5 { unsafe value[index] = 0 }
        unsafe value[HeapFixture.ambiguous / 8] = target
        unsafe WriteBarrier.recordAggregate(
          destination: holder.reference, source: UInt(bitPattern: value.baseAddress), count: 1,
          stride: 40, references: fixture.node.references, ambiguous: fixture.node.ambiguous,
          by: program.mutator)
      }
      #expect(program.recorded == 0)
      #expect(!fixture.isMarked(target))
      #expect(program.lookUp(cell) == 0)
      program.collecting {
        fixture.heap.settle()
        fixture.heap.lowerBarrier()
        #expect(!fixture.isMarked(target))
        fixture.heap.verify()
        fixture.heap.advanceGeneration()
        fixture.heap.finishSweeping()
      }
      #expect(program.lookUp(cell) == 0)
    }
  }

  @Test("a buffer that is not full is thrown away in the answer to off")
  func noMarksAtOff() {
    fixture.attached { program in
      let holder = program.root(program.makeNode())
      let (_, target) = makeWeak(program)
      program.beginCycle()
      program.collecting { fixture.heap.terminateMarking() }
      unsafe withUnsafeTemporaryAllocation(of: UInt.self, capacity: 5) { value in
        for index in 0..<5 { unsafe value[index] = 0 }
        unsafe value[HeapFixture.ambiguous / 8] = target
        unsafe WriteBarrier.recordAggregate(
          destination: holder.reference, source: UInt(bitPattern: value.baseAddress), count: 1,
          stride: 40, references: fixture.node.references, ambiguous: fixture.node.ambiguous,
          by: program.mutator)
      }
      #expect(program.recorded == 1)
      program.collecting {
        fixture.heap.settle()
        fixture.heap.lowerBarrier()
      }
      #expect(program.recorded == 0)
      #expect(!fixture.isMarked(target))
      program.collecting {
        fixture.heap.verify()
        fixture.heap.advanceGeneration()
        fixture.heap.finishSweeping()
      }
    }
  }

  @Test("marking does not end while a full buffer is being flushed")
  func flushUnderWay() {
    #expect(!fixture.heap.roots.beginFlush(), "nothing is marked")
    fixture.attached { program in
      program.beginCycle()
      #expect(fixture.heap.roots.beginFlush())
      let hasEnded = Event()
      let mayEnd = Event()
      let collector = TestThread {
        fixture.heap.terminateMarking()
        hasEnded.happen()
      }
      // A thread that answers shows that round follows round.
      let answering = TestThread {
        fixture.attached { other in
          while !mayEnd.hasHappened { other.poll() }
        }
      }
      program.collecting {
        let before = fixture.heap.counters.pauses.count
        while fixture.heap.counters.pauses.count < before + 6 { heap_pause() }
        #expect(!hasEnded.hasHappened)
        fixture.heap.roots.endFlush()
        collector.join()
        mayEnd.happen()
        answering.join()
        #expect(!fixture.heap.roots.beginFlush())
        fixture.heap.settle()
        fixture.heap.lowerBarrier()
        fixture.heap.advanceGeneration()
        fixture.heap.finishSweeping()
      }
    }
  }

  @Test("a minor cycle settles what was made since the last, and leaves settled cells alone")
  func minor() {
    fixture.attached { program in
      let (old, oldTarget) = makeWeak(program)
      let kept = program.root(oldTarget)
      program.cycle()
      #expect(program.lookUp(old) == oldTarget)
      // The old target dies, and is old: a minor cycle does not find out.
      program.drop(kept)
      let (young, youngTarget) = makeWeak(program)
      #expect(program.lookUp(young) == youngTarget)
      program.cycle(.minor)
      #expect(program.lookUp(young) == 0)
      #expect(program.lookUp(old) == oldTarget)
      #expect(fixture.heap.weak.figures.known == 1)
      program.cycle()
      #expect(program.lookUp(old) == 0)
      #expect(fixture.heap.weak.figures == (0, 2))
    }
  }

  @Test("a cell that is born old has its young target settled in the next minor cycle")
  func bornOld() throws {
    // Unchecked: a run of several slots.
    let fixture = try HeapFixture {
      $0.checks = false
      $0.stress.minorCycles = .max
    }
    let (adaIsIn, adaMayGo, isMade, isOver) = (Event(), Event(), Event(), Event())
    let board = fixture.heap.roots.make(0)
    // Ada answers `returnSpans` early. She makes a young object and shows it to all.
    let ada = TestThread {
      fixture.attached { program in
        CollectedHeap.blocking {
          adaIsIn.happen()
          adaMayGo.wait()
        }
        program.set(board, program.makeNode(value: 17))
        CollectedHeap.blocking {
          isMade.happen()
          isOver.wait()
        }
      }
    }
    adaIsIn.wait()
    // Ben, this thread, answers late. He has a run, so he comes to no safepoint.
    fixture.attached { ben in
      let keeper = ben.root(0)
      ben.beginCycle()
      ben.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.settle()
        fixture.heap.lowerBarrier()
      }
      _ = ben.makeLeaf()
      let collector = TestThread {
        fixture.heap.advanceGeneration()
        fixture.heap.finishSweeping()
      }
      while !ben.mutator.isRequested { heap_pause() }
      adaMayGo.happen()
      isMade.wait()
      let young = board.reference
      let cell = ben.makeCell(young)
      #expect(fixture.isMarked(cell.address) && !fixture.isMarked(young))
      // He is only asked for the answer, and has not given it yet.
      #expect(ben.mutator.isRequested)
      ben.set(keeper, cell.address)
      ben.set(board, 0)
      CollectedHeap.blocking { collector.join() }
      fixture.heap.requests.collectAndWait(ofAnyKind: true)
      #expect(fixture.heap.counters.minorCycles.load(ordering: .relaxed) == 1)
      #expect(ben.lookUp(cell) == 0)
      #expect(!fixture.objects(of: fixture.node).contains(young))
    }
    isOver.happen()
    ada.join()
    #expect(fixture.problems.isEmpty)
  }

  @Test("the verifier finds a weak reference whose target is not marked")
  func verifying() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let fixture = try HeapFixture()
      fixture.attached { program in
        let keeper = program.root(0)
        let cell = program.makeCell(program.makeNode())
        program.set(keeper, cell.address)
        program.beginCycle()
        program.collecting {
          fixture.heap.terminateMarking()
          // Not settled.
          fixture.heap.lowerBarrier()
          fixture.heap.verify()
        }
      }
    }
    #expect(result.said("marking is wrong: a weak reference at 0x"))
    #expect(result.said("which is not marked"))
  }

  @Test("a bag of words keeps what it is told to, in blocks that it frees")
  func manyCells() {
    fixture.attached { program in
      let kept = program.root(program.makeArray(count: 3000))
      let target = program.root(program.makeNode())
      for index in 0..<3000 {
        let cell = program.makeCell(index % 3 == 0 ? target.reference : program.makeNode())
        program.store(cell.address, into: kept.reference, 8 + 8 * index)
      }
      program.cycle()
      for index in 0..<3000 {
        let cell = program.load(kept.reference, 8 + 8 * index)
        #expect(program.load(cell, 0) == (index % 3 == 0 ? target.reference : 0))
      }
      #expect(fixture.heap.weak.figures == (1000, 2000))
      program.drop(kept)
      program.cycle()
      #expect(fixture.heap.weak.figures == (0, 2000))
      program.drop(target)
    }
    #expect(fixture.problems.isEmpty)
  }
}
