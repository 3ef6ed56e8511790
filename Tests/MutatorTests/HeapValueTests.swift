// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Values of a dynamic language: nil, numbers, references; told apart exactly, wherever they lie.

import Collector
import Heap
import Mutator
import TestSupport
import Testing

/// Every place where a value may lie.
private struct Places: HeapObject {
  var field = HeapValue.nil
  var number = 1
  var pair: (Int, HeapValue) = (0, .nil)
  var inline = InlineArray<3, HeapValue>(repeating: .nil)
  var payload = ValuePayload.nothing
  var optional: HeapValue?
}

private enum ValuePayload {
  case nothing
  case number(Int)
  case value(HeapValue)
  case both(Int, HeapValue)
}

private struct Boxed: HeapObject { var value = 0.5 }

@Suite struct HeapValueTests {
  @Test("nil, immediates and references are told apart")
  func kinds() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      #expect(MemoryLayout<HeapValue>.size == 8)
      let none = HeapValue.nil
      #expect(none.isNil && none.immediate == nil && none.reference == nil)

      let zero = HeapValue(immediate: 0)
      #expect(!zero.isNil && zero.immediate == 0 && zero.reference == nil && zero != none)
      #expect(!zero.is(TestNode.self) && zero.as(TestNode.self) == nil)
      #expect(!zero.is(HeapString.self) && zero.as(HeapString.self) == nil)

      let node = mutator.allocate(TestNode(key: 5))
      let value = HeapValue(node)
      #expect(!value.isNil && value.immediate == nil && value.reference == AnyHeapRef(node))
      #expect(value.is(TestNode.self) && !value.is(Boxed.self))
      #expect(value.as(TestNode.self)?.key == 5 && value.as(Boxed.self) == nil)

      let text = HeapValue(mutator.allocateString("text"))
      #expect(text.is(HeapString.self) && text.as(HeapString.self)?.isEqual(to: "text") == true)
      #expect(!text.is(TestNode.self))
      let array = mutator.allocateArray(of: HeapValue.self, count: 2, repeating: text)
      #expect(HeapValue(array).as(HeapArray<HeapValue>.self)?[1] == text)

      #expect(HeapValue(nil as AnyHeapRef?) == none)
      #expect(HeapValue(node.next) == none && HeapValue(Optional(node)) == value)
      #expect(HeapValue(AnyHeapRef(node)) == value)
      #expect(HeapValue(Optional(AnyHeapRef(node))) == value)
    }
  }

  @Test("a number of 63 bits comes back as it was, and a larger one is refused")
  func range() async {
    let range = HeapValue.immediateRange
    #expect(range.lowerBound == -1 << 62 && range.upperBound == (1 << 62) - 1)
    for number in [0, 1, -1, 42, -42, range.lowerBound, range.upperBound] {
      #expect(HeapValue(immediate: number).immediate == number)
      #expect(HeapValue(exactly: number)?.immediate == number)
    }
    for number in [range.lowerBound - 1, range.upperBound + 1, Int.min, Int.max] {
      #expect(HeapValue(exactly: number) == nil)
    }
    var random = RandomNumbers("immediates")
    for _ in 0..<10_000 {
      let number = Int(truncatingIfNeeded: random.next()) >> random.below(64)
      #expect(HeapValue(exactly: number)?.immediate == (range.contains(number) ? number : nil))
    }
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = HeapValue(immediate: .max)
    }
    #expect(result.said("HeapValue(immediate: 9223372036854775807): an immediate has 63 bits"))
    #expect(result.said("from -4611686018427387904 to 4611686018427387903"))
    #expect(result.said("HeapValue(exactly:)"))
  }

  @Test("values are equal if they are the same number or refer to the same object")
  func equality() throws {
    #expect(HeapValue(immediate: 7) == HeapValue(immediate: 7))
    #expect(HeapValue(immediate: 7) != HeapValue(immediate: 8))
    #expect(HeapValue(immediate: 7).description == "7" && HeapValue.nil.description == "nil")
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let (a, b) = (mutator.allocate(Boxed()), mutator.allocate(Boxed()))
      #expect(HeapValue(a) == HeapValue(a) && HeapValue(a) != HeapValue(b))
      #expect(
        Set([HeapValue(a), HeapValue(b), HeapValue(a), .nil, HeapValue(immediate: 0)]).count == 4)
      #expect("\(HeapValue(a))" == "\(AnyHeapRef(a))")
      // An immediate with an object's address is another value.
      let number = Int(bitPattern: unsafe a._raw)
      #expect(HeapValue(immediate: number) != HeapValue(a))
      #expect(a.value == 0.5 && b.value == 0.5)
    }
  }

  @Test("a field is a precise reference, a payload an ambiguous one")
  func layout() throws {
    let layout = Places.layout
    #expect(layout.references == [0, 24, 32, 40, 48])
    #expect(layout.ambiguous == [56, 64, 80])
  }

  // MARK: - Exactness

  /// Where a number is put.
  enum Place: String, Codable, CaseIterable {
    case field, tuple, inlineArray, payload, payloadOfSeveral, optional, element, root
  }

  @Test(
    "an immediate keeps nothing alive, though it is an address in an object",
    arguments: Place.allCases, [false, true])
  func exact(place: Place, isMinor: Bool) throws {
    // Minor ones only until the end: what is marked by mistake is then there for good.
    let heap = try HeapCheck.pacedHeap {
      $0.gcPercent = .off
      $0.stress.minorCycles = isMinor ? 100 : 0
    }
    let (places, array, root) = heap.withMutator { mutator in
      let array = mutator.allocateArray(of: HeapValue.self, count: 100, repeating: .nil)
      return (
        HeapRoot(mutator.allocate(Places()), in: mutator), HeapRoot(array, in: mutator),
        HeapRoot(HeapValue.nil, in: mutator)
      )
    }
    if isMinor { heap.collect() }
    heap.withMutator { mutator in
      let value = HeapValue(immediate: Self.numberInObject(in: mutator))
      let places = places.get(in: mutator)
      switch place {
      case .field: places.field = value
      case .tuple: places.pair.1 = value
      case .inlineArray: places[\.inline, 1] = value
      case .payload: places.payload = .value(value)
      case .payloadOfSeveral: places.payload = .both(1, value)
      case .optional: places.optional = value
      case .element: array.get(in: mutator)[50] = value
      case .root: root.set(value, in: mutator)
      }
    }
    heap.core.requests.collectAndWait(ofAnyKind: isMinor)
    heap.core.requests.collectAndWait(ofAnyKind: isMinor)
    // The object with the places, and the array.
    #expect(heap.core.counters.liveObjects.load(ordering: .relaxed) == 2)
    withExtendedLifetime((places, array, root)) {}
  }

  /// A number that, as an immediate, is an address in an object that nobody refers to.
  @inline(never)
  private static func numberInObject(in mutator: HeapMutator) -> Int {
    Int(bitPattern: unsafe mutator.allocate(TestNode())._raw) >> 1
  }

  // MARK: - Keeping

  @Test("what a value refers to lives, wherever it lies", arguments: StressMode.allCases)
  func keeping(mode: StressMode) throws {
    let heap = try mode.heap()
    let root = heap.withMutator { mutator in
      func node(_ key: Int) -> HeapValue { HeapValue(mutator.allocate(TestNode(key: key))) }
      let places = mutator.allocate(Places(field: node(1)))
      places.pair.1 = node(2)
      for index in 0..<3 { places[\.inline, index] = node(3 + index) }
      places.payload = .both(7, node(6))
      places.optional = node(7)
      let array = mutator.allocateArray(of: HeapValue.self, count: 4, repeating: node(8))
      array[1] = HeapValue(immediate: 9)
      array[2] = HeapValue(places)
      array[3] = .nil
      return HeapRoot(HeapValue(array), in: mutator)
    }
    for _ in 0..<2 {
      heap.collect()
      heap.withMutator { mutator in
        _ = mutator.list(mode.isSlow ? 30 : 3000)
        func key(_ value: HeapValue?) -> Int? { value?.as(TestNode.self)?.key }
        guard let array = root.get(in: mutator).as(HeapArray<HeapValue>.self),
          let places = array[2].as(Places.self)
        else {
          Issue.record("the array has lost its type, or the object")
          return
        }
        #expect(key(array[0]) == 8 && array[1].immediate == 9 && array[3].isNil)
        #expect(key(places.field) == 1 && key(places.pair.1) == 2)
        #expect((0..<3).allSatisfy { key(places[\.inline, $0]) == 3 + $0 })
        #expect(key(places.optional) == 7)
        if case .both(7, let value) = places.payload { #expect(key(value) == 6) }
      }
    }
    heap.withMutator { root.set(HeapValue(immediate: 3), in: $0) }
    HeapCheck.expectEmpty(heap)
  }

  /// What a value should be.
  private enum Model: Equatable {
    case nothing
    case number(Int)
    case node(Int)
    case text(String)
    case boxed(Double)

    /// Whether the value is this; what it is otherwise.
    func mismatch(_ value: HeapValue) -> String? {
      let isRight =
        switch self {
        case .nothing: value.isNil
        case .number(let number): value.immediate == number
        case .node(let key): value.as(TestNode.self)?.key == key
        case .text(let text): value.as(HeapString.self)?.isEqual(to: text) ?? false
        case .boxed(let number): value.as(Boxed.self)?.value == number
        }
      return isRight ? nil : "\(self) expected, there is \(value)"
    }
  }

  @Test(
    "a random program finds its values as it stored them, while another thread collects",
    arguments: StressMode.allCases)
  func random(mode: StressMode) throws {
    let heap = try mode.heap()
    let isDone = Event()
    let collecting = TestThread { while !isDone.hasHappened { heap.collect() } }
    var random = RandomNumbers("values")
    heap.withMutator { mutator in
      let count = 60
      let values = mutator.allocateArray(of: HeapValue.self, count: count, repeating: .nil)
      let payloads = mutator.allocateArray(of: ValuePayload.self, count: count, repeating: .nothing)
      var models = Array(repeating: Model.nothing, count: count)
      var payloadModels = models
      for turn in 0..<(mode.isSlow ? 600 : 40_000) {
        let place = random.below(count)
        let (value, model): (HeapValue, Model)
        switch random.below(7) {
        case 0: (value, model) = (.nil, .nothing)
        case 1, 2:
          let number = Int(truncatingIfNeeded: random.next()) >> 2
          (value, model) = (HeapValue(immediate: number), .number(number))
        case 3:
          (value, model) = (HeapValue(mutator.allocate(TestNode(key: turn))), .node(turn))
        case 4:
          (value, model) = (HeapValue(mutator.allocateString("\(turn)")), .text("\(turn)"))
        case 5:
          let number = Double(turn) / 2
          (value, model) = (HeapValue(mutator.allocate(Boxed(value: number))), .boxed(number))
        default:
          // From another place: the barrier's business.
          let from = random.below(count)
          (value, model) = (values[from], models[from])
          values[from] = .nil
          models[from] = .nothing
        }
        if random.oneIn(3) {
          payloads[place] = random.oneIn(2) ? .both(turn, value) : .value(value)
          payloadModels[place] = model
        } else {
          values[place] = value
          models[place] = model
        }
        if turn % 64 == 0 { mutator.safepoint() }
      }
      for place in 0..<count {
        #expect(models[place].mismatch(values[place]) == nil)
        switch payloads[place] {
        case .value(let value), .both(_, let value):
          #expect(payloadModels[place].mismatch(value) == nil)
        case .nothing, .number: #expect(payloadModels[place] == .nothing)
        }
      }
      mutator.blocking {
        isDone.happen()
        collecting.join()
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a value field is an atomic word", arguments: [StressMode.plain, .checked])
  func atomics(mode: StressMode) throws {
    let heap = try mode.heap()
    heap.withMutator { mutator in
      let places = mutator.allocate(Places())
      let node = HeapValue(mutator.allocate(TestNode(key: 1)))
      places.store(\.field, HeapValue(immediate: 5), ordering: .releasing)
      #expect(places.load(\.field, ordering: .acquiring).immediate == 5)
      #expect(places.exchange(\.field, node, ordering: .acquiringAndReleasing).immediate == 5)
      let failed = places.compareExchange(
        \.field, expected: .nil, desired: HeapValue(immediate: 6), ordering: .relaxed)
      #expect(!failed.exchanged && failed.original == node)
      mutator.collect()
      let done = places.compareExchange(
        \.field, expected: node, desired: HeapValue(immediate: 6), ordering: .relaxed)
      #expect(done.exchanged && done.original.as(TestNode.self)?.key == 1)
      #expect(places.field.immediate == 6)
    }
  }

  // MARK: - Checked mode

  @Test("checked mode takes every immediate, in every way to store it")
  func checkedImmediates() throws {
    let heap = try StressMode.checked.heap()
    heap.withMutator { mutator in
      // As bad as can be: an address in an object, one of nowhere, and the pattern's neighbour.
      let inside = Int(bitPattern: unsafe mutator.allocate(TestNode())._raw) >> 1
      for number in [inside, 0x1234, HeapValue.immediateRange.upperBound, -1] {
        let value = HeapValue(immediate: number)
        let places = mutator.allocate(Places(field: value, payload: .value(value)))
        places.field = value
        places.pair = (1, value)
        places.inline = InlineArray(repeating: value)
        places.payload = .both(number, value)
        places.optional = value
        places.pointee = Places(field: value)
        let array = mutator.allocateArray(of: HeapValue.self, count: 3, repeating: value)
        array[1] = value
        array.update(from: [value, value])
        array.copy(range: 0..<2, to: 1)
        let root = HeapRoot(value, in: mutator)
        root.set(value, in: mutator)
        mutator.collect()
        #expect(root.get(in: mutator).immediate == number && array[2].immediate == number)
        #expect(places.field.immediate == number)
      }
    }
  }

  @Test("checked mode names a value that was read from an object that has been collected")
  func stale() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let heap = try StressMode.checkedEveryAllocation.heap()
      heap.withMutator { mutator in
        let places = mutator.allocate(Places())
        var kept: [HeapRef<Places>] = []
        Self.fill(&kept, in: mutator)
        for _ in 0..<100 { _ = mutator.allocate(Places()) }
        // Whatever the field was, it is no number now.
        places.field = kept[50].field
      }
    }
    #expect(result.said("0xdadadadadadadada, which is no reference, was stored into field field"))
  }

  @inline(never)
  private static func fill(_ kept: inout [HeapRef<Places>], in mutator: HeapMutator) {
    for number in 0..<100 {
      kept.append(mutator.allocate(Places(field: HeapValue(immediate: number))))
    }
  }
}
