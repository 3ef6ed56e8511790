// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Minor cycles: old objects are left alone, young ones are found through cards, and nothing else
// is swept than what was allocated from.

import CHeapShims
import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Minor cycles")
struct MinorCycleTests {
  let fixture: HeapFixture

  init() throws { fixture = try HeapFixture() }

  private var nodes: Set<UInt> { fixture.objects(of: fixture.node) }

  @Test("what a cycle has found is old: a minor cycle keeps it, alive or not, a full one does not")
  func oldObjects() {
    fixture.attached { program in
      let list = program.makeList(1...10)
      program.cycle()
      let old = nodes
      #expect(old.count == 10 && old.allSatisfy { fixture.isMarked($0) })
      program.drop(list)
      for _ in 0..<500 { _ = program.makeNode() }
      program.cycle(.minor)
      #expect(nodes == old, "the young ones are gone")
      program.cycle(.minor)
      #expect(nodes == old)
      program.cycle(.full)
      #expect(nodes.isEmpty)
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("young objects live through roots, and through old objects that were written")
  func youngObjects() {
    fixture.attached { program in
      let old = program.root(program.makeNode(value: 1))
      program.cycle()
      let root = program.makeList(2...4)
      let young = program.makeList(5...9)
      program.store(young.reference, into: old.reference, HeapFixture.right)
      program.drop(young)
      _ = program.makeNode()
      program.cycle(.minor)
      #expect(nodes.count == 9)
      #expect(program.values(of: root) == [2, 3, 4])
      program.set(root, program.load(old.reference, HeapFixture.right))
      #expect(program.values(of: root) == [5, 6, 7, 8, 9])
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("an enum's payload in an old object counts as well")
  func ambiguousWords() {
    fixture.attached { program in
      let old = program.root(program.makeNode(value: 1))
      program.cycle()
      let young = program.makeNode(value: 2)
      program.store(young, into: old.reference, HeapFixture.ambiguous)
      program.cycle(.minor)
      #expect(nodes == [old.reference, young])
    }
  }

  @Test("of an old array, what lies on a card that was written is scanned, at every place")
  func arrays() {
    fixture.attached { program in
      // A small one and a large one, which spans many cards and several arenas' worth of pages.
      for count in [63, 500, 70_000] {
        let array = program.root(program.makeArray(count: count))
        program.cycle()
        let places = [0, 1, 62, count / 2, count - 1].filter { $0 < count }
        for place in places {
          program.store(
            program.makeNode(value: UInt(place)), into: array.reference, 8 + place * 8)
        }
        program.cycle(.minor)
        for place in places {
          let node = program.load(array.reference, 8 + place * 8)
          #expect(fixture.place(of: node) != nil, "element \(place) of \(count) is lost")
          #expect(program.load(node, HeapFixture.value) == UInt(place))
        }
        #expect(nodes.count == Set(places).count)
        program.drop(array)
        program.cycle()
      }
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("of an old object larger than a card, what lies on a card that was written is scanned")
  func largeObjects() throws {
    // Of 24 KiB, in a span of three pages, and of 64 KiB. Every other word is a reference.
    for size in [24 << 10, 64 << 10] {
      let layout = try fixture.heap.register(
        .init(
          kind: .object, size: size, alignment: 8,
          references: Array(stride(from: 8, to: size, by: 16))),
        name: "Large")
      fixture.attached { program in
        let old = program.root(program.makeObject(layout))
        program.cycle()
        for place in [8, 2040, 2056, 4072, size / 2 + 8, size - 8] {
          let node = program.makeNode(value: UInt(place))
          program.store(node, into: old.reference, place)
          // Not a reference: nothing that lies there is kept.
          program.initialize(old.reference, place - 8, program.makeNode())
          program.cycle(.minor)
          #expect(nodes.contains(node), "the node at \(place) of \(size) is lost")
        }
        #expect(nodes.count == 6)
        program.drop(old)
        program.cycle()
      }
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("cards are clean after a cycle of either kind", arguments: [CycleKind.minor, .full])
  func cleanCards(kind: CycleKind) {
    fixture.attached { program in
      let old = program.root(program.makeNode())
      program.cycle()
      program.store(program.makeNode(), into: old.reference, HeapFixture.left)
      #expect(CardTable.isDirty(old.reference))
      program.cycle(kind)
      #expect(!CardTable.isDirty(old.reference))
      program.cycle(.minor)
      #expect(nodes.count == 2)
    }
  }

  @Test("a store that is recorded sets no card, and what it stores is old afterwards")
  func recordedStores() {
    fixture.attached { program in
      let old = program.root(program.makeNode())
      program.cycle()
      let young = program.root(program.makeNode())
      program.beginCycle(.minor)
      program.store(young.reference, into: old.reference, HeapFixture.left)
      program.drop(young)
      #expect(!CardTable.isDirty(old.reference))
      program.endCycle(.minor)
      #expect(fixture.isMarked(program.load(old.reference, HeapFixture.left)))
      program.cycle(.minor)
      #expect(nodes.count == 2)
    }
  }

  @Test("a store without its card is found before the minor cycle that would lose the object")
  func missingCard() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let fixture = try HeapFixture()
      fixture.attached { program in
        let old = program.root(program.makeNode())
        program.cycle()
        let young = program.makeNode()
        program.initialize(old.reference, HeapFixture.left, young)
        program.cycle(.minor)
      }
    }
    #expect(result.said("cards are missing"))
    #expect(result.said("of a Node"))
  }

  @Test("what is allocated black after marking has ended is put on cards, what was before is not")
  func bornOld() {
    fixture.attached { program in
      program.beginCycle()
      let before = (0..<90).map { _ in program.makeNode() }
      program.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
      }
      // Another thread may allocate young objects before this one has answered `returnSpans`. The
      // nodes between fill several cards, and a span.
      let after = (0..<300).map { _ in program.makeNode() }
      let large = program.makeArray(count: 10_000)
      program.collecting {
        fixture.heap.verify()
        fixture.heap.advanceGeneration()
        fixture.heap.finishSweeping()
      }
      #expect(after.allSatisfy { fixture.isMarked($0) && CardTable.isDirty($0) })
      #expect((0..<10_000).allSatisfy { CardTable.isDirty(large + 8 + UInt($0) * 8) })
      #expect(fixture.isMarked(before[0]) && !CardTable.isDirty(before[0]))
      #expect(!fixture.isMarked(program.makeNode()))
    }
  }

  @Test("a young object lives in one that was born old around it, by a thread that answers late")
  func bornOldAroundTheYoung() throws {
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
        let young = program.makeNode(value: 17)
        program.store(young, into: board.reference, 8)
        CollectedHeap.blocking {
          isMade.happen()
          isOver.wait()
        }
      }
    }
    adaIsIn.wait()
    // Ben, this thread, answers late. He has a run, so he comes to no safepoint.
    fixture.attached { ben in
      fixture.heap.roots.set(board, to: ben.makeArray(count: 4))
      ben.beginCycle()
      ben.collecting {
        fixture.heap.terminateMarking()
        fixture.heap.lowerBarrier()
      }
      _ = ben.makeNode()
      let collector = TestThread {
        fixture.heap.advanceGeneration()
        fixture.heap.finishSweeping()
      }
      while !ben.mutator.isRequested { heap_pause() }
      adaMayGo.happen()
      isMade.wait()
      let young = ben.load(board.reference, 8)
      let old = ben.makeNode(value: 16)
      ben.initialize(old, HeapFixture.left, young)
      ben.store(old, into: board.reference, 8)
      #expect(fixture.isMarked(old) && !fixture.isMarked(young))
      // He is only asked for the answer, and has not given it yet.
      #expect(ben.mutator.isRequested)
      CollectedHeap.blocking { collector.join() }
      // Nothing but `old` refers to `young`.
      fixture.heap.requests.collectAndWait(ofAnyKind: true)
      #expect(fixture.heap.counters.minorCycles.load(ordering: .relaxed) == 1)
      #expect(fixture.objects(of: fixture.node).contains(young), "the young object is lost")
    }
    isOver.happen()
    ada.join()
    #expect(fixture.problems.isEmpty)
  }

  @Test("a minor cycle sweeps what was allocated from, and leaves all other spans alone")
  func sweeping() {
    fixture.attached { program in
      let list = program.makeList(1...1000)
      program.cycle()
      let shelf = fixture.shelf(fixture.node)
      let generation = fixture.heap.generation
      // One hole is filled, in one span.
      _ = program.makeNode()
      program.cycle(.minor)
      var generations: [Generation: Int] = [:]
      shelf.forEach { generations[$0.generation, default: 0] += 1 }
      #expect(generations[fixture.heap.generation] == 1)
      #expect(generations[generation] == shelf.spanCount - 1)
      #expect(program.values(of: list) == Array(1...1000))
    }
    #expect(fixture.problems.isEmpty)
  }

  @Test("the figure of live bytes adds what minor cycles find to what the last full one found")
  func figures() {
    fixture.attached { program in
      let list = program.makeList(1...100)
      program.cycle()
      let live = { fixture.heap.counters.liveBytes.load(ordering: .relaxed) }
      #expect(live() == 100 * 48)
      let more = program.makeList(1...10)
      for _ in 0..<50 { _ = program.makeNode() }
      program.cycle(.minor)
      #expect(live() == 110 * 48)
      program.drop(list)
      program.drop(more)
      program.cycle(.minor)
      #expect(live() == 110 * 48)
      program.cycle()
      #expect(live() == 0)
      #expect(fixture.heap.counters.minorCycles.load(ordering: .relaxed) == 2)
    }
  }

  @Test("a forced collection is full; under stress, so many of any kind are minor ones")
  func kinds() throws {
    let fixture = try HeapFixture { $0.stress.minorCycles = 2 }
    let minors = { fixture.heap.counters.minorCycles.load(ordering: .relaxed) }
    fixture.heap.collectAndWait()
    #expect(minors() == 0)
    for _ in 0..<6 { fixture.heap.requests.collectAndWait(ofAnyKind: true) }
    #expect(minors() == 4)
    let plain = try HeapFixture { $0.stress.minorCycles = nil }
    plain.heap.requests.collectAndWait(ofAnyKind: true)
    #expect(plain.heap.counters.minorCycles.load(ordering: .relaxed) == 0)
  }

  /// Bytes of old objects in a heap for which minor cycles are worth while.
  private let old = 1 << 20

  @Test("after a cycle that found most of the young alive comes a full one")
  func growing() {
    var control = MinorControl()
    control.cycleEnded(.full, old: old, young: 1000, freed: 249, time: 1000)
    #expect(!control.isWorthwhile)
    control.cycleEnded(.full, old: old, young: 1000, freed: 250, time: 250_000)
    #expect(control.isWorthwhile)
    control.cycleEnded(.minor, old: old, young: 1000, freed: 250, time: 1000)
    #expect(control.isWorthwhile)
    control.cycleEnded(.minor, old: old, young: 1000, freed: 249, time: 1000)
    #expect(!control.isWorthwhile)
    control.cycleEnded(.full, old: old, young: 1000, freed: 250, time: 250_000)
    #expect(control.isWorthwhile)
    // If the full one frees far more for its time, minor ones are given up besides.
    control.cycleEnded(.full, old: old, young: 1000, freed: 900, time: 1000)
    control.cycleEnded(.minor, old: old, young: 1000, freed: 10, time: 1000)
    control.cycleEnded(.full, old: old, young: 1000, freed: 900, time: 1000)
    #expect(!control.isWorthwhile)
  }

  @Test("minor cycles are given up where they free less for their time, and tried again")
  func control() {
    var control = MinorControl()
    func full() { control.cycleEnded(.full, old: old, young: 1000, freed: 1000, time: 1000) }
    func minor(_ time: Int) {
      control.cycleEnded(.minor, old: old, young: 1000, freed: 1000, time: time)
    }
    full()
    for _ in 0..<50 { minor(900) }
    #expect(control.isWorthwhile)
    minor(1100)
    #expect(control.isWorthwhile, "one bad one is no reason")
    minor(900)
    minor(1100)
    #expect(control.isWorthwhile)
    minor(1100)
    #expect(!control.isWorthwhile)
    // Far too dear, one is enough.
    var length = 0
    var lengths: [Int] = []
    for _ in 0..<4 {
      length = 0
      while !control.isWorthwhile {
        full()
        length += 1
      }
      lengths.append(length)
      minor(4100)
    }
    #expect(lengths == [8, 16, 32, 64])
    while !control.isWorthwhile { full() }
    minor(10)
    minor(3900)
    #expect(control.isWorthwhile)
    minor(3900)
    length = 0
    while !control.isWorthwhile {
      full()
      length += 1
    }
    #expect(length == 8, "a success makes it impatient again")
  }

  @Test("a full cycle of a heap in which nothing was old is no measure for minor ones")
  func nothingOld() {
    var control = MinorControl()
    control.cycleEnded(.full, old: 0, young: 1000, freed: 1000, time: 10)
    for _ in 0..<10 { control.cycleEnded(.minor, old: old, young: 1000, freed: 1000, time: 1000) }
    #expect(control.isWorthwhile)
  }
}
