// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The objects of the shadow model: what random programs put into the heap.
//
// Every object says who it is. Nodes and hubs have an id that never changes and a seal over
// their plain content; bytes, strings, leaves and tiny values consist of nothing but what
// follows from an id. An object that was freed while in use, and whose slot serves another by
// now, is therefore found out by whoever reads it next.
//
// Between them they use every kind of layout: small with references, small without, tiny,
// references in nested structs, in inline arrays and in enums, arrays with and without
// references, small and large.
//
//   Node   two nodes, a hub
//   Hub    nested struct · InlineArray · enum · list · text, bytes, leaf, tiny
//   Entry  element of a list: a node beside a number
//
// An id is `serial << 6 | domain` (ShadowGraph.swift).

import Mutator
import TestSupport

/// Types and contents of the shadow model's objects.
enum Shadow {
  struct Node: HeapObject {
    let id: Int
    var stamp: Int
    var seal: UInt64
    var left: HeapRef<Node>?
    var right: HeapRef<Node>?
    var hub: HeapRef<Hub>?

    init(
      id: Int, stamp: Int, left: HeapRef<Node>?, right: HeapRef<Node>?, hub: HeapRef<Hub>?
    ) {
      self.id = id
      self.stamp = stamp
      seal = Shadow.seal(id, stamp)
      self.left = left
      self.right = right
      self.hub = hub
    }
  }

  struct Inner {
    var first: HeapRef<Node>?
    var second: HeapRef<Hub>?
    var mark = 0
  }

  enum Choice {
    case nothing
    case number(Int)
    case node(HeapRef<Node>)
    case hub(HeapRef<Hub>)
  }

  struct Hub: HeapObject {
    let id: Int
    var stamp: Int
    var seal: UInt64
    var inner = Inner()
    var slots = InlineArray<3, HeapRef<Node>?>(repeating: nil)
    var list: HeapArray<Entry>?
    var text: HeapString?
    var bytes: HeapArray<UInt8>?
    var leaf: HeapRef<Leaf>?
    var tiny: HeapRef<Tiny>?
    var choice = Choice.nothing

    init(id: Int, stamp: Int) {
      self.id = id
      self.stamp = stamp
      seal = Shadow.seal(id, stamp)
    }
  }

  struct Entry {
    var tag = 0
    var node: HeapRef<Node>?
  }

  struct Leaf: HeapObject {
    let id: Int
    let words: InlineArray<6, UInt64>

    init(id: Int) {
      self.id = id
      words = InlineArray { RandomNumbers.mix(UInt64(id) &+ UInt64($0)) }
    }

    var isIntact: Bool {
      words.indices.allSatisfy { words[$0] == RandomNumbers.mix(UInt64(id) &+ UInt64($0)) }
    }
  }

  struct Tiny: HeapObject {
    let id: UInt32
    let check: UInt16

    init(id: Int) {
      self.id = UInt32(truncatingIfNeeded: id)
      check = UInt16(truncatingIfNeeded: RandomNumbers.mix(UInt64(self.id)))
    }

    var isIntact: Bool { check == UInt16(truncatingIfNeeded: RandomNumbers.mix(UInt64(id))) }
  }

  /// The checksum over a node's or hub's plain content.
  static func seal(_ id: Int, _ stamp: Int) -> UInt64 {
    RandomNumbers.mix(UInt64(truncatingIfNeeded: id) &* 31 &+ UInt64(truncatingIfNeeded: stamp))
  }

  // MARK: - Contents that follow from an id

  /// The length of the bytes or the text of an id; one in 128 is a large object.
  static func length(_ id: Int) -> Int {
    let random = RandomNumbers.mix(UInt64(id))
    return random % 128 == 0
      ? 33_000 + Int(random >> 32) % 30_000 : Int(random >> 40) % (random % 8 == 0 ? 900 : 40)
  }

  /// The bytes of an id, without being an array: it is made in the heap only.
  struct Bytes: RandomAccessCollection {
    let id: Int
    let endIndex: Int
    var startIndex: Int { 0 }

    init(_ id: Int) {
      self.id = id
      endIndex = Shadow.length(id)
    }

    subscript(index: Int) -> UInt8 { UInt8(truncatingIfNeeded: (id &+ index) &* 167) }
  }

  /// The text of an id.
  static func text(_ id: Int) -> String {
    String(decoding: Bytes(id).lazy.map { 0x20 + $0 & 0x3f }, as: UTF8.self)
  }

  static func isIntact(_ bytes: HeapArray<UInt8>, _ id: Int) -> Bool {
    let wanted = Bytes(id)
    guard bytes.count == wanted.count else { return false }
    return unsafe bytes.withUnsafeElements { elements in
      for index in wanted.indices where unsafe elements[index] != wanted[index] { return false }
      return true
    }
  }

  static func isIntact(_ text: HeapString, _ id: Int) -> Bool {
    let wanted = Bytes(id)
    guard text.count == wanted.count else { return false }
    return unsafe text.withUTF8 { elements in
      for index in wanted.indices where unsafe elements[index] != 0x20 + wanted[index] & 0x3f {
        return false
      }
      return true
    }
  }
}
