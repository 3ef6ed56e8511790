// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked mode: every way to store a reference, with a reference that must not be stored. The
// message names where it was to go, down to the case of an enum.

import Mutator
import TestSupport
import Testing

private struct Holder: HeapObject {
  var left: HeapRef<TestNode>?
  var part = HolderPart()
  var value = HolderValue.nothing
  var edges = InlineArray<3, HeapRef<TestNode>?>(repeating: nil)
  var optional: HolderPart?

  /// A computed property, stored by storing the whole object.
  var second: HeapRef<TestNode>? {
    get { edges[1] }
    set { edges[1] = newValue }
  }
}

private struct HolderPart {
  var number = 0
  var link: HeapRef<TestNode>?
}

private enum HolderValue {
  case nothing
  case number(Int)
  case pair(HeapRef<TestNode>?, Int)
}

private typealias Node = HeapRef<TestNode>?

/// A way to store a reference.
private enum Way: String, Codable, CaseIterable {
  case field, nestedField, enumField, inlineArray, wholeObject, optionalField, computedProperty
  case atomicStore, exchange, compareExchange
  case firstValue, firstValueTried, firstValueInEnum
  case repeating, repeatingTried, repeatingStruct, repeatingEnum
  case element, elementStruct, elementEnum, update, updateRepeating, copy
  case root, rootSet

  /// Where the reference goes, in the words of the message.
  var place: String {
    switch self {
    case .field, .atomicStore, .exchange, .compareExchange: "field left of a Holder at 0x"
    case .nestedField: "field part.link of a Holder at 0x"
    case .enumField: "field value.case pair.0 of a Holder at 0x"
    case .inlineArray, .wholeObject: "field edges[2] of a Holder at 0x"
    case .optionalField: "field optional.link of a Holder at 0x"
    case .computedProperty: "field edges[1] of a Holder at 0x"
    case .firstValue, .firstValueTried: "field left of a new Holder"
    case .firstValueInEnum: "field value.case pair.0 of a new Holder"
    case .repeating, .repeatingTried:
      "the elements of a new HeapArray<Optional<HeapRef<TestNode>>>"
    case .repeatingStruct: "field link of the elements of a new HeapArray<HolderPart>"
    case .repeatingEnum: "field case pair.0 of the elements of a new HeapArray<HolderValue>"
    case .element, .update, .copy: "element 1 of a HeapArray<Optional<HeapRef<TestNode>>> at 0x"
    case .updateRepeating: "element 0 of a HeapArray<Optional<HeapRef<TestNode>>> at 0x"
    case .elementStruct: "element 1, field link of a HeapArray<HolderPart> at 0x"
    case .elementEnum: "element 1, case pair.0 of a HeapArray<HolderValue> at 0x"
    case .root, .rootSet: "a HeapRoot<Optional<HeapRef<TestNode>>>"
    }
  }
}

/// What the stores go into.
///
/// Made before anything is stored.
private struct Holders {
  let holder: HeapRef<Holder>
  let nodes: HeapArray<Node>
  let parts: HeapArray<HolderPart>
  let values: HeapArray<HolderValue>

  init(in mutator: HeapMutator) {
    holder = mutator.allocate(Holder())
    nodes = mutator.allocateArray(of: Node.self, count: 3, repeating: nil)
    parts = mutator.allocateArray(of: HolderPart.self, count: 3, repeating: HolderPart())
    values = mutator.allocateArray(of: HolderValue.self, count: 3, repeating: .nothing)
  }

  /// Stores a reference.
  func store(_ node: Node, _ way: Way, in mutator: HeapMutator) {
    switch way {
    case .field: holder.left = node
    case .nestedField: holder.part.link = node
    case .enumField: holder.value = .pair(node, 1)
    case .inlineArray: holder.edges[2] = node
    case .wholeObject: holder.pointee.edges[2] = node
    case .optionalField: holder.optional = HolderPart(link: node)
    case .computedProperty: holder.second = node
    case .atomicStore: holder.store(\.left, node, ordering: .releasing)
    case .exchange: _ = holder.exchange(\.left, node, ordering: .acquiringAndReleasing)
    case .compareExchange:
      _ = holder.compareExchange(
        \.left, expected: nil, desired: node, ordering: .acquiringAndReleasing)
    case .firstValue: _ = mutator.allocate(Holder(left: node))
    case .firstValueTried: _ = try? mutator.tryAllocate(Holder(left: node))
    case .firstValueInEnum: _ = mutator.allocate(Holder(value: .pair(node, 1)))
    case .repeating: _ = mutator.allocateArray(of: Node.self, count: 2, repeating: node)
    case .repeatingTried:
      _ = try? mutator.tryAllocateArray(of: Node.self, count: 2, repeating: node)
    case .repeatingStruct:
      _ = mutator.allocateArray(
        of: HolderPart.self, count: 2, repeating: HolderPart(link: node))
    case .repeatingEnum:
      _ = mutator.allocateArray(of: HolderValue.self, count: 2, repeating: .pair(node, 1))
    case .element: nodes[1] = node
    case .elementStruct: parts[1].link = node
    case .elementEnum: values[1] = .pair(node, 1)
    case .update: nodes.update(from: [nil, node, nil] as [Node])
    case .updateRepeating: nodes.update(repeating: node)
    case .copy:
      // Put where nothing is checked: into memory that only looks like an array.
      TestMemory.array([nil, node, nil] as [Node]).copy(range: 0..<3, to: nodes)
    case .root: _ = HeapRoot(node, in: mutator)
    case .rootSet: HeapRoot(nil as Node, in: mutator).set(node, in: mutator)
    }
  }
}

@Suite struct CheckedStoreTests {
  private static func checked() throws -> ManagedHeap { try HeapCheck.heap { $0.checks = .on } }

  private func expect(
    _ result: ExitTest.Result?, says parts: [String],
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let message = result?.message ?? "no message"
    for part in parts {
      #expect(message.contains(part), "\(part)", sourceLocation: sourceLocation)
    }
  }

  @Test("a reference to a dead object is found wherever it is stored", arguments: Way.allCases)
  fileprivate func dead(way: Way) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [way] in
      let heap = try Self.checked()
      let (kept, stale) = heap.withMutator { mutator in
        (
          HeapRoot(mutator.list(1), in: mutator), UInt(bitPattern: unsafe mutator.list(1)!._raw)
        )
      }
      heap.collect()
      heap.withMutator { mutator in
        let holders = Holders(in: mutator)
        let node = unsafe HeapRef<TestNode>(_raw: UnsafeMutableRawPointer(bitPattern: stale)!)
        holders.store(node, way, in: mutator)
      }
      withExtendedLifetime(kept) {}
    }
    expect(
      result,
      says: [
        "heap check: a reference to an object that has been collected (0x",
        ") was stored into \(way.place)",
        "it was kept where the collector does not look (a Swift array or dictionary, a class",
      ])
  }

  @Test(
    "a reference to an object of another heap is found where it is stored",
    arguments: Way.allCases)
  fileprivate func foreign(way: Way) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [way] in
      let (a, b) = (try Self.checked(), try Self.checked())
      a.withMutator { inA in
        b.withMutator { inB in
          Holders(in: inA).store(inB.allocate(TestNode()), way, in: inA)
        }
      }
    }
    expect(
      result,
      says: [
        "heap check: a reference to an object of another heap (0x",
        ") was stored into \(way.place)", "objects of two heaps cannot refer to each other",
      ])
  }

  @Test("right references may be stored in every way", arguments: Way.allCases)
  fileprivate func right(way: Way) throws {
    let heap = try Self.checked()
    heap.withMutator { mutator in
      let holders = Holders(in: mutator)
      for node in [mutator.list(3), nil] {
        holders.store(node, way, in: mutator)
        mutator.collect()
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a dead object whose memory has an object of another type by now is told apart")
  func otherType() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      try Self.checked().withMutator { mutator in
        let holders = Holders(in: mutator)
        let part = mutator.allocate(Holder(left: mutator.list(1)))
        // As if the memory of a node had been used again.
        holders.holder.left = unsafe HeapRef<TestNode>(_raw: part._raw)
      }
    }
    expect(
      result,
      says: [
        "a reference to an object that has been collected (0x",
        "where there is a Holder now, and there was a TestNode) was stored into field left",
      ])
  }

  @Test("a payload that only looks like a reference is none")
  func numbers() throws {
    let heap = try Self.checked()
    heap.withMutator { mutator in
      let holders = Holders(in: mutator)
      // What would be a dead or a foreign reference in another case.
      for number in [1, 0x7f00_0000_0008, Int(bitPattern: unsafe holders.holder._raw) + 8] {
        holders.holder.value = .number(number)
        holders.values[2] = .number(number)
        _ = mutator.allocate(Holder(value: .number(number)))
        holders.holder.value = .pair(nil, number)
      }
    }
    HeapCheck.expectEmpty(heap)
  }
}
