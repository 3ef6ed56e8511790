// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A type that cannot be laid out is refused with the way to the field and what to do instead.

import Foundation
import Mutator
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

  @Test("a String is refused by name, however deep it lies")
  func strings() {
    struct Node: HeapObject {
      var key = 0
      var payload = Named()
    }
    struct Optional: HeapObject { var name: String? }
    struct Tuple: HeapObject { var pair = (key: 1, name: "") }
    struct Inline: HeapObject { var names = InlineArray<2, Named>(repeating: Named()) }
    struct Enum: HeapObject { var payload = CountedPayload.nothing }
    #expect(
      refusal(of: Node.self)
        == "Node cannot be kept in the heap: the field Node.payload.name is of type String, "
        + "managed by ARC: use HeapString instead")
    for (message, path) in [
      (refusal(of: Optional.self), "the field Optional.name is"),
      (refusal(of: Tuple.self), "the field Tuple.pair.name is"),
      (refusal(of: Inline.self), "the field Inline.names[0].name is"),
      (refusal(of: Enum.self), "the field Enum.payload.text is"),
    ] {
      #expect(message.contains(path))
      #expect(message.contains("use HeapString"))
    }
  }

  @Test("containers of the standard library are refused in favour of what there is")
  func containers() {
    struct List: HeapObject { var children: [HeapRef<Leaf>] = [] }
    struct Index: HeapObject { var index: [Int: HeapRef<Leaf>] = [:] }
    struct Members: HeapObject { var members: Set<Int> = [] }
    let list = refusal(of: List.self)
    #expect(
      list.contains("the field List.children is of type Array<HeapRef<Leaf>>, managed by ARC"))
    #expect(list.contains("use HeapList<HeapRef<Leaf>> instead"))
    #expect(refusal(of: Index.self).contains("use HeapDictionary<Int, HeapRef<Leaf>> instead"))
    #expect(refusal(of: Members.self).contains("use HeapDictionary<Int, Bool> instead"))
  }

  @Test("an element type that is refused itself is named once")
  func elements() {
    func refusal(_ type: Any.Type) -> String {
      do throws(HeapError) {
        _ = try FieldMap.find(type)
        return "kept"
      } catch { return error.description }
    }
    #expect(
      refusal([Int].self) == "Array<Int> cannot be kept in the heap: it is managed by ARC: "
        + "use HeapList<Int> instead")
    #expect(
      refusal(String.self)
        == "String cannot be kept in the heap: it is managed by ARC: use HeapString instead")
    for type in [Counted.self, (() -> Void).self, (any Sendable).self, Tree.self] as [Any.Type] {
      let message = refusal(type)
      #expect(message.contains(" cannot be kept in the heap: it is "))
      #expect(message.components(separatedBy: "\(type)").count == 2, "\(message)")
    }
  }

  @Test("class instances, closures, existentials and indirect enums are refused")
  func counted() {
    struct Instance: HeapObject { var object: Counted }
    struct WeakInstance: HeapObject { weak var object: Counted? }
    struct Closure: HeapObject { var closure: () -> Void }
    struct Existential: HeapObject { var value: any Sendable }
    struct Recursive: HeapObject { var tree = Tree.leaf }
    let unsupported = "managed by ARC, and such values are not supported yet"
    for (message, part) in [
      (refusal(of: Instance.self), "Instance.object is an instance of the class Counted"),
      (refusal(of: WeakInstance.self), "WeakInstance.object is"),
      (refusal(of: Closure.self), "Closure.closure is a closure"),
      (refusal(of: Existential.self), "Existential.value is the existential"),
    ] {
      #expect(message.contains(part))
      #expect(message.contains(unsupported))
    }
    #expect(refusal(of: Recursive.self).contains("an indirect enum"))
    #expect(refusal(of: Recursive.self).contains("use HeapRef"))
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
    struct Inner: HeapObject { var name = "" }
    struct Outer: HeapObject { var inner = Inner() }
    #expect(refusal(of: Outer.self).contains("Outer.inner.name"))
  }

  @Test("the layout of a refused type carries the reason and no offsets")
  func layoutOfRefused() {
    struct Node: HeapObject {
      var name = ""
      var link: HeapRef<Leaf>?
    }
    #expect(Node.layout.references.isEmpty)
    #expect(Node.layout.description.contains("Node.name"))
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
