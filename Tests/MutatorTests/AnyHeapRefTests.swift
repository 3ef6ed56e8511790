// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// References to objects of any type: the heap knows which.

import Collector
import Heap
import Mutator
import TestSupport
import Testing

private struct Boxed: HeapObject { var value = 0.5 }
private struct Count: HeapObject { var value = 7 }
private struct Short: HeapObject { var value: Int32 = 3 }
private struct Nothing: HeapObject {}
private struct Twelve: HeapObject { var values: (Int32, Int32, Int32) = (1, 2, 3) }
private struct Cell<Value>: HeapObject {
  var value: Value
  var next: HeapRef<TestNode>?
}
private struct Large: HeapObject {
  var words = InlineArray<10_000, Int>(repeating: 1)
  var any: AnyHeapRef?
}

/// Every place where a reference may lie.
private struct Places: HeapObject {
  var field: AnyHeapRef?
  var number = 1
  var pair: (Int, AnyHeapRef?) = (0, nil)
  var inline = InlineArray<3, AnyHeapRef?>(repeating: nil)
  var payload = AnyPayload.nothing
  let fixed: AnyHeapRef
}

private enum AnyPayload {
  case nothing
  case number(Int)
  case any(AnyHeapRef)
  case both(Int, AnyHeapRef?)
}

@Suite struct AnyHeapRefTests {
  @Test("it is one word, and so is its optional")
  func size() {
    #expect(MemoryLayout<AnyHeapRef>.size == 8 && MemoryLayout<AnyHeapRef?>.size == 8)
    #expect(unsafe unsafeBitCast(nil as AnyHeapRef?, to: UInt.self) == 0)
  }

  @Test("an object is of its own type and of no other, whatever its size")
  func types() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let node = mutator.allocate(TestNode(key: 9))
      let any = AnyHeapRef(node)
      #expect(any.is(TestNode.self) && !any.is(Boxed.self) && !any.is(Cell<Int>.self))
      #expect(any.as(TestNode.self) == node && any.as(TestNode.self)?.key == 9)
      #expect(any.as(Count.self) == nil && any.as(HeapString.self) == nil)
      #expect(any.typeName == "TestNode")

      let large = AnyHeapRef(mutator.allocate(Large(any: any)))
      #expect(large.typeName == "Large" && large.is(Large.self) && !large.is(TestNode.self))
      #expect(large.as(Large.self)?.any?.as(TestNode.self)?.key == 9)

      let (a, b) = (
        AnyHeapRef(mutator.allocate(Cell(value: 1))), AnyHeapRef(mutator.allocate(Cell(value: 0.5)))
      )
      #expect(a.is(Cell<Int>.self) && !a.is(Cell<Double>.self) && a.typeName == "Cell<Int>")
      #expect(b.is(Cell<Double>.self) && !b.is(Cell<Int>.self))
      #expect(b.as(Cell<Double>.self)?.value == 0.5)
    }
  }

  @Test("values of 8 bytes and more know their type, each type in slots of its own")
  func eightBytes() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    heap.withMutator { mutator in
      var doubles = AnyHeapRef(mutator.allocate(Boxed()))
      var counts = AnyHeapRef(mutator.allocate(Count()))
      for _ in 0..<1000 {
        // In turn: what shares a slot, or a span, would lie side by side.
        #expect(doubles.as(Boxed.self)?.value == 0.5 && !doubles.is(Count.self))
        #expect(counts.as(Count.self)?.value == 7 && !counts.is(Boxed.self))
        doubles = AnyHeapRef(mutator.allocate(Boxed()))
        counts = AnyHeapRef(mutator.allocate(Count()))
      }
      let twelve = AnyHeapRef(mutator.allocate(Twelve()))
      #expect(twelve.is(Twelve.self) && twelve.typeName == "Twelve")
      #expect(!ObjectLayout.isShared(Boxed.self) && !ObjectLayout.isShared(Twelve.self))
      #expect(Boxed.layout.slotSize == 16)
    }
    // 16 bytes each.
    #expect(heap.statistics.allocatedObjects == 2 * 1001 + 1)
    #expect(heap.statistics.allocatedBytes == 16 * (2 * 1001 + 1))
  }

  @Test("arrays know their elements, and strings are told from arrays of bytes")
  func arrays() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let ints = mutator.allocateArray(of: Int.self, count: 3, repeating: 5)
      let bytes = mutator.allocateBytes([1, 2, 3])
      let text = mutator.allocateString("abc")
      let long = mutator.allocateString(String(repeating: "x", count: 100_000))
      let nodes = mutator.allocateArray(of: HeapRef<TestNode>?.self, count: 2, repeating: nil)
      let empty = mutator.allocateArray(of: Double.self, count: 0, repeating: 0)

      let any = AnyHeapRef(ints)
      #expect(any.is(HeapArray<Int>.self) && any.as(HeapArray<Int>.self) == ints)
      #expect(!any.is(HeapArray<UInt>.self) && !any.is(HeapString.self) && !any.is(Count.self))
      #expect(any.typeName == "HeapArray<Int>")
      #expect(AnyHeapRef(bytes).is(HeapArray<UInt8>.self) && !AnyHeapRef(bytes).is(HeapString.self))
      for text in [text, long] {
        #expect(AnyHeapRef(text).is(HeapString.self) && AnyHeapRef(text).typeName == "HeapString")
        #expect(!AnyHeapRef(text).is(HeapArray<UInt8>.self))
        #expect(AnyHeapRef(text).as(HeapString.self) == text)
      }
      #expect(AnyHeapRef(nodes).is(HeapArray<HeapRef<TestNode>?>.self))
      #expect(!AnyHeapRef(nodes).is(HeapArray<HeapRef<Boxed>?>.self))
      #expect(AnyHeapRef(nodes).typeName == "HeapArray<Optional<HeapRef<TestNode>>>")
      #expect(AnyHeapRef(empty).as(HeapArray<Double>.self)?.isEmpty == true)
      // Of a type that is only the element's.
      #expect(!AnyHeapRef(mutator.allocate(Count())).is(HeapArray<Count>.self))
      let counts = mutator.allocateArray(of: Count.self, count: 1, repeating: Count())
      #expect(!AnyHeapRef(counts).is(Count.self) && AnyHeapRef(counts).is(HeapArray<Count>.self))
    }
  }

  @Test("a type has one identity in all heaps")
  func severalHeaps() throws {
    let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
    a.withMutator { inA in
      // In another order.
      _ = inA.allocate(Boxed())
      let first = AnyHeapRef(inA.allocate(Count(value: 1)))
      b.withMutator { inB in
        let second = AnyHeapRef(inB.allocate(Count(value: 2)))
        _ = inB.allocate(Boxed())
        #expect(first.as(Count.self)?.value == 1 && second.as(Count.self)?.value == 2)
        #expect(!first.is(Boxed.self) && !second.is(Boxed.self))
      }
    }
  }

  @Test("references are equal if the object is the same, and hash by it")
  func identity() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let (a, b) = (mutator.allocate(Count()), mutator.allocate(Count()))
      #expect(AnyHeapRef(a) == AnyHeapRef(a) && AnyHeapRef(a) != AnyHeapRef(b))
      // The set keeps nothing alive: a and b do.
      #expect(Set([AnyHeapRef(a), AnyHeapRef(b), AnyHeapRef(a)]).count == 2)
      let address = String(UInt(bitPattern: unsafe a._raw), radix: 16)
      #expect(AnyHeapRef(a).description == "AnyHeapRef(Count, 0x\(address))")
      #expect(a.value == 7 && b.value == 7)
    }
  }

  @Test("a type of less than 8 bytes is refused, and the message recommends the immediate")
  func tiny() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try HeapCheck.heap().withMutator { mutator in
        // It can be allocated and used; only its type is not known.
        let short = mutator.allocate(Short())
        precondition(short.value == 3)
        _ = AnyHeapRef(short)
      }
    }
    #expect(result.said("a HeapRef<Short> cannot become an AnyHeapRef or a HeapValue"))
    #expect(result.said("a Short has 4 bytes"))
    #expect(result.said("keep the value itself, HeapValue(immediate: …), or give the type 8 bytes"))
    let other = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try HeapCheck.heap().withMutator { _ = HeapValue($0.allocate(Nothing())) }
    }
    #expect(other.said("a Nothing has 0 bytes"))
  }

  @Test("a field is a precise reference, a payload an ambiguous one")
  func layout() throws {
    let layout = Places.layout
    #expect(layout.references == [0, 24, 32, 40, 48, 80])
    #expect(layout.ambiguous == [56, 64])
  }

  @Test("what it refers to lives, wherever it lies", arguments: StressMode.allCases)
  func keeping(mode: StressMode) throws {
    let heap = try mode.heap()
    let root = heap.withMutator { mutator in
      func node(_ key: Int) -> AnyHeapRef { AnyHeapRef(mutator.allocate(TestNode(key: key))) }
      let places = mutator.allocate(Places(fixed: node(0)))
      places.field = node(1)
      places.pair.1 = node(2)
      for index in 0..<3 { places[\.inline, index] = node(3 + index) }
      places.payload = .both(7, node(6))
      let array = mutator.allocateArray(of: AnyHeapRef?.self, count: 3, repeating: node(7))
      array[1] = node(8)
      array[2] = AnyHeapRef(places)
      return HeapRoot(AnyHeapRef(array), in: mutator)
    }
    for _ in 0..<2 {
      heap.collect()
      heap.withMutator { mutator in
        _ = mutator.list(mode.isSlow ? 30 : 3000)
        func key(_ any: AnyHeapRef?) -> Int? { any?.as(TestNode.self)?.key }
        guard let array = root.get(in: mutator).as(HeapArray<AnyHeapRef?>.self),
          let places = array[2]?.as(Places.self)
        else {
          Issue.record("the array has lost its type, or the object")
          return
        }
        #expect(key(array[0]) == 7 && key(array[1]) == 8)
        #expect(key(places.fixed) == 0 && key(places.field) == 1 && key(places.pair.1) == 2)
        #expect((0..<3).allSatisfy { key(places[\.inline, $0]) == 3 + $0 })
        if case .both(7, let any) = places.payload { #expect(key(any) == 6) }
      }
    }
    heap.withMutator { root.set(AnyHeapRef($0.allocate(TestNode())), in: $0) }
    heap.core.collectAndWaitForAll()
    heap.core.collectAndWaitForAll()
    #expect(heap.core.counters.liveObjects.load(ordering: .relaxed) == 1)
    withExtendedLifetime(root) {}
  }

  @Test("checked mode names a stale one when it is stored")
  func stale() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let heap = try StressMode.checkedEveryAllocation.heap()
      heap.withMutator { mutator in
        let places = mutator.allocate(Places(fixed: AnyHeapRef(mutator.allocate(Count()))))
        var kept: [AnyHeapRef] = []
        Self.fill(&kept, in: mutator)
        for _ in 0..<100 { _ = mutator.allocate(Count()) }
        places.field = kept[50]
      }
    }
    #expect(result.said("a reference to an object that has been collected"))
    #expect(result.said("a TestNode"))
    #expect(result.said("was stored into field field of a Places"))
  }

  /// Puts references where the collector does not look.
  @inline(never)
  private static func fill(_ kept: inout [AnyHeapRef], in mutator: HeapMutator) {
    for key in 0..<100 { kept.append(AnyHeapRef(mutator.allocate(TestNode(key: key)))) }
  }
}

extension ObjectLayout {
  /// Whether objects of a type share slots.
  fileprivate static func isShared<Object: HeapObject>(_ type: Object.Type) -> Bool {
    type.layout.isTiny
  }
}
