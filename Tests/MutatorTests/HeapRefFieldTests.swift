// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Fields through references, without a heap: see TestMemory for why each test that stores has
// a process of its own.

import Mutator
import TestSupport
import Testing

struct Inner {
  var link: HeapRef<Box>?
  var count = 0
}

enum Shape {
  case nothing
  case number(Int)
  case link(HeapRef<Box>)
}

struct Box: HeapObject {
  var left: HeapRef<Box>?
  var right: HeapRef<Box>?
  var key = 0
  var weight = 1.0
  var flag = false
  var inner = Inner()
  var pair: (HeapRef<Box>?, Int) = (nil, 0)
  var optional: Inner?
  var shape = Shape.nothing
  var slots = InlineArray<3, HeapRef<Box>?>(repeating: nil)
  var bytes: HeapArray<UInt8>?
  let id: Int

  init(_ id: Int) { self.id = id }

  var sum: Int { key + id }
  var doubled: Int {
    get { key * 2 }
    set { key = newValue / 2 }
  }
  var both: HeapRef<Box>? {
    get { left }
    set { (left, right) = (newValue, newValue) }
  }
  mutating func swapSides() { swap(&left, &right) }
}

private struct Wide: HeapObject {
  var pairs = InlineArray<2, Inner>(repeating: Inner())
  let fixed = InlineArray<4, Int>(repeating: 9)
}

struct Pointing: HeapObject {
  var next: HeapRef<Box>
  var count = 0
}

extension Box {
  fileprivate var reversed: InlineArray<3, HeapRef<Box>?> {
    get { InlineArray { slots[2 - $0] } }
    set { slots = InlineArray { newValue[2 - $0] } }
  }
}

@Suite struct HeapRefFieldTests {
  @Test("an element of an inline array is read and written alone")
  func elements() async {
    await #expect(processExitsWith: .success) {
      let box = TestMemory.object(Box(7))
      let others = (0..<3).map { TestMemory.object(Box($0)) }
      for index in 0..<3 { box[\.slots, index] = others[index] }
      for index in 0..<3 { #expect(box[\.slots, index] == others[index]) }
      box[\.slots, 1] = nil
      #expect(box.slots[0] == others[0] && box.slots[1] == nil && box.slots[2] == others[2])
      #expect(box.pointee.right == nil && box.bytes == nil, "the neighbours are as they were")
      let wide = TestMemory.object(Wide())
      wide[\.pairs, 1] = Inner(link: others[2], count: 5)
      wide[\.pairs, 1].count += 1
      #expect(wide[\.pairs, 1].link == others[2] && wide[\.pairs, 1].count == 6)
      #expect(wide[\.pairs, 0].link == nil && wide[\.fixed, 3] == 9)
    }
  }

  @Test("an element of a computed inline array is read and written through the property")
  func computedElements() async {
    await #expect(processExitsWith: .success) {
      let (box, other) = (TestMemory.object(Box(7)), TestMemory.object(Box(1)))
      box[\.reversed, 0] = other
      #expect(box[\.slots, 2] == other && box[\.reversed, 0] == other)
    }
  }

  @Test(
    "an element that is not there stops the program, and the message says which",
    arguments: [3, -1, Int.max])
  func elementOutOfRange(index: Int) async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [index] in
      let box = TestMemory.object(Box(7))
      box[\.slots, index] = box
    }
    #expect(result.said("Index out of range: index \(index) in an array of 3 elements"))
  }

  @Test("plain fields read and write like properties")
  func plain() async {
    await #expect(processExitsWith: .success) {
      let box = TestMemory.object(Box(7))
      box.key = 5
      box.key += 2
      box.key *= 3
      #expect(box.key == 21 && box.pointee.key == 21)
      box.weight /= 4
      box.flag.toggle()
      #expect(box.weight == 0.25 && box.flag)
      #expect(box.id == 7 && box.sum == 28)
    }
  }

  @Test("reference fields read and write like properties, through optional chains as well")
  func references() async {
    await #expect(processExitsWith: .success) {
      let box = TestMemory.object(Box(1))
      let other = TestMemory.object(Box(2))
      box.left = other
      box.right = box.left
      #expect(box.left == other && box.right == other)
      box.left?.key = 3
      box.left?.left = box
      box.left?.left?.key += 4
      box.left!.right = other
      #expect(other.key == 3 && box.key == 4 && other.right == other)
      box.left = nil
      box.left?.key = 9
      #expect(box.left == nil && other.key == 3)
      swap(&box.left, &box.right)
      #expect(box.left == other && box.right == nil)
      box.bytes = TestMemory.array([1, 2, 3])
      #expect(box.bytes?.count == 3 && box.bytes?[1] == 2)
    }
  }

  @Test("a reference that cannot be nil is a field like others")
  func nonOptional() async {
    await #expect(processExitsWith: .success) {
      let (first, second) = (TestMemory.object(Box(1)), TestMemory.object(Box(2)))
      let pointing = TestMemory.object(Pointing(next: first))
      #expect(pointing.next.id == 1)
      pointing.next = second
      pointing.next.key = 5
      #expect(pointing.next == second && second.key == 5)
    }
  }

  @Test("fields of nested structs, tuples, optionals, enums and inline arrays can be written")
  func nested() async {
    await #expect(processExitsWith: .success) {
      let box = TestMemory.object(Box(1))
      let other = TestMemory.object(Box(2))
      box.inner.link = other
      box.inner.count += 2
      box.inner.link?.key = 8
      #expect(box.inner.link == other && box.inner.count == 2 && other.key == 8)
      box.inner = Inner(link: nil, count: 5)
      #expect(box.inner.link == nil && box.inner.count == 5)
      box.pair = (other, 3)
      box.pair.1 += 1
      #expect(box.pair.0 == other && box.pair.1 == 4)
      box.pair.0 = nil
      #expect(box.pair.0 == nil && box.pair.1 == 4)
      box.optional = Inner(link: other, count: 1)
      box.optional?.count = 6
      #expect(box.optional?.link == other && box.optional?.count == 6)
      box.optional = nil
      #expect(box.optional?.count == nil)
      box.shape = .link(other)
      if case .link(let ref) = box.shape { #expect(ref == other) } else { Issue.record("lost") }
      box.slots[1] = other
      #expect(box.slots[0] == nil && box.slots[1] == other && box.slots[2] == nil)
    }
  }

  @Test("computed properties are read and set on the whole object")
  func computed() async {
    await #expect(processExitsWith: .success) {
      let box = TestMemory.object(Box(1))
      let other = TestMemory.object(Box(2))
      box.doubled = 8
      box.doubled += 2
      #expect(box.key == 5 && box.doubled == 10)
      box.both = other
      #expect(box.left == other && box.right == other && box.both == other)
    }
  }

  @Test("the whole object can be read, changed in place and replaced")
  func pointee() async {
    await #expect(processExitsWith: .success) {
      let box = TestMemory.object(Box(1))
      let other = TestMemory.object(Box(2))
      box.left = other
      box.pointee.swapSides()
      #expect(box.left == nil && box.right == other)
      other.key = 9
      box.pointee = other.pointee
      #expect(box.id == 2 && box.key == 9 && box.right == nil)
    }
  }

  @Test("generic code reads and writes fields by key path")
  func generic() {
    func exchange<Object: HeapObject, Value>(
      _ ref: HeapRef<Object>, _ keyPath: WritableKeyPath<Object, Value>, _ value: Value
    ) -> Value {
      let old = ref[dynamicMember: keyPath]
      ref[dynamicMember: keyPath] = value
      return old
    }
    let box = TestMemory.object(Box(1))
    #expect(exchange(box, \.key, 4) == 0)
    #expect(exchange(box, \.weight, 2) == 1)
    #expect(box.key == 4 && box.weight == 2)
  }

  @Test("reference fields are atomic words")
  func atomics() async {
    await #expect(processExitsWith: .success) {
      let box = TestMemory.object(Box(1))
      let (first, second) = (TestMemory.object(Box(2)), TestMemory.object(Box(3)))
      box.store(\.left, first, ordering: .relaxed)
      #expect(box.load(\.left, ordering: .relaxed) == first)
      box.store(\.inner.link, second, ordering: .sequentiallyConsistent)
      #expect(box.load(\.inner.link, ordering: .acquiring) == second)
      #expect(box.exchange(\.left, second, ordering: .acquiringAndReleasing) == first)
      #expect(box.exchange(\.left, nil, ordering: .sequentiallyConsistent) == second)
      let missed = box.compareExchange(
        \.left, expected: first, desired: second, ordering: .relaxed)
      #expect(!missed.exchanged && missed.original == nil && box.left == nil)
      let hit = box.compareExchange(
        \.left, expected: nil, desired: second, ordering: .sequentiallyConsistent)
      #expect(hit.exchanged && hit.original == nil && box.left == second)
      let pointing = TestMemory.object(Pointing(next: first))
      #expect(pointing.exchange(\.next, second, ordering: .releasing) == first)
      #expect(pointing.load(\.next, ordering: .sequentiallyConsistent) == second)
    }
  }

  @Test("atomic access to a computed property traps")
  func atomicComputed() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      _ = TestMemory.object(Box(1)).load(\.both, ordering: .relaxed)
    }
    let text = result?.message ?? ""
    #expect(text.contains("is not a stored property of Box"))
  }

  @Test("references compare and hash by identity, and show type and address")
  func identity() {
    let (a, b) = (TestMemory.object(Box(1)), TestMemory.object(Box(1)))
    #expect(a == a && a != b)
    #expect(Set([a, b, a]).count == 2)
    #expect(a.description.hasPrefix("HeapRef<Box>(0x"))
    #expect(a.description != b.description)
    #expect(a.debugDescription == a.description)
  }
}
