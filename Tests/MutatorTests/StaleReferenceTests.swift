// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked mode, as a newcomer's programs meet it: each keeps a reference where the collector does
// not look, and goes on to allocate objects of the same type, so that the object's memory would be
// used again at once. A freed slot is held out of use (Quarantine), so the reference still leads
// to no object when it is stored. Each program runs with a collection at each allocation, and with
// few collections and many allocations between them.

import Mutator
import TestSupport
import Testing

private struct Cell: HeapObject {
  var next: HeapRef<Cell>?
  var number = 0
}

private enum CellShape {
  case nothing
  case cell(HeapRef<Cell>)
}

private final class Owner {
  var cell: HeapRef<Cell>?
  var shape = CellShape.nothing
  var pair: (HeapRef<Cell>?, Int) = (nil, 0)
}

private final class Action {
  var run: (HeapMutator) -> Void
  init(_ run: @escaping (HeapMutator) -> Void) { self.run = run }
}

/// A place that the collector does not see, and what is done with the stale reference there.
private enum Place: String, Codable, CaseIterable {
  case array, arrayOfTuples, arrayOfOptionals, dictionary, dictionaryKey, set
  case classProperty, classTuple, classEnum, staticVariable
  case closure, closureVariable, any, unsafePointer
  case holder, nilIntoHolder, element, root, chain
}

private enum Programs {
  nonisolated(unsafe) static var latest: HeapRef<Cell>?

  /// Collections and allocations in between: what other code of a program does.
  @inline(never)
  static func churn(_ mutator: HeapMutator) {
    RootsPrograms.scrub()
    for turn in 0..<3 {
      if mutator.heap.configuration.stress.collectEvery == 0 { mutator.collect() }
      more(mutator, turn)
    }
    RootsPrograms.scrub()
  }

  /// Cells enough to fill the pages that the collection has left.
  @inline(never)
  static func more(_ mutator: HeapMutator, _ turn: Int) {
    let count = mutator.heap.configuration.stress.collectEvery == 0 ? 1500 : 20
    for number in 0..<count { use(mutator.allocate(Cell(number: turn + number))) }
  }

  @inline(never)
  static func use(_ cell: HeapRef<Cell>) {
    if cell.number < 0 { print(cell) }
  }

  @inline(never)
  static func make(_ mutator: HeapMutator) -> HeapRef<Cell> {
    mutator.allocate(Cell(number: 42))
  }

  /// Stores a reference into a new object.
  @inline(never)
  static func store(_ cell: HeapRef<Cell>?, _ mutator: HeapMutator) {
    use(mutator.allocate(Cell(next: cell)))
  }

  @inline(never)
  static func keep(_ place: Place, _ mutator: HeapMutator) -> AnyObject? {
    let owner = Owner()
    switch place {
    case .array: return Action(array([make(mutator)]))
    case .arrayOfTuples:
      let pairs = [(1, make(mutator))]
      return Action { store(pairs[0].1, $0) }
    case .arrayOfOptionals:
      let cells: [HeapRef<Cell>?] = [nil, make(mutator)]
      return Action { store(cells[1], $0) }
    case .dictionary:
      let named = ["a": make(mutator)]
      return Action { store(named["a"], $0) }
    case .dictionaryKey:
      let numbers = [make(mutator): 1]
      return Action { store(numbers.keys.first, $0) }
    case .set:
      let cells: Set = [make(mutator)]
      return Action { store(cells.first, $0) }
    case .classProperty, .holder, .nilIntoHolder, .element, .root, .chain:
      owner.cell = make(mutator)
      if place == .chain { owner.cell?.next = make(mutator) }
    case .classTuple: owner.pair = (make(mutator), 1)
    case .classEnum: owner.shape = .cell(make(mutator))
    case .staticVariable: unsafe latest = make(mutator)
    case .closure:
      let cell = make(mutator)
      return Action { store(cell, $0) }
    case .closureVariable:
      var cell = make(mutator)
      return Action {
        store(cell, $0)
        cell = make($0)
      }
    case .any:
      let value: Any = (make(mutator), 1, 2, 3)
      return Action { store((value as? (HeapRef<Cell>, Int, Int, Int))?.0, $0) }
    case .unsafePointer:
      let pointer = UnsafeMutablePointer<HeapRef<Cell>>.allocate(capacity: 1)
      unsafe pointer.initialize(to: make(mutator))
      return Action { unsafe store(pointer.pointee, $0) }
    }
    return owner
  }

  static func array(_ cells: [HeapRef<Cell>]) -> (HeapMutator) -> Void {
    { store(cells[0], $0) }
  }

  @inline(never)
  static func finish(_ place: Place, _ kept: AnyObject?, _ mutator: HeapMutator) {
    if let action = kept as? Action { return action.run(mutator) }
    guard let owner = kept as? Owner else { return }
    switch place {
    case .classTuple: store(owner.pair.0, mutator)
    case .classEnum: if case .cell(let cell) = owner.shape { store(cell, mutator) }
    case .staticVariable: unsafe store(latest, mutator)
    case .holder: owner.cell?.next = owner.cell
    case .nilIntoHolder: owner.cell?.next = nil
    case .element:
      use(mutator.allocateArray(of: HeapRef<Cell>?.self, count: 2, repeating: nil), owner)
    case .root: _ = HeapRoot(owner.cell, in: mutator)
    // Reading through the stale reference yields the pattern, which is no reference.
    case .chain: store(owner.cell?.next, mutator)
    default: store(owner.cell, mutator)
    }
  }

  static func use(_ cells: HeapArray<HeapRef<Cell>?>, _ owner: Owner) { cells[1] = owner.cell }

  static func run(_ place: Place, _ heap: ManagedHeap) {
    heap.withMutator { mutator in
      let kept = keep(place, mutator)
      // Before `churn` has a frame there: what it does not write would stay as `keep` left it.
      RootsPrograms.scrub()
      churn(mutator)
      finish(place, kept, mutator)
    }
  }
}

extension Place {
  /// What the message says.
  fileprivate var words: [String] {
    let stale = [
      "a reference to an object that has been collected (0x", ", a Cell) was stored into",
    ]
    switch self {
    case .holder, .nilIntoHolder:
      return [
        "a reference was stored into an object that has been collected (field next of a Cell at 0x",
        "the reference to that object was kept where the collector does not look",
      ]
    case .element: return stale + ["element 1 of a HeapArray<Optional<HeapRef<Cell>>>"]
    case .root: return stale + ["a HeapRoot<Optional<HeapRef<Cell>>>"]
    case .chain: return ["0xdadadadadadadada, which is no reference, was stored into field next"]
    default: return stale + ["field next of a new Cell: it was kept where the collector does not"]
    }
  }
}

@Suite struct StaleReferenceTests {
  /// A stale word on the stack may keep an object alive, so a mistake may need a few turns.
  private static let turns = 10

  private func expectFound(
    _ place: Place, _ result: ExitTest.Result?, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let message = result?.message ?? "no message"
    for words in ["heap check: "] + place.words {
      #expect(message.contains(words), "\(place)", sourceLocation: sourceLocation)
    }
    if place != .chain {
      #expect(message.contains("keep a HeapRoot there"), sourceLocation: sourceLocation)
    }
  }

  @Test(
    "a stale reference is found when its memory could have been used again at once",
    arguments: Place.allCases)
  fileprivate func used(place: Place) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      [place] in
      let heap = try HeapCheck.heap {
        $0.checks = .on
        $0.stress.collectEvery = 0
      }
      for _ in 0..<Self.turns { Programs.run(place, heap) }
    }
    expectFound(place, result)
  }

  @Test(
    "a stale reference is found with a collection at each allocation", arguments: Place.allCases)
  fileprivate func stressed(place: Place) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      [place] in
      let heap = try HeapCheck.heap {
        $0.checks = .on
        $0.stress = StressOptions(collectEvery: 1)
      }
      for _ in 0..<Self.turns { Programs.run(place, heap) }
    }
    expectFound(place, result)
  }
}
