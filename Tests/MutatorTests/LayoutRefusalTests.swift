// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A type that cannot be laid out is refused with the way to the field and what to do instead.

import Foundation
import Mutator
import Synchronization
import Testing

enum CountedPayload {
  case nothing
  case text(String)
}

indirect enum Tree {
  case leaf
  case node(Tree, Tree)
}

struct Named {
  var key = 0
  var name = ""
}

struct OwningHeader: HeapObject {
  var name = ""
}

@Suite struct LayoutRefusalTests {
  /// The message with which a type is refused; records an issue when it is not.
  func refusal<Object: HeapObject>(
    of type: Object.Type, sourceLocation: SourceLocation = #_sourceLocation
  ) -> String {
    do throws(HeapError) {
      let layout = try ObjectLayout.checked(of: type)
      Issue.record("laid out as \(layout)", sourceLocation: sourceLocation)
      return ""
    } catch {
      guard case .unsupportedType(let message) = error else {
        Issue.record("refused with \(error)", sourceLocation: sourceLocation)
        return ""
      }
      return message
    }
  }

  // MARK: - References that ARC hides

  @Test("containers of references are refused by field, in favour of what there is")
  func containers() {
    struct Named {
      var key = 0
      var leaves: [HeapRef<Leaf>] = []
    }
    struct List: HeapObject { var children: [HeapRef<Leaf>] = [] }
    struct Index: HeapObject { var index: [Int: HeapRef<Leaf>?] = [:] }
    struct Values: HeapObject { var values: [HeapValue]? }
    struct Strings: HeapObject { var members: Set<HeapString> = [] }
    struct Deep: HeapObject { var table: [String: [(Int, InlineArray<2, HeapRef<Leaf>?>)]] = [:] }
    struct Nested: HeapObject { var pair = (key: 1, named: Named()) }
    struct Inline: HeapObject { var all = InlineArray<2, Named>(repeating: Named()) }
    enum Payload { case nothing, leaves(ArraySlice<HeapRef<Leaf>>) }
    struct Enum: HeapObject { var payload = Payload.nothing }
    #expect(
      refusal(of: List.self)
        == "List cannot be kept in the heap: the field List.children is of type "
        + "Array<HeapRef<Leaf>>, managed by ARC, and the collector does not look into it for "
        + "HeapRef<Leaf>: use HeapList<HeapRef<Leaf>> instead")
    for (message, path, hidden) in [
      (refusal(of: Index.self), "Index.index", "Optional<HeapRef<Leaf>>"),
      (refusal(of: Values.self), "Values.values", "HeapValue"),
      (refusal(of: Strings.self), "Strings.members", "HeapString"),
      (refusal(of: Deep.self), "Deep.table", "Optional<HeapRef<Leaf>>"),
      (refusal(of: Nested.self), "Nested.pair.named.leaves", "HeapRef<Leaf>"),
      (refusal(of: Inline.self), "Inline.all[0].leaves", "HeapRef<Leaf>"),
      (refusal(of: Enum.self), "Enum.payload.leaves", "HeapRef<Leaf>"),
    ] {
      #expect(message.contains("the field \(path) is"), "\(message)")
      #expect(message.contains("does not look into it for \(hidden): use Heap"), "\(message)")
    }
  }

  @Test("a class instance is refused if a property of its class can hold a reference")
  func classes() {
    class Base { var entry: HeapRef<Leaf>? }
    final class Derived: Base { var key = 0 }
    final class Listed { var all: [Int: [HeapRef<Leaf>]] = [:] }
    final class Box<Value> {
      var value: Value
      init(_ value: Value) { self.value = value }
    }
    final class Storage: ManagedBuffer<Int, HeapRef<Leaf>> {}
    struct Inherited: HeapObject { var object: Derived? }
    struct Contained: HeapObject { var object: Listed? }
    struct Boxed: HeapObject { var object: Box<HeapRef<Leaf>>? }
    struct Buffer: HeapObject { var object: Storage? }
    for (message, path, hidden) in [
      (refusal(of: Inherited.self), "Inherited.object", "Optional<HeapRef<Leaf>> in its entry"),
      (refusal(of: Contained.self), "Contained.object", "HeapRef<Leaf> in its all"),
      (refusal(of: Boxed.self), "Boxed.object", "HeapRef<Leaf>"),
      (refusal(of: Buffer.self), "Buffer.object", "HeapRef<Leaf>"),
    ] {
      #expect(message.contains("the field \(path) is an instance of the class"), "\(message)")
      #expect(message.contains("does not look into it for \(hidden): use HeapRoot"), "\(message)")
    }
  }

  @Test("an indirect case is refused if its payload can hold a reference")
  func indirect() {
    indirect enum Chain { case end, link(HeapRef<Leaf>, Chain) }
    struct Recursive: HeapObject { var chain = Chain.end }
    let message = refusal(of: Recursive.self)
    #expect(message.contains("the field Recursive.chain is of type Chain"), "\(message)")
    #expect(message.contains("use HeapRef for the recursive part"), "\(message)")
  }

  @Test("a weak reference is refused: its bytes cannot be moved")
  func weakReferences() {
    struct Instance: HeapObject { weak var object: Counted? }
    struct Inner { weak var object: Counted? }
    struct Outer: HeapObject { var inner = [1: Inner()].first?.value ?? Inner() }
    #expect(refusal(of: Instance.self).contains("the field Instance.object is a weak reference"))
    #expect(
      refusal(of: Outer.self).contains("the field Outer.inner.object is a weak reference"))
    #expect(refusal(of: Outer.self).contains("put it into a class"))
  }

  @Test("what hides no reference is taken, and so is what holds a root")
  func taken() throws {
    final class Locked: Sendable {
      let lock = Mutex(0)
      let count = Atomic(0)
    }
    final class Rooted: Sendable {
      let root: HeapRoot<HeapRef<Leaf>>
      init(_ root: HeapRoot<HeapRef<Leaf>>) { self.root = root }
    }
    struct Everything: HeapObject {
      var name = ""
      var part: Substring?
      var letter: Character = "a"
      var numbers: [Int] = []
      var table: [String: [Double]] = [:]
      var data = Data()
      var url: URL?
      var counted: Counted
      var locked: Locked
      var rooted: Rooted?
      var root: HeapRoot<HeapRef<Leaf>>?
      var heap: ManagedHeap?
      var closure: (HeapRef<Leaf>) -> Void
      var any: Any
      var error: (any Error)?
      var tree = Tree.leaf
      var payload = CountedPayload.nothing
      var named = InlineArray<2, Named>(repeating: Named())
      unowned var other: Counted
      var link: HeapRef<Everything>?
    }
    let layout = try ObjectLayout.checked(of: Everything.self)
    #expect(layout.hasDestroy)
    #expect(layout.references == [try #require(MemoryLayout<Everything>.offset(of: \.link))])
    #expect(layout.ambiguous.isEmpty)
    #expect(layout.description.contains("ARC"))
    #expect(!Leaf.layout.hasDestroy)
    let heap = try HeapCheck.heap()
    #expect(try heap.register(Everything.self).hasDestroy)
  }

  @Test("an enum of references and owned values has ambiguous words, and owns")
  func mixedEnum() throws {
    enum Value { case text(String), link(HeapRef<Leaf>), pair(Counted, HeapRef<Leaf>) }
    struct Node: HeapObject { var value: Value }
    let layout = try ObjectLayout.checked(of: Node.self)
    #expect(layout.hasDestroy && layout.references.isEmpty && layout.ambiguous == [0, 8])
  }

  @Test("a layout that is stated by hand says nothing of what ARC manages")
  func statedLayout() throws {
    struct Node: HeapObject {
      var name = ""
      var link: HeapRef<Leaf>?
      static var layout: ObjectLayout { ObjectLayout(of: Self.self, references: [\.link]) }
    }
    struct Hiding: HeapObject {
      var all: [HeapRef<Leaf>] = []
      var link: HeapRef<Leaf>?
      static var layout: ObjectLayout { ObjectLayout(of: Self.self, references: [\.link]) }
    }
    let layout = try ObjectLayout.checked(of: Node.self)
    #expect(layout.hasDestroy && layout.references == [16])
    #expect(refusal(of: Hiding.self).contains("the field Hiding.all is"))
  }

  // MARK: - Elements

  @Test("elements that ARC manages are refused, with the type and what to do instead")
  func elements() throws {
    func refusal(_ type: Any.Type) -> String {
      do throws(HeapError) {
        _ = try FieldMap.find(type)
        return "kept"
      } catch { return error.description }
    }
    #expect(
      refusal(String.self)
        == "String cannot be an element in the heap: it is a value, which ARC manages, and such a "
        + "value is destroyed in the fields of an object only: put it into an object and a HeapRef "
        + "to that here, or use HeapString instead")
    #expect(
      refusal(Named.self).hasPrefix(
        "Named cannot be an element in the heap: its field Named.name is of type String, which ARC")
    )
    for type in [Counted.self, (() -> Void).self, (any Sendable).self, Tree.self] as [Any.Type] {
      #expect(refusal(type).hasPrefix("\(type) cannot be an element in the heap: it is a"))
    }
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let error = #expect(throws: HeapError.self) {
        _ = try mutator.tryAllocateArray(of: [Int].self, count: 2, repeating: [])
      }
      #expect(error?.description.contains("HeapRef to that here") == true)
      let header = #expect(throws: HeapError.self) {
        _ = try mutator.tryAllocateBuffer(OwningHeader(), count: 2, repeating: 0)
      }
      #expect(header?.description.contains("its field OwningHeader.name is of type String") == true)
      #expect(throws: HeapError.self) {
        _ = try mutator.tryAllocateBuffer(Leaf(), count: 2, repeating: "")
      }
    }
  }

  @Test("a heap object must be a struct")
  func notAStruct() {
    final class Class: HeapObject {}
    enum Enum: HeapObject { case one }
    #expect(refusal(of: Class.self).contains("Class cannot be a heap object: it must be a struct"))
    #expect(refusal(of: Class.self).contains("a class"))
    #expect(refusal(of: Enum.self).contains("an enum"))
  }

  @Test("an object that nests a refused object is refused")
  func nested() {
    struct Inner: HeapObject { var all: [HeapRef<Leaf>] = [] }
    struct Outer: HeapObject { var inner = Inner() }
    #expect(refusal(of: Outer.self).contains("Outer.inner.all"))
  }

  @Test("the layout of a refused type carries the reason and no offsets")
  func layoutOfRefused() {
    struct Node: HeapObject {
      var all: [HeapRef<Leaf>] = []
      var link: HeapRef<Leaf>?
    }
    #expect(Node.layout.references.isEmpty)
    #expect(Node.layout.description.contains("Node.all"))
  }

  @Test("a layout of another type is refused, nested ones too")
  func foreignLayout() {
    struct Node: HeapObject {
      var link: HeapRef<Leaf>?
      static var layout: ObjectLayout { Leaf.layout }
    }
    struct Outer: HeapObject {
      var key = 0
      var node = Node()
    }
    struct Generic<Value>: HeapObject { var value: (Int, Value?) }
    #expect(refusal(of: Node.self).contains("Node.layout is the layout of Leaf"))
    #expect(refusal(of: Outer.self).contains("Node.layout is the layout of Leaf"))
    #expect(refusal(of: Generic<Node>.self).contains("Node.layout is the layout of Leaf"))
  }

  @Test("a type that only claims to be a reference word is refused")
  func falseReference() {
    struct Claim: _HeapReferenceWord { var words = (0, 0) }
    struct Node: HeapObject { var claim = Claim() }
    #expect(refusal(of: Node.self).contains("Claim conforms to _HeapReferenceWord"))
  }
}
