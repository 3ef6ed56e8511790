// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Every row of the table of fields, and what they make together. Offsets are compared with
// those that the compiler states, never with numbers.

import Mutator
import Testing

struct Leaf: HeapObject {
  var key = 0
  var weight = 0.0
}

struct Link: HeapObject {
  var before: Int8 = 0
  var leaf: HeapRef<Leaf>?
  var next: HeapRef<Link>?
  var bytes: HeapArray<UInt8>?
  var name: HeapString?
}

struct Joint {
  var small: Int8 = 0
  var link: HeapRef<Link>?
}

enum Payload {
  case nothing
  case number(Int)
  case link(HeapRef<Link>)
  case both(Int, HeapRef<Link>)
}

enum PlainPayload {
  case nothing
  case number(Int)
  case pair(Double, UInt8)
}

enum Generic<Value> {
  case value(Value)
  case link(tag: Int32, HeapRef<Link>?)
  case other
}

class Counted {}

@Suite struct LayoutDerivationTests {
  func offset<Object, Value>(_ keyPath: KeyPath<Object, Value>) -> Int {
    MemoryLayout<Object>.offset(of: keyPath)!
  }

  @Test("references, arrays and strings, optional or not, are precise offsets")
  func references() {
    struct All: HeapObject {
      var flag = false
      var ref: HeapRef<Link>
      var optional: HeapRef<Link>?
      var array: HeapArray<Int>
      var optionalArray: HeapArray<HeapRef<Link>>?
      var count: Int32 = 0
      var string: HeapString
      var optionalString: HeapString?
    }
    let layout = All.layout
    #expect(
      layout.references == [
        offset(\All.ref), offset(\All.optional), offset(\All.array), offset(\All.optionalArray),
        offset(\All.string), offset(\All.optionalString),
      ])
    #expect(layout.ambiguous.isEmpty)
    #expect(!layout.isNoscan)
    #expect(layout.typeName == "All")
    #expect(layout.size == MemoryLayout<All>.size)
    #expect(layout.alignment == MemoryLayout<All>.alignment)
    #expect(!layout.hasDestroy)
  }

  @Test("an optional reference is one word")
  func optionalIsOneWord() {
    #expect(MemoryLayout<HeapRef<Link>>.size == 8)
    #expect(MemoryLayout<HeapRef<Link>?>.size == 8)
    #expect(MemoryLayout<HeapArray<Int>?>.size == 8)
    #expect(MemoryLayout<HeapString?>.size == 8)
  }

  @Test("trivially copyable values hold no reference")
  func plainFields() {
    @safe struct Plain: HeapObject {
      var integers: (Int8, UInt16, Int32, Int, UInt64) = (0, 0, 0, 0, 0)
      var optional: Int?
      var double = 0.0
      var scalar: Unicode.Scalar = "a"
      var vector = SIMD4<Double>()
      var pointer: UnsafeMutableRawPointer?
      var unmanaged: Unmanaged<Counted>?
      var function: @convention(c) (Int) -> Int
      var metatype: Any.Type
      var range = 0..<1
      var words = InlineArray<8, UInt>(repeating: 0)
      var identifier: ObjectIdentifier
      var payload = PlainPayload.nothing
    }
    #expect(Plain.layout.isNoscan)
    #expect(Plain.layout.references.isEmpty && Plain.layout.ambiguous.isEmpty)
  }

  @Test("nested structs and tuples are flattened, at any depth")
  func nested() {
    struct Outer: HeapObject {
      var flag = false
      var joint = Joint()
      var tuple: (Int8, Joint, link: HeapRef<Link>?) = (0, Joint(), nil)
      var inner = (a: (b: Joint(), c: 1), d: 2)
    }
    #expect(
      Outer.layout.references == [
        offset(\Outer.joint.link), offset(\Outer.tuple.1.link), offset(\Outer.tuple.link),
        offset(\Outer.inner.a.b.link),
      ])
  }

  @Test("an object nested in an object is flattened as well")
  func nestedObject() {
    struct Outer: HeapObject {
      var key = 0
      var link = Link()
    }
    #expect(
      Outer.layout.references == [
        offset(\Outer.link.leaf), offset(\Outer.link.next), offset(\Outer.link.bytes),
        offset(\Outer.link.name),
      ])
  }

  @Test("each element of an InlineArray is found, nested arrays included")
  func inlineArrays() {
    struct Table: HeapObject {
      var count = 0
      var slots = InlineArray<3, HeapRef<Link>?>(repeating: nil)
      var joints = InlineArray<2, InlineArray<2, Joint>>(
        repeating: .init(repeating: Joint()))
      var payloads = InlineArray<2, Payload>(repeating: .nothing)
    }
    let slots = offset(\Table.slots)
    let joints = offset(\Table.joints)
    let link = offset(\Joint.link)
    #expect(
      Table.layout.references
        == (0..<3).map { slots + 8 * $0 }
        + (0..<4).map { joints + MemoryLayout<Joint>.stride * $0 + link })
    let payloads = offset(\Table.payloads)
    let stride = MemoryLayout<Payload>.stride
    #expect(
      Table.layout.ambiguous == [payloads, payloads + 8, payloads + stride, payloads + stride + 8])
  }

  @Test("an enum's words are ambiguous where a payload has a reference, and nowhere else")
  func enums() {
    struct Holder: HeapObject {
      var payload = Payload.nothing
      var plain = PlainPayload.nothing
      var generic = Generic<Joint>.other
      var plainGeneric = Generic<Int>.other
      var result: Result<HeapRef<Link>, Never>
    }
    let joint = offset(\Joint.link)
    #expect(Holder.layout.references.isEmpty)
    #expect(
      Holder.layout.ambiguous == [
        offset(\Holder.payload), offset(\Holder.payload) + 8,  // .link, .both
        offset(\Holder.generic) + joint,  // .value(Joint), and .link at the same place
        offset(\Holder.plainGeneric) + 8,  // .link
        offset(\Holder.result),
      ])
  }

  @Test("the payload of an enum lies where the layout says")
  func payloadPlace() {
    let ref = unsafe HeapRef<Link>(_raw: TestMemory.zeroed(bytes: 64))
    let word = UInt(bitPattern: unsafe ref._raw)
    func words<Value>(_ value: Value) -> [UInt] {
      unsafe withUnsafeBytes(of: value) { bytes in
        (0..<bytes.count / 8).map {
          unsafe bytes.loadUnaligned(fromByteOffset: 8 * $0, as: UInt.self)
        }
      }
    }
    #expect(words(Payload.link(ref))[0] == word)
    #expect(words(Payload.both(1, ref))[1] == word)
    #expect(words(Generic<Bool>.link(tag: 1, ref))[1] == word)
    #expect(words(Joint?.some(Joint(small: 1, link: ref)))[1] == word)
    #expect(words(HeapRef<Link>??.some(ref))[0] == word)
  }

  @Test("an optional of a value with references is ambiguous, of one without is nothing")
  func optionals() {
    struct Holder: HeapObject {
      var joint: Joint?
      var pair: (Int, Int)?
      var twice: HeapRef<Link>??
      var text: Double?
    }
    #expect(Holder.layout.references.isEmpty)
    #expect(
      Holder.layout.ambiguous == [
        offset(\Holder.joint) + offset(\Joint.link), offset(\Holder.twice),
      ])
  }

  @Test("generic types are laid out by their arguments")
  func generics() {
    struct Pair<First, Second>: HeapObject {
      var first: First
      var second: Second
    }
    #expect(Pair<Int, Double>.layout.isNoscan)
    #expect(Pair<Int, HeapRef<Link>>.layout.references == [8])
    #expect(Pair<Joint, HeapRef<Pair<Int, Int>>?>.layout.references == [8, 16])
    #expect(Pair<Int8, Payload>.layout.ambiguous == [8, 16])
    #expect(Pair<Int, Int>.layout.typeName == "Pair<Int, Int>")
  }

  @Test("a struct without fields has a layout without size")
  func empty() {
    struct Empty: HeapObject {}
    #expect(Empty.layout.size == 0)
    #expect(Empty.layout.isNoscan)
  }

  @Test("large and strictly aligned types keep their measures")
  func measures() {
    struct Aligned: HeapObject {
      var vector = SIMD8<Double>()
      var link: HeapRef<Link>?
    }
    #expect(Aligned.layout.alignment == MemoryLayout<Aligned>.alignment)
    #expect(Aligned.layout.references == [offset(\Aligned.link)])
    #expect(Aligned.layout.slotSize % Aligned.layout.alignment == 0)
  }

  @Test("many threads that ask for one layout get the same")
  func concurrently() async {
    struct Contended: HeapObject {
      var a: HeapRef<Link>?
      var b = Payload.nothing
      var c: HeapRef<Leaf>?
    }
    let layouts = await withTaskGroup(of: ObjectLayout.self) { group in
      for _ in 0..<16 { group.addTask { Contended.layout } }
      return await group.reduce(into: []) { $0.append($1) }
    }
    for layout in layouts {
      #expect(layout.references == [offset(\Contended.a), offset(\Contended.c)])
      #expect(layout.ambiguous == [offset(\Contended.b), offset(\Contended.b) + 8])
    }
  }

  @Test("a field is named by the offset of its reference")
  func names() {
    struct Outer: HeapObject {
      var joint = Joint()
      var slots = InlineArray<4, HeapRef<Link>?>(repeating: nil)
      var tuple: (Int, HeapRef<Link>?) = (0, nil)
    }
    let path = { LayoutDerivation.path(in: Outer.self, at: $0) }
    #expect(path(offset(\Outer.joint.link)) == "Outer.joint.link")
    #expect(path(offset(\Outer.slots) + 24) == "Outer.slots[3]")
    #expect(path(offset(\Outer.tuple.1)) == "Outer.tuple.1")
  }
}
