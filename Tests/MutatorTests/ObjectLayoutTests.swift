// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

import Mutator
import TestSupport
import Testing

struct Stated: HeapObject {
  var left: HeapRef<Leaf>?
  var key = 0
  var joint = Joint()
  var payload = Payload.nothing
  var computed: HeapRef<Leaf>? { left }

  static var layout: ObjectLayout {
    ObjectLayout(of: Self.self, references: [\.payload, \.joint.link, \.left])
  }
}

struct Wrong: HeapObject {
  var left: HeapRef<Leaf>?
  var right: HeapRef<Leaf>?
  var key = 0
  var computed: HeapRef<Leaf>? { left }
}

@Suite struct ObjectLayoutTests {
  @Test("a layout stated by hand has the offsets of its key paths, in order")
  func stated() throws {
    let layout = try ObjectLayout.checked(of: Stated.self)
    let payload = MemoryLayout<Stated>.offset(of: \.payload)!
    #expect(
      layout.references == [
        MemoryLayout<Stated>.offset(of: \.left)!, MemoryLayout<Stated>.offset(of: \.joint.link)!,
      ])
    #expect(layout.ambiguous == [payload, payload + 8])
  }

  @Test("a key path to a nested struct stands for the references in it")
  func wholeStruct() {
    struct Node: HeapObject {
      var key = 0
      var link = Link()
    }
    let layout = ObjectLayout(of: Node.self, references: [\.link, \.link.next])
    #expect(layout.references == Node.layout.references)
  }

  @Test("a computed property in a stated layout traps and is named")
  func computed() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      _ = ObjectLayout(of: Wrong.self, references: [\.left, \.right, \.computed])
    }
    #expect(text(result).contains("is not a stored property"))
  }

  @Test("a field without references in a stated layout traps")
  func noReference() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      _ = ObjectLayout(of: Wrong.self, references: [\.left, \.right, \.key])
    }
    #expect(text(result).contains("of type Int, which holds no reference"))
  }

  @Test("a reference that a stated layout leaves out traps and is named")
  func leftOut() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      _ = ObjectLayout(of: Wrong.self, references: [\.left])
    }
    #expect(text(result).contains("leaves out the reference Wrong.right"))
  }

  private func text(_ result: ExitTest.Result?) -> String {
    result?.message ?? ""
  }

  @Test("a layout tells the slot that an object gets")
  func slots() {
    struct Large: HeapObject {
      var words = InlineArray<5000, UInt>(repeating: 0)
    }
    struct Small: HeapObject {
      var byte: UInt8 = 0
    }
    #expect(Link.layout.slotSize >= Link.layout.size)
    #expect(Link.layout.sizeClass > 0)
    #expect(Large.layout.sizeClass == 0)
    #expect(Large.layout.slotSize == 40960)
    #expect(Small.layout.isTiny)
    #expect(Small.layout.slotSize == 16)
  }

  @Test("a layout describes itself")
  func description() {
    #expect(Wrong.layout.description == "Wrong: 24 bytes in a slot of 24, references at [0, 8]")
    #expect(Leaf.layout.description.hasSuffix("no references"))
    #expect(Stated.layout.description.contains("ambiguous at"))
  }

  @Test("a field map has the offsets of any type of value, and is the same every time")
  func fieldMaps() throws {
    #expect(try FieldMap.find(Int.self).isNoscan)
    #expect(try FieldMap.find((Int, Double?).self).isNoscan)
    let word = try FieldMap.find(HeapRef<Leaf>?.self)
    #expect(unsafe word.isReferenceWord && word.size == 8 && Array(word.references) == [0])
    let joint = try FieldMap.find(Joint.self)
    #expect(!joint.isReferenceWord)
    #expect(unsafe Array(joint.references) == [8] && joint.ambiguous.isEmpty)
    #expect(joint.stride == MemoryLayout<Joint>.stride)
    #expect(joint.alignment == MemoryLayout<Joint>.alignment)
    let payload = try FieldMap.find((Int, Payload).self)
    #expect(unsafe payload.references.isEmpty && Array(payload.ambiguous) == [8, 16])
    let object = try FieldMap.find(Stated.self)
    #expect(unsafe object.references.map(Int.init) == Stated.layout.references)
    #expect(throws: HeapError.self) { try FieldMap.find([Int].self) }
    #expect(throws: HeapError.self) { try FieldMap.find((Int, String).self) }
  }
}
