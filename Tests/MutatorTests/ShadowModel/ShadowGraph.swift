// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The shadow: the same graph once more, outside of the heap, in dictionaries.
//
// It is cut into domains. A domain has root handles and, by id, what the fields of its nodes,
// hubs and lists hold: ids of other objects, 0 for nil. Whoever changes an object of a domain,
// in the heap and in the shadow, holds the domain's lock. A field may refer to an object of
// any domain: an id can be read without a lock, because it never changes. Lists, bytes and
// the like belong to hubs of one domain.
//
// The shadow forgets nothing by itself. When all threads rest, `Census` walks the heap from
// the roots, compares every object with its shadow, and knows then what is reachable;
// `forgetAllBut` drops the rest.
//
// Guarded by: each domain's lock, or that all threads rest.

import Heap
import Mutator
import Synchronization

/// A node's fields, as ids.
struct ShadowNode {
  var stamp: Int
  var left = 0
  var right = 0
  var hub = 0
}

/// What an enum holds.
enum ShadowChoice: Equatable {
  case nothing
  case number(Int)
  case node(Int)
  case hub(Int)
}

/// A hub's fields, as ids.
struct ShadowHub {
  var stamp: Int
  var first = 0
  var second = 0
  var mark = 0
  var slots = InlineArray<3, Int>(repeating: 0)
  var list = 0
  var text = 0
  var bytes = 0
  var leaf = 0
  var tiny = 0
  var choice = ShadowChoice.nothing
}

/// An element of a list.
struct ShadowEntry {
  var tag: Int
  var node: Int
}

/// A part of the shadow, with a lock of its own.
final class ShadowDomain: @unchecked Sendable {
  // Sendable: see the head of the file.
  static let rootCount = 24

  let number: Int
  let lock = HandLock()
  var nodes: [Int: ShadowNode] = [:]
  var hubs: [Int: ShadowHub] = [:]
  var lists: [Int: [ShadowEntry]] = [:]
  var nodeRoots: [(root: HeapRoot<HeapRef<Shadow.Node>>?, id: Int)]
  var hubRoots: [(root: HeapRoot<HeapRef<Shadow.Hub>>?, id: Int)]
  private var serial = 0

  init(_ number: Int) {
    self.number = number
    nodeRoots = Array(repeating: (nil, 0), count: Self.rootCount)
    hubRoots = Array(repeating: (nil, 0), count: Self.rootCount)
  }

  /// An id that no object had before.
  func newID() -> Int {
    serial += 1
    return serial << 6 | number
  }

  func owns(_ id: Int) -> Bool { id & 63 == number }

  /// Drops every other root.
  func thin() {
    for place in stride(from: 0, to: Self.rootCount, by: 2) {
      nodeRoots[place] = (nil, 0)
      hubRoots[place] = (nil, 0)
    }
  }

  func dropRoots() {
    nodeRoots = Array(repeating: (nil, 0), count: Self.rootCount)
    hubRoots = Array(repeating: (nil, 0), count: Self.rootCount)
  }

  /// Forgets everything but the given ids.
  func forget(allBut seen: Set<Int>) {
    nodes = nodes.filter { seen.contains($0.key) }
    hubs = hubs.filter { seen.contains($0.key) }
    lists = lists.filter { seen.contains($0.key) }
  }
}

/// What walks have reached.
struct Reached: Sendable {
  /// Ids of nodes, hubs and lists.
  var seen: Set<Int> = []
  /// Slots of all objects, and their sizes.
  var slots: [UInt: Int] = [:]
  /// What does not agree.
  var problems: [String] = []

  var bytes: Int { slots.values.reduce(0, +) }

  mutating func merge(_ other: Reached) {
    seen.formUnion(other.seen)
    slots.merge(other.slots) { a, _ in a }
    problems += other.problems
  }
}

/// A walk through the heap beside the shadow.
struct Census {
  private let domains: [ShadowDomain]
  private(set) var reached = Reached()
  private var nodes: [(HeapRef<Shadow.Node>, Int)] = []
  private var hubs: [(HeapRef<Shadow.Hub>, Int)] = []

  init(_ domains: [ShadowDomain]) { self.domains = domains }

  // MARK: - Walking
  //
  // References wait in Swift arrays, where the collector does not look: all of them can be
  // reached from the root or the local that the walk began at, and nobody changes anything.

  /// Compares everything that can be reached from the roots of all domains.
  mutating func walkRoots(_ mutator: HeapMutator) {
    for domain in domains {
      for (root, id) in domain.nodeRoots { visit(root?.get(in: mutator), id, "a root") }
      for (root, id) in domain.hubRoots { visit(root?.get(in: mutator), id, "a root") }
      finish(mutator)
    }
  }

  /// Compares everything that can be reached from a local.
  mutating func walk(_ node: HeapRef<Shadow.Node>?, _ id: Int, _ mutator: HeapMutator) {
    visit(node, id, "a local")
    finish(mutator)
  }

  mutating func walk(_ hub: HeapRef<Shadow.Hub>?, _ id: Int, _ mutator: HeapMutator) {
    visit(hub, id, "a local")
    finish(mutator)
  }

  private mutating func finish(_ mutator: HeapMutator) {
    while reached.problems.isEmpty {
      if let (node, id) = nodes.popLast() {
        compare(node, id)
      } else if let (hub, id) = hubs.popLast() {
        compare(hub, id)
      } else {
        return
      }
      mutator.safepoint()
    }
  }

  private mutating func report(_ problem: String) {
    if reached.problems.count < 5 { reached.problems.append(problem) }
  }

  private func name(_ id: Int) -> String { id == 0 ? "nil" : "\(id >> 6)@\(id & 63)" }

  private mutating func visit(_ node: HeapRef<Shadow.Node>?, _ id: Int, _ place: String) {
    guard (node == nil) == (id == 0) else {
      return report("\(place) is \(node == nil ? "nil" : "not nil"), should be \(name(id))")
    }
    guard let node else { return }
    guard node.id == id else {
      return report("\(place) refers to node \(name(node.id)), should be \(name(id))")
    }
    if reached.seen.insert(id).inserted { nodes.append((node, id)) }
  }

  private mutating func visit(_ hub: HeapRef<Shadow.Hub>?, _ id: Int, _ place: String) {
    guard (hub == nil) == (id == 0) else {
      return report("\(place) is \(hub == nil ? "nil" : "not nil"), should be \(name(id))")
    }
    guard let hub else { return }
    guard hub.id == id else {
      return report("\(place) refers to hub \(name(hub.id)), should be \(name(id))")
    }
    if reached.seen.insert(id).inserted { hubs.append((hub, id)) }
  }

  private mutating func count(_ address: UnsafeMutableRawPointer, _ size: Int) {
    reached.slots[UInt(bitPattern: address)] =
      SizeClass.of(size: size)?.slotSize
      ?? (size + Geometry.pageSize - 1) / Geometry.pageSize * Geometry.pageSize
  }

  private mutating func compare(_ node: HeapRef<Shadow.Node>, _ id: Int) {
    guard let shadow = domains[id & 63].nodes[id] else {
      return report("node \(name(id)) has no shadow")
    }
    unsafe count(node._raw, MemoryLayout<Shadow.Node>.size)
    let value = node.pointee
    guard value.stamp == shadow.stamp, value.seal == Shadow.seal(id, shadow.stamp) else {
      return report("node \(name(id)) has stamp \(value.stamp), should be \(shadow.stamp)")
    }
    visit(value.left, shadow.left, "left of node \(name(id))")
    visit(value.right, shadow.right, "right of node \(name(id))")
    visit(value.hub, shadow.hub, "hub of node \(name(id))")
  }

  private mutating func compare(_ hub: HeapRef<Shadow.Hub>, _ id: Int) {
    guard let shadow = domains[id & 63].hubs[id] else {
      return report("hub \(name(id)) has no shadow")
    }
    unsafe count(hub._raw, MemoryLayout<Shadow.Hub>.size)
    let value = hub.pointee
    guard value.stamp == shadow.stamp, value.seal == Shadow.seal(id, shadow.stamp),
      value.inner.mark == shadow.mark
    else { return report("hub \(name(id)) has stamp \(value.stamp), should be \(shadow.stamp)") }
    visit(value.inner.first, shadow.first, "inner.first of hub \(name(id))")
    visit(value.inner.second, shadow.second, "inner.second of hub \(name(id))")
    for slot in value.slots.indices {
      visit(value.slots[slot], shadow.slots[slot], "slot \(slot) of hub \(name(id))")
    }
    switch (value.choice, shadow.choice) {
    case (.nothing, .nothing): break
    case (.number(let a), .number(let b)) where a == b: break
    case (.node(let node), .node(let wanted)): visit(node, wanted, "choice of hub \(name(id))")
    case (.hub(let other), .hub(let wanted)): visit(other, wanted, "choice of hub \(name(id))")
    default: report("choice of hub \(name(id)) is not \(shadow.choice)")
    }
    compareParts(value, shadow, id)
  }

  private mutating func compareParts(_ value: Shadow.Hub, _ shadow: ShadowHub, _ id: Int) {
    guard (value.list == nil) == (shadow.list == 0), (value.text == nil) == (shadow.text == 0),
      (value.bytes == nil) == (shadow.bytes == 0), (value.leaf == nil) == (shadow.leaf == 0),
      (value.tiny == nil) == (shadow.tiny == 0)
    else { return report("a part of hub \(name(id)) is nil and should not be, or the reverse") }
    if let text = value.text {
      if !Shadow.isIntact(text, shadow.text) { report("text of hub \(name(id)) is damaged") }
      unsafe count(text._raw, 8 + text.count)
    }
    if let bytes = value.bytes {
      if !Shadow.isIntact(bytes, shadow.bytes) { report("bytes of hub \(name(id)) are damaged") }
      unsafe count(bytes._raw, 8 + bytes.count)
    }
    if let leaf = value.leaf {
      if leaf.id != shadow.leaf || !leaf.pointee.isIntact {
        report("leaf of hub \(name(id)) is damaged")
      }
      unsafe count(leaf._raw, MemoryLayout<Shadow.Leaf>.size)
    }
    if let tiny = value.tiny {
      if tiny.id != UInt32(truncatingIfNeeded: shadow.tiny) || !tiny.pointee.isIntact {
        report("tiny value of hub \(name(id)) is damaged")
      }
      // Several share a slot of 16 bytes.
      let slot = unsafe UInt(bitPattern: tiny._raw) & ~15
      reached.slots[slot] = 16
    }
    if let list = value.list { compare(list, shadow.list) }
  }

  private mutating func compare(_ list: HeapArray<Shadow.Entry>, _ id: Int) {
    guard reached.seen.insert(id).inserted else { return }
    guard let shadow = domains[id & 63].lists[id], list.count == shadow.count else {
      return report("list \(name(id)) has \(list.count) elements, or no shadow")
    }
    unsafe count(list._raw, 8 + list.count * MemoryLayout<Shadow.Entry>.stride)
    for index in list.indices {
      let entry = list[index]
      if entry.tag != shadow[index].tag { report("tag \(index) of list \(name(id)) is wrong") }
      visit(entry.node, shadow[index].node, "element \(index) of list \(name(id))")
    }
  }
}
